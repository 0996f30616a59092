//! Headers: every datagram is packets up to where it is none, all offsets lie inside, and what was
//! read is written the same.

use weir_quic::wire::header::{
    FIXED_BIT, FORM_LONG, FixedBit, HeaderError, LengthField, LongHeader, LongInvariant, Packet,
    PacketType, ShortHeader, peek_dcid, versions, write_retry, write_version_negotiation,
};
use weir_quic::{ConnectionId, Version};

/// Reads all but the first byte of `data` as a datagram; the first byte is the length of connection
/// IDs here.
pub fn run(data: &[u8]) {
    let Some((len, datagram)) = data.split_first() else {
        return;
    };
    let cid_len = usize::from(len % 21);
    let peeked = peek_dcid(datagram, cid_len);
    let mut rest = datagram;
    while !rest.is_empty() {
        match Packet::parse(rest, cid_len, FixedBit::Any) {
            Ok(packet) => {
                if rest.len() == datagram.len() {
                    assert_eq!(peeked, Some(packet.dcid.as_slice()));
                }
                one(&packet, rest);
                let required = Packet::parse(rest, cid_len, FixedBit::Required);
                let negotiation = packet.kind == PacketType::VersionNegotiation;
                if negotiation || packet.first & FIXED_BIT != 0 {
                    assert_eq!(required.as_ref(), Ok(&packet));
                } else {
                    assert_eq!(required, Err(HeaderError::FixedBit));
                }
                rest = &rest[packet.packet_len..];
            }
            Err(HeaderError::UnsupportedVersion(version)) => {
                let head = LongInvariant::parse(rest).expect("it has a version");
                assert_eq!(head.version, version);
                assert!(!version.is_supported());
                return;
            }
            Err(_) => return,
        }
    }
}

fn one(packet: &Packet, bytes: &[u8]) {
    assert!(packet.token.start <= packet.token.end && packet.token.end <= packet.pn_offset);
    assert!(packet.pn_offset <= packet.packet_len && packet.packet_len <= bytes.len());
    assert!(packet.packet_len > 0);
    let token = &bytes[packet.token.clone()];
    let mut out = Vec::new();
    match packet.kind {
        PacketType::OneRtt => {
            let header = short(&packet.dcid, packet.first);
            assert_eq!(header.write(&mut out), packet.pn_offset);
            assert_eq!(out[1..packet.pn_offset], bytes[1..packet.pn_offset]);
        }
        PacketType::Retry => {
            let (to, from) = (&packet.dcid, &packet.scid);
            write_retry(&mut out, packet.version, to, from, token, packet.first);
            out[0] = out[0] & !FIXED_BIT | packet.first & FIXED_BIT;
            assert_eq!(out, bytes[..packet.pn_offset]);
        }
        PacketType::VersionNegotiation => {
            let Some(list) = versions(&bytes[packet.pn_offset..]) else {
                return;
            };
            let list: Vec<Version> = list.collect();
            let (to, from) = (&packet.dcid, &packet.scid);
            write_version_negotiation(&mut out, to, from, &list, packet.first);
            assert_eq!(out[1..], bytes[1..packet.packet_len]);
        }
        _ => {
            let header = long(packet, token);
            let written = header.write(&mut out);
            assert_eq!(out.len(), header.size());
            // The lengths may have been in other forms, the token's among them.
            let ids = 7 + packet.dcid.len() + packet.scid.len();
            let shortest =
                packet.kind != PacketType::Initial || packet.token.end == written.length_offset;
            let same = if shortest { written.length_offset } else { ids };
            assert_eq!(out[1..same], bytes[1..same]);
            assert_eq!((out[0] ^ packet.first) & (FORM_LONG | FIXED_BIT | 0x30), 0);
        }
    }
}

fn short(dcid: &ConnectionId, first: u8) -> ShortHeader<'_> {
    ShortHeader {
        dcid,
        spin: false,
        key_phase: false,
        pn: 0,
        pn_len: 1,
        fixed_bit: first & FIXED_BIT != 0,
    }
}

fn long<'a>(packet: &'a Packet, token: &'a [u8]) -> LongHeader<'a> {
    LongHeader {
        kind: packet.kind,
        version: packet.version,
        dcid: &packet.dcid,
        scid: &packet.scid,
        token,
        pn: 0,
        pn_len: 1,
        fixed_bit: packet.first & FIXED_BIT != 0,
        length: LengthField::Two,
    }
}
