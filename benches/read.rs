//! Questions to a store of three segments on disk: its files are in the page cache, its decoded blocks in the store's.
//!
//! `after opening` is the one that pays for everything: the store is opened and asked once.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use erstwhile::simulate::Format;
use erstwhile_benches::{criterion, deliveries, fleet, store};
use erstwhile_engine::fact::Name;
use erstwhile_engine::io::DiskStorage;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::question::{DiffQuestion, HistoryQuestion, StateQuestion, Subject, WhoQuestion};
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::open_view;
use std::sync::Arc;

fn state_of(table: &[u8], at: i64, host: Option<&Name>) -> StateQuestion {
    StateQuestion { table: table.into(), at, host: host.cloned(), stream: None, wheres: Vec::new(), known_at: None }
}

fn who(subject: Subject, at: i64) -> WhoQuestion {
    WhoQuestion { subject, at, host: None, known_at: None }
}

/// A host that had a leased address at T, and the address.
fn leased(view: &View, at: i64) -> (Name, Name) {
    let addresses = view.state(&state_of(b"interface_addresses", at, None)).expect("the table has a state");
    let leased = |held: &erstwhile_engine::read::answer::Held| {
        let broadcast = held.version.row.get(b"broadcast")?;
        let address = held.version.row.get(b"address").filter(|_| !broadcast.is_empty())?;
        Some((held.version.host.clone(), Name::from(address)))
    };
    addresses.rows.iter().find_map(leased).expect("a fleet in office hours holds leases")
}

fn read(criterion: &mut Criterion) {
    let fleet = fleet(Format::Event);
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let storage = DiskStorage::open(directory.path(), true).expect("it can be opened");
    store(Arc::new(storage), deliveries(&fleet.log), 3).close().expect("the disk has room");
    let storage = DiskStorage::open(directory.path(), false).expect("it is there");
    let cache = Options::default().cache_bytes_max;
    let view = open_view(&storage, cache).expect("the store is whole");
    assert_eq!(view.segments().len(), 3);

    let at = fleet.first + (fleet.end - fleet.first) / 3;
    let (host, address) = leased(&view, at);
    let ip = who(Subject::Ip(address), at);
    let uid = who(Subject::Uid(Name::from(&b"1000"[..])), at);
    let processes = state_of(b"processes", at, Some(&host));
    let users = state_of(b"users", at, None);
    let table = Name::from(&b"processes"[..]);
    let (from, to) = (at - 3600, at + 4 * 3600);
    let diff = DiffQuestion { table: table.clone(), host: host.clone(), stream: None, from, to, known_at: None };
    let (from, to) = (Some(from), Some(to));
    let history =
        HistoryQuestion { table, host: Some(host), stream: None, wheres: Vec::new(), from, to, known_at: None };

    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    let mut ask = |name: &str, answer: &dyn Fn(&View) -> usize| {
        assert!(answer(&view) > 0, "{name} has an answer");
        group.bench_function(name, |bencher| bencher.iter(|| answer(&view)));
    };
    let who_ip = |view: &View| view.who(&ip).expect("a good question").rows.len();
    ask("who ip", &who_ip);
    ask("who uid", &|view| view.who(&uid).expect("a good question").rows.len());
    ask("state of a host's processes", &|view| view.state(&processes).expect("a good question").rows.len());
    ask("state of the fleet's users", &|view| view.state(&users).expect("a good question").rows.len());
    ask("diff of a host's processes", &|view| view.diff(&diff).expect("a good question").rows.len());
    ask("history of a host's processes", &|view| view.history(&history).expect("a good question").rows.len());
    group.bench_function("who ip, after opening", |bencher| {
        bencher.iter(|| who_ip(&open_view(&storage, cache).expect("the store is whole")));
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = read }
criterion_main!(benches);
