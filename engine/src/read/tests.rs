use super::answer::Cost;
use super::question::{Subject, WhoQuestion};
use super::resolved::Agents;
use super::standing::Standing;
use super::view::View;
use crate::fact::{Batch, Commit, Delivery, Inferred, Kind, Micros, Name, Second, StreamKey};
use crate::io::{ManualClock, MemoryStorage};
use crate::memtable::Memtable;
use crate::note;
use crate::options::Options;
use crate::row::RowBuilder;
use crate::segment::cache::Cache;
use parking_lot::RwLock;
use std::sync::Arc;

fn key() -> Arc<StreamKey> {
    let of = |text: &str| Name::from(text.as_bytes());
    let (table, host, name) = (of("interface_addresses"), of("a"), of("pack/a/interface_addresses"));
    StreamKey { table, host, name, kind: Kind::Snapshot, sightings: false }.into()
}

/// A commit of one look at addresses.
fn look(recorded: Micros, second: Second, address: &str) -> Commit {
    let mut row = RowBuilder::new();
    row.column(b"address", address.as_bytes());
    let delivery = Delivery {
        stream: key(),
        epoch: 0,
        counter: None,
        second,
        whole: true,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: vec![(row.row(), 1)],
    };
    Commit { recorded, batch: Batch { producer: 0, sequence: 0, digest: 0, deliveries: vec![delivery] } }
}

/// A store without segments, whose memtables a test fills.
#[derive(Default)]
struct Store {
    memtables: Vec<Arc<RwLock<Memtable>>>,
    standing: Arc<Standing>,
    cache: Option<Arc<Cache>>,
}

impl Store {
    fn begin_memtable(&mut self) {
        self.memtables.push(Arc::default());
    }

    fn insert(&self, commit: &Commit) {
        self.memtables.last().expect("there is one").write().insert(commit);
    }

    fn view(&mut self, last: Micros) -> View {
        let cache = self.cache.get_or_insert_with(|| Arc::new(Cache::new(1 << 20))).clone();
        View::with_standing(Vec::new(), self.memtables.clone(), self.standing.clone(), cache, Some(last))
    }
}

fn who(view: &View, address: &str, at: Second) -> usize {
    let q = WhoQuestion { subject: Subject::Ip(address.as_bytes().into()), at, host: None, known_at: None };
    view.who(&q).expect("memory can be read").rows.len()
}

/// While a memtable is sealed, what comes goes into another beside it.
#[test]
fn a_second_memtable_is_noticed() {
    let mut store = Store::default();
    store.begin_memtable();
    store.insert(&look(1, 10, "10.0.0.1"));
    assert_eq!(who(&store.view(1), "10.0.0.1", 10), 1);
    store.begin_memtable();
    store.insert(&look(2, 20, "10.0.0.2"));
    assert_eq!(who(&store.view(2), "10.0.0.2", 20), 1);
    store.insert(&look(3, 30, "10.0.0.3"));
    assert_eq!(who(&store.view(3), "10.0.0.3", 30), 1);
    assert_eq!(who(&store.view(3), "10.0.0.2", 30), 0);
}

/// What a question sees of a tail it goes on seeing, while others learn that the stream is not regular.
#[test]
fn what_was_seen_of_a_tail_stays() {
    let mut store = Store::default();
    store.begin_memtable();
    store.insert(&look(1, 10, "10.0.0.1"));
    let (before, mut cost) = (store.view(1), Cost::default());
    let source = before.source(&key(), &mut Agents::new(&before, 1), &mut cost).expect("memory can be read");
    let seen = source.and_then(|source| source.tail).expect("the stream is regular");
    store.insert(&look(2, 20, "10.0.0.2"));
    store.insert(&look(3, 20, "10.0.0.3"));
    let now = store.view(3);
    let source = now.source(&key(), &mut Agents::new(&now, 3), &mut cost).expect("memory can be read");
    assert!(source.is_none(), "two looks of one second");
    assert_eq!(seen.read().seconds(), [10]);
    assert_eq!(seen.read().born_len(), 1);
    assert_eq!(who(&before, "10.0.0.1", 10), 1);
}

/// Of the two kinds of a name the snapshot answers where both looked at once.
#[test]
fn a_snapshot_wins_a_tie() {
    let mut store = Store::default();
    store.begin_memtable();
    store.insert(&look(1, 10, "10.0.0.1"));
    let mut difference = look(2, 10, "10.0.0.2");
    let delivery = &mut difference.batch.deliveries[0];
    (delivery.stream, delivery.counter) = (StreamKey { kind: Kind::Diff, ..(*key()).clone() }.into(), Some(0));
    store.insert(&difference);
    let view = store.view(2);
    assert_eq!((who(&view, "10.0.0.1", 10), who(&view, "10.0.0.2", 10)), (1, 0));
}

/// A host that came later is not one of those before, though one segment holds both.
#[test]
fn a_host_is_known_since_its_first_commit() {
    let (storage, clock) = (Arc::new(MemoryStorage::new()), Arc::new(ManualClock::new(1)));
    let options = Options { background: false, ..Options::default() };
    let store = crate::store::Store::open(storage, clock, options, "test").unwrap();
    for (recorded, host) in [(1, "a"), (2, "b")] {
        let mut batch = look(recorded, 10, "10.0.0.1").batch;
        batch.deliveries[0].stream = StreamKey { host: Name::from(host.as_bytes()), ..(*key()).clone() }.into();
        store.append(batch, Some(recorded)).unwrap();
    }
    store.flush().unwrap();
    let hosts = |known_at| store.view().hosts(known_at, &mut Cost::default()).unwrap().len();
    assert_eq!([0, 1, 2].map(hosts), [0, 1, 2]);
}

/// What follows a run is remembered with the run that it follows: after a merge others follow another.
#[test]
fn what_follows_a_run_is_forgotten_with_it() {
    let (storage, clock) = (Arc::new(MemoryStorage::new()), Arc::new(ManualClock::new(1)));
    let options = Options { background: false, ..Options::default() };
    let store = crate::store::Store::open(storage, clock, options, "test").unwrap();
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    for (i, address) in addresses.iter().enumerate() {
        let second = 10 * (i as i64 + 1);
        store.append(look(second, second, address).batch, Some(second)).unwrap();
        let found = addresses.map(|other| who(&store.view(), other, second));
        assert_eq!(found, addresses.map(|other| usize::from(other == *address)), "look {i}");
        store.compact().unwrap();
        let found = addresses.map(|other| who(&store.view(), other, second));
        assert_eq!(found, addresses.map(|other| usize::from(other == *address)), "look {i}, merged");
    }
}

/// A stream that must be replayed is replayed again once there is more of it.
#[test]
fn what_was_replayed_is_forgotten_when_more_comes() {
    let mut store = Store::default();
    store.begin_memtable();
    store.insert(&look(1, 10, "10.0.0.1"));
    store.insert(&look(2, 10, "10.0.0.2"));
    assert_eq!(who(&store.view(2), "10.0.0.3", 30), 0);
    store.insert(&look(3, 30, "10.0.0.3"));
    assert_eq!(who(&store.view(3), "10.0.0.3", 30), 1);
}

/// What a counter means depends on the agent: a stream that was replayed is replayed again once another is known.
#[test]
fn what_was_replayed_is_forgotten_when_the_agent_becomes_known() {
    let mut store = Store::default();
    store.begin_memtable();
    let key: Arc<StreamKey> = StreamKey { kind: Kind::Diff, ..(*key()).clone() }.into();
    for (recorded, counter, address) in [(1, 1, "10.0.0.1"), (2, 0, "10.0.0.2")] {
        let mut commit = look(recorded, 10 * recorded, address);
        let delivery = &mut commit.batch.deliveries[0];
        (delivery.stream, delivery.counter, delivery.whole) = (key.clone(), Some(counter), false);
        store.insert(&commit);
    }
    let left = |view: &View| who(view, "10.0.0.1", 20);
    assert_eq!(left(&store.view(2)), 1, "the agent of these lines cannot be trusted with a counter 0");
    let mut row = RowBuilder::new();
    row.column(b"version", b"5.22.1");
    let mut commit = look(3, 10, "");
    let delivery = &mut commit.batch.deliveries[0];
    (delivery.stream, delivery.whole) = (note::key(note::VERSION, b"a").into(), false);
    delivery.added = vec![(row.row(), 1)];
    store.insert(&commit);
    assert_eq!(left(&store.view(3)), 0, "its counter 0 is a full set");
}
