//! A stream of bytes, plain or compressed, becomes the bytes of its text.
//!
//! The format is told by the first bytes, never by a name. The libraries' own readers are not used, since they throw
//! away what a call had decoded before it met damage; the decoders here hand out every byte that comes before a fault,
//! and then the fault.
//!
//! Invariants:
//! - Memory is bounded whatever the input says: one buffer of input, 32 KiB of window for gzip, at most
//!   [`ZSTD_WINDOW_LOG_MAX`] for zstd.
//! - Zero bytes are handed out only at a proper end: after a whole gzip member or zstd frame, or the end of plain input.

use crate::ingest::source::{Damage, Fault, Foreign, Format};
use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, Read};
use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;

/// What is read from the input at once.
const INPUT_BYTES: usize = 256 << 10;

/// The largest zstd window taken, as a power of two: 128 MiB, the most that the zstd program itself takes unasked.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What the first bytes of an input say.
enum Magic {
    Format(Format),
    Foreign(Foreign),
}

const MAGICS: [(&[u8], Magic); 7] = [
    (b"\x1f\x8b", Magic::Format(Format::Gzip)),
    (b"\x28\xb5\x2f\xfd", Magic::Format(Format::Zstd)),
    (b"\xfd7zXZ\0", Magic::Foreign(Foreign::Xz)),
    (b"BZh91AY&SY", Magic::Foreign(Foreign::Bzip2)),
    (b"\x04\x22\x4d\x18", Magic::Foreign(Foreign::Lz4)),
    (b"PK\x03\x04", Magic::Foreign(Foreign::Zip)),
    (b"7z\xbc\xaf\x27\x1c", Magic::Foreign(Foreign::SevenZip)),
];

/// A zstd frame to be skipped begins with one of 16 magics that differ in four bits of the first byte.
fn is_skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The input with one buffer, and the count of bytes taken from it.
pub(super) struct Input<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    ended: bool,
    /// Bytes consumed so far.
    pub(super) taken: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Input<R> {
        Input { reader, buffer: vec![0; INPUT_BYTES].into(), start: 0, end: 0, ended: false, taken: 0 }
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads behind what is buffered; false at the end of the input.
    fn more(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.ended || self.end == self.buffer.len() {
            return Ok(false);
        }
        let count = read(&mut self.reader, &mut self.buffer[self.end..])?;
        self.end += count;
        self.ended = count == 0;
        Ok(count > 0)
    }

    /// What is buffered, after a read if that was nothing; empty at the end of the input.
    fn fill(&mut self) -> Result<&[u8], Fault> {
        if self.start == self.end {
            self.more().map_err(Fault::Read)?;
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.taken += count as u64;
    }

    /// One byte, `None` at the end.
    fn byte(&mut self) -> Result<Option<u8>, Fault> {
        let byte = self.fill()?.first().copied();
        self.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    /// Bytes as they are, past the buffer where that is empty.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        let count = if self.start < self.end {
            let count = out.len().min(self.end - self.start);
            out[..count].copy_from_slice(&self.buffered()[..count]);
            self.start += count;
            count
        } else if self.ended {
            0
        } else {
            read(&mut self.reader, out).map_err(Fault::Read)?
        };
        self.ended |= count == 0;
        self.taken += count as u64;
        Ok(count)
    }
}

fn read(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A reader that claims more than it was given room for is not believed.
            read => return read.map(|count| count.min(out.len())),
        }
    }
}

/// How an input is unpacked.
pub(super) enum Unpack {
    Plain,
    Gzip(Box<Gzip>),
    Zstd(Box<Zstd>),
}

impl Unpack {
    /// Looks at the first bytes, reading only as long as they may still become a magic.
    pub(super) fn detect<R: Read>(input: &mut Input<R>) -> Result<Unpack, Fault> {
        loop {
            let bytes = input.buffered();
            if let Some((_, magic)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
                return match magic {
                    Magic::Format(Format::Gzip) => Ok(Unpack::Gzip(Box::default())),
                    Magic::Format(Format::Zstd) => Zstd::new().map(|zstd| Unpack::Zstd(Box::new(zstd))),
                    Magic::Foreign(foreign) => Err(Fault::Foreign(*foreign)),
                };
            }
            if is_skippable(bytes) {
                return Zstd::new().map(|zstd| Unpack::Zstd(Box::new(zstd)));
            }
            let skippable = bytes.len() < 4 && is_skippable(&[bytes, &b"\x50\x2a\x4d\x18"[bytes.len()..]].concat());
            let open = skippable || MAGICS.iter().any(|(magic, _)| magic.starts_with(bytes));
            if !open || !input.more().map_err(Fault::Read)? {
                return Ok(Unpack::Plain);
            }
        }
    }

    /// Writes some bytes of the text into `out`, which must not be small; 0 at the end.
    pub(super) fn read<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8]) -> Result<usize, Fault> {
        match self {
            Unpack::Plain => input.read(out),
            Unpack::Gzip(gzip) => gzip.read(input, out),
            Unpack::Zstd(zstd) => zstd.read(input, out),
        }
    }
}

/// RFC 1952: members, one after the other.
pub(super) struct Gzip {
    inflate: Decompress,
    state: GzipState,
    members: u64,
    crc: Hasher,
    /// Bytes of this member's text, modulo 2^32 as in its trailer.
    length: u32,
    /// What comes after the bytes that were handed out.
    fault: Option<Fault>,
}

#[derive(Clone, Copy)]
enum GzipState {
    Header,
    Body,
    Trailer,
}

impl Default for Gzip {
    fn default() -> Gzip {
        Gzip {
            inflate: Decompress::new(false),
            state: GzipState::Header,
            members: 0,
            crc: Hasher::new(),
            length: 0,
            fault: None,
        }
    }
}

impl Gzip {
    fn read<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8]) -> Result<usize, Fault> {
        loop {
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            match self.state {
                GzipState::Header => {
                    if !self.header(input)? {
                        return Ok(0);
                    }
                    self.state = GzipState::Body;
                }
                GzipState::Body => {
                    let count = self.body(input, out)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                GzipState::Trailer => {
                    self.trailer(input)?;
                    self.state = GzipState::Header;
                }
            }
        }
    }

    /// Consumes a member's header; false at the end of the input after a whole member.
    fn header<R: Read>(&mut self, input: &mut Input<R>) -> Result<bool, Fault> {
        if self.members > 0 {
            match input.byte()? {
                None => return Ok(false),
                Some(0x1f) => {}
                Some(_) => return Err(Fault::Corrupt(Format::Gzip, Damage::Trailing)),
            }
            if byte(input)? != 0x8b {
                return Err(Fault::Corrupt(Format::Gzip, Damage::Trailing));
            }
        } else {
            skip(input, 2)?;
        }
        self.members += 1;
        let (method, flags) = (byte(input)?, byte(input)?);
        if method != 8 || flags & 0xe0 != 0 {
            return Err(Fault::Corrupt(Format::Gzip, Damage::Header));
        }
        skip(input, 6)?;
        if flags & 4 != 0 {
            let extra = u16::from_le_bytes([byte(input)?, byte(input)?]);
            skip(input, extra)?;
        }
        // The original name, and a comment, each ended by NUL.
        for flag in [8, 16] {
            while flags & flag != 0 && byte(input)? != 0 {}
        }
        skip(input, u16::from(flags & 2))?;
        Ok(true)
    }

    fn body<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8]) -> Result<usize, Fault> {
        let available = input.fill()?;
        let ended = available.is_empty();
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(available, out, FlushDecompress::None);
        let consumed = (self.inflate.total_in() - before.0) as usize;
        let count = (self.inflate.total_out() - before.1) as usize;
        input.consume(consumed);
        self.crc.update(&out[..count]);
        self.length = self.length.wrapping_add(count as u32);
        match status {
            Ok(Status::StreamEnd) => self.state = GzipState::Trailer,
            Ok(_) if consumed > 0 || count > 0 => {}
            Ok(_) if ended => self.fault = Some(Fault::Truncated(Format::Gzip)),
            Ok(_) | Err(_) => self.fault = Some(Fault::Corrupt(Format::Gzip, Damage::Data)),
        }
        Ok(count)
    }

    fn trailer<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Fault> {
        let mut words = [0u32; 2];
        for word in &mut words {
            *word = u32::from_le_bytes([byte(input)?, byte(input)?, byte(input)?, byte(input)?]);
        }
        let crc = std::mem::take(&mut self.crc).finalize();
        let length = std::mem::take(&mut self.length);
        self.inflate.reset(false);
        if words == [crc, length] { Ok(()) } else { Err(Fault::Corrupt(Format::Gzip, Damage::Checksum)) }
    }
}

/// A byte that must be there.
fn byte<R: Read>(input: &mut Input<R>) -> Result<u8, Fault> {
    input.byte()?.ok_or(Fault::Truncated(Format::Gzip))
}

fn skip<R: Read>(input: &mut Input<R>, count: u16) -> Result<(), Fault> {
    for _ in 0..count {
        byte(input)?;
    }
    Ok(())
}

/// RFC 8878: frames, one after the other.
pub(super) struct Zstd {
    decoder: raw::Decoder<'static>,
    frames: u64,
    in_frame: bool,
    /// How many bytes the decoder would like next.
    hint: usize,
    /// The last call filled the output, so there may be more without new input.
    full: bool,
}

/// A block's header in a zstd frame.
const ZSTD_BLOCK_HEADER_BYTES: usize = 3;

impl Zstd {
    fn new() -> Result<Zstd, Fault> {
        let mut decoder = raw::Decoder::new().map_err(Fault::Read)?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(Fault::Read)?;
        Ok(Zstd { decoder, frames: 0, in_frame: false, hint: 0, full: false })
    }

    fn read<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8]) -> Result<usize, Fault> {
        loop {
            let available = if self.full { &[][..] } else { input.fill()? };
            let ended = !self.full && available.is_empty();
            if !self.in_frame {
                if ended {
                    return Ok(0);
                }
                self.decoder.reinit().map_err(Fault::Read)?;
                (self.in_frame, self.hint) = (true, 1);
                self.frames += 1;
            }
            // A call that fails says nothing of what it had decoded before. So no call gets more than the rest of one
            // block: the decoder asks for that and the next block's header.
            let wanted = self.hint.checked_sub(ZSTD_BLOCK_HEADER_BYTES).filter(|&rest| rest > 0).unwrap_or(self.hint);
            let mut from = InBuffer::around(&available[..wanted.clamp(1, INPUT_BYTES).min(available.len())]);
            let mut to = OutBuffer::around(&mut *out);
            let hint = self.decoder.run(&mut from, &mut to);
            let (consumed, count) = (from.pos(), to.pos());
            self.hint = hint.map_err(|error| self.fault(error))?;
            input.consume(consumed);
            self.in_frame = self.hint != 0;
            self.full = self.in_frame && count == out.len();
            if count > 0 {
                return Ok(count);
            }
            if ended {
                return Err(Fault::Truncated(Format::Zstd));
            }
        }
    }

    fn fault(&self, error: io::Error) -> Fault {
        let Some(code) = error.get_ref().and_then(|error| error.downcast_ref::<zstd::Error>()) else {
            return Fault::Read(error);
        };
        if code.is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
            Fault::Window
        } else if code.is(ZSTD_ErrorCode::ZSTD_error_dictionary_wrong) {
            Fault::Dictionary
        } else if code.is(ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
            Fault::Read(io::ErrorKind::OutOfMemory.into())
        } else if code.is(ZSTD_ErrorCode::ZSTD_error_prefix_unknown) && self.frames > 1 {
            Fault::Corrupt(Format::Zstd, Damage::Trailing)
        } else if code.is(ZSTD_ErrorCode::ZSTD_error_checksum_wrong) {
            Fault::Corrupt(Format::Zstd, Damage::Checksum)
        } else {
            Fault::Corrupt(Format::Zstd, Damage::Data)
        }
    }
}
