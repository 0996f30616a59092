//! The internet layer as a whole, on virtual time: frames in, frames out, counters and states.

mod arp;
mod errors;
mod forward;
mod hostile;
mod neighbors;
mod notes;
mod router;
mod send;
mod v4;
mod v6;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_core::rng::{self, rng_from_seed};
use weir_core::time::{Duration, Instant};

use super::*;
use crate::device::{Capabilities, Medium, Offload};
use crate::link::Mac;
use crate::wire::{checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp, protocol};

/// Our own Ethernet address, a neighbour's, somebody else's.
const US: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 3]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// An internet layer and the time.
struct Host {
    ip: Ip,
    now: Instant,
    /// What was given to the transports, in words.
    arrived: Vec<String>,
    /// The last payload given to them.
    payload: Vec<u8>,
}

const FIRST: InterfaceId = InterfaceId(0);

impl Host {
    /// On a link without addresses of its own.
    fn tun(addresses: &[&str]) -> Host {
        let capabilities = Capabilities::plain(Medium::Ip, 1500);
        Host::with(InterfaceConfig {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..InterfaceConfig::new("tun0", capabilities)
        })
    }

    /// On an Ethernet; its addresses are ready, and what it said about them is forgotten.
    fn ethernet(addresses: &[&str]) -> Host {
        let mut host = Host::with(ethernet(addresses, US));
        host.ip.replies.clear();
        host.pass(Duration::from_secs(5));
        host.sent();
        while host.ip.poll_event().is_some() {}
        host
    }

    fn with(config: InterfaceConfig) -> Host {
        let now = Instant::from_millis(1_000);
        let mut host = Host {
            ip: Ip::new(now, rng_from_seed(7)),
            now,
            arrived: Vec::new(),
            payload: Vec::new(),
        };
        host.ip.add_interface(now, config).unwrap();
        host
    }

    /// Takes a frame, and what follows from it to ourselves.
    fn take(&mut self, frame: &[u8]) {
        self.take_on(FIRST, frame, Offload::default());
    }

    fn take_on(&mut self, interface: InterfaceId, frame: &[u8], offload: Offload) {
        let mut scratch = Vec::new();
        // As the stack does it.
        let arrived = match self.ip.take_usual(interface, frame, offload) {
            Some(packet) => Some(Arrived::Packet(packet)),
            None => self
                .ip
                .handle_frame(self.now, interface, frame, offload, &mut scratch),
        };
        match arrived {
            Some(Arrived::Packet(packet)) => {
                self.payload = packet.payload.to_vec();
                let many = if packet.to_many { " to many" } else { "" };
                self.arrived.push(format!(
                    "{} {}>{} {}{many}",
                    packet.protocol,
                    packet.src,
                    packet.dst,
                    packet.payload.len()
                ));
            }
            Some(Arrived::Error(error)) => self.arrived.push(format!(
                "{:?} {}>{} {} {}",
                error.kind, error.src, error.dst, error.protocol, error.size
            )),
            None => {}
        }
    }

    /// Frames sent since the last call.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut out = TransmitBuf::new();
        let mut sent = Vec::new();
        loop {
            let more = self.ip.poll_transmit(self.now, &mut out);
            sent.extend(flat(&out));
            out.clear();
            if !more {
                return sent;
            }
        }
    }

    /// Lets time pass, everything done when it is due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, _)) = self.ip.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.ip.handle_timeout(self.now);
        }
        self.now = until;
        self.ip.handle_timeout(self.now);
    }

    fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// Sends a datagram to `dst` as a transport does.
    fn send(
        &mut self,
        dst: &str,
        payload: &[u8],
        dont_fragment: bool,
    ) -> Result<Vec<Vec<u8>>, SendError> {
        let route = self.ip.route(ip(dst), None).unwrap();
        self.send_by(&route, dst, payload, dont_fragment)
    }

    fn send_by(
        &mut self,
        route: &Route,
        dst: &str,
        payload: &[u8],
        dont_fragment: bool,
    ) -> Result<Vec<Vec<u8>>, SendError> {
        let mut out = TransmitBuf::new();
        let packet = Packet {
            src: route.source,
            dst: ip(dst),
            protocol: protocol::UDP,
            ecn: Ecn::NotEct,
            dscp: 0,
            hop_limit: DEFAULT_HOP_LIMIT,
            dont_fragment,
            transport_len: payload.len(),
            hints: Hints::default(),
        };
        let fill = |out: &mut TransmitBuf| out.data.extend_from_slice(payload);
        self.ip.send(self.now, &mut out, route, &packet, fill)?;
        Ok(flat(&out))
    }
}

fn ethernet(addresses: &[&str], hardware: Mac) -> InterfaceConfig {
    InterfaceConfig {
        hardware: Some(hardware),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..InterfaceConfig::new("eth0", Capabilities::plain(Medium::Ethernet, 1500))
    }
}

fn flat(out: &TransmitBuf) -> Vec<Vec<u8>> {
    let frames = out.frames().map(|frame| {
        let mut bytes = frame.head.to_vec();
        frame
            .rest
            .iter()
            .for_each(|slice| bytes.extend_from_slice(slice));
        bytes
    });
    frames.collect()
}

/// A packet of IPv4, its fields to be changed by `change`.
fn packet4(
    src: &str,
    dst: &str,
    protocol: u8,
    payload: &[u8],
    change: impl FnOnce(&mut ipv4::Header),
) -> Vec<u8> {
    let mut header = ipv4::Header {
        src: v4(src),
        dst: v4(dst),
        protocol,
        ttl: 64,
        dscp_ecn: 0,
        id: 77,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        total_len: 0,
    };
    change(&mut header);
    let mut packet = Vec::new();
    header.write(payload.len(), &mut packet);
    packet.extend_from_slice(payload);
    packet
}

fn packet6(src: &str, dst: &str, next_header: u8, payload: &[u8]) -> Vec<u8> {
    hops6(src, dst, next_header, 64, payload)
}

fn hops6(src: &str, dst: &str, next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ipv6::Header {
        src: v6(src),
        dst: v6(dst),
        next_header,
        hop_limit,
        traffic_class: 0,
        flow_label: 0,
        payload_len: 0,
    }
    .write(payload.len(), &mut packet);
    packet.extend_from_slice(payload);
    packet
}

/// An echo request of IPv4.
fn ping4(src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    icmpv4::Message::Echo {
        reply: false,
        id: 5,
        seq: 6,
        data,
    }
    .write(&mut body);
    packet4(src, dst, protocol::ICMPV4, &body, |_| {})
}

fn ping6(src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    icmpv6::Message::Echo {
        reply: false,
        id: 5,
        seq: 6,
        data,
    }
    .write(v6(src), v6(dst), &mut body);
    packet6(src, dst, protocol::ICMPV6, &body)
}

fn icmp6(src: &str, dst: &str, hop_limit: u8, message: &icmpv6::Message<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    message.write(v6(src), v6(dst), &mut body);
    hops6(src, dst, protocol::ICMPV6, hop_limit, &body)
}

/// In an Ethernet frame.
fn frame(src: Mac, dst: Mac, packet: &[u8]) -> Vec<u8> {
    let ether_type = match packet[0] >> 4 {
        4 => ethernet::IPV4,
        6 => ethernet::IPV6,
        _ => ethernet::ARP,
    };
    let mut bytes = Vec::new();
    ethernet::Header {
        dst,
        src,
        ether_type,
    }
    .write(&mut bytes);
    bytes.extend_from_slice(packet);
    bytes
}

/// What an ICMPv4 error in a packet says.
fn error4(packet: &[u8]) -> (u8, u8) {
    let parsed = ipv4::parse(packet).unwrap();
    assert_eq!(parsed.header.protocol, protocol::ICMPV4);
    assert!(icmpv4::parse(parsed.payload).is_ok());
    (parsed.payload[0], parsed.payload[1])
}

/// What an ICMPv6 error in a packet says, with the number behind the checksum.
fn error6(packet: &[u8]) -> (u8, u8, u32) {
    let (header, payload) = ipv6::parse(packet).unwrap();
    assert_eq!(header.next_header, protocol::ICMPV6);
    assert!(icmpv6::parse(header.src, header.dst, payload).is_ok());
    let number = u32::from_be_bytes(payload[4..8].try_into().unwrap());
    (payload[0], payload[1], number)
}
