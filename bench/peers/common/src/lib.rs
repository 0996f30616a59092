//! What the peers of the benchmark share: the command line of the QUIC peers, their certificate, their sockets, and what a run
//! used and prints.

mod certificate;
mod flags;
pub mod report;
mod socket;
pub mod udp;

pub use certificate::Certificate;
pub use flags::{Flags, Work};
pub use socket::socket;

/// Request and answer of the `rr` works.
pub const MESSAGE: usize = 1024;
/// What a bulk writer hands over at a time.
pub const CHUNK: usize = 256 * 1024;
/// The application protocol of all QUIC peers.
pub const ALPN: &[u8] = b"bench";
/// Whom the certificate is for.
pub const NAME: &str = "localhost";
/// Windows of a stream, in bytes: no bulk work is ever held back by one.
pub const STREAM_WINDOW: u32 = 16 << 20;
/// Windows of a connection, in bytes.
pub const CONNECTION_WINDOW: u32 = 64 << 20;
