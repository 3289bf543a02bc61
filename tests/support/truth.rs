//! What must be answered about a simulated fleet, from the truth about it and not from its logs.
//!
//! The truth says which rows of which runs arrived, whole, once and undamaged. Here that becomes the shortest log that
//! says so, which the naive model reads: no line of it is torn, sent again, packed or out of place, since all of that is
//! what the one who read the real logs had to see through. Which rows can be vouched for, and what is unknown because
//! something was lost, is the model's to say.
//!
//! The world needs no model: what is said to be definite must have been so.
//!
//! Invariant: nothing here reads a log.

use crate::model::{ImportOptions, Model};
use crate::support::rng::Rng;
use crate::support::scenario::{Question, ask_model, difference, model_of_nothing, recorded_at};
use erstwhile::simulate::Format;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A look at a stream of a host.
#[derive(Clone, Debug)]
pub struct Look {
    /// The host.
    pub host: String,
    /// The name of the query.
    pub name: String,
    /// The table.
    pub table: String,
    /// The second by the host's clock.
    pub second: i64,
    /// The second by the true clock.
    pub at: i64,
    /// Whether the look has a place in a state.
    pub has_state: bool,
    /// Whether anything of it arrived.
    pub arrived: bool,
    /// Whether it means nothing.
    pub noise: bool,
    /// Whether the host's agents up to now report a further copy of a row that they hold.
    pub tells_copies: bool,
}

/// The truth about a fleet.
pub struct Truth {
    /// What must be answered.
    pub model: Model,
    /// All looks, in the order of the truth.
    pub looks: Vec<Look>,
    /// How many lines are none, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// How it really was.
    pub world: World,
}

/// Rows as the world had them, by host and table.
#[derive(Default)]
pub struct World {
    rows: BTreeMap<(String, String), Vec<Held>>,
}

struct Held {
    row: BTreeMap<String, String>,
    from: i64,
    to: Option<i64>,
}

impl Truth {
    /// Of what was simulated into a directory.
    pub fn read(folder: &Path, format: Format) -> Truth {
        let read = |name: &str| std::fs::read(folder.join("truth").join(name)).expect("a file of the truth");
        Truth::of(&read, format)
    }

    /// Of what was simulated into memory.
    pub fn of(read: &dyn Fn(&str) -> Vec<u8>, format: Format) -> Truth {
        let lines = |name: &str| -> Vec<Value> {
            let text = read(name);
            let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).expect("the truth is JSON")).collect()
        };
        let mut model = model_of_nothing(None);
        let (looks, status) = (lines("looks.ndjson"), lines("status.ndjson"));
        // An input for each, so that nothing adds up that is not of one look.
        let mut inputs: Vec<Vec<u8>> = looks.iter().filter_map(|look| lines_of(look, format)).collect();
        inputs.extend(status.iter().map(status_line));
        let inputs: Vec<(&str, &[u8])> = inputs.iter().map(|input| ("the truth", &input[..])).collect();
        let taken = model.import(&inputs, ImportOptions::default(), recorded_at(0)).expect("the model imports");
        assert!(taken.dead_letters.is_empty(), "{taken:?}");
        let mut dead_letters = BTreeMap::new();
        for fault in lines("faults.ndjson").iter().filter(|fault| fault["fault"] == "dead") {
            *dead_letters.entry(text(&fault["reason"])).or_default() += 1;
        }
        let mut looks: Vec<Look> = looks.iter().map(look).collect();
        let mut old = BTreeMap::new();
        for look in looks.iter().filter(|look| !look.tells_copies) {
            let first = old.entry(look.host.clone()).or_insert(look.at);
            *first = look.at.min(*first);
        }
        for look in &mut looks {
            look.tells_copies = old.get(&look.host).is_none_or(|first| look.at < *first);
        }
        Truth { model, looks, dead_letters, world: World::of(&lines("world.ndjson")) }
    }

    /// Questions about all that there is, and about so many moments of each table's state.
    pub fn questions(&self, moments: usize, rng: &mut Rng) -> Vec<Question> {
        let mut questions = vec![Question::Hosts, Question::Tables, Question::Coverage { table: None, host: None }];
        let tables: BTreeSet<&str> = self.looks.iter().filter(|look| look.arrived).map(|look| &*look.table).collect();
        for table in tables {
            questions
                .extend((0..moments).map(|_| state(table, rng.pick(&self.looks).second + rng.below(3) as i64 - 1)));
            let (table, host, wheres, stream) = (table.to_owned(), None, Vec::new(), None);
            questions.push(Question::History { table, host, wheres, stream, from: None, to: None });
        }
        questions
    }

    /// Where an answer is another than must be given; `None` if it is that.
    pub fn difference(&self, question: &Question, found: Result<Value, String>) -> Option<String> {
        difference(&timeless(found), &timeless(ask_model(&self.model, question, None)))
    }

    /// The looks of streams whose seconds always went up. Where a clock was set back, the order of looks is a guess, and with
    /// it what is definite: an older look may count as the later one.
    pub fn plain_looks(&self) -> Vec<&Look> {
        let mut streams: BTreeMap<(&str, &str), Vec<&Look>> = BTreeMap::new();
        for look in self.looks.iter().filter(|look| look.has_state && look.arrived && !look.noise) {
            streams.entry((&look.host, &look.name)).or_default().push(look);
        }
        streams.values_mut().for_each(|looks| looks.sort_by_key(|look| look.at));
        let plain = |looks: &Vec<&Look>| looks.windows(2).all(|pair| pair[0].second < pair[1].second);
        streams.into_values().filter(plain).flatten().collect()
    }
}

/// The question for a table's state at a second.
pub fn state(table: &str, at: i64) -> Question {
    Question::State { table: table.to_owned(), at, host: None, wheres: Vec::new(), stream: None }
}

/// An answer without what it cost and what depends on when things were recorded.
fn timeless(mut answer: Result<Value, String>) -> Result<Value, String> {
    if let Ok(Value::Object(fields)) = &mut answer {
        fields.remove("known_at");
        fields.remove("cost");
        for stream in fields.get_mut("streams").and_then(Value::as_array_mut).into_iter().flatten() {
            stream.as_object_mut().expect("an object").remove("skew");
        }
    }
    answer
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn look(look: &Value) -> Look {
    let number = |name: &str| look[name].as_i64().expect("a number");
    Look {
        host: text(&look["host"]),
        name: text(&look["name"]),
        table: text(&look["table"]),
        second: number("second"),
        at: number("at"),
        has_state: look["kind"] != "event",
        arrived: look["lost"] == false,
        noise: look["noise"] == true,
        tells_copies: version(look) >= [2, 11, 2],
    }
}

fn version(look: &Value) -> [u64; 3] {
    let text = text(&look["version"]);
    let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
    [0; 3].map(|none| parts.next().unwrap_or(none))
}

/// A look as an agent of its version would have logged it, had nothing gone wrong; nothing if nothing of it arrived.
fn lines_of(look: &Value, format: Format) -> Option<Vec<u8>> {
    if look["lost"] == true {
        return None;
    }
    let version = version(look);
    let quote = if version < [3, 0, 0] { "\"" } else { "" };
    let numerics = if version < [4, 1, 1] { "" } else { ",\"numerics\":false" };
    let head = format!(
        "\"name\":{},\"hostIdentifier\":{},\"unixTime\":{quote}{}{quote},\"epoch\":{quote}{}{quote},\"counter\":{quote}{}{quote}{numerics}",
        look["name"], look["host"], look["second"], look["epoch"], look["counter"]
    );
    let rows = |action: &str| -> Vec<Vec<u8>> {
        let groups = look[action].as_array().expect("a list");
        let copies =
            |group: &Value| vec![columns(&group["columns"]); group["count"].as_u64().expect("a count") as usize];
        groups.iter().flat_map(copies).collect()
    };
    let list = |action: &str| [b"[".as_slice(), &rows(action).join(&b','), b"]"].concat();
    let by_row = format == Format::Event || format == Format::Snapshot && look["kind"] == "event";
    if look["kind"] == "snapshot" {
        return Some(
            [b"{\"snapshot\":".as_slice(), &list("added"), b",\"action\":\"snapshot\",", head.as_bytes(), b"}\n"]
                .concat(),
        );
    }
    if !by_row {
        let (removed, added) = (list("removed"), list("added"));
        let begin = b"{\"diffResults\":{\"removed\":".as_slice();
        return Some([begin, &removed, b",\"added\":", &added, b"},", head.as_bytes(), b"}\n"].concat());
    }
    let mut lines = Vec::new();
    for action in ["removed", "added"] {
        for row in rows(action) {
            let action = format!(",\"action\":\"{action}\"}}\n");
            lines.extend([b"{".as_slice(), head.as_bytes(), b",\"columns\":", &row, action.as_bytes()].concat());
        }
    }
    Some(lines)
}

/// A row; texts that are not UTF-8 stand in hexadecimal in the truth.
fn columns(row: &Value) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (place, (name, cell)) in row.as_object().expect("a row").iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend(format!("{}:", Value::from(&**name)).bytes());
        match &cell["hex"] {
            Value::String(hex) => {
                out.push(b'"');
                for pair in hex.as_bytes().chunks(2) {
                    let digits = std::str::from_utf8(pair).expect("hexadecimal");
                    let byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
                    match byte {
                        b'"' | b'\\' => out.extend([b'\\', byte]),
                        0..0x20 => out.extend(format!("\\u{byte:04x}").bytes()),
                        _ => out.push(byte),
                    }
                }
                out.push(b'"');
            }
            _ => out.extend(cell.to_string().bytes()),
        }
    }
    out.push(b'}');
    out
}

fn status_line(status: &Value) -> Vec<u8> {
    let (host, version, second) = (&status["host"], &status["version"], &status["second"]);
    let what = "\"severity\":0,\"message\":\"alive\"";
    format!("{{\"hostIdentifier\":{host},\"unixTime\":{second},{what},\"version\":{version}}}\n").into_bytes()
}

/// Whether a text is the same in the world, in a line of any agent and in an answer.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\')
}

impl World {
    fn of(lines: &[Value]) -> World {
        let mut world = World::default();
        for line in lines.iter().filter(|line| line["kind"] == "row") {
            let row = line["row"].as_object().expect("a row");
            let cell = |(name, cell): (&String, &Value)| Some((name.clone(), cell.as_str()?.to_owned()));
            let held = Held {
                row: row.iter().filter_map(cell).collect(),
                from: line["from"].as_i64().expect("a second"),
                to: line["to"].as_i64(),
            };
            world.rows.entry((text(&line["host"]), text(&line["table"]))).or_default().push(held);
        }
        world
    }

    /// Asserts that what an answer says of a look's stream to be definite at the look's second was so, and tells how many
    /// rows that were; and if nothing of the host was said to be unknown, that there were
    /// no others.
    pub fn check(&self, look: &Look, answer: &Value) -> usize {
        let held = self.rows.get(&(look.host.clone(), look.table.clone())).map_or(&[][..], Vec::as_slice);
        let then = held.iter().filter(|held| held.from <= look.at && held.to.is_none_or(|to| look.at < to));
        let then: Vec<&BTreeMap<String, String>> = then.map(|held| &held.row).collect();
        let of_stream = |row: &&Value| row["host"] == *look.host && row["stream"] == *look.name;
        let (mut checked, mut definite) = (0, 0);
        let unknown = answer["coverage"]["unknown_hosts"].as_array();
        let mut all =
            look.tells_copies && unknown.is_none_or(|hosts| hosts.iter().all(|unknown| unknown["host"] != *look.host));
        for row in answer["rows"].as_array().expect("rows").iter().filter(of_stream) {
            let count = row["count"].as_u64().expect("a count");
            all &= row["evidence"]["verdict"] == "definite";
            if row["evidence"]["verdict"] != "definite" {
                continue;
            }
            definite += count;
            let columns = row["columns"].as_object().expect("columns");
            if columns.values().any(|cell| !is_plain(cell.as_str().expect("a text"))) {
                continue;
            }
            // The query may have been one that selects a column less.
            let same = |row: &&&BTreeMap<String, String>| {
                columns.iter().all(|(name, cell)| row.get(name).map(String::as_str) == cell.as_str())
            };
            let found = then.iter().filter(same).count() as u64;
            assert!(found >= count, "{look:?}: {count} of {row} are definite, and there were {found}: {then:#?}");
            checked += 1;
        }
        if all && definite > 0 {
            assert_eq!(definite, then.len() as u64, "{look:?}: all rows are definite, and there were others");
        }
        checked
    }
}
