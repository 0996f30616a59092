//! The ways a connection can be carried.

use std::fmt;
use std::str::FromStr;

/// How streams reach the peer: what lies below them and what protects them.
///
/// The text form is the one the command line takes (`--via yamux`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Via {
    /// QUIC where UDP passes, else yamux: both are begun, QUIC first, and the first to be ready is
    /// taken (as RFC 8305 chooses among addresses). A listening side takes both at one port number.
    Auto,
    /// Many streams and datagrams over QUIC; both sides are authenticated by their peer IDs, or the
    /// listening one by a certificate for its name.
    Quic,
    /// Many streams over TLS 1.3 over TCP; both sides are authenticated by their peer IDs.
    Yamux,
    /// Many streams over bare TCP: no encryption, no authentication. For loopback, for links that
    /// are secured already, and for talking to multiplexers of other makes.
    YamuxPlain,
    /// One stream per TCP connection, nothing added: the base line of measurements.
    Tcp,
    /// One stream per TLS 1.3 connection: the base line of measurements under encryption.
    Tls,
}

impl Via {
    /// Every way there is, in the order in which help texts list them.
    pub const ALL: [Via; 6] = [
        Via::Auto,
        Via::Quic,
        Via::Yamux,
        Via::YamuxPlain,
        Via::Tcp,
        Via::Tls,
    ];

    /// The name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Via::Auto => "auto",
            Via::Quic => "quic",
            Via::Yamux => "yamux",
            Via::YamuxPlain => "yamux-plain",
            Via::Tcp => "tcp",
            Via::Tls => "tls",
        }
    }

    /// Whether the peer is known by its key and the bytes are encrypted.
    pub const fn is_secure(self) -> bool {
        matches!(self, Via::Auto | Via::Quic | Via::Yamux | Via::Tls)
    }

    /// Whether one connection carries many streams.
    pub const fn is_multiplexed(self) -> bool {
        !matches!(self, Via::Tcp | Via::Tls)
    }

    /// Whether unreliable datagrams travel beside the streams. [`Via::Auto`] may end up with either.
    pub const fn carries_datagrams(self) -> bool {
        matches!(self, Via::Quic)
    }

    /// Whether it can be carried over UDP.
    pub(crate) const fn uses_udp(self) -> bool {
        matches!(self, Via::Auto | Via::Quic)
    }

    /// How it is carried over TCP, where it can be.
    pub(crate) const fn over_tcp(self) -> Option<Via> {
        match self {
            Via::Quic => None,
            Via::Auto => Some(Via::Yamux),
            other => Some(other),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no [`Via`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to carry streams: it is one of auto, quic, yamux, yamux-plain, tcp, tls")]
pub struct UnknownVia(pub String);

impl FromStr for Via {
    type Err = UnknownVia;

    fn from_str(name: &str) -> Result<Self, UnknownVia> {
        Via::ALL
            .into_iter()
            .find(|via| via.as_str() == name)
            .ok_or_else(|| UnknownVia(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused_by_name() {
        for via in Via::ALL {
            assert_eq!(via.to_string().parse::<Via>(), Ok(via));
        }
        let refused = "carrier-pigeon".parse::<Via>();
        assert_eq!(refused, Err(UnknownVia("carrier-pigeon".to_owned())));
    }
}
