//! The parts of the `erstwhile` command that tests and other programs may want as a library.

/// A fleet's logs and its truth, made from a seed.
pub mod simulate;

/// Times in and out: what a person writes becomes an instant, an instant becomes what is read.
pub mod when;

/// Answers out: one answer, four forms.
pub mod forms;
