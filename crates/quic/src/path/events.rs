//! What the set of paths is told, asked and reports.

use super::PathId;
use super::validation::{PathData, Responses};
use crate::transmit::PathAddr;

/// Where a datagram came from, before anything in it is opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A path of this connection.
    Known(PathId),
    /// An address not seen before. It becomes a path once a packet from there is authentic
    /// ([`PathSet::admit`](super::PathSet::admit)).
    Unknown,
    /// The datagram is to be dropped: a server address that the client does not know, or a client
    /// address that changed before the handshake was confirmed (RFC 9000 section 9).
    Refused,
}

/// Frames that have to go out on one path, in one packet of their own.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The path.
    pub(crate) path: PathId,
    /// PATH_CHALLENGE with this data.
    pub(crate) challenge: Option<PathData>,
    /// PATH_RESPONSE with each of these.
    pub(crate) responses: Responses,
    /// The datagram has to have 1200 bytes; when false it must not, for the anti-amplification
    /// limit of the path ([`PathSet::send_allowance`](super::PathSet::send_allowance)).
    pub(crate) expand: bool,
    /// A PING belongs with it: answering on the path in use with more than a probe brings back a
    /// connection that an attacker moved (RFC 9000 section 9.3.3).
    pub(crate) non_probing: bool,
}

/// News.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathEvent {
    /// The peer is at this address. A server may give it a token for it (RFC 9000 section 9.3).
    Validated {
        /// Which path.
        path: PathId,
        /// Its address.
        addr: PathAddr,
    },
    /// The peer did not answer from this address.
    ValidationFailed {
        /// The address.
        addr: PathAddr,
        /// Where the connection went back to, if it was using the path.
        fell_back_to: Option<PathAddr>,
    },
    /// The connection uses another path.
    Migrated {
        /// The one it used.
        old: PathAddr,
        /// The one it uses now.
        new: PathAddr,
    },
    /// Nothing is sent on this path any more, and its number means nothing.
    Ended(PathId),
    /// No path is left: the connection ends without a word (RFC 9000 section 9.3.2).
    NoViablePath,
    /// The size of full datagrams on a path changed, in bytes.
    MtuChanged {
        /// Which path.
        path: PathId,
        /// The size.
        size: u16,
    },
}

/// Why this end cannot use another path.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Only clients migrate (RFC 9000 section 9).
    #[error("only a client can move a connection")]
    NotClient,
    /// Not before the handshake is confirmed (RFC 9000 section 9).
    #[error("the handshake is not confirmed yet")]
    NotConfirmed,
    /// The server sent disable_active_migration (RFC 9000 section 18.2).
    #[error("the server does not allow migration")]
    Disabled,
    /// The server's address is not one it gave (RFC 9000 section 9).
    #[error("that is not an address of the server")]
    UnknownServerAddress,
    /// The server uses zero-length connection IDs (RFC 9000 section 9.5).
    #[error("the server uses connection IDs of no bytes")]
    ZeroLengthConnectionId,
    /// The server has not given an unused connection ID (RFC 9000 section 9.5).
    #[error("the server has given no connection ID for another path")]
    NoConnectionId,
    /// As many paths as may be are being tried.
    #[error("too many paths at once")]
    TooManyPaths,
    /// There is no such path.
    #[error("no such path")]
    UnknownPath,
}
