//! A flight against a naive model: every byte's state after every step, under random sending,
//! acknowledging, reporting and losing; and what floods of reports cost.

use core::ops::Range;

use weir_core::buf::{Chunks, SendBuffer};
use weir_core::congestion::Algorithm;
use weir_core::rng::{Rng, between, rng_from_seed};
use weir_core::time::{Duration, Instant};

use super::flight::Flight;
use super::lose::Horizon;
use super::tally::{Losses, Tally};
use super::testing::{MSS, Model, config, ms};
use crate::limits::{MAX_RECORDS, MAX_SACKED_RUNS};

/// One segment as it was sent first.
#[derive(Clone, Debug)]
struct Cell {
    range: Range<u64>,
    /// Its last transmission.
    sent_at: Instant,
    sacked: bool,
    lost: bool,
}

/// The same by lists of segments and nothing else.
#[derive(Debug, Default)]
struct Naive {
    cells: Vec<Cell>,
    una: u64,
    next: u64,
    delivered: u64,
    lost: u64,
}

impl Naive {
    fn bytes(&self, cell: &Cell) -> u64 {
        cell.range
            .end
            .saturating_sub(cell.range.start.max(self.una))
    }

    fn sum(&self, which: impl Fn(&Cell) -> bool) -> u64 {
        let cells = self.cells.iter().filter(|cell| which(cell));
        cells.map(|cell| self.bytes(cell)).sum()
    }

    fn push(&mut self, now: Instant, end: u64, size: u64) {
        while self.next < end {
            let to = end.min(self.next + size);
            self.cells.push(Cell {
                range: self.next..to,
                sent_at: now,
                sacked: false,
                lost: false,
            });
            self.next = to;
        }
    }

    fn acknowledge(&mut self, offset: u64) {
        let before: u64 = self.sum(|cell| !cell.sacked);
        self.una = offset;
        self.delivered += before - self.sum(|cell| !cell.sacked);
        self.cells.retain(|cell| cell.range.end > offset);
    }

    fn sack(&mut self, block: &Range<u64>) {
        for at in 0..self.cells.len() {
            let cell = self.cells[at].clone();
            let inside = block.start <= cell.range.start && cell.range.end <= block.end;
            if inside && !cell.sacked {
                self.delivered += self.bytes(&cell);
                self.cells[at].sacked = true;
                self.cells[at].lost = false;
            }
        }
    }

    fn resend(&mut self, now: Instant, range: &Range<u64>) {
        for cell in &mut self.cells {
            let touches = range.start < cell.range.end && cell.range.start < range.end;
            if touches && !cell.sacked {
                cell.lost = false;
                cell.sent_at = now;
            }
        }
    }

    fn detect(&mut self, horizon: &Horizon) {
        for at in 0..self.cells.len() {
            let cell = self.cells[at].clone();
            let overtaken = (cell.sent_at, cell.range.end) < (horizon.sent_at, horizon.end);
            if !cell.sacked && !cell.lost && overtaken && cell.sent_at <= horizon.late_at {
                self.lost += self.bytes(&cell);
                self.cells[at].lost = true;
            }
        }
    }
}

#[derive(Debug)]
struct Pair {
    now: Instant,
    flight: Flight,
    naive: Naive,
    send: SendBuffer,
    chunks: Chunks,
    delivered: u64,
    lost: u64,
}

impl Pair {
    fn new(samples_rates: bool) -> Pair {
        let mut flight = Flight::new(samples_rates);
        (flight.una, flight.next) = (1, 1);
        let naive = Naive {
            una: 1,
            next: 1,
            ..Naive::default()
        };
        Pair {
            now: Instant::from_millis(1000),
            flight,
            naive,
            send: SendBuffer::new(1),
            chunks: Chunks::new(1 << 20),
            delivered: 0,
            lost: 0,
        }
    }

    fn tally(&self) -> Tally {
        Tally::new(self.now, Duration::ZERO, None)
    }

    fn push(&mut self, bytes: u64, size: u64) {
        self.send
            .append_slice(&vec![1; bytes as usize], &mut self.chunks);
        let end = self.flight.next + bytes;
        self.send.on_sent(&(self.flight.next..end));
        self.flight.push(self.now, end, size as u16);
        self.naive.push(self.now, end, size);
    }

    fn acknowledge(&mut self, offset: u64) {
        let mut tally = self.tally();
        let una = self.flight.una;
        self.flight.acknowledge(offset, &mut tally);
        self.send.on_acked(una..offset, &mut self.chunks);
        self.delivered += tally.delivered;
        self.naive.acknowledge(offset);
    }

    fn sack(&mut self, block: Range<u64>) {
        let mut tally = self.tally();
        self.flight.sack(block.clone(), &mut self.send, &mut tally);
        assert_eq!(tally.sacked, tally.delivered);
        self.delivered += tally.delivered;
        self.naive.sack(&block);
    }

    fn resend(&mut self, range: Range<u64>) {
        self.send.on_sent(&range);
        self.flight.resend(self.now, &range);
        self.naive.resend(self.now, &range);
    }

    fn detect(&mut self, horizon: Horizon) {
        let mut losses = Losses::default();
        self.flight.detect(&horizon, &mut self.send, &mut losses);
        self.lost += losses.bytes;
        self.naive.detect(&horizon);
    }

    fn check(&self, what: &str) {
        let naive = &self.naive;
        let expected = (
            naive.sum(|cell| !cell.sacked && !cell.lost),
            naive.sum(|cell| cell.sacked),
            naive.sum(|cell| cell.lost),
            naive.delivered,
            naive.lost,
            naive.una,
            naive.next,
        );
        let flight = &self.flight;
        let (sacked, lost) = (flight.sacked(), flight.lost());
        let sums = (
            flight.in_flight,
            sacked,
            lost,
            self.delivered,
            self.lost,
            flight.una,
            flight.next,
        );
        assert_eq!(sums, expected, "{what}");
        let cells = naive.cells.iter().filter(|cell| cell.sacked).count();
        assert_eq!(flight.sacked_cells() as usize, cells, "{what}");
        // The buffer would send again exactly what is lost.
        let first = naive.cells.iter().find(|cell| cell.lost);
        let first = first.map_or(naive.next, |cell| cell.range.start.max(naive.una));
        assert_eq!(self.send.next_range(u64::MAX).start, first, "{what}");
    }

    fn step(&mut self, rng: &mut Rng) -> String {
        self.now += Duration::from_micros(between(rng, 1, 2000));
        let (una, next) = (self.flight.una, self.flight.next);
        match between(rng, 0, 9) {
            0..=2 => {
                let size = [100, 536, 1000, 1448][between(rng, 0, 3) as usize];
                let bytes = between(rng, 1, size * 90);
                self.push(bytes, size);
                format!("push {bytes} of {size}")
            }
            3 if next > una => {
                let offset = between(rng, una + 1, next.min(una + 20_000));
                if self
                    .naive
                    .cells
                    .iter()
                    .any(|cell| cell.sacked && cell.range.contains(&offset))
                {
                    return "nothing".to_owned();
                }
                self.acknowledge(offset);
                format!("acknowledge {offset}")
            }
            4..=6 if next > una + 1 => {
                let start = between(rng, una + 1, next - 1);
                let end = between(rng, start + 1, next.min(start + 30_000));
                self.sack(start..end);
                format!("sack {start}..{end}")
            }
            7 => {
                let range = self.send.next_range(u64::MAX);
                if range.is_empty() || range.start >= self.send.next() {
                    return "nothing".to_owned();
                }
                let end = between(rng, range.start + 1, range.end);
                // Whole segments only: the rest would be lost still, but not in the buffer's lists.
                let cell = self.naive.cells.iter().find(|cell| cell.range.end >= end);
                let end = cell.expect("in flight").range.end;
                self.resend(range.start..end);
                format!("resend {}..{end}", range.start)
            }
            _ => {
                let back = Duration::from_micros(between(rng, 0, 20_000));
                let late = Duration::from_micros(between(rng, 0, 20_000));
                let sent_at = self.now - back;
                let horizon = Horizon {
                    sent_at,
                    end: between(rng, una, next + 1),
                    late_at: sent_at - late,
                };
                self.detect(horizon);
                format!("detect {horizon:?}")
            }
        }
    }
}

// T99, T101, T102, T106: in flight, sacked, lost and delivered are exact, whatever the peer reports.
#[test]
fn a_flight_is_what_a_list_of_segments_says() {
    for seed in 0..400 {
        let mut rng = rng_from_seed(seed);
        let mut pair = Pair::new(seed % 2 == 0);
        let mut last = Vec::new();
        for step in 0..150usize {
            last.push(pair.step(&mut rng));
            pair.check(&format!(
                "seed {seed} step {step}: {:?}",
                &last[step.saturating_sub(6)..]
            ));
        }
        let next = pair.flight.next;
        if next > pair.flight.una {
            pair.acknowledge(next);
        }
        pair.check(&format!("seed {seed}: end"));
        assert_eq!((pair.flight.in_flight, pair.flight.records.len()), (0, 0));
    }
}

/// Sends `segments`, then takes each of `blocks` as an acknowledgement of its own; the steps.
fn steps_of(segments: u64, acks: impl Iterator<Item = Vec<Range<u64>>>) -> (u64, u64, Model) {
    let mut model = Model::established(&config(Algorithm::Cubic), ms(100));
    model.write(segments * MSS);
    let end = model.send.end();
    model.put(1..end, super::Sent::New);
    let mut count = 0;
    for sack in acks {
        model.now += Duration::from_micros(1);
        model.sack_at(1, &sack);
        count += 1;
    }
    (model.recovery.steps, count, model)
}

// T157: what was reported before is not walked again, however often it is said.
#[test]
fn the_same_blocks_again_cost_nothing() {
    let blocks = vec![1001..2_000_001, 3_000_001..3_999_001, 2_500_001..2_600_001];
    let acks = (0..10_000).map(|_| blocks.clone());
    let (steps, count, _) = steps_of(4000, acks);
    assert!(steps < count * 4 + 200, "{steps} for {count}");
}

// T157: one segment in every hole, in any order: bounded runs, bounded steps.
#[test]
fn holes_everywhere_are_bounded() {
    let mut rng = rng_from_seed(7);
    let acks = (0..20_000).map(|_| {
        let block = |rng: &mut Rng| {
            let at = between(rng, 1, 1999) * 2;
            Model::nth(at)
        };
        (0..4).map(|_| block(&mut rng)).collect()
    });
    let (steps, count, model) = steps_of(4000, acks);
    assert!(steps <= count * 12, "{steps} for {count}");
    let board = model
        .recovery
        .flight
        .board
        .as_ref()
        .expect("made by reports");
    assert!(u64::from(board.sacked_cells) <= MAX_SACKED_RUNS as u64);
}

// T157: alternating long blocks, growing by a segment each time.
#[test]
fn growing_blocks_cost_what_is_new() {
    let acks = (1..1900u64).map(|n| {
        let low = Model::nth(1).start..Model::nth(n).end;
        let high = Model::nth(2000).start..Model::nth(2000 + n).end;
        if n % 2 == 0 {
            vec![low, high]
        } else {
            vec![high, low]
        }
    });
    let (steps, count, _) = steps_of(4000, acks);
    assert!(steps <= count * 8, "{steps} for {count}");
}

// T157: single bytes without Nagle fill the records, and no more goes until some are acknowledged.
#[test]
fn the_number_of_records_is_bounded() {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(1));
    // A window of any size.
    for _ in 0..12 {
        model.write(4000 * MSS);
        model.transmit();
        model.now += ms(1);
        model.ack_at(model.send.next());
    }
    while model.recovery.flight.records.len() < MAX_RECORDS {
        model.write(1);
        let at = model.send.next();
        model.put(at..at + 1, super::Sent::New);
    }
    assert_eq!(model.recovery.allowance(model.now, 1).bytes, 0);
    model.ack_at(model.send.next());
    assert!(model.recovery.allowance(model.now, 1).bytes > 0);
}
