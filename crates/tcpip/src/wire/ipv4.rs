//! The IPv4 header (RFC 791 3.1).

use core::net::Ipv4Addr;

use super::{Malformed, checksum};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

const NAME: &str = "IPv4";
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// What is set of flags and offset in some way in every fragment, and in nothing else.
pub(crate) const ANY_FRAGMENT: u16 = MORE_FRAGMENTS | OFFSET;
/// The first byte of a header without options.
pub(crate) const PLAIN: u8 = 0x45;

/// An IPv4 header without its options.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What the payload is ([`super::protocol`]).
    pub protocol: u8,
    /// Time to live, in hops.
    pub ttl: u8,
    /// The whole second byte: differentiated services (RFC 2474) above, ECN (RFC 3168) in the lowest
    /// two bits.
    pub dscp_ecn: u8,
    /// Identification: which datagram a fragment belongs to (RFC 6864).
    pub id: u16,
    /// DF.
    pub dont_fragment: bool,
    /// MF: this is a fragment, and not the last.
    pub more_fragments: bool,
    /// Where the payload lies in the datagram, in bytes; a multiple of 8.
    pub fragment_offset: u16,
    /// Bytes of the packet with header and options. Writing computes it.
    pub total_len: u16,
}

/// A packet taken apart.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The header.
    pub header: Header,
    /// The bytes of its options, often none.
    pub options: &'a [u8],
    /// What it carries: up to Total Length, without what a link padded it with.
    pub payload: &'a [u8],
}

impl Header {
    /// True when the packet is a part of a datagram only.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Appends the header in front of `payload_len` bytes of payload, without options, its checksum
    /// made. A length that does not fit into 16 bits is written as 65,535; callers stay below.
    #[inline]
    #[allow(
        clippy::arithmetic_side_effects,
        reason = "eleven words of 16 bits do not overflow 32"
    )]
    pub fn write(&self, payload_len: usize, out: &mut Vec<u8>) {
        let total = u16::try_from(payload_len.saturating_add(HEADER_LEN)).unwrap_or(u16::MAX);
        let mut fragment = (self.fragment_offset >> 3) & OFFSET;
        if self.dont_fragment {
            fragment |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= MORE_FRAGMENTS;
        }
        // The sum of the ten words, from the fields: they are in registers here, and cannot overflow 32 bits.
        let words = [
            0x4500 | u32::from(self.dscp_ecn),
            u32::from(total),
            u32::from(self.id),
            u32::from(fragment),
            u32::from(self.ttl) << 8 | u32::from(self.protocol),
            self.src.to_bits() >> 16,
            self.src.to_bits() & 0xffff,
            self.dst.to_bits() >> 16,
            self.dst.to_bits() & 0xffff,
        ];
        let sum = words
            .iter()
            .fold(0_u32, |sum, word| sum.wrapping_add(*word));
        let sum = (sum >> 16).wrapping_add(sum & 0xffff);
        let sum = !(sum >> 16).wrapping_add(sum) as u16;
        let (total, id, fragment, sum) = (
            total.to_be_bytes(),
            self.id.to_be_bytes(),
            fragment.to_be_bytes(),
            sum.to_be_bytes(),
        );
        let (src, dst) = (self.src.octets(), self.dst.octets());
        let header = [
            0x45,
            self.dscp_ecn,
            total[0],
            total[1],
            id[0],
            id[1],
            fragment[0],
            fragment[1],
            self.ttl,
            self.protocol,
            sum[0],
            sum[1],
            src[0],
            src[1],
            src[2],
            src[3],
            dst[0],
            dst[1],
            dst[2],
            dst[3],
        ];
        out.extend_from_slice(&header);
    }
}

/// Takes a packet apart: version, header length, total length and checksum are verified (T137).
///
/// # Errors
///
/// [`Malformed`] with the field; such a packet is dropped silently (RFC 1122 3.2.1).
#[inline]
pub fn parse(packet: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let parsed = parse_lenient(packet)?;
    let header_len = HEADER_LEN.saturating_add(parsed.options.len());
    let Some(len) = usize::from(parsed.header.total_len).checked_sub(header_len) else {
        return Err(Malformed::field(NAME, "Total Length"));
    };
    let payload = parsed
        .payload
        .get(..len)
        .ok_or(Malformed::Truncated(NAME))?;
    let header = packet.get(..header_len).unwrap_or_default();
    if !checksum::sum(header).is_valid() {
        return Err(Malformed::Checksum(NAME));
    }
    Ok(Parsed { payload, ..parsed })
}

/// Takes apart a packet whose Total Length and checksum are not looked at, with everything behind the
/// header as its payload: for packets quoted in an ICMP error, which are cut, and changed on their
/// way, and for super-segments.
///
/// # Errors
///
/// [`Malformed`] for a wrong version, or a header cut short.
#[inline]
pub fn parse_lenient(packet: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let fixed: &[u8; HEADER_LEN] = packet.first_chunk().ok_or(Malformed::Truncated(NAME))?;
    if fixed[0] >> 4 != 4 {
        return Err(Malformed::field(NAME, "Version"));
    }
    let header_len = usize::from(fixed[0] & 0x0f) << 2;
    if header_len < HEADER_LEN {
        return Err(Malformed::field(NAME, "IHL"));
    }
    let total_len = u16::from_be_bytes([fixed[2], fixed[3]]);
    let (header, payload) = packet
        .split_at_checked(header_len)
        .ok_or(Malformed::Truncated(NAME))?;
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    Ok(Parsed {
        header: Header {
            src: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            dst: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            protocol: fixed[9],
            ttl: fixed[8],
            dscp_ecn: fixed[1],
            id: u16::from_be_bytes([fixed[4], fixed[5]]),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: (fragment & OFFSET) << 3,
            total_len,
        },
        options: header.get(HEADER_LEN..).unwrap_or_default(),
        payload,
    })
}

/// An option of the IPv4 header (RFC 791 3.1).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// The whole type byte: copied flag, class and number.
    pub kind: u8,
    /// What stands behind type and length.
    pub data: &'a [u8],
}

impl Ipv4Option<'_> {
    /// Loose source routing.
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source routing.
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;
}

/// The options of a header, one by one. No-operation is passed over; the list ends at End of Option
/// List, and at the first option whose length cannot be.
#[derive(Copy, Clone, Debug)]
pub struct Options<'a>(&'a [u8]);

/// Walks the options of a [`Parsed`] packet.
#[must_use]
pub const fn options(bytes: &[u8]) -> Options<'_> {
    Options(bytes)
}

impl<'a> Iterator for Options<'a> {
    type Item = Ipv4Option<'a>;

    fn next(&mut self) -> Option<Ipv4Option<'a>> {
        loop {
            let (&kind, rest) = self.0.split_first()?;
            match kind {
                0 => self.0 = &[],
                1 => self.0 = rest,
                _ => {
                    let (&len, _) = rest.split_first()?;
                    let Some((option, behind)) = self.0.split_at_checked(usize::from(len)) else {
                        self.0 = &[];
                        return None;
                    };
                    let Some(data) = option.get(2..) else {
                        self.0 = &[];
                        return None;
                    };
                    self.0 = behind;
                    return Some(Ipv4Option { kind, data });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(198, 51, 100, 7),
            protocol: 6,
            ttl: 64,
            dscp_ecn: 2,
            id: 0x1234,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            total_len: 24,
        }
    }

    fn packet() -> Vec<u8> {
        let mut out = Vec::new();
        header().write(4, &mut out);
        out.extend_from_slice(b"data");
        out
    }

    /// Puts the right checksum into a packet whose header was changed.
    fn mend(packet: &mut [u8]) {
        let len = (usize::from(packet[0] & 15) * 4).clamp(HEADER_LEN, packet.len());
        packet[10..12].fill(0);
        let sum = checksum::sum(&packet[..len]).finish().to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
    }

    #[test]
    fn the_header_stands_as_rfc_791_has_it() {
        // T137: the checksum is made.
        let packet = packet();
        assert_eq!(packet[..10], [0x45, 2, 0, 24, 0x12, 0x34, 0x40, 0, 64, 6]);
        assert_eq!(packet[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert!(checksum::sum(&packet[..20]).is_valid());
        let parsed = parse(&packet).unwrap();
        assert_eq!(parsed.header, header());
        assert_eq!((parsed.options, parsed.payload), (&[][..], &b"data"[..]));
    }

    #[test]
    fn a_wrong_version_header_length_or_total_length_is_dropped() {
        // T137, RFC 1122 3.2.1.1
        let refused = |at: usize, value: u8| {
            let mut packet = packet();
            packet[at] = value;
            mend(&mut packet);
            parse(&packet).unwrap_err()
        };
        assert_eq!(refused(0, 0x65), Malformed::field(NAME, "Version"));
        for ihl in 0..5 {
            assert_eq!(refused(0, 0x40 | ihl), Malformed::field(NAME, "IHL"));
        }
        assert_eq!(refused(0, 0x47), Malformed::Truncated(NAME));
        assert_eq!(refused(3, 19), Malformed::field(NAME, "Total Length"));
        assert_eq!(refused(3, 25), Malformed::Truncated(NAME));
    }

    #[test]
    fn a_changed_header_bit_is_found() {
        // T137
        for bit in 0..HEADER_LEN * 8 {
            let mut packet = packet();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&packet).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn padding_of_the_link_is_no_payload() {
        let mut padded = packet();
        padded.resize(46, 0xee);
        assert_eq!(parse(&padded).unwrap().payload, b"data");
    }

    #[test]
    fn options_are_walked_within_their_bounds() {
        // RFC 791 3.1: end, no-operation, type-length-value.
        let kinds = |bytes: &[u8]| options(bytes).map(|option| option.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&[1, 148, 4, 0, 0, 131, 3, 4, 0, 148]), [148, 131]);
        assert_eq!(kinds(&[148, 0, 1, 1]), [0_u8; 0]);
        assert_eq!(kinds(&[148, 1, 1, 1]), [0_u8; 0]);
        assert_eq!(kinds(&[148, 5, 1, 1]), [0_u8; 0]);
        assert_eq!(kinds(&[7]), [0_u8; 0]);
        let route: Vec<_> = options(&[131, 7, 4, 192, 0, 2, 1]).collect();
        let kind = Ipv4Option::LOOSE_SOURCE_ROUTE;
        assert_eq!(
            route,
            [Ipv4Option {
                kind,
                data: &[4, 192, 0, 2, 1]
            }]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            src: u32, dst: u32, protocol: u8, ttl: u8, dscp_ecn: u8, id: u16, flags: (bool, bool),
            place in 0_u16..8192, payload in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let header = Header {
                src: src.into(),
                dst: dst.into(),
                protocol,
                ttl,
                dscp_ecn,
                id,
                dont_fragment: flags.0,
                more_fragments: flags.1,
                fragment_offset: place << 3,
                total_len: (HEADER_LEN + payload.len()) as u16,
            };
            let mut packet = Vec::new();
            header.write(payload.len(), &mut packet);
            packet.extend_from_slice(&payload);
            let parsed = parse(&packet).unwrap();
            prop_assert_eq!(parsed.header, header);
            prop_assert_eq!(parsed.payload, payload.as_slice());
            prop_assert_eq!(header.is_fragment(), flags.1 || place != 0);
        }

        #[test]
        fn hostile_headers_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), ihl in 0x40_u8..0x50) {
            let _ = parse(&bytes);
            let mut bytes = bytes;
            if bytes.len() >= 60 {
                bytes[0] = ihl;
                bytes[2] = 0;
                mend(&mut bytes);
                if let Ok(parsed) = parse(&bytes) {
                    let header = HEADER_LEN + parsed.options.len();
                    prop_assert_eq!(header + parsed.payload.len(), usize::from(parsed.header.total_len));
                    prop_assert!(options(parsed.options).count() <= 20);
                }
            }
        }
    }
}
