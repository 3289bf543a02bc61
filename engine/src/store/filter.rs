//! What of a batch is news.
//!
//! Invariants:
//! - What is left out is implied by what is stored, for every question and every `known_at` from this commit on.
//! - What is kept is kept as it was delivered, with absolute counts, so that joining stays a matter of the largest.
//!
//! A whole-line delivery is known if one with the same content is; a row-per-line delivery is compared with the joined
//! row-per-line deliveries of its look, and only rows with more copies than these are kept. A delivery that is newer than
//! all that its stream has is compared with nothing: what is newest of each stream is noted as it is appended, and looked
//! up where it is not known, so that it may be forgotten at any time. Of notes of which only the last counts the number
//! tells which is newer, of all else the second. Of dead letters the first at a place is kept, whatever stands there later.

use super::Appended;
use crate::error::Error;
use crate::fact::{Batch, Delivery, Inferred, Micros, Second, StreamKey};
use crate::note::{is_last_only, is_once};
use crate::read::answer::Cost;
use crate::read::view::View;
use crate::row::Row;
use crate::timeline::{Copies, Part};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The newest age of every stream that was appended to since the store was opened: whatever is newer is news, and nothing
/// needs to be looked up.
pub(super) struct Newest {
    places: FxHashMap<Arc<StreamKey>, u32>,
    /// The same by address of the keys that `places` holds, and so keeps where they are.
    addresses: FxHashMap<usize, u32>,
    /// No delivery of the stream that is stored is newer.
    ages: Vec<Age>,
    /// Of each place whether its stream's age is its number.
    numbered: Vec<bool>,
    /// Whether nothing was stored before, so that a stream without a place has nothing.
    is_all: bool,
}

impl Newest {
    /// Of no stream; `is_all` if nothing is stored.
    pub(super) fn new(is_all: bool) -> Newest {
        Newest {
            places: FxHashMap::default(),
            addresses: FxHashMap::default(),
            ages: Vec::new(),
            numbered: Vec::new(),
            is_all,
        }
    }

    /// Forgets all streams: what is stored is looked up again where it matters.
    pub(super) fn forget(&mut self) {
        *self = Newest::new(false);
    }

    /// The place of a stream.
    fn place(&mut self, view: &View, stream: &Arc<StreamKey>) -> Result<usize, Error> {
        let address = Arc::as_ptr(stream).addr();
        if let Some(&place) = self.addresses.get(&address).or_else(|| self.places.get(stream)) {
            return Ok(place as usize);
        }
        let numbered = is_last_only(stream);
        let newest = match numbered {
            _ if self.is_all => None,
            true => view.last_number(stream, &mut Cost::default())?.map(age_of_number),
            false => view.extent(stream, Micros::MAX)?.map(|(_, last)| last),
        };
        let place = self.ages.len() as u32;
        self.ages.push(newest.unwrap_or(Age::MIN));
        self.numbered.push(numbered);
        self.places.insert(stream.clone(), place);
        self.addresses.insert(address, place);
        Ok(place as usize)
    }

    /// How new a delivery of the stream of a place is.
    fn age(&self, place: usize, delivery: &Delivery) -> Age {
        if self.numbered[place] { delivery.counter.map_or(Age::MIN, age_of_number) } else { delivery.second }
    }
}

/// What is greater the newer: an observed second, or a number.
type Age = i64;

/// A number that does not fit is never newer than another: it is compared.
fn age_of_number(number: u64) -> Age {
    Age::try_from(number).unwrap_or(Age::MAX)
}

/// A look of a batch: its stream's place, then second, epoch and counter.
type BatchLook = (usize, (Second, u64, Option<u64>));

/// Looks of a batch that were kept already; known only once it is asked for.
#[derive(Default)]
struct InBatch {
    /// The last delivery kept of each look.
    last: FxHashMap<BatchLook, usize>,
    /// Of each kept delivery the one of its look before it: a second delivery of one look is rare, and is compared with
    /// those before.
    before: Vec<Option<usize>>,
}

impl InBatch {
    /// Notes the deliveries that were kept since it was asked last.
    fn catch_up(&mut self, kept: &[Delivery], places: &[usize]) {
        for (at, delivery) in kept.iter().enumerate().skip(self.before.len()) {
            let look = (places[at], (delivery.second, delivery.epoch, delivery.counter));
            self.before.push(self.last.insert(look, at));
        }
    }
}

/// Removes from a batch what is known, and counts. `view` has everything that was appended before.
pub(super) fn keep_news(view: &View, newest: &mut Newest, batch: &mut Batch) -> Result<Appended, Error> {
    let mut appended = Appended::default();
    let mut kept: Vec<Delivery> = Vec::with_capacity(batch.deliveries.len());
    let mut places: Vec<usize> = Vec::with_capacity(batch.deliveries.len());
    let mut in_batch = InBatch::default();
    for mut delivery in batch.deliveries.drain(..) {
        let place = newest.place(view, &delivery.stream)?;
        let mut known = Known::default();
        let age = newest.age(place, &delivery);
        if age <= newest.ages[place] {
            let look = (delivery.second, delivery.epoch, delivery.counter);
            in_batch.catch_up(&kept, &places);
            let mut earlier = in_batch.last.get(&(place, look)).copied();
            while let Some(at) = earlier {
                known.note_delivery(&kept[at], &delivery);
                earlier = in_batch.before[at];
            }
            if view.may_hold(&delivery.stream, delivery.second)? {
                let parts = view.parts_of_look(&delivery.stream, look, &mut Cost::default())?;
                for part in parts.parts.iter().filter(|part| !part.is_loss()) {
                    known.note_part(part, &parts.rows, &delivery);
                }
            }
        }
        if known.leaves_news(&mut delivery) {
            appended.forks += u64::from(delivery.whole && known.other_content);
            appended.stored += 1;
            newest.ages[place] = newest.ages[place].max(age);
            places.push(place);
            kept.push(delivery);
        } else {
            appended.known += 1;
        }
    }
    batch.deliveries = kept;
    Ok(appended)
}

/// What is known of the look that a delivery is of.
#[derive(Default)]
struct Known {
    /// The least inferred version among deliveries of the same form (and content, if whole).
    inferred: Option<Inferred>,
    removed: FxHashMap<Row, u64>,
    added: FxHashMap<Row, u64>,
    other_content: bool,
}

impl Known {
    fn note_delivery(&mut self, known: &Delivery, delivery: &Delivery) {
        self.note(known.whole, known.inferred, &known.removed, &known.added, delivery);
    }

    fn note_part(&mut self, part: &Part, rows: &[Row], delivery: &Delivery) {
        let named = |copies: &[Copies]| -> Vec<(Row, u64)> {
            copies.iter().map(|&(row, count)| (rows[row as usize].clone(), count)).collect()
        };
        self.note(part.whole, part.inferred, &named(&part.removed), &named(&part.added), delivery);
    }

    fn note(
        &mut self,
        whole: bool,
        inferred: Inferred,
        removed: &[(Row, u64)],
        added: &[(Row, u64)],
        delivery: &Delivery,
    ) {
        if whole != delivery.whole {
            return;
        }
        if whole && !(same(removed, &delivery.removed) && same(added, &delivery.added)) {
            self.other_content = true;
            return;
        }
        self.inferred = Some(self.inferred.map_or(inferred, |known| known.min(inferred)));
        for (counts, copies) in [(&mut self.removed, removed), (&mut self.added, added)] {
            for (row, count) in copies {
                let known = counts.entry(row.clone()).or_default();
                *known = (*known).max(*count);
            }
        }
    }

    /// Whether there is news; of a row-per-line delivery only the news is left.
    fn leaves_news(&self, delivery: &mut Delivery) -> bool {
        let Some(inferred) = self.inferred else {
            return true;
        };
        if is_once(&delivery.stream) {
            return false;
        }
        if delivery.whole {
            return delivery.inferred < inferred;
        }
        delivery.removed.retain(|(row, count)| self.removed.get(row).is_none_or(|known| known < count));
        delivery.added.retain(|(row, count)| self.added.get(row).is_none_or(|known| known < count));
        !delivery.removed.is_empty() || !delivery.added.is_empty() || delivery.inferred < inferred
    }
}

/// Whether two multisets are equal.
fn same(a: &[(Row, u64)], b: &[(Row, u64)]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let counts: FxHashMap<&Row, u64> = a.iter().map(|(row, count)| (row, *count)).collect();
    b.iter().all(|(row, count)| counts.get(row) == Some(count))
}

#[cfg(test)]
mod tests {
    use crate::fact::{Batch, Delivery, Inferred, Kind, Name, Second, StreamKey};
    use crate::io::{ManualClock, MemoryStorage, Storage};
    use crate::note;
    use crate::options::Options;
    use crate::row::RowBuilder;
    use crate::store::{Appended, Store};
    use std::sync::Arc;

    fn delivery(host: &str, second: Second, texts: &[&str]) -> Delivery {
        let row = |text: &&str| {
            let mut builder = RowBuilder::new();
            builder.column(b"a", text.as_bytes());
            (builder.row(), 1)
        };
        Delivery {
            stream: Arc::new(StreamKey {
                table: Name::from(&b"users"[..]),
                host: Name::from(host.as_bytes()),
                name: Name::from(&b"users"[..]),
                kind: Kind::Diff,
                sightings: false,
            }),
            epoch: 0,
            counter: Some(1),
            second,
            whole: false,
            inferred: Inferred::V5_7,
            removed: Vec::new(),
            added: texts.iter().map(row).collect(),
        }
    }

    fn open(storage: &Arc<dyn Storage>) -> Store {
        let options = Options { background: false, ..Options::default() };
        Store::open(storage.clone(), Arc::new(ManualClock::new(1)), options, "test").unwrap()
    }

    /// How many of the deliveries were stored and how many were known.
    #[track_caller]
    fn append(store: &Store, deliveries: Vec<Delivery>, stored: u64, known: u64) {
        let appended = store.append(Batch { deliveries, ..Batch::default() }, None).unwrap();
        let Appended { stored: s, known: k, .. } = appended;
        assert_eq!((s, k), (stored, known), "stored, known");
    }

    /// Newer than what the stream has is news unseen; all else is compared, wherever it lies and whoever made its key.
    #[test]
    fn what_is_stored_is_known_again() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = open(&storage);
        append(&store, vec![delivery("h", 10, &["1"]), delivery("h", 20, &["1"]), delivery("g", 5, &["1"])], 3, 0);
        append(&store, vec![delivery("h", 20, &["1"]), delivery("h", 10, &["1"]), delivery("h", 15, &["1"])], 1, 2);
        append(&store, vec![delivery("h", 20, &["1"])], 0, 1);
        append(&store, vec![delivery("h", 20, &["1", "2"]), delivery("g", 6, &["1"])], 2, 0);
        // Within one batch: the same again, more of it, the same of another look.
        let again = vec![delivery("h", 30, &["1"]), delivery("h", 30, &["1"]), delivery("h", 30, &["1", "2"])];
        append(&store, again, 2, 1);
        append(&store, vec![delivery("h", 30, &["2"]), delivery("h", 29, &["2"])], 1, 1);
        store.close().unwrap();
        let store = open(&storage);
        append(&store, vec![delivery("h", 30, &["1", "2"]), delivery("g", 6, &["1"]), delivery("g", 5, &["1"])], 0, 3);
        append(&store, vec![delivery("h", 31, &["1"]), delivery("h", 31, &["1"]), delivery("h", 28, &["1"])], 2, 1);
    }

    /// Very many looks of one second, and so of several pieces of a segment, some of which end within a look.
    #[test]
    fn what_is_stored_is_known_again_however_much_is_of_its_second() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = open(&storage);
        let dead = |offset| note::of_dead(b"a.log", offset, "not-json", b"x", 9);
        let letters = || (0..5_000).map(|at| dead(2 * at)).collect::<Vec<_>>();
        append(&store, letters(), 5_000, 0);
        let part = |at: u64| Delivery {
            whole: true,
            added: delivery("h", 7, &[&at.to_string()]).added,
            ..delivery("h", 7, &[])
        };
        let parts = || (0..3_000).map(part).collect::<Vec<_>>();
        append(&store, parts(), 3_000, 0);
        for _ in 0..2 {
            append(&store, letters(), 0, 5_000);
            append(&store, vec![dead(4_096), dead(9_998)], 0, 2);
            append(&store, [0, 1, 2_047, 2_048, 2_049, 2_999].map(part).into(), 0, 6);
            store.compact().unwrap();
            store.append(Batch { deliveries: vec![delivery("g", 1, &["1"])], ..Batch::default() }, None).unwrap();
        }
    }

    /// A source may be replaced by another of its name, in which something else cannot be read at the same place.
    #[test]
    fn a_dead_letter_is_kept_once_for_its_place() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = open(&storage);
        let dead = |offset, head: &[u8]| note::of_dead(b"a.log", offset, "not-json", head, 9);
        append(&store, vec![dead(0, b"x"), dead(5, b"x"), dead(0, b"y")], 2, 1);
        append(&store, vec![dead(0, b"z"), dead(7, b"z"), dead(5, b"x")], 1, 2);
        let last = store.view().last_recorded();
        append(&store, vec![dead(7, b"y")], 0, 1);
        assert_eq!(store.view().last_recorded(), last, "nothing came, so there is no commit");
    }

    /// Another content of a look that came whole is news, once, and counted; whichever of them comes again is known.
    #[test]
    fn a_fork_is_news_once() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = open(&storage);
        let whole = |texts: &[&str]| Delivery { whole: true, ..delivery("h", 10, texts) };
        let append = |deliveries| store.append(Batch { deliveries, ..Batch::default() }, None).unwrap();
        let told = |appended: Appended| (appended.stored, appended.known, appended.forks);
        assert_eq!(told(append(vec![whole(&["1"])])), (1, 0, 0));
        assert_eq!(told(append(vec![whole(&["2"])])), (1, 0, 1));
        assert_eq!(told(append(vec![whole(&["1"]), whole(&["2"])])), (0, 2, 0));
        assert_eq!(told(append(vec![whole(&["3"]), whole(&["3"]), whole(&["4"])])), (2, 1, 2));
    }
}
