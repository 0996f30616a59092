//! The routing table.

use std::net::IpAddr;

use weir_core::time::Instant;

use crate::ip::cidr::{bits, mask, width};
use crate::ip::config::RouteConfig;
use crate::limits::MAX_ROUTES;

/// Where a route comes from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody added it.
    Static,
    /// The network of an interface's address.
    Connected,
    /// An interface in any-address mode: what nothing else covers goes back there.
    AnyAddress,
    /// A router's advertisement: itself as default router, or a prefix on the link.
    Advertised,
}

/// A route of the table.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) route: RouteConfig,
    pub(crate) origin: Origin,
    /// When its lifetime ends; [`Instant::MAX`] for ever.
    pub(crate) expires: Instant,
    network: u128,
    mask: u128,
}

/// Routes, the longest prefix first and of one length the lowest metric first, so that the first one
/// that covers a destination is the one. They are few, and whoever sends often keeps the answer.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
}

impl Table {
    /// Adds a route, or renews it where there is one to the same network by the same way. False when
    /// the table is full.
    pub(crate) fn add(&mut self, route: RouteConfig, origin: Origin, expires: Instant) -> bool {
        self.remove_if(|entry| {
            entry.route.to.network() == route.to.network()
                && entry.route.via == route.via
                && entry.route.interface == route.interface
                && entry.origin == origin
        });
        if self.entries.len() >= MAX_ROUTES {
            return false;
        }
        let mask = mask(route.to.prefix(), width(route.to.address()));
        let entry = Entry {
            route,
            origin,
            expires,
            network: bits(route.to.address()) & mask,
            mask,
        };
        let order = |entry: &Entry| {
            (
                u8::MAX.wrapping_sub(entry.route.to.prefix()),
                entry.route.metric,
            )
        };
        let at = self
            .entries
            .partition_point(|other| order(other) <= order(&entry));
        self.entries.insert(at, entry);
        true
    }

    /// Takes away every route that `is_one` says. True when there was one.
    pub(crate) fn remove_if(&mut self, mut is_one: impl FnMut(&Entry) -> bool) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| !is_one(entry));
        self.entries.len() != before
    }

    /// The routes that cover a destination, the best first.
    pub(crate) fn lookup(&self, dst: IpAddr) -> impl Iterator<Item = &Entry> {
        let (number, is_ipv4) = (bits(dst), dst.is_ipv4());
        self.entries.iter().filter(move |entry| {
            entry.route.to.address().is_ipv4() == is_ipv4 && number & entry.mask == entry.network
        })
    }

    /// Every route.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// When the first lifetime ends.
    pub(crate) fn next_expiry(&self) -> Instant {
        let ends = self.entries.iter().map(|entry| entry.expires);
        ends.min().unwrap_or(Instant::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::InterfaceId;

    fn route(to: &str, via: Option<&str>, metric: u32) -> RouteConfig {
        RouteConfig {
            to: to.parse().unwrap(),
            via: via.map(|via| via.parse().unwrap()),
            interface: InterfaceId(0),
            metric,
        }
    }

    fn best(table: &Table, dst: &str) -> Option<String> {
        let entry = table.lookup(dst.parse().unwrap()).next()?;
        Some(
            entry
                .route
                .via
                .map_or("link".to_owned(), |via| via.to_string()),
        )
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut table = Table::default();
        for (to, via, metric) in [
            ("0.0.0.0/0", Some("10.0.0.1"), 5),
            ("0.0.0.0/0", Some("10.0.0.2"), 1),
            ("10.0.0.0/8", None, 9),
            ("10.1.0.0/16", Some("10.0.0.3"), 100),
            ("10.1.2.3/32", Some("10.0.0.4"), 100),
            ("::/0", Some("fe80::1"), 0),
        ] {
            assert!(table.add(route(to, via, metric), Origin::Static, Instant::MAX));
        }
        assert_eq!(best(&table, "192.0.2.1").as_deref(), Some("10.0.0.2"));
        assert_eq!(best(&table, "10.2.0.1").as_deref(), Some("link"));
        assert_eq!(best(&table, "10.1.9.9").as_deref(), Some("10.0.0.3"));
        assert_eq!(best(&table, "10.1.2.3").as_deref(), Some("10.0.0.4"));
        assert_eq!(best(&table, "2001:db8::1").as_deref(), Some("fe80::1"));
        assert!(table.remove_if(|entry| entry.route.metric == 1));
        assert_eq!(best(&table, "192.0.2.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(table.lookup("::1".parse().unwrap()).count(), 1);
    }

    // C4
    #[test]
    fn routes_are_bounded_and_not_doubled() {
        let mut table = Table::default();
        for n in 0..MAX_ROUTES as u32 {
            let to = format!("{}/32", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
            for _ in 0..2 {
                assert!(table.add(route(&to, None, 0), Origin::Static, Instant::MAX));
            }
        }
        assert!(!table.add(route("11.0.0.0/8", None, 0), Origin::Static, Instant::MAX));
        assert_eq!(table.iter().count(), MAX_ROUTES);
    }
}
