//! Lines that are held back for more hosts than memory allows wait in a file.
//!
//! Invariants:
//! - The file is scratch: a crash loses it and nothing else, since what it holds was not acknowledged.
//! - What is taken back is what was put, byte for byte in its meaning; bytes that changed meanwhile are an error.
//!
//! Each piece is a batch as the log writes it, so equal rows and streams cost once and all of it is compressed.

use crate::error::{During, Error, Structure};
use crate::fact::{Batch, Commit, Delivery};
use crate::io::{Mapped, Output, Storage};
use crate::log::{decode_batch, encode_batch};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that nothing waits in any more is begun anew once it is this long.
const ANEW_BYTES: u64 = 64 << 20;

/// A mapping is given up after so many readings, since what was read of a file counts as memory for as long as it is mapped.
const READINGS_MAX: u32 = 256;

/// Tells apart the files of imports that run side by side.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Where a piece waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    len: u64,
    crc: u32,
}

/// A scratch file of the store's directory.
pub struct Spill {
    storage: Arc<dyn Storage>,
    file: Option<File>,
    waiting: u64,
}

struct File {
    name: String,
    output: Box<dyn Output>,
    /// The file as far as it was when it was last read.
    mapped: Option<Mapped>,
    /// Readings of the mapping.
    readings: u32,
}

impl Spill {
    /// A file that is made when it is first needed and removed at the end.
    pub fn new(storage: Arc<dyn Storage>) -> Spill {
        Spill { storage, file: None, waiting: 0 }
    }

    /// Puts a piece away.
    pub(super) fn put(&mut self, deliveries: Vec<Delivery>) -> Result<Place, Error> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let name = format!("hold-{}.tmp", NUMBER.fetch_add(1, Ordering::Relaxed));
                let output = self.storage.create(&name).during("create", &name)?;
                self.file.insert(File { name, output, mapped: None, readings: 0 })
            }
        };
        let mut bytes = Vec::new();
        encode_batch(&Commit { recorded: 0, batch: Batch { deliveries, ..Batch::default() } }, &mut bytes)?;
        let place = Place { offset: file.output.len(), len: bytes.len() as u64, crc: crc32fast::hash(&bytes) };
        file.output.append(&bytes).during("append to", &file.name)?;
        self.waiting += 1;
        Ok(place)
    }

    /// Reads a piece that waits.
    pub(super) fn read(&mut self, place: Place) -> Result<Vec<Delivery>, Error> {
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        let range = usize::try_from(place.offset)
            .ok()
            .zip(usize::try_from(place.offset + place.len).ok())
            .map_or(0..0, |(from, to)| Range { start: from, end: to });
        file.readings += 1;
        if file.readings > READINGS_MAX || file.mapped.as_ref().is_none_or(|mapped| mapped.len() < range.end) {
            file.readings = 0;
            file.mapped = Some(self.storage.map(&file.name).during("read", &file.name)?);
        }
        let bytes = file.mapped.as_ref().and_then(|mapped| mapped.get(range)).unwrap_or_default();
        let corrupt = |fault: crate::error::Fault| fault.at(&file.name, place.offset, Structure::Batch);
        let found = crc32fast::hash(bytes);
        if found != place.crc {
            return Err(corrupt(crate::codec::Fault::Checksum { expected: place.crc, found }.into()).into());
        }
        Ok(decode_batch(bytes).map_err(corrupt)?.batch.deliveries)
    }

    /// Reads a piece and forgets it.
    pub(super) fn take(&mut self, place: Place) -> Result<Vec<Delivery>, Error> {
        let deliveries = self.read(place)?;
        self.waiting -= 1;
        if self.waiting == 0 && self.file.as_ref().is_some_and(|file| file.output.len() >= ANEW_BYTES) {
            self.remove();
        }
        Ok(deliveries)
    }

    fn remove(&mut self) {
        if let Some(file) = self.file.take() {
            // A scratch file that stays is removed when the store is opened next.
            let _ = self.storage.remove(&file.name);
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.remove();
    }
}
