//! From a fleet's logs with everything that goes wrong, over a shipper and a server that are killed again and again, to
//! answers that are those of the simulator's truth about the fleet.

#![expect(clippy::disallowed_methods, reason = "processes of their own live by the real time")]

mod errors;
mod logs;
mod restarts;
#[path = "../served/mod.rs"]
mod served;

use erstwhile::simulate::Format;
use erstwhile_engine::io::DiskStorage;
use erstwhile_engine::options::Options;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::Question;
use erstwhile_tests::support::truth::{Truth, state};
use logs::{Logs, Turn};
use serde_json::Value;
use served::{Served, command, output};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// A free port, which the server keeps over its restarts.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A shipper of all logs of a folder, and what it and those before it said.
struct Shipping {
    state: String,
    address: String,
    token: String,
    logs: String,
    said: PathBuf,
}

impl Shipping {
    fn start(&self, once: bool) -> Child {
        let mut args = vec!["ship", "--state", &self.state, "--server", &self.address, "--token-file", &self.token];
        if once {
            args.push("--once");
        }
        args.push(&self.logs);
        let said = OpenOptions::new().append(true).create(true).open(&self.said).unwrap();
        command(&args).stderr(said).spawn().unwrap()
    }

    /// Ships all that is there, and waits until it is in.
    fn finish(&self) {
        let mut child = self.start(true);
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(child.wait().unwrap().success(), "{}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }
}

/// Asks a server as a user does.
struct Asking {
    server: Vec<String>,
}

impl Asking {
    fn ask(&self, question: &Question) -> Result<Value, String> {
        let at;
        let words = match question {
            Question::Hosts => vec!["hosts"],
            Question::Tables => vec!["tables"],
            Question::Coverage { .. } => vec!["coverage"],
            Question::History { table, .. } => vec!["history", table],
            Question::State { table, at: second, .. } => {
                at = second.to_string();
                vec!["state", table, "--at", &at]
            }
            other => panic!("{other:?}"),
        };
        let server: Vec<&str> = self.server.iter().map(|arg| &**arg).collect();
        let answer = output(&[&words[..], &["--format", "json"], &server].concat());
        if answer.status.success() {
            Ok(serde_json::from_slice(&answer.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&answer.stderr).into_owned())
        }
    }

    /// Asserts that answers are those of the truth, once what is held back was handed on.
    fn check(&self, truth: &Truth, rng: &mut Rng) {
        let began = Instant::now();
        for question in truth.questions(2, rng) {
            while let Some(text) = truth.difference(&question, self.ask(&question)) {
                assert!(began.elapsed() < Duration::from_secs(30), "{question:?}\n{text}");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        let looks = truth.plain_looks();
        let (some, mut checked) = (looks.len() / 30 + 1, 0);
        for look in looks.into_iter().skip(rng.below(some)).step_by(some) {
            checked += truth.world.check(look, &self.ask(&state(&look.table, look.second)).unwrap());
        }
        assert!(checked > 20, "{checked} rows");
    }
}

/// How many lines of a store were put aside, by reason.
fn check_dead_letters(store: &Path, truth: &Truth) {
    let storage = DiskStorage::open(store, false).unwrap();
    let view = open_view(&storage, Options::default().cache_bytes_max).unwrap();
    assert_eq!(view.dead_letters(&mut Default::default()).unwrap(), truth.dead_letters);
}

/// Ships growing logs while either side is killed so often.
fn killed(kills: usize, format: Format, seed: u64) {
    eprintln!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let sim = folder.path().join("sim");
    let word = if format == Format::Event { "event" } else { "batch" };
    let args = ["simulate", "--faults", "all", "--hosts", "6", "--seed", "5", "--format", word, "--out"];
    assert!(output(&[&args[..], &[sim.to_str().unwrap()]].concat()).status.success());
    let truth = Truth::read(&sim, format);
    let rng = &mut Rng::new(seed);
    let live = folder.path().join("live");
    let mut logs = Logs::new(&sim.join("logs"), &live, kills, rng);
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\nhold_millis = 700\n[engine]\nmemtable_bytes_max = 3000000\n").unwrap();
    let (store, address) = (folder.path().join("store"), free_address());
    let more = ["--config", config.to_str().unwrap(), "--listen", &address];
    let mut served = Served::start(&store, &more);
    let shipping = Shipping {
        state: folder.path().join("state").to_str().unwrap().to_owned(),
        address: address.clone(),
        token: served.token_file("ingest"),
        logs: live.join("*.log*").to_str().unwrap().to_owned(),
        said: folder.path().join("said"),
    };
    let began = Instant::now();
    let mut shipper = shipping.start(false);
    // As often in the short form as in the long one, where each is seen by more than one shipper.
    let turn_every = (kills / 12).max(3);
    for kill in 0..kills {
        logs.step(kill, rng);
        if kill % turn_every == turn_every - 1 {
            logs.turn([Turn::Cut, Turn::Rename, Turn::Pack][kill / turn_every % 3], rng);
        }
        // Mostly one is killed in the midst of the work, and at times it comes to its end.
        let most = if rng.chance(12) { 3000 } else { 150 };
        std::thread::sleep(Duration::from_millis(rng.below(most) as u64));
        if kill % 2 == 0 {
            shipper.kill().unwrap();
            shipper.wait().unwrap();
            shipper = shipping.start(false);
        } else {
            served.kill();
            served = Served::start(&store, &more);
        }
    }
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    let meanwhile = shipping.said();
    logs.finish();
    shipping.finish();
    let said = shipping.said();
    let again = meanwhile.lines().filter(|line| line.ends_with("sent again")).count();
    let last = meanwhile.lines().rfind(|line| line.starts_with("connected; all up to"));
    eprintln!(
        "{} s; {again} times batches were sent again; at last: {last:?}; {:?}",
        began.elapsed().as_secs(),
        logs.turns
    );
    assert!(logs.turns.iter().all(|times| *times > 0), "{:?}", logs.turns);
    for loss in ["LOST", "SKIPPED"] {
        assert!(!said.contains(loss), "{said}");
    }
    assert!(last.is_some(), "something went in between the kills: {said}");
    let mut args = vec!["--server".to_owned(), address];
    args.extend(["--token-file".to_owned(), served.token_file("read")]);
    Asking { server: args }.check(&truth, rng);
    assert!(served.terminate(), "it ends well");
    check_dead_letters(&store, &truth);
}

#[test]
fn what_is_shipped_is_answered_as_the_truth_demands_whoever_is_killed() {
    killed(16, Format::Event, 1);
}

/// The long form: two hundred kills of each side. `cargo test -p erstwhile --test ship -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn what_is_shipped_is_answered_as_the_truth_demands_after_two_hundred_kills_of_each_side() {
    killed(400, Format::Event, 2);
    killed(400, Format::Batch, 3);
}
