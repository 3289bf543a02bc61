//! What a draft was given comes back, and damaged bytes are refused or read without a panic.

use super::*;
use crate::manifest::Summary;
use crate::segment::hosts;
use proptest::prelude::*;
use std::collections::BTreeMap;

const HOSTS: usize = 5;

fn name(of: &str, number: usize) -> Name {
    Name::from(format!("{of}{number}").as_bytes())
}

fn hosts() -> Arc<Hosts> {
    let (listed, mut out): (Vec<_>, _) = ((0..HOSTS).map(|host| (name("h", host), true)).collect(), Vec::new());
    hosts::encode(&listed, &mut out);
    Arc::new(Hosts::open(MappedPart::from(&out[..])).unwrap())
}

/// A stream's pieces by host, name, kind and sightings: parts, versions, first second, span.
type Given = BTreeMap<(usize, usize, u8, bool), Vec<(u64, u64, Second, u8)>>;

fn given() -> impl Strategy<Value = Given> {
    let second = prop_oneof![4 => 1_000_000i64..1_100_000, 1 => any::<Second>()];
    let pieces = prop::collection::vec((1u64..90, 0u64..90, second, any::<u8>()), 1..4);
    prop::collection::btree_map((0..HOSTS, 0usize..3, 0u8..4, any::<bool>()), pieces, 0..30)
}

fn keys(given: &Given) -> Vec<Arc<StreamKey>> {
    let key = |&(host, stream, kind, sightings): &(usize, usize, u8, bool)| StreamKey {
        table: name("t", 0),
        host: name("h", host),
        name: name("n", stream),
        kind: Kind::from_byte(kind).unwrap(),
        sightings,
    };
    given.keys().map(|stream| Arc::new(key(stream))).collect()
}

fn entries(given: &Given) -> Vec<Vec<PieceEntry>> {
    let mut place = 0;
    let of = |pieces: &Vec<(u64, u64, Second, u8)>| {
        let (mut first_look, mut first_version) = (0, 0);
        let piece = |&(parts, versions, first, span): &(u64, u64, Second, u8)| {
            let last = first.wrapping_add(Second::from(span));
            let times = (first.wrapping_sub(7), last.wrapping_add(9));
            let (offset, copies) = (1000 + place as u64 * 50, parts * 2);
            let entry =
                PieceEntry { place, offset, parts, copies, versions, first_look, first_version, first, last, times };
            place += 1;
            first_look += parts as usize;
            first_version += versions as usize;
            entry
        };
        pieces.iter().map(piece).collect()
    };
    given.values().map(of).collect()
}

fn encoded(given: &Given) -> Vec<u8> {
    let mut draft = Draft::new(Layout::Inline, 77);
    draft.indexes.push((name("c", 0), 99));
    (draft.rows, draft.row_blocks) = (3, vec![(0, 64), (2, 90)]);
    for ((key, pieces), &(host, ..)) in keys(given).iter().zip(entries(given)).zip(given.keys()) {
        draft.stream(host, key, Form::Run, (Agent { counts_runs: true, zero_is_full: false }, host == 1));
        pieces.iter().for_each(|piece| draft.piece(piece));
    }
    let mut out = Vec::new();
    draft.finish(&name("t", 0), &mut Summary::default(), &mut out);
    out
}

fn open(bytes: &[u8]) -> Result<Directory, Fault> {
    Directory::open(&name("t", 0), hosts(), MappedPart::from(bytes))
}

proptest! {
    #[test]
    fn what_was_drafted_comes_back(given in given(), at in 1_000_000i64..1_100_000) {
        let directory = open(&encoded(&given)).unwrap();
        prop_assert_eq!(&directory.row_blocks, &[(0, 64), (2, 90)]);
        prop_assert_eq!((directory.dictionary, &directory.indexes[..]), (77, &[(name("c", 0), 99)][..]));
        let (keys, pieces) = (keys(&given), entries(&given));
        let read: Vec<StreamEntry> = directory.entries(0..directory.streams()).collect();
        prop_assert_eq!(read.iter().map(|stream| stream.key.clone()).collect::<Vec<_>>(), &keys[..]);
        let (mut after, mut before) = (0, 0);
        for (place, stream) in read.iter().enumerate() {
            prop_assert_eq!(directory.place(&keys[place]), Some(place));
            prop_assert_eq!(directory.pieces_of(&keys[place]).iter().collect::<Vec<_>>(), &pieces[place][..]);
            let record = &stream.record;
            prop_assert!(record.form == Form::Run && record.agent.counts_runs && !record.agent.zero_is_full);
            prop_assert_eq!(record.fits, *stream.key.host == *b"h1");
            let found = directory.pieces_at(record.pieces.clone());
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), &pieces[place][..]);
            for (at, piece) in pieces[place].iter().enumerate() {
                prop_assert_eq!((found.parts_before(at), found.versions_before(at)), (piece.first_look, piece.first_version));
                prop_assert_eq!((found.offset(at), found.first(at)), (piece.offset, Some(piece.first)));
                for part in piece.first_look..piece.first_look + piece.parts as usize {
                    prop_assert_eq!(found.of_part(part), at);
                }
                for version in piece.first_version..piece.first_version + piece.versions as usize {
                    prop_assert_eq!(found.of_version(version), at);
                }
            }
            let all = found.parts_before(found.len());
            prop_assert_eq!((found.of_part(all), found.get(found.len())), (found.len(), None));
            let begun = pieces[place].iter().filter(|piece| piece.first <= at).count();
            let is_in_order = pieces[place].is_sorted_by_key(|piece| piece.first);
            prop_assert!(!is_in_order || found.begun(at) == begun);
            let (first, last) = directory.extent(&directory.record(place));
            prop_assert_eq!((first, last), (pieces[place][0].first, pieces[place][pieces[place].len() - 1].last));
            after += u64::from(stream.record.has_state() && pieces[place].iter().all(|piece| piece.first > at));
            before += u64::from(stream.record.has_state() && pieces[place].iter().all(|piece| piece.last < at));
        }
        prop_assert_eq!(directory.count_outside(at), (after, before));
        for host in 0..HOSTS + 1 {
            let of_host = directory.streams_of_host(&name("h", host));
            let expected = keys.iter().filter(|key| key.host == name("h", host)).count();
            prop_assert_eq!(of_host.len(), expected);
            prop_assert!(of_host.clone().all(|place| keys[place].host == name("h", host)));
            if expected > 0 {
                prop_assert_eq!(directory.begin_of_host(of_host.start), of_host.start);
                prop_assert_eq!(directory.begin_of_host(of_host.start + 1), of_host.end);
            }
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        given in given(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&given);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(directory) = open(&bytes) {
            for stream in directory.entries(0..directory.streams()) {
                directory.pieces_at(stream.record.pieces.clone()).iter().for_each(drop);
                directory.stream(&stream.key);
                directory.streams_of_host(&stream.key.host);
            }
            directory.records().for_each(|stream| { directory.extent(&stream); });
            directory.count_outside(1_050_000);
        }
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = open(&bytes);
    }
}
