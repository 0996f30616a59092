use super::*;
use crate::device::{Checksum, Segmentation};
use crate::limits::{MAX_LOOPBACK_BYTES, MAX_PATH_MTUS};

/// The payloads of fragments, put together by their offsets.
fn joined4(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = Vec::new();
    for (n, packet) in packets.iter().enumerate() {
        let parsed = ipv4::parse(packet).unwrap();
        assert_eq!(usize::from(parsed.header.fragment_offset), whole.len());
        assert_eq!(parsed.header.more_fragments, n + 1 < packets.len());
        whole.extend_from_slice(parsed.payload);
    }
    whole
}

// T138
#[test]
fn a_large_datagram_goes_in_fragments() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let payload: Vec<u8> = (0..4000u32).map(|n| n as u8).collect();
    let sent = host.send("10.0.0.2", &payload, false).unwrap();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|packet| packet.len() <= 1500));
    assert_eq!(joined4(&sent), payload);
    let ids: Vec<u16> = sent
        .iter()
        .map(|packet| ipv4::parse(packet).unwrap().header.id)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(host.ip.counters.fragmentation_creates, 3);
}

// T141
#[test]
fn the_source_fragments_ipv6() {
    let mut host = Host::tun(&["fd00::1/64"]);
    let payload: Vec<u8> = (0..4000u32).map(|n| n as u8).collect();
    let sent = host.send("fd00::2", &payload, false).unwrap();
    assert_eq!(sent.len(), 3);
    let mut whole = Vec::new();
    for packet in &sent {
        let (header, body) = ipv6::parse(packet).unwrap();
        assert!(packet.len() <= 1500 && header.next_header == 44);
        assert_eq!(body[0], 17);
        assert_eq!(
            u16::from_be_bytes([body[2], body[3]]) & !7,
            whole.len() as u16
        );
        whole.extend_from_slice(&body[8..]);
    }
    assert_eq!(whole, payload);
}

// The two halves fit together, for every size around the edges.
#[test]
fn what_is_cut_here_is_joined_there() {
    for (a, b) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        for len in [1472, 1473, 1480, 1481, 2952, 2960, 2961, 20_000, 65_000] {
            let prefix = if a.contains(':') { 64 } else { 24 };
            let mut sender = Host::tun(&[&format!("{a}/{prefix}")]);
            let mut receiver = Host::tun(&[&format!("{b}/{prefix}")]);
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            for packet in sender.send(b, &payload, false).unwrap() {
                receiver.take(&packet);
            }
            assert_eq!(receiver.payload, payload);
        }
    }
}

// T133
#[test]
fn what_must_not_be_fragmented_is_refused() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let refused = host.send("10.0.0.2", &[0; 1481], true);
    assert_eq!(refused, Err(SendError::MessageTooLong { mtu: 1500 }));
    assert_eq!(
        host.send("10.0.0.2", &[0; 1480], true).unwrap()[0].len(),
        1500
    );
    assert!(host.send("10.0.0.2", &[0; 65_516], false).is_err());
    assert_eq!(host.ip.counters.fragmentation_fails, 2);
}

// T80, T155
#[test]
fn only_packets_that_may_be_fragmented_have_identifications() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let id = |packets: Vec<Vec<u8>>| ipv4::parse(&packets[0]).unwrap().header.id;
    let atomic: Vec<u16> = (0..10)
        .map(|_| id(host.send("10.0.0.2", &[0; 8], true).unwrap()))
        .collect();
    assert_eq!(atomic, [0; 10]);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5_000 {
        assert!(seen.insert(id(host.send("10.0.0.2", &[0; 8], false).unwrap())));
    }
}

/// A checksum that the device does not complete is completed before the datagram is cut.
#[test]
fn fragments_have_a_complete_checksum() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let route = host.ip.route(ip("10.0.0.2"), None).unwrap();
    let mut datagram = vec![5u8; 3000];
    datagram[6..8].copy_from_slice(&[0x12, 0x34]);
    let mut complete = datagram.clone();
    let sum = checksum::sum(&complete).finish();
    complete[6..8].copy_from_slice(&sum.to_be_bytes());
    let packet = Packet {
        src: route.source,
        dst: ip("10.0.0.2"),
        protocol: 17,
        ecn: Ecn::Ect0,
        dscp: 0,
        hop_limit: 9,
        dont_fragment: false,
        transport_len: 3000,
        hints: Hints {
            checksum_at: Some(6),
            cut: None,
        },
    };
    let mut out = TransmitBuf::new();
    let fill = |out: &mut TransmitBuf| out.data.extend_from_slice(&datagram);
    host.ip
        .send(host.now, &mut out, &route, &packet, fill)
        .unwrap();
    assert!(
        out.frames()
            .all(|frame| frame.offload == Offload::default())
    );
    let sent = flat(&out);
    assert_eq!(joined4(&sent), complete);
    assert!(
        sent.iter()
            .all(|packet| packet[1] == 0b10 && packet[8] == 9)
    );
}

// What the device is to do counts from the frame's beginning, whatever link there is.
#[test]
fn offload_counts_from_the_frame() {
    for (medium, link) in [(Medium::Ip, 0), (Medium::Ethernet, 14)] {
        let mut capabilities = Capabilities::plain(medium, 1500);
        capabilities.checksum_offload = true;
        capabilities.segmentation = Segmentation {
            tcp4: true,
            max_bytes: 65_535,
            ..Segmentation::default()
        };
        let mut host = Host::with(InterfaceConfig {
            hardware: Some(US),
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
            ..InterfaceConfig::new("x", capabilities)
        });
        if link > 0 {
            host.ip
                .add_neighbor(host.now, FIRST, ip("10.0.0.2"), PEER)
                .unwrap();
        }
        let route = host.ip.route(ip("10.0.0.2"), None).unwrap();
        let packet = Packet {
            src: route.source,
            dst: ip("10.0.0.2"),
            protocol: 6,
            ecn: Ecn::NotEct,
            dscp: 0,
            hop_limit: 64,
            dont_fragment: true,
            transport_len: 32 + 40_000,
            hints: Hints {
                checksum_at: Some(16),
                cut: Some(Cut {
                    size: 1448,
                    header_len: 32,
                }),
            },
        };
        let mut out = TransmitBuf::new();
        let fill = |out: &mut TransmitBuf| {
            out.data.extend_from_slice(&[0; 32]);
            out.slices.push(bytes::Bytes::from(vec![1; 40_000]));
        };
        host.ip
            .send(host.now, &mut out, &route, &packet, fill)
            .unwrap();
        let frame = out.frames().next().unwrap();
        let (start, offset) = (link + 20, 16);
        assert_eq!(frame.offload.checksum, Checksum::Partial { start, offset });
        let segments = frame.offload.segments.unwrap();
        assert_eq!((segments.size, segments.header_len), (1448, link + 52));
        assert_eq!(segments.kind, crate::device::SegmentKind::Tcp4);
        assert_eq!(
            (frame.head.len(), frame.rest.len()),
            (usize::from(link) + 52, 1)
        );
    }
}

// The fast path: a cached route, a known neighbour, and nothing is allocated once the batch has room.
#[test]
fn sending_by_a_cached_route_allocates_nothing() {
    let mut host = Host::ethernet(&["10.0.0.1/24"]);
    host.ip
        .add_neighbor(host.now, FIRST, ip("10.0.0.2"), PEER)
        .unwrap();
    let route = host.ip.route(ip("10.0.0.2"), None).unwrap();
    let packet = Packet {
        src: route.source,
        dst: ip("10.0.0.2"),
        protocol: 17,
        ecn: Ecn::NotEct,
        dscp: 0,
        hop_limit: 64,
        dont_fragment: true,
        transport_len: 100,
        hints: Hints::default(),
    };
    let mut out = TransmitBuf::new();
    let mut capacity = 0;
    for round in 0..3 {
        for _ in 0..100 {
            assert!(host.ip.is_current(&route));
            let fill = |out: &mut TransmitBuf| out.data.extend_from_slice(&[0; 100]);
            host.ip
                .send(host.now, &mut out, &route, &packet, fill)
                .unwrap();
        }
        if round > 0 {
            assert_eq!(out.data.capacity(), capacity);
        }
        capacity = out.data.capacity();
        out.clear();
    }
}

// T133, T136
#[test]
fn a_smaller_path_mtu_changes_routes_and_is_forgotten_in_time() {
    for (dst, local, mtu) in [
        ("192.0.2.1", "10.0.0.1/24", 1000),
        ("2001:db8::1", "fd00::1/64", 1300),
    ] {
        let mut host = Host::tun(&[local]);
        let to = if dst.contains(':') {
            Cidr::ANY_V6
        } else {
            Cidr::ANY_V4
        };
        host.ip
            .add_route(RouteConfig {
                to,
                via: None,
                interface: FIRST,
                metric: 0,
            })
            .unwrap();
        let before = host.ip.route(ip(dst), None).unwrap();
        assert_eq!(before.mtu, 1500);
        assert_eq!(
            host.ip.on_packet_too_big(host.now, ip(dst), mtu, 1500),
            Some(mtu as u16)
        );
        assert!(!host.ip.is_current(&before));
        let after = host.ip.route(ip(dst), None).unwrap();
        assert_eq!((after.mtu, after.link_mtu), (mtu as u16, 1500));
        assert_eq!(host.ip.path_mtu(ip(dst)), Some(mtu as u16));
        assert!(host.send(dst, &[0; 1400], true).is_err());
        // T134: larger, equal, impossible.
        for other in [mtu, mtu + 1, 67, 0xffff_ffff] {
            let size = mtu as u16;
            let ignored = host.ip.on_packet_too_big(host.now, ip(dst), other, size);
            assert_eq!(ignored, None);
        }
        // Whoever sent more to the same destination before it was known is told as well.
        let again = host.ip.on_packet_too_big(host.now, ip(dst), mtu, 1500);
        assert_eq!(again, Some(mtu as u16));
        let changed = |host: &mut Host| match host.ip.poll_event() {
            Some(IpEvent::PathMtu { mtu, .. }) => Some(mtu),
            _ => None,
        };
        while !matches!(host.ip.events.front(), Some(IpEvent::PathMtu { .. })) {
            host.ip.poll_event().unwrap();
        }
        assert_eq!(changed(&mut host), Some(mtu as u16));
        host.seconds(599);
        assert_eq!(host.ip.path_mtu(ip(dst)), Some(mtu as u16));
        host.seconds(2);
        assert_eq!(changed(&mut host), Some(1500));
        assert_eq!(host.ip.route(ip(dst), None).unwrap().mtu, 1500);
    }
}

// C4: a path that shrinks byte by byte has one timer, and so has each of many paths.
#[test]
fn timers_of_path_mtus_are_as_many_as_paths() {
    let mut host = Host::tun(&["10.0.0.1/8"]);
    for mtu in (100..1500).rev() {
        let told = host
            .ip
            .on_packet_too_big(host.now, ip("10.0.0.2"), mtu, 1500);
        assert_eq!(told, Some(mtu as u16));
    }
    assert_eq!(host.ip.timers.len(), 1);
    for n in 0..2 * MAX_PATH_MTUS as u32 {
        let dst = Ipv4Addr::from_bits(0x0a01_0000 + n).into();
        assert!(
            host.ip
                .on_packet_too_big(host.now, dst, 1400, 1500)
                .is_some()
        );
        assert!(host.ip.timers.len() <= MAX_PATH_MTUS);
    }
    host.seconds(601);
    assert_eq!((host.ip.paths.len(), host.ip.timers.len()), (0, 0));
}

// C7: what a router says is believed only after the transport found its own packet quoted, so a flood
// of errors alone leaves nothing behind.
#[test]
fn errors_alone_make_no_path_mtu() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    for n in 0..2 * MAX_PATH_MTUS as u32 {
        let dst = Ipv4Addr::from_bits(0xc000_0200 + n).to_string();
        let quoted = packet4("10.0.0.1", &dst, 6, &[0; 8], |header| {
            header.dont_fragment = true
        });
        let mut body = Vec::new();
        icmpv4::Message::Unreachable {
            code: 4,
            mtu: 100,
            quoted: &quoted,
        }
        .write(&mut body);
        host.take(&packet4("10.9.9.9", "10.0.0.1", 1, &body, |_| {}));
    }
    assert_eq!(host.arrived.len(), 2 * MAX_PATH_MTUS);
    assert_eq!(host.ip.paths.len(), 0);
}

#[test]
fn source_addresses_asked_for_must_be_ours() {
    let mut host = Host::tun(&["10.0.0.1/24", "10.0.0.7/24"]);
    let route = host.ip.route(ip("10.0.0.2"), Some(ip("10.0.0.7"))).unwrap();
    assert_eq!(route.source, ip("10.0.0.7"));
    let other = host.ip.route(ip("10.0.0.2"), Some(ip("10.0.0.8")));
    assert_eq!(other, Err(NoRoute::NotOurs(ip("10.0.0.8"))));
    let version = host.ip.route(ip("fd00::2"), Some(ip("10.0.0.7")));
    assert_eq!(version, Err(NoRoute::BadDestination(ip("fd00::2"))));
    assert_eq!(
        host.ip.route(ip("192.0.2.1"), None),
        Err(NoRoute::Unreachable(ip("192.0.2.1")))
    );
    assert_eq!(
        host.ip.route(ip("0.0.0.0"), None),
        Err(NoRoute::BadDestination(ip("0.0.0.0")))
    );
    assert!(host.ip.remove_address(FIRST, ip("10.0.0.7")));
    assert!(!host.ip.is_current(&route));
    assert!(host.ip.route(ip("10.0.0.2"), None).is_ok());
    assert!(host.ip.remove_address(FIRST, ip("10.0.0.1")));
    assert!(host.ip.route(ip("10.0.0.2"), None).is_err());
}

// C4
#[test]
fn packets_to_ourselves_are_bounded() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let payload = vec![0; 60_000];
    let mut sent = 0;
    while host.send("10.0.0.1", &payload, true).is_ok() {
        sent += 60_020;
        assert!(sent <= MAX_LOOPBACK_BYTES);
    }
    assert!(sent > MAX_LOOPBACK_BYTES - 70_000);
    let mut frame = Vec::new();
    while host.ip.next_loopback(&mut frame).is_some() {}
    assert!(host.send("10.0.0.1", &payload, true).is_ok());
}

#[test]
fn groups_and_broadcast_go_to_their_ethernet_addresses() {
    let mut host = Host::ethernet(&["10.0.0.1/24", "fd00::1/64"]);
    for (dst, mac) in [
        ("224.0.0.251", Mac([1, 0, 0x5e, 0, 0, 251])),
        ("255.255.255.255", Mac::BROADCAST),
        ("10.0.0.255", Mac::BROADCAST),
        ("ff02::fb", Mac([0x33, 0x33, 0, 0, 0, 0xfb])),
    ] {
        let sent = host.send(dst, b"x", true).unwrap();
        assert_eq!(sent[0][..6], mac.0, "{dst}");
    }
    assert!(host.sent().is_empty());
}

#[test]
fn what_cannot_be_configured_is_refused_with_a_reason() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let mut refused = |text: &str| {
        host.ip
            .add_address(host.now, FIRST, text.parse().unwrap())
            .unwrap_err()
    };
    assert_eq!(
        refused("10.0.0.1/8"),
        ConfigError::AddressInUse(ip("10.0.0.1"))
    );
    for bad in [
        "0.0.0.0/0",
        "127.0.0.1/8",
        "224.0.0.1/4",
        "10.0.1.255/24",
        "10.0.1.0/24",
        "::1/128",
        "ff02::1/16",
        "::/0",
    ] {
        assert!(matches!(refused(bad), ConfigError::BadAddress(_)), "{bad}");
    }
    let now = host.now;
    let mut small = InterfaceConfig::new("x", Capabilities::plain(Medium::Ip, 1279));
    small.addresses = vec!["fd00::1/64".parse().unwrap()];
    let refused = host.ip.add_interface(now, small).unwrap_err();
    assert_eq!(
        refused,
        ConfigError::MtuTooSmall {
            mtu: 1279,
            least: 1280
        }
    );
    let unnamed = InterfaceConfig::new("x", Capabilities::plain(Medium::Ethernet, 1500));
    let refused = host.ip.add_interface(now, unnamed).unwrap_err();
    assert_eq!(refused, ConfigError::NoHardwareAddress("x".to_owned()));
}
