//! Which segments are merged: a pure choice from their sizes.
//!
//! Segments of one tier (sizes within a factor of [`FANOUT`]) are merged once there are [`FANOUT`] of them, so a store
//! of N bytes holds at most `(FANOUT - 1) · log(N)` segments and a byte is rewritten at most `log(N)` times, both
//! logarithms to the base [`FANOUT`].

/// How many segments of one tier are merged into one.
pub const FANOUT: usize = 4;
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
fn tier(bytes: u64) -> u32 {
    (bytes / TIER_BYTES_MIN).max(1).ilog(FANOUT as u64)
}

/// The segments to merge next, by number; none if no tier is full. The lowest full tier goes first, and of it all.
pub fn plan(candidates: &[Candidate]) -> Vec<u64> {
    let mut tiers: std::collections::BTreeMap<u32, Vec<u64>> = std::collections::BTreeMap::new();
    for candidate in candidates {
        tiers.entry(tier(candidate.bytes)).or_default().push(candidate.number);
    }
    let mut full = tiers.into_values().find(|numbers| numbers.len() >= FANOUT).unwrap_or_default();
    full.sort_unstable();
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_segments_stays_bounded() {
        let mut segments: Vec<Candidate> = Vec::new();
        let (mut next, mut written) = (0, 0);
        for _ in 0..4096 {
            next += 1;
            segments.push(Candidate { number: next, bytes: TIER_BYTES_MIN });
            loop {
                let merged = plan(&segments);
                if merged.is_empty() {
                    break;
                }
                next += 1;
                let bytes = segments.iter().filter(|s| merged.contains(&s.number)).map(|s| s.bytes).sum();
                written += bytes;
                segments.retain(|s| !merged.contains(&s.number));
                segments.push(Candidate { number: next, bytes });
            }
            assert!(segments.len() <= (FANOUT - 1) * 7);
        }
        assert!(written <= 4096 * TIER_BYTES_MIN * 7, "a byte is rewritten at most once a tier");
    }

    #[test]
    fn nothing_is_merged_before_a_tier_is_full() {
        let of = |bytes: &[u64]| {
            let candidates: Vec<Candidate> =
                bytes.iter().enumerate().map(|(i, &bytes)| Candidate { number: i as u64, bytes }).collect();
            plan(&candidates)
        };
        assert!(of(&[1, 2, 3]).is_empty());
        assert_eq!(of(&[1, 64 << 20, 2, 3, 4]), [0, 2, 3, 4]);
    }
}
