//! The worst day, under load: a fleet's logs grow, a shipper sends them, questions are asked; a byte of a segment changes on
//! the disk; the server stops or dies; what `fsck` says to do is done; the new store is served and the shipper goes on. At
//! the end the store is asked beside one that has all the same lines and was never damaged: it gives the same answers, or
//! says `unknown` by `damage` of what the report of the recovery names.

#![expect(clippy::disallowed_methods, reason = "processes of their own live by the real time")]

mod served;

use erstwhile_client::{Client, Connect};
use erstwhile_engine::fact::{Name, Second};
use erstwhile_engine::io::DiskStorage;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::{Cause, HistoryRow, StreamEntry};
use erstwhile_engine::read::question::{ListQuestion, StateQuestion, Subject, WhoQuestion};
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::less::{Told, tell};
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::workload::history;
use erstwhile_wire::failure::Code;
use serde_json::Value;
use served::{PROGRAM, Served, command, output};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The log grows in so many steps …
const STEPS: usize = 60;
/// … so many before the damage, and so many between it and the end of the server.
const BEFORE: usize = 30;
const BESIDE: usize = 8;

/// When the simulated fleet begins, and what is asked of it.
const FIRST: Second = 1_772_409_600;
const TABLES: [&str; 6] = ["users", "processes", "interface_addresses", "mounts", "listening_ports", "deb_packages"];

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// As an operator stops it.
    Terminated,
    /// As a power cut does.
    Killed,
}

/// A log of so many bytes mostly holds several records.
const LOG_BYTES_MIN: u64 = 10_000;

/// What changes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// A piece of a stream in a segment.
    Segment,
    /// The log that is written.
    Log,
}

/// Lines that come one after the other into a log that is followed.
struct Growing {
    lines: Vec<String>,
    written: usize,
    path: PathBuf,
}

impl Growing {
    fn step(&mut self) {
        let upto = (self.written + self.lines.len().div_ceil(STEPS)).min(self.lines.len());
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(self.lines[self.written..upto].concat().as_bytes()).unwrap();
        self.written = upto;
    }
}

/// A shipper and what it says.
struct Shipping {
    state: PathBuf,
    token: String,
    address: String,
    log: PathBuf,
    said: PathBuf,
}

impl Shipping {
    fn start(&self, more: &[&str]) -> Child {
        let (state, log) = (self.state.to_str().unwrap(), self.log.to_str().unwrap());
        let mut args = vec!["ship", "--state", state, "--server", &self.address, "--token-file", &self.token];
        args.extend(more);
        args.push(log);
        let said = OpenOptions::new().append(true).create(true).open(&self.said).unwrap();
        command(&args).stderr(said).spawn().unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }
}

/// Ends a process as an operator does, and waits.
fn terminate(child: &mut Child) {
    if child.try_wait().unwrap().is_none() {
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    }
    child.wait().unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn ended(ran: &Output, codes: &[i32]) -> Value {
    assert!(ran.status.code().is_some_and(|code| codes.contains(&code)), "{codes:?}: {ran:?}");
    serde_json::from_slice(&ran.stdout).unwrap_or(Value::Null)
}

fn files(store: &Path, kind: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|is| is == kind)).collect();
    files.sort();
    files
}

/// Flips a bit of a file; `None` if it is gone, since it was merged into another meanwhile.
fn flip(path: &Path, at: u64, rng: &mut Rng) -> Option<()> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).ok()?;
    file.write_all_at(&[byte[0] ^ 1 << rng.below(8)], at).ok()
}

/// Flips a bit in a piece of some stream in some segment, or in the newest log, where some records stand behind it.
fn damage(store: &Path, place: Where, rng: &mut Rng) -> Option<String> {
    if place == Where::Log {
        let log = files(store, "log").pop()?;
        let bytes = fs::metadata(&log).ok()?.len();
        let at = 64 + rng.below((bytes.checked_sub(LOG_BYTES_MIN)? + LOG_BYTES_MIN / 2) as usize) as u64;
        flip(&log, at, rng)?;
        return Some(format!("{} at {at} of {bytes}", text(&log)));
    }
    let segment = rng.pick(&files(store, "segment")).clone();
    let shown = output(&["inspect", text(&segment), "--format", "ndjson", "--rows", "0"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let items = shown.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_piece = |item: &Value| {
        ["piece of a run", "piece of a stream"].iter().any(|is| item["structure"] == *is)
            && item["fields"]["kind"].as_str().is_some_and(|kind| kind != "note")
    };
    let pieces: Vec<Value> = items.filter(is_piece).collect();
    if pieces.is_empty() {
        return None;
    }
    let piece = rng.pick(&pieces);
    let (offset, bytes) = (piece["offset"].as_u64().unwrap(), piece["bytes"].as_u64().unwrap());
    let at = offset + rng.below(bytes as usize) as u64;
    flip(&segment, at, rng)?;
    Some(format!("{} at {at}, of {}", text(&segment), piece["fields"]))
}

/// Asks a server until it is told to stop; tells how many answers there were, and how many refusals by code.
fn ask(address: &str, token: &str, is_over: &AtomicBool) -> (usize, BTreeMap<String, usize>) {
    let (mut answers, mut refusals) = (0, BTreeMap::new());
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(&Connect::to(address).token(token)) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        for at in (0..2_000).cycle().map(|step| FIRST + 20 * step) {
            let table = Name::from(TABLES[at as usize / 20 % TABLES.len()].as_bytes());
            let asked = if at % 3 == 0 {
                let subject = Subject::Uid(Name::from(&b"1000"[..]));
                client.who(&WhoQuestion { subject, at, host: None, known_at: None }).map(drop)
            } else {
                let (host, stream, wheres) = (None, None, Vec::new());
                client.state(&StateQuestion { table, at, host, stream, wheres, known_at: None }).map(drop)
            };
            let code = asked.as_ref().err().map(|error| (error.code(), error.to_string()));
            match code {
                None => answers += 1,
                Some((Some(code), _)) => *refusals.entry(format!("{code:?}")).or_default() += 1,
                Some((None, _)) => break,
            }
            if is_over.load(Ordering::Relaxed) || asked.is_err_and(|error| error.code() == Some(Code::Draining)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    (answers, refusals)
}

fn view(store: &Path) -> View {
    let storage = DiskStorage::open(store, false).unwrap();
    open_view(&storage, Options::default().cache_bytes_max).unwrap()
}

/// What a report names as lost: table, host, stream, the first and the last second.
struct Named {
    of: [Vec<u8>; 3],
    first: Second,
    last: Second,
}

fn named(report: &Value) -> Vec<Named> {
    let second = |value: &Value, none: Second| match value.as_str() {
        Some(text) => text.parse::<jiff::Timestamp>().unwrap().as_second(),
        None => none,
    };
    let named = |lost: &Value| Named {
        of: ["table", "host", "stream"].map(|key| lost[key].as_str().unwrap().as_bytes().to_vec()),
        first: second(&lost["first"], Second::MIN),
        last: second(&lost["last"], Second::MAX),
    };
    report["lost"].as_array().unwrap().iter().map(named).collect()
}

/// Why a store that was recovered says more than one that was never damaged, or hides more than the report names.
fn difference(recovered: &View, whole: &View, (told, was): (&Told, &Told), report: &[Named]) -> Option<String> {
    if let Some(text) = told.exceeds(was) {
        return Some(text);
    }
    let streams = recovered.list_streams(&ListQuestion::default()).unwrap();
    let is_of = |lost: &Named, table: &[u8], host: &[u8]| lost.of[0] == table && lost.of[1] == host;
    // Every break of damage is of a loss that the report names.
    for StreamEntry { table, host, stream, breaks, .. } in &streams {
        for lost in breaks.iter().filter(|lost| lost.cause == Cause::Damage) {
            let is_named = report.iter().any(|named| {
                named.of.iter().map(|of| &**of).eq([&**table, &**host, &**stream])
                    && lost.to.is_none_or(|to| named.first < to)
                    && lost.from.is_none_or(|from| from <= named.last)
            });
            if !is_named {
                return Some(format!("{lost:?} of {table:?} of {host:?} is not in the report"));
            }
        }
    }
    // Whoever spoke before and does not now is in such a break.
    for (table, host, at) in told.silenced(was) {
        let is_in_break =
            streams.iter().filter(|stream| stream.table == *table && stream.host == *host).any(|stream| {
                stream.breaks.iter().any(|lost| {
                    lost.cause == Cause::Damage
                        && lost.from.is_none_or(|from| from <= at)
                        && lost.to.is_none_or(|to| at < to)
                })
            });
        if !is_in_break {
            return Some(format!("{table:?} of {host:?} is unknown at {at}, and not by damage"));
        }
    }
    // Events that are gone were seen in the times that the report names.
    for table in whole.tables().unwrap().iter().filter(|table| table.ends_with(b"_events")) {
        let events = |view: &View| {
            let mut events = BTreeMap::new();
            for row in view.history(&history(table)).unwrap().rows {
                if let HistoryRow::Event(event) = row {
                    let key =
                        (event.host.clone(), event.stream.clone(), event.time, event.seen, format!("{:?}", event.row));
                    *events.entry(key).or_insert(0) += event.count;
                }
            }
            events
        };
        let found = events(recovered);
        for (event, count) in events(whole) {
            let is_lost = found.get(&event) != Some(&count);
            let in_report = |lost: &Named| is_of(lost, table, &event.0) && (lost.first..=lost.last).contains(&event.3);
            if is_lost && !report.iter().any(in_report) {
                return Some(format!("{event:?} is gone, and the report does not say so"));
            }
        }
    }
    None
}

/// Says that it is over, also where a check failed: nobody would end who waits for it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn drill(seed: u64, place: Where, stop: Stop) {
    eprintln!("seed {seed}, {place:?}, {stop:?}");
    let rng = &mut Rng::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (sim, live, store) = (path("sim"), path("live"), path("store"));
    let fleet = ["--hosts", "6", "--days", "0.5", "--seed", &seed.to_string(), "--out", text(&sim)].map(str::to_owned);
    let fleet: Vec<&str> = fleet.iter().map(|arg| &**arg).collect();
    ended(&output(&[&["simulate"], &fleet[..]].concat()), &[0]);
    fs::create_dir(&live).unwrap();
    let all = fs::read_to_string(sim.join("logs/osqueryd.results.log")).unwrap();
    let lines: Vec<String> = all.split_inclusive('\n').map(str::to_owned).collect();
    let mut log = Growing { lines, written: 0, path: live.join("osqueryd.results.log") };
    log.step();

    // Serving, shipping and asking.
    let config = path("config.toml");
    fs::write(&config, "[limits]\nhold_millis = 300\n[engine]\nmemtable_bytes_max = 100000\nmerge_fanout = 4\n")
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let more = ["--config", text(&config), "--listen", &address];
    let mut served = Served::start(&store, &more);
    let mut shipping = Shipping {
        state: path("state"),
        token: served.token_file("ingest"),
        address: address.clone(),
        log: log.path.clone(),
        said: path("said"),
    };
    let mut shipper = shipping.start(&[]);
    let token = fs::read_to_string(served.token_file("read")).unwrap().trim().to_owned();
    let is_over = AtomicBool::new(false);
    let (new, report) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&address, &token, &is_over));
        let _over = Over(&is_over);
        for _ in 1..BEFORE {
            log.step();
            std::thread::sleep(Duration::from_millis(20 + rng.below(40) as u64));
        }
        let began = Instant::now();
        let kind = if place == Where::Log { "log" } else { "segment" };
        while files(&store, kind).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing is sealed: {}", shipping.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut damaged = damage(&store, place, rng);
        while damaged.is_none() && log.written < log.lines.len() / 4 * 3 {
            log.step();
            std::thread::sleep(Duration::from_millis(20));
            damaged = damage(&store, place, rng);
        }
        // A log is sealed soon, and then nobody needs it.
        for _ in 0..if place == Where::Log { 1 } else { BESIDE } {
            log.step();
            std::thread::sleep(Duration::from_millis(20 + rng.below(40) as u64));
        }
        if stop == Stop::Killed {
            served.kill();
        } else {
            eprintln!("the server ended well: {}", served.terminate());
        }

        // What was merged away before it was read is no damage any more: then the disk fails now.
        let checked = loop {
            let ran = output(&["fsck", "--store", text(&store), "--format", "json"]);
            if ran.status.code() == Some(4) {
                break ended(&ran, &[4]);
            }
            ended(&ran, &[0]);
            eprintln!("merged or sealed away: {damaged:?}");
            // Of a log that is sealed nothing can be lost any more.
            damaged = damage(&store, Where::Segment, rng);
        };
        eprintln!("damaged: {damaged:?}");
        let is_damage = |finding: &&Value| finding["severity"] == "damage";
        let finding = checked["findings"].as_array().unwrap().iter().find(is_damage).unwrap();
        let is_lossy = finding["losses"].as_array().is_some_and(|losses| !losses.is_empty());
        // The digest of a record that is whole loses nothing.
        assert!(is_lossy || finding["structure"] == "frame", "{finding}");
        let next = finding["next"].as_str().unwrap();
        assert!(next.starts_with("erstwhile recover --store "), "{next}");

        // The command as it stands there.
        let programs = Path::new(PROGRAM).parent().unwrap();
        let searched = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let ran = Command::new("sh").args(["-c", next]).env("PATH", searched).output().unwrap();
        assert!([Some(0), Some(3)].contains(&ran.status.code()), "{ran:?}");
        let new = path("store.recovered");
        let report: Value = serde_json::from_slice(&fs::read(path("store.recovered.report.json")).unwrap()).unwrap();
        let count = |key: &str| report[key].as_array().unwrap().len();
        let losses = ["lost", "recorded_lost", "notes_lost"].map(count);
        eprintln!("{losses:?} losses: {:.300}", report["lost"].to_string());
        assert_eq!(ran.status.code() == Some(3), losses.iter().sum::<usize>() > 0);
        assert!(is_lossy || losses == [0; 3], "a check tells of no loss, and a recovery of {losses:?}");
        ended(&output(&["fsck", "--deep", "--store", text(&new)]), &[0]);

        // The new store takes its place, with the tokens; the shipper waits for it, and goes on.
        fs::create_dir(new.join("server")).unwrap();
        for file in fs::read_dir(store.join("server")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), new.join("server").join(file.file_name())).unwrap();
        }
        served = Served::start(&new, &more);
        while log.written < log.lines.len() {
            log.step();
            std::thread::sleep(Duration::from_millis(10));
        }
        // It gives up only if nothing tells any more which of its batches are in.
        terminate(&mut shipper);
        let ran = shipping.start(&["--once"]).wait().unwrap();
        if !ran.success() {
            let told = report["notes_lost"].to_string();
            let is_told = losses[1] > 0 || told.contains("producer");
            assert!(shipping.said().contains("new state") && is_told, "{}", shipping.said());
            eprintln!("the shipper needs a new state");
            shipping.state = path("state-2");
            assert!(shipping.start(&["--once"]).wait().unwrap().success(), "{}", shipping.said());
        }
        is_over.store(true, Ordering::Relaxed);
        let (answers, refusals) = asking.join().unwrap();
        eprintln!("{answers} answers, {refusals:?}");
        assert!(answers > 50, "{answers} answers");
        let may_be = ["Damage", "Draining"];
        assert!(refusals.keys().all(|code| may_be.contains(&&**code)), "{refusals:?}");
        (new, report)
    });
    for loss in ["LOST", "SKIPPED"] {
        assert!(!shipping.said().contains(loss), "{}", shipping.said());
    }

    // Beside a store of the same lines that was never damaged.
    let fresh = path("fresh");
    ended(&output(&["import", "--store", text(&fresh), text(&log.path)]), &[0]);
    let whole = view(&fresh);
    let extents = whole.list_streams(&ListQuestion::default()).unwrap();
    let first = extents.iter().map(|stream| stream.first).min().unwrap();
    let last = extents.iter().map(|stream| stream.last).max().unwrap();
    let mut times: Vec<Second> = (0..=24).map(|part| first + (last + 1 - first) * part / 24).collect();
    times.extend((0..12).map(|_| first + rng.below((last - first) as usize) as i64));
    let was = tell(&whole, &times, &[None]).unwrap();
    let report = named(&report);
    let began = Instant::now();
    // What is held back is handed on when nothing came for a while.
    let told = loop {
        let recovered = view(&new);
        let told = tell(&recovered, &times, &[None]).unwrap();
        let Some(text) = difference(&recovered, &whole, (&told, &was), &report) else { break told };
        assert!(began.elapsed() < Duration::from_secs(15), "seed {seed}: {text}");
        std::thread::sleep(Duration::from_millis(200));
    };
    eprintln!("{} of {} answers are known", told.known(), was.known());
    assert!(was.known() > 500);
    // An early loss takes much: of a stream that is never told whole again, all that follows. Never everything.
    assert!(told.known() > 0 && report.iter().all(|lost| lost.first > Second::MIN), "seed {seed}");
    assert!(served.terminate(), "it ends well");
    ended(&output(&["fsck", "--deep", "--store", text(&new)]), &[0]);
}

/// What is merged is verified; after damage nothing is appended any more, and whoever watches is told.
#[test]
fn a_server_that_meets_damage_in_a_merge_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (store, sim) = (path("store"), path("sim"));
    ended(&output(&["simulate", "--hosts", "2", "--days", "0.1", "--out", text(&sim)]), &[0]);
    let log = sim.join("logs/osqueryd.results.log");
    let lines = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    for (part, name) in lines.chunks(lines.len() / 2 + 1).zip(["first", "second"]) {
        fs::write(path(name), part.concat()).unwrap();
    }
    ended(&output(&["import", "--store", text(&store), text(&path("first"))]), &[0]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut served = Served::start(&store, &["--http", &http]);
    let ready = || {
        let mut asked = std::net::TcpStream::connect(&http).unwrap();
        asked.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        asked.read_to_string(&mut answer).unwrap();
        answer
    };
    let ship = |state: &str, log: &Path| {
        let server = served.args("ingest");
        let server = server.iter().map(|arg| &**arg);
        let (state, log) = (path(state), text(log));
        let args: Vec<&str> = ["ship", "--once", "--state", text(&state), log].into_iter().chain(server).collect();
        ended(&output(&args), &[0]);
    };
    ship("state", &path("second"));
    assert!(ready().contains(" 200 "), "{}", ready());
    damage(&store, Where::Segment, &mut Rng::new(1)).unwrap();
    let server = served.args("admin");
    let server = server.iter().map(|arg| &**arg);
    let merged = output(&["compact"].into_iter().chain(server).collect::<Vec<_>>());
    ended(&merged, &[4]);
    assert!(ready().contains(" 503 ") && ready().contains("is damaged"), "{}", ready());
    assert_eq!(served.exit_code(), Some(1), "it says that its store took no more appends");
    ended(&output(&["fsck", "--store", text(&store)]), &[4]);
}

#[test]
fn a_stopped_server_is_recovered_and_says_what_it_lost() {
    (1..=2).for_each(|seed| drill(seed, Where::Segment, Stop::Terminated));
}

#[test]
fn a_killed_server_is_recovered_and_says_what_it_lost() {
    (3..=4).for_each(|seed| drill(seed, Where::Segment, Stop::Killed));
}

#[test]
fn a_killed_server_with_a_damaged_log_is_recovered_and_says_what_it_lost() {
    (5..=6).for_each(|seed| drill(seed, Where::Log, Stop::Killed));
}

/// The long form. `cargo test -p erstwhile --test drill -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn servers_are_recovered_sixty_times() {
    for seed in 100..160 {
        let place = if seed % 3 == 0 { Where::Log } else { Where::Segment };
        drill(seed, place, if seed % 2 == 0 { Stop::Terminated } else { Stop::Killed });
    }
}
