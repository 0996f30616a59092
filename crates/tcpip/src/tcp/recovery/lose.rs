//! What becomes of a flight when parts of it are lost, or were not after all.

use weir_core::buf::SendBuffer;
use weir_core::time::Instant;

use super::flight::Flight;
use super::tally::Losses;

/// Up to which transmission losses can be told, and since when (RFC 8985 section 6.2).
#[derive(Copy, Clone, Debug)]
pub(super) struct Horizon {
    /// The newest transmission known to be delivered: when, ...
    pub(super) sent_at: Instant,
    /// ... and where it ended.
    pub(super) end: u64,
    /// What was sent up to then is late.
    pub(super) late_at: Instant,
}

impl Flight {
    /// Cells `mask` of the record at `index` are lost.
    fn lose(&mut self, index: usize, mask: u64, send: &mut SendBuffer, losses: &mut Losses) {
        let Some(&record) = self.records.get(index) else {
            return;
        };
        for range in record.runs(mask, self.una) {
            losses.syn |= range.start == 0;
            losses.fin |= range.end > send.end() && range.start > 0;
            send.on_lost(range);
        }
        self.change(index, [self.una; 2], |record| {
            record.lost |= mask;
            record.live &= !mask;
        });
    }

    /// Declares lost what was sent as long before the horizon's transmission as that says, once for
    /// each transmission. Returns when the next was sent that will be (RFC 8985 section 6.2 step 5).
    ///
    /// Both orders of sending are walked from where the last call stopped, so that a transmission is
    /// looked at once, and the one at which the walk stops.
    pub(super) fn detect(
        &mut self,
        horizon: &Horizon,
        send: &mut SendBuffer,
        losses: &mut Losses,
    ) -> Option<Instant> {
        let first = self.detect_original(horizon, send, losses);
        let again = self.detect_resent(horizon, send, losses);
        match (first, again) {
            (Some(first), Some(again)) => Some(first.min(again)),
            (first, again) => first.or(again),
        }
    }

    fn detect_original(
        &mut self,
        horizon: &Horizon,
        send: &mut SendBuffer,
        losses: &mut Losses,
    ) -> Option<Instant> {
        self.cursor = self.cursor.max(self.first);
        loop {
            let index = usize::try_from(self.cursor.saturating_sub(self.first)).ok()?;
            let record = *self.records.get(index)?;
            let waiting = record.original();
            let mut overtaken = waiting;
            if record.sent_at >= horizon.sent_at {
                if record.sent_at > horizon.sent_at {
                    return None;
                }
                overtaken &= record.ending_before(horizon.end);
            }
            if overtaken != 0 {
                if record.sent_at > horizon.late_at {
                    return Some(record.sent_at);
                }
                let bytes = record.bytes(overtaken, self.una);
                let rate = self.rate_of(index);
                losses.add(bytes, record.sent_at, record.end_of(overtaken), rate);
                self.lose(index, overtaken, send, losses);
            }
            if overtaken != waiting {
                return None;
            }
            self.cursor = self.cursor.saturating_add(1);
        }
    }

    fn detect_resent(
        &mut self,
        horizon: &Horizon,
        send: &mut SendBuffer,
        losses: &mut Losses,
    ) -> Option<Instant> {
        let mut at = 0usize;
        loop {
            let board = self.board.as_mut()?;
            let resent = *board.resent.get(at)?;
            if resent.sent_at > horizon.sent_at {
                break;
            }
            let index = usize::try_from(resent.record.wrapping_sub(self.first)).ok()?;
            let record = match self.records.get(index) {
                Some(record) if resent.cells != 0 => *record,
                _ => {
                    at = at.saturating_add(1);
                    continue;
                }
            };
            let mut overtaken = resent.cells;
            if resent.sent_at == horizon.sent_at {
                overtaken &= record.ending_before(horizon.end);
            }
            if overtaken == 0 {
                break;
            }
            if resent.sent_at > horizon.late_at {
                return Some(resent.sent_at);
            }
            let rate = board.rates.get(at).copied();
            if let Some(resent) = board.resent.get_mut(at) {
                resent.cells &= !overtaken;
            }
            let bytes = record.bytes(overtaken, self.una);
            losses.add(bytes, resent.sent_at, record.end_of(overtaken), rate);
            self.lose(index, overtaken, send, losses);
            at = at.saturating_add(1);
        }
        if let Some(board) = &mut self.board {
            board.pop_done();
        }
        None
    }

    /// Declares the segment at the cumulative acknowledgement lost, if it is in flight as it was
    /// sent first (`again`: in any form).
    pub(super) fn lose_head(&mut self, again: bool, send: &mut SendBuffer, losses: &mut Losses) {
        let Some(&record) = self.records.front() else {
            return;
        };
        let cell = record.cell_at(self.una);
        if again {
            // Whatever became of it: it is what all wait for.
            for range in record.runs(cell & record.lost, self.una) {
                send.on_lost(range);
            }
        }
        let mask = cell
            & (if again {
                record.in_flight()
            } else {
                record.original()
            });
        if mask == 0 {
            return;
        }
        self.lose_cells(0, mask, send, losses);
    }

    /// Declares lost cells in flight whatever their last transmission.
    fn lose_cells(&mut self, index: usize, mask: u64, send: &mut SendBuffer, losses: &mut Losses) {
        let Some(&record) = self.records.get(index) else {
            return;
        };
        let rate = self.rate_of(index);
        if let Some(board) = &mut self.board {
            board.take_back(&record, mask & record.live);
        }
        let bytes = record.bytes(mask, self.una);
        losses.add(bytes, record.sent_at, record.end_of(mask), rate);
        self.lose(index, mask, send, losses);
    }

    /// A time-out: the segment at the cumulative acknowledgement is lost, and all that was sent no
    /// later than `late_at`, first or again (RFC 8985 section 6.3).
    pub(super) fn lose_late(
        &mut self,
        late_at: Instant,
        send: &mut SendBuffer,
        losses: &mut Losses,
    ) {
        self.lose_head(true, send, losses);
        let horizon = Horizon {
            sent_at: late_at,
            end: u64::MAX,
            late_at,
        };
        self.detect(&horizon, send, losses);
    }

    /// Declares lost what is in flight in segments of more than `size` bytes.
    pub(super) fn lose_larger(&mut self, size: u16, send: &mut SendBuffer, losses: &mut Losses) {
        for index in 0..self.records.len() {
            let Some(&record) = self.records.get(index) else {
                return;
            };
            if record.size > size && record.len > u32::from(size) {
                let mask = record.in_flight() & !record.below(self.una);
                self.lose_cells(index, mask, send, losses);
            }
        }
    }

    /// The peer has dropped what it had reported (RFC 2018 section 8): the board is wiped, and what
    /// it had is lost.
    pub(super) fn renege(&mut self, send: &mut SendBuffer, losses: &mut Losses) {
        if let Some(board) = &mut self.board {
            board.runs.clear();
        }
        for index in 0..self.records.len() {
            let Some(&record) = self.records.get(index) else {
                return;
            };
            let forgotten = record.sacked & !record.below(self.una);
            if forgotten != 0 {
                self.change(index, [self.una; 2], |record| record.sacked &= !forgotten);
            }
            let mask = (forgotten | record.in_flight()) & !record.below(self.una);
            if mask != 0 {
                self.lose_cells(index, mask, send, losses);
            }
        }
        self.cursor = self.number_of(self.records.len());
    }

    /// Whether the segment at the cumulative acknowledgement was reported before: the peer has
    /// dropped it since.
    pub(super) fn shows_reneging(&self) -> bool {
        self.records
            .front()
            .is_some_and(|record| record.cell_at(self.una) & record.sacked != 0)
    }

    /// What was declared lost and not sent again is in flight after all.
    pub(super) fn unlose(&mut self, send: &mut SendBuffer) {
        if self.lost() == 0 {
            return;
        }
        for index in 0..self.records.len() {
            let Some(&record) = self.records.get(index) else {
                break;
            };
            let mask = record.lost;
            if mask != 0 {
                for range in record.runs(mask, self.una) {
                    send.on_sent(&range);
                }
                self.change(index, [self.una; 2], |record| record.lost &= !mask);
            }
        }
        self.cursor = self.first;
    }
}
