//! From a number that a peer chose to what it stands for.
//!
//! A peer picks its stream ids; were their places in a table predictable, it could pick ids that
//! all fall on one. So the hash is keyed from the engine's generator.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::rng::{self, Rng};

/// A number that a peer chooses: `u32` or `u64`.
pub trait Id: Copy + Eq + Hash {}

impl Id for u32 {}
impl Id for u64 {}

/// Below this capacity a map is not worth shrinking.
const KEEP_CAPACITY: usize = 64;

/// A map from ids to small values. Look-up, insertion and removal are O(1), for any ids a peer
/// picks.
#[derive(Debug, Clone)]
pub struct IdMap<K: Id, V> {
    map: HashMap<K, V, Seed>,
}

impl<K: Id, V> IdMap<K, V> {
    /// An empty map, keyed from `rng`. Allocates nothing before the first entry.
    #[must_use]
    pub fn new(rng: &mut Rng) -> IdMap<K, V> {
        IdMap {
            map: HashMap::with_hasher(Seed::new(rng)),
        }
    }

    /// How many ids there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True when there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The value of `id`.
    #[inline]
    #[must_use]
    pub fn get(&self, id: K) -> Option<&V> {
        self.map.get(&id)
    }

    /// The value of `id` to change.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, id: K) -> Option<&mut V> {
        self.map.get_mut(&id)
    }

    /// True when `id` has a value.
    #[inline]
    #[must_use]
    pub fn contains(&self, id: K) -> bool {
        self.map.contains_key(&id)
    }

    /// Gives `id` a value and returns the one it had.
    #[inline]
    pub fn insert(&mut self, id: K, value: V) -> Option<V> {
        self.map.insert(id, value)
    }

    /// Takes the value of `id` out. A map that was large gives memory back as it empties.
    pub fn remove(&mut self, id: K) -> Option<V> {
        let value = self.map.remove(&id)?;
        let capacity = self.map.capacity();
        // An eighth full: halving more often than the map halved would rehash for nothing.
        if capacity > KEEP_CAPACITY && self.map.len() < capacity / 8 {
            self.map.shrink_to(capacity / 4);
        }
        Some(value)
    }

    /// Every id with its value, in an order that follows from the seed.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.map.iter().map(|(id, value)| (*id, value))
    }

    /// Removes every id and gives all memory back.
    pub fn clear(&mut self) {
        self.map.clear();
        self.map.shrink_to_fit();
    }
}

/// Four random words that every hash of one map is made with.
#[derive(Clone)]
struct Seed {
    words: [u64; 4],
}

impl Seed {
    fn new(rng: &mut Rng) -> Seed {
        // A multiplier must be odd, or the lowest bits of every product are zero.
        let words = core::array::from_fn(|_| rng::next_u64(rng) | 1);
        Seed { words }
    }
}

// The seed is a secret towards the peer: it does not belong into a log.
impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl BuildHasher for Seed {
    type Hasher = IdHasher;

    #[inline]
    fn build_hasher(&self) -> IdHasher {
        IdHasher {
            words: self.words,
            hash: 0,
        }
    }
}

struct IdHasher {
    words: [u64; 4],
    hash: u64,
}

impl Hasher for IdHasher {
    #[inline]
    fn write_u64(&mut self, id: u64) {
        let [add, multiply, add_again, multiply_again] = self.words;
        // Two rounds: after one, ids that differ only in high bits can still agree in many low
        // ones.
        let once = folded(id ^ add, multiply);
        self.hash = folded(once ^ add_again, multiply_again);
    }

    #[inline]
    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.hash ^ u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

/// The two halves of a 128-bit product, folded: every bit of `a` reaches every bit of the result.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::rng_from_seed;

    #[test]
    fn holds_what_it_was_given() {
        let mut map = IdMap::new(&mut rng_from_seed(1));
        assert_eq!(map.insert(7u32, 'a'), None);
        assert_eq!(map.insert(7, 'b'), Some('a'));
        assert_eq!(map.get(7), Some(&'b'));
        assert_eq!(map.get(8), None);
        assert_eq!(map.remove(7), Some('b'));
        assert_eq!(map.remove(7), None);
        assert!(map.is_empty());
    }

    #[test]
    fn gives_memory_back_as_it_empties() {
        let mut map = IdMap::new(&mut rng_from_seed(2));
        for id in 0..10_000u64 {
            map.insert(id, id);
        }
        let full = map.map.capacity();
        for id in 0..9_990u64 {
            assert_eq!(map.remove(id), Some(id));
        }
        assert!(map.map.capacity() * 16 < full);
        assert!((9_990..10_000u64).all(|id| map.get(id) == Some(&id)));
    }

    // threats C5: ids with a pattern spread as evenly as random ones, for every seed.
    #[test]
    fn patterned_ids_spread_evenly() {
        let patterns: [fn(u64) -> u64; 5] =
            [|n| n, |n| n * 2 + 1, |n| n << 16, |n| n << 40, |n| !n];
        for seed in 0..20 {
            let hashes = Seed::new(&mut rng_from_seed(seed));
            for pattern in patterns {
                let mut buckets = [0u32; 256];
                for n in 0..4096 {
                    buckets[(hashes.hash_one(pattern(n)) & 0xff) as usize] += 1;
                }
                // 16 expected in each; 48 would be eight standard deviations.
                assert!(buckets.iter().all(|&n| n < 48), "seed {seed}: {buckets:?}");
            }
        }
    }

    #[test]
    fn another_seed_is_another_hash() {
        let a = Seed::new(&mut rng_from_seed(1));
        let b = Seed::new(&mut rng_from_seed(2));
        assert_ne!(a.hash_one(1u64), b.hash_one(1u64));
    }
}
