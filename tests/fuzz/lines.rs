//! An osquery log, or something like one.
//!
//! What must hold:
//! - Reading ends, and what is read is the same however the bytes are cut: into reads, or into blocks of whole lines.
//! - A parser that remembers says of every line what one that reads it alone and in full says.
//! - How much memory there is for what is held back changes nothing.
//! - serde_json gives the same verdict on whether a line is JSON.
//! - The naive model, which shares no code with the engine, reads the same out of it.

use crate::drawn;
use erstwhile_engine::catalogue::{Catalogue, StreamMap};
use erstwhile_engine::fact::{Delivery, Inferred, Kind};
use erstwhile_engine::ingest::hold::Hold;
use erstwhile_engine::ingest::line::{Line, Reason, StatusLine, read_line};
use erstwhile_engine::ingest::source::{LineSource, SourceLine};
use erstwhile_engine::ingest::spill::Spill;
use erstwhile_engine::io::MemoryStorage;
use erstwhile_engine::note;
use erstwhile_engine::row::Row;
use erstwhile_tests::model::{self, Model};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::Arc;

/// The input's name.
const SOURCE: &[u8] = b"log";

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

thread_local! {
    static MODEL: Model = Model::new(model::Catalogue::shipped());
}

/// Runs an input.
pub fn run(input: &[u8]) {
    let chance = drawn(input);
    // A source is much larger than most inputs, so it has a share of them.
    if chance.is_multiple_of(4) {
        from_source(input, 1 + (chance >> 8) as usize % 64);
    }
    // What is not plain text to a source goes no further there; here it does.
    let mut text = input;
    while let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
        text = rest;
    }
    let slowly = one_by_one(text);
    let whole = in_blocks(text, usize::MAX, |_| usize::MAX);
    assert_eq!(whole, slowly, "a parser that remembers says something else");
    assert_eq!(in_blocks(text, usize::MAX, |_| 0), slowly, "a block a line");
    let cut = |at: usize| (chance as usize).wrapping_mul(at | 1) % 512;
    assert_eq!(in_order(in_blocks(text, 300, cut)), in_order(slowly), "blocks, and little memory");
    let found = words(text, whole);
    MODEL.with(|model| compare(found, model.brought(text)));
}

fn hold(held_bytes_max: usize) -> Hold {
    let spill = Spill::new(Arc::new(MemoryStorage::new()));
    Hold::new(Catalogue::shipped(), StreamMap::empty(), spill, held_bytes_max)
}

/// Lines without their line feeds, each with its offset.
fn lines(text: &[u8], mut offset: u64) -> impl Iterator<Item = (u64, &[u8])> {
    text.split(|byte| *byte == b'\n').map(move |line| {
        let at = offset;
        offset += line.len() as u64 + 1;
        (at, line)
    })
}

/// What is delivered when every line is read in full.
fn one_by_one(text: &[u8]) -> Vec<Delivery> {
    let (mut hold, mut out) = (hold(usize::MAX), Vec::new());
    for (offset, line) in lines(text, 0) {
        let read = read_line(line);
        if let Ok(text) = str::from_utf8(line) {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            match read {
                Line::Dead(Reason::NotJson) | Line::Blank => assert!(!is_json, "serde_json reads {text:?}"),
                // Which of several faults is told is not serde_json's to say.
                Line::Dead(Reason::TooDeep) => {}
                _ => assert!(is_json, "serde_json does not read {text:?}"),
            }
        }
        match read {
            Line::Blank => {}
            Line::Result(line) => drop(hold.line(&line, &mut out).expect("memory is enough")),
            Line::Status(StatusLine { host, second, version }) => {
                hold.status(&host, second, version.as_deref(), &mut out);
            }
            Line::Dead(reason) => out.push(note::of_dead(SOURCE, offset, reason.code(), line, line.len() as u64)),
        }
    }
    while hold.end_some(usize::MAX, &mut out).expect("memory is enough") {}
    out
}

/// What is delivered when whole lines come in blocks, each about as long as `bytes` says for its place.
fn in_blocks(text: &[u8], held_bytes_max: usize, bytes: impl Fn(usize) -> usize) -> Vec<Delivery> {
    let (mut hold, mut out, mut at) = (hold(held_bytes_max), Vec::new(), 0);
    while at < text.len() {
        let least = at.saturating_add(bytes(at)).min(text.len());
        let end = text[least..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |len| least + len + 1);
        hold.lines(SOURCE, at as u64, &text[at..end], &mut out).expect("memory is enough");
        at = end;
    }
    while hold.end_some(usize::MAX, &mut out).expect("memory is enough") {}
    out
}

/// The same deliveries with their rows in order, since those that waited in a file come back in another.
fn in_order(mut deliveries: Vec<Delivery>) -> Vec<Delivery> {
    for delivery in &mut deliveries {
        delivery.removed.sort();
        delivery.added.sort();
    }
    deliveries
}

/// An input that hands out a few bytes at a time.
struct Slow<'b> {
    rest: &'b [u8],
    most: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = self.most.min(to.len());
        self.rest.read(&mut to[..len])
    }
}

/// A source cuts plain text at its line feeds, however it comes, and ends with lines or a fault whatever comes.
fn from_source(input: &[u8], most: usize) {
    let mut source = LineSource::new("log", Slow { rest: input, most });
    let mut found = Vec::new();
    let outcome = loop {
        match source.next_line() {
            Ok(Some(SourceLine::Line { offset, bytes, .. })) => found.push((offset, bytes.to_vec())),
            Ok(Some(SourceLine::TooLong { .. })) => {}
            Ok(None) => break Ok(()),
            Err(fault) => break Err(fault),
        }
    };
    let text = input.strip_prefix(BYTE_ORDER_MARK).unwrap_or(input);
    if matches!(text.first(), None | Some(b'{' | b' ' | b'\n')) {
        assert!(outcome.is_ok(), "plain text is read: {outcome:?}");
        let skipped = (input.len() - text.len()) as u64;
        let mut expected: Vec<(u64, Vec<u8>)> = lines(text, skipped).map(|(at, line)| (at, line.to_vec())).collect();
        // After the last line feed there is no line.
        expected.pop_if(|(_, line)| line.is_empty());
        assert_eq!(found, expected);
    }
}

/// What was delivered, in the model's words.
fn words(text: &[u8], deliveries: Vec<Delivery>) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for (offset, line) in lines(text, 0) {
        match read_line(line) {
            Line::Dead(reason) => drop(words.insert(format!("{offset} {}", reason.code()))),
            Line::Status(StatusLine { host, second, version }) => {
                let noted = second.zip(version).map(|(second, version)| format!("{second} {}", version.escape_ascii()));
                words.insert(format!("{offset} status {} {noted:?}", host.escape_ascii()));
            }
            Line::Result(_) | Line::Blank => {}
        }
    }
    let mut wholes: BTreeMap<String, Inferred> = BTreeMap::new();
    for delivery in deliveries.iter().filter(|delivery| delivery.stream.kind != Kind::Note) {
        let content = [content(&delivery.removed), content(&delivery.added)].join(&b',');
        let content = [b"[", &content[..], b"]"].concat();
        let key = &delivery.stream;
        let [host, name, table, content] =
            [&key.host[..], &key.name, &key.table, &content].map(|text| text.escape_ascii());
        let Delivery { epoch, counter, second, whole, inferred, .. } = delivery;
        let kind = key.kind.word();
        let said =
            format!("{host} {name} {kind} {table} {} {epoch} {counter:?} {second} {whole} {content}", key.sightings);
        if *whole {
            let least = wholes.entry(said).or_insert(*inferred);
            *least = (*least).min(*inferred);
        } else {
            words.insert(format!("{said} {inferred:?}"));
        }
    }
    words.extend(wholes.into_iter().map(|(said, inferred)| format!("{said} {inferred:?}")));
    words
}

/// Rows as JSON, in order, each as often as it is there.
fn content(rows: &[(Row, u64)]) -> Vec<u8> {
    let mut texts = Vec::new();
    for (row, count) in rows {
        let mut text = Vec::new();
        row.content_json(&mut text);
        texts.extend(std::iter::repeat_n(text, *count as usize));
    }
    texts.sort();
    [b"[".as_slice(), &texts.join(&b','), b"]"].concat()
}

/// Both say the same, but for which fault of a line counts that is no JSON and too deep.
fn compare(found: BTreeSet<String>, mut expected: BTreeSet<String>) {
    for line in found.iter().filter(|line| line.ends_with(" not-json")) {
        if expected.remove(&line.replace(" not-json", " too-deep")) {
            expected.insert(line.clone());
        }
    }
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    assert!(found == expected, "found {:#?}, expected {:#?}", only(&found, &expected), only(&expected, &found));
}
