//! A hierarchical timing wheel (Varghese and Lauck, 1987): many timers, of which most are moved or
//! cancelled before they go off.

use core::fmt;

use crate::slab::{Key, Slab};
use crate::time::{Duration, Instant, nanos};

/// Six bits of the tick count for each level: a slot's number fits a bit of a `u64`.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;

/// Six levels reach 2^36 ticks ahead, two years of milliseconds. What lies farther waits in the
/// topmost level and is looked at again each time its slot comes round.
const LEVELS: usize = 6;

/// The list of timers that are due, after those of all slots.
const DUE: usize = LEVELS * SLOTS;

/// No entry.
const NONE: u32 = u32::MAX;

/// A wheel of timers that carry a `K` each.
///
/// Inserting and cancelling is O(1), going off O(1) amortised over at most six levels. Time is
/// counted in ticks: a timer goes off up to one tick late, never early. Timers that become due
/// within one tick go off in no particular order (but in the same one in each replay).
pub struct Wheel<K> {
    entries: Slab<Entry<K>>,
    /// The first entry of each slot's list, level by level, and of the due list.
    heads: Vec<u32>,
    /// For each level one bit a slot, set while its list has entries.
    occupied: [u64; LEVELS],
    /// Ticks up to which everything was moved to the due list.
    elapsed: u64,
    tick_nanos: u64,
    /// What [`next`](Wheel::next) answers: it is asked far more often than anything changes.
    next: Instant,
}

struct Entry<K> {
    value: K,
    at: Instant,
    list: u16,
    next: u32,
    previous: u32,
}

impl<K> Wheel<K> {
    /// An empty wheel that counts time from `now` on in ticks of `tick` (at least a nanosecond).
    #[must_use]
    pub fn new(tick: Duration, now: Instant) -> Wheel<K> {
        let tick_nanos = nanos(tick).max(1);
        Wheel {
            entries: Slab::new(),
            heads: vec![NONE; DUE + 1],
            occupied: [0; LEVELS],
            elapsed: now.as_nanos() / tick_nanos,
            tick_nanos,
            next: Instant::MAX,
        }
    }

    /// How many timers are set.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when none is set.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a timer. The key cancels it; it is stale once the timer went off.
    pub fn insert(&mut self, at: Instant, value: K) -> Key {
        let key = self.entries.insert(Entry {
            value,
            at,
            list: 0,
            next: NONE,
            previous: NONE,
        });
        self.link(key.index, self.list_for(self.tick_of(at)));
        self.find_next();
        key
    }

    /// Cancels a timer and returns what it carried; `None` when it went off or was cancelled.
    pub fn cancel(&mut self, key: Key) -> Option<K> {
        if !self.entries.contains(key) {
            return None;
        }
        self.unlink(key.index);
        self.find_next();
        self.entries.remove(key).map(|entry| entry.value)
    }

    /// Moves a timer to another time. False when it went off or was cancelled.
    pub fn reset(&mut self, key: Key, at: Instant) -> bool {
        if !self.entries.contains(key) {
            return false;
        }
        self.unlink(key.index);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.at = at;
        }
        self.link(key.index, self.list_for(self.tick_of(at)));
        self.find_next();
        true
    }

    /// When a timer is to go off.
    #[must_use]
    pub fn deadline(&self, key: Key) -> Option<Instant> {
        self.entries.get(key).map(|entry| entry.at)
    }

    /// When to call [`pop_expired`](Wheel::pop_expired) next; `None` when no timer is set. For a
    /// timer that is far off it may be earlier than that timer: then nothing goes off, and the
    /// answer becomes more exact.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.next)
    }

    /// Something changed: when the next is to go off.
    fn find_next(&mut self) {
        let tick = if self.head(DUE) != NONE {
            Some(self.elapsed)
        } else {
            self.next_slot().map(|(_, tick)| tick)
        };
        self.next = tick.map_or(Instant::MAX, |tick| self.instant_of(tick));
    }

    /// Takes a timer that is due by `now`, with the time that it was set to.
    pub fn pop_expired(&mut self, now: Instant) -> Option<(Instant, K)> {
        let popped = self.pop(now);
        self.find_next();
        popped
    }

    fn pop(&mut self, now: Instant) -> Option<(Instant, K)> {
        let now = now.as_nanos() / self.tick_nanos;
        while self.head(DUE) == NONE {
            match self.next_slot() {
                Some((list, tick)) if tick <= now => self.empty_slot(list, tick),
                _ => {
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
            }
        }
        let first = self.head(DUE);
        let key = self.entries.key_at(first)?;
        self.unlink(first);
        let entry = self.entries.remove(key)?;
        Some((entry.at, entry.value))
    }

    /// Moves every entry of a slot that time has reached to where it belongs now.
    fn empty_slot(&mut self, list: usize, tick: u64) {
        self.elapsed = self.elapsed.max(tick);
        // Taken whole: an entry from beyond the reach of the wheel goes into the same slot again.
        let mut index = self.head(list);
        self.set_head(list, NONE);
        while index != NONE {
            let Some(entry) = self.entries.get_at(index) else {
                return;
            };
            let (next, tick) = (entry.next, self.tick_of(entry.at));
            self.link(index, self.list_for(tick));
            index = next;
        }
    }

    /// The first occupied slot in time, and the tick at which it begins.
    fn next_slot(&self) -> Option<(usize, u64)> {
        // An entry in a lower level is due before the present slot of the next level ends, and so
        // before every entry in a higher one.
        let mut levels = self.occupied.iter().enumerate();
        let (level, occupied) = levels.find(|(_, occupied)| **occupied != 0)?;
        let shift = BITS * level as u32;
        let here = self.elapsed >> shift;
        // From the slot after the present one round to the present one itself, which has entries
        // only in the topmost level: those of its next round.
        let after = (here as u32).wrapping_add(1) % SLOTS as u32;
        let ahead = 1 + u64::from(occupied.rotate_right(after).trailing_zeros());
        let slot = here.wrapping_add(ahead) % SLOTS as u64;
        let begin = here.saturating_add(ahead).saturating_mul(1 << shift);
        Some((level * SLOTS + slot as usize, begin))
    }

    /// The list that a timer of this tick belongs into now.
    fn list_for(&self, tick: u64) -> usize {
        if tick <= self.elapsed {
            return DUE;
        }
        // The highest bit in which it differs from the present says how far ahead it is.
        let differs = (tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = ((63 - differs.leading_zeros()) / BITS).min(LEVELS as u32 - 1);
        let slot = (tick >> (BITS * level)) & (SLOTS as u64 - 1);
        level as usize * SLOTS + slot as usize
    }

    /// The first tick at which a timer may go off.
    fn tick_of(&self, at: Instant) -> u64 {
        at.as_nanos().div_ceil(self.tick_nanos)
    }

    fn instant_of(&self, tick: u64) -> Instant {
        Instant::from_nanos(tick.saturating_mul(self.tick_nanos))
    }

    fn head(&self, list: usize) -> u32 {
        self.heads.get(list).copied().unwrap_or(NONE)
    }

    /// Sets a list's first entry and the bit that says whether there is one.
    fn set_head(&mut self, list: usize, index: u32) {
        if let Some(head) = self.heads.get_mut(list) {
            *head = index;
        }
        if let Some(occupied) = self.occupied.get_mut(list / SLOTS) {
            let bit = 1u64 << (list % SLOTS);
            *occupied = if index == NONE {
                *occupied & !bit
            } else {
                *occupied | bit
            };
        }
    }

    fn link(&mut self, index: u32, list: usize) {
        let next = self.head(list);
        if let Some(entry) = self.entries.get_at_mut(index) {
            entry.list = list as u16;
            entry.next = next;
            entry.previous = NONE;
        }
        if let Some(entry) = self.entries.get_at_mut(next) {
            entry.previous = index;
        }
        self.set_head(list, index);
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entries.get_at(index) else {
            return;
        };
        let (list, next, previous) = (usize::from(entry.list), entry.next, entry.previous);
        match self.entries.get_at_mut(previous) {
            Some(entry) => entry.next = next,
            None => self.set_head(list, next),
        }
        if let Some(entry) = self.entries.get_at_mut(next) {
            entry.previous = previous;
        }
    }
}

impl<K> fmt::Debug for Wheel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len())
            .field("next", &self.next())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn never_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new(TICK, Instant::ZERO);
        let half = at(5) + Duration::from_micros(500);
        wheel.insert(half, 'x');
        assert_eq!(wheel.pop_expired(half), None);
        assert_eq!(wheel.next(), Some(at(6)));
        assert_eq!(wheel.pop_expired(at(6)), Some((half, 'x')));
        assert!(wheel.is_empty() && wheel.next().is_none());
    }

    #[test]
    fn a_cancelled_timer_does_not_go_off() {
        let mut wheel = Wheel::new(TICK, Instant::ZERO);
        let keys: Vec<Key> = (0..10).map(|n| wheel.insert(at(100), n)).collect();
        assert_eq!(wheel.cancel(keys[3]), Some(3));
        assert_eq!(wheel.cancel(keys[3]), None);
        assert!(wheel.reset(keys[4], at(50)));
        assert!(!wheel.reset(keys[3], at(50)));
        assert_eq!(wheel.pop_expired(at(60)), Some((at(50), 4)));
        let mut rest: Vec<i32> = Vec::new();
        while let Some((_, value)) = wheel.pop_expired(at(100)) {
            rest.push(value);
        }
        rest.sort_unstable();
        assert_eq!(rest, [0, 1, 2, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn what_is_far_off_comes_in_its_time() {
        let mut wheel = Wheel::new(TICK, at(12_345));
        let year = Duration::from_secs(365 * 86_400);
        let due = [at(12_345) + year, at(12_345) + year * 5, at(99_999)];
        for (name, at) in due.into_iter().enumerate() {
            wheel.insert(at, name);
        }
        wheel.insert(Instant::MAX, 99);
        let mut order = Vec::new();
        while let Some(next) = wheel.next()
            && order.len() < 3
        {
            if let Some((at, name)) = wheel.pop_expired(next) {
                assert!(at <= next && next.saturating_duration_since(at) <= TICK);
                order.push(name);
            }
        }
        assert_eq!(order, [2, 0, 1]);
        assert_eq!(wheel.len(), 1);
    }
}
