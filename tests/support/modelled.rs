//! The scripted history as osquery would have logged it, and as the naive model knows it from these lines.
//!
//! Invariant: a batch and its lines say the same, so that what the model answers is what a whole store must answer.

use crate::model::{Catalogue, ImportOptions, Model};
use crate::support::workload::clock;
use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind};
use erstwhile_engine::io::Clock;
use erstwhile_engine::note;
use erstwhile_engine::row::Row;
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the history is text")
}

fn columns(row: &Row) -> Value {
    row.columns().map(|(name, value)| (text(name).to_owned(), Value::from(text(value)))).collect()
}

/// The lines of a delivery; none of a note that no line of osquery makes.
fn lines(delivery: &Delivery) -> Vec<Value> {
    let Delivery { stream, epoch, counter, second, whole, inferred, removed, added } = delivery;
    if stream.kind == Kind::Note {
        let version = |row: &Row| {
            let version = &columns(row)["version"];
            json!({"hostIdentifier": text(&stream.host), "unixTime": second, "severity": 0, "message": "m", "version": version})
        };
        return added.iter().filter(|_| *stream.table == *note::VERSION).map(|(row, _)| version(row)).collect();
    }
    let line = |more: Value| {
        let mut line = json!({"name": text(&stream.name), "hostIdentifier": text(&stream.host), "epoch": epoch});
        line["unixTime"] = if *inferred == Inferred::V2_10 { second.to_string().into() } else { (*second).into() };
        if *inferred != Inferred::V3_4 {
            line["numerics"] = false.into();
        }
        let more = more.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
        let fields = line.as_object_mut().into_iter();
        let counter = counter.map(|counter| ("counter".to_owned(), counter.into()));
        fields.for_each(|fields| fields.extend(more.clone().chain(counter.clone())));
        line
    };
    let all = |rows: &[(Row, u64)]| -> Vec<Value> {
        rows.iter().flat_map(|(row, count)| (0..*count).map(|_| columns(row))).collect()
    };
    let (removed, added) = (all(removed), all(added));
    match (stream.kind, whole) {
        (Kind::Snapshot, _) => vec![line(json!({"snapshot": added, "action": "snapshot"}))],
        (_, true) => vec![line(json!({"diffResults": {"removed": removed, "added": added}}))],
        (_, false) => {
            let actions = [("removed", removed), ("added", added)];
            let rows = actions.into_iter().flat_map(|(action, rows)| rows.into_iter().map(move |row| (action, row)));
            rows.map(|(action, row)| line(json!({"columns": row, "action": action}))).collect()
        }
    }
}

/// What the model knows of these batches, appended a second apart from the history's beginning on.
pub fn model(batches: &[Batch]) -> Model {
    let mut model = Model::new(Catalogue::shipped());
    for (batch, second) in batches.iter().zip(1..) {
        let recorded = clock().now_micros() + 1_000_000 * second;
        let lines: String = batch.deliveries.iter().flat_map(lines).map(|line| format!("{line}\n")).collect();
        let known = model.import(&[("a log", lines.as_bytes())], ImportOptions::default(), recorded);
        known.expect("the lines of the history");
    }
    model
}
