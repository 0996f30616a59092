//! Who is let in, what they may reach, where they may listen, and how a refusal is told.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod tunnel_common;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tunnel_common::{
    Client, Names, Server, Tunnel, check_echo, client_config, echo, identity, socks_name, socks5,
};
use weir::tunnel::{
    AllowListen, AllowPeers, AllowTo, ClientConfig, ClientError, ServerConfig, TunnelClient,
};
use weir::{Endpoint, Identity, Via};

/// What a client that cannot start says.
async fn fails(identity: Identity, via: Via, config: ClientConfig) -> ClientError {
    let endpoint = Endpoint::builder()
        .identity(identity)
        .via(via)
        .client()
        .await
        .unwrap();
    match timeout(tunnel_common::SOON, TunnelClient::start(endpoint, config)).await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) => panic!("it was let in"),
        Err(_) => panic!("it was not told"),
    }
}

async fn server(peers: AllowPeers, via: Via, config: ServerConfig) -> (Server, String) {
    let id = identity();
    let peer = id.peer_id();
    let server = Server::start(id, "127.0.0.1:0", via, peers, config).await;
    let address = match via {
        Via::Yamux => format!("{peer}@{}", server.address),
        _ => server.address.to_string(),
    };
    (server, address)
}

#[tokio::test]
async fn a_stranger_is_turned_away_and_told_why() {
    let mut peers = AllowPeers::none();
    peers.add(identity().peer_id());
    let (_server, address) = server(peers, Via::Yamux, ServerConfig::default()).await;
    let stranger = identity();
    let id = stranger.peer_id().to_string();
    let error = fails(stranger, Via::Yamux, client_config(&address, &[])).await;
    assert!(matches!(error, ClientError::NotLetIn { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("--allow-peer {id}")),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_is_let_in_by_default() {
    let (_server, address) =
        server(AllowPeers::default(), Via::Yamux, ServerConfig::default()).await;
    let error = fails(identity(), Via::Yamux, client_config(&address, &[])).await;
    assert!(matches!(error, ClientError::NotLetIn { .. }), "{error}");
}

#[tokio::test]
async fn a_way_without_identities_needs_everybody_to_be_let_in() {
    let mut peers = AllowPeers::none();
    peers.add(identity().peer_id());
    let (_server, address) = server(peers, Via::YamuxPlain, ServerConfig::default()).await;
    let error = fails(identity(), Via::YamuxPlain, client_config(&address, &[])).await;
    assert!(
        error.to_string().contains("do not prove who they are"),
        "{error}"
    );

    let (_server, address) =
        server(AllowPeers::any(), Via::YamuxPlain, ServerConfig::default()).await;
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let client = Client::start(
        identity(),
        Via::YamuxPlain,
        client_config(&address, &[("-L", &to)]),
    )
    .await;
    check_echo(client.local[0], b"plain").await;
}

#[tokio::test]
async fn a_peer_whose_line_is_added_to_the_file_is_let_in_next_time() {
    let path = std::env::temp_dir().join(format!("weir-peers-{}", std::process::id()));
    std::fs::write(&path, "# nobody yet\n").unwrap();
    let mut peers = AllowPeers::none();
    peers.add_file(&path).unwrap();
    let (_server, address) = server(peers, Via::Yamux, ServerConfig::default()).await;
    let id = identity();
    let peer = id.peer_id();
    let error = fails(id.clone(), Via::Yamux, client_config(&address, &[])).await;
    assert!(matches!(error, ClientError::NotLetIn { .. }), "{error}");
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    writeln!(file, "{peer} my laptop").unwrap();
    drop(file);
    Client::start(id, Via::Yamux, client_config(&address, &[])).await;
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_peer_reaches_what_the_rules_grant_and_nothing_else() {
    let allowed = echo("127.0.0.1:0").await;
    let forbidden = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = forbidden.local_addr().unwrap().port();
    let mut config = ServerConfig::default();
    config.allow_to = AllowTo::from_rules([allowed.to_string()]).unwrap();
    let tunnel = Tunnel::with(config, &[("-D", "0")], |_| {}).await;
    let proxy = tunnel.client.socks[0];
    let v4 = [1, 127, 0, 0, 1];
    assert_eq!(socks5(proxy, 1, &v4, allowed.port()).await.1, 0);
    let mapped = [&[4][..], &[0; 10], &[0xff, 0xff, 127, 0, 0, 1]].concat();
    for address in [
        v4.to_vec(),
        mapped,
        vec![1, 0, 0, 0, 0],
        socks_name("127.0.0.1"),
    ] {
        assert_eq!(socks5(proxy, 1, &address, port).await.1, 2, "{address:?}");
    }
    assert_eq!(socks5(proxy, 1, &socks_name("localhost"), port).await.1, 2);
    let nobody = timeout(Duration::from_millis(50), forbidden.accept()).await;
    assert!(
        nobody.is_err(),
        "no connection was made to what is forbidden"
    );
}

/// DNS rebinding: the name leads outside when it is looked at first, and to this machine when it counts.
#[tokio::test]
async fn a_rebound_name_reaches_nothing() {
    let secret = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = secret.local_addr().unwrap().port();
    let mut config = ServerConfig::default();
    config.allow_to = AllowTo::from_rules(["192.0.2.0/24", "*.example:*"]).unwrap();
    config.dial_timeout = Duration::from_millis(300);
    let answers: &[&[&str]] = &[
        &["192.0.2.1"],
        &["127.0.0.1"],
        &["::1"],
        &["169.254.169.254"],
    ];
    config.resolver = Names::of(&[("evil.example", answers)]);
    let tunnel = Tunnel::with(config, &[("-D", "0")], |_| {}).await;
    let name = socks_name("evil.example");
    let first = socks5(tunnel.client.socks[0], 1, &name, port).await.1;
    assert_ne!(first, 2, "the outer address is allowed");
    for _ in 0..3 {
        assert_eq!(socks5(tunnel.client.socks[0], 1, &name, port).await.1, 2);
    }
    let nobody = timeout(Duration::from_millis(50), secret.accept()).await;
    assert!(nobody.is_err(), "nothing reached this machine");
}

#[tokio::test]
async fn listening_for_peers_needs_leave() {
    let id = identity();
    let mut peers = AllowPeers::none();
    peers.add(id.peer_id());
    let (_server, address) = server(peers, Via::Yamux, ServerConfig::default()).await;
    for forward in ["0.0.0.0:0:127.0.0.1:1", "*:0:127.0.0.1:1", "80:127.0.0.1:1"] {
        let config = client_config(&address, &[("-R", forward)]);
        let error = fails(id.clone(), Via::Yamux, config).await;
        assert!(matches!(error, ClientError::Listen { .. }), "{error}");
        assert!(
            error.to_string().contains("--allow-remote-listen"),
            "{error}"
        );
    }
    let taken = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let held = TcpListener::bind(taken).await.unwrap();
    let forward = format!("{taken}:127.0.0.1:1");
    let config = client_config(&address, &[("-R", &forward)]);
    let error = fails(id.clone(), Via::Yamux, config).await.to_string();
    assert!(error.contains("in use"), "{error}");
    drop(held);
}

#[tokio::test]
async fn listening_on_all_addresses_can_be_allowed() {
    let mut config = ServerConfig::default();
    config.allow_listen = AllowListen::from_rules(["0.0.0.0", "[::]"]).unwrap();
    let to = format!("*:0:{}", echo("127.0.0.1:0").await);
    let tunnel = Tunnel::with(config, &[("-R", &to)], |_| {}).await;
    let bound = tunnel.client.remote[0].unwrap();
    assert!(bound.ip().is_unspecified());
    check_echo(([127, 0, 0, 1], bound.port()).into(), b"by IPv4, too").await;
}

#[tokio::test]
async fn a_peer_has_only_so_many_connections() {
    let id = identity();
    let mut peers = AllowPeers::none();
    peers.add(id.peer_id());
    let mut config = ServerConfig::default();
    config.max_connections_per_peer = 2;
    let (_server, address) = server(peers, Via::Yamux, config).await;
    let first = Client::start(id.clone(), Via::Yamux, client_config(&address, &[])).await;
    let _second = Client::start(id.clone(), Via::Yamux, client_config(&address, &[])).await;
    let error = fails(id.clone(), Via::Yamux, client_config(&address, &[])).await;
    assert!(
        error.to_string().contains("too many connections"),
        "{error}"
    );
    first.stop.drain("making room");
    first.task.await.unwrap();
    Client::start(id, Via::Yamux, client_config(&address, &[])).await;
}

#[tokio::test]
async fn a_peer_has_only_so_many_listens() {
    let mut config = ServerConfig::default();
    config.max_listens = 1;
    let id = identity();
    let mut peers = AllowPeers::none();
    peers.add(id.peer_id());
    let (_server, address) = server(peers, Via::Yamux, config).await;
    let forward = ("-R", "0:127.0.0.1:1");
    let error = fails(id, Via::Yamux, client_config(&address, &[forward, forward])).await;
    assert!(error.to_string().contains("too many listens"), "{error}");
}

#[tokio::test]
async fn the_wrong_key_is_not_talked_to() {
    let (_server, address) = server(AllowPeers::any(), Via::Yamux, ServerConfig::default()).await;
    let (_, at) = address.split_once('@').unwrap();
    let other = format!("{}@{at}", identity().peer_id());
    let error = fails(identity(), Via::Yamux, client_config(&other, &[])).await;
    assert!(matches!(error, ClientError::Connect(_)), "{error}");
}

#[tokio::test]
async fn names_of_remote_forwards_are_resolved_on_the_asking_side() {
    let echo = echo("127.0.0.1:0").await;
    let to = format!("0:here.example:{}", echo.port());
    let tunnel = Tunnel::with(ServerConfig::default(), &[("-R", &to)], |config| {
        let names: Arc<Names> = Names::of(&[("here.example", &[&["127.0.0.1"]])]);
        config.resolver = names;
    })
    .await;
    check_echo(tunnel.client.remote[0].unwrap(), b"by name").await;
}
