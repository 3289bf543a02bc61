//! Agent versions as far as the meaning of a log depends on them.
//!
//! What a counter, a removed row or an empty look says changed several times over osquery's releases. A version is
//! therefore no label but a place in an order, and each constant here is the first release (or the last) for which one
//! conclusion holds.
//!
//! Invariants:
//! - Only the leading three decimal numbers take part in the order: `5.8.1` and `5.8.1-12-gabc` are equal.
//! - Every byte string either has a rank or is no version; none is an error.

use crate::fact::Inferred;
use std::fmt;

/// The rank of an agent version: its leading three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentVersion(pub u32, pub u32, pub u32);

/// From here on a diff counts copies of equal rows on both sides, so a removed row that was not held proves that
/// something is missing.
pub const COPIES_COUNTED_FROM: AgentVersion = AgentVersion(2, 11, 2);

/// From here on the counter counts looks that changed something, so a skipped number is a lost look. Before, it counts
/// runs, and a skip means nothing.
pub const COUNTER_COUNTS_LOOKS_FROM: AgentVersion = AgentVersion(4, 5, 0);

/// The first of the releases that report an empty batch with counter 0 after every run without a change.
pub const IDLE_ZERO_FROM: AgentVersion = AgentVersion(5, 8, 0);

/// The last of the releases that report an empty batch with counter 0 after every run without a change.
pub const IDLE_ZERO_TO: AgentVersion = AgentVersion(5, 8, 1);

/// From here on counter 0 is a full set where the epoch is not 0.
pub const ZERO_IS_FULL_IN_EPOCH_FROM: AgentVersion = AgentVersion(5, 8, 2);

/// From here on counter 0 is always a full set.
pub const ZERO_IS_FULL_FROM: AgentVersion = AgentVersion(5, 19, 0);

/// The rank of a version text; `None` if it does not begin with a digit. A missing number is 0, and a number too large
/// for 32 bits counts as the largest that fits.
///
/// ```
/// use erstwhile_engine::agent::{AgentVersion, version_rank};
/// assert_eq!(version_rank(b"5.8.1-12-gabc"), Some(AgentVersion(5, 8, 1)));
/// assert_eq!(version_rank(b"4.5"), Some(AgentVersion(4, 5, 0)));
/// assert_eq!(version_rank(b"v5.8.1"), None);
/// ```
pub fn version_rank(text: &[u8]) -> Option<AgentVersion> {
    let (major, rest) = take_number(text)?;
    let (minor, rest) = rest.strip_prefix(b".").and_then(take_number).unwrap_or((0, b""));
    let (patch, _) = rest.strip_prefix(b".").and_then(take_number).unwrap_or((0, b""));
    Some(AgentVersion(major, minor, patch))
}

fn take_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    let value =
        number.iter().fold(0u32, |value, digit| value.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    (digits > 0).then_some((value, rest))
}

/// The version that an inference stands for.
impl From<Inferred> for AgentVersion {
    fn from(inferred: Inferred) -> AgentVersion {
        match inferred {
            Inferred::V2_10 => AgentVersion(2, 10, 0),
            Inferred::V3_4 => AgentVersion(3, 4, 0),
            Inferred::V5_7 | Inferred::Lost => AgentVersion(5, 7, 0),
        }
    }
}

/// How an inferred version is written in answers: two numbers, so that nobody takes it for a version that was read.
pub fn inferred_text(inferred: Inferred) -> &'static str {
    match inferred {
        Inferred::V2_10 => "2.10",
        Inferred::V3_4 => "3.4",
        Inferred::V5_7 | Inferred::Lost => "5.7",
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_go_by_number_and_not_by_text() {
        let rank = |text: &str| version_rank(text.as_bytes()).unwrap();
        assert!(rank("5.19.0") > rank("5.8.2"));
        assert!(rank("4.4.9") < COUNTER_COUNTS_LOOKS_FROM && rank("4.5") >= COUNTER_COUNTS_LOOKS_FROM);
        assert_eq!(rank("5.8.1"), rank("05.8.1.77-rc1"));
    }

    #[test]
    fn what_is_missing_or_odd_is_nought() {
        for (text, rank) in [
            ("5", Some((5, 0, 0))),
            ("5.", Some((5, 0, 0))),
            ("5.x.3", Some((5, 0, 0))),
            ("5..3", Some((5, 0, 0))),
            ("5-2.3", Some((5, 0, 0))),
            ("5.8-rc", Some((5, 8, 0))),
            ("99999999999.1", Some((u32::MAX, 1, 0))),
            ("", None),
            (" 5.8", None),
            (".5", None),
            ("-5", None),
        ] {
            assert_eq!(version_rank(text.as_bytes()), rank.map(|(a, b, c)| AgentVersion(a, b, c)), "{text:?}");
        }
    }

    #[test]
    fn an_inference_is_written_as_it_ranks() {
        for inferred in [Inferred::V2_10, Inferred::V3_4, Inferred::V5_7] {
            assert_eq!(version_rank(inferred_text(inferred).as_bytes()), Some(inferred.into()));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(a: u32, b: u32, c: u32, tail in "(-[0-9a-z.]*)?") {
            let version = AgentVersion(a, b, c);
            prop_assert_eq!(version_rank(format!("{version}{tail}").as_bytes()), Some(version));
        }

        #[test]
        fn any_bytes_are_taken(bytes: Vec<u8>) {
            prop_assert_eq!(version_rank(&bytes).is_some(), bytes.first().is_some_and(u8::is_ascii_digit));
        }
    }
}
