//! How much of an answer may be sent: the reader's credit, and whether it is wanted still.
//!
//! Invariants:
//! - A part passes only while less was sent than may be, and while little of the answer waits to be written.
//! - Who waits at a gate is woken when it opens, and gives up when the request is over.

use crate::time::now;
use erstwhile_wire::failure::{Code, Failure};
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Bytes of one answer that wait to be written.
const WAITING_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
struct State {
    /// Bytes that may be sent; below 0 after a part that was longer.
    credit: i64,
    /// Bytes that were handed over and are not written.
    waiting: usize,
    is_over: bool,
}

/// Of one request.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    turn: Condvar,
    window: i64,
    deadline: Instant,
    stall_max: Duration,
}

impl Gate {
    /// With a first credit, which is also the most at once.
    pub fn new(window: u64, window_max: u64, deadline: Instant, stall_max: Duration) -> Gate {
        let most = i64::try_from(window_max).unwrap_or(i64::MAX);
        let window = if window == 0 { most } else { i64::try_from(window).unwrap_or(most).min(most) };
        let state = Mutex::new(State { credit: window, waiting: 0, is_over: false });
        Gate { state, turn: Condvar::new(), window: most, deadline, stall_max }
    }

    /// Adds credit.
    pub fn credit(&self, bytes: u64) {
        let mut state = self.state.lock();
        let more = i64::try_from(bytes).unwrap_or(i64::MAX);
        state.credit = state.credit.saturating_add(more).min(self.window);
        self.turn.notify_all();
    }

    /// So much was written.
    pub fn written(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.waiting = state.waiting.saturating_sub(bytes);
        self.turn.notify_all();
    }

    /// The request is over: whoever waits gives up.
    pub fn end(&self) {
        self.state.lock().is_over = true;
        self.turn.notify_all();
    }

    /// When the request must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Lets a part of so many bytes pass if it may pass now.
    pub fn try_pass(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        let may = !state.is_over && state.credit > 0 && state.waiting < WAITING_BYTES_MAX;
        if may {
            state.credit -= bytes as i64;
            state.waiting += bytes;
        }
        may
    }

    /// Waits until a part may pass; `wait` is run around waiting, if there is any.
    pub fn pass(&self, bytes: usize, mut wait: impl FnMut(bool)) -> Result<(), Failure> {
        if self.try_pass(bytes) {
            return Ok(());
        }
        wait(true);
        let passed = self.wait(bytes);
        wait(false);
        passed
    }

    fn wait(&self, bytes: usize) -> Result<(), Failure> {
        let stalled = now() + self.stall_max;
        let until = stalled.min(self.deadline);
        let mut state = self.state.lock();
        loop {
            if state.is_over {
                return Err(Failure::new(Code::Cancelled, "the request was cancelled"));
            }
            if state.credit > 0 && state.waiting < WAITING_BYTES_MAX {
                state.credit -= bytes as i64;
                state.waiting += bytes;
                return Ok(());
            }
            if self.turn.wait_until(&mut state, until).timed_out() {
                return Err(if self.deadline <= stalled { timed_out() } else { slow(self.stall_max) });
            }
        }
    }
}

/// The request took too long.
pub fn timed_out() -> Failure {
    Failure::new(Code::Timeout, "the request took longer than it may; ask for less, or for a longer time")
}

/// The client does not read.
pub fn slow(after: Duration) -> Failure {
    let text = format!("the client took nothing of the answer for {} s; read it, or give credit", after.as_secs());
    Failure::new(Code::Slow, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn gate(window: u64) -> Gate {
        Gate::new(window, 1000, now() + Duration::from_secs(60), Duration::from_millis(50))
    }

    #[test]
    fn parts_pass_while_there_is_credit() {
        let gate = gate(100);
        assert!(gate.try_pass(99) && gate.try_pass(500), "one part may exceed it");
        assert!(!gate.try_pass(1));
        gate.credit(499);
        assert!(!gate.try_pass(1), "it was exceeded by 499");
        gate.credit(1);
        assert!(gate.try_pass(1));
        gate.credit(u64::MAX);
        assert!(gate.try_pass(1000) && !gate.try_pass(1), "no more than the window at once");
    }

    #[test]
    fn what_is_not_written_holds_the_next_back() {
        let gate = Gate::new(0, 1 << 30, now() + Duration::from_secs(60), Duration::from_millis(50));
        assert!(gate.try_pass(WAITING_BYTES_MAX) && !gate.try_pass(1));
        gate.written(WAITING_BYTES_MAX);
        assert!(gate.try_pass(1));
    }

    #[test]
    fn who_waits_is_woken_or_told_why_not() {
        let gate = Arc::new(gate(1));
        assert!(gate.try_pass(1));
        let mut waits = Vec::new();
        let slow = gate.pass(1, |begins| waits.push(begins)).unwrap_err();
        assert_eq!((slow.code(), waits), (Some(Code::Slow), vec![true, false]));
        let other = gate.clone();
        let waiter = std::thread::spawn(move || other.pass(1, |_| {}));
        gate.credit(2);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        let other = gate.clone();
        let waiter = std::thread::spawn(move || (other.pass(1, |_| {}), other.pass(1, |_| {})));
        gate.end();
        let (_, last) = waiter.join().unwrap();
        assert_eq!(last.unwrap_err().code(), Some(Code::Cancelled));
        let late = Gate::new(1, 1, now(), Duration::from_secs(60));
        assert!(late.try_pass(1));
        assert_eq!(late.pass(1, |_| {}).unwrap_err().code(), Some(Code::Timeout));
    }
}
