//! Frames: every payload is frames or an error with a code that RFC 9000 has for it, and what was
//! read is written so that it reads the same.

use weir_quic::code;
use weir_quic::wire::frame::{Frames, encode, is_known, name, permitted};
use weir_quic::wire::varint::Reader;
use weir_quic::wire::{Frame, PacketType};

/// Reads all but the first byte of `data` as the payload of a packet whose type the first byte says.
pub fn run(data: &[u8]) {
    let Some((which, payload)) = data.split_first() else {
        return;
    };
    let packet = match which % 4 {
        0 => PacketType::Initial,
        1 => PacketType::ZeroRtt,
        2 => PacketType::Handshake,
        _ => PacketType::OneRtt,
    };
    let mut frames = match Frames::new(payload, packet) {
        Ok(frames) => frames,
        Err(error) => {
            assert!(payload.is_empty() && error.code == code::PROTOCOL_VIOLATION);
            return;
        }
    };
    let mut left = payload.len();
    while let Some(frame) = frames.next() {
        match frame {
            Ok(frame) => {
                assert!(frames.remaining() < left, "a frame has bytes");
                left = frames.remaining();
                assert!(permitted(frame.kind(), packet));
                one(&frame);
            }
            Err(error) => {
                let codes = [code::FRAME_ENCODING_ERROR, code::PROTOCOL_VIOLATION];
                assert!(codes.contains(&error.code));
                assert!(frames.next().is_none());
                return;
            }
        }
    }
    assert_eq!(left, 0);
}

fn one(frame: &Frame<'_>) {
    assert!(is_known(frame.kind()) && name(frame.kind()) != "unknown");
    assert!(frame.to_string().len() < 4_000);
    if let Frame::Ack(ack) = frame {
        let mut below = u64::MAX;
        for range in ack.ranges() {
            assert!(range.start() <= range.end() && *range.end() < below);
            below = *range.start();
        }
    }
    let mut out = Vec::new();
    encode::frame(&mut out, frame);
    let mut reader = Reader::new(&out);
    let again = Frame::decode(&mut reader).expect("what was written is a frame");
    assert!(reader.is_empty());
    match (&again, frame) {
        // Written with its length, it may be larger than it was.
        (Frame::Datagram { data: new, .. }, Frame::Datagram { data: old, .. }) => {
            assert_eq!(new, old);
        }
        (Frame::Ack(new), Frame::Ack(old)) => {
            assert!(new.ranges().eq(old.ranges()) && new.ecn == old.ecn && new.delay == old.delay);
        }
        _ => assert_eq!(&again, frame),
    }
}
