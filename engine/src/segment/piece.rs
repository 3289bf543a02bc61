//! The parts of one stream become a piece: a look table, and row versions by ordinal in it.
//!
//! A version says that a row with a count appears at one ordinal and disappears at another. For most parts that means:
//! added there, removed there. For a part that *repeats itself* (a snapshot, a counter 0 without removals) it means:
//! its content is what is alive after its ordinal. Either way the parts come back exactly as they were; what they mean
//! is not decided here, so it may change with what is known of the stream later. Where haste is worth more than bytes the
//! parts are [`listed`] instead.
//!
//! Invariants:
//! - `decode(encode(parts)) == parts`, for any parts in part order.
//! - Within a piece, versions with an appearance stand first, by it; those without follow, by disappearance.
//! - A decoder allocates no more than the counts allow that it has checked, and believes no ordinal unchecked.

use super::listed;
use crate::codec::{Fault, finish, ints, take_u8, varint};
use crate::fact::{Inferred, Kind};
use crate::memtable::part_key;
use crate::timeline::{Copies, Part, RowId};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Parts in one piece at most.
pub const PIECE_PARTS_MAX: usize = 2048;
/// Copies in one piece after which no further part is taken in.
pub const PIECE_COPIES_MAX: usize = 1 << 16;
/// What a decoder accepts at most: parts, and versions. Beyond is damage.
pub const DECODE_PARTS_MAX: u64 = 1 << 20;
/// See [`DECODE_PARTS_MAX`].
pub const DECODE_VERSIONS_MAX: u64 = 1 << 28;

/// The form of a piece of columns.
pub const FORM_COLUMNS: u8 = 0;
/// The form of a piece whose parts are listed.
pub const FORM_LISTED: u8 = 1;

/// What a piece counts before its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Parts.
    pub parts: usize,
    /// Row versions.
    pub versions: usize,
    /// Those of the versions that only disappear.
    pub orphans: usize,
}

impl Counts {
    /// Takes the counts off the front of a piece.
    pub fn take(bytes: &mut &[u8]) -> Result<Counts, Fault> {
        let (parts, versions, orphans) = (varint::take_u64(bytes)?, varint::take_u64(bytes)?, varint::take_u64(bytes)?);
        check_range(parts, DECODE_PARTS_MAX)?;
        check_range(versions, DECODE_VERSIONS_MAX)?;
        check_range(orphans, versions)?;
        Ok(Counts { parts: parts as usize, versions: versions as usize, orphans: orphans as usize })
    }

    /// The columns that follow, in order: name and number of values.
    pub fn columns(self) -> [(&'static str, usize); 11] {
        let (parts, versions, paired) = (self.parts, self.versions, self.versions - self.orphans);
        [
            ("second", parts),
            ("epoch", parts),
            ("counted", parts),
            ("counter", parts),
            ("flags", parts),
            ("recorded", parts),
            ("begin", paired),
            ("length", paired),
            ("end", self.orphans),
            ("row", versions),
            ("copies", versions),
        ]
    }
}

const FLAG_WHOLE: u64 = 1;
const FLAG_RUN: u64 = 2;
const INFERRED_SHIFT: u32 = 2;
const FLAGS_END: u64 = 16;

/// Whether a part is stored as what is alive after it rather than as what it added and removed.
fn stored_as_run(kind: Kind, part: &Part) -> bool {
    match kind {
        Kind::Snapshot => part.removed.is_empty(),
        Kind::Diff => part.counter == Some(0) && part.removed.is_empty(),
        Kind::Event | Kind::Note => false,
    }
}

/// One row version: columns of the piece's second half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    row: RowId,
    count: u64,
    /// The ordinal where it appears, plus one; 0 if it only disappears.
    begin: u64,
    /// The ordinal where it disappears, plus one; 0 if it does not within the piece.
    end: u64,
}

/// Pairs appearances with disappearances.
fn pair(kind: Kind, parts: &[Part]) -> Vec<Version> {
    let mut versions: Vec<Version> = Vec::new();
    let mut orphans: Vec<Version> = Vec::new();
    // Row -> versions that have not ended; ordered, so that runs end in row order.
    let mut open: BTreeMap<RowId, Vec<usize>> = BTreeMap::new();
    let pairs = matches!(kind, Kind::Diff | Kind::Snapshot);
    for (ordinal, part) in parts.iter().enumerate() {
        let at = ordinal as u64 + 1;
        if stored_as_run(kind, part) {
            let content: FxHashMap<RowId, u64> = part.added.iter().copied().collect();
            open.retain(|row, indexes| {
                let held: u64 = indexes.iter().fold(0, |sum, &i| versions[i].count.saturating_add(sum));
                let stays = content.get(row).is_some_and(|&count| count == held);
                if !stays {
                    indexes.iter().for_each(|&i| versions[i].end = at);
                }
                stays
            });
            for &(row, count) in &part.added {
                open.entry(row).or_insert_with(|| {
                    versions.push(Version { row, count, begin: at, end: 0 });
                    vec![versions.len() - 1]
                });
            }
            continue;
        }
        for &(row, count) in &part.removed {
            let indexes = open.get_mut(&row);
            let found = indexes.and_then(|indexes| {
                let found = indexes.iter().rposition(|&i| versions[i].count == count)?;
                Some((indexes.remove(found), indexes.is_empty()))
            });
            match found {
                Some((index, last)) => {
                    versions[index].end = at;
                    if last {
                        open.remove(&row);
                    }
                }
                None => orphans.push(Version { row, count, begin: 0, end: at }),
            }
        }
        for &(row, count) in &part.added {
            if pairs {
                open.entry(row).or_default().push(versions.len());
            }
            versions.push(Version { row, count, begin: at, end: 0 });
        }
    }
    versions.append(&mut orphans);
    versions
}

/// Appends the piece of `parts` as a list, whose rows take the numbers that `number` gives.
pub fn encode_listed<E>(
    parts: &[Part],
    number: impl FnMut(RowId) -> Result<RowId, E>,
    out: &mut Vec<u8>,
) -> Result<(), E> {
    debug_assert!(parts.is_sorted_by_key(part_key));
    out.push(FORM_LISTED);
    listed::encode_parts(parts, number, out)
}

/// Appends the piece of `parts`, which are of one stream and in part order.
pub fn encode(kind: Kind, parts: &[Part], out: &mut Vec<u8>) {
    debug_assert!(parts.is_sorted_by_key(part_key));
    out.push(FORM_COLUMNS);
    let versions = pair(kind, parts);
    let orphans = versions.iter().filter(|version| version.begin == 0).count();
    for number in [parts.len(), versions.len(), orphans] {
        varint::put_u64(out, number as u64);
    }
    let mut column = Vec::with_capacity(parts.len().max(versions.len()));
    let mut put = |values: &mut dyn Iterator<Item = u64>| {
        column.clear();
        column.extend(values);
        ints::encode(&column, out);
    };
    put(&mut parts.iter().map(|part| varint::fold(part.second)));
    put(&mut parts.iter().map(|part| part.epoch));
    put(&mut parts.iter().map(|part| u64::from(part.counter.is_some())));
    put(&mut parts.iter().map(|part| part.counter.unwrap_or(0)));
    put(&mut parts.iter().map(|part| {
        (u64::from(part.whole) * FLAG_WHOLE)
            | (u64::from(stored_as_run(kind, part)) * FLAG_RUN)
            | ((part.inferred as u64) << INFERRED_SHIFT)
    }));
    put(&mut parts.iter().map(|part| varint::fold(part.recorded)));
    let paired = versions.len() - orphans;
    put(&mut versions[..paired].iter().map(|version| version.begin - 1));
    put(&mut versions[..paired].iter().map(|version| version.end.saturating_sub(version.begin)));
    put(&mut versions[paired..].iter().map(|version| version.end - 1));
    put(&mut versions.iter().map(|version| u64::from(version.row)));
    put(&mut versions.iter().map(|version| version.count));
}

/// Reads a piece back. Rows are below `rows`.
pub fn decode(kind: Kind, mut bytes: &[u8], rows: u64) -> Result<Vec<Part>, Fault> {
    let bytes = &mut bytes;
    match take_u8(bytes)? {
        FORM_COLUMNS => {}
        FORM_LISTED => return listed::decode_parts(bytes, DECODE_PARTS_MAX, rows),
        found => return Err(Fault::Tag { found }),
    }
    let counts = Counts::take(bytes)?;
    let (n, m, paired) = (counts.parts, counts.versions, counts.versions - counts.orphans);
    let parts_count = n as u64;
    let mut columns: [Vec<u64>; 11] = Default::default();
    for (column, (_, count)) in columns.iter_mut().zip(counts.columns()) {
        *column = ints::decode(bytes, count)?;
    }
    let [seconds, epochs, counted, counters, flags, recorded, begins, lengths, ends, ids, copies] = columns;
    finish(bytes)?;
    let mut parts = Vec::with_capacity(n);
    let mut runs = Vec::with_capacity(n);
    for i in 0..n {
        check_range(flags[i], FLAGS_END - 1)?;
        check_range(counted[i], 1)?;
        let Some(inferred) = Inferred::from_segment_byte((flags[i] >> INFERRED_SHIFT) as u8) else {
            return Err(Fault::Range { found: flags[i], min: 0, max: FLAGS_END - 1 });
        };
        runs.push(flags[i] & FLAG_RUN != 0);
        parts.push(Part {
            epoch: epochs[i],
            counter: (counted[i] == 1).then_some(counters[i]),
            second: varint::unfold(seconds[i]),
            whole: flags[i] & FLAG_WHOLE != 0,
            inferred,
            recorded: varint::unfold(recorded[i]),
            removed: Vec::new(),
            added: Vec::new(),
        });
    }
    if matches!(kind, Kind::Event | Kind::Note) && runs.contains(&true) {
        return Err(Fault::Range { found: FLAG_RUN, min: 0, max: 0 });
    }
    let mut alive = Alive::default();
    let run_ordinals: Vec<usize> = (0..n).filter(|&i| runs[i]).collect();
    for i in 0..m {
        let (row, count) = (ids[i], copies[i]);
        check_range(row, rows.saturating_sub(1))?;
        if rows == 0 || count == 0 {
            return Err(Fault::Range { found: count, min: 1, max: rows });
        }
        let copies: Copies = (row as RowId, count);
        let (begin, end) = if i < paired {
            check_range(begins[i], parts_count.saturating_sub(1))?;
            let begin = begins[i];
            let end = (lengths[i] != 0).then(|| begin.saturating_add(lengths[i]));
            (Some(begin), end)
        } else {
            (None, Some(ends[i - paired]))
        };
        if let Some(end) = end {
            check_range(end, parts_count.saturating_sub(1))?;
            if !runs[end as usize] {
                parts[end as usize].removed.push(copies);
            }
        }
        if let Some(begin) = begin {
            if !runs[begin as usize] {
                parts[begin as usize].added.push(copies);
            }
            alive.note(&run_ordinals, begin as usize, end.map_or(n, |end| end as usize), copies);
        }
    }
    alive.fill(&run_ordinals, &mut parts);
    for part in &mut parts {
        for side in [&mut part.removed, &mut part.added] {
            if !side.is_sorted_by(|a, b| a.0 < b.0) {
                side.sort_unstable();
                if let Some(pair) = side.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(Fault::Order { previous: pair[0].0.into(), found: pair[1].0.into() });
                }
            }
        }
    }
    if let Some(at) = parts.windows(2).position(|pair| part_key(&pair[0]) > part_key(&pair[1])) {
        return Err(Fault::Order { previous: at as u64, found: at as u64 + 1 });
    }
    Ok(parts)
}

fn check_range(found: u64, max: u64) -> Result<(), Fault> {
    if found > max { Err(Fault::Range { found, min: 0, max }) } else { Ok(()) }
}

/// Versions that are alive after parts stored as runs.
#[derive(Default)]
struct Alive {
    /// (first run, run after the last, copies), runs counted among the run parts only.
    spans: Vec<(usize, usize, Copies)>,
}

impl Alive {
    fn note(&mut self, runs: &[usize], begin: usize, end: usize, copies: Copies) {
        let first = runs.partition_point(|&run| run < begin);
        let last = runs.partition_point(|&run| run < end);
        if first < last {
            self.spans.push((first, last, copies));
        }
    }

    /// Gives each run part the copies alive after it; copies of one row in several versions add up.
    fn fill(mut self, runs: &[usize], parts: &mut [Part]) {
        self.spans.sort_unstable_by_key(|&(first, _, (row, _))| (row, first));
        for (first, last, (row, count)) in self.spans {
            for &run in &runs[first..last] {
                match parts[run].added.last_mut() {
                    Some(copies) if copies.0 == row => copies.1 = copies.1.saturating_add(count),
                    _ => parts[run].added.push((row, count)),
                }
            }
        }
    }
}

/// Cuts the parts of a stream into pieces: how many of `parts` the next piece takes.
pub fn next_piece(parts: &[Part]) -> usize {
    let mut copies = 0;
    for (i, part) in parts.iter().take(PIECE_PARTS_MAX).enumerate() {
        copies += part.removed.len() + part.added.len();
        if copies >= PIECE_COPIES_MAX {
            return i + 1;
        }
    }
    parts.len().min(PIECE_PARTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = Part> {
        let copies = || proptest::collection::btree_map(0u32..6, 1u64..4, 0..5);
        let counter = prop_oneof![Just(None), Just(Some(0u64)), (1u64..4).prop_map(Some)];
        (0i64..20, 0u64..2, counter, any::<bool>(), 0u8..3, 0i64..9, copies(), copies()).prop_map(
            |(second, epoch, counter, whole, inferred, recorded, removed, added)| Part {
                epoch,
                counter,
                second,
                whole,
                inferred: Inferred::from_byte(inferred).unwrap(),
                recorded,
                removed: removed.into_iter().collect(),
                added: added.into_iter().collect(),
            },
        )
    }

    proptest! {
        /// Whatever the parts, and whatever they may mean, they come back as they were.
        #[test]
        fn parts_survive(kind in 0u8..3, mut parts in proptest::collection::vec(part(), 0..12)) {
            let kind = Kind::from_byte(kind).unwrap();
            parts.sort_by_key(part_key);
            let mut bytes = Vec::new();
            encode(kind, &parts, &mut bytes);
            let back = decode(kind, &bytes, 6).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{parts:?}"));
        }

        /// Damaged bytes give parts or a fault, never a panic.
        #[test]
        fn damage_never_panics(
            mut parts in proptest::collection::vec(part(), 0..12),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            parts.sort_by_key(part_key);
            let mut bytes = Vec::new();
            encode(Kind::Diff, &parts, &mut bytes);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = decode(Kind::Diff, &bytes, 6);
        }
    }
}
