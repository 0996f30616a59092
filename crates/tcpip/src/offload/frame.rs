//! A frame that is a super-segment, cut into frames.

use core::net::IpAddr;

use crate::device::{Medium, Offload, SegmentKind};
use crate::wire::ipv6::Extension;
use crate::wire::tcp::Flags;
use crate::wire::{Malformed, checksum, ethernet, ipv4, ipv6, protocol, tcp, udp};

/// Cuts one super-segment into the frames that it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Cuts<'a> {
    /// Everything in front of the payload, as the first frame has it.
    headers: &'a [u8],
    payload: &'a [u8],
    size: usize,
    /// Where the IP and the transport header begin.
    ip: usize,
    transport: usize,
    protocol: u8,
    src: IpAddr,
    dst: IpAddr,
    /// Bytes of payload that went before, and frames.
    passed: u32,
    count: u16,
    done: bool,
}

impl<'a> Cuts<'a> {
    /// Takes apart a frame that `offload` says is several segments. Lengths in its IP and UDP headers
    /// may be those of the whole or anything else; they are written anew, and so are all checksums.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the frame is no TCP segment or UDP datagram over IP, or `offload` says that
    /// it is one packet.
    pub(crate) fn new(
        frame: &'a [u8],
        medium: Medium,
        offload: &Offload,
    ) -> Result<Cuts<'a>, Malformed> {
        let segments = offload
            .segments
            .filter(|segments| segments.size > 0)
            .ok_or(Malformed::field("super-segment", "size"))?;
        let ip = match medium {
            Medium::Ip => 0,
            Medium::Ethernet => ethernet::HEADER_LEN,
        };
        let packet = frame.get(ip..).ok_or(Malformed::Truncated("Ethernet"))?;
        let (src, dst, found, transport) = match packet.first().map(|byte| byte >> 4) {
            Some(4) => open_v4(packet)?,
            Some(6) => open_v6(packet)?,
            _ => return Err(Malformed::field("IP", "Version")),
        };
        let expected = match segments.kind {
            SegmentKind::Tcp4 | SegmentKind::Tcp6 => protocol::TCP,
            SegmentKind::Udp => protocol::UDP,
        };
        if found != expected {
            return Err(Malformed::field("super-segment", "kind"));
        }
        let own = transport_header_len(found, packet.get(transport..).unwrap_or_default())?;
        let transport = ip.saturating_add(transport);
        let (headers, payload) = frame
            .split_at_checked(transport.saturating_add(own))
            .ok_or(Malformed::Truncated("super-segment"))?;
        Ok(Cuts {
            headers,
            payload,
            size: usize::from(segments.size),
            ip,
            transport,
            protocol: found,
            src,
            dst,
            passed: 0,
            count: 0,
            done: false,
        })
    }

    /// Appends the next frame, its checksums complete. False, and nothing, when there is none left.
    pub(crate) fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.done {
            return false;
        }
        let (part, rest) = self
            .payload
            .split_at_checked(self.size)
            .unwrap_or((self.payload, &[]));
        self.payload = rest;
        self.done = rest.is_empty();
        let begun = out.len();
        out.extend_from_slice(self.headers);
        out.extend_from_slice(part);
        if let Some(frame) = out.get_mut(begun..) {
            self.mend(frame);
        }
        self.passed = self.passed.wrapping_add(part.len() as u32);
        self.count = self.count.wrapping_add(1);
        true
    }

    /// Advances the headers of the frame just written.
    fn mend(&self, frame: &mut [u8]) {
        if let Some(packet) = frame.get_mut(self.ip..) {
            if self.src.is_ipv4() {
                let header_len = self.transport.saturating_sub(self.ip);
                mend_v4(packet, header_len, self.count);
            } else {
                let len = packet.len().saturating_sub(ipv6::HEADER_LEN);
                put(packet, 4, u16::try_from(len).unwrap_or(u16::MAX));
            }
        }
        let Some(segment) = frame.get_mut(self.transport..) else {
            return;
        };
        let len = u32::try_from(segment.len()).unwrap_or(u32::MAX);
        let pseudo = checksum::pseudo(self.src, self.dst, self.protocol, len);
        if self.protocol == protocol::UDP {
            put(segment, 4, u16::try_from(len).unwrap_or(u16::MAX));
            put(segment, udp::CHECKSUM_OFFSET.into(), 0);
            let mut sum = pseudo;
            sum.add_bytes(segment);
            let field = udp::checksum_field(sum.finish());
            put(segment, udp::CHECKSUM_OFFSET.into(), field);
        } else {
            self.mend_tcp(segment);
            put(segment, tcp::CHECKSUM_OFFSET.into(), 0);
            checksum::patch(segment, 0, tcp::CHECKSUM_OFFSET.into(), pseudo);
        }
    }

    fn mend_tcp(&self, segment: &mut [u8]) {
        if let Some(fixed) = segment.first_chunk_mut::<{ tcp::HEADER_LEN }>() {
            let seq = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
            let seq = seq.wrapping_add(self.passed).to_be_bytes();
            [fixed[4], fixed[5], fixed[6], fixed[7]] = seq;
            if !self.done {
                fixed[13] &= !(Flags::FIN.bits() | Flags::PSH.bits()) as u8;
            }
            if self.count > 0 {
                fixed[13] &= !Flags::CWR.bits() as u8;
            }
        }
    }
}

type Opened = (IpAddr, IpAddr, u8, usize);

/// Addresses, protocol and place of the transport header.
fn open_v4(packet: &[u8]) -> Result<Opened, Malformed> {
    let parsed = ipv4::parse_lenient(packet)?;
    if parsed.header.is_fragment() {
        return Err(Malformed::field("IPv4", "Fragment Offset"));
    }
    let transport = ipv4::HEADER_LEN.saturating_add(parsed.options.len());
    let header = parsed.header;
    Ok((
        header.src.into(),
        header.dst.into(),
        header.protocol,
        transport,
    ))
}

fn open_v6(packet: &[u8]) -> Result<Opened, Malformed> {
    let (header, payload) = ipv6::parse_lenient(packet)?;
    match ipv6::upper(header.next_header, payload) {
        Ok(Extension::Upper(upper)) => Ok((
            header.src.into(),
            header.dst.into(),
            upper.protocol,
            upper.offset,
        )),
        _ => Err(Malformed::field("IPv6", "extension headers")),
    }
}

fn transport_header_len(protocol: u8, transport: &[u8]) -> Result<usize, Malformed> {
    if protocol == protocol::UDP {
        return Ok(udp::HEADER_LEN);
    }
    let words = transport.get(12).ok_or(Malformed::Truncated("TCP"))? >> 4;
    if words < 5 {
        return Err(Malformed::field("TCP", "Data Offset"));
    }
    Ok(usize::from(words) << 2)
}

/// Total Length, Identification counted on (RFC 6864 4.3: packets that may be fragmented differ), and
/// the header's checksum.
fn mend_v4(packet: &mut [u8], header_len: usize, count: u16) {
    let total = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    let Some(header) = packet.get_mut(..header_len) else {
        return;
    };
    put(header, 2, total);
    if let Some(fixed) = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
        let id = u16::from_be_bytes([fixed[4], fixed[5]]).wrapping_add(count);
        [fixed[4], fixed[5]] = id.to_be_bytes();
    }
    put(header, 10, 0);
    checksum::patch(header, 0, 10, checksum::Sum::new());
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = value.to_be_bytes();
    }
}

/// Completes a checksum that is [partial](crate::Checksum::Partial): the field holds the sum of the
/// pseudo-header, the bytes from `start` on are added. Places outside the frame change nothing.
pub(crate) fn complete_checksum(frame: &mut [u8], start: u16, offset: u16) {
    let Some(transport) = frame.get_mut(usize::from(start)..) else {
        return;
    };
    let mut sum = checksum::sum(transport).finish();
    // Only UDP has its checksum there, and a meaning for 0 (T150).
    if offset == udp::CHECKSUM_OFFSET {
        sum = udp::checksum_field(sum);
    }
    put(transport, offset.into(), sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Checksum, Segments};
    use crate::wire::ethernet::Mac;
    use crate::wire::tcp::{Header, Options, Segment, Timestamps};
    use proptest::prelude::*;

    const SIZE: u16 = 1000;

    fn ends(v6: bool) -> (IpAddr, IpAddr) {
        if v6 {
            (
                "2001:db8::1".parse().unwrap(),
                "2001:db8::2".parse().unwrap(),
            )
        } else {
            ([192, 0, 2, 1].into(), [192, 0, 2, 2].into())
        }
    }

    /// IP header in front of `len` bytes.
    fn write_ip(v6: bool, protocol: u8, len: usize, out: &mut Vec<u8>) {
        match ends(v6) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
                src,
                dst,
                protocol,
                ttl: 64,
                dscp_ecn: 2,
                id: 0xffff,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                total_len: 0,
            }
            .write(len, out),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
                src,
                dst,
                next_header: protocol,
                hop_limit: 64,
                traffic_class: 2,
                flow_label: 5,
                payload_len: 0,
            }
            .write(len, out),
            _ => unreachable!(),
        }
    }

    fn tcp_header() -> Header {
        Header {
            src_port: 1,
            dst_port: 2,
            seq: 0xffff_fe00,
            ack: 9,
            flags: Flags::ACK | Flags::PSH | Flags::FIN | Flags::CWR,
            window: 7,
            urgent: 0,
            options: Options {
                timestamps: Some(Timestamps::default()),
                ..Options::default()
            },
        }
    }

    fn super_frame(v6: bool, payload: &[u8], medium: Medium) -> (Vec<u8>, Offload) {
        let mut frame = Vec::new();
        if medium == Medium::Ethernet {
            let ether_type = if v6 { ethernet::IPV6 } else { ethernet::IPV4 };
            ethernet::Header {
                dst: Mac([2; 6]),
                src: Mac([4; 6]),
                ether_type,
            }
            .write(&mut frame);
        }
        let header = tcp_header();
        write_ip(v6, protocol::TCP, header.len() + payload.len(), &mut frame);
        header.write(&mut frame);
        frame.extend_from_slice(payload);
        let kind = if v6 {
            SegmentKind::Tcp6
        } else {
            SegmentKind::Tcp4
        };
        let segments = Some(Segments {
            kind,
            size: SIZE,
            header_len: 0,
        });
        (
            frame,
            Offload {
                checksum: Checksum::Complete,
                segments,
            },
        )
    }

    fn cut(frame: &[u8], medium: Medium, offload: &Offload) -> Vec<Vec<u8>> {
        let mut cuts = Cuts::new(frame, medium, offload).unwrap();
        let mut frames = Vec::new();
        let mut out = Vec::new();
        while cuts.write_next(&mut out) {
            frames.push(core::mem::take(&mut out));
        }
        assert!(out.is_empty());
        frames
    }

    /// The transport bytes of a packet, its IP header found right.
    fn open(packet: &[u8], v6: bool) -> &[u8] {
        if v6 {
            ipv6::parse(packet).unwrap().1
        } else {
            ipv4::parse(packet).unwrap().payload
        }
    }

    #[test]
    fn each_frame_is_a_packet_of_its_own() {
        // T1, T137: lengths and checksums of each; T155: Identification counts on, over its end.
        let payload: Vec<u8> = (0..2500_u32).map(|at| at as u8).collect();
        for (v6, medium) in [
            (false, Medium::Ip),
            (true, Medium::Ip),
            (false, Medium::Ethernet),
        ] {
            let (frame, offload) = super_frame(v6, &payload, medium);
            let frames = cut(&frame, medium, &offload);
            assert_eq!(frames.len(), 3);
            let (src, dst) = ends(v6);
            let mut joined = Vec::new();
            for (index, frame) in frames.iter().enumerate() {
                let packet = if medium == Medium::Ip {
                    &frame[..]
                } else {
                    &frame[14..]
                };
                let bytes = open(packet, v6);
                assert!(checksum::is_valid_transport(src, dst, protocol::TCP, bytes));
                let segment = Segment::parse(bytes).unwrap();
                let expected = tcp_header().seq.wrapping_add(joined.len() as u32);
                assert_eq!(segment.seq, expected);
                let flags = [
                    Flags::ACK | Flags::CWR,
                    Flags::ACK,
                    Flags::ACK | Flags::PSH | Flags::FIN,
                ];
                assert_eq!(segment.flags, flags[index]);
                assert_eq!(segment.options, tcp_header().options);
                joined.extend_from_slice(segment.payload);
                if !v6 {
                    let id = ipv4::parse(packet).unwrap().header.id;
                    assert_eq!(id, 0xffff_u16.wrapping_add(index as u16));
                }
            }
            assert_eq!(joined, payload);
        }
    }

    #[test]
    fn datagrams_get_their_own_length_and_checksum() {
        // T150
        let mut frame = Vec::new();
        write_ip(true, protocol::UDP, 8 + 1500, &mut frame);
        udp::Header {
            src_port: 5,
            dst_port: 6,
            len: 0,
            checksum: 0,
        }
        .write(&mut frame);
        frame.extend_from_slice(&[3; 1500]);
        let segments = Some(Segments {
            kind: SegmentKind::Udp,
            size: SIZE,
            header_len: 0,
        });
        let frames = cut(
            &frame,
            Medium::Ip,
            &Offload {
                checksum: Checksum::Complete,
                segments,
            },
        );
        let (src, dst) = ends(true);
        let lengths: Vec<_> = frames
            .iter()
            .map(|frame| {
                let bytes = open(frame, true);
                let (header, data) = udp::parse(bytes).unwrap();
                assert!(udp::is_valid(&header, src, dst, bytes));
                data.len()
            })
            .collect();
        assert_eq!(lengths, [1000, 500]);
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        let mut frame = Vec::new();
        write_ip(false, protocol::TCP, 37, &mut frame);
        Header {
            flags: Flags::ACK,
            ..Header::default()
        }
        .write(&mut frame);
        frame.extend_from_slice(&[9; 17]);
        let (src, dst) = ends(false);
        let pseudo = checksum::pseudo(src, dst, protocol::TCP, 37).fold();
        put(&mut frame, 20 + 16, pseudo);
        complete_checksum(&mut frame, 20, 16);
        assert!(checksum::is_valid_transport(
            src,
            dst,
            protocol::TCP,
            &frame[20..]
        ));
    }

    #[test]
    fn what_is_no_super_segment_is_refused() {
        let (frame, offload) = super_frame(false, &[0; 2500], Medium::Ip);
        let none = Offload {
            segments: None,
            ..offload
        };
        assert!(Cuts::new(&frame, Medium::Ip, &none).is_err());
        assert!(Cuts::new(&frame, Medium::Ethernet, &offload).is_err());
        let mut udp = frame.clone();
        udp[9] = protocol::UDP;
        assert!(Cuts::new(&udp, Medium::Ip, &offload).is_err());
        let mut fragment = frame.clone();
        fragment[6] |= 0x20;
        assert!(Cuts::new(&fragment, Medium::Ip, &offload).is_err());
    }

    proptest! {
        #[test]
        fn hostile_frames_are_cut_or_refused(
            mut frame in proptest::collection::vec(any::<u8>(), 0..200), version in 4_u8..7, size in 0_u16..9
        ) {
            if let Some(first) = frame.first_mut() {
                *first = version << 4 | *first & 15;
            }
            if let Some(field) = frame.get_mut(if version == 4 { 9 } else { 6 }) {
                *field = protocol::UDP;
            }
            let segments = Some(Segments { kind: SegmentKind::Udp, size, header_len: 0 });
            let offload = Offload { checksum: Checksum::Complete, segments };
            if let Ok(mut cuts) = Cuts::new(&frame, Medium::Ip, &offload) {
                let (mut out, mut count) = (Vec::new(), 0);
                while cuts.write_next(&mut out) {
                    count += 1;
                    out.clear();
                }
                prop_assert!(count <= frame.len().max(1));
            }
            complete_checksum(&mut frame, size, 6);
        }
    }
}
