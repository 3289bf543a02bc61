//! Inputs are imported into a store.
//!
//! Invariants:
//! - What was imported before is known again: an import that was stopped anywhere and run again over the same inputs
//!   ends with the same answers as one that was not.
//! - An input that cannot be read to its end keeps everything before the fault, and stops no other input.
//! - What is handed on, and in which batches, depends on the lines alone: not on where a read was cut, nor on which
//!   thread was quick.
//! - Memory is bounded by the lines that are held back, `FLIGHT_BYTES_MAX` of lines under way (or one longer line), and
//!   a few batches.
//!
//! Steps, each in a thread of its own: blocks of lines are read → parsed, several at once → held back, in the order in
//! which they were read → given their places in the store in batches → waited for until they are durable. Where one is
//! slower than those before it, they wait.

use super::hold::{HELD_BYTES_MAX, Hold, HoldCounts};
use super::parse::{Item, Parsed, Parser};
use super::source::{LineSource, Lines, SourceError};
use super::spill::Spill;
use crate::agent::version_rank;
use crate::catalogue::{Catalogue, StreamMap};
use crate::error::{Error, Misuse};
use crate::fact::{Batch, Delivery, Kind, Micros, Name, StreamKey};
use crate::io::Clock;
use crate::note;
use crate::options::join;
use crate::read::answer::{Cause, Cost};
use crate::read::view::View;
use crate::store::{Placed, Store};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
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
/// Batches that have their places and are not waited for yet.
const PLACED_WAITING: usize = 2;
/// Bytes of lines that were read and are not held back yet.
const FLIGHT_BYTES_MAX: usize = 16 << 20;
/// A longer buffer is not used again.
const SPARE_BYTES_MAX: usize = 4 << 20;
/// Parsers beyond these would wait for the one who holds back.
const PARSERS_MAX: usize = 4;

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
    pub touched: Touched,
    /// Inputs that could not be read to their end.
    pub faults: Vec<SourceError>,
    /// Whether a map was given whose tables hold only for looks recorded from now on.
    pub map_changed: bool,
}

/// Streams that something new was said of.
#[derive(Debug)]
pub enum Touched {
    /// All that the store has, since it had none: however many they are, they need not be kept beside a merge.
    All,
    /// These.
    Streams(BTreeSet<Arc<StreamKey>>),
}

impl Default for Touched {
    fn default() -> Touched {
        Touched::Streams(BTreeSet::new())
    }
}

impl Touched {
    /// How many breaks these streams have in a view, by cause.
    pub fn count_breaks(&self, view: &View) -> Result<BTreeMap<Cause, u64>, Error> {
        match self {
            Touched::Streams(streams) => view.count_breaks(streams),
            Touched::All => {
                let mut causes = BTreeMap::new();
                for table in view.tables()? {
                    let counted = view.count_breaks(&view.streams_of(&table, None)?)?;
                    counted.into_iter().for_each(|(cause, count)| *causes.entry(cause).or_default() += count);
                }
                Ok(causes)
            }
        }
    }
}

/// What is kept while lines are held back.
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

/// A channel to the next stage is gone: that stage has failed and says why.
struct Gone;

/// Whole lines on their way to a parser, and where to put what they say.
struct Job {
    buffer: Vec<u8>,
    range: Range<usize>,
    offset: u64,
    parsed: Parsed,
    done: Sender<Parsed>,
}

/// What the one who holds back is to do next.
enum Step {
    /// Take in lines of an input, once they are parsed.
    Lines(Arc<str>, Receiver<Parsed>),
    /// Hand on everything: an input has ended.
    End,
}

/// The channels from the one who reads, and those by which buffers come back.
struct Reader {
    jobs: Sender<Job>,
    steps: Sender<Step>,
    buffers: Receiver<Vec<u8>>,
    parsed: Receiver<Parsed>,
    /// Bytes of lines under way.
    flight_bytes: usize,
}

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
    let is_new = store.last_recorded().is_none();
    settings_first(store, options, &mut imported)?;
    let view = store.view();
    let settings = view.settings(Micros::MAX, &mut Cost::default())?;
    let held_bytes_max = options.held_bytes_max.unwrap_or(HELD_BYTES_MAX);
    let reading = Mutex::new(Reading {
        hold: Hold::new(settings.catalogue.clone(), settings.map.clone(), Spill::new(store.storage()), held_bytes_max),
        pending: Vec::new(),
        pending_rows: 0,
        pending_bytes: 0,
        last_line_nanos: clock.monotonic_nanos(),
        idle_done: true,
    });
    let parsers = crate::options::cores().min(PARSERS_MAX);
    let (send, receive) = bounded::<Vec<Delivery>>(BATCHES_WAITING);
    let (stop_idle, idle_stopped) = bounded::<()>(0);
    let (jobs, jobs_to_do) = bounded::<Job>(parsers);
    let (steps, steps_to_do) = bounded::<Step>(parsers * 2);
    let (buffer_back, buffers) = unbounded();
    let (parsed_back, parsed) = unbounded();
    let committed = std::thread::scope(|scope| {
        let committer = scope.spawn(move || commit_all(store, &receive, options, is_new));
        if let Some(after) = options.hold {
            let (reading, send, clock) = (&reading, send.clone(), clock.clone());
            scope.spawn(move || watch_idle(reading, &send, &*clock, after, &idle_stopped));
        }
        for _ in 0..parsers {
            let parser = Parser::new(settings.catalogue.clone(), settings.map.clone());
            let (jobs, back) = (jobs_to_do.clone(), buffer_back.clone());
            scope.spawn(move || parse_all(parser, &jobs, &back));
        }
        // Only the parsers have them, so that nobody waits for parsers that are gone.
        drop((jobs_to_do, buffer_back));
        let holder = scope.spawn(|| {
            let given = Given::new(store, options, is_new);
            let held = hold_all(&reading, clock, steps_to_do, &send, &parsed_back, given);
            drop((send, stop_idle));
            held
        });
        let mut reader = Reader { jobs, steps, buffers, parsed, flight_bytes: 0 };
        for (name, input) in inputs {
            if reader.read_input(&name, input, &mut imported, &mut progress).is_err() {
                break;
            }
        }
        drop(reader);
        let held = join(holder);
        let committed = join(committer)?;
        let held = held?;
        imported.lines = held.lines;
        imported.status_lines = held.status_lines;
        imported.dead_letters = held.dead_letters;
        Ok::<_, Error>(committed)
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
    /// Whether the store had nothing, so that all that is known is what was noted here.
    is_new: bool,
    /// What the notes' keys share.
    key: StreamKey,
    version: Option<&'s str>,
    noted: FxHashSet<Name>,
}

impl<'s> Given<'s> {
    fn new(store: &'s Store, options: &'s ImportOptions, is_new: bool) -> Given<'s> {
        let version = options.agent_version.as_deref().filter(|text| version_rank(text.as_bytes()).is_some());
        Given { store, is_new, key: note::key(note::GIVEN, b""), version, noted: FxHashSet::default() }
    }

    /// The note for a host, unless it says what is known.
    fn note(&mut self, host: &Name) -> Result<Option<Delivery>, Error> {
        let Some(version) = self.version else {
            return Ok(None);
        };
        if self.noted.contains(host) {
            return Ok(None);
        }
        self.noted.insert(host.clone());
        let mut number = 0;
        if !self.is_new {
            let (view, mut cost) = (self.store.view(), Cost::default());
            let known = view.agent(host, Micros::MAX, &mut cost)?.given;
            if known.is_some_and(|(_, text)| text == version) {
                return Ok(None);
            }
            number = view.notes(note::GIVEN, host, &mut cost)?;
        }
        let columns: [(&[u8], &[u8]); 1] = [(b"version", version.as_bytes())];
        let stream = Arc::new(StreamKey { host: host.clone(), ..self.key.clone() });
        Ok(Some(Delivery { stream, ..note::delivery(note::GIVEN, host, 0, Some(number), &columns) }))
    }
}

impl Reader {
    /// Reads an input to its end or to its fault.
    fn read_input<R: Read>(
        &mut self,
        name: &str,
        input: R,
        imported: &mut Imported,
        progress: &mut impl FnMut(&str, u64),
    ) -> Result<(), Gone> {
        let mut source = LineSource::new(name, input);
        let name: Arc<str> = Arc::from(name);
        let mut told = 0;
        loop {
            let lines = source.next_lines(self.spare());
            let bytes_in = source.bytes_in();
            if bytes_in != told {
                progress(&name, bytes_in - told);
                told = bytes_in;
            }
            match lines {
                Ok(Some(lines)) => self.send(&name, lines)?,
                Ok(None) => break,
                Err(fault) => {
                    imported.faults.push(fault);
                    break;
                }
            }
        }
        self.steps.send(Step::End).map_err(|_| Gone)
    }

    /// Gives lines to the parsers, and their place to the one who holds back.
    fn send(&mut self, name: &Arc<str>, lines: Lines) -> Result<(), Gone> {
        let (done, parsed) = bounded(1);
        match lines {
            Lines::Whole { offset, buffer, range } => {
                // A buffer comes back once its lines are parsed.
                while self.flight_bytes > 0 && self.flight_bytes + buffer.len() > FLIGHT_BYTES_MAX {
                    let back = self.buffers.recv().map_err(|_| Gone)?;
                    self.flight_bytes -= back.len();
                }
                self.flight_bytes += buffer.len();
                let to = self.parsed.try_recv().unwrap_or_default();
                self.jobs.send(Job { buffer, range, offset, parsed: to, done }).map_err(|_| Gone)?;
            }
            Lines::TooLong { offset, head, length } => {
                done.send(Parsed::too_long(offset, &head, length)).map_err(|_| Gone)?;
            }
        }
        self.steps.send(Step::Lines(name.clone(), parsed)).map_err(|_| Gone)
    }

    /// A buffer that came back.
    fn spare(&mut self) -> Option<Vec<u8>> {
        let back = self.buffers.try_recv().ok()?;
        self.flight_bytes -= back.len();
        (back.len() <= SPARE_BYTES_MAX).then_some(back)
    }
}

/// Parses until no more lines come.
fn parse_all(mut parser: Parser, jobs: &Receiver<Job>, back: &Sender<Vec<u8>>) {
    for Job { buffer, range, offset, mut parsed, done } in jobs {
        parsed.clear();
        parser.block(&buffer[range], offset, &mut parsed);
        // Nobody waits for it if a later stage has failed, and no buffer is wanted at the end.
        let _ = (done.send(parsed), back.send(buffer));
    }
}

/// What lines were, beside results.
#[derive(Default)]
struct HeldLines {
    lines: u64,
    status_lines: u64,
    dead_letters: BTreeMap<&'static str, u64>,
}

/// Holds back and hands on until no more lines come, or nobody takes what is handed on.
fn hold_all(
    reading: &Mutex<Reading>,
    clock: &Arc<dyn Clock>,
    steps: Receiver<Step>,
    send: &Sender<Vec<Delivery>>,
    back: &Sender<Parsed>,
    mut given: Given<'_>,
) -> Result<HeldLines, Error> {
    let mut held = HeldLines::default();
    let mut batches = Vec::new();
    for step in steps {
        match step {
            Step::Lines(name, parsed) => {
                let Ok(parsed) = parsed.recv() else { break };
                let mut reading = reading.lock();
                take_in(&parsed, &name, &mut reading, &mut given, &mut held, &mut batches)?;
                reading.last_line_nanos = clock.monotonic_nanos();
                reading.idle_done = false;
                drop(reading);
                let _ = back.send(parsed);
                if batches.drain(..).any(|batch| send.send(batch).is_err()) {
                    break;
                }
            }
            Step::End => {
                let mut more = true;
                while more {
                    let batch = {
                        let reading = &mut *reading.lock();
                        let from = reading.pending.len();
                        more = reading.hold.end_some(BATCH_ROWS, &mut reading.pending)?;
                        reading.measure(from);
                        reading.take(true)
                    };
                    if batch.is_some_and(|batch| send.send(batch).is_err()) {
                        return Ok(held);
                    }
                }
            }
        }
    }
    Ok(held)
}

/// Takes lines of an input in; adds the batches that are large enough.
fn take_in(
    parsed: &Parsed,
    input: &str,
    reading: &mut Reading,
    given: &mut Given<'_>,
    held: &mut HeldLines,
    batches: &mut Vec<Vec<Delivery>>,
) -> Result<(), Error> {
    held.lines += parsed.lines;
    reading.hold.begin(parsed);
    let mut row = 0;
    for item in &parsed.items {
        let Reading { hold, pending, .. } = &mut *reading;
        let from = pending.len();
        match item {
            Item::Rows { said, .. } | Item::Whole { said, .. } => {
                if hold.take(parsed, item, &mut row, pending)? {
                    let host = &parsed.said[*said as usize].host;
                    pending.extend(given.note(hold.host(host).unwrap_or(host))?);
                }
            }
            Item::Status { host, second, version } => {
                held.status_lines += 1;
                hold.status(host, *second, version.as_deref(), pending);
                pending.extend(given.note(&Name::from(&**host))?);
            }
            Item::Dead { offset, reason, head, length } => {
                *held.dead_letters.entry(reason.code()).or_default() += 1;
                pending.push(note::of_dead(input.as_bytes(), *offset, reason.code(), head, *length));
            }
        }
        reading.measure(from);
        batches.extend(reading.take(false));
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
    touched: Touched,
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

/// Commits until no more batches come.
fn commit_all(
    store: &Store,
    batches: &Receiver<Vec<Delivery>>,
    options: &ImportOptions,
    is_new: bool,
) -> Result<Committed, Error> {
    let (send, placed) = bounded(PLACED_WAITING);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_all(store, placed));
        let touched = place_all(store, batches, options, is_new, send);
        let mut committed = join(waiter)?;
        committed.touched = touched?;
        Ok(committed)
    })
}

/// Gives batches their places until no more come, or nobody waits for them; tells whose streams they are of.
fn place_all(
    store: &Store,
    batches: &Receiver<Vec<Delivery>>,
    options: &ImportOptions,
    is_new: bool,
    send: Sender<Placed>,
) -> Result<Touched, Error> {
    // By address of the keys, which stay where they are since they are held here; a stream may have several.
    let mut touched: FxHashMap<usize, Arc<StreamKey>> = FxHashMap::default();
    'batches: loop {
        let deliveries = match batches.recv_timeout(TICK) {
            Ok(deliveries) => deliveries,
            Err(RecvTimeoutError::Timeout) => {
                store.tick()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        for deliveries in in_records(deliveries) {
            let streams = deliveries.iter().map(|delivery| &delivery.stream);
            for stream in streams.filter(|stream| !is_new && stream.kind != Kind::Note) {
                touched.entry(Arc::as_ptr(stream).addr()).or_insert_with(|| stream.clone());
            }
            let batch = Batch { deliveries, ..Batch::default() };
            if send.send(store.place(batch, options.recorded_at)?).is_err() {
                // The waiter has failed and says why.
                break 'batches;
            }
        }
    }
    Ok(if is_new { Touched::All } else { Touched::Streams(touched.into_values().collect()) })
}

/// Waits for batches until no more come.
fn wait_all(store: &Store, placed: Receiver<Placed>) -> Result<Committed, Error> {
    let mut committed = Committed::default();
    for placed in placed {
        let appended = store.wait(placed)?;
        committed.known += appended.known;
        committed.forks += appended.forks;
        committed.recorded = committed.recorded.max(appended.recorded);
    }
    Ok(committed)
}
