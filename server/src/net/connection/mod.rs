//! One connection with its socket: what comes is taken in order, answers go out as the client takes them.
//!
//! Invariants:
//! - Bytes of a large request are read only once there is room for them; all else that a connection holds is bounded by its
//!   requests and by `PENDING_BYTES_MAX`.
//! - Every request has one last frame. What a client no longer wants, or takes too slowly, is given up.
//! - Questions to one host are answered here, at once; questions to all hosts wait for their turn and are answered elsewhere.
//! - A producer's batches are placed in the order in which they came, and acknowledged once they are durable.

mod answers;
mod appends;
mod clocks;

use crate::answering::{self, Weight};
use crate::gate::Gate;
use crate::producers::Slot;
use crate::server::{Counts, NAME, Server};
use crate::session::{Event, Session, speaks};
use crate::time::now;
use answers::{PENDING_BYTES_MAX, Running};
use appends::Append;
use erstwhile_wire::answer::Done;
use erstwhile_wire::failure::{Code, Failure};
use erstwhile_wire::frame::{self, HEADER_BYTES, SMALL_BYTES_MAX, kind};
use erstwhile_wire::hello::{Hello, Roles};
use erstwhile_wire::request::Request;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// With more bytes to write, nothing more is taken in.
const OUT_BYTES_MAX: usize = 1 << 20;

/// A buffer that is larger than this is given back when it is empty.
const BUFFER_KEPT_BYTES: usize = 16 << 10;

/// Room that is made for what comes.
const READ_BYTES_MIN: usize = 4 << 10;
/// Of a long frame so much at a time.
const READ_BYTES_MAX: usize = 1 << 20;

/// A wrong token is answered after so long.
const WRONG_TOKEN_DELAY: Duration = Duration::from_millis(300);

/// How often it is looked whether there is room for a large request.
const ROOM_POLL: Duration = Duration::from_millis(5);

/// The last frames of a connection must be taken within so long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Questions to all hosts of one connection that are worked on at once.
const HEAVY_OF_CONNECTION: usize = 2;

/// What comes back from elsewhere.
enum Reply {
    /// A part.
    Part(Arc<Gate>, Vec<u8>),
    /// A last frame; why the request failed, if it did.
    End(u32, Vec<u8>, Option<Failure>),
    /// The batches that were handed over are done.
    Appended,
}

/// A connection.
struct Connection {
    server: Arc<Server>,
    number: u64,
    address: IpAddr,
    session: Session,
    answer_bytes_max: usize,
    /// What came and was not taken.
    buffer: Vec<u8>,
    /// What is to be written, from `written` on, and whose parts are in it.
    out: Vec<u8>,
    written: usize,
    parts_out: Vec<(Arc<Gate>, usize)>,
    running: HashMap<u32, Running>,
    pending_bytes: usize,
    replies: mpsc::UnboundedSender<Reply>,
    heavy: Arc<Semaphore>,
    appends: VecDeque<Append>,
    is_appending: bool,
    slots: Arc<Mutex<HashMap<u128, Arc<Slot>>>>,
    /// Room for the large request that is being read.
    room: Option<OwnedSemaphorePermit>,
    last_heard: Instant,
    /// When something could be written last, or there was nothing to write.
    last_wrote: Instant,
    /// The server stops.
    is_draining: bool,
    /// Nothing more comes, or is wanted.
    is_ending: bool,
    /// A farewell was said.
    has_parted: bool,
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: IpAddr,
    number: u64,
) {
    let (replies, mut received) = mpsc::unbounded_channel();
    let mut connection = Connection {
        session: Session::new(server.config.limits()),
        number,
        address,
        answer_bytes_max: SMALL_BYTES_MAX,
        buffer: Vec::new(),
        out: Vec::new(),
        written: 0,
        parts_out: Vec::new(),
        running: HashMap::new(),
        pending_bytes: 0,
        replies,
        heavy: Arc::new(Semaphore::new(HEAVY_OF_CONNECTION)),
        appends: VecDeque::new(),
        is_appending: false,
        slots: Arc::default(),
        room: None,
        last_heard: now(),
        last_wrote: now(),
        is_draining: false,
        is_ending: false,
        has_parted: false,
        server,
    };
    let (reader, mut writer) = tokio::io::split(stream);
    let ended = connection.run(reader, &mut writer, &mut received).await;
    for running in connection.running.values() {
        running.gate.end();
    }
    if let Err(Ended::Failed(failure)) = ended {
        tracing::info!(connection = number, %address, reason = %failure, "connection refused");
        connection.server.counts.fail(&failure);
        frame::put(&mut connection.out, kind::ERROR, 0, |out| failure.encode(out));
    }
    let last = async {
        writer.write_all(&connection.out[connection.written..]).await?;
        writer.shutdown().await
    };
    // Who does not take the last words misses them.
    let _ = tokio::time::timeout(LAST_WORDS, last).await;
    let slots: Vec<Arc<Slot>> = connection.slots.lock().values().cloned().collect();
    slots.iter().for_each(|slot| slot.leave(number));
}

/// Why a connection ended before its time.
enum Ended {
    /// The other side must be told why.
    Failed(Failure),
    /// The other side is gone.
    Gone,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended::Failed(failure)
    }
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Ended {
        Ended::Gone
    }
}

impl Connection {
    async fn run(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        writer: &mut (impl AsyncWrite + Unpin),
        received: &mut mpsc::UnboundedReceiver<Reply>,
    ) -> Result<(), Ended> {
        let mut draining = self.server.draining.subscribe();
        if *draining.borrow_and_update() {
            self.drain();
        }
        loop {
            let waits_for_room = self.take_frames().await?;
            let is_idle = self.session.under_way() == 0;
            self.is_ending |= self.is_draining && is_idle;
            if self.is_ending && is_idle {
                self.part();
                if self.written == self.out.len() {
                    return Ok(());
                }
            }
            if self.written == self.out.len() {
                self.last_wrote = now();
            }
            if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_KEPT_BYTES {
                self.buffer = Vec::new();
            }
            let may_read = !self.is_ending && !waits_for_room && self.out.len() - self.written < OUT_BYTES_MAX;
            if may_read {
                self.make_room();
            }
            let wakes = if waits_for_room { now() + ROOM_POLL } else { self.wakes_at() };
            tokio::select! {
                biased;
                written = writer.write(&self.out[self.written..]), if self.written < self.out.len() => {
                    let written = written?;
                    if written == 0 {
                        return Err(Ended::Gone);
                    }
                    self.note_written(written);
                }
                reply = received.recv() => {
                    if let Some(reply) = reply {
                        self.reply(reply);
                    }
                    while let Ok(reply) = received.try_recv() {
                        self.reply(reply);
                    }
                }
                read = reader.read_buf(&mut self.buffer), if may_read => {
                    if read? == 0 {
                        self.is_ending = true;
                    }
                    self.last_heard = now();
                }
                changed = draining.changed(), if !self.is_draining => {
                    if changed.is_ok() {
                        self.drain();
                    }
                }
                () = tokio::time::sleep_until(wakes.into()) => self.look_at_clock()?,
            }
        }
    }

    /// The server stops: nothing new is taken.
    fn drain(&mut self) {
        self.session.drain();
        self.is_draining = true;
        self.part();
    }

    /// Says that nothing more will be taken, once.
    fn part(&mut self) {
        if !self.has_parted && self.session.is_open() {
            frame::put(&mut self.out, kind::FAREWELL, 0, |_| {});
        }
        self.has_parted = true;
    }

    /// Makes room for what comes next: for a long frame more, as it comes.
    fn make_room(&mut self) {
        let missing = frame::length(&self.buffer).unwrap_or(0).saturating_sub(self.buffer.len());
        self.buffer.reserve(missing.clamp(READ_BYTES_MIN, READ_BYTES_MAX));
    }

    fn note_written(&mut self, bytes: usize) {
        self.written += bytes;
        self.last_wrote = now();
        if self.written < self.out.len() {
            return;
        }
        self.out.clear();
        self.written = 0;
        if self.out.capacity() > BUFFER_KEPT_BYTES && self.running.is_empty() {
            self.out = Vec::new();
        }
        for (gate, bytes) in std::mem::take(&mut self.parts_out) {
            gate.written(bytes);
        }
        let waiting: Vec<u32> =
            self.running.iter().filter(|(_, running)| running.pending.is_some()).map(|(id, _)| *id).collect();
        for id in waiting {
            self.send_pending(id);
        }
    }

    /// Takes all frames that came; tells whether there is no room for the next.
    async fn take_frames(&mut self) -> Result<bool, Ended> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut taken = 0;
        let mut outcome = Ok(false);
        while !self.is_ending && self.out.len() - self.written < OUT_BYTES_MAX {
            let rest = &buffer[taken..];
            if self.wants_room(rest) {
                outcome = Ok(true);
                break;
            }
            match self.session.next(rest) {
                Ok(None) => break,
                Ok(Some((event, bytes))) => {
                    taken += bytes;
                    if let Err(ended) = self.event(event).await {
                        outcome = Err(ended);
                        break;
                    }
                }
                Err(failure) => {
                    outcome = Err(failure.into());
                    break;
                }
            }
        }
        buffer.drain(..taken);
        self.buffer = buffer;
        outcome
    }

    /// Whether a large frame begins here for which there is no room now.
    fn wants_room(&mut self, rest: &[u8]) -> bool {
        if self.room.is_some() || !self.session.is_open() || rest.len() < HEADER_BYTES {
            return false;
        }
        let length = frame::length(rest).unwrap_or(0);
        let limit = self.server.config.limits.request_bytes_max as usize;
        if length <= SMALL_BYTES_MAX + HEADER_BYTES || length > limit + HEADER_BYTES {
            return false;
        }
        self.room = self.server.ingest.clone().try_acquire_many_owned(length as u32).ok();
        self.room.is_none()
    }

    async fn event(&mut self, event: Event<'_>) -> Result<(), Ended> {
        match event {
            Event::Hello(hello) => self.hello(&hello).await?,
            Event::Request(id, request) => self.request(id, request),
            Event::Refused(id, failure) => {
                self.room = None;
                self.server.counts.fail(&failure);
                frame::put(&mut self.out, kind::ERROR, id, |out| failure.encode(out));
            }
            Event::Cancel(id) => {
                if self.running.contains_key(&id) {
                    self.fail(id, &Failure::new(Code::Cancelled, "the client cancelled the request"));
                }
            }
            Event::Credit(id, bytes) => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.gate.credit(bytes);
                    if let Some(pending) = &mut running.pending {
                        pending.since = now();
                    }
                    self.send_pending(id);
                }
            }
            Event::Ping(id, bytes) => {
                frame::put(&mut self.out, kind::PONG, id, |out| out.extend_from_slice(bytes));
            }
            Event::Goodbye => self.is_ending = true,
        }
        Ok(())
    }

    async fn hello(&mut self, hello: &Hello) -> Result<(), Failure> {
        speaks(hello)?;
        let server = self.server.clone();
        if let Some(wait) = server.tokens.must_wait(self.address) {
            let text = "too many wrong tokens came from this address; wait";
            return Err(Failure::passing(Code::Busy, text, wait.as_millis() as u64));
        }
        let (name, roles) = if hello.token.is_empty() && server.roles_without_token != Roles::default() {
            ("no token", server.roles_without_token)
        } else {
            match server.tokens.roles_of(&hello.token) {
                Some(found) => found,
                None => {
                    server.tokens.note_wrong(self.address);
                    let agent = String::from_utf8_lossy(&hello.agent);
                    tracing::warn!(connection = self.number, address = %self.address, %agent, "wrong token");
                    tokio::time::sleep(WRONG_TOKEN_DELAY).await;
                    let text = if hello.token.is_empty() {
                        "this server wants a token; give one with --token-file"
                    } else {
                        "this token is not known here"
                    };
                    return Err(Failure::new(Code::Unauthenticated, text));
                }
            }
        };
        let agent = String::from_utf8_lossy(&hello.agent);
        tracing::info!(connection = self.number, address = %self.address, %agent, token = name, "connected");
        self.answer_bytes_max = usize::try_from(hello.answer_bytes_max).unwrap_or(usize::MAX);
        let welcome = self.session.welcome(roles, server.store.id(), NAME);
        frame::put(&mut self.out, kind::WELCOME, 0, |out| welcome.encode(out));
        Ok(())
    }

    fn request(&mut self, id: u32, request: Request<'_>) {
        let kind = request.kind();
        match request {
            Request::Ask(terms, question) => {
                let gate = self.gate(terms, &question);
                if self.pending_bytes > PENDING_BYTES_MAX {
                    let text = "answers to this connection wait to be taken; take them first";
                    self.end(id, &Failure::passing(Code::Busy, text, 100));
                    return;
                }
                if answering::weight(&question) == Weight::Light {
                    self.answer_here(id, &question, gate);
                } else {
                    self.answer_elsewhere(id, Request::Ask(terms, question), gate);
                }
            }
            Request::Producer { .. } | Request::AppendLines { .. } | Request::AppendLooks { .. } => {
                let mut payload = Vec::new();
                request.encode(&mut payload);
                let room = self.room.take();
                self.appends.push_back(Append { id, kind, payload, room, began: now() });
                self.append_next();
            }
            Request::Flush | Request::Compact => {
                let (server, replies) = (self.server.clone(), self.replies.clone());
                tokio::task::spawn_blocking(move || {
                    let done = if kind == kind::FLUSH { server.store.flush() } else { server.store.compact() };
                    let end = done.map(|()| Done::Plain(kind)).map_err(|error| answering::failure(&error));
                    let _ = replies.send(last(id, end));
                });
            }
            Request::Shutdown => {
                tracing::info!(connection = self.number, "asked to stop");
                let frame = last(id, Ok(Done::Plain(kind)));
                self.reply(frame);
                self.server.stop.notify_one();
            }
        }
    }

    fn reply(&mut self, reply: Reply) {
        match reply {
            Reply::Part(gate, frame) => {
                let bytes = frame.len() - HEADER_BYTES;
                let id = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]);
                // What was cancelled, or took too long, is no longer wanted.
                if self.running.get(&id).is_some_and(|running| Arc::ptr_eq(&running.gate, &gate)) {
                    self.out.extend_from_slice(&frame);
                    self.parts_out.push((gate, bytes));
                }
            }
            Reply::End(id, frame, failed) => {
                if self.session.end(id) {
                    if let Some(running) = self.running.remove(&id) {
                        self.server.counts.heavy.record(running.began.elapsed());
                    }
                    self.out.extend_from_slice(&frame);
                    let counts = &self.server.counts;
                    match failed {
                        Some(failure) => counts.fail(&failure),
                        None => Counts::add(&counts.requests, 1),
                    }
                }
            }
            Reply::Appended => {
                self.is_appending = false;
                self.append_next();
            }
        }
    }
}

/// The last frame of a request.
fn last(id: u32, end: Result<Done, Failure>) -> Reply {
    let mut out = Vec::new();
    let failed = end.as_ref().err().cloned();
    match end {
        Ok(done) => frame::put(&mut out, kind::DONE, id, |out| done.encode(out)),
        Err(failure) => {
            frame::put(&mut out, kind::ERROR, id, |out| failure.encode(out));
        }
    }
    Reply::End(id, out, failed)
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.connected.fetch_sub(1, Ordering::Relaxed);
    }
}
