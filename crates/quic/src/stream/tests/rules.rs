//! Frames that a peer may not send, and those that mean nothing.

use super::*;
use crate::error::code;
use crate::wire::frame::{self, MAX_STREAM_COUNT};

fn server() -> End {
    let config = StreamConfig {
        stream_window: 1000,
        connection_window: 2500,
        max_bidi: 4,
        max_uni: 2,
        ..StreamConfig::default()
    };
    let mut server = End::new(Side::Server, config.clone());
    let mut client = End::new(Side::Client, config);
    introduce(&mut client, &mut server);
    server
}

/// The code and frame type of an error.
fn fault(result: Result<(), TransportError>) -> (u64, u64) {
    let error = result.unwrap_err();
    (error.code, error.frame)
}

/// Every frame about a stream, with its type.
fn frames_about(id: StreamId) -> [(u64, Frame<'static>); 5] {
    let stream = Frame::Stream {
        id,
        offset: 0,
        data: b"x",
        fin: false,
    };
    let reset = Frame::ResetStream {
        id,
        code: 1,
        final_size: 9,
    };
    [
        (frame::STREAM, stream),
        (frame::RESET_STREAM, reset),
        (
            frame::STREAM_DATA_BLOCKED,
            Frame::StreamDataBlocked { id, limit: 1 },
        ),
        (frame::STOP_SENDING, Frame::StopSending { id, code: 1 }),
        (
            frame::MAX_STREAM_DATA,
            Frame::MaxStreamData { id, limit: 1 },
        ),
    ]
}

// Q79, RFC 9000 19.4, 19.5, 19.8, 19.10, 19.13
#[test]
fn frames_against_a_streams_direction_are_errors() {
    for (at, (kind, _)) in frames_about(StreamId(0)).into_iter().enumerate() {
        let mut end = server();
        end.open(Dir::Uni);
        let about_sending = at >= 3;
        let (bad, good) = match about_sending {
            true => (client_uni(0), server_uni(0)),
            false => (server_uni(0), client_uni(0)),
        };
        let result = end.handle(NOW, &frames_about(bad)[at].1);
        assert_eq!(fault(result), (code::STREAM_STATE_ERROR, kind));
        assert_eq!(end.handle(NOW, &frames_about(good)[at].1), Ok(()));
    }
}

// Q80, RFC 9000 19.5, 19.8, 19.10
#[test]
fn frames_for_a_stream_of_ours_that_does_not_exist_are_errors() {
    for (kind, frame) in frames_about(server_bidi(1)) {
        let mut end = server();
        end.open(Dir::Bi);
        let result = end.handle(NOW, &frame);
        assert_eq!(fault(result), (code::STREAM_STATE_ERROR, kind));
        end.open(Dir::Bi);
        assert_eq!(end.handle(NOW, &frame), Ok(()));
    }
}

// Q82, RFC 9000 4.6
#[test]
fn a_stream_over_the_limit_is_an_error() {
    for (kind, frame) in frames_about(client_bidi(4)) {
        let result = server().handle(NOW, &frame);
        assert_eq!(fault(result), (code::STREAM_LIMIT_ERROR, kind));
    }
    for (_, frame) in frames_about(client_bidi(3)) {
        assert_eq!(server().handle(NOW, &frame), Ok(()));
    }
    let result = server().stream(client_uni(2), 0, b"x", false);
    assert_eq!(fault(result).0, code::STREAM_LIMIT_ERROR);
}

// Q83, RFC 9000 19.11, 19.14
#[test]
fn limits_on_streams_above_what_an_id_can_say_are_errors() {
    for (dir, max, blocked) in [
        (
            Dir::Bi,
            frame::MAX_STREAMS_BIDI,
            frame::STREAMS_BLOCKED_BIDI,
        ),
        (Dir::Uni, frame::MAX_STREAMS_UNI, frame::STREAMS_BLOCKED_UNI),
    ] {
        let mut end = server();
        let over = MAX_STREAM_COUNT + 1;
        let result = end.streams.on_max_streams(dir, over);
        assert_eq!(fault(result), (code::FRAME_ENCODING_ERROR, max));
        let result = end.streams.on_streams_blocked(dir, over);
        assert_eq!(fault(result), (code::FRAME_ENCODING_ERROR, blocked));
        assert_eq!(end.streams.on_max_streams(dir, MAX_STREAM_COUNT), Ok(()));
        assert_eq!(
            end.streams.on_streams_blocked(dir, MAX_STREAM_COUNT),
            Ok(())
        );
    }
}

// Q81, RFC 9000 4.5: every way to contradict a final size that is known.
#[test]
fn the_final_size_neither_changes_nor_is_passed() {
    let id = client_bidi(0);
    let reset = |end: &mut End, size| end.streams.on_reset_stream(NOW, id, 0, size);
    for wrong in 0..6 {
        let mut end = server();
        end.stream(id, 0, &[1; 100], wrong < 4).unwrap();
        let result = match wrong {
            0 => end.stream(id, 100, b"x", false),
            1 => end.stream(id, 100, b"x", true),
            2 => end.stream(id, 0, &[1; 99], true),
            3 => reset(&mut end, 101),
            // Less than what came.
            4 => end.stream(id, 0, &[1; 99], true),
            _ => reset(&mut end, 99),
        };
        assert_eq!(fault(result).0, code::FINAL_SIZE_ERROR, "case {wrong}");
        end = server();
        end.stream(id, 0, &[1; 100], true).unwrap();
        // The same again is no contradiction.
        end.stream(id, 0, &[1; 100], true).unwrap();
        end.stream(id, 50, &[1; 50], false).unwrap();
        reset(&mut end, 100).unwrap();
    }
}

// Q81: also for a stream that was reset, and for one that is over.
#[test]
fn the_final_size_is_remembered_after_the_end() {
    let id = client_uni(0);
    let mut end = server();
    end.streams.on_reset_stream(NOW, id, 5, 10).unwrap();
    assert_eq!(end.streams.open_streams(), 0);
    end.stream(id, 0, &[1; 10], false).unwrap();
    end.streams.on_reset_stream(NOW, id, 5, 10).unwrap();
    let results = [
        end.stream(id, 5, &[1; 6], false),
        end.stream(id, 0, &[1; 5], true),
        end.streams.on_reset_stream(NOW, id, 5, 11),
    ];
    for result in results {
        assert_eq!(fault(result).0, code::FINAL_SIZE_ERROR);
    }
}

// Q90, RFC 9000 4.1: counted by the largest offset, for the stream and for all together.
#[test]
fn passing_a_limit_is_an_error() {
    let mut end = server();
    end.stream(client_bidi(0), 999, &[1], false).unwrap();
    let result = end.stream(client_bidi(0), 999, &[1; 2], false);
    assert_eq!(fault(result), (code::FLOW_CONTROL_ERROR, frame::STREAM));
    let mut end = server();
    end.stream(client_bidi(0), 0, &[1; 1000], false).unwrap();
    end.stream(client_bidi(1), 999, &[1], false).unwrap();
    end.stream(client_bidi(2), 499, &[1], false).unwrap();
    // What is counted once is not counted again.
    end.stream(client_bidi(1), 0, &[1; 999], false).unwrap();
    let result = end.stream(client_bidi(2), 500, &[1], false);
    assert_eq!(fault(result), (code::FLOW_CONTROL_ERROR, frame::STREAM));
}

// Q90, RFC 9000 4.5: the final size of a reset counts too.
#[test]
fn a_final_size_beyond_a_limit_is_an_error() {
    let mut end = server();
    let result = end.streams.on_reset_stream(NOW, client_bidi(0), 0, 1001);
    assert_eq!(
        fault(result),
        (code::FLOW_CONTROL_ERROR, frame::RESET_STREAM)
    );
    let mut end = server();
    end.stream(client_bidi(0), 0, &[1; 1000], false).unwrap();
    end.stream(client_bidi(1), 0, &[1; 1000], false).unwrap();
    let result = end.streams.on_reset_stream(NOW, client_bidi(2), 0, 501);
    assert_eq!(
        fault(result),
        (code::FLOW_CONTROL_ERROR, frame::RESET_STREAM)
    );
}

// Q94, RFC 9000 19.8
#[test]
fn offsets_beyond_what_can_be_said_are_errors() {
    let id = client_bidi(0);
    for (offset, data) in [((1 << 62) - 1, &b"x"[..]), (u64::MAX, b"x"), (1 << 62, b"")] {
        let result = server().stream(id, offset, data, false);
        assert_eq!(fault(result).0, code::FRAME_ENCODING_ERROR, "{offset}");
    }
    let result = server().stream(id, (1 << 62) - 2, b"x", false);
    assert_eq!(fault(result).0, code::FLOW_CONTROL_ERROR);
}

// Q84, RFC 9000 4.6, 19.9: a smaller limit than before changes nothing.
#[test]
fn limits_only_grow() {
    let mut end = server();
    let key = end.open(Dir::Bi);
    end.write(key, &[1; 3000]);
    end.streams.on_max_data(5000);
    end.streams.on_max_data(10);
    end.streams
        .on_max_stream_data(NOW, server_bidi(0), 2000)
        .unwrap();
    end.streams
        .on_max_stream_data(NOW, server_bidi(0), 0)
        .unwrap();
    end.streams.on_max_streams(Dir::Bi, 1).unwrap();
    end.packets();
    let stats = end.streams.stream_stats(key).unwrap();
    assert_eq!((stats.sent, stats.queued), (2000, 1000));
    assert_eq!(end.streams.send.limit(), 5000);
    for _ in 0..3 {
        end.open(Dir::Bi);
    }
    let mut limits = end.streams.local_limits();
    limits.max_data = 1;
    end.streams.set_peer_limits(limits);
    assert_eq!(end.streams.send.limit(), 5000);
}

// Q75, RFC 9000 2.1: four kinds; opening one opens those below it, handed out in order.
#[test]
fn opening_a_stream_opens_those_below() {
    let mut end = server();
    end.stream(client_bidi(2), 0, b"two", false).unwrap();
    end.stream(client_uni(1), 0, b"uni", false).unwrap();
    assert_eq!(
        end.streams.open_streams(),
        2,
        "untouched streams have slots"
    );
    end.stream(client_bidi(1), 0, b"one", false).unwrap();
    for number in 0..3 {
        let key = end.accept(Dir::Bi).unwrap();
        assert_eq!(end.id(key), client_bidi(number));
    }
    let uni: Vec<_> = (0..2).map(|_| end.accept(Dir::Uni).unwrap()).collect();
    assert_eq!(
        (end.id(uni[0]), end.id(uni[1])),
        (client_uni(0), client_uni(1))
    );
    assert_eq!((end.accept(Dir::Bi), end.accept(Dir::Uni)), (None, None));
    // The one that was only implied can be written to and gets data later.
    let first = Key {
        ..end.streams.by_id.get(0).copied().unwrap()
    };
    end.write(first, b"hello");
    end.stream(client_bidi(0), 0, b"zero", true).unwrap();
    assert_eq!(end.read(first), (b"zero".to_vec(), true));
    let own = (end.open(Dir::Bi), end.open(Dir::Uni));
    assert_eq!(
        (end.id(own.0), end.id(own.1)),
        (server_bidi(0), server_uni(0))
    );
}
