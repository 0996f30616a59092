//! Hashes that nobody outside can predict.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

use weir_core::rng::{self, Rng};

/// A keyed hash: SipHash whose state has already taken in 128 secret bits, so that no peer can choose
/// addresses that fall on one place, or tell which share a counter.
#[derive(Clone, Debug)]
pub(crate) struct Keyed(DefaultHasher);

impl Keyed {
    /// A hash with a key of its own.
    pub(crate) fn new(rng: &mut Rng) -> Keyed {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(rng::next_u64(rng));
        hasher.write_u64(rng::next_u64(rng));
        Keyed(hasher)
    }

    /// The hash of a value.
    pub(crate) fn of(&self, value: &impl Hash) -> u64 {
        self.hash_one(value)
    }
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}
