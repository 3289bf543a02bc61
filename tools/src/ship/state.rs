//! The state directory: the lock, so that there is one shipper, and the place.
//!
//! Invariants:
//! - The place on disk is always one that was written whole (bytes: [`place`](super::place)).
//! - Nobody writes it without the lock, which dies with its process.

use super::place::Place;
use crate::fail::Failure;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const PLACE: &str = "place";
const PLACE_NEW: &str = "place.new";

/// Tests kill the program and not the machine, and write the place many thousand times.
const SYNC: bool = !cfg!(test);

/// A state directory that is ours.
pub(super) struct State {
    dir: PathBuf,
    /// Held, never read.
    _lock: File,
    /// Kills the write before the step for which this says so.
    #[cfg(test)]
    pub(super) fault: Option<Box<dyn FnMut(Step) -> bool>>,
}

/// What a write does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write,
    Rename,
    SyncDir,
    Done,
}

impl State {
    /// Makes the directory if it is not there, and takes the lock.
    pub(super) fn open(dir: &Path) -> Result<State, Failure> {
        fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
        let path = dir.join(LOCK);
        let failed = |error: io::Error| failed(&path, &error);
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = io::read_to_string(&lock).unwrap_or_default();
                return Err(Failure::Failed(format!(
                    "{}: another shipper uses this state ({}): stop it, or give this one a --state of its own",
                    dir.display(),
                    holder.trim()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "pid {}", std::process::id())).map_err(failed)?;
        Ok(State {
            dir: dir.to_owned(),
            _lock: lock,
            #[cfg(test)]
            fault: None,
        })
    }

    /// The place; `None` if nothing was ever shipped from here.
    pub(super) fn load(&self) -> Result<Option<Place>, Failure> {
        let path = self.dir.join(PLACE);
        match fs::read(&path) {
            Ok(file) => Place::decode(&file).map(Some).map_err(|error| {
                Failure::Damage(format!(
                    "{}: {error}. What was sent is not known without it. To go on, move {} away and start again: then a \
                     new producer sends all that still lies there once more, which changes no answer",
                    path.display(),
                    self.dir.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Writes the place; it is on the disk when this returns.
    pub(super) fn save(&mut self, place: &Place) -> Result<(), Failure> {
        let (path, new) = (self.dir.join(PLACE), self.dir.join(PLACE_NEW));
        self.reached(Step::Write)?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&place.encode())?;
            if SYNC { file.sync_all() } else { Ok(()) }
        };
        write().map_err(|error| failed(&new, &error))?;
        self.reached(Step::Rename)?;
        fs::rename(&new, &path).map_err(|error| failed(&path, &error))?;
        self.reached(Step::SyncDir)?;
        let sync = |dir: File| if SYNC { dir.sync_all() } else { Ok(()) };
        File::open(&self.dir).and_then(sync).map_err(|error| failed(&self.dir, &error))?;
        self.reached(Step::Done)
    }

    #[cfg(not(test))]
    fn reached(&mut self, _step: Step) -> Result<(), Failure> {
        Ok(())
    }

    #[cfg(test)]
    fn reached(&mut self, step: Step) -> Result<(), Failure> {
        if self.fault.as_mut().is_some_and(|fault| fault(step)) {
            return Err(Failure::Failed(format!("killed before {step:?}")));
        }
        Ok(())
    }
}

/// The place cannot be kept, so nothing more is sent.
fn failed(path: &Path, error: &io::Error) -> Failure {
    let what_to_do = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on that disk",
        io::ErrorKind::PermissionDenied => "let the user that ships read and write there",
        io::ErrorKind::ReadOnlyFilesystem => "make that disk writable",
        _ => "see to it that --state names a directory in which files can be made",
    };
    Failure::Failed(format!(
        "{}: {error}. The shipper cannot keep its place: {what_to_do}, and start it again. Nothing is lost: it goes on \
         where it was, as long as the logs are there",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shippers_do_not_share_a_state() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path()).unwrap();
        let Err(Failure::Failed(text)) = State::open(dir.path()) else { panic!("taken twice") };
        assert!(text.contains(&format!("pid {}", std::process::id())) && text.contains("--state"), "{text}");
        drop(first);
        State::open(dir.path()).unwrap();
    }

    #[test]
    fn a_place_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open(dir.path()).unwrap();
        assert_eq!(state.load(), Ok(None));
        let old = Place { producer: 5, next: 1, ..Place::default() };
        let new = Place { next: 2, ..old.clone() };
        for (step, expected) in [(Step::Write, &old), (Step::Rename, &old), (Step::SyncDir, &new), (Step::Done, &new)] {
            state.fault = None;
            state.save(&old).unwrap();
            state.fault = Some(Box::new(move |at| at == step));
            assert!(state.save(&new).is_err());
            assert_eq!(state.load().unwrap().as_ref(), Some(expected), "{step:?}");
        }
    }

    #[test]
    fn a_damaged_place_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open(dir.path()).unwrap();
        state.save(&Place { producer: 5, next: 1, ..Place::default() }).unwrap();
        let path = dir.path().join(PLACE);
        let file = fs::read(&path).unwrap();
        for at in 0..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, flipped).unwrap();
            let Err(Failure::Damage(text)) = state.load() else { panic!("byte {at} was not missed") };
            assert!(text.contains("move") && text.contains("start again"), "{text}");
        }
    }
}
