//! Recovery's rings against maps that do the same in the plainest way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use proptest::prelude::*;
use weir_core::time::{Duration, Instant};

use super::LossTimer;
use super::testing::{End, SIZE, numbers};
use crate::wire::{Side, Space};

#[derive(Clone, Debug)]
enum Step {
    Send(u8),
    AckOnly,
    Pass(u16),
    /// Gaps and lengths from the largest down, the first gap below the last number sent.
    Ack(Vec<(u8, u8)>),
    TimeOut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ack = prop::collection::vec((0u8..6, 0u8..12), 1..8);
    let step = prop_oneof![
        4 => (1u8..12).prop_map(Step::Send),
        1 => Just(Step::AckOnly),
        3 => (0u16..120).prop_map(Step::Pass),
        4 => ack.prop_map(Step::Ack),
        1 => Just(Step::TimeOut),
    ];
    prop::collection::vec(step, 1..120)
}

/// Packets that wait, by number: when each was sent, and whether it is in flight.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<u64, (Instant, bool)>,
    lost_before: BTreeMap<u64, ()>,
    largest_acked: Option<u64>,
}

impl Model {
    fn acknowledge(&mut self, ranges: &[RangeInclusive<u64>]) -> Vec<u64> {
        let largest = *ranges[0].end();
        self.largest_acked = self.largest_acked.max(Some(largest));
        let mut acked = Vec::new();
        for range in ranges {
            let found: Vec<u64> = self
                .waiting
                .range(range.clone())
                .map(|(pn, _)| *pn)
                .collect();
            for pn in found {
                let (_, in_flight) = self.waiting.remove(&pn).unwrap();
                if in_flight {
                    acked.push(pn);
                }
            }
        }
        acked
    }

    /// RFC 9002 A.10, with the thresholds that the path has now.
    fn detect(
        &mut self,
        now: Instant,
        delay: Duration,
        threshold: u64,
    ) -> (Vec<u64>, Option<Instant>) {
        let (mut lost, mut gone, mut next) = (Vec::new(), Vec::new(), None::<Instant>);
        let Some(largest) = self.largest_acked else {
            return (lost, None);
        };
        for (&pn, &(sent_at, in_flight)) in self.waiting.range(..largest) {
            if largest >= pn + threshold || sent_at + delay <= now {
                gone.push(pn);
                if in_flight {
                    lost.push(pn);
                }
            } else if in_flight {
                let at = sent_at + delay;
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        for pn in gone {
            self.waiting.remove(&pn);
        }
        self.lost_before.extend(lost.iter().map(|pn| (*pn, ())));
        (lost, next)
    }

    fn in_flight(&self) -> u64 {
        let count = self
            .waiting
            .values()
            .filter(|(_, in_flight)| *in_flight)
            .count();
        count as u64 * u64::from(SIZE)
    }
}

fn ranges(largest: u64, pairs: &[(u8, u8)]) -> Vec<RangeInclusive<u64>> {
    let mut high = largest.checked_sub(u64::from(pairs[0].0));
    let mut ranges = Vec::new();
    for (index, (_, len)) in pairs.iter().enumerate() {
        let Some(end) = high else { break };
        let start = end.saturating_sub(u64::from(*len));
        ranges.push(start..=end);
        let gap = pairs.get(index + 1).map_or(0, |(gap, _)| u64::from(*gap));
        high = start.checked_sub(2 + gap);
    }
    ranges
}

/// What an acknowledgement led to.
enum Detected {
    /// Nothing was looked for.
    Nothing,
    /// The model's next loss time.
    Lost(Option<Instant>),
    /// Thresholds were forgotten after they were used: the model knows no more.
    Persistent,
}

/// Acknowledges what `pairs` say at both, and compares.
fn acknowledge(end: &mut End, model: &mut Model, next_pn: u64, pairs: &[(u8, u8)]) -> Detected {
    let Some(last) = next_pn.checked_sub(1) else {
        return Detected::Nothing;
    };
    let ranges = ranges(last, pairs);
    if ranges.is_empty() {
        return Detected::Nothing;
    }
    let late = model.lost_before.clone();
    let covers = |pn: &u64| ranges.iter().any(|range| range.contains(pn));
    let late: Vec<u64> = late.into_keys().filter(covers).collect();
    let waited = model.waiting.len();
    let mut acked = model.acknowledge(&ranges);
    let news = model.waiting.len() < waited;
    end.ack(Space::Data, &ranges);
    let mut found = end.acked();
    // Ranges come from the top; within one the order is that of sending.
    acked.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, acked);
    // Remembered for a while: at most what was lost, and never twice.
    assert!(end.out.spurious <= late.len() as u64);
    if end.out.spurious > 0 {
        for pn in late {
            model.lost_before.remove(&pn);
        }
    } else if !news {
        return Detected::Nothing;
    }
    let (delay, threshold) = (end.path().loss_delay(), end.path().packet_threshold());
    if end.out.persistent_congestion.is_some() {
        return Detected::Persistent;
    }
    let (lost, next) = model.detect(end.now, delay, threshold);
    assert_eq!(end.lost(), lost);
    assert_eq!(numbers(&end.out.lost), lost);
    Detected::Lost(next)
}

fn run(steps: Vec<Step>) {
    let mut end = End::new(Side::Client);
    end.recovery.on_handshake_confirmed();
    let mut model = Model::default();
    let mut next_pn = 0u64;
    let mut loss_time = None;
    let mut ack_only = 0;
    for step in steps {
        let timer = end.timer();
        match step {
            Step::Send(count) => {
                for _ in 0..count {
                    model.waiting.insert(next_pn, (end.now, true));
                    assert_eq!(end.send(Space::Data), next_pn);
                    next_pn += 1;
                }
            }
            // Below the number of those that are remembered, so that the model needs no bound.
            Step::AckOnly if ack_only < 60 => {
                ack_only += 1;
                model.waiting.insert(next_pn, (end.now, false));
                assert_eq!(end.send_ack_only(Space::Data), next_pn);
                next_pn += 1;
            }
            Step::AckOnly => {}
            Step::Pass(millis) => end.pass(u64::from(millis)),
            Step::Ack(pairs) => match acknowledge(&mut end, &mut model, next_pn, &pairs) {
                Detected::Nothing => {}
                Detected::Lost(next) => loss_time = next,
                Detected::Persistent => return,
            },
            Step::TimeOut => {
                end.time_out();
                let due = timer.filter(|(at, _)| *at <= end.now);
                match due {
                    Some((_, LossTimer::Loss(_))) => {
                        if end.out.persistent_congestion.is_some() {
                            return;
                        }
                        let (delay, threshold) =
                            (end.path().loss_delay(), end.path().packet_threshold());
                        let (lost, next) = model.detect(end.now, delay, threshold);
                        assert_eq!(end.lost(), lost);
                        loss_time = next;
                    }
                    Some((_, LossTimer::Pto(_))) => assert_eq!(end.out.probes, [0, 0, 2]),
                    None => assert!(end.out.lost_packets.is_empty()),
                }
            }
        }
        assert_eq!(end.path().in_flight, model.in_flight());
        assert_eq!(end.recovery.in_flight_total(), model.in_flight());
        let expected = loss_time.map(|at| (at, LossTimer::Loss(Space::Data)));
        match end.timer() {
            Some((_, LossTimer::Pto(_))) => {
                assert_eq!(expected, None);
                assert!(model.in_flight() > 0);
            }
            timer => assert_eq!(timer, expected),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // Q137, Q138: any order of sending, waiting and acknowledging.
    #[test]
    fn rings_do_as_maps_do(steps in steps()) {
        run(steps);
    }
}
