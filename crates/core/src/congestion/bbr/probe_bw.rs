//! The four phases of ProbeBW (draft-ietf-ccwg-bbr section 5.3.3).

use super::{AckPhase, Bbr, HEADROOM_PERCENT, State, UNBOUNDED, percent_of};
use crate::congestion::AckSample;
use crate::delivery::RateSample;
use crate::rng::below;
use crate::time::{Duration, Instant};

/// The least time between probes where rounds do not bring them earlier; up to a second more is
/// drawn, so that flows do not probe in step.
const PROBE_WAIT: Duration = Duration::from_secs(2);
/// Rounds after which it probes even so, as often as Reno would have a loss.
const MAX_RENO_ROUNDS: u64 = 63;
/// Doublings of the slope of inflight_longterm, so that a shift cannot overflow.
const MAX_PROBE_UP_ROUNDS: u32 = 30;

impl Bbr {
    /// StartProbeBW_DOWN().
    pub(super) fn start_probe_bw_down(&mut self, now: Instant) {
        self.reset_congestion_signals();
        self.probe_up_acked_per_inc = UNBOUNDED;
        self.pick_probe_wait();
        self.cycle_stamp = now;
        self.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::ProbeBwDown;
    }

    /// StartProbeBW_CRUISE().
    pub(super) fn start_probe_bw_cruise(&mut self) {
        self.state = State::ProbeBwCruise;
    }

    /// StartProbeBW_REFILL().
    pub(super) fn start_probe_bw_refill(&mut self) {
        self.reset_short_term_model();
        self.bw_probe_up_rounds = 0;
        self.bw_probe_up_acked = 0;
        self.prev_probe_precautionary = false;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::ProbeBwRefill;
    }

    /// StartProbeBW_UP().
    fn start_probe_bw_up(&mut self, rs: &RateSample) {
        self.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.reset_full_bw();
        self.full_bw = rs.rate.unwrap_or(self.max_bw);
        self.state = State::ProbeBwUp;
        self.raise_inflight_longterm_slope();
    }

    /// UpdateProbeBWCyclePhase().
    pub(super) fn update_probe_bw_cycle_phase(&mut self, ack: &AckSample<'_>, rs: &RateSample) {
        if !self.full_bw_reached || self.adapt_long_term_model(rs) {
            return;
        }
        match self.state {
            State::ProbeBwDown => {
                if self.is_time_to_probe_bw(ack.now) {
                    self.start_probe_bw_refill();
                } else if self.is_time_to_cruise(ack.in_flight) {
                    self.start_probe_bw_cruise();
                }
            }
            State::ProbeBwCruise => {
                if self.is_time_to_probe_bw(ack.now) {
                    self.start_probe_bw_refill();
                }
            }
            State::ProbeBwRefill => {
                if self.round_start {
                    self.is_bw_probe_sample = true;
                    self.start_probe_bw_up(rs);
                }
            }
            State::ProbeBwUp => {
                if self.is_time_to_go_down(ack.in_flight, rs) {
                    self.prev_probe_too_high = false;
                    self.start_probe_bw_down(ack.now);
                }
            }
            State::Startup | State::Drain | State::ProbeRtt => {}
        }
    }

    /// IsTimeToCruise().
    fn is_time_to_cruise(&self, in_flight: u64) -> bool {
        in_flight <= self.inflight_with_headroom() && in_flight <= self.inflight(self.max_bw, 100)
    }

    /// IsTimeToGoDown().
    fn is_time_to_go_down(&mut self, in_flight: u64, rs: &RateSample) -> bool {
        if self.prev_probe_too_high && in_flight >= self.inflight_longterm {
            // The last probe went too far just here: touch it and turn back.
            self.prev_probe_precautionary = true;
            return true;
        }
        if self.is_cwnd_limited() && self.cwnd >= self.inflight_longterm {
            // The bound and not the path holds the rate down.
            self.reset_full_bw();
            self.full_bw = rs.rate.unwrap_or(self.max_bw);
            return false;
        }
        self.full_bw_now
    }

    /// IsTimeToProbeBW().
    fn is_time_to_probe_bw(&self, now: Instant) -> bool {
        now > self.cycle_stamp + self.bw_probe_wait || self.is_reno_coexistence_probe_time()
    }

    /// IsRenoCoexistenceProbeTime().
    fn is_reno_coexistence_probe_time(&self) -> bool {
        let reno_rounds = self.target_inflight() / self.max_datagram;
        self.rounds_since_probe_up >= reno_rounds.min(MAX_RENO_ROUNDS)
    }

    /// PickProbeWait().
    fn pick_probe_wait(&mut self) {
        self.rounds_since_probe_up = below(&mut self.rng, 2);
        let more = Duration::from_nanos(below(&mut self.rng, 1_000_000_000));
        self.bw_probe_wait = PROBE_WAIT + more;
    }

    /// TargetInflight().
    pub(super) fn target_inflight(&self) -> u64 {
        self.bdp_multiple(self.bw, 100).min(self.cwnd)
    }

    /// InflightWithHeadroom(): leaves some of what fits to others.
    pub(super) fn inflight_with_headroom(&self) -> u64 {
        if self.inflight_longterm == UNBOUNDED {
            return UNBOUNDED;
        }
        let headroom = percent_of(self.inflight_longterm, HEADROOM_PERCENT).max(self.max_datagram);
        self.inflight_longterm
            .saturating_sub(headroom)
            .max(self.min_pipe_cwnd())
    }

    /// RaiseInflightLongtermSlope().
    fn raise_inflight_longterm_slope(&mut self) {
        let growth_this_round = 1u64 << self.bw_probe_up_rounds.min(MAX_PROBE_UP_ROUNDS);
        self.bw_probe_up_rounds = self.bw_probe_up_rounds.saturating_add(1);
        self.probe_up_acked_per_inc = (self.cwnd / growth_this_round).max(self.max_datagram);
    }

    /// ProbeInflightLongtermUpward(): 1, 2, 4... datagrams a round.
    fn probe_inflight_longterm_upward(&mut self, rs: &RateSample) {
        if !self.is_cwnd_limited() || self.cwnd < self.inflight_longterm {
            return;
        }
        self.bw_probe_up_acked = self.bw_probe_up_acked.saturating_add(rs.newly_acked);
        let per_increase = self.probe_up_acked_per_inc.max(1);
        let delta = self.bw_probe_up_acked / per_increase;
        self.bw_probe_up_acked %= per_increase;
        self.inflight_longterm = self
            .inflight_longterm
            .saturating_add(delta.saturating_mul(self.max_datagram));
        if self.round_start {
            self.raise_inflight_longterm_slope();
        }
    }

    /// AdaptLongTermModel(). True when it decided on a state.
    fn adapt_long_term_model(&mut self, rs: &RateSample) -> bool {
        if self.ack_phase == AckPhase::ProbeStarting && self.round_start {
            self.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.ack_phase == AckPhase::ProbeStopping && self.round_start {
            self.is_bw_probe_sample = false;
            self.ack_phase = AckPhase::Init;
            if self.state.is_probe_bw() && !rs.is_app_limited {
                self.max_bw_filter.advance();
            }
            if self.state.is_probe_bw()
                && self.prev_probe_precautionary
                && !self.prev_probe_too_high
            {
                // The cautious probe went well: now a whole one.
                self.start_probe_bw_refill();
                return true;
            }
        }
        let is_too_high = super::loss::is_inflight_too_high(rs.lost, rs.tx_in_flight);
        if !is_too_high && self.inflight_longterm != UNBOUNDED {
            self.inflight_longterm = self.inflight_longterm.max(rs.tx_in_flight);
            if self.state == State::ProbeBwUp {
                self.probe_inflight_longterm_upward(rs);
            }
        }
        false
    }
}
