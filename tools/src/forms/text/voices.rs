//! Who can speak for a table at T and who cannot.

use super::value::safe;
use super::{View, count, grouped, paint};
use erstwhile_engine::read::answer::{Cause, Coverage};
use std::io::{self, Write};

/// Hosts that are named on a terminal.
const NAMED_MAX: usize = 5;

/// `410 covered, 2 presumed, 3 unknown, 85 never looked`.
pub(crate) fn counts(coverage: &Coverage) -> String {
    format!(
        "{} covered, {} presumed, {} unknown, {} never looked",
        grouped(coverage.covered),
        grouped(coverage.presumed),
        grouped(coverage.unknown),
        grouped(coverage.never)
    )
}

/// Writes the counts of hosts and names some that cannot speak.
pub(crate) fn write(coverage: &Coverage, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", paint::plain(view, &format!("hosts: {}", counts(coverage))))?;
    write_silent(coverage, view, out)
}

/// Names hosts that cannot speak, and counts those that speak by assumption.
pub(crate) fn write_silent(coverage: &Coverage, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    if coverage.unknown > 0 {
        let mut named: Vec<String> = coverage
            .unknown_hosts
            .iter()
            .take(NAMED_MAX)
            .map(|(host, cause)| format!("{} ({})", safe(host), cause_words(*cause)))
            .collect();
        let more = coverage.unknown.saturating_sub(named.len() as u64);
        if more > 0 {
            named.push(format!("{} more", grouped(more)));
        }
        let words = format!("cannot speak: {}", named.join(", "));
        writeln!(out, "{}", paint::warn(view, &words))?;
    }
    if coverage.assumed > 0 {
        let words = format!(
            "{} by a table that is assumed from the name of its query; see `erstwhile tables`",
            count(coverage.assumed, "host", "hosts")
        );
        writeln!(out, "{}", paint::plain(view, &words))?;
    }
    Ok(())
}

/// A cause, for people.
pub(crate) fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Gap => "gap: looks are missing",
        Cause::Fork => "fork: its looks contradict each other",
        Cause::NoBase => "no-base: no full set yet",
        Cause::DoubtfulZero => "doubtful-zero: a restart that may not be a full set",
        Cause::NotHeld => "not-held: a row left that was not there",
        Cause::Damage => "damage: recovery lost looks",
        Cause::Expired => "expired: looks were removed by retention",
        Cause::BeforeFirst => "before-first: its first look is later",
    }
}
