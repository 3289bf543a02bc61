//! Sound frames and what lies between them.
//!
//! After a frame that does not verify, every later offset is tried at which a type of the file's kind and three zeros
//! stand in the right places. A checksum covers its frame's offset, so what verifies was written there.
//!
//! Invariants:
//! - Stretches tile what is walked, in order.
//! - Searches take the checksums of [`SEARCH_FACTOR`] times the file's bytes, and [`SEARCH_BYTES_MIN`], at most: bytes
//!   made to look like many long frames cannot hold a walk up. What is not searched then is one stretch to the end.

use super::item::{Sink, Value};
use super::{Finding, file_kind_of, frame_word};
use crate::codec;
use crate::error::{Fault, Structure};
use crate::format::frame::{
    FRAME_HEADER_BYTES, FileId, FileKind, Frame, HEADER_BYTES, UnverifiedFrame, kind, read_frame,
};
use std::io;

/// How many times its own length a file may cost in checksums that do not match.
const SEARCH_FACTOR: u64 = 16;
/// A file may cost so much in any case.
const SEARCH_BYTES_MIN: u64 = 64 << 20;

/// How many bytes of what cannot be decoded are shown.
const HEAD_BYTES: usize = 24;

/// A part of a file.
pub(crate) enum Stretch<'a> {
    /// A frame that verified.
    Sound(u64, Frame<'a>),
    /// Bytes from one offset to another that are none, and what is wrong at the first.
    Bad { at: u64, end: u64, fault: Fault },
}

/// What cannot be decoded, by its first bytes.
pub(super) fn head(bytes: &[u8]) -> Value {
    Value::Bytes(bytes[..bytes.len().min(HEAD_BYTES)].to_vec())
}

/// All of `bytes` after the header: they are the file's first bytes, or all.
pub(crate) fn stretches<'a>(bytes: &'a [u8], id: &'a FileId, of: FileKind) -> Vec<Stretch<'a>> {
    Stretches::new(bytes, id, of).collect()
}

/// The stretches of a file, one after the other.
pub(in crate::check) struct Stretches<'a> {
    search: Search<'a>,
    at: usize,
}

impl<'a> Stretches<'a> {
    /// What stands in `bytes` after the header: they are the file's first bytes, or all.
    pub(in crate::check) fn new(bytes: &'a [u8], id: &'a FileId, of: FileKind) -> Stretches<'a> {
        Stretches { search: Search::new(bytes, id, Some(of)), at: HEADER_BYTES }
    }

    /// Where the next stretch begins.
    pub(in crate::check) fn at(&self) -> u64 {
        self.at as u64
    }

    /// What the next frame says of itself, if that can be; it is passed over unverified if `passes` says so.
    pub(in crate::check) fn pass_over(
        &mut self,
        passes: impl FnOnce(&UnverifiedFrame) -> bool,
    ) -> Option<UnverifiedFrame> {
        let rest = self.search.bytes.get(self.at..)?;
        let said =
            UnverifiedFrame::read(rest).filter(|said| said.is_plausible && self.search.is_plausible(said.kind))?;
        let needed = FRAME_HEADER_BYTES as u64 + u64::from(said.payload_len);
        if needed > rest.len() as u64 || !passes(&said) {
            return None;
        }
        self.at += needed as usize;
        Some(said)
    }
}

impl<'a> Iterator for Stretches<'a> {
    type Item = Stretch<'a>;

    fn next(&mut self) -> Option<Stretch<'a>> {
        let Search { bytes, id, .. } = self.search;
        if self.at >= bytes.len() {
            return None;
        }
        let here = self.at as u64;
        match read_frame(&bytes[self.at..], id, here) {
            Ok(frame) => {
                self.at = frame.end as usize;
                Some(Stretch::Sound(here, frame))
            }
            Err(fault) => {
                self.at = self.search.next(self.at + 1).unwrap_or(bytes.len());
                Some(Stretch::Bad { at: here, end: self.at as u64, fault })
            }
        }
    }
}

/// Whose frames `bytes` hold, of these; and the kind of file that such frames are in, if one was found.
pub(super) fn identify(bytes: &[u8], ids: &[FileId]) -> (FileId, Option<FileKind>) {
    let first = |id: &FileId| {
        let at = Search::new(bytes, id, None).next(HEADER_BYTES)?;
        file_kind_of(read_frame(&bytes[at..], id, at as u64).ok()?.kind)
    };
    match ids {
        [] => (FileId { store: [0; 16], number: 0 }, None),
        ids => ids.iter().find_map(|id| Some((*id, Some(first(id)?)))).unwrap_or((ids[0], None)),
    }
}

struct Search<'a> {
    bytes: &'a [u8],
    id: &'a FileId,
    /// The kind of file; `None` if any may be.
    of: Option<FileKind>,
    budget: u64,
}

impl<'a> Search<'a> {
    fn new(bytes: &'a [u8], id: &'a FileId, of: Option<FileKind>) -> Search<'a> {
        let budget = (bytes.len() as u64).saturating_mul(SEARCH_FACTOR).max(SEARCH_BYTES_MIN);
        Search { bytes, id, of, budget }
    }

    fn is_plausible(&self, byte: u8) -> bool {
        match (file_kind_of(byte), self.of) {
            (Some(kind), Some(of)) => kind == of,
            (Some(_), None) => true,
            (None, of) => of.is_some() && byte & kind::OPTIONAL != 0,
        }
    }

    /// The next offset, this or a later one, where a sound frame begins.
    fn next(&mut self, from: usize) -> Option<usize> {
        for at in from..self.bytes.len().checked_sub(FRAME_HEADER_BYTES - 1)? {
            let rest = &self.bytes[at..];
            let said = UnverifiedFrame::read(rest)?;
            let needed = FRAME_HEADER_BYTES as u64 + u64::from(said.payload_len);
            if !said.is_plausible || !self.is_plausible(said.kind) || needed > rest.len() as u64 {
                continue;
            }
            if read_frame(rest, self.id, at as u64).is_ok() {
                return Some(at);
            }
            self.budget = self.budget.checked_sub(needed)?;
        }
        None
    }
}

/// Shows a stretch that holds no sound frame.
pub(super) fn put_bad(
    bytes: &[u8],
    at: u64,
    end: u64,
    fault: &Fault,
    torn: bool,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    let stretch = &bytes[at as usize..end as usize];
    let mut fields = Vec::new();
    if let Some(said) = UnverifiedFrame::read(stretch) {
        let word = frame_word(said.kind);
        fields.push(("says_type", word.map_or(Value::Number(said.kind.into()), Value::Word)));
        fields.push(("says_payload_bytes", Value::Number(said.payload_len.into())));
    }
    fields.push(("head", head(stretch)));
    let goes_on = if end < bytes.len() as u64 { Value::Number(end) } else { Value::None };
    fields.push(("goes_on_at", goes_on));
    let finding = if torn { Finding::Torn(fault.clone()) } else { Finding::Damage(fault.clone()) };
    sink.put(at, end - at, Structure::Frame.word(), fields, Some(finding))
}

/// Shows a sound frame of a type that is not known, or not here.
pub(super) fn put_other(at: u64, frame: &Frame<'_>, what: &'static str, sink: &mut Sink<'_>) -> io::Result<()> {
    let fields = vec![
        ("type", frame_word(frame.kind).map_or(Value::Number(frame.kind.into()), Value::Word)),
        ("payload_bytes", Value::Number(frame.payload.len() as u64)),
        ("head", head(frame.payload)),
    ];
    let finding = (!frame.is_optional()).then(|| Finding::Damage(Fault::Tag { what, found: u64::from(frame.kind) }));
    sink.put(at, frame.end - at, Structure::Frame.word(), fields, finding)
}

/// The fault of a file that ends too early.
pub(super) fn short(needed: u64, found: u64) -> Finding {
    Finding::Damage(codec::Fault::Length { needed, found }.into())
}
