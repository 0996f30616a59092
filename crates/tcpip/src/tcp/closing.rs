//! How a connection ends (RFC 9293 3.6, 3.10.4, 3.10.5): closing, aborting, TIME-WAIT.

use weir_core::time::{Duration, Instant};

use super::connection::{Connection, OwnTimer};
use super::error::CloseCause;
use super::interface::Context;
use super::state::State;
use super::time_wait::{TimeWait, TimeWaitInit};
use crate::wire::seq;

impl Connection {
    /// The application lets go: what was written is still sent and the end after it, in the
    /// background; with unread data it is reset (T118, T122, T123).
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        if self.orphan {
            return;
        }
        self.orphan = true;
        if self.cause.is_some() {
            return;
        }
        if self.config.linger == Some(Duration::ZERO) {
            let count = &mut cx.counters.tcp_abort_failed;
            *count = count.saturating_add(1);
            self.reset(cx, CloseCause::Aborted);
        } else if self.receive.assembler.readable() > 0 && !self.receive.stopped {
            let count = &mut cx.counters.tcp_abort_on_close;
            *count = count.saturating_add(1);
            self.reset(cx, CloseCause::Unread);
        } else if self.state == State::SynSent {
            self.die(cx, CloseCause::Aborted);
        } else {
            self.finish(cx);
            self.arm_close(cx);
        }
    }

    /// Ends it at once, with a RST where the peer may think that it is open (T124).
    pub(crate) fn abort(&mut self, cx: &mut Context<'_>, cause: CloseCause) {
        if self.state == State::TimeWait {
            self.handed_over = true;
        }
        if self.cause.is_none() {
            self.reset(cx, cause);
        }
    }

    /// RST, then CLOSED.
    pub(super) fn reset(&mut self, cx: &mut Context<'_>, cause: CloseCause) {
        self.reset_due = !matches!(self.state, State::SynSent | State::Closed | State::TimeWait);
        self.die(cx, cause);
        self.kick = true;
    }

    /// CLOSED: nothing is sent any more; what arrived in order can be read.
    pub(super) fn die(&mut self, cx: &mut Context<'_>, cause: CloseCause) {
        if matches!(self.state, State::SynSent | State::SynReceived) {
            let count = &mut cx.counters.attempt_fails;
            *count = count.saturating_add(1);
        }
        self.set_state(cx, State::Closed, cause.as_str());
        self.end(cause);
        self.acking.on_sent();
        self.receive.reorder = None;
        let at = self.send.buffer.end();
        self.send.buffer.restart(at, cx.chunks);
        self.send.share.shrink_to(cx.budget, 0);
        self.recovery.release_memory();
    }

    /// It is over for the application.
    fn end(&mut self, cause: CloseCause) {
        self.cause = Some(cause);
        self.timers.stop_all();
        self.news.closed = true;
        self.news.readable |= core::mem::take(&mut self.receive.waiting);
        self.news.writable |= core::mem::take(&mut self.send.blocked);
        (self.probe_due, self.persist_due, self.keepalive_due) = (false, false, false);
    }

    /// Both FINs are acknowledged, the peer's by an ACK that may get lost.
    pub(super) fn enter_time_wait(&mut self, cx: &mut Context<'_>) {
        self.set_state(cx, State::TimeWait, "both FINs acknowledged");
        self.end(CloseCause::Finished);
        self.recovery.release_memory();
        self.kick = true;
        let count = &mut cx.counters.tw;
        *count = count.saturating_add(1);
    }

    /// Once, when TIME-WAIT has begun and the last ACK was sent.
    pub(crate) fn take_time_wait(&mut self, now: Instant) -> Option<TimeWait> {
        if self.state != State::TimeWait || self.handed_over || self.kick {
            return None;
        }
        self.handed_over = true;
        Some(TimeWait::new(
            now,
            &TimeWaitInit {
                snd_nxt: seq::wire(self.numbers.iss, self.send.nxt),
                rcv_nxt: self.receive.wire_next(),
                rcv_wnd: self.receive.advertise(self.mss),
                timestamp_offset: self.numbers.timestamp_offset,
                recent: self.clock.is_on.then_some(self.clock.recent),
                lasts: self.config.time_wait,
                dscp: self.config.dscp,
            },
        ))
    }

    /// True when it is CLOSED, or TIME-WAIT was taken, and has nothing left to send.
    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        self.handed_over
            || (self.state == State::Closed && !self.reset_due && self.stray_reset.is_none())
    }

    /// Gives all memory back, before it is dropped or its lists are [taken over](Connection::reuse).
    pub(crate) fn release(&mut self, cx: &mut Context<'_>) {
        self.set_state(cx, State::Closed, "released");
        self.send.buffer.restart(1, cx.chunks);
        self.receive.assembler.restart(1, cx.chunks);
        self.send.share.shrink_to(cx.budget, 0);
        self.receive.share.shrink_to(cx.budget, 0);
    }

    /// A new connection takes over the lists of one that is over, which was
    /// [released](Connection::release).
    #[inline]
    pub(super) fn reuse(&mut self, old: &mut Connection) {
        self.recovery.reuse(&mut old.recovery);
        core::mem::swap(&mut self.send.buffer, &mut old.send.buffer);
        core::mem::swap(&mut self.receive.assembler, &mut old.receive.assembler);
        self.receive.assembler.keep_last(true);
    }

    /// How long an orphan may take: the linger time while something of ours is unacknowledged, then
    /// the time to wait for the peer's FIN.
    pub(super) fn arm_close(&mut self, cx: &Context<'_>) {
        if !self.orphan {
            return;
        }
        if self.state == State::FinWait2 {
            let at = cx.now + self.config.fin_wait_timeout;
            self.timers.set(OwnTimer::Close, at);
        } else if let Some(linger) = self.config.linger {
            self.timers.set(OwnTimer::Close, cx.now + linger);
        }
    }

    pub(super) fn on_close_timer(&mut self, cx: &mut Context<'_>) {
        if self.state == State::FinWait2 {
            // Nothing of ours is missing; what the peer sends from now on gets a RST.
            self.die(cx, CloseCause::FinWaitExpired);
        } else {
            let count = &mut cx.counters.tcp_abort_on_linger;
            *count = count.saturating_add(1);
            self.reset(cx, CloseCause::LingerExpired);
        }
    }
}
