//! Questions at random, about what a scenario holds and a little beside it.

use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{Question, recorded_at};
use serde_json::Value;

/// What questions may be about, gathered from answers.
pub(crate) struct Topics {
    /// Tables.
    pub(crate) tables: Vec<String>,
    /// Hosts.
    pub(crate) hosts: Vec<String>,
    /// Streams.
    pub(crate) streams: Vec<String>,
    /// Seconds of looks.
    pub(crate) seconds: Vec<i64>,
    /// (table, column, text) of rows.
    pub(crate) texts: Vec<(String, String, String)>,
    /// How many imports there were.
    pub(crate) imports: usize,
}

fn strings(answer: &Value, list: &str, field: &str) -> Vec<String> {
    let rows = answer[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut found: Vec<String> = rows.iter().filter_map(|row| Some(row[field].as_str()?.to_owned())).collect();
    found.sort();
    found.dedup();
    found
}

impl Topics {
    /// From the answers to `coverage` and `history` of some tables.
    pub(crate) fn gather(coverage: &Value, histories: &[(String, Value)], seconds: Vec<i64>, imports: usize) -> Topics {
        let mut texts = Vec::new();
        for (table, history) in histories {
            for row in history["rows"].as_array().map(Vec::as_slice).unwrap_or_default().iter().take(200) {
                let columns = row["columns"].as_object().into_iter().flatten();
                texts.extend(
                    columns
                        .filter_map(|(column, text)| Some((table.clone(), column.clone(), text.as_str()?.to_owned()))),
                );
            }
        }
        Topics {
            tables: strings(coverage, "streams", "table"),
            hosts: strings(coverage, "streams", "host"),
            streams: strings(coverage, "streams", "stream"),
            seconds,
            texts,
            imports,
        }
    }

    fn at(&self, rng: &mut Rng) -> i64 {
        if self.seconds.is_empty() {
            return 0;
        }
        let second = *rng.pick(&self.seconds);
        match rng.below(4) {
            0 => second - 1,
            1 => second + 1,
            2 => (second + *rng.pick(&self.seconds)) / 2,
            _ => second,
        }
    }

    fn text_of(&self, rng: &mut Rng, column: &str) -> Option<String> {
        let of: Vec<&String> = self.texts.iter().filter(|text| text.1 == column).map(|text| &text.2).collect();
        if of.is_empty() { None } else { Some((*rng.pick(&of)).clone()) }
    }

    /// A question, and the recorded time up to which facts count.
    pub(crate) fn ask(&self, rng: &mut Rng) -> (Question, Option<i64>) {
        let known_at = match rng.below(4) {
            0 => Some(recorded_at(rng.below(self.imports + 1)) - rng.below(2) as i64),
            _ => None,
        };
        let table =
            if self.tables.is_empty() || rng.chance(3) { "users".to_owned() } else { rng.pick(&self.tables).clone() };
        let some_host = |rng: &mut Rng| -> Vec<u8> {
            if self.hosts.is_empty() || rng.chance(3) {
                b"nobody".to_vec()
            } else {
                rng.pick(&self.hosts).clone().into_bytes()
            }
        };
        let host = if rng.chance(40) { Some(some_host(rng)) } else { None };
        let stream = if rng.chance(10) && !self.streams.is_empty() {
            Some(rng.pick(&self.streams).clone().into_bytes())
        } else {
            None
        };
        let mut wheres = Vec::new();
        if rng.chance(25) && !self.texts.is_empty() {
            let (_, column, text) = rng.pick(&self.texts).clone();
            wheres.push((column, text));
        }
        let at = self.at(rng);
        let question = match rng.below(20) {
            0..=5 => Question::State { table, at, host, wheres, stream },
            6..=7 => {
                let address = self.text_of(rng, "address").unwrap_or_else(|| "10.0.0.7".to_owned());
                let address = match rng.below(4) {
                    0 => address.split('%').next().unwrap_or_default().to_owned(),
                    1 if address.contains('.') && !address.contains(':') => format!("::ffff:{address}"),
                    _ => address,
                };
                Question::WhoIp { address, at, host }
            }
            8..=9 => {
                let uid = self.text_of(rng, "uid").unwrap_or_else(|| "500".to_owned());
                Question::WhoUid { uid, at, host }
            }
            10..=11 => {
                let path = self.text_of(rng, "path").unwrap_or_else(|| "/mnt/usb/file".to_owned());
                let path = if rng.chance(50) { format!("{path}/a/b") } else { path };
                Question::What { path, host: some_host(rng), at }
            }
            12..=14 => {
                let (a, b) = (self.at(rng), self.at(rng));
                let (from, to) = (rng.chance(70).then_some(a.min(b)), rng.chance(70).then_some(a.max(b)));
                Question::History { table, host, wheres, stream, from, to }
            }
            15..=16 => {
                let (a, b) = (self.at(rng), self.at(rng));
                Question::Diff { table, host: some_host(rng), from: a.min(b), to: a.max(b), stream }
            }
            17 => Question::Hosts,
            18 => Question::Tables,
            _ => Question::Coverage { table: rng.chance(50).then_some(table), host },
        };
        (question, known_at)
    }
}
