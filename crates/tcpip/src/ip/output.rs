//! What is sent.

use std::net::{IpAddr, Ipv6Addr};

use weir_core::time::Instant;

use crate::device::{Checksum, InterfaceId, Offload, SegmentKind, Segments};
use crate::ip::counters::count;
use crate::ip::interface::is_loopback;
use crate::ip::route::NO_NEIGHBOR;
use crate::ip::{Hints, Ip, LOOPBACK, Packet, Plain, Route, SendError};
use crate::limits::{MAX_IP_REPLIES, MAX_IP_REPLY_BYTES, MAX_LOOPBACK_BYTES};
use crate::link::Resolved;
use crate::offload::complete_checksum;
use crate::transmit::TransmitBuf;
use crate::wire::{ethernet, ipv4, ipv6, protocol};

/// Who takes a frame, for the cases that have no [`Route`].
#[derive(Copy, Clone, Debug)]
pub(crate) struct Hop {
    pub(crate) interface: InterfaceId,
    pub(crate) next_hop: IpAddr,
    pub(crate) neighbor: u32,
    /// The packet is somebody else's.
    pub(crate) forwarded: bool,
}

impl Ip {
    /// Sends a packet: link and IP header are written to `out`, then `fill` appends
    /// [`Packet::transport_len`] bytes, to its `data` first and then, if it likes, to its `slices`. What
    /// waits for its neighbour's address is kept, a few packets a neighbour. A packet larger than the
    /// path takes is cut into fragments, unless it is a super-segment ([`Hints::cut`]).
    ///
    /// # Errors
    /// [`SendError`]; `fill` may have been called or not, nothing is sent.
    #[inline]
    pub(crate) fn send(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
        route: &Route,
        packet: &Packet,
        fill: impl FnOnce(&mut TransmitBuf),
    ) -> Result<(), SendError> {
        count(&mut self.counters.out_requests);
        let header_len = header_len(packet.dst);
        let total = header_len.saturating_add(packet.transport_len);
        if route.interface == LOOPBACK {
            return self.send_to_ourselves(packet, fill);
        }
        if is_loopback(packet.src) {
            // T154
            return Err(SendError::BadAddress);
        }
        let mtu = usize::from(route.mtu);
        let fits = match packet.hints.cut {
            None => total <= mtu,
            Some(cut) => {
                let headers = header_len.saturating_add(usize::from(cut.header_len));
                headers.saturating_add(usize::from(cut.size)) <= mtu
            }
        };
        if !fits {
            return self.send_fragments(now, out, route, packet, fill);
        }
        let hop = Hop {
            interface: route.interface,
            next_hop: route.next_hop,
            neighbor: route.neighbor,
            forwarded: false,
        };
        let id = self.id_for(packet);
        let offload = offload(packet, header_len);
        self.frame(now, out, &hop, offload, |out| {
            write_header(packet, id, &mut out.data);
            fill(out);
        })
    }

    /// Begins the frame of a packet that is one frame for certain: it goes to a link, over a path that
    /// takes it whole, to a neighbour whose address is known. What is left to write are the IP header
    /// ([`Plain::write`]) and `transport_len` bytes; `finish_whole` with what this returns ends the frame.
    /// `None`: nothing was written, and [`send`](Ip::send) sees to it.
    #[inline]
    pub(crate) fn begin_plain(
        &mut self,
        out: &mut TransmitBuf,
        route: &Route,
        (src, dst): (IpAddr, IpAddr),
        transport_len: usize,
    ) -> Option<usize> {
        let total = header_len(dst).saturating_add(transport_len);
        let odd = total > usize::from(route.mtu)
            || route.interface == LOOPBACK
            || is_loopback(src)
            || src.is_ipv4() != dst.is_ipv4();
        let interface = self.interfaces.get(route.interface.index())?;
        if odd {
            return None;
        }
        let begun = out.data.len();
        if interface.is_ethernet() {
            let src = interface.hardware;
            let hop = (route.interface, route.next_hop);
            let dst = self.known_neighbor(route.neighbor, hop)?;
            let ether_type = if route.next_hop.is_ipv4() {
                ethernet::IPV4
            } else {
                ethernet::IPV6
            };
            let header = ethernet::Header {
                dst,
                src,
                ether_type,
            };
            header.write(&mut out.data);
        }
        self.count_request();
        Some(begun)
    }

    /// A packet like the last plain one was written.
    #[inline]
    pub(crate) fn count_request(&mut self) {
        count(&mut self.counters.out_requests);
    }

    /// RFC 6864 section 4: a packet that cannot be fragmented needs no identification (T80, T155).
    #[inline]
    fn id_for(&mut self, packet: &Packet) -> u16 {
        if packet.dont_fragment || packet.dst.is_ipv6() {
            return 0;
        }
        let size = packet
            .hints
            .cut
            .map_or(1, |cut| usize::from(cut.size.max(1)));
        let segments = packet.transport_len.div_ceil(size);
        let segments = u32::try_from(segments).unwrap_or(1);
        self.ids
            .next(packet.src, packet.dst, packet.protocol, segments) as u16
    }

    /// Writes a frame: the link's header, then what `fill` writes from the IP header on. `offload`
    /// counts from the IP header.
    #[inline]
    pub(crate) fn frame(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
        hop: &Hop,
        mut offload: Offload,
        fill: impl FnOnce(&mut TransmitBuf),
    ) -> Result<(), SendError> {
        let Some(interface) = self.interfaces.get(hop.interface.index()) else {
            return Err(SendError::NoInterface);
        };
        let begun = out.begin();
        if !interface.is_ethernet() {
            fill(out);
            out.finish(begun, hop.interface, offload);
            return Ok(());
        }
        let src = interface.hardware;
        let resolved = self.resolve(now, hop.interface, hop.next_hop, hop.neighbor)?;
        let ether_type = if hop.next_hop.is_ipv4() {
            ethernet::IPV4
        } else {
            ethernet::IPV6
        };
        let dst = match resolved {
            Resolved::Known(mac) => mac,
            Resolved::Waits(_) => crate::link::Mac::ZERO,
        };
        ethernet::Header {
            dst,
            src,
            ether_type,
        }
        .write(&mut out.data);
        fill(out);
        shift(&mut offload, ethernet::HEADER_LEN as u16);
        match resolved {
            Resolved::Known(_) => out.finish(begun, hop.interface, offload),
            Resolved::Waits(key) => return self.keep(key, out, begun, offload, hop.forwarded),
        }
        Ok(())
    }

    /// T32: packets to our own addresses come back at once.
    fn send_to_ourselves(
        &mut self,
        packet: &Packet,
        fill: impl FnOnce(&mut TransmitBuf),
    ) -> Result<(), SendError> {
        let header_len = header_len(packet.dst);
        let total = header_len.saturating_add(packet.transport_len);
        if total > usize::from(u16::MAX) {
            return Err(SendError::MessageTooLong { mtu: u16::MAX });
        }
        if self.loopback.bytes.saturating_add(total) > MAX_LOOPBACK_BYTES {
            count(&mut self.counters.out_discards);
            return Err(SendError::QueueFull);
        }
        let begun = self.loopback.begin();
        write_header(packet, 0, &mut self.loopback.data);
        fill(&mut self.loopback);
        self.loopback
            .finish(begun, LOOPBACK, offload(packet, header_len));
        Ok(())
    }

    /// The next frame that the stack sent to itself, put into `frame` in place of what was there. It
    /// goes into [`handle_frame`](Ip::handle_frame) with [`LOOPBACK`].
    pub(crate) fn next_loopback(&mut self, frame: &mut Vec<u8>) -> Option<Offload> {
        if self.loopback.is_empty() {
            return None;
        }
        let next = self.loopback.frames().nth(self.loopback_taken);
        let Some(next) = next else {
            self.loopback.clear();
            self.loopback_taken = 0;
            return None;
        };
        frame.clear();
        frame.extend_from_slice(next.head);
        for slice in next.rest {
            frame.extend_from_slice(slice);
        }
        let offload = next.offload;
        self.loopback_taken = self.loopback_taken.saturating_add(1);
        if self.loopback_taken >= self.loopback.len() {
            self.loopback.clear();
            self.loopback_taken = 0;
        }
        Some(offload)
    }

    /// Sends a packet that is larger than the path takes (RFC 791 section 3.2, RFC 8200 section 4.5).
    fn send_fragments(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
        route: &Route,
        packet: &Packet,
        fill: impl FnOnce(&mut TransmitBuf),
    ) -> Result<(), SendError> {
        let total = header_len(packet.dst).saturating_add(packet.transport_len);
        let too_long = total > usize::from(u16::MAX);
        if packet.dont_fragment || packet.hints.cut.is_some() || too_long {
            count(&mut self.counters.fragmentation_fails);
            return Err(SendError::MessageTooLong { mtu: route.mtu });
        }
        let mut whole = core::mem::take(&mut self.workspace);
        whole.clear();
        let begun = out.begin();
        fill(out);
        whole.extend_from_slice(out.data.get(begun.0..).unwrap_or_default());
        for slice in out.slices.get(begun.1..).unwrap_or_default() {
            whole.extend_from_slice(slice);
        }
        out.abandon(begun);
        if let Some(at) = packet.hints.checksum_at {
            complete_checksum(&mut whole, 0, at);
        }
        let id = self.ids.next(packet.src, packet.dst, packet.protocol, 1);
        let sent = self.cut(now, out, route, packet, &whole, id);
        whole.clear();
        self.workspace = whole;
        sent
    }

    fn cut(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
        route: &Route,
        packet: &Packet,
        whole: &[u8],
        id: u32,
    ) -> Result<(), SendError> {
        let hop = Hop {
            interface: route.interface,
            next_hop: route.next_hop,
            neighbor: route.neighbor,
            forwarded: false,
        };
        let extra = if packet.dst.is_ipv4() {
            0
        } else {
            ipv6::FRAGMENT_LEN
        };
        let headers = header_len(packet.dst).saturating_add(extra);
        // T140: all but the last are multiples of eight bytes.
        let room = (usize::from(route.mtu).saturating_sub(headers) & !7).max(8);
        let mut offset = 0usize;
        for part in whole.chunks(room) {
            let more = offset.saturating_add(part.len()) < whole.len();
            let at = u16::try_from(offset).unwrap_or(u16::MAX);
            self.frame(now, out, &hop, Offload::default(), |out| {
                write_fragment_header(packet, id, at, more, part.len(), &mut out.data);
                out.data.extend_from_slice(part);
            })?;
            count(&mut self.counters.fragmentation_creates);
            offset = offset.saturating_add(part.len());
        }
        count(&mut self.counters.fragmentation_oks);
        Ok(())
    }

    /// True when there is room for one more frame of our own.
    pub(crate) fn may_reply(&mut self) -> bool {
        let room = self.replies.bytes < MAX_IP_REPLY_BYTES && self.replies.len() < MAX_IP_REPLIES;
        if !room {
            count(&mut self.counters.out_discards);
        }
        room
    }

    /// Sends a frame of our own, link header and all.
    pub(crate) fn reply(&mut self, interface: InterfaceId, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.may_reply() {
            return;
        }
        let begun = self.replies.begin();
        write(&mut self.replies.data);
        self.replies.finish(begun, interface, Offload::default());
    }

    /// Sends a packet of our own, IP header and all, to a neighbour.
    pub(crate) fn reply_through(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        next_hop: IpAddr,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let hop = Hop {
            interface,
            next_hop,
            neighbor: NO_NEIGHBOR,
            forwarded: false,
        };
        self.with_replies(|ip, out| {
            let offload = Offload::default();
            ip.frame(now, out, &hop, offload, |out| write(&mut out.data))
        });
    }

    /// Lends the frames of our own to what sends into a batch. What is sent meanwhile by others (a
    /// solicitation for the packet's neighbour) comes first. Says whether it was sent.
    pub(crate) fn with_replies(
        &mut self,
        send: impl FnOnce(&mut Ip, &mut TransmitBuf) -> Result<(), SendError>,
    ) -> bool {
        if !self.may_reply() {
            return false;
        }
        let mut out = core::mem::take(&mut self.spare);
        let sent = send(self, &mut out);
        for frame in out.frames() {
            let begun = self.replies.begin();
            self.replies.data.extend_from_slice(frame.head);
            self.replies.slices.extend_from_slice(frame.rest);
            self.replies.finish(begun, frame.interface, frame.offload);
        }
        out.clear();
        self.spare = out;
        sent.is_ok()
    }
}

impl Plain {
    /// Appends the IP header. IPv4: may not be fragmented (RFC 1191 section 3, T133), and needs no
    /// identification then (T80, T155).
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self.ends {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
                src,
                dst,
                protocol: self.protocol,
                ttl: self.hop_limit,
                dscp_ecn: self.dscp_ecn,
                id: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                total_len: 0,
            }
            .write(self.transport_len, out),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
                src,
                dst,
                next_header: self.protocol,
                hop_limit: self.hop_limit,
                traffic_class: self.dscp_ecn,
                flow_label: 0,
                payload_len: 0,
            }
            .write(self.transport_len, out),
            _ => debug_assert!(false, "ends of two versions"),
        }
    }
}

#[inline]
pub(crate) const fn header_len(dst: IpAddr) -> usize {
    match dst {
        IpAddr::V4(_) => ipv4::HEADER_LEN,
        IpAddr::V6(_) => ipv6::HEADER_LEN,
    }
}

#[inline]
fn write_header(packet: &Packet, id: u16, out: &mut Vec<u8>) {
    match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
            src,
            dst,
            protocol: packet.protocol,
            ttl: packet.hop_limit,
            dscp_ecn: packet.dscp_ecn(),
            id,
            dont_fragment: packet.dont_fragment,
            more_fragments: false,
            fragment_offset: 0,
            total_len: 0,
        }
        .write(packet.transport_len, out),
        (src, IpAddr::V6(dst)) => {
            header_v6(src, dst, packet, packet.protocol).write(packet.transport_len, out)
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => debug_assert!(false, "an IPv6 source to IPv4"),
    }
}

fn header_v6(src: IpAddr, dst: Ipv6Addr, packet: &Packet, next_header: u8) -> ipv6::Header {
    let src = match src {
        IpAddr::V6(src) => src,
        IpAddr::V4(src) => src.to_ipv6_mapped(),
    };
    ipv6::Header {
        src,
        dst,
        next_header,
        hop_limit: packet.hop_limit,
        traffic_class: packet.dscp_ecn(),
        flow_label: 0,
        payload_len: 0,
    }
}

fn write_fragment_header(
    packet: &Packet,
    id: u32,
    offset: u16,
    more: bool,
    len: usize,
    out: &mut Vec<u8>,
) {
    match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
            src,
            dst,
            protocol: packet.protocol,
            ttl: packet.hop_limit,
            dscp_ecn: packet.dscp_ecn(),
            id: id as u16,
            dont_fragment: false,
            more_fragments: more,
            fragment_offset: offset,
            total_len: 0,
        }
        .write(len, out),
        (src, IpAddr::V6(dst)) => {
            let len = len.saturating_add(ipv6::FRAGMENT_LEN);
            header_v6(src, dst, packet, protocol::FRAGMENT).write(len, out);
            ipv6::write_fragment(packet.protocol, offset, more, id, out);
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => debug_assert!(false, "an IPv6 source to IPv4"),
    }
}

/// What the device is to do, counted from the IP header.
#[inline]
fn offload(packet: &Packet, header_len: usize) -> Offload {
    let Hints { checksum_at, cut } = packet.hints;
    let start = header_len as u16;
    Offload {
        checksum: checksum_at.map_or(Checksum::Complete, |offset| Checksum::Partial {
            start,
            offset,
        }),
        segments: cut.map(|cut| Segments {
            kind: match (packet.protocol, packet.dst) {
                (protocol::TCP, IpAddr::V4(_)) => SegmentKind::Tcp4,
                (protocol::TCP, IpAddr::V6(_)) => SegmentKind::Tcp6,
                _ => SegmentKind::Udp,
            },
            size: cut.size,
            header_len: start.saturating_add(cut.header_len),
        }),
    }
}

/// The same behind a link header.
#[inline]
pub(crate) fn shift(offload: &mut Offload, by: u16) {
    if let Checksum::Partial { start, .. } = &mut offload.checksum {
        *start = start.saturating_add(by);
    }
    if let Some(segments) = &mut offload.segments {
        segments.header_len = segments.header_len.saturating_add(by);
    }
}
