use super::*;
use crate::wire::arp::{self, Operation};

fn arp(operation: Operation, sender: (Mac, &str), target: (Mac, &str)) -> arp::Packet {
    arp::Packet {
        operation,
        sender_mac: sender.0,
        sender_ip: v4(sender.1),
        target_mac: target.0,
        target_ip: v4(target.1),
    }
}

fn arp_frame(dst: Mac, packet: &arp::Packet) -> Vec<u8> {
    let mut body = Vec::new();
    packet.write(&mut body);
    frame(packet.sender_mac, dst, &body)
}

/// The ARP packets among frames, with where they go.
fn heard(frames: &[Vec<u8>]) -> Vec<(Mac, arp::Packet)> {
    let arps = frames.iter().filter_map(|frame| {
        let (header, body) = ethernet::parse(frame).unwrap();
        (header.ether_type == ethernet::ARP).then(|| (header.dst, arp::parse(body).unwrap()))
    });
    arps.collect()
}

fn state(host: &Host, address: &str) -> Option<(NeighborState, Mac)> {
    host.ip.neighbor(FIRST, ip(address))
}

fn host() -> Host {
    Host::ethernet(&["10.0.0.1/24"])
}

/// The peer answers what we ask.
fn answer(host: &mut Host, mac: Mac) {
    host.take(&arp_frame(
        US,
        &arp(Operation::Reply, (mac, "10.0.0.2"), (US, "10.0.0.1")),
    ));
}

/// A host that knows the peer.
fn acquainted() -> Host {
    let mut host = host();
    host.send("10.0.0.2", b"hi", true).unwrap();
    answer(&mut host, PEER);
    host.sent();
    assert_eq!(
        state(&host, "10.0.0.2"),
        Some((NeighborState::Reachable, PEER))
    );
    host
}

// T143
#[test]
fn a_request_goes_to_all_and_the_packet_waits_for_the_answer() {
    let mut host = host();
    assert!(host.send("10.0.0.2", b"first", true).unwrap().is_empty());
    assert!(host.send("10.0.0.2", b"second", true).unwrap().is_empty());
    let asked = heard(&host.sent());
    let request = arp(
        Operation::Request,
        (US, "10.0.0.1"),
        (Mac::ZERO, "10.0.0.2"),
    );
    assert_eq!(asked, [(Mac::BROADCAST, request)]);
    answer(&mut host, PEER);
    let sent = host.sent();
    let ends: Vec<&[u8]> = sent.iter().map(|frame| &frame[34..]).collect();
    assert_eq!(ends, [&b"first"[..], b"second"]);
    assert!(sent.iter().all(|frame| frame[..6] == PEER.0));
    // From now on at once.
    assert_eq!(
        host.send("10.0.0.2", b"third", true).unwrap()[0][..6],
        PEER.0
    );
    assert_eq!(host.ip.neighbors.pending_bytes(), 0);
}

// T143: all fragments of a datagram wait, not the last few.
#[test]
fn the_largest_datagram_waits_whole() {
    let mut host = host();
    assert!(
        host.send("10.0.0.2", &[7; 65_000], false)
            .unwrap()
            .is_empty()
    );
    answer(&mut host, PEER);
    let mut peer = Host::with(ethernet(&["10.0.0.2/24"], PEER));
    host.sent().iter().for_each(|frame| peer.take(frame));
    assert_eq!(peer.payload, [7; 65_000]);
}

// T143
#[test]
fn a_request_for_us_is_answered_to_the_asker_who_is_remembered() {
    let mut host = host();
    host.take(&arp_frame(
        Mac::BROADCAST,
        &arp(
            Operation::Request,
            (PEER, "10.0.0.2"),
            (Mac::ZERO, "10.0.0.1"),
        ),
    ));
    let reply = arp(Operation::Reply, (US, "10.0.0.1"), (PEER, "10.0.0.2"));
    assert_eq!(heard(&host.sent()), [(PEER, reply)]);
    assert_eq!(state(&host, "10.0.0.2"), Some((NeighborState::Stale, PEER)));
    assert_eq!(host.send("10.0.0.2", b"x", true).unwrap().len(), 1);
}

// T143: once a second, three times; then packets are refused for a second, and their sender told.
#[test]
fn requests_are_a_second_apart_and_end() {
    let mut host = host();
    host.send("10.0.0.2", b"x", true).unwrap();
    let mut asked = heard(&host.sent()).len();
    for _ in 0..10 {
        host.pass(Duration::from_millis(99));
        host.send("10.0.0.2", b"x", true).unwrap();
        asked += heard(&host.sent()).len();
    }
    assert_eq!(asked, 1);
    host.pass(Duration::from_millis(2_015));
    assert_eq!(heard(&host.sent()).len(), 2);
    let failed = IpEvent::NeighborFailed {
        interface: FIRST,
        next_hop: ip("10.0.0.2"),
    };
    assert_eq!(host.ip.poll_event(), Some(failed));
    assert_eq!(
        host.send("10.0.0.2", b"x", true),
        Err(SendError::HostUnreachable)
    );
    assert!(host.sent().is_empty());
    host.pass(Duration::from_millis(1_001));
    host.send("10.0.0.2", b"x", true).unwrap();
    assert_eq!(heard(&host.sent()).len(), 1);
}

// T143: what was not confirmed for a while is asked again, first the one that is known.
#[test]
fn entries_age_and_are_probed_only_when_used() {
    let mut host = acquainted();
    host.seconds(46);
    assert_eq!(state(&host, "10.0.0.2"), Some((NeighborState::Stale, PEER)));
    assert!(host.sent().is_empty());
    host.send("10.0.0.2", b"x", true).unwrap();
    assert_eq!(state(&host, "10.0.0.2").unwrap().0, NeighborState::Delay);
    host.pass(Duration::from_millis(5_001));
    let asked = heard(&host.sent());
    assert_eq!((asked.len(), asked[0].0), (1, PEER));
    assert_eq!(state(&host, "10.0.0.2").unwrap().0, NeighborState::Probe);
    answer(&mut host, PEER);
    assert_eq!(
        state(&host, "10.0.0.2").unwrap().0,
        NeighborState::Reachable
    );
    // Nobody sends there any more: it is forgotten in the end.
    host.seconds(2_000);
    assert_eq!(state(&host, "10.0.0.2"), None);
}

// RFC 4861 section 7.3.1, for ARP as well: acknowledged data is proof enough.
#[test]
fn progress_of_the_transport_spares_the_probe() {
    let mut host = acquainted();
    for _ in 0..20 {
        host.seconds(10);
        let route = host.ip.route(ip("10.0.0.2"), None).unwrap();
        host.send_by(&route, "10.0.0.2", b"x", true).unwrap();
        host.ip.confirm(host.now, &route);
    }
    assert!(host.sent().is_empty());
    assert_eq!(
        state(&host, "10.0.0.2").unwrap().0,
        NeighborState::Reachable
    );
}

// T143: a neighbour that moved to another Ethernet address is found again.
#[test]
fn a_silent_neighbour_is_looked_for_everywhere() {
    let mut host = acquainted();
    host.seconds(46);
    host.send("10.0.0.2", b"x", true).unwrap();
    host.pass(Duration::from_millis(8_500));
    let asked = heard(&host.sent());
    let to: Vec<Mac> = asked.iter().map(|(dst, _)| *dst).collect();
    assert_eq!(to, [PEER, PEER, PEER, Mac::BROADCAST]);
    answer(&mut host, OTHER);
    assert_eq!(
        state(&host, "10.0.0.2"),
        Some((NeighborState::Reachable, OTHER))
    );
}

// C7: unasked claims, by replies and by announcements, against a neighbour that is there.
#[test]
fn a_neighbour_that_answers_keeps_its_address() {
    let claims = [
        (
            US,
            arp(Operation::Reply, (OTHER, "10.0.0.2"), (US, "10.0.0.1")),
        ),
        (
            Mac::BROADCAST,
            arp(
                Operation::Request,
                (OTHER, "10.0.0.2"),
                (Mac::ZERO, "10.0.0.2"),
            ),
        ),
        (
            Mac::BROADCAST,
            arp(
                Operation::Request,
                (OTHER, "10.0.0.2"),
                (Mac::ZERO, "10.0.0.1"),
            ),
        ),
    ];
    for (dst, claim) in claims {
        let mut host = acquainted();
        host.seconds(2);
        host.take(&arp_frame(dst, &claim));
        let asked: Vec<_> = heard(&host.sent());
        assert!(
            asked
                .iter()
                .any(|(dst, packet)| *dst == PEER && packet.operation == Operation::Request)
        );
        // Meanwhile packets go where they went, and the claim repeated changes nothing.
        assert_eq!(host.send("10.0.0.2", b"x", true).unwrap()[0][..6], PEER.0);
        answer(&mut host, OTHER);
        assert_eq!(state(&host, "10.0.0.2").unwrap().1, PEER);
        answer(&mut host, PEER);
        assert_eq!(
            state(&host, "10.0.0.2"),
            Some((NeighborState::Reachable, PEER))
        );
        // For a moment after, claims are not looked into at all.
        host.take(&arp_frame(dst, &claim));
        assert!(!heard(&host.sent()).iter().any(|(dst, _)| *dst == PEER));
    }
}

// T143: the other way round: the old one is gone, a second later the new one is taken.
#[test]
fn a_claim_counts_when_the_old_neighbour_is_silent() {
    let mut host = acquainted();
    host.seconds(2);
    host.take(&arp_frame(
        Mac::BROADCAST,
        &arp(
            Operation::Request,
            (OTHER, "10.0.0.2"),
            (Mac::ZERO, "10.0.0.2"),
        ),
    ));
    host.sent();
    host.pass(Duration::from_millis(1_001));
    let asked = heard(&host.sent());
    assert_eq!((asked.len(), asked[0].0), (1, Mac::BROADCAST));
    answer(&mut host, OTHER);
    assert_eq!(
        state(&host, "10.0.0.2"),
        Some((NeighborState::Reachable, OTHER))
    );
}

// C7
#[test]
fn unasked_packets_make_no_entry() {
    let mut host = host();
    for packet in [
        arp(Operation::Reply, (PEER, "10.0.0.2"), (US, "10.0.0.1")),
        arp(
            Operation::Request,
            (PEER, "10.0.0.2"),
            (Mac::ZERO, "10.0.0.2"),
        ),
        // Not of this link, and no host's address.
        arp(
            Operation::Request,
            (PEER, "192.0.2.1"),
            (Mac::ZERO, "10.0.0.1"),
        ),
        arp(
            Operation::Request,
            (PEER, "10.0.0.255"),
            (Mac::ZERO, "10.0.0.1"),
        ),
        arp(
            Operation::Request,
            (PEER, "127.0.0.1"),
            (Mac::ZERO, "10.0.0.1"),
        ),
        arp(
            Operation::Request,
            (Mac::BROADCAST, "10.0.0.9"),
            (Mac::ZERO, "10.0.0.1"),
        ),
    ] {
        host.take(&arp_frame(US, &packet));
    }
    // A frame from one station about another.
    let mut body = Vec::new();
    arp(
        Operation::Request,
        (PEER, "10.0.0.2"),
        (Mac::ZERO, "10.0.0.1"),
    )
    .write(&mut body);
    host.take(&frame(OTHER, US, &body));
    assert_eq!(host.ip.neighbors.len(), 0);
    assert!(host.sent().is_empty());
}

#[test]
fn a_neighbour_set_by_hand_is_never_asked_nor_changed() {
    let mut host = host();
    host.ip
        .add_neighbor(host.now, FIRST, ip("10.0.0.2"), PEER)
        .unwrap();
    answer(&mut host, OTHER);
    host.seconds(10_000);
    assert_eq!(host.send("10.0.0.2", b"x", true).unwrap()[0][..6], PEER.0);
    assert_eq!(
        state(&host, "10.0.0.2"),
        Some((NeighborState::Permanent, PEER))
    );
    assert!(host.sent().is_empty());
    assert!(host.ip.remove_neighbor(FIRST, ip("10.0.0.2")));
    assert!(host.send("10.0.0.2", b"x", true).unwrap().is_empty());
}

// RFC 5227 section 2.3
#[test]
fn an_address_is_announced_twice() {
    let mut host = Host::with(ethernet(&["10.0.0.1/24"], US));
    let announcement = arp(
        Operation::Request,
        (US, "10.0.0.1"),
        (Mac::ZERO, "10.0.0.1"),
    );
    assert_eq!(heard(&host.sent()), [(Mac::BROADCAST, announcement)]);
    host.seconds(3);
    assert_eq!(heard(&host.sent()), [(Mac::BROADCAST, announcement)]);
    host.seconds(100);
    assert!(heard(&host.sent()).is_empty());
}

/// A host that looks for others with its address before it uses it.
fn probing() -> Host {
    Host::with(InterfaceConfig {
        probe_ipv4: true,
        ..ethernet(&["10.0.0.1/24"], US)
    })
}

// RFC 5227 section 2.1.1
#[test]
fn probes_come_before_the_address_where_wanted() {
    let mut host = probing();
    assert!(!host.ip.is_local(ip("10.0.0.1")));
    host.seconds(9);
    let all = heard(&host.sent());
    let probe = arp(Operation::Request, (US, "0.0.0.0"), (Mac::ZERO, "10.0.0.1"));
    assert_eq!(all.iter().filter(|(_, packet)| *packet == probe).count(), 3);
    assert_eq!(all.len(), 5);
    assert!(host.ip.is_local(ip("10.0.0.1")));
}

// RFC 5227 section 2.1.1
#[test]
fn an_address_that_others_use_or_probe_is_not_used() {
    for packet in [
        arp(Operation::Reply, (PEER, "10.0.0.1"), (US, "0.0.0.0")),
        arp(
            Operation::Request,
            (PEER, "10.0.0.1"),
            (Mac::ZERO, "10.0.0.7"),
        ),
        arp(
            Operation::Request,
            (PEER, "0.0.0.0"),
            (Mac::ZERO, "10.0.0.1"),
        ),
    ] {
        let mut host = probing();
        host.pass(Duration::from_millis(500));
        host.take(&arp_frame(Mac::BROADCAST, &packet));
        let mut events = core::iter::from_fn(|| host.ip.poll_event());
        assert!(events.any(|event| matches!(event, IpEvent::AddressConflict { lost: true, .. })));
        host.seconds(10);
        assert!(!host.ip.is_local(ip("10.0.0.1")));
        assert!(host.ip.route(ip("10.0.0.2"), None).is_err());
    }
}

// RFC 5227 section 2.4 (c)
#[test]
fn an_address_in_use_is_defended_once_in_ten_seconds() {
    let mut host = host();
    let claim = arp_frame(
        Mac::BROADCAST,
        &arp(
            Operation::Request,
            (PEER, "10.0.0.1"),
            (Mac::ZERO, "10.0.0.1"),
        ),
    );
    let mut defended = 0;
    for _ in 0..100 {
        host.take(&claim);
        defended += heard(&host.sent()).len();
        host.pass(Duration::from_millis(100));
    }
    assert_eq!(defended, 1);
    host.take(&claim);
    assert_eq!(heard(&host.sent()).len(), 1);
    assert!(host.ip.is_local(ip("10.0.0.1")));
    let conflict = IpEvent::AddressConflict {
        interface: FIRST,
        address: ip("10.0.0.1"),
        lost: false,
    };
    assert_eq!(host.ip.poll_event(), Some(conflict));
}
