#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::time::Instant;

use super::received::Received;
use super::testing::ms;
use crate::error::code;
use crate::limits::MAX_ACK_RANGES;
use crate::sent::SentFrame;
use crate::transmit::Ecn;
use crate::wire::Space;
use crate::wire::frame::{EcnCounts, Frame};
use crate::wire::varint::Reader;

const START: Instant = Instant::from_millis(1000);

fn data() -> Received {
    Received::new(Space::Data, ms(25))
}

/// Receives ack-eliciting packets at once.
fn receive(received: &mut Received, numbers: &[u64]) {
    for &pn in numbers {
        received.on_packet(START, pn, true, None);
    }
}

/// Writes an ACK of everything.
fn acknowledge(received: &mut Received) {
    let largest = received.ranges().max().unwrap();
    received.on_ack_written(largest, &mut Vec::new());
}

fn asked(threshold: u64, reordering: u64) -> Received {
    let mut received = data();
    received
        .on_ack_frequency(0, threshold, 20_000, reordering, ms(1))
        .unwrap();
    received
}

// Q7
#[test]
fn a_packet_is_taken_once() {
    let mut received = data();
    receive(&mut received, &[0, 1, 5]);
    for (pn, known) in [(0, true), (1, true), (2, false), (5, true), (6, false)] {
        assert_eq!(received.is_duplicate(pn), known, "{pn}");
    }
}

// Q7, Q132: memory is bounded; what is older than all ranges counts as received.
#[test]
fn very_old_numbers_are_duplicates() {
    let mut received = data();
    for n in 0..1000 {
        receive(&mut received, &[2 * n]);
    }
    assert_eq!(received.ranges().len(), MAX_ACK_RANGES);
    let lowest = received.ranges().min().unwrap();
    assert_eq!(lowest, 2 * (1000 - MAX_ACK_RANGES as u64));
    assert!(received.is_duplicate(3) && received.is_duplicate(lowest - 2));
    assert!(!received.is_duplicate(lowest + 1));
    assert_eq!(received.largest(), Some(1998));
}

// Q7: one that finds no room is not taken twice either.
#[test]
fn a_number_without_room_is_taken_once() {
    let mut received = data();
    for n in 10..10 + MAX_ACK_RANGES as u64 {
        receive(&mut received, &[2 * n]);
    }
    assert!(!received.is_duplicate(5));
    receive(&mut received, &[5]);
    assert!(received.is_duplicate(5));
    assert_eq!(received.ranges().len(), MAX_ACK_RANGES);
}

// Q129
#[test]
fn handshake_packets_are_acknowledged_at_once() {
    for space in [Space::Initial, Space::Handshake] {
        let mut received = Received::new(space, ms(25));
        receive(&mut received, &[0]);
        assert!(received.ack_due(START), "{space:?}");
    }
}

// Q129
#[test]
fn a_single_packet_is_acknowledged_within_the_delay() {
    let mut received = data();
    receive(&mut received, &[0]);
    assert!(!received.ack_due(START + ms(24)));
    assert_eq!(received.ack_deadline(), Some(START + ms(25)));
    assert!(received.ack_due(START + ms(25)));
    acknowledge(&mut received);
    assert_eq!(received.ack_deadline(), None);
    assert!(!received.ack_due(START + ms(1000)));
}

// Q129: the delay runs from the first packet that waits.
#[test]
fn later_packets_do_not_put_the_deadline_off() {
    let mut received = asked(100, 0);
    receive(&mut received, &[0]);
    received.on_packet(START + ms(15), 1, true, None);
    assert_eq!(received.ack_deadline(), Some(START + ms(20)));
}

// Q130
#[test]
fn every_second_packet_is_acknowledged() {
    let mut received = data();
    receive(&mut received, &[0]);
    assert!(!received.ack_due(START) && received.has_something_to_ack());
    receive(&mut received, &[1]);
    assert!(received.ack_due(START));
    acknowledge(&mut received);
    assert!(!received.ack_due(START) && !received.has_something_to_ack());
}

// Q130, RFC 9000 13.2.1
#[test]
fn a_gap_is_told_at_once() {
    let mut received = data();
    receive(&mut received, &[0]);
    acknowledge(&mut received);
    receive(&mut received, &[2]);
    assert!(received.ack_due(START));
    acknowledge(&mut received);
    // The gap was told; what follows in order is ordinary.
    receive(&mut received, &[3]);
    assert!(!received.ack_due(START));
}

// Q130, RFC 9000 13.2.1
#[test]
fn a_packet_that_was_overtaken_is_told_at_once() {
    let mut received = data();
    receive(&mut received, &[0, 1, 3]);
    acknowledge(&mut received);
    receive(&mut received, &[2]);
    assert!(received.ack_due(START));
}

// RFC 9000 13.2.1: packets that elicit nothing fill gaps.
#[test]
fn other_packets_in_between_are_no_gap() {
    let mut received = data();
    receive(&mut received, &[0]);
    acknowledge(&mut received);
    received.on_packet(START, 1, false, None);
    receive(&mut received, &[2]);
    assert!(!received.ack_due(START));
}

// Q130
#[test]
fn a_congestion_mark_is_told_at_once() {
    let mut received = data();
    received.on_packet(START, 0, true, Some(Ecn::Ect0));
    assert!(!received.ack_due(START));
    acknowledge(&mut received);
    received.on_packet(START, 1, true, Some(Ecn::Ce));
    assert!(received.ack_due(START));
}

// Q131: also when they show a gap or carry a mark.
#[test]
fn packets_that_elicit_nothing_are_not_answered() {
    for space in Space::ALL {
        let mut received = Received::new(space, ms(25));
        for pn in [0, 1, 5, 3, 9] {
            received.on_packet(START, pn, false, Some(Ecn::Ce));
        }
        assert!(!received.ack_due(START + ms(60_000)), "{space:?}");
        assert_eq!(received.ack_deadline(), None);
        assert!(!received.has_something_to_ack());
        // When something else goes out they can be told.
        assert_eq!(received.ranges().count(), 5);
    }
}

// Q132, RFC 9000 13.2.4
#[test]
fn ranges_whose_acknowledgement_was_seen_are_dropped() {
    let mut received = data();
    receive(&mut received, &[0, 2, 4, 6]);
    let mut log = Vec::new();
    received.on_ack_written(6, &mut log);
    assert_eq!(log, [SentFrame::Ack { largest: 6 }]);
    receive(&mut received, &[8]);
    received.on_ack_written(8, &mut log);
    received.on_ack_of_ack(6);
    let ranges: Vec<_> = received.ranges().iter().collect();
    assert_eq!(ranges, vec![8..9]);
    assert!(received.is_duplicate(3) && !received.is_duplicate(7));
}

// Q129: nothing is dropped that was not acknowledged once.
#[test]
fn what_still_waits_is_acknowledged_before_it_is_dropped() {
    let mut received = asked(10, 0);
    receive(&mut received, &[0, 1, 3]);
    acknowledge(&mut received);
    receive(&mut received, &[2]);
    received.on_ack_of_ack(3);
    assert!(received.ranges().contains(2));
    acknowledge(&mut received);
    assert!(received.ranges().is_empty());
    assert_eq!(
        (received.largest(), received.ack_fields(START, 3)),
        (Some(3), None)
    );
}

// RFC 9000 13.2.5: from the arrival of the largest, in units of the exponent.
#[test]
fn the_delay_runs_from_the_largest() {
    let mut received = data();
    received.on_packet(START, 4, true, None);
    received.on_packet(START + ms(3), 2, true, None);
    let fields = received.ack_fields(START + ms(8), 3).unwrap();
    assert_eq!((fields.delay, fields.ecn), (1000, None));
    assert_eq!(received.ack_fields(START + ms(8), 0).unwrap().delay, 8000);
}

// Q153
#[test]
fn marks_are_counted_and_told() {
    let mut received = data();
    for (pn, ecn) in [Ecn::Ect0, Ecn::Ect0, Ecn::Ect1, Ecn::Ce]
        .into_iter()
        .enumerate()
    {
        received.on_packet(START, pn as u64, true, Some(ecn));
    }
    received.on_packet(START, 4, true, None);
    let counts = EcnCounts {
        ect0: 2,
        ect1: 1,
        ce: 1,
    };
    assert_eq!(received.ack_fields(START, 3).unwrap().ecn, Some(counts));
}

// Q144: packets up to the threshold, then one acknowledgement.
#[test]
fn the_peer_sets_the_threshold() {
    let mut received = asked(5, 1);
    receive(&mut received, &[0, 1, 2, 3, 4]);
    assert!(!received.ack_due(START));
    receive(&mut received, &[5]);
    assert!(received.ack_due(START));
    let mut received = asked(0, 1);
    receive(&mut received, &[0]);
    assert!(received.ack_due(START));
}

// Q144: and the delay.
#[test]
fn the_peer_sets_the_delay() {
    let mut received = asked(5, 1);
    receive(&mut received, &[0]);
    assert_eq!(received.ack_deadline(), Some(START + ms(20)));
}

// Q144: an older request is ignored.
#[test]
fn an_older_request_changes_nothing() {
    let mut received = data();
    received.on_ack_frequency(4, 9, 20_000, 1, ms(1)).unwrap();
    received.on_ack_frequency(4, 0, 20_000, 1, ms(1)).unwrap();
    received.on_ack_frequency(3, 0, 20_000, 1, ms(1)).unwrap();
    receive(&mut received, &[0]);
    assert!(!received.ack_due(START));
    received.on_ack_frequency(5, 0, 20_000, 1, ms(1)).unwrap();
    receive(&mut received, &[1]);
    assert!(received.ack_due(START));
}

// Q144: delays out of range end the connection, whatever the sequence number.
#[test]
fn a_delay_out_of_range_is_an_error() {
    let mut received = asked(1, 1);
    for delay in [999, 16_384_000, u64::MAX >> 2] {
        let error = received
            .on_ack_frequency(0, 1, delay, 1, ms(1))
            .unwrap_err();
        assert_eq!((error.code, error.frame), (code::PROTOCOL_VIOLATION, 0xaf));
    }
    received.on_ack_frequency(1, 1, 1000, 1, ms(1)).unwrap();
    received
        .on_ack_frequency(2, 1, 16_383_999, 1, ms(1))
        .unwrap();
}

// Q144
#[test]
fn immediate_ack_is_answered_at_once() {
    let mut received = asked(100, 0);
    receive(&mut received, &[0]);
    assert!(!received.ack_due(START));
    received.on_immediate_ack();
    assert!(received.ack_due(START));
    acknowledge(&mut received);
    receive(&mut received, &[1]);
    assert!(!received.ack_due(START));
}

/// Which of the packets of an example are acknowledged at once.
fn answered(reordering: u64, numbers: &[u64]) -> Vec<u64> {
    let mut received = asked(1000, reordering);
    let mut answered = Vec::new();
    for &pn in numbers {
        receive(&mut received, &[pn]);
        if received.ack_due(START) {
            answered.push(pn);
            acknowledge(&mut received);
        }
    }
    answered
}

// Q144: the draft's tables 1 and 2.
#[test]
fn the_examples_of_the_draft() {
    assert_eq!(answered(3, &[0, 1, 3, 4, 5, 8, 9, 10]), [5, 9, 10]);
    assert_eq!(answered(5, &[0, 1, 3, 5, 6, 7, 8, 9]), [7, 9]);
}

// Q144: 0 means never.
#[test]
fn reordering_can_be_kept_quiet() {
    assert_eq!(answered(0, &[0, 9, 3, 20, 1]), []);
}

// Q144: what the sender has surely declared lost is told at once when it comes after all.
#[test]
fn a_packet_below_the_window_is_told_at_once() {
    assert_eq!(answered(3, &[0, 2, 3, 4, 5, 1]), [4, 1]);
}

// Q144: with a threshold above 1 only the first mark of a row is told at once.
#[test]
fn a_row_of_congestion_marks_is_told_once() {
    let mut received = asked(100, 1);
    let due = [(0, false), (1, true), (2, true), (3, false), (4, true)].map(|(pn, marked)| {
        let ecn = if marked { Ecn::Ce } else { Ecn::Ect0 };
        received.on_packet(START, pn, true, Some(ecn));
        let due = received.ack_due(START);
        acknowledge(&mut received);
        due
    });
    assert_eq!(due, [false, true, false, false, true]);
}

// What is kept for one space when all is quiet.
#[test]
fn an_idle_space_is_small() {
    assert!(size_of::<Received>() <= 256, "{}", size_of::<Received>());
}

// Q132, Q153: what is written is what a peer reads, the newest ranges when room is short.
#[test]
fn an_ack_frame_says_what_was_received() {
    let mut received = data();
    for pn in [0, 1, 5, 9] {
        received.on_packet(START, pn, true, Some(Ecn::Ect0));
    }
    let (mut out, mut log) = (Vec::new(), Vec::new());
    assert!(!received.write_ack(START, &mut out, 3, 3, &mut log));
    assert!(out.is_empty() && log.is_empty() && received.ack_due(START));
    assert!(received.write_ack(START + ms(8), &mut out, 1000, 3, &mut log));
    assert_eq!(log, [SentFrame::Ack { largest: 9 }]);
    let Frame::Ack(ack) = Frame::decode(&mut Reader::new(&out)).unwrap() else {
        panic!("not an ACK");
    };
    assert_eq!(ack.ranges().collect::<Vec<_>>(), [9..=9, 5..=5, 0..=1]);
    assert_eq!((ack.delay, ack.ecn.unwrap().ect0), (1000, 4));
    out.clear();
    assert!(received.write_ack(START, &mut out, 11, 3, &mut log));
    assert!(out.len() <= 11);
}
