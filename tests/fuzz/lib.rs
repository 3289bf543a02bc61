//! What must hold for any bytes: functions that a fuzzer feeds, and that panic where something does not hold.
//!
//! Invariants:
//! - A target is a function of its bytes alone, so that what was found is found again.
//! - A target says the whole of what must hold. Who calls it (`guided`, which follows coverage, or the test `kept`, which
//!   goes through the kept inputs and some that are like them) adds nothing.

// Messages and frames of the protocol.
pub mod wire;

// A connection without its socket.
pub mod session;

// Lines of osquery's logs.
pub mod lines;

// Commits of the store's log.
pub mod commits;

/// A target: its name, which is that of its folder in `corpus`, and what runs an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 4] =
    [("wire", wire::run), ("session", session::run), ("lines", lines::run), ("commits", commits::run)];

/// A number drawn from bytes, for what an input decides without saying so.
pub(crate) fn drawn(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
