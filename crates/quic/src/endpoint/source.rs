//! Where datagrams come from, as far as it can be counted: an IPv4 address, or the 64 bits of an
//! IPv6 address that a network is given, whose rest its owner chooses freely.

use std::net::IpAddr;

use super::hash::{Keyed, Table};

/// One source of datagrams.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// All of an IPv4 address.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(v4) => Source::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Source::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What one source has at the moment.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Connections that it began, and those that wait for a decision.
    pub(super) connections: usize,
    /// Those among them whose address is not validated.
    pub(super) half_open: usize,
    /// Bytes of datagrams held for it while its address is not validated.
    pub(super) held: usize,
}

/// Counts of all sources that have anything.
pub(super) struct Sources {
    counts: Table<Source, Counts>,
}

impl Sources {
    pub(super) fn new(keyed: &Keyed) -> Sources {
        Sources {
            counts: Table::new(keyed),
        }
    }

    pub(super) fn get(&self, source: Source) -> Counts {
        self.counts.get(&source).copied().unwrap_or_default()
    }

    /// Changes the counts of `source`; who has nothing left is forgotten.
    pub(super) fn change(&mut self, source: Source, change: impl FnOnce(&mut Counts)) {
        let counts = self.counts.entry(source);
        change(counts);
        if *counts == Counts::default() {
            self.counts.remove(&source);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_source_and_a_mapped_address_is_ipv4() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
