//! What happens when nothing happens.

use super::Session;
use crate::config::Config;
use crate::event::Timer;
use crate::limits::{BUDGET_RETRY_MILLIS, KEEPALIVE_PATIENCE};
use crate::stream::bit;
use weir_core::close::CloseReason;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};

/// `now + by`; the end of time when that is passed.
pub(super) fn after(now: Instant, by: Duration) -> Instant {
    now + by
}

/// `now` and so many milliseconds.
pub(super) fn after_millis(now: Instant, by: u64) -> Instant {
    after(now, Duration::from_millis(by))
}

/// The session's own deadlines.
#[derive(Debug)]
pub(super) struct Clock {
    /// When the peer was last heard.
    heard_at: Instant,
    /// When to look whether a keepalive ping is due. It is not moved by what is heard: when it
    /// comes, it is set anew.
    keepalive_at: Option<Instant>,
    /// When to look whether the ping was answered.
    answer_at: Option<Instant>,
    /// Since when the carrier takes nothing.
    pub(super) blocked_since: Option<Instant>,
    memory_at: Option<Instant>,
    pub(super) windows_at: Option<Instant>,
}

impl Clock {
    pub(super) fn new(now: Instant, config: &Config) -> Clock {
        Clock {
            heard_at: now,
            keepalive_at: config.keepalive.map(|interval| after(now, interval)),
            answer_at: None,
            blocked_since: None,
            memory_at: None,
            windows_at: None,
        }
    }

    #[inline]
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// The ping was answered.
    pub(super) fn answered(&mut self, _now: Instant) {
        self.answer_at = None;
    }

    /// Those who wait for memory try again soon.
    pub(super) fn retry_memory(&mut self, now: Instant) {
        self.memory_at
            .get_or_insert(after_millis(now, BUDGET_RETRY_MILLIS));
    }

    /// No deadline any more.
    pub(super) fn stop(&mut self) {
        let heard_at = self.heard_at;
        *self = Clock {
            heard_at,
            keepalive_at: None,
            answer_at: None,
            blocked_since: None,
            memory_at: None,
            windows_at: None,
        };
    }
}

impl Session {
    /// The next time that [`handle_timeout`](Session::handle_timeout) wants to be called, and what
    /// for. It seldom moves: deadlines that were met are found out when their time comes.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let write_at = self
            .clock
            .blocked_since
            .map(|since| after(since, self.config.write_timeout));
        let deadlines = [
            (self.clock.keepalive_at, Timer::KeepAlive),
            (self.clock.answer_at, Timer::PingAnswer),
            (self.open_deadlines.next(), Timer::Open),
            (self.close_deadlines.next(), Timer::Close),
            (write_at, Timer::Write),
            (self.clock.memory_at, Timer::Memory),
            (self.clock.windows_at, Timer::Windows),
        ];
        deadlines
            .into_iter()
            .filter_map(|(at, timer)| Some((at?, timer)))
            .min()
    }

    /// Does what is due. A spurious call does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each round handles one timer and sets it later or not at all, so there are few.
        while let Some((at, timer)) = self.poll_timeout() {
            if at > now {
                return;
            }
            match timer {
                Timer::KeepAlive => self.keep_alive(now),
                Timer::PingAnswer => self.check_answer(now),
                Timer::Open => self.open_timed_out(now),
                Timer::Close => self.close_timed_out(now),
                Timer::Write => self.write_timed_out(now),
                Timer::Memory => {
                    self.clock.memory_at = None;
                    self.wake_starved();
                    if !self.starved.is_empty() {
                        self.clock.retry_memory(now);
                    }
                    self.news.open_ready();
                }
                Timer::Windows => self.sweep_windows(now),
            }
        }
    }

    /// Y46: a ping when nothing was heard for the interval.
    fn keep_alive(&mut self, now: Instant) {
        let Some(interval) = self.config.keepalive else {
            self.clock.keepalive_at = None;
            return;
        };
        let due = after(self.clock.heard_at, interval);
        if due > now {
            self.clock.keepalive_at = Some(due);
            return;
        }
        self.clock.keepalive_at = Some(after(now, interval));
        self.ping.request();
        self.memory.trim();
    }

    /// A ping went out: it should be answered in time.
    pub(super) fn expect_answer(&mut self, now: Instant) {
        self.clock.answer_at = Some(after(now, self.config.keepalive_timeout));
    }

    /// Y46: the ping was not answered in time. A peer that is heard otherwise may have its answer
    /// behind much data, and is given a few times as long.
    fn check_answer(&mut self, now: Instant) {
        self.clock.answer_at = None;
        let Some(sent_at) = self.ping.sent_at else {
            return;
        };
        if self.config.keepalive.is_none() {
            return;
        }
        let timeout = self.config.keepalive_timeout;
        let patience = timeout.saturating_mul(KEEPALIVE_PATIENCE);
        let silent = after(self.clock.heard_at.max(sent_at), timeout);
        let deadline = silent.min(after(sent_at, patience));
        if now < deadline {
            self.clock.answer_at = Some(deadline);
            return;
        }
        let waited = now.saturating_duration_since(sent_at);
        self.end(
            now,
            CloseReason::timed_out(format!("no answer to a ping for {waited:?}")),
        );
    }

    /// Y23: streams that were not acknowledged in time are reset.
    fn open_timed_out(&mut self, now: Instant) {
        while let Some(key) = self.open_deadlines.pop_expired(now) {
            let Some(stream) = self.streams.get(key) else {
                continue;
            };
            if stream.bits.any(bit::OPEN_TIMER) {
                // Giving the stream up also disarms its deadline.
                self.timed_out(now, key);
            }
        }
    }

    /// Y43: streams whose peer does not end them are reset, unless it sent something in the meantime
    /// that somebody reads.
    fn close_timed_out(&mut self, now: Instant) {
        while let Some(key) = self.close_deadlines.pop_expired(now) {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            if !stream.bits.any(bit::CLOSE_TIMER) {
                continue;
            }
            let read = !stream.bits.any(bit::STOPPED);
            if stream.bits.take(bit::ACTIVE) && read {
                self.close_deadlines.disarm();
                let streams = &self.streams;
                self.close_deadlines
                    .arm(after(now, self.config.close_timeout), key, |key| {
                        streams
                            .get(key)
                            .is_some_and(|stream| stream.bits.any(bit::CLOSE_TIMER))
                    });
            } else {
                self.timed_out(now, key);
            }
        }
    }

    fn timed_out(&mut self, now: Instant, key: Key) {
        self.stats.streams_timed_out = self.stats.streams_timed_out.saturating_add(1);
        self.give_up(now, key, 0);
    }

    /// Y51: the carrier took nothing for too long.
    fn write_timed_out(&mut self, now: Instant) {
        let timeout = self.config.write_timeout;
        let words = format!("the carrier took nothing for {timeout:?}");
        self.end(now, CloseReason::timed_out(words));
    }
}
