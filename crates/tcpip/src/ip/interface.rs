//! Interfaces and their addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_core::time::{Duration, Instant};

use crate::device::{Capabilities, Medium};
use crate::ip::cidr::{Cidr, width};
use crate::ip::config::InterfaceConfig;
use crate::link::{IdentifierSecret, Mac};

/// RFC 4861 section 10: how long a neighbour counts as reachable, on average, ...
pub(crate) const REACHABLE_TIME: Duration = Duration::from_secs(30);
/// ... and how long a solicitation waits for its answer.
pub(crate) const RETRANS_TIMER: Duration = Duration::from_secs(1);

/// What one interface is and knows.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) hardware: Mac,
    pub(crate) any_address: bool,
    pub(crate) slaac: bool,
    pub(crate) identifier_secret: Option<IdentifierSecret>,
    pub(crate) dad: bool,
    pub(crate) probe_ipv4: bool,
    pub(crate) addresses: Vec<Address>,
    /// What routers on the link say (RFC 4861 section 6.3.2), or the defaults.
    pub(crate) link: LinkParameters,
    /// Router solicitations still to be sent.
    pub(crate) solicitations: u8,
    /// A report of our groups is due (RFC 3810).
    pub(crate) report_due: bool,
    /// Source and destination of the last packet that was for us, and in what state of all tables.
    pub(crate) recent: Option<((IpAddr, IpAddr), u32)>,
    /// The same of the last over IPv4, as they stand in its header; of generation 0 when there was none.
    pub(crate) recent_v4: ([u8; 8], u32),
    /// The same of the last over IPv6.
    pub(crate) recent_v6: ([[u8; 16]; 2], u32),
}

/// Parameters that router advertisements set.
#[derive(Copy, Clone, Debug)]
pub(crate) struct LinkParameters {
    /// The MTU of IPv6 packets, at most the device's.
    pub(crate) mtu_v6: u16,
    /// The hop limit of packets that we send on our own.
    pub(crate) hop_limit: u8,
    pub(crate) reachable_time: Duration,
    pub(crate) retrans_timer: Duration,
}

/// An address of an interface.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Address {
    pub(crate) cidr: Cidr,
    pub(crate) state: AddressState,
    /// Until when it is preferred, and until when valid; [`Instant::MAX`] for ever.
    pub(crate) preferred_until: Instant,
    pub(crate) valid_until: Instant,
    /// Made of a router's prefix (RFC 4862 section 5.5).
    pub(crate) autonomous: bool,
    /// Made of the interface's secret (RFC 7217); so many before it were somebody else's.
    pub(crate) taken: Option<u8>,
    /// When the next probe or announcement is due, or readiness; [`Instant::MAX`] for nothing.
    pub(crate) due: Instant,
    /// Probes or announcements still to be sent.
    pub(crate) left: u8,
    /// When it was last defended against somebody else's use (RFC 5227 section 2.4 (c)).
    pub(crate) defended: Option<Instant>,
}

/// Whether an address may be used.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddressState {
    /// Being looked for on the link; not ours yet.
    Tentative,
    /// For everything.
    Preferred,
    /// For what is there already (RFC 4862 section 5.5.4).
    Deprecated,
}

impl Address {
    /// An address that was given by hand.
    pub(crate) fn manual(cidr: Cidr) -> Address {
        Address {
            cidr,
            state: AddressState::Preferred,
            preferred_until: Instant::MAX,
            valid_until: Instant::MAX,
            autonomous: false,
            taken: None,
            due: Instant::MAX,
            left: 0,
            defended: None,
        }
    }

    #[inline]
    pub(crate) fn ip(&self) -> IpAddr {
        self.cidr.address()
    }

    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.state != AddressState::Tentative
    }
}

impl Interface {
    pub(crate) fn new(config: &InterfaceConfig) -> Interface {
        let ethernet = config.capabilities.medium == Medium::Ethernet;
        Interface {
            name: config.name.clone(),
            capabilities: config.capabilities,
            hardware: config.hardware.unwrap_or(Mac::ZERO),
            any_address: config.any_address,
            slaac: config.slaac && ethernet,
            identifier_secret: config.identifier_secret.clone(),
            dad: config.dad && ethernet,
            probe_ipv4: config.probe_ipv4 && ethernet,
            addresses: Vec::new(),
            link: LinkParameters {
                mtu_v6: config.capabilities.mtu,
                hop_limit: crate::ip::DEFAULT_HOP_LIMIT,
                reachable_time: REACHABLE_TIME,
                retrans_timer: RETRANS_TIMER,
            },
            solicitations: 0,
            report_due: false,
            recent: None,
            recent_v4: ([0xff; 8], 0),
            recent_v6: ([[0xff; 16]; 2], 0),
        }
    }

    /// An address of our own in a prefix of 64 bits, to be given to the interface. `taken`: how many
    /// before it were somebody else's.
    pub(crate) fn own_address(&self, prefix: Ipv6Addr, taken: u8) -> Option<Address> {
        let secret = self.identifier_secret.as_ref();
        let identifier = secret.map_or(self.hardware.interface_identifier(), |secret| {
            secret.identifier(prefix, self.hardware, taken)
        });
        let cidr = Cidr::new(with_identifier(prefix, identifier).into(), 64).ok()?;
        Some(Address {
            taken: secret.map(|_| taken),
            ..Address::manual(cidr)
        })
    }

    #[inline]
    pub(crate) fn is_ethernet(&self) -> bool {
        self.capabilities.medium == Medium::Ethernet
    }

    /// The largest packet to `dst` in bytes that the link takes.
    #[inline]
    pub(crate) fn mtu_for(&self, dst: IpAddr) -> u16 {
        if dst.is_ipv4() {
            self.capabilities.mtu
        } else {
            self.link.mtu_v6
        }
    }

    pub(crate) fn address(&self, ip: IpAddr) -> Option<&Address> {
        self.addresses.iter().find(|address| address.ip() == ip)
    }

    pub(crate) fn address_mut(&mut self, ip: IpAddr) -> Option<&mut Address> {
        self.addresses.iter_mut().find(|address| address.ip() == ip)
    }

    /// True when the address is ours here and ready.
    #[inline]
    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|address| address.ip() == ip && address.is_ready())
    }

    /// True for 255.255.255.255 and the broadcast addresses of our networks here.
    pub(crate) fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip.is_broadcast()
            || self
                .addresses
                .iter()
                .any(|address| address.cidr.broadcast() == Some(ip))
    }

    /// True for groups that we belong to here: all hosts, and the solicited-node groups of our addresses
    /// (RFC 1112 section 7.2, RFC 4291 section 2.8). Routers' groups where `forwarding`.
    pub(crate) fn is_in_group(&self, group: IpAddr, forwarding: bool) -> bool {
        match group {
            IpAddr::V4(group) => group == ALL_HOSTS_V4,
            IpAddr::V6(group) => {
                group == ALL_NODES
                    || group == ALL_NODES_HERE
                    || (forwarding && group == ALL_ROUTERS)
                    || self.addresses.iter().any(|address| match address.ip() {
                        IpAddr::V6(own) => solicited_node(own) == group,
                        IpAddr::V4(_) => false,
                    })
            }
        }
    }

    /// The link-local address, when it is ready.
    pub(crate) fn link_local(&self) -> Option<Ipv6Addr> {
        self.addresses
            .iter()
            .find_map(|address| match address.ip() {
                IpAddr::V6(ip) if ip.is_unicast_link_local() && address.is_ready() => Some(ip),
                _ => None,
            })
    }

    /// True when an address of ours here has `ip` on its network.
    pub(crate) fn is_on_link(&self, ip: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|address| address.cidr.contains(ip))
    }
}

/// All hosts of the link (RFC 1112).
pub(crate) const ALL_HOSTS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// All nodes of the interface and of the link (RFC 4291 section 2.7.1).
const ALL_NODES_HERE: Ipv6Addr = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The group that solicitations for `address` go to (RFC 4291 section 2.7.1).
pub(crate) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let bits = address.to_bits() & 0x00ff_ffff;
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | bits)
}

/// The address of `identifier` in a /64 (RFC 4862 section 5.5.3 (d)).
pub(crate) fn with_identifier(prefix: Ipv6Addr, identifier: [u8; 8]) -> Ipv6Addr {
    let high = prefix.to_bits() & !u128::from(u64::MAX);
    Ipv6Addr::from_bits(high | u128::from(u64::from_be_bytes(identifier)))
}

/// True for an address that one host on a link may have: what interfaces are given, what routers and
/// neighbours are called.
pub(crate) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let first = ip.octets()[0];
            // 0.0.0.0/8 is this network, 127.0.0.0/8 loopback, 224.0.0.0/4 multicast, the rest
            // reserved with the broadcast address at its end (RFC 1122 section 3.2.1.3).
            !matches!(first, 0 | 127 | 224..=255)
        }
        IpAddr::V6(ip) => {
            let mapped = matches!(ip.segments(), [0, 0, 0, 0, 0, 0xffff, ..]);
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || mapped)
        }
    }
}

/// True for 127.0.0.0/8 and ::1.
#[inline]
pub(crate) const fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// True for an address of one machine alone in its network.
pub(crate) fn is_lone(cidr: &Cidr) -> bool {
    cidr.prefix() == width(cidr.address())
}
