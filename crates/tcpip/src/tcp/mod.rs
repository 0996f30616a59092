//! The connection (RFC 9293) and what it agrees on with its peer.
//!
//! | file | what it is |
//! |---|---|
//! | `config`, `state`, `error`, `stats` | how a connection behaves, where it stands, why a call fails, what is seen |
//! | `recovery/` | what is in flight, what is lost, how much may go |

mod config;
mod error;
mod recovery;
mod state;
mod stats;

pub use config::{KeepAlive, SendBufferConfig, Setting, TcpConfig};
pub use error::{CloseCause, ReadError, WriteError};
pub use state::State;
pub use stats::TcpStats;
