//! Which batches of a damaged log are lost: the digests that stand beside them give account.
//!
//! Invariants:
//! - Whatever is lost is among what is said to be lost: where a number or a digest is missing, that is
//!   [`Gone::Anything`].
//! - What is sound is not said to be lost, but where it is [`Gone::Anything`].
//!
//! The rules are told in `log/digest.md`.

use super::inspect::walk::Stretch;
use crate::format::frame::kind;
use crate::log::{Digest, Encoded, decode_record};
use std::collections::BTreeMap;

/// What is gone between two frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// These batches, by number; their digests are known.
    Batches(Vec<u64>),
    /// Nobody tells.
    Anything,
}

/// What the digests of a log tell of its batches.
#[derive(Debug)]
pub(crate) struct Account {
    digests: BTreeMap<u64, Digest>,
    /// For each stretch the number of the batch that it is, or that its digest tells of.
    numbers: Vec<Option<u64>>,
    /// For each stretch that is not sound what is gone there and beside it, until the next batch or digest.
    gone: Vec<Option<Gone>>,
    /// The number of the batch after the last.
    next: Option<u64>,
    /// Where the last sound batch ends, or the first stretch begins.
    end: u64,
}

impl Account {
    /// Of a log, whose stretches begin at `start`.
    pub(crate) fn of(bytes: &[u8], stretches: &[Stretch<'_>], start: u64) -> Account {
        let mut account = Account {
            digests: BTreeMap::new(),
            numbers: vec![None; stretches.len()],
            gone: vec![None; stretches.len()],
            next: Some(0),
            end: start,
        };
        account.read_digests(stretches);
        let by_end: BTreeMap<u64, u64> = account.digests.values().map(|digest| (digest.end, digest.number)).collect();
        // The stretches since the last batch or digest of which one is not sound, and the bytes of those that are not.
        let (mut gap, mut gap_bytes) = (None, 0);
        for (i, stretch) in stretches.iter().enumerate() {
            let (number, end) = match stretch {
                Stretch::Bad { at, end, .. } => {
                    gap.get_or_insert(i);
                    gap_bytes += end - at;
                    continue;
                }
                Stretch::Sound(_, frame) if frame.kind == kind::DIGEST => match account.numbers[i] {
                    None => continue,
                    number => (number, None),
                },
                Stretch::Sound(at, frame) if frame.kind == kind::BATCH => {
                    let follows = || {
                        let is_only_its_digest = || {
                            let own = decode_record(frame.payload, *at)
                                .ok()
                                .and_then(|commit| Encoded::new(&commit.batch).ok());
                            let before = at.checked_sub(gap_bytes).map(|from| &bytes[from as usize..*at as usize]);
                            own.zip(before).is_some_and(|(own, before)| {
                                let has_digests = !account.digests.is_empty();
                                own.digest_len() == gap_bytes && (has_digests || own.is_much_of_digest(before))
                            })
                        };
                        account.next.filter(|_| gap.is_none() || is_only_its_digest())
                    };
                    let number = by_end.get(&frame.end).copied().or_else(follows);
                    account.numbers[i] = number;
                    (number, Some(frame.end))
                }
                Stretch::Sound(..) => continue,
            };
            if let Some(first) = gap.take() {
                let gone = account.between(account.next, number);
                account.gone[first..i].fill(Some(gone));
                gap_bytes = 0;
            }
            account.next = number;
            if let Some(end) = end {
                account.next = number.map(|number| number + 1);
                account.end = end;
            }
        }
        account
    }

    fn read_digests(&mut self, stretches: &[Stretch<'_>]) {
        for (stretch, number) in stretches.iter().zip(&mut self.numbers) {
            let Stretch::Sound(_, frame) = stretch else { continue };
            let digests = match frame.kind {
                kind::DIGEST => {
                    let digest = Digest::decode(frame.payload).ok();
                    *number = digest.as_ref().map(|digest| digest.number);
                    digest.into_iter().collect()
                }
                kind::DIGESTS_AGAIN => Digest::decode_again(frame.payload).unwrap_or_default(),
                _ => continue,
            };
            self.digests.extend(digests.into_iter().map(|digest| (digest.number, digest)));
        }
    }

    fn between(&self, next: Option<u64>, number: Option<u64>) -> Gone {
        match (next, number) {
            (Some(next), Some(number)) if (next..number).all(|number| self.digests.contains_key(&number)) => {
                Gone::Batches((next..number).collect())
            }
            _ => Gone::Anything,
        }
    }

    /// What a batch holds that is known by number.
    pub(crate) fn digest(&self, number: u64) -> &Digest {
        &self.digests[&number]
    }

    /// The digest of the batch that a stretch is, or that it is itself.
    pub(crate) fn digest_of(&self, stretch: usize) -> Option<&Digest> {
        self.digests.get(&self.numbers[stretch]?)
    }

    /// What is gone with a stretch that is not sound, and beside it; `len` is how long the log is known to have been.
    pub(crate) fn gone(&self, stretch: usize, len: u64) -> Gone {
        self.gone[stretch].clone().unwrap_or_else(|| self.after_last(len))
    }

    /// What is gone with a batch that verified, and yet cannot be read.
    pub(crate) fn unreadable(&self, stretch: usize) -> Gone {
        self.digest_of(stretch).map_or(Gone::Anything, |digest| Gone::Batches(vec![digest.number]))
    }

    /// What is gone after the last batch, if the log was so long.
    pub(crate) fn after_last(&self, len: u64) -> Gone {
        let Some(mut next) = self.next else {
            return Gone::Anything;
        };
        let (mut gone, mut end) = (Vec::new(), self.end);
        while end < len {
            let Some(digest) = self.digests.get(&next) else {
                return Gone::Anything;
            };
            gone.push(next);
            (next, end) = (next + 1, digest.end);
        }
        Gone::Batches(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::inspect::walk::stretches;
    use crate::fact::{Batch, Commit, Delivery, Inferred, Kind, Name, StreamKey};
    use crate::format::frame::{FileId, FileKind, HEADER_BYTES};
    use crate::format::names;
    use crate::io::{ManualClock, MemoryStorage};
    use crate::log::{LogWriter, SyncMode};
    use crate::row::RowBuilder;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    const ID: FileId = FileId { store: *b"sixteen bytes id", number: 3 };
    const START: u64 = HEADER_BYTES as u64;

    /// A log whose batches have so many bytes of noise, and one stream each, named by the batch's number.
    fn log(sizes: &[usize]) -> Vec<u8> {
        let storage = MemoryStorage::new();
        let clock = Arc::new(ManualClock::new(0));
        let log = LogWriter::create(&storage, ID.store, ID.number, None, clock, SyncMode::Always).unwrap();
        let mut state = 1u64;
        for (i, size) in sizes.iter().enumerate() {
            let noise: Vec<u8> = (0..*size)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let mut row = RowBuilder::new();
            row.column(b"noise", &noise);
            let name = |text: &str| Name::from(text.as_bytes());
            let (table, host) = (name("users"), name(&i.to_string()));
            let stream = StreamKey { table, host, name: name("q"), kind: Kind::Diff, sightings: false };
            let delivery = Delivery {
                stream: Arc::new(stream),
                epoch: 1,
                counter: None,
                second: i as i64,
                whole: true,
                inferred: Inferred::V5_7,
                removed: Vec::new(),
                added: vec![(row.row(), 1)],
            };
            let batch = Batch { producer: 0, sequence: 0, digest: 0, deliveries: vec![delivery] };
            let _ = log.append(&Commit { recorded: i as i64, batch }).unwrap();
        }
        let _ = log.finish().unwrap();
        storage.files()[&names::log(ID.number)].clone()
    }

    /// The batches that are sound, and what is told to be gone of a log that was so long.
    fn told(bytes: &[u8], len: u64) -> (BTreeSet<u64>, Gone) {
        let stretches = stretches(bytes, &ID, FileKind::Log);
        let account = Account::of(bytes, &stretches, START);
        let (mut sound, mut gone) = (BTreeSet::new(), BTreeSet::new());
        let mut told = vec![account.after_last(len)];
        for (i, stretch) in stretches.iter().enumerate() {
            match stretch {
                Stretch::Bad { .. } => told.push(account.gone(i, len)),
                Stretch::Sound(at, frame) if frame.kind == kind::BATCH => {
                    let commit = decode_record(frame.payload, *at).unwrap();
                    sound.insert(commit.recorded as u64);
                    if let Some(number) = account.numbers[i] {
                        assert_eq!(number, commit.recorded as u64);
                    }
                }
                Stretch::Sound(..) => {}
            }
        }
        for some in told {
            match some {
                Gone::Anything => return (sound, Gone::Anything),
                Gone::Batches(numbers) => gone.extend(numbers),
            }
        }
        for number in &gone {
            let digest = account.digest(*number);
            assert_eq!((digest.recorded as u64, digest.streams[0].first as u64), (*number, *number));
        }
        (sound, Gone::Batches(gone.into_iter().collect()))
    }

    fn missing(sound: &BTreeSet<u64>, of: usize) -> Gone {
        Gone::Batches((0..of as u64).filter(|number| !sound.contains(number)).collect())
    }

    /// Wherever one byte is wrong, no more is said to be lost than is.
    #[test]
    fn a_wrong_byte_is_accounted_for() {
        for sizes in [&[10, 300, 10, 5000, 10][..], &[700]] {
            let bytes = log(sizes);
            for at in START as usize..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                let (sound, gone) = told(&bytes, bytes.len() as u64);
                assert!(sound.len() + 1 >= sizes.len());
                assert_eq!(gone, missing(&sound, sizes.len()), "byte {at}");
            }
        }
    }

    /// However little of a log is left, nothing is passed over.
    #[test]
    fn a_cut_is_accounted_for() {
        let sizes = [10, 300, 10, 5000, 10];
        let bytes = log(&sizes);
        for len in START as usize..bytes.len() {
            let (sound, gone) = told(&bytes[..len], bytes.len() as u64);
            if gone != Gone::Anything {
                assert_eq!(gone, missing(&sound, sizes.len()), "cut at {len}");
            }
        }
    }

    /// A page that is gone takes small batches with their digests; what was written again further on tells of them.
    #[test]
    fn a_page_is_accounted_for_where_digests_follow_again() {
        let bytes = log(&[400; 200]);
        for page in (0..bytes.len() - (20 << 10)).step_by(4096) {
            let mut bytes = bytes.clone();
            bytes[page.max(START as usize)..page + 4096].fill(0);
            let (sound, gone) = told(&bytes, bytes.len() as u64);
            assert!(sound.len() < 200);
            assert_eq!(gone, missing(&sound, 200), "page at {page}");
        }
    }

    proptest! {
        /// Nothing that is lost is passed over, whatever the damage.
        #[test]
        fn all_that_is_lost_is_accounted_for(
            sizes in prop::collection::vec(prop_oneof![4 => 1usize..300, 1 => 1000usize..9000], 1..60),
            holes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(1usize), 1usize..9000]), 1..5),
            cut: prop::sample::Index,
            is_cut: bool,
        ) {
            let mut bytes = log(&sizes);
            let len = bytes.len() as u64;
            for (at, hole) in holes {
                let at = START as usize + at.index(bytes.len() - START as usize);
                let end = (at + hole).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0xff);
            }
            if is_cut {
                bytes.truncate(START as usize + cut.index(bytes.len() - START as usize));
            }
            let (sound, gone) = told(&bytes, len);
            if gone != Gone::Anything {
                prop_assert_eq!(gone, missing(&sound, sizes.len()));
            }
        }
    }
}
