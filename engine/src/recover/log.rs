//! The commits of logs, those behind damage too: each is whole by itself.
//!
//! Invariants:
//! - A torn end is no loss: nothing of it was acknowledged as durable (`log/log.md`).
//! - What else is not whole is lost from the commit before it to the one after, of whatever streams.

use super::known::Known;
use super::marks::EVER;
use super::{Fate, Found, Work};
use crate::check::inspect::walk::{Stretch, stretches};
use crate::codec::Effort;
use crate::error::Error;
use crate::fact::{Commit, Micros};
use crate::format::frame::{FileHeader, FileId, FileKind, kind};
use crate::format::names;
use crate::log::{decode_record, durable_when_placed};
use crate::memtable::Memtable;
use crate::segment::seal::seal;
use crate::segment::write::SegmentWriter;
use crate::timeline::loss::Loss;

/// A segment is written of about so many bytes of memory.
const MEMTABLE_BYTES_MAX: usize = 64 << 20;

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
        let mut memtable = Memtable::new();
        let mut last: Option<Micros> = self.metas.iter().map(|meta| meta.recorded.1).max();
        let published = known.durable.filter(|durable| durable.number >= known.log_floor && durable.readable > 0);
        if let Some(durable) = published
            && !logs.iter().any(|file| file.number == durable.number)
            // Without a manifest a younger segment shows that the log was sealed and removed.
            && (known.log_floor > 0
                || !files.iter().any(|file| file.kind == FileKind::Segment && file.number > durable.number))
        {
            self.tell(&names::log(durable.number), Fate::Lost { why: "it is not there".to_owned() });
            self.marks.lose_recorded(last.unwrap_or(EVER), Micros::MAX, Loss::OF_ALL);
        }
        for (at, file) in logs.iter().enumerate() {
            let durable = published.filter(|durable| durable.number == file.number).map_or(0, |durable| durable.len);
            self.log(file, at + 1 == logs.len(), durable, &mut memtable, &mut last)?;
        }
        self.seal(&mut memtable)
    }

    fn log(
        &mut self,
        file: &Found,
        is_newest: bool,
        durable: u64,
        memtable: &mut Memtable,
        last: &mut Option<Micros>,
    ) -> Result<(), Error> {
        let name = &*file.name;
        let bytes = match self.from.read_from(name, 0) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.tell(name, Fate::Lost { why: error.to_string() });
                self.marks.lose_recorded(last.unwrap_or(EVER), Micros::MAX, Loss::OF_ALL);
                return Ok(());
            }
        };
        let id = FileId { store: self.store, number: file.number };
        let mut why = None;
        if FileHeader::decode(&bytes).is_err() {
            why = Some("at 0: its header is damaged".to_owned());
        }
        let found = stretches(&bytes, &id, FileKind::Log);
        // How far the log was durable when what stands after each place was written.
        let mut known_durable = vec![durable; found.len() + 1];
        for (at, stretch) in found.iter().enumerate().rev() {
            let said = match stretch {
                Stretch::Sound(_, frame) if frame.kind == kind::BATCH => durable_when_placed(frame.payload),
                _ => 0,
            };
            known_durable[at] = known_durable[at + 1].max(said);
        }
        let (mut parts, mut since) = (0, None);
        for (at, stretch) in found.iter().enumerate() {
            let mut lose = |offset: u64, what: String| {
                why.get_or_insert(format!("at {offset}: {what}"));
                since.get_or_insert(last.unwrap_or(EVER));
            };
            match stretch {
                Stretch::Bad { at: offset, .. } if is_newest && *offset >= known_durable[at] => {}
                Stretch::Bad { at: offset, fault, .. } => lose(*offset, fault.to_string()),
                Stretch::Sound(offset, frame) if frame.kind == kind::BATCH => {
                    match decode_record(frame.payload, *offset) {
                        Ok(commit) => {
                            if let Some(from) = since.take() {
                                self.marks.lose_recorded(from, commit.recorded, Loss::OF_ALL);
                            }
                            *last = Some(commit.recorded);
                            parts += commit.batch.deliveries.len() as u64;
                            self.commit(memtable, &commit)?;
                        }
                        Err(fault) => lose(*offset, fault.to_string()),
                    }
                }
                Stretch::Sound(..) => {}
            }
        }
        if (bytes.len() as u64) < durable {
            why.get_or_insert(format!("at {}: it is shorter than it was", bytes.len()));
            since.get_or_insert(last.unwrap_or(EVER));
        }
        if let Some(from) = since {
            self.marks.lose_recorded(from, Micros::MAX, Loss::OF_ALL);
        }
        self.tell(
            name,
            match why {
                None => Fate::Whole,
                Some(why) => Fate::Part { parts, streams_lost: 0, why },
            },
        );
        Ok(())
    }

    fn commit(&mut self, memtable: &mut Memtable, commit: &Commit) -> Result<(), Error> {
        memtable.insert(commit);
        if memtable.bytes() < MEMTABLE_BYTES_MAX { Ok(()) } else { self.seal(memtable) }
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
