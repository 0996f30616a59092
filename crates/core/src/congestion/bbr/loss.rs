//! What losses and marks say, and taking it back (draft-ietf-ccwg-bbr sections 5.5.10, 5.5.11).

use super::{BETA_PERCENT, Bbr, LOSS_THRESH_PERCENT, State, UNBOUNDED, percent_of};
use crate::congestion::base::minimum_window;
use crate::congestion::recovery::Cause;
use crate::congestion::{LossSample, TimeoutSample};
use crate::time::Instant;

/// What was believed before the last loss recovery.
#[derive(Copy, Clone, Debug)]
pub(super) struct Undo {
    /// The state that the losses ended, if they did.
    pub(super) state: Option<State>,
    cwnd: u64,
    bw_shortterm: u64,
    inflight_shortterm: u64,
    inflight_longterm: u64,
}

/// IsInflightTooHigh(): more than two percent of what was in flight was lost.
#[inline]
pub(super) fn is_inflight_too_high(lost: u64, tx_in_flight: u64) -> bool {
    lost > percent_of(tx_in_flight, LOSS_THRESH_PERCENT)
}

/// InflightAtLoss(): how much was in flight when the losses passed the threshold, for a batch of
/// `size` bytes of which the newest packet left `tx_in_flight` in flight and saw `lost` bytes lost.
fn inflight_at_loss(tx_in_flight: u64, lost: u64, size: u64) -> u64 {
    let inflight_prev = tx_in_flight.saturating_sub(size);
    let lost_prev = lost.saturating_sub(size);
    let allowed = percent_of(inflight_prev, LOSS_THRESH_PERCENT);
    let lost_prefix =
        u128::from(allowed.saturating_sub(lost_prev)) * 100 / u128::from(100 - LOSS_THRESH_PERCENT);
    inflight_prev.saturating_add(u64::try_from(lost_prefix).unwrap_or(0))
}

impl Bbr {
    /// HandleLostPacket() for a batch, and the beginning of a recovery.
    pub(super) fn handle_loss(&mut self, loss: &LossSample) {
        let cause = Cause::Loss(loss.bytes_lost);
        self.note_congestion(loss.now, loss.largest_lost_sent_at, cause);
        self.loss_events_in_round = self.loss_events_in_round.saturating_add(1);
        if self.is_bw_probe_sample
            && let Some(packet) = loss.lost_rate
        {
            let lost = loss.total_lost.saturating_sub(packet.lost());
            let in_flight = packet.tx_in_flight();
            if is_inflight_too_high(lost, in_flight) {
                let in_flight = inflight_at_loss(in_flight, lost, loss.bytes_lost);
                self.handle_inflight_too_high(loss.now, in_flight, packet.is_app_limited());
            }
        }
        if loss.is_persistent {
            self.prior_cwnd = 0;
            self.cwnd = minimum_window(self.max_datagram);
        }
    }

    /// OnEnterRTO().
    pub(super) fn handle_timeout(&mut self, timeout: &TimeoutSample) {
        if timeout.is_first {
            let cause = Cause::Loss(timeout.bytes_lost);
            self.note_congestion(timeout.now, timeout.largest_lost_sent_at, cause);
            self.loss_events_in_round = self.loss_events_in_round.saturating_add(1);
        }
        self.cwnd = timeout.in_flight.saturating_add(timeout.loss_window);
    }

    /// A router's mark on a packet.
    pub(super) fn handle_mark(&mut self, now: Instant, sent_at: Instant, in_flight: u64) {
        self.note_congestion(now, sent_at, Cause::Mark);
        if self.state == State::Startup {
            self.leave_startup_by_congestion();
            self.enter_drain();
        } else if self.is_bw_probe_sample {
            self.handle_inflight_too_high(now, in_flight, false);
        }
    }

    /// NoteLoss(), and what is to be remembered when a recovery begins.
    fn note_congestion(&mut self, now: Instant, sent_at: Instant, cause: Cause) {
        if !self.recovery.covers(sent_at) {
            self.save_cwnd();
            self.undo = Some(Undo {
                state: None,
                cwnd: self.prior_cwnd,
                bw_shortterm: self.bw_shortterm,
                inflight_shortterm: self.inflight_shortterm,
                inflight_longterm: self.inflight_longterm,
            });
        }
        self.recovery.on_congestion(now, sent_at, cause);
        if !self.is_loss_in_round {
            self.loss_round_delivered = self.delivered;
        }
        self.is_loss_in_round = true;
    }

    /// HandleInflightTooHigh().
    fn handle_inflight_too_high(&mut self, now: Instant, in_flight: u64, is_app_limited: bool) {
        self.prev_probe_too_high = true;
        // One reaction for each probe.
        self.is_bw_probe_sample = false;
        if !is_app_limited {
            let floor = percent_of(self.target_inflight(), BETA_PERCENT);
            self.inflight_longterm = in_flight.max(floor);
        }
        if self.state == State::ProbeBwUp {
            if let Some(undo) = &mut self.undo {
                undo.state = Some(State::ProbeBwUp);
            }
            self.start_probe_bw_down(now);
        }
    }

    /// AdaptLowerBoundsFromCongestion(): once per round with losses, down to what was delivered in
    /// it, but by no more than BBR.Beta.
    pub(super) fn adapt_lower_bounds_from_congestion(&mut self) {
        if self.state.is_probing_bw() || !self.is_loss_in_round {
            return;
        }
        if self.bw_shortterm == UNBOUNDED {
            self.bw_shortterm = self.max_bw;
        }
        if self.inflight_shortterm == UNBOUNDED {
            self.inflight_shortterm = self.cwnd;
        }
        let bw = percent_of(self.bw_shortterm, BETA_PERCENT);
        self.bw_shortterm = self.bw_latest.max(bw);
        let inflight = percent_of(self.inflight_shortterm, BETA_PERCENT);
        self.inflight_shortterm = self.inflight_latest.max(inflight);
    }

    /// HandleSpuriousLossDetection().
    pub(super) fn handle_spurious_loss_detection(&mut self) {
        self.is_loss_in_round = false;
        self.reset_full_bw();
        let Some(undo) = self.undo.take() else {
            return;
        };
        self.cwnd = self.cwnd.max(undo.cwnd);
        self.bw_shortterm = self.bw_shortterm.max(undo.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(undo.inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(undo.inflight_longterm);
        match undo.state {
            Some(State::Startup) if self.state != State::Startup => {
                self.full_bw_reached = false;
                if self.state != State::ProbeRtt {
                    self.enter_startup();
                }
            }
            Some(State::ProbeBwUp)
                if self.state != State::ProbeBwUp && self.state != State::ProbeRtt =>
            {
                self.start_probe_bw_refill();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // draft-ietf-ccwg-bbr 5.5.10.2: solved for the prefix of a batch at which two percent were lost.
    #[test]
    fn the_flight_at_the_threshold_is_interpolated() {
        // 98,000 before the batch, nothing lost of it: 2,000 more bytes may be lost of 100,000.
        assert_eq!(inflight_at_loss(108_000, 10_000, 10_000), 100_000);
        // The threshold was passed before the batch: nothing of the batch fits.
        assert_eq!(inflight_at_loss(108_000, 20_000, 10_000), 98_000);
        assert_eq!(inflight_at_loss(0, 0, u64::MAX), 0);
        assert!(!is_inflight_too_high(2_000, 100_000));
        assert!(is_inflight_too_high(2_001, 100_000));
    }
}
