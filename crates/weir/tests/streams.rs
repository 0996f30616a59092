//! What an application may rely on from streams, over every multiplexed way.

mod common;

use bytes::Bytes;
use common::{Pair, echo, pair, pattern, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::{Config, HeldBy, Stream, StreamError, Via};

const MULTIPLEXED: [Via; 2] = [Via::YamuxPlain, Via::Yamux];

/// Y34: exact bytes, both ways at once.
#[tokio::test]
async fn every_byte_comes_back() {
    for via in MULTIPLEXED {
        let Pair { client, server, .. } = pair(via, Config::default()).await;
        echo(server);
        let sent = pattern(1, 24 << 20);
        let (mut send, mut recv) = client.open_bi().await.unwrap();
        let mut out = sent.clone();
        let writer = tokio::spawn(async move {
            send.write_chunk(&mut out).await.unwrap();
            send.finish().unwrap();
        });
        let back = soon(recv.read_to_end(sent.len())).await.unwrap();
        writer.await.unwrap();
        assert!(
            back == sent,
            "via {via}: {} bytes of {} differ",
            back.len(),
            sent.len()
        );
    }
}

/// Y34: the same through `AsyncRead` and `AsyncWrite`, with small buffers.
#[tokio::test]
async fn async_read_and_write_carry_the_same_bytes() {
    let Pair { client, server, .. } = pair(Via::YamuxPlain, Config::default()).await;
    echo(server);
    let sent = pattern(2, 700_001);
    let stream = Stream::from(client.open_bi().await.unwrap());
    let (mut read, mut write) = tokio::io::split(stream);
    let out = sent.clone();
    tokio::spawn(async move {
        for piece in out.chunks(997) {
            write.write_all(piece).await.unwrap();
        }
        write.flush().await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    soon(read.read_to_end(&mut back)).await.unwrap();
    assert!(back == sent);
}

/// Y35, Y36: one side ends its half, the other half goes on.
#[tokio::test]
async fn half_close_passes_in_both_directions() {
    for via in MULTIPLEXED {
        let Pair { client, server, .. } = pair(via, Config::default()).await;
        let (mut send, mut recv) = client.open_bi().await.unwrap();
        send.write_all(b"question").await.unwrap();
        send.finish().unwrap();
        let (mut answer, mut asked) = soon(server.accept_bi()).await.unwrap();
        assert_eq!(soon(asked.read_to_end(64)).await.unwrap(), b"question");
        assert_eq!(send.write(b"more").await, Err(StreamError::Finished));
        answer.write_all(b"answer").await.unwrap();
        answer.finish().unwrap();
        assert_eq!(soon(recv.read_to_end(64)).await.unwrap(), b"answer");
    }
}

/// Y38: a reset ends both halves on the other side, and wakes who waits there.
#[tokio::test]
async fn a_reset_reaches_reader_and_writer() {
    for via in MULTIPLEXED {
        let Pair { client, server, .. } = pair(via, Config::default()).await;
        let (mut send, _recv) = client.open_bi().await.unwrap();
        send.write_all(b"x").await.unwrap();
        let (mut answer, mut asked) = soon(server.accept_bi()).await.unwrap();
        assert_eq!(
            soon(asked.read_chunk(8)).await.unwrap(),
            Some(Bytes::from_static(b"x"))
        );
        let waiting = tokio::spawn(async move { asked.read_chunk(8).await });
        let stopped = tokio::spawn(async move {
            let error = answer.stopped().await;
            (error, answer.write(b"y").await)
        });
        send.reset(7);
        let read = soon(waiting).await.unwrap();
        assert!(matches!(read, Err(StreamError::Reset(_))), "{read:?}");
        let (error, write) = soon(stopped).await.unwrap();
        assert!(matches!(error, StreamError::Reset(_)), "{error:?}");
        assert!(matches!(write, Err(StreamError::Reset(_))), "{write:?}");
    }
}

/// Y41: a handle that is dropped unfinished never looks like a whole stream to the peer.
#[tokio::test]
async fn dropping_an_unfinished_stream_is_a_reset() {
    let Pair { client, server, .. } = pair(Via::YamuxPlain, Config::default()).await;
    let (mut send, recv) = client.open_bi().await.unwrap();
    send.write_all(b"half a sent").await.unwrap();
    let (_answer, mut asked) = soon(server.accept_bi()).await.unwrap();
    assert!(soon(asked.read_chunk(64)).await.unwrap().is_some());
    drop((send, recv));
    assert!(matches!(
        soon(asked.read_chunk(64)).await,
        Err(StreamError::Reset(_))
    ));
}

/// Y34, Y53: ten thousand streams at once on one connection, each with its own bytes.
#[tokio::test]
async fn ten_thousand_streams_at_once() {
    let Pair { client, server, .. } = pair(Via::YamuxPlain, Config::default()).await;
    echo(server);
    let mut open = Vec::new();
    for number in 0..10_000_u64 {
        let (mut send, recv) = soon(client.open_bi()).await.unwrap();
        let mut bytes = pattern(number, 100);
        send.write_chunk(&mut bytes).await.unwrap();
        open.push((number, send, recv));
    }
    assert_eq!(client.open_streams(), 10_000);
    for (number, mut send, mut recv) in open {
        send.finish().unwrap();
        assert!(soon(recv.read_to_end(1000)).await.unwrap() == pattern(number, 100));
    }
}

/// Y30: a stream that nobody reads stalls itself alone, and says why.
#[tokio::test]
async fn a_stalled_stream_says_why_and_stops_nobody_else() {
    let config = Config {
        max_stream_window: 256 << 10,
        ..Config::default()
    };
    let Pair { client, server, .. } = pair(Via::YamuxPlain, config).await;
    let (mut stalled, _recv) = client.open_bi().await.unwrap();
    let stalled_id = stalled.id();
    let writer = tokio::spawn(async move {
        let mut all = pattern(3, 8 << 20);
        let _ = stalled.write_chunk(&mut all).await;
    });
    let unread = soon(server.accept_bi()).await.unwrap();
    echo(server);
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    let mut bytes = pattern(4, 2 << 20);
    let sent = bytes.clone();
    tokio::spawn(async move {
        send.write_chunk(&mut bytes).await.unwrap();
        send.finish().unwrap();
    });
    assert!(soon(recv.read_to_end(4 << 20)).await.unwrap() == sent);
    let stats = client.stats();
    let stream = stats
        .streams
        .iter()
        .find(|stream| stream.id == stalled_id)
        .unwrap();
    assert_eq!(stream.send_held_by, HeldBy::PeerWindow);
    assert_eq!(stream.send_window, 0);
    assert_eq!(stream.sent, 256 << 10);
    drop(unread);
    writer.abort();
}

/// Cancelling a write leaves in the caller's `Bytes` exactly what was not written.
#[tokio::test]
async fn a_cancelled_write_loses_and_doubles_nothing() {
    let config = Config {
        max_stream_window: 256 << 10,
        send_buffer: 64 << 10,
        ..Config::default()
    };
    let Pair { client, server, .. } = pair(Via::YamuxPlain, config).await;
    let (mut send, _recv) = client.open_bi().await.unwrap();
    let all = pattern(5, 3 << 20);
    let mut left = all.clone();
    // Each round is cancelled as soon as the write has to wait.
    let mut reader = None;
    while !left.is_empty() {
        tokio::select! {
            biased;
            result = send.write_chunk(&mut left) => result.unwrap(),
            () = tokio::task::yield_now() => {}
        }
        if reader.is_none() {
            let (answer, mut asked) = soon(server.accept_bi()).await.unwrap();
            reader = Some(tokio::spawn(async move {
                let read = asked.read_to_end(4 << 20).await;
                drop(answer);
                read
            }));
        }
    }
    send.finish().unwrap();
    assert!(soon(reader.unwrap()).await.unwrap().unwrap() == all);
}
