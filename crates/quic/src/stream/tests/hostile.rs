//! Every frame in every state, and frames at random: data, nothing, or the error that the RFC names.

use proptest::prelude::*;

use super::*;
use crate::error::code;
use crate::stream::Half;

/// The states that a stream of the client can be brought into at the server.
const STATES: [&str; 9] = [
    "new",
    "untouched",
    "receiving",
    "size known",
    "all received",
    "reset",
    "stopped",
    "finished here",
    "over",
];

/// A server whose stream 0 of the client is in a state.
fn server_in(state: &str) -> End {
    let mut end = End::new(Side::Server, StreamConfig::default());
    let mut client = End::new(Side::Client, StreamConfig::default());
    introduce(&mut client, &mut end);
    let id = client_bidi(0);
    match state {
        "new" => return end,
        "untouched" => {
            end.stream(client_bidi(5), 0, b"x", false).unwrap();
            return end;
        }
        "size known" => end.stream(id, 5, b"12345", true).unwrap(),
        "all received" => end.stream(id, 0, b"0123456789", true).unwrap(),
        "reset" => end.streams.on_reset_stream(NOW, id, 1, 10).unwrap(),
        _ => end.stream(id, 0, b"01234", false).unwrap(),
    }
    let key = end.accept(Dir::Bi).unwrap();
    match state {
        "stopped" => end.streams.stop(NOW, key, 1),
        "finished here" => end.streams.finish(NOW, key),
        "over" => {
            end.stream(id, 5, b"56789", true).unwrap();
            end.read(key);
            end.streams.finish(NOW, key);
            let packet = end.packet().unwrap();
            end.acked(&packet);
            end.streams.release(NOW, key, Half::Send);
            end.streams.release(NOW, key, Half::Recv);
            assert_eq!(end.streams.open_streams(), 0);
        }
        _ => {}
    }
    end
}

/// Frames about stream 0, each with the states in which it is a FINAL_SIZE_ERROR. The size of those
/// whose size is known is 10.
fn frames() -> Vec<(Frame<'static>, &'static [&'static str])> {
    const ENDED: &[&str] = &["size known", "all received", "reset", "over"];
    let id = client_bidi(0);
    let stream = |offset, data, fin| Frame::Stream {
        id,
        offset,
        data,
        fin,
    };
    let reset = |final_size| Frame::ResetStream {
        id,
        code: 3,
        final_size,
    };
    vec![
        (stream(0, b"01234", false), &[]),
        (stream(3, b"34567", false), &[]),
        (stream(9, b"9", true), &[]),
        (stream(10, b"", true), &[]),
        (stream(11, b"x", false), ENDED),
        (
            stream(2, b"2", true),
            &[
                "receiving",
                "stopped",
                "finished here",
                "size known",
                "all received",
                "reset",
                "over",
            ],
        ),
        (reset(10), &[]),
        (reset(11), ENDED),
        (Frame::StreamDataBlocked { id, limit: 3 }, &[]),
        (Frame::StopSending { id, code: 2 }, &[]),
        (Frame::MaxStreamData { id, limit: 1 << 40 }, &[]),
    ]
}

// Q77, Q81, threats C2: the whole table, each pair of frames after the other.
#[test]
fn every_frame_in_every_state() {
    for state in STATES {
        for (first, errors) in frames() {
            for (second, _) in frames() {
                let mut end = server_in(state);
                let result = end.handle(NOW, &first).map_err(|error| error.code);
                let expected = match errors.contains(&state) {
                    true => Err(code::FINAL_SIZE_ERROR),
                    false => Ok(()),
                };
                assert_eq!(result, expected, "{first:?} when {state}");
                if let Err(error) = end.handle(NOW, &second) {
                    assert_eq!(error.code, code::FINAL_SIZE_ERROR, "{first:?}, {second:?}");
                }
                end.packets();
                while end.accept(Dir::Bi).is_some() {}
                end.streams.close();
            }
        }
    }
}

fn any_id() -> impl Strategy<Value = StreamId> {
    prop_oneof![
        8 => (0..24u64).prop_map(StreamId),
        1 => (0..1u64 << 62).prop_map(StreamId),
    ]
}

fn any_offset() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..20_000u64, 1 => 0..1u64 << 62]
}

fn any_frame() -> impl Strategy<Value = Frame<'static>> {
    static DATA: [u8; 2000] = [7; 2000];
    let dir = prop_oneof![Just(Dir::Bi), Just(Dir::Uni)];
    prop_oneof![
        8 => (any_id(), any_offset(), 0..2000usize, any::<bool>()).prop_map(
            |(id, offset, len, fin)| Frame::Stream { id, offset, data: &DATA[..len], fin }
        ),
        2 => (any_id(), any_offset())
            .prop_map(|(id, final_size)| Frame::ResetStream { id, code: 1, final_size }),
        1 => any_id().prop_map(|id| Frame::StopSending { id, code: 2 }),
        1 => any_offset().prop_map(|limit| Frame::MaxData { limit }),
        1 => (any_id(), any_offset())
            .prop_map(|(id, limit)| Frame::MaxStreamData { id, limit }),
        1 => (dir.clone(), any_offset())
            .prop_map(|(dir, limit)| Frame::MaxStreams { dir, limit }),
        1 => any_offset().prop_map(|limit| Frame::DataBlocked { limit }),
        1 => (any_id(), any_offset())
            .prop_map(|(id, limit)| Frame::StreamDataBlocked { id, limit }),
        1 => (dir, any_offset())
            .prop_map(|(dir, limit)| Frame::StreamsBlocked { dir, limit }),
    ]
}

/// What the application at the other end of a hostile peer does.
fn serve(end: &mut End, step: usize) {
    for dir in Dir::ALL {
        if let Some(key) = end.accept(dir)
            && end.streams.send_error(key).is_none()
        {
            let _queued = end.streams.write_slice(NOW, key, &[1; 3000]);
        }
    }
    let keys: Vec<Key> = end.streams.keys().collect();
    let Some(key) = keys.get(step % keys.len().max(1)).copied() else {
        return;
    };
    match step % 7 {
        0 | 1 => drop(end.streams.read(NOW, key, 1000)),
        2 => end.streams.finish(NOW, key),
        3 => end.streams.stop(NOW, key, 1),
        4 if step.is_multiple_of(3) => end.streams.reset(NOW, key, 1),
        5 => end.streams.release(NOW, key, Half::Recv),
        6 => end.streams.release(NOW, key, Half::Send),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // threats C1, C2, C4: whatever comes, nothing panics and memory stays within its limit.
    #[test]
    fn frames_at_random_do_no_harm(frames in prop::collection::vec(any_frame(), 1..200)) {
        let config = StreamConfig {
            stream_window: 8000,
            max_stream_window: 20_000,
            connection_window: 12_000,
            max_connection_window: 50_000,
            max_bidi: 6,
            max_uni: 6,
            ..StreamConfig::default()
        };
        let memory = Budget::root("connection", 60_000);
        let mut end = End::with_memory(Side::Server, config.clone(), memory);
        let mut peer = End::new(Side::Client, config);
        introduce(&mut peer, &mut end);
        let mut sent = Vec::new();
        for (step, frame) in frames.iter().enumerate() {
            // After an error a connection would be closed; here it goes on, which is harder.
            let _result = end.handle(NOW, frame);
            serve(&mut end, step);
            if step % 3 == 0 {
                sent.extend(end.packet());
            }
            if step % 5 == 0 && !sent.is_empty() {
                let packet = sent.remove(step % sent.len());
                if step.is_multiple_of(2) { end.lost(&packet) } else { end.acked(&packet) }
            }
            prop_assert!(end.streams.open_streams() <= 2 * (6 + 6));
            prop_assert!(end.memory.peak() <= 60_000);
            prop_assert!(end.streams.recv.buffered() <= 50_000);
        }
        end.streams.close();
        let keys: Vec<Key> = end.streams.keys().collect();
        for key in keys {
            end.streams.release(NOW, key, Half::Send);
            end.streams.release(NOW, key, Half::Recv);
        }
        end.assert_empty();
        prop_assert_eq!(end.memory.used(), 0);
    }
}
