//! A failing scenario is made small: lines are taken away as long as the difference stays.

use erstwhile_tests::support::scenario::{Scenario, unpack};

/// Every line of a scenario as (import, input, line).
fn lines(scenario: &Scenario) -> Vec<(usize, usize, Vec<u8>)> {
    let mut lines = Vec::new();
    for (i, import) in scenario.imports.iter().enumerate() {
        for (k, (_, bytes)) in import.inputs.iter().enumerate() {
            for line in unpack(bytes).split_inclusive(|byte| *byte == b'\n') {
                lines.push((i, k, line.to_vec()));
            }
        }
    }
    lines
}

fn with_lines(scenario: &Scenario, lines: &[(usize, usize, Vec<u8>)]) -> Scenario {
    let mut smaller = scenario.clone();
    for import in &mut smaller.imports {
        import.inputs.iter_mut().for_each(|(_, bytes)| bytes.clear());
    }
    for (i, k, line) in lines {
        smaller.imports[*i].inputs[*k].1.extend_from_slice(line);
    }
    smaller
}

/// The smallest scenario found for which `fails` still holds.
pub(crate) fn shrink(scenario: &Scenario, fails: impl Fn(&Scenario) -> bool) -> Scenario {
    let mut scenario = scenario.clone();
    for i in 0..scenario.imports.len() {
        let (mut no_map, mut no_version) = (scenario.clone(), scenario.clone());
        no_map.imports[i].map = None;
        no_version.imports[i].agent_version = None;
        if let Some(smaller) = [no_map, no_version].into_iter().find(|smaller| fails(smaller)) {
            scenario = smaller;
        }
    }
    let mut lines = lines(&scenario);
    let mut chunk = lines.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < lines.len() {
            let mut fewer = lines.clone();
            fewer.drain(at..(at + chunk).min(fewer.len()));
            if fails(&with_lines(&scenario, &fewer)) {
                lines = fewer;
            } else {
                at += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    with_lines(&scenario, &lines)
}

/// A scenario in words.
pub(crate) fn show(scenario: &Scenario) -> String {
    let mut out = String::new();
    for (i, import) in scenario.imports.iter().enumerate() {
        out += &format!("import {i} (agent version {:?}, map {:?})\n", import.agent_version, import.map);
        for (name, bytes) in &import.inputs {
            out += &format!("  {name}:\n");
            for line in unpack(bytes).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                out += &format!("    {}\n", String::from_utf8_lossy(line));
            }
        }
    }
    out
}
