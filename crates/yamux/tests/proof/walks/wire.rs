//! Caps on frames, batches and replies.

use super::{batch, inbound, outbound, window};
use crate::proof::frames::{ACK, DATA, Frame, RST, SYN};
use crate::proof::peer::copy_all;
use crate::proof::{Peer, quiet};
use bytes::Bytes;
use weir_core::time::Duration;
use weir_yamux::limits as cap;
use weir_yamux::{CarrierState, Config, Input, Role, TransmitBuf};

pub fn initial_window() {
    // Y24, Y26: exactly so much is taken, in one frame or many, and not a byte more.
    for piece in [window(), window() / 16, 1000] {
        let mut peer = Peer::of_server();
        inbound(&mut peer, 1);
        let mut left = window();
        while left > 0 {
            let count = piece.min(left);
            peer.send(&[Frame::data(0, 1, &vec![7; count])]);
            left -= count;
        }
        peer.assert_alive();
        peer.send(&[Frame::data(0, 1, b"x")]);
        peer.assert_protocol_error();
    }
}

pub fn max_send_credit() {
    // Y27
    assert_eq!(cap::MAX_SEND_CREDIT, u64::from(u32::MAX));
    let mut peer = Peer::of_client();
    outbound(&mut peer, u32::MAX - cap::INITIAL_WINDOW);
    peer.assert_alive();
    peer.send(&[Frame::update(0, 1, 1)]);
    peer.assert_protocol_error();
}

pub fn max_frame() {
    // Y9: however much credit there is.
    const { assert!(cap::MAX_FRAME <= 64 * 1024) };
    let mut peer = Peer::of(
        Role::Client,
        Config {
            send_buffer: 4 << 20,
            ..quiet()
        },
    );
    let key = outbound(&mut peer, 1 << 30);
    assert_eq!(peer.write(key, &vec![1; 3 << 20]), Ok(3 << 20));
    let frames = peer.recv();
    let data: Vec<u32> = frames
        .iter()
        .filter(|f| f.kind == DATA)
        .map(|f| f.length)
        .collect();
    assert_eq!(
        data.iter().map(|length| u64::from(*length)).sum::<u64>(),
        3 << 20
    );
    assert_eq!(data.iter().max(), Some(&cap::MAX_FRAME));
}

pub fn copy_below() {
    // A small payload leaves in one slice with its header, a large one as what was written.
    for (size, slices) in [(cap::COPY_BELOW, 1), (cap::COPY_BELOW + 1, 2)] {
        let mut peer = Peer::of_client();
        let key = outbound(&mut peer, 0);
        peer.write(key, &vec![1; size]).unwrap();
        let batch = batch(&mut peer);
        assert_eq!((batch.len(), batch.slice_count()), (size + 12, slices));
    }
}

pub fn coalesce_below() {
    // Threat C5: ten thousand frames of a byte do not become ten thousand pieces.
    let mut peer = Peer::of_server();
    let key = inbound(&mut peer, 1);
    let frame = Frame::data(0, 1, b"x").bytes();
    peer.send_bytes(&frame.repeat(10_000));
    let mut pieces = 0;
    while let Ok(Some(bytes)) = peer.session.read(peer.now, key, usize::MAX) {
        assert!(bytes.iter().all(|byte| *byte == b'x'));
        pieces += 1;
    }
    assert!(pieces < 100, "{pieces} pieces");
    assert_eq!(peer.session.stats().memory_used, cap::STREAM_COST);
}

pub fn pinned() {
    // Past the limit, what arrives is copied and the read buffer let go of.
    for (pinned, size, holds) in [
        (cap::PINNED_LIMIT, cap::COPY_WHEN_PINNED - 1, true),
        (cap::PINNED_LIMIT + 1, cap::COPY_WHEN_PINNED - 1, false),
        (cap::PINNED_LIMIT + 1, cap::COPY_WHEN_PINNED, true),
    ] {
        let mut peer = Peer::of_server();
        let key = inbound(&mut peer, 1);
        peer.session.set_pinned(pinned);
        let read = Bytes::from(Frame::data(0, 1, &vec![5; size]).bytes());
        peer.session
            .handle_input(peer.now, Input::Data(read.clone()));
        assert_eq!(!read.is_unique(), holds, "{pinned} {size}");
        assert_eq!(peer.read_all(key).0, vec![5; size]);
    }
}

pub fn max_batch_bytes() {
    let mut peer = Peer::of(
        Role::Client,
        Config {
            send_buffer: 8 << 20,
            ..quiet()
        },
    );
    let key = outbound(&mut peer, 1 << 30);
    peer.write(key, &vec![1; 8 << 20]).unwrap();
    let batch = batch(&mut peer);
    let most = cap::MAX_BATCH_BYTES + usize::try_from(cap::MAX_FRAME).unwrap() + 12;
    assert!(
        batch.len() >= cap::MAX_BATCH_BYTES && batch.len() <= most,
        "{}",
        batch.len()
    );
}

pub fn slow_carrier() {
    // Y32: what comes later does not wait behind a second's worth of bytes.
    let mut peer = Peer::of(
        Role::Client,
        Config {
            send_buffer: 32 << 20,
            ..quiet()
        },
    );
    let key = outbound(&mut peer, 1 << 30);
    peer.write(key, &vec![1; 30 << 20]).unwrap();
    let mut batch = TransmitBuf::new();
    let mut last = 0;
    for _ in 0..10 {
        peer.session.poll_transmit(peer.now, &mut batch);
        last = batch.len();
        peer.session.handle_carrier(peer.now, CarrierState::Blocked);
        peer.now += Duration::from_secs(1);
        peer.session.handle_carrier(peer.now, CarrierState::Ready);
        batch.advance(last);
    }
    let most = cap::MIN_BATCH_BYTES + usize::try_from(cap::MAX_FRAME).unwrap() + 12;
    assert!(last >= cap::MIN_BATCH_BYTES && last <= most, "{last}");
    // At a rate of a batch a tick it comes to what the ticks allow.
    for _ in 0..20 {
        peer.session.poll_transmit(peer.now, &mut batch);
        last = batch.len();
        peer.session.handle_carrier(peer.now, CarrierState::Blocked);
        let rate = 100_000_000;
        peer.now += Duration::from_nanos(last as u64 * 1_000_000_000 / rate);
        peer.session.handle_carrier(peer.now, CarrierState::Ready);
        batch.advance(last);
    }
    let wanted = usize::try_from(100_000 * cap::BATCH_MILLIS).unwrap();
    assert!(
        last > wanted / 2 && last < wanted * 2,
        "{last} against {wanted}"
    );
}

pub fn max_batch_slices() {
    let config = Config {
        ack_backlog: 2_000,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Client, config);
    let payload = Bytes::from(vec![3; cap::COPY_BELOW + 1]);
    for _ in 0..1_000 {
        let key = peer.open();
        peer.session
            .write(peer.now, key, &mut payload.clone())
            .unwrap();
    }
    let first = batch(&mut peer);
    assert!(
        first.slice_count() <= cap::MAX_BATCH_SLICES,
        "{}",
        first.slice_count()
    );
    assert!(
        first.slice_count() > cap::MAX_BATCH_SLICES / 2,
        "{}",
        first.slice_count()
    );
    assert_eq!(copy_all(&first).len(), first.len());
}

pub fn max_pending_pongs() {
    // Y45, threat C3
    let mut peer = Peer::of_server();
    let before = peer.session.stats().memory_used;
    for value in 0..100_000 {
        peer.send(&[Frame::ping(SYN, value)]);
    }
    assert_eq!(peer.session.stats().memory_used, before);
    let answers = peer.recv();
    assert_eq!(answers.len(), cap::MAX_PENDING_PONGS);
    assert_eq!(answers.last(), Some(&Frame::ping(ACK, 99_999)));
}

pub fn max_refusal_runs() {
    // Y20, threat C3: ids in a row are one run; scattered ones end the session.
    let config = Config {
        accept_backlog: 1,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config.clone());
    for n in 0..50_000 {
        peer.send(&[Frame::update(SYN, 1 + 2 * n, 0)]);
    }
    assert_eq!(peer.session.stats().streams_refused, 49_999);
    let refused = peer.recv();
    assert_eq!(refused.len(), 49_999);
    assert!(refused.iter().all(|frame| frame.has(RST)));
    let mut peer = Peer::of(Role::Server, config);
    for n in 0..=u32::try_from(cap::MAX_REFUSAL_RUNS).unwrap() {
        assert!(peer.closed().is_none());
        peer.send(&[Frame::update(SYN, 1 + 4 * n, 0)]);
    }
    assert!(peer.closed().is_none());
    peer.send(&[Frame::update(SYN, 100_001, 0)]);
    peer.assert_protocol_error();
}

pub fn remembered_strangers() {
    // Y40: each id gets one RST while it is remembered; a reset is not answered by one.
    let mut peer = Peer::of_server();
    let ids = || (0..u32::try_from(cap::REMEMBERED_STRANGERS).unwrap()).map(|n| 101 + 2 * n);
    for id in ids() {
        assert_eq!(
            peer.exchange(&[Frame::data(0, id, b"?")]),
            [Frame::update(RST, id, 0)]
        );
    }
    for id in ids() {
        assert_eq!(
            peer.exchange(&[Frame::data(0, id, b"?"), Frame::update(RST, id, 0)]),
            []
        );
    }
    peer.assert_alive();
    for id in (1_001..200_001).step_by(2) {
        peer.send(&[Frame::data(0, id, b"?")]);
    }
    let refused = peer.recv();
    assert!(
        refused.len() <= cap::MAX_REFUSAL_RUNS + 100_000,
        "{}",
        refused.len()
    );
    peer.assert_alive();
}

pub fn max_id_gaps() {
    // Y11: ids out of order are taken while the gaps are few; then the lowest count as used.
    let ends_with = |gaps: u32| {
        let mut peer = Peer::of(
            Role::Server,
            Config {
                accept_backlog: 4_096,
                ..quiet()
            },
        );
        for n in 0..gaps {
            peer.send(&[Frame::update(SYN, 3 + 4 * n, 0)]);
        }
        peer.send(&[Frame::update(SYN, 1, 0)]);
        peer.recv();
        peer.closed().is_some()
    };
    let most = u32::try_from(cap::MAX_ID_GAPS).unwrap();
    assert!(!ends_with(most) && ends_with(most + 1) && ends_with(2_000));
}
