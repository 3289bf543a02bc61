//! The log makes a batch durable before anyone is told that it is stored.
//!
//! A store writes one log at a time. When its memtable is sealed it finishes the log and begins the next; once the
//! sealed rows are in a segment that the manifest names, the log is removed. The files and their recovery:
//!
#![doc = include_str!("log.md")]

mod batch;
mod digest;
mod note;
mod pack;
mod replay;
mod write;

pub use batch::{BATCH_BYTES_MAX, decode_batch, encode_batch};
pub(crate) use digest::{Digest, Digested};
pub use note::{Durable, decode_note, encode_note};
pub use replay::{Extent, Replayed, TornTail, replay, replay_all, replay_durable};
pub(crate) use replay::{decode_record, decode_start, durable_when_placed};
pub use write::{Encoded, LogWriter, Previous, SyncMode, Ticket};

#[cfg(test)]
mod tests;
