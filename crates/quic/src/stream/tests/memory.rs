//! What streams cost, and what a peer that tries can make of it.

use super::*;
use crate::stream::Half;
use crate::stream::limits::{MEMORY_STEP, STREAM_COST};

// Q88: nothing is kept of streams that are over, whatever their number.
#[test]
fn ended_streams_leave_no_state() {
    let mut pair = Pair::new(StreamConfig::default());
    for round in 0..20_000 {
        let dir = if round % 2 == 0 { Dir::Bi } else { Dir::Uni };
        let ours = pair.client.open(dir);
        pair.client.write(ours, b"x");
        pair.client.streams.release(NOW, ours, Half::Send);
        pair.settle();
        let theirs = pair.server.accept(dir).unwrap();
        pair.server.streams.release(NOW, theirs, Half::Recv);
        pair.server.streams.release(NOW, theirs, Half::Send);
        pair.client.streams.release(NOW, ours, Half::Recv);
        pair.settle();
    }
    pair.client.events();
    pair.server.events();
    for end in [&mut pair.client, &mut pair.server] {
        end.assert_empty();
        assert!(end.streams.slots.index_bound() <= 128);
        // The first stream's buffers served them all.
        assert!(end.streams.buffers.chunks.allocations() < 4);
    }
}

// Q75, Q88: streams that are permitted, or implied by a higher one, cost nothing.
#[test]
fn untouched_streams_cost_nothing() {
    let config = StreamConfig {
        max_bidi: 1 << 60,
        ..StreamConfig::default()
    };
    let mut end = End::new(Side::Server, config);
    end.stream(client_bidi((1 << 60) - 1), 0, b"x", false)
        .unwrap();
    assert_eq!(end.streams.open_streams(), 1);
    assert!(end.memory.used() <= 3 * MEMORY_STEP);
    let first = end.accept(Dir::Bi).unwrap();
    assert_eq!(
        (end.id(first), end.streams.open_streams()),
        (client_bidi(0), 2)
    );
}

#[test]
fn an_idle_stream_and_an_idle_connection_are_small() {
    let size = size_of::<Streams>();
    assert!(size <= 2304, "{size} bytes");
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Bi, &[1; 100_000]);
    pair.server.read(theirs);
    pair.settle();
    // With everything read and acknowledged a stream has no buffers, and kept ones go when idle.
    for (end, key) in [(&mut pair.client, ours), (&mut pair.server, theirs)] {
        let stream = end.streams.slots.get(key).unwrap();
        assert!(stream.outgoing.is_none() && stream.incoming.is_none());
        assert!(!end.streams.buffers.is_trimmed());
        for second in 2..5 {
            let now = Instant::from_millis(second * 1000);
            end.streams.handle_timeout(now, None);
        }
        assert!(end.streams.buffers.is_trimmed());
        assert_eq!(end.memory.used(), STREAM_COST);
        assert_eq!(end.streams.poll_timeout(), None);
    }
}

// Q172, threats C9: a peer that opens and resets in a loop gets new streams only at the rate allowed.
#[test]
fn rapid_reset_is_slowed_down() {
    let config = StreamConfig {
        max_bidi: 100,
        reset_burst: 50,
        reset_rate: 10,
        ..StreamConfig::default()
    };
    let mut end = End::new(Side::Server, config);
    let (mut now, mut number, mut limit) = (NOW, 0, 100);
    for _ in 0..1000 {
        // As fast as it may, for ten seconds.
        while number < limit {
            let id = client_bidi(number);
            end.streams.on_stream(now, id, 0, b"GET", false).unwrap();
            let key = end.streams.accept(now, Dir::Bi);
            end.streams.on_reset_stream(now, id, 1, 3).unwrap();
            end.streams.on_stop_sending(now, id, 1).unwrap();
            if let Some(key) = key {
                end.streams.release(now, key, Half::Send);
                end.streams.release(now, key, Half::Recv);
            }
            number += 1;
        }
        now += Duration::from_millis(10);
        end.streams.handle_timeout(now, None);
        while let Some(packet) = end.packet_at(now, PACKET) {
            for frame in packet.frames() {
                if let Frame::MaxStreams { limit: raised, .. } = frame {
                    limit = raised;
                }
            }
            end.acked(&packet);
        }
        assert!(end.streams.open_streams() <= 100);
    }
    // The permission it had, the burst, and ten a second.
    assert!((240..=260).contains(&number), "{number} streams");
    let stats = end.streams.stats();
    assert_eq!(stats.resets_received, number);
    assert!(stats.streams_withheld >= 100);
}

// Q172: resets of what was answered are not held against the peer.
#[test]
fn resets_of_answered_streams_are_free() {
    let config = StreamConfig {
        max_bidi: 4,
        reset_burst: 1,
        reset_rate: 1,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    for _ in 0..100 {
        let (ours, theirs) = pair.opened(Dir::Bi, b"request");
        pair.server.write(theirs, b"answer");
        pair.server.streams.finish(NOW, theirs);
        pair.settle();
        pair.client.streams.reset(NOW, ours, 1);
        for half in [Half::Send, Half::Recv] {
            pair.client.streams.release(NOW, ours, half);
            pair.server.streams.release(NOW, theirs, half);
        }
        pair.settle();
    }
    assert_eq!(pair.server.streams.stats().streams_withheld, 0);
}

// Q172, RFC 9000 21.6: readers that sleep on many streams hold no more than the connection's window.
#[test]
fn unread_data_of_many_streams_is_bounded() {
    let config = StreamConfig {
        stream_window: 100_000,
        connection_window: 300_000,
        max_connection_window: 1_000_000,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    for _ in 0..100 {
        let key = pair.client.open(Dir::Uni);
        pair.client.write(key, &[1; 100_000]);
    }
    pair.settle();
    let streams = &pair.server.streams;
    assert_eq!(streams.recv.buffered(), streams.recv.limit());
    assert!(streams.recv.limit() <= 1_000_000);
    assert!(streams.recv.limit() > 900_000, "{}", streams.recv.limit());
    assert!(streams.buffers.chunks.in_use() <= 2_000_000);
    let reserved = pair.server.memory.used();
    assert!(
        reserved <= 1_000_000 + 100 * STREAM_COST + 4 * MEMORY_STEP,
        "{reserved}"
    );
    assert_eq!(streams.stats().streams_shed, 0);
}

// When even what the first window permits finds no memory, the stream that holds most is let go.
#[test]
fn without_memory_the_largest_unread_stream_goes() {
    let config = StreamConfig {
        stream_window: 100_000,
        connection_window: 300_000,
        max_connection_window: 300_000,
        ..StreamConfig::default()
    };
    let memory = Budget::root("connection", 150_000);
    let mut server = End::with_memory(Side::Server, config.clone(), memory);
    let mut client = End::new(Side::Client, config);
    introduce(&mut client, &mut server);
    let mut pair = Pair { client, server };
    let (_, small) = pair.opened(Dir::Uni, &[1; 20_000]);
    let (large_ours, large) = pair.opened(Dir::Uni, &[2; 90_000]);
    let (_, late) = pair.opened(Dir::Uni, &[3; 60_000]);
    assert!(
        pair.server
            .events()
            .contains(&StreamEvent::StreamReset(large))
    );
    let result = pair.server.streams.read(NOW, large, 1);
    assert_eq!(result, Err(ReadError::Stopped));
    assert_eq!(pair.server.read(small).0.len(), 20_000);
    assert_eq!(pair.server.read(late).0, vec![3; 60_000]);
    assert_eq!(pair.server.streams.stats().streams_shed, 1);
    assert!(pair.server.memory.peak() <= 150_000);
    let code = crate::error::code::INTERNAL_ERROR;
    let stopped = crate::stream::WriteError::Stopped(code);
    assert_eq!(pair.client.streams.send_error(large_ours), Some(stopped));
    // Its credit is there again.
    assert_eq!(pair.server.streams.recv.buffered(), 0);
}

// Q172: one byte in every hole of many streams holds no more than the window and a page each.
#[test]
fn stream_fragmentation_is_bounded() {
    let config = StreamConfig {
        stream_window: 200_000,
        connection_window: 400_000,
        max_connection_window: 400_000,
        ..StreamConfig::default()
    };
    let mut end = End::new(Side::Server, config);
    for number in 0..4 {
        for offset in (1..100_000).step_by(2) {
            end.stream(client_bidi(number), offset, &[1], false)
                .unwrap();
        }
    }
    assert_eq!(end.streams.recv.buffered(), 400_000);
    assert!(end.stream(client_bidi(4), 0, &[1], false).is_err());
    let pages = end.streams.buffers.chunks.allocations();
    assert_eq!(pages, 4 * 100_000_u64.div_ceil(4096));
}

// Writers share what memory there is: one that is blocked leaves as much as it holds.
#[test]
fn writers_share_the_memory_and_are_woken_when_it_comes_back() {
    let memory = Budget::root("connection", 1 << 20);
    let config = StreamConfig {
        send_buffer: 1 << 22,
        stream_window: 1 << 22,
        max_stream_window: 1 << 22,
        connection_window: 1 << 24,
        ..StreamConfig::default()
    };
    let mut client = End::with_memory(Side::Client, config.clone(), memory);
    let mut server = End::new(Side::Server, config);
    introduce(&mut client, &mut server);
    let mut pair = Pair { client, server };
    let greedy = pair.client.open(Dir::Uni);
    let mut taken = 0;
    while let Ok(count) = pair.client.streams.write_slice(NOW, greedy, &[1; 50_000]) {
        taken += count;
    }
    assert!((500_000..530_000).contains(&taken), "{taken}");
    let second = pair.client.open(Dir::Uni);
    pair.client.write(second, &[2; 200_000]);
    assert!(pair.client.memory.peak() <= 1 << 20);
    assert!(pair.client.streams.poll_timeout().is_some());
    assert!(pair.client.events().is_empty());
    let held = pair.client.streams.stream_stats(greedy).unwrap();
    assert_eq!(held.queued, taken as u64);
    pair.settle();
    assert!(
        pair.client
            .events()
            .contains(&StreamEvent::Writable(greedy))
    );
}
