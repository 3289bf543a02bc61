//! What one look may cost at most, whatever came before it and after.

use crate::fleet::{self, append, delivery, host, mix, open, row, second};
use crate::questions::state;
use erstwhile_engine::fact::{Kind, Name, StreamKey};
use erstwhile_engine::read::answer::Verdict;
use erstwhile_engine::row::Row;
use erstwhile_engine::segment::directory::Form;
use erstwhile_engine::segment::run::BLOCK_VERSIONS_MAX;
use erstwhile_engine::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What makes a stream one that is not regular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    /// Nothing.
    No,
    /// A look is lost, early on: what is carried on from there can never be vouched for again.
    Lost,
    /// A look is delivered twice, the second time with less of it.
    Twice,
    /// Looks come twice with different content, all along.
    Forks,
    /// One copy of a row that has two leaves before the other.
    Copies,
}

/// A store with one stream: `born` tells of each look for how many looks the rows that come with it stay. Also the looks
/// that there are, which are those at which anything changes.
fn store(looks: u64, odd: Odd, born: impl Fn(u64) -> Vec<u64>) -> (Store, Vec<u64>) {
    store_with(looks, odd, 0, born)
}

/// The same with so many of the looks in memory, after all others were merged.
fn store_with(looks: u64, odd: Odd, after_merge: usize, born: impl Fn(u64) -> Vec<u64>) -> (Store, Vec<u64>) {
    let (store, clock) = open();
    let name = Name::from(&b"pack/fleet/processes"[..]);
    let table = Name::from(&b"processes"[..]);
    let key = Arc::new(StreamKey { table, host: host(0), name, kind: Kind::Diff, sightings: false });
    let mut dying: BTreeMap<u64, Vec<(Row, u64)>> = BTreeMap::new();
    let (mut counter, mut pid) = (0, 0);
    let mut seen = Vec::new();
    let (mut deliveries, mut twice) = (Vec::new(), Vec::new());
    for look in 0..looks {
        let mut delivery = delivery(&key, Some(counter), second(look));
        delivery.removed = dying.remove(&look).unwrap_or_default();
        for lifetime in born(look) {
            pid += 1;
            let name = format!("tool{}", mix([look, pid, 0]) % 9);
            let row = row(&[("name", &name), ("pid", &u64::to_string(&pid))]);
            dying.entry(look + lifetime).or_default().push((row.clone(), 1));
            let has_two = odd == Odd::Copies && pid % 3 == 0;
            if has_two {
                dying.entry(look + lifetime + 1).or_default().push((row.clone(), 1));
            }
            delivery.added.push((row, 1 + u64::from(has_two)));
        }
        if counter == 0 || !delivery.added.is_empty() || !delivery.removed.is_empty() {
            seen.push(look);
            let is_early = seen.len() == 20;
            if odd == Odd::Twice && is_early || odd == Odd::Forks && look % 9 == 4 {
                let mut again = delivery.clone();
                again.whole = odd == Odd::Forks;
                again.added.truncate(1);
                again.removed.clear();
                twice.push(again);
            }
            counter += 1 + u64::from(odd == Odd::Lost && is_early);
            deliveries.push(delivery);
        }
    }
    let later = deliveries.split_off(deliveries.len() - after_merge);
    append(&store, &clock, deliveries);
    append(&store, &clock, twice);
    store.compact().unwrap();
    append(&store, &clock, later);
    (store, seen)
}

/// Asks for the state at every look: decodes the rows of the answer and no others, and of keys at most four times as many
/// and two blocks.
fn check(what: &str, odd: Odd, (store, looks): (Store, Vec<u64>)) {
    let view = store.view();
    let [segment] = view.segments() else { panic!("{what}: all is in one segment") };
    let reader = segment.table(b"processes").unwrap().expect("the table is there");
    let is_regular = reader.directory.records().all(|stream| stream.form == Form::Run);
    assert_eq!(is_regular, odd == Odd::No, "{what}: whether the stream is regular");
    let has_run = reader.directory.records().all(|stream| stream.run().is_some());
    assert!(has_run, "{what}: what the stream means is told");
    assert!(reader.directory.pieces() > 1 || looks.len() < 1000, "{what}: a long history is several pieces");
    for look in looks {
        let answer = view.state(&state("processes", fleet::second(look), Some(host(0)), None)).unwrap();
        let (rows, cost) = (answer.rows.len() as u64, answer.cost);
        let bound = 4 * rows + 2 * BLOCK_VERSIONS_MAX as u64;
        assert_eq!(cost.rows_decoded, rows, "{what}, look {look}: no row is decoded that is not live");
        assert!(cost.keys_decoded <= bound, "{what}, look {look}: {} keys for {rows} rows", cost.keys_decoded);
        assert_eq!(cost.streams_resolved, 0, "{what}, look {look}: nothing is replayed");
    }
}

#[test]
fn no_look_costs_more_keys_than_its_rows_allow() {
    check("short lives", Odd::No, store(3000, Odd::No, |look| (0..10).map(|i| 1 + mix([look, i, 1]) % 4).collect()));
    check(
        "lives of all lengths",
        Odd::No,
        store(3000, Odd::No, |look| {
            (0..6).map(|i| 1 + (1 << (mix([look, i, 2]) % 10)) + mix([look, i, 3]) % 7).collect()
        }),
    );
    check(
        "a long calm",
        Odd::No,
        store(8000, Odd::No, |look| if look == 0 { vec![50_000; 300] } else { vec![1 + look % 3] }),
    );
    check("one row at a time", Odd::No, store(6000, Odd::No, |look| vec![1 + look % 2]));
    check(
        "a flood, and little after it",
        Odd::No,
        store(3000, Odd::No, |look| match look {
            500 => vec![10_000; 4000],
            _ => vec![1 + look % 30, 1 + look % 7, 2],
        }),
    );
    check(
        "many looks at which rows only go",
        Odd::No,
        store(2000, Odd::No, |look| match look % 500 {
            0 => (0..400).map(|i| 50 + i).collect(),
            _ => vec![2],
        }),
    );
}

/// A keyframe comes with a block, and a block with rows that come; where many leave and few come there is one all the same.
#[test]
fn a_state_that_shrinks_costs_what_is_left() {
    check(
        "what was many is few",
        Odd::No,
        store(200, Odd::No, |look| match look {
            0 => (0..3000).map(|i| if i < 10 { 1000 } else { 5 }).collect(),
            _ => vec![2],
        }),
    );
}

/// Of a stream that is not regular too, whatever makes it so.
#[test]
fn no_look_costs_more_where_the_stream_is_not_regular() {
    let lengths = |look| (0..6).map(|i| 1 + (1 << (mix([look, i, 2]) % 10)) + mix([look, i, 3]) % 7).collect();
    for odd in [Odd::Lost, Odd::Twice, Odd::Forks, Odd::Copies] {
        check(&format!("{odd:?}"), odd, store(2000, odd, lengths));
    }
    let calm = |look| if look == 0 { vec![50_000; 300] } else { vec![1 + look % 3] };
    check("a long calm after a loss", Odd::Lost, store(4000, Odd::Lost, calm));
}

/// While a store is written to, what came since a merge is all that is walked, also where the state has been in doubt since a
/// loss long before.
#[test]
fn what_comes_after_a_loss_costs_no_replay() {
    let lengths =
        |look| if look == 0 { vec![50_000; 300] } else { (0..6).map(|i| 1 + mix([look, i, 2]) % 90).collect() };
    for odd in [Odd::No, Odd::Lost] {
        let (store, looks) = store_with(2000, odd, 5, lengths);
        let view = store.view();
        for look in looks.into_iter().rev().take(9) {
            let answer = view.state(&state("processes", fleet::second(look), Some(host(0)), None)).unwrap();
            let (rows, cost) = (answer.rows.len() as u64, answer.cost);
            let unsure = answer.rows.iter().filter(|row| row.verdict == Verdict::Unknown).count();
            assert_eq!(unsure > 0, odd == Odd::Lost, "{odd:?}: what was carried on is in doubt");
            // Those that were alive at the end of the run are read to go on from, beside those that are asked for.
            assert!(cost.rows_decoded <= 2 * rows + 60, "{odd:?}, look {look}: {cost:?} for {rows} rows");
        }
    }
}
