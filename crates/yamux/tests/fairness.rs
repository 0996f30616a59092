//! Streams beside each other: Y30 to Y34.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;
use weir_core::sched::Priority;

#[test]
fn a_stream_that_nobody_reads_stalls_itself_alone() {
    // Y30
    let mut pair = Pair::new();
    let (stuck, unread) = pair.stream();
    let (live, read) = pair.stream();
    pair.client.write(pair.now, stuck, pattern(500 * KIB));
    pair.pump();
    let stats = pair.server.session.stream_stats(unread).unwrap();
    assert_eq!((stats.buffered, stats.recv_window), (256 * 1024, 0));
    for round in 0..50_u32 {
        pair.client.write(pair.now, live, pattern(64 * KIB));
        pair.client.session.ping(pair.now);
        pair.pump();
        assert_eq!(
            pair.server.read(pair.now, read).0.len(),
            64 * KIB,
            "round {round}"
        );
        pair.advance(Duration::from_millis(1));
    }
    assert!(pair.client.session.rtt().latest().is_some());
    assert_eq!(pair.client.held(stuck).send.as_str(), "peer's window");
    assert_eq!(pair.server.held(unread).recv.as_str(), "application");
    // And it goes on when somebody reads.
    assert_eq!(pair.server.read(pair.now, unread).0.len(), 256 * KIB);
    pair.pump();
    assert_eq!(pair.server.read(pair.now, unread).0.len(), 244 * KIB);
}

#[test]
fn streams_take_turns_by_frame() {
    // Y31: three that want to send as much as they may
    let mut node = Node::client();
    for key in node.open(T0, 3) {
        node.write(T0, key, pattern(256 * KIB));
    }
    let turns: Vec<(u32, u32)> = node
        .frames(T0)
        .iter()
        .map(|frame| (frame.header.stream_id, frame.header.length))
        .collect();
    let fair = 16 * 1024;
    assert_eq!(
        turns[..6],
        [
            (1, fair),
            (3, fair),
            (5, fair),
            (1, fair),
            (3, fair),
            (5, fair)
        ]
    );
    // No stream is ever more than one frame ahead of another that still has something.
    let mut sent = [0_u32; 3];
    for (id, length) in turns {
        sent[id as usize / 2] += length;
        let (low, high) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(high - low <= 65_536 && (high - low <= fair || *high == 256 * 1024));
    }
}

#[test]
fn a_small_stream_waits_for_one_frame_of_each_other() {
    // Y31
    let mut node = Node::client();
    for key in node.open(T0, 4) {
        node.write(T0, key, pattern(256 * KIB));
    }
    let small = node.session.open(T0).unwrap();
    node.write(T0, small, pattern(10_000));
    let ids: Vec<u32> = node
        .frames(T0)
        .iter()
        .map(|frame| frame.header.stream_id)
        .collect();
    // The SYN goes out at once, the data after one frame of each that was there before.
    assert_eq!(ids[..6], [9, 1, 3, 5, 7, 9]);
}

#[test]
fn a_new_stream_with_a_small_request_waits_for_nobody() {
    // Y31: it leaves with its SYN, before the data of others in the same flush
    let mut node = Node::client();
    for key in node.open(T0, 4) {
        node.write(T0, key, pattern(256 * KIB));
    }
    let small = node.session.open(T0).unwrap();
    node.write(T0, small, pattern(1000));
    node.session.finish(T0, small);
    assert_eq!(head(&node.frames(T0)[0]), (DATA, SYN, 9, 1000));
}

#[test]
fn a_stream_alone_sends_large_frames() {
    let mut node = Node::client();
    let bulk = node.session.open(T0).unwrap();
    let other = node.session.open(T0).unwrap();
    node.flush(T0);
    node.write(T0, bulk, pattern(256 * KIB));
    node.write(T0, other, pattern(20 * KIB));
    let frames: Vec<(u32, u32)> = node
        .frames(T0)
        .iter()
        .map(|frame| (frame.header.stream_id, frame.header.length))
        .collect();
    assert_eq!(
        frames,
        [
            (1, 16_384),
            (3, 16_384),
            (1, 16_384),
            (3, 4_096),
            (1, 65_536),
            (1, 65_536),
            (1, 65_536),
            (1, 32_768)
        ]
    );
}

#[test]
fn the_more_urgent_goes_first() {
    let mut node = Node::client();
    for (key, urgency) in node.open(T0, 3).into_iter().zip([5, 1, 3]) {
        node.session.set_priority(key, Priority::urgency(urgency));
        node.write(T0, key, pattern(128 * KIB));
    }
    let mut ids: Vec<u32> = node
        .frames(T0)
        .iter()
        .map(|frame| frame.header.stream_id)
        .collect();
    ids.dedup();
    assert_eq!(ids, [3, 5, 1]);
}

#[test]
fn control_frames_go_before_data() {
    // Y32: with as much data waiting as fits any batch
    let mut node = Node::server();
    let mut keys = Vec::new();
    for n in 0..8 {
        node.feed(T0, raw(UPDATE, SYN, 1 + 2 * n, 2 << 20));
        keys.push(node.session.accept(T0).unwrap());
    }
    node.flush(T0);
    for key in keys {
        node.write(T0, key, pattern(512 * KIB));
    }
    // A reader's update, a ping to answer, a stream to reset, a refusal, the wish to leave.
    node.feed(T0, raw(UPDATE, SYN, 101, 0));
    let reader = node.session.accept(T0).unwrap();
    node.feed(T0, data(NONE, 101, &pattern(200 * KIB)));
    assert!(!node.read(T0, reader).0.is_empty());
    node.feed(T0, raw(PING, SYN, 0, 77));
    node.session.go_away(T0);
    node.feed(T0, raw(UPDATE, SYN, 201, 0));
    node.session.poll_transmit(T0, &mut node.batch);
    let frames = node.frames_of_batch();
    let data_at = frames
        .iter()
        .position(|frame| frame.header.kind == DATA)
        .unwrap();
    let control: Vec<_> = heads(&frames[..data_at]);
    assert_eq!(control[0], (AWAY, NONE, 0, 0));
    assert_eq!(control[1], (PING, ACK, 0, 77));
    assert!(control.contains(&(UPDATE, RST, 201, 0)));
    assert!(control.contains(&(UPDATE, ACK, 101, 200 * 1024)));
}

#[test]
fn control_frames_are_not_held_by_a_full_window() {
    // Y32: the only stream has no credit left, its own update and a reset still go out
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    for (node, key) in [(&mut pair.client, ours), (&mut pair.server, theirs)] {
        node.write(T0, key, pattern(300 * KIB));
    }
    pair.pump();
    for node in [&pair.client, &pair.server] {
        let key = node.session.streams().next().unwrap();
        assert_eq!(node.session.stream_stats(key).unwrap().send_window, 0);
    }
    assert!(!pair.client.read(T0, ours).0.is_empty());
    let updates = pair.client.frames(T0);
    assert!(
        heads(&updates).contains(&(UPDATE, NONE, 1, 256 * 1024)),
        "{updates:?}"
    );
    pair.client.session.reset(T0, ours, 3);
    assert_eq!(heads(&pair.client.frames(T0)), [(UPDATE, RST, 1, 3)]);
}

#[test]
fn both_sides_write_with_full_pipes_and_nobody_deadlocks() {
    // Y33, C11: the carrier holds 100 bytes each way, and readers only read what has come
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    let total = 2 * MIB;
    let mut left = [total; 2];
    let mut got = [0; 2];
    let mut steps = 0;
    while got != [total; 2] {
        steps += 1;
        assert!(steps < 100_000, "no progress after {got:?}");
        for side in 0..2 {
            let now = pair.now;
            let (node, peer, key) = match side {
                0 => (&mut pair.client, &mut pair.server, ours),
                _ => (&mut pair.server, &mut pair.client, theirs),
            };
            left[side] -= node.write(now, key, pattern(left[side].min(50_000)));
            got[side] += node.read(now, key).0.len();
            // What does not fit the pipe stays in the batch; reading goes on all the same.
            if node.batch.is_empty() {
                node.session.poll_transmit(now, &mut node.batch);
            }
            let piece = take_some(&mut node.batch, 100);
            peer.feed(now, piece);
            if !node.batch.is_empty() {
                node.session.handle_carrier(now, CarrierState::Blocked);
                node.session.handle_carrier(now, CarrierState::Ready);
            }
        }
    }
}

#[test]
fn a_thousand_streams_at_once_are_exact() {
    // Y34
    let mut pair = Pair::new();
    let mut streams = Vec::new();
    for n in 0..1000_usize {
        let (ours, theirs) = pair.stream();
        streams.push((ours, theirs, pattern(1 + n * 97), Vec::new(), Vec::new()));
    }
    for (ours, _, payload, ..) in &streams {
        assert_eq!(
            pair.client.write(pair.now, *ours, payload.clone()),
            payload.len()
        );
        pair.client.session.finish(pair.now, *ours);
    }
    pair.pump();
    // The server echoes.
    for (_, theirs, _, heard, _) in &mut streams {
        let (bytes, end) = pair.server.read(pair.now, *theirs);
        assert_eq!(end, Ok(()));
        pair.server.write(pair.now, *theirs, bytes.clone());
        pair.server.session.finish(pair.now, *theirs);
        *heard = bytes;
    }
    pair.pump();
    for (ours, theirs, payload, heard, back) in &mut streams {
        let (bytes, end) = pair.client.read(pair.now, *ours);
        assert_eq!(end, Ok(()));
        *back = bytes;
        assert!(*heard == *payload && *back == *payload);
        for half in [Half::Send, Half::Recv] {
            pair.client.session.release(pair.now, *ours, half);
            pair.server.session.release(pair.now, *theirs, half);
        }
    }
    pair.pump();
    for node in [&pair.client, &pair.server] {
        let stats = node.session.stats();
        assert_eq!(
            (stats.slots, stats.streams_open, stats.memory_used),
            (0, 0, 0)
        );
    }
}

#[test]
fn many_sizes_arrive_whole() {
    // Y34: 1 byte to 20 MiB, both ways, with windows that grow
    for size in [
        1,
        2,
        11,
        12,
        13,
        2_047,
        2_048,
        2_049,
        65_535,
        65_536,
        65_537,
        20 * MIB,
    ] {
        let mut pair = Pair::new();
        let (ours, theirs) = pair.stream();
        let sent = pattern(size);
        let mut rest = sent.clone();
        let mut got = Vec::with_capacity(size);
        while got.len() < size {
            let _blocked = pair.client.session.write(pair.now, ours, &mut rest);
            pair.pump();
            got.extend(pair.server.read(pair.now, theirs).0);
            pair.advance(Duration::from_micros(50));
        }
        assert!(got == sent, "{size} bytes");
    }
}
