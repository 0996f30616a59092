//! Which tokens were used, in memory of a fixed size.

use super::CLOCK_SKEW;
use crate::limits::{TOKEN_FILTER_BITS, TOKEN_FILTER_USES};

/// Positions that a token sets, of 32 of its bits each.
const POSITIONS: u32 = 4;

/// Two Bloom filters, a younger and an older one. A token that was used is always known as such; a
/// token that was not is taken for used one time in 400 when the filters are full, which costs its
/// holder a round trip.
///
/// When the younger one is full or old, it becomes the older one, and the older one is forgotten.
/// A forgotten use was that of a token issued before the older one that remains was begun, so such
/// tokens are refused from then on: fresh ones are always good for one use, however many there are.
pub(super) struct Filter {
    younger: Generation,
    older: Generation,
}

struct Generation {
    /// When it was begun, in seconds.
    begun: u64,
    uses: u32,
    /// Empty until the first use.
    bits: Vec<u64>,
}

impl Filter {
    pub(super) fn new() -> Filter {
        Filter {
            younger: Generation::begun(0),
            older: Generation::begun(0),
        }
    }

    /// True when the token whose tag is `tag` is used for the first time; it is not the next time.
    /// `issued` and `now` in seconds since the epoch, `lifetime` in seconds.
    pub(super) fn first_use(&mut self, tag: u128, issued: u64, now: u64, lifetime: u64) -> bool {
        let old = now.saturating_sub(self.younger.begun) > lifetime;
        if self.younger.uses >= TOKEN_FILTER_USES || (old && self.younger.uses > 0) {
            let younger = Generation::begun(now);
            self.older = std::mem::replace(&mut self.younger, younger);
        }
        // Clocks count in seconds, and an issuer's may be ahead: both err to the safe side.
        let forgotten = self.older.begun > 0 && issued <= self.older.begun + CLOCK_SKEW;
        if forgotten || self.older.has(tag) || self.younger.has(tag) {
            return false;
        }
        self.younger.insert(tag);
        true
    }
}

impl Generation {
    const fn begun(begun: u64) -> Generation {
        Generation {
            begun,
            uses: 0,
            bits: Vec::new(),
        }
    }

    fn has(&self, tag: u128) -> bool {
        positions(tag).all(|(word, mask)| self.bits.get(word).is_some_and(|bits| bits & mask != 0))
    }

    fn insert(&mut self, tag: u128) {
        if self.bits.is_empty() {
            self.bits = vec![0; TOKEN_FILTER_BITS / 64];
        }
        for (word, mask) in positions(tag) {
            if let Some(bits) = self.bits.get_mut(word) {
                *bits |= mask;
            }
        }
        self.uses = self.uses.saturating_add(1);
    }
}

/// Word and bit of each position. Tags are the cipher's output, so they need no hashing, and
/// nobody can choose them.
fn positions(tag: u128) -> impl Iterator<Item = (usize, u64)> {
    (0..POSITIONS).map(move |position| {
        let bit = (tag >> (32 * position)) as u32 as usize % TOKEN_FILTER_BITS;
        (bit / 64, 1 << (bit % 64))
    })
}
