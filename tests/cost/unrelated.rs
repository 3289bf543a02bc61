//! The same questions of a small fleet, and of one with ten times as many hosts, ten times the history, or more tables; and
//! the same of two that are written to.
//!
//! One question's cost depends on where in its block and piece the look stands, and a history that begins elsewhere is
//! cut elsewhere. So what is compared is the cost of a question at looks spread over a few pieces.

use crate::fleet::{Fleet, LIFETIME_MAX, POOL};
use crate::questions::{ALL, Question, SPAN};
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::read::view::View;
use erstwhile_engine::segment::cache::Cache;
use erstwhile_engine::segment::directory::Form;
use erstwhile_engine::segment::rows::ROWS_MAX;
use erstwhile_engine::segment::run::{BLOCK_VERSIONS_MAX, PIECE_WEIGHT_MIN};
use erstwhile_engine::store::Store;
use std::collections::BTreeMap;

const BASE: Fleet = Fleet { hosts: POOL, looks: 4500..5000, others: &[], unmerged: 0 };

/// The looks of the first pieces of the shortest history at most. What always is came with its first look, so a question
/// about these looks reads one piece less.
const FIRST_PIECE: u64 = 130;

/// The looks that are asked about: those at which everything that is alive, but what always is, came within the
/// shortest history.
fn looks() -> impl Iterator<Item = u64> {
    const { assert!(FIRST_PIECE > LIFETIME_MAX) };
    (BASE.looks.start + FIRST_PIECE..BASE.looks.end - SPAN).step_by(5)
}

/// The host that is asked about: a keeper.
const HOST: u64 = 1;

struct Asked {
    rows: usize,
    cost: Cost,
    asked: u64,
}

/// Whether the column that a question asks for, if it does, has an index.
fn is_indexed(view: &View, question: Question) -> bool {
    let Some((table, column)) = question.index() else { return true };
    let [segment] = view.segments() else { panic!("all is in one segment") };
    let reader = segment.table(table.as_bytes()).unwrap().expect("the table is there");
    reader.index(column.as_bytes(), &Cache::new(0), &mut Cost::default()).unwrap().is_some()
}

/// What every question costs in all.
fn costs(store: &Store, questions: &[Question]) -> BTreeMap<Question, Asked> {
    let view = store.view();
    for segment in view.segments() {
        for reader in segment.tables() {
            for stream in reader.unwrap().directory.records() {
                assert_eq!(stream.form, Form::Run, "{stream:?} is regular");
            }
        }
    }
    let of = |question: Question| {
        assert!(is_indexed(&view, question), "{question:?}");
        let mut all = Asked { rows: 0, cost: Cost::default(), asked: 0 };
        for look in looks() {
            let (rows, cost) = question.ask(&view, HOST, look);
            assert!(rows > 0, "{question:?} at {look} has an answer");
            assert_eq!(cost.blocks_verified, 0, "{question:?} at {look} is warm");
            assert_eq!(cost.streams_resolved, 0, "{question:?} at {look} is answered from runs");
            all.rows += rows;
            all.cost.add(&cost);
            all.asked += 1;
        }
        (question, all)
    };
    questions.iter().copied().map(of).collect()
}

/// How far the counters of one question may move, besides a factor of 1.15.
#[derive(Clone, Copy, Default)]
struct Allowed {
    rows: u64,
    keys: u64,
    bytes: u64,
}

/// Whether a counter is within 1.15 times what it was, and a constant.
fn is_alike(base: u64, other: u64, constant: u64) -> bool {
    100 * other <= 115 * base + 100 * constant && 100 * base <= 115 * other + 100 * constant
}

/// Compares what the questions cost in a fleet with what they cost in the smallest.
fn compare(fleet: &Fleet, questions: &[Question], allowed: impl Fn(Question) -> Allowed) {
    let base = costs(&BASE.store(), questions);
    let mut moved = Vec::new();
    for (question, other) in costs(&fleet.store(), questions) {
        let base = &base[&question];
        assert_eq!(base.rows, other.rows, "{question:?} has one answer");
        let Allowed { rows, keys, bytes } = allowed(question);
        let (a, b, asked) = (&base.cost, &other.cost, base.asked);
        let is_good = a.segments_touched == b.segments_touched
            && is_alike(a.rows_decoded, b.rows_decoded, rows * asked)
            && is_alike(a.keys_decoded, b.keys_decoded, keys * asked)
            && is_alike(a.bytes_read, b.bytes_read, bytes * asked);
        if !is_good {
            moved.push(format!("{question:?}, asked {asked} times:\n  {a:?}\n  {b:?}"));
        }
    }
    assert!(moved.is_empty(), "moved:\n{}", moved.join("\n"));
}

#[test]
fn other_tables_cost_nothing() {
    let fleet = Fleet { others: &["deb_packages", "listening_ports", "mounts"], ..BASE };
    let base = costs(&BASE.store(), &ALL);
    for (question, other) in costs(&fleet.store(), &ALL) {
        assert_eq!(base[&question].cost, other.cost, "{question:?}");
    }
}

/// The tables' dictionaries are those of more hosts: what stands for one of ten times as many values takes up to four
/// bits more, which in the smallest streams, of about 100 versions, is more than a 1.15th.
#[test]
fn other_hosts_cost_nothing() {
    let fleet = Fleet { hosts: 10 * POOL, ..BASE };
    compare(&fleet, &ALL, |_| Allowed { bytes: 64, ..Allowed::default() });
}

/// Streams that change so seldom that the short history of them does not fill a piece, nor some of them a block, fill
/// them in the long one; from there on they do not grow. Events are decoded by the block, at both ends of a span.
#[test]
fn other_times_cost_nothing() {
    let fleet = Fleet { looks: 2250..7250, ..BASE };
    let block = BLOCK_VERSIONS_MAX as u64;
    let questions: Vec<Question> = ALL.into_iter().filter(|question| *question != Question::WhoChangingUid).collect();
    compare(&fleet, &questions, |question| match question {
        Question::WhoIp | Question::WhoIpOfHost | Question::WhoUid | Question::UsersOfName => {
            Allowed { bytes: PIECE_WEIGHT_MIN as u64, ..Allowed::default() }
        }
        Question::Users | Question::Addresses => {
            Allowed { keys: block, bytes: PIECE_WEIGHT_MIN as u64, ..Allowed::default() }
        }
        Question::Events => Allowed { rows: block, keys: block, bytes: 0 },
        _ => Allowed::default(),
    });
}

/// A value that comes again and again in one stream.
#[test]
fn other_times_of_a_value_cost_nothing() {
    let fleet = Fleet { looks: 2250..7250, ..BASE };
    compare(&fleet, &[Question::WhoChangingUid], |_| Allowed { bytes: PIECE_WEIGHT_MIN as u64, ..Allowed::default() });
}

/// A fleet that is written to.
const LIVE: Fleet = Fleet { hosts: POOL, looks: 4200..5000, others: &[], unmerged: 100 };

/// What is not merged yet is walked once, and nothing of what was merged is replayed for it: neither its length nor other
/// hosts move what a question costs, about a look before the merge or after it.
#[test]
fn a_store_that_is_written_to_replays_nothing() {
    let costs = |fleet: &Fleet, looks: &[u64]| -> BTreeMap<Question, Asked> {
        let store = fleet.store();
        let view = store.view();
        assert_eq!(view.segments().len(), 2, "one merged, one as it was sealed");
        let of = |question: Question| {
            let mut all = Asked { rows: 0, cost: Cost::default(), asked: 0 };
            for &look in looks {
                let (rows, cost) = question.ask(&view, HOST, look);
                assert!(rows > 0, "{question:?} at {look} has an answer");
                all.rows += rows;
                all.cost.add(&cost);
                all.asked += 1;
            }
            (question, all)
        };
        ALL.into_iter().map(of).collect()
    };
    let longer = Fleet { looks: 2000..5000, ..LIVE };
    let wider = Fleet { hosts: 3 * POOL, ..LIVE };
    // Of what was sealed in haste, rows are decoded by the block, and all hosts share blocks.
    let (rows, block, piece) = (ROWS_MAX as u64, BLOCK_VERSIONS_MAX as u64, PIECE_WEIGHT_MIN as u64);
    for looks in [(4600..4800).step_by(11), (4905..4955).step_by(5)] {
        let looks: Vec<u64> = looks.collect();
        let base = costs(&LIVE, &looks);
        for (what, fleet) in [("a longer history", &longer), ("more hosts", &wider)] {
            for (question, other) in costs(fleet, &looks) {
                let (a, b, asked) = (&base[&question].cost, &other.cost, other.asked);
                assert_eq!(base[&question].rows, other.rows, "{question:?} has one answer");
                let is_good = is_alike(a.rows_decoded, b.rows_decoded, rows * asked)
                    && is_alike(a.keys_decoded, b.keys_decoded, 2 * block * asked)
                    && is_alike(a.bytes_read, b.bytes_read, 2 * piece * asked)
                    && a.streams_resolved == b.streams_resolved;
                assert!(is_good, "{what}, {question:?} from {}, {asked} times:\n  {a:?}\n  {b:?}", looks[0]);
            }
        }
    }
}
