//! Inputs to begin with: what the project itself writes, a message or some lines each.

use erstwhile::simulate::{self, Format};
use erstwhile_engine::catalogue::{Catalogue, StreamMap};
use erstwhile_engine::codec::zstd;
use erstwhile_engine::fact::{Batch, Commit, Delivery, Name};
use erstwhile_engine::ingest::hold::Hold;
use erstwhile_engine::ingest::producer::Chunk;
use erstwhile_engine::ingest::spill::Spill;
use erstwhile_engine::io::MemoryStorage;
use erstwhile_engine::log::encode_batch;
use erstwhile_engine::read::matching::Network;
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, StateQuestion, Subject, Wanted, WhatQuestion, Where, WhoQuestion,
};
use erstwhile_server::answering::answer;
use erstwhile_server::stats::Stats;
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::workload::{append, batches, clock, history, open, options};
use erstwhile_wire::frame::{self, HEADER_BYTES, kind};
use erstwhile_wire::hello::Hello;
use erstwhile_wire::request::{Key, Lookup, Question, Request, Terms};
use std::path::Path;
use std::sync::Arc;

fn name(text: &str) -> Name {
    Name::from(text.as_bytes())
}

fn questions() -> Vec<Question<'static>> {
    let at = 1_546_000_000 + 86_400 * 365 * 2;
    let list = ListQuestion::default();
    let wheres = vec![
        Where { column: name("uid"), text: Wanted::Is(name("0")) },
        Where { column: name("username"), text: Wanted::Begins(name("u")) },
        Where { column: name("address"), text: Wanted::In(Network::parse(b"10.0.0.0/8").unwrap()) },
    ];
    let state = |table: &str, wheres| StateQuestion {
        table: name(table),
        at,
        host: None,
        stream: Some(name("pack_users")),
        wheres,
        known_at: Some(at * 1_000_000),
    };
    let all = |table: &str| HistoryQuestion { from: Some(0), ..history(&name(table)) };
    vec![
        Question::State(state("users", wheres)),
        Question::State(StateQuestion { stream: None, known_at: None, ..state("mounts", Vec::new()) }),
        Question::Who(WhoQuestion { subject: Subject::Ip(name("10.0.2.1")), at, host: None, known_at: None }),
        Question::Who(WhoQuestion { subject: Subject::Uid(name("0")), at, host: Some(name("db")), known_at: None }),
        Question::What(WhatQuestion { path: name("/media/3"), host: name("db"), at, known_at: None }),
        Question::History(all("mounts")),
        Question::Events(all("process_events")),
        Question::Diff(DiffQuestion {
            table: name("interface_addresses"),
            host: name("db"),
            stream: None,
            from: 0,
            to: at,
            known_at: None,
        }),
        Question::Hosts(list.clone()),
        Question::Tables(list.clone()),
        Question::Coverage(ListQuestion { table: Some(name("users")), ..list }),
        Question::Stats,
        Question::Lookup(Lookup {
            table: name("users"),
            column: name("uid"),
            hosts: vec![b"db", b"web-2"],
            keys: vec![Key { host: 1, value: b"0", at }, Key { host: 0, value: b"500", at }],
            known_at: None,
        }),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let chunks =
        vec![Chunk { source: b"log", offset: 7, lines: b"{}\n" }, Chunk { source: b"", offset: 0, lines: b"" }];
    let some = |i: usize| batches()[i].deliveries.iter().take(3).cloned().collect();
    let mut requests: Vec<Request<'_>> = questions().into_iter().map(|q| Request::Ask(Terms::default(), q)).collect();
    requests.extend([
        Request::Producer { producer: 7, instance: 8, first: 1, last: u64::MAX },
        Request::AppendLines { producer: 7, sequence: 1, chunks },
        Request::AppendLooks { producer: 7, sequence: 2, looks: some(1) },
        Request::AppendLooks { producer: 7, sequence: 3, looks: Vec::new() },
        Request::Flush,
        Request::Compact,
        Request::Shutdown,
    ]);
    let input = |request: Request<'_>| {
        let mut input = vec![request.kind()];
        request.encode(&mut input);
        input
    };
    requests.into_iter().map(input).collect()
}

/// The parts and the ends of answers to all questions.
fn answers() -> Vec<Vec<u8>> {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let store = open(&storage, &clock, options()).unwrap();
    assert!(append(&store, &clock, &batches()[..4]).1.is_none());
    let stats = || {
        let mut stats = Stats::default();
        stats.add("connections", 3);
        stats
    };
    let mut inputs = Vec::new();
    for question in questions() {
        let mut send = |frame: Vec<u8>| {
            inputs.push([&[kind::PART], &frame[HEADER_BYTES..]].concat());
            Ok(())
        };
        let end = answer(&store.view(), &question, 1, 1 << 20, &stats, &mut send);
        let mut input = vec![if end.is_ok() { kind::DONE } else { kind::ERROR }];
        match end {
            Ok(done) => done.encode(&mut input),
            Err(failure) => failure.encode(&mut input),
        }
        inputs.push(input);
    }
    inputs
}

/// The frames of the protocol's page.
fn examples() -> Vec<Vec<u8>> {
    let page = include_str!("../../server/PROTOCOL.md").split_once("## 7. Examples").unwrap().1;
    let blocks = page.split("```").skip(1).step_by(2);
    let nibble = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    blocks
        .map(|block| {
            let digits: Vec<u8> = block.bytes().filter_map(nibble).collect();
            digits.chunks_exact(2).map(|two| two[0] << 4 | two[1]).collect()
        })
        .collect()
}

fn messages() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = [requests(), answers()].concat();
    for frame in examples() {
        inputs.push([&[0], &frame[..]].concat());
        inputs.push([&frame[4..5], &frame[HEADER_BYTES..]].concat());
    }
    inputs
}

/// A hello, a welcome, and a few requests and other things each.
fn sessions() -> Vec<Vec<u8>> {
    let mut hello = Vec::new();
    Hello {
        oldest: 1,
        newest: 1,
        capabilities: 0,
        answer_bytes_max: 1 << 20,
        token: b"t".to_vec(),
        agent: b"a".to_vec(),
    }
    .encode(&mut hello);
    let frame = |kind: u8, id: u8, payload: &[u8]| [&[0, kind, id, payload.len() as u8], payload].concat();
    let mut inputs = Vec::new();
    let short: Vec<Vec<u8>> = requests().into_iter().filter(|request| request.len() < 256).collect();
    for roles in 0..8 {
        for (at, request) in short.iter().enumerate() {
            let mut input = [frame(kind::HELLO, 0, &hello), vec![5, roles, 0, 0]].concat();
            let other = &short[(at + usize::from(roles)) % short.len()];
            for (id, request) in [(1, request), (2, other), (1, other), (3, request), (4, request)] {
                if id != 1 || at % 3 == 0 {
                    input.extend(frame(request[0], id, &request[1..]));
                }
                match (at + usize::from(id)) % 5 {
                    0 => input.extend([6, 0, id, 0]),
                    1 => input.extend(frame(kind::PING, id, b"here")),
                    2 => input.extend(frame(kind::CREDIT, id, &[9])),
                    3 => input.extend(frame(kind::CANCEL, id, &[])),
                    _ => input.extend([7, 0, 0, 0]),
                }
            }
            input.extend(frame(kind::GOODBYE, 0, &[]));
            inputs.push(input);
        }
    }
    let mut whole = Vec::new();
    frame::put(&mut whole, kind::HELLO, 0, |out| out.extend_from_slice(&hello));
    inputs.push([&[4, 0, 0, whole.len() as u8], &whole[..], &[5, 7, 0, 0]].concat());
    inputs
}

/// The logs of a simulated fleet.
fn fleet(seed: u64, format: Format) -> Vec<Vec<u8>> {
    let options = simulate::Options { hosts: 3, days: 0.1, ..simulate::Options::nasty(seed, format) };
    simulate::generate(&options).unwrap().logs.into_iter().map(|(_, log)| log).collect()
}

/// Lines of simulated fleets, and some by hand.
fn logs() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for (seed, format) in [(1, Format::Event), (2, Format::Batch), (3, Format::Snapshot)] {
        let mut rng = Rng::new(seed);
        for log in fleet(seed, format) {
            let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
            for _ in 0..8 {
                let from = rng.below(lines.len() + 1);
                let some: Vec<u8> = lines[from..].iter().take(1 + rng.below(6)).copied().collect::<Vec<_>>().concat();
                if !some.is_empty() && some.len() < 3000 {
                    inputs.push(some);
                }
            }
        }
    }
    let line = |columns: &str, action: &str| {
        format!(
            r#"{{"name":"battery","hostIdentifier":"h","unixTime":7,"epoch":1,"counter":2,"numerics":false,"columns":{columns},"action":"{action}"}}"#
        )
    };
    let by_hand = [
        line(r#"{"a":"1","b":2,"c":null,"d":[1, {"e" : "\u00e9\ud83d\ude00\ud800"}]}"#, "added"),
        line(r#"{"load_percentage":"1.50","one_minute":1e3,"used_percent":"-0"}"#, "removed"),
        line(r#"{"a":"\"\\\/\b\f\n\r\t","a":"twice"}"#, "snapshot"),
        r#"{"severity":"0","message":"m","hostname":"h","unixTime":"7","version":"5.10.2"}"#.to_owned(),
        r#"{"name":"osquery_info","calendarTime":"Mon Mar  4 10:00:05 2024 UTC","snapshot":[{"version":"5.1.0"}]}"#
            .to_owned(),
        r#"{"name":"users","unixTime":"1.5e3","epoch":"0","counter":"1","diffResults":{"removed":"","added":[{}]}}"#
            .to_owned(),
        "\u{feff} [] \r\n\t\n{\"a\":1}\n\"\"\n{}{}".to_owned(),
        "[".repeat(70),
    ];
    inputs.extend(by_hand.iter().map(|line| [line, "\n", line].concat().into_bytes()));
    inputs.push(by_hand.join("\n").into_bytes());
    inputs
}

fn hold() -> Hold {
    let spill = Spill::new(Arc::new(MemoryStorage::new()));
    Hold::new(Catalogue::shipped(), StreamMap::empty(), spill, usize::MAX)
}

/// The scripted history as the log has it, and with its content as it is.
fn commits() -> Vec<Vec<u8>> {
    let some = batches().into_iter().flat_map(|batch| [1, 2, 4].map(|n| batch.deliveries[..n].to_vec()));
    // Much that is alike is packed.
    let log = fleet(1, Format::Event).concat();
    let (mut hold, mut alike) = (hold(), Vec::new());
    let end = log.iter().take(300_000).rposition(|byte| *byte == b'\n').unwrap_or_default();
    hold.lines(b"log", 0, &log[..end], &mut alike).unwrap();
    let alike = alike.chunks(15).take(20).map(<[Delivery]>::to_vec);
    let mut inputs = Vec::new();
    for deliveries in some.chain(alike) {
        let commit = Commit { recorded: 0, batch: Batch { deliveries, ..Batch::default() } };
        let mut payload = Vec::new();
        encode_batch(&commit, &mut payload).unwrap();
        // The length announced, the form, the content.
        let (length, form, content) = (&payload[32..36], payload[36], &payload[37..]);
        inputs.push([&[form], &length[..2], content].concat());
        let (mut rest, mut plain) = (content, Vec::new());
        let announced = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        if form == 1 && zstd::decode(&mut rest, announced, &mut plain).is_ok() {
            inputs.push([&[0, 0, 0], &plain[..]].concat());
        }
    }
    inputs
}

#[test]
#[ignore = "writes into the corpus"]
fn seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, inputs) in [("wire", messages()), ("session", sessions()), ("lines", logs()), ("commits", commits())] {
        for (at, input) in inputs.into_iter().enumerate() {
            std::fs::write(corpus.join(target).join(format!("seed-{at}")), input).unwrap();
        }
    }
}
