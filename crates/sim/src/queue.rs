//! The event queue: what happens next, and in which order when several things happen at once.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use weir_core::time::Instant;

/// A priority queue over virtual time.
///
/// Entries come out by time; entries of one instant come out in the order they went in, so that a
/// run does not depend on how a heap happens to arrange equal keys.
///
/// ```
/// use weir_core::time::Instant;
/// use weir_sim::EventQueue;
///
/// let mut queue = EventQueue::new();
/// queue.push(Instant::from_nanos(5), "later");
/// queue.push(Instant::from_nanos(1), "first");
/// queue.push(Instant::from_nanos(1), "second");
/// assert_eq!(queue.pop(), Some((Instant::from_nanos(1), "first")));
/// assert_eq!(queue.pop(), Some((Instant::from_nanos(1), "second")));
/// assert_eq!(queue.next_time(), Some(Instant::from_nanos(5)));
/// ```
#[derive(Debug)]
pub struct EventQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    pushed: u64,
}

impl<T> EventQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            pushed: 0,
        }
    }

    /// Adds `item`, to come out at `at`.
    pub fn push(&mut self, at: Instant, item: T) {
        self.heap.push(Entry {
            at,
            order: self.pushed,
            item,
        });
        self.pushed += 1;
    }

    /// The earliest item and its time.
    pub fn pop(&mut self) -> Option<(Instant, T)> {
        self.heap.pop().map(|entry| (entry.at, entry.item))
    }

    /// The earliest item if its time is `now` or before.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, T)> {
        if self.next_time()? <= now {
            self.pop()
        } else {
            None
        }
    }

    /// When the earliest item is due.
    #[must_use]
    pub fn next_time(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Items waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    order: u64,
    item: T,
}

impl<T> Ord for Entry<T> {
    /// Reversed: the heap keeps its greatest entry on top, and the earliest is wanted there.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}
