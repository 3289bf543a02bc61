//! The commits of logs, those behind damage too: each is whole by itself.
//!
//! Invariants:
//! - A torn end is no loss: nothing of it was acknowledged as durable (`log/log.md`).
//! - What else is not whole is lost: by its digests ([`account`](crate::check::account)) the looks that it held, and without
//!   them everything that may have been recorded from the commit before it to the one after, of whatever streams.

use super::known::Known;
use super::marks::EVER;
use super::{Fate, Found, Work};
use crate::check::account::{Account, Gone};
use crate::check::inspect::log::durable_said;
use crate::check::inspect::walk::{Stretch, stretches};
use crate::codec::Effort;
use crate::error::Error;
use crate::fact::{Batch, Commit, Micros, StreamKey};
use crate::format::frame::{FileHeader, FileId, FileKind, HEADER_BYTES, kind, read_frame};
use crate::format::names;
use crate::log::{Digested, Previous, decode_record, decode_start};
use crate::memtable::Memtable;
use crate::note::{is_digested, is_last_only};
use crate::segment::seal::seal;
use crate::segment::write::SegmentWriter;
use crate::timeline::loss::Loss;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A segment is written of about so many bytes of memory.
const MEMTABLE_BYTES_MAX: usize = 64 << 20;

/// What goes on from log to log.
struct Taking {
    memtable: Memtable,
    /// The recorded time of the last commit that was taken.
    last: Option<Micros>,
    /// Since when anything may be lost, if it may until the next commit.
    since: Option<Micros>,
    /// Lost notes of which only the last counts, while none came after them.
    last_notes: BTreeMap<Arc<StreamKey>, LastNote>,
}

/// A lost note of which only the last counts.
struct LastNote {
    loss: Loss,
    /// The looks that it holds back, if its digest could tell.
    looks: Option<Vec<Digested>>,
    recorded: Micros,
}

/// What is lost of one log.
#[derive(Default)]
struct Lost {
    batches: BTreeSet<u64>,
    streams: BTreeSet<Arc<StreamKey>>,
}

impl Work<'_> {
    /// Takes the commits of all logs that may hold what segments lack.
    pub(super) fn logs(&mut self, files: &[Found], known: &Known) -> Result<(), Error> {
        let mut logs: Vec<&Found> = files.iter().filter(|file| file.kind == FileKind::Log).collect();
        logs.sort_by_key(|file| file.number);
        logs.dedup_by_key(|file| file.number);
        let (old, logs): (Vec<&Found>, Vec<&Found>) = logs.into_iter().partition(|file| file.number < known.log_floor);
        for file in old {
            self.tell(&file.name, Fate::LeftOut { why: "segments hold what it held".to_owned() });
        }
        let mut taking = Taking {
            memtable: Memtable::new(),
            last: self.metas.iter().map(|meta| meta.recorded.1).max(),
            since: None,
            last_notes: BTreeMap::new(),
        };
        let followed: Vec<Option<Previous>> = logs.iter().map(|file| self.previous_of(file)).collect();
        let published = known.durable.filter(|durable| durable.number >= known.log_floor && durable.readable > 0);
        let is_there = |number: u64| logs.iter().any(|file| file.number == number);
        for (at, file) in logs.iter().enumerate() {
            if let Some(previous) = followed[at]
                && known.is_told
                && previous.number >= known.log_floor
                && !is_there(previous.number)
                && published.is_none_or(|durable| durable.number != previous.number)
            {
                self.tell(&names::log(previous.number), Fate::Lost { why: "it is not there".to_owned() });
                taking.since.get_or_insert(taking.last.unwrap_or(EVER));
            }
            let durable = published.filter(|durable| durable.number == file.number).map_or(0, |durable| durable.len);
            let told = followed.iter().flatten().find(|previous| previous.number == file.number);
            let is_newest = at + 1 == logs.len();
            self.log(file, is_newest, durable.max(told.map_or(0, |told| told.end)), &mut taking)?;
        }
        if let Some(durable) = published
            && !is_there(durable.number)
            // Without a manifest a younger segment shows that the log was sealed and removed.
            && (known.is_told
                || !files.iter().any(|file| file.kind == FileKind::Segment && file.number > durable.number))
        {
            self.tell(&names::log(durable.number), Fate::Lost { why: "it is not there".to_owned() });
            taking.since.get_or_insert(taking.last.unwrap_or(EVER));
        }
        if let Some(from) = taking.since {
            self.marks.lose_recorded(from, Micros::MAX, Loss::OF_ALL);
        }
        for (note, LastNote { loss, looks, recorded }) in std::mem::take(&mut taking.last_notes) {
            match looks {
                Some(looks) => {
                    for Digested { stream, first, last } in looks {
                        self.marks.lose(&stream, Loss::between(first, last), recorded);
                    }
                }
                None => self.marks.lose(&note, loss, recorded),
            }
        }
        self.seal(&mut taking.memtable)
    }

    /// The log that a log says it follows.
    fn previous_of(&self, file: &Found) -> Option<Previous> {
        // Mapped, since the rest is read later.
        let map = self.from.map(&file.name).ok()?;
        let id = FileId { store: self.store, number: file.number };
        let frame = read_frame(map.get(HEADER_BYTES..)?, &id, HEADER_BYTES as u64).ok()?;
        decode_start(frame.payload).ok().filter(|_| frame.kind == kind::LOG_START)?
    }

    /// Takes the commits of a log that was once at least `len` bytes long.
    fn log(&mut self, file: &Found, is_newest: bool, len: u64, taking: &mut Taking) -> Result<(), Error> {
        let name = &*file.name;
        let bytes = match self.from.read_from(name, 0) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.tell(name, Fate::Lost { why: error.to_string() });
                taking.since.get_or_insert(taking.last.unwrap_or(EVER));
                return Ok(());
            }
        };
        let id = FileId { store: self.store, number: file.number };
        let mut why = None;
        if FileHeader::decode(&bytes).is_err() {
            why = Some("at 0: its header is damaged".to_owned());
        }
        let found = stretches(&bytes, &id, FileKind::Log);
        let account = Account::of(&bytes, &found, HEADER_BYTES as u64);
        // How far the log was durable when what stands after each place was written.
        let said = durable_said(&found);
        // Another log follows only what was finished.
        let len = if is_newest { len } else { len.max(bytes.len() as u64) };
        let (mut parts, mut lost) = (0, Lost::default());
        for (at, stretch) in found.iter().enumerate() {
            let (offset, fault, gone) = match stretch {
                Stretch::Bad { at: offset, .. } if is_newest && *offset >= said[at].max(len) => continue,
                Stretch::Bad { at: offset, fault, .. } => (*offset, fault.to_string(), account.gone(at, len)),
                Stretch::Sound(offset, frame) if frame.kind == kind::BATCH => {
                    match decode_record(frame.payload, *offset) {
                        Ok(commit) => {
                            parts += commit.batch.deliveries.len() as u64;
                            self.commit(taking, &commit)?;
                            continue;
                        }
                        Err(fault) => (*offset, fault.to_string(), account.unreadable(at)),
                    }
                }
                Stretch::Sound(..) => continue,
            };
            why.get_or_insert(format!("at {offset}: {fault}"));
            self.lose(&account, gone, taking, &mut lost);
        }
        if (bytes.len() as u64) < len {
            why.get_or_insert(format!("at {}: it is shorter than it was", bytes.len()));
            self.lose(&account, account.after_last(len), taking, &mut lost);
        }
        let streams_lost = lost.streams.len() as u64;
        self.tell(name, why.map_or(Fate::Whole, |why| Fate::Part { parts, streams_lost, why }));
        Ok(())
    }

    /// Marks what is gone with a place of a log.
    fn lose(&mut self, account: &Account, gone: Gone, taking: &mut Taking, lost: &mut Lost) {
        let Gone::Batches(numbers) = gone else {
            taking.since.get_or_insert(taking.last.unwrap_or(EVER));
            return;
        };
        for number in numbers {
            if !lost.batches.insert(number) {
                continue;
            }
            let digest = account.digest(number);
            if !digest.notes.is_empty() {
                let deliveries = digest.notes.clone();
                let batch = Batch { producer: 0, sequence: 0, digest: 0, deliveries };
                taking.memtable.insert(&Commit { recorded: digest.recorded, batch });
            }
            for Digested { stream, first, last } in digest.streams.iter().filter(|of| !is_digested(&of.stream)) {
                let loss = Loss::between(*first, *last);
                if is_last_only(stream) {
                    let held = digest.held.iter().find(|held| held.note == *stream);
                    let looks = held.map(|held| held.looks.clone());
                    taking.last_notes.insert(stream.clone(), LastNote { loss, looks, recorded: digest.recorded });
                } else {
                    self.marks.lose(stream, loss, digest.recorded);
                    lost.streams.insert(stream.clone());
                }
            }
        }
    }

    fn commit(&mut self, taking: &mut Taking, commit: &Commit) -> Result<(), Error> {
        if let Some(from) = taking.since.take() {
            self.marks.lose_recorded(from, commit.recorded, Loss::OF_ALL);
        }
        taking.last = Some(commit.recorded);
        if !taking.last_notes.is_empty() {
            for delivery in &commit.batch.deliveries {
                taking.last_notes.remove(&delivery.stream);
            }
        }
        taking.memtable.insert(commit);
        if taking.memtable.bytes() < MEMTABLE_BYTES_MAX { Ok(()) } else { self.seal(&mut taking.memtable) }
    }

    fn seal(&mut self, memtable: &mut Memtable) -> Result<(), Error> {
        if memtable.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(memtable, Memtable::new());
        let (id, commits, hosts) = (self.next_file(), full.commits().to_vec(), full.hosts());
        let mut writer = SegmentWriter::create(self.to, id, self.now, Effort::Quick, commits, hosts)?;
        seal(&full, &mut writer)?;
        self.metas.push(writer.finish()?);
        Ok(())
    }
}
