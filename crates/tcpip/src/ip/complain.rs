//! ICMP errors that we send: when one is due, to whom, how often, with what in it (RFC 1122 section
//! 3.2.2, RFC 1812 section 4.3.2, RFC 4443 section 2.4).

use std::net::{IpAddr, Ipv6Addr};

use weir_core::time::Instant;

use crate::device::InterfaceId;
use crate::ip::counters::count;
use crate::ip::input::ends;
use crate::ip::interface::is_host;
use crate::ip::{DEFAULT_HOP_LIMIT, Ecn, Hints, Ip, LOOPBACK, Packet};
use crate::transmit::TransmitBuf;
use crate::wire::ipv6::Extension;
use crate::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};

/// How much of a packet an ICMPv4 error quotes: with its headers it is no longer than 576 bytes, which
/// every host takes (RFC 1812 section 4.3.2.3).
const QUOTE_V4: usize = 576 - 20 - 8;
/// The same for ICMPv6: 1280 bytes (RFC 4443 section 2.4 (c)).
const QUOTE_V6: usize = 1280 - 40 - 8;

/// What is wrong with a packet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    NoRoute,
    HostUnreachable,
    PortUnreachable,
    ProtocolUnreachable,
    /// Somebody forbids it.
    Prohibited,
    /// Larger than the next link takes, in bytes.
    TooBig(u16),
    /// Its hop limit ran out.
    HopLimit,
    /// Fragments of it are missing.
    Reassembly,
    /// IPv6 only.
    Parameter {
        code: u8,
        pointer: u32,
        even_to_multicast: bool,
    },
}

impl Ip {
    /// Says that nobody listens on the port that a packet was for (T151), where an error is due (T148)
    /// and the rate allows it (T149). `packet` is [`Received::packet`](crate::ip::Received::packet).
    pub(crate) fn port_unreachable(&mut self, now: Instant, packet: &[u8]) {
        self.complain(now, packet, Complaint::PortUnreachable);
    }

    /// Sends an error about a packet, whole or cut short.
    pub(crate) fn complain(&mut self, now: Instant, packet: &[u8], complaint: Complaint) {
        self.complain_on(now, None, packet, complaint);
    }

    /// The same; `on` is where the packet came from, for link-local sources.
    pub(crate) fn complain_on(
        &mut self,
        now: Instant,
        on: Option<InterfaceId>,
        packet: &[u8],
        complaint: Complaint,
    ) {
        let _told = self.try_complain(now, on, packet, complaint);
    }

    /// The same; whether the error was sent.
    pub(crate) fn try_complain(
        &mut self,
        now: Instant,
        on: Option<InterfaceId>,
        packet: &[u8],
        complaint: Complaint,
    ) -> bool {
        let Some((src, dst)) = ends(packet) else {
            return false;
        };
        if !self.may_complain(packet, src, dst, complaint) {
            return false;
        }
        // From the address that the packet was for, where that is ours; a router answers from its own.
        let local = Some(dst).filter(|dst| !dst.is_multicast() && self.is_local(*dst));
        let local = local.filter(|_| {
            !matches!(
                complaint,
                Complaint::TooBig(_) | Complaint::HopLimit | Complaint::NoRoute
            )
        });
        let Ok(route) = self.route_from(src, local, on) else {
            return false;
        };
        // What we send to ourselves is right.
        if route.interface == LOOPBACK && complaint != Complaint::PortUnreachable {
            return false;
        }
        if !self.rate.allows(now, src, &mut self.rng) {
            count(&mut self.counters.out_rate_limited);
            return false;
        }
        let from = route.source;
        let quoted = packet
            .get(..if src.is_ipv4() { QUOTE_V4 } else { QUOTE_V6 })
            .unwrap_or(packet);
        let packet = Packet {
            src: from,
            dst: src,
            protocol: if src.is_ipv4() {
                protocol::ICMPV4
            } else {
                protocol::ICMPV6
            },
            ecn: Ecn::NotEct,
            dscp: 0,
            hop_limit: DEFAULT_HOP_LIMIT,
            dont_fragment: false,
            transport_len: quoted.len().saturating_add(icmpv4::HEADER_LEN),
            hints: Hints::default(),
        };
        let sent = self.with_replies(|ip, out| {
            ip.send(now, out, &route, &packet, |out| {
                write(from, src, complaint, quoted, out)
            })
        });
        if sent {
            count(&mut self.counters.out_icmp_errors);
        }
        sent
    }

    /// T148: whether an error about a packet may be sent at all.
    fn may_complain(&self, packet: &[u8], src: IpAddr, dst: IpAddr, complaint: Complaint) -> bool {
        // To no group, to nobody, to no network: to one host.
        if !(is_host(src) || src.is_loopback() && dst.is_loopback()) {
            return false;
        }
        if let IpAddr::V4(src) = src
            && self
                .interfaces
                .iter()
                .any(|interface| interface.is_broadcast(src))
        {
            return false;
        }
        // RFC 4443 section 2.4 (e.3): these two are sent about packets to groups as well.
        let about_groups = match complaint {
            Complaint::TooBig(_) => dst.is_ipv6(),
            Complaint::Parameter {
                even_to_multicast, ..
            } => even_to_multicast,
            _ => false,
        };
        let to_many = match dst {
            IpAddr::V4(dst) => {
                let mut interfaces = self.interfaces.iter();
                dst.is_multicast() || interfaces.any(|interface| interface.is_broadcast(dst))
            }
            IpAddr::V6(dst) => dst.is_multicast(),
        };
        if to_many && !about_groups {
            return false;
        }
        match dst {
            IpAddr::V4(_) => is_reportable_v4(packet),
            IpAddr::V6(_) => is_reportable_v6(packet, complaint),
        }
    }
}

/// Not about an ICMP error, nor about a fragment other than the first.
fn is_reportable_v4(packet: &[u8]) -> bool {
    let Some(fixed) = packet.first_chunk::<{ ipv4::HEADER_LEN }>() else {
        return false;
    };
    let offset = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff;
    if offset != 0 {
        return false;
    }
    let header_len = usize::from(fixed[0] & 0x0f) << 2;
    let kind = packet.get(header_len).copied();
    fixed[9] != protocol::ICMPV4 || kind.is_some_and(|kind| !icmpv4::is_error_type(kind))
}

fn is_reportable_v6(packet: &[u8], complaint: Complaint) -> bool {
    let Some(fixed) = packet.first_chunk::<{ ipv6::HEADER_LEN }>() else {
        return false;
    };
    let payload = packet.get(ipv6::HEADER_LEN..).unwrap_or_default();
    let mut walk = ipv6::extensions(fixed[6], payload);
    loop {
        match walk.next() {
            // What is wrong with the fragment itself is told (RFC 8200 section 4.5), unless it may be
            // part of an error.
            Some(Ok(Extension::Fragment(part))) if part.fragment_offset != 0 => {
                let about_it = matches!(complaint, Complaint::Parameter { .. });
                return about_it && part.next_header != protocol::ICMPV6;
            }
            Some(Ok(Extension::Fragment(part))) => walk = ipv6::extensions_of(&part),
            Some(Ok(Extension::Upper(upper))) => {
                let kind = upper.payload.first().copied();
                // Redirects are not errors by number but are not answered either (RFC 4443 2.4 (e.2)).
                return upper.protocol != protocol::ICMPV6
                    || kind.is_some_and(|kind| !icmpv6::is_error_type(kind) && kind != 137);
            }
            Some(Ok(_)) => {}
            // Broken further on, but so far it is nothing that must not be answered.
            Some(Err(_)) | None => return true,
        }
    }
}

fn write(from: IpAddr, to: IpAddr, complaint: Complaint, quoted: &[u8], out: &mut TransmitBuf) {
    match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => write_v6(from, to, complaint, quoted, &mut out.data),
        _ => write_v4(complaint, quoted, &mut out.data),
    }
}

fn write_v4(complaint: Complaint, quoted: &[u8], out: &mut Vec<u8>) {
    use icmpv4::{Message, unreachable};
    let unreachable = |code, mtu| Message::Unreachable { code, mtu, quoted };
    let message = match complaint {
        Complaint::NoRoute => unreachable(unreachable::NET, 0),
        Complaint::HostUnreachable => unreachable(unreachable::HOST, 0),
        Complaint::PortUnreachable => unreachable(unreachable::PORT, 0),
        Complaint::ProtocolUnreachable => unreachable(unreachable::PROTOCOL, 0),
        Complaint::Prohibited => unreachable(unreachable::PROHIBITED, 0),
        Complaint::TooBig(mtu) => unreachable(unreachable::FRAGMENTATION_NEEDED, mtu),
        Complaint::HopLimit => Message::TimeExceeded { code: 0, quoted },
        Complaint::Reassembly => Message::TimeExceeded { code: 1, quoted },
        Complaint::Parameter { pointer, .. } => Message::ParameterProblem {
            code: 0,
            pointer: pointer as u8,
            quoted,
        },
    };
    message.write(out);
}

fn write_v6(from: Ipv6Addr, to: Ipv6Addr, complaint: Complaint, quoted: &[u8], out: &mut Vec<u8>) {
    use icmpv6::{Message, unreachable};
    let unreachable = |code| Message::Unreachable { code, quoted };
    let message = match complaint {
        Complaint::NoRoute => unreachable(unreachable::NO_ROUTE),
        Complaint::HostUnreachable => unreachable(unreachable::ADDRESS),
        Complaint::PortUnreachable => unreachable(unreachable::PORT),
        Complaint::Prohibited => unreachable(unreachable::PROHIBITED),
        Complaint::ProtocolUnreachable => Message::ParameterProblem {
            code: 1,
            pointer: upper_named_at(quoted),
            quoted,
        },
        Complaint::TooBig(mtu) => Message::PacketTooBig {
            mtu: u32::from(mtu),
            quoted,
        },
        Complaint::HopLimit => Message::TimeExceeded { code: 0, quoted },
        Complaint::Reassembly => Message::TimeExceeded { code: 1, quoted },
        Complaint::Parameter { code, pointer, .. } => Message::ParameterProblem {
            code,
            pointer,
            quoted,
        },
    };
    message.write(from, to, out);
}

/// Where a packet names its upper layer.
fn upper_named_at(packet: &[u8]) -> u32 {
    let next_header = packet.get(6).copied().unwrap_or(0);
    let payload = packet.get(ipv6::HEADER_LEN..).unwrap_or_default();
    match ipv6::extensions(next_header, payload).last() {
        Some(Ok(Extension::Upper(upper))) => u32::try_from(upper.named_at).unwrap_or(6),
        _ => 6,
    }
}
