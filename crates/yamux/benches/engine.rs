//! What the engine costs by itself: two sessions in memory, no carrier but a copy.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark fails by panic"
)]

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::io::IoSlice;
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_yamux::wire::{Flags, FrameType, Header};
use weir_yamux::{Config, Half, Input, Key, Role, Session, TransmitBuf};

/// One end with what a driver keeps for it.
struct Node {
    session: Session,
    batch: TransmitBuf,
    wire: BytesMut,
}

impl Node {
    fn new(role: Role, budget: &Budget) -> Node {
        let config = Config::default();
        let session = Session::new(role, config, budget, rng_from_seed(1), Instant::ZERO).unwrap();
        Node {
            session,
            batch: TransmitBuf::new(),
            wire: BytesMut::new(),
        }
    }

    /// Moves everything that is ready to the other end, as one read each batch.
    fn carry(&mut self, now: Instant, to: &mut Node) {
        while self.session.poll_transmit(now, &mut self.batch) {
            self.wire.reserve(self.batch.len());
            while !self.batch.is_empty() {
                let mut slices = [IoSlice::new(&[]); 64];
                let count = self.batch.fill_slices(&mut slices);
                let written = slices.iter().take(count).map(|slice| slice.len()).sum();
                for slice in slices.iter().take(count) {
                    self.wire.extend_from_slice(slice);
                }
                self.batch.advance(written);
            }
            let input = Input::Data(self.wire.split().freeze());
            to.session.handle_input(now, input);
        }
    }

    fn drop_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            black_box(event);
        }
    }

    fn release(&mut self, now: Instant, key: Key) {
        self.session.release(now, key, Half::Send);
        self.session.release(now, key, Half::Recv);
    }
}

struct Pair {
    now: Instant,
    client: Node,
    server: Node,
}

impl Pair {
    fn new() -> Pair {
        let budget = Budget::root("process", 1 << 30);
        Pair {
            now: Instant::ZERO,
            client: Node::new(Role::Client, &budget),
            server: Node::new(Role::Server, &budget),
        }
    }

    fn exchange(&mut self) {
        self.now += Duration::from_micros(50);
        self.client.carry(self.now, &mut self.server);
        self.server.carry(self.now, &mut self.client);
        self.client.carry(self.now, &mut self.server);
        self.client.drop_events();
        self.server.drop_events();
    }

    /// `count` streams at once: open, a question and an answer of `size` bytes, close.
    fn round(&mut self, keys: &mut Vec<Key>, count: usize, question: &Bytes) {
        let now = self.now;
        keys.clear();
        for _ in 0..count {
            let key = self.client.session.open(now).unwrap();
            if !question.is_empty() {
                self.client
                    .session
                    .write(now, key, &mut question.clone())
                    .unwrap();
            }
            self.client.session.finish(now, key);
            keys.push(key);
        }
        self.client.carry(now, &mut self.server);
        self.server.drop_events();
        while let Some(key) = self.server.session.accept(now) {
            while let Ok(Some(mut bytes)) = self.server.session.read(now, key, usize::MAX) {
                self.server.session.write(now, key, &mut bytes).unwrap();
            }
            self.server.session.finish(now, key);
            self.server.release(now, key);
        }
        self.server.carry(now, &mut self.client);
        self.client.drop_events();
        for key in keys.iter() {
            while let Ok(Some(bytes)) = self.client.session.read(now, *key, usize::MAX) {
                black_box(bytes);
            }
            self.client.release(now, *key);
        }
        self.now += Duration::from_micros(50);
    }
}

fn headers(criterion: &mut Criterion) {
    let header = Header {
        kind: FrameType::Data,
        flags: Flags::SYN,
        stream_id: 77,
        length: 65_536,
    };
    criterion.bench_function("header encode", |b| b.iter(|| black_box(header).encode()));
    let bytes = header.encode();
    criterion.bench_function("header decode", |b| {
        b.iter(|| Header::decode(black_box(&bytes)))
    });
}

fn lives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream lives, both ends");
    for (name, count, size) in [
        ("open and close, 100 at a time", 100, 0),
        ("1 KiB question and answer, 100 at a time", 100, 1024),
        ("1 KiB question and answer, 1 at a time", 1, 1024),
    ] {
        let mut pair = Pair::new();
        let mut keys = Vec::new();
        let question = Bytes::from(vec![7; size]);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |b| b.iter(|| pair.round(&mut keys, count, &question)));
    }
    group.finish();
}

/// Streams that each send a piece, read at once. The pieces of many are small, so that the copy that
/// stands for the carrier stays in the cache.
fn bulk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bulk, both ends");
    for (name, count, idle, size) in [
        ("one stream, 64 KiB", 1, 0, 64 * 1024),
        ("1,000 streams, 1 KiB each", 1_000, 0, 1024),
        (
            "one stream beside 10,000 idle ones, 64 KiB",
            1,
            10_000,
            64 * 1024,
        ),
    ] {
        let mut pair = Pair::new();
        let mut streams = Vec::new();
        for _ in 0..count + idle {
            let ours = pair.client.session.open(pair.now).unwrap();
            pair.exchange();
            let theirs = pair.server.session.accept(pair.now).unwrap();
            pair.exchange();
            streams.push((ours, theirs));
        }
        streams.truncate(count);
        let piece = Bytes::from(vec![7; size]);
        group.throughput(Throughput::Bytes((count * piece.len()) as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                for (ours, _) in &streams {
                    let mut bytes = piece.clone();
                    pair.client
                        .session
                        .write(pair.now, *ours, &mut bytes)
                        .unwrap();
                }
                pair.exchange();
                for (_, theirs) in &streams {
                    while let Ok(Some(bytes)) =
                        pair.server.session.read(pair.now, *theirs, usize::MAX)
                    {
                        black_box(bytes);
                    }
                }
                pair.exchange();
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(core::time::Duration::from_millis(300))
        .measurement_time(core::time::Duration::from_secs(1));
    targets = headers, lives, bulk
}
criterion_main!(benches);
