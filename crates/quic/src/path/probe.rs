//! What goes out on each path besides the connection's own packets, and to which connection ID.

use weir_core::rng::Rng;
use weir_core::time::Instant;

use super::PathId;
use super::events::Probe;
use super::set::PathSet;
use super::state::{OpenedBy, Path};
use crate::limits::{MIN_CHALLENGE_DATAGRAM, MIN_DATAGRAM};
use crate::wire::ConnectionId;

impl PathSet {
    /// Whether [`poll_probe`](Self::poll_probe) has something.
    pub(crate) fn wants_probe(&self) -> bool {
        (0..self.paths.len()).any(|index| self.can_probe(index))
    }

    /// The next challenge or response that has to go out, each in a packet of its own. What it
    /// gives counts as sent.
    pub(crate) fn poll_probe(&mut self, now: Instant, rng: &mut Rng) -> Option<Probe> {
        let index = (0..self.paths.len()).find(|index| self.can_probe(*index))?;
        self.bind(index)?;
        let is_active = index == self.active;
        let path = self.paths.get_mut(index)?;
        let expand = path.amplification.allowance() >= MIN_DATAGRAM as u64;
        let wanted = path
            .validation
            .as_mut()
            .filter(|validation| validation.wants_challenge());
        let challenge = wanted.map(|validation| validation.challenge(now, rng, expand));
        let responses = path
            .responses
            .take()
            .map(|waiting| *waiting)
            .unwrap_or_default();
        Some(Probe {
            path: path.id,
            challenge,
            non_probing: is_active && !responses.is_empty(),
            responses,
            expand,
        })
    }

    /// The connection ID that packets on `path` go to. `None` when the peer has given none for it:
    /// nothing can be sent there then (RFC 9000 section 9.5).
    #[inline]
    pub(crate) fn remote_cid(&mut self, path: PathId) -> Option<ConnectionId> {
        let index = self.index_of(path)?;
        self.bind(index)
    }

    /// Whether [`remote_cid`](Self::remote_cid) would find one.
    pub(crate) fn can_address(&self, path: PathId) -> bool {
        self.get(path).is_some_and(|path| self.can_bind(path))
    }

    /// Whether the path at `index` has a probe to send, and may.
    fn can_probe(&self, index: usize) -> bool {
        let Some(path) = self.paths.get(index).filter(|path| path.wants_probe()) else {
            return false;
        };
        let allowance = path.amplification.allowance();
        let least = match path.needs_full_size() {
            true => MIN_DATAGRAM as u64,
            false => MIN_CHALLENGE_DATAGRAM,
        };
        allowance >= least && self.can_bind(path)
    }

    /// Whether [`bind`](Self::bind) finds a connection ID.
    fn can_bind(&self, path: &Path) -> bool {
        path.remote_cid
            .is_some_and(|sequence| self.remote_cids.get(sequence).is_some())
            || self.remote_cids.is_zero_length()
            || self.shared_cid(path).is_some()
            || self.remote_cids.has_unused()
    }

    /// The connection ID of the path at `index`: the one it has, or the one of the path that was
    /// rebound, or an unused one (RFC 9000 section 9.5).
    #[inline]
    pub(super) fn bind(&mut self, index: usize) -> Option<ConnectionId> {
        let path = self.paths.get(index)?;
        if let Some(cid) = path
            .remote_cid
            .and_then(|sequence| self.remote_cids.get(sequence))
        {
            return Some(cid);
        }
        self.bind_anew(index)
    }

    #[cold]
    fn bind_anew(&mut self, index: usize) -> Option<ConnectionId> {
        let path = self.paths.get(index)?;
        let sequence = match self.remote_cids.is_zero_length() {
            true => 0,
            false => match self.shared_cid(path) {
                Some(shared) => shared,
                None => self.remote_cids.take_unused()?,
            },
        };
        self.paths.get_mut(index)?.remote_cid = Some(sequence);
        self.remote_cids.note_use();
        self.remote_cids.get(sequence)
    }

    /// What may be used on `path` because the peer, too, sends to the same connection ID as on
    /// another path: its address changed without its doing (RFC 9000 section 9.5).
    fn shared_cid(&self, path: &Path) -> Option<u64> {
        if path.opened_by == OpenedBy::Us {
            return None;
        }
        let others = self.paths.iter().filter(|other| other.id != path.id);
        let mut alike = others.filter(|other| {
            other.local_cid == path.local_cid && other.addr.local == path.addr.local
        });
        alike.find_map(|other| {
            other
                .remote_cid
                .filter(|sequence| self.remote_cids.get(*sequence).is_some())
        })
    }

    /// Retires the connection ID of a path that is gone, unless another path sends to it.
    pub(super) fn release_cid(&mut self, gone: &Path) {
        if let Some(sequence) = gone.remote_cid
            && !self
                .paths
                .iter()
                .any(|path| path.remote_cid == Some(sequence))
        {
            self.remote_cids.retire(sequence);
        }
    }
}
