//! Deliveries become looks.
//!
//! Parts of one look are those that share epoch, counter and second. Row-per-line parts join by the largest count any
//! one of them had. Whole-line parts with equal content are one look, with different content as many looks; row-per-line
//! parts beside them join the one that is first in content order.

use super::{Copies, Part};
use crate::fact::{Inferred, Micros, Second};
use crate::row::Row;
use std::cmp::Ordering;

/// One run of a stream that is known to have happened.
#[derive(Clone, Debug)]
pub struct Look {
    /// The agent's label of a run of counters.
    pub epoch: u64,
    /// The look's number within its epoch.
    pub counter: Option<u64>,
    /// When the host looked.
    pub second: Second,
    /// Whether any of its deliveries held it in one line.
    pub whole: bool,
    /// The least that its lines suggest of the agent's version.
    pub inferred: Inferred,
    /// When its first delivery became durable.
    pub recorded: Micros,
    /// Removed rows, by id.
    pub removed: Vec<Copies>,
    /// Added rows, by id.
    pub added: Vec<Copies>,
}

impl Look {
    fn new(part: Part) -> Look {
        let Part { epoch, counter, second, whole, inferred, recorded, removed, added } = part;
        Look { epoch, counter, second, whole, inferred, recorded, removed, added }
    }

    /// Joins another delivery of the same look.
    fn join(&mut self, part: &Part) {
        self.whole |= part.whole;
        self.inferred = self.inferred.min(part.inferred);
        self.recorded = self.recorded.min(part.recorded);
        largest(&mut self.removed, &part.removed);
        largest(&mut self.added, &part.added);
    }

    /// Whether two looks share epoch, counter and second.
    pub fn same_key(&self, other: &Look) -> bool {
        (self.epoch, self.counter, self.second) == (other.epoch, other.counter, other.second)
    }

    /// Whether two looks say the same.
    pub fn same_content(&self, other: &Look) -> bool {
        self.removed == other.removed && self.added == other.added
    }

    /// Compares two contents in content order.
    pub fn content_cmp(&self, other: &Look, rows: &[Row]) -> Ordering {
        if self.same_content(other) {
            return Ordering::Equal;
        }
        content_text(&self.removed, &self.added, rows).cmp(&content_text(&other.removed, &other.added, rows))
    }
}

/// Raises each count in `counts` to the count in `more`. Both by row id.
fn largest(counts: &mut Vec<Copies>, more: &[Copies]) {
    if more.is_empty() {
        return;
    }
    let old = std::mem::take(counts);
    let (mut a, mut b) = (old.into_iter().peekable(), more.iter().copied().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 == y.0 => (x.0, x.1.max(y.1)),
            (Some(x), Some(y)) => *(if x.0 < y.0 { x } else { y }),
            (Some(x), None) | (None, Some(x)) => *x,
            (None, None) => return,
        };
        a.next_if(|x| x.0 == next.0);
        b.next_if(|y| y.0 == next.0);
        counts.push(next);
    }
}

/// The text by which contents are ordered: `[[removed…],[added…]]`, each list of compact JSON rows sorted.
fn content_text(removed: &[Copies], added: &[Copies], rows: &[Row]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (i, side) in [removed, added].into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.push(b'[');
        let mut texts: Vec<(Vec<u8>, u64)> = side
            .iter()
            .map(|&(row, count)| {
                let mut text = Vec::new();
                rows[row as usize].content_json(&mut text);
                (text, count)
            })
            .collect();
        texts.sort();
        let mut first = true;
        for (text, count) in texts {
            for _ in 0..count {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend_from_slice(&text);
            }
        }
        out.push(b']');
    }
    out.push(b']');
    out
}

/// Merges deliveries into looks; a loss is none; ordered by (second, epoch, counter with none first, content order).
pub fn join(mut parts: Vec<Part>, rows: &[Row]) -> Vec<Look> {
    let key = |p: &Part| (p.second, p.epoch, p.counter);
    parts.retain(|part| !part.is_loss());
    parts.sort_by_key(|part| (key(part), part.whole, part.recorded));
    let mut looks: Vec<Look> = Vec::with_capacity(parts.len());
    let mut parts = parts.into_iter().peekable();
    while let Some(first) = parts.next() {
        let group = key(&first);
        if parts.peek().is_none_or(|next| key(next) != group) {
            looks.push(Look::new(first));
            continue;
        }
        let mut lines: Option<Look> = None;
        let mut wholes: Vec<Look> = Vec::new();
        let mut next = Some(first);
        while let Some(part) = next {
            if part.whole {
                match wholes.iter_mut().find(|look| look.removed == part.removed && look.added == part.added) {
                    Some(look) => look.join(&part),
                    None => wholes.push(Look::new(part)),
                }
            } else {
                match &mut lines {
                    Some(look) => look.join(&part),
                    None => lines = Some(Look::new(part)),
                }
            }
            next = parts.next_if(|next| key(next) == group);
        }
        wholes.sort_by(|a, b| a.content_cmp(b, rows));
        match (lines, wholes.first_mut()) {
            (Some(lines), Some(whole)) => {
                let Look { epoch, counter, second, inferred, recorded, removed, added, .. } = lines;
                whole.join(&Part { epoch, counter, second, whole: false, inferred, recorded, removed, added });
                wholes.sort_by(|a, b| a.content_cmp(b, rows));
            }
            (Some(lines), None) => wholes.push(lines),
            (None, _) => {}
        }
        looks.append(&mut wholes);
    }
    looks
}
