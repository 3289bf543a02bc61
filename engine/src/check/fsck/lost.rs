//! What is lost with a structure of a segment, as exactly as what is left tells.

use super::segment::{Place, SegmentFile, Table};
use crate::check::loss::{Loss, Losses, Streams, What, of_segment};
use crate::fact::Second;
use crate::segment::Frames;
use crate::segment::directory::{Directory, Form};
use crate::segment::piece;
use crate::timeline::Part;
use std::ops::Range;

/// Adds what is lost with a structure.
pub(super) fn of(file: &SegmentFile<'_>, place: &Place, losses: &mut Losses) {
    match place {
        // Both name everything; what their pieces hold is there, but nothing says whose it is.
        Place::Footer | Place::Hosts => of_all(file, losses),
        Place::Directory(table) => of_table(file, *table, losses),
        Place::Commits => {
            for table in &file.tables {
                each_stream(file, table, losses, |form| (form == Form::Run).then_some(What::Recorded));
            }
        }
        Place::Dictionary(table) => each_stream(file, &file.tables[*table], losses, |_| Some(What::Rows)),
        // Streams, and facts, tell the same.
        Place::Index | Place::Resolved => {}
        Place::Rows(table, rows) => of_rows(file, &file.tables[*table], rows, losses),
        Place::Piece(table, stream, piece) => {
            if let Some(stream) = file.tables[*table].directory.as_ref().and_then(|directory| directory.entry(*stream))
            {
                let seconds = Some((piece.first, piece.last));
                losses.push(Loss::of_stream(&stream.key, What::Looks, seconds, file.recorded()));
            }
        }
    }
}

/// Adds what is lost with something that nothing sound names: it is of a table whose directory is gone, if of any.
pub(super) fn of_unnamed(file: &SegmentFile<'_>, losses: &mut Losses) {
    if file.tables.is_empty() {
        return of_all(file, losses);
    }
    for table in (0..file.tables.len()).filter(|table| file.tables[*table].directory.is_none()) {
        of_table(file, table, losses);
    }
}

fn of_all(file: &SegmentFile<'_>, losses: &mut Losses) {
    match &file.meta {
        Some(meta) => of_segment(meta, None, losses),
        None => losses.push(Loss { what: What::Stream, recorded: file.recorded(), ..Loss::nothing() }),
    }
}

fn of_table(file: &SegmentFile<'_>, table: usize, losses: &mut Losses) {
    let entry = &file.tables[table].entry;
    match &file.meta {
        Some(meta) => of_segment(meta, Some(&entry.name), losses),
        None => losses.push(Loss {
            streams: Streams::of_table(&entry.name),
            what: What::Stream,
            seconds: Some((entry.first, entry.last)),
            recorded: file.recorded(),
        }),
    }
}

fn each_stream(file: &SegmentFile<'_>, table: &Table, losses: &mut Losses, what: impl Fn(Form) -> Option<What>) {
    let Some(directory) = &table.directory else {
        return;
    };
    for stream in directory.entries(0..directory.streams()) {
        if let Some(what) = what(stream.record.form) {
            let seconds = Some(directory.extent(&stream.record));
            losses.push(Loss::of_stream(&stream.key, what, seconds, file.recorded()));
        }
    }
}

/// The streams whose parts name some rows, with the seconds of these parts. What cannot be decoded may name them.
fn of_rows(file: &SegmentFile<'_>, table: &Table, rows: &Range<u64>, losses: &mut Losses) {
    let Some(directory) = &table.directory else {
        return;
    };
    for stream in directory.entries(0..directory.streams()).filter(|stream| stream.record.form == Form::Facts) {
        let mut seconds: Option<(Second, Second)> = None;
        for piece in directory.pieces_at(stream.record.pieces.clone()).iter() {
            let (first, last) = match decode(file, directory, stream.key.kind, piece.offset) {
                Some(parts) => {
                    let names = |part: &&Part| {
                        part.removed.iter().chain(&part.added).any(|copies| rows.contains(&u64::from(copies.0)))
                    };
                    let mut named = parts.iter().filter(names).map(|part| part.second);
                    let Some(first) = named.next() else {
                        continue;
                    };
                    (first, named.next_back().unwrap_or(first))
                }
                None => (piece.first, piece.last),
            };
            seconds = Some(seconds.map_or((first, last), |known| (known.0.min(first), known.1.max(last))));
        }
        if seconds.is_some() {
            losses.push(Loss::of_stream(&stream.key, What::Rows, seconds, file.recorded()));
        }
    }
}

fn decode(file: &SegmentFile<'_>, directory: &Directory, kind: crate::fact::Kind, offset: u64) -> Option<Vec<Part>> {
    let frame = file.frame(offset, Frames::PIECE).ok()?;
    piece::decode(kind, frame.payload, directory.rows).ok()
}
