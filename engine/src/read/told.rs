//! What the store was told beside looks: its settings, the hosts' agents, the batches of producers and the lines that could
//! not be read.
//!
//! Invariant: each is as of a recorded time, like all that is known.

use super::answer::Cost;
use super::view::{Parts, View};
use crate::agent::{AgentVersion, version_rank};
use crate::catalogue::{Catalogue, Mapping, StreamMap, table_of};
use crate::error::Error;
use crate::fact::{Kind, Micros, Name, StreamKey};
use crate::note;
use crate::row::Row;
use crate::timeline::{AgentHistory, Copies, Part};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The store's own settings in force at a recorded time.
#[derive(PartialEq, Eq)]
pub struct Settings {
    /// osquery's tables.
    pub catalogue: Arc<Catalogue>,
    /// What the user says about names.
    pub map: StreamMap,
}

impl Settings {
    /// What a stream's name means.
    pub fn mapping(&self, name: &[u8]) -> Mapping {
        table_of(name, &self.map, &self.catalogue)
    }
}

/// The note with the greatest number.
fn last_of(parts: &Parts) -> Option<&Part> {
    parts.parts.iter().max_by_key(|part| part.counter)
}

/// Its row.
fn last_row(parts: &Parts) -> Option<&Row> {
    last_of(parts).and_then(|part| part.added.first()).map(|&(row, _)| &parts.rows[row as usize])
}

impl View {
    /// A text that was noted last, by the number of its note.
    fn last_note(
        &self,
        table: &[u8],
        host: &[u8],
        column: &[u8],
        known_at: Micros,
        cost: &mut Cost,
    ) -> Result<Option<Vec<u8>>, Error> {
        let parts = self.parts(&note::key(table, host), known_at, cost)?;
        Ok(last_row(&parts).and_then(|row| row.get(column)).map(<[u8]>::to_vec))
    }

    /// How many notes of a table there are for a host.
    pub fn notes(&self, table: &[u8], host: &[u8], cost: &mut Cost) -> Result<u64, Error> {
        Ok(self.parts(&note::key(table, host), Micros::MAX, cost)?.parts.len() as u64)
    }

    /// The greatest number of a stream's notes.
    pub(crate) fn last_number(&self, key: &StreamKey, cost: &mut Cost) -> Result<Option<u64>, Error> {
        Ok(last_of(&self.parts(key, Micros::MAX, cost)?).and_then(|part| part.counter))
    }

    /// The greatest sequence of a producer's batches that are in, or on their way.
    pub fn last_sequence(&self, producer: u128, cost: &mut Cost) -> Result<Option<u64>, Error> {
        Ok(self.last_batch(producer, cost)?.map(|(sequence, _)| sequence))
    }

    /// The same, with the digest of that batch, 0 if it has none.
    pub(crate) fn last_batch(&self, producer: u128, cost: &mut Cost) -> Result<Option<(u64, u64)>, Error> {
        let parts = self.parts(&note::of_batch(producer, 0, 0).stream, Micros::MAX, cost)?;
        let digest =
            last_row(&parts).and_then(|row| row.get(b"digest")).and_then(|text| std::str::from_utf8(text).ok());
        let digest = digest.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        Ok(last_of(&parts).and_then(|part| part.counter).map(|sequence| (sequence, digest)))
    }

    /// What is held back of a producer's lines: source, and kept looks (`ingest/kept.md`).
    pub(crate) fn held_of(&self, producer: u128, cost: &mut Cost) -> Result<Vec<(Name, Vec<u8>)>, Error> {
        let host = note::producer_host(producer);
        let mut held = Vec::new();
        for key in self.notes_of(note::HELD, Some(host.as_bytes()))? {
            let parts = self.parts(&key, Micros::MAX, cost)?;
            if let Some((source, looks)) =
                last_row(&parts).and_then(|row| Some((row.get(b"source")?, row.get(b"looks")?)))
            {
                held.push((Name::from(source), looks.to_vec()));
            }
        }
        Ok(held)
    }

    /// The streams of notes of a table, of one host or of all.
    fn notes_of(&self, table: &[u8], host: Option<&[u8]>) -> Result<BTreeSet<Arc<StreamKey>>, Error> {
        let mut keys = BTreeSet::new();
        for segment in self.segments() {
            if let Some(reader) = segment.table(table)? {
                let directory = reader.directory;
                let places = host.map_or(0..directory.streams(), |host| directory.streams_of_host(host));
                keys.extend(directory.entries(places).map(|stream| stream.key).filter(|key| key.kind == Kind::Note));
            }
        }
        for memtable in self.memtables() {
            if let Some(table) = memtable.read().table(table) {
                let its = |key: &&Arc<StreamKey>| key.kind == Kind::Note && host.is_none_or(|host| *key.host == *host);
                keys.extend(table.streams().map(|(key, _)| key).filter(its).cloned());
            }
        }
        Ok(keys)
    }

    /// The settings in force at a recorded time.
    pub fn settings(&self, known_at: Micros, cost: &mut Cost) -> Result<Arc<Settings>, Error> {
        if !self.counts_segments(known_at) {
            return self.read_settings(known_at, cost).map(Arc::new);
        }
        let (mut told, mut last) = (0, Micros::MIN);
        for memtable in self.filled() {
            let memtable = memtable.read();
            for table in [note::CATALOGUE, note::MAP].into_iter().filter_map(|table| memtable.table(table)) {
                told += table.parts();
                let parts = table.streams().flat_map(|(_, stream)| stream.parts());
                last = parts.map(|part| part.recorded).fold(last, Micros::max);
            }
        }
        if last > known_at {
            return self.read_settings(known_at, cost).map(Arc::new);
        }
        self.standing.settings(told, || self.read_settings(known_at, cost))
    }

    fn read_settings(&self, known_at: Micros, cost: &mut Cost) -> Result<Settings, Error> {
        let catalogue = match self.last_note(note::CATALOGUE, b"", b"text", known_at, cost)? {
            Some(text) => {
                let text = String::from_utf8_lossy(&text);
                Arc::new(Catalogue::from_text(&text).unwrap_or_else(|_| (*Catalogue::shipped()).clone()))
            }
            None => Catalogue::shipped(),
        };
        let map = match self.last_note(note::MAP, b"", b"text", known_at, cost)? {
            Some(text) => StreamMap::parse(&String::from_utf8_lossy(&text)).unwrap_or_else(|_| StreamMap::empty()),
            None => StreamMap::empty(),
        };
        Ok(Settings { catalogue, map })
    }

    /// What is known by `known_at` of a host's agent versions.
    pub fn agent(&self, host: &[u8], known_at: Micros, cost: &mut Cost) -> Result<AgentHistory, Error> {
        let given = self.last_note(note::GIVEN, host, b"version", known_at, cost)?;
        let noted = self.parts(&note::key(note::VERSION, host), known_at, cost)?;
        let rank = |text: &[u8]| -> Option<(AgentVersion, String)> {
            Some((version_rank(text)?, String::from_utf8_lossy(text).into_owned()))
        };
        let versions = noted.parts.iter().flat_map(|part| part.added.iter().map(|&(row, _)| (part.second, row)));
        let versions = versions.filter_map(|(second, row)| {
            let (version, text) = rank(noted.rows[row as usize].get(b"version")?)?;
            Some((second, version, text))
        });
        Ok(AgentHistory::new(given.and_then(|text| rank(&text)), versions.collect()))
    }

    /// Dead letters by reason.
    pub fn dead_letters(&self, cost: &mut Cost) -> Result<BTreeMap<String, u64>, Error> {
        let mut reasons = BTreeMap::new();
        for source in self.notes_of(note::DEAD, None)? {
            let parts = self.parts(&source, Micros::MAX, cost)?;
            let rows = parts.parts.iter().flat_map(|part: &Part| part.added.iter());
            for &(row, _) in rows.collect::<Vec<&Copies>>() {
                let reason = parts.rows[row as usize].get(b"reason").unwrap_or_default();
                *reasons.entry(String::from_utf8_lossy(reason).into_owned()).or_default() += 1;
            }
        }
        Ok(reasons)
    }
}
