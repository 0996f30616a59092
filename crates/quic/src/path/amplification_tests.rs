#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::events::Arrival;
use super::set::PathSet;
use super::testing::{Bench, NOW, at, cid, config};
use crate::recovery::PathLookup as _;
use crate::wire::Side;

/// A server whose client has sent nothing yet.
fn unvalidated() -> PathSet {
    PathSet::new(NOW, at(1, 1000), false, cid(0), config(Side::Server))
}

// Q58: three times what came, to the byte.
#[test]
fn three_times_what_came() {
    let mut set = unvalidated();
    let path = set.active();
    assert_eq!(set.send_allowance(path), 0);
    assert_eq!(set.on_datagram(at(1, 1000), 1200), Arrival::Known(path));
    assert_eq!(set.send_allowance(path), 3600);
    set.on_datagram_sent(path, 3599);
    assert_eq!(set.send_allowance(path), 1);
    set.on_datagram_sent(path, 1);
    assert_eq!(set.send_allowance(path), 0);
    let _known = set.on_datagram(at(1, 1000), 1);
    assert_eq!(set.send_allowance(path), 3);
}

// Q58: a Handshake packet, or a token, proves the address (RFC 9000 8.1).
#[test]
fn validation_lifts_the_limit() {
    let mut set = unvalidated();
    let path = set.active();
    set.validate(path);
    assert_eq!(set.send_allowance(path), u64::MAX);
    let set = PathSet::new(NOW, at(1, 1000), true, cid(0), config(Side::Server));
    assert_eq!(set.send_allowance(set.active()), u64::MAX, "by a token");
}

// RFC 9000 8.1: a client is limited by congestion control only.
#[test]
fn a_client_is_not_limited() {
    let set = PathSet::new(NOW, at(1, 1000), false, cid(0), config(Side::Client));
    assert_eq!(set.send_allowance(set.active()), u64::MAX);
}

// Q58, Q105: a new address of the client has a limit of its own, whatever the old one has.
#[test]
fn a_new_address_begins_anew() {
    let mut bench = Bench::new(Side::Server, 4);
    let path = bench.packet(at(2, 2000), 100, 1, false, 1).unwrap();
    assert_eq!(bench.active(), at(2, 2000));
    assert_eq!(bench.set.send_allowance(path), 300);
}

// Q58, Q105: also when only the port changes, and all else is kept.
#[test]
fn another_port_begins_anew() {
    let mut bench = Bench::new(Side::Server, 4);
    let _path = bench.packet(at(1, 2000), 100, 1, false, 0).unwrap();
    assert_eq!(bench.active(), at(1, 2000));
    assert_eq!(bench.set.send_allowance(bench.set.active()), 300);
}

// A path that does not exist may not be sent on at all.
#[test]
fn nothing_goes_to_an_unknown_path() {
    let set = unvalidated();
    assert_eq!(set.send_allowance(super::PathId(77)), 0);
}

// Q58: a challenge that does not fit is not sent, one that does but not at 1200 bytes is not
// expanded.
#[test]
fn probes_keep_the_limit() {
    let mut bench = Bench::new(Side::Server, 4);
    let path = bench.packet(at(2, 2000), 24, 1, false, 1).unwrap();
    assert_eq!(bench.set.send_allowance(path), 72);
    let to_new = |probes: &[(_, super::Probe)]| probes.iter().any(|(addr, _)| *addr == at(2, 2000));
    assert!(!to_new(&bench.probes()), "72 bytes may not be enough");
    let _known = bench.packet(at(2, 2000), 29, 2, false, 1);
    let probes = bench.probes();
    assert!(to_new(&probes), "a PING more is");
    assert!(
        probes
            .iter()
            .all(|(addr, probe)| probe.expand == (*addr != at(2, 2000)))
    );
}

proptest! {
    // Q58: however receiving and sending alternate over however many addresses, no address that is
    // not validated gets more than three times what came from it.
    #[test]
    fn never_passed_by_a_byte(steps in proptest::collection::vec((0u8..3, 0u8..6, 1usize..70_000), 0..200)) {
        let mut bench = Bench::new(Side::Server, 5);
        let mut counts = std::collections::HashMap::<_, (u64, u64)>::new();
        for (number, (action, host, bytes)) in steps.into_iter().enumerate() {
            let addr = at(100 + host % 3, 1000 + u16::from(host));
            match action {
                0 => {
                    let known = bench.set.iter().any(|path| path.addr == addr);
                    if !known {
                        counts.remove(&addr);
                    }
                    if bench.packet(addr, bytes, number as u64, bytes % 2 == 0, u64::from(host)).is_some() {
                        counts.entry(addr).or_default().0 += bytes as u64;
                    }
                }
                1 => {
                    // A sender that fills what it may.
                    let paths: Vec<_> = bench.set.iter().map(|path| (path.id, path.addr)).collect();
                    for (path, addr) in paths {
                        let datagram = bench.set.send_allowance(path).min(bytes as u64);
                        bench.set.on_datagram_sent(path, usize::try_from(datagram).unwrap());
                        counts.entry(addr).or_default().1 += datagram;
                    }
                }
                _ => for (addr, probe) in bench.probes() {
                    counts.entry(addr).or_default().1 += if probe.expand { 1200 } else { 73 };
                },
            }
            for path in bench.set.iter().filter(|path| !path.is_validated()) {
                let (received, sent) = counts.get(&path.addr).copied().unwrap_or_default();
                prop_assert!(sent <= 3 * received, "{sent} for {received}");
                prop_assert_eq!(bench.set.send_allowance(path.id), 3 * received - sent);
            }
        }
    }
}
