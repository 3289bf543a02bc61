//! Bytes that contradict each other although every checksum is right: one bit of a payload is turned and the frame is sealed
//! again, as a fault of a writer or of memory would.
//!
//! Most of a segment follows from what was delivered: keyframes, lengths beside full sets, indexes, counts. Where such a
//! bit makes any answer another one while what was delivered reads the same, a deep check must find it. Bits of what was
//! delivered itself (a text, a second) nothing contradicts; they are no part of this.

use crate::stores::{self, Files, chance};
use erstwhile_engine::check::fsck::{Level, Severity};
use erstwhile_engine::format::frame::{FRAME_HEADER_BYTES, FileHeader, HEADER_BYTES, put_frame, read_frame};
use erstwhile_engine::io::MemoryStorage;
use erstwhile_engine::segment::Frames;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::checked::report;
use erstwhile_tests::support::workload::{answers, facts};
use std::collections::{BTreeMap, BTreeSet};

/// What the deep check must have said at least once.
const SAID: [&str; 9] = [
    "keyframe",
    "length of a version",
    "posting",
    "copies",
    "list of addresses",
    "when streams begin and end",
    "seconds of a piece",
    "what must hold of the agent",
    "looks are told wrongly",
];

/// (offset, type, payload's length) of the frames of a segment.
fn frames(bytes: &[u8]) -> Vec<(usize, u8, usize)> {
    let id = FileHeader::decode(bytes).unwrap().id;
    let (mut frames, mut at) = (Vec::new(), HEADER_BYTES);
    while let Ok(frame) = read_frame(&bytes[at..], &id, at as u64) {
        frames.push((at, frame.kind, frame.payload.len()));
        at = frame.end as usize;
    }
    frames
}

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

fn plant_everywhere(files: &Files) -> BTreeMap<u8, (usize, usize)> {
    let before = told(files);
    let (mut said, mut counts) = (BTreeSet::new(), BTreeMap::<u8, (usize, usize)>::new());
    let segments: Vec<&String> = files.keys().filter(|name| name.ends_with(".segment")).collect();
    for name in segments {
        // The manifest knows the footer's checksum.
        for frame in frames(&files[name]).into_iter().filter(|frame| frame.1 != Frames::FOOTER) {
            for byte in 0..frame.2 {
                // Of lists of hosts little but names is there, so every bit of a few is turned.
                let chosen = chance(byte as u64, name) % 8;
                for bit in (0..8).filter(|bit| *bit == chosen || frame.1 == Frames::HOSTS) {
                    let mut planted = files.clone();
                    planted.insert(name.clone(), plant(&files[name], frame, byte, bit));
                    let storage = MemoryStorage::with_files(planted.clone());
                    let found = report(&storage, Level::Deep);
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
    let never: Vec<&str> = SAID.into_iter().filter(|text| !said.contains(text)).collect();
    assert!(never.is_empty(), "never said: {never:?}");
    counts
}

#[test]
fn what_contradicts_itself_is_found_though_its_checksums_are_right() {
    let counts = plant_everywhere(&stores::merged());
    // Of what follows from other bytes nearly every bit is told by them.
    for (kind, least) in [(Frames::INDEX, 90), (Frames::DIRECTORY, 75), (Frames::HOSTS, 30), (Frames::RUN, 35)] {
        let (all, found) = counts[&kind];
        assert!(100 * found >= least * all, "type {kind:#x}: {found} of {all}");
    }
    eprintln!("{counts:?}");
}
