//! A fleet whose state at a look follows from the host and the look alone: not from where its history begins or ends,
//! and not from what else is kept. So one question has one answer in every such fleet, and what differs is its cost.
//!
//! Invariant: every stream is regular, so a merge of everything keeps it as a run.

use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind, Name, Second, StreamKey};
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::options::{IndexRule, Options};
use erstwhile_engine::row::{Row, RowBuilder};
use erstwhile_engine::store::Store;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The second of look 0.
const FIRST: Second = 1_545_645_600;
/// Seconds from one look to the next.
const STEP: Second = 60;
/// Looks that a row lives at most, unless it is always there.
pub(crate) const LIFETIME_MAX: u64 = 60;
/// Looks for which a host keeps its address.
const LEASE: u64 = 5;
/// So many hosts pass so many addresses around.
pub(crate) const POOL: u64 = 4;
/// So many hosts, the first ones, always run a process of this name, and no other host does.
pub(crate) const KEEPERS: u64 = 2;
pub(crate) const KEPT: &str = "keeper";
/// A uid whose user changes now and then.
pub(crate) const CHANGING_UID: &str = "1000";
/// Looks after which that user changes.
const CHANGE: u64 = 20;
/// Looks that come in one batch.
const BATCH: usize = 10;

/// How much there is.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) hosts: u64,
    pub(crate) looks: Range<u64>,
    /// Tables that no question asks for.
    pub(crate) others: &'static [&'static str],
    /// The last looks, so many, are not merged: some in a segment of their own, the others in memory.
    pub(crate) unmerged: u64,
}

/// When look `look` was.
pub(crate) fn second(look: u64) -> Second {
    FIRST + STEP * look as Second
}

pub(crate) fn host(host: u64) -> Name {
    Name::from(format!("host-{host:04}").as_bytes())
}

/// The address of a host at a look.
pub(crate) fn address(host: u64, look: u64) -> String {
    format!("10.0.{}.{}", host / POOL, (host + look / LEASE) % POOL)
}

pub(crate) fn row(columns: &[(&str, &str)]) -> Row {
    let mut builder = RowBuilder::new();
    columns.iter().for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
    builder.row()
}

/// A number that follows from these and from nothing else (splitmix64).
pub(crate) fn mix(of: [u64; 3]) -> u64 {
    of.into_iter().fold(0, |state: u64, next| {
        let mut z = state.wrapping_add(next).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

const NAMES: [&str; 8] = ["bash", "cron", "sshd", "python3", "make", "cc1", "ld", "git"];

fn process(name: &str, pid: u64, parent: u64, uid: u64, look: u64) -> Row {
    let (pid, parent, uid, start) = (pid.to_string(), parent.to_string(), uid.to_string(), second(look).to_string());
    let cmdline = format!("/usr/bin/{name} --job {} --quiet", mix([7, 7, look]) % 10_000);
    let path = format!("/usr/bin/{name}");
    row(&[
        ("cmdline", &cmdline),
        ("name", name),
        ("parent", &parent),
        ("path", &path),
        ("pid", &pid),
        ("start_time", &start),
        ("uid", &uid),
    ])
}

/// The processes that start at a look, and for how many looks each runs.
fn processes(host: u64, look: u64) -> Vec<(Row, u64)> {
    let of = |i: u64| {
        let random = mix([host, look, i]);
        let lifetime = match random % 16 {
            0..12 => 1 + random / 16 % 5,
            12..15 => 5 + random / 16 % 20,
            _ => 20 + random / 16 % (LIFETIME_MAX - 20),
        };
        let name = NAMES[(random >> 20) as usize % NAMES.len()];
        (process(name, 100 + 16 * look + i, 1 + random % 50, 1000 * (random >> 30 & 1), look), lifetime)
    };
    (0..16).map(of).collect()
}

/// The processes that always run.
fn daemons(host: u64) -> Vec<Row> {
    let name = |i: u64| if i == 0 && host < KEEPERS { KEPT.to_owned() } else { format!("daemon{i}") };
    (0..40).map(|i| process(&name(i), 1 + i, 1, 0, 0)).collect()
}

pub(crate) fn username(host: u64, look: u64) -> String {
    format!("user-{host}-{look}")
}

/// The uid of the user who comes at a look, if one does.
pub(crate) fn uid(look: u64) -> String {
    (10_000 + look).to_string()
}

fn user(uid: &str, name: &str, description: &str) -> Row {
    let directory = format!("/home/{name}");
    row(&[
        ("description", description),
        ("directory", &directory),
        ("shell", "/bin/bash"),
        ("uid", uid),
        ("username", name),
    ])
}

/// Users that come at a look: a new one every second look, and one who changes.
fn users(host: u64, look: u64) -> Vec<(Row, u64)> {
    let mut users = Vec::new();
    if look.is_multiple_of(2) {
        users.push((user(&uid(look), &username(host, look), ""), 30));
    }
    if look.is_multiple_of(CHANGE) {
        users.push((user(CHANGING_UID, "operator", &format!("changed {look}")), CHANGE));
    }
    users
}

fn system_users() -> Vec<Row> {
    (0..5u64).map(|i| user(&i.to_string(), &format!("system{i}"), "")).collect()
}

/// A stream of differences under construction.
struct Differences {
    key: Arc<StreamKey>,
    born: fn(u64, u64) -> Vec<(Row, u64)>,
    always: Vec<Row>,
    counter: u64,
    dying: BTreeMap<u64, Vec<Row>>,
}

fn key(table: &str, at: u64, kind: Kind) -> Arc<StreamKey> {
    Arc::new(StreamKey {
        table: Name::from(table.as_bytes()),
        host: host(at),
        name: Name::from(format!("pack/fleet/{table}").as_bytes()),
        kind,
        sightings: false,
    })
}

pub(crate) fn delivery(key: &Arc<StreamKey>, counter: Option<u64>, second: Second) -> Delivery {
    Delivery {
        stream: key.clone(),
        epoch: 1,
        counter,
        second,
        whole: true,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: Vec::new(),
    }
}

impl Differences {
    fn new(table: &str, at: u64, born: fn(u64, u64) -> Vec<(Row, u64)>, always: Vec<Row>) -> Differences {
        Differences { key: key(table, at, Kind::Diff), born, always, counter: 0, dying: BTreeMap::new() }
    }

    /// What look `look` brings, if anything; the first brings all there is.
    fn look(&mut self, at: u64, look: u64) -> Option<Delivery> {
        let mut delivery = delivery(&self.key, Some(self.counter), second(look));
        let from = if self.counter == 0 {
            delivery.added.extend(self.always.drain(..).map(|row| (row, 1)));
            look.saturating_sub(LIFETIME_MAX)
        } else {
            delivery.removed.extend(self.dying.remove(&look).into_iter().flatten().map(|row| (row, 1)));
            look
        };
        for born in from..=look {
            for (row, lifetime) in (self.born)(at, born) {
                if born + lifetime > look {
                    self.dying.entry(born + lifetime).or_default().push(row.clone());
                    delivery.added.push((row, 1));
                }
            }
        }
        if delivery.added.is_empty() && delivery.removed.is_empty() {
            return None;
        }
        self.counter += 1;
        Some(delivery)
    }
}

fn addresses(at: u64, look: u64) -> Delivery {
    let mut delivery = delivery(&key("interface_addresses", at, Kind::Snapshot), None, second(look));
    delivery.added.push((row(&[("address", "127.0.0.1"), ("interface", "lo")]), 1));
    delivery.added.push((row(&[("address", &address(at, look)), ("interface", "eth0")]), 1));
    delivery
}

fn events(at: u64, look: u64, counter: u64) -> Delivery {
    let mut delivery = delivery(&key("process_events", at, Kind::Event), Some(counter), second(look));
    for i in 0..8 {
        let random = mix([at, look, i]);
        let (pid, time) = ((16 * look + i).to_string(), (second(look) - i as Second).to_string());
        let path = format!("/usr/bin/{}", NAMES[random as usize % NAMES.len()]);
        delivery.added.push((row(&[("path", &path), ("pid", &pid), ("time", &time)]), 1));
    }
    delivery
}

/// A store in memory.
pub(crate) fn open() -> (Store, ManualClock) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let clock = ManualClock::new(second(0) * 1_000_000);
    let given: Arc<dyn Clock> = Arc::new(clock.clone());
    // Nothing decoded is remembered, so that every answer costs what it costs the first time.
    let mut options = Options { background: false, cache_bytes_max: 0, merge_zstd_level: 1, ..Options::default() };
    options.indexes.set(b"processes", b"name", IndexRule::Streams);
    options.indexes.set(b"users", b"username", IndexRule::Versions);
    (Store::open(storage, given, options, "a test").expect("a memory holds a store"), clock)
}

/// Appends a batch, a second later.
pub(crate) fn append(store: &Store, clock: &ManualClock, deliveries: Vec<Delivery>) {
    clock.advance(1_000_000);
    store.append(Batch { deliveries, ..Batch::default() }, None).expect("a memory takes a batch");
}

impl Fleet {
    /// A store with this fleet: all that is merged in one segment and kept as runs.
    pub(crate) fn store(&self) -> Store {
        let (store, clock) = open();
        let mut differences: Vec<(u64, Differences)> = Vec::new();
        for host in 0..self.hosts {
            differences.push((host, Differences::new("processes", host, processes, daemons(host))));
            differences.push((host, Differences::new("users", host, users, system_users())));
            for other in self.others {
                differences.push((host, Differences::new(other, host, processes, daemons(host))));
            }
        }
        let looks: Vec<u64> = self.looks.clone().collect();
        let merged = looks.len() - self.unmerged as usize;
        for (batch, some) in looks.chunks(BATCH).enumerate() {
            match merged + self.unmerged as usize / 2 {
                _ if self.unmerged == 0 => {}
                _ if batch * BATCH == merged => store.compact().expect("a memory is merged"),
                half if batch * BATCH == half => store.flush().expect("a memory is sealed"),
                _ => {}
            }
            let mut deliveries = Vec::new();
            for &look in some {
                deliveries.extend(differences.iter_mut().filter_map(|(host, stream)| stream.look(*host, look)));
                for host in 0..self.hosts {
                    deliveries.push(addresses(host, look));
                    deliveries.push(events(host, look, look - self.looks.start));
                }
            }
            append(&store, &clock, deliveries);
        }
        if self.unmerged == 0 {
            store.compact().expect("a memory is merged");
        }
        store
    }
}
