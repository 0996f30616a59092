//! Addresses with the length of their network's prefix.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and how many of its leading bits name the network: `10.7.0.2/24`, `fd00::1/64`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A text or a number of bits that makes no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// More bits than the address has.
    #[error("a prefix of {prefix} bits is longer than the address {address}")]
    PrefixTooLong {
        /// The address.
        address: IpAddr,
        /// The prefix in bits.
        prefix: u8,
    },
    /// Not of the form `10.7.0.2/24` or `fd00::1/64`.
    #[error("{0:?} is not an address with a prefix, like 10.7.0.2/24")]
    Malformed(String),
}

impl Cidr {
    /// `address` in a network of `prefix` bits.
    ///
    /// # Errors
    /// [`CidrError::PrefixTooLong`] for more than 32 (IPv4) or 128 (IPv6) bits.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Cidr, CidrError> {
        if prefix > width(address) {
            return Err(CidrError::PrefixTooLong { address, prefix });
        }
        Ok(Cidr { address, prefix })
    }

    /// The address alone, as a network of one.
    #[must_use]
    pub fn host(address: IpAddr) -> Cidr {
        Cidr {
            address,
            prefix: width(address),
        }
    }

    /// Every address of IPv4.
    pub const ANY_V4: Cidr = Cidr {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        prefix: 0,
    };

    /// Every address of IPv6.
    pub const ANY_V6: Cidr = Cidr {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        prefix: 0,
    };

    /// The address, all bits of it.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of the network's prefix.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The same network with the bits behind the prefix 0.
    #[must_use]
    pub fn network(&self) -> Cidr {
        let mask = mask(self.prefix, width(self.address));
        Cidr {
            address: from_bits(bits(self.address) & mask, self.address.is_ipv4()),
            prefix: self.prefix,
        }
    }

    /// True when `address` lies in the network.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && common_prefix(self.address, address) >= self.prefix
    }

    /// The IPv4 network's directed broadcast address; `None` for IPv6 and for networks of one or two
    /// addresses, which have none (RFC 3021).
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.prefix < 31 => {
                let host = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Some(Ipv4Addr::from_bits(address.to_bits() | host))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let malformed = || CidrError::Malformed(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let prefix: u8 = prefix.parse().map_err(|_| malformed())?;
        Cidr::new(address, prefix)
    }
}

/// How many leading bits two addresses have in common; 0 when they are of different versions.
#[must_use]
pub(crate) fn common_prefix(a: IpAddr, b: IpAddr) -> u8 {
    let zeros = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    };
    u8::try_from(zeros).unwrap_or(128)
}

/// Bits of an address.
pub(crate) const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address as a number, the first bit topmost of its width.
pub(crate) const fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits() as u128,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The inverse of [`bits`].
pub(crate) const fn from_bits(bits: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    }
}

/// The mask of the leading `prefix` bits of a number of `width` bits.
pub(crate) fn mask(prefix: u8, width: u8) -> u128 {
    let host = u32::from(width.saturating_sub(prefix));
    u128::MAX.checked_shl(host).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let net: Cidr = "10.7.0.2/24".parse().unwrap();
        assert!(net.contains("10.7.0.255".parse().unwrap()));
        assert!(!net.contains("10.7.1.0".parse().unwrap()));
        assert!(!net.contains("::a07:2".parse().unwrap()));
        assert_eq!(net.network().to_string(), "10.7.0.0/24");
        assert_eq!(net.broadcast(), Some("10.7.0.255".parse().unwrap()));
        let six: Cidr = "fd00::1/64".parse().unwrap();
        assert!(six.contains("fd00::ffff:1".parse().unwrap()));
        assert!(!six.contains("fd00:0:0:1::1".parse().unwrap()));
        assert_eq!(six.network().to_string(), "fd00::/64");
        assert!(Cidr::ANY_V4.contains("255.255.255.255".parse().unwrap()));
        assert!(Cidr::ANY_V6.contains("::".parse().unwrap()));
        assert_eq!("10.0.0.1/31".parse::<Cidr>().unwrap().broadcast(), None);
    }

    #[test]
    fn what_is_no_network_is_told_apart() {
        let long = "10.0.0.1/33".parse::<Cidr>().unwrap_err();
        assert!(long.to_string().contains("33 bits is longer"));
        for text in ["10.0.0.1", "10.0.0/8", "x/8", "::1/x", "::1/129"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
