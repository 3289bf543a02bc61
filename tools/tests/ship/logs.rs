//! Log files as a host has them: they grow, are renamed, copied and cut off, packed, and some arrive late and whole.
//!
//! Invariants:
//! - Nobody but the shipper could lose a byte: nothing is written between a copy and the cut, a plain file stays until its
//!   packed one is whole, and what was rotated is not deleted.
//! - A line ends in the file that it begins in.

use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::unpack;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What rotation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The log is renamed, and there is a new one.
    Rename,
    /// The log is copied and cut off.
    Cut,
    /// The newest rotated file is packed.
    Pack,
}

/// A log that grows line by line.
struct Growing {
    path: PathBuf,
    text: Vec<u8>,
    written: usize,
    /// The first step in which it grows.
    from: usize,
}

/// A file that arrives whole, as it was packed.
struct Whole {
    path: PathBuf,
    bytes: Vec<u8>,
    step: usize,
}

/// All logs of a host.
pub(crate) struct Logs {
    growing: Vec<Growing>,
    whole: Vec<Whole>,
    steps: usize,
    /// How often the logs were turned by each way.
    pub(crate) turns: [usize; 3],
}

impl Logs {
    /// The logs in `from`, which are to come into `to` in so many steps. The first is the longest, and there from the
    /// beginning; others begin some time. What is packed comes as a rotated file of its log.
    pub(crate) fn new(from: &Path, to: &Path, steps: usize, rng: &mut Rng) -> Logs {
        fs::create_dir(to).unwrap();
        let (mut growing, mut whole) = (Vec::new(), Vec::new());
        let mut names: Vec<PathBuf> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for name in names {
            let bytes = fs::read(&name).unwrap();
            let file = name.file_name().unwrap().to_str().unwrap();
            let (log, packed) = file.split_once(".log").unwrap();
            let step = rng.below(steps);
            if packed.is_empty() && (rng.chance(60) || log == "osqueryd.results") {
                let from = if log == "osqueryd.results" { 0 } else { step };
                growing.push(Growing { path: to.join(file), text: bytes, written: 0, from });
            } else {
                assert_eq!(packed.is_empty(), unpack(&bytes) == bytes, "{file}");
                whole.push(Whole { path: to.join(format!("{log}.log.1{packed}")), bytes, step });
            }
        }
        growing.sort_by_key(|log| std::cmp::Reverse(log.text.len()));
        assert!(whole.len() > 3 && growing.len() > 3);
        Logs { growing, whole, steps, turns: [0; 3] }
    }

    /// Lets logs grow by some bytes, the last line of which may be torn, and what is due arrive.
    pub(crate) fn step(&mut self, step: usize, rng: &mut Rng) {
        for log in self.growing.iter_mut().filter(|log| log.from <= step) {
            let most = 2 * log.text.len() / (self.steps - log.from) + 2;
            log.write(rng.below(most));
        }
        self.arrive(step);
    }

    fn arrive(&mut self, step: usize) {
        for file in self.whole.extract_if(.., |file| file.step <= step) {
            let part = file.path.with_extension("part");
            fs::write(&part, &file.bytes).unwrap();
            fs::rename(part, &file.path).unwrap();
            if file.path.extension().is_some_and(|ending| ending == "1") {
                // A plain file's last line is whole only when there is a newer file.
                File::create(file.path.with_extension("")).unwrap();
            }
        }
    }

    /// Turns the longest log over.
    pub(crate) fn turn(&mut self, turn: Turn, rng: &mut Rng) {
        if self.growing[0].turn(turn, rng) {
            self.turns[turn as usize] += 1;
        }
    }

    /// All that is left comes. A line without its end is one once its file is no log any more.
    pub(crate) fn finish(&mut self) {
        self.arrive(self.steps);
        for log in &mut self.growing {
            log.write(log.text.len());
            if !log.text.ends_with(b"\n") {
                log.rename();
            }
        }
    }
}

impl Growing {
    fn write(&mut self, more: usize) {
        let more = more.min(self.text.len() - self.written);
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(&self.text[self.written..self.written + more]).unwrap();
        self.written += more;
    }

    /// The path of a rotated file: the greater the number the older.
    fn rotated(&self, number: usize, ending: &str) -> PathBuf {
        self.path.with_extension(format!("log.{number}{ending}"))
    }

    /// The ending of a rotated file, if there is one of this number.
    fn ending(&self, number: usize) -> Option<&'static str> {
        ["", ".gz", ".zst"].into_iter().find(|ending| self.rotated(number, ending).exists())
    }

    /// Ends the line, and makes room for a rotated file of number 1.
    fn shift(&mut self) {
        let rest = &self.text[self.written..];
        self.write(rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1));
        let count = (1..).take_while(|number| self.ending(*number).is_some()).count();
        for number in (1..=count).rev() {
            let ending = self.ending(number).unwrap();
            fs::rename(self.rotated(number, ending), self.rotated(number + 1, ending)).unwrap();
        }
    }

    fn rename(&mut self) {
        self.shift();
        fs::rename(&self.path, self.rotated(1, "")).unwrap();
        File::create(&self.path).unwrap();
    }

    fn turn(&mut self, turn: Turn, rng: &mut Rng) -> bool {
        match turn {
            Turn::Rename => self.rename(),
            Turn::Cut => {
                self.shift();
                fs::copy(&self.path, self.rotated(1, "")).unwrap();
                OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
            }
            Turn::Pack => {
                let Some(number) = (1..100).find(|number| self.ending(*number) == Some("")) else { return false };
                let plain = self.rotated(number, "");
                let text = fs::read(&plain).unwrap();
                let (ending, bytes) = if rng.chance(50) {
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
                    encoder.write_all(&text).unwrap();
                    (".gz", encoder.finish().unwrap())
                } else {
                    (".zst", zstd::encode_all(&text[..], 1).unwrap())
                };
                let mut file = File::create(self.rotated(number, ending)).unwrap();
                for half in bytes.chunks(bytes.len() / 2 + 1) {
                    file.write_all(half).unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                fs::remove_file(plain).unwrap();
            }
        }
        true
    }
}
