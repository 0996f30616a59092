//! How streams and connections end, and what travels beside streams.

use std::future::poll_fn;

use bytes::Bytes;
use quinn::VarInt;
use s2n_quic::provider::datagram::default as s2n_datagrams;
use weir_core::close::{CloseReason, Initiator, Layer};
use weir_peers::Conn;
use weir_quic::{Dir, Event, Key, ReadError, WriteError};

use crate::tls::Tls;
use crate::{q, s2n};

/// Waits for the end of the connection and says how it was.
pub(crate) async fn closed(conn: &Conn) -> CloseReason {
    conn.until("the end", |c, _, _| c.close_reason().cloned())
        .await
}

async fn stopped(conn: &Conn, key: Key) -> u64 {
    conn.until("STOP_SENDING", |c, _, _| match c.send_error(key) {
        Some(WriteError::Stopped(code)) => Some(code),
        _ => None,
    })
    .await
}

async fn codes_with_quinn(weir_is_client: bool) {
    let (conn, connection, _keep) = q::pair(weir_is_client, Tls::default(), |_| {}, |_| {}).await;
    // Ours is reset, theirs too.
    let key = conn.open(Dir::Bi).await.unwrap();
    conn.write_all(key, &b"hello"[..]).await.unwrap();
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    conn.with(|c, now| c.reset(now, key, 0x1234_5678));
    let error = recv.read_to_end(100).await.unwrap_err();
    let expected = quinn::ReadError::Reset(VarInt::from_u32(0x1234_5678));
    assert!(matches!(error, quinn::ReadToEndError::Read(error) if error == expected));
    send.reset(VarInt::from_u32(77)).unwrap();
    assert_eq!(conn.read_all(key).await, Err(ReadError::Reset(77)));
    // Each side stops the other.
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    let key = conn.accept(Dir::Bi).await.unwrap();
    conn.write_all(key, &b"hello"[..]).await.unwrap();
    conn.with(|c, now| c.stop(now, key, 99));
    assert_eq!(send.stopped().await.unwrap(), Some(VarInt::from_u32(99)));
    recv.stop(VarInt::from_u32(100)).unwrap();
    assert_eq!(stopped(&conn, key).await, 100);
}

#[tokio::test]
async fn stream_codes_pass_between_a_client_and_quinn() {
    codes_with_quinn(true).await;
}

#[tokio::test]
async fn stream_codes_pass_between_a_server_and_quinn() {
    codes_with_quinn(false).await;
}

fn stream_code(error: &s2n_quic::stream::Error) -> u64 {
    match error {
        s2n_quic::stream::Error::StreamReset { error, .. } => **error,
        error => panic!("{error:?}"),
    }
}

async fn codes_with_s2n(weir_is_client: bool) {
    let (conn, mut connection, _keep) =
        s2n::pair(weir_is_client, Tls::default(), |_| {}, s2n::limits()).await;
    let key = conn.open(Dir::Bi).await.unwrap();
    conn.write_all(key, &b"hello"[..]).await.unwrap();
    let stream = connection
        .accept_bidirectional_stream()
        .await
        .unwrap()
        .unwrap();
    let (mut recv, mut send) = stream.split();
    conn.with(|c, now| c.reset(now, key, 0x1234_5678));
    let error = loop {
        match recv.receive().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an end instead of a reset"),
            Err(error) => break error,
        }
    };
    assert_eq!(stream_code(&error), 0x1234_5678);
    send.reset(77u32.into()).unwrap();
    assert_eq!(conn.read_all(key).await, Err(ReadError::Reset(77)));
    let stream = connection.open_bidirectional_stream().await.unwrap();
    let (mut recv, mut send) = stream.split();
    send.send(Bytes::from_static(b"hello")).await.unwrap();
    let key = conn.accept(Dir::Bi).await.unwrap();
    conn.write_all(key, &b"hello"[..]).await.unwrap();
    conn.with(|c, now| c.stop(now, key, 99));
    let error = loop {
        if let Err(error) = send.send(Bytes::from_static(&[0; 1000])).await {
            break error;
        }
    };
    assert_eq!(stream_code(&error), 99);
    recv.stop_sending(100u32.into()).unwrap();
    assert_eq!(stopped(&conn, key).await, 100);
}

#[tokio::test]
async fn stream_codes_pass_between_a_client_and_s2n() {
    codes_with_s2n(true).await;
}

#[tokio::test]
async fn stream_codes_pass_between_a_server_and_s2n() {
    codes_with_s2n(false).await;
}

const CODE: u64 = 0x3fff_1234;
const WORDS: &str = "enough for today: schöne Grüße";

#[tokio::test]
async fn quinn_reads_why_the_engine_closed() {
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) =
            q::pair(weir_is_client, Tls::default(), |_| {}, |_| {}).await;
        conn.with(|c, now| c.close(now, CODE, WORDS));
        match connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code.into_inner(), CODE);
                assert_eq!(close.reason, WORDS.as_bytes());
            }
            other => panic!("{other:?}"),
        }
        conn.event("the end of draining", |event| {
            matches!(event, Event::Drained)
        })
        .await;
    }
}

#[tokio::test]
async fn the_engine_reads_why_quinn_closed() {
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) =
            q::pair(weir_is_client, Tls::default(), |_| {}, |_| {}).await;
        connection.close(VarInt::from_u64(CODE).unwrap(), WORDS.as_bytes());
        let expected = CloseReason::new(Initiator::Peer, Layer::Application, CODE, WORDS);
        assert_eq!(closed(&conn).await, expected);
    }
}

// s2n-quic neither sends nor shows the words of an application.
#[tokio::test]
async fn close_codes_pass_to_and_from_s2n() {
    for weir_is_client in [true, false] {
        let spec = || s2n::pair(weir_is_client, Tls::default(), |_| {}, s2n::limits());
        let (conn, mut connection, _keep) = spec().await;
        conn.with(|c, now| c.close(now, CODE, WORDS));
        match connection.accept().await {
            Err(s2n_quic::connection::Error::Application { error, .. }) => assert_eq!(*error, CODE),
            other => panic!("{other:?}"),
        }
        let (conn, connection, _keep) = spec().await;
        connection.close((CODE as u32).into());
        let reason = closed(&conn).await;
        assert_eq!(
            (reason.by, reason.layer),
            (Initiator::Peer, Layer::Application)
        );
        assert_eq!(reason.code, CODE);
    }
}

async fn datagram(conn: &Conn) -> Bytes {
    conn.until("a datagram", |c, _, _| c.recv_datagram()).await
}

#[tokio::test]
async fn datagrams_to_and_from_quinn() {
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) =
            q::pair(weir_is_client, Tls::default(), |_| {}, |_| {}).await;
        let largest = conn.with(|c, _| c.max_datagram_size()).unwrap();
        for len in [0, 1, 1000, largest] {
            let data = crate::pattern(len);
            conn.with(|c, _| c.send_datagram(data.clone())).unwrap();
            assert_eq!(connection.read_datagram().await.unwrap(), data);
        }
        for len in [0, 1, 1000, connection.max_datagram_size().unwrap()] {
            let data = crate::pattern(len);
            connection.send_datagram(data.clone()).unwrap();
            assert_eq!(datagram(&conn).await, data);
        }
    }
}

#[tokio::test]
async fn datagrams_to_and_from_s2n() {
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) =
            s2n::pair(weir_is_client, Tls::default(), |_| {}, s2n::limits()).await;
        for len in [1, 1000] {
            let data = crate::pattern(len);
            conn.with(|c, _| c.send_datagram(data.clone())).unwrap();
            let received = poll_fn(|cx| {
                let poll = connection.datagram_mut(|receiver: &mut s2n_datagrams::Receiver| {
                    receiver.poll_recv_datagram(cx)
                });
                poll.unwrap()
            });
            assert_eq!(received.await.unwrap(), data);
            let sent = connection.datagram_mut(|sender: &mut s2n_datagrams::Sender| {
                sender.send_datagram(data.clone())
            });
            sent.unwrap().unwrap();
            assert_eq!(datagram(&conn).await, data);
        }
    }
}
