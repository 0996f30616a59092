//! What can go wrong when a lab starts.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use weir_sim::ConfigError;

/// Why a lab did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A value of a direction is out of its range.
    #[error("{direction}: {source}")]
    Direction {
        /// `to server` or `to client`.
        direction: &'static str,
        /// The field, its value and its range.
        source: ConfigError,
    },
    /// Rebinding to other addresses needs a network of them.
    #[error("{0} is not in 127.0.0.0/8: other addresses can be taken only towards a server there")]
    RebindAddress(SocketAddr),
    /// A period of zero would rebind without end.
    #[error("the time between rebindings must not be zero")]
    RebindPeriod,
    /// A recording could not be begun.
    #[error("cannot record into {}: {source}", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The delivering thread could not be started.
    #[error("the lab's thread did not start: {0}")]
    Thread(io::Error),
}
