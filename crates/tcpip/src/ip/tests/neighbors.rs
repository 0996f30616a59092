use super::*;
use crate::ip::interface::solicited_node;
use crate::wire::ndp::Message;

fn solicitation(target: &str, source_mac: Option<Mac>) -> Message<'static> {
    Message::NeighborSolicitation {
        target: v6(target),
        source_mac,
    }
}

fn advertisement(
    target: &str,
    solicited: bool,
    replaces: bool,
    mac: Option<Mac>,
) -> Message<'static> {
    Message::NeighborAdvertisement {
        target: v6(target),
        router: false,
        solicited,
        replaces,
        target_mac: mac,
    }
}

/// A message in a frame to us.
fn ndp_frame(from: Mac, src: &str, dst: &str, message: Message<'_>) -> Vec<u8> {
    frame(
        from,
        US,
        &icmp6(src, dst, 255, &icmpv6::Message::Ndp(message)),
    )
}

/// The messages among frames, with the Ethernet and IP addresses that they go to.
fn heard(frames: &[Vec<u8>]) -> Vec<(Mac, Ipv6Addr, String)> {
    let messages = frames.iter().filter_map(|frame| {
        let (link, packet) = ethernet::parse(frame).unwrap();
        let (header, payload) = ipv6::parse(packet).ok()?;
        if header.next_header != protocol::ICMPV6 {
            return None;
        }
        assert_eq!(header.hop_limit, 255);
        match icmpv6::parse(header.src, header.dst, payload) {
            Ok(icmpv6::Message::Ndp(message)) => {
                Some((link.dst, header.dst, format!("{message:?}")))
            }
            other => panic!("{other:?}"),
        }
    });
    messages.collect()
}

fn host() -> Host {
    Host::ethernet(&["fd00::1/64"])
}

fn state(host: &Host) -> Option<(NeighborState, Mac)> {
    host.ip.neighbor(FIRST, ip("fd00::2"))
}

fn answer(host: &mut Host, mac: Mac) {
    host.take(&ndp_frame(
        mac,
        "fd00::2",
        "fd00::1",
        advertisement("fd00::2", true, true, Some(mac)),
    ));
}

fn acquainted() -> Host {
    let mut host = host();
    host.send("fd00::2", b"hi", true).unwrap();
    answer(&mut host, PEER);
    host.sent();
    assert_eq!(state(&host), Some((NeighborState::Reachable, PEER)));
    host
}

// T144
#[test]
fn a_solicitation_goes_to_the_solicited_node_group() {
    let mut host = host();
    assert!(host.send("fd00::2", b"first", true).unwrap().is_empty());
    let group = solicited_node(v6("fd00::2"));
    assert_eq!(group, v6("ff02::1:ff00:2"));
    let asked = heard(&host.sent());
    let wanted = format!("{:?}", solicitation("fd00::2", Some(US)));
    assert_eq!(asked, [(Mac([0x33, 0x33, 0xff, 0, 0, 2]), group, wanted)]);
    answer(&mut host, PEER);
    let sent = host.sent();
    assert_eq!(
        (&sent[0][..6], &sent[0][54..]),
        (&PEER.0[..], &b"first"[..])
    );
}

// T144
#[test]
fn a_solicitation_for_us_is_answered() {
    let mut host = host();
    host.take(&ndp_frame(
        PEER,
        "fd00::2",
        "fd00::1",
        solicitation("fd00::1", Some(PEER)),
    ));
    let wanted = format!("{:?}", advertisement("fd00::1", true, true, Some(US)));
    assert_eq!(heard(&host.sent()), [(PEER, v6("fd00::2"), wanted)]);
    assert_eq!(state(&host), Some((NeighborState::Stale, PEER)));
    // Without its Ethernet address it is asked for that first.
    host.take(&ndp_frame(
        OTHER,
        "fd00::9",
        "fd00::1",
        solicitation("fd00::1", None),
    ));
    let asked = heard(&host.sent());
    assert!(asked[0].2.contains("NeighborSolicitation"), "{asked:?}");
    // Not for somebody else.
    host.take(&ndp_frame(
        PEER,
        "fd00::2",
        "fd00::1",
        solicitation("fd00::7", Some(PEER)),
    ));
    assert!(host.sent().is_empty());
}

// T144
#[test]
fn what_a_router_passed_on_is_no_neighbour_discovery() {
    for hop_limit in [0, 1, 64, 254] {
        let mut host = host();
        let message = icmpv6::Message::Ndp(solicitation("fd00::1", Some(PEER)));
        host.take(&frame(
            PEER,
            US,
            &icmp6("fd00::2", "fd00::1", hop_limit, &message),
        ));
        assert!(host.sent().is_empty());
        assert_eq!(host.ip.neighbors.len(), 0);
        assert_eq!(host.ip.counters.in_icmp_errors, 1);
    }
}

// T144: INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, and gone.
#[test]
fn states_follow_one_another() {
    let mut host = host();
    host.send("fd00::2", b"hi", true).unwrap();
    assert_eq!(state(&host).unwrap().0, NeighborState::Incomplete);
    answer(&mut host, PEER);
    assert_eq!(state(&host).unwrap().0, NeighborState::Reachable);
    host.seconds(46);
    assert_eq!(state(&host).unwrap().0, NeighborState::Stale);
    host.sent();
    host.send("fd00::2", b"hi", true).unwrap();
    assert_eq!(state(&host).unwrap().0, NeighborState::Delay);
    host.pass(Duration::from_millis(5_001));
    assert_eq!(state(&host).unwrap().0, NeighborState::Probe);
    let probes = heard(&host.sent());
    assert_eq!((probes[0].0, probes[0].1), (PEER, v6("fd00::2")));
    host.pass(Duration::from_millis(2_999));
    assert_eq!(heard(&host.sent()).len(), 3);
    host.seconds(3);
    assert_eq!(state(&host).unwrap().0, NeighborState::Failed);
    assert_eq!(
        host.send("fd00::2", b"hi", true),
        Err(SendError::HostUnreachable)
    );
    host.pass(Duration::from_millis(1_001));
    assert_eq!(state(&host), None);
}

// T144: three solicitations a second apart, then the transport is told.
#[test]
fn a_neighbour_that_does_not_answer_is_given_up() {
    let mut host = host();
    host.send("fd00::2", b"hi", true).unwrap();
    host.pass(Duration::from_millis(2_500));
    assert_eq!(heard(&host.sent()).len(), 3);
    assert_eq!(host.ip.poll_event(), None);
    host.seconds(1);
    let failed = IpEvent::NeighborFailed {
        interface: FIRST,
        next_hop: ip("fd00::2"),
    };
    assert_eq!(host.ip.poll_event(), Some(failed));
    assert_eq!(host.ip.neighbors.pending_bytes(), 0);
}

// RFC 4861 section 7.2.5
#[test]
fn advertisements_change_what_they_may() {
    // Nobody asked for it: no entry.
    let mut host = host();
    answer(&mut host, PEER);
    assert_eq!(state(&host), None);
    // Without override another address makes the entry doubtful, no more.
    let mut host = acquainted();
    host.take(&ndp_frame(
        OTHER,
        "fd00::2",
        "fd00::1",
        advertisement("fd00::2", true, false, Some(OTHER)),
    ));
    assert_eq!(state(&host), Some((NeighborState::Stale, PEER)));
    // Solicited to a group is malformed.
    let mut host = host_that_asks();
    let message = icmpv6::Message::Ndp(advertisement("fd00::2", true, true, Some(PEER)));
    host.take(&frame(
        PEER,
        US,
        &icmp6("fd00::2", "ff02::1", 255, &message),
    ));
    assert_eq!(state(&host).unwrap().0, NeighborState::Incomplete);
    // Unsolicited, it tells the address but not that the neighbour hears us.
    host.take(&ndp_frame(
        PEER,
        "fd00::2",
        "fd00::1",
        advertisement("fd00::2", false, true, Some(PEER)),
    ));
    assert_eq!(state(&host), Some((NeighborState::Delay, PEER)));
    assert_eq!(host.sent().len(), 1);
}

fn host_that_asks() -> Host {
    let mut host = host();
    host.send("fd00::2", b"hi", true).unwrap();
    host.sent();
    host
}

// C7
#[test]
fn a_neighbour_that_answers_keeps_its_address() {
    let claims = [
        advertisement("fd00::2", false, true, Some(OTHER)),
        advertisement("fd00::2", true, true, Some(OTHER)),
        solicitation("fd00::1", Some(OTHER)),
    ];
    for claim in claims {
        let mut host = acquainted();
        host.seconds(2);
        host.take(&ndp_frame(OTHER, "fd00::2", "fd00::1", claim));
        assert!(
            heard(&host.sent())
                .iter()
                .any(|(mac, _, text)| *mac == PEER && text.contains("Solicitation"))
        );
        assert_eq!(state(&host), Some((NeighborState::Probe, PEER)));
        assert_eq!(host.send("fd00::2", b"x", true).unwrap()[0][..6], PEER.0);
        answer(&mut host, PEER);
        assert_eq!(state(&host), Some((NeighborState::Reachable, PEER)));
    }
}

// T145
#[test]
fn an_address_is_looked_for_before_it_is_used() {
    let mut host = Host::with(ethernet(&["fd00::1/64"], US));
    assert!(!host.ip.is_local(ip("fd00::1")));
    assert!(host.ip.route(ip("fd00::2"), None).is_err());
    host.pass(Duration::from_millis(1_000));
    let asked = heard(&host.sent());
    let wanted = format!("{:?}", solicitation("fd00::1", None));
    assert!(asked.contains(&(
        Mac([0x33, 0x33, 0xff, 0, 0, 1]),
        v6("ff02::1:ff00:1"),
        wanted
    )));
    // Meanwhile it is nobody's.
    host.take(&ndp_frame(
        PEER,
        "fd00::2",
        "ff02::1:ff00:1",
        solicitation("fd00::1", Some(PEER)),
    ));
    host.take(&frame(
        PEER,
        US,
        &packet6("fd00::2", "fd00::1", 17, &[0; 8]),
    ));
    assert!(host.sent().is_empty() && host.arrived.is_empty());
    host.pass(Duration::from_millis(1_001));
    let mut events = core::iter::from_fn(|| host.ip.poll_event());
    let ready = IpEvent::AddressReady {
        interface: FIRST,
        address: ip("fd00::1"),
    };
    assert!(events.any(|event| event == ready));
    assert_eq!(
        host.ip.route(ip("fd00::2"), None).unwrap().source,
        ip("fd00::1")
    );
}

// T145
#[test]
fn an_address_that_somebody_has_is_not_used() {
    let claims = [
        (
            "fd00::1",
            "ff02::1",
            advertisement("fd00::1", false, true, Some(PEER)),
        ),
        ("::", "ff02::1:ff00:1", solicitation("fd00::1", None)),
    ];
    for (src, dst, claim) in claims {
        let mut host = Host::with(ethernet(&["fd00::1/64"], US));
        host.pass(Duration::from_millis(1_000));
        host.sent();
        host.take(&ndp_frame(PEER, src, dst, claim));
        let mut events = core::iter::from_fn(|| host.ip.poll_event());
        let lost = IpEvent::AddressConflict {
            interface: FIRST,
            address: ip("fd00::1"),
            lost: true,
        };
        assert!(events.any(|event| event == lost));
        host.seconds(5);
        assert!(!host.ip.is_local(ip("fd00::1")));
    }
}

// T145: our own probe that a bridge gives back is nobody else's.
#[test]
fn our_own_probe_is_no_duplicate() {
    let mut host = Host::with(ethernet(&["fd00::1/64"], US));
    host.pass(Duration::from_millis(1_000));
    for sent in host.sent() {
        host.take(&sent);
    }
    host.seconds(2);
    assert!(host.ip.is_local(ip("fd00::1")));
}

// T145: whoever looks for our address is told.
#[test]
fn others_probes_for_our_address_are_answered_to_all() {
    let mut host = host();
    host.take(&ndp_frame(
        PEER,
        "::",
        "ff02::1:ff00:1",
        solicitation("fd00::1", None),
    ));
    let wanted = format!("{:?}", advertisement("fd00::1", false, true, Some(US)));
    assert_eq!(
        heard(&host.sent()),
        [(Mac([0x33, 0x33, 0, 0, 0, 1]), v6("ff02::1"), wanted)]
    );
    // RFC 4861 section 7.1.1: not to the address itself, not with an Ethernet address.
    host.take(&ndp_frame(
        PEER,
        "::",
        "fd00::1",
        solicitation("fd00::1", None),
    ));
    host.take(&ndp_frame(
        PEER,
        "::",
        "ff02::1:ff00:1",
        solicitation("fd00::1", Some(PEER)),
    ));
    assert!(host.sent().is_empty());
}

#[test]
fn without_detection_an_address_is_ready_at_once() {
    let host = Host::with(InterfaceConfig {
        dad: false,
        ..ethernet(&["fd00::1/64"], US)
    });
    assert!(host.ip.is_local(ip("fd00::1")) && host.ip.is_local(ip("fe80::ff:fe00:1")));
}

// RFC 3810: solicited-node groups are reported when they are joined, and when a router asks.
#[test]
fn groups_are_reported() {
    let reports = |frames: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let to_routers = Mac([0x33, 0x33, 0, 0, 0, 0x16]);
        frames
            .iter()
            .filter(|frame| frame[..6] == to_routers.0)
            .cloned()
            .collect()
    };
    let mut host = Host::with(ethernet(&["fd00::1/64"], US));
    let first = reports(&host.sent());
    assert_eq!(first.len(), 2);
    let packet = &first[1][14..];
    let (header, payload) = ipv6::parse(packet).unwrap();
    assert_eq!((header.next_header, header.hop_limit), (0, 1));
    assert_eq!(payload[..8], [58, 0, 5, 2, 0, 0, 1, 0]);
    let report = icmpv6::parse(header.src, header.dst, &payload[8..]).unwrap();
    let icmpv6::Message::Other {
        kind: 143, body, ..
    } = report
    else {
        panic!("{report:?}");
    };
    assert_eq!(body[..8], [0, 0, 0, 1, 4, 0, 0, 0]);
    assert_eq!(body[8..], v6("ff02::1:ff00:1").octets());
    host.seconds(5);
    host.sent();
    let query = icmpv6::Message::Other {
        kind: 130,
        code: 0,
        body: &[&[0x03, 0xe8, 0, 0][..], &[0; 20]].concat(),
    };
    // A flood of queries has one answer.
    for _ in 0..100 {
        host.take(&frame(PEER, US, &icmp6("fe80::9", "ff02::1", 1, &query)));
    }
    host.seconds(2);
    let answers = reports(&host.sent());
    assert_eq!(answers.len(), 1);
    // Both addresses have the same group.
    assert_eq!(answers[0].len(), 14 + 40 + 8 + 8 + 20);
}

/// The addresses of a host whose identifiers are made of a secret.
fn made(host: &Host) -> Vec<Ipv6Addr> {
    let all = host.ip.addresses(FIRST).map(|(cidr, _)| cidr.address());
    let only = all.filter_map(|ip| match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    });
    only.collect()
}

fn secretive() -> Host {
    Host::with(InterfaceConfig {
        identifier_secret: Some(crate::link::IdentifierSecret::new([9; 16])),
        ..ethernet(&[], US)
    })
}

// T145, T146: RFC 7217: the same identifier each time, which does not tell the Ethernet address; where it
// is somebody else's another is tried, three times.
#[test]
fn an_identifier_that_is_taken_makes_way_for_another() {
    let mut host = secretive();
    let first = made(&host);
    assert_eq!(first, made(&secretive()));
    assert_ne!(first[0].segments()[4..], [0x0000, 0x00ff, 0xfe00, 0x0001]);
    let mut seen = Vec::new();
    for round in 0..4 {
        let own = made(&host);
        assert_eq!(own.len(), 1, "{round}");
        assert!(own[0].is_unicast_link_local() && !seen.contains(&own[0]));
        seen.push(own[0]);
        let claim = advertisement(&own[0].to_string(), false, true, Some(PEER));
        let claim = icmp6("fe80::5", "ff02::1", 255, &icmpv6::Message::Ndp(claim));
        host.take(&frame(PEER, Mac::for_v6_multicast(v6("ff02::1")), &claim));
    }
    assert!(made(&host).is_empty());
    // One that nobody claims becomes ready.
    let mut host = secretive();
    host.seconds(3);
    assert!(host.ip.is_own(made(&host)[0].into()));
}
