//! What can go wrong, in words for the person who reads them.

use std::io;
use std::net::SocketAddr;

use weir_core::close::CloseReason;

/// Why a stream cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer ended the stream at once, both ways; what it had not delivered is lost.
    #[error("the peer reset the stream (code {0})")]
    Reset(u64),
    /// The peer does not want to read more of this stream.
    #[error("the peer stopped reading the stream (code {0})")]
    Stopped(u64),
    /// This side has already finished, reset or stopped the half that was used.
    #[error("this side has already ended the stream")]
    Finished,
    /// The connection below the stream is gone.
    #[error("the connection ended: {0}")]
    Closed(CloseReason),
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Reset(_) => io::ErrorKind::ConnectionReset,
            StreamError::Stopped(_) | StreamError::Finished => io::ErrorKind::BrokenPipe,
            StreamError::Closed(_) => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}

/// Why a connection gives no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The connection is over.
    #[error("the connection ended: {0}")]
    Closed(CloseReason),
    /// One side has announced the end: running streams finish, new ones are not opened.
    #[error("the connection takes no new streams: one side is going away")]
    GoingAway,
    /// Every stream ID this side may use has been used; dial a new connection.
    #[error("all stream IDs of this connection are used up: dial a new one")]
    IdsExhausted,
    /// This way has no unidirectional streams (yamux).
    #[error("this connection carries no unidirectional streams")]
    NotCarried,
}

impl From<ConnectionError> for io::Error {
    fn from(error: ConnectionError) -> Self {
        io::Error::new(io::ErrorKind::NotConnected, error)
    }
}

/// Why a datagram was not taken. Datagrams are sent at most once: a stream takes what must arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// This way carries none (yamux), or the peer takes none (RFC 9221 section 3).
    #[error("this connection carries no datagrams")]
    NotCarried,
    /// Longer than what one packet of the path carries now; a longer one may fit later.
    #[error("the datagram is too long for the path: at most {max} bytes")]
    TooLarge {
        /// The longest payload in bytes that would have been taken.
        max: usize,
    },
    /// The connection is over.
    #[error("the connection ended: {0}")]
    Closed(CloseReason),
}

/// Why a peer could not be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no target.
    #[error("`{text}` is no peer to connect to: {problem}; expected PEER@HOST:PORT or HOST:PORT")]
    Target {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The host name leads to no address.
    #[error("no address found for {host}: {source}")]
    Resolve {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the host took a TCP connection; this is the last one's answer.
    #[error("{address} does not answer: {source}")]
    Dial {
        /// The address that was dialled last.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The security handshake failed: it is not the peer that was asked for, or it wants nothing
    /// of this one.
    #[error("the handshake with {address} failed: {source}")]
    Handshake {
        /// Who was dialled.
        address: SocketAddr,
        /// What was wrong.
        source: crate::security::SecurityError,
    },
    /// The peer did not finish the handshake in time.
    #[error("{address} did not finish the handshake within {} s", .within.as_secs_f32())]
    TimedOut {
        /// Who was dialled.
        address: SocketAddr,
        /// How long was waited.
        within: std::time::Duration,
    },
    /// The peer is there and does not want this connection, or broke the protocol.
    #[error("{address} let nobody in: {reason}")]
    Refused {
        /// Who was dialled.
        address: SocketAddr,
        /// What ended it.
        reason: Box<CloseReason>,
    },
    /// The way asked for does not carry multiplexed streams, or needs what the endpoint lacks.
    #[error("{0}")]
    Via(String),
}

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A value of the configuration is out of its range.
    #[error("{0}")]
    Config(String),
    /// This side's certificate could not be made, or TLS secrets cannot be logged.
    #[error(transparent)]
    Security(#[from] crate::security::SecurityError),
}

impl From<crate::security::KeyError> for EndpointError {
    fn from(error: crate::security::KeyError) -> Self {
        EndpointError::Security(error.into())
    }
}
