//! How connections begin, end and fail.

mod common;

use std::time::Duration;

use common::{Cut, Pair, echo, pair, pair_through, pattern, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir::{Config, ConnectError, ConnectionError, Endpoint, HeldBy, Identity, StreamError, Via};

/// Y59: another key than the one asked for is refused, and both are named.
#[tokio::test]
async fn the_wrong_peer_is_refused_by_name() {
    let server = Endpoint::builder().bind("127.0.0.1:0").await.unwrap();
    let client = Endpoint::builder().client().await.unwrap();
    let expected = Identity::generate().unwrap().peer_id();
    let target = format!("{expected}@{}", server.local_addr());
    let error = soon(client.connect(&target)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&expected.to_string()), "{text}");
    assert!(text.contains(&server.peer_id().to_string()), "{text}");
}

/// Both sides know each other by their keys.
#[tokio::test]
async fn both_sides_are_authenticated() {
    let Pair {
        client,
        server,
        client_endpoint,
        server_endpoint,
    } = pair(Via::Yamux, Config::default()).await;
    assert_eq!(client.peer_id(), Some(server_endpoint.peer_id()));
    assert_eq!(server.peer_id(), Some(client_endpoint.peer_id()));
}

/// Y49: both sides learn that, and by whom, the connection was closed.
#[tokio::test]
async fn a_close_reaches_everyone() {
    for via in [Via::YamuxPlain, Via::Yamux] {
        let Pair { client, server, .. } = pair(via, Config::default()).await;
        let (_send, mut recv) = client.open_bi().await.unwrap();
        let waiting = tokio::spawn(async move { recv.read_chunk(1).await });
        let accepting = {
            let server = server.clone();
            tokio::spawn(async move { while server.accept_bi().await.is_ok() {} })
        };
        client.close(0, "done for today");
        let ours = soon(client.closed()).await;
        assert!(ours.to_string().contains("done for today"), "{ours}");
        soon(server.closed()).await;
        let read = soon(waiting).await.unwrap();
        assert!(matches!(read, Err(StreamError::Closed(_))), "{read:?}");
        soon(accepting).await.unwrap();
        let open = client.open_bi().await;
        assert!(matches!(open, Err(ConnectionError::Closed(_))), "{open:?}");
    }
}

/// Y50: a carrier that breaks ends every stream and every waiting call at once, on both sides.
#[tokio::test]
async fn a_cut_carrier_ends_everything_at_once() {
    for via in [Via::YamuxPlain, Via::Yamux] {
        let cut = Cut::new();
        let Pair { client, server, .. } = pair_through(via, Config::default(), Some(&cut)).await;
        echo(server.clone());
        let (mut send, mut recv) = client.open_bi().await.unwrap();
        let writer = tokio::spawn(async move {
            loop {
                let mut bytes = pattern(1, 1 << 20);
                if let Err(error) = send.write_chunk(&mut bytes).await {
                    return error;
                }
            }
        });
        assert!(soon(recv.read_chunk(1)).await.unwrap().is_some());
        cut.now();
        let error = soon(writer).await.unwrap();
        assert!(matches!(error, StreamError::Closed(_)), "{error:?}");
        let reason = soon(client.closed()).await;
        assert!(!reason.is_clean(), "{reason}");
        soon(server.closed()).await;
        // What had arrived may be read; then comes the error, and never an end of stream.
        let last = loop {
            match soon(recv.read_chunk(1 << 20)).await {
                Ok(Some(_)) => {}
                last => break last,
            }
        };
        assert!(matches!(last, Err(StreamError::Closed(_))), "{last:?}");
    }
}

/// Y47: draining lets the running stream finish and refuses new ones.
#[tokio::test]
async fn a_drained_connection_finishes_its_streams() {
    let Pair { client, server, .. } = pair(Via::YamuxPlain, Config::default()).await;
    echo(server.clone());
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"before").await.unwrap();
    assert_eq!(soon(recv.read_chunk(64)).await.unwrap().unwrap(), "before");
    server.drain();
    let refused = soon(async {
        loop {
            match client.open_bi().await {
                Err(error) => break error,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(refused, ConnectionError::GoingAway);
    send.write_all(b" and after").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(64)).await.unwrap(), b" and after");
}

/// Y54: bytes of another protocol end their own connection and no other.
#[tokio::test]
async fn garbage_harms_only_itself() {
    for via in [Via::YamuxPlain, Via::Yamux] {
        let Pair {
            client,
            server,
            server_endpoint,
            ..
        } = pair(via, Config::default()).await;
        echo(server);
        let taking = server_endpoint.clone();
        tokio::spawn(async move { while taking.accept().await.is_some() {} });
        for seed in 0..20 {
            let mut raw = TcpStream::connect(server_endpoint.local_addr())
                .await
                .unwrap();
            // The server may hang up in the middle of it.
            let _ = raw.write_all(&pattern(seed, 10_000)).await;
            let mut answer = Vec::new();
            let _ = soon(raw.read_to_end(&mut answer)).await;
            assert!(
                answer.len() < 1000,
                "{} bytes of answer to garbage",
                answer.len()
            );
        }
        let (mut send, mut recv) = client.open_bi().await.unwrap();
        send.write_all(b"still here").await.unwrap();
        send.finish().unwrap();
        assert_eq!(soon(recv.read_to_end(64)).await.unwrap(), b"still here");
    }
}

/// A client that connects and says nothing does not hold its place for ever.
#[tokio::test]
async fn a_silent_handshake_ends_in_time() {
    let config = Config {
        handshake_timeout: Duration::from_millis(200),
        max_handshakes: 1,
        ..Config::default()
    };
    let server = Endpoint::builder()
        .config(config)
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let _silent = TcpStream::connect(server.local_addr()).await.unwrap();
    let client = Endpoint::builder().client().await.unwrap();
    let target = format!("{}@{}", server.peer_id(), server.local_addr());
    // A machine that is slower than the limit needs more than one attempt.
    let connecting = soon(async { while client.connect(&target).await.is_err() {} });
    let ((), taken) = tokio::join!(connecting, soon(server.accept()));
    assert!(taken.is_some());
}

/// The memory that a peer can make a connection hold is bounded, whatever it sends.
#[tokio::test]
async fn unread_data_stays_within_the_connections_memory() {
    let config = Config {
        connection_memory: 2 << 20,
        ..Config::default()
    };
    let Pair { client, server, .. } = pair(Via::YamuxPlain, config).await;
    let mut writers = Vec::new();
    for number in 0..64 {
        let (mut send, recv) = client.open_bi().await.unwrap();
        writers.push(tokio::spawn(async move {
            let mut bytes = pattern(number, 256 << 10);
            let _ = send.write_chunk(&mut bytes).await;
            (send, recv)
        }));
    }
    let taking = server.clone();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(halves) = taking.accept_bi().await {
            held.push(halves);
        }
        held
    });
    // All 16 MiB are within the windows; the connection may hold 2 MiB of them. What it cannot hold
    // it resets, stream by stream.
    let mut written = Vec::new();
    for writer in writers {
        written.push(soon(writer).await.unwrap());
    }
    soon(async {
        while server.stats().discarded == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    held.abort();
    let stats = server.stats();
    assert_eq!(stats.memory_limit, 2 << 20);
    assert!(stats.memory_used <= stats.memory_limit, "{stats:?}");
    assert!(stats.received > stats.memory_limit, "{stats:?}");
    let unread: u64 = stats.streams.iter().map(|stream| stream.unread).sum();
    assert!(unread <= stats.memory_limit, "{unread} bytes unread");
    // The connection goes on.
    drop(written);
    echo(server.clone());
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"alive").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(64)).await.unwrap(), b"alive");
}

/// A peer that takes no bytes cannot keep a connection that was closed, nor its memory.
#[tokio::test]
async fn a_peer_that_reads_nothing_cannot_keep_a_closed_connection() {
    let server = Endpoint::builder()
        .via(Via::YamuxPlain)
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let mut raw = TcpStream::connect(server.local_addr()).await.unwrap();
    // A window update with SYN for stream 1 that grants 64 MiB.
    raw.write_all(&[0, 1, 0, 1, 0, 0, 0, 1, 4, 0, 0, 0])
        .await
        .unwrap();
    let connection = soon(server.accept()).await.unwrap();
    let (mut send, recv) = soon(connection.accept_bi()).await.unwrap();
    let writer = tokio::spawn(async move {
        let mut bytes = pattern(1, 48 << 20);
        send.write_chunk(&mut bytes).await
    });
    soon(async {
        while connection
            .stats()
            .streams
            .iter()
            .all(|s| s.send_held_by != HeldBy::Carrier)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    connection.close(0, "enough");
    assert!(soon(writer).await.unwrap().is_err());
    drop((recv, connection));
    soon(async {
        while server.budget().used() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Only now does the peer look, and finds the end of it.
    let mut rest = Vec::new();
    let _ = soon(raw.read_to_end(&mut rest)).await;
}
