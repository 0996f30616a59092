//! Memory accounting as a tree: process, endpoint, connection, stream.
//!
//! A program that may use 50 MB says so once, at the [root](Budget::root). Every part below
//! reserves what it is about to hold from its own node, the node from the one above, and so on to
//! the root: a reservation stands only when every node on the way has room, and a refusal leaves no
//! trace. So whatever peers do in however many connections, the sum stays below the root's limit;
//! and one connection's limit keeps it from taking what the others need.
//!
//! # Concurrency
//! Nodes are shared between threads and count with atomics, without locks. At no moment, for no
//! interleaving, is more reserved at a node than its limit. A refusal may be spurious by what another
//! thread is reserving or giving back at the same moment.
//!
//! # Blocks
//! A reservation changes a counter at each node up to the root, and the root's is shared by all
//! cores. A busy session is therefore made [with a block](Budget::child_in_blocks): it takes from
//! above in blocks and serves small reservations from what it has taken, as an allocator's thread
//! cache does. Limits hold as before; the nodes above see up to two blocks more than is in use.

#![deny(clippy::arithmetic_side_effects)]

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A part of the memory that a program may use. Clones are handles to the same node.
///
/// A child gives back what it still holds when its last handle is dropped.
#[derive(Clone)]
pub struct Budget {
    node: Arc<Node>,
}

struct Node {
    name: &'static str,
    parent: Option<Budget>,
    /// How much more than needed is taken from above at a time, in bytes. 0: nothing more.
    block: u64,
    limit: AtomicU64,
    /// Taken from above. At most `limit` after every change that raises it.
    taken: AtomicU64,
    /// The part of `taken` that nobody uses now.
    spare: AtomicU64,
    /// The most that `taken` ever was.
    peak: AtomicU64,
    refusals: AtomicU64,
}

/// A reservation was refused: somebody must wait, or something must be let go.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} budget exceeded: {wanted} bytes more on top of {used} would pass {limit}")]
pub struct BudgetExceeded {
    /// The node that refused: the lowest without room.
    pub name: &'static str,
    /// Its limit in bytes.
    pub limit: u64,
    /// What was reserved at it, in bytes.
    pub used: u64,
    /// What was asked of it, in bytes.
    pub wanted: u64,
}

impl Budget {
    /// The top of a tree: no more than `limit` bytes will be reserved in all of it.
    #[must_use]
    pub fn root(name: &'static str, limit: u64) -> Budget {
        Budget::node(name, limit, 0, None)
    }

    /// The top of a tree that never refuses. For tests and for tools that need no limit.
    #[must_use]
    pub fn unlimited(name: &'static str) -> Budget {
        Budget::root(name, u64::MAX)
    }

    /// A part of this budget with a limit of its own. The limit may be larger than this one's; the
    /// lower of the two counts.
    #[must_use]
    pub fn child(&self, name: &'static str, limit: u64) -> Budget {
        Budget::node(name, limit, 0, Some(self.clone()))
    }

    /// A part that takes from above in blocks of `block` bytes and keeps at most two of them
    /// unused: for a part that reserves and releases all the time. [`trim`](Budget::trim) gives the
    /// unused back when it falls idle.
    #[must_use]
    pub fn child_in_blocks(&self, name: &'static str, limit: u64, block: u64) -> Budget {
        Budget::node(name, limit, block, Some(self.clone()))
    }

    fn node(name: &'static str, limit: u64, block: u64, parent: Option<Budget>) -> Budget {
        let node = Node {
            name,
            parent,
            block,
            limit: AtomicU64::new(limit),
            taken: AtomicU64::new(0),
            spare: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        };
        Budget {
            node: Arc::new(node),
        }
    }

    /// Reserves `bytes` here and at every node above.
    ///
    /// # Errors
    /// [`BudgetExceeded`] from the lowest node without room. Nothing is reserved then, anywhere.
    #[inline]
    pub fn try_reserve(&self, bytes: u64) -> Result<(), BudgetExceeded> {
        let node = &*self.node;
        let found = node.take_spare(bytes);
        let missing = bytes.saturating_sub(found);
        if missing == 0 {
            return Ok(());
        }
        self.reserve_above(missing, found)
    }

    /// Gives `bytes` back, here and above. More than is held here counts as all that is held here.
    #[inline]
    pub fn release(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let node = &*self.node;
        if node.block == 0 {
            node.give_back(bytes);
            return;
        }
        let keep_at_most = node.block.saturating_mul(2);
        let mut spare = node.spare.load(Relaxed);
        loop {
            let grown = spare.saturating_add(bytes).min(node.taken.load(Relaxed));
            let keep = if grown > keep_at_most {
                node.block
            } else {
                grown
            };
            match node
                .spare
                .compare_exchange_weak(spare, keep, Relaxed, Relaxed)
            {
                Ok(_) => {
                    node.give_back(grown.saturating_sub(keep));
                    return;
                }
                Err(now) => spare = now,
            }
        }
    }

    /// Gives back above what was taken in blocks and is not in use.
    pub fn trim(&self) {
        let unused = self.node.spare.swap(0, Relaxed);
        self.node.give_back(unused);
    }

    /// Bytes in use here and below.
    #[must_use]
    pub fn used(&self) -> u64 {
        let taken = self.node.taken.load(Relaxed);
        taken.saturating_sub(self.node.spare.load(Relaxed))
    }

    /// The most that was ever taken from above, in bytes. Without blocks: the most ever in use.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.node.peak.load(Relaxed)
    }

    /// How many reservations were refused for want of room at this node itself.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.node.refusals.load(Relaxed)
    }

    /// This node's own limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.node.limit.load(Relaxed)
    }

    /// What this part was called when it was made.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.node.name
    }

    /// Changes this node's own limit. What is in use already stays; below it nothing new is
    /// granted.
    pub fn set_limit(&self, limit: u64) {
        self.node.limit.store(limit, Relaxed);
    }

    /// How many bytes could be reserved now: the least that any node on the way to the root has.
    #[must_use]
    pub fn available(&self) -> u64 {
        let spare = self.node.spare.load(Relaxed);
        let here = self.node.room().saturating_add(spare);
        match &self.node.parent {
            Some(parent) => here.min(parent.available().saturating_add(spare)),
            None => here,
        }
    }

    /// True when some node on the way to the root has less than an eighth of its limit left: time
    /// to announce smaller windows, while nothing must be refused yet.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let room = self
            .node
            .room()
            .saturating_add(self.node.spare.load(Relaxed));
        room < self.limit() / 8 || self.node.parent.as_ref().is_some_and(Budget::is_short)
    }

    /// Takes `missing` bytes from above on top of `found` that were spare here.
    fn reserve_above(&self, missing: u64, found: u64) -> Result<(), BudgetExceeded> {
        let node = &*self.node;
        if node.block > 0 && node.take(missing.saturating_add(node.block)).is_ok() {
            node.spare.fetch_add(node.block, Relaxed);
            return Ok(());
        }
        node.take(missing).inspect_err(|_| {
            node.spare.fetch_add(found, Relaxed);
        })
    }
}

impl Node {
    #[inline]
    fn room(&self) -> u64 {
        self.limit
            .load(Relaxed)
            .saturating_sub(self.taken.load(Relaxed))
    }

    /// Uses up to `bytes` of what is spare and says how many.
    #[inline]
    fn take_spare(&self, bytes: u64) -> u64 {
        let mut spare = self.spare.load(Relaxed);
        loop {
            let found = spare.min(bytes);
            if found == 0 {
                return 0;
            }
            let rest = spare.saturating_sub(found);
            match self
                .spare
                .compare_exchange_weak(spare, rest, Relaxed, Relaxed)
            {
                Ok(_) => return found,
                Err(now) => spare = now,
            }
        }
    }

    /// Takes `bytes` within this node's limit, then from above; undoes the first when above
    /// refuses.
    fn take(&self, bytes: u64) -> Result<(), BudgetExceeded> {
        let limit = self.limit.load(Relaxed);
        let raised = self.taken.fetch_update(Relaxed, Relaxed, |taken| {
            taken.checked_add(bytes).filter(|sum| *sum <= limit)
        });
        let before = raised.map_err(|taken| {
            self.refusals.fetch_add(1, Relaxed);
            BudgetExceeded {
                name: self.name,
                limit,
                used: taken.saturating_sub(self.spare.load(Relaxed)),
                wanted: bytes,
            }
        })?;
        if let Some(parent) = &self.parent {
            parent.try_reserve(bytes).inspect_err(|_| {
                self.taken.fetch_sub(bytes, Relaxed);
            })?;
        }
        let taken = before.saturating_add(bytes);
        // Reading first: the peak seldom moves, and a read does not take the line from other cores.
        if taken > self.peak.load(Relaxed) {
            self.peak.fetch_max(taken, Relaxed);
        }
        Ok(())
    }

    /// Gives up to `bytes` of what was taken back above.
    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut given = 0;
        // The closure always returns a value, so this cannot fail.
        let _always = self.taken.fetch_update(Relaxed, Relaxed, |taken| {
            given = taken.min(bytes);
            Some(taken.saturating_sub(given))
        });
        debug_assert_eq!(given, bytes, "{} gave back more than it had", self.name);
        if let Some(parent) = &self.parent {
            parent.release(given);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(parent) = &self.parent {
            parent.release(*self.taken.get_mut());
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("name", &self.node.name)
            .field("used", &self.used())
            .field("limit", &self.limit())
            .field("peak", &self.peak())
            .finish_non_exhaustive()
    }
}

/// What one stream holds of its session's budget: a counter of eight bytes, without a node.
///
/// Its owner resizes it with the same budget always, and to 0 before dropping it; what a forgotten
/// share held comes back when the budget's node is dropped.
#[derive(Debug, Default)]
pub struct Share {
    held: u64,
}

impl Share {
    /// Bytes held now.
    #[inline]
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// Holds `new` bytes from now on.
    ///
    /// # Errors
    /// [`BudgetExceeded`] when there is no room for the growth; the share stays as it was. Shrinking
    /// never fails.
    #[inline]
    pub fn resize(&mut self, budget: &Budget, new: u64) -> Result<(), BudgetExceeded> {
        if new > self.held {
            budget.try_reserve(new.saturating_sub(self.held))?;
            self.held = new;
        } else {
            self.shrink_to(budget, new);
        }
        Ok(())
    }

    /// Holds at least `least` bytes from now on.
    ///
    /// # Errors
    /// As [`resize`](Share::resize).
    #[inline]
    pub fn grow_to(&mut self, budget: &Budget, least: u64) -> Result<(), BudgetExceeded> {
        if least <= self.held {
            return Ok(());
        }
        self.resize(budget, least)
    }

    /// Holds at most `most` bytes from now on.
    #[inline]
    pub fn shrink_to(&mut self, budget: &Budget, most: u64) {
        if most < self.held {
            budget.release(self.held.saturating_sub(most));
            self.held = most;
        }
    }
}

/// How much one holder of `held` bytes may hold in all, while `available` bytes are free: no more
/// than what would then remain free.
///
/// The dynamic threshold of shared-memory switches (Choudhury and Hahne, 1998, with alpha = 1).
/// A lone holder gets half, n equally greedy ones get 1/(n+1) each, and what remains is there for
/// the next: nobody can take the last byte, however it grows step by step.
#[inline]
#[must_use]
pub const fn fair_cap(available: u64, held: u64) -> u64 {
    available.saturating_add(held) / 2
}

/// How much more one holder of `held` bytes may take, while `available` bytes are free.
/// See [`fair_cap`].
#[inline]
#[must_use]
pub const fn fair_room(available: u64, held: u64) -> u64 {
    fair_cap(available, held).saturating_sub(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_above_leaves_no_trace_below() {
        let root = Budget::root("process", 100);
        let session = root.child("session", 80);
        let other = root.child("session", 80);
        other.try_reserve(70).unwrap();
        let refused = session.try_reserve(40).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "process budget exceeded: 40 bytes more on top of 70 would pass 100"
        );
        assert_eq!((session.used(), root.used()), (0, 70));
        assert_eq!((session.refusals(), root.refusals()), (0, 1));
        session.try_reserve(30).unwrap();
        assert_eq!((session.available(), root.peak()), (0, 100));
    }

    #[test]
    fn available_is_the_least_on_the_way_up() {
        let root = Budget::root("process", 100);
        let session = root.child("session", 1000);
        let stream = session.child("stream", 60);
        assert_eq!(stream.available(), 60);
        root.try_reserve(70).unwrap();
        assert_eq!(stream.available(), 30);
        assert!(!stream.is_short());
        root.try_reserve(20).unwrap();
        assert!(stream.is_short());
    }

    #[test]
    fn a_dropped_child_gives_back_what_it_held() {
        let root = Budget::root("process", 100);
        let session = root.child("session", 100);
        let stream = session.child("stream", 100);
        stream.try_reserve(10).unwrap();
        let handle = session.clone();
        drop(session);
        assert_eq!(root.used(), 10);
        drop(handle);
        assert_eq!(root.used(), 10, "the stream's node still holds its parent");
        drop(stream);
        assert_eq!(root.used(), 0);
    }

    #[test]
    fn a_lower_limit_takes_nothing_away_but_grants_nothing_new() {
        let root = Budget::root("process", 100);
        root.try_reserve(60).unwrap();
        root.set_limit(50);
        assert_eq!((root.used(), root.available()), (60, 0));
        assert!(root.try_reserve(1).is_err());
        root.release(20);
        root.try_reserve(10).unwrap();
    }

    #[test]
    fn blocks_spare_the_nodes_above() {
        let root = Budget::root("process", 1000);
        let session = root.child_in_blocks("session", 1000, 100);
        session.try_reserve(10).unwrap();
        assert_eq!((session.used(), root.used()), (10, 110));
        session.try_reserve(100).unwrap();
        session.release(110);
        assert_eq!((session.used(), root.used()), (0, 110));
        session.trim();
        assert_eq!((session.used(), root.used()), (0, 0));
        session.try_reserve(1000).unwrap();
        session.release(900);
        assert_eq!((session.used(), root.used()), (100, 200));
    }

    // The unused part of a block must never be what a reservation fails for.
    #[test]
    fn the_last_byte_can_be_reserved_through_blocks() {
        let root = Budget::root("process", 100);
        let session = root.child_in_blocks("session", 100, 64);
        for _ in 0..100 {
            session.try_reserve(1).unwrap();
        }
        assert!(session.try_reserve(1).is_err());
        assert_eq!((session.used(), session.available()), (100, 0));
    }

    #[test]
    fn a_share_grows_only_with_room_and_always_shrinks() {
        let root = Budget::root("process", 100);
        let mut share = Share::default();
        share.resize(&root, 80).unwrap();
        assert!(share.resize(&root, 101).is_err());
        assert_eq!((share.held(), root.used()), (80, 80));
        share.grow_to(&root, 10).unwrap();
        assert_eq!(share.held(), 80);
        root.set_limit(0);
        share.resize(&root, 5).unwrap();
        assert_eq!((share.held(), root.used()), (5, 5));
        share.shrink_to(&root, 0);
        assert_eq!(root.used(), 0);
    }

    #[test]
    fn fair_holders_leave_room_for_the_next() {
        let root = Budget::root("process", 1200);
        let mut shares: [Share; 3] = Default::default();
        for _ in 0..64 {
            for share in &mut shares {
                let more = fair_room(root.available(), share.held());
                share.grow_to(&root, share.held() + more.min(16)).unwrap();
            }
        }
        let held: Vec<u64> = shares.iter().map(Share::held).collect();
        assert!(
            held.iter().all(|held| (280..=320).contains(held)),
            "{held:?}"
        );
        assert!(root.available() >= 280);
    }
}
