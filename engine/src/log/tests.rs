use super::*;
use crate::error::{Error, Fault, Misuse, Structure};
use crate::fact::{Batch, Commit, Delivery, Inferred, Kind, Name, StreamKey};
use crate::format::frame::{FileId, kind, put_frame, read_frame};
use crate::format::names;
use crate::io::{AfterCrash, Clock, FaultyStorage, ManualClock, MemoryStorage, Output, Plan, Storage, Unsynced};
use crate::row::{Row, RowBuilder};
use proptest::prelude::*;
use std::sync::Arc;

const STORE: [u8; 16] = *b"sixteen bytes id";
const PAGE: &str = include_str!("log.md");

fn row(columns: &[(&[u8], &[u8])]) -> Row {
    let mut builder = RowBuilder::new();
    for (name, text) in columns {
        builder.column(name, text);
    }
    builder.row()
}

fn key(table: &str, host: &str, name: &str) -> StreamKey {
    StreamKey {
        table: Name::from(table.as_bytes()),
        host: Name::from(host.as_bytes()),
        name: Name::from(name.as_bytes()),
        kind: Kind::Diff,
        sightings: false,
    }
}

/// The commit of the page's example.
fn example() -> Commit {
    Commit {
        recorded: 3,
        batch: Batch {
            producer: 2,
            sequence: 1,
            digest: 0,
            deliveries: vec![Delivery {
                stream: Arc::new(key("users", "h", "pack/users")),
                epoch: 5,
                counter: Some(9),
                second: 1000,
                whole: true,
                inferred: Inferred::V5_7,
                removed: Vec::new(),
                added: vec![(row(&[(b"uid", b"0")]), 1)],
            }],
        },
    }
}

/// The example with another time and row.
fn commit(number: i64) -> Commit {
    let mut commit = example();
    commit.recorded = number;
    commit.batch.deliveries[0].added[0].0 = row(&[(b"uid", number.to_string().as_bytes())]);
    commit
}

/// A commit whose record is longer than several sectors, so that a crash can tear it in the middle.
fn large_commit(number: i64) -> Commit {
    let mut commit = commit(number);
    let mut state = number as u64 + 1;
    let noise: Vec<u8> = (0..1500)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    commit.batch.deliveries[0].added.push((row(&[(b"noise", &noise)]), 2));
    commit
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(7))
}

fn create(storage: &dyn Storage, number: u64, mode: SyncMode) -> LogWriter {
    LogWriter::create(storage, STORE, number, None, clock(), mode).unwrap()
}

fn store(log: &LogWriter, commit: &Commit) {
    log.wait(log.append(commit).unwrap()).unwrap();
}

const NEWEST: Extent = Extent { from: 0, durable: 0, newest: true, until: None };

fn read(storage: &dyn Storage, number: u64, extent: Extent) -> Result<(Vec<Commit>, Replayed), Error> {
    let mut commits = Vec::new();
    let replayed = replay(storage, STORE, number, extent, |commit| {
        commits.push(commit);
        Ok(())
    })?;
    assert_eq!(replayed.commits, commits.len() as u64);
    Ok((commits, replayed))
}

fn corrupt(error: Error) -> crate::error::Corrupt {
    match error {
        Error::Corrupt(corrupt) => corrupt,
        other => panic!("not damage: {other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.join(" ")
    };
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page_names_the_offsets_of_the_code() {
    let at = replay::BATCH_AT;
    let rows = [
        (0, at, "u64 | how many bytes"),
        (at + batch::RECORDED_AT, 8, "i64 | recorded time"),
        (at + batch::PRODUCER_AT, 16, "u128 | producer"),
        (at + batch::SEQUENCE_AT, 8, "u64 | the producer's sequence"),
        (at + batch::RAW_LEN_AT, 4, "u32 | bytes of the content"),
        (at + batch::FORM_AT, 1, "u8 | form"),
    ];
    for (at, size, what) in rows {
        assert!(PAGE.contains(&format!("\n| {at} | {size} | {what}")), "{at} {what}");
    }
    assert!(PAGE.contains(&format!("\n| {} | | bytes | the content", at + batch::CONTENT_AT)));
    assert!(PAGE.contains(&format!("at most {BATCH_BYTES_MAX} ")));
    let page = include_str!("digest.md");
    let rows = [
        (digest::NUMBER_AT, 8, "u64 | the batch's number"),
        (digest::END_AT, 8, "u64 | where the batch's frame ends"),
        (digest::RECORDED_AT, 8, "i64 | the batch's recorded time"),
        (digest::RAW_LEN_AT, 4, "u32 | bytes of the content"),
        (digest::FORM_AT, 1, "u8 | form"),
    ];
    for (at, size, what) in rows {
        assert!(page.contains(&format!("\n| {at} | {size} | {what}")), "{at} {what}");
    }
    assert!(page.contains(&format!("\n| {} | | bytes | the content", digest::CONTENT_AT)));
    assert!(page.contains(&format!("at most {BATCH_BYTES_MAX} ")));
    let (every, apart) = (digest::AGAIN_EVERY_BYTES, digest::AGAIN_APART_BYTES);
    assert!(
        page.contains(&format!("once {every} bytes of")) && page.contains(&format!("at least {apart} bytes before"))
    );
    assert!(page.contains(&format!("the last {} KiB of a log", (every + apart) >> 10)));
    for kind in [kind::DIGEST, kind::DIGESTS_AGAIN] {
        assert!(page.contains(&format!("of the type `0x{kind:02x}`")));
    }
}

#[test]
fn golden_bytes() {
    let id = FileId { store: STORE, number: 12 };
    let previous = Some(Previous { number: 7, end: 4096 });
    let mut start = Vec::new();
    put_frame(&mut start, &id, 64, kind::LOG_START, &replay::encode_start(previous));
    assert!(PAGE.contains(&hex(&start)), "{}", hex(&start));

    let storage = MemoryStorage::new();
    let log = LogWriter::create(&storage, STORE, 12, previous, clock(), SyncMode::Always).unwrap();
    store(&log, &example());
    let bytes = &storage.files()[&names::log(12)];
    assert_eq!(bytes[64..92], start);
    assert!(PAGE.contains(&hex(&bytes[92..])), "{}", hex(&bytes[92..]));

    // Zstd may come to compress otherwise; what it wrote must be read for ever.
    let compressed = "0300000000000000020000000000000000000000000000000100000000000000";
    let digest = read_frame(&bytes[92..], &id, 92).unwrap();
    assert!(PAGE.contains(&format!("at offset 92, the digest of a batch, and at {} the batch", digest.end)));
    let frame = read_frame(&bytes[digest.end as usize..], &id, digest.end).unwrap();
    assert_eq!(compressed, hex(&frame.payload[8..40]).replace([' ', '\n'], ""));
}

#[test]
fn what_is_appended_is_replayed_in_order() {
    let storage = MemoryStorage::new();
    for mode in [SyncMode::Always, SyncMode::Interval { millis: 5 }, SyncMode::Never] {
        let log = create(&storage, 3, mode);
        let commits: Vec<Commit> = (0..20).map(commit).chain([large_commit(20)]).collect();
        for commit in &commits {
            store(&log, commit);
        }
        let (found, replayed) = read(&storage, 3, NEWEST).unwrap();
        assert_eq!(found, commits);
        assert_eq!((replayed.end, replayed.torn), (log.written_len(), None));
        let previous = log.finish().unwrap();
        assert_eq!((previous.number, previous.end), (3, log.durable_len()));
        let extent = Extent { durable: previous.end, newest: false, ..NEWEST };
        assert_eq!(read(&storage, 3, extent).unwrap().0, commits);
        let refused = log.append(&commit(0)).unwrap_err();
        assert!(matches!(refused, Error::Misuse(Misuse::LogFinished)), "{refused}");
        storage.remove(&names::log(3)).unwrap();
    }
}

/// Long logs are decoded ahead of who takes their commits.
#[test]
fn a_long_log_is_replayed_in_order_up_to_whoever_stops_it() {
    let storage = MemoryStorage::new();
    let log = create(&storage, 3, SyncMode::Never);
    let commits: Vec<Commit> = (0..800).map(large_commit).collect();
    for commit in &commits {
        store(&log, commit);
    }
    let _ = log.finish().unwrap();
    let bytes = storage.files()[&names::log(3)].clone();
    assert!(bytes.len() > 1 << 20);
    let (found, replayed) = read(&storage, 3, NEWEST).unwrap();
    assert!(found == commits && replayed.end == bytes.len() as u64 && replayed.torn.is_none());
    let mut taken = 0;
    let stopped = replay(&storage, STORE, 3, NEWEST, |commit| {
        assert_eq!(commit, commits[taken]);
        taken += 1;
        if taken == 500 { Err(Misuse::LogFinished.into()) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(Error::Misuse(Misuse::LogFinished))) && taken == 500);
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    storage.put(&names::log(3), damaged);
    let mut taken = 0;
    let result = replay(&storage, STORE, 3, Extent { newest: false, ..NEWEST }, |commit| {
        assert_eq!(commit, commits[taken]);
        taken += 1;
        Ok(())
    });
    corrupt(result.unwrap_err());
    assert!((390..410).contains(&taken), "{taken}");
}

#[test]
fn a_replay_goes_on_where_another_ended() {
    let storage = MemoryStorage::new();
    let log = create(&storage, 3, SyncMode::Never);
    store(&log, &commit(1));
    let (_, first) = read(&storage, 3, NEWEST).unwrap();
    let from = Extent { from: first.end, ..NEWEST };
    assert_eq!(read(&storage, 3, from).unwrap().0, []);
    store(&log, &commit(2));
    store(&log, &commit(3));
    assert_eq!(read(&storage, 3, from).unwrap().0, [commit(2), commit(3)]);
}

#[test]
fn a_batch_is_encoded_before_its_time_is_known() {
    let storage = MemoryStorage::new();
    let log = create(&storage, 3, SyncMode::Always);
    let encoded = Encoded::new(&commit(0).batch).unwrap();
    log.wait(log.append_encoded(77, encoded).unwrap()).unwrap();
    let expected = Commit { recorded: 77, ..commit(0) };
    assert_eq!(read(&storage, 3, NEWEST).unwrap().0, [expected]);
}

/// Two threads wait while a third's sync runs; one sync must do for both.
#[test]
fn one_sync_pays_for_many_records() {
    const THREADS: i64 = 8;
    const EACH: i64 = 50;
    let storage = SlowSync::default();
    let log = create(&storage, 3, SyncMode::Always);
    let order = parking_lot::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, order) = (&log, &order);
            scope.spawn(move || {
                for i in 0..EACH {
                    let commit = commit(thread * EACH + i);
                    let ticket = {
                        let mut order = order.lock();
                        order.push(commit.recorded);
                        log.append(&commit).unwrap()
                    };
                    log.wait(ticket).unwrap();
                    assert!(log.durable_len() >= ticket.end());
                }
            });
        }
    });
    let (found, replayed) = read(&storage.memory, 3, NEWEST).unwrap();
    let found: Vec<i64> = found.iter().map(|commit| commit.recorded).collect();
    assert_eq!(found, *order.lock());
    assert_eq!(replayed.end, log.durable_len());
    let syncs = *storage.syncs.lock();
    assert!(syncs * 2 < THREADS * EACH, "{syncs} syncs for {} records", THREADS * EACH);
}

/// Memory whose syncs take time and are counted.
#[derive(Default)]
struct SlowSync {
    memory: MemoryStorage,
    syncs: Arc<parking_lot::Mutex<i64>>,
}

struct SlowOutput(Box<dyn Output>, Arc<parking_lot::Mutex<i64>>);

impl Output for SlowOutput {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        *self.1.lock() += 1;
        std::thread::sleep(std::time::Duration::from_micros(300));
        self.0.sync()
    }

    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl Storage for SlowSync {
    fn create(&self, name: &str) -> std::io::Result<Box<dyn Output>> {
        Ok(Box::new(SlowOutput(self.memory.create(name)?, self.syncs.clone())))
    }

    fn map(&self, name: &str) -> std::io::Result<crate::io::Mapped> {
        self.memory.map(name)
    }

    fn read_from(&self, name: &str, offset: u64) -> std::io::Result<Vec<u8>> {
        self.memory.read_from(name, offset)
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.memory.rename(from, to)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.memory.remove(name)
    }

    fn remove_unpinned(&self, name: &str) -> std::io::Result<bool> {
        self.memory.remove_unpinned(name)
    }

    fn list(&self) -> std::io::Result<Vec<(String, u64)>> {
        self.memory.list()
    }

    fn sync_dir(&self) -> std::io::Result<()> {
        self.memory.sync_dir()
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn crate::io::Lock>, crate::io::LockError> {
        self.memory.lock(name, holder)
    }

    fn lock_holder(&self, name: &str) -> std::io::Result<Option<String>> {
        self.memory.lock_holder(name)
    }

    fn read_note(&self, name: &str) -> std::io::Result<Option<crate::io::Note>> {
        self.memory.read_note(name)
    }
}

#[test]
fn an_interval_syncs_when_it_has_passed() {
    let (storage, clock) = (FaultyStorage::new(Plan::default()), clock());
    let mode = SyncMode::Interval { millis: 5 };
    let log = LogWriter::create(&storage, STORE, 3, None, clock.clone() as Arc<dyn Clock>, mode).unwrap();
    let created = log.durable_len();
    store(&log, &commit(1));
    log.tick().unwrap();
    assert!(log.written_len() > created && log.durable_len() == created);
    clock.advance(4999);
    store(&log, &commit(2));
    log.tick().unwrap();
    assert_eq!(log.durable_len(), created);
    clock.advance(1);
    log.tick().unwrap();
    assert_eq!(log.durable_len(), log.written_len());

    store(&log, &commit(3));
    clock.advance(5000);
    store(&log, &commit(4));
    assert_eq!(log.durable_len(), log.written_len(), "whoever waits syncs too");

    let unwaited = log.append(&commit(5)).unwrap();
    log.tick().unwrap();
    assert_eq!(log.written_len(), unwaited.end());
    clock.advance(5000);
    log.tick().unwrap();
    assert_eq!(log.durable_len(), unwaited.end());
}

#[test]
fn never_syncs_only_at_the_end() {
    let storage = FaultyStorage::new(Plan::default());
    let log = create(&storage, 3, SyncMode::Never);
    let before = storage.sync_count();
    store(&log, &commit(1));
    log.tick().unwrap();
    assert_eq!(storage.sync_count(), before);
    log.finish().unwrap();
    assert_eq!(storage.sync_count(), before + 1);
}

#[test]
fn memory_stays_bounded_if_nobody_waits() {
    let storage = MemoryStorage::new();
    let log = create(&storage, 3, SyncMode::Always);
    for i in 0..4000 {
        let _ = log.append(&large_commit(i)).unwrap();
    }
    assert!(log.written_len() > 0 && log.placed_len() - log.written_len() < 5 << 20);
}

/// A second `fsync` after a failed one returns success on Linux though the bytes are gone.
#[test]
fn after_a_failed_sync_nothing_more_is_acknowledged_and_no_sync_is_tried() {
    let storage = FaultyStorage::new(Plan::default());
    let log = create(&storage, 3, SyncMode::Always);
    store(&log, &commit(1));
    let first = log.append(&commit(1)).unwrap();
    log.wait(first).unwrap();
    storage.set_plan(Plan { fail_sync: Some(storage.sync_count()), ..Plan::default() });
    let lost = log.append(&commit(2)).unwrap();
    for _ in 0..2 {
        let error = log.wait(lost).unwrap_err();
        assert!(matches!(&error, Error::Poisoned { first } if first.operation == "sync"), "{error}");
    }
    let ops = storage.op_count();
    assert!(matches!(log.append(&commit(3)), Err(Error::Poisoned { .. })));
    assert!(matches!(log.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(log.finish(), Err(Error::Poisoned { .. })));
    log.wait(first).unwrap();
    assert_eq!(storage.op_count(), ops);
}

#[test]
fn after_a_failed_append_the_file_is_left_alone() {
    let storage = FaultyStorage::new(Plan { full_at: Some(300), ..Plan::default() });
    let log = create(&storage, 3, SyncMode::Always);
    store(&log, &commit(1));
    let ticket = log.append(&large_commit(2)).unwrap();
    let error = log.wait(ticket).unwrap_err();
    assert!(matches!(&error, Error::Poisoned { first } if first.operation == "append to"), "{error}");
    storage.set_plan(Plan::default());
    assert!(matches!(log.append(&commit(3)), Err(Error::Poisoned { .. })));
    let (found, replayed) = read(&storage, 3, NEWEST).unwrap();
    assert_eq!(found, [commit(1)]);
    assert_eq!(replayed.torn.map(|torn| torn.offset), Some(log.durable_len()));
}

#[test]
fn every_flipped_bit_gives_a_prefix_or_an_error() {
    let storage = MemoryStorage::new();
    let log = create(&storage, 3, SyncMode::Always);
    let commits: Vec<Commit> = (0..4).map(commit).collect();
    let mut ends = Vec::new();
    for commit in &commits {
        store(&log, commit);
        ends.push(log.durable_len());
    }
    let bytes = storage.files()[&names::log(3)].clone();
    let last_record = ends[2] as usize;
    let digested = last_record + Encoded::new(&commits[3].batch).unwrap().digest_len() as usize;
    let covered = Extent { durable: log.durable_len(), ..NEWEST };
    let older = Extent { newest: false, ..NEWEST };
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            storage.put(&names::log(3), bytes);
            for extent in [covered, older] {
                let corrupt = corrupt(read(&storage, 3, extent).unwrap_err());
                assert_eq!(corrupt.file, names::log(3));
                assert!(corrupt.offset <= at as u64);
            }
            match read(&storage, 3, NEWEST) {
                Ok((found, replayed)) => {
                    assert!(at >= last_record, "byte {at} was passed over");
                    assert_eq!(found, commits[..3]);
                    // The last batch, or its digest.
                    let torn = if at < digested { ends[2] } else { digested as u64 };
                    assert_eq!(replayed.torn.map(|torn| torn.offset), Some(torn));
                }
                Err(error) => {
                    corrupt(error);
                }
            }
        }
    }
    for cut in 0..bytes.len() {
        storage.put(&names::log(3), bytes[..cut].to_vec());
        corrupt(read(&storage, 3, covered).unwrap_err());
        let (found, replayed) = read(&storage, 3, NEWEST).unwrap();
        let whole = ends.iter().filter(|&&end| end <= cut as u64).count();
        assert_eq!(found, commits[..whole]);
        assert_eq!(replayed.torn.map_or(cut as u64, |torn| torn.offset + torn.bytes), cut as u64);
    }
}

#[test]
fn a_frame_of_a_newer_program_is_refused_unless_it_is_optional() {
    let storage = MemoryStorage::new();
    let log = create(&storage, 3, SyncMode::Always);
    store(&log, &commit(1));
    let id = FileId { store: STORE, number: 3 };
    let end = log.durable_len();
    for (kind, expected) in [(0x84, true), (0x03, false)] {
        let mut bytes = storage.files()[&names::log(3)].clone();
        put_frame(&mut bytes, &id, end, kind, b"news");
        let other = MemoryStorage::with_files([(names::log(3), bytes)]);
        match read(&other, 3, NEWEST) {
            Ok((found, replayed)) => {
                assert!(expected);
                assert_eq!((found.len(), replayed.end, replayed.torn), (1, end + 16, None));
            }
            Err(error) => {
                assert!(!expected);
                let corrupt = corrupt(error);
                assert_eq!((corrupt.offset, corrupt.structure), (end, Structure::Frame));
                assert!(matches!(corrupt.fault, Fault::Tag { found: 3, .. }));
            }
        }
    }
}

/// A disk may write the second sector of what was never synced and not the first. Nothing of it was acknowledged, so the
/// store opens; with damage in what *was* synced it must not.
#[test]
fn a_sound_record_after_a_torn_one_is_damage_only_if_a_sync_lay_between() {
    for (mode, torn) in [(SyncMode::Never, true), (SyncMode::Always, false)] {
        let storage = MemoryStorage::new();
        let log = create(&storage, 3, mode);
        store(&log, &commit(1));
        let hole = log.written_len() as usize;
        store(&log, &commit(2));
        store(&log, &commit(3));
        let mut bytes = storage.files()[&names::log(3)].clone();
        bytes[hole..hole + 30].fill(0);
        storage.put(&names::log(3), bytes);
        match read(&storage, 3, NEWEST) {
            Ok((found, replayed)) => {
                assert!(torn);
                assert_eq!(found, [commit(1)]);
                assert_eq!(replayed.torn.map(|torn| torn.offset), Some(hole as u64));
            }
            Err(error) => {
                assert!(!torn);
                assert_eq!(corrupt(error).offset, hole as u64);
            }
        }
    }
}

fn read_all(storage: &dyn Storage, floor: u64, note: Option<Durable>) -> Result<(Vec<Commit>, Vec<Replayed>), Error> {
    let mut commits = Vec::new();
    let logs = replay_all(storage, STORE, floor, note, |commit| {
        commits.push(commit);
        Ok(())
    })?;
    Ok((commits, logs))
}

/// Three logs, 3, 5 and 6, one commit each.
fn three_logs() -> (MemoryStorage, [u64; 3]) {
    let storage = MemoryStorage::new();
    let (mut previous, mut ends) = (None, [0; 3]);
    for (i, number) in [3, 5, 6].into_iter().enumerate() {
        let log = LogWriter::create(&storage, STORE, number, previous, clock(), SyncMode::Always).unwrap();
        store(&log, &commit(number as i64));
        let finished = log.finish().unwrap();
        ends[i] = finished.end;
        previous = Some(finished);
    }
    (storage, ends)
}

#[test]
fn logs_are_a_chain_from_the_floor_on() {
    let (storage, ends) = three_logs();
    let all = [commit(3), commit(5), commit(6)];
    let note = |number, len| Some(Durable { number, len, readable: len });
    assert_eq!(read_all(&storage, 0, None).unwrap().0, all);
    assert_eq!(read_all(&storage, 3, note(6, ends[2])).unwrap().0, all);
    assert_eq!(read_all(&storage, 4, None).unwrap().0, all[1..]);
    assert_eq!(read_all(&storage, 7, note(6, ends[2])).unwrap().0, []);

    let file = |error| corrupt(error).file;
    assert_eq!(file(read_all(&storage, 0, note(7, 100)).unwrap_err()), names::log(7));
    let files = storage.files();
    for (number, floor) in [(3, 3), (5, 3), (5, 5)] {
        let storage = MemoryStorage::with_files(files.clone());
        storage.remove(&names::log(number)).unwrap();
        let corrupt = corrupt(read_all(&storage, floor, None).unwrap_err());
        assert_eq!((corrupt.file, corrupt.fault), (names::log(number), Fault::Missing));
    }
    for cut in 0..ends[1] as usize {
        let storage = MemoryStorage::with_files(files.clone());
        storage.put(&names::log(5), files[&names::log(5)][..cut].to_vec());
        assert_eq!(file(read_all(&storage, 3, None).unwrap_err()), names::log(5), "{cut}");
    }
}

#[test]
fn a_log_whose_creation_was_cut_short_is_empty() {
    let (storage, _) = three_logs();
    let whole = storage.files()[&names::log(6)].clone();
    for cut in 0..92 {
        storage.put(&names::log(6), whole[..cut].to_vec());
        let (commits, logs) = read_all(&storage, 3, None).unwrap();
        assert_eq!(commits, [commit(3), commit(5)]);
        let torn = logs[2].torn.unwrap();
        assert_eq!((logs[2].end, torn.offset + torn.bytes), (0, cut as u64));
    }
    storage.put(&names::log(6), whole[..92].to_vec());
    assert_eq!(read_all(&storage, 3, None).unwrap().1[2].torn, None);
}

#[test]
fn a_log_of_another_store_is_refused() {
    let (storage, _) = three_logs();
    let error = replay(&storage, [0; 16], 3, NEWEST, |_| Ok(())).unwrap_err();
    assert_eq!(corrupt(error).fault, Fault::Foreign { what: "store" });
    let files = storage.files();
    storage.put(&names::log(5), files[&names::log(3)].clone());
    let error = read_all(&storage, 3, None).unwrap_err();
    assert_eq!(corrupt(error).fault, Fault::Foreign { what: "file number" });
}

/// Writes two logs, and says how many commits were acknowledged.
fn run(storage: &dyn Storage, mode: SyncMode) -> (i64, Result<(), Error>) {
    let mut acknowledged = 0;
    let mut write = || -> Result<(), Error> {
        let mut previous = None;
        for number in [3, 5] {
            let log = LogWriter::create(storage, STORE, number, previous, clock(), mode)?;
            for _ in 0..2 {
                // Two records in one group, one longer than a sector.
                let first = log.append(&large_commit(acknowledged))?;
                let second = log.append(&commit(acknowledged + 1))?;
                log.wait(first)?;
                log.wait(second)?;
                acknowledged += 2;
            }
            previous = Some(log.finish()?);
        }
        Ok(())
    };
    let result = write();
    (acknowledged, result)
}

/// Whatever a crash leaves opens, holds a front part of what was written, and all that was acknowledged as durable.
#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let whole = FaultyStorage::new(Plan::default());
    let (total, result) = run(&whole, SyncMode::Always);
    result.unwrap();
    let written = |number: i64| match number % 2 {
        0 => large_commit(number),
        _ => commit(number),
    };
    for crash_at in 0..whole.op_count() {
        for torn in [0, 1, 70, 700, 100_000] {
            for mode in [SyncMode::Always, SyncMode::Never] {
                let storage = FaultyStorage::new(Plan { crash_at: Some(crash_at), torn, ..Plan::default() });
                let (acknowledged, result) = run(&storage, mode);
                assert!(result.is_err() || !storage.has_crashed());
                for after in AfterCrash::all(12) {
                    let found = storage.after_crash(after);
                    let (commits, _) = read_all(&found, 0, None)
                        .unwrap_or_else(|error| panic!("{crash_at} {torn} {mode:?} {after:?}: {error}"));
                    assert!(commits.len() as i64 <= total);
                    for (i, commit) in commits.iter().enumerate() {
                        assert_eq!(*commit, written(i as i64));
                    }
                    let bytes_kept = after.bytes == Unsynced::Kept && after.names == Unsynced::Kept;
                    if mode == SyncMode::Always || bytes_kept {
                        assert!(commits.len() as i64 >= acknowledged, "{crash_at} {torn} {mode:?} {after:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_batch_that_no_reader_would_take_is_refused() {
    let refused = |commit: &Commit| match encode_batch(commit, &mut Vec::new()) {
        Err(Error::Misuse(misuse)) => misuse,
        other => panic!("{other:?}"),
    };
    let mut twice = example();
    let copy = twice.batch.deliveries[0].added[0].clone();
    twice.batch.deliveries[0].added.push(copy.clone());
    assert_eq!(refused(&twice), Misuse::RowCopies);
    let mut none = example();
    none.batch.deliveries[0].added[0].1 = 0;
    assert_eq!(refused(&none), Misuse::RowCopies);
    let mut both_sides = example();
    both_sides.batch.deliveries[0].removed.push(copy);
    encode_batch(&both_sides, &mut Vec::new()).unwrap();
    let mut large = example();
    let row = row(&[(b"text", &vec![b'x'; 150 << 20])]);
    large.batch.deliveries[0].added.push((row, 1));
    encode_batch(&large, &mut Vec::new()).unwrap();
    let row = self::row(&[(b"text", &vec![b'y'; 150 << 20])]);
    large.batch.deliveries[0].removed.push((row, 1));
    assert!(matches!(refused(&large), Misuse::BatchTooLarge { .. }));
}

#[test]
fn an_announced_length_is_bounded_before_anything_is_allocated() {
    let mut payload = Vec::new();
    encode_batch(&example(), &mut payload).unwrap();
    payload[batch::RAW_LEN_AT..batch::FORM_AT].fill(0xff);
    assert!(matches!(decode_batch(&payload), Err(Fault::Limit { .. })));
}

fn any_name() -> impl Strategy<Value = Name> {
    prop_oneof![
        prop::sample::select(vec![&b"users"[..], b"processes", b"", b"h\xff"]).prop_map(Name::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Name::from),
    ]
}

prop_compose! {
    fn any_stream()(
        table in any_name(),
        host in any_name(),
        name in any_name(),
        kind in prop::sample::select(vec![Kind::Diff, Kind::Snapshot, Kind::Event, Kind::Note]),
        sightings: bool,
    ) -> Arc<StreamKey> {
        Arc::new(StreamKey { table, host, name, kind, sightings })
    }
}

fn any_row() -> impl Strategy<Value = Row> {
    let text = || prop::collection::vec(any::<u8>(), 0..6);
    prop_oneof![
        (0u8..5).prop_map(|uid| row(&[(b"uid", &[uid])])),
        prop::collection::vec((text(), text()), 0..4).prop_map(|columns| {
            let columns: Vec<(&[u8], &[u8])> = columns.iter().map(|(n, t)| (&n[..], &t[..])).collect();
            row(&columns)
        }),
    ]
}

fn any_copies() -> impl Strategy<Value = Vec<(Row, u64)>> {
    prop::collection::vec((any_row(), prop_oneof![1u64..4, Just(u64::MAX)]), 0..6).prop_map(|mut copies| {
        let mut seen = std::collections::HashSet::new();
        copies.retain(|(row, _)| seen.insert(row.clone()));
        copies
    })
}

prop_compose! {
    fn any_delivery(streams: Vec<Arc<StreamKey>>)(
        stream in prop::sample::select(streams),
        epoch: u64,
        counter in prop_oneof![Just(None), (0u64..3).prop_map(Some), Just(Some(u64::MAX))],
        second in prop_oneof![1_545_645_600i64..1_545_645_700, any::<i64>()],
        whole: bool,
        inferred in prop::sample::select(vec![Inferred::V2_10, Inferred::V3_4, Inferred::V5_7]),
        removed in any_copies(),
        added in any_copies(),
    ) -> Delivery {
        Delivery { stream, epoch, counter, second, whole, inferred, removed, added }
    }
}

fn any_commit() -> impl Strategy<Value = Commit> {
    prop::collection::vec(any_stream(), 1..5)
        .prop_flat_map(|streams| {
            let deliveries = prop::collection::vec(any_delivery(streams), 0..8);
            (any::<i64>(), any::<u128>(), any::<u64>(), deliveries)
        })
        .prop_map(|(recorded, producer, sequence, deliveries)| Commit {
            recorded,
            batch: Batch { producer, sequence, digest: 0, deliveries },
        })
}

/// What waits for more lines is in a note; a digest tells whose it is.
#[test]
fn a_digest_tells_what_is_held_back() {
    let looks = [&[1, 1, 1, b't', 1, b'h', 1, b'q', 0, 0, 1, 5, 100, 2, 0, 1, 1, 6, 3][..], b"uid\x010"].concat();
    let notes = [
        crate::note::of_held(2, 1, b"log", b"h", &looks),
        crate::note::of_held(2, 1, b"log", b"i", b""),
        crate::note::of_held(2, 1, b"log", b"j", b"noise"),
    ];
    let batch = Batch { producer: 2, sequence: 1, digest: 0, deliveries: notes.to_vec() };
    let digest = Encoded::new(&batch).unwrap().digest(0, 0, 0).unwrap();
    assert_eq!((digest.streams.len(), digest.notes.len()), (3, 0));
    let held: Vec<_> = digest.held.iter().map(|held| (held.note.clone(), held.looks.clone())).collect();
    let stream = Arc::new(StreamKey { kind: Kind::Diff, ..key("t", "h", "q") });
    let look = Digested { stream, first: 100, last: 100 };
    assert_eq!(held, [(notes[0].stream.clone(), vec![look]), (notes[1].stream.clone(), Vec::new())]);
}

proptest! {
    #[test]
    fn a_batch_survives_encoding(commit in any_commit()) {
        let mut payload = Vec::new();
        encode_batch(&commit, &mut payload).unwrap();
        prop_assert_eq!(decode_batch(&payload).unwrap(), commit);
    }

    /// A digest is asked for what it can tell when the batch is gone.
    #[test]
    fn a_digest_tells_of_every_delivery(commit in any_commit(), number: u64, end: u64) {
        let mut payload = batch::encode(0, &commit.batch, &mut Vec::new()).unwrap();
        digest::place(&mut payload, number, end, commit.recorded);
        let digest = Digest::decode(&payload).unwrap();
        prop_assert_eq!((digest.number, digest.end, digest.recorded), (number, end, commit.recorded));
        let mut streams: Vec<Digested> = Vec::new();
        for Delivery { stream, second, .. } in &commit.batch.deliveries {
            match streams.iter_mut().find(|known| known.stream == *stream) {
                Some(known) => (known.first, known.last) = (known.first.min(*second), known.last.max(*second)),
                None => streams.push(Digested { stream: stream.clone(), first: *second, last: *second }),
            }
        }
        prop_assert_eq!(&digest.streams, &streams);
        let is_note = |delivery: &&Delivery| crate::note::is_digested(&delivery.stream);
        let notes: Vec<Delivery> = commit.batch.deliveries.iter().filter(is_note).cloned().collect();
        prop_assert_eq!(&digest.notes, &notes);
        prop_assert!(digest.held.is_empty(), "no name here is `held`");
        let again: Vec<u8> = [&(payload.len() as u32).to_le_bytes()[..], &payload].concat();
        prop_assert_eq!(Digest::decode_again(&again.repeat(2)).unwrap(), [digest.clone(), digest]);
    }

    #[test]
    fn damaged_digests_never_panic(commit in any_commit(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut payload = batch::encode(0, &commit.batch, &mut Vec::new()).unwrap();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            if at != digest::RAW_LEN_AT + 3 {
                payload[at] = byte;
            }
        }
        let _ = Digest::decode(&payload);
        let _ = Digest::decode_again(&payload);
    }

    /// Behind a sound checksum stands a sound program; still nothing may panic, and what is taken has one form.
    #[test]
    fn damaged_batches_never_panic(commit in any_commit(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut payload = Vec::new();
        encode_batch(&commit, &mut payload).unwrap();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            // Not the length's high byte: it asks for as much memory as it may.
            if at != batch::RAW_LEN_AT + 3 {
                payload[at] = byte;
            }
        }
        if let Ok(found) = decode_batch(&payload) {
            let mut again = Vec::new();
            encode_batch(&found, &mut again).unwrap();
            prop_assert_eq!(decode_batch(&again).unwrap(), found);
        }
    }

    #[test]
    fn damaged_contents_have_one_form(commit in any_commit(), at: prop::sample::Index, byte: u8) {
        let mut content = batch::encode_content(&commit.batch.deliveries).unwrap();
        let at = at.index(content.len());
        content[at] = byte;
        if let Ok(found) = batch::decode_content(&content) {
            prop_assert_eq!(batch::encode_content(&found).unwrap(), content);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), from in 0u64..100) {
        let _ = decode_batch(&bytes);
        let _ = batch::decode_content(&bytes);
        let storage = MemoryStorage::with_files([(names::log(3), bytes)]);
        for from in [0, from] {
            let _ = read(&storage, 3, Extent { from, ..NEWEST });
        }
        let _ = read_all(&storage, 0, None);
    }
}
