//! A generation becomes a store.

use super::{COPY_BYTES, Contents, Copied, Generation, Step, Watch, check, is_digest, open};
use crate::codec::Effort;
use crate::compaction::merge::{Merging, commits_of, hosts_known, merge};
use crate::error::{During, Error, Misuse};
use crate::fact::Micros;
use crate::format::frame::FileId;
use crate::format::names;
use crate::io::{Clock, Storage};
use crate::log::replay_all;
use crate::manifest::{Manifest, ManifestFile, SegmentMeta};
use crate::memtable::Memtable;
use crate::options::{Options, cores};
use crate::segment::Segment;
use crate::segment::seal::seal;
use crate::segment::write::SegmentWriter;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// What a restoration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The generation's number.
    pub generation: u64,
    /// The recorded time of the new store's last commit; `None` if it is empty.
    pub last_recorded: Option<Micros>,
    /// How many files it has beside its manifest,
    pub files: u64,
    /// and their bytes.
    pub bytes: u64,
    /// How many segments were written anew to leave out what was recorded later.
    pub rewritten_segments: u64,
    /// How many segments were left out, since all they hold was recorded later.
    pub left_out_segments: u64,
}

/// Makes a store of a generation (the last, if none is said) in an empty directory; with `until` as it was at that
/// recorded time.
#[expect(clippy::too_many_arguments, reason = "from where, which, to where, by what means")]
pub fn restore(
    backup: &dyn Storage,
    generation: Option<u64>,
    until: Option<Micros>,
    to: &Arc<dyn Storage>,
    clock: &Arc<dyn Clock>,
    options: &Options,
    holder: &str,
    watch: Watch<'_>,
) -> Result<Restored, Error> {
    let contents = Contents::read(backup)?;
    let generation = contents.generation(generation)?;
    if let Some((file, _)) = to.list().during("list", "the directory")?.into_iter().next() {
        return Err(Misuse::NotEmpty { file }.into());
    }
    let _lock = to.lock(names::LOCK, holder).map_err(|error| Error::from_lock(error, names::LOCK))?;
    let known_at = until.unwrap_or(Micros::MAX);
    let mut restoring = Restoring {
        backup,
        to: &**to,
        clock: &**clock,
        options,
        generation,
        known_at,
        // See "The store's id".
        next_file: generation.state.next_file.max(u64::try_from(clock.now_micros()).unwrap_or(0)),
        watch,
        done: Restored {
            generation: generation.number,
            last_recorded: None,
            files: 0,
            bytes: 0,
            rewritten_segments: 0,
            left_out_segments: 0,
        },
    };
    let state = restoring.files()?;
    let mut done = restoring.done;
    to.sync_dir().during("sync", "the directory")?;
    done.last_recorded = generation.last_recorded.filter(|last| *last <= known_at);
    if done.last_recorded.is_none() {
        done.last_recorded = (!state.segments.is_empty()).then_some(state.last_recorded);
    }
    ManifestFile::create_of(to.clone(), clock.clone(), state)?;
    Ok(done)
}

struct Restoring<'r, 'w> {
    backup: &'r dyn Storage,
    to: &'r dyn Storage,
    clock: &'r dyn Clock,
    options: &'r Options,
    generation: &'r Generation,
    known_at: Micros,
    next_file: u64,
    watch: Watch<'w>,
    done: Restored,
}

impl Restoring<'_, '_> {
    /// Brings all files, and tells of which state they are.
    fn files(&mut self) -> Result<Manifest, Error> {
        let from = &self.generation.state;
        let mut state = Manifest { log_floor: from.log_floor, ..Manifest::empty(from.store_id) };
        for (meta, file) in from.segments.values().zip(&self.generation.files) {
            let meta = if meta.recorded.1 <= self.known_at {
                self.copy(file)?;
                meta.clone()
            } else if meta.recorded.0 <= self.known_at {
                Arc::new(self.rewrite(meta, file)?)
            } else {
                self.done.left_out_segments += 1;
                self.tell(&file.name, file.bytes);
                continue;
            };
            state.last_recorded =
                if state.segments.is_empty() { meta.recorded.1 } else { state.last_recorded.max(meta.recorded.1) };
            self.done.files += 1;
            self.done.bytes += meta.bytes;
            state.segments.insert(meta.number, meta);
        }
        for log in self.generation.logs() {
            self.copy(log)?;
        }
        if self.generation.last_recorded.is_none_or(|last| last <= self.known_at) {
            self.done.files += self.generation.logs().len() as u64;
            self.done.bytes += self.generation.logs().iter().map(|log| log.bytes).sum::<u64>();
        } else {
            self.seal_logs(&mut state)?;
        }
        state.next_file = self.next_file;
        Ok(state)
    }

    fn tell(&mut self, file: &str, bytes: u64) {
        (self.watch)(Step { file, bytes, total_bytes: self.generation.bytes() });
    }

    fn copy(&mut self, file: &Copied) -> Result<(), Error> {
        let (map, name) = (open(self.backup, &file.kept_as, file.bytes)?, &file.name);
        let mut output = self.to.create(name).during("create", name)?;
        let mut digest = Xxh3::new();
        for some in map.chunks(COPY_BYTES) {
            digest.update(some);
            output.append(some).during("append to", name)?;
            self.tell(name, some.len() as u64);
        }
        output.sync().during("sync", name)?;
        is_digest(&file.kept_as, &digest, file.digest)
    }

    fn writer(
        &mut self,
        effort: Effort,
        commits: Vec<Micros>,
        hosts: Vec<crate::fact::Name>,
    ) -> Result<SegmentWriter<'_>, Error> {
        let id = FileId { store: self.generation.state.store_id, number: self.next_file };
        self.next_file += 1;
        SegmentWriter::create(self.to, id, self.clock.now_micros(), effort, commits, hosts)
    }

    /// Writes a segment anew without what was recorded later.
    fn rewrite(&mut self, meta: &SegmentMeta, file: &Copied) -> Result<SegmentMeta, Error> {
        check(self.backup, &file.kept_as, file.bytes, file.digest, &mut |bytes| self.tell(&file.name, bytes))?;
        let id = FileId { store: self.generation.state.store_id, number: meta.number };
        let segment = Arc::new(Segment::open(self.backup, id, meta)?);
        let hosts = hosts_known(&segment, self.known_at)?;
        let inputs = [segment];
        let commits = commits_of(&inputs, self.known_at)?;
        let (backup, known_at, options) = (self.backup, self.known_at, self.options);
        let is_whole = self.generation.state.segments.len() == 1;
        let mut writer = self.writer(Effort::Zstd(options.merge_zstd_level), commits, hosts)?;
        let merging = Merging { known_at, is_whole, ..Merging::all(&options.indexes, cores(), &options.pace) };
        merge(backup, &inputs, merging, &mut writer)?;
        let meta = writer.finish()?;
        self.done.rewritten_segments += 1;
        Ok(meta)
    }

    /// Makes a segment of what the logs hold that was recorded early enough, and removes them.
    fn seal_logs(&mut self, state: &mut Manifest) -> Result<(), Error> {
        let (mut memtable, known_at) = (Memtable::new(), self.known_at);
        replay_all(self.to, state.store_id, state.log_floor, None, |commit| {
            if commit.recorded <= known_at {
                memtable.insert(&commit);
            }
            Ok(())
        })?;
        if !memtable.is_empty() {
            let (commits, hosts) = (memtable.commits().to_vec(), memtable.hosts());
            let effort = self.options.seal_effort;
            let mut writer = self.writer(effort, commits, hosts)?;
            seal(&memtable, &mut writer)?;
            let meta = Arc::new(writer.finish()?);
            state.last_recorded = state.last_recorded.max(meta.recorded.1);
            self.done.files += 1;
            self.done.bytes += meta.bytes;
            state.segments.insert(meta.number, meta);
        }
        for log in self.generation.logs() {
            self.to.remove(&log.name).during("remove", &log.name)?;
        }
        state.log_floor = self.next_file;
        Ok(())
    }
}
