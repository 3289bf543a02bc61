//! What it costs to write the rows of an answer as a part, and to read them again: 150 processes of one host, and 3000 users of
//! 100 hosts of which most are the same rows.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::answer::{End, Held, Start, Verdict, Version};
use erstwhile_engine::row::{Row, RowBuilder};
use erstwhile_wire::part::{Entries, Part};
use std::hint::black_box;
use std::sync::Arc;

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn row(columns: usize, number: usize) -> Row {
    let mut builder = RowBuilder::new();
    for column in 0..columns {
        builder.column(format!("column_{column:02}").as_bytes(), format!("{number}-{column}-text").as_bytes());
    }
    builder.row()
}

fn held(host: &Name, stream: &Name, row: Row) -> Held {
    let version = Version {
        host: host.clone(),
        stream: stream.clone(),
        row,
        count: 1,
        from: 1_500_000_000,
        from_after: Some(1_499_999_000),
        to: None,
        to_after: None,
        start: Start::Seen,
        end: End::Open,
        verified: true,
    };
    let (before, after) = (Some(1_500_000_500), Some(1_500_001_000));
    Held { version: Arc::new(version), verdict: Verdict::Definite, before, after }
}

fn encoded(rows: &[Held], out: &mut Vec<u8>) {
    out.clear();
    let mut entries = Entries::default();
    rows.iter().for_each(|held| entries.push(held));
    entries.encode(out);
}

fn parts(c: &mut Criterion) {
    let name = |text: &str| Name::from(text.as_bytes());
    let (host, stream) = (name("web-1"), name("pack_processes"));
    let one: Vec<Held> = (0..150).map(|at| held(&host, &stream, row(24, at))).collect();
    let shared: Vec<Row> = (0..30).map(|at| row(9, at)).collect();
    let many: Vec<Held> = (0..100)
        .flat_map(|at| {
            let host = name(&format!("host-{at}"));
            shared.iter().map(|row| held(&host, &stream, row.clone())).collect::<Vec<Held>>()
        })
        .collect();
    for (title, rows) in [("150 processes", one), ("3000 users", many)] {
        let mut out = Vec::new();
        encoded(&rows, &mut out);
        let mut group = c.benchmark_group(title);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function("write", |b| b.iter(|| encoded(black_box(&rows), &mut out)));
        group.bench_function("read", |b| b.iter(|| Part::decode(black_box(&out))));
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
