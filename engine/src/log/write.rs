//! One open log, and the group commit: one sync pays for every record that came while the sync before it ran.
//!
//! Steps: a record and its digest are encoded, placed (from then on its offset and its order are fixed) and staged; the first thread that
//! waits and finds no one at work leads: it writes all that is staged, syncs, and wakes the others. Records that are
//! placed meanwhile are the next leader's.
//!
//! Invariants:
//! - Bytes reach the file in the order in which records were placed, without gaps.
//! - `durable` ≤ `written` ≤ `placed`, and none ever shrinks; `durable` grows only after a good sync.
//! - At most one thread has the file, and it holds no lock while the disk works.
//! - After a failed write or sync nothing is written or synced again, and nothing new is acknowledged.

use super::digest::{self, Again, Digest};
use super::{batch, replay};
use crate::error::{During, Error, Fault, FirstFailure, Misuse};
use crate::fact::{Batch, Commit, Micros};
use crate::format::frame::{FRAME_HEADER_BYTES, FileHeader, FileId, FileKind, OpenFrame, kind, open_frame, put_frame};
use crate::format::names;
use crate::io::{Clock, Output, Storage};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;

/// When a record counts as stored. A crash of the process alone loses nothing that was acknowledged in any mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Once the disk has it: a loss of power loses nothing that was acknowledged.
    Always,
    /// Once the operating system has it; the disk has it so many milliseconds later. A loss of power loses at most what
    /// was acknowledged in that time, if [`LogWriter::tick`] is called often enough.
    Interval {
        /// The most milliseconds from written to durable.
        millis: u32,
    },
    /// Once the operating system has it; the disk has it when the log is finished, or when the operating system sees
    /// fit. A loss of power may lose everything since the log was begun.
    Never,
}

/// A finished log, named by the one that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its number.
    pub number: u64,
    /// Its length.
    pub end: u64,
}

/// A record's place in a log, to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a record is stored only once `LogWriter::wait` has said so"]
pub struct Ticket {
    number: u64,
    end: u64,
}

impl Ticket {
    /// The length that the log has when the record is in it.
    pub fn end(&self) -> u64 {
        self.end
    }
}

/// A batch encoded but not yet placed: the costly part of an append, done before the caller's lock is taken.
#[derive(Debug)]
pub struct Encoded {
    /// The payload of its digest, but for what its place tells.
    digest: Vec<u8>,
    /// A frame but for its header, its durable length and its recorded time.
    frame: Vec<u8>,
    open: OpenFrame,
}

impl Encoded {
    /// Encodes a batch; refuses one that no reader would take.
    pub fn new(batch: &Batch) -> Result<Encoded, Error> {
        let mut frame = Vec::new();
        let open = open_frame(&mut frame, kind::BATCH);
        frame.extend_from_slice(&[0; replay::BATCH_AT]);
        let digest = batch::encode(0, batch, &mut frame)?;
        Ok(Encoded { digest, frame, open })
    }

    /// How long the frame of its digest is.
    pub(crate) fn digest_len(&self) -> u64 {
        (FRAME_HEADER_BYTES + self.digest.len()) as u64
    }

    /// Whether at least half of what its digest holds is what a damaged frame of that length does: then it was its digest,
    /// and not another batch.
    pub(crate) fn is_much_of_digest(&self, frame: &[u8]) -> bool {
        let (own, damaged) = (&self.digest[digest::CONTENT_AT..], frame.get(FRAME_HEADER_BYTES + digest::CONTENT_AT..));
        let same = damaged.unwrap_or_default().iter().zip(own).filter(|(damaged, own)| damaged == own).count();
        2 * same >= own.len()
    }

    /// Its digest, were it at some place.
    pub(crate) fn digest(mut self, number: u64, end: u64, recorded: Micros) -> Result<Digest, Fault> {
        digest::place(&mut self.digest, number, end, recorded);
        Digest::decode(&self.digest)
    }

    fn close(mut self, recorded: Micros, durable: u64, id: &FileId, offset: u64) -> Vec<u8> {
        let payload = &mut self.frame[FRAME_HEADER_BYTES..];
        let (durable_field, batch) = payload.split_at_mut(replay::BATCH_AT);
        durable_field.copy_from_slice(&durable.to_le_bytes());
        batch[batch::RECORDED_AT..batch::PRODUCER_AT].copy_from_slice(&recorded.to_le_bytes());
        self.open.close(&mut self.frame, id, offset);
        self.frame
    }
}

/// Staged bytes beyond this are written by whoever appends, so that memory stays bounded whoever waits.
const STAGED_BYTES_MAX: usize = 4 << 20;

/// One open log file.
pub struct LogWriter {
    id: FileId,
    name: String,
    mode: SyncMode,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Told whenever a leader is done.
    turn: Condvar,
}

struct State {
    /// The file; absent while a leader works with it.
    output: Option<Box<dyn Output>>,
    /// Frames placed but not written.
    staged: Vec<u8>,
    placed: u64,
    /// Batches placed.
    batches: u64,
    again: Again,
    written: u64,
    durable: u64,
    /// The monotonic time of the oldest write that was not synced.
    dirty_since: Option<u64>,
    failed: Option<Arc<FirstFailure>>,
    finished: bool,
}

impl LogWriter {
    /// A new log, durable before this returns.
    ///
    /// `previous` is the log that this writer finished just before, if it is the same opening of the store; the first
    /// log of an opening has none.
    pub fn create(
        storage: &dyn Storage,
        store: [u8; 16],
        number: u64,
        previous: Option<Previous>,
        clock: Arc<dyn Clock>,
        mode: SyncMode,
    ) -> Result<LogWriter, Error> {
        let id = FileId { store, number };
        let name = names::log(number);
        let header = FileHeader { kind: FileKind::Log, id, created: clock.now_micros() };
        let mut bytes = header.encode().to_vec();
        let start = super::replay::encode_start(previous);
        let offset = bytes.len() as u64;
        put_frame(&mut bytes, &id, offset, kind::LOG_START, &start);
        let mut output = storage.create(&name).during("create", &name)?;
        output.append(&bytes).during("append to", &name)?;
        output.sync().during("sync", &name)?;
        storage.sync_dir().during("sync the directory of", &name)?;
        let len = output.len();
        Ok(LogWriter {
            id,
            name,
            mode,
            clock,
            state: Mutex::new(State {
                output: Some(output),
                staged: Vec::new(),
                placed: len,
                batches: 0,
                again: Again::new(len),
                written: len,
                durable: len,
                dirty_since: None,
                failed: None,
                finished: false,
            }),
            turn: Condvar::new(),
        })
    }

    /// The log's number.
    pub fn number(&self) -> u64 {
        self.id.number
    }

    /// The bytes that survive a loss of power.
    pub fn durable_len(&self) -> u64 {
        self.state.lock().durable
    }

    /// The bytes that the operating system has, and that other processes can read.
    pub fn written_len(&self) -> u64 {
        self.state.lock().written
    }

    /// The bytes that have their place: the log's length once everything staged is written.
    pub fn placed_len(&self) -> u64 {
        self.state.lock().placed
    }

    /// Places a commit after all that were placed before; it is stored once [`wait`](LogWriter::wait) says so.
    ///
    /// Callers that must agree on the order of commits call this under their own lock. A commit that nobody waits for is
    /// written with the next that somebody does.
    pub fn append(&self, commit: &Commit) -> Result<Ticket, Error> {
        self.append_encoded(commit.recorded, Encoded::new(&commit.batch)?)
    }

    /// [`append`](LogWriter::append) of a batch that was encoded beforehand.
    pub fn append_encoded(&self, recorded: Micros, batch: Encoded) -> Result<Ticket, Error> {
        let mut state = self.state.lock();
        state.check_failed()?;
        if state.finished {
            return Err(Misuse::LogFinished.into());
        }
        state.place(&self.id, recorded, batch);
        let ticket = Ticket { number: self.id.number, end: state.placed };
        while state.staged.len() >= STAGED_BYTES_MAX {
            state.check_failed()?;
            state = self.take_turn(state, false);
        }
        Ok(ticket)
    }

    /// Returns once the record is stored, as the mode means it.
    ///
    /// On error it may or may not be found when the store is opened again.
    ///
    /// # Panics
    ///
    /// If the ticket is another log's.
    pub fn wait(&self, ticket: Ticket) -> Result<(), Error> {
        assert_eq!(ticket.number, self.id.number, "a ticket is waited for where it was given");
        let mut state = self.state.lock();
        loop {
            let stored = match self.mode {
                SyncMode::Always => state.durable,
                SyncMode::Interval { .. } | SyncMode::Never => state.written,
            };
            if stored >= ticket.end {
                return Ok(());
            }
            state.check_failed()?;
            let sync = self.mode == SyncMode::Always || self.is_due(&state);
            state = self.take_turn(state, sync);
        }
    }

    /// A ticket for all that was placed so far.
    pub fn ticket(&self) -> Ticket {
        Ticket { number: self.id.number, end: self.state.lock().placed }
    }

    /// In [`SyncMode::Interval`], writes what is staged and syncs if the oldest unsynced write is old enough; to be called
    /// every so often by the store's timer.
    pub fn tick(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        while matches!(self.mode, SyncMode::Interval { .. }) && (!state.staged.is_empty() || self.is_due(&state)) {
            state.check_failed()?;
            let due = self.is_due(&state);
            state = self.take_turn(state, due);
        }
        Ok(())
    }

    /// Makes all that was placed durable, whatever the mode.
    pub fn sync(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let placed = state.placed;
        while state.durable < placed {
            state.check_failed()?;
            state = self.take_turn(state, true);
        }
        Ok(())
    }

    /// Makes all that was placed durable and refuses anything more; the answer goes to the next log's
    /// [`create`](LogWriter::create).
    pub fn finish(&self) -> Result<Previous, Error> {
        self.state.lock().finished = true;
        self.sync()?;
        let state = self.state.lock();
        state.check_failed()?;
        Ok(Previous { number: self.id.number, end: state.durable })
    }

    /// Whether the oldest unsynced write has waited for the interval.
    fn is_due(&self, state: &State) -> bool {
        let SyncMode::Interval { millis } = self.mode else {
            return false;
        };
        let nanos = u64::from(millis) * 1_000_000;
        let now = self.clock.monotonic_nanos();
        state.dirty_since.is_some_and(|since| now.saturating_sub(since) >= nanos)
    }

    /// Waits until the present leader is done or, if there is none, leads.
    fn take_turn<'a>(&'a self, mut state: MutexGuard<'a, State>, sync: bool) -> MutexGuard<'a, State> {
        let Some(mut output) = state.output.take() else {
            self.turn.wait(&mut state);
            return state;
        };
        let mut staged = std::mem::take(&mut state.staged);
        let result = MutexGuard::unlocked(&mut state, || {
            let written =
                if staged.is_empty() { Ok(()) } else { output.append(&staged).map_err(|source| ("append to", source)) };
            let written_at = self.clock.monotonic_nanos();
            written.and_then(|()| match sync {
                true => output.sync().map_err(|source| ("sync", source)),
                false => Ok(()),
            })?;
            Ok(written_at)
        });
        match result {
            Ok(written_at) => {
                state.written += staged.len() as u64;
                if sync {
                    state.durable = state.written;
                    state.dirty_since = None;
                } else if state.durable < state.written {
                    state.dirty_since.get_or_insert(written_at);
                }
            }
            Err((operation, source)) => {
                state.failed = Some(Arc::new(FirstFailure { operation, file: self.name.clone(), source }));
            }
        }
        state.output = Some(output);
        if state.staged.is_empty() && staged.capacity() <= STAGED_BYTES_MAX * 2 {
            // Its room serves again.
            staged.clear();
            state.staged = staged;
        }
        self.turn.notify_all();
        state
    }
}

impl State {
    /// Stages a batch, its digest before it, and what is due before that.
    fn place(&mut self, id: &FileId, recorded: Micros, mut batch: Encoded) {
        if let Some(payload) = self.again.due(self.placed) {
            self.stage(id, kind::DIGESTS_AGAIN, &payload);
        }
        let end = self.placed + batch.digest_len() + batch.frame.len() as u64;
        let mut digest = std::mem::take(&mut batch.digest);
        digest::place(&mut digest, self.batches, end, recorded);
        self.stage(id, kind::DIGEST, &digest);
        let frame = batch.close(recorded, self.durable, id, self.placed);
        self.staged.extend_from_slice(&frame);
        self.placed += frame.len() as u64;
        debug_assert_eq!(self.placed, end, "a digest tells where its batch ends");
        self.batches += 1;
        self.again.push(end, digest);
    }

    fn stage(&mut self, id: &FileId, kind: u8, payload: &[u8]) {
        put_frame(&mut self.staged, id, self.placed, kind, payload);
        self.placed += (FRAME_HEADER_BYTES + payload.len()) as u64;
    }

    fn check_failed(&self) -> Result<(), Error> {
        match &self.failed {
            Some(first) => Err(Error::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogWriter({})", self.name)
    }
}
