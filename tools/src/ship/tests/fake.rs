//! The other side, without a network: it takes batches as the protocol says, forgets what it had not acknowledged,
//! acknowledges twice, is away, and kills the shipper.

use crate::fail::Failure;
use crate::ship::sink::{BATCH_OVERHEAD, overhead};
use crate::ship::state::Step;
use crate::ship::{Ack, Chunk, Event, Opened, Opening, Options, Shipper, Sink, SinkError, Turn};
use erstwhile_engine::io::ManualClock;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// A splitmix64 generator.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64, lane: u64) -> Rng {
        Rng(seed.wrapping_mul(0xa076_1d64_78bd_642f) ^ lane)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`; 0 if that is 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub(super) fn chance(&mut self, p: f64) -> bool {
        (self.below(1 << 30) as f64) < p * f64::from(1 << 30)
    }
}

/// A chunk that is kept.
pub(super) type Kept = (Vec<u8>, u64, Vec<u8>);

/// What the other side holds.
pub(super) struct Server {
    /// By sequence, from 1.
    pub(super) entered: Vec<Vec<Kept>>,
    queue: VecDeque<Vec<Kept>>,
    acks: VecDeque<Ack>,
    /// Every batch that was ever sent.
    sent: BTreeMap<u64, Vec<Kept>>,
    /// A sequence may be sent with less than before, since files are gone.
    pub(super) forgiving: bool,
    pub(super) request_bytes_max: u64,
    /// How likely each thing goes wrong.
    pub(super) trouble: f64,
    /// What was sent waits here until it is let in.
    pub(super) slow: bool,
    pub(super) rng: Rng,
    pub(super) opened: Vec<Opening>,
    pub(super) events: Vec<Event>,
    pub(super) away: Option<Duration>,
    pub(super) refuses: Option<String>,
    /// Of each batch.
    pub(super) dead_letters: u64,
}

/// Says that the shipper is dead.
pub(super) const KILLED: &str = "killed";

fn killed<T>() -> Result<T, SinkError> {
    Err(SinkError::Refused { why: KILLED.to_owned() })
}

fn away<T>() -> Result<T, SinkError> {
    Err(SinkError::Away { why: "nobody is there".to_owned(), wait: None })
}

impl Server {
    pub(super) fn new(seed: u64) -> Rc<RefCell<Server>> {
        Rc::new(RefCell::new(Server {
            entered: vec![],
            queue: VecDeque::new(),
            acks: VecDeque::new(),
            sent: BTreeMap::new(),
            forgiving: false,
            request_bytes_max: 1 << 20,
            trouble: 0.0,
            slow: false,
            rng: Rng::new(seed, 9),
            opened: vec![],
            events: vec![],
            away: None,
            refuses: None,
            dead_letters: 0,
        }))
    }

    fn wrong(&mut self) -> bool {
        self.rng.chance(self.trouble)
    }

    /// What waits first goes in.
    fn let_in(&mut self) {
        if let Some(batch) = self.queue.pop_front() {
            let lines = batch.iter().map(|(_, _, lines)| lines.iter().filter(|&&byte| byte == b'\n').count() as u64);
            let lines = lines.sum();
            self.entered.push(batch);
            self.acks.push_back(Ack { sequence: self.entered.len() as u64, lines, dead_letters: self.dead_letters });
        }
    }

    /// All that came of a source, in order; its offsets are checked on the way, but for gaps of `skipped` bytes in all.
    pub(super) fn text(&self, source: &Path, mut skipped: u64) -> Vec<u8> {
        let mut text = vec![];
        let mut end = 0;
        for (name, offset, lines) in self.entered.iter().flatten() {
            if name == source.as_os_str().as_encoded_bytes() {
                skipped = skipped.checked_sub(offset - end).expect("offsets go on");
                end = offset + lines.len() as u64;
                text.extend(lines);
            }
        }
        assert_eq!(skipped, 0);
        text
    }
}

pub(super) struct FakeSink(pub(super) Rc<RefCell<Server>>, pub(super) ManualClock);

impl Sink for FakeSink {
    fn open(&mut self, opening: &Opening) -> Result<Opened, SinkError> {
        let mut server = self.0.borrow_mut();
        server.opened.push(*opening);
        if let Some(wait) = server.away {
            return Err(SinkError::Away { why: "busy".to_owned(), wait: Some(wait) });
        }
        if let Some(why) = server.refuses.clone() {
            return Err(SinkError::Refused { why });
        }
        if server.wrong() {
            return away();
        }
        // Of what was under way on the old connection some went in, and the rest is forgotten.
        while !server.queue.is_empty() && server.rng.chance(0.5) {
            server.let_in();
        }
        server.queue.clear();
        server.acks.clear();
        let greatest = server.entered.len() as u64;
        let fits = greatest <= opening.last && greatest + 1 >= opening.first;
        assert!(fits || server.forgiving, "{opening:?} with {greatest}");
        Ok(Opened { greatest, request_bytes_max: server.request_bytes_max })
    }

    fn send(&mut self, sequence: u64, chunks: &[Chunk<'_>]) -> Result<(), SinkError> {
        let mut server = self.0.borrow_mut();
        if server.wrong() {
            return if server.rng.chance(0.5) { killed() } else { away() };
        }
        let size: u64 = chunks.iter().map(|chunk| overhead(chunk.source) + chunk.lines.len() as u64).sum();
        assert!(size + BATCH_OVERHEAD <= server.request_bytes_max, "{size}");
        let batch: Vec<Kept> = chunks.iter().map(|c| (c.source.to_vec(), c.offset, c.lines.to_vec())).collect();
        if !server.forgiving {
            let before = server.sent.entry(sequence).or_insert_with(|| batch.clone());
            assert!(*before == batch, "batch {sequence} is sent again as another");
        }
        let expected = (server.entered.len() + server.queue.len()) as u64 + 1;
        assert_eq!(sequence, expected, "sequences have no hole and nothing that is in is sent again");
        server.queue.push_back(batch);
        if server.wrong() {
            return if server.rng.chance(0.5) { killed() } else { away() };
        }
        Ok(())
    }

    fn acknowledged(&mut self, wait: Duration) -> Result<Option<Ack>, SinkError> {
        let mut server = self.0.borrow_mut();
        if server.wrong() {
            return if server.rng.chance(0.5) { killed() } else { away() };
        }
        if !server.slow && (server.trouble == 0.0 || server.rng.chance(0.7)) {
            server.let_in();
        }
        if server.wrong() {
            return if server.rng.chance(0.5) { killed() } else { away() };
        }
        let ack = server.acks.pop_front();
        if let Some(ack) = ack
            && server.wrong()
        {
            server.acks.push_front(ack);
        }
        if ack.is_none() {
            self.1.advance(u32::try_from(wait.as_micros()).unwrap());
        }
        Ok(ack)
    }
}

pub(super) type TestShipper = Shipper<FakeSink, ManualClock>;

/// A directory of logs, a state, a server and a clock.
pub(super) struct World {
    pub(super) server: Rc<RefCell<Server>>,
    pub(super) clock: ManualClock,
    pub(super) logs: PathBuf,
    pub(super) state: PathBuf,
    pub(super) options: Options,
    pub(super) named: Vec<OsString>,
    _dir: tempfile::TempDir,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let logs = root.join("logs");
        std::fs::create_dir(&logs).unwrap();
        World {
            server: Server::new(seed),
            clock: ManualClock::new(0),
            named: vec![logs.join("*.log*").into()],
            logs,
            state: root.join("state"),
            options: Options {
                batch_bytes: 6000,
                poll: Duration::from_millis(10),
                poll_idle: Duration::from_millis(40),
                ..Options::default()
            },
            _dir: dir,
        }
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    pub(super) fn open(&self) -> Result<TestShipper, Failure> {
        let sink = FakeSink(self.server.clone(), self.clock.clone());
        let server = self.server.clone();
        let tell = Box::new(move |event| server.borrow_mut().events.push(event));
        Shipper::open(&self.state, &self.named, self.options.clone(), sink, self.clock.clone(), tell)
    }

    /// A shipper that has cut a batch of what there is, and recorded it, and sent nothing.
    pub(super) fn cut(&self) -> TestShipper {
        let mut shipper = self.open().unwrap();
        shipper.look().unwrap();
        shipper.greet().unwrap();
        shipper.cut().unwrap();
        self.clock.advance(200_000);
        assert!(shipper.cut().unwrap());
        shipper
    }

    /// Ships until all is in.
    pub(super) fn ship(&self, shipper: &mut TestShipper) {
        for _ in 0..100_000 {
            match shipper.turn().unwrap() {
                Turn::Again => {}
                Turn::Wait(time) => shipper.rest(time).unwrap(),
                Turn::CaughtUp(_) => return,
            }
        }
        panic!("it never ends: {:?}", self.server.borrow().events);
    }

    /// Ships for so long, by its own clock.
    pub(super) fn ship_for(&self, shipper: &mut TestShipper, time: Duration) {
        use erstwhile_engine::io::Clock;
        let until = self.clock.monotonic_nanos() + u64::try_from(time.as_nanos()).unwrap();
        while self.clock.monotonic_nanos() < until {
            match shipper.turn().unwrap() {
                Turn::Again => self.clock.advance(100),
                Turn::Wait(time) | Turn::CaughtUp(time) => shipper.rest(time).unwrap(),
            }
        }
    }

    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8(self.server.borrow().text(&self.log(name), 0)).unwrap()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.server.borrow().events.clone()
    }

    /// Bytes that were told to be lost.
    pub(super) fn lost(&self) -> Vec<u64> {
        let bytes = |event| match event {
            Event::Lost { bytes, .. } => Some(bytes),
            _ => None,
        };
        self.events().into_iter().filter_map(bytes).collect()
    }
}

impl TestShipper {
    /// Kills the writing of the place before the step, at the given write from now.
    pub(super) fn kill_at(&mut self, step: Step, mut write: u64) {
        self.state_mut().fault = Some(Box::new(move |at| {
            if at == Step::Write {
                write = write.saturating_sub(1);
            }
            at == step && write == 0
        }));
    }
}

/// Appends to a file.
pub(super) fn append(path: &Path, text: impl AsRef<[u8]>) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

pub(super) fn gz(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zst(text: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(text, 1).unwrap()
}
