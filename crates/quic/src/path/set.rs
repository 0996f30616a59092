//! All paths of one connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::LazyLock;

use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

use super::PathId;
use super::amplification::Amplification;
use super::events::{Arrival, PathEvent};
use super::mtu::Mtu;
use super::state::{OpenedBy, Path};
use super::validation::{PathData, Validation};
use crate::cid::{RemoteCids, ResetToken};
use crate::limits::{IDLE_PATH_LINGER, MAX_CANDIDATE_PATHS, MAX_IDLE_PATHS};
use crate::recovery::{GRANULARITY, PathLookup, PathRecovery, RecoveryConfig};
use crate::transmit::PathAddr;
use crate::wire::{ConnectionId, Side};

/// How many probe time-outs a validation lasts (RFC 9000 section 8.2.4).
const PATIENCE: u32 = 3;

/// The round trip time where none was measured.
static NOTHING_MEASURED: LazyLock<Rtt> = LazyLock::new(Rtt::default);

/// What paths are built with.
#[derive(Clone, Debug)]
pub(crate) struct PathConfig {
    /// Which end this is.
    pub(crate) side: Side,
    /// The largest datagram to look for, in bytes.
    pub(crate) mtu_bound: u16,
    /// Whether a client may move on purpose: false when this server sent
    /// disable_active_migration. Rebinding is followed in any case.
    pub(crate) migration: bool,
    /// What each path's loss recovery begins with.
    pub(crate) recovery: RecoveryConfig,
    /// Where the controllers' random numbers come from.
    pub(crate) seed: u64,
}

/// What the peer's transport parameters say about paths.
#[derive(Copy, Clone, Debug)]
pub(crate) struct PeerPathLimits {
    /// max_udp_payload_size in bytes.
    pub(crate) max_udp_payload_size: u64,
    /// max_ack_delay.
    pub(crate) max_ack_delay: Duration,
    /// disable_active_migration.
    pub(crate) disable_active_migration: bool,
}

/// The paths of one connection, one of which is in use.
///
/// For each datagram: [`on_datagram`](Self::on_datagram) as it comes in; when a packet in it is
/// authentic and the address unknown, [`admit`](Self::admit); after the frames of each 1-RTT packet,
/// [`on_packet`](Self::on_packet), which may move the connection. To send: what
/// [`poll_probe`](Self::poll_probe) gives goes out on its own path; all else on
/// [`active`](PathLookup::active). No datagram may be larger than the path's
/// [`send_allowance`](Self::send_allowance), and each is counted by
/// [`on_datagram_sent`](Self::on_datagram_sent).
pub(crate) struct PathSet {
    /// The connection IDs to send to.
    pub(crate) remote_cids: RemoteCids,
    pub(super) config: PathConfig,
    /// Never empty.
    pub(super) paths: Vec<Path>,
    /// Which of `paths` is in use.
    pub(super) active: usize,
    next_id: u32,
    max_ack_delay: Duration,
    max_udp_payload_size: u64,
    pub(super) peer_forbids_migration: bool,
    pub(super) confirmed: bool,
    /// The highest packet number with more than a probe.
    pub(super) largest_non_probing: Option<u64>,
    /// The server has moved to its preferred address, and does not go back.
    pub(super) moved_local: bool,
    /// The server address that the client is to move to.
    pub(super) preferred: Option<SocketAddr>,
    pub(super) events: VecDeque<PathEvent>,
}

impl PathSet {
    /// The path on which the handshake takes place. A server may have `validated` its client's
    /// address by a token (RFC 9000 section 8.1.2); a client knows its server's.
    pub(crate) fn new(
        now: Instant,
        addr: PathAddr,
        validated: bool,
        remote_cid: ConnectionId,
        config: PathConfig,
    ) -> PathSet {
        let known = validated || config.side.is_client();
        let mut set = PathSet {
            remote_cids: RemoteCids::new(remote_cid),
            paths: Vec::with_capacity(1),
            active: 0,
            next_id: 0,
            // RFC 9000 section 18.2, until the peer's parameters are known.
            max_ack_delay: Duration::from_millis(25),
            max_udp_payload_size: u64::MAX,
            peer_forbids_migration: false,
            confirmed: false,
            largest_non_probing: None,
            moved_local: false,
            preferred: None,
            events: VecDeque::new(),
            config,
        };
        let path = set.make(now, addr, OpenedBy::Us);
        set.paths.push(path);
        if let Some(path) = set.paths.first_mut() {
            path.remote_cid = set.remote_cids.take_unused();
            path.validated = known;
            // Initial packets have 1200 bytes both ways (RFC 9000 section 14.1).
            path.full_size = true;
            path.amplification = match known {
                true => Amplification::unlimited(),
                false => Amplification::limited(),
            };
        }
        set
    }

    /// The peer's transport parameters, remembered or real.
    pub(crate) fn set_peer_limits(&mut self, now: Instant, limits: PeerPathLimits) {
        self.max_ack_delay = limits.max_ack_delay;
        self.max_udp_payload_size = limits.max_udp_payload_size;
        self.peer_forbids_migration = limits.disable_active_migration;
        for index in 0..self.paths.len() {
            self.change_mtu(index, |mtu| {
                mtu.set_peer_max(now, limits.max_udp_payload_size)
            });
        }
    }

    /// The handshake is confirmed (RFC 9001 section 4.1.2): paths may change, and larger datagrams
    /// are looked for.
    pub(crate) fn on_handshake_confirmed(&mut self, now: Instant) {
        self.confirmed = true;
        if let Some(path) = self.paths.get_mut(self.active) {
            path.mtu.start(now);
        }
        self.probe_preferred(now);
    }

    /// The path numbered `path`.
    #[inline]
    pub(crate) fn get(&self, path: PathId) -> Option<&Path> {
        self.paths.get(self.index_of(path)?)
    }

    /// The path in use. `None` only if the set was emptied, which it never is.
    #[inline]
    pub(crate) fn active_path(&self) -> Option<&Path> {
        self.paths.get(self.active)
    }

    /// The address of a path.
    pub(crate) fn addr(&self, path: PathId) -> Option<PathAddr> {
        Some(self.get(path)?.addr)
    }

    /// The addresses that packets go to, each with the reset token of the connection ID that they
    /// carry (RFC 9000 section 10.3.1).
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (SocketAddr, ResetToken)> {
        self.paths.iter().filter_map(|path| {
            let token = self.remote_cids.token(path.remote_cid?)?;
            Some((path.addr.remote, token))
        })
    }

    /// All paths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter()
    }

    /// A datagram of `bytes` arrived, for this connection, authentic or not.
    #[inline]
    pub(crate) fn on_datagram(&mut self, addr: PathAddr, bytes: usize) -> Arrival {
        let active = self
            .paths
            .get(self.active)
            .filter(|path| same_way(path.addr, addr));
        let index = match active {
            Some(_) => Some(self.active),
            None => self.paths.iter().position(|path| same_way(path.addr, addr)),
        };
        if let Some(path) = index.and_then(|index| self.paths.get_mut(index)) {
            path.amplification.on_received(bytes);
            return Arrival::Known(path.id);
        }
        match self.config.side {
            // RFC 9000 section 9: clients move, servers do not.
            Side::Client => Arrival::Refused,
            Side::Server if !self.confirmed => Arrival::Refused,
            Side::Server => Arrival::Unknown,
        }
    }

    /// An authentic 1-RTT packet came from an unknown address, in a datagram of `bytes`, sent to
    /// the connection ID numbered `local_cid`. Returns the new path, which is challenged; `None`
    /// when the packet is to be dropped: the client may not move (RFC 9000 section 9).
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        addr: PathAddr,
        bytes: usize,
        local_cid: u64,
    ) -> Option<PathId> {
        if self.config.side.is_client() || !self.confirmed {
            return None;
        }
        // A NAT that rebinds does not change the connection ID, a client that moves does.
        let rebound = self.paths.iter().any(|path| path.local_cid == local_cid);
        if !self.config.migration && !rebound {
            return None;
        }
        self.make_room();
        let mut path = self.make(now, addr, OpenedBy::Peer);
        path.amplification = Amplification::limited();
        path.amplification.on_received(bytes);
        path.local_cid = local_cid;
        let id = path.id;
        self.paths.push(path);
        self.begin_validation(now, self.paths.len().saturating_sub(1));
        Some(id)
    }

    /// A server's client has shown that it is at the address of `path`: by a Handshake packet, or a
    /// token (RFC 9000 section 8.1).
    pub(crate) fn validate(&mut self, path: PathId) {
        if let Some(path) = self.get_mut(path) {
            path.validated = true;
            path.amplification.lift();
        }
    }

    /// PATH_CHALLENGE arrived on `path`: it is answered there, once (RFC 9000 section 8.2.2).
    pub(crate) fn on_challenge(&mut self, path: PathId, data: PathData) {
        if let Some(path) = self.get_mut(path) {
            path.on_challenge(data);
        }
    }

    /// PATH_RESPONSE arrived, on whatever path: it validates the one whose challenge it answers
    /// (RFC 9000 section 8.2.3). One that answers none is ignored.
    pub(crate) fn on_response(&mut self, now: Instant, data: PathData) {
        let answered = |path: &Path| path.validation.as_ref()?.answered_by(&data);
        let found = self.paths.iter().enumerate();
        let found = found
            .filter_map(|(index, path)| Some((index, answered(path)?)))
            .next();
        if let Some((index, expanded)) = found {
            self.on_validated(now, index, expanded);
        }
    }

    /// Bytes that may be sent on `path` now; [`u64::MAX`] once the peer has shown that it is there
    /// (RFC 9000 section 8). Every datagram, whatever it carries, has to fit.
    #[inline]
    pub(crate) fn send_allowance(&self, path: PathId) -> u64 {
        self.get(path)
            .map_or(0, |path| path.amplification.allowance())
    }

    /// A datagram of `bytes` goes out on `path`.
    #[inline]
    pub(crate) fn on_datagram_sent(&mut self, path: PathId, bytes: usize) {
        if let Some(path) = self.get_mut(path) {
            path.amplification.on_sent(bytes);
        }
    }

    /// News.
    pub(crate) fn poll_event(&mut self) -> Option<PathEvent> {
        self.events.pop_front()
    }

    /// The next time to call [`on_timeout`](Self::on_timeout).
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let next = self.paths.iter().map(Path::timeout).min()?;
        (next != Instant::MAX).then_some(next)
    }

    /// Challenges are repeated, validations given up, paths that are not needed any more ended. All
    /// that is due is done: what each path waits for next lies in the future.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        while let Some(index) = self.paths.iter().position(|path| path.timeout() <= now) {
            let Some(path) = self.paths.get_mut(index) else {
                return;
            };
            if path
                .validation
                .as_mut()
                .is_some_and(|it| it.on_timeout(now))
            {
                self.on_abandoned(now, index);
            } else if path.ends_at <= now {
                path.ends_at = Instant::MAX;
                if !path.fallback {
                    self.end(index);
                }
            }
        }
    }

    /// The connection is quiet: gives back memory that is not in use.
    pub(crate) fn release_memory(&mut self) {
        self.paths.shrink_to_fit();
        self.events.shrink_to_fit();
        self.remote_cids.release_memory();
    }

    /// Bytes held, with what was allocated, but for what loss recovery and congestion control keep
    /// in places of their own.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let paths = self.paths.capacity().saturating_mul(size_of::<Path>());
        let events = self
            .events
            .capacity()
            .saturating_mul(size_of::<PathEvent>());
        let boxed = self.paths.iter().map(Path::boxed_memory).sum::<usize>();
        let sum = [
            size_of::<PathSet>(),
            paths,
            events,
            boxed,
            self.remote_cids.memory(),
        ];
        sum.into_iter().fold(0, usize::saturating_add)
    }

    #[inline]
    pub(super) fn index_of(&self, id: PathId) -> Option<usize> {
        if self
            .paths
            .get(self.active)
            .is_some_and(|path| path.id == id)
        {
            return Some(self.active);
        }
        self.paths.iter().position(|path| path.id == id)
    }

    #[inline]
    fn get_mut(&mut self, id: PathId) -> Option<&mut Path> {
        let index = self.index_of(id)?;
        self.paths.get_mut(index)
    }

    /// A path with nothing learnt.
    pub(super) fn make(&mut self, now: Instant, addr: PathAddr, opened_by: OpenedBy) -> Path {
        let id = PathId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let mut mtu = Mtu::new(self.config.mtu_bound);
        mtu.set_peer_max(now, self.max_udp_payload_size);
        let seed = self.config.seed.wrapping_add(u64::from(id.0));
        Path {
            id,
            recovery: PathRecovery::new(now, &self.config.recovery, mtu.current(), seed),
            mtu,
            addr,
            amplification: Amplification::unlimited(),
            opened_by,
            validated: false,
            full_size: false,
            fallback: false,
            wanted: false,
            local_cid: 0,
            remote_cid: None,
            validation: None,
            responses: None,
            ends_at: Instant::MAX,
        }
    }

    /// Challenges the path at `index` from now on, unless that is under way.
    pub(super) fn begin_validation(&mut self, now: Instant, index: usize) {
        let active = self
            .paths
            .get(self.active)
            .map(|path| path.pto(self.max_ack_delay));
        let unknown = Rtt::default().pto(GRANULARITY, self.max_ack_delay);
        let longest = active.map_or(unknown, |active| active.max(unknown));
        if let Some(path) = self.paths.get_mut(index)
            && path.validation.is_none()
        {
            let pto = path.pto(self.max_ack_delay);
            let patience = longest.saturating_mul(PATIENCE);
            path.validation = Some(Box::new(Validation::new(now, pto, patience)));
        }
    }

    /// Candidates give way to a new one, the oldest first. What is in use, validated or of our own
    /// choosing does not.
    fn make_room(&mut self) {
        let candidate = |(index, path): &(usize, &Path)| {
            *index != self.active && !path.validated && path.opened_by == OpenedBy::Peer
        };
        let candidates = || self.paths.iter().enumerate().filter(candidate);
        if candidates().count() >= MAX_CANDIDATE_PATHS {
            let oldest = candidates()
                .min_by_key(|(_, path)| path.id)
                .map(|(index, _)| index);
            oldest.into_iter().for_each(|index| self.end(index));
        }
    }

    /// Validated paths that nothing is sent on: they end after a while, and earlier when there are
    /// more than [`MAX_IDLE_PATHS`].
    pub(super) fn let_idle(&mut self, now: Instant, index: usize) {
        if let Some(path) = self.paths.get_mut(index) {
            path.ends_at = now + IDLE_PATH_LINGER;
        }
        let idle = |(index, path): &(usize, &Path)| {
            *index != self.active && path.ends_at != Instant::MAX && !path.fallback
        };
        let idles = || self.paths.iter().enumerate().filter(idle);
        if idles().count() > MAX_IDLE_PATHS {
            let oldest = idles()
                .min_by_key(|(_, path)| path.ends_at)
                .map(|(index, _)| index);
            oldest.into_iter().for_each(|index| self.end(index));
        }
    }

    /// Nothing is sent any more on the path at `index`, which is not the one in use; its connection
    /// ID is retired (RFC 9000 section 5.1.2).
    pub(super) fn end(&mut self, index: usize) {
        if index == self.active || index >= self.paths.len() {
            return;
        }
        let gone = self.paths.remove(index);
        if index < self.active {
            self.active = self.active.saturating_sub(1);
        }
        self.release_cid(&gone);
        self.remote_cids.note_use();
        self.events.push_back(PathEvent::Ended(gone.id));
    }

    /// Changes the datagram size of a path, and tells who has to know.
    pub(super) fn change_mtu(&mut self, index: usize, change: impl FnOnce(&mut Mtu) -> bool) {
        let Some(path) = self.paths.get_mut(index) else {
            return;
        };
        if change(&mut path.mtu) {
            let size = path.mtu.current();
            path.recovery.set_mtu(size);
            let path = path.id;
            self.events.push_back(PathEvent::MtuChanged { path, size });
        }
    }
}

/// Whether datagrams with these addresses travel one path. An address of ours that is not known
/// matches any: the system chooses it.
#[inline]
fn same_way(path: PathAddr, datagram: PathAddr) -> bool {
    path.remote == datagram.remote
        && (path.local == datagram.local || path.local.is_none() || datagram.local.is_none())
}

impl PathLookup for PathSet {
    #[inline]
    fn recovery(&mut self, path: PathId) -> Option<&mut PathRecovery> {
        Some(&mut self.get_mut(path)?.recovery)
    }

    #[inline]
    fn active_rtt(&self) -> &Rtt {
        match self.paths.get(self.active) {
            Some(path) => &path.recovery.rtt,
            // The set is never empty; and if it were, nothing would be known.
            None => &NOTHING_MEASURED,
        }
    }

    #[inline]
    fn active(&self) -> PathId {
        self.paths
            .get(self.active)
            .map_or(PathId(u32::MAX), |path| path.id)
    }
}
