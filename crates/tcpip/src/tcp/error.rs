//! Why a call could not be done, and why a connection is over.

use weir_core::close::{CloseReason, Initiator, Layer};

/// Why nothing was written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The send buffer is full, memory is short, or the connection is not open yet; `Writable`
    /// follows once.
    #[error("the send buffer is full")]
    Blocked,
    /// `finish` was called before.
    #[error("the stream was finished")]
    Finished,
    /// The connection is over.
    #[error("{0}")]
    Closed(CloseCause),
    /// The key names no connection.
    #[error("no such connection")]
    Unknown,
}

/// Why nothing was read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing has arrived; `Readable` follows once.
    #[error("nothing has arrived")]
    Blocked,
    /// `stop` was called before.
    #[error("reading was stopped")]
    Stopped,
    /// The connection is over, and what had arrived was read.
    #[error("{0}")]
    Closed(CloseCause),
    /// The key names no connection.
    #[error("no such connection")]
    Unknown,
}

/// Why a connection is over.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum CloseCause {
    /// Both sides finished and everything was acknowledged.
    Finished,
    /// The application aborted it (T124).
    Aborted,
    /// The peer sent a RST (T125).
    Reset,
    /// The peer answered the SYN with a RST (T19).
    Refused,
    /// The SYN was not answered (T23).
    ConnectTimedOut,
    /// Data was not acknowledged in the time allowed (T77, T127).
    TimedOut,
    /// Keep-alive probes were not answered (T126).
    KeepAliveTimedOut,
    /// The host cannot be reached: nobody on the link answers for it, or for the router on the way
    /// there; or ICMP errors say so (T50). Of an open connection: it timed out, and that is why.
    HostUnreachable,
    /// An ICMP error during opening says that the network cannot be reached (T50).
    NetworkUnreachable,
    /// An ICMP error during opening says that the peer's host has no TCP there (T50).
    PortUnreachable,
    /// An ICMP error during opening says that this traffic is prohibited (T50).
    Prohibited,
    /// The peer closed without reading, or data came after the application let go (T118).
    Unread,
    /// Closing lingered for the time allowed, and data was still unacknowledged (T123).
    LingerExpired,
    /// The orphaned connection waited too long for the peer to finish (T122).
    FinWaitExpired,
    /// The local interface or address it was bound to is gone, or the stack shut down.
    AddressGone,
}

impl CloseCause {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseCause::Finished => "closed by both sides",
            CloseCause::Aborted => "aborted by this side",
            CloseCause::Reset => "connection reset by peer",
            CloseCause::Refused => "connection refused",
            CloseCause::ConnectTimedOut => "connecting timed out: no answer to the SYN",
            CloseCause::TimedOut => "timed out: the peer acknowledges nothing",
            CloseCause::KeepAliveTimedOut => "timed out: no answer to keep-alive probes",
            CloseCause::HostUnreachable => "host unreachable",
            CloseCause::NetworkUnreachable => "network unreachable",
            CloseCause::PortUnreachable => "protocol or port unreachable",
            CloseCause::Prohibited => "prohibited on the way",
            CloseCause::Unread => "data arrived after the application closed",
            CloseCause::LingerExpired => "closing took longer than the linger time",
            CloseCause::FinWaitExpired => "the peer did not finish in time",
            CloseCause::AddressGone => "the local address is gone",
        }
    }

    /// In the one type that all engines have. The code is Linux' error number, 0 for a clean end.
    #[must_use]
    pub fn reason(self) -> CloseReason {
        let (by, code) = match self {
            CloseCause::Finished => (Initiator::Peer, 0),
            CloseCause::Aborted => (Initiator::Local, 103),
            CloseCause::Reset => (Initiator::Peer, 104),
            CloseCause::Refused => (Initiator::Peer, 111),
            CloseCause::ConnectTimedOut
            | CloseCause::TimedOut
            | CloseCause::KeepAliveTimedOut
            | CloseCause::LingerExpired
            | CloseCause::FinWaitExpired => (Initiator::Timer, 110),
            CloseCause::HostUnreachable => (Initiator::Carrier, 113),
            CloseCause::NetworkUnreachable => (Initiator::Carrier, 101),
            CloseCause::PortUnreachable => (Initiator::Carrier, 111),
            CloseCause::Prohibited => (Initiator::Carrier, 13),
            CloseCause::Unread => (Initiator::Local, 32),
            CloseCause::AddressGone => (Initiator::Carrier, 99),
        };
        CloseReason::new(by, Layer::Transport, code, self.as_str())
    }
}
