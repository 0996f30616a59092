//! How long to wait before a lost connection is dialled again.

use std::time::Duration;

use weir_core::rng::{Rng, below};

/// The bounds of the waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The least wait. 250 ms: a listener that restarts is back by then, and a person hardly notices.
    pub min: Duration,
    /// The most. 30 s: after a night's outage the tunnel is back within half a minute.
    pub max: Duration,
    /// A connection that lasted so long starts the waits from the least again. One minute, so that a listener which
    /// takes connections and drops them at once is not hammered.
    pub stable: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(250),
            max: Duration::from_secs(30),
            stable: Duration::from_secs(60),
        }
    }
}

/// Exponential backoff with jitter: the n-th wait is drawn from the upper half of `min * 2^(n+1)`, so that the many
/// clients of one listener that restarts do not all come back in the same instant.
#[derive(Debug)]
pub struct Backoff {
    config: BackoffConfig,
    rng: Rng,
    failures: u32,
}

impl Backoff {
    /// Starts with no failure seen; `rng` draws the jitter.
    pub fn new(config: BackoffConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            failures: 0,
        }
    }

    /// The next wait, between `min` and `max`.
    pub fn next_wait(&mut self) -> Duration {
        let BackoffConfig { min, max, .. } = self.config;
        let doubled = 2u32
            .checked_pow(self.failures.saturating_add(1))
            .unwrap_or(u32::MAX);
        let ceiling = min.saturating_mul(doubled).clamp(min, max);
        let floor = (ceiling / 2).max(min);
        self.failures = self.failures.saturating_add(1);
        let span = ceiling.saturating_sub(floor).as_micros();
        let span = u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1);
        (floor + Duration::from_micros(below(&mut self.rng, span))).min(max.max(min))
    }

    /// Tells how long a connection lasted that is lost now.
    pub fn connection_lasted(&mut self, lasted: Duration) {
        if lasted >= self.config.stable {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::rng_from_seed;

    fn waits(seed: u64, count: usize) -> Vec<Duration> {
        let mut backoff = Backoff::new(BackoffConfig::default(), rng_from_seed(seed));
        (0..count).map(|_| backoff.next_wait()).collect()
    }

    #[test]
    fn waits_double_up_to_the_most_and_stay_within_their_bounds() {
        for seed in 0..200 {
            let waits = waits(seed, 40);
            for (n, wait) in waits.iter().enumerate() {
                let ceiling = (250u64 << (n + 1).min(20)).min(30_000);
                assert!(*wait >= Duration::from_millis(ceiling / 2), "{n}: {wait:?}");
                assert!(*wait <= Duration::from_millis(ceiling), "{n}: {wait:?}");
            }
        }
    }

    #[test]
    fn the_jitter_comes_from_the_seed() {
        assert_eq!(waits(7, 10), waits(7, 10));
        assert_ne!(waits(7, 10), waits(8, 10));
    }

    #[test]
    fn only_a_stable_connection_starts_over() {
        let mut backoff = Backoff::new(BackoffConfig::default(), rng_from_seed(1));
        for _ in 0..10 {
            backoff.next_wait();
        }
        backoff.connection_lasted(Duration::from_secs(59));
        assert!(backoff.next_wait() >= Duration::from_secs(15));
        backoff.connection_lasted(Duration::from_secs(60));
        assert!(backoff.next_wait() <= Duration::from_millis(500));
    }

    #[test]
    fn endless_failures_do_not_overflow() {
        let mut backoff = Backoff::new(BackoffConfig::default(), rng_from_seed(1));
        backoff.failures = u32::MAX - 1;
        for _ in 0..3 {
            assert!(backoff.next_wait() <= Duration::from_secs(30));
        }
    }
}
