//! A second, independent reading of what a log means: the oracle that the engine is compared with, field by field.
//!
//! It shares no code with the engine. It keeps every delivery with its recorded time and, at each question, builds looks,
//! chains, breaks and versions anew from what was recorded by then: slow, literal, and easy to check against the rules.
//! Must stay true:
//! - Nothing here uses the engine.
//! - An answer is a function of the facts recorded by `known_at` alone. The memo only saves time.
//! - Each function says one rule; each of [`Wrong`] changes exactly one.

/// IP addresses by value.
mod address;
/// Agent versions.
mod agent;
/// Questions and the forms of their answers.
mod answer;
/// osquery's tables.
mod catalogue;
/// Deliveries and looks.
mod deliver;
/// The path from a mounted path to a device.
mod device;
/// Byte-preserving JSON.
mod json;
/// One line of a log.
mod line;
/// What recovery could not save.
mod loss;
/// The map of names.
mod map;
/// Decimal numbers.
mod number;
/// Chains and causes.
mod order;
#[cfg(test)]
mod tests;
/// Seconds and their words.
mod time;
/// What may be said at an instant.
mod verdict;
/// Row versions and breaks.
mod versions;
/// Rules got wrong on purpose.
mod wrong;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

pub use catalogue::Catalogue;
pub use deliver::{Kind, StreamKey};
pub use loss::Loss;
pub use time::rfc3339;
pub use wrong::Wrong;

use agent::Agents;
use deliver::{Cutter, Delivery, Held, Look, Piece};
use line::{Line, Row, Rows};
use map::StreamMap;
use versions::Timeline;

/// What a user says along with an import.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions<'a> {
    /// The agent version of every host that the lines name.
    pub agent_version: Option<&'a str>,
    /// The text of a map file, the store's map from this import on.
    pub map: Option<&'a str>,
}

/// What an import met; counts are of what the inputs held, new or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines that are not blank: results, status lines and dead letters.
    pub lines: u64,
    /// Result lines.
    pub result_lines: u64,
    /// Looks delivered: a look once for each delivery of it.
    pub looks: u64,
    /// Rows in the lines: added, removed and snapshot rows.
    pub rows: u64,
    /// Status lines.
    pub status_lines: u64,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<&'static str, u64>,
    /// Dead letters that the store did not hold yet.
    pub dead_letters_new: u64,
    /// Whether anything was new, so that the import made a commit.
    pub committed: bool,
}

/// The naive store.
#[derive(Debug)]
pub struct Model {
    catalogue: Catalogue,
    rules: Wrong,
    commits: Vec<i64>,
    maps: Vec<(i64, StreamMap)>,
    agents: Agents,
    held: Held,
    streams: BTreeMap<StreamKey, Vec<Delivery>>,
    /// What is lost of each stream, and the recorded time from which that counts.
    lost: BTreeMap<StreamKey, Vec<(Loss, i64)>>,
    memo: RefCell<HashMap<usize, Rc<Vec<Stream>>>>,
}

/// One stream as it was known at a recorded time.
#[derive(Debug)]
pub(crate) struct Stream {
    key: StreamKey,
    assumed: bool,
    looks: Vec<Look>,
    /// What is lost of it, joined.
    lost: Vec<Loss>,
    timeline: Timeline,
}

/// The store as it was known at a recorded time.
pub(crate) struct View<'a> {
    model: &'a Model,
    /// Facts recorded later are left out.
    limit: i64,
    /// What the answer names as `known_at`.
    shown: Option<i64>,
    streams: Rc<Vec<Stream>>,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Model {
        Model::with_wrong(catalogue, Wrong::None)
    }

    /// An empty store that gets one rule wrong.
    #[must_use]
    pub fn with_wrong(catalogue: Catalogue, wrong: Wrong) -> Model {
        Model {
            catalogue,
            rules: wrong,
            commits: Vec::new(),
            maps: Vec::new(),
            agents: Agents::default(),
            held: Held::default(),
            streams: BTreeMap::new(),
            lost: BTreeMap::new(),
            memo: RefCell::default(),
        }
    }

    /// One import of several inputs, each a source name and its bytes, all recorded at `recorded` (microseconds).
    ///
    /// # Errors
    /// A map that is not of its form, or a recorded time that is not after the last commit's. Nothing is taken in then.
    pub fn import(
        &mut self,
        inputs: &[(&str, &[u8])],
        options: ImportOptions<'_>,
        recorded: i64,
    ) -> Result<Summary, String> {
        if self.commits.last().is_some_and(|last| recorded <= *last) {
            return Err("the recorded time is not after the last commit's".to_owned());
        }
        let mut is_new = false;
        if let Some(text) = options.map {
            let map = StreamMap::parse(text)?;
            if self.maps.last().is_none_or(|(_, last)| *last != map) {
                self.maps.push((recorded, map));
                is_new = true;
            }
        }
        let map = self.maps.last().map(|(_, map)| map.clone()).unwrap_or_default();

        let mut summary = Summary::default();
        let mut deliveries = Vec::new();
        let mut hosts = BTreeSet::new();
        for (source, bytes) in inputs {
            let mut cutter = Cutter::new(recorded, self.rules);
            for (offset, text) in line::split(bytes) {
                let line = line::read(text);
                summary.lines += u64::from(line != Line::Blank);
                match line {
                    Line::Blank => {}
                    Line::Dead(reason) => {
                        *summary.dead_letters.entry(reason).or_default() += 1;
                        let first_time = self.held.dead_letter(source, offset);
                        summary.dead_letters_new += u64::from(first_time);
                        is_new |= first_time;
                    }
                    Line::Status { host, noted } => {
                        summary.status_lines += 1;
                        if let Some((second, version)) = noted {
                            is_new |= self.agents.note(&host, second, &version, recorded);
                        }
                        hosts.insert(host);
                    }
                    Line::Result(result) => {
                        summary.result_lines += 1;
                        hosts.insert(result.host.clone());
                        cutter.result_line(&result.host, result.second);
                        let (rows, piece) = self.piece(*result, &map);
                        summary.rows += rows;
                        if let Some(piece) = piece {
                            cutter.piece(piece);
                        }
                    }
                }
            }
            deliveries.append(&mut cutter.finish());
        }

        for host in &hosts {
            if let Some(version) = options.agent_version {
                is_new |= self.agents.give(host, version.as_bytes(), recorded);
            }
        }
        for delivery in &deliveries {
            summary.looks += 1;
            is_new |= self.held.take(delivery);
            if delivery.stream.table == b"osquery_info" && delivery.stream.kind != Kind::Event {
                for version in delivery.added.keys().filter_map(|row| row.get(b"version".as_slice())) {
                    is_new |= self.agents.note(&delivery.stream.host, delivery.look.second, version, recorded);
                }
            }
        }
        if is_new {
            for delivery in deliveries {
                self.streams.entry(delivery.stream.clone()).or_default().push(delivery);
            }
            self.commits.push(recorded);
            self.memo.borrow_mut().clear();
        }
        summary.committed = is_new;
        Ok(summary)
    }

    /// What one input brings to an empty store, each thing once: the lines that are no results by their offsets, the
    /// deliveries by what they say.
    #[must_use]
    pub fn brought(&self, input: &[u8]) -> BTreeSet<String> {
        let mut brought = BTreeSet::new();
        let mut cutter = Cutter::new(0, self.rules);
        for (offset, text) in line::split(input) {
            match line::read(text) {
                Line::Blank => {}
                Line::Dead(reason) => drop(brought.insert(format!("{offset} {reason}"))),
                Line::Status { host, noted } => {
                    let noted = noted.map(|(second, version)| format!("{second} {}", version.escape_ascii()));
                    brought.insert(format!("{offset} status {} {noted:?}", host.escape_ascii()));
                }
                Line::Result(result) => {
                    cutter.result_line(&result.host, result.second);
                    let (_, piece) = self.piece(*result, &StreamMap::default());
                    piece.into_iter().for_each(|piece| cutter.piece(piece));
                }
            }
        }
        // Of equal whole lines the least counts, however far they are apart.
        let mut wholes: BTreeMap<String, line::Inferred> = BTreeMap::new();
        for delivery in cutter.finish() {
            let words = delivery.words();
            if delivery.whole {
                let least = wholes.entry(words).or_insert(delivery.inferred);
                *least = delivery.inferred.min(*least);
            } else {
                brought.insert(format!("{words} {:?}", delivery.inferred));
            }
        }
        brought.extend(wholes.into_iter().map(|(words, inferred)| format!("{words} {inferred:?}")));
        brought
    }

    /// Looks of a stream are lost; the earliest of them was recorded at this time.
    pub fn lose(&mut self, stream: StreamKey, loss: Loss, recorded: i64) {
        self.lost.entry(stream).or_default().push((loss, recorded));
        if let Err(place) = self.commits.binary_search(&recorded) {
            self.commits.insert(place, recorded);
        }
        self.memo.borrow_mut().clear();
    }

    /// The streams of which anything was ever delivered.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamKey> {
        self.streams.keys().cloned().collect()
    }

    /// The recorded time of the last commit.
    #[must_use]
    pub fn last_commit(&self) -> Option<i64> {
        self.commits.last().copied()
    }

    /// How many rows a result line has, and what it brings to which stream; nothing if all of it is ignored.
    fn piece(&self, result: line::ResultLine, map: &StreamMap) -> (u64, Option<Piece>) {
        let is_snapshot = matches!(result.rows, Rows::SnapshotRow(_) | Rows::Snapshot(_));
        let is_row_line = matches!(result.rows, Rows::Added(_) | Rows::Removed(_) | Rows::SnapshotRow(_));
        let is_removed_line = matches!(result.rows, Rows::Removed(_));
        let table = map.table(&result.name, &self.catalogue);
        let kind = match (is_snapshot, self.catalogue.is_evented(&table)) {
            (true, _) => Kind::Snapshot,
            (false, true) => Kind::Event,
            (false, false) => Kind::Diff,
        };
        let sightings = kind == Kind::Diff && map.lacks_removed(&result.name);
        let (mut removed, mut added) = match result.rows {
            Rows::Added(row) | Rows::SnapshotRow(row) => (Vec::new(), vec![row]),
            Rows::Removed(row) => (vec![row], Vec::new()),
            Rows::Batch { removed, added } => (removed, added),
            Rows::Snapshot(rows) => (Vec::new(), rows),
        };
        let rows = (removed.len() + added.len()) as u64;
        if kind == Kind::Event || sightings {
            if is_removed_line {
                return (rows, None);
            }
            removed.clear();
        }
        for row in removed.iter_mut().chain(&mut added) {
            self.canonical(&table, row);
        }
        let stream = StreamKey { host: result.host, name: result.name, kind, table, sightings };
        let look = deliver::LookKey { epoch: result.epoch, counter: result.counter, second: result.second };
        let piece = Piece { stream, look, whole: !is_row_line, removed, added, inferred: result.inferred };
        (rows, Some(piece))
    }

    /// Numbers of DOUBLE columns in their one spelling.
    fn canonical(&self, table: &[u8], row: &mut Row) {
        if self.rules == Wrong::DoubleTextKept {
            return;
        }
        for (column, text) in row {
            if self.catalogue.column_type(table, column) == catalogue::Type::Double
                && let Some(canonical) = number::double_text(text)
            {
                *text = canonical;
            }
        }
    }

    /// The store as it was known at `known_at`, or as it is known now.
    pub(crate) fn view(&self, known_at: Option<i64>) -> View<'_> {
        let asked = if self.rules == Wrong::KnownAtIgnored { None } else { known_at };
        let commits = match asked {
            Some(limit) => self.commits.iter().filter(|c| **c <= limit).count(),
            None => self.commits.len(),
        };
        let limit = commits.checked_sub(1).map_or(i64::MIN, |last| self.commits[last]);
        let held = self.memo.borrow().get(&commits).cloned();
        let streams = held.unwrap_or_else(|| {
            let resolved = Rc::new(self.resolve(limit));
            self.memo.borrow_mut().insert(commits, Rc::clone(&resolved));
            resolved
        });
        View { model: self, limit, shown: known_at.or(self.last_commit()), streams }
    }

    /// Every stream from the deliveries recorded by then, sorted by key.
    fn resolve(&self, limit: i64) -> Vec<Stream> {
        let rules = self.rules;
        let map =
            self.maps.iter().rfind(|(recorded, _)| *recorded <= limit).map(|(_, m)| m.clone()).unwrap_or_default();
        let mut streams = Vec::new();
        let keys: BTreeSet<&StreamKey> = self.streams.keys().chain(self.lost.keys()).collect();
        for key in keys {
            let deliveries = self.streams.get(key).map(Vec::as_slice).unwrap_or_default();
            let counts = |recorded: i64| recorded <= limit || rules == Wrong::LossKnownEver;
            let lost = self.lost.get(key).into_iter().flatten().filter(|_| rules != Wrong::LossIgnored);
            let lost = loss::joined(lost.filter(|lost| counts(lost.1)).map(|lost| lost.0), rules);
            let version = |look: &Look| self.agents.at(&key.host, look.key.second, look.inferred, limit, rules).0;
            let mut looks = deliver::join(deliveries.iter().filter(|d| d.recorded <= limit), rules);
            if looks.is_empty() && lost.is_empty() {
                continue;
            }
            let order = match (key.kind, key.sightings) {
                (Kind::Diff, false) => {
                    looks = order::without_no_looks(looks, version, rules);
                    order::diffs(&looks, version, rules)
                }
                (Kind::Snapshot, _) => order::snapshots(&looks, rules),
                _ => order::Order::default(),
            };
            let timeline = match key.has_state() {
                true => versions::play(&looks, order, &lost, rules),
                false => Timeline::of_no_state(&lost),
            };
            streams.push(Stream { key: key.clone(), assumed: map.is_assumed(&key.name), looks, lost, timeline });
        }
        streams
    }
}
