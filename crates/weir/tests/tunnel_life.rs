//! The life of a tunnel: lost connections, drains, what is said at the end, and what its status shows.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod tunnel_common;

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tunnel_common::{
    Client, NEVER, Place, Server, Tunnel, check_echo, client_config, closed_port, echo, exchange,
    identity, pattern, serve, soon, until,
};
use weir::tunnel::{
    AllowPeers, ClientError, ForwardKind, ServerConfig, StreamPhase, TunnelClient, TunnelState,
};
use weir::{Endpoint, Via};

#[tokio::test]
async fn a_tunnel_outlives_its_server() {
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let (place, mut server, client) = Place::start(&[("-L", &to), ("-R", &to)]).await;
    let (local, remote) = (client.local[0], client.remote[0].unwrap());
    for round in 0..3_u64 {
        check_echo(local, b"before the crash").await;
        check_echo(remote, b"before the crash").await;
        let running = TcpStream::connect(local).await.unwrap();
        until("the stream", || !client.view.status().streams.is_empty()).await;
        server.crash().await;
        // What ran is broken off, not left hanging.
        let mut running = running;
        assert!(soon("the reset", running.read_u8()).await.is_err());
        until("the loss", || {
            client.view.status().state == TunnelState::Connecting
        })
        .await;
        // The forward is still bound; who comes now waits.
        let waiting = tokio::spawn(async move {
            let stream = TcpStream::connect(local).await.unwrap();
            exchange(stream, b"patience").await.unwrap()
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        server = place.serve().await;
        assert_eq!(soon("the patient one", waiting).await.unwrap(), b"patience");
        until("the connection", || {
            client.view.status().state == TunnelState::Connected
        })
        .await;
        let status = client.view.status();
        assert_eq!(status.reconnects, round + 1);
        assert!(status.last_end.is_some());
        // The listens come back at the same port, though the system chose it.
        until("the listen", || {
            std::net::TcpStream::connect_timeout(&remote, Duration::from_secs(1)).is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn who_waits_too_long_for_a_connection_is_refused() {
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let identity_of_client = identity();
    let id = identity();
    let mut peers = AllowPeers::none();
    peers.add(identity_of_client.peer_id());
    let peer = id.peer_id();
    let server = Server::start(
        id,
        "127.0.0.1:0",
        Via::Yamux,
        peers,
        ServerConfig::default(),
    )
    .await;
    let mut config = client_config(&format!("{peer}@{}", server.address), &[("-L", &to)]);
    config.wait_for_connection = Duration::from_millis(300);
    let client = Client::start(identity_of_client, Via::Yamux, config).await;
    server.crash().await;
    until("the loss", || {
        client.view.status().state == TunnelState::Connecting
    })
    .await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(client.local[0]).await.unwrap();
    assert!(soon("the reset", stream.read_u8()).await.is_err());
    assert!(
        began.elapsed() >= Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn the_first_dial_that_fails_is_an_error() {
    let (_held, nobody) = closed_port();
    let peer = format!("{}@{nobody}", identity().peer_id());
    let endpoint = Endpoint::builder()
        .identity(identity())
        .client()
        .await
        .unwrap();
    let result = TunnelClient::start(endpoint, client_config(&peer, &[])).await;
    assert!(matches!(result.err(), Some(ClientError::Connect(_))));
}

#[tokio::test]
async fn with_patience_the_first_dial_is_tried_again() {
    let (held, nobody) = closed_port();
    let place = Place {
        identity: identity(),
        friend: identity(),
        bind: nobody.to_string(),
    };
    let mut config = client_config(&format!("{}@{nobody}", place.identity.peer_id()), &[]);
    config.retry_first = true;
    config.backoff.min = Duration::from_millis(20);
    let starting = tokio::spawn(Client::start(place.friend.clone(), Via::Yamux, config));
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(held);
    let _server = place.serve().await;
    soon("the client", starting).await.unwrap();
}

/// A server that answers when it is told to, and a forward to it.
async fn slow() -> (watch::Sender<bool>, String) {
    let (answer, may_answer) = watch::channel(false);
    let address = serve("127.0.0.1:0", move |mut stream| {
        let mut may_answer = may_answer.clone();
        async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await?;
            let told = may_answer.wait_for(|may| *may).await;
            told.map_err(std::io::Error::other)?;
            stream.write_all(&all).await?;
            stream.shutdown().await
        }
    })
    .await;
    (answer, format!("0:{address}"))
}

#[tokio::test]
async fn a_client_that_drains_finishes_what_runs_and_takes_nothing_new() {
    let (answer, to) = slow().await;
    let tunnel = Tunnel::with(ServerConfig::default(), &[("-L", &to)], |config| {
        config.grace = NEVER;
    })
    .await;
    let local = tunnel.client.local[0];
    let running = TcpStream::connect(local).await.unwrap();
    let data = pattern(100_000, 1);
    let exchange = tokio::spawn({
        let data = data.clone();
        async move { exchange(running, &data).await }
    });
    until("the stream", || {
        !tunnel.client.view.status().streams.is_empty()
    })
    .await;
    tunnel.client.stop.drain("Ctrl-C");
    until("the drain", || {
        tunnel.client.view.status().state == TunnelState::Draining
    })
    .await;
    until("the end of listening", || {
        std::net::TcpStream::connect(local).is_err()
    })
    .await;
    answer.send_replace(true);
    assert!(soon("the answer", exchange).await.unwrap().unwrap() == data);
    soon("the end of the client", tunnel.client.task)
        .await
        .unwrap();
    tunnel.server.stop.drain("end of the test");
    soon("the end of the server", tunnel.server.task)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_drain_is_over_when_its_grace_is() {
    let (_answer, to) = slow().await;
    let tunnel = Tunnel::with(ServerConfig::default(), &[("-L", &to)], |config| {
        config.grace = Duration::from_millis(300);
    })
    .await;
    let mut stream = TcpStream::connect(tunnel.client.local[0]).await.unwrap();
    stream.shutdown().await.unwrap();
    until("the stream", || {
        !tunnel.client.view.status().streams.is_empty()
    })
    .await;
    let began = Instant::now();
    tunnel.client.stop.drain("Ctrl-C");
    assert!(
        soon("the reset", stream.read_u8()).await.is_err(),
        "cut off, not ended"
    );
    soon("the end of the client", tunnel.client.task)
        .await
        .unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_second_word_ends_a_drain_at_once() {
    let (_answer, to) = slow().await;
    let tunnel = Tunnel::with(ServerConfig::default(), &[("-L", &to)], |config| {
        config.grace = NEVER;
    })
    .await;
    let _stream = TcpStream::connect(tunnel.client.local[0]).await.unwrap();
    until("the stream", || {
        !tunnel.client.view.status().streams.is_empty()
    })
    .await;
    tunnel.client.stop.drain("Ctrl-C");
    tokio::time::sleep(Duration::from_millis(50)).await;
    tunnel.client.stop.now("Ctrl-C again");
    soon("the end of the client", tunnel.client.task)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_drains_finishes_what_runs_and_tells_the_client() {
    let (answer, to) = slow().await;
    let (place, server, client) = Place::start(&[("-L", &to), ("-R", &to)]).await;
    let local = client.local[0];
    let running = TcpStream::connect(local).await.unwrap();
    let exchange = tokio::spawn(exchange(running, b"in time"));
    until("the stream", || !client.view.status().streams.is_empty()).await;
    server.stop.drain("maintenance");
    until("the news", || {
        client
            .view
            .status()
            .last_end
            .is_some_and(|end| end.contains("maintenance"))
    })
    .await;
    answer.send_replace(true);
    assert_eq!(
        soon("the answer", exchange).await.unwrap().unwrap(),
        b"in time"
    );
    soon("the end of the server", server.task).await.unwrap();
    server.endpoint.close(0, "over");
    drop(server.endpoint);
    let _server = place.serve().await;
    until("the connection", || {
        client.view.status().state == TunnelState::Connected
    })
    .await;
}

#[tokio::test]
async fn the_status_shows_streams_and_what_holds_them() {
    let stalls = serve("127.0.0.1:0", |stream| async move {
        tokio::time::sleep(NEVER).await;
        drop(stream);
        Ok(())
    })
    .await;
    let to = format!("0:{stalls}");
    let tunnel = Tunnel::start(&[("-L", &to), ("-D", "0"), ("-R", "0:127.0.0.1:9")]).await;
    let status = tunnel.client.view.status();
    assert_eq!(status.state, TunnelState::Connected);
    let kinds: Vec<_> = status.forwards.iter().map(|forward| forward.kind).collect();
    assert_eq!(
        kinds,
        [ForwardKind::Local, ForwardKind::Remote, ForwardKind::Socks]
    );
    let connection = status.connection.unwrap();
    assert_eq!(connection.via, "yamux");
    assert_eq!(connection.remote, tunnel.server.address.to_string());

    let stream = TcpStream::connect(tunnel.client.local[0]).await.unwrap();
    let data = vec![0; 1 << 20];
    // More than every buffer between the two ends.
    let full = tokio::spawn(async move {
        let mut stream = stream;
        for _ in 0..256 {
            stream.write_all(&data).await.unwrap();
        }
    });
    until("the stall", || {
        let stalled = |stream: &weir::tunnel::StreamStatus| {
            stream.phase == StreamPhase::Open && stream.send_held_by == "peer's window"
        };
        tunnel
            .client
            .view
            .status()
            .streams
            .first()
            .is_some_and(stalled)
    })
    .await;
    let status = tunnel.client.view.status();
    let stream = &status.streams[0];
    assert_eq!(
        (stream.kind, stream.phase),
        (ForwardKind::Local, StreamPhase::Open)
    );
    assert_eq!(stream.to, stalls.to_string());
    assert!(stream.stream.is_some() && stream.sent > 0);
    assert_eq!(stream.held_by(), "peer's window (sending)");
    full.abort();
}

/// After a broken path the listening side may still hold the old connection: the newer one of the same peer gets the
/// address, and the older one is told and gives up.
#[tokio::test]
async fn a_newer_connection_of_the_same_peer_takes_a_listen_over() {
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let (place, server, older) = Place::start(&[("-R", &to)]).await;
    let bound = older.remote[0].unwrap();
    check_echo(bound, b"older").await;
    let banner = serve("127.0.0.1:0", |mut stream| async move {
        stream.write_all(b"newer").await?;
        stream.shutdown().await
    })
    .await;
    let peer = format!("{}@{}", place.identity.peer_id(), server.address);
    let forward = format!("{bound}:{banner}");
    let config = client_config(&peer, &[("-R", &forward)]);
    let newer = Client::start(place.friend.clone(), Via::Yamux, config).await;
    assert_eq!(newer.remote, [Some(bound)]);
    // Long enough for several of the older one's pauses, were it to ask again.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut text = String::new();
    let mut stream = TcpStream::connect(bound).await.unwrap();
    soon("the newer one", stream.read_to_string(&mut text))
        .await
        .unwrap();
    assert_eq!(text, "newer");
    assert_eq!(older.view.status().forwards[0].bind, None);
}

/// Another peer cannot take an address over.
#[tokio::test]
async fn another_peer_takes_nothing_over() {
    let (server_id, first, second) = (identity(), identity(), identity());
    let mut peers = AllowPeers::none();
    peers.add(first.peer_id());
    peers.add(second.peer_id());
    let peer = server_id.peer_id();
    let config = ServerConfig::default();
    let server = Server::start(server_id, "127.0.0.1:0", Via::Yamux, peers, config).await;
    let peer = format!("{peer}@{}", server.address);
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let client = Client::start(first, Via::Yamux, client_config(&peer, &[("-R", &to)])).await;
    let bound = client.remote[0].unwrap();
    let forward = format!("{bound}:127.0.0.1:9");
    let endpoint = Endpoint::builder().identity(second).client().await.unwrap();
    let config = client_config(&peer, &[("-R", &forward)]);
    let error = soon("the refusal", TunnelClient::start(endpoint, config))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("in use"), "{error}");
    check_echo(bound, b"still mine").await;
}

/// What `weir connect --status` reads.
#[cfg(unix)]
#[tokio::test]
async fn a_running_tunnel_is_found_and_asked() {
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let tunnel = Tunnel::with(ServerConfig::default(), &[("-L", &to)], |config| {
        config.status_socket = true;
    })
    .await;
    let _stream = TcpStream::connect(tunnel.client.local[0]).await.unwrap();
    until("the stream", || {
        !tunnel.client.view.status().streams.is_empty()
    })
    .await;
    let peer = tunnel.client.view.status().peer;
    let own = |status: &weir::tunnel::Status| status.peer == peer;
    let all = soon("the answers", weir::tunnel::running()).await.unwrap();
    let status = all.into_iter().find(own).expect("this tunnel among them");
    assert_eq!(status.pid, std::process::id());
    assert_eq!(status.streams.len(), 1);
    tunnel.client.stop.now("end of the test");
    soon("the end of the client", tunnel.client.task)
        .await
        .unwrap();
    let all = soon("the answers", weir::tunnel::running()).await.unwrap();
    assert!(!all.iter().any(own), "it is gone");
}
