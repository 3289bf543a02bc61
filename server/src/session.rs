//! One connection without its socket: bytes become hellos, requests and the like, in their order and within their limits.
//!
//! Invariants:
//! - Before the welcome there is nothing but a hello, and a short one.
//! - A request is handed out only if its client may make it, and only while there are few enough under way.
//! - Whatever comes, the outcome is an event, a refusal of one request, or the failure that ends the connection.
//!
//! How: [`Session::next`] takes one frame off the front of what came; whoever owns the bytes drops them then.

use erstwhile_wire::failure::{Code, Failure};
use erstwhile_wire::frame::{self, FrameFault, HELLO_BYTES_MAX, SMALL_BYTES_MAX, kind};
use erstwhile_wire::hello::{Hello, Limits, Roles, VERSION, Welcome};
use erstwhile_wire::request::{PING_BYTES_MAX, Request, credit, is_large, role_of};
use std::collections::BTreeSet;

/// What a frame of a client means.
#[derive(Debug)]
pub enum Event<'b> {
    /// It says who it is; [`Session::welcome`] or the end must follow.
    Hello(Hello),
    /// It wants something; [`Session::end`] must be told when it is answered.
    Request(u32, Request<'b>),
    /// It wants something that it does not get.
    Refused(u32, Failure),
    /// It wants a request's answer no more.
    Cancel(u32),
    /// It takes so many bytes more of a request's answer.
    Credit(u32, u64),
    /// It wants the same bytes back.
    Ping(u32, &'b [u8]),
    /// It wants nothing more.
    Goodbye,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came.
    New,
    /// A hello came and was not answered.
    Asked,
    /// Welcome.
    Open,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    state: State,
    roles: Roles,
    /// Requests under way.
    under_way: BTreeSet<u32>,
    draining: bool,
}

impl Session {
    /// A connection that has just begun.
    pub fn new(limits: Limits) -> Session {
        Session { limits, state: State::New, roles: Roles::default(), under_way: BTreeSet::new(), draining: false }
    }

    /// How long the payload of a frame of a type may be now.
    fn limit(&self, kind: u8) -> usize {
        match self.state {
            State::New | State::Asked => HELLO_BYTES_MAX,
            State::Open if is_large(kind) && role_of(kind).is_some_and(|role| self.roles.cover(role)) => {
                usize::try_from(self.limits.request_bytes_max).unwrap_or(usize::MAX)
            }
            State::Open => SMALL_BYTES_MAX,
        }
    }

    /// Takes a frame off the front of what came; `None` if none is all there. Tells how many bytes it had. A failure ends
    /// the connection.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<(Event<'b>, usize)>, Failure> {
        let Some((frame, taken)) = frame::take(bytes, |kind| self.limit(kind)).map_err(frame_failure)? else {
            return Ok(None);
        };
        let malformed = |what: String| {
            let text = format!("a frame of type {:#04x} for request {}: {what}", frame.kind, frame.id);
            Failure::new(Code::Malformed, text)
        };
        if self.state != State::Open {
            if frame.kind != kind::HELLO || frame.id != 0 || self.state == State::Asked {
                return Err(malformed("a connection begins with one HELLO, and goes on once it is welcome".to_owned()));
            }
            let hello = Hello::decode(frame.payload).map_err(|error| malformed(error.to_string()))?;
            self.state = State::Asked;
            return Ok(Some((Event::Hello(hello), taken)));
        }
        let no_payload = || match frame.payload {
            [] => Ok(()),
            _ => Err(malformed("it has a payload".to_owned())),
        };
        let event = match frame.kind {
            kind::PING if frame.payload.len() <= PING_BYTES_MAX => Event::Ping(frame.id, frame.payload),
            kind::PING => return Err(malformed(format!("it has more than {PING_BYTES_MAX} bytes"))),
            kind::CANCEL => {
                no_payload()?;
                Event::Cancel(frame.id)
            }
            kind::CREDIT => {
                Event::Credit(frame.id, credit(frame.payload).map_err(|error| malformed(error.to_string()))?)
            }
            kind::GOODBYE => {
                no_payload()?;
                Event::Goodbye
            }
            kind::HELLO => return Err(malformed("the connection is welcome already".to_owned())),
            _ => self.request(frame.kind, frame.id, frame.payload, malformed)?,
        };
        Ok(Some((event, taken)))
    }

    fn request<'b>(
        &mut self,
        kind: u8,
        id: u32,
        payload: &'b [u8],
        malformed: impl Fn(String) -> Failure,
    ) -> Result<Event<'b>, Failure> {
        if id == 0 || self.under_way.contains(&id) {
            let what = if id == 0 { "0 is no number of a request" } else { "a request with this number is under way" };
            return Err(Failure::new(Code::Usage, format!("request {id}: {what}; choose another")));
        }
        let refused = |failure| Ok(Event::Refused(id, failure));
        let Some(role) = role_of(kind) else {
            let text = format!("this server knows no requests of type {kind:#04x}; it may be older than the client");
            return refused(Failure::new(Code::Unsupported, text));
        };
        if !self.roles.cover(role) {
            let (wanted, has) = (words_of(role), words_of(self.roles));
            let text = format!("this needs a token with the role {wanted}; this connection has {has}");
            return refused(Failure::new(Code::Forbidden, text));
        }
        if self.draining {
            return refused(Failure::passing(Code::Draining, "the server stops; connect again later", 1000));
        }
        if self.under_way.len() as u64 >= self.limits.requests_max {
            let text = format!("{} requests are under way, which is the most; wait for one", self.under_way.len());
            return refused(Failure::passing(Code::TooMany, text, 10));
        }
        let request = Request::decode(kind, payload).map_err(|error| malformed(error.to_string()))?;
        self.under_way.insert(id);
        Ok(Event::Request(id, request))
    }

    /// The client may go on: with these roles, and by the limits that it was told.
    pub fn welcome(&mut self, roles: Roles, store: [u8; 16], server: &str) -> Welcome {
        (self.state, self.roles) = (State::Open, roles);
        Welcome {
            version: VERSION,
            capabilities: 0,
            roles,
            store,
            server: server.as_bytes().to_vec(),
            limits: self.limits,
        }
    }

    /// Whether the client was told to go on.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// A request has its last frame; tells whether it was under way.
    pub fn end(&mut self, id: u32) -> bool {
        self.under_way.remove(&id)
    }

    /// How many requests are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// New requests are refused from now on.
    pub fn drain(&mut self) {
        self.draining = true;
    }
}

/// Whether both sides know a version.
pub fn speaks(hello: &Hello) -> Result<(), Failure> {
    if hello.oldest <= VERSION && VERSION <= hello.newest {
        return Ok(());
    }
    let text = format!(
        "this server speaks version {VERSION}, the client {} to {}; use a client of the server's release",
        hello.oldest, hello.newest
    );
    Err(Failure::new(Code::Version, text))
}

/// The words for roles.
pub fn words_of(roles: Roles) -> String {
    let words = [(Roles::INGEST, "ingest"), (Roles::READ, "read"), (Roles::ADMIN, "admin")];
    let words: Vec<&str> = words.iter().filter(|(role, _)| roles.cover(*role)).map(|(_, word)| *word).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" and ") }
}

fn frame_failure(fault: FrameFault) -> Failure {
    let code = match fault {
        FrameFault::NoFrame => Code::Malformed,
        FrameFault::TooLarge { .. } => Code::TooLarge,
        FrameFault::Checksum { .. } => Code::Checksum,
    };
    Failure::new(code, fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        request_bytes_max: 1 << 20,
        requests_max: 2,
        window_bytes_max: 1 << 20,
        request_millis_max: 1000,
        idle_millis_max: 1000,
    };

    fn frame(kind: u8, id: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::put(&mut out, kind, id, |out| out.extend_from_slice(payload));
        out
    }

    fn hello() -> Vec<u8> {
        let hello = Hello {
            oldest: 1,
            newest: 1,
            capabilities: 0,
            answer_bytes_max: 1 << 20,
            token: Vec::new(),
            agent: b"test".to_vec(),
        };
        let mut payload = Vec::new();
        hello.encode(&mut payload);
        frame(kind::HELLO, 0, &payload)
    }

    fn open(roles: Roles) -> Session {
        let mut session = Session::new(LIMITS);
        assert!(matches!(session.next(&hello()), Ok(Some((Event::Hello(_), _)))));
        session.welcome(roles, [0; 16], "test");
        session
    }

    fn stats(id: u32) -> Vec<u8> {
        frame(kind::STATS, id, &[0, 0, 0])
    }

    fn refusal(session: &mut Session, bytes: &[u8]) -> Option<Code> {
        match session.next(bytes) {
            Ok(Some((Event::Refused(_, failure), _))) => failure.code(),
            Ok(_) => None,
            Err(failure) => panic!("{failure}"),
        }
    }

    #[test]
    fn nothing_comes_before_the_hello_and_the_welcome() {
        let mut session = Session::new(LIMITS);
        assert_eq!(session.next(&stats(1)).unwrap_err().code(), Some(Code::Malformed));
        let long = frame(kind::HELLO, 0, &[0; HELLO_BYTES_MAX + 1]);
        assert_eq!(session.next(&long[..16]).unwrap_err().code(), Some(Code::TooLarge));
        let mut session = Session::new(LIMITS);
        assert!(session.next(&hello()).is_ok());
        assert_eq!(session.next(&stats(1)).unwrap_err().code(), Some(Code::Malformed), "not welcome yet");
        let mut session = open(Roles::ALL);
        assert_eq!(session.next(&hello()).unwrap_err().code(), Some(Code::Malformed), "welcome already");
    }

    #[test]
    fn roles_bound_what_may_be_asked_and_how_much_may_be_sent() {
        let mut reader = open(Roles::READ);
        assert_eq!(refusal(&mut reader, &frame(kind::FLUSH, 1, &[])), Some(Code::Forbidden));
        assert_eq!(refusal(&mut reader, &stats(1)), None);
        let append = frame(kind::APPEND_LINES, 2, &vec![0; SMALL_BYTES_MAX + 1]);
        assert_eq!(reader.next(&append[..16]).unwrap_err().code(), Some(Code::TooLarge), "it may append nothing");
        let mut sender = open(Roles::INGEST);
        assert!(matches!(sender.next(&append[..16]), Ok(None)));
        assert_eq!(refusal(&mut sender, &stats(1)), Some(Code::Forbidden));
    }

    #[test]
    fn only_so_many_requests_are_under_way_each_with_its_own_number() {
        let mut session = open(Roles::ALL);
        assert_eq!(refusal(&mut session, &stats(1)), None);
        assert_eq!(session.next(&stats(1)).unwrap_err().code(), Some(Code::Usage));
        assert_eq!(session.next(&stats(0)).unwrap_err().code(), Some(Code::Usage));
        assert_eq!(refusal(&mut session, &stats(2)), None);
        assert_eq!(refusal(&mut session, &stats(3)), Some(Code::TooMany));
        assert!(session.end(1) && !session.end(1));
        assert_eq!(refusal(&mut session, &stats(1)), None, "a number may be used again");
        session.end(1);
        session.drain();
        assert_eq!(refusal(&mut session, &stats(3)), Some(Code::Draining));
        assert_eq!(refusal(&mut session, &frame(0x40, 4, b"later")), Some(Code::Unsupported));
        assert!(matches!(session.next(&frame(kind::PING, 9, b"x")), Ok(Some((Event::Ping(9, b"x"), _)))));
    }

    proptest! {
        /// Whatever comes, and however it is cut, the session does not panic and takes no more than there is.
        #[test]
        fn any_bytes_end_in_an_event_or_a_failure(
            frames in prop::collection::vec((any::<u8>(), 0u32..4, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut bytes: Vec<u8> = frames.iter().flat_map(|(kind, id, payload)| frame(*kind, *id, payload)).collect();
            for (at, byte) in noise {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            let (mut session, mut from) = (open(Roles::ALL), 0);
            while let Ok(Some((event, taken))) = session.next(&bytes[from..]) {
                from += taken;
                prop_assert!(from <= bytes.len());
                if let Event::Request(id, _) = event {
                    session.end(id);
                }
            }
        }
    }
}
