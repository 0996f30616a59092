//! What can go wrong, in words for the person who reads them.

use std::io;
use std::sync::Arc;

use weir_core::limits::OutOfRange;
use weir_tcpip::{
    BindError, CloseCause, ConfigError, ConnectError, Gone, IcmpKind, UdpError, UdpSendError,
};

/// Why a stack could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// A setting is out of its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// An interface, an address or a route cannot be as asked for.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The stack has no device.
    #[error("a stack needs a device")]
    NoDevice,
    /// The system gives no random numbers.
    #[error("{0}")]
    Random(String),
}

/// Why a connection of the stack is over, or a call on it got nothing. It stands inside the
/// [`io::Error`]s of [`TcpStream`](super::TcpStream): [`io::Error::get_ref`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The connection is over.
    #[error("{0}")]
    Closed(CloseCause),
    /// This side has ended its direction before.
    #[error("this side has ended its direction")]
    Finished,
    /// This side has stopped reading before.
    #[error("this side reads no more")]
    Stopped,
    /// The stack is over.
    #[error("{0}")]
    StackGone(Arc<str>),
    /// The connection was let go of.
    #[error("the connection is not there any more")]
    Unknown,
}

impl From<TcpError> for io::Error {
    fn from(error: TcpError) -> io::Error {
        let kind = match &error {
            TcpError::Closed(cause) => kind(*cause),
            TcpError::Finished | TcpError::Stopped => io::ErrorKind::BrokenPipe,
            TcpError::StackGone(_) => io::ErrorKind::NetworkDown,
            TcpError::Unknown => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}

/// The system's word for the end of a connection.
fn kind(cause: CloseCause) -> io::ErrorKind {
    match cause {
        CloseCause::Finished => io::ErrorKind::NotConnected,
        CloseCause::Aborted => io::ErrorKind::ConnectionAborted,
        CloseCause::Reset => io::ErrorKind::ConnectionReset,
        CloseCause::Refused | CloseCause::PortUnreachable => io::ErrorKind::ConnectionRefused,
        CloseCause::ConnectTimedOut
        | CloseCause::TimedOut
        | CloseCause::KeepAliveTimedOut
        | CloseCause::LingerExpired
        | CloseCause::FinWaitExpired => io::ErrorKind::TimedOut,
        CloseCause::HostUnreachable => io::ErrorKind::HostUnreachable,
        CloseCause::NetworkUnreachable => io::ErrorKind::NetworkUnreachable,
        CloseCause::Prohibited => io::ErrorKind::PermissionDenied,
        CloseCause::Unread => io::ErrorKind::BrokenPipe,
        CloseCause::AddressGone => io::ErrorKind::AddrNotAvailable,
    }
}

pub(super) fn from_bind(error: BindError) -> io::Error {
    let kind = match &error {
        BindError::InUse(_) | BindError::NoPort => io::ErrorKind::AddrInUse,
        BindError::NotLocal(_) => io::ErrorKind::AddrNotAvailable,
        BindError::Config(_) => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

pub(super) fn from_connect(error: ConnectError) -> io::Error {
    let kind = match &error {
        ConnectError::InvalidRemote(_) | ConnectError::Config(_) => io::ErrorKind::InvalidInput,
        ConnectError::InvalidLocal(_) => io::ErrorKind::AddrNotAvailable,
        ConnectError::InUse { .. } | ConnectError::NoPort => io::ErrorKind::AddrInUse,
        ConnectError::NoRoute(_) => io::ErrorKind::NetworkUnreachable,
        ConnectError::NoMemory => io::ErrorKind::OutOfMemory,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

pub(super) fn from_udp(error: UdpSendError) -> io::Error {
    let kind = match &error {
        UdpSendError::Closed | UdpSendError::NoDestination => io::ErrorKind::NotConnected,
        UdpSendError::Full => io::ErrorKind::WouldBlock,
        UdpSendError::InvalidSource(_) => io::ErrorKind::AddrNotAvailable,
        UdpSendError::NoRoute(_) => io::ErrorKind::NetworkUnreachable,
        _ => io::ErrorKind::InvalidInput,
    };
    io::Error::new(kind, error)
}

/// What the system's sockets make of ICMP errors.
pub(super) fn from_icmp(error: UdpError) -> io::Error {
    io::Error::new(icmp_kind(error.kind), error)
}

/// The system's word for an ICMP error.
pub(crate) fn icmp_kind(kind: IcmpKind) -> io::ErrorKind {
    match kind {
        IcmpKind::PortUnreachable | IcmpKind::ProtocolUnreachable => {
            io::ErrorKind::ConnectionRefused
        }
        IcmpKind::NetworkUnreachable => io::ErrorKind::NetworkUnreachable,
        IcmpKind::HostUnreachable | IcmpKind::TimeExceeded => io::ErrorKind::HostUnreachable,
        IcmpKind::Prohibited => io::ErrorKind::PermissionDenied,
        IcmpKind::PacketTooBig { .. } => io::ErrorKind::InvalidInput,
        IcmpKind::ParameterProblem => io::ErrorKind::Other,
    }
}

pub(super) fn gone(error: Gone) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
