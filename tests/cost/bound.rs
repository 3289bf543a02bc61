//! What one look may cost at most, whatever came before it and after.

use crate::fleet::{self, append, delivery, host, mix, open, row, second};
use crate::questions::state;
use erstwhile_engine::fact::{Kind, Name, StreamKey};
use erstwhile_engine::row::Row;
use erstwhile_engine::segment::directory::Form;
use erstwhile_engine::segment::run::BLOCK_VERSIONS_MAX;
use erstwhile_engine::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store with one stream: `born` tells of each look for how many looks the rows that come with it stay. Also the looks
/// that there are, which are those at which anything changes.
fn store(looks: u64, born: impl Fn(u64) -> Vec<u64>) -> (Store, Vec<u64>) {
    let (store, clock) = open();
    let name = Name::from(&b"pack/fleet/processes"[..]);
    let table = Name::from(&b"processes"[..]);
    let key = Arc::new(StreamKey { table, host: host(0), name, kind: Kind::Diff, sightings: false });
    let mut dying: BTreeMap<u64, Vec<(Row, u64)>> = BTreeMap::new();
    let (mut counter, mut pid) = (0, 0);
    let mut seen = Vec::new();
    let mut deliveries = Vec::new();
    for look in 0..looks {
        let mut delivery = delivery(&key, Some(counter), second(look));
        delivery.removed = dying.remove(&look).unwrap_or_default();
        for lifetime in born(look) {
            pid += 1;
            let name = format!("tool{}", mix([look, pid, 0]) % 9);
            let row = row(&[("name", &name), ("pid", &u64::to_string(&pid))]);
            dying.entry(look + lifetime).or_default().push((row.clone(), 1));
            delivery.added.push((row, 1));
        }
        if counter == 0 || !delivery.added.is_empty() || !delivery.removed.is_empty() {
            seen.push(look);
            counter += 1;
            deliveries.push(delivery);
        }
    }
    append(&store, &clock, deliveries);
    store.compact().unwrap();
    (store, seen)
}

/// Asks for the state at every look: decodes the rows of the answer and no others, and of keys at most four times as many
/// and two blocks.
fn check(what: &str, (store, looks): (Store, Vec<u64>)) {
    let view = store.view();
    let [segment] = view.segments() else { panic!("{what}: all is in one segment") };
    let reader = segment.table(b"processes").unwrap().expect("the table is there");
    assert!(reader.directory.records().all(|stream| stream.form == Form::Run), "{what}: the stream is regular");
    assert!(reader.directory.pieces() > 1 || looks.len() < 1000, "{what}: a long history is several pieces");
    for look in looks {
        let answer = view.state(&state("processes", fleet::second(look), Some(host(0)), None)).unwrap();
        let (rows, cost) = (answer.rows.len() as u64, answer.cost);
        let bound = 4 * rows + 2 * BLOCK_VERSIONS_MAX as u64;
        assert_eq!(cost.rows_decoded, rows, "{what}, look {look}: no row is decoded that is not live");
        assert!(cost.keys_decoded <= bound, "{what}, look {look}: {} keys for {rows} rows", cost.keys_decoded);
    }
}

#[test]
fn no_look_costs_more_keys_than_its_rows_allow() {
    check("short lives", store(3000, |look| (0..10).map(|i| 1 + mix([look, i, 1]) % 4).collect()));
    check(
        "lives of all lengths",
        store(3000, |look| (0..6).map(|i| 1 + (1 << (mix([look, i, 2]) % 10)) + mix([look, i, 3]) % 7).collect()),
    );
    check("a long calm", store(8000, |look| if look == 0 { vec![50_000; 300] } else { vec![1 + look % 3] }));
    check("one row at a time", store(6000, |look| vec![1 + look % 2]));
    check(
        "a flood, and little after it",
        store(3000, |look| match look {
            500 => vec![10_000; 4000],
            _ => vec![1 + look % 30, 1 + look % 7, 2],
        }),
    );
    check(
        "many looks at which rows only go",
        store(2000, |look| match look % 500 {
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
        store(200, |look| match look {
            0 => (0..3000).map(|i| if i < 10 { 1000 } else { 5 }).collect(),
            _ => vec![2],
        }),
    );
}
