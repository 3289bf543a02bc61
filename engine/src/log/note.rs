//! The note by which a writer tells other processes how far its log is durable.
//!
//! It goes through [`Lock::publish`](crate::io::Lock::publish). It is not synced itself: after a loss of power it may be
//! older than the log, never truer than it, so it can only make replay stricter where that is right.
//!
//! | offset | size | type | field |
//! |---|---|---|---|
//! | 0 | 4 | bytes | `eDur` |
//! | 4 | 4 | u32 | CRC-32 of what follows |
//! | 8 | 8 | u64 | the log's number |
//! | 16 | 8 | u64 | bytes of it that are durable |
//! | 24 | 8 | u64 | bytes of it that are acknowledged: as many as a reader may show; not less than those durable |

use crate::codec;
use crate::error::Fault;

const MAGIC: [u8; 4] = *b"eDur";

/// How far a log is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The log's number.
    pub number: u64,
    /// The bytes from its beginning that survive a loss of power.
    pub len: u64,
    /// The bytes from its beginning that are acknowledged, and so readable; more where syncs are left to the system.
    pub readable: u64,
}

/// The note that says so.
pub fn encode_note(durable: Durable) -> [u8; 32] {
    let mut note = [0; 32];
    note[..4].copy_from_slice(&MAGIC);
    note[8..16].copy_from_slice(&durable.number.to_le_bytes());
    note[16..24].copy_from_slice(&durable.len.to_le_bytes());
    note[24..].copy_from_slice(&durable.readable.to_le_bytes());
    let crc = crc32fast::hash(&note[8..]);
    note[4..8].copy_from_slice(&crc.to_le_bytes());
    note
}

/// What a note says.
pub fn decode_note(note: &[u8]) -> Result<Durable, Fault> {
    let Ok(note) = <&[u8; 32]>::try_from(note) else {
        return Err(Fault::Value { what: "length of a note" });
    };
    if note[..4] != MAGIC {
        return Err(Fault::Magic);
    }
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| note[at + i]));
    let said = u32::from_le_bytes(std::array::from_fn(|i| note[4 + i]));
    let is = crc32fast::hash(&note[8..]);
    if said != is {
        return Err(Fault::Code(codec::Fault::Checksum { expected: said, found: is }));
    }
    if word(24) < word(16) {
        return Err(Fault::Value { what: "length acknowledged" });
    }
    Ok(Durable { number: word(8), len: word(16), readable: word(24) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_or_refused() {
        let durable = Durable { number: 7, len: 4096, readable: 5000 };
        let note = encode_note(durable);
        assert_eq!(decode_note(&note), Ok(durable));
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut note = note;
                note[at] ^= 1 << bit;
                decode_note(&note).unwrap_err();
            }
            decode_note(&note[..at]).unwrap_err();
        }
        decode_note(&[0; 32]).unwrap_err();
    }
}
