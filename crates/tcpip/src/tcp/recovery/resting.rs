//! What stands in a controller's place while a connection says nothing.
//!
//! A connection gets its controller with the first data that it sends, when the size of its
//! segments is agreed on. After a rest it starts with its initial window in any case (RFC 5681
//! section 4.1), and gets a new one that knows of the last where slow start ends. So ten thousand
//! connections at rest need no controllers.

use core::ops::Range;

use weir_core::congestion::{AckSample, Algorithm, Config, Controller, LossSample, TimeoutSample};
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

use super::rack::Reordering;
use super::{Counters, RTO_AFTER_SYN_LOSS, Recovery, Sent, initial_window};
use crate::limits::{MODEL_REST_AFTER, REST_AFTER};

/// Hears of nothing, for nothing happens. Without a field, so that a box of it is no memory.
#[derive(Debug)]
pub(super) struct Resting;

/// What is kept of recovery while its connection sleeps.
#[derive(Clone, Debug)]
pub(crate) struct Asleep {
    rtt: Rtt,
    counters: Counters,
    last_sent_at: Instant,
    seed: u32,
    /// The slow start threshold in bytes; [`u32::MAX`] for none, or a larger one.
    ssthresh: u32,
    syn_repeats: u16,
    reordering: Reordering,
}

impl Asleep {
    pub(crate) const fn last_sent_at(&self) -> Instant {
        self.last_sent_at
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.into()
    }
}

impl Recovery {
    /// For how long nothing has to happen before what is known of the path is forgotten but for its
    /// round trip time and the slow start threshold. A window that is what a new one would be is
    /// missed by nobody; any other begins anew after a time-out (RFC 5681 section 4.1). A model of the
    /// path is worth more, and is kept for longer.
    pub(crate) fn rest_after(&self) -> Duration {
        if self.algorithm == Algorithm::Bbr {
            return self.rto().max(MODEL_REST_AFTER);
        }
        if self.is_resting || self.controller.window() == self.first_window() {
            return REST_AFTER;
        }
        self.rto().max(REST_AFTER)
    }

    /// What is kept of it while nothing is in flight.
    pub(crate) fn sleep(&self) -> Asleep {
        let ssthresh = if self.is_resting {
            self.ssthresh
        } else {
            threshold(&*self.controller)
        };
        Asleep {
            rtt: self.rtt.clone(),
            counters: self.counters.clone(),
            last_sent_at: self.last_sent_at,
            seed: self.seed,
            ssthresh,
            syn_repeats: self.syn_repeats,
            reordering: self.rack.reordering(),
        }
    }

    /// Goes on from what was kept: `next` bytes were sent and acknowledged, `smss` and what SACK and
    /// timestamps say in `agreed` are the connection's.
    pub(crate) fn wake_from(
        &mut self,
        asleep: &Asleep,
        next: u64,
        smss: u32,
        (sack, timestamps): (bool, bool),
    ) {
        self.on_agreed(asleep.last_sent_at, sack, timestamps, smss);
        self.rtt = asleep.rtt.clone();
        self.counters = asleep.counters.clone();
        self.last_sent_at = asleep.last_sent_at;
        self.syn_repeats = asleep.syn_repeats;
        self.ssthresh = asleep.ssthresh;
        self.rack.remember(&asleep.reordering);
        (self.flight.una, self.flight.next) = (next, next);
        if self.syn_repeats > 0 {
            self.initial_rto = self.initial_rto.max(RTO_AFTER_SYN_LOSS);
        }
    }

    /// Whether what is sent needs a controller: more than a SYN, a FIN or a single byte alone, which
    /// go in any window. So a connection that is opened and closed never has one.
    #[inline]
    pub(super) fn needs_controller(&self, range: &Range<u64>, kind: Sent) -> bool {
        let bytes = range.end.saturating_sub(range.start);
        let is_alone = self.flight.una == self.flight.next || kind == Sent::Handshake;
        bytes > 1 || !is_alone
    }

    /// The window that a controller made now begins with.
    pub(super) fn first_window(&self) -> u64 {
        // Nothing but the SYN was ever sent, and it is not under way.
        let is_new = self.flight.una == self.flight.next.min(1);
        if is_new && self.syn_repeats > 1 {
            self.smss.into()
        } else {
            initial_window(self.smss).min(self.ssthresh.into())
        }
    }

    /// What went without a controller was lost: there has to be one that answers it.
    pub(super) fn wake_for_losses(&mut self, now: Instant) {
        if self.is_resting {
            self.wake(now);
        }
    }

    /// Something is to be sent, or was lost.
    #[cold]
    pub(super) fn wake(&mut self, now: Instant) {
        self.is_resting = false;
        let mut config = Config::new(u64::from(self.smss), self.seed.into());
        // RFC 5681 section 4.1: never more than what the path took before.
        let window = initial_window(self.smss).min(self.ssthresh.into());
        config.initial_window = Some(window);
        config.ssthresh = (self.ssthresh < u32::MAX).then(|| self.ssthresh.into());
        self.controller = self.algorithm.with_config(now, &config);
        if self.flight.una <= 1 {
            self.limit_after_syn_loss();
        }
    }
}

fn threshold(controller: &dyn Controller) -> u32 {
    let ssthresh = controller.ssthresh().unwrap_or(u64::MAX);
    u32::try_from(ssthresh).unwrap_or(u32::MAX)
}

impl Controller for Resting {
    fn on_sent(&mut self, _now: Instant, _bytes: u64, _in_flight: u64, _seq: u64) {}

    fn on_ack(&mut self, _ack: &AckSample<'_>) {}

    fn on_loss(&mut self, _loss: &LossSample) {}

    fn on_ecn_ce(&mut self, _now: Instant, _sent_at: Instant, _in_flight: u64, _newly_ce: u64) {}

    fn on_spurious_loss(&mut self, _now: Instant, _bytes: u64, _sent_at: Instant) {}

    fn on_timeout(&mut self, _timeout: &TimeoutSample) {}

    fn on_spurious_timeout(&mut self, _now: Instant) {}

    fn on_mtu(&mut self, _max_datagram: u64) {}

    /// Nobody is held back by it: who wants to send more than a byte makes a controller first.
    fn window(&self) -> u64 {
        u64::MAX
    }

    fn pacing_rate(&self, _rtt: &Rtt) -> Option<u64> {
        None
    }

    fn send_quantum(&self) -> u64 {
        u64::MAX
    }

    fn in_slow_start(&self) -> bool {
        true
    }

    fn ssthresh(&self) -> Option<u64> {
        None
    }

    fn state(&self) -> &'static str {
        "resting"
    }

    fn name(&self) -> &'static str {
        "resting"
    }
}
