//! What an interface is made of, and what can be wrong with it.

use std::net::IpAddr;

use crate::device::{Capabilities, InterfaceId};
use crate::ip::cidr::Cidr;
use crate::link::{IdentifierSecret, Mac};

/// An interface of a stack, as it is asked for.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// What people call it.
    pub name: String,
    /// What its device carries and can do.
    pub capabilities: Capabilities,
    /// Its Ethernet address; needed for [`Medium::Ethernet`](crate::Medium::Ethernet).
    pub hardware: Option<Mac>,
    /// Its addresses with their networks, which become on-link routes. An Ethernet interface gets an
    /// IPv6 link-local address besides (RFC 4862 section 5.3).
    pub addresses: Vec<Cidr>,
    /// Takes packets for every unicast destination as if it were ours, and lets sockets send from
    /// every address: the far end of a tunnel. Answers leave through the same interface where no
    /// route says otherwise.
    pub any_address: bool,
    /// Asks for routers, and takes default routes, prefixes, addresses and the MTU from their
    /// advertisements (RFC 4861 section 6.3, RFC 4862 section 5.5). Ethernet only.
    pub slaac: bool,
    /// Makes the identifiers of the link-local address and of those that come with `slaac` from this
    /// secret (RFC 7217), so that they do not give the Ethernet address away, nor tell on one network who
    /// it was on another. `None`, as by default: from the Ethernet address (RFC 4291 appendix A).
    pub identifier_secret: Option<IdentifierSecret>,
    /// Looks for duplicates of IPv6 addresses before they are used (RFC 4862 section 5.4), which
    /// takes 1 to 2 s. Ethernet only.
    pub dad: bool,
    /// Looks for IPv4 addresses in use by others as well (RFC 5227 section 2.1), which takes 4 to
    /// 7 s. Most systems leave it to the DHCP client. Conflicts that show later are noticed in any
    /// case. Ethernet only.
    pub probe_ipv4: bool,
}

impl InterfaceConfig {
    /// An interface of the name on a device; addresses and the rest are added by the caller.
    /// Duplicate address detection is on.
    #[must_use]
    pub fn new(name: &str, capabilities: Capabilities) -> InterfaceConfig {
        InterfaceConfig {
            name: name.to_owned(),
            capabilities,
            hardware: None,
            addresses: Vec::new(),
            any_address: false,
            slaac: false,
            identifier_secret: None,
            dad: true,
            probe_ipv4: false,
        }
    }
}

/// A route as it is asked for: packets to `to` leave through `interface`, handed to `via`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Which destinations. The longest prefix that covers a destination wins.
    pub to: Cidr,
    /// The router that takes the packets, an address on the link; `None` when the destinations are
    /// on the link themselves.
    pub via: Option<IpAddr>,
    /// Through which interface.
    pub interface: InterfaceId,
    /// Of routes of one length the one with the lowest metric wins.
    pub metric: u32,
}

/// Why interfaces, addresses or routes cannot be as asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Too many of something.
    #[error("there are already {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there can be.
        most: usize,
    },
    /// An Ethernet interface without an Ethernet address, or with one that is no single station's.
    #[error("interface {0} needs an Ethernet address of its own")]
    NoHardwareAddress(String),
    /// The MTU is below what IP needs: 68 bytes for IPv4 (RFC 791), 1280 with IPv6 addresses.
    #[error("an MTU of {mtu} is too small: IP needs at least {least}")]
    MtuTooSmall {
        /// What was asked for.
        mtu: u16,
        /// What is needed.
        least: u16,
    },
    /// An address that no interface can have.
    #[error("{0} cannot be an interface's address")]
    BadAddress(IpAddr),
    /// The address is there already.
    #[error("{0} is an address of this stack already")]
    AddressInUse(IpAddr),
    /// There is no such interface.
    #[error("there is no interface {0:?}")]
    NoInterface(InterfaceId),
    /// Destination and router of a route are of different versions, or the router is no host's address.
    #[error("{via} cannot be the router to {to}")]
    BadRouter {
        /// The destination.
        to: Cidr,
        /// The router.
        via: IpAddr,
    },
}
