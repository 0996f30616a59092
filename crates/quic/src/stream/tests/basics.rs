//! Bytes there and back, the ends of streams, what is kept of them.

use super::*;
use crate::stream::{Half, RecvState, SendState, WriteError};

/// Both ends let go of the stream.
fn release_all(end: &mut End, key: Key) {
    end.streams.release(NOW, key, Half::Send);
    end.streams.release(NOW, key, Half::Recv);
}

// Q76, Q88
#[test]
fn a_request_and_its_answer_leave_nothing() {
    let mut pair = Pair::new(StreamConfig::default());
    let ours = pair.client.open(Dir::Bi);
    pair.client.write(ours, b"request");
    pair.client.streams.finish(NOW, ours);
    pair.settle();
    let theirs = pair.server.accept(Dir::Bi).unwrap();
    assert_eq!(pair.server.read(theirs), (b"request".to_vec(), true));
    pair.server.write(theirs, b"answer");
    pair.server.streams.finish(NOW, theirs);
    pair.settle();
    assert_eq!(pair.client.read(ours), (b"answer".to_vec(), true));
    release_all(&mut pair.client, ours);
    release_all(&mut pair.server, theirs);
    pair.client.assert_empty();
    pair.server.assert_empty();
}

// Q76: an empty STREAM frame with the end ends a stream.
#[test]
fn the_end_may_come_by_itself() {
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Uni, b"all");
    assert_eq!(pair.server.read(theirs), (b"all".to_vec(), false));
    pair.client.streams.finish(NOW, ours);
    let packet = pair.client.packet().unwrap();
    let fin = Frame::Stream {
        id: StreamId(2),
        offset: 3,
        data: b"",
        fin: true,
    };
    assert_eq!(packet.frames(), [fin]);
    pair.server.receive(&packet);
    assert_eq!(
        pair.server.events(),
        [
            StreamEvent::Acceptable(Dir::Uni),
            StreamEvent::Readable(theirs)
        ]
    );
    assert_eq!(pair.server.read(theirs), (Vec::new(), true));
}

// Q77: the states of both halves on the way.
#[test]
fn states_follow_what_is_sent_and_acknowledged() {
    let mut pair = Pair::new(StreamConfig::default());
    let ours = pair.client.open(Dir::Uni);
    let send_state = |end: &End| end.streams.stream_stats(ours).unwrap().send_state;
    assert_eq!(send_state(&pair.client), SendState::Ready);
    pair.client.write(ours, &[1; 2000]);
    let first = pair.client.packet().unwrap();
    assert_eq!(send_state(&pair.client), SendState::Send);
    pair.client.streams.finish(NOW, ours);
    let second = pair.client.packet().unwrap();
    assert_eq!(send_state(&pair.client), SendState::DataSent);
    pair.server.receive(&second);
    let theirs = pair.server.accept(Dir::Uni).unwrap();
    let recv_state = |end: &End| end.streams.stream_stats(theirs).unwrap().recv_state;
    assert_eq!(recv_state(&pair.server), RecvState::SizeKnown);
    pair.server.receive(&first);
    assert_eq!(recv_state(&pair.server), RecvState::DataRecvd);
    assert_eq!(pair.server.read(theirs).0.len(), 2000);
    assert_eq!(recv_state(&pair.server), RecvState::DataRead);
    pair.client.acked(&first);
    assert_eq!(pair.client.streams.poll_flushed(ours), Ok(false));
    pair.client.acked(&second);
    assert_eq!(send_state(&pair.client), SendState::DataRecvd);
    assert_eq!(pair.client.streams.poll_flushed(ours), Ok(true));
    assert_eq!(pair.client.events(), [StreamEvent::Writable(ours)]);
    let error = pair.client.streams.write_slice(NOW, ours, b"x");
    assert_eq!(error, Err(WriteError::Finished));
}
