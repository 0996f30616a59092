//! The rule of the budget: nobody, in no order of events, makes a program hold more than it said.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends by panicking"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use weir_core::budget::{Budget, Share, fair_room};

#[derive(Clone, Debug)]
enum Op {
    Reserve { node: usize, bytes: u64 },
    Release { reservation: usize },
    Limit { node: usize, limit: u64 },
    Trim { node: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (any::<usize>(), 0..400u64).prop_map(|(node, bytes)| Op::Reserve { node, bytes }),
        4 => any::<usize>().prop_map(|reservation| Op::Release { reservation }),
        1 => (any::<usize>(), 0..2000u64).prop_map(|(node, limit)| Op::Limit { node, limit }),
        1 => any::<usize>().prop_map(|node| Op::Trim { node }),
    ]
}

/// A node to make: whose child it is (of those made before), its limit and its block.
fn tree(blocks: bool) -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    let block = if blocks { 0..200u64 } else { 0..1 };
    prop::collection::vec((any::<usize>(), 0..2000u64, block), 1..8)
}

struct Model {
    budgets: Vec<Budget>,
    parents: Vec<Option<usize>>,
    limits: Vec<u64>,
    /// What was reserved and not released, with the node it was reserved at.
    reservations: Vec<(usize, u64)>,
}

impl Model {
    fn new(tree: &[(usize, u64, u64)]) -> Model {
        let mut model = Model {
            budgets: vec![Budget::root("root", tree[0].1)],
            parents: vec![None],
            limits: vec![tree[0].1],
            reservations: Vec::new(),
        };
        for (parent, limit, block) in &tree[1..] {
            let parent = parent % model.budgets.len();
            let child = match block {
                0 => model.budgets[parent].child("child", *limit),
                block => model.budgets[parent].child_in_blocks("child", *limit, *block),
            };
            model.budgets.push(child);
            model.parents.push(Some(parent));
            model.limits.push(*limit);
        }
        model
    }

    fn path(&self, node: usize) -> Vec<usize> {
        std::iter::successors(Some(node), |node| self.parents[*node]).collect()
    }

    /// What is reserved at a node and below, by our own books.
    fn held(&self, node: usize) -> u64 {
        let below = self.reservations.iter();
        let below = below.filter(|(at, _)| self.path(*at).contains(&node));
        below.map(|(_, bytes)| bytes).sum()
    }

    fn apply(&mut self, op: &Op, check: impl Fn(&Model, usize, u64, bool)) {
        match *op {
            Op::Reserve { node, bytes } => {
                let node = node % self.budgets.len();
                let granted = self.budgets[node].try_reserve(bytes).is_ok();
                check(self, node, bytes, granted);
                if granted {
                    self.reservations.push((node, bytes));
                }
            }
            Op::Release { reservation } if !self.reservations.is_empty() => {
                let at = reservation % self.reservations.len();
                let (node, bytes) = self.reservations.swap_remove(at);
                self.budgets[node].release(bytes);
            }
            Op::Release { .. } => {}
            Op::Limit { node, limit } => {
                let node = node % self.budgets.len();
                self.budgets[node].set_limit(limit);
                self.limits[node] = limit;
            }
            Op::Trim { node } => self.budgets[node % self.budgets.len()].trim(),
        }
    }

    fn release_all(&mut self) {
        for (node, bytes) in self.reservations.drain(..) {
            self.budgets[node].release(bytes);
        }
    }
}

proptest! {
    // A reservation stands exactly when every node up to the root has room, a refusal leaves no
    // trace, and the counters are the sums.
    #[test]
    fn the_tree_counts_exactly(tree in tree(false), ops in prop::collection::vec(op(), 1..100)) {
        let mut model = Model::new(&tree);
        for op in &ops {
            model.apply(op, |model, node, bytes, granted| {
                let fits = model.path(node).iter().all(|at| {
                    bytes == 0 || model.held(*at) + bytes <= model.limits[*at]
                });
                assert_eq!(granted, fits);
            });
            for node in 0..model.budgets.len() {
                let budget = &model.budgets[node];
                prop_assert_eq!(budget.used(), model.held(node));
                prop_assert!(budget.peak() >= budget.used());
                let least = model.path(node).into_iter();
                let least = least.map(|at| model.limits[at].saturating_sub(model.held(at))).min();
                prop_assert_eq!(Some(budget.available()), least);
            }
        }
        model.release_all();
        prop_assert!(model.budgets.iter().all(|budget| budget.used() == 0));
    }

    // With blocks nodes above may see more than is in use, never less, and never more than their
    // limit; what does not fit by the books is never granted.
    #[test]
    fn blocks_never_pass_a_limit(tree in tree(true), ops in prop::collection::vec(op(), 1..100)) {
        let mut model = Model::new(&tree);
        for op in &ops {
            model.apply(op, |model, node, bytes, granted| {
                let fits = model.path(node).iter().all(|at| {
                    model.held(*at) + bytes <= model.limits[*at].max(model.held(*at))
                });
                // A limit that was lowered may stand below a block taken before; what is in use
                // then still fits in what was taken under the old limit.
                let lowered = ops.iter().any(|op| matches!(op, Op::Limit { .. }));
                assert!(fits || lowered || !granted);
            });
            for node in 0..model.budgets.len() {
                prop_assert!(model.held(node) <= model.budgets[node].used());
                prop_assert!(model.budgets[node].peak() >= model.budgets[node].used());
            }
        }
        let lowered = ops.iter().any(|op| matches!(op, Op::Limit { .. }));
        for (budget, limit) in model.budgets.iter().zip(&model.limits) {
            prop_assert!(lowered || budget.peak() <= *limit);
        }
        model.release_all();
        // Children are made after their parents: trimmed from the leaves up.
        for budget in model.budgets.iter().rev() {
            budget.trim();
            prop_assert_eq!(budget.used(), 0);
        }
    }

    // Nodes that are dropped give back what they hold, in any order.
    #[test]
    fn dropping_returns_everything(
        tree in tree(true),
        reserve in prop::collection::vec((any::<usize>(), 0..300u64), 1..30),
    ) {
        let mut model = Model::new(&tree);
        for (node, bytes) in reserve {
            model.apply(&Op::Reserve { node, bytes }, |_, _, _, _| {});
        }
        let at_root = model.reservations.iter().filter(|(node, _)| *node == 0);
        let at_root: u64 = at_root.map(|(_, bytes)| bytes).sum();
        let root = model.budgets[0].clone();
        drop(model);
        prop_assert_eq!(root.used(), at_root);
    }

    // Shares: what streams hold is what the session's node counts.
    #[test]
    fn shares_sum_up(
        limit in 0..5000u64,
        sizes in prop::collection::vec((0..8usize, 0..1500u64), 1..100),
    ) {
        let root = Budget::root("root", limit);
        let mut shares: [Share; 8] = Default::default();
        for (share, size) in sizes {
            let before = shares[share].held();
            let resized = shares[share].resize(&root, size);
            prop_assert_eq!(shares[share].held(), if resized.is_ok() { size } else { before });
            prop_assert!(resized.is_ok() || size > before);
            prop_assert_eq!(root.used(), shares.iter().map(Share::held).sum::<u64>());
            prop_assert!(root.used() <= limit);
        }
    }

    // The dynamic threshold: whoever takes all it may, in steps of any size, leaves as much free as
    // it holds itself, so with n holders at least 1/(n+1) stays free for the next.
    #[test]
    fn fair_holders_leave_room(
        limit in 100..1_000_000u64,
        turns in prop::collection::vec((0..5usize, 1..100_000u64), 1..200),
    ) {
        let root = Budget::root("root", limit);
        let mut shares: [Share; 5] = Default::default();
        for (share, step) in turns {
            let share = &mut shares[share];
            let more = fair_room(root.available(), share.held()).min(step);
            prop_assert!(share.grow_to(&root, share.held() + more).is_ok());
            prop_assert!(more == 0 || share.held() <= root.available());
        }
        // One who takes last takes at most half of what was free; five can leave no less than 1/32.
        prop_assert!(root.available() >= limit / 32);
    }
}

// The limit holds at every moment between threads, and nothing is lost.
#[test]
fn threads_never_pass_the_limit() {
    const LIMIT: u64 = 10_000;
    let root = Budget::root("root", LIMIT);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4u64)
            .map(|worker| {
                let block = if worker % 2 == 0 { 0 } else { 64 };
                let session = root.child_in_blocks("session", LIMIT / 2, block);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    let mut granted = 0u64;
                    for round in 0..50_000u64 {
                        let bytes = (round * 7919 + worker * 104_729) % 900;
                        if session.try_reserve(bytes).is_ok() {
                            held.push(bytes);
                            granted += 1;
                        }
                        assert!(session.used() <= LIMIT / 2);
                        if held.len() > 4 {
                            session.release(held.swap_remove((round % 4) as usize));
                        }
                    }
                    held.into_iter().for_each(|bytes| session.release(bytes));
                    assert_eq!(session.used(), 0);
                    granted
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(root.used());
            }
            most
        });
        let granted: u64 = workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum();
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() <= LIMIT);
        assert!(granted > 1000, "{granted}");
    });
    assert!(root.peak() <= LIMIT);
    assert_eq!(root.used(), 0);
}
