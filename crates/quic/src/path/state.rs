//! One path.

use weir_core::time::{Duration, Instant};

use super::PathId;
use super::amplification::Amplification;
use super::mtu::Mtu;
use super::validation::{PathData, Responses, Validation};
use crate::recovery::{GRANULARITY, PathRecovery};
use crate::transmit::PathAddr;

/// Who began to use a path.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenedBy {
    Us,
    Peer,
}

/// One path: an address, and what was learnt of the way there.
#[derive(Debug)]
pub(crate) struct Path {
    // What was learnt by sending. It goes over to another address when only the port changes.
    pub(crate) id: PathId,
    /// Round trip, congestion, marks.
    pub(crate) recovery: PathRecovery,
    /// Datagram size.
    pub(crate) mtu: Mtu,
    // What belongs to the address.
    pub(crate) addr: PathAddr,
    pub(super) amplification: Amplification,
    pub(super) opened_by: OpenedBy,
    /// The peer answered from there.
    pub(super) validated: bool,
    /// It answered a datagram of 1200 bytes (RFC 9000 section 8.2.1).
    pub(super) full_size: bool,
    /// What to go back to when the path in use fails: it was the last validated one.
    pub(super) fallback: bool,
    /// The connection moves here once the path is validated.
    pub(super) wanted: bool,
    /// The connection ID of ours that the peer sends to here.
    pub(super) local_cid: u64,
    /// The connection ID of the peer's that we send to.
    pub(super) remote_cid: Option<u64>,
    pub(super) validation: Option<Box<Validation>>,
    pub(super) responses: Option<Box<Responses>>,
    /// Not in use: when it ends.
    pub(super) ends_at: Instant,
}

impl Path {
    /// Whether the peer has shown that it is there.
    pub(crate) fn is_validated(&self) -> bool {
        self.validated
    }

    /// Whether the peer is there, and gets 1200 bytes.
    pub(super) fn is_usable(&self) -> bool {
        self.validated && self.full_size
    }

    /// The path's own probe time-out (RFC 9002 section 6.2.1).
    pub(super) fn pto(&self, max_ack_delay: Duration) -> Duration {
        self.recovery.rtt.pto(GRANULARITY, max_ack_delay)
    }

    /// A challenge came, and wants an answer on this path.
    pub(super) fn on_challenge(&mut self, data: PathData) {
        self.responses.get_or_insert_default().push(data);
    }

    pub(super) fn wants_probe(&self) -> bool {
        self.responses.is_some()
            || self
                .validation
                .as_ref()
                .is_some_and(|validation| validation.wants_challenge())
    }

    /// Whether a challenge has to have 1200 bytes to be of use: that the peer is there is known.
    pub(super) fn needs_full_size(&self) -> bool {
        self.validated && !self.full_size
    }

    /// Hands what was learnt to the path at another port of the same host.
    pub(super) fn exchange_ways(&mut self, other: &mut Path) {
        std::mem::swap(&mut self.id, &mut other.id);
        std::mem::swap(&mut self.recovery, &mut other.recovery);
        std::mem::swap(&mut self.mtu, &mut other.mtu);
    }

    /// Bytes of what is allocated only while the path is validated.
    #[cfg(test)]
    pub(super) fn boxed_memory(&self) -> usize {
        let validation = self.validation.as_deref().map_or(0, size_of_val);
        let responses = self.responses.as_deref().map_or(0, size_of_val);
        validation.saturating_add(responses)
    }

    /// When something is due.
    pub(super) fn timeout(&self) -> Instant {
        let validation = self.validation.as_ref();
        let validation = validation.map_or(Instant::MAX, |validation| validation.timeout());
        validation.min(self.ends_at)
    }
}
