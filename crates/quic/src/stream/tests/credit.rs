//! Limits used to the last byte, and given again before the peer stalls.

use super::*;
use crate::stream::{Half, OpenError};

fn windows(stream: u64, connection: u64) -> StreamConfig {
    StreamConfig {
        stream_window: stream,
        max_stream_window: stream,
        connection_window: connection,
        max_connection_window: connection,
        ..StreamConfig::default()
    }
}

fn blocked_frames(packets: &[Packet]) -> Vec<Frame<'_>> {
    let frames = packets.iter().flat_map(Packet::frames);
    frames
        .filter(|frame| !matches!(frame, Frame::Stream { .. }))
        .collect()
}

// Q89, Q93, RFC 9000 4.1: the stream's limit.
#[test]
fn a_streams_limit_is_used_to_the_last_byte_and_blocked_said_once() {
    let mut pair = Pair::new(windows(5000, 100_000));
    let key = pair.client.open(Dir::Bi);
    let id = client_bidi(0);
    pair.client.write(key, &[1; 20_000]);
    let packets = pair.client.packets();
    assert_eq!(pair.client.streams.stream_stats(key).unwrap().sent, 5000);
    let blocked = Frame::StreamDataBlocked { id, limit: 5000 };
    assert_eq!(blocked_frames(&packets), [blocked]);
    pair.client.write(key, &[1; 10]);
    assert!(pair.client.packet().is_none(), "said twice");
    pair.client
        .streams
        .on_max_stream_data(NOW, id, 6001)
        .unwrap();
    let packets = pair.client.packets();
    assert_eq!(pair.client.streams.stream_stats(key).unwrap().sent, 6001);
    let blocked = Frame::StreamDataBlocked { id, limit: 6001 };
    assert_eq!(blocked_frames(&packets), [blocked]);
}

// Q89, Q93: the connection's limit, which all streams share.
#[test]
fn the_connections_limit_is_used_to_the_last_byte_and_blocked_said_once() {
    let mut pair = Pair::new(windows(5000, 8000));
    let keys: Vec<Key> = (0..3).map(|_| pair.client.open(Dir::Bi)).collect();
    for key in &keys {
        pair.client.write(*key, &[1; 4000]);
    }
    let packets = pair.client.packets();
    assert_eq!(pair.client.streams.send.sent(), 8000);
    assert_eq!(
        blocked_frames(&packets),
        [Frame::DataBlocked { limit: 8000 }]
    );
    assert!(!pair.client.streams.has_stream_data_to_send());
    pair.client.write(keys[0], b"more");
    assert!(
        !pair.client.streams.wants_transmit(),
        "wants what it cannot"
    );
    pair.client.streams.on_max_data(9001);
    let packets = pair.client.packets();
    assert_eq!(pair.client.streams.send.sent(), 9001);
    assert_eq!(
        blocked_frames(&packets),
        [Frame::DataBlocked { limit: 9001 }]
    );
    pair.client.streams.on_max_data(1 << 20);
    assert!(blocked_frames(&pair.client.packets()).is_empty());
    assert_eq!(pair.client.streams.send.sent(), 12_004);
}

// Q89: an end without data needs no credit.
#[test]
fn an_end_passes_a_used_up_limit() {
    let mut pair = Pair::new(windows(5000, 5000));
    let (full, empty) = (pair.client.open(Dir::Bi), pair.client.open(Dir::Bi));
    pair.client.write(full, &[1; 5000]);
    pair.client.packets();
    pair.client.streams.finish(NOW, empty);
    pair.client.streams.finish(NOW, full);
    let fins = pair.client.packet().unwrap();
    let end = |id, offset| Frame::Stream {
        id,
        offset,
        data: b"",
        fin: true,
    };
    assert_eq!(
        fins.frames(),
        [end(client_bidi(1), 0), end(client_bidi(0), 5000)]
    );
}

// Q93, RFC 9000 4.6
#[test]
fn blocked_on_streams_is_said_once_and_open_goes_on() {
    let config = StreamConfig {
        max_bidi: 1,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    let ours = pair.client.open(Dir::Bi);
    for _ in 0..3 {
        assert_eq!(
            pair.client.streams.open(NOW, Dir::Bi),
            Err(OpenError::Blocked)
        );
    }
    let packets = pair.client.packets();
    let blocked = Frame::StreamsBlocked {
        dir: Dir::Bi,
        limit: 1,
    };
    assert_eq!(blocked_frames(&packets), [blocked]);
    pair.client.streams.reset(NOW, ours, 0);
    pair.client.streams.release(NOW, ours, Half::Send);
    pair.client.streams.release(NOW, ours, Half::Recv);
    pair.settle();
    let theirs = pair.server.accept(Dir::Bi);
    assert_eq!(theirs, None);
    assert_eq!(pair.client.events(), [StreamEvent::OpenReady(Dir::Bi)]);
    let next = pair.client.open(Dir::Bi);
    assert_eq!(pair.client.id(next), client_bidi(1));
}

// Q85, RFC 9000 4.6: in batches, and early enough that an opener with few at once never waits.
#[test]
fn max_streams_follows_the_streams_that_end() {
    let config = StreamConfig {
        max_uni: 16,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    let mut raises = 0;
    for _ in 0..160 {
        let ours = pair.client.open(Dir::Uni);
        pair.client.write(ours, b"x");
        pair.client.streams.release(NOW, ours, Half::Send);
        let packet = pair.client.packet().unwrap();
        pair.server.receive(&packet);
        pair.client.acked(&packet);
        let theirs = pair.server.accept(Dir::Uni).unwrap();
        assert_eq!(pair.server.read(theirs), (b"x".to_vec(), true));
        pair.server.streams.release(NOW, theirs, Half::Recv);
        while carry(&mut pair.server, &mut pair.client) {
            raises += 1;
        }
    }
    assert_eq!(raises, 160 / 4);
}

// Q85: streams that are open count, whoever keeps them open.
#[test]
fn max_streams_is_not_raised_for_streams_that_live() {
    let config = StreamConfig {
        max_uni: 2,
        ..StreamConfig::default()
    };
    let mut end = End::new(Side::Server, config);
    end.stream(client_uni(1), 0, b"x", true).unwrap();
    let keys: Vec<Key> = (0..2).map(|_| end.accept(Dir::Uni).unwrap()).collect();
    assert_eq!(end.read(keys[1]), (b"x".to_vec(), true));
    assert!(end.packet().is_none());
    end.streams.release(NOW, keys[1], Half::Recv);
    let raised = Frame::MaxStreams {
        dir: Dir::Uni,
        limit: 3,
    };
    assert_eq!(end.packet().unwrap().frames(), [raised]);
    assert!(end.stream(client_uni(2), 0, b"y", false).is_ok());
    assert!(end.stream(client_uni(3), 0, b"y", false).is_err());
}

// Q92, RFC 9000 4.2: with half of a window used, the peer hears of more.
#[test]
fn credit_is_given_again_when_half_is_used() {
    let mut pair = Pair::new(windows(10_000, 16_000));
    let (ours, theirs) = pair.opened(Dir::Uni, &[1; 4999]);
    pair.server.read(theirs);
    assert!(
        pair.server.packet().is_none(),
        "too early to be worth a frame"
    );
    pair.client.write(ours, &[1; 1]);
    pair.settle();
    pair.server.read(theirs);
    let id = client_uni(0);
    let told = pair.server.packet().unwrap();
    assert_eq!(told.frames(), [Frame::MaxStreamData { id, limit: 15_000 }]);
    pair.client.write(ours, &[1; 3000]);
    pair.settle();
    pair.server.read(theirs);
    let told = pair.server.packet().unwrap();
    assert_eq!(told.frames(), [Frame::MaxData { limit: 24_000 }]);
}

// Q92, RFC 9000 3.2: no credit for a stream whose size is known.
#[test]
fn no_credit_is_given_behind_the_end() {
    let mut pair = Pair::new(windows(10_000, 100_000));
    let (ours, theirs) = pair.opened(Dir::Uni, &[1; 9000]);
    pair.client.streams.finish(NOW, ours);
    pair.settle();
    assert_eq!(pair.server.read(theirs).0.len(), 9000);
    assert!(pair.server.packet().is_none());
}

/// Sends for so many round trips as fast as the windows allow, and says how much went through.
fn transfer(pair: &mut Pair, rounds: u32) -> u64 {
    let ours = pair.client.open(Dir::Uni);
    let (mut now, mut read, mut theirs) = (NOW, 0, None);
    for _ in 0..rounds {
        let data = Bytes::from(vec![1; 1 << 20]);
        while pair
            .client
            .streams
            .write(now, ours, &mut data.clone())
            .is_ok()
        {}
        let packets: Vec<_> = std::iter::from_fn(|| pair.client.packet_at(now, PACKET)).collect();
        now += RTT / 2;
        for packet in &packets {
            pair.server.receive_at(now, &packet.bytes).unwrap();
        }
        theirs = theirs.or_else(|| pair.server.streams.accept(now, Dir::Uni));
        while let Ok(Some(bytes)) = pair.server.streams.read(now, theirs.unwrap(), usize::MAX) {
            read += bytes.len() as u64;
        }
        let answers: Vec<_> = std::iter::from_fn(|| pair.server.packet_at(now, PACKET)).collect();
        now += RTT / 2;
        for packet in &answers {
            pair.client.receive_at(now, &packet.bytes).unwrap();
            pair.server.acked(packet);
        }
        packets.iter().for_each(|packet| pair.client.acked(packet));
    }
    read
}

// Q92: a reader that keeps up gets windows of bandwidth times delay, the connection's with it.
#[test]
fn windows_grow_with_a_fast_reader() {
    let config = StreamConfig {
        stream_window: 64 << 10,
        max_stream_window: 4 << 20,
        connection_window: 96 << 10,
        max_connection_window: 8 << 20,
        send_buffer: 8 << 20,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    let read = transfer(&mut pair, 40);
    // 40 round trips of the first window would be 2.5 MiB.
    assert!(read > 64 << 20, "{read} bytes");
    let streams = &pair.server.streams;
    assert!(streams.recv.size() >= 4 << 20, "{}", streams.recv.size());
    let peak = pair.server.memory.peak();
    assert!(peak <= (8 << 20) + (1 << 20), "{peak} bytes were reserved");
    // Left alone, the window shrinks and its memory comes back.
    let mut now = NOW + Duration::from_secs(100);
    for _ in 0..20 {
        let at = pair.server.streams.poll_timeout();
        let Some(at) = at else { break };
        now = now.max(at) + Duration::from_secs(1);
        pair.server.streams.handle_timeout(now, Some(RTT));
    }
    assert_eq!(pair.server.streams.poll_timeout(), None);
    assert_eq!(pair.server.streams.recv.size(), 96 << 10);
    let streams = pair.server.streams.open_streams() as u64;
    assert_eq!(
        pair.server.memory.used(),
        streams * crate::stream::limits::STREAM_COST
    );
}

// Q92: with a sleeping reader holding most of the window of all, others are not stuck as long as
// there is memory.
#[test]
fn a_sleeping_reader_does_not_hold_the_others() {
    let config = StreamConfig {
        stream_window: 80_000,
        max_stream_window: 80_000,
        connection_window: 100_000,
        max_connection_window: 400_000,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    let (_asleep, _) = pair.opened(Dir::Uni, &[1; 80_000]);
    let (_busy, theirs) = pair.opened(Dir::Uni, &[2; 60_000]);
    pair.settle();
    assert_eq!(pair.server.read(theirs).0.len(), 60_000);
}
