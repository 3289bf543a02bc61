//! Any stream of bytes becomes lines with their offsets.
//!
//! Invariants:
//! - Memory is bounded: of a line longer than [`LINE_BYTES_MAX`] only the first [`HEAD_BYTES_MAX`] bytes are kept.
//! - Every line that was complete before a fault of the stream is delivered before the fault is.
//! - Offsets count bytes of the text, after unpacking, and are the same however the reads were cut.
//!
//! Steps: detect the format → unpack into one buffer → skip a byte order mark → cut at newlines. A carriage return stays:
//! it is white space to JSON.

use super::line::LINE_BYTES_MAX;
use super::unpack::{Input, Unpack};
use memchr::{memchr, memrchr};
use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

/// What is kept of a line that is too long.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// The buffer, unless a line needs more.
const BUFFER_BYTES: usize = 1 << 20;

/// The least room for a read; decoders want to hand out a whole window.
const ROOM_BYTES: usize = 128 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLine<'a> {
    /// A line, without its newline.
    Line {
        /// Of its first byte, in the unpacked text.
        offset: u64,
        /// Its bytes.
        bytes: &'a [u8],
        /// Whether a newline followed; if none did, the line may be torn: its JSON decides.
        ended: bool,
    },
    /// A line beyond [`LINE_BYTES_MAX`]: skipped, never held.
    TooLong {
        /// Of its first byte, in the unpacked text.
        offset: u64,
        /// Its first bytes, [`HEAD_BYTES_MAX`] of them.
        head: &'a [u8],
        /// The length of all of it.
        length: u64,
        /// Whether a newline followed.
        ended: bool,
    },
}

/// Lines of an input that came together.
pub(super) enum Lines {
    /// Whole lines, in a buffer that may be given back to [`LineSource::next_lines`].
    Whole {
        /// Of the first line, in the unpacked text.
        offset: u64,
        /// Holds the lines.
        buffer: Vec<u8>,
        /// Where they lie in it; only the input's last line may lack its newline.
        range: Range<usize>,
    },
    /// One line beyond [`LINE_BYTES_MAX`], as [`SourceLine::TooLong`].
    TooLong {
        /// Of its first byte, in the unpacked text.
        offset: u64,
        /// Its first bytes.
        head: Vec<u8>,
        /// The length of all of it.
        length: u64,
    },
}

/// A compression that is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// A compression that is recognised only to be refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// .xz
    Xz,
    /// .bz2
    Bzip2,
    /// .lz4
    Lz4,
    /// .zip
    Zip,
    /// .7z
    SevenZip,
}

/// What part of a compressed stream is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A header asks for what the format does not have.
    Header,
    /// The compressed data makes no sense.
    Data,
    /// The unpacked bytes are not those that were packed: some lines already delivered may be wrong.
    Checksum,
    /// What follows the compressed data is not of its format.
    Trailing,
}

/// What is wrong with a stream.
#[derive(Debug)]
pub enum Fault {
    /// It could not be read.
    Read(io::Error),
    /// It ends in the middle of its compressed data.
    Truncated(Format),
    /// Its compressed data is damaged.
    Corrupt(Format, Damage),
    /// Its zstd window is larger than 128 MiB.
    Window,
    /// It was packed with a zstd dictionary.
    Dictionary,
    /// It is packed in a way that is not unpacked here.
    Foreign(Foreign),
}

/// An input that could not be read to its end.
#[derive(Debug)]
pub struct SourceError {
    /// The input, as its opener named it.
    pub input: String,
    /// The end of the last line delivered, in the unpacked text.
    pub offset: u64,
    /// How many bytes of the input itself were consumed.
    pub bytes_in: u64,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourceError { input, offset, bytes_in, fault } = self;
        write!(f, "{input}: {fault} (near byte {bytes_in} of the input)")?;
        match fault {
            Fault::Foreign(_) | Fault::Dictionary | Fault::Window if *offset == 0 => {
                f.write_str("; nothing was taken")?
            }
            _ => write!(f, "; the lines in the first {offset} bytes of its text were delivered")?,
        }
        f.write_str(match fault {
            Fault::Read(_) => ". Read it again once it is readable: lines that came twice count once",
            Fault::Truncated(_) => ". Get the rest and read it again whole: lines that came twice count once",
            Fault::Corrupt(_, Damage::Trailing) => ". Cut off what follows, or unpack it by hand and give the result",
            Fault::Corrupt(..) => ". Get an intact copy and read it again: lines that came twice count once",
            Fault::Window => ". Unpack it with `zstd -d --memory=2048MB -c` and give the result",
            Fault::Dictionary => ". Unpack it with `zstd -d -D DICTIONARY -c` and give the result",
            Fault::Foreign(_) => ". Unpack it and give the result",
        })
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Read(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Read(error) => write!(f, "cannot be read: {error}"),
            Fault::Truncated(format) => write!(f, "its {format} data is cut off"),
            Fault::Corrupt(format, Damage::Header) => write!(f, "its {format} header is damaged"),
            Fault::Corrupt(format, Damage::Data) => write!(f, "its {format} data is damaged"),
            Fault::Corrupt(format, Damage::Checksum) => write!(f, "its {format} data does not match its checksum"),
            Fault::Corrupt(format, Damage::Trailing) => write!(f, "something else follows its {format} data"),
            Fault::Window => f.write_str("its zstd window is larger than 128 MiB"),
            Fault::Dictionary => f.write_str("it was packed with a zstd dictionary"),
            Fault::Foreign(foreign) => f.write_str(match foreign {
                Foreign::Xz => "it is packed with xz, which is not unpacked here",
                Foreign::Bzip2 => "it is packed with bzip2, which is not unpacked here",
                Foreign::Lz4 => "it is packed with lz4, which is not unpacked here",
                Foreign::Zip => "it is a zip archive, which is not unpacked here",
                Foreign::SevenZip => "it is a 7z archive, which is not unpacked here",
            }),
        }
    }
}

/// Cuts an input into lines.
pub struct LineSource<R> {
    name: String,
    input: Input<R>,
    /// `None` before the first bytes were seen.
    unpack: Option<Unpack>,
    /// Text in `start..end`, of which `start..scanned` holds no newline.
    buffer: Vec<u8>,
    start: usize,
    scanned: usize,
    end: usize,
    /// Of `buffer[start]` in the text.
    offset: u64,
    /// Nothing more comes; and why, until that was told.
    over: bool,
    fault: Option<Fault>,
}

/// A line as a place in the buffer.
struct Found {
    offset: u64,
    range: Range<usize>,
    length: u64,
    ended: bool,
}

impl<R: Read> LineSource<R> {
    /// Lines of `reader`; `name` stands for it in errors.
    pub fn new(name: impl Into<String>, reader: R) -> LineSource<R> {
        LineSource {
            name: name.into(),
            input: Input::new(reader),
            unpack: None,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            end: 0,
            offset: 0,
            over: false,
            fault: None,
        }
    }

    /// How many bytes of the input itself, compressed or not, were consumed: for progress.
    pub fn bytes_in(&self) -> u64 {
        self.input.taken
    }

    /// The next line; `None` at the end, and after an error.
    pub fn next_line(&mut self) -> Result<Option<SourceLine<'_>>, SourceError> {
        let Some(Found { offset, range, length, ended }) = self.find()? else {
            return Ok(None);
        };
        let bytes = &self.buffer[range];
        Ok(Some(if length > LINE_BYTES_MAX as u64 {
            SourceLine::TooLong { offset, head: &bytes[..bytes.len().min(HEAD_BYTES_MAX)], length, ended }
        } else {
            SourceLine::Line { offset, bytes, ended }
        }))
    }

    /// The next lines, as many as came together; `None` at the end, and after an error. `spare` is a buffer to use.
    pub(super) fn next_lines(&mut self, spare: Option<Vec<u8>>) -> Result<Option<Lines>, SourceError> {
        if self.unpack.is_none() && !self.over {
            self.begin();
        }
        let range = loop {
            if let Some(length) = memrchr(b'\n', &self.buffer[self.scanned..self.end]) {
                break self.start..self.scanned + length + 1;
            }
            self.scanned = self.end;
            if self.end - self.start > LINE_BYTES_MAX {
                let Found { offset, range, length, .. } = self.skip_long()?;
                return Ok(Some(Lines::TooLong { offset, head: self.buffer[range].to_vec(), length }));
            }
            if self.over {
                if let Some(fault) = self.fault.take() {
                    return Err(self.error(fault));
                }
                if self.start == self.end {
                    return Ok(None);
                }
                break self.start..self.end;
            }
            self.fill();
        };
        let mut next = spare.unwrap_or_default();
        let rest = &self.buffer[range.end..self.end];
        if next.len() < rest.len() {
            next.resize(rest.len().max(BUFFER_BYTES), 0);
        }
        next[..rest.len()].copy_from_slice(rest);
        let offset = self.offset;
        self.offset += range.len() as u64;
        (self.start, self.scanned, self.end) = (0, rest.len(), rest.len());
        let buffer = std::mem::replace(&mut self.buffer, next);
        Ok(Some(Lines::Whole { offset, buffer, range }))
    }

    fn find(&mut self) -> Result<Option<Found>, SourceError> {
        if self.unpack.is_none() && !self.over {
            self.begin();
        }
        loop {
            if let Some(length) = memchr(b'\n', &self.buffer[self.scanned..self.end]) {
                let stop = self.scanned + length;
                return Ok(Some(self.take(stop, true)));
            }
            self.scanned = self.end;
            if self.end - self.start > LINE_BYTES_MAX {
                return self.skip_long().map(Some);
            }
            if self.over {
                if let Some(fault) = self.fault.take() {
                    return Err(self.error(fault));
                }
                return Ok((self.start < self.end).then(|| self.take(self.end, false)));
            }
            self.fill();
        }
    }

    /// Takes the line that stops at `stop` out of the buffer.
    fn take(&mut self, stop: usize, ended: bool) -> Found {
        let found = Found { offset: self.offset, range: self.start..stop, length: (stop - self.start) as u64, ended };
        self.start = stop + usize::from(ended);
        self.scanned = self.start;
        self.offset += found.length + u64::from(ended);
        found
    }

    /// Reads past the end of a line that is already too long, with only its head kept at the front of the buffer.
    fn skip_long(&mut self) -> Result<Found, SourceError> {
        self.buffer.copy_within(self.start..self.start + HEAD_BYTES_MAX, 0);
        let mut length = (self.end - self.start) as u64;
        self.buffer.truncate(HEAD_BYTES_MAX + BUFFER_BYTES);
        self.buffer.shrink_to(HEAD_BYTES_MAX + BUFFER_BYTES);
        let ended = loop {
            (self.start, self.end) = (HEAD_BYTES_MAX, HEAD_BYTES_MAX);
            if self.over {
                break false;
            }
            self.read();
            if let Some(stop) = memchr(b'\n', &self.buffer[self.start..self.end]) {
                length += stop as u64;
                self.start += stop + 1;
                break true;
            }
            length += (self.end - self.start) as u64;
        };
        if !ended && let Some(fault) = self.fault.take() {
            return Err(self.error(fault));
        }
        self.scanned = self.start;
        let found = Found { offset: self.offset, range: 0..HEAD_BYTES_MAX, length, ended };
        self.offset += length + u64::from(ended);
        Ok(found)
    }

    /// Detects the format and skips a byte order mark.
    fn begin(&mut self) {
        match Unpack::detect(&mut self.input) {
            Ok(unpack) => self.unpack = Some(unpack),
            Err(fault) => (self.over, self.fault) = (true, Some(fault)),
        }
        loop {
            let text = &self.buffer[..self.end];
            if text.starts_with(BYTE_ORDER_MARK) {
                (self.start, self.scanned) = (BYTE_ORDER_MARK.len(), BYTE_ORDER_MARK.len());
                self.offset = BYTE_ORDER_MARK.len() as u64;
                return;
            }
            if self.over || !BYTE_ORDER_MARK.starts_with(text) {
                return;
            }
            self.fill();
        }
    }

    /// Makes room in the buffer and reads once.
    fn fill(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.scanned -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < ROOM_BYTES {
            let size = self.buffer.len().max(BUFFER_BYTES / 2) * 2;
            self.buffer.resize(size.min(LINE_BYTES_MAX + BUFFER_BYTES).max(self.end + ROOM_BYTES), 0);
        } else if self.buffer.len() > BUFFER_BYTES && self.end < BUFFER_BYTES / 4 {
            self.buffer.truncate(BUFFER_BYTES);
            self.buffer.shrink_to(BUFFER_BYTES);
        }
        self.read();
    }

    /// Reads once into the room behind `end`.
    fn read(&mut self) {
        let Some(unpack) = &mut self.unpack else {
            self.over = true;
            return;
        };
        match unpack.read(&mut self.input, &mut self.buffer[self.end..]) {
            Ok(0) => self.over = true,
            Ok(count) => self.end += count,
            Err(fault) => (self.over, self.fault) = (true, Some(fault)),
        }
    }

    /// The fault as an error; the unfinished line before it is dropped.
    fn error(&mut self, fault: Fault) -> SourceError {
        (self.start, self.scanned, self.end) = (0, 0, 0);
        SourceError { input: self.name.clone(), offset: self.offset, bytes_in: self.input.taken, fault }
    }
}
