#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::congestion::Algorithm;

use super::testing::{End, ms};
use crate::error::code;
use crate::limits::{MAX_PACKET_THRESHOLD, MAX_REMEMBERED_LOST, MAX_SKIPPED};
use crate::wire::{Side, Space};

// Q134
#[test]
fn a_packet_never_sent_must_not_be_acknowledged() {
    for space in Space::ALL {
        let mut end = End::new(Side::Server);
        let ranges = [0..=0];
        let error = end.try_ack(space, &ranges, ms(0), None).unwrap_err();
        assert_eq!((error.code, error.frame), (code::PROTOCOL_VIOLATION, 0x02));
        end.send(space);
        end.send(space);
        let ranges = [2..=2];
        let error = end.try_ack(space, &ranges, ms(0), None).unwrap_err();
        assert_eq!(error.code, code::PROTOCOL_VIOLATION);
        end.ack(space, &[0..=1]);
        let ranges = [0..=(1 << 62) - 1];
        assert!(end.try_ack(space, &ranges, ms(0), None).is_err());
    }
}

/// An end that has sent `count` packets, and the numbers it left out.
fn skipping(count: u64) -> (End, Vec<u64>) {
    let mut end = End::with(Side::Server, Algorithm::NewReno, true);
    let mut skipped = Vec::new();
    let mut next = 0;
    for _ in 0..count {
        let pn = end.send(Space::Data);
        skipped.extend(next..pn);
        next = pn + 1;
    }
    (end, skipped)
}

// Q134, Q174: who acknowledges what he has not received is found.
#[test]
fn an_optimistic_acknowledgement_ends_the_connection() {
    let (mut end, skipped) = skipping(1000);
    assert!(!skipped.is_empty());
    let largest = end.recovery.end(Space::Data) - 1;
    let ranges = [0..=largest];
    let error = end.try_ack(Space::Data, &ranges, ms(0), None).unwrap_err();
    assert_eq!(error.code, code::PROTOCOL_VIOLATION);
}

// Q174: a number in a range of its own is found too.
#[test]
fn each_skipped_number_is_watched() {
    let (_, skipped) = skipping(300);
    for pn in skipped {
        let (mut end, _) = skipping(300);
        let ranges = [pn..=pn];
        assert!(
            end.try_ack(Space::Data, &ranges, ms(0), None).is_err(),
            "{pn}"
        );
    }
}

// Q174: an honest peer is not.
#[test]
fn an_honest_peer_leaves_out_what_was_left_out() {
    let (mut end, skipped) = skipping(20_000);
    let mut ranges = Vec::new();
    let mut high = end.recovery.end(Space::Data) - 1;
    for &pn in skipped.iter().rev() {
        ranges.push(pn + 1..=high);
        high = pn - 1;
    }
    ranges.push(0..=high);
    end.ack(Space::Data, &ranges);
    assert_eq!(end.out.acked_packets, 20_000);
    assert!(end.out.lost_packets.is_empty());
}

// Q174: ever more rarely, never two in a row, never among the first packets; memory is bounded.
#[test]
fn numbers_are_skipped_now_and_then() {
    let (end, skipped) = skipping(200_000);
    assert!(skipped[0] >= 32, "{skipped:?}");
    assert!(skipped.windows(2).all(|pair| pair[1] > pair[0] + 1));
    let early = skipped.iter().filter(|&&pn| pn < 4096).count();
    assert!(early >= 3, "{skipped:?}");
    assert!(skipped.len() < 40, "{skipped:?}");
    assert!(end.recovery.skipper.skipped.len() <= MAX_SKIPPED);
    // Only where it is of use.
    let mut end = End::with(Side::Server, Algorithm::NewReno, true);
    assert!((0..1000).all(|pn| end.send(Space::Initial) == pn));
}

// Q174: an optimistic peer that is found has not moved the window far.
#[test]
fn the_window_is_not_opened_by_an_acknowledgement_that_ends_the_connection() {
    let (mut end, _) = skipping(1000);
    let window = end.path().controller.window();
    let ranges = [0..=end.recovery.end(Space::Data) - 1];
    assert!(end.try_ack(Space::Data, &ranges, ms(0), None).is_err());
    assert_eq!(end.path().controller.window(), window);
}

// Q173, threats C5: an acknowledgement that says nothing new costs nothing, however many ranges.
#[test]
fn old_ranges_are_not_walked_again() {
    let mut end = End::measured(Side::Server);
    for _ in 0..10_000 {
        end.send(Space::Data);
    }
    end.ack(Space::Data, &[1..=10_000]);
    let ranges: Vec<_> = (0..64)
        .map(|n| 9_999 - 100 * n..=10_000 - 100 * n)
        .collect();
    for _ in 0..100 {
        end.ack(Space::Data, &ranges);
        assert!(end.out.steps <= 1, "{}", end.out.steps);
    }
}

// Q173: a range from the beginning with each acknowledgement costs what is new.
#[test]
fn each_acknowledgement_costs_what_is_new() {
    let mut end = End::measured(Side::Server);
    for _ in 0..1000 {
        for _ in 0..10 {
            end.send(Space::Data);
        }
        let largest = end.recovery.end(Space::Data) - 1;
        end.ack(Space::Data, &[0..=largest]);
        assert_eq!(end.out.acked_packets, 10);
        assert!(end.out.steps <= 25, "{}", end.out.steps);
    }
}

// Q173: 64 ranges with every second number, over and over: each packet is settled once and what
// waits below the largest is bounded by the thresholds.
#[test]
fn gaps_everywhere_cost_little() {
    let mut end = End::measured(Side::Server);
    let mut steps = 0;
    let rounds = 200;
    for _ in 0..rounds {
        for _ in 0..128 {
            end.send(Space::Data);
        }
        let largest = end.recovery.end(Space::Data) - 1;
        let ranges: Vec<_> = (0..64).map(|n| largest - 2 * n..=largest - 2 * n).collect();
        for _ in 0..3 {
            end.ack(Space::Data, &ranges);
            steps += end.out.steps;
        }
        end.pass(1);
    }
    // 128 packets and 3 x 64 ranges a round, each looked at a few times.
    assert!(steps / rounds < 1000, "{}", steps / rounds);
    assert!(end.recovery.spaces.get(Space::Data).late.len() <= MAX_REMEMBERED_LOST);
}

// Q173: the same when what was lost arrives again and again, which raises the thresholds.
#[test]
fn reordering_on_purpose_costs_little() {
    let mut end = End::measured(Side::Server);
    for round in 0..300u64 {
        let first = end.send(Space::Data);
        for _ in 1..200 {
            end.send(Space::Data);
        }
        end.ack(Space::Data, &[first + 199..=first + 199]);
        end.ack(
            Space::Data,
            &[first + 199..=first + 199, first..=first + 197],
        );
        assert!(end.out.steps < 700, "{round}: {}", end.out.steps);
        assert!(end.path().packet_threshold() <= MAX_PACKET_THRESHOLD);
        let waiting = end.recovery.spaces.get(Space::Data).sent.len();
        assert!(waiting <= MAX_PACKET_THRESHOLD as usize + 2, "{waiting}");
    }
}

// Q173: an acknowledgement flood of one packet each.
#[test]
fn one_acknowledgement_for_each_packet_is_constant_work() {
    let mut end = End::measured(Side::Server);
    for _ in 0..50_000 {
        end.send(Space::Data);
    }
    for pn in 1..=50_000 {
        end.ack(Space::Data, &[pn..=pn]);
        assert!(end.out.steps <= 4, "{pn}: {}", end.out.steps);
    }
    assert_eq!(end.recovery.in_flight_total(), 0);
}

// A peer that never acknowledges meets the bound of what is remembered.
#[test]
fn packets_in_flight_are_bounded() {
    let mut end = End::measured(Side::Server);
    let mut count = 0;
    while end.recovery.may_send(Space::Data) {
        end.send(Space::Data);
        count += 1;
    }
    assert_eq!(count, crate::limits::MAX_SENT_PACKETS);
    end.ack(Space::Data, &[1..=1]);
    assert!(end.recovery.may_send(Space::Data));
}
