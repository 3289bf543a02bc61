//! The text of a packed file, line by line, from any place in it.
//!
//! Packed text can only be read from its beginning, so who wants to go on somewhere reads up to there first; a reader is
//! therefore kept as long as the file is being read.

use super::print::{PRINT_BYTES, Print};
use erstwhile_engine::ingest::source::{LineSource, SourceError, SourceLine};
use std::fs::File;
use std::path::Path;

/// Beginnings of files that [`LineSource`] unpacks.
const MAGICS: [&[u8]; 2] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd"];

/// Whether a file that begins so is packed.
pub(super) fn is_packed(head: &[u8]) -> bool {
    MAGICS.iter().any(|magic| head.starts_with(magic))
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A line, with its line feed if it had one.
    Line { from: u64, to: u64 },
    /// A line that is longer than any that is taken.
    TooLong { from: u64, to: u64 },
    /// There is no more.
    End,
}

/// Reads a packed file's text.
pub(super) struct Packed {
    lines: LineSource<File>,
    /// Of the next line.
    at: u64,
    /// The last bytes before `at`, as many as a print takes, if they are known.
    tail: Vec<u8>,
    /// The same before the line that came last.
    tail_before: Vec<u8>,
    /// A line that was put back.
    back: Option<(u64, Vec<u8>)>,
}

impl Packed {
    /// A reader of a file from its beginning; `path` stands for it in errors.
    pub(super) fn new(path: &Path, file: File) -> Packed {
        let lines = LineSource::new(path.to_string_lossy(), file);
        Packed { lines, at: 0, tail: vec![], tail_before: vec![], back: None }
    }

    /// Appends the next line to `out`.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Result<Next, SourceError> {
        let start = out.len();
        self.tail_before.clone_from(&self.tail);
        let (from, length) = if let Some((from, line)) = self.back.take() {
            out.extend(&line);
            (from, line.len() as u64)
        } else {
            match self.lines.next_line()? {
                None => return Ok(Next::End),
                Some(SourceLine::Line { offset, bytes, ended }) => {
                    out.extend(bytes);
                    out.extend(ended.then_some(b'\n'));
                    (offset, (out.len() - start) as u64)
                }
                Some(SourceLine::TooLong { offset, length, ended, .. }) => {
                    self.tail.clear();
                    self.at = offset + length + u64::from(ended);
                    return Ok(Next::TooLong { from: offset, to: self.at });
                }
            }
        };
        if from > self.at {
            // A byte order mark, which the lines leave out.
            self.tail.clear();
        }
        self.at = from + length;
        let line = &out[start..];
        let keep = (PRINT_BYTES as usize).saturating_sub(line.len()).min(self.tail.len());
        self.tail.drain(..self.tail.len() - keep);
        self.tail.extend(&line[line.len().saturating_sub(PRINT_BYTES as usize)..]);
        Ok(Next::Line { from, to: self.at })
    }

    /// Takes back the line that came last.
    pub(super) fn put_back(&mut self, from: u64, line: Vec<u8>) {
        self.at = from;
        std::mem::swap(&mut self.tail, &mut self.tail_before);
        self.back = Some((from, line));
    }

    /// The print before the line that comes next, if it is known.
    pub(super) fn print(&self) -> Option<Print> {
        Print::of(&self.tail, self.at)
    }

    /// Reads on to `position`; false if no line begins there.
    pub(super) fn seek(&mut self, position: u64) -> Result<bool, SourceError> {
        let mut line = vec![];
        while self.at < position && self.back.is_none() {
            line.clear();
            let before = self.at;
            match self.next(&mut line)? {
                Next::End => return Ok(false),
                // A position within a line is that of a torn rest which was sent when the file was thought to be over.
                Next::Line { from, to } if to > position && from < position => {
                    self.put_back(position, line.split_off((position - from) as usize));
                    self.tail.clear();
                    return Ok(true);
                }
                Next::Line { .. } | Next::TooLong { .. } => debug_assert!(self.at > before),
            }
        }
        Ok(self.at == position)
    }
}

/// The first bytes of a packed file's text.
pub(super) fn head(path: &Path, file: File) -> Result<Vec<u8>, SourceError> {
    let mut head = vec![];
    each(path, file, PRINT_BYTES, &mut |bytes| head.extend(bytes))?;
    head.truncate(PRINT_BYTES as usize);
    Ok(head)
}

/// The print at `end` of a packed file's text; `None` if the text is shorter, or is in the midst of what is not known.
pub(super) fn print(path: &Path, file: File, end: u64) -> Result<Option<Print>, SourceError> {
    let (mut at, mut tail) = (0, Vec::new());
    each(path, file, end, &mut |bytes| {
        let bytes = &bytes[..bytes.len().min((end - at) as usize)];
        at += bytes.len() as u64;
        tail.extend(bytes);
        tail.drain(..tail.len().saturating_sub(PRINT_BYTES as usize));
    })?;
    Ok(if at == end { Print::of(&tail, end) } else { None })
}

/// Gives `take` the text up to at least `end`. Stops at a line that is too long to be held.
fn each(path: &Path, file: File, end: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), SourceError> {
    let mut packed = Packed::new(path, file);
    let mut line = vec![];
    let mut at = 0;
    while at < end {
        line.clear();
        match packed.next(&mut line) {
            Ok(Next::Line { from, to }) => {
                if from > at {
                    take(b"\xef\xbb\xbf");
                }
                take(&line);
                at = to;
            }
            Ok(Next::TooLong { .. } | Next::End) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zst(path: &Path, text: &[u8]) {
        std::fs::write(path, zstd::stream::encode_all(text, 1).unwrap()).unwrap();
    }

    #[test]
    fn prints_of_packed_text_are_those_of_plain_text() {
        let dir = tempfile::tempdir().unwrap();
        let mut text = vec![];
        for line in 0..200 {
            writeln!(text, "{line}:{}", "x".repeat(line * 7)).unwrap();
        }
        text.extend(b"torn");
        let path = dir.path().join("x.zst");
        zst(&path, &text);
        assert!(is_packed(&std::fs::read(&path).unwrap()));
        let open = || File::open(&path).unwrap();
        assert_eq!(head(&path, open()).unwrap(), text[..1024]);
        for end in [0, 1, 1000, 1024, 1025, 70_000, text.len()] {
            assert_eq!(print(&path, open(), end as u64).unwrap(), Print::of(&text[..end], end as u64), "{end}");
        }
        assert_eq!(print(&path, open(), text.len() as u64 + 1).unwrap(), None);
        let mut packed = Packed::new(&path, File::open(&path).unwrap());
        let mut out = vec![];
        while packed.next(&mut out).unwrap() != Next::End {
            assert_eq!(packed.print(), Print::of(&out, out.len() as u64));
        }
        assert_eq!(out, text);
    }

    #[test]
    fn reading_goes_on_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zst");
        zst(&path, b"one\ntwo\nthree\n");
        for at in 0..14 {
            let mut packed = Packed::new(&path, File::open(&path).unwrap());
            assert!(packed.seek(at).unwrap(), "{at}");
            let mut out = vec![];
            while packed.next(&mut out).unwrap() != Next::End {}
            assert_eq!(out, &b"one\ntwo\nthree\n"[at as usize..], "{at}");
        }
        assert!(!Packed::new(&path, File::open(&path).unwrap()).seek(15).unwrap());
    }
}
