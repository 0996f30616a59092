use super::*;
use crate::wire::ndp::{Message, NdpOption, Prefix, RouterAdvertisement};

const SLAAC: &str = "2001:db8:1::ff:fe00:1";

fn host() -> Host {
    let mut host = Host::with(InterfaceConfig {
        slaac: true,
        ..ethernet(&[], US)
    });
    host.pass(Duration::from_millis(2_100));
    host
}

fn prefix(text: &str, valid: u32, preferred: u32) -> NdpOption<'static> {
    NdpOption::Prefix(Prefix {
        prefix: v6(text),
        prefix_len: 64,
        on_link: true,
        autonomous: true,
        valid_lifetime: valid,
        preferred_lifetime: preferred,
    })
}

fn advertise(host: &mut Host, src: &str, lifetime: u16, options: &[NdpOption<'_>]) {
    advertise_with(host, src, 255, lifetime, options);
}

fn advertise_with(
    host: &mut Host,
    src: &str,
    hop_limit: u8,
    lifetime: u16,
    options: &[NdpOption<'_>],
) {
    let mut option_bytes = Vec::new();
    options
        .iter()
        .for_each(|option| option.write(&mut option_bytes));
    let message = Message::RouterAdvertisement(RouterAdvertisement {
        hop_limit: 0,
        managed: false,
        other: false,
        router_lifetime: lifetime,
        reachable_time: 0,
        retrans_timer: 0,
        option_bytes: &option_bytes,
    });
    let packet = icmp6(src, "ff02::1", hop_limit, &icmpv6::Message::Ndp(message));
    host.take(&frame(PEER, Mac([0x33, 0x33, 0, 0, 0, 1]), &packet));
}

fn solicitations(host: &mut Host) -> usize {
    let asked = |frame: &&Vec<u8>| frame[..6] == [0x33, 0x33, 0, 0, 0, 2];
    host.sent().iter().filter(asked).count()
}

fn next_hop(host: &mut Host) -> Option<IpAddr> {
    host.ip
        .route(ip("2001:db8:9::9"), None)
        .ok()
        .map(|route| route.next_hop)
}

// T146
#[test]
fn routers_are_asked_for_three_times_until_one_is_heard() {
    let mut host = host();
    host.seconds(20);
    assert_eq!(solicitations(&mut host), 3);
    let mut host = self::host();
    host.seconds(1);
    assert_eq!(solicitations(&mut host), 1);
    advertise(&mut host, "fe80::2", 1800, &[]);
    host.seconds(20);
    assert_eq!(solicitations(&mut host), 0);
}

// T146
#[test]
fn an_advertisement_makes_a_router_an_address_and_an_mtu() {
    let mut host = host();
    advertise(
        &mut host,
        "fe80::2",
        1800,
        &[
            NdpOption::SourceLinkAddress(PEER),
            NdpOption::Mtu(1400),
            prefix("2001:db8:1::", 86_400, 3_600),
        ],
    );
    assert!(!host.ip.is_local(ip(SLAAC)));
    host.seconds(3);
    assert!(host.ip.is_local(ip(SLAAC)));
    let route = host.ip.route(ip("2001:db8:9::9"), None).unwrap();
    assert_eq!(
        (route.next_hop, route.source, route.mtu),
        (ip("fe80::2"), ip(SLAAC), 1400)
    );
    let on_link = host.ip.route(ip("2001:db8:1::9"), None).unwrap();
    assert_eq!(on_link.next_hop, ip("2001:db8:1::9"));
    // The router's Ethernet address came along.
    assert_eq!(
        host.send_by(&route, "2001:db8:9::9", b"x", true).unwrap()[0][..6],
        PEER.0
    );
}

// T146
#[test]
fn lifetimes_end() {
    let mut host = host();
    advertise(
        &mut host,
        "fe80::2",
        100,
        &[prefix("2001:db8:1::", 300, 200)],
    );
    host.seconds(3);
    assert_eq!(next_hop(&mut host), Some(ip("fe80::2")));
    host.seconds(100);
    assert_eq!(next_hop(&mut host), None);
    host.seconds(100);
    let state = host.ip.interfaces[0].address(ip(SLAAC)).unwrap().state;
    assert_eq!(state, interface::AddressState::Deprecated);
    assert!(host.ip.is_local(ip(SLAAC)));
    host.seconds(100);
    assert!(!host.ip.is_local(ip(SLAAC)));
    assert!(host.ip.route(ip("2001:db8:1::9"), None).is_err());
    let mut events = core::iter::from_fn(|| host.ip.poll_event());
    assert!(events.any(|event| matches!(event, IpEvent::AddressExpired { .. })));
}

// T146
#[test]
fn a_router_that_says_so_is_one_no_more() {
    let mut host = host();
    advertise(
        &mut host,
        "fe80::2",
        1800,
        &[prefix("2001:db8:1::", 300, 200)],
    );
    host.seconds(3);
    assert_eq!(next_hop(&mut host), Some(ip("fe80::2")));
    advertise(&mut host, "fe80::2", 0, &[]);
    assert_eq!(next_hop(&mut host), None);
}

// RFC 4861 section 6.3.6
#[test]
fn a_router_that_is_silent_is_passed_over() {
    let mut host = host();
    advertise(
        &mut host,
        "fe80::2",
        1800,
        &[prefix("2001:db8:1::", 300, 200)],
    );
    advertise(&mut host, "fe80::3", 1800, &[]);
    host.seconds(3);
    let first = next_hop(&mut host).unwrap();
    let route = host.ip.route(ip("2001:db8:9::9"), None).unwrap();
    host.send_by(&route, "2001:db8:9::9", b"x", true).unwrap();
    host.pass(Duration::from_millis(3_100));
    assert!(!host.ip.is_current(&route));
    let second = next_hop(&mut host).unwrap();
    assert_ne!(first, second);
}

// T146, RFC 4861 section 6.1.2
#[test]
fn what_no_router_on_the_link_sent_is_ignored() {
    let mut host = host();
    advertise_with(
        &mut host,
        "fe80::2",
        254,
        1800,
        &[prefix("2001:db8:1::", 300, 200)],
    );
    advertise(
        &mut host,
        "2001:db8::2",
        1800,
        &[prefix("2001:db8:1::", 300, 200)],
    );
    let mut silent = Host::ethernet(&[]);
    advertise(
        &mut silent,
        "fe80::2",
        1800,
        &[prefix("2001:db8:1::", 300, 200)],
    );
    for host in [&mut host, &mut silent] {
        host.seconds(5);
        assert_eq!(next_hop(host), None);
        assert!(!host.ip.is_local(ip(SLAAC)));
    }
}

// RFC 4862 section 5.5.3 (e): nobody ends a long lifetime at once.
#[test]
fn a_lifetime_is_not_cut_below_two_hours() {
    let mut host = host();
    advertise(
        &mut host,
        "fe80::2",
        1800,
        &[prefix("2001:db8:1::", 86_400, 3_600)],
    );
    host.seconds(3);
    advertise(&mut host, "fe80::2", 1800, &[prefix("2001:db8:1::", 1, 1)]);
    host.seconds(7_000);
    assert!(host.ip.is_local(ip(SLAAC)));
    host.seconds(300);
    assert!(!host.ip.is_local(ip(SLAAC)));
}

// T146
#[test]
fn impossible_prefixes_and_mtus_are_ignored() {
    let mut host = host();
    let mut other = prefix("2001:db8:1::", 300, 300);
    if let NdpOption::Prefix(prefix) = &mut other {
        prefix.prefix_len = 48;
        prefix.on_link = false;
    }
    advertise(
        &mut host,
        "fe80::2",
        1800,
        &[
            other,
            prefix("2001:db8:2::", 100, 200),
            prefix("fe80::", 300, 200),
            prefix("ff02::", 300, 200),
            prefix("2001:db8:3::", 0, 0),
            NdpOption::Mtu(1279),
            NdpOption::Mtu(9000),
            NdpOption::Mtu(u32::MAX),
        ],
    );
    host.seconds(3);
    assert_eq!(host.ip.interfaces[0].addresses.len(), 1);
    assert_eq!(host.ip.interfaces[0].link.mtu_v6, 1500);
}

// C4, C12
#[test]
fn a_flood_of_advertisements_is_bounded() {
    use crate::limits::{MAX_ADDRESSES, MAX_AUTONOMOUS_ADDRESSES, MAX_PREFIXES, MAX_ROUTERS};
    let mut host = host();
    for n in 0..1_000u16 {
        let options = [
            NdpOption::SourceLinkAddress(PEER),
            prefix(&format!("2001:db8:{n:x}::"), u32::MAX, u32::MAX),
        ];
        advertise(&mut host, &format!("fe80::{:x}", n + 2), 9000, &options);
    }
    host.seconds(10);
    let advertised: Vec<_> = host
        .ip
        .table
        .iter()
        .filter(|entry| entry.origin == table::Origin::Advertised)
        .collect();
    let routers = advertised
        .iter()
        .filter(|entry| entry.route.via.is_some())
        .count();
    assert_eq!(routers, MAX_ROUTERS);
    assert_eq!(advertised.len() - routers, MAX_PREFIXES);
    let addresses = &host.ip.interfaces[0].addresses;
    assert_eq!(
        addresses
            .iter()
            .filter(|address| address.autonomous)
            .count(),
        MAX_AUTONOMOUS_ADDRESSES
    );
    assert!(addresses.len() <= MAX_ADDRESSES);
}
