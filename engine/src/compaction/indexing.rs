//! Which values the versions of a table have is noted while its streams are written, and what is worth its bytes becomes
//! an index.
//!
//! Invariants:
//! - A column is indexed for all streams that are runs or for none.
//! - Memory is bounded by [`POSTINGS_MAX`] postings and [`VALUES_MAX`] values of each column: beyond, first the versions
//!   are forgotten, then the column.
//!
//! How: each worker sorts the values of one stream; the writer adds them in the order of the streams. A column whose values
//! do not repeat is given up as soon as that shows, and workers no longer look at it.

use crate::error::Error;
use crate::fact::Name;
use crate::row::Row;
use crate::segment::index::{Builder, Postings};
use crate::segment::write::SegmentWriter;
use crate::timeline::regular::Lifetime;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// Postings of versions of one column in memory at most; beyond, the column is indexed by streams.
const POSTINGS_MAX: usize = 1 << 20;
/// Different values of one column in memory at most; beyond, the column has no index.
const VALUES_MAX: usize = 1 << 18;
/// A column with more than one value for so many versions has no index.
const VERSIONS_PER_VALUE_MIN: usize = 4;
/// So few versions tell nothing of how values repeat.
const VERSIONS_TELLING: usize = 1 << 14;
/// With postings of versions all indexes of a table may weigh this part of its data.
const VERSIONS_SHARE: usize = 8;
/// Below this size an index of a table is cheap whatever its data.
const CHEAP_BYTES: usize = 64 << 10;

/// The values of one column in one stream, each with the ordinals of its versions.
pub(super) struct OfColumn {
    column: Name,
    values: Vec<(Vec<u8>, Vec<u32>)>,
}

/// The indexes of one table under construction.
#[derive(Default)]
pub(super) struct Indexing {
    columns: Mutex<BTreeMap<Name, Column>>,
    /// Columns that will have no index.
    given_up: RwLock<FxHashSet<Name>>,
}

#[derive(Default)]
struct Column {
    builder: Builder,
    versions: usize,
    only_streams: bool,
}

impl Indexing {
    /// The values of a stream's versions, which are in the order of their ordinals.
    pub(super) fn values(&self, lifetimes: &[Lifetime], rows: &[Row]) -> Vec<OfColumn> {
        let given_up = self.given_up.read();
        let mut columns: FxHashMap<&[u8], FxHashMap<&[u8], Vec<u32>>> = FxHashMap::default();
        for (ordinal, lifetime) in (0..).zip(lifetimes) {
            for (column, value) in rows[lifetime.row as usize].columns() {
                if !given_up.contains(column) {
                    columns.entry(column).or_default().entry(value).or_default().push(ordinal);
                }
            }
        }
        drop(given_up);
        let of_column = |(column, values): (&[u8], FxHashMap<&[u8], Vec<u32>>)| OfColumn {
            column: Name::from(column),
            values: values.into_iter().map(|(value, versions)| (value.to_vec(), versions)).collect(),
        };
        columns.into_iter().map(of_column).collect()
    }

    /// Adds the values of stream `stream`; streams come in order.
    pub(super) fn add(&self, stream: u32, values: Vec<OfColumn>) {
        let mut columns = self.columns.lock();
        for OfColumn { column: name, values } in values {
            if self.given_up.read().contains(&name) {
                continue;
            }
            let column = columns.entry(name.clone()).or_default();
            for (value, versions) in &values {
                column.versions += versions.len();
                column.builder.add(value, stream, if column.only_streams { &versions[..1] } else { versions });
            }
            if !column.only_streams && column.builder.postings() > POSTINGS_MAX {
                column.builder.only_streams();
                column.only_streams = true;
            }
            let repeats = column.builder.values() * VERSIONS_PER_VALUE_MIN <= column.versions;
            if column.builder.values() > VALUES_MAX || !repeats && column.versions > VERSIONS_TELLING {
                columns.remove(&name);
                self.given_up.write().insert(name);
            }
        }
    }

    /// Writes the indexes that are worth it beside so many bytes of runs.
    pub(super) fn write(self, data_bytes: usize, writer: &mut SegmentWriter<'_>) -> Result<(), Error> {
        let mut columns = self.columns.into_inner();
        let weight = |column: &Column, of: Postings| {
            let mut bytes = Vec::new();
            column.builder.encode(of, &mut bytes);
            bytes.len()
        };
        let all: usize = columns.values().map(|column| weight(column, Postings::Versions)).sum();
        let cheap = all <= (data_bytes / VERSIONS_SHARE).max(CHEAP_BYTES);
        for (name, column) in &mut columns {
            // What has few versions may look like what does not repeat; it costs nothing either way.
            let repeats = column.builder.values() * VERSIONS_PER_VALUE_MIN <= column.versions;
            if !repeats && !(cheap && column.versions <= VERSIONS_TELLING) {
                continue;
            }
            let of = if cheap && !column.only_streams { Postings::Versions } else { Postings::Streams };
            if of == Postings::Streams {
                column.builder.only_streams();
            }
            writer.index(name, &column.builder, of)?;
        }
        Ok(())
    }
}
