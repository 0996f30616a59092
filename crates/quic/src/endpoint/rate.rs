//! How often strangers are answered: token buckets, by source and over all.
//!
//! Each answer is shorter than what it answers or at most three times as long, so this is about
//! loops and work, not about amplification. A source has a bucket of its own, found by a keyed hash in
//! a table of fixed size: nobody can tell which other source shares it, so that a full bucket tells
//! nobody about anybody else's traffic. The bucket over all is far above what one source is given.

use std::hash::BuildHasher;

use weir_core::time::Instant;

use super::hash::Keyed;
use super::source::Source;
use crate::limits::{RATE_BUCKETS, RateLimit};

/// Answers that need no connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Version Negotiation.
    VersionNegotiation,
    /// Retry.
    Retry,
    /// CONNECTION_CLOSE in an Initial packet.
    Close,
    /// Stateless reset.
    Reset,
}

impl Answer {
    const fn limit(self) -> RateLimit {
        match self {
            Answer::VersionNegotiation => crate::limits::RATE_VERSION_NEGOTIATION,
            Answer::Retry => crate::limits::RATE_RETRY,
            Answer::Close => crate::limits::RATE_CLOSE,
            Answer::Reset => crate::limits::RATE_RESET,
        }
    }
}

/// A token bucket as the time at which it will be full again, in nanoseconds: what it has left
/// follows from now.
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
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        self.full_at = self.full_at.max(now).saturating_add(interval);
    }
}

/// The buckets of one kind of answer.
#[derive(Default)]
struct Buckets {
    all: Bucket,
    /// Made with the first answer: a client never gives any.
    by_source: Vec<Bucket>,
}

/// All buckets.
pub(super) struct Limiter {
    keyed: Keyed,
    kinds: [Buckets; 4],
}

impl Limiter {
    pub(super) fn new(keyed: &Keyed) -> Limiter {
        Limiter {
            keyed: keyed.clone(),
            kinds: Default::default(),
        }
    }

    /// True when `source` may be given such an answer now, which is then counted.
    pub(super) fn allow(&mut self, now: Instant, answer: Answer, source: Source) -> bool {
        let limit = answer.limit();
        let now = now.as_nanos();
        let Some(buckets) = self.kinds.get_mut(answer as usize) else {
            return false;
        };
        if buckets.by_source.is_empty() {
            buckets.by_source = vec![Bucket::default(); RATE_BUCKETS];
        }
        let at = self.keyed.hash_one(source) as usize % RATE_BUCKETS;
        let Some(own) = buckets.by_source.get_mut(at) else {
            return false;
        };
        if !own.has(now) || !buckets.all.has(now) {
            return false;
        }
        own.take(now, limit.per_source);
        buckets.all.take(now, limit.over_all);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::rng_from_seed;

    fn source(n: u32) -> Source {
        Source::V4(n.to_be_bytes())
    }

    fn allowed(limiter: &mut Limiter, now: Instant, n: u32) -> u32 {
        let mut count = 0;
        while limiter.allow(now, Answer::Reset, source(n)) {
            count += 1;
        }
        count
    }

    // Q17, Q123: a second's worth at once, then the rate.
    #[test]
    fn one_source_gets_its_rate_and_no_more() {
        let limit = crate::limits::RATE_RESET.per_source;
        let mut limiter = Limiter::new(&Keyed::new(&mut rng_from_seed(1)));
        assert_eq!(allowed(&mut limiter, Instant::ZERO, 1), limit);
        let half = allowed(&mut limiter, Instant::from_millis(500), 1);
        assert_eq!(half, limit / 2);
        assert_eq!(
            allowed(&mut limiter, Instant::from_millis(100_000), 1),
            limit
        );
    }

    // C7: another source's rate is not touched by it.
    #[test]
    fn a_source_that_is_used_up_leaves_the_others_alone() {
        let limit = crate::limits::RATE_RESET.per_source;
        let mut limiter = Limiter::new(&Keyed::new(&mut rng_from_seed(1)));
        allowed(&mut limiter, Instant::ZERO, 1);
        let others = (2..7).filter(|n| allowed(&mut limiter, Instant::ZERO, *n) == limit);
        assert_eq!(others.count(), 5);
    }

    // C8: what all sources together are given is bounded.
    #[test]
    fn all_sources_together_get_the_rate_over_all() {
        let limit = crate::limits::RATE_RESET.over_all;
        let mut limiter = Limiter::new(&Keyed::new(&mut rng_from_seed(1)));
        let all: u32 = (0..10_000)
            .map(|n| allowed(&mut limiter, Instant::ZERO, n))
            .sum();
        assert_eq!(all, limit);
    }

    // C7: the kinds of answer do not use each other up.
    #[test]
    fn kinds_are_counted_apart() {
        let mut limiter = Limiter::new(&Keyed::new(&mut rng_from_seed(1)));
        allowed(&mut limiter, Instant::ZERO, 1);
        for answer in [Answer::VersionNegotiation, Answer::Retry, Answer::Close] {
            assert!(limiter.allow(Instant::ZERO, answer, source(1)));
        }
    }
}
