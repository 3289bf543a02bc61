//! The machine stops at every single operation while a producer sends; then the producer goes on as a shipper does, and in
//! the end the store says what it would have said without the stop.
//!
//! What a producer's lines say is mostly held back, beside the number of the batch that brought them. If the two became
//! durable apart, a stop between them would lose lines that were acknowledged, or hold lines twice that are sent again.
//!
//! `ERSTWHILE_CRASH=all` tries more of what a stop may leave, and stops a second time at every operation of what comes
//! after every eighth of the first stops: five minutes of work.

use crate::stop::Case;
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::fact::Delivery;
use erstwhile_engine::ingest::producer::{Chunk, Producer, Sent};
use erstwhile_engine::io::{AfterCrash, FaultyStorage, MemoryStorage, Plan, Storage, Unsynced};
use erstwhile_engine::note;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::{Store, open_view};
use erstwhile_tests::support::workload::{Facts, PRODUCER, answers, batches, clock, facts_of, open, options, timeless};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const HOSTS: [&str; 2] = ["web-1", "db"];
const SOURCES: [&str; 2] = ["/var/log/a", "/var/log/b"];
/// A second stop follows each of so many first ones.
const EVERY: usize = 8;
/// After so long what is held back is handed on.
const IDLE_NANOS: u64 = 10_000_000_000;

/// What a batch holds.
enum Content {
    /// Of sources: where the lines begin in them, and the lines.
    Lines(Vec<(&'static str, u64, String)>),
    Looks(Vec<Delivery>),
}

/// What a producer does next.
enum Step {
    /// Sends batches by their numbers, and waits for them once all are sent.
    Send(Vec<(u64, Content)>),
    /// Sends nothing for long.
    Wait,
}

/// The lines of a batch: looks of a row a line that go on in later batches and have equal rows, events, a whole look,
/// versions, and what cannot be read.
fn lines(i: u64, source: usize) -> String {
    // The look goes on for three batches; each source has its own second.
    let second = 1_545_645_600 + i / 3 * 60 + source as u64;
    let mut text = String::new();
    for host in HOSTS {
        let head = |query: &str| {
            format!(
                r#"{{"name":"{query}","hostIdentifier":"{host}","unixTime":{second},"epoch":{source},"counter":{},"numerics":false,"#,
                i / 3
            )
        };
        let row = |uid: u64, action: &str| {
            let columns = format!(r#"{{"uid":"{uid}","username":"user{uid}"}}"#);
            format!("{}\"columns\":{columns},\"action\":\"{action}\"}}\n", head("users"))
        };
        text += &row(i, "added");
        // A row that every batch adds again: how often it was counted shows.
        text += &row(900, "added").repeat(1 + i as usize % 2);
        if i.is_multiple_of(3) && i >= 3 {
            text += &row(i - 3, "removed");
        }
        if host == "db" {
            let columns = format!(r#"{{"path":"/usr/bin/tool{}","pid":"{i}","time":"{second}"}}"#, i % 4);
            text += &format!("{}\"columns\":{columns},\"action\":\"added\"}}\n", head("process_events"));
        }
        if i == 4 {
            text += &format!("{}\"snapshot\":[{{\"version\":\"5.{source}.0\"}}]}}\n", head("osquery_info"));
        }
    }
    if i % 4 == 1 {
        text += "{no line\n";
        text += &format!(
            r#"{{"severity":"0","message":"m","hostIdentifier":"db","unixTime":{second},"version":"5.10.{i}"}}{}"#,
            "\n"
        );
    }
    text
}

fn script() -> Vec<Step> {
    let mut offsets: BTreeMap<&str, u64> = BTreeMap::new();
    let mut of = |i: u64, sources: &[usize]| {
        let one = |&at: &usize| {
            let text = lines(i, at);
            let offset = offsets.entry(SOURCES[at]).or_default();
            let from = *offset;
            *offset += text.len() as u64;
            (SOURCES[at], from, text)
        };
        Content::Lines(sources.iter().map(one).collect())
    };
    let looks = |i: usize| Content::Looks(batches()[i].deliveries.iter().take(6).cloned().collect());
    let steps = [
        vec![of(0, &[0])],
        vec![of(1, &[0, 1])],
        vec![],
        vec![of(2, &[1]), of(3, &[0]), looks(0)],
        vec![of(4, &[0])],
        vec![looks(1)],
        vec![],
        vec![of(5, &[1]), of(6, &[0])],
        vec![of(7, &[1, 0])],
        vec![looks(2)],
        vec![of(8, &[0])],
        vec![],
        vec![],
        // What these bring is held back at the end.
        vec![of(9, &[1]), of(10, &[1])],
        vec![of(11, &[0])],
    ];
    let mut sequence = 0;
    let mut numbered = |content| {
        sequence += 1;
        (sequence, content)
    };
    let step = |contents: Vec<Content>| match &contents[..] {
        [] => Step::Wait,
        _ => Step::Send(contents.into_iter().map(&mut numbered).collect()),
    };
    steps.into_iter().map(step).collect()
}

/// Options under which this history, too, is sealed and merged within the appends.
fn small() -> Options {
    Options { memtable_bytes_max: 3 << 10, merge_fanout: 3, ..options() }
}

/// How far a producer came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Came {
    /// The last batch that was acknowledged.
    acknowledged: u64,
    /// The last that was sent.
    sent: u64,
}

fn place(producer: &mut Producer, store: &Store, batch: &(u64, Content), nanos: u64) -> Result<Sent, Error> {
    let (sequence, content) = batch;
    let digest = 1000 + sequence;
    match content {
        Content::Lines(pieces) => {
            let chunks: Vec<Chunk<'_>> = pieces
                .iter()
                .map(|(source, offset, lines)| Chunk {
                    source: source.as_bytes(),
                    offset: *offset,
                    lines: lines.as_bytes(),
                })
                .collect();
            producer.lines(store, *sequence, digest, &chunks, nanos)
        }
        Content::Looks(looks) => producer.looks(store, *sequence, digest, looks.clone()),
    }
}

/// Takes the producer up as one does who was told that batches up to `start.acknowledged` are in, and plays the script to
/// its end or to an error; `after` sees the store after everything that was committed.
fn play(
    storage: &(impl Storage + Clone + 'static),
    script: &[Step],
    start: Came,
    together: bool,
    mut after: impl FnMut(&View),
) -> (Came, Option<Error>) {
    let (mut came, clock) = (start, clock());
    // A machine that starts again is later than it was.
    clock.advance(1_000_000_000 + 100_000_000 * start.sent as u32);
    let mut go = || -> Result<(), Error> {
        let store = open(storage, &clock, small())?;
        let (mut before, mut nanos) = (0, 0);
        let mut producer = Producer::open(&store, PRODUCER, nanos)?;
        let last = producer.last();
        assert!((start.acknowledged..=start.sent).contains(&last), "{last} is in: {start:?}");
        for step in script {
            nanos += 1_000_000_000;
            clock.advance(1_000_000);
            match step {
                // Who waits has nothing more that was sent.
                Step::Wait if before >= last => {
                    nanos += IDLE_NANOS;
                    producer.idle(&store, nanos, IDLE_NANOS)?;
                    after(&store.view());
                }
                Step::Wait => {}
                Step::Send(batches) => {
                    before += batches.len() as u64;
                    let rest = &batches[batches.iter().take_while(|(at, _)| *at <= start.acknowledged).count()..];
                    for some in rest.chunks(if together { rest.len().max(1) } else { 1 }) {
                        let mut sent = Vec::new();
                        for batch in some {
                            came.sent = came.sent.max(batch.0);
                            sent.push(place(&mut producer, &store, batch, nanos)?);
                        }
                        for (sent, (sequence, _)) in sent.into_iter().zip(some) {
                            let accepted = sent.wait(&store)?;
                            assert_eq!((accepted.sequence, accepted.again), (*sequence, *sequence <= last));
                            came.acknowledged = *sequence;
                            after(&store.view());
                        }
                    }
                }
            }
        }
        store.compact()?;
        store.close()
    };
    let failed = go().err();
    (came, failed)
}

/// What a view holds of the history, what is held back included; and the last batch that is in.
fn seen(view: &View) -> (Option<u64>, Facts) {
    let mut keys = BTreeSet::new();
    for source in SOURCES {
        keys.insert(note::of_dead(source.as_bytes(), 0, "", b"", 0).stream);
        let held = |host: &str| note::of_held(PRODUCER, 0, source.as_bytes(), host.as_bytes(), b"").stream;
        keys.extend(HOSTS.map(held));
    }
    keys.extend(HOSTS.map(|host| Arc::new(note::key(note::VERSION, host.as_bytes()))));
    (view.last_sequence(PRODUCER, &mut Cost::default()).unwrap(), facts_of(view, keys).unwrap())
}

fn read(found: &MemoryStorage) -> Option<View> {
    match open_view(found, 1 << 20) {
        Ok(view) => Some(view),
        Err(Error::Misuse(Misuse::NoStore)) => None,
        Err(error) => panic!("{error}"),
    }
}

type Timeless = BTreeMap<String, Vec<String>>;

/// What a run without a stop leaves.
struct Expected {
    /// After each commit: the last batch that is in, and the facts.
    stages: Vec<(u64, Timeless)>,
    /// In the end.
    facts: Timeless,
    answers: String,
    /// Once what is held back was handed on, too.
    answers_then: String,
}

/// The answers once a producer that is taken up now has handed on what it holds.
fn answers_then(found: &MemoryStorage, script: &[Step]) -> String {
    let clock = clock();
    clock.advance(4_000_000_000);
    let store = open(found, &clock, small()).unwrap();
    let mut producer = Producer::open(&store, PRODUCER, 0).unwrap();
    // The last batch is known as what it was.
    let last = script.iter().rev().find_map(|step| match step {
        Step::Send(batches) => batches.last(),
        Step::Wait => None,
    });
    let again = place(&mut producer, &store, last.unwrap(), 0).unwrap().wait(&store).unwrap();
    assert!(again.again && again.recorded.is_none());
    let handed = producer.idle(&store, IDLE_NANOS, IDLE_NANOS).unwrap();
    assert!(!handed.looks.is_empty(), "something is held back");
    answers(&store.view()).unwrap()
}

fn expected(script: &[Step]) -> Expected {
    let (storage, mut stages) = (MemoryStorage::new(), vec![(0, Timeless::new())]);
    let (_, failed) = play(&storage, script, Came::default(), false, |view| {
        let (last, facts) = seen(view);
        stages.push((last.unwrap_or_default(), timeless(&facts)));
    });
    assert!(failed.is_none(), "{failed:?}");
    let view = read(&storage).unwrap();
    let facts = timeless(&seen(&view).1);
    assert_eq!(Some(&facts), stages.last().map(|(_, facts)| facts), "a merge keeps everything");
    let answers = answers(&view).unwrap();
    let answers_then = answers_then(&storage, script);
    assert_ne!(answers, answers_then, "what is held back is no part of the answers before");
    Expected { stages, facts, answers, answers_then }
}

/// What is found is what some commit left: none before what was acknowledged, none after what was sent.
fn check_found(found: &MemoryStorage, came: Came, expected: &Expected) {
    let (last, facts) = read(found).map(|view| seen(&view)).unwrap_or_default();
    let (last, facts) = (last.unwrap_or_default(), timeless(&facts));
    assert!((came.acknowledged..=came.sent).contains(&last), "{last} is in: {came:?}");
    let is_stage = expected.stages.iter().any(|(at, stage)| *at == last && *stage == facts);
    assert!(is_stage, "no commit left {last} and this: {facts:#?}");
}

/// After the producer has gone on to its end nothing is lost and nothing is doubled. Equal facts give equal answers, so
/// these are not compared every time.
fn check_end(found: &MemoryStorage, script: &[Step], came: Came, expected: &Expected, with_answers: bool) {
    let (came, failed) = play(found, script, came, true, |_| {});
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(Some(came.acknowledged), expected.stages.last().map(|(last, _)| *last));
    let view = read(found).unwrap();
    let facts = timeless(&seen(&view).1);
    let other: Vec<_> = facts.iter().filter(|(stream, words)| expected.facts.get(*stream) != Some(words)).collect();
    let wanted: Vec<_> = other.iter().map(|(stream, _)| expected.facts.get(*stream)).collect();
    assert!(other.is_empty() && facts.len() == expected.facts.len(), "found {other:#?}, expected {wanted:#?}");
    if !with_answers {
        return;
    }
    assert_eq!(answers(&view).unwrap(), expected.answers);
    assert_eq!(answers_then(found, script), expected.answers_then);
}

#[test]
fn what_a_producer_sends_is_in_once_whenever_the_machine_stops() {
    let all = std::env::var_os("ERSTWHILE_CRASH").is_some();
    let script = script();
    let expected = expected(&script);
    let whole = FaultyStorage::new(Plan::default());
    let (came, failed) = play(&whole, &script, Came::default(), true, |_| {});
    assert!(failed.is_none() && came.acknowledged == came.sent, "{came:?} {failed:?}");
    let ops = whole.ops();
    let count = |what: &str| ops.iter().filter(|op| op.starts_with(what) && op.contains("segment")).count();
    assert!(count("rename") > 4 && count("remove") > 2, "several seals and merges:\n{}", ops.join("\n"));
    let modes = if all { AfterCrash::all(0) } else { vec![AfterCrash::PROCESS_DIED, AfterCrash::POWER_LOST] };
    for (at, op) in ops.iter().enumerate() {
        let torn = if op.starts_with("append") { &[0, 300][..] } else { &[0] };
        for &torn in torn {
            let storage = FaultyStorage::new(Plan { crash_at: Some(at as u64), torn, ..Plan::default() });
            let (came, _) = play(&storage, &script, Came::default(), true, |_| {});
            assert!(storage.has_crashed());
            for mode in modes.iter().copied().chain([between(at)]) {
                let _case = Case(format!("stopped at {at} ({op}), {torn} bytes torn, {mode:?}, {came:?}"));
                let found = storage.after_crash(mode);
                check_found(&found, came, &expected);
                if all && at.is_multiple_of(EVERY) && mode != between(at) {
                    stop_again(&found, &script, came, &expected);
                }
                check_end(&found, &script, came, &expected, all || mode == AfterCrash::POWER_LOST);
            }
        }
    }
}

/// Some of what was not synced is there.
fn between(seed: usize) -> AfterCrash {
    let partly = Unsynced::Partly(seed as u64);
    AfterCrash { bytes: partly, names: partly }
}

/// The second stop comes while the producer goes on.
fn stop_again(found: &MemoryStorage, script: &[Step], first: Came, expected: &Expected) {
    let again = |plan: Plan| {
        let storage = FaultyStorage::over(found, plan);
        let (came, _) = play(&storage, script, first, true, |_| {});
        (storage, came)
    };
    let (undisturbed, _) = again(Plan::default());
    for second in 0..undisturbed.op_count() {
        let (storage, came) = again(Plan { crash_at: Some(second), torn: 11, ..Plan::default() });
        for mode in [AfterCrash::PROCESS_DIED, AfterCrash::POWER_LOST] {
            let _case = Case(format!("then at {second} ({}), {mode:?}, {came:?}", undisturbed.ops()[second as usize]));
            let found = storage.after_crash(mode);
            check_found(&found, came, expected);
            check_end(&found, script, came, expected, mode == AfterCrash::POWER_LOST);
        }
    }
}
