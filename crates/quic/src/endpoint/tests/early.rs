//! 0-RTT packets that overtake their Initial (RFC 9000 section 17.2.3).

use super::*;
use crate::limits::{EARLY_LIFETIME, MAX_EARLY_BYTES, MAX_EARLY_DATAGRAMS, MAX_HELD_PER_ATTEMPT};

// Q55
#[test]
fn early_data_that_overtakes_its_initial_is_handed_on_behind_it() {
    let mut bench = Bench::server();
    let initial = Initial::new();
    let early = zero_rtt(&initial.dcid, 300);
    bench.nothing(addr(1), &early);
    bench.nothing(addr(1), &zero_rtt(&cid(b"another1"), 300));
    bench.nothing(addr(2), &zero_rtt(&initial.dcid, 100));
    assert_eq!(
        (bench.endpoint.held_bytes(), bench.stats().early_kept),
        (700, 3)
    );
    let incoming = bench.incoming(addr(1), &initial.bytes());
    let admitted = bench.endpoint.router.admit(&incoming).unwrap();
    let held: Vec<_> = admitted
        .held
        .iter()
        .map(|held| held.data.to_vec())
        .collect();
    assert_eq!(held, [initial.bytes(), early], "from its address alone");
    assert_eq!(bench.endpoint.held_bytes(), 300, "the other's");
}

// Q55: bounded by attempt, by number, by bytes and by time.
#[test]
fn early_data_is_bounded() {
    let mut bench = Bench::server();
    for _ in 0..100 {
        bench.nothing(addr(1), &zero_rtt(&cid(b"one-dest"), 1200));
    }
    let of_attempt = MAX_HELD_PER_ATTEMPT / 1200 * 1200;
    assert_eq!(bench.endpoint.held_bytes(), of_attempt);
    for n in 0..1000u64 {
        bench.nothing(addr(1), &zero_rtt(&Initial::nth(n).dcid, 1200));
        assert!(bench.endpoint.held_bytes() <= MAX_EARLY_BYTES);
    }
    assert_eq!(bench.endpoint.held_bytes(), MAX_EARLY_BYTES / 1200 * 1200);
    for n in 0..1000u64 {
        bench.nothing(addr(1), &zero_rtt(&Initial::nth(n).dcid, 60));
    }
    assert_eq!(bench.endpoint.held_bytes(), MAX_EARLY_DATAGRAMS * 60);
    bench.now += EARLY_LIFETIME;
    bench.endpoint.handle_timeout(bench.now);
    bench.assert_empty();
}

// Q55: the newest push the oldest out.
#[test]
fn the_oldest_early_data_makes_room() {
    let mut bench = Bench::server();
    for n in 0..=MAX_EARLY_DATAGRAMS as u64 {
        bench.nothing(addr(1), &zero_rtt(&Initial::nth(n).dcid, 60));
    }
    let lost = bench.incoming(addr(1), &Initial::nth(0).bytes());
    assert_eq!(bench.endpoint.router.admit(&lost).unwrap().held.len(), 1);
    let kept = bench.incoming(addr(1), &Initial::nth(1).bytes());
    assert_eq!(bench.endpoint.router.admit(&kept).unwrap().held.len(), 2);
}

// A client that is sent a Retry sends its early data again.
#[test]
fn a_retry_lets_early_data_go() {
    let mut settings = config(8);
    settings.retry = RetryPolicy::Always;
    let mut bench = Bench::new(settings);
    let initial = Initial::new();
    bench.nothing(addr(1), &zero_rtt(&initial.dcid, 300));
    bench.reply(addr(1), &initial.bytes());
    bench.assert_empty();
}
