//! Every setting of a session: its range is checked, and a peer that tries to pass it cannot
//! (threat C4). A setting that is added to `Config` fails the first test until it has its walk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod proof;

use proof::frames::{ACK, DATA, FIN, FIRST_WINDOW, Frame, PING, RST, SYN, UPDATE};
use proof::{Peer, quiet};
use weir_core::time::Duration;
use weir_yamux::{CarrierState, Config, Half, Key, OpenError, Role, WriteError};

/// A setting, a value of it that is refused, and its walk.
type Walk = (&'static str, fn(&mut Config), fn());

const SECOND: Duration = Duration::from_secs(1);

const WALKS: [Walk; 16] = [
    ("receive_window", |c| c.receive_window = 1, windows),
    ("max_receive_window", |c| c.max_receive_window = 1, windows),
    ("max_streams", |c| c.max_streams = u32::MAX, max_streams),
    ("ack_backlog", |c| c.ack_backlog = 0, ack_backlog),
    ("accept_backlog", |c| c.accept_backlog = 0, accept_backlog),
    ("max_frame", |c| c.max_frame = 65_537, frames),
    ("fair_frame", |c| c.fair_frame = 0, frames),
    ("send_buffer", |c| c.send_buffer = 0, send_buffer),
    (
        "keepalive",
        |c| c.keepalive = Some(Duration::ZERO),
        keepalive,
    ),
    (
        "keepalive_timeout",
        |c| c.keepalive_timeout = Duration::MAX,
        keepalive,
    ),
    (
        "open_timeout",
        |c| c.open_timeout = Duration::ZERO,
        open_timeout,
    ),
    (
        "close_timeout",
        |c| c.close_timeout = Duration::ZERO,
        close_timeout,
    ),
    (
        "write_timeout",
        |c| c.write_timeout = Duration::ZERO,
        write_timeout,
    ),
    (
        "session_budget",
        |c| c.session_budget = 1_000,
        session_budget,
    ),
    ("reset_burst", |c| c.reset_burst = 0, resets),
    ("reset_rate", |c| c.reset_rate = 0, resets),
];

#[test]
fn c4_every_setting_is_checked_and_holds() {
    // Y19, Y20, Y23, Y29, Y43, Y46, Y51
    let source = include_str!("../src/config.rs");
    let start = source.find("pub struct Config {").unwrap();
    let body = &source[start..start + source[start..].find("\n}").unwrap()];
    let names = body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub "));
    let names: Vec<&str> = names
        .filter_map(|rest| rest.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert!(names.len() >= WALKS.len(), "{names:?}");
    for name in names {
        let walk = WALKS.iter().find(|(walked, ..)| *walked == name);
        let (_, spoil, walk) = walk.unwrap_or_else(|| panic!("{name} has no walk"));
        let mut config = Config::default();
        spoil(&mut config);
        let error = config.validate().expect_err("out of range");
        assert_eq!(error.field, name);
        assert!(error.to_string().starts_with(name), "{error}");
        eprintln!("{name}");
        walk();
    }
}

fn inbound(peer: &mut Peer, id: u32) -> Key {
    peer.send(&[Frame::update(SYN, id, 0)]);
    let key = peer.accept().expect("a stream");
    peer.recv();
    key
}

fn outbound(peer: &mut Peer, credit: u32) -> Key {
    let key = peer.open();
    let id = peer.id(key);
    peer.recv();
    peer.send(&[Frame::update(ACK, id, credit)]);
    peer.events();
    key
}

fn release(peer: &mut Peer, key: Key) {
    peer.session.release(peer.now, key, Half::Send);
    peer.session.release(peer.now, key, Half::Recv);
}

fn windows() {
    // However fast the peer sends and the application reads, the window ends at its bound; and it
    // begins where the configuration says.
    for (first, most) in [(256 << 10, 256 << 10), (1 << 20, 2 << 20)] {
        let config = Config {
            receive_window: first,
            max_receive_window: most,
            ..quiet()
        };
        let mut peer = Peer::of(Role::Server, config);
        let key = inbound(&mut peer, 1);
        let size = |peer: &Peer| peer.session.stream_stats(key).unwrap().recv_window_size;
        assert_eq!(size(&peer), u64::from(first));
        for _ in 0..100 {
            let open = peer.session.stream_stats(key).unwrap().recv_window;
            peer.send(&[Frame::data(0, 1, &vec![1; usize::try_from(open).unwrap()])]);
            peer.read_all(key);
            let said = peer.recv();
            peer.pass(Duration::from_millis(50));
            for ping in said
                .iter()
                .filter(|frame| frame.kind == PING && frame.has(SYN))
            {
                peer.send(&[Frame::ping(ACK, ping.length)]);
            }
            assert!(size(&peer) <= u64::from(most));
        }
        assert_eq!(size(&peer), u64::from(most), "it grew to its bound");
    }
}

fn max_streams() {
    let mut peer = Peer::of(
        Role::Server,
        Config {
            max_streams: 3,
            ..quiet()
        },
    );
    let keys: Vec<Key> = (0..3).map(|n| inbound(&mut peer, 1 + 2 * n)).collect();
    assert_eq!(
        peer.exchange(&[Frame::data(SYN, 7, b"x")]),
        [Frame::update(RST, 7, 0)]
    );
    // An ended stream that the application still holds counts; one that it let go of does not.
    peer.send(&[Frame::update(RST, 1, 0)]);
    assert_eq!(
        peer.exchange(&[Frame::data(SYN, 9, b"x")]),
        [Frame::update(RST, 9, 0)]
    );
    release(&mut peer, keys[0]);
    peer.send(&[Frame::data(SYN, 11, b"x")]);
    assert!(peer.accept().is_some());
    peer.assert_alive();
}

fn ack_backlog() {
    let mut peer = Peer::of(
        Role::Client,
        Config {
            ack_backlog: 5,
            ..quiet()
        },
    );
    for _ in 0..5 {
        peer.open();
    }
    assert_eq!(peer.open_error(), OpenError::Blocked);
    assert_eq!(peer.recv().len(), 5);
    // ACK, refusal and reset each make room for one.
    peer.send(&[Frame::update(ACK, 1, 0), Frame::update(RST, 3, 0)]);
    peer.open();
    peer.open();
    assert_eq!(peer.open_error(), OpenError::Blocked);
    // An ACK that comes twice does not.
    peer.send(&[Frame::update(ACK, 1, 0), Frame::data(ACK, 1, b"x")]);
    assert_eq!(peer.open_error(), OpenError::Blocked);
}

fn accept_backlog() {
    let mut peer = Peer::of(
        Role::Server,
        Config {
            accept_backlog: 4,
            ..quiet()
        },
    );
    for n in 0..10 {
        peer.send(&[Frame::data(SYN | FIN, 1 + 2 * n, b"x")]);
    }
    let refused: Vec<u32> = peer
        .recv()
        .iter()
        .filter(|frame| frame.has(RST))
        .map(|frame| frame.id)
        .collect();
    assert_eq!(refused, [9, 11, 13, 15, 17, 19]);
    assert!(peer.accept().is_some());
    assert!(
        peer.exchange(&[Frame::data(SYN, 21, b"x")])
            .iter()
            .all(|frame| !frame.has(RST))
    );
    assert_eq!(peer.session.stats().unaccepted, 4);
    peer.assert_alive();
}

fn frames() {
    // Y9, Y31: alone a stream sends large frames, in company small ones.
    let config = Config {
        max_frame: 8_192,
        fair_frame: 2_048,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Client, config);
    let lengths = |peer: &mut Peer| -> Vec<u32> {
        let data = peer.recv().into_iter().filter(|frame| frame.kind == DATA);
        data.map(|frame| frame.length).collect()
    };
    let first = outbound(&mut peer, 0);
    peer.write(first, &[1; 100_000]).unwrap();
    assert_eq!(lengths(&mut peer)[..12], [8_192; 12]);
    let second = outbound(&mut peer, 0);
    peer.write(first, &[1; 50_000]).unwrap();
    peer.write(second, &[2; 50_000]).unwrap();
    let shared = lengths(&mut peer);
    assert!(
        shared.iter().take(40).all(|length| *length == 2_048),
        "{shared:?}"
    );
}

fn send_buffer() {
    let config = Config {
        send_buffer: 100_000,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Client, config);
    let key = outbound(&mut peer, 0);
    assert_eq!(peer.write(key, &[1; 300_000]), Ok(100_000));
    assert_eq!(peer.write(key, b"x"), Err(WriteError::Blocked));
    assert_eq!(peer.session.stream_stats(key).unwrap().queued, 100_000);
}

fn keepalive() {
    // Nothing is asked while the peer is heard; then a ping, and the end when it is not answered.
    let config = Config {
        keepalive: Some(SECOND * 3),
        keepalive_timeout: SECOND * 2,
        ..Config::default()
    };
    let mut peer = Peer::of(Role::Server, config);
    for n in 0..10 {
        peer.send(&[Frame::ping(ACK, n)]);
        peer.pass(SECOND);
        assert_eq!(peer.recv(), []);
    }
    peer.pass(SECOND * 3);
    let asked = peer.recv();
    assert_eq!(asked.len(), 1);
    peer.send(&[Frame::ping(ACK, asked[0].length)]);
    peer.pass(SECOND * 2);
    assert!(peer.closed().is_none());
    peer.pass(SECOND * 2);
    assert_eq!(peer.recv().len(), 1);
    // Another value than the one asked for is no answer.
    peer.send(&[Frame::ping(ACK, asked[0].length)]);
    peer.pass(SECOND * 3);
    assert!(peer.closed().is_some());
}

fn open_timeout() {
    let config = Config {
        open_timeout: SECOND * 5,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Client, config);
    let never = peer.open();
    let acked = outbound(&mut peer, 0);
    peer.recv();
    // Data and credit without an ACK do not count as one.
    peer.send(&[Frame::update(0, 1, 5), Frame::data(0, 1, b"x")]);
    peer.pass(Duration::from_millis(4_999));
    assert!(peer.recv().is_empty());
    peer.pass(Duration::from_millis(2));
    let said = peer.recv();
    assert_eq!(
        said.iter().map(|f| (f.id, f.has(RST))).collect::<Vec<_>>(),
        [(1, true)]
    );
    assert!(matches!(peer.write(never, b"x"), Err(WriteError::Reset(_))));
    assert_eq!(peer.write(acked, b"x"), Ok(1));
    assert_eq!(peer.session.stats().streams_timed_out, 1);
}

fn close_timeout() {
    let config = Config {
        close_timeout: SECOND * 5,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config);
    let silent = inbound(&mut peer, 1);
    let talking = inbound(&mut peer, 3);
    for key in [silent, talking] {
        peer.session.finish(peer.now, key);
    }
    peer.recv();
    for _ in 0..12 {
        peer.pass(SECOND);
        peer.send(&[Frame::data(0, 3, b"more")]);
        peer.read_all(talking);
    }
    let said = peer.recv();
    assert_eq!(
        said.iter().map(|f| (f.id, f.has(RST))).collect::<Vec<_>>(),
        [(1, true)]
    );
    peer.send(&[Frame::data(FIN, 3, b"")]);
    peer.assert_alive();
    assert_eq!(peer.session.stats().streams_timed_out, 1);
}

fn write_timeout() {
    let config = Config {
        write_timeout: SECOND * 5,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Client, config);
    let key = outbound(&mut peer, 0);
    peer.write(key, &[1; 1_000]).unwrap();
    for _ in 0..10 {
        // Slow, but it moves.
        peer.session.handle_carrier(peer.now, CarrierState::Blocked);
        peer.pass(SECOND * 4);
        peer.session.handle_carrier(peer.now, CarrierState::Ready);
    }
    peer.session.handle_carrier(peer.now, CarrierState::Blocked);
    // What the peer sends does not make the carrier take anything.
    peer.pass(SECOND * 4);
    peer.send(&[Frame::update(0, 1, 1)]);
    peer.session.handle_carrier(peer.now, CarrierState::Blocked);
    assert!(peer.closed().is_none());
    peer.pass(SECOND * 2);
    assert!(peer.closed().is_some());
}

fn session_budget() {
    // Everything at once that a peer can make a session hold: data unread, data that is not let
    // out, streams.
    let limit = 2 << 20;
    let config = Config {
        session_budget: limit,
        accept_backlog: 4_096,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config);
    let window = usize::try_from(FIRST_WINDOW).unwrap();
    for n in 0..500 {
        let id = 1 + 2 * n;
        peer.send(&[
            Frame::data(SYN, id, &vec![1; window]),
            Frame::update(0, id, 1 << 28),
        ]);
        if let Some(key) = peer.accept() {
            while peer.write(key, &[2; 10_000]).is_ok() {}
        }
        let used = peer.budget.used();
        assert!(used <= limit, "{used} bytes");
    }
    assert!(peer.session.stats().streams_shed > 400);
    assert!(peer.closed().is_none());
    let said = peer.recv();
    assert!(
        said.iter()
            .all(|frame| frame.kind <= UPDATE || frame.kind == PING)
    );
}

fn resets() {
    let config = Config {
        reset_burst: 20,
        reset_rate: 5,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config);
    let mut id = 1;
    let mut storm = |peer: &mut Peer, count: u32| {
        let before = peer.session.stats().streams_accepted;
        for _ in 0..count {
            peer.send(&[Frame::update(SYN, id, 0), Frame::update(RST, id, 0)]);
            id += 2;
        }
        peer.recv();
        peer.session.stats().streams_accepted - before
    };
    assert_eq!(storm(&mut peer, 40), 20);
    // The bucket fills with time.
    peer.pass(SECOND * 2);
    assert_eq!(storm(&mut peer, 40), 10);
    peer.assert_alive();
}
