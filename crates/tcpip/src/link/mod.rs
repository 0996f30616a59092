//! Below IP: Ethernet, ARP and NDP, and the cache of neighbours.

/// An Ethernet address.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);
