//! The TCP header (RFC 9293 3.1).

mod flags;
mod options;
mod plain;
#[cfg(test)]
mod tests;

use super::Malformed;

pub use flags::Flags;
pub use options::{FastOpen, MAX_WINDOW_SHIFT, Options, SackBlocks, Timestamps};
pub use plain::Plain;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header.
pub const MAX_HEADER_LEN: usize = 60;
/// Bytes of a header that has timestamps and no other option.
pub(crate) const STAMPED_LEN: usize = HEADER_LEN + Timestamps::LEN;
/// Where the sequence number lies in the header, in bytes.
pub const SEQUENCE_OFFSET: u16 = 4;
/// Where the checksum lies in the header, in bytes.
pub const CHECKSUM_OFFSET: u16 = 16;

const NAME: &str = "TCP";

/// A segment taken apart.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte (or of SYN, or FIN).
    pub seq: u32,
    /// Next sequence number awaited, when ACK is set.
    pub ack: u32,
    /// The control bits; reserved bits are left out (T3).
    pub flags: Flags,
    /// The window field, not scaled.
    pub window: u16,
    /// The urgent pointer: the last urgent byte plus one, from `seq` on (T11).
    pub urgent: u16,
    /// What options said.
    pub options: Options,
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Takes a segment apart. The checksum is the caller's to check, who knows the pseudo-header.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when Data Offset is under 5 or beyond the end (T2).
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Segment<'a>, Malformed> {
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated(NAME))?;
        let header_len = usize::from(fixed[12] >> 4) << 2;
        let (header, payload) = bytes
            .split_at_checked(header_len)
            .ok_or(Malformed::Truncated(NAME))?;
        let options = header
            .get(HEADER_LEN..)
            .ok_or(Malformed::field(NAME, "Data Offset"))?;
        let flags = Flags::from_bits(u16::from_be_bytes([fixed[12], fixed[13]]));
        Ok(Segment {
            src_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            dst_port: u16::from_be_bytes([fixed[2], fixed[3]]),
            seq: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ack: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            flags,
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            urgent: u16::from_be_bytes([fixed[18], fixed[19]]),
            options: Options::parse(options, flags.contains(Flags::SYN)),
            payload,
        })
    }

    /// Sequence numbers that the segment takes up: its data, SYN and FIN (SEG.LEN).
    #[inline]
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        let syn = u32::from(self.flags.contains(Flags::SYN));
        let fin = u32::from(self.flags.contains(Flags::FIN));
        let data = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        data.saturating_add(syn).saturating_add(fin)
    }
}

/// A header to be written.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; 0 without ACK.
    pub ack: u32,
    /// The control bits.
    pub flags: Flags,
    /// The window field as it goes on the wire.
    pub window: u16,
    /// The urgent pointer; 0 without URG.
    pub urgent: u16,
    /// The options.
    pub options: Options,
}

impl Header {
    /// Bytes of the header with its options and their padding: 20..=60, a multiple of 4.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        if self.options.only_timestamps().is_some() {
            return STAMPED_LEN;
        }
        HEADER_LEN.saturating_add(self.options.len())
    }

    /// Appends the header; its checksum field is 0.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        if let Some(whole) = self.stamped() {
            out.extend_from_slice(&whole);
            return;
        }
        out.extend_from_slice(&self.fixed(self.len()));
        self.options.write(out);
    }

    /// The header as [`write`](Header::write) puts it, if its only option are timestamps: what nearly
    /// every segment has.
    #[inline]
    #[must_use]
    pub(crate) fn stamped(&self) -> Option<[u8; STAMPED_LEN]> {
        let stamps = self.options.only_timestamps()?;
        let mut whole = [0; STAMPED_LEN];
        let (first, second) = whole.split_first_chunk_mut()?;
        *first = self.fixed(STAMPED_LEN);
        second.copy_from_slice(&stamps.padded());
        Some(whole)
    }

    /// The part that is always there, of a header of `len` bytes.
    #[inline]
    fn fixed(&self, len: usize) -> [u8; HEADER_LEN] {
        let (src, dst) = (self.src_port.to_be_bytes(), self.dst_port.to_be_bytes());
        let (seq, ack) = (self.seq.to_be_bytes(), self.ack.to_be_bytes());
        let words = u16::try_from(len >> 2).unwrap_or(5) << 12;
        let flags = (words | self.flags.bits()).to_be_bytes();
        let (window, urgent) = (self.window.to_be_bytes(), self.urgent.to_be_bytes());
        [
            src[0], src[1], dst[0], dst[1], seq[0], seq[1], seq[2], seq[3], ack[0], ack[1], ack[2],
            ack[3], flags[0], flags[1], window[0], window[1], 0, 0, urgent[0], urgent[1],
        ]
    }
}
