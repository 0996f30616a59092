//! The retransmission timer (RFC 6298).

use weir_core::congestion::Algorithm;

use super::testing::{MSS, Model, config, ms};
use super::{Recovery, RecoveryConfig, RecoveryTimer, Sent, Timeout, initial_window};

fn reno() -> RecoveryConfig {
    config(Algorithm::NewReno)
}

/// Neither SACK nor timestamps: only the timer and duplicates.
fn plain() -> RecoveryConfig {
    RecoveryConfig {
        sack: false,
        timestamps: false,
        ..reno()
    }
}

// T71: RFC 6298 2.1 to 2.3.
#[test]
fn the_time_out_follows_the_formula() {
    let mut model = Model::new(&reno());
    assert_eq!(model.recovery.rto(), ms(1000));
    model.transmit_syn();
    model.now += ms(400);
    model.ack_at(1);
    // R = 400: SRTT = 400, RTTVAR = 200.
    assert_eq!(model.recovery.rto(), ms(400 + 4 * 200));
    model.write(MSS);
    model.transmit();
    model.now += ms(480);
    model.ack_at(1 + MSS);
    // RTTVAR = 3/4 * 200 + 1/4 * 80 = 170, SRTT = 7/8 * 400 + 1/8 * 480 = 410.
    assert_eq!(model.recovery.rto(), ms(410 + 4 * 170));
}

// T72: the floor is for the variation (200 ms), the ceiling is 120 s.
#[test]
fn the_time_out_has_a_floor_and_a_ceiling() {
    let mut model = Model::established(&plain(), ms(1));
    assert_eq!(model.recovery.rto(), ms(1 + 200));
    model.write(MSS);
    model.transmit();
    for _ in 0..20 {
        assert_eq!(model.expire(), Timeout::Retransmit);
        model.transmit();
    }
    assert_eq!(model.recovery.rto(), ms(120_000));
}

// T73: Karn's algorithm.
#[test]
fn what_was_sent_again_is_not_measured() {
    let mut model = Model::established(&plain(), ms(100));
    let before = model.recovery.stats();
    model.write(MSS);
    model.transmit();
    assert_eq!(model.expire(), Timeout::Retransmit);
    model.transmit();
    model.now += ms(700);
    assert_eq!(model.ack_at(1 + MSS).rtt, None);
    assert_eq!(model.recovery.stats().rtt, before.rtt);
}

// T73: with timestamps, the echo tells which transmission was answered.
#[test]
fn the_echo_measures_what_was_sent_again() {
    let mut model = Model::established(
        &RecoveryConfig {
            sack: false,
            ..reno()
        },
        ms(100),
    );
    model.write(MSS);
    model.transmit();
    model.expire();
    model.transmit();
    model.now += ms(130);
    assert_eq!(model.deliver(1).rtt, Some(ms(130)));
}

// T74: with a measurement for each acknowledgement, the estimate keeps its memory.
#[test]
fn the_gains_fit_the_number_of_samples() {
    let mut model = Model::established(&reno(), ms(100));
    for round in 0..6 {
        model.write(10 * MSS);
        model.transmit();
        let sent = model.send.next();
        model.now += ms(if round < 5 { 100 } else { 200 });
        let base = model.send.base();
        for n in 1..=10 {
            assert!(model.ack_at((base + n * MSS).min(sent)).rtt.is_some());
        }
    }
    let smoothed = model.recovery.stats().rtt.unwrap();
    // One round at 200 ms moves it by an eighth of the distance, as one sample would.
    assert!((ms(110)..ms(115)).contains(&smoothed), "{smoothed:?}");
}

// T75: RFC 6298 5.1 to 5.3.
#[test]
fn the_timer_starts_restarts_and_stops() {
    let mut model = Model::established(&plain(), ms(100));
    assert_eq!(model.recovery.poll_timeout(), None);
    model.write(2 * MSS);
    model.transmit();
    let rto = model.recovery.rto();
    let first = Some((model.now + rto, RecoveryTimer::Retransmit));
    assert_eq!(model.recovery.poll_timeout(), first);
    // More data while it runs does not move it.
    model.now += ms(50);
    model.write(MSS);
    model.transmit();
    assert_eq!(model.recovery.poll_timeout(), first);
    model.now += ms(50);
    model.ack_at(1 + MSS);
    let again = Some((model.now + model.recovery.rto(), RecoveryTimer::Retransmit));
    assert_eq!(model.recovery.poll_timeout(), again);
    // A duplicate does not move it either.
    model.now += ms(10);
    model.ack_at(1 + MSS);
    assert_eq!(model.recovery.poll_timeout(), again);
    model.ack_at(1 + 3 * MSS);
    assert_eq!(model.recovery.poll_timeout(), None);
}

// T76: RFC 6298 5.4 to 5.6, and section 5's end.
#[test]
fn expiry_sends_the_first_segment_and_doubles() {
    let mut model = Model::established(&plain(), ms(100));
    let rto = model.recovery.rto();
    model.write(3 * MSS);
    model.transmit();
    for n in 1..4 {
        let from = model.wire.len();
        assert_eq!(model.expire(), Timeout::Retransmit);
        assert_eq!(model.transmit(), MSS);
        assert_eq!(model.sent(from), [Model::nth(0)]);
        assert_eq!(model.recovery.rto(), rto * (1 << n));
        assert_eq!(model.recovery.consecutive_timeouts(), n);
        let next = model.recovery.poll_timeout().unwrap();
        assert_eq!(next.0, model.now + model.recovery.rto());
    }
    // Without timestamps the answer to a repeat is no measurement: the backoff stays ...
    model.now += ms(100);
    model.ack_at(1 + MSS);
    assert_eq!(model.recovery.rto(), rto * 8);
    assert_eq!(model.recovery.consecutive_timeouts(), 0);
    // ... until something is measured.
    model.transmit();
    model.now += ms(100);
    model.ack_at(1 + 3 * MSS);
    model.write(MSS);
    model.transmit();
    model.now += ms(100);
    model.ack_at(1 + 4 * MSS);
    assert!(model.recovery.rto() < ms(400));
}

// T76: RFC 8961 section 4 (4) (a): what was sent but once arrived after the time-out. Together with what
// was sent again it gives no measurement, and takes the backoff back all the same.
#[test]
fn new_data_that_arrives_takes_the_backoff_back() {
    let mut model = Model::established(&plain(), ms(100));
    let rto = model.recovery.rto();
    model.write(3 * MSS);
    model.transmit();
    model.expire();
    model.transmit();
    model.now += ms(100);
    model.ack_at(1 + MSS);
    model.transmit();
    model.write(MSS);
    model.now += ms(100);
    model.ack_at(1 + 2 * MSS);
    model.transmit();
    // Two answers to what was sent again.
    assert_eq!(model.recovery.rto(), rto * 2);
    model.now += ms(100);
    assert_eq!(model.ack_at(1 + 4 * MSS).rtt, None);
    assert_eq!(model.recovery.rto(), rto);
}

// T77: what the connection judges R1, R2 and the user time-out by.
#[test]
fn repeats_and_the_age_of_the_oldest_byte_are_told() {
    let mut model = Model::established(&plain(), ms(100));
    model.write(MSS);
    model.transmit();
    let sent_at = model.now;
    for n in 1..=3 {
        model.expire();
        model.transmit();
        assert_eq!(model.recovery.consecutive_timeouts(), n);
        assert_eq!(model.recovery.first_unacked_at(), Some(sent_at));
    }
    model.ack_at(1 + MSS);
    assert_eq!(model.recovery.first_unacked_at(), None);
}

// T78: the time that a stretched acknowledgement waited for later segments is not measured twice:
// the sample is that of the segment that moved the window.
#[test]
fn a_delayed_tail_does_not_inflate_the_estimate() {
    let mut model = Model::established(&reno(), ms(100));
    model.write(2 * MSS);
    model.transmit();
    model.now += ms(100);
    assert_eq!(model.ack_at(1 + MSS).rtt, Some(ms(100)));
    // A bare acknowledgement of nothing new, half a second late, says nothing.
    model.now += ms(500);
    assert_eq!(model.ack_at(1 + MSS).rtt, None);
    assert_eq!(model.recovery.stats().rtt, Some(ms(100)));
}

// T24, T76: a SYN is repeated by the same timer, and the window is not touched by it.
#[test]
fn a_syn_is_repeated_with_backoff() {
    let mut model = Model::new(&reno());
    model.transmit_syn();
    let start = model.now;
    let window = model.recovery.stats().window;
    for seconds in [1, 3, 7] {
        assert!(!model.recovery.needs_syn());
        assert_eq!(model.expire(), Timeout::Retransmit);
        assert_eq!(model.now, start + ms(seconds * 1000));
        assert!(model.recovery.needs_syn());
        model.recovery.on_sent(model.now, 0..1, Sent::Handshake, 1);
    }
    assert_eq!(model.recovery.stats().window, window);
}

// T25: RFC 6298 5.7 and RFC 6928 section 2.
#[test]
fn after_a_lost_syn_the_first_time_out_is_three_seconds() {
    let mut model = Model::new(&plain());
    model.transmit_syn();
    model.expire();
    model.recovery.on_sent(model.now, 0..1, Sent::Handshake, 1);
    model.now += ms(50);
    model.ack_at(1);
    assert_eq!(model.recovery.stats().window, initial_window(1000));
    model.write(MSS);
    model.transmit();
    let (at, _) = model.recovery.poll_timeout().unwrap();
    assert_eq!(at, model.now + ms(3000));
}

// T25: after more than one expiry the initial window is one segment.
#[test]
fn after_two_lost_syns_the_initial_window_is_one_segment() {
    let mut model = Model::new(&plain());
    model.transmit_syn();
    for _ in 0..2 {
        model.expire();
        model.recovery.on_sent(model.now, 0..1, Sent::Handshake, 1);
    }
    model.ack_at(1);
    model.recovery.on_agreed(model.now, true, true, 1000);
    assert_eq!(model.recovery.stats().window, MSS);
    let mut told = Recovery::new(model.now, &reno());
    told.on_syn_retransmitted(model.now, 2);
    assert_eq!(told.stats().window, MSS);
}

// T115: a lost FIN is sent again though no buffer has it.
#[test]
fn a_lost_fin_is_asked_for() {
    let mut model = Model::established(&plain(), ms(100));
    model.write(MSS);
    model.send.on_sent(&(1..1 + MSS));
    let now = model.now;
    model.recovery.on_sent(now, 1..2 + MSS, Sent::New, 1000);
    model.ack_at(1 + MSS);
    assert!(!model.recovery.needs_fin());
    assert_eq!(model.expire(), Timeout::Retransmit);
    assert!(model.recovery.needs_fin() && !model.send.has_lost());
    let fin = 1 + MSS..2 + MSS;
    model
        .recovery
        .on_sent(model.now, fin, Sent::Retransmit, 1000);
    assert!(!model.recovery.needs_fin());
    model.ack_at(2 + MSS);
    assert_eq!(
        (model.recovery.poll_timeout(), model.recovery.in_flight()),
        (None, 0)
    );
}

// T57: what asks for the peer's window is in flight for nobody, and is sent when it opens.
#[test]
fn a_window_probe_has_no_timer_and_no_weight() {
    let mut model = Model::established(&plain(), ms(100));
    model.write(2 * MSS);
    model.put(1..2, Sent::WindowProbe);
    model.send.on_lost(1..2);
    model
        .recovery
        .on_sent(model.now, 1..2, Sent::WindowProbe, 1);
    assert_eq!(
        (model.recovery.in_flight(), model.recovery.poll_timeout()),
        (0, None)
    );
    // The window opens.
    let from = model.wire.len();
    assert_eq!(model.transmit(), 2 * MSS);
    assert_eq!(model.sent(from)[0], 1..2);
    assert!(model.recovery.poll_timeout().is_some());
    model.now += ms(100);
    model.ack_at(1 + 2 * MSS);
    assert_eq!(
        (model.recovery.in_flight(), model.send.is_empty()),
        (0, true)
    );
    // A probe that was taken is acknowledged like anything else.
    model.write(MSS);
    let at = model.send.next();
    model.put(at..at + 1, Sent::WindowProbe);
    assert_eq!(model.ack_at(at + 1).newly_acked, 1);
}
