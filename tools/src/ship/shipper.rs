//! From files to a sink: cut, written down, sent, acknowledged.
//!
//! Invariants:
//! - A batch stands in the place before it is sent, so that whatever is killed, the same bytes go out again under the same
//!   sequence, or none.
//! - Sequences have no hole: of a batch whose bytes are gone the rest is sent, and be it nothing; the loss is told.
//! - Bytes in memory: the batches under way and one more.
//! - Sources take turns: none is served twice while another one waits.
//!
//! Steps of a turn: look at the files → open → send what is recorded → collect what is in → cut, record, send.

use super::event::Event;
use super::generation::Room;
use super::names;
use super::names::Names;
use super::options::Options;
use super::pace::{Now, Pace};
use super::place::{BatchPlace, Piece, Place};
use super::report::{Lag, Report};
use super::sink::{Ack, BATCH_OVERHEAD, Chunk, Opening, Sink, SinkError, overhead};
use super::source::{Around, Given, Slice, Source};
use super::state::State;
use crate::fail::Failure;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The least that a source is asked for in its turn.
const SHARE_BYTES_MIN: u64 = 64 << 10;

/// How long what changed may wait to be written down if nothing else is to be.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// A connection that has lasted so long was a good one: the next failure is the first.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// How long a shipper that is to stop waits for what is under way.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// A batch that is not known to be in.
struct Batch {
    sequence: u64,
    pieces: Vec<Piece>,
    /// The bytes of each piece; `None` after a restart, until they are read again.
    bytes: Option<Vec<Vec<u8>>>,
    sent: bool,
}

/// How it stands with the sink.
struct Line {
    /// The longest payload of a batch; `None`: not open.
    open: Option<u64>,
    opened_at: Duration,
    /// Not to be tried before.
    not_before: Duration,
    failures: u32,
    why: Option<String>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do at once.
    Again,
    /// Nothing to do for so long.
    Wait(Duration),
    /// Everything that there is was sent and is in; nothing to do for so long.
    CaughtUp(Duration),
}

/// Follows logs and hands them to a sink, exactly once.
pub struct Shipper<S, P> {
    options: Options,
    names: Names,
    state: State,
    sink: S,
    pace: P,
    tell: Box<dyn FnMut(Event)>,
    producer: u128,
    instance: u128,
    next: u64,
    sources: Vec<Source>,
    /// The logs that are followed.
    logs: BTreeSet<PathBuf>,
    flight: VecDeque<Batch>,
    line: Line,
    /// The source whose turn is next.
    turn: usize,
    /// Since when there is something to be cut.
    waiting: Option<Duration>,
    /// Nothing has happened since.
    quiet: Option<Duration>,
    found_at: Option<Duration>,
    changed: bool,
    saved_at: Duration,
    chance: u64,
    report: Report,
}

impl<S: Sink, P: Pace> Shipper<S, P> {
    /// A shipper of the logs that are `named`, by paths or patterns, which keeps its place in `state`.
    ///
    /// Fails if another one uses that state, or if what is there cannot be believed.
    pub fn open(
        state: &Path,
        named: &[OsString],
        options: Options,
        sink: S,
        pace: P,
        tell: Box<dyn FnMut(Event)>,
    ) -> Result<Self, Failure> {
        let names = Names::new(named).map_err(Failure::Usage)?;
        let state = State::open(state)?;
        let (place, new) = match state.load()? {
            Some(place) => (place, false),
            None => (Place { producer: random()?, next: 1, ..Place::default() }, true),
        };
        let now = Now::of(&pace).monotonic;
        let instance = random()?;
        let mut shipper = Shipper {
            options,
            names,
            state,
            sink,
            pace,
            tell,
            producer: place.producer,
            instance,
            next: place.next,
            sources: place.sources.into_iter().map(Source::restored).collect(),
            logs: BTreeSet::new(),
            flight: place.batches.into_iter().map(Batch::restored).collect(),
            line: Line { open: None, opened_at: now, not_before: now, failures: 0, why: None },
            turn: 0,
            waiting: None,
            quiet: None,
            found_at: None,
            changed: false,
            saved_at: now,
            chance: instance as u64,
            report: Report::default(),
        };
        if new {
            // The number is for ever from its first use on.
            shipper.save()?;
        }
        Ok(shipper)
    }

    /// Ships until `stop` says so, or, if `once`, until everything that is there is in. Gives `report` a report at least
    /// each `every`, and one at the end.
    pub fn run(
        &mut self,
        stop: &dyn Fn() -> bool,
        once: bool,
        every: Duration,
        report: &mut dyn FnMut(&Report),
    ) -> Result<(), Failure> {
        let mut told = self.now().monotonic;
        while !stop() {
            match self.turn()? {
                Turn::Again => {}
                Turn::CaughtUp(_) if once => break,
                Turn::Wait(time) | Turn::CaughtUp(time) => self.rest(time)?,
            }
            let now = self.now().monotonic;
            if now >= told + every {
                told = now;
                report(&self.report());
            }
        }
        let until = self.now().monotonic + STOP_WAIT;
        while self.line.open.is_some() && self.flight.iter().any(|batch| batch.sent) && self.now().monotonic < until {
            self.rest(self.options.poll)?;
        }
        self.save()?;
        report(&self.report());
        Ok(())
    }

    /// One turn: does what can be done now.
    pub fn turn(&mut self) -> Result<Turn, Failure> {
        let mut news = self.look()?;
        news |= self.greet()?;
        self.send()?;
        news |= self.collect(Duration::ZERO)?;
        let cut = self.cut()?;
        if cut {
            self.send()?;
        }
        let now = self.now();
        let ready = self.sources.iter().any(|source| source.ready(&self.options, now) > 0);
        if !cut && self.changed() && (now.monotonic >= self.saved_at + SAVE_AFTER || !ready && self.flight.is_empty()) {
            self.save()?;
        }
        if cut {
            self.quiet = None;
            return Ok(Turn::Again);
        }
        let quiet = match self.quiet.filter(|_| !news) {
            Some(since) => now.monotonic.saturating_sub(since),
            None => {
                self.quiet = Some(now.monotonic);
                Duration::ZERO
            }
        };
        let Options { poll, poll_idle, batch_wait, .. } = self.options;
        // The longer nothing happens, the more rarely it is looked.
        let mut wait = (quiet / 8).clamp(poll.min(poll_idle), poll_idle);
        if let (Some(since), Some(_)) = (self.waiting, self.line.open)
            && self.flight.len() < self.options.in_flight_max
        {
            wait = wait.min((since + batch_wait).saturating_sub(now.monotonic));
        }
        if self.line.open.is_none() {
            wait = wait.min(self.line.not_before.saturating_sub(now.monotonic));
        }
        let wait = wait.max(Duration::from_millis(1));
        let through = |source: &Source| !source.active || source.is_through(&self.options, now);
        let all = self.sources.iter().all(through) && self.flight.is_empty() && self.line.open.is_some();
        Ok(if all { Turn::CaughtUp(wait) } else { Turn::Wait(wait) })
    }

    /// Lets time pass; what goes in meanwhile is noted.
    pub fn rest(&mut self, time: Duration) -> Result<(), Failure> {
        if self.line.open.is_some() && self.flight.iter().any(|batch| batch.sent) {
            self.collect(time).map(drop)
        } else {
            self.pace.rest(time);
            Ok(())
        }
    }

    /// How far each source is behind.
    pub fn lags(&self) -> Vec<Lag> {
        let now = self.now().wall_micros;
        let followed = self.sources.iter().filter(|source| source.active);
        let lag = |source: &Source| {
            let pieces = self.flight.iter().flat_map(|batch| &batch.pieces);
            let under_way: u64 =
                pieces.filter(|piece| piece.source == source.number).map(|piece| piece.to - piece.from).sum();
            let bytes = under_way + source.generations.iter().map(|generation| generation.unread()).sum::<u64>();
            let since = source.caught_up.map(|micros| u64::try_from(now - micros).unwrap_or(0) / 1_000_000);
            Lag {
                source: source.path.clone(),
                bytes,
                at_least: source.generations.iter().any(|known| known.known.packed && !known.known.done),
                seconds: if bytes == 0 { Some(0) } else { since },
            }
        };
        followed.map(lag).collect()
    }

    /// What was done, and how it stands.
    pub fn report(&self) -> Report {
        Report {
            lags: self.lags(),
            next: self.next,
            under_way: self.flight.len(),
            skipped_lines: self.sources.iter().map(|source| source.skipped_lines).sum(),
            lost_bytes: self.sources.iter().map(|source| source.lost_bytes).sum(),
            away: self.line.why.clone(),
            ..self.report.clone()
        }
    }

    #[cfg(test)]
    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    #[cfg(test)]
    pub(super) fn unpacks(&self) -> usize {
        self.sources.iter().map(Source::unpacks).sum()
    }

    fn now(&self) -> Now {
        Now::of(&self.pace)
    }

    fn changed(&self) -> bool {
        self.changed || self.sources.iter().any(|source| source.changed)
    }

    /// Looks at all files; true if something is new.
    pub(super) fn look(&mut self) -> Result<bool, Failure> {
        let new_source = self.find();
        let mut news = new_source;
        let needed = self.needed();
        let (sources, mut around) = self.around(&needed);
        for source in sources {
            if source.active || needed.range((source.number, 0)..=(source.number, u64::MAX)).next().is_some() {
                news |= source.look(&mut around);
            }
        }
        if new_source {
            // Where it begins must not be chosen anew after a crash.
            self.save()?;
        }
        Ok(news)
    }

    /// Looks for new logs, now and then.
    fn find(&mut self) -> bool {
        let now = self.now();
        if self.found_at.is_some_and(|at| now.monotonic < at + self.options.scan) {
            return false;
        }
        self.found_at = Some(now.monotonic);
        let known: BTreeSet<PathBuf> = self.sources.iter().map(|source| source.path.clone()).collect();
        let found = self.names.find(&known);
        let needed = self.needed();
        let forget = self.options.forget;
        self.sources.retain(|source| {
            let idle = now.wall_micros.saturating_sub(source.caught_up.unwrap_or(i64::MAX));
            let old = u64::try_from(idle).is_ok_and(|idle| Duration::from_micros(idle) > forget);
            let gone = !source.path.exists() && source.generations.iter().all(|known| known.path.is_none());
            !(old && gone && source.scanned.is_some() && needed.iter().all(|(number, _)| *number != source.number))
        });
        for source in &mut self.sources {
            source.active = found.contains(&source.path);
        }
        let mut new_source = false;
        for path in &found {
            if self.sources.iter().any(|source| source.path == *path) {
                continue;
            }
            let number = self.sources.iter().map(|source| source.number).max().map_or(1, |number| number + 1);
            (self.tell)(Event::Follows { source: path.clone() });
            self.sources.push(Source::new(number, path.clone()));
            new_source = true;
        }
        self.logs = found;
        new_source
    }

    /// Generations that batches under way are of.
    fn needed(&self) -> BTreeSet<(u32, u64)> {
        let pieces = self.flight.iter().flat_map(|batch| &batch.pieces);
        pieces.map(|piece| (piece.source, piece.generation)).collect()
    }

    /// The sources, and what they need to know.
    fn around<'a>(&'a mut self, needed: &'a BTreeSet<(u32, u64)>) -> (&'a mut [Source], Around<'a>) {
        let around = Around {
            options: &self.options,
            now: Now::of(&self.pace),
            hold: self.sources.len() * 2 <= self.options.open_files_max,
            logs: &self.logs,
            needed,
            tell: &mut *self.tell,
        };
        (&mut self.sources, around)
    }

    /// Does something with one source.
    fn with(&mut self, number: u32, work: impl FnOnce(&mut Source, &mut Around<'_>)) {
        let needed = BTreeSet::new();
        let (sources, mut around) = self.around(&needed);
        if let Some(source) = sources.iter_mut().find(|source| source.number == number) {
            work(source, &mut around);
        }
    }

    /// Opens the sink if it is not open and may be tried; true if it was opened.
    pub(super) fn greet(&mut self) -> Result<bool, Failure> {
        let now = self.now().monotonic;
        if self.line.open.is_some() || now < self.line.not_before {
            return Ok(false);
        }
        let opening = Opening {
            producer: self.producer,
            instance: self.instance,
            first: self.flight.front().map_or(self.next, |batch| batch.sequence),
            last: self.next - 1,
        };
        let opened = match self.sink.open(&opening) {
            Ok(opened) => opened,
            Err(error) => return self.failed(error).map(|()| false),
        };
        if opened.greatest > opening.last || opened.greatest + 1 < opening.first {
            return Err(Failure::Failed(format!(
                "the other side has batches up to {} of producer {:032x}, and this state sent up to {} and knows that {} \
                 are in: the state is a copy or an old one, or the store was put back. Sending on would lose or repeat \
                 data. Start with a new --state: all that still lies there is then sent again, which changes no answer",
                opened.greatest,
                self.producer,
                opening.last,
                opening.first - 1
            )));
        }
        (self.line.open, self.line.opened_at, self.line.why) = (Some(opened.request_bytes_max), now, None);
        self.is_in(opened.greatest);
        for batch in &mut self.flight {
            batch.sent = false;
        }
        (self.tell)(Event::Opened { greatest: opened.greatest, again: self.flight.len() });
        Ok(true)
    }

    /// What the sink could not do: waits, or gives up.
    fn failed(&mut self, error: SinkError) -> Result<(), Failure> {
        let now = self.now().monotonic;
        match error {
            SinkError::Refused { why } => Err(Failure::Failed(why)),
            SinkError::Away { why, wait } => {
                if self.line.open.is_some() && now >= self.line.opened_at + GOOD_AFTER {
                    self.line.failures = 0;
                }
                let (least, most) = self.options.retry;
                let back_off = least.saturating_mul(1 << self.line.failures.min(20)).min(most);
                // Between half and all of it, so that those who were cut off together do not come back together.
                self.chance = self.chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let jitter = back_off.mul_f64((self.chance >> 11) as f64 / (1u64 << 53) as f64 / 2.0);
                let wait = wait.unwrap_or_default() + back_off / 2 + jitter;
                self.line.failures = self.line.failures.saturating_add(1);
                self.line.open = None;
                self.line.not_before = now + wait;
                self.line.why = Some(why.clone());
                (self.tell)(Event::Away { why, wait });
                Ok(())
            }
        }
    }

    /// All up to `sequence` is in.
    fn is_in(&mut self, sequence: u64) {
        while let Some(batch) = self.flight.pop_front_if(|batch| batch.sequence <= sequence) {
            self.report.batches += 1;
            self.report.bytes += batch.pieces.iter().map(|piece| piece.to - piece.from).sum::<u64>();
            self.changed = true;
        }
    }

    /// Sends what is recorded and was not sent on this connection.
    pub(super) fn send(&mut self) -> Result<(), Failure> {
        for at in 0..self.flight.len() {
            let Some(bytes_max) = self.line.open else { break };
            if self.flight[at].sent {
                continue;
            }
            if self.flight[at].bytes.is_none() && !self.read_again(at)? {
                break;
            }
            let batch = &mut self.flight[at];
            let names: Vec<Vec<u8>> = batch.pieces.iter().map(|piece| name_of(&self.sources, piece)).collect();
            let bytes = batch.bytes.as_deref().unwrap_or_default();
            let chunks: Vec<Chunk<'_>> = (batch.pieces.iter().zip(&names).zip(bytes))
                .map(|((piece, source), lines)| Chunk { source, offset: piece.offset, lines })
                .collect();
            let size = chunks.iter().map(|chunk| overhead(chunk.source) + chunk.lines.len() as u64).sum::<u64>();
            if size + BATCH_OVERHEAD > bytes_max {
                return Err(Failure::Failed(format!(
                    "batch {} was cut with {size} bytes, and the other side now takes {bytes_max} at most: allow it \
                     requests of at least {} bytes",
                    batch.sequence,
                    size + BATCH_OVERHEAD
                )));
            }
            match self.sink.send(batch.sequence, &chunks) {
                Ok(()) => batch.sent = true,
                Err(error) => self.failed(error)?,
            }
        }
        Ok(())
    }

    /// Reads the bytes of a recorded batch again; false if that is not possible yet.
    fn read_again(&mut self, at: usize) -> Result<bool, Failure> {
        let pieces = self.flight[at].pieces.clone();
        let (mut kept, mut all, mut lost) = (vec![], vec![], vec![]);
        for piece in pieces {
            match self
                .sources
                .iter_mut()
                .find(|source| source.number == piece.source)
                .map(|source| source.again(&piece))
            {
                Some(Ok(Some(bytes))) => {
                    kept.push(piece);
                    all.push(bytes);
                }
                Some(Err(error)) => {
                    let found = error.kind() == std::io::ErrorKind::NotFound;
                    if !found {
                        self.with(piece.source, |source, around| {
                            let path = source.path.clone();
                            source.trouble(around, &path, &error);
                        });
                    }
                    return Ok(false);
                }
                Some(Ok(None)) | None => lost.push(piece),
            }
        }
        let sequence = self.flight[at].sequence;
        for piece in &lost {
            let what = format!(
                "batch {sequence} is not in, and its bytes from offset {} of the source on are gone or changed; it goes \
                 without them",
                piece.offset
            );
            self.with(piece.source, |source, around| source.lost(around, piece.to - piece.from, what));
        }
        let batch = &mut self.flight[at];
        (batch.pieces, batch.bytes) = (kept, Some(all));
        if !lost.is_empty() {
            // From now on this is what the sequence stands for.
            self.save()?;
        }
        Ok(true)
    }

    /// Collects what went in; true if something did.
    pub(super) fn collect(&mut self, wait: Duration) -> Result<bool, Failure> {
        let (mut news, mut wait) = (false, wait);
        while self.line.open.is_some() && self.flight.iter().any(|batch| batch.sent) {
            match self.sink.acknowledged(wait) {
                Ok(Some(ack)) => {
                    let sent = self.flight.iter().rev().find(|batch| batch.sent).map_or(0, |batch| batch.sequence);
                    if self.flight.iter().any(|batch| batch.sent && batch.sequence == ack.sequence) {
                        self.report.lines += ack.lines;
                        self.report.dead_letters += ack.dead_letters;
                        if ack.dead_letters > 0 {
                            let Ack { sequence, dead_letters: lines, .. } = ack;
                            (self.tell)(Event::DeadLetters { sequence, lines });
                        }
                        self.line.failures = 0;
                    }
                    self.is_in(ack.sequence.min(sent));
                    (news, wait) = (true, Duration::ZERO);
                }
                Ok(None) => break,
                Err(error) => self.failed(error)?,
            }
        }
        Ok(news)
    }

    /// Cuts a batch if it is time, and writes it down; true if there is one.
    pub(super) fn cut(&mut self) -> Result<bool, Failure> {
        let now = self.now();
        let Some(payload_max) = self.line.open else { return Ok(false) };
        if self.flight.len() >= self.options.in_flight_max {
            return Ok(false);
        }
        let ready: u64 = self.sources.iter().map(|source| source.ready(&self.options, now)).sum();
        if ready == 0 {
            self.waiting = None;
            return Ok(false);
        }
        let since = *self.waiting.get_or_insert(now.monotonic);
        if ready < self.options.batch_bytes && now.monotonic < since + self.options.batch_wait {
            return Ok(false);
        }
        self.waiting = None;
        let slices = self.slices(payload_max, now);
        if slices.is_empty() {
            return Ok(false);
        }
        let (pieces, bytes) = slices.into_iter().map(|slice| (slice.piece, slice.bytes)).unzip();
        self.flight.push_back(Batch { sequence: self.next, pieces, bytes: Some(bytes), sent: false });
        self.next += 1;
        self.save()?;
        Ok(true)
    }

    /// The slices of one batch, from all sources in turn.
    fn slices(&mut self, payload_max: u64, now: Now) -> Vec<Slice> {
        let needed = self.needed();
        let mut slices: Vec<Slice> = vec![];
        let (options, mut size) = (self.options.clone(), 0);
        let count = self.sources.len();
        let ready: Vec<u64> = self.sources.iter().map(|source| source.ready(&options, now)).collect();
        let waiting = ready.iter().filter(|&&ready| ready > 0).count() as u64;
        let target = options.batch_bytes.min(payload_max);
        let share = (target / waiting.max(1)).max(SHARE_BYTES_MIN);
        let first = self.turn % count.max(1);
        let mut open: Vec<usize> = (0..count).map(|step| (first + step) % count).filter(|&at| ready[at] > 0).collect();
        let mut unpacks: usize = self.sources.iter().map(Source::unpacks).sum();
        // Whoever was left out begins the next batch.
        let mut next = None;
        while !open.is_empty() && size < target {
            let round = std::mem::take(&mut open);
            for at in round {
                if size >= target {
                    next.get_or_insert(at);
                    break;
                }
                let source = &self.sources[at];
                if source.wants_to_unpack() && unpacks >= options.unpack_max {
                    continue;
                }
                let over = overhead(&names::bytes_of(&source.path));
                let payload_left = payload_max.saturating_sub(BATCH_OVERHEAD + size + over);
                let alone = slices.is_empty();
                let room = Room {
                    bytes: share.min(target - size).min(payload_left).max(1),
                    alone,
                    line_bytes_max: options.line_bytes_max.min(payload_max.saturating_sub(BATCH_OVERHEAD + over)),
                };
                if payload_left == 0 {
                    next.get_or_insert(at);
                    continue;
                }
                let before = source.unpacks();
                let (sources, mut around) = self.around(&needed);
                let given = sources[at].give(room, &mut around);
                unpacks = unpacks + self.sources[at].unpacks() - before;
                match given {
                    Given::Nothing => {}
                    Given::Full => drop(next.get_or_insert(at)),
                    Given::Slice(slice) => {
                        size += slice.bytes.len() as u64 + over;
                        slices.push(slice);
                        open.push(at);
                    }
                }
            }
        }
        self.turn = next.unwrap_or(first + 1);
        slices
    }

    /// Writes everything down.
    pub(super) fn save(&mut self) -> Result<(), Failure> {
        let batch = |batch: &Batch| BatchPlace { sequence: batch.sequence, pieces: batch.pieces.clone() };
        self.state.save(&Place {
            producer: self.producer,
            next: self.next,
            sources: self.sources.iter().map(Source::place).collect(),
            batches: self.flight.iter().map(batch).collect(),
        })?;
        (self.changed, self.saved_at) = (false, self.now().monotonic);
        for source in &mut self.sources {
            source.changed = false;
        }
        Ok(())
    }
}

impl Batch {
    fn restored(place: BatchPlace) -> Batch {
        Batch { sequence: place.sequence, pieces: place.pieces, bytes: None, sent: false }
    }
}

/// The name of the source that a piece is of.
fn name_of(sources: &[Source], piece: &Piece) -> Vec<u8> {
    let source = sources.iter().find(|source| source.number == piece.source);
    source.map(|source| names::bytes_of(&source.path)).unwrap_or_default()
}

/// A number that nobody else has.
fn random() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Failed(format!("the system gives no random numbers: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}
