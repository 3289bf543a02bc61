//! What each question costs on a store that is there: microseconds at the median and at the 99th percentile, and what was
//! decoded for it.
//!
//! Times, hosts and keys are drawn from the store itself, so that every question has an answer.

use erstwhile_engine::fact::{Name, Second};
use erstwhile_engine::io::{Clock, DiskStorage, SystemClock};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::{Cost, HistoryRow};
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, LookupKey, LookupQuestion, StateQuestion, Subject, WhoQuestion,
};
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::open_view;
use std::path::PathBuf;

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

/// Asks `times` questions and prints what they took, unless only others are wanted.
fn ask(name: &str, times: usize, mut question: impl FnMut() -> (u64, usize, Cost)) {
    if std::env::args().nth(2).is_some_and(|only| !name.contains(&only)) {
        return;
    }
    for _ in 0..times / 10 {
        question();
    }
    let (mut nanos, mut rows, mut cost) = (Vec::with_capacity(times), 0, Cost::default());
    for _ in 0..times {
        let (took, found, its) = question();
        nanos.push(took);
        rows += found;
        cost.add(&its);
    }
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

fn questions(view: &View) -> Result<(), erstwhile_engine::error::Error> {
    let mut draw = Draw(7);
    let all =
        view.list_hosts(&erstwhile_engine::read::question::ListQuestion { table: None, host: None, known_at: None })?;
    let (first, last) = all.iter().fold((Second::MAX, 0), |(a, b), host| (a.min(host.first), b.max(host.last)));
    let hosts: Vec<Name> = all.into_iter().map(|host| host.host).collect();
    // The middle of the history, where every host has looks on both sides.
    let (first, last) = (first + (last - first) / 10, last - (last - first) / 10);
    let at = |draw: &mut Draw| first + draw.below((last - first) as u64) as Second;
    let mut addresses = Vec::new();
    let mut uids = Vec::new();
    for _ in 0..20 {
        let at = at(&mut draw);
        for held in view.state(&state("interface_addresses", at, None))?.rows {
            if let Some(address) = held.version.row.get(b"address").filter(|text| text.starts_with(b"10.")) {
                addresses.push((Name::from(address), at));
            }
        }
        for held in view.state(&state("users", at, None))?.rows {
            if let Some(uid) = held.version.row.get(b"uid") {
                uids.push((held.version.host.clone(), Name::from(uid), at));
            }
        }
    }
    println!(
        "{:<34} {:>10} {:>10} {:>9} {:>9} {:>9} {:>11}",
        "question", "p50 µs", "p99 µs", "rows", "decoded", "keys", "bytes"
    );
    let good = "a good question";
    if !addresses.is_empty() {
        ask("who ip", 20_000, || {
            let (address, at) = draw.one(&addresses).clone();
            let q = who(Subject::Ip(address), at, None);
            let (nanos, answer) = timed(|| view.who(&q).expect(good));
            (nanos, answer.rows.len(), answer.cost)
        });
    }
    ask("who uid, of a host", 20_000, || {
        let (host, uid, at) = draw.one(&uids).clone();
        let q = who(Subject::Uid(uid), at, Some(&host));
        let (nanos, answer) = timed(|| view.who(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    ask("processes of a host", 5000, || {
        let q = state("processes", at(&mut draw), Some(draw.one(&hosts)));
        let (nanos, answer) = timed(|| view.state(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    ask("users of all hosts", 100, || {
        let q = state("users", at(&mut draw), None);
        let (nanos, answer) = timed(|| view.state(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    ask("diff of a host's processes", 1000, || {
        let from = at(&mut draw);
        let (table, host) = (Name::from(&b"processes"[..]), draw.one(&hosts).clone());
        let to = from + draw.below(6 * 3600) as Second;
        let q = DiffQuestion { table, host, stream: None, from, to, known_at: None };
        let (nanos, answer) = timed(|| view.diff(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    ask("a day of a host's process_events", 500, || {
        let from = at(&mut draw);
        let (table, host) = (Name::from(&b"process_events"[..]), Some(draw.one(&hosts).clone()));
        let (from, to) = (Some(from), Some(from + 86_400));
        let q = HistoryQuestion { table, host, stream: None, wheres: Vec::new(), from, to, known_at: None };
        let (nanos, answer) = timed(|| view.history(&q).expect(good));
        (nanos, answer.rows.len(), answer.cost)
    });
    ask("… each joined with its user", 500, || {
        let from = at(&mut draw);
        let (table, host) = (Name::from(&b"process_events"[..]), draw.one(&hosts).clone());
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err("usage: questions DIR [NAME], the directory of a store and a part of a question's name".into());
    };
    let storage = DiskStorage::open(&directory, false)?;
    let (nanos, view) = timed(|| open_view(&storage, Options::default().cache_bytes_max));
    let view = view?;
    println!("opened in {:.2} ms, {} segments", nanos as f64 / 1e6, view.segments().len());
    questions(&view)?;
    Ok(())
}
