//! Losses put into a store as recovery puts them: in a segment of their own that says nothing else.

use crate::model::{self, Loss};
use erstwhile_engine::codec::Effort;
use erstwhile_engine::fact::{Kind, Micros, Name, SECOND_MAX, SECOND_MIN, StreamKey};
use erstwhile_engine::format::frame::FileId;
use erstwhile_engine::io::{Clock, Storage};
use erstwhile_engine::manifest::{Edit, ManifestFile};
use erstwhile_engine::memtable::part_key;
use erstwhile_engine::segment::directory::Layout;
use erstwhile_engine::segment::write::SegmentWriter;
use erstwhile_engine::timeline::Part;
use erstwhile_engine::timeline::loss;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is lost: of which stream, what, and since which recorded time.
pub type Lost = (model::StreamKey, Loss, Micros);

fn key(key: &model::StreamKey) -> StreamKey {
    let kind = match key.kind {
        model::Kind::Diff => Kind::Diff,
        model::Kind::Event => Kind::Event,
        model::Kind::Snapshot => Kind::Snapshot,
    };
    let [table, host, name] = [&key.table, &key.host, &key.name].map(|text| Name::from(&text[..]));
    StreamKey { table, host, name, kind, sightings: key.sightings }
}

fn part((_, lost, recorded): &Lost) -> Part {
    let loss = loss::Loss {
        first: lost.first.unwrap_or(SECOND_MIN),
        last: lost.last.unwrap_or(SECOND_MAX),
        in_order: lost.in_order,
    };
    loss.part(*recorded)
}

/// Writes them into a store that nobody has open.
pub fn write(storage: &Arc<dyn Storage>, clock: &Arc<dyn Clock>, lost: &[Lost]) {
    if lost.is_empty() {
        return;
    }
    let mut streams: BTreeMap<StreamKey, Vec<Part>> = BTreeMap::new();
    lost.iter().for_each(|lost| streams.entry(key(&lost.0)).or_default().push(part(lost)));
    streams.values_mut().for_each(|parts| parts.sort_by_key(part_key));
    let (state, mut manifest) = ManifestFile::open(storage.clone(), clock.clone()).expect("a store in memory");
    let id = FileId { store: state.store_id, number: state.next_file };
    let commits: BTreeSet<Micros> = lost.iter().map(|lost| lost.2).collect();
    let hosts: BTreeSet<Name> = streams.keys().map(|key| key.host.clone()).collect();
    let (commits, hosts) = (commits.into_iter().collect(), hosts.into_iter().collect());
    let wrote = || {
        let mut writer = SegmentWriter::create(&**storage, id, 1, Effort::Quick, commits, hosts)?;
        let mut table: Option<&Name> = None;
        for (key, parts) in &streams {
            if table != Some(&key.table) {
                writer.end_table()?;
                writer.begin_table(&key.table, Layout::Inline, None)?;
                table = Some(&key.table);
            }
            writer.inline(&Arc::new(key.clone()), parts, &[])?;
        }
        writer.end_table()?;
        let meta = writer.finish()?;
        let last_recorded = Some(meta.recorded.1);
        let (add, next_file) = (vec![Arc::new(meta)], id.number + 1);
        manifest.apply(&Edit { add, next_file, last_recorded, ..Edit::default() })
    };
    wrote().expect("a memory takes a segment");
}
