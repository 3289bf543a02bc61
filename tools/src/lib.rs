//! The parts of the `erstwhile` command that tests and other programs may want as a library.

// A fleet's logs and its truth, made from a seed.
pub mod simulate;

// Times in and out: what a person writes becomes an instant, an instant becomes what is read.
pub mod when;

// Answers out: one answer, four forms.
pub mod forms;

// Logs in, from afar: files are followed and handed to a server.
pub mod ship;

// What files hold, damaged or not: `inspect`.
pub mod inspect;

// What operators do to a store: `backup`, `restore`, `compact`, `stats`.
pub mod operate;

// The fleet of `demo` and what is asked of it.
mod demo;

// How a command ends, for scripts.
pub mod exit;

// Why a command did not do what was asked.
pub mod fail;

// What an import did.
pub mod summary;

// How far long work has come.
pub mod progress;

// Which store is meant: a directory, or a server.
pub mod connection;

// What the command line takes.
pub mod args;

// The commands: from arguments to questions to answers written.
pub mod commands;
