//! The kept inputs, and some that are like them: what a plain `cargo test` does of fuzzing.
//!
//! `ERSTWHILE_FUZZ_ROUNDS=N` runs N times as many (default 1); `ERSTWHILE_FUZZ_SEED=S` begins at another seed.

mod seeds;

use erstwhile_fuzz::{TARGETS, Target};
use erstwhile_tests::support::rng::Rng;
use std::path::{Path, PathBuf};

/// An input is cut at this length.
const INPUT_BYTES_MAX: usize = 4096;

/// Numbers at which things change.
const EDGES: [u8; 9] = [0, 1, 0x0a, 0x22, 0x5c, 0x7b, 0x7f, 0x80, 0xff];

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn kept(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut kept: Vec<(PathBuf, Vec<u8>)> = files
        .map(|file| {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    kept.sort();
    kept
}

/// Says which input fails, when one does.
struct Case<'c>(&'c str, &'c [u8]);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

/// Something like an input: changed in a few places, or with a piece of another.
fn like(input: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = at + rng.below((bytes.len() - at).min(32) + 1);
        match rng.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = *rng.pick(&EDGES),
            2 => bytes.insert(at, *rng.pick(&EDGES)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => bytes.truncate(at),
            6 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(rng.word() as u8 % 9).wrapping_sub(4),
            _ => {
                let from = rng.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn run(name: &str, count: u64) {
    let (_, target): &Target = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let kept = kept(name);
    assert!(kept.len() > 20, "{} inputs are kept", kept.len());
    for (path, input) in &kept {
        let _case = Case(&path.display().to_string(), input);
        target(input);
    }
    let seed = env("ERSTWHILE_FUZZ_SEED", 1);
    let mut rng = Rng::new(seed);
    for i in 0..count * env("ERSTWHILE_FUZZ_ROUNDS", 1) {
        let (_, input) = rng.pick(&kept).clone();
        let input = like(&input, &rng.pick(&kept).1, &mut rng);
        let _case = Case(&format!("{name}, input {i} of seed {seed}"), &input);
        target(&input);
    }
}

#[test]
fn messages() {
    run("wire", 300_000);
}

#[test]
fn sessions() {
    run("session", 50_000);
}

#[test]
fn logs() {
    run("lines", 15_000);
}

#[test]
fn commits() {
    run("commits", 100_000);
}
