//! Stream ids: those that this side gives out and those that the peer did.

use crate::config::Role;
use crate::error::Violation;
use crate::limits::MAX_ID_GAPS;
use std::collections::VecDeque;

/// How many ids one side has: 1, 3, .. 2^32 - 1 or 2, 4, .. 2^32 - 2. The even side has one less,
/// for 0 is the session.
const ODD_IDS: u32 = 1 << 31;
const EVEN_IDS: u32 = ODD_IDS - 1;

/// Whether ids of `role` are odd (Y11).
const fn is_odd(role: Role) -> bool {
    matches!(role, Role::Client)
}

/// The ids of this side, in order.
#[derive(Debug)]
pub(crate) struct OwnIds {
    odd: bool,
    /// How many were given out.
    used: u32,
}

impl OwnIds {
    pub(crate) fn new(role: Role) -> OwnIds {
        OwnIds {
            odd: is_odd(role),
            used: 0,
        }
    }

    /// The next id, or `None` when all were used (Y22).
    pub(crate) fn take(&mut self) -> Option<u32> {
        let all = if self.odd { ODD_IDS } else { EVEN_IDS };
        if self.used >= all {
            return None;
        }
        // n-th id: 2n + 1 or 2n + 2, below 2^32 by the check.
        let id = self
            .used
            .wrapping_shl(1)
            .wrapping_add(if self.odd { 1 } else { 2 });
        self.used = self.used.saturating_add(1);
        Some(id)
    }

    #[inline]
    pub(crate) fn are_used_up(&self) -> bool {
        self.used >= if self.odd { ODD_IDS } else { EVEN_IDS }
    }

    /// Whether `id` is one of this side's.
    #[inline]
    pub(crate) fn owns(&self, id: u32) -> bool {
        (id & 1 == 1) == self.odd
    }

    /// Continues behind the `used`-th id, to get to the end.
    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, used: u32) {
        self.used = self.used.max(used);
    }
}

/// Which ids the peer has used, so that none is taken twice and what comes late is known as such.
///
/// Peers give ids out in order, but some put concurrent SYNs on the wire slightly out of order. So
/// all below a mark count as used, and above it there are a bounded number of runs.
#[derive(Debug)]
pub(crate) struct PeerIds {
    odd: bool,
    /// The ordinals (id / 2, roughly) below this one are used.
    mark: u32,
    /// Runs `start..end` of used ordinals above the mark, in order, none touching the next.
    runs: VecDeque<(u32, u32)>,
}

impl PeerIds {
    /// The ids of the peer of `role`.
    pub(crate) fn new(role: Role) -> PeerIds {
        PeerIds {
            odd: !is_odd(role),
            mark: 0,
            runs: VecDeque::new(),
        }
    }

    /// Takes `id` for a new stream of the peer.
    ///
    /// # Errors
    /// It is of this side's parity (Y16), or was used before (Y11, Y17).
    #[inline]
    pub(crate) fn admit(&mut self, id: u32) -> Result<(), Violation> {
        if (id & 1 == 1) != self.odd {
            return Err(Violation::IdParity(id));
        }
        let ordinal = self.ordinal(id);
        if ordinal == self.mark && self.runs.is_empty() {
            self.mark = ordinal.saturating_add(1);
            return Ok(());
        }
        if self.is_used(ordinal) {
            return Err(Violation::IdUsed(id));
        }
        self.insert(ordinal);
        Ok(())
    }

    /// Whether the peer has opened a stream with `id` (one of its own).
    #[inline]
    pub(crate) fn has_used(&self, id: u32) -> bool {
        self.is_used(self.ordinal(id))
    }

    /// Odd ids 1, 3, .. and even ids 2, 4, .. both count 0, 1, ..
    #[inline]
    fn ordinal(&self, id: u32) -> u32 {
        id.saturating_sub(1) >> 1
    }

    fn is_used(&self, ordinal: u32) -> bool {
        if ordinal < self.mark {
            return true;
        }
        let behind = self.runs.partition_point(|(start, _)| *start <= ordinal);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        run.is_some_and(|(_, end)| ordinal < *end)
    }

    /// Adds an ordinal that is not used.
    fn insert(&mut self, ordinal: u32) {
        let end = ordinal.saturating_add(1);
        let at = self.runs.partition_point(|(start, _)| *start <= ordinal);
        let joins_next = self.runs.get(at).is_some_and(|(start, _)| *start == end);
        let before = at.checked_sub(1);
        let joins_before = before
            .and_then(|at| self.runs.get(at))
            .is_some_and(|(_, end)| *end == ordinal);
        match (joins_before, joins_next) {
            (true, true) => {
                let joined = self.runs.remove(at).map_or(end, |(_, end)| end);
                self.set_end(before, joined);
            }
            (true, false) => self.set_end(before, end),
            (false, true) => {
                if let Some((start, _)) = self.runs.get_mut(at) {
                    *start = ordinal;
                }
            }
            (false, false) => self.runs.insert(at, (ordinal, end)),
        }
        // The mark swallows the runs it reaches, and the lowest when there are too many: the ids in
        // the gap before it were passed over long ago.
        while let Some((start, end)) = self.runs.front().copied()
            && (start <= self.mark || self.runs.len() > MAX_ID_GAPS)
        {
            self.mark = end;
            self.runs.pop_front();
        }
    }

    fn set_end(&mut self, at: Option<usize>, end: u32) {
        if let Some(run) = at.and_then(|at| self.runs.get_mut(at)) {
            run.1 = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use weir_core::rng::{below, rng_from_seed};

    #[test]
    fn each_side_counts_in_its_parity() {
        // Y11
        let mut client = OwnIds::new(Role::Client);
        let mut server = OwnIds::new(Role::Server);
        let odd: Vec<u32> = (0..4).filter_map(|_| client.take()).collect();
        let even: Vec<u32> = (0..4).filter_map(|_| server.take()).collect();
        assert_eq!((odd, even), (vec![1, 3, 5, 7], vec![2, 4, 6, 8]));
        assert!(client.owns(9) && !client.owns(8) && server.owns(8));
    }

    #[test]
    fn ids_end_and_do_not_wrap() {
        // Y22
        let mut client = OwnIds::new(Role::Client);
        client.skip_to(ODD_IDS - 1);
        assert_eq!((client.take(), client.take()), (Some(u32::MAX), None));
        assert!(client.are_used_up());
        let mut server = OwnIds::new(Role::Server);
        server.skip_to(EVEN_IDS - 1);
        assert_eq!((server.take(), server.take()), (Some(u32::MAX - 1), None));
    }

    #[test]
    fn the_peers_ids_are_taken_once_each() {
        // Y16, Y17
        let mut ids = PeerIds::new(Role::Server);
        assert_eq!(ids.admit(1), Ok(()));
        assert_eq!(ids.admit(2), Err(Violation::IdParity(2)));
        assert_eq!(ids.admit(1), Err(Violation::IdUsed(1)));
        assert_eq!(ids.admit(7), Ok(()));
        assert_eq!(ids.admit(5), Ok(()));
        assert!(ids.has_used(5) && !ids.has_used(3) && !ids.has_used(9));
        assert_eq!(ids.admit(3), Ok(()));
        assert_eq!((ids.mark, ids.runs.len()), (4, 0));
        assert_eq!(ids.admit(u32::MAX), Ok(()));
        assert_eq!(ids.admit(u32::MAX), Err(Violation::IdUsed(u32::MAX)));
    }

    #[test]
    fn agrees_with_a_set_for_random_orders() {
        for seed in 0..50 {
            let mut rng = rng_from_seed(seed);
            let mut ids = PeerIds::new(Role::Client);
            let mut model = BTreeSet::new();
            for _ in 0..300 {
                let id = 2 + 2 * u32::try_from(below(&mut rng, 200)).unwrap();
                assert_eq!(
                    ids.admit(id).is_ok(),
                    model.insert(id),
                    "seed {seed}, id {id}"
                );
            }
            for id in (2..500).step_by(2) {
                assert_eq!(
                    ids.has_used(id),
                    model.contains(&id),
                    "seed {seed}, id {id}"
                );
            }
        }
    }

    #[test]
    fn gaps_are_bounded() {
        // threats C5: alternating ids
        let mut ids = PeerIds::new(Role::Server);
        for n in 0..100_000 {
            assert_eq!(ids.admit(3 + 4 * n), Ok(()));
            assert!(ids.runs.len() <= MAX_ID_GAPS);
        }
        assert!(ids.has_used(5), "an id passed over long ago counts as used");
    }
}
