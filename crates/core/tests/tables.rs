//! Where streams live: the slab and the id map do what a hash map does, and stale keys stay stale.

#![allow(clippy::indexing_slicing, reason = "a test ends by panicking")]

use std::collections::HashMap;

use proptest::prelude::*;
use weir_core::idmap::IdMap;
use weir_core::rng::rng_from_seed;
use weir_core::slab::{Key, Slab};

#[derive(Clone, Debug)]
enum Op {
    Insert(usize),
    Remove(usize),
    RemoveStale(usize),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        // In bursts, so that chunks come and go.
        20 => (1..120usize).prop_map(Op::Insert),
        20 => any::<usize>().prop_map(Op::Remove),
        5 => any::<usize>().prop_map(Op::RemoveStale),
        1 => Just(Op::Clear),
    ]
}

struct Tables {
    slab: Slab<u64>,
    live: HashMap<Key, u64>,
    keys: Vec<Key>,
    stale: Vec<Key>,
    next: u64,
}

impl Tables {
    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Insert(count) => {
                for _ in 0..count {
                    let value = self.next;
                    self.next += 1;
                    let key = self.slab.insert(value);
                    assert_eq!(
                        self.live.insert(key, value),
                        None,
                        "a key in use was given out"
                    );
                    self.keys.push(key);
                }
            }
            // A run of removals, so that the slab empties as fast as it fills.
            Op::Remove(at) => {
                for step in 0..(at % 100).min(self.keys.len()) {
                    let key = self
                        .keys
                        .swap_remove((at / 100 + step * 31) % self.keys.len());
                    assert_eq!(self.slab.remove(key), self.live.remove(&key));
                    self.stale.push(key);
                }
            }
            Op::RemoveStale(at) if !self.stale.is_empty() => {
                let key = self.stale[at % self.stale.len()];
                assert_eq!(self.slab.remove(key), None);
                assert_eq!(self.slab.get_mut(key), None);
            }
            Op::RemoveStale(_) => {}
            Op::Clear => {
                self.slab.clear();
                self.stale.append(&mut self.keys);
                self.live.clear();
            }
        }
    }

    fn check(&mut self) {
        assert_eq!(
            (self.slab.len(), self.slab.is_empty()),
            (self.live.len(), self.live.is_empty())
        );
        for (key, value) in &self.live {
            assert_eq!(self.slab.get(*key), Some(value));
            assert_eq!(self.slab.get_at(key.index), Some(value));
            assert_eq!(self.slab.key_at(key.index), Some(*key));
            assert!(key.index() < self.slab.index_bound());
        }
        assert!(self.stale.iter().all(|key| !self.slab.contains(*key)));
        let found: Vec<(Key, u64)> = self.slab.iter().map(|(key, value)| (key, *value)).collect();
        assert!(found.windows(2).all(|two| two[0].0.index < two[1].0.index));
        assert_eq!(found.into_iter().collect::<HashMap<_, _>>(), self.live);
        assert_eq!(self.slab.iter_mut().count(), self.live.len());
        // Places are dense: no more chunks than the highest entry needs, and one to spare.
        let highest = self
            .live
            .keys()
            .map(|key| key.index() / 64 + 1)
            .max()
            .unwrap_or(0);
        assert!(self.slab.chunks() <= highest + 1);
    }
}

proptest! {
    #[test]
    fn a_slab_is_a_map_with_dense_keys(ops in prop::collection::vec(op(), 1..60)) {
        let mut tables = Tables {
            slab: Slab::new(),
            live: HashMap::new(),
            keys: Vec::new(),
            stale: Vec::new(),
            next: 0,
        };
        for op in &ops {
            tables.apply(op);
            tables.check();
        }
    }

    #[test]
    fn an_id_map_is_a_map(
        seed in any::<u64>(),
        ops in prop::collection::vec((0..3u8, 0..300u64), 1..500),
    ) {
        let mut map = IdMap::new(&mut rng_from_seed(seed));
        let mut plain = HashMap::new();
        for (step, (kind, id)) in ops.into_iter().enumerate() {
            match kind {
                0 => prop_assert_eq!(map.remove(id), plain.remove(&id)),
                _ => prop_assert_eq!(map.insert(id, step), plain.insert(id, step)),
            }
            prop_assert_eq!(map.len(), plain.len());
            prop_assert_eq!(map.get(id), plain.get(&id));
        }
        let found: HashMap<u64, usize> = map.iter().map(|(id, value)| (id, *value)).collect();
        prop_assert_eq!(found, plain);
    }
}

// A replay walks the table in the same order.
#[test]
fn one_seed_gives_one_order() {
    let order = |seed| {
        let mut map = IdMap::new(&mut rng_from_seed(seed));
        for id in 0..100u32 {
            map.insert(id, ());
        }
        map.iter().map(|(id, ())| id).collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}
