use super::*;

/// A header of options: `next` follows it.
fn options(next: u8, bytes: &[u8]) -> Vec<u8> {
    assert_eq!((bytes.len() + 2) % 8, 0);
    let mut header = vec![next, ((bytes.len() + 2) / 8 - 1) as u8];
    header.extend_from_slice(bytes);
    header
}

fn fragment(next: u8, offset: u16, more: bool, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ipv6::write_fragment(next, offset, more, id, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn host() -> Host {
    Host::tun(&["fd00::1/64"])
}

fn to_us(next: u8, payload: &[u8]) -> Vec<u8> {
    packet6("fd00::2", "fd00::1", next, payload)
}

// T139
#[test]
fn unknown_options_are_treated_by_their_action_bits() {
    // Kind, to a group; what is delivered, and the answer's pointer.
    for (kind, group, delivered, answer) in [
        (0x1e, false, true, None),
        (0x5e, false, false, None),
        (0x9e, false, false, Some(42)),
        (0xde, false, false, Some(42)),
        (0x9e, true, false, Some(42)),
        (0xde, true, false, None),
    ] {
        for (first, header) in [
            (0, options(17, &[kind, 4, 0, 0, 0, 0])),
            (60, options(17, &[kind, 4, 0, 0, 0, 0])),
        ] {
            let mut host = host();
            let dst = if group { "ff02::1" } else { "fd00::1" };
            let mut payload = header;
            payload.extend_from_slice(&[0; 8]);
            host.take(&packet6("fd00::2", dst, first, &payload));
            assert_eq!(
                host.arrived.len(),
                usize::from(delivered),
                "{kind:x} {group}"
            );
            let sent = host.sent();
            let pointer = sent.first().map(|packet| error6(packet));
            assert_eq!(pointer, answer.map(|at| (4, 2, at)), "{kind:x} {group}");
        }
    }
}

// T139
#[test]
fn hop_by_hop_options_come_first_only() {
    let mut host = host();
    let mut payload = options(0, &[1, 4, 0, 0, 0, 0]);
    payload.extend_from_slice(&options(17, &[1, 4, 0, 0, 0, 0]));
    payload.extend_from_slice(&[0; 8]);
    host.take(&to_us(60, &payload));
    assert!(host.arrived.is_empty());
    assert_eq!(error6(&host.sent()[0]), (4, 1, 40));
    host.take(&to_us(0, &{
        let mut payload = options(60, &[1, 4, 0, 0, 0, 0]);
        payload.extend_from_slice(&options(17, &[1, 4, 0, 0, 0, 0]));
        payload.extend_from_slice(&[0; 8]);
        payload
    }));
    assert_eq!(host.arrived, ["17 fd00::2>fd00::1 8"]);
}

// T139
#[test]
fn an_unknown_next_header_is_reported_where_it_stands() {
    let mut host = host();
    host.take(&to_us(99, &[0; 8]));
    assert_eq!(error6(&host.sent()[0]), (4, 1, 6));
    let mut payload = options(99, &[1, 4, 0, 0, 0, 0]);
    payload.extend_from_slice(&[0; 8]);
    host.take(&to_us(60, &payload));
    assert_eq!(error6(&host.sent()[0]), (4, 1, 40));
    assert_eq!(host.ip.counters.in_unknown_protos, 2);
    // No Next Header means that nothing follows, and nothing is wrong.
    host.take(&to_us(59, &[]));
    assert!(host.sent().is_empty());
}

// T139: RFC 8200 section 4.4, RFC 5095.
#[test]
fn routing_headers_with_segments_left_are_refused() {
    let routing = |kind: u8, left: u8| {
        let mut payload = vec![17, 2, kind, left];
        payload.extend_from_slice(&[0; 20 + 8]);
        payload
    };
    let mut host = host();
    host.take(&to_us(43, &routing(0, 1)));
    assert_eq!(error6(&host.sent()[0]), (4, 0, 42));
    host.take(&to_us(43, &routing(0, 0)));
    assert_eq!(host.arrived.len(), 1);
}

// C12: chains without end.
#[test]
fn long_header_chains_are_dropped() {
    let mut host = host();
    let mut payload = Vec::new();
    for _ in 0..100 {
        payload.extend_from_slice(&options(60, &[1, 4, 0, 0, 0, 0]));
    }
    payload.extend_from_slice(&options(17, &[1, 4, 0, 0, 0, 0]));
    payload.extend_from_slice(&[0; 8]);
    host.take(&to_us(60, &payload));
    assert!(host.arrived.is_empty() && host.sent().is_empty());
    assert_eq!(host.ip.counters.in_hdr_errors, 1);
}

// T140
#[test]
fn fragments_make_the_datagram_behind_extension_headers() {
    let payload: Vec<u8> = (0..2000u32).map(|n| n as u8).collect();
    let mut host = host();
    for offset in [1000, 0] {
        let part = &payload[offset..offset + 1000];
        let mut bytes = options(60, &[1, 4, 0, 0, 0, 0]);
        bytes.extend_from_slice(&options(44, &[1, 4, 0, 0, 0, 0]));
        bytes.extend_from_slice(&fragment(17, offset as u16, offset == 0, 5, part));
        host.take(&to_us(0, &bytes));
    }
    assert_eq!(host.arrived, ["17 fd00::2>fd00::1 2000"]);
    assert_eq!(host.payload, payload);
}

// T140
#[test]
fn destination_options_inside_the_fragments_are_walked() {
    let mut inner = options(17, &[1, 4, 0, 0, 0, 0]);
    inner.extend_from_slice(&[7; 24]);
    let mut host = host();
    host.take(&to_us(44, &fragment(60, 0, true, 5, &inner[..16])));
    host.take(&to_us(44, &fragment(60, 16, false, 5, &inner[16..])));
    assert_eq!((host.arrived.len(), host.payload.len()), (1, 24));
}

// T140, RFC 5722
#[test]
fn overlapping_fragments_end_the_datagram() {
    for (offset, more, len) in [(8, true, 16), (16, false, 30), (0, true, 32), (24, true, 8)] {
        let mut host = host();
        host.take(&to_us(44, &fragment(17, 0, true, 5, &[0; 16])));
        host.take(&to_us(44, &fragment(17, 16, true, 5, &[0; 16])));
        host.take(&to_us(44, &fragment(17, offset, more, 5, &vec![9; len])));
        assert_eq!(host.ip.reassemblies(), (0, 0), "{offset}");
        host.take(&to_us(44, &fragment(17, 32, false, 5, &[0; 16])));
        assert!(host.arrived.is_empty(), "{offset}");
        assert_eq!(host.ip.counters.reassembly_fails, 1);
    }
}

// T140, RFC 6946
#[test]
fn an_atomic_fragment_is_taken_alone() {
    let mut host = host();
    host.take(&to_us(44, &fragment(17, 0, true, 5, &[1; 16])));
    host.take(&to_us(44, &fragment(17, 0, false, 5, &[2; 8])));
    assert_eq!(host.payload, [2; 8]);
    host.take(&to_us(44, &fragment(17, 16, false, 5, &[3; 8])));
    assert_eq!(host.payload.len(), 24);
    assert_eq!(host.arrived.len(), 2);
}

// T140
#[test]
fn fragments_of_impossible_length_are_reported() {
    let mut host = host();
    host.take(&to_us(44, &fragment(17, 0, true, 5, &[0; 12])));
    assert_eq!(error6(&host.sent()[0]), (4, 0, 4));
    host.take(&to_us(44, &fragment(17, 65_528, false, 5, &[0; 16])));
    assert_eq!(error6(&host.sent()[0]), (4, 0, 42));
    assert_eq!(host.ip.reassemblies().0, 0);
}

// RFC 7112: what is filtered by its headers must show them.
#[test]
fn a_first_fragment_without_all_headers_is_dropped() {
    let mut host = host();
    let mut inner = options(60, &[1, 4, 0, 0, 0, 0]);
    inner.extend_from_slice(&options(17, &[1, 4, 0, 0, 0, 0]));
    inner.extend_from_slice(&[7; 8]);
    host.take(&to_us(44, &fragment(60, 0, true, 5, &inner[..8])));
    host.take(&to_us(44, &fragment(60, 8, false, 5, &inner[8..])));
    assert!(host.arrived.is_empty());
    assert_eq!(host.ip.counters.in_hdr_errors, 1);
}

// RFC 6980
#[test]
fn neighbour_discovery_never_comes_in_fragments() {
    let mut host = Host::ethernet(&["fd00::1/64"]);
    let mut body = Vec::new();
    let message = ndp::Message::NeighborSolicitation {
        target: v6("fd00::1"),
        source_mac: Some(PEER),
    };
    icmpv6::Message::Ndp(message).write(v6("fd00::2"), v6("fd00::1"), &mut body);
    let whole = hops6("fd00::2", "fd00::1", protocol::ICMPV6, 255, &body);
    let part = hops6(
        "fd00::2",
        "fd00::1",
        44,
        255,
        &fragment(58, 0, false, 5, &body),
    );
    host.take(&frame(PEER, US, &part));
    assert!(host.sent().is_empty());
    host.take(&frame(PEER, US, &whole));
    assert_eq!(host.sent().len(), 1);
}

// T140: RFC 8200 section 4.5: 60 s, and time exceeded when the first fragment came.
#[test]
fn missing_fragments_are_reported_after_a_minute() {
    let mut host = host();
    host.take(&to_us(44, &fragment(17, 0, true, 5, &[1; 1400])));
    host.take(&to_us(44, &fragment(17, 8, false, 6, &[1; 16])));
    host.seconds(59);
    assert!(host.sent().is_empty());
    host.seconds(2);
    let sent = host.sent();
    assert_eq!((sent.len(), error6(&sent[0])), (1, (3, 1, 0)));
    assert_eq!(sent[0].len(), 1280);
    assert_eq!(host.ip.reassemblies(), (0, 0));
}

// T147
#[test]
fn echo_is_answered_with_the_same_data() {
    let mut host = host();
    host.take(&ping6("fd00::2", "fd00::1", b"hello"));
    let sent = host.sent();
    let (header, payload) = ipv6::parse(&sent[0]).unwrap();
    assert_eq!((header.src, header.dst), (v6("fd00::1"), v6("fd00::2")));
    let echo = icmpv6::Message::Echo {
        reply: true,
        id: 5,
        seq: 6,
        data: b"hello",
    };
    assert_eq!(icmpv6::parse(header.src, header.dst, payload), Ok(echo));
}

// T147: a large echo comes in fragments and goes back in fragments.
#[test]
fn a_large_echo_is_answered_in_fragments() {
    let mut host = host();
    let whole = ping6("fd00::2", "fd00::1", &[5; 4000]);
    let body = &whole[40..];
    for (n, part) in body.chunks(1400).enumerate() {
        let more = (n + 1) * 1400 < body.len();
        host.take(&to_us(44, &fragment(58, n as u16 * 1400, more, 5, part)));
    }
    let sent = host.sent();
    assert_eq!(sent.len(), 3);
    assert!(
        sent.iter()
            .all(|packet| packet.len() <= 1500 && packet[6] == 44)
    );
}

// T153
#[test]
fn sources_that_are_no_single_host_are_dropped() {
    let mut host = host();
    for src in ["ff02::1", "::", "::ffff:10.0.0.1", "fd00::1"] {
        host.take(&packet6(src, "fd00::1", 6, &[0; 20]));
        host.take(&ping6(src, "fd00::1", b"x"));
    }
    assert!(host.arrived.is_empty() && host.sent().is_empty());
    assert_eq!(host.ip.counters.in_addr_errors, 8);
}

// The short way takes nothing of IPv6 that the long way would not, and takes it alike, on either link.
#[test]
fn the_usual_packet_is_taken_as_any_is() {
    let good = to_us(6, &[7; 20]);
    let offload = Offload::default();
    for is_ethernet in [false, true] {
        let mut host = match is_ethernet {
            true => Host::ethernet(&["fd00::1/64"]),
            false => host(),
        };
        let framed = |packet: &[u8]| match is_ethernet {
            true => frame(PEER, US, packet),
            false => packet.to_vec(),
        };
        let mut bytes = framed(&good);
        // What a link pads a frame with is no part of the packet.
        bytes.extend_from_slice(&[9; 6]);
        assert!(host.ip.take_usual(FIRST, &bytes, offload).is_none());
        let mut scratch = Vec::new();
        let any = host
            .ip
            .handle_frame(host.now, FIRST, &bytes, offload, &mut scratch);
        let Some(Arrived::Packet(any)) = any else {
            panic!("the packet is for us");
        };
        let before = (host.ip.counters.in_receives, host.ip.counters.in_delivers);
        let usual = host.ip.take_usual(FIRST, &bytes, offload).unwrap();
        assert_eq!(format!("{any:?}"), format!("{usual:?}"));
        let after = (host.ip.counters.in_receives, host.ip.counters.in_delivers);
        assert_eq!(after, (before.0 + 1, before.1 + 1));
        let mut others = vec![
            framed(&packet6("fd00::3", "fd00::1", 6, &[7; 20])),
            framed(&packet6("fd00::2", "fd00::9", 6, &[7; 20])),
            framed(&to_us(58, &[7; 20])),
            framed(&to_us(44, &fragment(6, 0, true, 1, &[7; 24]))),
            framed(&good)[..50].to_vec(),
        ];
        if is_ethernet {
            let to_all = Mac([0xff; 6]);
            others.extend([frame(PEER, to_all, &good), frame(PEER, OTHER, &good)]);
        }
        for packet in &others {
            assert!(host.ip.take_usual(FIRST, packet, offload).is_none());
        }
        host.ip.changed();
        assert!(host.ip.take_usual(FIRST, &bytes, offload).is_none());
    }
}
