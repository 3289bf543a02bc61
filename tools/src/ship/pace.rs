//! Time as a shipper needs it: to look at it, and to let it pass.

use erstwhile_engine::io::{Clock, ManualClock, SystemClock};
use std::time::Duration;

/// A clock that can be waited on.
pub trait Pace: Clock {
    /// Lets so much time pass.
    fn rest(&self, time: Duration);
}

impl Pace for SystemClock {
    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Waiting is moving the hands.
impl Pace for ManualClock {
    fn rest(&self, time: Duration) {
        self.advance(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Since some fixed instant.
    pub(super) monotonic: Duration,
    /// Microseconds since 1970 by the wall clock, which files are stamped with.
    pub(super) wall_micros: i64,
}

impl Now {
    pub(super) fn of(pace: &impl Pace) -> Now {
        Now { monotonic: Duration::from_nanos(pace.monotonic_nanos()), wall_micros: pace.now_micros() }
    }
}
