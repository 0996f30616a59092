//! A bad network on purpose: a proxy for UDP and TCP that delays, loses, reorders, corrupts and
//! rebinds what passes through it, on the link model of [`weir_sim`].
//!
//! Clients connect to the lab instead of the server. Each direction is one link that all clients
//! share; each client flow has a socket of its own towards the server. The same seed draws the
//! same numbers, so a run repeats as far as packets arrive in the same order.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use weir_lab::{Lab, LabConfig};
//!
//! let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
//! let mut config = LabConfig::new(server.local_addr()?);
//! config.to_server.delay = Duration::from_millis(5);
//! let lab = Lab::start(config).await?;
//!
//! let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
//! client.send_to(b"hello", lab.listening()).await?;
//! let mut buffer = [0; 16];
//! let (length, _relay) = server.recv_from(&mut buffer).await?;
//! assert_eq!(buffer.get(..length), Some(&b"hello"[..]));
//! assert_eq!(lab.stats().to_server.link.forwarded, 1);
//! # Ok(()) }
//! ```

mod config;

mod error;
mod lab;
mod limits;
mod packet;
mod record;
mod state;
mod stats;
mod tcp;
mod udp;

pub use config::{LabConfig, Rebind};
pub use error::LabError;
pub use lab::Lab;
pub use stats::{DirectionStats, LabStats};
// What a direction is described with.
pub use weir_sim::{DropReason, EcnTreatment, LinkConfig, LinkStats, QueueLimit, Schedule};
