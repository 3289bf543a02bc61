//! Two hundred collectors at once, each with its own host: every batch is in once, and every host answers.

mod served;

use erstwhile_client::{Chunk, Client, Connect, Done, Incoming, Request};
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::question::{ListQuestion, StateQuestion};
use served::Served;

const COLLECTORS: usize = 200;
const BATCHES: u64 = 8;
const ROWS: usize = 20;

fn lines(collector: usize, batch: u64) -> String {
    let line = |row: usize| {
        format!(
            "{{\"name\":\"users\",\"hostIdentifier\":\"host-{collector}\",\"unixTime\":{},\"epoch\":0,\"counter\":{},\
             \"numerics\":false,\"columns\":{{\"uid\":\"{batch}-{row}\"}},\"action\":\"added\"}}\n",
            1_500_000_000 + batch,
            batch - 1
        )
    };
    (0..ROWS).map(line).collect()
}

#[test]
fn two_hundred_collectors_append_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\nhold_millis = 500\n[engine]\nmemtable_bytes_max = 2000000\n").unwrap();
    let served = Served::start(&folder.path().join("store"), &["--config", config.to_str().unwrap()]);
    let token = std::fs::read_to_string(served.token_file("ingest")).unwrap();
    let to = Connect::to(&served.address).token(token.trim());
    std::thread::scope(|scope| {
        for collector in 0..COLLECTORS {
            let to = &to;
            scope.spawn(move || {
                let mut client = Client::connect(to).unwrap();
                let producer = 1 + collector as u128;
                assert_eq!(client.producer(producer, producer, 1, 0).unwrap(), 0);
                let mut offset = 0;
                // All are under way at once, and each is sent twice.
                for sequence in 1..=BATCHES {
                    let text = lines(collector, sequence);
                    for _ in 0..2 {
                        let chunks = vec![Chunk { source: b"log", offset, lines: text.as_bytes() }];
                        client.send(&Request::AppendLines { producer, sequence, chunks }).unwrap();
                    }
                    offset += text.len() as u64;
                }
                let (mut first, mut again) = (0, 0);
                for _ in 0..2 * BATCHES {
                    match client.receive().unwrap().1 {
                        Incoming::Done(Done::Lines(appended)) if appended.again => again += 1,
                        Incoming::Done(Done::Lines(_)) => first += 1,
                        other => panic!("{other:?}"),
                    }
                }
                assert_eq!((first, again), (BATCHES, BATCHES));
            });
        }
    });
    let token = std::fs::read_to_string(served.token_file("read")).unwrap();
    let mut reader = Client::connect(&Connect::to(&served.address).token(token.trim())).unwrap();
    // The last look of each is held back until nothing more came.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(reader.hosts(&ListQuestion::default()).unwrap().len(), COLLECTORS);
    let question = StateQuestion {
        table: Name::from(&b"users"[..]),
        at: 1_500_001_000,
        host: None,
        stream: None,
        wheres: Vec::new(),
        known_at: None,
    };
    let state = reader.state(&question).unwrap();
    assert_eq!(state.rows.len(), COLLECTORS * BATCHES as usize * ROWS);
    assert!(state.rows.iter().all(|held| held.version.count == 1), "each once");
}
