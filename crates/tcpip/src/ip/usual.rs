//! The packet that most are: between the two whom the last was between, with nothing else about it.

use std::net::{IpAddr, Ipv4Addr};

use crate::device::{InterfaceId, Medium, Offload};
use crate::ip::counters::count;
use crate::ip::interface::Interface;
use crate::ip::{Ecn, Ip, Received};
use crate::wire::{checksum, ethernet, ipv4, ipv6, protocol};

impl Ip {
    /// Takes a frame if it is what most are: to us alone, IPv4 without options or IPv6 without extension
    /// headers, whole, between the two whom the packet before was from and for, with TCP or UDP in it.
    /// `None`: nothing was done, [`handle_frame`](Ip::handle_frame) is to have it.
    #[inline]
    pub(crate) fn take_usual<'a>(
        &mut self,
        interface: InterfaceId,
        frame: &'a [u8],
        offload: Offload,
    ) -> Option<Received<'a>> {
        let own = self.interfaces.get(interface.index())?;
        let packet = match own.capabilities.medium {
            Medium::Ip => frame,
            Medium::Ethernet => usual_frame(frame, own)?,
        };
        let usual = if *packet.first()? == ipv4::PLAIN {
            usual_v4(packet, own.recent_v4, self.generation)?
        } else {
            usual_v6(packet, &own.recent_v6, self.generation)?
        };
        count(&mut self.counters.in_receives);
        count(&mut self.counters.in_delivers);
        Some(Received {
            interface,
            src: usual.src,
            dst: usual.dst,
            protocol: usual.protocol,
            ecn: Ecn::from_bits(usual.dscp_ecn),
            hop_limit: usual.hop_limit,
            to_many: false,
            payload: usual.payload,
            packet: usual.packet,
            checksum: offload.checksum,
            segments: offload.segments,
        })
    }
}

/// A packet that [`Ip::take_usual`] takes.
struct Usual<'a> {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    dscp_ecn: u8,
    hop_limit: u8,
    payload: &'a [u8],
    packet: &'a [u8],
}

/// What an Ethernet frame to us, and to nobody else, carries of IP.
#[inline]
fn usual_frame<'a>(frame: &'a [u8], own: &Interface) -> Option<&'a [u8]> {
    let (header, packet) = ethernet::parse(frame).ok()?;
    let is_ip = matches!(header.ether_type, ethernet::IPV4 | ethernet::IPV6);
    (is_ip && header.dst == own.hardware).then_some(packet)
}

/// `recent`: the ends of the packet before, and in what state of all tables it was for us.
#[inline]
fn usual_v4(packet: &[u8], recent: ([u8; 8], u32), generation: u32) -> Option<Usual<'_>> {
    let header: &[u8; ipv4::HEADER_LEN] = packet.first_chunk()?;
    let [
        _,
        dscp_ecn,
        ..,
        hop_limit,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = *header;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if recent != ([s0, s1, s2, s3, d0, d1, d2, d3], generation)
        || fragment & ipv4::ANY_FRAGMENT != 0
        || !matches!(protocol, protocol::TCP | protocol::UDP)
        || !checksum::is_valid_header(header)
    {
        return None;
    }
    let packet = packet.get(..total_len)?;
    Some(Usual {
        src: Ipv4Addr::new(s0, s1, s2, s3).into(),
        dst: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol,
        dscp_ecn,
        hop_limit,
        payload: packet.get(ipv4::HEADER_LEN..)?,
        packet,
    })
}

/// As [`usual_v4`].
#[inline]
fn usual_v6<'a>(
    packet: &'a [u8],
    recent: &([[u8; 16]; 2], u32),
    generation: u32,
) -> Option<Usual<'a>> {
    let (header, payload) = ipv6::parse(packet).ok()?;
    let ([src, dst], known) = recent;
    if header.src.octets() != *src
        || header.dst.octets() != *dst
        || *known != generation
        || !matches!(header.next_header, protocol::TCP | protocol::UDP)
    {
        return None;
    }
    Some(Usual {
        src: header.src.into(),
        dst: header.dst.into(),
        protocol: header.next_header,
        dscp_ecn: header.traffic_class,
        hop_limit: header.hop_limit,
        payload,
        packet: packet.get(..ipv6::HEADER_LEN.saturating_add(payload.len()))?,
    })
}
