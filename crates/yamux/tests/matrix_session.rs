//! The frames of the session itself, with every flag and value that matters (threat C2), and what
//! is not to be said too early.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod proof;

use proof::frames::{ACK, DATA, FIN, FIRST_WINDOW, Frame, GO_AWAY, PING, RST, SYN, UPDATE};
use proof::{Peer, ReadEnd, quiet};
use weir_yamux::{Config, ReadError, Role, WriteError};

#[test]
fn c2_versions_and_types_that_do_not_exist_end_the_session() {
    // Y2, Y3
    for role in [Role::Client, Role::Server] {
        for version in 1..=255 {
            let mut peer = Peer::of(role, quiet());
            peer.send(&[Frame {
                version,
                ..Frame::ping(SYN, 1)
            }]);
            peer.assert_protocol_error();
        }
        for kind in 4..=255 {
            let mut peer = Peer::of(role, quiet());
            peer.send(&[Frame::new(kind, 0, 0, 0)]);
            peer.assert_protocol_error();
        }
    }
}

#[test]
fn c2_stream_zero_is_for_the_session_and_only_for_it() {
    // Y7, Y8
    for flags in 0..16 {
        for kind in [DATA, UPDATE] {
            let mut peer = Peer::of_server();
            peer.send(&[Frame::new(kind, flags, 0, 0)]);
            peer.assert_protocol_error();
        }
        for kind in [PING, GO_AWAY] {
            for id in [1, 2, u32::MAX] {
                let mut peer = Peer::of_server();
                peer.send(&[Frame::new(kind, flags, id, 0)]);
                peer.assert_protocol_error();
            }
        }
    }
}

#[test]
fn c2_pings_with_any_flags() {
    // Y44
    for flags in 0..16 {
        for value in [0, 1, 0x0102_0304, u32::MAX] {
            let mut peer = Peer::of_server();
            let answer = peer.exchange(&[Frame::ping(flags, value)]);
            match flags {
                SYN => assert_eq!(answer, [Frame::ping(ACK, value)]),
                // Neither question nor answer, or an answer that nobody asked for.
                _ if flags & SYN == 0 => assert_eq!(answer, []),
                // Flags that mean nothing on a ping do not hide the question.
                _ => assert!(answer.is_empty() || answer == [Frame::ping(ACK, value)]),
            }
            peer.assert_alive();
        }
    }
}

#[test]
fn c2_go_away_with_any_code_and_flags() {
    // Y47, Y48
    for flags in 0..16 {
        for code in [0, 1, 2, 3, u32::MAX] {
            let mut peer = Peer::of_client();
            let key = peer.open();
            peer.recv();
            peer.send(&[Frame {
                flags,
                ..Frame::go_away(code)
            }]);
            if code == 0 {
                assert_eq!(peer.open_error(), weir_yamux::OpenError::GoAway);
                assert_eq!(peer.write(key, b"goes on"), Ok(7));
                peer.assert_alive();
            } else {
                let reason = peer.closed().cloned().expect("closed");
                assert_eq!(reason.code, u64::from(code), "{reason}");
                assert_eq!(reason.by, weir_core::close::Initiator::Peer);
                assert_eq!(peer.write(key, b"x"), Err(weir_yamux::WriteError::Closed));
                assert_eq!(peer.recv(), [], "nothing is left to say");
            }
        }
    }
}

#[test]
fn c2_a_window_may_come_to_32_bits_and_no_further() {
    // Y27
    let open = |delta| {
        let mut peer = Peer::of_client();
        let key = peer.open();
        let id = peer.id(key);
        peer.recv();
        peer.send(&[Frame::update(ACK, id, delta)]);
        peer
    };
    let most = u32::MAX - u32::try_from(FIRST_WINDOW).unwrap();
    let mut peer = open(most);
    peer.assert_alive();
    peer.send(&[Frame::update(0, 1, 0)]);
    peer.assert_alive();
    peer.send(&[Frame::update(0, 1, 1)]);
    peer.assert_protocol_error();
    open(u32::MAX).assert_protocol_error();
}

#[test]
fn c2_a_stream_that_waits_to_be_accepted_hears_nothing_before_its_ack() {
    // Y13, Y15: found by seed 3060 of the random schedules; the window was announced alone.
    let config = Config {
        receive_window: 1 << 20,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config);
    peer.send(&[Frame::data(SYN, 1, b"hello")]);
    for _ in 0..10 {
        peer.pass(weir_core::time::Duration::from_secs(1));
        let said = peer.recv();
        assert!(said.iter().all(|frame| frame.kind == PING), "{said:?}");
    }
    assert!(peer.accept().is_some());
    let more = (1 << 20) - u32::try_from(FIRST_WINDOW).unwrap();
    let answer = peer.recv();
    assert_eq!(answer.len(), 1, "{answer:?}");
    assert!(answer[0].has(ACK) && answer[0].kind == UPDATE, "{answer:?}");
    assert!(answer[0].length <= more, "{answer:?}");
}

#[test]
fn c2_an_end_that_was_not_read_is_no_end_after_a_reset() {
    // Y38, Y39: what came in order before the mistake is not to be taken for the whole.
    for reset_here in [false, true] {
        let mut peer = Peer::of_server();
        peer.send(&[Frame::data(SYN | FIN, 1, b"all there is")]);
        let key = peer.accept().unwrap();
        peer.recv();
        if reset_here {
            peer.session.reset(peer.now, key, 3);
        } else {
            peer.send(&[Frame::data(0, 1, b"or not")]);
        }
        let (_, end) = peer.read_all(key);
        assert!(
            matches!(end, ReadEnd::Error(ReadError::Reset(_))),
            "{end:?}"
        );
        assert_eq!(peer.recv().iter().filter(|frame| frame.has(RST)).count(), 1);
        peer.assert_alive();
    }
}

#[test]
fn c2_an_end_that_came_before_the_peers_reset_stays_one() {
    // Y38: the peer had said all it wanted to say.
    let mut peer = Peer::of_server();
    peer.send(&[Frame::data(SYN | FIN, 1, b"all"), Frame::update(RST, 1, 9)]);
    assert!(peer.accept().is_none(), "reset before anybody took it");
    peer.send(&[Frame::data(SYN, 3, b"all")]);
    let key = peer.accept().unwrap();
    peer.send(&[Frame::data(FIN, 3, b" of it"), Frame::update(RST, 3, 9)]);
    assert_eq!(peer.read_all(key), (b"all of it".to_vec(), ReadEnd::Fin));
    assert_eq!(peer.write(key, b"x"), Err(WriteError::Reset(9)));
    peer.assert_alive();
}

#[test]
fn c2_a_stream_that_is_not_read_any_more_gives_its_window_back() {
    // Y28, Y30: as long as this side writes, the peer is not left standing.
    let window = usize::try_from(FIRST_WINDOW).unwrap();
    for unread in [0, window] {
        let mut peer = Peer::of_server();
        peer.send(&[Frame::data(SYN, 1, &vec![1; unread])]);
        let key = peer.accept().unwrap();
        peer.recv();
        let mut open = window - unread;
        peer.session.stop(peer.now, key, 1);
        for _ in 0..20 {
            let updates = peer.recv().into_iter().filter(|frame| frame.kind == UPDATE);
            open += updates.map(|frame| frame.length as usize).sum::<usize>();
            assert!(open >= window / 2 && open <= window, "{open} bytes open");
            peer.send(&[Frame::data(0, 1, &vec![2; open])]);
            open = 0;
            assert_eq!(peer.write(key, b"still here"), Ok(10));
        }
        assert_eq!(
            peer.session.stats().memory_used,
            stream_cost(&peer),
            "nothing is kept"
        );
    }
}

/// What a stream costs, and what waits to be sent on it.
fn stream_cost(peer: &Peer) -> u64 {
    let queued = peer
        .session
        .streams()
        .map(|key| peer.session.stream_stats(key).unwrap().queued);
    weir_yamux::limits::STREAM_COST + queued.sum::<u64>()
}
