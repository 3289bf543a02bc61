//! Notes: facts of the store's own that share the looks' storage, and with it their two clocks.
//!
//! What a user says (a map, an agent version), what lines tell beside their rows (versions, lines that cannot be read)
//! and which batches of a producer are in: each is a row in a stream of kind [`Kind::Note`], so a log, a segment and a
//! merge keep it as they keep a look, and `known_at` holds for it without further ado.
//!
//! Invariant: a note is never changed. What replaces an earlier one has a greater number.

use crate::fact::{Delivery, Inferred, Kind, Name, Second, StreamKey};
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

/// A batch of a producer: host = the producer's number in 32 hexadecimal digits, counter = the batch's sequence.
pub const PRODUCER: &[u8] = b"producer";

/// A dead letter: host = its source, counter = its offset there, columns `reason`, `bytes` and `length`.
pub const DEAD: &[u8] = b"dead";

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

/// The note that a producer's batch is in.
pub fn of_batch(producer: u128, sequence: u64) -> Delivery {
    delivery(PRODUCER, format!("{producer:032x}").as_bytes(), 0, Some(sequence), &[])
}
