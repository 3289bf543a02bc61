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

// From sources to the next batch.
mod cut;

// From a batch to the sink.
mod flight;

// What is still to come.
mod lag;

use super::event::Event;
use super::names::{Found, Names};
use super::options::Options;
use super::pace::{Now, Pace};
use super::place::{BatchPlace, Piece, Place};
use super::report::Report;
use super::sink::Sink;
use super::source::{Around, Source};
use super::state::State;
use crate::fail::Failure;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long what changed may wait to be written down if nothing else is to be.
const SAVE_AFTER: Duration = Duration::from_secs(1);

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
    /// The logs that are followed, and what of the names led to none.
    found: Found,
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
            found: Found::default(),
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
        let left = if once && !stop() { self.left() } else { vec![] };
        if !left.is_empty() {
            // Whoever runs it once takes its end for that of the logs.
            return Err(Failure::Failed(format!(
                "not all was sent: {}. What was sent is in; once that is mended, run it again with the same --state",
                left.join("; ")
            )));
        }
        Ok(())
    }

    /// What was named and is not in though all is in that can be sent, by reason.
    fn left(&self) -> Vec<String> {
        let shown = |path: &Path| path.display().to_string();
        let named = |source: &&Source| self.found.named.contains(&source.path);
        let absent = self.sources.iter().filter(named).filter(|source| source.is_absent());
        let open = self.lags().into_iter().filter(|lag| lag.is_open);
        let reasons: [(&str, Vec<String>); 5] = [
            ("this cannot be read", self.sources.iter().filter_map(Source::unreadable).map(shown).collect()),
            ("there is no such file", absent.map(|source| shown(&source.path)).collect()),
            ("no file fits this pattern", self.found.unmatched.iter().cloned().collect()),
            ("these are packed and by their names no rotated files", {
                self.found.left_out.iter().map(|(file, _)| shown(file)).collect()
            }),
            ("the last line has no line feed yet", open.map(|lag| shown(&lag.source)).collect()),
        ];
        let told = reasons.into_iter().filter(|(_, which)| !which.is_empty());
        told.map(|(why, which)| format!("{why}: {}", which.join(", "))).collect()
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
            if source.active && source.is_awaited() {
                (around.tell)(Event::Absent { source: source.path.clone() });
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
            source.active = found.logs.contains(&source.path);
        }
        let mut new_source = false;
        for path in &found.logs {
            if self.sources.iter().any(|source| source.path == *path) {
                continue;
            }
            let number = self.sources.iter().map(|source| source.number).max().map_or(1, |number| number + 1);
            (self.tell)(Event::Follows { source: path.clone() });
            self.sources.push(Source::new(number, path.clone()));
            new_source = true;
        }
        for pattern in found.unmatched.difference(&self.found.unmatched) {
            (self.tell)(Event::Unmatched { pattern: pattern.clone() });
        }
        for (file, source) in found.left_out.difference(&self.found.left_out) {
            (self.tell)(Event::LeftOut { file: file.clone(), source: source.clone() });
        }
        self.found = found;
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
            logs: &self.found.logs,
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

/// A number that nobody else has.
fn random() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Failed(format!("the system gives no random numbers: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}
