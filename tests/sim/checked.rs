//! Stores of whatever lines there are, at every step of their upkeep: a check finds nothing, however deep, while the store
//! is open and when it is not.

use super::env;
use erstwhile::simulate::{self, Format, Options};
use erstwhile_engine::check::fsck::{Report, Severity};
use erstwhile_tests::support::checked::undamaged;
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{Engine, Import};

/// Merged segments stay as long as someone reads them.
fn harmless(report: &Report) -> bool {
    report.findings.iter().all(|finding| finding.severity == Severity::Info)
}

#[test]
fn a_check_finds_nothing_after_any_compaction() {
    let (rounds, seed) = (env("ERSTWHILE_SIM_ROUNDS", 1), env("ERSTWHILE_SIM_SEED", 1));
    let (mut keyframes, mut postings, mut segments) = (0, 0, 0);
    for seed in seed..seed + 6 * rounds {
        // Said if it fails.
        eprintln!("seed {seed}");
        let format = [Format::Event, Format::Batch, Format::Snapshot][seed as usize % 3];
        let fleet = simulate::generate(&Options { hosts: 3, days: 0.2, ..Options::nasty(seed, format) });
        let mut logs = fleet.expect("a simulation in memory works").logs;
        Rng::new(seed).shuffle(&mut logs);
        let engine = Engine::empty([20_000, 60_001, 8 << 20][seed as usize / 2 % 3]);
        for (i, some) in logs.chunks(logs.len().div_ceil(3)).enumerate() {
            engine.import(i, &Import { inputs: some.to_vec(), ..Import::default() });
            segments += undamaged(engine.storage()).totals[1].files;
            engine.flush();
            undamaged(engine.storage());
        }
        engine.store().compact_if_due().expect("a compaction in memory works");
        undamaged(engine.storage());
        engine.compact();
        let report = undamaged(engine.storage());
        assert!(report.is_live && harmless(&report), "{:#?}", report.findings);
        keyframes += report.meaning.keyframes;
        postings += report.meaning.postings;
        let storage = engine.storage().clone();
        drop(engine);
        let report = undamaged(&storage);
        assert!(!report.is_live && harmless(&report), "{:#?}", report.findings);
    }
    assert!(keyframes > 100 && postings > 1000 && segments > 10, "{keyframes}, {postings}, {segments}");
}
