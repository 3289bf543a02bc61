//! The frames of a segment: rows, pieces, directories, footer; and the trailer.
//!
//! What stands first in the file is named by what stands last: directories say whose a piece is, the footer says whose a
//! directory is. So the names are gathered first, from what is sound of them; what nothing names is shown without.

use super::item::{Fields, Sink, Value};
use super::log::stream_fields;
use super::walk::{self, Stretch};
use super::{Finding, Inspected, micros_range, second_range};
use crate::agent::inferred_text;
use crate::codec::{self, ints, take, take_between, take_u8, texts};
use crate::error::{Fault, Structure};
use crate::fact::{Kind, Name, Second, StreamKey};
use crate::format::frame::{FileKind, Frame, HEADER_BYTES};
use crate::manifest::SegmentMeta;
use crate::packing::Dictionary;
use crate::row::RowBuilder;
use crate::segment::directory::{Directory, Layout, PieceEntry};
use crate::segment::footer::{Footer, TRAILER_BYTES, read_trailer};
use crate::segment::hosts::Hosts;
use crate::segment::index::{Index, Postings};
use crate::segment::piece::{self, Counts};
use crate::segment::rows::{self, RowBlock};
use crate::segment::run::piece::Look;
use crate::segment::{Frames, run, take_commits};
use crate::timeline::Part;
use crate::timeline::moments::{State, VersionCopies};
use rustc_hash::FxHashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// More rows than any table of a segment has: stands for the number of rows where no directory tells it.
const ROWS_ANY: u64 = 1 << 32;

pub(super) fn frames(file: &Inspected<'_>, sink: &mut Sink<'_>) -> io::Result<()> {
    let len = file.bytes.len();
    if len <= HEADER_BYTES {
        return trailer(file, len, &[], sink);
    }
    // A sound trailer is no frame that goes bad.
    let is_whole = read_trailer(file.bytes, &file.id).is_ok() && len >= HEADER_BYTES + TRAILER_BYTES;
    let end = if is_whole { len - TRAILER_BYTES } else { len };
    let mut stretches = walk::stretches(&file.bytes[..end], &file.id, FileKind::Segment);
    let mut trailer_at = end;
    if let Some(Stretch::Bad { at, .. }) = stretches.last()
        && *at as usize + TRAILER_BYTES == len
    {
        trailer_at = *at as usize;
        stretches.pop();
    }
    let named = Named::of(&stretches);
    let meta = file.around.manifest.as_ref().and_then(|manifest| manifest.segments.get(&file.id.number));
    for stretch in &stretches {
        match stretch {
            Stretch::Bad { at, end, fault } => walk::put_bad(file.bytes, *at, *end, fault, false, sink)?,
            Stretch::Sound(at, frame) => match frame.kind {
                Frames::ROWS => put_rows(*at, frame, named.rows.get(at), sink)?,
                Frames::PIECE => put_piece(*at, frame, named.pieces.get(at), sink)?,
                Frames::RUN | Frames::CHECKED_RUN => put_run(*at, frame, named.pieces.get(at), sink)?,
                Frames::PACKED => put_packed(*at, frame, named.rows.get(at), sink)?,
                Frames::HOSTS => put_hosts(*at, frame, sink)?,
                Frames::COMMITS => put_commits(*at, frame, sink)?,
                Frames::DICTIONARY => put_dictionary(*at, frame, sink)?,
                Frames::INDEX => put_index(*at, frame, named.indexes.get(at), sink)?,
                Frames::DIRECTORY => put_directory(*at, frame, &named, sink)?,
                Frames::FOOTER => put_footer(*at, frame, meta, sink)?,
                _ => walk::put_other(*at, frame, "frame of a segment", sink)?,
            },
        }
    }
    trailer(file, trailer_at, &stretches, sink)?;
    end_of_file(file, meta, sink)
}

/// The trailer at `at`, or what is missing of it.
fn trailer(file: &Inspected<'_>, at: usize, stretches: &[Stretch<'_>], sink: &mut Sink<'_>) -> io::Result<()> {
    let bytes = (file.bytes.len() - at) as u64;
    let (fields, fault) = match read_trailer(file.bytes, &file.id) {
        Ok(offset) => {
            let is_there = |stretch: &Stretch<'_>| match stretch {
                Stretch::Sound(at, frame) => *at == offset && frame.kind == Frames::FOOTER,
                Stretch::Bad { at, end, .. } => (*at..*end).contains(&offset),
            };
            let fault = (!stretches.iter().any(is_there)).then_some(Fault::Missing);
            (vec![("footer", Value::Number(offset))], fault)
        }
        // What is told of the stretch before covers its end.
        Err(_) if bytes == 0 && matches!(stretches.last(), Some(Stretch::Bad { .. })) => return Ok(()),
        Err(_) if bytes == 0 => {
            let needed = TRAILER_BYTES as u64;
            (Vec::new(), Some(codec::Fault::Length { needed, found: 0 }.into()))
        }
        Err(fault) => (vec![("head", walk::head(&file.bytes[at..]))], Some(fault.into())),
    };
    sink.put(at as u64, bytes, Structure::Trailer.word(), fields, fault.map(Finding::Damage))
}

/// What the manifest says of the file, if there is one.
fn end_of_file(file: &Inspected<'_>, meta: Option<&Arc<SegmentMeta>>, sink: &mut Sink<'_>) -> io::Result<()> {
    if file.around.manifest.is_none() {
        return Ok(());
    }
    let len = file.bytes.len() as u64;
    let finding = meta.filter(|meta| meta.bytes != len).map(|meta| walk::short(meta.bytes, len));
    sink.put(len, 0, "end of file", vec![("in_manifest", Value::Flag(meta.is_some()))], finding)
}

/// Whose a block of rows is.
struct RowsName {
    /// `None` if the footer that would tell is not sound.
    table: Option<Name>,
    /// The numbers of its rows.
    rows: Range<u64>,
}

/// Whose a piece is.
struct PieceName {
    /// Without the table if the footer that would tell it is not sound.
    stream: Arc<StreamKey>,
    is_table_known: bool,
    entry: PieceEntry,
    /// How many rows its table has.
    rows: u64,
    /// Whether it is of a run beside facts.
    is_resolved: bool,
}

/// What directories and footer say, by offset.
struct Named {
    rows: FxHashMap<u64, RowsName>,
    pieces: FxHashMap<u64, PieceName>,
    /// Table and column.
    indexes: FxHashMap<u64, (Name, Name)>,
    tables: FxHashMap<u64, Name>,
    /// The hosts by number; without names if the list is not sound.
    hosts: Arc<Hosts>,
    /// The sound frames.
    sound: FxHashMap<u64, u8>,
}

impl Named {
    fn of(stretches: &[Stretch<'_>]) -> Named {
        let mut named = Named {
            rows: FxHashMap::default(),
            pieces: FxHashMap::default(),
            indexes: FxHashMap::default(),
            tables: FxHashMap::default(),
            hosts: Arc::new(Hosts::unknown()),
            sound: FxHashMap::default(),
        };
        let sound = || {
            stretches.iter().filter_map(|stretch| match stretch {
                Stretch::Sound(at, frame) => Some((*at, frame)),
                Stretch::Bad { .. } => None,
            })
        };
        for (at, frame) in sound() {
            named.sound.insert(at, frame.kind);
            if frame.kind == Frames::FOOTER
                && let Ok(footer) = Footer::decode(frame.payload)
            {
                named.tables.extend(footer.tables.into_iter().map(|table| (table.directory, table.name)));
            }
            if frame.kind == Frames::HOSTS
                && let Ok(hosts) = Hosts::open(frame.payload.into())
            {
                named.hosts = Arc::new(hosts);
            }
        }
        for (at, frame) in sound().filter(|(_, frame)| frame.kind == Frames::DIRECTORY) {
            if let Ok(directory) = named.directory(at, frame) {
                named.note(named.tables.get(&at).cloned(), &directory);
            }
        }
        named
    }

    fn directory(&self, at: u64, frame: &Frame<'_>) -> Result<Directory, codec::Fault> {
        let table = self.tables.get(&at).cloned().unwrap_or_default();
        Directory::open(&table, self.hosts.clone(), frame.payload.into())
    }

    fn note(&mut self, table: Option<Name>, directory: &Directory) {
        for (column, offset) in &directory.indexes {
            self.indexes.insert(*offset, (table.clone().unwrap_or_default(), column.clone()));
        }
        let blocks = &directory.row_blocks;
        for (i, &(first, offset)) in blocks.iter().enumerate() {
            let end = blocks.get(i + 1).map_or(directory.rows, |next| next.0);
            self.rows.insert(offset, RowsName { table: table.clone(), rows: first..end });
        }
        for of in directory.entries(0..directory.streams()) {
            for entry in directory.pieces_at(of.record.pieces.clone()).iter() {
                let (stream, is_table_known) = (of.key.clone(), table.is_some());
                let name = PieceName { stream, is_table_known, entry, rows: directory.rows, is_resolved: false };
                self.pieces.insert(entry.offset, name);
            }
            for entry in directory.pieces_at(of.record.resolved.clone()).iter() {
                let (stream, is_table_known) = (of.key.clone(), table.is_some());
                let name = PieceName { stream, is_table_known, entry, rows: directory.rows, is_resolved: true };
                self.pieces.insert(entry.offset, name);
            }
        }
    }

    fn is_sound(&self, offset: u64, kind: u8) -> bool {
        self.sound.get(&offset) == Some(&kind)
    }
}

fn table_value(table: Option<&Name>) -> Value {
    table.map_or(Value::None, |table| Value::Text(table.clone()))
}

/// A column as it is stored.
struct Column {
    name: Value,
    values: u64,
    form: Value,
    presence: Option<&'static str>,
    bytes: u64,
}

fn put_columns(columns: Vec<Column>, sink: &mut Sink<'_>) -> io::Result<()> {
    for column in columns {
        let mut fields = vec![("column", column.name), ("values", Value::Number(column.values)), ("form", column.form)];
        if let Some(presence) = column.presence {
            fields.push(("present", Value::Word(presence)));
        }
        fields.push(("bytes", Value::Number(column.bytes)));
        sink.inner(1, "column", fields)?;
    }
    Ok(())
}

/// What the form of rows or parts is called, if it is one.
fn form_value(bytes: &[u8], forms: [(u8, &'static str); 2]) -> Value {
    let word = forms.into_iter().find(|(form, _)| bytes.first() == Some(form));
    word.map_or(Value::None, |(_, word)| Value::Word(word))
}

/// A block's number of rows and columns, as far as they decode.
fn row_columns(bytes: &[u8]) -> (Option<u64>, Vec<Column>) {
    let mut columns = Vec::new();
    let bytes = &mut { bytes };
    let form = take_u8(bytes);
    let Ok(rows) = take_between(bytes, 0, rows::ROWS_MAX as u64) else {
        return (None, columns);
    };
    if form != Ok(rows::FORM_COLUMNS) {
        return (Some(rows), columns);
    }
    // What fails here fails again where the block is decoded, and is told there.
    let mut walk = || {
        for _ in 0..take_between(bytes, 0, rows::COLUMNS_MAX)? {
            let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
            let name = Value::Text(Name::from(take(bytes, len)?));
            let words = if rows > 0 { texts::form_words(bytes) } else { None };
            let before = bytes.len();
            texts::decode(bytes, rows as usize, rows::TEXT_BYTES_MAX)?;
            columns.push(Column {
                name,
                values: rows,
                form: words.map_or(Value::None, |(form, _)| Value::Word(form)),
                presence: words.map(|(_, presence)| presence),
                bytes: (before - bytes.len()) as u64,
            });
        }
        Ok::<(), codec::Fault>(())
    };
    let _ = walk();
    (Some(rows), columns)
}

fn put_rows(at: u64, frame: &Frame<'_>, named: Option<&RowsName>, sink: &mut Sink<'_>) -> io::Result<()> {
    let (rows, columns) = row_columns(frame.payload);
    let block = RowBlock::decode(frame.payload, &mut Vec::new());
    let mut fields = vec![("table", table_value(named.and_then(|named| named.table.as_ref())))];
    fields.push(("first_row", named.map_or(Value::None, |named| Value::Number(named.rows.start))));
    fields.push(("rows", rows.map_or(Value::None, Value::Number)));
    let forms = [(rows::FORM_COLUMNS, "columns"), (rows::FORM_LISTED, "listed")];
    fields.push(("form", form_value(frame.payload, forms)));
    fields.push(("columns", Value::Number(columns.len() as u64)));
    let fault = match (&block, named) {
        (Err(fault), _) => Some(*fault),
        (Ok(block), Some(named)) => differs(block.len() as u64, named.rows.end - named.rows.start),
        (Ok(_), None) => None,
    };
    sink.put(at, frame.end - at, Structure::Rows.word(), fields, fault.map(|fault| Finding::Damage(fault.into())))?;
    put_columns(columns, sink)?;
    let Ok(block) = block else {
        return Ok(());
    };
    let (mut builder, first) = (RowBuilder::new(), named.map_or(0, |named| named.rows.start));
    for i in 0..block.len().min(sink.rows()) {
        let row = Value::Row(block.row(i, &mut builder));
        sink.inner(1, "row", vec![("row", Value::Number(first + i as u64)), ("columns", row)])?;
    }
    Ok(())
}

/// The fault of a number that another structure tells otherwise.
fn differs(found: u64, told: u64) -> Option<codec::Fault> {
    (found != told).then_some(codec::Fault::Range { found, min: told, max: told })
}

/// A piece's counts and columns with their values, as far as they decode.
fn piece_columns(mut bytes: &[u8]) -> (Option<Counts>, Vec<Column>, Vec<Vec<u64>>) {
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    let form = take_u8(&mut bytes);
    let counts = if form == Ok(piece::FORM_COLUMNS) { Counts::take(&mut bytes).ok() } else { None };
    let Some(counts) = counts else {
        return (None, columns, values);
    };
    for (name, count) in counts.columns() {
        let form = if count > 0 { ints::form_word(bytes) } else { None };
        let before = bytes.len();
        let Ok(column) = ints::decode(&mut bytes, count) else {
            break;
        };
        values.push(column);
        columns.push(Column {
            name: Value::Word(name),
            values: count as u64,
            form: form.map_or(Value::None, Value::Word),
            presence: None,
            bytes: (before - bytes.len()) as u64,
        });
    }
    (Some(counts), columns, values)
}

fn put_piece(at: u64, frame: &Frame<'_>, named: Option<&PieceName>, sink: &mut Sink<'_>) -> io::Result<()> {
    let (counts, columns, values) = piece_columns(frame.payload);
    // Of differences every part may be stored in either way, so nothing is refused for its kind.
    let (kind, rows) = named.map_or((Kind::Diff, ROWS_ANY), |named| (named.stream.kind, named.rows));
    let parts = piece::decode(kind, frame.payload, rows);
    let mut fields = of_stream(named);
    let forms = [(piece::FORM_COLUMNS, "columns"), (piece::FORM_LISTED, "listed")];
    fields.push(("form", form_value(frame.payload, forms)));
    if let (None, Ok(parts)) = (counts, &parts) {
        fields.push(("parts", Value::Number(parts.len() as u64)));
    }
    if let Some(counts) = counts {
        fields.push(("parts", Value::Number(counts.parts as u64)));
        fields.push(("versions", Value::Number(counts.versions as u64)));
        fields.push(("orphans", Value::Number(counts.orphans as u64)));
    }
    let fault = match (&parts, named) {
        (Err(fault), _) => Some(*fault),
        (Ok(parts), Some(named)) => {
            let copies = parts.iter().map(|part| (part.removed.len() + part.added.len()) as u64).sum();
            differs(parts.len() as u64, named.entry.parts).or_else(|| differs(copies, named.entry.copies))
        }
        (Ok(_), None) => None,
    };
    sink.put(at, frame.end - at, Structure::Piece.word(), fields, fault.map(|fault| Finding::Damage(fault.into())))?;
    put_columns(columns, sink)?;
    for (ordinal, part) in parts.iter().flatten().enumerate() {
        sink.inner(1, "part", part_fields(ordinal, part))?;
    }
    match (counts, <[Vec<u64>; 11]>::try_from(values)) {
        (Some(counts), Ok(values)) => put_versions(counts, &values, sink),
        _ => Ok(()),
    }
}

/// The fields that say whose a piece is.
fn of_stream(named: Option<&PieceName>) -> Fields {
    let mut fields = match named {
        Some(named) => stream_fields(&named.stream),
        None => vec![("stream", Value::None)],
    };
    if named.is_some_and(|named| !named.is_table_known) {
        fields[0].1 = Value::None;
    }
    fields
}

/// A piece of a run: its looks, and its first versions. Without a directory nobody knows how many there are.
/// What a run tells of one of its looks.
enum Told {
    Look(Look),
    Moment(State),
}

fn put_run(at: u64, frame: &Frame<'_>, named: Option<&PieceName>, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut fields = of_stream(named);
    let Some(named) = named else {
        return sink.put(at, frame.end - at, "piece of a run", fields, None);
    };
    let (looks, versions) = (named.entry.parts as usize, named.entry.versions as usize);
    fields.push((if named.is_resolved { "moments" } else { "looks" }, Value::Number(named.entry.parts)));
    fields.push(("versions", Value::Number(named.entry.versions)));
    let (is_of_events, is_checked) = (named.stream.kind == Kind::Event, frame.kind == Frames::CHECKED_RUN);
    let piece = run::piece::Piece::open(frame.payload, looks, versions, is_of_events, is_checked);
    let walked = piece.and_then(|piece| {
        let told: Vec<(Second, Told)> = if named.is_resolved {
            let columns = piece.of_looks().moment_columns()?;
            let moment =
                |look| Ok((piece.head().second(look)?, Told::Moment(piece.of_looks().moment(&columns, look)?.0)));
            (0..looks).map(moment).collect::<Result<_, codec::Fault>>()?
        } else {
            let columns = piece.of_looks().look_columns()?;
            let look = |look| piece.of_looks().look(&columns, look).map(|look| (look.second, Told::Look(look)));
            (0..looks).map(look).collect::<Result<_, _>>()?
        };
        let mut firsts = Vec::new();
        for block in 0..piece.head().blocks() {
            let block = piece.block(block)?;
            block.alive(|_| ())?;
            let (mut looks, mut starts, mut born) = (Vec::new(), Vec::new(), vec![0; block.count]);
            block.groups(&mut looks, &mut starts)?;
            looks.iter().zip(&starts).for_each(|(&look, &start)| born[start as usize..].fill(look as usize));
            for (version, born) in born.into_iter().enumerate() {
                let (length, copies) = (block.length(version)?, block.copies(version)?);
                if firsts.len() < sink.rows() {
                    firsts.push((born, length, copies));
                }
            }
        }
        Ok((told, firsts))
    });
    let fault = walked.as_ref().err().map(|fault| Finding::Damage((*fault).into()));
    sink.put(at, frame.end - at, "piece of a run", fields, fault)?;
    let Ok((told, firsts)) = walked else {
        return Ok(());
    };
    for (ordinal, (second, told)) in told.iter().enumerate() {
        let ordinal = Value::Number((named.entry.first_look + ordinal) as u64);
        let mut fields = vec![("ordinal", ordinal), ("second", Value::Second(*second))];
        let what = match told {
            Told::Look(look) => {
                fields.extend([
                    ("epoch", Value::Number(look.epoch)),
                    ("counter", look.counter.map_or(Value::None, Value::Number)),
                    ("whole", Value::Flag(look.whole)),
                    ("inferred", Value::Word(inferred_text(look.inferred))),
                    ("commit", Value::Number(look.commit)),
                ]);
                "look"
            }
            Told::Moment(state) => {
                fields.extend([
                    ("mark", Value::Flag(state.is_mark)),
                    ("disputed", Value::Flag(state.is_disputed)),
                    ("goes_on", Value::Flag(state.goes_on)),
                    ("cause", state.cause.map_or(Value::None, |cause| Value::Word(cause.word()))),
                ]);
                "moment"
            }
        };
        sink.inner(1, what, fields)?;
    }
    for (born, length, copies) in firsts {
        let begin = (named.entry.first_look + born) as u64;
        let end = length.map_or(Value::None, |length| Value::Number(begin.saturating_add(length)));
        let told = named.is_resolved.then(|| VersionCopies::from_number(copies));
        let copies = told.map_or(copies, |told| told.count);
        let mut fields = vec![("copies", Value::Number(copies)), ("begin", Value::Number(begin)), ("end", end)];
        fields.extend(told.map(|told| ("verified", Value::Flag(told.verified))));
        sink.inner(1, "version", fields)?;
    }
    Ok(())
}

fn put_packed(at: u64, frame: &Frame<'_>, named: Option<&RowsName>, sink: &mut Sink<'_>) -> io::Result<()> {
    let fields = vec![
        ("table", table_value(named.and_then(|named| named.table.as_ref()))),
        ("first_row", named.map_or(Value::None, |named| Value::Number(named.rows.start))),
        ("rows", named.map_or(Value::None, |named| Value::Number(named.rows.end - named.rows.start))),
    ];
    sink.put(at, frame.end - at, "block of packed rows", fields, None)
}

fn put_index(at: u64, frame: &Frame<'_>, named: Option<&(Name, Name)>, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut fields = vec![
        ("table", table_value(named.map(|named| &named.0))),
        ("column", named.map_or(Value::None, |named| Value::Text(named.1.clone()))),
    ];
    let walked = Index::open(frame.payload).and_then(|index| {
        let mut postings = 0;
        for place in 0..index.values() {
            index.value(place)?;
            for posting in index.postings(place)? {
                index.stream(posting)?;
                if index.of != Postings::Streams {
                    index.version(posting)?;
                }
                postings += 1;
            }
        }
        Ok((index, postings))
    });
    let fault = match walked {
        Ok((index, postings)) => {
            let of = match index.of {
                Postings::Streams => "streams",
                Postings::Versions => "versions by stream",
                Postings::Times => "versions by time",
            };
            fields.push(("of", Value::Word(of)));
            fields.push(("values", Value::Number(index.values() as u64)));
            fields.push(("postings", Value::Number(postings)));
            None
        }
        Err(fault) => Some(Finding::Damage(fault.into())),
    };
    sink.put(at, frame.end - at, Structure::Index.word(), fields, fault)
}

fn put_hosts(at: u64, frame: &Frame<'_>, sink: &mut Sink<'_>) -> io::Result<()> {
    let (fields, fault) = match Hosts::open(frame.payload.into()) {
        Ok(hosts) => {
            let (all, with_looks) = (hosts.len() as u64, hosts.with_looks());
            (vec![("hosts", Value::Number(all)), ("with_looks", Value::Number(with_looks))], None)
        }
        Err(fault) => (vec![("head", walk::head(frame.payload))], Some(Finding::Damage(fault.into()))),
    };
    sink.put(at, frame.end - at, Structure::Hosts.word(), fields, fault)
}

fn put_commits(at: u64, frame: &Frame<'_>, sink: &mut Sink<'_>) -> io::Result<()> {
    let commits = take_commits(&mut { frame.payload });
    let (fields, fault) = match &commits {
        Ok(commits) => {
            let range = commits.first().copied().zip(commits.last().copied());
            let recorded = range.map_or(Value::None, micros_range);
            (vec![("commits", Value::Number(commits.len() as u64)), ("recorded", recorded)], None)
        }
        Err(fault) => (vec![("head", walk::head(frame.payload))], Some(Finding::Damage((*fault).into()))),
    };
    sink.put(at, frame.end - at, Structure::Commits.word(), fields, fault)
}

fn put_dictionary(at: u64, frame: &Frame<'_>, sink: &mut Sink<'_>) -> io::Result<()> {
    let (fields, fault) = match Dictionary::decode(frame.payload) {
        Ok(dictionary) => {
            let columns = dictionary.columns().map(|name| Value::Text(Name::from(name))).collect();
            (vec![("columns", Value::List(columns))], None)
        }
        Err(fault) => (vec![("head", walk::head(frame.payload))], Some(Finding::Damage(fault.into()))),
    };
    sink.put(at, frame.end - at, Structure::Dictionary.word(), fields, fault)
}

fn part_fields(ordinal: usize, part: &Part) -> Fields {
    vec![
        ("ordinal", Value::Number(ordinal as u64)),
        ("second", Value::Second(part.second)),
        ("epoch", Value::Number(part.epoch)),
        ("counter", part.counter.map_or(Value::None, Value::Number)),
        ("whole", Value::Flag(part.whole)),
        ("inferred", Value::Word(inferred_text(part.inferred))),
        ("recorded", Value::Micros(part.recorded)),
        ("removed", Value::Number(part.removed.len() as u64)),
        ("added", Value::Number(part.added.len() as u64)),
    ]
}

/// The first row versions, by the ordinals of the parts where they appear and disappear.
fn put_versions(counts: Counts, values: &[Vec<u64>; 11], sink: &mut Sink<'_>) -> io::Result<()> {
    let [.., begins, lengths, ends, rows, copies] = values;
    let paired = counts.versions - counts.orphans;
    for i in 0..counts.versions.min(sink.rows()) {
        let (begin, end) = match i.checked_sub(paired) {
            Some(orphan) => (Value::None, Value::Number(ends[orphan])),
            None if lengths[i] == 0 => (Value::Number(begins[i]), Value::None),
            None => (Value::Number(begins[i]), Value::Number(begins[i].saturating_add(lengths[i]))),
        };
        let fields =
            vec![("row", Value::Number(rows[i])), ("copies", Value::Number(copies[i])), ("begin", begin), ("end", end)];
        sink.inner(1, "version", fields)?;
    }
    Ok(())
}

fn put_directory(at: u64, frame: &Frame<'_>, named: &Named, sink: &mut Sink<'_>) -> io::Result<()> {
    let table = named.tables.get(&at);
    let bytes = frame.end - at;
    let directory = match named.directory(at, frame) {
        Ok(directory) => directory,
        Err(fault) => {
            let fields = vec![("table", table_value(table)), ("head", walk::head(frame.payload))];
            let finding = Some(Finding::Damage(fault.into()));
            return sink.put(at, bytes, Structure::Directory.word(), fields, finding);
        }
    };
    let layout = match directory.layout {
        Layout::Shared => "shared",
        Layout::Inline => "inline",
    };
    let fields = vec![
        ("table", table_value(table)),
        ("layout", Value::Word(layout)),
        ("rows", Value::Number(directory.rows)),
        ("row_blocks", Value::Number(directory.row_blocks.len() as u64)),
        ("streams", Value::Number(directory.streams() as u64)),
        ("pieces", Value::Number(directory.pieces() as u64)),
    ];
    sink.put(at, bytes, Structure::Directory.word(), fields, None)?;
    for &(first, offset) in &directory.row_blocks {
        let mut fields = vec![("first_row", Value::Number(first)), ("offset", Value::Number(offset))];
        if !named.is_sound(offset, Frames::ROWS) && !named.is_sound(offset, Frames::PACKED) {
            fields.push(("lost", Value::Flag(true)));
        }
        sink.inner(1, "row block", fields)?;
    }
    for stream in directory.entries(0..directory.streams()) {
        let pieces: Vec<PieceEntry> = directory.pieces_at(stream.record.pieces).iter().collect();
        put_stream(&stream.key, &pieces, named, sink)?;
    }
    Ok(())
}

fn put_stream(stream: &StreamKey, pieces: &[PieceEntry], named: &Named, sink: &mut Sink<'_>) -> io::Result<()> {
    let sum = |of: fn(&PieceEntry) -> u64, pieces: &mut dyn Iterator<Item = &PieceEntry>| {
        pieces.fold(0u64, |sum, piece| sum.saturating_add(of(piece)))
    };
    let first = pieces.iter().map(|piece| piece.first).min().unwrap_or(0);
    let last = pieces.iter().map(|piece| piece.last).max().unwrap_or(0);
    let mut fields = stream_fields(stream);
    fields.remove(0);
    fields.extend([
        ("pieces", Value::List(pieces.iter().map(|piece| Value::Number(piece.offset)).collect())),
        ("parts", Value::Number(sum(|piece| piece.parts, &mut pieces.iter()))),
        ("copies", Value::Number(sum(|piece| piece.copies, &mut pieces.iter()))),
        ("seconds", second_range(first, last)),
    ]);
    let kinds = [Frames::PIECE, Frames::RUN, Frames::CHECKED_RUN];
    let mut lost = pieces.iter().filter(|piece| !kinds.iter().any(|&kind| named.is_sound(piece.offset, kind)));
    let lost = sum(|piece| piece.parts, &mut lost);
    if lost > 0 {
        fields.push(("lost_parts", Value::Number(lost)));
    }
    sink.inner(1, "stream", fields)
}

fn put_footer(at: u64, frame: &Frame<'_>, meta: Option<&Arc<SegmentMeta>>, sink: &mut Sink<'_>) -> io::Result<()> {
    let bytes = frame.end - at;
    let checksum = crc32fast::hash(frame.payload);
    let footer = match Footer::decode(frame.payload) {
        Ok(footer) => footer,
        Err(fault) => {
            let fields = vec![("checksum", Value::Checksum(checksum)), ("head", walk::head(frame.payload))];
            return sink.put(at, bytes, Structure::Footer.word(), fields, Some(Finding::Damage(fault.into())));
        }
    };
    let fields = vec![
        ("checksum", Value::Checksum(checksum)),
        ("recorded", micros_range(footer.recorded)),
        ("tables", Value::Number(footer.tables.len() as u64)),
    ];
    let finding = meta
        .filter(|meta| meta.footer_crc != checksum)
        .map(|meta| Finding::Damage(codec::Fault::Checksum { expected: meta.footer_crc, found: checksum }.into()));
    sink.put(at, bytes, Structure::Footer.word(), fields, finding)?;
    for table in &footer.tables {
        let fields = vec![
            ("table", Value::Text(table.name.clone())),
            ("directory", Value::Number(table.directory)),
            ("parts", Value::Number(table.parts)),
            ("copies", Value::Number(table.copies)),
            ("seconds", second_range(table.first, table.last)),
        ];
        sink.inner(1, "table", fields)?;
    }
    Ok(())
}
