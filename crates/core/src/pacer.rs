//! When the next packets may go: a bucket of bytes that fills at the pacing rate.
//!
//! The bucket is asked once for a batch, not for each packet, and never for a timer per packet
//! where the rate is high: a batch begins when [`QUANTUM_TIME`]'s worth (at least one datagram)
//! is there and may take all that is. Pausing for as long as [`BURST_TIME`] loses nothing, so a
//! driver whose timers tick in milliseconds reaches every rate.

use crate::congestion::initial_window;
use crate::delivery::bytes_in;
use crate::time::{Duration, Instant, nanos};

/// The bucket holds what the rate gives in this time: two ticks of a millisecond timer, because one
/// that was just missed is waited for whole. RFC 9002 7.7 bounds bursts by the initial window where
/// that is more.
pub const BURST_TIME: Duration = Duration::from_millis(2);

/// A batch waits for what the rate gives in this time, so that batches are worth their system call.
pub const QUANTUM_TIME: Duration = Duration::from_micros(500);

/// But not for more than this, which fills one segmentation-offloaded send.
pub const MAX_QUANTUM: u64 = 64 * 1024;

/// The pacer of one path.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Bytes that may go.
    tokens: u64,
    /// What was earned up to `updated` and is less than a byte, in bytes / 10^9.
    remainder: u64,
    updated: Instant,
    max_datagram: u64,
}

impl Pacer {
    /// A full bucket: the initial window may go as one burst.
    #[must_use]
    pub fn new(now: Instant, max_datagram: u64) -> Pacer {
        Pacer {
            tokens: initial_window(max_datagram),
            remainder: 0,
            updated: now,
            max_datagram: max_datagram.max(1),
        }
    }

    /// When a batch may begin: `None` for now, else the instant to wake up at. `rate` is the
    /// controller's [`pacing_rate`](crate::congestion::Controller::pacing_rate) in bytes per second
    /// (`None`: nothing is held back but by the window).
    #[inline]
    pub fn next_release(
        &mut self,
        now: Instant,
        rate: Option<u64>,
        window: u64,
        max_datagram: u64,
    ) -> Option<Instant> {
        self.max_datagram = max_datagram.max(1);
        // A rate of nothing would be a deadline that never comes, for a value nobody means.
        let rate = rate?.max(1);
        self.refill(now, rate);
        // The least window must be able to go whatever the rate.
        let quantum = bytes_in(rate, QUANTUM_TIME)
            .min(MAX_QUANTUM)
            .min(window)
            .max(self.max_datagram);
        let missing = quantum.checked_sub(self.tokens).filter(|&n| n > 0)?;
        let product = u128::from(missing)
            .saturating_mul(1_000_000_000)
            .saturating_sub(u128::from(self.remainder));
        let wait = u64::try_from(product.div_ceil(u128::from(rate))).unwrap_or(u64::MAX);
        Some(now + Duration::from_nanos(wait))
    }

    /// Bytes that may go now in one burst. Whole datagrams that fit in it keep the rate exactly;
    /// what is sent beyond (probes are not paced) is not held against later packets.
    #[inline]
    pub fn budget(&mut self, now: Instant, rate: Option<u64>, window: u64) -> u64 {
        match rate {
            None => window,
            Some(rate) => {
                self.refill(now, rate.max(1));
                self.tokens
            }
        }
    }

    /// `bytes` went out at `now`.
    #[inline]
    pub fn on_sent(&mut self, _now: Instant, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// The most that can go at once at `rate`: what [`BURST_TIME`] gives, at least the initial
    /// window (RFC 9002 7.7).
    #[inline]
    #[must_use]
    pub fn capacity(&self, rate: u64) -> u64 {
        bytes_in(rate, BURST_TIME).max(initial_window(self.max_datagram))
    }

    fn refill(&mut self, now: Instant, rate: u64) {
        let elapsed = nanos(now.saturating_duration_since(self.updated));
        self.updated = self.updated.max(now);
        let capacity = self.capacity(rate);
        let earned = rate
            .checked_mul(elapsed)
            .and_then(|product| product.checked_add(self.remainder));
        let Some(earned) = earned else {
            // More than 18 GB: full, whatever it holds.
            self.tokens = capacity;
            self.remainder = 0;
            return;
        };
        self.tokens = self.tokens.saturating_add(earned / 1_000_000_000);
        self.remainder = earned % 1_000_000_000;
        if self.tokens >= capacity {
            self.tokens = capacity;
            self.remainder = 0;
        }
    }
}
