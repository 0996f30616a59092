//! Whose turn it is: strictly by urgency (RFC 9218 section 10), and fair inside one.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by panicking"
)]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use weir_core::sched::{Priority, Scheduler};

#[derive(Clone, Debug)]
enum Op {
    /// A stream gets something to send, in this many turns.
    Arrive {
        urgency: u8,
        incremental: bool,
        turns: u8,
    },
    /// One turn is served.
    Serve,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..10u8, any::<bool>(), 1..6u8).prop_map(|(urgency, incremental, turns)| {
            Op::Arrive { urgency, incremental, turns }
        }),
        5 => Just(Op::Serve),
    ]
}

/// A stream that is queued.
#[derive(Clone, Debug)]
struct Queued {
    priority: Priority,
    turns: u8,
    begun: bool,
    arrived: usize,
    /// Incremental ones of its urgency that were served since it was last served or queued.
    passed_by: HashSet<usize>,
}

fn same_level(a: Priority, b: Priority) -> bool {
    a.urgency.min(7) == b.urgency.min(7)
}

/// All that are queued, and for each urgency the incremental ones that were served since its
/// non-incremental ones, who share one place in the round, last had a turn.
#[derive(Default)]
struct Model {
    queued: HashMap<usize, Queued>,
    group_passed_by: HashMap<u8, HashSet<usize>>,
}

impl Model {
    fn arrive(&mut self, key: usize, priority: Priority, turns: u8) {
        let group =
            |other: &Queued| same_level(priority, other.priority) && !other.priority.incremental;
        if !self.queued.values().any(group) {
            self.group_passed_by.remove(&priority.urgency.min(7));
        }
        let queued = Queued {
            priority,
            turns,
            begun: false,
            arrived: key,
            passed_by: HashSet::new(),
        };
        self.queued.insert(key, queued);
    }

    /// Checks that it may be this one's turn, and notes whom it passed by.
    fn check_turn(&mut self, served: usize) {
        let mine = self.queued[&served].clone();
        let level = mine.priority.urgency.min(7);
        let mut group_waits = false;
        for (key, other) in self.queued.iter_mut().filter(|(key, _)| **key != served) {
            assert!(level <= other.priority.urgency.min(7), "strict by urgency");
            if !same_level(mine.priority, other.priority) {
                continue;
            }
            match (mine.priority.incremental, other.priority.incremental) {
                // In order: nobody before the one that began, nor before an earlier one.
                (false, false) => assert!(!other.begun && (mine.begun || mine.arrived < *key)),
                (true, true) => assert!(other.passed_by.insert(served), "{key} starves"),
                (false, true) => assert!(other.passed_by.insert(usize::MAX), "{key} starves"),
                (true, false) => group_waits = true,
            }
        }
        let passed_by = self.group_passed_by.entry(level).or_default();
        if !mine.priority.incremental {
            passed_by.clear();
        } else if group_waits {
            assert!(passed_by.insert(served), "the non-incremental ones starve");
        }
    }
}

proptest! {
    #[test]
    fn strict_between_urgencies_and_fair_inside(ops in prop::collection::vec(op(), 1..300)) {
        let mut queue = Scheduler::new();
        let mut model = Model::default();
        let mut next = 0;
        for op in ops {
            match op {
                Op::Arrive { urgency, incremental, turns } => {
                    let priority = Priority { urgency, incremental };
                    queue.push(next, priority);
                    model.arrive(next, priority, turns);
                    next += 1;
                }
                Op::Serve => {
                    let Some((key, priority)) = queue.pop() else {
                        prop_assert!(model.queued.is_empty());
                        continue;
                    };
                    model.check_turn(key);
                    let mut stream = model.queued.remove(&key).expect("was not queued");
                    prop_assert_eq!(priority.urgency, stream.priority.urgency.min(7));
                    prop_assert_eq!(priority.incremental, stream.priority.incremental);
                    stream.turns -= 1;
                    stream.begun = true;
                    stream.passed_by.clear();
                    if stream.turns > 0 {
                        queue.requeue(key, priority);
                        model.queued.insert(key, stream);
                    }
                }
            }
            prop_assert_eq!(queue.len(), model.queued.len());
            prop_assert_eq!(queue.is_empty(), model.queued.is_empty());
            for urgency in [0, 3, 7, 255u8] {
                let ahead = model.queued.values();
                let ahead = ahead.filter(|other| other.priority.urgency.min(7) <= urgency);
                prop_assert_eq!(queue.competitors(urgency), ahead.count());
            }
        }
        // Nobody is lost.
        let rest: HashSet<usize> = std::iter::from_fn(|| queue.pop()).map(|(key, _)| key).collect();
        prop_assert_eq!(rest, model.queued.keys().copied().collect::<HashSet<_>>());
    }

    // Nobody starves in one urgency: with everybody always busy, n members get equal turns.
    #[test]
    fn busy_members_get_equal_turns(
        incremental in 1..20usize,
        in_order in 0..5usize,
        rounds in 1..20usize,
    ) {
        let mut queue = Scheduler::new();
        let ordered = Priority { urgency: 3, incremental: false };
        (0..incremental).for_each(|key| queue.push(key, Priority::default()));
        (0..in_order).for_each(|key| queue.push(1000 + key, ordered));
        let members = incremental + usize::from(in_order > 0);
        let mut turns: HashMap<usize, usize> = HashMap::new();
        for _ in 0..rounds * members {
            let (key, priority) = queue.pop().unwrap();
            *turns.entry(key.min(1000)).or_default() += 1;
            queue.requeue(key, priority);
        }
        prop_assert_eq!(turns.len(), members);
        prop_assert!(turns.values().all(|n| *n == rounds), "{:?}", turns);
    }

    // Without requeueing it is a stable sort by urgency, kinds apart.
    #[test]
    fn single_turns_come_in_order_of_arrival(streams in prop::collection::vec(0..8u8, 0..100)) {
        let mut queue = Scheduler::new();
        for (key, urgency) in streams.iter().enumerate() {
            queue.push(key, Priority::urgency(*urgency));
        }
        let mut expected: Vec<usize> = (0..streams.len()).collect();
        expected.sort_by_key(|key| streams[*key]);
        let served: Vec<usize> = std::iter::from_fn(|| queue.pop()).map(|(key, _)| key).collect();
        prop_assert_eq!(served, expected);
    }
}
