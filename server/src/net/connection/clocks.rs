//! What must happen though nothing comes: whoever is silent, or does not take what is sent, is given up.

use super::answers::Running;
use super::{Connection, Ended};
use crate::gate::{slow, timed_out};
use crate::time::now;
use erstwhile_wire::failure::{Code, Failure};
use std::time::{Duration, Instant};

impl Connection {
    /// When something must be done though nothing comes.
    pub(super) fn wakes_at(&self) -> Instant {
        let limits = &self.server.config.limits;
        let millis = if self.session.is_open() { limits.idle_millis_max } else { limits.hello_millis_max };
        let stall = Duration::from_millis(limits.stall_millis_max);
        let mut wakes = self.last_heard + Duration::from_millis(millis);
        if self.session.under_way() > 0 {
            wakes = now() + Duration::from_secs(3600);
        }
        for running in self.running.values() {
            wakes = wakes.min(running.gate.deadline());
            if let Some(pending) = &running.pending {
                wakes = wakes.min(pending.since + stall);
            }
        }
        if self.written < self.out.len() {
            wakes = wakes.min(self.last_wrote + stall);
        }
        wakes
    }

    pub(super) fn look_at_clock(&mut self) -> Result<(), Ended> {
        let now = now();
        let limits = &self.server.config.limits;
        let stall = Duration::from_millis(limits.stall_millis_max);
        if !self.session.is_open() && now >= self.last_heard + Duration::from_millis(limits.hello_millis_max) {
            let text = "no hello came in time; a client must say who it is first";
            return Err(Failure::new(Code::Timeout, text).into());
        }
        let idle = self.last_heard + Duration::from_millis(limits.idle_millis_max);
        if self.session.is_open() && self.session.under_way() == 0 && now >= idle {
            let text = format!("nothing came for {} ms", limits.idle_millis_max);
            return Err(Failure::passing(Code::Idle, text, 1).into());
        }
        let late = |running: &Running| {
            if now >= running.gate.deadline() {
                return Some(timed_out());
            }
            running.pending.as_ref().filter(|pending| now >= pending.since + stall).map(|_| slow(stall))
        };
        let late: Vec<(u32, Failure)> =
            self.running.iter().filter_map(|(id, running)| Some((*id, late(running)?))).collect();
        for (id, failure) in late {
            self.fail(id, &failure);
        }
        if self.written < self.out.len() && now >= self.last_wrote + stall {
            return Err(Ended::Gone);
        }
        Ok(())
    }
}
