//! A store is copied, generation by generation, into a directory of plain files, and made again from any of them.
//!
//! Invariants:
//! - A generation that has its name is whole: every file it names was synced under its own name before.
//! - A file of a backup never changes, and stays for as long as a generation names it.
//! - Of the store only what readers ask is asked: no writer waits for a backup.
//! - A damaged store makes no generation, and a damaged backup no store.
//! - What is being restored is no store before all of it is durable.
//!
//! Steps of a backup: pin the store's state → copy what is new → name the generation → drop old ones → remove what none
//! names. Steps of a restoration: copy and verify → leave out what was recorded too late → write the manifest.
//!
#![doc = include_str!("backup.md")]

mod generation;
mod restore;

pub use generation::{Copied, Generation};
pub use restore::{Restored, restore};

use crate::error::{Corrupt, During, Error, Fault, Misuse, Structure};
use crate::format::frame::FileKind;
use crate::format::names;
use crate::io::{Clock, Mapped, Output, Storage};
use crate::manifest::SegmentMeta;
use crate::segment::Segment;
use crate::store::{Pinned, while_replaced};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What is being done, for who watches: so many more bytes of all that there are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'s> {
    /// The file at hand.
    pub file: &'s str,
    /// How many more of its bytes are done.
    pub bytes: u64,
    /// How many bytes there are in all.
    pub total_bytes: u64,
}

/// Is told each step.
pub type Watch<'w> = &'w mut dyn FnMut(Step<'_>);

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// What was made.
    pub generation: Generation,
    /// How many files were written,
    pub copied_files: u64,
    /// and their bytes.
    pub copied_bytes: u64,
    /// How many files the backup had already,
    pub known_files: u64,
    /// and their bytes.
    pub known_bytes: u64,
    /// What was dropped and removed after it.
    pub pruned: Pruned,
}

/// What was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The numbers of generations.
    pub generations: Vec<u64>,
    /// How many files that no generation names were removed,
    pub files: u64,
    /// and their bytes.
    pub bytes: u64,
    /// Generations that cannot be read: until they are gone, no file is removed.
    pub unreadable: Vec<Corrupt>,
}

/// What a directory holds as a backup.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The generations that can be read, by number.
    pub generations: Vec<Generation>,
    /// Why others cannot.
    pub unreadable: Vec<Corrupt>,
    /// All files and their lengths.
    files: BTreeMap<String, u64>,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many files are whole, those of generations included,
    pub files: u64,
    /// and their bytes.
    pub bytes: u64,
    /// What is damaged, each with the generations that cannot be restored because of it.
    pub damage: Vec<(Corrupt, Vec<u64>)>,
    /// Files that no generation names, which the next backup removes.
    pub unnamed: Vec<String>,
}

impl Contents {
    /// Reads what a directory holds.
    pub fn read(backup: &dyn Storage) -> Result<Contents, Error> {
        let mut contents = Contents::default();
        contents.files.extend(backup.list().during("list", "the backup")?);
        for file in contents.files.keys() {
            let Some(number) = generation::parse(file) else {
                continue;
            };
            let bytes = backup.read_from(file, 0).during("read", file)?;
            match Generation::decode(file, number, &bytes) {
                Ok(generation) => contents.generations.push(generation),
                Err(Error::Backup(corrupt)) => contents.unreadable.push(corrupt),
                Err(error) => return Err(error),
            }
        }
        contents.generations.sort_by_key(|generation| generation.number);
        Ok(contents)
    }

    /// The generation of this number, or the last.
    pub fn generation(&self, number: Option<u64>) -> Result<&Generation, Error> {
        let found = match number {
            Some(number) => self.generations.iter().find(|generation| generation.number == number),
            None => self.generations.last(),
        };
        match (found, self.unreadable.first()) {
            (Some(generation), _) => Ok(generation),
            (None, Some(corrupt)) if number.is_none_or(|number| corrupt.file == generation::name(number)) => {
                Err(Error::Backup(corrupt.clone()))
            }
            (None, _) => Err(Misuse::NoGeneration { number }.into()),
        }
    }

    /// All that generations name, by name.
    fn named(&self) -> BTreeMap<&str, &Copied> {
        let files = self.generations.iter().flat_map(|generation| &generation.files);
        files.map(|file| (&*file.kept_as, file)).collect()
    }

    /// Files of a backup's own kind that no generation names.
    fn unnamed(&self) -> Vec<&String> {
        let named = self.named();
        let is_ours = |file: &str| {
            let file = file.strip_suffix(".tmp").unwrap_or(file);
            let is_segment = names::parse(file).is_some_and(|(kind, _)| kind == FileKind::Segment);
            is_segment || generation::parse_log(file).is_some() || generation::parse(file).is_some()
        };
        let is_unnamed =
            |file: &&String| is_ours(file) && generation::parse(file).is_none() && !named.contains_key(&***file);
        self.files.keys().filter(is_unnamed).collect()
    }
}

/// Copies a store, beside whoever writes it, into a new generation; of the generations then there the last `keep` stay, or
/// all. `holder` says who it is that makes a backup.
pub fn back_up(
    store: &dyn Storage,
    backup: &dyn Storage,
    clock: &dyn Clock,
    keep: Option<usize>,
    holder: &str,
    watch: Watch<'_>,
) -> Result<BackedUp, Error> {
    if backup.list().during("list", "the backup")?.iter().any(|(file, _)| is_of_store(file)) {
        return Err(Misuse::StoreExists.into());
    }
    let _lock = backup.lock(names::LOCK, holder).map_err(|error| Error::from_lock(error, names::LOCK))?;
    let contents = Contents::read(backup)?;
    for file in contents.files.keys().filter(|file| file.ends_with(".tmp")) {
        backup.remove(file).during("remove", file)?;
    }
    let (pinned, logs) = while_replaced(|| {
        let pinned = Pinned::attempt(store, drop)?;
        let logs = logs_of(store, &pinned)?;
        Ok((pinned, logs))
    })?;
    if contents.generations.iter().any(|generation| generation.state.store_id != pinned.manifest.store_id) {
        return Err(Misuse::OtherStore.into());
    }
    let last = contents.files.keys().filter_map(|file| generation::parse(file)).max().unwrap_or(0);
    let mut copying = Copying {
        backup,
        named: contents.named(),
        contents: &contents,
        number: last + 1,
        total_bytes: 0,
        watch,
        done: BackedUp {
            generation: Generation {
                number: last + 1,
                made: clock.now_micros(),
                last_recorded: pinned.last_recorded,
                state: pinned.manifest,
                files: Vec::new(),
            },
            copied_files: 0,
            copied_bytes: 0,
            known_files: 0,
            known_bytes: 0,
            pruned: Pruned::default(),
        },
    };
    let is_new = |segment: &&Arc<Segment>| !copying.named.contains_key(segment.name());
    copying.total_bytes = pinned.segments.iter().filter(is_new).map(|segment| segment.bytes()).sum::<u64>()
        + logs.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
    for segment in &pinned.segments {
        copying.segment(segment)?;
    }
    for (name, bytes) in logs {
        copying.log(name, &bytes)?;
    }
    let mut done = copying.done;
    if done.copied_files > 0 {
        backup.sync_dir().during("sync", "the backup")?;
    }
    let name = generation::name(done.generation.number);
    write(backup, &name, |output| output.append(&done.generation.encode()))?;
    backup.sync_dir().during("sync", "the backup")?;
    done.pruned = prune(backup, keep)?;
    Ok(done)
}

/// Whether a file's name is that of a generation.
pub(crate) fn is_generation(file: &str) -> bool {
    generation::parse(file).is_some()
}

/// Whether stores have a file of this name, and backups none.
fn is_of_store(file: &str) -> bool {
    file == names::CURRENT || names::parse(file).is_some_and(|(kind, _)| kind != FileKind::Segment)
}

/// What tells a segment from another of its number.
fn told(meta: &Arc<SegmentMeta>) -> (u64, u32) {
    (meta.bytes, meta.footer_crc)
}

/// The logs that count, as far as they do, with their names.
fn logs_of(store: &dyn Storage, pinned: &Pinned) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut logs = Vec::new();
    // A log whose creation was cut short never held a record.
    for log in pinned.logs.iter().filter(|log| log.end > 0) {
        let name = names::log(log.number);
        let mut bytes = store.read_from(&name, 0).during("read", &name)?;
        bytes.truncate(usize::try_from(log.end).unwrap_or(usize::MAX));
        logs.push((name, bytes));
    }
    Ok(logs)
}

/// Writes a file that has its name only once it is durable; the name is so after the next sync of the directory.
fn write(to: &dyn Storage, name: &str, fill: impl FnOnce(&mut dyn Output) -> std::io::Result<()>) -> Result<(), Error> {
    let temporary = format!("{name}.tmp");
    let mut output = to.create(&temporary).during("create", &temporary)?;
    fill(&mut *output).during("append to", &temporary)?;
    output.sync().during("sync", &temporary)?;
    to.rename(&temporary, name).during("rename", &temporary)
}

/// A generation under way.
struct Copying<'c, 'w> {
    backup: &'c dyn Storage,
    /// What generations have.
    named: BTreeMap<&'c str, &'c Copied>,
    contents: &'c Contents,
    number: u64,
    total_bytes: u64,
    watch: Watch<'w>,
    done: BackedUp,
}

impl Copying<'_, '_> {
    fn segment(&mut self, segment: &Segment) -> Result<(), Error> {
        let (name, bytes) = (segment.name().to_owned(), segment.bytes());
        if let Some(&known) = self.named.get(&*name) {
            // The store's number for the segment is enough, unless the store was copied by other means and went on twice.
            let of = |generation: &Generation| generation.state.segments.get(&segment.number()).map(told);
            let ours = of(&self.done.generation);
            if self.contents.generations.iter().filter_map(of).any(|theirs| Some(theirs) != ours) {
                return Err(Misuse::Parted { file: name }.into());
            }
            if self.contents.files.get(&name) == Some(&known.bytes) {
                self.known(known.clone());
                return Ok(());
            }
            // It is gone or was cut: it is copied again, and with it the generations that name it are whole again.
        }
        let digest = match self.left_behind(segment)? {
            Some(digest) => digest,
            None => {
                if self.contents.files.contains_key(&name) {
                    self.backup.remove(&name).during("remove", &name)?;
                }
                self.copy_segment(segment)?
            }
        };
        self.copied(Copied { kept_as: name.clone(), name, bytes, digest });
        Ok(())
    }

    /// The digest of a copy that a backup which was cut short left whole.
    fn left_behind(&mut self, segment: &Segment) -> Result<Option<u128>, Error> {
        if self.contents.files.get(segment.name()) != Some(&segment.bytes()) {
            return Ok(None);
        }
        let copy = self.backup.map(segment.name()).during("open", segment.name())?;
        if **segment.map() != *copy {
            return Ok(None);
        }
        segment.verify(|_| Ok(()))?;
        self.tell(segment.name(), segment.bytes());
        Ok(Some(xxh3_128(&copy)))
    }

    fn copy_segment(&mut self, segment: &Segment) -> Result<u128, Error> {
        let (name, map) = (segment.name(), segment.map());
        let temporary = format!("{name}.tmp");
        let mut output = self.backup.create(&temporary).during("create", &temporary)?;
        let (mut digest, mut copied) = (Xxh3::new(), 0);
        segment.verify(|verified| {
            let end = usize::try_from(verified).unwrap_or(usize::MAX).min(map.len());
            if end - copied >= COPY_BYTES || end == map.len() {
                let some = &map[copied..end];
                digest.update(some);
                output.append(some).during("append to", &temporary)?;
                self.tell(name, some.len() as u64);
                copied = end;
            }
            Ok(())
        })?;
        output.sync().during("sync", &temporary)?;
        self.backup.rename(&temporary, name).during("rename", &temporary)?;
        Ok(digest.digest128())
    }

    fn log(&mut self, name: String, bytes: &[u8]) -> Result<(), Error> {
        let digest = xxh3_128(bytes);
        let is_same =
            |known: &&&Copied| (&known.name, known.bytes, known.digest) == (&name, bytes.len() as u64, digest);
        let is_there = |known: &&&Copied| self.contents.files.get(&known.kept_as) == Some(&known.bytes);
        let known = self.named.values().filter(is_same).find(is_there).copied().cloned();
        self.tell(&name, bytes.len() as u64);
        if let Some(known) = known {
            self.known(known);
            return Ok(());
        }
        let kept_as = generation::log_name(&name, self.number);
        if self.contents.files.contains_key(&kept_as) {
            self.backup.remove(&kept_as).during("remove", &kept_as)?;
        }
        write(self.backup, &kept_as, |output| bytes.chunks(COPY_BYTES).try_for_each(|some| output.append(some)))?;
        self.copied(Copied { name, kept_as, bytes: bytes.len() as u64, digest });
        Ok(())
    }

    fn tell(&mut self, file: &str, bytes: u64) {
        (self.watch)(Step { file, bytes, total_bytes: self.total_bytes });
    }

    fn known(&mut self, file: Copied) {
        self.done.known_files += 1;
        self.done.known_bytes += file.bytes;
        self.done.generation.files.push(file);
    }

    fn copied(&mut self, file: Copied) {
        self.done.copied_files += 1;
        self.done.copied_bytes += file.bytes;
        self.done.generation.files.push(file);
    }
}

/// Drops all generations but the last `keep`, if that is said, and removes files that none names; the caller has the lock.
fn prune(backup: &dyn Storage, keep: Option<usize>) -> Result<Pruned, Error> {
    let mut contents = Contents::read(backup)?;
    let mut pruned = Pruned { unreadable: contents.unreadable.clone(), ..Pruned::default() };
    let surplus = keep.map_or(0, |keep| contents.generations.len().saturating_sub(keep.max(1)));
    for generation in contents.generations.drain(..surplus) {
        let name = generation::name(generation.number);
        backup.remove(&name).during("remove", &name)?;
        pruned.generations.push(generation.number);
    }
    if surplus > 0 {
        // A generation that came back after a crash would name files that are gone.
        backup.sync_dir().during("sync", "the backup")?;
    }
    if contents.unreadable.is_empty() {
        for file in contents.unnamed() {
            backup.remove(file).during("remove", file)?;
            pruned.files += 1;
            pruned.bytes += contents.files.get(file).copied().unwrap_or(0);
        }
    }
    Ok(pruned)
}

/// Reads every byte that generations name, and compares.
pub fn verify(backup: &dyn Storage, watch: Watch<'_>) -> Result<Verified, Error> {
    let contents = Contents::read(backup)?;
    if contents.generations.is_empty() && contents.unreadable.is_empty() {
        return Err(Misuse::NoGeneration { number: None }.into());
    }
    let mut verified = Verified { unnamed: contents.unnamed().into_iter().cloned().collect(), ..Verified::default() };
    for corrupt in &contents.unreadable {
        verified.damage.push((corrupt.clone(), generation::parse(&corrupt.file).into_iter().collect()));
    }
    let readable = contents.generations.iter().map(|generation| generation::name(generation.number));
    for name in readable {
        verified.files += 1;
        verified.bytes += contents.files.get(&name).copied().unwrap_or(0);
    }
    // One name with two contents is damage of one of them, so files are told apart by all that is said of them.
    let mut files: BTreeMap<(&str, u64, u128), BTreeSet<u64>> = BTreeMap::new();
    for generation in &contents.generations {
        for file in &generation.files {
            files.entry((&file.kept_as, file.bytes, file.digest)).or_default().insert(generation.number);
        }
    }
    let total_bytes = files.keys().map(|(_, bytes, _)| bytes).sum();
    for ((file, bytes, digest), generations) in files {
        match check(backup, file, bytes, digest, &mut |some| watch(Step { file, bytes: some, total_bytes })) {
            Ok(()) => {
                verified.files += 1;
                verified.bytes += bytes;
            }
            Err(Error::Backup(corrupt)) => verified.damage.push((corrupt, generations.into_iter().collect())),
            Err(error) => return Err(error),
        }
    }
    Ok(verified)
}

/// A file of the backup as it was named, before it is compared.
fn open(backup: &dyn Storage, file: &str, bytes: u64) -> Result<Mapped, Error> {
    let corrupt = |fault: Fault| Error::Backup(fault.at(file, 0, Structure::File));
    let map = match backup.map(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(corrupt(Fault::Missing)),
        map => map.during("open", file)?,
    };
    if map.len() as u64 != bytes {
        let found = map.len() as u64;
        return Err(corrupt(crate::codec::Fault::Length { needed: bytes, found }.into()));
    }
    Ok(map)
}

/// Compares a file with what is said of it.
fn check(backup: &dyn Storage, file: &str, bytes: u64, digest: u128, each: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let map = open(backup, file, bytes)?;
    let mut found = Xxh3::new();
    for some in map.chunks(COPY_BYTES) {
        found.update(some);
        each(some.len() as u64);
    }
    is_digest(file, &found, digest)
}

fn is_digest(file: &str, found: &Xxh3, digest: u128) -> Result<(), Error> {
    if found.digest128() == digest { Ok(()) } else { Err(Error::Backup(Fault::Digest.at(file, 0, Structure::File))) }
}
