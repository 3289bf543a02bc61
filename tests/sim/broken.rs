//! Streams with breaks, merged once at whatever moment: what the merge made of them and what came since must together say at
//! every second what the model says of all.

use crate::calm::{HOSTS, START, UIDS, broken};
use crate::shrink;
use erstwhile_tests::support::scenario::{Engine, Question, Scenario, ask_engine, ask_model, difference, model};
use serde_json::Value;

/// Every question at every second around the scenario's, with the model's answer.
fn asked(scenario: &Scenario) -> Vec<(Question, Result<Value, String>)> {
    let mut questions = Vec::new();
    let host = |host: &str| Some(host.as_bytes().to_vec());
    for at in START - 1..START + 28 {
        for table in ["users", "interface_addresses"] {
            let (table, wheres) = (table.to_owned(), Vec::new());
            questions.push(Question::State { table: table.clone(), at, host: None, wheres, stream: None });
            for host in HOSTS.iter().take(2) {
                let (table, host, from) = (table.clone(), host.as_bytes().to_vec(), at - 3);
                questions.push(Question::Diff { table, host, from, to: at, stream: None });
            }
        }
        for uid in &UIDS[..3] {
            questions.push(Question::WhoUid { uid: (*uid).to_owned(), at, host: None });
            questions.push(Question::WhoUid { uid: (*uid).to_owned(), at, host: host(HOSTS[0]) });
        }
        questions.push(Question::WhoIp { address: "10.0.0.7".to_owned(), at, host: None });
        for (from, to) in [(None, Some(at)), (Some(at), Some(at + 1)), (Some(at), None)] {
            let (table, wheres) = ("users".to_owned(), Vec::new());
            questions.push(Question::History { table, host: None, wheres, stream: None, from, to });
        }
    }
    let model = model(scenario, None);
    let answer = |question: Question| {
        let answer = ask_model(&model, &question, None);
        (question, answer)
    };
    questions.into_iter().map(answer).collect()
}

/// Where a store that was merged after import `merged` differs; asked twice, since what is remembered must say the same.
fn differs(scenario: &Scenario, asked: &[(Question, Result<Value, String>)], merged: usize) -> Option<String> {
    let engine = Engine::with_cache(8 << 20, None);
    for (i, import) in scenario.imports.iter().enumerate() {
        engine.import(i, import);
        if i == merged {
            engine.compact();
        }
    }
    let view = engine.view();
    asked.iter().chain(asked).find_map(|(question, answer)| {
        let text = difference(&ask_engine(&view, question, None), answer)?;
        Some(format!("merged after import {merged}, {question:?}\n{text}"))
    })
}

#[test]
fn streams_with_breaks_that_were_merged_once_are_answered_like_the_model() {
    let (rounds, seed) = (crate::env("ERSTWHILE_SIM_ROUNDS", 1), crate::env("ERSTWHILE_SIM_SEED", 1));
    for seed in seed..seed + 24 * rounds {
        let scenario = broken(seed);
        let wrong = |scenario: &Scenario| {
            let asked = asked(scenario);
            (0..scenario.imports.len()).find_map(|merged| differs(scenario, &asked, merged))
        };
        let Some(first) = wrong(&scenario) else { continue };
        let small = shrink::shrink(&scenario, |scenario| wrong(scenario).is_some());
        panic!("broken seed {seed}: {}\n{}", wrong(&small).unwrap_or(first), shrink::show(&small));
    }
}
