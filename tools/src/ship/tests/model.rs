//! The story: somebody writes logs, rotates them in every way, in the midst of lines; somebody else kills the shipper at
//! any point, the connection breaks, acknowledgements are lost or come twice. In the end the sink has every log's text,
//! once, in order.

use super::fake::{KILLED, Rng, TestShipper, World, append, gz, zst};
use crate::ship::state::Step;
use crate::ship::{Event, Turn};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A log and what was ever written to it.
struct Log {
    path: PathBuf,
    truth: Vec<u8>,
    lines: u64,
    /// The last line is not whole.
    torn: bool,
    /// What every line begins with.
    prefix: String,
}

struct Model {
    world: World,
    rng: Rng,
    logs: Vec<Log>,
    shipper: Option<TestShipper>,
    kills: u32,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut rng = Rng::new(seed, 1);
        let mut world = World::new(seed);
        let millis = Duration::from_millis;
        world.options.in_flight_max = rng.between(1, 4) as usize;
        world.options.batch_bytes = rng.between(2000, 9000);
        world.options.batch_wait = millis(rng.below(20));
        world.options.scan = millis(rng.between(20, 2000));
        world.options.settle = millis(200);
        world.options.linger = millis(rng.below(50));
        world.options.missing = millis(500);
        world.options.retry = (millis(2), millis(50));
        world.options.unpack_max = rng.between(1, 2) as usize;
        world.options.open_files_max = *[0, 512].get(rng.index(2)).unwrap();
        {
            let mut server = world.server.borrow_mut();
            server.request_bytes_max = 20_000;
            server.trouble = [0.0, 0.02, 0.08][rng.index(3)];
        }
        let logs = (0..rng.between(1, 3)).map(|number| Log {
            path: world.log(&format!("{number}.log")),
            truth: vec![],
            lines: 0,
            torn: false,
            // Generations that begin alike beyond what a print of the first bytes covers.
            prefix: "x".repeat(if number == 1 { 1500 } else { 0 }),
        });
        let logs = logs.collect();
        Model { world, rng, logs, shipper: None, kills: 0 }
    }

    fn write(&mut self, at: usize, path: &Path) {
        let log = &mut self.logs[at];
        let mut text = vec![];
        for _ in 0..self.rng.between(1, 6) {
            if !log.torn {
                log.lines += 1;
                text.extend(format!("{}{}:{} ", log.prefix, at, log.lines).bytes());
            }
            let most = [10, 100, 3000][self.rng.index(3)];
            let rng = &mut self.rng;
            text.extend((0..rng.below(most)).map(|_| b"0123456789abcdef"[rng.index(16)]));
            log.torn = self.rng.chance(0.15);
            if log.torn {
                break;
            }
            text.push(b'\n');
        }
        log.truth.extend(&text);
        append(path, text);
    }

    /// A little time passes, and the shipper does something or dies.
    fn poke(&mut self) {
        for _ in 0..self.rng.below(4) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.world.clock.advance(self.rng.below(3000) as u32);
        let Some(shipper) = &mut self.shipper else {
            if self.rng.chance(0.5) {
                self.shipper = Some(self.world.open().unwrap());
            }
            return;
        };
        if self.world.server.borrow().trouble > 0.0 && self.rng.chance(0.05) {
            let step = [Step::Write, Step::Rename, Step::SyncDir, Step::Done][self.rng.index(4)];
            shipper.kill_at(step, self.rng.between(1, 3));
        }
        let died = match self.rng.below(9) {
            0 => shipper.look().map(drop),
            1 => shipper.greet().map(drop),
            2 => shipper.collect(Duration::ZERO).map(drop),
            // Killed with a batch in the place that was never sent.
            3 => shipper.cut().map(drop),
            4 => shipper.send(),
            _ => shipper.turn().map(drop),
        };
        if let Err(failure) = &died {
            assert!(failure.to_string().starts_with(KILLED), "{failure}");
        }
        if died.is_err() || self.rng.chance(0.02) {
            self.shipper = None;
            self.kills += 1;
        }
    }

    fn rotate(&mut self, at: usize) {
        let path = self.logs[at].path.clone();
        if !path.exists() {
            return;
        }
        let name = |turn: usize, ending: &str| PathBuf::from(format!("{}.{turn}{ending}", path.display()));
        let endings = ["", ".gz", ".zst"];
        let last = (1..).find(|&turn| endings.iter().all(|ending| !name(turn, ending).exists())).unwrap();
        // As osquery does it: the first is packed as the second, and then overwritten.
        let overwrites = self.rng.chance(0.3) && name(1, "").exists();
        for turn in (1..last).rev() {
            for ending in endings {
                let from = name(turn, ending);
                if !from.exists() {
                } else if overwrites && turn == 1 {
                    self.pack(&from, &name(2, ".zst"), zst);
                } else {
                    fs::rename(from, name(turn + 1, ending)).unwrap();
                }
                if self.rng.chance(0.1) {
                    self.poke();
                }
            }
        }
        let first = name(1, "");
        if self.rng.chance(0.4) {
            // Copied, seen half copied, cut off.
            let text = fs::read(&path).unwrap();
            let half = self.rng.below(text.len() as u64 + 1) as usize;
            if overwrites {
                fs::remove_file(&first).unwrap();
            }
            append(&first, &text[..half]);
            self.poke();
            append(&first, &text[half..]);
            self.poke();
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        } else {
            fs::rename(&path, &first).unwrap();
            self.poke();
            // The writer has not heard of it yet.
            if self.rng.chance(0.5) {
                self.write(at, &first);
                self.poke();
            }
            if self.rng.chance(0.5) {
                fs::write(&path, "").unwrap();
            }
        }
        self.poke();
        let packed = match self.rng.below(4) {
            0 => (name(1, ".gz"), gz as fn(&[u8]) -> Vec<u8>),
            1 => (name(1, ".zst"), zst as fn(&[u8]) -> Vec<u8>),
            _ => return,
        };
        // Empty files are not packed by anyone.
        if fs::metadata(&first).unwrap().len() > 0 {
            self.pack(&first, &packed.0, packed.1);
            fs::remove_file(&first).unwrap();
        }
    }

    fn pack(&mut self, from: &Path, to: &Path, pack: fn(&[u8]) -> Vec<u8>) {
        let packed = pack(&fs::read(from).unwrap());
        let half = self.rng.below(packed.len() as u64) as usize;
        append(to, &packed[..half]);
        self.poke();
        append(to, &packed[half..]);
        self.poke();
    }

    fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            let at = self.rng.index(self.logs.len());
            match self.rng.below(10) {
                0..=3 => self.write(at, &self.logs[at].path.clone()),
                4 => self.rotate(at),
                5 => {
                    self.world.clock.advance(self.rng.below(1_000_000) as u32);
                    self.poke();
                }
                6 if self.rng.chance(0.1) => self.shipper = None,
                _ => self.poke(),
            }
        }
        self.finish();
    }

    fn finish(&mut self) {
        for at in 0..self.logs.len() {
            if std::mem::take(&mut self.logs[at].torn) {
                self.logs[at].truth.push(b'\n');
                append(&self.logs[at].path.clone(), "\n");
            }
        }
        self.world.server.borrow_mut().trouble = 0.0;
        self.shipper = None;
        let mut shipper = self.world.open().unwrap();
        self.world.ship_for(&mut shipper, Duration::from_secs(8));
        self.world.ship(&mut shipper);
        assert!(matches!(shipper.turn().unwrap(), Turn::CaughtUp(_)));
        assert_eq!(shipper.report().bytes_behind(), 0, "{}", shipper.report());
        for log in &self.logs {
            let text = self.world.server.borrow().text(&log.path, 0);
            if text != log.truth {
                let same = text.iter().zip(&log.truth).take_while(|(one, other)| one == other).count();
                let show = |text: &[u8]| {
                    String::from_utf8_lossy(&text[same.min(text.len())..text.len().min(same + 60)]).into_owned()
                };
                panic!(
                    "{}: {} bytes came instead of {}; they differ from {same} on: {:?} instead of {:?}\n{:#?}",
                    log.path.display(),
                    text.len(),
                    log.truth.len(),
                    show(&text),
                    show(&log.truth),
                    self.world.events()
                );
            }
        }
        // What was cut off has been copied, so only the telling of it is right.
        let bad = |event: &Event| {
            matches!(event, Event::Lost { .. } | Event::Skipped { .. } | Event::Trouble { .. } | Event::Late { .. })
        };
        assert!(!self.world.events().iter().any(bad), "{:#?}", self.world.events());
    }
}

#[test]
fn whatever_happens_every_byte_comes_once_and_in_order() {
    let seeds = std::env::var("ERSTWHILE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    let first = std::env::var("ERSTWHILE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..seeds, |first: u64| first..first + 1);
    let mut kills = 0;
    for seed in seeds.clone() {
        let mut model = Model::new(seed);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.run(120)));
        if let Err(panic) = done {
            eprintln!("seed {seed}\n{:#?}", model.world.events());
            std::panic::resume_unwind(panic);
        }
        kills += model.kills;
    }
    assert!(kills as u64 > seeds.count() as u64, "{kills}");
}
