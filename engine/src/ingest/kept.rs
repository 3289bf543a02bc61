#![doc = include_str!("kept.md")]

use super::hold::HeldLook;
use crate::codec::varint::{put_u64, take_u64};
use crate::codec::{Fault, finish, take, take_between, take_u8};
use crate::fact::{Delivery, Inferred, Kind, Name, SECOND_MAX, Second, StreamKey};
use crate::row::Row;
use std::sync::Arc;

/// The form's number.
const VERSION: u8 = 1;

/// Added to the kind of a stream that is declared `removed: false`.
const SIGHTINGS: u8 = 4;

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_rows(out: &mut Vec<u8>, rows: &[(Row, u64)]) {
    put_u64(out, rows.len() as u64);
    for (row, count) in rows {
        put_u64(out, *count);
        put_bytes(out, row.as_bytes());
    }
}

/// Appends looks.
pub(super) fn encode<'l>(looks: impl ExactSizeIterator<Item = HeldLook<'l>>, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_u64(out, looks.len() as u64);
    for HeldLook { stream, epoch, counter, second, inferred, removed, added } in looks {
        put_bytes(out, &stream.table);
        put_bytes(out, &stream.host);
        put_bytes(out, &stream.name);
        out.push(stream.kind as u8 + if stream.sightings { SIGHTINGS } else { 0 });
        put_u64(out, epoch);
        put_u64(out, u64::from(counter.is_some()));
        put_u64(out, counter.unwrap_or(0));
        put_u64(out, second as u64);
        out.push(inferred as u8);
        put_rows(out, removed);
        put_rows(out, added);
    }
}

fn take_len(bytes: &mut &[u8]) -> Result<usize, Fault> {
    Ok(take_between(bytes, 0, bytes.len() as u64)? as usize)
}

fn take_name(bytes: &mut &[u8]) -> Result<Name, Fault> {
    let len = take_len(bytes)?;
    take(bytes, len).map(Name::from)
}

fn take_rows(bytes: &mut &[u8]) -> Result<Vec<(Row, u64)>, Fault> {
    let mut rows = Vec::new();
    for _ in 0..take_len(bytes)? {
        let count = take_between(bytes, 1, u64::MAX)?;
        let len = take_len(bytes)?;
        let row = Row::from_canonical(take(bytes, len)?).ok_or(Fault::Tag { found: 0 })?;
        rows.push((row, count));
    }
    Ok(rows)
}

/// What comes before a look's rows.
struct Head {
    stream: StreamKey,
    epoch: u64,
    counter: Option<u64>,
    second: Second,
    inferred: Inferred,
}

fn take_head(bytes: &mut &[u8]) -> Result<Head, Fault> {
    let (table, host, name) = (take_name(bytes)?, take_name(bytes)?, take_name(bytes)?);
    let found = take_u8(bytes)?;
    let (kind, sightings) = (Kind::from_byte(found & !SIGHTINGS), found & SIGHTINGS != 0);
    let kind = kind.filter(|kind| *kind != Kind::Note).ok_or(Fault::Tag { found })?;
    let epoch = take_u64(bytes)?;
    let (has_counter, counter) = (take_between(bytes, 0, 1)? == 1, take_u64(bytes)?);
    if !has_counter && counter != 0 {
        return Err(Fault::Range { found: counter, min: 0, max: 0 });
    }
    let second = take_between(bytes, 0, SECOND_MAX as u64)? as i64;
    let found = take_u8(bytes)?;
    let inferred = Inferred::from_byte(found).ok_or(Fault::Tag { found })?;
    let stream = StreamKey { table, host, name, kind, sightings };
    Ok(Head { stream, epoch, counter: has_counter.then_some(counter), second, inferred })
}

/// Takes looks to the end of `bytes`, each by `rest` after its head.
fn take_looks<L>(mut bytes: &[u8], rest: impl Fn(Head, &mut &[u8]) -> Result<L, Fault>) -> Result<Vec<L>, Fault> {
    let bytes = &mut bytes;
    let version = take_u8(bytes)?;
    if version != VERSION {
        return Err(Fault::Tag { found: version });
    }
    let mut looks = Vec::new();
    for _ in 0..take_len(bytes)? {
        let head = take_head(bytes)?;
        looks.push(rest(head, bytes)?);
    }
    finish(bytes)?;
    Ok(looks)
}

/// Reads looks.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Delivery>, Fault> {
    take_looks(bytes, |Head { stream, epoch, counter, second, inferred }, bytes| {
        let (removed, added) = (take_rows(bytes)?, take_rows(bytes)?);
        Ok(Delivery { stream: Arc::new(stream), epoch, counter, second, whole: false, inferred, removed, added })
    })
}

/// Of looks their streams and seconds.
pub(crate) fn decode_heads(bytes: &[u8]) -> Result<Vec<(StreamKey, Second)>, Fault> {
    take_looks(bytes, |head, bytes| {
        for _ in 0..2 {
            for _ in 0..take_len(bytes)? {
                take_between(bytes, 1, u64::MAX)?;
                let len = take_len(bytes)?;
                take(bytes, len)?;
            }
        }
        Ok((head.stream, head.second))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowBuilder;

    fn look(uid: &str, counter: Option<u64>, sightings: bool) -> Delivery {
        let mut builder = RowBuilder::new();
        builder.column(b"uid", uid.as_bytes());
        let [table, host, name] = [b"t", b"h", b"q"].map(|text| Name::from(&text[..]));
        let stream = Arc::new(StreamKey { table, host, name, kind: Kind::Diff, sightings });
        let (removed, added) = (Vec::new(), vec![(builder.row(), 1)]);
        Delivery { stream, epoch: 0, counter, second: 100, whole: false, inferred: Inferred::V5_7, removed, added }
    }

    fn encoded(looks: &[Delivery]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(looks.iter().map(HeldLook::from), &mut out);
        out
    }

    #[test]
    fn looks_come_back_and_the_page_has_the_example() {
        let example = encoded(&[look("0", Some(5), false)]);
        let hex: Vec<String> = example.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("kept.md").contains(&format!("`{}`", hex.join(" "))), "{}", hex.join(" "));
        let mut looks = vec![look("0", Some(5), false), look("1000", None, true)];
        looks[1].removed = vec![(looks[0].added[0].0.clone(), 3), (looks[0].added[0].0.clone(), 1)];
        assert_eq!(decode(&encoded(&looks)), Ok(looks.clone()));
        let bytes = encoded(&looks);
        let heads = looks.iter().map(|look| ((*look.stream).clone(), look.second)).collect();
        assert_eq!(decode_heads(&bytes), Ok(heads));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err() && decode_heads(&bytes[..len]).is_err(), "{len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&flipped), Ok(looks.clone()), "bit {bit}");
        }
    }
}
