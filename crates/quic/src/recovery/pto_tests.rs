#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::time::Duration;

use super::ack_frequency::Request;
use super::testing::{End, SIZE, ms, numbers};
use super::{LossTimer, PathRecovery, RecoveryConfig};
use crate::path::PathId;
use crate::sent::SentFrame;
use crate::wire::{Side, Space};

const INITIAL: LossTimer = LossTimer::Pto(Space::Initial);
const HANDSHAKE: LossTimer = LossTimer::Pto(Space::Handshake);
const DATA: LossTimer = LossTimer::Pto(Space::Data);

// Q138, Q139: 333 ms and 4 x half of it.
#[test]
fn the_first_probe_is_due_after_a_second() {
    let mut end = End::new(Side::Client);
    end.send(Space::Initial);
    assert_eq!(end.timer(), Some((end.now + ms(999), INITIAL)));
}

// Q139
#[test]
fn a_remembered_round_trip_is_begun_with() {
    let mut end = End::new(Side::Client);
    let config = RecoveryConfig {
        initial_rtt: Some(ms(20)),
        ..end.config
    };
    end.paths.paths[0] = super::PathRecovery::new(end.now, &config, SIZE, 1);
    end.send(Space::Initial);
    assert_eq!(end.timer(), Some((end.now + ms(60), INITIAL)));
}

// Q138, RFC 9002 6.2.1: max_ack_delay counts in the data space only.
#[test]
fn the_time_out_is_made_of_round_trip_variation_and_delay() {
    let mut end = End::measured(Side::Client);
    end.recovery.set_peer_max_ack_delay(ms(40));
    end.send(Space::Data);
    assert_eq!(end.timer(), Some((end.now + ms(100 + 200 + 40), DATA)));
    end.send(Space::Handshake);
    assert_eq!(end.timer(), Some((end.now + ms(300), HANDSHAKE)));
}

// Q138: the margin is not below the granularity.
#[test]
fn a_steady_round_trip_keeps_a_margin() {
    let mut end = End::measured(Side::Client);
    for _ in 0..100 {
        let pn = end.send(Space::Data);
        end.pass(100);
        end.ack(Space::Data, &[pn..=pn]);
    }
    end.send(Space::Handshake);
    assert_eq!(end.timer(), Some((end.now + ms(101), HANDSHAKE)));
}

// Q138, threats C5: where nothing can be sent, a time-out at its bound is not due again at once.
#[test]
fn time_outs_without_a_probe_lie_apart() {
    let mut end = End::measured(Side::Client);
    end.send(Space::Data);
    let mut last = end.now;
    for _ in 0..40 {
        end.expire();
        assert!(end.now > last, "{:?}", end.recovery.pto_count());
        last = end.now;
    }
    let (at, _) = end.timer().unwrap();
    assert_eq!(at, end.now + ms(30_000), "half of the bound");
}

// Q138
#[test]
fn each_time_out_doubles_the_next_and_an_answer_ends_it() {
    let mut end = End::measured(Side::Client);
    let pto = ms(325);
    for doubling in [1, 2, 4, 8] {
        let pn = end.send(Space::Data);
        assert_eq!(end.timer(), Some((end.now + pto * doubling, DATA)));
        assert_eq!((end.expire(), end.out.probes), (DATA, [0, 0, 2]));
        assert_eq!(numbers(&end.out.lost), []);
        assert!(end.recovery.end(Space::Data) > pn);
    }
    assert_eq!(end.recovery.pto_count(), 4);
    let pn = end.send(Space::Data);
    end.pass(100);
    end.ack(Space::Data, &[pn..=pn]);
    assert_eq!(end.recovery.pto_count(), 0);
}

// Q138: doubling is bounded.
#[test]
fn backoff_ends_at_a_minute() {
    let mut end = End::measured(Side::Client);
    for _ in 0..40 {
        end.send(Space::Data);
        end.expire();
    }
    end.send(Space::Data);
    assert_eq!(end.timer(), Some((end.now + Duration::from_secs(60), DATA)));
}

// Q138, RFC 9002 6.2.1: backoff is common to all spaces.
#[test]
fn a_time_out_in_one_space_doubles_all() {
    let mut end = End::new(Side::Server);
    end.send(Space::Initial);
    end.expire();
    end.send(Space::Handshake);
    end.send(Space::Initial);
    assert_eq!(end.timer(), Some((end.now + ms(1998), INITIAL)));
}

// Q138, RFC 9002 6.2.1: the earliest of the handshake spaces.
#[test]
fn the_timer_is_that_of_the_earlier_space() {
    let mut end = End::new(Side::Server);
    end.send(Space::Handshake);
    end.pass(10);
    end.send(Space::Initial);
    assert_eq!(end.timer().unwrap().1, HANDSHAKE);
    end.send(Space::Handshake);
    assert_eq!(end.timer().unwrap().1, INITIAL);
}

// RFC 9002 6.2.1: no time-out of the data space before the handshake is confirmed.
#[test]
fn data_waits_for_confirmation() {
    let mut end = End::new(Side::Server);
    end.send(Space::Data);
    assert_eq!(end.timer(), None);
    end.recovery.on_handshake_confirmed();
    assert_eq!(end.timer().unwrap().1, DATA);
}

// RFC 9002 6.2.1: a time threshold comes first.
#[test]
fn a_loss_timer_takes_the_place_of_the_time_out() {
    let mut end = End::measured(Side::Client);
    let first = end.send(Space::Data);
    end.send(Space::Data);
    end.pass(100);
    end.ack(Space::Data, &[first + 1..=first + 1]);
    assert_eq!(end.timer().unwrap().1, LossTimer::Loss(Space::Data));
}

// Q140, RFC 9002 6.2.4: nothing is lost by a time-out, and old content is offered.
#[test]
fn a_time_out_offers_old_content_and_loses_nothing() {
    let mut end = End::measured(Side::Client);
    let packet = end.packet(Space::Data);
    let frames = vec![
        SentFrame::Ack { largest: 3 },
        SentFrame::MaxData { limit: 7 },
        SentFrame::Datagram { number: 1 },
        SentFrame::PathChallenge { path: PathId(0) },
    ];
    end.send_frames(Space::Data, packet, frames);
    let second = end.send(Space::Data);
    end.send(Space::Data);
    let (window, in_flight) = (end.path().controller.window(), end.path().in_flight);
    end.expire();
    // The two oldest packets, without what is never sent twice.
    let crypto = SentFrame::Crypto {
        offset: second,
        len: 1,
    };
    let resend: Vec<SentFrame> = end.out.resend.iter().map(|(_, frame)| *frame).collect();
    assert_eq!(resend, [SentFrame::MaxData { limit: 7 }, crypto]);
    assert_eq!((end.out.lost.len(), end.out.lost_packets.len()), (0, 0));
    assert_eq!(end.path().controller.window(), window);
    assert_eq!(end.path().in_flight, in_flight);
}

// Q140, RFC 9002 7.5: probes are counted, whatever the window says.
#[test]
fn probes_pass_the_window() {
    let mut end = End::measured(Side::Client);
    while end.path().window_left() >= u64::from(SIZE) {
        end.send(Space::Data);
    }
    let in_flight = end.path().in_flight;
    end.expire();
    assert_eq!(end.out.probes, [0, 0, 2]);
    end.send(Space::Data);
    assert_eq!(end.path().in_flight, in_flight + u64::from(SIZE));
    assert_eq!(end.path().window_left(), 0);
}

// RFC 9002 6.2.4: the other spaces with something in flight are probed along.
#[test]
fn a_handshake_probes_all_spaces_that_wait() {
    let mut end = End::new(Side::Server);
    end.send(Space::Initial);
    end.send(Space::Handshake);
    end.send(Space::Data);
    assert_eq!(end.expire(), INITIAL);
    assert_eq!(end.out.probes, [2, 2, 1]);
    assert_eq!(end.out.resend.len(), 3);
}

// Q61, RFC 9002 6.2.2.1
#[test]
fn a_client_with_nothing_in_flight_frees_the_server() {
    let mut end = End::new(Side::Client);
    end.send(Space::Initial);
    end.pass(100);
    end.ack(Space::Initial, &[0..=0]);
    assert_eq!(end.path().in_flight, 0);
    assert_eq!(end.timer(), Some((end.now + ms(300), INITIAL)));
    assert_eq!((end.expire(), end.out.probes), (INITIAL, [1, 0, 0]));
    // The wait does not start over when it is asked for again, and doubles.
    let at = end.now + ms(600);
    end.pass(200);
    assert_eq!(end.timer(), Some((at, INITIAL)));
    // With Handshake keys it is a Handshake packet.
    end.recovery.on_handshake_keys();
    assert_eq!((end.expire(), end.out.probes), (HANDSHAKE, [0, 1, 0]));
}

// Q61: until a Handshake packet is acknowledged, or the handshake is confirmed.
#[test]
fn a_client_knows_that_its_address_is_validated() {
    let mut end = End::new(Side::Client);
    end.recovery.on_handshake_keys();
    end.send(Space::Handshake);
    end.pass(100);
    end.ack(Space::Handshake, &[0..=0]);
    assert_eq!(end.timer(), None);
    let mut end = End::new(Side::Client);
    assert_eq!(end.timer().unwrap().1, INITIAL);
    end.recovery.on_handshake_confirmed();
    assert_eq!(end.timer(), None);
}

// Q61: 0-RTT in flight alone does not free the server.
#[test]
fn early_data_in_flight_does_not_stop_the_client_from_probing() {
    let mut end = End::new(Side::Client);
    end.send(Space::Initial);
    end.send(Space::Data);
    end.pass(100);
    end.ack(Space::Initial, &[0..=0]);
    assert_eq!(end.timer(), Some((end.now + ms(300), INITIAL)));
}

// Q61: servers have nothing to free.
#[test]
fn a_server_with_nothing_in_flight_waits() {
    assert_eq!(End::new(Side::Server).timer(), None);
}

// Q138, RFC 9002 6.2.1: acknowledged Initials do not show a client that its address is validated.
#[test]
fn a_client_keeps_its_backoff_over_acknowledged_initials() {
    let mut end = End::new(Side::Client);
    end.send(Space::Initial);
    end.expire();
    let pn = end.send(Space::Initial);
    end.pass(100);
    end.ack(Space::Initial, &[pn..=pn]);
    assert_eq!((end.out.acked_packets, end.recovery.pto_count()), (1, 1));
    end.send(Space::Handshake);
    end.pass(10);
    end.ack(Space::Handshake, &[0..=0]);
    assert_eq!(end.recovery.pto_count(), 0);
}

// RFC 9002 6.2.2.1: a server that may not send does not probe.
#[test]
fn a_blocked_server_has_no_time_out() {
    let mut end = End::new(Side::Server);
    end.send(Space::Initial);
    end.blocked = true;
    assert_eq!(end.timer(), None);
    end.pass(5000);
    end.time_out();
    assert_eq!(end.out.probes, [0; 3]);
    // A datagram came: the time-out is over and is acted on at once.
    end.blocked = false;
    end.time_out();
    assert_eq!(end.out.probes, [2, 0, 0]);
}

// Q144, section 6 of the draft: the larger of what holds and what is asked for.
#[test]
fn a_request_in_flight_counts_in_the_time_out() {
    let mut end = End::measured(Side::Client);
    let request = |sequence, delay| Request {
        sequence,
        threshold: 10,
        max_ack_delay: ms(delay),
        reordering: 3,
    };
    end.send(Space::Data);
    let base = end.timer().unwrap().0 - ms(25);
    let now = end.now;
    let frequency = end.recovery.ack_frequency();
    frequency.on_sent(now, request(0, 60));
    assert_eq!(end.timer().unwrap().0, base + ms(60));
    end.recovery.ack_frequency().on_acked(0);
    assert_eq!(end.timer().unwrap().0, base + ms(60));
    end.recovery.ack_frequency().on_sent(now, request(1, 5));
    assert_eq!(end.timer().unwrap().0, base + ms(60));
    end.recovery.ack_frequency().on_acked(1);
    assert_eq!(end.timer().unwrap().0, base + ms(5));
}

// Q144: asked for once a round trip when there is reason; asked again when lost.
#[test]
fn the_peer_is_asked_when_there_is_reason() {
    let mut end = End::measured(Side::Server);
    let now = end.now;
    let path = &end.paths.paths[0];
    let frequency = end.recovery.ack_frequency();
    assert_eq!(frequency.poll(now, path, SIZE), None);
    frequency.set_peer_min_ack_delay(ms(1));
    let first = frequency.poll(now, path, SIZE).unwrap();
    assert_eq!(
        (first.sequence, first.max_ack_delay, first.reordering),
        (0, ms(25), 3)
    );
    assert!(first.threshold >= 1);
    frequency.on_sent(now, first);
    let later = now + ms(150);
    assert_eq!(frequency.poll(later, path, SIZE), None);
    frequency.on_lost(0);
    let second = frequency.poll(later, path, SIZE).unwrap();
    assert_eq!((second.sequence, second.max_ack_delay), (1, ms(25)));
    frequency.on_sent(later, second);
    frequency.on_acked(1);
    assert_eq!(frequency.poll(later + ms(500), path, SIZE), None);
}

// Q144: never less than the peer can do.
#[test]
fn a_request_respects_the_least_delay() {
    let mut end = End::new(Side::Server);
    end.send(Space::Data);
    end.pass(2);
    end.ack(Space::Data, &[0..=0]);
    let now = end.now;
    let path = &end.paths.paths[0];
    let frequency = end.recovery.ack_frequency();
    frequency.set_peer_min_ack_delay(ms(10));
    let request = frequency.poll(now, path, SIZE).unwrap();
    assert_eq!(request.max_ack_delay, ms(10));
}

// Q144, RFC 9406 4.2: leaving slow start by the delay takes eight measurements in a round.
#[test]
fn slow_start_is_told_often_enough_to_leave_it() {
    let mut end = End::measured(Side::Server);
    let now = end.now;
    end.config.initial_window = Some(100 * u64::from(SIZE));
    let mut path = PathRecovery::new(now, &end.config, SIZE, 1);
    path.on_rtt_sample(now, ms(100), ms(0));
    assert!(path.controller.in_slow_start());
    let frequency = end.recovery.ack_frequency();
    frequency.set_peer_min_ack_delay(ms(1));
    let request = frequency.poll(now, &path, SIZE).unwrap();
    assert!(100 / (request.threshold + 1) >= 8, "{request:?}");
    frequency.on_sent(now, request);
    frequency.on_acked(request.sequence);
    // Afterwards the window hardly moves, and fewer do.
    path.controller.on_ecn_ce(now, now, 0, 1);
    assert!(!path.controller.in_slow_start());
    let later = frequency.poll(now + ms(200), &path, SIZE);
    assert!(later.is_none_or(|later| later.threshold >= request.threshold));
}
