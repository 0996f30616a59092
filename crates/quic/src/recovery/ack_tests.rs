#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::congestion::Algorithm;
use weir_core::time::Duration;

use super::MAX_PACKET_NUMBER;
use super::testing::{End, SIZE, ms};
use crate::path::PathId;
use crate::sent::SentFrame;
use crate::wire::frame::EcnCounts;
use crate::wire::{Side, Space};

// Q6
#[test]
fn packet_numbers_grow_in_each_space_and_end() {
    let mut end = End::new(Side::Client);
    assert_eq!(end.send(Space::Initial), 0);
    assert_eq!(end.send(Space::Initial), 1);
    assert_eq!(end.send(Space::Handshake), 0);
    // Asking twice uses nothing up.
    assert_eq!(end.next_packet_number(Space::Initial), Some(2));
    assert_eq!(end.next_packet_number(Space::Initial), Some(2));
    let mut last = end.packet(Space::Data);
    last.pn = MAX_PACKET_NUMBER;
    end.send_packet(Space::Data, last);
    assert_eq!(end.next_packet_number(Space::Data), None);
}

// Q6, RFC 9000 17.2.5.3: a Retry does not start numbers anew.
#[test]
fn numbers_go_on_after_retry() {
    let mut end = End::new(Side::Client);
    let size = u64::from(SIZE);
    end.send(Space::Initial);
    end.send(Space::Data);
    assert_eq!(end.recovery.in_flight_total(), 2 * size);
    end.pass(10);
    let (now, paths, out) = (end.now, &mut end.paths, &mut end.out);
    end.recovery.on_retry(now, paths, out);
    assert_eq!(end.out.lost.len(), 2);
    assert!(end.out.lost_packets.is_empty());
    assert_eq!(
        (end.recovery.in_flight_total(), end.path().in_flight),
        (0, 0)
    );
    assert_eq!(end.send(Space::Initial), 1);
    assert_eq!(end.send(Space::Data), 1);
}

// RFC 9002 A.7: each packet is acknowledged once, with all of its frames.
#[test]
fn frames_come_back_once() {
    let mut end = End::new(Side::Client);
    let packet = end.packet(Space::Data);
    let frames = [SentFrame::HandshakeDone, SentFrame::NewToken];
    end.send_frames(Space::Data, packet, frames.to_vec());
    end.send(Space::Data);
    end.ack(Space::Data, &[0..=1]);
    let crypto = SentFrame::Crypto { offset: 1, len: 1 };
    assert_eq!(end.out.acked, [frames[0], frames[1], crypto]);
    assert_eq!(
        (end.out.acked_packets, end.out.largest_newly_acked),
        (2, Some(1))
    );
    end.ack(Space::Data, &[0..=1]);
    assert_eq!((end.out.acked.len(), end.out.acked_packets), (0, 0));
}

// RFC 9000 19.3.1: ranges from the largest down, with gaps.
#[test]
fn gaps_stay_unacknowledged() {
    let mut end = End::new(Side::Client);
    for _ in 0..10 {
        end.send(Space::Data);
    }
    end.ack(Space::Data, &[7..=9, 4..=5]);
    assert_eq!(end.acked(), [7, 8, 9, 4, 5]);
    // 0 to 3 and 6 are three or more packets behind 9.
    assert_eq!(end.lost(), [0, 1, 2, 3, 6]);
    assert_eq!(end.recovery.in_flight_total(), 0);
}

// Q136
#[test]
fn the_round_trip_is_that_of_the_largest_if_it_is_new() {
    let mut end = End::new(Side::Client);
    end.send(Space::Data);
    end.pass(30);
    end.send(Space::Data);
    end.pass(50);
    end.ack(Space::Data, &[0..=1]);
    assert_eq!(end.path().rtt.latest(), Some(ms(50)));
    assert_eq!(end.out.rtt_updated, Some(PathId(0)));
    end.send(Space::Data);
    end.send(Space::Data);
    end.pass(10);
    end.ack(Space::Data, &[3..=3]);
    end.pass(500);
    // 2 is new, but the largest is not: no measurement.
    end.ack(Space::Data, &[2..=3]);
    assert_eq!(end.acked(), [2]);
    assert_eq!(end.out.rtt_updated, None);
    assert_eq!(end.path().rtt.latest(), Some(ms(10)));
}

// Q136, RFC 9002 5.1: at least one of the newly acknowledged packets is ack-eliciting.
#[test]
fn packets_that_only_acknowledge_measure_nothing() {
    let mut end = End::new(Side::Client);
    end.send_ack_only(Space::Data);
    end.pass(50);
    end.ack(Space::Data, &[0..=0]);
    assert_eq!((end.out.acked_packets, end.out.rtt_updated), (1, None));
    assert_eq!(end.path().rtt.latest(), None);
}

fn smoothed_after(space: Space, confirmed: bool, delay: Duration) -> Duration {
    let mut end = End::new(Side::Client);
    end.send(space);
    end.pass(100);
    end.ack(space, &[0..=0]);
    if confirmed {
        end.recovery.on_handshake_confirmed();
    }
    end.recovery.set_peer_max_ack_delay(ms(25));
    end.send(space);
    end.pass(180);
    end.try_ack(space, &[0..=1], delay, None).unwrap();
    end.path().rtt.smoothed().unwrap()
}

// Q135
#[test]
fn a_stated_delay_is_ignored_in_initial() {
    // 7/8 x 100 + 1/8 x 180.
    assert_eq!(smoothed_after(Space::Initial, false, ms(40)), ms(110));
}

// Q135
#[test]
fn a_stated_delay_is_taken_whole_before_confirmation() {
    // 7/8 x 100 + 1/8 x (180 - 40).
    assert_eq!(smoothed_after(Space::Handshake, false, ms(40)), ms(105));
    assert_eq!(smoothed_after(Space::Data, false, ms(40)), ms(105));
}

// Q135
#[test]
fn a_stated_delay_is_capped_after_confirmation() {
    // 7/8 x 100 + 1/8 x (180 - 25).
    let capped = Duration::from_micros(106_875);
    assert_eq!(smoothed_after(Space::Data, true, ms(40)), capped);
}

// Q135
#[test]
fn a_stated_delay_does_not_go_below_the_least_round_trip() {
    assert_eq!(smoothed_after(Space::Data, false, ms(81)), ms(110));
}

// Q145
#[test]
fn bytes_in_flight_are_those_of_all_spaces() {
    let mut end = End::new(Side::Client);
    let size = u64::from(SIZE);
    end.send(Space::Initial);
    end.send(Space::Handshake);
    end.send(Space::Data);
    end.send_ack_only(Space::Data);
    assert_eq!(end.path().in_flight, 3 * size);
    end.ack(Space::Handshake, &[0..=0]);
    assert_eq!(
        (end.path().in_flight, end.recovery.in_flight_total()),
        (2 * size, 2 * size)
    );
    end.ack(Space::Data, &[0..=1]);
    assert_eq!(
        (end.path().in_flight, end.recovery.in_flight_total()),
        (size, size)
    );
}

// RFC 9002 7: windows belong to paths.
#[test]
fn an_acknowledgement_of_two_paths_counts_on_each() {
    let mut end = End::new(Side::Client);
    let size = u64::from(SIZE);
    end.send(Space::Data);
    let other = super::PathRecovery::new(end.now, &end.config, SIZE, 2);
    end.paths.paths.push(other);
    end.paths.active = 1;
    end.send(Space::Data);
    end.send(Space::Data);
    assert_eq!(end.paths.paths[0].in_flight, size);
    assert_eq!(end.paths.paths[1].in_flight, 2 * size);
    end.pass(40);
    end.ack(Space::Data, &[0..=1]);
    assert_eq!(end.acked(), [0, 1]);
    assert_eq!(end.paths.paths[0].in_flight, 0);
    assert_eq!(end.paths.paths[1].in_flight, size);
    // The largest was sent on the second: the round trip is that path's.
    assert_eq!(end.paths.paths[0].rtt.latest(), None);
    assert_eq!(end.paths.paths[1].rtt.latest(), Some(ms(40)));
}

// A path that is gone does not keep its packets from being settled.
#[test]
fn packets_of_a_path_that_is_gone_are_settled() {
    let mut end = End::new(Side::Client);
    for _ in 0..5 {
        end.send(Space::Data);
    }
    assert_eq!(end.path().in_flight, 5 * u64::from(SIZE));
    end.paths.paths.clear();
    let paths = vec![super::PathRecovery::new(end.now, &end.config, SIZE, 2)];
    end.paths.paths = paths;
    // The packets name a path that exists again under its number but has nothing in flight.
    end.ack(Space::Data, &[4..=4]);
    assert_eq!((end.acked(), end.lost()), (vec![4], vec![0, 1]));
    assert_eq!(
        (end.path().in_flight, end.recovery.in_flight_total()),
        (0, 2 * u64::from(SIZE))
    );
}

// RFC 9000 9.4: what a dead path had in flight is sent on another at once.
#[test]
fn a_path_given_up_gives_its_packets_back() {
    let mut end = End::new(Side::Client);
    end.send(Space::Data);
    let other = super::PathRecovery::new(end.now, &end.config, SIZE, 2);
    end.paths.paths.push(other);
    end.paths.active = 1;
    end.send(Space::Data);
    let window = end.path().controller.window();
    let (now, paths, out) = (end.now, &mut end.paths, &mut end.out);
    end.recovery.on_path_gone(now, PathId(0), paths, out);
    assert_eq!(super::testing::numbers(&end.out.lost), [0]);
    assert_eq!(
        (end.path().in_flight, end.path().controller.window()),
        (0, window)
    );
    assert_eq!(end.recovery.in_flight_total(), u64::from(SIZE));
    end.ack(Space::Data, &[0..=1]);
    assert_eq!((end.acked(), end.out.spurious), (vec![1], 0));
}

// RFC 9001 4.6.2, RFC 9002 6.4
#[test]
fn rejected_early_data_is_sent_again_without_congestion() {
    let mut end = End::with(Side::Client, Algorithm::Cubic, false);
    for _ in 0..4 {
        end.send(Space::Data);
    }
    let window = end.path().controller.window();
    let (now, paths, out) = (end.now, &mut end.paths, &mut end.out);
    end.recovery.on_zero_rtt_rejected(now, paths, out);
    assert_eq!(super::testing::numbers(&end.out.lost), [0, 1, 2, 3]);
    assert_eq!(
        (end.path().in_flight, end.path().controller.window()),
        (0, window)
    );
    assert!(!end.recovery.has_eliciting_in_flight(Space::Data));
    assert_eq!(end.send(Space::Data), 4);
}

// RFC 9000 13.2.4: a PING now and then makes the peer tell which ACKs it saw.
#[test]
fn after_many_bare_acknowledgements_one_asks_for_an_answer() {
    let mut end = End::new(Side::Server);
    for _ in 0..31 {
        end.send_ack_only(Space::Data);
        assert!(!end.recovery.wants_ping(Space::Data));
    }
    end.send_ack_only(Space::Data);
    assert!(end.recovery.wants_ping(Space::Data));
    end.send(Space::Data);
    assert!(!end.recovery.wants_ping(Space::Data));
}

// Memory of packets that only acknowledge is bounded although nobody acknowledges them.
#[test]
fn bare_acknowledgements_take_no_more_memory() {
    let mut end = End::new(Side::Server);
    for _ in 0..100_000 {
        end.send_ack_only(Space::Data);
    }
    assert!(
        end.recovery.memory() < 16 * 1024,
        "{}",
        end.recovery.memory()
    );
    let largest = end.send(Space::Data);
    end.ack(Space::Data, &[0..=largest]);
    // Those that were remembered, and the last.
    assert_eq!(end.out.acked_packets, 65);
    end.recovery.release_memory();
    assert_eq!(end.recovery.memory(), 0);
}

// Counts of marks are right although not every packet is remembered.
#[test]
fn marks_of_forgotten_packets_were_sent_all_the_same() {
    let mut end = End::new(Side::Server);
    for _ in 0..200 {
        let mut packet = end.packet(Space::Data);
        (packet.ack_eliciting, packet.in_flight, packet.ecn) = (false, false, true);
        end.send_frames(Space::Data, packet, Vec::new());
    }
    let counts = EcnCounts {
        ect0: 200,
        ..EcnCounts::default()
    };
    end.try_ack(Space::Data, &[0..=199], ms(0), Some(counts))
        .unwrap();
    assert_eq!(end.path().ecn.phase(), super::EcnPhase::Capable);
}

// An idle connection holds next to nothing.
#[test]
fn idle_memory_is_given_back() {
    let mut end = End::measured(Side::Server);
    for _ in 0..10_000 {
        end.send(Space::Data);
    }
    assert!(end.recovery.memory() > 500_000);
    end.pass(100);
    end.ack(Space::Data, &[1..=9_000, 0..=0]);
    end.ack(Space::Data, &[9_500..=10_000]);
    assert!(!end.out.lost_packets.is_empty());
    assert_eq!(end.recovery.in_flight_total(), 0);
    end.recovery.release_memory();
    assert_eq!(end.recovery.memory(), 0);
    assert!(
        size_of::<super::Recovery>() < 1600,
        "{}",
        size_of::<super::Recovery>()
    );
}
