//! Random numbers: one seed, split into a stream for each part that draws.

use weir_core::rng::{Rng, between, chance, next_u64, rng_from_seed};
use weir_core::time::{Duration, nanos};

/// The generator of one part of a simulation.
///
/// `label` names the part (a link, a pipe, an application) and picks its own ChaCha stream under
/// `seed`, so that a part added to a test leaves the numbers of all others as they were.
#[must_use]
pub fn split(seed: u64, label: &str) -> Rng {
    let mut rng = rng_from_seed(seed);
    rng.set_stream(label_hash(label));
    rng
}

/// FNV-1a, 64 bits: short labels need no better spread than this.
fn label_hash(label: &str) -> u64 {
    label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A probability, ready to be drawn against without floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chance(u64);

impl Chance {
    /// `probability` lies in `0.0..=1.0`, as the configuration's check made sure.
    pub(crate) fn new(probability: f64) -> Self {
        if probability >= 1.0 {
            return Self(u64::MAX);
        }
        // The cast saturates, and takes a NaN for 0.
        Self((probability * 18_446_744_073_709_551_616.0) as u64)
    }

    /// Whether it happens this time. Draws nothing when the answer is certain, so that an
    /// impairment that is switched off does not shift the numbers of the others.
    pub(crate) fn draw(self, rng: &mut Rng) -> bool {
        match self.0 {
            0 => false,
            u64::MAX => true,
            threshold => next_u64(rng) < threshold,
        }
    }
}

/// Uniform in `0..=most`. Draws nothing when that leaves no choice.
pub(crate) fn duration_up_to(rng: &mut Rng, most: Duration) -> Duration {
    if most.is_zero() {
        return Duration::ZERO;
    }
    Duration::from_nanos(between(rng, 0, nanos(most)))
}

/// Uniform in `low..=high`.
pub(crate) fn size_between(rng: &mut Rng, low: usize, high: usize) -> usize {
    usize::try_from(between(rng, low as u64, high as u64)).unwrap_or(low)
}

/// What `draw` gives, one time in `n`; otherwise the default.
pub(crate) fn one_in<T: Default>(rng: &mut Rng, n: u64, draw: impl FnOnce(&mut Rng) -> T) -> T {
    if chance(rng, 1, n) {
        draw(rng)
    } else {
        T::default()
    }
}
