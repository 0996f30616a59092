//! Floods of strangers: service goes on, and memory stays where it is (Q171).

use super::*;
use crate::limits::{MAX_EARLY_BYTES, MAX_HELD_PER_SOURCE};
use weir_core::rng::{below, next_u64};

/// Whatever room the tables have asked for, in entries.
fn room(bench: &Bench) -> usize {
    let router = &bench.endpoint.router;
    router.tables.routes() + router.sources.len() + router.pending.len()
}

// Q171: Initials, all authentic, from random addresses with random IDs.
#[test]
fn a_flood_of_initials_fills_the_queue_and_no_more() {
    let mut settings = config(8);
    settings.retry = RetryPolicy::Above(50);
    settings.accept_backlog = 100;
    let mut bench = Bench::new(settings);
    let mut rng = rng_from_seed(11);
    let mut waiting = Vec::new();
    for _ in 0..3_000 {
        let from = addr(below(&mut rng, 1 << 24) as u32);
        let initial = Initial::nth(next_u64(&mut rng));
        match bench.receive(from, &initial.bytes()) {
            Handled::Incoming(incoming) => waiting.push(incoming),
            Handled::Reply(transmit) => assert!(transmit.len < 1200),
            Handled::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(waiting.len(), 50, "the threshold, then Retry");
    assert_eq!(bench.stats().retries, 2_950);
    assert_eq!(bench.endpoint.held_bytes(), 50 * 1200);
    assert_eq!(room(&bench), 150, "an attempt, its ID, its source");
    // An honest client still gets through.
    let honest = Initial::new();
    let answer = bench.reply(addr(1 << 25), &honest.bytes());
    let packet = Packet::parse(&answer, 8, FixedBit::Required).unwrap();
    let next = Initial {
        dcid: packet.scid,
        token: answer[packet.token].to_vec(),
        ..Initial::new()
    };
    assert!(bench.incoming(addr(1 << 25), &next.bytes()).is_validated());
    for incoming in waiting {
        bench.endpoint.ignore(incoming);
    }
}

// One source, many attempts: a few KiB, then it has to show that it is there.
#[test]
fn one_source_makes_it_hold_a_few_kib() {
    for policy in [RetryPolicy::Never, RetryPolicy::Above(1000)] {
        let mut settings = config(8);
        settings.retry = policy;
        let mut bench = Bench::new(settings);
        let mut rng = rng_from_seed(12);
        for n in 0..500 {
            // Any port, and any host of one network.
            let host = next_u64(&mut rng);
            let from = format!("[2001:db8::{:x}]:{}", host as u16, 1 + (host >> 48) / 2);
            let handled = bench.receive(from.parse().unwrap(), &Initial::nth(n).bytes());
            drop(handled);
            let _again = bench.receive(from.parse().unwrap(), &Initial::nth(n).bytes());
        }
        assert!(bench.endpoint.held_bytes() <= MAX_HELD_PER_SOURCE);
        assert!(bench.endpoint.held_bytes() > MAX_HELD_PER_SOURCE - 2 * 1200);
        let stats = bench.stats();
        match policy {
            RetryPolicy::Never => assert!(stats.closes > 100 && stats.retries == 0),
            _ => assert!(stats.retries > 100 && stats.closes == 0),
        }
    }
}

// Q171, C1: random datagrams of any size, and beginnings of QUIC with random ends.
#[test]
fn random_datagrams_leave_nothing() {
    let mut bench = Bench::server();
    let mut rng = rng_from_seed(13);
    for _ in 0..20_000 {
        let len = below(&mut rng, 1500) as usize;
        let mut datagram = random_bytes(&mut rng, len);
        if len > 8 && below(&mut rng, 2) == 0 {
            datagram[0] |= 0xc0;
            let version = [Version::V1, Version::V2][below(&mut rng, 2) as usize];
            datagram[1..5].copy_from_slice(&version.0.to_be_bytes());
            datagram[5] = below(&mut rng, 24) as u8;
        }
        let from = addr(below(&mut rng, 1 << 20) as u32);
        let handled = bench.receive(from, &datagram);
        assert!(matches!(handled, Handled::Nothing | Handled::Reply(_)));
        assert!(bench.endpoint.held_bytes() <= MAX_EARLY_BYTES);
        bench.now += weir_core::time::Duration::from_micros(50);
    }
    bench.now += weir_core::time::Duration::from_secs(60);
    bench.endpoint.handle_timeout(bench.now);
    bench.assert_empty();
}

// C4: attempts that come and go leave nothing, in memory either.
#[test]
fn attempts_that_come_and_go_leave_nothing() {
    let mut bench = Bench::server();
    let stays = bench.incoming(addr(0), &Initial::nth(0).bytes());
    for n in 1..2_000u64 {
        let incoming = bench.incoming(addr(n as u32), &Initial::nth(n).bytes());
        let router = &mut bench.endpoint.router;
        let admitted = router.admit(&incoming).unwrap();
        router.on_validated(admitted.key);
        router.on_drained(admitted.key);
        assert!(router.pending.expiry_len() <= 100, "the queue of times");
        assert_eq!(router.tables.routes(), 1);
        assert_eq!(admitted.key.index(), 0, "places are used again");
    }
    bench.endpoint.ignore(stays);
    bench.assert_empty();
}

// C8: whatever comes, never more than three times what came goes back, datagram by datagram.
// (`Bench::receive` asserts it.) Here for every size there is.
#[test]
fn no_answer_is_longer_than_three_times_its_question() {
    let mut settings = config(8);
    settings.accept_backlog = 1;
    let mut bench = Bench::new(settings);
    let _waiting = bench.incoming(addr(0), &Initial::nth(0).bytes());
    let mut answers = 0;
    for size in (1200..1500).chain(21..60) {
        for datagram in [
            short(&cid(b"gone-now"), size),
            Initial {
                size: size.max(1200),
                ..Initial::nth(size as u64)
            }
            .bytes(),
        ] {
            let from = addr(size as u32);
            answers += u32::from(matches!(bench.receive(from, &datagram), Handled::Reply(_)));
        }
    }
    assert!(answers > 600, "{answers}");
}

// Q171, C8: what one source is asked for its address in a second is bounded, at five microseconds each.
#[test]
fn retries_are_rate_limited() {
    let mut settings = config(8);
    settings.retry = RetryPolicy::Always;
    let mut bench = Bench::new(settings);
    let most = u64::from(crate::limits::RATE_RETRY.per_source);
    let initial = Initial::new().bytes();
    for _ in 0..most + 100 {
        let _ = bench.receive(addr(1), &initial);
    }
    let stats = bench.stats();
    assert!(
        stats.retries <= most && stats.rate_limited >= 100,
        "{stats:?}"
    );
    bench.assert_empty();
}
