//! Packets on the simulated wire: a reading of their own, and what a device with offload does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use weir_core::rng::Rng;
use weir_sim::{Ecn, Packet};
use weir_tcpip::{Checksum, Offload};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// An IP packet, with what a device says of it.
#[derive(Clone, Debug)]
pub struct Wire {
    pub bytes: Bytes,
    pub offload: Offload,
    /// The link changed what a checksum covers.
    pub corrupted: bool,
}

impl Packet for Wire {
    fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    fn ecn(&self) -> Ecn {
        match class(&self.bytes) & 3 {
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            3 => Ecn::Ce,
            _ => Ecn::NotEct,
        }
    }

    fn set_ecn(&mut self, ecn: Ecn) {
        let mut bytes = self.bytes.to_vec();
        if bytes[0] >> 4 == 4 {
            bytes[1] = bytes[1] & !3 | ecn as u8;
            bytes[10..12].fill(0);
            let header = usize::from(bytes[0] & 15) * 4;
            let sum = checksum(0, &bytes[..header]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            bytes[1] = bytes[1] & !0x30 | (ecn as u8) << 4;
        }
        self.bytes = bytes.into();
    }

    /// Without a checksum a flipped bit would go unnoticed, and rightly so.
    fn is_corruptible(&self) -> bool {
        self.offload.checksum == Checksum::Complete
    }

    fn corrupt(&mut self, rng: &mut Rng) {
        let before = self.bytes.clone();
        self.bytes.corrupt(rng);
        self.corrupted |= covered(&before) != covered(&self.bytes);
    }
}

/// What checksums cover: of IPv6 neither the class, the flow label nor the hop limit.
fn covered(packet: &[u8]) -> (u8, &[u8], &[u8]) {
    match packet[0] >> 4 {
        6 => (6, &packet[4..7], &packet[8..]),
        _ => (packet[0], packet, &[]),
    }
}

fn class(packet: &[u8]) -> u8 {
    match packet[0] >> 4 {
        4 => packet[1],
        _ => packet[0] << 4 | packet[1] >> 4,
    }
}

/// A TCP segment, as an onlooker reads it.
#[derive(Clone, Debug)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub scale: Option<u8>,
    pub payload: Bytes,
}

impl Segment {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Reads a packet that was not corrupted; `None` for what is not TCP.
    pub fn parse(packet: &Bytes) -> Option<Segment> {
        let (from, to, header) = addresses(packet)?;
        let tcp = packet.slice(header..);
        let u16_at = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        let offset = usize::from(tcp[12] >> 4) * 4;
        Some(Segment {
            from: SocketAddr::new(from, u16_at(0)),
            to: SocketAddr::new(to, u16_at(2)),
            seq: u32_at(4),
            ack: u32_at(8),
            flags: tcp[13],
            window: u16_at(14),
            scale: scale(&tcp[20..offset]),
            payload: tcp.slice(offset..),
        })
    }
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    if packet[0] >> 4 == 4 {
        let at =
            |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        let header = usize::from(packet[0] & 15) * 4;
        return (packet[9] == 6).then(|| (at(12).into(), at(16).into(), header));
    }
    let at = |at: usize| {
        let octets: [u8; 16] = packet[at..at + 16].try_into().unwrap();
        IpAddr::from(Ipv6Addr::from(octets))
    };
    (packet[6] == 6).then(|| (at(8), at(24), 40))
}

fn scale(mut options: &[u8]) -> Option<u8> {
    loop {
        match *options {
            [3, 3, shift, ..] => return Some(shift),
            [1, ref rest @ ..] => options = rest,
            [kind, len, ..] if kind > 1 => options = options.get(usize::from(len)..)?,
            _ => return None,
        }
    }
}

/// The internet checksum of `bytes`, begun with `sum`.
fn checksum(sum: u32, bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum = sum + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// What a device with offload does: completes checksums, and cuts super-segments into packets of
/// their own.
pub fn cut(wire: Wire, out: &mut Vec<Wire>) {
    let Checksum::Partial { start, offset } = wire.offload.checksum else {
        out.push(wire);
        return;
    };
    let (start, offset) = (usize::from(start), usize::from(offset));
    let Some(segments) = wire.offload.segments else {
        out.push(complete(wire.bytes.to_vec(), start, offset));
        return;
    };
    let (header, size) = (usize::from(segments.header_len), usize::from(segments.size));
    let (head, payload) = wire.bytes.split_at(header);
    let count = payload.len().div_ceil(size);
    for (index, piece) in payload.chunks(size).enumerate() {
        let mut bytes = [head, piece].concat();
        let seq = u32::from_be_bytes(head[start + 4..start + 8].try_into().unwrap());
        let seq = seq.wrapping_add(u32::try_from(index * size).unwrap());
        bytes[start + 4..start + 8].copy_from_slice(&seq.to_be_bytes());
        if index + 1 < count {
            bytes[start + 13] &= !(FIN | PSH);
        }
        if index > 0 {
            bytes[start + 13] &= !CWR;
        }
        set_length(&mut bytes, index);
        out.push(complete(bytes, start, offset));
    }
}

/// Writes the packet's length, and another identification for each piece.
fn set_length(bytes: &mut [u8], index: usize) {
    let len = u16::try_from(bytes.len()).unwrap();
    if bytes[0] >> 4 == 6 {
        bytes[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        return;
    }
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    let id = u16::from_be_bytes([bytes[4], bytes[5]]);
    let id = id.wrapping_add(u16::try_from(index).unwrap());
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
    bytes[10..12].fill(0);
    let header = usize::from(bytes[0] & 15) * 4;
    let sum = checksum(0, &bytes[..header]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Fills in the transport checksum, from the pseudo-header on.
fn complete(mut bytes: Vec<u8>, start: usize, offset: usize) -> Wire {
    let (from, to, protocol) = match bytes[0] >> 4 {
        4 => (12..16, 16..20, bytes[9]),
        _ => (8..24, 24..40, bytes[6]),
    };
    let len = u32::try_from(bytes.len() - start).unwrap();
    bytes[start + offset..start + offset + 2].fill(0);
    let pseudo = !checksum(
        u32::from(protocol) + len,
        &[&bytes[from], &bytes[to]].concat(),
    );
    let sum = checksum(u32::from(pseudo), &bytes[start..]);
    bytes[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    Wire {
        bytes: bytes.into(),
        offload: Offload::default(),
        corrupted: false,
    }
}
