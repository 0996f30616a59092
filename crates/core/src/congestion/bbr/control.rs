//! Pacing rate, send quantum and window (draft-ietf-ccwg-bbr section 5.6).

use super::{Bbr, MIN_PIPE_DATAGRAMS, State, UNBOUNDED, percent_of};
use crate::congestion::base::quantum;
use crate::delivery::{bytes_in, bytes_per_second};
use crate::limits;
use crate::rtt::Rtt;
use crate::time::Duration;

/// 100 - BBR.PacingMarginPercent: paced one percent below the rate, so that queues run off.
const PACING_MARGIN: u64 = 99;
/// The offload budget in quanta (section 5.5.8): one queued, one being cut up, one being put
/// together or waiting for its acknowledgement at the other end.
const OFFLOAD_QUANTA: u64 = 3;

impl Bbr {
    /// What InitPacingRate() gives once there is a round trip time.
    pub(super) fn nominal_pacing_rate(&self, rtt: &Rtt) -> Option<u64> {
        let smoothed = rtt.smoothed()?.max(Duration::from_micros(1));
        let nominal = bytes_per_second(self.initial_window, smoothed);
        Some(percent_of(nominal, State::Startup.pacing_gain()))
    }

    /// InitPacingRate(), with the first measured round trip.
    pub(super) fn init_pacing_rate(&mut self, rtt: &Rtt) {
        if !self.has_paced_by_rtt
            && let Some(rate) = self.nominal_pacing_rate(rtt)
        {
            self.has_paced_by_rtt = true;
            self.pacing_rate = rate;
        }
    }

    /// SetPacingRate().
    pub(super) fn set_pacing_rate(&mut self) {
        self.set_pacing_rate_with_gain(self.state.pacing_gain());
    }

    /// SetPacingRateWithGain(): before the pipe was full once, the rate only rises.
    pub(super) fn set_pacing_rate_with_gain(&mut self, gain: u64) {
        let rate = percent_of(percent_of(self.bw, gain), PACING_MARGIN);
        if rate > 0 && (self.full_bw_reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// SetSendQuantum().
    pub(super) fn set_send_quantum(&mut self) {
        self.send_quantum = quantum(self.pacing_rate, self.max_datagram);
    }

    /// BBR.MinPipeCwnd.
    pub(super) fn min_pipe_cwnd(&self) -> u64 {
        self.max_datagram.saturating_mul(MIN_PIPE_DATAGRAMS)
    }

    /// BDPMultiple(), `gain` in percent.
    pub(super) fn bdp_multiple(&self, bw: u64, gain: u64) -> u64 {
        match self.min_rtt {
            None => self.initial_window,
            Some(min_rtt) => percent_of(bytes_in(bw, min_rtt), gain),
        }
    }

    /// QuantizationBudget().
    fn quantization_budget(&self, inflight_cap: u64) -> u64 {
        let cap = inflight_cap
            .max(self.send_quantum.saturating_mul(OFFLOAD_QUANTA))
            .max(self.min_pipe_cwnd());
        if self.state == State::ProbeBwUp {
            cap.saturating_add(self.max_datagram.saturating_mul(2))
        } else {
            cap
        }
    }

    /// Inflight().
    pub(super) fn inflight(&self, bw: u64, gain: u64) -> u64 {
        self.quantization_budget(self.bdp_multiple(bw, gain))
    }

    /// UpdateMaxInflight().
    fn max_inflight(&self) -> u64 {
        let cap = self.bdp_multiple(self.bw, self.state.cwnd_gain());
        self.quantization_budget(cap.saturating_add(self.extra_acked_filter.max()))
    }

    /// ProbeRTTCwnd().
    pub(super) fn probe_rtt_cwnd(&self) -> u64 {
        self.bdp_multiple(self.bw, State::ProbeRtt.cwnd_gain())
            .max(self.min_pipe_cwnd())
    }

    /// SaveCwnd().
    pub(super) fn save_cwnd(&mut self) {
        self.prior_cwnd = if !self.recovery.is_active() && self.state != State::ProbeRtt {
            self.cwnd
        } else {
            self.prior_cwnd.max(self.cwnd)
        };
    }

    /// RestoreCwnd().
    pub(super) fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }

    /// SetCwnd().
    pub(super) fn set_cwnd(&mut self, newly_acked: u64) {
        let max_inflight = self.max_inflight();
        let grown = self.cwnd.saturating_add(newly_acked);
        if self.full_bw_reached {
            self.cwnd = grown.min(max_inflight);
        } else if self.cwnd < max_inflight || self.delivered < self.initial_window {
            self.cwnd = grown;
        }
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        self.cwnd = self
            .cwnd
            .min(self.model_cap())
            .min(limits::MAX_CONGESTION_WINDOW)
            .max(self.min_pipe_cwnd());
    }

    /// The cap of BoundCwndForModel().
    fn model_cap(&self) -> u64 {
        let longterm = match self.state {
            State::ProbeRtt | State::ProbeBwCruise => self.inflight_with_headroom(),
            State::ProbeBwDown | State::ProbeBwRefill | State::ProbeBwUp => self.inflight_longterm,
            State::Startup | State::Drain => UNBOUNDED,
        };
        longterm.min(self.inflight_shortterm)
    }
}
