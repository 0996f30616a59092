//! Segments to packets: headers, checksums, and cutting what the device does not cut.

use core::ops::Range;

use weir_core::buf::SendBuffer;
use weir_core::time::Instant;

use crate::device::Capabilities;
use crate::ip::{Cut, Ecn, Hints, Ip, Packet, Route, SendError};
use crate::limits::{GATHER_FROM, MAX_SUPER_SEGMENT, TURN_BYTES};
use crate::offload::TcpCuts;
use crate::tcp::interface::{SegmentSink, Tuple};
use crate::transmit::TransmitBuf;
use crate::wire::checksum::{self, Sum};
use crate::wire::protocol;
use crate::wire::tcp::{CHECKSUM_OFFSET, Header};

/// Between whom, which way.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) tuple: Tuple,
    pub(crate) route: Route,
    pub(crate) hop_limit: u8,
}

/// Where one connection's segments go in its turn.
pub(crate) struct Sink<'a> {
    now: Instant,
    ip: &'a mut Ip,
    out: &'a mut TransmitBuf,
    wire: Wire,
    /// The device completes checksums.
    partial: bool,
    /// Payload bytes of the largest super-segment that the device cuts; 0: it cuts none.
    offload: usize,
    /// Bytes that are left of this turn.
    left: usize,
    /// The next hop is known not to answer.
    pub(crate) is_unreachable: bool,
}

impl<'a> Sink<'a> {
    #[inline]
    pub(crate) fn new(
        now: Instant,
        ip: &'a mut Ip,
        out: &'a mut TransmitBuf,
        wire: Wire,
    ) -> Sink<'a> {
        let capabilities = ip.capabilities(wire.route.interface);
        let (partial, offload) = capabilities.map_or((false, 0), |it| abilities(it, &wire));
        Sink {
            now,
            ip,
            out,
            wire,
            partial,
            offload,
            left: TURN_BYTES,
            is_unreachable: false,
        }
    }

    /// One packet: one segment, or a super-segment that the device cuts into pieces of `cut` bytes.
    fn packet(
        &mut self,
        header: &Header,
        ecn: Ecn,
        cut: Option<u16>,
        data: Option<(&mut SendBuffer, Range<u64>)>,
    ) {
        let header_len = header.len();
        let payload = data.as_ref().map_or(0, |(_, range)| length(range));
        let transport_len = header_len.saturating_add(payload);
        let (src, dst) = (self.wire.tuple.local.ip(), self.wire.tuple.remote.ip());
        let packet = Packet {
            src,
            dst,
            protocol: protocol::TCP,
            ecn,
            hop_limit: self.wire.hop_limit,
            // RFC 1191 section 3, T133.
            dont_fragment: true,
            transport_len,
            hints: Hints {
                checksum_at: self.partial.then_some(CHECKSUM_OFFSET),
                cut: cut.map(|size| Cut {
                    size,
                    header_len: u16::try_from(header_len).unwrap_or(u16::MAX),
                }),
            },
        };
        let len = u32::try_from(transport_len).unwrap_or(u32::MAX);
        let pseudo = checksum::pseudo(src, dst, protocol::TCP, len);
        let how = How {
            partial: self.partial,
            // Super-segments alone: what they are made of is written once, by the device.
            gather: cut.is_some() && payload >= GATHER_FROM,
        };
        // What cannot be sent is lost, as in a network; the connection notices by itself.
        let sent = self
            .ip
            .send(self.now, self.out, &self.wire.route, &packet, |out| {
                fill(out, header, data, pseudo, how);
            });
        if let Err(SendError::HostUnreachable) = sent {
            self.is_unreachable = true;
        }
        self.left = self.left.saturating_sub(transport_len);
    }

    /// Segments of `size` bytes each, cut here.
    fn cut(
        &mut self,
        header: &Header,
        ecn: Ecn,
        size: u16,
        send: &mut SendBuffer,
        range: Range<u64>,
    ) {
        for (header, part) in TcpCuts::new(header, range, size) {
            self.packet(&header, ecn, None, Some((&mut *send, part)));
        }
    }
}

impl SegmentSink for Sink<'_> {
    #[inline]
    fn max_segment_payload(&self) -> usize {
        if self.offload > 0 {
            self.offload
        } else {
            MAX_SUPER_SEGMENT
        }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.left == 0 || self.out.is_full()
    }

    fn emit(
        &mut self,
        header: &Header,
        ecn: Ecn,
        size: u16,
        data: Option<(&mut SendBuffer, Range<u64>)>,
    ) {
        let Some((send, range)) = data else {
            self.packet(header, ecn, None, None);
            return;
        };
        let payload = length(&range);
        if payload <= usize::from(size) {
            self.packet(header, ecn, None, Some((send, range)));
        } else if payload <= self.offload {
            self.packet(header, ecn, Some(size), Some((send, range)));
        } else {
            self.cut(header, ecn, size.max(1), send, range);
        }
    }
}

/// Whether the device completes checksums, and the largest payload of a super-segment that it cuts.
fn abilities(capabilities: &Capabilities, wire: &Wire) -> (bool, usize) {
    let segmentation = &capabilities.segmentation;
    let cuts = if wire.tuple.remote.is_ipv4() {
        segmentation.tcp4
    } else {
        segmentation.tcp6
    };
    let partial = capabilities.checksum_offload;
    // Link, IP and TCP headers with all options: 14 + 40 + 60.
    let most = segmentation
        .max_bytes
        .min(MAX_SUPER_SEGMENT)
        .saturating_sub(114);
    (partial, if partial && cuts { most } else { 0 })
}

/// How a segment is written.
#[derive(Copy, Clone, Debug)]
struct How {
    /// The device completes the checksum.
    partial: bool,
    /// The payload goes as slices of the send buffer, not as a copy.
    gather: bool,
}

/// Appends the segment: header and payload, with its checksum or what the device needs to make it.
#[inline]
fn fill(
    out: &mut TransmitBuf,
    header: &Header,
    data: Option<(&mut SendBuffer, Range<u64>)>,
    pseudo: Sum,
    how: How,
) {
    let begun = out.data.len();
    header.write(&mut out.data);
    if let Some((send, range)) = data {
        if how.gather {
            send.share_range(range, &mut out.slices);
        } else {
            send.copy_range(range, &mut out.data);
        }
    }
    let at = usize::from(CHECKSUM_OFFSET);
    if how.partial {
        let field = out.data.get_mut(begun.saturating_add(at)..);
        if let Some(field) = field.and_then(<[u8]>::first_chunk_mut) {
            *field = pseudo.fold().to_be_bytes();
        }
    } else {
        checksum::patch(&mut out.data, begun, at, pseudo);
    }
}

#[inline]
fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}
