//! Orders that readers rely on and that nothing else tells: where something stands in another order, though every checksum
//! is right and nothing is missing, a deep check says so.

use crate::stores::{self, Files, frames};
use erstwhile_engine::check::fsck::{Level, Severity};
use erstwhile_engine::format::frame::{FRAME_HEADER_BYTES, FileHeader, put_frame};
use erstwhile_engine::io::MemoryStorage;
use erstwhile_engine::segment::Frames;
use erstwhile_engine::segment::index::{Index, Postings};
use erstwhile_tests::support::checked::report;

/// The store with another payload, of the same length, in a frame of one of its files.
fn with_payload(files: &Files, name: &str, at: usize, kind: u8, payload: &[u8]) -> Files {
    let mut files = files.clone();
    let bytes = files.get_mut(name).unwrap();
    let (id, mut frame) = (FileHeader::decode(bytes).unwrap().id, Vec::new());
    put_frame(&mut frame, &id, at as u64, kind, payload);
    bytes[at..at + frame.len()].copy_from_slice(&frame);
    files
}

/// The damage that a deep check finds, in words.
fn damage(files: &Files) -> Vec<String> {
    let findings = report(&MemoryStorage::with_files(files.clone()), Level::Deep).findings;
    let damage = findings.into_iter().filter(|finding| finding.severity == Severity::Damage);
    damage.map(|finding| finding.wrong.to_string()).collect()
}

/// The payload of an index with two values in each other's place, which have one length and are of the same streams.
fn swapped(payload: &[u8]) -> Option<Vec<u8>> {
    let index = Index::open(payload).ok().filter(|index| index.of == Postings::Streams && !index.has_addresses())?;
    let streams = |value| -> Vec<usize> {
        index.postings(value).unwrap().map(|posting| index.stream(posting).unwrap()).collect()
    };
    (1..index.values()).find_map(|at| {
        let [a, b] = [at - 1, at].map(|value| index.value(value).unwrap());
        if a.len() != b.len() || streams(at - 1) != streams(at) {
            return None;
        }
        let (both, other) = ([a, b].concat(), [b, a].concat());
        let place = payload.windows(both.len()).position(|bytes| bytes == both)?;
        let mut payload = payload.to_vec();
        payload[place..place + other.len()].copy_from_slice(&other);
        Some(payload)
    })
}

/// All that an index of times says, but how far each posting reaches, and that.
fn said(payload: &[u8]) -> Option<(String, Vec<i64>)> {
    let index = Index::open(payload).ok().filter(|index| index.of == Postings::Times)?;
    let (mut all, mut reaches) = (String::new(), Vec::new());
    for value in 0..index.values() {
        all += &format!("{:?} {:?}", index.value(value), index.postings(value));
        for posting in index.postings(value).ok()? {
            let (since, until, reach) = index.times(posting).ok()?;
            all += &format!("{since} {until} {:?} {:?}", index.stream(posting), index.version(posting));
            reaches.push(reach);
        }
    }
    Some((all, reaches))
}

/// A reach is the greatest of an order: where it is told too small, what is asked for is not found.
#[test]
fn a_reach_that_is_told_otherwise_is_found() {
    let files = stores::merged();
    let (mut tried, mut smaller) = (0, 0);
    for name in files.keys().filter(|name| name.ends_with(".segment")) {
        for (at, kind, len) in frames(&files[name]).into_iter().filter(|frame| frame.1 == Frames::INDEX) {
            let payload = &files[name][at + FRAME_HEADER_BYTES..][..len];
            let Some((all, reaches)) = said(payload) else { continue };
            for bit in 0..8 * payload.len() {
                let mut changed = payload.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                let Some(now) = said(&changed).filter(|now| now.0 == all && now.1 != reaches) else { continue };
                let damage = damage(&with_payload(&files, name, at, kind, &changed));
                assert!(damage.iter().any(|wrong| wrong.contains("reach of a posting")), "bit {bit}: {damage:?}");
                (tried, smaller) = (tried + 1, smaller + usize::from(now.1 < reaches));
            }
        }
    }
    assert!(smaller > 20 && tried - smaller > 20, "{smaller} of {tried}");
}

#[test]
fn values_of_an_index_that_do_not_ascend_are_found() {
    let files = stores::merged();
    let mut tried = 0;
    for name in files.keys().filter(|name| name.ends_with(".segment")) {
        for (at, kind, len) in frames(&files[name]).into_iter().filter(|frame| frame.1 == Frames::INDEX) {
            let payload = &files[name][at + FRAME_HEADER_BYTES..][..len];
            if let Some(payload) = swapped(payload) {
                let damage = damage(&with_payload(&files, name, at, kind, &payload));
                assert!(damage.iter().any(|wrong| wrong.contains("values")), "{damage:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 0);
}
