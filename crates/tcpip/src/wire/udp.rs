//! The UDP header (RFC 768).

use super::Malformed;

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
/// The checksum is the caller's to check ([`is_valid_checksum`]), who knows the pseudo-header.
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
