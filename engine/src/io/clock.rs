//! Where time comes from.
//!
//! Invariants:
//! - Nothing outside this file asks the operating system for the time (`.clippy.toml` refuses it).
//! - Monotonic time never goes back; wall-clock time may.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970-01-01T00:00:00Z by the wall clock.
    fn now_micros(&self) -> i64;

    /// Nanoseconds since some fixed instant, never less than the answer before.
    fn monotonic_nanos(&self) -> u64;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time counts from now.
    #[expect(clippy::disallowed_methods, reason = "the one door to the monotonic clock")]
    pub fn new() -> SystemClock {
        SystemClock { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    fn now_micros(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        }
    }

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands until it is moved; clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    hands: Arc<Hands>,
}

#[derive(Debug, Default)]
struct Hands {
    micros: AtomicI64,
    nanos: AtomicU64,
}

impl ManualClock {
    /// A clock whose wall time is `micros` and whose monotonic time is zero.
    pub fn new(micros: i64) -> ManualClock {
        let clock = ManualClock::default();
        clock.set(micros);
        clock
    }

    /// Sets the wall time, forward or back, as an administrator or a time daemon would; monotonic time stands.
    pub fn set(&self, micros: i64) {
        self.hands.micros.store(micros, SeqCst);
    }

    /// Lets `micros` microseconds pass on both clocks.
    pub fn advance(&self, micros: u32) {
        self.hands.micros.fetch_add(i64::from(micros), SeqCst);
        self.hands.nanos.fetch_add(u64::from(micros) * 1000, SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.hands.micros.load(SeqCst)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.hands.nanos.load(SeqCst)
    }
}
