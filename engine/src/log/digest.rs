//! What a batch holds, said a second and a third time, for the day on which the batch cannot be read.
//!
//! Invariants:
//! - A digest tells of every delivery of its batch: the stream is listed, and the second lies between the stream's first and
//!   last. The few that decide what others mean it holds.
//! - The batches of a log have consecutive numbers, so that whoever knows two knows how many are between them.
//!
//! Bytes:
#![doc = include_str!("digest.md")]

use super::batch::{BATCH_BYTES_MAX, fixed, put_stream, take_deliveries, take_stream, take_streams};
use crate::codec::{self, take, varint, zstd};
use crate::error::Fault;
use crate::fact::{Delivery, Micros, Second, StreamKey};
use crate::note::held_looks;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const NUMBER_AT: usize = 0;
pub(super) const END_AT: usize = 8;
pub(super) const RECORDED_AT: usize = 16;
pub(super) const RAW_LEN_AT: usize = 24;
pub(super) const FORM_AT: usize = 28;
pub(super) const CONTENT_AT: usize = 29;
const _: () = assert!(NUMBER_AT + 8 == END_AT && END_AT + 8 == RECORDED_AT && RECORDED_AT + 8 == RAW_LEN_AT);
const _: () = assert!(RAW_LEN_AT + 4 == FORM_AT && FORM_AT + 1 == CONTENT_AT);

const FORM_PLAIN: u8 = 0;
const FORM_ZSTD: u8 = 1;

/// Zstd's level: names repeat, so the quickest does.
const LEVEL: i32 = 1;

/// So much of a log may stand between one writing of digests again and the next.
pub(super) const AGAIN_EVERY_BYTES: u64 = 16 << 10;
/// What ends so little before is left for the next: one damaged page must not take both.
pub(super) const AGAIN_APART_BYTES: u64 = 4 << 10;

/// What a batch has of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digested {
    /// The stream.
    pub(crate) stream: Arc<StreamKey>,
    /// The second of its earliest delivery.
    pub(crate) first: Second,
    /// The second of its latest.
    pub(crate) last: Second,
}

/// What a note of what is held back tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The note's stream.
    pub(crate) note: Arc<StreamKey>,
    /// The looks.
    pub(crate) looks: Vec<Digested>,
}

/// What a batch holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    /// The batch's number in its log.
    pub(crate) number: u64,
    /// Where the batch ends.
    pub(crate) end: u64,
    /// When it was recorded.
    pub(crate) recorded: Micros,
    /// Its streams.
    pub(crate) streams: Vec<Digested>,
    /// Of its notes those that decide what looks mean ([`is_digested`](crate::note::is_digested)).
    pub(crate) notes: Vec<Delivery>,
    /// What is held back by others; a note that could not be read is left out.
    pub(crate) held: Vec<Held>,
}

/// Appends the first part of a digest's content: `count` streams as the batch lists them, and the first and last second of
/// each. The second is the content of a batch of notes, the last [`put_held`].
pub(super) fn put_streams(count: usize, streams: &[u8], seconds: &[(Second, Second)], content: &mut Vec<u8>) {
    varint::put_u64(content, count as u64);
    content.extend_from_slice(streams);
    let mut before = 0;
    for &(first, last) in seconds {
        varint::put_i64(content, first.wrapping_sub(before));
        varint::put_u64(content, last.abs_diff(first));
        before = first;
    }
}

/// Appends of what is held back whose looks these are.
pub(super) fn put_held(deliveries: &[Delivery], content: &mut Vec<u8>) {
    let held = deliveries.iter().filter_map(|note| Some((&note.stream, held_looks(note)?)));
    let held: Vec<_> = held.collect();
    varint::put_u64(content, held.len() as u64);
    for (note, looks) in held {
        put_stream(content, note);
        varint::put_u64(content, looks.len() as u64);
        for (stream, second) in looks {
            put_stream(content, &stream);
            varint::put_i64(content, second);
        }
    }
}

fn take_held(content: &mut &[u8]) -> Result<Vec<Held>, Fault> {
    let mut held = Vec::new();
    for _ in 0..varint::take_u64(content)? {
        let note = Arc::new(take_stream(content)?);
        let mut looks = Vec::new();
        for _ in 0..varint::take_u64(content)? {
            let stream = Arc::new(take_stream(content)?);
            let second = varint::take_i64(content)?;
            looks.push(Digested { stream, first: second, last: second });
        }
        held.push(Held { note, looks });
    }
    Ok(held)
}

/// The payload of a digest, but for what is known only once its batch has a place ([`place`]).
pub(super) fn encode(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0; CONTENT_AT];
    out[RAW_LEN_AT..FORM_AT].copy_from_slice(&(content.len() as u32).to_le_bytes());
    out[FORM_AT] = FORM_ZSTD;
    if !zstd::encode_if_smaller(content, LEVEL, content.len(), &mut out) {
        out[FORM_AT] = FORM_PLAIN;
        out.extend_from_slice(content);
    }
    out
}

/// Fills in what the place of the batch tells.
pub(super) fn place(payload: &mut [u8], number: u64, end: u64, recorded: Micros) {
    payload[NUMBER_AT..END_AT].copy_from_slice(&number.to_le_bytes());
    payload[END_AT..RECORDED_AT].copy_from_slice(&end.to_le_bytes());
    payload[RECORDED_AT..RAW_LEN_AT].copy_from_slice(&recorded.to_le_bytes());
}

impl Digest {
    /// What a frame of the type `digest` holds.
    pub(crate) fn decode(mut payload: &[u8]) -> Result<Digest, Fault> {
        let rest = &mut payload;
        let number = u64::from_le_bytes(fixed(rest)?);
        let end = u64::from_le_bytes(fixed(rest)?);
        let recorded = i64::from_le_bytes(fixed(rest)?);
        let raw_len = u32::from_le_bytes(fixed(rest)?);
        if u64::from(raw_len) > BATCH_BYTES_MAX {
            return Err(Fault::Limit { what: "bytes of a digest", found: raw_len.into(), limit: BATCH_BYTES_MAX });
        }
        let mut room = Vec::new();
        let mut content = match codec::take_u8(rest)? {
            FORM_PLAIN => take(rest, raw_len as usize)?,
            FORM_ZSTD => {
                zstd::decode(rest, raw_len as usize, &mut room)?;
                &room
            }
            form => return Err(Fault::Tag { what: "form of a digest", found: form.into() }),
        };
        codec::finish(rest)?;
        let keys = take_streams(&mut content)?;
        let mut before = 0i64;
        let mut streams = Vec::with_capacity(keys.len());
        for stream in keys {
            let first = before.wrapping_add(varint::take_i64(&mut content)?);
            let last = first.checked_add_unsigned(varint::take_u64(&mut content)?);
            let last = last.ok_or(Fault::Value { what: "seconds of a digest" })?;
            streams.push(Digested { stream, first, last });
            before = first;
        }
        let notes = take_deliveries(&mut content)?;
        let held = take_held(&mut content)?;
        codec::finish(content)?;
        Ok(Digest { number, end, recorded, streams, notes, held })
    }

    /// What a frame of the type `digests again` holds.
    pub(crate) fn decode_again(mut payload: &[u8]) -> Result<Vec<Digest>, Fault> {
        let mut digests = Vec::new();
        while !payload.is_empty() {
            let len = u32::from_le_bytes(fixed(&mut payload)?);
            digests.push(Digest::decode(take(&mut payload, len as usize)?)?);
        }
        Ok(digests)
    }
}

/// The digests of a log that are to be written again.
#[derive(Debug)]
pub(super) struct Again {
    /// The ends of batches, and their digests' payloads.
    waiting: VecDeque<(u64, Vec<u8>)>,
    /// Where the last frame of such began, or the first batch.
    since: u64,
}

impl Again {
    /// Of a log whose first batch stands at `start`.
    pub(super) fn new(start: u64) -> Again {
        Again { waiting: VecDeque::new(), since: start }
    }

    /// A digest that was placed, and where its batch ends.
    pub(super) fn push(&mut self, end: u64, payload: Vec<u8>) {
        self.waiting.push_back((end, payload));
    }

    /// What is to be written at `at`, if it is time.
    pub(super) fn due(&mut self, at: u64) -> Option<Vec<u8>> {
        if at - self.since < AGAIN_EVERY_BYTES {
            return None;
        }
        let apart = self.waiting.partition_point(|(end, _)| end + AGAIN_APART_BYTES <= at);
        if apart == 0 {
            return None;
        }
        self.since = at;
        let mut payload = Vec::new();
        for (_, digest) in self.waiting.drain(..apart) {
            payload.extend_from_slice(&(digest.len() as u32).to_le_bytes());
            payload.extend_from_slice(&digest);
        }
        Some(payload)
    }
}
