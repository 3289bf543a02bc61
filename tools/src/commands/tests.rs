//! Whole command lines against an engine that answers by hand and remembers what it was asked.

use super::{Answers, Engine, ImportJob, Input, ServeJob, ShipJob, Source, Surroundings, run};
use crate::args::{InspectArgs, LogFormat, SimulateArgs, SyncMode};
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::{Format, samples};
use crate::operate::{Operation, Surface};
use crate::progress::Progress;
use crate::summary::ImportSummary;
use clap::CommandFactory;
use erstwhile_engine::catalogue::Catalogue;
use erstwhile_engine::check::fsck::{Options as FsckOptions, Report};
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::answer::*;
use erstwhile_engine::read::question::*;
use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NOW: i64 = samples::AT * 1_000_000 + 250_000;

/// Remembers each call as text.
#[derive(Default)]
struct Fake {
    calls: RefCell<Vec<String>>,
    dead_letters: u64,
    /// Whether answers hold nothing.
    is_empty: bool,
}

impl Fake {
    fn note(&self, call: &str, what: impl Debug) {
        self.calls.borrow_mut().push(format!("{call} {what:?}"));
    }
}

struct FakeStore<'a>(&'a Fake);

impl Answers for FakeStore<'_> {
    fn state(&self, question: &StateQuestion) -> Result<State, Failure> {
        self.0.note("state", question);
        if &*question.table == b"process_events" {
            return Err(Failure::Usage("process_events holds events: ask history process_events".to_owned()));
        }
        Ok(if self.0.is_empty {
            State { rows: Vec::new(), coverage: Coverage::default(), ..samples::state() }
        } else {
            samples::state()
        })
    }

    fn who(&self, question: &WhoQuestion) -> Result<Who, Failure> {
        self.0.note("who", question);
        Ok(if self.0.is_empty {
            Who { rows: Vec::new(), coverage: Coverage::default(), ..samples::who() }
        } else {
            samples::who()
        })
    }

    fn what(&self, question: &WhatQuestion) -> Result<What, Failure> {
        self.0.note("what", question);
        Ok(if self.0.is_empty {
            What { links: Vec::new(), coverage: Coverage::default(), ..samples::what() }
        } else {
            samples::what()
        })
    }

    fn history(&self, question: &HistoryQuestion) -> Result<History, Failure> {
        self.0.note("history", question);
        Ok(if self.0.is_empty { History { rows: Vec::new(), ..samples::history() } } else { samples::history() })
    }

    fn diff(&self, question: &DiffQuestion) -> Result<Diff, Failure> {
        self.0.note("diff", question);
        Ok(if self.0.is_empty { Diff { rows: Vec::new(), ..samples::diff() } } else { samples::diff() })
    }

    fn hosts(&self, question: &ListQuestion) -> Result<Vec<HostEntry>, Failure> {
        self.0.note("hosts", question);
        Ok(samples::hosts())
    }

    fn tables(&self, question: &ListQuestion) -> Result<Vec<TableEntry>, Failure> {
        self.0.note("tables", question);
        Ok(samples::tables())
    }

    fn coverage(&self, question: &ListQuestion) -> Result<Vec<StreamEntry>, Failure> {
        self.0.note("coverage", question);
        Ok(if self.0.is_empty { Vec::new() } else { samples::streams() })
    }

    fn map_lines(&self, stream: &[u8], _table: &[u8]) -> String {
        format!("# {}", String::from_utf8_lossy(stream))
    }

    fn has_table(&self, _: &Name) -> Result<bool, Failure> {
        Ok(!self.0.is_empty)
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Catalogue::shipped()
    }
}

impl Engine for Fake {
    fn open(&self, source: &Source) -> Result<Box<dyn Answers + '_>, Failure> {
        match source {
            Source::Store(store) => self.note("open", store),
            Source::Server(server) => self.note("connect", &server.address),
        }
        Ok(Box::new(FakeStore(self)))
    }

    fn ship(&self, job: &ShipJob, _: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        self.note("ship", job);
        Ok(())
    }

    fn serve(&self, job: &ServeJob, _: &mut dyn Write) -> Result<(), Failure> {
        self.note("serve", job);
        Ok(())
    }

    fn import(&self, store: &Path, job: &ImportJob, _progress: &Progress) -> Result<ImportSummary, Failure> {
        self.note("import", (store, job));
        let mut summary = ImportSummary::default();
        summary.dead_letters.insert("not-json", self.dead_letters);
        Ok(summary)
    }

    fn inspect(
        &self,
        store: Option<&Path>,
        args: &InspectArgs,
        _format: Format,
        _out: &mut dyn Write,
    ) -> Result<(), Failure> {
        self.note("inspect", (store, &args.files));
        Err(Failure::Damage("log-1 at 4096: checksum".to_owned()))
    }

    fn fsck(&self, store: &Path, options: &FsckOptions, _progress: &Progress) -> Result<Report, Failure> {
        self.note("fsck", (store, options.level, options.share, options.budget_nanos));
        Ok(Report::default())
    }

    fn operate(&self, operation: &Operation<'_>, _: &mut Surface<'_>) -> Result<Exit, Failure> {
        self.note("operate", operation);
        Ok(Exit::Done)
    }

    fn simulate(&self, args: &SimulateArgs, format: LogFormat, _: &Progress, _: &mut dyn Write) -> Result<(), Failure> {
        self.note("simulate", (args.hosts, format, args.faults));
        Ok(())
    }
}

struct Done {
    exit: Exit,
    out: String,
    err: String,
    calls: Vec<String>,
}

fn with(fake: Fake, args: &[&str]) -> Done {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["erstwhile"].iter().chain(args).map(OsString::from);
    let exit = run(
        args,
        &fake,
        &mut Surroundings { now: NOW, out: &mut out, err: &mut err, width: None, color: false, err_is_terminal: false },
    );
    Done {
        exit,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        calls: fake.calls.into_inner(),
    }
}

fn erstwhile(args: &[&str]) -> Done {
    with(Fake::default(), args)
}

#[test]
fn the_definitions_hold_together() {
    crate::args::Cli::command().debug_assert();
}

#[test]
fn every_argument_reaches_its_question() {
    let done = erstwhile(&[
        "--store",
        "s",
        "state",
        "processes",
        "--at",
        "2018-12-24 10:00",
        "--host",
        "web-1",
        "--where",
        "name=sshd",
        "--where",
        "cmdline=a=b",
        "--stream",
        "procs",
        "--known-at",
        "1545645600.5",
    ]);
    assert_eq!((done.exit, done.err.as_str()), (Exit::Done, ""));
    assert_eq!(done.calls[0], "open \"s\"");
    let bytes = |text: &str| format!("{:?}", text.as_bytes());
    assert_eq!(
        done.calls[1],
        format!(
            "state StateQuestion {{ table: {}, at: {}, host: Some({}), stream: Some({}), wheres: \
             [Where {{ column: {}, text: Is({}) }}, Where {{ column: {}, text: Is({}) }}], known_at: Some({}) }}",
            bytes("processes"),
            samples::AT,
            bytes("web-1"),
            bytes("procs"),
            bytes("name"),
            bytes("sshd"),
            bytes("cmdline"),
            bytes("a=b"),
            samples::AT * 1_000_000 + 500_000
        )
    );
    for (args, call) in [
        (&["who", "ip", "10.0.0.7", "--at", "now"][..], "who WhoQuestion { subject: Ip"),
        (&["who", "uid", "-2", "--at", "now"], "who WhoQuestion { subject: Uid"),
        (&["what", "device", "/media", "--host", "h", "--at", "now"], "what WhatQuestion"),
        (&["history", "users", "--from", "1 hour ago"], "history HistoryQuestion"),
        (&["diff", "users", "--host", "h", "1 day ago", "now"], "diff DiffQuestion"),
        (&["hosts"], "hosts ListQuestion"),
        (&["tables"], "tables ListQuestion"),
        (&["coverage", "users"], "coverage ListQuestion"),
    ] {
        let done = erstwhile(&[args, &["--store", "s"]].concat());
        assert_eq!((done.exit, done.err.as_str()), (Exit::Done, ""), "{args:?}");
        assert!(done.calls[1].starts_with(call), "{}", done.calls[1]);
        assert!(!done.out.is_empty());
    }
}

/// A mistake that the words alone show must not cost the opening of a store.
#[test]
fn what_can_be_refused_without_a_store_is() {
    for (args, words) in [
        (&["state", "users", "--at", "1545645600000"][..], "--at: \"1545645600000\" has 13 digits"),
        (&["state", "users", "--at", "soon"], "--at: \"soon\" is no time"),
        (&["state", "users", "--at", "now", "--where", "uid"], "--where uid: write COL=VALUE"),
        (&["state", "users", "--at", "now", "--where", "=0"], "write COL=VALUE"),
        (&["state", "", "--at", "now"], "name is empty"),
        (&["state", "users"], "--at <TIME>"),
        (&["who", "uid", "root", "--at", "now"], "--where username=root"),
        (&["who", "ip", "", "--at", "now"], "address is empty"),
        (&["diff", "users", "--host", "h", "now", "1 day ago"], "T1 is later than T2"),
        (&["history", "users", "--from", "now", "--to", "1 day ago"], "--from is later"),
        (&["hosts", "--tz", "Mars/Olympus"], "no time zone"),
        (&["hosts", "--known-at", "1545645600250000"], "--known-at: \"1545645600250000\" has 16"),
        (&["import", "-", "--format", "csv"], "text or json"),
        (&["import", "-", "-"], "only once"),
        (&["import", "-", "--agent-version", "new"], "5.12.1"),
        (&["import"], "<FILE>"),
        (&["simulate", "--out", "o", "--format", "json"], "batch"),
        (&["--format", "json", "simulate", "--out", "o"], "batch"),
    ] {
        let done = erstwhile(&[&["--store", "s"], args].concat());
        assert_eq!(done.exit, Exit::Usage, "{args:?}: {}", done.err);
        assert!(done.err.contains(words), "{args:?}: {}", done.err);
        assert!(done.calls.is_empty() && done.out.is_empty(), "{args:?}");
    }
    let done = erstwhile(&["import", "no such file", "--store", "s"]);
    assert_eq!(done.exit, Exit::Failed);
    assert!(done.err.starts_with("erstwhile: no such file: "), "{}", done.err);
    assert!(done.calls.is_empty());
}

#[test]
fn failures_end_as_documented() {
    let done = erstwhile(&["state", "process_events", "--at", "now", "--store", "s"]);
    assert_eq!(done.exit, Exit::Usage);
    assert_eq!(done.err, "erstwhile: process_events holds events: ask history process_events\n");
    assert_eq!(erstwhile(&["inspect", "file"]).exit, Exit::Damage);
    assert_eq!(erstwhile(&["inspect", "file", "--format", "csv"]).exit, Exit::Usage);
    assert_eq!(erstwhile(&["fsck", "--store", "s"]).exit, Exit::Done);
    for wrong in [&["--format", "csv"][..], &["--sample", "0%"], &["--budget", "soon"], &["--quick", "--deep"]] {
        let args = [&["fsck", "--store", "s"], wrong].concat();
        assert_eq!(erstwhile(&args).exit, Exit::Usage, "{wrong:?}");
    }
    let fake = Fake { dead_letters: 1, ..Fake::default() };
    let done = with(fake, &["import", "-", "--store", "s", "--format", "json"]);
    assert_eq!(done.exit, Exit::Incomplete);
    assert!(done.out.contains("\"dead_letters\":{\"not-json\":1}"), "{}", done.out);
    assert_eq!(erstwhile(&["--help"]).exit, Exit::Done);
    assert_eq!(erstwhile(&["frobnicate"]).exit, Exit::Usage);
}

#[test]
fn import_takes_files_and_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    std::fs::write(&file, "{}\n").unwrap();
    let file = file.to_str().unwrap();
    let done = erstwhile(&[
        "import",
        file,
        "-",
        "--store",
        "s",
        "--recorded-at",
        "2018-12-24T10:00:00.000001Z",
        "--sync",
        "never",
        "--hold-seconds",
        "3",
    ]);
    assert_eq!((done.exit, done.err.as_str()), (Exit::Done, ""));
    let job = ImportJob {
        inputs: vec![Input::File(PathBuf::from(file)), Input::Stdin],
        map: None,
        agent_version: None,
        recorded_at: Some(samples::AT * 1_000_000 + 1),
        catalogue: None,
        sync: SyncMode::Never,
        hold: std::time::Duration::from_secs(3),
    };
    assert_eq!(done.calls, [format!("import {:?}", (Path::new("s"), job))]);
}

/// `--format` is one word with two meanings: of an answer, and of a log that is made.
#[test]
fn simulate_has_a_format_of_its_own() {
    let done = erstwhile(&["simulate", "--out", "o", "--hosts", "3", "--format", "batch", "--faults", "all"]);
    assert_eq!(done.calls, ["simulate (3, Batch, All)"]);
    let done = erstwhile(&["simulate", "--out", "o"]);
    assert_eq!(done.calls, ["simulate (10, Event, None)"]);
    let done = erstwhile(&["--format", "json", "hosts", "--store", "s"]);
    assert!(done.out.starts_with("{\"hosts\":"), "before the command");
    let done = erstwhile(&["hosts", "--format", "ndjson", "--store", "s"]);
    assert!(done.out.ends_with("}\n{}\n"), "after the command");
}

#[test]
fn csv_keeps_what_is_no_row_out_of_its_records() {
    let done = erstwhile(&["who", "ip", "10.0.0.7", "--at", "now", "--store", "s", "--format", "csv"]);
    assert!(done.out.starts_with("host,stream,"));
    assert!(done.err.starts_with("hosts: 410 covered, "), "{}", done.err);
}

#[test]
fn assumed_tables_end_with_the_lines_for_a_map() {
    let done = erstwhile(&["tables", "--store", "s"]);
    assert!(done.out.ends_with("# pack/it/users\n# pack_sec_users\n"), "{}", done.out);
}

#[test]
fn colour_when_told_to() {
    assert!(erstwhile(&["hosts", "--store", "s", "--color", "always"]).out.contains('\u{1b}'));
    assert!(!erstwhile(&["hosts", "--store", "s"]).out.contains('\u{1b}'));
}

/// `erstwhile … | head -1` ends without a word.
#[test]
fn a_closed_pipe_is_no_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    for args in [&["hosts"][..], &["hosts", "--format", "json"], &["demo"], &["--help"]] {
        let mut err = Vec::new();
        let args = ["erstwhile", "--store", "s"].iter().chain(args).map(OsString::from);
        let exit = run(
            args,
            &Fake::default(),
            &mut Surroundings {
                now: NOW,
                out: &mut Closed,
                err: &mut err,
                width: None,
                color: false,
                err_is_terminal: false,
            },
        );
        assert_eq!((exit, err.as_slice()), (Exit::Done, &b""[..]));
    }
}

/// An answer that holds nothing is the same for a question that can hardly be meant; only standard error says more.
#[test]
fn what_can_hardly_be_meant_is_told_beside_the_answer() {
    let asked = |args: &[&str]| {
        let fake = Fake { is_empty: true, ..Fake::default() };
        let done = with(fake, &[args, &["--store", "s", "--format", "json"]].concat());
        assert_eq!(done.exit, Exit::Done, "{args:?}: {}", done.err);
        assert!(done.out.starts_with('{') && !done.out.contains("note"), "{}", done.out);
        assert!(done.err.lines().all(|line| line.starts_with("note: ")), "{}", done.err);
        done.err
    };
    for (args, notes) in [
        (&["state", "usrs", "--at", "now"][..], 1),
        (&["state", "usrs", "--at", "now", "--host", "nobody"], 2),
        (&["history", "usrs"], 1),
        (&["history", "usrs", "--host", "nobody"], 2),
        (&["diff", "usrs", "--host", "nobody", "1 day ago", "now"], 2),
        (&["who", "uid", "0", "--at", "now", "--host", "nobody"], 1),
        (&["who", "ip", "10.40.0.22/24", "--at", "now"], 1),
        (&["what", "device", "/x", "--at", "now", "--host", "nobody"], 1),
        (&["coverage", "usrs", "--host", "nobody"], 2),
        (&["coverage"], 0),
    ] {
        let err = asked(args);
        assert_eq!(err.lines().count(), notes, "{args:?}: {err}");
        assert_eq!(err.contains("knows no host nobody; "), args.contains(&"nobody"), "{args:?}: {err}");
        assert_eq!(err.contains("of a table usrs, and osquery has none"), args.contains(&"usrs"), "{args:?}: {err}");
    }
    assert!(asked(&["coverage", "--host", "WEB-1.corp.test"]).contains("no host WEB-1.corp.test (is it web-1?); "));
    assert!(asked(&["state", "Users", "--at", "now"]).contains("(is it users?)"));
    assert!(asked(&["state", "npm_packages", "--at", "now"]).contains("nothing is stored of the table npm_packages;"));
    // Who finds something has been understood.
    for args in [&["who", "ip", "10.0.0.7", "--at", "now"][..], &["state", "usrs", "--at", "now", "--host", "nobody"]] {
        assert_eq!(erstwhile(&[args, &["--store", "s"]].concat()).err, "", "{args:?}");
    }
}

/// What the environment says is for other commands too; what stands on the command line is meant.
#[test]
fn options_that_would_not_be_heeded_are_refused() {
    let server = ["--server", "127.0.0.1:7787"];
    for args in [
        &["import", "-", "--store", "s"][..],
        &["fsck", "--store", "s"],
        &["inspect", "--store", "s"],
        &["backup", "--to", "b", "--store", "s"],
        &["restore", "--from", "b", "--to", "s"],
        &["recover", "--to", "r", "--store", "s"],
        &["serve", "--store", "s"],
        &["simulate", "--out", "o"],
        &["completions", "bash"],
        &["man", "--to", "m"],
        &["demo"],
    ] {
        for option in [&server, &["--token-file", "t"]] {
            let done = erstwhile(&[args, option].concat());
            let words = format!("{} does not take {}: ", args[0], option[0]);
            assert!(done.exit == Exit::Usage && done.err.contains(&words), "{args:?}: {}", done.err);
            assert!(done.calls.is_empty() && done.out.is_empty(), "{args:?}");
        }
    }
    let done = erstwhile(&[&["ship", "--state", "d", "log", "--store", "s"][..], &server].concat());
    assert!(done.exit == Exit::Usage && done.err.contains("ship does not take --store: "), "{}", done.err);
    assert_eq!(erstwhile(&[&["ship", "--state", "d", "log"][..], &server].concat()).exit, Exit::Done);
    assert_eq!(erstwhile(&[&["hosts"][..], &server].concat()).exit, Exit::Done);
}

/// A disk that is full takes no help, and whoever wrote it there is told.
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut err = Vec::new();
    let exit = run(
        ["erstwhile", "help"].map(OsString::from),
        &Fake::default(),
        &mut Surroundings {
            now: NOW,
            out: &mut Full,
            err: &mut err,
            width: None,
            color: false,
            err_is_terminal: false,
        },
    );
    let err = String::from_utf8(err).unwrap();
    assert!(exit == Exit::Failed && err.starts_with("erstwhile: writing the output: "), "{err}");
}

/// A recorded time far ahead holds for all that is recorded later.
#[test]
fn a_recorded_time_in_the_future_is_told() {
    let import = |time: &str| erstwhile(&["import", "-", "--store", "s", "--recorded-at", time]);
    assert_eq!(import("2018-12-25T09:00:00Z").err, "");
    let done = import("2018-12-26T10:00:00Z");
    assert_eq!(done.exit, Exit::Done);
    assert!(done.err.starts_with("note: --recorded-at 2018-12-26 10:00:00 UTC lies in the future: "), "{}", done.err);
}

/// A host's name is bytes; the command line hands them on as they are.
#[cfg(unix)]
#[test]
fn names_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStringExt;
    let fake = Fake::default();
    let mut args: Vec<OsString> =
        ["erstwhile", "--store", "s", "coverage", "--host"].iter().map(OsString::from).collect();
    args.push(OsString::from_vec(b"caf\xe9".to_vec()));
    let exit = run(
        args,
        &fake,
        &mut Surroundings {
            now: NOW,
            out: &mut Vec::new(),
            err: &mut Vec::new(),
            width: None,
            color: false,
            err_is_terminal: false,
        },
    );
    assert_eq!(exit, Exit::Done);
    let calls = fake.calls.into_inner();
    assert!(calls[1].contains("host: Some([99, 97, 102, 233])"), "{}", calls[1]);
}
