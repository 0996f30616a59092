#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::PathId;
use super::events::{Arrival, PathError, PathEvent};
use super::sizes::PROBE_AFTER;
use super::testing::{Bench, INITIAL_PTO, NOW, at, config, from, ms, remote};
use crate::limits::IDLE_PATH_LINGER;
use crate::recovery::PathLookup as _;
use crate::wire::Side;

/// A connection whose path has a round trip time of 40 ms.
fn measured(side: Side, cids: u64) -> Bench {
    let mut bench = Bench::new(side, cids);
    bench
        .set
        .recovery(bench.set.active())
        .unwrap()
        .rtt
        .update(ms(40), ms(0));
    bench
}

fn smoothed(bench: &Bench) -> Option<std::time::Duration> {
    bench.set.active_rtt().smoothed()
}

// Q108
#[test]
fn a_non_probing_packet_moves_the_path() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.data(at(1, 1000), 0);
    bench.data(at(2, 2000), 1);
    assert_eq!(bench.active(), at(2, 2000));
    let moved = PathEvent::Migrated {
        old: at(1, 1000),
        new: at(2, 2000),
    };
    assert_eq!(bench.events(), [moved]);
}

// Q108
#[test]
fn a_probing_packet_moves_nothing() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.data(at(1, 1000), 0);
    bench.probe(at(2, 2000), 1);
    assert_eq!(bench.active(), at(1, 1000));
}

// Q108: a packet that was overtaken does not move the path, nor does it back.
#[test]
fn an_older_packet_moves_nothing() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.packet(at(1, 1000), 1200, 10, false, 0);
    bench.packet(at(2, 2000), 1200, 9, false, 1);
    assert_eq!(bench.active(), at(1, 1000));
    bench.packet(at(2, 2000), 1200, 11, false, 1);
    assert_eq!(bench.active(), at(2, 2000));
    bench.packet(at(1, 1000), 1200, 8, false, 0);
    assert_eq!(bench.active(), at(2, 2000));
    bench.packet(at(1, 1000), 1200, 12, false, 0);
    assert_eq!(
        bench.active(),
        at(1, 1000),
        "RFC 9000 9.3.3: the peer is here after all"
    );
}

// Q105, Q111: the new path and the one that was left are challenged (RFC 9000 9.3.3).
#[test]
fn both_paths_are_challenged() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.data(at(2, 2000), 1);
    let mut to: Vec<_> = bench
        .challenges()
        .into_iter()
        .map(|(addr, _)| addr)
        .collect();
    to.sort_by_key(|addr| addr.remote);
    assert_eq!(to, [at(1, 1000), at(2, 2000)]);
}

// Q105: the new address does not answer: back to the last validated one (RFC 9000 9.3.2).
#[test]
fn back_when_the_new_path_fails() {
    let mut bench = measured(Side::Server, 4);
    bench.data(at(2, 2000), 1);
    let failed = bench.set.active();
    bench.events();
    bench.run_until(NOW + INITIAL_PTO * 3);
    assert_eq!(bench.active(), at(1, 1000));
    assert_eq!(smoothed(&bench), Some(ms(40)), "with what was known of it");
    assert_eq!(bench.set.send_allowance(bench.set.active()), u64::MAX);
    let events = bench.events();
    let fell_back_to = Some(at(1, 1000));
    assert!(events.contains(&PathEvent::ValidationFailed {
        addr: at(2, 2000),
        fell_back_to
    }));
    assert!(events.contains(&PathEvent::Migrated {
        old: at(2, 2000),
        new: at(1, 1000)
    }));
    assert!(events.contains(&PathEvent::Ended(failed)));
    assert_eq!(bench.set.iter().count(), 1);
}

// Q105: through several unvalidated addresses, the last validated one is remembered.
#[test]
fn back_over_several_failures() {
    let mut bench = Bench::new(Side::Server, 5);
    bench.data(at(2, 2000), 1);
    bench.data(at(3, 3000), 2);
    bench.data(at(4, 4000), 3);
    assert_eq!(bench.active(), at(4, 4000));
    bench.run_until(NOW + INITIAL_PTO * 4);
    assert_eq!(bench.active(), at(1, 1000));
    assert_eq!(bench.set.iter().count(), 1);
}

// Q105: a path that was validated lasts; the old one ends, and its connection ID is retired.
#[test]
fn a_validated_move_lasts() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.data(at(2, 2000), 1);
    bench.answer(at(2, 2000));
    bench.run_until(NOW + IDLE_PATH_LINGER);
    assert_eq!(bench.active(), at(2, 2000));
    assert_eq!(bench.set.iter().count(), 1);
    assert_eq!(bench.set.remote_cids.poll_retire(), Some(0));
    assert_eq!(bench.set.timeout(), None);
}

// Q105: a path that was validated before is used without asking again (RFC 9000 9.3).
#[test]
fn a_path_tried_before_needs_no_validation() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.probe(at(2, 2000), 1);
    bench.answer(at(2, 2000));
    bench.data(at(2, 2000), 1);
    assert_eq!(bench.active(), at(2, 2000));
    assert_eq!(bench.set.send_allowance(bench.set.active()), u64::MAX);
    assert!(
        bench
            .challenges()
            .iter()
            .all(|(addr, _)| *addr == at(1, 1000))
    );
}

// RFC 9000 9.3.2: no path is left that was ever validated.
#[test]
fn no_viable_path() {
    let mut set = super::set::PathSet::new(
        NOW,
        at(1, 1000),
        false,
        super::testing::cid(0),
        config(Side::Server),
    );
    set.on_handshake_confirmed(NOW);
    let token = crate::cid::ResetToken::new([1; 16]);
    set.remote_cids
        .on_new(1, 0, super::testing::cid(1), token)
        .unwrap();
    let path = set.admit(NOW, at(2, 2000), 1200, 1).unwrap();
    set.on_packet(NOW, path, 1, false, 1);
    set.on_timeout(NOW + INITIAL_PTO * 3);
    let events: Vec<_> = std::iter::from_fn(|| set.poll_event()).collect();
    assert!(events.contains(&PathEvent::NoViablePath), "{events:?}");
}

// Q109: to a client that moves with a new connection ID we send with a new one.
#[test]
fn a_move_uses_new_connection_ids() {
    let mut bench = Bench::new(Side::Server, 4);
    let old = bench.set.remote_cid(bench.set.active()).unwrap();
    let path = bench.data(at(2, 2000), 1).unwrap();
    let new = bench.set.remote_cid(path).unwrap();
    assert_ne!(old, new);
    bench.probes();
    let left = bench
        .set
        .iter()
        .find(|path| path.addr == at(1, 1000))
        .unwrap()
        .id;
    assert_eq!(
        bench.set.remote_cid(left),
        Some(old),
        "each path keeps its own"
    );
}

// Q109, RFC 9000 9.5: a NAT rebinding keeps the client's connection ID, and may keep ours: a server
// without an unused one can still answer.
#[test]
fn a_rebinding_needs_no_new_connection_id() {
    let mut bench = Bench::new(Side::Server, 0);
    let old = bench.set.remote_cid(bench.set.active()).unwrap();
    let _path = bench.data(at(2, 2000), 0);
    assert_eq!(bench.set.remote_cid(bench.set.active()), Some(old));
    bench.answer(at(2, 2000));
    bench.run_until(NOW + IDLE_PATH_LINGER);
    assert_eq!(bench.set.iter().count(), 1);
    assert_eq!(bench.set.remote_cid(bench.set.active()), Some(old));
    assert!(!bench.set.remote_cids.wants_retire(), "it is still in use");
}

// Q109: a move with a new connection ID waits for ours to have a new one, too.
#[test]
fn no_reuse_on_a_move() {
    let mut bench = Bench::new(Side::Server, 0);
    let path = bench.data(at(2, 2000), 1).unwrap();
    assert_eq!(bench.set.remote_cid(path), None);
    bench.give_cid(1);
    assert_eq!(bench.set.remote_cid(path), Some(super::testing::cid(1)));
}

// Q110: another host, another path: round trip and window begin anew.
#[test]
fn another_host_resets_congestion() {
    let mut bench = measured(Side::Server, 4);
    bench.set.recovery(bench.set.active()).unwrap().in_flight = 50_000;
    bench.data(at(2, 1000), 1);
    assert_eq!(smoothed(&bench), None);
    let active = bench.set.active();
    assert_eq!(bench.set.recovery(active).unwrap().in_flight, 0);
}

// Q110: another port, most likely a NAT: all is kept, and what is in flight is found again.
#[test]
fn another_port_keeps_congestion() {
    let mut bench = measured(Side::Server, 4);
    let before = bench.set.active();
    bench.set.recovery(before).unwrap().in_flight = 50_000;
    bench.set.on_datagram_sent(before, PROBE_AFTER as usize);
    bench.set.poll_mtu_probe(NOW).unwrap();
    bench.set.on_mtu_probe_acked(NOW, before, 1452);
    bench.data(at(1, 1001), 0);
    assert_eq!(bench.active(), at(1, 1001));
    assert_eq!(smoothed(&bench), Some(ms(40)));
    assert_eq!(bench.set.active(), before, "the number goes with it");
    assert_eq!(bench.set.recovery(before).unwrap().in_flight, 50_000);
    assert_eq!(bench.set.max_datagram(before), 1452);
    assert!(
        bench.set.send_allowance(before) <= 3600,
        "but the address has to be validated"
    );
}

// Q110: and comes back when the new port was not the peer's.
#[test]
fn a_failed_port_gives_congestion_back() {
    let mut bench = measured(Side::Server, 4);
    let before = bench.set.active();
    bench.data(at(1, 1001), 0);
    bench.run_until(NOW + INITIAL_PTO * 4);
    assert_eq!((bench.active(), bench.set.active()), (at(1, 1000), before));
    assert_eq!(smoothed(&bench), Some(ms(40)));
}

// Q112: we sent disable_active_migration: a client that moves on purpose is not followed, a
// rebinding is.
#[test]
fn disabled_migration_still_follows_a_rebinding() {
    let mut bench = Bench::with(
        super::set::PathConfig {
            migration: false,
            ..config(Side::Server)
        },
        4,
    );
    assert_eq!(bench.data(at(2, 2000), 1), None);
    assert_eq!((bench.active(), bench.set.iter().count()), (at(1, 1000), 1));
    assert!(bench.data(at(3, 3000), 0).is_some());
    assert_eq!(bench.active(), at(3, 3000));
}

// Q112: the server sent it: nothing goes out from another address of ours.
#[test]
fn a_client_respects_disabled_migration() {
    let mut bench = Bench::new(Side::Client, 4);
    bench.peer_limits(true);
    assert_eq!(
        bench.set.probe_new(NOW, from(2, 1, 1000)),
        Err(PathError::Disabled)
    );
    assert_eq!(
        bench.set.local_address_changed(NOW, from(2, 1, 1000)),
        Err(PathError::Disabled)
    );
    assert!(bench.probes().is_empty());
}

// Q109, RFC 9000 9.1: a client tries a path with a connection ID of its own, and stays.
#[test]
fn probing_does_not_move() {
    let mut bench = Bench::new(Side::Client, 4);
    let path = bench.set.probe_new(NOW, from(2, 1, 1000)).unwrap();
    assert_ne!(
        bench.set.remote_cid(path),
        bench.set.remote_cid(bench.set.active())
    );
    assert_eq!(bench.set.probe_new(NOW, from(2, 1, 1000)), Ok(path));
    bench.answer(from(2, 1, 1000));
    assert_eq!(bench.active(), at(1, 1000));
    bench.run_until(NOW + IDLE_PATH_LINGER * 10);
    assert!(
        bench.set.get(path).is_some(),
        "it stands by until it is wanted"
    );
    bench.set.migrate_to(NOW, path).unwrap();
    assert_eq!(bench.active(), from(2, 1, 1000));
    assert_eq!(smoothed(&bench), None, "Q110");
}

// RFC 9000 9.1: without an unused connection ID there is no probing.
#[test]
fn probing_needs_a_connection_id() {
    let mut bench = Bench::new(Side::Client, 0);
    assert_eq!(
        bench.set.probe_new(NOW, from(2, 1, 1000)),
        Err(PathError::NoConnectionId)
    );
    let mut bench = Bench::new(Side::Client, 5);
    let opened = (2..20).filter(|local| bench.set.probe_new(NOW, from(*local, 1, 1000)).is_ok());
    assert_eq!(opened.count(), crate::limits::MAX_CANDIDATE_PATHS);
    assert_eq!(
        bench.set.probe_new(NOW, from(30, 1, 1000)),
        Err(PathError::TooManyPaths)
    );
}

// RFC 9000 9.5: towards zero-length connection IDs no migration is begun.
#[test]
fn no_migration_towards_zero_length() {
    let mut bench = Bench::new(Side::Client, 0);
    bench.set.remote_cids = crate::cid::RemoteCids::new(crate::wire::ConnectionId::EMPTY);
    let refused = bench.set.probe_new(NOW, from(2, 1, 1000));
    assert_eq!(refused, Err(PathError::ZeroLengthConnectionId));
}

// Q114: a client moves only to addresses that the server gave.
#[test]
fn only_to_the_servers_addresses() {
    let mut bench = Bench::new(Side::Client, 4);
    let elsewhere = bench.set.probe_new(NOW, at(2, 1000));
    assert_eq!(elsewhere, Err(PathError::UnknownServerAddress));
    assert_eq!(
        bench.set.migrate_to(NOW, PathId(9)),
        Err(PathError::UnknownPath)
    );
}

// RFC 9000 9.2: a client may move at once, and goes back if the path does not work.
#[test]
fn a_client_goes_back() {
    let mut bench = measured(Side::Client, 4);
    let path = bench.set.probe_new(NOW, from(2, 1, 1000)).unwrap();
    bench.set.migrate_to(NOW, path).unwrap();
    assert_eq!(bench.active(), from(2, 1, 1000));
    assert_eq!(
        bench.set.send_allowance(path),
        u64::MAX,
        "the server's address is known"
    );
    bench.run_until(NOW + INITIAL_PTO * 3);
    assert_eq!(bench.active(), at(1, 1000));
    assert_eq!(smoothed(&bench), Some(ms(40)));
}

// The client's address changed under it: a new connection ID, everything measured anew, the old
// path gone; the server is asked again and again until the network is there.
#[test]
fn the_local_address_changed() {
    let mut bench = measured(Side::Client, 4);
    let old = bench.set.active();
    let before = bench.set.remote_cid(old).unwrap();
    let path = bench
        .set
        .local_address_changed(NOW, from(2, 1, 1000))
        .unwrap();
    assert_eq!(
        (bench.active(), bench.set.iter().count()),
        (from(2, 1, 1000), 1)
    );
    assert_ne!(bench.set.remote_cid(path), Some(before));
    assert_eq!(smoothed(&bench), None);
    assert!(bench.events().contains(&PathEvent::Ended(old)));
    assert_eq!(bench.set.remote_cids.poll_retire(), Some(0));
    assert!(bench.run_until(NOW + INITIAL_PTO * 20).len() > 10);
    assert_eq!(bench.active(), from(2, 1, 1000));
    assert!(!bench.events().contains(&PathEvent::NoViablePath));
    bench.now += INITIAL_PTO * 3;
    bench.set.on_timeout(bench.now);
    bench.answer(from(2, 1, 1000));
    assert!(bench.set.active_path().unwrap().is_validated());
}

// A socket bound to all addresses looks the same before and after.
#[test]
fn the_same_address_can_be_a_new_path() {
    let mut bench = measured(Side::Client, 4);
    let old = bench.set.active();
    let path = bench.set.local_address_changed(NOW, at(1, 1000)).unwrap();
    assert_ne!(old, path);
    assert!(
        matches!(bench.set.on_datagram(at(1, 1000), 50), Arrival::Known(known) if known == path)
    );
}

// Q113: the client tries the preferred address of its family, and uses it once it answers.
#[test]
fn a_client_moves_to_the_preferred_address() {
    let mut bench = Bench::new(Side::Client, 0);
    bench.give_cid(1);
    bench.set.set_preferred(Some(remote(7, 7000)), None);
    bench.set.on_handshake_confirmed(NOW);
    assert_eq!(bench.active(), at(1, 1000), "not before it is validated");
    assert!(matches!(
        bench.set.on_datagram(at(7, 7000), 1200),
        Arrival::Known(_)
    ));
    bench.answer(at(7, 7000));
    assert_eq!(bench.active(), at(7, 7000));
    assert_eq!(
        bench.set.remote_cid(bench.set.active()),
        Some(super::testing::cid(1))
    );
}

// Q113: it does not answer: the connection stays where it is (RFC 9000 9.6.1).
#[test]
fn a_dead_preferred_address_is_left_alone() {
    let mut bench = Bench::new(Side::Client, 4);
    bench.set.set_preferred(Some(remote(7, 7000)), None);
    bench.set.on_handshake_confirmed(NOW);
    bench.run_until(NOW + INITIAL_PTO * 4);
    assert_eq!((bench.active(), bench.set.iter().count()), (at(1, 1000), 1));
    assert_eq!(bench.set.on_datagram(at(7, 7000), 1200), Arrival::Refused);
}

// Q113: an address of the other family is not for this path.
#[test]
fn a_preferred_address_of_the_other_family() {
    let mut bench = Bench::new(Side::Client, 4);
    bench
        .set
        .set_preferred(None, Some("[2001:db8::7]:7000".parse().unwrap()));
    bench.set.on_handshake_confirmed(NOW);
    assert!(bench.probes().is_empty());
}

// Q112, Q113: disable_active_migration speaks of the handshake's address, not of the preferred one.
#[test]
fn after_the_preferred_address_the_client_may_move() {
    let mut bench = Bench::new(Side::Client, 4);
    bench.peer_limits(true);
    bench.set.set_preferred(Some(remote(7, 7000)), None);
    bench.set.on_handshake_confirmed(NOW);
    bench.answer(at(7, 7000));
    assert!(bench.set.probe_new(NOW, from(2, 7, 7000)).is_ok());
}

// Q113: the server answers from its first address until the client has shown itself at the other,
// and then stays there (RFC 9000 9.6.2).
#[test]
fn a_server_moves_to_its_preferred_address() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.data(at(1, 1000), 0);
    bench.data(from(2, 1, 1000), 1);
    assert_eq!(bench.active(), at(1, 1000));
    bench.answer(from(2, 1, 1000));
    assert_eq!(bench.active(), from(2, 1, 1000));
    bench.data(at(1, 1000), 0);
    assert_eq!(bench.active(), from(2, 1, 1000), "nothing moves it back");
}

// Q113: a client that has gone back in the meantime is not followed.
#[test]
fn a_later_packet_on_the_first_address_wins() {
    let mut bench = Bench::new(Side::Server, 4);
    bench.data(from(2, 1, 1000), 1);
    bench.data(at(1, 1000), 0);
    bench.answer(from(2, 1, 1000));
    assert_eq!(bench.active(), at(1, 1000));
}

// Q154, Q155: each path has a size of its own, and begins at 1200.
#[test]
fn sizes_are_per_path() {
    let mut bench = Bench::new(Side::Server, 4);
    // An exchange of a few packets gains nothing by larger ones.
    let active = bench.set.active();
    bench.set.on_datagram_sent(active, PROBE_AFTER as usize - 1);
    assert_eq!(bench.set.poll_mtu_probe(NOW), None);
    bench.set.on_datagram_sent(active, 1);
    let (first, size) = bench.set.poll_mtu_probe(NOW).unwrap();
    assert_eq!(size, 1452);
    bench.set.on_mtu_probe_acked(NOW, first, size);
    assert!(bench.events().contains(&PathEvent::MtuChanged {
        path: first,
        size: 1452
    }));
    let path = bench.data(at(2, 2000), 1).unwrap();
    assert_eq!(
        (bench.set.max_datagram(first), bench.set.max_datagram(path)),
        (1452, 1200)
    );
    assert_eq!(
        bench.set.poll_mtu_probe(NOW),
        None,
        "not before the path is validated"
    );
    bench.answer(at(2, 2000));
    bench.set.on_datagram_sent(path, PROBE_AFTER as usize);
    assert_eq!(bench.set.poll_mtu_probe(NOW), Some((path, 1452)));
}
