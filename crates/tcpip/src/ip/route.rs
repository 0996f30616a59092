//! Which way, from which address, how large.

use std::net::IpAddr;

use weir_core::time::Instant;

use crate::device::InterfaceId;
use crate::ip::cidr::{Cidr, width};
use crate::ip::interface::is_loopback;
use crate::ip::source;
use crate::ip::table::Entry;
use crate::ip::{Due, Ip, IpEvent, LOOPBACK, NeighborState, NoRoute, Route};

/// No place in the neighbour cache.
pub(crate) const NO_NEIGHBOR: u32 = u32::MAX;

/// An interface and who takes a packet on its link.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) interface: InterfaceId,
    pub(crate) next_hop: IpAddr,
}

impl Ip {
    /// The way to `remote`, from `local` where that is said.
    ///
    /// # Errors
    /// [`NoRoute`].
    pub(crate) fn route(
        &mut self,
        remote: IpAddr,
        local: Option<IpAddr>,
    ) -> Result<Route, NoRoute> {
        self.route_from(remote, local, None)
    }

    /// The same; link-local destinations and groups by way of `on`, where a packet came from.
    pub(crate) fn route_from(
        &mut self,
        remote: IpAddr,
        local: Option<IpAddr>,
        on: Option<InterfaceId>,
    ) -> Result<Route, NoRoute> {
        if remote.is_unspecified() {
            return Err(NoRoute::BadDestination(remote));
        }
        if let Some(local) = local {
            if local.is_ipv4() != remote.is_ipv4() {
                return Err(NoRoute::BadDestination(remote));
            }
            if !self.is_local(local) {
                return Err(NoRoute::NotOurs(local));
            }
        }
        if is_loopback(remote) || self.is_own(remote) {
            return Ok(self.route_to_ourselves(remote, local));
        }
        let way = self.way(remote, local, on);
        let way = way.ok_or_else(|| {
            super::counters::count(&mut self.counters.out_no_routes);
            NoRoute::Unreachable(remote)
        })?;
        let out = way.interface.index();
        let source = local.or_else(|| source::select(&self.interfaces, out, way.next_hop, remote));
        let source = source.ok_or(NoRoute::NoSource(remote))?;
        let link_mtu = self
            .interfaces
            .get(out)
            .map_or(0, |interface| interface.mtu_for(remote));
        let neighbor = self.neighbors.find(way.interface, way.next_hop);
        Ok(Route {
            interface: way.interface,
            next_hop: way.next_hop,
            source,
            mtu: self
                .paths
                .get(remote)
                .map_or(link_mtu, |mtu| mtu.min(link_mtu)),
            link_mtu,
            neighbor: neighbor.map_or(NO_NEIGHBOR, |key| key.index),
            generation: self.generation,
        })
    }

    /// False when the route may have changed and is to be asked for again.
    #[inline]
    pub(crate) const fn is_current(&self, route: &Route) -> bool {
        route.generation == self.generation
    }

    /// A route that was asked for before, with the neighbour as he is known now; `None` when it may have
    /// changed.
    pub(crate) fn again(&self, route: &Route) -> Option<Route> {
        let key = self.neighbors.find(route.interface, route.next_hop);
        let route = Route {
            neighbor: key.map_or(NO_NEIGHBOR, |key| key.index),
            ..*route
        };
        self.is_current(&route).then_some(route)
    }

    fn route_to_ourselves(&self, remote: IpAddr, local: Option<IpAddr>) -> Route {
        Route {
            interface: LOOPBACK,
            next_hop: remote,
            source: local.unwrap_or(remote),
            mtu: u16::MAX,
            link_mtu: u16::MAX,
            neighbor: NO_NEIGHBOR,
            generation: self.generation,
        }
    }

    /// Who takes packets to `remote`.
    pub(crate) fn way(
        &self,
        remote: IpAddr,
        local: Option<IpAddr>,
        on: Option<InterfaceId>,
    ) -> Option<Way> {
        if let Some(interface) = self.link_of(remote, local, on) {
            return Some(Way {
                interface,
                next_hop: remote,
            });
        }
        let mut first: Option<&Entry> = None;
        for entry in self.table.lookup(remote) {
            let best = first.get_or_insert(entry);
            // RFC 4861 section 6.3.6: a router that does not answer is passed over for another one, but
            // not for a route that covers more and means something else.
            if entry.route.to.prefix() != best.route.to.prefix() {
                break;
            }
            let way = way_by(entry, remote);
            if entry.route.via.is_none() || !self.has_failed(way) {
                return Some(way);
            }
        }
        first.map(|entry| way_by(entry, remote))
    }

    /// The link of destinations that mean something only there: groups, broadcast, link-local addresses.
    fn link_of(
        &self,
        remote: IpAddr,
        local: Option<IpAddr>,
        on: Option<InterfaceId>,
    ) -> Option<InterfaceId> {
        let here = match remote {
            IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_multicast() || ip.is_unicast_link_local(),
        };
        if !here {
            return None;
        }
        // Not where it came from if that is ourselves.
        if let Some(on) = on.filter(|on| *on != LOOPBACK) {
            return Some(on);
        }
        let owner = |ip: IpAddr| {
            self.interfaces
                .iter()
                .position(|interface| interface.has(ip))
        };
        let index = match local.and_then(owner) {
            Some(index) => index,
            None if self.table.lookup(remote).next().is_some() => return None,
            None => {
                let any = match remote {
                    IpAddr::V4(_) => Cidr::ANY_V4,
                    IpAddr::V6(_) => Cidr::ANY_V6,
                };
                let default = self.table.lookup(any.address()).next();
                default.map_or(0, |entry| entry.route.interface.index())
            }
        };
        let id = InterfaceId(u16::try_from(index).ok()?);
        self.interface(id).map(|_| id)
    }

    fn has_failed(&self, way: Way) -> bool {
        let key = self.neighbors.find(way.interface, way.next_hop);
        let entry = key.and_then(|key| self.neighbors.get(key));
        entry.is_some_and(|entry| {
            entry.state == NeighborState::Failed
                || (entry.state == NeighborState::Incomplete && entry.probes > 1)
        })
    }

    /// The transport saw that the next hop of a route is there: its data was acknowledged
    /// (RFC 4861 section 7.3.1). Spares a probe.
    #[inline]
    pub(crate) fn confirm(&mut self, now: Instant, route: &Route) {
        let Some(entry) = self
            .neighbors
            .at(route.neighbor, route.interface, route.next_hop)
        else {
            return;
        };
        match entry.state {
            NeighborState::Reachable => entry.confirmed = now,
            // A neighbour whose address others claim has to answer himself.
            NeighborState::Stale | NeighborState::Delay | NeighborState::Probe
                if !entry.challenged =>
            {
                if let Some(key) = self.neighbors.key_at(route.neighbor) {
                    self.neighbor_reachable(now, key);
                }
            }
            _ => {}
        }
    }

    /// The largest packet in bytes that is known to fit the path to `dst`; `None` when there is no
    /// route.
    pub(crate) fn path_mtu(&self, dst: IpAddr) -> Option<u16> {
        if is_loopback(dst) || self.is_own(dst) {
            return Some(u16::MAX);
        }
        let way = self.way(dst, None, None)?;
        let link = self.interface(way.interface)?.mtu_for(dst);
        Some(self.paths.get(dst).map_or(link, |mtu| mtu.min(link)))
    }

    /// Takes [`IcmpKind::PacketTooBig`](crate::ip::IcmpKind::PacketTooBig) for the path to `dst`, once
    /// the transport has found that it is about something it sent: nothing else makes an entry, so
    /// nobody off the path can (RFC 5927 section 7). `size` is the length in bytes of what was too big:
    /// [`IcmpError::size`](crate::ip::IcmpError::size), or what the transport thought that fits.
    /// Returns the path MTU that holds from now on for whoever sent more, or `None` when the message is
    /// ignored (T134).
    pub(crate) fn on_packet_too_big(
        &mut self,
        now: Instant,
        dst: IpAddr,
        mtu: u32,
        size: u16,
    ) -> Option<u16> {
        let current = self.path_mtu(dst)?;
        let Some(lowered) = self.paths.lower(now, dst, mtu, size, current) else {
            // Another connection to the same destination was told before.
            let known = self.paths.get(dst).map(u32::from);
            return Some(current).filter(|current| known == Some(mtu) && *current < size);
        };
        if let Some(evicted) = lowered.evicted {
            self.timers.cancel(evicted);
        }
        match lowered.timer {
            Some(timer) if self.timers.reset(timer, lowered.expires) => {}
            _ => {
                let timer = self.timers.insert(lowered.expires, Due::PathMtu(dst));
                self.paths.set_timer(dst, timer);
            }
        }
        let mtu = lowered.mtu;
        self.note_path_mtu(dst, current, mtu);
        self.changed();
        self.tell(IpEvent::PathMtu { dst, mtu });
        Some(mtu)
    }

    /// T136: what was known of a path's MTU is too old; the first link's is tried again.
    pub(crate) fn path_mtu_timeout(&mut self, now: Instant, dst: IpAddr) {
        let old = self.paths.get(dst);
        if !self.paths.expire(now, dst) {
            return;
        }
        self.changed();
        if let Some(mtu) = self.path_mtu(dst) {
            self.note_path_mtu(dst, old.unwrap_or(mtu), mtu);
            self.tell(IpEvent::PathMtu { dst, mtu });
        }
    }
}

fn way_by(entry: &Entry, remote: IpAddr) -> Way {
    debug_assert!(entry.route.to.prefix() <= width(remote));
    Way {
        interface: entry.route.interface,
        next_hop: entry.route.via.unwrap_or(remote),
    }
}
