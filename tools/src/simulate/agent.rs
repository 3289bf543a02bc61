//! What an agent notices of the world and keeps in its database: per query the rows of its last run, an epoch and a
//! counter. Differentials are honest differences against what is stored, whatever happened to the database.
//!
//! Invariants:
//! - Rows are stored before a line is written, so a lost line leaves its trace in the counter only.
//! - Epoch and counter move as in the agent's generation (per run before 4.5.0, per difference since).
//!
//! Steps of a run: select → escape → compare with the base → store → say.

use super::options::Format;
use super::row::{Row, difference};
use super::tables::{TABLES, Table};
use super::wire::{Version, escape_unprintable};

/// What a run wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Diff,
    Snapshot,
    Event,
}

impl Kind {
    /// The word in the truth.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Diff => "diff",
            Kind::Snapshot => "snapshot",
            Kind::Event => "event",
        }
    }
}

/// One run that wrote something.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) host: u32,
    pub(super) table: Table,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) epoch: u64,
    pub(super) counter: u64,
    /// By the host's clock.
    pub(super) second: u64,
    /// By the true clock.
    pub(super) at: u64,
    pub(super) version: Version,
    pub(super) removed: Vec<Row>,
    pub(super) added: Vec<Row>,
    /// Holds all rows of the query.
    pub(super) full: bool,
    /// An empty line of 5.8.0 or 5.8.1 that means nothing.
    pub(super) noise: bool,
    /// Consumers can tell from what follows that it is missing.
    pub(super) missed: bool,
}

/// What one query has in the database.
#[derive(Clone, Debug, Default)]
struct Stored {
    base: Vec<Row>,
    /// What the world's table was when the base was taken, to save comparing it again.
    seen: Option<(u64, Version, bool)>,
    epoch: u64,
    /// Gone after a purge.
    counter: Option<u64>,
    narrow: bool,
}

/// The database of an agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Database {
    queries: [Option<Stored>; TABLES.len()],
}

/// One agent: its configuration and its database.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// The flag, as the server set it.
    pub(super) epoch: u64,
    pub(super) database: Database,
    /// Queries whose text was changed: they select a column less.
    pub(super) narrow: [bool; TABLES.len()],
    /// Queries that are scheduled as snapshots for now.
    pub(super) snapshot: [bool; TABLES.len()],
    /// Queries that wrote their first look under the present epoch.
    known: [Option<u64>; TABLES.len()],
}

/// The circumstances of a run.
pub(super) struct Run<'a> {
    pub(super) host: u32,
    pub(super) name: String,
    pub(super) table: Table,
    pub(super) format: Format,
    pub(super) version: Version,
    pub(super) second: u64,
    pub(super) at: u64,
    /// The rows there are, or the events since the last run.
    pub(super) rows: &'a [Row],
    /// Changes whenever the rows do.
    pub(super) revision: u64,
}

impl Agent {
    /// A new agent with an empty database.
    pub(super) fn new(epoch: u64) -> Agent {
        let flags = [false; TABLES.len()];
        Agent { epoch, database: Database::default(), narrow: flags, snapshot: flags, known: [None; TABLES.len()] }
    }

    /// Runs one query; `None` if nothing is written.
    pub(super) fn run(&mut self, run: &Run<'_>) -> Option<Look> {
        let query = run.table as usize;
        if run.table == Table::ProcessEvents {
            return self.events(run);
        }
        if run.format == Format::Snapshot || self.snapshot[query] {
            let added = self.select(run, false);
            return Some(self.look(run, Kind::Snapshot, 0, Vec::new(), added, true));
        }
        let seen = Some((run.revision, run.version, self.narrow[query]));
        let counts_runs = run.version < Version(4, 5, 0);
        let stored = self.database.queries[query].as_mut();
        let Some(stored) = stored.filter(|stored| stored.epoch == self.epoch) else {
            return self.first(run, seen);
        };
        let sql_changed = stored.narrow != self.narrow[query];
        if stored.seen == seen && !sql_changed && stored.counter.is_some() {
            if counts_runs {
                stored.counter = stored.counter.map(|counter| counter + 1);
            }
            return self.unchanged(run);
        }
        let rows = self.select(run, true);
        let stored = self.database.queries[query].as_mut()?;
        let found = difference(&stored.base, &rows);
        let (mut added, removed) = (found.added, found.removed);
        if run.version < Version(2, 11, 2) {
            // A further copy of a known row was not seen as new.
            added.retain(|row| !stored.base.contains(row));
        }
        stored.base = found.base;
        stored.seen = seen;
        stored.narrow = self.narrow[query];
        let empty = added.is_empty() && removed.is_empty();
        if sql_changed && run.version < Version(5, 8, 0) {
            stored.counter = Some(0);
        } else if counts_runs || !empty {
            stored.counter = Some(stored.counter.map_or(0, |counter| counter + 1));
        }
        let counter = stored.counter.unwrap_or(0);
        if empty {
            return self.unchanged(run);
        }
        let mut look = self.look(run, Kind::Diff, counter, removed, added, false);
        look.missed = !counts_runs && counter > 0;
        Some(look)
    }

    /// The first run, or the first of a new epoch: all rows.
    fn first(&mut self, run: &Run<'_>, seen: Option<(u64, Version, bool)>) -> Option<Look> {
        let query = run.table as usize;
        let rows = self.select(run, true);
        let base = difference(&[], &rows).base;
        let new_epoch = self.known[query] != Some(self.epoch);
        self.known[query] = Some(self.epoch);
        let narrow = self.narrow[query];
        self.database.queries[query] = Some(Stored { base, seen, epoch: self.epoch, counter: Some(0), narrow });
        let says_empty = run.format == Format::Batch && run.version >= Version(5, 8, 0);
        if rows.is_empty() && !says_empty {
            return None;
        }
        let mut look = self.look(run, Kind::Diff, 0, Vec::new(), rows, true);
        // A missing base shows only where no earlier chain could be taken for it.
        look.missed = new_epoch && run.version >= Version(4, 5, 0);
        Some(look)
    }

    /// A run without change: nothing, but for the two versions that said so wrongly.
    fn unchanged(&self, run: &Run<'_>) -> Option<Look> {
        let noisy = run.format == Format::Batch && (Version(5, 8, 0)..Version(5, 8, 2)).contains(&run.version);
        noisy.then(|| Look { noise: true, ..self.look(run, Kind::Diff, 0, Vec::new(), Vec::new(), false) })
    }

    /// An event query: what came since the last run, with the counters of its generation.
    fn events(&mut self, run: &Run<'_>) -> Option<Look> {
        let query = run.table as usize;
        let rows = self.select(run, true);
        let (empty, tracked) = (rows.is_empty(), run.version >= Version(4, 8, 0));
        let keeps_epoch = run.version >= Version(5, 8, 0);
        let slot = &mut self.database.queries[query];
        let counter = match slot {
            _ if !tracked => 0,
            _ if !keeps_epoch && self.epoch != 0 => 0,
            Some(stored) if keeps_epoch && stored.epoch != self.epoch => {
                stored.epoch = self.epoch;
                if !empty {
                    stored.counter = Some(1);
                }
                1
            }
            Some(stored) => {
                let counter = stored.counter.map_or(0, |counter| counter + 1);
                if !empty {
                    stored.counter = Some(counter);
                }
                counter
            }
            None => {
                let counter = if empty { None } else { Some(u64::from(keeps_epoch)) };
                *slot = Some(Stored { epoch: self.epoch, counter, ..Stored::default() });
                counter.unwrap_or(0)
            }
        };
        let mut look = self.look(run, Kind::Event, counter, Vec::new(), rows, false);
        if !tracked {
            look.epoch = 0;
        }
        (!empty).then_some(look)
    }

    /// The rows as this query and this generation see them.
    fn select(&self, run: &Run<'_>, escaped: bool) -> Vec<Row> {
        let narrow = self.narrow[run.table as usize];
        let row = |row: &Row| {
            let row = if narrow { row.without(narrowed(run.table)) } else { row.clone() };
            if escaped && row.is_odd() { row.map_text(|text| escape_unprintable(text, run.version)) } else { row }
        };
        run.rows.iter().map(row).collect()
    }

    fn look(&self, run: &Run<'_>, kind: Kind, counter: u64, removed: Vec<Row>, added: Vec<Row>, full: bool) -> Look {
        Look {
            host: run.host,
            table: run.table,
            name: run.name.clone(),
            kind,
            epoch: self.epoch,
            counter,
            second: run.second,
            at: run.at,
            version: run.version,
            removed,
            added,
            full,
            noise: false,
            missed: kind != Kind::Diff,
        }
    }

    /// A purge mistakes the keys beside the rows for old queries (agents before 5.19.0).
    pub(super) fn purge(&mut self) {
        for stored in self.database.queries.iter_mut().flatten() {
            stored.counter = None;
            stored.epoch = 0;
        }
    }

    /// Takes a counter back, as a crash does between storing the rows and storing the counter.
    pub(super) fn forget_step(&mut self, table: Table) {
        if let Some(stored) = &mut self.database.queries[table as usize] {
            stored.counter = stored.counter.and_then(|counter| counter.checked_sub(1));
        }
    }
}

/// The column that the changed text of a query leaves out.
pub(super) fn narrowed(table: Table) -> &'static str {
    match table {
        Table::Users => "description",
        Table::InterfaceAddresses => "point_to_point",
        Table::Mounts => "flags",
        Table::BlockDevices => "type",
        Table::UsbDevices => "protocol",
        Table::Processes | Table::ProcessEvents => "cwd",
        Table::ListeningPorts => "path",
        Table::DebPackages | Table::OsVersion => "arch",
        Table::OsqueryInfo => "platform_mask",
        Table::LoggedInUsers => "host",
    }
}
