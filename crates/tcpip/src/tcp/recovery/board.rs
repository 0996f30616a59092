//! What is sacked, lost, or sent again: made at the first sign of trouble.

use core::ops::Range;
use std::collections::VecDeque;

use weir_core::delivery::PacketRate;
use weir_core::ranges::RangeSet;
use weir_core::time::Instant;

use super::record::{NONE, Record};
use crate::limits::MAX_SACKED_RUNS;

/// What is needed only while something is sacked, lost or sent again.
#[derive(Debug)]
pub(super) struct Board {
    /// What of a cell was not sent again yet, as its beginning was, in smaller segments.
    pub(super) rest: Range<u64>,
    /// What was sent again, in the order of sending.
    pub(super) resent: VecDeque<Resent>,
    /// The number of the first of them.
    first_resent: u64,
    /// Snapshots, one for each of them, where rates are sampled.
    pub(super) rates: VecDeque<PacketRate>,
    /// What the peer reported, in runs of whole cells: a block is walked only where it is new.
    pub(super) runs: RangeSet,
    /// Bytes sacked.
    pub(super) sacked: u64,
    /// Cells sacked.
    pub(super) sacked_cells: u32,
    /// Bytes lost and not sent again.
    pub(super) lost: u64,
    /// The highest number of a record of which it says something.
    pub(super) newest: u64,
}

/// One retransmission, of cells of one record.
#[derive(Copy, Clone, Debug)]
pub(super) struct Resent {
    /// The record, by its number.
    pub(super) record: u64,
    /// Those of its cells that are in flight by this transmission.
    pub(super) cells: u64,
    pub(super) sent_at: Instant,
    /// The retransmission of the same record before, by its number; or [`NONE`].
    pub(super) before: u64,
}

impl Default for Board {
    fn default() -> Board {
        Board {
            resent: VecDeque::new(),
            first_resent: 0,
            rates: VecDeque::new(),
            runs: RangeSet::new(MAX_SACKED_RUNS),
            sacked: 0,
            sacked_cells: 0,
            lost: 0,
            newest: 0,
            rest: 0..0,
        }
    }
}

impl Board {
    /// True when nothing is on it, now that all below `una` is acknowledged and the first record in
    /// flight has the number `first`.
    pub(super) fn is_done(&self, first: u64, una: u64) -> bool {
        first > self.newest && self.resent.is_empty() && self.rest.end <= una
    }

    pub(super) fn resent_mut(&mut self, number: u64) -> Option<&mut Resent> {
        if number == NONE {
            return None;
        }
        let index = number.checked_sub(self.first_resent)?;
        self.resent.get_mut(usize::try_from(index).ok()?)
    }

    pub(super) fn rate_of(&self, number: u64) -> Option<PacketRate> {
        let index = number.checked_sub(self.first_resent)?;
        self.rates.get(usize::try_from(index).ok()?).copied()
    }

    pub(super) fn push(&mut self, resent: Resent, rate: Option<PacketRate>) -> u64 {
        let number = self.first_resent.saturating_add(self.resent.len() as u64);
        self.resent.push_back(resent);
        self.rates.extend(rate);
        number
    }

    /// The cells `mask` of `record` are in flight by these transmissions no more.
    pub(super) fn take_back(&mut self, record: &Record, mut mask: u64) {
        let mut number = record.chain;
        while mask != 0
            && let Some(resent) = self.resent_mut(number)
        {
            let hit = resent.cells & mask;
            resent.cells &= !hit;
            mask &= !hit;
            number = resent.before;
        }
    }

    pub(super) fn pop_done(&mut self) {
        while self.resent.front().is_some_and(|resent| resent.cells == 0) {
            self.resent.pop_front();
            self.rates.pop_front();
            self.first_resent = self.first_resent.saturating_add(1);
        }
    }
}
