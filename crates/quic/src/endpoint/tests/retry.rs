//! Address validation before a connection is begun (RFC 9000 section 8.1), and refusal.

use super::*;
use crate::crypto::{Holder, retry::is_intact};
use crate::error::code;
use weir_core::time::Duration;

fn with_policy(policy: RetryPolicy) -> Bench {
    let mut settings = config(8);
    settings.retry = policy;
    Bench::new(settings)
}

/// The client's next Initial, after a Retry.
fn follow(initial: &Initial, answer: &[u8]) -> Initial {
    let packet = Packet::parse(answer, 8, FixedBit::Required).unwrap();
    assert_eq!(
        (packet.kind, packet.version),
        (PacketType::Retry, initial.version)
    );
    assert_eq!(packet.dcid, initial.scid);
    assert!(is_intact(initial.version, &initial.dcid, answer));
    Initial {
        version: initial.version,
        dcid: packet.scid,
        scid: initial.scid,
        token: answer[packet.token].to_vec(),
        ..Initial::new()
    }
}

// Q63: tag, a new Source Connection ID, a token; and nothing is kept.
#[test]
fn a_retry_is_answered_without_state() {
    for version in Version::SUPPORTED {
        let mut bench = with_policy(RetryPolicy::Always);
        let initial = Initial {
            version,
            ..Initial::new()
        };
        let answer = bench.reply(addr(1), &initial.bytes());
        bench.assert_empty();
        let next = follow(&initial, &answer);
        assert_ne!(next.dcid, initial.dcid);
        assert!(answer.len() < 1200);
        let incoming = bench.incoming(addr(1), &next.bytes());
        assert!(incoming.is_validated() && !incoming.may_retry());
        assert_eq!(incoming.original_dcid(), initial.dcid);
        assert_eq!(bench.stats().half_open, 0);
    }
}

// Q63: with connection IDs of no bytes the Retry has one to address all the same.
#[test]
fn a_retry_without_connection_ids_works() {
    let mut settings = config(0);
    settings.retry = RetryPolicy::Always;
    let mut bench = Bench::new(settings);
    let initial = Initial::new();
    let answer = bench.reply(addr(1), &initial.bytes());
    let next = follow(&initial, &answer);
    assert_eq!(next.dcid.len(), 8);
    assert!(bench.incoming(addr(1), &next.bytes()).is_validated());
}

// Q65, Q66: another address, another connection ID, another time: INVALID_TOKEN at once.
#[test]
fn retry_tokens_are_bound_to_address_connection_id_and_time() {
    let mut bench = with_policy(RetryPolicy::Always);
    let initial = Initial::new();
    let answer = bench.reply(addr(1), &initial.bytes());
    let next = follow(&initial, &answer);
    let other_port = SocketAddr::new(addr(1).ip(), 4434);
    for from in [addr(2), other_port] {
        let answer = bench.reply(from, &next.bytes());
        assert_eq!(next.closed(answer), code::INVALID_TOKEN);
    }
    let elsewhere = Initial {
        dcid: cid(b"somewhere"),
        token: next.token.clone(),
        ..Initial::new()
    };
    let answer = bench.reply(addr(1), &elsewhere.bytes());
    assert_eq!(elsewhere.closed(answer), code::INVALID_TOKEN);
    bench.now += Duration::from_secs(60);
    let answer = bench.reply(addr(1), &next.bytes());
    assert_eq!(next.closed(answer), code::INVALID_TOKEN);
    assert_eq!((bench.stats().closes, bench.stats().refused), (4, 4));
    bench.assert_empty();
}

// Q65: one bit of a Retry token changed, anywhere behind what names the key.
#[test]
fn damaged_retry_tokens_are_not_taken() {
    let mut bench = with_policy(RetryPolicy::Always);
    let initial = Initial::new();
    let answer = bench.reply(addr(1), &initial.bytes());
    let next = follow(&initial, &answer);
    for at in (0..next.token.len()).step_by(5) {
        let mut damaged = follow(&initial, &answer);
        damaged.token[at] ^= 0x10;
        let answer = bench.reply(addr(1), &damaged.bytes());
        if at < 4 {
            // Not ours any more: as if there were none, so a Retry.
            follow(&damaged, &answer);
        } else {
            assert_eq!(damaged.closed(answer), code::INVALID_TOKEN);
        }
    }
    bench.assert_empty();
}

// Q66: garbage, or a token of NEW_TOKEN that is no good, is as if there were none.
#[test]
fn foreign_tokens_are_as_if_there_were_none() {
    let mut bench = with_policy(RetryPolicy::Never);
    let initial = Initial {
        token: b"a token of somebody else's".to_vec(),
        ..Initial::new()
    };
    let incoming = bench.incoming(addr(1), &initial.bytes());
    assert!(!incoming.is_validated() && incoming.may_retry());
    assert_eq!(bench.stats().half_open, 1);
}

fn new_token(bench: &mut Bench, from: SocketAddr) -> Vec<u8> {
    let router = &mut bench.endpoint.router;
    let holder: Holder = router.holder(bench.now, PathAddr::to(from), Version::V1);
    let keys = Arc::clone(&router.config.token_keys);
    keys.seal_new_token(&mut router.rng, &holder)
}

// Q67: a token of NEW_TOKEN spares the Retry, from any port, once.
#[test]
fn a_token_from_before_spares_the_retry_once() {
    let mut bench = with_policy(RetryPolicy::Always);
    let token = new_token(&mut bench, addr(1));
    let mut initial = Initial::nth(1);
    initial.token = token.clone();
    let from = SocketAddr::new(addr(1).ip(), 999);
    let incoming = bench.incoming(from, &initial.bytes());
    assert!(incoming.is_validated() && incoming.may_retry());
    assert_eq!(incoming.original_dcid(), initial.dcid);
    bench.endpoint.ignore(incoming);
    let mut again = Initial::nth(2);
    again.token = token;
    let answer = bench.reply(from, &again.bytes());
    follow(&again, &answer);
    // Another address has no use for it.
    let mut other = Initial::nth(3);
    other.token = new_token(&mut bench, addr(1));
    let answer = bench.reply(addr(2), &other.bytes());
    follow(&other, &answer);
    bench.assert_empty();
}

// Issue: Retry above a threshold of half-open connections.
#[test]
fn above_the_threshold_clients_are_asked_for_a_token() {
    let mut bench = with_policy(RetryPolicy::Above(3));
    let mut waiting = Vec::new();
    for n in 0..3 {
        waiting.push(bench.incoming(addr(n), &Initial::nth(n.into()).bytes()));
    }
    let initial = Initial::nth(3);
    let answer = bench.reply(addr(3), &initial.bytes());
    let next = follow(&initial, &answer);
    // Whoever has shown its address gets in, and counts for nothing.
    assert!(bench.incoming(addr(3), &next.bytes()).is_validated());
    assert_eq!(bench.stats().half_open, 3);
    let first = waiting.remove(0);
    let admitted = bench.endpoint.router.admit(&first).unwrap();
    assert_eq!(bench.stats().half_open, 3, "accepted is not validated");
    bench.endpoint.router.on_validated(admitted.key);
    assert_eq!(bench.stats().half_open, 2);
    let _in = bench.incoming(addr(4), &Initial::nth(4).bytes());
}

// Per source: one network's half-open attempts do not get into the way of another's.
#[test]
fn one_source_has_a_limit_of_its_own() {
    let mut settings = config(8);
    settings.retry = RetryPolicy::Never;
    settings.max_half_open_per_source = 2;
    let mut bench = Bench::new(settings);
    let network = |n: u64| -> SocketAddr {
        let host = format!("[2001:db8:0:1::{n:x}]:{}", 1000 + n);
        host.parse().unwrap()
    };
    for n in 0..2 {
        let _waiting = bench.incoming(network(n), &Initial::nth(n).bytes());
    }
    let third = Initial::nth(2);
    let answer = bench.reply(network(2), &third.bytes());
    assert_eq!(third.closed(answer), code::CONNECTION_REFUSED);
    let elsewhere = "[2001:db8:0:2::1]:1".parse().unwrap();
    let _in = bench.incoming(elsewhere, &Initial::nth(3).bytes());
}

// Issue: limits per address, on connections.
#[test]
fn one_source_has_so_many_connections_and_no_more() {
    let mut settings = config(8);
    settings.max_connections_per_source = 2;
    let mut bench = Bench::new(settings);
    let mut keys = Vec::new();
    for n in 0..2 {
        let incoming = bench.incoming(addr(1), &Initial::nth(n).bytes());
        let admitted = bench.endpoint.router.admit(&incoming).unwrap();
        bench.endpoint.router.on_validated(admitted.key);
        keys.push(admitted.key);
    }
    let third = Initial::nth(2);
    let answer = bench.reply(addr(1), &third.bytes());
    assert_eq!(third.closed(answer), code::CONNECTION_REFUSED);
    bench.endpoint.router.on_drained(keys.remove(0));
    let _in = bench.incoming(addr(1), &third.bytes());
}

// Issue: accept queue bound.
#[test]
fn a_full_queue_refuses() {
    let mut settings = config(8);
    settings.accept_backlog = 2;
    let mut bench = Bench::new(settings);
    for n in 0..2 {
        let _waiting = bench.incoming(addr(n), &Initial::nth(n.into()).bytes());
    }
    for version in Version::SUPPORTED {
        let third = Initial {
            version,
            ..Initial::nth(2)
        };
        let answer = bench.reply(addr(3), &third.bytes());
        assert_eq!(third.closed(answer), code::CONNECTION_REFUSED);
    }
    assert_eq!(bench.stats().closes, 2);
}

#[test]
fn the_application_may_refuse_ask_or_ignore() {
    let mut bench = Bench::server();
    let initial = Initial::nth(1);
    let incoming = bench.incoming(addr(1), &initial.bytes());
    let sent = bench.endpoint.refuse(bench.now, incoming, &mut bench.out);
    assert_eq!(sent.unwrap().len, bench.out.as_slice().len());
    assert_eq!(
        initial.closed(bench.out.as_slice().to_vec()),
        code::CONNECTION_REFUSED
    );
    bench.assert_empty();

    let incoming = bench.incoming(addr(1), &initial.bytes());
    let sent = bench.endpoint.retry(bench.now, incoming, &mut bench.out);
    assert!(sent.unwrap().is_some());
    bench.assert_empty();
    let next = follow(&initial, bench.out.as_slice());
    let incoming = bench.incoming(addr(1), &next.bytes());
    let incoming = bench
        .endpoint
        .retry(bench.now, incoming, &mut bench.out)
        .unwrap_err();
    bench.endpoint.ignore(incoming);
    bench.assert_empty();
}

// C7, C8: refusals are rate-limited too.
#[test]
fn refusals_are_rate_limited() {
    let mut settings = config(8);
    settings.accept_backlog = 1;
    let mut bench = Bench::new(settings);
    let _waiting = bench.incoming(addr(0), &Initial::nth(0).bytes());
    let bytes = Initial::nth(1).bytes();
    let answered =
        (0..1000).filter(|_| matches!(bench.receive(addr(1), &bytes), Handled::Reply(_)));
    let limit = crate::limits::RATE_CLOSE.per_source;
    assert_eq!(answered.count(), limit as usize);
}
