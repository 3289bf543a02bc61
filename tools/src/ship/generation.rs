//! One file's worth of a log: found under some name, read from where it was left, to its end.
//!
//! Invariants:
//! - Bytes are handed out only of a file whose first bytes, and whose bytes before the place up to which it was seen, are
//!   those that were known; plain files are asked once more after the reading, since they may be overwritten meanwhile.
//! - A line is handed out when its line feed is there, or when nothing more can come.
//! - A reader holds one slice of a batch; a longer line is first searched for its end in pieces.

use super::packed::{self, Next, Packed};
use super::place::{Known, Stat};
use super::print::{PRINT_BYTES, Print, read_range};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much is searched at once for the end of a long line.
const SEARCH_BYTES: u64 = 1 << 20;

/// One generation of a log.
pub(super) struct Generation {
    pub(super) known: Known,
    /// Where its file lies; `None` if it was not found.
    pub(super) path: Option<PathBuf>,
    /// Whether that is the log's own name.
    pub(super) live: bool,
    /// When the file was last seen to grow, or became or ceased to be the log.
    pub(super) grown: Duration,
    /// When it became or ceased to be the log.
    pub(super) turned: Duration,
    /// Since when it is searched for.
    pub(super) missing: Option<Duration>,
    /// It was searched for in vain.
    pub(super) gone: bool,
    /// It did not hold what had been read of it when there had been so many searches.
    pub(super) doubted: Option<u64>,
    /// Since when no search has met it.
    pub(super) unseen: Option<Duration>,
    /// That it was cut off was told.
    pub(super) told: bool,
    handle: Option<File>,
    text: Option<Packed>,
    /// From the position up to here is no line feed.
    searched: u64,
}

/// What became of a file since it was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    Grown,
    /// It holds something else now, or is another file.
    Other,
}

/// What was cut.
#[derive(Debug)]
pub(super) enum Cut {
    /// Nothing to be had now.
    Nothing,
    /// The next line does not fit into what was asked for.
    Full,
    /// Lines.
    Lines { from: u64, to: u64, bytes: Vec<u8> },
    /// A line that is too long.
    Skipped { from: u64, to: u64 },
    /// The packed file has no more.
    End,
    /// What follows cannot be unpacked.
    Damaged(String),
    /// The file is not what it was.
    Other,
}

/// How much to cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// So many bytes,
    pub(super) bytes: u64,
    /// or one line of any length that is taken, since nothing else is in the batch.
    pub(super) alone: bool,
    /// A longer line is skipped.
    pub(super) line_bytes_max: u64,
}

impl Generation {
    /// A generation that was known before, not yet found.
    pub(super) fn known(known: Known) -> Generation {
        Generation {
            known,
            path: None,
            live: false,
            grown: Duration::ZERO,
            turned: Duration::ZERO,
            missing: None,
            gone: false,
            doubted: None,
            unseen: None,
            told: false,
            handle: None,
            text: None,
            searched: known.position,
        }
    }

    /// One that nobody has seen before.
    pub(super) fn new(number: u64, sight: &Sight) -> Generation {
        let head = Print::head(&sight.head);
        let mark = if sight.packed { head } else { sight.mark.unwrap_or(head) };
        Generation::known(Known {
            number,
            stat: sight.stat,
            packed: sight.packed,
            done: false,
            head,
            mark,
            position: 0,
        })
    }

    /// The file was found to be this.
    pub(super) fn bind(&mut self, sight: &Sight, path: &Path, live: bool, now: Duration) {
        if sight.stat.inode() != self.known.stat.inode() || self.known.packed != sight.packed {
            self.let_go();
        }
        if sight.stat.size != self.known.stat.size {
            self.grown = now;
        }
        self.known.packed = sight.packed;
        if let (false, Some(mark)) = (sight.packed, sight.mark) {
            (self.known.head, self.known.mark) = (Print::head(&sight.head), mark);
        }
        self.known.stat = sight.stat;
        self.doubted = None;
        self.found(path, live, now);
    }

    /// Its file lies there.
    pub(super) fn found(&mut self, path: &Path, live: bool, now: Duration) {
        if self.path.is_none() || self.live != live {
            (self.grown, self.turned) = (now, now);
        }
        if self.path.as_deref() != Some(path) {
            self.doubted = None;
        }
        (self.path, self.live) = (Some(path.to_owned()), live);
        (self.missing, self.gone, self.unseen, self.told) = (None, false, None, false);
    }

    /// The name is gone; an open file stays open.
    pub(super) fn unbind(&mut self, now: Duration) {
        if self.live {
            (self.grown, self.turned) = (now, now);
        }
        (self.path, self.live) = (None, false);
    }

    /// What was open is something else by now.
    pub(super) fn let_go(&mut self) {
        (self.handle, self.text) = (None, None);
        self.searched = self.known.position;
    }

    /// Whether it can still be read although it has no name.
    pub(super) fn is_held(&self) -> bool {
        self.handle.is_some() || self.text.is_some()
    }

    /// Whether packed text is being read.
    pub(super) fn unpacks(&self) -> bool {
        self.text.is_some()
    }

    /// Opens the file and keeps it open.
    pub(super) fn hold(&mut self) {
        if self.handle.is_none() && !self.known.packed && !self.known.done {
            self.handle = self.open().ok().flatten();
        }
    }

    fn open(&self) -> io::Result<Option<File>> {
        let Some(path) = &self.path else { return Ok(None) };
        match File::open(path) {
            Ok(file) => {
                let same = Stat::of(&file.metadata()?).inode() == self.known.stat.inode();
                Ok(same.then_some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_packed(&self) -> io::Result<Option<Packed>> {
        Ok(self.open()?.zip(self.path.as_ref()).map(|(file, path)| Packed::new(path, file)))
    }

    /// The plain file, to be given back to [`put`](Generation::put); `None` if it is not there any more.
    fn take(&mut self) -> io::Result<Option<(File, bool)>> {
        match self.handle.take() {
            Some(file) => Ok(Some((file, true))),
            None => Ok(self.open()?.map(|file| (file, false))),
        }
    }

    fn put(&mut self, (file, held): (File, bool)) {
        if held {
            self.handle = Some(file);
        }
    }

    /// Looks at a plain file.
    pub(super) fn look(&mut self, now: Duration) -> io::Result<Look> {
        if self.handle.is_none() {
            // Without an open file the name is asked first, which costs less than opening it.
            let Some(path) = &self.path else { return Ok(Look::Other) };
            match fs::metadata(path) {
                Ok(meta) if Stat::of(&meta) == self.known.stat => return Ok(Look::Same),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Other),
                Err(error) => return Err(error),
            }
        }
        let Some((file, held)) = self.take()? else { return Ok(Look::Other) };
        let look = self.look_at(&file, now);
        self.put((file, held));
        look
    }

    fn look_at(&mut self, file: &File, now: Duration) -> io::Result<Look> {
        let stat = Stat::of(&file.metadata()?);
        if stat == self.known.stat {
            return Ok(Look::Same);
        }
        let Some(sight) = fits_plain(&self.known, file, stat)? else { return Ok(Look::Other) };
        if stat.size > self.known.stat.size {
            self.grown = now;
        }
        self.known.stat = stat;
        (self.known.head, self.known.mark) = (Print::head(&sight.head), sight.mark.unwrap_or(self.known.mark));
        Ok(Look::Grown)
    }

    /// How many bytes of text are known to be unread; of packed text that is only begun, at least the packed size.
    pub(super) fn unread(&self) -> u64 {
        match (self.known.done, self.known.packed) {
            (true, _) => 0,
            (false, false) => self.known.mark.end.max(self.known.stat.size).saturating_sub(self.known.position),
            (false, true) => self.known.mark.end.saturating_sub(self.known.position).max(self.known.stat.size),
        }
    }

    /// How many bytes may be had now; `over` if nothing more will come.
    pub(super) fn ready(&self, over: bool) -> u64 {
        match (self.known.done, self.known.packed) {
            (true, _) => 0,
            (false, true) => SEARCH_BYTES,
            (false, false) if over => self.known.stat.size.saturating_sub(self.known.position),
            (false, false) => self.known.stat.size.saturating_sub(self.searched.max(self.known.position)),
        }
    }

    /// Whether a plain file is read as far as it was seen.
    pub(super) fn at_end(&self) -> bool {
        !self.known.packed && self.known.position >= self.known.stat.size
    }

    /// All is sent.
    pub(super) fn finish(&mut self) {
        self.known.done = true;
        self.let_go();
    }

    /// More came after all.
    pub(super) fn reopen(&mut self, now: Duration) {
        self.known.done = false;
        (self.searched, self.grown) = (self.known.position, now);
    }

    /// What was handed out is taken.
    pub(super) fn advance(&mut self, to: u64) {
        self.known.position = to;
        self.searched = self.searched.max(to);
        if let Some(mark) = self.text.as_ref().and_then(Packed::print)
            && mark.end == to
            && to > self.known.mark.end
        {
            self.known.mark = mark;
        }
    }

    /// The next lines.
    pub(super) fn cut(&mut self, room: Room, over: bool) -> io::Result<Cut> {
        if self.known.packed {
            return self.cut_packed(room);
        }
        let Some((file, held)) = self.take()? else { return Ok(Cut::Other) };
        let cut = self.cut_plain(&file, room, over);
        self.put((file, held));
        cut
    }

    fn cut_plain(&mut self, file: &File, room: Room, over: bool) -> io::Result<Cut> {
        let (from, end) = (self.known.position, self.known.stat.size);
        if from >= end {
            return Ok(Cut::Nothing);
        }
        let cut = self.lines(file, room, over)?;
        // It may have been cut off and written anew while it was read; then nothing that was seen counts.
        if fits_plain(&self.known, file, Stat { size: end, ..self.known.stat })?.is_none() {
            return Ok(Cut::Other);
        }
        if matches!(cut, Cut::Nothing) {
            self.searched = end;
        }
        Ok(cut)
    }

    /// The next lines of a plain file; nothing if there is no line feed up to its end.
    fn lines(&self, file: &File, room: Room, over: bool) -> io::Result<Cut> {
        let (from, end) = (self.known.position, self.known.stat.size);
        let mut to = end.min(from.saturating_add(room.bytes));
        let mut bytes = read_range(file, from, to)?;
        if let Some(last) = bytes.iter().rposition(|&byte| byte == b'\n') {
            to = from + last as u64 + 1;
        } else {
            // One line that is longer than the room, or is not whole yet.
            bytes = vec![];
            let found = if to == end { None } else { line_end(file, to.max(self.searched), end)? };
            match found {
                Some(found) => to = found,
                None if over => to = end,
                None => return Ok(Cut::Nothing),
            }
            if to - from > room.line_bytes_max {
                return Ok(Cut::Skipped { from, to });
            }
            if to - from > room.bytes && !room.alone {
                return Ok(Cut::Full);
            }
            bytes.extend(read_range(file, from, to)?);
        }
        bytes.truncate((to - from) as usize);
        let whole = bytes.len() as u64 == to - from;
        Ok(if whole { Cut::Lines { from, to, bytes } } else { Cut::Other })
    }

    fn cut_packed(&mut self, room: Room) -> io::Result<Cut> {
        let position = self.known.position;
        let mut text = match self.text.take() {
            Some(text) => text,
            None => {
                let Some(mut text) = self.open_packed()? else { return Ok(Cut::Other) };
                match text.seek(position) {
                    Ok(true) => text,
                    Ok(false) => return Ok(Cut::Damaged("its text is shorter than what was read of it".to_owned())),
                    Err(error) => return Ok(Cut::Damaged(error.to_string())),
                }
            }
        };
        let (mut bytes, mut first, mut to) = (vec![], None, position);
        let cut = loop {
            let start = bytes.len();
            match text.next(&mut bytes) {
                Ok(Next::Line { from, to: line_to }) => {
                    let line = line_to - from;
                    let skipped = line > room.line_bytes_max;
                    let fits = bytes.len() as u64 <= room.bytes || start == 0 && room.alone;
                    if skipped && start == 0 {
                        break Cut::Skipped { from, to: line_to };
                    }
                    if skipped || !fits {
                        text.put_back(from, bytes.split_off(start));
                        break if start == 0 { Cut::Full } else { Cut::Nothing };
                    }
                    first.get_or_insert(from);
                    to = line_to;
                }
                // Rare enough for the file to be read anew up to here.
                Ok(Next::TooLong { .. }) if start > 0 => {
                    let at = first.unwrap_or(position);
                    return Ok(Cut::Lines { from: at, to, bytes });
                }
                Ok(Next::TooLong { from, to }) => break Cut::Skipped { from, to },
                Ok(Next::End) => break Cut::End,
                // What came before the fault is handed out first; the fault comes again when the file is read anew.
                Err(_) if start > 0 => return Ok(Cut::Lines { from: first.unwrap_or(position), to, bytes }),
                Err(error) => return Ok(Cut::Damaged(error.to_string())),
            }
        };
        if !matches!(cut, Cut::End) || !bytes.is_empty() {
            self.text = Some(text);
        }
        match first {
            Some(from) if !bytes.is_empty() => Ok(Cut::Lines { from, to, bytes }),
            _ => Ok(cut),
        }
    }

    /// The bytes that were sent before; `None` if they are not there any more.
    pub(super) fn again(&mut self, from: u64, to: u64) -> io::Result<Option<Vec<u8>>> {
        if self.known.packed {
            let Some(mut text) = self.open_packed()? else { return Ok(None) };
            if !text.seek(from).unwrap_or(false) {
                return Ok(None);
            }
            let mut bytes = vec![];
            while (bytes.len() as u64) < to - from {
                match text.next(&mut bytes) {
                    Ok(Next::Line { .. }) => {}
                    _ => return Ok(None),
                }
            }
            bytes.truncate((to - from) as usize);
            return Ok(Some(bytes));
        }
        let Some((file, held)) = self.take()? else { return Ok(None) };
        let bytes = read_range(&file, from, to);
        self.put((file, held));
        Ok(Some(bytes?).filter(|bytes| bytes.len() as u64 == to - from))
    }
}

/// Where the line ends that has no line feed before `at`.
fn line_end(file: &File, mut at: u64, end: u64) -> io::Result<Option<u64>> {
    while at < end {
        let bytes = read_range(file, at, end.min(at + SEARCH_BYTES))?;
        if let Some(found) = bytes.iter().position(|&byte| byte == b'\n') {
            return Ok(Some(at + found as u64 + 1));
        }
        if bytes.is_empty() {
            break;
        }
        at += bytes.len() as u64;
    }
    Ok(None)
}

/// What was seen of a file.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) stat: Stat,
    pub(super) packed: bool,
    /// The first bytes of its text.
    pub(super) head: Vec<u8>,
    /// Of a plain file: the print at its end.
    pub(super) mark: Option<Print>,
}

/// Fails as if the file were gone if the name is another one's by now.
fn same_file(file: &File, stat: Stat) -> io::Result<()> {
    let same = Stat::of(&file.metadata()?).inode() == stat.inode();
    if same { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Looks at a file that was listed with `stat`.
pub(super) fn sight(path: &Path, stat: Stat) -> io::Result<Sight> {
    let file = File::open(path)?;
    same_file(&file, stat)?;
    let head = read_range(&file, 0, stat.size.min(PRINT_BYTES))?;
    if packed::is_packed(&head) {
        // What cannot be unpacked is told when it is to be read.
        let head = packed::head(path, file).unwrap_or_default();
        return Ok(Sight { stat, packed: true, head, mark: None });
    }
    let mark = Print::read(&file, stat.size)?;
    Ok(Sight { stat, packed: false, head, mark })
}

/// What is seen of a plain file if it is the generation.
fn fits_plain(known: &Known, file: &File, stat: Stat) -> io::Result<Option<Sight>> {
    let head = read_range(file, 0, stat.size.min(PRINT_BYTES))?;
    if !known.head.begins(&head) || stat.size < known.mark.end {
        return Ok(None);
    }
    if Print::read(file, known.mark.end)? != Some(known.mark) {
        return Ok(None);
    }
    let mark = if stat.size == known.mark.end { Some(known.mark) } else { Print::read(file, stat.size)? };
    Ok(mark.map(|_| Sight { stat, packed: false, head, mark }))
}

/// Whether the file that was seen is the generation, by what it holds.
pub(super) fn fits(known: &Known, path: &Path, sight: &Sight) -> io::Result<bool> {
    if !known.head.begins(&sight.head) {
        return Ok(false);
    }
    if sight.packed && known.mark.end <= sight.head.len() as u64 {
        let tail = &sight.head[..known.mark.end as usize];
        return Ok(Print::of(tail, known.mark.end) == Some(known.mark));
    }
    let file = File::open(path)?;
    same_file(&file, sight.stat)?;
    if sight.packed {
        return Ok(packed::print(path, file, known.mark.end).is_ok_and(|print| print == Some(known.mark)));
    }
    Ok(fits_plain(known, &file, sight.stat)?.is_some())
}
