//! What a store weighs, table by table and age by age, who has fallen silent, and what waits to be merged.
//!
//! Only footers and directories are read: how many bytes a structure has follows from where the next one begins. What takes
//! reading data (keyframes, columns, reads, holes) is told to who asks for it.

// What reads cost.
mod reads;

pub use crate::packing::{ColumnWeight, ColumnWeights};
pub use reads::{KEYS_BESIDE_MAX, KEYS_PER_ROW_MAX};

use super::answer::Cost;
use super::question::ListQuestion;
use super::view::View;
use crate::compaction::plan;
use crate::error::{Error, Structure};
use crate::fact::{Kind, Name, Second};
use crate::segment::directory::Form;
use crate::segment::footer::read_trailer;
use crate::segment::{Segment, TableReader, corrupt};
use crate::store::sized;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Ages, each with its least number of seconds before now at which it ends; what is older is of the last.
pub const AGES: [(&str, Second); 5] =
    [("hour", 3_600), ("day", 86_400), ("week", 7 * 86_400), ("month", 30 * 86_400), ("older", Second::MAX)];

/// A host is silent once nothing came for so many times its usual interval.
pub const SILENT_INTERVALS: Second = 2;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsQuestion {
    /// The time that ages and silence count from.
    pub now: Second,
    /// Only this table.
    pub table: Option<Name>,
    /// A host is silent after so many seconds without a look; `None`: after [`SILENT_INTERVALS`].
    pub silent_after_seconds: Option<Second>,
    /// Whether keyframes are weighed too, for which all runs are read.
    pub keyframes: bool,
    /// Whether columns of rows are weighed, for which all rows are decoded.
    pub columns: bool,
    /// Whether reads are measured: some streams of each table are asked for as they were.
    pub reads: bool,
    /// Whether hosts with breaks are named, for which all looks are read.
    pub holes: bool,
}

/// Bytes of a table, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Structures {
    /// How rows are packed.
    pub dictionary: u64,
    /// Rows that are not in runs.
    pub rows: u64,
    /// Runs: looks, versions, keyframes and rows of regular streams.
    pub runs: u64,
    /// Looks of other streams.
    pub pieces: u64,
    /// Indexes of columns.
    pub indexes: u64,
    /// Directories.
    pub directories: u64,
}

impl Structures {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        self.clone().fields().map(|(name, bytes)| (name, *bytes))
    }

    /// All together.
    pub fn sum(&self) -> u64 {
        self.named().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What there is of some looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Deliveries of looks.
    pub looks: u64,
    /// Copies of rows that looks added and removed, or hold.
    pub rows: u64,
    /// Bytes on disk; 0 of what is in logs only.
    pub bytes: u64,
}

/// What some reads of a past moment cost, of one stream each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// How many there were.
    pub asked: u64,
    /// How many rows they found.
    pub rows: u64,
    /// How many keys they decoded.
    pub keys: u64,
    /// How many of them decoded more than [`KEYS_PER_ROW_MAX`] for a row and [`KEYS_BESIDE_MAX`] for a stream.
    pub beyond: u64,
}

/// All of the store is at most so many times its row versions, in hundredths, once it is large and merged.
pub const SPACE_PERCENT_MAX: u64 = 130;

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// How many streams bring it.
    pub streams: u64,
    /// How many hosts.
    pub hosts: u64,
    /// All of it.
    pub all: Amount,
    /// Row versions in runs.
    pub versions: u64,
    /// Its bytes by what they are.
    pub structures: Structures,
    /// The bytes of its indexes by column.
    pub indexes: BTreeMap<Name, u64>,
    /// Of the bytes of runs, those of keyframes; at most a third more than the rest. `None` if not asked for.
    pub keyframe_bytes: Option<u64>,
    /// What each column of its rows takes, so far as that is of one column. `None` if not asked for.
    pub columns: Option<ColumnWeights>,
    /// What reads cost. `None` if not asked for, and of tables without a state.
    pub reads: Option<Reads>,
    /// In how many segments it is: so many are read for a question, and what is not in one is replayed.
    pub segments: u64,
    /// It by [`AGES`]. A piece of a stream is spread evenly over the time from its first look to its last, and what is of
    /// no piece by rows.
    pub ages: [Amount; AGES.len()],
}

/// A host that sends nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Which.
    pub host: Name,
    /// Its last look.
    pub last: Second,
    /// Seconds from look to look on average, of its stream that looks most often; `None` if no stream has two.
    pub usual_seconds: Option<Second>,
}

/// What a store weighs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The tables.
    pub tables: BTreeMap<Name, TableStats>,
    /// How many hosts look.
    pub hosts: u64,
    /// Hosts that have fallen silent, the longest first.
    pub silent: Vec<Silent>,
    /// Hosts of which a stream has breaks, by name. `None` if not asked for.
    pub holes: Option<Vec<Name>>,
    /// How many segments there are,
    pub segments: u64,
    /// how many of them were never merged,
    pub unpacked_segments: u64,
    /// and the bytes of all.
    pub segment_bytes: u64,
    /// Of these, what is of no table that is asked for: notes, names of hosts, recorded times, footers, other tables.
    pub other_bytes: u64,
    /// Copies of rows in all segments,
    pub rows: u64,
    /// and in those beside the largest, which is at most an eighth of them where that is more than
    /// [`plan::BESIDE_MIN`] and a server has had time to merge.
    pub rows_beside: u64,
    /// Bytes of memory that what is in logs only takes.
    pub memtable_bytes: u64,
    /// How many segments merges that are due would read,
    pub debt_segments: u64,
    /// and how many bytes these merges would read, one after the other.
    pub debt_bytes: u64,
}

/// What is known of a host's or a stream's looks.
#[derive(Clone, Copy)]
struct Seen {
    first: Second,
    last: Second,
    looks: u64,
}

impl Seen {
    fn with(self, other: Seen) -> Seen {
        Seen { first: self.first.min(other.first), last: self.last.max(other.last), looks: self.looks + other.looks }
    }
}

type Stream = (Name, Name, Kind, bool);

/// Gathers from segments and memtables.
struct Gathering<'q> {
    question: &'q StatsQuestion,
    stats: Stats,
    /// Of each host and stream.
    seen: BTreeMap<Name, BTreeMap<Stream, Seen>>,
}

impl View {
    /// What the store weighs, which merges so many segments of like size into one (see `Options`).
    pub fn stats(&self, question: &StatsQuestion, merge_fanout: usize) -> Result<Stats, Error> {
        let mut gathering = Gathering { question, stats: Stats::default(), seen: BTreeMap::new() };
        for segment in self.segments() {
            gathering.segment(segment)?;
        }
        for memtable in self.memtables() {
            let memtable = memtable.read();
            for (name, table) in memtable.tables() {
                for (key, stream) in table.streams().filter(|(key, _)| key.kind != Kind::Note) {
                    let (Some(first), Some(last)) = (stream.parts().first(), stream.parts().last()) else {
                        continue;
                    };
                    let seen = Seen { first: first.second, last: last.second, looks: stream.parts().len() as u64 };
                    gathering.saw(&key.host, (name.clone(), key.name.clone(), key.kind, key.sightings), seen);
                    if gathering.is_asked(name) {
                        for part in stream.parts() {
                            let rows = (part.removed.len() + part.added.len()) as u64;
                            let amount = Amount { looks: 1, rows, bytes: 0 };
                            let table = gathering.stats.tables.entry(name.clone()).or_default();
                            table.all = table.all.plus(amount);
                            spread(&mut table.ages, amount, part.second, part.second, question.now);
                        }
                    }
                }
            }
        }
        let reads = if question.reads { reads::measure(self, &gathering)? } else { BTreeMap::new() };
        let mut stats = gathering.finish();
        for (table, reads) in reads {
            stats.tables.entry(table).or_default().reads = Some(reads);
        }
        stats.memtable_bytes = self.memtable_bytes() as u64;
        let segments = sized(self.segments())?;
        stats.unpacked_segments = segments.iter().filter(|segment| !segment.is_packed).count() as u64;
        stats.rows = segments.iter().map(|segment| segment.of.copies).sum();
        let largest = segments.iter().map(|segment| segment.of.copies).max().unwrap_or(0);
        stats.rows_beside = stats.rows - largest;
        let debt = segments.iter().map(|segment| (segment.of, segment.bytes)).collect();
        let (debt_segments, debt_bytes) = plan::debt(debt, merge_fanout, true);
        (stats.debt_segments, stats.debt_bytes) = (debt_segments as u64, debt_bytes);
        if question.holes {
            let question = ListQuestion { table: question.table.clone(), ..ListQuestion::default() };
            let streams = self.list_streams(&question)?;
            let holed = streams.into_iter().filter(|stream| !stream.breaks.is_empty()).map(|stream| stream.host);
            stats.holes = Some(holed.collect::<BTreeSet<Name>>().into_iter().collect());
        }
        Ok(stats)
    }
}

impl Amount {
    /// Both together.
    pub fn plus(self, other: Amount) -> Amount {
        Amount { looks: self.looks + other.looks, rows: self.rows + other.rows, bytes: self.bytes + other.bytes }
    }
}

impl Gathering<'_> {
    fn is_asked(&self, table: &Name) -> bool {
        self.question.table.as_ref().is_none_or(|asked| asked == table)
    }

    fn saw(&mut self, host: &Name, stream: Stream, seen: Seen) {
        let streams = self.seen.entry(host.clone()).or_default();
        streams.entry(stream).and_modify(|known| *known = known.with(seen)).or_insert(seen);
    }

    fn segment(&mut self, segment: &Arc<Segment>) -> Result<(), Error> {
        self.stats.segments += 1;
        self.stats.segment_bytes += segment.bytes();
        let lengths = lengths(segment)?;
        let mut told = 0;
        for reader in segment.tables() {
            told += self.table(&reader?, &lengths)?;
        }
        self.stats.other_bytes += segment.bytes().saturating_sub(told);
        Ok(())
    }

    /// Counts a table of a segment; tells its bytes, if it is asked for and no note.
    fn table(&mut self, reader: &TableReader<'_>, lengths: &BTreeMap<u64, u64>) -> Result<u64, Error> {
        let (directory, name) = (reader.directory, &reader.entry.name);
        let bytes_at = |offset: u64| lengths.get(&offset).copied().unwrap_or(0);
        let mut has_looks = false;
        for record in directory.records().filter(|record| record.kind != Kind::Note) {
            has_looks = true;
            let host = Name::from(directory.host(&record));
            let stream = (name.clone(), Name::from(directory.name(&record)), record.kind, record.sightings);
            let (first, last) = directory.extent(&record);
            let looks = directory.pieces_at(record.pieces.clone()).iter().map(|piece| piece.parts).sum();
            self.saw(&host, stream, Seen { first, last, looks });
        }
        if !has_looks || !self.is_asked(name) {
            return Ok(0);
        }
        let now = self.question.now;
        let table = self.stats.tables.entry(name.clone()).or_default();
        table.segments += 1;
        let mut structures = Structures {
            dictionary: if directory.dictionary == 0 { 0 } else { bytes_at(directory.dictionary) },
            rows: directory.row_blocks.iter().map(|(_, offset)| bytes_at(*offset)).sum(),
            directories: bytes_at(reader.entry.directory),
            ..Structures::default()
        };
        for (column, offset) in &directory.indexes {
            *table.indexes.entry(column.clone()).or_default() += bytes_at(*offset);
            structures.indexes += bytes_at(*offset);
        }
        let shared = structures.sum();
        let mut cost = Cost::default();
        if self.question.columns {
            reader.weigh_columns(table.columns.get_or_insert_default(), &mut cost)?;
        }
        let (mut left, copies) = (shared, reader.entry.copies);
        for record in directory.records() {
            if self.question.keyframes && record.run().is_some() {
                *table.keyframe_bytes.get_or_insert(0) += reader.run(&record, None).keyframe_bytes(&mut cost)?;
            }
            for piece in directory.pieces_at(record.pieces.clone()).iter() {
                let bytes = bytes_at(piece.offset);
                match record.form {
                    Form::Run => structures.runs += bytes,
                    Form::Facts => structures.pieces += bytes,
                }
                table.versions += piece.versions;
                let share = share(shared, piece.copies, copies);
                left = left.saturating_sub(share);
                let amount = Amount { looks: piece.parts, rows: piece.copies, bytes: bytes + share };
                table.all = table.all.plus(amount);
                spread(&mut table.ages, amount, piece.first, piece.last, now);
            }
            // They tell what was counted.
            for piece in directory.pieces_at(record.resolved.clone()).iter() {
                let amount = Amount { bytes: bytes_at(piece.offset), ..Amount::default() };
                structures.runs += amount.bytes;
                table.versions += piece.versions;
                table.all = table.all.plus(amount);
                spread(&mut table.ages, amount, piece.first, piece.last, now);
            }
        }
        // What rounding left over.
        let amount = Amount { bytes: left, ..Amount::default() };
        table.all = table.all.plus(amount);
        spread(&mut table.ages, amount, reader.entry.last, reader.entry.last, now);
        for ((_, sum), (_, more)) in table.structures.fields().into_iter().zip(structures.named()) {
            *sum += more;
        }
        Ok(structures.sum())
    }

    fn finish(mut self) -> Stats {
        let now = self.question.now;
        self.stats.hosts = self.seen.len() as u64;
        let mut of_table: BTreeMap<Name, (u64, BTreeSet<&Name>)> = BTreeMap::new();
        for (host, streams) in &self.seen {
            let all = streams.values().copied().reduce(Seen::with);
            let interval = |seen: &Seen| match seen.looks {
                0 | 1 => None,
                looks => Some(seen.last.saturating_sub(seen.first) / (looks - 1) as Second),
            };
            let usual_seconds = streams.values().filter_map(interval).filter(|usual| *usual > 0).min();
            let usual_max = usual_seconds.map(|usual| usual.saturating_mul(SILENT_INTERVALS));
            let after = self.question.silent_after_seconds.or(usual_max);
            if let (Some(Seen { last, .. }), Some(after)) = (all, after)
                && now.saturating_sub(last) > after
            {
                self.stats.silent.push(Silent { host: host.clone(), last, usual_seconds });
            }
            for (table, ..) in streams.keys() {
                let (streams, hosts) = of_table.entry(table.clone()).or_default();
                *streams += 1;
                hosts.insert(host);
            }
        }
        for (name, table) in &mut self.stats.tables {
            if let Some((streams, hosts)) = of_table.get(name) {
                (table.streams, table.hosts) = (*streams, hosts.len() as u64);
            }
        }
        self.stats.silent.sort_by(|a, b| (a.last, &a.host).cmp(&(b.last, &b.host)));
        self.stats
    }
}

impl Stats {
    /// The bytes of row versions, with what tells when they were; keyframes, indexes and directories are beside them.
    /// `None` if keyframes were not asked for.
    pub fn version_bytes(&self) -> Option<u64> {
        let of = |table: &TableStats| {
            let Structures { dictionary, rows, runs, pieces, indexes: _, directories: _ } = table.structures;
            // Without a run there is no keyframe.
            let keyframes = if runs == 0 { Some(0) } else { table.keyframe_bytes };
            Some(dictionary + rows + pieces + runs.saturating_sub(keyframes?))
        };
        self.tables.values().map(of).sum()
    }
}

impl Structures {
    fn fields(&mut self) -> [(&'static str, &mut u64); 6] {
        let Structures { dictionary, rows, runs, pieces, indexes, directories } = self;
        [
            ("dictionary", dictionary),
            ("rows", rows),
            ("runs", runs),
            ("pieces", pieces),
            ("indexes", indexes),
            ("directories", directories),
        ]
    }
}

/// The part of `whole` that `some` of `all` have, rounded down.
fn share(whole: u64, some: u64, all: u64) -> u64 {
    let share = u128::from(whole) * u128::from(some) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(whole)
}

/// Adds an amount to the ages that its time lies in; what rounding leaves over to that of its end.
fn spread(ages: &mut [Amount; AGES.len()], amount: Amount, first: Second, last: Second, now: Second) {
    let age_of = |second: Second| {
        let age = now.saturating_sub(second);
        AGES.iter().position(|(_, end)| age < *end).unwrap_or(AGES.len() - 1)
    };
    let end = age_of(last);
    let seconds = u64::try_from(last.saturating_sub(first)).unwrap_or(0);
    let mut left = amount;
    if seconds > 0 {
        for (at, (_, oldest)) in AGES.iter().enumerate().skip(end + 1).take(age_of(first) - end.min(age_of(first))) {
            // The seconds of this age, from its older end to its younger.
            let since = if *oldest == Second::MAX { first } else { now.saturating_sub(*oldest).max(first) };
            let until = now.saturating_sub(AGES[at - 1].1);
            let some = u64::try_from(until.saturating_sub(since)).unwrap_or(0).min(seconds);
            let part = Amount {
                looks: share(amount.looks, some, seconds),
                rows: share(amount.rows, some, seconds),
                bytes: share(amount.bytes, some, seconds),
            };
            ages[at] = ages[at].plus(part);
            left.looks -= part.looks.min(left.looks);
            left.rows -= part.rows.min(left.rows);
            left.bytes -= part.bytes.min(left.bytes);
        }
    }
    ages[end] = ages[end].plus(left);
}

/// How many bytes the frame at each offset has: frames follow each other without gaps.
fn lengths(segment: &Arc<Segment>) -> Result<BTreeMap<u64, u64>, Error> {
    let footer = segment.footer();
    let end = read_trailer(segment.map(), segment.id())
        .map_err(|fault| corrupt(segment.name(), segment.bytes(), Structure::Trailer, fault))?;
    let mut offsets = BTreeSet::from([footer.commits, footer.hosts, end]);
    for reader in segment.tables() {
        let TableReader { entry, directory, .. } = reader?;
        offsets.extend([entry.directory, directory.dictionary]);
        offsets.extend(directory.row_blocks.iter().map(|(_, offset)| *offset));
        offsets.extend(directory.indexes.iter().map(|(_, offset)| *offset));
        for record in directory.records() {
            let pieces = directory.pieces_at(record.pieces.start..record.resolved.end);
            offsets.extend((0..pieces.len()).map(|piece| pieces.offset(piece)));
        }
    }
    offsets.remove(&0);
    let next = offsets.iter().skip(1);
    Ok(offsets.iter().zip(next).map(|(&offset, &next)| (offset, next - offset)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(looks: u64) -> Amount {
        Amount { looks, rows: 2 * looks, bytes: 10 * looks }
    }

    /// Nothing is counted twice or lost, wherever a piece lies.
    #[test]
    fn what_is_spread_over_ages_sums_up() {
        let now = 1_545_645_600;
        let ago = |seconds: Second| now - seconds;
        let looks = |first, last| {
            let mut ages = [Amount::default(); AGES.len()];
            spread(&mut ages, amount(1_000), first, last, now);
            let sum = ages.into_iter().fold(Amount::default(), Amount::plus);
            assert_eq!(sum, amount(1_000), "{first} to {last}");
            ages.map(|age| age.looks)
        };
        assert_eq!(looks(ago(10), ago(5)), [1_000, 0, 0, 0, 0]);
        assert_eq!(looks(ago(7_200), ago(0)), [500, 500, 0, 0, 0]);
        assert_eq!(looks(ago(86_400), ago(86_400)), [0, 0, 1_000, 0, 0]);
        assert_eq!(looks(ago(14 * 86_400), ago(0)), [4, 68, 428, 500, 0]);
        assert_eq!(looks(ago(90 * 86_400), ago(60 * 86_400)), [0, 0, 0, 0, 1_000]);
        // A clock that runs ahead.
        assert_eq!(looks(ago(-500), ago(-100)), [1_000, 0, 0, 0, 0]);
        assert_eq!(looks(Second::MIN, Second::MAX).iter().sum::<u64>(), 1_000);
    }
}
