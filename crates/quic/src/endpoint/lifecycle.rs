//! Connections as the router knows them: from when they begin until nothing is left of them.

use std::net::SocketAddr;

use weir_core::slab::Key;

use super::pending::{Held, Incoming};
use super::router::Router;
use super::source::Source;
use super::tables::Entry;
use crate::cid::ResetToken;
use crate::transmit::PathAddr;
use crate::wire::{ConnectionId, Side};

/// A client's attempt that became a connection.
pub(super) struct Admitted {
    pub(super) key: Key,
    /// This side's first connection ID.
    pub(super) local_cid: ConnectionId,
    /// What came so far, the first Initial first.
    pub(super) held: Vec<Held>,
}

/// A connection to a server.
pub(super) struct Begun {
    pub(super) key: Key,
    /// This side's first connection ID.
    pub(super) local_cid: ConnectionId,
    /// Where the first packets are addressed to, which the Initial keys come from.
    pub(super) initial_dcid: ConnectionId,
}

impl Router {
    /// Makes a connection of an attempt; `None` when it was forgotten in the meantime, or when
    /// nothing can be found to tell it from others by.
    pub(super) fn admit(&mut self, incoming: &Incoming) -> Option<Admitted> {
        let attempt = self.end_attempt(incoming.key)?;
        let local_cid = self.draw_cid()?;
        let half_open = !attempt.is_validated;
        let entry = Entry::new(Side::Server, attempt.source, half_open);
        let key = self.tables.connections.insert(entry);
        if !self.route_first(key, &local_cid, attempt.remote) {
            self.tables.remove(key);
            return None;
        }
        self.tables.route_initial(attempt.dcid, key);
        self.count(attempt.source, half_open);
        Some(Admitted {
            key,
            local_cid,
            held: attempt.held,
        })
    }

    /// Makes a connection to a server; `None` when nothing can be found to tell it from others by:
    /// without connection IDs there is one to each address (Q102).
    pub(super) fn begin(&mut self, path: PathAddr) -> Option<Begun> {
        let local_cid = self.draw_cid()?;
        let source = Source::of(path.remote.ip());
        let entry = Entry::new(Side::Client, source, false);
        let key = self.tables.connections.insert(entry);
        if !self.route_first(key, &local_cid, path.remote) {
            self.tables.remove(key);
            return None;
        }
        Some(Begun {
            key,
            local_cid,
            initial_dcid: self.draw_initial_dcid(),
        })
    }

    fn route_first(&mut self, key: Key, cid: &ConnectionId, remote: SocketAddr) -> bool {
        if cid.is_empty() {
            return self.tables.route_address(remote, key);
        }
        self.tables.route_issued(*cid, key)
    }

    /// The peer was given a connection ID.
    pub(super) fn on_new_cid(&mut self, key: Key, cid: ConnectionId) {
        self.tables.route_issued(cid, key);
    }

    /// The peer will not use a connection ID any more.
    pub(super) fn on_retired_cid(&mut self, key: Key, cid: &ConnectionId) {
        self.tables.unroute_issued(cid, key);
    }

    /// A datagram from `remote` that ends in `token` ends the connection. A connection without
    /// connection IDs is talked to from there from now on: that is how it goes to a server's
    /// preferred address.
    pub(super) fn on_reset_token(&mut self, key: Key, remote: SocketAddr, token: &ResetToken) {
        self.tables.add_reset(remote, token, key);
        if self.config.cid_generator.is_empty() {
            self.tables.route_address(remote, key);
        }
    }

    pub(super) fn on_reset_token_gone(&mut self, key: Key, remote: SocketAddr, token: &ResetToken) {
        self.tables.remove_reset(remote, token, key);
    }

    /// The client has shown that it is at its address.
    pub(super) fn on_validated(&mut self, key: Key) {
        let Some(entry) = self.tables.connections.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut entry.half_open) {
            let source = entry.source;
            self.uncount_half_open(source);
        }
    }

    /// Nothing is left of the connection.
    pub(super) fn on_drained(&mut self, key: Key) {
        if let Some(entry) = self.tables.remove(key)
            && entry.side.is_server()
        {
            self.uncount(entry.source, entry.half_open);
        }
    }
}
