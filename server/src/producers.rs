//! Producers that are being served: each by one connection at a time.
//!
//! Invariants:
//! - A producer has one owner; another process that asks is refused while the owner is connected.
//! - Batches of a producer are taken in the order in which its connection sent them.
//! - After an error a producer is taken up again from what is durable, before it may go on.
//! - What is held back of a source of which nothing comes is handed on after a while, connected or not.

use crate::answering::failure;
use erstwhile_engine::fact::{Delivery, Kind, Micros, StreamKey};
use erstwhile_engine::ingest::producer::{Accepted, Chunk, Producer, Sent};
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::store::Store;
use erstwhile_wire::failure::{Code, Failure};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who serves a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    instance: u128,
    connection: u64,
}

/// A producer with its owner, if it has one.
#[derive(Default)]
pub struct Slot {
    owner: Mutex<Option<Owner>>,
    producer: Mutex<Option<Producer>>,
    /// When the last batch came, or the producer was opened.
    heard_nanos: AtomicU64,
    /// How old the newest of the looks was that were in last, in seconds.
    lag_seconds: AtomicU64,
}

/// How far producers that are connected are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// How many are connected.
    pub connected: usize,
    /// How old the newest look of the last batch was when it was in, at most.
    pub lag_seconds_max: u64,
    /// How long ago the last batch came, at most.
    pub silence_seconds_max: u64,
}

/// All producers that are being served.
#[derive(Default)]
pub struct Producers {
    slots: Mutex<HashMap<u128, Arc<Slot>>>,
}

/// A batch that was sent.
pub enum Content<'c> {
    /// Raw lines.
    Lines(&'c [Chunk<'c>]),
    /// Looks.
    Looks(Vec<Delivery>),
}

impl Producers {
    /// Makes a connection the owner of a producer, and tells the greatest sequence that is in.
    pub fn open(
        &self,
        store: &Store,
        number: u128,
        owner: (u128, u64),
        (first, last): (u64, u64),
        now_nanos: u64,
    ) -> Result<(Arc<Slot>, u64), Failure> {
        let slot = self.slots.lock().entry(number).or_default().clone();
        let (instance, connection) = owner;
        {
            let mut owner = slot.owner.lock();
            if owner.is_some_and(|owner| owner.instance != instance) {
                let text = "another process appends as this producer; give each process a state of its own, or stop \
                            the other one";
                return Err(Failure::passing(Code::ProducerBusy, text, 5000));
            }
            *owner = Some(Owner { instance, connection });
        }
        slot.heard_nanos.store(now_nanos, Ordering::Relaxed);
        let found = slot.with(store, number, now_nanos, |producer| Ok(producer.last()))?;
        let refused = if found > last {
            format!(
                "batch {found} of this producer is in, and the client says that it sent none after {last}: its state was \
                 copied or put back; give it a new state"
            )
        } else if found.saturating_add(1) < first {
            format!(
                "the client holds all batches before {first} for stored, and only {found} are in: this is another store, \
                 or one that was put back; give the client a new state, and it sends all that it still has"
            )
        } else {
            return Ok((slot, found));
        };
        slot.leave(connection);
        Err(Failure::new(Code::Sequence, refused))
    }

    /// Hands on what is held of sources of which nothing came for so long, and forgets producers of whom nothing is left.
    /// `noted` is told what was handed on.
    pub fn idle(
        &self,
        store: &Store,
        now_nanos: u64,
        after_nanos: u64,
        noted: &mut dyn FnMut(&Accepted),
    ) -> Result<(), Failure> {
        let slots: Vec<(u128, Arc<Slot>)> =
            self.slots.lock().iter().map(|(number, slot)| (*number, slot.clone())).collect();
        for (number, slot) in slots {
            // One that is at work is not idle.
            let Some(mut producer) = slot.producer.try_lock() else { continue };
            if let Some(idle) = &mut *producer {
                if idle.idle_at_nanos(after_nanos).is_some_and(|at| at <= now_nanos) {
                    match idle.idle(store, now_nanos, after_nanos) {
                        Ok(accepted) => {
                            slot.note_lag(&accepted);
                            noted(&accepted);
                        }
                        Err(error) => {
                            *producer = None;
                            return Err(failure(&error));
                        }
                    }
                }
                if idle.idle_at_nanos(after_nanos).is_some() {
                    continue;
                }
            }
            let mut slots = self.slots.lock();
            // Nobody has it but the list and this loop, so nobody will own it.
            if slot.owner.lock().is_none() && Arc::strong_count(&slot) == 2 {
                slots.remove(&number);
            }
        }
        Ok(())
    }

    /// How far those that are connected are behind.
    pub fn behind(&self, now_nanos: u64) -> Behind {
        let mut behind = Behind::default();
        for slot in self.slots.lock().values().filter(|slot| slot.owner.lock().is_some()) {
            let silence = now_nanos.saturating_sub(slot.heard_nanos.load(Ordering::Relaxed)) / 1_000_000_000;
            behind.connected += 1;
            behind.lag_seconds_max = behind.lag_seconds_max.max(slot.lag_seconds.load(Ordering::Relaxed));
            behind.silence_seconds_max = behind.silence_seconds_max.max(silence);
        }
        behind
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.slots.lock().len()
    }
}

impl Slot {
    /// Works with the producer, which is taken up if it must be.
    fn with<T>(
        &self,
        store: &Store,
        number: u128,
        now_nanos: u64,
        work: impl FnOnce(&mut Producer) -> Result<T, erstwhile_engine::error::Error>,
    ) -> Result<T, Failure> {
        let mut slot = self.producer.lock();
        let mut producer = match slot.take() {
            Some(producer) => producer,
            None => Producer::open(store, number, now_nanos).map_err(|error| failure(&error))?,
        };
        let worked = work(&mut producer).map_err(|error| failure(&error));
        // A sequence that does not fit was refused before anything was done.
        if worked.as_ref().map_or_else(|failure| failure.code() == Some(Code::Sequence), |_| true) {
            *slot = Some(producer);
        }
        worked
    }

    /// Gives a batch its place.
    pub fn place(
        &self,
        store: &Store,
        number: u128,
        connection: u64,
        (sequence, digest): (u64, u64),
        content: Content<'_>,
        now_nanos: u64,
    ) -> Result<Sent, Failure> {
        if self.owner.lock().is_none_or(|owner| owner.connection != connection) {
            let text = "this connection appends as no producer of this number any more; open it again";
            return Err(Failure::new(Code::ProducerBusy, text));
        }
        self.heard_nanos.store(now_nanos, Ordering::Relaxed);
        self.with(store, number, now_nanos, |producer| match content {
            Content::Lines(chunks) => producer.lines(store, sequence, digest, chunks, now_nanos),
            Content::Looks(looks) => producer.looks(store, sequence, digest, mapped(store, looks)?),
        })
    }

    /// Waits for a batch; if that fails, the producer is taken up again next time.
    pub fn wait(&self, store: &Store, sent: Sent) -> Result<Accepted, Failure> {
        let accepted = sent.wait(store).map_err(|error| {
            *self.producer.lock() = None;
            failure(&error)
        })?;
        self.note_lag(&accepted);
        Ok(accepted)
    }

    /// Notes how old the newest of the looks was that are in now.
    fn note_lag(&self, accepted: &Accepted) {
        if let (Some(recorded), Some(newest)) = (accepted.recorded, accepted.looks.iter().max()) {
            let lag = u64::try_from(recorded.div_euclid(1_000_000) - newest).unwrap_or(0);
            self.lag_seconds.store(lag, Ordering::Relaxed);
        }
    }

    /// The connection is gone.
    pub fn leave(&self, connection: u64) {
        let mut owner = self.owner.lock();
        if owner.is_some_and(|owner| owner.connection == connection) {
            *owner = None;
        }
    }
}

/// Looks with the tables that the store maps their names to, where they name none.
fn mapped(store: &Store, looks: Vec<Delivery>) -> Result<Vec<Delivery>, erstwhile_engine::error::Error> {
    if looks.iter().all(|look| !look.stream.table.is_empty()) {
        return Ok(looks);
    }
    let settings = store.view().settings(Micros::MAX, &mut Cost::default())?;
    let map = |mut look: Delivery| {
        if look.stream.table.is_empty() {
            let mapping = settings.mapping(&look.stream.name);
            let key = &look.stream;
            let sightings = !mapping.removed && key.kind == Kind::Diff;
            let (host, name, kind) = (key.host.clone(), key.name.clone(), key.kind);
            look.stream = Arc::new(StreamKey { table: mapping.table, host, name, kind, sightings });
        }
        look
    };
    Ok(looks.into_iter().map(map).collect())
}
