//! The course of time: one queue of what happens next, over the whole fleet.
//!
//! Invariants:
//! - Within a second the world changes first, then things go wrong, then agents look: a look at a second sees all of it.
//! - The queue holds a bounded number of entries per host, so memory does not grow with the days.
//!
//! Steps: take the earliest entry → let it happen → put what it leads to.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Watch;
use super::agent::{Agent, Database, Kind, Run};
use super::dead::garbage;
use super::delivery::Delivery;
use super::faults::Fault;
use super::host::Disk;
use super::options::{Format, Options};
use super::rng::Rng;
use super::tables::{TABLES, Table};
use super::text;
use super::truth::{Note, Out};
use super::wire::Version;
use super::world::{Change, World};

/// What happens, in the order within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Change(Change),
    Fault(Fault),
    Look(Table),
    Status,
}

/// So many seconds of the fleet's time pass before it is told.
const TELL_SECONDS: u64 = 600;

/// What a VM snapshot holds.
struct Saved {
    at: u64,
    database: Database,
    disk: Disk,
}

/// What one host's agent runs with.
struct Seat {
    agent: Agent,
    rng: Rng,
    /// Seconds between two runs, by table.
    intervals: [u64; TABLES.len()],
    saved: Option<Saved>,
}

/// The fleet in the course of time.
pub(super) struct Timeline<'a> {
    options: &'a Options,
    queue: BinaryHeap<Reverse<(u64, What, u32)>>,
    world: World,
    seats: Vec<Seat>,
    delivery: Delivery,
    fleet_rng: Rng,
}

impl<'a> Timeline<'a> {
    /// The fleet at its first second.
    pub(super) fn new(options: &'a Options, out: &mut Out) -> Timeline<'a> {
        let world = World::new(options, out);
        let names = world.hosts.iter().map(|host| host.voice.host.clone()).collect();
        let mut timeline = Timeline {
            options,
            queue: BinaryHeap::new(),
            world,
            seats: Vec::new(),
            delivery: Delivery::new(options, names),
            fleet_rng: Rng::new(options.seed, 2),
        };
        out.summary.hosts = timeline.world.hosts.len() as u64;
        for host in 0..timeline.world.hosts.len() as u32 {
            timeline.enlist(host, out);
        }
        if options.faults && !timeline.seats.is_empty() {
            for fault in Fault::OF_FLEET {
                timeline.schedule_fault(fault, 0, options.start);
            }
        }
        timeline
    }

    /// Lets everything happen.
    pub(super) fn run(mut self, out: &mut Out, watch: Watch<'_>) {
        let end = self.options.end();
        let mut told = self.options.start;
        while let Some(Reverse((at, what, host))) = self.queue.pop() {
            if at >= end || out.files.failed() {
                break;
            }
            if at >= told + TELL_SECONDS {
                watch(at - told);
                told = at;
            }
            match what {
                What::Change(change) => self.change(change, host, at, out),
                What::Fault(fault) => self.fault(fault, host, at, out),
                What::Look(table) => self.look(table, host, at, out),
                What::Status => self.status(host, at, out),
            }
        }
        self.delivery.close(out, end);
        self.world.close(out);
    }

    fn push(&mut self, at: u64, what: What, host: u32) {
        self.queue.push(Reverse((at, what, host)));
    }

    /// A host joins: its agent's configuration, its first runs, its first changes.
    fn enlist(&mut self, host: u32, out: &mut Out) {
        let options = self.options;
        let mut rng = Rng::new(options.seed, 1_000_000_000 + u64::from(host));
        let epoch = rng.pick(&[0, 0, 0, 1, 1, 4, 1_760_000_000, 9_007_199_254_740_995]);
        let splayed = !rng.chance(0.3);
        let mut poll = u64::from(options.poll_seconds.max(10));
        if options.format == Format::Snapshot {
            poll *= 6;
        }
        let first = options.start + 1 + rng.below(poll);
        let mut intervals = [0; TABLES.len()];
        let mut agent = Agent::new(epoch);
        for (slot, table) in TABLES.into_iter().enumerate() {
            let mut interval = poll * u64::from(table.polls(options.slow_polls.max(1)));
            agent.snapshot[slot] = options.snapshots.iter().any(|name| name == table.name());
            if agent.snapshot[slot] && options.format != Format::Snapshot {
                interval *= 6;
            }
            let splay = if splayed { interval / 10 } else { 0 };
            intervals[slot] = interval - splay + rng.below(2 * splay + 1);
            let offset = if splayed { rng.below(poll) } else { 0 };
            self.push(first + offset, What::Look(table), host);
        }
        let status = options.start + rng.wait(7200.0);
        self.push(status, What::Status, host);
        if options.faults {
            let skew = match rng.below(10) {
                0..6 => 0,
                6..9 => rng.between(1, 1800) as i64 - 900,
                _ => rng.between(0, 2 * 86_400) as i64 - 86_400,
            };
            self.world.hosts[host as usize].set_clock(skew, options.start, out);
        }
        self.seats.push(Seat { agent, rng, intervals, saved: None });
        for change in Change::RECURRING {
            let wait = self.world.hosts[host as usize].rng.first_wait(change.mean(options));
            self.push(options.start + wait, What::Change(change), host);
        }
        if options.faults {
            for fault in Fault::OF_HOST {
                self.schedule_fault(fault, host, options.start);
            }
        }
    }

    fn schedule_change(&mut self, change: Change, host: u32, at: u64) {
        let slow = if Options::office_hours(at) { 1.0 } else { 5.0 };
        let wait = self.world.hosts[host as usize].rng.wait(change.mean(self.options) * slow);
        self.push(at + wait, What::Change(change), host);
    }

    fn schedule_fault(&mut self, fault: Fault, host: u32, at: u64) {
        let fleet = Fault::OF_FLEET.contains(&fault);
        let rng = if fleet { &mut self.fleet_rng } else { &mut self.seats[host as usize].rng };
        if let Some(mean) = fault.mean(self.options) {
            let first = at == self.options.start;
            let wait = if first { rng.first_wait(mean) } else { rng.wait(mean).max(30) };
            self.push(at + wait, What::Fault(fault), host);
        }
    }

    fn change(&mut self, change: Change, host: u32, at: u64, out: &mut Out) {
        let recurs = Change::RECURRING.contains(&change);
        if recurs {
            self.schedule_change(change, host, at);
        }
        if recurs && self.world.hosts[host as usize].asleep(at) {
            return;
        }
        if let Some((later, next)) = self.world.change(host as usize, change, at, out) {
            self.push(later, What::Change(next), host);
        }
        if matches!(change, Change::Restart | Change::Upgrade) {
            self.say(host, at, &(0, "init.cpp", 361, "osquery initialized by its service"), out);
        }
    }

    fn status(&mut self, host: u32, at: u64, out: &mut Out) {
        let wait = self.seats[host as usize].rng.wait(3.0 * 3600.0);
        self.push(at + wait, What::Status, host);
        let message = self.seats[host as usize].rng.pick(text::STATUS);
        if !self.world.hosts[host as usize].asleep(at) {
            self.say(host, at, &message, out);
        }
    }

    fn say(&mut self, host: u32, at: u64, message: &(u64, &str, u64, &str), out: &mut Out) {
        let machine = &self.world.hosts[host as usize];
        let second = machine.clock(at);
        let line = machine.voice.status(machine.version, second, message);
        self.delivery.status(out, host, machine.version, (second, at), line);
    }

    /// A query runs.
    fn look(&mut self, table: Table, host: u32, at: u64, out: &mut Out) {
        let seat = &mut self.seats[host as usize];
        self.queue.push(Reverse((at + seat.intervals[table as usize].max(1), What::Look(table), host)));
        let machine = &mut self.world.hosts[host as usize];
        if machine.asleep(at) {
            return;
        }
        let events = if table == Table::ProcessEvents { std::mem::take(&mut machine.events) } else { Vec::new() };
        let (rows, revision) = machine.rows(table);
        let run = Run {
            host,
            name: machine.voice.query(table.name()),
            table,
            format: self.options.format,
            version: machine.version,
            second: machine.clock(at),
            at,
            rows: if table == Table::ProcessEvents { &events } else { rows },
            revision,
        };
        let Some(look) = seat.agent.run(&run) else {
            return;
        };
        let silent = self.options.faults && self.options.silent_losses && look.kind == Kind::Diff;
        if silent && !look.full && seat.rng.chance(0.0003 * self.options.host_rate()) {
            out.fault("crash", at, Some(&machine.voice.host), &[Note::Text("name", &look.name)]);
            seat.agent.forget_step(table);
            return self.delivery.lose_look(out, look);
        }
        let format = if look.kind == Kind::Event && self.options.format == Format::Snapshot {
            Format::Event
        } else {
            self.options.format
        };
        let lines = machine.voice.lines(&look, format);
        self.delivery.look(out, look, lines);
    }

    /// Something goes wrong.
    fn fault(&mut self, fault: Fault, host: u32, at: u64, out: &mut Out) {
        self.schedule_fault(fault, host, at);
        let options = self.options;
        let seat = &mut self.seats[host as usize];
        let machine = &mut self.world.hosts[host as usize];
        let name = machine.voice.host.clone();
        let name = Some(name.as_str());
        // Agents that count runs leave no trace of some faults in their counters.
        let visible = machine.version >= Version(4, 5, 0) || options.silent_losses;
        let offline = self.delivery.is_offline(host);
        match fault {
            Fault::DatabaseLoss if seat.saved.is_none() => {
                out.fault("database-loss", at, name, &[]);
                seat.agent.database = Database::default();
                machine.events.clear();
                self.delivery.drop_buffer(out, host);
            }
            Fault::Save if seat.saved.is_none() && visible && !offline => {
                seat.saved = Some(Saved { at, database: seat.agent.database.clone(), disk: machine.disk() });
                let wait = seat.rng.wait(Fault::span(options));
                self.delivery.be_careful(host);
                self.push(at + wait, What::Fault(Fault::Restore), host);
            }
            Fault::Restore if offline => self.push(at + 60, What::Fault(fault), host),
            Fault::Restore => {
                if let Some(saved) = seat.saved.take() {
                    out.fault("vm-restore", at, name, &[Note::Number("saved", saved.at as i64)]);
                    seat.agent.database = saved.database;
                    self.world.restore(host as usize, saved.disk, at, out);
                }
            }
            Fault::Epoch => {
                seat.agent.epoch += 1;
                out.fault("epoch", at, name, &[Note::Number("epoch", seat.agent.epoch as i64)]);
            }
            Fault::Clock => {
                let skew = match seat.rng.below(6) {
                    0 | 1 => 0,
                    2..5 => seat.rng.between(30, 2400) as i64 - 1200,
                    _ => seat.rng.between(0, 4 * 86_400) as i64 - 2 * 86_400,
                };
                out.fault("clock", at, name, &[Note::Number("skew", skew)]);
                machine.set_clock(skew, at, out);
            }
            Fault::Purge if machine.version < Version(5, 19, 0) && visible && seat.saved.is_none() => {
                out.fault("purge", at, name, &[]);
                seat.agent.purge();
            }
            Fault::Sql if visible => {
                let tables = [Table::Users, Table::Mounts, Table::BlockDevices, Table::UsbDevices, Table::Processes];
                let table = seat.rng.pick(&tables);
                out.fault("sql-change", at, name, &[Note::Text("table", table.name())]);
                seat.agent.narrow[table as usize] ^= true;
            }
            Fault::Mode if options.format != Format::Snapshot => {
                let slot = seat.rng.index(TABLES.len() - 1);
                if !seat.agent.snapshot[slot] {
                    let wait = seat.rng.wait(Fault::span(options));
                    seat.agent.snapshot[slot] = true;
                    out.fault("snapshot-mode", at, name, &[Note::Text("table", TABLES[slot].name())]);
                    self.push(at + wait, What::Fault(Fault::ModeEnd(slot as u8)), host);
                }
            }
            Fault::ModeEnd(slot) => seat.agent.snapshot[slot as usize] = false,
            Fault::Offline if !offline => {
                let wait = seat.rng.wait(Fault::span(options));
                self.delivery.go_offline(host);
                self.push(at + wait, What::Fault(Fault::Online), host);
            }
            Fault::Online => self.delivery.flush(out, host, at, false),
            Fault::Repeat => self.delivery.repeat(out, host, at),
            Fault::Resend => {
                let torn = self.fleet_rng.chance(0.4);
                self.delivery.resend(out, at, torn);
            }
            Fault::Garbage => {
                let host = self.fleet_rng.index(self.seats.len());
                let name = &self.world.hosts[host].voice.host;
                garbage(out, &mut self.fleet_rng, name, at);
            }
            _ => {}
        }
    }
}
