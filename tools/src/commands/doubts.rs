//! Questions that can hardly be meant: what is said beside the answer that they get all the same.
//!
//! Invariants:
//! - The answer is what it is: rows, counts and exit code know nothing of this, and a note goes to standard error alone.
//! - A store is asked for more only where its answer holds nothing.
//! - What cannot be found out for a note is no failure: the answer is there.
//!
//! Steps: is the address one? → does anybody speak? if not, are host and table known? → if they are, are the columns?

use super::Answers;
use crate::forms::Answer;
use crate::forms::text::safe;
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::answer::Coverage;
use erstwhile_engine::read::matching::{Address, Network};
use erstwhile_engine::read::question::{ListQuestion, Where};

/// What of a question may be mistyped.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked<'q> {
    /// Whose holder is asked for.
    pub(super) address: Option<&'q Name>,
    /// The table.
    pub(super) table: Option<&'q Name>,
    /// The host.
    pub(super) host: Option<&'q Name>,
    /// The conditions on columns.
    pub(super) wheres: &'q [Where],
}

/// What is to be said of a question beside its answer, a line each.
pub(super) fn notes(asked: Asked<'_>, answer: &Answer, answers: &dyn Answers) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(asked.address.filter(|address| Address::parse(address).is_none()).map(of_address));
    let mut unknown: Vec<String> = Vec::new();
    if is_silent(asked, answer, answers) {
        unknown.extend(asked.host.and_then(|host| of_host(host, answers)));
        unknown.extend(asked.table.and_then(|table| of_table(table, answers)));
    }
    if unknown.is_empty()
        && is_empty(answer)
        && let Some(table) = asked.table
    {
        unknown.extend(asked.wheres.iter().filter_map(|condition| of_column(table, &condition.column, answers)));
    }
    notes.append(&mut unknown);
    notes
}

/// Whether an answer has no row.
fn is_empty(answer: &Answer) -> bool {
    match answer {
        Answer::State(state) => state.rows.is_empty(),
        Answer::Who(who) => who.rows.is_empty(),
        Answer::What(what) => what.links.iter().all(|link| link.rows.is_empty()),
        Answer::History(history) => history.rows.is_empty(),
        Answer::Diff(diff) => diff.rows.is_empty(),
        Answer::Coverage(streams) => streams.is_empty(),
        Answer::Hosts(_) | Answer::Tables(_) => false,
    }
}

/// Whether an answer holds nothing since there is nobody who could say anything.
fn is_silent(asked: Asked<'_>, answer: &Answer, answers: &dyn Answers) -> bool {
    let nobody = |coverage: &Coverage| coverage.covered + coverage.presumed + coverage.unknown == 0;
    match answer {
        Answer::State(state) => nobody(&state.coverage),
        Answer::Who(who) => nobody(&who.coverage),
        Answer::What(what) => nobody(&what.coverage),
        // A host's looks at the table are soon listed, those of all hosts are not.
        Answer::History(_) | Answer::Diff(_) if asked.host.is_some() => {
            is_empty(answer) && has_streams(asked.table, asked.host, answers) == Some(false)
        }
        _ => is_empty(answer),
    }
}

/// Whether there is a stream of a table and host; `None` if that cannot be found out.
fn has_streams(table: Option<&Name>, host: Option<&Name>, answers: &dyn Answers) -> Option<bool> {
    let question = ListQuestion { table: table.cloned(), host: host.cloned(), known_at: None };
    Some(!answers.coverage(&question).ok()?.is_empty())
}

fn of_address(address: &Name) -> String {
    let network = Network::parse(address).map_or_else(|| "NETWORK".to_owned(), |_| safe(address));
    format!(
        "{} is no address and is compared as text; for a network use `erstwhile state interface_addresses --at T \
         --where-in address={network}`",
        safe(address)
    )
}

/// The note for a host that the store does not know.
fn of_host(host: &Name, answers: &dyn Answers) -> Option<String> {
    if has_streams(None, Some(host), answers)? {
        return None;
    }
    let hosts = answers.hosts(&ListQuestion::default()).ok()?;
    if hosts.iter().any(|known| known.host == *host) {
        return None;
    }
    let like = hosts.iter().filter_map(|known| Some((likeness(host, &known.host)?, &known.host))).min();
    let hint = like.map_or_else(String::new, |(_, known)| format!(" (is it {}?)", safe(known)));
    Some(format!(
        "the store knows no host {}{hint}; hosts are compared exactly, see `erstwhile hosts` for their names",
        safe(host)
    ))
}

/// How alike two names of hosts are that may be meant for each other, the most alike first: but for case, but for a domain
/// that one of them lacks, but for their domains.
fn likeness(asked: &[u8], known: &[u8]) -> Option<u8> {
    // The first octets of two addresses say nothing.
    if Address::parse(asked).is_some() || Address::parse(known).is_some() {
        return None;
    }
    let label = |name: &[u8]| name.iter().position(|byte| *byte == b'.').unwrap_or(name.len());
    let (ours, theirs) = (label(asked), label(known));
    if asked.eq_ignore_ascii_case(known) {
        Some(0)
    } else if ours == 0 || !asked[..ours].eq_ignore_ascii_case(&known[..theirs]) {
        None
    } else {
        Some(if ours == asked.len() || theirs == known.len() { 1 } else { 2 })
    }
}

/// The note for a table of which nothing is stored.
fn of_table(table: &Name, answers: &dyn Answers) -> Option<String> {
    if answers.has_table(table).ok()? {
        return None;
    }
    let (catalogue, name) = (answers.catalogue(), safe(table));
    if catalogue.table(table).is_some() {
        return Some(format!("nothing is stored of the table {name}; see `erstwhile tables` for what is"));
    }
    let lower = Name::from(table.to_ascii_lowercase());
    let is_like = lower != *table && (catalogue.table(&lower).is_some() || answers.has_table(&lower).ok()?);
    let hint = if is_like { format!(" (is it {}?)", safe(&lower)) } else { String::new() };
    Some(format!(
        "nothing is stored of a table {name}, and osquery has none of that name that is known here{hint}; see `erstwhile \
         tables`"
    ))
}

/// The note for a column that osquery's table lacks, where no row has it either.
fn of_column(table: &Name, column: &Name, answers: &dyn Answers) -> Option<String> {
    let catalogue = answers.catalogue();
    let known = catalogue.table(table)?;
    known.column(column).is_none().then(|| {
        format!(
            "osquery's table {} has no column {}; rows have it only where a query names one so",
            safe(table),
            safe(column)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alike_but_for_case_and_domain() {
        let likeness = |asked: &str, known: &str| likeness(asked.as_bytes(), known.as_bytes());
        assert_eq!(likeness("web-1", "WEB-1"), Some(0));
        assert_eq!(likeness("DESK-003.corp.test", "desk-003"), Some(1));
        assert_eq!(likeness("desk-003", "DESK-003.corp.test"), Some(1));
        assert_eq!(likeness("web-1.a.test", "web-1.b.test"), Some(2));
        for (asked, known) in [("web-1", "web-10"), ("10.0.0.7", "10.0.0.8"), (".a", ".b"), ("", "web-1")] {
            assert_eq!(likeness(asked, known), None, "{asked} {known}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_with_the_way_to_a_network() {
        let of = |text: &str| of_address(&Name::from(text.as_bytes()));
        assert!(of("10.40.0.22/24").ends_with("--where-in address=10.40.0.22/24`"));
        assert!(of("web-1").starts_with("web-1 is no address") && of("web-1").ends_with("address=NETWORK`"));
        assert!(of("10.0\x1b.1").starts_with("10.0\\x1b.1 is"));
    }
}
