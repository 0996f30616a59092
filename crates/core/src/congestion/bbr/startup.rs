//! Startup and Drain (draft-ietf-ccwg-bbr sections 5.3.1 and 5.3.2).

use super::{Bbr, State};
use crate::congestion::AckSample;
use crate::delivery::RateSample;
use crate::time::Instant;

/// Rounds without a quarter more rate after which the pipe counts as full.
const FULL_BW_ROUNDS: u32 = 3;
/// BBRStartupFullLossCnt: lost ranges in one round.
const STARTUP_FULL_LOSS_COUNT: u32 = 6;
/// Drain does not take longer.
const DRAIN_ROUNDS: u64 = 3;

impl Bbr {
    /// ResetFullBW().
    pub(super) fn reset_full_bw(&mut self) {
        self.full_bw = 0;
        self.full_bw_count = 0;
        self.full_bw_now = false;
    }

    /// CheckFullBWReached(): three rounds in which trying for more gave less than a quarter more.
    pub(super) fn check_full_bw_reached(&mut self, rs: &RateSample) {
        if self.full_bw_now || !self.round_start || rs.is_app_limited {
            return;
        }
        let Some(rate) = rs.rate else {
            return;
        };
        if rate >= super::percent_of(self.full_bw, 125) {
            self.reset_full_bw();
            self.full_bw = rate;
            return;
        }
        self.full_bw_count = self.full_bw_count.saturating_add(1);
        self.full_bw_now = self.full_bw_count >= FULL_BW_ROUNDS;
        self.full_bw_reached |= self.full_bw_now;
    }

    /// CheckStartupDone().
    pub(super) fn check_startup_done(&mut self, rs: &RateSample) {
        self.check_startup_high_loss(rs);
        if self.state == State::Startup && self.full_bw_reached {
            self.enter_drain();
        }
    }

    /// CheckStartupHighLoss(), at the end of a round of loss recovery.
    fn check_startup_high_loss(&mut self, rs: &RateSample) {
        let events = self.loss_events_in_round;
        if !self.loss_round_start {
            return;
        }
        self.loss_events_in_round = 0;
        if self.state == State::Startup
            && self.recovery.is_active()
            && events >= STARTUP_FULL_LOSS_COUNT
            && super::loss::is_inflight_too_high(rs.lost, rs.tx_in_flight)
        {
            self.leave_startup_by_congestion();
        }
    }

    /// Startup has gone too far: what was delivered in a round is what fits.
    pub(super) fn leave_startup_by_congestion(&mut self) {
        if let Some(undo) = &mut self.undo {
            undo.state = Some(State::Startup);
        }
        self.full_bw_reached = true;
        self.inflight_longterm = self.bdp_multiple(self.bw, 100).max(self.inflight_latest);
    }

    /// EnterStartup().
    pub(super) fn enter_startup(&mut self) {
        self.state = State::Startup;
    }

    pub(super) fn enter_drain(&mut self) {
        self.state = State::Drain;
        self.drain_start_round = self.round_count;
    }

    /// CheckDrainDone().
    pub(super) fn check_drain_done(&mut self, ack: &AckSample<'_>) {
        if self.state != State::Drain {
            return;
        }
        let is_late = self.round_count > self.drain_start_round.saturating_add(DRAIN_ROUNDS);
        if ack.in_flight <= self.inflight(self.bw, 100) || is_late {
            self.enter_probe_bw(ack.now);
        }
    }

    fn enter_probe_bw(&mut self, now: Instant) {
        self.start_probe_bw_down(now);
    }
}
