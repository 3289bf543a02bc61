//! Hand-computed cases, at least one for each rule, and a run over real lines.
//!
//! Seconds are small numbers, so that a case can be checked in the head: `what` writes a row as
//! `host/stream column=text xCOUNT VERDICT [from..to) start/end`, an unverified version with a `?`.

use serde_json::Value;

use super::{Catalogue, ImportOptions, Model, Wrong, agent, json, line, map::StreamMap, number, time};

mod answers;
mod lines;
mod looks;
mod showcase;
mod timelines;

const FACTS: &str = "erstwhile catalogue 1
# a few tables
users state - uid:B username:T
interface_addresses state - interface:T address:T
mounts state - device:T path:T
logical_drives state windows device_id:T
block_devices state - name:T parent:T vendor:T model:T serial:T
usb_devices state - vendor:T model:T serial:T
osquery_info state - version:T
osquery_events state - name:T
process_events event - pid:B time:B
battery state - charge:D name:T
";

fn catalogue() -> Catalogue {
    Catalogue::from_facts(FACTS).expect("the facts are well formed")
}

/// A model with a clock of its own: import n is recorded at n seconds, or right after what was given.
struct Case {
    model: Model,
    clock: i64,
}

impl Case {
    fn new() -> Case {
        Case::wrong(Wrong::None)
    }

    fn wrong(wrong: Wrong) -> Case {
        Case { model: Model::with_wrong(catalogue(), wrong), clock: 0 }
    }

    /// Imports lines as one input, the agent being of this version.
    fn import(&mut self, version: &str, lines: &[String]) -> super::Summary {
        self.import_with(lines, Some(version), None)
    }

    fn import_with(&mut self, lines: &[String], version: Option<&str>, map: Option<&str>) -> super::Summary {
        self.clock += 1_000_000;
        let text = lines.join("\n");
        let options = ImportOptions { agent_version: version, map };
        self.model.import(&[("log", text.as_bytes())], options, self.clock).expect("the import is in order")
    }

    fn state(&self, table: &str, at: i64) -> Vec<String> {
        rows(&self.model.state(table, at, None, &[], None, None).expect("a table of state"))
    }

    fn history(&self, table: &str) -> Vec<String> {
        rows(&self.model.history(table, None, &[], (None, None), None, None).expect("an answer"))
    }

    fn breaks(&self, table: &str) -> Vec<String> {
        let answer = self.model.coverage(Some(table), None, None).expect("an answer");
        let streams = answer["streams"].as_array().expect("a list");
        let breaks = streams.iter().flat_map(|s| s["breaks"].as_array().expect("a list"));
        breaks.map(|b| format!("{} [{}..{})", word(&b["cause"]), plain(&b["from"]), plain(&b["to"]))).collect()
    }

    /// covered, presumed, unknown, never, and the causes of unknown hosts.
    fn counts(&self, table: &str, at: i64) -> String {
        counts(&self.model.state(table, at, None, &[], None, None).expect("a table of state"))
    }
}

fn counts(answer: &Value) -> String {
    let coverage = &answer["coverage"];
    let causes: Vec<&str> =
        coverage["unknown_hosts"].as_array().expect("a list").iter().map(|h| word(&h["cause"])).collect();
    let number = |key: &str| coverage[key].as_u64().expect("a count");
    format!(
        "{} {} {} {} {}",
        number("covered"),
        number("presumed"),
        number("unknown"),
        number("never"),
        causes.join(",")
    )
    .trim_end()
    .to_owned()
}

fn word(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// A second of the first day as a number, null as `-`.
fn plain(value: &Value) -> String {
    let Some(text) = value.as_str() else {
        return "-".to_owned();
    };
    let clock: Vec<i64> =
        text["1970-01-01T".len()..text.len() - 1].split(':').map(|part| part.parse().expect("a number")).collect();
    (clock[0] * 3600 + clock[1] * 60 + clock[2]).to_string()
}

fn rows(answer: &Value) -> Vec<String> {
    answer["rows"].as_array().expect("rows").iter().map(row).collect()
}

fn row(row: &Value) -> String {
    let columns: Vec<String> =
        row["columns"].as_object().expect("columns").iter().map(|(k, v)| format!("{k}={}", word(v))).collect();
    let head = format!("{}/{} {} x{}", word(&row["host"]), word(&row["stream"]), columns.join(","), row["count"]);
    if let Some(action) = row["action"].as_str() {
        return format!("{head} {action} {} {}", word(&row["verdict_from"]), word(&row["verdict_to"]));
    }
    if row.get("time").is_some() {
        return format!("{head} at {} seen {}", plain(&row["time"]), plain(&row["seen"]));
    }
    let verdict = row.get("evidence").map_or(String::new(), |e| format!(" {}", word(&e["verdict"])));
    let sure = if row["verified"].as_bool().expect("a flag") { "" } else { "?" };
    let (from, to) = (plain(&row["from"]), plain(&row["to"]));
    format!("{head}{verdict} [{from}..{to}){sure} {}/{}", word(&row["start"]), word(&row["end"]))
}

/// A host, a query name, and the place of a look.
#[derive(Clone, Copy)]
struct At<'a>(&'a str, &'a str, i64, u64, Option<u64>);

/// Look of host h, query `users`, epoch 1.
fn users(second: i64, counter: u64) -> At<'static> {
    At("h", "users", second, 1, Some(counter))
}

fn head(At(host, name, second, epoch, counter): At<'_>) -> String {
    let counter = counter.map_or(String::new(), |c| format!(r#""counter":{c},"#));
    format!(
        r#"{{"name":"{name}","hostIdentifier":"{host}","unixTime":{second},"epoch":{epoch},{counter}"numerics":false,"#
    )
}

/// `a=1,b=2` as a JSON object.
fn object(row: &str) -> String {
    let pairs: Vec<String> = row
        .split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (column, text) = pair.split_once('=').expect("column=text");
            format!(r#""{column}":"{text}""#)
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn list(rows: &[&str]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| object(row)).collect();
    format!("[{}]", rows.join(","))
}

fn added(at: At<'_>, row: &str) -> String {
    format!(r#"{}"columns":{},"action":"added"}}"#, head(at), object(row))
}

fn removed(at: At<'_>, row: &str) -> String {
    format!(r#"{}"columns":{},"action":"removed"}}"#, head(at), object(row))
}

fn batch(at: At<'_>, removed: &[&str], added: &[&str]) -> String {
    format!(r#"{}"diffResults":{{"removed":{},"added":{}}}}}"#, head(at), list(removed), list(added))
}

fn snapshot(at: At<'_>, rows: &[&str]) -> String {
    format!(r#"{}"action":"snapshot","snapshot":{}}}"#, head(at), list(rows))
}
