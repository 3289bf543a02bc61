//! An edit as the payload of a frame, and back; a snapshot is the edit that makes its state from nothing.
//!
//! Invariants:
//! - What decodes encodes to the same bytes, so what this program does not know survives a rewrite.
//!
//! Bytes: see [`manifest`](crate::manifest).

use super::{Edit, SegmentMeta, TableExtent, UnknownField};
use crate::codec::{self, take, take_between, take_u8, varint};
use crate::error::Fault;
use crate::fact::Name;
use std::sync::Arc;

const FLAG_FLOOR: u8 = 1;
const FLAG_RECORDED: u8 = 2;

/// The edit's payload.
pub fn encode_edit(edit: &Edit) -> Vec<u8> {
    let mut out = Vec::new();
    let has = |flag: u8, set: bool| if set { flag } else { 0 };
    out.push(has(FLAG_FLOOR, edit.log_floor.is_some()) | has(FLAG_RECORDED, edit.last_recorded.is_some()));
    varint::put_u64(&mut out, edit.next_file);
    if let Some(floor) = edit.log_floor {
        varint::put_u64(&mut out, floor);
    }
    if let Some(recorded) = edit.last_recorded {
        varint::put_i64(&mut out, recorded);
    }
    varint::put_u64(&mut out, edit.remove.len() as u64);
    for &number in &edit.remove {
        varint::put_u64(&mut out, number);
    }
    varint::put_u64(&mut out, edit.add.len() as u64);
    for meta in &edit.add {
        let meta = encode_meta(meta);
        put_text(&mut out, &meta);
    }
    out
}

/// The edit of a payload.
pub fn decode_edit(payload: &[u8]) -> Result<Edit, Fault> {
    let mut rest = payload;
    let flags = take_u8(&mut rest)?;
    if flags & !(FLAG_FLOOR | FLAG_RECORDED) != 0 {
        return Err(Fault::Value { what: "flags of an edit" });
    }
    let mut edit = Edit { next_file: varint::take_u64(&mut rest)?, ..Edit::default() };
    if flags & FLAG_FLOOR != 0 {
        edit.log_floor = Some(varint::take_u64(&mut rest)?);
    }
    if flags & FLAG_RECORDED != 0 {
        edit.last_recorded = Some(varint::take_i64(&mut rest)?);
    }
    for _ in 0..take_count(&mut rest)? {
        edit.remove.push(varint::take_u64(&mut rest)?);
    }
    for _ in 0..take_count(&mut rest)? {
        edit.add.push(Arc::new(decode_meta(take_text(&mut rest)?)?));
    }
    codec::finish(rest)?;
    Ok(edit)
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    varint::put_u64(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let len = varint::take_u64(bytes)?;
    Ok(take(bytes, usize::try_from(len).unwrap_or(usize::MAX))?)
}

/// A count of things that take a byte or more each.
fn take_count(bytes: &mut &[u8]) -> Result<u64, Fault> {
    Ok(take_between(bytes, 0, bytes.len() as u64)?)
}

fn encode_meta(meta: &SegmentMeta) -> Vec<u8> {
    let mut out = Vec::with_capacity(meta.summary.len() + 100);
    varint::put_u64(&mut out, meta.number);
    varint::put_u64(&mut out, meta.bytes);
    out.extend_from_slice(&meta.footer_crc.to_le_bytes());
    out.push(meta.level);
    varint::put_i64(&mut out, meta.recorded.0);
    varint::put_i64(&mut out, meta.recorded.1);
    varint::put_u64(&mut out, meta.parts);
    varint::put_u64(&mut out, meta.versions);
    varint::put_u64(&mut out, meta.tables.len() as u64);
    for table in &meta.tables {
        put_text(&mut out, &table.table);
        varint::put_u64(&mut out, table.parts);
        varint::put_u64(&mut out, table.versions);
        varint::put_i64(&mut out, table.first);
        varint::put_i64(&mut out, table.last);
    }
    put_text(&mut out, &meta.summary);
    for field in &meta.unknown {
        varint::put_u64(&mut out, field.tag);
        put_text(&mut out, &field.bytes);
    }
    out
}

fn decode_meta(mut rest: &[u8]) -> Result<SegmentMeta, Fault> {
    let rest = &mut rest;
    let number = varint::take_u64(rest)?;
    let bytes = varint::take_u64(rest)?;
    let crc = take(rest, 4)?;
    let mut meta = SegmentMeta {
        number,
        bytes,
        footer_crc: u32::from_le_bytes(std::array::from_fn(|i| crc[i])),
        level: take_u8(rest)?,
        recorded: (varint::take_i64(rest)?, varint::take_i64(rest)?),
        parts: varint::take_u64(rest)?,
        versions: varint::take_u64(rest)?,
        tables: Vec::new(),
        summary: Vec::new(),
        unknown: Vec::new(),
    };
    for _ in 0..take_count(rest)? {
        meta.tables.push(TableExtent {
            table: Name::from(take_text(rest)?),
            parts: varint::take_u64(rest)?,
            versions: varint::take_u64(rest)?,
            first: varint::take_i64(rest)?,
            last: varint::take_i64(rest)?,
        });
    }
    meta.summary = take_text(rest)?.to_vec();
    while !rest.is_empty() {
        meta.unknown.push(UnknownField { tag: varint::take_u64(rest)?, bytes: take_text(rest)?.to_vec() });
    }
    Ok(meta)
}
