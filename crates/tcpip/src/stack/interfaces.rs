//! Interfaces, addresses, neighbours and routes.

use std::net::IpAddr;

use weir_core::time::Instant;

use super::Stack;
use crate::device::InterfaceId;
use crate::ip::{Cidr, ConfigError, InterfaceConfig, IpCounters, NeighborState, RouteConfig};
use crate::link::Mac;

impl Stack {
    /// Adds an interface. Its addresses are ready at once, or after a while where duplicates are
    /// looked for: [`Event::Address`](crate::Event::Address) tells.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub fn add_interface(
        &mut self,
        now: Instant,
        config: InterfaceConfig,
    ) -> Result<InterfaceId, ConfigError> {
        self.ip.add_interface(now, config)
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub fn add_address(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: Cidr,
    ) -> Result<(), ConfigError> {
        self.ip.add_address(now, interface, address)
    }

    /// Takes an address away. False when there was none. Connections from it stay, but reach nobody.
    pub fn remove_address(&mut self, interface: InterfaceId, address: IpAddr) -> bool {
        self.ip.remove_address(interface, address)
    }

    /// Says once and for all which Ethernet address a neighbour has.
    ///
    /// # Errors
    /// [`ConfigError`] when there are too many.
    pub fn add_neighbor(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        hardware: Mac,
    ) -> Result<(), ConfigError> {
        self.ip.add_neighbor(now, interface, address, hardware)
    }

    /// Forgets a neighbour, whether set by hand or learned. False when there was none.
    pub fn remove_neighbor(&mut self, interface: InterfaceId, address: IpAddr) -> bool {
        self.ip.remove_neighbor(interface, address)
    }

    /// What is known of a neighbour: its state, and its Ethernet address, which means nothing while it
    /// is being asked for or did not answer. `None` when nothing is.
    #[must_use]
    pub fn neighbor(
        &self,
        interface: InterfaceId,
        address: IpAddr,
    ) -> Option<(NeighborState, Mac)> {
        self.ip.neighbor(interface, address)
    }

    /// The addresses of an interface, those of routers' prefixes among them, and whether each is ready.
    pub fn addresses(&self, interface: InterfaceId) -> impl Iterator<Item = (Cidr, bool)> {
        self.ip.addresses(interface)
    }

    /// Changes the largest packet in bytes that an interface's device takes.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no such interface, or its addresses need more.
    pub fn set_mtu(&mut self, interface: InterfaceId, mtu: u16) -> Result<(), ConfigError> {
        self.ip.set_mtu(interface, mtu)
    }

    /// What the internet layer counted.
    #[must_use]
    pub fn ip_counters(&self) -> &IpCounters {
        &self.ip.counters
    }

    /// Packets were lost that [`poll_transmit`](Stack::poll_transmit) had given out: the device's queue
    /// was full. They count as discarded (`OutDiscards`), and are for their senders to miss.
    pub fn count_discards(&mut self, packets: u64) {
        let discards = &mut self.ip.counters.out_discards;
        *discards = discards.saturating_add(packets);
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub fn add_route(&mut self, route: RouteConfig) -> Result<(), ConfigError> {
        self.ip.add_route(route)
    }

    /// Takes a route away, whatever its metric. False when there was none.
    pub fn remove_route(&mut self, to: Cidr, via: Option<IpAddr>) -> bool {
        self.ip.remove_route(to, via)
    }

    /// The way to `remote`: the address to send from and the largest packet in bytes that fits the
    /// path as far as is known. `None` when there is no way.
    pub fn route_to(&mut self, remote: IpAddr) -> Option<(IpAddr, u16)> {
        let route = self.ip.route(remote, None).ok()?;
        Some((route.source, route.mtu))
    }

    /// Whether packets for others are passed on between interfaces. Off at first.
    pub fn set_forwarding(&mut self, on: bool) {
        self.ip.set_forwarding(on);
    }
}
