//! Which of our addresses a packet comes from (RFC 6724 section 5, RFC 1122 section 3.3.4.3).

use std::net::{IpAddr, Ipv6Addr};

use crate::ip::cidr::common_prefix;
use crate::ip::interface::{Address, AddressState, Interface};

/// The best source for `dst` among the addresses of the interface that it leaves by, then among all
/// others: an address of another interface is better than none.
pub(crate) fn select(
    interfaces: &[Interface],
    out: usize,
    next_hop: IpAddr,
    dst: IpAddr,
) -> Option<IpAddr> {
    let candidates = |interface: &Interface| {
        let addresses = interface.addresses.iter().copied();
        let fitting = addresses
            .filter(move |address| address.is_ready() && address.ip().is_ipv4() == dst.is_ipv4());
        fitting.collect::<Vec<Address>>()
    };
    let here = interfaces.get(out).map(candidates).unwrap_or_default();
    // Rule 5: an address of the interface that the packet leaves by. Link-local ones of others mean
    // nothing on that link.
    let best = best(&here, next_hop, dst);
    if best.is_some_and(|best| scope(best) >= scope(dst) || is_link_local(dst))
        || dst.is_ipv4() && best.is_some()
    {
        return best;
    }
    let others: Vec<Address> = interfaces
        .iter()
        .flat_map(candidates)
        .filter(|address| !is_link_local(address.ip()))
        .collect();
    self::best(&others, next_hop, dst).or(best)
}

fn best(candidates: &[Address], next_hop: IpAddr, dst: IpAddr) -> Option<IpAddr> {
    let mut best: Option<&Address> = None;
    for candidate in candidates {
        if best.is_none_or(|best| rank(candidate, next_hop, dst) > rank(best, next_hop, dst)) {
            best = Some(candidate);
        }
    }
    best.map(Address::ip)
}

/// The rules in their order, each better the greater.
fn rank(address: &Address, next_hop: IpAddr, dst: IpAddr) -> (bool, (bool, i16), bool, bool, u8) {
    let ip = address.ip();
    match (ip, dst) {
        (IpAddr::V6(own), IpAddr::V6(to)) => {
            let (own_scope, to_scope) = (scope(ip), scope(dst));
            // Rule 2: the smallest scope that reaches; if none does, the largest.
            let by_scope = if own_scope >= to_scope {
                (true, i16::from(own_scope).saturating_neg())
            } else {
                (false, i16::from(own_scope))
            };
            (
                ip == dst,
                by_scope,
                address.state == AddressState::Preferred,
                label(own) == label(to),
                // Rule 8 counts only the bits of the source's prefix.
                common_prefix(ip, dst).min(address.cidr.prefix()),
            )
        }
        _ => (
            ip == dst,
            (true, 0),
            address.state == AddressState::Preferred,
            address.cidr.contains(next_hop),
            common_prefix(ip, dst),
        ),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// RFC 6724 section 3.1: 2 link-local, 5 site-local, 14 global; a group's own field.
fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V6(ip) if ip.is_multicast() => ip.octets()[1] & 0x0f,
        IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_loopback() => 2,
        IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}

/// RFC 6724 section 2.1, the default policy table.
fn label(address: Ipv6Addr) -> u8 {
    match address.segments() {
        _ if address.is_loopback() => 0,
        [0, 0, 0, 0, 0, 0xffff, ..] => 4,
        [0x2002, ..] => 2,
        [0x2001, 0, ..] => 5,
        [first, ..] if first & 0xfe00 == 0xfc00 => 13,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        [first, ..] if first & 0xffc0 == 0xfec0 => 11,
        [0x3ffe, ..] => 12,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Capabilities, Medium};
    use crate::ip::config::InterfaceConfig;

    fn interface(addresses: &[&str]) -> Interface {
        let capabilities = Capabilities::plain(Medium::Ethernet, 1500);
        let mut interface = Interface::new(&InterfaceConfig::new("a", capabilities));
        let parsed = addresses
            .iter()
            .map(|text| Address::manual(text.parse().unwrap()));
        interface.addresses.extend(parsed);
        interface
    }

    fn source(interfaces: &[Interface], next_hop: &str, dst: &str) -> String {
        let (next_hop, dst) = (next_hop.parse().unwrap(), dst.parse().unwrap());
        select(interfaces, 0, next_hop, dst).map_or("none".to_owned(), |ip| ip.to_string())
    }

    // RFC 6724 section 10.1 has these cases.
    #[test]
    fn scope_then_state_then_label_then_prefix() {
        let mut own = [interface(&[
            "fe80::1/64",
            "2001:db8:1::1/64",
            "fd00::1/64",
            "2001:db8:2::1/64",
        ])];
        assert_eq!(source(&own, "fe80::9", "2001:db8:3::9"), "2001:db8:2::1");
        assert_eq!(source(&own, "fe80::9", "2001:db8:1::9"), "2001:db8:1::1");
        assert_eq!(source(&own, "fe80::9", "fe80::9"), "fe80::1");
        assert_eq!(source(&own, "fe80::9", "ff02::1"), "fe80::1");
        assert_eq!(source(&own, "fe80::9", "ff05::1"), "2001:db8:1::1");
        assert_eq!(source(&own, "fe80::9", "fd00:1::9"), "fd00::1");
        assert_eq!(source(&own, "fe80::9", "2001:db8:2::1"), "2001:db8:2::1");
        own[0].addresses[3].state = AddressState::Deprecated;
        assert_eq!(source(&own, "fe80::9", "2001:db8:2::9"), "2001:db8:1::1");
        own[0].addresses[3].state = AddressState::Tentative;
        assert_eq!(source(&own, "fe80::9", "2001:db8:2::9"), "2001:db8:1::1");
    }

    #[test]
    fn the_address_of_the_next_hops_network_for_ipv4() {
        let own = [
            interface(&["10.0.0.1/24", "192.168.0.1/24"]),
            interface(&["172.16.0.1/12"]),
        ];
        assert_eq!(source(&own, "192.168.0.9", "8.8.8.8"), "192.168.0.1");
        assert_eq!(source(&own, "10.0.0.9", "8.8.8.8"), "10.0.0.1");
        assert_eq!(source(&own, "10.0.0.9", "172.16.0.9"), "10.0.0.1");
        let none = [interface(&[]), interface(&["172.16.0.1/12"])];
        assert_eq!(source(&none, "10.0.0.9", "8.8.8.8"), "172.16.0.1");
        assert_eq!(source(&none, "fe80::9", "2001:db8::1"), "none");
    }
}
