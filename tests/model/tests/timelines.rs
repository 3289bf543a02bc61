//! Order, breaks and versions of one stream.

use super::*;

#[test]
fn a_row_comes_and_goes() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 0), "uid=1"),
            added(users(10, 0), "uid=2"),
            removed(users(20, 1), "uid=1"),
            added(users(30, 2), "uid=2"),
        ],
    );
    assert_eq!(
        case.history("users"),
        [
            "h/users uid=1 x1 [10..20) seen/gone",
            "h/users uid=2 x1 [10..30) seen/gone",
            "h/users uid=2 x2 [30..-) seen/open",
        ]
    );
    let answer = case.model.history("users", None, &[], (None, None), None, None).expect("an answer");
    let brackets: Vec<String> = answer["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| format!("{} {}", plain(&r["from_after"]), plain(&r["to_after"])))
        .collect();
    assert_eq!(brackets, ["- 10", "- 20", "20 -"]);
}

#[test]
fn a_full_set_replaces_and_does_not_split() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 0), "uid=1"),
            added(users(10, 0), "uid=2"),
            added(At("h", "users", 20, 2, Some(0)), "uid=2"),
            removed(At("h", "users", 30, 2, Some(1)), "uid=2"),
        ],
    );
    assert_eq!(case.history("users"), ["h/users uid=1 x1 [10..20) seen/gone", "h/users uid=2 x1 [10..30) seen/gone"]);
    assert!(case.breaks("users").is_empty());
}

#[test]
fn counter_zero_is_a_full_set_where_agent_and_epoch_allow_it() {
    // Agent, epoch, and whether a second counter 0 of that epoch replaces the state.
    for (agent, epoch, replaces) in [
        ("5.19.0", 0, true),
        ("5.18.9", 0, false),
        ("5.18.9", 7, true),
        ("5.8.2", 7, true),
        ("5.8.1", 7, false),
        ("4.9.0", 7, false),
    ] {
        let mut case = Case::new();
        let at = |second| At("h", "users", second, epoch, Some(0));
        case.import(agent, &[added(at(10), "uid=1"), added(at(20), "uid=2")]);
        let kept = case.state("users", 20).len();
        assert_eq!(kept, if replaces { 1 } else { 2 }, "{agent} {epoch}");
        let breaks: &[&str] = if replaces { &[] } else { &["doubtful-zero [11..-)"] };
        assert_eq!(case.breaks("users"), breaks, "{agent} {epoch}");
    }
    // With removed rows it is never one.
    let mut case = Case::new();
    case.import("5.19.0", &[added(users(10, 0), "uid=1"), removed(users(20, 0), "uid=1")]);
    assert_eq!(case.breaks("users"), ["doubtful-zero [11..-)"]);
    assert_eq!(
        case.history("users"),
        ["h/users uid=1 x1 [10..11) seen/break", "h/users uid=1 x1 [11..20)? break/gone"]
    );
}

#[test]
fn empty_batches_of_two_agents_are_no_looks() {
    for (agent, looks, rows) in [("5.8.1", 2, 1), ("5.8.2", 3, 0), ("5.7.0", 3, 1)] {
        let mut case = Case::new();
        let at = |second| At("h", "users", second, 3, Some(0));
        let one = At("h", "users", 20, 3, Some(1));
        case.import(agent, &[batch(at(10), &[], &[]), batch(one, &[], &["uid=1"]), batch(at(30), &[], &[])]);
        assert_eq!(case.state("users", 30).len(), rows, "{agent}");
        let coverage = case.model.coverage(None, None, None).expect("an answer");
        assert_eq!(coverage["streams"][0]["looks"], looks, "{agent}");
    }
}

#[test]
fn a_gap_is_a_break_up_to_the_next_full_set() {
    let lines = [
        added(users(10, 0), "uid=1"),
        added(users(20, 1), "uid=2"),
        added(users(30, 3), "uid=3"),
        removed(users(40, 4), "uid=2"),
        added(At("h", "users", 50, 2, Some(0)), "uid=1"),
    ];
    let mut case = Case::new();
    case.import("4.5.0", &lines);
    assert_eq!(case.breaks("users"), ["gap [21..50)"]);
    assert_eq!(
        case.history("users"),
        [
            "h/users uid=1 x1 [10..21) seen/break",
            "h/users uid=1 x1 [21..50)? break/gone",
            "h/users uid=1 x1 [50..-) seen/open",
            "h/users uid=2 x1 [20..21) seen/break",
            "h/users uid=2 x1 [21..40)? break/gone",
            "h/users uid=3 x1 [30..50) seen/gone",
        ]
    );
    assert_eq!(case.state("users", 20)[0], "h/users uid=1 x1 definite [10..21) seen/break");
    assert_eq!(case.state("users", 21)[0], "h/users uid=1 x1 unknown [21..50)? break/gone");
    assert_eq!(case.state("users", 30)[2], "h/users uid=3 x1 definite [30..50) seen/gone");
    assert_eq!(case.counts("users", 20), "1 0 0 0");
    assert_eq!(case.counts("users", 21), "0 0 1 0 gap");
    assert_eq!(case.counts("users", 50), "1 0 0 0");
    // Older agents count runs: a skip means nothing.
    let mut case = Case::new();
    case.import("4.4.9", &lines);
    assert!(case.breaks("users").is_empty());
}

#[test]
fn a_chain_without_base_starts_from_what_was_there() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 4), "uid=1"),
            added(At("h", "users", 20, 2, Some(0)), "uid=2"),
            added(At("h", "users", 30, 3, Some(1)), "uid=3"),
        ],
    );
    assert_eq!(case.breaks("users"), ["no-base [-..20)", "no-base [21..-)"]);
    assert_eq!(
        case.state("users", 30),
        ["h/users uid=2 x1 unknown [21..-)? break/open", "h/users uid=3 x1 definite [30..-) seen/open"]
    );
    assert_eq!(case.counts("users", 5), "0 0 1 0 before-first");
    assert_eq!(case.counts("users", 10), "0 0 1 0 no-base");
}

#[test]
fn a_clock_that_steps_back_does_not_reorder_a_chain() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[added(users(10, 0), "uid=1"), added(users(50, 1), "uid=2"), removed(users(20, 2), "uid=2")],
    );
    assert!(case.breaks("users").is_empty());
    assert_eq!(case.history("users"), ["h/users uid=1 x1 [10..-) seen/open", "h/users uid=2 x1 [50..50) seen/gone"]);
    // The look's own second is still its own: 20 is not the last, 50 is.
    let coverage = case.model.coverage(None, None, None).expect("an answer");
    assert_eq!(plain(&coverage["streams"][0]["last"]), "50");
}

#[test]
fn a_counter_that_comes_twice_is_a_fork_for_the_rest_of_its_chain() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 0), "uid=0"),
            added(users(20, 1), "uid=1"),
            added(users(30, 1), "uid=2"),
            added(users(40, 2), "uid=3"),
            added(users(50, 2), "uid=4"),
        ],
    );
    assert_eq!(case.breaks("users"), ["fork [21..-)", "fork [31..-)", "fork [41..-)"]);
    assert_eq!(
        case.state("users", 50),
        [
            "h/users uid=0 x1 unknown [21..-)? break/open",
            "h/users uid=1 x1 unknown [21..-)? break/open",
            "h/users uid=2 x1 unknown [31..-)? break/open",
            "h/users uid=3 x1 unknown [41..-)? break/open",
            "h/users uid=4 x1 definite [50..-) seen/open",
        ]
    );
}

#[test]
fn looks_without_counters_go_by_their_seconds() {
    let mut case = Case::new();
    let at = |second| At("h", "users", second, 0, None);
    case.import("2.7.0", &[added(at(20), "uid=2"), removed(at(30), "uid=1"), added(at(10), "uid=1")]);
    assert_eq!(case.breaks("users"), ["no-base [-..-)"]);
    assert_eq!(case.history("users"), ["h/users uid=1 x1 [10..30) seen/gone", "h/users uid=2 x1 [20..-) seen/open"]);
}

#[test]
fn a_removed_row_that_was_not_held_is_a_break_outside_of_one() {
    let lines = [added(users(10, 0), "uid=1"), removed(users(20, 1), "uid=2"), removed(users(30, 2), "uid=3")];
    let mut case = Case::new();
    case.import("2.11.2", &lines);
    assert_eq!(case.breaks("users"), ["not-held [11..-)"]);
    let mut case = Case::new();
    case.import("2.11.1", &lines);
    assert!(case.breaks("users").is_empty());
}

#[test]
fn inside_a_break_a_removal_takes_verified_copies_first() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 0), "uid=1"),
            added(users(20, 2), "uid=1"),
            removed(users(30, 3), "uid=1"),
            added(users(40, 4), "uid=1"),
            added(users(50, 6), "uid=9"),
        ],
    );
    assert_eq!(case.breaks("users"), ["gap [11..-)", "gap [41..-)"]);
    assert_eq!(
        case.history("users"),
        [
            "h/users uid=1 x1 [10..11) seen/break",
            "h/users uid=1 x1 [11..41)? break/break",
            "h/users uid=1 x1 [20..30) seen/gone",
            "h/users uid=1 x1 [40..41) seen/break",
            "h/users uid=1 x2 [41..-)? break/open",
            "h/users uid=9 x1 [50..-) seen/open",
        ]
    );
    assert_eq!(case.counts("users", 45), "0 0 1 0 gap");
}

#[test]
fn a_later_chain_ends_the_earlier_one() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[added(users(10, 0), "uid=1"), added(At("h", "users", 20, 2, Some(0)), "uid=2"), added(users(30, 1), "uid=3")],
    );
    assert_eq!(case.history("users"), ["h/users uid=1 x1 [10..20) seen/gone", "h/users uid=2 x1 [20..-) seen/open"]);
    let coverage = case.model.coverage(None, None, None).expect("an answer");
    assert_eq!(
        (&coverage["streams"][0]["looks"], plain(&coverage["streams"][0]["last"])),
        (&3.into(), "30".to_owned())
    );
}

#[test]
fn snapshots_of_one_second_that_differ_are_disputed() {
    let mut case = Case::new();
    let at = |second| At("h", "users", second, 0, Some(0));
    case.import("5.19.0", &[snapshot(at(10), &["uid=1"]), snapshot(at(20), &["uid=1"]), snapshot(at(30), &["uid=1"])]);
    case.import("5.19.0", &[snapshot(at(20), &["uid=1", "uid=2"])]);
    // `[[],[{"uid":"1"},…` is less than `[[],[{"uid":"1"}]]`: a comma is less than a bracket.
    assert_eq!(case.breaks("users"), ["fork [20..30)"]);
    assert_eq!(
        case.history("users"),
        [
            "h/users uid=1 x1 [10..20) seen/break",
            "h/users uid=1 x1 [20..30)? break/gone",
            "h/users uid=1 x1 [30..-) seen/open",
        ]
    );
    assert_eq!(case.state("users", 15), ["h/users uid=1 x1 unknown [10..20) seen/break"]);
    assert_eq!(case.state("users", 10), ["h/users uid=1 x1 definite [10..20) seen/break"]);
    assert_eq!(case.counts("users", 15), "0 0 1 0 fork");
    assert_eq!(case.counts("users", 10), "1 0 0 0");
    assert_eq!(case.counts("users", 25), "0 0 1 0 fork");
}

#[test]
fn full_sets_of_one_second_that_differ_are_disputed_whatever_their_epochs() {
    for epoch in [1, 2] {
        let mut case = Case::new();
        let at = |second, epoch| At("h", "users", second, epoch, Some(0));
        case.import("5.19.0", &[batch(at(10, 1), &[], &["uid=1"])]);
        case.import("5.19.0", &[batch(at(10, epoch), &[], &["uid=2"])]);
        case.import("5.19.0", &[batch(at(30, 9), &[], &["uid=2"])]);
        assert_eq!(case.breaks("users"), ["fork [10..30)"], "{epoch}");
        assert_eq!(
            case.history("users"),
            ["h/users uid=2 x1 [10..30)? seen/gone", "h/users uid=2 x1 [30..-) seen/open"],
            "{epoch}"
        );
    }
}

#[test]
fn answers_depend_on_the_set_of_deliveries_alone() {
    // Each piece is one delivery: a chain with a gap, a fork, a resend, a torn look, a late epoch, a snapshot beside.
    let pieces = [
        vec![added(users(10, 0), "uid=1"), added(users(10, 0), "uid=1")],
        vec![added(users(10, 0), "uid=2")],
        vec![removed(users(20, 1), "uid=1")],
        vec![added(users(30, 3), "uid=3"), added(users(30, 3), "uid=3")],
        vec![added(users(30, 3), "uid=3")],
        vec![batch(users(40, 4), &[], &["uid=4"])],
        vec![batch(users(40, 4), &[], &["uid=5"])],
        vec![added(users(40, 4), "uid=6")],
        vec![added(At("h", "users", 35, 2, Some(0)), "uid=7")],
        vec![snapshot(At("h", "users", 25, 0, Some(0)), &["uid=8"])],
    ];
    let answers = |order: &[usize]| {
        let mut case = Case::new();
        for &at in order {
            case.import("5.19.0", &pieces[at]);
        }
        let states: Vec<Vec<String>> = (5..50).map(|at| case.state("users", at)).collect();
        (states, case.history("users"), case.breaks("users"))
    };
    let forward: Vec<usize> = (0..pieces.len()).collect();
    let expected = answers(&forward);
    let mut order = forward;
    let mut seed = 12_345_u64;
    for _ in 0..40 {
        for at in (1..order.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(at, usize::try_from(seed >> 33).expect("31 bits") % (at + 1));
        }
        assert_eq!(answers(&order), expected, "{order:?}");
    }
}
