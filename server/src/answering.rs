//! A question is answered from a view: rows go out in parts as they are found, then comes the end.
//!
//! Invariants:
//! - Answers say what the engine says, field by field.
//! - While a part waits to be sent nothing of the store is locked.
//! - Of a question to all hosts only some streams' rows are in memory at a time.

use crate::stats::Stats;
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::HistoryRow;
use erstwhile_engine::read::question::{HistoryQuestion, LookupKey, LookupQuestion, QuestionFault};
use erstwhile_engine::read::rows::Rows;
use erstwhile_engine::read::stats::StatsQuestion;
use erstwhile_engine::read::view::View;
use erstwhile_wire::answer::{Done, LinkEnd};
use erstwhile_wire::failure::{Code, Failure};
use erstwhile_wire::frame::{self, HEADER_BYTES, kind};
use erstwhile_wire::part::{self, Entries, Entry};
use erstwhile_wire::request::{Key, Lookup, Question};
use erstwhile_wire::weight;
use std::cell::RefCell;

/// A part is sent when it has about so many bytes.
const PART_BYTES: usize = 256 << 10;

/// Room for so many is made at once; a longer frame grows.
const FRAME_BYTES: usize = 64 << 10;

/// Entries of lists in a part.
const LIST_ENTRIES: usize = 1000;

/// How much a question may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// About as much as one host's table has: it is answered where it is read.
    Light,
    /// As much as the store has: it waits for its turn.
    Heavy,
}

/// How much a question may cost.
pub fn weight(question: &Question<'_>) -> Weight {
    match question {
        Question::State(q) if q.host.is_some() => Weight::Light,
        Question::Who(_) | Question::What(_) | Question::Diff(_) | Question::Stats => Weight::Light,
        Question::History(q) | Question::Events(q) if q.host.is_some() && q.from.is_some() && q.to.is_some() => {
            Weight::Light
        }
        Question::Lookup(q) if q.keys.len() <= LIST_ENTRIES => Weight::Light,
        _ => Weight::Heavy,
    }
}

/// Takes a whole frame.
pub type Send<'s> = &'s mut dyn FnMut(Vec<u8>) -> Result<(), Failure>;

/// Where parts of one answer go.
struct Parts<'s> {
    id: u32,
    answer_bytes_max: usize,
    send: Send<'s>,
}

impl Parts<'_> {
    /// Sends entries, in as many parts as they need.
    fn entries<'e, E: Entry + 'e>(&mut self, entries: impl Iterator<Item = &'e E>) -> Result<(), Failure> {
        let most = self.answer_bytes_max.min(PART_BYTES);
        let mut some = Entries::default();
        some.reserve(entries.size_hint().0.min(LIST_ENTRIES));
        for entry in entries {
            let more = Entries::bytes_of(entry);
            if !some.is_empty() && some.bytes() + more > most {
                self.put(some.bytes(), |out| some.encode(out))?;
            }
            if some.bytes() + more > self.answer_bytes_max {
                let text = format!(
                    "a row of the answer may take {more} bytes, and the client takes {}; let it take more",
                    self.answer_bytes_max
                );
                return Err(Failure::new(Code::RowTooLong, text));
            }
            some.push(entry);
        }
        if some.is_empty() { Ok(()) } else { self.put(some.bytes(), |out| some.encode(out)) }
    }

    /// Sends versions and events as they come: a table has the one or the other, or first the one and then the other.
    fn history(&mut self, rows: &[HistoryRow]) -> Result<(), Failure> {
        let is_event = |row: &HistoryRow| matches!(row, HistoryRow::Event(_));
        let (versions, events) = rows.split_at(rows.partition_point(|row| !is_event(row)));
        self.entries(versions.iter().filter_map(|row| match row {
            HistoryRow::Version(version) => Some(&**version),
            HistoryRow::Event(_) => None,
        }))?;
        self.entries(events.iter().filter_map(|row| match row {
            HistoryRow::Event(event) => Some(&**event),
            HistoryRow::Version(_) => None,
        }))
    }

    /// Sends entries of a list, about so many a part.
    fn list<T>(&mut self, entries: &[T], put: impl Fn(&[T], &mut Vec<u8>)) -> Result<(), Failure> {
        let mut rest = entries;
        let mut most = LIST_ENTRIES;
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(most)];
            let frame = self.frame(0, |out| put(some, out));
            if frame.len() > self.answer_bytes_max + HEADER_BYTES && some.len() > 1 {
                most = some.len().div_ceil(2);
                continue;
            }
            if frame.len() > self.answer_bytes_max + HEADER_BYTES {
                let text = format!("an entry of the answer takes {} bytes; let the client take more", frame.len());
                return Err(Failure::new(Code::RowTooLong, text));
            }
            (self.send)(frame)?;
            rest = &rest[some.len()..];
        }
        Ok(())
    }

    /// A frame of about so many bytes at most.
    fn frame(&self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + bytes.min(FRAME_BYTES));
        frame::put(&mut out, kind::PART, self.id, write);
        out
    }

    fn put(&mut self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Failure> {
        let frame = self.frame(bytes, write);
        (self.send)(frame)
    }
}

/// The failure that an error of the engine is to a client.
pub fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Corrupt(_) | Error::Backup(_) | Error::Version(_) => Code::Damage,
        Error::Io { .. } | Error::Locked { .. } | Error::Poisoned { .. } => Code::Failed,
        Error::Misuse(Misuse::Sequence { .. }) => Code::Sequence,
        Error::Misuse(Misuse::Stopped) => Code::Cancelled,
        Error::Misuse(_) => Code::Usage,
    };
    Failure::new(code, error.to_string())
}

/// What answers say of the server beside the view.
#[derive(Clone, Copy)]
pub struct About<'s> {
    /// What it says of itself.
    pub stats: &'s dyn Fn() -> Stats,
    /// How many segments of like size it merges into one.
    pub merge_fanout: usize,
}

/// Of a server that merges as servers do if nothing else is chosen.
impl<'s, F: Fn() -> Stats> From<&'s F> for About<'s> {
    fn from(stats: &'s F) -> About<'s> {
        About { stats, merge_fanout: Options::default().merge_fanout }
    }
}

/// Answers a question about a view: parts are sent, and the end is returned.
pub fn answer<'s>(
    view: &View,
    question: &Question<'_>,
    id: u32,
    answer_bytes_max: usize,
    about: impl Into<About<'s>>,
    send: Send<'_>,
) -> Result<Done, Failure> {
    let about = about.into();
    let mut parts = Parts { id, answer_bytes_max, send };
    let failed = |error: Error| failure(&error);
    Ok(match question {
        Question::State(q) => {
            // Why sending failed, which the engine hands back as that it was stopped.
            let stopped = RefCell::new(None);
            // The threads that read rows write them down too.
            let write = |rows: Rows| {
                let mut frames = Vec::new();
                let mut take = |frame| {
                    frames.push(frame);
                    Ok(())
                };
                let written = Parts { id, answer_bytes_max, send: &mut take }.entries(rows.into_held().iter());
                (frames, written)
            };
            let state = view.state_made(q, write, |(frames, written)| {
                frames.into_iter().try_for_each(&mut *parts.send).and(written).map_err(|failure| {
                    *stopped.borrow_mut() = Some(failure);
                    Misuse::Stopped.into()
                })
            });
            let state = state.map_err(|error| stopped.take().unwrap_or_else(|| failed(error)))?;
            let (table, at, known_at) = (state.table, state.at, state.known_at);
            Done::State { table, at, known_at, coverage: state.coverage, cost: state.cost }
        }
        Question::Who(q) => {
            let who = view.who(q).map_err(failed)?;
            parts.entries(who.rows.iter())?;
            let (question, at, known_at) = (who.question, who.at, who.known_at);
            Done::Who { question, at, known_at, coverage: who.coverage, cost: who.cost }
        }
        Question::What(q) => {
            let what = view.what(q).map_err(failed)?;
            let mut links = Vec::new();
            for link in &what.links {
                parts.entries(link.rows.iter())?;
                links.push(LinkEnd { table: link.table.clone(), rows: link.rows.len() as u64, missing: link.missing });
            }
            Done::What {
                question: what.question,
                at: what.at,
                known_at: what.known_at,
                verdict: what.verdict,
                links,
                coverage: what.coverage,
                cost: what.cost,
            }
        }
        Question::History(q) => history(view, q, false, &mut parts)?,
        Question::Events(q) => {
            let settings = view.settings(view.bound(q.known_at), &mut Default::default()).map_err(failed)?;
            if !settings.catalogue.is_evented(&q.table) {
                let table = String::from_utf8_lossy(&q.table);
                let text = format!("{table} holds no events; ask for its history, or for its state");
                return Err(Failure::new(Code::Usage, text));
            }
            history(view, q, true, &mut parts)?
        }
        Question::Diff(q) => {
            let diff = view.diff(q).map_err(failed)?;
            parts.entries(diff.rows.iter())?;
            Done::Diff {
                table: diff.table,
                host: diff.host,
                from: diff.from,
                to: diff.to,
                known_at: diff.known_at,
                cost: diff.cost,
            }
        }
        Question::Hosts(q) => {
            parts.list(&view.list_hosts(q).map_err(failed)?, part::put_hosts)?;
            Done::Plain(kind::HOSTS)
        }
        Question::Tables(q) => {
            parts.list(&view.list_tables(q).map_err(failed)?, part::put_tables)?;
            Done::Plain(kind::TABLES)
        }
        Question::Coverage(q) => {
            parts.list(&view.list_streams(q).map_err(failed)?, part::put_streams)?;
            Done::Plain(kind::COVERAGE)
        }
        Question::Stats => Done::Stats((about.stats)().all()),
        Question::Lookup(q) => lookup(view, q, &mut parts)?,
        Question::Weigh(q) => weigh(view, q, about.merge_fanout, &mut parts)?,
    })
}

fn weigh(view: &View, q: &StatsQuestion, merge_fanout: usize, parts: &mut Parts<'_>) -> Result<Done, Failure> {
    let mut weighed = view.stats(q, merge_fanout).map_err(|error| failure(&error))?;
    let tables: Vec<_> = std::mem::take(&mut weighed.tables).into_iter().collect();
    parts.list(&tables, weight::put_tables)?;
    parts.list(&std::mem::take(&mut weighed.silent), weight::put_silent)?;
    parts.list(&weighed.holes.take().unwrap_or_default(), weight::put_holes)?;
    Ok(Done::Weigh(weighed))
}

fn history(view: &View, q: &HistoryQuestion, events: bool, parts: &mut Parts<'_>) -> Result<Done, Failure> {
    let stopped = RefCell::new(None);
    let history = view.history_in_parts(q, |rows| {
        parts.history(&rows).map_err(|failure| {
            *stopped.borrow_mut() = Some(failure);
            Misuse::Stopped.into()
        })
    });
    let history = history.map_err(|error| stopped.take().unwrap_or_else(|| failure(&error)))?;
    let (table, from, to, known_at, cost) = (history.table, history.from, history.to, history.known_at, history.cost);
    Ok(Done::History { events, table, from, to, known_at, cost })
}

fn lookup(view: &View, q: &Lookup<'_>, parts: &mut Parts<'_>) -> Result<Done, Failure> {
    let settings = view.settings(view.bound(q.known_at), &mut Default::default()).map_err(|error| failure(&error))?;
    if settings.catalogue.is_evented(&q.table) {
        let fault = QuestionFault::Evented { table: q.table.clone() };
        return Err(failure(&Misuse::Question(fault).into()));
    }
    let key = |key| {
        let &Key { host, value, at } = key;
        LookupKey { host: q.hosts[host], value, at }
    };
    let keys = q.keys.iter().map(key).collect();
    let (table, column) = (q.table.clone(), q.column.clone());
    let found = view.lookup(&LookupQuestion { table, column, keys, known_at: q.known_at });
    let found = found.map_err(|error| failure(&error))?;
    parts.entries(found.versions.iter().map(|version| &**version))?;
    parts.list(&found.hits, part::put_hits)?;
    Ok(Done::Lookup(found.cost))
}
