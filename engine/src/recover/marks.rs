//! What is lost, stream by stream, while it is found; at the end a segment that says so.

use super::Recovered;
use crate::catalogue::Catalogue;
use crate::codec::Effort;
use crate::error::Error;
use crate::fact::{Kind, Micros, Name, StreamKey};
use crate::format::frame::FileId;
use crate::io::Storage;
use crate::manifest::{SegmentMeta, decode_summary};
use crate::note;
use crate::segment::directory::Layout;
use crate::segment::write::SegmentWriter;
use crate::timeline::loss::Loss;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The recorded time from which a loss counts if nothing tells another.
pub(super) const EVER: Micros = 1;

/// Losses of streams, each with the earliest recorded time of what is lost.
pub(super) type OfStreams = BTreeMap<Arc<StreamKey>, Vec<(Loss, Micros)>>;

/// What is lost.
#[derive(Default)]
pub(super) struct Marks {
    streams: OfStreams,
    /// Tables of which any stream may have lost something, and all tables.
    tables: Vec<(Option<Name>, Loss, Micros)>,
    /// Hosts of whose agents something is not known any more, so that none of their looks can be judged.
    hosts: BTreeSet<Name>,
    notes: BTreeSet<String>,
    recorded: Vec<(Micros, Micros)>,
}

impl Marks {
    /// Looks of a stream, recorded from some time on.
    pub(super) fn lose(&mut self, stream: &Arc<StreamKey>, loss: Loss, recorded: Micros) {
        if stream.kind == Kind::Note {
            self.lose_note(stream);
        } else {
            self.streams.entry(stream.clone()).or_default().push((loss, recorded));
        }
    }

    /// Any looks of a table, or of all.
    pub(super) fn lose_table(&mut self, table: Option<&Name>, loss: Loss, recorded: Micros) {
        self.tables.push((table.cloned(), loss, recorded));
    }

    /// Commits of a stretch of recorded time, of whatever streams.
    pub(super) fn lose_recorded(&mut self, from: Micros, to: Micros, loss: Loss) {
        self.recorded.push((from, to));
        self.lose_table(None, loss, from);
    }

    /// Everything that a segment held.
    pub(super) fn lose_segment(&mut self, meta: &SegmentMeta) {
        let listed = decode_summary(&meta.summary);
        let (streams, left_out) = listed.unwrap_or_default();
        for extent in &streams {
            self.lose(&extent.stream, Loss::between(extent.first, extent.last), meta.recorded.0);
        }
        if streams.is_empty() || left_out > 0 {
            for table in &meta.tables {
                let loss = Loss::between(table.first, table.last);
                self.lose_table(Some(&table.table), loss, meta.recorded.0);
            }
        }
    }

    fn lose_note(&mut self, stream: &StreamKey) {
        let host = String::from_utf8_lossy(&stream.host).into_owned();
        let told = match &*stream.table {
            note::VERSION => format!("which versions of the agent host {host} ran"),
            note::GIVEN => format!("which version of the agent host {host} was said to run: say it again at an import"),
            note::MAP => "the map of streams to tables: give it again at an import".to_owned(),
            note::CATALOGUE => "the catalogue of tables: give it again at an import".to_owned(),
            note::DEAD => format!("which lines of {host} could not be read"),
            note::PRODUCER => {
                format!("which batches of producer {host} are in: what it sends again is known by its rows")
            }
            note::HELD => format!("what was held back of producer {host}"),
            _ => "notes of a newer program".to_owned(),
        };
        let is_about_host = [note::VERSION, note::GIVEN].contains(&&*stream.table);
        if is_about_host {
            // What a counter means is not known without it.
            self.hosts.insert(stream.host.clone());
        }
        if let (note::HELD, Some(host)) = (&*stream.table, note::held_host(&stream.name)) {
            self.hosts.insert(Name::from(host));
        }
        self.notes.insert(told);
    }

    /// Notes of which nobody knows whose they were.
    fn lose_notes(&mut self, table: &Name, hosts: &BTreeSet<Name>) {
        match &**table {
            note::VERSION | note::GIVEN => {
                hosts.iter().for_each(|host| self.lose_note(&note::key(table, host)));
            }
            note::HELD => {
                self.hosts.extend(hosts.iter().cloned());
                self.notes.insert("what was held back of producers".to_owned());
            }
            note::PRODUCER => {
                let told = "which batches of producers are in: what they send again is known by its rows";
                self.notes.insert(told.to_owned());
            }
            note::DEAD => {
                self.notes.insert("which lines could not be read".to_owned());
            }
            _ => self.lose_note(&note::key(table, b"")),
        }
    }

    /// Of lost tables of which no stream is known: notes are told, and others are lost of each host under no name.
    fn lose_unknown(&mut self, all: &mut BTreeSet<Arc<StreamKey>>) {
        let hosts: BTreeSet<Name> =
            all.iter().filter(|key| key.kind != Kind::Note).map(|key| key.host.clone()).collect();
        let tables: Vec<_> =
            self.tables.iter().filter_map(|(table, _, recorded)| Some((table.clone()?, *recorded))).collect();
        for (table, recorded) in tables {
            if note::ALL.contains(&&*table) {
                self.lose_notes(&table, &hosts);
            } else if !all.iter().any(|key| key.table == table) {
                self.recorded.push((recorded, Micros::MAX));
                let kind = if Catalogue::shipped().is_evented(&table) { Kind::Event } else { Kind::Diff };
                let of_host = |host: &Name| StreamKey {
                    table: table.clone(),
                    host: host.clone(),
                    name: Name::default(),
                    kind,
                    sightings: false,
                };
                all.extend(hosts.iter().map(|host| Arc::new(of_host(host))));
            }
        }
    }

    /// What one kind of a name lost, the other may have too: the newer look of either answers.
    fn lose_by_name(&mut self, all: &BTreeSet<Arc<StreamKey>>) {
        let with_state: Vec<&Arc<StreamKey>> = all.iter().filter(|key| key.has_state()).collect();
        for kinds in with_state.chunk_by(|a, b| (&a.table, &a.host, &a.name) == (&b.table, &b.host, &b.name)) {
            if kinds.len() > 1 {
                let lost: Vec<_> = kinds.iter().filter_map(|key| self.streams.get(*key)).flatten().copied().collect();
                for key in kinds.iter().filter(|_| !lost.is_empty()) {
                    self.streams.insert((*key).clone(), lost.clone());
                }
            }
        }
    }

    /// The losses of these streams and of those that are known by what they lost, in order, none twice.
    pub(super) fn finish(mut self, known: &BTreeSet<Arc<StreamKey>>, recovered: &mut Recovered) -> OfStreams {
        let mut all: BTreeSet<Arc<StreamKey>> = known.iter().chain(self.streams.keys()).cloned().collect();
        self.lose_unknown(&mut all);
        if !self.tables.is_empty() {
            // A stream of which only what is lost told would pass for one that never was: each host may have had each.
            let looks = || all.iter().filter(|key| key.kind != Kind::Note);
            let hosts: BTreeSet<&Name> = looks().map(|key| &key.host).collect();
            let streams: BTreeSet<StreamKey> =
                looks().map(|key| StreamKey { host: Name::default(), ..(**key).clone() }).collect();
            let each = hosts.into_iter().flat_map(|host| {
                streams.iter().map(|stream| Arc::new(StreamKey { host: host.clone(), ..stream.clone() }))
            });
            all = all.iter().cloned().chain(each.collect::<Vec<_>>()).collect();
        }
        for key in all.iter().filter(|key| key.kind != Kind::Note) {
            for (table, loss, recorded) in &self.tables {
                if table.as_ref().is_none_or(|table| *table == key.table) {
                    self.streams.entry(key.clone()).or_default().push((*loss, *recorded));
                }
            }
            if self.hosts.contains(&key.host) {
                self.streams.entry(key.clone()).or_default().push((Loss::OF_ALL, EVER));
            }
        }
        self.lose_by_name(&all);
        for losses in self.streams.values_mut() {
            losses.sort_unstable();
            // Of losses that meet the hull is one, from the earliest recorded time of any.
            losses.dedup_by(|next, first| {
                let meets = next.0.first <= first.0.last.saturating_add(1);
                if meets {
                    let (last, in_order) = (first.0.last.max(next.0.last), first.0.in_order && next.0.in_order);
                    *first = (Loss { last, in_order, ..first.0 }, first.1.min(next.1));
                }
                meets
            });
        }
        recovered.notes_lost = self.notes.into_iter().collect();
        recovered.recorded_lost = self.recorded;
        self.streams
    }
}

/// Writes the segment that says what is lost.
pub(super) fn write(storage: &dyn Storage, id: FileId, now: Micros, losses: &OfStreams) -> Result<SegmentMeta, Error> {
    let commits: BTreeSet<Micros> = losses.values().flatten().map(|(_, recorded)| *recorded).collect();
    let hosts: BTreeSet<Name> = losses.keys().map(|key| key.host.clone()).collect();
    let (commits, hosts) = (commits.into_iter().collect(), hosts.into_iter().collect());
    let mut writer = SegmentWriter::create(storage, id, now, Effort::Quick, commits, hosts)?;
    let mut table: Option<&Name> = None;
    for (key, losses) in losses {
        if table != Some(&key.table) {
            writer.end_table()?;
            writer.begin_table(&key.table, Layout::Inline, None)?;
            table = Some(&key.table);
        }
        let parts: Vec<_> = losses.iter().map(|(loss, recorded)| loss.part(*recorded)).collect();
        writer.inline(key, &parts, &[])?;
    }
    writer.end_table()?;
    writer.finish()
}
