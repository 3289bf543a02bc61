//! Where batches go, as the files' side sees it: whoever speaks to a server implements [`Sink`].
//!
//! Invariants that a sink keeps:
//! - What it says is in is durable, and stays so.
//! - Batches are taken in the order of [`send`](Sink::send); that one is in means that all before it are.
//! - After an error nothing that was sent is on its way any more: the next [`open`](Sink::open) tells what is in.

use std::fmt;
use std::time::Duration;

/// A piece of one source: whole lines, each with its line feed; the last one may lack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The source's name: the path of the log that is followed.
    pub source: &'a [u8],
    /// Where the lines begin in the source; goes on across rotations.
    pub offset: u64,
    /// The lines.
    pub lines: &'a [u8],
}

/// How a producer presents itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The producer, kept for ever.
    pub producer: u128,
    /// This process.
    pub instance: u128,
    /// The least sequence that may be sent again.
    pub first: u64,
    /// The greatest that may ever have been sent; 0 if none.
    pub last: u64,
}

/// What the other side answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The greatest sequence that is in; 0 if none.
    pub greatest: u64,
    /// The longest payload of a batch.
    pub request_bytes_max: u64,
}

/// A batch is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// It, and all before it.
    pub sequence: u64,
    /// Lines that it brought.
    pub lines: u64,
    /// Lines of it that could not be read and were put aside.
    pub dead_letters: u64,
}

/// Why a batch did not go in, told apart by what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// Nobody is there, or there is too much to do: it is tried again, for ever.
    Away {
        /// What happened.
        why: String,
        /// How long the other side asked to wait.
        wait: Option<Duration>,
    },
    /// Trying again will not help: somebody has to do something.
    Refused {
        /// What happened and what to do.
        why: String,
    },
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinkError::Away { why, .. } | SinkError::Refused { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for SinkError {}

/// Takes batches.
pub trait Sink {
    /// Connects, if need be anew, and presents the producer.
    fn open(&mut self, opening: &Opening) -> Result<Opened, SinkError>;

    /// Hands over a batch; may return before it is in.
    fn send(&mut self, sequence: u64, chunks: &[Chunk<'_>]) -> Result<(), SinkError>;

    /// The next acknowledgement; waits for it at most so long. `None` if none came. Called only with batches under way.
    fn acknowledged(&mut self, wait: Duration) -> Result<Option<Ack>, SinkError>;
}

/// How many bytes a chunk takes in a payload beside its lines.
pub(super) fn overhead(source: &[u8]) -> u64 {
    // Three numbers of at most ten bytes: the lengths of both texts, and the offset.
    source.len() as u64 + 30
}

/// How many bytes a batch takes beside its chunks: producer, sequence, count.
pub(super) const BATCH_OVERHEAD: u64 = 16 + 20;
