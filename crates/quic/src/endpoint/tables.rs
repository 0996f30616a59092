//! Which connection a datagram belongs to (RFC 9000 section 5.2).

use std::net::SocketAddr;

use weir_core::rng::Rng;
use weir_core::slab::{Key, Slab};

use super::hash::{Keyed, Table};
use super::resets::{Digest, Resets};
use super::source::Source;
use crate::cid::ResetToken;
use crate::limits::{MAX_ROUTED_CIDS, MAX_ROUTED_TOKENS};
use crate::wire::{ConnectionId, Side};

/// Where a packet goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To a connection.
    Connection(Key),
    /// To an attempt that waits for a decision.
    Pending(Key),
}

/// What is kept of a connection, so that all of it can be taken out again.
pub(super) struct Entry {
    pub(super) side: Side,
    /// Who began it; for a client's connection, the server.
    pub(super) source: Source,
    /// Its client's address is not validated yet.
    pub(super) half_open: bool,
    initial: Option<ConnectionId>,
    cids: Vec<ConnectionId>,
    addresses: Vec<SocketAddr>,
    resets: Vec<Digest>,
}

impl Entry {
    pub(super) fn new(side: Side, source: Source, half_open: bool) -> Entry {
        Entry {
            side,
            source,
            half_open,
            initial: None,
            cids: Vec::new(),
            addresses: Vec::new(),
            resets: Vec::new(),
        }
    }
}

/// All that datagrams are routed by.
///
/// Connection IDs that clients chose for their first packets are apart from those issued here: no
/// client can put one where packets of another connection are looked for. They stay as long as the
/// connection does, so that a first packet that comes again, however late, begins nothing new.
pub(super) struct Tables {
    pub(super) connections: Slab<Entry>,
    issued: Table<ConnectionId, Key>,
    initial: Table<ConnectionId, Route>,
    /// Peers of connections that have no connection ID on this side.
    addresses: Table<SocketAddr, Key>,
    resets: Resets,
}

impl Tables {
    pub(super) fn new(rng: &mut Rng, keyed: &Keyed) -> Tables {
        Tables {
            connections: Slab::new(),
            issued: Table::new(keyed),
            initial: Table::new(keyed),
            addresses: Table::new(keyed),
            resets: Resets::new(rng, keyed),
        }
    }

    /// The connection with this connection ID of its own.
    pub(super) fn issued(&self, cid: &ConnectionId) -> Option<Key> {
        self.issued.get(cid).copied()
    }

    /// What a long header with this Destination Connection ID belongs to.
    pub(super) fn long(&self, dcid: &ConnectionId) -> Option<Route> {
        match self.issued.get(dcid) {
            Some(key) => Some(Route::Connection(*key)),
            None => self.initial.get(dcid).copied(),
        }
    }

    /// The connection without connection IDs to this peer (Q102).
    pub(super) fn by_address(&self, remote: SocketAddr) -> Option<Key> {
        self.addresses.get(&canonical(remote)).copied()
    }

    /// The connection that a datagram is the stateless reset of.
    pub(super) fn by_reset(&self, remote: SocketAddr, datagram: &[u8]) -> Option<Key> {
        self.resets.find(remote, datagram)
    }

    /// A client's first Destination Connection ID belongs to an attempt from now on.
    pub(super) fn route_pending(&mut self, dcid: ConnectionId, attempt: Key) {
        self.initial.insert(dcid, Route::Pending(attempt));
    }

    /// The attempt is over.
    pub(super) fn unroute_pending(&mut self, dcid: &ConnectionId, attempt: Key) {
        if self.initial.get(dcid) == Some(&Route::Pending(attempt)) {
            self.initial.remove(dcid);
        }
    }

    /// A client's first Destination Connection ID belongs to a connection from now on.
    pub(super) fn route_initial(&mut self, dcid: ConnectionId, key: Key) {
        if let Some(entry) = self.connections.get_mut(key) {
            entry.initial = Some(dcid);
            self.initial.insert(dcid, Route::Connection(key));
        }
    }

    /// The connection has this connection ID. False when another has it, or it has too many.
    pub(super) fn route_issued(&mut self, cid: ConnectionId, key: Key) -> bool {
        let Some(entry) = self.connections.get_mut(key) else {
            return false;
        };
        if cid.is_empty() || entry.cids.len() >= MAX_ROUTED_CIDS || self.issued.contains(&cid) {
            return false;
        }
        entry.cids.push(cid);
        self.issued.insert(cid, key);
        true
    }

    pub(super) fn unroute_issued(&mut self, cid: &ConnectionId, key: Key) {
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(at) = entry.cids.iter().position(|known| known == cid) {
            entry.cids.swap_remove(at);
            self.issued.remove(cid);
        }
    }

    /// Whatever comes from this peer is for this connection, which has no connection IDs. False when
    /// another such connection has the peer.
    pub(super) fn route_address(&mut self, remote: SocketAddr, key: Key) -> bool {
        let remote = canonical(remote);
        if let Some(known) = self.addresses.get(&remote) {
            return *known == key;
        }
        let Some(entry) = self.connections.get_mut(key) else {
            return false;
        };
        if entry.addresses.len() >= MAX_ROUTED_TOKENS {
            return false;
        }
        entry.addresses.push(remote);
        self.addresses.insert(remote, key);
        true
    }

    pub(super) fn add_reset(&mut self, remote: SocketAddr, token: &ResetToken, key: Key) {
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        if entry.resets.len() < MAX_ROUTED_TOKENS {
            entry.resets.push(self.resets.add(remote, token, key));
        }
    }

    pub(super) fn remove_reset(&mut self, remote: SocketAddr, token: &ResetToken, key: Key) {
        let digest = self.resets.digest(remote, token.as_bytes());
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(at) = entry.resets.iter().position(|known| *known == digest) {
            entry.resets.swap_remove(at);
            self.resets.remove(digest, key);
        }
    }

    /// Forgets a connection and every way to it.
    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.connections.remove(key)?;
        for cid in &entry.cids {
            self.issued.remove(cid);
        }
        for remote in &entry.addresses {
            self.addresses.remove(remote);
        }
        for digest in &entry.resets {
            self.resets.remove(*digest, key);
        }
        if let Some(dcid) = &entry.initial
            && self.initial.get(dcid) == Some(&Route::Connection(key))
        {
            self.initial.remove(dcid);
        }
        Some(entry)
    }

    /// Entries of all tables together: what is left when all connections are gone.
    #[cfg(test)]
    pub(super) fn routes(&self) -> usize {
        self.issued.len() + self.initial.len() + self.addresses.len() + self.resets.len()
    }
}

/// One peer is one peer, whether the socket speaks IPv6 to it or IPv4.
fn canonical(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

#[cfg(test)]
impl Entry {
    /// The connection ID of the handshake.
    pub(super) fn first_cid(&self) -> ConnectionId {
        self.cids.first().copied().unwrap_or(ConnectionId::EMPTY)
    }
}
