//! Verdicts, questions and forms.

use super::*;

fn who(answer: Result<Value, String>) -> Vec<String> {
    rows(&answer.expect("an answer"))
}

#[test]
fn verdicts_between_looks() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 0), "uid=1"),
            added(users(10, 0), "uid=1"),
            added(users(10, 0), "uid=2"),
            removed(users(20, 1), "uid=1"),
            added(users(20, 1), "uid=3"),
        ],
    );
    assert!(case.state("users", 9).is_empty());
    assert_eq!(
        case.state("users", 10),
        ["h/users uid=1 x2 definite [10..20) seen/gone", "h/users uid=2 x1 definite [10..-) seen/open"]
    );
    assert_eq!(
        case.state("users", 15),
        [
            "h/users uid=1 x1 definite [10..20) seen/gone",
            "h/users uid=1 x1 possible [10..20) seen/gone",
            "h/users uid=2 x1 definite [10..-) seen/open",
        ]
    );
    assert_eq!(case.state("users", 25)[0], "h/users uid=1 x1 presumed [20..-) seen/open");
    let counts: Vec<String> = [9, 10, 15, 20, 25].iter().map(|at| case.counts("users", *at)).collect();
    assert_eq!(counts, ["0 0 1 0 before-first", "1 0 0 0", "1 0 0 0", "1 0 0 0", "0 1 0 0"]);
    // `who` also lists what only the next look has.
    assert_eq!(who(case.model.who_uid("3.0", 15, None, None)), ["h/users uid=3 x1 possible [20..-) seen/open"]);
    assert!(who(case.model.who_uid("3", 10, None, None)).is_empty());
    assert_eq!(
        who(case.model.who_uid("1", 15, None, None)),
        ["h/users uid=1 x1 definite [10..20) seen/gone", "h/users uid=1 x1 possible [10..20) seen/gone"]
    );
    let evidence =
        case.model.state("users", 15, None, &[], None, None).expect("an answer")["rows"][0]["evidence"].clone();
    assert_eq!((plain(&evidence["before"]), plain(&evidence["after"])), ("10".to_owned(), "20".to_owned()));
}

#[test]
fn looks_of_one_second_are_looks_one_by_one() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 0), "uid=1"),
            removed(users(20, 1), "uid=1"),
            added(users(20, 2), "uid=1"),
            added(users(20, 2), "uid=2"),
        ],
    );
    // B is the look that lost the row; at its second it is back.
    assert_eq!(case.state("users", 15), ["h/users uid=1 x1 possible [10..20) seen/gone"]);
    assert_eq!(case.state("users", 20).len(), 2);
    assert!(who(case.model.who_uid("2", 15, None, None)).is_empty());
}

#[test]
fn an_address_is_compared_by_value() {
    for (asked, held, is_same) in [
        ("10.0.0.7", "10.0.0.7", true),
        ("10.0.0.7", "::ffff:10.0.0.7", true),
        ("::FFFF:0a00:7", "10.0.0.7", true),
        ("::ffff:0:a00:7", "10.0.0.7", false),
        ("10.0.0.7", "010.000.000.007", true),
        ("2001:db8::1", "2001:0DB8:0:0:0:0:0:1", true),
        ("fe80::1", "fe80::1%en0", true),
        ("fe80::1%en0", "fe80::1%en0", true),
        ("fe80::1%en0", "fe80::1%en1", false),
        ("fe80::1%en0", "fe80::1", false),
        ("::", "0:0:0:0:0:0:0:0", true),
        ("1::2::3", "1::2::3", true),
        ("1.2.3.4::", "102:304::", false),
        ("10.0.0.256", "10.0.0.256", true),
        ("10.0.0.7", "10.0.0.7/24", false),
        ("00:11:22:33:44:55", "00:11:22:33:44:55", true),
    ] {
        let same = super::super::address::is_same(asked.as_bytes(), held.as_bytes(), Wrong::None);
        assert_eq!(same, is_same, "{asked} {held}");
    }
}

#[test]
fn who_had_an_address() {
    let mut case = Case::new();
    let at = |host, second, counter| At(host, "interface_addresses", second, 1, Some(counter));
    case.import(
        "5.19.0",
        &[
            added(at("b", 10, 0), "address=10.0.0.7"),
            added(at("a", 10, 0), "address=10.0.0.7"),
            removed(at("a", 20, 1), "address=10.0.0.7"),
            added(at("c", 18, 0), "address=10.0.0.8"),
            added(At("d", "users", 10, 1, Some(0)), "uid=1"),
            added(at("e", 10, 0), "address=10.0.0.9"),
            added(at("e", 20, 2), "address=10.0.0.7"),
        ],
    );
    let answer = case.model.who_ip("10.0.0.7", 15, None, None).expect("an answer");
    assert_eq!(answer["question"], "who ip 10.0.0.7");
    assert_eq!(
        rows(&answer),
        [
            "b/interface_addresses address=10.0.0.7 x1 presumed [10..-) seen/open",
            "a/interface_addresses address=10.0.0.7 x1 possible [10..20) seen/gone",
            "e/interface_addresses address=10.0.0.7 x1 possible [20..-) seen/open",
        ]
    );
    assert_eq!(counts(&answer), "1 1 2 1 before-first,gap");
    assert_eq!(answer["coverage"]["assumed"], 4);
    let one = case.model.who_ip("10.0.0.7", 15, Some(b"d"), None).expect("an answer");
    assert_eq!((rows(&one).len(), counts(&one)), (0, "0 0 0 1".to_owned()));
}

#[test]
fn streams_are_never_merged_and_the_newer_kind_answers() {
    let mut case = Case::new();
    let other = |second, counter| At("h", "pack/p/users", second, 1, Some(counter));
    case.import("5.19.0", &[added(users(10, 0), "uid=1"), added(other(10, 0), "uid=1"), added(users(30, 1), "uid=2")]);
    assert_eq!(
        case.state("users", 20),
        ["h/pack/p/users uid=1 x1 presumed [10..-) seen/open", "h/users uid=1 x1 definite [10..-) seen/open"]
    );
    // The host has the best class of its streams; with one stream chosen, that one's.
    assert_eq!(case.counts("users", 20), "1 0 0 0");
    let chosen = case.model.state("users", 20, None, &[], Some(b"pack/p/users"), None).expect("an answer");
    assert_eq!((rows(&chosen).len(), counts(&chosen)), (1, "0 1 0 0".to_owned()));
    let nobody = case.model.state("users", 20, None, &[], Some(b"other"), None).expect("an answer");
    assert_eq!(counts(&nobody), "0 0 0 0");
    case.import("5.19.0", &[snapshot(At("h", "users", 20, 0, Some(0)), &["uid=8"])]);
    let state = |at| case.model.state("users", at, None, &[], Some(b"users"), None).expect("an answer");
    assert_eq!(rows(&state(5)), Vec::<String>::new());
    assert_eq!(rows(&state(15)), ["h/users uid=1 x1 definite [10..-) seen/open"]);
    assert_eq!(rows(&state(20)), ["h/users uid=8 x1 definite [20..-) seen/open"]);
    assert_eq!(rows(&state(30)).len(), 2);
    assert_eq!(case.history("users").len(), 4);
}

#[test]
fn where_compares_numbers_as_numbers_where_the_catalogue_says_so() {
    let mut case = Case::new();
    case.import("5.19.0", &[added(users(10, 0), "uid=007,username=1"), added(users(10, 0), "username=1.0")]);
    let matching = |column: &str, value: &str| {
        let wheres = [(column.to_owned(), value.to_owned())];
        rows(&case.model.state("users", 10, None, &wheres, None, None).expect("an answer")).len()
    };
    assert_eq!((matching("uid", "7"), matching("uid", "7.0e0"), matching("uid", "x")), (1, 1, 0));
    assert_eq!((matching("username", "1"), matching("username", "1.0"), matching("none", "")), (1, 1, 0));
}

#[test]
fn known_at_answers_as_it_was_answered_then() {
    let mut case = Case::new();
    case.import("5.19.0", &[added(users(10, 0), "uid=1")]);
    let then = case.model.state("users", 30, None, &[], None, None).expect("an answer");
    assert_eq!(then["known_at"], "1970-01-01T00:00:01.000000Z");
    case.import("5.19.0", &[removed(users(20, 1), "uid=1")]);
    case.import("5.19.0", &[added(At("g", "users", 20, 1, Some(0)), "uid=1")]);
    let again = case.model.state("users", 30, None, &[], None, Some(1_000_000)).expect("an answer");
    assert_eq!(then, again);
    assert_eq!(case.state("users", 30), ["g/users uid=1 x1 presumed [20..-) seen/open"]);
    let before = case.model.state("users", 30, None, &[], None, Some(5)).expect("an answer");
    assert_eq!((&before["known_at"], counts(&before)), (&"1970-01-01T00:00:00.000005Z".into(), "0 0 0 0".to_owned()));
    assert!(case.model.import(&[], ImportOptions::default(), 3_000_000).is_err());
}

#[test]
fn a_difference_is_net() {
    let mut case = Case::new();
    case.import(
        "5.19.0",
        &[
            added(users(10, 0), "uid=1"),
            added(users(10, 0), "uid=1"),
            removed(users(20, 1), "uid=1"),
            removed(users(20, 1), "uid=1"),
            added(users(20, 1), "uid=2"),
            removed(users(30, 2), "uid=2"),
            added(users(30, 2), "uid=1"),
        ],
    );
    let diff = |from, to| rows(&case.model.diff("users", b"h", from, to, None, None).expect("an answer"));
    assert_eq!(
        diff(10, 20),
        ["h/users uid=1 x2 removed definite definite", "h/users uid=2 x1 added definite definite"]
    );
    assert_eq!(diff(15, 35), ["h/users uid=1 x1 removed definite presumed"]);
    assert_eq!(diff(5, 30), ["h/users uid=1 x1 added unknown definite"]);
    assert!(diff(20, 20).is_empty());
    assert!(case.model.diff("users", b"h", 20, 10, None, None).is_err());
    assert!(case.model.diff("process_events", b"h", 10, 20, None, None).is_err());
}

#[test]
fn history_lists_what_overlaps() {
    let mut case = Case::new();
    let lines = [
        added(users(10, 0), "uid=1"),
        removed(users(20, 1), "uid=1"),
        added(users(20, 1), "uid=2"),
        removed(users(20, 2), "uid=2"),
    ];
    case.import("5.19.0", &lines);
    let between =
        |from, to| rows(&case.model.history("users", None, &[], (from, to), None, None).expect("an answer")).len();
    assert_eq!((between(None, None), between(Some(20), Some(21)), between(Some(19), Some(20))), (2, 1, 1));
    assert_eq!((between(None, Some(10)), between(None, Some(11)), between(Some(21), None)), (0, 1, 0));
}

#[test]
fn from_a_path_to_a_device() {
    let mut case = Case::new();
    let at = |name, second, counter| At("h", name, second, 1, Some(counter));
    let lines = [
        added(at("mounts", 10, 0), "path=/,device=/dev/sda1"),
        added(at("mounts", 10, 0), "path=/mnt/usb,device=/dev/sdb1"),
        added(at("mounts", 10, 0), "path=/mnt/us,device=/dev/sdc1"),
        added(at("mounts", 20, 1), "path=/other,device=/dev/sdx"),
        added(at("block_devices", 10, 0), "name=/dev/sdb1,parent=/dev/sdb"),
        added(at("block_devices", 10, 0), "name=/dev/sdb,parent=,serial=S1,vendor=V,model=M"),
        added(at("block_devices", 10, 0), "name=/dev/sda1,vendor=V,model=M"),
    ];
    case.import("5.19.0", &lines);
    let ask = |case: &Case, path: &str, at| case.model.what_device(path, b"h", at, None).expect("an answer");
    let link = |answer: &Value, at: usize| {
        let rows: Vec<String> = answer["links"][at]["rows"].as_array().expect("rows").iter().map(row).collect();
        (word(&answer["links"][at]["table"]).to_owned(), rows, answer["links"][at]["missing"].clone())
    };
    let answer = ask(&case, "/mnt/usb/file", 15);
    assert_eq!(answer["verdict"], "unknown");
    assert_eq!(link(&answer, 0).1, ["h/mounts device=/dev/sdb1,path=/mnt/usb x1 definite [10..-) seen/open"]);
    assert_eq!(link(&answer, 1).1.len(), 2);
    assert_eq!(link(&answer, 2), ("usb_devices".to_owned(), Vec::new(), "never collected".into()));
    case.import(
        "5.19.0",
        &[
            snapshot(at("usb_devices", 10, 0), &["serial=S1", "serial=S2,vendor=V,model=M", "vendor=V,model=M"]),
            snapshot(at("usb_devices", 20, 0), &["serial=S1"]),
        ],
    );
    let answer = ask(&case, "/mnt/usb", 15);
    // Both block devices have no look after: presumed. The device without a serial is a possible one by vendor and model.
    assert_eq!(
        link(&answer, 2).1,
        [
            "h/usb_devices model=M,vendor=V x1 possible [10..20) seen/gone",
            "h/usb_devices serial=S1 x1 definite [10..-) seen/open",
        ]
    );
    assert_eq!(answer["verdict"], "possible");
    assert_eq!(ask(&case, "/mnt/usb", 20)["verdict"], "presumed");
    let answer = ask(&case, "/mnt/usbs", 5);
    assert_eq!((answer["verdict"].clone(), link(&answer, 0).2), ("unknown".into(), "unknown at T".into()));
    let answer = ask(&case, "E:\\x", 10);
    assert_eq!((answer["verdict"].clone(), link(&answer, 0).2), ("unknown".into(), "never collected".into()));
    let answer = ask(&case, "relative", 10);
    assert_eq!((answer["verdict"].clone(), link(&answer, 0).2), ("unknown".into(), "no such row".into()));
    // The disk behind `/` has no serial: the link is missing for want of a row, what was found stands.
    let answer = ask(&case, "/etc", 20);
    assert_eq!((answer["verdict"].clone(), link(&answer, 2).2), ("presumed".into(), "no such row".into()));
    case.import("5.19.0", &[added(at("logical_drives", 10, 0), "device_id=E:")]);
    let answer = ask(&case, "e:\\x", 10);
    assert_eq!(link(&answer, 0).1, ["h/logical_drives device_id=E: x1 definite [10..-) seen/open"]);
    assert_eq!((answer["verdict"].clone(), link(&answer, 1).2), ("definite".into(), "no such row".into()));
}

#[test]
fn what_is_stored() {
    let mut case = Case::new();
    case.import("5.19.0", &[added(users(10, 0), "uid=1"), added(At("h", "zap_events", 12, 0, Some(0)), "pid=1")]);
    case.import("5.19.0", &[added(users(1, 1), "uid=2")]);
    let coverage = case.model.coverage(None, None, None).expect("an answer");
    let stream = &coverage["streams"][0];
    assert_eq!(
        (&stream["kind"], &stream["table"], &stream["assumed"]),
        (&"diff".into(), &"users".into(), &true.into())
    );
    assert_eq!(stream["skew"], serde_json::json!([-9, 1]));
    assert_eq!((plain(&stream["first"]), plain(&stream["last"])), ("1".to_owned(), "10".to_owned()));
    assert_eq!(coverage["streams"][1]["kind"], "event");
    let tables = case.model.tables(None).expect("an answer");
    assert_eq!(tables["tables"][1]["table"], "zap_events");
    assert_eq!((&tables["tables"][1]["evented"], &tables["tables"][1]["assumed"]), (&true.into(), &1.into()));
}

#[test]
fn bytes_that_are_no_text_are_told() {
    let mut case = Case::new();
    case.clock += 1_000_000;
    let line = b"{\"name\":\"users\",\"hostIdentifier\":\"h\",\"unixTime\":10,\"snapshot\":[{\"username\":\"a\xf0\x9f\xffb\"}]}";
    case.model.import(&[("log", line)], ImportOptions::default(), case.clock).expect("the import is in order");
    let answer = case.model.state("users", 10, None, &[], None, None).expect("an answer");
    assert_eq!(answer["rows"][0]["columns"]["username"], "a\u{fffd}\u{fffd}b");
    assert_eq!(answer["rows"][0]["lossy"], true);
}

#[test]
fn a_list_of_unknown_hosts_is_cut_with_its_number() {
    let mut case = Case::new();
    let lines: Vec<String> =
        (0..103).map(|n| added(At(&format!("h{n:03}"), "users", 10, 1, Some(0)), "uid=1")).collect();
    case.import("5.19.0", &lines);
    let answer = case.model.state("users", 5, None, &[], None, None).expect("an answer");
    let hosts = answer["coverage"]["unknown_hosts"].as_array().expect("a list");
    assert_eq!((hosts.len(), &hosts[0]["host"], &hosts[100]), (101, &"h000".into(), &serde_json::json!({"more": 3})));
}
