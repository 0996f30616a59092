//! Stream IDs, and the words for their two low bits.

use std::fmt;

/// Which end of a connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that began the connection.
    Client,
    /// The one that was asked.
    Server,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// True for the client.
    #[must_use]
    pub const fn is_client(self) -> bool {
        matches!(self, Side::Client)
    }

    /// True for the server.
    #[must_use]
    pub const fn is_server(self) -> bool {
        matches!(self, Side::Server)
    }

    /// "client" or "server".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

/// Whether both ends send on a stream.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// Both ends send.
    Bi,
    /// Only the end that opened it sends.
    Uni,
}

impl Dir {
    /// Both, in the order of their bits.
    pub const ALL: [Dir; 2] = [Dir::Bi, Dir::Uni];

    /// Its place in tables of two.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A stream ID (RFC 9000 section 2.1): bit 0 says who opened it, bit 1 whether it is
/// unidirectional, the rest counts streams of that kind from 0.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The `number`th stream of its kind.
    #[must_use]
    pub const fn new(initiator: Side, dir: Dir, number: u64) -> StreamId {
        StreamId(number << 2 | (dir as u64) << 1 | initiator as u64)
    }

    /// Who opens it.
    #[must_use]
    pub const fn initiator(self) -> Side {
        if self.0 & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        }
    }

    /// Whether both ends send on it.
    #[must_use]
    pub const fn dir(self) -> Dir {
        if self.0 & 2 == 0 { Dir::Bi } else { Dir::Uni }
    }

    /// How many streams of its kind come before it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 >> 2
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
