#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use super::tests::bytes;
use super::*;
use crate::error::code;
use crate::wire::header::PacketType;
use crate::wire::tests_support::hex;
use crate::wire::varint::{self, Reader};
use proptest::prelude::*;

const WITH_FRAMES: [PacketType; 4] = [
    PacketType::Initial,
    PacketType::ZeroRtt,
    PacketType::Handshake,
    PacketType::OneRtt,
];

fn fails(payload: &[u8], packet: PacketType) -> crate::TransportError {
    let mut frames = Frames::new(payload, packet).unwrap();
    let error = frames.next().unwrap().unwrap_err();
    assert_eq!(frames.next(), None, "nothing after an error");
    error
}

/// A frame of this type, as short as it can be.
fn shortest(kind: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::encode(kind, &mut out);
    let rest = match kind {
        PADDING | PING | HANDSHAKE_DONE | IMMEDIATE_ACK | DATAGRAM => "",
        ACK => "00000000",
        ACK_ECN => "00000000000000",
        RESET_STREAM => "000000",
        STOP_SENDING | MAX_STREAM_DATA | STREAM_DATA_BLOCKED | CRYPTO => "0000",
        NEW_TOKEN => "0161",
        0x08 | 0x09 => "00",
        0x0a..=0x0d => "0000",
        0x0e | 0x0f => "000000",
        NEW_CONNECTION_ID => "00000161000102030405060708090a0b0c0d0e0f",
        PATH_CHALLENGE | PATH_RESPONSE => "0001020304050607",
        CONNECTION_CLOSE => "000000",
        APPLICATION_CLOSE => "0000",
        ACK_FREQUENCY => "00000000",
        _ => "00",
    };
    out.extend_from_slice(&hex(rest));
    out
}

fn known() -> impl Iterator<Item = u64> {
    (0..0x20).chain([DATAGRAM, DATAGRAM_LEN, ACK_FREQUENCY])
}

// Q11
#[test]
fn a_packet_without_frames_is_a_violation() {
    for packet in WITH_FRAMES {
        let error = Frames::new(&[], packet).unwrap_err();
        assert_eq!((error.code, error.frame), (code::PROTOCOL_VIOLATION, 0));
    }
}

// Q12
#[test]
fn unknown_types_are_encoding_errors() {
    let known: Vec<u64> = known().collect();
    let more = [0x1f1, 0x4000, 0x3fff_ffff, 0x15_2280_0000, varint::MAX];
    for kind in (0..0x1000).chain(more).filter(|kind| !known.contains(kind)) {
        let mut payload = Vec::new();
        varint::encode(kind, &mut payload);
        payload.extend_from_slice(&[0; 40]);
        for packet in WITH_FRAMES {
            let error = fails(&payload, packet);
            assert_eq!(
                (error.code, error.frame),
                (code::FRAME_ENCODING_ERROR, kind)
            );
        }
    }
}

// Q13, Q54, Q47, Q67: RFC 9000 table 3 and section 12.5, walked whole.
#[test]
fn frames_in_packets_that_may_not_have_them_are_violations() {
    let table = |kind| match kind {
        0x00 | 0x01 | 0x1c => "IH01",
        0x02 | 0x03 | 0x06 => "IH1",
        0x04 | 0x05 | 0x08..=0x18 | 0x1a | 0x1d | 0x30 | 0x31 => "01",
        _ => "1",
    };
    for kind in known() {
        for (packet, letter) in WITH_FRAMES.into_iter().zip(['I', '0', 'H', '1']) {
            let payload = shortest(kind);
            assert_eq!(permitted(kind, packet), table(kind).contains(letter));
            if table(kind).contains(letter) {
                let mut frames = Frames::new(&payload, packet).unwrap();
                assert!(frames.next().unwrap().is_ok(), "{kind:#x} in {packet}");
                assert_eq!(frames.remaining(), 0);
            } else {
                let error = fails(&payload, packet);
                assert_eq!((error.code, error.frame), (code::PROTOCOL_VIOLATION, kind));
            }
        }
        assert!(!permitted(kind, PacketType::Retry));
        assert!(!permitted(kind, PacketType::VersionNegotiation));
    }
}

// Q10: a type in more bytes than it needs.
#[test]
fn long_forms_of_types_are_violations() {
    for kind in 0..0x20u16 {
        let mut payload = varint::two_bytes(kind).to_vec();
        payload.extend_from_slice(&shortest(u64::from(kind))[1..]);
        let error = fails(&payload, PacketType::OneRtt);
        assert_eq!(
            (error.code, error.frame),
            (code::PROTOCOL_VIOLATION, u64::from(kind))
        );
    }
    // ACK_FREQUENCY has two bytes at least, and four are too many.
    let mut payload = varint::four_bytes(0xaf).to_vec();
    payload.extend_from_slice(&[0; 4]);
    assert_eq!(
        fails(&payload, PacketType::OneRtt).code,
        code::PROTOCOL_VIOLATION
    );
}

// Q14, C1: every truncation of every frame.
#[test]
fn every_truncation_is_an_encoding_error() {
    for kind in known() {
        let whole = shortest(kind);
        for cut in 1..whole.len() {
            let error = fails(&whole[..cut], PacketType::OneRtt);
            assert_eq!(
                error.code,
                code::FRAME_ENCODING_ERROR,
                "{kind:#x} cut at {cut}"
            );
        }
    }
}

// Q14: lengths that say more than there is, up to the largest.
#[test]
fn lengths_beyond_the_packet_are_encoding_errors() {
    for head in ["0600", "07", "0a00", "0e0000", "1c0000", "1d00", "31"] {
        for len in [5, 16_384, u64::from(u32::MAX), varint::MAX] {
            let mut payload = hex(head);
            varint::encode(len, &mut payload);
            payload.extend_from_slice(b"four");
            let error = fails(&payload, PacketType::OneRtt);
            assert_eq!(error.code, code::FRAME_ENCODING_ERROR);
        }
    }
}

// Q133: a range, a gap, or a number of ranges that leads below zero.
#[test]
fn acks_below_zero_are_encoding_errors() {
    for payload in [
        // First range longer than the largest number.
        "0205000006",
        // A gap of 3 numbers below 3: the next range would end at -1.
        "02050001020200",
        // A range of 4 that ends at 1.
        "0205000102 0003".replace(' ', "").as_str(),
        // The largest gap, and the largest range.
        "0205000100ffffffffffffffff00",
        "020500010000ffffffffffffffff",
        // The second of two.
        "020a0002000000 0807".replace(' ', "").as_str(),
    ] {
        let error = fails(&hex(payload), PacketType::OneRtt);
        assert_eq!((error.code, error.frame), (code::FRAME_ENCODING_ERROR, ACK));
    }
    // Down to zero exactly is no fault.
    assert!(Frame::decode(&mut Reader::new(&hex("0205000005"))).is_ok());
    assert!(Frame::decode(&mut Reader::new(&hex("02050001020100"))).is_ok());
}

// C5: a count of 2^62 - 1 ranges costs no more steps than the packet has bytes.
#[test]
fn the_count_of_ranges_is_not_believed() {
    let mut payload = vec![ACK as u8];
    varint::encode(varint::MAX, &mut payload);
    payload.push(0);
    varint::encode(varint::MAX, &mut payload);
    payload.resize(1200, 0);
    let error = fails(&payload, PacketType::OneRtt);
    assert_eq!(error.code, code::FRAME_ENCODING_ERROR);
}

// Q83
#[test]
fn more_streams_than_stream_ids_are_encoding_errors() {
    for kind in [0x12, 0x13, 0x16, 0x17] {
        for (count, fits) in [(MAX_STREAM_COUNT, true), (MAX_STREAM_COUNT + 1, false)] {
            let mut payload = vec![kind];
            varint::encode(count, &mut payload);
            if fits {
                assert!(Frame::decode(&mut Reader::new(&payload)).is_ok());
            } else {
                let error = fails(&payload, PacketType::OneRtt);
                assert_eq!(error.code, code::FRAME_ENCODING_ERROR);
                assert_eq!(error.frame, u64::from(kind));
            }
        }
    }
}

// Q67 (the frame)
#[test]
fn an_empty_token_is_an_encoding_error() {
    let error = fails(&[0x07, 0], PacketType::OneRtt);
    assert_eq!(
        (error.code, error.frame),
        (code::FRAME_ENCODING_ERROR, NEW_TOKEN)
    );
}

// Q96
#[test]
fn new_connection_ids_are_checked() {
    let frame = |sequence: u8, prior: u8, len: u8| {
        let mut payload = vec![0x18, sequence, prior, len];
        payload.resize(4 + usize::from(len) + 16, 0xaa);
        payload
    };
    for (len, sequence, prior, fits) in [
        (1, 0, 0, true),
        (20, 7, 7, true),
        (0, 7, 0, false),
        (21, 7, 0, false),
        (255, 7, 0, false),
        (8, 7, 8, false),
    ] {
        let payload = frame(sequence, prior, len);
        if fits {
            let mut reader = Reader::new(&payload);
            assert!(Frame::decode(&mut reader).is_ok() && reader.is_empty());
        } else {
            let error = fails(&payload, PacketType::OneRtt);
            assert_eq!(error.code, code::FRAME_ENCODING_ERROR);
            assert_eq!(error.frame, NEW_CONNECTION_ID);
        }
    }
}

proptest! {
    // C1, C5: anything at all ends, in no more frames than bytes, and reads the same again.
    #[test]
    fn any_bytes_are_frames_or_an_error(payload in bytes(1..300), which in 0..4usize) {
        let mut count = 0;
        for frame in Frames::new(&payload, WITH_FRAMES[which]).unwrap() {
            count += 1;
            prop_assert!(count <= payload.len());
            let Ok(frame) = frame else { break };
            if let Frame::Ack(ack) = &frame {
                let mut below = u64::MAX;
                for range in ack.ranges() {
                    prop_assert!(range.start() <= range.end() && *range.end() < below);
                    below = *range.start();
                }
            }
            let mut again = Vec::new();
            encode::frame(&mut again, &frame);
            let read = Frame::decode(&mut Reader::new(&again)).unwrap();
            prop_assert_eq!(format!("{read}"), format!("{frame}"));
            prop_assert!(frame.to_string().len() < 2000);
        }
    }
}
