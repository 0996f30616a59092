//! Whose turn it is.
//!
//! Priorities are those of RFC 9218: eight urgencies, served strictly one before the next, and
//! within one urgency streams that are *incremental* (useful in pieces) take turns, while those
//! that are not are sent one after the other.

use std::collections::VecDeque;

use crate::limits::URGENCIES;

/// How urgent a stream is (RFC 9218 section 4).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Priority {
    /// 0 is served first, 7 last; 3 by default. Larger values count as 7.
    pub urgency: u8,
    /// True (the default here): takes turns with others of its urgency. False: once it has begun,
    /// no other non-incremental stream of its urgency comes before it is done.
    pub incremental: bool,
}

impl Priority {
    /// The most urgent, for what must not wait behind data.
    pub const FIRST: Priority = Priority {
        urgency: 0,
        incremental: true,
    };

    /// Only when nobody else has anything to send.
    pub const LAST: Priority = Priority {
        urgency: 7,
        incremental: true,
    };

    /// An incremental stream of the given urgency.
    #[must_use]
    pub const fn urgency(urgency: u8) -> Priority {
        Priority {
            urgency,
            incremental: true,
        }
    }

    #[inline]
    fn level(self) -> usize {
        usize::from(self.urgency).min(URGENCIES - 1)
    }
}

impl Default for Priority {
    /// Urgency 3 as RFC 9218 section 4.1 has it, but incremental: a multiplexer carries independent
    /// conversations, and one must not wait for another's end.
    fn default() -> Priority {
        Priority::urgency(3)
    }
}

/// A queue of those that have something to send.
///
/// # How it is driven
/// The owner keeps a "queued" flag with each stream: [`push`](Scheduler::push) when a stream that was
/// not queued gets something to send; [`pop`](Scheduler::pop) gives the stream whose turn it is and
/// forgets it; after one turn's worth the owner calls [`requeue`](Scheduler::requeue) if there is
/// more. A key is never in the queue twice by the owner's care, and a key whose stream is gone by its
/// turn is skipped by the owner. All calls are O(1).
///
/// # Fairness
/// Inside one urgency every incremental stream gets a turn before any gets a second. The
/// non-incremental ones together count as one member of that round, so neither kind starves the other.
#[derive(Debug, Clone)]
pub struct Scheduler<K> {
    levels: [Level<K>; URGENCIES],
    /// One bit a level, set while it has a member.
    occupied: u8,
    len: usize,
}

/// A member of one urgency's round.
#[derive(Debug, Clone, Copy)]
enum Turn<K> {
    One(K),
    /// The first of the non-incremental ones.
    InOrder,
}

#[derive(Debug, Clone)]
struct Level<K> {
    round: VecDeque<Turn<K>>,
    in_order: VecDeque<K>,
    /// True while `round` has its `InOrder` member, which it has exactly when `in_order` has any.
    in_round: bool,
}

impl<K> Default for Level<K> {
    fn default() -> Level<K> {
        Level {
            round: VecDeque::new(),
            in_order: VecDeque::new(),
            in_round: false,
        }
    }
}

impl<K: Copy> Default for Scheduler<K> {
    fn default() -> Scheduler<K> {
        Scheduler::new()
    }
}

impl<K: Copy> Scheduler<K> {
    /// An empty queue. Allocates nothing before the first key.
    #[must_use]
    pub fn new() -> Scheduler<K> {
        Scheduler {
            levels: core::array::from_fn(|_| Level::default()),
            occupied: 0,
            len: 0,
        }
    }

    /// Queues a key behind all others of its priority.
    #[inline]
    pub fn push(&mut self, key: K, priority: Priority) {
        self.enter(key, priority, false);
    }

    /// Queues a key again after its turn: behind the others when incremental, else it stays first
    /// among the non-incremental ones.
    #[inline]
    pub fn requeue(&mut self, key: K, priority: Priority) {
        self.enter(key, priority, true);
    }

    /// The key whose turn it is, with the priority it was queued at. It is no longer queued.
    #[inline]
    pub fn pop(&mut self) -> Option<(K, Priority)> {
        let urgency = self.occupied.trailing_zeros() as usize;
        let level = self.levels.get_mut(urgency)?;
        let (key, incremental) = level.next()?;
        if level.round.is_empty() {
            self.occupied &= !(1 << urgency);
        }
        self.len = self.len.saturating_sub(1);
        let priority = Priority {
            urgency: urgency as u8,
            incremental,
        };
        Some((key, priority))
    }

    /// How many keys are queued.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nobody has anything to send.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many queued keys would come before or take turns with a stream of this urgency: those as
    /// urgent and those more urgent. 0 means that a stream of this urgency has the carrier to
    /// itself.
    #[inline]
    #[must_use]
    pub fn competitors(&self, urgency: u8) -> usize {
        let levels = self
            .levels
            .iter()
            .take(usize::from(urgency).min(URGENCIES - 1) + 1);
        levels.map(Level::len).sum()
    }

    /// Forgets every key and gives all memory back.
    pub fn clear(&mut self) {
        *self = Scheduler::new();
    }

    #[inline]
    fn enter(&mut self, key: K, priority: Priority, begun: bool) {
        let urgency = priority.level();
        let Some(level) = self.levels.get_mut(urgency) else {
            return;
        };
        level.enter(key, priority.incremental, begun);
        self.occupied |= 1 << urgency;
        self.len += 1;
    }
}

impl<K: Copy> Level<K> {
    #[inline]
    fn len(&self) -> usize {
        self.round.len() + self.in_order.len() - usize::from(self.in_round)
    }

    #[inline]
    fn enter(&mut self, key: K, incremental: bool, begun: bool) {
        if incremental {
            self.round.push_back(Turn::One(key));
            return;
        }
        if begun {
            self.in_order.push_front(key);
        } else {
            self.in_order.push_back(key);
        }
        self.join_round();
    }

    #[inline]
    fn next(&mut self) -> Option<(K, bool)> {
        if let Turn::One(key) = self.round.pop_front()? {
            return Some((key, true));
        }
        self.in_round = false;
        let key = self.in_order.pop_front()?;
        if !self.in_order.is_empty() {
            self.join_round();
        }
        Some((key, false))
    }

    #[inline]
    fn join_round(&mut self) {
        if !self.in_round {
            self.in_round = true;
            self.round.push_back(Turn::InOrder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_ORDER: Priority = Priority {
        urgency: 3,
        incremental: false,
    };

    /// Serves `turns` turns in which everybody always has more.
    fn serve(queue: &mut Scheduler<char>, turns: usize) -> String {
        let mut served = String::new();
        for _ in 0..turns {
            let (key, priority) = queue.pop().unwrap();
            served.push(key);
            queue.requeue(key, priority);
        }
        served
    }

    #[test]
    fn incremental_streams_take_turns() {
        let mut queue = Scheduler::new();
        for key in ['a', 'b', 'c'] {
            queue.push(key, Priority::default());
        }
        assert_eq!(serve(&mut queue, 7), "abcabca");
    }

    // RFC 9218 section 10: non-incremental responses one by one, in the order they came.
    #[test]
    fn a_non_incremental_stream_stays_until_it_is_done() {
        let mut queue = Scheduler::new();
        queue.push('a', IN_ORDER);
        queue.push('b', IN_ORDER);
        assert_eq!(serve(&mut queue, 4), "aaaa");
        assert_eq!(queue.pop(), Some(('a', IN_ORDER)));
        // Done: not queued again. A newcomer waits behind b.
        queue.push('c', IN_ORDER);
        assert_eq!(serve(&mut queue, 2), "bb");
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn both_kinds_share_one_urgency() {
        let mut queue = Scheduler::new();
        queue.push('x', Priority::default());
        queue.push('a', IN_ORDER);
        queue.push('b', IN_ORDER);
        queue.push('y', Priority::default());
        assert_eq!(queue.len(), 4);
        assert_eq!(queue.competitors(3), 4);
        assert_eq!(serve(&mut queue, 6), "xayxay");
    }

    // RFC 9218 section 10: a more urgent one always comes before a less urgent one.
    #[test]
    fn the_more_urgent_goes_first() {
        let mut queue = Scheduler::new();
        queue.push('d', Priority::LAST);
        queue.push('a', Priority::default());
        assert_eq!(serve(&mut queue, 2), "aa");
        queue.push('f', Priority::FIRST);
        assert_eq!(serve(&mut queue, 2), "ff");
        assert_eq!((queue.competitors(0), queue.competitors(3)), (1, 2));
        assert_eq!((queue.competitors(7), queue.competitors(200)), (3, 3));
        let served: Vec<char> = core::iter::from_fn(|| queue.pop())
            .map(|(key, _)| key)
            .collect();
        assert_eq!(served, ['f', 'a', 'd']);
        assert!(queue.is_empty() && queue.pop().is_none());
    }

    #[test]
    fn an_urgency_out_of_range_counts_as_the_last() {
        let mut queue = Scheduler::new();
        queue.push('z', Priority::urgency(255));
        assert_eq!(queue.pop(), Some(('z', Priority::LAST)));
    }
}
