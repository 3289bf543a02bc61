//! A store is what was written, in every level's eyes.

use erstwhile_engine::check::fsck::{Level, Options, Report, Severity, fsck};
use erstwhile_engine::io::{ManualClock, Storage};

/// What a check says.
pub fn report(storage: &dyn Storage, level: Level) -> Report {
    let options = Options { level, threads: 2, ..Options::default() };
    fsck(storage, &ManualClock::new(0), &options, &()).expect("the directory is listed")
}

/// Panics unless no level finds damage; tells what the deepest found.
pub fn undamaged(storage: &dyn Storage) -> Report {
    for level in [Level::Quick, Level::Checksums] {
        let report = report(storage, level);
        assert_eq!(report.count(Severity::Damage), 0, "{level:?}: {:#?}", report.findings);
    }
    let report = report(storage, Level::Deep);
    assert_eq!(report.count(Severity::Damage), 0, "{:#?}", report.findings);
    report
}
