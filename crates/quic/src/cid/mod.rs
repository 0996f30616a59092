//! Connection IDs: how they are made, issued and retired (RFC 9000 section 5.1).
//!
//! Each end chooses the connection IDs that the other puts into its packets. `local` keeps those
//! that were given to the peer, `remote` those that the peer gave.

use std::fmt;

use subtle::ConstantTimeEq as _;
use weir_core::rng::Rng;
use weir_core::time::Duration;

use crate::wire::ConnectionId;

mod generator;
pub(crate) mod local;
#[cfg(test)]
mod local_tests;
mod quic_lb;
pub(crate) mod remote;
#[cfg(test)]
mod remote_tests;

pub use generator::RandomCids;
#[cfg(test)]
pub(crate) use local::LocalCids;
pub use quic_lb::{QuicLb, QuicLbConfig, QuicLbError};
pub(crate) use remote::RemoteCids;

/// Makes the connection IDs by which packets find their connection (RFC 9000 section 5.1).
pub trait ConnectionIdGenerator: Send + Sync {
    /// A new one of [`len`](Self::len) bytes. It must tell an observer nothing that links it to
    /// others of the same connection.
    fn generate(&self, rng: &mut Rng) -> ConnectionId;

    /// The length of all that it makes, in bytes: 0 to 20.
    fn len(&self) -> usize;

    /// Whether they have no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long one is used before the peer is given another in its place; `None` for as long as
    /// the connection lasts.
    fn lifetime(&self) -> Option<Duration>;
}

/// A stateless reset token (RFC 9000 section 10.3). Comparing two takes the same time wherever they
/// differ.
#[derive(Copy, Clone)]
pub struct ResetToken([u8; 16]);

impl ResetToken {
    /// The token of these bytes.
    pub(crate) const fn new(bytes: [u8; 16]) -> ResetToken {
        ResetToken(bytes)
    }

    /// Its bytes, as they stand in frames.
    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for ResetToken {
    fn eq(&self, other: &ResetToken) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ResetToken {}

impl fmt::Debug for ResetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetToken")
    }
}

/// Makes the reset tokens of connection IDs (RFC 9000 section 10.3.2).
pub(crate) trait ResetTokens: Send + Sync {
    /// The token for `cid`; always the same for one connection ID.
    fn token(&self, cid: &ConnectionId) -> ResetToken;
}
