//! IETF QUIC, versions 1 and 2 (RFC 8999, 9000, 9001, 9002, 9369), as a sans-IO engine.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | bytes to values and back: headers, frames, transport parameters; no state |
//! | `crypto` | packet protection, TLS, tokens, stateless reset |
//! | [`cid`] | connection IDs: how they are made, issued and retired |
//! | `stream` | streams and their flow control; knows nothing of packets |
//! | `recovery` | what was sent, what was received, what is lost |
//! | `path` | the ways to the peer: validation, migration, size |
//! | `connection` | one connection, made of the above |
//! | `endpoint` | one socket's datagrams to their connections, and answers without state |

// The harnesses of `fuzz/` name the crate from outside, and are run as tests here, too.
#[cfg(test)]
extern crate self as weir_quic;

pub mod cid;
mod config;
mod connection;
mod crypto;
mod endpoint;
mod error;
pub mod limits;
#[cfg(any(test, feature = "measure"))]
#[doc(hidden)]
pub mod measure;
mod path;
mod recovery;
mod sent;
mod stream;
mod transmit;
pub mod wire;

pub use config::{ClientConfig, ConfigError, PreferredAddresses, ServerConfig, TransportConfig};
pub use connection::{
    Connection, ConnectionStats, EcnReport, EndpointEvent, Event, HandshakeInfo, Timer,
};
pub use crypto::{Holder as TokenHolder, ResetKey, TokenKeys, TokenState};
pub use endpoint::{
    AcceptError, ConnectError, ConnectionHandle, Endpoint, EndpointConfig, EndpointStats, Handled,
    Incoming, RetryPolicy,
};
pub use error::{TransportError, code};
pub use path::PathError;
pub use stream::{
    DatagramStats, Half, Holds, OpenError, ReadError, RecvState, SendDatagramError, SendState,
    StreamStats, StreamsStats, WriteError,
};
pub use transmit::{Ecn, PathAddr, Transmit, TransmitBuf};
pub use weir_core::slab::Key;
pub use wire::transport_parameters::Remembered;
pub use wire::{ConnectionId, Dir, Side, StreamId, Version};
