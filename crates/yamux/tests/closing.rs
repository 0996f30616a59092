//! Closing of streams: Y35 to Y43.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;

/// A server with one accepted stream of the peer, acknowledged.
fn accepted() -> (Node, Key) {
    let mut node = Node::server();
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    let key = node.session.accept(T0).unwrap();
    node.flush(T0);
    node.events();
    (node, key)
}

fn release(node: &mut Node, key: Key) {
    node.session.release(T0, key, Half::Send);
    node.session.release(T0, key, Half::Recv);
}

#[test]
fn a_fin_closes_one_direction() {
    // Y35: received on Data and on WindowUpdate
    for fin in [raw(DATA, FIN, 1, 0), raw(UPDATE, FIN, 1, 0)] {
        let (mut node, key) = accepted();
        node.feed(T0, &fin);
        assert_eq!(node.state(key), State::RemoteClose);
        assert_eq!(node.read(T0, key), (Vec::new(), Ok(())));
        for n in 0..10 {
            assert_eq!(node.write(T0, key, pattern(1000)), 1000);
            assert_eq!(heads(&node.frames(T0)), [(DATA, NONE, 1, 1000)], "{n}");
        }
    }
    // Sent: reading goes on for as long as the peer likes.
    let (mut node, key) = accepted();
    node.session.finish(T0, key);
    assert_eq!(heads(&node.frames(T0)), [(DATA, FIN, 1, 0)]);
    assert_eq!(node.state(key), State::LocalClose);
    assert_eq!(
        node.session.write(T0, key, &mut pattern(1)),
        Err(WriteError::Finished)
    );
    for _ in 0..40 {
        node.feed(T0, data(NONE, 1, &pattern(10_000)));
        assert_eq!(node.read(T0, key).0.len(), 10_000);
    }
    let updates = node
        .frames(T0)
        .iter()
        .filter(|frame| frame.header.kind == UPDATE)
        .count();
    assert!(updates > 0, "and is granted windows");
    node.feed(T0, raw(UPDATE, FIN, 1, 0));
    assert_eq!(
        (node.state(key), node.read(T0, key)),
        (State::Closed, (Vec::new(), Ok(())))
    );
}

#[test]
fn data_and_fin_in_one_frame() {
    // Y36: received
    let (mut node, key) = accepted();
    assert_eq!(node.read(T0, key).1, Err(ReadError::Blocked));
    node.feed(T0, data(FIN, 1, b"the end"));
    assert_eq!(node.events(), [Event::Readable(key)]);
    assert_eq!(node.read(T0, key), (b"the end".to_vec(), Ok(())));
    // Sent: behind the last of several, and not with it: other makes lose payload that shares a
    // frame with a FIN.
    node.write(T0, key, pattern(150_000));
    node.session.finish(T0, key);
    assert_eq!(
        heads(&node.frames(T0)),
        [
            (DATA, NONE, 1, 65_536),
            (DATA, NONE, 1, 65_536),
            (DATA, NONE, 1, 18_928),
            (DATA, FIN, 1, 0)
        ]
    );
    assert_eq!(node.state(key), State::Closed);
}

#[test]
fn both_fins_free_the_stream_and_late_frames_do_no_harm() {
    // Y37, Y42
    let (mut node, key) = accepted();
    node.write(T0, key, &b"x"[..]);
    node.session.finish(T0, key);
    node.flush(T0);
    node.feed(T0, data(FIN, 1, b"y"));
    assert_eq!(node.state(key), State::Closed);
    assert_eq!(node.read(T0, key), (b"y".to_vec(), Ok(())));
    release(&mut node, key);
    assert_eq!(node.session.stream_stats(key), None);
    for late in [
        data(NONE, 1, &pattern(300 * KIB)),
        raw(UPDATE, NONE, 1, u32::MAX),
        raw(UPDATE, ACK, 1, 5),
        raw(DATA, FIN, 1, 0),
        raw(UPDATE, RST, 1, 0),
    ] {
        node.feed(T0, late);
    }
    assert!(node.closed().is_none() && node.frames(T0).is_empty() && node.events().is_empty());
    let stats = node.session.stats();
    assert_eq!((stats.slots, stats.memory_used), (0, 0));
    assert_eq!(stats.bytes_discarded, 300 * 1024);
}

#[test]
fn a_reset_ends_both_ways_at_once() {
    // Y38: on Data and on WindowUpdate; the payload of the former means nothing
    for (rst, code) in [(data(RST, 1, b"junk"), 0), (raw(UPDATE, RST, 1, 9), 9)] {
        let (mut node, key) = accepted();
        node.feed(T0, data(NONE, 1, b"unread"));
        node.write(T0, key, pattern(300_000));
        node.flush(T0);
        let mut more = pattern(600_000);
        while node.session.write(T0, key, &mut more).is_ok() {}
        node.feed(T0, &rst);
        assert_eq!(
            node.events(),
            [Event::StreamReset(key), Event::Writable(key)]
        );
        assert_eq!(
            node.read(T0, key),
            (Vec::new(), Err(ReadError::Reset(code)))
        );
        let written = node.session.write(T0, key, &mut more);
        assert_eq!(written, Err(WriteError::Reset(code)));
        // Y38: late frames are read off the wire, and nothing of the stream is sent any more.
        node.feed(T0, data(NONE, 1, b"late"));
        node.feed(T0, raw(UPDATE, NONE, 1, 1 << 20));
        assert!(node.frames(T0).is_empty() && node.closed().is_none());
        release(&mut node, key);
        assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
    }
}

#[test]
fn a_reset_frame_may_be_cut_within_its_payload() {
    // Y38
    let (mut node, key) = accepted();
    let frame = data(NONE, 1, b"0123456789");
    node.feed(T0, &frame[..17]);
    node.session.reset(T0, key, 0);
    release(&mut node, key);
    node.feed(T0, &frame[17..]);
    node.feed(T0, raw(PING, SYN, 0, 3));
    assert_eq!(
        heads(&node.frames(T0)),
        [(PING, ACK, 0, 3), (UPDATE, RST, 1, 0)]
    );
    assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
}

#[test]
fn what_was_ended_in_order_before_a_reset_is_still_read() {
    // Y38: the peer finished, then gave up waiting for the rest of ours
    let (mut node, key) = accepted();
    node.feed(T0, data(FIN, 1, b"whole"));
    node.feed(T0, raw(UPDATE, RST, 1, 0));
    assert_eq!(node.read(T0, key), (b"whole".to_vec(), Ok(())));
    assert_eq!(
        node.session.write(T0, key, &mut pattern(1)),
        Err(WriteError::Reset(0))
    );
}

#[test]
fn a_reset_of_this_side_goes_out_with_its_code() {
    // Y38
    let (mut node, key) = accepted();
    assert_eq!(node.read(T0, key).1, Err(ReadError::Blocked));
    node.write(T0, key, pattern(200_000));
    node.session.reset(T0, key, 1234);
    assert_eq!(
        node.events(),
        [Event::Readable(key)],
        "whoever waits is told"
    );
    assert_eq!(
        heads(&node.frames(T0)),
        [(UPDATE, RST, 1, 1234)],
        "and no data before it"
    );
    assert_eq!(node.read(T0, key).1, Err(ReadError::Reset(1234)));
    // A second one says nothing new.
    node.session.reset(T0, key, 5);
    assert!(node.frames(T0).is_empty());
}

#[test]
fn data_after_the_fin_resets_the_stream() {
    // Y39: the session lives
    let (mut node, key) = accepted();
    node.feed(T0, data(FIN, 1, b"end"));
    node.feed(T0, data(NONE, 1, b"more"));
    assert_eq!(node.events(), [Event::StreamReset(key)]);
    assert_eq!(heads(&node.frames(T0)), [(UPDATE, RST, 1, 0)]);
    assert_eq!(node.read(T0, key).1, Err(ReadError::Reset(0)));
    assert!(node.closed().is_none());
    // A second FIN and empty data are harmless.
    let (mut node, key) = accepted();
    for frame in [
        data(FIN, 1, b"end"),
        raw(DATA, FIN, 1, 0),
        raw(DATA, NONE, 1, 0),
    ] {
        node.feed(T0, frame);
    }
    assert_eq!(node.read(T0, key), (b"end".to_vec(), Ok(())));
    assert!(node.frames(T0).is_empty());
}

#[test]
fn frames_for_streams_never_opened_are_drained() {
    // Y40: data gets one RST, everything else nothing; the next frame is read where it begins
    let mut node = Node::server();
    node.feed(T0, data(NONE, 7, &pattern(500 * KIB)));
    node.feed(T0, data(FIN, 7, b"again"));
    node.feed(T0, raw(UPDATE, NONE, 9, 100));
    node.feed(T0, raw(UPDATE, ACK, 11, 0));
    node.feed(T0, raw(UPDATE, RST, 13, 0));
    node.feed(T0, data(RST, 15, b"x"));
    // Of our own parity: this side will use the id later, so nothing is said about it.
    node.feed(T0, data(NONE, 2, b"x"));
    node.feed(T0, raw(UPDATE, ACK, 2, 0));
    node.feed(T0, raw(PING, SYN, 0, 1));
    assert_eq!(
        heads(&node.frames(T0)),
        [(PING, ACK, 0, 1), (UPDATE, RST, 7, 0)]
    );
    assert_eq!(node.session.stats().bytes_discarded, 500 * 1024 + 5 + 1 + 1);
    assert!(node.closed().is_none() && node.events().is_empty());
    // The id can still be opened.
    node.feed(T0, data(SYN, 7, b"hello"));
    let key = node.session.accept(T0).unwrap();
    assert_eq!(node.read(T0, key).0, b"hello");
}

#[test]
fn letting_go_of_an_open_stream_resets_it() {
    // Y41: whichever half goes first
    for halves in [[Half::Send, Half::Recv], [Half::Recv, Half::Send]] {
        let (mut node, key) = accepted();
        node.write(T0, key, pattern(5_000));
        for half in halves {
            node.session.release(T0, key, half);
        }
        assert_eq!(heads(&node.frames(T0)), [(UPDATE, RST, 1, 0)]);
        assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
    }
}

#[test]
fn letting_go_of_the_writer_ends_the_writing() {
    // Y41: the reader goes on
    let (mut node, key) = accepted();
    node.write(T0, key, &b"last words"[..]);
    node.session.release(T0, key, Half::Send);
    assert_eq!(
        heads(&node.frames(T0)),
        [(DATA, NONE, 1, 10), (DATA, FIN, 1, 0)]
    );
    node.feed(T0, data(FIN, 1, b"thanks"));
    assert_eq!(node.read(T0, key), (b"thanks".to_vec(), Ok(())));
    node.session.release(T0, key, Half::Recv);
    assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
}

#[test]
fn letting_go_after_finish_sends_what_was_written() {
    // Y41: a one-way message is not cut short, and the peer's FIN ends it without a RST
    let (mut node, key) = accepted();
    node.write(T0, key, pattern(400_000));
    node.session.finish(T0, key);
    release(&mut node, key);
    let sent: usize = node
        .frames(T0)
        .iter()
        .map(|frame| frame.payload.len())
        .sum();
    assert_eq!(sent, 256 * KIB);
    node.feed(T0, raw(UPDATE, NONE, 1, 1 << 20));
    let rest = node.frames(T0);
    assert!(rest.last().unwrap().header.flags.contains(FIN));
    node.feed(T0, raw(DATA, FIN, 1, 0));
    assert!(node.frames(T0).is_empty());
    assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
}

#[test]
fn a_stopped_reader_lets_the_writer_finish() {
    let (mut node, key) = accepted();
    node.feed(T0, data(NONE, 1, &pattern(200_000)));
    node.session.stop(T0, key, 17);
    assert_eq!(node.read(T0, key).1, Err(ReadError::Stopped));
    // What comes is thrown away and its window given back while this side still writes.
    assert!(heads(&node.frames(T0)).contains(&(UPDATE, NONE, 1, 200_000)));
    for _ in 0..3 {
        node.feed(T0, data(NONE, 1, &pattern(100_000)));
    }
    assert_eq!(node.memory(), 256, "a slot and nothing else");
    assert_eq!(node.session.stats().bytes_discarded, 500_000);
    node.flush(T0);
    // Behind the end of the writing the peer is told.
    node.write(T0, key, &b"answer"[..]);
    node.session.finish(T0, key);
    assert_eq!(
        heads(&node.frames(T0)),
        [(DATA, NONE, 1, 6), (DATA, FIN, 1, 0), (UPDATE, RST, 1, 17)]
    );
}

#[test]
fn a_stopped_and_finished_stream_is_reset_when_the_peer_sends_more() {
    let (mut node, key) = accepted();
    node.session.finish(T0, key);
    release(&mut node, key);
    assert_eq!(
        heads(&node.frames(T0)),
        [(DATA, FIN, 1, 0)],
        "nothing was thrown away: no RST"
    );
    node.feed(T0, data(NONE, 1, b"hello?"));
    assert_eq!(heads(&node.frames(T0)), [(UPDATE, RST, 1, 0)]);
    assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
}

#[test]
fn a_half_closed_stream_whose_peer_is_silent_is_reset() {
    // Y43
    let config = Config {
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Server, config);
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    let key = node.session.accept(T0).unwrap();
    node.session.finish(T0, key);
    node.flush(T0);
    assert_eq!(
        node.session.poll_timeout(),
        Some((at(300_000), Timer::Close))
    );
    // What the peer sends and somebody reads keeps it.
    node.feed(at(200_000), data(NONE, 1, b"still here"));
    node.read(at(200_000), key).1.unwrap_err();
    node.sleep(at(300_000));
    assert_eq!(node.state(key), State::LocalClose);
    assert_eq!(
        node.session.poll_timeout(),
        Some((at(600_000), Timer::Close))
    );
    node.events();
    node.sleep(at(600_000));
    assert_eq!(
        node.events(),
        [Event::StreamReset(key), Event::Readable(key)]
    );
    assert_eq!(heads(&node.frames(at(600_000))), [(UPDATE, RST, 1, 0)]);
    assert_eq!(node.session.poll_timeout(), None);
}

#[test]
fn an_orphan_ends_after_the_close_time_out() {
    // Y43, Y41: nobody holds it any more, and the peer never ends
    let config = Config {
        keepalive: None,
        ..Config::default()
    };
    let mut node = Node::new(Role::Client, config);
    let key = node.session.open(T0).unwrap();
    node.write(T0, key, &b"one-way"[..]);
    node.session.finish(T0, key);
    release(&mut node, key);
    node.flush(T0);
    node.feed(T0, raw(UPDATE, ACK, 1, 0));
    assert_eq!(node.session.stats().slots, 1);
    node.sleep(at(300_000));
    assert_eq!(heads(&node.frames(at(300_000))), [(UPDATE, RST, 1, 0)]);
    assert_eq!((node.memory(), node.session.stats().slots), (0, 0));
    assert!(node.events().is_empty());
}

#[test]
fn a_key_kept_too_long_names_nothing() {
    let (mut node, key) = accepted();
    node.session.reset(T0, key, 0);
    release(&mut node, key);
    node.flush(T0);
    assert_eq!(node.session.read(T0, key, 1), Err(ReadError::Closed));
    assert_eq!(
        node.session.write(T0, key, &mut pattern(1)),
        Err(WriteError::Closed)
    );
    node.session.finish(T0, key);
    node.session.stop(T0, key, 0);
    node.session.reset(T0, key, 0);
    release(&mut node, key);
    // Nor the stream that has its place now.
    node.feed(T0, data(SYN, 3, b"new"));
    let new = node.session.accept(T0).unwrap();
    assert_eq!(new.index, key.index);
    node.session.reset(T0, key, 0);
    assert_eq!(node.read(T0, new).0, b"new");
    assert_eq!(node.session.stream_stats(key), None);
}
