//! A producer's batches: placed in the order in which they came, acknowledged once they are durable.
//!
//! How: all that wait are handed over at once and placed one after the other; then the next are placed while these are waited for.

use super::{Connection, Reply, last};
use crate::producers::{Content, Opened, Slot};
use crate::server::Server;
use erstwhile_engine::ingest::producer::Sent;
use erstwhile_wire::answer::{Appended, Done};
use erstwhile_wire::failure::{Code, Failure};
use erstwhile_wire::frame::kind;
use erstwhile_wire::request::Request;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Batches that are placed before any is waited for.
const APPENDS_AT_ONCE: usize = 32;

/// Something of a producer, in its order.
pub(super) struct Append {
    pub(super) id: u32,
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
    pub(super) room: Option<OwnedSemaphorePermit>,
    pub(super) began: Instant,
}

impl Connection {
    /// Hands the batches that wait over, if none are under way.
    pub(super) fn append_next(&mut self) {
        if self.is_appending || self.appends.is_empty() {
            return;
        }
        self.is_appending = true;
        let some: Vec<Append> = self.appends.drain(..self.appends.len().min(APPENDS_AT_ONCE)).collect();
        let (server, replies, slots, number) =
            (self.server.clone(), self.replies.clone(), self.slots.clone(), self.number);
        let (takers, runtime) = (server.clone(), tokio::runtime::Handle::current());
        takers.takers.give(move || {
            let sent = place_all(&server, &slots, number, some, &replies);
            let _ = replies.send(Reply::Appended);
            runtime.spawn_blocking(move || wait_all(&server, sent, &replies));
        });
    }
}

/// Places batches; they are waited for elsewhere.
fn place_all(
    server: &Server,
    slots: &Mutex<HashMap<u128, Arc<Slot>>>,
    connection: u64,
    appends: Vec<Append>,
    replies: &mpsc::UnboundedSender<Reply>,
) -> Vec<Waiting> {
    let mut sent = Vec::new();
    for Append { id, kind, payload, room, began } in appends {
        let placed = place(server, slots, connection, kind, &payload);
        drop((payload, room));
        match placed {
            Ok(placed) => sent.push(Waiting { id, kind, placed, began }),
            Err(failure) => {
                let _ = replies.send(last(id, Err(failure)));
            }
        }
    }
    sent
}

/// What has its place, and its request.
struct Waiting {
    id: u32,
    kind: u8,
    placed: Placed,
    began: Instant,
}

/// What has its place and is not yet known to be durable.
enum Placed {
    /// What a producer that is served now sent before.
    Opened(Opened),
    /// A batch.
    Batch(Arc<Slot>, Sent),
}

/// Waits for what has its place, while more is placed.
fn wait_all(server: &Server, sent: Vec<Waiting>, replies: &mpsc::UnboundedSender<Reply>) {
    for Waiting { id, kind, placed, began } in sent {
        let end = match placed {
            Placed::Opened(opened) => opened.wait(&server.store).map(Done::Producer),
            Placed::Batch(slot, batch) => {
                let end = slot.wait(&server.store, batch).map(|accepted| {
                    server.counts.note_batch(&accepted);
                    let appended = Appended {
                        sequence: accepted.sequence,
                        again: accepted.again,
                        recorded: accepted.recorded,
                        lines: accepted.lines,
                        dead_letters: accepted.dead_letters,
                    };
                    if kind == kind::APPEND_LINES { Done::Lines(appended) } else { Done::Looks(appended) }
                });
                server.counts.appends.record(began.elapsed());
                end
            }
        };
        let _ = replies.send(last(id, end));
    }
}

fn place(
    server: &Server,
    slots: &Mutex<HashMap<u128, Arc<Slot>>>,
    connection: u64,
    kind: u8,
    payload: &[u8],
) -> Result<Placed, Failure> {
    let malformed = |error: erstwhile_wire::value::Malformed| Failure::new(Code::Malformed, error.to_string());
    let now_nanos = server.now_nanos();
    let digest = xxhash_rust::xxh3::xxh3_64(payload).max(1);
    let (number, sequence, content) = match Request::decode(kind, payload).map_err(malformed)? {
        Request::Producer { producer, instance, first, last } => {
            let owner = (instance, connection);
            let opened = server.producers.open(&server.store, producer, owner, (first, last), now_nanos)?;
            slots.lock().insert(producer, opened.slot().clone());
            return Ok(Placed::Opened(opened));
        }
        Request::AppendLines { producer, sequence, chunks } => {
            let slot = slot_of(slots, producer)?;
            let content = Content::Lines(&chunks);
            let batch = slot.place(&server.store, producer, connection, (sequence, digest), content, now_nanos)?;
            return Ok(Placed::Batch(slot, batch));
        }
        Request::AppendLooks { producer, sequence, looks } => (producer, sequence, Content::Looks(looks)),
        _ => return Err(Failure::new(Code::Usage, "not of a producer")),
    };
    let slot = slot_of(slots, number)?;
    let batch = slot.place(&server.store, number, connection, (sequence, digest), content, now_nanos)?;
    Ok(Placed::Batch(slot, batch))
}

fn slot_of(slots: &Mutex<HashMap<u128, Arc<Slot>>>, producer: u128) -> Result<Arc<Slot>, Failure> {
    let text = "this connection appends as no producer of this number; send PRODUCER first";
    slots.lock().get(&producer).cloned().ok_or_else(|| Failure::new(Code::Usage, text))
}
