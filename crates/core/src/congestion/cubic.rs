//! CUBIC (RFC 9438), with HyStart++ (RFC 9406) for the first slow start.
//!
//! Windows are bytes outside and `f64` bytes inside; the cubic function itself counts in datagrams
//! and seconds as the RFC does. No value here can become infinite: windows are bounded by
//! [`limits::MAX_CONGESTION_WINDOW`](crate::limits::MAX_CONGESTION_WINDOW), and what goes back into
//! a window passes a saturating conversion and its bounds.

use crate::congestion::base::Base;
use crate::congestion::hystart::{CSS_GROWTH_DIVISOR, HyStart, Verdict};
use crate::congestion::newreno;
use crate::congestion::recovery::{Cause, Recovery};
use crate::congestion::{AckSample, Config, Controller, LossSample, TimeoutSample};
use crate::rtt::Rtt;
use crate::time::{Duration, Instant};

/// The multiplicative decrease (RFC 9438 4.6).
const BETA: f64 = 0.7;
/// How steep the cubic function is, in datagrams per second cubed (RFC 9438 5).
const C: f64 = 0.4;
/// Additive increase with which a decrease of [`BETA`] is as fair as Reno (RFC 9438 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The window grows as the cube of the time since the last reduction, flat near where it was lost.
#[derive(Clone, Debug)]
pub struct Cubic {
    base: Base,
    recovery: Recovery,
    /// Only in the first slow start (RFC 9406 4.3: later ones know their threshold).
    hystart: Option<HyStart>,
    curve: Curve,
    /// Boxed, as most controllers have none, and there may be very many controllers.
    undo: Option<Box<Undo>>,
    /// What the last time-out of TCP took.
    timeout_undo: Option<Box<Undo>>,
}

/// The variables of RFC 9438 4.1.2 that are more than a window, all windows in bytes.
#[derive(Copy, Clone, Debug, Default)]
struct Curve {
    /// Where the window was reduced last; `None` when slow start ended without a loss or by
    /// persistent congestion, and the plateau is where congestion avoidance begins.
    w_max: Option<f64>,
    /// The window when the threshold was set last.
    window_prior: f64,
    /// The running stage of congestion avoidance.
    epoch: Option<Epoch>,
    /// Growth that is not yet a whole byte.
    fraction: f64,
}

/// One stage of congestion avoidance.
#[derive(Copy, Clone, Debug)]
struct Epoch {
    /// When it began, moved on by all time in which the window was not what limited.
    start: Instant,
    /// Up to when `start` accounts for such time.
    updated: Instant,
    /// K of RFC 9438 figure 2, in seconds.
    k: f64,
    /// The plateau in bytes.
    origin: f64,
    /// What Reno would have.
    w_est: f64,
}

#[derive(Copy, Clone, Debug)]
struct Undo {
    window: u64,
    ssthresh: u64,
    curve: Curve,
}

impl Cubic {
    /// For a new path.
    #[must_use]
    pub fn new(config: &Config) -> Cubic {
        Cubic {
            base: Base::new(config),
            recovery: Recovery::default(),
            hystart: config.ssthresh.is_none().then(HyStart::default),
            curve: Curve::default(),
            undo: None,
            timeout_undo: None,
        }
    }

    /// RFC 9438 4.6 and 4.7.
    fn on_congestion(&mut self, now: Instant, sent_at: Instant, cause: Cause) {
        if !self.recovery.on_congestion(now, sent_at, cause) {
            return;
        }
        self.undo = Some(Box::new(self.snapshot()));
        self.reduce();
    }

    fn snapshot(&self) -> Undo {
        Undo {
            window: self.base.window(),
            ssthresh: self.base.ssthresh,
            curve: self.curve,
        }
    }

    /// RFC 9438 4.9: unless the window has grown past what it was.
    fn restore(&mut self, undo: &Undo) {
        if self.base.window() < undo.window {
            self.base.set_window(undo.window);
            self.base.ssthresh = undo.ssthresh;
            self.curve = undo.curve;
        }
    }

    /// The window and the plateau fall (RFC 9438 4.6 and 4.7).
    fn reduce(&mut self) {
        let window = self.base.window() as f64;
        let is_shrinking = self.curve.w_max.is_some_and(|w_max| window < w_max);
        self.curve = Curve {
            // Fast convergence: who was reduced below the last plateau makes room for others.
            w_max: Some(if is_shrinking {
                window * (1.0 + BETA) / 2.0
            } else {
                window
            }),
            window_prior: window,
            epoch: None,
            fraction: 0.0,
        };
        self.hystart = None;
        self.base.set_window(to_bytes(window * BETA));
        self.base.ssthresh = self.base.window();
    }

    /// Slow start takes what it can of `acked` bytes and returns the rest.
    fn slow_start(&mut self, ack: &AckSample<'_>) -> u64 {
        let verdict = match &mut self.hystart {
            Some(hystart) => hystart.on_ack(ack.largest_seq, ack.latest_rtt),
            None => Verdict::SlowStart,
        };
        match verdict {
            Verdict::SlowStart if ack.is_cwnd_limited => self.base.slow_start(ack.bytes_acked),
            Verdict::Conservative if ack.is_cwnd_limited => {
                self.base.slow_start(ack.bytes_acked / CSS_GROWTH_DIVISOR);
                0
            }
            Verdict::SlowStart | Verdict::Conservative => 0,
            Verdict::Exit => {
                // RFC 9438 4.10: no loss was seen, the plateau is here.
                self.hystart = None;
                self.base.ssthresh = self.base.window();
                self.curve = Curve {
                    window_prior: self.base.window() as f64,
                    ..Curve::default()
                };
                ack.bytes_acked
            }
        }
    }

    /// RFC 9438 4.2 to 4.5.
    fn avoid_congestion(&mut self, ack: &AckSample<'_>, bytes_acked: u64) {
        let window = self.base.window() as f64;
        let datagram = self.base.max_datagram() as f64;
        let acked = bytes_acked as f64;
        let prior = self.curve.window_prior;
        let epoch = self.curve.epoch_at(ack.now, window, datagram);
        // Figure 4; as Reno, once it has reached what the window was.
        let alpha = if epoch.w_est >= prior { 1.0 } else { ALPHA };
        epoch.w_est += alpha * datagram * acked / window;
        let elapsed = ack.now.saturating_duration_since(epoch.start);
        let ahead = elapsed.saturating_add(ack.rtt.estimate());
        let grown = if epoch.w_cubic(elapsed, datagram) < epoch.w_est {
            // Reno-friendly region. Growth never shrinks the window.
            epoch.w_est.max(window)
        } else {
            let target = epoch.w_cubic(ahead, datagram).clamp(window, window * 1.5);
            // One acknowledgement may stand for many datagrams; no more than the target at once.
            (window + (target - window) * (acked / window).min(1.0)).min(target)
        };
        let total = grown + self.curve.fraction;
        let whole = to_bytes(total);
        self.curve.fraction = (total - whole as f64).clamp(0.0, 1.0);
        self.base.set_window(whole);
    }
}

impl Curve {
    /// The running stage, or a new one that begins now at `window`.
    fn epoch_at(&mut self, now: Instant, window: f64, datagram: f64) -> &mut Epoch {
        let origin = self.w_max.unwrap_or(window).max(window);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            start: now,
            updated: now,
            k: ((origin - window) / datagram / C).cbrt(),
            origin,
            w_est: window,
        });
        epoch.updated = now;
        epoch
    }

    /// The window is not what limits at `now`: the time since the last update does not count
    /// (RFC 9438 4.2, 5.8).
    fn skip_to(&mut self, now: Instant) {
        if let Some(epoch) = &mut self.epoch {
            epoch.start += now.saturating_duration_since(epoch.updated);
            epoch.updated = now;
        }
    }
}

impl Epoch {
    /// Figure 1 of RFC 9438, in bytes.
    fn w_cubic(&self, elapsed: Duration, datagram: f64) -> f64 {
        let t = elapsed.as_secs_f64() - self.k;
        C * t * t * t * datagram + self.origin
    }
}

impl Controller for Cubic {
    fn on_sent(&mut self, now: Instant, _bytes: u64, in_flight: u64, seq: u64) {
        if let Some(hystart) = &mut self.hystart {
            hystart.on_sent(seq);
        }
        if in_flight == 0 {
            self.curve.skip_to(now);
        }
    }

    fn on_ack(&mut self, ack: &AckSample<'_>) {
        self.base.note_rtt(ack.rtt);
        if self.recovery.on_ack(ack.largest_sent_at) {
            return;
        }
        let mut acked = ack.bytes_acked;
        if self.base.in_slow_start() {
            acked = self.slow_start(ack);
        }
        if self.base.in_slow_start() {
            return;
        }
        if !ack.is_cwnd_limited {
            self.curve.skip_to(ack.now);
        } else if acked > 0 {
            self.avoid_congestion(ack, acked);
        }
    }

    fn on_loss(&mut self, loss: &LossSample) {
        self.on_congestion(
            loss.now,
            loss.largest_lost_sent_at,
            Cause::Loss(loss.bytes_lost),
        );
        if loss.is_persistent {
            // RFC 9438 4.8: the next stage begins with K = 0, at the window it finds.
            self.base.set_window(self.base.minimum());
            self.curve.w_max = None;
            self.curve.epoch = None;
            self.recovery.end_by_persistent_congestion();
            self.undo = None;
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
            self.restore(&undo);
        }
    }

    fn limit_to_flight(&mut self, flight_size: u64) {
        self.base.limit_to_flight(flight_size);
    }

    fn on_timeout(&mut self, timeout: &TimeoutSample) {
        if timeout.is_first {
            self.timeout_undo = Some(Box::new(self.snapshot()));
        }
        if timeout.reduces {
            self.reduce();
        }
        // RFC 9438 4.8: slow start, and the next stage begins with K = 0 at the window it finds.
        self.base.set_small_window(timeout.loss_window);
        self.hystart = None;
        self.curve.w_max = None;
        self.curve.epoch = None;
        self.recovery.end_by_persistent_congestion();
        self.undo = None;
    }

    fn on_spurious_timeout(&mut self, _now: Instant) {
        if let Some(undo) = self.timeout_undo.take() {
            self.restore(&undo);
        }
    }

    fn on_restart(&mut self, window: u64) {
        self.base.restart(window);
        self.curve.epoch = None;
    }

    fn on_mtu(&mut self, max_datagram: u64) {
        // The curve counts in datagrams: a new size begins a new stage from the window as it is.
        self.curve.epoch = None;
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
        newreno::state(&self.base, &self.recovery)
    }

    fn name(&self) -> &'static str {
        "cubic"
    }
}

/// Whole bytes; what is no number becomes 0, which the window's least bound catches.
fn to_bytes(value: f64) -> u64 {
    value as u64
}
