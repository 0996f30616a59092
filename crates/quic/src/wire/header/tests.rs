#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use super::*;
use crate::wire::tests_support::hex;
use crate::wire::{ConnectionId, packet_number, varint};
use proptest::prelude::*;

fn cid(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

fn long<'a>(kind: PacketType, dcid: &'a ConnectionId, scid: &'a ConnectionId) -> LongHeader<'a> {
    LongHeader {
        kind,
        version: Version::V1,
        dcid,
        scid,
        token: &[],
        pn: 2,
        pn_len: 4,
        fixed_bit: true,
        length: LengthField::Two,
    }
}

fn parse(bytes: &[u8]) -> Result<Packet, HeaderError> {
    Packet::parse(bytes, 8, FixedBit::Required)
}

// RFC 9001 A.2: the header of the client's Initial before protection, byte for byte.
#[test]
fn the_sample_initial_header_is_written_and_read() {
    let dcid = cid(&hex("8394c8f03e515708"));
    let mut out = Vec::new();
    let header = long(PacketType::Initial, &dcid, &ConnectionId::EMPTY);
    let written = header.write(&mut out);
    assert_eq!(out.len(), header.size());
    out.resize(22 + 1162, 0);
    finish_length(&mut out, &written, 16);
    assert_eq!(
        out[..22],
        hex("c300000001088394c8f03e5157080000449e00000002")
    );
    out.resize(1200, 0);
    let packet = parse(&out).unwrap();
    assert_eq!(
        (packet.kind, packet.version),
        (PacketType::Initial, Version::V1)
    );
    assert_eq!((packet.dcid, packet.scid), (dcid, ConnectionId::EMPTY));
    assert_eq!((packet.pn_offset, packet.packet_len), (18, 1200));
    assert!(packet.token.is_empty());
}

// RFC 9369 A.2, A.4: version 2's type bits. Q21 (header part).
#[test]
fn version_2_turns_the_type_bits() {
    let dcid = cid(&hex("8394c8f03e515708"));
    for (kind, v1, v2) in [
        (PacketType::Initial, 0xc0, 0xd0),
        (PacketType::ZeroRtt, 0xd0, 0xe0),
        (PacketType::Handshake, 0xe0, 0xf0),
    ] {
        for (version, first) in [(Version::V1, v1), (Version::V2, v2)] {
            let mut header = long(kind, &dcid, &dcid);
            header.version = version;
            header.pn_len = 1;
            let mut out = Vec::new();
            let written = header.write(&mut out);
            finish_length(&mut out, &written, 0);
            assert_eq!(out[0], first);
            assert_eq!(parse(&out).unwrap().kind, kind);
        }
    }
    let mut out = Vec::new();
    write_retry(&mut out, Version::V2, &dcid, &dcid, b"token", 0xff);
    assert_eq!(out[0], 0xcf);
    out.clear();
    write_retry(&mut out, Version::V1, &dcid, &dcid, b"token", 0);
    assert_eq!(out[0], 0xf0);
}

// RFC 9001 A.4: the sample Retry packet.
#[test]
fn the_sample_retry_is_read() {
    let sample = hex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba");
    let packet = parse(&sample).unwrap();
    assert_eq!(packet.kind, PacketType::Retry);
    assert_eq!(packet.scid, cid(&hex("f067a5502a4262b5")));
    assert_eq!(&sample[packet.token.clone()], b"token");
    assert_eq!(
        &sample[packet.pn_offset..],
        hex("04a265ba2eff4d829058fb3f0f2496ba")
    );
    let mut out = Vec::new();
    write_retry(
        &mut out,
        Version::V1,
        &packet.dcid,
        &packet.scid,
        b"token",
        0xf,
    );
    assert_eq!(out, sample[..packet.pn_offset]);
}

// Q63: a client drops a Retry without a token, or without room for its tag.
#[test]
fn a_retry_without_a_token_is_dropped() {
    let mut out = Vec::new();
    write_retry(
        &mut out,
        Version::V1,
        &cid(b"12345678"),
        &cid(b"abcd"),
        b"",
        0,
    );
    out.extend_from_slice(&[7; RETRY_TAG_LEN]);
    assert_eq!(parse(&out), Err(HeaderError::EmptyRetryToken));
    out.pop();
    assert_eq!(parse(&out), Err(HeaderError::Truncated));
}

// Q1: IDs of up to 255 bytes are read for versions that are not spoken.
#[test]
fn unknown_versions_give_their_ids() {
    let (dcid, scid) = ([1u8; 255], [2u8; 254]);
    let mut out = vec![0x80, 0xfa, 0xce, 0xb0, 0x0c, 255];
    out.extend_from_slice(&dcid);
    out.push(254);
    out.extend_from_slice(&scid);
    out.extend_from_slice(b"whatever");
    let head = LongInvariant::parse(&out).unwrap();
    assert_eq!(head.version, Version(0xface_b00c));
    assert_eq!((head.dcid, head.scid), (&dcid[..], &scid[..]));
    assert_eq!(head.rest, b"whatever");
    assert_eq!(peek_dcid(&out, 8), Some(&dcid[..]));
    assert_eq!(
        parse(&out),
        Err(HeaderError::UnsupportedVersion(head.version))
    );
    for cut in 0..out.len() - head.rest.len() {
        assert_eq!(LongInvariant::parse(&out[..cut]), None);
    }
}

// Q1: in versions 1 and 2, 20 bytes are the most.
#[test]
fn ids_beyond_20_bytes_are_dropped_in_known_versions() {
    for version in Version::SUPPORTED {
        for (dcid, scid) in [(21, 0), (0, 21), (255, 255)] {
            let mut out = vec![0xc0];
            out.extend_from_slice(&version.0.to_be_bytes());
            out.push(dcid);
            out.resize(out.len() + usize::from(dcid), 0);
            out.push(scid);
            out.resize(out.len() + usize::from(scid), 0);
            out.resize(1200, 0);
            assert_eq!(parse(&out), Err(HeaderError::ConnectionIdTooLong));
        }
    }
}

// Q2: the fixed bit is required, unless grease_quic_bit was announced.
#[test]
fn without_the_fixed_bit_a_packet_is_dropped_unless_agreed() {
    let id = cid(b"12345678");
    let mut short = Vec::new();
    let header = ShortHeader {
        dcid: &id,
        spin: false,
        key_phase: false,
        pn: 9,
        pn_len: 1,
        fixed_bit: false,
    };
    header.write(&mut short);
    let mut initial = Vec::new();
    let mut header = long(PacketType::Initial, &id, &id);
    header.fixed_bit = false;
    let written = header.write(&mut initial);
    finish_length(&mut initial, &written, 0);
    for packet in [short, initial] {
        assert_eq!(packet[0] & FIXED_BIT, 0);
        assert_eq!(parse(&packet), Err(HeaderError::FixedBit));
        assert_eq!(Packet::parse(&packet, 8, FixedBit::Any).unwrap().dcid, id);
    }
}

// RFC 9000 17.2.1: the unused bits of Version Negotiation are ignored, the fixed bit among them.
#[test]
fn version_negotiation_is_read_whatever_its_first_byte() {
    let (dcid, scid) = (cid(b"to"), cid(b"from"));
    let offered = [Version(0x1a2a_3a4a), Version::V1, Version::V2];
    let mut out = Vec::new();
    write_version_negotiation(&mut out, &dcid, &scid, &offered, 0x2a);
    assert_eq!(out[0], 0xea);
    out[0] = 0x80;
    let packet = parse(&out).unwrap();
    assert_eq!(packet.kind, PacketType::VersionNegotiation);
    assert_eq!((packet.dcid, packet.scid), (dcid, scid));
    let listed: Vec<_> = versions(&out[packet.pn_offset..]).unwrap().collect();
    assert_eq!(listed, offered);
}

#[test]
fn a_list_of_versions_that_is_cut_or_empty_is_none() {
    assert!(versions(&[]).is_none());
    assert!(versions(&[0, 0, 0]).is_none());
    assert!(versions(&[0, 0, 0, 1, 0]).is_none());
}

// Q8: where a packet ends, the next one begins; Q9: a short header takes all the rest.
#[test]
fn coalesced_packets_are_read_one_by_one() {
    let (dcid, scid) = (cid(b"12345678"), cid(b"abc"));
    let mut datagram = Vec::new();
    let mut ends = Vec::new();
    for (kind, payload) in [
        (PacketType::Initial, 50),
        (PacketType::Handshake, 0),
        (PacketType::ZeroRtt, 300),
    ] {
        let mut packet = Vec::new();
        let mut header = long(kind, &dcid, &scid);
        header.token = b"a token";
        let written = header.write(&mut packet);
        packet.resize(packet.len() + payload, 0);
        finish_length(&mut packet, &written, 0);
        datagram.extend_from_slice(&packet);
        ends.push((kind, packet.len()));
    }
    let short = ShortHeader {
        dcid: &dcid,
        spin: true,
        key_phase: true,
        pn: 77,
        pn_len: 2,
        fixed_bit: true,
    };
    let start = datagram.len();
    assert_eq!(short.write(&mut datagram), start + 9);
    assert_eq!(datagram[start], 0x65);
    datagram.extend_from_slice(&[0; 40]);
    ends.push((PacketType::OneRtt, 51));
    let mut rest = &datagram[..];
    for (kind, len) in ends {
        let packet = parse(rest).unwrap();
        assert_eq!((packet.kind, packet.packet_len), (kind, len));
        assert_eq!(packet.dcid, dcid);
        let token: &[u8] = if kind == PacketType::Initial {
            b"a token"
        } else {
            b""
        };
        assert_eq!(&rest[packet.token.clone()], token);
        rest = &rest[packet.packet_len..];
    }
    assert!(rest.is_empty());
}

// Q14: a Length or a token beyond the end of the datagram is no packet.
#[test]
fn lengths_beyond_the_datagram_are_dropped() {
    let id = cid(b"12345678");
    for length in [2, 17, 16_379] {
        let mut out = Vec::new();
        long(PacketType::Handshake, &id, &id).write(&mut out);
        let at = out.len() - 6;
        out[at..at + 2].copy_from_slice(&varint::two_bytes(length + 4));
        assert_eq!(parse(&out), Err(HeaderError::Truncated));
    }
    let mut out = vec![0xc0, 0, 0, 0, 1, 0, 0];
    varint::encode(varint::MAX, &mut out);
    out.resize(1200, 0);
    assert_eq!(parse(&out), Err(HeaderError::Truncated));
}

#[test]
fn peeking_finds_the_id_a_packet_is_for() {
    assert_eq!(peek_dcid(b"", 0), None);
    assert_eq!(peek_dcid(b"\x40abcdefgh", 8), Some(&b"abcdefgh"[..]));
    assert_eq!(peek_dcid(b"\x40abcdefg", 8), None);
    assert_eq!(peek_dcid(b"\x40", 0), Some(&b""[..]));
    assert_eq!(peek_dcid(&hex("c0000000010261620063"), 8), Some(&b"ab"[..]));
    assert_eq!(peek_dcid(&hex("c00000000103616200"), 8), Some(&b"ab\0"[..]));
    assert_eq!(peek_dcid(&hex("c000000001036162"), 8), None);
}

fn kinds() -> impl Strategy<Value = PacketType> {
    prop_oneof![
        Just(PacketType::Initial),
        Just(PacketType::ZeroRtt),
        Just(PacketType::Handshake),
    ]
}

proptest! {
    #[test]
    fn long_headers_come_back(
        kind in kinds(),
        v2: bool,
        ids in (prop::collection::vec(any::<u8>(), 0..=20), prop::collection::vec(any::<u8>(), 0..=20)),
        token in prop::collection::vec(any::<u8>(), 0..100),
        pn in 0..packet_number::MAX,
        (pn_len, payload, fixed_bit) in (1..=4usize, 0..20_000usize, any::<bool>()),
    ) {
        let (dcid, scid) = (cid(&ids.0), cid(&ids.1));
        let version = if v2 { Version::V2 } else { Version::V1 };
        let token = if kind == PacketType::Initial { &token[..] } else { &[] };
        let length = LengthField::for_datagram(payload + 30);
        let header = LongHeader { kind, version, dcid: &dcid, scid: &scid, token, pn, pn_len, fixed_bit, length };
        let mut out = Vec::new();
        let written = header.write(&mut out);
        prop_assert_eq!(out.len(), header.size());
        prop_assert_eq!(written.pn_offset + pn_len, out.len());
        out.resize(out.len() + payload, 0xee);
        finish_length(&mut out, &written, 16);
        out.resize(out.len() + 16, 0xee);
        let whole = out.len();
        out.extend_from_slice(b"the next packet");
        let packet = Packet::parse(&out, 8, FixedBit::Any).unwrap();
        prop_assert_eq!((packet.kind, packet.version), (kind, version));
        prop_assert_eq!((packet.dcid, packet.scid), (dcid, scid));
        prop_assert_eq!(&out[packet.token.clone()], token);
        prop_assert_eq!((packet.pn_offset, packet.packet_len), (written.pn_offset, whole));
        prop_assert_eq!(usize::from(packet.first & 3) + 1, pn_len);
        for cut in (0..written.pn_offset).chain([whole - 1]) {
            prop_assert_eq!(Packet::parse(&out[..cut], 8, FixedBit::Any), Err(HeaderError::Truncated));
        }
    }

    #[test]
    fn short_headers_come_back(
        id in prop::collection::vec(any::<u8>(), 0..=20),
        pn in 0..packet_number::MAX,
        pn_len in 1..=4usize,
        (spin, key_phase) in any::<(bool, bool)>(),
    ) {
        let dcid = cid(&id);
        let header = ShortHeader { dcid: &dcid, spin, key_phase, pn, pn_len, fixed_bit: true };
        let mut out = Vec::new();
        let pn_offset = header.write(&mut out);
        prop_assert_eq!(out.len(), header.size());
        let packet = Packet::parse(&out, id.len(), FixedBit::Required).unwrap();
        prop_assert_eq!((packet.kind, packet.dcid), (PacketType::OneRtt, dcid));
        prop_assert_eq!((packet.pn_offset, packet.packet_len), (pn_offset, out.len()));
        prop_assert_eq!(packet.first & SPIN_BIT != 0, spin);
        prop_assert_eq!(packet.first & KEY_PHASE != 0, key_phase);
        prop_assert_eq!(packet.first & SHORT_RESERVED, 0);
        prop_assert_eq!(Packet::parse(&out[..pn_offset - 1], id.len(), FixedBit::Required).is_err(), true);
    }

    // C1: anything at all is a packet or an error, and offsets lie inside.
    #[test]
    fn any_bytes_parse_or_do_not(bytes in prop::collection::vec(any::<u8>(), 0..100), known: bool, len in 0..=20usize) {
        let mut bytes = bytes;
        if known && bytes.len() > 7 {
            bytes[0] |= 0xc0;
            bytes[1..5].copy_from_slice(&[0, 0, 0, 1]);
            bytes[5] &= 7;
        }
        if let Ok(packet) = Packet::parse(&bytes, len, FixedBit::Any) {
            prop_assert!(packet.token.start <= packet.token.end && packet.token.end <= packet.pn_offset);
            prop_assert!(packet.pn_offset <= packet.packet_len && packet.packet_len <= bytes.len());
            prop_assert!(packet.packet_len > 0);
        }
        let _ = peek_dcid(&bytes, len);
    }
}
