//! Seeded randomness, the only kind that an engine has.
//!
//! An engine is built with an [`Rng`]. A driver seeds it from the operating system
//! ([`rng_from_entropy`]), a simulation from a number ([`rng_from_seed`]), and the same seed gives
//! the same run.

use rand_core::{Rng as _, SeedableRng as _};

/// The generator of every engine: ChaCha with 12 rounds, unpredictable to a peer that sees some of
/// its output, and the same on every platform.
pub type Rng = rand_chacha::ChaCha12Rng;

/// A generator whose whole future follows from `seed`. For tests and simulations.
#[must_use]
pub fn rng_from_seed(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

/// A generator from 32 bytes that a driver took from the operating system.
#[must_use]
pub fn rng_from_entropy(entropy: [u8; 32]) -> Rng {
    Rng::from_seed(entropy)
}

/// A generator of its own for a part, seeded from `parent`. What the part draws later does not
/// change what others draw, so adding a draw in one place keeps the rest of a replay in step.
#[must_use]
pub fn fork(parent: &mut Rng) -> Rng {
    let mut seed = [0u8; 32];
    parent.fill_bytes(&mut seed);
    Rng::from_seed(seed)
}

/// The next 64 random bits.
#[inline]
pub fn next_u64(rng: &mut Rng) -> u64 {
    rng.next_u64()
}

/// Fills `out` with random bytes.
pub fn fill(rng: &mut Rng, out: &mut [u8]) {
    rng.fill_bytes(out);
}

/// A number in `0..n`, every one as likely to within n / 2^64. 0 when `n` is 0.
#[inline]
pub fn below(rng: &mut Rng, n: u64) -> u64 {
    // The high half of a 64 x 64 bit product maps the whole range onto 0..n without a division.
    // The bias of at most n / 2^64 is not measurable for any n that is used here.
    let product = u128::from(rng.next_u64()) * u128::from(n);
    (product >> 64) as u64
}

/// A number in `low..=high`; `low` when the range is empty.
#[inline]
pub fn between(rng: &mut Rng, low: u64, high: u64) -> u64 {
    let span = high.saturating_sub(low);
    match span.checked_add(1) {
        Some(n) => low.saturating_add(below(rng, n)),
        None => rng.next_u64(),
    }
}

/// True with a probability of `numerator` in `denominator`. False when `denominator` is 0.
#[inline]
pub fn chance(rng: &mut Rng, numerator: u64, denominator: u64) -> bool {
    below(rng, denominator) < numerator.min(denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let mut a = rng_from_seed(7);
        let mut b = rng_from_seed(7);
        let mut c = rng_from_seed(8);
        let first: Vec<u64> = (0..8).map(|_| next_u64(&mut a)).collect();
        let second: Vec<u64> = (0..8).map(|_| next_u64(&mut b)).collect();
        let third: Vec<u64> = (0..8).map(|_| next_u64(&mut c)).collect();
        assert_eq!(first, second);
        assert_ne!(first, third);
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = rng_from_seed(1);
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            counts[below(&mut rng, 10) as usize] += 1;
        }
        // 1,000 expected, standard deviation 30: five of them on either side.
        assert!(
            counts.iter().all(|&n| (850..1150).contains(&n)),
            "{counts:?}"
        );
        assert_eq!(below(&mut rng, 0), 0);
        assert_eq!(below(&mut rng, 1), 0);
    }

    #[test]
    fn between_and_chance_hold_at_their_ends() {
        let mut rng = rng_from_seed(2);
        assert_eq!(between(&mut rng, 5, 5), 5);
        assert_eq!(between(&mut rng, 9, 3), 9);
        let _any = between(&mut rng, 0, u64::MAX);
        for _ in 0..100 {
            assert!((3..=4).contains(&between(&mut rng, 3, 4)));
            assert!(chance(&mut rng, 1, 1));
            assert!(!chance(&mut rng, 0, 1));
            assert!(!chance(&mut rng, 1, 0));
        }
    }

    #[test]
    fn a_fork_does_not_follow_its_parent() {
        let mut parent = rng_from_seed(3);
        let mut child = fork(&mut parent);
        assert_ne!(next_u64(&mut parent), next_u64(&mut child));
    }
}
