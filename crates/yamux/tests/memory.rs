//! Memory: what a peer can make a session hold, and what happens at the limit (threats C3, C4, C9).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;
use weir_core::trace::HeldBy;

const BUDGET: u64 = 2 << 20;

fn small() -> Config {
    Config {
        session_budget: BUDGET,
        keepalive: None,
        ..Config::default()
    }
}

/// A server with `count` accepted streams of the peer, with ids 1, 3, ..
fn accepted(config: Config, count: u32) -> (Node, Vec<Key>) {
    let mut node = Node::new(Role::Server, config);
    let keys = (0..count)
        .map(|n| {
            node.feed(T0, raw(UPDATE, SYN, 1 + 2 * n, 0));
            node.session.accept(T0).unwrap()
        })
        .collect();
    node.flush(T0);
    node.events();
    (node, keys)
}

#[test]
fn unread_data_is_charged_to_the_byte_and_given_back() {
    let (mut node, keys) = accepted(small(), 2);
    assert_eq!(node.memory(), 2 * 256);
    node.feed(T0, data(NONE, 1, &pattern(100_000)));
    node.feed(T0, data(NONE, 3, &pattern(1)));
    assert_eq!(node.memory(), 2 * 256 + 100_001);
    let read = node.session.read(T0, keys[0], 30_000).unwrap().unwrap();
    assert_eq!((read.len(), node.memory()), (30_000, 2 * 256 + 70_001));
    node.session.reset(T0, keys[0], 0);
    assert_eq!(node.memory(), 2 * 256 + 1);
}

#[test]
fn at_the_limit_the_stream_that_holds_most_is_let_go_and_the_rest_live() {
    // C4: 2 MiB are full with 8 streams; the 3rd holds most
    let (mut node, keys) = accepted(small(), 20);
    for (n, key) in keys.iter().enumerate().take(9) {
        let size = if n == 2 { 250 * KIB } else { 220 * KIB };
        assert_eq!(node.read(T0, *key).1, Err(ReadError::Blocked));
        node.feed(
            T0,
            data(NONE, 1 + 2 * u32::try_from(n).unwrap(), &pattern(size)),
        );
    }
    assert!(node.session.stats().streams_shed == 0 && node.memory() <= BUDGET);
    node.events();
    node.feed(T0, data(NONE, 19, &pattern(220 * KIB)));
    let stats = node.session.stats();
    assert_eq!(stats.streams_shed, 1);
    assert!(stats.memory_used <= BUDGET);
    assert_eq!(node.events(), [Event::StreamReset(keys[2])]);
    assert_eq!(heads(&node.frames(T0)), [(UPDATE, RST, 5, 2)]);
    assert_eq!(node.read(T0, keys[2]).1, Err(ReadError::Reset(2)));
    assert_eq!(node.read(T0, keys[9]).0.len(), 220 * KIB);
    assert_eq!(node.read(T0, keys[0]).0.len(), 220 * KIB);
    assert!(node.closed().is_none());
}

#[test]
fn no_peer_can_pass_the_session_budget() {
    // C4: many streams, every window filled, nobody reads, everything refused is tried again
    let (mut node, _) = accepted(small(), 200);
    for round in 0..3 {
        for n in 0..200 {
            if node.session.stats().streams_shed < 190 {
                node.feed(T0, data(NONE, 1 + 2 * n, &pattern(64 * KIB)));
            }
            assert!(node.memory() <= BUDGET, "round {round}");
        }
        node.flush(T0);
    }
    assert!(node.session.stats().streams_shed > 0);
    assert!(node.closed().is_none());
    node.feed(T0, raw(PING, SYN, 0, 5));
    assert_eq!(heads(&node.frames(T0)), [(PING, ACK, 0, 5)]);
}

#[test]
fn the_process_limit_holds_over_sessions_and_they_do_not_harm_each_other() {
    // C4
    let process = Budget::root("process", 1 << 20);
    let mut nodes: Vec<Node> = (0..2)
        .map(|_| Node::in_budget(Role::Server, small(), &process))
        .collect();
    for node in &mut nodes {
        for n in 0..10 {
            node.feed(T0, raw(UPDATE, SYN, 1 + 2 * n, 0));
            node.session.accept(T0).unwrap();
        }
    }
    for n in 0..10 {
        for node in &mut nodes {
            node.feed(T0, data(NONE, 1 + 2 * n, &pattern(200 * KIB)));
        }
        assert!(process.used() <= 1 << 20);
    }
    assert!(nodes.iter().all(|node| node.closed().is_none()));
    assert!(
        nodes
            .iter()
            .any(|node| node.session.stats().streams_shed > 0)
    );
    drop(nodes);
    assert_eq!(process.used(), 0);
}

#[test]
fn a_session_that_hoards_lets_go_before_the_others_have_to() {
    // C4: 8 MiB for all; one session's peer fills whatever it can, then another's needs a little
    let process = Budget::root("process", 8 << 20);
    let config = Config {
        keepalive: None,
        ..Config::default()
    };
    let mut hoard = Node::in_budget(Role::Server, config.clone(), &process);
    for n in 0..100 {
        hoard.feed(T0, raw(UPDATE, SYN, 1 + 2 * n, 0));
        hoard.session.accept(T0).unwrap();
        hoard.feed(T0, data(NONE, 1 + 2 * n, &pattern(250 * KIB)));
    }
    assert!(hoard.session.stats().streams_shed > 0);
    assert!(hoard.memory() <= 5 << 20, "{}", hoard.memory());
    let mut modest = Node::in_budget(Role::Server, config, &process);
    for n in 0..4 {
        modest.feed(T0, data(SYN, 1 + 2 * n, &pattern(250 * KIB)));
        let key = modest.session.accept(T0).unwrap();
        assert_eq!(modest.read(T0, key).0.len(), 250 * KIB);
    }
    assert_eq!(modest.session.stats().streams_shed, 0);
}

#[test]
fn windows_that_are_wide_from_the_start_leave_half_for_what_arrives() {
    let config = Config {
        receive_window: 1 << 20,
        session_budget: 8 << 20,
        ..Config::default()
    };
    let (mut node, keys) = accepted(config, 20);
    let wide = keys
        .iter()
        .filter(|key| node.session.stream_stats(**key).unwrap().recv_window_size == 1 << 20);
    assert_eq!(wide.count(), 5, "768 KiB each, out of 4 MiB");
    for n in 0..16 {
        node.feed(T0, data(NONE, 1 + 2 * n, &pattern(256 * KIB)));
    }
    assert_eq!(node.session.stats().streams_shed, 0);
}

#[test]
fn writers_that_nobody_drains_leave_room_for_others() {
    // A stalled stream takes half of what is free, and the next half of the rest.
    let (mut node, keys) = accepted(small(), 12);
    let mut queued = Vec::new();
    for key in &keys[..8] {
        queued.push(node.write(T0, *key, pattern(MIB)));
    }
    assert!(queued.is_sorted_by(|a, b| a >= b), "{queued:?}");
    assert_eq!(queued[0], 512 * KIB, "the send buffer");
    assert!(
        queued.iter().all(|queued| *queued >= 16 * KIB),
        "{queued:?}"
    );
    assert!(node.memory() < BUDGET);
    assert!(node.write(T0, keys[8], pattern(100)) == 100);
    // The third was held by memory, not by its own buffer, and says so.
    let held = keys
        .iter()
        .find(|key| node.held(**key).send == HeldBy::SessionBudget);
    assert_eq!(held, None, "what is queued could go out");
    node.flush(T0);
    assert!(node.memory() <= BUDGET);
}

#[test]
fn a_starved_writer_is_woken_when_memory_comes_free() {
    let process = Budget::root("process", 1 << 20);
    let mut node = Node::in_budget(Role::Client, small(), &process);
    let key = node.open(T0, 1)[0];
    process.try_reserve(process.available()).unwrap();
    // What the session's block still has may be used up first.
    node.write(T0, key, pattern(64 * KIB));
    node.flush(T0);
    node.flush(T0);
    while node.write(T0, key, pattern(1000)) > 0 {}
    node.events();
    assert_eq!(
        node.session.write(T0, key, &mut pattern(1000)),
        Err(WriteError::Blocked)
    );
    let other = node.session.streams().find(|other| *other != key);
    assert_eq!(other, None);
    assert_eq!(node.session.poll_timeout().unwrap().1, Timer::Memory);
    node.sleep(at(100));
    assert!(
        !node.events().contains(&Event::Writable(key)),
        "nothing is free yet"
    );
    process.release(512 * 1024);
    node.sleep(at(140));
    assert_eq!(node.events(), [Event::Writable(key)]);
    assert!(node.write(at(140), key, pattern(1000)) == 1000);
}

#[test]
fn what_is_handed_out_is_charged_until_it_is_written() {
    let (mut node, keys) = accepted(small(), 1);
    node.write(T0, keys[0], pattern(200_000));
    assert!(node.session.poll_transmit(T0, &mut node.batch));
    assert_eq!(node.memory(), 256 + 200_000);
    assert_eq!(take_some(&mut node.batch, 50_000).len(), 50_000);
    node.session.poll_transmit(T0, &mut node.batch);
    assert!(
        (256 + 150_000..256 + 150_100).contains(&node.memory()),
        "{}",
        node.memory()
    );
    take(&mut node.batch);
    node.session.poll_transmit(T0, &mut node.batch);
    assert_eq!(node.memory(), 256);
}

#[test]
fn tiny_frames_do_not_pin_read_buffers() {
    // C4: 50,000 one-byte frames, each in a read of its own, are kept in a few chunks
    let (mut node, keys) = accepted(small(), 1);
    let mut expected = Vec::new();
    for n in 0..50_000_u32 {
        let byte = (n % 251) as u8;
        node.feed(T0, data(NONE, 1, &[byte]));
        expected.push(byte);
    }
    let mut pieces = 0;
    let mut got = Vec::new();
    while let Ok(Some(bytes)) = node.session.read(T0, keys[0], usize::MAX) {
        pieces += 1;
        got.extend_from_slice(&bytes);
    }
    assert!(got == expected);
    assert!(pieces < 20, "{pieces} pieces");
}

#[test]
fn payloads_are_copied_out_when_read_buffers_are_pinned() {
    // The driver's pool says that readers hold 5 MiB of read buffers.
    let (mut node, keys) = accepted(small(), 1);
    let buffer = bytes::Bytes::from(data(NONE, 1, &pattern(10_000)));
    node.session.set_pinned(5 << 20);
    node.session.handle_input(T0, Input::Data(buffer.clone()));
    let read = node.session.read(T0, keys[0], usize::MAX).unwrap().unwrap();
    assert_eq!(read, pattern(10_000));
    let range = buffer.as_ptr_range();
    assert!(!range.contains(&read.as_ptr()));
}

#[test]
fn streams_opened_and_reset_in_a_loop_are_limited() {
    // C9, rapid reset: the application never sees them, new ones are refused, then the session ends
    let config = Config {
        reset_burst: 100,
        reset_rate: 10,
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    let mut id = 1;
    let mut open = |node: &mut Node, now, reset: bool| {
        node.feed(now, data(SYN, id, b"work"));
        if reset {
            node.feed(now, raw(UPDATE, RST, id, 0));
        }
        id += 2;
    };
    for _ in 0..100 {
        open(&mut node, T0, true);
    }
    assert_eq!(node.session.accept(T0), None);
    assert_eq!(node.session.stats().slots, 0);
    assert!(
        node.frames(T0).is_empty(),
        "no answer to what was taken back"
    );
    // The bucket is empty.
    open(&mut node, T0, false);
    assert_eq!(heads(&node.frames(T0)), [(UPDATE, RST, 201, 0)]);
    assert_eq!(node.session.accept(T0), None);
    // A second fills ten.
    for _ in 0..10 {
        open(&mut node, at(1_000), true);
    }
    open(&mut node, at(1_000), false);
    assert_eq!(heads(&node.frames(at(1_000))), [(UPDATE, RST, 223, 0)]);
    assert!(node.closed().is_none());
    // Far beyond it: eight times the burst, refused without a pause.
    for _ in 0..810 {
        open(&mut node, at(1_000), true);
    }
    let (code, words) = node.closed().unwrap();
    assert_eq!(code, 1);
    assert!(
        words.contains("opened and reset faster than 10 a second"),
        "{words}"
    );
}

#[test]
fn streams_that_were_answered_may_be_reset() {
    // C9: cancelling a request that is being worked on is no attack
    let config = Config {
        reset_burst: 5,
        reset_rate: 1,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    for n in 0..1_000 {
        let id = 1 + 2 * n;
        node.feed(T0, data(SYN, id, b"work"));
        let key = node.session.accept(T0).unwrap();
        assert_eq!(heads(&node.frames(T0)), [(UPDATE, ACK, id, 0)]);
        node.feed(T0, raw(UPDATE, RST, id, 0));
        node.session.release(T0, key, Half::Send);
        node.session.release(T0, key, Half::Recv);
    }
    assert_eq!(node.session.stats().streams_refused, 0);
    assert!(node.closed().is_none());
}

#[test]
fn refusals_that_cannot_be_sent_are_bounded() {
    // C3: a peer that opens streams with gaps between the ids and reads nothing
    let config = Config {
        max_streams: 0,
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    let mut fed = 0;
    while node.closed().is_none() {
        node.feed(T0, raw(UPDATE, SYN, 1 + 4 * fed, 0));
        fed += 1;
        assert!(fed <= 1_025);
    }
    assert!(node.closed().unwrap().1.contains("resets cannot be sent"));
    // One that opens in order is told of each, however many.
    let config = Config {
        max_streams: 0,
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    for n in 0..50_000 {
        node.feed(T0, raw(UPDATE, SYN, 1 + 2 * n, 0));
    }
    assert_eq!(node.frames(T0).len(), 50_000);
    assert!(node.closed().is_none());
}

#[test]
fn the_sum_of_waiting_resets_is_bounded_by_the_slots() {
    // C3: the application resets each stream, the peer reads nothing and opens on
    let config = Config {
        max_streams: 50,
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    for n in 0..1_000 {
        node.feed(T0, raw(UPDATE, SYN, 1 + 2 * n, 0));
        if let Some(key) = node.session.accept(T0) {
            node.session.reset(T0, key, 0);
            node.session.release(T0, key, Half::Send);
            node.session.release(T0, key, Half::Recv);
        }
        assert!(node.session.stats().slots <= 50);
    }
    assert_eq!(
        node.frames(T0).len(),
        1_000,
        "a RST each, 50 of ours and 950 refusals"
    );
    assert_eq!((node.session.stats().slots, node.memory()), (0, 0));
}
