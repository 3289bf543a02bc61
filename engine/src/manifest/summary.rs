//! Which streams a segment holds, so that a segment that is lost can be told by name.
//!
//! Invariants:
//! - Streams stand in their order, each once.
//!
//! Bytes: see [`manifest`](crate::manifest).

use crate::codec::{self, take, take_between, take_u8, varint, zstd};
use crate::error::Fault;
use crate::fact::{Kind, Name, Second, StreamKey};
use std::sync::Arc;

/// The most bytes that a summary may have before compression.
pub const SUMMARY_BYTES_MAX: u64 = 256 << 20;

/// Summaries are written seldom and kept long.
const LEVEL: i32 = 9;

const FORM_PLAIN: u8 = 0;
const FORM_ZSTD: u8 = 1;

const FLAG_SIGHTINGS: u8 = 1;

/// What a segment holds of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamExtent {
    /// The stream.
    pub stream: Arc<StreamKey>,
    /// The least observed second.
    pub first: Second,
    /// The greatest observed second.
    pub last: Second,
    /// How many parts of looks.
    pub parts: u64,
}

/// The summary of a segment's streams.
///
/// Streams that would take it past [`SUMMARY_BYTES_MAX`] are left out, the last in order first, and only counted.
///
/// # Panics
///
/// If the streams are not in order or one stands twice.
pub fn encode_summary(streams: &[StreamExtent]) -> Vec<u8> {
    assert!(streams.is_sorted_by(|a, b| a.stream < b.stream), "streams are in order, each once");
    let mut content = Vec::new();
    let (mut listed, mut last) = (0, None);
    for extent in streams {
        let before = content.len();
        put_extent(&mut content, last, extent);
        if content.len() as u64 > SUMMARY_BYTES_MAX {
            content.truncate(before);
            break;
        }
        (listed, last) = (listed + 1, Some(extent));
    }
    let mut out = Vec::new();
    varint::put_u64(&mut out, listed);
    varint::put_u64(&mut out, streams.len() as u64 - listed);
    varint::put_u64(&mut out, content.len() as u64);
    out.push(FORM_ZSTD);
    let form_at = out.len() - 1;
    if !zstd::encode_if_smaller(&content, LEVEL, content.len(), &mut out) {
        out[form_at] = FORM_PLAIN;
        out.extend_from_slice(&content);
    }
    out
}

/// The streams of a summary, and how many more were only counted.
pub fn decode_summary(summary: &[u8]) -> Result<(Vec<StreamExtent>, u64), Fault> {
    let mut rest = summary;
    let count = varint::take_u64(&mut rest)?;
    let more = varint::take_u64(&mut rest)?;
    let len = varint::take_u64(&mut rest)?;
    if len > SUMMARY_BYTES_MAX {
        return Err(Fault::Limit { what: "bytes of a summary", found: len, limit: SUMMARY_BYTES_MAX });
    }
    let mut content = Vec::new();
    let mut content = match take_u8(&mut rest)? {
        FORM_PLAIN => take(&mut rest, len as usize)?,
        FORM_ZSTD => {
            zstd::decode(&mut rest, len as usize, &mut content)?;
            &content
        }
        form => {
            return Err(Fault::Tag { what: "form of a summary", found: u64::from(form) });
        }
    };
    codec::finish(rest)?;
    let mut streams: Vec<StreamExtent> = Vec::new();
    for _ in 0..count {
        let extent = take_extent(&mut content, streams.last())?;
        if streams.last().is_some_and(|last| last.stream >= extent.stream) {
            return Err(Fault::Order { what: "streams" });
        }
        streams.push(extent);
    }
    codec::finish(content)?;
    Ok((streams, more))
}

fn put_extent(out: &mut Vec<u8>, last: Option<&StreamExtent>, extent: &StreamExtent) {
    let [table, host, name] = names_before(last);
    put_name(out, table, &extent.stream.table);
    put_name(out, host, &extent.stream.host);
    put_name(out, name, &extent.stream.name);
    out.push(extent.stream.kind as u8);
    out.push(u8::from(extent.stream.sightings) * FLAG_SIGHTINGS);
    varint::put_i64(out, extent.first.wrapping_sub(last.map_or(0, |last| last.first)));
    varint::put_i64(out, extent.last.wrapping_sub(extent.first));
    varint::put_u64(out, extent.parts);
}

fn take_extent(bytes: &mut &[u8], last: Option<&StreamExtent>) -> Result<StreamExtent, Fault> {
    let [table, host, name] = names_before(last);
    let (table, host) = (take_name(bytes, table)?, take_name(bytes, host)?);
    let name = take_name(bytes, name)?;
    let kind = take_u8(bytes)?;
    let Some(kind) = Kind::from_byte(kind) else {
        return Err(Fault::Tag { what: "kind of stream", found: u64::from(kind) });
    };
    let flags = take_u8(bytes)?;
    if flags & !FLAG_SIGHTINGS != 0 {
        return Err(Fault::Value { what: "flags of a stream" });
    }
    let first = varint::take_i64(bytes)?.wrapping_add(last.map_or(0, |last| last.first));
    Ok(StreamExtent {
        stream: Arc::new(StreamKey { table, host, name, kind, sightings: flags & FLAG_SIGHTINGS != 0 }),
        first,
        last: varint::take_i64(bytes)?.wrapping_add(first),
        parts: varint::take_u64(bytes)?,
    })
}

fn names_before(last: Option<&StreamExtent>) -> [Option<&Name>; 3] {
    let key = last.map(|last| &*last.stream);
    [key.map(|key| &key.table), key.map(|key| &key.host), key.map(|key| &key.name)]
}

/// A name as the length that it shares with the one before, and the rest.
fn put_name(out: &mut Vec<u8>, last: Option<&Name>, name: &Name) {
    let last: &[u8] = last.map_or(&[], |last| last);
    let shared = last.iter().zip(&**name).take_while(|(a, b)| a == b).count();
    varint::put_u64(out, shared as u64);
    varint::put_u64(out, (name.len() - shared) as u64);
    out.extend_from_slice(&name[shared..]);
}

fn take_name(bytes: &mut &[u8], last: Option<&Name>) -> Result<Name, Fault> {
    let last_bytes: &[u8] = last.map_or(&[], |last| last);
    let shared = take_between(bytes, 0, last_bytes.len() as u64)? as usize;
    let len = varint::take_u64(bytes)?;
    let own = take(bytes, usize::try_from(len).unwrap_or(usize::MAX))?;
    match last {
        Some(last) if own.is_empty() && shared == last.len() => Ok(last.clone()),
        _ => Ok(Name::from([&last_bytes[..shared], own].concat())),
    }
}
