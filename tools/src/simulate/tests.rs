//! The simulator against its own truth: read the logs back by the plainest rules and compare.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde_json::Value;

use super::wire::{Version, escape_unprintable};
use super::*;

const FORMATS: [Format; 3] = [Format::Event, Format::Batch, Format::Snapshot];

/// Columns → text, where bytes that are not UTF-8 are replaced.
type Texts = BTreeMap<String, String>;

/// Rows with counts: removed and added.
type Rows = BTreeMap<(&'static str, Texts), u64>;

/// host, name, kind, epoch, counter, second.
type Key = (String, String, &'static str, u64, u64, u64);

fn without_faults(seed: u64, format: Format) -> Options {
    Options { faults: false, ..Options::nasty(seed, format) }
}

fn json_lines(files: &[(String, Vec<u8>)], name: &str) -> Vec<Value> {
    let bytes = &files.iter().find(|file| file.0 == name).expect("the file is there").1;
    let text = std::str::from_utf8(bytes).expect("truth is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("truth is JSON")).collect()
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let digits =
        |hex: &str| (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect();
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Object(object) => object["hex"].as_str().map(digits).expect("hex"),
        Value::Number(number) => number.to_string().into_bytes(),
        other => panic!("no text: {other}"),
    }
}

fn texts(row: &Value, rewrite: impl Fn(Vec<u8>) -> Vec<u8>) -> Texts {
    let text = |value: &Value| String::from_utf8_lossy(&rewrite(bytes_of(value))).into_owned();
    row.as_object().expect("a row").iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).expect("a number")
}

fn word(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn kind(word: &str) -> &'static str {
    ["diff", "snapshot", "event"].into_iter().find(|kind| *kind == word).expect("a kind")
}

fn delivered(look: &Value) -> Rows {
    let mut rows = Rows::new();
    for action in ["removed", "added"] {
        for row in look[action].as_array().expect("a list") {
            *rows.entry((action, texts(&row["columns"], |text| text))).or_default() += number(&row["count"]);
        }
    }
    rows
}

fn key(look: &Value) -> Key {
    let kind = kind(&word(&look["kind"]));
    let numbers = ["epoch", "counter", "second"].map(|name| number(&look[name]));
    (word(&look["host"]), word(&look["name"]), kind, numbers[0], numbers[1], numbers[2])
}

/// What a log file says, once decompressed.
fn unpacked(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    if name.ends_with(".gz") {
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).expect("gzip");
    } else if name.ends_with(".zst") {
        text = zstd::decode_all(bytes).expect("zstd");
    } else {
        text.extend_from_slice(bytes);
    }
    text
}

/// One line's look and rows; `None` for a status line; an error for what is no line.
fn line(line: &[u8]) -> Result<Option<(Key, Rows)>, ()> {
    let value: Value = serde_json::from_str(&String::from_utf8_lossy(line)).map_err(drop)?;
    let value = value.as_object().ok_or(())?;
    if value.contains_key("severity") {
        return Ok(None);
    }
    let get = |name: &str| value.get(name).ok_or(());
    let name = word(get("name")?);
    let second = number(get("unixTime")?);
    let (mut rows, mut snapshot) = (Rows::new(), false);
    let mut list = |action: &'static str, list: &Value| {
        for row in list.as_array().into_iter().flatten() {
            *rows.entry((action, texts(row, |text| text))).or_default() += 1;
        }
    };
    if let Some(columns) = value.get("columns") {
        let action = if get("action")? == "removed" { "removed" } else { "added" };
        list(action, &Value::Array(vec![columns.clone()]));
    } else if let Some(results) = value.get("diffResults") {
        list("removed", &results["removed"]);
        list("added", &results["added"]);
    } else {
        list("added", value.get("snapshot").filter(|list| list.is_array() || *list == "").ok_or(())?);
        snapshot = true;
    }
    let kind = match name.ends_with("_events") {
        _ if snapshot => "snapshot",
        true => "event",
        false => "diff",
    };
    let key = (word(get("hostIdentifier")?), name, kind, number(get("epoch")?), number(get("counter")?), second);
    Ok(Some((key, rows)))
}

/// Reads all logs by the rule of deliveries: cut per host where the second changes; the largest count wins.
fn read(fleet: &Fleet) -> (BTreeMap<Key, Rows>, BTreeSet<(String, u64)>) {
    let (mut looks, mut dead) = (BTreeMap::<Key, Rows>::new(), BTreeSet::new());
    for (name, bytes) in &fleet.logs {
        let text = unpacked(name, bytes);
        let mut open: BTreeMap<String, BTreeMap<Key, Rows>> = BTreeMap::new();
        let mut offset = 0;
        let mut finish = |piece: BTreeMap<Key, Rows>| {
            for (key, rows) in piece {
                let look = looks.entry(key).or_default();
                for (row, count) in rows {
                    let most = look.entry(row).or_default();
                    *most = count.max(*most);
                }
            }
        };
        for bytes in text.split_inclusive(|&byte| byte == b'\n') {
            let start = offset;
            offset += bytes.len() as u64;
            match line(bytes) {
                _ if bytes.trim_ascii().is_empty() => {}
                Err(()) => {
                    dead.insert((name.clone(), start));
                }
                Ok(None) => {}
                Ok(Some((key, rows))) => {
                    let piece = open.entry(key.0.clone()).or_default();
                    if piece.keys().next().is_some_and(|other| other.5 != key.5) {
                        finish(std::mem::take(piece));
                    }
                    let look = piece.entry(key).or_default();
                    for (row, count) in rows {
                        *look.entry(row).or_default() += count;
                    }
                }
            }
        }
        open.into_values().for_each(finish);
    }
    (looks, dead)
}

#[test]
fn a_fleet_of_nobody_is_empty() {
    let fleet = generate(&Options { hosts: 0, ..Options::nasty(1, Format::Event) }).unwrap();
    assert_eq!((fleet.logs.len(), fleet.logs[0].1.len(), fleet.summary.looks), (1, 0, 0));
}

/// Chance has lanes: with the same seed the same machines and people are there, whatever goes wrong with the lines.
#[test]
fn faults_do_not_choose_the_world() {
    let hosts = |faults| {
        let fleet = generate(&Options { faults, ..Options::nasty(4, Format::Event) }).unwrap();
        let world = json_lines(&fleet.truth, "world.ndjson");
        world
            .into_iter()
            .filter(|entry| entry["table"] == "block_devices")
            .map(|entry| entry["row"].to_string())
            .collect::<BTreeSet<_>>()
    };
    assert!(hosts(false).intersection(&hosts(true)).count() >= 10);
}

#[test]
fn equal_options_give_equal_bytes() {
    for format in FORMATS {
        let options = Options::nasty(7, format);
        let first = generate(&options).unwrap();
        assert!(first == generate(&options).unwrap());
        assert!(first.logs != generate(&Options { seed: 8, ..options.clone() }).unwrap().logs);
        let dir = tempfile::tempdir().unwrap();
        let summary = run(&options, dir.path()).unwrap();
        assert_eq!(summary, first.summary);
        for (folder, files) in [("logs", &first.logs), ("truth", &first.truth)] {
            assert_eq!(std::fs::read_dir(dir.path().join(folder)).unwrap().count(), files.len());
            for (name, bytes) in files {
                assert!(std::fs::read(dir.path().join(folder).join(name)).unwrap() == *bytes, "{name}");
            }
        }
        assert!(run(&options, dir.path()).is_err(), "a second run must not mix with the first");
    }
}

/// The largest count over all deliveries is the look; what is dead is known by its offset.
#[test]
fn the_logs_say_what_the_truth_says() {
    for seed in 0..12 {
        for format in FORMATS {
            let faults = seed % 4 > 0;
            let fleet =
                generate(&Options { faults, silent_losses: seed % 3 == 0, ..Options::nasty(seed, format) }).unwrap();
            let (mut looks, dead) = read(&fleet);
            for look in json_lines(&fleet.truth, "looks.ndjson") {
                let (key, rows) = (key(&look), delivered(&look));
                if look["lost"] == true {
                    assert!(rows.is_empty());
                    continue;
                }
                assert_eq!(looks.remove(&key), Some(rows), "seed {seed} {format:?} {key:?}");
            }
            assert!(looks.is_empty(), "nothing but the truth: {looks:?}");
            let faults = json_lines(&fleet.truth, "faults.ndjson");
            let known = faults.iter().filter(|fault| fault["fault"] == "dead");
            let known: BTreeSet<_> = known.map(|fault| (word(&fault["file"]), number(&fault["offset"]))).collect();
            assert_eq!(dead, known);
        }
    }
}

/// Without faults the differences add up, at every look, to what the world was at that second.
#[test]
fn without_faults_looks_add_up_to_the_world() {
    for format in FORMATS {
        let versions = ["3.4.0", "4.4.0", "4.6.0", "5.7.0", "5.8.1", "5.10.2", "5.19.0", "5.22.1"];
        let versions = versions.map(|version| (version.to_owned(), 1)).into();
        let fleet = generate(&Options { versions, hosts: 8, ..without_faults(3, format) }).unwrap();
        assert_eq!(fleet.logs.len(), 1);
        assert!(fleet.summary.faults.is_empty());
        let mut world: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
        for entry in json_lines(&fleet.truth, "world.ndjson") {
            if entry["kind"] == "row" {
                world.entry((word(&entry["host"]), word(&entry["table"]))).or_default().push(entry);
            }
        }
        let mut states: BTreeMap<(String, String), BTreeMap<Texts, u64>> = BTreeMap::new();
        let mut checked = 0;
        for look in json_lines(&fleet.truth, "looks.ndjson") {
            assert_eq!((number(&look["second"]), look["lost"].as_bool()), (number(&look["at"]), Some(false)));
            if look["kind"] == "event" || look["noise"] == true {
                continue;
            }
            let version = Version::parse(&word(&look["version"]));
            let stream = (word(&look["host"]), word(&look["table"]));
            let state = states.entry(stream.clone()).or_default();
            if look["kind"] == "snapshot" || look["full"] == true {
                state.clear();
            }
            for ((action, row), count) in delivered(&look) {
                let held = state.entry(row).or_default();
                *held = if action == "added" { *held + count } else { held.checked_sub(count).expect("held") };
            }
            state.retain(|_, count| *count > 0);
            let at = number(&look["at"]);
            let escape = |text: Vec<u8>| match &look["kind"] {
                kind if kind == "diff" => escape_unprintable(&text, version),
                _ => text,
            };
            let mut now: BTreeMap<Texts, u64> = BTreeMap::new();
            for entry in world.get(&stream).into_iter().flatten() {
                if number(&entry["from"]) <= at && entry["to"].as_u64().is_none_or(|to| at < to) {
                    *now.entry(texts(&entry["row"], escape)).or_default() += 1;
                }
            }
            assert_eq!(*state, now, "{stream:?} at {at}");
            checked += 1;
        }
        assert!(checked > 300, "{checked}");
    }
}

#[test]
fn without_faults_counters_have_no_holes() {
    for format in [Format::Event, Format::Batch] {
        let versions = ["4.6.0", "5.7.0", "5.10.2", "5.19.0"].map(|version| (version.to_owned(), 1)).into();
        let fleet = generate(&Options { versions, ..without_faults(5, format) }).unwrap();
        let mut last: BTreeMap<(String, String), u64> = BTreeMap::new();
        for look in json_lines(&fleet.truth, "looks.ndjson") {
            if look["kind"] == "diff" {
                let counter = number(&look["counter"]);
                match last.insert((word(&look["host"]), word(&look["name"])), counter) {
                    Some(before) => assert_eq!(counter, before + 1),
                    // An empty first run leaves no line in event format.
                    None => assert_eq!((counter == 0), look["full"] == true, "{look}"),
                }
            }
        }
    }
}

#[test]
fn every_fault_occurs_and_none_without_faults() {
    let always = [
        "database-loss",
        "vm-restore",
        "epoch",
        "clock",
        "purge",
        "sql-change",
        "late",
        "lost",
        "torn",
        "resend",
        "repeat",
        "dead",
    ];
    for format in FORMATS {
        let (mut seen, mut silent) = (BTreeSet::new(), BTreeSet::new());
        let (mut reasons, mut endings) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..8 {
            let options = Options::nasty(seed, format);
            let fleet = generate(&options).unwrap();
            seen.extend(fleet.summary.faults.keys().copied());
            let faults = json_lines(&fleet.truth, "faults.ndjson");
            reasons.extend(faults.iter().filter_map(|fault| Some(fault["reason"].as_str()?.to_owned())));
            endings.extend(fleet.logs.iter().filter_map(|file| Some(file.0.rsplit_once('.')?.1.to_owned())));
            assert!(fleet.logs.iter().any(|(name, bytes)| !unpacked(name, bytes).ends_with(b"\n")), "a torn end");
            silent.extend(
                generate(&Options { silent_losses: true, ..options.clone() }).unwrap().summary.faults.into_keys(),
            );
            let calm = generate(&Options { faults: false, ..options }).unwrap();
            assert_eq!((calm.summary.faults.len(), calm.summary.lost, calm.logs.len()), (0, 0, 1));
        }
        for fault in always {
            assert!(seen.contains(fault), "{format:?} {fault}: {seen:?}");
        }
        assert_eq!(seen.contains("snapshot-mode"), format != Format::Snapshot);
        assert!(!seen.contains("crash") && !seen.contains("lost-part"));
        assert_eq!(silent.contains("crash"), format != Format::Snapshot);
        assert!(silent.contains("lost-part") || format != Format::Event);
        assert_eq!(reasons.len(), 7, "{reasons:?}");
        assert_eq!(endings.into_iter().collect::<Vec<_>>(), ["gz", "log", "zst"]);
    }
}

/// Generations differ in quotes, keys and escapes.
#[test]
fn lines_are_written_as_their_generation_does() {
    let text = |version: &str, format| {
        let versions = vec![(version.to_owned(), 1)];
        let fleet = generate(&Options { versions, hosts: 6, ..without_faults(11, format) }).unwrap();
        String::from_utf8_lossy(&fleet.logs[0].1).into_owned()
    };
    let oldest = text("2.10.2", Format::Batch);
    assert!(
        oldest.contains("\"unixTime\":\"")
            && oldest.contains("\"counter\":\"0\"")
            && oldest.contains("\"removed\":\"\"")
    );
    assert!(oldest.contains("\\/home\\/") && !oldest.contains("numerics"));
    assert!(text("3.4.0", Format::Event).contains("\"logNumericsAsNumbers\":"));
    let newer = text("5.10.2", Format::Event);
    assert!(newer.contains("\"numerics\":false") && newer.contains("\"numerics\":true"));
    assert!(newer.contains("\\\\xC3\\\\x") && newer.contains("\"severity\":0"));
    assert!(text("5.7.0", Format::Event).contains("\"severity\":\"0\""));
    assert!(!text("5.22.1", Format::Event).contains("\\\\xC3\\\\x"));
    let noise = "{\"diffResults\":{\"removed\":[],\"added\":[]}";
    assert!(text("5.8.1", Format::Batch).matches(noise).count() > 50);
    assert!(text("5.10.2", Format::Batch).matches(noise).count() < 20);
}

/// Real data holds equal rows in one look, addresses that move, and bytes that are not UTF-8.
#[test]
fn the_fleet_has_what_real_fleets_have() {
    let fleet = generate(&Options { hosts: 12, ..without_faults(2, Format::Snapshot) }).unwrap();
    assert!(std::str::from_utf8(&fleet.logs[0].1).is_err());
    let looks = json_lines(&fleet.truth, "looks.ndjson");
    assert!(looks.iter().any(|look| { look["added"].as_array().unwrap().iter().any(|row| number(&row["count"]) > 1) }));
    let (mut hosts, mut chains, mut bare) = (BTreeMap::<String, BTreeSet<String>>::new(), 0, 0);
    let world = json_lines(&fleet.truth, "world.ndjson");
    let rows =
        |table: &'static str| world.iter().filter(move |entry| entry["table"] == table && entry["kind"] == "row");
    for entry in rows("interface_addresses").filter(|entry| entry["row"]["type"] == "dhcp") {
        hosts.entry(word(&entry["row"]["address"])).or_default().insert(word(&entry["host"]));
    }
    assert!(hosts.values().any(|hosts| hosts.len() > 1), "a lease moved between hosts");
    for mount in rows("mounts").filter(|entry| entry["row"]["type"] == "vfat") {
        let same = |other: &&Value| other["host"] == mount["host"] && other["from"] == mount["from"];
        let block = |name: &Value| rows("block_devices").filter(same).find(|block| block["row"]["name"] == *name);
        let part = block(&mount["row"]["device"]).expect("the mount's device");
        let disk = block(&part["row"]["parent"]).unwrap_or(part);
        let usb = rows("usb_devices").filter(same).find(|usb| usb["row"]["serial"] == disk["row"]["serial"]);
        let usb = usb.expect("the stick behind the disk");
        assert_eq!(usb["row"]["model"], disk["row"]["model"]);
        if usb["row"]["serial"] == "" { bare += 1 } else { chains += 1 }
    }
    assert!(chains > 0 && bare > 0, "{chains} {bare}");
}
