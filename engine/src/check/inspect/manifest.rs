//! The frames of a manifest: the snapshot, the edits, and the state that they make.

use super::item::{Fields, Sink, Value};
use super::walk::{self, Stretch};
use super::{Finding, Inspected, micros_range, second_range};
use crate::codec::varint;
use crate::error::{Fault, Structure};
use crate::format::frame::{FileKind, Frame, HEADER_BYTES, kind};
use crate::manifest::{Edit, Manifest, SegmentMeta, decode_edit, decode_summary};
use std::io;

pub(super) fn frames(file: &Inspected<'_>, sink: &mut Sink<'_>) -> io::Result<()> {
    let stretches = walk::stretches(file.bytes, &file.id, FileKind::Manifest);
    let last_edit =
        stretches.iter().rposition(|stretch| matches!(stretch, Stretch::Sound(_, frame) if frame.kind == kind::EDIT));
    // A file that was never named, or is no longer, may be cut short anywhere.
    let in_force = file.around.current.is_none_or(|current| current == file.id.number);
    // So many frames must be whole: nothing names a file before its snapshot is durable.
    let mut must = 1u64;
    // Until something is missing or does not fit.
    let mut state = Some(Manifest::empty(file.id.store));
    for (i, stretch) in stretches.iter().enumerate() {
        match stretch {
            Stretch::Bad { at, end, fault } => {
                let torn = !in_force || (must == 0 && last_edit.is_none_or(|last| last < i));
                walk::put_bad(file.bytes, *at, *end, fault, torn, sink)?;
                state = state.filter(|_| torn && must == 0);
            }
            Stretch::Sound(at, frame) => {
                let is_first = *at == HEADER_BYTES as u64;
                match frame.kind {
                    kind::SNAPSHOT if is_first => {
                        let mut payload = frame.payload;
                        let more = varint::take_u64(&mut payload).map_err(Fault::from);
                        must = more.as_ref().map_or(0, |more| more.saturating_add(1));
                        let edit = more.and_then(|more| decode_edit(payload).map(|edit| (Some(more), edit)));
                        put_edit(*at, frame, Structure::Snapshot, edit, &mut state, sink)?;
                    }
                    kind::EDIT if !is_first => {
                        let edit = decode_edit(frame.payload).map(|edit| (None, edit));
                        put_edit(*at, frame, Structure::Edit, edit, &mut state, sink)?;
                    }
                    _ if !is_first && frame.is_optional() => {
                        walk::put_other(*at, frame, "frame of a manifest", sink)?;
                        continue;
                    }
                    _ => {
                        walk::put_other(*at, frame, "frame of a manifest", sink)?;
                        state = None;
                    }
                }
                must = must.saturating_sub(1);
            }
        }
    }
    let len = file.bytes.len() as u64;
    let must_be_there = |fault: Fault| if in_force { Finding::Damage(fault) } else { Finding::Torn(fault) };
    match state {
        _ if must > 0 && !matches!(stretches.last(), Some(Stretch::Bad { .. })) => {
            let finding = must_be_there(Fault::Missing);
            sink.put(len, 0, "end of snapshot", vec![("frames_missing", Value::Number(must))], Some(finding))
        }
        Some(state) => sink.put(len, 0, "state", state_fields(&state), None),
        None => Ok(()),
    }
}

fn state_fields(state: &Manifest) -> Fields {
    vec![
        ("next_file", Value::Number(state.next_file)),
        ("log_floor", Value::Number(state.log_floor)),
        ("last_recorded", Value::Micros(state.last_recorded)),
        ("segments", Value::List(state.segments.keys().map(|&number| Value::Number(number)).collect())),
    ]
}

fn put_edit(
    at: u64,
    frame: &Frame<'_>,
    structure: Structure,
    edit: Result<(Option<u64>, Edit), Fault>,
    state: &mut Option<Manifest>,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    let bytes = frame.end - at;
    let (more, edit) = match edit {
        Ok(edit) => edit,
        Err(fault) => {
            *state = None;
            let fields = vec![("head", walk::head(frame.payload))];
            return sink.put(at, bytes, structure.word(), fields, Some(Finding::Damage(fault)));
        }
    };
    let mut fields = Vec::new();
    if let Some(more) = more {
        fields.push(("edits_that_follow", Value::Number(more)));
    }
    fields.extend([
        ("next_file", Value::Number(edit.next_file)),
        ("log_floor", edit.log_floor.map_or(Value::None, Value::Number)),
        ("last_recorded", edit.last_recorded.map_or(Value::None, Value::Micros)),
        ("removed", Value::List(edit.remove.iter().map(|&number| Value::Number(number)).collect())),
        ("added", Value::List(edit.add.iter().map(|meta| Value::Number(meta.number)).collect())),
    ]);
    let mut finding = None;
    if let Some(before) = state.take() {
        match before.after(&edit) {
            Ok(after) => *state = Some(after),
            Err(fault) => finding = Some(Finding::Damage(Fault::Edit(fault))),
        }
    }
    sink.put(at, bytes, structure.word(), fields, finding)?;
    edit.add.iter().try_for_each(|meta| put_segment(meta, sink))
}

fn put_segment(meta: &SegmentMeta, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut fields = vec![
        ("number", Value::Number(meta.number)),
        ("bytes", Value::Number(meta.bytes)),
        ("footer_checksum", Value::Checksum(meta.footer_crc)),
        ("level", Value::Number(meta.level.into())),
        ("recorded", micros_range(meta.recorded)),
        ("parts", Value::Number(meta.parts)),
        ("versions", Value::Number(meta.versions)),
    ];
    if !meta.unknown.is_empty() {
        let tags = meta.unknown.iter().map(|field| Value::Number(field.tag));
        fields.push(("unknown_tags", Value::List(tags.collect())));
    }
    sink.inner(1, "segment", fields)?;
    for table in &meta.tables {
        let fields = vec![
            ("table", Value::Text(table.table.clone())),
            ("parts", Value::Number(table.parts)),
            ("versions", Value::Number(table.versions)),
            ("seconds", second_range(table.first, table.last)),
        ];
        sink.inner(2, "table", fields)?;
    }
    if meta.summary.is_empty() {
        return Ok(());
    }
    let (streams, left_out) = match decode_summary(&meta.summary) {
        Ok(summary) => summary,
        Err(fault) => {
            let fields = vec![("head", walk::head(&meta.summary))];
            return sink.inner_with(2, Structure::Summary.word(), fields, Some(Finding::Damage(fault)));
        }
    };
    let fields = vec![
        ("bytes", Value::Number(meta.summary.len() as u64)),
        ("streams", Value::Number(streams.len() as u64)),
        ("left_out", Value::Number(left_out)),
    ];
    sink.inner(2, Structure::Summary.word(), fields)?;
    for extent in &streams {
        let mut fields = super::log::stream_fields(&extent.stream);
        fields.extend([("parts", Value::Number(extent.parts)), ("seconds", second_range(extent.first, extent.last))]);
        sink.inner(3, "stream", fields)?;
    }
    Ok(())
}
