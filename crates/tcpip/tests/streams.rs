//! How streams move between two stacks: round trips, windows, acknowledgements, memory.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod pair;

use pair::{MILLI, Pair, Wire, pattern};
use weir_core::time::Duration;
use weir_tcpip::{
    CloseCause, ConnectConfig, ConnectError, KeepAlive, ListenConfig, Setting, State, TcpKey,
};

/// A pair over a link of 10 ms each way, and a connection over it.
fn far(wire: &Wire) -> (Pair, TcpKey, TcpKey) {
    let mut pair = Pair::new(wire);
    pair.delay = 10 * MILLI;
    let listener = pair.listen(ListenConfig::default());
    let a = pair.dial(ConnectConfig::default());
    pair.run(100 * MILLI);
    let b = pair.b.stack.tcp_accept(pair.now, listener).unwrap();
    (pair, a, b)
}

/// Runs until B has `bytes` more, in steps of a millisecond, and returns how long it took.
fn until(pair: &mut Pair, bytes: usize, mut got: impl FnMut(&mut Pair) -> usize) -> Duration {
    let begun = pair.now;
    let mut all = 0;
    while all < bytes {
        pair.run(MILLI);
        all += got(pair);
        let took = pair.now.saturating_duration_since(begun);
        assert!(took < Duration::from_secs(100), "stands still at {all}");
    }
    pair.now.saturating_duration_since(begun)
}

// T61, T63, T65: a request and its answer take a round trip each, whatever their sizes: neither
// Nagle nor a delayed ACK adds to it.
#[test]
fn requests_and_answers_take_a_round_trip() {
    for (question, answer) in [(1, 1), (100, 1024), (1024, 100), (3000, 5000), (1448, 1449)] {
        let (mut pair, a, b) = far(&Wire::default());
        for round in 0..30 {
            let begun = pair.now;
            let out = pattern(question);
            pair.a.stack.tcp_write_slice(pair.now, a, &out).unwrap();
            until(&mut pair, question, |pair| {
                pair.b.read_all(pair.now, b).0.len()
            });
            let out = pattern(answer);
            pair.b.stack.tcp_write_slice(pair.now, b, &out).unwrap();
            until(&mut pair, answer, |pair| {
                pair.a.read_all(pair.now, a).0.len()
            });
            let took = pair.now.saturating_duration_since(begun);
            assert!(
                took <= 22 * MILLI,
                "{question}, {answer}: {took:?} in round {round}"
            );
        }
        // An answer carries the ACK of the question, unless that was two full segments.
        let stats = pair.a.stack.tcp_stats(pair.now, a).unwrap();
        let data = stats.data_segments_out + stats.data_segments_in;
        let acks = stats.segments_out + stats.segments_in - data;
        assert!(acks <= 6 || question + answer > 2896, "{acks} ACKs");
    }
}

// T69, T70, T159: both windows open until the path is full.
#[test]
fn a_long_transfer_fills_the_path() {
    for offload in [false, true] {
        let wire = Wire {
            offload,
            ..Wire::default()
        };
        let (mut pair, a, b) = far(&wire);
        let mut data = pattern(40_000_000);
        let len = data.len();
        let took = until(&mut pair, len, |pair| {
            while !data.is_empty() && pair.a.stack.tcp_write(pair.now, a, &mut data).is_ok() {}
            pair.b.read_all(pair.now, b).0.len()
        });
        let stats = pair.a.stack.tcp_stats(pair.now, a).unwrap();
        let peer = pair.b.stack.tcp_stats(pair.now, b).unwrap();
        // 40 MB with at most 4 MiB a round trip are 10 of them, after those of slow start.
        assert!(took < 800 * MILLI, "{took:?}");
        assert_eq!(stats.retransmissions, 0);
        assert_eq!(peer.receive_window_size, 6 << 20);
        assert!(peer.segments_out < stats.data_segments_out * 6 / 10);
    }
}

// T54, T59: a reader that takes little at a time holds the sender back and loses nothing.
#[test]
fn a_slow_reader_holds_the_sender_back() {
    let (mut pair, a, b) = far(&Wire::default());
    let small = Setting::ReceiveWindow(70 << 10);
    pair.b.stack.tcp_configure(pair.now, b, small).unwrap();
    let mut data = pattern(500_000);
    let len = data.len();
    let mut most = 0;
    let took = until(&mut pair, len, |pair| {
        while !data.is_empty() && pair.a.stack.tcp_write(pair.now, a, &mut data).is_ok() {}
        let unread = pair.b.stack.tcp_stats(pair.now, b).unwrap().unread;
        most = most.max(unread);
        let read = pair.b.stack.tcp_read(pair.now, b, 1000);
        read.map_or(0, |bytes| bytes.map_or(0, |bytes| bytes.len()))
    });
    // 1,000 bytes a millisecond.
    assert!((500..700).contains(&took.as_millis()), "{took:?}");
    assert!(most <= 70 << 10);
    let stats = pair.a.stack.tcp_stats(pair.now, a).unwrap();
    assert_eq!(stats.retransmissions, 0);
}

// T53: what an idle stack holds is what its connections cost, and no buffers.
#[test]
fn idle_connections_hold_no_buffers() {
    let (mut pair, a, b) = far(&Wire::default());
    let idle = pair.a.stack.stats().memory;
    for _ in 0..5 {
        let mut data = pattern(200_000);
        until(&mut pair, 200_000, |pair| {
            while !data.is_empty() && pair.a.stack.tcp_write(pair.now, a, &mut data).is_ok() {}
            pair.b.read_all(pair.now, b).0.len()
        });
    }
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.a.stack.stats().memory, idle);
    let begun = pair.now;
    pair.run(Duration::from_secs(3600));
    // Nothing wakes up.
    assert!(
        pair.a
            .stack
            .poll_timeout()
            .is_none_or(|(at, _)| at > begun + Duration::from_secs(3600))
    );
}

// T126, T156: a connection that sleeps still asks whether the peer is there, and hears the answer.
#[test]
fn keep_alive_wakes_what_sleeps() {
    let mut pair = Pair::new(&Wire::default());
    let listener = pair.listen(ListenConfig::default());
    let mut config = ConnectConfig::default();
    config.tcp.keepalive = Some(KeepAlive {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(5),
        count: 3,
    });
    let a = pair.dial(config);
    pair.run(100 * MILLI);
    let b = pair.b.stack.tcp_accept(pair.now, listener).unwrap();
    for round in 1..=4 {
        let before = (pair.a.sent, pair.b.sent);
        pair.run(Duration::from_secs(31));
        // A probe, and its answer.
        assert_eq!(
            (pair.a.sent, pair.b.sent),
            (before.0 + 1, before.1 + 1),
            "{round}"
        );
    }
    assert_eq!(pair.b.stack.tcp_state(b), Some(State::Established));
    pair.b.passes = Some(Box::new(|_| false));
    pair.run(Duration::from_secs(60));
    let cause = Some(CloseCause::KeepAliveTimedOut);
    assert_eq!(pair.a.stack.tcp_close_cause(a), cause);
}

// The way to a peer is not looked for again for each connection; where tables have changed it is.
#[test]
fn the_next_connection_sees_another_route() {
    let mut pair = Pair::new(&Wire::default());
    pair.listen(ListenConfig::default());
    let mtu = |pair: &mut Pair| {
        let a = pair.dial(ConnectConfig::default());
        pair.run(10 * MILLI);
        pair.a.stack.tcp_stats(pair.now, a).unwrap().path_mtu
    };
    assert_eq!((mtu(&mut pair), mtu(&mut pair)), (1500, 1500));
    pair.a.stack.set_mtu(pair.a.interface, 1280).unwrap();
    assert_eq!(mtu(&mut pair), 1280);
    let own = pair.at(1, 0).ip();
    assert!(pair.a.stack.remove_address(pair.a.interface, own));
    let to = pair.at(2, 80);
    let refused = pair
        .a
        .stack
        .tcp_connect(pair.now, to, ConnectConfig::default());
    assert!(matches!(refused, Err(ConnectError::NoRoute(_))));
}

// T122: who let go of a connection asks in vain; the stack goes on with it, and says so to those who name
// its ends.
#[test]
fn a_key_that_was_let_go_finds_nothing() {
    let mut pair = Pair::new(&Wire::default());
    let listener = pair.listen(ListenConfig::default());
    let a = pair.dial(ConnectConfig::default());
    pair.run(10 * MILLI);
    let b = pair.b.stack.tcp_accept(pair.now, listener).unwrap();
    let (local, remote) = pair.a.stack.tcp_addresses(a).unwrap();
    let between = |pair: &Pair| pair.a.stack.tcp_state_between(local, remote);
    assert_eq!(between(&pair), Some(State::Established));
    pair.a.stack.tcp_close(pair.now, a);
    assert_eq!(pair.a.stack.tcp_state(a), None);
    assert_eq!(pair.a.stack.tcp_addresses(a), None);
    assert!(pair.a.stack.tcp_stats(pair.now, a).is_none());
    assert_eq!(pair.a.stack.tcp_close_cause(a), None);
    assert_eq!(between(&pair), Some(State::FinWait1));
    pair.run(10 * MILLI);
    assert_eq!(between(&pair), Some(State::FinWait2));
    pair.b.stack.tcp_close(pair.now, b);
    pair.run(10 * MILLI);
    assert_eq!(between(&pair), Some(State::TimeWait));
    pair.run(Duration::from_secs(61));
    assert_eq!(between(&pair), None);
}
