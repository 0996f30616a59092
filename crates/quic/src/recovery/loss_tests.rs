#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::congestion::Algorithm;
use weir_core::time::{Duration, Instant};

use super::LossTimer;
use super::testing::{End, SIZE, ms, numbers};
use crate::limits::MAX_PACKET_THRESHOLD;
use crate::path::PathId;
use crate::sent::SentFrame;
use crate::wire::{Side, Space};

/// Sends `count` packets at once; the number of the first.
fn burst(end: &mut End, count: u64) -> u64 {
    let first = end.send(Space::Data);
    for _ in 1..count {
        end.send(Space::Data);
    }
    first
}

// Q137, RFC 9002 6.1.1
#[test]
fn three_packets_later_means_lost() {
    let mut end = End::measured(Side::Client);
    let first = burst(&mut end, 4);
    end.pass(10);
    end.ack(Space::Data, &[first + 2..=first + 2]);
    assert_eq!(end.lost(), []);
    end.ack(Space::Data, &[first + 3..=first + 3]);
    assert_eq!(end.lost(), [first]);
    assert_eq!(numbers(&end.out.lost), [first]);
    assert!(!end.out.lost_packets[0].by_time);
    // The other one waits for the time threshold.
    assert_eq!(end.path().in_flight, u64::from(SIZE));
}

// Q137, RFC 9002 6.1.2: 9/8 of the larger of the smoothed and the latest round trip.
#[test]
fn long_before_an_acknowledged_packet_means_lost() {
    let mut end = End::measured(Side::Client);
    let sent_at = end.now;
    let first = burst(&mut end, 2);
    end.pass(100);
    end.ack(Space::Data, &[first + 1..=first + 1]);
    assert_eq!(end.lost(), []);
    let due = sent_at + Duration::from_micros(112_500);
    assert_eq!(end.timer(), Some((due, LossTimer::Loss(Space::Data))));
    end.now = due - Duration::from_nanos(1);
    end.time_out();
    assert_eq!(end.lost(), []);
    end.now = due;
    end.time_out();
    assert_eq!(end.lost(), [first]);
    assert!(end.out.lost_packets[0].by_time);
    assert_eq!(end.timer(), None);
    assert_eq!(end.path().in_flight, 0);
}

// Q137
#[test]
fn the_time_threshold_follows_the_latest_round_trip() {
    let mut end = End::measured(Side::Client);
    let sent_at = end.now;
    let first = burst(&mut end, 2);
    end.pass(200);
    end.ack(Space::Data, &[first + 1..=first + 1]);
    // Smoothed 112.5 ms, latest 200 ms.
    let timer = (sent_at + ms(225), LossTimer::Loss(Space::Data));
    assert_eq!(end.timer(), Some(timer));
}

// Q137: not below the granularity.
#[test]
fn the_time_threshold_is_a_millisecond_at_least() {
    let mut end = End::new(Side::Client);
    end.recovery.on_handshake_confirmed();
    end.send(Space::Data);
    end.now += Duration::from_micros(10);
    end.ack(Space::Data, &[0..=0]);
    let sent_at = end.now;
    let first = burst(&mut end, 2);
    end.now += Duration::from_micros(10);
    end.ack(Space::Data, &[first + 1..=first + 1]);
    let timer = (sent_at + ms(1), LossTimer::Loss(Space::Data));
    assert_eq!(end.timer(), Some(timer));
}

// RFC 9002 6.1: only what was sent before an acknowledged packet is lost.
#[test]
fn nothing_is_lost_after_the_largest_acknowledged() {
    let mut end = End::measured(Side::Client);
    let first = burst(&mut end, 5);
    end.pass(10_000);
    end.ack(Space::Data, &[first..=first]);
    assert_eq!(end.lost(), []);
    assert_eq!(end.path().in_flight, 4 * u64::from(SIZE));
}

// RFC 9002 6.1: spaces are apart.
#[test]
fn an_acknowledgement_loses_nothing_in_other_spaces() {
    let mut end = End::new(Side::Client);
    end.send(Space::Initial);
    end.pass(10);
    for _ in 0..5 {
        end.send(Space::Handshake);
    }
    end.pass(1000);
    end.ack(Space::Handshake, &[4..=4]);
    assert_eq!(end.lost(), [0, 1]);
    assert!(end.recovery.has_eliciting_in_flight(Space::Initial));
}

// RFC 9002 6.1.1: a number that was never used is no reordering.
#[test]
fn a_number_left_out_is_not_counted_by_the_packet_threshold() {
    let mut end = End::with(Side::Client, Algorithm::NewReno, true);
    let mut last = end.send(Space::Data);
    loop {
        let next = end.send(Space::Data);
        if next == last + 2 {
            break;
        }
        last = next;
    }
    // `last`, a gap, and two more: two packets were sent after `last`, not three.
    let newest = end.send(Space::Data);
    let after = end.send(Space::Data);
    end.pass(10);
    end.ack(Space::Data, &[newest..=newest, 0..=last - 1]);
    assert_eq!((newest, end.lost()), (last + 3, vec![]));
    end.ack(Space::Data, &[after..=after]);
    assert_eq!(end.lost(), [last]);
}

// Q141
#[test]
fn keys_dropped_take_packets_out_of_flight() {
    let mut end = End::new(Side::Client);
    end.send(Space::Initial);
    end.send(Space::Initial);
    end.send(Space::Handshake);
    end.expire();
    assert_eq!(end.recovery.pto_count(), 1);
    let (now, paths) = (end.now, &mut end.paths);
    end.recovery.discard_space(now, Space::Initial, paths);
    assert_eq!(end.recovery.pto_count(), 0);
    assert_eq!(
        (end.path().in_flight, end.recovery.in_flight_total()),
        (1200, 1200)
    );
    // An acknowledgement that comes late is not looked at.
    end.ack(Space::Initial, &[0..=1]);
    assert_eq!(end.out.acked_packets, 0);
    let (_, timer) = end.timer().unwrap();
    assert_eq!(timer, LossTimer::Pto(Space::Handshake));
}

// Q142: a lost packet's frames come back; what is sent again is for their owners to say.
#[test]
fn lost_frames_are_told() {
    let mut end = End::measured(Side::Client);
    let packet = end.packet(Space::Data);
    let frames = vec![SentFrame::HandshakeDone, SentFrame::MaxData { limit: 9 }];
    end.send_frames(Space::Data, packet, frames.clone());
    burst(&mut end, 3);
    end.ack(Space::Data, &[packet.pn + 3..=packet.pn + 3]);
    assert_eq!(end.out.lost, frames);
}

// Q143
#[test]
fn a_late_acknowledgement_undoes_the_reduction() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let mut end = End::with(Side::Client, algorithm, false);
        end.recovery.on_handshake_confirmed();
        let first = burst(&mut end, 8);
        let window = end.path().controller.window();
        end.pass(100);
        end.ack(Space::Data, &[first + 4..=first + 4]);
        assert_eq!(end.lost(), [first, first + 1]);
        assert!(end.path().controller.window() < window);
        end.pass(5);
        end.ack(Space::Data, &[first + 4..=first + 4, first..=first + 1]);
        assert_eq!((end.out.spurious, end.out.acked.len()), (2, 0));
        assert!(end.path().controller.window() >= window, "{algorithm}");
        // Told once.
        end.ack(Space::Data, &[first + 4..=first + 4, first..=first + 1]);
        assert_eq!(end.out.spurious, 0);
    }
}

// Q143: a reduction is not undone while some of the losses are real.
#[test]
fn one_late_acknowledgement_of_two_undoes_nothing() {
    let mut end = End::measured(Side::Client);
    let first = burst(&mut end, 8);
    end.pass(100);
    end.ack(Space::Data, &[first + 4..=first + 4]);
    let window = end.path().controller.window();
    end.ack(Space::Data, &[first + 4..=first + 4, first..=first]);
    assert_eq!(
        (end.out.spurious, end.path().controller.window()),
        (1, window)
    );
}

// RFC 9002 6.1.1: reordering that was seen is allowed for.
#[test]
fn the_packet_threshold_grows_with_reordering() {
    let mut end = End::measured(Side::Client);
    let first = burst(&mut end, 20);
    end.pass(10);
    end.ack(Space::Data, &[first + 8..=first + 8]);
    assert_eq!(end.lost().len(), 6);
    end.ack(Space::Data, &[first + 8..=first + 8, first..=first]);
    assert_eq!((end.out.spurious, end.path().packet_threshold()), (1, 9));
    let first = burst(&mut end, 10);
    end.ack(Space::Data, &[first + 8..=first + 8]);
    assert!(!end.lost().contains(&first));
    end.ack(Space::Data, &[first + 9..=first + 9]);
    assert!(end.lost().contains(&first));
}

// RFC 9002 6.1.1: but not without bound.
#[test]
fn the_packet_threshold_is_bounded() {
    let mut end = End::measured(Side::Client);
    let first = burst(&mut end, 500);
    end.pass(10);
    end.ack(Space::Data, &[first + 400..=first + 400]);
    // Of 398 lost, those that are still remembered.
    end.ack(
        Space::Data,
        &[first + 400..=first + 400, first..=first + 398],
    );
    assert_eq!(end.out.spurious, 256);
    assert_eq!(end.path().packet_threshold(), MAX_PACKET_THRESHOLD);
}

// RFC 9002 6.1.2: so is the time threshold.
#[test]
fn the_time_threshold_grows_with_reordering_and_is_bounded() {
    let mut end = End::measured(Side::Client);
    assert_eq!(end.path().loss_delay(), Duration::from_micros(112_500));
    for round in 0..20 {
        let first = burst(&mut end, 2);
        end.pass(100);
        end.ack(Space::Data, &[first + 1..=first + 1]);
        while end.lost().is_empty() {
            end.expire();
        }
        end.ack(Space::Data, &[first..=first + 1]);
        assert_eq!(end.out.spurious, 1, "{round}");
    }
    assert_eq!(end.path().loss_delay(), ms(200));
}

// Lost packets are not remembered for ever.
#[test]
fn a_very_late_acknowledgement_is_not_known() {
    let mut end = End::measured(Side::Client);
    let first = burst(&mut end, 4);
    end.ack(Space::Data, &[first + 1..=first + 3]);
    assert_eq!(end.lost(), [first]);
    end.pass(5000);
    let next = end.send(Space::Data);
    end.ack(Space::Data, &[next..=next]);
    end.ack(Space::Data, &[first..=next]);
    assert_eq!(end.out.spurious, 0);
}

// RFC 9000 14.4: a lost probe for a larger datagram is no congestion.
#[test]
fn a_lost_size_probe_does_not_reduce_the_window() {
    let mut end = End::measured(Side::Client);
    let mut probe = end.packet(Space::Data);
    (probe.is_mtu_probe, probe.size) = (true, 1452);
    let frame = SentFrame::MtuProbe {
        path: PathId(0),
        size: 1452,
    };
    end.send_frames(Space::Data, probe, vec![frame]);
    burst(&mut end, 3);
    let window = end.path().controller.window();
    end.ack(Space::Data, &[probe.pn + 1..=probe.pn + 3]);
    assert_eq!(end.out.lost, [frame]);
    assert!(end.out.lost_packets[0].is_mtu_probe);
    assert!(end.path().controller.window() >= window);
    assert_eq!(end.path().in_flight, 0);
}

/// RFC 9002 7.6.3: packets at the times of the example, in units of `unit`, and the last answered.
fn persistent(end: &mut End, unit: u64, acked: &[u64]) -> Option<PathId> {
    let start = end.now;
    let mut numbers = Vec::new();
    for at in [1, 2, 3, 4, 5, 6, 8, 12] {
        end.now = start + ms(at * unit);
        numbers.push(end.send(Space::Data));
    }
    for &index in acked {
        let pn = numbers[index as usize];
        end.now += ms(1);
        end.ack(Space::Data, &[pn..=pn]);
    }
    end.now = start + ms(12 * unit + 100);
    let last = numbers[7];
    end.ack(Space::Data, &[last..=last]);
    end.out.persistent_congestion
}

/// 100 + 4 x 37.5 + 25, the answer's own round trip of 100 ms included.
const PTO: u64 = 275;

// Q148
#[test]
fn long_loss_of_everything_is_persistent_congestion() {
    let mut end = End::measured(Side::Client);
    assert_eq!(persistent(&mut end, PTO / 2, &[]), Some(PathId(0)));
    assert_eq!(end.path().controller.window(), 2 * u64::from(SIZE));
    // RFC 9002 5.2: the least round trip is learned anew.
    assert_eq!(end.path().rtt.min(), None);
}

// Q148: 7 units from the first to the last lost packet must exceed 3 PTO.
#[test]
fn a_shorter_loss_is_not_persistent_congestion() {
    let mut end = End::measured(Side::Client);
    assert_eq!(persistent(&mut end, 3 * PTO / 7, &[]), None);
    assert!(end.path().controller.window() > 2 * u64::from(SIZE));
}

// Q148: with one acknowledged in between, neither side is long enough.
#[test]
fn an_acknowledgement_in_between_ends_the_run() {
    let mut end = End::measured(Side::Client);
    let start = end.now;
    let mut sent = Vec::new();
    for at in [0, 400, 800, 1200, 1201] {
        end.now = start + ms(at);
        sent.push(end.send(Space::Data));
    }
    // 0 to 1,200 ms would be enough, but 400 arrived.
    end.ack(Space::Data, &[sent[4]..=sent[4], sent[1]..=sent[1]]);
    assert_eq!(end.lost(), [sent[0], sent[2]]);
    assert_eq!(end.out.persistent_congestion, None);
}

// Q148, RFC 9002 7.6.2: packets sent before the first round trip was measured do not count.
#[test]
fn persistent_congestion_needs_a_measured_round_trip() {
    let mut end = End::new(Side::Client);
    end.recovery.on_handshake_confirmed();
    let start = end.now;
    let mut last = 0;
    for at in [0, 2000, 4000, 6000, 8000, 10_000] {
        end.now = start + ms(at);
        last = end.send(Space::Data);
    }
    end.pass(100);
    end.ack(Space::Data, &[last..=last]);
    assert_eq!(end.lost().len(), 5);
    assert_eq!(end.out.persistent_congestion, None);
}

// Q148: both must be ack-eliciting.
#[test]
fn padding_does_not_establish_persistent_congestion() {
    let mut end = End::measured(Side::Client);
    let start = end.now;
    for (at, eliciting) in [(0, true), (1000, false), (2000, false)] {
        end.now = start + ms(at);
        let mut packet = end.packet(Space::Data);
        packet.ack_eliciting = eliciting;
        end.send_packet(Space::Data, packet);
    }
    end.pass(100);
    let last = end.send(Space::Data);
    end.pass(200);
    end.ack(Space::Data, &[last..=last]);
    assert_eq!(end.lost().len(), 3);
    assert_eq!(end.out.persistent_congestion, None);
}

// Q148, RFC 9002 7.6.2: across all spaces.
#[test]
fn an_acknowledgement_in_another_space_ends_the_run() {
    for other in [false, true] {
        let mut end = End::new(Side::Server);
        end.send(Space::Initial);
        end.pass(100);
        end.ack(Space::Initial, &[0..=0]);
        let start = end.now;
        end.now = start + ms(1);
        end.send(Space::Handshake);
        end.now = start + ms(700);
        if other {
            end.send(Space::Initial);
            end.pass(50);
            end.ack(Space::Initial, &[1..=1]);
        }
        end.now = start + ms(1400);
        end.send(Space::Handshake);
        end.now = start + ms(1700);
        end.send(Space::Handshake);
        end.pass(150);
        end.ack(Space::Handshake, &[2..=2]);
        assert_eq!(end.lost(), [0, 1]);
        assert_eq!(end.out.persistent_congestion.is_none(), other);
    }
}

// A call that is too early or too late changes nothing.
#[test]
fn a_spurious_time_out_does_nothing() {
    let mut end = End::measured(Side::Client);
    end.time_out();
    assert_eq!((end.out.probes, end.recovery.pto_count()), ([0; 3], 0));
    end.send(Space::Data);
    end.time_out();
    assert_eq!((end.out.probes, end.recovery.pto_count()), ([0; 3], 0));
    assert!(end.timer().unwrap().0 > Instant::ZERO);
}
