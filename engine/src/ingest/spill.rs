//! Lines that are held back for more hosts than memory allows wait in a file.
//!
//! Invariants:
//! - The file is scratch: a crash loses it and nothing else, since what it holds was not acknowledged.
//! - What is read is what was put, byte for byte in its meaning; bytes that changed meanwhile are an error.
//! - The file grows only while it is shorter than `ANEW_BYTES`, or than three times what waits in it.
//! - At most half as many bytes are copied as were put.
//!
//! Steps: parts are gathered until one writing is worth its while → appended to the file → read from it, as often as
//! somebody asks → forgotten. What is forgotten stays in the file. Once it is two thirds of a long file, the next part
//! begins a new one, into which what waits is copied: so each copied byte stands for two of the old file that were
//! forgotten, and no byte is forgotten twice.
//!
//! A part is looks as producers' notes have them (`kept`), compressed unless it is short. Refused: a batch as the log
//! writes it. Each writing of one clears tables that are as large as for the largest part before, and there may be very
//! many small parts; and the looks of a host may be more than one batch may hold.

use super::hold::HeldLook;
use super::kept;
use crate::codec::{finish, zstd};
use crate::error::{During, Error, Structure};
use crate::fact::Delivery;
use crate::io::{Mapped, Output, Storage};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file in which little waits any more is begun anew once it is this long.
const ANEW_BYTES: u64 = 64 << 20;

/// So many bytes are gathered before they are written.
const GATHERED_BYTES_MAX: usize = 256 << 10;

/// A mapping is given up after so many bytes were read, since what was read of a file counts as memory for as long as it
/// is mapped.
const MAPPED_BYTES_MAX: u64 = 16 << 20;

/// What a system may bring into memory beside what is read, roughly.
const AROUND_BYTES: u64 = 64 << 10;

/// Shorter parts are not compressed.
const PLAIN_BYTES_MAX: usize = 512;

/// Zstd's level.
const LEVEL: i32 = 1;

/// Tells apart the files of imports that run side by side.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Where a part waits, whatever file that is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(usize);

/// A part that waits.
#[derive(Clone, Copy)]
struct Part {
    offset: u64,
    len: u64,
    /// Its length before compression; the same if it is not compressed.
    raw_len: u64,
    crc: u32,
}

/// A scratch file of the store's directory.
pub struct Spill {
    storage: Arc<dyn Storage>,
    file: Option<File>,
    /// The parts that wait, by place.
    parts: Vec<Option<Part>>,
    /// Places at which nothing waits.
    free: Vec<usize>,
    /// Bytes of the parts that wait.
    waiting_bytes: u64,
    anew_bytes: u64,
    gathered_bytes_max: usize,
    #[cfg(test)]
    pub(super) traffic: Traffic,
}

/// Bytes that went into files and came out of them since the beginning.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) put: u64,
    pub(super) copied: u64,
    pub(super) read: u64,
}

struct File {
    storage: Arc<dyn Storage>,
    name: String,
    output: Box<dyn Output>,
    /// What comes next in the file and is not written yet.
    gathered: Vec<u8>,
    /// The file as far as it was when it was mapped.
    mapped: Option<Mapped>,
    /// Bytes that were read of the mapping.
    mapped_bytes: u64,
}

impl Spill {
    /// A file that is made when it is first needed and removed at the end.
    pub fn new(storage: Arc<dyn Storage>) -> Spill {
        Spill {
            storage,
            file: None,
            parts: Vec::new(),
            free: Vec::new(),
            waiting_bytes: 0,
            anew_bytes: ANEW_BYTES,
            gathered_bytes_max: GATHERED_BYTES_MAX,
            #[cfg(test)]
            traffic: Traffic::default(),
        }
    }

    /// The same with files that are begun anew at this length, and written when more than so much is gathered.
    #[cfg(test)]
    pub(super) fn with_lengths(self, anew_bytes: u64, gathered_bytes_max: usize) -> Spill {
        Spill { anew_bytes, gathered_bytes_max, ..self }
    }

    /// Puts a part away: looks, whose rows are counted.
    pub(super) fn put(&mut self, looks: &[Delivery]) -> Result<Place, Error> {
        if self.file.as_ref().is_some_and(|file| file.len() >= self.anew_bytes.max(self.waiting_bytes * 3)) {
            self.begin_anew()?;
        }
        let mut bytes = Vec::new();
        kept::encode(looks.iter().map(HeldLook::from), &mut bytes);
        let raw_len = bytes.len() as u64;
        let mut frame = Vec::new();
        if bytes.len() > PLAIN_BYTES_MAX && zstd::encode_if_smaller(&bytes, LEVEL, bytes.len(), &mut frame) {
            bytes = frame;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::create(&self.storage)?),
        };
        let offset = file.append(&bytes, self.gathered_bytes_max)?;
        let part = Part { offset, len: bytes.len() as u64, raw_len, crc: crc32fast::hash(&bytes) };
        self.waiting_bytes += part.len;
        #[cfg(test)]
        {
            self.traffic.put += part.len;
        }
        let place = self.free.pop().unwrap_or(self.parts.len());
        match self.parts.get_mut(place) {
            Some(free) => *free = Some(part),
            None => self.parts.push(Some(part)),
        }
        Ok(Place(place))
    }

    /// How many bytes a part had before it was compressed.
    pub(super) fn raw_len(&self, place: Place) -> u64 {
        self.parts.get(place.0).copied().flatten().map_or(0, |part| part.raw_len)
    }

    /// Reads a part, which goes on waiting.
    pub(super) fn read(&mut self, place: Place) -> Result<Vec<Delivery>, Error> {
        let part = self.parts.get(place.0).copied().flatten();
        let (Some(part), Some(file)) = (part, &mut self.file) else {
            return Err(io::Error::from(io::ErrorKind::NotFound)).during("read", "hold.tmp");
        };
        #[cfg(test)]
        {
            self.traffic.read += part.len;
        }
        let mut bytes = file.bytes(&part)?;
        let mut raw = Vec::new();
        let looks = if part.len == part.raw_len {
            kept::decode(bytes)
        } else {
            zstd::decode(&mut bytes, part.raw_len as usize, &mut raw)
                .and_then(|()| finish(bytes))
                .and_then(|()| kept::decode(&raw))
        };
        looks.map_err(|fault| file.corrupt(&part, fault))
    }

    /// Forgets a part.
    pub(super) fn forget(&mut self, place: Place) {
        if let Some(part) = self.parts.get_mut(place.0).and_then(Option::take) {
            self.waiting_bytes -= part.len;
            self.free.push(place.0);
        }
        if self.free.len() == self.parts.len() {
            (self.parts, self.free) = (Vec::new(), Vec::new());
            if self.file.as_ref().is_some_and(|file| file.len() >= self.anew_bytes) {
                self.file = None;
            }
        }
    }

    /// Copies what waits into a new file, and removes the old one; after an error everything is where it was.
    fn begin_anew(&mut self) -> Result<(), Error> {
        let Some(old) = &mut self.file else { return Ok(()) };
        let mut waiting: Vec<&mut Part> = self.parts.iter_mut().flatten().collect();
        if waiting.is_empty() {
            self.file = None;
            return Ok(());
        }
        waiting.sort_unstable_by_key(|part| part.offset);
        let mut new = File::create(&self.storage)?;
        let mut offsets = Vec::with_capacity(waiting.len());
        for part in &waiting {
            offsets.push(new.append(old.bytes(part)?, self.gathered_bytes_max)?);
        }
        for (part, offset) in waiting.into_iter().zip(offsets) {
            part.offset = offset;
            #[cfg(test)]
            {
                self.traffic.copied += part.len;
            }
        }
        self.file = Some(new);
        Ok(())
    }
}

impl File {
    fn create(storage: &Arc<dyn Storage>) -> Result<File, Error> {
        let name = format!("hold-{}.tmp", NUMBER.fetch_add(1, Ordering::Relaxed));
        let output = storage.create(&name).during("create", &name)?;
        Ok(File { storage: storage.clone(), name, output, gathered: Vec::new(), mapped: None, mapped_bytes: 0 })
    }

    /// Its length once everything is written.
    fn len(&self) -> u64 {
        self.output.len() + self.gathered.len() as u64
    }

    /// Appends a part's bytes; tells where they begin.
    fn append(&mut self, bytes: &[u8], gathered_bytes_max: usize) -> Result<u64, Error> {
        if self.gathered.len() + bytes.len() > gathered_bytes_max {
            // A medium in memory copies a file that is appended to while it is mapped.
            self.mapped = None;
            self.output.append(&self.gathered).during("append to", &self.name)?;
            self.gathered.clear();
        }
        let offset = self.len();
        if bytes.len() > gathered_bytes_max {
            self.output.append(bytes).during("append to", &self.name)?;
        } else {
            self.gathered.extend_from_slice(bytes);
        }
        Ok(offset)
    }

    /// The bytes of a part.
    fn bytes(&mut self, part: &Part) -> Result<&[u8], Error> {
        let written = self.output.len();
        let is_gathered = part.offset >= written;
        let from = if is_gathered { part.offset - written } else { part.offset };
        let range = usize::try_from(from)
            .ok()
            .zip(usize::try_from(from + part.len).ok())
            .map_or(0..0, |(from, to)| Range { start: from, end: to });
        if !is_gathered {
            self.mapped_bytes += part.len + AROUND_BYTES;
            let is_within = |mapped: &Mapped| mapped.len() >= range.end;
            if self.mapped_bytes > MAPPED_BYTES_MAX || !self.mapped.as_ref().is_some_and(is_within) {
                self.mapped_bytes = part.len + AROUND_BYTES;
                self.mapped = None;
                self.mapped = Some(self.storage.map(&self.name).during("read", &self.name)?);
            }
        }
        let file = if is_gathered { &self.gathered } else { self.mapped.as_deref().unwrap_or_default() };
        let bytes = file.get(range).unwrap_or_default();
        let found = crc32fast::hash(bytes);
        if found != part.crc {
            return Err(self.corrupt(part, crate::codec::Fault::Checksum { expected: part.crc, found }));
        }
        Ok(bytes)
    }

    fn corrupt(&self, part: &Part, fault: crate::codec::Fault) -> Error {
        crate::error::Fault::from(fault).at(&self.name, part.offset, Structure::Batch).into()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A scratch file that stays is removed when the store is opened next.
        let _ = self.storage.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::{Inferred, Kind, Name, StreamKey};
    use crate::io::MemoryStorage;
    use crate::row::RowBuilder;
    use proptest::prelude::*;

    fn looks(text: &str, copies: u64) -> Vec<Delivery> {
        let mut builder = RowBuilder::new();
        builder.column(b"text", text.as_bytes());
        let [table, host, name] = [b"t", b"h", b"q"].map(|text| Name::from(&text[..]));
        let stream = Arc::new(StreamKey { table, host, name, kind: Kind::Diff, sightings: false });
        vec![Delivery {
            stream,
            epoch: 0,
            counter: Some(copies),
            second: 100,
            whole: false,
            inferred: Inferred::V3_4,
            removed: Vec::new(),
            added: vec![(builder.row(), copies)],
        }]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(usize),
        Read(usize),
        Forget(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0usize..1000).prop_map(Step::Put),
            2 => (0usize..100).prop_map(Step::Read),
            3 => (0usize..100).prop_map(Step::Forget),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever is written, copied and begun anew meanwhile.
        #[test]
        fn what_waits_is_what_was_put(
            steps in steps(),
            anew_bytes in prop_oneof![Just(0u64), Just(1_000), Just(u64::MAX)],
            gathered_bytes_max in prop_oneof![Just(0usize), Just(300), Just(usize::MAX)],
        ) {
            let storage = MemoryStorage::new();
            let mut spill = Spill::new(Arc::new(storage.clone())).with_lengths(anew_bytes, gathered_bytes_max);
            let mut waiting: Vec<(Place, Vec<Delivery>)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(len) => {
                        let put = looks(&format!("{number}").repeat(len), number as u64 + 1);
                        let before = spill.waiting_bytes;
                        let place = spill.put(&put).unwrap();
                        let len = spill.file.as_ref().unwrap().len();
                        let most = anew_bytes.max(before * 3).saturating_add(spill.waiting_bytes - before);
                        prop_assert!(len <= most, "{} bytes of which {} wait", len, spill.waiting_bytes);
                        prop_assert!(waiting.iter().all(|(other, _)| *other != place));
                        waiting.push((place, put));
                    }
                    Step::Read(at) if !waiting.is_empty() => {
                        let (place, put) = &waiting[at % waiting.len()];
                        prop_assert_eq!(&spill.read(*place).unwrap(), put);
                    }
                    Step::Forget(at) if !waiting.is_empty() => {
                        let (place, put) = waiting.swap_remove(at % waiting.len());
                        prop_assert_eq!(spill.read(place).unwrap(), put);
                        spill.forget(place);
                    }
                    Step::Read(_) | Step::Forget(_) => {}
                }
                prop_assert!(storage.files().len() <= 1, "an old file stays");
                prop_assert!(spill.traffic.copied * 2 <= spill.traffic.put, "{:?}", spill.traffic);
            }
            for (place, put) in waiting {
                prop_assert_eq!(spill.read(place).unwrap(), put);
            }
            drop(spill);
            prop_assert!(storage.files().is_empty());
        }
    }

    #[test]
    fn bytes_that_changed_are_an_error() {
        let storage = MemoryStorage::new();
        let mut spill = Spill::new(Arc::new(storage.clone())).with_lengths(0, 0);
        let put = looks("again and again and again", 3);
        let place = spill.put(&put).unwrap();
        assert_eq!(spill.read(place).unwrap(), put);
        let (name, bytes) = storage.files().pop_first().unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            for found in [changed, bytes[..at].to_vec()] {
                storage.put(&name, found);
                spill.file.as_mut().unwrap().mapped = None;
                assert!(matches!(spill.read(place), Err(Error::Corrupt(_))), "at {at}");
                assert!(matches!(spill.begin_anew(), Err(Error::Corrupt(_))), "it is not copied either");
            }
        }
        storage.put(&name, bytes);
        assert_eq!(spill.read(place).unwrap(), put);
        spill.begin_anew().unwrap();
        assert_eq!(spill.read(place).unwrap(), put);
        assert!(!storage.files().contains_key(&name), "the old file stays");
    }
}
