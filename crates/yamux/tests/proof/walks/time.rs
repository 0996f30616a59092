//! Caps on how long and how often.

use super::inbound;
use crate::proof::frames::{ACK, FIRST_WINDOW, Frame, PING, RST, SYN};
use crate::proof::{Peer, quiet};
use weir_core::time::Duration;
use weir_yamux::limits as cap;
use weir_yamux::{Config, Key, Role};

/// A stream with a window that has grown: fast reading on a path of 100 ms.
fn grown() -> (Peer, Key) {
    let mut peer = Peer::of_server();
    let key = inbound(&mut peer, 1);
    for _ in 0..60 {
        let open = peer.session.stream_stats(key).unwrap().recv_window;
        let open = usize::try_from(open.min(1 << 20)).unwrap();
        if open > 0 {
            peer.send(&[Frame::data(0, 1, &vec![1; open])]);
        }
        peer.read_all(key);
        let said = peer.recv();
        peer.pass(Duration::from_millis(100));
        for ping in said
            .iter()
            .filter(|frame| frame.kind == PING && frame.has(SYN))
        {
            peer.send(&[Frame::ping(ACK, ping.length)]);
        }
    }
    let size = peer.session.stream_stats(key).unwrap().recv_window_size;
    assert!(size > FIRST_WINDOW, "{size}");
    (peer, key)
}

pub fn window_sweep() {
    // Y29: it grows with the path, inside its bound, and gives the memory back when idle.
    let (mut peer, key) = grown();
    let most = u64::from(Config::default().max_receive_window);
    let before = peer.session.stream_stats(key).unwrap().recv_window_size;
    assert!(before <= most, "{before}");
    let used = peer.session.stats().memory_used;
    // A trickle: what is announced anew shrinks towards the first window.
    for _ in 0..400 {
        peer.pass(Duration::from_millis(cap::WINDOW_SWEEP_MILLIS));
        peer.send(&[Frame::data(0, 1, &[1; 60_000])]);
        peer.read_all(key);
        for ping in peer
            .recv()
            .iter()
            .filter(|frame| frame.kind == PING && frame.has(SYN))
        {
            peer.send(&[Frame::ping(ACK, ping.length)]);
        }
    }
    let after = peer.session.stream_stats(key).unwrap().recv_window_size;
    assert!(after < before, "{after} of {before}");
    assert!(peer.session.stats().memory_used < used);
}

pub fn rtt_age() {
    // Y29: a window that tunes asks for a fresh sample, and not more often than that.
    let (mut peer, key) = grown();
    let mut pings = 0;
    let seconds = 50;
    for _ in 0..seconds * 10 {
        peer.pass(Duration::from_millis(100));
        let open = peer
            .session
            .stream_stats(key)
            .unwrap()
            .recv_window
            .min(1 << 20);
        peer.send(&[Frame::data(0, 1, &vec![1; usize::try_from(open).unwrap()])]);
        peer.read_all(key);
        for ping in peer
            .recv()
            .iter()
            .filter(|frame| frame.kind == PING && frame.has(SYN))
        {
            pings += 1;
            peer.send(&[Frame::ping(ACK, ping.length)]);
        }
    }
    let most = seconds / cap::RTT_MAX_AGE_SECS + 1;
    assert!(pings >= 3 && pings <= most, "{pings} pings in {seconds} s");
}

pub fn reset_patience() {
    // Threat C9 (rapid reset): refused after the burst, over after so many bursts more.
    let config = Config {
        reset_burst: 10,
        reset_rate: 1,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config);
    let mut accepted = 0;
    let mut loops = 0;
    while peer.closed().is_none() {
        let id = 1 + 2 * loops;
        peer.send(&[Frame::update(SYN, id, 0), Frame::update(RST, id, 0)]);
        peer.recv();
        accepted = peer.session.stats().streams_accepted;
        loops += 1;
        assert!(loops < 1_000);
    }
    assert_eq!(accepted, 10);
    assert_eq!(u64::from(loops), 10 + 10 * cap::RESET_PATIENCE + 1);
    // With time between, nobody is hurt.
    let config = Config {
        reset_burst: 10,
        reset_rate: 1,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config);
    for n in 0..1_000 {
        let id = 1 + 2 * n;
        peer.send(&[Frame::update(SYN, id, 0), Frame::update(RST, id, 0)]);
        peer.pass(Duration::from_secs(1));
    }
    assert_eq!(peer.session.stats().streams_accepted, 1_000);
    peer.assert_alive();
}

pub fn keepalive_patience() {
    // Y46: pings that nobody answers end the session, later when other bytes come.
    let config = Config {
        keepalive: Some(Duration::from_secs(5)),
        keepalive_timeout: Duration::from_secs(10),
        ..Config::default()
    };
    let lives = |talks: bool| {
        let mut peer = Peer::of(Role::Server, config.clone());
        let mut key = None;
        let mut asked = None;
        for second in 0..1_000 {
            if talks && asked.is_some() {
                let key = *key.get_or_insert_with(|| inbound(&mut peer, 1));
                peer.send(&[Frame::data(0, 1, b"tick")]);
                peer.read_all(key);
            }
            if peer.recv().iter().any(|frame| frame.kind == PING) {
                asked.get_or_insert(second);
            }
            peer.pass(Duration::from_secs(1));
            if peer.closed().is_some() {
                return second - asked.expect("a ping");
            }
        }
        panic!("the session lives on without an answer");
    };
    let silent = lives(false);
    assert!((9..=11).contains(&silent), "{silent} s");
    let talking = lives(true);
    let most = 10 * cap::KEEPALIVE_PATIENCE;
    assert!((most - 1..=most + 1).contains(&talking), "{talking} s");
}
