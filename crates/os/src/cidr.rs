//! Blocks of IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses: an address and how many of its leading bits are the network's. The rest of the
/// address is kept, so that it also says "this address in this network" (`10.7.0.2/24`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address as it was given.
    pub address: IpAddr,
    /// Leading bits of the network: at most 32 or 128.
    pub bits: u8,
}

impl Cidr {
    /// `None` when `bits` is more than the address has.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Cidr> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Cidr { address, bits })
    }

    /// The address alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Cidr {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Cidr { address, bits }
    }

    /// The block with all bits behind the network's set to zero.
    #[must_use]
    pub fn network(&self) -> Cidr {
        Cidr {
            address: masked(self.address, self.bits),
            bits: self.bits,
        }
    }

    /// Whether `other` lies in this block.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4()
            && masked(other, self.bits) == self.network().address
    }

    /// Whether this is all addresses of its family (`0.0.0.0/0`, `::/0`).
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.bits == 0
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32u32.saturating_sub(bits.into()))
                .unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128u32.saturating_sub(bits.into()))
                .unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let wrong =
            || format!("`{text}` is no block of addresses: write 10.7.0.2/24 or fd00::2/64");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        match bits {
            None => Ok(Cidr::host(address)),
            Some(bits) => {
                let bits = bits.parse().map_err(|_| wrong())?;
                Cidr::new(address, bits).ok_or_else(wrong)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_address_and_know_their_network() {
        let block: Cidr = "10.7.3.2/16".parse().unwrap();
        assert_eq!(block.to_string(), "10.7.3.2/16");
        assert_eq!(block.network().to_string(), "10.7.0.0/16");
        assert!(block.contains("10.7.255.255".parse().unwrap()));
        assert!(!block.contains("10.8.0.0".parse().unwrap()));
        assert!(!block.contains("::1".parse().unwrap()));
        let all: Cidr = "::/0".parse().unwrap();
        assert!(all.is_everything() && all.contains("2001:db8::1".parse().unwrap()));
        let one: Cidr = "fd00::2".parse().unwrap();
        assert_eq!(
            (one.bits, one.contains("fd00::3".parse().unwrap())),
            (128, false)
        );
    }

    #[test]
    fn what_is_no_block_is_named() {
        for text in [
            "10.7.0.2/33",
            "::/129",
            "10.7/8",
            "x",
            "10.0.0.1/",
            "10.0.0.1/-1",
        ] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
