//! Commits fill a memtable, a memtable becomes a segment, four segments become one.
//!
//! Everything stays in memory, so what is measured is the work and not the disk.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use erstwhile::simulate::Format;
use erstwhile_benches::{BATCH_ROWS, RECORDED, batches, commits, criterion, deliveries, fleet, memtable, rows_in};
use erstwhile_engine::codec::Effort;
use erstwhile_engine::compaction::merge::{Merging, commits_of, hosts_of, merge};
use erstwhile_engine::compaction::pace::Pace;
use erstwhile_engine::fact::{Commit, Micros, Name};
use erstwhile_engine::format::frame::FileId;
use erstwhile_engine::io::{MemoryStorage, Storage};
use erstwhile_engine::manifest::SegmentMeta;
use erstwhile_engine::memtable::Memtable;
use erstwhile_engine::options::{IndexRules, Options};
use erstwhile_engine::segment::Segment;
use erstwhile_engine::segment::seal::seal;
use erstwhile_engine::segment::write::SegmentWriter;
use std::sync::Arc;

/// Segments that are merged.
const SEGMENTS: usize = 4;

fn id(number: u64) -> FileId {
    FileId { store: [7; 16], number }
}

fn writer(storage: &dyn Storage, number: u64, commits: Vec<Micros>, hosts: Vec<Name>) -> SegmentWriter<'_> {
    let effort = Effort::Zstd(Options::default().merge_zstd_level);
    SegmentWriter::create(storage, id(number), RECORDED, effort, commits, hosts).expect("memory can be written to")
}

fn seal_into(memtable: &Memtable, storage: &dyn Storage, number: u64) -> SegmentMeta {
    let mut writer = writer(storage, number, memtable.commits().to_vec(), memtable.hosts());
    seal(memtable, &mut writer).expect("the memtable can be sealed");
    writer.finish().expect("memory can be written to")
}

fn all(criterion: &mut Criterion) {
    let fleet = fleet(Format::Event);
    let commits = commits(batches(deliveries(&fleet.log), BATCH_ROWS));
    let rows = rows_in(commits.iter().map(|commit| &commit.batch));
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Elements(rows));
    group.bench_function("1 fill a memtable", |bencher| bencher.iter_with_large_drop(|| memtable(&commits)));

    let filled = memtable(&commits);
    group.bench_function("2 seal it", |bencher| {
        bencher.iter_batched(MemoryStorage::new, |storage| seal_into(&filled, &storage, 1), BatchSize::PerIteration);
    });
    drop(filled);

    let storage = MemoryStorage::new();
    let segments = quarters(&commits, &storage);
    group.bench_function("3 merge four segments", |bencher| {
        let (rules, pace) = (IndexRules::default(), Pace::default());
        let merge = |to: MemoryStorage| {
            let whole = "the segments are whole";
            let commits = commits_of(&segments, Micros::MAX).expect(whole);
            let mut writer = writer(&to, 9, commits, hosts_of(&segments).expect(whole));
            merge(&storage, &segments, Merging::all(&rules, 1, &pace), &mut writer).expect(whole);
            writer.finish().expect("memory can be written to")
        };
        bencher.iter_batched(MemoryStorage::new, merge, BatchSize::PerIteration);
    });
    group.finish();
}

/// The commits in four segments, as four memtables one after the other would leave them.
fn quarters(all: &[Commit], storage: &MemoryStorage) -> Vec<Arc<Segment>> {
    let deliveries: Vec<_> = all.iter().flat_map(|commit| commit.batch.deliveries.clone()).collect();
    let share = deliveries.len().div_ceil(SEGMENTS);
    let segment = |(number, deliveries): (u64, &[_])| {
        let quarter = memtable(&commits(batches(deliveries.to_vec(), BATCH_ROWS)));
        let meta = seal_into(&quarter, storage, number);
        Arc::new(Segment::open(storage, id(number), &meta).expect("the segment is whole"))
    };
    (1..).zip(deliveries.chunks(share)).map(segment).collect()
}

criterion_group! { name = benches; config = criterion(); targets = all }
criterion_main!(benches);
