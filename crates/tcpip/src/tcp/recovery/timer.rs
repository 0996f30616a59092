//! The one timer: reordering, tail loss probe, retransmission, pacing (RFC 8985 section 8, 6298).

use core::ops::Range;

use weir_core::buf::SendBuffer;
use weir_core::time::{Duration, Instant, nanos};

use super::episode::Phase;
use super::tally::{Losses, Tally};
use super::{GRANULARITY, Recovery, RecoveryTimer, Timeout};

/// How long a peer may delay the acknowledgement of a single segment, as a probe reckons with it
/// (TLP.max_ack_delay): what Linux and we ourselves do.
const MAX_ACK_DELAY: u64 = 40 * MILLI;
/// No probe goes earlier than this: below it the peer's scheduling is what is measured.
const MIN_PTO: u64 = 10 * MILLI;
/// The probe time-out while nothing was measured (RFC 8985 section 7.2).
const INITIAL_PTO: u64 = 1000 * MILLI;
/// Nanoseconds. Time-outs are reckoned in them: it is done for each segment.
const MILLI: u64 = 1_000_000;
/// Doublings after which every time-out has reached its bound.
const MAX_BACKOFF: u8 = 16;

/// The tail loss probe that is out (RFC 8985 section 7).
#[derive(Clone, Debug, Default)]
pub(super) struct Tlp {
    /// TLP.end_seq; 0 when none is out.
    end: u64,
    /// TLP.is_retrans.
    is_retrans: bool,
    sent_at: Instant,
    /// The last one was due, and no round trip was measured since.
    is_spent: bool,
}

impl Tlp {
    #[inline]
    pub(super) fn is_out(&self) -> bool {
        self.end != 0
    }

    #[inline]
    pub(super) fn on_sample(&mut self) {
        self.is_spent = false;
    }

    pub(super) fn sent_at(&self) -> Instant {
        self.sent_at
    }

    pub(super) fn forget(&mut self) {
        self.end = 0;
        self.is_retrans = false;
    }

    pub(super) fn on_sent(&mut self, now: Instant, end: u64, is_retrans: bool) {
        self.end = end;
        self.is_retrans = is_retrans;
        self.sent_at = now;
    }

    /// TLP_process_ack(). True when the probe repaired a loss that nothing else told of.
    pub(super) fn on_ack(
        &mut self,
        offset: u64,
        dsack: Option<&Range<u64>>,
        is_bare_duplicate: bool,
    ) -> bool {
        if offset < self.end {
            return false;
        }
        let arrived_twice = dsack.is_some_and(|dsack| dsack.end == self.end) || is_bare_duplicate;
        if !self.is_retrans || arrived_twice {
            self.forget();
            return false;
        }
        let repaired = offset > self.end;
        if repaired {
            self.forget();
        }
        repaired
    }
}

/// How many round trips are measured in each (RFC 7323 appendix G).
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    end: u64,
    samples: u16,
    before: u16,
}

impl Round {
    #[inline]
    pub(super) fn count(&mut self, una: u64, next: u64) {
        if una > self.end {
            self.end = next;
            self.before = self.samples;
            self.samples = 0;
        }
        self.samples = self.samples.saturating_add(1);
    }

    #[inline]
    pub(super) fn samples(&self) -> u32 {
        u32::from(self.before.max(self.samples).max(1))
    }
}

#[inline]
fn from_millis(millis: u32) -> u64 {
    u64::from(millis).saturating_mul(MILLI)
}

impl Recovery {
    /// The retransmission time-out with its backoff (RFC 6298 section 2).
    pub(crate) fn rto(&self) -> Duration {
        Duration::from_nanos(self.rto_nanos())
    }

    /// The same in nanoseconds.
    #[inline]
    pub(super) fn rto_nanos(&self) -> u64 {
        let base = match self.rtt.smoothed_nanos() {
            Some(_) => self
                .rtt
                .rto_nanos(from_millis(self.min_rto).max(nanos(GRANULARITY))),
            None => from_millis(self.initial_rto),
        };
        if self.backoff == 0 {
            return base;
        }
        let factor = 1u64
            .checked_shl(self.backoff.min(MAX_BACKOFF).into())
            .unwrap_or(u64::MAX);
        base.saturating_mul(factor)
            .min(from_millis(self.max_rto).max(base))
    }

    /// When [`on_timeout`](Recovery::on_timeout) is to be called; [`Instant::MAX`]: it need not be.
    #[inline]
    pub(crate) fn next_timeout(&self) -> Instant {
        self.pace_at.min(self.loss_timer().0)
    }

    /// A time that [`next_timeout`](Recovery::next_timeout) is not before: the time-outs counted from
    /// their least values, whether or not any of them runs.
    #[inline]
    pub(crate) fn timeout_floor(&self) -> Instant {
        let least_rto = from_millis(self.min_rto.min(self.initial_rto));
        let rto_at = self.timer_from.plus_nanos(least_rto);
        let probe_at = self.progress_at.plus_nanos(self.probe_timeout());
        self.pace_at.min(self.reorder_at).min(rto_at).min(probe_at)
    }

    /// When [`on_timeout`](Recovery::on_timeout) is to be called, and what for.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, RecoveryTimer)> {
        let (at, timer) = self.loss_timer();
        if self.pace_at != Instant::MAX && self.pace_at <= at {
            return Some((self.pace_at, RecoveryTimer::Pace));
        }
        (at != Instant::MAX).then_some((at, timer))
    }

    /// Reordering before probe before retransmission (RFC 8985 section 8); [`Instant::MAX`]: none runs.
    #[inline]
    fn loss_timer(&self) -> (Instant, RecoveryTimer) {
        if self.reorder_at != Instant::MAX {
            return (self.reorder_at, RecoveryTimer::Reorder);
        }
        // RFC 6298 section 5. What only asks whether the peer's window has opened has a timer of its
        // own.
        if self.flight.una >= self.flight.next.min(self.probed_from) {
            return (Instant::MAX, RecoveryTimer::Retransmit);
        }
        let rto_at = self.timer_from.plus_nanos(self.rto_nanos());
        if !self.may_probe() {
            return (rto_at, RecoveryTimer::Retransmit);
        }
        let probe_at = self.progress_at.plus_nanos(self.probe_timeout());
        (rto_at.min(probe_at), RecoveryTimer::Probe)
    }

    /// Whether a probe may be scheduled (RFC 8985 section 7.2 and 7.3).
    #[inline]
    fn may_probe(&self) -> bool {
        self.sack
            && self.phase == Phase::Open
            && self.flight.in_flight > 0
            && self.flight.una > 0
            && self.timeouts == 0
            && !self.tlp.is_out()
            && !self.tlp.is_spent
            && self.flight.sacked() == 0
    }

    /// TLP_calc_PTO() (RFC 8985 section 7.2), in nanoseconds.
    #[inline]
    fn probe_timeout(&self) -> u64 {
        let Some(smoothed) = self.rtt.smoothed_nanos() else {
            return INITIAL_PTO;
        };
        let pto = smoothed.saturating_mul(2).max(MIN_PTO);
        if self.flight.in_flight <= u64::from(self.smss) {
            return pto.saturating_add(MAX_ACK_DELAY);
        }
        pto
    }

    /// The timer expired; a call too early does nothing.
    pub(crate) fn on_timeout(&mut self, now: Instant, send: &mut SendBuffer) -> Timeout {
        let Some((at, timer)) = self.poll_timeout() else {
            return Timeout::Nothing;
        };
        if at > now {
            return Timeout::Nothing;
        }
        match timer {
            RecoveryTimer::Pace => {
                self.pace_at = Instant::MAX;
                Timeout::Transmit
            }
            RecoveryTimer::Reorder => {
                let mut losses = Losses::default();
                self.detect(now, send, &mut losses);
                if losses.bytes > 0 {
                    let tally = Tally::new(now, Duration::ZERO, None);
                    self.on_losses(now, &losses, &tally);
                    self.update_prr(0, false, true);
                }
                Timeout::Transmit
            }
            RecoveryTimer::Probe => {
                // Whether or not one is sent, the retransmission timer is next.
                self.timer_from = now;
                self.tlp.is_spent = true;
                Timeout::Probe
            }
            RecoveryTimer::Retransmit => {
                self.expire(now, send);
                Timeout::Retransmit
            }
        }
    }

    /// The retransmission timer expired (RFC 6298 5.4 to 5.7, RFC 8985 section 6.3).
    fn expire(&mut self, now: Instant, send: &mut SendBuffer) {
        self.timeouts = self.timeouts.saturating_add(1);
        self.backoff = self.backoff.saturating_add(1).min(MAX_BACKOFF);
        self.counters.timeouts = self.counters.timeouts.saturating_add(1);
        self.timer_from = now;
        self.is_forced = true;
        let mut losses = Losses::default();
        if self.flight.una == 0 {
            // A SYN says nothing of the path's capacity; see `first_data`.
            self.flight.lose_late(now, send, &mut losses);
            self.syn_repeats = self.syn_repeats.saturating_add(1);
            self.needs_syn = true;
            return;
        }
        if self.flight.head_size() >= u64::from(self.smss) {
            self.black_hole = self.black_hole.saturating_add(1);
        }
        if self.flight.shows_reneging() {
            self.flight.renege(send, &mut losses);
        }
        let mut late_at = now;
        if self.sack && self.rack.has_delivery() {
            late_at = now - self.rack.wait(self.reordering_window());
        }
        self.flight.lose_late(late_at, send, &mut losses);
        let was = self.phase;
        self.on_timeout_losses(now, &losses, was);
        self.reorder_at = Instant::MAX;
        self.limited_before = self.flight.next;
    }

    /// Rates are told in bytes per second; a round trip shorter than this is not paced.
    pub(super) fn is_paced(&self) -> bool {
        let long_enough = self
            .rtt
            .smoothed_nanos()
            .is_some_and(|smoothed| smoothed >= super::MIN_PACED_RTT);
        // A model of the path is wrong without.
        (self.pacing && long_enough) || self.flight.rates.is_some()
    }
}
