//! What is told to whoever traces.

use super::*;
use crate::limits::MAX_IP_NOTES;
use crate::wire::ndp::Message;
use weir_core::trace::{Event, Level, Sink, Tracer};

/// Wants everything, and what it is given comes from the stack's tests.
struct Listener;

impl Sink for Listener {
    fn event(&mut self, _: Instant, _: &Event<'_>) {}

    fn wants(&self, _: Level) -> bool {
        true
    }
}

fn listened(mut host: Host) -> Host {
    host.ip.notes.listen(&Tracer::new(Box::new(Listener)));
    host
}

/// What was told since the last call.
fn told(host: &mut Host) -> Vec<String> {
    let events = core::iter::from_fn(|| host.ip.notes.pop());
    let words = events.map(|event| match event {
        Event::PacketDropped(it) => {
            let kind = it.kind.unwrap_or("?");
            format!("{kind} {:?} {} {}", it.length, it.trigger, it.count)
        }
        Event::Neighbor(it) => {
            let known = it.hardware.map_or("", |_| " known");
            let old = it.old.unwrap_or("new");
            format!("{} {old}>{}{known}", it.address, it.new)
        }
        Event::Address(it) => format!("{}/{} {}", it.address, it.prefix_len, it.state),
        Event::PathMtu { to, old, new } => format!("{to} {old}>{new}"),
        other => panic!("{other:?}"),
    });
    words.collect()
}

// T137, T153, T154: each packet that is thrown away, with its class and how many there were.
#[test]
fn what_is_thrown_away_is_told_with_the_reason() {
    let mut host = listened(Host::tun(&["10.0.0.1/24", "fd00::1/64"]));
    told(&mut host);
    let mut damaged = ping4("10.0.0.2", "10.0.0.1", b"hi");
    damaged[10] ^= 1;
    let mut short = ping6("fd00::2", "fd00::1", b"hi");
    short.truncate(39);
    let udp4 = |src, dst| packet4(src, dst, protocol::UDP, &[0; 8], |_| {});
    let cases = [
        (damaged, "ICMP Some(30) checksum 1"),
        (short, "ICMP Some(39) malformed 2"),
        (vec![0x70; 20], "? Some(20) malformed 3"),
        (udp4("10.0.0.2", "10.0.0.9"), "UDP Some(28) not_for_us 1"),
        (udp4("224.0.0.1", "10.0.0.1"), "UDP Some(28) source 2"),
        (udp4("127.0.0.1", "10.0.0.1"), "UDP Some(28) source 3"),
        (
            packet4("10.0.0.2", "10.0.0.1", 99, &[0; 8], |_| {}),
            "IPv4 Some(28) no_listener 1",
        ),
        (
            packet4("10.0.0.2", "10.0.0.1", protocol::ICMPV4, &[8; 8], |_| {}),
            "ICMP Some(28) malformed 1",
        ),
        (
            packet4("10.0.0.2", "10.0.0.1", protocol::TCP, &[0; 9], |header| {
                header.more_fragments = true;
            }),
            "TCP Some(29) fragment 4",
        ),
    ];
    for (packet, wanted) in cases {
        host.take(&packet);
        assert_eq!(told(&mut host), [wanted]);
    }
    host.take(&ping4("10.0.0.2", "10.0.0.1", b"hi"));
    assert!(told(&mut host).is_empty());
}

// T138: fragments whose rest does not come are told as well.
#[test]
fn fragments_that_are_given_up_are_told() {
    let mut host = listened(Host::tun(&["10.0.0.1/24"]));
    told(&mut host);
    let first = packet4("10.0.0.2", "10.0.0.1", protocol::UDP, &[0; 16], |header| {
        header.more_fragments = true;
    });
    host.take(&first);
    assert!(told(&mut host).is_empty());
    host.seconds(120);
    assert_eq!(told(&mut host), ["UDP Some(36) fragment 1"]);
}

// T144: a neighbour's life, and what waited for it.
#[test]
fn states_of_neighbours_are_told() {
    let mut host = listened(Host::ethernet(&["fd00::1/64"]));
    told(&mut host);
    host.send("fd00::2", b"hi", true).unwrap();
    assert_eq!(told(&mut host), ["fd00::2 new>incomplete"]);
    let answer = Message::NeighborAdvertisement {
        target: v6("fd00::2"),
        router: false,
        solicited: true,
        replaces: true,
        target_mac: Some(PEER),
    };
    let answer = icmp6("fd00::2", "fd00::1", 255, &icmpv6::Message::Ndp(answer));
    host.take(&frame(PEER, US, &answer));
    assert_eq!(told(&mut host), ["fd00::2 incomplete>reachable known"]);
    host.seconds(46);
    assert_eq!(told(&mut host), ["fd00::2 reachable>stale known"]);
    host.send("fd00::2", b"hi", true).unwrap();
    host.seconds(9);
    let wanted = [
        "fd00::2 stale>delay known",
        "fd00::2 delay>probe known",
        "fd00::2 probe>incomplete",
    ];
    assert_eq!(told(&mut host), wanted);
    host.send("fd00::2", b"lost", true).unwrap();
    host.seconds(5);
    let wanted = [
        "fd00::2 incomplete>failed",
        "UDP Some(44) no_neighbor 1",
        "fd00::2 failed>gone",
    ];
    assert_eq!(told(&mut host), wanted);
}

// T145: an address on its way into use, and out of it.
#[test]
fn what_becomes_of_addresses_is_told() {
    let mut host = listened(Host::ethernet(&[]));
    told(&mut host);
    for address in ["fd00::7/64", "fd00::8/64"] {
        let cidr = address.parse().unwrap();
        host.ip.add_address(host.now, FIRST, cidr).unwrap();
        assert_eq!(told(&mut host), [format!("{address} tentative")]);
    }
    let claim = Message::NeighborAdvertisement {
        target: v6("fd00::7"),
        router: false,
        solicited: false,
        replaces: true,
        target_mac: Some(PEER),
    };
    let claim = icmp6("fd00::7", "ff02::1", 255, &icmpv6::Message::Ndp(claim));
    host.take(&frame(PEER, Mac::for_v6_multicast(v6("ff02::1")), &claim));
    assert_eq!(told(&mut host), ["fd00::7/64 duplicate"]);
    host.seconds(3);
    assert_eq!(told(&mut host), ["fd00::8/64 preferred"]);
    assert!(host.ip.remove_address(FIRST, ip("fd00::8")));
    assert_eq!(told(&mut host), ["fd00::8/64 removed"]);
}

// T133, T136
#[test]
fn path_mtus_are_told_as_they_fall_and_rise() {
    let mut host = listened(Host::tun(&["10.0.0.1/24"]));
    told(&mut host);
    let dst = ip("10.0.0.2");
    host.ip.on_packet_too_big(host.now, dst, 1400, 1500);
    host.ip.on_packet_too_big(host.now, dst, 1300, 1400);
    assert_eq!(
        told(&mut host),
        ["10.0.0.2 1500>1400", "10.0.0.2 1400>1300"]
    );
    host.seconds(601);
    assert_eq!(told(&mut host), ["10.0.0.2 1300>1500"]);
}

// A storm of bad packets leaves nothing behind but its count where nobody listens, and no more than
// its bound where somebody does who does not fetch it.
#[test]
fn a_storm_keeps_nothing() {
    let storm = |host: &mut Host| {
        for _ in 0..2 * MAX_IP_NOTES {
            host.take(&[0x70; 40]);
        }
    };
    let mut deaf = Host::tun(&["10.0.0.1/24"]);
    storm(&mut deaf);
    assert!(deaf.ip.notes.is_empty());
    assert_eq!(deaf.ip.counters.in_hdr_errors, 2 * MAX_IP_NOTES as u64);
    let mut host = listened(Host::tun(&["10.0.0.1/24"]));
    told(&mut host);
    storm(&mut host);
    assert_eq!(told(&mut host).len(), MAX_IP_NOTES);
}
