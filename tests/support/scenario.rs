//! Logs, questions, and the two who answer them: the engine and the naive model.
//!
//! Invariant: both get the same bytes under the same recorded times, and both answers are compared as the JSON that a
//! user of the command sees.

use super::lost::{self, Lost};
use crate::model::{Catalogue, ImportOptions as ModelOptions, Model, Wrong};
use erstwhile::forms::{Answer, json};
use erstwhile_engine::catalogue::StreamMap;
use erstwhile_engine::codec::Effort;
use erstwhile_engine::ingest::import::{ImportOptions, import};
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, StateQuestion, Subject, Wanted, WhatQuestion, Where, WhoQuestion,
};
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::Store;
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;

/// Inputs that are imported together.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// (name, bytes, possibly compressed) of each input.
    pub inputs: Vec<(String, Vec<u8>)>,
    /// `--agent-version`.
    pub agent_version: Option<String>,
    /// `--map`.
    pub map: Option<String>,
}

/// Imports, one after the other; import `i` is recorded at [`recorded_at`]`(i)`.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// The imports.
    pub imports: Vec<Import>,
}

/// The recorded time of import `i`.
pub fn recorded_at(i: usize) -> i64 {
    1_900_000_000_000_000 + i as i64 * 1_000_000
}

/// A question in the form of both.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named as the questions they are")]
pub enum Question {
    State {
        table: String,
        at: i64,
        host: Option<Vec<u8>>,
        wheres: Vec<(String, String)>,
        stream: Option<Vec<u8>>,
    },
    WhoIp {
        address: String,
        at: i64,
        host: Option<Vec<u8>>,
    },
    WhoUid {
        uid: String,
        at: i64,
        host: Option<Vec<u8>>,
    },
    What {
        path: String,
        host: Vec<u8>,
        at: i64,
    },
    History {
        table: String,
        host: Option<Vec<u8>>,
        wheres: Vec<(String, String)>,
        stream: Option<Vec<u8>>,
        from: Option<i64>,
        to: Option<i64>,
    },
    Diff {
        table: String,
        host: Vec<u8>,
        from: i64,
        to: i64,
        stream: Option<Vec<u8>>,
    },
    Hosts,
    Tables,
    Coverage {
        table: Option<String>,
        host: Option<Vec<u8>>,
    },
}

/// A store in memory, and what keeps it open.
pub struct Engine {
    storage: MemoryStorage,
    store: Store,
    clock: Arc<dyn Clock>,
    options: Options,
}

impl Engine {
    /// A store without anything; a small `memtable_bytes_max` makes many segments and merges.
    pub fn empty(memtable_bytes_max: usize) -> Engine {
        Engine::with_cache(memtable_bytes_max, None)
    }

    /// The same, with a cache of so many bytes; a small one forgets what was read.
    pub fn with_cache(memtable_bytes_max: usize, cache_bytes_max: Option<usize>) -> Engine {
        let storage = MemoryStorage::new();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1));
        // Sealed in haste or not, what is stored is the same.
        let seal_effort =
            if memtable_bytes_max.is_multiple_of(2) { Effort::Quick } else { Options::default().seal_effort };
        let options = Options {
            memtable_bytes_max,
            cache_bytes_max: cache_bytes_max.unwrap_or(Options::default().cache_bytes_max),
            merge_fanout: 4,
            seal_effort,
            background: false,
            ..Options::default()
        };
        Engine::open(storage, clock, options)
    }

    fn open(storage: MemoryStorage, clock: Arc<dyn Clock>, options: Options) -> Engine {
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let store = Store::open(shared, clock.clone(), options.clone(), "a test").expect("a store in memory opens");
        Engine { storage, store, clock, options }
    }

    /// The store as if this of it were lost, opened again.
    pub fn lose(self, lost: &[Lost]) -> Engine {
        let Engine { storage, store, clock, options } = self;
        store.close().expect("a store in memory closes");
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        lost::write(&shared, &clock, lost);
        Engine::open(storage, clock, options)
    }

    /// A store with a scenario imported.
    pub fn new(scenario: &Scenario, memtable_bytes_max: usize) -> Engine {
        let engine = Engine::empty(memtable_bytes_max);
        for (i, one) in scenario.imports.iter().enumerate() {
            engine.import(i, one);
        }
        engine
    }

    /// Takes in import `i` of a scenario.
    pub fn import(&self, i: usize, one: &Import) {
        let options = ImportOptions {
            agent_version: one.agent_version.clone(),
            map: one.map.as_ref().map(|text| StreamMap::parse(text).expect("a good map")),
            recorded_at: Some(recorded_at(i)),
            // Hosts wait in a file all the time where memory is scarce.
            held_bytes_max: (self.options.memtable_bytes_max < 3_000).then_some(100),
            ..ImportOptions::default()
        };
        let inputs = one.inputs.iter().map(|(name, bytes)| (name.clone(), &bytes[..]));
        let imported =
            import(&self.store, &self.clock, inputs, &options, |_, _| {}).expect("an import in memory works");
        assert!(imported.faults.is_empty(), "{:?}", imported.faults);
    }

    /// Seals and merges what there is.
    pub fn flush(&self) {
        self.store.flush().expect("a flush in memory works");
    }

    /// Merges all there is into one segment.
    pub fn compact(&self) {
        self.store.compact().expect("a compaction in memory works");
    }

    /// Where the store lives.
    pub fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What can be asked now.
    pub fn view(&self) -> View {
        self.store.view()
    }
}

/// The model with a scenario imported.
pub fn model(scenario: &Scenario, wrong: Option<Wrong>) -> Model {
    let mut model = model_of_nothing(wrong);
    for (i, one) in scenario.imports.iter().enumerate() {
        import_into_model(&mut model, i, one);
    }
    model
}

/// The model without anything.
pub fn model_of_nothing(wrong: Option<Wrong>) -> Model {
    let catalogue = Catalogue::shipped();
    match wrong {
        Some(wrong) => Model::with_wrong(catalogue, wrong),
        None => Model::new(catalogue),
    }
}

/// Takes import `i` of a scenario into the model.
pub fn import_into_model(model: &mut Model, i: usize, one: &Import) {
    let plain: Vec<(&str, Vec<u8>)> = one.inputs.iter().map(|(name, bytes)| (&**name, unpack(bytes))).collect();
    let inputs: Vec<(&str, &[u8])> = plain.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    let options = ModelOptions { agent_version: one.agent_version.as_deref(), map: one.map.as_deref() };
    model.import(&inputs, options, recorded_at(i)).expect("the model imports");
}

/// The bytes of an input without its compression.
pub fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match bytes {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).expect("sound gzip");
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => plain = zstd::decode_all(bytes).expect("sound zstd"),
        _ => plain = bytes.to_vec(),
    }
    plain
}

fn name(text: &[u8]) -> Arc<[u8]> {
    Arc::from(text)
}

fn names(wheres: &[(String, String)]) -> Vec<Where> {
    let one = |(column, text): &(String, String)| Where {
        column: name(column.as_bytes()),
        text: Wanted::Is(name(text.as_bytes())),
    };
    wheres.iter().map(one).collect()
}

/// The engine's answer as the command writes it, without its cost; `Err` if it refuses.
pub fn ask_engine(view: &View, question: &Question, known_at: Option<i64>) -> Result<Value, String> {
    let option = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(name);
    let list = ListQuestion { known_at, ..ListQuestion::default() };
    let answer = match question {
        Question::State { table, at, host, wheres, stream } => view
            .state(&StateQuestion {
                table: name(table.as_bytes()),
                at: *at,
                host: option(host),
                stream: option(stream),
                wheres: names(wheres),
                known_at,
            })
            .map(Answer::State),
        Question::WhoIp { address, at, host } => view
            .who(&WhoQuestion { subject: Subject::Ip(name(address.as_bytes())), at: *at, host: option(host), known_at })
            .map(Answer::Who),
        Question::WhoUid { uid, at, host } => view
            .who(&WhoQuestion { subject: Subject::Uid(name(uid.as_bytes())), at: *at, host: option(host), known_at })
            .map(Answer::Who),
        Question::What { path, host, at } => view
            .what(&WhatQuestion { path: name(path.as_bytes()), host: name(host), at: *at, known_at })
            .map(Answer::What),
        Question::History { table, host, wheres, stream, from, to } => view
            .history(&HistoryQuestion {
                table: name(table.as_bytes()),
                host: option(host),
                stream: option(stream),
                wheres: names(wheres),
                from: *from,
                to: *to,
                known_at,
            })
            .map(Answer::History),
        Question::Diff { table, host, from, to, stream } => view
            .diff(&DiffQuestion {
                table: name(table.as_bytes()),
                host: name(host),
                stream: option(stream),
                from: *from,
                to: *to,
                known_at,
            })
            .map(Answer::Diff),
        Question::Hosts => view.list_hosts(&list).map(Answer::Hosts),
        Question::Tables => view.list_tables(&list).map(Answer::Tables),
        Question::Coverage { table, host } => view
            .list_streams(&ListQuestion {
                table: table.as_ref().map(|t| name(t.as_bytes())),
                host: option(host),
                known_at,
            })
            .map(Answer::Coverage),
    };
    let answer = answer.map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    json::write(&answer, &mut text).expect("memory takes it");
    let mut value: Value = serde_json::from_slice(&text).expect("answers are JSON");
    drop_cost(&mut value);
    Ok(value)
}

/// The model's answer, without its cost; `Err` if it refuses.
pub fn ask_model(model: &Model, question: &Question, known_at: Option<i64>) -> Result<Value, String> {
    let mut answer = match question {
        Question::State { table, at, host, wheres, stream } => {
            model.state(table, *at, host.as_deref(), wheres, stream.as_deref(), known_at)
        }
        Question::WhoIp { address, at, host } => model.who_ip(address, *at, host.as_deref(), known_at),
        Question::WhoUid { uid, at, host } => model.who_uid(uid, *at, host.as_deref(), known_at),
        Question::What { path, host, at } => model.what_device(path, host, *at, known_at),
        Question::History { table, host, wheres, stream, from, to } => {
            model.history(table, host.as_deref(), wheres, (*from, *to), stream.as_deref(), known_at)
        }
        Question::Diff { table, host, from, to, stream } => {
            model.diff(table, host, *from, *to, stream.as_deref(), known_at)
        }
        Question::Hosts => model.hosts(known_at),
        Question::Tables => model.tables(known_at),
        Question::Coverage { table, host } => model.coverage(table.as_deref(), host.as_deref(), known_at),
    }?;
    drop_cost(&mut answer);
    Ok(answer)
}

fn drop_cost(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.remove("cost");
    }
}

/// Where two answers differ; `None` if they agree. Two refusals agree.
pub fn difference(engine: &Result<Value, String>, model: &Result<Value, String>) -> Option<String> {
    match (engine, model) {
        (Err(_), Err(_)) => None,
        (Ok(a), Ok(b)) if a == b => None,
        (Ok(a), Ok(b)) => Some(first_difference("", a, b)),
        (a, b) => Some(format!("engine: {a:?}\nmodel: {b:?}")),
    }
}

fn first_difference(path: &str, a: &Value, b: &Value) -> String {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for key in x.keys().chain(y.keys()) {
                let (a, b) = (x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null));
                if a != b || x.contains_key(key) != y.contains_key(key) {
                    return first_difference(&format!("{path}.{key}"), a, b);
                }
            }
        }
        (Value::Array(x), Value::Array(y)) => {
            let lengths = if x.len() == y.len() { String::new() } else { format!(" of {} and {}", x.len(), y.len()) };
            for i in 0..x.len().max(y.len()) {
                let (a, b) = (x.get(i).unwrap_or(&Value::Null), y.get(i).unwrap_or(&Value::Null));
                if a != b {
                    return first_difference(&format!("{path}[{i}{lengths}]"), a, b);
                }
            }
        }
        _ => {}
    }
    format!("at {path}:\n  engine: {a}\n  model:  {b}")
}
