//! Frames: Y1 to Y10.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;

/// What a session is told and says when a frame breaks a rule: GoAway 1 and the rule by name.
fn assert_violation(bytes: &[u8], words: &str) {
    for role in [Role::Client, Role::Server] {
        let mut node = Node::new(role, Config::default());
        node.feed(T0, bytes);
        let (code, reason) = node.closed().unwrap();
        assert_eq!(code, 1);
        assert!(reason.contains(words), "{reason:?} does not name {words:?}");
        assert!(matches!(node.events().last(), Some(Event::Closed(_))));
        assert_eq!(heads(&node.frames(T0)), [(AWAY, NONE, 0, 1)]);
        // Whatever follows means nothing any more.
        node.feed(T0, raw(PING, SYN, 0, 9));
        assert!(node.frames(T0).is_empty() && node.events().is_empty());
    }
}

#[test]
fn a_wrong_version_ends_the_session() {
    // Y2
    for version in [1, 2, 127, 255] {
        let mut bytes = raw(PING, SYN, 0, 1);
        bytes[0] = version;
        assert_violation(&bytes, &format!("version {version}"));
    }
}

#[test]
fn an_unknown_type_ends_the_session() {
    // Y3
    for kind in [4, 5, 128, 255] {
        let mut bytes = raw(DATA, NONE, 1, 0);
        bytes[1] = kind;
        assert_violation(&bytes, "unknown frame type");
    }
}

#[test]
fn stream_0_is_no_stream() {
    // Y7
    assert_violation(&raw(DATA, SYN, 0, 0), "Data frame on stream 0");
    assert_violation(&raw(DATA, NONE, 0, 5), "Data frame on stream 0");
    assert_violation(&raw(UPDATE, SYN, 0, 5), "WindowUpdate frame on stream 0");
}

#[test]
fn pings_and_go_aways_belong_to_the_session() {
    // Y8, the stated choice: a protocol error
    assert_violation(&raw(PING, SYN, 3, 1), "Ping frame on stream 3");
    assert_violation(&raw(AWAY, NONE, 2, 0), "GoAway frame on stream 2");
}

#[test]
fn any_cut_of_the_input_gives_the_same() {
    // Y4
    let mut input = Vec::new();
    input.extend(data(SYN, 1, b"abc"));
    input.extend(raw(PING, SYN, 0, 0xaabb_ccdd));
    input.extend(data(SYN.with(FIN), 3, b""));
    input.extend(data(NONE, 1, b"defghij"));
    input.extend(data(FIN, 1, b"k"));
    input.extend(raw(UPDATE, NONE, 1, 7));
    for size in 1..=input.len() {
        let mut node = Node::server();
        for piece in input.chunks(size) {
            node.feed(T0, piece);
        }
        assert_eq!(node.events(), [Event::Acceptable]);
        let first = node.session.accept(T0).unwrap();
        let second = node.session.accept(T0).unwrap();
        assert_eq!(
            node.read(T0, first),
            (b"abcdefghijk".to_vec(), Ok(())),
            "pieces of {size}"
        );
        assert_eq!(node.read(T0, second), (Vec::new(), Ok(())));
        assert_eq!(
            node.session.stream_stats(first).unwrap().send_window,
            256 * 1024 + 7
        );
        assert_eq!(
            heads(&node.frames(T0)),
            [
                (PING, ACK, 0, 0xaabb_ccdd),
                (UPDATE, ACK, 1, 0),
                (UPDATE, ACK, 3, 0)
            ]
        );
    }
}

#[test]
fn unknown_flag_bits_mean_nothing() {
    // Y5
    let mut node = Node::server();
    let odd = |flags: Flags| Flags::from_bits(flags.bits() | 0xfff0);
    node.feed(T0, data(odd(SYN), 1, b"hello"));
    node.feed(T0, data(odd(FIN), 1, b"!"));
    node.feed(T0, raw(PING, odd(SYN), 0, 5));
    let key = node.session.accept(T0).unwrap();
    assert_eq!(node.read(T0, key), (b"hello!".to_vec(), Ok(())));
    assert_eq!(
        heads(&node.frames(T0)),
        [(PING, ACK, 0, 5), (UPDATE, ACK, 1, 0)]
    );
}

#[test]
fn data_of_length_0_is_legal() {
    // Y6
    let mut node = Node::server();
    for flags in [SYN, NONE, NONE, FIN] {
        node.feed(T0, data(flags, 1, b""));
    }
    let key = node.session.accept(T0).unwrap();
    assert_eq!(node.read(T0, key), (Vec::new(), Ok(())));
    assert_eq!(node.state(key), State::RemoteClose);
    assert!(node.closed().is_none());
}

#[test]
fn frames_sent_are_at_most_64_kib() {
    // Y9
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    let sent = node.write(T0, key, pattern(300 * KIB));
    assert_eq!(sent, 300 * KIB);
    let lengths: Vec<u32> = node
        .frames(T0)
        .iter()
        .map(|frame| frame.header.length)
        .collect();
    assert_eq!(
        lengths, [65_536; 4],
        "a whole window, in frames of full size when alone"
    );
}

#[test]
fn frames_received_may_fill_the_window() {
    // Y10: in one frame, over many reads
    let mut node = Node::server();
    let sent = pattern(256 * KIB);
    for piece in data(SYN, 1, &sent).chunks(10_000) {
        node.feed(T0, piece);
    }
    let key = node.session.accept(T0).unwrap();
    assert_eq!(node.read(T0, key), (sent.to_vec(), Err(ReadError::Blocked)));
}

#[test]
fn a_payload_is_delivered_as_it_arrives() {
    let mut node = Node::server();
    let frame = data(SYN.with(FIN), 1, b"0123456789");
    node.feed(T0, &frame[..15]);
    let key = node.session.accept(T0).unwrap();
    assert_eq!(
        node.read(T0, key),
        (b"012".to_vec(), Err(ReadError::Blocked))
    );
    assert!(!node.events().is_empty());
    node.feed(T0, &frame[15..20]);
    assert_eq!(node.events(), [Event::Readable(key)]);
    assert_eq!(
        node.read(T0, key),
        (b"34567".to_vec(), Err(ReadError::Blocked))
    );
    node.feed(T0, &frame[20..]);
    assert_eq!(
        node.read(T0, key),
        (b"89".to_vec(), Ok(())),
        "the FIN follows the last byte"
    );
}

#[test]
fn received_data_is_a_slice_of_the_read_buffer() {
    // Zero copy: what the reader gets lies where the carrier put it.
    let mut node = Node::server();
    let buffer = bytes::Bytes::from(data(SYN, 1, &pattern(10_000)));
    let payload = buffer.slice(12..);
    node.session.handle_input(T0, Input::Data(buffer));
    let key = node.session.accept(T0).unwrap();
    let read = node.session.read(T0, key, usize::MAX).unwrap().unwrap();
    assert_eq!(
        (read.as_ptr(), read.len()),
        (payload.as_ptr(), payload.len())
    );
}

#[test]
fn written_data_leaves_as_it_was_written() {
    // Zero copy: a large payload is a slice of the batch at the address where it was written.
    let mut node = Node::client();
    let key = node.session.open(T0).unwrap();
    let written = pattern(60 * KIB);
    node.write(T0, key, written.clone());
    assert!(node.session.poll_transmit(T0, &mut node.batch));
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(node.batch.fill_slices(&mut slices), 2);
    assert_eq!((slices[0].len(), slices[1].len()), (12, 60 * KIB));
    assert_eq!(slices[1].as_ptr(), written.as_ptr());
}

#[test]
fn a_hundred_small_frames_are_one_slice() {
    let mut node = Node::client();
    for _ in 0..100 {
        let key = node.session.open(T0).unwrap();
        node.write(T0, key, pattern(1000));
        node.session.finish(T0, key);
    }
    assert!(node.session.poll_transmit(T0, &mut node.batch));
    assert_eq!(
        (node.batch.slice_count(), node.batch.len()),
        (1, 100 * (1012 + 12))
    );
    assert_eq!(node.frames_of_batch().len(), 200, "data and FIN of each");
}
