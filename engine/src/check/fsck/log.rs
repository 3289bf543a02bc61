//! Logs: their beginnings, their records, and that none is missing.
//!
//! Which bad end is the trace of a crash and which is damage is told in [`log`](crate::log); the rules are those of a
//! replay, but every log is walked to its end, whatever is wrong before.

use super::manifest::{header_fault, unread};
use super::report::{Effect, Finding, Meaning, Next, Severity, Total, Wrong};
use super::taken::Taken;
use super::work::Work;
use super::{LeftOut, is_still_named};
use crate::check::account::{Account, Gone};
use crate::check::inspect::log::durable_said;
use crate::check::inspect::walk::{self, Stretch};
use crate::check::inspect::{Around, Inspected};
use crate::check::loss::{Loss, of_batches};
use crate::codec;
use crate::error::{Fault, Structure};
use crate::fact::Micros;
use crate::format::frame::{FileId, FileKind, Frame, HEADER_BYTES, kind};
use crate::format::names;
use crate::log::{Digest, Encoded, Previous, decode_batch, decode_start};
use std::io::ErrorKind;

/// The place of logs among the totals.
const TOTAL: usize = 2;

const START_AT: u64 = HEADER_BYTES as u64;
/// Where in a record the recorded time stands, after the durable length.
const RECORDED_AT: usize = 8;

/// A log of which something is sound.
struct Walked {
    number: u64,
    /// The log before it, if its beginning is whole.
    begun: Option<Option<Previous>>,
    /// Where its last record ends, or the first that is not whole begins.
    end: u64,
    /// The recorded time of its last record.
    last: Option<Micros>,
}

/// Checks all logs from the floor on; false if they were replaced meanwhile, and what was found says nothing.
pub(super) fn check(work: &Work<'_>, taken: &Taken) -> bool {
    let around = &taken.around;
    // Without a manifest nobody knows which logs were sealed and removed.
    let is_floor_known = around.manifest.is_some();
    let (floor, sealed) = match &around.manifest {
        Some(manifest) => (manifest.log_floor, manifest.last_recorded),
        None => (0, Micros::MIN),
    };
    // What a live writer has not said to be there is not its readers' business.
    let written_beyond = |number: u64| {
        taken.is_live && around.durable.is_some_and(|durable| (durable.number, durable.readable) < (number, 1))
    };
    let numbers = taken.files.keys().filter_map(|name| match names::parse(name) {
        Some((FileKind::Log, number)) if number >= floor && !written_beyond(number) => Some(number),
        _ => None,
    });
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    // The recorded time of the last commit so far.
    let mut before = sealed;
    let mut last: Option<Walked> = None;
    for (i, &number) in numbers.iter().enumerate() {
        if work.is_over() {
            work.leave_out(&LeftOut { files: (numbers.len() - i) as u64, ..LeftOut::default() });
            return true;
        }
        let name = names::log(number);
        let mut bytes = match work.storage.read_from(&name, 0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return false,
            Err(error) => {
                work.find(unread(&name, &error));
                last = None;
                continue;
            }
        };
        if let Some(durable) = around.durable.filter(|durable| taken.is_live && durable.number == number) {
            bytes.truncate(usize::try_from(durable.readable).unwrap_or(usize::MAX));
        }
        work.advance(bytes.len() as u64);
        let Some(walked) = walk_one(work, taken, number, &name, &bytes, before) else {
            last = None;
            continue;
        };
        if let Some(previous) = walked.begun {
            let follows = is_floor_known || last.is_some();
            if follows && !chain(work, taken, last.as_ref(), number, previous, floor, before) {
                return false;
            }
            before = before.max(walked.last.unwrap_or(Micros::MIN));
            last = Some(walked);
        }
    }
    let told = around.durable.filter(|durable| is_floor_known && durable.number >= floor && durable.readable > 0);
    match told.filter(|durable| !numbers.contains(&durable.number)) {
        Some(durable) => missing(work, durable.number, floor, before, Micros::MAX),
        None => true,
    }
}

/// Reports a log that is not there; false if nothing asks for it any more.
fn missing(work: &Work<'_>, number: u64, floor: u64, from: Micros, to: Micros) -> bool {
    let name = names::log(number);
    let is_named = |now: &Taken| now.around.manifest.as_ref().is_none_or(|manifest| manifest.log_floor == floor);
    if !is_still_named(work.storage, &name, is_named) {
        return false;
    }
    let finding = Finding::file(Severity::Damage, &name, Fault::Missing.into());
    work.find(finding.with(vec![Loss::of_recorded(from, to)]));
    true
}

/// Whether a log follows what was read before it, or at least that was reported; false if logs were replaced.
fn chain(
    work: &Work<'_>,
    taken: &Taken,
    last: Option<&Walked>,
    number: u64,
    previous: Option<Previous>,
    floor: u64,
    before: Micros,
) -> bool {
    let expected = last.map(|last| Previous { number: last.number, end: last.end });
    match previous {
        Some(previous) if previous.number < floor && last.is_none() => true,
        None if last.is_none() => true,
        found if found == expected => true,
        Some(found) if last.is_none_or(|last| last.number != found.number) => {
            // One that could not be read was told of.
            taken.files.contains_key(&names::log(found.number))
                || missing(work, found.number, floor, before, Micros::MAX)
        }
        found => {
            let name = names::log(last.map_or(number, |last| last.number));
            // Where damage ended it before its end, that was told.
            if !work.has_damage(&name) {
                let end = last.map_or(0, |last| last.end);
                let wrong = match found {
                    Some(found) => Wrong::Differs { what: "length of the log", told: found.end, found: end },
                    None => Fault::Order { what: "logs" }.into(),
                };
                let loss = Loss::of_recorded(last.and_then(|last| last.last).unwrap_or(before), Micros::MAX);
                work.find(Finding::damage(&name, end, Structure::File, wrong).with(vec![loss]));
            }
            true
        }
    }
}

/// The recorded time of a batch that verified.
fn recorded_of(frame: &Frame<'_>) -> Option<Micros> {
    Some(Micros::from_le_bytes(*frame.payload.get(RECORDED_AT..)?.first_chunk()?))
}

/// Walks a log; `None` if it is none that can be walked.
fn walk_one(work: &Work<'_>, taken: &Taken, number: u64, name: &str, bytes: &[u8], before: Micros) -> Option<Walked> {
    let store = taken.around.store.unwrap_or_default();
    let id = FileId { store, number };
    let begun = is_begun(bytes, &id);
    // One that never held a record is no log that another follows.
    let nothing_newer = Around { newest_log: None, ..taken.around.clone() };
    let around = if begun { &taken.around } else { &nothing_newer };
    let inspected = Inspected { bytes, around, id };
    let mut total = Total { files: 1, bytes: bytes.len() as u64, ..Total::default() };
    let known = taken.around.store.is_some().then_some(&id);
    match header_fault(bytes, name, FileKind::Log, known) {
        None => {}
        Some(wrong @ Wrong::Version(_)) => {
            work.find(Finding::file(Severity::Warning, name, wrong));
            return None;
        }
        Some(Wrong::Fault(fault @ Fault::Foreign { .. })) => {
            let loss = Loss::of_recorded(before, Micros::MAX);
            work.find(Finding::damage(name, 0, Structure::FileHeader, fault).with(vec![loss]));
            return None;
        }
        Some(wrong) if inspected.never_begun() => {
            if !taken.is_live {
                torn(work, name, 0, bytes.len() as u64, &wrong);
            }
            work.total(TOTAL, total);
            return None;
        }
        Some(wrong) => work.find(Finding::damage(name, 0, Structure::FileHeader, wrong)),
    }
    let stretches = walk::stretches(bytes, &id, FileKind::Log);
    let account = Account::of(bytes, &stretches, START_AT);
    let lost = |gone: &Gone, from: Micros, to: Micros| match gone {
        Gone::Anything => vec![Loss::of_recorded(from, to)],
        Gone::Batches(numbers) => of_batches(numbers.iter().map(|number| account.digest(*number))),
    };
    // Another log follows only what was finished.
    let is_newest = taken.around.newest_log.is_none_or(|newest| number >= newest);
    let once = inspected.durable().max(if is_newest { 0 } else { bytes.len() as u64 });
    let said = durable_said(&stretches);
    let mut walked = Walked { number, begun: None, end: START_AT, last: None };
    let (mut is_whole, mut commits) = (true, 0);
    for (i, stretch) in stretches.iter().enumerate() {
        match stretch {
            Stretch::Bad { at, end, fault } => {
                is_whole = false;
                if inspected.may_be_torn(*at, said[i]) {
                    if !taken.is_live {
                        torn(work, name, *at, bytes.len() as u64 - at, &fault.clone().into());
                    }
                    break;
                }
                let next = stretches[i..].iter().find_map(|stretch| match stretch {
                    Stretch::Sound(_, frame) if frame.kind == kind::BATCH => recorded_of(frame),
                    _ => None,
                });
                let is_start = *at == START_AT && *end < bytes.len() as u64 && walked.last.is_none();
                let gone = account.gone(i, once);
                let structure = match &gone {
                    _ if is_start => Structure::LogStart,
                    // The digests themselves.
                    Gone::Batches(none) if none.is_empty() => Structure::Frame,
                    _ => Structure::Batch,
                };
                let losses = lost(&gone, walked.last.unwrap_or(before), next.unwrap_or(Micros::MAX));
                work.find(Finding::damage(name, *at, structure, fault.clone()).with(losses));
            }
            Stretch::Sound(at, frame) => {
                total.frames += 1;
                total.bytes_verified += frame.end - at;
                let fault = match frame.kind {
                    kind::LOG_START if *at == START_AT => match decode_start(frame.payload) {
                        Ok(previous) => {
                            walked.begun = Some(previous);
                            None
                        }
                        Err(fault) => Some((Structure::LogStart, fault)),
                    },
                    kind::BATCH => record(work, *at, frame, &mut walked, before).err().or_else(|| {
                        let digest = account.digest_of(i).filter(|_| work.is_deep())?;
                        (!tells_of(digest, frame)).then_some((Structure::Digest, Fault::Value { what: "digest" }))
                    }),
                    kind::DIGEST if account.digest_of(i).is_some() => None,
                    kind::DIGEST => Digest::decode(frame.payload).err().map(|fault| (Structure::Digest, fault)),
                    kind::DIGESTS_AGAIN => {
                        Digest::decode_again(frame.payload).err().map(|fault| (Structure::DigestsAgain, fault))
                    }
                    _ if frame.is_optional() => None,
                    found => Some((Structure::Frame, Fault::Tag { what: "frame of a log", found: found.into() })),
                };
                commits += u64::from(frame.kind == kind::BATCH);
                if let Some((structure, fault)) = fault {
                    let at_recorded = recorded_of(frame).unwrap_or(before);
                    let gone = match structure {
                        Structure::Batch => account.unreadable(i),
                        Structure::Digest | Structure::DigestsAgain => Gone::Batches(Vec::new()),
                        _ => Gone::Anything,
                    };
                    let losses = lost(&gone, at_recorded, at_recorded);
                    let finding = Finding::damage(name, *at, structure, fault).with(losses);
                    // Nobody but a recovery reads digests.
                    let is_beside = matches!(structure, Structure::Digest | Structure::DigestsAgain);
                    work.find(if is_beside { finding.meaning_for(Effect::Nothing) } else { finding });
                }
                if is_whole {
                    walked.end = frame.end;
                }
            }
        }
    }
    // Cut before its first record, or before what was durable.
    let (len, durable) = (bytes.len() as u64, inspected.durable());
    let needed = durable.max(if inspected.may_be_torn(len, 0) { 0 } else { START_AT + 1 });
    if len < needed && is_whole {
        let fault = Fault::from(codec::Fault::Length { needed, found: len });
        let losses = lost(&account.after_last(needed), walked.last.unwrap_or(before), Micros::MAX);
        work.find(Finding::damage(name, len, Structure::File, fault).with(losses));
    } else if len == START_AT && !taken.is_live {
        torn(work, name, len, 0, &codec::Fault::Length { needed: 1, found: 0 }.into());
    }
    work.total(TOTAL, total);
    if work.is_deep() {
        work.meaning(&Meaning { commits, ..Meaning::default() });
    }
    Some(walked)
}

/// Whether header and start are whole.
fn is_begun(bytes: &[u8], id: &FileId) -> bool {
    let at = HEADER_BYTES;
    crate::format::frame::FileHeader::decode(bytes).is_ok()
        && bytes.get(at..).is_some_and(|rest| {
            crate::format::frame::read_frame(rest, id, at as u64).is_ok_and(|frame| frame.kind == kind::LOG_START)
        })
}

/// Whether a digest says what the batch in a frame that decodes holds.
fn tells_of(digest: &Digest, frame: &Frame<'_>) -> bool {
    let commit = decode_batch(&frame.payload[RECORDED_AT..]);
    let own = commit.ok().and_then(|commit| Some((Encoded::new(&commit.batch).ok()?, commit.recorded)));
    own.and_then(|(encoded, recorded)| encoded.digest(digest.number, frame.end, recorded).ok())
        .is_some_and(|own| own == *digest)
}

fn torn(work: &Work<'_>, name: &str, at: u64, bytes: u64, wrong: &Wrong) {
    let fault = match wrong {
        Wrong::Fault(fault) => fault.clone(),
        _ => Fault::Missing,
    };
    let torn = Finding::damage(name, at, Structure::Batch, Wrong::Torn { bytes, fault }).meaning_for(Effect::Nothing);
    work.find(Finding { severity: Severity::Info, next: Next::Nothing, ..torn });
}

/// What a record that verified says, as far as the level asks.
fn record(
    work: &Work<'_>,
    at: u64,
    frame: &Frame<'_>,
    walked: &mut Walked,
    before: Micros,
) -> Result<(), (Structure, Fault)> {
    let fault = |fault| (Structure::Batch, fault);
    let durable = frame.payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if durable > at {
        return Err(fault(Fault::Value { what: "durable length" }));
    }
    let Some(recorded) = recorded_of(frame) else {
        let found = frame.payload.len() as u64;
        return Err(fault(codec::Fault::Length { needed: RECORDED_AT as u64 + 8, found }.into()));
    };
    if recorded < walked.last.unwrap_or(before) {
        return Err(fault(Fault::Order { what: "recorded times" }));
    }
    walked.last = Some(recorded);
    if work.is_deep() {
        decode_batch(&frame.payload[RECORDED_AT..]).map_err(fault)?;
    }
    Ok(())
}
