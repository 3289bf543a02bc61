//! A commit as the payload of a record, and back.
//!
//! The log keeps what was understood of the lines rather than the lines: the streams and rows of a batch once each, and
//! its deliveries as references to them, compressed quickly.
//!
//! Invariants:
//! - What decodes encodes to the same content, and every commit has one content: streams and rows are listed in the order
//!   of their first use, each once.
//! - Decoding allocates no more than the announced length, which is bounded, and what follows from it.
//!
//! Bytes: see [`log`](crate::log).

use super::digest;
use super::pack::{self, Packer};
use crate::codec::{self, take, take_between, varint, zstd};
use crate::error::{Error, Fault, Misuse};
use crate::fact::{Batch, Commit, Delivery, Inferred, Kind, Micros, Name, Second, StreamKey};
use crate::note;
use crate::numbering::Numbering;
use crate::row::{Row, hash_of, is_canonical};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

/// The most bytes that a batch may have before compression.
pub const BATCH_BYTES_MAX: u64 = 256 << 20;

/// Zstd's level where packing leaves too much.
const LEVEL: i32 = 1;

pub(super) const RECORDED_AT: usize = 0;
pub(super) const PRODUCER_AT: usize = 8;
pub(super) const SEQUENCE_AT: usize = 24;
pub(super) const RAW_LEN_AT: usize = 32;
pub(super) const FORM_AT: usize = 36;
pub(super) const CONTENT_AT: usize = 37;
const _: () = assert!(RECORDED_AT + 8 == PRODUCER_AT && PRODUCER_AT + 16 == SEQUENCE_AT);
const _: () = assert!(SEQUENCE_AT + 8 == RAW_LEN_AT && RAW_LEN_AT + 4 == FORM_AT && FORM_AT + 1 == CONTENT_AT);
const _: () = assert!(BATCH_BYTES_MAX <= u32::MAX as u64);

/// The content as it is.
const FORM_PLAIN: u8 = 0;
/// The content as a zstd frame.
const FORM_ZSTD: u8 = 1;
/// The content with packed rows.
const FORM_PACKED: u8 = 2;

const FLAG_SIGHTINGS: u8 = 1;

const FLAG_WHOLE: u8 = 1;
const FLAG_COUNTER: u8 = 2;
const INFERRED_SHIFT: u8 = 2;
const INFERRED_MASK: u8 = 3;

/// Appends the commit's payload to `out`; on error `out` is as it was.
///
/// Refuses what a reader would refuse: a batch that is too large, a delivery that lists a row twice or no times.
pub fn encode_batch(commit: &Commit, out: &mut Vec<u8>) -> Result<(), Error> {
    encode(commit.recorded, &commit.batch, out).map(drop)
}

/// The same; gives the batch's digest, which has no place yet.
pub(super) fn encode(recorded: Micros, batch: &Batch, out: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
    SCRATCH.with_borrow_mut(|scratch| {
        if let Err(error) = scratch.encode(&batch.deliveries) {
            scratch.give_back();
            return Err(error);
        }
        out.extend_from_slice(&recorded.to_le_bytes());
        out.extend_from_slice(&batch.producer.to_le_bytes());
        out.extend_from_slice(&batch.sequence.to_le_bytes());
        out.extend_from_slice(&(scratch.len() as u32).to_le_bytes());
        let form_at = out.len();
        out.push(FORM_PACKED);
        if !scratch.put_packed(out) {
            let content = scratch.content();
            out[form_at] = FORM_ZSTD;
            if !zstd::encode_if_smaller(content, LEVEL, content.len(), out) {
                out[form_at] = FORM_PLAIN;
                out.extend_from_slice(content);
            }
        }
        let mut digest = Vec::new();
        digest::put_streams(scratch.seconds.len(), &scratch.streams, &scratch.seconds, &mut digest);
        let is_digested = |delivery: &&Delivery| note::is_digested(&delivery.stream);
        let notes: Vec<Delivery> = batch.deliveries.iter().filter(is_digested).cloned().collect();
        scratch.encode(&notes)?;
        digest.extend_from_slice(scratch.content());
        digest::put_held(&batch.deliveries, &mut digest);
        scratch.give_back();
        Ok(digest::encode(&digest))
    })
}

/// The commit of a payload.
pub fn decode_batch(payload: &[u8]) -> Result<Commit, Fault> {
    let mut rest = payload;
    let recorded = i64::from_le_bytes(fixed(&mut rest)?);
    let producer = u128::from_le_bytes(fixed(&mut rest)?);
    let sequence = u64::from_le_bytes(fixed(&mut rest)?);
    let raw_len = u32::from_le_bytes(fixed(&mut rest)?);
    if u64::from(raw_len) > BATCH_BYTES_MAX {
        return Err(Fault::Limit { what: "bytes of a batch", found: u64::from(raw_len), limit: BATCH_BYTES_MAX });
    }
    let mut content = Vec::new();
    let content = match codec::take_u8(&mut rest)? {
        FORM_PLAIN => take(&mut rest, raw_len as usize)?,
        FORM_ZSTD => {
            zstd::decode(&mut rest, raw_len as usize, &mut content)?;
            &content
        }
        FORM_PACKED => {
            take_packed(&mut rest, raw_len as usize, &mut content)?;
            &content
        }
        form => {
            return Err(Fault::Tag { what: "form of a batch", found: u64::from(form) });
        }
    };
    codec::finish(rest)?;
    Ok(Commit { recorded, batch: Batch { producer, sequence, digest: 0, deliveries: decode_content(content)? } })
}

/// Takes a content with packed rows to its end, and appends it.
fn take_packed(rest: &mut &[u8], raw_len: usize, content: &mut Vec<u8>) -> Result<(), Fault> {
    let limit =
        |found: usize| Fault::Limit { what: "bytes of a packed batch", found: found as u64, limit: raw_len as u64 };
    let streams = take_text(rest)?;
    if streams.len() > raw_len {
        return Err(limit(streams.len()));
    }
    content.extend_from_slice(streams);
    let count = varint::take_u64(rest)?;
    varint::put_u64(content, count);
    pack::unpack(rest, count, content, raw_len)?;
    content.extend_from_slice(std::mem::take(rest));
    if content.len() == raw_len { Ok(()) } else { Err(limit(content.len())) }
}

pub(super) fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Fault> {
    let taken = take(bytes, N)?;
    Ok(std::array::from_fn(|i| taken[i]))
}

thread_local! {
    // A batch takes megabytes; whoever appends many makes room once.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a thread keeps of its room from one batch to the next.
const SCRATCH_BYTES_MAX: usize = 16 << 20;

/// Where a batch's content is put together.
#[derive(Default)]
struct Scratch {
    /// Streams, as they are listed.
    streams: Vec<u8>,
    /// The seconds of the earliest and the latest delivery of each.
    seconds: Vec<(Second, Second)>,
    numbers: Numbering,
    rows: Vec<ListedRow>,
    /// Rows, as they are listed.
    row_bytes: Vec<u8>,
    packer: Packer,
    /// Deliveries, as they are listed.
    body: Vec<u8>,
    delivery_count: usize,
    content: Vec<u8>,
}

/// A row that is listed.
struct ListedRow {
    start: u32,
    end: u32,
    /// The side of the delivery that used it last.
    used: u64,
}

impl Scratch {
    /// Puts the parts of a batch's content together.
    fn encode(&mut self, deliveries: &[Delivery]) -> Result<(), Error> {
        let Scratch { streams, seconds, numbers, rows, row_bytes, packer, body, .. } = self;
        [&mut *streams, row_bytes, body].into_iter().for_each(Vec::clear);
        seconds.clear();
        rows.clear();
        numbers.clear();
        packer.clear();
        let mut stream_numbers: FxHashMap<&StreamKey, u32> = FxHashMap::default();
        // The same by address: mostly the deliveries of a stream have the very same key.
        let mut addresses: FxHashMap<usize, u32> = FxHashMap::default();
        let mut last_second = 0i64;
        for (i, delivery) in deliveries.iter().enumerate() {
            let next = stream_numbers.len() as u32;
            let stream = *addresses.entry(Arc::as_ptr(&delivery.stream).addr()).or_insert_with(|| {
                *stream_numbers.entry(&*delivery.stream).or_insert_with(|| {
                    put_stream(streams, &delivery.stream);
                    next
                })
            });
            match seconds.get_mut(stream as usize) {
                Some((first, last)) => {
                    (*first, *last) = ((*first).min(delivery.second), (*last).max(delivery.second));
                }
                None => seconds.push((delivery.second, delivery.second)),
            }
            varint::put_u64(body, u64::from(stream));
            varint::put_u64(body, delivery.epoch);
            body.push(
                flag(FLAG_WHOLE, delivery.whole)
                    | flag(FLAG_COUNTER, delivery.counter.is_some())
                    | ((delivery.inferred as u8) << INFERRED_SHIFT),
            );
            if let Some(counter) = delivery.counter {
                varint::put_u64(body, counter);
            }
            varint::put_i64(body, delivery.second.wrapping_sub(last_second));
            last_second = delivery.second;
            for (side, copies) in [&delivery.removed, &delivery.added].into_iter().enumerate() {
                let this = side_number(i, side);
                varint::put_u64(body, copies.len() as u64);
                // The rows were made by another thread: read together, their waits for memory overlap.
                let touched = copies.iter().map(|(row, _)| {
                    let first = row.as_bytes().first().copied().unwrap_or(0);
                    numbers.peek(row.content_hash()).unwrap_or(0) ^ u32::from(first)
                });
                black_box(touched.fold(0, u32::wrapping_add));
                for (row, count) in copies {
                    let row_of = |listed: &ListedRow| listed.start as usize..listed.end as usize;
                    let (number, new) = numbers.number(row.content_hash(), |number| {
                        row_bytes[row_of(&rows[number as usize])] == *row.as_bytes()
                    });
                    if new {
                        varint::put_u64(row_bytes, row.as_bytes().len() as u64);
                        let start = row_bytes.len() as u32;
                        row_bytes.extend_from_slice(row.as_bytes());
                        check_size(row_bytes.len())?;
                        let end = row_bytes.len() as u32;
                        packer.row(row_bytes, start..end);
                        rows.push(ListedRow { start, end, used: 0 });
                    }
                    if *count == 0 || std::mem::replace(&mut rows[number as usize].used, this) == this {
                        return Err(Misuse::RowCopies.into());
                    }
                    varint::put_u64(body, u64::from(number));
                    varint::put_u64(body, *count);
                }
            }
            check_size(streams.len() + row_bytes.len() + body.len())?;
        }
        self.delivery_count = deliveries.len();
        check_size(self.len())
    }

    /// The length of the content.
    fn len(&self) -> usize {
        let counts =
            [self.seconds.len(), self.rows.len(), self.delivery_count].map(|count| varint::len_u64(count as u64));
        counts.iter().sum::<usize>() + self.streams.len() + self.row_bytes.len() + self.body.len()
    }

    /// The content as it is.
    fn content(&mut self) -> &[u8] {
        let Scratch { streams, seconds, rows, row_bytes, body, content, .. } = self;
        content.clear();
        for (count, part) in [(seconds.len(), streams), (rows.len(), row_bytes), (self.delivery_count, body)] {
            varint::put_u64(content, count as u64);
            content.extend_from_slice(part);
        }
        content
    }

    /// Appends the content with packed rows, if that is enough smaller; says whether it did.
    fn put_packed(&self, out: &mut Vec<u8>) -> bool {
        let Some(packed) = self.packer.packed() else {
            return false;
        };
        let saved = self.row_bytes.len().saturating_sub(packed.len());
        if saved * 3 < self.len() {
            return false;
        }
        out.reserve(self.streams.len() + packed.len() + self.body.len() + 4 * varint::BYTES_MAX);
        let count = self.seconds.len() as u64;
        varint::put_u64(out, (varint::len_u64(count) + self.streams.len()) as u64);
        varint::put_u64(out, count);
        out.extend_from_slice(&self.streams);
        varint::put_u64(out, self.rows.len() as u64);
        out.extend_from_slice(packed);
        varint::put_u64(out, self.delivery_count as u64);
        out.extend_from_slice(&self.body);
        true
    }

    /// Gives memory back that a rare large batch took.
    fn give_back(&mut self) {
        let room = self.content.capacity() + self.row_bytes.capacity() + self.packer.room();
        if room > SCRATCH_BYTES_MAX {
            *self = Scratch::default();
        }
    }
}

#[cfg(test)]
pub(super) fn encode_content(deliveries: &[Delivery]) -> Result<Vec<u8>, Error> {
    let mut scratch = Scratch::default();
    scratch.encode(deliveries)?;
    Ok(scratch.content().to_vec())
}

fn flag(flag: u8, set: bool) -> u8 {
    if set { flag } else { 0 }
}

/// A number for each side of each delivery, never 0.
fn side_number(delivery: usize, side: usize) -> u64 {
    delivery as u64 * 2 + side as u64 + 1
}

fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes as u64 > BATCH_BYTES_MAX {
        return Err(Error::from(Misuse::BatchTooLarge { bytes: bytes as u64, limit: BATCH_BYTES_MAX }));
    }
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    varint::put_u64(out, text.len() as u64);
    out.extend_from_slice(text);
}

pub(super) fn put_stream(out: &mut Vec<u8>, stream: &StreamKey) {
    put_text(out, &stream.table);
    put_text(out, &stream.host);
    put_text(out, &stream.name);
    out.push(stream.kind as u8);
    out.push(flag(FLAG_SIGHTINGS, stream.sightings));
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let len = varint::take_u64(bytes)?;
    Ok(take(bytes, usize::try_from(len).unwrap_or(usize::MAX))?)
}

/// A count of things that take `least` bytes each, so that a wrong one cannot ask for much memory.
fn take_count(bytes: &mut &[u8], least: usize) -> Result<usize, Fault> {
    Ok(take_between(bytes, 0, (bytes.len() / least) as u64)? as usize)
}

/// The same name again shares the allocation of the one before.
fn take_name(bytes: &mut &[u8], last: &mut Option<Name>) -> Result<Name, Fault> {
    let text = take_text(bytes)?;
    if let Some(last) = last
        && **last == *text
    {
        return Ok(last.clone());
    }
    Ok(last.insert(Name::from(text)).clone())
}

pub(super) fn decode_content(content: &[u8]) -> Result<Vec<Delivery>, Fault> {
    let mut rest = content;
    let deliveries = take_deliveries(&mut rest)?;
    codec::finish(rest)?;
    Ok(deliveries)
}

pub(super) fn take_deliveries(rest: &mut &[u8]) -> Result<Vec<Delivery>, Fault> {
    let streams = take_streams(rest)?;
    let rows = take_rows(rest)?;
    let mut uses = Uses { streams: 0, rows: 0, used: vec![0; rows.len()] };
    let count = take_count(rest, 6)?;
    let mut deliveries = Vec::with_capacity(count.min(1 << 16));
    let mut last_second = 0i64;
    for i in 0..count {
        let stream = next_use(rest, &mut uses.streams, streams.len())?;
        let epoch = varint::take_u64(rest)?;
        let flags = codec::take_u8(rest)?;
        let inferred = Inferred::from_byte(flags >> INFERRED_SHIFT & INFERRED_MASK);
        let Some(inferred) = inferred.filter(|_| flags < 1 << (INFERRED_SHIFT + 2)) else {
            return Err(Fault::Value { what: "flags of a delivery" });
        };
        let counter = if flags & FLAG_COUNTER != 0 { Some(varint::take_u64(rest)?) } else { None };
        last_second = last_second.wrapping_add(varint::take_i64(rest)?);
        let removed = uses.take_copies(rest, &rows, side_number(i, 0))?;
        let added = uses.take_copies(rest, &rows, side_number(i, 1))?;
        deliveries.push(Delivery {
            stream: streams[stream].clone(),
            epoch,
            counter,
            second: last_second,
            whole: flags & FLAG_WHOLE != 0,
            inferred,
            removed,
            added,
        });
    }
    if (uses.streams, uses.rows) != (streams.len(), rows.len()) {
        return Err(Fault::Value { what: "stream or row that nothing uses" });
    }
    Ok(deliveries)
}

/// The names of the stream before, which share their allocations with the next.
#[derive(Default)]
struct LastNames {
    table: Option<Name>,
    host: Option<Name>,
    name: Option<Name>,
}

impl LastNames {
    fn take_stream(&mut self, rest: &mut &[u8]) -> Result<StreamKey, Fault> {
        let (table, host) = (take_name(rest, &mut self.table)?, take_name(rest, &mut self.host)?);
        let name = take_name(rest, &mut self.name)?;
        let kind = codec::take_u8(rest)?;
        let Some(kind) = Kind::from_byte(kind) else {
            return Err(Fault::Tag { what: "kind of stream", found: u64::from(kind) });
        };
        let flags = codec::take_u8(rest)?;
        if flags & !FLAG_SIGHTINGS != 0 {
            return Err(Fault::Value { what: "flags of a stream" });
        }
        Ok(StreamKey { table, host, name, kind, sightings: flags & FLAG_SIGHTINGS != 0 })
    }
}

pub(super) fn take_stream(rest: &mut &[u8]) -> Result<StreamKey, Fault> {
    LastNames::default().take_stream(rest)
}

pub(super) fn take_streams(rest: &mut &[u8]) -> Result<Vec<Arc<StreamKey>>, Fault> {
    let count = take_count(rest, 5)?;
    let mut streams = Vec::with_capacity(count.min(1 << 16));
    let mut distinct = FxHashSet::default();
    let mut last = LastNames::default();
    for _ in 0..count {
        let stream = Arc::new(last.take_stream(rest)?);
        if !distinct.insert(stream.clone()) {
            return Err(Fault::Value { what: "stream listed twice" });
        }
        streams.push(stream);
    }
    Ok(streams)
}

/// All rows lie in one buffer, as they are listed.
fn take_rows(rest: &mut &[u8]) -> Result<Vec<Row>, Fault> {
    let count = take_count(rest, 1)?;
    let listed = *rest;
    let mut places: Vec<(Range<u32>, u64)> = Vec::with_capacity(count.min(1 << 16));
    let mut numbers = Numbering::with_capacity(count.min(1 << 16));
    for _ in 0..count {
        let text = take_text(rest)?;
        if !is_canonical(text) {
            return Err(Fault::Value { what: "row" });
        }
        let (end, hash) = (listed.len() - rest.len(), hash_of(text));
        let of = |place: &Range<u32>| &listed[place.start as usize..place.end as usize];
        let (_, is_new) = numbers.number(hash, |number| of(&places[number as usize].0) == text);
        if !is_new {
            return Err(Fault::Value { what: "row listed twice" });
        }
        // A content has fewer bytes than 32 bits count.
        places.push(((end - text.len()) as u32..end as u32, hash));
    }
    let buffer: Arc<[u8]> = Arc::from(&listed[..listed.len() - rest.len()]);
    Ok(places.into_iter().map(|(place, hash)| Row::in_buffer(&buffer, place, hash)).collect())
}

/// An index into a list in the order of first use: one of those used, or the next.
fn next_use(rest: &mut &[u8], used: &mut usize, len: usize) -> Result<usize, Fault> {
    if len == 0 {
        return Err(Fault::Value { what: "index into nothing" });
    }
    let index = take_between(rest, 0, (*used).min(len - 1) as u64)? as usize;
    *used = (*used).max(index + 1);
    Ok(index)
}

struct Uses {
    streams: usize,
    rows: usize,
    /// The side of the delivery that used a row last.
    used: Vec<u64>,
}

impl Uses {
    fn take_copies(&mut self, rest: &mut &[u8], rows: &[Row], this: u64) -> Result<Vec<(Row, u64)>, Fault> {
        let count = take_count(rest, 2)?;
        let mut copies = Vec::with_capacity(count.min(rows.len()));
        for _ in 0..count {
            let row = next_use(rest, &mut self.rows, rows.len())?;
            if std::mem::replace(&mut self.used[row], this) == this {
                return Err(Fault::Value { what: "row listed twice in a delivery" });
            }
            copies.push((rows[row].clone(), take_between(rest, 1, u64::MAX)?));
        }
        Ok(copies)
    }
}
