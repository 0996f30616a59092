#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::single_range_in_vec_init
)]

use super::*;
use crate::error::code;
use crate::wire::header::PacketType;
use crate::wire::tests_support::hex;
use crate::wire::varint::{self, Reader};
use core::ops::Range;
use proptest::prelude::*;
use weir_core::ranges::RangeSet;

fn decode(bytes: &[u8]) -> Result<Frame<'_>, crate::TransportError> {
    let mut reader = Reader::new(bytes);
    let frame = Frame::decode(&mut reader)?;
    assert!(reader.is_empty(), "{} bytes left", reader.remaining());
    Ok(frame)
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::frame(&mut out, frame);
    out
}

fn set(ranges: &[Range<u64>]) -> RangeSet {
    let mut set = RangeSet::new(1000);
    for range in ranges {
        set.insert(range.clone());
    }
    set
}

fn ack_of(ranges: &RangeSet, max: usize, ecn: Option<EcnCounts>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    encode::ack(&mut out, max, ranges, 5, ecn)?;
    Some(out)
}

// RFC 9000 19.3: bytes made by hand from the figures.
#[test]
fn an_ack_is_read_from_the_highest_range_down() {
    // Largest 10, delay 2, 2 more ranges: 9-10, gap of 2 (numbers 7, 8), 4-6, gap of 1, 0-2.
    let bytes = hex("020a020201010200 02".replace(' ', "").as_str());
    let Frame::Ack(ack) = decode(&bytes).unwrap() else {
        panic!()
    };
    assert_eq!((ack.largest, ack.delay, ack.ecn), (10, 2, None));
    let ranges: Vec<_> = ack.ranges().collect();
    assert_eq!(ranges, [9..=10, 4..=6, 0..=2]);
    let mut out = Vec::new();
    let known = set(&[0..3, 4..7, 9..11]);
    assert_eq!(encode::ack(&mut out, 100, &known, 2, None), Some(10));
    assert_eq!(out, bytes);
}

// Q153 (the frame): the three counts come behind the ranges.
#[test]
fn ecn_counts_are_carried() {
    let ecn = EcnCounts {
        ect0: 1,
        ect1: 200,
        ce: 3,
    };
    let bytes = ack_of(&set(&[7..8]), 100, Some(ecn)).unwrap();
    assert_eq!(bytes, hex("030705000001 40c803".replace(' ', "").as_str()));
    let Frame::Ack(ack) = decode(&bytes).unwrap() else {
        panic!()
    };
    assert_eq!(ack.ecn, Some(ecn));
}

// Q132 (the frame): when not all fit, the newest are told.
#[test]
fn an_ack_takes_as_many_newest_ranges_as_fit() {
    let known = set(&(0..100).map(|n| n * 4..n * 4 + 2).collect::<Vec<_>>());
    let whole = ack_of(&known, usize::MAX, None).unwrap();
    assert_eq!(whole.len(), 1 + 2 + 1 + 2 + 1 + 99 * 2);
    for max in 0..=whole.len() {
        let Some(bytes) = ack_of(&known, max, None) else {
            assert!(max < 6);
            continue;
        };
        assert!(
            bytes.len() <= max && max - bytes.len() < 3,
            "{max} {}",
            bytes.len()
        );
        let Frame::Ack(ack) = decode(&bytes).unwrap() else {
            panic!()
        };
        for (told, known) in ack.ranges().zip(known.iter().rev()) {
            assert_eq!((*told.start(), *told.end() + 1), (known.start, known.end));
        }
    }
    assert_eq!(ack_of(&RangeSet::new(1), 100, None), None);
}

// Q94: the largest offset is 2^62 - 1.
#[test]
fn data_beyond_the_largest_offset_is_an_error() {
    for (kind, head) in [(0x0e, &[4u8][..]), (0x06, &[])] {
        for (offset, fits) in [(varint::MAX - 3, true), (varint::MAX - 2, false)] {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(head);
            varint::encode(offset, &mut bytes);
            bytes.extend_from_slice(b"\x03abc");
            let result = decode(&bytes);
            assert_eq!(result.is_ok(), fits);
            if let Err(error) = result {
                assert_eq!(error.code, code::FRAME_ENCODING_ERROR);
                assert_eq!(error.frame, u64::from(kind));
            }
        }
    }
    let mut bytes = vec![0x0c, 4];
    varint::encode(varint::MAX, &mut bytes);
    assert!(decode(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(decode(&bytes).unwrap_err().code, code::FRAME_ENCODING_ERROR);
}

#[test]
fn all_forms_of_a_stream_frame_are_read() {
    let data = b"abcdefg";
    for kind in 0x08..=0x0fu8 {
        let (has_offset, has_length, fin) = (kind & 4 != 0, kind & 2 != 0, kind & 1 != 0);
        let mut bytes = vec![kind, 0x41, 0x00];
        if has_offset {
            bytes.push(9);
        }
        if has_length {
            bytes.push(3);
        }
        bytes.extend_from_slice(data);
        let mut reader = Reader::new(&bytes);
        let taken: &[u8] = if has_length { b"abc" } else { data };
        let frame = Frame::decode(&mut reader).unwrap();
        let offset = if has_offset { 9 } else { 0 };
        let id = StreamId(0x100);
        assert_eq!(
            frame,
            Frame::Stream {
                id,
                offset,
                data: taken,
                fin
            }
        );
        assert_eq!(reader.remaining(), data.len() - taken.len());
        let mut header = Vec::new();
        let len = has_length.then_some(3);
        encode::stream_header(&mut header, id, offset, fin, len);
        assert_eq!(header, bytes[..bytes.len() - data.len()]);
        assert_eq!(header.len(), encode::stream_header_size(id, offset, len));
    }
}

// RFC 9221 4: both forms, and the size that the peer's limit is about.
#[test]
fn datagrams_know_the_size_of_their_frame() {
    let mut bytes = vec![0x30, 1, 2, 3];
    let Frame::Datagram { data, frame_size } = decode(&bytes).unwrap() else {
        panic!()
    };
    assert_eq!((data, frame_size), (&[1u8, 2, 3][..], 4));
    assert_eq!(encode::datagram_size(3, false), 4);
    bytes[0] = 0x31;
    let mut reader = Reader::new(&bytes);
    let frame = Frame::decode(&mut reader).unwrap();
    let expected = Frame::Datagram {
        data: &[2],
        frame_size: 3,
    };
    assert_eq!((frame, reader.rest()), (expected, &[3u8][..]));
    assert_eq!(encode::datagram_size(1, true), 3);
    assert!(decode(&[0x30]).is_ok() && decode(&[0x31, 0]).is_ok());
}

#[test]
fn padding_is_read_in_one_go() {
    for len in [1, 2, 31, 32, 33, 64, 65, 1199] {
        for next in [None, Some(1u8)] {
            let mut bytes = vec![0; len];
            bytes.extend(next);
            let mut frames = Frames::new(&bytes, PacketType::Initial).unwrap();
            assert_eq!(frames.next(), Some(Ok(Frame::Padding { len })));
            assert_eq!(frames.next(), next.map(|_| Ok(Frame::Ping)));
            assert_eq!(frames.next(), None);
        }
    }
}

#[test]
fn frames_read_as_logs_show_them() {
    let ecn = EcnCounts {
        ect0: 4,
        ect1: 0,
        ce: 1,
    };
    let ack = ack_of(&set(&[1..6, 8..9]), 100, Some(ecn)).unwrap();
    assert_eq!(
        decode(&ack).unwrap().to_string(),
        "ACK 8,1-5 delay 5 ecn 4/0/1"
    );
    let stream = Frame::Stream {
        id: StreamId(0),
        offset: 0,
        data: b"GET /\r\n",
        fin: true,
    };
    assert_eq!(stream.to_string(), "STREAM 0 off 0 len 7 FIN");
    let close = Frame::ConnectionClose {
        code: 0x0a,
        frame: 6,
        reason: b"no\x1b[31m\xff",
    };
    assert_eq!(
        close.to_string(),
        "CONNECTION_CLOSE PROTOCOL_VIOLATION 0xa in CRYPTO: no\\u{1b}[31m\u{fffd}"
    );
    assert_eq!(name(0x2f), "unknown");
}

pub(super) fn bytes(len: Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), len)
}

/// Any value, small ones as often as large ones.
fn number() -> impl Strategy<Value = u64> {
    (0..=varint::MAX, 0..62u32).prop_map(|(value, shift)| value >> shift)
}

/// Every frame that consists of numbers and bytes, by index.
fn simple<'a>(which: usize, n: [u64; 4], data: &'a [u8], bit: bool) -> Frame<'a> {
    let dir = if bit { Dir::Uni } else { Dir::Bi };
    let [a, b, c, d] = n;
    let id = StreamId(a);
    let offset = b.min(varint::MAX - data.len() as u64);
    let eight = c.to_be_bytes();
    match which {
        0 => Frame::Padding {
            len: data.len() + 1,
        },
        1 => Frame::Ping,
        2 => Frame::ResetStream {
            id,
            code: b,
            final_size: c,
        },
        3 => Frame::StopSending { id, code: b },
        4 => Frame::Crypto { offset, data },
        5 => Frame::NewToken { token: data },
        6 => Frame::Stream {
            id,
            offset,
            data,
            fin: bit,
        },
        7 => Frame::MaxData { limit: a },
        8 => Frame::MaxStreamData { id, limit: b },
        9 => Frame::MaxStreams {
            dir,
            limit: a.min(MAX_STREAM_COUNT),
        },
        10 => Frame::DataBlocked { limit: a },
        11 => Frame::StreamDataBlocked { id, limit: b },
        12 => Frame::StreamsBlocked {
            dir,
            limit: a.min(MAX_STREAM_COUNT),
        },
        13 => Frame::RetireConnectionId { sequence: a },
        14 => Frame::PathChallenge { data: eight },
        15 => Frame::PathResponse { data: eight },
        16 => Frame::ConnectionClose {
            code: a,
            frame: b,
            reason: data,
        },
        17 => Frame::ApplicationClose {
            code: a,
            reason: data,
        },
        18 => Frame::HandshakeDone,
        19 => Frame::ImmediateAck,
        20 => Frame::AckFrequency(AckFrequency {
            sequence: a,
            ack_eliciting_threshold: b,
            requested_max_ack_delay: c,
            reordering_threshold: d,
        }),
        21 => Frame::Datagram {
            data,
            frame_size: encode::datagram_size(data.len(), true),
        },
        _ => Frame::NewConnectionId(NewConnectionId {
            sequence: a.max(b),
            retire_prior_to: a.min(b),
            id: ConnectionId::new(&data[..data.len().min(20)]).unwrap(),
            reset_token: (u128::from(c) << 64 | u128::from(d)).to_be_bytes(),
        }),
    }
}

proptest! {
    // Q10, Q12: each frame comes back, its type is known, and no truncation of it is a frame.
    #[test]
    fn every_frame_comes_back(
        which in 0..23usize,
        n in [number(), number(), number(), number()],
        data in bytes(1..40),
        bit: bool,
    ) {
        let frame = simple(which, n, &data, bit);
        let bytes = encoded(&frame);
        prop_assert_eq!(decode(&bytes).unwrap(), frame.clone());
        prop_assert!(is_known(frame.kind()));
        prop_assert_eq!(is_ack_eliciting(frame.kind()), frame.is_ack_eliciting());
        prop_assert_eq!(is_probing(frame.kind()), frame.is_probing());
        prop_assert!(frame.to_string().starts_with(name(frame.kind())));
        if which != 0 {
            for cut in 1..bytes.len() {
                let error = decode(&bytes[..cut]).unwrap_err();
                prop_assert_eq!(error.code, code::FRAME_ENCODING_ERROR);
            }
        }
    }

    // Q133 and Q14 turned round: what is acknowledged comes back range by range.
    #[test]
    fn every_ack_comes_back(
        gaps in prop::collection::vec((number(), number()), 1..60),
        delay in number(),
        ecn in prop::option::of([number(), number(), number()]),
    ) {
        let mut known = RangeSet::new(1000);
        let mut at = 0u64;
        for (gap, len) in gaps {
            let start = at.saturating_add(gap >> 8).saturating_add(1);
            at = start.saturating_add(len >> 8).saturating_add(1);
            if at >= varint::MAX {
                break;
            }
            known.insert(start..at);
        }
        prop_assume!(!known.is_empty());
        let ecn = ecn.map(|[ect0, ect1, ce]| EcnCounts { ect0, ect1, ce });
        let mut bytes = Vec::new();
        prop_assert_eq!(encode::ack(&mut bytes, usize::MAX, &known, delay, ecn), known.max());
        let frame = decode(&bytes).unwrap();
        let Frame::Ack(ack) = &frame else { panic!() };
        prop_assert_eq!((ack.delay, ack.ecn), (delay, ecn));
        let told: Vec<_> = ack.ranges().map(|range| *range.start()..range.end() + 1).collect();
        prop_assert_eq!(told, known.iter().rev().collect::<Vec<_>>());
        prop_assert_eq!(encoded(&frame), bytes.clone());
        for cut in 1..bytes.len() {
            prop_assert_eq!(decode(&bytes[..cut]).unwrap_err().code, code::FRAME_ENCODING_ERROR);
        }
    }
}
