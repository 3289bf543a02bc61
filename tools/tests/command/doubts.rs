//! Questions that can hardly be meant get the answer that they ask for, and a note on standard error.

use crate::{Place, Ran, command, line};

/// A store of two hosts.
fn place() -> Place {
    let place = Place::new();
    let lines = line("DESK-003", 1_545_645_600, &["ann"]) + &line("web-1.corp.test", 1_545_645_600, &["bob"]);
    place.import(&place.file("all.log", lines)).ended(0, &[]);
    place
}

/// What is said beside an answer in JSON; the answer is one object whatever is said.
#[track_caller]
fn said(place: &Place, args: &[&str]) -> String {
    let ran = place.run(&[args, &["--format", "json"]].concat());
    ran.ended(0, &[]);
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(answer.is_object() && !ran.out.contains("note: "), "{ran:?}");
    // The same in text.
    let text = place.run(args);
    assert_eq!((text.code, &text.err), (Some(0), &ran.err));
    ran.err
}

#[test]
fn a_host_that_is_not_known_is_told_with_the_one_that_may_be_meant() {
    let place = place();
    for (host, known) in [("DESK-003.corp.test", "DESK-003"), ("desk-003", "DESK-003"), ("web-1", "web-1.corp.test")] {
        for args in [
            &["state", "users", "--at", "now"][..],
            &["who", "uid", "0", "--at", "now"],
            &["who", "ip", "10.0.0.7", "--at", "now"],
            &["what", "device", "/x", "--at", "now"],
            &["history", "users"],
            &["diff", "users", "2018-12-24", "now"],
            &["coverage"],
            &["coverage", "users"],
        ] {
            let note = format!(
                "note: the store knows no host {host} (is it {known}?); hosts are compared exactly, see `erstwhile hosts` for \
                 their names\n"
            );
            assert_eq!(said(&place, &[args, &["--host", host]].concat()), note, "{args:?}");
            assert_eq!(said(&place, &[args, &["--host", known]].concat()), "", "{args:?}");
        }
    }
    let other = said(&place, &["history", "users", "--host", "web-2"]);
    assert!(other.starts_with("note: the store knows no host web-2; hosts are"), "{other}");
}

#[test]
fn a_table_or_column_that_is_not_known_is_told() {
    let place = place();
    for (table, note) in [
        ("usrs", "note: nothing is stored of a table usrs, and osquery has none of that name that is known here; see "),
        (
            "Users",
            "note: nothing is stored of a table Users, and osquery has none of that name that is known here (is it \
                   users?); see ",
        ),
        ("mounts", "note: nothing is stored of the table mounts; see "),
    ] {
        for args in [
            &["state", table, "--at", "now"][..],
            &["state", table, "--at", "now", "--host", "DESK-003"],
            &["history", table],
            &["history", table, "--host", "DESK-003"],
            &["diff", table, "2018-12-24", "now", "--host", "DESK-003"],
            &["coverage", table],
        ] {
            let err = said(&place, args);
            assert!(err.starts_with(note) && err.lines().count() == 1, "{args:?}: {err}");
        }
    }
    let both = said(&place, &["state", "usrs", "--at", "now", "--host", "nobody"]);
    assert!(both.lines().count() == 2 && both.contains("no host nobody") && both.contains("table usrs"), "{both}");
    let column = "note: osquery's table users has no column usrname; rows have it only where a query names one so\n";
    for args in
        [&["state", "users", "--at", "now"][..], &["history", "users"], &["history", "users", "--host", "DESK-003"]]
    {
        assert_eq!(said(&place, &[args, &["--where", "usrname=ann"]].concat()), column, "{args:?}");
        assert_eq!(said(&place, &[args, &["--where", "username=eve"]].concat()), "", "{args:?}");
    }
    // What is not there for other reasons is no mistake of the question.
    assert_eq!(said(&place, &["state", "users", "--at", "2001-01-01"]), "");
    assert_eq!(said(&place, &["state", "users", "--at", "now", "--known-at", "2001-01-01"]), "");
    assert_eq!(said(&place, &["history", "users", "--host", "DESK-003", "--to", "2001-01-01"]), "");
}

#[test]
fn what_is_no_address_is_told() {
    let place = place();
    let err = said(&place, &["who", "ip", "10.40.0.22/24", "--at", "now"]);
    assert_eq!(
        err,
        "note: 10.40.0.22/24 is no address and is compared as text; for a network use `erstwhile state \
         interface_addresses --at T --where-in address=10.40.0.22/24`\n"
    );
    assert!(said(&place, &["who", "ip", "10.40.0", "--at", "now"]).starts_with("note: 10.40.0 is no address"));
    for address in ["10.40.0.22", "fe80::1%eth0", "::ffff:10.0.0.7"] {
        assert_eq!(said(&place, &["who", "ip", address, "--at", "now"]), "", "{address}");
    }
}

#[test]
fn options_that_would_not_be_heeded_are_refused() {
    let place = place();
    let file = place.path("all.log");
    let import = ["import", file.to_str().unwrap(), "--server", "127.0.0.1:7787"];
    place.run(&import).ended(2, &["import does not take --server: ", "erstwhile ship"]);
    place.run(&["fsck", "--server", "127.0.0.1:7787"]).ended(2, &["fsck does not take --server: ", "--store DIR"]);
    let state = place.path("state");
    let ship = ["ship", "--state", state.to_str().unwrap(), "x.log", "--server", "127.0.0.1:7787"];
    place.run(&ship).ended(2, &["ship does not take --store: "]);
    assert!(!state.exists());
    // What the environment says is for other commands.
    let fsck = command(&place.store(), &["fsck"]).env("ERSTWHILE_SERVER", "127.0.0.1:7787").output().unwrap();
    Ran::of(fsck).ended(0, &[]);
}
