//! A super-segment that is written as segments.

use core::net::IpAddr;
use core::ops::Range;

use weir_core::buf::SendBuffer;

use crate::wire::tcp::{CHECKSUM_OFFSET, Flags, Header};
use crate::wire::{checksum, protocol};

/// What a segment begins or ends with only when it is the last, or the first, of its super-segment.
const LAST_ONLY: Flags = Flags::from_bits(Flags::PSH.bits() | Flags::FIN.bits());

/// The segments of one super-segment: each with its header and its part of the data.
///
/// The sequence number goes on with the data; PSH and FIN stand on the last only, CWR on the first
/// only (RFC 3168 6.1.2: the peer takes each CWR for an answer of its own); an urgent pointer moves
/// along and its flag goes where it is passed. Everything else is the same on all.
#[derive(Clone, Debug)]
pub(crate) struct TcpCuts {
    header: Header,
    data: Range<u64>,
    size: u64,
    done: bool,
}

impl TcpCuts {
    /// Cuts `data`, a range of stream offsets, into segments of `size` bytes, the last one shorter;
    /// no data, or a size of 0, is one segment.
    #[inline]
    pub(crate) fn new(header: &Header, data: Range<u64>, size: u16) -> TcpCuts {
        TcpCuts {
            header: *header,
            data,
            size: if size == 0 { u64::MAX } else { u64::from(size) },
            done: false,
        }
    }

    /// How many segments are to come.
    pub(crate) fn count_left(&self) -> u64 {
        let bytes = self.data.end.saturating_sub(self.data.start);
        if self.done {
            0
        } else {
            bytes.div_ceil(self.size.max(1)).max(1)
        }
    }
}

impl Iterator for TcpCuts {
    type Item = (Header, Range<u64>);

    #[inline]
    fn next(&mut self) -> Option<(Header, Range<u64>)> {
        if self.done {
            return None;
        }
        let start = self.data.start;
        let end = start
            .saturating_add(self.size)
            .min(self.data.end)
            .max(start);
        let mut header = self.header;
        if end < self.data.end {
            header.flags = header.flags.without(LAST_ONLY);
        } else {
            self.done = true;
        }
        let len = end.saturating_sub(start) as u32;
        self.data.start = end;
        self.header.seq = self.header.seq.wrapping_add(len);
        self.header.flags = self.header.flags.without(Flags::CWR);
        if self.header.flags.contains(Flags::URG) {
            let urgent = u32::from(self.header.urgent).saturating_sub(len);
            self.header.urgent = u16::try_from(urgent).unwrap_or(u16::MAX);
            if urgent == 0 {
                self.header.flags = self.header.flags.without(Flags::URG);
            }
        }
        Some((header, start..end))
    }
}

/// What [`write_tcp`] puts into the checksum field.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransportChecksum {
    /// The checksum.
    Complete,
    /// The sum of the pseudo-header only; the device does the rest.
    Partial,
}

/// Appends one segment: header, data from the send buffer, checksum.
#[inline]
pub(crate) fn write_tcp(
    header: &Header,
    (src, dst): (IpAddr, IpAddr),
    how: TransportChecksum,
    data: Option<(&mut SendBuffer, Range<u64>)>,
    out: &mut Vec<u8>,
) {
    let begun = out.len();
    header.write(out);
    if let Some((buffer, range)) = data {
        buffer.copy_range(range, out);
    }
    let len = u32::try_from(out.len().saturating_sub(begun)).unwrap_or(u32::MAX);
    let pseudo = checksum::pseudo(src, dst, protocol::TCP, len);
    let at = usize::from(CHECKSUM_OFFSET);
    match how {
        TransportChecksum::Complete => checksum::patch(out, begun, at, pseudo),
        TransportChecksum::Partial => {
            let field = begun.saturating_add(at);
            if let Some(field) = out.get_mut(field..).and_then(<[u8]>::first_chunk_mut) {
                *field = pseudo.fold().to_be_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tcp::{Options, Segment, Timestamps};
    use bytes::Bytes;
    use weir_core::buf::Chunks;

    fn header(flags: Flags) -> Header {
        Header {
            src_port: 1,
            dst_port: 2,
            seq: u32::MAX - 99,
            ack: 7,
            flags,
            window: 100,
            urgent: 0,
            options: Options {
                timestamps: Some(Timestamps { value: 3, echo: 4 }),
                ..Options::default()
            },
        }
    }

    #[test]
    fn numbers_go_on_and_flags_stand_where_they_belong() {
        // RFC 9293 3.9.1.2: PSH ends the write; RFC 3168 6.1.2: one CWR.
        let flags = Flags::ACK | Flags::PSH | Flags::FIN | Flags::CWR | Flags::ECE;
        let cuts = TcpCuts::new(&header(flags), 500..800, 100);
        assert_eq!(cuts.count_left(), 3);
        let cut: Vec<_> = cuts
            .map(|(header, data)| (header.seq, header.flags, data))
            .collect();
        let both = Flags::ACK | Flags::ECE;
        let expected = [
            (u32::MAX - 99, both | Flags::CWR, 500..600),
            (0, both, 600..700),
            (100, both | Flags::PSH | Flags::FIN, 700..800),
        ];
        assert_eq!(cut, expected);
    }

    #[test]
    fn what_is_one_segment_stays_one() {
        let flags = Flags::ACK | Flags::PSH | Flags::CWR;
        for (data, size) in [(5..5, 0), (5..5, 100), (5..105, 100), (5..900, 0)] {
            let cut: Vec<_> = TcpCuts::new(&header(flags), data.clone(), size).collect();
            assert_eq!(cut, [(header(flags), data)]);
        }
    }

    #[test]
    fn the_urgent_pointer_moves_along() {
        // T11, RFC 9293 3.8.5: it counts from each segment's own number.
        let first = Header {
            urgent: 150,
            ..header(Flags::ACK | Flags::URG)
        };
        let cut: Vec<_> = TcpCuts::new(&first, 0..300, 100)
            .map(|(header, _)| (header.flags.contains(Flags::URG), header.urgent))
            .collect();
        assert_eq!(cut, [(true, 150), (true, 50), (false, 0)]);
    }

    #[test]
    fn a_written_segment_is_whole() {
        let mut chunks = Chunks::new(1 << 20);
        let mut buffer = SendBuffer::new(1);
        buffer.append(Bytes::from(vec![0xa5; 5000]), &mut chunks);
        let ends = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut out = vec![0xee; 3];
        let how = TransportChecksum::Complete;
        write_tcp(
            &header(Flags::ACK),
            ends,
            how,
            Some((&mut buffer, 11..1011)),
            &mut out,
        );
        let bytes = &out[3..];
        assert!(checksum::is_valid_transport(
            ends.0,
            ends.1,
            protocol::TCP,
            bytes
        ));
        assert_eq!(Segment::parse(bytes).unwrap().payload, [0xa5; 1000]);
        out.clear();
        let how = TransportChecksum::Partial;
        write_tcp(
            &header(Flags::ACK),
            ends,
            how,
            Some((&mut buffer, 11..1011)),
            &mut out,
        );
        let pseudo = checksum::pseudo(ends.0, ends.1, protocol::TCP, 1032);
        assert_eq!(out[16..18], pseudo.fold().to_be_bytes());
    }
}
