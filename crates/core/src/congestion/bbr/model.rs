//! What is known of the path: its rate, its rounds, how it bundles acknowledgements
//! (draft-ietf-ccwg-bbr section 5.5).

use super::{Bbr, UNBOUNDED};
use crate::delivery::{RateSample, bytes_in};
use crate::time::Instant;

/// Half of BBR.ExtraAckedFilterLen: two slots of so many rounds make its window.
const EXTRA_ACKED_SLOT_ROUNDS: u64 = 5;

/// The maximum over the running slot of virtual time and the one before: all that a window of two
/// units needs.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct TwoSlots {
    before: u64,
    running: u64,
}

impl TwoSlots {
    pub(super) fn update(&mut self, value: u64) -> u64 {
        self.running = self.running.max(value);
        self.max()
    }

    pub(super) fn max(self) -> u64 {
        self.before.max(self.running)
    }

    /// The next slot begins. One without a value does not push out the one that had some.
    pub(super) fn advance(&mut self) {
        if self.running > 0 {
            self.before = self.running;
            self.running = 0;
        }
    }

    /// The next slot begins, whatever this one had.
    fn expire(&mut self) {
        self.before = self.running;
        self.running = 0;
    }
}

impl Bbr {
    /// UpdateLatestDeliverySignals().
    pub(super) fn update_latest_delivery_signals(&mut self, rs: &RateSample) {
        self.bw_latest = self.bw_latest.max(rs.rate.unwrap_or(0));
        self.inflight_latest = self.inflight_latest.max(rs.delivered);
        self.loss_round_start = rs.prior_delivered >= self.loss_round_delivered;
        if self.loss_round_start {
            self.loss_round_delivered = self.delivered;
        }
    }

    /// AdvanceLatestDeliverySignals().
    pub(super) fn advance_latest_delivery_signals(&mut self, rs: &RateSample) {
        if self.loss_round_start {
            self.bw_latest = rs.rate.unwrap_or(0);
            self.inflight_latest = rs.delivered;
        }
    }

    /// ResetCongestionSignals().
    pub(super) fn reset_congestion_signals(&mut self) {
        self.is_loss_in_round = false;
        self.bw_latest = 0;
        self.inflight_latest = 0;
    }

    /// ResetShortTermModel().
    pub(super) fn reset_short_term_model(&mut self) {
        self.bw_shortterm = UNBOUNDED;
        self.inflight_shortterm = UNBOUNDED;
    }

    /// UpdateCongestionSignals().
    pub(super) fn update_congestion_signals(&mut self, rs: &RateSample) {
        self.update_max_bw(rs);
        if !self.loss_round_start {
            return;
        }
        self.adapt_lower_bounds_from_congestion();
        self.is_loss_in_round = false;
    }

    /// UpdateMaxBw(): samples that the application held down count only when they show more.
    fn update_max_bw(&mut self, rs: &RateSample) {
        self.update_round(rs);
        if let Some(rate) = rs.rate.filter(|&rate| rate > 0)
            && (rate >= self.max_bw || !rs.is_app_limited)
        {
            self.max_bw = self.max_bw_filter.update(rate);
        }
    }

    /// UpdateRound().
    fn update_round(&mut self, rs: &RateSample) {
        self.round_start = rs.prior_delivered >= self.next_round_delivered;
        if self.round_start {
            self.start_round();
            self.round_count = self.round_count.saturating_add(1);
            self.rounds_since_probe_up = self.rounds_since_probe_up.saturating_add(1);
            self.cwnd_limited_in_last_round = self.cwnd_limited_in_round;
            self.cwnd_limited_in_round = false;
        }
    }

    /// StartRound().
    pub(super) fn start_round(&mut self) {
        self.next_round_delivered = self.delivered;
    }

    /// C.is_cwnd_limited: the window was full at some point of the last round. Unlike the sample's
    /// flag it is not set by pacing, which is BBR's normal limit.
    pub(super) fn is_cwnd_limited(&self) -> bool {
        self.cwnd_limited_in_round || self.cwnd_limited_in_last_round
    }

    /// UpdateACKAggregation(): what arrives beyond the rate, because acknowledgements come in
    /// bundles.
    pub(super) fn update_ack_aggregation(&mut self, now: Instant, rs: &RateSample) {
        let interval = now.saturating_duration_since(self.extra_acked_interval_start);
        let mut expected = bytes_in(self.bw, interval);
        if self.extra_acked_delivered <= expected {
            self.extra_acked_delivered = 0;
            self.extra_acked_interval_start = now;
            expected = 0;
        }
        self.extra_acked_delivered = self.extra_acked_delivered.saturating_add(rs.newly_acked);
        let extra = self
            .extra_acked_delivered
            .saturating_sub(expected)
            .min(self.cwnd);
        // In Startup only the last round is remembered.
        let slot = if self.full_bw_reached {
            EXTRA_ACKED_SLOT_ROUNDS
        } else {
            1
        };
        if self.round_count >= self.extra_acked_since_round.saturating_add(slot) {
            self.extra_acked_since_round = self.round_count;
            self.extra_acked_filter.expire();
        }
        self.extra_acked_filter.update(extra);
    }
}
