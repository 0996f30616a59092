//! Recovery with real controllers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::congestion::Algorithm;

use super::testing::{End, SIZE};
use super::{PathRecovery, RecoveryConfig};
use crate::wire::{Side, Space};

const FULL: u64 = SIZE as u64;

/// Fills the window; the first and the last number.
fn fill(end: &mut End) -> (u64, u64) {
    let first = end.send(Space::Data);
    let mut last = first;
    while end.path().window_left() >= FULL {
        last = end.send(Space::Data);
    }
    (first, last)
}

fn each() -> [End; 2] {
    [Algorithm::NewReno, Algorithm::Cubic].map(|algorithm| {
        let mut end = End::with(Side::Server, algorithm, false);
        end.recovery.on_handshake_confirmed();
        end
    })
}

// Q146
#[test]
fn a_path_begins_with_the_initial_window() {
    for mtu in [1200u16, 1452, 9000] {
        let end = End::new(Side::Client);
        let path = PathRecovery::new(end.now, &end.config, mtu, 1);
        let size = u64::from(mtu);
        let expected = (10 * size).min((2 * size).max(14_720));
        assert_eq!(path.controller.window(), expected);
    }
}

// Q146: the configured window is begun with, but not with less than two datagrams.
#[test]
fn the_window_does_not_begin_below_the_minimum() {
    let end = End::new(Side::Client);
    let config = RecoveryConfig {
        initial_window: Some(1),
        ..end.config
    };
    let path = PathRecovery::new(end.now, &config, SIZE, 1);
    assert_eq!(path.controller.window(), 2 * FULL);
}

// Q145: packets that only acknowledge take nothing of the window.
#[test]
fn bare_acknowledgements_are_not_counted() {
    let mut end = End::new(Side::Client);
    for _ in 0..100 {
        end.send_ack_only(Space::Data);
    }
    assert_eq!(end.path().in_flight, 0);
    assert_eq!(end.path().window_left(), end.path().controller.window());
    end.ack(Space::Data, &[0..=99]);
    assert_eq!(end.path().in_flight, 0);
}

// RFC 9002 7.3.1: slow start doubles in a round trip when the window is used.
#[test]
fn a_full_window_grows() {
    for mut end in each() {
        let before = end.path().controller.window();
        let (first, last) = fill(&mut end);
        end.pass(50);
        end.ack(Space::Data, &[first..=last]);
        let sent = (last - first + 1) * FULL;
        assert_eq!(end.path().controller.window(), before + sent);
    }
}

// Q149
#[test]
fn a_window_that_is_not_used_does_not_grow() {
    for mut end in each() {
        let before = end.path().controller.window();
        for _ in 0..50 {
            let pn = end.send(Space::Data);
            end.pass(50);
            end.ack(Space::Data, &[pn..=pn]);
        }
        assert_eq!(end.path().controller.window(), before);
    }
}

// Q149, RFC 9002 7.8: held back by pacing is not held back by the application.
#[test]
fn pacing_is_no_reason_not_to_grow() {
    for mut end in each() {
        let before = end.path().controller.window();
        let first = end.send(Space::Data);
        let last = end.send(Space::Data);
        end.path().on_window_limited();
        // What comes after the sender ran dry does not count.
        let dry = end.send(Space::Data);
        end.pass(50);
        end.ack(Space::Data, &[first..=last]);
        let grown = before + 2 * FULL;
        assert_eq!(end.path().controller.window(), grown);
        end.ack(Space::Data, &[dry..=dry]);
        assert_eq!(end.path().controller.window(), grown);
    }
}

// Q147
#[test]
fn losses_of_one_round_trip_reduce_once() {
    for mut end in each() {
        let (first, last) = fill(&mut end);
        end.pass(50);
        end.ack(Space::Data, &[first + 3..=first + 3]);
        assert_eq!(end.lost(), [first]);
        let reduced = end.path().controller.window();
        end.ack(Space::Data, &[first + 6..=first + 6]);
        assert_eq!(end.lost(), [first + 1, first + 2]);
        assert_eq!(end.path().controller.window(), reduced);
        // A packet sent after the reduction ends recovery; its loss would reduce anew.
        end.pass(5);
        let (next, _) = fill_some(&mut end, 5);
        end.pass(50);
        end.ack(Space::Data, &[next + 4..=next + 4, first + 3..=last]);
        assert!(end.lost().contains(&next));
        assert!(end.path().controller.window() < reduced);
    }
}

fn fill_some(end: &mut End, count: u64) -> (u64, u64) {
    let first = end.send(Space::Data);
    let mut last = first;
    for _ in 1..count {
        last = end.send(Space::Data);
    }
    (first, last)
}

// Q148
#[test]
fn persistent_congestion_goes_to_the_minimum() {
    for mut end in each() {
        end.send(Space::Data);
        end.pass(20);
        end.ack(Space::Data, &[0..=0]);
        for _ in 0..20 {
            end.send(Space::Data);
            end.pass(100);
        }
        let last = end.send(Space::Data);
        end.pass(20);
        end.ack(Space::Data, &[last..=last]);
        assert_eq!(end.out.persistent_congestion.map(|path| path.0), Some(0));
        // The minimum, and the packet whose acknowledgement showed it.
        assert_eq!(end.path().controller.window(), 3 * FULL);
    }
}

// Bytes in flight end at nothing under every algorithm, with losses.
#[test]
fn every_algorithm_settles_all_bytes() {
    for algorithm in Algorithm::ALL {
        let mut end = End::with(Side::Server, algorithm, false);
        end.recovery.on_handshake_confirmed();
        for round in 0..100u64 {
            let first = end.send(Space::Data);
            let mut last = first;
            // Windows that double for a hundred rounds are not needed to see this.
            while end.path().window_left() >= FULL && last < first + 200 {
                last = end.send(Space::Data);
            }
            end.pass(30);
            let skip = first + round % 3;
            if skip < last {
                end.ack(Space::Data, &[skip + 1..=last]);
            } else {
                end.ack(Space::Data, &[first..=last]);
            }
            end.pass(1);
        }
        while end.path().in_flight > 0 {
            let pn = end.send(Space::Data);
            end.pass(30);
            end.ack(Space::Data, &[pn..=pn]);
        }
        assert_eq!(end.recovery.in_flight_total(), 0, "{algorithm}");
        assert!(end.path().controller.window() >= 2 * FULL);
    }
}
