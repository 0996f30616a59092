//! Handshakes: Retry, tickets, ciphers, certificates, versions, connection IDs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;
use rustls::CipherSuite;
use weir_core::close::{CloseReason, Initiator};
use weir_peers::{Conn, Node, NodeConfig};
use weir_quic::{Dir, Event, Version};

use crate::ends::closed;
use crate::tls::Tls;
use crate::{pattern, q, s2n, weir};

/// 10 KiB there and back over the engine's connection.
async fn echoes(conn: &Conn) {
    let data = pattern(10_240);
    assert!(weir::exchange(conn, &data).await == data);
}

async fn weir_that_asks_for_retry() -> Node {
    let config = weir::server_config(Tls::default(), |_| {});
    let config = NodeConfig {
        retry: true,
        ..config
    };
    Node::start(config).await.unwrap()
}

#[tokio::test]
async fn quinn_and_s2n_follow_a_retry() {
    let mut node = weir_that_asks_for_retry().await;
    let addr = node.addr().unwrap();
    let (_endpoint, _connection) = q::connect(Tls::default(), addr).await;
    weir::confirmed(&node.accept().await.unwrap()).await;
    let retries = node.stats().retries;
    assert!(retries >= 1);
    let (_client, _connection) = s2n::connect(Tls::default(), addr).await;
    weir::confirmed(&node.accept().await.unwrap()).await;
    assert!(node.stats().retries > retries);
}

#[tokio::test]
async fn the_engine_follows_a_retry() {
    let node = weir::client().await;
    let config = weir::client_config(Tls::default(), |_| {});

    let endpoint = q::server(Tls::default());
    let addr = endpoint.local_addr().unwrap();
    let conn = node.connect(&config, addr).unwrap();
    endpoint.accept().await.unwrap().retry().unwrap();
    let incoming = endpoint.accept().await.unwrap();
    assert!(incoming.remote_address_validated());
    let _connection = incoming.await.unwrap();
    weir::confirmed(&conn).await;
    assert_eq!(conn.with(|c, _| c.stats().retries), 1);

    let server = s2n::server_with(Tls::default(), s2n::limits(), true);
    let addr = server.local_addr().unwrap();
    s2n::echo(server);
    let conn = node.connect(&config, addr).unwrap();
    echoes(&conn).await;
    assert_eq!(conn.with(|c, _| c.stats().retries), 1);
}

const EARLY: Tls = Tls {
    suite: None,
    classic: false,
    hybrid: false,
    client_auth: false,
    early: true,
    stranger: false,
    alpn: None,
};

/// What the first connection leaves for the second one: tickets stay in the TLS settings.
async fn remembered(node: &Node, config: &mut weir_quic::ClientConfig, addr: SocketAddr) {
    let conn = node.connect(config, addr).unwrap();
    echoes(&conn).await;
    // The ticket came before the echo.
    let found = conn.event("the server's limits", |event| {
        matches!(event, Event::Remember(_))
    });
    let Event::Remember(limits) = found.await else {
        unreachable!()
    };
    config.remembered = Some(*limits);
    conn.with(|c, now| c.close(now, 0, ""));
}

#[tokio::test]
async fn quinn_takes_early_data_or_not() {
    let server = q::server(EARLY);
    let addr = server.local_addr().unwrap();
    let _server = q::echo(server);
    let node = weir::client().await;
    let mut config = weir::client_config(EARLY, |_| {});
    remembered(&node, &mut config, addr).await;

    let conn = node.connect(&config, addr).unwrap();
    assert!(conn.with(|c, _| c.is_early()));
    echoes(&conn).await;
    weir::connected(&conn).await;
    let info = conn.with(|c, _| c.handshake_info().cloned()).unwrap();
    assert!(info.resumed);
    assert_eq!(info.zero_rtt, Some(true));

    // A server that does not know the ticket: all is sent again.
    remembered(&node, &mut config, addr).await;
    let other = q::server(EARLY);
    let addr = other.local_addr().unwrap();
    let _other = q::echo(other);
    let conn = node.connect(&config, addr).unwrap();
    assert!(conn.with(|c, _| c.is_early()));
    echoes(&conn).await;
    let info = conn.with(|c, _| c.handshake_info().cloned()).unwrap();
    assert!(!info.resumed);
    assert_eq!(info.zero_rtt, Some(false));
}

#[tokio::test]
async fn early_data_of_quinn_is_taken_or_not() {
    let data = pattern(5000);
    let server = weir::server(EARLY).await;
    let addr = server.addr().unwrap();
    let mut server = weir::echo(server);
    let config = q::client_config(EARLY, |_| {});
    let (endpoint, connection) = q::connect_with(config.clone(), addr).await;
    assert!(q::exchange(&connection, &data).await == data);
    connection.close(VarInt::from_u32(0), b"");
    server.recv().await.unwrap();

    let connecting = endpoint
        .connect_with(config.clone(), addr, "localhost")
        .unwrap();
    let (connection, accepted) = connecting.into_0rtt().expect("a ticket");
    assert!(q::exchange(&connection, &data).await == data);
    assert!(accepted.await);
    let conn = server.recv().await.unwrap();
    let info = conn.with(|c, _| c.handshake_info().cloned()).unwrap();
    assert!(info.resumed);
    assert_eq!(info.zero_rtt, Some(true));
    connection.close(VarInt::from_u32(0), b"");

    let other = weir::server(EARLY).await;
    let addr = other.addr().unwrap();
    let mut other = weir::echo(other);
    let connecting = endpoint.connect_with(config, addr, "localhost").unwrap();
    let (connection, accepted) = connecting.into_0rtt().expect("a ticket");
    let mut lost = connection.open_uni().await.unwrap();
    lost.write_all(b"in vain").await.unwrap();
    assert!(!accepted.await);
    // quinn leaves it to its application to send again what was refused.
    assert!(q::exchange(&connection, &data).await == data);
    let conn = other.recv().await.unwrap();
    let info = conn.with(|c, _| c.handshake_info().cloned()).unwrap();
    assert!(!info.resumed);
}

/// Handshake and 10 KiB with both peers in both roles.
async fn all_four(tls: Tls) {
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) = q::pair(weir_is_client, tls, |_| {}, |_| {}).await;
        let key = conn.open(Dir::Uni).await.unwrap();
        let data = pattern(10_240);
        conn.write_all(key, data.clone()).await.unwrap();
        conn.finish(key);
        let mut recv = connection.accept_uni().await.unwrap();
        assert!(recv.read_to_end(20_000).await.unwrap() == data);

        let (conn, mut connection, _keep) =
            s2n::pair(weir_is_client, tls, |_| {}, s2n::limits()).await;
        let key = conn.open(Dir::Uni).await.unwrap();
        conn.write_all(key, data.clone()).await.unwrap();
        conn.finish(key);
        let mut recv = connection.accept_receive_stream().await.unwrap().unwrap();
        assert!(s2n::read_all(&mut recv).await == data);
    }
}

#[tokio::test]
async fn only_chacha20() {
    all_four(Tls {
        suite: Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        ..Tls::default()
    })
    .await;
}

#[tokio::test]
async fn only_aes_256() {
    all_four(Tls {
        suite: Some(CipherSuite::TLS13_AES_256_GCM_SHA384),
        ..Tls::default()
    })
    .await;
}

// The key share alone has 1,216 bytes: the ClientHello needs two datagrams.
#[tokio::test]
async fn only_x25519_mlkem_768() {
    all_four(Tls {
        hybrid: true,
        ..Tls::default()
    })
    .await;
}

#[tokio::test]
async fn only_x25519() {
    all_four(Tls {
        classic: true,
        ..Tls::default()
    })
    .await;
}

#[tokio::test]
async fn client_certificates() {
    let tls = Tls {
        client_auth: true,
        ..Tls::default()
    };
    let (_conn, connection, _keep) = q::pair(true, tls, |_| {}, |_| {}).await;
    let shown = connection.peer_identity().unwrap();
    let shown = shown
        .downcast::<Vec<rustls::pki_types::CertificateDer>>()
        .unwrap();
    assert_eq!(*shown, [tls.certificate()]);
    let (conn, _connection, _keep) = q::pair(false, tls, |_| {}, |_| {}).await;
    let info = conn.with(|c, _| c.handshake_info().cloned()).unwrap();
    assert_eq!(info.peer_certificates, [tls.certificate()]);
    let (conn, _connection, _keep) = s2n::pair(false, tls, |_| {}, s2n::limits()).await;
    let info = conn.with(|c, _| c.handshake_info().cloned()).unwrap();
    assert_eq!(info.peer_certificates, [tls.certificate()]);
    let (_conn, _connection, _keep) = s2n::pair(true, tls, |_| {}, s2n::limits()).await;
}

/// How a connection ends whose sides have settings that do not fit: with the engine as client,
/// then with the engine as server; each time what the engine says and what quinn says.
async fn misfit(client: Tls, server: Tls) -> [(CloseReason, quinn::ConnectionError); 2] {
    let endpoint = q::server(server);
    let node = weir::client().await;
    let config = weir::client_config(client, |_| {});
    let conn = node
        .connect(&config, endpoint.local_addr().unwrap())
        .unwrap();
    let connection = endpoint.accept().await.unwrap().await;
    let theirs = match connection {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    let first = (closed(&conn).await, theirs);

    let mut node = weir::server(server).await;
    let endpoint = q::bind(None);
    let config = q::client_config(client, |_| {});
    let connecting = endpoint
        .connect_with(config, node.addr().unwrap(), "localhost")
        .unwrap();
    let theirs = match connecting.await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    let conn = node.accept().await.unwrap();
    [first, (closed(&conn).await, theirs)]
}

/// The TLS alert in an error of quinn's.
fn alert(error: &quinn::ConnectionError) -> u64 {
    let code = match error {
        quinn::ConnectionError::TransportError(error) => u64::from(error.code),
        quinn::ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        other => panic!("{other:?}"),
    };
    code - 0x100
}

// RFC 9001 4.8
#[tokio::test]
async fn an_unknown_authority_is_refused_with_its_alert() {
    let stranger = Tls {
        stranger: true,
        ..Tls::default()
    };
    const UNKNOWN_CA: u64 = 48;
    let [(ours, theirs), (other_ours, other_theirs)] = misfit(stranger, Tls::default()).await;
    assert_eq!(
        (ours.by, alert(&theirs)),
        (Initiator::Local, UNKNOWN_CA),
        "{ours:?}"
    );
    assert_eq!(alert(&other_theirs), UNKNOWN_CA);
    assert_eq!(other_ours.by, Initiator::Peer, "{other_ours:?}");
    assert_eq!(other_ours.code & 0xff, UNKNOWN_CA, "{other_ours:?}");
}

// RFC 9001 8.1
#[tokio::test]
async fn without_a_common_protocol_there_is_no_connection() {
    let other = Tls {
        alpn: Some(b"something else"),
        ..Tls::default()
    };
    const NO_APPLICATION_PROTOCOL: u64 = 120;
    let [(ours, theirs), (other_ours, other_theirs)] = misfit(other, Tls::default()).await;
    assert_eq!(
        (ours.by, ours.code & 0xff),
        (Initiator::Peer, NO_APPLICATION_PROTOCOL),
        "{ours:?}"
    );
    assert_eq!(alert(&theirs), NO_APPLICATION_PROTOCOL);
    assert_eq!(alert(&other_theirs), NO_APPLICATION_PROTOCOL);
    assert_eq!(other_ours.by, Initiator::Local, "{other_ours:?}");
}

// RFC 8446 4.4.2.4
#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_wanted() {
    let wants = Tls {
        client_auth: true,
        ..Tls::default()
    };
    const CERTIFICATE_REQUIRED: u64 = 116;
    let [(ours, theirs), (_, other_theirs)] = misfit(Tls::default(), wants).await;
    assert_eq!(
        (ours.by, ours.code & 0xff),
        (Initiator::Peer, CERTIFICATE_REQUIRED),
        "{ours:?}"
    );
    assert_eq!(alert(&theirs), CERTIFICATE_REQUIRED);
    assert_eq!(alert(&other_theirs), CERTIFICATE_REQUIRED);
}

#[tokio::test]
async fn connection_ids_of_no_length() {
    // quinn's client has none.
    let mut node = weir::server(Tls::default()).await;
    let mut config = quinn::EndpointConfig::default();
    config.cid_generator(|| Box::new(quinn_cids(0)));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::Endpoint::new(config, None, socket, runtime).unwrap();
    let config = q::client_config(Tls::default(), |_| {});
    let connecting = endpoint
        .connect_with(config, node.addr().unwrap(), "localhost")
        .unwrap();
    let connection = connecting.await.unwrap();
    let conn = node.accept().await.unwrap();
    let key = conn.open(Dir::Uni).await.unwrap();
    conn.write_all(key, pattern(100_000)).await.unwrap();
    conn.finish(key);
    let mut recv = connection.accept_uni().await.unwrap();
    assert!(recv.read_to_end(200_000).await.unwrap() == pattern(100_000));

    // The engine's client has none.
    let node = Node::start(NodeConfig {
        cid_len: Some(0),
        ..NodeConfig::default()
    });
    let node = node.await.unwrap();
    let config = weir::client_config(Tls::default(), |_| {});
    let server = q::server(Tls::default());
    let addr = server.local_addr().unwrap();
    let _server = q::echo(server);
    echoes(&node.connect(&config, addr).unwrap()).await;
    let server = s2n::server(Tls::default());
    let addr = server.local_addr().unwrap();
    s2n::echo(server);
    echoes(&node.connect(&config, addr).unwrap()).await;
}

fn quinn_cids(len: usize) -> quinn_proto::RandomConnectionIdGenerator {
    quinn_proto::RandomConnectionIdGenerator::new(len)
}

/// A datagram as a client's first in a version that means nothing (RFC 9000 section 15).
fn unknown_version() -> Vec<u8> {
    let mut datagram = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8];
    datagram.extend_from_slice(b"dcid-888");
    datagram.push(8);
    datagram.extend_from_slice(b"scid-888");
    datagram.resize(1200, 0);
    datagram
}

/// The versions that a server lists when asked in one that it does not know.
async fn listed(addr: SocketAddr) -> Vec<u32> {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&unknown_version(), addr).await.unwrap();
    let mut answer = [0; 1500];
    let (len, _) = socket.recv_from(&mut answer).await.unwrap();
    let answer = &answer[..len];
    assert_eq!(answer[0] & 0x80, 0x80);
    assert_eq!(answer[1..5], [0; 4]);
    assert_eq!(answer[5..23], *b"\x08scid-888\x08dcid-888");
    let versions = answer[23..].chunks_exact(4);
    versions
        .map(|v| u32::from_be_bytes(v.try_into().unwrap()))
        .collect()
}

// Q16
#[tokio::test]
async fn all_servers_answer_an_unknown_version_alike() {
    let node = weir::server(Tls::default()).await;
    let ours = listed(node.addr().unwrap()).await;
    assert!(
        ours.contains(&Version::V1.0) && ours.contains(&Version::V2.0),
        "{ours:x?}"
    );
    let endpoint = q::server(Tls::default());
    assert!(listed(endpoint.local_addr().unwrap()).await.contains(&1));
    let server = s2n::server(Tls::default());
    assert!(listed(server.local_addr().unwrap()).await.contains(&1));
}

#[tokio::test]
async fn quinn_in_a_version_of_its_own_is_told() {
    let node = weir::server(Tls::default()).await;
    let mut settings = quinn::EndpointConfig::default();
    settings.supported_versions(vec![0xff00_001d]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::Endpoint::new(settings, None, socket, runtime).unwrap();
    let mut config = q::client_config(Tls::default(), |_| {});
    config.version(0xff00_001d);
    let connecting = endpoint
        .connect_with(config, node.addr().unwrap(), "localhost")
        .unwrap();
    let error = connecting.await.unwrap_err();
    assert_eq!(error, quinn::ConnectionError::VersionMismatch);
    assert!(node.stats().version_negotiations >= 1);
}

// RFC 9000 6.2. quinn does not speak version 2.
#[tokio::test]
async fn version_2_alone_ends_in_words_with_quinn() {
    let node = weir::client().await;
    let mut config = weir::client_config(Tls::default(), |_| {});
    config.versions = vec![Version::V2];
    let endpoint = q::server(Tls::default());
    let conn = node
        .connect(&config, endpoint.local_addr().unwrap())
        .unwrap();
    let reason = closed(&conn).await;
    assert!(
        reason.reason.contains("does not speak QUIC v2"),
        "{reason:?}"
    );
}

// s2n-quic takes an Initial of version 2 for a 0-RTT packet of an unknown version, because type bits
// of version 1 say so, and answers those with silence.
#[tokio::test]
async fn version_2_alone_ends_in_time_with_s2n() {
    let node = weir::client().await;
    let mut config = weir::client_config(Tls::default(), |t| {
        t.handshake_timeout = Duration::from_millis(500);
    });
    config.versions = vec![Version::V2];
    let server = s2n::server(Tls::default());
    let conn = node.connect(&config, server.local_addr().unwrap()).unwrap();
    assert_eq!(closed(&conn).await.by, Initiator::Timer);
}

// RFC 9368 section 2: a client that offers version 2 in version 1 stays there with peers that know
// nothing of it.
#[tokio::test]
async fn version_2_is_offered_in_vain() {
    for weir_is_client in [true, false] {
        let (conn, _connection, _keep) =
            q::pair(weir_is_client, Tls::default(), |_| {}, |_| {}).await;
        assert_eq!(conn.with(|c, _| c.version()), Version::V1);
        let (conn, _connection, _keep) =
            s2n::pair(weir_is_client, Tls::default(), |_| {}, s2n::limits()).await;
        assert_eq!(conn.with(|c, _| c.version()), Version::V1);
    }
}
