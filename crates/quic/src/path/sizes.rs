//! The set's calls about datagram sizes: what was acknowledged and lost, to each path's own search.

use weir_core::time::Instant;

use super::PathId;
use super::mtu::BASE;
use super::set::PathSet;
use super::state::Path;
use crate::transmit::PathAddr;

/// Bytes that go out on a path before larger datagrams are tried there: exchanges of a few packets
/// are over before they would gain by it.
pub(super) const PROBE_AFTER: u64 = 8 * 1024;

impl PathSet {
    /// The size of full datagrams on `path`, in bytes.
    #[inline]
    pub(crate) fn max_datagram(&self, path: PathId) -> u16 {
        self.get(path).map_or(BASE, |path| path.mtu.current())
    }

    /// Whether a larger datagram wants to be tried on the path in use. Asked when something is sent
    /// anyway; no timer stands behind it.
    #[inline]
    pub(crate) fn wants_mtu_probe(&self, now: Instant) -> bool {
        let usable = |path: &&Path| {
            path.mtu.wants_probe(now) && path.validated && path.amplification.sent() >= PROBE_AFTER
        };
        self.active_path().filter(usable).is_some()
    }

    /// The size of the PING and PADDING that goes out on the path in use now, as a datagram.
    pub(crate) fn poll_mtu_probe(&mut self, now: Instant) -> Option<(PathId, u16)> {
        if !self.wants_mtu_probe(now) {
            return None;
        }
        let path = self.paths.get_mut(self.active)?;
        Some((path.id, path.mtu.poll_probe(now)?))
    }

    /// A probe arrived.
    pub(crate) fn on_mtu_probe_acked(&mut self, now: Instant, path: PathId, size: u16) {
        if let Some(index) = self.index_of(path) {
            self.change_mtu(index, |mtu| mtu.on_probe_acked(now, size));
        }
    }

    /// A probe was lost.
    pub(crate) fn on_mtu_probe_lost(&mut self, now: Instant, path: PathId, size: u16) {
        if let Some(index) = self.index_of(path)
            && let Some(path) = self.paths.get_mut(index)
        {
            path.mtu.on_probe_lost(now, size);
        }
    }

    /// A 1-RTT packet in a datagram of `size` bytes was acknowledged; of several, the one with the
    /// highest number among those over 1200 bytes is enough.
    #[inline]
    pub(crate) fn on_size_acked(&mut self, path: PathId, packet_number: u64, size: u16) {
        if let Some(index) = self.index_of(path)
            && let Some(path) = self.paths.get_mut(index)
        {
            path.mtu.on_acked(packet_number, size);
        }
    }

    /// A 1-RTT packet in a datagram of `size` bytes, no probe, was lost; `largest_sent` is the
    /// highest number sent so far.
    #[inline]
    pub(crate) fn on_size_lost(
        &mut self,
        now: Instant,
        path: PathId,
        packet_number: u64,
        size: u16,
        largest_sent: u64,
    ) {
        if let Some(index) = self.index_of(path) {
            self.change_mtu(index, |mtu| {
                mtu.on_lost(now, packet_number, size, largest_sent)
            });
        }
    }

    /// The probe time-out expired `count` times in a row.
    pub(crate) fn on_pto(&mut self, now: Instant, count: u32) {
        self.change_mtu(self.active, |mtu| mtu.on_pto(now, count));
    }

    /// What the interface of the path in use carries, as the driver learnt it.
    pub(crate) fn set_mtu_bound(&mut self, now: Instant, bound: u16) {
        self.config.mtu_bound = bound;
        for index in 0..self.paths.len() {
            self.change_mtu(index, |mtu| mtu.set_bound(now, bound));
        }
    }

    /// An ICMP message of which the caller has made sure that it quotes a datagram that this
    /// connection sent to `addr`: the path takes `size` bytes of UDP payload (RFC 9000 14.2.1).
    pub(crate) fn on_verified_too_big(&mut self, now: Instant, addr: PathAddr, size: u16) {
        if let Some(index) = self.paths.iter().position(|path| path.addr == addr) {
            self.change_mtu(index, |mtu| mtu.on_verified_too_big(now, size));
        }
    }
}
