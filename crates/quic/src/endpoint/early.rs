//! 0-RTT packets that came before the Initial they belong to (RFC 9000 section 17.2.3): kept for a
//! moment, in a fixed amount of memory.

use std::collections::VecDeque;

use weir_core::time::Instant;

use super::pending::Held;
use crate::limits::{EARLY_LIFETIME, MAX_EARLY_BYTES, MAX_EARLY_DATAGRAMS, MAX_HELD_PER_ATTEMPT};
use crate::wire::ConnectionId;

struct Early {
    dcid: ConnectionId,
    until: Instant,
    held: Held,
}

/// All of them, the oldest first.
#[derive(Default)]
pub(super) struct EarlyPackets {
    datagrams: VecDeque<Early>,
    bytes: usize,
}

impl EarlyPackets {
    /// Keeps a datagram. Those that are too old go, and if that does not make room, the oldest. False
    /// when those for `dcid` have all that an attempt may have.
    pub(super) fn keep(&mut self, now: Instant, dcid: ConnectionId, held: Held) -> bool {
        self.expire(now);
        let size = held.data.len();
        let same = self.datagrams.iter().filter(|early| early.dcid == dcid);
        let of_attempt: usize = same.map(|early| early.held.data.len()).sum();
        if of_attempt + size > MAX_HELD_PER_ATTEMPT {
            return false;
        }
        while self.datagrams.len() >= MAX_EARLY_DATAGRAMS || self.bytes + size > MAX_EARLY_BYTES {
            if self.drop_oldest().is_none() {
                return false;
            }
        }
        self.bytes += size;
        self.datagrams.push_back(Early {
            dcid,
            until: now + EARLY_LIFETIME,
            held,
        });
        true
    }

    /// Takes out those for `dcid`, in the order in which they came.
    pub(super) fn take(&mut self, now: Instant, dcid: &ConnectionId) -> Vec<Held> {
        self.expire(now);
        let mut taken = Vec::new();
        if !self.datagrams.iter().any(|early| early.dcid == *dcid) {
            return taken;
        }
        for early in std::mem::take(&mut self.datagrams) {
            if early.dcid == *dcid {
                self.bytes -= early.held.data.len();
                taken.push(early.held);
            } else {
                self.datagrams.push_back(early);
            }
        }
        taken
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest goes.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.datagrams.front().map(|early| early.until)
    }

    /// Drops those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while self
            .datagrams
            .front()
            .is_some_and(|early| early.until <= now)
        {
            self.drop_oldest();
        }
        if self.datagrams.is_empty() {
            self.datagrams = VecDeque::new();
        }
    }

    fn drop_oldest(&mut self) -> Option<()> {
        let oldest = self.datagrams.pop_front()?;
        self.bytes -= oldest.held.data.len();
        Some(())
    }
}
