//! What a packet's worth of stream data costs in the buffers on both ends.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_core::buf::{Assembler, Chunks, SendBuffer};

const PIECE: u64 = 1400;
const BATCH: u64 = 64;

/// Written in large pieces or small ones, copied into packets, acknowledged a batch later.
fn send(c: &mut Criterion) {
    let mut group = c.benchmark_group("send buffer");
    group.throughput(Throughput::Elements(BATCH));
    let large = Bytes::from(vec![7; 64 << 10]);
    for (name, piece) in [("64 KiB shared", 64 << 10), ("200 B copied", 200)] {
        let mut chunks = Chunks::new(1 << 20);
        let mut buffer = SendBuffer::default();
        let mut out = Vec::with_capacity((BATCH * PIECE) as usize);
        group.bench_function(name, |b| {
            b.iter(|| {
                while buffer.unsent() < BATCH * PIECE {
                    buffer.append(large.slice(..piece), &mut chunks);
                }
                out.clear();
                let acknowledged = buffer.base();
                for _ in 0..BATCH {
                    let range = buffer.next_range(u64::MAX);
                    let range = range.start..range.end.min(range.start + PIECE);
                    buffer.copy_range(range.clone(), &mut out);
                    buffer.on_sent(&range);
                }
                for packet in 0..BATCH {
                    let from = acknowledged + packet * PIECE;
                    black_box(buffer.on_acked(from..from + PIECE, &mut chunks));
                }
            });
        });
    }
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    let mut out = Vec::with_capacity((BATCH * PIECE) as usize);
    group.bench_function("every fourth lost once", |b| {
        b.iter(|| {
            while buffer.unsent() < BATCH * PIECE {
                buffer.append(large.clone(), &mut chunks);
            }
            out.clear();
            let first = buffer.next();
            let sent = |packet| first + packet * PIECE..first + (packet + 1) * PIECE;
            for packet in 0..BATCH {
                buffer.copy_range(sent(packet), &mut out);
                buffer.on_sent(&sent(packet));
            }
            for packet in (0..BATCH).filter(|packet| packet % 4 != 3) {
                black_box(buffer.on_acked(sent(packet), &mut chunks));
            }
            for packet in (3..BATCH).step_by(4) {
                buffer.on_lost(sent(packet));
                let range = buffer.next_range(u64::MAX);
                buffer.copy_range(range.clone(), &mut out);
                buffer.on_sent(&range);
                black_box(buffer.on_acked(range, &mut chunks));
            }
        });
    });
    group.finish();
}

/// A batch of packets put together and read as it comes.
fn assemble(c: &mut Criterion) {
    let mut group = c.benchmark_group("assembler");
    group.throughput(Throughput::Elements(BATCH));
    let data = vec![7; PIECE as usize];
    let in_order: Vec<u64> = (0..BATCH).collect();
    let first_last: Vec<u64> = (1..BATCH).chain([0]).collect();
    let swapped: Vec<u64> = (0..BATCH).map(|packet| packet ^ 1).collect();
    for (name, order) in [
        ("in order", in_order),
        ("the first comes last", first_last),
        ("each two swapped", swapped),
    ] {
        let mut chunks = Chunks::new(1 << 20);
        let mut assembler = Assembler::new(0, u64::MAX);
        let mut from = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                for packet in &order {
                    let _new = assembler.insert(from + packet * PIECE, &data, &mut chunks);
                }
                from += BATCH * PIECE;
                while let Some(bytes) = assembler.read(usize::MAX, &mut chunks) {
                    black_box(bytes.len());
                }
            });
        });
    }
    let mut chunks = Chunks::new(1 << 20);
    let mut assembler = Assembler::new(0, u64::MAX);
    let mut from = 0;
    group.throughput(Throughput::Elements(2 * BATCH));
    group.bench_function("single bytes, every second first", |b| {
        b.iter(|| {
            for at in (1..2 * BATCH).step_by(2).chain((0..2 * BATCH).step_by(2)) {
                let _new = assembler.insert(from + at, &[7], &mut chunks);
            }
            from += 2 * BATCH;
            while assembler.read(usize::MAX, &mut chunks).is_some() {}
        });
    });
    group.finish();
}

criterion_group!(benches, send, assemble);
criterion_main!(benches);
