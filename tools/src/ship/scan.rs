//! Which file is which generation: the search among the files that lie beside a log.
//!
//! Invariants:
//! - Every file that has something in it is either a known generation, or a copy of one, or a new one. None is passed over
//!   because of its name, number or time.
//! - A known generation is taken for another file's only if first bytes and last known bytes fit.
//! - A new generation comes into the order where its file's name puts it among those that are known.
//! - Nothing is given up before it was searched for for a while: a name may be between two places just now.
//!
//! Steps: list the files, oldest name first → known inodes whose content fits → other files whose content fits → new
//! generations → what was not found.

use super::event::Event;
use super::generation::{Generation, Sight, fits, sight};
use super::names::{Turn, turn_of};
use super::options::Begin;
use super::packed::{Next, Packed};
use super::place::Stat;
use super::print::PRINT_BYTES;
use super::source::{Around, RESTLESS, Source, Unsettled};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file that was read to its end is known for so long after it was seen last: it may come back under another name, and
/// who had forgotten it would send it again.
const REMEMBER: Duration = Duration::from_secs(3600);

/// A file beside a log.
struct Found {
    path: PathBuf,
    /// `None`: the log itself.
    turn: Option<Turn>,
    stat: Stat,
    /// The generation that it is,
    is: Option<usize>,
    /// or that it is a copy of, while that one has no file any more and is read to its end from an open one.
    was: Option<usize>,
}

/// A file that cannot be read, and why.
pub(super) type Trouble = (PathBuf, io::Error);

impl Source {
    /// Finds out which file is which; true if there is something new. Files that cannot be read are passed over and
    /// found the next time.
    pub(super) fn scan(&mut self, around: &mut Around<'_>) -> Result<bool, Trouble> {
        let mut troubles = vec![];
        let mut files = list(&self.path, around.logs, &mut troubles)?;
        self.empty_ones(&files);
        self.by_inode(&mut files, around, &mut troubles);
        let unknown = self.by_content(&mut files, around, &mut troubles);
        let news = self.new_ones(&mut files, unknown, around);
        self.scans += 1;
        // What is searched for may be the one that cannot be read.
        let patience = around.options.missing * if troubles.is_empty() { 1 } else { RESTLESS };
        self.not_found(around, patience);
        for generation in &mut self.generations {
            if around.hold {
                generation.hold();
            }
        }
        troubles.pop().map_or(Ok(news), Err)
    }

    /// An empty plain file's generation, of which only the inode is known, is that of the log or none: the inode may be used
    /// for another file any time, and if the file gets something in it, it can be found anew.
    fn empty_ones(&mut self, files: &[Found]) {
        let log = files.last().filter(|file| file.turn.is_none()).map(|file| file.stat.inode());
        let before = self.generations.len();
        self.generations.retain(|generation| {
            let known = &generation.known;
            known.mark.end > 0 || known.packed || Some(known.stat.inode()) == log
        });
        self.changed |= self.generations.len() != before;
    }

    /// A known inode whose content fits.
    fn by_inode(&mut self, files: &mut [Found], around: &mut Around<'_>, troubles: &mut Vec<Trouble>) {
        for at in 0..self.generations.len() {
            let generation = &mut self.generations[at];
            let file =
                files.iter_mut().find(|file| file.is.is_none() && file.stat.inode() == generation.known.stat.inode());
            let Some(file) = file else {
                generation.unbind(around.now.monotonic);
                continue;
            };
            let live = file.turn.is_none();
            if file.stat == generation.known.stat {
                file.is = Some(at);
                generation.found(&file.path, live, around.now.monotonic);
                continue;
            }
            let known = &generation.known;
            let seen = sight(&file.path, file.stat).and_then(|sight| {
                // A packed file never changes, and no file becomes a packed one: that inode is another file's now.
                let may = !sight.packed && !known.packed;
                Ok((may && fits(known, &file.path, &sight)?).then_some(sight))
            });
            let sight = match seen {
                Ok(sight) => sight,
                Err(error) => {
                    // It is most likely still what it was.
                    file.is = Some(at);
                    trouble(troubles, &file.path, error);
                    continue;
                }
            };
            let Some(sight) = sight else {
                // The same inode with another content: overwritten, or used again.
                generation.unbind(around.now.monotonic);
                generation.let_go();
                let known = &generation.known;
                if !known.done && known.mark.end > 0 && !generation.told {
                    let unread = known.mark.end.saturating_sub(known.position);
                    (around.tell)(Event::Truncated { source: self.path.clone(), unread });
                    generation.told = true;
                }
                continue;
            };
            file.is = Some(at);
            generation.bind(&sight, &file.path, live, around.now.monotonic);
            self.changed = true;
            self.late(at, around);
        }
    }

    /// What was added to a plain file after its end had been sent.
    fn late(&mut self, at: usize, around: &mut Around<'_>) {
        let generation = &mut self.generations[at];
        let known = &generation.known;
        let bytes = known.stat.size.saturating_sub(known.position);
        if let (true, false, 1.., Some(file)) = (known.done, known.packed, bytes, generation.path.clone()) {
            generation.reopen(around.now.monotonic);
            (around.tell)(Event::Late { source: self.path.clone(), file, bytes });
        }
    }

    /// Another inode that holds what a generation held: copied or packed. Gives the files that are unknown.
    fn by_content(
        &mut self,
        files: &mut [Found],
        around: &mut Around<'_>,
        troubles: &mut Vec<Trouble>,
    ) -> Vec<(usize, Sight)> {
        let now = around.now.monotonic;
        let seen: HashSet<(u64, u64)> = files.iter().map(|file| file.stat.inode()).collect();
        self.copies.retain(|inode, _| seen.contains(inode));
        if self.generations.iter().any(|generation| generation.path.is_none() && !generation.is_held()) {
            // A copy may be all that is left.
            self.copies.clear();
        }
        self.unsettled.retain(|inode, _| seen.contains(inode));
        let (mut sights, mut was) = (vec![], vec![]);
        for (at, file) in files.iter().enumerate() {
            let inode = file.stat.inode();
            // An empty file may be something one day, and is found then.
            let empty = file.turn.is_some() && file.stat.size == 0;
            if file.is.is_some() || empty {
                self.unsettled.remove(&inode);
            } else if files.iter().any(|other| other.is_plain_of(file)) {
                // It is being packed; as long as the plain file is there, that one counts.
                self.unsettled.remove(&inode);
            } else if let Some((_, number)) = self.copies.get(&inode).filter(|(stat, _)| *stat == file.stat) {
                let orphan = |known: &Generation| known.known.number == *number && known.path.is_none();
                was.extend(self.generations.iter().position(orphan).map(|generation| (at, generation)));
            } else {
                match sight(&file.path, file.stat) {
                    Ok(sight) => sights.push((at, sight)),
                    Err(error) => trouble(troubles, &file.path, error),
                }
            }
        }
        for (at, generation) in was {
            files[at].was = Some(generation);
        }
        // A plain file is preferred to a packed one that holds the same.
        sights.sort_by_key(|(at, sight)| (sight.packed, *at));
        let mut unknown = vec![];
        'files: for (at, sight) in sights {
            let file = &files[at];
            let mut copy = None;
            let mut is = None;
            for (number, generation) in self.generations.iter().enumerate() {
                let taken = files.iter().any(|file| file.is == Some(number));
                // That a file which is there is the same as another takes more than a common beginning.
                let known = &generation.known;
                let whole = !sight.packed && sight.stat.size == known.mark.end;
                let telling = known.position > 0 || known.mark.end > PRINT_BYTES || whole;
                // A few bytes that are all of one may be the beginning of another.
                let all = known.mark.end >= PRINT_BYTES || sight.head.len() as u64 == known.mark.end;
                if known.mark.end == 0 || copy.is_some() || taken && !telling || known.done && !all {
                    continue;
                }
                match fits(known, &file.path, &sight) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => {
                        trouble(troubles, &file.path, error);
                        continue 'files;
                    }
                }
                if taken || generation.is_held() {
                    copy = Some(number);
                } else if is.is_none() {
                    is = Some(number);
                }
            }
            let inode = file.stat.inode();
            if let Some(number) = is {
                let generation = &mut self.generations[number];
                generation.bind(&sight, &file.path, file.turn.is_none(), now);
                self.late(number, around);
                files[at].is = Some(number);
                self.unsettled.remove(&inode);
                self.changed = true;
            } else if let Some(number) = copy {
                let generation = &self.generations[number];
                self.unsettled.remove(&inode);
                self.copies.insert(inode, (file.stat, generation.known.number));
                files[at].was = generation.path.is_none().then_some(number);
            } else {
                unknown.push((at, sight));
            }
        }
        unknown.sort_by_key(|(at, _)| *at);
        unknown
    }

    /// Unknown files become generations, once they stand still.
    fn new_ones(&mut self, files: &mut [Found], unknown: Vec<(usize, Sight)>, around: &mut Around<'_>) -> bool {
        let now = around.now.monotonic;
        let mut news = false;
        for (at, sight) in unknown {
            let live = files[at].turn.is_none();
            let inode = sight.stat.inode();
            if !live && !self.settled(&sight, around) {
                continue;
            }
            self.unsettled.remove(&inode);
            let mut generation = Generation::new(self.next_generation, &sight);
            self.next_generation += 1;
            generation.bind(&sight, &files[at].path, live, now);
            if self.fresh && !live && around.options.begin == Begin::Live {
                leave_out(&mut generation, &sight, &files[at].path);
            }
            // Before the next newer file's, behind all that have none: what is found only now came later.
            let after = if live { None } else { files[at + 1..].iter().find_map(|file| file.is.or(file.was)) };
            let place = after.unwrap_or(self.generations.len());
            for file in files.iter_mut() {
                for index in [&mut file.is, &mut file.was].into_iter().flatten() {
                    *index += usize::from(*index >= place);
                }
            }
            files[at].is = Some(place);
            self.generations.insert(place, generation);
            if live && self.generations.len() > 1 && !self.fresh {
                (around.tell)(Event::Rotated { source: self.path.clone() });
            }
            (news, self.changed) = (true, true);
        }
        if self.unsettled.is_empty() {
            self.fresh = false;
        }
        news
    }

    /// Whether an unknown file has stood still for long enough, or if it never does, at least is no copy in the making.
    fn settled(&mut self, sight: &Sight, around: &Around<'_>) -> bool {
        let (now, settle) = (around.now.monotonic, around.options.settle);
        let new = Unsettled { stat: sight.stat, still: now, first: now };
        let seen = self.unsettled.entry(sight.stat.inode()).or_insert(new);
        if seen.stat != sight.stat {
            (seen.stat, seen.still) = (sight.stat, now);
        }
        let copies = |generation: &Generation| generation.known.head.begins(&sight.head);
        let whole = sight.head.len() as u64 == PRINT_BYTES;
        now >= seen.still + settle
            || whole && now >= seen.first + settle * RESTLESS && !self.generations.iter().any(copies)
    }

    /// What has no file any more.
    fn not_found(&mut self, around: &mut Around<'_>, patience: Duration) {
        let now = around.now.monotonic;
        let mut at = 0;
        while at < self.generations.len() {
            let number = self.number;
            let generation = &mut self.generations[at];
            let needed = around.needed.contains(&(number, generation.known.number));
            at += 1;
            if generation.path.is_some() || generation.is_held() || generation.gone && needed {
                continue;
            }
            let unseen = *generation.unseen.get_or_insert(now);
            let known = generation.known;
            if known.done && !needed {
                if now >= unseen + REMEMBER {
                    at -= 1;
                    self.generations.remove(at);
                    self.changed = true;
                }
                continue;
            }
            let since = *generation.missing.get_or_insert(now);
            if now < since + patience {
                continue;
            }
            (generation.missing, generation.gone) = (None, true);
            let unread = known.mark.end.saturating_sub(known.position);
            let told = std::mem::replace(&mut generation.told, true);
            generation.finish();
            self.changed = true;
            if known.done || told && unread == 0 {
                continue;
            }
            if unread == 0 {
                (around.tell)(Event::Gone { source: self.path.clone() });
                continue;
            }
            let what = format!("a file of the log is gone that was sent up to byte {} only", known.position);
            self.lost(around, unread, what);
        }
    }
}

impl Found {
    /// Whether this is what the other one is being packed from.
    fn is_plain_of(&self, other: &Found) -> bool {
        let plain = self.path.as_os_str().as_bytes();
        let rest = other.path.as_os_str().as_bytes().strip_prefix(plain);
        self.turn.is_some() && rest.is_some_and(|rest| rest.first() == Some(&b'.'))
    }
}

/// Notes that a file cannot be read; that it is gone by now is none.
fn trouble(troubles: &mut Vec<Trouble>, path: &Path, error: io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        troubles.push((path.to_owned(), error));
    }
}

/// A generation of which nothing is to be sent. It is read through all the same: without its end it could not be told
/// from one that begins alike.
fn leave_out(generation: &mut Generation, sight: &Sight, path: &Path) {
    if sight.packed {
        let mut line = vec![];
        if let Ok(file) = File::open(path) {
            let mut text = Packed::new(path, file);
            while let Ok(Next::Line { .. } | Next::TooLong { .. }) = text.next(&mut line) {
                line.clear();
            }
            generation.known.mark = text.print().unwrap_or(generation.known.mark);
        }
    }
    generation.known.position = generation.known.mark.end;
    generation.finish();
}

/// The files that may be of the log, oldest name first, the log itself last.
fn list(log: &Path, logs: &BTreeSet<PathBuf>, troubles: &mut Vec<Trouble>) -> Result<Vec<Found>, Trouble> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Ok(vec![]) };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err((dir.to_owned(), error)),
    };
    let mut files = vec![];
    for entry in entries {
        let entry = entry.map_err(|error| (dir.to_owned(), error))?;
        let path = dir.join(entry.file_name());
        let turn = turn_of(name.as_bytes(), entry.file_name().as_bytes());
        if entry.file_name() != name && (turn.is_none() || logs.contains(&path)) {
            continue;
        }
        let stat = match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => Stat::of(&meta),
            Ok(_) => continue,
            Err(error) => {
                trouble(troubles, &path, error);
                continue;
            }
        };
        // Two names of one file, or one that was renamed during the listing.
        if files.iter().any(|file: &Found| file.stat.inode() == stat.inode()) {
            continue;
        }
        files.push(Found { path, turn, stat, is: None, was: None });
    }
    let turns: Vec<&Turn> = files.iter().filter_map(|file| file.turn.as_ref()).collect();
    let alike = turns.windows(2).all(|pair| pair[0].compare(pair[1]).is_some());
    files.sort_by(|one, other| match (&one.turn, &other.turn) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Greater,
        (_, None) => Ordering::Less,
        (Some(turn), Some(than)) if alike => {
            turn.compare(than).unwrap_or(Ordering::Equal).then(one.path.cmp(&other.path))
        }
        _ => one.stat.mtime_nanos.cmp(&other.stat.mtime_nanos).then(one.path.cmp(&other.path)),
    });
    Ok(files)
}
