//! Stores of which recovery lost something, against the model: whatever is lost of whatever streams, known or not, is
//! answered alike.
//!
//! The losses are by chance and not of looks that were there: what follows from a loss is a rule like any other. That what
//! follows is enough, `format` asks of stores that are damaged.

use crate::{calm, env, shrink, tiny, topics};
use erstwhile_tests::model::{Loss, Model, StreamKey, Wrong};
use erstwhile_tests::support::lost::Lost;
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{
    Engine, Question, Scenario, ask_engine, ask_model, difference, model, recorded_at,
};
use serde_json::Value;

/// How far the store has brought what is lost.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It stands beside the rest.
    Beside,
    /// It is merged with the rest.
    Merged,
}

const STAGES: [Stage; 2] = [Stage::Beside, Stage::Merged];

/// Up to three losses of some streams, which are there or at least could be.
fn losses(rng: &mut Rng, streams: &[StreamKey], imports: usize, (first, seconds): (i64, usize)) -> Vec<Lost> {
    let mut lost = Vec::new();
    for _ in 0..1 + rng.below(2) {
        if streams.is_empty() {
            break;
        }
        let mut stream = rng.pick(streams).clone();
        if rng.chance(10) {
            stream.host = rng.pick(streams).host.clone();
        }
        if rng.chance(4) {
            stream.host = b"h9".to_vec();
        }
        for _ in 0..1 + rng.below(3) {
            let from = first - 2 + rng.below(seconds + 4) as i64;
            let to = from + rng.below(4) as i64;
            let loss = Loss {
                first: (!rng.chance(8)).then_some(from),
                last: (!rng.chance(8)).then_some(to),
                in_order: rng.chance(60),
            };
            lost.push((stream.clone(), loss, recorded_at(rng.below(imports))));
        }
    }
    lost
}

/// Where the two answers differ.
fn differs(engine: Result<Value, String>, model: Result<Value, String>) -> Option<String> {
    difference(&engine, &model)
}

fn lose(mut model: Model, lost: &[Lost]) -> Model {
    lost.iter().for_each(|(stream, loss, recorded)| model.lose(stream.clone(), *loss, *recorded));
    model
}

/// The store of a scenario, of which this is lost.
fn engine(scenario: &Scenario, memtable: usize, lost: &[Lost], stage: Stage) -> Engine {
    let engine = Engine::new(scenario, memtable).lose(lost);
    if let Stage::Merged = stage {
        engine.compact();
    }
    engine
}

/// Asks both; panics with a shrunk scenario if they differ. Tells how many answers speak of damage.
fn compare(name: &str, scenario: &Scenario, memtable: usize, lost: &[Lost], rng: &mut Rng) -> usize {
    let oracle = lose(model(scenario, None), lost);
    let mut damaged = 0;
    for stage in STAGES {
        let engine = engine(scenario, memtable, lost, stage);
        let (topics, view) = (topics(&engine, scenario), engine.view());
        for _ in 0..30 {
            let (question, known_at) = topics.ask(rng);
            let answer = ask_engine(&view, &question, known_at);
            damaged += usize::from(answer.as_ref().is_ok_and(|answer| answer.to_string().contains("\"damage\"")));
            if differs(answer, ask_model(&oracle, &question, known_at)).is_some() {
                fail(name, scenario, memtable, lost, stage, (&question, known_at));
            }
        }
    }
    damaged
}

fn fail(
    name: &str,
    scenario: &Scenario,
    memtable: usize,
    lost: &[Lost],
    stage: Stage,
    (question, known_at): (&Question, Option<i64>),
) -> ! {
    let both = |scenario: &Scenario, lost: &[Lost]| {
        let of_engine = ask_engine(&engine(scenario, memtable, lost, stage).view(), question, known_at);
        differs(of_engine, ask_model(&lose(model(scenario, None), lost), question, known_at))
    };
    let mut fewer = lost.to_vec();
    for at in (0..lost.len()).rev() {
        let mut without = fewer.clone();
        without.remove(at);
        if both(scenario, &without).is_some() {
            fewer = without;
        }
    }
    let small = shrink::shrink(scenario, |scenario| both(scenario, &fewer).is_some());
    let text = both(&small, &fewer).unwrap_or_else(|| "only after what was asked before".to_owned());
    panic!("{name}, {stage:?}: {question:?} known at {known_at:?}\n{text}\n{fewer:?}\n{}", shrink::show(&small));
}

/// A scenario with what is lost of it.
fn tiny(seed: u64) -> (Scenario, Vec<Lost>) {
    let scenario = tiny::scenario(seed);
    let streams = model(&scenario, None).streams();
    let rng = &mut Rng::new(seed ^ 0x105e);
    let lost = losses(rng, &streams, scenario.imports.len(), (tiny::START, tiny::SECONDS));
    (scenario, lost)
}

#[test]
fn tiny_logs_of_which_something_is_lost_are_answered_like_the_model() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    let mut damaged = 0;
    for seed in seed..seed + 120 * rounds {
        let (scenario, lost) = tiny(seed);
        let memtable = [1, 2_000, 20_000, 1 << 20][seed as usize % 4];
        damaged += compare(&format!("tiny seed {seed}"), &scenario, memtable, &lost, &mut Rng::new(seed));
    }
    assert!(damaged > 400, "{damaged} answers speak of damage");
}

/// Where nothing is wrong but what is lost, more can be relied on.
#[test]
fn calm_logs_of_which_something_is_lost_are_answered_like_the_model() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    let mut damaged = 0;
    for seed in seed..seed + 60 * rounds {
        let (scenario, _) = calm::scenario(seed);
        let (streams, rng) = (model(&scenario, None).streams(), &mut Rng::new(seed ^ 0x105e));
        let lost = losses(rng, &streams, scenario.imports.len(), (calm::START, 24));
        damaged += compare(&format!("calm seed {seed}"), &scenario, 1 << 20, &lost, rng);
    }
    assert!(damaged > 200, "{damaged} answers speak of damage");
}

/// The comparison is worth something: each rule of losses that the model gets wrong on purpose is found by it.
#[test]
fn wrong_rules_of_losses_are_found() {
    let mut missed: Vec<Wrong> = Wrong::OF_LOSSES.to_vec();
    for seed in 1..=1500 {
        if missed.is_empty() {
            break;
        }
        let (scenario, lost) = tiny(seed);
        let engine = engine(&scenario, 1 << 20, &lost, Stage::Beside);
        let (topics, view) = (topics(&engine, &scenario), engine.view());
        let rng = &mut Rng::new(seed);
        let asked: Vec<_> = (0..40).map(|_| topics.ask(rng)).collect();
        let answers: Vec<_> = asked.iter().map(|(question, known_at)| ask_engine(&view, question, *known_at)).collect();
        missed.retain(|wrong| {
            let model = lose(model(&scenario, Some(*wrong)), &lost);
            let is_same = |((question, known_at), answer): (&(Question, Option<i64>), _)| {
                difference(answer, &ask_model(&model, question, *known_at)).is_none()
            };
            asked.iter().zip(&answers).all(is_same)
        });
    }
    assert!(missed.is_empty(), "the comparison does not notice {missed:?}");
}
