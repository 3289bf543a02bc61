//! Which segments are merged: a pure choice from their sizes.
//!
//! A segment's size is how many copies of rows it holds, and not its bytes, since what was not merged yet takes many times
//! the bytes that it will. Segments of one tier (sizes within a factor of the fan-out) are merged once there are as many of
//! them as the fan-out, so a store of N copies holds at most `(fanout - 1) · log(N)` segments and a copy is rewritten at most
//! `log(N)` times, both logarithms to the base of the fan-out.
//!
//! What is beside the largest segment is read as it came, so it must stay little: once it is an eighth of all, everything is
//! merged into one segment. These merges write at most eight copies of rows for each one added, however large the store
//! grows; a store with fewer than [`BESIDE_MIN`] of them beside the largest leaves it at the tiers. So a copy of a row is
//! written at most `1 + log(N) + 8` times.

/// Everything up to so many copies is of the lowest tier.
pub const TIER_COPIES_MIN: u64 = 1 << 15;

/// A segment as the plan sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub number: u64,
    /// How many copies of rows it holds.
    pub copies: u64,
}

/// So many copies of rows beside the largest segment are no burden, whatever part of all they are.
pub const BESIDE_MIN: u64 = 1 << 18;

/// The segments to merge next, by number: all, if what is beside the largest became too much and that is wanted, else those of
/// a tier that is full.
pub fn next(candidates: &[Candidate], fanout: usize, keeps_whole: bool) -> Vec<u64> {
    let copies: Vec<u64> = candidates.iter().map(|candidate| candidate.copies).collect();
    if keeps_whole && beside(&copies) >= BESIDE_MIN && whole_is_due(&copies) {
        let mut all: Vec<u64> = candidates.iter().map(|candidate| candidate.number).collect();
        all.sort_unstable();
        return all;
    }
    plan(candidates, fanout)
}

/// What merges would read, one after the other, until [`next`] chooses nothing: how many of the segments that there are, and
/// how many bytes in all, as if a merge left as many as it read.
pub fn debt(mut segments: Vec<(Candidate, u64)>, fanout: usize, keeps_whole: bool) -> (usize, u64) {
    let known = segments.iter().map(|(candidate, _)| candidate.number).max().unwrap_or(0);
    let (mut number, mut read, mut bytes_read) = (known, 0, 0);
    loop {
        let candidates: Vec<Candidate> = segments.iter().map(|(candidate, _)| *candidate).collect();
        let chosen = next(&candidates, fanout, keeps_whole);
        if chosen.is_empty() {
            return (read, bytes_read);
        }
        let (mut copies, mut bytes) = (0, 0);
        segments.retain(|(candidate, size)| {
            let is_chosen = chosen.contains(&candidate.number);
            if is_chosen {
                (copies, bytes) = (copies + candidate.copies, bytes + size);
                read += usize::from(candidate.number <= known);
            }
            !is_chosen
        });
        (number, bytes_read) = (number + 1, bytes_read + bytes);
        segments.push((Candidate { number, copies }, bytes));
    }
}

/// What is to become fewer segments at an operator's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All: one is left.
    All,
    /// Those that were never merged: each is packed then.
    Unpacked,
}

/// A segment as a plan of steps sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Its number and its copies of rows.
    pub of: Candidate,
    /// Its bytes.
    pub bytes: u64,
    /// Whether it came from a merge.
    pub is_packed: bool,
}

/// One merge of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many segments become one.
    pub segments: usize,
    /// How many copies of rows they hold.
    pub copies: u64,
    /// Bytes that are read.
    pub read_bytes: u64,
    /// Bytes that are written, as far as that can be told: of what is not packed yet as many for a copy as the packed
    /// segments of the store have, or at most as many as before if there is none.
    pub written_bytes: u64,
}

/// The segments of the next merge on the way to an extent, by number; none at its end.
///
/// A merge that is stopped leaves nothing, so what is to become one segment becomes so in steps: the smallest first, at most
/// as many at once as the fan-out, and so many that the steps after it are full, which writes the fewest bytes.
pub fn step(segments: &[Sized], extent: Extent, fanout: usize) -> Vec<u64> {
    let fanout = fanout.max(2);
    let mut chosen: Vec<Sized> = match extent {
        Extent::All if segments.len() > 1 => segments.to_vec(),
        Extent::All | Extent::Unpacked => segments.iter().filter(|segment| !segment.is_packed).copied().collect(),
    };
    match extent {
        Extent::All => {
            chosen.sort_unstable_by_key(|segment| (segment.of.copies, segment.of.number));
            let first = chosen.len().checked_sub(2).map_or(chosen.len(), |more| more % (fanout - 1) + 2);
            chosen.truncate(first);
        }
        Extent::Unpacked => {
            chosen.sort_unstable_by_key(|segment| segment.of.number);
            chosen.truncate(fanout);
        }
    }
    let mut numbers: Vec<u64> = chosen.iter().map(|segment| segment.of.number).collect();
    numbers.sort_unstable();
    numbers
}

/// All merges on the way to an extent.
pub fn steps(mut segments: Vec<Sized>, extent: Extent, fanout: usize) -> Vec<Step> {
    let packed = segments.iter().filter(|segment| segment.is_packed);
    let (packed_copies, packed_bytes) =
        packed.fold((0, 0), |(copies, bytes), segment| (copies + segment.of.copies, bytes + segment.bytes));
    let as_packed = |segment: &Sized| match packed_copies {
        0 => segment.bytes,
        _ if segment.is_packed => segment.bytes,
        _ => {
            let bytes = u128::from(segment.of.copies) * u128::from(packed_bytes) / u128::from(packed_copies);
            segment.bytes.min(u64::try_from(bytes).unwrap_or(u64::MAX))
        }
    };
    let mut number = segments.iter().map(|segment| segment.of.number).max().unwrap_or(0);
    let mut steps = Vec::new();
    loop {
        let chosen = step(&segments, extent, fanout);
        if chosen.is_empty() {
            return steps;
        }
        let mut next = Step { segments: chosen.len(), copies: 0, read_bytes: 0, written_bytes: 0 };
        segments.retain(|segment| {
            let is_chosen = chosen.contains(&segment.of.number);
            if is_chosen {
                next.copies += segment.of.copies;
                next.read_bytes += segment.bytes;
                next.written_bytes += as_packed(segment);
            }
            !is_chosen
        });
        number += 1;
        let of = Candidate { number, copies: next.copies };
        segments.push(Sized { of, bytes: next.written_bytes, is_packed: true });
        steps.push(next);
    }
}

/// The tier of a size.
fn tier(copies: u64, fanout: usize) -> u32 {
    (copies / TIER_COPIES_MIN).max(1).ilog(fanout.max(2) as u64)
}

/// The segments to merge next, by number; none if no tier is full. The lowest full tier goes first, and of it all.
pub fn plan(candidates: &[Candidate], fanout: usize) -> Vec<u64> {
    let mut tiers: std::collections::BTreeMap<u32, Vec<u64>> = std::collections::BTreeMap::new();
    for candidate in candidates {
        tiers.entry(tier(candidate.copies, fanout)).or_default().push(candidate.number);
    }
    let mut full = tiers.into_values().find(|numbers| numbers.len() >= fanout.max(2)).unwrap_or_default();
    full.sort_unstable();
    full
}

/// What is not in the largest segment must be this part of the whole for all to be merged.
pub const WHOLE_SHARE: u64 = 8;

/// Whether all segments, given how many copies of rows each holds, are worth merging into one: if what is not in the
/// largest is an eighth of the whole or more, so that a copy is rewritten at most eight times for as many as were added.
pub fn whole_is_due(copies: &[u64]) -> bool {
    copies.len() > 1 && beside(copies).saturating_mul(WHOLE_SHARE) >= copies.iter().sum()
}

/// How many copies are not in the largest segment.
fn beside(copies: &[u64]) -> u64 {
    copies.iter().sum::<u64>() - copies.iter().copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FANOUT: usize = 8;
    /// Tiers of 4096 times the least size: 8^0 to 8^4.
    const TIERS: usize = 5;

    #[test]
    fn the_number_of_segments_stays_bounded() {
        let mut segments: Vec<Candidate> = Vec::new();
        let (mut next, mut written) = (0, 0);
        for _ in 0..4096 {
            next += 1;
            segments.push(Candidate { number: next, copies: TIER_COPIES_MIN });
            loop {
                let merged = plan(&segments, FANOUT);
                if merged.is_empty() {
                    break;
                }
                next += 1;
                let copies = segments.iter().filter(|s| merged.contains(&s.number)).map(|s| s.copies).sum();
                written += copies;
                segments.retain(|s| !merged.contains(&s.number));
                segments.push(Candidate { number: next, copies });
            }
            assert!(segments.len() <= (FANOUT - 1) * TIERS);
        }
        assert!(written <= 4096 * TIER_COPIES_MIN * TIERS as u64, "a copy is rewritten at most once a tier");
    }

    #[test]
    fn everything_is_merged_only_after_much_was_added() {
        assert!(whole_is_due(&[700, 50, 50]) && whole_is_due(&[50, 700, 50]));
        assert!(!whole_is_due(&[701, 50, 50]), "less than an eighth");
        assert!(!whole_is_due(&[]) && !whole_is_due(&[100]), "nothing to merge");
        // Growing by a little each time, a store is rewritten seldom.
        let (mut whole, mut rest, mut written) = (1_000_000u64, 0u64, 0u64);
        for _ in 0..10_000 {
            rest += 1_000;
            if whole_is_due(&[whole, rest]) {
                (whole, rest) = (whole + rest, 0);
                written += whole;
            }
        }
        assert!(written <= WHOLE_SHARE * 10_000 * 1_000, "{written}");
    }

    /// What is beside the largest never stays above an eighth, and what that costs is bounded.
    #[test]
    fn little_stays_beside_the_largest() {
        let (mut segments, mut number, mut added, mut written): (Vec<Candidate>, u64, u64, u64) = (vec![], 0, 0, 0);
        for _ in 0..3000 {
            number += 1;
            added += BESIDE_MIN / 4;
            segments.push(Candidate { number, copies: BESIDE_MIN / 4 });
            loop {
                let chosen = next(&segments, FANOUT, true);
                if chosen.is_empty() {
                    break;
                }
                number += 1;
                let copies = segments.iter().filter(|s| chosen.contains(&s.number)).map(|s| s.copies).sum();
                written += copies;
                segments.retain(|s| !chosen.contains(&s.number));
                segments.push(Candidate { number, copies });
            }
            let largest = segments.iter().map(|s| s.copies).max().unwrap_or(0);
            let beside = segments.iter().map(|s| s.copies).sum::<u64>() - largest;
            assert!(beside < BESIDE_MIN || beside * WHOLE_SHARE < largest + beside);
        }
        assert!(written <= added * (WHOLE_SHARE + TIERS as u64), "{written} for {added}");
        assert!(next(&segments[..0], FANOUT, true).is_empty());
        let two = [(1, 8 * BESIDE_MIN), (2, BESIDE_MIN + BESIDE_MIN / 2)];
        let two = two.map(|(number, copies)| Candidate { number, copies });
        assert_eq!(next(&two, FANOUT, true), [1, 2]);
        assert!(next(&two, FANOUT, false).is_empty(), "unless it is not wanted");
    }

    #[test]
    fn what_merges_lead_to_is_owed_as_well() {
        let least = |count: u64| -> Vec<(Candidate, u64)> {
            (1..=count).map(|number| (Candidate { number, copies: TIER_COPIES_MIN }, 100)).collect()
        };
        assert_eq!(debt(least(0), FANOUT, true), (0, 0));
        assert_eq!(debt(least(7), FANOUT, false), (0, 0));
        assert_eq!(debt(least(8), FANOUT, false), (8, 800));
        // Seven of the second tier: the merge of the first tier makes it eight, and these are merged again.
        let second = |number| (Candidate { number, copies: 8 * TIER_COPIES_MIN }, 800);
        let both: Vec<(Candidate, u64)> = least(8).into_iter().chain((11..18).map(second)).collect();
        assert_eq!(debt(both, FANOUT, false), (15, 800 + 8 * 800));
    }

    fn sized(copies: &[u64], is_packed: bool) -> Vec<Sized> {
        let of =
            |(number, &copies): (u64, &u64)| Sized { of: Candidate { number, copies }, bytes: 10 * copies, is_packed };
        (1..).zip(copies).map(of).collect()
    }

    #[test]
    fn steps_are_full_but_the_first_and_end_with_one_segment() {
        for count in 0..60 {
            let copies: Vec<u64> = (0..count).map(|i| 1 + i * i % 17).collect();
            let steps = steps(sized(&copies, true), Extent::All, FANOUT);
            let merged: Vec<usize> = steps.iter().map(|step| step.segments).collect();
            let left = count as usize - merged.iter().map(|merged| merged - 1).sum::<usize>();
            assert_eq!(left, usize::from(count > 0), "{merged:?}");
            assert!(merged.iter().skip(1).all(|merged| *merged == FANOUT), "{count}: {merged:?}");
            assert!(steps.last().is_none_or(|last| last.copies == copies.iter().sum::<u64>()));
            if (2..=FANOUT as u64).contains(&count) {
                assert_eq!(merged, [count as usize]);
            }
        }
        // The largest is written once.
        let steps = steps(sized(&[1_000, 1, 1, 1, 1, 1, 1, 1, 1], true), Extent::All, FANOUT);
        let copies: Vec<u64> = steps.iter().map(|step| step.copies).collect();
        assert_eq!(copies, [2, 1_008]);
    }

    #[test]
    fn what_was_never_merged_is_packed_and_no_more() {
        let mut segments = sized(&[5, 1, 2, 3], false);
        segments.push(Sized { of: Candidate { number: 9, copies: 100 }, bytes: 400, is_packed: true });
        assert_eq!(step(&segments, Extent::Unpacked, 3), [1, 2, 3]);
        let planned = steps(segments.clone(), Extent::Unpacked, 3);
        let bytes: Vec<_> = planned.iter().map(|step| (step.segments, step.read_bytes, step.written_bytes)).collect();
        assert_eq!(bytes, [(3, 80, 32), (1, 30, 12)], "at four bytes a copy, as the packed one has");
        // One that is packed is one already; one that is not becomes so.
        assert!(step(&segments[4..], Extent::All, 3).is_empty());
        assert_eq!(step(&segments[..1], Extent::All, 3), [1]);
        assert_eq!(steps(sized(&[7], false), Extent::All, 3)[0].written_bytes, 70, "not more than before");
    }

    #[test]
    fn nothing_is_merged_before_a_tier_is_full() {
        let of = |copies: &[u64]| {
            let candidates: Vec<Candidate> =
                copies.iter().enumerate().map(|(i, &copies)| Candidate { number: i as u64, copies }).collect();
            plan(&candidates, FANOUT)
        };
        assert!(of(&[1, 2, 3, 4, 5, 6, 7]).is_empty());
        assert_eq!(of(&[1, 64 * TIER_COPIES_MIN, 2, 3, 4, 5, 6, 7, 8]), [0, 2, 3, 4, 5, 6, 7, 8]);
    }
}
