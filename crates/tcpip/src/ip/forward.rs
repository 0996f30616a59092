//! Packets of others to others (RFC 1812 section 5, RFC 8200 section 3). Off unless asked for.

use weir_core::time::Instant;

use crate::device::{Capabilities, Checksum, Medium, Offload, SegmentKind};
use crate::ip::counters::count;
use crate::ip::input::Incoming;
use crate::ip::output::Hop;
use crate::ip::route::NO_NEIGHBOR;
use crate::ip::{Cause, Complaint, Ip, SendError};
use crate::offload::{Cuts, complete_checksum};
use crate::transmit::TransmitBuf;
use crate::wire::{checksum, ethernet, ipv4, ipv6};

impl Ip {
    /// Passes on a packet of IPv4, one hop older, in fragments where it must be and may be.
    pub(crate) fn forward_v4(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        packet: &[u8],
        parsed: &ipv4::Parsed<'_>,
    ) {
        let header = &parsed.header;
        let on = Some(incoming.interface);
        if header.src.is_link_local() || header.dst.is_link_local() {
            // RFC 3927 section 7.
            return self.discard(packet, Cause::LINK_LOCAL);
        }
        if header.ttl <= 1 {
            return self.complain_on(now, on, packet, Complaint::HopLimit);
        }
        let Some((hop, mtu)) = self.next_hop(header.dst.into()) else {
            return self.complain_on(now, on, packet, Complaint::NoRoute);
        };
        let offload = self.behind_link(incoming);
        if fits(packet.len(), &offload, mtu) {
            let ttl = header.ttl;
            return self.pass_on(now, &hop, packet, offload, |copy| older_v4(copy, ttl));
        }
        // What was cut already may be cut again; a super-segment stands for packets that fitted.
        if header.dont_fragment || offload.segments.is_some() || !parsed.options.is_empty() {
            count(&mut self.counters.fragmentation_fails);
            return self.complain_on(now, on, packet, Complaint::TooBig(mtu));
        }
        self.forward_fragments(now, &hop, mtu, parsed, offload);
    }

    /// Passes on a packet of IPv6. Routers never fragment those (T141).
    pub(crate) fn forward_v6(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        packet: &[u8],
        header: &ipv6::Header,
    ) {
        let on = Some(incoming.interface);
        if header.hop_limit <= 1 {
            return self.complain_on(now, on, packet, Complaint::HopLimit);
        }
        let Some((hop, mtu)) = self.next_hop(header.dst.into()) else {
            return self.complain_on(now, on, packet, Complaint::NoRoute);
        };
        let offload = self.behind_link(incoming);
        if !fits(packet.len(), &offload, mtu) {
            return self.complain_on(now, on, packet, Complaint::TooBig(mtu));
        }
        let hop_limit = header.hop_limit.saturating_sub(1);
        self.pass_on(now, &hop, packet, offload, |copy| {
            if let Some(field) = copy.get_mut(7) {
                *field = hop_limit;
            }
        });
    }

    /// Who takes a packet next, and how large it may be. Nothing goes to ourselves this way.
    fn next_hop(&mut self, dst: std::net::IpAddr) -> Option<(Hop, u16)> {
        let way = self.way(dst, None, None);
        let Some(way) = way else {
            count(&mut self.counters.out_no_routes);
            return None;
        };
        let mtu = self.interface(way.interface)?.mtu_for(dst);
        let hop = Hop {
            interface: way.interface,
            next_hop: way.next_hop,
            neighbor: self
                .neighbors
                .find(way.interface, way.next_hop)
                .map_or(NO_NEIGHBOR, |key| key.index),
            forwarded: true,
        };
        Some((hop, mtu))
    }

    /// What came along with a frame, counted from its IP header.
    fn behind_link(&self, incoming: &Incoming) -> Offload {
        let mut offload = incoming.offload;
        let ethernet = self
            .interface(incoming.interface)
            .is_some_and(|own| own.is_ethernet());
        if !ethernet {
            return offload;
        }
        let link = ethernet::HEADER_LEN as u16;
        if let Checksum::Partial { start, .. } = &mut offload.checksum {
            *start = start.saturating_sub(link);
        }
        if let Some(segments) = &mut offload.segments {
            segments.header_len = segments.header_len.saturating_sub(link);
        }
        offload
    }

    fn pass_on(
        &mut self,
        now: Instant,
        hop: &Hop,
        packet: &[u8],
        offload: Offload,
        change: impl FnOnce(&mut [u8]),
    ) {
        let mut copy = core::mem::take(&mut self.workspace);
        copy.clear();
        copy.extend_from_slice(packet);
        change(&mut copy);
        let sent = self.with_replies(|ip, out| ip.pass_copy(now, out, hop, &mut copy, offload));
        copy.clear();
        self.workspace = copy;
        if sent {
            count(&mut self.counters.forwarded);
        }
    }

    /// Sends what the device can take as it is; does for it what it cannot do.
    fn pass_copy(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
        hop: &Hop,
        copy: &mut [u8],
        mut offload: Offload,
    ) -> Result<(), SendError> {
        let Some(capabilities) = self.interface(hop.interface).map(|own| own.capabilities) else {
            return Err(SendError::NoInterface);
        };
        if offload.segments.is_some() && !can_cut(&capabilities, &offload, copy.len()) {
            let Ok(mut cuts) = Cuts::new(copy, Medium::Ip, &offload) else {
                return Err(SendError::BadAddress);
            };
            let mut part = Vec::new();
            while cuts.write_next(&mut part) {
                self.frame(now, out, hop, Offload::default(), |out| {
                    out.data.extend_from_slice(&part)
                })?;
                part.clear();
            }
            return Ok(());
        }
        match offload.checksum {
            Checksum::Partial { start, offset } if !capabilities.checksum_offload => {
                complete_checksum(copy, start, offset);
                offload.checksum = Checksum::Complete;
            }
            // Known to be right, and on its way out there is nothing more to do about it.
            Checksum::Verified => offload.checksum = Checksum::Complete,
            _ => {}
        }
        self.frame(now, out, hop, offload, |out| {
            out.data.extend_from_slice(copy)
        })
    }

    /// RFC 791 section 3.2: fragments of a packet, or of a fragment.
    fn forward_fragments(
        &mut self,
        now: Instant,
        hop: &Hop,
        mtu: u16,
        parsed: &ipv4::Parsed<'_>,
        offload: Offload,
    ) {
        let mut payload = core::mem::take(&mut self.workspace);
        payload.clear();
        payload.extend_from_slice(parsed.payload);
        if let Checksum::Partial { start, offset } = offload.checksum {
            let start = start.saturating_sub(ipv4::HEADER_LEN as u16);
            complete_checksum(&mut payload, start, offset);
        }
        let room = (usize::from(mtu).saturating_sub(ipv4::HEADER_LEN) & !7).max(8);
        let mut offset = 0usize;
        let sent = self.with_replies(|ip, out| {
            for part in payload.chunks(room) {
                let last = offset.saturating_add(part.len()) >= payload.len();
                let at = usize::from(parsed.header.fragment_offset).saturating_add(offset);
                let header = ipv4::Header {
                    ttl: parsed.header.ttl.saturating_sub(1),
                    more_fragments: !last || parsed.header.more_fragments,
                    fragment_offset: u16::try_from(at).unwrap_or(u16::MAX),
                    ..parsed.header
                };
                ip.frame(now, out, hop, Offload::default(), |out| {
                    header.write(part.len(), &mut out.data);
                    out.data.extend_from_slice(part);
                })?;
                count(&mut ip.counters.fragmentation_creates);
                offset = offset.saturating_add(part.len());
            }
            Ok(())
        });
        payload.clear();
        self.workspace = payload;
        if sent {
            count(&mut self.counters.forwarded);
            count(&mut self.counters.fragmentation_oks);
        }
    }
}

/// One hop less to go; the checksum follows (RFC 1624).
fn older_v4(packet: &mut [u8], ttl: u8) {
    let Some(fixed) = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else {
        return;
    };
    let old = u16::from_be_bytes([fixed[8], fixed[9]]);
    fixed[8] = ttl.saturating_sub(1);
    let new = u16::from_be_bytes([fixed[8], fixed[9]]);
    let sum = checksum::update(u16::from_be_bytes([fixed[10], fixed[11]]), old, new);
    [fixed[10], fixed[11]] = sum.to_be_bytes();
}

/// Whether a packet, or each that it stands for, is within the next link's MTU.
fn fits(len: usize, offload: &Offload, mtu: u16) -> bool {
    let longest = offload.segments.map_or(len, |segments| {
        usize::from(segments.header_len).saturating_add(usize::from(segments.size))
    });
    longest <= usize::from(mtu)
}

fn can_cut(capabilities: &Capabilities, offload: &Offload, len: usize) -> bool {
    let known = offload
        .segments
        .is_some_and(|segments| match segments.kind {
            SegmentKind::Tcp4 => capabilities.segmentation.tcp4,
            SegmentKind::Tcp6 => capabilities.segmentation.tcp6,
            SegmentKind::Udp => capabilities.segmentation.udp,
        });
    let with_link = len.saturating_add(ethernet::HEADER_LEN);
    known
        && with_link <= capabilities.segmentation.max_bytes
        && matches!(offload.checksum, Checksum::Partial { .. })
}
