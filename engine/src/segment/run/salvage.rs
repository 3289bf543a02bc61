//! What is left of a run of which pieces are damaged: the looks of which everything is known, as they were delivered.
//!
//! Invariants:
//! - A look is given only if every version that appears or disappears at it is known, and of a full set every one that is
//!   alive. All others are lost, and told by their seconds.
//! - Nothing is taken from a piece but the whole.
//!
//! How: a piece tells its looks, what appears at them and when that is gone, and which versions before it are alive. Once
//! none of these is of a lost piece, whatever follows is complete again.

use super::piece::Look;
use super::stream::{Run, Version};
use crate::codec::Fault;
use crate::error::Error;
use crate::fact::{Inferred, Kind, Second};
use crate::read::answer::Cost;
use crate::row::Row;
use crate::segment::directory::StreamEntry;
use crate::segment::{RowOf, TableReader};
use crate::timeline::loss::Loss;
use crate::timeline::regular::{self, Lifetime, Side};
use crate::timeline::{Part, RowId};

/// What is left of a stream.
#[derive(Default)]
pub(crate) struct Salvaged {
    /// Its parts, in part order.
    pub(crate) parts: Vec<Part>,
    /// The seconds of the looks that are lost.
    pub(crate) lost: Vec<Loss>,
}

/// A piece that is whole.
struct Whole {
    looks: Vec<Look>,
    versions: Vec<(Version, Row)>,
    /// The versions before the piece that are alive after its first look.
    alive: Vec<usize>,
}

impl Run<'_> {
    fn whole_piece(&mut self, at: usize, cost: &mut Cost) -> Result<Whole, Error> {
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let opened = open.borrow_dependent();
        let fault = |fault: Fault| of.error(fault);
        let mut whole = Whole { looks: Vec::new(), versions: Vec::new(), alive: Vec::new() };
        let looks = opened.of_looks(cost).map_err(fault)?;
        let columns = looks.look_columns().map_err(fault)?;
        for look in 0..looks.head().looks() {
            whole.looks.push(looks.look(&columns, look).map_err(fault)?);
        }
        let first = opened.body(0, cost).map_err(fault)?;
        first.alive(|ordinal| whole.alive.push(ordinal as usize)).map_err(fault)?;
        self.each_version_of_piece(at, cost, |version, row, _| {
            whole.versions.push((*version, Row::from_builder_bytes(row)));
            Ok(())
        })?;
        Ok(whole)
    }
}

impl TableReader<'_> {
    /// What is left of a stream that is kept as a run, its rows numbered by `number`. Fails if nothing is: without the
    /// table's dictionary, or the segment's commits.
    pub(crate) fn salvage_run(
        &self,
        stream: &StreamEntry,
        cost: &mut Cost,
        mut number: impl FnMut(RowOf<'_>, &mut Cost) -> Result<RowId, Error>,
    ) -> Result<Salvaged, Error> {
        self.dictionary()?;
        let commits = self.segment.commits()?;
        let (kind, mut run) = (stream.key.kind, self.run(&stream.record, None));
        let pieces: Vec<_> = run.pieces.iter().collect();
        let mut parts: Vec<Option<Part>> = Vec::with_capacity(run.looks());
        let mut salvaged = Salvaged::default();
        let mut lost_versions: Vec<std::ops::Range<usize>> = Vec::new();
        let mut lifetimes: Vec<Lifetime> = Vec::new();
        // Whether a version of a lost piece may still be alive.
        let mut is_open = false;
        // Whether the look before is lost, so that what follows goes on with its loss.
        let mut was_lost = false;
        for (at, entry) in pieces.iter().enumerate() {
            let mut lose = |first: Second, last: Second, was_lost: &mut bool| match salvaged.lost.last_mut() {
                Some(loss) if *was_lost => loss.last = loss.last.max(last),
                _ => {
                    salvaged.lost.push(Loss::between(first, last));
                    *was_lost = true;
                }
            };
            let whole = run.whole_piece(at, cost);
            let recorded = |look: &Look| usize::try_from(look.commit).ok().and_then(|at| commits.get(at)).copied();
            let whole = whole.ok().filter(|whole| whole.looks.iter().all(|look| recorded(look).is_some()));
            let Some(whole) = whole else {
                lose(entry.first, entry.last, &mut was_lost);
                lost_versions.push(entry.first_version..entry.first_version + entry.versions as usize);
                is_open = kind != Kind::Event;
                parts.extend((0..entry.parts).map(|_| None));
                continue;
            };
            let is_lost = |ordinal: &usize| lost_versions.iter().any(|lost| lost.contains(ordinal));
            let still_open = is_open && whole.alive.iter().any(is_lost);
            for (place, look) in whole.looks.iter().enumerate() {
                let part = look.part(recorded(look).unwrap_or_default());
                // At the first look what was alive before it may have gone, which only a full set does not tell.
                let is_known = !is_open || !still_open && (place > 0 || regular::is_full_set(kind, &part));
                if is_known {
                    was_lost = false;
                } else {
                    lose(look.second, look.second, &mut was_lost);
                }
                parts.push(is_known.then_some(part));
            }
            is_open = still_open;
            for (version, row) in whole.versions {
                let row = number(RowOf::Own(&row), cost)?;
                let born = version.born as u32;
                let died = version.died.map_or(regular::OPEN, |died| u32::try_from(died).unwrap_or(regular::OPEN));
                lifetimes.push(Lifetime { row, count: version.count, born, died });
            }
        }
        let is_full: Vec<bool> =
            parts.iter().map(|part| part.as_ref().is_some_and(|part| regular::is_full_set(kind, part))).collect();
        regular::rows_of_parts(&lifetimes, &is_full, |at, side, row, count| {
            if let Some(Some(part)) = parts.get_mut(at) {
                match side {
                    Side::Removed => part.removed.push((row, count)),
                    Side::Added => part.added.push((row, count)),
                }
            }
        });
        // Looks of a run ascend, so that those which are lost before another of it have counters between.
        let last = parts.last().and_then(Option::as_ref).map(|part| part.second);
        for loss in &mut salvaged.lost {
            loss.in_order = last.is_some_and(|last| loss.last < last);
        }
        salvaged.parts = parts.into_iter().flatten().collect();
        for part in &mut salvaged.parts {
            debug_assert!(part.inferred != Inferred::Lost);
            part.removed.sort_unstable();
            part.added.sort_unstable();
        }
        Ok(salvaged)
    }

    /// What is left of a stream that is kept as facts: the parts of each piece that is whole, but those whose rows are
    /// not there.
    pub(crate) fn salvage_facts(
        &self,
        stream: &StreamEntry,
        cost: &mut Cost,
        mut number: impl FnMut(RowOf<'_>, &mut Cost) -> Result<RowId, Error>,
    ) -> Salvaged {
        let mut salvaged = Salvaged::default();
        for entry in self.directory.pieces_at(stream.record.pieces.clone()).iter() {
            let Ok(parts) = self.decode_facts(&stream.key, &entry, cost) else {
                salvaged.lost.push(Loss::between(entry.first, entry.last));
                continue;
            };
            for mut part in parts {
                let second = part.second;
                match part.renumber(|id| number(RowOf::Table(id), cost)) {
                    Ok(()) => salvaged.parts.push(part),
                    Err(_) => salvaged.lost.push(Loss::between(second, second)),
                }
            }
        }
        salvaged
    }
}
