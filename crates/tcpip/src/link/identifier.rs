//! Interface identifiers that say nothing of the Ethernet address (RFC 7217): the same for as long as a
//! host is on one network, another on each.

use std::net::Ipv6Addr;

use crate::link::Mac;
use crate::stack::secret::Secret;

/// RFC 7217 section 7: how often another identifier is tried where one is taken.
pub(crate) const IDGEN_RETRIES: u8 = 3;

/// What an interface's identifiers are made of, known to nobody else (RFC 7217 section 5). Kept by the
/// application: with the same secret a host has the same addresses after a restart.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentifierSecret([u8; 16]);

impl IdentifierSecret {
    /// 128 random bits.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> IdentifierSecret {
        IdentifierSecret(bytes)
    }

    /// The identifier of an interface with the Ethernet address `hardware` in a prefix of 64 bits.
    /// `taken`: how many before it were found to be somebody else's.
    pub(crate) fn identifier(&self, prefix: Ipv6Addr, hardware: Mac, taken: u8) -> [u8; 8] {
        let key = u128::from_le_bytes(self.0);
        let secret = Secret::from_key([key as u64, (key >> 64) as u64]);
        let network = (prefix.to_bits() >> 64) as u64;
        let [a, b, c, d, e, f] = hardware.0;
        let interface = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let made = (0..4).map(|again| secret.hash(&[network, interface, u64::from(taken), again]));
        // Four in a row that are reserved: less likely than anything else that can go wrong.
        let mut fit = made.filter(|identifier| !is_reserved(*identifier));
        fit.next().unwrap_or(1).to_be_bytes()
    }
}

// A secret does not belong into a log.
impl core::fmt::Debug for IdentifierSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("IdentifierSecret(..)")
    }
}

/// RFC 5453, RFC 2526: identifiers that stand for routers, groups of servers and the like.
const fn is_reserved(identifier: u64) -> bool {
    matches!(
        identifier,
        0 | 0x0200_5eff_fe00_0000..=0x0200_5eff_feff_ffff
            | 0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // T146: RFC 7217 section 5: another for each of what it is made of, and the same each time.
    #[test]
    fn identifiers_are_stable_and_tell_nothing() {
        let secret = IdentifierSecret::new([7; 16]);
        let (here, there): (Ipv6Addr, Ipv6Addr) = (
            "2001:db8:a::".parse().unwrap(),
            "2001:db8:b::".parse().unwrap(),
        );
        let (one, two) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let all = [
            secret.identifier(here, one, 0),
            secret.identifier(there, one, 0),
            secret.identifier(here, two, 0),
            secret.identifier(here, one, 1),
            IdentifierSecret::new([8; 16]).identifier(here, one, 0),
        ];
        for (n, identifier) in all.iter().enumerate() {
            assert!(!all[..n].contains(identifier));
            assert_ne!(identifier[3..5], [0xff, 0xfe]);
        }
        assert_eq!(secret.identifier(here, one, 0), all[0]);
        // What stands behind the prefix makes no difference.
        let address: Ipv6Addr = "2001:db8:a::5".parse().unwrap();
        assert_eq!(secret.identifier(address, one, 0), all[0]);
        assert_eq!(format!("{secret:?}"), "IdentifierSecret(..)");
    }

    #[test]
    fn reserved_identifiers_are_passed_over() {
        for identifier in [
            0,
            0x0200_5eff_fe00_5212,
            0xfdff_ffff_ffff_ff80,
            0xfdff_ffff_ffff_ffff,
        ] {
            assert!(is_reserved(identifier));
        }
        assert!(!is_reserved(1) && !is_reserved(0xfdff_ffff_ffff_ff7f));
    }
}
