//! Looks as a producer sends them.

use crate::value::{Read, Reader, Room, Shape, Writer};
use erstwhile_engine::fact::{Delivery, Inferred, Kind, Name, StreamKey};
use erstwhile_engine::row::{Row, RowBuilder};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The names of a row's columns.
fn shape_of(row: &Row) -> Vec<&[u8]> {
    row.columns().map(|(name, _)| name).collect()
}

pub(crate) fn put_looks(to: &mut Writer<'_>, looks: &[Delivery]) {
    to.list(looks.iter(), |to, look| {
        to.bytes(&look.stream.host);
        to.bytes(&look.stream.name);
        to.bytes(&look.stream.table);
        to.u8(look.stream.kind as u8);
        to.uint(look.epoch);
        to.opt(look.counter, Writer::uint);
        to.int(look.second);
        to.u8(u8::from(look.whole));
        to.u8(look.inferred as u8);
        let mut shapes: Vec<Vec<&[u8]>> = Vec::new();
        let mut numbers = Vec::new();
        for (row, _) in look.removed.iter().chain(&look.added) {
            let shape = shape_of(row);
            let number = shapes.iter().position(|known| *known == shape).unwrap_or_else(|| {
                shapes.push(shape);
                shapes.len() - 1
            });
            numbers.push(number as u64);
        }
        to.list(shapes.iter(), |to, shape| to.list(shape.iter(), |to, name| to.bytes(name)));
        let mut numbers = numbers.into_iter();
        for side in [&look.removed, &look.added] {
            to.list(side.iter(), |to, (row, count)| {
                to.uint(numbers.next().unwrap_or_default());
                to.uint(*count);
                row.columns().for_each(|(_, text)| to.bytes(text));
            });
        }
    });
}

fn get_rows(
    from: &mut Reader<'_>,
    shapes: &[Shape<'_>],
    room: &mut Room,
    builder: &mut RowBuilder,
) -> Read<Vec<(Row, u64)>> {
    let at = *from;
    let mut rows = from.list(2, |from| {
        let shape = &shapes[from.place(shapes.len())?];
        let at = *from;
        let count = from.uint()?;
        if count == 0 {
            return Err(at.no("count of copies"));
        }
        room.take(from, shape)?;
        builder.clear();
        for name in &shape.names {
            builder.column(name, from.bytes()?);
        }
        Ok((builder.row(), count))
    })?;
    let distinct: BTreeSet<&Row> = rows.iter().map(|(row, _)| row).collect();
    if distinct.len() < rows.len() {
        return Err(at.no("list of rows, each once"));
    }
    rows.shrink_to_fit();
    Ok(rows)
}

pub(crate) fn get_looks(from: &mut Reader<'_>) -> Read<Vec<Delivery>> {
    let (mut builder, mut room) = (RowBuilder::new(), Room::of(from));
    from.list(12, |from| {
        let (host, name, table): (Name, Name, Name) = (from.name()?, from.name()?, from.name()?);
        let kind = match from.below(3, "kind of stream")? {
            0 => Kind::Diff,
            1 => Kind::Snapshot,
            _ => Kind::Event,
        };
        let (epoch, counter) = (from.uint()?, from.opt(Reader::uint)?);
        let (second, whole) = (from.second()?, from.bool()?);
        let at = *from;
        let inferred = Inferred::from_byte(from.u8()?).ok_or_else(|| at.no("version of an agent"))?;
        let shapes = from.list(1, Shape::get)?;
        let removed = get_rows(from, &shapes, &mut room, &mut builder)?;
        let added = get_rows(from, &shapes, &mut room, &mut builder)?;
        let stream = Arc::new(StreamKey { table, host, name, kind, sightings: false });
        Ok(Delivery { stream, epoch, counter, second, whole, inferred, removed, added })
    })
}
