//! A range set does what a plain set of numbers does, in a few ranges.

#![allow(clippy::indexing_slicing, reason = "a test ends by panicking")]

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;
use weir_core::ranges::{Insert, RangeSet, WhenFull};

#[derive(Clone, Debug)]
enum Op {
    Insert(Range<u64>),
    Remove(Range<u64>),
    RemoveBelow(u64),
    PopFirst,
}

fn range() -> impl Strategy<Value = Range<u64>> {
    // Mostly short; empty and backwards ones too, for callers compute both ends.
    (0..200u64, 0..12u64, 0..20u8).prop_map(|(start, len, odd)| match odd {
        0 => start..start.saturating_sub(len),
        1 => start..start + len * 10,
        _ => start..start + len,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => range().prop_map(Op::Insert),
        4 => range().prop_map(Op::Remove),
        1 => (0..200u64).prop_map(Op::RemoveBelow),
        1 => Just(Op::PopFirst),
    ]
}

/// The ranges of a plain set.
fn runs(values: &BTreeSet<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some(last) if last.end == *value => last.end += 1,
            _ => runs.push(*value..*value + 1),
        }
    }
    runs
}

fn forget(values: &mut BTreeSet<u64>, range: Range<u64>) {
    for value in range {
        values.remove(&value);
    }
}

/// Does to the plain set what `op` does to the range set, and checks what the range set answered.
fn apply(op: &Op, set: &mut RangeSet, plain: &mut BTreeSet<u64>, max: usize, policy: WhenFull) {
    match op.clone() {
        Op::Insert(range) => {
            let mut wanted = plain.clone();
            wanted.extend(range.clone());
            let (before, after) = (runs(plain).len(), runs(&wanted).len());
            let answer = set.insert(range.clone());
            match &answer {
                Insert::Present => assert_eq!(*plain, wanted),
                Insert::Merged => assert!(after <= before && *plain != wanted),
                Insert::New => assert!(after == before + 1 && before < max),
                Insert::Evicted(lowest) => {
                    assert!(policy == WhenFull::EvictLowest && after == max + 1);
                    assert_eq!(runs(plain).first(), Some(lowest));
                    forget(&mut wanted, lowest.clone());
                }
                Insert::Refused => {
                    assert_eq!(after, max + 1);
                    let lowest = plain.first().is_some_and(|first| range.start < *first);
                    assert!(policy == WhenFull::Refuse || lowest);
                }
            }
            if answer.is_in() {
                *plain = wanted;
            }
        }
        Op::Remove(range) => {
            let mut wanted = plain.clone();
            forget(&mut wanted, range.clone());
            let over = runs(&wanted).len() > max;
            assert_eq!(set.remove(range), !over || policy == WhenFull::EvictLowest);
            if over && policy == WhenFull::EvictLowest {
                let lowest = runs(&wanted)[0].clone();
                forget(&mut wanted, lowest);
            }
            if !over || policy == WhenFull::EvictLowest {
                *plain = wanted;
            }
        }
        Op::RemoveBelow(bound) => {
            set.remove_below(bound);
            plain.retain(|value| *value >= bound);
        }
        Op::PopFirst => {
            let first = runs(plain).first().cloned();
            assert_eq!(set.pop_first(), first);
            forget(plain, first.unwrap_or(0..0));
        }
    }
}

fn compare(set: &RangeSet, plain: &BTreeSet<u64>, within: &Range<u64>) {
    assert_eq!(set.iter().collect::<Vec<_>>(), runs(plain));
    assert_eq!(
        (set.len(), set.is_empty()),
        (runs(plain).len(), plain.is_empty())
    );
    assert_eq!(set.count(), plain.len() as u64);
    assert_eq!(
        (set.min(), set.max()),
        (plain.first().copied(), plain.last().copied())
    );
    assert_eq!(
        (set.first(), set.last()),
        (runs(plain).first().cloned(), runs(plain).last().cloned())
    );
    for value in 0..220 {
        assert_eq!(set.contains(value), plain.contains(&value));
        let missing = (value..).find(|value| !plain.contains(value));
        assert_eq!(Some(set.first_missing(value)), missing);
    }
    assert_eq!(
        set.contains_all(within),
        within.clone().all(|value| plain.contains(&value))
    );
    let missing: BTreeSet<u64> = within
        .clone()
        .filter(|value| !plain.contains(value))
        .collect();
    assert_eq!(set.gaps(within.clone()).collect::<Vec<_>>(), runs(&missing));
    assert_eq!(
        set.first_gap(within.clone()),
        runs(&missing).first().cloned()
    );
    assert_eq!(set.last_gap(within.clone()), runs(&missing).last().cloned());
}

proptest! {
    #[test]
    fn agrees_with_a_plain_set(
        max in 1..12usize,
        evict in any::<bool>(),
        ops in prop::collection::vec((op(), range()), 1..60),
    ) {
        let policy = if evict { WhenFull::EvictLowest } else { WhenFull::Refuse };
        let mut set = RangeSet::with_policy(max, policy);
        let mut plain = BTreeSet::new();
        for (op, within) in &ops {
            apply(op, &mut set, &mut plain, max, policy);
            compare(&set, &plain, within);
            prop_assert!(set.len() <= max);
        }
    }

    // No offsets a peer can name make it panic.
    #[test]
    fn extreme_values_are_only_numbers(
        ops in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 1..50),
    ) {
        let mut set = RangeSet::with_policy(4, WhenFull::EvictLowest);
        for (start, end, insert) in ops {
            if insert {
                set.insert(start..end);
                set.insert_one(end);
            } else {
                set.remove(start..end);
            }
            let _gaps = (set.first_gap(start..end), set.last_gap(start..end));
            let _missing = set.first_missing(end);
            prop_assert!(set.len() <= 4);
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|two| two[0].end < two[1].start));
        }
    }
}
