//! Producers against imports: what was sent in pieces, again, and over restarts is in as if each source were one file.

use crate::error::{Error, Misuse};
use crate::fact::Name;
use crate::ingest::import::{ImportOptions, import};
use crate::ingest::producer::{Chunk, Producer};
use crate::io::{Clock, ManualClock, MemoryStorage, Storage};
use crate::options::Options;
use crate::read::answer::{HistoryRow, StreamEntry};
use crate::read::question::{HistoryQuestion, ListQuestion};
use crate::read::view::View;
use crate::store::Store;
use proptest::prelude::*;
use std::sync::Arc;

const NUMBER: u128 = 7;
const SECOND: u64 = 1_000_000_000;

fn open(storage: &Arc<dyn Storage>, clock: &Arc<dyn Clock>) -> Store {
    let options = Options { background: false, ..Options::default() };
    Store::open(storage.clone(), clock.clone(), options, "test").unwrap()
}

/// One line of a source.
#[derive(Clone, Debug)]
struct Line {
    host: u8,
    /// Seconds after the line before.
    later: u8,
    counter: u8,
    added: bool,
    row: u8,
    whole: bool,
    is_dead: bool,
}

fn line() -> impl Strategy<Value = Line> {
    let weights = [(8u32, false), (1, true)];
    let later = prop_oneof![6 => Just(0u8), 2 => Just(1), 1 => Just(30)];
    (0u8..2, later, 0u8..3, any::<bool>(), 0u8..4, prop::sample::select(vec![false, false, false, true]), 0u8..9)
        .prop_map(move |(host, later, counter, added, row, whole, dead)| {
            let is_dead = dead == 0 && weights[1].1;
            Line { host, later, counter, added, row, whole, is_dead }
        })
}

fn text(lines: &[Line]) -> Vec<u8> {
    let (mut out, mut second) = (String::new(), 1_500_000_000u64);
    for line in lines {
        second += u64::from(line.later);
        let (host, counter, row) = (line.host, line.counter, line.row);
        let head = format!(
            r#"{{"name":"users","hostIdentifier":"h{host}","unixTime":{second},"epoch":0,"counter":{counter},"numerics":false,"#
        );
        let columns = format!(r#"{{"uid":"{row}","username":"u{row}"}}"#);
        if line.is_dead {
            out += "{no line\n";
        } else if line.whole {
            out += &format!("{head}\"diffResults\":{{\"removed\":[],\"added\":[{columns}]}}}}\n");
        } else {
            let action = if line.added { "added" } else { "removed" };
            out += &format!("{head}\"columns\":{columns},\"action\":\"{action}\"}}\n");
        }
    }
    out.into_bytes()
}

/// What a view answers, but for recorded times.
fn answers(view: &View) -> (Vec<HistoryRow>, Vec<StreamEntry>, Vec<(String, u64)>) {
    let question = HistoryQuestion {
        table: Name::from(&b"users"[..]),
        host: None,
        stream: None,
        wheres: Vec::new(),
        from: None,
        to: None,
        known_at: None,
    };
    let rows = view.history(&question).unwrap().rows;
    let mut streams = view.list_streams(&ListQuestion::default()).unwrap();
    streams.iter_mut().for_each(|stream| stream.skew = (0, 0));
    let dead = view.dead_letters(&mut Default::default()).unwrap().into_iter().collect();
    (rows, streams, dead)
}

/// What happens between two batches.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    TakeUpAgain,
    Reopen,
    SealAndReopen,
    Merge,
    SendAgain,
    Wait,
}

fn between() -> impl Strategy<Value = Between> {
    use Between::*;
    prop::sample::select(vec![Nothing, Nothing, TakeUpAgain, Reopen, SealAndReopen, Merge, SendAgain, Wait])
}

proptest! {
    #[test]
    fn what_is_sent_in_pieces_is_in_as_if_it_were_a_file(
        sources in prop::collection::vec(prop::collection::vec(line(), 0..25), 1..3),
        cuts in prop::collection::vec((0usize..2, 0usize..6, between()), 0..30),
    ) {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1_600_000_000_000_000));
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let texts: Vec<Vec<u8>> = sources.iter().map(|lines| text(lines)).collect();
        let names: Vec<String> = (0..texts.len()).map(|at| format!("source{at}")).collect();

        let mut store = open(&storage, &clock);
        let mut nanos = 0;
        let mut producer = Producer::open(&store, NUMBER, nanos).unwrap();
        let mut sent = vec![0usize; texts.len()];
        let rest = (0..texts.len()).map(|source| (source, usize::MAX, Between::Nothing));
        for (sequence, (source, lines, between)) in (1..).zip(cuts.into_iter().chain(rest)) {
            let source = source % texts.len();
            let rest = &texts[source][sent[source]..];
            let end = rest.split_inclusive(|&byte| byte == b'\n').take(lines).map(<[u8]>::len).sum::<usize>();
            let chunk = Chunk { source: names[source].as_bytes(), offset: sent[source] as u64, lines: &rest[..end] };
            sent[source] += end;
            let digest = 100 + sequence;
            let first = producer.lines(&store, sequence, digest, &[chunk], nanos).unwrap().wait(&store).unwrap();
            prop_assert!(!first.again);
            match between {
                Between::Nothing => {}
                Between::TakeUpAgain => producer = Producer::open(&store, NUMBER, nanos).unwrap(),
                Between::Reopen => {
                    drop(store);
                    store = open(&storage, &clock);
                    producer = Producer::open(&store, NUMBER, nanos).unwrap();
                }
                Between::SealAndReopen => {
                    store.close().unwrap();
                    store = open(&storage, &clock);
                    producer = Producer::open(&store, NUMBER, nanos).unwrap();
                }
                Between::Merge => store.compact().unwrap(),
                Between::SendAgain => {
                    let again = producer.lines(&store, sequence, digest, &[chunk], nanos).unwrap();
                    let again = again.wait(&store).unwrap();
                    prop_assert!(again.again && again.recorded.is_none());
                    let other = producer.lines(&store, sequence, digest + 1, &[chunk], nanos);
                    let is_refused = matches!(other, Err(Error::Misuse(Misuse::Sequence { differs: true, .. })));
                    prop_assert!(is_refused);
                    let skipped = producer.lines(&store, sequence + 2, digest, &[chunk], nanos);
                    let is_refused = matches!(skipped, Err(Error::Misuse(Misuse::Sequence { differs: false, .. })));
                    prop_assert!(is_refused);
                }
                Between::Wait => {
                    nanos += 10 * SECOND;
                    producer.idle(&store, nanos, 10 * SECOND).unwrap();
                    prop_assert_eq!(producer.idle_at_nanos(10 * SECOND), None);
                }
            }
            prop_assert_eq!(producer.last(), sequence);
            prop_assert_eq!(store.view().last_sequence(NUMBER, &mut Default::default()).unwrap(), Some(sequence));
        }
        nanos += 10 * SECOND;
        producer.idle(&store, nanos, 10 * SECOND).unwrap();
        // A producer that is taken up later has nothing to add.
        let mut later = Producer::open(&store, NUMBER, nanos).unwrap();
        let before = answers(&store.view());
        later.idle(&store, nanos + 10 * SECOND, 10 * SECOND).unwrap();
        prop_assert_eq!(&answers(&store.view()), &before);

        let other: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let files = open(&other, &clock);
        let inputs = names.iter().cloned().zip(texts.iter().map(|text| &text[..]));
        import(&files, &clock, inputs, &ImportOptions::default(), |_, _| {}).unwrap();
        prop_assert_eq!(before, answers(&files.view()));
    }
}

/// However long a producer sends, it costs one note and what it holds back.
#[test]
fn a_producer_costs_the_same_however_long_it_sends() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1_600_000_000_000_000));
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = open(&storage, &clock);
    let mut producer = Producer::open(&store, NUMBER, 0).unwrap();
    let one = text(&[Line { host: 0, later: 0, counter: 1, added: true, row: 0, whole: false, is_dead: false }]);
    let mut noted = Vec::new();
    for round in 0..4u64 {
        for sequence in 1 + round * 50..=50 + round * 50 {
            let chunk = Chunk { source: b"s", offset: 0, lines: &one };
            producer.lines(&store, sequence, 0, &[chunk], 0).unwrap().wait(&store).unwrap();
        }
        store.flush().unwrap();
        store.compact().unwrap();
        let view = store.view();
        let parts = |table: &[u8]| {
            let reader = view.segments()[0].table(table).unwrap().unwrap();
            reader.directory.records().map(|record| reader.directory.copies(&record)).sum::<u64>()
        };
        noted.push((parts(crate::note::PRODUCER), parts(crate::note::HELD)));
    }
    assert_eq!(noted[0], noted[3], "one copy of one row each: {noted:?}");
}
