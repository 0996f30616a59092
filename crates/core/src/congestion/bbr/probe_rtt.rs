//! The least round trip, ProbeRTT, and restarting from idle (draft-ietf-ccwg-bbr sections 5.3.4
//! and 5.4).

use super::{AckPhase, Bbr, State};
use crate::congestion::AckSample;
use crate::delivery::RateSample;
use crate::time::{Duration, Instant};

/// BBR.MinRTTFilterLen.
const MIN_RTT_FILTER_LEN: Duration = Duration::from_secs(10);
/// BBR.ProbeRTTInterval.
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
/// BBR.ProbeRTTDuration.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);

impl Bbr {
    /// UpdateMinRTT().
    pub(super) fn update_min_rtt(&mut self, ack: &AckSample<'_>) {
        let now = ack.now;
        self.probe_rtt_expired = now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL;
        if let Some(rtt) = ack.latest_rtt
            && (self.probe_rtt_expired || self.probe_rtt_min_delay.is_none_or(|least| rtt < least))
        {
            self.probe_rtt_min_delay = Some(rtt);
            self.probe_rtt_min_stamp = now;
        }
        let is_expired = now > self.min_rtt_stamp + MIN_RTT_FILTER_LEN;
        if let Some(delay) = self.probe_rtt_min_delay
            && (is_expired || self.min_rtt.is_none_or(|least| delay < least))
        {
            self.min_rtt = Some(delay);
            self.min_rtt_stamp = self.probe_rtt_min_stamp;
        }
    }

    /// CheckProbeRTT().
    pub(super) fn check_probe_rtt(&mut self, ack: &AckSample<'_>, rs: &RateSample) {
        if self.state != State::ProbeRtt && self.probe_rtt_expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.probe_rtt_done_stamp = None;
            self.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(ack);
        }
        if rs.delivered > 0 {
            self.idle_restart = false;
        }
    }

    /// HandleProbeRTT().
    fn handle_probe_rtt(&mut self, ack: &AckSample<'_>) {
        let until = self.delivered.saturating_add(ack.in_flight);
        let from = self
            .probe_rtt_limited
            .map_or(self.delivered, |(from, _)| from);
        self.probe_rtt_limited = Some((from, until));
        if self.probe_rtt_done_stamp.is_none() {
            if ack.in_flight <= self.probe_rtt_cwnd() {
                self.probe_rtt_done_stamp = Some(ack.now + PROBE_RTT_DURATION);
                self.probe_rtt_round_done = false;
                self.start_round();
            }
            return;
        }
        self.probe_rtt_round_done |= self.round_start;
        if self.probe_rtt_round_done {
            self.check_probe_rtt_done(ack.now);
        }
    }

    /// The sample, marked application-limited when ProbeRTT held it down.
    pub(super) fn with_probe_rtt_limit(&mut self, rs: &RateSample) -> RateSample {
        let mut marked = *rs;
        if let Some((from, until)) = self.probe_rtt_limited {
            marked.is_app_limited |= (from..=until).contains(&rs.prior_delivered);
            if rs.prior_delivered > until {
                self.probe_rtt_limited = None;
            }
        }
        marked
    }

    /// CheckProbeRTTDone().
    fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.probe_rtt_done_stamp.is_some_and(|done| now > done) {
            self.probe_rtt_min_stamp = now;
            self.restore_cwnd();
            self.exit_probe_rtt(now);
        }
    }

    /// ExitProbeRTT().
    fn exit_probe_rtt(&mut self, now: Instant) {
        self.reset_short_term_model();
        if self.full_bw_reached {
            // The clock of the cycle starts anew, but there is no queue to run off.
            self.start_probe_bw_down(now);
            self.start_probe_bw_cruise();
        } else {
            self.enter_startup();
        }
    }

    /// HandleRestartFromIdle(): nothing is in flight and a packet is about to go.
    pub(super) fn handle_restart_from_idle(&mut self, now: Instant) {
        self.idle_restart = true;
        self.extra_acked_interval_start = now;
        if self.state.is_probe_bw() {
            self.set_pacing_rate_with_gain(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }
}
