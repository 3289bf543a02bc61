//! The one table, and the same as JSON.
//!
//! Invariants:
//! - Every figure of every peer has a cell: a number, or a mark whose note says why there is none.
//! - A figure whose answers do not agree is no figure.

use crate::fleet::Fleet;
use crate::measure::machine;
use crate::peer::{Kind, Source};
use crate::question::Ask;
use crate::worker::{ColdTiming, Outcome, Timing};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Which part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Variant {
    /// All of it.
    All,
    /// All hosts, the first part of their history.
    ShortHistory,
    /// All history of some hosts.
    FewHosts,
}

impl Variant {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Variant::All => "all",
            Variant::ShortHistory => "short_history",
            Variant::FewHosts => "few_hosts",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Variant::All => "all",
            Variant::ShortHistory => "short history",
            Variant::FewHosts => "few hosts",
        }
    }
}

/// What was compared on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Data {
    what: String,
    hosts: usize,
    days: f64,
    lines: u64,
    changes: u64,
    bytes: u64,
    interval_rows: i64,
    growth: u32,
    machine: String,
    /// Why some question is not asked.
    not_asked: BTreeMap<&'static str, String>,
}

impl Data {
    pub(crate) fn of(what: String, fleet: &Fleet, growth: u32) -> Data {
        Data {
            what,
            hosts: fleet.hosts.len(),
            days: (fleet.end - fleet.first) as f64 / 86_400.0,
            lines: fleet.lines,
            changes: fleet.changes,
            bytes: fleet.log_bytes,
            interval_rows: fleet.tables.iter().map(|table| table.sums.rows).sum(),
            growth,
            machine: machine(),
            not_asked: Ask::ALL.iter().filter_map(|ask| Some((ask.key(), ask.lacks(fleet)?))).collect(),
        }
    }
}

/// Everything that was found.
pub(crate) struct Report {
    data: Data,
    kinds: Vec<Kind>,
    changes: BTreeMap<Variant, u64>,
    outcomes: BTreeMap<(Variant, Kind, u8), Result<Outcome, String>>,
}

/// Which of two figures is the better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Less,
    More,
    NotRanked,
}

/// A figure, or why there is none.
type Figure = Result<f64, String>;

fn place(source: Source) -> u8 {
    source as u8
}

impl Report {
    pub(crate) fn new(data: Data, kinds: Vec<Kind>) -> Report {
        Report { data, kinds, changes: BTreeMap::new(), outcomes: BTreeMap::new() }
    }

    /// How many row changes a variant has.
    pub(crate) fn changes(&mut self, variant: Variant, changes: u64) {
        self.changes.insert(variant, changes);
    }

    /// What a worker found.
    pub(crate) fn outcome(&mut self, variant: Variant, kind: Kind, source: Source, found: Result<Outcome, String>) {
        self.outcomes.insert((variant, kind, place(source)), found);
    }

    /// Whether no answer and no load is wrong.
    pub(crate) fn agrees(&self) -> bool {
        self.outcomes.values().flatten().all(|outcome| outcome.faults().next().is_none())
    }

    fn found(&self, variant: Variant, kind: Kind, source: Source) -> Result<&Outcome, String> {
        match self.outcomes.get(&(variant, kind, place(source))) {
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("left out by an option".to_owned()),
        }
    }

    /// The outcome that was asked questions.
    fn asked(&self, variant: Variant, kind: Kind) -> Result<&Outcome, String> {
        self.found(variant, kind, if kind == Kind::Erstwhile { Source::Json } else { Source::Rows })
    }

    fn loaded(&self, variant: Variant, kind: Kind, source: Source) -> Result<&Outcome, String> {
        let outcome = self.found(variant, kind, source)?;
        match &outcome.load_fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(outcome),
        }
    }

    fn per_second(&self, variant: Variant, kind: Kind, source: Source) -> Figure {
        Ok(self.changes[&variant] as f64 / self.loaded(variant, kind, source)?.load_seconds.max(1e-9))
    }

    fn bytes(&self, variant: Variant, kind: Kind) -> Figure {
        Ok(self.asked(variant, kind)?.disk_bytes as f64 / (self.changes[&variant] as f64).max(1.0))
    }

    fn timing(&self, variant: Variant, kind: Kind, set: usize, ask: Ask) -> Result<&Timing, String> {
        let outcome = self.asked(variant, kind)?;
        if let Some(fault) = &outcome.load_fault {
            return Err(fault.clone());
        }
        let none = || "not asked of this log".to_owned();
        let timing = outcome.sets.get(set).and_then(|set| set.get(&ask)).ok_or_else(none)?;
        match &timing.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(timing),
        }
    }

    /// How many times the figure of a part is the figure of all; more is worse.
    fn growth(&self, part: Variant, figure: impl Fn(Variant) -> Figure) -> Figure {
        Ok(figure(Variant::All)? / figure(part)?)
    }

    /// The set of questions that the parts are asked too.
    fn shared(variant: Variant) -> usize {
        usize::from(variant == Variant::All)
    }

    fn asks(&self) -> impl Iterator<Item = Ask> {
        Ask::ALL.into_iter().filter(|ask| !self.data.not_asked.contains_key(ask.key()))
    }

    fn parts(&self) -> impl Iterator<Item = Variant> {
        [Variant::ShortHistory, Variant::FewHosts].into_iter().filter(|part| self.changes.contains_key(part))
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut notes = Notes::default();
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        let mut header = vec!["".to_owned()];
        header.extend(self.kinds.iter().map(|&kind| match self.asked(Variant::All, kind) {
            Ok(outcome) => format!("{}\n{}", kind.words(), outcome.version),
            Err(_) => format!("{}\nmissing", kind.words()),
        }));
        header.push("times better\nthan the best".to_owned());
        table.set_header(header);
        let mut add = |words: String, each: &dyn Fn(Kind) -> Result<(f64, String), String>, better: Better| {
            let mut line = vec![words];
            let mut own = None;
            let mut best: Option<f64> = None;
            for &kind in &self.kinds {
                match each(kind) {
                    Ok((value, text)) => {
                        match kind {
                            Kind::Erstwhile => own = Some(value),
                            _ if best.is_none_or(|best| (value < best) == (better == Better::Less)) => {
                                best = Some(value)
                            }
                            _ => {}
                        }
                        line.push(text);
                    }
                    Err(reason) => line.push(notes.mark(reason)),
                }
            }
            let ratio = best.zip(own).and_then(|(best, own)| match better {
                Better::Less => Some(best / own),
                Better::More => Some(own / best),
                Better::NotRanked => None,
            });
            line.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
            table.add_row(line);
        };
        for (source, words) in [(Source::Json, "load from JSON"), (Source::Rows, "load of parsed rows")] {
            let rate = |kind| {
                let outcome = self.loaded(Variant::All, kind, source)?;
                let rate = self.per_second(Variant::All, kind, source)?;
                Ok((rate, format!("{}\n{:.1} CPU s", thousands(rate), outcome.load_cpu_seconds)))
            };
            add(format!("{words}, changes/s"), &rate, Better::More);
        }
        let peak = |kind| {
            if matches!(kind, Kind::Postgres | Kind::PostgresGist) {
                return Err("a server's memory is shared by its processes and not counted".to_owned());
            }
            let outcome = self.loaded(Variant::All, kind, Source::Json)?;
            let mib = outcome.peak_bytes.ok_or("the system does not tell")? as f64 / f64::from(1 << 20);
            Ok((mib, format!("{mib:.0}")))
        };
        add("peak memory of the load from JSON, MiB".to_owned(), &peak, Better::Less);
        let bytes = |kind| self.bytes(Variant::All, kind).map(|bytes| (bytes, format!("{bytes:.2}")));
        add("bytes on disk per change".to_owned(), &bytes, Better::Less);
        for ask in self.asks() {
            let time = |kind| {
                let timing = self.timing(Variant::All, kind, 0, ask)?;
                Ok((timing.p50_micros, format!("{} / {}", micros(timing.p50_micros), micros(timing.p99_micros))))
            };
            let rows = self.kinds.iter().find_map(|&kind| Some(self.timing(Variant::All, kind, 0, ask).ok()?.rows));
            let rows = rows.map_or(String::new(), |rows| format!("{rows:.1} rows on average"));
            add(format!("{}, µs p50 / p99\n{rows}", ask.words()), &time, Better::Less);
        }
        let counted = self.kinds.contains(&Kind::Erstwhile);
        for part in self.parts() {
            let of = if part == Variant::ShortHistory { "history" } else { "hosts" };
            let by = format!("{of} × {}:", self.data.growth);
            let ratio = |figure: Figure| figure.map(|ratio| (ratio, format!("× {ratio:.2}")));
            for (source, words) in [(Source::Json, "JSON load"), (Source::Rows, "load of parsed rows")] {
                let time = |kind| {
                    ratio(self.growth(part, |variant| self.per_second(variant, kind, source).map(|rate| 1.0 / rate)))
                };
                add(format!("{by} {words}, time per change"), &time, Better::NotRanked);
            }
            let bytes = |kind| ratio(self.growth(part, |variant| self.bytes(variant, kind)));
            add(format!("{by} bytes per change"), &bytes, Better::NotRanked);
            for ask in self.asks() {
                let p50 = |variant: Variant, kind| {
                    self.timing(variant, kind, Report::shared(variant), ask).map(|timing| timing.p50_micros)
                };
                let time = |kind| ratio(self.growth(part, |variant| p50(variant, kind)));
                add(format!("{by} {}, p50", ask.words()), &time, Better::NotRanked);
            }
        }
        let mut text = self.heading();
        let _ = writeln!(text, "{}", aligned(table));
        if counted {
            text += &self.counted();
        }
        text += &notes.text();
        text
    }

    fn heading(&self) -> String {
        let Data { what, hosts, days, lines, changes, bytes, interval_rows, machine, not_asked, .. } = &self.data;
        let mut text = format!(
            "{what}: {hosts} hosts, {days:.2} days, {} lines, {} row changes, {} interval rows, {:.1} MB of JSON\n{machine}\n",
            thousands(*lines as f64),
            thousands(*changes as f64),
            thousands(*interval_rows as f64),
            *bytes as f64 / 1e6,
        );
        for (ask, reason) in not_asked {
            let _ = writeln!(text, "not asked: {ask}: {reason}");
        }
        let (mut right, mut all) = (0, 0);
        for outcome in self.outcomes.values().flatten() {
            for timing in outcome.sets.iter().flat_map(|set| set.values()) {
                all += timing.questions;
                right += if timing.fault.is_none() { timing.questions } else { 0 };
            }
        }
        let _ = writeln!(text, "answers compared with a naive replay: {right} of {all} agree");
        text
    }

    /// What erstwhile's own counters say of first answers after opening: what an answer needs when nothing is decoded
    /// yet.
    fn counted(&self) -> String {
        let mut text =
            "erstwhile right after opening: rows decoded, bytes read, bytes verified (on average), µs to open and to\n\
                        answer (medians)\n"
                .to_owned();
        if self.parts().next().is_some() {
            text += "then how these rows and bytes, and the answers' own rows, grow; asked there are only questions whose\n\
                        answers have as many rows in each of the logs, and those about all hosts\n";
        }
        for ask in self.asks() {
            let cold = |variant, set| self.timing(variant, Kind::Erstwhile, set, ask).ok()?.cold.clone();
            let _ = write!(text, "  {}: ", ask.words());
            match cold(Variant::All, 0) {
                Some(ColdTiming { rows_decoded, bytes_read, bytes_verified, open_micros, micros: answer, .. }) => {
                    let (open, answer) = (micros(open_micros), micros(answer));
                    let _ = write!(text, "{rows_decoded:.1}, {bytes_read:.0}, {bytes_verified:.0}, {open}, {answer}");
                }
                None => text.push('—'),
            }
            for part in self.parts() {
                let words = if part == Variant::ShortHistory { "history" } else { "hosts" };
                if let Some((all, less)) = cold(Variant::All, 1).zip(cold(part, 0)) {
                    let rows = all.rows_decoded / less.rows_decoded.max(1.0);
                    let bytes = all.bytes_read / less.bytes_read.max(1.0);
                    let verified = all.bytes_verified / less.bytes_verified.max(1.0);
                    let (growth, of_answers) = (self.data.growth, all.rows / less.rows.max(f64::MIN_POSITIVE));
                    let _ = write!(
                        text,
                        "; {words} × {growth}: × {rows:.2}, × {bytes:.2}, × {verified:.2}, answers × {of_answers:.2}"
                    );
                }
            }
            text.push('\n');
        }
        text
    }

    /// Everything for programs.
    pub(crate) fn json(&self) -> Value {
        let peers = self.kinds.iter().map(|&kind| self.json_of(kind)).collect::<Vec<_>>();
        json!({ "data": self.data, "agrees": self.agrees(), "peers": peers })
    }

    fn json_of(&self, kind: Kind) -> Value {
        let missing = self.asked(Variant::All, kind).err();
        let mut variants = serde_json::Map::new();
        for (&variant, changes) in &self.changes {
            let mut found = serde_json::Map::new();
            found.insert("changes".to_owned(), json!(changes));
            for (source, key) in [(Source::Json, "load_json"), (Source::Rows, "load_rows")] {
                let load = match self.loaded(variant, kind, source) {
                    Ok(outcome) => json!({
                        "seconds": outcome.load_seconds,
                        "cpu_seconds": outcome.load_cpu_seconds,
                        "changes_per_second": self.per_second(variant, kind, source).ok(),
                        "process_peak_bytes": outcome.peak_bytes,
                    }),
                    Err(reason) => json!({ "missing": reason }),
                };
                found.insert(key.to_owned(), load);
            }
            found.insert("bytes_per_change".to_owned(), json!(self.bytes(variant, kind).ok()));
            let sets =
                if variant == Variant::All { &["questions", "shared_questions"][..] } else { &["shared_questions"] };
            for (set, key) in sets.iter().enumerate() {
                let asks = self.asks().map(|ask| {
                    let timing = match self.timing(variant, kind, set, ask) {
                        Ok(timing) => json!(timing),
                        Err(reason) => json!({ "missing": reason }),
                    };
                    (ask.key().to_owned(), timing)
                });
                found.insert((*key).to_owned(), asks.collect::<serde_json::Map<_, _>>().into());
            }
            variants.insert(variant.key().to_owned(), found.into());
        }
        let version = self.asked(Variant::All, kind).map(|outcome| outcome.version.clone()).ok();
        json!({ "peer": kind.key(), "version": version, "missing": missing, "variants": variants })
    }
}

/// Marks for cells without a figure, with their reasons.
#[derive(Default)]
struct Notes {
    reasons: Vec<String>,
}

impl Notes {
    fn mark(&mut self, reason: String) -> String {
        let place = self.reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
            self.reasons.push(reason);
            self.reasons.len() - 1
        });
        format!("— ({})", place + 1)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (number, reason) in (1..).zip(&self.reasons) {
            let _ = writeln!(text, "({number}) {reason}");
        }
        text
    }
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Microseconds in three digits or more.
fn micros(micros: f64) -> String {
    match micros {
        _ if micros < 10.0 => format!("{micros:.2}"),
        _ if micros < 100.0 => format!("{micros:.1}"),
        _ => thousands(micros),
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number);
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
