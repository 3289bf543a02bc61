//! One JSON object per answer, on one line.
//!
//! Invariants:
//! - Fields stand in the documented order, and none is left out; what is not known is `null`.
//! - Texts are strings. Bytes that are not UTF-8 are written as U+FFFD, one per maximal invalid part, and the row (or
//!   entry) they stand in ends with `"lossy":true`.
//! - Times are RFC 3339 in UTC; `known_at` has microseconds.

// The writer of JSON's own words.
mod writer;
pub(crate) use writer::Json;

// Rows, events, changes and entries: what stands in a list.
mod rows;
pub(crate) use rows::{Item, action, breaks, end_word, items, start_word};

use super::Answer;
use erstwhile_engine::read::answer::{Cost, Coverage};
use std::io::{self, Write};

/// Writes an answer as one object and a newline.
pub fn write(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let mut json = Json::new(out);
    object(&mut json, answer, true)?;
    json.line()?;
    json.flush()
}

/// An answer's object, with its rows or without.
pub(crate) fn object(json: &mut Json<'_>, answer: &Answer, with_rows: bool) -> io::Result<()> {
    json.open(b'{');
    match answer {
        Answer::State(state) => {
            json.text("table", &state.table);
            json.second("at", Some(state.at));
        }
        Answer::Who(who) => {
            json.text("question", who.question.as_bytes());
            json.second("at", Some(who.at));
        }
        Answer::What(what) => {
            json.text("question", what.question.as_bytes());
            json.second("at", Some(what.at));
        }
        Answer::History(history) => {
            json.text("table", &history.table);
            json.second("from", history.from);
            json.second("to", history.to);
        }
        Answer::Diff(diff) => {
            json.text("table", &diff.table);
            json.text("host", &diff.host);
            json.second("from", Some(diff.from));
            json.second("to", Some(diff.to));
        }
        Answer::Hosts(_) | Answer::Tables(_) | Answer::Coverage(_) => {}
    }
    if !matches!(answer, Answer::Hosts(_) | Answer::Tables(_) | Answer::Coverage(_)) {
        json.micros("known_at", answer.known_at());
    }
    match answer {
        Answer::What(what) => {
            json.text("verdict", what.verdict.word().as_bytes());
            json.key("links");
            json.open(b'[');
            for link in &what.links {
                json.open(b'{');
                json.text("table", &link.table);
                if with_rows {
                    json.key("rows");
                    json.open(b'[');
                    for held in &link.rows {
                        Item::Held(None, held).write(json)?;
                    }
                    json.close(b']');
                }
                match link.missing {
                    Some(missing) => json.text("missing", missing.words().as_bytes()),
                    None => json.null("missing"),
                }
                json.close(b'}');
            }
            json.close(b']');
        }
        _ if with_rows => {
            json.key(match answer {
                Answer::Hosts(_) => "hosts",
                Answer::Tables(_) => "tables",
                Answer::Coverage(_) => "streams",
                _ => "rows",
            });
            json.open(b'[');
            for item in items(answer) {
                item.write(json)?;
            }
            json.close(b']');
        }
        _ => {}
    }
    match answer {
        Answer::State(state) => coverage(json, &state.coverage),
        Answer::Who(who) => coverage(json, &who.coverage),
        Answer::What(what) => coverage(json, &what.coverage),
        _ => {}
    }
    match answer {
        Answer::State(state) => cost(json, &state.cost),
        Answer::Who(who) => cost(json, &who.cost),
        Answer::What(what) => cost(json, &what.cost),
        Answer::History(history) => cost(json, &history.cost),
        Answer::Diff(diff) => cost(json, &diff.cost),
        Answer::Hosts(_) | Answer::Tables(_) | Answer::Coverage(_) => {}
    }
    json.close(b'}');
    Ok(())
}

fn coverage(json: &mut Json<'_>, coverage: &Coverage) {
    json.key("coverage");
    json.open(b'{');
    json.number("covered", coverage.covered);
    json.number("presumed", coverage.presumed);
    json.number("unknown", coverage.unknown);
    json.number("never", coverage.never);
    json.number("assumed", coverage.assumed);
    json.key("unknown_hosts");
    json.open(b'[');
    for (host, cause) in &coverage.unknown_hosts {
        json.entry();
        json.text("host", host);
        json.text("cause", cause.word().as_bytes());
        json.close_entry();
    }
    let more = coverage.unknown.saturating_sub(coverage.unknown_hosts.len() as u64);
    if more > 0 {
        json.open(b'{');
        json.number("more", more);
        json.close(b'}');
    }
    json.close(b']');
    json.close(b'}');
}

fn cost(json: &mut Json<'_>, cost: &Cost) {
    json.key("cost");
    json.open(b'{');
    json.number("rows_decoded", cost.rows_decoded);
    json.number("keys_decoded", cost.keys_decoded);
    json.number("bytes_read", cost.bytes_read);
    json.number("blocks_verified", cost.blocks_verified);
    json.number("bytes_verified", cost.bytes_verified);
    json.number("cache_hits", cost.cache_hits);
    json.number("segments_touched", cost.segments_touched);
    json.number("streams_resolved", cost.streams_resolved);
    json.close(b'}');
}
