//! Answers: to questions to one host here, to all others elsewhere; and what waits to be taken.
//!
//! Invariant: every request has one last frame, and after it no other.

use super::{Connection, Reply, last};
use crate::answering::{About, answer};
use crate::gate::Gate;
use crate::server::Counts;
use crate::time::now;
use erstwhile_wire::failure::Code;
use erstwhile_wire::failure::Failure;
use erstwhile_wire::frame::{self, HEADER_BYTES, kind};
use erstwhile_wire::request::{Question, Request, Terms};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of answers that wait for credit; with more, new questions are refused.
pub(super) const PENDING_BYTES_MAX: usize = 8 << 20;

/// Longer than any store takes to be weighed.
const WEIGH_MILLIS_MAX: u64 = 7 * 86_400_000;

/// An answer that waits for credit.
pub(super) struct Pending {
    pub(super) frames: VecDeque<Vec<u8>>,
    /// The last frame.
    pub(super) end: Vec<u8>,
    pub(super) since: Instant,
}

/// A request under way.
pub(super) struct Running {
    pub(super) gate: Arc<Gate>,
    pub(super) pending: Option<Pending>,
    pub(super) began: Instant,
}

impl Connection {
    pub(super) fn gate(&self, terms: Terms, question: &Question<'_>) -> Arc<Gate> {
        let limits = &self.server.config.limits;
        let most = match question {
            Question::Weigh(_) => WEIGH_MILLIS_MAX,
            _ => limits.request_millis_max,
        };
        let millis = if terms.millis_max == 0 { most } else { terms.millis_max.min(most) };
        let deadline = now() + Duration::from_millis(millis);
        let stall = Duration::from_millis(limits.stall_millis_max);
        Arc::new(Gate::new(terms.window, limits.window_bytes_max, deadline, stall))
    }

    /// Answers a light question.
    pub(super) fn answer_here(&mut self, id: u32, question: &Question<'_>, gate: Arc<Gate>) {
        let began = now();
        let server = self.server.clone();
        let view = server.store.view();
        let mut frames: VecDeque<Vec<u8>> = VecDeque::new();
        let about = About { stats: &|| server.stats(), merge_fanout: server.config.engine.merge_fanout };
        let Connection { out, parts_out, answer_bytes_max, .. } = &mut *self;
        let end = answer(&view, question, id, *answer_bytes_max, about, &mut |frame| {
            let bytes = frame.len() - HEADER_BYTES;
            if frames.is_empty() && gate.try_pass(bytes) {
                if out.is_empty() {
                    *out = frame;
                } else {
                    out.extend_from_slice(&frame);
                }
                parts_out.push((gate.clone(), bytes));
            } else {
                frames.push_back(frame);
            }
            Ok(())
        });
        if frames.is_empty() || end.is_err() {
            match end {
                Ok(done) => {
                    self.session.end(id);
                    Counts::add(&self.server.counts.requests, 1);
                    frame::put(&mut self.out, kind::DONE, id, |out| done.encode(out));
                }
                Err(failure) => self.end(id, &failure),
            }
            self.server.counts.light.record(began.elapsed());
            return;
        }
        let Ok(done) = end else { return };
        let mut last = Vec::new();
        frame::put(&mut last, kind::DONE, id, |out| done.encode(out));
        self.pending_bytes += frames.iter().map(Vec::len).sum::<usize>();
        let pending = Some(Pending { frames, end: last, since: began });
        self.running.insert(id, Running { gate, pending, began });
    }

    /// Lets a heavy question wait for its turn.
    pub(super) fn answer_elsewhere(&mut self, id: u32, request: Request<'_>, gate: Arc<Gate>) {
        let kind = request.kind();
        let mut payload = Vec::new();
        request.encode(&mut payload);
        self.running.insert(id, Running { gate: gate.clone(), pending: None, began: now() });
        let (server, own, replies) = (self.server.clone(), self.heavy.clone(), self.replies.clone());
        let answer_bytes_max = self.answer_bytes_max;
        tokio::spawn(async move {
            let Ok(own) = own.acquire_owned().await else { return };
            let Ok(begun) = server.begun.clone().acquire_owned().await else { return };
            let Ok(turn) = server.heavy.clone().acquire_owned().await else { return };
            let (askers, runtime) = (server.clone(), tokio::runtime::Handle::current());
            let work = move || {
                let _places = (own, begun);
                let turn = Mutex::new(Some(turn));
                let Ok(Request::Ask(_, question)) = Request::decode(kind, &payload) else { return };
                let view = server.store.view();
                let about = About { stats: &|| server.stats(), merge_fanout: server.config.engine.merge_fanout };
                let end = answer(&view, &question, id, answer_bytes_max, about, &mut |frame| {
                    // Who waits for a reader gives the turn to others meanwhile.
                    gate.pass(frame.len() - HEADER_BYTES, |begins| {
                        let heavy = server.heavy.clone();
                        let anew = (!begins).then(|| runtime.block_on(heavy.acquire_owned()).ok()).flatten();
                        *turn.lock() = anew;
                    })?;
                    let gone = |_| Failure::new(Code::Cancelled, "the connection is gone");
                    replies.send(Reply::Part(gate.clone(), frame)).map_err(gone)
                });
                let _ = replies.send(last(id, end));
            };
            askers.askers.give(work);
        });
    }

    /// Sends what waits of an answer, as far as its credit goes.
    pub(super) fn send_pending(&mut self, id: u32) {
        let Some(running) = self.running.get_mut(&id) else { return };
        let Some(pending) = &mut running.pending else { return };
        while let Some(frame) = pending.frames.front() {
            let bytes = frame.len() - HEADER_BYTES;
            if !running.gate.try_pass(bytes) {
                return;
            }
            self.pending_bytes -= frame.len();
            self.out.extend_from_slice(frame);
            self.parts_out.push((running.gate.clone(), bytes));
            pending.since = now();
            pending.frames.pop_front();
        }
        self.out.extend_from_slice(&pending.end);
        if let Some(running) = self.running.remove(&id) {
            self.server.counts.light.record(running.began.elapsed());
        }
        self.session.end(id);
        Counts::add(&self.server.counts.requests, 1);
    }

    /// A request that is under way ends with a failure.
    pub(super) fn fail(&mut self, id: u32, failure: &Failure) {
        if let Some(running) = self.running.remove(&id) {
            running.gate.end();
            if let Some(pending) = running.pending {
                self.pending_bytes -= pending.frames.iter().map(Vec::len).sum::<usize>();
            }
        }
        self.end(id, failure);
    }

    /// The last frame of a request that failed.
    pub(super) fn end(&mut self, id: u32, failure: &Failure) {
        if self.session.end(id) {
            self.server.counts.fail(failure);
            frame::put(&mut self.out, kind::ERROR, id, |out| failure.encode(out));
        }
    }
}
