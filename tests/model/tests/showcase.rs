//! Each wrong rule must show: a small collection of logs in which every rule decides some answer.

use super::*;

/// Everything that can be asked of a few logs.
fn answers(wrong: Wrong) -> Vec<(&'static str, Vec<Value>)> {
    logs()
        .into_iter()
        .map(|(story, agent, imports)| {
            let mut case = Case::wrong(wrong);
            for lines in imports {
                case.import(agent, &lines);
            }
            (story, ask_all(&case.model))
        })
        .collect()
}

fn ask_all(model: &Model) -> Vec<Value> {
    let mut answers = Vec::new();
    for known_at in [None, Some(1_000_000)] {
        for table in ["users", "interface_addresses", "battery", "process_events"] {
            answers.push(model.history(table, None, &[], (None, None), None, known_at));
            answers.push(model.coverage(Some(table), None, known_at));
            for at in (5..65).step_by(5).chain([11, 21, 31]) {
                let wheres = [("uid".to_owned(), "1.0".to_owned())];
                answers.push(model.state(table, at, None, &[], None, known_at));
                answers.push(model.state(table, at, None, &wheres, None, known_at));
                answers.push(model.who_uid("1", at, None, known_at));
                answers.push(model.who_ip("fe80::1%en0", at, None, known_at));
                answers.push(model.who_ip("::ffff:10.0.0.7", at, None, known_at));
            }
        }
    }
    answers.into_iter().map(|answer| answer.unwrap_or_else(Value::String)).collect()
}

type Log = (&'static str, &'static str, Vec<Vec<String>>);

fn logs() -> Vec<Log> {
    let epoch = |epoch, second, counter| At("h", "users", second, epoch, Some(counter));
    let base = added(users(10, 0), "uid=1");
    let snap = |second| At("h", "users", second, 0, Some(0));
    let event = |second| At("h", "process_events", second, 0, Some(0));
    let address = |second| At("h", "interface_addresses", second, 0, Some(0));
    let battery = |second, counter| At("h", "battery", second, 0, Some(counter));
    let status = r#"{"hostIdentifier":"h","unixTime":30,"severity":0,"message":"m","version":"5.19.0"}"#;
    let older = r#"{"hostIdentifier":"h","unixTime":20,"severity":0,"message":"m","version":"4.9.0"}"#;
    vec![
        ("two copies, one of them resent", "5.19.0", vec![vec![base.clone(), base.clone()], vec![base.clone()]]),
        ("seconds alternate", "5.19.0", vec![vec![base.clone(), added(users(20, 1), "uid=2"), base.clone()]]),
        ("a gap", "5.19.0", vec![vec![base.clone(), added(users(20, 2), "uid=1"), removed(users(30, 3), "uid=1")]]),
        ("a skip of an old agent", "4.4.0", vec![vec![base.clone(), added(users(20, 2), "uid=2")]]),
        ("a row that goes", "5.19.0", vec![vec![base.clone(), removed(users(20, 1), "uid=1")]]),
        ("a row that comes", "5.19.0", vec![vec![base.clone(), added(users(20, 1), "uid=1")]]),
        (
            "a fork",
            "5.19.0",
            vec![
                vec![base.clone(), added(users(20, 1), "uid=2"), added(users(30, 1), "uid=3")],
                vec![added(users(40, 2), "uid=4"), added(users(50, 3), "uid=5")],
            ],
        ),
        (
            "two contents of one batch with lines beside",
            "5.19.0",
            vec![
                vec![base.clone(), batch(users(20, 1), &[], &["uid=2"])],
                vec![batch(users(20, 1), &[], &["uid=3"])],
                vec![added(users(20, 1), "uid=1")],
            ],
        ),
        (
            "epochs that interleave",
            "5.19.0",
            vec![vec![base.clone(), added(epoch(2, 20, 0), "uid=2"), added(users(30, 1), "uid=3")]],
        ),
        (
            "a clock that steps back",
            "5.19.0",
            vec![vec![base.clone(), added(users(40, 1), "uid=2"), removed(users(20, 2), "uid=2")]],
        ),
        ("no base", "5.19.0", vec![vec![added(users(10, 5), "uid=1")]]),
        ("a doubtful zero", "4.9.0", vec![vec![base.clone(), added(users(20, 0), "uid=2")]]),
        ("a row that was not held", "5.19.0", vec![vec![base.clone(), removed(users(20, 1), "uid=2")]]),
        ("a full set that confirms", "5.19.0", vec![vec![base.clone(), added(epoch(2, 20, 0), "uid=1")]]),
        ("empty batches", "5.8.0", vec![vec![base.clone(), batch(users(20, 0), &[], &[])]]),
        (
            "disputed snapshots",
            "5.19.0",
            vec![
                vec![snapshot(snap(10), &["uid=1"]), snapshot(snap(20), &["uid=1"]), snapshot(snap(30), &["uid=1"])],
                vec![snapshot(snap(20), &["uid=2"])],
            ],
        ),
        ("a snapshot beside a newer difference", "5.19.0", vec![vec![snapshot(snap(5), &["uid=7"]), base.clone()]]),
        (
            "versions that change",
            "",
            vec![vec![older.to_owned(), status.to_owned(), base.clone(), added(users(20, 0), "uid=2")]],
        ),
        ("events", "5.19.0", vec![vec![added(event(10), "pid=1,time=7"), added(event(20), "pid=1,time=7")]]),
        (
            "addresses",
            "5.19.0",
            vec![vec![snapshot(address(10), &["address=fe80::1%en1", "address=10.0.0.7", "address=fe80::1%en0"])]],
        ),
        (
            "doubles",
            "5.19.0",
            vec![vec![added(battery(10, 0), "charge=0.48999999999999999"), removed(battery(20, 1), "charge=0.49")]],
        ),
        (
            "two streams of a table",
            "5.19.0",
            vec![vec![base, added(users(20, 1), "uid=2"), added(At("h", "pack/p/users", 10, 0, Some(0)), "uid=1")]],
        ),
    ]
}

#[test]
fn each_wrong_rule_gives_some_wrong_answer() {
    let right = answers(Wrong::None);
    for &wrong in Wrong::ALL {
        let stories: Vec<&str> =
            right.iter().zip(answers(wrong)).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect();
        println!("{wrong:?}: {stories:?}");
        assert!(!stories.is_empty(), "{wrong:?} is not seen");
    }
}
