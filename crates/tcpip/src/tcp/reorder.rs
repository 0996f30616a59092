//! What the peer is told of segments that came out of order: SACK and D-SACK blocks (RFC 2018, 2883).

use core::ops::Range;

use weir_core::ranges::RangeSet;

use crate::limits::{MAX_HELD_RANGES, MAX_SACK_BLOCKS};

/// What lies behind gaps, and what was reported of it last. Only while there is a gap or a duplicate
/// to report.
#[derive(Debug)]
pub(super) struct OutOfOrder {
    /// What is held, as ranges of offsets. Bounded: of what does not fit, only its own segment is
    /// reported.
    held: RangeSet,
    /// An offset in each block reported lately, the latest first (RFC 2018 section 4).
    recent: [u64; MAX_SACK_BLOCKS],
    /// A duplicate to report once (RFC 2883 section 4).
    duplicate: Option<Range<u64>>,
    /// The block around the duplicate, if it lies above the cumulative acknowledgement.
    around: Option<Range<u64>>,
}

impl Default for OutOfOrder {
    fn default() -> OutOfOrder {
        OutOfOrder {
            held: RangeSet::new(MAX_HELD_RANGES),
            recent: [u64::MAX; MAX_SACK_BLOCKS],
            duplicate: None,
            around: None,
        }
    }
}

impl OutOfOrder {
    /// `range` arrived ahead of a gap. True when part of it was there already.
    pub(super) fn insert(&mut self, range: Range<u64>) -> bool {
        let again = self.overlap(&range);
        self.held.insert(range.clone());
        let block = self.block(range.start).unwrap_or(range);
        if let Some(duplicate) = &again {
            self.duplicate = Some(duplicate.clone());
            self.around = Some(block.clone());
        }
        // The latest first, and each block once.
        let mut recent = [u64::MAX; MAX_SACK_BLOCKS];
        let others = self.recent.iter().filter(|at| !block.contains(at));
        let order = core::iter::once(&block.start).chain(others);
        for (place, at) in recent.iter_mut().zip(order) {
            *place = *at;
        }
        self.recent = recent;
        again.is_some()
    }

    /// `range` had arrived before and was acknowledged.
    pub(super) fn on_duplicate(&mut self, range: Range<u64>) {
        self.duplicate = Some(range);
        self.around = None;
    }

    /// Everything below `next` is in order now.
    pub(super) fn advance(&mut self, next: u64) {
        self.held.remove_below(next);
    }

    /// True when there is nothing to report any more.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.duplicate.is_none()
    }

    /// How many blocks the next acknowledgement has.
    pub(super) fn len(&self) -> usize {
        self.blocks().count()
    }

    /// The blocks in the order in which they are told: a duplicate, the block with the latest
    /// segment, those reported before it.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Range<u64>> {
        let first = self.recent.first().copied().unwrap_or(u64::MAX);
        let around = self.around.clone().filter(|block| !block.contains(&first));
        let skip = around.clone().unwrap_or(0..0);
        let recent = self.recent.iter().filter(move |at| !skip.contains(at));
        let recent = recent.filter_map(|at| self.block(*at));
        let duplicate = self.duplicate.clone().into_iter();
        duplicate.chain(around).chain(recent).take(MAX_SACK_BLOCKS)
    }

    /// The acknowledgement went out: a duplicate is reported once.
    pub(super) fn on_reported(&mut self) {
        self.duplicate = None;
        self.around = None;
    }

    fn block(&self, at: u64) -> Option<Range<u64>> {
        self.held.range_of(at)
    }

    /// The first part of `range` that is held already.
    fn overlap(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let start = if self.held.contains(range.start) {
            range.start
        } else {
            let gap = self.held.first_gap(range.clone())?;
            gap.end
        };
        let held = self.held.range_of(start)?;
        (start < range.end).then(|| start..held.end.min(range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(state: &OutOfOrder) -> Vec<Range<u64>> {
        state.blocks().collect()
    }

    // T97, RFC 2018 section 4: the block with the newest segment first, then the others by recency.
    #[test]
    fn the_newest_block_comes_first_and_is_whole() {
        let mut state = OutOfOrder::default();
        for start in [100, 300, 500, 700, 900] {
            assert!(!state.insert(start..start + 50));
        }
        assert_eq!(blocks(&state), [900..950, 700..750, 500..550, 300..350]);
        assert!(!state.insert(150..200));
        assert_eq!(blocks(&state), [100..200, 900..950, 700..750, 500..550]);
        state.advance(750);
        assert_eq!((blocks(&state).len(), blocks(&state)[0].start), (1, 900));
        state.advance(950);
        assert!(state.is_empty());
    }

    // T100, RFC 2883 section 4: a duplicate is reported first, once, with the block around it next.
    #[test]
    fn a_duplicate_is_reported_once_before_its_block() {
        let mut state = OutOfOrder::default();
        state.insert(100..200);
        state.insert(300..400);
        assert!(state.insert(120..150));
        assert_eq!(blocks(&state), [120..150, 100..200, 300..400]);
        state.on_reported();
        assert_eq!(blocks(&state), [100..200, 300..400]);
        assert!(state.insert(250..320));
        assert_eq!(blocks(&state), [300..320, 250..400, 100..200]);
        state.on_reported();
        state.on_duplicate(10..20);
        assert_eq!(blocks(&state), [10..20, 250..400, 100..200]);
    }

    // T53, T157: however many holes, what is kept of them is bounded.
    #[test]
    fn many_holes_are_bounded() {
        let mut state = OutOfOrder::default();
        for hole in 0..10 * MAX_HELD_RANGES as u64 {
            state.insert(hole * 2 + 1..hole * 2 + 2);
        }
        assert!(state.held.len() <= MAX_HELD_RANGES);
    }
}
