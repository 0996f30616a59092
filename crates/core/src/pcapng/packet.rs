//! IP packets around what did not travel in packets, so that a capture can show it.
//!
//! IPv4 (RFC 791) and IPv6 (RFC 8200) with UDP (RFC 768) or TCP (RFC 9293), without options, with
//! right checksums (RFC 1071).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most payload in one packet, in bytes: what IPv4's length field leaves after a TCP header.
pub const MAX_PAYLOAD: usize = 65_535 - 20 - 20;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Control bits of a TCP header (RFC 9293 section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push to the reader.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

/// Appends an IP packet with a UDP datagram. The IP version is IPv4 when both addresses are, else
/// IPv6 with mapped addresses. A payload beyond [`MAX_PAYLOAD`] is cut.
pub fn udp(out: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
    let length = (8 + payload.len()) as u16;
    let start = ip_header(out, from.ip(), to.ip(), UDP, length);
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(payload);
    let sum = transport_checksum(out, start, (from.ip(), to.ip()), UDP);
    // RFC 768: a sum of zero is sent as all ones, for zero means that there is none.
    put_u16(out, start + 6, if sum == 0 { 0xffff } else { sum });
}

/// What a TCP header says besides ports.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TcpHeader {
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Next sequence number expected from the other side.
    pub ack: u32,
    /// Control bits, see [`flag`].
    pub flags: u8,
}

/// Appends an IP packet with a TCP segment. The IP version is chosen as by [`udp`]. A payload
/// beyond [`MAX_PAYLOAD`] is cut.
pub fn tcp(out: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, header: TcpHeader, payload: &[u8]) {
    let payload = payload.get(..MAX_PAYLOAD).unwrap_or(payload);
    let start = ip_header(out, from.ip(), to.ip(), TCP, (20 + payload.len()) as u16);
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    out.extend_from_slice(&header.seq.to_be_bytes());
    out.extend_from_slice(&header.ack.to_be_bytes());
    // Five words of header, a full window, checksum to come, no urgent data.
    out.extend_from_slice(&[5 << 4, header.flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
    let sum = transport_checksum(out, start, (from.ip(), to.ip()), TCP);
    put_u16(out, start + 16, sum);
}

/// Which end of a flow.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connected.
    Client,
    /// The one that was connected to.
    Server,
}

/// A TCP connection made up around two byte streams: it knows the sequence numbers.
#[derive(Clone, Debug)]
pub struct TcpFlow {
    client: SocketAddr,
    server: SocketAddr,
    client_next: u32,
    server_next: u32,
}

impl TcpFlow {
    /// A flow between two addresses. Sequence numbers begin at 0 on both sides.
    #[must_use]
    pub fn new(client: SocketAddr, server: SocketAddr) -> TcpFlow {
        TcpFlow {
            client,
            server,
            client_next: 0,
            server_next: 0,
        }
    }

    /// The three packets of the handshake, each given to `record`.
    pub fn open(&mut self, mut record: impl FnMut(&[u8])) {
        self.segment(Side::Client, flag::SYN, &[], &mut record);
        self.segment(Side::Server, flag::SYN | flag::ACK, &[], &mut record);
        self.segment(Side::Client, flag::ACK, &[], &mut record);
    }

    /// The packets that carry `data` from one side, each given to `record`.
    pub fn data(&mut self, from: Side, data: &[u8], mut record: impl FnMut(&[u8])) {
        for piece in data.chunks(MAX_PAYLOAD) {
            self.segment(from, flag::PSH | flag::ACK, piece, &mut record);
        }
    }

    /// One side ends its stream.
    pub fn finish(&mut self, from: Side, mut record: impl FnMut(&[u8])) {
        self.segment(from, flag::FIN | flag::ACK, &[], &mut record);
    }

    /// One side breaks the connection.
    pub fn reset(&mut self, from: Side, mut record: impl FnMut(&[u8])) {
        self.segment(from, flag::RST | flag::ACK, &[], &mut record);
    }

    fn segment(&mut self, side: Side, flags: u8, payload: &[u8], record: &mut impl FnMut(&[u8])) {
        let (from, to, next, ack) = match side {
            Side::Client => {
                let next = &mut self.client_next;
                (self.client, self.server, next, self.server_next)
            }
            Side::Server => {
                let next = &mut self.server_next;
                (self.server, self.client, next, self.client_next)
            }
        };
        let header = TcpHeader {
            seq: *next,
            ack: if flags & flag::ACK == 0 { 0 } else { ack },
            flags,
        };
        // SYN and FIN count as one byte each (RFC 9293 section 3.4).
        let counted = payload.len() as u32 + u32::from(flags & (flag::SYN | flag::FIN) != 0);
        *next = next.wrapping_add(counted);
        let mut packet = Vec::with_capacity(60 + payload.len());
        tcp(&mut packet, from, to, header, payload);
        record(&packet);
    }
}

/// Appends an IP header; returns where the transport's header begins.
fn ip_header(out: &mut Vec<u8>, from: IpAddr, to: IpAddr, protocol: u8, length: u16) -> usize {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else {
        return ipv6_header(out, mapped(from), mapped(to), protocol, length);
    };
    let start = out.len();
    // Version 4, five words; no service class.
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&length.saturating_add(20).to_be_bytes());
    // Identification 0, don't fragment (RFC 6864: an atomic datagram needs no identification).
    out.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    out.extend_from_slice(&from.octets());
    out.extend_from_slice(&to.octets());
    let sum = !folded(sum_words(0, out.get(start..).unwrap_or_default()));
    put_u16(out, start + 10, sum);
    start + 20
}

fn ipv6_header(
    out: &mut Vec<u8>,
    from: Ipv6Addr,
    to: Ipv6Addr,
    protocol: u8,
    length: u16,
) -> usize {
    // Version 6, no class, no flow label.
    out.extend_from_slice(&[0x60, 0, 0, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[protocol, 64]);
    out.extend_from_slice(&from.octets());
    out.extend_from_slice(&to.octets());
    out.len()
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address),
        IpAddr::V6(address) => address,
    }
}

/// The checksum over the pseudo-header and everything from `start` on.
fn transport_checksum(out: &[u8], start: usize, ends: (IpAddr, IpAddr), protocol: u8) -> u16 {
    let segment = out.get(start..).unwrap_or_default();
    // Length and protocol are words of their own in either pseudo-header.
    let fixed = segment.len() as u64 + u64::from(protocol);
    let addresses = match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            sum_words(sum_words(fixed, &from.octets()), &to.octets())
        }
        (from, to) => {
            let from = sum_words(fixed, &mapped(from).octets());
            sum_words(from, &mapped(to).octets())
        }
    };
    !folded(sum_words(addresses, segment))
}

/// Adds the 16-bit words of `data` to `sum` (RFC 1071).
fn sum_words(sum: u64, data: &[u8]) -> u64 {
    let mut words = data.chunks_exact(2);
    let mut sum = sum;
    for word in &mut words {
        if let [high, low] = word {
            sum += u64::from(u16::from_be_bytes([*high, *low]));
        }
    }
    match words.remainder() {
        [last] => sum + (u64::from(*last) << 8),
        _ => sum,
    }
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn put_u16(out: &mut [u8], at: usize, value: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Puts ECN bits (RFC 3168 section 5, 0 to 3) into the IP header at the front of `packet`, which has
/// none yet. IPv4's checksum stays right.
pub fn set_ecn(packet: &mut [u8], bits: u8) {
    let bits = bits & 3;
    let [version, class, ..] = packet else { return };
    if *version >> 4 == 6 {
        *class |= bits << 4;
        return;
    }
    *class |= bits;
    if let Some([high, low]) = packet.get_mut(10..12) {
        // RFC 1624 equation 3, with a word that grows by `bits`.
        let sum = u32::from(!u16::from_be_bytes([*high, *low])) + u32::from(bits);
        let folded = (sum & 0xffff) + (sum >> 16);
        [*high, *low] = (!(folded as u16)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A checksum is right when the sum with it comes to all ones.
    fn checks(packet: &[u8], start: usize, ends: (IpAddr, IpAddr), protocol: u8) -> bool {
        transport_checksum(packet, start, ends, protocol) == 0
    }

    // RFC 791, RFC 768.
    #[test]
    fn a_udp_datagram_over_ipv4() {
        let (from, to) = (address("10.0.0.1:1000"), address("10.0.0.2:53"));
        let mut packet = Vec::new();
        udp(&mut packet, from, to, b"odd");
        assert_eq!(packet.len(), 31);
        assert_eq!(packet[..4], [0x45, 0, 0, 31]);
        assert_eq!(folded(sum_words(0, &packet[..20])), 0xffff);
        assert_eq!(packet[20..26], [3, 232, 0, 53, 0, 11]);
        assert!(checks(&packet, 20, (from.ip(), to.ip()), UDP));
    }

    // RFC 8200 section 8.1.
    #[test]
    fn a_udp_datagram_over_ipv6() {
        let (from, to) = (address("[2001:db8::1]:1"), address("[2001:db8::2]:2"));
        let mut packet = Vec::new();
        udp(&mut packet, from, to, b"even");
        assert_eq!((packet[0], packet.len()), (0x60, 52));
        assert_eq!(packet[4..8], [0, 12, 17, 64]);
        assert!(checks(&packet, 40, (from.ip(), to.ip()), UDP));
    }

    // RFC 9293 section 3.4: SYN and FIN count in the sequence.
    #[test]
    fn a_flow_counts_sequence_numbers() {
        let mut flow = TcpFlow::new(address("127.0.0.1:5"), address("127.0.0.1:6"));
        let mut seen = Vec::new();
        let mut record = |packet: &[u8]| {
            let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            let ends = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into());
            assert!(checks(packet, 20, ends, TCP));
            seen.push((packet[33], word(24), word(28), packet.len() - 40));
        };
        flow.open(&mut record);
        flow.data(Side::Client, &[0; MAX_PAYLOAD + 10], &mut record);
        flow.data(Side::Server, b"hi", &mut record);
        flow.finish(Side::Server, &mut record);
        flow.reset(Side::Client, &mut record);
        let full = MAX_PAYLOAD as u32;
        let expected = [
            (0x02, 0, 0, 0),
            (0x12, 0, 1, 0),
            (0x10, 1, 1, 0),
            (0x18, 1, 1, MAX_PAYLOAD),
            (0x18, 1 + full, 1, 10),
            (0x18, 1, 11 + full, 2),
            (0x11, 3, 11 + full, 0),
            (0x14, 11 + full, 4, 0),
        ];
        assert_eq!(seen, expected);
    }
}
