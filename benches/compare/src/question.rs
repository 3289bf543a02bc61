//! What is asked of every peer, drawn from what a log holds, and what the right answers are.
//!
//! Invariants:
//! - The same log, seed and number give the same questions.
//! - The right answers come from one scan of the interval rows by the plainest rule; no peer takes part in them.
//!
//! Steps: [`Draw`] sees every row while intervals are made → [`Draw::questions`] → [`answered`] scans the files.

use crate::answer::Rows;
use crate::error::Result;
use crate::fleet::{Fleet, Interval, OPEN_END, Table, Type};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A question. A host is its number in [`Fleet::hosts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Which host had the address at T: host, from, to.
    Ip { address: String, at: i64 },
    /// Which user had the uid on the host at T: username, from, to.
    Uid { host: u32, uid: i64, at: i64 },
    /// `processes` of the host at T: all columns, from, to.
    Processes { host: u32, at: i64 },
    /// `users` of all hosts at T: host, all columns, from, to.
    Users { at: i64 },
    /// The net difference of `processes` of the host: 1 for added or 0, all columns.
    Diff { host: u32, from: i64, to: i64 },
    /// `process_events` of the host in a span, each with the user of its uid at its own time: time, pid, cmdline, uid,
    /// username, the user's from, to; without a user the last three are null.
    Events { host: u32, from: i64, to: i64 },
}

/// The kinds of questions, in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Ask {
    Ip,
    Uid,
    Processes,
    Users,
    Diff,
    Events,
}

impl Ask {
    pub(crate) const ALL: [Ask; 6] = [Ask::Ip, Ask::Uid, Ask::Processes, Ask::Users, Ask::Diff, Ask::Events];

    /// What it is called in the table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Ask::Ip => "address → host at T",
            Ask::Uid => "uid → user on a host at T",
            Ask::Processes => "processes of a host at T",
            Ask::Users => "users of all hosts at T",
            Ask::Diff => "diff of a host's processes",
            Ask::Events => "a day of a host's process_events ⋈ users",
        }
    }

    /// Its name in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Ask::Ip => "who_ip",
            Ask::Uid => "who_uid",
            Ask::Processes => "state_processes",
            Ask::Users => "state_users_fleet",
            Ask::Diff => "diff_processes",
            Ask::Events => "events_join_users",
        }
    }

    /// Why a log cannot be asked this.
    pub(crate) fn lacks(self, fleet: &Fleet) -> Option<String> {
        let needs: &[(&str, &[(&str, bool)])] = match self {
            Ask::Ip => &[("interface_addresses", &[("address", false)])],
            Ask::Uid => &[("users", &[("uid", true), ("username", false)])],
            Ask::Processes | Ask::Diff => &[("processes", &[])],
            Ask::Users => &[("users", &[])],
            Ask::Events => &[
                ("process_events", &[("time", true), ("pid", true), ("cmdline", false), ("uid", true)]),
                ("users", &[("uid", true), ("username", false)]),
            ],
        };
        for (name, columns) in needs {
            let Some(table) = fleet.table(name) else { return Some(format!("the log has no {name}")) };
            for &(column, number) in *columns {
                match table.column(column) {
                    None => return Some(format!("{name} has no column {column}")),
                    Some(found) if number && found.kind == Type::Text => {
                        return Some(format!("{name}.{column} is not always a number"));
                    }
                    Some(found) if found.nullable => return Some(format!("{name}.{column} is sometimes missing")),
                    Some(_) => {}
                }
            }
            if self == Ask::Diff && table.copies {
                return Some("processes has equal rows, which the SQL of this question does not count".to_owned());
            }
        }
        None
    }
}

impl Question {
    pub(crate) fn ask(&self) -> Ask {
        match self {
            Question::Ip { .. } => Ask::Ip,
            Question::Uid { .. } => Ask::Uid,
            Question::Processes { .. } => Ask::Processes,
            Question::Users { .. } => Ask::Users,
            Question::Diff { .. } => Ask::Diff,
            Question::Events { .. } => Ask::Events,
        }
    }

    /// An answer as it is compared.
    pub(crate) fn canonical(&self, rows: Rows) -> Vec<String> {
        if self.ask() == Ask::Diff { rows.net() } else { rows.sorted() }
    }
}

/// A question with its right answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) answer: Vec<String>,
    /// Of an address: how many versions begin soon after T. At the next look they may be there, so who is honest tells of
    /// them too.
    coming: usize,
}

/// Who looks at an address does so once in so many seconds at least.
const LOOKS_APART_MAX: i64 = 86_400;

/// Chance from a seed: SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn within(&mut self, range: Range<i64>) -> i64 {
        range.start + self.below((range.end - range.start).max(1) as u64) as i64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// So many of all that passed, each with the same chance.
struct Sample<T> {
    kept: Vec<T>,
    passed: u64,
}

impl<T> Sample<T> {
    fn offer(&mut self, chance: &mut Chance, max: usize, item: impl FnOnce() -> T) {
        self.passed += 1;
        if self.kept.len() < max {
            self.kept.push(item());
        } else {
            let place = chance.below(self.passed) as usize;
            if place < max {
                self.kept[place] = item();
            }
        }
    }
}

impl<T> Default for Sample<T> {
    fn default() -> Sample<T> {
        Sample { kept: Vec::new(), passed: 0 }
    }
}

/// Draws questions about those hosts and that span.
pub(crate) struct Draw {
    chance: Chance,
    count: usize,
    hosts: Vec<u32>,
    host_of: FxHashMap<String, u32>,
    span: Range<i64>,
    addresses: Sample<(String, i64, i64)>,
    users: Sample<(u32, i64, i64, i64)>,
    /// Seconds at which a process of a host came or went.
    moments: Sample<(u32, i64)>,
    /// Seconds at which a host's events happened.
    event_times: Sample<(u32, i64)>,
}

impl Draw {
    pub(crate) fn new(seed: u64, count: usize, fleet: &Fleet, hosts: Vec<u32>, span: Range<i64>) -> Draw {
        let host_of = hosts.iter().map(|&host| (fleet.hosts[host as usize].clone(), host)).collect();
        let (addresses, users, moments, event_times) = Default::default();
        Draw { chance: Chance(seed), count, hosts, host_of, span, addresses, users, moments, event_times }
    }

    /// A row that the log holds.
    pub(crate) fn see(&mut self, table: &Table, interval: &Interval<'_>) {
        let Draw { chance, count, .. } = self;
        if interval.from >= self.span.end || interval.to <= self.span.start {
            return;
        }
        let text = |name: &[u8]| interval.row.get(name).and_then(|text| std::str::from_utf8(text).ok());
        match &*table.name {
            "interface_addresses" => {
                // A question by an address that every host has is a question of its own kind; one whose text has other
                // forms is not asked alike by comparing texts.
                let odd = |text: &&str| {
                    text.starts_with("127.") || *text == "::1" || text.starts_with("::ffff:") || text.contains('%')
                };
                if self.host_of.contains_key(interval.host)
                    && let Some(address) = text(b"address").filter(|text| !text.is_empty() && !odd(text))
                {
                    let held = (interval.from, interval.to);
                    self.addresses.offer(chance, *count, || (address.to_owned(), held.0, held.1));
                }
            }
            "users" => {
                if let Some(&host) = self.host_of.get(interval.host)
                    && let Some(uid) = text(b"uid").and_then(|text| text.parse().ok())
                {
                    let held = (interval.from, interval.to);
                    self.users.offer(chance, *count, || (host, uid, held.0, held.1));
                }
            }
            "processes" => {
                if let Some(&host) = self.host_of.get(interval.host) {
                    let ends = [interval.from, interval.to].into_iter().filter(|second| self.span.contains(second));
                    ends.for_each(|second| self.moments.offer(chance, *count, || (host, second)));
                }
            }
            "process_events" => {
                if let Some(&host) = self.host_of.get(interval.host)
                    && let Some(time) = text(b"time").and_then(|text| text.parse().ok())
                {
                    self.event_times.offer(chance, *count, || (host, time));
                }
            }
            _ => {}
        }
    }

    /// The questions: of each kind the number asked for, or fewer where a question is large.
    pub(crate) fn questions(self, fleet: &Fleet) -> Vec<Question> {
        let Draw { mut chance, count, hosts, span, addresses, users, moments, event_times, .. } = self;
        let chance = &mut chance;
        let mut questions = Vec::new();
        let day = 86_400.min(span.end - span.start);
        for ask in Ask::ALL.into_iter().filter(|ask| ask.lacks(fleet).is_none()) {
            let count = match ask {
                Ask::Ip | Ask::Uid => count,
                Ask::Processes | Ask::Diff | Ask::Events => (count / 2).max(1),
                Ask::Users => (count / 25).max(4),
            };
            for i in 0..count {
                let host = hosts[chance.below(hosts.len() as u64) as usize];
                let at = chance.within(span.clone());
                // Of eight, five are asked while it holds, one at any time (when mostly nobody answers), one at the
                // first second and one at the end, which is the first second after it.
                let held = |chance: &mut Chance, from: i64, to: i64| match i % 8 {
                    5 => at,
                    6 if span.contains(&from) => from,
                    7 if span.contains(&to) => to,
                    _ => chance.within(from.max(span.start)..to.min(span.end)),
                };
                // Of four one is asked at a second at which something came or went.
                let moment = |sample: &Sample<(u32, i64)>| match sample.kept.get(i) {
                    Some(&(host, at)) if i % 4 == 3 => (host, at),
                    _ => (host, at),
                };
                questions.push(match ask {
                    Ask::Ip => {
                        let Some((address, from, to)) = addresses.kept.get(i).cloned() else { break };
                        Question::Ip { address, at: held(chance, from, to) }
                    }
                    Ask::Uid => {
                        let Some(&(host, uid, from, to)) = users.kept.get(i) else { break };
                        Question::Uid { host, uid, at: held(chance, from, to) }
                    }
                    Ask::Processes => {
                        let (host, at) = moment(&moments);
                        Question::Processes { host, at }
                    }
                    Ask::Users => match users.kept.get(i) {
                        Some(&(_, _, from, to)) if i % 2 == 1 => {
                            // Not while hosts still come: the answer would be small.
                            let settled = span.start + (span.end - span.start) / 20;
                            let ends = [to, from].into_iter().find(|second| (settled..span.end).contains(second));
                            Question::Users { at: ends.unwrap_or(at) }
                        }
                        _ => Question::Users { at },
                    },
                    Ask::Diff => {
                        let (host, at) = moment(&moments);
                        // From five minutes to twelve hours apart, evenly by their logarithm.
                        let apart = (300.0 * 144f64.powf(chance.unit())) as i64;
                        Question::Diff { host, from: at, to: (at + apart).min(span.end - 1).max(at) }
                    }
                    Ask::Events => {
                        let any = chance.within(span.start..span.end - day + 1);
                        let (host, from) = match event_times.kept.get(i) {
                            // The event is the first that belongs to the day, or the first that no longer does.
                            Some(&(host, time)) if i % 4 == 2 => (host, time),
                            Some(&(host, time)) if i % 4 == 3 => (host, time - day),
                            _ => (host, any),
                        };
                        Question::Events { host, from, to: from + day }
                    }
                });
            }
        }
        questions
    }
}

/// A user's row for the join: from, to, name.
type User = (i64, i64, String);

/// Of the same questions to several logs keeps those whose answers have as many rows in all of them, those among them that
/// only the next look tells (who has an address that every host has, or that hosts pass on to each other, is another
/// question where there are more hosts), and those for the users of all hosts, which grow with them.
pub(crate) fn keep_what_does_not_grow(logs: Vec<&mut Vec<Asked>>) {
    let rows = |asked: &Asked| (asked.answer.len(), asked.coming);
    let Some(first) = logs.first().map(|first| first.iter().map(rows).collect::<Vec<_>>()) else { return };
    let mut stays: Vec<bool> = first.iter().map(|_| true).collect();
    for asked in &logs {
        for ((stays, asked), first) in stays.iter_mut().zip(&**asked).zip(&first) {
            *stays &= asked.question.ask() == Ask::Users || rows(asked) == *first;
        }
    }
    for asked in logs {
        let mut stays = stays.iter();
        asked.retain(|_| stays.next() == Some(&true));
    }
}

/// The questions with the answers that a fleet's files give.
pub(crate) fn answered(fleet: &Fleet, questions: Vec<Question>) -> Result<Vec<Asked>> {
    let mut answers: Vec<Rows> = questions.iter().map(|_| Rows::kept()).collect();
    let mut coming = vec![0; questions.len()];
    let mut by_address: FxHashMap<&str, Vec<usize>> = FxHashMap::default();
    let mut by_uid: FxHashMap<(u32, i64), Vec<usize>> = FxHashMap::default();
    let mut by_host: FxHashMap<(Ask, u32), Vec<usize>> = FxHashMap::default();
    let mut of_fleet = Vec::new();
    for (i, question) in questions.iter().enumerate() {
        match question {
            Question::Ip { address, .. } => by_address.entry(address).or_default().push(i),
            Question::Uid { host, uid, .. } => by_uid.entry((*host, *uid)).or_default().push(i),
            Question::Users { .. } => of_fleet.push(i),
            Question::Processes { host, .. } | Question::Diff { host, .. } | Question::Events { host, .. } => {
                by_host.entry((question.ask(), *host)).or_default().push(i);
            }
        }
    }
    let at = |i: usize| match &questions[i] {
        Question::Ip { at, .. } | Question::Uid { at, .. } | Question::Users { at } => *at,
        Question::Processes { at, .. } => *at,
        Question::Diff { .. } | Question::Events { .. } => unreachable!("asked of spans"),
    };
    let none = Vec::new();
    if let Some(table) = fleet.table("interface_addresses")
        && !by_address.is_empty()
    {
        let address = place(table, "address");
        each_row(table, |row| {
            for &i in by_address.get(row.text(address)).unwrap_or(&none) {
                coming[i] += usize::from((1..=LOOKS_APART_MAX).contains(&(row.from - at(i))));
                if row.holds(at(i)) {
                    answers[i].text(fleet.hosts[row.host as usize].as_bytes());
                    row.times(&mut answers[i]);
                    answers[i].end();
                }
            }
        })?;
    }
    let mut users: FxHashMap<(u32, i64), Vec<User>> = FxHashMap::default();
    if let Some(table) = fleet.table("users") {
        let joins = Ask::Events.lacks(fleet).is_none();
        let named = Ask::Uid.lacks(fleet).is_none();
        let (uid, username) = if named { (place(table, "uid"), place(table, "username")) } else { (0, 0) };
        each_row(table, |row| {
            for &i in &of_fleet {
                if row.holds(at(i)) {
                    answers[i].text(fleet.hosts[row.host as usize].as_bytes());
                    row.columns(&mut answers[i]);
                    row.times(&mut answers[i]);
                    answers[i].end();
                }
            }
            if !named {
                return;
            }
            let key = (row.host, row.text(uid).parse().expect("a number"));
            for &i in by_uid.get(&key).unwrap_or(&none) {
                if row.holds(at(i)) {
                    answers[i].text(row.text(username).as_bytes());
                    row.times(&mut answers[i]);
                    answers[i].end();
                }
            }
            if joins && by_host.contains_key(&(Ask::Events, row.host)) {
                users.entry(key).or_default().push((row.from, row.to, row.text(username).to_owned()));
            }
        })?;
    }
    if let Some(table) = fleet.table("processes") {
        each_row(table, |row| {
            for &i in by_host.get(&(Ask::Processes, row.host)).unwrap_or(&none) {
                if row.holds(at(i)) {
                    row.columns(&mut answers[i]);
                    row.times(&mut answers[i]);
                    answers[i].end();
                }
            }
            for &i in by_host.get(&(Ask::Diff, row.host)).unwrap_or(&none) {
                let Question::Diff { from, to, .. } = questions[i] else { unreachable!("listed as a diff") };
                let (before, after) = (row.holds(from), row.holds(to));
                if before != after {
                    answers[i].int(i64::from(after));
                    row.columns(&mut answers[i]);
                    answers[i].end();
                }
            }
        })?;
    }
    if let Some(table) = fleet.table("process_events")
        && by_host.keys().any(|(ask, _)| *ask == Ask::Events)
    {
        let [time, pid, cmdline, uid] = ["time", "pid", "cmdline", "uid"].map(|name| place(table, name));
        each_row(table, |row| {
            for &i in by_host.get(&(Ask::Events, row.host)).unwrap_or(&none) {
                let Question::Events { from, to, .. } = questions[i] else { unreachable!("listed as events") };
                let number = |place: usize| row.text(place).parse::<i64>().expect("a number");
                let at = number(time);
                if at < from || to <= at {
                    continue;
                }
                let rows = &mut answers[i];
                let event = |rows: &mut Rows| {
                    rows.int(at);
                    rows.int(number(pid));
                    rows.text(row.text(cmdline).as_bytes());
                    rows.int(number(uid));
                };
                let of_uid = users.get(&(row.host, number(uid))).into_iter().flatten();
                let mut alone = true;
                for (from, to, name) in of_uid.filter(|(from, to, _)| *from <= at && at < *to) {
                    event(rows);
                    rows.text(name.as_bytes());
                    rows.int(*from);
                    rows.to(*to);
                    rows.end();
                    alone = false;
                }
                if alone {
                    event(rows);
                    (0..3).for_each(|_| rows.null());
                    rows.end();
                }
            }
        })?;
    }
    let asked = questions.into_iter().zip(answers).zip(coming);
    Ok(asked.map(|((question, rows), coming)| Asked { answer: question.canonical(rows), question, coming }).collect())
}

/// A row of a file.
struct FileRow<'a> {
    host: u32,
    from: i64,
    to: i64,
    record: &'a csv::StringRecord,
    table: &'a Table,
}

impl FileRow<'_> {
    fn holds(&self, at: i64) -> bool {
        self.from <= at && at < self.to
    }

    fn text(&self, place: usize) -> &str {
        &self.record[place]
    }

    fn times(&self, rows: &mut Rows) {
        rows.int(self.from);
        rows.to(self.to);
        if self.table.copies {
            rows.text(self.record[3].as_bytes());
        }
    }

    fn columns(&self, rows: &mut Rows) {
        for (cell, column) in self.record.iter().skip(self.table.leading().len()).zip(&self.table.columns) {
            if column.nullable && cell == "\\N" { rows.null() } else { rows.text(cell.as_bytes()) }
        }
    }
}

/// Where a column stands in a table's file.
fn place(table: &Table, name: &str) -> usize {
    let column = table.columns.iter().position(|column| column.name == name);
    table.leading().len() + column.expect("questions are drawn where their columns are")
}

/// A reader of a table's file.
pub(crate) fn reader(table: &Table) -> Result<csv::Reader<std::fs::File>> {
    Ok(csv::ReaderBuilder::new().has_headers(false).buffer_capacity(1 << 20).from_path(&table.file)?)
}

fn each_row(table: &Table, mut each: impl FnMut(FileRow<'_>)) -> Result<()> {
    let mut reader = reader(table)?;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        let host = record[0].parse()?;
        let from = record[1].parse()?;
        let to = if table.event { OPEN_END } else { record[2].parse()? };
        each(FileRow { host, from, to, record: &record, table });
    }
    Ok(())
}
