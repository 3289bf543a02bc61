//! One segment: its structures from the end to the front, all its frames from the front to the end, and that each of
//! these is named by one of those.

use super::manifest::{header_fault, unread};
use super::report::{Effect, Finding, LeftOut, Next, Severity, Total, Wrong};
use super::taken::Taken;
use super::work::Work;
use super::{is_still_named, lost, table};
use crate::check::inspect::walk::{Stretch, Stretches};
use crate::check::loss::{Losses, of_segment};
use crate::codec;
use crate::error::{Fault, Structure};
use crate::fact::Micros;
use crate::format::frame::{
    FRAME_HEADER_BYTES, FileId, FileKind, Frame, HEADER_BYTES, UnverifiedFrame, kind, read_frame,
};
use crate::format::names;
use crate::io::{Mapped, MappedPart};
use crate::manifest::SegmentMeta;
use crate::packing::Dictionary;
use crate::segment::directory::{Directory, Form, PieceEntry};
use crate::segment::footer::{Footer, TRAILER_BYTES, TableEntry, read_trailer};
use crate::segment::hosts::Hosts;
use crate::segment::index::Index;
use crate::segment::{Frames, take_commits};
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

/// The place of segments among the totals.
const TOTAL: usize = 1;

/// The segments that the state in force names; without one all that are there.
pub(super) fn named(taken: &Taken) -> Box<dyn Iterator<Item = u64> + '_> {
    match &taken.around.manifest {
        Some(manifest) => Box::new(manifest.segments.keys().copied()),
        None => Box::new(taken.files.keys().filter_map(|name| match names::parse(name) {
            Some((FileKind::Segment, number)) => Some(number),
            _ => None,
        })),
    }
}

/// Checks a segment; false if it was replaced meanwhile.
pub(super) fn check(work: &Work<'_>, taken: &Taken, number: u64) -> bool {
    let name = names::segment(number);
    if work.is_over() {
        work.leave_out(&LeftOut {
            files: 1,
            bytes: taken.files.get(&name).copied().unwrap_or(0),
            ..LeftOut::default()
        });
        return true;
    }
    let meta = taken.around.manifest.as_ref().and_then(|manifest| manifest.segments.get(&number)).cloned();
    let all_lost = || {
        let mut losses = Losses::default();
        if let Some(meta) = meta.as_ref().filter(|_| !is_elsewhere(work, taken, &name, number)) {
            of_segment(meta, None, &mut losses);
        }
        losses.finish()
    };
    let map = match work.storage.map(&name) {
        Ok(map) => map,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_named = |now: &Taken| named(now).any(|named| named == number);
            let is_missing = is_still_named(work.storage, &name, is_named);
            if is_missing {
                work.find(Finding::file(Severity::Damage, &name, Fault::Missing.into()).with(all_lost()));
            }
            return is_missing;
        }
        Err(error) => {
            work.find(unread(&name, &error));
            return true;
        }
    };
    let id = FileId { store: taken.around.store.unwrap_or_default(), number };
    match header_fault(&map, &name, FileKind::Segment, taken.around.store.is_some().then_some(&id)) {
        None => {}
        Some(wrong @ Wrong::Version(_)) => {
            work.find(Finding::file(Severity::Warning, &name, wrong));
            return true;
        }
        Some(Wrong::Fault(fault @ Fault::Foreign { .. })) => {
            work.find(Finding::damage(&name, 0, Structure::FileHeader, fault).with(all_lost()));
            return true;
        }
        Some(wrong) => work.find(Finding::damage(&name, 0, Structure::FileHeader, wrong)),
    }
    let (found, needed) = (map.len() as u64, meta.as_ref().map_or(map.len() as u64, |meta| meta.bytes));
    if found != needed {
        let fault = codec::Fault::Length { needed, found };
        work.find(Finding::damage(&name, found.min(needed), Structure::File, fault));
    }
    let end = found.min(needed) as usize;
    SegmentFile {
        work,
        name,
        id,
        end,
        map,
        meta,
        tables: Vec::new(),
        footer: None,
        hosts: None,
        commits: None,
        walked: Walked::default(),
    }
    .check();
    true
}

/// Whether what should be in a file is in another.
fn is_elsewhere(work: &Work<'_>, taken: &Taken, name: &str, number: u64) -> bool {
    let is_it = |other: &String| {
        other != name
            && Taken::header(work.storage, other).is_some_and(|header| {
                header.kind == FileKind::Segment
                    && header.id.number == number
                    && taken.around.store.is_none_or(|store| store == header.id.store)
            })
    };
    taken.files.keys().any(is_it)
}

/// A segment on its way.
pub(super) struct SegmentFile<'w> {
    pub(super) work: &'w Work<'w>,
    pub(super) name: String,
    pub(super) id: FileId,
    pub(super) map: Mapped,
    /// Where its content ends.
    end: usize,
    pub(super) meta: Option<Arc<SegmentMeta>>,
    /// What is sound of its structures.
    footer: Option<(u64, Footer)>,
    pub(super) hosts: Option<Arc<Hosts>>,
    pub(super) commits: Option<Vec<Micros>>,
    pub(super) tables: Vec<Table>,
    walked: Walked,
}

/// A table that the footer names.
pub(super) struct Table {
    pub(super) entry: TableEntry,
    /// If it is sound.
    pub(super) directory: Option<Directory>,
}

/// The frames of a file.
#[derive(Default)]
struct Walked {
    /// Where the sound ones begin, and their types.
    sound: Vec<(u64, u8)>,
    /// What lies between them, and what is wrong with it.
    bad: Vec<(u64, u64, Fault)>,
    /// Where the time was up.
    end: u64,
}

impl Walked {
    /// The place of a frame among the sound ones.
    fn find(&self, offset: u64) -> Option<usize> {
        self.sound.binary_search_by_key(&offset, |frame| frame.0).ok()
    }

    /// The place of the bad stretch around an offset.
    fn bad_at(&self, offset: u64) -> Option<usize> {
        let after = self.bad.partition_point(|bad| bad.0 <= offset);
        after.checked_sub(1).filter(|at| offset < self.bad[*at].1)
    }
}

/// What a bad stretch held.
#[derive(Default)]
struct Held {
    /// The first structure that should begin there.
    first: Option<(u64, Structure)>,
    /// Whether the store does not open without it.
    closes: bool,
    losses: Losses,
}

/// What a structure of a segment names.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Footer,
    Hosts,
    Commits,
    /// Of a table, by its place.
    Directory(usize),
    Dictionary(usize),
    Index,
    /// Rows of a table, by number.
    Rows(usize, Range<u64>),
    /// A piece of a stream of a table, by its place there.
    Piece(usize, usize, PieceEntry),
    /// A piece of a run beside facts.
    Resolved,
}

impl Place {
    fn structure(&self) -> Structure {
        match self {
            Place::Footer => Structure::Footer,
            Place::Hosts => Structure::Hosts,
            Place::Commits => Structure::Commits,
            Place::Directory(_) => Structure::Directory,
            Place::Dictionary(_) => Structure::Dictionary,
            Place::Index => Structure::Index,
            Place::Rows(..) => Structure::Rows,
            Place::Piece(..) | Place::Resolved => Structure::Piece,
        }
    }

    fn effect(&self) -> Effect {
        if matches!(self, Place::Footer) { Effect::Store } else { Effect::Questions }
    }
}

impl SegmentFile<'_> {
    fn check(mut self) {
        let mut total = Total { files: 1, bytes: self.map.len() as u64, ..Total::default() };
        let content = &self.map[..self.end];
        let trailer = read_trailer(content, &self.id);
        if !self.work.is_quick() || trailer.is_err() {
            let frames_end = if trailer.is_ok() { self.end - TRAILER_BYTES } else { self.end };
            self.walked = self.walk(frames_end.max(HEADER_BYTES.min(self.end)), &mut total);
        } else {
            self.work.advance(self.end as u64);
            self.walked.end = self.end as u64;
        }
        self.work.total(TOTAL, total);
        let at = match &trailer {
            Ok(at) => Some(*at),
            Err(fault) => {
                let at = self.end.saturating_sub(TRAILER_BYTES) as u64;
                self.work.find(Finding::damage(&self.name, at, Structure::Trailer, *fault));
                // Alone it hides nothing: the footer is the last frame.
                self.walked.bad.pop_if(|bad| bad.0 == at);
                self.walked.sound.iter().rev().find(|frame| frame.1 == Frames::FOOTER).map(|frame| frame.0)
            }
        };
        let failed = self.open(at);
        self.report_bad(at.is_none() && self.footer.is_none());
        for (place, offset, fault) in failed {
            if self.walked.bad_at(offset).is_none() {
                self.report(&place, offset, fault);
            }
        }
        self.counts();
        if self.work.is_quick() {
            return;
        }
        self.references();
        if self.work.is_deep() {
            table::check(&self);
        }
    }

    /// Computes the checksums of all frames up to an end.
    fn walk(&self, end: usize, total: &mut Total) -> Walked {
        let content = &self.map[..end];
        let mut stretches = Stretches::new(content, &self.id, FileKind::Segment);
        let (mut walked, mut left_out, mut told) = (Walked::default(), LeftOut::default(), 0);
        loop {
            let at = stretches.at();
            self.work.advance(at.min(end as u64) - told);
            told = at.min(end as u64);
            if self.work.is_over() {
                left_out.bytes += end as u64 - told;
                break;
            }
            let passes = |said: &UnverifiedFrame| {
                let is_content = [Frames::ROWS, Frames::PACKED, Frames::PIECE, Frames::RUN, Frames::CHECKED_RUN]
                    .contains(&said.kind);
                is_content && !self.work.is_chosen(self.id.number, at)
            };
            if self.work.options.share.is_some()
                && let Some(said) = stretches.pass_over(passes)
            {
                walked.sound.push((at, said.kind));
                left_out.frames += 1;
                left_out.bytes += FRAME_HEADER_BYTES as u64 + u64::from(said.payload_len);
                continue;
            }
            match stretches.next() {
                None => break,
                Some(Stretch::Sound(at, frame)) => {
                    total.frames += 1;
                    total.bytes_verified += frame.end - at;
                    walked.sound.push((at, frame.kind));
                }
                Some(Stretch::Bad { at, end, fault }) => walked.bad.push((at, end, fault)),
            }
        }
        walked.end = told;
        self.work.leave_out(&left_out);
        walked
    }

    /// The frame that begins at `offset` and is of a type.
    pub(super) fn frame(&self, offset: u64, of: u8) -> Result<Frame<'_>, Fault> {
        let at = usize::try_from(offset).ok().filter(|at| (HEADER_BYTES..self.end).contains(at));
        let range = codec::Fault::Range { found: offset, min: HEADER_BYTES as u64, max: self.end as u64 };
        let frame = read_frame(&self.map[at.ok_or(range)?..self.end], &self.id, offset)?;
        match frame.kind {
            kind if kind == of => Ok(frame),
            found => Err(codec::Fault::Tag { found }.into()),
        }
    }

    /// Which of the types that a piece of a run may have it seems to have.
    fn kind_of_run(&self, offset: u64) -> u8 {
        let bytes = usize::try_from(offset).ok().and_then(|at| self.map.get(at..self.end)).unwrap_or_default();
        let is_checked = UnverifiedFrame::read(bytes).is_some_and(|said| said.kind == Frames::CHECKED_RUN);
        if is_checked { Frames::CHECKED_RUN } else { Frames::RUN }
    }

    /// The frame of a piece of a run.
    pub(super) fn run_frame(&self, offset: u64) -> Result<Frame<'_>, Fault> {
        self.frame(offset, self.kind_of_run(offset))
    }

    /// A frame's payload, to be kept.
    fn part(&self, offset: u64, of: u8) -> Result<MappedPart, Fault> {
        let len = self.frame(offset, of)?.payload.len();
        let start = offset as usize + FRAME_HEADER_BYTES;
        Ok(self.map.part(start..start + len))
    }

    /// Opens what tells of the rest; what fails is told with its place.
    fn open(&mut self, footer_at: Option<u64>) -> Vec<(Place, u64, Fault)> {
        let mut failed = Vec::new();
        let Some(at) = footer_at else {
            return failed;
        };
        let footer = self.frame(at, Frames::FOOTER).and_then(|frame| {
            let (told, is) = (self.meta.as_ref().map(|meta| meta.footer_crc), crc32fast::hash(frame.payload));
            match told.filter(|told| *told != is) {
                Some(expected) => Err(codec::Fault::Checksum { expected, found: is }.into()),
                None => Ok(Footer::decode(frame.payload)?),
            }
        });
        let footer = match footer {
            Ok(footer) => footer,
            Err(fault) => return vec![(Place::Footer, at, fault)],
        };
        let hosts = self.part(footer.hosts, Frames::HOSTS).and_then(|part| Ok(Hosts::open(part)?));
        match hosts {
            Ok(hosts) => self.hosts = Some(Arc::new(hosts)),
            Err(fault) => failed.push((Place::Hosts, footer.hosts, fault)),
        }
        let commits = self.frame(footer.commits, Frames::COMMITS);
        match commits.and_then(|frame| Ok(take_commits(&mut { frame.payload })?)) {
            Ok(commits) => self.commits = Some(commits),
            Err(fault) => failed.push((Place::Commits, footer.commits, fault)),
        }
        // Streams of hosts that nobody can name are told apart by number.
        let hosts = self.hosts.clone().unwrap_or_else(|| Arc::new(Hosts::unknown()));
        for (place, entry) in footer.tables.iter().enumerate() {
            let part = self.part(entry.directory, Frames::DIRECTORY);
            let directory = part.and_then(|part| Ok(Directory::open(&entry.name, hosts.clone(), part)?));
            if let Err(fault) = &directory {
                failed.push((Place::Directory(place), entry.directory, fault.clone()));
            }
            self.tables.push(Table { entry: entry.clone(), directory: directory.ok() });
        }
        self.footer = Some((at, footer));
        failed
    }

    /// Gives everything that a sound structure names: where it is, and the type that its frame must have.
    fn each_named(&self, mut each: impl FnMut(u64, u8, Place)) {
        let Some((at, footer)) = &self.footer else {
            return;
        };
        each(*at, Frames::FOOTER, Place::Footer);
        each(footer.hosts, Frames::HOSTS, Place::Hosts);
        each(footer.commits, Frames::COMMITS, Place::Commits);
        for (table, Table { entry, directory }) in self.tables.iter().enumerate() {
            each(entry.directory, Frames::DIRECTORY, Place::Directory(table));
            let Some(directory) = directory else {
                continue;
            };
            let is_packed = directory.dictionary != 0;
            if is_packed {
                each(directory.dictionary, Frames::DICTIONARY, Place::Dictionary(table));
            }
            directory.indexes.iter().for_each(|index| each(index.1, Frames::INDEX, Place::Index));
            let of_rows = if is_packed { Frames::PACKED } else { Frames::ROWS };
            for (i, &(first, offset)) in directory.row_blocks.iter().enumerate() {
                let end = directory.row_blocks.get(i + 1).map_or(directory.rows, |next| next.0);
                each(offset, of_rows, Place::Rows(table, first..end));
            }
            for (stream, record) in directory.records().enumerate() {
                let is_run = record.form == Form::Run;
                for piece in directory.pieces_at(record.pieces).iter() {
                    let of_piece = if is_run { self.kind_of_run(piece.offset) } else { Frames::PIECE };
                    each(piece.offset, of_piece, Place::Piece(table, stream, piece));
                }
                for piece in directory.pieces_at(record.resolved).iter() {
                    each(piece.offset, self.kind_of_run(piece.offset), Place::Resolved);
                }
            }
        }
    }

    /// Reports the stretches that hold no sound frame, by what should be there.
    fn report_bad(&self, without_footer: bool) {
        let mut held: Vec<Held> = self.walked.bad.iter().map(|_| Held::default()).collect();
        self.each_named(|offset, _, place| {
            if let Some(bad) = self.walked.bad_at(offset) {
                let held = &mut held[bad];
                if held.first.is_none_or(|first| offset < first.0) {
                    held.first = Some((offset, place.structure()));
                }
                held.closes |= place.effect() == Effect::Store;
                lost::of(self, &place, &mut held.losses);
            }
        });
        let last = self.walked.bad.last().map(|bad| bad.0);
        let mut footer_is_told = false;
        for ((at, _, fault), mut held) in self.walked.bad.iter().zip(held) {
            let mut structure = held.first.map_or(Structure::Frame, |first| first.1);
            if held.first.is_none() {
                // Whose it is would be told by what is bad itself.
                lost::of_unnamed(self, &mut held.losses);
                if self.footer.is_none() && last == Some(*at) {
                    (structure, held.closes, footer_is_told) = (Structure::Footer, true, true);
                }
            }
            let effect = if held.closes { Effect::Store } else { Effect::Questions };
            self.find(*at, structure, fault.clone().into(), effect, held.losses);
        }
        if without_footer && !footer_is_told {
            self.report(&Place::Footer, self.end as u64, Fault::Missing);
        }
    }

    /// Reports something that cannot be used.
    fn report(&self, place: &Place, offset: u64, fault: Fault) {
        let mut losses = Losses::default();
        lost::of(self, place, &mut losses);
        self.find(offset, place.structure(), fault.into(), place.effect(), losses);
    }

    fn find(&self, offset: u64, structure: Structure, wrong: Wrong, effect: Effect, losses: Losses) {
        let finding = Finding::damage(&self.name, offset, structure, wrong);
        self.work.find(finding.meaning_for(effect).with(losses.finish()));
    }

    /// A structure, whole by its checksum, of which a number is told otherwise elsewhere.
    pub(super) fn differs(&self, offset: u64, structure: Structure, what: &'static str, told: u64, found: u64) -> bool {
        if told != found {
            let wrong = Wrong::Differs { what, told, found };
            let effect = if structure == Structure::Directory { Effect::Answers } else { Effect::Nothing };
            self.find(offset, structure, wrong, effect, Losses::default());
        }
        told != found
    }

    /// Compares what manifest, footer and directories count.
    fn counts(&self) {
        let Some((at, footer)) = &self.footer else {
            return;
        };
        let differs = |what, told: i64, found: i64| {
            self.differs(*at, Structure::Footer, what, told as u64, found as u64);
        };
        if let Some(meta) = &self.meta {
            differs("least recorded time", meta.recorded.0, footer.recorded.0);
            differs("greatest recorded time", meta.recorded.1, footer.recorded.1);
            differs("tables", meta.tables.len() as i64, footer.tables.len() as i64);
            differs("parts", meta.parts as i64, footer.tables.iter().map(|table| table.parts as i64).sum());
            differs("copies", meta.versions as i64, footer.tables.iter().map(|table| table.copies as i64).sum());
            for (told, is) in meta.tables.iter().zip(&footer.tables) {
                differs("names of tables", 0, i64::from(told.table != is.name));
                differs("parts of a table", told.parts as i64, is.parts as i64);
                differs("copies of a table", told.versions as i64, is.copies as i64);
                differs("first second of a table", told.first, is.first);
                differs("last second of a table", told.last, is.last);
            }
        }
        if let Some(range) = self.commits.as_ref().and_then(|commits| Some((*commits.first()?, *commits.last()?))) {
            differs("first commit", footer.recorded.0, range.0);
            differs("last commit", footer.recorded.1, range.1);
        }
        for Table { entry, directory } in &self.tables {
            let Some(directory) = directory else {
                continue;
            };
            let differs = |what, told: i64, found: i64| {
                self.differs(entry.directory, Structure::Directory, what, told as u64, found as u64);
            };
            let (mut parts, mut copies, mut extent) = (0u64, 0u64, None);
            for record in directory.records() {
                let pieces = directory.pieces_at(record.pieces.clone());
                parts += pieces.parts_before(pieces.len()) as u64;
                copies = copies.wrapping_add(directory.copies(&record));
                for piece in pieces.iter() {
                    let (first, last) = extent.unwrap_or((piece.first, piece.last));
                    extent = Some((first.min(piece.first), last.max(piece.last)));
                }
            }
            let (first, last) = extent.unwrap_or((0, 0));
            differs("parts", entry.parts as i64, parts as i64);
            differs("copies", entry.copies as i64, copies as i64);
            differs("first second", entry.first, first);
            differs("last second", entry.last, last);
        }
    }

    /// Whether every reference leads to a frame of its type, and to one that no other leads to; and whether all frames
    /// are named.
    fn references(&self) {
        let walked = &self.walked;
        let mut is_named = vec![false; walked.sound.len()];
        self.each_named(|offset, of, place| {
            let fault = match walked.find(offset) {
                Some(at) if walked.sound[at].1 == of => match std::mem::replace(&mut is_named[at], true) {
                    false => self.unreadable(&place, offset),
                    true => Some(Fault::Order { what: "two references to one frame" }),
                },
                Some(at) => Some(codec::Fault::Tag { found: walked.sound[at].1 }.into()),
                None if walked.bad_at(offset).is_some() || offset >= walked.end && offset < self.end as u64 => None,
                None => Some(Fault::Missing),
            };
            // What the footer names was opened before.
            let is_told = matches!(&place, Place::Hosts if self.hosts.is_none())
                || matches!(&place, Place::Commits if self.commits.is_none())
                || matches!(&place, Place::Directory(table) if self.tables[*table].directory.is_none());
            if let Some(fault) = fault.filter(|_| !is_told) {
                self.report(&place, offset, fault);
            }
        });
        if self.footer.is_none() || self.tables.iter().any(|table| table.directory.is_none()) {
            return;
        }
        for (at, _) in is_named.iter().enumerate().filter(|(_, is_named)| !**is_named) {
            let (offset, of) = walked.sound[at];
            if of & kind::OPTIONAL == 0 {
                let unnamed = Wrong::Unnamed { why: "nothing in the segment names it, so nothing reads it" };
                let finding = Finding::damage(&self.name, offset, Structure::Frame, unnamed);
                let finding = finding.meaning_for(Effect::Nothing);
                self.work.find(Finding { severity: Severity::Warning, next: Next::Inspect, ..finding });
            }
        }
    }

    /// What is wrong with a dictionary or an index that verified, which are small beside what they serve.
    fn unreadable(&self, place: &Place, offset: u64) -> Option<Fault> {
        match place {
            Place::Dictionary(_) => {
                let frame = self.frame(offset, Frames::DICTIONARY);
                frame.and_then(|frame| Ok(Dictionary::decode(frame.payload).map(drop)?)).err()
            }
            Place::Index => {
                let frame = self.frame(offset, Frames::INDEX);
                frame.and_then(|frame| Ok(Index::open(frame.payload).map(drop)?)).err()
            }
            _ => None,
        }
    }

    /// Whether a frame can be used, as far as was seen.
    pub(super) fn is_sound(&self, offset: u64) -> bool {
        self.walked.bad_at(offset).is_none() && self.walked.find(offset).is_some()
    }

    /// Where the footer begins; 0 if it is not sound.
    pub(super) fn footer_at(&self) -> u64 {
        self.footer.as_ref().map_or(0, |footer| footer.0)
    }

    /// Where the list of hosts begins, by the footer.
    pub(super) fn hosts_at(&self) -> u64 {
        self.footer.as_ref().map_or(0, |footer| footer.1.hosts)
    }

    /// What the footer tells of recorded times.
    pub(super) fn recorded(&self) -> Option<(Micros, Micros)> {
        self.footer.as_ref().map(|footer| footer.1.recorded).or(self.meta.as_ref().map(|meta| meta.recorded))
    }
}
