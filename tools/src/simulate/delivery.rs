//! What happens to lines between an agent and the logs: they are buffered, lost, torn, sent again, mixed with dead bytes.
//!
//! Invariants:
//! - Without faults every line is written once, at once and in order, into one file.
//! - A lost look can be noticed by what follows it, unless silent losses were asked for.
//! - What is torn arrives whole elsewhere, cut between lines that differ, so that no copy of a row is split.
//! - One file never repeats a host's single second directly after itself: nothing could tell that from data.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use super::agent::Look;
use super::dead::{dead, note_dead};
use super::options::Options;
use super::rng::Rng;
use super::row::Row;
use super::truth::{Note, Out};
use super::wire::Version;

/// The log of the relay that all hosts send to.
pub(super) const MAIN: &str = "logs/osqueryd.results.log";

type Line = Arc<[u8]>;

/// Lines that an agent hands over together.
struct Parcel {
    /// `None` for a status line.
    look: Option<Look>,
    lines: Vec<Line>,
    /// The agent's.
    version: Version,
    second: u64,
    at: u64,
}

/// The way from one host to the relay.
#[derive(Default)]
struct Lane {
    /// Lines that wait for the network to come back.
    buffer: Option<VecDeque<Parcel>>,
    /// The last seconds that were sent, with their lines.
    recent: VecDeque<(u64, Vec<Line>)>,
    /// Nothing may be lost here: a rollback would hide it.
    careful: bool,
}

/// Everything between the agents and the logs.
pub(super) struct Delivery {
    rng: Rng,
    faults: bool,
    silent: bool,
    /// Chances of a look to be lost and to be torn.
    loss: f64,
    names: Vec<String>,
    lanes: Vec<Lane>,
    /// The last lines of the main log with their host.
    ring: VecDeque<(u32, Line)>,
    ring_bytes: usize,
    late_files: u32,
    resend_files: u32,
}

const RING_BYTES: usize = 4 << 20;
const RING_LINES: usize = 6000;
const EXTRA_FILES: u32 = 200;

impl Delivery {
    /// The ways of the hosts with these names.
    pub(super) fn new(options: &Options, names: Vec<String>) -> Delivery {
        Delivery {
            rng: Rng::new(options.seed, 3),
            faults: options.faults,
            silent: options.faults && options.silent_losses,
            loss: 0.0005 * options.host_rate(),
            lanes: names.iter().map(|_| Lane::default()).collect(),
            names,
            ring: VecDeque::new(),
            ring_bytes: 0,
            late_files: 0,
            resend_files: 0,
        }
    }

    /// An agent hands over a look.
    pub(super) fn look(&mut self, out: &mut Out, look: Look, lines: Vec<Line>) {
        let (host, version, second, at) = (look.host, look.version, look.second, look.at);
        self.hand_over(out, host, Parcel { look: Some(look), lines, version, second, at });
    }

    /// An agent hands over a line of its own log.
    pub(super) fn status(
        &mut self,
        out: &mut Out,
        host: u32,
        version: Version,
        (second, at): (u64, u64),
        line: Vec<u8>,
    ) {
        self.hand_over(out, host, Parcel { look: None, lines: vec![line.into()], version, second, at });
    }

    fn hand_over(&mut self, out: &mut Out, host: u32, parcel: Parcel) {
        match &mut self.lanes[host as usize].buffer {
            Some(buffer) => buffer.push_back(parcel),
            None => self.send(out, host, parcel),
        }
    }

    /// Whether a host cannot reach the relay.
    pub(super) fn is_offline(&self, host: u32) -> bool {
        self.lanes[host as usize].buffer.is_some()
    }

    /// The network of a host goes away.
    pub(super) fn go_offline(&mut self, host: u32) {
        self.lanes[host as usize].buffer.get_or_insert_default();
    }

    /// From now on nothing of the host gets lost.
    pub(super) fn be_careful(&mut self, host: u32) {
        self.lanes[host as usize].careful = true;
    }

    /// What the host still holds is gone with its database.
    pub(super) fn drop_buffer(&mut self, out: &mut Out, host: u32) {
        if let Some(buffer) = &mut self.lanes[host as usize].buffer {
            let gone = std::mem::take(buffer);
            gone.iter().for_each(|parcel| self.lose(out, host, parcel));
        }
    }

    fn lose(&self, out: &mut Out, host: u32, parcel: &Parcel) {
        if let Some(look) = &parcel.look {
            let name = &self.names[host as usize];
            let counter = look.counter as i64;
            out.fault(
                "lost",
                parcel.at,
                Some(name),
                &[Note::Text("name", &look.name), Note::Number("counter", counter)],
            );
            out.look(name, look, Some((&look.removed, &look.added)));
        }
    }

    /// A look that must not arrive, because the agent died before it was written.
    pub(super) fn lose_look(&self, out: &mut Out, look: Look) {
        let (host, version, second, at) = (look.host, look.version, look.second, look.at);
        self.lose(out, host, &Parcel { look: Some(look), lines: Vec::new(), version, second, at });
    }

    fn may_lose(&self, host: u32, parcel: &Parcel) -> bool {
        let careful = self.lanes[host as usize].careful;
        parcel.look.as_ref().is_none_or(|look| self.silent || (look.missed && !careful && !look.noise))
    }

    fn send(&mut self, out: &mut Out, host: u32, parcel: Parcel) {
        let Some(look) = &parcel.look else {
            out.status(&self.names[host as usize], &parcel.version.to_string(), parcel.second);
            return self.write(out, host, parcel.second, &parcel.lines, false);
        };
        if self.faults {
            if self.may_lose(host, &parcel) && self.rng.chance(self.loss) {
                return self.lose(out, host, &parcel);
            }
            if self.rng.chance(self.loss) {
                return self.tear(out, host, &parcel, look);
            }
            if self.silent && parcel.lines.len() > 1 && self.rng.chance(self.loss) {
                return self.lose_part(out, host, &parcel, look);
            }
        }
        out.look(&self.names[host as usize], look, None);
        self.write(out, host, parcel.second, &parcel.lines, true);
    }

    /// Writes whole lines into the main log.
    fn write(&mut self, out: &mut Out, host: u32, second: u64, lines: &[Line], result: bool) {
        for line in lines {
            out.log(MAIN, line);
            out.log(MAIN, b"\n");
            if self.faults && result {
                self.ring_bytes += line.len();
                self.ring.push_back((host, line.clone()));
            }
        }
        if !self.faults || !result || lines.is_empty() {
            return;
        }
        while self.ring_bytes > RING_BYTES || self.ring.len() > RING_LINES {
            let Some((_, line)) = self.ring.pop_front() else {
                break;
            };
            self.ring_bytes -= line.len();
        }
        let recent = &mut self.lanes[host as usize].recent;
        match recent.back_mut() {
            Some(last) if last.0 == second => last.1.extend_from_slice(lines),
            _ => recent.push_back((second, lines.to_vec())),
        }
        if recent.len() > 5 {
            recent.pop_front();
        }
    }

    /// The main log gets the beginning of a look and half a line; the rest follows, mostly in another file.
    fn tear(&mut self, out: &mut Out, host: u32, parcel: &Parcel, look: &Look) {
        let name = self.names[host as usize].clone();
        let (cut, half) = self.cut(&parcel.lines);
        self.write(out, host, parcel.second, &parcel.lines[..cut], true);
        dead(out, MAIN, parcel.at, "not-json", &parcel.lines[cut][..half], true);
        let from = rest(&parcel.lines, cut);
        let own_file = from < cut || self.rng.chance(0.4);
        let file = if own_file && self.resend_files < EXTRA_FILES {
            self.resend_files += 1;
            let file = format!("logs/resend-{:03}.log", self.resend_files);
            for line in &parcel.lines[from..] {
                out.log(&file, line);
                out.log(&file, b"\n");
            }
            out.files.close(&file);
            file
        } else {
            // In one stream the rest follows directly; had the whole come again, it would count twice.
            self.write(out, host, parcel.second, &parcel.lines[cut..], true);
            MAIN.to_owned()
        };
        out.fault("torn", parcel.at, Some(&name), &[Note::Text("name", &look.name), Note::Text("file", short(&file))]);
        out.look(&name, look, None);
    }

    fn lose_part(&mut self, out: &mut Out, host: u32, parcel: &Parcel, look: &Look) {
        let name = self.names[host as usize].clone();
        if look.removed.len() + look.added.len() != parcel.lines.len() {
            return self.lose(out, host, parcel);
        }
        let from = self.rng.index(parcel.lines.len() - 1) + 1;
        let split = from.min(look.removed.len());
        let (removed, added): (&[Row], &[Row]) = (&look.removed[split..], &look.added[from - split..]);
        out.fault("lost-part", parcel.at, Some(&name), &[Note::Text("name", &look.name)]);
        out.look(&name, look, Some((removed, added)));
        self.write(out, host, parcel.second, &parcel.lines[..from], true);
    }

    /// Where to tear: the index of the line, and how much of it is left.
    fn cut(&mut self, lines: &[Line]) -> (usize, usize) {
        let cut = self.rng.index(lines.len());
        (cut, self.rng.between(1, lines[cut].len() as u64 - 1) as usize)
    }

    /// The network of a host comes back: what waited arrives, in a file of its own or in the stream.
    pub(super) fn flush(&mut self, out: &mut Out, host: u32, at: u64, last: bool) {
        let Some(mut buffer) = self.lanes[host as usize].buffer.take() else {
            return;
        };
        let name = self.names[host as usize].clone();
        if !last && self.rng.chance(0.3) {
            let third = buffer.len() / 3;
            let gone = buffer.iter().take(third).take_while(|parcel| self.may_lose(host, parcel)).count();
            let gone: Vec<Parcel> = buffer.drain(..gone).collect();
            gone.iter().for_each(|parcel| self.lose(out, host, parcel));
        }
        if buffer.is_empty() {
            return;
        }
        let own_file = self.rng.chance(0.6) && self.late_files < EXTRA_FILES;
        let file = if own_file {
            self.late_files += 1;
            let ending = self.ending();
            format!("logs/late-{:03}.log{ending}", self.late_files)
        } else {
            MAIN.to_owned()
        };
        out.fault(
            "late",
            at,
            Some(&name),
            &[Note::Text("file", short(&file)), Note::Number("since", buffer[0].at as i64)],
        );
        if !own_file {
            buffer.into_iter().for_each(|parcel| self.send(out, host, parcel));
            return;
        }
        // The last look of the file may be torn; then the rest of it arrives in the stream.
        let torn = if self.rng.chance(0.5) { buffer.pop_back_if(|parcel| parcel.look.is_some()) } else { None };
        let mut bytes = Vec::new();
        for parcel in &buffer {
            for line in &parcel.lines {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
            match &parcel.look {
                Some(look) => out.look(&name, look, None),
                None => out.status(&name, &parcel.version.to_string(), parcel.second),
            }
        }
        if let Some(parcel) = torn {
            let (cut, half) = self.cut(&parcel.lines);
            for line in &parcel.lines[..cut] {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
            note_dead(out, short(&file), bytes.len() as u64, at, "not-json");
            bytes.extend_from_slice(&parcel.lines[cut][..half]);
            self.write(out, host, parcel.second, &parcel.lines[rest(&parcel.lines, cut)..], true);
            if let Some(look) = &parcel.look {
                out.look(&name, look, None);
            }
        }
        store(out, &file, &bytes);
    }

    /// A stretch of the main log arrives once more in a file of its own, cut anywhere.
    pub(super) fn resend(&mut self, out: &mut Out, at: u64, torn: bool) {
        if self.ring.is_empty() || self.resend_files >= EXTRA_FILES {
            return;
        }
        let from = self.rng.index(self.ring.len());
        let to = from + 1 + self.rng.index(self.ring.len() - from);
        let only = self.rng.chance(0.4).then(|| self.ring[from].0);
        self.resend_files += 1;
        let ending = self.ending();
        let file = format!("logs/resend-{:03}.log{ending}", self.resend_files);
        let mut bytes = Vec::new();
        for (_, line) in self.ring.range(from..to).filter(|(host, _)| only.is_none_or(|only| only == *host)) {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        let name = only.map(|host| self.names[host as usize].clone());
        out.fault("resend", at, name.as_deref(), &[Note::Text("file", short(&file))]);
        if torn {
            let line = self.ring[from].1.clone();
            let half = self.rng.between(1, line.len() as u64 - 1) as usize;
            note_dead(out, short(&file), bytes.len() as u64, at, "not-json");
            bytes.extend_from_slice(&line[..half]);
        }
        store(out, &file, &bytes);
    }

    /// A host sends its last seconds once more into the stream, since it never saw the answer.
    pub(super) fn repeat(&mut self, out: &mut Out, host: u32, at: u64) {
        let lane = &self.lanes[host as usize];
        let groups = lane.recent.len();
        if lane.buffer.is_some() || groups < 2 {
            return;
        }
        let from = self.rng.index(groups - 1);
        let group = &lane.recent[from];
        if group.0 == lane.recent[groups - 1].0 {
            return;
        }
        let skip = if self.rng.chance(0.5) { self.rng.index(group.1.len()) } else { 0 };
        let lines: Vec<Line> = lane.recent.range(from..).flat_map(|group| group.1.iter().cloned()).skip(skip).collect();
        let name = self.names[host as usize].clone();
        out.fault("repeat", at, Some(&name), &[Note::Number("lines", lines.len() as i64)]);
        for line in lines {
            out.log(MAIN, &line);
            out.log(MAIN, b"\n");
            self.ring_bytes += line.len();
            self.ring.push_back((host, line));
        }
    }

    /// How an extra file ends: some are compressed.
    fn ending(&mut self) -> &'static str {
        match self.rng.below(5) {
            0 => ".gz",
            1 => ".zst",
            _ => "",
        }
    }

    /// The end: what waits arrives, and the last lines once more with a torn end.
    pub(super) fn close(&mut self, out: &mut Out, at: u64) {
        for host in 0..self.lanes.len() as u32 {
            self.flush(out, host, at, true);
        }
        if self.faults {
            self.resend(out, at, true);
        }
    }
}

/// From where the rest of a torn look is sent, so that equal lines stay together.
fn rest(lines: &[Line], cut: usize) -> usize {
    let straddles = lines[cut..].iter().any(|line| lines[..cut].contains(line));
    if straddles { 0 } else { cut }
}

/// Writes a whole file, compressed if its name says so.
fn store(out: &mut Out, file: &str, bytes: &[u8]) {
    let packed = if file.ends_with(".gz") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).and_then(|()| encoder.finish())
    } else if file.ends_with(".zst") {
        zstd::encode_all(bytes, 3)
    } else {
        Ok(bytes.to_vec())
    };
    match packed {
        Ok(packed) => {
            out.summary.lines += bytes.split_inclusive(|&byte| byte == b'\n').count() as u64;
            out.summary.bytes += bytes.len() as u64;
            out.files.append(file, &packed);
            out.files.close(file);
        }
        Err(error) => out.files.fail(error),
    }
}

/// A file's name inside `logs`.
pub(super) fn short(file: &str) -> &str {
    file.strip_prefix("logs/").unwrap_or(file)
}
