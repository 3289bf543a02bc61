//! A store of a fleet's logs against the simulator's truth about the fleet, whatever went wrong with the lines.

use super::{env, unpack};
use erstwhile::simulate::{self, Format, Options};
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{Engine, Import, Scenario, ask_engine};
use erstwhile_tests::support::truth::{Truth, state};

#[test]
fn logs_are_answered_as_the_truth_about_the_fleet_demands() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    let (mut checked, mut unknown, mut packed) = (0, 0, 0);
    for seed in seed..seed + 12 * rounds {
        // Said if it fails.
        eprintln!("seed {seed}");
        let format = [Format::Event, Format::Batch, Format::Snapshot][seed as usize % 3];
        let options = Options { hosts: 4, days: 0.25, ..Options::nasty(seed, format) };
        let fleet = simulate::generate(&options).expect("a simulation in memory works");
        let file = |name: &str| {
            let found = fleet.truth.iter().find(|(other, _)| other == name);
            found.unwrap_or_else(|| panic!("{name}")).1.clone()
        };
        let truth = Truth::of(&file, format);
        packed += fleet.logs.iter().filter(|(_, bytes)| unpack(bytes) != *bytes).count();
        let rng = &mut Rng::new(seed);
        let mut logs = fleet.logs.clone();
        rng.shuffle(&mut logs);
        let scenario = Scenario { imports: vec![Import { inputs: logs, ..Import::default() }] };
        let engine = Engine::new(&scenario, [60_000, 8 << 20][seed as usize % 2]);
        let view = engine.view();
        let letters = view.dead_letters(&mut Default::default()).expect("a memory is read");
        assert_eq!(letters, truth.dead_letters, "seed {seed}: dead letters");
        for question in truth.questions(6, rng) {
            let found = ask_engine(&view, &question, None);
            if let Ok(answer) = &found {
                unknown += answer["coverage"]["unknown"].as_u64().unwrap_or(0);
            }
            if let Some(text) = truth.difference(&question, found) {
                panic!("seed {seed}, {format:?}: {question:?}\n{text}");
            }
        }
        for look in truth.plain_looks().into_iter().step_by(1 + rng.below(4)) {
            let answer = ask_engine(&view, &state(&look.table, look.second), None).expect("a state");
            checked += truth.world.check(look, &answer);
        }
    }
    assert!(checked > 1000 && unknown > 100 && packed > 3, "{checked} rows, {unknown} unknown, {packed} packed");
}
