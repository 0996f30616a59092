//! Interfaces, addresses, neighbours and routes, as they are added and taken away.

use std::net::IpAddr;

use weir_core::time::Instant;

use crate::device::{Capabilities, InterfaceId, Medium, Segmentation};
use crate::ip::interface::{Address, Interface, is_host, is_lone, is_loopback};
use crate::ip::pmtu::{MIN_MTU_V4, MIN_MTU_V6};
use crate::ip::table::Origin;
use crate::ip::{Cidr, ConfigError, InterfaceConfig, Ip, LOOPBACK, NeighborState, RouteConfig};
use crate::limits::{
    MAX_ADDRESSES, MAX_INTERFACES, MAX_NEIGHBORS, MAX_ROUTES, MAX_STATIC_NEIGHBORS,
};
use crate::link::Mac;

/// What the loopback interface can do: nothing is checked that never left memory.
static LOOPBACK_CAPABILITIES: Capabilities = Capabilities {
    medium: Medium::Ip,
    mtu: u16::MAX,
    checksum_offload: true,
    segmentation: Segmentation {
        tcp4: false,
        tcp6: false,
        udp: false,
        max_bytes: 0,
    },
};

/// Where a route stands that nothing else is to be worse than.
const LAST_METRIC: u32 = u32::MAX;

/// The network of link-local addresses (RFC 4291 section 2.5.6).
const LINK_LOCAL: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

impl Ip {
    /// Adds an interface; its addresses are ready at once, or after a while where duplicates are
    /// looked for ([`IpEvent::AddressReady`](crate::ip::IpEvent::AddressReady)).
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub(crate) fn add_interface(
        &mut self,
        now: Instant,
        config: InterfaceConfig,
    ) -> Result<InterfaceId, ConfigError> {
        self.check_interface(&config)?;
        let id = InterfaceId(u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX));
        let interface = Interface::new(&config);
        let ethernet = interface.is_ethernet();
        self.interfaces.push(interface);
        self.any_address |= config.any_address;
        if config.any_address {
            for to in [Cidr::ANY_V4, Cidr::ANY_V6] {
                let route = RouteConfig {
                    to,
                    via: None,
                    interface: id,
                    metric: LAST_METRIC,
                };
                self.table.add(route, Origin::AnyAddress, Instant::MAX);
            }
        }
        if ethernet && config.capabilities.mtu >= MIN_MTU_V6 {
            let own = self.interface(id);
            if let Some(address) = own.and_then(|own| own.own_address(LINK_LOCAL, 0)) {
                self.put_address(now, id, address);
            }
        }
        for cidr in config.addresses {
            self.put_address(now, id, Address::manual(cidr));
        }
        self.changed();
        Ok(id)
    }

    fn check_interface(&self, config: &InterfaceConfig) -> Result<(), ConfigError> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(ConfigError::TooMany {
                what: "interfaces",
                most: MAX_INTERFACES,
            });
        }
        let unicast = config.hardware.is_some_and(Mac::is_unicast);
        if config.capabilities.medium == Medium::Ethernet && !unicast {
            return Err(ConfigError::NoHardwareAddress(config.name.clone()));
        }
        // One place is for the link-local address.
        if config.addresses.len() >= MAX_ADDRESSES {
            return Err(ConfigError::TooMany {
                what: "addresses of an interface",
                most: MAX_ADDRESSES,
            });
        }
        check_mtu(config.capabilities.mtu, MIN_MTU_V4)?;
        for (index, cidr) in config.addresses.iter().enumerate() {
            self.check_address(cidr, config.capabilities.mtu)?;
            let before = config.addresses.get(..index).unwrap_or_default();
            if before.iter().any(|other| other.address() == cidr.address()) {
                return Err(ConfigError::AddressInUse(cidr.address()));
            }
        }
        let networks = config.addresses.len().saturating_add(3);
        self.check_routes(networks)
    }

    fn check_address(&self, cidr: &Cidr, mtu: u16) -> Result<(), ConfigError> {
        let ip = cidr.address();
        let broadcast = cidr.broadcast().map(IpAddr::V4);
        let network = cidr.prefix() < 31 && ip.is_ipv4() && cidr.network().address() == ip;
        if !is_host(ip) || broadcast == Some(ip) || network {
            return Err(ConfigError::BadAddress(ip));
        }
        let mut interfaces = self.interfaces.iter();
        if interfaces.any(|interface| interface.address(ip).is_some()) {
            return Err(ConfigError::AddressInUse(ip));
        }
        check_mtu(mtu, if ip.is_ipv4() { MIN_MTU_V4 } else { MIN_MTU_V6 })
    }

    fn check_routes(&self, more: usize) -> Result<(), ConfigError> {
        if self.table.iter().count().saturating_add(more) > MAX_ROUTES {
            return Err(ConfigError::TooMany {
                what: "routes",
                most: MAX_ROUTES,
            });
        }
        Ok(())
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub(crate) fn add_address(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: Cidr,
    ) -> Result<(), ConfigError> {
        let Some(own) = self.interface(interface) else {
            return Err(ConfigError::NoInterface(interface));
        };
        if own.addresses.len() >= MAX_ADDRESSES {
            return Err(ConfigError::TooMany {
                what: "addresses of an interface",
                most: MAX_ADDRESSES,
            });
        }
        self.check_address(&address, own.capabilities.mtu)?;
        self.check_routes(1)?;
        self.put_address(now, interface, Address::manual(address));
        self.changed();
        Ok(())
    }

    /// Gives an address to an interface, and takes its network to be on the link, unless routers say
    /// what is.
    pub(crate) fn put_address(&mut self, now: Instant, id: InterfaceId, address: Address) {
        let cidr = address.cidr;
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        if interface.address(cidr.address()).is_some() {
            return;
        }
        interface.addresses.push(address);
        if !is_lone(&cidr) && !address.autonomous {
            let route = RouteConfig {
                to: cidr.network(),
                via: None,
                interface: id,
                metric: 0,
            };
            self.table.add(route, Origin::Connected, Instant::MAX);
        }
        self.start_address(now, id, cidr.address());
    }

    /// Takes an address away. False when there was none.
    pub(crate) fn remove_address(&mut self, interface: InterfaceId, address: IpAddr) -> bool {
        let Some(own) = self.interfaces.get_mut(interface.index()) else {
            return false;
        };
        let Some(cidr) = own.address(address).map(|own| own.cidr) else {
            return false;
        };
        own.addresses.retain(|other| other.ip() != address);
        self.note_address(interface, cidr, "removed");
        self.forget_network(interface, address);
        self.changed();
        true
    }

    /// Takes away the routes of networks that no address of the interface is in any more.
    pub(crate) fn forget_network(&mut self, id: InterfaceId, gone: IpAddr) {
        let Some(interface) = self.interfaces.get(id.index()) else {
            return;
        };
        let networks: Vec<Cidr> = interface
            .addresses
            .iter()
            .map(|own| own.cidr.network())
            .collect();
        self.table.remove_if(|entry| {
            entry.origin == Origin::Connected
                && entry.route.interface == id
                && entry.route.to.contains(gone)
                && !networks.contains(&entry.route.to)
        });
    }

    /// Says once and for all which Ethernet address a neighbour has.
    ///
    /// # Errors
    /// [`ConfigError`] when there are too many, or no such interface or host.
    pub(crate) fn add_neighbor(
        &mut self,
        _now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        hardware: Mac,
    ) -> Result<(), ConfigError> {
        let Some(own) = self.interface(interface).filter(|own| own.is_ethernet()) else {
            return Err(ConfigError::NoInterface(interface));
        };
        if !hardware.is_unicast() {
            return Err(ConfigError::NoHardwareAddress(own.name.clone()));
        }
        if !is_host(address) {
            return Err(ConfigError::BadAddress(address));
        }
        let too_many = ConfigError::TooMany {
            what: "static neighbours",
            most: MAX_STATIC_NEIGHBORS.min(MAX_NEIGHBORS),
        };
        self.remove_neighbor(interface, address);
        if self.neighbors.permanent() >= MAX_STATIC_NEIGHBORS {
            return Err(too_many);
        }
        let created = self
            .neighbors
            .create(interface, address, Some(hardware), &mut self.rng);
        let (key, evicted) = created.ok_or(too_many)?;
        self.let_go(evicted);
        self.neighbors.set_state(key, NeighborState::Permanent);
        self.note_new_neighbor(key);
        self.changed();
        Ok(())
    }

    /// Forgets a neighbour, and what waits for it. False when there was none.
    pub(crate) fn remove_neighbor(&mut self, interface: InterfaceId, address: IpAddr) -> bool {
        let key = self.neighbors.find(interface, address);
        let removed = key.and_then(|key| self.neighbors.remove(key));
        let was_there = removed.is_some();
        self.let_go(removed);
        was_there
    }

    /// The state of a neighbour and its Ethernet address; `None` when it is not known of.
    pub(crate) fn neighbor(
        &self,
        interface: InterfaceId,
        address: IpAddr,
    ) -> Option<(NeighborState, Mac)> {
        let key = self.neighbors.find(interface, address)?;
        let entry = self.neighbors.get(key)?;
        Some((entry.state, entry.hardware))
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub(crate) fn add_route(&mut self, route: RouteConfig) -> Result<(), ConfigError> {
        if self.interface(route.interface).is_none() {
            return Err(ConfigError::NoInterface(route.interface));
        }
        if let Some(via) = route.via
            && (!is_host(via) || via.is_ipv4() != route.to.address().is_ipv4())
        {
            return Err(ConfigError::BadRouter { to: route.to, via });
        }
        if is_loopback(route.to.address()) {
            return Err(ConfigError::BadAddress(route.to.address()));
        }
        self.check_routes(1)?;
        self.table.add(route, Origin::Static, Instant::MAX);
        self.changed();
        Ok(())
    }

    /// Takes away the routes to `to` by `via` that were added, whatever their metric. False when there
    /// was none.
    pub(crate) fn remove_route(&mut self, to: Cidr, via: Option<IpAddr>) -> bool {
        let removed = self.table.remove_if(|entry| {
            entry.origin == Origin::Static
                && entry.route.to.network() == to.network()
                && entry.route.via == via
        });
        if removed {
            self.changed();
        }
        removed
    }

    /// Whether packets for others are passed on (off at first).
    pub(crate) fn set_forwarding(&mut self, on: bool) {
        self.forwarding = on;
        self.changed();
    }

    /// What the interface's device can do; `None` when there is no such interface.
    #[inline]
    pub(crate) fn capabilities(&self, interface: InterfaceId) -> Option<&Capabilities> {
        if interface == LOOPBACK {
            return Some(&LOOPBACK_CAPABILITIES);
        }
        self.interface(interface)
            .map(|interface| &interface.capabilities)
    }

    /// Changes the largest packet in bytes that an interface's device takes.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no such interface, or its addresses need more.
    pub(crate) fn set_mtu(&mut self, id: InterfaceId, mtu: u16) -> Result<(), ConfigError> {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return Err(ConfigError::NoInterface(id));
        };
        let v6 = interface
            .addresses
            .iter()
            .any(|address| address.ip().is_ipv6());
        check_mtu(mtu, if v6 { MIN_MTU_V6 } else { MIN_MTU_V4 })?;
        interface.capabilities.mtu = mtu;
        interface.link.mtu_v6 = mtu;
        self.changed();
        Ok(())
    }

    /// The addresses of an interface, and whether each is ready.
    pub(crate) fn addresses(&self, interface: InterfaceId) -> impl Iterator<Item = (Cidr, bool)> {
        let own = self.interface(interface);
        let addresses = own.map(|own| own.addresses.as_slice()).unwrap_or_default();
        addresses
            .iter()
            .map(|address| (address.cidr, address.is_ready()))
    }

    /// True when a socket may be bound to the address: it is one of ours and ready, or there is an
    /// interface in any-address mode.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        is_loopback(address) || self.is_own(address) || (self.any_address && is_host(address))
    }
}

fn check_mtu(mtu: u16, least: u16) -> Result<(), ConfigError> {
    if mtu < least {
        return Err(ConfigError::MtuTooSmall { mtu, least });
    }
    Ok(())
}
