//! What arrives: is it well-formed, from somebody, for us?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_core::time::Instant;

use crate::device::{InterfaceId, Medium, Offload};
use crate::ip::counters::count;
use crate::ip::interface::{is_host, is_loopback};
use crate::ip::{Arrived, Cause, Complaint, Ecn, Ip, LOOPBACK, Received};
use crate::wire::ipv6::{Extension, Rejected, Upper};
use crate::wire::{ethernet, ipv4, ipv6, protocol};

/// Where a packet came in, and how.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) interface: InterfaceId,
    pub(crate) offload: Offload,
    /// The frame was for a group or for everybody.
    pub(crate) link_to_many: bool,
}

/// Whom a packet is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Ours,
    /// A group or everybody, us among them.
    ToMany,
    Forward,
    Drop,
}

impl Ip {
    /// Takes a frame and returns what in it is for the transports. `scratch` is where a packet is put
    /// together that came in fragments; its contents are of no other use.
    pub(crate) fn handle_frame<'a>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &'a [u8],
        offload: Offload,
        scratch: &'a mut Vec<u8>,
    ) -> Option<Arrived<'a>> {
        let mut incoming = Incoming {
            interface,
            offload,
            link_to_many: false,
        };
        if interface == LOOPBACK {
            return self.handle_packet(now, &incoming, frame, scratch);
        }
        let own = self.interfaces.get(interface.index())?;
        if own.capabilities.medium == Medium::Ip {
            return self.handle_packet(now, &incoming, frame, scratch);
        }
        let (header, packet) = ethernet::parse(frame).ok()?;
        if header.dst != own.hardware {
            // What we sent to many and a bridge gave back would look like somebody else's use of our
            // addresses.
            if !header.dst.is_multicast() || header.src == own.hardware {
                return None;
            }
            incoming.link_to_many = true;
        }
        match header.ether_type {
            ethernet::IPV4 | ethernet::IPV6 => self.handle_packet(now, &incoming, packet, scratch),
            ethernet::ARP => {
                self.handle_arp(now, interface, header.src, packet);
                None
            }
            _ => None,
        }
    }

    fn handle_packet<'a>(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        packet: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<Arrived<'a>> {
        count(&mut self.counters.in_receives);
        match packet.first().map(|first| first >> 4) {
            Some(4) => self.handle_v4(now, incoming, packet, scratch),
            Some(6) => self.handle_v6(now, incoming, packet, scratch),
            _ => {
                self.discard(packet, Cause::VERSION);
                None
            }
        }
    }

    #[inline]
    fn handle_v4<'a>(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        packet: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<Arrived<'a>> {
        // T137
        let parsed = match ipv4::parse(packet) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.discard(packet, Cause::malformed(error));
                return None;
            }
        };
        let header = &parsed.header;
        let packet = packet.get(..usize::from(header.total_len))?;
        let verdict = self.judge_v4(incoming, header.src, header.dst);
        if verdict == Verdict::Drop {
            self.discard(packet, Cause::unwanted(header.src.into()));
            return None;
        }
        // Source routes let others use us as a relay, or answer through them (RFC 7126 section 4.3).
        if !parsed.options.is_empty() && has_source_route(parsed.options) {
            self.discard(packet, Cause::SOURCE_ROUTE);
            return None;
        }
        if verdict == Verdict::Forward {
            self.forward_v4(now, incoming, packet, &parsed);
            return None;
        }
        let to_many = verdict == Verdict::ToMany;
        if header.is_fragment() {
            return self.take_fragment_v4(now, incoming, packet, &parsed, to_many, scratch);
        }
        self.deliver(
            now,
            Received {
                interface: incoming.interface,
                src: header.src.into(),
                dst: header.dst.into(),
                protocol: header.protocol,
                ecn: Ecn::from_bits(header.dscp_ecn),
                hop_limit: header.ttl,
                to_many,
                payload: parsed.payload,
                packet,
                checksum: incoming.offload.checksum,
                segments: incoming.offload.segments,
            },
        )
    }

    /// True when packets with these ends were for us a moment ago, and nothing has changed since: most
    /// packets come from somebody who sent the one before.
    #[inline]
    fn is_recent(&self, incoming: &Incoming, ends: (IpAddr, IpAddr)) -> bool {
        let interface = self.interfaces.get(incoming.interface.index());
        let recent = interface.and_then(|interface| interface.recent);
        recent == Some((ends, self.generation())) && !incoming.link_to_many
    }

    fn remember(&mut self, incoming: &Incoming, ends: (IpAddr, IpAddr)) {
        let generation = self.generation();
        if let Some(interface) = self.interfaces.get_mut(incoming.interface.index()) {
            interface.recent = Some((ends, generation));
            match ends {
                (IpAddr::V4(src), IpAddr::V4(dst)) => {
                    let ([a, b, c, d], [e, f, g, h]) = (src.octets(), dst.octets());
                    interface.recent_v4 = ([a, b, c, d, e, f, g, h], generation);
                }
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    interface.recent_v6 = ([src.octets(), dst.octets()], generation);
                }
                _ => {}
            }
        }
    }

    #[inline]
    fn judge_v4(&mut self, incoming: &Incoming, src: Ipv4Addr, dst: Ipv4Addr) -> Verdict {
        let ends = (IpAddr::V4(src), IpAddr::V4(dst));
        if self.is_recent(incoming, ends) {
            return Verdict::Ours;
        }
        let verdict = self.judge_v4_anew(incoming, src, dst);
        if verdict == Verdict::Ours {
            self.remember(incoming, ends);
        }
        verdict
    }

    fn judge_v4_anew(&self, incoming: &Incoming, src: Ipv4Addr, dst: Ipv4Addr) -> Verdict {
        let Some(interface) = self.interfaces.get(incoming.interface.index()) else {
            return self.judge_own(src.into(), dst.into());
        };
        // T153, T154: no group, no network, no broadcast address sends packets, nor loopback from a link.
        // What claims to come from ourselves did not.
        if !is_host(src.into()) || interface.is_broadcast(src) || self.is_own(src.into()) {
            return Verdict::Drop;
        }
        if dst.is_loopback() || dst.is_unspecified() {
            return Verdict::Drop;
        }
        if dst.is_multicast() || interface.is_broadcast(dst) {
            let here = !dst.is_multicast() || interface.is_in_group(dst.into(), false);
            return if here { Verdict::ToMany } else { Verdict::Drop };
        }
        self.judge_unicast(incoming, dst.into())
    }

    /// A destination that is one host.
    fn judge_unicast(&self, incoming: &Incoming, dst: IpAddr) -> Verdict {
        let Some(interface) = self.interfaces.get(incoming.interface.index()) else {
            return Verdict::Drop;
        };
        if incoming.link_to_many {
            // RFC 1122 section 3.3.6: what was for everybody on the link is for one only by mistake.
            return Verdict::Drop;
        }
        if interface.has(dst) {
            return Verdict::Ours;
        }
        if self.forwarding && self.is_own(dst) {
            return Verdict::Ours;
        }
        if interface.any_address && is_host(dst) {
            return Verdict::Ours;
        }
        if self.forwarding && is_host(dst) {
            return Verdict::Forward;
        }
        Verdict::Drop
    }

    /// What we sent to ourselves.
    fn judge_own(&self, src: IpAddr, dst: IpAddr) -> Verdict {
        let known =
            (is_loopback(dst) || self.is_own(dst)) && (is_loopback(src) || self.is_local(src));
        if known { Verdict::Ours } else { Verdict::Drop }
    }

    #[inline]
    fn handle_v6<'a>(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        packet: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<Arrived<'a>> {
        let (header, payload) = match ipv6::parse(packet) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.discard(packet, Cause::malformed(error));
                return None;
            }
        };
        let packet = packet.get(..ipv6::HEADER_LEN.saturating_add(payload.len()))?;
        let verdict = self.judge_v6(incoming, &header, payload);
        if verdict == Verdict::Drop {
            self.discard(packet, Cause::unwanted(header.src.into()));
            return None;
        }
        if verdict == Verdict::Forward {
            self.forward_v6(now, incoming, packet, &header);
            return None;
        }
        let mut received = Received {
            interface: incoming.interface,
            src: header.src.into(),
            dst: header.dst.into(),
            protocol: header.next_header,
            ecn: Ecn::from_bits(header.traffic_class),
            hop_limit: header.hop_limit,
            to_many: verdict == Verdict::ToMany,
            payload,
            packet,
            checksum: incoming.offload.checksum,
            segments: incoming.offload.segments,
        };
        if matches!(header.next_header, protocol::TCP | protocol::UDP) {
            return self.deliver(now, received);
        }
        match self.walk(now, packet, ipv6::upper(header.next_header, payload))? {
            Extension::Fragment(fragment) if fragment.is_atomic() => {
                // RFC 6946: whole, whatever else has its identification.
                let inner = ipv6::extensions_of(&fragment).judge();
                let Extension::Upper(upper) = self.walk(now, packet, inner)? else {
                    self.discard(packet, Cause::EXTENSION);
                    return None;
                };
                self.deliver_upper(now, &mut received, &upper, true)
            }
            Extension::Fragment(fragment) => {
                self.take_fragment_v6(now, &received, packet, &fragment, scratch)
            }
            Extension::Upper(upper) => self.deliver_upper(now, &mut received, &upper, false),
            _ => None,
        }
    }

    /// The end of a walk over extension headers; what is wrong with them is answered (T139).
    pub(crate) fn walk<'a>(
        &mut self,
        now: Instant,
        packet: &[u8],
        end: Result<Extension<'a>, Rejected>,
    ) -> Option<Extension<'a>> {
        match end {
            Ok(extension) => Some(extension),
            Err(rejected) => {
                self.discard(packet, Cause::EXTENSION);
                self.reject(now, packet, rejected);
                None
            }
        }
    }

    /// Answers a packet whose extension headers are not as they should be.
    pub(crate) fn reject(&mut self, now: Instant, packet: &[u8], rejected: Rejected) {
        if let Rejected::ParameterProblem {
            code,
            pointer,
            even_to_multicast,
        } = rejected
        {
            let complaint = Complaint::Parameter {
                code,
                pointer,
                even_to_multicast,
            };
            self.complain(now, packet, complaint);
        }
    }

    /// Delivers what stands behind extension headers. RFC 6980: neighbour discovery is never in
    /// `fragmented` packets.
    pub(crate) fn deliver_upper<'a>(
        &mut self,
        now: Instant,
        received: &mut Received<'a>,
        upper: &Upper<'a>,
        fragmented: bool,
    ) -> Option<Arrived<'a>> {
        let kind = upper.payload.first().copied().unwrap_or(0);
        if fragmented && upper.protocol == protocol::ICMPV6 && (133..=137).contains(&kind) {
            self.discard(received.packet, Cause::ICMP);
            return None;
        }
        let known = [
            protocol::TCP,
            protocol::UDP,
            protocol::ICMPV6,
            protocol::NO_NEXT_HEADER,
        ];
        if !known.contains(&upper.protocol) {
            // T139
            self.discard(received.packet, Cause::PROTOCOL);
            let complaint = Complaint::Parameter {
                code: 1,
                pointer: u32::try_from(upper.named_at).unwrap_or(u32::MAX),
                even_to_multicast: false,
            };
            self.complain(now, received.packet, complaint);
            return None;
        }
        received.protocol = upper.protocol;
        received.payload = upper.payload;
        self.deliver(now, *received)
    }

    #[inline]
    fn judge_v6(&mut self, incoming: &Incoming, header: &ipv6::Header, payload: &[u8]) -> Verdict {
        let ends = (IpAddr::V6(header.src), IpAddr::V6(header.dst));
        if self.is_recent(incoming, ends) {
            return Verdict::Ours;
        }
        let verdict = self.judge_v6_anew(incoming, header, payload);
        // Some packets of neighbour discovery are taken that others with their ends are not.
        if verdict == Verdict::Ours && !is_neighbor_discovery(header, payload) {
            self.remember(incoming, ends);
        }
        verdict
    }

    fn judge_v6_anew(&self, incoming: &Incoming, header: &ipv6::Header, payload: &[u8]) -> Verdict {
        let (src, dst) = (header.src, header.dst);
        let Some(interface) = self.interfaces.get(incoming.interface.index()) else {
            return self.judge_own(src.into(), dst.into());
        };
        // Only duplicate address detection and the like come from nobody.
        let nobody = src.is_unspecified() && is_neighbor_discovery(header, payload);
        if (!nobody && !is_host(src.into())) || self.is_own(src.into()) {
            return Verdict::Drop;
        }
        if dst.is_multicast() {
            let here = interface.is_in_group(dst.into(), self.forwarding);
            return if here { Verdict::ToMany } else { Verdict::Drop };
        }
        // A solicitation for an address that is not ready yet may come to the address itself.
        if interface
            .address(dst.into())
            .is_some_and(|own| !own.is_ready())
        {
            return if is_neighbor_discovery(header, payload) {
                Verdict::Ours
            } else {
                Verdict::Drop
            };
        }
        let verdict = self.judge_unicast(incoming, dst.into());
        let link_local = src.is_unicast_link_local() || dst.is_unicast_link_local();
        match verdict {
            // RFC 4291 section 2.5.6: routers do not forward what is of the link.
            Verdict::Forward if link_local || nobody => Verdict::Drop,
            Verdict::Ours if nobody => Verdict::Drop,
            verdict => verdict,
        }
    }

    /// A whole packet for us: to the transports, or dealt with here.
    #[inline]
    pub(crate) fn deliver<'a>(
        &mut self,
        now: Instant,
        received: Received<'a>,
    ) -> Option<Arrived<'a>> {
        count(&mut self.counters.in_delivers);
        match received.protocol {
            protocol::TCP | protocol::UDP => Some(Arrived::Packet(received)),
            protocol::ICMPV4 if received.src.is_ipv4() => self.handle_icmpv4(now, &received),
            protocol::ICMPV6 if received.src.is_ipv6() => self.handle_icmpv6(now, &received),
            protocol::NO_NEXT_HEADER if received.src.is_ipv6() => None,
            _ => {
                self.discard(received.packet, Cause::PROTOCOL);
                if !received.to_many {
                    self.complain(now, received.packet, Complaint::ProtocolUnreachable);
                }
                None
            }
        }
    }
}

fn is_neighbor_discovery(header: &ipv6::Header, payload: &[u8]) -> bool {
    header.next_header == protocol::ICMPV6
        && header.hop_limit == crate::link::NDP_HOP_LIMIT
        && payload
            .first()
            .is_some_and(|kind| (133..=136).contains(kind))
}

fn has_source_route(options: &[u8]) -> bool {
    let routes = [
        ipv4::Ipv4Option::LOOSE_SOURCE_ROUTE,
        ipv4::Ipv4Option::STRICT_SOURCE_ROUTE,
    ];
    ipv4::options(options).any(|option| routes.contains(&option.kind))
}

/// The source and destination of a packet, whole or cut short, of either version.
pub(crate) fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let address = |at: usize| -> Option<&[u8; 16]> { packet.get(at..)?.first_chunk() };
    match packet.first()? >> 4 {
        4 => {
            let [.., a, b, c, d, e, f, g, h] = *packet.first_chunk::<20>()?;
            Some((IpAddr::from([a, b, c, d]), IpAddr::from([e, f, g, h])))
        }
        6 => {
            let (src, dst) = (address(8)?, address(24)?);
            Some((Ipv6Addr::from(*src).into(), Ipv6Addr::from(*dst).into()))
        }
        _ => None,
    }
}
