//! What all steps of a check share: what was asked for, what was found so far, and the time that is left.

use super::report::{Finding, LeftOut, Meaning, Report, Total};
use super::{Level, Options, Watch};
use crate::io::{Clock, Storage};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// So many findings are held; more are counted.
const FINDINGS_MAX: usize = 10_000;

/// A share is in parts of so many.
const SHARE_ALL: u64 = 1_000_000;

/// A check on its way.
pub(super) struct Work<'w> {
    pub(super) storage: &'w dyn Storage,
    pub(super) options: &'w Options,
    watch: &'w dyn Watch,
    clock: &'w dyn Clock,
    began: u64,
    is_over: AtomicBool,
    report: Mutex<Report>,
}

impl<'w> Work<'w> {
    pub(super) fn new(
        storage: &'w dyn Storage,
        clock: &'w dyn Clock,
        options: &'w Options,
        watch: &'w dyn Watch,
    ) -> Work<'w> {
        let (began, is_over, report) = (clock.monotonic_nanos(), AtomicBool::new(false), Mutex::default());
        Work { storage, options, watch, clock, began, is_over, report }
    }

    pub(super) fn is_deep(&self) -> bool {
        self.options.level == Level::Deep
    }

    pub(super) fn is_quick(&self) -> bool {
        self.options.level == Level::Quick
    }

    pub(super) fn find(&self, finding: Finding) {
        let mut report = self.report.lock();
        if report.findings.len() < FINDINGS_MAX {
            report.findings.push(finding);
        } else {
            report.left_out.findings += 1;
        }
    }

    /// Forgets what was found of files with a name like this.
    pub(super) fn forget(&self, is_such: impl Fn(&str) -> bool) {
        self.report.lock().findings.retain(|finding| !is_such(&finding.file));
    }

    pub(super) fn has_damage(&self, file: &str) -> bool {
        let is_such = |finding: &Finding| finding.severity == super::report::Severity::Damage && finding.file == file;
        self.report.lock().findings.iter().any(is_such)
    }

    pub(super) fn total(&self, kind: usize, total: Total) {
        self.report.lock().totals[kind].add(total);
    }

    pub(super) fn meaning(&self, meaning: &Meaning) {
        self.report.lock().meaning.add(meaning);
    }

    pub(super) fn leave_out(&self, left_out: &LeftOut) {
        self.report.lock().left_out.add(left_out);
    }

    /// So many bytes more were read.
    pub(super) fn advance(&self, bytes: u64) {
        self.watch.advance(bytes);
    }

    /// Whether the time is up.
    pub(super) fn is_over(&self) -> bool {
        let Some(budget) = self.options.budget_nanos else {
            return false;
        };
        if !self.is_over.load(Ordering::Relaxed) && self.clock.monotonic_nanos() - self.began >= budget {
            self.is_over.store(true, Ordering::Relaxed);
        }
        self.is_over.load(Ordering::Relaxed)
    }

    /// Whether something is in the share: of a file by its number, by its place there.
    pub(super) fn is_chosen(&self, number: u64, place: u64) -> bool {
        let Some(share) = self.options.share else {
            return true;
        };
        let bytes = [number.to_le_bytes(), place.to_le_bytes()].concat();
        let chance = xxh3_64_with_seed(&bytes, self.options.seed) % SHARE_ALL;
        (chance as f64) < share * SHARE_ALL as f64
    }

    pub(super) fn finish(self, is_live: bool) -> Report {
        let mut report = self.report.into_inner();
        report.findings.sort_by(|a, b| a.order().cmp(&b.order()));
        report.findings.dedup();
        report.nanos = self.clock.monotonic_nanos() - self.began;
        report.is_live = is_live;
        report
    }
}
