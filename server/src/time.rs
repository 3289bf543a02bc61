//! The time by which sockets are waited for: that of the runtime's timers. All that is stored has its time from the engine's
//! clock.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the runtime's timers go by this clock and no other")]
pub fn now() -> Instant {
    Instant::now()
}
