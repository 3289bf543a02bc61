//! The end of a segment: what it holds, and where its tables' directories are.

use crate::codec::{Fault, take, take_between, varint};
use crate::fact::{Micros, Name, Second};
use crate::format::frame::{FileId, place_crc};

/// The version of the footer's own layout.
pub const FOOTER_VERSION: u64 = 6;
/// The oldest that is read.
pub const FOOTER_VERSION_OLDEST: u64 = 4;
/// The fixed bytes at the very end: footer offset (8), checksum over store, number and offset (4), magic (4).
pub const TRAILER_BYTES: usize = 16;
/// The last four bytes of a whole segment.
pub const TRAILER_MAGIC: [u8; 4] = *b"ewhS";
/// Tags of optional sections below this must be understood; others may be skipped.
pub const OPTIONAL_FROM: u64 = 128;
/// What a decoder accepts at most: tables in a segment.
pub const TABLES_MAX: u64 = 1 << 24;

/// One table of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Its name.
    pub name: Name,
    /// Where its directory's frame begins.
    pub directory: u64,
    /// How many parts it has.
    pub parts: u64,
    /// How many copies of rows its parts name in all.
    pub copies: u64,
    /// The second of the earliest part.
    pub first: Second,
    /// The second of the latest part.
    pub last: Second,
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The tables, by name.
    pub tables: Vec<TableEntry>,
    /// Where the frame of its recorded times begins.
    pub commits: u64,
    /// Where the frame of its hosts begins.
    pub hosts: u64,
    /// The least and greatest recorded time of its parts.
    pub recorded: (Micros, Micros),
}

impl Footer {
    /// Appends the footer's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put_u64(out, FOOTER_VERSION);
        varint::put_i64(out, self.recorded.0);
        varint::put_i64(out, self.recorded.1);
        varint::put_u64(out, self.commits);
        varint::put_u64(out, self.hosts);
        varint::put_u64(out, self.tables.len() as u64);
        for table in &self.tables {
            varint::put_u64(out, table.name.len() as u64);
            out.extend_from_slice(&table.name);
            varint::put_u64(out, table.directory);
            varint::put_u64(out, table.parts);
            varint::put_u64(out, table.copies);
            varint::put_i64(out, table.first);
            varint::put_i64(out, table.last);
        }
    }

    /// Reads a footer back. What follows the tables are optional sections: (tag, length, bytes).
    pub fn decode(mut bytes: &[u8]) -> Result<Footer, Fault> {
        let bytes = &mut bytes;
        take_between(bytes, FOOTER_VERSION_OLDEST, FOOTER_VERSION)?;
        let recorded = (varint::take_i64(bytes)?, varint::take_i64(bytes)?);
        let commits = varint::take_u64(bytes)?;
        let hosts = varint::take_u64(bytes)?;
        let count = take_between(bytes, 0, TABLES_MAX)?;
        let mut tables: Vec<TableEntry> = Vec::new();
        for i in 0..count {
            let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
            let name = Name::from(take(bytes, len)?);
            if tables.last().is_some_and(|last| last.name >= name) {
                return Err(Fault::Order { previous: i - 1, found: i });
            }
            let directory = varint::take_u64(bytes)?;
            let parts = varint::take_u64(bytes)?;
            let copies = varint::take_u64(bytes)?;
            let (first, last) = (varint::take_i64(bytes)?, varint::take_i64(bytes)?);
            tables.push(TableEntry { name, directory, parts, copies, first, last });
        }
        while !bytes.is_empty() {
            let tag = take_between(bytes, OPTIONAL_FROM, u64::MAX)?;
            let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
            take(bytes, len)?;
            debug_assert!(tag >= OPTIONAL_FROM);
        }
        Ok(Footer { tables, commits, hosts, recorded })
    }
}

/// Appends the trailer.
pub fn put_trailer(out: &mut Vec<u8>, id: &FileId, offset: u64) {
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&place_crc(id, offset).to_le_bytes());
    out.extend_from_slice(&TRAILER_MAGIC);
}

/// Where the footer's frame begins.
pub fn read_trailer(bytes: &[u8], id: &FileId) -> Result<u64, Fault> {
    let found = bytes.len() as u64;
    let short = Fault::Length { needed: TRAILER_BYTES as u64, found };
    let start = bytes.len().checked_sub(TRAILER_BYTES).ok_or(short)?;
    let mut rest = &bytes[start..];
    let offset = u64::from_le_bytes(take(&mut rest, 8)?.try_into().map_err(|_| short)?);
    let expected = u32::from_le_bytes(take(&mut rest, 4)?.try_into().map_err(|_| short)?);
    if rest != TRAILER_MAGIC {
        return Err(Fault::Tag { found: rest[0] });
    }
    let found = place_crc(id, offset);
    if found != expected {
        return Err(Fault::Checksum { expected, found });
    }
    Ok(offset)
}
