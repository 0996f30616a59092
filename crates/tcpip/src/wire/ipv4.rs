//! The IPv4 header (RFC 791 3.1).

use core::net::Ipv4Addr;

use super::{Malformed, checksum};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

const NAME: &str = "IPv4";
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

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
    pub fn write(&self, payload_len: usize, out: &mut Vec<u8>) {
        let total = u16::try_from(payload_len.saturating_add(HEADER_LEN)).unwrap_or(u16::MAX);
        let mut fragment = (self.fragment_offset >> 3) & OFFSET;
        if self.dont_fragment {
            fragment |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= MORE_FRAGMENTS;
        }
        let (total, id, fragment) = (
            total.to_be_bytes(),
            self.id.to_be_bytes(),
            fragment.to_be_bytes(),
        );
        let (src, dst) = (self.src.octets(), self.dst.octets());
        let mut header = [
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
            0,
            0,
            src[0],
            src[1],
            src[2],
            src[3],
            dst[0],
            dst[1],
            dst[2],
            dst[3],
        ];
        let sum = checksum::sum(&header).finish().to_be_bytes();
        header[10] = sum[0];
        header[11] = sum[1];
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
    let fixed: &[u8; HEADER_LEN] = packet.first_chunk().ok_or(Malformed::Truncated(NAME))?;
    if fixed[0] >> 4 != 4 {
        return Err(Malformed::field(NAME, "Version"));
    }
    let header_len = usize::from(fixed[0] & 0x0f) << 2;
    if header_len < HEADER_LEN {
        return Err(Malformed::field(NAME, "IHL"));
    }
    let total_len = u16::from_be_bytes([fixed[2], fixed[3]]);
    let packet = packet
        .get(..usize::from(total_len))
        .ok_or(Malformed::Truncated(NAME))?;
    let (header, payload) = packet
        .split_at_checked(header_len)
        .ok_or(Malformed::field(NAME, "Total Length"))?;
    if !checksum::sum(header).is_valid() {
        return Err(Malformed::Checksum(NAME));
    }
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
