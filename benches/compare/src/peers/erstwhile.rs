//! erstwhile as a library, asked through a view of the closed store.
//!
//! From JSON it goes the way of `erstwhile import` of files: all is durable before it counts as loaded. Loaded from parsed rows it is given deliveries (it takes what
//! changed, not intervals), [`CHUNK_ROWS`] at a time: they are parsed while no clock runs, appended and sealed while one
//! does.
//!
//! Its answers carry more than is compared: verdict, bracket and coverage of every row. `who` also names holders that
//! only the look after T knows; they are left out when answers are compared, and paid for when time is taken. A state's rows
//! are gone over by the threads that read them, as the engine offers.

use crate::answer::{Cells, Rows, Touched};
use crate::error::Result;
use crate::fleet::{Fleet, OPEN_END, Sums, Table, each_delivery};
use crate::measure::{Watch, bytes_below, nanos};
use crate::peer::{Cold, Loaded, Peer, Setting, Source};
use crate::question::Question;
use erstwhile_engine::fact::{Batch, Delivery, Name, Second};
use erstwhile_engine::ingest::import::{ImportOptions, import};
use erstwhile_engine::io::{Clock, DiskStorage, SystemClock};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::{self, Event, HistoryRow, Version, Who};
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, LookupKey, LookupQuestion, StateQuestion, Subject, WhoQuestion,
};
use erstwhile_engine::read::view::View;
use erstwhile_engine::row::{Finder, Row};
use erstwhile_engine::store::{Store, open_view};
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows that are parsed ahead of the clock.
const CHUNK_ROWS: usize = 1 << 20;

/// Rows after which a batch is appended, as an import does.
const BATCH_ROWS: usize = 16 << 10;

/// The peer.
pub(crate) struct Erstwhile {
    directory: PathBuf,
    agent_version: Option<String>,
    asking: Option<Asking>,
}

/// What questions need.
struct Asking {
    view: View,
    hosts: Vec<Name>,
    tables: HashMap<String, Table>,
    users: Name,
    processes: Name,
    events: Name,
}

impl Erstwhile {
    pub(crate) fn new(setting: &Setting) -> Erstwhile {
        let directory = setting.directory.join("store");
        Erstwhile { directory, agent_version: setting.agent_version.clone(), asking: None }
    }

    fn store(&self) -> Result<(Store, Arc<dyn Clock>)> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let storage = Arc::new(DiskStorage::open(&self.directory, true)?);
        Ok((Store::open(storage, clock.clone(), Options { logs: false, ..Options::bulk() }, "compare")?, clock))
    }

    fn view(&self) -> Result<View> {
        let storage = DiskStorage::open(&self.directory, false)?;
        Ok(open_view(&storage, Options::default().cache_bytes_max)?)
    }

    fn import_options(&self) -> ImportOptions {
        ImportOptions { agent_version: self.agent_version.clone(), ..ImportOptions::default() }
    }

    fn load_rows(&self, fleet: &Fleet) -> Result<Loaded> {
        let (store, _) = self.store()?;
        let mut loaded = Loaded::default();
        let add = |loaded: &mut Loaded, more: Loaded| {
            loaded.seconds += more.seconds;
            loaded.cpu_seconds += more.cpu_seconds;
        };
        let mut chunk: Vec<Delivery> = Vec::new();
        let mut rows = 0;
        let mut append = |chunk: &mut Vec<Delivery>| -> Result<()> {
            let mut batches = vec![Batch::default()];
            let mut rows = 0;
            for delivery in chunk.drain(..) {
                rows += delivery.removed.len() + delivery.added.len() + 1;
                batches.last_mut().expect("there is one").deliveries.push(delivery);
                if rows >= BATCH_ROWS {
                    batches.push(Batch::default());
                    rows = 0;
                }
            }
            let watch = Watch::start(None);
            for batch in batches {
                store.append(batch, None)?;
            }
            store.flush()?;
            add(&mut loaded, watch.stop());
            Ok(())
        };
        each_delivery(&fleet.log, |delivery| {
            rows += delivery.removed.len() + delivery.added.len() + 1;
            chunk.push(delivery);
            if rows >= CHUNK_ROWS {
                append(&mut chunk)?;
                rows = 0;
            }
            Ok(())
        })?;
        append(&mut chunk)?;
        let watch = Watch::start(None);
        store.compact_if_due()?;
        store.close()?;
        add(&mut loaded, watch.stop());
        Ok(loaded)
    }

    fn load_json(&self, fleet: &Fleet) -> Result<Loaded> {
        let log = (fleet.log.display().to_string(), File::open(&fleet.log)?);
        let watch = Watch::start(None);
        let (store, clock) = self.store()?;
        let imported = import(&store, &clock, [log], &self.import_options(), |_, _| {})?;
        store.compact_if_due()?;
        store.close()?;
        let loaded = watch.stop();
        match imported.faults.first() {
            Some(fault) => Err(fault.to_string().into()),
            None => Ok(loaded),
        }
    }
}

impl Peer for Erstwhile {
    fn version(&mut self) -> Result<String> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn load(&mut self, fleet: &Fleet, source: Source) -> Result<Loaded> {
        match source {
            Source::Json => self.load_json(fleet),
            Source::Rows => self.load_rows(fleet),
        }
    }

    fn disk_bytes(&mut self) -> Result<u64> {
        bytes_below(&self.directory)
    }

    fn sums(&mut self, _: &Fleet) -> Result<Option<Vec<Sums>>> {
        Ok(None)
    }

    fn prepare(&mut self, fleet: &Fleet) -> Result<()> {
        self.asking = Some(Asking {
            view: self.view()?,
            hosts: fleet.hosts.iter().map(|host| Name::from(host.as_bytes())).collect(),
            tables: fleet.tables.iter().map(|table| (table.name.clone(), table.clone())).collect(),
            users: Name::from(&b"users"[..]),
            processes: Name::from(&b"processes"[..]),
            events: Name::from(&b"process_events"[..]),
        });
        Ok(())
    }

    fn ask(&mut self, question: &Question, rows: &mut Rows) -> Result<()> {
        let asking = self.asking.as_ref().ok_or("not prepared")?;
        match rows {
            Rows::Kept(kept) => asking.ask(question, kept).map(drop),
            Rows::Touched(touched) => asking.ask(question, touched).map(drop),
        }
    }

    fn cold(&mut self, question: &Question) -> Result<Option<Cold>> {
        let begun = nanos();
        let view = self.view()?;
        let opened = nanos();
        let asking = self.asking.as_mut().ok_or("not prepared")?;
        let warm = std::mem::replace(&mut asking.view, view);
        let mut touched = Touched::default();
        let cost = asking.ask(question, &mut touched);
        let answered = nanos();
        asking.view = warm;
        let answer::Cost { rows_decoded, bytes_read, bytes_verified, .. } = cost?;
        let (open_nanos, nanos) = (opened - begun, answered - opened);
        Ok(Some(Cold { rows: touched.both().0, rows_decoded, bytes_read, bytes_verified, open_nanos, nanos }))
    }
}

impl Asking {
    fn ask<C: Cells>(&self, question: &Question, cells: &mut C) -> Result<answer::Cost> {
        match question {
            Question::Ip { address, at } => {
                let who = self.who(Subject::Ip(Name::from(address.as_bytes())), *at, None)?;
                for held in who.rows.iter().filter(|held| !C::KEPT || holds(&held.version, *at)) {
                    cells.text(&held.version.host);
                    self.times(&held.version, "interface_addresses", cells);
                    cells.end();
                }
                Ok(who.cost)
            }
            Question::Uid { host, uid, at } => {
                let uid = Name::from(uid.to_string().as_bytes());
                let who = self.who(Subject::Uid(uid), *at, Some(self.host(*host)))?;
                for held in who.rows.iter().filter(|held| !C::KEPT || holds(&held.version, *at)) {
                    cells.text(held.version.row.get(b"username").unwrap_or_default());
                    self.times(&held.version, "users", cells);
                    cells.end();
                }
                Ok(who.cost)
            }
            Question::Processes { host, at } => self.state(&self.processes, *at, Some(self.host(*host)), cells),
            Question::Users { at } => self.state(&self.users, *at, None, cells),
            Question::Diff { host, from, to } => {
                let question = DiffQuestion {
                    table: self.processes.clone(),
                    host: self.host(*host),
                    stream: None,
                    from: *from,
                    to: *to,
                    known_at: None,
                };
                let diff = self.view.diff(&question)?;
                for change in &diff.rows {
                    for _ in 0..change.count {
                        cells.int(i64::from(change.added));
                        self.columns(&change.row, "processes", cells);
                        cells.end();
                    }
                }
                Ok(diff.cost)
            }
            Question::Events { host, from, to } => self.events(self.host(*host), *from, *to, cells),
        }
    }

    fn events(&self, host: Name, from: i64, to: i64, cells: &mut impl Cells) -> Result<answer::Cost> {
        let question = HistoryQuestion {
            table: self.events.clone(),
            host: Some(host.clone()),
            stream: None,
            wheres: Vec::new(),
            from: Some(from),
            to: Some(to),
            known_at: None,
        };
        let history = self.view.history(&question)?;
        let mut columns = Finder::new([b"cmdline", b"pid", b"uid"]);
        let events: Vec<(&Event, [&[u8]; 3])> = history
            .rows
            .iter()
            .filter_map(event)
            .map(|event| {
                let [cmdline, pid, uid] = columns.texts(&event.row).map(Option::unwrap_or_default);
                (event, [pid, cmdline, uid])
            })
            .collect();
        let (table, column) = (self.users.clone(), Name::from(&b"uid"[..]));
        let keys =
            events.iter().map(|&(event, [.., value])| LookupKey { host: &host, value, at: event.time }).collect();
        let found = self.view.lookup(&LookupQuestion { table, column, keys, known_at: None })?;
        let users: Vec<(&Version, &[u8])> =
            found.versions.iter().map(|user| (&**user, user.row.get(b"username").unwrap_or_default())).collect();
        let mut joined = vec![false; events.len()];
        let mut row = |(event, columns): &(&Event, [&[u8]; 3]), user: Option<(&Version, &[u8])>| {
            for _ in 0..event.count {
                cells.int(event.time);
                columns.iter().for_each(|text| cells.text(text));
                match user {
                    Some((version, name)) => {
                        cells.text(name);
                        self.times(version, "users", cells);
                    }
                    None => (0..3).for_each(|_| cells.null()),
                }
                cells.end();
            }
        };
        for hit in &found.hits {
            let user = users[hit.version];
            if holds(user.0, events[hit.key].0.time) {
                row(&events[hit.key], Some(user));
                joined[hit.key] = true;
            }
        }
        for (event, _) in events.iter().zip(joined).filter(|(_, joined)| !joined) {
            row(event, None);
        }
        let mut cost = found.cost;
        cost.add(&history.cost);
        Ok(cost)
    }

    fn host(&self, host: u32) -> Name {
        self.hosts[host as usize].clone()
    }

    fn who(&self, subject: Subject, at: Second, host: Option<Name>) -> Result<Who> {
        Ok(self.view.who(&WhoQuestion { subject, at, host, known_at: None })?)
    }

    /// The rows of a table at T, gone over by the threads that read them; those of all hosts begin with the host.
    fn state<C: Cells>(&self, table: &Name, at: Second, host: Option<Name>, cells: &mut C) -> Result<answer::Cost> {
        let question =
            StateQuestion { table: table.clone(), at, host, stream: None, wheres: Vec::new(), known_at: None };
        let name = std::str::from_utf8(table)?;
        let take = |part: erstwhile_engine::read::rows::Rows| {
            let mut cells = C::default();
            part.iter().for_each(|held| {
                if question.host.is_none() {
                    cells.text(held.host);
                }
                self.columns(held.row, name, &mut cells);
                cells.int(held.from);
                cells.to(held.to.unwrap_or(OPEN_END));
                self.copies(held.version, name, &mut cells);
                cells.end();
            });
            cells
        };
        let state = self.view.state_made(&question, take, |part| {
            cells.append(part);
            Ok(())
        })?;
        Ok(state.cost)
    }

    fn columns<C: Cells>(&self, row: &Row, table: &str, cells: &mut C) {
        if !C::KEPT {
            row.columns().for_each(|(_, text)| cells.text(text));
            return;
        }
        let mut texts = row.columns().peekable();
        for column in &self.tables[table].columns {
            match texts.next_if(|(name, _)| *name == column.name.as_bytes()) {
                Some((_, text)) => cells.text(text),
                None => cells.null(),
            }
        }
    }

    fn times<C: Cells>(&self, version: &Version, table: &str, cells: &mut C) {
        cells.int(version.from);
        cells.to(version.to.unwrap_or(OPEN_END));
        self.copies(version, table, cells);
    }

    fn copies<C: Cells>(&self, version: &Version, table: &str, cells: &mut C) {
        if C::KEPT && self.tables[table].copies {
            cells.int(version.count as i64);
        }
    }
}

fn event(row: &HistoryRow) -> Option<&Event> {
    match row {
        HistoryRow::Event(event) => Some(event),
        HistoryRow::Version(_) => None,
    }
}

fn holds(version: &Version, at: i64) -> bool {
    version.from <= at && version.to.is_none_or(|to| at < to)
}
