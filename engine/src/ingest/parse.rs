//! Lines become rows in canonical form, in an order of work that any thread may take a share of.
//!
//! What a line says beside its row is mostly what the line before it said, byte for byte: an agent writes the rows of a
//! look one after the other. So a parser remembers the text before the row of the last line that was read in full, its
//! *head*, and what followed the row, its *tail*; a line with the same head and a tail seen with it says the same, and
//! only its row is read.
//!
//! Invariants:
//! - What a parser makes of a line depends on the line alone. A line that is read by its head, its row and its tail has
//!   the verdict that [`read_line`] has on it.
//! - [`Parsed`] has everything in the order of the lines.
//!
//! Steps: [`Parser::block`] takes line by line, by its head or else in full, each into [`Parsed`] → the hold
//! ([`super::hold`]) takes that in order, whoever made it.

use super::columns::{RawObject, RowReader};
use super::json::Scanner;
use super::line::{Action, Body, LINE_BYTES_MAX, Line, Reason, ResultLine, StatusLine, read_line};
use super::shape::{Canonical, Shape};
use super::source::HEAD_BYTES_MAX;
use crate::catalogue::{Catalogue, ColumnType, StreamMap, table_of};
use crate::fact::{Inferred, Kind, Name, Second};
use crate::row::{Row, hash_of};
use memchr::memchr;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Tails remembered with a head.
const TAILS_MAX: usize = 4;

/// A head longer than this is not remembered.
const HEAD_MAX: usize = 16 << 10;

/// Rows that must pass before another shape is learned of a query whose rows are not alike.
const LEARN_ROWS: u32 = 8;

/// Memory that is kept from one block to the next.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// What a query's name stands for.
pub(super) struct Meaning {
    pub(super) table: Name,
    pub(super) evented: bool,
    /// Declared `removed: false`.
    pub(super) sightings: bool,
    /// The columns whose texts are rewritten.
    doubles: Vec<Name>,
    /// Whether its rows say which version the agent has.
    pub(super) tells_version: bool,
}

/// Whether the rows of a table say which version the agent has.
pub(super) fn tells_version(table: &[u8]) -> bool {
    table == b"osquery_info"
}

impl Meaning {
    fn of(name: &[u8], map: &StreamMap, catalogue: &Catalogue) -> Meaning {
        let mapping = table_of(name, map, catalogue);
        let evented = catalogue.is_evented(&mapping.table);
        let columns = catalogue.table(&mapping.table).map(|table| table.columns()).unwrap_or_default();
        let doubles = columns.iter().filter(|column| column.kind == ColumnType::Double);
        Meaning {
            evented,
            sightings: !mapping.removed,
            doubles: doubles.map(|column| Name::from(column.name.as_bytes())).collect(),
            tells_version: tells_version(&mapping.table),
            table: mapping.table,
        }
    }
}

/// What a line of results says beside its rows.
pub(super) struct Said {
    pub(super) host: Name,
    /// The query's name.
    pub(super) name: Name,
    pub(super) meaning: Arc<Meaning>,
    pub(super) kind: Kind,
    /// What happened to the row of a row-per-line line.
    pub(super) removed: bool,
    pub(super) second: Second,
    pub(super) epoch: u64,
    pub(super) counter: Option<u64>,
    pub(super) inferred: Inferred,
}

/// Where a canonical row ends, and its hash; it begins where the one before it ends.
#[derive(Clone, Copy)]
struct RowEnd {
    end: u32,
    hash: u64,
}

/// A line, or lines that say the same beside their rows. The rows are those that follow the rows of the item before.
pub(super) enum Item {
    /// Lines of one row each.
    Rows { said: u32, rows: u32 },
    /// A whole look.
    Whole { said: u32, removed: u32, added: u32 },
    /// A status line.
    Status { host: Box<[u8]>, second: Option<Second>, version: Option<Box<[u8]>> },
    /// A line that cannot be read.
    Dead { offset: u64, reason: Reason, head: Box<[u8]>, length: u64 },
}

/// What lines say, in their order.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) items: Vec<Item>,
    /// What the items' numbers stand for.
    pub(super) said: Vec<Arc<Said>>,
    rows: Vec<RowEnd>,
    /// What the rows' ends count in, while rows are put.
    bytes: Canonical,
    /// The same, once they were.
    buffer: Arc<[u8]>,
    /// Lines that are not blank.
    pub(super) lines: u64,
}

impl Parsed {
    /// So many rows from a row on; they lie in the buffer that all rows share.
    pub(super) fn rows(&self, from: usize, count: u32) -> impl ExactSizeIterator<Item = Row> {
        let mut start = from.checked_sub(1).map_or(0, |before| self.rows[before].end);
        self.rows[from..from + count as usize].iter().map(move |row| {
            let from = std::mem::replace(&mut start, row.end);
            Row::in_buffer(&self.buffer, from..row.end, row.hash)
        })
    }

    /// The bytes of so many rows from a row on.
    pub(super) fn row_bytes(&self, from: usize, count: u32) -> usize {
        let end_of = |rows: usize| rows.checked_sub(1).map_or(0, |last| self.rows[last].end as usize);
        end_of(from + count as usize) - end_of(from)
    }

    /// The bytes of all rows.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Nothing more will be put.
    fn finish(&mut self) {
        self.buffer = Arc::from(self.bytes.as_bytes());
    }

    /// Forgets everything, for lines to come.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.said.clear();
        self.rows.clear();
        self.bytes.truncate(0);
        self.bytes.shrink(KEPT_BYTES_MAX);
        self.buffer = Arc::default();
        self.lines = 0;
    }

    fn row_ends(&mut self, from: usize) {
        let end = self.bytes.len();
        self.rows.push(RowEnd { end: end as u32, hash: hash_of(&self.bytes.as_bytes()[from..end]) });
    }

    /// Adds a line of one row, which was put.
    #[inline]
    fn row_line(&mut self, number: u32) {
        self.lines += 1;
        match self.items.last_mut() {
            Some(Item::Rows { said, rows }) if *said == number => *rows += 1,
            _ => self.items.push(Item::Rows { said: number, rows: 1 }),
        }
    }

    /// A line beyond the limit of lines.
    pub(super) fn too_long(offset: u64, head: &[u8], length: u64) -> Parsed {
        let head = head[..head.len().min(HEAD_BYTES_MAX)].into();
        let items = vec![Item::Dead { offset, reason: Reason::TooLong, head, length }];
        Parsed { items, lines: 1, ..Parsed::default() }
    }
}

/// A query's name and how its rows are written.
struct Known {
    name: Name,
    meaning: Arc<Meaning>,
    shape: Option<Shape>,
    /// Rows that were not in the shape, since it was learned.
    strange: u32,
}

impl Known {
    /// Consumes a validated row and puts it.
    fn row(&mut self, scanner: &mut Scanner<'_>, readers: &mut Readers, parsed: &mut Parsed) {
        let from = parsed.bytes.len();
        let taken = match &mut self.shape {
            Some(shape) => shape.take(scanner.rest(), &mut readers.scratch, &mut parsed.bytes),
            None => None,
        };
        match taken {
            Some(bytes) => scanner.skip(bytes),
            None => {
                let start = scanner.position();
                let doubles = |column: &[u8]| self.meaning.doubles.iter().any(|double| **double == *column);
                let read = readers.reader.read(scanner, &doubles);
                debug_assert_eq!(read, Ok(()), "validated before");
                parsed.bytes.put(readers.reader.canonical());
                if self.strange.is_multiple_of(LEARN_ROWS) {
                    self.shape = Shape::of(scanner.since(start), doubles);
                }
                self.strange = self.strange.wrapping_add(1);
            }
        }
        parsed.row_ends(from);
    }
}

/// What rows are read with.
#[derive(Default)]
struct Readers {
    reader: RowReader,
    scratch: Vec<u8>,
}

/// What follows a row up to its newline, and what a line with it says.
struct Tail {
    text: Vec<u8>,
    said: Arc<Said>,
    /// Its number in the block at hand.
    number: Option<u32>,
}

/// The last line of one row that was read in full, and what is known of lines that begin like it.
#[derive(Default)]
struct Memo {
    /// Up to the row; empty if there is none.
    head: Vec<u8>,
    /// Place of its query in `known`.
    known: usize,
    tails: Vec<Tail>,
}

/// Turns lines into rows.
pub(super) struct Parser {
    catalogue: Arc<Catalogue>,
    map: StreamMap,
    /// Queries by name, as places in `known`.
    places: FxHashMap<Name, usize>,
    known: Vec<Known>,
    readers: Readers,
    memo: Memo,
}

impl Parser {
    /// A parser by these meanings of names.
    pub(super) fn new(catalogue: Arc<Catalogue>, map: StreamMap) -> Parser {
        Parser {
            catalogue,
            map,
            places: FxHashMap::default(),
            known: Vec::new(),
            readers: Readers::default(),
            memo: Memo::default(),
        }
    }

    /// Adds whole lines, the first of which begins at `offset` in its input.
    pub(super) fn block(&mut self, text: &[u8], offset: u64, parsed: &mut Parsed) {
        self.memo.tails.iter_mut().for_each(|tail| tail.number = None);
        let mut at = 0;
        while at < text.len() {
            if let Some(len) = self.like_before(&text[at..], parsed) {
                at += len;
                continue;
            }
            let end = memchr(b'\n', &text[at..]).map_or(text.len(), |len| at + len);
            self.line(&text[at..end], offset + at as u64, parsed);
            at = end + 1;
        }
        parsed.finish();
    }

    /// Adds one line of results and nothing after it.
    pub(super) fn one(&mut self, line: &ResultLine<'_>, parsed: &mut Parsed) {
        self.result(line, parsed);
        parsed.finish();
    }

    /// Takes a line off the front of `text` by the memo; tells its length with its newline.
    #[inline]
    fn like_before(&mut self, text: &[u8], parsed: &mut Parsed) -> Option<usize> {
        let memo = &mut self.memo;
        if memo.tails.is_empty() || !text.starts_with(&memo.head) {
            return None;
        }
        let shape = self.known[memo.known].shape.as_mut()?;
        let from = parsed.bytes.len();
        let row = shape.take(&text[memo.head.len()..], &mut self.readers.scratch, &mut parsed.bytes)?;
        let row_end = memo.head.len() + row;
        let Some(tail) = memo.tails.iter_mut().find(|tail| text[row_end..].starts_with(&tail.text)) else {
            parsed.bytes.truncate(from);
            return None;
        };
        let len = row_end + tail.text.len();
        if len - 1 > LINE_BYTES_MAX {
            parsed.bytes.truncate(from);
            return None;
        }
        let number = *tail.number.get_or_insert_with(|| {
            parsed.said.push(tail.said.clone());
            parsed.said.len() as u32 - 1
        });
        parsed.row_ends(from);
        parsed.row_line(number);
        Some(len)
    }

    /// Takes a line, without its newline.
    fn line(&mut self, line: &[u8], offset: u64, parsed: &mut Parsed) {
        match read_line(line) {
            Line::Blank => {}
            Line::Result(result) => {
                let number = self.result(&result, parsed);
                if let Body::Row { columns, .. } = result.body {
                    self.remember(line, columns, &result.name, number, parsed);
                }
            }
            Line::Status(StatusLine { host, second, version }) => {
                let version = version.map(|version| version.into_owned().into());
                parsed.lines += 1;
                parsed.items.push(Item::Status { host: host.into_owned().into(), second, version });
            }
            Line::Dead(reason) => {
                let head = line[..line.len().min(HEAD_BYTES_MAX)].into();
                parsed.lines += 1;
                parsed.items.push(Item::Dead { offset, reason, head, length: line.len() as u64 });
            }
        }
    }

    /// Takes a line that was read in full; tells the number of what it says.
    fn result(&mut self, line: &ResultLine<'_>, parsed: &mut Parsed) -> u32 {
        let place = self.place(&line.name);
        let Parser { known, readers, memo, .. } = self;
        let known = &mut known[place];
        let snapshot = matches!(line.body, Body::Snapshot(_) | Body::Row { action: Action::Snapshot, .. });
        let host = match memo.tails.last() {
            Some(last) if *last.said.host == *line.host => last.said.host.clone(),
            _ => Name::from(&*line.host),
        };
        let number = parsed.said.len() as u32;
        parsed.said.push(Arc::new(Said {
            host,
            name: known.name.clone(),
            meaning: known.meaning.clone(),
            kind: match known.meaning.evented {
                _ if snapshot => Kind::Snapshot,
                true => Kind::Event,
                false => Kind::Diff,
            },
            removed: matches!(line.body, Body::Row { action: Action::Removed, .. }),
            second: line.second,
            epoch: line.epoch,
            counter: line.counter,
            inferred: line.inferred,
        }));
        let mut rows = |json: &[u8], parsed: &mut Parsed| -> u32 {
            let before = parsed.rows.len();
            let read = Scanner::new(json).list(|scanner| {
                known.row(scanner, readers, parsed);
                Ok(())
            });
            debug_assert_eq!(read, Ok(()), "validated before");
            (parsed.rows.len() - before) as u32
        };
        match line.body {
            Body::Row { columns, .. } => {
                known.row(&mut Scanner::new(columns.json()), readers, parsed);
                parsed.row_line(number);
                return number;
            }
            Body::Batch { removed, added } => {
                let (removed, added) = (rows(removed.json(), parsed), rows(added.json(), parsed));
                parsed.items.push(Item::Whole { said: number, removed, added });
            }
            Body::Snapshot(list) => {
                let added = rows(list.json(), parsed);
                parsed.items.push(Item::Whole { said: number, removed: 0, added });
            }
        }
        parsed.lines += 1;
        number
    }

    /// Remembers a line of one row.
    fn remember(&mut self, line: &[u8], columns: RawObject<'_>, name: &[u8], number: u32, parsed: &Parsed) {
        let row = columns.json();
        let from = row.as_ptr().addr() - line.as_ptr().addr();
        let (head, tail) = (&line[..from], &line[from + row.len()..]);
        if head.len() > HEAD_MAX || tail.len() > HEAD_MAX {
            return;
        }
        let known = self.place(name);
        let memo = &mut self.memo;
        // The query's name may come after the row.
        if memo.head != head || memo.known != known {
            memo.head.clear();
            memo.head.extend_from_slice(head);
            memo.tails.clear();
            memo.known = known;
        }
        let said = parsed.said[number as usize].clone();
        let text = [tail, b"\n"].concat();
        memo.tails.retain(|other| other.text != text);
        if memo.tails.len() == TAILS_MAX {
            memo.tails.remove(0);
        }
        memo.tails.push(Tail { text, said, number: Some(number) });
    }

    /// The place of a query in `known`.
    fn place(&mut self, name: &[u8]) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        let meaning = Arc::new(Meaning::of(name, &self.map, &self.catalogue));
        let name = Name::from(name);
        self.places.insert(name.clone(), self.known.len());
        self.known.push(Known { name, meaning, shape: None, strange: 0 });
        self.known.len() - 1
    }
}
