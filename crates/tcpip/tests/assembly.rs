//! Two stacks and everything between them: both media, both IP versions, with a device's help and
//! without.
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
    CloseCause, ConnectConfig, Datagram, Event, ListenConfig, Medium, State, TransmitBuf, UdpConfig,
};

/// Every kind of wire.
fn wires() -> impl Iterator<Item = Wire> {
    let media = [Medium::Ip, Medium::Ethernet];
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    media.into_iter().flat_map(move |medium| {
        kinds.into_iter().map(move |(v6, offload)| Wire {
            medium,
            v6,
            offload,
            ..Wire::default()
        })
    })
}

// T12, T116
#[test]
fn a_connection_opens_carries_bytes_both_ways_and_closes() {
    for wire in wires() {
        let mut pair = Pair::new(&wire);
        let listener = pair.listen(ListenConfig::default());
        let a = pair.dial(ConnectConfig::default());
        pair.run(10 * MILLI);
        assert!(pair.a.take_events().contains(&Event::TcpConnected(a)));
        assert!(
            pair.b
                .take_events()
                .contains(&Event::TcpAcceptable(listener))
        );
        let b = pair.b.stack.tcp_accept(pair.now, listener).unwrap();
        pair.bulk(a, b, pattern(300_000));

        assert_eq!(pair.b.stack.tcp_write_slice(pair.now, b, b"answer"), Ok(6));
        pair.b.stack.tcp_finish(pair.now, b);
        pair.run(10 * MILLI);
        assert_eq!(pair.a.read_all(pair.now, a), (b"answer".to_vec(), true));
        assert_eq!(pair.a.stack.tcp_state(a), Some(State::CloseWait));
        pair.a.stack.tcp_finish(pair.now, a);
        pair.run(10 * MILLI);
        assert_eq!(pair.b.read_all(pair.now, b), (Vec::new(), true));
        let finished = CloseCause::Finished;
        assert!(
            pair.a
                .take_events()
                .contains(&Event::TcpClosed(a, finished))
        );
        assert!(
            pair.b
                .take_events()
                .contains(&Event::TcpClosed(b, finished))
        );

        pair.a.stack.tcp_close(pair.now, a);
        pair.b.stack.tcp_close(pair.now, b);
        let (left, right) = (pair.a.stack.stats(), pair.b.stack.stats());
        assert_eq!((left.connections, left.time_waits), (0, 0));
        assert_eq!((right.connections, right.time_waits), (0, 1));
        pair.run(Duration::from_secs(61));
        assert_eq!(pair.b.stack.stats().time_waits, 0);
        assert_eq!(
            (pair.a.stack.stats().memory, pair.b.stack.stats().memory),
            (0, 0)
        );
        for end in [&pair.a, &pair.b] {
            let counters = end.stack.stats().counters;
            assert_eq!(
                (counters.retrans_segs, counters.in_errs, counters.curr_estab),
                (0, 0, 0)
            );
        }
    }
}

// T66: with a device that cuts, far fewer frames than segments go out.
#[test]
fn super_segments_go_to_devices_that_cut_them() {
    let mut frames = [0, 0];
    for (count, offload) in frames.iter_mut().zip([false, true]) {
        let mut pair = Pair::new(&Wire {
            offload,
            ..Wire::default()
        });
        let (a, b) = pair.connected();
        let before = pair.a.sent;
        pair.bulk(a, b, pattern(2_000_000));
        *count = pair.a.sent - before;
        let received = pair.b.stack.stats().counters.in_segs;
        assert!(received >= 2_000_000 / 1448, "{received}");
    }
    assert!(frames[0] >= 2_000_000 / 1448, "{frames:?}");
    assert!(frames[1] * 8 < frames[0], "{frames:?}");
}

// T158 in small: what is lost is sent again.
#[test]
fn losses_are_repaired() {
    let mut pair = Pair::new(&Wire::default());
    let (a, b) = pair.connected();
    let mut count = 0;
    pair.a.passes = Some(Box::new(move |_| {
        count += 1;
        count % 50 != 0
    }));
    pair.bulk(a, b, pattern(3_000_000));
    assert!(pair.a.stack.stats().counters.retrans_segs > 20);
}

// T32: RFC 9293 3.5: a connection to itself, and one to a listener of the same stack.
#[test]
fn connections_inside_the_stack() {
    let mut pair = Pair::new(&Wire::default());
    let listener = pair
        .a
        .stack
        .tcp_listen(pair.at(1, 80), ListenConfig::default())
        .unwrap();
    let to = pair.at(1, 80);
    let one = pair
        .a
        .stack
        .tcp_connect(pair.now, to, ConnectConfig::default())
        .unwrap();
    let own = pair.at(1, 4000);
    let config = ConnectConfig {
        local: Some(own),
        ..ConnectConfig::default()
    };
    let oneself = pair.a.stack.tcp_connect(pair.now, own, config).unwrap();
    pair.run(10 * MILLI);
    let other = pair.a.stack.tcp_accept(pair.now, listener).unwrap();
    assert_eq!(pair.a.stack.tcp_state(oneself), Some(State::Established));
    for (from, to) in [(one, other), (other, one), (oneself, oneself)] {
        assert_eq!(
            pair.a.stack.tcp_write_slice(pair.now, from, b"inside"),
            Ok(6)
        );
        pair.run(50 * MILLI);
        assert_eq!(pair.a.read_all(pair.now, to).0, b"inside");
    }
    assert_eq!(pair.a.sent, 0, "nothing goes onto the wire");
}

#[test]
fn datagrams_go_both_ways_on_every_wire() {
    for wire in wires() {
        let mut pair = Pair::new(&wire);
        let (here, there) = (pair.at(1, 1000), pair.at(2, 53));
        let a = pair
            .a
            .stack
            .udp_bind(pair.now, here, UdpConfig::default())
            .unwrap();
        let b = pair
            .b
            .stack
            .udp_bind(pair.now, there, UdpConfig::default())
            .unwrap();
        for size in [0, 1, 100, 1400, 20_000, 65_000] {
            let data = pattern(size);
            let to = Datagram::to(there);
            pair.a.stack.udp_send(pair.now, a, &data, to).unwrap();
            pair.run(10 * MILLI);
            assert!(
                pair.b.take_events().contains(&Event::UdpReadable(b)),
                "{size}"
            );
            let received = pair.b.stack.udp_recv(b).unwrap();
            assert_eq!((received.from, received.to), (here, there));
            assert!(received.data == data);
            assert_eq!(pair.b.stack.udp_recv(b), None);
        }
        pair.b
            .stack
            .udp_send(pair.now, b, b"back", Datagram::to(here))
            .unwrap();
        pair.run(10 * MILLI);
        assert_eq!(&pair.a.stack.udp_recv(a).unwrap().data[..], b"back");
        pair.a.stack.udp_close(a).unwrap();
        pair.b.stack.udp_close(b).unwrap();
        assert_eq!(
            (pair.a.stack.stats().memory, pair.b.stack.stats().memory),
            (0, 0)
        );
    }
}

// T32, threats C5: a host that talks to itself as fast as it can still answers others.
#[test]
fn talking_to_oneself_leaves_room_for_others() {
    let mut pair = Pair::new(&Wire::default());
    let listener = pair
        .a
        .stack
        .tcp_listen(pair.at(1, 80), ListenConfig::default())
        .unwrap();
    let to = pair.at(1, 80);
    let one = pair
        .a
        .stack
        .tcp_connect(pair.now, to, ConnectConfig::default())
        .unwrap();
    pair.run(10 * MILLI);
    let other = pair.a.stack.tcp_accept(pair.now, listener).unwrap();
    let mut bytes = pattern(8_000_000);
    let expected = bytes.clone();
    let mut got = Vec::new();
    while got.len() < expected.len() {
        while !bytes.is_empty() && pair.a.stack.tcp_write(pair.now, one, &mut bytes).is_ok() {}
        // One call ends, whatever there is to do.
        let mut out = TransmitBuf::new();
        pair.a.stack.poll_transmit(pair.now, &mut out);
        assert!(out.is_empty());
        pair.run(MILLI);
        got.extend_from_slice(&pair.a.read_all(pair.now, other).0);
    }
    assert!(got == expected, "the bytes differ");
    assert!(pair.now.as_nanos() < 120_000_000_000, "it stood still");
}
