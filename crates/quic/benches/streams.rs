//! What streams cost for each packet and for each request, without packets around them.
//!
//! `cargo bench -p weir-quic --features measure --bench streams`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_quic::measure::StreamsLine;

const PACKETS: usize = 64 * 100;
const REQUESTS: usize = 64 * 20;

fn streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("streams");
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(PACKETS as u64));
    for count in [1, 100] {
        let mut line = StreamsLine::new(count);
        line.send(4 * PACKETS);
        group.bench_function(format!("packets written, {count} streams"), |b| {
            b.iter(|| black_box(line.send(PACKETS)));
        });
        // In the steady state nothing is allocated for a packet.
        let made = allocation_counter::measure(|| {
            black_box(line.send(PACKETS));
        });
        assert!(made.count_total < 16, "{made:?} for {PACKETS} packets");
        let mut line = StreamsLine::new(count);
        line.transfer(4 * PACKETS);
        group.bench_function(format!("packets carried over, {count} streams"), |b| {
            b.iter(|| black_box(line.transfer(PACKETS)));
        });
        let made = allocation_counter::measure(|| {
            black_box(line.transfer(PACKETS));
        });
        assert!(made.count_total < 16, "{made:?} for {PACKETS} packets");
    }
    group.throughput(Throughput::Elements(REQUESTS as u64));
    let mut line = StreamsLine::new(0);
    line.requests(4 * REQUESTS);
    group.bench_function("requests of 1 KiB and answers, 64 at a time", |b| {
        b.iter(|| black_box(line.requests(REQUESTS)));
    });
    let made = allocation_counter::measure(|| {
        black_box(line.requests(REQUESTS));
    });
    assert!(
        made.count_total < 2 * REQUESTS as u64,
        "{made:?} for {REQUESTS} requests"
    );
    assert_eq!(line.open_streams(), 0);
    group.finish();
}

criterion_group!(benches, streams);
criterion_main!(benches);
