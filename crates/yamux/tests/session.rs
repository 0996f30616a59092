//! The session: Y44 to Y54.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;
use weir_core::close::Initiator;
use weir_core::rng::{below, fill};

#[test]
fn a_ping_is_answered_with_its_value() {
    // Y44
    for role in [Role::Client, Role::Server] {
        let mut node = Node::new(role, Config::default());
        for value in [0, 1, 0xdead_beef, u32::MAX] {
            node.feed(T0, raw(PING, SYN, 0, value));
        }
        let answers = heads(&node.frames(T0));
        let expected = [0, 1, 0xdead_beef, u32::MAX].map(|value| (PING, ACK, 0, value));
        assert_eq!(answers, expected);
        assert_eq!(node.session.stats().pings_received, 4);
    }
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    // Y44
    let mut node = Node::client();
    node.feed(T0, raw(PING, ACK, 0, 5));
    node.feed(T0, raw(PING, NONE, 0, 5));
    node.session.ping(T0);
    let asked = node.frames(T0);
    assert_eq!(
        (asked[0].header.kind, asked[0].header.flags, asked.len()),
        (PING, SYN, 1)
    );
    node.session.ping(T0);
    assert!(node.frames(T0).is_empty(), "one at a time");
    let value = asked[0].header.length;
    node.feed(at(5), raw(PING, ACK, 0, value.wrapping_add(1)));
    assert_eq!(node.session.rtt().latest(), None);
    node.feed(at(25), raw(PING, ACK, 0, value));
    assert_eq!(node.session.rtt().latest(), Some(Duration::from_millis(25)));
    node.feed(at(90), raw(PING, ACK, 0, value));
    assert_eq!(node.session.rtt().latest(), Some(Duration::from_millis(25)));
    assert!(node.closed().is_none());
}

#[test]
fn a_flood_of_pings_grows_nothing() {
    // Y45, C3: 100,000 pings while the carrier takes nothing
    let mut node = Node::server();
    for value in 0..100_000 {
        node.feed(T0, raw(PING, SYN, 0, value));
    }
    let answers = node.frames(T0);
    assert_eq!(answers.len(), 32);
    assert_eq!(
        head(&answers[31]),
        (PING, ACK, 0, 99_999),
        "the newest are answered"
    );
    assert_eq!(node.memory(), 0);
    assert!(node.closed().is_none());
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    // Y46
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    node.flush(T0);
    node.feed(T0, raw(UPDATE, ACK, 1, 0));
    node.read(T0, key).1.unwrap_err();
    assert_eq!(
        node.session.poll_timeout(),
        Some((at(30_000), Timer::KeepAlive))
    );
    // Heard after 20 s: asked only 30 s after that.
    node.feed(at(20_000), raw(PING, SYN, 0, 1));
    node.sleep(at(49_999));
    assert_eq!(heads(&node.frames(at(49_999))), [(PING, ACK, 0, 1)]);
    node.sleep(at(50_000));
    let asked = node.frames(at(50_000));
    assert_eq!(
        (asked[0].header.kind, asked[0].header.flags, asked.len()),
        (PING, SYN, 1)
    );
    node.feed(at(50_040), raw(PING, ACK, 0, asked[0].header.length));
    node.sleep(at(80_040));
    assert_eq!(node.frames(at(80_040)).len(), 1, "asked again");
    node.events();
    node.sleep(at(100_039));
    assert!(node.closed().is_none());
    node.sleep(at(100_040));
    let reason = node.session.close_reason().unwrap().clone();
    assert_eq!(reason.by, Initiator::Timer);
    assert_eq!(reason.to_string(), "timed out: no answer to a ping for 20s");
    assert_eq!(
        node.events(),
        [
            Event::Readable(key),
            Event::Acceptable,
            Event::Closed(reason)
        ]
    );
    assert_eq!(node.read(at(100_040), key).1, Err(ReadError::Closed));
    assert_eq!(node.session.poll_timeout(), None);
}

#[test]
fn a_peer_that_is_heard_but_never_answers_is_given_up_later() {
    // Y46: its answer may stand behind much data, but not for ever
    let mut node = Node::server();
    node.sleep(at(30_000));
    assert_eq!(node.frames(at(30_000)).len(), 1);
    let mut now = 30_000;
    while node.closed().is_none() {
        now += 1_000;
        assert!(now <= 30_000 + 8 * 20_000 + 1_000, "never given up");
        node.sleep(at(now));
        node.feed(at(now), raw(PING, SYN, 0, 1));
        node.flush(at(now));
    }
    assert!(now > 30_000 + 7 * 20_000);
}

#[test]
fn without_keepalive_nothing_is_asked() {
    // Y46
    let config = Config {
        keepalive: None,
        ..Config::default()
    };
    let node = Node::new(Role::Client, config);
    assert_eq!(node.session.poll_timeout(), None);
}

#[test]
fn after_go_away_0_no_stream_is_opened_and_the_open_ones_finish() {
    // Y47
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    let unsent = pair.client.session.open(T0).unwrap();
    pair.client.feed(T0, raw(AWAY, NONE, 0, 0));
    assert_eq!(
        pair.client.events(),
        [Event::StreamReset(unsent), Event::GoAway(0)]
    );
    assert_eq!(pair.client.session.open(T0), Err(OpenError::GoAway));
    assert!(
        pair.client.frames(T0).is_empty(),
        "the SYN that had not gone out stays here"
    );
    // The open one goes on both ways.
    pair.client.write(T0, ours, pattern(100_000));
    pair.client.session.finish(T0, ours);
    pair.pump();
    assert_eq!(pair.server.read(T0, theirs).0.len(), 100_000);
    pair.server.write(T0, theirs, &b"done"[..]);
    pair.server.session.finish(T0, theirs);
    pair.pump();
    assert_eq!(pair.client.read(T0, ours), (b"done".to_vec(), Ok(())));
    // And the peer may still open.
    pair.client.feed(T0, data(SYN, 8, b"x"));
    assert!(pair.client.session.accept(T0).is_some());
    // A second GoAway 0 says nothing new.
    pair.client.events();
    pair.client.feed(T0, raw(AWAY, NONE, 0, 0));
    assert!(pair.client.events().is_empty() && pair.client.closed().is_none());
}

#[test]
fn a_waiting_opener_learns_of_the_go_away() {
    // Y47, Y50
    let config = Config {
        ack_backlog: 1,
        ..Config::default()
    };
    let mut node = Node::new(Role::Client, config);
    node.open(T0, 1);
    assert_eq!(node.session.open(T0), Err(OpenError::Blocked));
    node.feed(T0, raw(AWAY, NONE, 0, 0));
    assert_eq!(node.events(), [Event::GoAway(0), Event::OpenReady]);
    assert_eq!(node.session.open(T0), Err(OpenError::GoAway));
}

#[test]
fn go_away_with_an_error_ends_the_session() {
    // Y48
    for (code, words) in [
        (1, "protocol error"),
        (2, "internal error"),
        (77, "a code of its own"),
    ] {
        let mut pair = Pair::new();
        let (ours, _) = pair.stream();
        assert_eq!(pair.client.read(T0, ours).1, Err(ReadError::Blocked));
        pair.client.feed(T0, raw(AWAY, NONE, 0, code));
        let reason = pair.client.session.close_reason().unwrap().clone();
        assert_eq!((reason.by, reason.code), (Initiator::Peer, u64::from(code)));
        assert!(reason.to_string().contains(words), "{reason}");
        assert_eq!(
            pair.client.events(),
            [
                Event::Readable(ours),
                Event::Acceptable,
                Event::Closed(reason.clone())
            ]
        );
        assert_eq!(pair.client.read(T0, ours).1, Err(ReadError::Closed));
        assert_eq!(
            pair.client.session.write(T0, ours, &mut pattern(1)),
            Err(WriteError::Closed)
        );
        assert_eq!(pair.client.session.open(T0), Err(OpenError::Closed(reason)));
        assert!(pair.client.frames(T0).is_empty());
    }
}

#[test]
fn winding_down_ends_when_the_last_stream_has() {
    // Y49, Y47 from the other side
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    pair.server.session.go_away(T0);
    pair.pump();
    assert_eq!(pair.client.events(), [Event::GoAway(0)]);
    assert_eq!(pair.server.session.open(T0), Err(OpenError::GoAway));
    // A peer that opens all the same is refused.
    pair.server.feed(T0, data(SYN, 3, b"too late"));
    assert_eq!(heads(&pair.server.frames(T0)), [(UPDATE, RST, 3, 0)]);
    assert!(!pair.server.session.is_drained() && pair.server.closed().is_none());
    for (node, key) in [(&mut pair.client, ours), (&mut pair.server, theirs)] {
        node.write(T0, key, pattern(1000));
        node.session.finish(T0, key);
    }
    pair.server.events();
    pair.pump();
    let reason = pair.server.session.close_reason().unwrap().clone();
    assert!(reason.is_clean(), "{reason}");
    assert_eq!(reason.by, Initiator::Local);
    assert_eq!(pair.server.events(), [Event::Closed(reason)]);
    assert_eq!(
        pair.server.read(T0, theirs).0.len(),
        1000,
        "what had come is still read"
    );
    // The carrier ends; the client had nothing open.
    pair.client.session.handle_input(T0, Input::End);
    assert!(pair.client.session.close_reason().unwrap().is_clean());
    assert_eq!(pair.client.read(T0, ours).0.len(), 1000);
}

#[test]
fn winding_down_with_nothing_open_is_immediate() {
    // Y49
    let mut node = Node::client();
    node.session.go_away(T0);
    assert_eq!(heads(&node.frames(T0)), [(AWAY, NONE, 0, 0)]);
    assert!(node.session.close_reason().unwrap().is_clean());
}

#[test]
fn closing_at_once_says_so_and_fails_all_streams() {
    // Y49
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    pair.client.write(T0, ours, pattern(300_000));
    assert_eq!(pair.client.read(T0, ours).1, Err(ReadError::Blocked));
    pair.client.events();
    pair.client.session.close(T0, 0, "enough");
    assert_eq!(
        heads(&pair.client.frames(T0)),
        [(AWAY, NONE, 0, 0)],
        "no data before it"
    );
    let reason = pair.client.session.close_reason().unwrap().clone();
    assert_eq!(reason.to_string(), "closed by this side: enough");
    assert_eq!(
        pair.client.events(),
        [
            Event::Readable(ours),
            Event::Acceptable,
            Event::Closed(reason)
        ]
    );
    // The other side: the GoAway, then the end of the carrier.
    assert_eq!(pair.server.read(T0, theirs).1, Err(ReadError::Blocked));
    pair.server.events();
    pair.server.feed(T0, raw(AWAY, NONE, 0, 0));
    pair.server.session.handle_input(T0, Input::End);
    let reason = pair.server.session.close_reason().unwrap().clone();
    assert_eq!(reason.by, Initiator::Peer);
    assert_eq!(
        pair.server.events(),
        [
            Event::GoAway(0),
            Event::Readable(theirs),
            Event::Closed(reason)
        ]
    );
    assert_eq!(pair.server.read(T0, theirs).1, Err(ReadError::Closed));
    for (node, key) in [(&mut pair.client, ours), (&mut pair.server, theirs)] {
        node.session.release(T0, key, Half::Send);
        node.session.release(T0, key, Half::Recv);
        assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
    }
}

#[test]
fn a_lost_carrier_ends_everything_at_once() {
    // Y50
    let config = Config {
        ack_backlog: 2,
        ..Config::default()
    };
    let mut pair = Pair::with(config, Config::default());
    let (reading, _) = pair.stream();
    let (writing, _) = pair.stream();
    let waiting = pair.client.open(T0, 2);
    assert_eq!(pair.client.session.open(T0), Err(OpenError::Blocked));
    assert_eq!(pair.client.read(T0, reading).1, Err(ReadError::Blocked));
    pair.client.write(T0, writing, pattern(2 * MIB));
    pair.client.session.accept(T0);
    pair.client.events();
    pair.client
        .session
        .handle_input(T0, Input::Lost("reset by peer".to_owned()));
    let reason = pair.client.session.close_reason().unwrap().clone();
    assert_eq!(reason.by, Initiator::Carrier);
    assert_eq!(reason.to_string(), "connection lost: reset by peer");
    let events = pair.client.events();
    for expected in [
        Event::Readable(reading),
        Event::Writable(writing),
        Event::OpenReady,
    ] {
        assert!(events.contains(&expected), "{expected:?} in {events:?}");
    }
    assert_eq!(events.last(), Some(&Event::Closed(reason.clone())));
    assert_eq!(pair.client.session.open(T0), Err(OpenError::Closed(reason)));
    assert_eq!(pair.client.session.accept(T0), None);
    for key in [reading, writing, waiting[0], waiting[1]] {
        assert_eq!(pair.client.read(T0, key).1, Err(ReadError::Closed));
        assert_eq!(
            pair.client.session.write(T0, key, &mut pattern(1)),
            Err(WriteError::Closed)
        );
    }
    assert!(pair.client.frames(T0).is_empty());
    assert_eq!(pair.client.session.poll_timeout(), None);
}

#[test]
fn the_end_of_the_carrier_is_clean_only_between_streams() {
    // Y50: with a stream open, and within a header or a payload, it is a loss
    let mut pair = Pair::new();
    pair.stream();
    pair.server.session.handle_input(T0, Input::End);
    let (_, words) = pair.server.closed().unwrap();
    assert_eq!(
        words,
        "connection lost: the carrier ended with 1 streams open"
    );

    for cut in [5, 14] {
        let mut node = Node::server();
        node.feed(T0, &data(NONE, 9, b"hello")[..cut]);
        node.session.handle_input(T0, Input::End);
        let (_, words) = node.closed().unwrap();
        assert_eq!(words, "connection lost: the carrier ended inside a frame");
    }
    let mut node = Node::server();
    node.session.handle_input(T0, Input::End);
    assert!(node.session.close_reason().unwrap().is_clean());
}

#[test]
fn what_had_arrived_is_read_after_the_loss() {
    // Y50
    let mut node = Node::server();
    node.feed(T0, data(SYN, 1, b"before"));
    node.feed(T0, data(SYN.with(FIN), 3, b"all"));
    let cut = node.session.accept(T0).unwrap();
    let whole = node.session.accept(T0).unwrap();
    node.session
        .handle_input(T0, Input::Lost("gone".to_owned()));
    assert_eq!(
        node.read(T0, cut),
        (b"before".to_vec(), Err(ReadError::Closed))
    );
    assert_eq!(node.read(T0, whole), (b"all".to_vec(), Ok(())));
}

#[test]
fn a_carrier_that_takes_nothing_ends_the_session() {
    // Y51
    let config = Config {
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    let key = node.session.accept(T0).unwrap();
    node.write(T0, key, pattern(100_000));
    assert!(node.session.poll_transmit(T0, &mut node.batch));
    node.session.handle_carrier(T0, CarrierState::Blocked);
    assert_eq!(
        node.session.poll_timeout(),
        Some((at(30_000), Timer::Write))
    );
    // Progress starts it anew.
    node.session.handle_carrier(at(20_000), CarrierState::Ready);
    assert_eq!(node.session.poll_timeout(), None);
    node.session
        .handle_carrier(at(20_001), CarrierState::Blocked);
    node.session
        .handle_carrier(at(40_000), CarrierState::Blocked);
    node.sleep(at(50_000));
    assert!(node.closed().is_none());
    node.sleep(at(50_001));
    let (_, words) = node.closed().unwrap();
    assert_eq!(words, "timed out: the carrier took nothing for 30s");
    assert!(matches!(node.events().last(), Some(Event::Closed(_))));
}

#[test]
fn a_blocked_call_can_be_abandoned_at_any_time() {
    // Y52: a deadline above is a call that is not made again; nothing is lost or held for it
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    assert_eq!(
        pair.server.session.read(T0, theirs, 10),
        Err(ReadError::Blocked)
    );
    let mut bytes = pattern(2 * MIB);
    while pair.client.session.write(T0, ours, &mut bytes).is_ok() {}
    let taken = 2 * MIB - bytes.len();
    assert_eq!(taken, 512 * KIB, "what was not taken is still the caller's");
    // Abandoned here; later calls find everything in place.
    pair.pump();
    let mut got = Vec::new();
    while got.len() < taken {
        got.extend(pair.server.read(T0, theirs).0);
        pair.pump();
    }
    assert!(got[..] == pattern(2 * MIB)[..taken]);
    assert!(pair.server.events().contains(&Event::Readable(theirs)));
    assert!(pair.client.events().contains(&Event::Writable(ours)));
}

#[test]
fn ten_thousand_idle_streams_cost_little() {
    // Y53
    let config = Config {
        accept_backlog: 20_000,
        ack_backlog: 20_000,
        ..Config::default()
    };
    let mut pair = Pair::with(config.clone(), config);
    let ours = pair.client.open_all(pair.now, 10_000);
    pair.pump();
    while pair.server.session.accept(pair.now).is_some() {}
    pair.pump();
    for node in [&pair.client, &pair.server] {
        let stats = node.session.stats();
        assert_eq!(
            (stats.streams_open, stats.memory_used),
            (10_000, 10_000 * 256)
        );
    }
    // Nothing wakes up for them, and one of them works as if it were alone.
    assert_eq!(pair.pump(), 0);
    let timers: Vec<Timer> = [&pair.client, &pair.server]
        .iter()
        .filter_map(|n| Some(n.session.poll_timeout()?.1))
        .collect();
    assert_eq!(timers, [Timer::KeepAlive, Timer::KeepAlive]);
    pair.client.write(pair.now, ours[7_777], pattern(100));
    assert_eq!(pair.pump(), 112);
}

#[test]
fn random_bytes_end_in_a_go_away() {
    // Y54, C1: whatever comes, in whatever cuts, never a panic and never much memory
    for seed in 0..300 {
        let mut rng = rng_from_seed(seed);
        let role = if seed % 2 == 0 {
            Role::Client
        } else {
            Role::Server
        };
        let mut node = Node::new(role, Config::default());
        for _ in 0..50 {
            let mut bytes = vec![0; usize::try_from(below(&mut rng, 2_000)).unwrap()];
            fill(&mut rng, &mut bytes);
            // Most random headers die of their version: keep half of them alive for longer.
            if seed % 4 < 2 {
                for byte in bytes.iter_mut().step_by(12) {
                    *byte = 0;
                }
            }
            node.feed(T0, &bytes);
            node.flush(T0);
            assert!(node.memory() <= 2 << 20);
        }
        let (code, _) = node.closed().unwrap_or((1, String::new()));
        assert!(code <= u64::from(u32::MAX));
        if seed % 4 >= 2 {
            assert_eq!(code, 1, "random versions do not live long");
        }
    }
}
