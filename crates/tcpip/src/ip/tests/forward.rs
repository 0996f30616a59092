use super::*;
use crate::device::{Checksum, SegmentKind, Segments};

const SECOND: InterfaceId = InterfaceId(1);

/// Between 10.0.1.0/24 (1500 bytes) and 10.0.2.0/24 (1280 bytes), and the same of IPv6.
fn router() -> Host {
    let mut host = Host::tun(&["10.0.1.1/24", "fd00:1::1/64"]);
    let config = InterfaceConfig {
        addresses: vec![
            "10.0.2.1/24".parse().unwrap(),
            "fd00:2::1/64".parse().unwrap(),
        ],
        ..InterfaceConfig::new("tun1", Capabilities::plain(Medium::Ip, 1280))
    };
    assert_eq!(host.ip.add_interface(host.now, config), Ok(SECOND));
    host.ip.set_forwarding(true);
    host
}

#[test]
fn packets_for_others_are_dropped_unless_asked_for() {
    let mut host = router();
    host.ip.set_forwarding(false);
    host.take(&packet4("10.0.1.2", "10.0.2.2", 17, &[0; 8], |_| {}));
    host.take(&packet6("fd00:1::2", "fd00:2::2", 17, &[0; 8]));
    // The strong model: nor are those for another interface's address taken.
    host.take(&packet4("10.0.1.2", "10.0.2.1", 17, &[0; 8], |_| {}));
    assert!(host.sent().is_empty() && host.arrived.is_empty());
    assert_eq!(host.ip.counters.in_addr_errors, 3);
}

#[test]
fn a_packet_is_passed_on_one_hop_older() {
    let mut host = router();
    host.take(&packet4("10.0.1.2", "10.0.2.2", 17, &[4; 8], |header| {
        header.dscp_ecn = 0xb9
    }));
    host.take(&packet6("fd00:1::2", "fd00:2::2", 17, &[4; 8]));
    let sent = host.sent();
    let parsed = ipv4::parse(&sent[0]).unwrap();
    assert_eq!(
        (parsed.header.ttl, parsed.header.dscp_ecn, parsed.payload),
        (63, 0xb9, &[4; 8][..])
    );
    let (header, payload) = ipv6::parse(&sent[1]).unwrap();
    assert_eq!((header.hop_limit, payload), (63, &[4; 8][..]));
    assert_eq!(host.ip.counters.forwarded, 2);
    // Our own addresses are ours on every interface.
    host.take(&packet4("10.0.1.2", "10.0.2.1", 17, &[0; 8], |_| {}));
    assert_eq!(host.arrived.len(), 1);
}

#[test]
fn what_is_too_old_is_reported() {
    for age in [0, 1] {
        let mut host = router();
        host.take(&packet4("10.0.1.2", "10.0.2.2", 17, &[4; 8], |header| {
            header.ttl = age
        }));
        host.take(&hops6("fd00:1::2", "fd00:2::2", 17, age, &[4; 8]));
        let sent = host.sent();
        assert_eq!((error4(&sent[0]), error6(&sent[1])), ((11, 0), (3, 0, 0)));
        assert_eq!(ipv4::parse(&sent[0]).unwrap().header.src, v4("10.0.1.1"));
    }
}

#[test]
fn what_has_no_route_is_reported() {
    let mut host = router();
    host.take(&packet4("10.0.1.2", "192.0.2.2", 17, &[4; 8], |_| {}));
    host.take(&packet6("fd00:1::2", "2001:db8::1", 17, &[4; 8]));
    let sent = host.sent();
    assert_eq!((error4(&sent[0]), error6(&sent[1])), ((3, 0), (1, 0, 0)));
    assert_eq!(host.ip.counters.out_no_routes, 2);
}

// T133, T141: the router's half of path MTU discovery.
#[test]
fn what_is_too_big_is_reported_with_the_next_mtu() {
    let mut host = router();
    host.take(&packet4("10.0.1.2", "10.0.2.2", 17, &[4; 1400], |header| {
        header.dont_fragment = true
    }));
    host.take(&packet6("fd00:1::2", "fd00:2::2", 17, &[4; 1400]));
    let sent = host.sent();
    assert_eq!(
        (sent.len(), error4(&sent[0]), error6(&sent[1])),
        (2, (3, 4), (2, 0, 1280))
    );
    assert_eq!(sent[0][26..28], [5, 0]);
}

#[test]
fn what_may_be_fragmented_is() {
    let mut host = router();
    let payload: Vec<u8> = (0..1400u32).map(|n| n as u8).collect();
    for (offset, more) in [(0, false), (1480, true)] {
        host.take(&packet4("10.0.1.2", "10.0.2.2", 17, &payload, |header| {
            header.fragment_offset = offset;
            header.more_fragments = more;
        }));
        let sent = host.sent();
        let parts: Vec<_> = sent
            .iter()
            .map(|packet| ipv4::parse(packet).unwrap())
            .collect();
        assert_eq!(parts.len(), 2);
        assert!(
            parts
                .iter()
                .all(|part| part.header.id == 77 && part.header.ttl == 63)
        );
        assert_eq!(parts[0].header.fragment_offset, offset);
        assert_eq!(
            parts[1].header.fragment_offset,
            offset + parts[0].payload.len() as u16
        );
        assert_eq!(
            (
                parts[0].header.more_fragments,
                parts[1].header.more_fragments
            ),
            (true, more)
        );
        assert_eq!([parts[0].payload, parts[1].payload].concat(), payload);
    }
}

// RFC 4291 section 2.5.6, RFC 3927 section 7, RFC 1812 section 5.3.5
#[test]
fn what_belongs_to_a_link_stays_there() {
    let mut host = router();
    host.take(&packet6("fe80::2", "fd00:2::2", 17, &[4; 8]));
    host.take(&packet6("fd00:1::2", "fe80::9", 17, &[4; 8]));
    host.take(&packet4("169.254.1.1", "10.0.2.2", 17, &[4; 8], |_| {}));
    host.take(&packet4("10.0.1.2", "224.0.0.9", 17, &[4; 8], |_| {}));
    host.take(&packet4("10.0.1.2", "255.255.255.255", 17, &[4; 8], |_| {}));
    assert!(host.sent().is_empty());
    assert_eq!(host.ip.counters.forwarded, 0);
}

// A super-segment from a device that coalesces, to one that cannot cut.
#[test]
fn super_segments_are_cut_for_devices_that_cannot() {
    let mut host = router();
    let mut segment = Vec::new();
    crate::wire::tcp::Header {
        src_port: 1,
        dst_port: 2,
        seq: 100,
        ack: 5,
        flags: crate::wire::tcp::Flags::ACK,
        window: 500,
        urgent: 0,
        options: Default::default(),
    }
    .write(&mut segment);
    segment.extend_from_slice(&[8; 3000]);
    let packet = packet4("10.0.1.2", "10.0.2.2", 6, &segment, |header| {
        header.dont_fragment = true
    });
    let offload = |size: u16| Offload {
        checksum: Checksum::Partial {
            start: 20,
            offset: 16,
        },
        segments: Some(Segments {
            kind: SegmentKind::Tcp4,
            size,
            header_len: 40,
        }),
    };
    host.take_on(FIRST, &packet, offload(1200));
    let sent = host.sent();
    let payloads: Vec<usize> = sent.iter().map(|packet| packet.len() - 40).collect();
    assert_eq!(payloads, [1200, 1200, 600]);
    for packet in &sent {
        let parsed = ipv4::parse(packet).unwrap();
        let len = parsed.payload.len() as u32;
        let mut sum = checksum::pseudo_v4(parsed.header.src, parsed.header.dst, 6, len);
        sum.add_bytes(parsed.payload);
        assert!(sum.is_valid());
        assert_eq!(parsed.header.ttl, 63);
    }
    // Those that stand for packets too big for the next link are refused as these would be.
    host.take_on(FIRST, &packet, offload(1448));
    assert_eq!(error4(&host.sent()[0]), (3, 4));
}

#[test]
fn a_partial_checksum_is_completed_for_devices_that_cannot() {
    let mut host = router();
    let mut datagram = vec![0, 1, 0, 2, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let pseudo = checksum::pseudo_v4(v4("10.0.1.2"), v4("10.0.2.2"), 17, 16);
    datagram[6..8].copy_from_slice(&pseudo.fold().to_be_bytes());
    let packet = packet4("10.0.1.2", "10.0.2.2", 17, &datagram, |_| {});
    host.take_on(
        FIRST,
        &packet,
        Offload {
            checksum: Checksum::Partial {
                start: 20,
                offset: 6,
            },
            segments: None,
        },
    );
    let sent = host.sent();
    let mut sum = pseudo;
    sum.add_bytes(&sent[0][20..]);
    assert!(sum.is_valid());
}

// A router tells the sender when the next hop is not there.
#[test]
fn a_silent_next_hop_is_reported_to_the_sender() {
    let mut host = Host::tun(&["10.0.1.1/24"]);
    let config = InterfaceConfig {
        dad: false,
        ..ethernet(&["10.0.2.1/24"], US)
    };
    host.ip.add_interface(host.now, config).unwrap();
    host.ip.set_forwarding(true);
    host.take(&packet4("10.0.1.2", "10.0.2.2", 17, &[4; 8], |_| {}));
    host.seconds(4);
    let sent = host.sent();
    let errors: Vec<_> = sent.iter().filter(|frame| frame[0] >> 4 == 4).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(error4(errors[0]), (3, 1));
    assert_eq!(ipv4::parse(errors[0]).unwrap().header.dst, v4("10.0.1.2"));
}
