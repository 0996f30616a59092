//! Segments as nearly all are.

use super::{Flags, HEADER_LEN, STAMPED_LEN, Segment, Timestamps};

/// A segment with ACK, perhaps PSH or FIN, and no other flag; without options but timestamps, which
/// stand where every TCP puts them (RFC 7323 appendix A).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Next sequence number awaited.
    pub ack: u32,
    /// The window field, not scaled.
    pub window: u16,
    /// It has FIN.
    pub fin: bool,
    /// The timestamps.
    pub timestamps: Option<Timestamps>,
    /// The data.
    pub payload: &'a [u8],
}

/// What a plain segment may have or not.
const EITHER: Flags = Flags::PSH.with(Flags::FIN);
/// Data Offset and control bits without those and the reserved bits (T3).
const MASK: u16 = 0xf1ff & !EITHER.bits();
/// Five words and ACK.
const BARE: u16 = 0x5000 | Flags::ACK.bits();
/// Eight words and ACK.
const STAMPED: u16 = 0x8000 | Flags::ACK.bits();

impl<'a> Plain<'a> {
    /// Takes a segment apart if it is plain: what [`Segment::parse`] makes of others. The checksum is
    /// the caller's to check.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Plain<'a>> {
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let bits = u16::from_be_bytes([fixed[12], fixed[13]]);
        let (timestamps, payload) = match bits & MASK {
            STAMPED => {
                let (header, payload) = bytes.split_first_chunk::<STAMPED_LEN>()?;
                let [.., n, p, kind, len, a, b, c, d, e, f, g, h] = *header;
                if [n, p, kind, len] != Timestamps::ALONE {
                    return None;
                }
                let timestamps = Timestamps {
                    value: u32::from_be_bytes([a, b, c, d]),
                    echo: u32::from_be_bytes([e, f, g, h]),
                };
                (Some(timestamps), payload)
            }
            BARE => (None, bytes.split_first_chunk::<HEADER_LEN>()?.1),
            _ => return None,
        };
        Some(Plain {
            src_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            dst_port: u16::from_be_bytes([fixed[2], fixed[3]]),
            seq: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ack: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            fin: Flags::from_bits(bits).contains(Flags::FIN),
            timestamps,
            payload,
        })
    }

    /// A segment that was taken apart already, if it is plain.
    #[inline]
    #[must_use]
    pub fn of(segment: &Segment<'a>) -> Option<Plain<'a>> {
        let is_plain =
            segment.flags.without(EITHER) == Flags::ACK && segment.options.sack.is_empty();
        is_plain.then_some(Plain {
            src_port: segment.src_port,
            dst_port: segment.dst_port,
            seq: segment.seq,
            ack: segment.ack,
            window: segment.window,
            fin: segment.flags.contains(Flags::FIN),
            timestamps: segment.options.timestamps,
            payload: segment.payload,
        })
    }
}
