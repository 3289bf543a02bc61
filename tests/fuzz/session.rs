//! What a client sends, and what the server does meanwhile: a script of what comes and happens in turn, four bytes or more
//! an entry.
//!
//! | first byte, modulo 8 | |
//! |---|---|
//! | 0 – 3 | a frame comes: its type, the request (modulo 8), the length of the payload, the payload |
//! | 4 | bytes come as they are: two that stand for nothing, their number, the bytes |
//! | 5 | the client is welcome, if it has said hello: its roles (modulo 8) |
//! | 6 | the request of this number (modulo 8) has its last frame |
//! | 7 | the server drains |
//!
//! What must hold:
//! - However the bytes are cut, the session says the same of them, and takes each byte once.
//! - What it hands out is allowed by what came before: by state, roles, limits, numbers under way.
//! - It waits for no more bytes than the longest frame that its client may send.

use crate::drawn;
use erstwhile_server::session::{Event, Session};
use erstwhile_wire::failure::Code;
use erstwhile_wire::frame::{self, HEADER_BYTES, HELLO_BYTES_MAX, SMALL_BYTES_MAX};
use erstwhile_wire::hello::{Limits, Roles};
use erstwhile_wire::request::role_of;
use std::collections::BTreeSet;

const LIMITS: Limits = Limits {
    request_bytes_max: 100_000,
    requests_max: 3,
    window_bytes_max: 1 << 20,
    request_millis_max: 1000,
    idle_millis_max: 1000,
};

/// What happens next.
enum Step {
    Comes(Vec<u8>),
    Welcome(Roles),
    Ends(u32),
    Drains,
}

fn script(mut input: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some((&[what, first, second, third], rest)) = input.split_first_chunk() {
        input = rest;
        match what % 8 {
            5 => steps.push(Step::Welcome(Roles(first % 8))),
            6 => steps.push(Step::Ends(u32::from(second % 8))),
            7 => steps.push(Step::Drains),
            form => {
                let (payload, rest) = input.split_at(usize::from(third).min(input.len()));
                input = rest;
                let mut bytes = Vec::new();
                if form == 4 {
                    bytes.extend_from_slice(payload);
                } else {
                    frame::put(&mut bytes, first, u32::from(second % 8), |out| out.extend_from_slice(payload));
                }
                steps.push(Step::Comes(bytes));
            }
        }
    }
    steps
}

/// Runs an input.
pub fn run(input: &[u8]) {
    let steps = script(input);
    let whole = play(&steps, None);
    assert_eq!(play(&steps, Some(1)), whole, "byte by byte");
    assert_eq!(play(&steps, Some(drawn(input) | 1)), whole, "cut somewhere");
}

/// What is known of a connection beside what the session knows.
struct Known {
    asked: bool,
    open: bool,
    roles: Roles,
    under_way: BTreeSet<u32>,
    draining: bool,
}

/// Plays a script, what comes cut by chance or not at all; tells what the session said, in words.
fn play(steps: &[Step], cut: Option<u64>) -> Vec<String> {
    let mut session = Session::new(LIMITS);
    let mut known =
        Known { asked: false, open: false, roles: Roles::default(), under_way: BTreeSet::new(), draining: false };
    let (mut said, mut waiting, mut chance) = (Vec::new(), Vec::new(), cut.unwrap_or_default());
    for step in steps {
        match step {
            Step::Comes(bytes) => {
                let mut rest = &bytes[..];
                loop {
                    chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let most = match cut {
                        None => rest.len(),
                        Some(1) => 1,
                        Some(_) => 1 + (chance >> 60) as usize,
                    };
                    let (piece, later) = rest.split_at(most.min(rest.len()));
                    rest = later;
                    waiting.extend_from_slice(piece);
                    if !take_all(&mut session, &mut known, &mut waiting, &mut said) {
                        return said;
                    }
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            Step::Welcome(roles) if known.asked && !known.open => {
                let welcome = session.welcome(*roles, [7; 16], "test");
                assert_eq!((welcome.roles, welcome.limits), (*roles, LIMITS));
                (known.open, known.roles) = (true, *roles);
            }
            Step::Welcome(_) => {}
            Step::Ends(id) => assert_eq!(session.end(*id), known.under_way.remove(id)),
            Step::Drains => {
                session.drain();
                known.draining = true;
            }
        }
        assert_eq!(session.under_way(), known.under_way.len());
        assert_eq!(session.is_open(), known.open);
    }
    said
}

/// Takes what is there whole; tells whether the connection goes on.
fn take_all(session: &mut Session, known: &mut Known, waiting: &mut Vec<u8>, said: &mut Vec<String>) -> bool {
    loop {
        match session.next(waiting) {
            Ok(None) => {
                let most = match known.open {
                    false => HELLO_BYTES_MAX,
                    true if known.roles == Roles::default() => SMALL_BYTES_MAX,
                    true => LIMITS.request_bytes_max as usize,
                };
                let length = waiting.get(..HEADER_BYTES).and_then(frame::length).unwrap_or_default();
                assert!(length <= HEADER_BYTES + most, "it waits for {length} bytes");
                assert!(waiting.len() < length.max(HEADER_BYTES), "{} bytes wait, of {length}", waiting.len());
                return true;
            }
            Ok(Some((event, taken))) => {
                assert!((HEADER_BYTES..=waiting.len()).contains(&taken));
                said.push(format!("{taken} {event:?}"));
                let id = u32::from_le_bytes([waiting[8], waiting[9], waiting[10], waiting[11]]);
                known.see(&event, waiting[4], id);
                waiting.drain(..taken);
            }
            Err(failure) => {
                said.push(format!("{failure:?}"));
                return false;
            }
        }
    }
}

impl Known {
    /// What the session handed out of a frame is allowed.
    fn see(&mut self, event: &Event<'_>, kind: u8, id: u32) {
        if let Event::Hello(_) = event {
            assert!(!self.asked && !self.open && id == 0);
            self.asked = true;
            return;
        }
        assert!(self.open, "{event:?} before the welcome");
        let role = role_of(kind);
        let is_full = self.under_way.len() as u64 == LIMITS.requests_max;
        match event {
            Event::Request(of, request) => {
                assert_eq!((*of, request.kind()), (id, kind));
                assert!(role.is_some_and(|role| self.roles.cover(role)), "{kind:#04x} by {:?}", self.roles);
                assert!(!self.draining && !is_full);
                assert!(id != 0 && self.under_way.insert(id), "{id} is under way");
            }
            Event::Refused(of, failure) => {
                assert_eq!(*of, id);
                let expected = match role {
                    None => Code::Unsupported,
                    Some(role) if !self.roles.cover(role) => Code::Forbidden,
                    Some(_) if self.draining => Code::Draining,
                    Some(_) => Code::TooMany,
                };
                assert_eq!(failure.code(), Some(expected));
                assert!(expected != Code::TooMany || is_full);
            }
            Event::Cancel(of) | Event::Credit(of, _) | Event::Ping(of, _) => assert_eq!(*of, id),
            Event::Goodbye | Event::Hello(_) => {}
        }
    }
}
