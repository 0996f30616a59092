#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use super::events::{Arrival, PathError, PathEvent};
use super::set::PathSet;
use super::state::Path;
use super::testing::{Bench, NOW, at, cid, config, from};
use crate::cid::{LocalCids, RandomCids, RemoteCids};
use crate::crypto::ResetKey;
use crate::limits::{IDLE_PATH_LINGER, MAX_CANDIDATE_PATHS, MAX_IDLE_PATHS};
use crate::recovery::PathLookup as _;
use crate::transmit::PathAddr;
use crate::wire::Side;

// Q114: a client does not even look at datagrams from a server address that it does not know.
#[test]
fn a_client_drops_what_comes_from_elsewhere() {
    let mut bench = Bench::new(Side::Client, 4);
    assert_eq!(bench.set.on_datagram(at(1, 1001), 1200), Arrival::Refused);
    assert_eq!(bench.set.on_datagram(at(2, 1000), 1200), Arrival::Refused);
    assert_eq!(bench.set.admit(NOW, at(2, 1000), 1200, 0), None);
    assert_eq!(bench.set.iter().count(), 1);
}

// RFC 9000 9: addresses are stable until the handshake is confirmed.
#[test]
fn no_new_address_during_the_handshake() {
    let mut set = PathSet::new(NOW, at(1, 1000), false, cid(0), config(Side::Server));
    assert_eq!(set.on_datagram(at(1, 1001), 1200), Arrival::Refused);
    set.on_handshake_confirmed(NOW);
    assert_eq!(set.on_datagram(at(1, 1001), 1200), Arrival::Unknown);
}

// Where the system does not tell which of our addresses a datagram came to, the peer's decides.
#[test]
fn an_unknown_local_address_matches_any() {
    let mut set = PathSet::new(
        NOW,
        PathAddr::to(at(1, 1000).remote),
        true,
        cid(0),
        config(Side::Client),
    );
    assert!(matches!(
        set.on_datagram(at(1, 1000), 50),
        Arrival::Known(_)
    ));
    assert!(matches!(
        set.on_datagram(from(9, 1, 1000), 50),
        Arrival::Known(_)
    ));
}

// A datagram that is not authentic makes no path, however many addresses it claims to be from.
#[test]
fn spoofed_datagrams_make_no_state() {
    let mut bench = Bench::new(Side::Server, 4);
    for port in 2000..12_000 {
        assert_eq!(bench.set.on_datagram(at(9, port), 1200), Arrival::Unknown);
    }
    assert_eq!(bench.set.iter().count(), 1);
}

// RFC 9000 9.3.2, Q105: copies of genuine packets from many spoofed addresses take each other's
// places, not those of the path in use, of the one to go back to, or of one that is validated.
#[test]
fn spoofed_copies_evict_only_each_other() {
    let mut bench = Bench::new(Side::Server, 5);
    let standby = bench.probe(at(3, 3000), 1).unwrap();
    bench.answer(at(3, 3000));
    let _moved = bench.data(at(2, 2000), 2).unwrap();
    for port in 4000..5000 {
        let spoofed = bench.probe(at(9, port), 3).unwrap();
        bench.set.on_challenge(spoofed, [1; 8]);
        bench.probes();
        assert!(bench.set.iter().count() <= 3 + MAX_CANDIDATE_PATHS);
    }
    assert_eq!(bench.active(), at(2, 2000));
    assert!(bench.set.get(standby).is_some());
    assert!(bench.set.iter().any(|path| path.addr == at(1, 1000)));
    let ended = bench
        .events()
        .iter()
        .filter(|event| matches!(event, PathEvent::Ended(_)))
        .count();
    assert_eq!(ended, 1000 - MAX_CANDIDATE_PATHS);
}

// Q105: also when each copy moves the connection.
#[test]
fn spoofed_moves_keep_the_validated_path() {
    let mut bench = Bench::new(Side::Server, 5);
    for port in 4000..4500 {
        let _path = bench.data(at(9, port), 0);
        assert!(bench.set.iter().count() <= 2 + MAX_CANDIDATE_PATHS);
        assert!(bench.set.iter().any(|path| path.addr == at(1, 1000)));
        while bench.set.poll_event().is_some() {}
    }
    bench.run_until(NOW + std::time::Duration::from_secs(60));
    assert_eq!(bench.active(), at(1, 1000));
}

// A peer that validates one address after the other does not fill the set.
#[test]
fn validated_paths_are_bounded() {
    let mut bench = Bench::new(Side::Server, 5);
    for host in 2..60 {
        let _path = bench.probe(at(host, 2000), 1).unwrap();
        bench.answer(at(host, 2000));
        assert!(bench.set.iter().count() <= 1 + MAX_IDLE_PATHS + MAX_CANDIDATE_PATHS);
    }
    assert_eq!(bench.active(), at(1, 1000));
}

// RFC 9000 5.1.2: a path that is not used ends, and its connection ID is retired.
#[test]
fn idle_paths_end() {
    let mut bench = Bench::new(Side::Server, 5);
    let path = bench.probe(at(2, 2000), 1).unwrap();
    bench.answer(at(2, 2000));
    let used = bench.set.get(path).unwrap().remote_cid.unwrap();
    bench.run_until(NOW + IDLE_PATH_LINGER);
    assert!(bench.set.get(path).is_none());
    assert!(bench.events().contains(&PathEvent::Ended(path)));
    assert_eq!(bench.set.remote_cids.poll_retire(), Some(used));
}

// Q98: the connection ID of the path in use is retired by the peer: the next packet has another.
#[test]
fn a_retired_connection_id_is_replaced_on_its_path() {
    let mut bench = Bench::new(Side::Server, 0);
    let active = bench.set.active();
    assert_eq!(bench.set.remote_cid(active), Some(cid(0)));
    let token = crate::cid::ResetToken::new([3; 16]);
    bench.set.remote_cids.on_new(1, 1, cid(1), token).unwrap();
    assert_eq!(bench.set.remote_cid(active), Some(cid(1)));
    assert_eq!(bench.set.remote_cids.poll_retire(), Some(0));
}

// Q102: towards a peer without connection IDs every path uses none.
#[test]
fn zero_length_connection_ids_serve_all_paths() {
    let mut bench = Bench::new(Side::Server, 0);
    bench.set.remote_cids = RemoteCids::new(crate::wire::ConnectionId::EMPTY);
    let path = bench.data(at(2, 2000), 1).unwrap();
    assert_eq!(
        bench.set.remote_cid(path),
        Some(crate::wire::ConnectionId::EMPTY)
    );
    bench.answer(at(2, 2000));
    assert_eq!(bench.active(), at(2, 2000));
}

// Only a client can open paths, and only once the handshake is confirmed (RFC 9000 9).
#[test]
fn who_may_move() {
    let mut server = Bench::new(Side::Server, 4);
    assert_eq!(
        server.set.probe_new(NOW, from(2, 1, 1000)),
        Err(PathError::NotClient)
    );
    let mut set = PathSet::new(NOW, at(1, 1000), true, cid(0), config(Side::Client));
    assert_eq!(
        set.probe_new(NOW, from(2, 1, 1000)),
        Err(PathError::NotConfirmed)
    );
    assert_eq!(
        set.local_address_changed(NOW, from(2, 1, 1000)),
        Err(PathError::NotConfirmed)
    );
}

// What an idle connection with one path holds, with all connection IDs both ways.
#[test]
fn an_idle_connection_is_small() {
    let mut bench = Bench::new(Side::Server, 5);
    bench.data(at(2, 2000), 1);
    bench.answer(at(2, 2000));
    bench.run_until(NOW + IDLE_PATH_LINGER);
    bench.events();
    bench.set.release_memory();
    let mut local = LocalCids::new(
        NOW,
        cid(9),
        Arc::new(RandomCids::new(8).unwrap()),
        Arc::new(ResetKey::new(&[1; 32])),
    );
    local.set_peer_limit(8);
    while local.poll_issue(NOW, &mut bench.rng).is_some() {}
    let bytes = bench.set.memory() + size_of::<LocalCids>() + local.memory();
    let path = size_of::<Path>();
    assert!(
        bytes < 1664,
        "{bytes}, of which {path} are one path, {} local",
        local.memory()
    );
}

// A flood of all that makes state leaves no more behind than the caps allow.
#[test]
fn memory_stays_bounded_under_a_flood() {
    let mut bench = Bench::new(Side::Server, 5);
    for port in 2000..6000 {
        if let Some(path) = bench.data(at(9, port), u64::from(port % 3)) {
            (0..8).for_each(|number| bench.set.on_challenge(path, [number; 8]));
        }
        while bench.set.poll_event().is_some() {}
        assert!(bench.set.memory() < 16 * 1024, "{}", bench.set.memory());
    }
}
