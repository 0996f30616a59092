//! Streams over any path: endpoints, connections and streams on tokio.
//!
//! An application asks for a stream to a peer; weir carries it and can say at any moment why the
//! stream moves or stands still. A peer is known by its public key, its [`PeerId`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use weir::{Endpoint, Identity};
//!
//! let server = Endpoint::builder().identity(Identity::generate()?).bind("127.0.0.1:0").await?;
//! let target = format!("{}@{}", server.peer_id(), server.local_addr());
//! tokio::spawn(async move {
//!     let connection = server.accept().await.expect("an open endpoint");
//!     let (mut send, mut recv) = connection.accept_bi().await.expect("a stream");
//!     while let Some(mut chunk) = recv.read_chunk(64 * 1024).await.expect("bytes") {
//!         send.write_chunk(&mut chunk).await.expect("a reader");
//!     }
//!     send.finish().expect("an open stream");
//!     connection.closed().await;
//! });
//!
//! let client = Endpoint::builder().identity(Identity::generate()?).client().await?;
//! let connection = client.connect(&target).await?;
//! let (mut send, mut recv) = connection.open_bi().await?;
//! send.write_all(b"hello").await?;
//! send.finish()?;
//! assert_eq!(recv.read_to_end(1024).await?, b"hello");
//! # Ok(()) }
//! ```

mod accept;
mod alive;
mod auto;
mod bare;
mod bind;
mod builder;
mod carrier;
mod config;
mod connection;
mod dial;
mod drive;
mod endpoint;
mod error;
mod layer;
mod net;
mod observe;
pub mod quic;
pub mod security;
mod stats;
mod stream;
mod target;
pub mod tcpip;
pub mod trace;
pub mod tunnel;
mod via;

pub use bare::BareStream;
pub use builder::Builder;
pub use config::Config;
pub use connection::Connection;
pub use dial::ConnectOptions;
pub use endpoint::Endpoint;
pub use error::{ConnectError, ConnectionError, DatagramError, EndpointError, StreamError};
pub use layer::Handshake;
pub use observe::{
    ConnectionInfo, DatagramBatch, DatagramTap, DeviceInfo, FrameTap, Observer, SharedObserver,
    StackInfo, Tap,
};
pub use quic::QuicConfig;
pub use security::{Identity, PeerId};
pub use stats::{EcnReport, HeldBy, PathStats, Stats, StreamStats};
pub use stream::{RecvStream, SendStream, Stream};
pub use target::Target;
pub use via::{UnknownVia, Via};

pub use rustls;
pub use weir_core::budget::Budget;
pub use weir_core::close::{CloseReason, Initiator, Layer};
pub use weir_core::sched::Priority;
