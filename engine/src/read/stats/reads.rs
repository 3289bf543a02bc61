//! What a read of a past moment costs, measured: some streams of each table are asked for as they were.

use super::{Gathering, Reads};
use crate::error::Error;
use crate::fact::{Kind, Name, Second};
use crate::read::answer::Cost;
use crate::read::question::StateQuestion;
use crate::read::view::View;
use crate::segment::run::BLOCK_VERSIONS_MAX;
use std::collections::BTreeMap;

/// So many streams of a table are asked for.
const STREAMS_MAX: usize = 100;

/// A read decodes at most so many keys for each row that it finds …
pub const KEYS_PER_ROW_MAX: u64 = 4;
/// … and so many for each stream, once that is merged.
pub const KEYS_BESIDE_MAX: u64 = 2 * BLOCK_VERSIONS_MAX as u64;

/// A stream by its host and its name; the same name may bring two of them, differences and snapshots.
type Asked<'g> = (&'g Name, &'g Name);

/// Measures each table that is asked for.
pub(super) fn measure(view: &View, gathering: &Gathering<'_>) -> Result<BTreeMap<Name, Reads>, Error> {
    let settings = view.settings(view.bound(None), &mut Cost::default())?;
    let mut tables: BTreeMap<&Name, BTreeMap<Asked<'_>, (Second, Second, u64)>> = BTreeMap::new();
    for (host, streams) in &gathering.seen {
        // What has no state is not asked for one.
        let is_sighted =
            |table: &Name, name: &Name| streams.keys().any(|of| (&of.0, &of.1, of.3) == (table, name, true));
        for ((table, name, kind, _), seen) in streams {
            let has_state = !matches!(kind, Kind::Event | Kind::Note) && !settings.catalogue.is_evented(table);
            if gathering.is_asked(table) && has_state && !is_sighted(table, name) {
                let (first, last, streams) =
                    tables.entry(table).or_default().entry((host, name)).or_insert((seen.first, seen.last, 0));
                (*first, *last, *streams) = (seen.first.min(*first), seen.last.max(*last), *streams + 1);
            }
        }
    }
    // What is remembered costs nothing.
    let view = view.afresh();
    let mut measured = BTreeMap::new();
    for (table, streams) in tables {
        let (all, mut reads) = (streams.len(), Reads::default());
        let some = all.min(STREAMS_MAX);
        let chosen = streams.into_iter().enumerate().filter(|(at, _)| at * some % all < some).map(|(_, stream)| stream);
        for (at, ((host, name), (first, last, streams))) in chosen.enumerate() {
            // Each at another depth of its history.
            let depth = (i128::from(last) - i128::from(first)) * (at as i128 + 1) / (some as i128 + 1);
            let question = StateQuestion {
                table: table.clone(),
                at: first + depth as Second,
                host: Some(host.clone()),
                stream: Some(name.clone()),
                wheres: Vec::new(),
                known_at: None,
            };
            let state = view.state(&question)?;
            let (rows, keys) = (state.rows.len() as u64, state.cost.keys_decoded);
            reads.asked += 1;
            reads.rows += rows;
            reads.keys += keys;
            reads.beyond += u64::from(keys > KEYS_PER_ROW_MAX * rows + KEYS_BESIDE_MAX * streams);
        }
        measured.insert(table.clone(), reads);
    }
    Ok(measured)
}
