//! An ordered set of u64 ranges with a bound on how many.
//!
//! Packet numbers received, ids used, offsets held: they come nearly in order, so that a few ranges
//! say it all; a peer that leaves gaps on purpose meets the bound.

#![deny(clippy::arithmetic_side_effects)]

use core::ops::Range;
use std::collections::VecDeque;

/// What to do with a range that would be one too many.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// Leave the set as it is and say so.
    Refuse,
    /// Forget the lowest range (RFC 9000 section 13.2.3: the smallest packet numbers go first).
    EvictLowest,
}

/// What became of an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insert {
    /// All of it was in the set (or it was empty).
    Present,
    /// It extended or joined ranges that were in the set.
    Merged,
    /// It is a range of its own.
    New,
    /// It is a range of its own, and this one was forgotten for it.
    Evicted(Range<u64>),
    /// The set is full, and it was not inserted.
    Refused,
}

impl Insert {
    /// True when all of it is in the set now.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        !matches!(self, Insert::Refused)
    }
}

/// Disjoint, ordered, never adjacent ranges. Insertion at either end is O(1), elsewhere
/// O(number of ranges), which is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet {
    ranges: VecDeque<Range<u64>>,
    max_ranges: usize,
    when_full: WhenFull,
}

impl RangeSet {
    /// An empty set of at most `max_ranges` ranges (at least one) that refuses more.
    /// Allocates nothing before the first.
    #[must_use]
    pub fn new(max_ranges: usize) -> RangeSet {
        RangeSet::with_policy(max_ranges, WhenFull::Refuse)
    }

    /// An empty set that does as told when it is full.
    #[must_use]
    pub fn with_policy(max_ranges: usize, when_full: WhenFull) -> RangeSet {
        RangeSet {
            ranges: VecDeque::new(),
            max_ranges: max_ranges.max(1),
            when_full,
        }
    }

    /// How many ranges there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True when there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Adds every value of `range`.
    #[inline]
    pub fn insert(&mut self, range: Range<u64>) -> Insert {
        if range.is_empty() {
            return Insert::Present;
        }
        // Nearly everything comes in order: at the end of the last range, or behind it.
        match self.ranges.back_mut() {
            Some(last) if last.start <= range.start && range.start <= last.end => {
                if range.end <= last.end {
                    return Insert::Present;
                }
                last.end = range.end;
                Insert::Merged
            }
            Some(last) if range.start > last.end => self.insert_at(self.ranges.len(), range),
            None => self.insert_at(0, range),
            Some(_) => self.insert_within(range),
        }
    }

    /// Adds one value.
    #[inline]
    pub fn insert_one(&mut self, value: u64) -> Insert {
        self.insert(value..value.saturating_add(1))
    }

    /// Takes every value of `range` out. False when that would split a range and the set is full: a
    /// set that refuses is left as it was then; one that evicts forgets its lowest range instead
    /// and returns true.
    pub fn remove(&mut self, range: Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        let from = self
            .ranges
            .partition_point(|known| known.end <= range.start);
        let to = self.ranges.partition_point(|known| known.start < range.end);
        if from >= to {
            return true;
        }
        let before = self.ranges.get(from).map_or(0, |first| first.start)..range.start;
        let last = self.ranges.get(to.saturating_sub(1));
        let after = range.end..last.map_or(0, |last| last.end);
        let splits = !before.is_empty() && !after.is_empty() && to.saturating_sub(from) == 1;
        let over = splits && self.ranges.len() >= self.max_ranges;
        if over && self.when_full == WhenFull::Refuse {
            return false;
        }
        self.ranges.drain(from..to);
        for rest in [after, before] {
            if !rest.is_empty() {
                self.ranges.insert(from, rest);
            }
        }
        if over {
            self.ranges.pop_front();
        }
        true
    }

    /// Takes every value below `bound` out.
    pub fn remove_below(&mut self, bound: u64) {
        while let Some(first) = self.ranges.front_mut() {
            if first.end > bound {
                first.start = first.start.max(bound);
                return;
            }
            self.ranges.pop_front();
        }
    }

    /// Takes the lowest range out.
    pub fn pop_first(&mut self) -> Option<Range<u64>> {
        self.ranges.pop_front()
    }

    /// Removes all ranges and gives the memory back.
    pub fn clear(&mut self) {
        self.ranges = VecDeque::new();
    }

    /// Whether `value` is in the set.
    #[inline]
    #[must_use]
    pub fn contains(&self, value: u64) -> bool {
        self.range_of(value).is_some()
    }

    /// Whether all of `range` is in the set. An empty range is.
    #[must_use]
    pub fn contains_all(&self, range: &Range<u64>) -> bool {
        range.is_empty()
            || self
                .range_of(range.start)
                .is_some_and(|known| range.end <= known.end)
    }

    /// The range that `value` is in.
    #[inline]
    #[must_use]
    pub fn range_of(&self, value: u64) -> Option<Range<u64>> {
        let last = self.ranges.back()?;
        if last.start <= value {
            return (value < last.end).then(|| last.clone());
        }
        let at = self.ranges.partition_point(|known| known.end <= value);
        let known = self.ranges.get(at)?;
        known.contains(&value).then(|| known.clone())
    }

    /// The lowest range.
    #[inline]
    #[must_use]
    pub fn first(&self) -> Option<Range<u64>> {
        self.ranges.front().cloned()
    }

    /// The highest range.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<Range<u64>> {
        self.ranges.back().cloned()
    }

    /// The lowest value in the set.
    #[inline]
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        self.ranges.front().map(|first| first.start)
    }

    /// The highest value in the set.
    #[inline]
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.ranges.back().map(|last| last.end.saturating_sub(1))
    }

    /// The lowest value not below `from` that is not in the set.
    #[must_use]
    pub fn first_missing(&self, from: u64) -> u64 {
        self.range_of(from).map_or(from, |known| known.end)
    }

    /// The lowest gap inside `within`.
    #[must_use]
    pub fn first_gap(&self, within: Range<u64>) -> Option<Range<u64>> {
        self.gaps(within).next()
    }

    /// The highest gap inside `within`.
    #[must_use]
    pub fn last_gap(&self, within: Range<u64>) -> Option<Range<u64>> {
        let to = self
            .ranges
            .partition_point(|known| known.start < within.end);
        let mut end = within.end;
        for known in self.ranges.range(..to).rev() {
            if known.end < end {
                let gap = known.end.max(within.start)..end;
                return (!gap.is_empty()).then_some(gap);
            }
            end = known.start;
            if end <= within.start {
                return None;
            }
        }
        let gap = within.start..end;
        (!gap.is_empty()).then_some(gap)
    }

    /// The gaps inside `within`, upwards.
    pub fn gaps(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let from = self
            .ranges
            .partition_point(|known| known.end <= within.start);
        let mut start = within.start;
        let known = self.ranges.range(from..).cloned();
        // A range behind the end closes the last gap.
        let closed = known.chain(core::iter::once(within.end..u64::MAX));
        closed.filter_map(move |known| {
            let gap = start..known.start.min(within.end);
            start = start.max(known.end);
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// Every range, upwards.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + ExactSizeIterator {
        self.ranges.iter().cloned()
    }

    /// How many values are in the set.
    #[must_use]
    pub fn count(&self) -> u64 {
        let sizes = self
            .ranges
            .iter()
            .map(|known| known.end.saturating_sub(known.start));
        sizes.fold(0, u64::saturating_add)
    }

    /// A range that begins before the last one.
    fn insert_within(&mut self, range: Range<u64>) -> Insert {
        // Those that it overlaps or touches: from..to.
        let from = self.ranges.partition_point(|known| known.end < range.start);
        let to = self
            .ranges
            .partition_point(|known| known.start <= range.end);
        if from >= to {
            return self.insert_at(from, range);
        }
        let end = self
            .ranges
            .get(to.saturating_sub(1))
            .map_or(0, |last| last.end);
        let Some(first) = self.ranges.get_mut(from) else {
            return Insert::Refused;
        };
        if first.start <= range.start && range.end <= first.end {
            return Insert::Present;
        }
        first.start = first.start.min(range.start);
        first.end = end.max(range.end);
        self.ranges.drain(from.saturating_add(1)..to);
        Insert::Merged
    }

    /// A range of its own, at its place.
    fn insert_at(&mut self, at: usize, range: Range<u64>) -> Insert {
        if self.ranges.len() < self.max_ranges {
            self.ranges.insert(at, range);
            return Insert::New;
        }
        // Below all others it would be the one to forget.
        if self.when_full == WhenFull::Refuse || at == 0 {
            return Insert::Refused;
        }
        let evicted = self.ranges.pop_front();
        self.ranges.insert(at.saturating_sub(1), range);
        evicted.map_or(Insert::New, Insert::Evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[Range<u64>]) -> RangeSet {
        let mut set = RangeSet::new(16);
        for range in ranges {
            assert!(set.insert(range.clone()).is_in());
        }
        set
    }

    fn list(set: &RangeSet) -> Vec<Range<u64>> {
        set.iter().collect()
    }

    #[test]
    fn ranges_join_when_they_touch() {
        let mut set = set(&[10..20, 30..40, 50..60]);
        assert_eq!(set.insert(20..30), Insert::Merged);
        assert_eq!(list(&set), [10..40, 50..60]);
        assert_eq!(set.insert(15..40), Insert::Present);
        assert_eq!(set.insert(0..100), Insert::Merged);
        assert_eq!((set.len(), set.first()), (1, Some(0..100)));
        assert_eq!(set.insert(7..7), Insert::Present);
    }

    #[test]
    fn removal_splits() {
        let mut set = RangeSet::new(4);
        set.insert(0..100);
        assert!(set.remove(10..20) && set.remove(0..5) && set.remove(90..200));
        assert_eq!(list(&set), [5..10, 20..90]);
        set.remove_below(30);
        assert_eq!((set.len(), set.first(), set.count()), (1, Some(30..90), 60));
    }

    #[test]
    fn gaps_are_what_is_missing() {
        let set = set(&[10..20, 30..40]);
        let gaps: Vec<_> = set.gaps(5..50).collect();
        assert_eq!(gaps, [5..10, 20..30, 40..50]);
        assert_eq!(set.gaps(12..18).count(), 0);
        assert_eq!(set.first_gap(12..35), Some(20..30));
        assert_eq!(set.last_gap(12..35), Some(20..30));
        assert_eq!((set.first_missing(10), set.first_missing(25)), (20, 25));
        assert_eq!((set.min(), set.max()), (Some(10), Some(39)));
    }

    // threats C5: a peer that leaves every second number out.
    #[test]
    fn the_bound_holds_by_refusing_or_forgetting() {
        let mut refusing = RangeSet::new(4);
        let mut evicting = RangeSet::with_policy(4, WhenFull::EvictLowest);
        for n in 0..100 {
            refusing.insert_one(n * 2);
            evicting.insert_one(n * 2);
        }
        assert_eq!(list(&refusing), [0..1, 2..3, 4..5, 6..7]);
        assert_eq!(list(&evicting), [192..193, 194..195, 196..197, 198..199]);
        assert_eq!(refusing.insert_one(50), Insert::Refused);
        assert_eq!(refusing.insert_one(1), Insert::Merged);
        assert_eq!(evicting.insert_one(50), Insert::Refused);
        assert_eq!(evicting.insert_one(300), Insert::Evicted(192..193));
        assert_eq!(evicting.len(), 4);
        let mut full = RangeSet::new(1);
        full.insert(0..10);
        assert!(!full.remove(4..5));
        assert_eq!(full.first(), Some(0..10));
        let mut full = RangeSet::with_policy(1, WhenFull::EvictLowest);
        full.insert(0..10);
        assert!(full.remove(4..5));
        assert_eq!((full.len(), full.first()), (1, Some(5..10)));
    }
}
