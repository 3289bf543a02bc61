//! One log that is followed: its generations in the order in which they are read, and the place in the whole.
//!
//! Invariants:
//! - Generations are read in order, each to its end before the next; only a rotated file that grew after its end was
//!   sent comes later than newer lines, and that is told.
//! - A generation is over only when the log's name belongs to a later one, and it has not grown for a while.
//! - `offset` counts every byte of every generation once, whether it was sent or skipped.
//!
//! Which file is which generation is found out in [`scan`](super::scan).

use super::event::Event;
use super::generation::{Cut, Generation, Look, Room};
use super::names;
use super::options::Options;
use super::pace::Now;
use super::place::{Piece, SourcePlace, Stat, crc};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many times as long as it should be still a file may go on to change.
pub(super) const RESTLESS: u32 = 30;

/// What a source needs to know of the world.
pub(super) struct Around<'a> {
    pub(super) options: &'a Options,
    pub(super) now: Now,
    /// Whether files may be kept open.
    pub(super) hold: bool,
    /// Logs that are followed for themselves, so they are nobody's rotated files.
    pub(super) logs: &'a BTreeSet<PathBuf>,
    /// Generations that batches under way are of: source and number.
    pub(super) needed: &'a BTreeSet<(u32, u64)>,
    pub(super) tell: &'a mut dyn FnMut(Event),
}

/// A log that is followed.
pub(super) struct Source {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) next_generation: u64,
    /// In the order in which they are read.
    pub(super) generations: Vec<Generation>,
    /// The mtime, in microseconds, of the log when last all of it was in.
    pub(super) caught_up: Option<i64>,
    /// Whether what was named still names it; else only what is under way is of interest.
    pub(super) active: bool,
    /// Nothing was ever found of it.
    pub(super) fresh: bool,
    /// Unknown files that do not yet stand still, by device and inode.
    pub(super) unsettled: HashMap<(u64, u64), Unsettled>,
    /// Files that hold what another one holds: what was seen, and the generation that the other one is.
    pub(super) copies: HashMap<(u64, u64), (Stat, u64)>,
    pub(super) scanned: Option<Duration>,
    /// How many searches there were.
    pub(super) scans: u64,
    pub(super) lost_bytes: u64,
    pub(super) skipped_lines: u64,
    /// What was told of a file that cannot be read, so that it is told once.
    trouble: Option<(PathBuf, io::ErrorKind)>,
    /// That no file is there was told.
    awaited: bool,
    /// Something changed that is to be written down some time.
    pub(super) changed: bool,
}

/// An unknown file that does not yet stand still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsettled {
    /// What was seen last,
    pub(super) stat: Stat,
    /// since when it is so,
    pub(super) still: Duration,
    /// and when it was seen first.
    pub(super) first: Duration,
}

/// Lines of a source that were cut.
pub(super) struct Slice {
    pub(super) piece: Piece,
    pub(super) bytes: Vec<u8>,
}

/// What a source gives.
pub(super) enum Given {
    Nothing,
    /// The next line needs a batch of its own, or the next.
    Full,
    Slice(Slice),
}

impl Source {
    pub(super) fn new(number: u32, path: PathBuf) -> Source {
        Source {
            number,
            path,
            offset: 0,
            next_generation: 1,
            generations: vec![],
            caught_up: None,
            active: true,
            fresh: true,
            unsettled: HashMap::new(),
            copies: HashMap::new(),
            scanned: None,
            scans: 0,
            lost_bytes: 0,
            skipped_lines: 0,
            trouble: None,
            awaited: false,
            changed: true,
        }
    }

    pub(super) fn restored(place: SourcePlace) -> Source {
        Source {
            offset: place.offset,
            next_generation: place.next_generation,
            generations: place.generations.into_iter().map(Generation::known).collect(),
            caught_up: place.caught_up,
            fresh: false,
            changed: false,
            ..Source::new(place.number, names::path_of(&place.path))
        }
    }

    pub(super) fn place(&self) -> SourcePlace {
        SourcePlace {
            number: self.number,
            path: names::bytes_of(&self.path),
            offset: self.offset,
            next_generation: self.next_generation,
            caught_up: self.caught_up,
            generations: self.generations.iter().map(|generation| generation.known).collect(),
        }
    }

    /// Looks what became of the files; true if something is new.
    pub(super) fn look(&mut self, around: &mut Around<'_>) -> bool {
        let now = around.now.monotonic;
        let mut news = false;
        let since = |time| self.scanned.is_none_or(|at| now >= at + time);
        // Not at every turn while there is much to send.
        let often = since(around.options.poll);
        let mut scan = since(around.options.scan) || often && self.is_unsure();
        let mut trouble = None;
        let live = match fs::metadata(&self.path) {
            Ok(meta) if meta.is_file() => Some(Stat::of(&meta)),
            // What was rotated before may be there all the same.
            Ok(meta) => {
                let kind = if meta.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
                trouble = Some((self.path.clone(), kind.into()));
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return self.trouble(around, &self.path.clone(), &error),
        };
        let known = self.generations.iter().find(|generation| generation.live);
        scan |= match (&live, known) {
            (Some(stat), Some(generation)) => often && stat.inode() != generation.known.stat.inode(),
            (None, None) => false,
            _ => often,
        };
        for generation in &mut self.generations {
            let readable = generation.path.is_some() || generation.is_held();
            if generation.known.done || generation.known.packed || !readable {
                continue;
            }
            let empty = generation.known.mark.end == 0;
            match generation.look(now) {
                Ok(Look::Same) => {}
                Ok(Look::Grown) => {
                    (news, self.changed) = (true, true);
                    // Of an empty file nothing was known: it may have been filled, copied and cut off meanwhile.
                    scan |= empty;
                }
                Ok(Look::Other) => scan = true,
                Err(error) => {
                    let path = generation.path.clone().unwrap_or_else(|| self.path.clone());
                    trouble = Some((path, error));
                }
            }
        }
        if scan {
            self.scanned = Some(now);
            match self.scan(around) {
                Ok(found) => news |= found,
                Err(found) => trouble = Some(found),
            }
        }
        match trouble {
            Some((path, error)) => news |= self.trouble(around, &path, &error),
            None if scan => self.trouble = None,
            None => {}
        }
        self.finish(around);
        self.catch_up(around);
        news
    }

    /// Tells of a file that cannot be read, once. The source is looked at again and again.
    pub(super) fn trouble(&mut self, around: &mut Around<'_>, path: &Path, error: &io::Error) -> bool {
        let trouble = (path.to_owned(), error.kind());
        if self.trouble.as_ref() != Some(&trouble) {
            let why = match error.kind() {
                io::ErrorKind::PermissionDenied => format!("{error}: let the user that ships read it"),
                io::ErrorKind::IsADirectory => {
                    format!("it is a directory: name the logs in it, such as '{}/*.log'", path.display())
                }
                io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => {
                    "it is no file that can be followed: name one".to_owned()
                }
                _ => error.to_string(),
            };
            (around.tell)(Event::Trouble { file: path.to_owned(), why });
            self.trouble = Some(trouble);
        }
        false
    }

    /// The file that cannot be read, if there is one.
    pub(super) fn unreadable(&self) -> Option<&Path> {
        self.trouble.as_ref().filter(|_| self.active).map(|(path, _)| &**path)
    }

    /// Whether no file of it is there.
    pub(super) fn is_absent(&self) -> bool {
        let is_there = |generation: &Generation| generation.path.is_some() || generation.is_held();
        self.scans > 0 && self.trouble.is_none() && !self.is_unsure() && !self.generations.iter().any(is_there)
    }

    /// The same of one of which there never was a file that is still remembered; true once.
    pub(super) fn is_awaited(&mut self) -> bool {
        let is_new = self.scans == 1 && self.generations.is_empty() && self.is_absent();
        is_new && !std::mem::replace(&mut self.awaited, true)
    }

    /// Whether a search is not over: files that do not stand still, or are not found.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unsettled.is_empty() || self.generations.iter().any(|generation| generation.missing.is_some())
    }

    /// Whether all is cut that there is, but for a line that is not whole.
    pub(super) fn is_through(&self, options: &Options, now: Now) -> bool {
        let older = self.generations.split_last().map_or(&[][..], |(_, older)| older);
        !self.is_unsure() && older.iter().all(|generation| generation.known.done) && self.ready(options, now) == 0
    }

    /// Whether the generation gets nothing more: the name is a later one's, and it has been still for a while. One that
    /// never is still does not hold up the later ones for ever: what comes after that comes late.
    fn is_over(&self, at: usize, options: &Options, now: Now) -> bool {
        let generation = &self.generations[at];
        if generation.live || at + 1 == self.generations.len() {
            return false;
        }
        let linger = options.linger;
        let still = now.wall_micros.saturating_sub(generation.known.stat.mtime_nanos / 1000);
        now.monotonic >= generation.grown + linger
            || now.monotonic >= generation.turned + linger * RESTLESS
            || u64::try_from(still).is_ok_and(|still| Duration::from_micros(still) > linger)
    }

    /// The generation that is read now. It is none while an older one is searched for, or may turn up.
    fn current(&self) -> Option<usize> {
        let at = self.generations.iter().position(|generation| !generation.known.done)?;
        let generation = &self.generations[at];
        let waits = generation.missing.is_some() || generation.known.position == 0 && !self.unsettled.is_empty();
        (!waits).then_some(at)
    }

    /// Notes when last all of the log was in.
    fn catch_up(&mut self, around: &Around<'_>) {
        let under_way = around.needed.range((self.number, 0)..=(self.number, u64::MAX)).next().is_some();
        let live = self.current().map(|at| &self.generations[at]).filter(|generation| generation.live);
        if let Some(generation) = live.filter(|generation| generation.at_end() && !under_way) {
            let mtime = generation.known.stat.mtime_nanos / 1000;
            self.changed |= self.caught_up.replace(mtime) != Some(mtime);
        }
    }

    /// Generations that are read and over are done.
    fn finish(&mut self, around: &Around<'_>) {
        while let Some(at) = self.current() {
            if !self.generations[at].at_end() || !self.is_over(at, around.options, around.now) {
                break;
            }
            self.generations[at].finish();
            self.changed = true;
        }
    }

    /// How many bytes may be cut now.
    pub(super) fn ready(&self, options: &Options, now: Now) -> u64 {
        match self.current() {
            Some(at) if self.active => self.generations[at].ready(self.is_over(at, options, now)),
            _ => 0,
        }
    }

    /// Whether the next cut has to begin unpacking.
    pub(super) fn wants_to_unpack(&self) -> bool {
        let current = self.current().map(|at| &self.generations[at]);
        current.is_some_and(|generation| generation.known.packed && !generation.unpacks())
    }

    /// How many files it unpacks.
    pub(super) fn unpacks(&self) -> usize {
        self.generations.iter().filter(|generation| generation.unpacks()).count()
    }

    /// Cuts the next lines and moves behind them.
    pub(super) fn give(&mut self, room: Room, around: &mut Around<'_>) -> Given {
        loop {
            let Some(at) = self.current().filter(|_| self.active) else { return Given::Nothing };
            let over = self.is_over(at, around.options, around.now);
            let generation = &mut self.generations[at];
            let (from, to, bytes) = match generation.cut(room, over) {
                Ok(Cut::Nothing) => return Given::Nothing,
                Ok(Cut::Full) => return Given::Full,
                Ok(Cut::Lines { from, to, bytes }) => (from, to, bytes),
                Ok(Cut::Skipped { from, to }) => {
                    self.moved(at, to);
                    self.skipped_lines += 1;
                    (around.tell)(Event::Skipped {
                        source: self.path.clone(),
                        offset: self.offset - (to - from),
                        bytes: to - from,
                        bytes_max: room.line_bytes_max,
                    });
                    continue;
                }
                Ok(Cut::End) => {
                    generation.finish();
                    self.changed = true;
                    self.finish(around);
                    continue;
                }
                Ok(Cut::Damaged(what)) => {
                    let bytes = generation.known.mark.end.saturating_sub(generation.known.position);
                    generation.finish();
                    self.lost(around, bytes, what);
                    continue;
                }
                Ok(Cut::Other) => {
                    // The next look finds out what happened.
                    self.scanned = None;
                    return Given::Nothing;
                }
                Err(error) => {
                    let path = generation.path.clone().unwrap_or_else(|| self.path.clone());
                    self.trouble(around, &path, &error);
                    return Given::Nothing;
                }
            };
            let generation = generation.known.number;
            self.moved(at, to);
            let piece = Piece {
                source: self.number,
                generation,
                from,
                to,
                offset: self.offset - (to - from),
                crc: crc(&[&bytes]),
            };
            self.finish(around);
            return Given::Slice(Slice { piece, bytes });
        }
    }

    /// The position moves on, over what was handed out and what was not.
    fn moved(&mut self, at: usize, to: u64) {
        let generation = &mut self.generations[at];
        self.offset += to - generation.known.position;
        generation.advance(to);
        self.changed = true;
    }

    /// The bytes of a piece that was cut before. `Ok(None)`: gone; `Err`: not now.
    pub(super) fn again(&mut self, piece: &Piece) -> io::Result<Option<Vec<u8>>> {
        let Some(generation) = self.generations.iter_mut().find(|known| known.known.number == piece.generation) else {
            return Ok(None);
        };
        let found = generation.again(piece.from, piece.to)?.filter(|bytes| crc(&[bytes]) == piece.crc);
        // The file may have been renamed or cut off since the last search; one more search tells.
        let doubted = *generation.doubted.get_or_insert(self.scans);
        let searched = generation.gone || generation.path.is_some() && self.scans > doubted;
        if found.is_some() {
            generation.doubted = None;
        } else if !searched {
            self.scanned = None;
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found)
    }

    /// Bytes that were never sent are gone.
    pub(super) fn lost(&mut self, around: &mut Around<'_>, bytes: u64, what: String) {
        self.lost_bytes += bytes;
        self.changed = true;
        (around.tell)(Event::Lost { source: self.path.clone(), bytes, what });
    }
}
