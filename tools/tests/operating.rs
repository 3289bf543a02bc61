//! Every command of `OPERATING.md`, as it stands there, with a small fleet: one shell runs the page's blocks in order.

#![expect(clippy::disallowed_methods, reason = "processes of their own live by the real time")]

use std::fmt::Write;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("../OPERATING.md");

/// The only block that is not run: it names places of a real machine, and the test has its own.
const NOT_RUN: usize = 1;

/// What the page asks of `curl`, by the shell alone: the status decides, the body is printed.
const CURL: &str = r#"#!/bin/bash
url=${!#}; rest=${url#http://}; address=${rest%%/*}
exec 3<>"/dev/tcp/${address%:*}/${address#*:}" || exit 7
printf 'GET /%s HTTP/1.0\r\n\r\n' "${rest#*/}" >&3
read -r _ status _ <&3
while read -r line <&3 && [ "$line" != $'\r' ]; do :; done
[ "$status" = 200 ] || exit 22
cat <&3
"#;

/// A block of the page: the line of its first command, and its text.
struct Block {
    line: usize,
    text: String,
}

/// The blocks of the page that are run, and how many are not.
fn blocks(page: &str) -> (Vec<Block>, usize) {
    let (mut run, mut not_run) = (Vec::new(), 0);
    let mut lines = page.lines().zip(1..);
    while let Some((fence, line)) = lines.next() {
        let Some(words) = fence.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().map(|(text, _)| text).take_while(|text| *text != "```").collect();
        match words {
            "sh" => run.push(Block { line: line + 1, text: text.join("\n") }),
            "sh norun" => not_run += 1,
            _ => panic!("line {line}: neither run nor marked: {fence}"),
        }
    }
    (run, not_run)
}

/// A shell's script of blocks: it ends at the first command that exits with another code than the page says.
fn script(blocks: &[Block]) -> String {
    let mut script = String::from("set -e\ntrap 'kill -KILL $(jobs -p) 2>/dev/null || :' EXIT\n");
    for block in blocks {
        for (text, line) in block.text.lines().zip(block.line..) {
            assert!(!text.ends_with('\\'), "line {line}: a command is one line");
            let (command, code) = match text.split_once("# exits with ") {
                Some((command, code)) => (command.trim_end(), code.trim().parse::<u8>().expect("a code")),
                None => (text, 0),
            };
            writeln!(script, "at='{line}'; echo \"== line {line}\" >&2").unwrap();
            if code == 0 {
                writeln!(script, "{text}").unwrap();
            } else {
                writeln!(script, "code=0; {command} || code=$?").unwrap();
                writeln!(
                    script,
                    "[ $code = {code} ] || {{ echo \"exits with $code, not with {code}\" >&2; exit 99; }}"
                )
                .unwrap();
            }
        }
    }
    script + "echo '== all' >&2\n"
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// How a script ends in a folder with a fleet, and what it and all commands said.
fn run(script: &str, folder: &Path) -> (Option<i32>, String) {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_erstwhile"), bin.join("erstwhile")).unwrap();
    fs::write(bin.join("curl"), CURL).unwrap();
    fs::set_permissions(bin.join("curl"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("script"), script).unwrap();
    let said = File::create(folder.join("said")).unwrap();
    let mut command = Command::new("bash");
    command.arg("script").current_dir(folder).stdin(Stdio::null());
    command.stdout(said.try_clone().unwrap()).stderr(said).process_group(0);
    for name in ["ERSTWHILE_STORE", "ERSTWHILE_SERVER", "ERSTWHILE_TOKEN", "ERSTWHILE_TOKEN_FILE", "ERSTWHILE_CA"] {
        command.env_remove(name);
    }
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("SERVER", free_address()).env("HTTP", free_address());
    for (name, file) in [("STORE", "store"), ("STATE", "state"), ("BACKUP", "backup"), ("LOG", "osqueryd.results.log")]
    {
        command.env(name, folder.join(file));
    }
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if began.elapsed() > Duration::from_secs(50) {
            // Its group is of what it started alone.
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = fs::read_to_string(folder.join("said")).unwrap();
    for log in ["serve.log", "ship.log"] {
        said += &fs::read_to_string(folder.join(log)).map(|text| format!("-- {log}\n{text}")).unwrap_or_default();
    }
    (status, said)
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let (blocks, not_run) = blocks(PAGE);
    assert_eq!(not_run, NOT_RUN);
    assert!(blocks.len() > 15, "{} blocks", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    let simulated = Command::new(env!("CARGO_BIN_EXE_erstwhile"))
        .args(["simulate", "--hosts", "4", "--days", "0.5", "--seed", "1", "--out"])
        .arg(folder.path().join("sim"))
        .output()
        .unwrap();
    assert!(simulated.status.success(), "{simulated:?}");
    let log = folder.path().join("sim/logs/osqueryd.results.log");
    fs::rename(log, folder.path().join("osqueryd.results.log")).unwrap();
    let (status, said) = run(&script(&blocks), folder.path());
    assert!(status == Some(0) && said.contains("== all\n"), "{status:?}\n{said}");
}

#[test]
fn a_command_that_exits_otherwise_than_the_page_says_is_noticed() {
    for (text, ends) in [
        ("true", true),
        ("false", false),
        ("erstwhile hosts --store nowhere  # exits with 1", true),
        ("erstwhile hosts --store nowhere", false),
        ("erstwhile hosts --store nowhere  # exits with 4", false),
        ("erstwhile --version  # exits with 4", false),
        ("sleep 100 &\nfalse", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (blocks, _) = blocks(&format!("Text.\n\n```sh\n{text}\n```\n"));
        let (status, said) = run(&script(&blocks), folder.path());
        assert_eq!(status == Some(0), ends, "{text}: {status:?}\n{said}");
    }
}

/// The tables name every kind of error and every severity there is, so that a new one is not forgotten.
#[test]
fn the_page_names_every_error_and_every_metric() {
    let protocol = include_str!("../../server/PROTOCOL.md");
    let errors = protocol.split("### 2.5 Errors").nth(1).unwrap().split("## 3.").next().unwrap();
    let kinds: Vec<&str> = errors
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .filter(|(code, _)| code.parse::<u16>().is_ok())
        .filter_map(|(_, rest)| rest.split(" |").next())
        .collect();
    assert_eq!(kinds.len(), 20);
    let table = PAGE.split("### Errors of the server").nth(1).unwrap().split("###").next().unwrap();
    for kind in kinds {
        let is_named = table
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
            .any(|cell| cell.trim_end_matches(" (ends)").split(", ").any(|named| named == kind));
        assert!(is_named, "{kind} is not in the page's table of errors");
    }
    // Those to watch: the last column says for what.
    let metrics = include_str!("../../server/METRICS.md");
    for row in metrics.lines().filter(|line| line.starts_with("| `erstwhile_")) {
        let mut cells = row.split('|').map(str::trim);
        let (name, watch) = (cells.nth(1).unwrap().trim_matches('`'), cells.nth(2).unwrap());
        if watch.contains(": ") || watch.contains("must not grow") {
            assert!(PAGE.contains(name), "{name} is to be watched, and the page has no alarm for it");
        }
    }
}
