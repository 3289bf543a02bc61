//! Which values the versions of a table have is noted while its streams are written, and what is worth its bytes becomes
//! an index.
//!
//! Invariants:
//! - A column is indexed for all streams that are runs or for none.
//! - Memory is bounded by [`POSTINGS_MAX`] postings and [`VALUES_MAX`] values of each column; what exceeds them has no
//!   index, or one that names streams and not versions.
//!
//! How: each worker sorts the values of one stream; the writer adds them in the order of the streams. A column whose values
//! do not repeat is given up as soon as that shows, and workers no longer look at it.

use crate::error::Error;
use crate::fact::{Name, Second};
use crate::options::{IndexRule, IndexRules};
use crate::row::Row;
use crate::segment::index::{Builder, Posting, Postings};
use crate::segment::write::SegmentWriter;
use crate::timeline::regular::Lifetime;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// Postings of one column in memory at most.
const POSTINGS_MAX: usize = 1 << 22;
/// Different values of one column in memory at most.
const VALUES_MAX: usize = 1 << 18;
/// Bytes of different values of one column in memory at most.
const VALUE_BYTES_MAX: usize = 256 << 20;
/// Where nothing is said of a column: its index may weigh this part of the table's data at most …
const SHARE_MAX: usize = 32;
/// … and all such indexes of a table together this part, the lightest first.
const SHARE_ALL_MAX: usize = 8;
/// Below this size an index is written whatever the table's data weigh.
const CHEAP_BYTES: usize = 2 << 10;
/// After so many versions a column is given up that has postings for more than every [`GIVE_UP_SHARE`]th of them.
const TELLING_VERSIONS: usize = 1 << 15;
/// See [`TELLING_VERSIONS`].
const GIVE_UP_SHARE: usize = 8;

/// The values of one column in one stream, each with its versions.
pub(super) struct OfColumn {
    column: Name,
    values: Vec<(Vec<u8>, Vec<Posting>)>,
}

/// The rule for a column, and of each value the postings.
type Values<'r> = (IndexRule, FxHashMap<&'r [u8], Vec<Posting>>);

/// The indexes of one table under construction.
pub(super) struct Indexing<'o> {
    table: &'o Name,
    rules: &'o IndexRules,
    columns: Mutex<BTreeMap<Name, Column>>,
    /// Columns that will have no index.
    given_up: RwLock<FxHashSet<Name>>,
}

struct Column {
    builder: Builder,
    versions: usize,
    rule: IndexRule,
}

impl<'o> Indexing<'o> {
    pub(super) fn new(table: &'o Name, rules: &'o IndexRules) -> Indexing<'o> {
        Indexing { table, rules, columns: Mutex::default(), given_up: RwLock::default() }
    }

    /// The values of a stream's versions, which are in the order of their ordinals; of a look is told when it was, if it is
    /// there, and when the one before it was.
    pub(super) fn values(
        &self,
        lifetimes: &[Lifetime],
        second: impl Fn(usize) -> Option<Second>,
        before: impl Fn(usize) -> Second,
        rows: &[Row],
    ) -> Vec<OfColumn> {
        let given_up = self.given_up.read();
        // By column, in the order of the last row's: the next row mostly has the same.
        let mut columns: Vec<(&[u8], Option<Values<'_>>)> = Vec::new();
        let mut places: FxHashMap<&[u8], usize> = FxHashMap::default();
        for (version, lifetime) in (0..).zip(lifetimes) {
            let since = before(lifetime.born as usize);
            let until = second(lifetime.died as usize).unwrap_or(Second::MAX);
            let mut at = 0;
            for (column, value) in rows[lifetime.row as usize].columns() {
                if columns.get(at).is_none_or(|known| known.0 != column) {
                    at = *places.entry(column).or_insert_with(|| {
                        let rule = || self.rules.of(self.table, &Name::from(column));
                        columns.push((column, (!given_up.contains(column)).then(|| (rule(), FxHashMap::default()))));
                        columns.len() - 1
                    });
                }
                if let Some((rule, values)) = &mut columns[at].1 {
                    let postings = values.entry(value).or_default();
                    // The stream's place is told when its turn comes.
                    if postings.is_empty() || matches!(rule, IndexRule::Versions | IndexRule::Times) {
                        postings.push(Posting { stream: 0, version, since, until });
                    }
                }
                at += 1;
            }
        }
        drop(given_up);
        let of_column = |(column, values): (&[u8], Values<'_>)| OfColumn {
            column: Name::from(column),
            values: values.1.into_iter().map(|(value, versions)| (value.to_vec(), versions)).collect(),
        };
        columns.into_iter().filter_map(|(column, values)| Some(of_column((column, values?)))).collect()
    }

    /// Adds the values of stream `stream`; streams come in order.
    pub(super) fn add(&self, stream: u32, versions: usize, values: Vec<OfColumn>) {
        let mut columns = self.columns.lock();
        for OfColumn { column: name, values } in values {
            if self.given_up.read().contains(&name) {
                continue;
            }
            let column = columns.entry(name.clone()).or_insert_with(|| Column {
                builder: Builder::default(),
                versions: 0,
                rule: self.rules.of(self.table, &name),
            });
            column.versions += versions;
            for (value, mut postings) in values {
                // Whoever read the stream may not know that this column's versions are no longer told.
                if !column.rule.is_of_versions() {
                    postings.truncate(1);
                }
                column.builder.add(&value, postings.into_iter().map(|posting| Posting { stream, ..posting }));
            }
            if column.rule.is_of_versions() && column.builder.postings() > POSTINGS_MAX {
                column.builder.only_streams();
                column.rule = IndexRule::Streams;
            }
            let (values, postings) = (column.builder.values(), column.builder.postings());
            let gives_up = match column.rule {
                IndexRule::None => true,
                IndexRule::Auto => column.versions > TELLING_VERSIONS && postings > column.versions / GIVE_UP_SHARE,
                IndexRule::Streams | IndexRule::Versions | IndexRule::Times => false,
            };
            let is_full = values > VALUES_MAX || postings > POSTINGS_MAX || column.builder.bytes() > VALUE_BYTES_MAX;
            if gives_up || is_full {
                columns.remove(&name);
                self.given_up.write().insert(name);
            }
        }
    }

    /// Writes the indexes that are worth it beside so many bytes of runs.
    pub(super) fn write(self, data_bytes: usize, writer: &mut SegmentWriter<'_>) -> Result<(), Error> {
        let columns = self.columns.into_inner();
        let of = |column: &Column| match column.rule {
            IndexRule::Versions => Postings::Versions,
            IndexRule::Times => Postings::Times,
            _ => Postings::Streams,
        };
        let mut auto: Vec<(usize, &Name)> = Vec::new();
        let mut bytes = Vec::new();
        for (name, column) in columns.iter().filter(|(_, column)| column.rule == IndexRule::Auto) {
            bytes.clear();
            column.builder.encode(of(column), &mut bytes);
            auto.push((bytes.len(), name));
        }
        auto.sort_unstable();
        let (mut chosen, mut all) = (FxHashSet::default(), 0);
        for (bytes, name) in auto {
            all += bytes;
            if bytes <= CHEAP_BYTES || bytes <= data_bytes / SHARE_MAX && all <= data_bytes / SHARE_ALL_MAX {
                chosen.insert(name);
            }
        }
        for (name, column) in &columns {
            if column.rule != IndexRule::Auto || chosen.contains(name) {
                writer.index(name, &column.builder, of(column))?;
            }
        }
        Ok(())
    }
}
