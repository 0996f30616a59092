#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::ops::RangeInclusive;

use super::testing::{End, SIZE, ms};
use super::{EcnFailure, EcnPhase, PathRecovery};
use crate::wire::frame::EcnCounts;
use crate::wire::{Side, Space};

fn counts(ect0: u64, ect1: u64, ce: u64) -> Option<EcnCounts> {
    Some(EcnCounts { ect0, ect1, ce })
}

/// Sends `count` packets, marked as the path says.
fn send(end: &mut End, count: u64) -> u64 {
    let mut last = 0;
    for _ in 0..count {
        let mut packet = end.packet(Space::Data);
        let active = end.paths.active;
        packet.ecn = end.paths.paths[active].ecn.marks();
        last = end.send_packet(Space::Data, packet);
    }
    last
}

fn ack(end: &mut End, range: RangeInclusive<u64>, ecn: Option<EcnCounts>) {
    end.try_ack(Space::Data, &[range], ms(0), ecn).unwrap();
}

fn failed(end: &mut End) -> Option<EcnFailure> {
    match end.path().ecn.phase() {
        EcnPhase::Failed(failure) => Some(failure),
        _ => None,
    }
}

fn tested() -> End {
    let mut end = End::new(Side::Client);
    send(&mut end, 4);
    ack(&mut end, 0..=3, counts(4, 0, 0));
    assert_eq!(end.path().ecn.phase(), EcnPhase::Capable);
    end
}

// Q152, RFC 9000 A.4: ten packets are marked, then none until marks are reported.
#[test]
fn a_path_is_tested_with_ten_packets() {
    let mut end = End::new(Side::Client);
    send(&mut end, 9);
    assert!(end.path().ecn.marks());
    send(&mut end, 2);
    assert_eq!(end.path().ecn.phase(), EcnPhase::Unknown);
    assert!(!end.path().ecn.marks());
    ack(&mut end, 0..=10, counts(10, 0, 0));
    assert_eq!(end.path().ecn.phase(), EcnPhase::Capable);
    assert!(end.path().ecn.marks());
    assert!(end.out.ecn.is_some());
}

// Q152
#[test]
fn nothing_is_marked_when_it_is_not_wanted() {
    let mut end = End::new(Side::Client);
    end.config.ecn = false;
    end.paths.paths[0] = PathRecovery::new(end.now, &end.config, SIZE, 1);
    assert!(!end.path().ecn.marks());
    send(&mut end, 2);
    ack(&mut end, 0..=1, counts(0, 0, 1));
    assert_eq!(
        (end.path().ecn.phase(), end.out.newly_ce),
        (EcnPhase::Off, 0)
    );
}

// Q152, RFC 9000 13.4.2.1: marked packets without counts.
#[test]
fn missing_counts_turn_it_off() {
    let mut end = End::new(Side::Client);
    send(&mut end, 2);
    ack(&mut end, 0..=1, None);
    assert_eq!(failed(&mut end), Some(EcnFailure::Missing));
    assert!(!end.path().ecn.marks());
}

// Q152: counts that do not grow by as much as was acknowledged.
#[test]
fn too_small_counts_turn_it_off() {
    let mut end = tested();
    let last = send(&mut end, 3);
    ack(&mut end, 4..=last, counts(6, 0, 0));
    assert_eq!(failed(&mut end), Some(EcnFailure::TooFew));
}

// Q152: a packet marked on the way counts for one that was sent as ECT(0).
#[test]
fn congestion_marks_make_up_for_missing_ect0() {
    let mut end = tested();
    let last = send(&mut end, 3);
    ack(&mut end, 4..=last, counts(6, 0, 1));
    assert_eq!(end.path().ecn.phase(), EcnPhase::Capable);
    assert_eq!(end.out.newly_ce, 1);
}

// Q152
#[test]
fn falling_counts_turn_it_off() {
    let mut end = tested();
    let last = send(&mut end, 1);
    ack(&mut end, last..=last, counts(3, 0, 9));
    assert_eq!(failed(&mut end), Some(EcnFailure::Decreased));
}

// Q152: marks that were never sent.
#[test]
fn marks_nobody_sent_turn_it_off() {
    let mut end = tested();
    let last = send(&mut end, 1);
    ack(&mut end, last..=last, counts(5, 1, 0));
    assert_eq!(failed(&mut end), Some(EcnFailure::TooMany));
    let mut end = tested();
    let last = send(&mut end, 1);
    ack(&mut end, last..=last, counts(6, 0, 0));
    assert_eq!(failed(&mut end), Some(EcnFailure::TooMany));
}

// Q152: counts may be larger when an acknowledgement was lost.
#[test]
fn counts_of_a_lost_acknowledgement_are_no_fault() {
    let mut end = tested();
    let last = send(&mut end, 3);
    ack(&mut end, last..=last, counts(7, 0, 0));
    assert_eq!(end.path().ecn.phase(), EcnPhase::Capable);
}

// Q152, RFC 9000 13.4.2.1: only a larger largest number is judged.
#[test]
fn reordered_acknowledgements_are_not_judged() {
    let mut end = tested();
    let last = send(&mut end, 3);
    ack(&mut end, last..=last, counts(7, 0, 0));
    ack(&mut end, last - 2..=last - 1, None);
    assert_eq!(end.out.acked_packets, 2);
    assert_eq!(end.path().ecn.phase(), EcnPhase::Capable);
}

// Q152, RFC 9000 13.4.2: all of the first are lost.
#[test]
fn a_device_that_drops_marked_packets_is_found() {
    let mut end = End::new(Side::Client);
    send(&mut end, 10);
    assert_eq!(end.path().ecn.phase(), EcnPhase::Unknown);
    end.pass(2000);
    let last = send(&mut end, 1);
    end.pass(50);
    ack(&mut end, last..=last, None);
    assert_eq!(end.lost().len(), 10);
    assert_eq!(failed(&mut end), Some(EcnFailure::BlackHole));
    assert!(end.out.ecn.is_some());
}

// Q152: one that arrives is enough to tell loss from a device.
#[test]
fn ordinary_loss_does_not_turn_it_off() {
    let mut end = End::new(Side::Client);
    send(&mut end, 10);
    end.pass(2000);
    ack(&mut end, 9..=9, counts(1, 0, 0));
    assert_eq!(end.lost().len(), 7);
    assert_eq!(end.path().ecn.phase(), EcnPhase::Capable);
}

// RFC 9000 13.4.2: time-outs of the handshake go unmarked from the second on.
#[test]
fn repeated_time_outs_are_not_marked() {
    let mut end = End::new(Side::Client);
    end.recovery.on_handshake_confirmed();
    send(&mut end, 1);
    end.expire();
    assert!(end.path().ecn.marks());
    send(&mut end, 1);
    end.expire();
    assert!(!end.path().ecn.marks());
}

// RFC 9000 A.4: a device that marks all as congested is not believed.
#[test]
fn all_marked_congested_turns_it_off() {
    let mut end = End::new(Side::Client);
    send(&mut end, 10);
    ack(&mut end, 0..=9, counts(0, 0, 10));
    assert_eq!(failed(&mut end), Some(EcnFailure::AllCongested));
}

// Q152, RFC 9002 7.1: a mark is a sign of congestion, once a round trip.
#[test]
fn congestion_marks_reduce_the_window() {
    let mut end = tested();
    let window = end.path().controller.window();
    end.pass(10);
    let last = send(&mut end, 4);
    end.pass(50);
    ack(&mut end, last - 3..=last - 2, counts(5, 0, 1));
    let reduced = end.path().controller.window();
    assert!(reduced < window);
    assert_eq!(end.lost(), []);
    // These were sent before the reduction.
    ack(&mut end, last - 1..=last, counts(6, 0, 2));
    assert_eq!(end.path().controller.window(), reduced);
}

// Q152: per path. Counts of two paths together judge neither by the other's fault.
#[test]
fn another_path_is_tested_for_itself() {
    let mut end = tested();
    end.paths
        .paths
        .push(PathRecovery::new(end.now, &end.config, SIZE, 2));
    end.paths.active = 1;
    let last = send(&mut end, 2);
    ack(&mut end, last - 1..=last, counts(4, 0, 0));
    let phases = [0, 1].map(|path: usize| end.paths.paths[path].ecn.phase());
    assert_eq!(phases[0], EcnPhase::Capable);
    assert_eq!(phases[1], EcnPhase::Failed(EcnFailure::TooFew));
}
