//! Data and windows: Y24 to Y29.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;

const WINDOW: usize = 256 * KIB;

/// A server with one accepted stream of the peer, acknowledged.
fn accepted(config: Config) -> (Node, Key) {
    let mut node = Node::new(Role::Server, config);
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    let key = node.session.accept(T0).unwrap();
    node.flush(T0);
    (node, key)
}

/// Sends `size` bytes to stream 1 in frames of 16 KiB and reads them.
fn stream_in(node: &mut Node, now: Instant, key: Key, size: usize) {
    let frame = data(NONE, 1, &pattern(16 * KIB));
    for _ in 0..size / (16 * KIB) {
        node.feed(now, &frame);
        assert_eq!(node.read(now, key).0.len(), 16 * KIB);
    }
}

fn updates(frames: &[Frame]) -> Vec<u32> {
    let updates = frames.iter().filter(|frame| frame.header.kind == UPDATE);
    updates.map(|frame| frame.header.length).collect()
}

#[test]
fn the_first_window_is_256_kib_each_way_for_each_stream() {
    // Y24, Y25: only Data counts, and the sender stops at the last byte
    let mut node = Node::client();
    let mut keys = Vec::new();
    for _ in 0..3 {
        let key = node.session.open(T0).unwrap();
        assert_eq!(node.write(T0, key, pattern(WINDOW + 1)), WINDOW + 1);
        keys.push(key);
    }
    let mut sent = [0; 3];
    for frame in node.frames(T0) {
        sent[frame.header.stream_id as usize / 2] += frame.payload.len();
    }
    assert_eq!(sent, [WINDOW; 3]);
    for key in keys {
        let stats = node.session.stream_stats(key).unwrap();
        assert_eq!(
            (stats.send_window, stats.recv_window, stats.queued),
            (0, 262_144, 1)
        );
    }
}

#[test]
fn a_sender_goes_on_with_what_it_is_granted() {
    // Y25
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    node.write(T0, key, pattern(WINDOW + 100));
    node.session.finish(T0, key);
    node.flush(T0);
    assert!(node.frames(T0).is_empty());
    node.feed(T0, raw(UPDATE, ACK, 1, 60));
    assert_eq!(heads(&node.frames(T0)), [(DATA, NONE, 1, 60)]);
    node.feed(T0, raw(UPDATE, NONE, 1, 0));
    assert!(node.frames(T0).is_empty());
    node.feed(T0, raw(UPDATE, NONE, 1, 1000));
    let last = node.frames(T0);
    assert_eq!(heads(&last), [(DATA, NONE, 1, 40), (DATA, FIN, 1, 0)]);
    assert_eq!(last[0].payload, pattern(WINDOW + 100)[WINDOW + 60..]);
}

#[test]
fn a_fin_needs_no_window() {
    // Y25, Y35
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    node.write(T0, key, pattern(WINDOW));
    node.flush(T0);
    assert_eq!(node.session.stream_stats(key).unwrap().send_window, 0);
    node.session.finish(T0, key);
    assert_eq!(heads(&node.frames(T0)), [(DATA, FIN, 1, 0)]);
}

#[test]
fn data_past_the_window_is_a_protocol_error() {
    // Y26: one byte too many, whether in one frame or in the last of many
    let (mut node, _) = accepted(Config::default());
    node.feed(T0, raw(DATA, NONE, 1, 256 * 1024 + 1));
    assert_eq!(
        node.closed().unwrap(),
        (
            1,
            "ended by this side with transport error 0x1 in a Data frame: \
             262145 bytes on stream 1, its window had 262144 left"
                .to_owned()
        )
    );
    assert_eq!(heads(&node.frames(T0)), [(AWAY, NONE, 0, 1)]);

    let (mut node, _) = accepted(Config::default());
    for _ in 0..4 {
        node.feed(T0, data(NONE, 1, &pattern(64 * KIB)));
    }
    assert!(node.closed().is_none());
    node.feed(T0, data(NONE, 1, b"!"));
    assert!(node.closed().unwrap().1.contains("its window had 0 left"));

    // With the SYN itself (C1).
    let mut node = Node::server();
    node.feed(T0, raw(DATA, SYN, 1, u32::MAX));
    assert!(
        node.closed()
            .unwrap()
            .1
            .contains("4294967295 bytes on stream 1")
    );
}

#[test]
fn grants_are_summed_without_wrapping() {
    // Y27: up to what 32 bits hold, and one byte more is a protocol error
    let most = u32::MAX - 256 * 1024;
    let (mut node, key) = accepted(Config::default());
    node.feed(T0, raw(UPDATE, NONE, 1, most));
    assert_eq!(
        node.session.stream_stats(key).unwrap().send_window,
        u64::from(u32::MAX)
    );
    node.feed(T0, raw(UPDATE, NONE, 1, 0));
    assert!(node.closed().is_none());
    node.feed(T0, raw(UPDATE, NONE, 1, 1));
    let (code, reason) = node.closed().unwrap();
    assert_eq!(code, 1);
    assert!(
        reason.contains("window update of 1 on stream 1 overflows"),
        "{reason}"
    );

    // What was sent makes room for grants again: the sum over time may pass 32 bits.
    let (mut node, key) = accepted(Config::default());
    node.feed(T0, raw(UPDATE, NONE, 1, most));
    for _ in 0..5 {
        node.write(T0, key, pattern(100_000));
        node.flush(T0);
        node.feed(T0, raw(UPDATE, NONE, 1, 100_000));
    }
    assert_eq!(
        node.session.stream_stats(key).unwrap().send_window,
        u64::from(u32::MAX)
    );
    assert!(node.closed().is_none());
}

#[test]
fn an_update_is_sent_for_half_a_window_and_not_before() {
    // Y28
    let (mut node, key) = accepted(Config::default());
    stream_in(&mut node, T0, key, 112 * KIB);
    assert!(updates(&node.frames(T0)).is_empty());
    stream_in(&mut node, T0, key, 16 * KIB);
    assert_eq!(updates(&node.frames(T0)), [128 * 1024]);
    stream_in(&mut node, T0, key, 1024 * KIB);
    assert_eq!(
        updates(&node.frames(T0)),
        [1024 * 1024],
        "not flushed meanwhile: one frame"
    );
    assert_eq!(
        node.session.stream_stats(key).unwrap().recv_window,
        256 * 1024
    );
}

#[test]
fn data_that_is_not_read_gets_no_update() {
    // Y28, Y30
    let (mut node, key) = accepted(Config::default());
    for _ in 0..16 {
        node.feed(T0, data(NONE, 1, &pattern(16 * KIB)));
    }
    assert!(node.frames(T0).is_empty());
    let stats = node.session.stream_stats(key).unwrap();
    assert_eq!((stats.recv_window, stats.buffered), (0, WINDOW as u64));
    // Half of it is read: the update is for what was read.
    let mut read = 0;
    while read < 128 * KIB {
        read += node.session.read(T0, key, 10_000).unwrap().unwrap().len();
    }
    assert_eq!(updates(&node.frames(T0)), [u32::try_from(read).unwrap()]);
}

#[test]
fn no_update_follows_the_end() {
    // Y28: a stream that the peer has ended needs no credit
    let (mut node, key) = accepted(Config::default());
    for _ in 0..15 {
        node.feed(T0, data(NONE, 1, &pattern(16 * KIB)));
    }
    node.feed(T0, data(FIN, 1, &pattern(16 * KIB)));
    assert_eq!(node.read(T0, key).0.len(), WINDOW);
    assert!(node.frames(T0).is_empty());
}

/// Runs a bulk transfer over a path with a round trip of `rtt` and plenty of rate: each round the
/// peer sends all that it has credit for, answers pings, and the reader takes it. Returns the size
/// the window was tuned to after each round.
fn tuned(config: Config, rtt: u64, rounds: u64) -> Vec<u64> {
    let (mut node, key) = accepted(config);
    let mut credit = WINDOW;
    let mut sizes = Vec::new();
    let mut answers = Vec::new();
    for round in 1..=rounds {
        let now = at(round * rtt);
        node.feed(now, std::mem::take(&mut answers));
        let pieces = credit / (16 * KIB);
        stream_in(&mut node, now, key, pieces * 16 * KIB);
        credit -= pieces * 16 * KIB;
        for frame in node.frames(now) {
            match frame.header.kind {
                FrameType::Ping => answers.extend(raw(PING, ACK, 0, frame.header.length)),
                _ => credit += frame.header.length as usize,
            }
        }
        sizes.push(node.session.stream_stats(key).unwrap().recv_window_size);
        assert_eq!(node.session.close_reason(), None);
    }
    sizes
}
use weir_yamux::wire::FrameType;

#[test]
fn the_window_grows_with_bandwidth_times_delay() {
    // Y29: window after window within a round trip, up to the limit
    let config = Config {
        max_receive_window: 4 << 20,
        ..Config::default()
    };
    let sizes = tuned(config, 50, 40);
    assert_eq!(
        sizes[0],
        256 * 1024,
        "nothing is known of the round trip yet"
    );
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert_eq!(sizes.last(), Some(&(4 << 20)), "{sizes:?}");
    // 256 KiB to 4 MiB is four doublings; each takes a round trip or two.
    let reached = sizes.iter().position(|size| *size == 4 << 20).unwrap();
    assert!(reached <= 12, "{sizes:?}");
}

#[test]
fn the_window_grows_no_further_than_the_session_may_hold() {
    // Y29: 2 MiB for all of the session
    let config = Config {
        session_budget: 2 << 20,
        ..Config::default()
    };
    let sizes = tuned(config, 50, 40);
    let last = *sizes.last().unwrap();
    assert!(
        last > 256 * 1024 && last <= (1 << 20) + 256 * 1024,
        "{sizes:?}"
    );
}

#[test]
fn a_slow_stream_keeps_its_first_window() {
    // Y29: a quarter of a window each round trip
    let (mut node, key) = accepted(Config::default());
    for round in 1..100 {
        let now = at(round * 50);
        stream_in(&mut node, now, key, 64 * KIB);
        for frame in node.frames(now) {
            if frame.header.kind == FrameType::Ping {
                node.feed(at(round * 50 + 49), raw(PING, ACK, 0, frame.header.length));
            }
        }
    }
    assert_eq!(
        node.session.stream_stats(key).unwrap().recv_window_size,
        256 * 1024
    );
    assert_eq!(node.session.rtt().latest(), Some(Duration::from_millis(49)));
}

#[test]
fn a_grown_window_that_falls_idle_gives_its_memory_back() {
    // Y29
    let config = Config {
        keepalive: None,
        receive_window: 8 << 20,
        ..Config::default()
    };
    let (mut node, key) = accepted(config);
    let stats = node.session.stream_stats(key).unwrap();
    assert_eq!(stats.recv_window_size, 8 << 20);
    assert!(node.memory() >= (8 << 20) - (256 << 10));
    node.sleep(at(20_000));
    let stats = node.session.stream_stats(key).unwrap();
    assert_eq!(stats.recv_window_size, 256 * 1024);
    assert_eq!(
        stats.recv_window,
        8 << 20,
        "credit once given is not taken back"
    );
    assert!(node.memory() < 1024, "{}", node.memory());
    assert_eq!(
        node.session.poll_timeout(),
        None,
        "nothing is left to look at"
    );
    assert!(node.frames(at(20_000)).is_empty());
}

#[test]
fn no_ping_is_sent_before_a_window_wants_tuning() {
    // Y29: an idle or slow session stays silent
    let (mut node, key) = accepted(Config::default());
    node.feed(T0, data(NONE, 1, &pattern(100_000)));
    assert!(!node.read(T0, key).0.is_empty());
    assert!(node.frames(T0).is_empty());
    stream_in(&mut node, T0, key, 32 * KIB);
    let kinds: Vec<_> = node
        .frames(T0)
        .iter()
        .map(|frame| frame.header.kind)
        .collect();
    assert_eq!(kinds, [PING, UPDATE]);
}
