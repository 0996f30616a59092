//! From the two ends of a connection to where it is kept: one look-up for every segment.
//!
//! The table holds eight bytes a connection, a hash and a place; the ends themselves are compared
//! where the connection is kept, whose memory the segment needs in any case.

/// Slots of the smallest table.
const LEAST_SLOTS: usize = 64;

/// Where a connection is kept, by the index of its place.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Among the connections.
    Connection(u32),
    /// In the table of TIME-WAIT.
    TimeWait(u32),
    /// Among the attempts that wait for the application.
    Incoming(u32),
    /// Among the listeners.
    Listener(u32),
    /// Among the UDP sockets.
    Socket(u32),
}

/// The upper three bits of a packed target say its kind; 0 is an empty slot.
const KIND_SHIFT: u32 = 29;
const INDEX_MASK: u32 = (1 << KIND_SHIFT) - 1;

impl Target {
    const fn pack(self) -> u32 {
        let (kind, index) = match self {
            Target::Connection(index) => (1, index),
            Target::TimeWait(index) => (2, index),
            Target::Incoming(index) => (3, index),
            Target::Listener(index) => (4, index),
            Target::Socket(index) => (5, index),
        };
        kind << KIND_SHIFT | index & INDEX_MASK
    }

    const fn unpack(packed: u32) -> Option<Target> {
        let index = packed & INDEX_MASK;
        match packed >> KIND_SHIFT {
            1 => Some(Target::Connection(index)),
            2 => Some(Target::TimeWait(index)),
            3 => Some(Target::Incoming(index)),
            4 => Some(Target::Listener(index)),
            5 => Some(Target::Socket(index)),
            _ => None,
        }
    }
}

#[derive(Copy, Clone, Debug, Default)]
struct Slot {
    hash: u32,
    packed: u32,
}

/// Both IPv4 addresses and both ports as they stand in a segment's headers.
pub(crate) type Ends = ([u8; 8], [u8; 4]);

/// The connection that the last segment was for: the next is often for the same, as long as the
/// table has not changed since.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Recent {
    ends: Ends,
    /// Of which state of the table.
    changes: u64,
    index: u32,
}

/// An open table with linear probing. Entries behind a removed one move up, so there are no
/// tombstones and a table that had many entries is as quick as a new one.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    /// A power of two of them, or none.
    slots: Vec<Slot>,
    len: usize,
    /// Counts insertions and removals.
    changes: u64,
}

impl Demux {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The place of the connection that `ends` were of when they were noted, if the table is as it was.
    #[inline]
    pub(crate) fn recent(&self, recent: &Recent, ends: Ends) -> Option<u32> {
        (recent.ends == ends && recent.changes == self.changes).then_some(recent.index)
    }

    /// What [`recent`](Demux::recent) is asked with when the next segment comes.
    #[inline]
    pub(crate) fn note(&self, ends: Ends, index: u32) -> Recent {
        Recent {
            ends,
            changes: self.changes,
            index,
        }
    }

    /// The entry of this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(Target) -> bool) -> Option<Target> {
        let mut at = hash as usize;
        loop {
            let slot = self.slot(at)?;
            if slot.packed == 0 {
                return None;
            }
            if slot.hash == hash
                && let Some(target) = Target::unpack(slot.packed)
                && is_it(target)
            {
                return Some(target);
            }
            at = at.wrapping_add(1);
        }
    }

    /// Puts in an entry, which must not be there.
    pub(crate) fn insert(&mut self, hash: u32, target: Target) {
        self.changes = self.changes.wrapping_add(1);
        // At most three quarters full: a look-up then takes two and a half probes, and a miss
        // always ends.
        if self.len.saturating_add(1).saturating_mul(4) > self.slots.len().saturating_mul(3) {
            self.resize(self.slots.len().saturating_mul(2).max(LEAST_SLOTS));
        }
        self.place(Slot {
            hash,
            packed: target.pack(),
        });
        self.len = self.len.saturating_add(1);
    }

    /// Puts `new` where `old` was. False when `old` is not there.
    #[cfg(test)]
    pub(crate) fn replace(&mut self, hash: u32, old: Target, new: Target) -> bool {
        let Some(at) = self.position(hash, old) else {
            return false;
        };
        if let Some(slot) = self.slots.get_mut(at) {
            slot.packed = new.pack();
        }
        true
    }

    /// Takes an entry out. False when it is not there.
    pub(crate) fn remove(&mut self, hash: u32, target: Target) -> bool {
        let Some(hole) = self.position(hash, target) else {
            return false;
        };
        self.changes = self.changes.wrapping_add(1);
        self.close_hole(hole);
        self.len = self.len.saturating_sub(1);
        let slots = self.slots.len();
        if slots > LEAST_SLOTS && self.len.saturating_mul(8) < slots {
            self.resize(slots / 2);
        }
        true
    }

    fn mask(&self) -> usize {
        self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn slot(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at & self.mask())
    }

    fn position(&self, hash: u32, target: Target) -> Option<usize> {
        let packed = target.pack();
        let mut at = hash as usize;
        loop {
            let slot = self.slot(at)?;
            if slot.packed == packed {
                return Some(at & self.mask());
            }
            Target::unpack(slot.packed)?;
            at = at.wrapping_add(1);
        }
    }

    /// Moves up what lies behind a hole and could have lain in it.
    fn close_hole(&mut self, mut hole: usize) {
        let mask = self.mask();
        let mut at = hole;
        loop {
            at = at.wrapping_add(1) & mask;
            let Some(slot) = self.slots.get(at).copied().filter(|slot| slot.packed != 0) else {
                break;
            };
            // How far it lies from its own place, and how far from the hole.
            let from_home = at.wrapping_sub(slot.hash as usize) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                if let Some(free) = self.slots.get_mut(hole) {
                    *free = slot;
                }
                hole = at;
            }
        }
        if let Some(free) = self.slots.get_mut(hole) {
            *free = Slot::default();
        }
    }

    fn place(&mut self, new: Slot) {
        let mask = self.mask();
        let mut at = new.hash as usize & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.packed == 0 {
                *slot = new;
                return;
            }
            at = at.wrapping_add(1) & mask;
        }
    }

    #[cold]
    fn resize(&mut self, slots: usize) {
        let old = core::mem::replace(&mut self.slots, vec![Slot::default(); slots]);
        for slot in old.into_iter().filter(|slot| slot.packed != 0) {
            self.place(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::{below, rng_from_seed};

    #[test]
    fn holds_what_it_was_given_through_growth_and_removal() {
        let mut rng = rng_from_seed(1);
        let mut demux = Demux::default();
        let mut model: Vec<(u32, u32)> = Vec::new();
        for round in 0..20_000u32 {
            // Few different hashes, so that runs are long and wrap around.
            let hash = (below(&mut rng, 500) as u32).wrapping_sub(250);
            if below(&mut rng, 5) < 2 + u64::from(round < 8_000) {
                demux.insert(hash, Target::Connection(round));
                model.push((hash, round));
            } else if !model.is_empty() {
                let at = below(&mut rng, model.len() as u64) as usize;
                let (hash, index) = model.swap_remove(at);
                assert!(demux.remove(hash, Target::Connection(index)));
                assert!(!demux.remove(hash, Target::Connection(index)));
            }
            assert_eq!(demux.len(), model.len());
        }
        for (hash, index) in &model {
            let found = demux.find(*hash, |target| target == Target::Connection(*index));
            assert_eq!(found, Some(Target::Connection(*index)));
        }
        assert_eq!(demux.find(0, |_| false), None);
    }

    #[test]
    fn an_entry_can_change_its_kind() {
        let mut demux = Demux::default();
        demux.insert(7, Target::Connection(3));
        assert!(demux.replace(7, Target::Connection(3), Target::TimeWait(9)));
        assert!(!demux.replace(7, Target::Connection(3), Target::TimeWait(9)));
        assert_eq!(demux.find(7, |_| true), Some(Target::TimeWait(9)));
        assert_eq!(demux.len(), 1);
    }

    #[test]
    fn an_emptied_table_gives_memory_back() {
        let mut demux = Demux::default();
        for n in 0..10_000u32 {
            demux.insert(n.wrapping_mul(2_654_435_761), Target::Incoming(n));
        }
        assert!(demux.slots.len() >= 10_000);
        for n in 0..10_000u32 {
            assert!(demux.remove(n.wrapping_mul(2_654_435_761), Target::Incoming(n)));
        }
        assert_eq!((demux.len(), demux.slots.len()), (0, LEAST_SLOTS));
    }
}
