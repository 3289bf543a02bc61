//! What a producer sends goes into the store exactly once, however often it is sent and whatever is restarted meanwhile.
//!
//! A producer numbers its batches. Its lines come from sources, each an input of its own: the lines of one look are held
//! back until the source has moved past its second, as [`super::hold`] does for a file. What is held must not be lost once
//! the batch that brought it is acknowledged, so it goes into the store beside the batch, as a note that no question
//! sees: whoever takes the producer up again holds it again.
//!
//! Invariants:
//! - A batch, what is held after it and its number become durable in one commit.
//! - A number that is in is acknowledged again and changes nothing; one that skips a number is refused.
//! - What is handed on depends on what was sent alone, and not on restarts: a producer that was taken up again is what it was.
//!
//! One value serves a producer at a time; who keeps it sees to that.

use super::hold::{HELD_BYTES_MAX, Hold};
use super::kept;
use super::parse::{Item, Parsed, Parser};
use super::spill::Spill;
use crate::error::{Error, Fault, Misuse, Structure};
use crate::fact::{Batch, Delivery, Micros, Name, Second};
use crate::note;
use crate::read::answer::Cost;
use crate::read::told::Settings;
use crate::store::{Placed, Store};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of lines that are parsed at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Whole lines of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'c> {
    /// The source's name.
    pub source: &'c [u8],
    /// Where they begin in it.
    pub offset: u64,
    /// The lines, each with its line feed; the last one may lack it.
    pub lines: &'c [u8],
}

/// What became of a producer's batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub sequence: u64,
    /// Whether it was in already.
    pub again: bool,
    /// The commit's recorded time; `None` if it was in already, or if only known things were said.
    pub recorded: Option<Micros>,
    /// Lines that are not blank.
    pub lines: u64,
    /// Rows of these lines.
    pub rows: u64,
    /// Those that cannot be read.
    pub dead_letters: u64,
    /// The observed seconds of looks that became durable and visible with it and said something new, in no order. What it
    /// brought may be held back, and others that were are then among them.
    pub looks: Vec<Second>,
}

/// A batch that has its place and is not yet durable.
#[must_use = "a batch is in only once `Sent::wait` has said so"]
pub struct Sent {
    accepted: Accepted,
    placed: Option<Placed>,
}

/// One input of a producer.
struct Source {
    hold: Hold,
    /// Hosts of which a note says that something is held.
    noted: FxHashSet<Name>,
    /// Since when nothing came, if what is held was not handed on since.
    waits_since_nanos: Option<u64>,
}

/// A producer that is being served.
pub struct Producer {
    number: u128,
    last: u64,
    digest: u64,
    sources: BTreeMap<Name, Source>,
    settings: Arc<Settings>,
    parser: Parser,
    parsed: Parsed,
}

impl Producer {
    /// Takes a producer up where it was left.
    pub fn open(store: &Store, number: u128, now_nanos: u64) -> Result<Producer, Error> {
        let (view, mut cost) = (store.view(), Cost::default());
        let (last, digest) = view.last_batch(number, &mut cost)?.unwrap_or_default();
        let settings = view.settings(Micros::MAX, &mut cost)?;
        let parser = Parser::new(settings.catalogue.clone(), settings.map.clone());
        let (sources, parsed) = (BTreeMap::new(), Parsed::default());
        let mut producer = Producer { number, last, digest, sources, settings, parser, parsed };
        for (source, looks) in view.held_of(number, &mut cost)? {
            let corrupt = |fault: Fault| fault.at("the notes of a producer", 0, Structure::Batch);
            let deliveries = kept::decode(&looks).map_err(|fault| corrupt(fault.into()))?;
            let source = producer.source(store, &source);
            source.waits_since_nanos = Some(now_nanos);
            source.noted.extend(deliveries.first().map(|delivery| delivery.stream.host.clone()));
            source.hold.hold_again(deliveries);
        }
        Ok(producer)
    }

    /// The greatest sequence that is in; 0 if none is.
    pub fn last(&self) -> u64 {
        self.last
    }

    fn source(&mut self, store: &Store, name: &Name) -> &mut Source {
        let Settings { catalogue, map, .. } = &*self.settings;
        self.sources.entry(name.clone()).or_insert_with(|| Source {
            hold: Hold::new(catalogue.clone(), map.clone(), Spill::new(store.storage()), HELD_BYTES_MAX),
            noted: FxHashSet::default(),
            waits_since_nanos: None,
        })
    }

    /// Whether a batch is in already; refuses one that does not fit what is in.
    fn is_in(&self, sequence: u64, digest: u64) -> Result<bool, Error> {
        let differs = sequence == self.last && ![0, self.digest].contains(&digest) && self.digest != 0;
        if sequence == 0 || sequence > self.last + 1 || differs {
            return Err(Misuse::Sequence { sent: sequence, last: self.last, differs }.into());
        }
        Ok(sequence <= self.last)
    }

    /// Meanings of names that were told since.
    fn take_settings(&mut self, store: &Store) -> Result<(), Error> {
        let settings = store.view().settings(Micros::MAX, &mut Cost::default())?;
        if !Arc::ptr_eq(&settings, &self.settings) {
            let is_same = settings.map.text() == self.settings.map.text()
                && Arc::ptr_eq(&settings.catalogue, &self.settings.catalogue);
            if !is_same {
                self.parser = Parser::new(settings.catalogue.clone(), settings.map.clone());
            }
            self.settings = settings;
        }
        Ok(())
    }

    /// Gives a batch of lines its place in the store; the next may follow before it is durable.
    ///
    /// After an error the producer must be opened again.
    pub fn lines(
        &mut self,
        store: &Store,
        sequence: u64,
        digest: u64,
        chunks: &[Chunk<'_>],
        now_nanos: u64,
    ) -> Result<Sent, Error> {
        let mut accepted = Accepted { sequence, ..Accepted::default() };
        if self.is_in(sequence, digest)? {
            accepted.again = true;
            return Ok(Sent { accepted, placed: None });
        }
        self.take_settings(store)?;
        let mut deliveries = Vec::new();
        for chunk in chunks {
            self.chunk(store, sequence, chunk, now_nanos, &mut accepted, &mut deliveries)?;
        }
        self.place(store, accepted, digest, deliveries)
    }

    /// Gives a batch of looks its place in the store.
    pub fn looks(&mut self, store: &Store, sequence: u64, digest: u64, looks: Vec<Delivery>) -> Result<Sent, Error> {
        let accepted = Accepted { sequence, ..Accepted::default() };
        if self.is_in(sequence, digest)? {
            return Ok(Sent { accepted: Accepted { again: true, ..accepted }, placed: None });
        }
        self.place(store, accepted, digest, looks)
    }

    fn place(
        &mut self,
        store: &Store,
        accepted: Accepted,
        digest: u64,
        deliveries: Vec<Delivery>,
    ) -> Result<Sent, Error> {
        let sequence = accepted.sequence;
        let placed = store.place(Batch { producer: self.number, sequence, digest, deliveries }, None)?;
        (self.last, self.digest) = (sequence, digest);
        Ok(Sent { accepted, placed: Some(placed) })
    }

    /// Takes the lines of a chunk in; adds what is handed on and what is held now.
    fn chunk(
        &mut self,
        store: &Store,
        sequence: u64,
        chunk: &Chunk<'_>,
        now_nanos: u64,
        accepted: &mut Accepted,
        out: &mut Vec<Delivery>,
    ) -> Result<(), Error> {
        let name = Name::from(chunk.source);
        self.source(store, &name).waits_since_nanos = Some(now_nanos);
        let mut parsed = std::mem::take(&mut self.parsed);
        let mut touched = FxHashSet::default();
        let (mut rest, mut offset) = (chunk.lines, chunk.offset);
        while !rest.is_empty() {
            let end = block_end(rest);
            parsed.clear();
            self.parser.block(&rest[..end], offset, &mut parsed);
            (rest, offset) = (&rest[end..], offset + end as u64);
            accepted.lines += parsed.lines;
            let hold = &mut self.source(store, &name).hold;
            let rows = hold.counts.rows;
            hold.begin(&parsed);
            let mut row = 0;
            for item in &parsed.items {
                match item {
                    Item::Rows { said, .. } | Item::Whole { said, .. } => {
                        hold.take(&parsed, item, &mut row, out)?;
                        let host = &parsed.said[*said as usize].host;
                        if !touched.contains(host) {
                            touched.insert(host.clone());
                        }
                    }
                    Item::Status { host, second, version } => hold.status(host, *second, version.as_deref(), out),
                    Item::Dead { offset, reason, head, length } => {
                        accepted.dead_letters += 1;
                        out.push(note::of_dead(chunk.source, *offset, reason.code(), head, *length));
                    }
                }
            }
            accepted.rows += hold.counts.rows - rows;
        }
        self.parsed = parsed;
        let number = self.number;
        let source = self.source(store, &name);
        let mut looks = Vec::new();
        for host in touched {
            looks.clear();
            source.hold.keep(&host, &mut looks)?;
            if !looks.is_empty() {
                if !source.noted.contains(&host) {
                    source.noted.insert(host.clone());
                }
            } else if !source.noted.remove(&host) {
                continue;
            }
            out.push(note::of_held(number, sequence, chunk.source, &host, &looks));
        }
        Ok(())
    }

    /// Hands on what is held of sources of which nothing came for so long; tells what that was.
    pub fn idle(&mut self, store: &Store, now_nanos: u64, after_nanos: u64) -> Result<Accepted, Error> {
        let mut accepted = Accepted { sequence: self.last, ..Accepted::default() };
        let mut deliveries = Vec::new();
        for source in self.sources.values_mut() {
            if source.waits_since_nanos.is_some_and(|since| now_nanos.saturating_sub(since) >= after_nanos) {
                source.waits_since_nanos = None;
                source.hold.idle(&mut deliveries)?;
            }
        }
        if !deliveries.is_empty() {
            let placed = store.place(Batch { deliveries, ..Batch::default() }, None)?;
            accepted.recorded = wait_for(store, placed, &mut accepted.looks)?;
        }
        Ok(accepted)
    }

    /// When something that is held will have waited for so long; `None` if nothing waits.
    pub fn idle_at_nanos(&self, after_nanos: u64) -> Option<u64> {
        self.sources.values().filter_map(|source| source.waits_since_nanos).min().map(|since| since + after_nanos)
    }
}

impl Sent {
    /// Returns once the batch is durable and visible.
    pub fn wait(self, store: &Store) -> Result<Accepted, Error> {
        let Sent { mut accepted, placed } = self;
        if let Some(placed) = placed {
            accepted.recorded = wait_for(store, placed, &mut accepted.looks)?;
        }
        Ok(accepted)
    }
}

/// Waits for what has its place; tells its recorded time, and adds the seconds of its looks.
fn wait_for(store: &Store, mut placed: Placed, looks: &mut Vec<Second>) -> Result<Option<Micros>, Error> {
    looks.append(&mut placed.seconds);
    Ok(store.wait(placed)?.recorded)
}

/// Where the first block of some lines ends: after a line feed, if there is one.
fn block_end(lines: &[u8]) -> usize {
    if lines.len() <= BLOCK_BYTES {
        return lines.len();
    }
    if let Some(last) = memchr::memrchr(b'\n', &lines[..BLOCK_BYTES]) {
        return last + 1;
    }
    memchr::memchr(b'\n', &lines[BLOCK_BYTES..]).map_or(lines.len(), |at| BLOCK_BYTES + at + 1)
}
