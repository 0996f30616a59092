//! What waits to be sent, apart from the data itself.
//!
//! Every reply that a peer can ask for has a bound here: it is a state that is overwritten, or a
//! short queue that drops or refuses (threats C3, C4).

use crate::limits::{MAX_PENDING_PONGS, MAX_REFUSAL_RUNS, REMEMBERED_STRANGERS};
use std::collections::VecDeque;
use weir_core::sched::Scheduler;
use weir_core::slab::Key;

/// The session's queues for sending.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Streams whose SYN is to be sent, in the order of their ids (Y11).
    pub(crate) opens: VecDeque<Key>,
    /// Streams with something other than data to send: RST, window update, ACK, FIN.
    pub(crate) control: VecDeque<Key>,
    /// Streams with data and credit for it.
    pub(crate) scheduler: Scheduler<Key>,
    /// The GoAway to be sent.
    pub(crate) go_away: Option<u32>,
    /// Values of pings to be answered.
    pub(crate) pongs: VecDeque<u32>,
    pub(crate) refusals: Refusals,
}

impl Outbox {
    pub(crate) fn new() -> Outbox {
        Outbox {
            opens: VecDeque::new(),
            control: VecDeque::new(),
            scheduler: Scheduler::new(),
            go_away: None,
            pongs: VecDeque::new(),
            refusals: Refusals::default(),
        }
    }

    /// Notes a ping to answer; the oldest gives way when too many wait (Y45).
    pub(crate) fn pong(&mut self, value: u32) {
        if self.pongs.len() >= MAX_PENDING_PONGS {
            self.pongs.pop_front();
        }
        self.pongs.push_back(value);
    }

    /// Forgets everything but a GoAway.
    pub(crate) fn clear(&mut self) {
        let go_away = self.go_away;
        *self = Outbox::new();
        self.go_away = go_away;
    }
}

/// Ids whose streams are refused with RST, as runs of ids opened one after the other.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    runs: VecDeque<Run>,
    /// The last ids that got a RST for data without a SYN.
    strangers: VecDeque<u32>,
}

#[derive(Debug)]
struct Run {
    first: u32,
    count: u32,
}

/// Ids of one side are two apart.
const ID_STEP: u32 = 2;

impl Refusals {
    /// Notes that `id` is to be refused; false when too many wait already.
    #[must_use]
    pub(crate) fn push(&mut self, id: u32) -> bool {
        if let Some(run) = self.runs.back_mut() {
            let next = run
                .count
                .checked_mul(ID_STEP)
                .and_then(|span| run.first.checked_add(span));
            if next == Some(id) {
                run.count = run.count.saturating_add(1);
                return true;
            }
        }
        if self.runs.len() >= MAX_REFUSAL_RUNS {
            return false;
        }
        self.runs.push_back(Run {
            first: id,
            count: 1,
        });
        true
    }

    /// Notes a RST for an id that was never opened, once; dropped when too many wait (Y40).
    pub(crate) fn push_stranger(&mut self, id: u32) {
        if self.strangers.contains(&id) || !self.push(id) {
            return;
        }
        if self.strangers.len() >= REMEMBERED_STRANGERS {
            self.strangers.pop_front();
        }
        self.strangers.push_back(id);
    }

    /// The next id to be refused.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let run = self.runs.front_mut()?;
        let id = run.first;
        run.first = run.first.saturating_add(ID_STEP);
        run.count = run.count.saturating_sub(1);
        if run.count == 0 {
            self.runs.pop_front();
        }
        Some(id)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_refused_ids_is_one_entry() {
        // Y20
        let mut refusals = Refusals::default();
        for n in 0..100_000 {
            assert!(refusals.push(1 + 2 * n));
        }
        assert_eq!(refusals.runs.len(), 1);
        for n in 0..100_000 {
            assert_eq!(refusals.pop(), Some(1 + 2 * n));
        }
        assert!(refusals.is_empty() && refusals.pop().is_none());
    }

    #[test]
    fn scattered_refusals_are_bounded() {
        // threats C3
        let mut refusals = Refusals::default();
        let taken = (0..10_000_u32).filter(|n| refusals.push(1 + 4 * n)).count();
        assert_eq!(taken, MAX_REFUSAL_RUNS);
    }

    #[test]
    fn a_stranger_is_refused_once() {
        // Y40
        let mut refusals = Refusals::default();
        refusals.push_stranger(9);
        refusals.push_stranger(9);
        assert_eq!((refusals.pop(), refusals.pop()), (Some(9), None));
    }

    #[test]
    fn pongs_are_bounded_and_the_newest_stay() {
        // Y45
        let mut out = Outbox::new();
        for value in 0..1_000_000 {
            out.pong(value);
        }
        assert_eq!(out.pongs.len(), MAX_PENDING_PONGS);
        assert_eq!(out.pongs.back(), Some(&999_999));
    }
}
