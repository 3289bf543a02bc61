//! The frames of a log: its start and its batches.

use super::item::{Fields, Sink, Value};
use super::walk::{self, Stretch};
use super::{Finding, Inspected};
use crate::agent::inferred_text;
use crate::codec;
use crate::error::{Fault, Structure};
use crate::fact::{Commit, Delivery, StreamKey};
use crate::format::frame::{FileKind, Frame, HEADER_BYTES, kind};
use crate::log::{Digest, Digested, decode_batch, decode_start, durable_when_placed};
use crate::row::Row;
use std::io;

/// Where in a record the batch begins.
const BATCH_AT: usize = 8;

const START_AT: u64 = HEADER_BYTES as u64;

impl Inspected<'_> {
    /// Whether a log with a bad header can be one whose creation was cut short.
    pub(in crate::check) fn never_begun(&self) -> bool {
        let stretches = walk::stretches(self.bytes, &self.id, FileKind::Log);
        self.may_be_torn(0, durable_said(&stretches).first().copied().unwrap_or(0))
    }

    /// The rule of the log's page: `durable_said` is the greatest durable length in a sound batch after `at`.
    pub(in crate::check) fn may_be_torn(&self, at: u64, durable_said: u64) -> bool {
        let newest = self.around.newest_log.is_none_or(|newest| self.id.number >= newest);
        newest && at >= self.durable() && durable_said <= at
    }

    /// How far the log is durable, by the writer's note.
    pub(in crate::check) fn durable(&self) -> u64 {
        self.around.durable.filter(|durable| durable.number == self.id.number).map_or(0, |durable| durable.len)
    }
}

/// For each stretch the greatest durable length that it or a later sound batch was placed with.
pub(crate) fn durable_said(stretches: &[Stretch<'_>]) -> Vec<u64> {
    let mut greatest = 0;
    let mut said: Vec<u64> = Vec::with_capacity(stretches.len());
    for stretch in stretches.iter().rev() {
        if let Stretch::Sound(_, frame) = stretch
            && frame.kind == kind::BATCH
        {
            greatest = durable_when_placed(frame.payload).max(greatest);
        }
        said.push(greatest);
    }
    said.reverse();
    said
}

pub(super) fn frames(file: &Inspected<'_>, sink: &mut Sink<'_>) -> io::Result<()> {
    let stretches = walk::stretches(file.bytes, &file.id, FileKind::Log);
    let durable_said = durable_said(&stretches);
    let mut replayed = true;
    for (stretch, durable_said) in stretches.iter().zip(durable_said) {
        match stretch {
            Stretch::Bad { at, end, fault } => {
                let torn = file.may_be_torn(*at, durable_said);
                walk::put_bad(file.bytes, *at, *end, fault, torn, sink)?;
                replayed &= !torn;
            }
            Stretch::Sound(at, frame) if frame.kind == kind::LOG_START && *at == START_AT => {
                start(*at, frame, sink)?;
            }
            Stretch::Sound(at, frame) if frame.kind == kind::BATCH => batch(*at, frame, replayed, sink)?,
            Stretch::Sound(at, frame) if frame.kind == kind::DIGEST => {
                let digests = Digest::decode(frame.payload).map(|digest| vec![digest]);
                put_digests(*at, frame, Structure::Digest, digests, sink)?;
            }
            Stretch::Sound(at, frame) if frame.kind == kind::DIGESTS_AGAIN => {
                put_digests(*at, frame, Structure::DigestsAgain, Digest::decode_again(frame.payload), sink)?;
            }
            Stretch::Sound(at, frame) => walk::put_other(*at, frame, "frame of a log", sink)?,
        }
    }
    let len = file.bytes.len() as u64;
    if len == START_AT {
        let fault = Fault::from(codec::Fault::Length { needed: 1, found: 0 });
        let torn = file.may_be_torn(len, 0);
        let finding = if torn { Finding::Torn(fault) } else { Finding::Damage(fault) };
        sink.put(len, 0, Structure::LogStart.word(), Vec::new(), Some(finding))?;
    }
    let durable = file.durable();
    if len < durable {
        let fields = vec![("durable_bytes", Value::Number(durable))];
        sink.put(len, 0, "end of file", fields, Some(walk::short(durable, len)))?;
    }
    Ok(())
}

fn start(at: u64, frame: &Frame<'_>, sink: &mut Sink<'_>) -> io::Result<()> {
    let (fields, finding) = match decode_start(frame.payload) {
        Ok(None) => (vec![("previous", Value::None)], None),
        Ok(Some(previous)) => {
            (vec![("previous", Value::Number(previous.number)), ("previous_bytes", Value::Number(previous.end))], None)
        }
        Err(fault) => (vec![("head", walk::head(frame.payload))], Some(Finding::Damage(fault))),
    };
    sink.put(at, frame.end - at, Structure::LogStart.word(), fields, finding)
}

/// A batch; `replayed` is false if recovery ends before it.
fn batch(at: u64, frame: &Frame<'_>, replayed: bool, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut fields = fixed_fields(frame.payload);
    if !replayed {
        fields.push(("replayed", Value::Flag(false)));
    }
    let decoded = decode(at, frame.payload);
    let finding = match &decoded {
        Err(fault) => Some(fault.clone()),
        Ok(_) if at == START_AT => Some(Fault::Tag { what: "first frame of a log", found: u64::from(frame.kind) }),
        Ok(_) => None,
    };
    if let Ok(commit) = &decoded {
        fields.push(("deliveries", Value::Number(commit.batch.deliveries.len() as u64)));
    }
    sink.put(at, frame.end - at, Structure::Batch.word(), fields, finding.map(Finding::Damage))?;
    for delivery in decoded.iter().flat_map(|commit| &commit.batch.deliveries) {
        put_delivery(delivery, sink)?;
    }
    Ok(())
}

/// What batches hold, each with its streams.
fn put_digests(
    at: u64,
    frame: &Frame<'_>,
    structure: Structure,
    digests: Result<Vec<Digest>, Fault>,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    let fields = |digest: &Digest| {
        vec![
            ("batch", Value::Number(digest.number)),
            ("batch_end", Value::Number(digest.end)),
            ("recorded", Value::Micros(digest.recorded)),
            ("streams", Value::Number(digest.streams.len() as u64)),
        ]
    };
    let (len, word) = (frame.end - at, structure.word());
    let digests = match digests {
        Err(fault) => {
            let head = vec![("head", walk::head(frame.payload))];
            return sink.put(at, len, word, head, Some(Finding::Damage(fault)));
        }
        Ok(digests) => digests,
    };
    let (own, depth) = match &digests[..] {
        [digest] if structure == Structure::Digest => (fields(digest), 1),
        digests => (vec![("digests", Value::Number(digests.len() as u64))], 2),
    };
    sink.put(at, len, word, own, None)?;
    for digest in &digests {
        if depth == 2 {
            sink.inner(1, Structure::Digest.word(), fields(digest))?;
        }
        for Digested { stream, first, last } in &digest.streams {
            let mut fields = stream_fields(stream);
            fields.extend([("first", Value::Second(*first)), ("last", Value::Second(*last))]);
            sink.inner(depth, "stream", fields)?;
        }
    }
    Ok(())
}

fn decode(at: u64, payload: &[u8]) -> Result<Commit, Fault> {
    let Some((durable, batch)) = payload.split_first_chunk::<BATCH_AT>() else {
        let (needed, found) = (BATCH_AT as u64, payload.len() as u64);
        return Err(codec::Fault::Length { needed, found }.into());
    };
    if u64::from_le_bytes(*durable) > at {
        return Err(Fault::Value { what: "durable length" });
    }
    decode_batch(batch)
}

/// What stands in its place whatever the content is.
fn fixed_fields(payload: &[u8]) -> Fields {
    let mut rest = payload;
    let mut fields = Vec::new();
    let mut number = |name: &'static str, len: usize| {
        let (bytes, after) = rest.split_at_checked(len)?;
        rest = after;
        let mut wide = [0; 16];
        wide[..len].copy_from_slice(bytes);
        let value = u128::from_le_bytes(wide);
        fields.push(match name {
            "recorded" => (name, Value::Micros(value as i64)),
            "producer" => (name, Value::Wide(value)),
            "form" => (name, form(value as u64)),
            _ => (name, Value::Number(value as u64)),
        });
        Some(())
    };
    let parts =
        [("durable_bytes", 8), ("recorded", 8), ("producer", 16), ("sequence", 8), ("content_bytes", 4), ("form", 1)];
    // What is too short is told by the finding.
    let _ = parts.into_iter().try_for_each(|(name, len)| number(name, len));
    fields
}

fn form(byte: u64) -> Value {
    match byte {
        0 => Value::Word("plain"),
        1 => Value::Word("zstd"),
        2 => Value::Word("packed"),
        other => Value::Number(other),
    }
}

/// The fields that name a stream.
pub(super) fn stream_fields(stream: &StreamKey) -> Fields {
    vec![
        ("table", Value::Text(stream.table.clone())),
        ("host", Value::Text(stream.host.clone())),
        ("stream", Value::Text(stream.name.clone())),
        ("kind", Value::Word(stream.kind.word())),
        ("sightings", Value::Flag(stream.sightings)),
    ]
}

fn put_delivery(delivery: &Delivery, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut fields = stream_fields(&delivery.stream);
    fields.extend([
        ("epoch", Value::Number(delivery.epoch)),
        ("counter", delivery.counter.map_or(Value::None, Value::Number)),
        ("second", Value::Second(delivery.second)),
        ("whole", Value::Flag(delivery.whole)),
        ("inferred", Value::Word(inferred_text(delivery.inferred))),
        ("removed", Value::Number(delivery.removed.len() as u64)),
        ("added", Value::Number(delivery.added.len() as u64)),
    ]);
    sink.inner(1, "delivery", fields)?;
    for (side, copies) in [("removed", &delivery.removed), ("added", &delivery.added)] {
        for (row, count) in copies.iter().take(sink.rows()) {
            put_row(side, row, *count, sink)?;
        }
    }
    Ok(())
}

fn put_row(side: &'static str, row: &Row, copies: u64, sink: &mut Sink<'_>) -> io::Result<()> {
    let fields =
        vec![("side", Value::Word(side)), ("copies", Value::Number(copies)), ("columns", Value::Row(row.clone()))];
    sink.inner(2, "row", fields)
}
