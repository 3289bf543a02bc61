//! Bytes of a log become parsed lines.
//!
//! An input is any stream of bytes: a file, standard input, the body of a request; plain, gzip or zstd. Whatever it
//! holds, reading it ends: with lines, with dead letters that say what is wrong with a line, or with an error that says
//! what is wrong with the stream. No input makes this folder panic, recurse or hold more than one line of the longest
//! size allowed.
//!
//! Invariants:
//! - Every byte of a value arrives as it was written: bytes that are not UTF-8 are no reason to refuse a line, and no
//!   number is rewritten outside a column that the catalogue types DOUBLE.
//! - A line is judged by its own bytes alone: not by the lines around it, not by where a read was cut.
//! - A span handed out by `line` was validated whole; `columns` reads it again without asking whether it is JSON.
//!
//! Steps: `source` unpacks (`unpack`) and cuts lines → `line` validates and classifies one (over `json`,
//! `decimal`, `asctime`) → `columns` turns its rows into canonical bytes (over `double`), once the caller knows
//! the table and with it which columns are DOUBLE. `parse` does both for whole blocks of lines, and leaves out what a
//! line has in common with the one before it (`shape`: of rows). → `hold` keeps the lines of one look back until it is
//! whole, `import` hands the deliveries to the store;
//! `producer` does so with what comes over a network, batch by batch.

pub mod source;
mod unpack;

pub mod json;
pub mod line;

pub mod asctime;
pub mod decimal;

pub mod columns;
pub mod double;

mod parse;
mod shape;

#[cfg(test)]
mod tests;

pub mod hold;
pub(crate) mod kept;
pub mod spill;

pub mod import;

pub mod producer;
