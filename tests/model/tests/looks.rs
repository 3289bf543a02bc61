//! Deliveries and looks: what adds up, what joins, what is new.

use super::*;

#[test]
fn equal_lines_add_up_within_a_delivery_and_join_across_deliveries() {
    let mut case = Case::new();
    let line = added(users(10, 0), "uid=1");
    case.import("5.19.0", &[line.clone(), line.clone()]);
    case.import("5.19.0", std::slice::from_ref(&line));
    assert_eq!(case.state("users", 10), ["h/users uid=1 x2 definite [10..-) seen/open"]);
    // One line more in one piece is news; the same again is none.
    assert!(case.import("5.19.0", &[line.clone(), line.clone(), line.clone()]).committed);
    assert_eq!(case.state("users", 10), ["h/users uid=1 x3 definite [10..-) seen/open"]);
    let summary = case.import("5.19.0", &[line.clone(), line.clone()]);
    assert!(!summary.committed);
    assert_eq!((summary.lines, summary.looks, summary.rows), (2, 1, 2));
    assert_eq!(case.model.last_commit(), Some(3_000_000));
}

#[test]
fn a_delivery_ends_where_the_second_of_its_host_changes() {
    let mut case = Case::new();
    let (line, later) = (added(users(10, 0), "uid=1"), added(At("h", "other", 11, 1, Some(0)), "a=1"));
    let elsewhere = added(At("g", "users", 11, 1, Some(0)), "uid=5");
    // Another host's second cuts nothing; the own one does, and the repeated line is a resend.
    case.import("5.19.0", &[line.clone(), elsewhere, line.clone(), later, line.clone()]);
    assert!(case.state("users", 11).contains(&"h/users uid=1 x2 presumed [10..-) seen/open".to_owned()));
}

#[test]
fn a_torn_look_is_whole_in_any_order() {
    let lines = [added(users(10, 0), "uid=1"), added(users(10, 0), "uid=2")];
    for order in [[0, 1], [1, 0]] {
        let mut case = Case::new();
        for at in order {
            case.import("5.19.0", &[lines[at].clone()]);
        }
        assert_eq!(case.state("users", 10).len(), 2);
        assert!(case.breaks("users").is_empty());
    }
}

#[test]
fn row_lines_join_the_batch_that_is_first_in_content_order() {
    let mut case = Case::new();
    case.import("5.19.0", &[batch(users(10, 0), &[], &["uid=0"])]);
    case.import("5.19.0", &[added(users(20, 1), "uid=3")]);
    case.import("5.19.0", &[batch(users(20, 1), &[], &["uid=2"])]);
    // One batch: the row lines are another delivery of its look.
    assert!(case.breaks("users").is_empty());
    assert_eq!(case.state("users", 20).len(), 3);
    // A batch that comes first in content order takes them over; the two contents are a fork.
    case.import("5.19.0", &[batch(users(20, 1), &[], &["uid=1"])]);
    assert_eq!(case.breaks("users"), ["fork [20..-)"]);
    assert_eq!(
        case.history("users"),
        [
            "h/users uid=0 x1 [10..20) seen/break",
            "h/users uid=0 x1 [20..-)? break/open",
            "h/users uid=1 x1 [20..20) seen/break",
            "h/users uid=1 x1 [20..-)? break/open",
            "h/users uid=2 x1 [20..-) seen/open",
            "h/users uid=3 x1 [20..20) seen/break",
            "h/users uid=3 x1 [20..-)? break/open",
        ]
    );
}

#[test]
fn status_lines_and_info_rows_tell_the_agent_version() {
    let mut case = Case::new();
    let status = |second: i64, version: &str| {
        format!(r#"{{"hostIdentifier":"h","unixTime":{second},"severity":0,"message":"m","version":"{version}"}}"#)
    };
    let info = snapshot(At("h", "osquery_info", 30, 0, Some(0)), &["version=5.10.2"]);
    let lines = [status(20, "5.8.1"), status(20, "5.9.0"), info, added(users(10, 0), "uid=1")];
    case.import_with(&lines, None, None);
    let at = |second| {
        let agents = &case.model.agents;
        String::from_utf8(agents.at(b"h", second, line::Inferred::V3_4, i64::MAX, Wrong::None).1).expect("ASCII")
    };
    assert_eq!([at(10), at(19), at(20), at(29), at(30)], ["5.9.0", "5.9.0", "5.9.0", "5.9.0", "5.10.2"]);
    let hosts = case.model.hosts(None).expect("hosts");
    assert_eq!(hosts["hosts"][0]["agent_version"], "5.10.2");
    assert_eq!(hosts["hosts"][0]["streams"], 2);
    // What the user says comes first, from its recorded time on.
    case.import("4.0.0", &[added(users(11, 1), "uid=2")]);
    assert_eq!(case.model.hosts(None).expect("hosts")["hosts"][0]["agent_version"], "4.0.0");
    assert_eq!(case.model.hosts(Some(1_000_000)).expect("hosts")["hosts"][0]["agent_version"], "5.10.2");
    // A host that says nothing is judged by its lines.
    let old = r#"{"name":"users","hostIdentifier":"o","unixTime":"5","columns":{},"action":"added"}"#;
    case.import_with(&[old.to_owned()], None, None);
    assert_eq!(case.model.hosts(None).expect("hosts")["hosts"][1]["agent_version"], "2.10");
}

#[test]
fn events_add_up_and_know_no_order() {
    let mut case = Case::new();
    let at = |second, counter| At("h", "process_events", second, 1, Some(counter));
    case.import(
        "5.19.0",
        &[
            added(at(10, 7), "pid=1,time=9"),
            added(at(10, 7), "pid=1,time=9"),
            added(at(20, 0), "pid=1,time=9"),
            added(at(20, 0), "pid=2,time=soon"),
            removed(at(20, 0), "pid=3,time=4"),
            batch(at(30, 1), &["pid=4"], &["pid=5,time=31"]),
        ],
    );
    assert_eq!(
        case.history("process_events"),
        [
            "h/process_events pid=1,time=9 x3 at 9 seen 10",
            "h/process_events pid=2,time=soon x1 at 20 seen 20",
            "h/process_events pid=5,time=31 x1 at 31 seen 30",
        ]
    );
    assert!(case.breaks("process_events").is_empty());
    let refused = case.model.state("process_events", 10, None, &[], None, None).expect_err("events have no state");
    assert!(refused.contains("history"));
    let half = case.model.history("process_events", None, &[], (Some(9), Some(20)), None, None).expect("an answer");
    assert_eq!(rows(&half).len(), 1);
}

#[test]
fn a_stream_without_removed_rows_has_sightings_only() {
    let mut case = Case::new();
    let map = "[[stream]]\nname = \"seen\"\ntable = \"users\"\nremoved = false";
    let at = |second, counter| At("h", "seen", second, 1, Some(counter));
    let lines = [added(at(10, 0), "uid=1"), removed(at(20, 1), "uid=1"), added(at(30, 5), "uid=1")];
    case.import_with(&lines, Some("5.19.0"), Some(map));
    assert_eq!(case.history("users"), ["h/seen uid=1 x1 at 10 seen 10", "h/seen uid=1 x1 at 30 seen 30"]);
    let refused = case.model.state("users", 10, None, &[], None, None).expect_err("no state");
    assert!(refused.contains("seen"));
    // With a stream of state beside it the table has a state, without that stream.
    case.import("5.19.0", &[added(users(10, 0), "uid=2")]);
    assert_eq!(case.state("users", 10), ["h/users uid=2 x1 definite [10..-) seen/open"]);
    assert!(case.model.state("users", 10, None, &[], Some(b"seen"), None).is_err());
    assert!(case.model.diff("users", b"h", 10, 20, Some(b"seen"), None).is_err());
}

#[test]
fn a_map_holds_for_tables_from_then_on_and_for_guesses_at_once() {
    let mut case = Case::new();
    case.import("5.19.0", &[added(At("h", "q", 10, 1, Some(0)), "uid=1"), added(users(10, 0), "uid=9")]);
    assert_eq!(case.state("q", 10), ["h/q uid=1 x1 definite [10..-) seen/open"]);
    let assumed = |known_at| {
        let answer = case.model.state("users", 10, None, &[], None, known_at).expect("an answer");
        answer["coverage"]["assumed"].clone()
    };
    assert_eq!(assumed(None), 1);
    let map = "[[stream]]\nname = \"*\"\ntable = \"users\"";
    let summary = case.import_with(&[], None, Some(map));
    assert!(summary.committed);
    assert!(!case.import_with(&[], None, Some(map)).committed);
    let assumed = |known_at| {
        let answer = case.model.state("users", 10, None, &[], None, known_at).expect("an answer");
        answer["coverage"]["assumed"].clone()
    };
    assert_eq!((assumed(None), assumed(Some(1_000_000))), (0.into(), 1.into()));
    // What was recorded under the old table stays there; what comes goes to the new one.
    case.import("5.19.0", &[added(At("h", "q", 20, 1, Some(1)), "uid=2")]);
    assert_eq!(case.state("q", 20), ["h/q uid=1 x1 presumed [10..-) seen/open"]);
    assert_eq!(case.breaks("users"), ["no-base [-..-)"]);
}

#[test]
fn doubles_of_a_column_are_one_text() {
    let mut case = Case::new();
    let at = |second, counter| At("h", "battery", second, 1, Some(counter));
    case.import("5.19.0", &[added(at(10, 0), "charge=0.48999999999999999"), removed(at(20, 1), "charge=0.49")]);
    assert!(case.breaks("battery").is_empty());
    assert!(case.state("battery", 20).is_empty());
}
