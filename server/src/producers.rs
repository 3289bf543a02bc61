//! Producers that are being served: each by one connection at a time.
//!
//! Invariants:
//! - A producer has one owner; another process that asks is refused while the owner is connected.
//! - Batches of a producer are taken in the order in which its connection sent them.
//! - Nobody is told that a batch is in before it is durable: not by the answer to it, not by the answer to the same batch
//!   sent again, and not by what a producer learns when it is opened. A store that takes no more appends acknowledges nothing.
//! - After an error a producer is taken up again from the store before it may go on.
//! - What is held back of a source of which nothing comes is handed on after a while, connected or not, whoever held it back:
//!   this server, or one before it.

use crate::answering::failure;
use erstwhile_engine::error::Error;
use erstwhile_engine::fact::{Batch, Delivery, Kind, Micros, StreamKey};
use erstwhile_engine::ingest::producer::{Accepted, Chunk, Producer, Sent};
use erstwhile_engine::note;
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::store::Store;
use erstwhile_wire::failure::{Code, Failure};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A store that takes no more appends takes them again once somebody has mended the cause and started the server anew: who
/// has batches keeps them, and asks again after so long.
const MENDED_MILLIS: u64 = 5000;

/// Producers of which a server before held something back are taken up so many at a time.
const LEFT_AT_ONCE: usize = 256;

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
    /// Where there is no producer: since when. It is taken up for what it holds as if that had come then.
    left_nanos: AtomicU64,
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
    left: Mutex<Left>,
}

/// Producers of which a server before may have held something back.
#[derive(Default)]
struct Left {
    numbers: Vec<u128>,
    /// Nothing came of them since.
    since_nanos: u64,
}

/// A producer whose owner is a connection now.
#[must_use = "what is in is known only once `Opened::wait` has said so"]
pub struct Opened {
    slot: Arc<Slot>,
    connection: u64,
    /// The greatest sequence that has its place.
    last: u64,
}

/// A batch that was sent.
pub enum Content<'c> {
    /// Raw lines.
    Lines(&'c [Chunk<'c>]),
    /// Looks.
    Looks(Vec<Delivery>),
}

impl Producers {
    /// Makes a connection the owner of a producer; what is in is told once it is waited for.
    pub fn open(
        &self,
        store: &Store,
        number: u128,
        owner: (u128, u64),
        (first, last): (u64, u64),
        now_nanos: u64,
    ) -> Result<Opened, Failure> {
        store.takes_appends().map_err(|error| not_taken(&error))?;
        let slot = self.slot(number, now_nanos);
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
        let found = slot.with(store, number, now_nanos, |producer| Ok(producer.last())).inspect_err(|_| {
            // Nobody else would: no connection has it.
            slot.leave(connection);
        })?;
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
            return Ok(Opened { slot, connection, last: found });
        };
        slot.leave(connection);
        Err(Failure::new(Code::Sequence, refused))
    }

    fn slot(&self, number: u128, now_nanos: u64) -> Arc<Slot> {
        let new = || Arc::new(Slot { left_nanos: AtomicU64::new(now_nanos), ..Slot::default() });
        self.slots.lock().entry(number).or_insert_with(new).clone()
    }

    /// Looks up of which producers something may be held back that came to a server before this one; it is handed on as if it
    /// had come now.
    pub fn take_up(&self, store: &Store, now_nanos: u64) -> Result<(), Failure> {
        let mut numbers = BTreeSet::new();
        // What a server before left is in segments since the store was opened; all that came since is of a producer that has
        // a slot.
        for segment in store.view().segments() {
            let Some(reader) = segment.table(note::HELD).map_err(|error| failure(&error))? else { continue };
            let of_producers = reader.directory.records().filter(|stream| stream.kind == Kind::Note);
            let mut before = None;
            for stream in of_producers.filter(|stream| before.replace(stream.host) != Some(stream.host)) {
                let host = std::str::from_utf8(reader.directory.host(&stream)).ok();
                numbers.extend(host.and_then(|host| u128::from_str_radix(host, 16).ok()));
            }
        }
        *self.left.lock() = Left { numbers: numbers.into_iter().collect(), since_nanos: now_nanos };
        Ok(())
    }

    /// Gives slots to some of those that were left and have waited for so long.
    fn take_up_some(&self, now_nanos: u64, after_nanos: u64) {
        let mut left = self.left.lock();
        let Left { numbers, since_nanos } = &mut *left;
        if now_nanos.saturating_sub(*since_nanos) < after_nanos {
            return;
        }
        for number in numbers.drain(numbers.len().saturating_sub(LEFT_AT_ONCE)..) {
            // One that is being served has been taken up.
            let _ = self.slot(number, *since_nanos);
        }
    }

    /// Hands on what is held of sources of which nothing came for so long, and forgets producers of whom nothing is left.
    /// `noted` is told what was handed on. Of a store that takes no more appends everything stays as it is.
    pub fn idle(
        &self,
        store: &Store,
        now_nanos: u64,
        after_nanos: u64,
        noted: &mut dyn FnMut(&Accepted),
    ) -> Result<(), Failure> {
        if store.takes_appends().is_err() {
            return Ok(());
        }
        self.take_up_some(now_nanos, after_nanos);
        let slots: Vec<(u128, Arc<Slot>)> =
            self.slots.lock().iter().map(|(number, slot)| (*number, slot.clone())).collect();
        for (number, slot) in slots {
            // One that is at work is not idle.
            let Some(mut producer) = slot.producer.try_lock() else { continue };
            if producer.is_none() {
                let left_nanos = slot.left_nanos.load(Ordering::Relaxed);
                if now_nanos.saturating_sub(left_nanos) < after_nanos {
                    continue;
                }
                let opened = Producer::open(store, number, left_nanos);
                *producer = Some(opened.map_err(|error| {
                    slot.left_nanos.store(now_nanos, Ordering::Relaxed);
                    failure(&error)
                })?);
            }
            if let Some(idle) = &mut *producer {
                if idle.idle_at_nanos(after_nanos).is_some_and(|at| at <= now_nanos) {
                    match idle.idle(store, now_nanos, after_nanos) {
                        Ok(accepted) => {
                            slot.note_lag(&accepted);
                            noted(&accepted);
                        }
                        Err(error) => {
                            *producer = None;
                            slot.left_nanos.store(now_nanos, Ordering::Relaxed);
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

impl Opened {
    /// Whose it is.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Returns the greatest sequence that is in once all up to it are durable.
    pub fn wait(self, store: &Store) -> Result<u64, Failure> {
        settle(store).map_err(|error| {
            self.slot.leave(self.connection);
            not_taken(&error)
        })?;
        Ok(self.last)
    }
}

/// Returns once all that has its place is durable; fails if something of it may never be.
fn settle(store: &Store) -> Result<(), Error> {
    // A batch without news waits for all that makes it known.
    store.append(Batch::default(), None).map(drop)
}

/// What a producer is told when something that it sent, or asked for, is not taken.
fn not_taken(error: &Error) -> Failure {
    let failure = failure(error);
    match failure.code() {
        Some(code @ Code::Failed) => Failure::passing(code, failure.message, MENDED_MILLIS),
        _ => failure,
    }
}

impl Slot {
    /// Works with the producer, which is taken up if it must be.
    fn with<T>(
        &self,
        store: &Store,
        number: u128,
        now_nanos: u64,
        work: impl FnOnce(&mut Producer) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let mut slot = self.producer.lock();
        let mut producer = match slot.take() {
            Some(producer) => producer,
            None => Producer::open(store, number, now_nanos).map_err(|error| not_taken(&error))?,
        };
        let worked = work(&mut producer).map_err(|error| not_taken(&error));
        // A sequence that does not fit was refused before anything was done.
        if worked.as_ref().map_or_else(|failure| failure.code() == Some(Code::Sequence), |_| true) {
            *slot = Some(producer);
        } else {
            self.left_nanos.store(now_nanos, Ordering::Relaxed);
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

    /// Waits for a batch; if that fails, the producer is taken up again next time. One that was in already may still be on
    /// its way to the disk, or never come there.
    pub fn wait(&self, store: &Store, sent: Sent) -> Result<Accepted, Failure> {
        let waited = sent.wait(store).and_then(|accepted| {
            if accepted.again {
                settle(store)?;
            }
            Ok(accepted)
        });
        let accepted = waited.map_err(|error| {
            *self.producer.lock() = None;
            not_taken(&error)
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
fn mapped(store: &Store, looks: Vec<Delivery>) -> Result<Vec<Delivery>, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use erstwhile_engine::fact::Name;
    use erstwhile_engine::io::{AfterCrash, FaultyStorage, ManualClock, MemoryStorage, Plan, Storage};
    use erstwhile_engine::options::Options;
    use erstwhile_engine::read::question::HistoryQuestion;

    const NUMBER: u128 = 7;
    const SECOND: u64 = 1_000_000_000;

    fn open(storage: Arc<dyn Storage>) -> Store {
        let options = Options { background: false, ..Options::default() };
        Store::open(storage, Arc::new(ManualClock::new(1_000_000_000)), options, "a test").unwrap()
    }

    /// Sends a row of a look that may have more: it is held back.
    fn send(slot: &Slot, store: &Store, connection: u64, sequence: u64) -> Result<Sent, Failure> {
        let line = format!(
            "{{\"name\":\"users\",\"hostIdentifier\":\"a\",\"unixTime\":1500000000,\"epoch\":0,\"counter\":0,\
             \"numerics\":false,\"columns\":{{\"uid\":\"{sequence}\"}},\"action\":\"added\"}}\n"
        );
        let chunk = Chunk { source: b"log", offset: sequence * 1000, lines: line.as_bytes() };
        slot.place(store, NUMBER, connection, (sequence, sequence), Content::Lines(&[chunk]), 0)
    }

    /// How many rows questions see.
    fn rows(store: &Store) -> usize {
        let table = Name::from(&b"users"[..]);
        let (host, stream, wheres, from, to, known_at) = (None, None, Vec::new(), None, None, None);
        let question = HistoryQuestion { table, host, stream, wheres, from, to, known_at };
        store.view().history(&question).unwrap().rows.len()
    }

    /// Of a batch that has its place when the disk turns out to be full its sender learns nothing but that, whatever it asks
    /// first; and once there is room it is told what is in.
    #[test]
    fn nobody_is_told_that_a_batch_is_in_that_a_full_disk_did_not_take() {
        for first in 0..3 {
            let storage = FaultyStorage::new(Plan::default());
            let (store, producers) = (open(Arc::new(storage.clone())), Producers::default());
            let opened = producers.open(&store, NUMBER, (1, 1), (1, 0), 0).unwrap();
            let slot = opened.slot().clone();
            assert_eq!(opened.wait(&store), Ok(0));
            let sent = send(&slot, &store, 1, 1).unwrap();
            assert!(!slot.wait(&store, sent).unwrap().again);
            let again = send(&slot, &store, 1, 1).unwrap();
            assert!(slot.wait(&store, again).unwrap().again);

            storage.set_plan(Plan { full_at: Some(0), ..Plan::default() });
            let sent = send(&slot, &store, 1, 2).unwrap();
            let again = send(&slot, &store, 1, 2).unwrap();
            // The same process comes back on another connection.
            let opened = producers.open(&store, NUMBER, (1, 2), (2, 2), 0).unwrap();
            let mut asked: [Box<dyn FnOnce() -> Option<Failure>>; 3] = [
                Box::new(|| opened.wait(&store).err()),
                Box::new(|| slot.wait(&store, again).err()),
                Box::new(|| slot.wait(&store, sent).err()),
            ];
            asked.rotate_left(first);
            let mut told: Vec<Option<Failure>> = asked.into_iter().map(|ask| ask()).collect();
            told.push(producers.open(&store, NUMBER, (1, 3), (2, 2), 0).err());
            for failure in told {
                let failure = failure.expect("it is not in");
                assert_eq!(failure.code(), Some(Code::Failed), "{failure:?}");
                assert!(failure.retry_millis > 0, "it is tried again: {failure:?}");
            }
            assert_eq!(producers.idle(&store, 100 * SECOND, SECOND, &mut |_| ()), Ok(()), "nothing can be handed on");

            drop(store);
            let store = open(Arc::new(storage.after_crash(AfterCrash::PROCESS_DIED)));
            let producers = Producers::default();
            let opened = producers.open(&store, NUMBER, (1, 1), (2, 2), 0).unwrap();
            let slot = opened.slot().clone();
            assert_eq!(opened.wait(&store), Ok(1));
            let sent = send(&slot, &store, 1, 2).unwrap();
            assert!(!slot.wait(&store, sent).unwrap().again);
            producers.idle(&store, 100 * SECOND, SECOND, &mut |_| ()).unwrap();
            assert_eq!(rows(&store), 2, "of the first batch and of the second");
        }
    }

    #[test]
    fn whoever_is_refused_by_the_store_leaves_the_producer_free() {
        let storage = FaultyStorage::new(Plan::default());
        let (store, producers) = (open(Arc::new(storage.clone())), Producers::default());
        let opened = producers.open(&store, NUMBER, (1, 1), (1, 0), 0).unwrap();
        let sent = send(opened.slot(), &store, 1, 1).unwrap();
        storage.set_plan(Plan { full_at: Some(0), ..Plan::default() });
        let slot = opened.slot().clone();
        assert!(opened.wait(&store).is_err() && slot.wait(&store, sent).is_err());
        let told = producers.open(&store, NUMBER, (2, 2), (1, 0), 0).err();
        assert_eq!(told.and_then(|failure| failure.code()), Some(Code::Failed), "and not that another process appends");
        assert_eq!(*slot.owner.lock(), None);
    }

    #[test]
    fn what_a_server_before_held_back_is_handed_on_whether_its_producer_comes_back_or_not() {
        for comes_back in [false, true] {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            let (store, producers) = (open(storage.clone()), Producers::default());
            let opened = producers.open(&store, NUMBER, (1, 1), (1, 0), 0).unwrap();
            let slot = opened.slot().clone();
            assert_eq!(opened.wait(&store), Ok(0));
            let sent = send(&slot, &store, 1, 1).unwrap();
            slot.wait(&store, sent).unwrap();
            assert_eq!(rows(&store), 0, "more of the look may come");
            drop(store);

            let (store, producers) = (open(storage.clone()), Producers::default());
            producers.take_up(&store, SECOND).unwrap();
            if comes_back {
                let opened = producers.open(&store, NUMBER, (2, 1), (2, 1), 6 * SECOND).unwrap();
                assert_eq!(opened.wait(&store), Ok(1));
            }
            let idle = |store: &Store, producers: &Producers, second: u64| {
                let mut looks = 0;
                let noted = &mut |accepted: &Accepted| looks += accepted.looks.len();
                producers.idle(store, second * SECOND, 10 * SECOND, noted).unwrap();
                (looks, rows(store))
            };
            assert_eq!(idle(&store, &producers, 10), (0, 0));
            assert_eq!(idle(&store, &producers, 11), if comes_back { (0, 0) } else { (1, 1) });
            assert_eq!(idle(&store, &producers, 16).1, 1);
            assert_eq!(producers.count(), usize::from(comes_back), "who is not connected is forgotten");
            let last = store.last_recorded();
            drop(store);

            // It stays held, and whoever takes it up again has nothing to add.
            let (store, producers) = (open(storage.clone()), Producers::default());
            producers.take_up(&store, 0).unwrap();
            assert_eq!(idle(&store, &producers, 10).1, 1);
            assert_eq!((producers.count(), store.last_recorded()), (0, last));
        }
    }

    /// What is held of a producer that was given up after an error is handed on too.
    #[test]
    fn what_was_held_before_an_error_is_handed_on() {
        let (store, producers) = (open(Arc::new(MemoryStorage::new())), Producers::default());
        let opened = producers.open(&store, NUMBER, (1, 1), (1, 0), 0).unwrap();
        let slot = opened.slot().clone();
        assert_eq!(opened.wait(&store), Ok(0));
        let sent = send(&slot, &store, 1, 1).unwrap();
        slot.wait(&store, sent).unwrap();
        let failed =
            slot.with(&store, NUMBER, SECOND, |_| Err::<(), Error>(erstwhile_engine::error::Misuse::NoStore.into()));
        assert!(failed.is_err() && slot.producer.lock().is_none());
        let idle = |second: u64| producers.idle(&store, second * SECOND, 10 * SECOND, &mut |_| ()).unwrap();
        idle(10);
        assert_eq!(rows(&store), 0);
        idle(11);
        assert_eq!(rows(&store), 1);
    }
}
