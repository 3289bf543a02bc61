//! From a log that grows, over a shipper and a server that are killed again and again, to the answers of an import.

#![expect(clippy::disallowed_methods, reason = "processes of their own live by the real time")]

mod served;

use served::{Served, command, output};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Draws numbers that are the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A free port, which the server keeps over its restarts.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn simulate(folder: &Path, hosts: &str, seed: &str) -> Vec<PathBuf> {
    let sim = folder.join("sim");
    let args = ["simulate", "--faults", "all", "--days", "1", "--hosts", hosts, "--seed", seed, "--out"];
    assert!(output(&[&args[..], &[sim.to_str().unwrap()]].concat()).status.success());
    let logs = std::fs::read_dir(sim.join("logs")).unwrap().map(|entry| entry.unwrap().path());
    // Packed ones do not grow.
    let mut logs: Vec<PathBuf> = logs.filter(|log| log.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    logs
}

struct Shipping {
    state: String,
    address: String,
    token: String,
    files: Vec<String>,
}

impl Shipping {
    fn start(&self, once: bool) -> Child {
        let mut args = vec!["ship", "--state", &self.state, "--server", &self.address, "--token-file", &self.token];
        if once {
            args.push("--once");
        }
        args.extend(self.files.iter().map(|file| &**file));
        command(&args).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Ships all that is there, and waits until it is in.
    fn finish(&self) {
        let mut child = self.start(true);
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(child.wait().unwrap().success());
    }
}

/// What a store answers, but for what depends on when something was recorded.
fn answers(of: &[&str]) -> Vec<String> {
    let tables = output(&[&["tables", "--format", "csv"][..], of].concat());
    assert!(tables.status.success(), "{tables:?}");
    let tables = String::from_utf8(tables.stdout).unwrap();
    let mut answers = vec![tables.clone()];
    for table in tables.lines().skip(1).filter_map(|line| line.split(',').next()) {
        let history = output(&[&["history", table, "--format", "csv"][..], of].concat());
        assert!(history.status.success(), "{history:?}");
        answers.push(String::from_utf8_lossy(&history.stdout).into_owned());
    }
    let coverage = String::from_utf8(output(&[&["coverage", "--format", "json"][..], of].concat()).stdout).unwrap();
    // How long after it was observed something was recorded is no property of the log.
    let mut without_skew = String::new();
    for (at, piece) in coverage.split("\"skew\":[").enumerate() {
        let piece = if at == 0 { piece } else { piece.split_once(']').unwrap().1 };
        without_skew += piece;
    }
    answers.push(without_skew);
    answers
}

/// Waits until what is held back was handed on.
fn settle(of: &[&str], wanted: &[String]) -> Vec<String> {
    let began = Instant::now();
    loop {
        let found = answers(of);
        if found == wanted || began.elapsed() > Duration::from_secs(30) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Ships growing logs while either side is killed so often.
fn killed(kills: usize, seed: u64) {
    eprintln!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let logs = simulate(folder.path(), "6", "5");
    let live = folder.path().join("live");
    std::fs::create_dir(&live).unwrap();
    let (mut texts, mut files): (Vec<Vec<u8>>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for log in &logs {
        texts.push(std::fs::read(log).unwrap());
        files.push(live.join(format!("host{}.results.log", files.len())));
    }
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\nhold_millis = 700\n[engine]\nmemtable_bytes_max = 3000000\n").unwrap();
    let (store, address) = (folder.path().join("store"), free_address());
    let more = ["--config", config.to_str().unwrap(), "--listen", &address];
    let mut served = Served::start(&store, &more);
    let shipping = Shipping {
        state: folder.path().join("state").to_str().unwrap().to_owned(),
        address: address.clone(),
        token: served.token_file("ingest"),
        files: files.iter().map(|file| file.to_str().unwrap().to_owned()).collect(),
    };
    let mut draw = Draw(seed);
    let mut written = vec![0; texts.len()];
    let mut shipper = shipping.start(false);
    for kill in 0..kills {
        // Every log grows by some bytes, whose last line may be torn; now and then one is renamed.
        for (at, text) in texts.iter().enumerate() {
            let more = (draw.below(2 * text.len() as u64 / kills as u64 + 2) as usize).min(text.len() - written[at]);
            let mut file = OpenOptions::new().append(true).create(true).open(&files[at]).unwrap();
            file.write_all(&text[written[at]..written[at] + more]).unwrap();
            written[at] += more;
            if draw.below(40) == 0 {
                // A line ends in the file that it begins in.
                let rest = &text[written[at]..];
                let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
                file.write_all(&rest[..end]).unwrap();
                written[at] += end;
                let mut number = 1;
                while files[at].with_extension(format!("log.{number}")).exists() {
                    number += 1;
                }
                for number in (1..number).rev() {
                    let from = files[at].with_extension(format!("log.{number}"));
                    std::fs::rename(from, files[at].with_extension(format!("log.{}", number + 1))).unwrap();
                }
                std::fs::rename(&files[at], files[at].with_extension("log.1")).unwrap();
                File::create(&files[at]).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(draw.below(120)));
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
    for (at, text) in texts.iter().enumerate() {
        let mut file = OpenOptions::new().append(true).create(true).open(&files[at]).unwrap();
        file.write_all(&text[written[at]..]).unwrap();
    }
    shipping.finish();
    let imported = folder.path().join("imported");
    let mut args = vec!["import".to_owned(), "--store".to_owned(), imported.to_str().unwrap().to_owned()];
    args.extend(logs.iter().map(|log| log.to_str().unwrap().to_owned()));
    let imported_all = output(&args.iter().map(|arg| &**arg).collect::<Vec<&str>>());
    assert!([Some(0), Some(3)].contains(&imported_all.status.code()), "{imported_all:?}");
    let wanted = answers(&["--store", imported.to_str().unwrap()]);
    let token = served.token_file("read");
    let found = settle(&["--server", &address, "--token-file", &token], &wanted);
    for (found, wanted) in found.iter().zip(&wanted) {
        if found != wanted {
            let differ = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
            panic!("{} lines instead of {}; first: {differ:?}", found.lines().count(), wanted.lines().count());
        }
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn what_is_shipped_is_in_once_whoever_is_killed() {
    killed(16, 1);
}

/// The long form: two hundred kills of each side. `cargo test -p erstwhile --test ship -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn what_is_shipped_is_in_once_after_two_hundred_kills_of_each_side() {
    killed(400, 2);
}
