//! Read buffers: slices keep their bytes, memory is used again, and the steady state allocates
//! nothing.

#![allow(clippy::indexing_slicing, reason = "a test ends by panicking")]

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use weir_core::buf::{Pool, ReadBuf};

#[derive(Clone, Debug)]
enum Op {
    /// So many bytes arrive in a read of at most that plus some.
    Read(usize),
    Take,
    TakeFront(usize),
    /// The reader drops one of its slices.
    Drop(usize),
    Rest,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..300usize).prop_map(Op::Read),
        3 => Just(Op::Take),
        2 => (0..200usize).prop_map(Op::TakeFront),
        5 => any::<usize>().prop_map(Op::Drop),
        1 => Just(Op::Rest),
    ]
}

/// A read buffer with a stream of numbered bytes through it.
struct Reading {
    buf: ReadBuf,
    arrived: usize,
    taken: usize,
    held: VecDeque<(usize, Bytes)>,
}

impl Reading {
    fn hold(&mut self, slice: Bytes) {
        let offset = self.taken;
        self.taken += slice.len();
        self.held.push_back((offset, slice));
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Read(bytes) => {
                let spare = self.buf.spare(bytes);
                assert!(spare.capacity() - spare.len() >= bytes.max(1));
                let before = spare.capacity();
                spare.extend((self.arrived..self.arrived + bytes).map(|at| at as u8));
                assert_eq!(spare.capacity(), before, "grew");
                self.arrived += bytes;
            }
            Op::Take => {
                let slice = self.buf.take();
                self.hold(slice);
            }
            Op::TakeFront(bytes) => {
                let slice = self.buf.take_front(bytes);
                assert!(slice.len() <= bytes);
                self.hold(slice);
            }
            Op::Drop(at) if !self.held.is_empty() => {
                self.held.swap_remove_back(at % self.held.len());
            }
            Op::Drop(_) => {}
            Op::Rest => self.buf.rest(),
        }
    }

    fn check(&self) {
        assert_eq!(self.buf.len(), self.arrived - self.taken);
        for (offset, slice) in &self.held {
            assert!(
                slice
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == (offset + at) as u8)
            );
        }
    }
}

proptest! {
    #[test]
    fn bytes_come_out_as_they_went_in(
        chunk in 1..512usize,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let pool = Pool::new(chunk, 3);
        let buf = pool.reader();
        let mut reading = Reading { buf, arrived: 0, taken: 0, held: VecDeque::new() };
        for op in &ops {
            reading.apply(op);
            reading.check();
            prop_assert!(pool.free_chunks() <= 3);
        }
        reading.apply(&Op::Take);
        reading.check();
        prop_assert_eq!(reading.arrived, reading.taken);
        reading.held.clear();
        reading.buf.rest();
        prop_assert_eq!(reading.buf.outstanding(), 0);
    }

    // No allocation in the steady state: with a reader that lags by up to k reads, the number of
    // chunks stops growing once there are enough for the lag.
    #[test]
    fn the_steady_state_allocates_nothing(
        lag in 0..12usize,
        sizes in prop::collection::vec(1..1000usize, 20..40),
    ) {
        let pool = Pool::new(1000, 32);
        let mut buf = pool.reader();
        let mut held = VecDeque::new();
        let mut after_warm_up = 0;
        for round in 0..20 {
            for size in &sizes {
                buf.spare(*size).extend(std::iter::repeat_n(round as u8, *size));
                held.push_back(buf.take());
                if held.len() > lag {
                    held.pop_front();
                }
            }
            if round == 9 {
                after_warm_up = buf.allocations();
            }
        }
        prop_assert_eq!(buf.allocations(), after_warm_up);
        // One for each slice that lags, the present one, and those not yet found to be free.
        prop_assert!(after_warm_up <= lag as u64 + 6, "{} for {}", after_warm_up, lag);
    }
}

// Half a record stays, whatever happens around it (the driver of a record layer relies on it).
#[test]
fn a_partial_record_survives_a_rest() {
    let pool = Pool::new(64, 2);
    let mut buf = pool.reader();
    buf.spare(10).extend_from_slice(b"record one, rec");
    assert_eq!(&buf.take_front(12)[..], b"record one, ");
    buf.rest();
    buf.spare(64).extend_from_slice(b"ord two");
    assert_eq!(&buf.take()[..], b"record two");
}
