//! A message: the first byte is the type of its frame, the others are the payload; after a type that nobody sends, bytes
//! that may be a frame.
//!
//! What must hold:
//! - Decoding ends, and never takes more memory than so many times the payload.
//! - What is decoded is encoded, decoded and encoded to the same bytes again. A message that can be written in one way only
//!   is encoded as it came.
//! - A frame comes back as it was put, and no front part of it does.

use allocation_counter::measure;
use erstwhile_engine::read::question::{Wanted, Where};
use erstwhile_wire::answer::Done;
use erstwhile_wire::failure::Failure;
use erstwhile_wire::frame::{self, HEADER_BYTES, kind};
use erstwhile_wire::hello::{Hello, Welcome};
use erstwhile_wire::part::{self, Entries, Entry, Part};
use erstwhile_wire::request::{Question, Request, credit, role_of};
use erstwhile_wire::value::{Read, Writer};

/// Memory that reading and writing may take: so many bytes for a byte of the payload …
const BYTES_EACH: u64 = 160;
/// … and so many beside: names of columns may stand for 64 KiB of rows, whose buffer grows by doubling.
const BYTES_BESIDE: u64 = 208 << 10;

/// Payloads beyond this are refused.
const PAYLOAD_BYTES_MAX: usize = 1 << 16;

/// Whether a message can be written in one way only.
type IsOnly = bool;

/// Reads a payload of a type, and writes what it says.
type Rewrite = fn(u8, &[u8]) -> Option<(Vec<u8>, IsOnly)>;

/// Runs an input.
pub fn run(input: &[u8]) {
    let Some((&kind, payload)) = input.split_first() else { return };
    let rewrite: Rewrite = match kind {
        kind::HELLO => |_, bytes| only(Hello::decode(bytes), |hello, out| hello.encode(out)),
        kind::WELCOME => |_, bytes| only(Welcome::decode(bytes), |welcome, out| welcome.encode(out)),
        kind::ERROR => |_, bytes| only(Failure::decode(bytes), |failure, out| failure.encode(out)),
        kind::CREDIT => |_, bytes| only(credit(bytes), |credit, out| Writer::new(out).uint(*credit)),
        // A later server may count costs that this one leaves out.
        kind::DONE => |_, bytes| written(Done::decode(bytes), |_| false, |done, out| done.encode(out)),
        // Names, shapes and rows may be listed in any order, again and in vain.
        kind::PART => |_, bytes| written(Part::decode(bytes), |_| false, put_part),
        kind if role_of(kind).is_some() => {
            |kind, bytes| written(Request::decode(kind, bytes), is_only, |request, out| request.encode(out))
        }
        _ => return taken(payload),
    };
    let mut first = None;
    let bytes = measure(|| first = rewrite(kind, payload)).bytes_max;
    assert!(bytes <= BYTES_EACH * payload.len() as u64 + BYTES_BESIDE, "{bytes} bytes for {}", payload.len());
    if let Some((encoded, is_only)) = first {
        let again = rewrite(kind, &encoded).map(|(again, _)| again);
        assert_eq!(again.as_ref(), Some(&encoded), "a message does not come back");
        assert!(!is_only || encoded == payload, "a message has two forms: {}", encoded.escape_ascii());
    }
    framed(kind, payload);
}

fn written<T>(
    read: Read<T>,
    is_only: impl Fn(&T) -> IsOnly,
    write: impl Fn(&T, &mut Vec<u8>),
) -> Option<(Vec<u8>, IsOnly)> {
    let (message, mut out) = (read.ok()?, Vec::new());
    write(&message, &mut out);
    Some((out, is_only(&message)))
}

fn only<T>(read: Read<T>, write: impl Fn(&T, &mut Vec<u8>)) -> Option<(Vec<u8>, IsOnly)> {
    written(read, |_| true, write)
}

/// A network may be written in several ways, and the columns of looks may be listed in vain.
fn is_only(request: &Request<'_>) -> IsOnly {
    let no_network = |wheres: &[Where]| !wheres.iter().any(|condition| matches!(condition.text, Wanted::In(_)));
    match request {
        Request::Ask(_, Question::State(q)) => no_network(&q.wheres),
        Request::Ask(_, Question::History(q) | Question::Events(q)) => no_network(&q.wheres),
        Request::AppendLooks { looks, .. } => looks.is_empty(),
        _ => true,
    }
}

fn put_part(part: &Part, out: &mut Vec<u8>) {
    fn put<'e, E: Entry + 'e>(entries: impl Iterator<Item = &'e E>, out: &mut Vec<u8>) {
        let mut some = Entries::default();
        entries.for_each(|entry| some.push(entry));
        let bound = some.bytes();
        some.encode(out);
        assert!(out.len() <= bound, "{} bytes, not {bound}", out.len());
    }
    match part {
        Part::Held(held) => put(held.iter(), out),
        Part::Versions(versions) => put(versions.iter().map(|version| &**version), out),
        Part::Events(events) => put(events.iter().map(|event| &**event), out),
        Part::Changes(changes) => put(changes.iter(), out),
        Part::Hosts(hosts) => part::put_hosts(hosts, out),
        Part::Tables(tables) => part::put_tables(tables, out),
        Part::Streams(streams) => part::put_streams(streams, out),
        Part::Hits(hits) => part::put_hits(hits, out),
    }
}

/// Any payload in a frame of any type comes back, and not before all of it is there.
fn framed(kind: u8, payload: &[u8]) {
    let (mut bytes, id) = (Vec::new(), crate::drawn(payload) as u32);
    frame::put(&mut bytes, kind, id, |out| out.extend_from_slice(payload));
    let whole = bytes.len();
    assert_eq!(frame::length(&bytes), Some(whole));
    bytes.push(0);
    let (found, taken) = frame::take(&bytes, |_| payload.len()).ok().flatten().expect("a frame comes back");
    assert_eq!((found.kind, found.id, found.payload, taken), (kind, id, payload, whole));
    for len in [0, 5, 7, HEADER_BYTES - 1, HEADER_BYTES, whole - 1] {
        assert_eq!(frame::take(&bytes[..len.min(whole - 1)], |_| payload.len()), Ok(None));
    }
    if let Some(less) = payload.len().checked_sub(1) {
        assert!(frame::take(&bytes[..HEADER_BYTES], |_| less).is_err(), "refused before its payload came");
    }
}

/// Bytes that may be a frame, and what follows it.
fn taken(bytes: &[u8]) {
    if let Ok(Some((frame, taken))) = frame::take(bytes, |_| PAYLOAD_BYTES_MAX) {
        assert!(frame.payload.len() <= PAYLOAD_BYTES_MAX);
        let mut again = Vec::new();
        frame::put(&mut again, frame.kind, frame.id, |out| out.extend_from_slice(frame.payload));
        assert_eq!(again, bytes[..taken]);
    }
}
