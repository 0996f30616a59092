//! NewReno as RFC 9002 section 7 describes it.

use crate::congestion::base::Base;
use crate::congestion::recovery::{Cause, Recovery};
use crate::congestion::{AckSample, Config, Controller, LossSample, TimeoutSample};
use crate::rtt::Rtt;
use crate::time::Instant;

/// Slow start, one datagram more per window acknowledged, half on loss.
#[derive(Clone, Debug)]
pub struct NewReno {
    base: Base,
    recovery: Recovery,
    /// Bytes acknowledged in congestion avoidance that have not yet made a datagram of growth: the
    /// counting of RFC 3465 section 2.1, which loses nothing to integer division.
    acked: u64,
    undo: Option<Undo>,
    /// What the last time-out of TCP took.
    timeout_undo: Option<Undo>,
}

/// What the window was before the last reduction.
#[derive(Copy, Clone, Debug)]
struct Undo {
    window: u64,
    ssthresh: u64,
}

impl NewReno {
    /// For a new path.
    #[must_use]
    pub fn new(config: &Config) -> NewReno {
        NewReno {
            base: Base::new(config),
            recovery: Recovery::default(),
            acked: 0,
            undo: None,
            timeout_undo: None,
        }
    }

    /// RFC 9002 7.3.2 and B.6.
    fn on_congestion(&mut self, now: Instant, sent_at: Instant, cause: Cause) {
        if !self.recovery.on_congestion(now, sent_at, cause) {
            return;
        }
        self.undo = Some(Undo {
            window: self.base.window(),
            ssthresh: self.base.ssthresh,
        });
        self.base.set_window(self.base.window() / 2);
        self.base.ssthresh = self.base.window();
        self.acked = 0;
    }
}

impl Controller for NewReno {
    fn on_sent(&mut self, _now: Instant, _bytes: u64, _in_flight: u64, _seq: u64) {}

    fn on_ack(&mut self, ack: &AckSample<'_>) {
        self.base.note_rtt(ack.rtt);
        // RFC 9002 B.5: no growth in recovery, nor when something else is the limit.
        if self.recovery.on_ack(ack.largest_sent_at) || !ack.is_cwnd_limited {
            return;
        }
        let mut acked = ack.bytes_acked;
        if self.base.in_slow_start() {
            acked = self.base.slow_start(acked);
        }
        // RFC 9002 7.3.3: at most one datagram for each window acknowledged.
        self.acked = self.acked.saturating_add(acked);
        let window = self.base.window();
        if self.acked >= window {
            self.acked = self.acked.saturating_sub(window).min(window);
            self.base
                .set_window(window.saturating_add(self.base.max_datagram()));
        }
    }

    fn on_loss(&mut self, loss: &LossSample) {
        self.on_congestion(
            loss.now,
            loss.largest_lost_sent_at,
            Cause::Loss(loss.bytes_lost),
        );
        if loss.is_persistent {
            // RFC 9002 7.6.2: slow start again from the least window.
            self.base.set_window(self.base.minimum());
            self.recovery.end_by_persistent_congestion();
            self.undo = None;
            self.acked = 0;
        }
    }

    fn on_ecn_ce(&mut self, now: Instant, sent_at: Instant, _in_flight: u64, newly_ce: u64) {
        if newly_ce > 0 {
            self.on_congestion(now, sent_at, Cause::Mark);
        }
    }

    fn on_spurious_loss(&mut self, _now: Instant, bytes: u64, sent_at: Instant) {
        if !self.recovery.on_spurious_loss(bytes, sent_at) {
            return;
        }
        if let Some(undo) = self.undo.take() {
            self.base.set_window(undo.window.max(self.base.window()));
            self.base.ssthresh = undo.ssthresh;
        }
    }

    fn limit_to_flight(&mut self, flight_size: u64) {
        self.base.limit_to_flight(flight_size);
    }

    fn on_timeout(&mut self, timeout: &TimeoutSample) {
        if timeout.is_first {
            self.timeout_undo = Some(Undo {
                window: self.base.window(),
                ssthresh: self.base.ssthresh,
            });
        }
        if timeout.reduces {
            // RFC 5681 equation 4.
            self.base.ssthresh = (self.base.window() / 2).max(self.base.minimum());
        }
        self.base.set_small_window(timeout.loss_window);
        self.recovery.end_by_persistent_congestion();
        self.undo = None;
        self.acked = 0;
    }

    fn on_spurious_timeout(&mut self, _now: Instant) {
        if let Some(undo) = self.timeout_undo.take() {
            self.base.set_window(undo.window.max(self.base.window()));
            self.base.ssthresh = undo.ssthresh;
        }
    }

    fn on_restart(&mut self, window: u64) {
        self.base.restart(window);
        self.acked = 0;
    }

    fn on_mtu(&mut self, max_datagram: u64) {
        self.base.on_mtu(max_datagram);
    }

    fn window(&self) -> u64 {
        self.base.window()
    }

    fn pacing_rate(&self, rtt: &Rtt) -> Option<u64> {
        self.base.pacing_rate(rtt)
    }

    fn send_quantum(&self) -> u64 {
        self.base.quantum()
    }

    fn in_slow_start(&self) -> bool {
        self.base.in_slow_start() && !self.recovery.is_active()
    }

    fn ssthresh(&self) -> Option<u64> {
        self.base.threshold()
    }

    fn state(&self) -> &'static str {
        state(&self.base, &self.recovery)
    }

    fn name(&self) -> &'static str {
        "newreno"
    }
}

/// The state of RFC 9002 figure 1 in a word.
pub(super) fn state(base: &Base, recovery: &Recovery) -> &'static str {
    if recovery.is_active() {
        "recovery"
    } else if base.in_slow_start() {
        "slow_start"
    } else {
        "congestion_avoidance"
    }
}
