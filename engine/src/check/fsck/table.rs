//! The meaning of a segment, table by table: streams and blocks of rows are shared out to threads, and what they have in
//! common is compared at the end.

use super::index::{Indexed, Sum};
use super::report::{Effect, Finding, LeftOut, Meaning, Wrong};
use super::segment::{SegmentFile, Table};
use super::{facts, rows, run};
use crate::check::loss::{Loss, What};
use crate::error::{Fault, Structure};
use crate::fact::{Kind, Micros, Second};
use crate::manifest::decode_summary;
use crate::memtable::Interner;
use crate::packing::Dictionary;
use crate::read::answer::Cost;
use crate::read::view::View;
use crate::row::Row;
use crate::segment::cache::Cache;
use crate::segment::directory::{Directory, Form, Layout, StreamEntry};
use crate::segment::{Frames, RowCursor, RowOf, Segment};
use crate::timeline::{self, moments::Moments};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A worker takes so many streams, or blocks of rows, at once.
const AT_ONCE: usize = 8;
/// Bytes of decoded blocks that are kept while agents are asked for.
const CACHE_BYTES: usize = 1 << 20;

/// What of a stream does not mean what it should.
pub(super) struct Bad {
    pub(super) offset: u64,
    pub(super) structure: Structure,
    pub(super) wrong: Wrong,
    /// The seconds of the looks that it concerns.
    pub(super) seconds: (Second, Second),
}

/// One table on its way.
pub(super) struct Checked<'t> {
    pub(super) file: &'t SegmentFile<'t>,
    pub(super) directory: &'t Directory,
    pub(super) dictionary: Option<Dictionary>,
    pub(super) commits: Option<&'t [Micros]>,
    pub(super) indexes: Vec<Indexed<'t>>,
    agents: Option<&'t View>,
    /// The first and the last row of each block whose rows must ascend.
    ends: Mutex<BTreeMap<usize, (Row, Row)>>,
}

/// What one worker saw.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) meaning: Meaning,
    left_out: LeftOut,
    pub(super) sums: Vec<Sum>,
}

pub(super) fn check(file: &SegmentFile<'_>) {
    // Agents are told of by notes of the same segment.
    let agents =
        file.meta.as_ref().and_then(|meta| Segment::open(file.work.storage, file.id, meta).ok()).map(|segment| {
            View::new(vec![Arc::new(segment)], Vec::new(), Arc::new(Cache::new(CACHE_BYTES)), Some(Micros::MAX))
        });
    for table in &file.tables {
        match &table.directory {
            Some(directory) => check_table(file, table, directory, agents.as_ref()),
            None => file.work.leave_out(&LeftOut { behind_damage: 1, ..LeftOut::default() }),
        }
    }
    if file.tables.iter().all(|table| table.directory.is_some()) {
        hosts(file);
        summary(file);
    }
}

fn check_table(file: &SegmentFile<'_>, table: &Table, directory: &Directory, agents: Option<&View>) {
    let dictionary = match directory.dictionary {
        0 => None,
        offset => {
            let frame = file.frame(offset, Frames::DICTIONARY).ok();
            let dictionary = frame.and_then(|frame| Dictionary::decode(frame.payload).ok());
            if dictionary.is_none() {
                // Nothing of the table's rows can be decoded; that was told.
                let behind_damage = (directory.streams() + directory.row_blocks.len()) as u64;
                return file.work.leave_out(&LeftOut { behind_damage, ..LeftOut::default() });
            }
            dictionary
        }
    };
    let is_open = |place: &usize| file.is_sound(directory.indexes[*place].1);
    let indexes = (0..directory.indexes.len()).filter(is_open).filter_map(|at| Indexed::open(file, directory, at));
    let checked = Checked {
        file,
        directory,
        dictionary,
        commits: file.commits.as_deref(),
        indexes: indexes.collect(),
        agents,
        ends: Mutex::default(),
    };
    extents(file, table, directory);
    let tally = checked.work();
    checked.ends(table);
    // Of a share both sides leave out the same.
    let is_whole = tally.left_out.behind_damage == 0 && !file.work.is_over();
    let mut left_out = tally.left_out;
    left_out.indexes += (directory.indexes.len() - checked.indexes.len()) as u64;
    if is_whole {
        checked.indexes.iter().zip(&tally.sums).for_each(|(index, sum)| index.compare(&checked, sum));
    } else {
        left_out.indexes += checked.indexes.len() as u64;
    }
    file.work.meaning(&tally.meaning);
    file.work.leave_out(&left_out);
}

impl Checked<'_> {
    /// Whether a stream is in the share.
    pub(super) fn is_chosen(&self, stream: usize) -> bool {
        let first = self.directory.record(stream).pieces.start;
        let offset = self.directory.pieces_at(first..first + 1).offset(0);
        self.file.work.is_chosen(self.file.id.number, offset)
    }

    /// Checks all streams and blocks of rows.
    fn work(&self) -> Tally {
        let (streams, blocks) = (self.directory.streams(), self.directory.row_blocks.len());
        let next = AtomicUsize::new(0);
        let all = Mutex::new(Tally { sums: vec![Sum::default(); self.indexes.len()], ..Tally::default() });
        let worker = || {
            let mut tally = Tally { sums: vec![Sum::default(); self.indexes.len()], ..Tally::default() };
            let (mut run, mut facts) = (run::Checker::new(self), facts::Checker::default());
            loop {
                let first = next.fetch_add(AT_ONCE, Ordering::Relaxed);
                if first >= streams + blocks {
                    break;
                }
                for at in first..(first + AT_ONCE).min(streams + blocks) {
                    match at.checked_sub(streams) {
                        None => self.stream(at, &mut run, &mut facts, &mut tally),
                        Some(block) => self.rows(block, &mut tally),
                    }
                }
            }
            let mut all = all.lock();
            all.meaning.add(&tally.meaning);
            all.left_out.add(&tally.left_out);
            all.sums.iter_mut().zip(&tally.sums).for_each(|(all, sum)| all.add(sum));
        };
        let threads = self.file.work.options.threads.min((streams + blocks).div_ceil(AT_ONCE));
        std::thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(worker)));
            worker();
        });
        all.into_inner()
    }

    fn stream(&self, at: usize, run: &mut run::Checker<'_>, facts: &mut facts::Checker, tally: &mut Tally) {
        if !self.is_chosen(at) || self.file.work.is_over() {
            tally.left_out.streams += 1;
            return;
        }
        let Some(stream) = self.directory.entry(at) else {
            return;
        };
        let mut pieces = stream.record.pieces.start..stream.record.resolved.end;
        if pieces.any(|piece| !self.file.is_sound(self.directory.pieces_at(piece..piece + 1).offset(0))) {
            tally.left_out.behind_damage += 1;
            return;
        }
        let done = match stream.record.form {
            Form::Run => self.agent(&stream).and_then(|()| run.check(at, &stream, tally)),
            Form::Facts => facts.check(self, &stream, tally),
        };
        tally.meaning.streams += 1;
        if let Err(Bad { offset, structure, wrong, seconds }) = done {
            // What of it is in an index is not known.
            tally.left_out.behind_damage += 1;
            let finding = Finding::damage(&self.file.name, offset, structure, wrong);
            let loss = Loss::of_stream(&stream.key, What::Looks, Some(seconds), self.file.recorded());
            return self.file.work.find(finding.meaning_for(Effect::Answers).with(vec![loss]));
        }
        // What is wrong with what facts mean is worked out anew by recovery, and nothing is lost.
        match self.resolved(at, &stream, run, tally) {
            Ok(is_checked) => tally.left_out.behind_damage += u64::from(!is_checked),
            Err(Bad { offset, structure, wrong, .. }) => {
                tally.left_out.behind_damage += 1;
                let finding = Finding::damage(&self.file.name, offset, structure, wrong);
                self.file.work.find(finding.meaning_for(Effect::Answers));
            }
        }
    }

    /// Checks the run beside a stream's facts, if there is one; false if it could not be checked.
    fn resolved(
        &self,
        at: usize,
        stream: &StreamEntry,
        run: &mut run::Checker<'_>,
        tally: &mut Tally,
    ) -> Result<bool, Bad> {
        if !stream.record.is_resolved() {
            return Ok(true);
        }
        let reader = self.agents.and_then(|agents| agents.segments().first()?.table(&stream.key.table).ok()?);
        let (Some(agents), Some(reader)) = (self.agents, reader) else {
            return Ok(false);
        };
        let (mut parts, mut rows, mut cost) = (Vec::new(), Interner::default(), Cost::default());
        let (cache, mut cursor) = (Cache::new(CACHE_BYTES), RowCursor::of_all());
        let number = |row: RowOf<'_>, cost: &mut Cost| match row {
            RowOf::Table(id) => Ok(rows.intern(&reader.row(id, &mut cursor, &cache, cost)?).0),
            RowOf::Own(row) => Ok(rows.intern(row).0),
        };
        let read = reader.all_parts(stream, &mut cost, number, |part| parts.push(part));
        let (Ok(()), Ok(agent)) = (read, agents.agent(&stream.key.host, Micros::MAX, &mut cost)) else {
            return Ok(false);
        };
        let rows = rows.into_rows();
        let timeline = timeline::build(stream.key.kind, parts, &rows, &agent);
        run.check_resolved(at, stream, Moments::new(&timeline), &rows, tally).map(|()| true)
    }

    /// Whether what the directory says of a stream's agent is what the notes say.
    fn agent(&self, stream: &StreamEntry) -> Result<(), Bad> {
        let record = &stream.record;
        let told = match (record.agent.is_any(), self.agents) {
            (true, _) => true,
            (false, None) => return Ok(()),
            (false, Some(agents)) => match agents.agent(&stream.key.host, Micros::MAX, &mut Default::default()) {
                Ok(history) => record.agent.fits(&history),
                // Notes that cannot be read are told of where they are.
                Err(_) => return Ok(()),
            },
        };
        if told == record.fits {
            return Ok(());
        }
        Err(Bad {
            offset: self.directory.pieces_at(record.pieces.clone()).offset(0),
            structure: Structure::Directory,
            wrong: Fault::Value { what: "word on whether the agent fits" }.into(),
            seconds: self.directory.extent(record),
        })
    }

    fn rows(&self, block: usize, tally: &mut Tally) {
        let (first, offset) = self.directory.row_blocks[block];
        if self.file.work.is_over() || !self.file.work.is_chosen(self.file.id.number, offset) {
            tally.left_out.row_blocks += 1;
            return;
        }
        if !self.file.is_sound(offset) {
            tally.left_out.behind_damage += 1;
            return;
        }
        let end = self.directory.row_blocks.get(block + 1).map_or(self.directory.rows, |next| next.0);
        match rows::check(self, offset, (end - first) as usize) {
            Ok(ends) => {
                tally.meaning.rows += end - first;
                if let Some(ends) = ends {
                    self.ends.lock().insert(block, ends);
                }
            }
            Err(wrong) => {
                let finding = Finding::damage(&self.file.name, offset, Structure::Rows, wrong);
                let mut losses = Default::default();
                let place = super::segment::Place::Rows(self.place(), first..end);
                super::lost::of(self.file, &place, &mut losses);
                self.file.work.find(finding.meaning_for(Effect::Answers).with(losses.finish()));
            }
        }
    }

    /// The table's place among those of the segment.
    fn place(&self) -> usize {
        let is_it = |table: &Table| table.directory.as_ref().is_some_and(|of| std::ptr::eq(of, self.directory));
        self.file.tables.iter().position(is_it).unwrap_or(0)
    }

    /// Whether rows in content order ascend from block to block.
    fn ends(&self, table: &Table) {
        if self.directory.layout != Layout::Shared {
            return;
        }
        let ends = self.ends.lock();
        for (block, (_, last)) in ends.iter() {
            if ends.get(&(block + 1)).is_some_and(|(first, _)| first <= last) {
                let offset = self.directory.row_blocks[block + 1].1;
                let fault = Fault::Order { what: "rows of a table that keeps each once" };
                let finding = Finding::damage(&self.file.name, offset, Structure::Rows, fault);
                let loss =
                    Loss { streams: crate::check::loss::Streams::of_table(&table.entry.name), ..Loss::nothing() };
                self.file.work.find(finding.meaning_for(Effect::Answers).with(vec![loss]));
            }
        }
    }
}

/// Whether a directory's lists of when streams begin and end are those of its streams.
fn extents(file: &SegmentFile<'_>, table: &Table, directory: &Directory) {
    let with_state = directory.records().filter(|record| record.has_state());
    let (mut firsts, mut lasts): (Vec<Second>, Vec<Second>) =
        with_state.map(|record| directory.extent(&record)).unzip();
    firsts.sort_unstable();
    lasts.sort_unstable();
    let is_so = directory.extents().eq(firsts.into_iter().zip(lasts));
    if !is_so {
        let wrong = Fault::Value { what: "list of when streams begin and end" };
        let finding = Finding::damage(&file.name, table.entry.directory, Structure::Directory, wrong);
        file.work.find(finding.meaning_for(Effect::Answers));
    }
}

/// Whether the list of hosts says of each rightly whether it has looks.
fn hosts(file: &SegmentFile<'_>) {
    let Some(hosts) = &file.hosts else {
        return;
    };
    let (mut has_looks, mut has_streams) = (vec![false; hosts.len()], vec![false; hosts.len()]);
    for record in file.tables.iter().filter_map(|table| table.directory.as_ref()).flat_map(Directory::records) {
        has_streams[record.host] = true;
        has_looks[record.host] |= record.kind != Kind::Note;
    }
    let wrong = (0..hosts.len()).filter(|host| hosts.has_looks(*host) != has_looks[*host] || !has_streams[*host]);
    let wrong = wrong.count() as u64;
    if wrong > 0 {
        let wrong = Wrong::Differs { what: "hosts of which looks are told wrongly", told: 0, found: wrong };
        let offset = file.hosts_at();
        let finding = Finding::damage(&file.name, offset, Structure::Hosts, wrong);
        file.work.find(finding.meaning_for(Effect::Answers));
    }
}

/// Whether the manifest's summary lists the segment's streams.
fn summary(file: &SegmentFile<'_>) {
    let Some(meta) = file.meta.as_ref().filter(|_| file.hosts.is_some()) else {
        return;
    };
    let found: u64 = file.tables.iter().filter_map(|table| Some(table.directory.as_ref()?.streams() as u64)).sum();
    let offset = file.footer_at();
    let (listed, left_out) = match decode_summary(&meta.summary) {
        Ok(summary) => summary,
        Err(fault) => {
            let finding = Finding::damage(&file.name, offset, Structure::Summary, fault);
            return file.work.find(finding.meaning_for(Effect::Nothing));
        }
    };
    file.differs(offset, Structure::Summary, "streams of the segment", listed.len() as u64 + left_out, found);
    for extent in &listed {
        let table = file.tables.iter().find(|table| table.entry.name == extent.stream.table);
        let directory = table.and_then(|table| table.directory.as_ref());
        let record = directory.and_then(|directory| Some((directory, directory.stream(&extent.stream)?.record)));
        let is_so = record.is_some_and(|(directory, record)| {
            let pieces = directory.pieces_at(record.pieces.clone());
            directory.extent(&record) == (extent.first, extent.last)
                && pieces.parts_before(pieces.len()) as u64 == extent.parts
        });
        if !is_so {
            let wrong = Fault::Value { what: "stream, its seconds or its parts in the manifest's summary" };
            let finding = Finding::damage(&file.name, offset, Structure::Summary, wrong);
            return file.work.find(finding.meaning_for(Effect::Nothing));
        }
    }
}
