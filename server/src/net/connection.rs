//! One connection with its socket: what comes is taken in order, answers go out as the client takes them.
//!
//! Invariants:
//! - Bytes of a large request are read only once there is room for them; all else that a connection holds is bounded by its
//!   requests and by `PENDING_BYTES_MAX`.
//! - Every request has one last frame. What a client no longer wants, or takes too slowly, is given up.
//! - Questions to one host are answered here, at once; questions to all hosts wait for their turn and are answered elsewhere.
//! - A producer's batches are placed in the order in which they came, and acknowledged once they are durable.

use crate::answering::{self, Weight, answer};
use crate::gate::{Gate, slow, timed_out};
use crate::producers::{Content, Slot};
use crate::server::{Counts, NAME, Server};
use crate::session::{Event, Session, speaks};
use crate::time::now;
use erstwhile_engine::ingest::producer::Sent;
use erstwhile_wire::answer::{Appended, Done};
use erstwhile_wire::failure::{Code, Failure};
use erstwhile_wire::frame::{self, HEADER_BYTES, SMALL_BYTES_MAX, kind};
use erstwhile_wire::hello::{Hello, Roles};
use erstwhile_wire::request::{Question, Request, Terms};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of answers that wait for credit; with more, new questions are refused.
const PENDING_BYTES_MAX: usize = 8 << 20;

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

/// Batches that are placed before any is waited for.
const APPENDS_AT_ONCE: usize = 32;

/// What comes back from elsewhere.
enum Reply {
    /// A part.
    Part(Arc<Gate>, Vec<u8>),
    /// A last frame; why the request failed, if it did.
    End(u32, Vec<u8>, Option<Failure>),
    /// The batches that were handed over are done.
    Appended,
}

/// An answer that waits for credit.
struct Pending {
    frames: VecDeque<Vec<u8>>,
    /// The last frame.
    end: Vec<u8>,
    since: Instant,
}

/// A request under way.
struct Running {
    gate: Arc<Gate>,
    pending: Option<Pending>,
    began: Instant,
}

/// Something of a producer, in its order.
struct Append {
    id: u32,
    kind: u8,
    payload: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
    began: Instant,
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

    /// When something must be done though nothing comes.
    fn wakes_at(&self) -> Instant {
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

    fn look_at_clock(&mut self) -> Result<(), Ended> {
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
                let gate = self.gate(terms);
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

    fn gate(&self, terms: Terms) -> Arc<Gate> {
        let limits = &self.server.config.limits;
        let millis = match terms.millis_max {
            0 => limits.request_millis_max,
            millis => millis.min(limits.request_millis_max),
        };
        let deadline = now() + Duration::from_millis(millis);
        let stall = Duration::from_millis(limits.stall_millis_max);
        Arc::new(Gate::new(terms.window, limits.window_bytes_max, deadline, stall))
    }

    /// Answers a light question.
    fn answer_here(&mut self, id: u32, question: &Question<'_>, gate: Arc<Gate>) {
        let began = now();
        let server = self.server.clone();
        let view = server.store.view();
        let mut frames: VecDeque<Vec<u8>> = VecDeque::new();
        let Connection { out, parts_out, answer_bytes_max, .. } = &mut *self;
        let end = answer(&view, question, id, *answer_bytes_max, &|| server.stats(), &mut |frame| {
            let bytes = frame.len() - HEADER_BYTES;
            if frames.is_empty() && gate.try_pass(bytes) {
                out.extend_from_slice(&frame);
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
    fn answer_elsewhere(&mut self, id: u32, request: Request<'_>, gate: Arc<Gate>) {
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
                let end = answer(&view, &question, id, answer_bytes_max, &|| server.stats(), &mut |frame| {
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

    /// Hands the batches that wait over, if none are under way.
    fn append_next(&mut self) {
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

    /// Sends what waits of an answer, as far as its credit goes.
    fn send_pending(&mut self, id: u32) {
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
    fn fail(&mut self, id: u32, failure: &Failure) {
        if let Some(running) = self.running.remove(&id) {
            running.gate.end();
            if let Some(pending) = running.pending {
                self.pending_bytes -= pending.frames.iter().map(Vec::len).sum::<usize>();
            }
        }
        self.end(id, failure);
    }

    /// The last frame of a request that failed.
    fn end(&mut self, id: u32, failure: &Failure) {
        if self.session.end(id) {
            self.server.counts.fail(failure);
            frame::put(&mut self.out, kind::ERROR, id, |out| failure.encode(out));
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
            Ok(Placed::Opened(last_in)) => {
                let _ = replies.send(last(id, Ok(Done::Producer(last_in))));
            }
            Ok(Placed::Batch(slot, batch)) => sent.push((id, kind, slot, batch, began)),
            Err(failure) => {
                let _ = replies.send(last(id, Err(failure)));
            }
        }
    }
    sent
}

/// A batch that has its place: its request, that one's type, whose, what to wait for, and since when.
type Waiting = (u32, u8, Arc<Slot>, Sent, Instant);

/// Waits for batches, while others are placed.
fn wait_all(server: &Server, sent: Vec<Waiting>, replies: &mpsc::UnboundedSender<Reply>) {
    for (id, kind, slot, batch, began) in sent {
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
        let _ = replies.send(last(id, end));
    }
}

/// What became of something of a producer.
enum Placed {
    /// It is served, and so much is in.
    Opened(u64),
    /// A batch has its place.
    Batch(Arc<Slot>, Sent),
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
            let (slot, found) = server.producers.open(&server.store, producer, owner, (first, last), now_nanos)?;
            slots.lock().insert(producer, slot);
            return Ok(Placed::Opened(found));
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.connected.fetch_sub(1, Ordering::Relaxed);
    }
}
