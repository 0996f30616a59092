//! Streams and datagrams over QUIC on loopback.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Pair, echo, gate, pair, pattern, soon};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use weir::{Config, ConnectionError, DatagramError, Endpoint, HeldBy, StreamError, Via};

/// What is written comes back byte for byte, then the end.
#[tokio::test]
async fn a_stream_is_echoed() {
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    echo(server);
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(100)).await.unwrap(), b"hello");
    assert_eq!(send.id(), 0);
}

/// Both directions at once carry megabytes without a changed byte.
#[tokio::test]
async fn ten_megabytes_go_both_ways_at_once() {
    const SIZE: usize = 10 << 20;
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    let (down, up) = (pattern(1, SIZE), pattern(2, SIZE));
    let expected = up.clone();
    let serving = tokio::spawn({
        let mut down = down.clone();
        async move {
            let (mut send, mut recv) = server.accept_bi().await.unwrap();
            let sending = tokio::spawn(async move {
                send.write_chunk(&mut down).await.unwrap();
                send.finish().unwrap();
                send
            });
            let got = recv.read_to_end(SIZE).await.unwrap();
            assert!(got == expected);
            sending.await.unwrap();
            server
        }
    });
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    let sending = tokio::spawn(async move {
        let mut up = up;
        send.write_chunk(&mut up).await.unwrap();
        send.finish().unwrap();
        send
    });
    let got = soon(recv.read_to_end(SIZE)).await.unwrap();
    assert!(got == down);
    soon(sending).await.unwrap();
    soon(serving).await.unwrap();
}

/// A hundred streams at once, each with its own bytes.
#[tokio::test]
async fn a_hundred_streams_do_not_mix() {
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    echo(server);
    let mut tasks = Vec::new();
    for n in 0..100 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let (mut send, mut recv) = client.open_bi().await.unwrap();
            let mine = pattern(n, 20_000);
            let mut left = mine.clone();
            send.write_chunk(&mut left).await.unwrap();
            send.finish().unwrap();
            assert!(recv.read_to_end(20_000).await.unwrap() == mine);
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
}

/// One side's end leaves the other direction open.
#[tokio::test]
async fn a_half_that_ended_leaves_the_other_one_open() {
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"question").await.unwrap();
    send.finish().unwrap();
    let (mut answer, mut question) = soon(server.accept_bi()).await.unwrap();
    assert_eq!(soon(question.read_to_end(100)).await.unwrap(), b"question");
    for _ in 0..3 {
        answer.write_all(b"answer").await.unwrap();
        assert_eq!(
            &soon(recv.read_chunk(100)).await.unwrap().unwrap()[..],
            b"answer"
        );
    }
    answer.finish().unwrap();
    assert_eq!(soon(recv.read_chunk(100)).await.unwrap(), None);
}

/// The codes of a reset and of a stop reach the other side as they were given (RFC 9000 19.4, 19.5).
#[tokio::test]
async fn codes_of_reset_and_stop_arrive() {
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let (mut theirs, mut reading) = soon(server.accept_bi()).await.unwrap();
    assert!(soon(reading.read_chunk(1)).await.unwrap().is_some());
    send.reset(1 << 40);
    let error = soon(reading.read_chunk(1)).await.unwrap_err();
    assert_eq!(error, StreamError::Reset(1 << 40));
    recv.stop(77);
    assert_eq!(soon(theirs.stopped()).await, StreamError::Stopped(77));
    let write = theirs.write_all(b"more").await.unwrap_err();
    assert_eq!(write, StreamError::Stopped(77));
}

/// Unidirectional streams go one way, from either side; yamux says that it has none.
#[tokio::test]
async fn streams_of_one_direction() {
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let mut send = from.open_uni().await.unwrap();
        send.write_all(b"one way").await.unwrap();
        send.finish().unwrap();
        let mut recv = soon(to.accept_uni()).await.unwrap();
        assert_eq!(soon(recv.read_to_end(100)).await.unwrap(), b"one way");
        assert_eq!(recv.id(), send.id());
    }
    let Pair { client, .. } = pair(Via::Yamux, Config::default()).await;
    let none = client.open_uni().await.unwrap_err();
    assert_eq!(none, ConnectionError::NotCarried);
    let none = client.accept_uni().await.unwrap_err();
    assert_eq!(none, ConnectionError::NotCarried);
}

/// Datagrams arrive whole, and what is too long is refused with the length that would do (RFC 9221).
#[tokio::test]
async fn datagrams_pass_beside_the_streams() {
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    let max = client.max_datagram_size().unwrap();
    assert!(max > 1100, "{max}");
    for n in 0..10_u8 {
        client.send_datagram(Bytes::from(vec![n; 100])).unwrap();
        let got = soon(server.read_datagram()).await.unwrap();
        assert_eq!(got, vec![n; 100]);
    }
    let long = client
        .send_datagram(Bytes::from(vec![0; 70_000]))
        .unwrap_err();
    assert!(matches!(long, DatagramError::TooLarge { max } if max < 70_000));
    server.send_datagram(Bytes::from_static(b"back")).unwrap();
    assert_eq!(&soon(client.read_datagram()).await.unwrap()[..], b"back");
    client.close(0, "");
    assert!(soon(server.read_datagram()).await.is_err());
    let closed = client.send_datagram(Bytes::new()).unwrap_err();
    assert!(matches!(closed, DatagramError::Closed(_)), "{closed:?}");
}

/// A writer that the peer's window holds back waits, the reason is told, and reading frees it.
#[tokio::test]
async fn a_slow_reader_holds_the_writer_back() {
    let config = Config {
        stream_window: 256 << 10,
        max_stream_window: 256 << 10,
        send_buffer: 256 << 10,
        ..Config::default()
    };
    let Pair { client, server, .. } = pair(Via::Quic, config).await;
    let (mut send, _recv) = client.open_bi().await.unwrap();
    let writing = tokio::spawn(async move {
        let mut data = pattern(3, 2 << 20);
        send.write_chunk(&mut data).await.unwrap();
        send.finish().unwrap();
        send
    });
    let (_send, mut recv) = soon(server.accept_bi()).await.unwrap();
    soon(async {
        while client.stats().streams[0].send_held_by != HeldBy::PeerWindow {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!writing.is_finished());
    let got = soon(recv.read_to_end(2 << 20)).await.unwrap();
    assert!(got == pattern(3, 2 << 20));
    soon(writing).await.unwrap();
}

/// A flush waits until everything is sent, not until the peer has it: it ends on a path that swallows
/// everything, and does not end while the peer's window keeps bytes here.
#[tokio::test]
async fn a_flush_ends_when_everything_is_sent() {
    let quic = || Endpoint::builder().via(Via::Quic);
    let server = quic().bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("{}@{}", server.peer_id(), udp.local_addr().unwrap());
    let open = gate(server.local_addr(), udp).await;
    open.send_replace(true);
    let client = quic().client().await.unwrap();
    let (dialled, taken) = tokio::join!(client.connect(&target), server.accept());
    let (dialled, taken) = (dialled.unwrap(), taken.unwrap());
    let (mut send, mut recv) = dialled.open_bi().await.unwrap();
    send.write_all(b"question").await.unwrap();
    let (mut answer, mut question) = soon(taken.accept_bi()).await.unwrap();
    soon(question.read_chunk(100)).await.unwrap();
    answer.write_all(b"answer").await.unwrap();
    soon(recv.read_chunk(100)).await.unwrap();

    open.send_replace(false);
    send.write_all(&[1; 1000]).await.unwrap();
    soon(send.flush_all()).await.unwrap();
    assert!(dialled.stats().path.unwrap().in_flight >= 1000);

    // Nobody reads more than the window of a new stream.
    send.write_all(&[2; 600_000]).await.unwrap();
    open.send_replace(true);
    let held = timeout(Duration::from_millis(300), send.flush_all()).await;
    assert!(held.is_err(), "{held:?}");
    let reading = tokio::spawn(async move {
        let mut got = 0;
        while got < 601_000 {
            got += question.read_chunk(1 << 20).await.unwrap().unwrap().len();
        }
        question
    });
    soon(send.flush_all()).await.unwrap();
    soon(reading).await.unwrap();
}
