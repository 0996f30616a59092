//! Deadlines of many streams that all have the same length.

use std::collections::VecDeque;
use weir_core::slab::Key;
use weir_core::time::Instant;

/// Streams in the order in which their time runs out. The time is the same for all, so the order is
/// that of arming, and every operation is O(1) over time. Whether an entry still counts is a bit on
/// the stream; entries that do not are swept out before they outnumber those that do.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: VecDeque<(Instant, Key)>,
    live: usize,
}

/// Below this many entries sweeping is not worth its while.
const SWEEP_ABOVE: usize = 64;

impl Deadlines {
    /// Arms a stream; `is_live` says of a key whether its entry still counts.
    #[inline]
    pub(crate) fn arm(&mut self, at: Instant, key: Key, is_live: impl Fn(Key) -> bool) {
        if self.queue.len() > self.live.saturating_mul(2).saturating_add(SWEEP_ABOVE) {
            self.queue.retain(|(_, key)| is_live(*key));
        }
        self.queue.push_back((at, key));
        self.live = self.live.saturating_add(1);
    }

    /// One armed stream needs its deadline no more (its bit was cleared).
    #[inline]
    pub(crate) fn disarm(&mut self) {
        self.live = self.live.saturating_sub(1);
        if self.live == 0 {
            self.queue.clear();
        }
    }

    /// When the first deadline is. It may be one that counts no more: then the wake-up finds
    /// nothing to do.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Takes the first entry if its time has come. If it still counts, the caller clears the
    /// stream's bit and calls [`Deadlines::disarm`].
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Key> {
        let (at, key) = *self.queue.front()?;
        if at > now {
            return None;
        }
        self.queue.pop_front();
        Some(key)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Deadlines::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key {
            index,
            generation: 1,
        }
    }

    #[test]
    fn in_order_and_only_when_due() {
        let mut deadlines = Deadlines::default();
        for index in 0..3 {
            deadlines.arm(
                Instant::from_millis(u64::from(index) * 10),
                key(index),
                |_| true,
            );
        }
        assert_eq!(deadlines.next(), Some(Instant::ZERO));
        assert_eq!(
            deadlines.pop_expired(Instant::from_millis(15)),
            Some(key(0))
        );
        assert_eq!(
            deadlines.pop_expired(Instant::from_millis(15)),
            Some(key(1))
        );
        assert_eq!(deadlines.pop_expired(Instant::from_millis(15)), None);
    }

    #[test]
    fn entries_that_count_no_more_do_not_pile_up() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(Instant::ZERO, key(0), |_| true);
        for index in 1..100_000 {
            deadlines.arm(Instant::ZERO, key(index), |key| key.index == 0);
            deadlines.disarm();
            assert!(deadlines.queue.len() <= 2 + SWEEP_ABOVE + 1);
        }
    }
}
