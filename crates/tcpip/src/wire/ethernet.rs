//! Ethernet II frames.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::Malformed;

/// Bytes of the header.
pub const HEADER_LEN: usize = 14;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// A 48-bit hardware address.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// No address: the target of an ARP request.
    pub const ZERO: Mac = Mac([0; 6]);

    /// True for group addresses, broadcast among them.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// True for the address of every station.
    #[inline]
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Mac::BROADCAST
    }

    /// True for an address that one station may have.
    #[inline]
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Mac::ZERO
    }

    /// The group address that IPv4 multicast to `group` goes to (RFC 1112 6.4).
    #[must_use]
    pub const fn for_v4_multicast(group: Ipv4Addr) -> Mac {
        let octets = group.octets();
        Mac([0x01, 0x00, 0x5e, octets[1] & 0x7f, octets[2], octets[3]])
    }

    /// The group address that IPv6 multicast to `group` goes to (RFC 2464 7).
    #[must_use]
    pub const fn for_v6_multicast(group: Ipv6Addr) -> Mac {
        let octets = group.octets();
        Mac([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
    }

    /// The modified EUI-64 interface identifier made of this address (RFC 4291 A).
    #[must_use]
    pub const fn interface_identifier(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ethernet II header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// What the frame carries.
    pub ether_type: u16,
}

impl Header {
    /// Appends the header.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (self.dst.0, self.src.0);
        let [m, n] = self.ether_type.to_be_bytes();
        out.extend_from_slice(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n]);
    }
}

/// The header of a frame and what it carries, a link's padding among it. Frames with a length instead
/// of a type (IEEE 802.3) come with an `ether_type` below 0x0600, which means nothing here.
///
/// # Errors
///
/// [`Malformed`] for less than 14 bytes.
#[inline]
pub fn parse(frame: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let (h, payload) = frame
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(Malformed::Truncated("Ethernet"))?;
    let header = Header {
        dst: Mac([h[0], h[1], h[2], h[3], h[4], h[5]]),
        src: Mac([h[6], h[7], h[8], h[9], h[10], h[11]]),
        ether_type: u16::from_be_bytes([h[12], h[13]]),
    };
    Ok((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn group_addresses_follow_from_ip_groups() {
        // RFC 1112 6.4: the low 23 bits; RFC 2464 7: the low 32 bits.
        assert_eq!(
            Mac::for_v4_multicast(Ipv4Addr::new(239, 255, 1, 2)).to_string(),
            "01:00:5e:7f:01:02"
        );
        assert_eq!(
            Mac::for_v6_multicast("ff02::1:ff12:3456".parse().unwrap()).to_string(),
            "33:33:ff:12:34:56"
        );
        assert!(Mac::BROADCAST.is_multicast() && Mac::BROADCAST.is_broadcast());
        assert!(Mac([2, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!Mac::ZERO.is_unicast());
    }

    #[test]
    fn the_interface_identifier_turns_the_universal_bit() {
        // RFC 4291 A: 34-56-78-9A-BC-DE gives 36-56-78-FF-FE-9A-BC-DE.
        let mac = Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        let identifier = [0x36, 0x56, 0x78, 0xff, 0xfe, 0x9a, 0xbc, 0xde];
        assert_eq!(mac.interface_identifier(), identifier);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(dst: [u8; 6], src: [u8; 6], ether_type: u16, payload: Vec<u8>) {
            let header = Header { dst: Mac(dst), src: Mac(src), ether_type };
            let mut frame = Vec::new();
            header.write(&mut frame);
            for short in 0..frame.len() {
                prop_assert!(parse(frame.get(..short).unwrap()).is_err());
            }
            frame.extend_from_slice(&payload);
            prop_assert_eq!(parse(&frame), Ok((header, payload.as_slice())));
        }
    }
}
