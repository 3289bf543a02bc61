//! What operators do, by the real command: backups and stores made of them, merges, figures, manual pages.

use crate::{Place, Ran, line};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A store of a large import and two small ones, which are not worth merging with it by themselves.
fn place() -> Place {
    let place = Place::new();
    for (day, (file, hosts)) in [("a", 400), ("b", 10), ("c", 10)].into_iter().enumerate() {
        let second = 1_545_645_600 + 86_400 * day as u32;
        let of = |host| line(&format!("{file}{host}"), second, &["root", &format!("of-{file}{host}")]);
        let lines: String = (0..hosts).map(of).collect();
        place.import(&place.file(file, lines)).ended(0, &[]);
    }
    place
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The history of all users, as another store answers.
fn users_of(place: &Place, store: PathBuf) -> Vec<String> {
    let ran = Ran::of(crate::command(&store, &["history", "users", "--format", "csv"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?} {:?}", place.store());
    ran.out.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn a_store_is_backed_up_verified_and_restored() {
    let place = place();
    let (backup, again, early) = (place.path("backup"), place.path("again"), place.path("early"));
    let made = json(&place.run(&["backup", "--to", text(&backup), "--format", "json"]));
    assert_eq!((&made["generation"], &made["known_files"]), (&1.into(), &0.into()), "{made}");
    let recorded = made["last_recorded"].as_str().unwrap().to_owned();
    place.import(&place.file("d", line("late", 1_546_000_000, &["mallory"]))).ended(0, &[]);
    let made = json(&place.run(&["backup", "--to", text(&backup), "--format", "json"]));
    assert!(
        made["known_files"].as_u64() > Some(0) && made["copied_bytes"].as_u64() < made["known_bytes"].as_u64(),
        "{made}"
    );
    let shown = place.run(&["backup", "--to", text(&backup), "--keep", "2"]);
    shown.ended(0, &[]);
    assert!(shown.out.contains("copied 0 files") && shown.out.contains("dropped generation 1"), "{shown:?}");
    let listed = json(&place.run(&["backup", "--list", "--to", text(&backup), "--format", "json"]));
    assert_eq!(listed["generations"].as_array().map(Vec::len), Some(2), "{listed}");
    place.run(&["backup", "--verify", "--to", text(&backup)]).ended(0, &[]);

    place.run(&["restore", "--from", text(&backup), "--to", text(&again)]).ended(0, &[]);
    assert_eq!(users_of(&place, again.clone()), users_of(&place, place.store()));
    place.run(&["restore", "--from", text(&backup), "--to", text(&again)]).ended(2, &["not empty"]);
    place.run(&["restore", "--from", text(&backup), "--until", &recorded, "--to", text(&early)]).ended(0, &[]);
    let early = users_of(&place, early);
    assert!(
        !early.iter().any(|row| row.contains("mallory")) && early.iter().any(|row| row.contains("of-c9")),
        "{early:?}"
    );
    place
        .run(&["restore", "--from", text(&backup), "--generation", "7", "--to", text(&place.path("x"))])
        .ended(2, &["--list"]);
    place.run(&["restore", "--from", text(&place.store()), "--to", text(&place.path("x"))]).ended(2, &["no backup"]);
    // What is no backup is refused alike, whatever is wanted of it.
    let empty = place.path("empty");
    std::fs::create_dir(&empty).unwrap();
    for no_backup in [&empty, &place.store()] {
        for args in [
            &["backup", "--list", "--to", text(no_backup)][..],
            &["backup", "--list", "--to", text(no_backup), "--format", "json"],
            &["backup", "--verify", "--to", text(no_backup)],
        ] {
            let ran = place.run(args);
            ran.ended(2, &["the directory holds no backup", "mounted"]);
            assert!(ran.out.is_empty(), "{ran:?}");
        }
    }
    // A backup is no store, and says so.
    let asked = Ran::of(crate::command(&backup, &["hosts"]).output().unwrap());
    asked.ended(1, &["erstwhile restore --from"]);

    // A byte changes.
    let segment = std::fs::read_dir(&backup).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|is| is == "segment")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let found = place.run(&["backup", "--verify", "--to", text(&backup)]);
    found.ended(4, &["make a backup"]);
    assert!(found.out.contains("damage: ") && found.out.contains("cannot be restored"), "{found:?}");
    place.run(&["restore", "--from", text(&backup), "--to", text(&place.path("y"))]).ended(4, &["backup --verify"]);
    std::fs::remove_file(&segment).unwrap();
    place.run(&["backup", "--to", text(&backup)]).ended(0, &[]);
    place.run(&["backup", "--verify", "--to", text(&backup)]).ended(0, &[]);
}

#[test]
fn a_store_is_merged_as_planned_and_answers_as_before() {
    let place = place();
    let before = users_of(&place, place.store());
    let planned = json(&place.run(&["compact", "--dry-run", "--format", "json"]));
    assert!(planned["plan"].as_array().is_some_and(|plan| !plan.is_empty()), "{planned}");
    assert_eq!(planned["segments_before"], planned["segments_after"]);
    // No time at all: nothing is done, and nothing is broken.
    let stopped = place.run(&["compact", "--seconds-max", "0", "--io-bytes-per-second-max", "100"]);
    stopped.ended(3, &["stopped by a time limit", "whole"]);
    assert_eq!(users_of(&place, place.store()), before);
    let done = json(&place.run(&["compact", "--format", "json"]));
    assert_eq!((&done["segments_after"], &done["stopped"]), (&1.into(), &Value::Null), "{done}");
    assert_eq!(users_of(&place, place.store()), before);
    let again = place.run(&["compact"]);
    again.ended(0, &[]);
    assert!(again.out.starts_with("nothing to merge"), "{again:?}");
}

/// Ctrl-C is heard between two streams, and what was done before stays.
#[test]
fn a_merge_ends_on_a_signal() {
    let place = place();
    let before = users_of(&place, place.store());
    let mut child = place
        .command(&["compact", "--io-bytes-per-second-max", "50"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // What it writes shows that signals are heard.
    let id = child.id().to_string();
    for _ in 0..200 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        if place.store().join("LOCK").exists() && held(&place) {
            std::thread::sleep(std::time::Duration::from_millis(300));
            break;
        }
    }
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let _ = child.wait().unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    ran.ended(3, &["stopped by a signal"]);
    assert_eq!(users_of(&place, place.store()), before);
    place.run(&["compact"]).ended(0, &[]);
    assert_eq!(users_of(&place, place.store()), before);
}

/// Whether somebody writes the store.
fn held(place: &Place) -> bool {
    std::fs::read_dir(place.store())
        .unwrap()
        .any(|entry| entry.unwrap().path().extension().is_some_and(|is| is == "tmp"))
}

#[test]
fn figures_fit_a_terminal_and_sum_up() {
    let place = place();
    let shown = place.run(&["stats", "--keyframes", "--holes", "--silent-after", "60"]);
    shown.ended(0, &[]);
    assert!(shown.out.lines().all(|line| line.chars().count() <= 80), "{}", shown.out);
    for word in ["users", "silent: 420 hosts", "beside the largest", "with holes: "] {
        assert!(shown.out.contains(word), "{word} is not in {}", shown.out);
    }
    let told = json(&place.run(&["stats", "--format", "json"]));
    let number = |value: &Value| value.as_u64().unwrap();
    let table = &told["tables"][0];
    assert_eq!(
        (&table["table"], number(&table["looks"]), number(&table["rows"])),
        (&"users".into(), 420, 840),
        "{told}"
    );
    let sum = |of: &Value| of.as_object().unwrap().values().map(number).sum::<u64>();
    assert_eq!(sum(&table["structures"]), number(&table["bytes"]));
    let ages = table["ages"].as_object().unwrap().values().map(|age| number(&age["bytes"])).sum::<u64>();
    assert_eq!(ages, number(&table["bytes"]));
    assert_eq!(number(&told["other_bytes"]) + number(&table["bytes"]), number(&told["segment_bytes"]));
    let on_disk: u64 = std::fs::read_dir(place.store())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|is| is == "segment"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(number(&told["segment_bytes"]), on_disk);
    let never = json(&place.run(&["stats", "--silent-after", "9000000000", "--format", "json"]));
    assert_eq!(never["silent"].as_array().map(Vec::len), Some(0));
    let lines = place.run(&["stats", "--format", "ndjson"]);
    assert_eq!(lines.out.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 2, "{lines:?}");
    let table = place.run(&["stats", "users", "--format", "csv"]);
    assert!(table.out.starts_with("table,age,looks,rows,bytes\n\"users\",all,420,840,"), "{table:?}");
    place.run(&["stats", "nothing"]).ended(2, &["no table nothing"]);
    // Regular streams have keyframes, which stay within their bound.
    let logs = place.path("logs");
    place.run(&["simulate", "--hosts", "20", "--days", "2", "--out", text(&logs)]).ended(0, &[]);
    place.import(&logs.join("logs/osqueryd.results.log")).ended(0, &[]);
    let weighed = json(&place.run(&["stats", "processes", "--keyframes", "--format", "json"]));
    let of = &weighed["tables"][0];
    let (keyframes, runs) = (number(&of["keyframe_bytes"]), number(&of["structures"]["runs"]));
    assert!(keyframes > 0 && 3 * keyframes <= runs - keyframes, "{weighed}");
    assert_eq!((&of["columns"], &of["reads"]), (&Value::Null, &Value::Null), "nobody asked");
    // Columns take what rows take, and no read of a merged stream decodes more than it may.
    let weighed = json(&place.run(&["stats", "processes", "--columns", "--reads", "--keyframes", "--format", "json"]));
    let of = &weighed["tables"][0];
    let columns = of["columns"].as_object().unwrap();
    let (texts, stored) = columns.values().fold((0, 0), |(texts, stored), column| {
        (texts + number(&column["text_bytes"]), stored + number(&column["stored_bytes"]))
    });
    assert!(columns.contains_key("cmdline") && stored > 0 && 4 * stored < texts, "{weighed}");
    assert!(stored < runs + number(&of["structures"]["rows"]) + columns.len() as u64, "{weighed}");
    let reads = &of["reads"];
    assert_eq!((number(&reads["asked"]), number(&reads["beyond_bound"])), (20, 0), "{weighed}");
    assert!(number(&reads["rows"]) > 20 && number(&reads["keys"]) >= number(&reads["rows"]), "{weighed}");
    let versions = number(&weighed["version_bytes"]);
    assert!(versions > stored && versions < number(&of["bytes"]), "{weighed}");
    for table in [&[][..], &["processes"]] {
        let shown = place.run(&[&["stats"][..], table, &["--columns", "--reads", "--keyframes"]].concat());
        shown.ended(0, &[]);
        assert!(shown.out.lines().all(|line| line.chars().count() <= 80), "{}", shown.out);
        for word in ["cmdline", "space: ", "× the row versions", "0 beyond their bound"] {
            assert!(shown.out.contains(word), "{word} is not in {}", shown.out);
        }
    }
}

#[test]
fn manual_pages_and_completions_are_written() {
    let place = Place::new();
    let to = place.path("man1");
    place.run(&["man", "--to", text(&to)]).ended(0, &[]);
    let page = std::fs::read_to_string(to.join("erstwhile-backup.1")).unwrap();
    assert!(page.contains("Examples:") && page.contains("verify"), "{page}");
    let script = place.run(&["completions", "bash"]);
    script.ended(0, &[]);
    assert!(script.out.contains("backup"), "{script:?}");
}

/// What the package's metadata take from `server/package/made` is what `server/package/pages` puts there.
#[test]
fn the_package_has_the_pages_and_completions_that_are_made_for_it() {
    let place = Place::new();
    let made = place.path("made");
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = tools.join("../server/package/pages");
    let ran = std::process::Command::new(pages).arg(env!("CARGO_BIN_EXE_erstwhile")).arg(&made).output().unwrap();
    Ran::of(ran).ended(0, &[]);
    let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(tools.join("Cargo.toml")).unwrap()).unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut taken = Vec::new();
    for asset in assets.iter().filter_map(|asset| asset[0].as_str()) {
        match asset.strip_prefix("../server/package/made/") {
            Some(pattern) => {
                let found = glob::glob(text(&made.join(pattern))).unwrap().map(Result::unwrap);
                let before = taken.len();
                taken.extend(found);
                assert!(taken.len() > before, "{asset} is not made");
            }
            // The program is built for the package.
            None => assert!(asset.starts_with("target/release/") || tools.join(asset).exists(), "{asset}"),
        }
    }
    let mut all: Vec<PathBuf> = glob::glob(text(&made.join("*/*"))).unwrap().map(Result::unwrap).collect();
    taken.sort();
    all.sort();
    assert_eq!(taken, all, "the package has all that is made");
    assert!(taken.iter().all(|file| file.metadata().unwrap().len() > 100));
}
