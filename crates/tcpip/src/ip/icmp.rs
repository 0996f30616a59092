//! ICMP that arrives: echo is answered, errors go to the transports (RFC 792, RFC 1122 section 3.2.2,
//! RFC 4443).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_core::time::Instant;

use crate::ip::counters::count;
use crate::ip::{
    Arrived, Cause, DEFAULT_HOP_LIMIT, Ecn, Hints, IcmpError, IcmpKind, Ip, Packet, Received,
};
use crate::link::Heard;
use crate::wire::ipv6::Extension;
use crate::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};

impl Ip {
    /// Takes a message of ICMPv4.
    pub(crate) fn handle_icmpv4<'a>(
        &mut self,
        now: Instant,
        received: &Received<'a>,
    ) -> Option<Arrived<'a>> {
        use icmpv4::Message;
        count(&mut self.counters.in_icmp_messages);
        let Ok(message) = icmpv4::parse(received.payload) else {
            self.discard(received.packet, Cause::ICMP);
            return None;
        };
        let (kind, quoted) = match message {
            Message::Echo {
                reply: false,
                id,
                seq,
                data,
            } => {
                // T147: not for broadcast, which would let one packet make a whole network answer.
                if !received.to_many {
                    let echo = Message::Echo {
                        reply: true,
                        id,
                        seq,
                        data,
                    };
                    self.answer_echo(now, received, data.len(), |_, _, out| echo.write(out));
                }
                return None;
            }
            Message::Unreachable { code, mtu, quoted } => (kind_v4(code, mtu), quoted),
            Message::TimeExceeded { quoted, .. } => (IcmpKind::TimeExceeded, quoted),
            Message::ParameterProblem { quoted, .. } => (IcmpKind::ParameterProblem, quoted),
            Message::Echo { .. } | Message::Other { .. } => return None,
        };
        let error = open_v4(kind, quoted)?;
        self.believe(received, error)
    }

    /// Takes a message of ICMPv6.
    pub(crate) fn handle_icmpv6<'a>(
        &mut self,
        now: Instant,
        received: &Received<'a>,
    ) -> Option<Arrived<'a>> {
        use icmpv6::Message;
        count(&mut self.counters.in_icmp_messages);
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (received.src, received.dst) else {
            return None;
        };
        let Ok(message) = icmpv6::parse(src, dst, received.payload) else {
            self.discard(received.packet, Cause::ICMP);
            return None;
        };
        let (kind, quoted) = match message {
            Message::Echo {
                reply: false,
                id,
                seq,
                data,
            } => {
                let echo = Message::Echo {
                    reply: true,
                    id,
                    seq,
                    data,
                };
                self.answer_echo(now, received, data.len(), |src, dst, out| {
                    echo.write(src, dst, out)
                });
                return None;
            }
            Message::Ndp(message) => {
                let own = self.interface(received.interface);
                if own.is_some_and(|own| own.is_ethernet()) {
                    let heard = Heard {
                        interface: received.interface,
                        src,
                        dst,
                        hop_limit: received.hop_limit,
                    };
                    self.handle_ndp(now, &heard, &message);
                }
                return None;
            }
            Message::Other { kind, body, .. } => {
                self.handle_group_query(now, received, kind, body);
                return None;
            }
            Message::Unreachable { code, quoted } => (kind_v6(code), quoted),
            Message::PacketTooBig { mtu, quoted } => (IcmpKind::PacketTooBig { mtu }, quoted),
            Message::TimeExceeded { quoted, .. } => (IcmpKind::TimeExceeded, quoted),
            Message::ParameterProblem {
                code: 1, quoted, ..
            } => (IcmpKind::ProtocolUnreachable, quoted),
            Message::ParameterProblem { quoted, .. } => (IcmpKind::ParameterProblem, quoted),
            Message::Echo { .. } => return None,
        };
        let error = open_v6(kind, quoted)?;
        self.believe(received, error)
    }

    /// Gives an error to the transports if it is about a packet that can have been ours. Whether it was,
    /// they see by ports and sequence numbers (RFC 5927 section 4.1).
    fn believe<'a>(
        &mut self,
        received: &Received<'a>,
        error: IcmpError<'a>,
    ) -> Option<Arrived<'a>> {
        let ours = self.is_local(error.src) && !error.dst.is_unspecified();
        // Errors come to the address that the packet came from; ICMPv6 may report to groups.
        if !ours || received.to_many || received.dst != error.src {
            self.discard(received.packet, Cause::ICMP_STRANGE);
            return None;
        }
        Some(Arrived::Error(error))
    }

    /// T147: the same data, identifier and sequence number back, from the address that was asked.
    fn answer_echo(
        &mut self,
        now: Instant,
        received: &Received<'_>,
        data_len: usize,
        write: impl FnOnce(Ipv6Addr, Ipv6Addr, &mut Vec<u8>),
    ) {
        let local = Some(received.dst).filter(|_| !received.to_many);
        let Ok(route) = self.route_from(received.src, local, Some(received.interface)) else {
            return;
        };
        let packet = Packet {
            src: route.source,
            dst: received.src,
            protocol: received.protocol,
            ecn: Ecn::NotEct,
            dscp: 0,
            hop_limit: DEFAULT_HOP_LIMIT,
            dont_fragment: false,
            transport_len: data_len.saturating_add(icmpv4::HEADER_LEN),
            hints: Hints::default(),
        };
        let ends = (v6(route.source), v6(received.src));
        let sent = self.with_replies(|ip, out| {
            ip.send(now, out, &route, &packet, |out| {
                write(ends.0, ends.1, &mut out.data)
            })
        });
        if sent {
            count(&mut self.counters.out_echo_replies);
        }
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
    }
}

const fn kind_v4(code: u8, mtu: u16) -> IcmpKind {
    match code {
        2 => IcmpKind::ProtocolUnreachable,
        3 => IcmpKind::PortUnreachable,
        4 => IcmpKind::PacketTooBig { mtu: mtu as u32 },
        9 | 10 | 13 => IcmpKind::Prohibited,
        0 | 6 | 11 => IcmpKind::NetworkUnreachable,
        _ => IcmpKind::HostUnreachable,
    }
}

const fn kind_v6(code: u8) -> IcmpKind {
    match code {
        1 | 5 | 6 => IcmpKind::Prohibited,
        4 => IcmpKind::PortUnreachable,
        0 => IcmpKind::NetworkUnreachable,
        _ => IcmpKind::HostUnreachable,
    }
}

/// What an error says of a packet, or of its beginning; `None` where that is no first fragment.
pub(crate) fn open(kind: IcmpKind, packet: &[u8]) -> Option<IcmpError<'_>> {
    match packet.first()? >> 4 {
        4 => open_v4(kind, packet),
        _ => open_v6(kind, packet),
    }
}

/// What an error quotes of an IPv4 packet, which is seldom all of it.
fn open_v4(kind: IcmpKind, quoted: &[u8]) -> Option<IcmpError<'_>> {
    let h: &[u8; ipv4::HEADER_LEN] = quoted.first_chunk()?;
    let header_len = usize::from(h[0] & 0x0f) << 2;
    let offset = u16::from_be_bytes([h[6], h[7]]) & 0x1fff;
    if h[0] >> 4 != 4 || header_len < ipv4::HEADER_LEN || offset != 0 {
        return None;
    }
    let transport = quoted
        .get(header_len..)
        .filter(|transport| transport.len() >= 8)?;
    Some(IcmpError {
        kind,
        src: Ipv4Addr::new(h[12], h[13], h[14], h[15]).into(),
        dst: Ipv4Addr::new(h[16], h[17], h[18], h[19]).into(),
        protocol: h[9],
        size: u16::from_be_bytes([h[2], h[3]]),
        quoted: transport,
    })
}

/// The same of an IPv6 packet, extension headers passed over.
fn open_v6(kind: IcmpKind, quoted: &[u8]) -> Option<IcmpError<'_>> {
    let (fixed, rest) = quoted.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
    let (src, dst) = crate::ip::input::ends(fixed)?;
    if src.is_ipv4() {
        return None;
    }
    let mut walk = ipv6::extensions(fixed[6], rest);
    let upper = loop {
        match walk.next()?.ok()? {
            Extension::Upper(upper) => break upper,
            Extension::Fragment(part) if part.fragment_offset == 0 => {
                walk = ipv6::extensions_of(&part)
            }
            Extension::Fragment(_) => return None,
            _ => {}
        }
    };
    if upper.payload.len() < 8 || upper.protocol == protocol::ICMPV6 {
        return None;
    }
    let payload_len = u16::from_be_bytes([fixed[4], fixed[5]]);
    Some(IcmpError {
        kind,
        src,
        dst,
        protocol: upper.protocol,
        size: payload_len.saturating_add(ipv6::HEADER_LEN as u16),
        quoted: upper.payload,
    })
}
