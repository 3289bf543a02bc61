//! A segment's file is copied if it is whole; of one that is not what is whole is written into another.
//!
//! Invariants:
//! - Whole means: every byte is in a frame that verifies, and every stream can be read.
//! - What is not taken of a stream is marked as lost.

use super::{Fate, Work};
use crate::check::inspect::walk::{Stretch, stretches};
use crate::codec::Effort;
use crate::error::{During, Error};
use crate::fact::{Micros, Name, StreamKey};
use crate::format::frame::{FileId, FileKind};
use crate::format::names;
use crate::io::Mapped;
use crate::manifest::{SegmentMeta, StreamExtent, decode_summary};
use crate::memtable::{Interner, part_key};
use crate::read::answer::Cost;
use crate::row::Row;
use crate::segment::cache::Cache;
use crate::segment::directory::{Form, Layout, StreamEntry};
use crate::segment::run::salvage::Salvaged;
use crate::segment::write::SegmentWriter;
use crate::segment::{RowCursor, RowOf, Segment, TableReader};
use crate::timeline::loss::Loss;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes of decoded blocks kept meanwhile.
const CACHE_BYTES: usize = 16 << 20;
/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Takes what is whole of a segment's file; fails if nothing tells what it holds, or as the disk does that is written to.
pub(super) fn take(
    work: &mut Work<'_>,
    name: &str,
    map: Mapped,
    id: FileId,
    meta: Option<&SegmentMeta>,
) -> Result<Fate, Error> {
    let found = stretches(&map, &id, FileKind::Segment);
    let mut frames = Vec::new();
    let mut why = None;
    let trailer_at = map.len().saturating_sub(crate::segment::footer::TRAILER_BYTES) as u64;
    for stretch in found {
        match stretch {
            Stretch::Sound(at, frame) => frames.push((at, frame)),
            // The trailer is no frame.
            Stretch::Bad { at, end, .. } if at == trailer_at && end == map.len() as u64 => {}
            Stretch::Bad { at, fault, .. } => why = why.or(Some(format!("at {at}: {fault}"))),
        }
    }
    let whole = match (&why, meta) {
        (None, Some(meta)) => Segment::open(work.from, id, meta).map(Arc::new).and_then(|segment| {
            each_stream(&segment, |reader, stream| salvage(reader, stream).map(|left| left.0.lost.is_empty()))
                .map(|whole| whole.into_iter().all(|whole| whole))
        }),
        _ => Ok(false),
    };
    if let (Ok(true), Some(meta)) = (&whole, meta) {
        copy(work, &map, &names::segment(id.number))?;
        work.metas.push(meta.clone());
        return Ok(Fate::Whole);
    }
    let why = why.or_else(|| whole.err().map(|error| error.to_string()));
    let segment = Arc::new(Segment::of_damaged(id, name, map.clone(), meta, &frames)?);
    write_rest(work, &segment, meta, why)
}

/// Copies a file.
fn copy(work: &Work<'_>, bytes: &[u8], name: &str) -> Result<(), Error> {
    let mut output = work.to.create(name).during("create", name)?;
    for chunk in bytes.chunks(COPY_BYTES) {
        output.append(chunk).during("append to", name)?;
    }
    output.sync().during("sync", name)?;
    work.to.sync_dir().during("sync the directory of", name)
}

fn each_stream<T>(
    segment: &Arc<Segment>,
    mut each: impl FnMut(&TableReader<'_>, &StreamEntry) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    for reader in segment.tables() {
        let reader = reader?;
        for stream in reader.directory.entries(0..reader.directory.streams()) {
            all.push(each(&reader, &stream)?);
        }
    }
    Ok(all)
}

/// What is left of a stream, and the rows that its parts name.
fn salvage(reader: &TableReader<'_>, stream: &StreamEntry) -> Result<(Salvaged, Vec<Row>), Error> {
    let cache = Cache::new(CACHE_BYTES);
    let (mut rows, mut cursor, mut cost) = (Interner::default(), RowCursor::of_all(), Cost::default());
    let number = |row: RowOf<'_>, cost: &mut Cost| match row {
        RowOf::Table(id) => Ok(rows.intern(&reader.row(id, &mut cursor, &cache, cost)?).0),
        RowOf::Own(row) => Ok(rows.intern(row).0),
    };
    let mut left = match stream.record.form {
        Form::Run => reader.salvage_run(stream, &mut cost, number)?,
        Form::Facts => reader.salvage_facts(stream, &mut cost, number),
    };
    left.parts.sort_by_key(part_key);
    Ok((left, rows.into_rows()))
}

/// Writes what is left of a damaged segment into a new one, and marks what is not.
fn write_rest(
    work: &mut Work<'_>,
    segment: &Arc<Segment>,
    meta: Option<&SegmentMeta>,
    why: Option<String>,
) -> Result<Fate, Error> {
    let since = meta.map_or(segment.footer().recorded.0, |meta| meta.recorded.0);
    let mut lost: BTreeMap<Arc<StreamKey>, Vec<Loss>> = BTreeMap::new();
    // What each stream must have, by the manifest: what no directory tells of is lost.
    let told = meta.and_then(|meta| decode_summary(&meta.summary).ok()).unwrap_or_default().0;
    let mut untold: BTreeMap<Arc<StreamKey>, Loss> =
        told.into_iter().map(|StreamExtent { stream, first, last, .. }| (stream, Loss::between(first, last))).collect();
    let mut tables_lost: Vec<(Name, Loss)> = Vec::new();
    let (mut commits, mut hosts): (BTreeSet<Micros>, BTreeSet<Name>) = Default::default();
    let mut readers = Vec::new();
    for (at, entry) in segment.footer().tables.iter().enumerate() {
        match segment.table_at(at) {
            Ok(reader) => readers.push(reader),
            Err(_) => tables_lost.push((entry.name.clone(), Loss::between(entry.first, entry.last))),
        }
    }
    // A writer is told beforehand whose streams come, and when they were recorded.
    for reader in &readers {
        for stream in reader.directory.entries(0..reader.directory.streams()) {
            let Ok((left, _)) = salvage(reader, &stream) else { continue };
            commits.extend(left.parts.iter().map(|part| part.recorded));
            if !left.parts.is_empty() {
                hosts.insert(stream.key.host.clone());
            }
        }
    }
    let (id, now) = (work.next_file(), work.now);
    let (commits, hosts) = (commits.into_iter().collect(), hosts.into_iter().collect());
    let mut writer = SegmentWriter::create(work.to, id, now, Effort::Quick, commits, hosts)?;
    let mut parts = 0;
    for reader in &readers {
        let mut is_begun = false;
        for stream in reader.directory.entries(0..reader.directory.streams()) {
            let extent = untold.remove(&stream.key);
            let (left, rows) = match salvage(reader, &stream) {
                Ok(left) => left,
                Err(_) => {
                    let (first, last) = extent_of(reader, &stream);
                    lost.entry(stream.key.clone()).or_default().push(extent.unwrap_or(Loss::between(first, last)));
                    continue;
                }
            };
            if !left.lost.is_empty() {
                lost.entry(stream.key.clone()).or_default().extend(left.lost);
            }
            if !left.parts.is_empty() {
                if !std::mem::replace(&mut is_begun, true) {
                    writer.begin_table(&reader.entry.name, Layout::Inline, None)?;
                }
                writer.inline(&stream.key, &left.parts, &rows)?;
                parts += left.parts.len() as u64;
            }
        }
        writer.end_table()?;
    }
    let is_empty = parts == 0;
    let written = writer.finish()?;
    if is_empty {
        work.to.remove(&names::segment(id.number)).during("remove", &names::segment(id.number))?;
    } else {
        work.metas.push(written);
    }
    for (stream, loss) in untold {
        lost.entry(stream).or_default().push(loss);
    }
    let named: BTreeSet<&Name> = lost.keys().map(|key| &key.table).collect();
    for (table, loss) in tables_lost {
        // Without a summary nothing tells whose streams these were.
        if !named.contains(&table) {
            work.marks.lose_table(Some(&table), loss, since);
        }
    }
    if meta.is_none() && segment.footer().tables.is_empty() {
        work.marks.lose_table(None, Loss::OF_ALL, super::marks::EVER);
    }
    let streams_lost = lost.len() as u64;
    for (stream, losses) in &lost {
        losses.iter().for_each(|loss| work.marks.lose(stream, *loss, since));
    }
    Ok(match why {
        None if lost.is_empty() => {
            let tables = segment.footer().tables.iter();
            work.untold.push(tables.map(|table| (table.name.clone(), table.parts)).collect());
            Fate::Whole
        }
        why => {
            let why = why.unwrap_or_default();
            if is_empty { Fate::Lost { why } } else { Fate::Part { parts, streams_lost, why } }
        }
    })
}

/// The seconds of a stream's first and last part.
fn extent_of(reader: &TableReader<'_>, stream: &StreamEntry) -> (i64, i64) {
    let pieces = reader.directory.pieces_at(stream.record.pieces.clone());
    let last = pieces.iter().map(|piece| piece.last).max().unwrap_or(i64::MAX);
    (pieces.first(0).unwrap_or(0), last)
}
