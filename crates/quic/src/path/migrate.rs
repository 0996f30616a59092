//! How a connection moves from one path to another, and back (RFC 9000 section 9).

use std::net::SocketAddr;

use weir_core::time::Instant;

use super::PathId;
use super::events::{PathError, PathEvent};
use super::set::PathSet;
use super::state::{OpenedBy, Path};
use crate::limits::MAX_CANDIDATE_PATHS;
use crate::transmit::PathAddr;

impl PathSet {
    /// An authentic 1-RTT packet arrived on `path`, sent to the connection ID numbered `local_cid`.
    /// `probing` when it has only probing frames (RFC 9000 section 9.1). A server follows its
    /// client to the path of the highest-numbered packet that has more (section 9.3).
    pub(crate) fn on_packet(
        &mut self,
        now: Instant,
        path: PathId,
        packet_number: u64,
        probing: bool,
        local_cid: u64,
    ) {
        let Some(index) = self.index_of(path) else {
            return;
        };
        if let Some(path) = self.paths.get_mut(index) {
            path.local_cid = local_cid;
        }
        if probing
            || self
                .largest_non_probing
                .is_some_and(|largest| packet_number <= largest)
        {
            return;
        }
        self.largest_non_probing = Some(packet_number);
        if self.config.side.is_client() {
            return;
        }
        let active_local = self.paths.get(self.active).and_then(|path| path.addr.local);
        let Some(path) = self.paths.get(index) else {
            return;
        };
        let other_local = path.addr.local != active_local;
        let validated = path.validated;
        for path in &mut self.paths {
            path.wanted = false;
        }
        if index == self.active || (other_local && self.moved_local) {
            return;
        }
        if other_local && !validated {
            // The client came to our preferred address: it is answered from there once it has
            // shown itself there (RFC 9000 section 9.6.2).
            if let Some(path) = self.paths.get_mut(index) {
                path.wanted = true;
            }
            self.begin_validation(now, index);
            return;
        }
        let left = self.addr_at(self.active);
        self.switch(now, index);
        self.challenge_left(now, left);
    }

    /// Opens a path and challenges the server on it, to know whether it works before moving there
    /// (RFC 9000 section 9.1). The path stays until it fails or the connection moves.
    ///
    /// # Errors
    /// [`PathError`] says why it cannot be.
    pub(crate) fn probe_new(&mut self, now: Instant, addr: PathAddr) -> Result<PathId, PathError> {
        self.may_move()?;
        if let Some(index) = self.paths.iter().position(|path| path.addr == addr) {
            return self
                .paths
                .get(index)
                .map(|path| path.id)
                .ok_or(PathError::UnknownPath);
        }
        if !self.is_server(addr.remote) {
            return Err(PathError::UnknownServerAddress);
        }
        self.open(now, addr)
    }

    /// Moves the connection to `path`, validated or not (RFC 9000 section 9.2). When it turns out
    /// not to work, the connection goes back.
    ///
    /// # Errors
    /// [`PathError`] says why it cannot be. A preferred address has to be validated first
    /// (section 9.6.2).
    pub(crate) fn migrate_to(&mut self, now: Instant, path: PathId) -> Result<(), PathError> {
        self.may_move()?;
        let index = self.index_of(path).ok_or(PathError::UnknownPath)?;
        if index == self.active {
            return Ok(());
        }
        let path = self.paths.get_mut(index).ok_or(PathError::UnknownPath)?;
        if self.preferred == Some(path.addr.remote) && !path.validated {
            path.wanted = true;
            return Ok(());
        }
        self.switch(now, index);
        Ok(())
    }

    /// The address that we send from is another one now, and the old one is gone: everything goes
    /// on from `addr`, and the server is challenged from there. Round trip and congestion begin
    /// anew.
    ///
    /// # Errors
    /// [`PathError`] says why it cannot be; the connection stays where it was.
    pub(crate) fn local_address_changed(
        &mut self,
        now: Instant,
        addr: PathAddr,
    ) -> Result<PathId, PathError> {
        match self.may_move() {
            // It is this, or nothing.
            Ok(()) | Err(PathError::ZeroLengthConnectionId) => {}
            Err(error) => return Err(error),
        }
        if !self.is_server(addr.remote) {
            return Err(PathError::UnknownServerAddress);
        }
        if !self.remote_cids.is_zero_length() && !self.remote_cids.has_unused() {
            return Err(PathError::NoConnectionId);
        }
        let old = self.paths.get(self.active).map(|path| path.addr);
        let path = self.make(now, addr, OpenedBy::Us);
        let id = path.id;
        // The new one first, so that there always is one.
        self.paths.insert(0, path);
        self.active = 0;
        let _cid = self.bind(0);
        while self.paths.len() > 1 {
            self.end(self.paths.len().saturating_sub(1));
        }
        self.begin_validation(now, 0);
        if let Some(old) = old {
            self.events
                .push_back(PathEvent::Migrated { old, new: addr });
        }
        self.probe_preferred(now);
        Ok(id)
    }

    /// The server's preferred_address transport parameter: once the handshake is confirmed, the
    /// address of the same family as the present one is tried, and used if it works (RFC 9000
    /// section 9.6). Its connection ID goes to [`RemoteCids::on_preferred`].
    ///
    /// [`RemoteCids::on_preferred`]: crate::cid::RemoteCids::on_preferred
    pub(crate) fn set_preferred(&mut self, v4: Option<SocketAddr>, v6: Option<SocketAddr>) {
        let present = self.paths.get(self.active).map(|path| path.addr.remote);
        if self.config.side.is_client() {
            self.preferred = match present.is_some_and(|remote| remote.is_ipv6()) {
                true => v6,
                false => v4,
            };
        }
    }

    /// Tries the server's preferred address, if there is one that is not in use.
    pub(super) fn probe_preferred(&mut self, now: Instant) {
        let Some((remote, present)) = self.preferred.zip(self.active_path().map(|path| path.addr))
        else {
            return;
        };
        if remote == present.remote || !self.confirmed {
            return;
        }
        let addr = PathAddr { remote, ..present };
        if let Ok(id) = self.open(now, addr)
            && let Some(index) = self.index_of(id)
            && let Some(path) = self.paths.get_mut(index)
        {
            path.wanted = true;
        }
    }

    /// The path at `index` was answered, to a challenge of 1200 bytes if `expanded`.
    pub(super) fn on_validated(&mut self, now: Instant, index: usize, expanded: bool) {
        let Some(path) = self.paths.get_mut(index) else {
            return;
        };
        path.validation = None;
        path.amplification.lift();
        path.full_size |= expanded;
        let (first, full_size) = (!path.validated, path.full_size);
        path.validated = true;
        if first {
            let (path, addr) = (path.id, path.addr);
            self.events.push_back(PathEvent::Validated { path, addr });
        }
        if !full_size {
            // RFC 9000 section 8.2.3: the address is the peer's; whether 1200 bytes pass is open.
            self.begin_validation(now, index);
        }
        if index == self.active {
            if full_size {
                self.on_active_validated(now);
            }
        } else if self.paths.get(index).is_some_and(|path| path.wanted) {
            self.switch(now, index);
        } else if first
            && self
                .paths
                .get(index)
                .is_some_and(|path| path.opened_by == OpenedBy::Peer)
        {
            self.let_idle(now, index);
        }
    }

    /// The path at `index` did not answer in time (RFC 9000 section 8.2.4).
    pub(super) fn on_abandoned(&mut self, now: Instant, index: usize) {
        let Some(path) = self.paths.get_mut(index) else {
            return;
        };
        path.validation = None;
        let (addr, was_usable) = (path.addr, path.is_usable());
        if path.fallback {
            // It is what we have if the path in use fails as well.
            return;
        }
        if index != self.active {
            self.end(index);
            if !was_usable {
                let fell_back_to = None;
                self.events
                    .push_back(PathEvent::ValidationFailed { addr, fell_back_to });
            }
            return;
        }
        if was_usable {
            return;
        }
        let fallback = self.paths.iter().position(|path| path.fallback);
        let fell_back_to = fallback
            .and_then(|back| self.paths.get(back))
            .map(|path| path.addr);
        self.events
            .push_back(PathEvent::ValidationFailed { addr, fell_back_to });
        match fallback {
            Some(back) => {
                // RFC 9000 section 9.3.2.
                self.switch(now, back);
                if let Some(failed) = self.paths.iter().position(|path| path.addr == addr) {
                    self.end(failed);
                }
            }
            // A client's own address has changed, and the network may come up yet; the idle
            // time-out ends what does not.
            None if self.config.side.is_client() => self.begin_validation(now, index),
            None => self.events.push_back(PathEvent::NoViablePath),
        }
    }

    /// The connection uses the path at `index` from now on. An unvalidated one is challenged.
    fn switch(&mut self, now: Instant, index: usize) {
        let left = self.active;
        let Some((old, new)) = self.addr_at(left).zip(self.addr_at(index)) else {
            return;
        };
        if left == index {
            return;
        }
        if self.config.side.is_server() && is_port_change(old, new) {
            // RFC 9000 section 9.4: most likely a NAT; round trip, congestion window and datagram
            // size stay as they are.
            if let Ok([left, index]) = self.paths.get_disjoint_mut([left, index]) {
                left.exchange_ways(index);
            }
        }
        self.active = index;
        self.moved_local |= self.config.side.is_server() && old.local != new.local;
        let left_usable = self.paths.get(left).is_some_and(Path::is_usable);
        for (at, path) in self.paths.iter_mut().enumerate() {
            path.wanted = false;
            if left_usable {
                path.fallback = at == left;
            }
            if at == index {
                path.fallback = false;
                path.ends_at = Instant::MAX;
            }
        }
        self.events.push_back(PathEvent::Migrated { old, new });
        if self.paths.get(index).is_some_and(Path::is_usable) {
            self.on_active_validated(now);
        } else {
            self.begin_validation(now, index);
        }
    }

    /// The path in use works: what was kept to go back to is not needed for long.
    fn on_active_validated(&mut self, now: Instant) {
        if let Some(path) = self.paths.get_mut(self.active)
            && path.full_size
        {
            path.mtu.start(now);
        }
        if let Some(back) = self.paths.iter().position(|path| path.fallback) {
            if let Some(path) = self.paths.get_mut(back) {
                path.fallback = false;
            }
            self.let_idle(now, back);
        }
    }

    /// An attacker may have brought about the move by forwarding packets: the peer is asked on the
    /// path that was left, too, and moves back if it is there (RFC 9000 section 9.3.3).
    fn challenge_left(&mut self, now: Instant, left: Option<PathAddr>) {
        let validated = |path: &Path| Some(path.addr) == left && path.validated;
        if let Some(index) = self.paths.iter().position(validated) {
            self.begin_validation(now, index);
        }
    }

    /// Whether this end may use another path.
    fn may_move(&self) -> Result<(), PathError> {
        if self.config.side.is_server() {
            return Err(PathError::NotClient);
        }
        if !self.confirmed {
            return Err(PathError::NotConfirmed);
        }
        // RFC 9000 section 9: the parameter speaks of the address of the handshake.
        let moved = self.active_path().map(|path| path.addr.remote) == self.preferred;
        if self.peer_forbids_migration && !(moved && self.preferred.is_some()) {
            return Err(PathError::Disabled);
        }
        if self.remote_cids.is_zero_length() {
            return Err(PathError::ZeroLengthConnectionId);
        }
        Ok(())
    }

    /// Whether the server has given this address.
    fn is_server(&self, remote: SocketAddr) -> bool {
        self.preferred == Some(remote) || self.paths.iter().any(|path| path.addr.remote == remote)
    }

    /// A path of our own, with a connection ID of its own, which is challenged.
    fn open(&mut self, now: Instant, addr: PathAddr) -> Result<PathId, PathError> {
        if self.paths.len() > MAX_CANDIDATE_PATHS {
            return Err(PathError::TooManyPaths);
        }
        let cid = self
            .remote_cids
            .take_unused()
            .ok_or(PathError::NoConnectionId)?;
        let mut path = self.make(now, addr, OpenedBy::Us);
        path.remote_cid = Some(cid);
        let id = path.id;
        self.paths.push(path);
        self.begin_validation(now, self.paths.len().saturating_sub(1));
        Ok(id)
    }

    fn addr_at(&self, index: usize) -> Option<PathAddr> {
        Some(self.paths.get(index)?.addr)
    }
}

/// Whether only the port of the peer differs (RFC 9000 section 9.4).
fn is_port_change(old: PathAddr, new: PathAddr) -> bool {
    old.local == new.local && old.remote.ip() == new.remote.ip()
}
