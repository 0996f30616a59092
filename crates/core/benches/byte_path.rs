//! What stands on the way of a byte: each of these is passed once a frame or once a read.

#![allow(
    clippy::indexing_slicing,
    reason = "a benchmark indexes what it made itself"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weir_core::budget::{Budget, Share};
use weir_core::buf::Pool;
use weir_core::idmap::IdMap;
use weir_core::ranges::{RangeSet, WhenFull};
use weir_core::rng::{below, rng_from_seed};
use weir_core::sched::{Priority, Scheduler};
use weir_core::slab::{Key, Slab};
use weir_core::time::{Duration, Instant};
use weir_core::timer::Wheel;
use weir_core::trace::{Direction, FlagList, FrameEvent, Tracer};
use weir_core::window::{RecvWindow, SendWindow, WindowConfig};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A frame of 16 KiB through both windows, with the charges it causes.
fn window(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(1));
    let config = WindowConfig::new(256 * KIB, 16 * MIB);
    for (name, grown, block) in [
        ("frame, initial window", false, 0),
        ("frame, initial window, budget in blocks", false, 64 * KIB),
        ("frame, grown window", true, 0),
    ] {
        let process = Budget::root("process", 512 * MIB);
        let session = process.child("endpoint", 512 * MIB);
        let session = session.child_in_blocks("session", 64 * MIB, block);
        let mut share = Share::default();
        let (mut send, mut recv) = (SendWindow::new(256 * KIB), RecvWindow::new(256 * KIB));
        if grown {
            assert!(recv.raise(8 * MIB, &config, &session, &mut share));
        }
        let mut now = Instant::ZERO;
        group.bench_function(name, |b| {
            b.iter(|| {
                now += Duration::from_micros(100);
                let rtt = Some(Duration::from_micros(50));
                let credit = recv.poll_update(now, rtt, &config, &session, &mut share);
                let _granted = send.grant(credit.unwrap_or(0));
                let _sent = black_box(send.consume(16 * KIB));
                let _received = black_box(recv.on_received(16 * KIB));
                let _charged = black_box(recv.charge(&session, &mut share));
                recv.on_consumed(16 * KIB);
            });
        });
    }
    group.finish();
}

fn sched(c: &mut Criterion) {
    let mut group = c.benchmark_group("sched");
    group.throughput(Throughput::Elements(1));
    for streams in [1usize, 100, 10_000] {
        let mut queue = Scheduler::new();
        for index in 0..streams as u32 {
            let key = Key {
                index,
                generation: 1,
            };
            queue.push(key, Priority::default());
        }
        group.bench_function(format!("turn, {streams} streams"), |b| {
            b.iter(|| {
                if let Some((key, priority)) = black_box(queue.pop()) {
                    black_box(queue.competitors(priority.urgency));
                    queue.requeue(key, priority);
                }
            });
        });
    }
    group.finish();
}

/// From a peer's id to the stream, and a stream's life.
fn tables(c: &mut Criterion) {
    let mut group = c.benchmark_group("tables");
    group.throughput(Throughput::Elements(1));
    for streams in [10u32, 10_000] {
        let mut slab = Slab::new();
        let mut ids = IdMap::new(&mut rng_from_seed(1));
        for id in 0..streams {
            ids.insert(id * 2 + 1, slab.insert([0u64; 30]));
        }
        let mut rng = rng_from_seed(2);
        let wanted: Vec<u32> = (0..4096)
            .map(|_| below(&mut rng, u64::from(streams)) as u32 * 2 + 1)
            .collect();
        let mut at = 0;
        group.bench_function(format!("id to stream, {streams} streams"), |b| {
            b.iter(|| {
                at = (at + 1) % wanted.len();
                let key = ids.get(wanted[at]).copied();
                black_box(
                    key.and_then(|key| slab.get_mut(key))
                        .map(|stream| stream[0] += 1),
                )
            });
        });
        let mut next = streams * 2 + 1;
        group.bench_function(format!("open and close beside {streams}"), |b| {
            b.iter(|| {
                next = next.wrapping_add(2);
                ids.insert(next, slab.insert([0u64; 30]));
                ids.remove(next).and_then(|key| slab.remove(key))
            });
        });
    }
    group.finish();
}

/// A read of 64 KiB, cut into slices of which the reader keeps some for a while.
fn buf(c: &mut Criterion) {
    let mut group = c.benchmark_group("buf");
    let data = vec![7u8; 64 * 1024];
    for (name, lag) in [("read at once", 0usize), ("reader lags by 32 reads", 32)] {
        let pool = Pool::default();
        let mut buf = pool.reader();
        let mut held = std::collections::VecDeque::new();
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                // One byte stands for the read: the copy of a real one is the kernel's.
                let spare = buf.spare(64 * 1024);
                spare.extend_from_slice(&data[..1]);
                held.push_back(buf.take());
                if held.len() > lag {
                    held.pop_front();
                }
            });
        });
        assert!(buf.allocations() <= 64, "{buf:?}");
    }
    group.throughput(Throughput::Bytes(100));
    group.finish();
}

fn ranges(c: &mut Criterion) {
    let mut group = c.benchmark_group("ranges");
    group.throughput(Throughput::Elements(1));
    group.bench_function("insert in order", |b| {
        let mut set = RangeSet::with_policy(64, WhenFull::EvictLowest);
        let mut next = 0;
        b.iter(|| {
            next += 1;
            black_box(set.insert_one(next))
        });
    });
    group.bench_function("insert with every 100th missing for a while", |b| {
        let mut set = RangeSet::with_policy(64, WhenFull::EvictLowest);
        let mut next = 0;
        b.iter(|| {
            next += 1;
            if next % 100 != 0 {
                black_box(set.insert_one(next));
            } else if next > 3000 {
                black_box(set.insert_one(next - 3000));
            }
        });
    });
    group.bench_function("worst case: every second one, 64 ranges", |b| {
        let mut set = RangeSet::with_policy(64, WhenFull::EvictLowest);
        let mut next = 0;
        b.iter(|| {
            next += 2;
            black_box(set.insert_one(next))
        });
    });
    group.finish();
}

fn rest(c: &mut Criterion) {
    let mut group = c.benchmark_group("rest");
    group.bench_function("trace a frame to nobody", |b| {
        let mut tracer = Tracer::off();
        b.iter(|| {
            tracer.emit_frame(Instant::ZERO, || FrameEvent {
                direction: Direction::Sent,
                family: "bench",
                stream: 1,
                kind: "Data",
                flags: FlagList::EMPTY,
                length: 5,
                send_window: None,
                recv_window: None,
            });
        });
    });
    group.bench_function("move one of 10,000 timers", |b| {
        let mut wheel = Wheel::new(Duration::from_millis(1), Instant::ZERO);
        let keys: Vec<Key> = (0..10_000u64)
            .map(|n| wheel.insert(Instant::from_millis(n), n))
            .collect();
        let mut at = 0u64;
        b.iter(|| {
            at += 1;
            let key = keys[(at % 10_000) as usize];
            black_box(wheel.reset(key, Instant::from_millis(10_000 + at)))
        });
    });
    group.bench_function("10,000 timers go off", |b| {
        let set = || {
            let mut wheel = Wheel::new(Duration::from_millis(1), Instant::ZERO);
            for n in 0..10_000u64 {
                wheel.insert(Instant::from_millis(n * 7919 % 60_000), n);
            }
            wheel
        };
        let go_off = |mut wheel: Wheel<u64>| {
            while wheel.pop_expired(Instant::from_millis(60_000)).is_some() {}
            wheel
        };
        b.iter_batched(set, go_off, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, window, sched, tables, buf, ranges, rest);
criterion_main!(benches);
