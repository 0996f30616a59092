//! Recordings: what was delivered stands in them, readable by other tools.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking"
)]

use std::net::IpAddr;

use bytes::Bytes;
use weir_core::time::{Duration, Instant};
use weir_sim::{Datagram, Ecn, LinkConfig, PipeConfig, World};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// The packets of a pcapng file with their times in nanoseconds, its framing checked.
fn packets(mut file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let mut kinds = Vec::new();
    let mut packets = Vec::new();
    while !file.is_empty() {
        let length = word(&file[4..]) as usize;
        let (block, rest) = file.split_at(length);
        assert_eq!(word(&block[length - 4..]) as usize, length);
        kinds.push(word(block));
        if word(block) == ENHANCED_PACKET {
            let time = (u64::from(word(&block[12..])) << 32) | u64::from(word(&block[16..]));
            let captured = word(&block[20..]) as usize;
            packets.push((time, block[28..28 + captured].to_vec()));
        }
        file = rest;
    }
    assert_eq!(kinds[..2], [SECTION_HEADER, INTERFACE]);
    assert!(kinds[2..].iter().all(|&kind| kind == ENHANCED_PACKET));
    packets
}

fn half(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(packet[at..at + 2].try_into().unwrap())
}

fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

#[test]
fn datagrams_are_recorded_when_they_arrive() {
    let mut world = World::new(1);
    world.record();
    let client = world.node("client", &["10.0.0.1".parse::<IpAddr>().unwrap()]);
    let server = world.node("server", &["10.0.0.2".parse::<IpAddr>().unwrap()]);
    let config = LinkConfig {
        delay: Duration::from_millis(20),
        drop_numbers: vec![2],
        ..LinkConfig::default()
    };
    world.connect(client, server, config);
    for payload in ["first", "lost", "third"] {
        let (from, to) = (
            "10.0.0.1:5000".parse().unwrap(),
            "10.0.0.2:443".parse().unwrap(),
        );
        let payload = Bytes::from_static(payload.as_bytes());
        world.send(
            client,
            Datagram {
                from,
                to,
                ecn: Ecn::Ect0,
                payload,
            },
        );
    }
    world.advance_to(Instant::from_millis(100));
    let packets = packets(world.recording().unwrap());
    let payloads: Vec<&[u8]> = packets.iter().map(|(_, packet)| &packet[28..]).collect();
    assert_eq!(payloads, [b"first", b"third"]);
    for (time, packet) in &packets {
        assert_eq!(*time, 20_000_000);
        assert_eq!(packet[..2], [0x45, 2], "IPv4 without options, ECT(0)");
        assert_eq!((half(packet, 2), packet[9]), (33, 17), "33 bytes of UDP");
        assert_eq!(
            (packet[12..16].to_vec(), packet[16..20].to_vec()),
            (vec![10, 0, 0, 1], vec![10, 0, 0, 2])
        );
        assert_eq!(
            (half(packet, 20), half(packet, 22), half(packet, 24)),
            (5000, 443, 13)
        );
    }
}

#[test]
fn pipes_are_recorded_as_tcp_connections() {
    let mut world = World::new(1);
    world.record();
    let (a, b) = world.pipe(PipeConfig {
        delay: Duration::from_millis(5),
        ..PipeConfig::default()
    });
    world.set_pipe_addresses(
        b,
        "10.0.0.9:80".parse().unwrap(),
        "10.0.0.1:1024".parse().unwrap(),
    );
    world.write(a, &mut Bytes::from_static(b"request")).unwrap();
    world.advance_to(Instant::from_millis(10));
    world
        .write(b, &mut Bytes::from_static(b"an answer"))
        .unwrap();
    world.finish(b);
    world.advance_to(Instant::from_millis(20));
    world.abort(a);
    world.advance_to(Instant::from_millis(30));
    let seen: Vec<_> = packets(world.recording().unwrap())
        .iter()
        .map(|(time, packet)| {
            assert_eq!((packet[0], packet[9]), (0x45, 6));
            let payload = String::from_utf8(packet[40..].to_vec()).unwrap();
            let (source, flags) = (half(packet, 20), packet[33]);
            (
                time / 1_000_000,
                source,
                flags,
                word(packet, 24),
                word(packet, 28),
                payload,
            )
        })
        .collect();
    const SYN: u8 = 0x02;
    const SYN_ACK: u8 = 0x12;
    const ACK: u8 = 0x10;
    const PSH_ACK: u8 = 0x18;
    const FIN_ACK: u8 = 0x11;
    const RST_ACK: u8 = 0x14;
    let segment = |time, source, flags, seq, ack, payload: &str| {
        (time, source, flags, seq, ack, payload.to_owned())
    };
    let expected = [
        segment(5, 1024, SYN, 0, 0, ""),
        segment(5, 80, SYN_ACK, 0, 1, ""),
        segment(5, 1024, ACK, 1, 1, ""),
        segment(5, 1024, PSH_ACK, 1, 1, "request"),
        segment(15, 80, PSH_ACK, 1, 8, "an answer"),
        segment(15, 80, FIN_ACK, 10, 8, ""),
        segment(25, 1024, RST_ACK, 8, 11, ""),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn nothing_is_recorded_unasked() {
    if std::env::var_os("WEIR_SIM_PCAP").is_none() {
        assert_eq!(World::new(1).recording(), None);
    }
}
