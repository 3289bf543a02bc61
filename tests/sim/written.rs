//! A store that is asked between what is written to it, so that what was read before must be right afterwards.
//!
//! Before each import a view is taken, and asked after it: what the import brought is in memory by then, and does not count.

use crate::shrink;
use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind, Name, StreamKey};
use erstwhile_engine::read::answer::{Held, HistoryRow, Hit, Version};
use erstwhile_engine::read::question::{HistoryQuestion, LookupKey, LookupQuestion, Subject, WhoQuestion};
use erstwhile_engine::read::view::View;
use erstwhile_engine::row::RowBuilder;
use erstwhile_engine::store::Store;
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{
    Engine, Question, Scenario, ask_engine, ask_model, difference, import_into_model, model_of_nothing, recorded_at,
};

/// What is done to a store after an import.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upkeep {
    Nothing,
    Flush,
    Compact,
}

impl Upkeep {
    /// Does it.
    pub(crate) fn keep(self, engine: &Engine) {
        match self {
            Upkeep::Nothing => {}
            Upkeep::Flush => engine.flush(),
            Upkeep::Compact => engine.compact(),
        }
    }
}

/// A question, and the recorded time up to which facts count.
pub(crate) type Asked = (Question, Option<i64>);

/// What is asked around an import.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Of the store as it was before, when it is in.
    pub(crate) of_before: Vec<Asked>,
    /// Afterwards.
    pub(crate) then: Vec<Asked>,
}

/// What is written, done and asked.
pub(crate) struct Written<'s> {
    pub(crate) scenario: &'s Scenario,
    pub(crate) upkeep: &'s [Upkeep],
    pub(crate) steps: Vec<Step>,
    pub(crate) memtable: usize,
    pub(crate) cache: Option<usize>,
}

impl<'s> Written<'s> {
    /// Asks so many questions around each import, of which some are asked again later.
    pub(crate) fn new(
        (scenario, upkeep): (&'s Scenario, &'s [Upkeep]),
        questions: usize,
        rng: &mut Rng,
        ask: impl Fn(&mut Rng) -> Asked,
    ) -> Written<'s> {
        let mut steps: Vec<Step> = Vec::new();
        for _ in &scenario.imports {
            let mut step = Step::default();
            for _ in 0..questions / 2 {
                step.of_before.push(ask(rng));
            }
            let earlier = steps.iter().flat_map(|step| &step.then).filter(|_| rng.chance(15));
            step.then.extend(earlier.cloned());
            step.then.extend((0..questions).map(|_| ask(rng)));
            steps.push(step);
        }
        Written { scenario, upkeep, steps, memtable: 8 << 20, cache: None }
    }

    /// Panics with a shrunk scenario where the store differs from the model.
    pub(crate) fn compare(&self, name: &str) {
        let Some(first) = self.differs(self.scenario) else { return };
        let small = shrink::shrink(self.scenario, |scenario| self.differs(scenario).is_some());
        let text = self.differs(&small).unwrap_or(first);
        panic!("{name}, {:?}: {text}\n{}", self.upkeep, shrink::show(&small));
    }

    /// Where the store differs from the model with these lines.
    fn differs(&self, scenario: &Scenario) -> Option<String> {
        let (engine, mut model) = (Engine::with_cache(self.memtable, self.cache), model_of_nothing(None));
        for (i, import) in scenario.imports.iter().enumerate() {
            let before = engine.view();
            engine.import(i, import);
            import_into_model(&mut model, i, import);
            let differs = |view: &View, (question, known_at): &Asked| {
                let text = difference(&ask_engine(view, question, *known_at), &ask_model(&model, question, *known_at))?;
                Some(format!("at import {i}, {question:?} known at {known_at:?}\n{text}"))
            };
            if let Some(last) = i.checked_sub(1).map(recorded_at) {
                for (question, known_at) in &self.steps[i].of_before {
                    // An import without a fact is no commit.
                    let Some(last) = before.last_recorded().map(|recorded| recorded.min(last)) else { continue };
                    let known_at = Some(known_at.map_or(last, |known_at| known_at.min(last)));
                    let differs = differs(&before, &(question.clone(), known_at));
                    if let Some(text) = differs {
                        return Some(format!("before what came, {text}"));
                    }
                }
            }
            self.upkeep[i].keep(&engine);
            let view = engine.view();
            if let Some(text) = self.steps[i].then.iter().find_map(|asked| differs(&view, asked)) {
                return Some(text);
            }
        }
        None
    }
}

/// Looks up many uids of hosts at once, and each alone; tells how many hits there were.
pub(crate) fn compare_lookups(name: &str, view: &View, hosts: &[&str], uids: &[&str], times: &[i64]) -> usize {
    let of = |text: &str| Name::from(text.as_bytes());
    let mut keys = Vec::new();
    for host in hosts {
        for &at in times {
            keys.extend(uids.iter().map(|uid| LookupKey { host: host.as_bytes(), value: uid.as_bytes(), at }));
        }
    }
    let q = LookupQuestion { table: of("users"), column: of("uid"), keys, known_at: None };
    let together = view.lookup(&q).expect("a look-up in memory works");
    for (place, key) in q.keys.iter().enumerate() {
        let subject = Subject::Uid(key.value.into());
        let alone = WhoQuestion { subject, at: key.at, host: Some(key.host.into()), known_at: None };
        let alone = view.who(&alone).expect("a question in memory works").rows;
        let mut alone: Vec<String> = alone.iter().map(|held| format!("{held:?}")).collect();
        let held = |hit: &Hit| {
            let version = Version { count: hit.count, ..(*together.versions[hit.version]).clone() };
            Held { version: version.into(), verdict: hit.verdict, before: hit.before, after: hit.after }
        };
        let of_key = together.hits.iter().filter(|hit| hit.key == place);
        let mut found: Vec<String> = of_key.map(|hit| format!("{:?}", held(hit))).collect();
        alone.sort();
        found.sort();
        assert_eq!(found, alone, "{name}: {key:?}");
    }
    together.hits.len()
}

/// Appends a delivery of so many copies of one row.
fn append(store: &Store, recorded: i64, kind: Kind, second: i64, (column, text, count): (&str, &str, u64)) {
    let of = |text: &str| Name::from(text.as_bytes());
    let table = if kind == Kind::Event { "process_events" } else { "interface_addresses" };
    let (table, host, name) = (of(table), of("a"), of(&format!("pack/a/{table}")));
    let stream = StreamKey { table, host, name, kind, sightings: false }.into();
    let mut row = RowBuilder::new();
    row.column(column.as_bytes(), text.as_bytes());
    let (removed, added) = (Vec::new(), vec![(row.row(), count)]);
    let (epoch, counter, whole, inferred) = (0, None, false, Inferred::V5_7);
    let delivery = Delivery { stream, epoch, counter, second, whole, inferred, removed, added };
    let batch = Batch { deliveries: vec![delivery], ..Batch::default() };
    store.append(batch, Some(recorded)).expect("a memory takes a batch");
}

/// Appends a look at a host's addresses.
fn look(store: &Store, recorded: i64, second: i64, address: &str) {
    append(store, recorded, Kind::Snapshot, second, ("address", address, 1));
}

fn who(view: &View, address: &str, at: i64) -> Vec<String> {
    let q = WhoQuestion { subject: Subject::Ip(address.as_bytes().into()), at, host: None, known_at: None };
    let rows = view.who(&q).expect("a question in memory works").rows;
    rows.iter().map(|held| format!("{} {:?} {:?}", held.version.from, held.version.to, held.verdict)).collect()
}

/// An import with a set recorded time is several commits, and all are recorded at that time.
#[test]
fn commits_of_one_recorded_time_are_all_seen() {
    for is_merged in [false, true] {
        let engine = Engine::empty(8 << 20);
        look(engine.store(), 1, 10, "10.0.0.1");
        if is_merged {
            engine.compact();
        }
        look(engine.store(), 2, 20, "10.0.0.2");
        assert_eq!(who(&engine.view(), "10.0.0.2", 20), ["20 None Definite"]);
        look(engine.store(), 2, 40, "10.0.0.3");
        assert_eq!(who(&engine.view(), "10.0.0.2", 20), ["20 Some(40) Definite"]);
        assert_eq!(who(&engine.view(), "10.0.0.3", 40), ["40 None Definite"]);
        // One that comes late stands between others.
        look(engine.store(), 2, 30, "10.0.0.4");
        assert_eq!(who(&engine.view(), "10.0.0.4", 30), ["30 Some(40) Definite"]);
        assert_eq!(who(&engine.view(), "10.0.0.2", 20), ["20 Some(30) Definite"]);
        assert_eq!(who(&engine.view(), "10.0.0.3", 40), ["40 None Definite"]);
    }
}

/// Of several deliveries of one look the one with most copies counts, also where a run has another.
#[test]
fn a_look_at_events_that_grows_after_a_merge_counts_once() {
    for is_sealed in [false, true] {
        let engine = Engine::empty(8 << 20);
        append(engine.store(), 1, Kind::Event, 10, ("pid", "1", 1));
        engine.compact();
        append(engine.store(), 2, Kind::Event, 10, ("pid", "1", 2));
        append(engine.store(), 3, Kind::Event, 20, ("pid", "1", 1));
        if is_sealed {
            engine.flush();
        }
        let (table, from, to) = (Name::from(&b"process_events"[..]), None, None);
        let q = HistoryQuestion { table, host: None, stream: None, wheres: Vec::new(), from, to, known_at: None };
        let rows = engine.view().history(&q).expect("a question in memory works").rows;
        let counts = rows.iter().map(|row| match row {
            HistoryRow::Event(event) => (event.time, event.count),
            HistoryRow::Version(version) => panic!("{version:?}"),
        });
        assert_eq!(counts.collect::<Vec<_>>(), [(10, 2), (20, 1)]);
    }
}
