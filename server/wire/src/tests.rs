//! Messages there and back; bytes that are none; the page against the code.

use crate::answer::{Appended, Done, LinkEnd};
use crate::failure::{Code, Failure};
use crate::frame::{self, FrameFault, HEADER_BYTES, kind};
use crate::hello::{Hello, Limits, MAGIC, Roles, Welcome};
use crate::part::{self, Entries, Entry, Part};
use crate::request::{Chunk, Key, Lookup, Question, Request, Terms, role_of};
use crate::value::{TIME_MAX, unzigzag, zigzag};
use crate::weight::{self, Weighed};
use erstwhile_engine::fact::{Delivery, Inferred, Kind, Name, StreamKey};
use erstwhile_engine::read::answer::{
    Break, Cause, Change, Cost, Coverage, End, Event, Held, Hit, HostEntry, Missing, Start, StreamEntry, TableEntry,
    Verdict, Version,
};
use erstwhile_engine::read::matching::Network;
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, StateQuestion, Subject, Wanted, WhatQuestion, Where, WhoQuestion,
};
use erstwhile_engine::read::stats::{
    Amount, ColumnWeight, KEYS_BESIDE_MAX, Reads, Silent, Stats, StatsQuestion, Structures, TableStats,
};
use erstwhile_engine::row::{Row, RowBuilder};
use proptest::prelude::*;
use std::sync::Arc;

const PAGE: &str = include_str!("../../PROTOCOL.md");

fn name(text: &str) -> Name {
    Name::from(text.as_bytes())
}

fn row(columns: &[(Vec<u8>, Vec<u8>)]) -> Row {
    let mut builder = RowBuilder::new();
    columns.iter().for_each(|(name, text)| builder.column(name, text));
    builder.row()
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..9), Just(vec![b'x'; 200])]
}

fn rows() -> impl Strategy<Value = Row> {
    let column = prop::sample::select(vec![&b"a"[..], b"b", b"uid", b"\xff"]).prop_map(<[u8]>::to_vec);
    prop::collection::vec((column, texts()), 0..4).prop_map(|columns| row(&columns))
}

fn names() -> impl Strategy<Value = Name> {
    texts().prop_map(Name::from)
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![-5i64..5, 1_500_000_000i64..1_500_000_100, Just(TIME_MAX), Just(-TIME_MAX)]
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    use Verdict::*;
    prop::sample::select(vec![Definite, Presumed, Possible, Unknown])
}

prop_compose! {
    fn versions()(
        host in names(), stream in names(), row in rows(), count in 0u64..300,
        from in times(), from_after in prop::option::of(0i64..99),
        to in prop::option::of((0i64..99, prop::option::of(0i64..99))),
        start in any::<bool>(), end in 0u8..3, verified in any::<bool>(),
    ) -> Version {
        let until = to.map(|(after, _)| from + after);
        Version {
            host, stream, row, count, from,
            from_after: from_after.map(|before| from - before),
            to: until,
            to_after: until.zip(to.and_then(|(_, before)| before)).map(|(until, before)| until - before),
            start: if start { Start::Break } else { Start::Seen },
            end: [End::Gone, End::Break, End::Open][usize::from(end)],
            verified,
        }
    }
}

prop_compose! {
    fn held()(
        version in versions(), verdict in verdicts(),
        before in prop::option::of(times()), after in prop::option::of(times()),
    ) -> Held {
        Held { version: Arc::new(version), verdict, before, after }
    }
}

prop_compose! {
    fn events()(
        host in names(), stream in names(), row in rows(), count in 0u64..9, time in times(), seen in times(),
    ) -> Event {
        Event { host, stream, row, count, time, seen }
    }
}

prop_compose! {
    fn changes()(
        host in names(), stream in names(), row in rows(), count in 0u64..9, added in any::<bool>(),
        verdict_from in verdicts(), verdict_to in verdicts(),
    ) -> Change {
        Change { host, stream, row, count, added, verdict_from, verdict_to }
    }
}

fn encoded<E: Entry>(entries: &[E]) -> Vec<u8> {
    let mut some = Entries::default();
    entries.iter().for_each(|entry| some.push(entry));
    let bound = some.bytes();
    let mut out = Vec::new();
    some.encode(&mut out);
    assert!(out.len() <= bound, "{} of {bound}", out.len());
    assert!(some.is_empty());
    out
}

/// Every shorter payload is refused, and no flipped bit makes decoding do anything but end.
fn is_strict<T: PartialEq + std::fmt::Debug>(payload: &[u8], decode: impl Fn(&[u8]) -> Option<T>) {
    for len in 0..payload.len() {
        assert_eq!(decode(&payload[..len]), None, "{len} of {}", payload.len());
    }
    let mut flipped = payload.to_vec();
    for bit in 0..payload.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        decode(&flipped);
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    let longer = [payload, &[0]].concat();
    assert_eq!(decode(&longer), None, "one byte more");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_at_t_come_back(entries in prop::collection::vec(held(), 0..12)) {
        let bytes = encoded(&entries);
        prop_assert_eq!(Part::decode(&bytes).unwrap(), Part::Held(entries));
        is_strict(&bytes, |bytes| Part::decode(bytes).ok());
    }

    #[test]
    fn versions_come_back(entries in prop::collection::vec(versions(), 0..12)) {
        let bytes = encoded(&entries);
        prop_assert_eq!(Part::decode(&bytes).unwrap(), Part::Versions(entries.into_iter().map(Arc::new).collect()));
    }

    #[test]
    fn events_come_back(entries in prop::collection::vec(events(), 0..12)) {
        let bytes = encoded(&entries);
        is_strict(&bytes, |bytes| Part::decode(bytes).ok());
        prop_assert_eq!(Part::decode(&bytes).unwrap(), Part::Events(entries.into_iter().map(Arc::new).collect()));
    }

    #[test]
    fn changes_come_back(entries in prop::collection::vec(changes(), 0..12)) {
        let bytes = encoded(&entries);
        if let Some(last) = entries.last() {
            let of_page = u8::from(last.added) | (last.verdict_from as u8) << 1 | (last.verdict_to as u8) << 3;
            prop_assert_eq!(bytes.last(), Some(&of_page));
        }
        is_strict(&bytes, |bytes| Part::decode(bytes).ok());
        prop_assert_eq!(Part::decode(&bytes).unwrap(), Part::Changes(entries));
    }

    #[test]
    fn looks_come_back(
        looks in prop::collection::vec(
            (names(), names(), names(), 0u8..3, any::<u64>(), prop::option::of(any::<u64>()), times(), any::<bool>(), 0u8..3,
             prop::collection::btree_map(rows(), 1u64..9, 0..4), prop::collection::btree_map(rows(), 1u64..9, 0..4)),
            0..5,
        ),
    ) {
        let looks: Vec<Delivery> = looks
            .into_iter()
            .map(|(host, name, table, kind, epoch, counter, second, whole, inferred, removed, added)| Delivery {
                stream: Arc::new(StreamKey {
                    table, host, name, kind: Kind::from_byte(kind).unwrap(), sightings: false,
                }),
                epoch, counter, second, whole,
                inferred: Inferred::from_byte(inferred).unwrap(),
                removed: removed.into_iter().collect(),
                added: added.into_iter().collect(),
            })
            .collect();
        let request = Request::AppendLooks { producer: 3, sequence: 9, looks: looks.clone() };
        let bytes = payload(&request);
        let Request::AppendLooks { looks: found, .. } = Request::decode(request.kind(), &bytes).unwrap() else {
            panic!("another request");
        };
        prop_assert_eq!(found, looks);
        is_strict(&bytes, |bytes| again(request.kind(), bytes));
    }

    #[test]
    fn any_bytes_are_refused_or_read(kind in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..99)) {
        let _ = (Part::decode(&bytes), Done::decode(&bytes), Hello::decode(&bytes), Welcome::decode(&bytes));
        let _ = (Failure::decode(&bytes), frame::take(&bytes, |_| 64), Weighed::decode(&bytes));
        if role_of(kind).is_some() {
            let _ = Request::decode(kind, &bytes);
        }
    }

    #[test]
    fn numbers_have_one_form(number in any::<i64>()) {
        prop_assert_eq!(unzigzag(zigzag(number)), number);
    }
}

fn payload(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

/// A payload decoded and encoded again.
fn again(kind: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    Request::decode(kind, bytes).ok().map(|request| payload(&request))
}

fn requests() -> Vec<Request<'static>> {
    let terms = Terms { window: 1 << 20, millis_max: 30_000 };
    let known_at = Some(1_545_645_600_000_001);
    let wheres = vec![
        Where { column: name("uid"), text: Wanted::Is(name("0")) },
        Where { column: name("path"), text: Wanted::Begins(name("/home/")) },
        Where { column: name("address"), text: Wanted::In(Network::parse(b"::ffff:10.0.0.0/104").unwrap()) },
    ];
    let history = HistoryQuestion {
        table: name("process_events"),
        host: Some(name("web-1")),
        stream: None,
        wheres: wheres.clone(),
        from: Some(1_545_645_600),
        to: None,
        known_at,
    };
    let list = ListQuestion { known_at, ..ListQuestion::default() };
    let questions = vec![
        Question::State(StateQuestion {
            table: name("users"),
            at: 1_545_645_600,
            host: None,
            stream: Some(name("pack_users")),
            wheres,
            known_at,
        }),
        Question::Who(WhoQuestion {
            subject: Subject::Ip(name("10.0.0.7")),
            at: 1_545_645_600,
            host: None,
            known_at: None,
        }),
        Question::Who(WhoQuestion { subject: Subject::Uid(name("1000")), at: -1, host: Some(name("web-1")), known_at }),
        Question::What(WhatQuestion { path: name("/mnt/usb"), host: name("web-1"), at: 1_545_645_600, known_at }),
        Question::History(history.clone()),
        Question::Events(history),
        Question::Diff(DiffQuestion {
            table: name("users"),
            host: name("web-1"),
            stream: None,
            from: 1_545_645_600,
            to: 1_545_649_200,
            known_at,
        }),
        Question::Hosts(list.clone()),
        Question::Tables(list.clone()),
        Question::Coverage(ListQuestion { table: Some(name("users")), host: Some(name("web-1")), ..list }),
        Question::Stats,
        Question::Weigh(StatsQuestion { reads: true, ..StatsQuestion::default() }),
        Question::Weigh(StatsQuestion {
            now: 1_545_645_600,
            table: Some(name("users")),
            silent_after_seconds: Some(i64::MAX),
            keyframes: true,
            columns: true,
            reads: false,
            holes: true,
        }),
        Question::Lookup(Lookup {
            table: name("users"),
            column: name("uid"),
            hosts: vec![b"web-1", b"web-2"],
            keys: vec![Key { host: 1, value: b"1000", at: 1_545_645_600 }, Key { host: 0, value: b"", at: 0 }],
            known_at,
        }),
    ];
    let mut requests: Vec<Request<'_>> = questions.into_iter().map(|question| Request::Ask(terms, question)).collect();
    let chunks = vec![
        Chunk { source: b"/var/log/osquery/osqueryd.results.log", offset: 70_000, lines: b"{}\n{}\n" },
        Chunk { source: b"", offset: 0, lines: b"" },
    ];
    requests.extend([
        Request::Producer { producer: 7, instance: u128::MAX, first: 5, last: 9 },
        Request::AppendLines { producer: 7, sequence: 10, chunks },
        Request::AppendLooks { producer: 7, sequence: 11, looks: Vec::new() },
        Request::Flush,
        Request::Compact,
        Request::Shutdown,
    ]);
    requests
}

#[test]
fn requests_come_back() {
    for request in requests() {
        let bytes = payload(&request);
        let found = Request::decode(request.kind(), &bytes).unwrap();
        assert_eq!(format!("{found:?}"), format!("{request:?}"));
        is_strict(&bytes, |bytes| again(request.kind(), bytes));
        assert!(role_of(request.kind()).is_some());
    }
}

fn coverage() -> Coverage {
    Coverage {
        covered: 400,
        presumed: 3,
        unknown: 2,
        never: 1,
        assumed: 406,
        unknown_hosts: vec![(name("web-3"), Cause::Gap), (name("web-4"), Cause::BeforeFirst)],
    }
}

/// A store's sums, each another.
fn weighed() -> Stats {
    Stats {
        hosts: 500,
        segments: 3,
        unpacked_segments: 2,
        segment_bytes: 40_000_000,
        other_bytes: 4_000,
        rows: u64::MAX,
        rows_beside: 7,
        memtable_bytes: 8,
        debt_segments: 9,
        debt_bytes: 10,
        ..Stats::default()
    }
}

fn ends() -> Vec<Done> {
    let cost = Cost { rows_decoded: 5, bytes_read: 1000, streams_resolved: 1, ..Cost::default() };
    let (at, known_at) = (1_545_645_600, Some(1_545_645_600_000_001));
    let appended = Appended { sequence: 10, again: true, recorded: known_at, lines: 1000, dead_letters: 2 };
    let link = |missing| LinkEnd { table: name("mounts"), rows: 1, missing };
    let links = vec![
        link(None),
        link(Some(Missing::NeverCollected)),
        link(Some(Missing::NoSuchRow)),
        link(Some(Missing::UnknownAtT)),
    ];
    let question = "who ip 10.0.0.7".to_owned();
    let history = |events| Done::History { events, table: name("t"), from: None, to: Some(7), known_at: None, cost };
    vec![
        Done::State { table: name("users"), at, known_at, coverage: coverage(), cost },
        Done::Who { question: question.clone(), at, known_at, coverage: coverage(), cost },
        Done::What { question, at, known_at, verdict: Verdict::Possible, links, coverage: coverage(), cost },
        history(false),
        history(true),
        Done::Diff { table: name("users"), host: name("web-1"), from: 5, to: 6, known_at, cost },
        Done::Plain(kind::HOSTS),
        Done::Plain(kind::SHUTDOWN),
        Done::Lookup(cost),
        Done::Stats(vec![("hosts".to_owned(), 500), ("uptime_seconds".to_owned(), -1)]),
        Done::Weigh(weighed()),
        Done::Producer(9),
        Done::Lines(appended),
        Done::Looks(Appended::default()),
    ]
}

#[test]
fn ends_come_back() {
    for done in ends() {
        let mut bytes = Vec::new();
        done.encode(&mut bytes);
        assert_eq!(Done::decode(&bytes).as_ref(), Ok(&done));
        is_strict(&bytes, |bytes| Done::decode(bytes).ok());
    }
}

fn hello() -> Hello {
    Hello {
        oldest: 1,
        newest: 2,
        capabilities: 0,
        answer_bytes_max: 1 << 20,
        token: b"secret".to_vec(),
        agent: b"my-tool/2.1".to_vec(),
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        capabilities: 0,
        roles: Roles::INGEST.and(Roles::READ),
        store: *b"0123456789abcdef",
        server: b"erstwhile/0.1.0".to_vec(),
        limits: Limits {
            request_bytes_max: 16 << 20,
            requests_max: 64,
            window_bytes_max: 4 << 20,
            request_millis_max: 60_000,
            idle_millis_max: 600_000,
        },
    }
}

#[test]
fn hello_welcome_and_failures_come_back() {
    let mut bytes = Vec::new();
    hello().encode(&mut bytes);
    assert_eq!(Hello::decode(&bytes), Ok(hello()));
    is_strict(&bytes, |bytes| Hello::decode(bytes).ok());
    bytes.clear();
    welcome().encode(&mut bytes);
    assert_eq!(Welcome::decode(&bytes), Ok(welcome()));
    is_strict(&bytes, |bytes| Welcome::decode(bytes).ok());
    bytes.clear();
    let failure = Failure::passing(Code::Busy, "too much to do", 500);
    failure.encode(&mut bytes);
    assert_eq!(Failure::decode(&bytes).as_ref(), Ok(&failure));
    is_strict(&bytes, |bytes| Failure::decode(bytes).ok());
}

#[test]
fn lists_come_back() {
    let hosts = vec![
        HostEntry { host: name("a"), streams: 3, first: 5, last: 9, agent_version: Some("5.12.1".to_owned()) },
        HostEntry { host: name("b"), streams: 0, first: -5, last: TIME_MAX, agent_version: None },
    ];
    let tables = vec![TableEntry {
        table: name("users"),
        evented: true,
        streams: 500,
        hosts: 499,
        first: 1,
        last: 2,
        assumed: 3,
        assumed_names: vec![name("pack_users"), name("")],
    }];
    let streams = vec![StreamEntry {
        host: name("a"),
        stream: name("pack_users"),
        kind: Kind::Snapshot,
        table: name("users"),
        assumed: true,
        looks: 99,
        first: 1,
        last: 2,
        agent_version: None,
        skew: (-3, 4),
        breaks: vec![
            Break { from: None, to: Some(5), cause: Cause::NoBase },
            Break { from: Some(7), to: None, cause: Cause::Expired },
        ],
    }];
    let hit = Hit { key: 1, version: 0, count: 2, verdict: Verdict::Possible, before: Some(-7), after: None };
    let hits = vec![hit, Hit { key: 2, after: Some(9), ..hit }];
    let mut all: [Vec<u8>; 4] = Default::default();
    part::put_hosts(&hosts, &mut all[0]);
    part::put_tables(&tables, &mut all[1]);
    part::put_streams(&streams, &mut all[2]);
    part::put_hits(&hits, &mut all[3]);
    let parts = [Part::Hosts(hosts), Part::Tables(tables), Part::Streams(streams), Part::Hits(hits)];
    for (bytes, part) in all.iter().zip(parts) {
        assert_eq!(Part::decode(bytes), Ok(part));
        is_strict(bytes, |bytes| Part::decode(bytes).ok());
    }
}

#[test]
fn weights_come_back() {
    let amount = |looks| Amount { looks, rows: 2 * looks, bytes: 1_000 * looks };
    let table = TableStats {
        streams: 1,
        hosts: 2,
        all: amount(15),
        versions: 3,
        structures: Structures { dictionary: 1, rows: 2, runs: 3, pieces: 4, indexes: 5, directories: u64::MAX },
        indexes: [(name("uid"), 4), (name(""), 1)].into_iter().collect(),
        keyframe_bytes: Some(0),
        columns: Some([(name("uid"), ColumnWeight { rows: 1, text_bytes: 2, bits: 3 })].into_iter().collect()),
        reads: Some(Reads { asked: 1, rows: 2, keys: 3, beyond: 4 }),
        segments: 2,
        ages: [amount(1), amount(2), amount(3), amount(4), amount(5)],
    };
    let tables = vec![(name("users"), table), (name(""), TableStats::default())];
    let silent = vec![
        Silent { host: name("web-1"), last: -5, usual_seconds: Some(60) },
        Silent { host: name(""), last: TIME_MAX, usual_seconds: None },
    ];
    let holes = vec![name("web-1"), name("")];
    let mut all: [Vec<u8>; 3] = Default::default();
    weight::put_tables(&tables, &mut all[0]);
    weight::put_silent(&silent, &mut all[1]);
    weight::put_holes(&holes, &mut all[2]);
    for (bytes, part) in all.iter().zip([Weighed::Tables(tables), Weighed::Silent(silent), Weighed::Holes(holes)]) {
        assert!(Weighed::is_in(bytes) && Part::decode(bytes).is_err());
        assert_eq!(Weighed::decode(bytes), Ok(part));
        is_strict(bytes, |bytes| Weighed::decode(bytes).ok());
    }
}

/// A later server may sum up more than this client knows; one that sums up less is none.
#[test]
fn more_sums_than_are_known_are_passed_over() {
    let mut bytes = Vec::new();
    Done::Weigh(weighed()).encode(&mut bytes);
    let more = [&[kind::WEIGH, bytes[1] + 1], &bytes[2..], &[0x2a]].concat();
    assert_eq!(Done::decode(&more), Ok(Done::Weigh(weighed())));
    let fewer = [&[kind::WEIGH, bytes[1] - 1], &bytes[2..bytes.len() - 1]].concat();
    assert_eq!(Done::decode(&fewer).unwrap_err().what, "sums");
}

/// Few bytes that stand for very many are refused before there is room for them.
#[test]
fn names_that_stand_for_too_much_are_refused() {
    let columns = [(vec![b'n'; 60_000], Vec::new())];
    let many: Vec<Event> = (0..3)
        .map(|time| Event { host: name("h"), stream: name("s"), time, seen: time, row: row(&columns), count: 1 })
        .collect();
    assert!(Part::decode(&encoded(&many)).is_ok(), "a few are nothing");
    let mut out = vec![part::kind::EVENTS, 0, 1, 1];
    let mut to = crate::value::Writer::new(&mut out);
    to.bytes(&[b'n'; 60_000]);
    to.uint(50_000);
    (0..50_000).for_each(|_| to.uint(0));
    (0..50_000).for_each(|_| to.uint(0));
    to.uint(0);
    let refused = Part::decode(&out).unwrap_err();
    assert_eq!(refused.what, "room for so many names of columns");
}

#[test]
fn frames_are_taken_whole_or_not_at_all() {
    let mut bytes = Vec::new();
    frame::put(&mut bytes, kind::PING, 7, |out| out.extend_from_slice(b"hello"));
    let end = bytes.len();
    frame::put(&mut bytes, kind::PONG, 8, |_| {});
    for len in 0..end {
        assert_eq!(frame::take(&bytes[..len], |_| 5), Ok(None), "{len}");
    }
    let (first, taken) = frame::take(&bytes, |_| 5).unwrap().unwrap();
    assert_eq!((first.kind, first.id, first.payload, taken), (kind::PING, 7, &b"hello"[..], end));
    assert_eq!(frame::length(&bytes), Some(end));
    let (second, _) = frame::take(&bytes[end..], |_| 0).unwrap().unwrap();
    assert_eq!((second.kind, second.id, second.payload.len()), (kind::PONG, 8, 0));
    let too_large = FrameFault::TooLarge { kind: kind::PING, length: 5, limit: 4 };
    assert_eq!(frame::take(&bytes[..HEADER_BYTES], |_| 4), Err(too_large), "before the payload came");
    for bit in 0..end * 8 {
        let mut flipped = bytes[..end].to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let is_refused = !matches!(frame::take(&flipped, |_| 1 << 20), Ok(Some(_)));
        assert!(is_refused, "bit {bit}");
    }
    // TLS, HTTP, noise.
    for other in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 16]] {
        assert!(frame::take(other, |_| 4096).is_err(), "{other:?}");
    }
}

/// The examples of the page: a title, the type and the frame.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let put = |kind, id, write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        frame::put(&mut out, kind, id, |out| write(out));
        out
    };
    let question =
        WhoQuestion { subject: Subject::Ip(name("10.0.0.7")), at: 1_545_645_600, host: None, known_at: None };
    let terms = Terms { window: 1 << 20, millis_max: 0 };
    let who = Request::Ask(terms, Question::Who(question));
    let chunks = vec![Chunk { source: b"log", offset: 0, lines: b"{\"name\":\"users\"}\n" }];
    let append = Request::AppendLines { producer: 0x0102, sequence: 1, chunks };
    let address = row(&[(b"address".to_vec(), b"10.0.0.7".to_vec()), (b"interface".to_vec(), b"eth0".to_vec())]);
    let version = |host: &str| Version {
        host: name(host),
        stream: name("pack_ips"),
        row: address.clone(),
        count: 1,
        from: 1_545_642_000,
        from_after: Some(1_545_638_400),
        to: None,
        to_after: None,
        start: Start::Seen,
        end: End::Open,
        verified: true,
    };
    let held = |host| Held {
        version: Arc::new(version(host)),
        verdict: Verdict::Definite,
        before: Some(1_545_645_600),
        after: Some(1_545_649_200),
    };
    let (first, second) = (held("web-1"), held("web-2"));
    let (question, known_at) = ("who ip 10.0.0.7".to_owned(), Some(1_545_650_000_000_000));
    let cost = Cost { rows_decoded: 2, bytes_read: 66, keys_decoded: 2, segments_touched: 1, ..Cost::default() };
    let done = Done::Who { question, at: 1_545_645_600, known_at, coverage: coverage(), cost };
    vec![
        (
            "HELLO: versions 1 – 2, 1 MiB, token `secret`, `my-tool/2.1`",
            put(kind::HELLO, 0, &|out| hello().encode(out)),
        ),
        ("WELCOME: version 1, roles ingest and read", put(kind::WELCOME, 0, &|out| welcome().encode(out))),
        (
            "WHO ip 10.0.0.7 at 2018-12-24T10:00:00Z, window 1 MiB, request 1",
            put(who.kind(), 1, &|out| who.encode(out)),
        ),
        (
            "PART: held by web-1 and web-2 since 09:00, seen at 10:00 and 11:00; their rows are one",
            put(kind::PART, 1, &|out| {
                let mut some = Entries::default();
                some.push(&first);
                some.push(&second);
                some.encode(out);
            }),
        ),
        ("DONE of WHO", put(kind::DONE, 1, &|out| done.encode(out))),
        (
            "APPEND_LINES: producer 0x0102, sequence 1, one line of the source `log`",
            put(append.kind(), 2, &|out| append.encode(out)),
        ),
        (
            "DONE of APPEND_LINES",
            put(kind::DONE, 2, &|out| {
                Done::Lines(Appended { sequence: 1, again: false, recorded: known_at, lines: 1, dead_letters: 0 })
                    .encode(out)
            }),
        ),
        (
            "CREDIT of 65,536 bytes for request 1",
            put(kind::CREDIT, 1, &|out| crate::value::Writer::new(out).uint(65_536)),
        ),
        ("CANCEL of request 1", put(kind::CANCEL, 1, &|_| {})),
        (
            "ERROR busy, again in half a second",
            put(kind::ERROR, 1, &|out| Failure::passing(Code::Busy, "the server has too much to do", 500).encode(out)),
        ),
    ]
}

#[test]
fn the_page_has_these_examples() {
    let mut wanted = String::new();
    for (title, frame) in examples() {
        wanted += &format!("{title}\n\n```\n");
        for line in frame.chunks(32) {
            let words: Vec<String> =
                line.chunks(4).map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
            wanted += &words.join(" ");
            wanted.push('\n');
        }
        wanted += "```\n\n";
    }
    let found = PAGE.split_once("## 7. Examples").map_or("", |(_, examples)| examples);
    let found = found.split_once("in a test.\n\n").map_or("", |(_, examples)| examples);
    assert!(found.trim_end() == wanted.trim_end(), "the page should have\n\n{wanted}");
}

/// The numbers that the page tells are those of the code.
#[test]
fn the_page_tells_the_numbers() {
    let is_told = |row: &str| PAGE.lines().any(|line| line.starts_with(row));
    let types = [
        (kind::HELLO, "client | HELLO"),
        (kind::PING, "client | PING"),
        (kind::CANCEL, "client | CANCEL"),
        (kind::CREDIT, "client | CREDIT"),
        (kind::GOODBYE, "client | GOODBYE"),
        (kind::WELCOME, "server | WELCOME"),
        (kind::PONG, "server | PONG"),
        (kind::FAREWELL, "server | GOODBYE"),
        (kind::PART, "server | PART"),
        (kind::DONE, "server | DONE"),
        (kind::ERROR, "server | ERROR"),
        (kind::STATE, "STATE"),
        (kind::WHO, "WHO"),
        (kind::WHAT, "WHAT"),
        (kind::HISTORY, "HISTORY"),
        (kind::DIFF, "DIFF"),
        (kind::EVENTS, "EVENTS"),
        (kind::HOSTS, "HOSTS"),
        (kind::TABLES, "TABLES"),
        (kind::COVERAGE, "COVERAGE"),
        (kind::STATS, "STATS"),
        (kind::LOOKUP, "LOOKUP"),
        (kind::PRODUCER, "PRODUCER"),
        (kind::APPEND_LINES, "APPEND_LINES"),
        (kind::APPEND_LOOKS, "APPEND_LOOKS"),
        (kind::FLUSH, "FLUSH"),
        (kind::COMPACT, "COMPACT"),
        (kind::SHUTDOWN, "SHUTDOWN"),
        (kind::WEIGH, "WEIGH"),
    ];
    for (number, name) in types {
        assert!(is_told(&format!("| 0x{number:02x} | {name} |")), "{name}");
    }
    for (code, word) in Code::ALL {
        assert!(is_told(&format!("| {} | {word} |", code as u16)), "{word}");
        assert_eq!((Code::from_number(code as u16), code.word()), (Some(code), word));
    }
    let kinds = [
        (part::kind::HELD, "held"),
        (part::kind::VERSIONS, "versions"),
        (part::kind::EVENTS, "events"),
        (part::kind::CHANGES, "changes"),
        (part::kind::HOSTS, "hosts"),
        (part::kind::TABLES, "tables"),
        (part::kind::STREAMS, "streams"),
        (part::kind::HITS, "hits"),
        (part::kind::WEIGHTS, "weights"),
        (part::kind::SILENT, "silent"),
        (part::kind::HOLES, "holes"),
    ];
    for (number, name) in kinds {
        assert!(is_told(&format!("| {number} | {name} |")), "{name}");
    }
    for told in [
        "| 8 bytes | `erstwire` |".to_owned(),
        format!("{} bytes until it is welcome", frame::HELLO_BYTES_MAX),
        "65,536 – 134,217,728".to_owned(),
        "At most 1,048,576.".to_owned(),
        "at most 256 bytes; empty: none".to_owned(),
        "at most 128 bytes, such as".to_owned(),
        "PING | up to 64 bytes".to_owned(),
        "32 times as long as the payload".to_owned(),
        format!("four keys a row, and {KEYS_BESIDE_MAX} a stream"),
    ] {
        assert!(PAGE.contains(&told), "{told}");
    }
    assert_eq!(MAGIC, b"erstwire");
    assert_eq!((crate::hello::ANSWER_BYTES_MIN, crate::hello::ANSWER_BYTES_MAX), (65_536, 134_217_728));
    assert_eq!((crate::hello::TOKEN_BYTES_MAX, crate::hello::AGENT_BYTES_MAX), (256, 128));
    assert_eq!((crate::request::KEYS_MAX, crate::request::PING_BYTES_MAX), (1_048_576, 64));
    assert_eq!((frame::HEADER_BYTES, frame::SMALL_BYTES_MAX), (16, 65_536));
}
