//! Clients that mean harm, or know no better: each is told what is wrong, and nobody else is harmed.

#![expect(clippy::disallowed_methods, reason = "a server of its own process lives by the real time")]

mod served;

use erstwhile_client::{Client, Code, Connect, Failure};
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::question::{HistoryQuestion, ListQuestion, StateQuestion};
use erstwhile_wire::frame::{self, kind};
use erstwhile_wire::hello::{Hello, Welcome};
use erstwhile_wire::request::{Chunk, Question, Request, Terms};
use served::Served;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PRODUCER: u128 = 77;

/// A client that may send anything.
struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    fn connect(address: &str) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream, buffer: Vec::new() }
    }

    fn welcome(served: &Served, token: &str) -> Raw {
        let mut raw = Raw::connect(&served.address);
        let token = std::fs::read(served.token_file(token)).unwrap();
        raw.send(kind::HELLO, 0, |out| hello(token.trim_ascii()).encode(out));
        let (kind, _, payload) = raw.frame().unwrap();
        assert_eq!(kind, kind::WELCOME);
        Welcome::decode(&payload).unwrap();
        raw
    }

    fn send(&mut self, kind: u8, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        frame::put(&mut out, kind, id, write);
        self.bytes(&out);
    }

    fn request(&mut self, id: u32, request: &Request<'_>) {
        self.send(request.kind(), id, |out| request.encode(out));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // A server that has closed is found when it is read from.
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame; `None` if the server closed the connection.
    fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        loop {
            if let Some((frame, taken)) = frame::take(&self.buffer, |_| 1 << 28).unwrap() {
                let found = (frame.kind, frame.id, frame.payload.to_vec());
                self.buffer.drain(..taken);
                return Some(found);
            }
            let mut some = [0; 1 << 16];
            match self.stream.read(&mut some) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&some[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The failure that comes next, of a request or of the connection.
    fn failure(&mut self) -> (u32, Option<Code>) {
        let (kind, id, payload) = self.frame().expect("a frame");
        assert_eq!(kind, kind::ERROR, "{id}");
        (id, Failure::decode(&payload).unwrap().code())
    }

    /// The connection ends with a failure, and is closed.
    fn is_cut_off(&mut self, code: Code) {
        assert_eq!(self.failure(), (0, Some(code)));
        assert!(self.frame().is_none(), "closed");
    }
}

fn hello(token: &[u8]) -> Hello {
    Hello {
        oldest: 1,
        newest: 1,
        capabilities: 0,
        answer_bytes_max: 1 << 20,
        token: token.to_vec(),
        agent: b"hostile".to_vec(),
    }
}

fn stats() -> Request<'static> {
    Request::Ask(Terms::default(), Question::Stats)
}

fn history(window: u64) -> Request<'static> {
    let question = HistoryQuestion {
        table: Name::from(&b"users"[..]),
        host: None,
        stream: None,
        wheres: Vec::new(),
        from: None,
        to: None,
        known_at: None,
    };
    Request::Ask(Terms { window, millis_max: 0 }, Question::History(question))
}

/// Fills a store with so many users of so many hosts, of which each has so many bytes.
fn fill(served: &Served, hosts: usize, users: usize, bytes: usize) {
    let token = std::fs::read_to_string(served.token_file("ingest")).unwrap();
    let mut client = Client::connect(&Connect::to(&served.address).token(token.trim())).unwrap();
    let last = client.producer(PRODUCER, 1, 1, u64::MAX).unwrap();
    for host in 0..hosts {
        let mut lines = String::new();
        for user in 0..users {
            let text = format!("{host}-{user}-{}", "x".repeat(bytes));
            lines += &format!(
                "{{\"name\":\"users\",\"hostIdentifier\":\"h{host}\",\"unixTime\":1500000000,\"epoch\":0,\"counter\":0,\
                 \"numerics\":false,\"columns\":{{\"uid\":\"{user}\",\"description\":\"{text}\"}},\"action\":\"added\"}}\n"
            );
        }
        // What follows a second later ends the look before it.
        lines += &format!(
            "{{\"name\":\"users\",\"hostIdentifier\":\"h{host}\",\"unixTime\":1500000001,\"epoch\":0,\"counter\":1,\
             \"numerics\":false,\"diffResults\":{{\"removed\":[],\"added\":[]}}}}\n"
        );
        let chunks = vec![Chunk { source: b"log", offset: 0, lines: lines.as_bytes() }];
        client.append_lines(PRODUCER, last + 1 + host as u64, chunks).unwrap();
    }
}

/// What the server's process has of memory that is no file's, in MiB.
fn own_mebibytes(served: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or(" 0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
}

fn start(folder: &Path, config: &str) -> Served {
    let path = folder.join("config.toml");
    std::fs::write(&path, config).unwrap();
    Served::start(&folder.join("store"), &["--config", path.to_str().unwrap()])
}

/// Asks all the time, beside what others do; tells how often it was answered.
fn beside<T>(served: &Served, work: impl FnOnce() -> T) -> T {
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let token = std::fs::read_to_string(served.token_file("read")).unwrap();
    let mut client = Client::connect(&Connect::to(&served.address).token(token.trim())).unwrap();
    let done = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let question = StateQuestion {
                table: Name::from(&b"users"[..]),
                at: 1_500_000_000,
                host: Some(Name::from(&b"h0"[..])),
                stream: None,
                wheres: Vec::new(),
                known_at: None,
            };
            while !stop.load(Ordering::Relaxed) {
                assert!(!client.state(&question).unwrap().rows.is_empty());
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    assert!(answered.into_inner() > 0, "others were answered meanwhile");
    done
}

#[test]
fn frames_that_are_none_are_refused_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let served = start(folder.path(), "[limits]\nhello_millis_max = 500\nrequests_max = 4\n");
    fill(&served, 1, 3, 10);
    beside(&served, || {
        let mut long = Raw::connect(&served.address);
        long.bytes(&[0xff, 0xff, 0xff, 0x7f, kind::HELLO, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        long.is_cut_off(Code::TooLarge);
        let mut long = Raw::welcome(&served, "read");
        long.bytes(&[0, 0, 0x20, 0, kind::APPEND_LINES, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        long.is_cut_off(Code::TooLarge);
        let mut tls = Raw::connect(&served.address);
        tls.bytes(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        tls.is_cut_off(Code::Malformed);
        let mut http = Raw::connect(&served.address);
        http.bytes(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        http.is_cut_off(Code::Malformed);
        let mut changed = Raw::welcome(&served, "read");
        let mut bytes = Vec::new();
        frame::put(&mut bytes, kind::STATS, 1, |out| stats().encode(out));
        *bytes.last_mut().unwrap() ^= 1;
        changed.bytes(&bytes);
        changed.is_cut_off(Code::Checksum);
        let mut none = Raw::welcome(&served, "read");
        none.send(kind::STATE, 1, |out| out.extend_from_slice(b"nonsense"));
        none.is_cut_off(Code::Malformed);
        let mut early = Raw::connect(&served.address);
        early.request(1, &stats());
        early.is_cut_off(Code::Malformed);
        let mut older = Raw::connect(&served.address);
        older.send(kind::HELLO, 0, |out| Hello { oldest: 2, newest: 9, ..hello(b"") }.encode(out));
        older.is_cut_off(Code::Version);
        // Half a hello, and then nothing.
        let mut half = Raw::connect(&served.address);
        half.bytes(&[40, 0, 0, 0, kind::HELLO]);
        let began = Instant::now();
        half.is_cut_off(Code::Timeout);
        assert!(began.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn roles_numbers_and_producers_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let served = start(folder.path(), "[limits]\nrequests_max = 4\n");
    fill(&served, 1, 3, 10);
    let mut reader = Raw::welcome(&served, "read");
    reader.request(1, &Request::Shutdown);
    assert_eq!(reader.failure(), (1, Some(Code::Forbidden)));
    reader.request(1, &Request::Producer { producer: 9, instance: 9, first: 1, last: 0 });
    assert_eq!(reader.failure(), (1, Some(Code::Forbidden)));
    reader.send(0x40, 2, |_| {});
    assert_eq!(reader.failure(), (2, Some(Code::Unsupported)));
    reader.request(3, &stats());
    assert_eq!(reader.frame().map(|(kind, id, _)| (kind, id)), Some((kind::DONE, 3)), "it goes on");
    // The same frames again are other requests; a number in use is not.
    reader.request(3, &stats());
    assert_eq!(reader.frame().map(|(kind, id, _)| (kind, id)), Some((kind::DONE, 3)));
    let mut sender = Raw::welcome(&served, "ingest");
    sender.request(1, &stats());
    assert_eq!(sender.failure(), (1, Some(Code::Forbidden)));
    let append = |sequence| Request::AppendLines { producer: PRODUCER, sequence, chunks: Vec::new() };
    sender.request(2, &append(2));
    assert_eq!(sender.failure(), (2, Some(Code::Usage)), "it is no producer yet");
    let open = |instance| Request::Producer { producer: PRODUCER, instance, first: 1, last: 5 };
    sender.request(3, &open(1));
    assert_eq!(sender.frame().map(|(kind, ..)| kind), Some(kind::DONE));
    let mut twin = Raw::welcome(&served, "ingest");
    twin.request(1, &open(2));
    assert_eq!(twin.failure(), (1, Some(Code::ProducerBusy)));
    sender.request(4, &append(7));
    assert_eq!(sender.failure(), (4, Some(Code::Sequence)));
    sender.request(5, &append(2));
    assert_eq!(sender.frame().map(|(kind, ..)| kind), Some(kind::DONE));
    let mut same = Raw::welcome(&served, "ingest");
    same.request(1, &open(1));
    assert_eq!(same.frame().map(|(kind, ..)| kind), Some(kind::DONE), "the same process takes it over");
    sender.request(6, &append(3));
    assert_eq!(sender.failure(), (6, Some(Code::ProducerBusy)), "the older connection lost it");
    drop(same);
    let mut copied = Raw::welcome(&served, "ingest");
    let began = Instant::now();
    let behind = Request::Producer { producer: PRODUCER, instance: 3, first: 1, last: 1 };
    loop {
        copied.request(9, &behind);
        match copied.failure() {
            // The server has yet to see that the other one is gone.
            (9, Some(Code::ProducerBusy)) if began.elapsed() < Duration::from_secs(10) => {}
            failure => {
                assert_eq!(failure, (9, Some(Code::Sequence)), "somebody else sent as this producer");
                break;
            }
        }
    }
}

#[test]
fn wrong_tokens_are_answered_late_and_then_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let served = start(folder.path(), "");
    for round in 0..12 {
        let mut raw = Raw::connect(&served.address);
        raw.send(kind::HELLO, 0, |out| hello(b"guess").encode(out));
        let (_, code) = raw.failure();
        assert_eq!(code, Some(if round < 10 { Code::Unauthenticated } else { Code::Busy }), "{round}");
    }
}

#[test]
fn who_does_not_read_costs_little_and_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let served = start(folder.path(), "[limits]\nstall_millis_max = 1500\nrequests_max = 16\n");
    // 64 MiB of rows.
    fill(&served, 64, 1000, 1000);
    let before = own_mebibytes(&served);
    beside(&served, || {
        let mut slow: Vec<Raw> = (0..20).map(|_| Raw::welcome(&served, "read")).collect();
        for raw in &mut slow {
            for id in 1..=16 {
                raw.request(id, &history(1 << 16));
            }
        }
        let mut most = 0;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            most = most.max(own_mebibytes(&served));
        }
        assert!(most < before + 400, "{most} MiB for 320 answers of 64 MiB, {before} before");
        let mut told = 0;
        for raw in &mut slow {
            while let Some((kind, _, payload)) = raw.frame() {
                if kind == kind::ERROR {
                    let code = Failure::decode(&payload).unwrap().code();
                    assert!([Some(Code::Slow), Some(Code::Timeout)].contains(&code), "{code:?}");
                    told += 1;
                    break;
                }
            }
        }
        assert!(told > 0, "some were told why");
    });
}

#[test]
fn floods_of_connections_and_requests_leave_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let served = start(folder.path(), "[limits]\nconnections_max = 60\nrequests_max = 4\nhello_millis_max = 800\n");
    fill(&served, 3, 100, 100);
    beside(&served, || {
        let many: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(&served.address).ok()).collect();
        std::thread::sleep(Duration::from_millis(1500));
        drop(many);
        let mut flood = Raw::welcome(&served, "read");
        for id in 1..=2000 {
            flood.request(id, &history(0));
        }
        let (mut ends, mut refused) = (0, 0);
        while ends < 2000 {
            let (kind, _, payload) = flood.frame().expect("an end of each");
            match kind {
                kind::ERROR => {
                    assert_eq!(Failure::decode(&payload).unwrap().code(), Some(Code::TooMany));
                    (ends, refused) = (ends + 1, refused + 1);
                }
                kind::DONE => ends += 1,
                _ => {}
            }
        }
        assert!(refused > 0 && refused < 2000, "{refused}");
        let token = std::fs::read_to_string(served.token_file("read")).unwrap();
        let mut after = Client::connect(&Connect::to(&served.address).token(token.trim())).unwrap();
        assert_eq!(after.hosts(&ListQuestion::default()).unwrap().len(), 3);
    });
}
