//! Attempts of clients that nobody has decided on yet.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use weir_core::slab::{Key, Slab};
use weir_core::time::Instant;

use super::source::Source;
use crate::limits::{INCOMING_LIFETIME, MAX_ATTEMPT_DATAGRAMS, MAX_HELD_PER_ATTEMPT};
use crate::transmit::{Ecn, PathAddr};
use crate::wire::{ConnectionId, Version};

/// How a client has shown that it is at its address.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Validation {
    /// It has not.
    None,
    /// By a token from a Retry, which answered an Initial for this Destination Connection ID.
    Retry { original_dcid: ConnectionId },
    /// By a token from NEW_TOKEN.
    NewToken,
}

/// A client that asks for a connection. It is decided on by
/// [`accept`](super::Endpoint::accept), [`refuse`](super::Endpoint::refuse),
/// [`retry`](super::Endpoint::retry) or [`ignore`](super::Endpoint::ignore); until then what it
/// sends is kept within a bound, and after [`INCOMING_LIFETIME`] it is forgotten.
#[derive(Debug)]
#[must_use = "it holds memory until it is decided on"]
pub struct Incoming {
    pub(super) key: Key,
    pub(super) path: PathAddr,
    pub(super) version: Version,
    pub(super) dcid: ConnectionId,
    pub(super) scid: ConnectionId,
    pub(super) validation: Validation,
}

impl Incoming {
    /// The client's address. Until [`is_validated`](Incoming::is_validated) anybody can have
    /// written it there.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.path.remote
    }

    /// The address that it was sent to, when the socket tells.
    #[must_use]
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.path.local
    }

    /// The version of its first packet.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The Destination Connection ID of the client's very first packet.
    #[must_use]
    pub fn original_dcid(&self) -> ConnectionId {
        match self.validation {
            Validation::Retry { original_dcid } => original_dcid,
            Validation::None | Validation::NewToken => self.dcid,
        }
    }

    /// Whether a token has shown that the client is at its address (RFC 9000 section 8.1).
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.validation != Validation::None
    }

    /// Whether it may be asked for a token: a client takes one Retry only.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        !matches!(self.validation, Validation::Retry { .. })
    }
}

/// A datagram that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) path: PathAddr,
    pub(super) ecn: Option<Ecn>,
    pub(super) data: Box<[u8]>,
}

/// What is kept of an attempt.
pub(super) struct Pending {
    pub(super) source: Source,
    pub(super) remote: SocketAddr,
    pub(super) dcid: ConnectionId,
    pub(super) is_validated: bool,
    pub(super) held: Vec<Held>,
    pub(super) bytes: usize,
}

impl Pending {
    /// Whether another datagram of `size` bytes may be held.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.held.len() < MAX_ATTEMPT_DATAGRAMS
            && self.bytes.saturating_add(size) <= MAX_HELD_PER_ATTEMPT
    }
}

/// All attempts that wait, and when each is forgotten.
#[derive(Default)]
pub(super) struct PendingSet {
    attempts: Slab<Pending>,
    /// In the order of time. Those that were decided on are still in it for a while.
    expiry: VecDeque<(Instant, Key)>,
    bytes: usize,
}

impl PendingSet {
    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Bytes held for all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, now: Instant, attempt: Pending) -> Key {
        self.bytes += attempt.bytes;
        let key = self.attempts.insert(attempt);
        // More dead than living: they go, so that the queue is as bounded as the attempts are.
        if self.expiry.len() > 2 * self.attempts.len() + 64 {
            let attempts = &self.attempts;
            self.expiry.retain(|(_, key)| attempts.contains(*key));
        }
        self.expiry.push_back((now + INCOMING_LIFETIME, key));
        key
    }

    pub(super) fn get(&self, key: Key) -> Option<&Pending> {
        self.attempts.get(key)
    }

    /// Holds another datagram, which there has to be room for.
    pub(super) fn hold(&mut self, key: Key, held: Held) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            attempt.bytes += held.data.len();
            self.bytes += held.data.len();
            attempt.held.push(held);
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Pending> {
        let attempt = self.attempts.remove(key)?;
        self.bytes -= attempt.bytes;
        if self.attempts.is_empty() {
            self.expiry.clear();
        }
        Some(attempt)
    }

    /// When the oldest is forgotten.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.expiry.front().map(|(at, _)| *at)
    }

    /// One whose time is over.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Key> {
        while self.expiry.front().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = self.expiry.pop_front()?;
            if self.attempts.contains(key) {
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
impl PendingSet {
    /// Length of the queue of times.
    pub(super) fn expiry_len(&self) -> usize {
        self.expiry.len()
    }
}
