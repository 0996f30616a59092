//! What is shown to people: close reasons and captures.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends by panicking"
)]

use proptest::prelude::*;
use weir_core::close::{CloseReason, FrameName, Initiator, Layer};
use weir_core::limits::MAX_REASON_BYTES;
use weir_core::pcapng::{self, Direction, LINKTYPE_RAW, Packet};

/// When, what, and a comment.
fn recorded() -> impl Strategy<Value = (u64, Vec<u8>, String)> {
    (
        any::<u64>(),
        prop::collection::vec(any::<u8>(), 0..200),
        ".{0,20}",
    )
}

proptest! {
    // threats C10: no text of a peer acts on a terminal or fills a log.
    #[test]
    fn a_peers_words_are_harmless(
        text in any::<String>(),
        long in 0..3000usize,
        code in any::<u64>(),
    ) {
        for text in [text.clone(), text.repeat(long / text.len().max(1))] {
            let reason = CloseReason::new(Initiator::Peer, Layer::Application, code, text);
            prop_assert!(reason.reason.len() <= MAX_REASON_BYTES);
            let shown = reason.in_frame(FrameName::Unknown(code)).to_string();
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }

    // draft-ietf-opsawg-pcapng: blocks are framed, aligned, and hold what was put in.
    #[test]
    fn a_capture_reads_back(packets in prop::collection::vec(recorded(), 0..20)) {
        let mut capture = Vec::new();
        pcapng::section_header(&mut capture, "test");
        pcapng::interface(&mut capture, LINKTYPE_RAW, "if0");
        for (at_nanos, data, comment) in &packets {
            pcapng::packet(&mut capture, &Packet {
                interface: 0,
                at_nanos: *at_nanos,
                data,
                original_len: 0,
                direction: Some(Direction::Inbound),
                comment,
            });
        }
        let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
        let (mut at, mut read) = (0, Vec::new());
        while at < capture.len() {
            let length = word(at + 4) as usize;
            prop_assert_eq!(length % 4, 0);
            prop_assert_eq!(word(at + length - 4) as usize, length);
            if word(at) == 6 {
                let nanos = u64::from(word(at + 12)) << 32 | u64::from(word(at + 16));
                let captured = word(at + 20) as usize;
                prop_assert_eq!(word(at + 24) as usize, captured);
                read.push((nanos, capture[at + 28..at + 28 + captured].to_vec()));
            }
            at += length;
        }
        let written: Vec<_> = packets.into_iter().map(|(at, data, _)| (at, data)).collect();
        prop_assert_eq!(read, written);
    }
}
