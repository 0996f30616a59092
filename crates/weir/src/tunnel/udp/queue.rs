//! A queue of datagrams that never makes its writer wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::Notify;
use weir_core::budget::Budget;

use super::Datagrams;
use super::frame;
use super::limits::{LENGTH, MAX_PAYLOAD, QUEUE};

/// Datagrams in the form that they have on a stream, so that what is taken leaves without another copy.
///
/// It holds [`QUEUE`] bytes at most, all queues of one budget no more than that. When it is full its **oldest**
/// datagrams are dropped and counted: late audio is worth less than the next, and a question asked again is the one
/// that is still waited for. One reader, any number of writers.
#[derive(Debug)]
pub(crate) struct DropQueue {
    state: Mutex<State>,
    news: Notify,
    budget: Budget,
    counts: Arc<Datagrams>,
}

#[derive(Debug, Default)]
struct State {
    frames: BytesMut,
    /// Takes nothing any more and gives nothing.
    muted: bool,
    /// Its reader is to end.
    closed: bool,
}

impl DropQueue {
    pub(crate) fn new(budget: &Budget, counts: &Arc<Datagrams>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            news: Notify::new(),
            budget: budget.clone(),
            counts: Arc::clone(counts),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of the flow that it belongs to.
    pub(crate) fn counts(&self) -> &Arc<Datagrams> {
        &self.counts
    }

    /// Adds a datagram, at the cost of the oldest ones if there is no room.
    pub(crate) fn push(&self, payload: &[u8]) {
        let mut state = self.lock();
        let bytes = payload.len().saturating_add(LENGTH);
        if state.muted || state.closed || payload.len() > MAX_PAYLOAD {
            return self.count_dropped(1);
        }
        while state.frames.len().saturating_add(bytes) > QUEUE && self.drop_oldest(&mut state) {}
        while self.budget.try_reserve(bytes as u64).is_err() {
            if !self.drop_oldest(&mut state) {
                // Other flows hold all of it.
                return self.count_dropped(1);
            }
        }
        frame::append(&mut state.frames, payload);
        drop(state);
        self.news.notify_one();
    }

    /// Drops the first datagram; false when there is none.
    fn drop_oldest(&self, state: &mut State) -> bool {
        let Some(length) = frame::first_length(&state.frames) else {
            return false;
        };
        let bytes = length.saturating_add(LENGTH).min(state.frames.len());
        state.frames.advance(bytes);
        self.budget.release(bytes as u64);
        self.count_dropped(1);
        true
    }

    fn count_dropped(&self, datagrams: u64) {
        self.counts.dropped.fetch_add(datagrams, Ordering::Relaxed);
    }

    /// Whole frames from the front, about `max` bytes and at least one frame; empty when there is none. Never waits.
    pub(crate) fn try_take(&self, max: usize) -> Bytes {
        let mut state = self.lock();
        if state.frames.is_empty() {
            return Bytes::new();
        }
        let mut end = state.frames.len();
        if end > max {
            end = 0;
            while let Some(length) = state.frames.get(end..).and_then(frame::first_length) {
                let next = end.saturating_add(length).saturating_add(LENGTH);
                if end > 0 && next > max {
                    break;
                }
                end = next;
            }
        }
        let end = end.min(state.frames.len());
        let taken = state.frames.split_to(end).freeze();
        self.budget.release(taken.len() as u64);
        taken
    }

    /// [`DropQueue::try_take`], waiting for the first datagram; `None` once the queue is closed. Safe to cancel.
    pub(crate) async fn take(&self, max: usize) -> Option<Bytes> {
        loop {
            if self.lock().closed {
                return None;
            }
            let taken = self.try_take(max);
            if !taken.is_empty() {
                return Some(taken);
            }
            self.news.notified().await;
        }
    }

    /// Waits until the queue is closed, in place of [`DropQueue::take`].
    pub(crate) async fn closed(&self) {
        while !self.lock().closed {
            self.news.notified().await;
        }
    }

    /// Tells the reader to end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    /// Drops what it holds and all that comes.
    pub(crate) fn mute(&self) {
        let mut state = self.lock();
        state.muted = true;
        while self.drop_oldest(&mut state) {}
        state.frames = BytesMut::new();
    }
}

impl Drop for DropQueue {
    fn drop(&mut self) {
        let held = self.lock().frames.len();
        self.budget.release(held as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frames;
    use super::super::limits::BATCH;
    use super::*;

    fn queue(limit: u64) -> (Arc<DropQueue>, Budget) {
        let budget = Budget::root("test", limit);
        (
            DropQueue::new(&budget, &Arc::new(Datagrams::default())),
            budget,
        )
    }

    fn dropped(queue: &DropQueue) -> u64 {
        queue.counts.dropped.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn datagrams_come_in_order_with_their_bounds() {
        let (queue, budget) = queue(1 << 20);
        for payload in [&b"one"[..], b"", b"three"] {
            queue.push(payload);
        }
        let frames = queue.take(BATCH).await.unwrap();
        assert_eq!(&frames[..], b"\x00\x03one\x00\x00\x00\x05three");
        assert_eq!(budget.used(), 0);
        queue.push(b"late");
        queue.close();
        assert_eq!(queue.take(BATCH).await, None);
        queue.closed().await;
        drop(queue);
        assert_eq!(budget.used(), 0, "what was not taken is given back");
    }

    #[test]
    fn a_full_queue_drops_its_oldest_and_counts_them() {
        let (queue, budget) = queue(1 << 20);
        let fits = QUEUE / 1002;
        for number in 0..fits + 3 {
            let mut payload = vec![0; 1000];
            payload[0] = u8::try_from(number % 256).unwrap();
            queue.push(&payload);
        }
        assert_eq!(dropped(&queue), 3);
        assert!(budget.used() <= QUEUE as u64);
        let all: Vec<_> = Frames(queue.try_take(usize::MAX)).collect();
        assert_eq!((all.len(), all[0][0]), (fits, 3));
    }

    /// Flows that share a budget do not take it from each other: a full one drops its own, an empty one what comes.
    #[test]
    fn the_budget_of_all_queues_holds() {
        let budget = Budget::root("test", 3000);
        let new = || DropQueue::new(&budget, &Arc::new(Datagrams::default()));
        let (greedy, late) = (new(), new());
        for _ in 0..10 {
            greedy.push(&[1; 998]);
        }
        assert_eq!((budget.used(), dropped(&greedy)), (3000, 7));
        late.push(&[2; 998]);
        assert_eq!((budget.used(), dropped(&late)), (3000, 1));
        greedy.try_take(1);
        late.push(&[2; 998]);
        assert_eq!(late.try_take(usize::MAX).len(), 1000);
    }

    #[test]
    fn a_take_ends_between_datagrams() {
        let (queue, _) = queue(1 << 20);
        for _ in 0..5 {
            queue.push(&[7; 98]);
        }
        assert_eq!(queue.try_take(250).len(), 200);
        assert_eq!(queue.try_take(1).len(), 100, "one goes in any case");
        assert_eq!(queue.try_take(200).len(), 200);
        assert!(queue.try_take(200).is_empty());
    }

    #[test]
    fn a_muted_queue_holds_nothing() {
        let (queue, budget) = queue(1 << 20);
        queue.push(b"before");
        queue.mute();
        queue.push(b"after");
        assert_eq!((dropped(&queue), budget.used()), (2, 0));
        assert!(queue.try_take(100).is_empty());
    }
}
