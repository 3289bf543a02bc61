//! What each question costs on a store that is there: microseconds at the median and at the 99th percentile, and what was
//! decoded for it. Before that, what it costs a process that asks nothing else: to open the store, and to answer its first
//! question; and how much memory of its own it has then.
//!
//! Invariants:
//! - Times, hosts and keys are drawn from the store itself, so that every question has an answer.
//! - A first question is asked by a process of its own, which is told it whole: nothing of the store was read there before.

use erstwhile_engine::fact::{Name, Second};
use erstwhile_engine::io::{Clock, DiskStorage, SystemClock};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::{Cost, HistoryRow};
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, LookupKey, LookupQuestion, StateQuestion, Subject, WhoQuestion,
};
use erstwhile_engine::read::view::View;
use erstwhile_engine::segment::Segment;
use erstwhile_engine::store::open_view;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Draws numbers that are the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len() as u64) as usize]
    }
}

fn state(table: &str, at: Second, host: Option<&Name>) -> StateQuestion {
    let table = Name::from(table.as_bytes());
    StateQuestion { table, at, host: host.cloned(), stream: None, wheres: Vec::new(), known_at: None }
}

fn who(subject: Subject, at: Second, host: Option<&Name>) -> WhoQuestion {
    WhoQuestion { subject, at, host: host.cloned(), known_at: None }
}

/// A kind of question is asked no longer than this, however often it was to be.
const ASK_NANOS_MAX: u64 = 5_000_000_000;
/// Hosts whose rows give the keys of questions.
const HOSTS_DRAWN: usize = 1000;

/// Asks up to `times` questions and prints what they took, unless only others are wanted.
fn ask(name: &str, times: usize, mut question: impl FnMut() -> (u64, usize, Cost)) {
    if std::env::args().nth(2).is_some_and(|only| !name.contains(&only)) {
        return;
    }
    let (mut nanos, mut rows, mut cost, mut all) = (Vec::with_capacity(times), 0, Cost::default(), 0);
    for asked in 0..times + times / 10 {
        let (took, found, its) = question();
        all += took;
        // The first tenth warms up.
        if asked >= times / 10 || all > ASK_NANOS_MAX {
            nanos.push(took);
            rows += found;
            cost.add(&its);
        }
        if all > ASK_NANOS_MAX {
            break;
        }
    }
    let times = nanos.len();
    nanos.sort_unstable();
    let each = |total: u64| total as f64 / times as f64;
    println!(
        "{name:<34} {:>10.2} {:>10.2} {:>9.1} {:>9.1} {:>9.1} {:>11.0}",
        nanos[times / 2] as f64 / 1e3,
        nanos[times * 99 / 100] as f64 / 1e3,
        rows as f64 / times as f64,
        each(cost.rows_decoded),
        each(cost.keys_decoded),
        each(cost.bytes_read),
    );
}

fn timed<A>(question: impl FnOnce() -> A) -> (u64, A) {
    let clock = SystemClock::new();
    let begun = clock.monotonic_nanos();
    let answer = question();
    (clock.monotonic_nanos() - begun, answer)
}

/// What a process has of memory that is no file's, in MiB.
fn own_mebibytes() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("the system does not tell")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
}

/// A value of a host's table at a second.
type Key = (Name, Name, Second);

/// What questions are made of.
struct Drawn {
    hosts: Vec<Name>,
    addresses: Vec<Key>,
    uids: Vec<Key>,
    /// The middle of the history, where every host has looks on both sides.
    span: (Second, Second),
}

impl Drawn {
    fn at(&self, draw: &mut Draw) -> Second {
        self.span.0 + draw.below((self.span.1 - self.span.0) as u64) as Second
    }

    fn new(view: &View, segment: &Segment, draw: &mut Draw) -> Result<Drawn, Box<dyn Error>> {
        let looked = segment.footer().tables.iter().filter(|table| table.first > 0);
        let span = looked.map(|table| (table.first, table.last)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (first, last) = span.ok_or("a store without a look")?;
        let span = (first + (last - first) / 10, last - (last - first) / 10);
        let all = segment.hosts()?;
        let numbers: Vec<usize> = (0..all.len()).filter(|&host| all.has_looks(host)).collect();
        let mut drawn = Drawn { hosts: Vec::new(), addresses: Vec::new(), uids: Vec::new(), span };
        for _ in 0..HOSTS_DRAWN {
            let host = Name::from(all.name(*draw.one(&numbers)));
            let at = drawn.at(draw);
            let keys = |table: &str, column: &[u8], wanted: &[u8], keys: &mut Vec<Key>| {
                for held in view.state(&state(table, at, Some(&host)))?.rows {
                    if let Some(value) = held.version.row.get(column).filter(|text| text.starts_with(wanted)) {
                        keys.push((host.clone(), Name::from(value), at));
                    }
                }
                Ok::<_, erstwhile_engine::error::Error>(())
            };
            keys("interface_addresses", b"address", b"10.", &mut drawn.addresses)?;
            keys("users", b"uid", b"", &mut drawn.uids)?;
            drawn.hosts.push(host);
        }
        Ok(drawn)
    }
}

/// The kinds of questions that are asked first.
const FIRST: [&str; 4] = ["who ip", "who uid, of a host", "addresses of a host", "processes of a host"];

/// Asks one question of a kind.
fn one(view: &View, kind: &str, (host, value, at): &Key) -> (u64, usize, Cost) {
    let good = "a good question";
    let of = |subject, host| {
        let (nanos, answer) = timed(|| view.who(&who(subject, *at, host)).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    };
    match kind {
        "who ip" => of(Subject::Ip(value.clone()), None),
        "who uid, of a host" => of(Subject::Uid(value.clone()), Some(host)),
        _ => {
            let table = if kind.starts_with("processes") { "processes" } else { "interface_addresses" };
            let q = state(table, *at, Some(host));
            let (nanos, answer) = timed(|| view.state(&q).expect(good));
            (nanos, answer.rows.len(), answer.cost)
        }
    }
}

/// What the process that asks first is told.
const FIRST_WORD: &str = "--first";

/// Asks a question in a process of its own and prints what it says.
fn ask_first(directory: &Path, kind: &str, (host, value, at): &Key) -> Result<(), Box<dyn Error>> {
    let text = |name: &Name| String::from_utf8_lossy(name).into_owned();
    let words = [FIRST_WORD.to_owned(), kind.to_owned(), text(host), text(value), at.to_string()];
    let asked = Command::new(std::env::current_exe()?).arg(directory).args(words).status()?;
    if asked.success() { Ok(()) } else { Err("the first question failed".into()) }
}

/// In that process: opens the store, asks, asks again, and prints.
fn answer_first(directory: &Path, words: &[OsString]) -> Result<(), Box<dyn Error>> {
    let [kind, host, value, at] = words else { return Err("a kind, a host, a value and a second".into()) };
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let name = |word: &OsString| Name::from(text(word).as_bytes());
    let key = (name(host), name(value), text(at).parse()?);
    let storage = DiskStorage::open(directory, false)?;
    let (nanos, view) = timed(|| open_view(&storage, Options::default().cache_bytes_max));
    let view = view?;
    let kind = text(kind);
    let first = one(&view, &kind, &key).0;
    let second = one(&view, &kind, &key).0;
    let (opened, first, second) = (nanos as f64 / 1e6, first as f64 / 1e3, second as f64 / 1e3);
    println!("{kind:<34} {opened:>10.2} {first:>10.2} {second:>10.2} {:>10.1}", own_mebibytes()?);
    Ok(())
}

fn questions(directory: &Path, view: &View) -> Result<(), Box<dyn Error>> {
    let mut draw = Draw(7);
    let segment = view.segments().first().ok_or("a store without segments")?;
    let drawn = Drawn::new(view, segment, &mut draw)?;
    let Drawn { hosts, addresses, uids, .. } = &drawn;
    let has_processes = segment.table(b"processes")?.is_some();
    println!("{:<34} {:>10} {:>10} {:>10} {:>10}", "of a new process", "open ms", "first µs", "then µs", "own MiB");
    for kind in FIRST.into_iter().filter(|kind| has_processes || !kind.starts_with("processes")) {
        for _ in 0..3 {
            let keys = if kind == "who ip" { addresses } else { uids };
            if !keys.is_empty() {
                ask_first(directory, kind, draw.one(keys))?;
            }
        }
    }
    let at = |draw: &mut Draw| drawn.at(draw);
    println!(
        "{:<34} {:>10} {:>10} {:>9} {:>9} {:>9} {:>11}",
        "question", "p50 µs", "p99 µs", "rows", "decoded", "keys", "bytes"
    );
    let good = "a good question";
    for kind in FIRST.into_iter().filter(|kind| has_processes || !kind.starts_with("processes")) {
        let keys = if kind == "who ip" { addresses } else { uids };
        if !keys.is_empty() {
            ask(kind, 20_000, || one(view, kind, draw.one(keys)));
        }
    }
    println!("own memory after these: {:.1} MiB", own_mebibytes()?);
    ask("users of all hosts", 100, || {
        let q = state("users", at(&mut draw), None);
        let (nanos, answer) = timed(|| view.state(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    if !has_processes {
        return Ok(());
    }
    ask("diff of a host's processes", 1000, || {
        let from = at(&mut draw);
        let (table, host) = (Name::from(&b"processes"[..]), draw.one(hosts).clone());
        let to = from + draw.below(6 * 3600) as Second;
        let q = DiffQuestion { table, host, stream: None, from, to, known_at: None };
        let (nanos, answer) = timed(|| view.diff(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    ask("a day of a host's process_events", 500, || {
        let from = at(&mut draw);
        let (table, host) = (Name::from(&b"process_events"[..]), Some(draw.one(hosts).clone()));
        let (from, to) = (Some(from), Some(from + 86_400));
        let q = HistoryQuestion { table, host, stream: None, wheres: Vec::new(), from, to, known_at: None };
        let (nanos, answer) = timed(|| view.history(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    ask("… each joined with its user", 500, || {
        let from = at(&mut draw);
        let (table, host) = (Name::from(&b"process_events"[..]), draw.one(hosts).clone());
        let (span, of) = ((Some(from), Some(from + 86_400)), Some(host.clone()));
        let q = HistoryQuestion {
            table,
            host: of,
            stream: None,
            wheres: Vec::new(),
            from: span.0,
            to: span.1,
            known_at: None,
        };
        let (nanos, (events, answer)) = timed(|| {
            let events = view.history(&q).expect(good).rows;
            let mut keys = Vec::with_capacity(events.len());
            for event in &events {
                if let HistoryRow::Event(event) = event
                    && let Some(uid) = event.row.get(b"uid")
                {
                    keys.push(LookupKey { host: &host, value: uid, at: event.time });
                }
            }
            let (table, column) = (Name::from(&b"users"[..]), Name::from(&b"uid"[..]));
            let answer = view.lookup(&LookupQuestion { table, column, keys, known_at: None }).expect(good);
            (events, answer)
        });
        drop(events);
        (nanos, answer.hits.len(), answer.cost)
    });
    Ok(())
}

const USAGE: &str = "\
usage: questions DIR [NAME]

Asks the store in DIR each kind of question many times, or only kinds with NAME in their names.";

fn main() -> Result<(), Box<dyn Error>> {
    erstwhile_benches::tell_usage(USAGE);
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(directory) = words.first().map(PathBuf::from) else {
        return Err(USAGE.into());
    };
    if words.get(1).is_some_and(|word| word == FIRST_WORD) {
        return answer_first(&directory, &words[2..]);
    }
    let storage = DiskStorage::open(&directory, false)?;
    let (nanos, view) = timed(|| open_view(&storage, Options::default().cache_bytes_max));
    let view = view?;
    println!(
        "opened in {:.2} ms, {} segments, {:.1} MiB of own memory",
        nanos as f64 / 1e6,
        view.segments().len(),
        own_mebibytes()?
    );
    questions(&directory, &view)
}
