//! The connection (RFC 9293) and what it agrees on with its peer.
//!
//! | file | what it is |
//! |---|---|
//! | `config`, `state`, `error`, `stats` | how a connection behaves, where it stands, why a call fails, what is seen |
//! | `recovery/` | what is in flight, what is lost, how much may go |
//! | `interface` | what passes between a connection and the stack |
//! | `connection` | its variables, and how it begins |
//! | `asleep` | what is kept of it while it has nothing to say |
//! | `time_wait` | what is left of it in TIME-WAIT |

mod acking;
mod acknowledgment;
mod application;
mod arrival;
pub(crate) mod asleep;
mod challenge;
mod clock;
mod closing;
mod config;
pub(crate) mod connection;
mod ecn;
mod emit;
mod error;
mod handshake;
mod icmp;
pub(crate) mod interface;
pub(crate) mod listen;
mod plain;
mod receiver;
mod recovery;
mod reorder;
mod sender;
mod state;
mod stats;
mod telling;
mod text;
pub(crate) mod time_wait;
mod timers;
mod transmit;
mod urgent;

pub(crate) use config::check_dscp;
pub use config::{KeepAlive, SendBufferConfig, Setting, TcpConfig};
pub use error::{CloseCause, ReadError, WriteError};
pub use interface::TcpTimer;
pub use state::State;
pub use stats::TcpStats;

#[cfg(test)]
mod tests;
