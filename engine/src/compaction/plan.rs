//! Which segments are merged: a pure choice from their sizes.
//!
//! Segments of one tier (sizes within a factor of the fan-out) are merged once there are as many of them as the fan-out,
//! so a store of N bytes holds at most `(fanout - 1) · log(N)` segments and a byte is rewritten at most `log(N)` times,
//! both logarithms to the base of the fan-out.
//!
//! After much was added at once everything is merged into one segment, if what was added is at least an eighth of it: so
//! these merges write at most eight copies of rows for each one added, however large the store grows. Copies are counted
//! and not bytes, since what was not merged yet takes many times the bytes that it will.

/// Everything up to this size is of the lowest tier.
pub const TIER_BYTES_MIN: u64 = 1 << 20;

/// A segment as the plan sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
}

/// The tier of a size.
fn tier(bytes: u64, fanout: usize) -> u32 {
    (bytes / TIER_BYTES_MIN).max(1).ilog(fanout.max(2) as u64)
}

/// The segments to merge next, by number; none if no tier is full. The lowest full tier goes first, and of it all.
pub fn plan(candidates: &[Candidate], fanout: usize) -> Vec<u64> {
    let mut tiers: std::collections::BTreeMap<u32, Vec<u64>> = std::collections::BTreeMap::new();
    for candidate in candidates {
        tiers.entry(tier(candidate.bytes, fanout)).or_default().push(candidate.number);
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
    let all: u64 = copies.iter().sum();
    let largest = copies.iter().copied().max().unwrap_or(0);
    copies.len() > 1 && (all - largest).saturating_mul(WHOLE_SHARE) >= all
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
            segments.push(Candidate { number: next, bytes: TIER_BYTES_MIN });
            loop {
                let merged = plan(&segments, FANOUT);
                if merged.is_empty() {
                    break;
                }
                next += 1;
                let bytes = segments.iter().filter(|s| merged.contains(&s.number)).map(|s| s.bytes).sum();
                written += bytes;
                segments.retain(|s| !merged.contains(&s.number));
                segments.push(Candidate { number: next, bytes });
            }
            assert!(segments.len() <= (FANOUT - 1) * TIERS);
        }
        assert!(written <= 4096 * TIER_BYTES_MIN * TIERS as u64, "a byte is rewritten at most once a tier");
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

    #[test]
    fn nothing_is_merged_before_a_tier_is_full() {
        let of = |bytes: &[u64]| {
            let candidates: Vec<Candidate> =
                bytes.iter().enumerate().map(|(i, &bytes)| Candidate { number: i as u64, bytes }).collect();
            plan(&candidates, FANOUT)
        };
        assert!(of(&[1, 2, 3, 4, 5, 6, 7]).is_empty());
        assert_eq!(of(&[1, 64 << 20, 2, 3, 4, 5, 6, 7, 8]), [0, 2, 3, 4, 5, 6, 7, 8]);
    }
}
