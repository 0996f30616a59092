//! Whose data goes next, and how packets are filled.

use weir_core::sched::Priority;

use super::*;

/// The streams of the packets' STREAM frames, one entry a run.
fn runs(packets: &[Packet]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for frame in packets.iter().flat_map(Packet::frames) {
        let Frame::Stream { id, data, .. } = frame else {
            continue;
        };
        match runs.last_mut() {
            Some((last, bytes)) if *last == id.number() => *bytes += data.len() as u64,
            _ => runs.push((id.number(), data.len() as u64)),
        }
    }
    runs
}

fn three_streams(priorities: [Priority; 3]) -> (Pair, Vec<Key>) {
    let mut pair = Pair::new(StreamConfig::default());
    let keys: Vec<Key> = (0..3).map(|_| pair.client.open(Dir::Bi)).collect();
    for (key, priority) in keys.iter().zip(priorities) {
        pair.client.streams.set_priority(*key, priority);
        pair.client.write(*key, &[1; 100_000]);
    }
    (pair, keys)
}

// Q86, RFC 9000 2.3: nobody starves, and a run of packets stays with one stream.
#[test]
fn streams_take_turns_of_many_packets() {
    let (mut pair, _) = three_streams([Priority::default(); 3]);
    let packets = pair.client.packets();
    let runs = runs(&packets);
    let order: Vec<u64> = runs.iter().map(|(number, _)| *number).collect();
    assert_eq!(order[..9], [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    for (_, bytes) in &runs[..9] {
        let turn = 32 << 10;
        assert!(
            (turn..turn + PACKET as u64).contains(bytes),
            "{bytes} bytes"
        );
    }
}

// Q86
#[test]
fn the_more_urgent_goes_first_even_in_the_middle_of_a_turn() {
    let (mut pair, keys) = three_streams([Priority::LAST, Priority::default(), Priority::LAST]);
    let first: Vec<Packet> = (0..100).map_while(|_| pair.client.packet()).collect();
    let order: Vec<u64> = runs(&first).iter().map(|(number, _)| *number).collect();
    assert_eq!(order, [1, 0]);
    pair.client.streams.set_priority(keys[1], Priority::FIRST);
    pair.client.write(keys[1], &[2; 50_000]);
    let next = pair.client.packet().unwrap();
    assert_eq!(runs(&[next])[0].0, 1);
}

// Q86, RFC 9218 10: one that is not incremental goes to its end before the next of its kind.
#[test]
fn what_is_only_useful_whole_is_sent_whole() {
    let whole = Priority {
        urgency: 3,
        incremental: false,
    };
    let (mut pair, _) = three_streams([whole; 3]);
    let runs = runs(&pair.client.packets());
    assert_eq!(runs, [(0, 100_000), (1, 100_000), (2, 100_000)]);
}

#[test]
fn packets_are_filled_to_the_last_byte() {
    let mut pair = Pair::new(StreamConfig::default());
    let key = pair.client.open(Dir::Bi);
    for max in 20..1400 {
        pair.client.write(key, &[1; 1400]);
        let packet = pair.client.packet_at(NOW, max).unwrap();
        assert_eq!(packet.bytes.len(), max);
        pair.client.streams.on_max_data(1 << 30);
        let id = client_bidi(0);
        pair.client
            .streams
            .on_max_stream_data(NOW, id, 1 << 30)
            .unwrap();
    }
}

#[test]
fn without_leave_every_frame_says_its_length() {
    let mut pair = Pair::new(StreamConfig::default());
    let key = pair.client.open(Dir::Bi);
    pair.client.write(key, &[1; 300_000]);
    for max in (100..1400).step_by(7) {
        let (mut bytes, mut log) = (Vec::new(), Vec::new());
        let streams = &mut pair.client.streams;
        let count = streams.write_frames(NOW, None, &mut bytes, max, false, &mut log);
        assert!((max - 1..=max).contains(&count), "{count} of {max}");
        // With something behind it, it reads the same.
        bytes.push(1);
        let frames = Packet { bytes, log };
        assert_eq!(frames.frames()[1], Frame::Ping);
        pair.client.acked(&frames);
    }
}

#[test]
fn small_streams_share_a_packet() {
    let mut pair = Pair::new(StreamConfig::default());
    for _ in 0..10 {
        let key = pair.client.open(Dir::Bi);
        pair.client.write(key, &[1; 50]);
        pair.client.streams.finish(NOW, key);
    }
    let packets = pair.client.packets();
    assert_eq!((packets.len(), packets[0].frames().len()), (1, 10));
    // No stream is begun where only a few bytes would fit.
    for _ in 0..3 {
        let key = pair.client.open(Dir::Bi);
        pair.client.write(key, &[1; 595]);
    }
    let packets = pair.client.packets();
    assert_eq!(packets[0].frames().len(), 2);
}

#[test]
fn a_writer_is_woken_once_when_half_of_its_buffer_is_free() {
    let config = StreamConfig {
        send_buffer: 10_000,
        ..StreamConfig::default()
    };
    let mut pair = Pair::new(config);
    let key = pair.client.open(Dir::Bi);
    pair.client.write(key, &[1; 10_000]);
    for _ in 0..3 {
        let blocked = pair.client.streams.write_slice(NOW, key, b"x");
        assert_eq!(blocked, Err(crate::stream::WriteError::Blocked));
    }
    assert_eq!(pair.client.streams.poll_sent(key), Ok(false));
    for _ in 0..4 {
        pair.client.packet().unwrap();
        assert!(pair.client.events().is_empty());
    }
    pair.client.packet().unwrap();
    assert_eq!(pair.client.events(), [StreamEvent::Writable(key)]);
    let rest = pair.client.packets();
    assert_eq!(rest.len(), 4);
    assert_eq!(
        pair.client.events(),
        [StreamEvent::Writable(key)],
        "all is sent"
    );
    assert_eq!(pair.client.streams.poll_sent(key), Ok(true));
    assert_eq!(pair.client.streams.poll_flushed(key), Ok(false));
}
