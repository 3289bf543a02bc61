//! A scripted history, small enough to be replayed at every I/O operation: several kinds of streams, looks that grow, a
//! fork, resends, notes. And what a store holds of it, so that two stores can be compared exactly.

use erstwhile_engine::error::Error;
use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind, Micros, Name, StreamKey};
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::note;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::{Cost, HistoryRow, StreamEntry};
use erstwhile_engine::read::question::{HistoryQuestion, ListQuestion, StateQuestion, Subject, WhoQuestion};
use erstwhile_engine::read::view::View;
use erstwhile_engine::row::{Row, RowBuilder};
use erstwhile_engine::store::{Appended, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// How many batches the history has.
pub const BATCHES: usize = 21;
/// The second of the first look.
pub const FIRST: i64 = 1_545_645_600;
/// Seconds from one look to the next.
pub const STEP: i64 = 60;

const HOSTS: [&str; 3] = ["web-1", "web-2", "db"];

fn row(columns: &[(&str, &str)]) -> (Row, u64) {
    let mut builder = RowBuilder::new();
    columns.iter().for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
    (builder.row(), 1)
}

fn stream(host: &str, table: &str, kind: Kind) -> Arc<StreamKey> {
    Arc::new(StreamKey {
        table: Name::from(table.as_bytes()),
        host: Name::from(host.as_bytes()),
        name: Name::from(format!("pack/fleet/{table}").as_bytes()),
        kind,
        sightings: false,
    })
}

fn look(stream: Arc<StreamKey>, i: usize, whole: bool) -> Delivery {
    Delivery {
        counter: (stream.kind != Kind::Snapshot).then_some(i as u64),
        stream,
        epoch: 1,
        second: FIRST + STEP * i as i64,
        whole,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: Vec::new(),
    }
}

fn user(host: &str, i: usize) -> (Row, u64) {
    let uid = (1000 + i).to_string();
    let home = format!("/home/{host}/user{i}");
    row(&[("directory", &home), ("uid", &uid), ("username", &format!("user{i}"))])
}

fn users(host: &str, i: usize) -> Delivery {
    let mut look = look(stream(host, "users", Kind::Diff), i, true);
    look.added.push(user(host, i));
    match i {
        0 => look.added.extend((100..104).map(|i| user(host, i))),
        _ if i.is_multiple_of(2) => look.removed.push(user(host, i - 1)),
        _ => {}
    }
    look
}

fn addresses(host: &str, i: usize) -> Delivery {
    let mut look = look(stream(host, "interface_addresses", Kind::Snapshot), i, true);
    let address = format!("10.0.{}.{}", i / 3, HOSTS.iter().position(|other| *other == host).unwrap_or(9));
    look.added.push(row(&[("address", "127.0.0.1"), ("interface", "lo")]));
    look.added.push(row(&[("address", &address), ("interface", "eth0")]));
    look
}

/// A look that comes a row a line, in two deliveries, the second with more.
fn mounts(host: &str, i: usize, all: bool) -> Delivery {
    let mut look = look(stream(host, "mounts", Kind::Diff), i, false);
    let mount = |n: usize| row(&[("device", &format!("/dev/sd{n}")), ("path", &format!("/media/{n}"))]);
    look.added.push(mount(2 * i));
    if all {
        look.added.push(mount(2 * i + 1));
        if i > 0 {
            look.removed.push(mount(2 * i - 1));
        }
    }
    look
}

fn events(host: &str, i: usize) -> Delivery {
    let mut look = look(stream(host, "process_events", Kind::Event), i, false);
    let path = format!("/usr/bin/tool{}", i % 4);
    look.added.push(row(&[("path", &path), ("pid", &i.to_string()), ("time", &(FIRST + i as i64).to_string())]));
    look
}

fn version(host: &str, i: usize) -> Delivery {
    let mut note = look(Arc::new(note::key(note::VERSION, host.as_bytes())), i, false);
    (note.epoch, note.counter) = (0, None);
    note.added.push(row(&[("version", if i < 10 { "5.10.2" } else { "5.12.1" })]));
    note
}

fn dead_letter(i: usize) -> Delivery {
    let mut note = look(Arc::new(note::key(note::DEAD, b"/var/log/results.log")), i, false);
    note.epoch = 0;
    note.added.push(row(&[("bytes", "{"), ("length", "1"), ("reason", "not-json")]));
    note
}

/// Who sends all batches.
pub const PRODUCER: u128 = 7;

/// The batch of this number.
pub fn batch(i: usize) -> Batch {
    let mut deliveries = Vec::new();
    if i == 9 {
        // Nothing but what came before: no commit.
        return batch(3);
    }
    for host in HOSTS {
        deliveries.extend([users(host, i), addresses(host, i), events(host, i)]);
        if i > 0 {
            deliveries.push(mounts(host, i - 1, true));
        }
        deliveries.push(mounts(host, i, false));
        if i.is_multiple_of(5) {
            deliveries.push(version(host, i));
        }
    }
    match i {
        7 => {
            let mut fork = users("db", 3);
            fork.added.push(user("db", 500));
            deliveries.push(fork);
        }
        8 => deliveries.push(dead_letter(i)),
        // Known and new in one batch.
        12 => deliveries.extend(batch(11).deliveries),
        // A counter is skipped.
        15 => deliveries.retain(|delivery| *delivery.stream.host != *b"web-2"),
        _ => {}
    }
    Batch { producer: PRODUCER, sequence: i as u64, digest: 0, deliveries }
}

/// All batches.
pub fn batches() -> Vec<Batch> {
    (0..BATCHES).map(batch).collect()
}

/// Options under which the history is sealed often and merged more than once, all within the appends.
pub fn options() -> Options {
    Options {
        memtable_bytes_max: 8 << 10,
        merge_zstd_level: 1,
        merge_fanout: 4,
        background: false,
        ..Options::default()
    }
}

/// A clock at the beginning of the history.
pub fn clock() -> ManualClock {
    ManualClock::new((FIRST + 86_400) * 1_000_000)
}

/// Appends batches a second apart until one fails; tells how many were acknowledged, and why no more were.
pub fn append(store: &Store, clock: &ManualClock, batches: &[Batch]) -> (usize, Option<Error>) {
    for (acknowledged, batch) in batches.iter().enumerate() {
        match append_one(store, clock, batch) {
            Ok(_) => {}
            Err(error) => return (acknowledged, Some(error)),
        }
    }
    (batches.len(), None)
}

/// Appends one batch, a second later.
pub fn append_one(store: &Store, clock: &ManualClock, batch: &Batch) -> Result<Appended, Error> {
    clock.advance(1_000_000);
    store.append(batch.clone(), None)
}

/// Opens a store for writing.
pub fn open(storage: &(impl Storage + Clone + 'static), clock: &ManualClock, options: Options) -> Result<Store, Error> {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    Store::open(Arc::new(storage.clone()), clock, options, "a test")
}

/// Each stream's deliveries in words, with their recorded times.
pub type Facts = BTreeMap<String, Vec<(Micros, String)>>;

/// All that a view holds of the history.
pub fn facts(view: &View) -> Result<Facts, Error> {
    let keys = (0..BATCHES).flat_map(|i| batch(i).deliveries.into_iter().map(|delivery| delivery.stream));
    facts_of(view, keys.collect())
}

/// All that a view holds of osquery's tables, of these streams, and of which batches are in.
pub fn facts_of(view: &View, mut keys: BTreeSet<Arc<StreamKey>>) -> Result<Facts, Error> {
    for table in view.tables()? {
        keys.extend(view.streams_of(&table, None)?);
    }
    keys.insert(note::of_batch(PRODUCER, 0, 0).stream);
    let mut facts = Facts::new();
    for key in keys {
        let mut parts = view.parts(&key, view.bound(None), &mut Cost::default())?;
        if note::is_last_only(&key) {
            // Others may be kept or not.
            let last = parts.parts.iter().map(|part| part.counter).max();
            parts.parts.retain(|part| Some(part.counter) == last);
        }
        let mut words = Vec::new();
        for part in &parts.parts {
            let side = |copies: &[(u32, u64)]| {
                let mut copies: Vec<_> =
                    copies.iter().map(|&(row, count)| (&parts.rows[row as usize], count)).collect();
                copies.sort();
                format!("{copies:?}")
            };
            let text = format!(
                "{} {} {:?} {} {:?} -{} +{}",
                part.second,
                part.epoch,
                part.counter,
                part.whole,
                part.inferred,
                side(&part.removed),
                side(&part.added)
            );
            words.push((part.recorded, text));
        }
        words.sort();
        if !words.is_empty() {
            facts.insert(format!("{key:?}"), words);
        }
    }
    Ok(facts)
}

/// The facts without their recorded times.
pub fn timeless(facts: &Facts) -> BTreeMap<String, Vec<String>> {
    let of = |words: &Vec<(Micros, String)>| {
        let mut words: Vec<String> = words.iter().map(|(_, text)| text.clone()).collect();
        words.sort();
        words
    };
    facts.iter().map(|(stream, words)| (stream.clone(), of(words))).collect()
}

/// What the history leaves after each number of batches, in a store that is never sealed, stopped or opened again.
pub fn expected() -> Vec<Facts> {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let options = Options { memtable_bytes_max: 1 << 30, background: false, ..Options::default() };
    let store = open(&storage, &clock, options).expect("a memory holds a store");
    let mut expected = vec![Facts::new()];
    for batch in batches() {
        append_one(&store, &clock, &batch).expect("a memory takes a batch");
        expected.push(facts(&store.view()).expect("a memory is read"));
    }
    expected
}

/// The answers to all kinds of questions, in words; `cost`, `known_at` and skew, which depend on the layout and on when
/// things were recorded, are left out.
pub fn answers(view: &View) -> Result<String, Error> {
    answers_known(view, None)
}

/// The same as they were at a recorded time; then without dead letters, which are told as they are.
pub fn answers_known(view: &View, known_at: Option<Micros>) -> Result<String, Error> {
    let mut out = String::new();
    let list = ListQuestion { known_at, ..ListQuestion::default() };
    let mut say = |text: &dyn std::fmt::Debug| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{text:?}");
    };
    say(&view.list_hosts(&list)?);
    say(&view.list_tables(&list)?);
    for entry in view.list_streams(&list)? {
        say(&StreamEntry { skew: (0, 0), ..entry });
    }
    if known_at.is_none() {
        say(&view.dead_letters(&mut Cost::default())?);
    }
    // A table of which nothing was known has no answer.
    let tables: BTreeSet<Name> = match known_at {
        None => view.tables()?,
        Some(_) => view.list_tables(&list)?.into_iter().map(|entry| entry.table).collect(),
    };
    for table in &tables {
        let question = HistoryQuestion { known_at, ..history(table) };
        let rows: Vec<HistoryRow> = view.history(&question)?.rows;
        let mut in_parts = Vec::new();
        view.history_in_parts(&question, |part| {
            in_parts.extend(part);
            Ok(())
        })?;
        assert_eq!(in_parts, rows, "parts make up the whole");
        say(&rows);
    }
    for at in [FIRST, FIRST + STEP * 8 + 3, FIRST + STEP * 14 + 1, FIRST + STEP * 100] {
        for table in tables.iter().filter(|table| !table.ends_with(b"_events")) {
            let question =
                StateQuestion { table: table.clone(), at, host: None, stream: None, wheres: Vec::new(), known_at };
            let state = view.state(&question)?;
            say(&(state.rows, state.coverage));
        }
        let subject = Subject::Ip(Name::from(&b"10.0.2.1"[..]));
        let who = view.who(&WhoQuestion { subject, at, host: None, known_at })?;
        say(&(who.rows, who.coverage));
    }
    Ok(out)
}

/// The question for all of a table's history.
pub fn history(table: &Name) -> HistoryQuestion {
    HistoryQuestion {
        table: table.clone(),
        host: None,
        stream: None,
        wheres: Vec::new(),
        from: None,
        to: None,
        known_at: None,
    }
}
