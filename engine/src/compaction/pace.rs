//! How quickly merges may read and write, how far they are, and whether they are still wanted.
//!
//! Bytes are paid for after they were moved: each payment waits until all before it have had their time, so the mean keeps
//! to the limit over any span, and time that passed unused is not saved up for a burst.

use crate::error::{Error, Misuse};
use crate::io::{Clock, SystemClock};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Who waits looks this often whether to stop.
const PAUSE_MAX: Duration = Duration::from_millis(100);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A handle that those who merge and those who watch them share; clones are the same.
#[derive(Clone)]
pub struct Pace {
    shared: Arc<Shared>,
}

struct Shared {
    io_bytes_per_second_max: Option<u64>,
    clock: Arc<dyn Clock>,
    pause: Box<dyn Fn(Duration) + Send + Sync>,
    /// The monotonic time at which all that was moved has had its time.
    paid_until_nanos: Mutex<u64>,
    moved_bytes: AtomicU64,
    stopped: AtomicBool,
}

impl Pace {
    /// At most so many bytes a second are read and written by all merges together.
    pub fn new(io_bytes_per_second_max: Option<u64>) -> Pace {
        Pace::by(io_bytes_per_second_max, Arc::new(SystemClock::new()), Box::new(std::thread::sleep))
    }

    /// The same by another clock; `pause` lets time pass.
    pub fn by(
        io_bytes_per_second_max: Option<u64>,
        clock: Arc<dyn Clock>,
        pause: Box<dyn Fn(Duration) + Send + Sync>,
    ) -> Pace {
        let (paid_until_nanos, moved_bytes, stopped) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        Pace {
            shared: Arc::new(Shared { io_bytes_per_second_max, clock, pause, paid_until_nanos, moved_bytes, stopped }),
        }
    }

    /// Ends the merge under way at its next stream, without a trace; none begins afterwards.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether [`Pace::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }

    /// How many bytes merges have read and written so far.
    pub fn moved_bytes(&self) -> u64 {
        self.shared.moved_bytes.load(Ordering::Relaxed)
    }

    /// Pays for bytes that were read or written; [`Misuse::Stopped`] if no more are wanted.
    pub(crate) fn pay(&self, bytes: u64) -> Result<(), Error> {
        let shared = &*self.shared;
        shared.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(max) = shared.io_bytes_per_second_max {
            let nanos = u128::from(bytes) * NANOS_PER_SECOND / u128::from(max.max(1));
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            let until = {
                let mut until = shared.paid_until_nanos.lock();
                *until = shared.clock.monotonic_nanos().max(*until).saturating_add(nanos);
                *until
            };
            while !self.is_stopped() {
                let left = Duration::from_nanos(until.saturating_sub(shared.clock.monotonic_nanos()));
                if left.is_zero() {
                    break;
                }
                (shared.pause)(left.min(PAUSE_MAX));
            }
        }
        if self.is_stopped() { Err(Misuse::Stopped.into()) } else { Ok(()) }
    }
}

impl Default for Pace {
    /// No limit.
    fn default() -> Pace {
        Pace::new(None)
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace")
            .field("io_bytes_per_second_max", &self.shared.io_bytes_per_second_max)
            .field("moved_bytes", &self.moved_bytes())
            .field("is_stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ManualClock;

    /// A limited pace whose pauses move the clock.
    fn paced(max: u64) -> (Pace, ManualClock) {
        let clock = ManualClock::new(0);
        let hands = clock.clone();
        let pause = move |pause: Duration| hands.advance(pause.as_micros() as u32);
        (Pace::by(Some(max), Arc::new(clock.clone()), Box::new(pause)), clock)
    }

    #[test]
    fn bytes_take_the_time_they_must_and_none_is_saved_up() {
        let (pace, clock) = paced(1_000_000);
        let millis = || clock.monotonic_nanos() / 1_000_000;
        pace.pay(500_000).unwrap();
        assert_eq!(millis(), 500);
        pace.pay(250_000).unwrap();
        assert_eq!(millis(), 750);
        // Who did something else meanwhile is not waited for …
        clock.advance(10_000_000);
        pace.pay(1_000).unwrap();
        assert_eq!(millis(), 10_751);
        // … and has no more to spend than at first.
        pace.pay(1_000_000).unwrap();
        assert_eq!((millis(), pace.moved_bytes()), (11_751, 1_751_000));
    }

    #[test]
    fn who_waits_can_be_stopped() {
        let (clock, pace) = (ManualClock::new(0), Arc::new(Mutex::new(None::<Pace>)));
        let stops = pace.clone();
        // Stopped in the third pause.
        let (hands, pauses) = (clock.clone(), AtomicU64::new(0));
        let pause = move |pause: Duration| {
            hands.advance(pause.as_micros() as u32);
            if pauses.fetch_add(1, Ordering::Relaxed) == 2
                && let Some(pace) = &*stops.lock()
            {
                Pace::stop(pace);
            }
        };
        let limited = Pace::by(Some(1), Arc::new(clock.clone()), Box::new(pause));
        *pace.lock() = Some(limited.clone());
        let error = limited.pay(1_000_000).unwrap_err();
        assert!(matches!(error, Error::Misuse(Misuse::Stopped)), "{error}");
        assert_eq!(clock.monotonic_nanos(), 300_000_000);
        limited.pay(0).unwrap_err();
    }
}
