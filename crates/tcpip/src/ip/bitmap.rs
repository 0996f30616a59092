//! A set of small numbers, one bit each.

use core::ops::Range;

/// Bits from 0 on; memory for those up to the highest that was set.
#[derive(Debug, Default)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    /// True when `bit` is set.
    pub(crate) fn get(&self, bit: usize) -> bool {
        let word = self.words.get(bit / 64).copied().unwrap_or(0);
        word & (1 << (bit % 64)) != 0
    }

    /// Sets every bit of the range.
    pub(crate) fn set(&mut self, bits: Range<usize>) {
        let words = bits.end.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        for (word, mask) in parts(bits) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= mask;
            }
        }
    }

    /// True when one bit of the range at least is set.
    pub(crate) fn any(&self, bits: Range<usize>) -> bool {
        parts(bits).any(|(word, mask)| self.words.get(word).is_some_and(|word| word & mask != 0))
    }

    /// True when every bit of the range is set.
    pub(crate) fn all(&self, bits: Range<usize>) -> bool {
        parts(bits).all(|(word, mask)| {
            let word = self.words.get(word).copied().unwrap_or(0);
            word & mask == mask
        })
    }

    /// The highest bit that is set. The topmost word has one, for memory grows only by setting.
    pub(crate) fn last(&self) -> Option<usize> {
        let word = self.words.last()?;
        let above = word.leading_zeros() as usize;
        let end = self.words.len().saturating_mul(64);
        end.checked_sub(above)?.checked_sub(1)
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.words.capacity().saturating_mul(8)
    }
}

/// The words that a range of bits touches, and which of their bits.
fn parts(bits: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let (first, end) = (bits.start / 64, bits.end.div_ceil(64));
    (first..end).map(move |word| {
        let base = word.saturating_mul(64);
        let low = bits.start.saturating_sub(base).min(64) as u32;
        let high = bits.end.saturating_sub(base).min(64) as u32;
        let upto = |bits: u32| {
            1u64.checked_shl(bits)
                .map_or(u64::MAX, |bit| bit.saturating_sub(1))
        };
        (word, upto(high) & !upto(low))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_across_words() {
        let mut bits = Bitmap::default();
        assert_eq!(bits.last(), None);
        bits.set(60..130);
        assert!(bits.all(60..130) && bits.any(0..61) && bits.any(129..500));
        assert!(!bits.any(0..60) && !bits.any(130..8192) && !bits.all(59..61));
        assert!(bits.get(60) && !bits.get(59) && bits.get(129) && !bits.get(130));
        assert_eq!((bits.last(), bits.memory() >= 24), (Some(129), true));
        bits.set(64..128);
        assert_eq!(bits.last(), Some(129));
        assert!(!bits.any(200..200) && bits.all(200..200));
    }
}
