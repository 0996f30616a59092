//! The IPv6 header (RFC 8200 3) and its extension headers (4).

mod extension;
#[cfg(test)]
mod tests;

use core::net::Ipv6Addr;

use super::Malformed;

pub use extension::{
    Extension, Extensions, FRAGMENT_LEN, Fragment, HeaderOption, OptionAction, Options, Rejected,
    Routing, Upper, extensions, extensions_of, upper, write_fragment,
};

/// Bytes of the header.
pub const HEADER_LEN: usize = 40;

const NAME: &str = "IPv6";

/// An IPv6 header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows: an extension header or an upper layer ([`super::protocol`]).
    pub next_header: u8,
    /// In hops.
    pub hop_limit: u8,
    /// Differentiated services (RFC 2474) above, ECN (RFC 3168) in the lowest two bits.
    pub traffic_class: u8,
    /// 20 bits (RFC 6437); 0 is none.
    pub flow_label: u32,
    /// Bytes behind the header. Writing computes it.
    pub payload_len: u16,
}

impl Header {
    /// Appends the header in front of `payload_len` bytes (extension headers among them). A length
    /// that does not fit into 16 bits is written as 65,535; callers stay below.
    #[inline]
    pub fn write(&self, payload_len: usize, out: &mut Vec<u8>) {
        let first =
            0x6000_0000 | (u32::from(self.traffic_class) << 20) | (self.flow_label & 0xf_ffff);
        let len = u16::try_from(payload_len).unwrap_or(u16::MAX).to_be_bytes();
        let [a, b, c, d] = first.to_be_bytes();
        let begin = [a, b, c, d, len[0], len[1], self.next_header, self.hop_limit];
        let mut header = [0; HEADER_LEN];
        if let Some((fixed, ends)) = header.split_first_chunk_mut()
            && let Some((src, dst)) = ends.split_first_chunk_mut()
        {
            *fixed = begin;
            *src = self.src.octets();
            dst.copy_from_slice(&self.dst.octets());
        }
        out.extend_from_slice(&header);
    }
}

/// The header and the bytes behind it: as many as Payload Length says, without what a link padded the
/// packet with. Jumbograms (RFC 2675) are not known.
///
/// # Errors
///
/// [`Malformed`] when the version is not 6 or the packet is shorter than it says.
#[inline]
pub fn parse(packet: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let (header, rest) = parse_lenient(packet)?;
    let payload = rest
        .get(..usize::from(header.payload_len))
        .ok_or(Malformed::Truncated(NAME))?;
    Ok((header, payload))
}

/// The header and everything behind it, whatever Payload Length says: for packets quoted in an ICMP
/// error, which are cut, and for super-segments, which are longer than they say.
///
/// # Errors
///
/// [`Malformed`] when the version is not 6 or the header is cut short.
#[inline]
pub fn parse_lenient(packet: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let (fixed, rest) = packet
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(Malformed::Truncated(NAME))?;
    let first = u32::from_be_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]);
    if first >> 28 != 6 {
        return Err(Malformed::field(NAME, "Version"));
    }
    let header = Header {
        src: address::<8>(fixed),
        dst: address::<24>(fixed),
        next_header: fixed[6],
        hop_limit: fixed[7],
        traffic_class: ((first >> 20) & 0xff) as u8,
        flow_label: first & 0xf_ffff,
        payload_len: u16::from_be_bytes([fixed[4], fixed[5]]),
    };
    Ok((header, rest))
}

/// The address `AT` bytes into a header.
#[inline]
fn address<const AT: usize>(header: &[u8; HEADER_LEN]) -> Ipv6Addr {
    let bytes: Option<&[u8; 16]> = header.get(AT..).and_then(<[u8]>::first_chunk);
    Ipv6Addr::from(bytes.copied().unwrap_or_default())
}
