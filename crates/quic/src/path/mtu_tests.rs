#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use weir_core::time::{Duration, Instant};

use super::mtu::Mtu;
use crate::limits::{BLACK_HOLE_HOLD, MTU_RAISE_AFTER};

const NOW: Instant = Instant::from_millis(5000);

/// A path whose search has begun.
fn begun(bound: u16) -> Mtu {
    let mut mtu = Mtu::new(bound);
    mtu.start(NOW);
    mtu
}

/// Runs the search on a path that carries `carries` bytes; how many probes it took.
fn search(mtu: &mut Mtu, now: Instant, carries: u16) -> usize {
    let mut probes = 0;
    while let Some(size) = mtu.poll_probe(now) {
        probes += 1;
        assert!(probes < 100, "the search does not end");
        if size <= carries {
            mtu.on_probe_acked(now, size);
        } else {
            mtu.on_probe_lost(now, size);
        }
    }
    probes
}

// Q154: 1200 until a larger size is proven, and no probe before the handshake is through.
#[test]
fn nothing_over_1200_before_it_is_proven() {
    let mut mtu = Mtu::new(9000);
    assert_eq!(mtu.current(), 1200);
    assert_eq!(mtu.poll_probe(NOW), None);
    mtu.start(NOW);
    assert!(mtu.poll_probe(NOW).unwrap() > 1200);
    assert_eq!(mtu.current(), 1200, "asked is not proven");
}

// Q155: Ethernet's size in one probe.
#[test]
fn one_probe_reaches_ethernet() {
    let mut mtu = begun(1452);
    assert_eq!(mtu.poll_probe(NOW), Some(1452));
    assert!(mtu.on_probe_acked(NOW, 1452));
    assert_eq!(mtu.current(), 1452);
    assert!(
        !mtu.wants_probe(NOW + Duration::from_secs(86_400)),
        "nothing is left to gain"
    );
}

// Q155: loopback in a handful of round trips.
#[test]
fn loopback_takes_two_probes() {
    let mut mtu = begun(65_507);
    assert_eq!(search(&mut mtu, NOW, 65_507), 2);
    assert_eq!(mtu.current(), 65_507);
}

// Q155: whatever the path carries is found to within a sixty-fourth, or 16 bytes.
#[test]
fn any_size_is_found() {
    for (bound, carries) in [
        (65_507, 8952),
        (65_507, 1472),
        (1452, 1372),
        (1452, 1200),
        (9000, 4000),
    ] {
        let mut mtu = begun(bound);
        let probes = search(&mut mtu, NOW, carries);
        let got = mtu.current();
        assert!(
            got <= carries && carries - got <= 16.max(got >> 6),
            "{carries}: {got}"
        );
        assert!(probes <= 40, "{carries}: {probes} probes");
    }
}

// Q155: at most one probe is on its way (RFC 8899 section 3).
#[test]
fn one_probe_at_a_time() {
    let mut mtu = begun(1452);
    let size = mtu.poll_probe(NOW).unwrap();
    assert_eq!(mtu.poll_probe(NOW), None);
    mtu.on_probe_lost(NOW, size);
    assert!(mtu.poll_probe(NOW).is_some());
}

// Q155, RFC 8899 5.1.2: a size is given up after three losses, not before.
#[test]
fn three_losses_refuse_a_size() {
    let mut mtu = begun(1452);
    for _ in 0..3 {
        assert_eq!(mtu.poll_probe(NOW), Some(1452));
        mtu.on_probe_lost(NOW, 1452);
    }
    let next = mtu.poll_probe(NOW).unwrap();
    assert!(next < 1452 && next > 1200, "{next}");
}

// RFC 8899 5.1.2: an acknowledgement sets the count of losses back.
#[test]
fn losses_count_for_one_size() {
    let mut mtu = begun(65_507);
    let mut last = 0;
    for size in [1452, 65_507] {
        assert_eq!(mtu.poll_probe(NOW), Some(size));
        mtu.on_probe_lost(NOW, size);
        assert_eq!(mtu.poll_probe(NOW), Some(size), "asked again");
        mtu.on_probe_acked(NOW, size);
        last = size;
    }
    assert_eq!(mtu.current(), last);
}

// Q155, RFC 8899 5.1.1: after ten minutes a finished search begins anew.
#[test]
fn the_raise_timer() {
    let mut mtu = begun(9000);
    search(&mut mtu, NOW, 1452);
    assert_eq!(mtu.current(), 1452);
    let almost = NOW + MTU_RAISE_AFTER - Duration::from_millis(1);
    assert!(!mtu.wants_probe(almost));
    search(&mut mtu, NOW + MTU_RAISE_AFTER, 9000);
    assert_eq!(mtu.current(), 9000);
}

// Q155, RFC 8899 4.3: three flights lose what is large, while small packets arrive.
#[test]
fn a_black_hole_is_found() {
    let mut mtu = begun(1452);
    search(&mut mtu, NOW, 1452);
    mtu.on_acked(10, 1452);
    assert!(!mtu.on_lost(NOW, 11, 1452, 20));
    assert!(!mtu.on_lost(NOW, 12, 1452, 20));
    assert!(!mtu.on_lost(NOW, 21, 1452, 30));
    assert_eq!(mtu.current(), 1452);
    assert!(mtu.on_lost(NOW, 31, 1452, 40));
    assert_eq!(mtu.current(), 1200);
    assert!(!mtu.wants_probe(NOW), "not at once again");
    assert!(mtu.wants_probe(NOW + BLACK_HOLE_HOLD));
}

// A queue that overflows drops many large packets of one flight: no black hole.
#[test]
fn a_burst_of_losses_is_no_black_hole() {
    let mut mtu = begun(1452);
    search(&mut mtu, NOW, 1452);
    for packet in 0..1000 {
        assert!(!mtu.on_lost(NOW, packet, 1452, 1000));
    }
    // A large one that arrives proves the size, also against losses told later.
    for flight in 1..20 {
        assert!(!mtu.on_lost(NOW, 1000 * flight + 1, 1452, 1000 * (flight + 1)));
        mtu.on_acked(1000 * flight + 500, 1452);
        assert!(!mtu.on_lost(NOW, 1000 * flight + 499, 1452, 1000 * (flight + 1)));
    }
    assert_eq!(mtu.current(), 1452);
}

// Small packets that are lost or arrive say nothing of large ones.
#[test]
fn small_packets_do_not_count() {
    let mut mtu = begun(1452);
    search(&mut mtu, NOW, 1452);
    for flight in 0..3 {
        mtu.on_acked(10 * flight + 5, 1200);
        let fell = mtu.on_lost(NOW, 10 * flight + 1, 1452, 10 * flight + 9);
        assert_eq!(fell, flight == 2, "acknowledged small ones change nothing");
    }
    search(&mut mtu, NOW + BLACK_HOLE_HOLD, 1452);
    for packet in 0..100 {
        assert!(!mtu.on_lost(NOW, 100 + packet, 1200, 100 + packet));
    }
    assert_eq!(mtu.current(), 1452);
}

// Q155: time-outs in a row, with nothing arriving, are a sign too.
#[test]
fn repeated_time_outs_fall_back() {
    let mut mtu = begun(1452);
    search(&mut mtu, NOW, 1452);
    assert!(!mtu.on_pto(NOW, 2));
    assert!(mtu.on_pto(NOW, 3));
    assert_eq!(mtu.current(), 1200);
    assert!(!mtu.on_pto(NOW, 4), "it cannot fall further");
}

// Q155: every further black hole makes the next search wait twice as long, up to the raise timer.
#[test]
fn black_holes_slow_the_search() {
    let mut mtu = begun(1452);
    let mut now = NOW;
    let mut hold = BLACK_HOLE_HOLD;
    for _ in 0..12 {
        search(&mut mtu, now, 1452);
        assert!(mtu.on_pto(now, 3));
        assert!(!mtu.wants_probe(now + hold - Duration::from_millis(1)));
        assert!(mtu.wants_probe(now + hold));
        now += hold;
        hold = (hold * 2).min(MTU_RAISE_AFTER);
    }
}

// A probe that was sent before a black hole was found proves nothing after it.
#[test]
fn a_stale_probe_proves_nothing() {
    let mut mtu = begun(65_507);
    assert_eq!(mtu.poll_probe(NOW), Some(1452));
    mtu.on_probe_acked(NOW, 1452);
    let size = mtu.poll_probe(NOW).unwrap();
    assert!(mtu.on_pto(NOW, 3));
    assert!(!mtu.on_probe_acked(NOW, size));
    assert_eq!(mtu.current(), 1200);
}

// Q156: believed only when it lowers, and never below 1200 (RFC 9000 14.2.1).
#[test]
fn icmp_hints() {
    let mut mtu = begun(9000);
    search(&mut mtu, NOW, 9000);
    assert!(!mtu.on_verified_too_big(NOW, 1199));
    assert!(!mtu.on_verified_too_big(NOW, 0));
    assert!(!mtu.on_verified_too_big(NOW, 9000));
    assert!(!mtu.on_verified_too_big(NOW, 20_000));
    assert_eq!(mtu.current(), 9000);
    assert!(mtu.on_verified_too_big(NOW, 1400));
    assert_eq!(mtu.current(), 1400);
    assert!(!mtu.wants_probe(NOW), "what is larger was refused");
    assert!(mtu.wants_probe(NOW + MTU_RAISE_AFTER), "but not for ever");
}

// Q156: a hint that names a size between what is proven and what is asked shortens the search.
#[test]
fn an_icmp_hint_guides_the_search() {
    let mut mtu = begun(9000);
    assert_eq!(mtu.poll_probe(NOW), Some(1452));
    mtu.on_probe_acked(NOW, 1452);
    assert_eq!(mtu.poll_probe(NOW), Some(9000));
    assert!(!mtu.on_verified_too_big(NOW, 1480));
    assert_eq!(mtu.current(), 1452);
    assert_eq!(mtu.poll_probe(NOW), Some(1472));
    mtu.on_probe_acked(NOW, 1472);
    assert!(!mtu.wants_probe(NOW));
}

// Q157
#[test]
fn the_peers_limit_is_kept() {
    let mut mtu = Mtu::new(9000);
    assert!(!mtu.set_peer_max(NOW, 1300));
    mtu.start(NOW);
    assert_eq!(mtu.poll_probe(NOW), Some(1300));
    mtu.on_probe_acked(NOW, 1300);
    assert!(!mtu.wants_probe(NOW + MTU_RAISE_AFTER));
    assert_eq!(mtu.current(), 1300);
}

// Q157: learnt while a larger size is in use, or on its way.
#[test]
fn a_limit_learnt_late() {
    let mut mtu = begun(9000);
    search(&mut mtu, NOW, 9000);
    assert!(mtu.set_peer_max(NOW, 1350));
    assert_eq!(mtu.current(), 1350);
    let mut mtu = begun(9000);
    assert_eq!(mtu.poll_probe(NOW), Some(1452));
    mtu.set_peer_max(NOW, 1350);
    assert!(!mtu.on_probe_acked(NOW, 1452));
    assert_eq!(mtu.current(), 1200);
    assert_eq!(mtu.poll_probe(NOW), Some(1350));
}

// Never below 1200, whatever is configured or announced.
#[test]
fn never_below_1200() {
    let mut mtu = begun(500);
    assert_eq!(mtu.current(), 1200);
    mtu.set_peer_max(NOW, 0);
    mtu.set_bound(NOW, 0);
    assert_eq!((mtu.current(), mtu.wants_probe(NOW)), (1200, false));
}

// The driver learns that the interface carries more: the search goes on at once.
#[test]
fn the_bound_can_be_raised() {
    let mut mtu = begun(1452);
    search(&mut mtu, NOW, 65_507);
    assert_eq!(mtu.current(), 1452);
    assert!(!mtu.set_bound(NOW, 65_507));
    assert_eq!(mtu.poll_probe(NOW), Some(65_507));
    mtu.on_probe_acked(NOW, 65_507);
    assert_eq!(mtu.current(), 65_507);
    assert!(mtu.set_bound(NOW, 9000), "and lowered");
    assert_eq!(mtu.current(), 9000);
}

proptest! {
    // Q154, Q157: under any events the size is within its bounds, and only grows to what a probe
    // of that size proved.
    #[test]
    fn invariants(
        bound in 0u16.., peer in 1200u64..70_000,
        steps in proptest::collection::vec((0u8..8, 0u16..), 0..200),
    ) {
        let mut mtu = begun(bound);
        mtu.set_peer_max(NOW, peer);
        let mut now = NOW;
        let mut proven = 1200;
        let mut number = 0;
        for (action, value) in steps {
            number += 1;
            let probe = mtu.poll_probe(now);
            if let Some(size) = probe {
                prop_assert!(size > mtu.current());
                prop_assert!(u64::from(size) <= peer && size <= bound.max(1200));
            }
            match (action, probe) {
                (0..=2, Some(size)) => { mtu.on_probe_acked(now, size); proven = proven.max(size); }
                (3, Some(size)) => mtu.on_probe_lost(now, size),
                (4, _) => { mtu.on_verified_too_big(now, value); }
                (5, _) => { mtu.on_lost(now, number, value, number); }
                (6, _) => { mtu.on_pto(now, u32::from(value % 5)); }
                _ => now += Duration::from_secs(u64::from(value % 900)),
            }
            prop_assert!(mtu.current() >= 1200 && mtu.current() <= proven);
        }
    }
}
