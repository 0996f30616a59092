//! Segments to packets: headers, checksums, and cutting what the device does not cut.

use core::ops::Range;
use std::net::IpAddr;

use weir_core::buf::SendBuffer;
use weir_core::time::Instant;

use crate::device::{Capabilities, Checksum, Offload};
use crate::ip::{Cut, Ecn, Hints, Ip, Packet, Plain, Route, SendError};
use crate::limits::{GATHER_FROM, MAX_SUPER_SEGMENT, TURN_BYTES};
use crate::offload::TcpCuts;
use crate::tcp::interface::SegmentSink;
use crate::transmit::TransmitBuf;
use crate::wire::checksum::{self, Sum};
use crate::wire::protocol;
use crate::wire::tcp::{CHECKSUM_OFFSET, Flags, Header, SEQUENCE_OFFSET};

/// Between whom, which way.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Wire<'a> {
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) route: &'a Route,
    pub(crate) hop_limit: u8,
    pub(crate) dscp: u8,
}

/// Where one connection's segments go in its turn.
pub(crate) struct Sink<'a> {
    now: Instant,
    ip: &'a mut Ip,
    out: &'a mut TransmitBuf,
    wire: Wire<'a>,
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
        wire: Wire<'a>,
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

    /// One segment, however its frame is to be made; how it was written, if in one go.
    #[inline(always)]
    fn single(
        &mut self,
        header: &Header,
        ecn: Ecn,
        mut data: Option<(&mut SendBuffer, Range<u64>)>,
    ) -> Option<Written> {
        let lent = data
            .as_mut()
            .map(|(send, range)| (&mut **send, range.clone()));
        let written = self.plain(header, ecn, lent);
        if written.is_none() {
            self.packet(header, ecn, None, data);
        }
        written
    }

    /// One segment whose frame is nothing but headers and data, written in one go: what nearly all are.
    /// `None` when it is not: [`packet`](Sink::packet) deals with the rest.
    #[inline(always)]
    fn plain(
        &mut self,
        header: &Header,
        ecn: Ecn,
        data: Option<(&mut SendBuffer, Range<u64>)>,
    ) -> Option<Written> {
        let stamped = header.stamped();
        let header_len = match &stamped {
            Some(whole) => whole.len(),
            None => header.len(),
        };
        let payload = data.as_ref().map_or(0, |(_, range)| length(range));
        let transport_len = header_len.saturating_add(payload);
        let ends = (self.wire.local, self.wire.remote);
        let begun = self
            .ip
            .begin_plain(self.out, self.wire.route, ends, transport_len)?;
        let head = Plain {
            ends,
            protocol: protocol::TCP,
            dscp_ecn: self.wire.dscp << 2 | ecn.bits(),
            hop_limit: self.wire.hop_limit,
            transport_len,
        };
        head.write(&mut self.out.data);
        let transport = self.out.data.len();
        match &stamped {
            Some(whole) => self.out.data.extend_from_slice(whole),
            None => header.write(&mut self.out.data),
        }
        if let Some((send, range)) = data {
            send.copy_range(range, &mut self.out.data);
        }
        let len = u32::try_from(transport_len).unwrap_or(u32::MAX);
        let written = Written {
            begun,
            transport,
            header_len,
            payload,
            flags: header.flags,
            pseudo: checksum::pseudo(ends.0, ends.1, protocol::TCP, len),
        };
        if self.partial {
            let at = transport.saturating_add(usize::from(CHECKSUM_OFFSET));
            write_at(&mut self.out.data, at, written.pseudo.fold().to_be_bytes());
        }
        self.finish(&written);
        Some(written)
    }

    /// A segment like the one `before` but for its sequence number and its data: the headers are those.
    #[inline]
    fn follow(
        &mut self,
        before: &mut Written,
        header: &Header,
        (send, range): (&mut SendBuffer, Range<u64>),
    ) {
        let data = &mut self.out.data;
        let begun = data.len();
        let head = before.transport.saturating_add(before.header_len);
        data.extend_from_within(before.begun..head.min(begun));
        let moved = begun.saturating_sub(before.begun);
        before.begun = begun;
        before.transport = before.transport.saturating_add(moved);
        let at = |offset: u16| before.transport.saturating_add(usize::from(offset));
        write_at(data, at(SEQUENCE_OFFSET), header.seq.to_be_bytes());
        if !self.partial {
            write_at(data, at(CHECKSUM_OFFSET), [0; 2]);
        }
        send.copy_range(range, data);
        self.ip.count_request();
        self.finish(before);
    }

    /// Ends a frame: its checksum is made, unless the device does that.
    #[inline]
    fn finish(&mut self, written: &Written) {
        let mut offload = Offload::default();
        if self.partial {
            offload.checksum = Checksum::Partial {
                start: written.transport.saturating_sub(written.begun) as u16,
                offset: CHECKSUM_OFFSET,
            };
        } else {
            let at = usize::from(CHECKSUM_OFFSET);
            checksum::patch(&mut self.out.data, written.transport, at, written.pseudo);
        }
        let interface = self.wire.route.interface;
        self.out.finish_whole(written.begun, interface, offload);
        let sent = written.header_len.saturating_add(written.payload);
        self.left = self.left.saturating_sub(sent);
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
        let (src, dst) = (self.wire.local, self.wire.remote);
        let packet = Packet {
            src,
            dst,
            protocol: protocol::TCP,
            ecn,
            dscp: self.wire.dscp,
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
            .send(self.now, self.out, self.wire.route, &packet, |out| {
                fill(out, header, data, pseudo, how);
            });
        if let Err(SendError::HostUnreachable) = sent {
            self.is_unreachable = true;
        }
        self.left = self.left.saturating_sub(transport_len);
    }

    /// Segments of `size` bytes each, cut by the device or here.
    fn super_segment(
        &mut self,
        header: &Header,
        ecn: Ecn,
        size: u16,
        send: &mut SendBuffer,
        range: Range<u64>,
    ) {
        if length(&range) <= self.offload {
            self.packet(header, ecn, Some(size), Some((send, range)));
        } else {
            self.cut(header, ecn, size.max(1), send, range);
        }
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
        let mut before: Option<Written> = None;
        for (header, part) in TcpCuts::new(header, range, size) {
            let like = |it: &&mut Written| {
                it.payload == length(&part) && it.flags == header.flags && header.urgent == 0
            };
            if let Some(before) = before.as_mut().filter(like) {
                self.follow(before, &header, (&mut *send, part));
                continue;
            }
            before = self.single(&header, ecn, Some((&mut *send, part)));
        }
    }
}

/// A frame just written, all head.
#[derive(Copy, Clone, Debug)]
struct Written {
    /// Where it begins in the batch.
    begun: usize,
    /// Where its TCP header does.
    transport: usize,
    header_len: usize,
    payload: usize,
    flags: Flags,
    /// The sum of its pseudo-header.
    pseudo: Sum,
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
        let payload = data.as_ref().map_or(0, |(_, range)| length(range));
        match data {
            Some((send, range)) if payload > usize::from(size) => {
                self.super_segment(header, ecn, size, send, range);
            }
            data => {
                let _written = self.single(header, ecn, data);
            }
        }
    }
}

/// Whether the device completes checksums, and the largest payload of a super-segment that it cuts.
fn abilities(capabilities: &Capabilities, wire: &Wire<'_>) -> (bool, usize) {
    let segmentation = &capabilities.segmentation;
    let cuts = if wire.remote.is_ipv4() {
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
        let at = begun.saturating_add(at);
        write_at(&mut out.data, at, pseudo.fold().to_be_bytes());
    } else {
        checksum::patch(&mut out.data, begun, at, pseudo);
    }
}

/// Puts a field at `at` over what was written there.
#[inline]
fn write_at<const N: usize>(out: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = field;
    }
}

#[inline]
fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}
