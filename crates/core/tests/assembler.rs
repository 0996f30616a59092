//! The assembler and the send buffer against plain models, and the assembler under attack.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::ops::Range;

use proptest::prelude::*;
use weir_core::buf::{Assembler, Chunks, SendBuffer};

/// The byte that every test has at an offset.
fn byte_at(offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16)) as u8
}

fn bytes_of(range: Range<u64>) -> Vec<u8> {
    range.map(byte_at).collect()
}

/// Which bytes have arrived, one flag each.
struct Model {
    there: Vec<bool>,
    read: usize,
}

impl Model {
    fn insert(&mut self, range: &Range<u64>) -> u64 {
        let mut new = 0;
        for at in range.clone() {
            let flag = &mut self.there[at as usize];
            new += u64::from(!*flag);
            *flag = true;
        }
        new
    }

    fn end(&self) -> usize {
        let missing = self.there[self.read..].iter().position(|there| !there);
        missing.map_or(self.there.len(), |at| self.read + at)
    }
}

const LENGTH: u64 = 40_000;

fn any_range() -> impl Strategy<Value = Range<u64>> {
    prop_oneof![
        (0..LENGTH, 0..2000u64),
        (0..LENGTH, 0..3u64),
        ((0..LENGTH / 1000).prop_map(|n| n * 1000), Just(1000u64)),
    ]
    .prop_map(|(start, len)| start..(start + len).min(LENGTH))
}

proptest! {
    // Q76: bytes are delivered in order from any split, overlap and order.
    #[test]
    fn any_split_overlap_and_order_gives_the_same_bytes(
        steps in prop::collection::vec((any_range(), 0..5000usize), 1..200),
        ample in prop_oneof![Just(0usize), Just(1 << 20)],
    ) {
        let mut chunks = Chunks::new(ample);
        let mut assembler = Assembler::new(0, LENGTH);
        let mut model = Model { there: vec![false; LENGTH as usize], read: 0 };
        for (range, max) in steps {
            let data = bytes_of(range.clone());
            let new = assembler.insert(range.start, &data, &mut chunks).unwrap();
            prop_assert_eq!(new, model.insert(&range));
            prop_assert_eq!(assembler.end() as usize, model.end());
            let held = model.there[model.end()..].iter().filter(|there| **there).count();
            prop_assert_eq!(assembler.held() as usize, held);
            if let Some(bytes) = assembler.read(max, &mut chunks) {
                prop_assert!(bytes.len() <= max);
                let to = model.read + bytes.len();
                prop_assert!(to <= model.end());
                prop_assert_eq!(&bytes[..], &bytes_of(model.read as u64..to as u64)[..]);
                model.read = to;
            }
        }
        // What is still missing arrives, and all comes out.
        let data = bytes_of(0..LENGTH);
        assembler.insert(0, &data, &mut chunks).unwrap();
        let mut rest = vec![0; LENGTH as usize - model.read];
        prop_assert_eq!(assembler.read_into(&mut rest, &mut chunks), rest.len());
        prop_assert_eq!(rest, bytes_of(model.read as u64..LENGTH));
        prop_assert!(assembler.is_empty());
        assembler.restart(0, &mut chunks);
        prop_assert_eq!(chunks.in_use(), 0);
    }

    // Q87: whatever is lost and acknowledged in whatever order, every byte reaches the peer with
    // the same content, and nothing is kept of what it has.
    #[test]
    fn every_byte_arrives_whatever_is_lost(
        writes in prop::collection::vec(0..3000u64, 1..40),
        fates in prop::collection::vec((1..1500u64, 0..4u8), 1..300),
    ) {
        let mut chunks = Chunks::new(1 << 20);
        let mut buffer = SendBuffer::default();
        let mut arrived = Vec::new();
        let mut in_flight: Vec<Range<u64>> = Vec::new();
        let mut writes = writes.into_iter();
        let mut fates = fates.into_iter().cycle();
        let mut steps = 0;
        loop {
            steps += 1;
            if let Some(len) = writes.next() {
                let data = bytes_of(buffer.end()..buffer.end() + len);
                if len % 2 == 0 {
                    buffer.append(data.into(), &mut chunks);
                } else {
                    buffer.append_slice(&data, &mut chunks);
                }
            }
            let (max, fate) = fates.next().unwrap();
            let range = buffer.next_range(u64::MAX);
            let range = range.start..range.end.min(range.start + max);
            if !range.is_empty() {
                let mut out = Vec::new();
                buffer.copy_range(range.clone(), &mut out);
                prop_assert_eq!(out, bytes_of(range.clone()));
                buffer.on_sent(&range);
                in_flight.push(range);
            }
            // After a while nothing is lost any more.
            let fate = if steps > 500 { fate & 1 } else { fate };
            let last = in_flight.len().checked_sub(1);
            match (fate, last) {
                (0, Some(last)) => arrived.push(in_flight.swap_remove(last / 2)),
                (1, Some(_)) => arrived.push(in_flight.remove(0)),
                (2, Some(last)) => buffer.on_lost(in_flight.swap_remove(last)),
                (_, Some(last)) => buffer.on_lost(in_flight[last / 2].clone()),
                (_, None) if writes.len() == 0 && buffer.next_range(u64::MAX).is_empty() => break,
                (_, None) => {}
            }
            if fate < 2 && last.is_some() {
                let range = arrived.last().cloned().unwrap();
                buffer.on_acked(range, &mut chunks);
            }
        }
        prop_assert!(buffer.is_empty() && !buffer.has_lost());
        prop_assert_eq!(chunks.in_use(), 0);
        let mut there = vec![false; buffer.end() as usize];
        arrived.into_iter().flatten().for_each(|at| there[at as usize] = true);
        prop_assert!(there.into_iter().all(|there| there));
    }
}

// Q172, RFC 9000 21.7: one byte in every hole costs no more memory than the stretch it spans, and
// filling the holes from the far end no more work than its length.
#[test]
fn one_byte_in_many_holes_stays_bounded() {
    const WINDOW: u64 = 1 << 20;
    let mut chunks = Chunks::new(0);
    let mut assembler = Assembler::new(0, WINDOW);
    for offset in (0..WINDOW / 2).rev().map(|n| 2 * n + 1) {
        assert_eq!(
            assembler.insert(offset, &[byte_at(offset)], &mut chunks),
            Ok(1)
        );
    }
    let pages = WINDOW / 4096;
    assert_eq!(chunks.allocations(), pages);
    assert_eq!(assembler.held(), WINDOW / 2);
    for offset in (1..WINDOW / 2).rev().map(|n| 2 * n) {
        assert_eq!(
            assembler.insert(offset, &[byte_at(offset)], &mut chunks),
            Ok(1)
        );
        assert_eq!(assembler.readable(), 0);
    }
    assert_eq!(chunks.allocations(), pages);
    assert_eq!(assembler.insert(0, &[byte_at(0)], &mut chunks), Ok(1));
    assert_eq!((assembler.readable(), assembler.held()), (WINDOW, 0));
    assert!(chunks.in_use() <= 2 * WINDOW as usize, "{chunks:?}");
    let mut out = vec![0; WINDOW as usize];
    assembler.read_into(&mut out, &mut chunks);
    assert_eq!(out, bytes_of(0..WINDOW));
}

// Q172: in order, a byte at a time: chunks are filled, not one made for each byte.
#[test]
fn many_tiny_pieces_share_chunks() {
    let mut chunks = Chunks::new(0);
    let mut assembler = Assembler::new(0, 1 << 20);
    for offset in 0..1 << 20 {
        let _new = assembler.insert(offset, &[byte_at(offset)], &mut chunks);
    }
    assert!(chunks.in_use() < (1 << 20) + (1 << 17), "{chunks:?}");
}
