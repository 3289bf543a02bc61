//! Notes: facts of the store's own that share the looks' storage, and with it their two clocks.
//!
//! What a user says (a map, an agent version), what lines tell beside their rows (versions, lines that cannot be read)
//! and which batches of a producer are in: each is a row in a stream of kind [`Kind::Note`], so a log, a segment and a
//! merge keep it as they keep a look, and `known_at` holds for it without further ado.
//!
//! Invariants:
//! - A note is never changed. What replaces an earlier one has a greater number.
//! - What is said of a producer answers no question, so of these notes only the one with the greatest number is kept (see
//!   [`is_last_only`]): a producer costs the same however long it sends.

use crate::fact::{Delivery, Inferred, Kind, Name, Second, StreamKey};
use crate::ingest::kept;
use crate::row::RowBuilder;
use std::sync::Arc;

/// An agent version noted from a line: host, observed second, column `version`.
pub const VERSION: &[u8] = b"version";

/// An agent version given by the user: host, counter = its number among the given, column `version`.
pub const GIVEN: &[u8] = b"given";

/// A stream map: counter = its number among the maps, column `text`.
pub const MAP: &[u8] = b"map";

/// A catalogue: counter = its number among the catalogues, column `text`.
pub const CATALOGUE: &[u8] = b"catalogue";

/// A batch of a producer: host = the producer's number in 32 hexadecimal digits, counter = the batch's sequence, column
/// `digest`: 16 hexadecimal digits that tell the batch from another with the same sequence; absent if the producer gave none.
pub const PRODUCER: &[u8] = b"producer";

/// What is held back of a producer's lines for one host of one source: host = the producer's number in 32 hexadecimal
/// digits, name = the source's length in decimal digits, a colon, the source, the host; counter = the sequence that brought
/// the last of it; columns `source`, `host` and, if anything is held back, `looks` (`ingest/kept.md`).
pub const HELD: &[u8] = b"held";

/// A dead letter: host = its source, counter = its offset there, columns `reason`, `bytes` and `length`.
pub const DEAD: &[u8] = b"dead";

/// All tables of notes.
pub(crate) const ALL: [&[u8]; 7] = [VERSION, GIVEN, MAP, CATALOGUE, PRODUCER, HELD, DEAD];

/// The stream that holds a host's notes of a table.
pub fn key(table: &[u8], host: &[u8]) -> StreamKey {
    StreamKey {
        table: Name::from(table),
        host: Name::from(host),
        name: Name::default(),
        kind: Kind::Note,
        sightings: false,
    }
}

/// A note as a delivery; `number` tells it apart from others of the table, host and second.
pub fn delivery(
    table: &[u8],
    host: &[u8],
    second: Second,
    number: Option<u64>,
    columns: &[(&[u8], &[u8])],
) -> Delivery {
    let mut builder = RowBuilder::new();
    columns.iter().for_each(|(name, text)| builder.column(name, text));
    Delivery {
        stream: Arc::new(key(table, host)),
        epoch: 0,
        counter: number,
        second,
        whole: false,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: vec![(builder.row(), 1)],
    }
}

/// The note of a line that cannot be read: where it is, why, and its first bytes.
pub fn of_dead(source: &[u8], offset: u64, reason: &str, head: &[u8], length: u64) -> Delivery {
    let length = length.to_string();
    let columns: [(&[u8], &[u8]); 3] =
        [(b"bytes", head), (b"length", length.as_bytes()), (b"reason", reason.as_bytes())];
    delivery(DEAD, source, 0, Some(offset), &columns)
}

/// Whether of the notes of a stream only the one with the greatest number counts, for every question.
pub fn is_last_only(key: &StreamKey) -> bool {
    key.kind == Kind::Note && [PRODUCER, HELD].contains(&&*key.table)
}

/// Whether a note of a stream with a number that is there already is none: of a source and an offset there is one dead letter.
pub fn is_once(key: &StreamKey) -> bool {
    key.kind == Kind::Note && *key.table == *DEAD
}

/// Whether a log has the notes of a stream in digests too: what they say decides what looks mean.
pub fn is_digested(key: &StreamKey) -> bool {
    key.kind == Kind::Note && ![HELD, DEAD].contains(&&*key.table)
}

/// The host of what is noted of a producer.
pub fn producer_host(producer: u128) -> String {
    format!("{producer:032x}")
}

/// The note that a producer's batch is in; a digest of 0 is none.
pub fn of_batch(producer: u128, sequence: u64, digest: u64) -> Delivery {
    let digest = (digest != 0).then(|| format!("{digest:016x}"));
    let column: Option<(&[u8], &[u8])> = digest.as_ref().map(|digest| (&b"digest"[..], digest.as_bytes()));
    delivery(PRODUCER, producer_host(producer).as_bytes(), 0, Some(sequence), column.as_slice())
}

/// The note of what is held back of a producer's lines for a host of a source; `looks` is empty if nothing is.
pub fn of_held(producer: u128, sequence: u64, source: &[u8], host: &[u8], looks: &[u8]) -> Delivery {
    let columns: [(&[u8], &[u8]); 3] = [(b"host", host), (b"source", source), (b"looks", looks)];
    let columns = &columns[..if looks.is_empty() { 2 } else { 3 }];
    let mut note = delivery(HELD, producer_host(producer).as_bytes(), 0, Some(sequence), columns);
    let name = [source.len().to_string().as_bytes(), b":", source, host].concat();
    note.stream = Arc::new(StreamKey { name: Name::from(name), ..(*note.stream).clone() });
    note
}

/// Whose looks are held back by a note, and of which seconds; `None` if it is no such note, or cannot be read.
pub(crate) fn held_looks(note: &Delivery) -> Option<Vec<(StreamKey, Second)>> {
    if note.stream.kind != Kind::Note || *note.stream.table != *HELD {
        return None;
    }
    let [(row, _)] = &note.added[..] else { return None };
    row.get(b"looks").map_or(Some(Vec::new()), |looks| kept::decode_heads(looks).ok())
}

/// Whose lines a note of what is held back is of, by its stream's name.
pub(crate) fn held_host(name: &[u8]) -> Option<&[u8]> {
    let colon = name.iter().position(|byte| *byte == b':')?;
    let source: usize = std::str::from_utf8(&name[..colon]).ok()?.parse().ok()?;
    name.get(colon + 1..)?.get(source..)
}
