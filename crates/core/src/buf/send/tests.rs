//! What a send buffer keeps, gives and forgets.

use super::*;

fn copied(buffer: &mut SendBuffer, range: Range<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    buffer.copy_range(range, &mut out);
    out
}

fn send(buffer: &mut SendBuffer, max: u64) -> Range<u64> {
    let range = buffer.next_range(u64::MAX);
    let range = range.start..range.end.min(range.start.saturating_add(max));
    buffer.on_sent(&range);
    range
}

#[test]
fn bytes_are_copied_from_any_offset_across_segments() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::new(100);
    buffer.append(Bytes::from_static(b"one "), &mut chunks);
    buffer.append(Bytes::from_static(b"two "), &mut chunks);
    buffer.append_slice(b"three ", &mut chunks);
    buffer.append(Bytes::from(vec![b'x'; 5000]), &mut chunks);
    buffer.append(Bytes::from_static(b" end"), &mut chunks);
    assert_eq!((buffer.end(), buffer.segments.len()), (5118, 4));
    assert_eq!(copied(&mut buffer, 100..114), b"one two three ");
    assert_eq!(copied(&mut buffer, 5112..5118), b"xx end");
    assert_eq!(copied(&mut buffer, 103..109), b" two t");
    assert_eq!(copied(&mut buffer, 5117..6000), b"d");
    assert!(copied(&mut buffer, 99..6000).is_empty());
}

// A message at a time: one copy, and no chunk comes and goes.
#[test]
fn a_small_chunk_stays_for_the_next_message() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::new(1);
    buffer.keep_chunk();
    for turn in 0..100_u64 {
        buffer.append_slice(&[turn as u8; 1000], &mut chunks);
        let range = send(&mut buffer, 2000);
        assert_eq!(range, 1 + turn * 1000..1001 + turn * 1000);
        assert_eq!(copied(&mut buffer, range.clone()), [turn as u8; 1000]);
        assert_eq!(buffer.on_acked(range, &mut chunks), 1000);
        assert!(buffer.is_empty() && buffer.next_range(u64::MAX).is_empty());
        assert_eq!((chunks.in_use(), chunks.allocations()), (1024, 1));
    }
    // What does not fit goes on in another; both come back.
    buffer.append_slice(&[7; 5000], &mut chunks);
    buffer.append(Bytes::from(vec![8; 5000]), &mut chunks);
    let range = send(&mut buffer, 10_000);
    assert_eq!(copied(&mut buffer, range.clone()).len(), 10_000);
    buffer.on_acked(range, &mut chunks);
    assert_eq!((chunks.in_use(), buffer.segments.len()), (0, 0));
    buffer.append_slice(b"end", &mut chunks);
    let range = send(&mut buffer, 10_000);
    buffer.on_acked(range, &mut chunks);
    assert_eq!(chunks.in_use(), 512);
    buffer.restart(1, &mut chunks);
    assert_eq!(chunks.in_use(), 0);
}

#[test]
fn small_pieces_share_chunks_that_come_back() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    for _ in 0..100 {
        for _ in 0..1000 {
            buffer.append(Bytes::from_static(b"0123456789"), &mut chunks);
        }
        assert!(buffer.segments.len() < 12, "{buffer:?}");
        while buffer.unsent() > 0 {
            let range = send(&mut buffer, 1200);
            buffer.on_acked(range, &mut chunks);
        }
    }
    assert!(chunks.allocations() < 12 && chunks.in_use() == 0);
    assert_eq!((buffer.base(), buffer.is_empty()), (1_000_000, true));
}

// RFC 9000 13.3: lost data is sent again, lost data first.
#[test]
fn the_lost_goes_first_and_only_what_is_missing() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    buffer.append_slice(&[1; 100], &mut chunks);
    let sent: Vec<_> = (0..5).map(|_| send(&mut buffer, 10)).collect();
    assert_eq!(sent[4], 40..50);
    assert_eq!(buffer.on_acked(20..30, &mut chunks), 0);
    buffer.on_lost(10..40);
    assert_eq!(send(&mut buffer, 100), 10..20);
    assert_eq!(send(&mut buffer, 4), 30..34);
    // The acknowledgement of what had been given up comes late.
    assert_eq!(buffer.on_acked(30..40, &mut chunks), 0);
    assert_eq!(send(&mut buffer, 10), 50..60);
    assert_eq!(buffer.on_acked(0..10, &mut chunks), 10);
    assert_eq!(buffer.on_acked(10..20, &mut chunks), 30);
    assert_eq!((buffer.base(), buffer.len_unacked()), (40, 60));
    buffer.reset_all_unacked();
    assert_eq!(buffer.next_range(u64::MAX), 40..60);
}

#[test]
fn new_bytes_stop_at_the_limit_and_lost_ones_do_not() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    buffer.append_slice(&[1; 100], &mut chunks);
    assert_eq!(buffer.next_range(30), 0..30);
    buffer.on_sent(&(0..30));
    assert!(buffer.next_range(30).is_empty() && buffer.next_range(10).is_empty());
    buffer.on_lost(0..30);
    assert_eq!(buffer.next_range(10), 0..30);
}

fn shared(buffer: &mut SendBuffer, range: Range<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    buffer.share_range(range, &mut out);
    out.concat()
}

#[test]
fn what_is_shared_is_what_would_be_copied() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::new(100);
    buffer.append(Bytes::from_static(b"one "), &mut chunks);
    buffer.append_slice(b"two three ", &mut chunks);
    buffer.append(Bytes::from(vec![b'x'; 5000]), &mut chunks);
    buffer.append(Bytes::from_static(b" end"), &mut chunks);
    for range in [
        100..5118,
        103..109,
        104..114,
        113..115,
        5117..6000,
        99..6000,
        7000..7001,
    ] {
        let copy = copied(&mut buffer, range.clone());
        assert_eq!(shared(&mut buffer, range.clone()), copy, "{range:?}");
    }
    // Writing goes on, in the room that the last chunk has.
    let allocations = chunks.allocations();
    buffer.append(Bytes::from_static(b" more"), &mut chunks);
    assert_eq!(chunks.allocations(), allocations);
    assert_eq!(copied(&mut buffer, 5112..6000), b"xx end more");
    assert_eq!(shared(&mut buffer, 5112..6000), b"xx end more");
}

#[test]
fn a_large_piece_is_shared_as_it_came() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    let piece = Bytes::from(vec![1; 10_000]);
    buffer.append(piece.clone(), &mut chunks);
    let mut out = Vec::new();
    buffer.share_range(100..9_000, &mut out);
    assert_eq!(out[0].as_ptr(), piece[100..].as_ptr());
}

#[test]
fn shared_chunks_come_back_when_acknowledged_and_dropped() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    let mut before = 0;
    for round in 0..50 {
        for _ in 0..64 {
            buffer.append_slice(&[round; 1000], &mut chunks);
        }
        let mut out = Vec::new();
        while buffer.unsent() > 0 {
            let range = buffer.next_range(u64::MAX);
            let range = range.start..range.end.min(range.start + 20_000);
            buffer.on_sent(&range);
            buffer.share_range(range, &mut out);
        }
        let bytes: usize = out.iter().map(Bytes::len).sum();
        assert!(bytes == 64_000 && out.iter().flatten().all(|&byte| byte == round));
        // The device holds on to what the peer has acknowledged already.
        buffer.on_acked(buffer.base()..buffer.next(), &mut chunks);
        assert_eq!(chunks.in_use(), 0);
        assert!(out.iter().flatten().all(|&byte| byte == round));
        if round == 2 {
            before = chunks.allocations();
        }
    }
    assert_eq!(chunks.allocations(), before);
}

#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    buffer.append_slice(&[1; 100], &mut chunks);
    buffer.on_sent(&(0..10));
    assert_eq!(buffer.on_acked(0..100, &mut chunks), 10);
    buffer.on_lost(0..100);
    assert_eq!((buffer.has_lost(), buffer.unsent()), (false, 90));
}

#[test]
fn rewinding_sends_all_that_is_kept_as_new() {
    let mut chunks = Chunks::new(1 << 20);
    let mut buffer = SendBuffer::default();
    buffer.append_slice(b"early data", &mut chunks);
    buffer.on_sent(&(0..10));
    buffer.on_lost(3..5);
    buffer.rewind();
    assert_eq!((buffer.next_range(4), buffer.unsent()), (0..4, 10));
    buffer.restart(7, &mut chunks);
    assert_eq!(
        (buffer.end(), buffer.is_empty(), chunks.in_use()),
        (7, true, 0)
    );
}
