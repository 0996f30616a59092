//! How often strangers are answered: token buckets, by source and over all.
//!
//! A source has a bucket of its own, found by a keyed hash in a table of fixed size: nobody can tell
//! which other source shares it, so a bucket that is used up tells nobody about anybody else's
//! traffic (threats C7, CVE-2016-5696). The bucket over all is far above what one source is given.

use std::net::IpAddr;

use weir_core::time::Instant;

use super::secret::Spread;
use crate::limits::{RATE_BUCKETS, RST_OVER_ALL, RST_PER_SOURCE};

/// A token bucket as the time at which it will be full again, in nanoseconds.
#[derive(Copy, Clone, Debug, Default)]
struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// True when there is a token. `per_second` tokens come each second, and as many are kept.
    fn has(self, now: u64) -> bool {
        self.full_at.saturating_sub(now) < 1_000_000_000
    }

    fn take(&mut self, now: u64, per_second: u32) {
        let interval = 1_000_000_000_u64.checked_div(u64::from(per_second));
        let interval = interval.unwrap_or(1_000_000_000);
        self.full_at = self.full_at.max(now).saturating_add(interval);
    }
}

/// The buckets for RST.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    all: Bucket,
    /// Made with the first answer.
    by_source: Vec<Bucket>,
}

impl Rate {
    /// True when `source` may be answered now, which is then counted.
    pub(crate) fn allow(&mut self, now: Instant, spread: &Spread, source: IpAddr) -> bool {
        if self.by_source.is_empty() {
            self.by_source = vec![Bucket::default(); RATE_BUCKETS];
        }
        let now = now.as_nanos();
        let at = spread.address(source) as usize % RATE_BUCKETS;
        let Some(own) = self.by_source.get_mut(at) else {
            return false;
        };
        if !own.has(now) || !self.all.has(now) {
            return false;
        }
        own.take(now, RST_PER_SOURCE);
        self.all.take(now, RST_OVER_ALL);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::rng_from_seed;

    fn allowed(rate: &mut Rate, now: Instant, n: u32) -> u32 {
        let spread = Spread::new(&mut rng_from_seed(1));
        let mut count = 0;
        while rate.allow(now, &spread, IpAddr::from(n.to_be_bytes())) {
            count += 1;
        }
        count
    }

    // threats C8: a second's worth at once, then the rate.
    #[test]
    fn one_source_gets_its_rate_and_no_more() {
        let mut rate = Rate::default();
        assert_eq!(allowed(&mut rate, Instant::ZERO, 1), RST_PER_SOURCE);
        let half = allowed(&mut rate, Instant::from_millis(500), 1);
        assert_eq!(half, RST_PER_SOURCE / 2);
        let rested = Instant::from_millis(100_000);
        assert_eq!(allowed(&mut rate, rested, 1), RST_PER_SOURCE);
    }

    // threats C7: another source's rate is not touched by it.
    #[test]
    fn a_source_that_is_used_up_leaves_the_others_alone() {
        let mut rate = Rate::default();
        allowed(&mut rate, Instant::ZERO, 1);
        let others = (2..7).filter(|n| allowed(&mut rate, Instant::ZERO, *n) == RST_PER_SOURCE);
        assert_eq!(others.count(), 5);
    }

    // threats C8: what all sources together are given is bounded.
    #[test]
    fn all_sources_together_get_the_rate_over_all() {
        let mut rate = Rate::default();
        let all: u32 = (0..10_000)
            .map(|n| allowed(&mut rate, Instant::ZERO, n))
            .sum();
        assert_eq!(all, RST_OVER_ALL);
    }
}
