//! Packet protection and TLS (RFC 9001), address-validation tokens, stateless reset.
//!
//! | module | what it is |
//! |---|---|
//! | [`initial`] | the keys of Initial packets, from the client's first connection ID |
//! | [`packet`] | one packet sealed and opened in place, with given keys |
//! | [`protection`] | all keys of one connection, and which of them a packet takes |
//! | [`phases`] | 1-RTT keys through their updates |
//! | [`tls`] | the TLS handshake over CRYPTO bytes |
//! | [`server_tls`] | a server's configuration, with its tickets kept apart |
//! | [`client_hello`] | a look into the ClientHello, to choose the version by |
//! | [`secrets`] | packet keys from traffic secrets, for a version that came later |
//! | [`exporter`] | key material for the application |
//! | [`messages`] | which handshake messages may come at which level |
//! | [`retry`] | the integrity tag of Retry packets |
//! | [`token`] | address validation tokens |
//! | [`reset`] | stateless reset tokens |

mod alert;
pub(crate) mod client_hello;
mod exporter;
pub(crate) mod initial;
mod messages;
mod packet;
mod phases;
mod protection;
mod reset;
pub(crate) mod retry;
mod secrets;
mod server_tls;
mod tls;
mod token;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    packet::{SAMPLE_LEN, TAG_LEN},
    protection::{AeadLimits, OpenError, Protection},
    server_tls::ServerTls,
    tls::{KeyChange, Tls, TlsError},
};
#[cfg(test)]
pub(crate) use self::{phases::KeyUpdateRefused, protection::Opened};
#[cfg(any(test, feature = "measure"))]
pub(crate) use self::{
    phases::NextKeys,
    secrets::{Secret, Secrets},
};
pub use self::{
    reset::ResetKey,
    token::{Holder, TokenKeys, TokenState},
};

use crate::wire::Space;

/// Encryption levels (RFC 9001 section 4.1.4).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Initial packets.
    Initial,
    /// 0-RTT packets.
    ZeroRtt,
    /// Handshake packets.
    Handshake,
    /// 1-RTT packets.
    OneRtt,
}

impl Level {
    /// The packet number space that it counts in.
    pub(crate) const fn space(self) -> Space {
        match self {
            Level::Initial => Space::Initial,
            Level::Handshake => Space::Handshake,
            Level::ZeroRtt | Level::OneRtt => Space::Data,
        }
    }
}
