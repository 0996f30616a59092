//! A super-segment that is written as segments.

use core::ops::Range;

use crate::wire::tcp::{Flags, Header};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tcp::{Options, Timestamps};

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
}
