//! How streams end: resets, stops, letting go.

use super::*;
use crate::stream::{Half, RecvState, SendState, WriteError};

fn reset_frame(id: StreamId, code: u64, final_size: u64) -> Frame<'static> {
    Frame::ResetStream {
        id,
        code,
        final_size,
    }
}

// Q78, RFC 9000 3.5
#[test]
fn stop_sending_is_answered_by_a_reset_with_its_code() {
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Bi, b"some");
    pair.client.write(ours, &[1; 5000]);
    let _one = pair.client.packet().unwrap();
    pair.server.streams.stop(NOW, theirs, 42);
    let stop = pair.server.packet().unwrap();
    let id = client_bidi(0);
    assert_eq!(stop.frames(), [Frame::StopSending { id, code: 42 }]);
    pair.client.receive(&stop);
    let answer = pair.client.packet().unwrap();
    let sent = pair.client.streams.send.sent();
    assert_eq!(answer.frames(), [reset_frame(id, 42, sent)]);
    assert_eq!(pair.client.events(), [StreamEvent::Stopped(ours)]);
    let result = pair.client.streams.write_slice(NOW, ours, b"x");
    assert_eq!(result, Err(WriteError::Stopped(42)));
    assert_eq!(
        pair.client.streams.held.bytes(),
        crate::stream::limits::STREAM_COST
    );
    // A second one says nothing new.
    pair.client.receive(&stop);
    assert!(pair.client.packet().is_none());
}

// Q78: once all was sent, only a loss makes a reset of it.
#[test]
fn stop_sending_after_the_end_waits_for_a_loss() {
    for lost in [false, true] {
        let mut pair = Pair::new(StreamConfig::default());
        let ours = pair.client.open(Dir::Uni);
        pair.client.write(ours, b"all there is");
        pair.client.streams.finish(NOW, ours);
        let packet = pair.client.packet().unwrap();
        let id = client_uni(0);
        pair.client.streams.on_stop_sending(NOW, id, 9).unwrap();
        assert!(pair.client.packet().is_none());
        if lost {
            pair.client.lost(&packet);
            let answer = pair.client.packet().unwrap();
            assert_eq!(answer.frames(), [reset_frame(id, 9, 12)]);
            let error = pair.client.streams.send_error(ours);
            assert_eq!(error, Some(WriteError::Stopped(9)));
        } else {
            pair.client.acked(&packet);
            assert_eq!(pair.client.streams.poll_flushed(ours), Ok(true));
        }
    }
}

// Q78: for a stream that is over it means nothing.
#[test]
fn stop_sending_for_a_finished_stream_is_ignored() {
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Uni, b"all");
    pair.client.streams.finish(NOW, ours);
    pair.settle();
    pair.client
        .streams
        .on_stop_sending(NOW, client_uni(0), 1)
        .unwrap();
    assert_eq!(
        pair.client.streams.send_error(ours),
        Some(WriteError::Finished)
    );
    pair.client.streams.release(NOW, ours, Half::Send);
    pair.client
        .streams
        .on_stop_sending(NOW, client_uni(0), 1)
        .unwrap();
    assert!(pair.client.packet().is_none());
    assert_eq!(pair.server.read(theirs), (b"all".to_vec(), true));
}

// Q77, RFC 9000 3.2: a reset drops what was not read, its code is told, and it carries the size.
#[test]
fn a_reset_ends_the_reading() {
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Bi, &[1; 2000]);
    assert_eq!(
        pair.server
            .streams
            .read(NOW, theirs, 10)
            .unwrap()
            .unwrap()
            .len(),
        10
    );
    let drained = |end: &mut End| while let Ok(Some(_)) = end.streams.read(NOW, theirs, 9999) {};
    drained(&mut pair.server);
    assert!(pair.server.read(theirs).0.is_empty());
    pair.server.events();
    pair.client.write(ours, &[1; 100]);
    let data = pair.client.packet().unwrap();
    pair.client.streams.reset(NOW, ours, 7);
    let reset = pair.client.packet().unwrap();
    assert_eq!(reset.frames(), [reset_frame(client_bidi(0), 7, 2100)]);
    pair.server.receive(&reset);
    pair.server.receive(&data);
    let events = pair.server.events();
    assert_eq!(
        events,
        [
            StreamEvent::StreamReset(theirs),
            StreamEvent::Readable(theirs)
        ]
    );
    let result = pair.server.streams.read(NOW, theirs, 10);
    assert_eq!(result, Err(ReadError::Reset(7)));
    let state = pair.server.streams.stream_stats(theirs).unwrap();
    assert_eq!(
        (state.recv_state, state.buffered),
        (RecvState::ResetRead, 0)
    );
    // The other direction goes on.
    pair.server.write(theirs, b"still here");
    pair.settle();
    assert_eq!(pair.client.read(ours).0, b"still here");
}

// Q77: all had come before the reset, so it is read.
#[test]
fn a_reset_behind_all_data_changes_nothing() {
    let mut pair = Pair::new(StreamConfig::default());
    let ours = pair.client.open(Dir::Uni);
    pair.client.write(ours, b"all there is");
    pair.client.streams.finish(NOW, ours);
    let data = pair.client.packet().unwrap();
    pair.client.streams.reset(NOW, ours, 7);
    let reset = pair.client.packet().unwrap();
    pair.server.receive(&data);
    pair.server.receive(&reset);
    let theirs = pair.server.accept(Dir::Uni).unwrap();
    assert_eq!(pair.server.read(theirs), (b"all there is".to_vec(), true));
}

// Q77, RFC 9000 3.1: a stream that sent nothing is reset with size 0.
#[test]
fn a_reset_before_any_data() {
    let mut pair = Pair::new(StreamConfig::default());
    let ours = pair.client.open(Dir::Bi);
    pair.client.write(ours, b"never sent");
    pair.client.streams.reset(NOW, ours, 3);
    let packet = pair.client.packet().unwrap();
    assert_eq!(packet.frames(), [reset_frame(client_bidi(0), 3, 0)]);
    pair.client.acked(&packet);
    let state = pair.client.streams.stream_stats(ours).unwrap().send_state;
    assert_eq!(state, SendState::ResetRecvd);
    assert!(pair.client.packet().is_none());
}

// Q91, RFC 9000 3.5: what comes for nobody is thrown away, and counted as read for the connection.
#[test]
fn a_stopped_stream_holds_no_credit() {
    let config = StreamConfig {
        connection_window: 3000,
        max_connection_window: 3000,
        ..StreamConfig::default()
    };
    let mut end = End::new(Side::Server, config);
    let id = client_bidi(0);
    end.stream(id, 0, &[1; 1000], false).unwrap();
    let key = end.accept(Dir::Bi).unwrap();
    end.streams.stop(NOW, key, 1);
    assert_eq!(end.streams.recv.consumed(), 1000);
    end.stream(id, 1500, &[1; 500], false).unwrap();
    assert_eq!(
        (end.streams.recv.consumed(), end.streams.recv.buffered()),
        (2000, 0)
    );
    assert_eq!(end.streams.read(NOW, key, 1), Err(ReadError::Stopped));
    let told = end.packet().unwrap();
    assert!(told.frames().contains(&Frame::MaxData { limit: 5000 }));
    end.stream(id, 2500, b"", true).unwrap();
    assert_eq!(end.streams.recv.consumed(), 2500);
    assert_eq!(end.streams.stats().bytes_discarded, 2500);
}

// Q91, RFC 9000 4.5: a reset gives back all credit up to its final size.
#[test]
fn a_reset_gives_credit_back_by_its_final_size() {
    let config = StreamConfig {
        connection_window: 3000,
        max_connection_window: 3000,
        ..StreamConfig::default()
    };
    let mut end = End::new(Side::Server, config);
    end.stream(client_bidi(0), 0, &[1; 400], false).unwrap();
    let key = end.accept(Dir::Bi).unwrap();
    assert_eq!(end.read(key).0.len(), 400);
    end.stream(client_bidi(0), 500, &[1; 100], false).unwrap();
    end.streams
        .on_reset_stream(NOW, client_bidi(0), 0, 2000)
        .unwrap();
    assert_eq!(
        (end.streams.recv.consumed(), end.streams.recv.buffered()),
        (2000, 0)
    );
    assert_eq!(
        end.packet().unwrap().frames(),
        [Frame::MaxData { limit: 5000 }]
    );
}

// Q77, RFC 9000 3.3: nobody asks to stop what has come to its end.
#[test]
fn nothing_is_stopped_whose_size_is_known() {
    let mut end = End::new(Side::Server, StreamConfig::default());
    end.stream(client_uni(0), 5, b"end", true).unwrap();
    let key = end.accept(Dir::Uni).unwrap();
    end.streams.release(NOW, key, Half::Recv);
    assert!(end.packet().is_none());
    assert_eq!(end.streams.recv.buffered(), 0);
    end.assert_empty();
}

#[test]
fn a_dropped_writer_ends_in_order_and_a_dropped_stream_is_reset() {
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Bi, b"a");
    pair.client.streams.release(NOW, ours, Half::Send);
    pair.settle();
    assert_eq!(pair.server.read(theirs), (b"a".to_vec(), true));

    let (ours, theirs) = pair.opened(Dir::Bi, b"b");
    pair.client.write(ours, b"not sent");
    pair.client.streams.release(NOW, ours, Half::Send);
    pair.client.streams.release(NOW, ours, Half::Recv);
    pair.settle();
    let result = pair.server.streams.read(NOW, theirs, 10);
    assert_eq!(result, Err(ReadError::Reset(0)));
    let result = pair.server.streams.write_slice(NOW, theirs, b"x");
    assert_eq!(result, Err(WriteError::Stopped(0)));
    assert_eq!(pair.client.streams.open_streams(), 1);

    let (ours, theirs) = pair.opened(Dir::Uni, b"c");
    pair.client.write(ours, b"d");
    pair.client.streams.release(NOW, ours, Half::Send);
    pair.settle();
    assert_eq!(pair.server.read(theirs), (b"cd".to_vec(), true));
}

#[test]
fn a_stream_that_was_given_up_before_it_was_accepted_is_not_handed_out() {
    let mut end = End::new(Side::Server, StreamConfig::default());
    end.stream(client_uni(0), 0, b"x", false).unwrap();
    end.streams
        .on_reset_stream(NOW, client_uni(0), 1, 1)
        .unwrap();
    end.stream(client_bidi(0), 0, b"x", false).unwrap();
    end.streams
        .on_reset_stream(NOW, client_bidi(0), 1, 1)
        .unwrap();
    end.streams.on_stop_sending(NOW, client_bidi(0), 1).unwrap();
    end.stream(client_bidi(1), 0, b"y", false).unwrap();
    assert_eq!(end.accept(Dir::Uni), None);
    let key = end.accept(Dir::Bi).unwrap();
    assert_eq!(end.id(key), client_bidi(1));
    // Half of one is still worth having.
    end.stream(client_bidi(2), 0, b"x", false).unwrap();
    end.streams
        .on_reset_stream(NOW, client_bidi(2), 6, 1)
        .unwrap();
    let key = end.accept(Dir::Bi).unwrap();
    assert_eq!(end.streams.read(NOW, key, 1), Err(ReadError::Reset(6)));
}

#[test]
fn new_streams_are_refused_and_old_ones_go_on() {
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Bi, b"old");
    pair.server
        .stream(client_bidi(2), 0, b"opened before", false)
        .unwrap();
    pair.server.streams.refuse_new(99);
    for _ in 0..3 {
        pair.client.open(Dir::Bi);
    }
    let late = pair.client.open(Dir::Bi);
    pair.client.write(late, b"late");
    pair.settle();
    assert_eq!(
        pair.client.streams.send_error(late),
        Some(WriteError::Stopped(99))
    );
    let result = pair.client.streams.read(NOW, late, 1);
    assert_eq!(result, Err(ReadError::Reset(99)));
    let accepted: Vec<_> = (0..2)
        .map(|_| pair.server.accept(Dir::Bi).unwrap())
        .collect();
    assert_eq!(pair.server.id(accepted[1]), client_bidi(2));
    assert_eq!(pair.server.accept(Dir::Bi), None);
    assert_eq!(pair.server.streams.stats().streams_refused, 1);
    pair.client.write(ours, b" and well");
    pair.settle();
    assert_eq!(pair.server.read(theirs).0, b"old and well");
}

#[test]
fn a_closed_connection_wakes_everybody_and_keeps_what_can_be_read() {
    let mut pair = Pair::new(StreamConfig::default());
    let (ours, theirs) = pair.opened(Dir::Bi, b"last words");
    assert_eq!(pair.client.read(ours), (Vec::new(), false));
    while pair
        .client
        .streams
        .write_slice(NOW, ours, &[1; 65_536])
        .is_ok()
    {}
    pair.client.streams.close();
    let events = pair.client.events();
    for event in [
        StreamEvent::Readable(ours),
        StreamEvent::Writable(ours),
        StreamEvent::Acceptable(Dir::Uni),
    ] {
        assert!(events.contains(&event), "{event:?} is not in {events:?}");
    }
    assert!(pair.client.packet().is_none());
    assert_eq!(
        pair.client.streams.read(NOW, ours, 1),
        Err(ReadError::Closed)
    );
    assert_eq!(
        pair.client.streams.send_error(ours),
        Some(WriteError::Closed)
    );
    let open = pair.client.streams.open(NOW, Dir::Bi);
    assert_eq!(open, Err(crate::stream::OpenError::Closed));
    pair.server.streams.close();
    let read = pair.server.streams.read(NOW, theirs, 100).unwrap();
    assert_eq!(read.unwrap(), b"last words"[..]);
    for (end, key) in [(&mut pair.client, ours), (&mut pair.server, theirs)] {
        end.streams.release(NOW, key, Half::Send);
        end.streams.release(NOW, key, Half::Recv);
        end.assert_empty();
        assert_eq!(end.memory.used(), 0);
    }
}
