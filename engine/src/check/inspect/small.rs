//! `CURRENT` and `LOCK`: one structure each.

use super::item::{Sink, Value};
use super::{Finding, walk};
use crate::codec;
use crate::error::{Fault, Structure};
use crate::fact::Name;
use crate::io::lock::{self, HOLDER_AT, HOLDER_CRC_AT, HOLDER_LEN_AT, NOTE_AT, NOTE_FIELD_SIZE};
use crate::log::decode_note;
use crate::manifest::decode_current;
use std::io;

/// What names the manifest in force, or would have if it had been `unfinished`.
pub(super) fn current(bytes: &[u8], unfinished: bool, sink: &mut Sink<'_>) -> io::Result<()> {
    let (fields, finding) = match decode_current(bytes) {
        Ok(number) => (vec![("manifest", Value::Number(number))], None),
        Err(fault) if unfinished => (vec![("head", walk::head(bytes))], Some(Finding::Torn(fault))),
        Err(fault) => (vec![("head", walk::head(bytes))], Some(Finding::Damage(fault))),
    };
    sink.put(0, bytes.len() as u64, Structure::Current.word(), fields, finding)
}

/// What does not verify counts as absent and is never damage: the file is never synced.
pub(super) fn lock(bytes: &[u8], sink: &mut Sink<'_>) -> io::Result<()> {
    let magic = &bytes[..bytes.len().min(NOTE_AT)];
    let finding = (magic != lock::MAGIC).then_some(Finding::Torn(Fault::Magic));
    sink.put(0, magic.len() as u64, "lock header", vec![("head", walk::head(magic))], finding)?;
    note(bytes, sink)?;
    holder(bytes, sink)
}

fn note(bytes: &[u8], sink: &mut Sink<'_>) -> io::Result<()> {
    let field = bytes.get(NOTE_AT..).unwrap_or_default();
    let field = &field[..field.len().min(NOTE_FIELD_SIZE)];
    let Some((note, said)) = field.split_last_chunk::<4>().filter(|_| field.len() == NOTE_FIELD_SIZE) else {
        return match field.len() as u64 {
            0 => Ok(()),
            found => {
                let fault = codec::Fault::Length { needed: NOTE_FIELD_SIZE as u64, found };
                let fields = vec![("head", walk::head(field))];
                sink.put(NOTE_AT as u64, found, Structure::Note.word(), fields, Some(Finding::Torn(fault.into())))
            }
        };
    };
    let expected = u32::from_le_bytes(*said);
    let (fields, finding) = if field.iter().all(|&byte| byte == 0) {
        (vec![("published", Value::Flag(false))], None)
    } else if let Some(is_left) = lock::is_left(note, expected) {
        match decode_note(note) {
            Ok(durable) => {
                let (log, len) = (Value::Number(durable.number), Value::Number(durable.len));
                let is_left = Value::Flag(is_left);
                (vec![("log", log), ("durable_bytes", len), ("of_a_holder_before", is_left)], None)
            }
            Err(fault) => (vec![("head", walk::head(note))], Some(Finding::Damage(fault))),
        }
    } else {
        let fault = codec::Fault::Checksum { expected, found: crc32fast::hash(note) };
        (vec![("head", walk::head(note))], Some(Finding::Torn(fault.into())))
    };
    sink.put(NOTE_AT as u64, field.len() as u64, Structure::Note.word(), fields, finding)
}

fn holder(bytes: &[u8], sink: &mut Sink<'_>) -> io::Result<()> {
    let Some(rest) = bytes.get(HOLDER_LEN_AT..).filter(|rest| !rest.is_empty()) else {
        return Ok(());
    };
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let text = bytes.get(HOLDER_AT..).unwrap_or_default();
    let (said, crc) = (word(HOLDER_LEN_AT), word(HOLDER_CRC_AT).unwrap_or_default());
    let said_len = said.map_or(u64::MAX, u64::from);
    let whole = usize::try_from(said_len).ok().and_then(|len| text.get(..len));
    let finding = match whole {
        None => {
            let needed = (HOLDER_AT as u64).saturating_add(said_len);
            Some(codec::Fault::Length { needed, found: bytes.len() as u64 })
        }
        Some(whole) if crc32fast::hash(whole) != crc => {
            Some(codec::Fault::Checksum { expected: crc, found: crc32fast::hash(whole) })
        }
        Some(_) => None,
    };
    let text = whole.unwrap_or(text);
    let mut fields = vec![("holder", Value::Text(Name::from(text)))];
    let after = bytes.len().saturating_sub(HOLDER_AT + text.len());
    if whole.is_some() && after > 0 {
        fields.push(("bytes_after", Value::Number(after as u64)));
    }
    let finding = finding.map(|fault| Finding::Torn(fault.into()));
    sink.put(HOLDER_LEN_AT as u64, rest.len() as u64, "lock holder", fields, finding)
}
