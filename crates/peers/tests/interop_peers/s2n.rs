//! s2n-quic's side.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use s2n_quic::client::Connect;
use s2n_quic::provider::datagram::default::Endpoint as Datagrams;
use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::tls::rustls as provider;
use s2n_quic::stream::{ReceiveStream, SendStream};
use s2n_quic::{Client, Connection, Server};

use weir_peers::{Conn, Node};

use crate::tls::Tls;
use crate::weir;

/// Whether clients are sent a Retry.
struct Policy(bool);

impl Limiter for Policy {
    fn on_connection_attempt(&mut self, _: &ConnectionAttempt) -> Outcome {
        match self.0 {
            true => Outcome::retry(),
            false => Outcome::allow(),
        }
    }
}

pub(crate) fn limits() -> Limits {
    Limits::new()
        .with_max_open_remote_unidirectional_streams(300)
        .unwrap()
        .with_max_open_remote_bidirectional_streams(300)
        .unwrap()
        .with_max_idle_timeout(Duration::from_secs(30))
        .unwrap()
}

fn datagrams() -> Datagrams {
    let builder = Datagrams::builder().with_send_capacity(200).unwrap();
    builder.with_recv_capacity(200).unwrap().build().unwrap()
}

pub(crate) fn server(tls: Tls) -> Server {
    server_with(tls, limits(), false)
}

pub(crate) fn server_with(tls: Tls, limits: Limits, retry: bool) -> Server {
    #[allow(deprecated, reason = "the settings are the test's own")]
    let tls = provider::Server::from(tls.server());
    Server::builder()
        .with_tls(tls)
        .unwrap()
        .with_io("127.0.0.1:0")
        .unwrap()
        .with_limits(limits)
        .unwrap()
        .with_endpoint_limits(Policy(retry))
        .unwrap()
        .with_datagram(datagrams())
        .unwrap()
        .start()
        .unwrap()
}

pub(crate) fn client_with(tls: rustls::ClientConfig, limits: Limits) -> Client {
    #[allow(deprecated, reason = "the settings are the test's own")]
    let tls = provider::Client::from(tls);
    Client::builder()
        .with_tls(tls)
        .unwrap()
        .with_io("127.0.0.1:0")
        .unwrap()
        .with_limits(limits)
        .unwrap()
        .with_datagram(datagrams())
        .unwrap()
        .start()
        .unwrap()
}

/// A connection of s2n-quic's to `to`, with the client that keeps it.
pub(crate) async fn connect(tls: Tls, to: SocketAddr) -> (Client, Connection) {
    connect_with(client_with(tls.client(), limits()), to).await
}

pub(crate) async fn connect_with(client: Client, to: SocketAddr) -> (Client, Connection) {
    let connection = client
        .connect(Connect::new(to).with_server_name("localhost"))
        .await
        .unwrap();
    (client, connection)
}

/// Sends back what comes on every stream.
pub(crate) fn echo(mut server: Server) {
    tokio::spawn(async move {
        while let Some(connection) = server.accept().await {
            let (mut handle, acceptor) = connection.split();
            let (mut bidi, mut uni) = acceptor.split();
            tokio::spawn(async move {
                while let Ok(Some(stream)) = bidi.accept_bidirectional_stream().await {
                    let (recv, send) = stream.split();
                    tokio::spawn(echo_stream(send, recv));
                }
            });
            tokio::spawn(async move {
                while let Ok(Some(recv)) = uni.accept_receive_stream().await {
                    let send = handle.open_send_stream().await.unwrap();
                    tokio::spawn(echo_stream(send, recv));
                }
            });
        }
    });
}

async fn echo_stream(mut send: SendStream, mut recv: ReceiveStream) {
    while let Ok(Some(bytes)) = recv.receive().await {
        if send.send(bytes).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}

/// Sends `data` on a new stream and gives what comes back.
pub(crate) async fn exchange(connection: &mut Connection, data: &Bytes) -> Vec<u8> {
    let stream = connection.open_bidirectional_stream().await.unwrap();
    let (mut recv, mut send) = stream.split();
    let writer = async {
        send.send(data.clone()).await.unwrap();
        send.finish().unwrap();
    };
    let ((), back) = tokio::join!(writer, read_all(&mut recv));
    back
}

pub(crate) async fn read_all(recv: &mut ReceiveStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = recv.receive().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    all
}

/// A connection between the engine and s2n-quic, ready on both sides, with what keeps it.
pub(crate) async fn pair(
    weir_is_client: bool,
    tls: Tls,
    ours: impl FnOnce(&mut weir_quic::TransportConfig),
    theirs: Limits,
) -> (Conn, Connection, (Node, Option<Server>, Option<Client>)) {
    if weir_is_client {
        let mut server = server_with(tls, theirs, false);
        let node = weir::client().await;
        let config = weir::client_config(tls, ours);
        let conn = node.connect(&config, server.local_addr().unwrap()).unwrap();
        let connection = server.accept().await.unwrap();
        weir::confirmed(&conn).await;
        return (conn, connection, (node, Some(server), None));
    }
    let mut node = Node::start(weir::server_config(tls, ours)).await.unwrap();
    let client = client_with(tls.client(), theirs);
    let (client, connection) = connect_with(client, node.addr().unwrap()).await;
    let conn = node.accept().await.unwrap();
    weir::confirmed(&conn).await;
    (conn, connection, (node, None, Some(client)))
}
