//! What happens when nothing happens.

use weir_core::time::{Duration, Instant};

use super::Streams;
use super::limits::{BUDGET_RETRY_MILLIS, SWEEP_MILLIS, WITHHELD_MILLIS};
use crate::wire::Dir;

/// When something is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Clock {
    memory_at: Option<Instant>,
    withheld_at: Option<Instant>,
    sweep_at: Option<Instant>,
}

impl Clock {
    /// Those who wait for memory try again soon.
    pub(super) fn retry_memory(&mut self, now: Instant) {
        self.memory_at
            .get_or_insert(after_millis(now, BUDGET_RETRY_MILLIS));
    }

    /// Streams withheld from the peer are given back as far as its resets allow.
    pub(super) fn give_withheld(&mut self, now: Instant) {
        self.withheld_at
            .get_or_insert(after_millis(now, WITHHELD_MILLIS));
    }

    /// What may fall idle is looked at later.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.sweep_at.get_or_insert(after_millis(now, SWEEP_MILLIS));
    }
}

/// `now` and so many milliseconds.
fn after_millis(now: Instant, by: u64) -> Instant {
    now + Duration::from_millis(by)
}

impl Streams {
    /// When [`handle_timeout`](Streams::handle_timeout) wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let clock = &self.clock;
        let times = [clock.memory_at, clock.withheld_at, clock.sweep_at];
        times.into_iter().flatten().min()
    }

    /// Does what is due. A spurious call does nothing. `rtt` is the smoothed round trip.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rtt: Option<Duration>) {
        if due(&mut self.clock.memory_at, now) {
            self.wake_starved();
            for dir in Dir::ALL {
                // Only memory holds an `open` that the peer permits.
                let own = self.own.get(dir);
                if own.next < own.limit {
                    self.news.open_ready(dir);
                }
            }
            if !self.starved.is_empty() {
                self.clock.retry_memory(now);
            }
        }
        if due(&mut self.clock.withheld_at, now) {
            for dir in Dir::ALL {
                let theirs = self.theirs.get_mut(dir);
                let given = self.resets.take_up_to(now, theirs.withheld);
                theirs.give_withheld(given);
            }
            if self.theirs.both().iter().any(|theirs| theirs.withheld > 0) {
                self.clock.give_withheld(now);
            }
        }
        if due(&mut self.clock.sweep_at, now) {
            self.sweep(now, rtt);
        }
    }

    /// Gives back what is not needed any more: a window that grew and fell idle, kept buffers.
    fn sweep(&mut self, now: Instant, rtt: Option<Duration>) {
        let windows = &self.connection_windows;
        let told = self.recv.limit();
        self.recv
            .poll_update(now, rtt, windows, &self.memory, &mut self.unread);
        if self.recv.limit() > told {
            self.out.max_data.set(self.recv.limit());
        }
        let idle = self.recv.received() == self.swept.0 && self.send.sent() == self.swept.1;
        self.swept = (self.recv.received(), self.send.sent());
        if idle {
            self.buffers.trim();
            self.held.trim(&self.memory);
        }
        let grown = self.recv.is_grown(&self.connection_windows);
        if grown || !self.buffers.is_trimmed() || !idle {
            self.clock.sweep(now);
        }
    }
}

impl Streams {
    /// Nothing happened for a while: without streams, nothing is kept for the next ones.
    pub(crate) fn rest(&mut self) {
        if !self.slots.is_empty() {
            return;
        }
        self.buffers.trim();
        self.held.trim(&self.memory);
        self.starved.shrink_to_fit();
        self.out.control.shrink_to_fit();
        self.out.waiting.shrink_to_fit();
        self.by_id.clear();
        self.news.rest();
    }
}

/// Whether the time has come; it is over then.
fn due(at: &mut Option<Instant>, now: Instant) -> bool {
    let due = at.is_some_and(|at| at <= now);
    if due {
        *at = None;
    }
    due
}
