//! The engine's side.

use std::sync::Arc;

use weir_peers::{Conn, Node, NodeConfig};
use weir_quic::{ClientConfig, Dir, Event, Half, ServerConfig, TransportConfig};

use crate::tls::Tls;

/// A server's settings, changed by `change`.
pub(crate) fn server_config(tls: Tls, change: impl FnOnce(&mut TransportConfig)) -> NodeConfig {
    let mut transport = TransportConfig::default();
    change(&mut transport);
    let mut config = ServerConfig::new(Arc::new(tls.server()));
    config.transport = Arc::new(transport);
    NodeConfig {
        server: Some(Arc::new(config)),
        seed: 2,
        ..NodeConfig::default()
    }
}

pub(crate) async fn server(tls: Tls) -> Node {
    Node::start(server_config(tls, |_| {})).await.unwrap()
}

pub(crate) fn client_config(tls: Tls, change: impl FnOnce(&mut TransportConfig)) -> ClientConfig {
    let mut transport = TransportConfig::default();
    change(&mut transport);
    let mut config = ClientConfig::new(Arc::new(tls.client()));
    config.transport = Arc::new(transport);
    config
}

pub(crate) async fn client() -> Node {
    Node::start(NodeConfig {
        seed: 1,
        ..NodeConfig::default()
    })
    .await
    .unwrap()
}

/// Waits until the handshake is complete.
pub(crate) async fn connected(conn: &Conn) {
    conn.event("the handshake", |event| matches!(event, Event::Connected))
        .await;
}

/// Waits until the handshake is confirmed.
pub(crate) async fn confirmed(conn: &Conn) {
    conn.until("confirmation", |c, _, _| c.is_confirmed().then_some(()))
        .await;
}

/// Sends back what comes on every stream, for all connections; on a unidirectional one for each of
/// the peer's. Gives the connections, too.
pub(crate) fn echo(mut node: Node) -> tokio::sync::mpsc::UnboundedReceiver<Conn> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(conn) = node.accept().await {
            let _ = sender.send(conn.clone());
            tokio::spawn(echo_streams(conn.clone(), Dir::Bi));
            tokio::spawn(echo_streams(conn, Dir::Uni));
        }
        // Connections end with their node.
        std::future::pending::<()>().await;
    });
    receiver
}

async fn echo_streams(conn: Conn, dir: Dir) {
    while let Some(from) = conn.accept(dir).await {
        let conn = conn.clone();
        tokio::spawn(async move {
            let to = match dir {
                Dir::Bi => from,
                Dir::Uni => conn.open(Dir::Uni).await.unwrap(),
            };
            while let Ok(Some(bytes)) = conn.read(from).await {
                if conn.write_all(to, bytes).await.is_err() {
                    break;
                }
            }
            conn.finish(to);
            conn.release(from, Half::Recv);
            conn.release(to, Half::Send);
        });
    }
}

/// Sends `data` on a new stream and gives what comes back.
pub(crate) async fn exchange(conn: &Conn, data: &bytes::Bytes) -> Vec<u8> {
    let key = conn.open(Dir::Bi).await.unwrap();
    let writer = async {
        conn.write_all(key, data.clone()).await.unwrap();
        conn.finish(key);
    };
    let ((), back) = tokio::join!(writer, conn.read_all(key));
    conn.release(key, Half::Recv);
    conn.release(key, Half::Send);
    back.unwrap()
}
