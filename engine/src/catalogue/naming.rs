//! From a stream's name to its table.
//!
//! osquery's log names the query and not the table. The first of these that applies decides:
//!
//! 1. the first entry of the store's stream map that fits the name, if it gives a table;
//! 2. a schedule that the store knows, by its SQL: a source that stands here once schedules are kept;
//! 3. the last `/`-separated part of the name, if it is a table of the catalogue;
//! 4. for a name that begins with `pack_`, the longest table of the catalogue that follows a `_` and ends the name;
//! 5. the name itself.
//!
//! Invariants:
//! - A table from 3, 4 or 5 is marked `assumed`, whatever else the map says of the name.
//! - Every name has a table, and the result depends on name, map and catalogue alone.

use super::{Catalogue, StreamMap};
use crate::fact::Name;

/// What a stream's name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The table that the stream reports.
    pub table: Name,
    /// The table was concluded from the name, and nobody declared it.
    pub assumed: bool,
    /// The stream reports rows that leave; without that it has no state. True unless declared otherwise.
    pub removed: bool,
    /// The stream's query selects the whole table. False unless declared.
    pub whole: bool,
    /// The stream is the one to prefer among several of its table. False unless declared.
    pub primary: bool,
}

/// The meaning of a stream's name.
///
/// ```
/// use erstwhile_engine::catalogue::{Catalogue, StreamMap, table_of};
/// let mapping = table_of(b"pack/inventory/users", &StreamMap::empty(), &Catalogue::shipped());
/// assert_eq!(&*mapping.table, b"users");
/// assert!(mapping.assumed);
/// ```
pub fn table_of(name: &[u8], map: &StreamMap, catalogue: &Catalogue) -> Mapping {
    let entry = map.first_fit(name);
    let declared = entry.and_then(|entry| entry.table.clone());
    Mapping {
        assumed: declared.is_none(),
        table: declared.unwrap_or_else(|| assumed_table(name, catalogue)),
        removed: entry.is_none_or(|entry| entry.removed),
        whole: entry.is_some_and(|entry| entry.whole),
        primary: entry.is_some_and(|entry| entry.primary),
    }
}

fn assumed_table(name: &[u8], catalogue: &Catalogue) -> Name {
    let known = |part| catalogue.table(part).map(|table| table.name().clone());
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let in_pack = || {
        let after = |at: usize| &name[at + 1..];
        let mut ends = name.iter().enumerate().filter(|(_, byte)| **byte == b'_').map(|(at, _)| after(at));
        if name.starts_with(b"pack_") { ends.find_map(known) } else { None }
    };
    known(last).or_else(in_pack).unwrap_or_else(|| Name::from(name))
}
