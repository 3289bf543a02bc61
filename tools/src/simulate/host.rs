//! One machine: its tables as they are now, its processes, its agent, its clock.
//!
//! Invariants:
//! - A row is in a table from [`Host::put`] to [`Host::take`], and exactly then in `truth/world.ndjson`.
//! - A table's revision changes whenever its rows do, and never comes back.

use super::rng::Rng;
use super::row::Row;
use super::sticks::Plugged;
use super::tables::{self, Process, TABLES, Table};
use super::text;
use super::truth::Out;
use super::wire::{Version, Voice};

/// A row that is there now.
#[derive(Clone, Debug)]
struct Live {
    row: Row,
    from: u64,
}

/// A table of a host as it is now.
#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<Live>,
    rows: Vec<Row>,
    revision: u64,
}

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) uid: u64,
    pub(super) name: String,
    pub(super) row: Row,
}

/// A process that is not the kernel's.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) pid: u64,
    pub(super) row: Row,
    /// Which daemon, if any.
    pub(super) daemon: Option<usize>,
}

/// What a disk holds, as a VM snapshot keeps it.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) staff: Vec<Person>,
    pub(super) packages: Vec<(usize, u64)>,
    pub(super) patch: u64,
}

/// One machine.
pub(super) struct Host {
    pub(super) voice: Voice,
    pub(super) version: Version,
    pub(super) image: &'static text::Image,
    pub(super) rng: Rng,
    /// What the host's clock is ahead of the true one.
    pub(super) skew: i64,
    pub(super) skew_from: u64,
    pub(super) staff: Vec<Person>,
    pub(super) running: Vec<Running>,
    pub(super) packages: Vec<(usize, u64)>,
    pub(super) patch: u64,
    pub(super) pid: u64,
    pub(super) events: Vec<Row>,
    pub(super) agent: (u64, Row),
    pub(super) lease: Option<(u32, Row)>,
    pub(super) plugged: Vec<Plugged>,
    pub(super) sessions: Vec<Row>,
    pub(super) sockets: Vec<Row>,
    tables: Vec<Content>,
}

impl Host {
    /// A machine without rows.
    pub(super) fn new(voice: Voice, version: Version, image: &'static text::Image, rng: Rng, start: u64) -> Host {
        let agent = (0, tables::osquery_info(1, "", "", 0));
        Host {
            voice,
            version,
            image,
            rng,
            skew: 0,
            skew_from: start,
            staff: Vec::new(),
            running: Vec::new(),
            packages: Vec::new(),
            patch: 0,
            pid: 300,
            events: Vec::new(),
            agent,
            lease: None,
            plugged: Vec::new(),
            sessions: Vec::new(),
            sockets: Vec::new(),
            tables: vec![Content::default(); TABLES.len()],
        }
    }

    /// The host's clock at a true second.
    pub(super) fn clock(&self, at: u64) -> u64 {
        at.saturating_add_signed(self.skew)
    }

    /// The rows of a table now, and a number that changes with them.
    pub(super) fn rows(&self, table: Table) -> (&[Row], u64) {
        let content = &self.tables[table as usize];
        (&content.rows, content.revision)
    }

    /// A row appears.
    pub(super) fn put(&mut self, table: Table, row: Row, at: u64) {
        let content = &mut self.tables[table as usize];
        content.revision += 1;
        content.rows.push(row.clone());
        content.live.push(Live { row, from: at });
    }

    /// One copy of a row disappears, if there is one.
    pub(super) fn take(&mut self, table: Table, row: &Row, at: u64, out: &mut Out) {
        let content = &mut self.tables[table as usize];
        let Some(found) = content.rows.iter().rposition(|live| live == row) else {
            return;
        };
        content.revision += 1;
        content.rows.remove(found);
        let live = content.live.remove(found);
        out.row(&self.voice.host, table, &live.row, live.from, Some(at));
    }

    /// Whether the machine sleeps: some portable ones at night.
    pub(super) fn asleep(&self, at: u64) -> bool {
        let night = (at + 3 * 3600) / 86_400;
        let bedtime = !(6..21).contains(&(at / 3600 % 24));
        let lot = (self.voice.uuid.bytes().map(u64::from).sum::<u64>() + night * 7) % 10;
        self.image.portable && bedtime && lot < 7
    }

    /// A pid that was not used before.
    pub(super) fn next_pid(&mut self) -> u64 {
        self.pid += 1 + self.rng.below(9);
        self.pid
    }

    /// Starts a process: the row, and the event if the host is audited.
    pub(super) fn start(&mut self, mut process: Process<'_>, daemon: Option<usize>, at: u64, out: &mut Out) -> u64 {
        process.pid = self.next_pid();
        let row = process.row();
        self.running.push(Running { pid: process.pid, row: row.clone(), daemon });
        self.put(Table::Processes, row, at);
        if daemon.is_none() {
            let event = process.event();
            out.event(&self.voice.host, Table::ProcessEvents, &event, at);
            self.events.push(event);
        }
        process.pid
    }

    /// Starts a daemon with its sockets.
    pub(super) fn start_daemon(&mut self, daemon: usize, at: u64, out: &mut Out) {
        let (name, path, cmdline, uid, ports) = text::DAEMONS[daemon];
        let start = self.clock(at);
        let process = Process { pid: 0, parent: 1, uid, name, path, cmdline: cmdline.as_bytes(), cwd: "/", start };
        let pid = self.start(process, Some(daemon), at, out);
        for &(protocol, port, address, copies) in ports {
            for _ in 0..copies {
                let row = tables::port(pid, protocol, port, address);
                self.sockets.push(row.clone());
                self.put(Table::ListeningPorts, row, at);
            }
        }
    }

    /// The agent starts: a new pid, maybe a new version.
    pub(super) fn start_agent(&mut self, at: u64, out: &mut Out) {
        let old = self.agent.1.clone();
        self.take(Table::OsqueryInfo, &old, at, out);
        let pid = self.next_pid();
        let row = tables::osquery_info(pid, &self.voice.uuid, &self.version.to_string(), self.clock(at));
        self.agent = (pid, row.clone());
        self.put(Table::OsqueryInfo, row, at);
    }

    /// The clock is set.
    pub(super) fn set_clock(&mut self, skew: i64, at: u64, out: &mut Out) {
        if self.skew_from < at {
            out.clock(&self.voice.host, self.skew, self.skew_from, Some(at));
        }
        (self.skew, self.skew_from) = (skew, at);
    }

    /// Everything that is still there, for the end of the world.
    pub(super) fn close(&self, out: &mut Out) {
        for table in TABLES {
            for live in &self.tables[table as usize].live {
                out.row(&self.voice.host, table, &live.row, live.from, None);
            }
        }
        out.clock(&self.voice.host, self.skew, self.skew_from, None);
    }

    /// A process ends, and its sockets with it.
    pub(super) fn exit(&mut self, pid: u64, at: u64, out: &mut Out) {
        if let Some(found) = self.running.iter().position(|process| process.pid == pid) {
            let process = self.running.remove(found);
            self.take(Table::Processes, &process.row, at, out);
            let ports: Vec<Row> = self.sockets.iter().filter(|row| pid_of(row) == pid).cloned().collect();
            self.sockets.retain(|row| pid_of(row) != pid);
            ports.iter().for_each(|row| self.take(Table::ListeningPorts, row, at, out));
        }
    }

    /// Somebody of the staff.
    pub(super) fn person(&mut self) -> Option<Person> {
        let len = self.staff.len();
        (len > 0).then(|| self.staff[self.rng.index(len)].clone())
    }

    /// What the disk holds now.
    pub(super) fn disk(&self) -> Disk {
        Disk { staff: self.staff.clone(), packages: self.packages.clone(), patch: self.patch }
    }
}

/// The pid in a row of a process or socket.
fn pid_of(row: &Row) -> u64 {
    let pid = row.cells().iter().find(|cell| cell.0 == "pid");
    pid.and_then(|cell| std::str::from_utf8(&cell.1.text()).ok()?.parse().ok()).unwrap_or(0)
}
