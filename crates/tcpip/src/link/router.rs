//! Routers and prefixes of a link (RFC 4861 section 6.3), and the addresses that are made of them
//! (RFC 4862 section 5.5).

use std::net::{IpAddr, Ipv6Addr};

use weir_core::rng;
use weir_core::time::{Duration, Instant, nanos};

use crate::device::InterfaceId;
use crate::ip::interface::{Address, AddressState};
use crate::ip::pmtu::MIN_MTU_V6;
use crate::ip::table::Origin;
use crate::ip::{Cidr, Due, Ip, IpEvent, RouteConfig};
use crate::limits::{MAX_ADDRESSES, MAX_AUTONOMOUS_ADDRESSES, MAX_PREFIXES, MAX_ROUTERS};
use crate::link::ndp::Heard;
use crate::wire::ndp::{NdpOption, Prefix, RouterAdvertisement};

/// RFC 4861 section 10: solicitations for routers, ...
const MAX_RTR_SOLICITATIONS: u8 = 3;
/// ... and the time between them.
const RTR_SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// The most that the first one waits.
const MAX_RTR_SOLICITATION_DELAY: Duration = Duration::from_secs(1);
/// What routes from advertisements cost, as Linux has it: more than those set by hand.
const ADVERTISED_METRIC: u32 = 1024;
/// RFC 4862 section 5.5.3 (e): an advertisement cannot shorten a lifetime to less than this.
const TWO_HOURS: Duration = Duration::from_secs(7200);
/// RFC 4861 section 6.2.1: a router's own bound on the time a neighbour counts as reachable.
const MAX_REACHABLE_TIME: Duration = Duration::from_secs(3600);

impl Ip {
    /// Begins to ask for routers, once the link-local address is ready.
    pub(crate) fn start_solicitations(&mut self, now: Instant, id: InterfaceId) {
        let Some(interface) = self
            .interfaces
            .get_mut(id.index())
            .filter(|interface| interface.slaac)
        else {
            return;
        };
        interface.solicitations = MAX_RTR_SOLICITATIONS;
        let wait = rng::between(&mut self.rng, 0, nanos(MAX_RTR_SOLICITATION_DELAY));
        self.timers
            .insert(now + Duration::from_nanos(wait), Due::Solicit(id));
    }

    /// Asks for routers once more, unless one was heard.
    pub(crate) fn solicit_timeout(&mut self, now: Instant, id: InterfaceId) {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        if interface.solicitations == 0 {
            return;
        }
        interface.solicitations = interface.solicitations.saturating_sub(1);
        self.send_router_solicitation(id);
        self.timers
            .insert(now + RTR_SOLICITATION_INTERVAL, Due::Solicit(id));
    }

    /// Takes a router's advertisement (RFC 4861 section 6.3.4).
    pub(crate) fn handle_router(
        &mut self,
        now: Instant,
        heard: &Heard,
        advertisement: &RouterAdvertisement<'_>,
    ) {
        let id = heard.interface;
        let Some(interface) = self
            .interfaces
            .get_mut(id.index())
            .filter(|interface| interface.slaac)
        else {
            return;
        };
        // RFC 4861 section 6.1.2. A router that forwards is its own (section 6.2.7).
        if !heard.src.is_unicast_link_local() || self.forwarding {
            return;
        }
        if advertisement.router_lifetime > 0 {
            interface.solicitations = 0;
        }
        let link = &mut interface.link;
        if advertisement.hop_limit > 0 {
            link.hop_limit = advertisement.hop_limit;
        }
        let millis = |value: u32| Duration::from_millis(u64::from(value));
        if advertisement.reachable_time > 0 {
            link.reachable_time = millis(advertisement.reachable_time).min(MAX_REACHABLE_TIME);
        }
        if advertisement.retrans_timer > 0 {
            // No faster than ten a second, whatever anybody on the link says.
            let least = Duration::from_millis(100);
            link.retrans_timer =
                millis(advertisement.retrans_timer).clamp(least, Duration::from_secs(60));
        }
        for option in advertisement.options() {
            match option {
                NdpOption::SourceLinkAddress(mac) if mac.is_unicast() => {
                    let key = self.claim(now, id, heard.src.into(), mac);
                    if let Some(entry) = key.and_then(|key| self.neighbors.get_mut(key)) {
                        entry.is_router = true;
                    }
                }
                NdpOption::Mtu(mtu) => self.take_mtu(id, mtu),
                NdpOption::Prefix(prefix) => self.take_prefix(now, id, &prefix),
                _ => {}
            }
        }
        self.take_router(now, id, heard.src, advertisement.router_lifetime);
        self.time_lifetimes();
    }

    fn take_router(&mut self, now: Instant, id: InterfaceId, router: Ipv6Addr, seconds: u16) {
        if seconds == 0 {
            return self.no_router(id, router);
        }
        let route = RouteConfig {
            to: Cidr::ANY_V6,
            via: Some(router.into()),
            interface: id,
            metric: ADVERTISED_METRIC,
        };
        let is_default = |entry: &&crate::ip::table::Entry| {
            entry.origin == Origin::Advertised
                && entry.route.interface == id
                && entry.route.via.is_some()
        };
        let known = self
            .table
            .iter()
            .any(|entry| is_default(&entry) && entry.route.via == route.via);
        if !known && self.table.iter().filter(is_default).count() >= MAX_ROUTERS {
            return;
        }
        let expires = now + Duration::from_secs(u64::from(seconds));
        self.table.add(route, Origin::Advertised, expires);
        if !known {
            self.changed();
        }
    }

    /// A router does not serve as such any more.
    pub(crate) fn no_router(&mut self, id: InterfaceId, router: Ipv6Addr) {
        let via = Some(IpAddr::V6(router));
        let removed = self.table.remove_if(|entry| {
            entry.origin == Origin::Advertised
                && entry.route.interface == id
                && entry.route.via == via
        });
        if removed {
            self.changed();
        }
    }

    /// The link's MTU for IPv6: no less than every link has, no more than the device has.
    fn take_mtu(&mut self, id: InterfaceId, mtu: u32) {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        if mtu < MIN_MTU_V6 || mtu > interface.capabilities.mtu || mtu == interface.link.mtu_v6 {
            return;
        }
        interface.link.mtu_v6 = mtu;
        self.changed();
    }

    fn take_prefix(&mut self, now: Instant, id: InterfaceId, prefix: &Prefix) {
        let ip = prefix.prefix;
        if ip.is_unicast_link_local()
            || ip.is_multicast()
            || prefix.preferred_lifetime > prefix.valid_lifetime
        {
            return;
        }
        let Ok(cidr) = Cidr::new(ip.into(), prefix.prefix_len) else {
            return;
        };
        if prefix.on_link {
            self.take_on_link(now, id, cidr.network(), prefix.valid_lifetime);
        }
        // RFC 4862 section 5.5.3 (d): the identifier has 64 bits, and so has the prefix.
        if prefix.autonomous && prefix.prefix_len == 64 {
            self.take_autonomous(now, id, prefix);
        }
    }

    /// A prefix whose addresses are on the link.
    fn take_on_link(&mut self, now: Instant, id: InterfaceId, to: Cidr, valid: u32) {
        let of_prefix = |entry: &crate::ip::table::Entry| {
            entry.origin == Origin::Advertised
                && entry.route.interface == id
                && entry.route.via.is_none()
        };
        if valid == 0 {
            if self
                .table
                .remove_if(|entry| of_prefix(entry) && entry.route.to == to)
            {
                self.changed();
            }
            return;
        }
        let known = self
            .table
            .iter()
            .any(|entry| of_prefix(entry) && entry.route.to == to);
        if !known && self.table.iter().filter(|entry| of_prefix(entry)).count() >= MAX_PREFIXES {
            return;
        }
        let route = RouteConfig {
            to,
            via: None,
            interface: id,
            metric: ADVERTISED_METRIC,
        };
        self.table
            .add(route, Origin::Advertised, lifetime(now, valid));
        if !known {
            self.changed();
        }
    }

    /// A prefix to make an address of.
    fn take_autonomous(&mut self, now: Instant, id: InterfaceId, prefix: &Prefix) {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        let Some(made) = interface.own_address(prefix.prefix, 0) else {
            return;
        };
        // One that had to make way for another identifier is that one from here on.
        let of_prefix = |other: &&Address| {
            other.autonomous && made.cidr.contains(other.ip()) && made.taken.is_some()
        };
        let known = interface.addresses.iter().find(of_prefix);
        let ip = known.map_or(made.ip(), Address::ip);
        let preferred_until = lifetime(now, prefix.preferred_lifetime);
        let mut valid_until = lifetime(now, prefix.valid_lifetime);
        if let Some(address) = interface.address_mut(ip) {
            if !address.autonomous {
                return;
            }
            // RFC 4862 section 5.5.3 (e): what nobody authenticated does not cut a lifetime short.
            let two_hours = now + TWO_HOURS;
            if valid_until < two_hours && valid_until < address.valid_until {
                valid_until = address.valid_until.min(two_hours);
            }
            address.valid_until = valid_until;
            address.preferred_until = preferred_until;
            if preferred_until > now && address.state == AddressState::Deprecated {
                address.state = AddressState::Preferred;
                let cidr = address.cidr;
                self.note_address(id, cidr, AddressState::Preferred.as_str());
                self.changed();
            }
            return;
        }
        let autonomous = interface
            .addresses
            .iter()
            .filter(|address| address.autonomous)
            .count();
        if prefix.valid_lifetime == 0
            || autonomous >= MAX_AUTONOMOUS_ADDRESSES
            || interface.addresses.len() >= MAX_ADDRESSES
        {
            return;
        }
        let address = Address {
            preferred_until,
            valid_until,
            autonomous: true,
            ..made
        };
        self.put_address(now, id, address);
    }

    /// Ends what is over by `now`: routers, prefixes, addresses.
    pub(crate) fn lifetimes_timeout(&mut self, now: Instant) {
        let mut changed = self.table.remove_if(|entry| entry.expires <= now);
        let mut ended = Vec::new();
        for (index, interface) in self.interfaces.iter_mut().enumerate() {
            let id = InterfaceId(u16::try_from(index).unwrap_or(u16::MAX));
            interface.addresses.retain(|address| {
                let valid = address.valid_until > now;
                if !valid {
                    ended.push((id, address.cidr, "removed"));
                }
                valid
            });
            for address in &mut interface.addresses {
                if address.preferred_until <= now && address.state == AddressState::Preferred {
                    address.state = AddressState::Deprecated;
                    ended.push((id, address.cidr, address.state.as_str()));
                }
            }
        }
        changed |= !ended.is_empty();
        if changed {
            self.changed();
        }
        for (interface, cidr, word) in ended {
            self.note_address(interface, cidr, word);
            if word == "removed" {
                let address = cidr.address();
                self.tell(IpEvent::AddressExpired { interface, address });
            }
        }
        self.time_lifetimes();
    }

    /// Sets the timer for whatever ends first.
    pub(crate) fn time_lifetimes(&mut self) {
        let mut next = self.table.next_expiry();
        for address in self
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
        {
            next = next.min(address.valid_until);
            if address.state == AddressState::Preferred {
                next = next.min(address.preferred_until);
            }
        }
        if next == Instant::MAX {
            return;
        }
        match self.lifetimes {
            Some(timer) if self.timers.reset(timer, next) => {}
            _ => self.lifetimes = Some(self.timers.insert(next, Due::Lifetimes)),
        }
    }
}

/// When a lifetime of that many seconds ends; all bits set is for ever (RFC 4861 section 4.6.2).
fn lifetime(now: Instant, seconds: u32) -> Instant {
    if seconds == u32::MAX {
        return Instant::MAX;
    }
    now + Duration::from_secs(u64::from(seconds))
}
