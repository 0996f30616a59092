//! What checksums, parsing and writing cost by themselves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark fails by panic"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_tcpip::wire::checksum;
use weir_tcpip::wire::tcp::{Flags, Header, Options, Segment, Timestamps};

fn header() -> Header {
    Header {
        src_port: 443,
        dst_port: 50_000,
        seq: 1,
        ack: 2,
        flags: Flags::ACK,
        window: 512,
        urgent: 0,
        options: Options {
            timestamps: Some(Timestamps { value: 7, echo: 8 }),
            ..Options::default()
        },
    }
}

fn sums(c: &mut Criterion) {
    let bytes: Vec<u8> = (0..65_536_u32).map(|at| at as u8).collect();
    let mut group = c.benchmark_group("checksum");
    for size in [20, 1460, 65_483] {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |b| {
            b.iter(|| checksum::sum(black_box(&bytes[..size])).finish());
        });
    }
    group.finish();
}

fn segments(c: &mut Criterion) {
    let mut bytes = Vec::new();
    header().write(&mut bytes);
    bytes.resize(1480, 5);
    c.bench_function("parse", |b| {
        b.iter(|| Segment::parse(black_box(&bytes)).unwrap())
    });
    let mut out = Vec::with_capacity(64);
    c.bench_function("write", |b| {
        b.iter(|| {
            out.clear();
            black_box(header()).write(&mut out);
            out.len()
        });
    });
}

criterion_group!(benches, sums, segments);
criterion_main!(benches);
