//! Stacks on Ethernets with a router between them, itself a stack: who is who is found out by ARP and
//! NDP, addresses come from router advertisements, and the path takes less than its ends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_tcpip::wire::ndp::{Message, NdpOption, Prefix, RouterAdvertisement};
use weir_tcpip::wire::{ethernet, icmpv6, ipv6, protocol};
use weir_tcpip::{
    AddressState, Capabilities, Cidr, Config, ConnectConfig, Event, IdentifierSecret,
    InterfaceConfig, InterfaceId, ListenConfig, Mac, Medium, NeighborState, Offload, ReadError,
    RouteConfig, Stack, TcpKey, TransmitBuf,
};

const MILLI: Duration = Duration::from_millis(1);
const DELAY: Duration = MILLI;

/// The links that a host is on: which one, with which interface.
type Ports = Vec<(usize, InterfaceId)>;

struct Host {
    stack: Stack,
    ports: Ports,
    events: Vec<Event>,
}

/// Hosts on links: what one sends on a link, all others on it hear.
struct Net {
    hosts: Vec<Host>,
    now: Instant,
    arriving: VecDeque<(Instant, usize, InterfaceId, Vec<u8>)>,
    out: TransmitBuf,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The Ethernet address of a host on a link.
fn mac(host: usize, link: usize) -> Mac {
    Mac([2, 0, 0, 0, link as u8, host as u8])
}

impl Net {
    fn new() -> Net {
        Net {
            hosts: Vec::new(),
            now: Instant::from_millis(1_000),
            arriving: VecDeque::new(),
            out: TransmitBuf::new(),
        }
    }

    fn host(&mut self) -> usize {
        let budget = Budget::unlimited("test");
        let rng = rng_from_seed(self.hosts.len() as u64);
        let stack = Stack::new(Config::default(), &budget, rng, self.now).unwrap();
        self.hosts.push(Host {
            stack,
            ports: Vec::new(),
            events: Vec::new(),
        });
        self.hosts.len() - 1
    }

    /// Puts a host on a link.
    fn join(&mut self, host: usize, link: usize, addresses: &[&str], slaac: bool) -> InterfaceId {
        let capabilities = Capabilities::plain(Medium::Ethernet, 1500);
        let config = InterfaceConfig {
            hardware: Some(mac(host, link)),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            slaac,
            ..InterfaceConfig::new("eth", capabilities)
        };
        let own = &mut self.hosts[host];
        let id = own.stack.add_interface(self.now, config).unwrap();
        own.ports.push((link, id));
        id
    }

    fn route(&mut self, host: usize, to: Cidr, via: &str) {
        let interface = self.hosts[host].ports[0].1;
        let route = RouteConfig {
            to,
            via: Some(ip(via)),
            interface,
            metric: 0,
        };
        self.hosts[host].stack.add_route(route).unwrap();
    }

    /// Everybody on a link but `from` hears a frame a moment later.
    fn hear(&mut self, from: usize, link: usize, frame: &[u8]) {
        for (index, host) in self.hosts.iter().enumerate() {
            let ports = host
                .ports
                .iter()
                .filter(|(on, _)| *on == link && index != from);
            for (_, id) in ports {
                self.arriving
                    .push_back((self.now + DELAY, index, *id, frame.to_vec()));
            }
        }
    }

    fn turn(&mut self) {
        while self
            .arriving
            .front()
            .is_some_and(|(at, ..)| *at <= self.now)
        {
            let (_, host, id, frame) = self.arriving.pop_front().unwrap();
            let stack = &mut self.hosts[host].stack;
            stack.handle_input(self.now, id, &frame, Offload::default());
        }
        for index in 0..self.hosts.len() {
            loop {
                let host = &mut self.hosts[index];
                host.stack.handle_timeout(self.now);
                self.out.clear();
                let more = host.stack.poll_transmit(self.now, &mut self.out);
                host.events
                    .extend(core::iter::from_fn(|| host.stack.poll_event()));
                let frames: Vec<(usize, Vec<u8>)> = self
                    .out
                    .frames()
                    .filter_map(|frame| {
                        let mut bytes = frame.head.to_vec();
                        frame
                            .rest
                            .iter()
                            .for_each(|part| bytes.extend_from_slice(part));
                        let port = host.ports.iter().find(|(_, id)| *id == frame.interface);
                        // Nothing where the cable is out.
                        Some((port?.0, bytes))
                    })
                    .collect();
                for (link, frame) in &frames {
                    self.hear(index, *link, frame);
                }
                if !more && frames.is_empty() {
                    break;
                }
            }
        }
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.turn();
            let timers = self
                .hosts
                .iter()
                .filter_map(|host| host.stack.poll_timeout());
            let next = timers
                .map(|(at, _)| at)
                .chain(self.arriving.front().map(|(at, ..)| *at))
                .min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
        }
        self.now = end;
    }

    /// A connection from one host to another's port 80, each with its key.
    fn connect(&mut self, from: usize, to: (usize, IpAddr)) -> (TcpKey, TcpKey) {
        let address = SocketAddr::new(to.1, 80);
        let listener = self.hosts[to.0]
            .stack
            .tcp_listen(address, ListenConfig::default())
            .unwrap();
        let a = self.hosts[from]
            .stack
            .tcp_connect(self.now, address, ConnectConfig::default())
            .unwrap();
        self.run(100 * MILLI);
        assert!(self.hosts[from].events.contains(&Event::TcpConnected(a)));
        let b = self.hosts[to.0]
            .stack
            .tcp_accept(self.now, listener)
            .unwrap();
        (a, b)
    }

    /// Sends `bytes` to whoever reads as they come; returns how long it took.
    fn bulk(&mut self, from: (usize, TcpKey), to: (usize, TcpKey), mut bytes: Bytes) -> Duration {
        let (begun, expected) = (self.now, bytes.clone());
        let mut got = Vec::new();
        while got.len() < expected.len() {
            let sender = &mut self.hosts[from.0].stack;
            while !bytes.is_empty() && sender.tcp_write(self.now, from.1, &mut bytes).is_ok() {}
            self.run(MILLI);
            let reader = &mut self.hosts[to.0].stack;
            loop {
                match reader.tcp_read(self.now, to.1, usize::MAX) {
                    Ok(Some(bytes)) => got.extend_from_slice(&bytes),
                    Ok(None) | Err(ReadError::Blocked) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(
                self.now.saturating_duration_since(begun) < Duration::from_secs(60),
                "stands still"
            );
        }
        assert!(got == expected, "the bytes differ");
        self.now.saturating_duration_since(begun)
    }

    /// A router advertisement on a link, as from `host`, which is its router.
    fn advertise(&mut self, host: usize, link: usize, prefix: &str, mtu: u32) {
        let own = mac(host, link);
        let mut option_bytes = Vec::new();
        NdpOption::SourceLinkAddress(own).write(&mut option_bytes);
        NdpOption::Mtu(mtu).write(&mut option_bytes);
        NdpOption::Prefix(Prefix {
            prefix: prefix.parse().unwrap(),
            prefix_len: 64,
            on_link: true,
            autonomous: true,
            valid_lifetime: 86_400,
            preferred_lifetime: 14_400,
        })
        .write(&mut option_bytes);
        let message = icmpv6::Message::Ndp(Message::RouterAdvertisement(RouterAdvertisement {
            hop_limit: 64,
            managed: false,
            other: false,
            router_lifetime: 1800,
            reachable_time: 0,
            retrans_timer: 0,
            option_bytes: &option_bytes,
        }));
        let src = link_local(own);
        let dst: Ipv6Addr = "ff02::1".parse().unwrap();
        let mut body = Vec::new();
        message.write(src, dst, &mut body);
        let mut frame = Vec::new();
        ethernet::Header {
            dst: Mac::for_v6_multicast(dst),
            src: own,
            ether_type: ethernet::IPV6,
        }
        .write(&mut frame);
        ipv6::Header {
            src,
            dst,
            next_header: protocol::ICMPV6,
            hop_limit: 255,
            traffic_class: 0,
            flow_label: 0,
            payload_len: 0,
        }
        .write(body.len(), &mut frame);
        frame.extend_from_slice(&body);
        self.hear(host, link, &frame);
    }
}

/// The address of `identifier` in a prefix.
fn with_identifier(prefix: &str, mac: Mac) -> Ipv6Addr {
    let high: Ipv6Addr = prefix.parse().unwrap();
    let low = u64::from_be_bytes(mac.interface_identifier());
    Ipv6Addr::from_bits(high.to_bits() | u128::from(low))
}

fn link_local(mac: Mac) -> Ipv6Addr {
    with_identifier("fe80::", mac)
}

fn pattern(len: usize) -> Bytes {
    (0..len)
        .map(|n| (n * 7 + n / 251) as u8)
        .collect::<Vec<u8>>()
        .into()
}

/// Two hosts on two links, and a router on both; all addresses ready. The router's second link takes
/// `mtu` bytes.
fn routed(mtu: u16) -> (Net, usize, usize, usize) {
    let mut net = Net::new();
    let (a, b, router) = (net.host(), net.host(), net.host());
    net.join(a, 0, &["10.0.0.2/24", "fd00::2/64"], false);
    net.join(b, 1, &["10.0.1.2/24", "fd00:1::2/64"], false);
    net.join(router, 0, &["10.0.0.1/24", "fd00::1/64"], false);
    let second = net.join(router, 1, &["10.0.1.1/24", "fd00:1::1/64"], false);
    net.hosts[router].stack.set_forwarding(true);
    net.hosts[router].stack.set_mtu(second, mtu).unwrap();
    net.route(a, Cidr::ANY_V4, "10.0.0.1");
    net.route(a, Cidr::ANY_V6, "fd00::1");
    net.route(b, Cidr::ANY_V4, "10.0.1.1");
    net.route(b, Cidr::ANY_V6, "fd00:1::1");
    net.run(Duration::from_secs(5));
    (net, a, b, router)
}

const ENDS: [(&str, &str); 2] = [("10.0.1.2", "10.0.0.1"), ("fd00:1::2", "fd00::1")];

// T143, T144
#[test]
fn neighbours_are_found_and_kept_by_the_traffic_itself() {
    for (to, via) in ENDS {
        let (mut net, a, b, _) = routed(1500);
        let (left, right) = net.connect(a, (b, ip(to)));
        net.bulk((a, left), (b, right), pattern(1_000_000));
        let interface = net.hosts[a].ports[0].1;
        let (state, hardware) = net.hosts[a].stack.neighbor(interface, ip(via)).unwrap();
        assert_eq!((state, hardware), (NeighborState::Reachable, mac(2, 0)));
        // Nobody else on the link was asked, nobody beyond it is a neighbour.
        assert_eq!(net.hosts[a].stack.neighbor(interface, ip(to)), None);
        // An hour of one exchange every ten seconds.
        for _ in 0..360 {
            net.run(Duration::from_secs(10));
            net.bulk((a, left), (b, right), pattern(100));
            let state = net.hosts[a]
                .stack
                .neighbor(interface, ip(via))
                .map(|(state, _)| state);
            assert!(
                matches!(state, Some(NeighborState::Reachable | NeighborState::Stale)),
                "{state:?}"
            );
        }
        assert_eq!(net.hosts[a].stack.ip_counters().out_discards, 0);
    }
}

// T145
#[test]
fn two_hosts_with_one_address_are_told() {
    let mut net = Net::new();
    let (a, b) = (net.host(), net.host());
    let first = net.join(a, 0, &["fd00::7/64"], false);
    net.run(Duration::from_secs(3));
    let second = net.join(b, 0, &["fd00::7/64", "fd00::8/64"], false);
    net.run(Duration::from_secs(3));
    let told = |net: &Net, host: usize, interface, state| {
        let event = Event::Address {
            interface,
            address: ip("fd00::7"),
            state,
        };
        net.hosts[host].events.contains(&event)
    };
    assert!(told(&net, a, first, AddressState::Ready));
    assert!(told(&net, b, second, AddressState::Conflict));
    assert!(!told(&net, b, second, AddressState::Ready));
    let addresses: Vec<_> = net.hosts[b]
        .stack
        .addresses(second)
        .map(|(cidr, _)| cidr.address())
        .collect();
    assert!(!addresses.contains(&ip("fd00::7")) && addresses.contains(&ip("fd00::8")));
    let (left, right) = net.connect(b, (a, ip("fd00::7")));
    net.bulk((b, left), (a, right), pattern(1000));
}

// T145: both begin at the same moment, so neither has it yet.
#[test]
fn two_hosts_that_begin_together_both_do_without() {
    let mut net = Net::new();
    for host in [net.host(), net.host()] {
        net.join(host, 0, &["fd00::7/64"], false);
    }
    net.run(Duration::from_secs(3));
    let ready: usize = (0..2)
        .map(|host| {
            let interface = net.hosts[host].ports[0].1;
            let mut addresses = net.hosts[host].stack.addresses(interface);
            usize::from(addresses.any(|(cidr, ready)| cidr.address() == ip("fd00::7") && ready))
        })
        .sum();
    assert!(ready <= 1);
}

// T146
#[test]
fn hosts_are_configured_by_advertisements_and_reach_each_other() {
    let mut net = Net::new();
    let (a, b, router) = (net.host(), net.host(), net.host());
    let left = net.join(a, 0, &[], true);
    net.join(b, 1, &[], true);
    net.join(router, 0, &["2001:db8:a::1/64"], false);
    net.join(router, 1, &["2001:db8:b::1/64"], false);
    net.hosts[router].stack.set_forwarding(true);
    net.run(Duration::from_secs(3));
    net.advertise(router, 0, "2001:db8:a::", 1400);
    net.advertise(router, 1, "2001:db8:b::", 1500);
    net.run(Duration::from_secs(3));
    let (own, other) = (
        with_identifier("2001:db8:a::", mac(a, 0)),
        with_identifier("2001:db8:b::", mac(b, 1)),
    );
    let all: HashSet<_> = net.hosts[a].stack.addresses(left).collect();
    assert!(
        all.contains(&(Cidr::new(own.into(), 64).unwrap(), true)),
        "{all:?}"
    );
    assert_eq!(
        net.hosts[a].stack.route_to(other.into()),
        Some((own.into(), 1400))
    );
    let (from, to) = net.connect(a, (b, other.into()));
    net.bulk((a, from), (b, to), pattern(500_000));
    net.bulk((b, to), (a, from), pattern(500_000));
    // The router is silent from here on; in half an hour it is one no more.
    net.run(Duration::from_secs(1_801));
    assert_eq!(
        net.hosts[a]
            .stack
            .route_to("2001:db8:c::1".parse().unwrap()),
        None
    );
}

// T146: RFC 7217: with a secret, addresses of routers' prefixes do not give the Ethernet address away, are
// others on each network, stay the same as advertisements are repeated, and after a restart.
#[test]
fn addresses_of_a_secret_are_stable_and_opaque() {
    let addresses = |prefix: &str| {
        let mut net = Net::new();
        let (a, router) = (net.host(), net.host());
        let config = InterfaceConfig {
            hardware: Some(mac(a, 0)),
            slaac: true,
            identifier_secret: Some(IdentifierSecret::new([3; 16])),
            ..InterfaceConfig::new("eth", Capabilities::plain(Medium::Ethernet, 1500))
        };
        let own = &mut net.hosts[a];
        let id = own.stack.add_interface(net.now, config).unwrap();
        own.ports.push((0, id));
        net.join(router, 0, &["2001:db8:a::1/64"], false);
        net.run(Duration::from_secs(3));
        for _ in 0..3 {
            net.advertise(router, 0, prefix, 1500);
            net.run(Duration::from_secs(3));
        }
        let all = net.hosts[a].stack.addresses(id);
        let all: Vec<IpAddr> = all.filter(|it| it.1).map(|it| it.0.address()).collect();
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(!all.contains(&with_identifier(prefix, mac(a, 0)).into()));
        assert!(!all.contains(&link_local(mac(a, 0)).into()));
        all
    };
    let here = addresses("2001:db8:a::");
    assert_eq!(here, addresses("2001:db8:a::"));
    let there = addresses("2001:db8:b::");
    let low = |ip: &IpAddr| match ip {
        IpAddr::V6(ip) => ip.to_bits() as u64,
        IpAddr::V4(_) => 0,
    };
    assert_ne!(low(&here[1]), low(&there[1]));
}

// RFC 4291 section 2.5.6: link-local addresses serve without anything configured.
#[test]
fn hosts_without_any_configuration_reach_each_other() {
    let mut net = Net::new();
    let (a, b) = (net.host(), net.host());
    net.join(a, 0, &[], false);
    net.join(b, 0, &[], false);
    net.run(Duration::from_secs(3));
    let (left, right) = net.connect(a, (b, link_local(mac(b, 0)).into()));
    net.bulk((a, left), (b, right), pattern(100_000));
    net.bulk((b, right), (a, left), pattern(100_000));
}

// T133: the ends think of 1500 bytes, the router's far link takes 1280.
#[test]
fn a_smaller_link_in_the_middle_is_found_without_a_standstill() {
    for (to, _) in ENDS {
        let (mut net, a, b, router) = routed(1280);
        let (left, right) = net.connect(a, (b, ip(to)));
        assert_eq!(net.hosts[a].stack.route_to(ip(to)).unwrap().1, 1500);
        let took = net.bulk((a, left), (b, right), pattern(1_000_000));
        assert_eq!(net.hosts[a].stack.route_to(ip(to)).unwrap().1, 1280);
        assert!(took < Duration::from_millis(1_000), "{took:?}");
        let stats = net.hosts[a].stack.stats();
        assert_eq!(stats.counters.tcp_timeouts, 0);
        assert!(net.hosts[router].stack.ip_counters().out_icmp_errors > 0);
        // The way back is not concerned.
        net.bulk((b, right), (a, left), pattern(100_000));
        assert_eq!(net.hosts[b].stack.route_to(ip("10.0.0.2")).unwrap().1, 1500);
    }
}

// T133, T136: the path shrinks under a connection, and is tried again when it may have grown.
#[test]
fn a_path_that_shrinks_under_a_connection_does_not_stop_it() {
    for (to, _) in ENDS {
        let (mut net, a, b, router) = routed(1500);
        let (left, right) = net.connect(a, (b, ip(to)));
        net.bulk((a, left), (b, right), pattern(500_000));
        assert_eq!(net.hosts[a].stack.route_to(ip(to)).unwrap().1, 1500);
        let second = net.hosts[router].ports[1].1;
        net.hosts[router].stack.set_mtu(second, 1300).unwrap();
        let took = net.bulk((a, left), (b, right), pattern(1_000_000));
        assert!(took < Duration::from_millis(1_000), "{took:?}");
        assert_eq!(net.hosts[a].stack.route_to(ip(to)).unwrap().1, 1300);
        assert_eq!(net.hosts[a].stack.stats().counters.tcp_timeouts, 0);
        net.hosts[router].stack.set_mtu(second, 1500).unwrap();
        net.run(Duration::from_secs(601));
        assert_eq!(net.hosts[a].stack.route_to(ip(to)).unwrap().1, 1500);
        let took = net.bulk((a, left), (b, right), pattern(1_000_000));
        assert!(took < Duration::from_millis(1_000), "{took:?}");
    }
}

// A link that dies under a connection: told apart from a slow one within seconds, and mended.
#[test]
fn a_router_that_comes_back_with_another_ethernet_address_is_found() {
    for (to, via) in ENDS {
        let (mut net, a, b, router) = routed(1500);
        let (left, right) = net.connect(a, (b, ip(to)));
        net.bulk((a, left), (b, right), pattern(100_000));
        // A spare takes over both of its addresses.
        net.hosts[router].ports.clear();
        let spare = net.host();
        net.join(spare, 0, &["10.0.0.1/24", "fd00::1/64"], false);
        net.join(spare, 1, &["10.0.1.1/24", "fd00:1::1/64"], false);
        net.hosts[spare].stack.set_forwarding(true);
        net.run(Duration::from_secs(3));
        let took = net.bulk((a, left), (b, right), pattern(100_000));
        assert!(took < Duration::from_secs(45), "{took:?}");
        let interface = net.hosts[a].ports[0].1;
        let (_, hardware) = net.hosts[a].stack.neighbor(interface, ip(via)).unwrap();
        assert_eq!(hardware, mac(spare, 0));
    }
}
