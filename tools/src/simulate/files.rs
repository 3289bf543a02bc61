//! Where bytes go: a directory, or memory for tests. Both see the same appends.
//!
//! Invariants:
//! - After the first failure nothing more is written, and [`Files::finish`] returns that failure.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

enum Place {
    Directory(PathBuf, BTreeMap<String, BufWriter<File>>),
    Memory(BTreeMap<String, Vec<u8>>),
}

/// Named files that grow by appending; a name is `logs/…` or `truth/…`.
pub(super) struct Files {
    place: Place,
    sizes: BTreeMap<String, u64>,
    failure: Option<io::Error>,
}

impl Files {
    /// Files below a directory, which is created; refuses to mix with what an earlier run left there.
    pub(super) fn in_directory(root: &Path) -> io::Result<Files> {
        for folder in ["logs", "truth"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder)?;
            if fs::read_dir(&folder)?.next().is_some() {
                let text = format!("{}: not empty; choose a new directory or remove it first", folder.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
        }
        Ok(Files::of(Place::Directory(root.to_owned(), BTreeMap::new())))
    }

    /// Files in memory.
    pub(super) fn in_memory() -> Files {
        Files::of(Place::Memory(BTreeMap::new()))
    }

    fn of(place: Place) -> Files {
        Files { place, sizes: BTreeMap::new(), failure: None }
    }

    /// Appends to a file, which is created empty at its first mention.
    pub(super) fn append(&mut self, name: &str, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        match self.sizes.get_mut(name) {
            Some(size) => *size += bytes.len() as u64,
            None => {
                self.sizes.insert(name.to_owned(), bytes.len() as u64);
            }
        }
        if let Err(error) = self.place.append(name, bytes) {
            self.failure = Some(error);
        }
    }

    /// How many bytes a file has.
    pub(super) fn size(&self, name: &str) -> u64 {
        self.sizes.get(name).copied().unwrap_or(0)
    }

    /// Whether writing has failed, so that going on is pointless.
    pub(super) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Gives up.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    /// Closes a file that nobody appends to any more.
    pub(super) fn close(&mut self, name: &str) {
        if let Place::Directory(_, open) = &mut self.place
            && let Some(mut file) = open.remove(name)
            && let Err(error) = file.flush()
        {
            self.failure.get_or_insert(error);
        }
    }

    /// Flushes; returns the files that are in memory, by name.
    pub(super) fn finish(mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        for name in self.sizes.keys().cloned().collect::<Vec<_>>() {
            self.close(&name);
        }
        match (self.failure, self.place) {
            (Some(error), _) => Err(error),
            (None, Place::Directory(..)) => Ok(Vec::new()),
            (None, Place::Memory(files)) => Ok(files.into_iter().collect()),
        }
    }
}

impl Place {
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Place::Directory(root, open) => {
                if !open.contains_key(name) {
                    let path = root.join(name);
                    let file = File::create(&path)
                        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
                    open.insert(name.to_owned(), BufWriter::with_capacity(1 << 16, file));
                }
                open.get_mut(name).map_or(Ok(()), |file| file.write_all(bytes))
            }
            Place::Memory(files) => {
                match files.get_mut(name) {
                    Some(file) => file.extend_from_slice(bytes),
                    None => {
                        files.insert(name.to_owned(), bytes.to_vec());
                    }
                }
                Ok(())
            }
        }
    }
}
