//! Inputs are imported into a store.
//!
//! Invariants:
//! - What was imported before is known again: an import that was stopped anywhere and run again over the same inputs
//!   ends with the same answers as one that was not.
//! - An input that cannot be read to its end keeps everything before the fault, and stops no other input.
//! - Memory is bounded by the lines that are held back and a few batches.
//!
//! Steps: source → line → hold → batch → (another thread) store.

use super::hold::{HELD_BYTES_MAX, Hold, HoldCounts};
use super::line::{Line, Reason, read_line};
use super::source::{HEAD_BYTES_MAX, LineSource, SourceError, SourceLine};
use super::spill::Spill;
use crate::agent::version_rank;
use crate::catalogue::{Catalogue, StreamMap};
use crate::error::{Error, Misuse};
use crate::fact::{Batch, Delivery, Kind, Micros, StreamKey};
use crate::io::Clock;
use crate::note;
use crate::read::answer::Cost;
use crate::store::Store;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Rows in a batch after which it is committed.
const BATCH_ROWS: usize = 16 << 10;
/// Bytes of rows in a batch after which it is committed.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of rows in one record of the log, unless a single delivery has more.
const RECORD_BYTES: usize = 32 << 20;
/// How often the store may do what an interval asks for while nothing comes.
const TICK: Duration = Duration::from_millis(100);
/// Batches on their way to the store.
const BATCHES_WAITING: usize = 2;

/// What an import may be told.
#[derive(Clone, Default)]
pub struct ImportOptions {
    /// The agent version of every host that the lines name.
    pub agent_version: Option<String>,
    /// The stream map from now on.
    pub map: Option<StreamMap>,
    /// A newer catalogue of osquery's tables, from now on.
    pub catalogue: Option<Catalogue>,
    /// The recorded time of everything imported; must be after the store's last.
    pub recorded_at: Option<Micros>,
    /// Lines are handed on when nothing came for so long; `None`: only when their second has passed.
    pub hold: Option<Duration>,
    /// Bytes of rows held back in memory before they wait in a file; `None`: [`HELD_BYTES_MAX`].
    pub held_bytes_max: Option<usize>,
}

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// Lines that are not blank.
    pub lines: u64,
    /// Looks, each delivery of one counted once.
    pub looks: u64,
    /// Rows of all lines.
    pub rows: u64,
    /// Status lines.
    pub status_lines: u64,
    /// Deliveries that said nothing new.
    pub known_deliveries: u64,
    /// Whole-line looks that were there with different content.
    pub forks: u64,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<&'static str, u64>,
    /// The recorded time of the last commit; `None` if nothing was new.
    pub recorded: Option<Micros>,
    /// Streams that something new was said of.
    pub touched: BTreeSet<Arc<StreamKey>>,
    /// Inputs that could not be read to their end.
    pub faults: Vec<SourceError>,
    /// Whether a map was given whose tables hold only for looks recorded from now on.
    pub map_changed: bool,
}

/// What the reading side keeps while it reads.
struct Reading {
    hold: Hold,
    pending: Vec<Delivery>,
    pending_rows: usize,
    pending_bytes: usize,
    last_line_nanos: u64,
    idle_done: bool,
}

impl Reading {
    /// The pending batch, if it is large enough, or whatever there is with `all`.
    fn take(&mut self, all: bool) -> Option<Vec<Delivery>> {
        let enough = all || self.pending_rows >= BATCH_ROWS || self.pending_bytes >= BATCH_BYTES;
        if !enough || self.pending.is_empty() {
            return None;
        }
        (self.pending_rows, self.pending_bytes) = (0, 0);
        Some(std::mem::take(&mut self.pending))
    }

    fn measure(&mut self, from: usize) {
        for delivery in &self.pending[from..] {
            let rows = delivery.removed.iter().chain(&delivery.added);
            self.pending_rows += delivery.removed.len() + delivery.added.len() + 1;
            self.pending_bytes += rows.map(|(row, _)| row.as_bytes().len()).sum::<usize>();
        }
    }
}

/// The reading side's channel to the store is gone: the committing side has failed and says why.
struct Gone;

/// Imports inputs, one after the other. `progress` is told how many bytes of an input were consumed.
pub fn import<R: Read>(
    store: &Store,
    clock: &Arc<dyn Clock>,
    inputs: impl IntoIterator<Item = (String, R)>,
    options: &ImportOptions,
    mut progress: impl FnMut(&str, u64),
) -> Result<Imported, Error> {
    if let (Some(at), Some(last)) = (options.recorded_at, store.last_recorded())
        && at <= last
    {
        return Err(Misuse::RecordedBack { at, last }.into());
    }
    let mut imported = Imported::default();
    settings_first(store, options, &mut imported)?;
    let view = store.view();
    let settings = view.settings(Micros::MAX, &mut Cost::default())?;
    let reading = Mutex::new(Reading {
        hold: Hold::new(
            settings.catalogue.clone(),
            settings.map.clone(),
            Spill::new(store.storage()),
            options.held_bytes_max.unwrap_or(HELD_BYTES_MAX),
        ),
        pending: Vec::new(),
        pending_rows: 0,
        pending_bytes: 0,
        last_line_nanos: clock.monotonic_nanos(),
        idle_done: true,
    });
    let (send, receive) = bounded::<Vec<Delivery>>(BATCHES_WAITING);
    let (stop_idle, idle_stopped) = bounded::<()>(0);
    let committed = std::thread::scope(|scope| {
        let committer = scope.spawn(move || commit_all(store, &receive, options));
        if let Some(after) = options.hold {
            let (reading, send, clock) = (&reading, send.clone(), clock.clone());
            scope.spawn(move || watch_idle(reading, &send, &*clock, after, &idle_stopped));
        }
        let mut given = Given::new(store, options);
        for (name, reader) in inputs {
            let read = read_input(&name, reader, clock, &reading, &send, &mut given, &mut imported, &mut progress);
            match read {
                Ok(Ok(())) => {}
                Ok(Err(Gone)) => break,
                Err(error) => return Err(error),
            }
        }
        drop(stop_idle);
        drop(send);
        committer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let HoldCounts { looks, rows } = reading.into_inner().hold.counts;
    (imported.looks, imported.rows) = (looks, rows);
    imported.known_deliveries = committed.known;
    imported.forks = committed.forks;
    imported.recorded = committed.recorded.or(imported.recorded);
    imported.touched = committed.touched;
    Ok(imported)
}

/// Records a map and a catalogue that were given, if they differ from those in force.
fn settings_first(store: &Store, options: &ImportOptions, imported: &mut Imported) -> Result<(), Error> {
    let view = store.view();
    let mut cost = Cost::default();
    let in_force = view.settings(Micros::MAX, &mut cost)?;
    let mut deliveries = Vec::new();
    if let Some(catalogue) = &options.catalogue {
        let text = in_force.catalogue.updated_with(catalogue).to_text();
        if text != in_force.catalogue.to_text() {
            let number = view.notes(note::CATALOGUE, b"", &mut cost)?;
            let columns: [(&[u8], &[u8]); 1] = [(b"text", text.as_bytes())];
            deliveries.push(note::delivery(note::CATALOGUE, b"", 0, Some(number), &columns));
        }
    }
    if let Some(map) = &options.map
        && map.text() != in_force.map.text()
    {
        let number = view.notes(note::MAP, b"", &mut cost)?;
        let columns: [(&[u8], &[u8]); 1] = [(b"text", map.text().as_bytes())];
        deliveries.push(note::delivery(note::MAP, b"", 0, Some(number), &columns));
        imported.map_changed = true;
    }
    if !deliveries.is_empty() {
        let batch = Batch { deliveries, ..Batch::default() };
        imported.recorded = store.append(batch, options.recorded_at)?.recorded;
    }
    Ok(())
}

/// Agent versions given by the user, noted for each host once.
struct Given<'s> {
    store: &'s Store,
    version: Option<&'s str>,
    noted: BTreeSet<Vec<u8>>,
}

impl<'s> Given<'s> {
    fn new(store: &'s Store, options: &'s ImportOptions) -> Given<'s> {
        let version = options.agent_version.as_deref().filter(|text| version_rank(text.as_bytes()).is_some());
        Given { store, version, noted: BTreeSet::new() }
    }

    /// The note for a host, unless it says what is known.
    fn note(&mut self, host: &[u8]) -> Result<Option<Delivery>, Error> {
        let Some(version) = self.version else {
            return Ok(None);
        };
        if !self.noted.insert(host.to_vec()) {
            return Ok(None);
        }
        let view = self.store.view();
        let mut cost = Cost::default();
        let known = view.agent(host, Micros::MAX, &mut cost)?.given;
        if known.is_some_and(|(_, text)| text == version) {
            return Ok(None);
        }
        let number = view.notes(note::GIVEN, host, &mut cost)?;
        let columns: [(&[u8], &[u8]); 1] = [(b"version", version.as_bytes())];
        Ok(Some(note::delivery(note::GIVEN, host, 0, Some(number), &columns)))
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one loop")]
fn read_input<R: Read>(
    name: &str,
    reader: R,
    clock: &Arc<dyn Clock>,
    reading: &Mutex<Reading>,
    send: &Sender<Vec<Delivery>>,
    given: &mut Given<'_>,
    imported: &mut Imported,
    progress: &mut impl FnMut(&str, u64),
) -> Result<Result<(), Gone>, Error> {
    let mut source = LineSource::new(name, reader);
    let mut told = 0;
    loop {
        let bytes_in = source.bytes_in();
        if bytes_in != told {
            progress(name, bytes_in - told);
            told = bytes_in;
        }
        let line = match source.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(fault) => {
                imported.faults.push(fault);
                break;
            }
        };
        let batch = {
            let reading = &mut *reading.lock();
            let from = reading.pending.len();
            take_line(line, name, reading, given, imported)?;
            reading.measure(from);
            reading.last_line_nanos = clock.monotonic_nanos();
            reading.idle_done = false;
            reading.take(false)
        };
        if let Some(batch) = batch
            && send.send(batch).is_err()
        {
            return Ok(Err(Gone));
        }
    }
    loop {
        let (batch, more) = {
            let reading = &mut *reading.lock();
            let from = reading.pending.len();
            let more = reading.hold.end_some(BATCH_ROWS, &mut reading.pending)?;
            reading.measure(from);
            (reading.take(true), more)
        };
        if batch.is_some_and(|batch| send.send(batch).is_err()) {
            return Ok(Err(Gone));
        }
        if !more {
            return Ok(Ok(()));
        }
    }
}

fn take_line(
    line: SourceLine<'_>,
    source: &str,
    reading: &mut Reading,
    given: &mut Given<'_>,
    imported: &mut Imported,
) -> Result<(), Error> {
    let (offset, bytes, length, read) = match line {
        SourceLine::Line { offset, bytes, .. } => (offset, bytes, bytes.len() as u64, read_line(bytes)),
        SourceLine::TooLong { offset, head, length, .. } => (offset, head, length, Line::Dead(Reason::TooLong)),
    };
    imported.lines += u64::from(!matches!(read, Line::Blank));
    match read {
        Line::Blank => {}
        Line::Result(line) => {
            if reading.hold.line(&line, &mut reading.pending)? {
                reading.pending.extend(given.note(&line.host)?);
            }
        }
        Line::Status(line) => {
            imported.status_lines += 1;
            reading.hold.status(&line, &mut reading.pending);
            reading.pending.extend(given.note(&line.host)?);
        }
        Line::Dead(reason) => {
            *imported.dead_letters.entry(reason.code()).or_default() += 1;
            let bytes = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
            let length = length.to_string();
            let columns: [(&[u8], &[u8]); 3] =
                [(b"bytes", bytes), (b"length", length.as_bytes()), (b"reason", reason.code().as_bytes())];
            reading.pending.push(note::delivery(note::DEAD, source.as_bytes(), 0, Some(offset), &columns));
        }
    }
    Ok(())
}

/// Hands on what is held whenever nothing came for a while, until the reading has ended.
fn watch_idle(
    reading: &Mutex<Reading>,
    send: &Sender<Vec<Delivery>>,
    clock: &dyn Clock,
    after: Duration,
    stopped: &Receiver<()>,
) {
    let step = (after / 4).max(Duration::from_millis(10));
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(step) {
        let batch = {
            let reading = &mut *reading.lock();
            let waited = clock.monotonic_nanos().saturating_sub(reading.last_line_nanos);
            if reading.idle_done || u128::from(waited) < after.as_nanos() {
                continue;
            }
            reading.idle_done = true;
            let from = reading.pending.len();
            if reading.hold.idle(&mut reading.pending).is_err() {
                // The reading side meets the same fault, and tells it.
                return;
            }
            reading.measure(from);
            reading.take(true)
        };
        if let Some(batch) = batch
            && send.send(batch).is_err()
        {
            return;
        }
    }
}

/// What the committing side did.
#[derive(Default)]
struct Committed {
    known: u64,
    forks: u64,
    recorded: Option<Micros>,
    touched: BTreeSet<Arc<StreamKey>>,
}

/// Cuts deliveries into batches that fit a record of the log, each of at least one delivery.
fn in_records(deliveries: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let mut records: Vec<Vec<Delivery>> = Vec::new();
    let mut bytes = 0;
    for delivery in deliveries {
        let rows = delivery.removed.iter().chain(&delivery.added);
        let more: usize = rows.map(|(row, _)| row.as_bytes().len() + 16).sum();
        match records.last_mut() {
            Some(record) if bytes + more <= RECORD_BYTES => record.push(delivery),
            _ => {
                bytes = 0;
                records.push(vec![delivery]);
            }
        }
        bytes += more;
    }
    records
}

fn commit_all(store: &Store, batches: &Receiver<Vec<Delivery>>, options: &ImportOptions) -> Result<Committed, Error> {
    let mut committed = Committed::default();
    let mut touched: FxHashSet<Arc<StreamKey>> = FxHashSet::default();
    let mut waiting = Vec::new().into_iter();
    loop {
        let deliveries = match waiting.next() {
            Some(deliveries) => deliveries,
            None => match batches.recv_timeout(TICK) {
                Ok(deliveries) => {
                    waiting = in_records(deliveries).into_iter();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    store.tick()?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            },
        };
        for delivery in deliveries.iter().filter(|delivery| delivery.stream.kind != Kind::Note) {
            if !touched.contains(&delivery.stream) {
                touched.insert(delivery.stream.clone());
            }
        }
        let batch = Batch { deliveries, ..Batch::default() };
        let appended = store.append(batch, options.recorded_at)?;
        committed.known += appended.known;
        committed.forks += appended.forks;
        committed.recorded = committed.recorded.max(appended.recorded);
    }
    committed.touched = touched.into_iter().collect();
    Ok(committed)
}
