//! One stream from its opening to its end, over two sessions.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;

#[test]
fn a_request_and_its_answer_take_one_write_each() {
    // Y12, Y13, Y14, Y18: SYN with data, ACK with data. The FIN comes in a frame of its own behind it:
    // other makes lose payload that shares a frame with it.
    let mut pair = Pair::new();
    let now = pair.now;
    let key = pair.client.session.open(now).unwrap();
    assert_eq!(pair.client.write(now, key, &b"question"[..]), 8);
    pair.client.session.finish(now, key);
    let there = pair.client.flush(now);
    assert_eq!(
        heads(&frames(&there)),
        [(DATA, SYN, 1, 8), (DATA, FIN, 1, 0)]
    );
    pair.server.feed(now, there);
    assert_eq!(pair.server.events(), [Event::Acceptable]);
    let inbound = pair.server.session.accept(now).unwrap();
    assert_eq!(
        pair.server.read(now, inbound),
        (b"question".to_vec(), Ok(()))
    );
    assert_eq!(pair.server.write(now, inbound, &b"answer"[..]), 6);
    pair.server.session.finish(now, inbound);
    let back = pair.server.flush(now);
    assert_eq!(
        heads(&frames(&back)),
        [(DATA, ACK, 1, 6), (DATA, FIN, 1, 0)]
    );
    pair.client.feed(now, back);
    assert_eq!(pair.client.read(now, key), (b"answer".to_vec(), Ok(())));
    for half in [Half::Send, Half::Recv] {
        pair.client.session.release(now, key, half);
        pair.server.session.release(now, inbound, half);
    }
    assert_eq!(pair.pump(), 0, "nothing more to say");
    for node in [&pair.client, &pair.server] {
        let stats = node.session.stats();
        assert_eq!(
            (stats.slots, stats.streams_open, stats.memory_used),
            (0, 0, 0)
        );
    }
}

#[test]
fn a_megabyte_arrives_whole() {
    // Y34
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    let sent = pattern(5 * MIB + 3);
    let mut rest = sent.clone();
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let _blocked = pair.client.session.write(pair.now, ours, &mut rest);
        pair.pump();
        let (bytes, _) = pair.server.read(pair.now, theirs);
        got.extend_from_slice(&bytes);
        pair.advance(Duration::from_micros(100));
    }
    assert!(got == sent);
}
