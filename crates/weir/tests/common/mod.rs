//! Two endpoints on loopback, and what the tests do to them.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so"
)]

use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use weir::{Config, Connection, Endpoint, Identity, Via};

/// A connected pair over `via`, client first, with the endpoints that keep it.
pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) server: Connection,
    pub(crate) client_endpoint: Endpoint,
    pub(crate) server_endpoint: Endpoint,
}

/// A pair with one configuration for both sides.
pub(crate) async fn pair(via: Via, config: Config) -> Pair {
    pair_through(via, config, None).await
}

/// A pair whose TCP connection runs through `cut`, where one is given.
pub(crate) async fn pair_through(via: Via, config: Config, cut: Option<&Cut>) -> Pair {
    let endpoint = |config: Config| Endpoint::builder().config(config).via(via);
    let server_endpoint = endpoint(config.clone())
        .identity(Identity::generate().unwrap())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let client_endpoint = endpoint(config).client().await.unwrap();
    let mut address = server_endpoint.local_addr();
    if let Some(cut) = cut {
        address = cut.before(address).await;
    }
    let target = match via.is_secure() {
        true => format!("{}@{address}", server_endpoint.peer_id()),
        false => address.to_string(),
    };
    let (client, server) = tokio::join!(client_endpoint.connect(&target), server_endpoint.accept());
    Pair {
        client: client.unwrap(),
        server: server.unwrap(),
        client_endpoint,
        server_endpoint,
    }
}

/// A TCP relay that can be cut.
pub(crate) struct Cut(watch::Sender<bool>);

impl Cut {
    pub(crate) fn new() -> Self {
        Cut(watch::channel(false).0)
    }

    /// Ends every connection through the relay, with a reset on both sides.
    pub(crate) fn now(&self) {
        self.0.send_replace(true);
    }

    /// A new address that leads to `to`.
    pub(crate) async fn before(&self, to: std::net::SocketAddr) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = self.0.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cut.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.wait_for(|cut| *cut) => {
                            near.set_zero_linger().unwrap();
                            far.set_zero_linger().unwrap();
                        }
                    }
                });
            }
        });
        address
    }
}

/// A relay of UDP, where what is not `open` is swallowed.
pub(crate) async fn gate(to: std::net::SocketAddr, udp: UdpSocket) -> watch::Sender<bool> {
    let (open, is_open) = watch::channel(false);
    tokio::spawn(async move {
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        far.connect(to).await.unwrap();
        let mut near = None;
        let (mut out, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                Ok((len, from)) = udp.recv_from(&mut out) => {
                    near = Some(from);
                    let is_open = *is_open.borrow();
                    if is_open {
                        let _ = far.send(&out[..len]).await;
                    }
                }
                Ok(len) = far.recv(&mut back) => {
                    let is_open = *is_open.borrow();
                    if let (Some(near), true) = (near, is_open) {
                        let _ = udp.send_to(&back[..len], near).await;
                    }
                }
            }
        }
    });
    open
}

/// Bytes that differ at every place, so that a shifted or doubled piece shows.
pub(crate) fn pattern(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}

/// Sends every stream of `connection` back to its opener, for as long as it lives.
pub(crate) fn echo(connection: Connection) {
    tokio::spawn(async move {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            tokio::spawn(async move {
                while let Ok(Some(mut chunk)) = recv.read_chunk(1 << 20).await {
                    if send.write_chunk(&mut chunk).await.is_err() {
                        return;
                    }
                }
                let _ = send.finish();
            });
        }
    });
}

/// What has not come by then hangs: far more than a machine needs that stands still for seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A time-out of the product that no test lives to see: what ends before [`LIMIT`] did not wait for it.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// A dial that waits for its answer as long as it takes.
pub(crate) fn patient() -> Config {
    Config {
        handshake_timeout: NEVER,
        ..Config::default()
    }
}

/// Waits for `future`, and fails the test when it hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it never came")
}

/// A UDP port that nobody listens on and nobody else gets: the socket that holds it takes datagrams from
/// itself alone, so that the host answers all others with "port unreachable".
#[cfg(target_os = "linux")]
pub(crate) fn closed_port(bind: &str) -> std::io::Result<std::net::UdpSocket> {
    let held = std::net::UdpSocket::bind(bind)?;
    held.connect(held.local_addr()?)?;
    Ok(held)
}
