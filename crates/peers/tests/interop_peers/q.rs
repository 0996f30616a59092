//! quinn's side.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, TransportConfig, VarInt};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::Suite;

use weir_peers::{Conn, Node};

use crate::tls::Tls;
use crate::weir;

fn initial_suite() -> Suite {
    TLS13_AES_128_GCM_SHA256
        .tls13()
        .unwrap()
        .quic_suite()
        .unwrap()
}

fn transport(change: impl FnOnce(&mut TransportConfig)) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(300));
    transport.max_concurrent_uni_streams(VarInt::from_u32(300));
    change(&mut transport);
    Arc::new(transport)
}

pub(crate) fn server_config(
    tls: Tls,
    change: impl FnOnce(&mut TransportConfig),
) -> quinn::ServerConfig {
    let crypto = QuicServerConfig::with_initial(Arc::new(tls.server()), initial_suite()).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(change));
    config
}

pub(crate) fn server(tls: Tls) -> Endpoint {
    bind(Some(server_config(tls, |_| {})))
}

pub(crate) fn bind(config: Option<quinn::ServerConfig>) -> Endpoint {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    match config {
        Some(config) => Endpoint::server(config, addr).unwrap(),
        None => Endpoint::client(addr).unwrap(),
    }
}

pub(crate) fn client_config(
    tls: Tls,
    change: impl FnOnce(&mut TransportConfig),
) -> quinn::ClientConfig {
    let crypto = QuicClientConfig::with_initial(Arc::new(tls.client()), initial_suite()).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(change));
    config
}

/// A connection of quinn's to `to`, with the endpoint that keeps it.
pub(crate) async fn connect(tls: Tls, to: SocketAddr) -> (Endpoint, Connection) {
    connect_with(client_config(tls, |_| {}), to).await
}

pub(crate) async fn connect_with(
    config: quinn::ClientConfig,
    to: SocketAddr,
) -> (Endpoint, Connection) {
    let endpoint = bind(None);
    let connection = endpoint
        .connect_with(config, to, "localhost")
        .unwrap()
        .await
        .unwrap();
    (endpoint, connection)
}

/// Sends back what comes on every stream; the connections come out too.
pub(crate) fn echo(endpoint: Endpoint) -> tokio::sync::mpsc::UnboundedReceiver<Connection> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else {
                continue;
            };
            let _ = sender.send(connection.clone());
            let uni = connection.clone();
            tokio::spawn(async move {
                while let Ok((send, recv)) = connection.accept_bi().await {
                    tokio::spawn(echo_stream(send, recv));
                }
            });
            tokio::spawn(async move {
                while let Ok(recv) = uni.accept_uni().await {
                    let send = uni.open_uni().await.unwrap();
                    tokio::spawn(echo_stream(send, recv));
                }
            });
        }
    });
    receiver
}

async fn echo_stream(mut send: quinn::SendStream, mut recv: quinn::RecvStream) {
    while let Ok(Some(chunk)) = recv.read_chunk(256 * 1024, true).await {
        if send.write_chunk(chunk.bytes).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}

/// Sends `data` on a new stream and gives what comes back.
pub(crate) async fn exchange(connection: &Connection, data: &Bytes) -> Vec<u8> {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let writer = async {
        send.write_chunk(data.clone()).await.unwrap();
        send.finish().unwrap();
    };
    let ((), back) = tokio::join!(writer, recv.read_to_end(usize::MAX));
    back.unwrap()
}

/// A connection between the engine and quinn, ready on both sides, with what keeps it.
pub(crate) async fn pair(
    weir_is_client: bool,
    tls: Tls,
    ours: impl FnOnce(&mut weir_quic::TransportConfig),
    theirs: impl FnOnce(&mut TransportConfig),
) -> (Conn, Connection, (Node, Endpoint)) {
    if weir_is_client {
        let endpoint = bind(Some(server_config(tls, theirs)));
        let node = weir::client().await;
        let config = weir::client_config(tls, ours);
        let conn = node
            .connect(&config, endpoint.local_addr().unwrap())
            .unwrap();
        let incoming = endpoint.accept().await.unwrap();
        let connection = incoming.await.unwrap();
        weir::confirmed(&conn).await;
        return (conn, connection, (node, endpoint));
    }
    let mut node = Node::start(weir::server_config(tls, ours)).await.unwrap();
    let connecting = connect_with(client_config(tls, theirs), node.addr().unwrap());
    let (endpoint, connection) = connecting.await;
    let conn = node.accept().await.unwrap();
    weir::confirmed(&conn).await;
    (conn, connection, (node, endpoint))
}
