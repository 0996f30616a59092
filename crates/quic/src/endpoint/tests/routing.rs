//! Whose a datagram is (RFC 9000 section 5.2).

use super::*;
use crate::endpoint::lifecycle::Admitted;
use crate::limits::{INCOMING_LIFETIME, MAX_ATTEMPT_DATAGRAMS, MAX_HELD_PER_ATTEMPT};

fn admit(bench: &mut Bench, from: SocketAddr, initial: &Initial) -> Admitted {
    let incoming = bench.incoming(from, &initial.bytes());
    bench.endpoint.router.admit(&incoming).unwrap()
}

// Duplicates of a client's Initial, and all that follows it, belong to the one attempt.
#[test]
fn what_a_client_sends_before_it_is_accepted_is_kept_in_order() {
    let mut bench = Bench::server();
    let initial = Initial::new();
    let incoming = bench.incoming(addr(1), &initial.bytes());
    let early = zero_rtt(&initial.dcid, 700);
    bench.nothing(addr(1), &early);
    bench.nothing(addr(1), &initial.bytes());
    assert_eq!(bench.stats().incoming, 1);
    assert_eq!(bench.endpoint.held_bytes(), 1200 + 700 + 1200);
    let admitted = bench.endpoint.router.admit(&incoming).unwrap();
    let held: Vec<_> = admitted
        .held
        .iter()
        .map(|held| held.data.to_vec())
        .collect();
    assert_eq!(held, [initial.bytes(), early, initial.bytes()]);
    assert_eq!(bench.endpoint.held_bytes(), 0);
}

// The bound of an attempt: bytes, datagrams, and only from where it began.
#[test]
fn what_is_kept_of_an_attempt_is_bounded() {
    let mut bench = Bench::server();
    let initial = Initial::new();
    let _incoming = bench.incoming(addr(1), &initial.bytes());
    bench.nothing(addr(2), &initial.bytes());
    assert_eq!(bench.endpoint.held_bytes(), 1200);
    for _ in 0..100 {
        bench.nothing(addr(1), &initial.bytes());
    }
    let most = MAX_HELD_PER_ATTEMPT / 1200 * 1200;
    assert_eq!(bench.endpoint.held_bytes(), most);
    let other = Initial::nth(1);
    let _other = bench.incoming(addr(2), &other.bytes());
    for _ in 0..100 {
        bench.nothing(addr(2), &zero_rtt(&other.dcid, 50));
    }
    let most = most + 1200 + 50 * (MAX_ATTEMPT_DATAGRAMS - 1);
    assert_eq!(bench.endpoint.held_bytes(), most);
}

// An Initial that comes again, however late, begins nothing new.
#[test]
fn a_repeated_initial_goes_to_the_connection_that_it_began() {
    let mut bench = Bench::server();
    let initial = Initial::new();
    let admitted = admit(&mut bench, addr(1), &initial);
    assert_eq!(bench.connection(addr(1), &initial.bytes()), admitted.key);
    bench.endpoint.router.on_validated(admitted.key);
    assert_eq!(bench.connection(addr(1), &initial.bytes()), admitted.key);
    let to_local = Initial {
        dcid: admitted.local_cid,
        ..Initial::new()
    };
    assert_eq!(bench.connection(addr(9), &to_local.bytes()), admitted.key);
    bench.endpoint.router.on_drained(admitted.key);
    bench.assert_empty();
}

// Q8, Q98 (routing): each issued connection ID leads to its connection until it is retired.
#[test]
fn issued_connection_ids_are_routed_until_they_are_retired() {
    let mut bench = Bench::server();
    let one = admit(&mut bench, addr(1), &Initial::nth(1));
    let two = admit(&mut bench, addr(2), &Initial::nth(2));
    let (a, b) = (cid(b"local--a"), cid(b"local--b"));
    bench.endpoint.router.on_new_cid(one.key, a);
    bench.endpoint.router.on_new_cid(two.key, b);
    // A connection ID that another connection has is not taken away from it.
    bench.endpoint.router.on_new_cid(two.key, a);
    bench.endpoint.router.on_retired_cid(two.key, &a);
    for (dcid, key) in [(a, one.key), (b, two.key), (one.local_cid, one.key)] {
        assert_eq!(bench.connection(addr(7), &short(&dcid, 60)), key);
    }
    bench.endpoint.router.on_retired_cid(one.key, &a);
    let handled = bench.receive(addr(7), &short(&a, 60));
    assert!(matches!(handled, Handled::Reply(_)), "a reset");
    bench.endpoint.router.on_drained(one.key);
    bench.endpoint.router.on_drained(two.key);
    bench.assert_empty();
}

// A client cannot put a connection ID of its choice where another connection's packets are found.
#[test]
fn a_chosen_first_connection_id_does_not_take_packets_from_others() {
    let mut bench = Bench::server();
    let victim = admit(&mut bench, addr(1), &Initial::nth(1));
    let attack = Initial {
        dcid: victim.local_cid,
        ..Initial::nth(2)
    };
    assert_eq!(bench.connection(addr(2), &attack.bytes()), victim.key);
    // And one that is issued later is found among those issued.
    let attacker = admit(&mut bench, addr(2), &Initial::nth(3));
    let later = Initial::nth(3).dcid;
    bench.endpoint.router.on_new_cid(victim.key, later);
    assert_eq!(bench.connection(addr(1), &short(&later, 60)), victim.key);
    assert_ne!(attacker.key, victim.key);
}

// Q102
#[test]
fn connections_without_connection_ids_are_told_apart_by_address() {
    let mut settings = config(0);
    settings.server = None;
    let mut bench = Bench::new(settings);
    let mut keys = Vec::new();
    for n in 0..3 {
        let begun = bench.endpoint.router.begin(PathAddr::to(addr(n))).unwrap();
        assert!(begun.local_cid.is_empty() && begun.initial_dcid.len() >= 8);
        keys.push(begun.key);
    }
    for n in 0..3 {
        let from = addr(n);
        let key = keys[n as usize];
        assert_eq!(bench.connection(from, &[0x41; 40]), key);
        let handshake = Initial {
            dcid: ConnectionId::EMPTY,
            ..Initial::new()
        };
        assert_eq!(bench.connection(from, &handshake.bytes()), key);
    }
    // A second one to the same address could not be told from the first.
    assert!(bench.endpoint.router.begin(PathAddr::to(addr(1))).is_none());
    bench.nothing(addr(9), &[0x41; 40]);
    for key in keys {
        bench.endpoint.router.on_drained(key);
    }
    bench.assert_empty();
    assert!(bench.endpoint.router.begin(PathAddr::to(addr(1))).is_some());
}

// Q102: a server without connection IDs.
#[test]
fn a_server_without_connection_ids_takes_one_connection_per_address() {
    let mut bench = Bench::new(config(0));
    let admitted = admit(&mut bench, addr(1), &Initial::nth(1));
    assert_eq!(bench.connection(addr(1), &[0x41; 40]), admitted.key);
    let second = Initial::nth(2);
    let answer = bench.reply(addr(1), &second.bytes());
    assert_eq!(second.closed(answer), crate::code::CONNECTION_REFUSED);
    let other = admit(&mut bench, addr(2), &second);
    assert_eq!(bench.connection(addr(2), &[0x41; 40]), other.key);
}

// Q102, Q113: to a server's preferred address.
#[test]
fn a_connection_without_connection_ids_follows_to_other_addresses_of_its_peer() {
    let mut bench = Bench::new(config(0));
    let begun = bench.endpoint.router.begin(PathAddr::to(addr(1))).unwrap();
    let token = crate::cid::ResetToken::new([7; 16]);
    let router = &mut bench.endpoint.router;
    router.on_reset_token(begun.key, addr(2), &token);
    assert_eq!(bench.connection(addr(2), &[0x41; 40]), begun.key);
}

// An address of IPv4 in IPv6's clothes is the same peer.
#[test]
fn mapped_addresses_are_the_same_peer() {
    let mut bench = Bench::new(config(0));
    let begun = bench.endpoint.router.begin(PathAddr::to(addr(1))).unwrap();
    let mapped = SocketAddr::new("::ffff:10.0.0.1".parse().unwrap(), 4433);
    assert_eq!(bench.connection(mapped, &[0x41; 40]), begun.key);
}

// Q21, Q19 (routing): a client's own answers find it by its connection ID, whatever they are.
#[test]
fn retry_and_version_negotiation_reach_the_client_that_they_are_for() {
    let mut settings = config(8);
    settings.server = None;
    let mut bench = Bench::new(settings);
    let begun = bench.endpoint.router.begin(PathAddr::to(addr(1))).unwrap();
    let mut bytes = Vec::new();
    let random = cid(b"servers!");
    crate::wire::header::write_version_negotiation(
        &mut bytes,
        &begun.local_cid,
        &random,
        &[Version::V2],
        0,
    );
    assert_eq!(bench.connection(addr(1), &bytes), begun.key);
    bytes.clear();
    crate::wire::header::write_retry(
        &mut bytes,
        Version::V1,
        &begun.local_cid,
        &random,
        b"token",
        0,
    );
    bytes.extend_from_slice(&[0; 16]);
    assert_eq!(bench.connection(addr(1), &bytes), begun.key);
}

// What nobody decides on is forgotten.
#[test]
fn attempts_that_wait_too_long_are_forgotten() {
    let mut bench = Bench::server();
    let incoming = bench.incoming(addr(1), &Initial::nth(1).bytes());
    let due = bench.endpoint.poll_timeout().unwrap();
    assert_eq!(due, bench.now + INCOMING_LIFETIME);
    bench
        .endpoint
        .handle_timeout(due - weir_core::time::Duration::from_nanos(1));
    assert_eq!(bench.stats().connections, 1);
    bench.endpoint.handle_timeout(due);
    bench.assert_empty();
    assert_eq!(
        (bench.stats().expired, bench.endpoint.poll_timeout()),
        (1, None)
    );
    assert!(bench.endpoint.router.admit(&incoming).is_none());
    assert!(
        bench
            .endpoint
            .refuse(due, incoming, &mut bench.out)
            .is_none()
    );
    bench.assert_empty();
}

// Events of a connection that is gone change nothing of the one that has its place now.
#[test]
fn stale_handles_touch_nothing() {
    let mut bench = Bench::server();
    let old = admit(&mut bench, addr(1), &Initial::nth(1));
    bench.endpoint.router.on_drained(old.key);
    let new = admit(&mut bench, addr(2), &Initial::nth(2));
    assert_eq!(old.key.index(), new.key.index());
    let router = &mut bench.endpoint.router;
    router.on_drained(old.key);
    router.on_validated(old.key);
    router.on_retired_cid(old.key, &new.local_cid);
    router.on_new_cid(old.key, cid(b"whatever"));
    assert_eq!(bench.stats().half_open, 1);
    assert_eq!(
        bench.connection(addr(3), &short(&new.local_cid, 60)),
        new.key
    );
}

// C4: connection IDs and tokens of one connection are bounded here too.
#[test]
fn one_connection_fills_no_table() {
    let mut bench = Bench::server();
    let admitted = admit(&mut bench, addr(1), &Initial::nth(1));
    let router = &mut bench.endpoint.router;
    for n in 0..1000u64 {
        router.on_new_cid(admitted.key, cid(&n.to_be_bytes()));
        let mut token = [0; 16];
        token[..8].copy_from_slice(&n.to_be_bytes());
        router.on_reset_token(admitted.key, addr(1), &crate::cid::ResetToken::new(token));
    }
    let most = 1 + crate::limits::MAX_ROUTED_CIDS + crate::limits::MAX_ROUTED_TOKENS;
    assert_eq!(router.tables.routes(), most);
    router.on_drained(admitted.key);
    bench.assert_empty();
}
