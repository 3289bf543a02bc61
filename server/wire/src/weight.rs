//! What a store weighs: the question, and its answer in parts of tables and hosts, whose end has the sums.
//!
//! Invariant: what comes together again is what the engine told, field by field.

use crate::part::kind;
use crate::value::{Read, Reader, Writer};
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::stats::{
    AGES, Amount, ColumnWeight, ColumnWeights, Reads, Silent, Stats, StatsQuestion, Structures, TableStats,
};

/// A part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weighed {
    /// What tables weigh.
    Tables(Vec<(Name, TableStats)>),
    /// Hosts that have fallen silent.
    Silent(Vec<Silent>),
    /// Hosts with breaks.
    Holes(Vec<Name>),
}

impl Weighed {
    /// Whether a payload is a part of this answer, and not of one with rows.
    pub fn is_in(payload: &[u8]) -> bool {
        payload.first().is_some_and(|kind| (kind::WEIGHTS..=kind::HOLES).contains(kind))
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Read<Weighed> {
        let mut from = Reader::new(payload);
        let at = from;
        let part = match from.u8()? {
            kind::WEIGHTS => Weighed::Tables(get_tables(&mut from)?),
            kind::SILENT => Weighed::Silent(get_silent(&mut from)?),
            kind::HOLES => Weighed::Holes(get_holes(&mut from)?),
            _ => return Err(at.no("kind of part")),
        };
        from.end()?;
        Ok(part)
    }
}

/// Set where keyframes are asked for.
const KEYFRAMES: u8 = 1;
/// Set where hosts with breaks are asked for.
const HOLES: u8 = 2;
/// Set where columns are asked for.
const COLUMNS: u8 = 4;
/// Set where reads are to be measured.
const READS: u8 = 8;

pub(crate) fn put_question(to: &mut Writer<'_>, question: &StatsQuestion) {
    let StatsQuestion { now, table, silent_after_seconds, keyframes, columns, reads, holes } = question;
    to.int(*now);
    to.opt(table.as_ref(), |to, table| to.bytes(table));
    to.opt(silent_after_seconds.as_ref(), |to, seconds| to.int(*seconds));
    let bits = [(keyframes, KEYFRAMES), (holes, HOLES), (columns, COLUMNS), (reads, READS)];
    to.u8(bits.iter().filter(|(is, _)| **is).map(|(_, bit)| bit).sum());
}

pub(crate) fn get_question(from: &mut Reader<'_>) -> Read<StatsQuestion> {
    let (now, table, silent_after_seconds) = (from.second()?, from.opt(Reader::name)?, from.opt(Reader::int)?);
    let asked = from.below(2 * READS, "what is to be read")?;
    let is = |bit: u8| asked & bit != 0;
    let (keyframes, columns, reads, holes) = (is(KEYFRAMES), is(COLUMNS), is(READS), is(HOLES));
    Ok(StatsQuestion { now, table, silent_after_seconds, keyframes, columns, reads, holes })
}

fn put_amount(to: &mut Writer<'_>, amount: &Amount) {
    let Amount { looks, rows, bytes } = *amount;
    [looks, rows, bytes].into_iter().for_each(|count| to.uint(count));
}

fn get_amount(from: &mut Reader<'_>) -> Read<Amount> {
    Ok(Amount { looks: from.uint()?, rows: from.uint()?, bytes: from.uint()? })
}

/// So many numbers of a list, which a later server may make longer.
fn get_some<const N: usize>(from: &mut Reader<'_>, what: &'static str) -> Read<[u64; N]> {
    let at = *from;
    let all = from.list(1, Reader::uint)?;
    all.first_chunk().copied().ok_or_else(|| at.no(what))
}

/// Appends a part of tables.
pub fn put_tables(tables: &[(Name, TableStats)], out: &mut Vec<u8>) {
    let mut to = Writer::new(out);
    to.u8(kind::WEIGHTS);
    to.list(tables.iter(), |to, (name, table)| {
        let TableStats {
            streams,
            hosts,
            all,
            versions,
            structures,
            indexes,
            keyframe_bytes,
            columns,
            reads,
            segments,
            ages,
        } = table;
        to.bytes(name);
        [streams, hosts, versions, segments].into_iter().for_each(|count| to.uint(*count));
        put_amount(to, all);
        ages.iter().for_each(|age| put_amount(to, age));
        to.list(structures.named().into_iter(), |to, (_, bytes)| to.uint(bytes));
        to.list(indexes.iter(), |to, (column, bytes)| {
            to.bytes(column);
            to.uint(*bytes);
        });
        to.opt(keyframe_bytes.as_ref(), |to, bytes| to.uint(*bytes));
        to.opt(columns.as_ref(), |to, columns| {
            to.list(columns.iter(), |to, (column, ColumnWeight { rows, text_bytes, bits })| {
                to.bytes(column);
                [rows, text_bytes, bits].into_iter().for_each(|count| to.uint(*count));
            });
        });
        to.opt(reads.as_ref(), |to, Reads { asked, rows, keys, beyond }| {
            [asked, rows, keys, beyond].into_iter().for_each(|count| to.uint(*count));
        });
    });
}

fn get_structures(from: &mut Reader<'_>) -> Read<Structures> {
    let [dictionary, rows, runs, pieces, indexes, directories] = get_some(from, "bytes of all structures")?;
    Ok(Structures { dictionary, rows, runs, pieces, indexes, directories })
}

fn get_tables(from: &mut Reader<'_>) -> Read<Vec<(Name, TableStats)>> {
    from.list(27, |from| {
        let name = from.name()?;
        let (streams, hosts, versions, segments) = (from.uint()?, from.uint()?, from.uint()?, from.uint()?);
        let all = get_amount(from)?;
        let mut ages = [Amount::default(); AGES.len()];
        for age in &mut ages {
            *age = get_amount(from)?;
        }
        let structures = get_structures(from)?;
        let indexes = from.list(2, |from| Ok((from.name()?, from.uint()?)))?.into_iter().collect();
        let keyframe_bytes = from.opt(Reader::uint)?;
        let columns = from.opt(get_columns)?;
        let reads = from.opt(|from| {
            Ok(Reads { asked: from.uint()?, rows: from.uint()?, keys: from.uint()?, beyond: from.uint()? })
        })?;
        let table = TableStats {
            streams,
            hosts,
            all,
            versions,
            structures,
            indexes,
            keyframe_bytes,
            columns,
            reads,
            segments,
            ages,
        };
        Ok((name, table))
    })
}

fn get_columns(from: &mut Reader<'_>) -> Read<ColumnWeights> {
    let columns = from.list(4, |from| {
        let name = from.name()?;
        Ok((name, ColumnWeight { rows: from.uint()?, text_bytes: from.uint()?, bits: from.uint()? }))
    });
    Ok(columns?.into_iter().collect())
}

/// Appends a part of hosts that have fallen silent.
pub fn put_silent(silent: &[Silent], out: &mut Vec<u8>) {
    let mut to = Writer::new(out);
    to.u8(kind::SILENT);
    to.list(silent.iter(), |to, Silent { host, last, usual_seconds }| {
        to.bytes(host);
        to.int(*last);
        to.opt(usual_seconds.as_ref(), |to, seconds| to.int(*seconds));
    });
}

fn get_silent(from: &mut Reader<'_>) -> Read<Vec<Silent>> {
    from.list(3, |from| Ok(Silent { host: from.name()?, last: from.second()?, usual_seconds: from.opt(Reader::int)? }))
}

/// Appends a part of hosts with breaks.
pub fn put_holes(hosts: &[Name], out: &mut Vec<u8>) {
    let mut to = Writer::new(out);
    to.u8(kind::HOLES);
    to.list(hosts.iter(), |to, host| to.bytes(host));
}

fn get_holes(from: &mut Reader<'_>) -> Read<Vec<Name>> {
    from.list(1, Reader::name)
}

/// Appends the sums.
pub(crate) fn put_sums(to: &mut Writer<'_>, stats: &Stats) {
    let Stats {
        tables: _,
        silent: _,
        holes: _,
        hosts,
        segments,
        unpacked_segments,
        segment_bytes,
        other_bytes,
        rows,
        rows_beside,
        memtable_bytes,
        debt_segments,
        debt_bytes,
    } = stats;
    let all = [
        hosts,
        segments,
        unpacked_segments,
        segment_bytes,
        other_bytes,
        rows,
        rows_beside,
        memtable_bytes,
        debt_segments,
        debt_bytes,
    ];
    to.list(all.into_iter(), |to, sum| to.uint(*sum));
}

/// The sums, of which tables and hosts are not.
pub(crate) fn get_sums(from: &mut Reader<'_>) -> Read<Stats> {
    let [
        hosts,
        segments,
        unpacked_segments,
        segment_bytes,
        other_bytes,
        rows,
        rows_beside,
        memtable_bytes,
        debt_segments,
        debt_bytes,
    ] = get_some(from, "sums")?;
    Ok(Stats {
        hosts,
        segments,
        unpacked_segments,
        segment_bytes,
        other_bytes,
        rows,
        rows_beside,
        memtable_bytes,
        debt_segments,
        debt_bytes,
        ..Stats::default()
    })
}
