//! Following osquery's log files, wherever rotation takes them, and handing every line to a [`Sink`] exactly once.
//!
//! A log is appended to, renamed, cut off, packed and deleted by others at any time, and either side may be killed at any
//! time. What is known is written down before it is acted upon (the [place](self#the-place)), and what is sent twice is
//! sent as the same bytes under the same sequence, so that the other side can tell.
//!
//! Invariants:
//! - What the sink says is in, deduplicated by sequence, is every source's text once and in order, but for what
//!   [`Event::Lost`], [`Event::Truncated`] and [`Event::Skipped`] told.
//! - Two shippers never use one state.
//! - Memory is bounded by the batches under way, not by the files.
//! - Nothing is printed here; nothing waits but in [`Pace::rest`] and [`Sink::acknowledged`].
//!
//! Steps: `names` say what a log is → `scan` finds which file is which `generation` of a `source` → `shipper` cuts
//! batches from all sources in turn, writes them down with `state`, sends them → the sink says what is in.
//!
//! What is beyond it: a file that is cut off and written anew up to the same place with the same bytes around it; bytes
//! that were written and cut off between two looks; lines that a crash of the machine takes back out of a log after they
//! were sent, whereupon the file is taken for a new one and sent from its beginning (the same lines again change no
//! answer).
//!
//! # The place
#![doc = include_str!("place.md")]

// Where batches go.
mod sink;

// Time.
mod pace;

// What may be chosen.
mod options;

// What happens.
mod event;

// Which file is a log, which a rotated one.
mod names;

// Which file is which, by what it holds.
mod print;

// Packed files as text.
mod packed;

// One file's worth of a log.
mod generation;

// One log.
mod scan;
mod source;

// What outlives the process.
mod place;
mod state;

// From sources to the sink.
mod shipper;

// How far behind.
mod report;

#[cfg(test)]
mod tests;

pub use event::Event;
pub use options::{Begin, Options};
pub use pace::Pace;
pub use report::{Lag, Report};
pub use shipper::{Shipper, Turn};
pub use sink::{Ack, Chunk, Opened, Opening, Sink, SinkError};
