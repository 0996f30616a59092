//! Stateless reset (RFC 9000 section 10.3).

use super::*;
use crate::cid::{ResetToken, ResetTokens as _};
use crate::endpoint::answers::MIN_STATELESS_RESET;

fn token_of(bench: &Bench, dcid: &ConnectionId) -> [u8; 16] {
    *bench
        .endpoint
        .router
        .config
        .reset_key
        .token(dcid)
        .as_bytes()
}

// Q123: form, size and end of a reset, for triggers of every size.
#[test]
fn a_reset_looks_like_a_packet_and_is_smaller_than_what_it_answers() {
    let dcid = cid(b"gone-now");
    for size in 1..200 {
        let mut bench = Bench::server();
        let trigger = short(&dcid, size);
        if size <= MIN_STATELESS_RESET {
            bench.nothing(addr(1), &trigger[..size.min(trigger.len())]);
            continue;
        }
        let answer = bench.reply(addr(1), &trigger);
        assert!(answer.len() >= MIN_STATELESS_RESET && answer.len() < size);
        if size <= 43 {
            assert_eq!(answer.len(), size - 1, "RFC 9000 10.3");
        }
        assert_eq!(answer[0] & 0xc0, 0x40, "short header, fixed bit");
        assert_eq!(answer[answer.len() - 16..], token_of(&bench, &dcid));
    }
}

// Q123: what is before the token is different each time, and the length cannot be told.
#[test]
fn resets_are_unpredictable() {
    let mut bench = Bench::server();
    let trigger = short(&cid(b"gone-now"), 1200);
    let mut starts = std::collections::HashSet::new();
    let mut lengths = std::collections::HashSet::new();
    for n in 0..40 {
        let answer = bench.reply(addr(n), &trigger);
        starts.insert(answer[..5].to_vec());
        lengths.insert(answer.len());
    }
    assert_eq!(starts.len(), 40);
    assert!(lengths.len() > 10, "{lengths:?}");
    assert!(lengths.iter().all(|len| (42..=96).contains(len)));
}

// Q123, C8: two endpoints that have both forgotten fall silent.
#[test]
fn two_endpoints_without_state_fall_silent() {
    let mut ends = [Bench::server(), Bench::server()];
    let mut datagram = short(&cid(b"gone-now"), 1452);
    let mut exchanged = 0;
    for turn in 0.. {
        match ends[turn % 2].receive(addr(1), &datagram) {
            Handled::Reply(_) => exchanged += 1,
            Handled::Nothing => break,
            other => panic!("{other:?}"),
        }
        let answer = ends[turn % 2].out.as_slice().to_vec();
        assert!(answer.len() < datagram.len());
        datagram = answer;
    }
    assert!((1..80).contains(&exchanged), "{exchanged}");
}

// Q123: at a rate; C7: one source's triggers do not use up another's answers.
#[test]
fn resets_are_rate_limited() {
    let mut bench = Bench::server();
    let trigger = short(&cid(b"gone-now"), 60);
    let limit = crate::limits::RATE_RESET.per_source as usize;
    for from in [addr(1), addr(2)] {
        let sent = (0..500).filter(|_| matches!(bench.receive(from, &trigger), Handled::Reply(_)));
        assert_eq!(sent.count(), limit);
    }
    assert_eq!(bench.stats().resets_sent, 2 * limit as u64);
}

// Q125: the same key gives the same token after a restart; another key gives another.
#[test]
fn tokens_survive_a_restart() {
    let dcid = cid(b"gone-now");
    let mut before = Bench::server();
    let mut after = Bench::server();
    let trigger = short(&dcid, 100);
    let end = |bench: &mut Bench| {
        let answer = bench.reply(addr(1), &trigger);
        answer[answer.len() - 16..].to_vec()
    };
    assert_eq!(end(&mut before), end(&mut after));
    let mut settings = config(8);
    settings.reset_key = Arc::new(ResetKey::new(&[9; 32]));
    assert_ne!(end(&mut Bench::new(settings)), end(&mut before));
}

// Q125: after a change of keys, connection IDs of before are answered within a few packets.
#[test]
fn tokens_of_the_key_before_are_given_too() {
    let dcid = cid(b"gone-now");
    let mut bench = Bench::server();
    let old = token_of(&bench, &dcid);
    bench.endpoint.router.config.reset_key.rotate(&[3; 32]);
    let new = token_of(&bench, &dcid);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..30 {
        let answer = bench.reply(addr(1), &short(&dcid, 100));
        seen.insert(answer[answer.len() - 16..].to_vec());
    }
    assert_eq!(seen, [old.to_vec(), new.to_vec()].into());
}

// RFC 9000 10.3: without connection IDs there is nothing to make a token of.
#[test]
fn without_connection_ids_nothing_is_reset() {
    let mut bench = Bench::new(config(0));
    bench.nothing(addr(1), &[0x41; 100]);
    assert_eq!(bench.stats().resets_sent, 0);
}

// RFC 9287: a fixed bit of 0 may be a packet, unless it was not agreed to be.
#[test]
fn what_is_not_a_packet_is_not_answered() {
    let mut settings = config(8);
    settings.grease = false;
    let mut bench = Bench::new(settings);
    let mut trigger = short(&cid(b"gone-now"), 100);
    trigger[0] &= !0x40;
    bench.nothing(addr(1), &trigger);
    assert_eq!(bench.stats().dropped, 1);
}

fn reset_datagram(token: &[u8; 16], size: usize) -> Vec<u8> {
    let mut datagram = vec![0x5a; size];
    datagram[size - 16..].copy_from_slice(token);
    datagram
}

// Q124: from the address that the token is good for, until it is not; found by a keyed hash of it.
#[test]
fn a_reset_from_the_peer_finds_its_connection() {
    let mut settings = config(8);
    settings.server = None;
    let mut bench = Bench::new(settings);
    let keys: Vec<Key> = (1..4)
        .map(|n| {
            let begun = bench.endpoint.router.begin(PathAddr::to(addr(n))).unwrap();
            let token = ResetToken::new([n as u8; 16]);
            bench
                .endpoint
                .router
                .on_reset_token(begun.key, addr(n), &token);
            begun.key
        })
        .collect();
    for (n, key) in (1u32..).zip(&keys) {
        for size in [21, 40, 1200] {
            let datagram = reset_datagram(&[n as u8; 16], size);
            let handled = bench.receive(addr(n), &datagram);
            assert!(matches!(handled, Handled::StatelessReset(handle) if handle.0 == *key));
            let handled = bench.receive(addr(n + 10), &datagram);
            assert!(
                !matches!(handled, Handled::StatelessReset(_)),
                "another address"
            );
        }
    }
    let mut off = [1; 16];
    off[15] = 0;
    let handled = bench.receive(addr(1), &reset_datagram(&off, 40));
    assert!(
        !matches!(handled, Handled::StatelessReset(_)),
        "another token"
    );
    assert_eq!(bench.stats().resets_received, 9);

    let router = &mut bench.endpoint.router;
    router.on_reset_token_gone(keys[0], addr(1), &ResetToken::new([1; 16]));
    let handled = bench.receive(addr(1), &reset_datagram(&[1; 16], 40));
    assert!(
        !matches!(handled, Handled::StatelessReset(_)),
        "a retired one"
    );
    for key in keys {
        bench.endpoint.router.on_drained(key);
    }
    bench.assert_empty();
}

// Q124: a peer that gives one token twice does not take the other connection's.
#[test]
fn a_token_given_twice_ends_with_whom_it_was_given_last() {
    let mut bench = Bench::server();
    let token = ResetToken::new([5; 16]);
    let mut begin = || {
        bench
            .endpoint
            .router
            .begin(PathAddr::to(addr(1)))
            .unwrap()
            .key
    };
    let (one, two) = (begin(), begin());
    let router = &mut bench.endpoint.router;
    router.on_reset_token(one, addr(1), &token);
    router.on_reset_token(two, addr(1), &token);
    router.on_drained(one);
    let handled = bench.receive(addr(1), &reset_datagram(&[5; 16], 40));
    assert!(matches!(handled, Handled::StatelessReset(handle) if handle.0 == two));
}

// RFC 9000 10.3: a long header is not a reset, whatever it ends in.
#[test]
fn a_long_header_is_no_reset() {
    let mut bench = Bench::server();
    let begun = bench.endpoint.router.begin(PathAddr::to(addr(1))).unwrap();
    let token = ResetToken::new([5; 16]);
    bench
        .endpoint
        .router
        .on_reset_token(begun.key, addr(1), &token);
    let mut datagram = reset_datagram(&[5; 16], 60);
    datagram[0] |= 0x80;
    bench.nothing(addr(1), &datagram);
}
