//! Which streams a segment holds, so that a segment that is lost can be told by name.
//!
//! Invariants:
//! - Streams stand in their order, each once; hosts are named once for all tables.
//! - Nobody reads a summary but who shows it, so it is small rather than quick.
//!
//! Bytes: see [`manifest`](crate::manifest).

use crate::codec::{self, ints, take, take_between, texts, varint};
use crate::error::Fault;
use crate::fact::{Kind, Name, Second, StreamKey};
use std::sync::Arc;

/// The most streams that a summary lists; more are only counted.
pub const SUMMARY_STREAMS_MAX: u64 = 1 << 22;
/// What a decoder accepts at most of hosts.
pub const SUMMARY_HOSTS_MAX: u64 = 1 << 26;
/// Bytes of names in one block of them at most.
const NAME_BYTES_MAX: usize = 1 << 30;

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

/// The same of a stream whose names are known by number.
#[derive(Clone, Copy, Debug)]
pub struct StreamSummary {
    /// The number of its host.
    pub host: usize,
    /// The number of its name.
    pub name: usize,
    /// What its looks are.
    pub kind: Kind,
    /// Whether rows never leave.
    pub sightings: bool,
    /// The least and the greatest observed second.
    pub extent: (Second, Second),
    /// How many parts of looks.
    pub parts: u64,
}

/// A summary under construction.
#[derive(Debug, Default)]
pub struct Summary {
    listed: u64,
    left_out: u64,
    tables: u64,
    bytes: Vec<u8>,
}

impl Summary {
    /// Adds a table, with the names of its streams by number, and its streams in order. Tables come by name.
    ///
    /// Streams past [`SUMMARY_STREAMS_MAX`] are left out and only counted.
    pub fn table(&mut self, table: &Name, names: &[Name], streams: impl ExactSizeIterator<Item = StreamSummary>) {
        let count = (streams.len() as u64).min(SUMMARY_STREAMS_MAX - self.listed);
        self.left_out += streams.len() as u64 - count;
        self.listed += count;
        self.tables += 1;
        let streams: Vec<StreamSummary> = streams.take(count as usize).collect();
        let out = &mut self.bytes;
        varint::put_u64(out, table.len() as u64);
        out.extend_from_slice(table);
        varint::put_u64(out, names.len() as u64);
        put_texts(names.iter(), out);
        varint::put_u64(out, count);
        let mut put = |value: fn(&StreamSummary) -> u64| {
            ints::encode(&streams.iter().map(value).collect::<Vec<_>>(), out);
        };
        put(|stream| stream.host as u64);
        put(|stream| stream.name as u64);
        put(|stream| (stream.kind as u64) << 1 | u64::from(stream.sightings));
        put(|stream| varint::fold(stream.extent.0));
        put(|stream| varint::fold(stream.extent.1.wrapping_sub(stream.extent.0)));
        put(|stream| stream.parts);
    }

    /// The summary's bytes; `hosts` are those whose numbers the streams have.
    pub fn finish<'h>(self, hosts: impl ExactSizeIterator<Item = &'h Name>) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.listed, self.left_out, hosts.len() as u64] {
            varint::put_u64(&mut out, number);
        }
        put_texts(hosts, &mut out);
        varint::put_u64(&mut out, self.tables);
        out.extend_from_slice(&self.bytes);
        out
    }
}

fn put_texts<'n>(names: impl Iterator<Item = &'n Name>, out: &mut Vec<u8>) {
    let names: Vec<Option<&[u8]>> = names.map(|name| Some(&**name)).collect();
    texts::encode(&names, texts::LEVEL_DEFAULT, out);
}

fn take_texts(bytes: &mut &[u8], count: u64) -> Result<Vec<Name>, Fault> {
    let texts = texts::decode(bytes, count as usize, NAME_BYTES_MAX)?;
    let name = |i| texts.get(i).map(Name::from).ok_or(Fault::Value { what: "names of a summary" });
    (0..count as usize).map(name).collect()
}

/// The hosts of a summary, in order.
pub fn summary_hosts(mut summary: &[u8]) -> Result<Vec<Name>, Fault> {
    let bytes = &mut summary;
    take_between(bytes, 0, SUMMARY_STREAMS_MAX)?;
    varint::take_u64(bytes)?;
    let hosts = take_between(bytes, 0, SUMMARY_HOSTS_MAX)?;
    take_texts(bytes, hosts)
}

/// The streams of a summary, and how many more were only counted.
pub fn decode_summary(mut summary: &[u8]) -> Result<(Vec<StreamExtent>, u64), Fault> {
    let bytes = &mut summary;
    let listed = take_between(bytes, 0, SUMMARY_STREAMS_MAX)?;
    let left_out = varint::take_u64(bytes)?;
    let hosts = take_between(bytes, 0, SUMMARY_HOSTS_MAX)?;
    let hosts = take_texts(bytes, hosts)?;
    let mut streams: Vec<StreamExtent> = Vec::new();
    for _ in 0..varint::take_u64(bytes)? {
        let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
        let table = Name::from(take(bytes, len)?);
        let names = take_between(bytes, 0, SUMMARY_STREAMS_MAX)?;
        let names = take_texts(bytes, names)?;
        let count = take_between(bytes, 0, listed - streams.len() as u64)? as usize;
        let mut columns = [const { Vec::new() }; 6];
        for column in &mut columns {
            *column = ints::decode(bytes, count)?;
        }
        let [of_host, of_name, kinds, firsts, spans, all_parts] = columns;
        let names_of = of_host.into_iter().zip(of_name);
        let extents = firsts.into_iter().zip(spans);
        for (((host, name), kind), ((first, span), parts)) in names_of.zip(kinds).zip(extents.zip(all_parts)) {
            let of = |names: &[Name], number: u64| names.get(usize::try_from(number).ok()?).cloned();
            let (host, name) =
                of(&hosts, host).zip(of(&names, name)).ok_or(Fault::Value { what: "names of a stream" })?;
            let tag = Fault::Tag { what: "kind of stream", found: kind >> 1 };
            let stream_kind = u8::try_from(kind >> 1).ok().and_then(Kind::from_byte).ok_or(tag)?;
            let (table, sightings) = (table.clone(), kind & 1 == 1);
            let stream = Arc::new(StreamKey { table, host, name, kind: stream_kind, sightings });
            if streams.last().is_some_and(|last| last.stream >= stream) {
                return Err(Fault::Order { what: "streams" });
            }
            let first = varint::unfold(first);
            streams.push(StreamExtent { stream, first, last: first.wrapping_add(varint::unfold(span)), parts });
        }
    }
    codec::finish(bytes)?;
    if streams.len() as u64 != listed {
        return Err(Fault::Value { what: "number of streams" });
    }
    Ok((streams, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Found = BTreeMap<(u8, u8, u8, bool), (Second, u8, u64)>;

    fn streams() -> impl Strategy<Value = Found> {
        let key = (0u8..4, 0u8..6, 0u8..3, any::<bool>());
        prop::collection::btree_map(key, (any::<Second>(), any::<u8>(), 0u64..9), 0..60)
    }

    fn name(of: &str, number: u8) -> Name {
        Name::from(format!("{of}{number}").as_bytes())
    }

    proptest! {
        #[test]
        fn streams_come_back(found in streams()) {
            let names: Vec<Name> = (0..3).map(|number| name("n", number)).collect();
            let hosts: Vec<Name> = (0..6).map(|number| name("h", number)).collect();
            let mut summary = Summary::default();
            for table in 0..4 {
                let of: Vec<StreamSummary> = found
                    .iter()
                    .filter(|((of, ..), _)| *of == table)
                    .map(|(&(_, host, name, sightings), &(first, span, parts))| StreamSummary {
                        host: usize::from(host),
                        name: usize::from(name),
                        kind: Kind::Diff,
                        sightings,
                        extent: (first, first.wrapping_add(Second::from(span))),
                        parts,
                    })
                    .collect();
                summary.table(&name("t", table), &names, of.into_iter());
            }
            let (read, left_out) = decode_summary(&summary.finish(hosts.iter())).unwrap();
            prop_assert_eq!(left_out, 0);
            let expected = found.iter().map(|(&(table, host, stream, sightings), &(first, span, parts))| StreamExtent {
                stream: Arc::new(StreamKey {
                    table: name("t", table),
                    host: name("h", host),
                    name: name("n", stream),
                    kind: Kind::Diff,
                    sightings,
                }),
                first,
                last: first.wrapping_add(Second::from(span)),
                parts,
            });
            prop_assert_eq!(read, expected.collect::<Vec<_>>());
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_summary(&bytes);
        }
    }

    #[test]
    fn the_page_names_the_limits_of_the_code() {
        let page = include_str!("manifest.md");
        assert!(page.contains(&format!("| unsigned, at most {SUMMARY_STREAMS_MAX}; unsigned |")));
        assert!(page.contains(&format!("| hosts | unsigned, at most {SUMMARY_HOSTS_MAX} |")));
    }
}
