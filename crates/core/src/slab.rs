//! Where streams and connections live: a slab in chunks, with keys that notice reuse.
//!
//! Entries sit in chunks of 64 that never move, so growing to ten thousand streams copies none of
//! them and costs no moment of twice the memory. A [`Key`] carries a generation: a key kept past
//! its entry's removal finds nothing, even when the place was taken again.

/// Entries in one chunk: one bit each in a `u64`.
const CHUNK: usize = 64;

/// The name of one entry. Eight bytes, `Copy`.
///
/// `index` is dense (the lowest free place is taken first), so that another table can run in
/// parallel and be reached by index; `generation` tells a former entry of the place from the
/// present.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The place in the slab.
    pub index: u32,
    /// Which of the place's entries is meant.
    pub generation: u32,
}

impl Key {
    /// The place in the slab, for a table in parallel.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// A chunked slab. Insert, look-up and removal are O(1).
///
/// It holds at most 2^32 entries; owners have a cap on streams far below.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// One bit a chunk, set while the chunk has a free place.
    vacant: Vec<u64>,
    /// No word of `vacant` before this one has a bit set.
    vacant_from: usize,
    len: usize,
    /// Counts insertions over the slab's life. One counter for all places, so a chunk that was
    /// given back and allocated again cannot repeat a generation.
    generation: u32,
}

#[derive(Debug)]
struct Chunk<T> {
    /// One bit a place, set while occupied.
    occupied: u64,
    slots: Vec<Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab::new()
    }
}

impl<T> Slab<T> {
    /// An empty slab. Allocates nothing before the first entry.
    #[must_use]
    pub const fn new() -> Slab<T> {
        Slab {
            chunks: Vec::new(),
            vacant: Vec::new(),
            vacant_from: 0,
            len: 0,
            generation: 0,
        }
    }

    /// How many entries there are.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `value` into the lowest free place.
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// The same for a value that wants to know its own key.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let chunk_index = self.vacant_chunk();
        let chunk = self.chunks.get(chunk_index);
        let place = chunk.map_or(0, |chunk| chunk.occupied.trailing_ones() as usize);
        self.generation = self.generation.wrapping_add(1);
        let key = Key {
            index: (chunk_index * CHUNK + place) as u32,
            generation: self.generation,
        };
        let slot = Slot {
            generation: key.generation,
            value: Some(make(key)),
        };
        self.occupy(chunk_index, place, slot);
        key
    }

    /// The entry of `key`, or `None` when it was removed.
    #[inline]
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slot(key.index())?;
        if slot.generation != key.generation {
            return None;
        }
        slot.value.as_ref()
    }

    /// The entry of `key` to change, or `None` when it was removed.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(key.index() / CHUNK)?;
        let slot = chunk.slots.get_mut(key.index() % CHUNK)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.value.as_mut()
    }

    /// True while `key` has its entry.
    #[inline]
    #[must_use]
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Takes the entry of `key` out, or `None` when it was removed before.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let chunk_index = key.index() / CHUNK;
        let place = key.index() % CHUNK;
        let chunk = self.chunks.get_mut(chunk_index)?;
        let slot = chunk.slots.get_mut(place)?;
        if slot.generation != key.generation {
            return None;
        }
        // Moved once, from its place to the caller's.
        let value = slot.value.take();
        if value.is_some() {
            chunk.occupied &= !(1 << place);
            self.len -= 1;
            self.set_vacant(chunk_index, true);
            self.free_tail();
        }
        value
    }

    /// The present entry at a place, whatever its generation.
    #[inline]
    #[must_use]
    pub fn get_at(&self, index: u32) -> Option<&T> {
        self.slot(index as usize)?.value.as_ref()
    }

    /// The present entry at a place to change, whatever its generation.
    #[inline]
    #[must_use]
    pub fn get_at_mut(&mut self, index: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(index as usize / CHUNK)?;
        chunk.slots.get_mut(index as usize % CHUNK)?.value.as_mut()
    }

    /// The key of the present entry at a place.
    #[inline]
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slot(index as usize)?;
        slot.value.as_ref()?;
        Some(Key {
            index,
            generation: slot.generation,
        })
    }

    /// One more than the highest index there may be an entry at: what a parallel table must reach.
    #[must_use]
    pub fn index_bound(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Every entry with its key, by index.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.chunks
            .iter()
            .enumerate()
            .flat_map(|(chunk_index, chunk)| {
                let places = chunk.slots.iter().enumerate();
                places.filter_map(move |(place, slot)| {
                    let key = key_of(chunk_index, place, slot);
                    slot.value.as_ref().map(|value| (key, value))
                })
            })
    }

    /// Every entry with its key to change, by index.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        let chunks = self.chunks.iter_mut().enumerate();
        chunks.flat_map(|(chunk_index, chunk)| {
            let places = chunk.slots.iter_mut().enumerate();
            places.filter_map(move |(place, slot)| {
                let key = key_of(chunk_index, place, slot);
                slot.value.as_mut().map(|value| (key, value))
            })
        })
    }

    /// Every key, by index.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.iter().map(|(key, _)| key)
    }

    /// Removes every entry and gives all memory back. Former keys stay stale.
    pub fn clear(&mut self) {
        self.chunks = Vec::new();
        self.vacant = Vec::new();
        self.vacant_from = 0;
        self.len = 0;
    }

    /// Chunks allocated now.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    #[inline]
    fn slot(&self, index: usize) -> Option<&Slot<T>> {
        self.chunks.get(index / CHUNK)?.slots.get(index % CHUNK)
    }

    /// Fills a free place.
    #[inline]
    fn occupy(&mut self, chunk_index: usize, place: usize, slot: Slot<T>) {
        let Some(chunk) = self.chunks.get_mut(chunk_index) else {
            return;
        };
        match chunk.slots.get_mut(place) {
            Some(free) => *free = slot,
            // Places fill from the lowest, so a place never used is the next one.
            None => chunk.slots.push(slot),
        }
        chunk.occupied |= 1 << place;
        self.len += 1;
        if chunk.occupied == u64::MAX {
            self.set_vacant(chunk_index, false);
        }
    }

    /// The lowest chunk with a free place, made when there is none.
    fn vacant_chunk(&mut self) -> usize {
        for (at, word) in self.vacant.iter().enumerate().skip(self.vacant_from) {
            if *word != 0 {
                self.vacant_from = at;
                return at * 64 + word.trailing_zeros() as usize;
            }
        }
        // The first chunk grows as it fills, for most sessions have a few streams; later ones are
        // made whole, for then they do not move.
        let slots = match self.chunks.len() {
            0 => Vec::new(),
            _ => Vec::with_capacity(CHUNK),
        };
        self.chunks.push(Chunk { occupied: 0, slots });
        let chunk_index = self.chunks.len() - 1;
        self.set_vacant(chunk_index, true);
        self.vacant_from = chunk_index / 64;
        chunk_index
    }

    fn set_vacant(&mut self, chunk_index: usize, vacant: bool) {
        let (at, bit) = (chunk_index / 64, 1u64 << (chunk_index % 64));
        if at == self.vacant.len() {
            self.vacant.push(0);
        }
        let Some(word) = self.vacant.get_mut(at) else {
            return;
        };
        if vacant {
            *word |= bit;
            self.vacant_from = self.vacant_from.min(at);
        } else {
            *word &= !bit;
        }
    }

    /// Gives empty chunks at the end back, all but one: a stream that comes and goes at a chunk's
    /// edge must not allocate each time.
    fn free_tail(&mut self) {
        while let [.., before, last] = self.chunks.as_slice()
            && before.occupied == 0
            && last.occupied == 0
        {
            self.chunks.pop();
            self.set_vacant(self.chunks.len(), false);
        }
        self.vacant.truncate(self.chunks.len().div_ceil(64));
    }
}

fn key_of<T>(chunk_index: usize, place: usize, slot: &Slot<T>) -> Key {
    Key {
        index: (chunk_index * CHUNK + place) as u32,
        generation: slot.generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.key_at(second.index), Some(second));
    }

    #[test]
    fn empty_chunks_at_the_end_are_given_back_but_one() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..1000).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.chunks(), 16);
        for key in keys.iter().skip(1) {
            slab.remove(*key);
        }
        assert_eq!((slab.len(), slab.chunks()), (1, 2));
        slab.remove(keys[0]);
        assert_eq!((slab.len(), slab.chunks()), (0, 1));
    }

    // A chunk that was freed and made again starts with new generations.
    #[test]
    fn a_key_stays_stale_when_its_chunk_comes_back() {
        let mut slab = Slab::new();
        let old: Vec<Key> = (0..256).map(|n| slab.insert(n)).collect();
        for key in &old {
            slab.remove(*key);
        }
        let new: Vec<Key> = (0..256).map(|n| slab.insert(n)).collect();
        assert!(old.iter().all(|key| !slab.contains(*key)));
        assert!(new.iter().all(|key| slab.contains(*key)));
    }

    #[test]
    fn the_lowest_place_is_taken_first() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..300).map(|n| slab.insert(n)).collect();
        slab.remove(keys[200]);
        slab.remove(keys[7]);
        assert_eq!(slab.insert(0).index, 7);
        assert_eq!(slab.insert(0).index, 200);
        assert_eq!(slab.insert(0).index, 300);
    }

    #[test]
    fn a_value_can_know_its_key() {
        let mut slab = Slab::new();
        let key = slab.insert_with(|key| key);
        assert_eq!(slab.get(key), Some(&key));
        assert_eq!(size_of::<Key>(), 8);
    }
}
