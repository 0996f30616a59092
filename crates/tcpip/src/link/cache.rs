//! The cache of neighbours, for ARP and NDP alike (RFC 4861 section 7.3, RFC 1122 section 2.3.2).
//!
//! What attackers can fill it with is bounded in number, and those that are in use are the last to go:
//! an entry that somebody else's packet made never takes the place of one that answers (RFC 6583).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use weir_core::rng::{self, Rng};
use weir_core::slab::{Key, Slab};
use weir_core::time::Instant;

use crate::device::{InterfaceId, Offload};
use crate::ip::NeighborState;
use crate::ip::hash::Keyed;
use crate::limits::{
    MAX_INCOMPLETE_NEIGHBORS, MAX_NEIGHBORS, MAX_PENDING_BYTES, MAX_PENDING_PACKETS,
};
use crate::link::Mac;

/// How many places are looked at for one to give up.
const LOOK_AT: u32 = 32;

/// No place in the list of those being asked for.
const NOWHERE: usize = usize::MAX;

/// A neighbour.
#[derive(Debug)]
pub(crate) struct Neighbor {
    pub(crate) interface: InterfaceId,
    pub(crate) address: IpAddr,
    /// Means nothing while `state` is `Incomplete` or `Failed`.
    pub(crate) hardware: Mac,
    pub(crate) state: NeighborState,
    /// Solicitations sent in this state.
    pub(crate) probes: u8,
    /// Somebody claims the address for another Ethernet address: being asked whether it is still here.
    pub(crate) challenged: bool,
    /// Calls itself a router (RFC 4861 section 7.2.5).
    pub(crate) is_router: bool,
    /// Something was sent there since it was last looked at.
    pub(crate) used: bool,
    /// When it was last known to receive what we send.
    pub(crate) confirmed: Instant,
    /// Its timer, among those of the stack.
    pub(crate) timer: Option<Key>,
    pending: VecDeque<Pending>,
    /// Where it stands in the list of those being asked for.
    place: usize,
}

/// A frame that waits for its neighbour's Ethernet address; its first bytes are the link header's.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) frame: Vec<u8>,
    pub(crate) offload: Offload,
    /// Not our own packet but one to pass on: its sender is told when the neighbour does not answer.
    pub(crate) forwarded: bool,
}

/// All neighbours of all links.
#[derive(Debug)]
pub(crate) struct Neighbors {
    entries: Slab<Neighbor>,
    by_address: HashMap<(InterfaceId, IpAddr), Key, Keyed>,
    /// Those being asked for.
    incomplete: Vec<Key>,
    pending_bytes: usize,
    permanent: usize,
    /// Where the search for one to give up goes on.
    hand: u32,
}

impl Neighbors {
    pub(crate) fn new(rng: &mut Rng) -> Neighbors {
        Neighbors {
            entries: Slab::new(),
            by_address: HashMap::with_hasher(Keyed::new(rng)),
            incomplete: Vec::new(),
            pending_bytes: 0,
            permanent: 0,
            hand: 0,
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are being asked for.
    #[cfg(test)]
    pub(crate) fn incomplete(&self) -> usize {
        self.incomplete.len()
    }

    /// How many were set by hand.
    pub(crate) fn permanent(&self) -> usize {
        self.permanent
    }

    /// Bytes of frames that wait.
    #[cfg(test)]
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(crate) fn find(&self, interface: InterfaceId, address: IpAddr) -> Option<Key> {
        self.by_address.get(&(interface, address)).copied()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Neighbor> {
        self.entries.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Neighbor> {
        self.entries.get_mut(key)
    }

    /// The neighbour at a place that was his a while ago, if he is still there.
    #[inline]
    pub(crate) fn at(
        &mut self,
        hint: u32,
        interface: InterfaceId,
        address: IpAddr,
    ) -> Option<&mut Neighbor> {
        let entry = self.entries.get_at_mut(hint)?;
        (entry.address == address && entry.interface == interface).then_some(entry)
    }

    /// The key of a place.
    pub(crate) fn key_at(&self, place: u32) -> Option<Key> {
        self.entries.key_at(place)
    }

    /// A new neighbour, whose address is to be asked for or is known from `hardware`. The timer of one
    /// that had to go for it is given back. `None` when all others are worth more.
    pub(crate) fn create(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        hardware: Option<Mac>,
        rng: &mut Rng,
    ) -> Option<(Key, Option<Neighbor>)> {
        let mut evicted = None;
        if hardware.is_none() && self.incomplete.len() >= MAX_INCOMPLETE_NEIGHBORS {
            // Any of those being asked for: with the oldest an attacker could keep everybody else out.
            let place = rng::below(rng, self.incomplete.len() as u64) as usize;
            let victim = self.incomplete.get(place).copied()?;
            evicted = self.remove(victim);
        } else if self.entries.len() >= MAX_NEIGHBORS {
            let victim = self.victim(hardware.is_some())?;
            evicted = self.remove(victim);
        }
        let key = self.entries.insert(Neighbor {
            interface,
            address,
            hardware: hardware.unwrap_or(Mac::ZERO),
            state: NeighborState::Stale,
            probes: 0,
            challenged: false,
            is_router: false,
            used: false,
            confirmed: Instant::ZERO,
            timer: None,
            pending: VecDeque::new(),
            place: NOWHERE,
        });
        self.by_address.insert((interface, address), key);
        if hardware.is_none() {
            self.set_state(key, NeighborState::Incomplete);
        }
        Some((key, evicted))
    }

    /// Changes a state; keeps the list of those being asked for.
    pub(crate) fn set_state(&mut self, key: Key, state: NeighborState) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let was_permanent = entry.state == NeighborState::Permanent;
        if state == NeighborState::Permanent && !was_permanent {
            self.permanent = self.permanent.saturating_add(1);
        }
        entry.state = state;
        let place = entry.place;
        match (state == NeighborState::Incomplete, place == NOWHERE) {
            (true, true) => {
                entry.place = self.incomplete.len();
                self.incomplete.push(key);
            }
            (false, false) => {
                entry.place = NOWHERE;
                self.unlist(place);
            }
            _ => {}
        }
    }

    fn unlist(&mut self, place: usize) {
        if place >= self.incomplete.len() {
            return;
        }
        self.incomplete.swap_remove(place);
        if let Some(moved) = self.incomplete.get(place).copied()
            && let Some(moved) = self.entries.get_mut(moved)
        {
            moved.place = place;
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Neighbor> {
        let entry = self.entries.remove(key)?;
        self.by_address.remove(&(entry.interface, entry.address));
        if entry.place != NOWHERE {
            self.unlist(entry.place);
        }
        if entry.state == NeighborState::Permanent {
            self.permanent = self.permanent.saturating_sub(1);
        }
        let bytes: usize = entry
            .pending
            .iter()
            .map(|pending| pending.frame.len())
            .sum();
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        Some(entry)
    }

    /// Keeps a frame until the neighbour is known. The oldest go when there are too many (RFC 4861
    /// section 7.2.2: the newest is what is likely to be still wanted). False when there is no room.
    pub(crate) fn keep(&mut self, key: Key, pending: Pending) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let len = pending.frame.len();
        while entry.pending.len() >= MAX_PENDING_PACKETS
            || (self.pending_bytes.saturating_add(len) > MAX_PENDING_BYTES
                && !entry.pending.is_empty())
        {
            let oldest = entry.pending.pop_front();
            let freed = oldest.map_or(0, |oldest| oldest.frame.len());
            self.pending_bytes = self.pending_bytes.saturating_sub(freed);
        }
        if self.pending_bytes.saturating_add(len) > MAX_PENDING_BYTES {
            return false;
        }
        self.pending_bytes = self.pending_bytes.saturating_add(len);
        entry.pending.push_back(pending);
        true
    }

    /// Takes what waits for a neighbour.
    pub(crate) fn take_pending(&mut self, key: Key) -> VecDeque<Pending> {
        let Some(entry) = self.entries.get_mut(key) else {
            return VecDeque::new();
        };
        let pending = core::mem::take(&mut entry.pending);
        let bytes: usize = pending.iter().map(|pending| pending.frame.len()).sum();
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        pending
    }

    /// The least useful of a few: those that failed, those that nobody sends to, those not heard from
    /// for long. `learned` entries, which a packet from outside makes, take nothing that is in use.
    fn victim(&mut self, learned: bool) -> Option<Key> {
        let bound = u32::try_from(self.entries.index_bound())
            .unwrap_or(u32::MAX)
            .max(1);
        let mut best: Option<(u8, Key)> = None;
        for _ in 0..LOOK_AT.min(bound) {
            self.hand = self.hand.wrapping_add(1);
            if self.hand >= bound {
                self.hand = 0;
            }
            let Some(key) = self.entries.key_at(self.hand) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(key) else {
                continue;
            };
            let worth = entry.worth();
            entry.used = false;
            if best.is_none_or(|(least, _)| worth < least) {
                best = Some((worth, key));
            }
        }
        let most = if learned { IN_USE } else { KEPT };
        best.filter(|(worth, _)| *worth < most).map(|(_, key)| key)
    }
}

/// From here on a neighbour is in use, ...
const IN_USE: u8 = 4;
/// ... and from here on it is never given up.
const KEPT: u8 = 8;

impl Neighbor {
    fn worth(&self) -> u8 {
        match self.state {
            NeighborState::Failed => 0,
            NeighborState::Stale if !self.used => 1,
            NeighborState::Incomplete => 2,
            NeighborState::Stale => 4,
            NeighborState::Reachable | NeighborState::Delay | NeighborState::Probe => {
                5u8.saturating_add(u8::from(self.used))
            }
            NeighborState::Permanent => KEPT,
        }
    }

    /// How many frames wait for it.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// True when its Ethernet address can be used.
    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        !matches!(
            self.state,
            NeighborState::Incomplete | NeighborState::Failed
        )
    }
}
