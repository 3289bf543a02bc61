//! The as-of read: a question becomes an answer.
//!
//! Invariants:
//! - An answer depends on the facts up to its `known_at` and on nothing else: not on segments, merges or order.
//! - Attribution questions give every candidate, and count the hosts that cannot speak.
//!
//! Rooms: [`question`] and [`answer`] are the two ends; [`view`] finds a stream's deliveries wherever they are,
//! [`told`] what the store was told beside them;
//! `standing` knows which streams are settled while nothing is written, `live` all streams of a table while something is,
//! `source` where any stream is read from, and `tail` what came after its run; `settled` reads these, `doubted` around
//! breaks, `indexed` by a value, and `resolved` works out all others and groups them by host and name; `at` reads a table at
//! T into [`rows`], of whose hosts `classes` says who can speak, and `unsure` when whose breaks matter; `ask`, `lookup`, `what` and `list` are the questions;
//! [`matching`] says when a text is what was asked for.

pub mod answer;
mod ask;
mod at;
mod classes;
mod doubted;
mod indexed;
mod list;
mod live;
mod lookup;
pub mod matching;
pub mod question;
pub(crate) mod resolved;
pub mod rows;
mod settled;
mod source;
pub(crate) mod standing;
pub mod stats;
pub(crate) mod tail;
pub mod told;
mod unsure;
pub mod view;
mod what;

#[cfg(test)]
mod tests;
