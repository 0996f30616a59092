//! What loss recovery costs for each packet: sent, and acknowledged in batches.
//!
//! `cargo bench -p weir-quic --features measure --bench recovery`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_core::congestion::Algorithm;
use weir_quic::measure::RecoveryLine;

const PACKETS: u64 = 100_000;

fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("recovery");
    group.throughput(Throughput::Elements(PACKETS));
    group.sample_size(10);
    group.warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(3));
    for algorithm in Algorithm::ALL {
        for (batch, lag) in [(50, 200), (2, 200), (50, 20_000)] {
            let name = format!("{algorithm}/ack of {batch}, {lag} in flight");
            let mut line = RecoveryLine::new(algorithm);
            line.run(2 * PACKETS, batch, lag);
            let memory = line.memory();
            group.bench_function(name, |b| {
                b.iter(|| black_box(line.run(PACKETS, batch, lag)))
            });
            // Once the rings have their size nothing is allocated.
            assert_eq!(line.memory(), memory);
        }
    }
    group.finish();
}

criterion_group!(benches, recovery);
criterion_main!(benches);
