//! A file's bytes, mapped or in memory, with the pin that keeps the file from being removed.

use std::any::Any;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The bytes of one file as it was when mapped; clones share them and the pin.
#[derive(Clone)]
pub struct Mapped {
    inner: Arc<Inner>,
}

struct Inner {
    bytes: Bytes,
    /// Released when the last clone goes, after the bytes.
    _pin: Box<dyn Any + Send + Sync>,
}

enum Bytes {
    Map(memmap2::Mmap),
    Shared(Arc<Vec<u8>>),
}

impl Mapped {
    /// A mapped file.
    pub(super) fn map(map: memmap2::Mmap, pin: impl Any + Send + Sync) -> Mapped {
        Mapped { inner: Arc::new(Inner { bytes: Bytes::Map(map), _pin: Box::new(pin) }) }
    }

    /// Bytes in memory.
    pub(super) fn shared(bytes: Arc<Vec<u8>>, pin: impl Any + Send + Sync) -> Mapped {
        Mapped { inner: Arc::new(Inner { bytes: Bytes::Shared(bytes), _pin: Box::new(pin) }) }
    }
}

impl From<Vec<u8>> for Mapped {
    /// Bytes that never were a file, pinning nothing.
    fn from(bytes: Vec<u8>) -> Mapped {
        Mapped::shared(Arc::new(bytes), ())
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.inner.bytes {
            Bytes::Map(map) => map,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.len())
    }
}

/// Some of a file's bytes; keeps the file mapped.
#[derive(Clone, Debug)]
pub struct MappedPart {
    of: Mapped,
    at: Range<usize>,
}

impl Mapped {
    /// A part of the bytes; what is outside them is left out.
    pub fn part(&self, at: Range<usize>) -> MappedPart {
        let end = at.end.min(self.len());
        MappedPart { of: self.clone(), at: at.start.min(end)..end }
    }
}

impl From<&[u8]> for MappedPart {
    /// Bytes that never were a file.
    fn from(bytes: &[u8]) -> MappedPart {
        Mapped::from(bytes.to_vec()).part(0..bytes.len())
    }
}

impl Deref for MappedPart {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.of.get(self.at.clone()).unwrap_or_default()
    }
}
