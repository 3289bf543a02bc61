//! Bytes of a log become lines, lines are validated, rows become canonical bytes, lines become deliveries.
//!
//! Each stage includes the ones before it.

use criterion::{Criterion, criterion_group, criterion_main};
use erstwhile::simulate::Format;
use erstwhile_benches::{criterion, deliveries, each_line, fleet};
use erstwhile_engine::ingest::columns::RowReader;
use erstwhile_engine::ingest::line::Body;
use erstwhile_engine::ingest::source::LineSource;
use std::hint::black_box;

fn cut(log: &[u8]) -> u64 {
    let mut source = LineSource::new("log", log);
    let mut lines = 0;
    while let Some(line) = source.next_line().expect("memory can be read") {
        black_box(line);
        lines += 1;
    }
    lines
}

fn rows(log: &[u8]) -> u64 {
    let mut reader = RowReader::new();
    let mut rows = 0;
    let mut each = |row: &[u8]| {
        black_box(row);
        rows += 1;
    };
    each_line(log, |line| match line.body {
        Body::Row { columns, .. } => each(reader.row(columns, |_| false)),
        Body::Batch { removed, added } => {
            reader.rows(removed, |_| false, &mut each);
            reader.rows(added, |_| false, &mut each);
        }
        Body::Snapshot(list) => reader.rows(list, |_| false, &mut each),
    });
    rows
}

fn parse(criterion: &mut Criterion) {
    for (word, format) in [("event", Format::Event), ("batch", Format::Batch)] {
        let fleet = fleet(format);
        let mut group = criterion.benchmark_group(format!("parse/{word}"));
        group.throughput(fleet.throughput());
        group.bench_function("1 cut", |bencher| bencher.iter(|| cut(&fleet.log)));
        group.bench_function("2 validate", |bencher| {
            bencher.iter(|| {
                each_line(&fleet.log, |line| {
                    black_box(line);
                });
            });
        });
        group.bench_function("3 rows", |bencher| bencher.iter(|| rows(&fleet.log)));
        group.bench_function("4 deliveries", |bencher| bencher.iter_with_large_drop(|| deliveries(&fleet.log)));
        group.finish();
    }
}

criterion_group! { name = benches; config = criterion(); targets = parse }
criterion_main!(benches);
