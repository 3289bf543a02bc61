//! Frames: length, type, request, checksum, payload.
//!
//! Invariant: nothing of a payload is looked at, and no room is made for it, before its length is within the limit; nothing of it
//! is believed before the checksum is right.

use std::fmt;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 16;

/// The longest payload before the welcome.
pub const HELLO_BYTES_MAX: usize = 4096;

/// The longest payload of a small request.
pub const SMALL_BYTES_MAX: usize = 65_536;

/// Types of frames.
pub mod kind {
    /// How a client begins.
    pub const HELLO: u8 = 0x01;
    /// Is the server there?
    pub const PING: u8 = 0x02;
    /// A request is wanted no more.
    pub const CANCEL: u8 = 0x03;
    /// More of an answer may be sent.
    pub const CREDIT: u8 = 0x04;
    /// The client has nothing more to ask.
    pub const GOODBYE: u8 = 0x05;
    /// A table at T.
    pub const STATE: u8 = 0x10;
    /// Who had an address or a uid.
    pub const WHO: u8 = 0x11;
    /// Which device was behind a path.
    pub const WHAT: u8 = 0x12;
    /// Versions or events.
    pub const HISTORY: u8 = 0x13;
    /// What changed between two times.
    pub const DIFF: u8 = 0x14;
    /// Events.
    pub const EVENTS: u8 = 0x15;
    /// The hosts.
    pub const HOSTS: u8 = 0x16;
    /// The tables.
    pub const TABLES: u8 = 0x17;
    /// The streams.
    pub const COVERAGE: u8 = 0x18;
    /// What the server says of itself.
    pub const STATS: u8 = 0x19;
    /// Many questions for a value at once.
    pub const LOOKUP: u8 = 0x1a;
    /// The connection appends as a producer.
    pub const PRODUCER: u8 = 0x20;
    /// Raw lines.
    pub const APPEND_LINES: u8 = 0x21;
    /// Looks.
    pub const APPEND_LOOKS: u8 = 0x22;
    /// What is in memory becomes a segment.
    pub const FLUSH: u8 = 0x30;
    /// All segments become one.
    pub const COMPACT: u8 = 0x31;
    /// The server drains and ends.
    pub const SHUTDOWN: u8 = 0x32;
    /// What the store weighs.
    pub const WEIGH: u8 = 0x33;
    /// How a server begins.
    pub const WELCOME: u8 = 0x81;
    /// The server is there.
    pub const PONG: u8 = 0x82;
    /// The server drains, or has answered all.
    pub const FAREWELL: u8 = 0x85;
    /// A part of an answer.
    pub const PART: u8 = 0x90;
    /// The end of an answer.
    pub const DONE: u8 = 0x91;
    /// The end of a request that failed.
    pub const ERROR: u8 = 0xff;
}

/// A frame that came whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Its type.
    pub kind: u8,
    /// The request that it belongs to; 0: the connection.
    pub id: u32,
    /// What it carries.
    pub payload: &'b [u8],
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// The bytes that are zero are not: this is another protocol.
    NoFrame,
    /// A payload beyond the limit.
    TooLarge {
        /// Its type.
        kind: u8,
        /// Its length.
        length: u32,
        /// The most that there may be.
        limit: usize,
    },
    /// The frame changed on its way.
    Checksum {
        /// What it says.
        told: u32,
        /// What its bytes say.
        found: u32,
    },
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameFault::NoFrame => {
                f.write_str("these bytes are no frame of erstwhile's protocol (is the other side TLS, or HTTP?)")
            }
            FrameFault::TooLarge { kind, length, limit } => {
                write!(f, "a frame of type {kind:#04x} with {length} bytes, where at most {limit} may be sent")
            }
            FrameFault::Checksum { told, found } => {
                write!(f, "a frame changed on its way: its checksum is {told:08x}, that of its bytes {found:08x}")
            }
        }
    }
}

impl std::error::Error for FrameFault {}

/// Takes a frame off the front of bytes that came; `None` if it is not all there. Tells how many bytes it has. `limit` is
/// asked for the longest payload of its type.
pub fn take<'b>(bytes: &'b [u8], limit: impl FnOnce(u8) -> usize) -> Result<Option<(Frame<'b>, usize)>, FrameFault> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        // What can't become a frame is refused at once, and not when enough of it came.
        return if bytes.get(5..).unwrap_or_default().iter().take(3).all(|byte| *byte == 0) {
            Ok(None)
        } else {
            Err(FrameFault::NoFrame)
        };
    };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, kind, id, told) = (word(0), header[4], word(8), word(12));
    if header[5..8] != [0; 3] {
        return Err(FrameFault::NoFrame);
    }
    let limit = limit(kind);
    if length as usize > limit {
        return Err(FrameFault::TooLarge { kind, length, limit });
    }
    let Some(payload) = rest.get(..length as usize) else {
        return Ok(None);
    };
    let found = checksum(&header[..12], payload);
    if told != found {
        return Err(FrameFault::Checksum { told, found });
    }
    Ok(Some((Frame { kind, id, payload }, HEADER_BYTES + payload.len())))
}

/// How many bytes the frame will have that these bytes begin; `None` if that is not known yet.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<4>()?;
    Some(HEADER_BYTES + u32::from_le_bytes(*length) as usize)
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Appends a frame whose payload `write` appends.
pub fn put(out: &mut Vec<u8>, kind: u8, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write(out);
    seal(&mut out[start..], kind, id);
}

/// Fills in the header of a frame whose payload is there; whoever writes payloads keeps them below 4 GiB.
pub fn seal(frame: &mut [u8], kind: u8, id: u32) {
    let (header, payload) = frame.split_at_mut(HEADER_BYTES);
    debug_assert!(u32::try_from(payload.len()).is_ok());
    header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[4] = kind;
    header[5..8].fill(0);
    header[8..12].copy_from_slice(&id.to_le_bytes());
    let sum = checksum(&header[..12], payload);
    header[12..].copy_from_slice(&sum.to_le_bytes());
}
