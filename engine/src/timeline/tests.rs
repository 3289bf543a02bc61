//! Each test tells one way in which a log lies, and what may still be said.

use super::loss::Loss;
use super::moments::{Moments, stretches};
use super::regular::versions;
use super::resolve::{GONE_OVER, Timeline};
use super::verdict::Class;
use super::{AgentHistory, Part, build};
use crate::agent::AgentVersion;
use crate::fact::{Inferred, Kind};
use crate::read::answer::{Cause, End, Start, Verdict};
use crate::row::{Row, RowBuilder};
use proptest::prelude::*;

fn rows() -> Vec<Row> {
    let mut builder = RowBuilder::new();
    let row = |text: &[u8]| {
        builder.clear();
        builder.column(b"k", text);
        builder.row()
    };
    [&b"a"[..], b"b", b"c"].map(row).to_vec()
}

fn agent(version: (u32, u32, u32)) -> AgentHistory {
    AgentHistory { given: Some((AgentVersion(version.0, version.1, version.2), "given".to_owned())), noted: Vec::new() }
}

/// A look in one line: (counter, second, removed rows, added rows), one copy each.
fn look(counter: u64, second: i64, removed: &[u32], added: &[u32]) -> Part {
    let once = |rows: &[u32]| rows.iter().map(|&row| (row, 1)).collect();
    Part {
        epoch: 0,
        counter: Some(counter),
        second,
        whole: true,
        inferred: Inferred::V5_7,
        recorded: second * 1_000_000,
        removed: once(removed),
        added: once(added),
    }
}

fn diff(parts: Vec<Part>) -> Timeline {
    build(Kind::Diff, parts, &rows(), &agent((5, 7, 0)))
}

/// What holds at T: (row, copies, verdict).
fn at(timeline: &Timeline, second: i64) -> Vec<(u32, u64, Verdict)> {
    let bracket = timeline.bracket(second);
    let mut held: Vec<_> = timeline.held(&bracket).iter().map(|j| (j.span.row, j.count, j.verdict)).collect();
    held.sort_unstable();
    held
}

fn class(timeline: &Timeline, second: i64) -> Class {
    timeline.class(&timeline.bracket(second))
}

/// (from, to, cause) of each break.
fn breaks(timeline: &Timeline) -> Vec<(Option<i64>, Option<i64>, Cause)> {
    timeline.breaks.iter().map(|b| (b.from, b.to, b.cause)).collect()
}

#[test]
fn a_row_is_definite_between_two_looks_and_presumed_after_the_last() {
    let timeline = diff(vec![look(0, 10, &[], &[0, 1]), look(1, 20, &[1], &[2])]);
    assert_eq!(at(&timeline, 9), []);
    assert_eq!(at(&timeline, 10), [(0, 1, Verdict::Definite), (1, 1, Verdict::Definite)]);
    assert_eq!(at(&timeline, 15), [(0, 1, Verdict::Definite), (1, 1, Verdict::Possible)]);
    assert_eq!(at(&timeline, 21), [(0, 1, Verdict::Presumed), (2, 1, Verdict::Presumed)]);
    assert_eq!(class(&timeline, 9), Class::Unknown(Cause::BeforeFirst));
    assert_eq!((class(&timeline, 15), class(&timeline, 20)), (Class::Covered, Class::Covered));
    assert_eq!(class(&timeline, 21), Class::Presumed);
}

#[test]
fn the_look_after_t_may_be_the_only_one_that_saw_a_row() {
    let timeline = diff(vec![look(0, 10, &[], &[0]), look(1, 20, &[], &[1])]);
    let bracket = timeline.bracket(15);
    let only: Vec<_> = timeline.only_after(&bracket).iter().map(|j| (j.span.row, j.count, j.verdict)).collect();
    assert_eq!(only, [(1, 1, Verdict::Possible)]);
    assert!(timeline.only_after(&timeline.bracket(10)).is_empty(), "at a look nothing else is a candidate");
}

#[test]
fn looks_come_in_any_order() {
    let parts = vec![look(0, 10, &[], &[0]), look(1, 20, &[0], &[1]), look(2, 30, &[1], &[2])];
    let (forth, mut back) = (diff(parts.clone()), parts);
    back.reverse();
    let back = diff(back);
    assert_eq!((forth.steps, forth.spans, forth.breaks), (back.steps, back.spans, back.breaks));
}

#[test]
fn of_two_deliveries_the_larger_count_holds() {
    let mut half = look(0, 10, &[], &[0]);
    half.whole = false;
    let mut more = half.clone();
    more.added = vec![(0, 3), (1, 1)];
    let timeline = diff(vec![more, half]);
    assert_eq!(at(&timeline, 10), [(0, 3, Verdict::Definite), (1, 1, Verdict::Definite)]);
    assert_eq!(timeline.looks, 1);
}

/// An epoch labels a run of counters: what shares counter and second in two of them are two looks.
#[test]
fn looks_of_two_epochs_are_not_joined() {
    let of = |epoch, added: &[u32]| Part { epoch, whole: false, ..look(0, 10, &[], added) };
    let looks = super::join::join(vec![of(1, &[0]), of(2, &[1]), of(1, &[2])], &rows());
    let looks: Vec<_> = looks.into_iter().map(|look| (look.epoch, look.added)).collect();
    assert_eq!(looks, [(1, vec![(0, 1), (2, 1)]), (2, vec![(1, 1)])]);
}

/// Until 5.19 what has counter 0 again in epoch 0 need not be a full set, until 5.8.2 in no epoch.
#[test]
fn a_counter_0_is_trusted_by_agent_and_epoch() {
    let is_doubted = |version, epoch| {
        let parts = [look(0, 10, &[], &[0]), look(1, 20, &[], &[1]), look(0, 30, &[], &[2])];
        let parts = parts.map(|part| Part { epoch, ..part }).to_vec();
        let timeline = build(Kind::Diff, parts, &rows(), &agent(version));
        breaks(&timeline).iter().any(|(.., cause)| *cause == Cause::DoubtfulZero)
    };
    assert_eq!([0, 7].map(|epoch| is_doubted((5, 8, 1), epoch)), [true, true]);
    assert_eq!([0, 7].map(|epoch| is_doubted((5, 18, 0), epoch)), [true, false]);
    assert_eq!([0, 7].map(|epoch| is_doubted((5, 19, 0), epoch)), [false, false]);
}

/// Of two contents of one look with counter 0 the full set comes first, and the other is a fork of it.
#[test]
fn a_full_set_comes_before_its_twin() {
    let timeline = diff(vec![look(0, 10, &[], &[0]), look(0, 10, &[0], &[1])]);
    assert_eq!(breaks(&timeline), [(Some(10), None, Cause::Fork)]);
    assert_eq!(timeline.steps, [10, 10]);
}

#[test]
fn a_skipped_counter_makes_what_is_carried_unknown_until_the_next_full_set() {
    let mut full = look(0, 40, &[], &[0]);
    full.epoch = 7;
    let timeline = diff(vec![look(0, 10, &[], &[0]), look(2, 20, &[], &[1]), look(3, 30, &[], &[]), full]);
    assert_eq!(breaks(&timeline), [(Some(11), Some(40), Cause::Gap)]);
    assert_eq!(at(&timeline, 10), [(0, 1, Verdict::Definite)]);
    assert_eq!(at(&timeline, 15), [(0, 1, Verdict::Unknown)]);
    assert_eq!(at(&timeline, 25), [(0, 1, Verdict::Unknown), (1, 1, Verdict::Definite)], "that look saw it");
    assert_eq!(class(&timeline, 25), Class::Unknown(Cause::Gap));
    assert_eq!(at(&timeline, 40), [(0, 1, Verdict::Definite)]);
    let ends: Vec<_> = timeline.spans.iter().filter(|s| s.row == 0).map(|s| (s.from, s.to, s.start, s.end)).collect();
    assert_eq!(
        ends,
        [
            (10, Some(11), Start::Seen, End::Break),
            (11, Some(40), Start::Break, End::Gone),
            (40, None, Start::Seen, End::Open),
        ]
    );
}

#[test]
fn agents_that_count_runs_skip_counters_for_no_reason() {
    let parts = vec![look(0, 10, &[], &[0]), look(5, 20, &[], &[1])];
    assert!(build(Kind::Diff, parts, &rows(), &agent((4, 4, 0))).breaks.is_empty());
}

#[test]
fn a_counter_that_comes_again_with_other_content_is_a_fork() {
    let timeline =
        diff(vec![look(0, 10, &[], &[0]), look(1, 20, &[], &[1]), look(1, 30, &[], &[2]), look(2, 40, &[], &[])]);
    assert_eq!(breaks(&timeline), [(Some(21), None, Cause::Fork), (Some(31), None, Cause::Fork)]);
}

#[test]
fn without_a_full_set_only_what_was_seen_coming_is_sure() {
    let timeline = diff(vec![look(4, 10, &[], &[0]), look(5, 20, &[], &[1])]);
    assert_eq!(breaks(&timeline), [(None, None, Cause::NoBase)]);
    assert_eq!(at(&timeline, 15), [(0, 1, Verdict::Definite)]);
    assert_eq!(class(&timeline, 15), Class::Unknown(Cause::NoBase));
}

#[test]
fn a_counter_0_with_removals_is_no_full_set() {
    let timeline = diff(vec![look(0, 10, &[], &[0, 1]), look(0, 20, &[1], &[2])]);
    assert_eq!(breaks(&timeline), [(Some(11), None, Cause::DoubtfulZero)]);
    assert_eq!(at(&timeline, 20), [(0, 1, Verdict::Unknown), (2, 1, Verdict::Definite)]);
}

#[test]
fn a_removed_row_that_was_not_held_proves_a_loss_but_for_old_agents() {
    let parts = vec![look(0, 10, &[], &[0]), look(1, 20, &[1], &[])];
    assert_eq!(breaks(&diff(parts.clone())), [(Some(11), None, Cause::NotHeld)]);
    assert!(build(Kind::Diff, parts, &rows(), &agent((2, 11, 1))).breaks.is_empty());
}

#[test]
fn a_clock_that_goes_back_does_not_turn_the_order_around() {
    let timeline = diff(vec![look(0, 10, &[], &[0]), look(1, 30, &[], &[1]), look(2, 20, &[1], &[])]);
    assert_eq!(timeline.steps, [10, 30, 30]);
    assert_eq!(at(&timeline, 30), [(0, 1, Verdict::Definite)], "after the last look of that second");
    let moment: Vec<_> = timeline.spans.iter().filter(|s| s.row == 1).map(|s| (s.from, s.to)).collect();
    assert_eq!(moment, [(30, Some(30))], "a version of zero length");
}

#[test]
fn a_new_epoch_closes_what_it_no_longer_sees() {
    let mut full = look(0, 20, &[], &[1]);
    full.epoch = 1;
    let timeline = diff(vec![look(0, 10, &[], &[0, 1]), full, look(1, 30, &[0], &[])]);
    assert_eq!(at(&timeline, 25), [(1, 1, Verdict::Presumed)], "the old epoch's looks answer nothing any more");
    assert_eq!(timeline.spans.iter().find(|s| s.row == 0).map(|s| s.to), Some(Some(20)));
    assert_eq!(timeline.spans.iter().filter(|s| s.row == 1).count(), 1, "a full set does not split what stays");
}

#[test]
fn two_snapshots_of_one_second_dispute_it() {
    let snapshots =
        vec![look(0, 10, &[], &[0]), look(0, 20, &[], &[0]), look(0, 20, &[], &[1]), look(0, 30, &[], &[1])];
    let timeline = build(Kind::Snapshot, snapshots, &rows(), &AgentHistory::default());
    assert_eq!(breaks(&timeline), [(Some(20), Some(30), Cause::Fork)]);
    assert_eq!(class(&timeline, 15), Class::Unknown(Cause::Fork), "what follows is disputed");
    assert_eq!(at(&timeline, 25), [(1, 1, Verdict::Unknown)], "the larger content answers");
    assert_eq!(at(&timeline, 30), [(1, 1, Verdict::Definite)]);
}

#[test]
fn the_idle_zeros_of_two_releases_are_no_looks() {
    let parts = vec![look(0, 10, &[], &[0]), look(0, 20, &[], &[]), look(1, 30, &[], &[1])];
    let timeline = build(Kind::Diff, parts, &rows(), &agent((5, 8, 1)));
    assert_eq!((timeline.looks, timeline.breaks.len()), (2, 0));
    assert_eq!(at(&timeline, 25), [(0, 1, Verdict::Definite)]);
}

#[test]
fn the_agents_version_is_the_newest_known_by_then_else_the_earliest_after() {
    let note = |second, minor: u32| (second, AgentVersion(5, minor, 0), format!("5.{minor}.0"));
    let agent = AgentHistory::new(None, vec![note(20, 8), note(10, 7), note(20, 9)]);
    let at = |second| agent.at(second).map(|(version, _)| version.1);
    assert_eq!([at(5), at(10), at(19), at(20), at(99)], [Some(7), Some(7), Some(7), Some(9), Some(9)]);
    assert_eq!(AgentHistory::default().at(5), None);
}

#[test]
fn what_is_lost_is_unknown_until_a_full_set_that_is_one_whatever_is_lost() {
    let full = |epoch, second| Part { epoch, ..look(0, second, &[], &[0]) };
    let lost = Loss { in_order: true, ..Loss::between(20, 30) }.part(1);
    let parts = vec![full(0, 10), lost, look(3, 40, &[], &[1]), look(4, 50, &[], &[2]), full(7, 60), full(9, 70)];
    let timeline = build(Kind::Diff, parts.clone(), &rows(), &agent((5, 8, 2)));
    assert_eq!(breaks(&timeline), [(Some(11), Some(60), Cause::Gap), (Some(11), Some(60), Cause::Damage)]);
    assert_eq!(at(&timeline, 10), [(0, 1, Verdict::Definite)]);
    assert_eq!(at(&timeline, 45), [(0, 1, Verdict::Unknown), (1, 1, Verdict::Definite)], "that look saw it");
    assert_eq!(class(&timeline, 15), Class::Unknown(Cause::Gap));
    assert_eq!((class(&timeline, 60), timeline.looks, timeline.seconds), (Class::Covered, 5, Some((10, 70))));
    // Here the lost looks may have begun either epoch, so that neither counter 0 is a full set for sure.
    let timeline = build(Kind::Diff, parts, &rows(), &agent((4, 9, 0)));
    assert_eq!(breaks(&timeline), [(Some(11), Some(60), Cause::Gap), (Some(11), None, Cause::Damage)]);
    assert_eq!(class(&timeline, 60), Class::Unknown(Cause::Damage));
    assert_eq!(at(&timeline, 60), [(0, 1, Verdict::Definite)]);
}

/// A loss that is in order says nothing of one before it that is not: a look of that one may come after all that is known.
#[test]
fn a_loss_in_order_does_not_end_the_doubt_of_another() {
    let lost = [Loss::between(20, 21), Loss { in_order: true, ..Loss::between(30, 31) }].map(|loss| loss.part(1));
    let known = [look(0, 10, &[], &[0]), look(4, 40, &[], &[1])];
    let timeline = diff(known.into_iter().chain(lost.clone()).collect());
    assert_eq!(at(&timeline, 40), [(0, 1, Verdict::Unknown), (1, 1, Verdict::Unknown)]);
    // Where looks are known to be out of order, so may be the lost ones.
    let lost_in_order = Loss { in_order: true, ..Loss::between(20, 21) }.part(1);
    let known = [look(0, 10, &[], &[0]), look(2, 10, &[], &[2]), look(4, 40, &[], &[1])];
    let timeline = diff(known.into_iter().chain([lost_in_order]).collect());
    assert!(at(&timeline, 40).iter().all(|held| held.2 == Verdict::Unknown), "{:?}", at(&timeline, 40));
    // What a loss broke ends with the full set after it, though others are lost later.
    let known = [look(0, 10, &[], &[0]), look(0, 30, &[], &[0]), look(0, 40, &[], &[1])];
    let parts = known.into_iter().chain(lost).collect();
    let snapshots = build(Kind::Snapshot, parts, &rows(), &AgentHistory::default());
    let both = [(Some(11), Some(30), Cause::Damage), (Some(11), Some(40), Cause::Damage)];
    assert_eq!(breaks(&snapshots), both);
}

#[test]
fn between_lost_looks_nothing_is_vouched_for() {
    let lost = Loss { in_order: true, ..Loss::between(20, 40) }.part(1);
    let timeline = diff(vec![look(0, 10, &[], &[0]), lost.clone(), look(1, 30, &[], &[1]), look(2, 50, &[], &[2])]);
    assert_eq!(at(&timeline, 30), [(0, 1, Verdict::Unknown), (1, 1, Verdict::Unknown)]);
    assert_eq!(at(&timeline, 60), [(0, 1, Verdict::Unknown), (1, 1, Verdict::Unknown), (2, 1, Verdict::Presumed)]);
    let parts = vec![look(0, 10, &[], &[0]), lost.clone(), look(0, 40, &[], &[1]), look(0, 50, &[], &[1])];
    let snapshots = build(Kind::Snapshot, parts, &rows(), &AgentHistory::default());
    assert_eq!(breaks(&snapshots), [(Some(11), Some(50), Cause::Damage)]);
    assert_eq!(
        (at(&snapshots, 40), at(&snapshots, 50)),
        (vec![(1, 1, Verdict::Unknown)], vec![(1, 1, Verdict::Definite)])
    );
    let nothing_else = diff(vec![lost]);
    assert_eq!(class(&nothing_else, 30), Class::Unknown(Cause::Damage));
    assert_eq!((breaks(&nothing_else), nothing_else.seconds), (vec![(None, None, Cause::Damage)], Some((20, 40))));
}

/// Each look brings a row and opens a break, or is followed by one, while those of all looks before it are open.
#[test]
fn a_look_costs_no_more_the_more_rows_are_held_and_breaks_are_open() {
    let second = |i: u32| 1000 + 10 * i64::from(i);
    let one = |i: u32, counter: u32| look(u64::from(counter), second(i), &[], &[i]);
    let lost = |i: u32, in_order| Loss { in_order, ..Loss::between(second(i) + 4, second(i) + 5) }.part(1);
    // Of an epoch of its own, but not one whatever is lost, so that it ends no loss.
    let full = |i: u32| Part { epoch: u64::from(i), ..one(i, 0) };
    type Looks<'l> = &'l dyn Fn(u32) -> Vec<Part>;
    let streams: [(&str, (u32, u32, u32), Looks); 6] = [
        ("gaps", (5, 7, 0), &|i| vec![one(i, 2 * i)]),
        ("a fork", (5, 7, 0), &|i| vec![one(i, i.max(1))]),
        ("doubtful zeros", (5, 7, 0), &|i| vec![one(i, 0)]),
        ("losses in order", (5, 7, 0), &|i| vec![one(i, 2 * i), lost(i, true)]),
        ("losses in no order", (5, 7, 0), &|i| vec![one(i, 2 * i), lost(i, false)]),
        ("full sets", (4, 9, 0), &|i| vec![full(i), lost(i, false)]),
    ];
    for (name, version, looks) in streams {
        let work = |count: u32| {
            let rows = vec![rows().swap_remove(0); count as usize];
            GONE_OVER.set(0);
            let timeline = build(Kind::Diff, (0..count).flat_map(looks).collect(), &rows, &agent(version));
            let open = timeline.breaks.iter().filter(|stretch| stretch.to.is_none()).count();
            assert!(open + 1 >= count as usize, "{name}: {open} breaks of {count} looks are open");
            GONE_OVER.get()
        };
        let (once, twice) = (work(2000), work(4000));
        assert!(once >= 2000, "{name}: 2000 looks are {once} steps, so not all are counted");
        assert!(2 * twice <= 5 * once, "{name}: 2000 looks are {once} steps, 4000 are {twice}");
    }
}

proptest! {
    /// What is said where looks are lost is what was said with them, or less.
    #[test]
    fn what_is_said_despite_a_loss_was_said_before_it(
        // Seconds since the look before, what the agent does, which rows are there.
        runs in prop::collection::vec((1i64..4, 0u8..10, 0u32..8), 9..16),
        version in prop::sample::select(vec![(4, 4, 0), (4, 9, 0), (5, 7, 0), (5, 8, 1), (5, 8, 2), (5, 19, 0)]),
        is_snapshot: bool,
        lost in (0usize..9, 1usize..6),
    ) {
        let (mut second, mut epoch, mut counter, mut held) = (10, 0, 0u64, 0u32);
        let ids = |set: u32| (0..3).filter(|row| set >> row & 1 == 1).collect::<Vec<u32>>();
        let mut parts = Vec::new();
        for (at, (pause, event, rows)) in runs.into_iter().enumerate() {
            second += pause;
            // Of 5.8.1 an empty counter 0 is no run at all, so its counters do not begin anew there.
            let event = if version == (5, 8, 1) && event == 1 { 3 } else { event };
            let is_full = at == 0 || event < 2 || is_snapshot;
            match event {
                // A new epoch, the same again with its counters from 0, a run that is not told of, or nothing of the kind.
                0 => (epoch, counter) = (epoch + 1, 0),
                1 => counter = 0,
                2 => counter += 2,
                _ => counter += u64::from(at > 0),
            }
            let (removed, added) = if is_full { (0, rows) } else { (held & !rows, rows & !held) };
            held = rows;
            if is_full && !is_snapshot {
                counter = 0;
            }
            parts.push(Part { epoch, ..look(counter, second, &ids(removed), &ids(added)) });
        }
        let kind = if is_snapshot { Kind::Snapshot } else { Kind::Diff };
        let whole = build(kind, parts.clone(), &rows(), &agent(version));
        let (from, count) = lost;
        let regular = versions(kind, false, &parts).is_some_and(|(_, needs)| needs.fits(&agent(version)));
        let in_order = regular && from + count < parts.len();
        let gone: Vec<Part> = parts.splice(from..(from + count).min(parts.len()), []).collect();
        let loss = Loss::between(gone[0].second, gone[gone.len() - 1].second);
        parts.push(Loss { in_order, ..loss }.part(5));
        let less = build(kind, parts, &rows(), &agent(version));
        for second in 9..=second + 1 {
            let (was, is) = (at(&whole, second), at(&less, second));
            for told in is.iter().filter(|told| told.2 != Verdict::Unknown) {
                let fits = |had: &&(u32, u64, Verdict)| had.0 == told.0 && had.1 >= told.1 && had.2 <= told.2;
                prop_assert!(was.iter().any(|had| fits(&had)), "at {second}: {told:?} is told, {was:?} was");
            }
            if !matches!(class(&less, second), Class::Unknown(_)) {
                let rows = |all: &[(u32, u64, Verdict)]| all.iter().map(|told| (told.0, told.1)).collect::<Vec<_>>();
                prop_assert_eq!(rows(&was), rows(&is), "at {}", second);
                prop_assert!(!matches!(class(&whole, second), Class::Unknown(_)), "at {second} it was not known");
            }
        }
    }
}

proptest! {
    /// First and last look and the stretches between tell the class at every second, whatever breaks there were.
    #[test]
    fn stretches_tell_what_the_timeline_does(
        // Seconds since the look before, what the agent does, which rows are there.
        runs in prop::collection::vec((-2i64..4, 0u8..10, 0u32..8), 1..12),
        is_snapshot: bool,
        amiss in (-3i64..2, 0i64..4),
    ) {
        let (mut second, mut epoch, mut counter, mut held) = (10, 0, 0u64, 0u32);
        let ids = |set: u32| (0..3).filter(|row| set >> row & 1 == 1).collect::<Vec<u32>>();
        let mut parts = Vec::new();
        for (at, (pause, event, rows)) in runs.into_iter().enumerate() {
            second += pause;
            // A new epoch, the same again with its counters from 0, a counter that is skipped, or that comes again.
            match event {
                0 => (epoch, counter) = (epoch + 1, 0),
                1 => counter = 0,
                2 => counter += 2,
                3 => {}
                _ => counter += u64::from(at > 0),
            }
            let is_full = at == 0 || event < 2 || is_snapshot;
            let (removed, added) = if is_full { (0, rows) } else { (held & !rows, rows & !held) };
            // Also of what is not held.
            let removed = if event == 9 { removed | !held & !rows & 7 } else { removed };
            held = rows;
            parts.push(Part { epoch, ..look(counter, second, &ids(removed), &ids(added)) });
        }
        let kind = if is_snapshot { Kind::Snapshot } else { Kind::Diff };
        let timeline = build(kind, parts, &rows(), &agent((5, 7, 0)));
        let Some(Moments { seconds, states, .. }) = Moments::new(&timeline) else { return Ok(()) };
        // Whatever is said to be first and last.
        let (first, last) = (timeline.steps[0] + amiss.0, timeline.steps[timeline.steps.len() - 1] + amiss.1);
        let plain = |at| match at {
            _ if at < first => Class::Unknown(Cause::BeforeFirst),
            _ if at > last => Class::Presumed,
            _ => Class::Covered,
        };
        let moments: Vec<_> = seconds.into_iter().zip(states).collect();
        let found = stretches(&moments, (first, last));
        prop_assert!(found.windows(2).all(|two| two[0].seconds.end <= two[1].seconds.start));
        for at in first - 4..last + 4 {
            let of = found.iter().find(|stretch| stretch.seconds.contains(&at));
            prop_assert_eq!(of.map_or(plain(at), |stretch| stretch.class), class(&timeline, at), "at {}", at);
            prop_assert!(of.is_none_or(|stretch| stretch.class != plain(at)), "at {}: none is needed", at);
        }
    }
}

/// Whatever is in doubt, what comes later may only change what was before it where another order might put it there.
#[test]
fn what_comes_next_goes_on_only_from_what_is_last_by_every_order() {
    let goes_on = |parts: Vec<Part>| diff(parts).goes_on.map(|last| (last.second, last.counter));
    let first = || vec![look(0, 10, &[], &[0]), look(1, 20, &[], &[1])];
    let and = |next: &[Part]| [&first()[..], next].concat();
    assert_eq!(goes_on(first()), Some((20, Some(1))));
    assert_eq!(goes_on(and(&[look(5, 30, &[], &[2])])), Some((30, Some(5))), "within a break");
    assert_eq!(goes_on(and(&[look(2, 15, &[], &[2])])), None, "the clock was set back");
    assert_eq!(goes_on(and(&[look(1, 30, &[], &[2])])), None, "a fork");
    let uncounted = Part { counter: None, ..look(2, 30, &[], &[2]) };
    assert_eq!(goes_on(and(&[uncounted])), None, "no counter");
}
