//! The states of a connection (RFC 9293 section 3.3.2).

use core::fmt;

/// The state of a connection. LISTEN has no connection yet, and TIME-WAIT is kept in the stack's own
/// small table once the application let go.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A SYN was sent; none has arrived.
    SynSent,
    /// Both SYNs are there; ours is not acknowledged.
    SynReceived,
    /// Open both ways.
    Established,
    /// We finished; the FIN is not acknowledged.
    FinWait1,
    /// We finished, the peer knows it and has not.
    FinWait2,
    /// The peer finished, we have not.
    CloseWait,
    /// Both finished at once; our FIN is not acknowledged.
    Closing,
    /// The peer finished, then we; our FIN is not acknowledged.
    LastAck,
    /// Both finished; old segments may still be under way.
    TimeWait,
    /// Over.
    Closed,
}

impl State {
    /// The name in RFC 9293.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
            State::Closed => "CLOSED",
        }
    }

    /// True where both SYNs are acknowledged (RFC 9293 section 4: synchronised state).
    #[inline]
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, State::SynSent | State::SynReceived | State::Closed)
    }

    /// True where data may still arrive.
    #[inline]
    #[must_use]
    pub const fn is_receiving(self) -> bool {
        matches!(self, State::Established | State::FinWait1 | State::FinWait2)
    }

    /// True where data may still be sent, new or again.
    #[inline]
    #[must_use]
    pub const fn is_sending(self) -> bool {
        matches!(
            self,
            State::Established
                | State::CloseWait
                | State::FinWait1
                | State::Closing
                | State::LastAck
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
