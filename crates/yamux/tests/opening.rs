//! Opening: Y11 to Y23.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;

#[test]
fn ids_grow_by_two_from_each_sides_first() {
    // Y11
    let mut pair = Pair::new();
    for n in 0..5_u32 {
        let ours = pair.client.session.open(T0).unwrap();
        let theirs = pair.server.session.open(T0).unwrap();
        assert_eq!(pair.client.session.stream_id(ours), Some(1 + 2 * n));
        assert_eq!(pair.server.session.stream_id(theirs), Some(2 + 2 * n));
    }
}

#[test]
fn syns_leave_in_the_order_of_their_ids() {
    // Y11, whatever the streams' sizes and priorities
    let mut node = Node::client();
    for n in 0..20_usize {
        let key = node.session.open(T0).unwrap();
        let urgency = u8::try_from(7 - n % 8).unwrap();
        node.session
            .set_priority(key, weir_core::sched::Priority::urgency(urgency));
        node.write(T0, key, pattern([0, 100, 5_000, 100_000][n % 4]));
    }
    let ids: Vec<u32> = node
        .frames(T0)
        .iter()
        .filter(|frame| frame.header.flags.contains(SYN))
        .map(|frame| frame.header.stream_id)
        .collect();
    assert_eq!(ids, (0..20).map(|n| 1 + 2 * n).collect::<Vec<u32>>());
}

#[test]
fn a_stream_opens_with_data_or_with_a_window_update() {
    // Y12: both are sent, and both are taken
    let mut node = Node::client();
    let quiet = node.session.open(T0).unwrap();
    let busy = node.session.open(T0).unwrap();
    node.write(T0, busy, &b"hello"[..]);
    assert_eq!(
        heads(&node.frames(T0)),
        [(UPDATE, SYN, 1, 0), (DATA, SYN, 3, 5)]
    );
    assert_eq!(
        (node.state(quiet), node.state(busy)),
        (State::SynSent, State::SynSent)
    );

    let mut node = Node::server();
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    node.feed(T0, data(SYN, 3, b"hello"));
    let quiet = node.session.accept(T0).unwrap();
    let busy = node.session.accept(T0).unwrap();
    assert_eq!(node.read(T0, quiet), (Vec::new(), Err(ReadError::Blocked)));
    assert_eq!(
        node.read(T0, busy),
        (b"hello".to_vec(), Err(ReadError::Blocked))
    );
    assert_eq!(node.session.accept(T0), None);
}

#[test]
fn a_large_first_payload_carries_the_syn_when_the_stream_is_alone() {
    // Y12
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    node.write(T0, key, pattern(100_000));
    let sent = heads(&node.frames(T0));
    assert_eq!(sent, [(DATA, SYN, 1, 65_536), (DATA, NONE, 1, 34_464)]);
}

#[test]
fn an_accepted_stream_is_acknowledged_once() {
    // Y13: on an update when there is nothing else
    let mut node = Node::server();
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    assert!(
        node.frames(T0).is_empty(),
        "not before the application takes it"
    );
    let key = node.session.accept(T0).unwrap();
    assert_eq!(heads(&node.frames(T0)), [(UPDATE, ACK, 1, 0)]);
    assert_eq!(node.state(key), State::Established);
    node.write(T0, key, &b"x"[..]);
    assert_eq!(heads(&node.frames(T0)), [(DATA, NONE, 1, 1)]);
}

#[test]
fn the_ack_rides_on_the_first_data() {
    // Y18
    let mut node = Node::server();
    for (id, size) in [(1, 10), (3, 100_000)] {
        node.feed(T0, raw(UPDATE, SYN, id, 0));
        let key = node.session.accept(T0).unwrap();
        node.write(T0, key, pattern(size));
        let first = node.frames(T0)[0].header;
        assert_eq!((first.kind, first.flags, first.stream_id), (DATA, ACK, id));
    }
}

#[test]
fn data_flows_before_the_ack() {
    // Y14: all of a window, and what the peer sends without an ACK is taken too
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    assert_eq!(node.write(T0, key, pattern(256 * KIB)), 256 * KIB);
    let sent: usize = node
        .frames(T0)
        .iter()
        .map(|frame| frame.payload.len())
        .sum();
    assert_eq!(sent, 256 * KIB);
    node.feed(T0, data(NONE, 1, b"early"));
    assert_eq!(
        node.read(T0, key),
        (b"early".to_vec(), Err(ReadError::Blocked))
    );
    assert_eq!(node.state(key), State::SynSent);
    assert!(!node.session.is_acknowledged(key));
    node.feed(T0, raw(UPDATE, ACK, 1, 0));
    assert!(node.events().contains(&Event::Opened(key)));
    assert_eq!(node.state(key), State::Established);
    assert!(node.session.is_acknowledged(key));
}

#[test]
fn windows_on_syn_and_ack_are_added_to_256_kib() {
    // Y15, received
    let mut node = Node::server();
    node.feed(T0, raw(UPDATE, SYN, 1, 1000));
    let key = node.session.accept(T0).unwrap();
    assert_eq!(
        node.session.stream_stats(key).unwrap().send_window,
        256 * 1024 + 1000
    );
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    node.flush(T0);
    node.feed(T0, raw(UPDATE, ACK, 1, 77));
    assert_eq!(
        node.session.stream_stats(key).unwrap().send_window,
        256 * 1024 + 77
    );

    // Y15, sent
    let config = Config {
        receive_window: 1024 * 1024,
        ..Config::default()
    };
    let mut pair = Pair::with(config.clone(), config);
    let ours = pair.client.session.open(T0).unwrap();
    let there = pair.client.flush(T0);
    assert_eq!(heads(&frames(&there)), [(UPDATE, SYN, 1, 768 * 1024)]);
    pair.server.feed(T0, there);
    let theirs = pair.server.session.accept(T0).unwrap();
    let back = pair.server.flush(T0);
    assert_eq!(heads(&frames(&back)), [(UPDATE, ACK, 1, 768 * 1024)]);
    pair.client.feed(T0, back);
    for (node, key) in [(&pair.client, ours), (&pair.server, theirs)] {
        let stats = node.session.stream_stats(key).unwrap();
        assert_eq!((stats.send_window, stats.recv_window), (1 << 20, 1 << 20));
    }
}

#[test]
fn a_syn_with_an_id_of_the_wrong_side_is_a_protocol_error() {
    // Y16
    for (role, id) in [(Role::Server, 2), (Role::Client, 1)] {
        let mut node = Node::new(role, Config::default());
        node.feed(T0, raw(UPDATE, SYN, id, 0));
        let (code, reason) = node.closed().unwrap();
        assert_eq!(code, 1);
        assert!(reason.contains("wrong parity"), "{reason}");
    }
}

#[test]
fn a_syn_with_a_used_id_is_a_protocol_error() {
    // Y17 in use, Y11 used before
    let mut node = Node::server();
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    assert!(node.closed().unwrap().1.contains("an id used before"));

    let mut node = Node::server();
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    node.feed(T0, raw(UPDATE, RST, 1, 0));
    assert!(node.closed().is_none());
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    assert!(node.closed().unwrap().1.contains("an id used before"));
}

#[test]
fn syns_may_come_out_of_order() {
    // Some peers put concurrent SYNs on the wire out of order; each id is still taken once.
    let mut node = Node::server();
    for id in [5, 1, 9, 3, 7] {
        node.feed(T0, raw(UPDATE, SYN, id, 0));
    }
    let keys: Vec<Key> = std::iter::from_fn(|| node.session.accept(T0)).collect();
    let ids: Vec<u32> = keys
        .iter()
        .filter_map(|key| node.session.stream_id(*key))
        .collect();
    assert_eq!(ids, [5, 1, 9, 3, 7]);
    assert!(node.closed().is_none());
}

#[test]
fn the_opener_waits_when_256_streams_are_not_acknowledged() {
    // Y19
    let mut pair = Pair::new();
    let first = pair.client.session.open(T0).unwrap();
    for _ in 1..256 {
        pair.client.session.open(T0).unwrap();
    }
    assert_eq!(pair.client.session.open(T0), Err(OpenError::Blocked));
    pair.pump();
    assert_eq!(pair.client.session.open(T0), Err(OpenError::Blocked));
    assert!(pair.client.events().is_empty());
    let accepted = pair.server.session.accept(T0).unwrap();
    pair.pump();
    assert_eq!(pair.client.events(), [Event::OpenReady]);
    pair.client.session.open(T0).unwrap();
    assert_eq!(pair.client.session.open(T0), Err(OpenError::Blocked));
    // A stream that is given up waits for no ACK either.
    pair.client.session.reset(T0, first, 0);
    assert_eq!(
        pair.client.session.open(T0),
        Err(OpenError::Blocked),
        "acknowledged already"
    );
    pair.server.session.reset(T0, accepted, 0);
    let stats = pair.client.session.stats();
    assert_eq!(stats.unacknowledged, 256);
}

#[test]
fn inbound_streams_over_the_backlog_are_refused_and_the_session_lives() {
    // Y20
    let mut node = Node::server();
    for n in 0..300 {
        node.feed(T0, data(SYN, 1 + 2 * n, b"request"));
    }
    let refused = heads(&node.frames(T0));
    let expected: Vec<_> = (256..300).map(|n| (UPDATE, RST, 1 + 2 * n, 0)).collect();
    assert_eq!(refused, expected);
    assert_eq!(node.events(), [Event::Acceptable], "told once");
    let stats = node.session.stats();
    assert_eq!((stats.streams_accepted, stats.streams_refused), (256, 44));
    assert_eq!(stats.bytes_discarded, 44 * 7);
    for _ in 0..256 {
        let key = node.session.accept(T0).unwrap();
        assert_eq!(node.read(T0, key).0, b"request");
    }
    assert_eq!(node.session.accept(T0), None);
    node.feed(T0, data(SYN, 601, b"again"));
    assert_eq!(node.events(), [Event::Acceptable]);
    assert!(node.session.accept(T0).is_some() && node.closed().is_none());
}

#[test]
fn streams_over_the_limit_of_open_ones_are_refused() {
    // C4, max_streams
    let config = Config {
        max_streams: 3,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    for n in 0..3 {
        node.feed(T0, raw(UPDATE, SYN, 1 + 2 * n, 0));
        node.session.accept(T0).unwrap();
    }
    node.flush(T0);
    node.feed(T0, raw(UPDATE, SYN, 7, 0));
    assert_eq!(heads(&node.frames(T0)), [(UPDATE, RST, 7, 0)]);
    // One ends and is let go: there is room again.
    node.feed(T0, raw(UPDATE, RST, 1, 0));
    let gone = node.session.streams().next().unwrap();
    node.session.release(T0, gone, Half::Send);
    node.session.release(T0, gone, Half::Recv);
    node.feed(T0, raw(UPDATE, SYN, 9, 0));
    assert!(node.session.accept(T0).is_some());
}

#[test]
fn a_refused_open_reaches_the_opener() {
    // Y21
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    node.write(T0, key, &b"hello"[..]);
    assert_eq!(node.read(T0, key).1, Err(ReadError::Blocked));
    node.flush(T0);
    node.feed(T0, raw(UPDATE, RST, 1, 42));
    assert_eq!(
        node.events(),
        [Event::StreamReset(key), Event::Readable(key)]
    );
    assert_eq!(node.read(T0, key).1, Err(ReadError::Reset(42)));
    let result = node.session.write(T0, key, &mut pattern(1));
    assert_eq!(result, Err(WriteError::Reset(42)));
    assert_eq!(node.session.stats().unacknowledged, 0);
    assert!(node.closed().is_none());
}

#[test]
fn an_open_that_is_never_acknowledged_ends() {
    // Y23
    let config = Config {
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Client, config);
    let key = node.session.open(T0).unwrap();
    let acknowledged = node.session.open(T0).unwrap();
    node.flush(T0);
    node.feed(T0, raw(UPDATE, ACK, 3, 0));
    assert_eq!(node.read(T0, key).1, Err(ReadError::Blocked));
    assert_eq!(node.session.poll_timeout(), Some((at(75_000), Timer::Open)));
    node.sleep(at(74_999));
    assert!(node.events().is_empty());
    node.sleep(at(75_000));
    assert_eq!(
        node.events(),
        [Event::StreamReset(key), Event::Readable(key)]
    );
    assert_eq!(heads(&node.frames(at(75_000))), [(UPDATE, RST, 1, 0)]);
    assert_eq!(node.state(acknowledged), State::Established);
    assert_eq!(node.session.poll_timeout(), None);
    assert_eq!(node.session.stats().streams_timed_out, 1);
}

#[test]
fn a_stream_given_up_before_its_syn_is_never_heard_of() {
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    node.write(T0, key, pattern(10_000));
    node.session.reset(T0, key, 5);
    for half in [Half::Send, Half::Recv] {
        node.session.release(T0, key, half);
    }
    assert!(node.frames(T0).is_empty());
    let stats = node.session.stats();
    assert_eq!(
        (stats.slots, stats.memory_used, stats.unacknowledged),
        (0, 0, 0)
    );
}
