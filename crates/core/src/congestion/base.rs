//! The window of a window-based controller: its bounds and the pacing that goes with it.

use crate::congestion::Config;
use crate::delivery::{bytes_in, bytes_per_second};
use crate::limits;
use crate::rtt::Rtt;
use crate::time::Duration;

/// The window of a new path (RFC 9002 7.2): ten datagrams, but not more than the larger of 14,720
/// bytes and two datagrams.
#[must_use]
pub fn initial_window(max_datagram: u64) -> u64 {
    let ten = max_datagram.saturating_mul(10);
    ten.min(max_datagram.saturating_mul(2).max(14_720))
}

/// The least window (RFC 9002 7.2): two datagrams.
#[must_use]
pub fn minimum_window(max_datagram: u64) -> u64 {
    max_datagram.saturating_mul(2).max(2)
}

/// Window, threshold and datagram size, and what follows from them alone.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The window in bytes, from [`minimum_window`] to [`limits::MAX_CONGESTION_WINDOW`].
    window: u64,
    /// Slow start ends here. [`u64::MAX`] until the first sign of congestion.
    pub(super) ssthresh: u64,
    max_datagram: u64,
    /// The window a change of the datagram size may still recompute: nothing has moved it yet.
    is_initial: bool,
    initial_window: Option<u64>,
    /// The smoothed round trip in nanoseconds as of the last acknowledgement; 0 before the first. How
    /// much is handed down at once follows from it, which nobody asks for each acknowledgement.
    smoothed: u64,
}

impl Base {
    pub(super) fn new(config: &Config) -> Base {
        let max_datagram = config.max_datagram.max(1);
        Base {
            window: config.window().min(limits::MAX_CONGESTION_WINDOW),
            ssthresh: config.ssthresh.unwrap_or(u64::MAX),
            max_datagram,
            is_initial: true,
            initial_window: config.initial_window,
            smoothed: 0,
        }
    }

    #[inline]
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    #[inline]
    pub(super) fn max_datagram(&self) -> u64 {
        self.max_datagram
    }

    #[inline]
    pub(super) fn minimum(&self) -> u64 {
        minimum_window(self.max_datagram)
    }

    /// Sets the window, within its bounds.
    #[inline]
    pub(super) fn set_window(&mut self, bytes: u64) {
        self.is_initial = false;
        self.window = bytes.min(limits::MAX_CONGESTION_WINDOW).max(self.minimum());
    }

    /// Sets the window below the bound of [`minimum`](Base::minimum): what a time-out leaves.
    pub(super) fn set_small_window(&mut self, bytes: u64) {
        self.is_initial = false;
        self.window = bytes.clamp(1, limits::MAX_CONGESTION_WINDOW);
    }

    /// The window was not used beyond `flight_size`.
    pub(super) fn limit_to_flight(&mut self, flight_size: u64) {
        if flight_size < self.window {
            self.set_window(flight_size);
        }
    }

    /// RFC 5681 4.1: at most `window`; the threshold remembers what was (RFC 7661 4.4.1: three
    /// quarters of it, if that is more).
    pub(super) fn restart(&mut self, window: u64) {
        if window < self.window {
            if self.ssthresh != u64::MAX {
                self.ssthresh = self.ssthresh.max(self.window / 4 * 3);
            }
            self.set_small_window(window);
        }
    }

    /// Slow start: grows by what was acknowledged, up to the threshold. Returns the bytes beyond
    /// it, which count for congestion avoidance.
    #[inline]
    pub(super) fn slow_start(&mut self, bytes_acked: u64) -> u64 {
        let grow = bytes_acked.min(self.ssthresh.saturating_sub(self.window));
        // Not through `set_window`: one segment grows to two, not at once.
        self.is_initial = false;
        let grown = self.window.saturating_add(grow);
        self.window = grown.min(limits::MAX_CONGESTION_WINDOW);
        bytes_acked.saturating_sub(grow)
    }

    #[inline]
    pub(super) fn in_slow_start(&self) -> bool {
        self.window < self.ssthresh
    }

    /// The threshold, once there is one.
    pub(super) fn threshold(&self) -> Option<u64> {
        (self.ssthresh != u64::MAX).then_some(self.ssthresh)
    }

    /// A new datagram size. A window that nothing has moved yet is computed anew (RFC 9002 7.2); a
    /// later one stays, in bytes, because the path's capacity is not a matter of packet sizes.
    pub(super) fn on_mtu(&mut self, max_datagram: u64) {
        // TCP's window after a time-out is one segment, below the least of all others, and stays one.
        let was_least = self.window < self.minimum();
        self.max_datagram = max_datagram.max(1);
        if was_least {
            self.window = self.max_datagram;
            return;
        }
        if self.is_initial && self.initial_window.is_none() {
            self.window = initial_window(self.max_datagram);
        }
        self.window = self.window.max(self.minimum());
    }

    /// The rate in bytes per second (RFC 9002 7.7): twice the window a round trip while it may
    /// double in one, else 1.25 times.
    #[inline]
    pub(super) fn pacing_rate(&self, rtt: &Rtt) -> Option<u64> {
        Some(self.rate_at(rtt.smoothed()?))
    }

    #[inline]
    fn rate_at(&self, smoothed: Duration) -> u64 {
        let smoothed = smoothed.max(MIN_PACED_RTT);
        let quarters = if self.in_slow_start() { 8 } else { 5 };
        bytes_per_second(self.window.saturating_mul(quarters) / 4, smoothed)
    }

    /// An acknowledgement measured the path.
    #[inline]
    pub(super) fn note_rtt(&mut self, rtt: &Rtt) {
        if let Some(smoothed) = rtt.smoothed_nanos() {
            self.smoothed = smoothed;
        }
    }

    /// The size of what is handed down at once, which follows the rate.
    pub(super) fn quantum(&self) -> u64 {
        if self.smoothed == 0 {
            return initial_window(self.max_datagram);
        }
        let rate = self.rate_at(Duration::from_nanos(self.smoothed));
        quantum(rate, self.max_datagram)
    }
}

/// Round trips below this are paced as if they took so long: a clock that did not move between
/// sending and acknowledgement is no reason for an endless rate.
const MIN_PACED_RTT: Duration = Duration::from_micros(1);

/// What `rate` gives in a millisecond, but at least two datagrams and at most the 64 KiB that
/// segmentation offload takes at once (draft-ietf-ccwg-bbr section 5.6.3).
#[inline]
pub(super) fn quantum(rate: u64, max_datagram: u64) -> u64 {
    bytes_in(rate, Duration::from_millis(1))
        .min(limits::MAX_SEND_QUANTUM)
        .max(max_datagram.saturating_mul(2))
}
