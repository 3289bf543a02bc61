//! What a shipper says when it is not let: by the system, or by the server. Each time it says what, where and what to do,
//! and once it is let, everything is in.

use crate::served::{Served, command, output};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

/// Someone who may not do everything, if whoever tests may.
const NOBODY: u32 = 65_534;

/// A folder of a server, a log and what ships it.
struct Place {
    folder: tempfile::TempDir,
    served: Served,
    token: String,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let served = Served::start(&folder.path().join("store"), &[]);
        let token = folder.path().join("token");
        fs::copy(served.token_file("ingest"), &token).unwrap();
        fs::set_permissions(&token, Permissions::from_mode(0o644)).unwrap();
        let line = "{\"name\":\"users\",\"hostIdentifier\":\"a\",\"unixTime\":1700000000,\"snapshot\":[{\"uid\":\"1\"}],\"action\":\"snapshot\"}\n";
        fs::write(folder.path().join("a.log"), line).unwrap();
        let token = token.to_str().unwrap().to_owned();
        Place { folder, served, token }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Ships once, as someone who may not do everything.
    fn ship(&self, state: &str, token: &str) -> (Option<i32>, String) {
        let (state, log) = (self.path(state), self.path("a.log"));
        let server = &self.served.address;
        let mut ship = command(&["ship", "--once", "--state", &state, "--server", server, "--token-file", token, &log]);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            ship.uid(NOBODY);
        }
        let ran = ship.output().unwrap();
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    }

    /// A folder of theirs.
    fn own(&self, name: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            chown(&path, Some(NOBODY), None).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn rows(&self) -> usize {
        let server = self.served.args("read");
        let server: Vec<&str> = server.iter().map(|arg| &**arg).collect();
        let answer = output(&[&["state", "users", "--at", "1700000000", "--format", "csv"][..], &server].concat());
        assert!(answer.status.success(), "{answer:?}");
        String::from_utf8_lossy(&answer.stdout).lines().count() - 1
    }
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn a_log_that_may_not_be_read_is_told_and_shipped_once_it_may() {
    let place = Place::new();
    place.own("state", 0o700);
    let log = place.path("a.log");
    fs::set_permissions(&log, Permissions::from_mode(0o000)).unwrap();
    let (code, text) = place.ship("state", &place.token);
    assert_eq!(code, Some(1), "{text}");
    says(&text, &[&log, "Permission denied", "let the user that ships read it", "not all was sent", "run it again"]);
    assert_eq!(text.matches("let the user that ships read it").count(), 1, "{text}");
    fs::set_permissions(&log, Permissions::from_mode(0o644)).unwrap();
    let (code, text) = place.ship("state", &place.token);
    assert_eq!((code, place.rows()), (Some(0), 1), "{text}");
}

/// Whoever runs it once takes its end for that of the logs.
#[test]
fn a_log_that_is_not_there_or_does_not_end_is_told_and_shipped_once_it_is() {
    let place = Place::new();
    place.own("state", 0o700);
    let log = place.path("a.log");
    let line = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let (code, text) = place.ship("state", &place.token);
    assert_eq!((code, place.rows()), (Some(1), 0), "{text}");
    says(&text, &[&log, "there is no such file", "1 source; 0 batches, 0 lines, 0 bytes in", "run it again"]);
    fs::write(&log, line.trim_end()).unwrap();
    let (code, text) = place.ship("state", &place.token);
    assert_eq!(code, Some(1), "{text}");
    says(&text, &[&log, "the last line has no line feed yet", "behind in 1 source", "run it again"]);
    fs::write(&log, line).unwrap();
    let (code, text) = place.ship("state", &place.token);
    assert_eq!((code, place.rows()), (Some(0), 1), "{text}");
    says(&text, &["1 source; 1 batch, 1 line, "]);
}

#[test]
fn a_file_that_is_no_token_is_told_and_not_sent() {
    let place = Place::new();
    place.own("state", 0o700);
    let text = place.path("text");
    fs::write(&text, "no token\n".repeat(800)).unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o644)).unwrap();
    let (code, told) = place.ship("state", &text);
    assert_eq!(code, Some(1), "{told}");
    says(&told, &["token", "one line of at most 256 bytes", "right file"]);
}

#[test]
fn a_state_that_may_not_be_written_is_told() {
    let place = Place::new();
    place.own("state", 0o500);
    let (code, text) = place.ship("state", &place.token);
    assert_eq!((code, place.rows()), (Some(1), 0), "{text}");
    says(&text, &[&place.path("state/lock"), "Permission denied", "let the user that ships read and write there"]);
    fs::set_permissions(place.path("state"), Permissions::from_mode(0o700)).unwrap();
    let (code, text) = place.ship("state", &place.token);
    assert_eq!((code, place.rows()), (Some(0), 1), "{text}");
    // Later, in the midst of the work.
    fs::set_permissions(place.path("state"), Permissions::from_mode(0o500)).unwrap();
    let (code, text) = place.ship("state", &place.token);
    assert_eq!(code, Some(1), "{text}");
    says(&text, &[&place.path("state/place.new"), "Nothing is lost"]);
}

#[test]
fn a_token_that_is_refused_is_told_with_the_server_and_the_role() {
    let place = Place::new();
    place.own("state", 0o700);
    let wrong = place.path("wrong");
    fs::write(&wrong, "not-a-token\n").unwrap();
    let reads = place.path("reads");
    fs::copy(place.served.token_file("read"), &reads).unwrap();
    for (token, what) in [(&wrong, "not known here"), (&reads, "this connection has read")] {
        fs::set_permissions(Path::new(token), Permissions::from_mode(0o644)).unwrap();
        let (code, text) = place.ship("state", token);
        assert_eq!((code, place.rows()), (Some(1), 0), "{text}");
        says(&text, &[&place.served.address, what, "role ingest", "--token-file", "Nothing is lost"]);
    }
    let (code, text) = place.ship("state", &place.path("absent"));
    assert_eq!(code, Some(1), "{text}");
    says(&text, &[&place.path("absent"), "No such file"]);
    let (code, text) = place.ship("state", &place.token);
    assert_eq!((code, place.rows()), (Some(0), 1), "{text}");
}
