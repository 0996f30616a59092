//! From a neighbour's IP address to its Ethernet address, and whether it is still there: ARP and NDP
//! share the states of RFC 4861 section 7.3.

use std::net::IpAddr;

use weir_core::rng;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant, nanos};

use crate::device::{InterfaceId, Offload};
use crate::ip::{Cause, Complaint, Due, Ip, IpEvent, NeighborState, Route, SendError};
use crate::link::{Mac, Pending};
use crate::transmit::TransmitBuf;
use crate::wire::ethernet;

/// RFC 4861 section 10: solicitations to a group (for ARP: broadcast) before a neighbour is given up, ...
const MAX_MULTICAST_SOLICIT: u8 = 3;
/// ... solicitations to its last known Ethernet address before others are asked, ...
const MAX_UNICAST_SOLICIT: u8 = 3;
/// ... and how long the transport has to say that what was sent arrived.
const DELAY_FIRST_PROBE: Duration = Duration::from_secs(5);
/// How long packets to a neighbour that did not answer are refused without asking again: RFC 1122
/// section 2.3.2.1 wants no more than one request a second.
const FAILED_HOLD: Duration = Duration::from_secs(1);
/// How long a neighbour that nothing is sent to is remembered.
const STALE_LIFETIME: Duration = Duration::from_secs(600);
/// For how long after a neighbour answered others' claims to its address are not looked into, nor
/// doubts that it is there.
const CLAIM_HOLD: Duration = Duration::from_secs(1);

/// Where a frame goes.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Resolved {
    /// To this Ethernet address.
    Known(Mac),
    /// Into the queue of this neighbour, who is being asked for.
    Waits(Key),
}

impl Ip {
    /// The Ethernet address of the next hop. `hint` is where it stood in the cache.
    #[inline]
    pub(crate) fn resolve(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        next_hop: IpAddr,
        hint: u32,
    ) -> Result<Resolved, SendError> {
        match self.known_neighbor(hint, (interface, next_hop)) {
            Some(hardware) => Ok(Resolved::Known(hardware)),
            None => self.resolve_slowly(now, interface, next_hop),
        }
    }

    /// The address of a next hop on a link, if `hint` is its place and its address needs no asking.
    #[inline]
    pub(crate) fn known_neighbor(
        &mut self,
        hint: u32,
        (interface, next_hop): (InterfaceId, IpAddr),
    ) -> Option<Mac> {
        let entry = self.neighbors.at(hint, interface, next_hop)?;
        let known = matches!(
            entry.state,
            NeighborState::Reachable | NeighborState::Permanent
        );
        if !known {
            return None;
        }
        entry.used = true;
        Some(entry.hardware)
    }

    fn resolve_slowly(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        next_hop: IpAddr,
    ) -> Result<Resolved, SendError> {
        if let Some(group) = self.group_address(interface, next_hop) {
            return Ok(Resolved::Known(group));
        }
        let Some(key) = self.neighbors.find(interface, next_hop) else {
            let rng = &mut self.rng;
            let created = self.neighbors.create(interface, next_hop, None, rng);
            // All others are in use: says nothing about this one.
            let (key, evicted) = created.ok_or(SendError::QueueFull)?;
            self.let_go(evicted);
            self.note_new_neighbor(key);
            self.solicit_again(now, key);
            return Ok(Resolved::Waits(key));
        };
        let Some(entry) = self.neighbors.get_mut(key) else {
            return Err(SendError::HostUnreachable);
        };
        entry.used = true;
        let hardware = entry.hardware;
        match entry.state {
            NeighborState::Failed => Err(SendError::HostUnreachable),
            NeighborState::Incomplete => Ok(Resolved::Waits(key)),
            NeighborState::Stale => {
                self.set_neighbor(key, NeighborState::Delay);
                self.time_neighbor(key, now + DELAY_FIRST_PROBE);
                Ok(Resolved::Known(hardware))
            }
            _ => Ok(Resolved::Known(hardware)),
        }
    }

    /// The Ethernet address of a group or of everybody.
    fn group_address(&self, interface: InterfaceId, next_hop: IpAddr) -> Option<Mac> {
        match next_hop {
            IpAddr::V4(ip) if ip.is_multicast() => Some(Mac::for_v4_multicast(ip)),
            IpAddr::V6(ip) if ip.is_multicast() => Some(Mac::for_v6_multicast(ip)),
            IpAddr::V4(ip) if self.interface(interface)?.is_broadcast(ip) => Some(Mac::BROADCAST),
            _ => None,
        }
    }

    /// Moves the frame that was written to `out` since `begun` to the queue of its neighbour.
    pub(crate) fn keep(
        &mut self,
        key: Key,
        out: &mut TransmitBuf,
        begun: (usize, usize),
        offload: Offload,
        forwarded: bool,
    ) -> Result<(), SendError> {
        let mut frame = out.data.get(begun.0..).unwrap_or_default().to_vec();
        for slice in out.slices.get(begun.1..).unwrap_or_default() {
            frame.extend_from_slice(slice);
        }
        out.abandon(begun);
        let pending = Pending {
            frame,
            offload,
            forwarded,
        };
        let length = pending.frame.len();
        if self.neighbors.keep(key, pending) {
            return Ok(());
        }
        self.discard_other("IP", length, Cause::NEIGHBOR_QUEUE);
        Err(SendError::QueueFull)
    }

    /// A neighbour proved that it receives what we send: it answered, or the transport saw it.
    pub(crate) fn neighbor_reachable(&mut self, now: Instant, key: Key) {
        let Some(entry) = self.neighbors.get_mut(key) else {
            return;
        };
        entry.confirmed = now;
        entry.challenged = false;
        entry.probes = 0;
        let interface = entry.interface;
        match entry.state {
            // Its timer looks at `confirmed` when it goes off.
            NeighborState::Reachable | NeighborState::Permanent => return,
            _ => self.set_neighbor(key, NeighborState::Reachable),
        }
        let time = self.reachable_time(interface);
        self.time_neighbor(key, now + time);
        self.release(now, key);
    }

    /// The transport doubts that the next hop of a route is there: nothing was acknowledged for several
    /// time-outs (R1 of RFC 9293 section 3.8.3; RFC 4861 section 7.3.1). It is asked, however sure the
    /// cache was, unless it proved to be there within a second: so it is not asked more often either.
    pub(crate) fn suspect(&mut self, now: Instant, route: &Route) {
        let hint = route.neighbor;
        let Some(key) = self.neighbors.key_at(hint) else {
            return;
        };
        let entry = self.neighbors.at(hint, route.interface, route.next_hop);
        let Some(entry) = entry else {
            return;
        };
        let is_believed = matches!(
            entry.state,
            NeighborState::Reachable | NeighborState::Stale | NeighborState::Delay
        );
        let silent = now.saturating_duration_since(entry.confirmed);
        if is_believed && silent >= CLAIM_HOLD {
            entry.probes = 0;
            self.set_neighbor(key, NeighborState::Probe);
            self.solicit_again(now, key);
        }
    }

    /// A neighbour's Ethernet address is known, but not whether it receives.
    pub(crate) fn neighbor_stale(&mut self, now: Instant, key: Key) {
        self.set_neighbor(key, NeighborState::Stale);
        self.time_neighbor(key, now + STALE_LIFETIME);
        self.release(now, key);
    }

    /// Somebody says that `address` has the Ethernet address `hardware`, in a request to us, or unasked.
    /// What is not known yet is taken; what contradicts is looked into: the one known so far is asked,
    /// and if it is silent for a second, everybody. A neighbour that is there keeps its address, whoever
    /// claims it (RFC 4861 section 7.2.5 would believe the last one who said so).
    pub(crate) fn claim(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        hardware: Mac,
    ) -> Option<Key> {
        let Some(key) = self.neighbors.find(interface, address) else {
            let created = self
                .neighbors
                .create(interface, address, Some(hardware), &mut self.rng);
            let (key, evicted) = created?;
            self.let_go(evicted);
            self.note_new_neighbor(key);
            self.time_neighbor(key, now + STALE_LIFETIME);
            return Some(key);
        };
        let entry = self.neighbors.get_mut(key)?;
        match entry.state {
            NeighborState::Permanent => {}
            NeighborState::Incomplete | NeighborState::Failed => {
                entry.hardware = hardware;
                self.neighbor_stale(now, key);
                self.changed();
            }
            _ if entry.hardware == hardware => {}
            NeighborState::Probe => entry.challenged = true,
            _ if now.saturating_duration_since(entry.confirmed) < CLAIM_HOLD
                && entry.confirmed > Instant::ZERO => {}
            _ => {
                entry.challenged = true;
                entry.probes = 0;
                self.set_neighbor(key, NeighborState::Probe);
                self.solicit_again(now, key);
            }
        }
        Some(key)
    }

    /// A neighbour answers our question.
    pub(crate) fn answered(&mut self, now: Instant, key: Key, hardware: Mac) {
        let Some(entry) = self.neighbors.get_mut(key) else {
            return;
        };
        let (interface, address) = (entry.interface, entry.address);
        match entry.state {
            NeighborState::Incomplete => {
                entry.hardware = hardware;
                self.neighbor_reachable(now, key);
                // Routes that were given away before do not know where he stands yet.
                self.changed();
            }
            _ if entry.hardware == hardware && entry.is_known() => {
                self.neighbor_reachable(now, key)
            }
            _ => {
                self.claim(now, interface, address, hardware);
            }
        }
    }

    /// What is due at a neighbour.
    pub(crate) fn neighbor_timeout(&mut self, now: Instant, key: Key) {
        let Some(entry) = self.neighbors.get_mut(key) else {
            return;
        };
        entry.timer = None;
        let (interface, confirmed, used) = (entry.interface, entry.confirmed, entry.used);
        match entry.state {
            NeighborState::Reachable => {
                let until = confirmed + self.reachable_time(interface);
                if until > now {
                    self.time_neighbor(key, until);
                } else {
                    self.neighbor_stale(now, key);
                }
            }
            NeighborState::Delay => {
                self.set_neighbor(key, NeighborState::Probe);
                self.solicit_again(now, key);
            }
            NeighborState::Incomplete | NeighborState::Probe => self.solicit_again(now, key),
            NeighborState::Stale if used => {
                entry.used = false;
                self.time_neighbor(key, now + STALE_LIFETIME);
            }
            NeighborState::Stale | NeighborState::Failed => {
                let gone = self.neighbors.remove(key);
                self.let_go(gone);
                self.changed();
            }
            NeighborState::Permanent => {}
        }
    }

    /// Sends the next solicitation, or gives the neighbour up.
    fn solicit_again(&mut self, now: Instant, key: Key) {
        let Some(entry) = self.neighbors.get_mut(key) else {
            return;
        };
        let unicast = entry.state == NeighborState::Probe;
        let most = match (unicast, entry.challenged) {
            (true, true) => 1,
            (true, false) => MAX_UNICAST_SOLICIT,
            _ => MAX_MULTICAST_SOLICIT,
        };
        if entry.probes >= most && !unicast {
            return self.neighbor_failed(now, key);
        }
        if entry.probes >= most {
            // Silent so far: perhaps it has another Ethernet address now.
            entry.probes = 0;
            entry.challenged = false;
            self.set_neighbor(key, NeighborState::Incomplete);
            return self.solicit_again(now, key);
        }
        entry.probes = entry.probes.saturating_add(1);
        let (interface, address) = (entry.interface, entry.address);
        let to = unicast.then_some(entry.hardware);
        let wait = self
            .interface(interface)
            .map(|interface| interface.link.retrans_timer);
        let wait = wait
            .filter(|_| address.is_ipv6())
            .unwrap_or(crate::ip::interface::RETRANS_TIMER);
        self.time_neighbor(key, now + wait);
        match address {
            IpAddr::V4(address) => self.send_arp_request(now, interface, address, to),
            IpAddr::V6(address) => self.send_solicitation(now, interface, address, to),
        }
    }

    fn neighbor_failed(&mut self, now: Instant, key: Key) {
        self.set_neighbor(key, NeighborState::Failed);
        self.time_neighbor(key, now + FAILED_HOLD);
        self.changed();
        let pending = self.neighbors.take_pending(key);
        let Some(entry) = self.neighbors.get(key) else {
            return;
        };
        let (interface, next_hop) = (entry.interface, entry.address);
        self.tell(IpEvent::NeighborFailed {
            interface,
            next_hop,
        });
        for pending in &pending {
            let packet = pending.frame.get(ethernet::HEADER_LEN..);
            let packet = packet.unwrap_or_default();
            self.discard(packet, Cause::NEIGHBOR);
            if pending.forwarded {
                self.complain(now, packet, Complaint::HostUnreachable);
            } else {
                self.tell_undelivered(next_hop, packet);
            }
        }
    }

    /// Sends what waited for a neighbour that is known now.
    fn release(&mut self, now: Instant, key: Key) {
        let mut pending = self.neighbors.take_pending(key);
        let Some(entry) = self.neighbors.get_mut(key) else {
            return;
        };
        let (interface, hardware) = (entry.interface, entry.hardware);
        if !pending.is_empty() && entry.state == NeighborState::Stale {
            entry.used = true;
            self.set_neighbor(key, NeighborState::Delay);
            self.time_neighbor(key, now + DELAY_FIRST_PROBE);
        }
        for waited in pending.iter_mut() {
            if let Some(dst) = waited.frame.first_chunk_mut() {
                *dst = hardware.0;
            }
            let begun = self.replies.begin();
            self.replies.data.extend_from_slice(&waited.frame);
            self.replies.finish(begun, interface, waited.offload);
        }
    }

    /// RFC 4861 section 6.3.2: half to one and a half of what routers say, so that neighbours are not
    /// all asked at once.
    fn reachable_time(&mut self, interface: InterfaceId) -> Duration {
        let known = self
            .interface(interface)
            .map(|interface| interface.link.reachable_time);
        let base = nanos(known.unwrap_or(crate::ip::interface::REACHABLE_TIME));
        let (least, most) = (base / 2, base.saturating_add(base / 2));
        Duration::from_nanos(rng::between(&mut self.rng, least, most))
    }

    /// Sets a neighbour's timer.
    pub(crate) fn time_neighbor(&mut self, key: Key, at: Instant) {
        let Some(entry) = self.neighbors.get_mut(key) else {
            return;
        };
        match entry.timer {
            Some(timer) if self.timers.reset(timer, at) => {}
            _ => entry.timer = Some(self.timers.insert(at, Due::Neighbor(key))),
        }
    }

    /// Cancels the timer of a neighbour that is no more, and counts what waited for it.
    pub(crate) fn let_go(&mut self, neighbor: Option<crate::link::cache::Neighbor>) {
        let Some(neighbor) = neighbor else {
            return;
        };
        if let Some(timer) = neighbor.timer {
            self.timers.cancel(timer);
        }
        self.note_gone_neighbor(&neighbor);
        let dropped = neighbor.waiting() as u64;
        self.counters.out_discards = self.counters.out_discards.saturating_add(dropped);
    }
}
