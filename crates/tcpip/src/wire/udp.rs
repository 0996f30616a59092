//! The UDP header (RFC 768).

use core::net::IpAddr;

use super::{Malformed, checksum, protocol};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum lies in the header, in bytes.
pub const CHECKSUM_OFFSET: u16 = 6;

const NAME: &str = "UDP";

/// A UDP header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port; 0 when no answer is wanted.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bytes of header and data. 0 in a super-segment or jumbogram that is longer than 65,535.
    pub len: u16,
    /// The checksum as it stands in the packet; 0 means that there is none (IPv4 only).
    pub checksum: u16,
}

impl Header {
    /// Appends the header as it is.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let (src, dst) = (self.src_port.to_be_bytes(), self.dst_port.to_be_bytes());
        let (len, sum) = (self.len.to_be_bytes(), self.checksum.to_be_bytes());
        out.extend_from_slice(&[
            src[0], src[1], dst[0], dst[1], len[0], len[1], sum[0], sum[1],
        ]);
    }
}

/// The header and its data: as many bytes as Length says; what lies behind is not part of it.
/// The checksum is the caller's to check ([`is_valid`]), who knows the pseudo-header.
///
/// # Errors
///
/// [`Malformed`] when Length is below 8 or beyond the bytes there are.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let fixed: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated(NAME))?;
    let len = u16::from_be_bytes([fixed[4], fixed[5]]);
    let datagram = bytes
        .get(..usize::from(len))
        .ok_or(Malformed::Truncated(NAME))?;
    let data = datagram
        .get(HEADER_LEN..)
        .ok_or(Malformed::field(NAME, "Length"))?;
    let header = Header {
        src_port: u16::from_be_bytes([fixed[0], fixed[1]]),
        dst_port: u16::from_be_bytes([fixed[2], fixed[3]]),
        len,
        checksum: u16::from_be_bytes([fixed[6], fixed[7]]),
    };
    Ok((header, data))
}

/// The value for the checksum field: a computed 0 is sent as 0xffff, its other form (T150).
#[inline]
#[must_use]
pub const fn checksum_field(computed: u16) -> u16 {
    if computed == 0 { 0xffff } else { computed }
}

/// True when a datagram (header and data as [`parse`] found them) is whole. No checksum is fine over
/// IPv4 and never over IPv6 (T150). `datagram` begins with the UDP header.
#[inline]
#[must_use]
pub fn is_valid(header: &Header, src: IpAddr, dst: IpAddr, datagram: &[u8]) -> bool {
    if header.checksum == 0 {
        return src.is_ipv4();
    }
    datagram
        .get(..usize::from(header.len))
        .is_some_and(|datagram| checksum::is_valid_transport(src, dst, protocol::UDP, datagram))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4() -> (IpAddr, IpAddr) {
        ([192, 0, 2, 1].into(), [192, 0, 2, 2].into())
    }

    fn v6() -> (IpAddr, IpAddr) {
        (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        )
    }

    fn datagram(ports: (u16, u16), data: &[u8], checksum: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let len = (HEADER_LEN + data.len()) as u16;
        Header {
            src_port: ports.0,
            dst_port: ports.1,
            len,
            checksum,
        }
        .write(&mut out);
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn no_checksum_is_taken_over_ipv4_only() {
        // T150, RFC 768, RFC 8200 8.1
        let bytes = datagram((1, 2), b"data", 0);
        let (header, _) = parse(&bytes).unwrap();
        assert!(is_valid(&header, v4().0, v4().1, &bytes));
        assert!(!is_valid(&header, v6().0, v6().1, &bytes));
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_ones() {
        // T150: data chosen so that the sum is 0xffff.
        let (src, dst) = v4();
        let bytes = datagram((1, 2), &[0, 0], 0);
        let short = checksum::transport(src, dst, protocol::UDP, &bytes);
        let mut bytes = datagram((1, 2), &short.to_be_bytes(), 0);
        assert_eq!(checksum::transport(src, dst, protocol::UDP, &bytes), 0);
        bytes[6..8].copy_from_slice(&checksum_field(0).to_be_bytes());
        assert_eq!(bytes[6..8], [0xff, 0xff]);
        let (header, _) = parse(&bytes).unwrap();
        assert!(is_valid(&header, src, dst, &bytes));
        assert_eq!(checksum_field(0x1234), 0x1234);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        // RFC 768: Length counts the header.
        for len in 0..8_u8 {
            assert_eq!(
                parse(&[0, 1, 0, 2, 0, len, 0, 0, 9, 9]),
                Err(Malformed::field(NAME, "Length"))
            );
        }
        assert_eq!(
            parse(&[0, 1, 0, 2, 0, 11, 0, 0, 9, 9]),
            Err(Malformed::Truncated(NAME))
        );
        assert_eq!(parse(&[0; 7]), Err(Malformed::Truncated(NAME)));
        // What lies behind Length is not data.
        assert_eq!(parse(&[0, 1, 0, 2, 0, 9, 0, 0, 7, 9]).unwrap().1, [7]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ports: (u16, u16), checksum: u16, data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = datagram(ports, &data, checksum);
            let (header, read) = parse(&bytes).unwrap();
            prop_assert_eq!((header.src_port, header.dst_port), ports);
            prop_assert_eq!(header.checksum, checksum);
            prop_assert_eq!(read, data.as_slice());
        }

        #[test]
        fn hostile_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok((header, data)) = parse(&bytes) {
                prop_assert_eq!(data.len() + HEADER_LEN, usize::from(header.len));
            }
        }
    }
}
