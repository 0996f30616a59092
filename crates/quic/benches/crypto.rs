//! What packet protection costs for each packet: sealed and opened in place, header protection
//! included, and header protection alone.
//!
//! `cargo bench -p weir-quic --features measure --bench crypto`

#![allow(clippy::expect_used, reason = "a benchmark")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustls::CipherSuite;
use weir_quic::measure::{Maker, ProtectionLine};

const SUITES: [(&str, CipherSuite); 3] = [
    ("aes-128-gcm", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("aes-256-gcm", CipherSuite::TLS13_AES_256_GCM_SHA384),
    (
        "chacha20-poly1305",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
];
/// What fits Ethernet, and what a loopback interface takes.
const SIZES: [usize; 2] = [1452, 65_000];
/// Packets at once: a batch that stays in the cache.
const BATCH: usize = 16;

/// One of the three things that are measured.
type Work = fn(&mut ProtectionLine, &mut [u8]) -> bool;

/// Time for `count` packets, made afresh for each batch, outside of the measurement. What is to be
/// opened is sealed first. One key is good for 2^23 packets, so there is a new one now and then.
fn time(
    maker: Maker,
    suite: CipherSuite,
    size: usize,
    count: u64,
    work: Work,
    sealed: bool,
) -> Duration {
    let new = || ProtectionLine::new(maker, suite, size).expect("a suite of QUIC");
    let mut line = new();
    let mut total = Duration::ZERO;
    let batches = count.div_ceil(BATCH as u64);
    for number in 0..batches {
        if number % 100_000 == 99_999 {
            line = new();
        }
        let mut batch = line.batch(BATCH);
        if sealed {
            assert!(line.seal(&mut batch));
        }
        let start = Instant::now();
        let done = work(&mut line, &mut batch);
        total += start.elapsed();
        assert!(done);
    }
    total.mul_f64(count as f64 / (batches * BATCH as u64) as f64)
}

fn protection(c: &mut Criterion) {
    let works: [(&str, Work, bool); 3] = [
        ("seal", |line, batch| line.seal(batch), false),
        ("open", |line, batch| line.open(batch), true),
        ("header", |line, batch| line.mask(batch), true),
    ];
    for (name, suite) in SUITES {
        for size in SIZES {
            let mut group = c.benchmark_group(format!("{name}/{size}"));
            group.throughput(Throughput::Bytes(size as u64));
            group.sample_size(10);
            group.warm_up_time(Duration::from_millis(200));
            group.measurement_time(Duration::from_millis(700));
            for (work_name, work, sealed) in works {
                for maker in [Maker::Rustls, Maker::Own] {
                    if size > 1452 && (work_name == "header" || maker == Maker::Own) {
                        continue;
                    }
                    group.bench_function(format!("{work_name}/{maker:?}"), |b| {
                        b.iter_custom(|count| time(maker, suite, size, count, work, sealed));
                    });
                }
            }
            group.finish();
        }
    }
}

criterion_group!(benches, protection);
criterion_main!(benches);
