//! Routes of the main table.

use std::fmt;
use std::net::IpAddr;

use nix::libc;

use super::message::{Message, Request, attributes, u8_at, u32_at};
use super::{ADD, CHANGE, LIST, Netlink, address_of, family, octets, refused};
use crate::{Cidr, SystemError};

/// Bytes of `struct rtmsg`.
const FIXED: usize = 12;

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The addresses that it leads to.
    pub to: Cidr,
    /// The machine that takes the packets on; `None` for what is reached directly.
    pub via: Option<IpAddr>,
    /// The interface that they leave by, where it is said.
    pub interface: Option<u32>,
    /// Of several routes to the same block the one with the smallest number is taken; the system's own
    /// choice where `None` (0, and 1024 for IPv6).
    pub metric: Option<u32>,
}

impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to.network())?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(index) = self.interface {
            write!(f, " by interface {index}")?;
        }
        Ok(())
    }
}

/// How packets to one address leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface.
    pub interface: u32,
    /// The next machine; `None` when the address is reached directly.
    pub via: Option<IpAddr>,
    /// The address that they come from.
    pub source: Option<IpAddr>,
}

impl Netlink {
    /// The unicast routes of the main table, both families.
    ///
    /// # Errors
    /// What the system says.
    pub fn routes(&mut self) -> Result<Vec<RouteSpec>, SystemError> {
        let request = Request::new(libc::RTM_GETROUTE, LIST, &[0; FIXED]);
        let mut routes = Vec::new();
        self.exchange(request, |message| routes.extend(read(message)))
            .map_err(|error| refused("list the routes".to_owned(), error))?;
        Ok(routes)
    }

    /// How packets to `address` would leave.
    ///
    /// # Errors
    /// There is no way, or what else the system says.
    pub fn way_to(&mut self, address: IpAddr) -> Result<Way, SystemError> {
        let (bytes, len) = octets(address);
        let bits = Cidr::host(address).bits;
        let fixed = [family(address), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut request = Request::new(libc::RTM_GETROUTE, CHANGE, &fixed);
        request.attribute(libc::RTA_DST, bytes.get(..len).unwrap_or_default());
        let mut way = None;
        self.exchange(request, |message| way = way.or_else(|| read_way(message)))
            .map_err(|error| refused(format!("find the way to {address}"), error))?;
        way.ok_or_else(|| {
            let error = std::io::Error::from_raw_os_error(libc::ENETUNREACH);
            SystemError::new(format!("find the way to {address}"), error)
        })
    }

    /// How packets to `address` would leave if there were no interface `without`: by the routes of the
    /// main table alone, the narrowest of which counts, of several to one block the one with the
    /// smallest metric. `None` when there is no such route.
    ///
    /// # Errors
    /// What the system says.
    pub fn way_past(&mut self, address: IpAddr, without: u32) -> Result<Option<Way>, SystemError> {
        Ok(best(&self.routes()?, address, without))
    }

    /// Adds a route.
    ///
    /// # Errors
    /// Names the route and what the system says; one that is there already is an error too.
    pub fn add_route(&mut self, route: &RouteSpec) -> Result<(), SystemError> {
        self.change_route(libc::RTM_NEWROUTE, ADD, route)
            .map_err(|error| refused(format!("add the route {route}"), error))
    }

    /// Removes a route.
    ///
    /// # Errors
    /// Names the route and what the system says.
    pub fn delete_route(&mut self, route: &RouteSpec) -> Result<(), SystemError> {
        self.change_route(libc::RTM_DELROUTE, CHANGE, route)
            .map_err(|error| refused(format!("remove the route {route}"), error))
    }

    fn change_route(&mut self, kind: u16, flags: u16, route: &RouteSpec) -> std::io::Result<()> {
        let to = route.to.network();
        let adding = kind == libc::RTM_NEWROUTE;
        // When removing, "no matter which" in all that is not said.
        let (protocol, scope) = match (adding, route.via) {
            (false, _) => (libc::RTPROT_UNSPEC, libc::RT_SCOPE_NOWHERE),
            (true, Some(_)) => (libc::RTPROT_STATIC, libc::RT_SCOPE_UNIVERSE),
            (true, None) => (libc::RTPROT_STATIC, libc::RT_SCOPE_LINK),
        };
        let kind_of_route = if adding { libc::RTN_UNICAST } else { 0 };
        let fixed = [
            family(to.address),
            to.bits,
            0,
            0,
            libc::RT_TABLE_MAIN,
            protocol,
            scope,
            kind_of_route,
            0,
            0,
            0,
            0,
        ];
        let mut request = Request::new(kind, flags, &fixed);
        let (bytes, len) = octets(to.address);
        request.attribute(libc::RTA_DST, bytes.get(..len).unwrap_or_default());
        if let Some(via) = route.via {
            let (bytes, len) = octets(via);
            request.attribute(libc::RTA_GATEWAY, bytes.get(..len).unwrap_or_default());
        }
        if let Some(index) = route.interface {
            request.number(libc::RTA_OIF, index);
        }
        if let Some(metric) = route.metric {
            request.number(libc::RTA_PRIORITY, metric);
        }
        self.execute(request)
    }
}

/// What a message about a route says, before it is judged.
#[derive(Default)]
struct Fields {
    family: u8,
    bits: u8,
    table: u32,
    kind: u8,
    cloned: bool,
    to: Option<IpAddr>,
    via: Option<IpAddr>,
    interface: Option<u32>,
    metric: Option<u32>,
    source: Option<IpAddr>,
}

fn fields(message: Message<'_>) -> Option<Fields> {
    let body = message.body;
    let mut fields = Fields {
        family: u8_at(body, 0)?,
        bits: u8_at(body, 1)?,
        table: u8_at(body, 4)?.into(),
        kind: u8_at(body, 7)?,
        cloned: u32_at(body, 8)? & libc::RTM_F_CLONED != 0,
        ..Fields::default()
    };
    for (kind, value) in attributes(body.get(FIXED..)?) {
        match kind {
            libc::RTA_DST => fields.to = address_of(value),
            libc::RTA_GATEWAY => fields.via = address_of(value),
            libc::RTA_OIF => fields.interface = u32_at(value, 0),
            libc::RTA_PRIORITY => fields.metric = u32_at(value, 0),
            libc::RTA_TABLE => fields.table = u32_at(value, 0)?,
            libc::RTA_PREFSRC => fields.source = address_of(value),
            _ => {}
        }
    }
    Some(fields)
}

fn read(message: Message<'_>) -> Option<RouteSpec> {
    let fields = fields(message)?;
    let ours = fields.table == u32::from(libc::RT_TABLE_MAIN)
        && fields.kind == libc::RTN_UNICAST
        && !fields.cloned;
    if !ours {
        return None;
    }
    let everything = match libc::c_int::from(fields.family) {
        libc::AF_INET => IpAddr::from([0; 4]),
        libc::AF_INET6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    Some(RouteSpec {
        to: Cidr::new(fields.to.unwrap_or(everything), fields.bits)?,
        via: fields.via,
        interface: fields.interface,
        metric: fields.metric,
    })
}

/// The route that counts for `address` among those that leave by another interface than `without`.
fn best(routes: &[RouteSpec], address: IpAddr, without: u32) -> Option<Way> {
    let leads = |route: &&RouteSpec| {
        let elsewhere = route.interface.is_some_and(|index| index != without);
        elsewhere && route.to.contains(address)
    };
    let rank = |route: &&RouteSpec| {
        let metric = route.metric.unwrap_or(0);
        (route.to.bits, std::cmp::Reverse(metric))
    };
    let route = routes.iter().filter(leads).max_by_key(rank)?;
    Some(Way {
        interface: route.interface?,
        via: route.via,
        source: None,
    })
}

fn read_way(message: Message<'_>) -> Option<Way> {
    let fields = fields(message)?;
    Some(Way {
        interface: fields.interface?,
        via: fields.via,
        source: fields.source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_past_an_interface_is_the_narrowest_of_the_others() {
        let route = |to: &str, via: Option<&str>, interface, metric| RouteSpec {
            to: to.parse().unwrap(),
            via: via.map(|via| via.parse().unwrap()),
            interface: Some(interface),
            metric,
        };
        let routes = [
            route("0.0.0.0/0", Some("10.0.0.1"), 2, Some(600)),
            route("0.0.0.0/0", Some("10.1.0.1"), 3, Some(100)),
            route("0.0.0.0/1", None, 9, None),
            route("192.0.2.0/24", Some("10.0.0.2"), 2, None),
            route("192.0.2.0/25", None, 9, None),
        ];
        let via = |address: &str| {
            let way = best(&routes, address.parse().unwrap(), 9)?;
            Some((way.interface, way.via?.to_string()))
        };
        assert_eq!(via("192.0.2.1"), Some((2, "10.0.0.2".to_owned())));
        assert_eq!(via("8.8.8.8"), Some((3, "10.1.0.1".to_owned())));
        assert_eq!(via("2001:db8::1"), None);
        // Without the one that was left out it would be that one.
        let own = best(&routes, "192.0.2.1".parse().unwrap(), 0).unwrap();
        assert_eq!(own.interface, 9);
    }
}
