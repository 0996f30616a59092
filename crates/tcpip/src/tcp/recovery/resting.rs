//! What stands in a controller's place while a connection says nothing.
//!
//! After a rest a connection starts with its initial window in any case (RFC 5681 section 4.1), and
//! what its controller knew of a path a while ago says little of it now. So ten thousand
//! connections at rest need no controllers.

use weir_core::congestion::{AckSample, Algorithm, Controller, LossSample, TimeoutSample};
use weir_core::rtt::Rtt;
use weir_core::time::Instant;

use super::{Recovery, controller, initial_window};

/// Remembers the window; hears of nothing, for nothing happens.
#[derive(Debug)]
struct Resting {
    window: u32,
    algorithm: Algorithm,
}

impl Recovery {
    /// Nothing is in flight and nothing was for a while: what only matters to a flow goes. False
    /// when something is in flight, or nothing was there to go.
    pub(crate) fn rest(&mut self) -> bool {
        if self.is_resting || self.flight.una != self.flight.next {
            return false;
        }
        self.release_memory();
        self.controller = Box::new(Resting {
            window: u32::try_from(initial_window(self.smss)).unwrap_or(u32::MAX),
            algorithm: self.algorithm,
        });
        self.is_resting = true;
        true
    }

    /// True from [`rest`](Recovery::rest) until something is sent.
    pub(crate) const fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// Something is to be sent.
    #[cold]
    pub(super) fn wake(&mut self, now: Instant) {
        self.is_resting = false;
        self.controller = controller(now, self.algorithm, self.smss, self.seed);
    }
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

    fn window(&self) -> u64 {
        u64::from(self.window)
    }

    fn pacing_rate(&self, _rtt: &Rtt) -> Option<u64> {
        None
    }

    fn send_quantum(&self) -> u64 {
        u64::from(self.window)
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
        self.algorithm.as_str()
    }
}
