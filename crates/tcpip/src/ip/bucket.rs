//! How many ICMP errors are sent (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)).

use std::net::IpAddr;

use weir_core::rng::{self, Rng};
use weir_core::time::Instant;

use crate::ip::hash::Keyed;
use crate::limits::{
    ERROR_BUCKETS, ERRORS_BURST, ERRORS_BURST_EACH, ERRORS_PER_SECOND, ERRORS_PER_SECOND_EACH,
};

/// Tokens in thousandths, filled at a rate up to a most.
#[derive(Copy, Clone, Debug)]
struct Bucket {
    milli: u64,
    at: Instant,
}

impl Bucket {
    /// Fills up to `now` and says how many whole tokens there are.
    fn fill(&mut self, now: Instant, per_second: u64, most: u64) -> u64 {
        let passed = now.saturating_duration_since(self.at).as_micros();
        // A microsecond fills `per_second` / 1,000 thousandths.
        let gained = u64::try_from(passed)
            .unwrap_or(u64::MAX)
            .saturating_mul(per_second)
            / 1_000;
        if gained > 0 {
            self.milli = self
                .milli
                .saturating_add(gained)
                .min(most.saturating_mul(1_000));
            self.at = now;
        }
        self.milli / 1_000
    }

    fn take(&mut self) {
        self.milli = self.milli.saturating_sub(1_000);
    }
}

/// The rate of ICMP errors: one bucket for those that a keyed hash of the receiver puts there, and
/// one for all.
///
/// The bucket of all is what an attacker could read: spoof probes from many addresses and see from
/// what is left for his own whether they were answered (CVE-2020-25705). So the receiver's own bucket
/// is asked first and is by far the tighter one, and the other takes up to three tokens more than it
/// gives, at random, so that what is left tells little.
#[derive(Debug)]
pub(crate) struct ErrorRate {
    all: Bucket,
    each: Vec<Bucket>,
    place: Keyed,
}

impl ErrorRate {
    pub(crate) fn new(now: Instant, rng: &mut Rng) -> ErrorRate {
        let full = |tokens: u64| Bucket {
            milli: tokens.saturating_mul(1_000),
            at: now,
        };
        ErrorRate {
            all: full(ERRORS_BURST),
            each: vec![full(ERRORS_BURST_EACH); ERROR_BUCKETS],
            place: Keyed::new(rng),
        }
    }

    /// True when an error may be sent to `to` now.
    pub(crate) fn allows(&mut self, now: Instant, to: IpAddr, rng: &mut Rng) -> bool {
        let place = self.place.of(&prefix(to)) as usize % ERROR_BUCKETS;
        let Some(own) = self.each.get_mut(place) else {
            return false;
        };
        if own.fill(now, ERRORS_PER_SECOND_EACH, ERRORS_BURST_EACH) == 0 {
            return false;
        }
        own.take();
        let blur = rng::below(rng, 4);
        if self.all.fill(now, ERRORS_PER_SECOND, ERRORS_BURST) <= blur {
            return false;
        }
        (0..=blur).for_each(|_| self.all.take());
        true
    }
}

/// Who counts as one receiver: an IPv4 address, an IPv6 /64, which is one host's to choose from.
fn prefix(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use weir_core::rng::rng_from_seed;
    use weir_core::time::Duration;

    use super::*;

    // T149
    #[test]
    fn one_receiver_gets_its_rate_and_no_more() {
        let mut rng = rng_from_seed(1);
        let mut rate = ErrorRate::new(Instant::ZERO, &mut rng);
        let to = "2001:db8::1".parse().unwrap();
        let sent = |rate: &mut ErrorRate, rng: &mut Rng, now| {
            (0..1_000).filter(|_| rate.allows(now, to, rng)).count() as u64
        };
        assert_eq!(sent(&mut rate, &mut rng, Instant::ZERO), ERRORS_BURST_EACH);
        let second = Instant::ZERO + Duration::from_secs(1);
        let next = sent(&mut rate, &mut rng, second);
        assert_eq!(next, ERRORS_PER_SECOND_EACH.min(ERRORS_BURST_EACH));
    }

    // T149, C8: however many receivers, the stack as a whole sends no more than this.
    #[test]
    fn all_receivers_share_a_limit() {
        let mut rng = rng_from_seed(2);
        let mut rate = ErrorRate::new(Instant::ZERO, &mut rng);
        let mut sent = 0;
        for n in 0..100_000u32 {
            let to = IpAddr::from(n.to_be_bytes());
            sent += u64::from(rate.allows(Instant::ZERO, to, &mut rng));
        }
        assert!((ERRORS_BURST / 5..=ERRORS_BURST).contains(&sent), "{sent}");
    }

    // C7: what is left of the shared bucket does not count what was sent to others.
    #[test]
    fn the_shared_bucket_is_blurred() {
        let mut left = std::collections::HashSet::new();
        for seed in 0..20 {
            let mut rng = rng_from_seed(seed);
            let mut rate = ErrorRate::new(Instant::ZERO, &mut rng);
            let others = (0..20u8)
                .filter(|n| rate.allows(Instant::ZERO, IpAddr::from([10, *n, 0, 1]), &mut rng));
            let sent = others.count();
            left.insert((sent, rate.all.milli));
        }
        assert!(left.len() > 5, "{left:?}");
    }
}
