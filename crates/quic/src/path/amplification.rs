//! The anti-amplification limit of one address (RFC 9000 section 8).

use crate::limits::AMPLIFICATION_FACTOR;

/// Bytes that came from an address and went to it, while the peer has yet to show that it is there.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Amplification {
    limited: bool,
    received: u64,
    sent: u64,
}

impl Amplification {
    /// An address that may not be the peer's.
    pub(crate) const fn limited() -> Amplification {
        Amplification {
            limited: true,
            received: 0,
            sent: 0,
        }
    }

    /// An address that may be sent to without limit: a client's server (RFC 9000 section 8.1).
    pub(crate) const fn unlimited() -> Amplification {
        Amplification {
            limited: false,
            received: 0,
            sent: 0,
        }
    }

    /// The whole payload of a UDP datagram from there, whatever became of the packets in it.
    #[inline]
    pub(crate) fn on_received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// The whole payload of a UDP datagram that went there.
    #[inline]
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Bytes that went there.
    #[inline]
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The address is the peer's.
    pub(crate) fn lift(&mut self) {
        self.limited = false;
    }

    /// Bytes that may be sent now; [`u64::MAX`] without a limit.
    #[inline]
    pub(crate) fn allowance(&self) -> u64 {
        if !self.limited {
            return u64::MAX;
        }
        let most = self.received.saturating_mul(AMPLIFICATION_FACTOR);
        most.saturating_sub(self.sent)
    }
}
