//! What really happens: machines, the people at them, what they plug in, the addresses they are lent.
//!
//! Invariants:
//! - A row is in a host's table in `[from, to)` by the true clock, and exactly then in `truth/world.ndjson`.
//! - An address or a stick is at one host at a time.
//! - Columns that hold a time hold the host's clock, as on a real machine.
//!
//! Steps of a change: pick → take the old row → put the new one → schedule the next.

use std::collections::{BTreeMap, VecDeque};

use super::birth;
use super::host::{Disk, Host};
use super::options::Options;
use super::rng::Rng;
use super::row::Row;
use super::sticks::Stick;
use super::tables::{self, Process, Table};
use super::text;
use super::truth::Out;
use super::wire::Version;

/// Something that happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A process ends.
    Exit(u64),
    /// A stick is pulled out.
    Pull(u32),
    /// A process starts.
    Spawn,
    /// A DHCP lease ends or begins.
    Lease,
    /// Somebody comes, goes or is renamed.
    Staff,
    /// Somebody plugs in a stick.
    Plug,
    /// Somebody logs in or out.
    Session,
    /// A socket begins or stops to listen.
    Port,
    /// Packages are upgraded.
    Packages,
    /// The operating system is upgraded.
    System,
    /// The agent is restarted.
    Restart,
    /// The agent is upgraded.
    Upgrade,
}

impl Change {
    /// What keeps happening to a host.
    pub(super) const RECURRING: [Change; 10] = [
        Change::Spawn,
        Change::Lease,
        Change::Staff,
        Change::Plug,
        Change::Session,
        Change::Port,
        Change::Packages,
        Change::System,
        Change::Restart,
        Change::Upgrade,
    ];

    /// Mean seconds between two of them, in office hours.
    pub(super) fn mean(self, options: &Options) -> f64 {
        let hours = match self {
            Change::Spawn => return options.process_seconds,
            Change::Exit(_) | Change::Pull(_) => return 1.0,
            Change::Lease => 7.0,
            Change::Staff => 60.0,
            Change::Plug => 6.0,
            Change::Session => 4.0,
            Change::Port => 5.0,
            Change::Packages => 30.0,
            Change::System => 300.0,
            Change::Restart => 80.0,
            Change::Upgrade => 500.0,
        };
        hours * 3600.0 / options.churn.max(1e-6)
    }
}

/// Everything there is.
pub(super) struct World {
    pub(super) hosts: Vec<Host>,
    pub(super) leases: VecDeque<u32>,
    pub(super) sticks: Vec<Stick>,
    pub(super) options: Options,
    packages: BTreeMap<(usize, u64), Row>,
}

impl World {
    /// The world at its first second.
    pub(super) fn new(options: &Options, out: &mut Out) -> World {
        let mut world = World {
            hosts: Vec::new(),
            leases: VecDeque::new(),
            sticks: Vec::new(),
            options: options.clone(),
            packages: BTreeMap::new(),
        };
        birth::populate(&mut world, out);
        world
    }

    /// A package's row, shared by all hosts that have it.
    pub(super) fn package(&mut self, package: (usize, u64)) -> Row {
        self.packages.entry(package).or_insert_with(|| tables::package(package.0, package.1)).clone()
    }

    /// Something happens; returns what it leads to, as (second, change).
    pub(super) fn change(&mut self, host: usize, change: Change, at: u64, out: &mut Out) -> Option<(u64, Change)> {
        match change {
            Change::Exit(pid) => self.hosts[host].exit(pid, at, out),
            Change::Pull(stick) => self.pull(host, stick, at, out),
            Change::Spawn => return Some(self.spawn(host, at, out)),
            Change::Lease => self.lease(host, at, out),
            Change::Staff => self.staff(host, at, out),
            Change::Plug => return self.plug(host, at),
            Change::Session => self.session(host, at, out),
            Change::Port => self.port(host, at, out),
            Change::Packages => self.upgrade_packages(host, at, out),
            Change::System => self.set_patch(host, self.hosts[host].patch + 1, at, out),
            Change::Restart => self.hosts[host].start_agent(at, out),
            Change::Upgrade => self.upgrade_agent(host, at, out),
        }
        None
    }

    fn spawn(&mut self, host: usize, at: u64, out: &mut Out) -> (u64, Change) {
        let host = &mut self.hosts[host];
        let (name, path, template) = host.rng.pick(text::PROGRAMS);
        let person = if host.rng.chance(0.7) { host.person() } else { None };
        let home = person.as_ref().map_or("/root".to_owned(), |person| format!("/home/{}", person.name));
        let cmdline = fill(template, &home, &mut host.rng);
        let parent = match host.running.len() {
            0 => 1,
            len => host.running[host.rng.index(len)].pid,
        };
        let (uid, start) = (person.map_or(0, |person| person.uid), host.clock(at));
        let cwd = if uid == 0 { "/" } else { &home };
        let process = Process { pid: 0, parent, uid, name, path, cmdline: &cmdline, cwd, start };
        let pid = host.start(process, None, at, out);
        let life = match host.rng.below(10) {
            0..6 => host.rng.between(1, 90),
            6..9 => host.rng.between(60, 3600),
            _ => host.rng.between(3600, 8 * 3600),
        };
        (at + life, Change::Exit(pid))
    }

    /// Gives the lease back, and mostly gets another, often one that somebody else had just before.
    fn lease(&mut self, index: usize, at: u64, out: &mut Out) {
        let host = &mut self.hosts[index];
        let had = host.lease.take();
        if let Some((lease, row)) = &had {
            host.take(Table::InterfaceAddresses, row, at, out);
            if host.rng.chance(0.25) {
                self.leases.push_back(*lease); // Roams without an address until the next change.
                return;
            }
        }
        let recent = host.rng.chance(0.6);
        let Some(lease) = (if recent { self.leases.pop_back() } else { self.leases.pop_front() }) else {
            return;
        };
        if let Some((old, _)) = had {
            self.leases.push_back(old);
        }
        let address = format!("10.{}.{}.{}", 40 + lease / 50_000, lease / 200 % 250, 20 + lease % 200);
        let broadcast = format!("10.{}.{}.255", 40 + lease / 50_000, lease / 200 % 250);
        let row = tables::address(host.image.interface, &address, "255.255.255.0", &broadcast, "dhcp");
        host.put(Table::InterfaceAddresses, row.clone(), at);
        host.lease = Some((lease, row));
    }

    fn staff(&mut self, host: usize, at: u64, out: &mut Out) {
        let host = &mut self.hosts[host];
        let (low, high) = host.image.staff;
        match host.rng.below(3) {
            0 if host.staff.len() as u64 > low.min(1) => {
                let at_index = host.rng.index(host.staff.len());
                let gone = host.staff.remove(at_index);
                host.take(Table::Users, &gone.row, at, out);
            }
            1 if !host.staff.is_empty() => {
                // The uid stays, the person behind it changes.
                let at_index = host.rng.index(host.staff.len());
                let old = host.staff[at_index].clone();
                let new = birth::person(&mut host.rng, old.uid);
                host.take(Table::Users, &old.row, at, out);
                host.put(Table::Users, new.row.clone(), at);
                host.staff[at_index] = new;
            }
            _ if (host.staff.len() as u64) < high + 2 => {
                let uid = (1000..).find(|uid| host.staff.iter().all(|person| person.uid != *uid)).unwrap_or(1000);
                let new = birth::person(&mut host.rng, uid);
                host.put(Table::Users, new.row.clone(), at);
                host.staff.push(new);
            }
            _ => {}
        }
    }

    fn session(&mut self, host: usize, at: u64, out: &mut Out) {
        let host = &mut self.hosts[host];
        if !host.sessions.is_empty() && host.rng.chance(0.5) {
            let found = host.rng.index(host.sessions.len());
            let row = host.sessions.remove(found);
            host.take(Table::LoggedInUsers, &row, at, out);
        } else if host.sessions.len() < 4
            && let Some(person) = host.person()
        {
            let remote = !host.image.seat || host.rng.chance(0.2);
            let from = if remote { format!("10.40.0.{}", host.rng.between(20, 219)) } else { ":0".to_owned() };
            let tty = if remote { format!("pts/{}", host.sessions.len()) } else { "tty2".to_owned() };
            let (time, pid) = (host.clock(at), host.next_pid());
            let row = tables::session("user", &person.name, &tty, &from, time, pid);
            host.sessions.push(row.clone());
            host.put(Table::LoggedInUsers, row, at);
        }
    }

    /// A server under development, or one more or one less socket that shares a port.
    fn port(&mut self, host: usize, at: u64, out: &mut Out) {
        let host = &mut self.hosts[host];
        if host.running.is_empty() {
            return;
        }
        if !host.sockets.is_empty() && host.rng.chance(0.5) {
            let chosen = host.rng.index(host.sockets.len());
            let row = host.sockets[chosen].clone();
            let copies = host.sockets.iter().filter(|other| **other == row).count();
            if copies > 1 && (copies > 4 || host.rng.chance(0.5)) {
                host.sockets.remove(chosen);
                host.take(Table::ListeningPorts, &row, at, out);
            } else {
                host.sockets.push(row.clone());
                host.put(Table::ListeningPorts, row, at);
            }
            return;
        }
        let process = host.running[host.rng.index(host.running.len())].pid;
        let port = host.rng.pick(&[3000, 4200, 5000, 8000, 8080, 9229]);
        let row = tables::port(process, 6, port, if host.rng.chance(0.5) { "127.0.0.1" } else { "::1" });
        host.sockets.push(row.clone());
        host.put(Table::ListeningPorts, row, at);
    }

    /// The newest packages of the distribution, as far as this host takes them.
    fn upgrade_packages(&mut self, index: usize, at: u64, out: &mut Out) {
        let age = (at - self.options.start) as f64 / 3600.0 * self.options.churn.max(0.01);
        let newest = (age / 30.0) as u64 + 1;
        let len = self.hosts[index].packages.len();
        for _ in 0..len.min(20) {
            let chosen = self.hosts[index].rng.index(len);
            let old = self.hosts[index].packages[chosen];
            if old.1 < newest + (old.0 as u64 % 3) {
                self.set_package(index, chosen, (old.0, old.1 + 1), at, out);
            }
        }
    }

    fn set_package(&mut self, index: usize, slot: usize, new: (usize, u64), at: u64, out: &mut Out) {
        let old = self.hosts[index].packages[slot];
        if old != new {
            let (old, row) = (self.package(old), self.package(new));
            let host = &mut self.hosts[index];
            host.packages[slot] = new;
            host.take(Table::DebPackages, &old, at, out);
            host.put(Table::DebPackages, row, at);
        }
    }

    fn set_patch(&mut self, host: usize, patch: u64, at: u64, out: &mut Out) {
        let host = &mut self.hosts[host];
        if host.patch != patch {
            host.take(Table::OsVersion, &tables::os_version(host.patch), at, out);
            host.patch = patch;
            host.put(Table::OsVersion, tables::os_version(patch), at);
        }
    }

    fn upgrade_agent(&mut self, index: usize, at: u64, out: &mut Out) {
        let versions = self.options.versions.iter().map(|(text, _)| Version::parse(text));
        let host = &mut self.hosts[index];
        if let Some(newer) = versions.filter(|version| *version > host.version).min() {
            host.version = newer;
            host.start_agent(at, out);
        }
    }

    /// The disk is put back to what it was, and the machine starts again.
    pub(super) fn restore(&mut self, index: usize, disk: Disk, at: u64, out: &mut Out) {
        for slot in 0..disk.packages.len() {
            self.set_package(index, slot, disk.packages[slot], at, out);
        }
        self.set_patch(index, disk.patch, at, out);
        let sticks: Vec<u32> = self.hosts[index].plugged.iter().map(|plugged| plugged.stick).collect();
        sticks.into_iter().for_each(|stick| self.pull(index, stick, at, out));
        let host = &mut self.hosts[index];
        for person in std::mem::replace(&mut host.staff, disk.staff.clone()) {
            host.take(Table::Users, &person.row, at, out);
        }
        for person in disk.staff {
            host.put(Table::Users, person.row, at);
        }
        for session in std::mem::take(&mut host.sessions) {
            host.take(Table::LoggedInUsers, &session, at, out);
        }
        let daemons: Vec<usize> = host.running.iter().filter_map(|process| process.daemon).collect();
        for process in host.running.clone() {
            host.exit(process.pid, at, out);
        }
        host.events.clear();
        daemons.into_iter().for_each(|daemon| host.start_daemon(daemon, at, out));
        host.start_agent(at, out);
    }

    /// Writes what is still true at the end.
    pub(super) fn close(&self, out: &mut Out) {
        self.hosts.iter().for_each(|host| host.close(out));
    }
}

/// Fills in a command line.
fn fill(template: &str, home: &str, rng: &mut Rng) -> Vec<u8> {
    let mut line = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        line.extend_from_slice(&rest.as_bytes()[..at]);
        let (slot, after) = rest[at..].split_at(3.min(rest.len() - at));
        match slot {
            "{n}" => line.extend_from_slice(rng.below(100_000).to_string().as_bytes()),
            "{w}" => line.extend_from_slice(rng.pick(text::WORDS).as_bytes()),
            "{p}" => line.extend_from_slice(rng.pick(text::PROJECTS).as_bytes()),
            "{o}" => line.extend_from_slice(rng.pick(text::ODD)),
            "{h}" => line.extend_from_slice(home.as_bytes()),
            other => line.extend_from_slice(other.as_bytes()),
        }
        rest = after;
    }
    line.extend_from_slice(rest.as_bytes());
    line
}
