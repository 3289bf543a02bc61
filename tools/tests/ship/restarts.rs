//! A server that ends before what a shipper sent came to its end: by a full disk, or at once after the last line.

use crate::served::{PROGRAM, Served, output};
use crate::{Shipping, free_address};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How many rows of the table `users` a server tells.
fn rows(served: &Served) -> usize {
    let server = served.args("read");
    let server: Vec<&str> = server.iter().map(|arg| &**arg).collect();
    let answer = output(&[&["history", "users", "--format", "csv"][..], &server].concat());
    assert!(answer.status.success(), "{answer:?}");
    String::from_utf8_lossy(&answer.stdout).lines().count() - 1
}

fn shipping(folder: &Path, served: &Served) -> Shipping {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (address, token) = (served.address.clone(), served.token_file("ingest"));
    Shipping { state: path("state"), address, token, logs: path("a.log"), said: folder.join("said") }
}

/// Looks of many hosts, each a line, with texts that do not become smaller.
fn noise(looks: u64) -> String {
    let noise = |seed: u64| (0..400).fold(seed, |x: u64, _| x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 29));
    let line = |at: u64| {
        let text: String = (0..10).map(|part| format!("{:016x}", noise(at * 10 + part + 1))).collect();
        let (host, second) = (at % 50, 1_700_000_000 + at / 50);
        format!(
            "{{\"name\":\"users\",\"hostIdentifier\":\"h{host}\",\"unixTime\":{second},\"snapshot\":[{{\"uid\":\"{text}\"}}],\
             \"action\":\"snapshot\"}}\n"
        )
    };
    (0..looks).map(line).collect()
}

/// Whatever the server says while its disk is full, the shipper lets go of nothing that is not in.
#[test]
fn all_is_in_once_a_full_disk_has_room_again() {
    const LOOKS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let (store, address) = (folder.path().join("store"), free_address());
    let (log, lines) = (folder.path().join("a.log"), noise(LOOKS));
    // No file may grow beyond so many KiB, which is what a full disk is to a log.
    let mut limited = Command::new("bash");
    limited.args(["-c", r#"trap '' XFSZ; ulimit -f 512; exec "$0" "$@""#, PROGRAM]);
    limited.args(["serve", "--listen", &address, "--store", store.to_str().unwrap()]);
    limited.env("XDG_CONFIG_HOME", "/nonexistent");
    let mut served = Served::by(limited, &store);
    let shipping = shipping(folder.path(), &served);
    let first = lines.split_inclusive('\n').take(100).map(str::len).sum::<usize>();
    fs::write(&log, &lines[..first]).unwrap();
    shipping.finish();
    OpenOptions::new().append(true).open(&log).unwrap().write_all(&lines.as_bytes()[first..]).unwrap();
    let mut shipper = shipping.start(true);
    let began = Instant::now();
    // Not only what it sent is refused: it asks what is in, and is told that nothing is known.
    while shipping.said().matches("writing stopped").count() < 2 {
        assert!(shipper.try_wait().unwrap().is_none(), "it gave up: {}", shipping.said());
        assert!(began.elapsed() < Duration::from_secs(60), "it is not refused: {}", shipping.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(served.exit_code(), Some(1));
    let mut served = Served::start(&store, &["--listen", &address]);
    while shipper.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(180), "it does not end: {}", shipping.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = shipping.said();
    assert!(shipper.wait().unwrap().success(), "{said}");
    assert_eq!(rows(&served), LOOKS as usize, "{said}");
    assert!(served.terminate(), "it ends well");
}

/// The last lines of a source are held back; the server that took them may be gone before they are handed on.
#[test]
fn the_last_lines_appear_though_the_server_is_killed_and_no_shipper_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, config) = (folder.path().join("store"), folder.path().join("config.toml"));
    let line = "{\"name\":\"users\",\"hostIdentifier\":\"a\",\"unixTime\":1700000000,\"epoch\":0,\"counter\":0,\
                \"numerics\":false,\"columns\":{\"uid\":\"1\"},\"action\":\"added\"}\n";
    fs::write(folder.path().join("a.log"), line).unwrap();
    fs::write(&config, "[limits]\nhold_millis = 5000\n").unwrap();
    let more = ["--config", config.to_str().unwrap()];
    let mut served = Served::start(&store, &more);
    shipping(folder.path(), &served).finish();
    served.kill();
    let served = Served::start(&store, &more);
    let began = Instant::now();
    while rows(&served) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "what was acknowledged does not appear");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(rows(&served), 1);
}
