//! The engine against the naive model: the same logs, the same questions, equal answers.
//!
//! `ERSTWHILE_SIM_ROUNDS=N` asks N times as many questions (default 1); `ERSTWHILE_SIM_SEED=S` begins at another seed.

mod broken;
mod calm;
mod checked;
mod lost;
mod questions;
mod shrink;
mod tiny;
mod truth;
mod written;

use erstwhile::simulate::{self, Format};
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::answer::Held;
use erstwhile_engine::read::matching::Network;
use erstwhile_engine::read::question::{HistoryQuestion, StateQuestion, Wanted, Where};
use erstwhile_tests::model::Wrong;
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{
    Engine, Import, Question, Scenario, ask_engine, ask_model, difference, model, unpack,
};
use questions::Topics;
use written::{Upkeep, Written, compare_lookups};

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The seconds in a scenario's lines, as far as they are easily seen.
fn seconds(scenario: &Scenario) -> Vec<i64> {
    let mut seconds = Vec::new();
    for import in &scenario.imports {
        for (_, bytes) in &import.inputs {
            let text = String::from_utf8_lossy(&unpack(bytes)).into_owned();
            for part in text.split("\"unixTime\":").skip(1) {
                let digits: String = part.trim_start_matches('"').chars().take_while(char::is_ascii_digit).collect();
                seconds.extend(digits.parse::<i64>());
            }
        }
    }
    seconds.sort_unstable();
    seconds.dedup();
    seconds
}

fn topics(engine: &Engine, scenario: &Scenario) -> Topics {
    let view = engine.view();
    let coverage = ask_engine(&view, &Question::Coverage { table: None, host: None }, None).expect("coverage");
    let mut tables: Vec<String> = coverage["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|stream| Some(stream["table"].as_str()?.to_owned()))
        .collect();
    tables.sort();
    tables.dedup();
    let history = |table: &String| {
        let question = Question::History {
            table: table.clone(),
            host: None,
            wheres: Vec::new(),
            stream: None,
            from: None,
            to: None,
        };
        (table.clone(), ask_engine(&view, &question, None).expect("history"))
    };
    let histories: Vec<_> = tables.iter().map(history).collect();
    Topics::gather(&coverage, &histories, seconds(scenario), scenario.imports.len())
}

/// Asks both; panics with a shrunk scenario if they differ. `memtable` decides how many segments the engine makes.
fn compare(name: &str, scenario: &Scenario, memtable: usize, rng: &mut Rng, questions: usize) {
    let engine = Engine::new(scenario, memtable);
    let model = model(scenario, None);
    let topics = topics(&engine, scenario);
    let mut stage = Stage::Imported;
    for i in 0..questions {
        if let Some(next) = Stage::after(i, questions) {
            stage = next;
            stage.reach(&engine);
        }
        let (question, known_at) = topics.ask(rng);
        let differs =
            difference(&ask_engine(&engine.view(), &question, known_at), &ask_model(&model, &question, known_at));
        if differs.is_some() {
            fail(name, scenario, memtable, stage, &question, known_at);
        }
    }
}

/// How far the engine has brought what it holds.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// As the import left it: in memory, in segments, some merged.
    Imported,
    /// All in segments.
    Sealed,
    /// All in one merged segment.
    Compacted,
}

impl Stage {
    /// The stage that begins with question `i`.
    fn after(i: usize, questions: usize) -> Option<Stage> {
        match i {
            _ if i == questions / 3 => Some(Stage::Sealed),
            _ if i == questions / 2 => Some(Stage::Compacted),
            _ => None,
        }
    }

    fn reach(self, engine: &Engine) {
        match self {
            Stage::Imported => {}
            Stage::Sealed => engine.flush(),
            Stage::Compacted => engine.compact(),
        }
    }
}

fn fail(
    name: &str,
    scenario: &Scenario,
    memtable: usize,
    stage: Stage,
    question: &Question,
    known_at: Option<i64>,
) -> ! {
    let both = |scenario: &Scenario| {
        let engine = Engine::new(scenario, memtable);
        stage.reach(&engine);
        difference(
            &ask_engine(&engine.view(), question, known_at),
            &ask_model(&model(scenario, None), question, known_at),
        )
    };
    let small = shrink::shrink(scenario, |scenario| both(scenario).is_some());
    let text = both(&small).or_else(|| both(scenario)).unwrap_or_else(|| "only after what was asked before".to_owned());
    panic!("{name}, {stage:?}: {question:?} known at {known_at:?}\n{text}\n{}", shrink::show(&small));
}

/// Nine in ten of the questions of a run: corner cases meet in every way.
#[test]
fn tiny_logs_are_answered_like_the_model() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    for seed in seed..seed + 300 * rounds {
        let scenario = tiny::scenario(seed);
        let memtable = [1, 2_000, 20_000, 1 << 20][seed as usize % 4];
        compare(&format!("tiny seed {seed}"), &scenario, memtable, &mut Rng::new(seed ^ 0xabcd), 40);
    }
}

/// A fleet's files in any number of imports, in any order.
fn fleet(seed: u64, format: Format, faults: bool) -> Scenario {
    let rng = &mut Rng::new(seed);
    let mut options = simulate::Options::nasty(seed, format);
    options.faults = faults;
    options.hosts = 3;
    options.days = 0.12;
    let mut logs = simulate::generate(&options).expect("a simulation in memory works").logs;
    if rng.chance(60) {
        rng.shuffle(&mut logs);
    }
    let mut scenario = Scenario { imports: vec![Import::default()] };
    for log in logs {
        if rng.chance(40) {
            scenario.imports.push(Import::default());
        }
        if let Some(import) = scenario.imports.last_mut() {
            import.inputs.push(log);
        }
    }
    scenario
}

#[test]
fn fleets_are_answered_like_the_model() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    for seed in seed..seed + 12 * rounds {
        let format = [Format::Event, Format::Batch, Format::Snapshot][seed as usize % 3];
        let scenario = fleet(seed, format, seed % 4 != 0);
        let memtable = [50_000, 200_000, 8 << 20][seed as usize % 3];
        compare(&format!("fleet seed {seed}"), &scenario, memtable, &mut Rng::new(seed), 50);
    }
}

/// A fleet's lines, cut by time into imports: mostly one after the other as they come from a fleet that runs, at times one
/// late or lost; and what is done to the store in between.
fn live(seed: u64) -> (Scenario, Vec<Upkeep>) {
    let rng = &mut Rng::new(seed);
    let format = [Format::Event, Format::Batch, Format::Snapshot][rng.below(3)];
    let mut options = simulate::Options::nasty(seed, format);
    options.faults = rng.chance(20);
    (options.hosts, options.days) = (2, 0.1);
    let logs = simulate::generate(&options).expect("a simulation in memory works").logs;
    let second = |line: &[u8]| -> i64 {
        let text = String::from_utf8_lossy(line);
        let after = text.split("\"unixTime\":").nth(1).unwrap_or_default();
        after.trim_start_matches('"').chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    let mut lines: Vec<(i64, usize, Vec<u8>)> = Vec::new();
    for (file, (_, bytes)) in logs.iter().enumerate() {
        let mut last = 0;
        for line in unpack(bytes).split_inclusive(|byte| *byte == b'\n') {
            // A line whose clock stepped back stays behind those before it.
            last = last.max(second(line));
            lines.push((last, file, line.to_vec()));
        }
    }
    lines.sort_by_key(|line| line.0);
    let cuts = 3 + rng.below(6);
    let mut bounds: Vec<usize> = (1..cuts).map(|_| rng.below(lines.len().max(1))).collect();
    bounds.extend([0, lines.len()]);
    bounds.sort_unstable();
    let import = |lines: &[(i64, usize, Vec<u8>)]| {
        let mut inputs: Vec<(String, Vec<u8>)> = logs.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
        lines.iter().for_each(|(_, file, line)| inputs[*file].1.extend_from_slice(line));
        inputs.retain(|(_, bytes)| !bytes.is_empty());
        Import { inputs, ..Import::default() }
    };
    let mut imports: Vec<Import> = bounds.windows(2).map(|pair| import(&lines[pair[0]..pair[1]])).collect();
    if rng.chance(15) {
        let late = rng.below(imports.len() - 1);
        imports.swap(late, late + 1);
    }
    if rng.chance(15) {
        imports.remove(rng.below(imports.len()));
    }
    if rng.chance(15) {
        let again = imports[rng.below(imports.len())].clone();
        imports.push(again);
    }
    if rng.chance(50) {
        let version = *rng.pick(&["4.4.0", "5.7.0", "5.22.1"]);
        let from = rng.below(imports.len());
        imports[from].agent_version = Some(version.to_owned());
    }
    let upkeep = |at: usize, rng: &mut Rng| match rng.below(6) {
        0 | 1 => Upkeep::Flush,
        2 => Upkeep::Compact,
        _ if at == 0 => Upkeep::Compact,
        _ => Upkeep::Nothing,
    };
    let upkeep = (0..imports.len()).map(|at| upkeep(at, rng)).collect();
    (Scenario { imports }, upkeep)
}

/// Fleets with everything that goes wrong in one.
#[test]
fn stores_that_are_written_to_are_answered_like_the_model() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    for seed in seed..seed + 12 * rounds {
        let (scenario, upkeep) = live(seed);
        let topics = topics(&Engine::new(&scenario, 8 << 20), &scenario);
        let mut written = Written::new((&scenario, &upkeep), 12, &mut Rng::new(seed), |rng| topics.ask(rng));
        written.memtable = [60_000, 300_000, 8 << 20][seed as usize % 3];
        written.compare(&format!("live seed {seed}"));
    }
}

/// What is regular is read without being replayed: nine in ten of these streams are, until something comes late.
#[test]
fn calm_stores_that_are_written_to_are_answered_like_the_model() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    for seed in seed..seed + 240 * rounds {
        let (scenario, upkeep) = calm::scenario(seed);
        let topics = topics(&Engine::new(&scenario, 8 << 20), &scenario);
        let mut written = Written::new((&scenario, &upkeep), 12, &mut Rng::new(seed), |rng| topics.ask(rng));
        // Where nothing is remembered, all is read anew for each question.
        written.cache = [None, None, None, Some(0), Some(20_000)][seed as usize % 5];
        written.compare(&format!("calm seed {seed}"));
    }
}

/// Law 1: the same lines in another order, other files and other batches give equal answers.
#[test]
fn order_and_batching_change_nothing() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    for seed in seed..seed + 60 * rounds {
        let rng = &mut Rng::new(seed);
        let once = tiny::scenario(seed);
        // Deliveries are cut by input, so inputs stay whole; they come in another order and other imports, some twice.
        let mut inputs: Vec<(String, Vec<u8>)> = Vec::new();
        for import in &once.imports {
            inputs.extend(import.inputs.iter().cloned());
        }
        let in_order = Scenario { imports: vec![Import { inputs: inputs.clone(), ..Import::default() }] };
        inputs.extend(inputs.clone().into_iter().filter(|_| rng.chance(30)));
        rng.shuffle(&mut inputs);
        let shuffled = Scenario { imports: vec![Import { inputs, ..Import::default() }] };
        let (a, b) = (Engine::new(&in_order, 3_000), Engine::new(&shuffled, 700));
        let topics = topics(&a, &in_order);
        for _ in 0..40 {
            let (question, _) = topics.ask(rng);
            let (a, b) = (ask_engine(&a.view(), &question, None), ask_engine(&b.view(), &question, None));
            if let Some(text) = difference(&a, &b) {
                panic!("seed {seed}: {question:?}\n{text}\n{}{}", shrink::show(&in_order), shrink::show(&shuffled));
            }
        }
    }
}

/// Many keys at once are answered as each is alone.
#[test]
fn lookups_are_answered_like_single_questions() {
    let mut hits = 0;
    let times: Vec<i64> = (0..tiny::SECONDS as i64 + 2).map(|second| tiny::START + second - 1).collect();
    for seed in 1..=120 {
        let scenario = tiny::scenario(seed);
        let engine = Engine::new(&scenario, 2_000);
        if seed % 3 > 0 {
            engine.compact();
        }
        let uids = ["500", "0500", "501", "x"];
        hits += compare_lookups(&format!("tiny seed {seed}"), &engine.view(), &tiny::HOSTS, &uids, &times);
    }
    assert!(hits > 1000, "{hits}");
    let mut hits = 0;
    let times: Vec<i64> = (0..12).map(|step| calm::START + 2 * step).collect();
    for seed in 1..=20 {
        let (scenario, upkeep) = calm::scenario(seed);
        let engine = Engine::empty(8 << 20);
        for (i, import) in scenario.imports.iter().enumerate() {
            engine.import(i, import);
            upkeep[i].keep(&engine);
            if i % 4 == 3 {
                let name = format!("calm seed {seed}, import {i}");
                hits += compare_lookups(&name, &engine.view(), &calm::HOSTS, &calm::UIDS, &times);
            }
        }
    }
    assert!(hits > 1000, "{hits}");
}

/// A condition chooses among the rows that there are without it, whether an index finds them or not.
#[test]
fn conditions_choose_among_all_rows() {
    let mut chosen = 0;
    for seed in 1..=60 {
        let scenario = tiny::scenario(seed);
        let engine = Engine::new(&scenario, 2_000);
        if seed % 4 > 0 {
            engine.compact();
        }
        let view = engine.view();
        let name = |text: &str| Name::from(text.as_bytes());
        let begins = |text: &str| Wanted::Begins(name(text));
        let within = |text: &str| Wanted::In(Network::parse(text.as_bytes()).expect("a network"));
        let conditions = [
            ("interface_addresses", "address", vec![begins(""), begins("10."), begins("fe80::1"), begins("x")]),
            ("interface_addresses", "address", vec![within("10.0.0.0/8"), within("10.0.0.7"), within("fe80::/10")]),
            ("interface_addresses", "address", vec![within("::/0"), within("0.0.0.0/0"), within("192.0.2.0/24")]),
            ("users", "uid", vec![begins("50"), begins("0"), within("0.0.0.0/0")]),
            ("users", "username", vec![begins("a"), begins("al"), begins("zz")]),
        ];
        let conditions =
            conditions.iter().flat_map(|(table, column, texts)| texts.iter().map(move |t| (table, column, t)));
        for (table, column, text) in conditions {
            let condition = Where { column: name(column), text: text.clone() };
            for at in (0..tiny::SECONDS as i64 + 2).map(|second| tiny::START + second - 1) {
                let ask = |wheres: Vec<Where>| {
                    let (table, host, stream) = (name(table), None, None);
                    let q = StateQuestion { table, at, host, stream, wheres, known_at: None };
                    view.state(&q).map_err(|error| error.to_string())
                };
                let (all, some) = (ask(Vec::new()), ask(vec![condition.clone()]));
                let (all, some) = match (all, some) {
                    (Ok(all), Ok(some)) => (all, some),
                    (all, some) => {
                        assert_eq!(all.err(), some.err(), "seed {seed}: {condition:?} at {at}");
                        continue;
                    }
                };
                let fits = |held: &&Held| match (held.version.row.get(column.as_bytes()), text) {
                    (Some(found), Wanted::Begins(asked)) => found.starts_with(asked),
                    (Some(found), Wanted::In(network)) => network.holds(found),
                    _ => false,
                };
                let expected: Vec<Held> = all.rows.iter().filter(fits).cloned().collect();
                chosen += expected.len();
                assert_eq!(some.rows, expected, "seed {seed}: {condition:?} at {at}");
                assert_eq!(some.coverage, all.coverage, "seed {seed}: {condition:?} at {at}");
            }
        }
    }
    assert!(chosen > 1000, "{chosen}");
}

/// The state of very many hosts comes in parts, which are the whole in its order.
#[test]
fn parts_make_up_the_whole() {
    let lines = |second: i64, counter: u64, hosts: std::ops::Range<usize>| -> Vec<u8> {
        let line = |host: usize| {
            format!(
                r#"{{"name":"users","hostIdentifier":"h{host:05}","unixTime":{second},"epoch":0,"counter":{counter},"numerics":false,"columns":{{"uid":"{}","username":"u"}},"action":"added"}}"#,
                host % 7 + counter as usize * 10
            ) + "\n"
        };
        hosts.map(line).collect::<String>().into_bytes()
    };
    let engine = Engine::empty(8 << 20);
    let import =
        |i, bytes| engine.import(i, &Import { inputs: vec![("a log".to_owned(), bytes)], ..Import::default() });
    import(0, lines(tiny::START, 0, 0..5000));
    for stage in 0..3 {
        match stage {
            0 => {}
            1 => engine.compact(),
            _ => import(1, lines(tiny::START + 60, 1, 1000..4000)),
        }
        let view = engine.view();
        for at in [tiny::START, tiny::START + 60] {
            let table = Name::from(&b"users"[..]);
            let q = StateQuestion { table, at, host: None, stream: None, wheres: Vec::new(), known_at: None };
            let (mut parts, mut rows) = (0, Vec::new());
            let rest = view.state_in_parts(&q, |part| {
                parts += 1;
                assert_eq!(part.iter().count(), part.len());
                rows.extend(part.into_held());
                Ok(())
            });
            let (rest, whole) = (rest.expect("a state in memory"), view.state(&q).expect("a state in memory"));
            assert!(parts > 1 && rows.len() >= 5000, "{parts} parts of {} rows", rows.len());
            assert!(rows.is_sorted_by_key(|held| held.version.host.clone()));
            assert_eq!((rows, rest.coverage), (whole.rows, whole.coverage));
        }
        let whole_history = HistoryQuestion {
            table: Name::from(&b"users"[..]),
            host: None,
            stream: None,
            wheres: Vec::new(),
            from: None,
            to: None,
            known_at: None,
        };
        let (mut parts, mut rows) = (0, Vec::new());
        let rest = view.history_in_parts(&whole_history, |part| {
            parts += 1;
            rows.extend(part);
            Ok(())
        });
        assert!(rest.expect("a history in memory").rows.is_empty() && parts > 1);
        assert_eq!(rows, view.history(&whole_history).expect("a history in memory").rows);
    }
}

/// A merge moves facts and judges nothing: not even what was known in the past changes.
#[test]
fn merges_change_no_answer() {
    for seed in 1..=40 {
        let scenario = tiny::scenario(seed);
        let (whole, cut) = (Engine::new(&scenario, 1 << 20), Engine::new(&scenario, 1));
        let topics = topics(&whole, &scenario);
        let rng = &mut Rng::new(seed);
        for i in 0..60 {
            if i == 30 {
                cut.compact();
            }
            let (question, known_at) = topics.ask(rng);
            let (a, b) = (ask_engine(&whole.view(), &question, known_at), ask_engine(&cut.view(), &question, known_at));
            if let Some(text) = difference(&a, &b) {
                panic!("seed {seed}: {question:?} known at {known_at:?}\n{text}\n{}", shrink::show(&scenario));
            }
        }
    }
}

/// The comparison is worth something: each rule that the model gets wrong on purpose is found by it.
#[test]
fn wrong_rules_are_found() {
    let mut missed: Vec<Wrong> = Wrong::ALL.to_vec();
    for seed in 1..=1500 {
        if missed.is_empty() {
            break;
        }
        let scenario = tiny::scenario(seed);
        let engine = Engine::new(&scenario, 1 << 20);
        let topics = topics(&engine, &scenario);
        let rng = &mut Rng::new(seed ^ 0xabcd);
        let view = engine.view();
        let asked: Vec<_> = (0..40).map(|_| topics.ask(rng)).collect();
        let answers: Vec<_> = asked.iter().map(|(question, known_at)| ask_engine(&view, question, *known_at)).collect();
        missed.retain(|wrong| {
            let model = model(&scenario, Some(*wrong));
            let same = |((question, known_at), answer): (&(Question, Option<i64>), _)| {
                difference(answer, &ask_model(&model, question, *known_at)).is_none()
            };
            asked.iter().zip(&answers).all(same)
        });
    }
    assert!(missed.is_empty(), "the comparison does not notice {missed:?}");
    assert!(Wrong::ALL.len() >= 15);
}

/// Real lines: every one accounted for, and answered like the model.
#[test]
fn real_lines_are_answered_like_the_model() {
    let Ok(data) = std::env::var("ERSTWHILE_REAL_DATA") else {
        println!("skipped: ERSTWHILE_REAL_DATA names no folder of real osquery lines");
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(std::path::Path::new(&data).join("samples"))
        .expect("the folder has samples")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|end| end == "log" || end == "jsonl"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut inputs = Vec::new();
    for file in &files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        inputs.push((name, std::fs::read(file).expect("a readable sample")));
    }
    let all = Scenario { imports: vec![Import { inputs: inputs.clone(), ..Import::default() }] };
    compare("real lines at once", &all, 1 << 20, &mut Rng::new(1), 300);
    let each = inputs.into_iter().rev().map(|input| Import { inputs: vec![input], ..Import::default() });
    compare("real lines one by one", &Scenario { imports: each.collect() }, 20_000, &mut Rng::new(2), 300);
}
