//! One pass over one input is cut into deliveries; deliveries of one look join to the look.
//!
//! Must stay true:
//! - Within a delivery equal row lines add up; over deliveries the largest count of each (action, row) holds.
//! - Whole lines with the same four and different content are looks of their own; row lines beside them join the one
//!   that is first in content order.
//! - The join does not depend on the order of deliveries.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::json;
use super::line::{Inferred, Row};
use super::wrong::Wrong;

/// A multiset of rows.
pub(crate) type Counts = BTreeMap<Rc<Row>, u64>;

/// How a stream reports, in the order of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What changed.
    Diff,
    /// What happened.
    Event,
    /// All there is.
    Snapshot,
}

impl Kind {
    /// The word for it in answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Diff => "diff",
            Kind::Event => "event",
            Kind::Snapshot => "snapshot",
        }
    }
}

/// What tells one stream from another, the table and the form it was recorded under included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// Who signs its lines.
    pub host: Vec<u8>,
    /// The query's name.
    pub name: Vec<u8>,
    /// How it reports.
    pub kind: Kind,
    /// The table that it was recorded under.
    pub table: Vec<u8>,
    /// Declared `removed: false`: rows are sightings, there is no state.
    pub sightings: bool,
}

impl StreamKey {
    /// Does the stream have a state?
    pub(crate) fn has_state(&self) -> bool {
        self.kind != Kind::Event && !self.sightings
    }
}

/// What tells one look of a stream from another, content aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LookKey {
    pub(crate) epoch: u64,
    pub(crate) counter: Option<u64>,
    pub(crate) second: i64,
}

/// What one input brought of one look in one piece.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) stream: StreamKey,
    pub(crate) look: LookKey,
    /// A batch or snapshot line, complete in itself; else rows one a line.
    pub(crate) whole: bool,
    pub(crate) removed: Counts,
    pub(crate) added: Counts,
    pub(crate) inferred: Inferred,
    pub(crate) recorded: i64,
}

impl Delivery {
    /// What it says, but for the agent's version.
    pub(crate) fn words(&self) -> String {
        let StreamKey { host, name, kind, table, sightings } = &self.stream;
        let LookKey { epoch, counter, second } = self.look;
        let content = content(&self.removed, &self.added);
        let kind = kind.word();
        let [host, name, table, content] = [host, name, table, &content].map(|text| text.escape_ascii());
        format!("{host} {name} {kind} {table} {sightings} {epoch} {counter:?} {second} {} {content}", self.whole)
    }
}

/// What one result line brings, read against map and catalogue.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) stream: StreamKey,
    pub(crate) look: LookKey,
    pub(crate) whole: bool,
    pub(crate) removed: Vec<Row>,
    pub(crate) added: Vec<Row>,
    pub(crate) inferred: Inferred,
}

/// Cuts one input, line by line, into deliveries.
pub(crate) struct Cutter {
    rules: Wrong,
    recorded: i64,
    open: BTreeMap<Vec<u8>, (i64, Vec<Piece>)>,
    done: Vec<Delivery>,
}

impl Cutter {
    pub(crate) fn new(recorded: i64, rules: Wrong) -> Cutter {
        Cutter { rules, recorded, open: BTreeMap::new(), done: Vec::new() }
    }

    /// A result line of this host and second comes; its pieces follow by [`Cutter::piece`].
    pub(crate) fn result_line(&mut self, host: &[u8], second: i64) {
        if let Some((open_second, pieces)) = self.open.get_mut(host) {
            if *open_second == second || self.rules == Wrong::DeliveryNotCut {
                return;
            }
            let pieces = std::mem::take(pieces);
            self.close(pieces);
        }
        self.open.insert(host.to_vec(), (second, Vec::new()));
    }

    /// What the line that was announced brings.
    pub(crate) fn piece(&mut self, piece: Piece) {
        if let Some((_, pieces)) = self.open.get_mut(&piece.stream.host) {
            pieces.push(piece);
        }
    }

    /// The input has ended.
    pub(crate) fn finish(mut self) -> Vec<Delivery> {
        for (_, (_, pieces)) in std::mem::take(&mut self.open) {
            self.close(pieces);
        }
        self.done
    }

    /// The pieces of one host and second are complete: equal rows of row lines add up, equal whole lines are one.
    fn close(&mut self, pieces: Vec<Piece>) {
        let mut row_lines: BTreeMap<(StreamKey, LookKey), Delivery> = BTreeMap::new();
        let mut wholes: BTreeMap<(StreamKey, LookKey, Counts, Counts), Delivery> = BTreeMap::new();
        for piece in pieces {
            let mut removed = Counts::new();
            let mut added = Counts::new();
            piece.removed.into_iter().for_each(|row| *removed.entry(Rc::new(row)).or_default() += 1);
            piece.added.into_iter().for_each(|row| *added.entry(Rc::new(row)).or_default() += 1);
            let delivery = Delivery {
                stream: piece.stream.clone(),
                look: piece.look,
                whole: piece.whole,
                removed,
                added,
                inferred: piece.inferred,
                recorded: self.recorded,
            };
            if piece.whole {
                let key = (piece.stream, piece.look, delivery.removed.clone(), delivery.added.clone());
                let held = wholes.entry(key).or_insert_with(|| delivery.clone());
                held.inferred = held.inferred.min(delivery.inferred);
            } else {
                let held = row_lines.entry((piece.stream, piece.look)).or_insert_with(|| Delivery {
                    removed: Counts::new(),
                    added: Counts::new(),
                    ..delivery.clone()
                });
                held.inferred = held.inferred.min(delivery.inferred);
                delivery.removed.into_iter().for_each(|(row, n)| *held.removed.entry(row).or_default() += n);
                delivery.added.into_iter().for_each(|(row, n)| *held.added.entry(row).or_default() += n);
            }
        }
        let mut closed: Vec<Delivery> = row_lines.into_values().chain(wholes.into_values()).collect();
        if self.rules == Wrong::LostMultiplicity {
            for delivery in &mut closed {
                delivery.removed.values_mut().chain(delivery.added.values_mut()).for_each(|n| *n = 1);
            }
        }
        self.done.append(&mut closed);
    }
}

/// One look as all its known deliveries give it.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) key: LookKey,
    pub(crate) removed: Counts,
    pub(crate) added: Counts,
    pub(crate) inferred: Inferred,
    /// Recorded time of its first delivery.
    pub(crate) recorded: i64,
    /// The text by which ties are broken.
    pub(crate) content: Vec<u8>,
    /// Another content of the same four stands before it.
    pub(crate) is_later_content: bool,
}

/// Joins the deliveries of one stream to its looks.
pub(crate) fn join<'a>(deliveries: impl Iterator<Item = &'a Delivery>, rules: Wrong) -> Vec<Look> {
    #[derive(Default)]
    struct Known {
        rows: Option<Look>,
        wholes: BTreeMap<Vec<u8>, Look>,
    }
    let mut known: BTreeMap<LookKey, Known> = BTreeMap::new();
    for delivery in deliveries {
        let look = Look {
            key: delivery.look,
            removed: delivery.removed.clone(),
            added: delivery.added.clone(),
            inferred: delivery.inferred,
            recorded: delivery.recorded,
            content: content(&delivery.removed, &delivery.added),
            is_later_content: false,
        };
        let entry = known.entry(delivery.look).or_default();
        if delivery.whole && rules != Wrong::ForkMerged {
            match entry.wholes.get_mut(&look.content) {
                Some(held) => join_two(held, &look, rules),
                None => {
                    entry.wholes.insert(look.content.clone(), look);
                }
            }
        } else {
            match &mut entry.rows {
                Some(held) => join_two(held, &look, rules),
                None => entry.rows = Some(look),
            }
        }
    }
    let mut looks = Vec::new();
    for mut entry in known.into_values() {
        if let Some(rows) = entry.rows {
            match entry.wholes.first_entry() {
                Some(mut first) if rules != Wrong::RowLinesStandApart => join_two(first.get_mut(), &rows, rules),
                _ => looks.push(rows),
            }
        }
        let mut wholes: Vec<Look> = entry.wholes.into_values().collect();
        for look in &mut wholes {
            look.content = content(&look.removed, &look.added);
        }
        wholes.sort_by(|a, b| a.content.cmp(&b.content));
        for (at, mut look) in wholes.into_iter().enumerate() {
            look.is_later_content = at > 0;
            looks.push(look);
        }
    }
    for look in &mut looks {
        look.content = content(&look.removed, &look.added);
    }
    looks
}

fn join_two(held: &mut Look, more: &Look, rules: Wrong) {
    let largest = |into: &mut Counts, from: &Counts| {
        for (row, n) in from {
            let count = into.entry(Rc::clone(row)).or_default();
            *count = if rules == Wrong::ResendCountedTwice { *count + n } else { (*count).max(*n) };
        }
    };
    largest(&mut held.removed, &more.removed);
    largest(&mut held.added, &more.added);
    held.inferred = held.inferred.min(more.inferred);
    held.recorded = held.recorded.min(more.recorded);
}

/// The text `[[removed…],[added…]]` with sorted rows, by which contents are ordered.
pub(crate) fn content(removed: &Counts, added: &Counts) -> Vec<u8> {
    let list = |counts: &Counts| {
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for (row, n) in counts {
            for _ in 0..*n {
                rows.push(row_text(row));
            }
        }
        rows.sort();
        [b"[".as_slice(), &rows.join(&b','), b"]"].concat()
    };
    [b"[".as_slice(), &list(removed), b",", &list(added), b"]"].concat()
}

fn row_text(row: &Row) -> Vec<u8> {
    let mut text = vec![b'{'];
    for (at, (column, value)) in row.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        json::write_string(column, &mut text);
        text.push(b':');
        json::write_string(value, &mut text);
    }
    text.push(b'}');
    text
}

/// What a store already holds, to tell whether a delivery adds anything.
#[derive(Debug, Default)]
pub(crate) struct Held {
    rows: BTreeMap<(StreamKey, LookKey), (Counts, Counts, Inferred)>,
    wholes: BTreeMap<(StreamKey, LookKey, Counts, Counts), Inferred>,
    dead: BTreeSet<(Vec<u8>, u64)>,
}

impl Held {
    /// Takes a delivery in; true if it made anything grow.
    pub(crate) fn take(&mut self, delivery: &Delivery) -> bool {
        let mut grew = false;
        if delivery.whole {
            let key = (delivery.stream.clone(), delivery.look, delivery.removed.clone(), delivery.added.clone());
            let held = self.wholes.entry(key).or_insert_with(|| {
                grew = true;
                delivery.inferred
            });
            grew |= delivery.inferred < *held;
            *held = delivery.inferred.min(*held);
            return grew;
        }
        let (removed, added, inferred) =
            self.rows.entry((delivery.stream.clone(), delivery.look)).or_insert_with(|| {
                grew = true;
                (Counts::new(), Counts::new(), delivery.inferred)
            });
        for (into, from) in [(removed, &delivery.removed), (added, &delivery.added)] {
            for (row, n) in from {
                let count = into.entry(Rc::clone(row)).or_default();
                grew |= n > count;
                *count = (*count).max(*n);
            }
        }
        grew |= delivery.inferred < *inferred;
        *inferred = delivery.inferred.min(*inferred);
        grew
    }

    /// Takes a dead letter in; true if it is new.
    pub(crate) fn dead_letter(&mut self, source: &str, offset: u64) -> bool {
        self.dead.insert((source.as_bytes().to_vec(), offset))
    }
}
