//! The ways to the peer (RFC 9000 sections 8, 9 and 14).
//!
//! | file | what it is |
//! |---|---|
//! | `set` | [`PathSet`]: all paths of a connection, which one is in use |
//! | `probe` | challenges and responses on their way out, and the connection ID of each path |
//! | `migrate` | how the connection moves from one path to another, and back |
//! | `state` | one `Path` |
//! | `validation` | challenges and responses of one path |
//! | `amplification` | three times the bytes received, never more |
//! | `mtu`, `sizes` | how large a datagram may be, on one path and on each |
//! | `events` | what the set reports, and the errors of its calls |

pub(crate) mod amplification;
#[cfg(test)]
mod amplification_tests;
pub(crate) mod events;
pub(crate) mod migrate;
#[cfg(test)]
mod migrate_tests;
pub(crate) mod mtu;
#[cfg(test)]
mod mtu_tests;
pub(crate) mod probe;
pub(crate) mod set;
#[cfg(test)]
mod set_tests;
pub(crate) mod sizes;
pub(crate) mod state;
#[cfg(test)]
mod testing;
pub(crate) mod validation;
#[cfg(test)]
mod validation_tests;

pub use events::PathError;
#[cfg(test)]
pub(crate) use events::Probe;
pub(crate) use events::{Arrival, PathEvent};
pub(crate) use set::{PathConfig, PathSet, PeerPathLimits};

/// A path of one connection. Numbers are never used twice.
///
/// The number stands for what was learnt by sending: round trip time, congestion window, datagram
/// size, and the packets in flight that they are learnt from. When only the peer's port changes, the
/// number goes over to the new address with all of that (RFC 9000 section 9.4), and the old address
/// gets another one.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathId(pub(crate) u32);
