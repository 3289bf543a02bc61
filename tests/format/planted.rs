//! Bytes that contradict each other although every checksum is right: one bit of a payload is turned and the frame is sealed
//! again, as a fault of a writer or of memory would.
//!
//! Most of a segment follows from what was delivered: keyframes, lengths beside full sets, indexes, counts. Where such a
//! bit makes any answer another one while what was delivered reads the same, a deep check must find it. Bits of what was
//! delivered itself (a text, a second) nothing contradicts; they are no part of this.

use crate::stores::{self, Files, chance, frames};
use erstwhile_engine::check::fsck::{Level, Severity};
use erstwhile_engine::format::frame::{FRAME_HEADER_BYTES, FileHeader, kind, put_frame};
use erstwhile_engine::io::MemoryStorage;
use erstwhile_engine::segment::Frames;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::checked::report;
use erstwhile_tests::support::workload::{answers, facts};
use std::collections::{BTreeMap, BTreeSet};

/// What the deep check must have said at least once.
const SAID: [&str; 16] = [
    "versions in a keyframe",
    "length of a version",
    "copies of a run",
    "its row was there already",
    "looks of a regular stream",
    "looks of the versions of a block",
    "posting",
    "list of addresses",
    "when streams begin and end",
    "seconds of a piece",
    "seconds of what was delivered",
    "recorded time of a part",
    "rows of a table that keeps each once",
    "what must hold of the agent",
    "looks are told wrongly",
    "recorded times out of order",
];

/// Where in a batch its recorded time ends.
const RECORDED_END: usize = 16;

/// Of other stores than the merged one every so manieth byte, by chance.
const SHARE: u64 = 6;

/// Turns a bit of a payload and seals its frame again.
fn plant(bytes: &[u8], (at, kind, len): (usize, u8, usize), byte: usize, bit: u64) -> Vec<u8> {
    let id = FileHeader::decode(bytes).unwrap().id;
    let mut payload = bytes[at + FRAME_HEADER_BYTES..][..len].to_vec();
    payload[byte] ^= 1 << bit;
    let mut frame = Vec::new();
    put_frame(&mut frame, &id, at as u64, kind, &payload);
    let mut planted = bytes.to_vec();
    planted[at..at + frame.len()].copy_from_slice(&frame);
    planted
}

/// What was delivered, and what is answered; `None` where that is an error.
fn told(files: &Files) -> (Option<String>, Option<String>) {
    let Ok(view) = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20) else {
        return (None, None);
    };
    (facts(&view).ok().map(|facts| format!("{facts:?}")), answers(&view).ok())
}

/// Of each type of frames how many bits were turned, and how many of these were found.
type Counts = BTreeMap<u8, (usize, usize)>;

/// Turns a bit of every so manieth byte; notes what was said.
fn plant_everywhere(files: &Files, share: u64, said: &mut BTreeSet<&'static str>) -> Counts {
    let (before, mut counts) = (told(files), Counts::new());
    for name in files.keys().filter(|name| name.ends_with(".segment") || name.ends_with(".log")) {
        // The manifest knows the footer's checksum.
        for frame in frames(&files[name]).into_iter().filter(|frame| frame.1 != Frames::FOOTER) {
            for byte in 0..frame.2 {
                // Of lists of hosts little but names is there, and of batches it is their times that are told twice:
                // of these every bit is turned.
                let is_small = match frame.1 {
                    Frames::HOSTS => true,
                    kind::BATCH => byte < RECORDED_END,
                    _ => false,
                };
                let chance = chance(byte as u64, name);
                let is_chosen = |bit: &u64| is_small || *bit == chance % 8 && (chance / 8).is_multiple_of(share);
                for bit in (0..8).filter(is_chosen) {
                    let mut planted = files.clone();
                    planted.insert(name.clone(), plant(&files[name], frame, byte, bit));
                    let found = report(&MemoryStorage::with_files(planted.clone()), Level::Deep);
                    let (all, damaged) = counts.entry(frame.1).or_default();
                    *all += 1;
                    if found.count(Severity::Damage) > 0 {
                        *damaged += 1;
                        for finding in &found.findings {
                            let wrong = finding.wrong.to_string();
                            said.extend(SAID.into_iter().filter(|text| wrong.contains(text)));
                        }
                        continue;
                    }
                    let now = told(&planted);
                    let place = format!("{name} frame {:#x} at {}, byte {byte}, bit {bit}", frame.1, frame.0);
                    assert!(now.0.is_some() && now.1.is_some(), "{place}: an error that was not found: {found:#?}");
                    assert!(now.0 != before.0 || now.1 == before.1, "{place}: other answers from what was delivered");
                }
            }
        }
    }
    counts
}

/// `ERSTWHILE_FORMAT=all` plants in every byte of all stores.
#[test]
fn what_contradicts_itself_is_found_though_its_checksums_are_right() {
    let mut said = BTreeSet::new();
    let counts = plant_everywhere(&stores::merged(), 1, &mut said);
    // Of what follows from other bytes nearly every bit is told by them.
    for (kind, least) in [(Frames::INDEX, 95), (Frames::DIRECTORY, 90), (Frames::RUN, 80)] {
        let (all, found) = counts[&kind];
        assert!(100 * found >= least * all, "type {kind:#x}: {found} of {all}");
    }
    let share = if std::env::var("ERSTWHILE_FORMAT").is_ok_and(|which| which == "all") { 1 } else { SHARE };
    plant_everywhere(&stores::at_work(0), share, &mut said);
    plant_everywhere(&stores::hasty(), share, &mut said);
    let never: Vec<&str> = SAID.into_iter().filter(|text| !said.contains(text)).collect();
    assert!(never.is_empty(), "never said: {never:?}");
}
