use super::*;

// T137
#[test]
fn malformed_headers_are_dropped() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let good = packet4("10.0.0.2", "10.0.0.1", 17, &[0; 8], |_| {});
    host.take(&good);
    assert_eq!(host.arrived, ["17 10.0.0.2>10.0.0.1 8"]);
    let broken = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    // Version, IHL, total length, checksum.
    for packet in [
        broken(0, 0x55),
        broken(0, 0x44),
        broken(3, 200),
        broken(3, 19),
        broken(10, 0),
    ] {
        host.take(&packet);
    }
    host.take(&good[..19]);
    host.take(&[]);
    assert_eq!(host.arrived.len(), 1);
    assert_eq!(host.ip.counters.in_hdr_errors, 7);
    assert!(host.sent().is_empty());
}

// The short way for packets between those whom the last one was between takes nothing that the long
// way would not, and takes it alike.
#[test]
fn the_usual_packet_is_taken_as_any_is() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let good = packet4("10.0.0.2", "10.0.0.1", 6, &[7; 20], |header| {
        header.dscp_ecn = 2
    });
    let offload = Offload::default();
    // Nothing is usual before the first packet, nor when anything is different.
    assert!(host.ip.take_usual(FIRST, &good, offload).is_none());
    let mut scratch = Vec::new();
    let any = host
        .ip
        .handle_frame(host.now, FIRST, &good, offload, &mut scratch);
    let Some(Arrived::Packet(any)) = any else {
        panic!("the packet is for us");
    };
    let usual = host.ip.take_usual(FIRST, &good, offload).unwrap();
    assert_eq!(format!("{any:?}"), format!("{usual:?}"));
    assert_eq!(
        (host.ip.counters.in_receives, host.ip.counters.in_delivers),
        (2, 2)
    );
    let others = [
        packet4("10.0.0.3", "10.0.0.1", 6, &[7; 20], |_| {}),
        packet4("10.0.0.2", "10.0.0.9", 6, &[7; 20], |_| {}),
        packet4("10.0.0.2", "10.0.0.1", 1, &[7; 20], |_| {}),
        packet4("10.0.0.2", "10.0.0.1", 6, &[7; 24], |header| {
            header.more_fragments = true
        }),
        packet4("10.0.0.2", "10.0.0.1", 6, &[7; 24], |header| {
            header.fragment_offset = 8
        }),
        good[..30].to_vec(),
    ];
    for packet in &others {
        assert!(host.ip.take_usual(FIRST, packet, offload).is_none());
    }
    for at in 0..20 {
        let mut packet = good.clone();
        packet[at] ^= 0x10;
        assert!(
            host.ip.take_usual(FIRST, &packet, offload).is_none(),
            "byte {at}"
        );
    }
    host.ip.changed();
    assert!(host.ip.take_usual(FIRST, &good, offload).is_none());
}

// T137: what a link padded a short packet with is no part of it.
#[test]
fn padding_is_cut_off() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let mut packet = packet4("10.0.0.2", "10.0.0.1", 17, &[1; 8], |_| {});
    packet.extend_from_slice(&[9; 18]);
    host.take(&packet);
    assert_eq!(host.payload, [1; 8]);
}

// T142
#[test]
fn hop_limits_are_64_and_not_looked_at_on_delivery() {
    let mut host = Host::tun(&["10.0.0.1/24", "fd00::1/64"]);
    let four = host.send("10.0.0.2", &[0; 8], true).unwrap();
    let six = host.send("fd00::2", &[0; 8], true).unwrap();
    assert_eq!((four[0][8], six[0][7]), (64, 64));
    host.take(&packet4("10.0.0.2", "10.0.0.1", 17, &[0; 8], |header| {
        header.ttl = 0
    }));
    host.take(&hops6("fd00::2", "fd00::1", 17, 0, &[0; 8]));
    assert_eq!(host.arrived.len(), 2);
}

// T147
#[test]
fn echo_is_answered_with_the_same_data() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    host.take(&ping4("10.0.0.2", "10.0.0.1", b"hello"));
    let sent = host.sent();
    let parsed = ipv4::parse(&sent[0]).unwrap();
    assert_eq!(parsed.header.src, v4("10.0.0.1"));
    assert_eq!(parsed.header.dst, v4("10.0.0.2"));
    let echo = icmpv4::Message::Echo {
        reply: true,
        id: 5,
        seq: 6,
        data: b"hello",
    };
    assert_eq!(icmpv4::parse(parsed.payload), Ok(echo));
    assert_eq!(host.ip.counters.out_echo_replies, 1);
}

// T147
#[test]
fn echo_to_broadcast_or_broken_is_not_answered() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    for dst in ["10.0.0.255", "255.255.255.255", "224.0.0.1"] {
        host.take(&ping4("10.0.0.2", dst, b"hello"));
    }
    let mut bad = ping4("10.0.0.2", "10.0.0.1", b"hello");
    *bad.last_mut().unwrap() ^= 1;
    host.take(&bad);
    assert!(host.sent().is_empty());
    assert_eq!(host.ip.counters.in_icmp_errors, 1);
}

// T147: in any-address mode every address answers as if it were there.
#[test]
fn echo_is_answered_for_every_destination_in_any_address_mode() {
    let capabilities = Capabilities::plain(Medium::Ip, 1500);
    let mut host = Host::with(InterfaceConfig {
        any_address: true,
        addresses: vec!["10.0.0.1/24".parse().unwrap()],
        ..InterfaceConfig::new("tun0", capabilities)
    });
    host.take(&ping4("10.0.0.2", "192.0.2.77", b"x"));
    host.take(&ping6("2001:db8::9", "2001:db8:77::1", b"x"));
    let sent = host.sent();
    assert_eq!(ipv4::parse(&sent[0]).unwrap().header.src, v4("192.0.2.77"));
    assert_eq!(ipv6::parse(&sent[1]).unwrap().0.src, v6("2001:db8:77::1"));
    host.take(&packet4("10.0.0.2", "8.8.8.8", 6, &[0; 20], |_| {}));
    assert_eq!(host.arrived, ["6 10.0.0.2>8.8.8.8 20"]);
    assert!(host.ip.is_local(ip("8.8.8.8")) && !host.ip.is_local(ip("224.0.0.5")));
    // Groups and broadcast stay what they are.
    host.take(&ping4("10.0.0.2", "10.0.0.255", b"x"));
    host.take(&ping4("10.0.0.2", "127.0.0.1", b"x"));
    host.take(&ping4("10.0.0.2", "239.1.1.1", b"x"));
    assert!(host.sent().is_empty());
}

// T153
#[test]
fn sources_that_are_no_single_host_are_dropped() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    for src in [
        "224.0.0.1",
        "239.1.2.3",
        "255.255.255.255",
        "10.0.0.255",
        "0.0.0.0",
        "0.1.2.3",
        "240.0.0.1",
        // Ourselves, from outside.
        "10.0.0.1",
    ] {
        host.take(&packet4(src, "10.0.0.1", 6, &[0; 20], |_| {}));
        host.take(&ping4(src, "10.0.0.1", b"x"));
    }
    assert!(host.arrived.is_empty() && host.sent().is_empty());
    assert_eq!(host.ip.counters.in_addr_errors, 16);
}

// T154
#[test]
fn loopback_is_not_taken_from_a_link() {
    let mut host = Host::tun(&["10.0.0.1/24", "fd00::1/64"]);
    for (src, dst) in [
        ("127.0.0.1", "10.0.0.1"),
        ("10.0.0.2", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        host.take(&packet4(src, dst, 6, &[0; 20], |_| {}));
    }
    for (src, dst) in [("::1", "fd00::1"), ("fd00::2", "::1"), ("::1", "::1")] {
        host.take(&packet6(src, dst, 6, &[0; 20]));
    }
    assert!(host.arrived.is_empty() && host.sent().is_empty());
    assert_eq!(host.ip.counters.in_addr_errors, 6);
}

// T154
#[test]
fn loopback_never_leaves_the_host() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let route = host.ip.route(ip("127.0.0.1"), None).unwrap();
    assert_eq!((route.interface, route.source), (LOOPBACK, ip("127.0.0.1")));
    let mut outward = host.ip.route(ip("10.0.0.2"), None).unwrap();
    outward.source = ip("127.0.0.1");
    let sent = host.send_by(&outward, "10.0.0.2", &[0; 8], true);
    assert_eq!(sent, Err(SendError::BadAddress));
}

// T32: packets to our own addresses come back, those of loopback and those of interfaces.
#[test]
fn what_is_sent_to_ourselves_arrives() {
    let mut host = Host::tun(&["10.0.0.1/24", "fd00::1/64"]);
    for dst in ["127.0.0.1", "127.8.9.1", "10.0.0.1", "::1", "fd00::1"] {
        assert!(host.send(dst, &[7; 100], true).unwrap().is_empty());
        assert_eq!(host.ip.poll_timeout().unwrap().1, IpTimer::Loopback);
        let mut frame = Vec::new();
        let offload = host.ip.next_loopback(&mut frame).unwrap();
        host.take_on(LOOPBACK, &frame, offload);
        assert_eq!(host.arrived.pop(), Some(format!("17 {dst}>{dst} 100")));
        assert!(host.ip.next_loopback(&mut frame).is_none());
    }
    assert!(host.sent().is_empty());
}

// T34, T151: whoever gets a packet is told when it was for many.
#[test]
fn packets_to_many_are_marked() {
    let mut host = Host::tun(&["10.0.0.1/24", "fd00::1/64"]);
    host.take(&packet4("10.0.0.2", "10.0.0.255", 6, &[0; 20], |_| {}));
    host.take(&packet4("10.0.0.2", "255.255.255.255", 17, &[0; 8], |_| {}));
    host.take(&packet6("fd00::2", "ff02::1", 17, &[0; 8]));
    host.take(&packet4("10.0.0.2", "224.0.0.251", 17, &[0; 8], |_| {}));
    assert_eq!(
        host.arrived,
        [
            "6 10.0.0.2>10.0.0.255 20 to many",
            "17 10.0.0.2>255.255.255.255 8 to many",
            "17 fd00::2>ff02::1 8 to many",
        ]
    );
}

// What was for us a moment ago is not for ever.
#[test]
fn a_packet_is_judged_anew_when_addresses_change() {
    let mut host = Host::tun(&["10.0.0.1/24", "fd00::1/64"]);
    let packets = [
        packet4("10.0.0.2", "10.0.0.1", 6, &[0; 20], |_| {}),
        packet6("fd00::2", "fd00::1", 6, &[0; 20]),
    ];
    for (packet, own, theirs) in [
        (&packets[0], "10.0.0.1", "10.0.0.2/24"),
        (&packets[1], "fd00::1", "fd00::2/64"),
    ] {
        host.take(packet);
        host.take(packet);
        assert_eq!(host.arrived.len(), 2);
        // The sender's address becomes ours: now it is forged.
        host.ip
            .add_address(host.now, FIRST, theirs.parse().unwrap())
            .unwrap();
        host.take(packet);
        assert_eq!(host.arrived.len(), 2);
        let theirs: Cidr = theirs.parse().unwrap();
        assert!(host.ip.remove_address(FIRST, theirs.address()));
        host.take(packet);
        assert_eq!(host.arrived.len(), 3);
        assert!(host.ip.remove_address(FIRST, ip(own)));
        host.take(packet);
        assert_eq!(host.arrived.len(), 3);
        host.arrived.clear();
    }
    // In a frame for everybody, what was for us alone is not.
    let mut host = Host::ethernet(&["10.0.0.1/24"]);
    host.take(&frame(PEER, US, &packets[0]));
    host.take(&frame(PEER, Mac::BROADCAST, &packets[0]));
    assert_eq!(host.arrived.len(), 1);
}

// RFC 1122 section 3.3.6: a packet for one host in a frame for all is a mistake or a trick.
#[test]
fn one_hosts_packet_in_a_broadcast_frame_is_dropped() {
    let mut host = Host::ethernet(&["10.0.0.1/24"]);
    let packet = packet4("10.0.0.2", "10.0.0.1", 6, &[0; 20], |_| {});
    host.take(&frame(PEER, Mac::BROADCAST, &packet));
    assert!(host.arrived.is_empty());
    host.take(&frame(PEER, OTHER, &packet));
    assert!(host.arrived.is_empty());
    host.take(&frame(PEER, US, &packet));
    assert_eq!(host.arrived.len(), 1);
}

// C12: options are passed over, but for those that route.
#[test]
fn options_are_skipped_and_source_routes_refused() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let with = |options: &[u8]| {
        let mut packet = packet4("10.0.0.2", "10.0.0.1", 17, &[3; 8], |_| {});
        packet[0] = 0x45 + (options.len() / 4) as u8;
        packet[3] += options.len() as u8;
        packet.splice(20..20, options.iter().copied());
        packet[10..12].fill(0);
        let header_len = 20 + options.len();
        let sum = checksum::sum(&packet[..header_len]).finish().to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        packet
    };
    host.take(&with(&[1, 1, 7, 7, 4, 0, 0, 0, 0, 0, 0, 0]));
    host.take(&with(&[7, 0, 0, 0]));
    host.take(&with(&[7, 255, 0, 0]));
    assert_eq!(
        (host.arrived.len(), host.payload.as_slice()),
        (3, &[3; 8][..])
    );
    host.take(&with(&[131, 7, 4, 10, 0, 0, 9, 0]));
    host.take(&with(&[1, 137, 7, 4, 10, 0, 0, 9]));
    assert_eq!(host.arrived.len(), 3);
    assert!(host.sent().is_empty());
}

/// The pieces of a datagram.
fn fragments(len: usize, size: usize, id: u16) -> Vec<Vec<u8>> {
    let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
    let parts = payload.chunks(size).enumerate().map(|(n, part)| {
        packet4("10.0.0.2", "10.0.0.1", 17, part, |header| {
            header.id = id;
            header.fragment_offset = (n * size) as u16;
            header.more_fragments = (n + 1) * size < len;
        })
    });
    parts.collect()
}

// T138
#[test]
fn fragments_in_any_order_make_the_datagram() {
    for seed in 0..50 {
        let mut host = Host::tun(&["10.0.0.1/24"]);
        let mut rng = rng_from_seed(seed);
        let mut parts = fragments(5003, 8 * rng::between(&mut rng, 1, 200) as usize, 9);
        for at in (1..parts.len()).rev() {
            parts.swap(at, rng::below(&mut rng, at as u64 + 1) as usize);
        }
        for (n, part) in parts.iter().enumerate() {
            assert!(host.arrived.is_empty(), "whole before {n}");
            host.take(part);
            // A copy that the network made does no harm.
            if n + 1 < parts.len() {
                host.take(part);
            }
        }
        assert_eq!(host.arrived, ["17 10.0.0.2>10.0.0.1 5003"]);
        assert!(
            host.payload
                .iter()
                .enumerate()
                .all(|(n, byte)| *byte == n as u8)
        );
        assert_eq!(host.ip.reassemblies(), (0, 0));
    }
}

// T138
#[test]
fn datagrams_with_different_identifications_are_kept_apart() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let (a, b) = (fragments(100, 64, 1), fragments(100, 64, 2));
    for part in [&a[0], &b[1], &b[0], &a[1]] {
        host.take(part);
    }
    assert_eq!(host.arrived.len(), 2);
    assert_eq!(host.ip.counters.reassembly_oks, 2);
}

// T138
#[test]
fn overlapping_fragments_end_the_datagram() {
    let overlap = packet4("10.0.0.2", "10.0.0.1", 17, &[9; 16], |header| {
        header.fragment_offset = 56;
        header.more_fragments = true;
    });
    let inside = packet4("10.0.0.2", "10.0.0.1", 17, &[9; 16], |header| {
        header.fragment_offset = 16;
        header.more_fragments = true;
    });
    for bad in [overlap, inside] {
        let mut host = Host::tun(&["10.0.0.1/24"]);
        let parts = fragments(128, 64, 77);
        host.take(&parts[0]);
        host.take(&bad);
        assert_eq!(host.ip.reassemblies(), (0, 0));
        host.take(&parts[1]);
        assert!(host.arrived.is_empty());
        assert_eq!(host.ip.counters.reassembly_fails, 1);
    }
}

// T138, C12: lengths that disagree, and the ping of death.
#[test]
fn impossible_lengths_end_the_datagram() {
    let part = |offset: u16, more: bool, len: usize| {
        packet4("10.0.0.2", "10.0.0.1", 17, &vec![0; len], |header| {
            header.fragment_offset = offset;
            header.more_fragments = more;
        })
    };
    // Two ends; an end before what came; more behind the end.
    for parts in [
        [part(64, false, 8), part(128, false, 8)],
        [part(128, true, 8), part(64, false, 8)],
        [part(64, false, 8), part(72, true, 8)],
    ] {
        let mut host = Host::tun(&["10.0.0.1/24"]);
        parts.iter().for_each(|part| host.take(part));
        assert_eq!(host.ip.reassemblies(), (0, 0));
        assert_eq!(host.ip.counters.reassembly_fails, 1);
    }
    // Beyond 65,535 bytes, no multiple of eight, nothing at all: not even begun.
    for part in [
        part(65_528, false, 8),
        part(65_528, true, 16),
        part(0, true, 12),
        part(8, false, 0),
    ] {
        let mut host = Host::tun(&["10.0.0.1/24"]);
        host.take(&part);
        assert_eq!(host.ip.reassemblies(), (0, 0));
        assert_eq!(host.ip.counters.in_hdr_errors, 1);
    }
    // With its header it would be longer than a packet can be.
    let mut host = Host::tun(&["10.0.0.1/24"]);
    for part in fragments(65_530, 1480, 3) {
        host.take(&part);
    }
    assert!(host.arrived.is_empty());
    assert_eq!(host.ip.counters.reassembly_fails, 1);
}

// T138
#[test]
fn missing_fragments_are_reported_when_the_first_came() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let parts = fragments(128, 64, 77);
    host.take(&parts[0]);
    host.take(&packet4("10.0.0.3", "10.0.0.1", 17, &[0; 8], |header| {
        header.fragment_offset = 8;
    }));
    host.seconds(29);
    assert!(host.sent().is_empty());
    assert_eq!(host.ip.reassemblies().0, 2);
    host.seconds(2);
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(error4(&sent[0]), (11, 1));
    assert_eq!(ipv4::parse(&sent[0]).unwrap().header.dst, v4("10.0.0.2"));
    assert_eq!(
        &ipv4::parse(&sent[0]).unwrap().payload[8..36],
        &parts[0][..28]
    );
    assert_eq!(host.ip.reassemblies(), (0, 0));
    assert_eq!(host.ip.counters.reassembly_timeouts, 2);
}

// RFC 3168 section 5.3
#[test]
fn congestion_marks_of_fragments_are_joined() {
    let whole = |first: u8, second: u8| {
        let mut host = Host::tun(&["10.0.0.1/24"]);
        let mut scratch = Vec::new();
        let mut ecn = None;
        for (mut part, bits) in fragments(128, 64, 77).into_iter().zip([first, second]) {
            part[1] = bits;
            part[10..12].fill(0);
            let sum = checksum::sum(&part[..20]).finish().to_be_bytes();
            part[10..12].copy_from_slice(&sum);
            let offload = Offload::default();
            let arrived = host
                .ip
                .handle_frame(host.now, FIRST, &part, offload, &mut scratch);
            if let Some(Arrived::Packet(packet)) = arrived {
                ecn = Some(packet.ecn);
            }
        }
        ecn
    };
    assert_eq!(whole(0b10, 0b11), Some(Ecn::Ce));
    assert_eq!(whole(0b11, 0b10), Some(Ecn::Ce));
    assert_eq!(whole(0b10, 0b10), Some(Ecn::Ect0));
    assert_eq!(whole(0b00, 0b00), Some(Ecn::NotEct));
    assert_eq!(whole(0b11, 0b00), None);
    assert_eq!(whole(0b00, 0b11), None);
}
