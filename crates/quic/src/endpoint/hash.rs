//! Hashing of what strangers choose: connection IDs, addresses.
//!
//! Were places in a table predictable, a flood of chosen IDs could fall on one. So the hash is keyed
//! from the endpoint's generator, and nothing that goes out tells of it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use weir_core::rng::{self, Rng};

/// Below this capacity a table is not worth shrinking.
const KEEP_CAPACITY: usize = 64;

/// A table whose hash is keyed. It gives memory back as it empties.
pub(super) struct Table<K, V> {
    map: HashMap<K, V, Keyed>,
}

impl<K: Eq + Hash, V> Table<K, V> {
    pub(super) fn new(keyed: &Keyed) -> Table<K, V> {
        Table {
            map: HashMap::with_hasher(keyed.clone()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.map.insert(key, value);
    }

    /// The value of `key` to change; what it has at first is made if need be.
    pub(super) fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.map.entry(key).or_default()
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.map.remove(key)?;
        let capacity = self.map.capacity();
        // An eighth full: halving more often than the map halved would rehash for nothing.
        if capacity > KEEP_CAPACITY && self.map.len() < capacity / 8 {
            self.map.shrink_to(capacity / 4);
        }
        Some(value)
    }

    /// Entries there is room for without asking for memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.map.capacity()
    }
}

/// The key of a hash: four words that nobody else knows.
#[derive(Clone)]
pub(super) struct Keyed {
    words: [u64; 4],
}

impl Keyed {
    pub(super) fn new(rng: &mut Rng) -> Keyed {
        // A multiplier has to be odd, or the lowest bits of every product are zero.
        Keyed {
            words: core::array::from_fn(|_| rng::next_u64(rng) | 1),
        }
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher {
            words: self.words,
            hash: 0,
        }
    }
}

/// Hashes eight bytes a step.
pub(super) struct KeyedHasher {
    words: [u64; 4],
    hash: u64,
}

impl Hasher for KeyedHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        let [add, multiply, ..] = self.words;
        self.hash = folded(self.hash ^ word ^ add, multiply);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.write_u64(
                rest.iter()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            );
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        let [.., add, multiply] = self.words;
        folded(self.hash ^ add, multiply)
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
    use crate::wire::ConnectionId;
    use weir_core::rng::rng_from_seed;

    // C5: what one endpoint's table looks like says nothing of another's.
    #[test]
    fn hashes_depend_on_the_key_and_on_every_byte() {
        let one = Keyed::new(&mut rng_from_seed(1));
        let other = Keyed::new(&mut rng_from_seed(2));
        let mut seen = std::collections::HashSet::new();
        for len in 0..=20 {
            for last in 0..=255u8 {
                let mut bytes = [0; 20];
                if let Some(byte) = bytes.get_mut(..len).and_then(|bytes| bytes.last_mut()) {
                    *byte = last;
                }
                let id = ConnectionId::new(bytes.get(..len).unwrap_or_default());
                let hash = one.hash_one(id);
                assert_ne!(hash, other.hash_one(id));
                seen.insert(hash);
            }
        }
        assert_eq!(seen.len(), 1 + 20 * 256);
    }

    #[test]
    fn an_emptied_table_gives_memory_back() {
        let mut table: Table<u64, u64> = Table::new(&Keyed::new(&mut rng_from_seed(3)));
        for n in 0..10_000 {
            table.insert(n, n);
        }
        assert!(table.capacity() >= 10_000);
        for n in 0..10_000 {
            assert_eq!(table.remove(&n), Some(n));
        }
        assert!(
            table.capacity() <= 2 * KEEP_CAPACITY,
            "{}",
            table.capacity()
        );
    }
}
