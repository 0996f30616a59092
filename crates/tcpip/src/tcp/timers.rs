//! What time brings: repetitions and probes, and giving up.

use weir_core::time::{Duration, Instant};

use super::connection::{Connection, OwnTimer};
use super::error::CloseCause;
use super::interface::Context;
#[cfg(test)]
use super::interface::TcpTimer;
#[cfg(test)]
use super::recovery::RecoveryTimer;
use super::recovery::Timeout;
use super::state::State;
use crate::limits::{LEAST_PERSIST, MAX_RTO, R1};

impl Connection {
    /// When the next wake-up is due; [`Instant::MAX`]: none is. What it is for is looked at when it has
    /// come: this is asked after each batch.
    #[inline]
    pub(crate) fn wake_at(&self) -> Instant {
        if matches!(self.state, State::Closed | State::TimeWait) {
            return Instant::MAX;
        }
        let user = self.give_up_at().unwrap_or(Instant::MAX);
        self.timers
            .next_at()
            .min(self.recovery.next_timeout())
            .min(user)
    }

    /// A time that [`wake_at`](Connection::wake_at) is not before, for less: whoever wakes it up by then
    /// need not ask for more.
    #[inline]
    pub(crate) fn wake_floor(&self) -> Instant {
        let floor = self.timers.next_at().min(self.recovery.timeout_floor());
        if self.persists > 0 || !self.state.is_synchronized() {
            // What ends these is not counted from what was sent.
            return Instant::ZERO;
        }
        match self.recovery.first_unacked_at() {
            Some(sent) => floor.min(sent + self.config.user_timeout),
            None => floor,
        }
    }

    /// The next wake-up, and what it is for.
    #[cfg(test)]
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TcpTimer)> {
        if matches!(self.state, State::Closed | State::TimeWait) {
            return None;
        }
        let own = self.timers.next().map(|(at, timer)| {
            let name = match timer {
                OwnTimer::DelayedAck => TcpTimer::DelayedAck,
                OwnTimer::Persist => TcpTimer::Persist,
                OwnTimer::KeepAlive => TcpTimer::KeepAlive,
                OwnTimer::Close => TcpTimer::Close,
                OwnTimer::Window => TcpTimer::Window,
            };
            (at, name)
        });
        let recovery = self.recovery.poll_timeout().map(|(at, timer)| {
            let name = match timer {
                RecoveryTimer::Retransmit => TcpTimer::Retransmit,
                RecoveryTimer::Probe => TcpTimer::Probe,
                RecoveryTimer::Reorder => TcpTimer::Reorder,
                RecoveryTimer::Pace => TcpTimer::Pace,
            };
            (at, name)
        });
        let user = self.give_up_at().map(|at| (at, TcpTimer::UserTimeout));
        let all = [own, recovery, user].into_iter().flatten();
        all.min_by_key(|(at, _)| *at)
    }

    /// Time passed. A spurious call does nothing.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if matches!(self.state, State::Closed | State::TimeWait) {
            return;
        }
        if self.give_up_at().is_some_and(|at| at <= cx.now) {
            self.give_up(cx);
            return;
        }
        while let Some(timer) = self.timers.pop_expired(cx.now) {
            match timer {
                OwnTimer::DelayedAck => self.on_delayed_ack(cx),
                OwnTimer::Persist => self.on_persist(cx.now),
                OwnTimer::KeepAlive => self.on_keepalive(cx),
                OwnTimer::Close => self.on_close_timer(cx),
                OwnTimer::Window => self.tune_window(cx),
            }
            if self.state == State::Closed {
                return;
            }
        }
        if self.recovery.next_timeout() <= cx.now {
            self.on_recovery_timer(cx);
        }
    }

    fn on_recovery_timer(&mut self, cx: &mut Context<'_>) {
        match self.recovery.on_timeout(cx.now, &mut self.send.buffer) {
            Timeout::Nothing => {}
            Timeout::Transmit => {
                self.kick = true;
                self.count_recovery(cx);
            }
            Timeout::Probe => {
                self.probe_due = true;
                self.kick = true;
            }
            Timeout::Retransmit => {
                self.kick = true;
                let count = &mut cx.counters.tcp_timeouts;
                *count = count.saturating_add(1);
                // What was sent may have left already: Nagle starts over.
                self.send.small_end = 0;
                if self.recovery.consecutive_timeouts() == R1 {
                    self.news.suspect = true;
                }
                if self.state.is_synchronized() && self.recovery.suspects_black_hole() {
                    self.on_black_hole(cx);
                }
            }
        }
    }

    /// When nothing was acknowledged for too long (T23, T77, T127).
    #[inline]
    fn give_up_at(&self) -> Option<Instant> {
        if self.persists > 0 || !self.state.is_synchronized() {
            return self.give_up_early_at();
        }
        self.give_up_sent_at()
    }

    /// The same while the handshake or window probes are under way.
    #[cold]
    fn give_up_early_at(&self) -> Option<Instant> {
        if let Some(at) = self.opening_deadline() {
            return Some(at);
        }
        if self.persists > 0 && self.timers.get(OwnTimer::Persist).is_some() {
            return self
                .probing_since()
                .map(|since| since + self.config.user_timeout);
        }
        self.give_up_sent_at()
    }

    /// Counted from when the first was sent of what is not acknowledged.
    #[inline]
    fn give_up_sent_at(&self) -> Option<Instant> {
        let sent = self.recovery.first_unacked_at()?;
        // A peer that says that its window is closed is there (T57); not for those whose
        // application is gone, or a peer could hold their memory for ever.
        let heard = if self.send.wnd() == 0 && !self.orphan {
            self.seen.last_received
        } else {
            self.persist_asked
        };
        Some(sent.max(heard) + self.config.user_timeout)
    }

    fn give_up(&mut self, cx: &mut Context<'_>) {
        let cause = match self.state {
            State::SynSent | State::SynReceived => {
                self.soft_error.unwrap_or(CloseCause::ConnectTimedOut)
            }
            _ => {
                let count = &mut cx.counters.tcp_abort_on_timeout;
                *count = count.saturating_add(1);
                self.soft_error.unwrap_or(CloseCause::TimedOut)
            }
        };
        self.die(cx, cause);
    }

    fn on_delayed_ack(&mut self, cx: &mut Context<'_>) {
        if self.acking.delayed {
            let count = &mut cx.counters.delayed_acks;
            *count = count.saturating_add(1);
            self.acknowledge_now();
        }
    }

    /// Something waits for the peer's window, and nothing is in flight that would tell when it opens.
    pub(super) fn arm_persist(&mut self, now: Instant) {
        let factor = 1_u32 << self.persists.min(10);
        let wait = self
            .recovery
            .rto()
            .max(LEAST_PERSIST)
            .saturating_mul(factor);
        let at = now + wait.min(MAX_RTO);
        self.timers.set_if_stopped(OwnTimer::Persist, at);
    }

    /// Since when window probes get nowhere: an answer counts, however far apart they are by now (T57),
    /// unless the application is gone (threats C4: a peer must not hold its memory for ever).
    fn probing_since(&self) -> Option<Instant> {
        if self.orphan {
            return Some(self.seen.last_sent);
        }
        (self.seen.last_received < self.persist_asked).then_some(self.persist_asked)
    }

    fn on_persist(&mut self, now: Instant) {
        if self.persists == 0 || self.seen.last_received >= self.persist_asked {
            self.persist_asked = now;
        }
        self.persists = self.persists.saturating_add(1);
        self.persist_due = true;
        self.kick = true;
    }

    /// Keep-alive counts from the last segment received; the timer looks at that when it expires, so
    /// that nothing has to be done for each segment.
    pub(super) fn arm_keepalive(&mut self, now: Instant) {
        match self.config.keepalive {
            Some(keepalive) if self.state.is_synchronized() => {
                self.timers.set(OwnTimer::KeepAlive, now + keepalive.idle);
            }
            _ => self.timers.stop(OwnTimer::KeepAlive),
        }
    }

    fn on_keepalive(&mut self, cx: &mut Context<'_>) {
        let Some(keepalive) = self.config.keepalive else {
            return;
        };
        let silent = cx.now.saturating_duration_since(self.seen.last_received);
        let busy = self.send.is_outstanding() || self.send.has_unsent();
        let wait = if busy {
            // The retransmission or persist timer judges whether the peer is there.
            keepalive.idle
        } else if self.keepalives == 0 && silent < keepalive.idle {
            keepalive
                .idle
                .saturating_sub(silent)
                .max(Duration::from_millis(1))
        } else if self.keepalives >= keepalive.count {
            let count = &mut cx.counters.tcp_abort_on_timeout;
            *count = count.saturating_add(1);
            self.reset(cx, CloseCause::KeepAliveTimedOut);
            return;
        } else {
            self.keepalives = self.keepalives.saturating_add(1);
            self.keepalive_due = true;
            self.kick = true;
            keepalive.interval
        };
        self.timers.set(OwnTimer::KeepAlive, cx.now + wait);
    }
}
