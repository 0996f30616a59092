//! BBR, version 3 (draft-ietf-ccwg-bbr): a model of the path, its rate and its round trip, and a
//! state machine that keeps measuring both.
//!
//! | file | what it is | sections of the draft |
//! |---|---|---|
//! | `mod.rs` | the state, and the order of steps | 5.2 |
//! | `state.rs` | the states with their gains | 5.1, 5.6.1 |
//! | `startup.rs` | Startup and Drain, the full-pipe estimator | 5.3.1, 5.3.2 |
//! | `probe_bw.rs` | the four phases of probing for bandwidth | 5.3.3 |
//! | `probe_rtt.rs` | measuring the round trip anew, restarting from idle | 5.3.4, 5.4 |
//! | `model.rs` | rate, rounds, aggregation | 5.5.1 to 5.5.9 |
//! | `loss.rs` | what losses and marks say, and taking it back | 5.5.10, 5.5.11 |
//! | `control.rs` | pacing rate, quantum, window | 5.6 |
//!
//! It needs a rate sample with every acknowledgement
//! ([`AckSample::rate`](crate::congestion::AckSample::rate)). Gains are whole percents and all else
//! is whole bytes, so a run is the same on every machine. Names of fields are the draft's.
//!
//! Where the draft leaves the choice or the interface differs:
//! - Losses come as batches. The threshold is judged once for a batch, on its newest packet, and a
//!   batch counts as one lost range for the exit from Startup.
//! - The draft marks the connection application-limited during ProbeRTT. The sampler belongs to the
//!   owner here, so BBR remembers which samples that would have marked.
//! - A mark by a router counts as loss: it ends Startup and a bandwidth probe, else the short-term
//!   model is lowered (section 3.7 asks only that it be treated as congestion).
//! - Persistent congestion sets the window to the least of RFC 9002 7.6.2, and it grows from there;
//!   it returns to what it was only if the losses turn out not to have been any.

mod control;
mod loss;
mod model;
mod probe_bw;
mod probe_rtt;
mod startup;
mod state;

use crate::congestion::base::initial_window;
use crate::congestion::recovery::Recovery;
use crate::congestion::{AckSample, Config, Controller, LossSample, TimeoutSample};
use crate::delivery::RateSample;
use crate::rng::{Rng, rng_from_seed};
use crate::rtt::Rtt;
use crate::time::{Duration, Instant};
use loss::Undo;
use model::TwoSlots;
use state::{AckPhase, State};

/// BBR.LossThresh: 2 percent of what was in flight.
const LOSS_THRESH_PERCENT: u64 = 2;
/// BBR.Beta.
const BETA_PERCENT: u64 = 70;
/// BBR.Headroom.
const HEADROOM_PERCENT: u64 = 15;
/// BBR.MinPipeCwnd, in datagrams.
const MIN_PIPE_DATAGRAMS: u64 = 4;
/// "Infinity" of a bound in bytes or bytes per second.
const UNBOUNDED: u64 = u64::MAX;

/// The controller of one path.
#[derive(Debug)]
pub struct Bbr {
    state: State,
    max_datagram: u64,
    initial_window: u64,
    rng: Rng,

    // Control parameters.
    cwnd: u64,
    prior_cwnd: u64,
    pacing_rate: u64,
    has_paced_by_rtt: bool,
    send_quantum: u64,

    // The long-term model.
    max_bw_filter: TwoSlots,
    max_bw: u64,
    bw: u64,
    min_rtt: Option<Duration>,
    min_rtt_stamp: Instant,
    inflight_longterm: u64,

    // The short-term model.
    bw_shortterm: u64,
    inflight_shortterm: u64,
    bw_latest: u64,
    inflight_latest: u64,

    // Rounds.
    delivered: u64,
    next_round_delivered: u64,
    round_count: u64,
    round_start: bool,
    loss_round_delivered: u64,
    loss_round_start: bool,
    is_loss_in_round: bool,
    loss_events_in_round: u32,
    cwnd_limited_in_round: bool,
    cwnd_limited_in_last_round: bool,

    // ACK aggregation.
    extra_acked_filter: TwoSlots,
    extra_acked_since_round: u64,
    extra_acked_interval_start: Instant,
    extra_acked_delivered: u64,

    // The full-pipe estimator.
    full_bw: u64,
    full_bw_count: u32,
    full_bw_now: bool,
    full_bw_reached: bool,
    drain_start_round: u64,

    // Probing for bandwidth.
    ack_phase: AckPhase,
    is_bw_probe_sample: bool,
    prev_probe_too_high: bool,
    prev_probe_precautionary: bool,
    bw_probe_up_rounds: u32,
    bw_probe_up_acked: u64,
    probe_up_acked_per_inc: u64,
    rounds_since_probe_up: u64,
    bw_probe_wait: Duration,
    cycle_stamp: Instant,

    // Probing for the round trip.
    probe_rtt_min_delay: Option<Duration>,
    probe_rtt_min_stamp: Instant,
    probe_rtt_expired: bool,
    probe_rtt_done_stamp: Option<Instant>,
    probe_rtt_round_done: bool,
    idle_restart: bool,
    /// Samples of packets sent while the delivered count lay in this range are held down by
    /// ProbeRTT: what MarkConnectionAppLimited() says in the draft.
    probe_rtt_limited: Option<(u64, u64)>,

    // Loss recovery.
    recovery: Recovery,
    undo: Option<Undo>,
}

impl Bbr {
    /// OnInit() of the draft.
    #[must_use]
    pub fn new(now: Instant, config: &Config) -> Bbr {
        let max_datagram = config.max_datagram.max(1);
        Bbr {
            state: State::Startup,
            max_datagram,
            initial_window: config.window(),
            rng: rng_from_seed(config.seed),
            cwnd: config.window(),
            prior_cwnd: 0,
            pacing_rate: 0,
            has_paced_by_rtt: false,
            send_quantum: initial_window(max_datagram),
            max_bw_filter: TwoSlots::default(),
            max_bw: 0,
            bw: 0,
            min_rtt: None,
            min_rtt_stamp: now,
            inflight_longterm: UNBOUNDED,
            bw_shortterm: UNBOUNDED,
            inflight_shortterm: UNBOUNDED,
            bw_latest: 0,
            inflight_latest: 0,
            delivered: 0,
            next_round_delivered: 0,
            round_count: 0,
            round_start: false,
            loss_round_delivered: 0,
            loss_round_start: false,
            is_loss_in_round: false,
            loss_events_in_round: 0,
            cwnd_limited_in_round: false,
            cwnd_limited_in_last_round: false,
            extra_acked_filter: TwoSlots::default(),
            extra_acked_since_round: 0,
            extra_acked_interval_start: now,
            extra_acked_delivered: 0,
            full_bw: 0,
            full_bw_count: 0,
            full_bw_now: false,
            full_bw_reached: false,
            drain_start_round: 0,
            ack_phase: AckPhase::Init,
            is_bw_probe_sample: false,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            bw_probe_up_rounds: 0,
            bw_probe_up_acked: 0,
            probe_up_acked_per_inc: UNBOUNDED,
            rounds_since_probe_up: 0,
            bw_probe_wait: Duration::ZERO,
            cycle_stamp: now,
            probe_rtt_min_delay: None,
            probe_rtt_min_stamp: now,
            probe_rtt_expired: false,
            probe_rtt_done_stamp: None,
            probe_rtt_round_done: false,
            idle_restart: false,
            probe_rtt_limited: None,
            recovery: Recovery::default(),
            undo: None,
        }
    }

    /// UpdateModelAndState() of the draft, in its order.
    fn update_model_and_state(&mut self, ack: &AckSample<'_>, rs: &RateSample) {
        self.update_latest_delivery_signals(rs);
        self.update_congestion_signals(rs);
        self.update_ack_aggregation(ack.now, rs);
        self.check_full_bw_reached(rs);
        self.check_startup_done(rs);
        self.check_drain_done(ack);
        self.update_probe_bw_cycle_phase(ack, rs);
        self.update_min_rtt(ack);
        self.check_probe_rtt(ack, rs);
        self.advance_latest_delivery_signals(rs);
        self.bw = self.max_bw.min(self.bw_shortterm);
    }

    /// The largest rate measured over the last two cycles of probing, in bytes per second.
    #[must_use]
    pub fn max_bw(&self) -> u64 {
        self.max_bw
    }

    /// The least round trip of the last ten seconds.
    #[must_use]
    pub fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    /// The bound on bytes in flight that losses have taught; `None` while there is none.
    #[must_use]
    pub fn inflight_longterm(&self) -> Option<u64> {
        (self.inflight_longterm != UNBOUNDED).then_some(self.inflight_longterm)
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, in_flight: u64, _seq: u64) {
        if in_flight == 0 {
            self.handle_restart_from_idle(now);
        }
        let after = in_flight.saturating_add(bytes);
        if after.saturating_add(self.max_datagram) > self.cwnd {
            self.cwnd_limited_in_round = true;
        }
    }

    fn on_ack(&mut self, ack: &AckSample<'_>) {
        let was_in_recovery = self.recovery.is_active();
        if !self.recovery.on_ack(ack.largest_sent_at) && was_in_recovery {
            self.restore_cwnd();
        }
        self.init_pacing_rate(ack.rtt);
        if let Some(rate) = ack.rate {
            self.delivered = rate.total_delivered;
            let rate = self.with_probe_rtt_limit(rate);
            self.update_model_and_state(ack, &rate);
        }
        self.set_pacing_rate();
        self.set_send_quantum();
        self.set_cwnd(ack.bytes_acked);
    }

    fn on_loss(&mut self, loss: &LossSample) {
        self.handle_loss(loss);
    }

    fn on_ecn_ce(&mut self, now: Instant, sent_at: Instant, in_flight: u64, newly_ce: u64) {
        if newly_ce > 0 {
            self.handle_mark(now, sent_at, in_flight);
        }
    }

    fn on_spurious_loss(&mut self, _now: Instant, bytes: u64, sent_at: Instant) {
        if self.recovery.on_spurious_loss(bytes, sent_at) {
            self.handle_spurious_loss_detection();
        }
    }

    fn on_timeout(&mut self, timeout: &TimeoutSample) {
        self.handle_timeout(timeout);
    }

    fn on_spurious_timeout(&mut self, _now: Instant) {
        self.recovery.end_by_persistent_congestion();
        self.handle_spurious_loss_detection();
    }

    fn on_mtu(&mut self, max_datagram: u64) {
        self.max_datagram = max_datagram.max(1);
        self.cwnd = self.cwnd.max(self.min_pipe_cwnd());
        self.send_quantum = self.send_quantum.max(self.max_datagram);
    }

    fn window(&self) -> u64 {
        self.cwnd
    }

    fn pacing_rate(&self, rtt: &Rtt) -> Option<u64> {
        if self.has_paced_by_rtt {
            Some(self.pacing_rate)
        } else {
            self.nominal_pacing_rate(rtt)
        }
    }

    fn send_quantum(&self) -> u64 {
        self.send_quantum
    }

    fn in_slow_start(&self) -> bool {
        self.state == State::Startup
    }

    fn ssthresh(&self) -> Option<u64> {
        None
    }

    fn state(&self) -> &'static str {
        self.state.as_str()
    }

    fn name(&self) -> &'static str {
        "bbr"
    }
}

/// `percent` of `value`; "infinity" stays what it is.
#[inline]
fn percent_of(value: u64, percent: u64) -> u64 {
    if value == UNBOUNDED {
        return UNBOUNDED;
    }
    let product = u128::from(value).saturating_mul(u128::from(percent));
    u64::try_from(product / 100).unwrap_or(UNBOUNDED)
}
