//! A file's bytes, mapped or in memory, with the pin that keeps the file from being removed.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
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
