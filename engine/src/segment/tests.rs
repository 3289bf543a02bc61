//! The page beside the code, and what opening checks.

use super::cache::Cache;
use super::directory::{self, Layout};
use super::footer::{FOOTER_VERSION, OPTIONAL_FROM, TABLES_MAX, TRAILER_BYTES, TRAILER_MAGIC, read_trailer};
use super::piece::{self, Counts};
use super::write::SegmentWriter;
use super::{Frames, RowCursor, RowOf, Segment, hosts, listed, rows};
use crate::codec::{self, Effort};
use crate::error::{Error, Fault};
use crate::fact::{Inferred, Kind, Name, StreamKey};
use crate::format::frame::{FRAME_HEADER_BYTES, FileId};
use crate::io::{MemoryStorage, Storage};
use crate::manifest::SegmentMeta;
use crate::read::answer::Cost;
use crate::row::RowBuilder;
use crate::timeline::Part;
use std::sync::Arc;

const PAGE: &str = include_str!("segment.md");
const ID: FileId = FileId { store: *b"sixteen bytes id", number: 12 };

/// The segment of the page's example.
fn example(recorded: i64) -> (MemoryStorage, SegmentMeta) {
    let storage = MemoryStorage::new();
    let host = Name::from(&b"h"[..]);
    let (created, hosts) = (1_545_645_600_000_000, vec![host.clone()]);
    let mut writer = SegmentWriter::create(&storage, ID, created, Effort::Zstd(3), vec![recorded], hosts).unwrap();
    let table = Name::from(&b"users"[..]);
    writer.begin_table(&table, Layout::Shared, None).unwrap();
    let mut builder = RowBuilder::new();
    builder.column(b"uid", b"0");
    let row = writer.row(&builder.row()).unwrap();
    let stream = StreamKey { table, host, name: Name::from(&b"pack/users"[..]), kind: Kind::Diff, sightings: false };
    let part = Part {
        epoch: 5,
        counter: Some(9),
        second: 1000,
        whole: true,
        inferred: Inferred::V5_7,
        recorded,
        removed: Vec::new(),
        added: vec![(row, 1)],
    };
    writer.parts(&Arc::new(stream), &[part]).unwrap();
    writer.end_table().unwrap();
    let meta = writer.finish().unwrap();
    (storage, meta)
}

fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn golden_bytes() {
    let (storage, meta) = example(3);
    let bytes = storage.read_from("0000000012.segment", 0).unwrap();
    assert!(PAGE.contains(&hex(&bytes)), "{}", hex(&bytes));
    let segment = Arc::new(Segment::open(&storage, ID, &meta).unwrap());
    let table = segment.table(b"users").unwrap().unwrap();
    let directory = table.directory;
    let (rows, piece) = (directory.row_blocks[0].1, directory.pieces_at(0..1).offset(0));
    let trailer = bytes.len() - TRAILER_BYTES;
    let footer = read_trailer(&bytes, &ID).unwrap();
    let entry = table.entry.directory;
    let (commits, hosts) = (segment.footer().commits, segment.footer().hosts);
    let places = format!(
        "piece at {piece}, rows at {rows}, directory at {entry}, commits at {commits}, hosts at {hosts}, footer at \
         {footer}, trailer at {trailer}:"
    );
    assert!(PAGE.contains(&places), "{places}");
}

#[test]
fn the_page_names_the_numbers_of_the_code() {
    let frames = [
        (Frames::ROWS, "rows"),
        (Frames::PIECE, "piece"),
        (Frames::DIRECTORY, "directory"),
        (Frames::FOOTER, "footer"),
        (Frames::RUN, "run"),
        (Frames::DICTIONARY, "dictionary"),
        (Frames::PACKED, "packed"),
        (Frames::COMMITS, "commits"),
        (Frames::INDEX, "index"),
        (Frames::HOSTS, "hosts"),
        (Frames::CHECKED_RUN, "checked run"),
    ];
    for (number, what) in frames {
        assert!(PAGE.contains(&format!("\n| `0x{number:02x}` | {what} |")), "{what}");
    }
    let has = |text: String| assert!(PAGE.contains(&text), "{text}");
    has(format!("| rows | up to {} rows of one table |", rows::ROWS_MAX));
    has(format!("| piece | up to {} parts of one stream |", piece::PIECE_PARTS_MAX));
    has(format!("| rows | number | at most {};", rows::ROWS_MAX));
    has(format!("| columns | number | at most {} |", rows::COLUMNS_MAX));
    has(format!("| at most {} bytes |", rows::TEXT_BYTES_MAX));
    has(format!("at {} rows or {} bytes of canonical rows", rows::ROWS_MAX, rows::ROWS_BYTES_MAX));
    has(format!("a row with more than {} columns", rows::ROW_COLUMNS_MAX));
    has(format!("parts (at most {}), versions (at most {})", piece::DECODE_PARTS_MAX, piece::DECODE_VERSIONS_MAX));
    has(format!("at {} parts or {} rows named", piece::PIECE_PARTS_MAX, piece::PIECE_COPIES_MAX));
    has(format!("at most {} each", directory::ENTRIES_MAX));
    has(format!("| hosts | number | at most {} |", hosts::HOSTS_MAX));
    has(format!("at most {} apart", rows::ROWS_MAX));
    has(format!("{} = shared", Layout::Shared as u8));
    has(format!("{} = inline", Layout::Inline as u8));
    has(format!("| version of this layout | number | {FOOTER_VERSION} |"));
    has(format!("| tables | number | at most {TABLES_MAX} |"));
    has(format!("tags from {OPTIONAL_FROM} on may be skipped"));
    has(format!("types from `{:#04x}` on", Frames::OPTIONAL_FROM));
    has(format!("with a tag below {OPTIONAL_FROM}"));
    has(format!("at most {} rows, and so", rows::ROWS_MAX));
    has(format!("at most {} parts of one stream;", piece::PIECE_PARTS_MAX));
    has(format!("byte: {} = columns, {} = listed |", rows::FORM_COLUMNS, rows::FORM_LISTED));
    has(format!("a byte, {} = columns or {} = listed.", piece::FORM_COLUMNS, piece::FORM_LISTED));
    has(format!("at most {} bytes of canonical rows |", listed::ROWS_BYTES_MAX));
    has(format!("at most {} columns of all shapes", listed::COLUMNS_MAX));
    let columns = Counts { parts: 5, versions: 3, orphans: 1 }.columns();
    let mut at = 0;
    for (name, count) in columns {
        let values = match count {
            5 => "parts",
            3 => "versions",
            2 => "versions - orphans",
            _ => "orphans",
        };
        let row = format!("\n| {name} | {values} |");
        let found = PAGE[at..].find(&row).unwrap_or_else(|| panic!("{row}"));
        at += found + 1;
    }
    assert_eq!(TRAILER_BYTES, 16);
    for (offset, size, what) in [(0, 8, "u64 | offset"), (8, 4, "u32 | CRC-32"), (12, TRAILER_MAGIC.len(), "bytes")] {
        has(format!("\n| {offset} | {size} | {what}"));
    }
    has(format!("`{}` (`ewhS`)", hex(&TRAILER_MAGIC)));
}

/// Two segments of one number and one length, as after a restore of half a store.
#[test]
fn a_footer_that_the_manifest_does_not_know_is_refused() {
    let ((storage, meta), (_, other)) = (example(3), example(4));
    assert_eq!(meta.bytes, other.bytes);
    Segment::open(&storage, ID, &meta).unwrap();
    match Segment::open(&storage, ID, &other).err().unwrap() {
        Error::Corrupt(corrupt) => {
            assert!(matches!(corrupt.fault, Fault::Code(codec::Fault::Checksum { .. })), "{corrupt}");
        }
        error => panic!("{error}"),
    }
}

/// What is mapped anew for a stretch of a merge costs no directory again, whose checks take as long as its streams are many.
#[test]
fn what_is_known_of_a_segment_is_known_where_it_is_mapped_anew() {
    let (storage, meta) = example(3);
    let segment = Arc::new(Segment::open(&storage, ID, &meta).unwrap());
    let table = segment.table(b"users").unwrap().unwrap();
    let again = Arc::new(segment.remapped(&storage).unwrap());
    let table_again = again.table(b"users").unwrap().unwrap();
    assert!(std::ptr::eq(table.directory, table_again.directory));
    assert!(Arc::ptr_eq(segment.hosts().unwrap(), again.hosts().unwrap()));
}

/// What a merge reads it writes under new checksums, so it trusts no map but its own: a file may come to harm after somebody
/// read it, and the memory of it may be given up since.
#[test]
fn what_was_verified_is_verified_again_where_it_is_mapped_anew() {
    let (storage, meta) = example(3);
    let read = |segment: &Arc<Segment>| {
        let table = segment.table(b"users").unwrap().unwrap();
        let (stream, mut cost) = (table.directory.entry(0).unwrap(), Cost::default());
        let (mut rows, mut cursor, cache) = (Vec::new(), RowCursor::default(), Cache::new(0));
        let number = |row: RowOf<'_>, cost: &mut Cost| {
            if let RowOf::Table(id) = row {
                rows.push(table.row(id, &mut cursor, &cache, cost)?);
            }
            Ok(0)
        };
        table.all_parts(&stream, &mut cost, number, drop).map(|()| cost.blocks_verified)
    };
    let segment = Arc::new(Segment::open(&storage, ID, &meta).unwrap());
    assert_eq!(read(&segment).unwrap(), 2);
    assert_eq!(read(&segment).unwrap(), 0, "it remembers");
    let directory = segment.table(b"users").unwrap().unwrap().directory;
    for frame in [directory.row_blocks[0].1, directory.pieces_at(0..1).offset(0)] {
        let name = segment.name();
        let whole = storage.files()[name].clone();
        let mut harmed = whole.clone();
        harmed[frame as usize + FRAME_HEADER_BYTES] ^= 16;
        storage.put(name, harmed);
        let again = Arc::new(segment.remapped(&storage).unwrap());
        match read(&again) {
            Err(Error::Corrupt(corrupt)) => {
                assert!(matches!(corrupt.fault, Fault::Code(codec::Fault::Checksum { .. })), "at {frame}: {corrupt}");
            }
            other => panic!("at {frame}: {other:?}"),
        }
        storage.put(name, whole);
    }
}
