//! The estimator against the RFCs' formulas in floating point.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends by panicking"
)]

use proptest::prelude::*;
use weir_core::rtt::Rtt;
use weir_core::time::Duration;

/// RFC 9002 section 5.3 and appendix A.7 (RFC 6298 2.2 and 2.3 when no delay is stated), in
/// seconds.
#[derive(Default)]
struct Formula {
    smoothed: f64,
    variance: f64,
    min: f64,
    measured: bool,
}

impl Formula {
    fn update(&mut self, sample: f64, ack_delay: f64) {
        if !self.measured {
            let variance = sample / 2.0;
            *self = Formula {
                smoothed: sample,
                variance,
                min: sample,
                measured: true,
            };
            return;
        }
        self.min = self.min.min(sample);
        let adjusted = if sample >= self.min + ack_delay {
            sample - ack_delay
        } else {
            sample
        };
        self.variance = 0.75 * self.variance + 0.25 * (self.smoothed - adjusted).abs();
        self.smoothed = 0.875 * self.smoothed + 0.125 * adjusted;
    }
}

fn close(ours: Duration, theirs: f64) -> bool {
    // Integers lose less than a nanosecond a step, and old steps fade.
    (ours.as_secs_f64() - theirs).abs() < 100e-9
}

proptest! {
    // RFC 6298 2.2, 2.3; RFC 9002 5.2, 5.3, 6.2.1.
    #[test]
    fn follows_the_formulas(
        samples in prop::collection::vec((1..10_000_000u64, 0..1_000_000u64), 1..100),
    ) {
        let mut rtt = Rtt::default();
        let mut formula = Formula::default();
        for (sample, ack_delay) in samples {
            let sample = Duration::from_micros(sample);
            let ack_delay = Duration::from_micros(ack_delay);
            rtt.update(sample, ack_delay);
            formula.update(sample.as_secs_f64(), ack_delay.as_secs_f64());
            prop_assert!(close(rtt.smoothed().unwrap(), formula.smoothed));
            prop_assert!(close(rtt.variance().unwrap(), formula.variance));
            prop_assert!(close(rtt.min().unwrap(), formula.min));
            prop_assert_eq!(rtt.latest(), Some(sample));
            let granularity = Duration::from_millis(1);
            let rto = formula.smoothed + (4.0 * formula.variance).max(0.001);
            prop_assert!((rtt.rto(granularity).as_secs_f64() - rto).abs() < 1e-6);
            prop_assert_eq!(rtt.pto(granularity, sample), rtt.rto(granularity) + sample);
        }
    }

    // However a peer lies about its delays, the smoothed value stays between the least and the
    // most.
    #[test]
    fn lies_do_not_leave_the_range_of_samples(
        samples in prop::collection::vec((1..10_000u64, any::<u64>()), 1..50),
    ) {
        let mut rtt = Rtt::default();
        for (sample, ack_delay) in &samples {
            rtt.update(Duration::from_micros(*sample), Duration::from_nanos(*ack_delay));
        }
        let least = samples.iter().map(|(sample, _)| *sample).min().unwrap();
        let most = samples.iter().map(|(sample, _)| *sample).max().unwrap();
        let slack = Duration::from_nanos(100);
        prop_assert!(rtt.smoothed().unwrap() + slack >= Duration::from_micros(least));
        prop_assert!(rtt.smoothed().unwrap() <= Duration::from_micros(most));
        prop_assert_eq!(rtt.min(), Some(Duration::from_micros(least)));
    }
}
