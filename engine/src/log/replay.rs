//! What a log holds, read back: everything that was made durable, and nothing that was not written.
//!
//! Invariants:
//! - Commits come in the order in which they were placed; the first that is not whole ends the log, or is an error.
//! - What ends a log quietly can only be bytes that no sync had covered: nothing that was acknowledged as durable is passed
//!   over, unless it is the last group of records and their damage looks like a torn write.
//!
//! Which damage is which is told in [`log`](crate::log).

use super::batch::decode_batch;
use super::note::Durable;
use super::write::Previous;
use crate::codec::{self, take};
use crate::error::{During, Error, Fault, Misuse, Structure};
use crate::fact::Commit;
use crate::format::frame::{FileHeader, FileId, FileKind, HEADER_BYTES, HeaderFault, kind, read_frame, scan_frames};
use crate::format::names;
use crate::io::Storage;
use crate::options::{cores, join};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io::ErrorKind;

/// Where in a record the batch begins; before it is the length that was known durable when the record was placed.
pub(super) const BATCH_AT: usize = 8;

const START_BYTES: usize = 16;

/// Of a shorter log the next commits are not decoded while one is handed on.
const AHEAD_BYTES_MIN: usize = 1 << 20;

/// So many commits wait, decoded or not, at most.
const AHEAD_COMMITS: usize = 4;

/// More threads than this do not decode: whoever takes the commits is no faster.
const DECODERS_MAX: usize = 3;

/// Which part of a log to read, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where to begin: 0, or the `end` that an earlier replay of the same log gave.
    pub from: u64,
    /// The length that is known to be durable, by a published note; 0 if nothing is known.
    pub durable: u64,
    /// Whether no log follows. Only then may the end be torn.
    pub newest: bool,
    /// Where to stop, as if the file ended there: beside a live writer, whose bytes behind that may still be lost.
    pub until: Option<u64>,
}

/// What a replay found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The log's number.
    pub number: u64,
    /// The log that it follows, if it names one; known only to a replay from the beginning.
    pub previous: Option<Previous>,
    /// How many commits were read.
    pub commits: u64,
    /// Where the last whole frame ends; 0 if the log's own beginning is torn.
    pub end: u64,
    /// What follows it, if anything does.
    pub torn: Option<TornTail>,
}

/// Bytes at a log's end that a crash left unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
}

pub(super) fn encode_start(previous: Option<Previous>) -> [u8; START_BYTES] {
    let Previous { number, end } = previous.unwrap_or(Previous { number: 0, end: 0 });
    let mut start = [0; START_BYTES];
    start[..8].copy_from_slice(&number.to_le_bytes());
    start[8..].copy_from_slice(&end.to_le_bytes());
    start
}

/// How far the log was known durable when a record was placed; 0 if the record does not say.
pub(crate) fn durable_when_placed(mut payload: &[u8]) -> u64 {
    take_u64(&mut payload).unwrap_or(0)
}

fn take_u64(bytes: &mut &[u8]) -> Result<u64, Fault> {
    let taken = take(bytes, 8)?;
    Ok(u64::from_le_bytes(std::array::from_fn(|i| taken[i])))
}

pub(crate) fn decode_start(mut payload: &[u8]) -> Result<Option<Previous>, Fault> {
    let (number, end) = (take_u64(&mut payload)?, take_u64(&mut payload)?);
    codec::finish(payload)?;
    match (number, end) {
        (0, 0) => Ok(None),
        (0, _) | (_, 0..HEADER_BYTES_U64) => Err(Fault::Value { what: "predecessor of a log" }),
        (number, end) => Ok(Some(Previous { number, end })),
    }
}

const HEADER_BYTES_U64: u64 = HEADER_BYTES as u64;

/// Reads one log and hands each commit on; stops at the first error of `each`.
pub fn replay(
    storage: &dyn Storage,
    store: [u8; 16],
    number: u64,
    extent: Extent,
    mut each: impl FnMut(Commit) -> Result<(), Error>,
) -> Result<Replayed, Error> {
    let file = LogFile::read(storage, store, number, extent)?;
    let mut replayed = Replayed { number, previous: None, commits: 0, end: extent.from, torn: None };
    let torn = if file.bytes.len() < AHEAD_BYTES_MIN {
        file.walk(&mut replayed, &mut each)?
    } else {
        file.walk_ahead(&mut replayed, &mut each)?
    };
    match torn {
        Some((at, fault)) => replayed.torn = Some(file.torn_or(at, fault)?),
        None => {
            if replayed.end < extent.durable {
                let fault = codec::Fault::Length { needed: extent.durable, found: replayed.end };
                return Err(file.corrupt(replayed.end, Structure::File, fault.into()));
            }
        }
    }
    Ok(replayed)
}

/// Reads all logs from number `floor` on, in order, and checks that none is missing.
///
/// `durable` is the note that was published last, if one can be read.
pub fn replay_all(
    storage: &dyn Storage,
    store: [u8; 16],
    floor: u64,
    durable: Option<Durable>,
    each: impl FnMut(Commit) -> Result<(), Error>,
) -> Result<Vec<Replayed>, Error> {
    replay_logs(storage, store, floor, durable, false, each)
}

/// Reads the logs beside their live writer: as far as it says that they are acknowledged, and not a byte further.
pub fn replay_durable(
    storage: &dyn Storage,
    store: [u8; 16],
    floor: u64,
    durable: Durable,
    each: impl FnMut(Commit) -> Result<(), Error>,
) -> Result<Vec<Replayed>, Error> {
    replay_logs(storage, store, floor, Some(durable), true, each)
}

fn replay_logs(
    storage: &dyn Storage,
    store: [u8; 16],
    floor: u64,
    durable: Option<Durable>,
    live: bool,
    mut each: impl FnMut(Commit) -> Result<(), Error>,
) -> Result<Vec<Replayed>, Error> {
    let written_beyond =
        |number| live && durable.is_some_and(|durable| (durable.number, durable.readable) < (number, 1));
    let files = storage.list().during("list", "the directory")?;
    let mut logs: Vec<u64> = files
        .iter()
        .filter_map(|(name, _)| names::parse(name))
        .filter(|&(kind, number)| kind == FileKind::Log && number >= floor && !written_beyond(number))
        .map(|(_, number)| number)
        .collect();
    logs.sort_unstable();
    let durable = durable.filter(|durable| durable.number >= floor && durable.readable > 0);
    if let Some(durable) = durable
        && logs.binary_search(&durable.number).is_err()
    {
        return Err(missing(durable.number));
    }
    let begun: Vec<Option<Begun>> =
        logs.iter().map(|&number| begun(storage, store, number)).collect::<Result<_, _>>()?;
    let is_named = |number| begun.iter().flatten().any(|begun| begun.previous.is_some_and(|p| p.number == number));
    let newest = begun.iter().rposition(Option::is_some);
    let mut all: Vec<Replayed> = Vec::new();
    let mut last: Option<Replayed> = None;
    for (i, &number) in logs.iter().enumerate() {
        let never_held = begun[i].is_none() && !is_named(number);
        let extent = Extent {
            from: 0,
            durable: durable.filter(|durable| durable.number == number).map_or(0, |durable| match live {
                true => durable.readable,
                false => durable.len,
            }),
            newest: never_held || newest.is_none_or(|newest| i >= newest),
            until: durable.filter(|durable| live && durable.number == number).map(|durable| durable.readable),
        };
        let replayed = replay(storage, store, number, extent, &mut each)?;
        all.push(replayed);
        if begun[i].is_some() {
            check_chain(last, &replayed, floor)?;
            last = Some(replayed);
        }
    }
    Ok(all)
}

fn missing(number: u64) -> Error {
    Fault::Missing.at(&names::log(number), 0, Structure::File).into()
}

/// Whether `next` follows what was read before it.
fn check_chain(last: Option<Replayed>, next: &Replayed, floor: u64) -> Result<(), Error> {
    let expected = last.map(|last| Previous { number: last.number, end: last.end });
    match next.previous {
        Some(previous) if previous.number < floor && last.is_none() => Ok(()),
        None if last.is_none() => Ok(()),
        found if found == expected => Ok(()),
        Some(found) if last.is_none_or(|last| last.number != found.number) => Err(missing(found.number)),
        _ => {
            let last = last.map_or(next.number, |last| last.number);
            let fault = Fault::Order { what: "logs" };
            Err(fault.at(&names::log(last), 0, Structure::File).into())
        }
    }
}

/// A log whose beginning is whole.
struct Begun {
    previous: Option<Previous>,
}

/// How a log begins; `None` if its creation was cut short, so that it never held a record.
fn begun(storage: &dyn Storage, store: [u8; 16], number: u64) -> Result<Option<Begun>, Error> {
    let extent = Extent { from: 0, durable: 0, newest: true, until: None };
    let file = LogFile::read(storage, store, number, extent)?;
    match file.begin()? {
        Ok((_, previous)) => Ok(Some(Begun { previous })),
        Err((at, fault)) => file.torn_or(at, fault).map(|_| None),
    }
}

struct LogFile {
    id: FileId,
    name: String,
    extent: Extent,
    /// The file's bytes from `extent.from` on.
    bytes: Vec<u8>,
}

/// Where the first record begins, and the log before; or the bad structure's place and fault.
type Beginning = Result<(u64, Option<Previous>), (u64, Fault)>;

impl LogFile {
    fn read(storage: &dyn Storage, store: [u8; 16], number: u64, extent: Extent) -> Result<LogFile, Error> {
        let name = names::log(number);
        match storage.read_from(&name, extent.from) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(missing(number)),
            bytes => {
                let mut bytes = bytes.during("read", &name)?;
                if let Some(until) = extent.until {
                    let keep = usize::try_from(until.saturating_sub(extent.from)).unwrap_or(usize::MAX);
                    bytes.truncate(keep);
                }
                Ok(LogFile { id: FileId { store, number }, bytes, name, extent })
            }
        }
    }

    fn corrupt(&self, offset: u64, structure: Structure, fault: Fault) -> Error {
        fault.at(&self.name, offset, structure).into()
    }

    /// The bytes from an offset of the file on.
    fn from(&self, offset: u64) -> &[u8] {
        let at = usize::try_from(offset - self.extent.from).unwrap_or(usize::MAX);
        self.bytes.get(at..).unwrap_or_default()
    }

    fn end(&self) -> u64 {
        self.extent.from + self.bytes.len() as u64
    }

    /// Reads header and start; an error is damage that no crash explains.
    fn begin(&self) -> Result<Beginning, Error> {
        if let Err(HeaderFault::Fault(fault)) = FileHeader::decode(&self.bytes) {
            return Ok(Err((0, fault)));
        }
        FileHeader::expect_id(&self.bytes, &self.name, FileKind::Log, &self.id)?;
        let at = HEADER_BYTES_U64;
        let frame = match read_frame(self.from(at), &self.id, at) {
            Ok(frame) => frame,
            Err(fault) => return Ok(Err((at, fault))),
        };
        let previous = match frame.kind {
            kind::LOG_START => decode_start(frame.payload),
            found => Err(Fault::Tag { what: "first frame of a log", found: found.into() }),
        };
        match previous {
            Ok(previous) => Ok(Ok((frame.end, previous))),
            Err(fault) => Err(self.corrupt(at, Structure::LogStart, fault)),
        }
    }

    /// Hands on all commits up to the end, or up to the first frame that is not whole: its place and fault.
    fn walk(
        &self,
        replayed: &mut Replayed,
        each: &mut impl FnMut(Commit) -> Result<(), Error>,
    ) -> Result<Option<(u64, Fault)>, Error> {
        self.walk_records(replayed, &mut |at, record| {
            each(decode_record(record, at).map_err(|fault| self.corrupt(at, Structure::Batch, fault))?)
        })
    }

    /// The same of records that are not decoded.
    fn walk_records<'f>(
        &'f self,
        replayed: &mut Replayed,
        each: &mut impl FnMut(u64, &'f [u8]) -> Result<(), Error>,
    ) -> Result<Option<(u64, Fault)>, Error> {
        if self.extent.from == 0 {
            match self.begin()? {
                Ok((end, previous)) => {
                    replayed.end = end;
                    replayed.previous = previous;
                }
                Err(bad) => return Ok(Some(bad)),
            }
        }
        while replayed.end < self.end() {
            let at = replayed.end;
            let frame = match read_frame(self.from(at), &self.id, at) {
                Ok(frame) => frame,
                Err(fault) => return Ok(Some((at, fault))),
            };
            if frame.kind == kind::BATCH {
                each(at, frame.payload)?;
                replayed.commits += 1;
            } else if !frame.is_optional() {
                let fault = Fault::Tag { what: "frame of a log", found: frame.kind.into() };
                return Err(self.corrupt(at, Structure::Frame, fault));
            }
            replayed.end = frame.end;
        }
        Ok(None)
    }

    /// The same; while one commit is handed on, others decode the next.
    fn walk_ahead(
        &self,
        replayed: &mut Replayed,
        each: &mut impl FnMut(Commit) -> Result<(), Error>,
    ) -> Result<Option<(u64, Fault)>, Error> {
        // Whoever hands on waits for the commits in their order, each of which one of the decoders sends.
        let (order, commits) = bounded::<(u64, Receiver<Result<Commit, Fault>>)>(AHEAD_COMMITS);
        let (work, records) = bounded::<(u64, &[u8], Sender<Result<Commit, Fault>>)>(AHEAD_COMMITS);
        std::thread::scope(|scope| {
            for _ in 0..cores().min(DECODERS_MAX) {
                let records = records.clone();
                scope.spawn(move || {
                    for (at, record, to) in records {
                        // Whom nobody waits for is wanted no more.
                        let _ = to.send(decode_record(record, at));
                    }
                });
            }
            drop(records);
            let walking = scope.spawn(move || {
                let place = |at, record| {
                    let (to, decoded) = bounded(1);
                    order.send((at, decoded)).ok()?;
                    work.send((at, record, to)).ok()
                };
                // Where nobody takes any more, the one who stopped knows why.
                self.walk_records(replayed, &mut |at, record| place(at, record).ok_or(Misuse::Stopped.into()))
            });
            let handed_on = commits.iter().try_for_each(|(at, decoded)| {
                let commit = decoded.recv().map_err(|_| Error::from(Misuse::Stopped))?;
                each(commit.map_err(|fault| self.corrupt(at, Structure::Batch, fault))?)
            });
            drop(commits);
            let walked = join(walking);
            handed_on.and(walked)
        })
    }

    /// Whether the bad frame at `at` can be the trace of a crash: the rule is told in `log.md`.
    fn torn_or(&self, at: u64, fault: Fault) -> Result<TornTail, Error> {
        let was_synced = |mut payload: &[u8]| take_u64(&mut payload).is_ok_and(|durable| durable > at);
        let may_be_torn = self.extent.newest
            && at >= self.extent.durable
            && !scan_frames(self.from(at), &self.id, at, kind::BATCH).any(|(_, frame)| was_synced(frame.payload));
        if may_be_torn {
            Ok(TornTail { offset: at, bytes: self.end() - at })
        } else {
            let structure = match at {
                0 => Structure::FileHeader,
                HEADER_BYTES_U64 => Structure::LogStart,
                _ => Structure::Frame,
            };
            Err(self.corrupt(at, structure, fault))
        }
    }
}

/// The commit of a record that begins at an offset of its log.
pub(crate) fn decode_record(mut payload: &[u8], at: u64) -> Result<Commit, Fault> {
    if take_u64(&mut payload)? > at {
        return Err(Fault::Value { what: "durable length" });
    }
    decode_batch(payload)
}
