//! `kill -9` of a real import at random moments, again and again, then to the end: the answers are those of an import that
//! nothing disturbed.
//!
//! `ERSTWHILE_KILLS=200` kills so often (the default is few), `ERSTWHILE_SEED` chooses other moments.

use crate::{Rng, command};
use erstwhile::forms::{Answer, json};
use erstwhile::simulate::{self, Format};
use erstwhile_engine::io::{Clock, DiskStorage, SystemClock};
use erstwhile_engine::read::question::{HistoryQuestion, ListQuestion};
use erstwhile_engine::store::open_view;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// How many imports one store sees, each of some of the files; each seals, and the fourth merges.
const IMPORTS: usize = 6;
/// How many files an import reads; each ends with a commit.
const FILES: usize = 4;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A fleet's log in pieces.
fn inputs(directory: &Path, seed: u64, format: Format) -> Vec<Vec<OsString>> {
    let fleet = simulate::generate(&simulate::Options { days: 0.6, ..simulate::Options::nasty(seed, format) }).unwrap();
    let plain = fleet.logs.iter().filter(|(name, _)| !name.ends_with(".gz") && !name.ends_with(".zst"));
    let text = plain.map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat();
    let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    assert!(lines.len() > 1000, "{}", lines.len());
    let pieces: Vec<OsString> = lines
        .chunks(lines.len().div_ceil(IMPORTS * FILES))
        .enumerate()
        .map(|(i, lines)| {
            let path = directory.join(format!("{i:03}.log"));
            std::fs::write(&path, lines.concat()).unwrap();
            path.into_os_string()
        })
        .collect();
    pieces.chunks(FILES).map(<[OsString]>::to_vec).collect()
}

fn import(store: &Path, files: &[OsString]) -> std::process::Command {
    let args: Vec<OsString> = [OsString::from("import")].into_iter().chain(files.iter().cloned()).collect();
    let mut command = command(store, &args);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Imports to the end; tells how many nanoseconds it took.
fn finish(store: &Path, files: &[OsString]) -> u64 {
    let clock = SystemClock::new();
    let output = import(store, files).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    clock.monotonic_nanos()
}

/// Every answer as JSON, without what depends on when something was recorded, or on the layout.
fn answers(store: &Path) -> String {
    let view = open_view(&DiskStorage::open(store, false).unwrap(), 16 << 20).unwrap();
    let list = ListQuestion::default();
    let mut all = vec![
        Answer::Hosts(view.list_hosts(&list).unwrap()),
        Answer::Tables(view.list_tables(&list).unwrap()),
        Answer::Coverage(view.list_streams(&list).unwrap()),
    ];
    for table in view.tables().unwrap() {
        let question = HistoryQuestion {
            table,
            host: None,
            stream: None,
            wheres: Vec::new(),
            from: None,
            to: None,
            known_at: None,
        };
        all.push(Answer::History(view.history(&question).unwrap()));
    }
    let mut text = String::new();
    for answer in &all {
        let mut bytes = Vec::new();
        json::write(answer, &mut bytes).unwrap();
        let mut value: Value = serde_json::from_slice(&bytes).unwrap();
        let object = value.as_object_mut().unwrap();
        object.remove("cost");
        object.remove("known_at");
        for stream in object.get_mut("streams").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(stream) = stream.as_object_mut() {
                stream.remove("skew");
            }
        }
        text += &format!("{value}\n");
    }
    let dead = view.dead_letters(&mut erstwhile_engine::read::answer::Cost::default()).unwrap();
    text + &format!("{dead:?}\n")
}

#[test]
fn a_killed_import_that_is_finished_later_gives_the_same_answers() {
    let kills = number("ERSTWHILE_KILLS", 20);
    let seed = number("ERSTWHILE_SEED", 1);
    let directory = tempfile::tempdir().unwrap();
    let formats = [Format::Event, Format::Batch, Format::Snapshot];
    let mut rng = Rng(seed);
    let (mut killed, mut round) = (0, 0u64);
    while killed < kills {
        let format = formats[round as usize % formats.len()];
        let place = directory.path().join(round.to_string());
        std::fs::create_dir(&place).unwrap();
        let inputs = inputs(&place, seed + round, format);
        let undisturbed: PathBuf = place.join("undisturbed");
        let nanos: Vec<u64> = inputs.iter().map(|files| finish(&undisturbed, files)).collect();
        let expected = answers(&undisturbed);
        let store = place.join("killed");
        for (files, nanos) in inputs.iter().zip(&nanos) {
            for _ in 0..rng.below(4) {
                let delay = rng.below(nanos * 5 / 4);
                let mut child = import(&store, files).spawn().unwrap();
                std::thread::sleep(Duration::from_nanos(delay));
                child.kill().unwrap();
                let output = child.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(matches!(output.status.code(), None | Some(0 | 3)), "seed {seed}, round {round}: {said}");
                killed += u64::from(output.status.code().is_none());
                // Whatever is there can be read.
                if DiskStorage::open(&store, false)
                    .is_ok_and(|storage| erstwhile_engine::store::exists(&storage).unwrap())
                {
                    answers(&store);
                }
            }
            // Some are never finished before the next begins.
            if rng.below(2) == 0 {
                finish(&store, files);
            }
        }
        for files in &inputs {
            finish(&store, files);
        }
        assert!(answers(&store) == expected, "seed {seed}, round {round}: other answers after kills");
        std::fs::remove_dir_all(&place).unwrap();
        round += 1;
    }
    println!("{killed} imports killed in {round} rounds, seed {seed}");
}
