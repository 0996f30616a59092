//! What was sent and is not acknowledged: a record for each super-segment, in the order of offsets,
//! which is also that of first sending; and, when something goes wrong, a board.

use core::ops::Range;
use std::collections::VecDeque;

use weir_core::buf::SendBuffer;
use weir_core::delivery::{PacketRate, RateSampler};
use weir_core::time::Instant;

use super::board::{Board, Resent};
use super::plain::Passed;
use super::record::{CELLS, Record};
use super::tally::Tally;

/// Records whose memory stays when the rest goes: the next connection in this one's place needs as many.
const KEEP_RECORDS: usize = 4;

/// Everything between the cumulative acknowledgement and what was sent last.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) records: VecDeque<Record>,
    /// The number of the first record, counted since the connection began.
    pub(super) first: u64,
    /// No record before this number has a cell in flight as it was sent first.
    pub(super) cursor: u64,
    /// SND.UNA as an offset.
    pub(super) una: u64,
    /// SND.NXT as an offset.
    pub(super) next: u64,
    /// Bytes neither sacked nor lost.
    pub(super) in_flight: u64,
    /// Made at the first sign of trouble.
    pub(super) board: Option<Box<Board>>,
    /// Only where the controller wants to know the delivery rate.
    pub(super) rates: Option<Box<Rates>>,
}

/// Delivery rate sampling (BBR).
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) sampler: RateSampler,
    records: VecDeque<PacketRate>,
}

impl Flight {
    pub(super) fn new(samples_rates: bool) -> Flight {
        Flight {
            records: VecDeque::new(),
            first: 0,
            cursor: 0,
            una: 0,
            next: 0,
            in_flight: 0,
            board: None,
            rates: samples_rates.then(Box::default),
        }
    }

    #[inline]
    pub(super) fn sacked(&self) -> u64 {
        self.board.as_ref().map_or(0, |board| board.sacked)
    }

    #[inline]
    pub(super) fn sacked_cells(&self) -> u32 {
        self.board.as_ref().map_or(0, |board| board.sacked_cells)
    }

    /// Bytes lost and not sent again.
    #[inline]
    pub(super) fn lost(&self) -> u64 {
        self.board.as_ref().map_or(0, |board| board.lost)
    }

    /// Whether RACK has something to look at: something was sacked, or sent again.
    #[inline]
    pub(super) fn is_troubled(&self) -> bool {
        self.board
            .as_ref()
            .is_some_and(|board| board.sacked > 0 || !board.resent.is_empty() || board.lost > 0)
    }

    /// New bytes up to `end` go out in segments of `size`.
    #[inline]
    pub(super) fn push(&mut self, now: Instant, end: u64, size: u16) {
        let most = u64::from(size.max(1)).saturating_mul(u64::from(CELLS));
        while end.saturating_sub(self.next) > most {
            self.push_record(now, most, size);
        }
        if self.next < end {
            self.push_record(now, end.saturating_sub(self.next), size);
        }
    }

    #[inline]
    fn push_record(&mut self, now: Instant, len: u64, size: u16) {
        if let Some(rates) = &mut self.rates {
            let rate = rates.sampler.on_sent(now, self.in_flight, len);
            rates.records.push_back(rate);
        }
        let record = Record::new(self.next, len as u32, size, now);
        self.records.push_back(record);
        self.in_flight = self.in_flight.saturating_add(len);
        self.next = self.next.saturating_add(len);
    }

    /// The application holds back with `in_flight` bytes under way.
    pub(super) fn set_app_limited(&mut self, in_flight: u64) {
        if let Some(rates) = &mut self.rates {
            rates.sampler.set_app_limited(in_flight);
        }
    }

    /// New bytes up to `end` go out that are taken for lost from the beginning.
    pub(super) fn push_lost(&mut self, now: Instant, end: u64, size: u16) {
        let from = self.records.len();
        self.push(now, end, size);
        for index in from..self.records.len() {
            self.change(index, [self.una; 2], |record| record.lost = record.all());
        }
    }

    /// Where the record is that has `offset`.
    #[inline]
    fn index_of(&self, offset: u64) -> usize {
        self.records
            .partition_point(|record| record.end() <= offset)
    }

    #[inline]
    pub(super) fn number_of(&self, index: usize) -> u64 {
        self.first.saturating_add(index as u64)
    }

    /// Changes a record and moves the sums with it; `una` is what counts before and after.
    pub(super) fn change(&mut self, index: usize, una: [u64; 2], with: impl FnOnce(&mut Record)) {
        let Some(record) = self.records.get_mut(index) else {
            return;
        };
        let old = record.sums(una[0]);
        with(record);
        let new = record.sums(una[1]);
        self.in_flight = moved(self.in_flight, old.in_flight, new.in_flight);
        let number = self.number_of(index);
        let board = self.board.get_or_insert_with(Box::default);
        board.newest = board.newest.max(number);
        board.sacked = moved(board.sacked, old.sacked, new.sacked);
        board.lost = moved(board.lost, old.lost, new.lost);
        let cells = board.sacked_cells.saturating_sub(old.sacked_cells);
        board.sacked_cells = cells.saturating_add(new.sacked_cells);
    }

    /// Everything below `offset` is acknowledged.
    #[inline]
    pub(super) fn acknowledge(&mut self, offset: u64, tally: &mut Tally) {
        let una = self.una;
        self.una = offset;
        while let Some(&record) = self.records.front() {
            if record.end() > offset {
                if record.start < offset {
                    self.acknowledge_front(una, offset, tally);
                }
                break;
            }
            tally.steps = tally.steps.saturating_add(1);
            self.records.pop_front();
            let rate = match &mut self.rates {
                Some(rates) => rates.records.pop_front(),
                None => None,
            };
            self.first = self.first.saturating_add(1);
            if record.is_plain() {
                let bytes = record.end().saturating_sub(una.max(record.start));
                tally.delivered = tally.delivered.saturating_add(bytes);
                tally.full_sized = tally.full_sized.max(record.len.min(record.size.into()));
                tally.original(&record, record.all());
                self.in_flight = self.in_flight.saturating_sub(bytes);
                self.sample(tally, &record, bytes, rate);
            } else {
                let mask = record.all() & !record.sacked;
                self.deliver(&record, mask, una, true, rate, tally);
                let sums = record.sums(una);
                self.in_flight = self.in_flight.saturating_sub(sums.in_flight);
                let board = self.board.get_or_insert_with(Box::default);
                board.sacked = board.sacked.saturating_sub(sums.sacked);
                board.lost = board.lost.saturating_sub(sums.lost);
                board.sacked_cells = board.sacked_cells.saturating_sub(sums.sacked_cells);
            }
        }
        if let Some(board) = &mut self.board {
            board.runs.remove_below(offset);
            board.pop_done();
            if board.is_done(self.first, offset) {
                // Everything in flight is as it was sent: see `is_plain`.
                self.board = None;
            }
        }
    }

    /// True when nothing has happened to any segment in flight (whatever does makes a board), and
    /// nobody wants to know of delivery rates.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.board.is_none() && self.rates.is_none()
    }

    /// [`acknowledge`](Flight::acknowledge) while [`is_plain`](Flight::is_plain).
    #[inline]
    pub(super) fn pass(&mut self, offset: u64) -> Passed {
        let mut passed = Passed {
            first_sent_at: Instant::MAX,
            last_sent_at: Instant::ZERO,
            first_end: 0,
            end: 0,
            size: 0,
        };
        while let Some(record) = self.records.front_mut() {
            let (size, sent_at) = (u32::from(record.size), record.sent_at);
            let size = size.min(record.len);
            let first_end = record.start.saturating_add(size.into());
            if first_end > offset {
                break;
            }
            let end = record.end();
            let is_whole = end <= offset;
            passed.end = end;
            if !is_whole {
                record.trim(record.whole_below(offset));
                passed.end = record.start;
            }
            if passed.first_sent_at == Instant::MAX {
                passed.first_sent_at = sent_at;
                passed.first_end = first_end;
            }
            passed.last_sent_at = sent_at;
            passed.size = passed.size.max(size);
            if !is_whole {
                break;
            }
            self.records.pop_front();
            self.first = self.first.saturating_add(1);
        }
        self.una = offset;
        // What was sent without recovery being told counts as sent and delivered.
        self.next = self.next.max(offset);
        self.in_flight = self.next.saturating_sub(offset);
        passed
    }

    /// The acknowledgement ends within the first record.
    fn acknowledge_front(&mut self, una: u64, offset: u64, tally: &mut Tally) {
        let Some(&record) = self.records.front() else {
            return;
        };
        let rate = self.rate_of(0);
        let done = record.below(offset);
        if record.is_plain() {
            // What most acknowledgements do: the record gets shorter, and nothing else is known of it.
            let bytes = offset.saturating_sub(una.max(record.start));
            tally.delivered = tally.delivered.saturating_add(bytes);
            self.in_flight = self.in_flight.saturating_sub(bytes);
            self.sample(tally, &record, bytes, rate);
            if done != 0 {
                tally.full_sized = tally.full_sized.max(record.size.into());
                tally.original(&record, done);
                if let Some(record) = self.records.front_mut() {
                    record.trim(done.count_ones());
                }
            }
            return;
        }
        let mask = done & !record.sacked;
        if mask != 0 {
            self.deliver(&record, mask, una, true, rate, tally);
        }
        // A cell that is there in part: no segment is done by it, but its bytes are.
        let cell = record.cell_at(offset) & !record.sacked;
        let part = record
            .bytes(cell, una)
            .saturating_sub(record.bytes(cell, offset));
        tally.delivered = tally.delivered.saturating_add(part);
        self.change(0, [una, offset], |record| record.settle(done));
    }

    pub(super) fn rate_of(&self, index: usize) -> Option<PacketRate> {
        self.rates.as_ref()?.records.get(index).copied()
    }

    #[inline]
    fn sample(&mut self, tally: &Tally, record: &Record, bytes: u64, rate: Option<PacketRate>) {
        if let (Some(rates), Some(rate)) = (&mut self.rates, rate) {
            let sampler = &mut rates.sampler;
            sampler.on_acked(tally.now(), record.sent_at, bytes, &rate);
        }
    }

    /// Tells `tally` of the cells `mask`, none of which was sacked before.
    fn deliver(
        &mut self,
        record: &Record,
        mask: u64,
        una: u64,
        is_cumulative: bool,
        rate: Option<PacketRate>,
        tally: &mut Tally,
    ) {
        let bytes = record.bytes(mask, una);
        tally.delivered = tally.delivered.saturating_add(bytes);
        let size = record.bytes(mask & mask.wrapping_neg(), 0);
        tally.full_sized = tally.full_sized.max(size as u32);
        let original = mask & !record.again;
        if original != 0 {
            tally.original(record, original);
            let late = record.bytes(original & record.lost, una);
            if late > 0 {
                tally.late = tally.late.saturating_add(late);
                tally.late_sent_at = tally.late_sent_at.max(record.sent_at);
            }
        }
        let gone = mask & record.again & !record.live;
        if gone != 0 {
            // Which of its transmissions arrived, nobody knows.
            tally.resent(Instant::MAX, record.end_of(gone), is_cumulative);
        }
        let counted = record.bytes(mask & !record.live, una);
        if counted > 0 {
            self.sample(tally, record, counted, rate);
        }
        if mask & record.live != 0 {
            self.deliver_resent(record, mask & record.live, una, is_cumulative, tally);
        }
    }

    /// Follows the retransmissions of a record, the newest first, to those of the cells `mask`.
    fn deliver_resent(
        &mut self,
        record: &Record,
        mut mask: u64,
        una: u64,
        is_cumulative: bool,
        tally: &mut Tally,
    ) {
        let Some(board) = &mut self.board else {
            return;
        };
        let mut number = record.chain;
        while mask != 0
            && let Some(resent) = board.resent_mut(number)
        {
            tally.steps = tally.steps.saturating_add(1);
            let hit = resent.cells & mask;
            resent.cells &= !hit;
            mask &= !hit;
            let (sent_at, before) = (resent.sent_at, resent.before);
            if hit != 0 {
                tally.resent(sent_at, record.end_of(hit), is_cumulative);
                if let (Some(rates), Some(rate)) = (&mut self.rates, board.rate_of(number)) {
                    let bytes = record.bytes(hit, una);
                    let sampler = &mut rates.sampler;
                    sampler.on_acked(tally.now(), sent_at, bytes, &rate);
                }
            }
            number = before;
        }
    }

    /// The peer reports `block`, which lies above the cumulative acknowledgement. What it says anew
    /// is delivered; lost bytes among it need not be sent again.
    pub(super) fn sack(&mut self, block: Range<u64>, send: &mut SendBuffer, tally: &mut Tally) {
        let mut from = block.start;
        while from < block.end {
            tally.steps = tally.steps.saturating_add(1);
            let board = self.board.get_or_insert_with(Box::default);
            let Some(gap) = board.runs.first_gap(from..block.end) else {
                return;
            };
            self.sack_gap(&gap, send, tally);
            from = gap.end;
        }
    }

    fn sack_gap(&mut self, gap: &Range<u64>, send: &mut SendBuffer, tally: &mut Tally) {
        let mut index = self.index_of(gap.start);
        while let Some(&record) = self.records.get(index) {
            if record.start >= gap.end {
                break;
            }
            tally.steps = tally.steps.saturating_add(1);
            let at = index;
            index = index.saturating_add(1);
            let mask = record.within(gap) & !record.sacked;
            let whole = record.runs(mask, self.una).next();
            let Some(whole) = whole else {
                continue;
            };
            let board = self.board.get_or_insert_with(Box::default);
            if !board.runs.insert(whole).is_in() {
                // More holes than anybody has: what lies behind them counts as not reported.
                return;
            }
            let before = tally.delivered;
            let rate = self.rate_of(at);
            self.deliver(&record, mask, self.una, false, rate, tally);
            let bytes = tally.delivered.saturating_sub(before);
            tally.sacked = tally.sacked.saturating_add(bytes);
            if mask & record.lost != 0 {
                for range in record.runs(mask & record.lost, self.una) {
                    send.on_sent(&range);
                }
            }
            self.change(at, [self.una; 2], |record| record.settle(mask));
        }
        if let Some(board) = &mut self.board {
            board.pop_done();
        }
    }

    /// Bytes that count as in flight because their cell is, but wait to be sent again: a segment size
    /// that fell cuts a cell in many, of which the congestion window lets only some go at a time.
    #[inline]
    pub(super) fn unsent_rest(&self) -> u64 {
        match &self.board {
            Some(board) if !board.rest.is_empty() => self.unsent_rest_of(board),
            _ => 0,
        }
    }

    #[cold]
    fn unsent_rest_of(&self, board: &Board) -> u64 {
        let rest = board.rest.start.max(self.una)..board.rest.end;
        if rest.is_empty() {
            return 0;
        }
        let last = rest.end.saturating_sub(1);
        let record = self.records.get(self.index_of(last));
        let is_live = record.is_some_and(|record| record.cell_at(last) & record.live != 0);
        if is_live {
            rest.end.saturating_sub(rest.start)
        } else {
            0
        }
    }

    /// `range` goes out again: what is left of the cell that it ends in.
    fn note_rest(&mut self, range: &Range<u64>) {
        let last = range.end.saturating_sub(1);
        let Some(record) = self.records.get(self.index_of(last)) else {
            return;
        };
        let end = record.end_of(record.cell_at(last));
        let board = self.board.get_or_insert_with(Box::default);
        if range.end < end {
            board.rest = range.end..end;
        } else if range.start < board.rest.end && board.rest.end <= range.end {
            board.rest = 0..0;
        }
    }

    /// `range`, or what of it was sent before, goes out again.
    pub(super) fn resend(&mut self, now: Instant, range: &Range<u64>) {
        self.note_rest(range);
        let mut index = self.index_of(range.start.max(self.una));
        while let Some(&record) = self.records.get(index) {
            if record.start >= range.end {
                break;
            }
            let at = index;
            index = index.saturating_add(1);
            let mask = record.touching(range) & !record.sacked;
            if mask == 0 {
                continue;
            }
            let bytes = record.bytes(mask, self.una);
            let rate = match &mut self.rates {
                Some(rates) => Some(rates.sampler.on_sent(now, self.in_flight, bytes)),
                None => None,
            };
            let number = self.number_of(at);
            let board = self.board.get_or_insert_with(Box::default);
            board.take_back(&record, mask & record.live);
            let resent = Resent {
                record: number,
                cells: mask,
                sent_at: now,
                before: record.chain,
            };
            let chain = board.push(resent, rate);
            self.change(at, [self.una; 2], |record| {
                record.chain = chain;
                record.again |= mask;
                record.live |= mask;
                record.lost &= !mask;
            });
        }
    }

    /// The last segment sent, if the peer does not have it.
    pub(super) fn last_cell(&self) -> Option<Range<u64>> {
        let record = self.records.back()?;
        let last = record.cell_at(record.end().saturating_sub(1)) & !record.sacked;
        record.runs(last, self.una).next()
    }

    /// Bytes of the segment at the cumulative acknowledgement, as it was sent.
    pub(super) fn head_size(&self) -> u64 {
        let head = self.records.front();
        head.map_or(0, |record| record.bytes(record.cell_at(self.una), 0))
    }

    /// Takes the memory of a list that is not in use any more.
    pub(super) fn reuse(&mut self, old: &mut Flight) {
        if self.records.is_empty() {
            old.records.clear();
            core::mem::swap(&mut self.records, &mut old.records);
        }
    }

    /// Gives back what is not in use, but for a little.
    pub(super) fn release(&mut self) {
        if self.records.is_empty() {
            if self.records.capacity() > KEEP_RECORDS {
                self.records = VecDeque::new();
            }
            self.board = None;
            if let Some(rates) = &mut self.rates {
                rates.records = VecDeque::new();
            }
        }
    }
}

impl Record {
    /// The peer has the cells `mask`.
    fn settle(&mut self, mask: u64) {
        self.sacked |= mask;
        self.lost &= !mask;
        self.live &= !mask;
    }
}

/// `sum` with a part of it changed.
#[inline]
fn moved(sum: u64, old: u64, new: u64) -> u64 {
    sum.saturating_sub(old).saturating_add(new)
}
