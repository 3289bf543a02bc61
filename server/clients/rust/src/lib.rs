//! Asks an erstwhile server, and appends to it, over one connection that blocks.
//!
//! ```no_run
//! use erstwhile_client::{Client, Connect};
//! use erstwhile_engine::fact::Name;
//! use erstwhile_engine::read::question::{Subject, WhoQuestion};
//!
//! # fn main() -> Result<(), erstwhile_client::Error> {
//! let mut client = Client::connect(&Connect::to("127.0.0.1:7787").token("…"))?;
//! let subject = Subject::Ip(Name::from(&b"10.0.0.7"[..]));
//! let who = client.who(&WhoQuestion { subject, at: 1_545_645_600, host: None, known_at: None })?;
//! for held in &who.rows {
//!     println!("{}", String::from_utf8_lossy(&held.version.host));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Answers are the engine's own. A client asks one thing after the other; who wants several under way at once uses
//! [`Client::send`] and [`Client::receive`].
//!
//! Invariants:
//! - What a server sends leads to an answer or an error, never to a panic, and takes no more memory than the answer has.
//! - After an error of the connection nothing more is read from it.

mod transport;

pub use erstwhile_wire::answer::{Appended, Done};
pub use erstwhile_wire::failure::{Code, Failure};
pub use erstwhile_wire::hello::Welcome;
pub use erstwhile_wire::part::Part;
pub use erstwhile_wire::request::{Chunk, Lookup, Question, Request, Terms};
pub use erstwhile_wire::weight::Weighed;
pub use transport::TlsOptions;

use erstwhile_engine::fact::{Delivery, Name};
use erstwhile_engine::read::answer::{
    self, Diff, Held, History, HistoryRow, HostEntry, Link, State, StreamEntry, TableEntry, What, Who,
};
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, LookupQuestion, StateQuestion, WhatQuestion, WhoQuestion,
};
use erstwhile_engine::read::stats::{Stats, StatsQuestion};
use erstwhile_wire::frame::{self, kind};
use erstwhile_wire::hello::{Hello, TOKEN_BYTES_MAX, VERSION};
use erstwhile_wire::request::{Key, role_of};
use erstwhile_wire::value::{Malformed, Writer};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;
use transport::Transport;

/// The longest payload that is taken.
const ANSWER_BYTES_MAX: u64 = 128 << 20;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Why something was not answered.
#[derive(Debug)]
pub enum Error {
    /// The system refused, or the other side is gone.
    Io {
        /// What was tried.
        doing: String,
        /// The refusal.
        source: io::Error,
    },
    /// What came is not what the protocol says.
    Protocol(String),
    /// Nothing came, or nothing was taken, for as long as was to be waited.
    Silent {
        /// Host and port.
        address: String,
        /// So long.
        waited: Duration,
        /// Whether a server had answered there before.
        welcomed: bool,
    },
    /// What was given cannot be sent.
    Unusable(String),
    /// The server says no.
    Refused(Failure),
}

impl Error {
    /// The server's code, if it was the server that refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Refused(failure) => failure.code(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { doing, source } => write!(f, "{doing}: {source}"),
            Error::Protocol(text) => write!(f, "the server's answer makes no sense: {text}"),
            Error::Silent { address, waited, welcomed } => {
                write!(f, "no answer from {address} within {} s", waited.as_secs_f64())?;
                if *welcomed { Ok(()) } else { f.write_str("; is an erstwhile server listening there?") }
            }
            Error::Unusable(text) => f.write_str(text),
            Error::Refused(failure) => f.write_str(&failure.message),
        }
    }
}

/// A wait that came to its end.
pub(crate) fn is_late(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind())
}

impl std::error::Error for Error {}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Error {
        Error::Protocol(malformed.to_string())
    }
}

/// Where a server is, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Host and port.
    pub address: String,
    /// What proves who asks.
    pub token: Vec<u8>,
    /// Transport security; `None`: plain.
    pub tls: Option<TlsOptions>,
    /// Who asks, for the server's log.
    pub agent: String,
    /// How long to wait for anything to come.
    pub timeout: Duration,
    /// How long to wait for the connection and for each step until the welcome, if that is less: a server that is well
    /// answers at once, whatever it has to do.
    pub greeting: Duration,
}

impl Connect {
    /// To a host and port, plain and without a token.
    pub fn to(address: &str) -> Connect {
        Connect {
            address: address.to_owned(),
            token: Vec::new(),
            tls: None,
            agent: concat!("erstwhile-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeout: Duration::from_secs(70),
            greeting: Duration::from_secs(10),
        }
    }

    /// With a token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Connect {
        self.token = token.as_bytes().to_vec();
        self
    }

    /// How long a server may take for each step until its welcome.
    pub(crate) fn patience(&self) -> Duration {
        self.greeting.min(self.timeout)
    }

    /// What is no token is not sent, since a server would only say that a frame of this size is too long.
    fn check_token(&self) -> Result<(), Error> {
        let is_line = !self.token.iter().any(u8::is_ascii_control);
        if self.token.len() <= TOKEN_BYTES_MAX && is_line {
            return Ok(());
        }
        Err(Error::Unusable(format!(
            "what was given as the token is none: it has {} bytes, and a token is one line of at most {TOKEN_BYTES_MAX} bytes; \
             is it of the right file?",
            self.token.len()
        )))
    }
}

/// What came of a request.
#[derive(Debug)]
pub enum Incoming {
    /// A part of its answer.
    Part(Part),
    /// A part of what the store weighs.
    Weighed(Weighed),
    /// The end of its answer.
    Done(Done),
    /// It failed.
    Failed(Failure),
}

/// A connection to a server.
pub struct Client {
    transport: Transport,
    address: String,
    welcome: Welcome,
    buffer: Vec<u8>,
    /// From here on the buffer was not taken.
    taken: usize,
    next_id: u32,
    /// Bytes of parts that came of requests since credit was given.
    owed: HashMap<u32, u64>,
    is_parting: bool,
    /// Whether the server said who it is.
    welcomed: bool,
    timeout: Duration,
}

impl Client {
    /// Connects and is welcomed.
    pub fn connect(to: &Connect) -> Result<Client, Error> {
        to.check_token()?;
        let transport = Transport::connect(to)?;
        let welcome = Welcome {
            version: 0,
            capabilities: 0,
            roles: Default::default(),
            store: [0; 16],
            server: Vec::new(),
            limits: erstwhile_wire::hello::Limits {
                request_bytes_max: 0,
                requests_max: 0,
                window_bytes_max: 1,
                request_millis_max: 0,
                idle_millis_max: 0,
            },
        };
        let (address, buffer, owed) = (to.address.clone(), Vec::new(), HashMap::new());
        let (taken, next_id, is_parting, welcomed) = (0, 0, false, false);
        let timeout = to.patience();
        let mut client =
            Client { transport, address, welcome, buffer, taken, next_id, owed, is_parting, welcomed, timeout };
        let agent = to.agent.as_bytes();
        let hello = Hello {
            oldest: VERSION,
            newest: VERSION,
            capabilities: 0,
            answer_bytes_max: ANSWER_BYTES_MAX,
            token: to.token.clone(),
            agent: agent[..agent.len().min(erstwhile_wire::hello::AGENT_BYTES_MAX)].to_vec(),
        };
        let mut out = Vec::new();
        frame::put(&mut out, kind::HELLO, 0, |out| hello.encode(out));
        client.write(&out)?;
        client.welcome = client.frame(|kind, _, payload| match kind {
            kind::WELCOME => Ok(Welcome::decode(payload)?),
            kind::ERROR => Err(Error::Refused(Failure::decode(payload)?)),
            kind => Err(Error::Protocol(format!("a frame of type {kind:#04x} instead of a welcome"))),
        })?;
        if client.welcome.version != VERSION {
            return Err(Error::Protocol(format!("it speaks version {}", client.welcome.version)));
        }
        (client.welcomed, client.timeout) = (true, to.timeout);
        client.transport.wait_at_most(to.timeout).map_err(|error| client.gone("receive from", error))?;
        Ok(client)
    }

    /// What the server said first.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Whether the server said that it stops.
    pub fn is_parting(&self) -> bool {
        self.is_parting
    }

    fn gone(&self, doing: &str, source: io::Error) -> Error {
        if is_late(&source) {
            return Error::Silent { address: self.address.clone(), waited: self.timeout, welcomed: self.welcomed };
        }
        Error::Io { doing: format!("{doing} {}", self.address), source }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.transport.write_all(bytes).and_then(|()| self.transport.flush());
        written.map_err(|source| self.gone("send to", source))
    }

    /// Waits for a frame: its type, its request, its payload.
    fn frame<T>(&mut self, take: impl FnOnce(u8, u32, &[u8]) -> Result<T, Error>) -> Result<T, Error> {
        loop {
            let limit = |_| ANSWER_BYTES_MAX as usize;
            let found = frame::take(&self.buffer[self.taken..], limit);
            match found.map_err(|fault| Error::Protocol(fault.to_string()))? {
                Some((frame, bytes)) => {
                    let (kind, id) = (frame.kind, frame.id);
                    let taken = take(kind, id, frame.payload);
                    self.taken += bytes;
                    if self.taken == self.buffer.len() {
                        self.buffer.clear();
                        self.taken = 0;
                    }
                    return taken;
                }
                None => self.fill()?,
            }
        }
    }

    /// Reads more.
    fn fill(&mut self) -> Result<(), Error> {
        self.buffer.drain(..std::mem::take(&mut self.taken));
        let start = self.buffer.len();
        let missing = frame::length(&self.buffer).unwrap_or(0).saturating_sub(start);
        self.buffer.resize(start + missing.clamp(READ_BYTES, 16 * READ_BYTES), 0);
        let read = self.transport.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => {
                let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection");
                Err(self.gone("receive from", source))
            }
            Ok(_) => Ok(()),
            Err(source) if source.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(source) => Err(self.gone("receive from", source)),
        }
    }

    /// Sends a request; tells its number.
    pub fn send(&mut self, request: &Request<'_>) -> Result<u32, Error> {
        let mut out = Vec::new();
        let id = self.put(request, &mut out);
        self.write(&out)?;
        Ok(id)
    }

    /// Sends several requests at once; tells the number of the first, which the others follow.
    pub fn send_all(&mut self, requests: &[Request<'_>]) -> Result<u32, Error> {
        let mut out = Vec::new();
        let ids: Vec<u32> = requests.iter().map(|request| self.put(request, &mut out)).collect();
        self.write(&out)?;
        Ok(ids.first().copied().unwrap_or(0))
    }

    fn put(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> u32 {
        debug_assert!(role_of(request.kind()).is_some());
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        frame::put(out, request.kind(), self.next_id, |out| request.encode(out));
        self.next_id
    }

    /// Waits for what comes next of any request, and gives credit for parts.
    pub fn receive(&mut self) -> Result<(u32, Incoming), Error> {
        loop {
            let window = self.welcome.limits.window_bytes_max;
            let (id, bytes, incoming) = self.frame(|kind, id, payload| {
                let incoming = match kind {
                    kind::PART if Weighed::is_in(payload) => Some(Incoming::Weighed(Weighed::decode(payload)?)),
                    kind::PART => Some(Incoming::Part(Part::decode(payload)?)),
                    kind::DONE => Some(Incoming::Done(Done::decode(payload)?)),
                    kind::ERROR => Some(Incoming::Failed(Failure::decode(payload)?)),
                    kind::FAREWELL | kind::PONG => None,
                    kind => return Err(Error::Protocol(format!("a frame of type {kind:#04x}"))),
                };
                Ok((id, payload.len() as u64, incoming.ok_or(kind)))
            })?;
            match incoming {
                Err(kind) => self.is_parting |= kind == kind::FAREWELL,
                Ok(Incoming::Failed(failure)) if id == 0 => return Err(Error::Refused(failure)),
                Ok(part @ (Incoming::Part(_) | Incoming::Weighed(_))) => {
                    let owed = self.owed.entry(id).or_default();
                    *owed += bytes;
                    if *owed >= window / 2 {
                        let owed = std::mem::take(owed);
                        let mut out = Vec::new();
                        frame::put(&mut out, kind::CREDIT, id, |out| Writer::new(out).uint(owed));
                        self.write(&out)?;
                    }
                    return Ok((id, part));
                }
                Ok(last) => {
                    self.owed.remove(&id);
                    return Ok((id, last));
                }
            }
        }
    }

    /// The same, but waits so long at most; `None` if nothing came.
    pub fn receive_within(&mut self, wait: Duration) -> Result<Option<(u32, Incoming)>, Error> {
        let set =
            |client: &Client, wait| client.transport.wait_at_most(wait).map_err(|e| client.gone("receive from", e));
        set(self, wait)?;
        let received = self.receive();
        set(self, self.timeout)?;
        match received {
            Err(Error::Silent { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Asks, and waits for the end of the answer; parts are handed on as they come.
    pub fn ask(&mut self, request: &Request<'_>, mut each: impl FnMut(Part)) -> Result<Done, Error> {
        self.ask_all(request, |incoming| {
            if let Incoming::Part(part) = incoming {
                each(part);
            }
        })
    }

    /// The same with parts of every sort.
    fn ask_all(&mut self, request: &Request<'_>, mut each: impl FnMut(Incoming)) -> Result<Done, Error> {
        let asked = self.send(request)?;
        loop {
            match self.receive()? {
                (id, _) if id != asked => {
                    return Err(Error::Protocol(format!("an answer to request {id}, which is not under way")));
                }
                (_, part @ (Incoming::Part(_) | Incoming::Weighed(_))) => each(part),
                (_, Incoming::Done(done)) if done.kind() == request.kind() => return Ok(done),
                (_, Incoming::Done(done)) => {
                    return Err(Error::Protocol(format!("the end of a request of type {:#04x}", done.kind())));
                }
                (_, Incoming::Failed(failure)) => return Err(Error::Refused(failure)),
            }
        }
    }

    fn question(&mut self, question: Question<'_>, each: impl FnMut(Part)) -> Result<Done, Error> {
        self.ask(&Request::Ask(Terms::default(), question), each)
    }

    /// Rows at T with the end of their answer.
    fn held(&mut self, question: Question<'_>) -> Result<(Vec<Held>, Done), Error> {
        let mut rows = Vec::new();
        let done = self.question(question, |part| match part {
            Part::Held(more) if rows.is_empty() => rows = more,
            Part::Held(more) => rows.extend(more),
            _ => {}
        })?;
        Ok((rows, done))
    }

    /// The rows of a table at T.
    pub fn state(&mut self, q: &StateQuestion) -> Result<State, Error> {
        match self.held(Question::State(q.clone()))? {
            (rows, Done::State { table, at, known_at, coverage, cost }) => {
                Ok(State { table, at, known_at, rows, coverage, cost })
            }
            (_, done) => Err(other(&done)),
        }
    }

    /// The same, with the rows handed on as they come; the answer has none.
    pub fn state_in_parts(&mut self, q: &StateQuestion, mut each: impl FnMut(Vec<Held>)) -> Result<State, Error> {
        let done = self.question(Question::State(q.clone()), |part| {
            if let Part::Held(more) = part {
                each(more);
            }
        })?;
        match done {
            Done::State { table, at, known_at, coverage, cost } => {
                Ok(State { table, at, known_at, rows: Vec::new(), coverage, cost })
            }
            done => Err(other(&done)),
        }
    }

    /// Every candidate for who had an address or a uid at T.
    pub fn who(&mut self, q: &WhoQuestion) -> Result<Who, Error> {
        match self.held(Question::Who(q.clone()))? {
            (rows, Done::Who { question, at, known_at, coverage, cost }) => {
                Ok(Who { question, at, known_at, rows, coverage, cost })
            }
            (_, done) => Err(other(&done)),
        }
    }

    /// Which device was behind a path at T.
    pub fn what(&mut self, q: &WhatQuestion) -> Result<What, Error> {
        match self.held(Question::What(q.clone()))? {
            (rows, Done::What { question, at, known_at, verdict, links: ends, coverage, cost }) => {
                let (mut rows, mut links) = (rows.into_iter(), Vec::new());
                for end in ends {
                    let count = usize::try_from(end.rows).unwrap_or(usize::MAX);
                    let of_link: Vec<Held> = rows.by_ref().take(count).collect();
                    if of_link.len() != count {
                        return Err(Error::Protocol("fewer rows than its links have".to_owned()));
                    }
                    links.push(Link { table: end.table, rows: of_link, missing: end.missing });
                }
                Ok(What { question, at, known_at, verdict, links, coverage, cost })
            }
            (_, done) => Err(other(&done)),
        }
    }

    /// The versions, or events, of a table in a span.
    pub fn history(&mut self, q: &HistoryQuestion) -> Result<History, Error> {
        let mut rows = Vec::new();
        let done = self.question(Question::History(q.clone()), |part| match part {
            Part::Versions(versions) => rows.extend(versions.into_iter().map(HistoryRow::Version)),
            Part::Events(events) => rows.extend(events.into_iter().map(HistoryRow::Event)),
            _ => {}
        })?;
        match done {
            Done::History { events: _, table, from, to, known_at, cost } => {
                Ok(History { table, from, to, known_at, rows, cost })
            }
            done => Err(other(&done)),
        }
    }

    /// What changed between two times.
    pub fn diff(&mut self, q: &DiffQuestion) -> Result<Diff, Error> {
        let mut rows = Vec::new();
        let done = self.question(Question::Diff(q.clone()), |part| {
            if let Part::Changes(more) = part {
                rows.extend(more);
            }
        })?;
        match done {
            Done::Diff { table, host, from, to, known_at, cost } => {
                Ok(Diff { table, host, from, to, known_at, rows, cost })
            }
            done => Err(other(&done)),
        }
    }

    /// The hosts.
    pub fn hosts(&mut self, q: &ListQuestion) -> Result<Vec<HostEntry>, Error> {
        let mut all = Vec::new();
        self.question(Question::Hosts(q.clone()), |part| {
            if let Part::Hosts(more) = part {
                all.extend(more);
            }
        })?;
        Ok(all)
    }

    /// The tables.
    pub fn tables(&mut self, q: &ListQuestion) -> Result<Vec<TableEntry>, Error> {
        let mut all = Vec::new();
        self.question(Question::Tables(q.clone()), |part| {
            if let Part::Tables(more) = part {
                all.extend(more);
            }
        })?;
        Ok(all)
    }

    /// The streams with their breaks.
    pub fn coverage(&mut self, q: &ListQuestion) -> Result<Vec<StreamEntry>, Error> {
        let mut all = Vec::new();
        self.question(Question::Coverage(q.clone()), |part| {
            if let Part::Streams(more) = part {
                all.extend(more);
            }
        })?;
        Ok(all)
    }

    /// Rows that have a value in a column, for many hosts, values and times at once.
    pub fn lookup(&mut self, q: &LookupQuestion<'_>) -> Result<answer::Lookup, Error> {
        let (mut hosts, mut places): (Vec<&[u8]>, HashMap<&[u8], usize>) = (Vec::new(), HashMap::new());
        let mut keys = Vec::with_capacity(q.keys.len());
        for key in &q.keys {
            let host = *places.entry(key.host).or_insert_with(|| {
                hosts.push(key.host);
                hosts.len() - 1
            });
            keys.push(Key { host, value: key.value, at: key.at });
        }
        let (table, column, known_at): (Name, Name, _) = (q.table.clone(), q.column.clone(), q.known_at);
        let (mut versions, mut hits) = (Vec::new(), Vec::new());
        let question = Question::Lookup(Lookup { table, column, hosts, keys, known_at });
        let done = self.question(question, |part| match part {
            Part::Versions(more) => versions.extend(more),
            Part::Hits(more) => hits.extend(more),
            _ => {}
        })?;
        match done {
            Done::Lookup(cost) => Ok(answer::Lookup { versions, hits, cost }),
            done => Err(other(&done)),
        }
    }

    /// What the server says of itself.
    pub fn stats(&mut self) -> Result<Vec<(String, i64)>, Error> {
        match self.question(Question::Stats, |_| {})? {
            Done::Stats(stats) => Ok(stats),
            done => Err(other(&done)),
        }
    }

    /// Appends as a producer from now on; tells the greatest sequence that is in.
    pub fn producer(&mut self, producer: u128, instance: u128, first: u64, last: u64) -> Result<u64, Error> {
        match self.ask(&Request::Producer { producer, instance, first, last }, |_| {})? {
            Done::Producer(last) => Ok(last),
            done => Err(other(&done)),
        }
    }

    /// Appends lines, and waits until they are durable.
    pub fn append_lines(&mut self, producer: u128, sequence: u64, chunks: Vec<Chunk<'_>>) -> Result<Appended, Error> {
        match self.ask(&Request::AppendLines { producer, sequence, chunks }, |_| {})? {
            Done::Lines(appended) => Ok(appended),
            done => Err(other(&done)),
        }
    }

    /// Appends looks, and waits until they are durable.
    pub fn append_looks(&mut self, producer: u128, sequence: u64, looks: Vec<Delivery>) -> Result<Appended, Error> {
        match self.ask(&Request::AppendLooks { producer, sequence, looks }, |_| {})? {
            Done::Looks(appended) => Ok(appended),
            done => Err(other(&done)),
        }
    }

    /// What is in memory becomes a segment.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.ask(&Request::Flush, |_| {}).map(drop)
    }

    /// All segments become one.
    pub fn compact(&mut self) -> Result<(), Error> {
        self.ask(&Request::Compact, |_| {}).map(drop)
    }

    /// What the store weighs: needs a token that may administrate. Give [`Connect::timeout`] the time that this may take.
    pub fn weigh(&mut self, q: &StatsQuestion) -> Result<Stats, Error> {
        let (mut tables, mut silent, mut holes) = (Vec::new(), Vec::new(), Vec::new());
        let request = Request::Ask(Terms::default(), Question::Weigh(q.clone()));
        let done = self.ask_all(&request, |incoming| match incoming {
            Incoming::Weighed(Weighed::Tables(more)) => tables.extend(more),
            Incoming::Weighed(Weighed::Silent(more)) => silent.extend(more),
            Incoming::Weighed(Weighed::Holes(more)) => holes.extend(more),
            _ => {}
        })?;
        match done {
            Done::Weigh(sums) => {
                let (tables, holes) = (tables.into_iter().collect(), q.holes.then_some(holes));
                Ok(Stats { tables, silent, holes, ..sums })
            }
            done => Err(other(&done)),
        }
    }

    /// The server drains and ends.
    pub fn shutdown(&mut self) -> Result<(), Error> {
        self.ask(&Request::Shutdown, |_| {}).map(drop)
    }
}

fn other(done: &Done) -> Error {
    Error::Protocol(format!("the end of a request of type {:#04x}", done.kind()))
}
