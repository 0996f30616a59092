use super::*;
use crate::limits::{
    MAX_INCOMPLETE_NEIGHBORS, MAX_IP_REPLIES, MAX_IP_REPLY_BYTES, MAX_NEIGHBORS, MAX_PENDING_BYTES,
    MAX_PENDING_PACKETS, MAX_REASSEMBLIES, MAX_REASSEMBLY_BYTES,
};
use crate::wire::arp::{self, Operation};

// C12: fragments without end, of datagrams without end.
#[test]
fn a_flood_of_fragments_is_bounded_in_memory_and_number() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let mut rng = rng_from_seed(5);
    for n in 0..50_000u32 {
        let id = rng::below(&mut rng, 5_000) as u16;
        let offset = 8 * rng::below(&mut rng, 8_000) as u16;
        let len = 8 * rng::between(&mut rng, 1, 180) as usize;
        let src = Ipv4Addr::from_bits(0x0b00_0000 + n % 7).to_string();
        host.take(&packet4(&src, "10.0.0.1", 17, &vec![0; len], |header| {
            header.id = id;
            header.fragment_offset = offset;
            header.more_fragments = true;
        }));
        let (datagrams, bytes) = host.ip.reassemblies();
        assert!(
            datagrams <= MAX_REASSEMBLIES && bytes <= MAX_REASSEMBLY_BYTES,
            "{datagrams} {bytes}"
        );
    }
    assert!(host.ip.counters.reassembly_fails > 1_000);
    // Whatever waits, a whole datagram that comes now gets through, ...
    let good = |offset: u16, more: bool| {
        packet4("10.0.0.2", "10.0.0.1", 17, &[1; 64], |header| {
            header.fragment_offset = offset;
            header.more_fragments = more;
        })
    };
    host.take(&good(64, false));
    host.take(&good(0, true));
    assert_eq!(host.payload, [1; 128]);
    // ... and in time everything is over, its timers too.
    host.seconds(40);
    assert_eq!(host.ip.reassemblies(), (0, 0));
    assert!(host.ip.timers.is_empty());
}

// C5: the smallest fragments of one datagram, last to first, alternating: each costs the same.
#[test]
fn eight_byte_fragments_take_memory_in_proportion() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let part = |n: u16| {
        packet4("10.0.0.2", "10.0.0.1", 17, &[n as u8; 8], |header| {
            header.fragment_offset = n * 8;
            header.more_fragments = n != 8_000;
        })
    };
    for n in (0..=8_000).rev().filter(|n| n % 2 == 0) {
        host.take(&part(n));
    }
    let (datagrams, bytes) = host.ip.reassemblies();
    assert!(datagrams == 1 && bytes < 4_001 * 8 * 8, "{bytes}");
    for n in (0..=8_000).filter(|n| n % 2 == 1) {
        host.take(&part(n));
    }
    assert_eq!(host.arrived, ["17 10.0.0.2>10.0.0.1 64008"]);
    assert!(
        host.payload
            .chunks(8)
            .enumerate()
            .all(|(n, block)| block == [n as u8; 8])
    );
}

// C12: an offset near the end costs what came, not what it claims.
#[test]
fn far_offsets_take_little_memory() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    host.take(&packet4("10.0.0.2", "10.0.0.1", 17, &[0; 8], |header| {
        header.fragment_offset = 65_504;
        header.more_fragments = true;
    }));
    let (datagrams, bytes) = host.ip.reassemblies();
    assert!(datagrams == 1 && bytes < 4_096, "{bytes}");
}

// C8, C12: sending to many addresses of the link, as a scan through us or answers to forged sources do.
#[test]
fn neighbours_that_are_not_there_are_bounded() {
    let mut host = Host::ethernet(&["10.0.0.1/8"]);
    host.ip
        .add_neighbor(host.now, FIRST, ip("10.0.0.2"), PEER)
        .unwrap();
    for n in 0..20_000u32 {
        let dst = Ipv4Addr::from_bits(0x0a01_0000 + n).to_string();
        let _sent = host.send(&dst, &[0; 1400], true);
        assert!(host.ip.neighbors.incomplete() <= MAX_INCOMPLETE_NEIGHBORS);
        assert!(host.ip.neighbors.pending_bytes() <= MAX_PENDING_BYTES);
    }
    assert_eq!(host.ip.neighbors.len(), MAX_INCOMPLETE_NEIGHBORS + 1);
    // What was given up is counted.
    assert!(host.ip.counters.out_discards > 10_000);
    // One timer for each, whatever was given up.
    assert!(host.ip.timers.len() <= MAX_INCOMPLETE_NEIGHBORS + 8);
    assert_eq!(host.send("10.0.0.2", b"x", true).unwrap().len(), 1);
    host.seconds(10);
    assert_eq!(host.ip.neighbors.len(), 1);
    assert_eq!(host.ip.neighbors.pending_bytes(), 0);
}

// C8, C12: forged requests for us, each from another address.
#[test]
fn neighbours_that_others_made_take_nobodys_place() {
    let mut host = Host::ethernet(&["10.0.0.1/8"]);
    let ask = |n: u32| {
        let mut body = Vec::new();
        arp::Packet {
            operation: Operation::Request,
            sender_mac: PEER,
            sender_ip: Ipv4Addr::from_bits(0x0a01_0000 + n),
            target_mac: Mac::ZERO,
            target_ip: v4("10.0.0.1"),
        }
        .write(&mut body);
        frame(PEER, US, &body)
    };
    // One that we talk to.
    host.take(&ask(0));
    let friend = "10.1.0.0";
    for n in 1..20_000 {
        host.take(&ask(n));
        host.sent();
        let _sent = host.send(friend, b"x", true).unwrap();
        assert!(host.ip.neighbors.len() <= MAX_NEIGHBORS);
    }
    assert_eq!(host.ip.neighbors.len(), MAX_NEIGHBORS);
    assert!(host.ip.neighbor(FIRST, ip(friend)).is_some());
    assert!(host.ip.timers.len() <= MAX_NEIGHBORS + 8);
    host.seconds(2_000);
    assert_eq!(host.ip.neighbors.len(), 0);
}

// C4: packets for one neighbour that does not answer.
#[test]
fn packets_that_wait_are_the_newest_few() {
    let mut host = Host::ethernet(&["10.0.0.1/24"]);
    for n in 0..100u8 {
        host.send("10.0.0.2", &[n; 100], true).unwrap();
    }
    assert_eq!(
        host.ip.neighbors.pending_bytes(),
        MAX_PENDING_PACKETS * (14 + 20 + 100)
    );
    let mut body = Vec::new();
    arp::Packet {
        operation: Operation::Reply,
        sender_mac: PEER,
        sender_ip: v4("10.0.0.2"),
        target_mac: US,
        target_ip: v4("10.0.0.1"),
    }
    .write(&mut body);
    host.take(&frame(PEER, US, &body));
    let sent: Vec<u8> = host
        .sent()
        .iter()
        .filter(|frame| frame.len() > 100)
        .map(|frame| frame[34])
        .collect();
    let newest: Vec<u8> = (100 - MAX_PENDING_PACKETS as u8..100).collect();
    assert_eq!(sent, newest);
}

// C3: requests that want an answer, faster than answers are fetched.
#[test]
fn answers_that_nobody_fetches_are_bounded() {
    let mut host = Host::tun(&["10.0.0.1/24"]);
    let small = ping4("10.0.0.2", "10.0.0.1", b"x");
    let large = ping4("10.0.0.2", "10.0.0.1", &[0; 1400]);
    for request in [&small, &large] {
        for _ in 0..3 * MAX_IP_REPLIES {
            host.take(request);
            assert!(host.ip.replies.len() <= MAX_IP_REPLIES);
            assert!(host.ip.replies.bytes <= MAX_IP_REPLY_BYTES + 1500);
        }
        assert!(host.ip.counters.out_discards > 0);
        host.sent();
    }
    host.take(&small);
    assert_eq!(host.sent().len(), 1);
}

// C4: news that nobody asks for.
#[test]
fn news_that_nobody_takes_is_bounded() {
    let mut host = Host::ethernet(&["10.0.0.1/8"]);
    for n in 0..3 * crate::limits::MAX_IP_EVENTS as u32 {
        host.ip.tell(IpEvent::PathMtu {
            dst: IpAddr::from(n.to_be_bytes()),
            mtu: 1400,
        });
    }
    assert_eq!(
        core::iter::from_fn(|| host.ip.poll_event()).count(),
        crate::limits::MAX_IP_EVENTS
    );
}

// C1: bytes at random, and good frames with some bytes changed, on every kind of link.
#[test]
fn nothing_that_arrives_makes_trouble() {
    let config = |any_address: bool| InterfaceConfig {
        any_address,
        slaac: true,
        ..ethernet(&["10.0.0.1/24", "fd00::1/64"], US)
    };
    for seed in 0..20 {
        let mut rng = rng_from_seed(seed);
        let mut host = Host::with(config(seed % 2 == 0));
        host.ip.set_forwarding(seed % 3 == 0);
        host.seconds(5);
        let mut frames: Vec<Vec<u8>> = vec![
            frame(PEER, US, &ping4("10.0.0.2", "10.0.0.1", &[0; 40])),
            frame(PEER, US, &ping6("fd00::2", "fd00::1", &[0; 40])),
        ];
        frames.extend(host.sent());
        for _ in 0..3_000 {
            let from = rng::below(&mut rng, frames.len() as u64) as usize;
            let mut bytes = frames[from].clone();
            for _ in 0..rng::below(&mut rng, 6) {
                let at = rng::below(&mut rng, bytes.len() as u64) as usize;
                bytes[at] = rng::next_u64(&mut rng) as u8;
            }
            bytes[..6].copy_from_slice(&US.0);
            bytes[6] = 2;
            if bytes.len() > 34 && bytes[12..14] == [8, 0] {
                let header_len = (usize::from(bytes[14] & 15) * 4).clamp(20, bytes.len() - 14);
                bytes[24..26].fill(0);
                let sum = checksum::sum(&bytes[14..14 + header_len])
                    .finish()
                    .to_be_bytes();
                bytes[24..26].copy_from_slice(&sum);
            }
            bytes.truncate(1 + rng::below(&mut rng, bytes.len() as u64 * 2) as usize);
            host.take(&bytes);
            host.pass(Duration::from_millis(rng::below(&mut rng, 20)));
            host.sent();
            host.arrived.clear();
        }
        host.seconds(100);
        assert_eq!(host.ip.reassemblies(), (0, 0));
        assert_eq!(host.ip.neighbors.pending_bytes(), 0);
    }
}

// C4: what the host's own owner adds is bounded too, and refused with a reason.
#[test]
fn interfaces_addresses_and_static_neighbours_are_bounded() {
    use crate::limits::{MAX_ADDRESSES, MAX_INTERFACES, MAX_ROUTES, MAX_STATIC_NEIGHBORS};
    let too_many = |error: ConfigError| matches!(error, ConfigError::TooMany { .. });
    let mut host = Host::ethernet(&["10.0.0.1/8"]);
    let now = host.now;
    for n in 0..MAX_STATIC_NEIGHBORS as u32 {
        let address = Ipv4Addr::from_bits(0x0a01_0000 + n).into();
        host.ip.add_neighbor(now, FIRST, address, PEER).unwrap();
    }
    let refused = host.ip.add_neighbor(now, FIRST, ip("10.9.9.9"), PEER);
    assert!(too_many(refused.unwrap_err()));
    // The same one again is no more than before.
    host.ip
        .add_neighbor(now, FIRST, ip("10.1.0.0"), OTHER)
        .unwrap();
    // The link-local address is there already.
    for n in 2..MAX_ADDRESSES as u8 {
        let cidr = Cidr::host(IpAddr::from([10, 2, 0, n]));
        host.ip.add_address(now, FIRST, cidr).unwrap();
    }
    let refused = host
        .ip
        .add_address(now, FIRST, "10.3.0.1/32".parse().unwrap());
    assert!(too_many(refused.unwrap_err()));
    for n in 1..MAX_INTERFACES {
        let config = InterfaceConfig::new("x", Capabilities::plain(Medium::Ip, 1500));
        assert_eq!(
            host.ip.add_interface(now, config),
            Ok(InterfaceId(n as u16))
        );
    }
    let config = InterfaceConfig::new("x", Capabilities::plain(Medium::Ip, 1500));
    assert!(too_many(host.ip.add_interface(now, config).unwrap_err()));
    let mut route = RouteConfig {
        to: Cidr::host(ip("192.0.2.1")),
        via: None,
        interface: FIRST,
        metric: 0,
    };
    for n in 0.. {
        route.to = Cidr::host(Ipv4Addr::from_bits(0xc000_0000 + n).into());
        match host.ip.add_route(route) {
            Ok(()) => assert!(n < MAX_ROUTES as u32),
            Err(error) => return assert!(too_many(error)),
        }
    }
}
