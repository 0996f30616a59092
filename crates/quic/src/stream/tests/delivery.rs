//! What is sent again when it was lost (RFC 9000 section 13.3), and after a rejected 0-RTT.

use super::*;
use crate::stream::{Half, SendState, StreamLimits};

/// Its STREAM frames as id, offset, data, end.
fn data_of(packet: &Packet) -> Vec<(StreamId, u64, Vec<u8>, bool)> {
    let frames = packet.frames().into_iter();
    frames
        .filter_map(|frame| match frame {
            Frame::Stream {
                id,
                offset,
                data,
                fin,
            } => Some((id, offset, data.to_vec(), fin)),
            _ => None,
        })
        .collect()
}

// Q87, RFC 9000 13.3: the same bytes, split anew, before new ones, with the end.
#[test]
fn lost_data_is_sent_again_with_the_same_content() {
    let mut pair = Pair::new(StreamConfig::default());
    let key = pair.client.open(Dir::Bi);
    let id = client_bidi(0);
    let all = pattern(id, 0, 3000);
    pair.client.write(key, &all);
    pair.client.streams.finish(NOW, key);
    let first = pair.client.packet_at(NOW, 1000).unwrap();
    pair.client.lost(&first);
    let mut got = vec![0; 3000];
    let mut order = Vec::new();
    while let Some(packet) = pair.client.packet_at(NOW, 700) {
        for (_, offset, data, fin) in data_of(&packet) {
            let end = offset as usize + data.len();
            got[offset as usize..end].copy_from_slice(&data);
            order.push((offset, fin));
        }
    }
    assert_eq!(got, all);
    assert_eq!(order.first(), Some(&(0, false)));
    assert!(order.is_sorted() && order.last().unwrap().1);
}

// Q87: the end is sent again with the last bytes, or alone.
#[test]
fn a_lost_end_is_sent_again() {
    let mut pair = Pair::new(StreamConfig::default());
    let key = pair.client.open(Dir::Bi);
    let id = client_bidi(0);
    pair.client.write(key, b"data");
    let data = pair.client.packet().unwrap();
    pair.client.streams.finish(NOW, key);
    let end = pair.client.packet().unwrap();
    pair.client.acked(&data);
    pair.client.lost(&end);
    let again = pair.client.packet().unwrap();
    assert_eq!(data_of(&again), [(id, 4, Vec::new(), true)]);
    // The first one had arrived after all: nothing is left to do.
    pair.client.lost(&again);
    pair.client.acked(&end);
    assert!(pair.client.packet().is_none());
    let state = pair.client.streams.stream_stats(key).unwrap().send_state;
    assert_eq!(state, SendState::DataRecvd);
}

// Q87: after a reset nothing of it is sent again, but the reset until it is acknowledged.
#[test]
fn a_reset_stream_sends_nothing_again_but_the_reset() {
    let mut pair = Pair::new(StreamConfig::default());
    let key = pair.client.open(Dir::Bi);
    pair.client.write(key, &[1; 3000]);
    let data = pair.client.packets();
    pair.client.streams.reset(NOW, key, 5);
    let reset = pair.client.packet().unwrap();
    data.iter().for_each(|packet| pair.client.lost(packet));
    assert!(pair.client.packet().is_none());
    pair.client.lost(&reset);
    let again = pair.client.packet().unwrap();
    assert_eq!(again.bytes, reset.bytes);
    pair.client.acked(&again);
    pair.client.lost(&reset);
    assert!(pair.client.packet().is_none());
}

// Q142, RFC 9000 13.3: the latest limit, and only while somebody needs it.
#[test]
fn lost_credit_is_sent_again_with_the_latest_value() {
    let config = StreamConfig {
        stream_window: 10_000,
        max_stream_window: 10_000,
        connection_window: 10_000,
        max_connection_window: 10_000,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    let (ours, theirs) = pair.opened(Dir::Uni, &[1; 6000]);
    let id = client_uni(0);
    pair.server.read(theirs);
    let old = pair.server.packet().unwrap();
    let both = |limit| [Frame::MaxData { limit }, Frame::MaxStreamData { id, limit }];
    assert_eq!(old.frames(), both(16_000));
    pair.client.receive(&old);
    pair.client.write(ours, &[1; 7000]);
    while let Some(packet) = pair.client.packet() {
        pair.server.receive(&packet);
        pair.client.acked(&packet);
    }
    pair.server.read(theirs);
    let new = pair.server.packet().unwrap();
    assert_eq!(new.frames(), both(23_000));
    pair.server.lost(&old);
    assert!(pair.server.packet().is_none(), "an old limit is sent again");
    pair.server.lost(&new);
    let again = pair.server.packet().unwrap();
    assert_eq!(again.frames(), both(23_000));
    // RFC 9000 13.3: not for a stream whose size is known.
    pair.client.streams.finish(NOW, ours);
    pair.settle();
    pair.server.lost(&again);
    let last = pair.server.packet().unwrap();
    assert_eq!(last.frames(), [Frame::MaxData { limit: 23_000 }]);
}

// Q142: STOP_SENDING until the end is known, MAX_STREAMS the latest.
#[test]
fn lost_stops_and_stream_limits_are_sent_again() {
    let config = StreamConfig {
        max_uni: 2,
        ..StreamConfig::default()
    };
    let mut end = End::new(Side::Server, config);
    end.stream(client_uni(0), 0, b"x", true).unwrap();
    end.stream(client_uni(1), 0, b"y", false).unwrap();
    let keys: Vec<Key> = (0..2).map(|_| end.accept(Dir::Uni).unwrap()).collect();
    end.streams.release(NOW, keys[0], Half::Recv);
    end.streams.stop(NOW, keys[1], 8);
    let packet = end.packet().unwrap();
    let expected = [
        Frame::MaxStreams {
            dir: Dir::Uni,
            limit: 3,
        },
        Frame::StopSending {
            id: client_uni(1),
            code: 8,
        },
    ];
    assert_eq!(packet.frames(), expected);
    end.lost(&packet);
    let again = end.packet().unwrap();
    assert_eq!(again.frames(), expected);
    end.streams
        .on_reset_stream(NOW, client_uni(1), 0, 1)
        .unwrap();
    end.lost(&again);
    assert_eq!(end.packet().unwrap().frames(), expected[..1]);
}

// Q142, RFC 9000 13.3: blocked frames only while blocked at that limit.
#[test]
fn lost_blocked_frames_are_sent_again_only_while_blocked() {
    let config = StreamConfig {
        stream_window: 1000,
        connection_window: 1500,
        max_bidi: 2,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    let keys = [pair.client.open(Dir::Bi), pair.client.open(Dir::Bi)];
    assert!(pair.client.streams.open(NOW, Dir::Bi).is_err());
    keys.iter()
        .for_each(|key| pair.client.write(*key, &[1; 1100]));
    let packets = pair.client.packets();
    let blocked = |packets: &[Packet]| {
        let frames = packets.iter().flat_map(Packet::frames);
        let kinds = frames.map(|frame| frame.kind());
        let mut kinds: Vec<u64> = kinds.filter(|kind| *kind >= 0x14).collect();
        kinds.sort_unstable();
        kinds
    };
    use crate::wire::frame as f;
    let expected = [
        f::DATA_BLOCKED,
        f::STREAM_DATA_BLOCKED,
        f::STREAMS_BLOCKED_BIDI,
    ];
    assert_eq!(blocked(&packets), expected);
    packets.iter().for_each(|packet| pair.client.lost(packet));
    let again = pair.client.packets();
    assert_eq!(blocked(&again), expected);
    pair.client.streams.on_max_data(10_000);
    pair.client.streams.on_max_streams(Dir::Bi, 3).unwrap();
    pair.client
        .streams
        .on_max_stream_data(NOW, client_bidi(0), 2000)
        .unwrap();
    again.iter().for_each(|packet| pair.client.lost(packet));
    // Of the other stream's limit the peer hears for the first time.
    assert_eq!(blocked(&pair.client.packets()), [f::STREAM_DATA_BLOCKED]);
}

// Q142, RFC 9001 4.6.2: everything that was sent in 0-RTT is sent again, under the new limits.
#[test]
fn after_a_rejected_zero_rtt_everything_is_sent_again() {
    let mut client = End::new(Side::Client, StreamConfig::default());
    let remembered = StreamLimits {
        max_data: 100_000,
        bidi_local: 50_000,
        bidi_remote: 50_000,
        uni: 50_000,
        streams_bidi: 10,
        streams_uni: 10,
    };
    client.streams.set_peer_limits(remembered);
    let keys: Vec<Key> = (0..3).map(|_| client.open(Dir::Bi)).collect();
    for key in &keys {
        let id = client.id(*key);
        client.write(*key, &pattern(id, 0, 3000));
        client.streams.finish(NOW, *key);
    }
    client.streams.reset(NOW, keys[1], 4);
    let early = client.packets();
    client.streams.on_zero_rtt_rejected();
    early.iter().for_each(|packet| client.lost(packet));
    assert!(client.packet().is_none(), "sent without permission");
    let limits = StreamLimits {
        max_data: 5000,
        bidi_remote: 2000,
        streams_bidi: 2,
        ..StreamLimits::default()
    };
    let mut server = End::new(Side::Server, StreamConfig::default());
    client.streams.set_peer_limits(limits);
    let packets = client.packets();
    packets.iter().for_each(|packet| server.receive(packet));
    let key = server.accept(Dir::Bi).unwrap();
    assert_eq!(server.read(key), (pattern(client_bidi(0), 0, 2000), false));
    let reset = Frame::ResetStream {
        id: client_bidi(1),
        code: 4,
        final_size: 0,
    };
    assert!(
        packets
            .iter()
            .any(|packet| packet.frames().contains(&reset))
    );
    assert_eq!(client.streams.send.sent(), 2000);
    // The third one is over the new limit until that grows.
    assert_eq!(client.streams.stream_stats(keys[2]).unwrap().sent, 0);
    client.streams.on_max_streams(Dir::Bi, 3).unwrap();
    let third = client.packets();
    assert_eq!(client.streams.stream_stats(keys[2]).unwrap().sent, 2000);
    assert!(
        third
            .iter()
            .any(|packet| data_of(packet)[0].0 == client_bidi(2))
    );
    client.streams.on_max_data(100_000);
    for number in [0, 2] {
        let id = client_bidi(number);
        client.streams.on_max_stream_data(NOW, id, 10_000).unwrap();
    }
    packets
        .iter()
        .chain(&third)
        .for_each(|packet| client.acked(packet));
    for packet in client.packets() {
        client.acked(&packet);
    }
    let state = client.streams.stream_stats(keys[2]).unwrap().send_state;
    assert_eq!(state, SendState::DataRecvd);
}
