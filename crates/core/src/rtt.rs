//! The round trip time: measured, smoothed, and how long to wait for an answer.
//!
//! RFC 6298 (TCP) and RFC 9002 section 5 (QUIC) describe the same estimator; QUIC adds the least
//! time seen and takes the peer's stated delay off a sample.

use crate::time::{Duration, nanos};

/// What is assumed before anything was measured: 333 ms (RFC 9002 section 6.2.2), which makes the
/// first time-out one second (RFC 6298 2.1).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);

/// An estimate of the round trip time of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtt {
    initial: Duration,
    measured: Option<Measured>,
}

/// In nanoseconds: half the size of a [`Duration`], and plain arithmetic.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Measured {
    latest: u64,
    smoothed: u64,
    variance: u64,
    /// [`u64::MAX`] when it was forgotten.
    min: u64,
}

impl Default for Rtt {
    fn default() -> Rtt {
        Rtt::new(None)
    }
}

impl Rtt {
    /// Nothing measured yet. `initial` is assumed until then ([`INITIAL_RTT`] for `None`), for
    /// instance from an earlier connection to the same peer.
    #[must_use]
    pub fn new(initial: Option<Duration>) -> Rtt {
        Rtt {
            initial: initial.unwrap_or(INITIAL_RTT),
            measured: None,
        }
    }

    /// Adds a measurement. `ack_delay` is how long the peer says it waited before answering (zero
    /// where the protocol does not say); what makes a sample smaller than the least seen is ignored
    /// (RFC 9002 section 5.3).
    #[inline]
    pub fn update(&mut self, sample: Duration, ack_delay: Duration) {
        self.update_nanos(nanos(sample), nanos(ack_delay));
    }

    #[inline]
    fn update_nanos(&mut self, sample: u64, ack_delay: u64) {
        let Some(old) = self.measured else {
            // RFC 6298 2.2.
            self.measured = Some(Measured {
                latest: sample,
                smoothed: sample,
                variance: sample / 2,
                min: sample,
            });
            return;
        };
        // The least is not corrected by what the peer says, which could be anything.
        let min = old.min.min(sample);
        let adjusted = match sample.checked_sub(ack_delay) {
            Some(adjusted) if adjusted >= min => adjusted,
            _ => sample,
        };
        // RFC 6298 2.3: the variation is taken against the old smoothed value.
        let deviation = old.smoothed.abs_diff(adjusted);
        self.measured = Some(Measured {
            latest: sample,
            smoothed: mix(old.smoothed, 7, adjusted, 8),
            variance: mix(old.variance, 3, deviation, 4),
            min,
        });
    }

    /// Adds one of `per_round` measurements of a round trip: the gains are divided by their number,
    /// so that the estimate has the memory that RFC 6298 means, whatever is measured (RFC 7323
    /// appendix G). The first sets the estimate as in [`update`](Rtt::update).
    #[inline]
    pub fn update_one_of(&mut self, sample: Duration, per_round: u32) {
        self.update_one_of_nanos(nanos(sample), per_round);
    }

    /// As [`update_one_of`](Rtt::update_one_of), for a `sample` in nanoseconds: what a receiver of
    /// many small segments calls for each of them does without a [`Duration`].
    #[inline]
    pub fn update_one_of_nanos(&mut self, sample: u64, per_round: u32) {
        let per_round = per_round.clamp(1, MAX_PER_ROUND);
        let Some(old) = self.measured.filter(|_| per_round > 1) else {
            self.update_nanos(sample, 0);
            return;
        };
        let deviation = old.smoothed.abs_diff(sample);
        self.measured = Some(Measured {
            latest: sample,
            smoothed: blend(old.smoothed, sample, 8 * u64::from(per_round)),
            variance: blend(old.variance, deviation, 4 * u64::from(per_round)),
            min: old.min.min(sample),
        });
    }

    /// Forgets the least time seen, so that the next sample sets it (RFC 9002 section 5.2: after
    /// the path may have changed under persistent congestion).
    pub fn reset_min(&mut self) {
        if let Some(measured) = &mut self.measured {
            measured.min = u64::MAX;
        }
    }

    /// The last measurement.
    #[inline]
    #[must_use]
    pub fn latest(&self) -> Option<Duration> {
        self.measured
            .map(|measured| Duration::from_nanos(measured.latest))
    }

    /// The smoothed round trip time, once measured.
    #[inline]
    #[must_use]
    pub fn smoothed(&self) -> Option<Duration> {
        self.measured
            .map(|measured| Duration::from_nanos(measured.smoothed))
    }

    /// The smoothed variation, once measured.
    #[inline]
    #[must_use]
    pub fn variance(&self) -> Option<Duration> {
        self.measured
            .map(|measured| Duration::from_nanos(measured.variance))
    }

    /// The least measured.
    #[inline]
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        let measured = self.measured?;
        (measured.min != u64::MAX).then(|| Duration::from_nanos(measured.min))
    }

    /// The smoothed round trip time, or what is assumed before it is measured.
    #[inline]
    #[must_use]
    pub fn estimate(&self) -> Duration {
        self.smoothed().unwrap_or(self.initial)
    }

    /// The retransmission time-out: smoothed + max(`granularity`, 4 x variation) (RFC 6298 2.2).
    /// The floor of one second (2.4) or a lower one is the caller's, and so is backing off (5.5).
    #[inline]
    #[must_use]
    pub fn rto(&self, granularity: Duration) -> Duration {
        Duration::from_nanos(self.rto_nanos(nanos(granularity)))
    }

    /// [`rto`](Rtt::rto) in nanoseconds, all three.
    #[inline]
    #[must_use]
    pub fn rto_nanos(&self, granularity: u64) -> u64 {
        let (smoothed, variance) = match &self.measured {
            Some(measured) => (measured.smoothed, measured.variance),
            None => (nanos(self.initial), nanos(self.initial) / 2),
        };
        smoothed.saturating_add(variance.saturating_mul(4).max(granularity))
    }

    /// [`smoothed`](Rtt::smoothed) in nanoseconds.
    #[inline]
    #[must_use]
    pub fn smoothed_nanos(&self) -> Option<u64> {
        self.measured.as_ref().map(|measured| measured.smoothed)
    }

    /// The probe time-out: as [`rto`](Rtt::rto), and as long again as the peer may delay an answer
    /// (RFC 9002 section 6.2.1).
    #[inline]
    #[must_use]
    pub fn pto(&self, granularity: Duration, max_ack_delay: Duration) -> Duration {
        self.rto(granularity).saturating_add(max_ack_delay)
    }
}

/// More measurements than this in a round trip move the estimate like this many.
const MAX_PER_ROUND: u32 = 1024;

/// `old` with the `of`-th part of its distance to `new` gone.
#[inline]
fn blend(old: u64, new: u64, of: u64) -> u64 {
    let part = old.abs_diff(new) / of.max(1);
    if new > old {
        old.saturating_add(part)
    } else {
        old.saturating_sub(part)
    }
}

/// `weight` parts of `old` and the rest of `of` parts of `new`.
#[inline]
fn mix(old: u64, weight: u64, new: u64, of: u64) -> u64 {
    let sum = old.saturating_mul(weight).saturating_add(new);
    sum / of.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    // RFC 6298 2.1: one second before the first measurement (999 ms by RFC 9002's 333 ms).
    #[test]
    fn before_a_measurement() {
        let rtt = Rtt::default();
        assert_eq!(rtt.rto(ms(1)), ms(999));
        assert_eq!((rtt.smoothed(), rtt.min()), (None, None));
        assert_eq!(Rtt::new(Some(ms(10))).rto(ms(1)), ms(30));
    }

    // RFC 6298 2.2 and 2.3 by hand.
    #[test]
    fn follows_the_formulas() {
        let mut rtt = Rtt::default();
        rtt.update(ms(100), Duration::ZERO);
        assert_eq!(
            (rtt.smoothed(), rtt.variance()),
            (Some(ms(100)), Some(ms(50)))
        );
        assert_eq!(rtt.rto(ms(1)), ms(300));
        rtt.update(ms(180), Duration::ZERO);
        // Variation 3/4 x 50 + 1/4 x |100 - 180|; smoothed 7/8 x 100 + 1/8 x 180.
        let (smoothed, variance) = (rtt.smoothed().unwrap(), rtt.variance().unwrap());
        assert_eq!(
            (smoothed, variance),
            (ms(110), Duration::from_micros(57_500))
        );
        assert_eq!((rtt.latest(), rtt.min()), (Some(ms(180)), Some(ms(100))));
    }

    // RFC 9002 section 5.3: the peer's delay comes off, but not below the least.
    #[test]
    fn a_stated_delay_does_not_go_below_the_least() {
        let mut honest = Rtt::default();
        honest.update(ms(100), ms(90));
        assert_eq!(
            (honest.smoothed(), honest.min()),
            (Some(ms(100)), Some(ms(100)))
        );
        let mut lying = honest.clone();
        honest.update(ms(140), ms(40));
        assert_eq!(honest.smoothed(), Some(ms(100)));
        lying.update(ms(140), ms(41));
        assert_eq!(lying.smoothed(), Some(ms(105)));
        lying.update(ms(140), Duration::MAX);
        assert_eq!(lying.min(), Some(ms(100)));
    }

    // RFC 9002 section 6.2.1: granularity is a floor for the margin.
    #[test]
    fn a_steady_path_still_has_a_margin() {
        let mut rtt = Rtt::default();
        for _ in 0..200 {
            rtt.update(ms(20), Duration::ZERO);
        }
        assert_eq!(rtt.rto(ms(1)), ms(21));
        assert_eq!(rtt.pto(ms(1), ms(25)), ms(46));
    }

    #[test]
    fn the_least_can_be_forgotten() {
        let mut rtt = Rtt::default();
        rtt.update(ms(10), Duration::ZERO);
        rtt.reset_min();
        assert_eq!(rtt.min(), None);
        rtt.update(ms(50), ms(5));
        assert_eq!(rtt.min(), Some(ms(50)));
    }

    #[test]
    fn extreme_samples_do_not_overflow() {
        let mut rtt = Rtt::default();
        rtt.update(Duration::MAX, Duration::ZERO);
        rtt.update(Duration::ZERO, Duration::MAX);
        rtt.update(Duration::MAX, Duration::ZERO);
        assert!(rtt.pto(Duration::MAX, Duration::MAX) == Duration::MAX);
    }

    // RFC 7323 appendix G: thirty-two measurements in a round move the estimate like one.
    #[test]
    fn many_measurements_of_one_round_weigh_like_one() {
        let mut one = Rtt::default();
        let mut many = Rtt::default();
        one.update(ms(100), ms(0));
        many.update(ms(100), ms(0));
        one.update(ms(180), ms(0));
        for _ in 0..32 {
            many.update_one_of(ms(180), 32);
        }
        let (a, b) = (one.smoothed().unwrap(), many.smoothed().unwrap());
        assert!(a.abs_diff(b) < ms(1), "{a:?} {b:?}");
        let (a, b) = (one.variance().unwrap(), many.variance().unwrap());
        assert!(a.abs_diff(b) < ms(4), "{a:?} {b:?}");
        assert_eq!(many.latest(), Some(ms(180)));
        let mut first = Rtt::default();
        first.update_one_of(ms(100), 32);
        assert_eq!(first.variance(), Some(ms(50)));
    }
}
