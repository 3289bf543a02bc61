//! Which file is which: prints of a file's first bytes, and of those before a place in it.
//!
//! Inodes are used again, and a rotated file that was copied or packed has another, so what a file holds decides. The
//! first bytes alone do not: every generation of a log of snapshots may begin with the same rows, and the time only
//! stands at the line's end. Two files with the same first and the same last bytes at the same place are one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How many bytes a print covers, if there are so many.
pub(super) const PRINT_BYTES: u64 = 1024;

/// A print of the bytes before `end`, [`PRINT_BYTES`] of them or all from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) end: u64,
    pub(super) hash: u64,
}

impl Print {
    /// Of the bytes that stand before `end`: as many as there are up to [`PRINT_BYTES`]. `None` if `tail` has fewer.
    pub(super) fn of(tail: &[u8], end: u64) -> Option<Print> {
        let from = (tail.len() as u64).checked_sub(end.min(PRINT_BYTES))?;
        Some(Print { end, hash: fnv(&tail[from as usize..]) })
    }

    /// Of a file's first bytes.
    pub(super) fn head(text: &[u8]) -> Print {
        let head = &text[..text.len().min(PRINT_BYTES as usize)];
        Print { end: head.len() as u64, hash: fnv(head) }
    }

    /// Whether a text that begins with `head` (all of it, or [`PRINT_BYTES`]) begins as the printed one did.
    pub(super) fn begins(self, head: &[u8]) -> bool {
        head.get(..self.end as usize).is_some_and(|head| fnv(head) == self.hash)
    }

    /// The print at `end` of a file; `None` if the file is shorter.
    pub(super) fn read(file: &File, end: u64) -> io::Result<Option<Print>> {
        let tail = read_range(file, end - end.min(PRINT_BYTES), end)?;
        Ok(Print::of(&tail, end))
    }
}

/// The bytes of a file in `from..to`, as many as there are.
pub(super) fn read_range(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; to.saturating_sub(from) as usize];
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], from + len as u64) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits: it is written down, so it must never change.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_BASIS, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_its_authors() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(Print::head(b""), Print { end: 0, hash: FNV_BASIS });
    }

    #[test]
    fn a_print_covers_what_stands_before_its_end() {
        let text: Vec<u8> = (0..3000u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(Print::of(&text, 3000), Print::of(&text[1000..], 3000));
        assert_ne!(Print::of(&text, 3000), Print::of(&text, 2000));
        assert_eq!(Print::of(&text[2500..], 3000), None, "too little is known");
        assert_eq!(Print::of(&text[..100], 100), Some(Print::head(&text[..100])));
        assert!(Print::head(&text[..100]).begins(&text[..1024]));
        assert!(!Print::head(&text[..100]).begins(&text[..99]));
        assert!(!Print::head(&text[..100]).begins(&text[1..1024]));
    }
}
