//! Why a request, or a connection, failed.

use crate::value::{Read, Reader, Writer};
use std::fmt;

/// The kinds of failures. The numbers are on the wire: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Code {
    /// Bytes that are no frame, or no payload of their type.
    Malformed = 1,
    /// A frame changed on its way.
    Checksum = 2,
    /// A frame beyond its limit.
    TooLarge = 3,
    /// No version that both know.
    Version = 4,
    /// The token is not known.
    Unauthenticated = 5,
    /// The token's roles do not cover it.
    Forbidden = 6,
    /// A type that the server does not know.
    Unsupported = 7,
    /// What was asked makes no sense.
    Usage = 8,
    /// More requests or connections than there may be.
    TooMany = 9,
    /// By the client.
    Cancelled = 10,
    /// It took too long.
    Timeout = 11,
    /// The server has too much to do.
    Busy = 12,
    /// The server stops.
    Draining = 13,
    /// Another process appends as this producer.
    ProducerBusy = 14,
    /// A producer's sequence does not fit what is in.
    Sequence = 15,
    /// Stored bytes are wrong.
    Damage = 16,
    /// The server's system refused.
    Failed = 17,
    /// The client did not read the answer.
    Slow = 18,
    /// Nothing came for too long.
    Idle = 19,
    /// A row of the answer is longer than what the client takes.
    RowTooLong = 20,
}

impl Code {
    /// All, with their words.
    pub const ALL: [(Code, &'static str); 20] = [
        (Code::Malformed, "malformed"),
        (Code::Checksum, "checksum"),
        (Code::TooLarge, "too-large"),
        (Code::Version, "version"),
        (Code::Unauthenticated, "unauthenticated"),
        (Code::Forbidden, "forbidden"),
        (Code::Unsupported, "unsupported"),
        (Code::Usage, "usage"),
        (Code::TooMany, "too-many"),
        (Code::Cancelled, "cancelled"),
        (Code::Timeout, "timeout"),
        (Code::Busy, "busy"),
        (Code::Draining, "draining"),
        (Code::ProducerBusy, "producer-busy"),
        (Code::Sequence, "sequence"),
        (Code::Damage, "damage"),
        (Code::Failed, "failed"),
        (Code::Slow, "slow"),
        (Code::Idle, "idle"),
        (Code::RowTooLong, "row-too-long"),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Code::ALL[self as usize - 1].1
    }

    /// The code of a number, if it is known.
    pub fn from_number(number: u16) -> Option<Code> {
        Code::ALL.get(usize::from(number).checked_sub(1)?).map(|(code, _)| *code)
    }
}

/// A failure as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind, as a number that may not be known here.
    pub number: u16,
    /// What happened and what to do.
    pub message: String,
    /// When it makes sense to try again; 0: not.
    pub retry_millis: u64,
}

impl Failure {
    /// A failure after which trying again makes no sense.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { number: code as u16, message: message.into(), retry_millis: 0 }
    }

    /// A failure that passes.
    pub fn passing(code: Code, message: impl Into<String>, retry_millis: u64) -> Failure {
        Failure { retry_millis, ..Failure::new(code, message) }
    }

    /// Its kind, if that is known.
    pub fn code(&self) -> Option<Code> {
        Code::from_number(self.number)
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out);
        to.u16(self.number);
        to.bytes(self.message.as_bytes());
        to.uint(self.retry_millis);
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Read<Failure> {
        let mut from = Reader::new(payload);
        let failure = Failure { number: from.u16()?, message: from.text()?.to_owned(), retry_millis: from.uint()? };
        from.end()?;
        Ok(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
