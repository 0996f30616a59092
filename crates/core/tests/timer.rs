//! Timers go off once, in time, and not when they were cancelled.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test ends by panicking"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant, nanos};
use weir_core::timer::{TimerKind, Timers, Wheel};

#[derive(Clone, Debug)]
enum Op {
    /// So many nanoseconds from now (2^x).
    Insert(f64),
    Cancel(usize),
    Reset(usize, f64),
    /// Time goes on by 2^x nanoseconds.
    Advance(f64),
    /// Time goes on to what the wheel says.
    Follow,
}

fn op() -> impl Strategy<Value = Op> {
    // From nothing to 10,000 years: each level of the wheel and what lies beyond.
    let far = 0.0..68.0f64;
    prop_oneof![
        6 => far.clone().prop_map(Op::Insert),
        2 => any::<usize>().prop_map(Op::Cancel),
        1 => (any::<usize>(), far).prop_map(|(at, far)| Op::Reset(at, far)),
        3 => (0.0..56.0f64).prop_map(Op::Advance),
        3 => Just(Op::Follow),
    ]
}

fn later(now: Instant, exponent: f64) -> Instant {
    now + Duration::from_nanos(exponent.exp2() as u64)
}

/// The wheel beside a sorted map of deadlines.
struct Both {
    wheel: Wheel<usize>,
    tick: Duration,
    set: BTreeMap<usize, (Instant, Key)>,
    gone: Vec<Key>,
    next: usize,
    now: Instant,
}

impl Both {
    fn pick(&self, at: usize) -> Option<(usize, Key)> {
        let (name, (_, key)) = self.set.iter().nth(at % self.set.len().max(1))?;
        Some((*name, *key))
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Insert(far) => {
                let at = later(self.now, far);
                let key = self.wheel.insert(at, self.next);
                self.set.insert(self.next, (at, key));
                self.next += 1;
            }
            Op::Cancel(at) => {
                if let Some((name, key)) = self.pick(at) {
                    assert_eq!(self.wheel.cancel(key), Some(name));
                    self.set.remove(&name);
                    self.gone.push(key);
                }
            }
            Op::Reset(at, far) => {
                if let Some((name, key)) = self.pick(at) {
                    let at = later(self.now, far);
                    assert!(self.wheel.reset(key, at));
                    assert_eq!(self.wheel.deadline(key), Some(at));
                    self.set.insert(name, (at, key));
                }
            }
            Op::Advance(far) => self.advance_to(later(self.now, far)),
            Op::Follow => {
                if let Some(next) = self.wheel.next() {
                    self.advance_to(next.max(self.now));
                }
            }
        }
    }

    fn advance_to(&mut self, now: Instant) {
        self.now = now;
        while let Some((at, name)) = self.wheel.pop_expired(now) {
            let (set_to, key) = self.set.remove(&name).expect("went off twice or cancelled");
            assert_eq!(at, set_to);
            assert!(at <= now, "early");
            self.gone.push(key);
        }
        let now_tick = now.as_nanos() / nanos(self.tick);
        for (at, _) in self.set.values() {
            assert!(
                at.as_nanos().div_ceil(nanos(self.tick)) > now_tick,
                "{at:?} late at {now:?}"
            );
        }
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.set.len());
        assert!(
            self.gone
                .iter()
                .all(|key| self.wheel.deadline(*key).is_none())
        );
        // The wake-up is never later than a tick behind the earliest deadline.
        let earliest = self.set.values().map(|(at, _)| *at).min();
        match (self.wheel.next(), earliest) {
            (Some(next), Some(earliest)) => assert!(next <= earliest.max(self.now) + self.tick),
            (next, earliest) => assert_eq!(next, earliest),
        }
    }
}

proptest! {
    #[test]
    fn a_wheel_is_a_sorted_map_to_within_a_tick(
        tick in 1..5_000_000u64,
        start in 0..u64::MAX / 4,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let (tick, now) = (Duration::from_nanos(tick), Instant::from_nanos(start));
        let wheel = Wheel::new(tick, now);
        let mut both = Both { wheel, tick, set: BTreeMap::new(), gone: Vec::new(), next: 0, now };
        for op in &ops {
            both.apply(op);
            both.check();
        }
        // Following the wheel's own advice, all within four times its reach go off, in few
        // wake-ups: at most one a level and a round for each timer.
        let end = both.now + tick * (1 << 31) * (1 << 7);
        let mut wakeups = 0;
        while let Some(next) = both.wheel.next().filter(|next| *next <= end) {
            both.advance_to(next.max(both.now));
            wakeups += 1;
            prop_assert!(wakeups < 20 * ops.len() + 20, "{:?}", both.wheel);
        }
    }

    #[test]
    fn named_timers_are_a_sorted_map(
        ops in prop::collection::vec((0..8usize, 0..4u8, 0..100u64), 1..100),
    ) {
        let mut timers = Timers::<Named, 8>::new();
        let mut plain: BTreeMap<usize, Instant> = BTreeMap::new();
        for (index, kind, millis) in ops {
            let (name, at) = (Named(index), Instant::from_millis(millis));
            match kind {
                0 => {
                    timers.stop(name);
                    plain.remove(&index);
                }
                1 => {
                    let due = plain.iter().filter(|(_, due)| **due <= at);
                    let first = due.min_by_key(|(index, due)| (**due, **index));
                    let first = first.map(|(index, _)| *index);
                    prop_assert_eq!(timers.pop_expired(at).map(|name| name.0), first);
                    first.map(|index| plain.remove(&index));
                }
                2 => {
                    timers.set_if_stopped(name, at);
                    plain.entry(index).or_insert(at);
                }
                _ => {
                    timers.set(name, at);
                    plain.insert(index, at);
                }
            }
            prop_assert_eq!(timers.get(name), plain.get(&index).copied());
            let first = plain.iter().min_by_key(|(index, due)| (**due, **index));
            let first = first.map(|(index, due)| (*index, *due));
            prop_assert_eq!(timers.next().map(|(at, name)| (name.0, at)), first);
        }
    }
}

#[derive(Copy, Clone, Debug)]
struct Named(usize);

impl TimerKind for Named {
    const COUNT: usize = 8;

    fn index(self) -> usize {
        self.0
    }

    fn from_index(index: usize) -> Option<Named> {
        (index < 8).then_some(Named(index))
    }
}
