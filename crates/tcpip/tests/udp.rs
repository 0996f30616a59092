//! UDP sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod pair;
mod raw;

use pair::{MILLI, Pair, Wire, pattern};
use raw::{Host, at, datagram, open};
use weir_tcpip::limits::{
    MAX_SUPER_SEGMENT, MAX_UDP_ERRORS, MAX_UDP_SOCKETS, UDP_DATAGRAM_COST, UDP_QUOTE,
    UDP_SOCKET_COST,
};
use weir_tcpip::wire::{checksum, protocol};
use weir_tcpip::{
    BindError, Config, Datagram, Event, IcmpKind, TransmitBuf, UdpConfig, UdpKey, UdpSendError,
};

fn bound(host: &mut Host, to: &str, config: UdpConfig) -> UdpKey {
    host.stack.udp_bind(host.now, at(to), config).unwrap()
}

// T150: RFC 768, RFC 8200 8.1
#[test]
fn checksums_are_checked_by_the_rules_of_each_version() {
    let mut host = Host::new();
    let v4 = bound(&mut host, "10.0.0.1:53", UdpConfig::default());
    let v6 = bound(&mut host, "[fd00::1]:53", UdpConfig::default());
    let four = |sum| datagram(at("10.0.0.2:9"), at("10.0.0.1:53"), b"data", sum);
    let six = |sum| datagram(at("[fd00::2]:9"), at("[fd00::1]:53"), b"data", sum);
    for (packet, key, passes) in [
        (four(None), v4, true),
        (four(Some(0)), v4, true),
        (four(Some(0x1234)), v4, false),
        (six(None), v6, true),
        (six(Some(0)), v6, false),
        (six(Some(0x1234)), v6, false),
    ] {
        host.take(&packet);
        assert_eq!(host.stack.udp_recv(key).is_some(), passes);
    }
    assert_eq!(host.packets().len(), 0, "no ICMP about what is malformed");
    assert_eq!(host.stack.stats().counters.udp_in_csum_errors, 3);
}

// T150: a sum of 0 is sent as 0xffff, and 0 stands for none, on IPv4 alone.
#[test]
fn the_checksum_of_zero_is_sent_in_its_other_form() {
    let mut host = Host::new();
    let off = UdpConfig {
        checksum: false,
        ..UdpConfig::default()
    };
    let mut field = |local: &str, remote: &str, data: &[u8], config: &UdpConfig| {
        let key = bound(&mut host, local, config.clone());
        let to = Datagram::to(at(remote));
        host.stack.udp_send(host.now, key, data, to).unwrap();
        let packets = host.packets();
        host.stack.udp_close(key).unwrap();
        let (.., payload) = open(&packets[0]);
        u16::from_be_bytes([payload[6], payload[7]])
    };
    let on = UdpConfig::default();
    let sum = field("10.0.0.1:53", "10.0.0.2:9", &[0, 0], &on);
    // Two more bytes that bring the sum to 0xffff, whose complement is 0.
    let zero = field("10.0.0.1:53", "10.0.0.2:9", &sum.to_be_bytes(), &on);
    assert_eq!(zero, 0xffff);
    assert_eq!(field("10.0.0.1:53", "10.0.0.2:9", b"data", &off), 0);
    assert_ne!(field("[fd00::1]:53", "[fd00::2]:9", b"data", &off), 0);
}

// T151: RFC 1122 4.1.3.1
#[test]
fn a_datagram_to_nobody_gets_port_unreachable() {
    let mut host = Host::new();
    for (from, to, number) in [
        ("10.0.0.2:9", "10.0.0.1:53", protocol::ICMPV4),
        ("[fd00::2]:9", "[fd00::1]:53", protocol::ICMPV6),
    ] {
        let packet = datagram(at(from), at(to), b"anybody?", None);
        host.take(&packet);
        let packets = host.packets();
        let (_, dst, protocol, message) = open(&packets[0]);
        assert_eq!((dst, protocol), (at(from).ip(), number));
        let expected = if number == protocol::ICMPV4 {
            [3, 3]
        } else {
            [1, 4]
        };
        assert_eq!(message[..2], expected);
        assert!(
            message[8..].starts_with(&packet[..28]),
            "it quotes the datagram"
        );
    }
    assert_eq!(host.stack.stats().counters.udp_no_ports, 2);
    for to in ["10.0.0.255:53", "224.0.0.1:53"] {
        host.take(&datagram(at("10.0.0.2:9"), at(to), b"anybody?", None));
        assert_eq!(host.packets().len(), 0, "{to}");
    }
}

// T152: RFC 1122 4.1.3.3
#[test]
fn icmp_errors_reach_the_connected_socket() {
    let mut pair = Pair::new(&Wire::default());
    let (here, there) = (pair.at(1, 0), pair.at(2, 53));
    let key = pair
        .a
        .stack
        .udp_bind(pair.now, here, UdpConfig::default())
        .unwrap();
    pair.a.stack.udp_connect(key, there).unwrap();
    pair.turn();
    pair.a.take_events();
    pair.a
        .stack
        .udp_send(pair.now, key, b"anybody?", Datagram::default())
        .unwrap();
    pair.run(10 * MILLI);
    assert_eq!(pair.a.take_events(), [Event::UdpError(key)]);
    let error = pair.a.stack.udp_error(key).unwrap();
    assert_eq!(
        (error.remote, error.kind),
        (there, IcmpKind::PortUnreachable)
    );
    assert_eq!(
        error.quoted.as_slice(),
        b"anybody?",
        "it says which datagram"
    );
    assert_eq!(pair.a.stack.udp_error(key), None);
}

// T152, threats C4: errors that nobody looks at are bounded.
#[test]
fn errors_that_wait_are_bounded() {
    let mut host = Host::new();
    let key = bound(&mut host, "10.0.0.1:53", UdpConfig::default());
    let sent = datagram(at("10.0.0.1:53"), at("10.0.0.2:9"), b"x", None);
    let mut message = vec![3, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&sent);
    checksum::patch(&mut message, 0, 2, checksum::sum(&[]));
    let packet = raw::ip([10, 0, 0, 9].into(), [10, 0, 0, 1].into(), 1, &message);
    (0..100).for_each(|_| host.take(&packet));
    assert_eq!(host.events(), [Event::UdpError(key)], "told once");
    let all = std::iter::from_fn(|| host.stack.udp_error(key)).count();
    assert_eq!(all, MAX_UDP_ERRORS);
}

// RFC 1122 3.2.2.1 with RFC 1812 5.2.7.1: what each code says, and of which datagram.
#[test]
fn an_error_says_what_is_in_the_way_and_quotes_the_datagram() {
    let mut host = Host::new();
    let key = bound(&mut host, "10.0.0.1:53", UdpConfig::default());
    let data: Vec<u8> = (0..100).collect();
    let sent = datagram(at("10.0.0.1:53"), at("10.0.0.2:9"), &data, None);
    let codes = [
        (0, IcmpKind::NetworkUnreachable),
        (1, IcmpKind::HostUnreachable),
        (2, IcmpKind::ProtocolUnreachable),
        (3, IcmpKind::PortUnreachable),
        (6, IcmpKind::NetworkUnreachable),
        (7, IcmpKind::HostUnreachable),
        (9, IcmpKind::Prohibited),
        (10, IcmpKind::Prohibited),
        (11, IcmpKind::NetworkUnreachable),
        (12, IcmpKind::HostUnreachable),
        (13, IcmpKind::Prohibited),
    ];
    for (code, kind) in codes {
        // All of it, and as little as there is to be (RFC 792).
        for quoted in [sent.len(), 28] {
            let mut message = vec![3, code, 0, 0, 0, 0, 0, 0];
            message.extend_from_slice(&sent[..quoted]);
            checksum::patch(&mut message, 0, 2, checksum::sum(&[]));
            let packet = raw::ip([10, 0, 0, 9].into(), [10, 0, 0, 1].into(), 1, &message);
            host.take(&packet);
            let error = host.stack.udp_error(key).unwrap();
            assert_eq!((error.remote, error.kind), (at("10.0.0.2:9"), kind));
            let shown = (quoted - 28).min(UDP_QUOTE);
            assert_eq!(error.quoted.as_slice(), &data[..shown]);
        }
    }
}

#[test]
fn a_connected_socket_hears_its_peer_alone() {
    let mut host = Host::new();
    let all = bound(&mut host, "0.0.0.0:53", UdpConfig::default());
    let one = bound(&mut host, "10.0.0.1:53", UdpConfig::default());
    host.stack.udp_connect(one, at("10.0.0.2:9")).unwrap();
    host.take(&datagram(
        at("10.0.0.2:9"),
        at("10.0.0.1:53"),
        b"mine",
        None,
    ));
    host.take(&datagram(
        at("10.0.0.2:10"),
        at("10.0.0.1:53"),
        b"other",
        None,
    ));
    assert_eq!(&host.stack.udp_recv(one).unwrap().data[..], b"mine");
    assert_eq!(&host.stack.udp_recv(all).unwrap().data[..], b"other");
    host.stack
        .udp_send(host.now, one, b"to mine", Datagram::default())
        .unwrap();
    let packets = host.packets();
    let (src, dst, _, payload) = open(&packets[0]);
    assert_eq!((src, dst), (at("10.0.0.1:0").ip(), at("10.0.0.2:0").ip()));
    assert_eq!(
        (&payload[..4], &payload[8..]),
        (&[0, 53, 0, 9][..], &b"to mine"[..])
    );
    host.stack.udp_close(one).unwrap();
    assert!(host.stack.udp_close(one).is_err());
    host.take(&datagram(
        at("10.0.0.2:9"),
        at("10.0.0.1:53"),
        b"late",
        None,
    ));
    assert_eq!(&host.stack.udp_recv(all).unwrap().data[..], b"late");
}

// threats C4: the oldest goes.
#[test]
fn a_full_queue_drops_the_oldest() {
    let mut host = Host::new();
    let config = UdpConfig {
        receive_queue: 10 * (100 + UDP_DATAGRAM_COST),
        ..UdpConfig::default()
    };
    let key = bound(&mut host, "10.0.0.1:53", config);
    for n in 0..1000u16 {
        let mut data = [0; 100];
        data[..2].copy_from_slice(&n.to_be_bytes());
        host.take(&datagram(at("10.0.0.2:9"), at("10.0.0.1:53"), &data, None));
    }
    assert_eq!(host.events(), [Event::UdpReadable(key)]);
    let first = |host: &mut Host| {
        let data = host.stack.udp_recv(key)?.data;
        Some(u16::from_be_bytes([data[0], data[1]]))
    };
    let left: Vec<u16> = std::iter::from_fn(|| first(&mut host)).collect();
    assert_eq!(left, (990..1000).collect::<Vec<u16>>());
    assert_eq!(host.stack.stats().counters.udp_rcvbuf_errors, 990);
    // Empty ones cost as well.
    for _ in 0..1000 {
        host.take(&datagram(at("10.0.0.2:9"), at("10.0.0.1:53"), b"", None));
    }
    let left = std::iter::from_fn(|| host.stack.udp_recv(key)).count();
    assert_eq!(left, 10 * (100 + UDP_DATAGRAM_COST) / UDP_DATAGRAM_COST);
}

// threats C4: all sockets together hold no more than the stack's memory.
#[test]
fn sockets_share_the_memory_of_the_stack() {
    let memory = 256 * 1024;
    let mut host = Host::with(Config {
        memory,
        ..Config::default()
    });
    let keys: Vec<UdpKey> = (0..4)
        .map(|n| {
            bound(
                &mut host,
                &format!("10.0.0.1:{}", 53 + n),
                UdpConfig::default(),
            )
        })
        .collect();
    for n in 0..4000u16 {
        let to = at(&format!("10.0.0.1:{}", 53 + n % 4));
        host.take(&datagram(at("10.0.0.2:9"), to, &[0; 1000], None));
        assert!(host.stack.stats().memory <= memory);
    }
    for key in keys {
        host.stack.udp_close(key).unwrap();
    }
    assert_eq!(host.stack.stats().memory, 0);
}

#[test]
fn a_full_send_queue_is_told_and_so_is_its_room() {
    let mut host = Host::new();
    let config = UdpConfig {
        send_queue: 4096,
        ..UdpConfig::default()
    };
    let key = bound(&mut host, "10.0.0.1:53", config);
    let send = |host: &mut Host| {
        host.stack
            .udp_send(host.now, key, &[7; 1000], Datagram::to(at("10.0.0.2:9")))
    };
    let sent = std::iter::from_fn(|| send(&mut host).ok()).count();
    assert_eq!((sent, send(&mut host)), (3, Err(UdpSendError::Full)));
    assert_eq!(host.packets().len(), 3);
    assert_eq!(host.events(), [Event::UdpWritable(key)]);
    assert_eq!(send(&mut host), Ok(()));
}

// T31: RFC 6056
#[test]
fn places_are_given_out_once() {
    let mut host = Host::with(Config {
        ports: 40_000..=40_003,
        ..Config::default()
    });
    bound(&mut host, "10.0.0.1:40001", UdpConfig::default());
    let bind = |host: &mut Host, to: &str| {
        let key = host
            .stack
            .udp_bind(host.now, at(to), UdpConfig::default())?;
        Ok::<u16, BindError>(host.stack.udp_local(key).unwrap().port())
    };
    assert_eq!(
        bind(&mut host, "10.0.0.1:40001"),
        Err(BindError::InUse(at("10.0.0.1:40001")))
    );
    assert_eq!(
        bind(&mut host, "10.0.0.9:1"),
        Err(BindError::NotLocal(at("10.0.0.9:1")))
    );
    let mut ports: Vec<u16> = (0..3)
        .map(|_| bind(&mut host, "10.0.0.1:0").unwrap())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [40_000, 40_002, 40_003]);
    assert_eq!(bind(&mut host, "10.0.0.1:0"), Err(BindError::NoPort));
}

// Any address, any port, both ways: the far end of a tunnel.
#[test]
fn a_socket_of_any_place_takes_and_sends_for_everybody() {
    let mut host = Host::made(Config::default(), |it| it.any_address = true);
    let exact = bound(&mut host, "10.0.0.1:53", UdpConfig::default());
    let any = bound(
        &mut host,
        "0.0.0.0:0",
        UdpConfig {
            any: true,
            ..UdpConfig::default()
        },
    );
    let far = at("203.0.113.7:123");
    host.take(&datagram(at("10.0.0.2:9"), far, b"time?", None));
    host.take(&datagram(
        at("10.0.0.2:9"),
        at("10.0.0.1:53"),
        b"name?",
        None,
    ));
    let received = host.stack.udp_recv(any).unwrap();
    assert_eq!((received.from, received.to), (at("10.0.0.2:9"), far));
    assert_eq!(
        (
            host.stack.udp_recv(any),
            host.stack.udp_recv(exact).is_some()
        ),
        (None, true)
    );
    let back = Datagram {
        from: Some(far),
        ..Datagram::to(at("10.0.0.2:9"))
    };
    host.stack.udp_send(host.now, any, b"now", back).unwrap();
    let packets = host.packets();
    let (src, _, _, payload) = open(&packets[0]);
    assert_eq!((src, &payload[8..]), (far.ip(), &b"now"[..]));
    // A socket of one place sends from there alone.
    let sent = host.stack.udp_send(host.now, exact, b"no", back);
    assert_eq!(sent, Err(UdpSendError::InvalidSource(far)));
}

#[test]
fn what_cannot_be_sent_is_told() {
    let mut host = Host::new();
    let key = bound(&mut host, "0.0.0.0:53", UdpConfig::default());
    let send = |host: &mut Host, size: usize, to: Datagram| {
        host.stack.udp_send(host.now, key, &vec![0; size], to)
    };
    let to = Datagram::to(at("10.0.0.2:9"));
    assert_eq!(
        send(&mut host, 1, Datagram::default()),
        Err(UdpSendError::NoDestination)
    );
    let nowhere = at("192.0.2.1:9");
    assert_eq!(
        send(&mut host, 1, Datagram::to(nowhere)),
        Err(UdpSendError::NoRoute(nowhere))
    );
    let most = 65_507;
    assert_eq!(
        send(&mut host, most + 1, to),
        Err(UdpSendError::TooLong {
            size: most + 1,
            most
        })
    );
    assert_eq!(send(&mut host, most, to), Ok(()));
    let cut = Datagram {
        segment_size: Some(1473),
        ..to
    };
    assert_eq!(
        send(&mut host, 2000, cut),
        Err(UdpSendError::TooLong {
            size: 1473,
            most: 1472
        })
    );
    let v6 = at("[fd00::2]:9");
    assert!(send(&mut host, 1, Datagram::to(v6)).is_err());
    let many = Datagram {
        segment_size: Some(1000),
        ..to
    };
    let (size, most) = (MAX_SUPER_SEGMENT + 1, MAX_SUPER_SEGMENT);
    assert_eq!(
        send(&mut host, size, many),
        Err(UdpSendError::TooLong { size, most })
    );
    assert_eq!(send(&mut host, most, many), Ok(()));
}

// Several datagrams in one call arrive as so many, with a device that cuts them and without.
#[test]
fn datagrams_of_one_size_go_in_one_call() {
    for (offload, v6) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut pair = Pair::new(&Wire {
            offload,
            v6,
            ..Wire::default()
        });
        let (here, there) = (pair.at(1, 9), pair.at(2, 53));
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
        let data = pattern(10 * 1200 + 50);
        let to = Datagram {
            segment_size: Some(1200),
            ..Datagram::to(there)
        };
        let before = pair.a.sent;
        pair.a.stack.udp_send(pair.now, a, &data, to).unwrap();
        pair.run(10 * MILLI);
        assert_eq!(pair.a.sent - before, if offload { 1 } else { 11 });
        let received: Vec<_> = std::iter::from_fn(|| pair.b.stack.udp_recv(b)).collect();
        let sizes: Vec<usize> = received.iter().map(|it| it.data.len()).collect();
        assert_eq!(sizes, [[1200; 10].to_vec(), vec![50]].concat());
        let all: Vec<u8> = received.iter().flat_map(|it| it.data.to_vec()).collect();
        assert!(data == all);
        let counters = [pair.a.stack.stats().counters, pair.b.stack.stats().counters];
        assert_eq!(
            (counters[0].udp_out_datagrams, counters[1].udp_in_datagrams),
            (11, 11)
        );
    }
}

#[test]
fn a_closed_socket_still_sends_what_waits() {
    let mut host = Host::new();
    let key = bound(&mut host, "10.0.0.1:53", UdpConfig::default());
    let to = Datagram::to(at("10.0.0.2:9"));
    host.stack.udp_send(host.now, key, b"last", to).unwrap();
    host.stack.udp_close(key).unwrap();
    assert_eq!(
        host.stack.udp_send(host.now, key, b"more", to),
        Err(UdpSendError::Closed)
    );
    // The place is free at once.
    bound(&mut host, "10.0.0.1:53", UdpConfig::default());
    assert_eq!(host.packets().len(), 1);
    assert_eq!(host.stack.stats().udp_sockets, 1);
}

// threats C4
#[test]
fn sockets_are_bounded() {
    let mut host = Host::new();
    let bind = |host: &mut Host, n: usize| {
        let address = if n < 60_000 { "10.0.0.1" } else { "fd00::1" };
        let port = u16::try_from(1 + n % 60_000).unwrap();
        let place = std::net::SocketAddr::new(address.parse().unwrap(), port);
        host.stack.udp_bind(host.now, place, UdpConfig::default())
    };
    for n in 0..MAX_UDP_SOCKETS {
        bind(&mut host, n).unwrap();
    }
    assert_eq!(
        bind(&mut host, MAX_UDP_SOCKETS),
        Err(BindError::TooMany(MAX_UDP_SOCKETS))
    );
    let memory = host.stack.stats().memory;
    assert_eq!(memory, MAX_UDP_SOCKETS as u64 * UDP_SOCKET_COST);
}

// A socket that always has more does not keep another waiting.
#[test]
fn sockets_take_turns() {
    let mut host = Host::new();
    let keys = ["10.0.0.1:53", "10.0.0.1:54"].map(|to| {
        let key = bound(&mut host, to, UdpConfig::default());
        let to = Datagram::to(at("10.0.0.2:9"));
        while host.stack.udp_send(host.now, key, &[7; 1400], to).is_ok() {}
        key
    });
    let mut out = TransmitBuf::new();
    assert!(
        host.stack.poll_transmit(host.now, &mut out),
        "there is more than fits a batch"
    );
    let from = |port: u16| {
        let port = port.to_be_bytes();
        out.frames()
            .filter(|frame| open(frame.head).3[..2] == port)
            .count()
    };
    let (one, other) = (from(53), from(54));
    assert!(
        one.min(other) * 4 >= one.max(other) * 3,
        "{one} and {other} of {keys:?}"
    );
}
