//! The tunnel that `weir listen` and `weir connect` run: TCP connections and UDP datagrams carried over a connection.
//!
//! The listening side is a [`TunnelServer`]: it lets in the peers of its [`AllowPeers`] and connects them to what
//! [`AllowTo`] grants. The dialling side is a [`TunnelClient`]: it keeps [`LocalForward`]s, [`RemoteForward`]s and
//! [`SocksForward`]s bound, and dials again when the connection is lost. A [`Shutdown`] ends either of them. What they
//! say to each other is [`protocol`], specified in `docs/tunnel-protocol.md`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use weir::tunnel::{AllowPeers, ClientConfig, ServerConfig, Shutdown, TunnelClient, TunnelServer};
//! use weir::{Endpoint, Identity};
//!
//! let (server_key, client_key) = (Identity::generate()?, Identity::generate()?);
//! let target = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let forward = format!("0:{}", target.local_addr()?);
//!
//! // weir listen --allow-peer ..
//! let endpoint = Endpoint::builder().identity(server_key).bind("127.0.0.1:0").await?;
//! let peer = format!("{}@{}", endpoint.peer_id(), endpoint.local_addr());
//! let mut peers = AllowPeers::none();
//! peers.add(client_key.peer_id());
//! let server = TunnelServer::new(endpoint, peers, ServerConfig::default());
//! tokio::spawn(server.run(Shutdown::new()));
//!
//! // weir connect PEER@HOST:PORT -L 0:127.0.0.1:PORT
//! let mut config = ClientConfig::new(peer);
//! config.local.push(forward.parse()?);
//! config.status_socket = false;
//! let endpoint = Endpoint::builder().identity(client_key).client().await?;
//! let client = TunnelClient::start(endpoint, config).await?;
//! let entrance = client.local_addrs()[0];
//! let stop = Shutdown::new();
//! let running = tokio::spawn(client.run(stop.clone()));
//!
//! let one_end = tokio::net::TcpStream::connect(entrance).await?;
//! let (other_end, _) = target.accept().await?;
//! drop((one_end, other_end));
//! stop.drain("done");
//! running.await?;
//! # Ok(()) }
//! ```

mod access;
mod backoff;
mod client;
mod control;

mod destination;
mod dial;
mod fields;
mod listener;
mod listens;
mod local;
mod names;
mod packets;
mod peer;
mod pool;
pub mod protocol;
mod quiet;
mod registry;
mod relay;
mod remote;
mod rules;
mod server;
mod session;
mod shared;
mod shutdown;
mod socks;
mod socks_wire;
mod spec;
mod status;
mod status_device;
#[cfg(unix)]
mod status_socket;
mod streams;
mod tasks;
mod udp;
mod units;
mod ways;

pub use access::{Admission, AllowPeers};
pub use backoff::{Backoff, BackoffConfig};
pub use client::{ClientConfig, ClientError, StatusView, TunnelClient};
pub use destination::{Destination, DestinationError, Host, MAX_NAME, Name};
pub use dial::{Resolve, Resolved, SystemResolver};
pub use packets::PacketForward;
pub use rules::{AllowListen, AllowTo, Rule, RuleError};
pub use server::{ServerConfig, TunnelServer};
pub use shutdown::Shutdown;
pub use spec::{ForwardError, LocalForward, RemoteForward, SocksForward, Transport};
pub use status::{
    ConnectionStatus, DatagramStatus, ForwardKind, ForwardStatus, MAX_LISTED, PathStatus, Status,
    StreamPhase, StreamStatus, TunnelState,
};
pub use status_device::{DeviceStatus, TcpStatus};
pub use ways::Ways;

/// Asks every tunnel that this user runs on this machine for its status, by process ID.
///
/// # Errors
/// When the system does not say who this user is; elsewhere than on Unix: never, and the answer is empty.
pub async fn running() -> std::io::Result<Vec<Status>> {
    #[cfg(unix)]
    return status_socket::ask_all().await;
    #[cfg(not(unix))]
    return Ok(Vec::new());
}
