//! Bytes in a log that are no line, and the reason a reader should give for each.
//!
//! Invariants:
//! - Every one of them is in `truth/faults.ndjson` with its file and offset.

use super::delivery::{MAIN, short};
use super::rng::Rng;
use super::truth::{Note, Out};

/// A line that nobody can read gets into the stream.
pub(super) fn garbage(out: &mut Out, rng: &mut Rng, name: &str, at: u64) {
    let deep = |open: &str| [format!("{{\"name\":\"deep\",\"unixTime\":{at},\"columns\":"), open.repeat(90)].concat();
    let (reason, line) = match rng.below(9) {
        0 => {
            let random = |_| (rng.next() as u8).max(11);
            ("not-json", [b"\xfe\x00".to_vec(), (0..60).map(random).collect()].concat())
        }
        1 => ("not-json", vec![0; 40]),
        2 => ("too-deep", deep("[").into_bytes()),
        3 => ("too-deep", deep("{\"a\":").into_bytes()),
        4 => ("not-object", b"[1,\"two\",null]".to_vec()),
        5 => (
            "no-name",
            format!("{{\"hostIdentifier\":\"{name}\",\"unixTime\":{at},\"columns\":{{}},\"action\":\"added\"}}").into(),
        ),
        6 => ("no-time", format!("{{\"name\":\"x\",\"hostIdentifier\":\"{name}\",\"snapshot\":[]}}").into()),
        7 => ("no-rows", format!("{{\"name\":\"x\",\"hostIdentifier\":\"{name}\",\"unixTime\":{at}}}").into()),
        _ => (
            "bad-rows",
            format!("{{\"name\":\"x\",\"hostIdentifier\":\"{name}\",\"unixTime\":{at},\"snapshot\":7}}").into(),
        ),
    };
    dead(out, MAIN, at, reason, &line, true);
    if rng.chance(0.3) {
        out.log(MAIN, b"  \n");
    }
}

/// Appends dead bytes to a log.
pub(super) fn dead(out: &mut Out, file: &str, at: u64, reason: &'static str, bytes: &[u8], end: bool) {
    let offset = out.files.size(file);
    note_dead(out, short(file), offset, at, reason);
    out.log(file, bytes);
    if end {
        out.log(file, b"\n");
    }
}

/// Records dead bytes that are written otherwise.
pub(super) fn note_dead(out: &mut Out, file: &str, offset: u64, at: u64, reason: &'static str) {
    let notes = [Note::Text("file", file), Note::Number("offset", offset as i64), Note::Text("reason", reason)];
    out.fault("dead", at, None, &notes);
}
