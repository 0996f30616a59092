//! What may go, and when (RFC 5681, 6582, 3042, 9937, 3168).

use weir_core::congestion::Algorithm;
use weir_core::time::Duration;

use super::testing::{MSS, Model, config, ms};
use super::{Ack, Blocked, Recovery, RecoveryConfig, Sent, Timeout, initial_window};

pub(super) fn reno() -> RecoveryConfig {
    config(Algorithm::NewReno)
}

/// Neither SACK nor timestamps.
pub(super) fn plain() -> RecoveryConfig {
    RecoveryConfig {
        sack: false,
        timestamps: false,
        ..reno()
    }
}

/// The whole initial window of ten segments in flight, more waiting; a round trip later.
pub(super) fn window_in_flight(config: &RecoveryConfig) -> Model {
    let mut model = Model::established(config, ms(100));
    model.write(200 * MSS);
    assert_eq!(model.transmit(), 10 * MSS);
    model.now += ms(100);
    model
}

// T83: RFC 6928 section 2.
#[test]
fn the_initial_window() {
    for (smss, bytes) in [
        (536, 5360),
        (1448, 14_480),
        (1460, 14_600),
        (1472, 14_600),
        (8960, 17_920),
    ] {
        assert_eq!(initial_window(smss), bytes);
        let config = RecoveryConfig { smss, ..reno() };
        let recovery = Recovery::new(Model::new(&reno()).now, &config);
        assert_eq!(recovery.stats().window, bytes);
    }
    // The segment size is known only when the handshake is over.
    let mut model = Model::new(&reno());
    model.transmit_syn();
    model.ack_at(1);
    model.recovery.on_agreed(model.now, true, true, 1448);
    assert_eq!(model.recovery.stats().window, 14_480);
}

// T82: slow start grows by what is acknowledged, and never by more.
#[test]
fn slow_start_grows_by_what_is_acknowledged() {
    let mut model = window_in_flight(&reno());
    model.ack_at(1 + MSS);
    assert_eq!(model.recovery.stats().window, 11 * MSS);
    // A peer that splits its acknowledgements gains nothing (RFC 5681 section 3.1).
    for n in 1..=10 {
        model.ack_at(1 + MSS + n * MSS / 10);
    }
    assert_eq!(model.recovery.stats().window, 12 * MSS);
}

// T82: congestion avoidance grows by a segment in a round trip.
#[test]
fn avoidance_grows_by_a_segment_in_a_round_trip() {
    let mut model = window_in_flight(&reno());
    for index in [1, 2, 3] {
        model.deliver(index);
    }
    finish_recovery(&mut model);
    let window = model.recovery.stats().window;
    assert_eq!(Some(window), model.recovery.stats().ssthresh);
    for _ in 0..4 {
        let before = model.recovery.stats().window;
        while model.transmit() > 0 {}
        model.now += ms(100);
        let end = model.send.next();
        let base = model.send.base();
        for n in 1.. {
            model.ack_at((base + n * MSS).min(end));
            if base + n * MSS >= end {
                break;
            }
        }
        let grown = model.recovery.stats().window - before;
        assert!(grown <= MSS + MSS / 2, "{grown}");
    }
    assert!(model.recovery.stats().window >= window + 3 * MSS);
}

/// Everything sent from now on arrives, until nothing is missing.
fn finish_recovery(model: &mut Model) {
    let mut next = model.wire.len();
    for _ in 0..100 {
        model.transmit();
        if model.recovery.stats().phase == "open" {
            return;
        }
        model.now += ms(5);
        for index in 0..model.wire.len() {
            let is_due = model.wire[index].sent_at + ms(100) <= model.now;
            if (index >= next || (4..10).contains(&index)) && is_due && !has(model, index) {
                model.deliver(index);
                next = next.max(index);
            }
        }
        next = next.min(model.wire.len());
    }
    panic!("no end: {:?}", model.recovery.stats());
}

fn has(model: &Model, index: usize) -> bool {
    model.received.contains_all(&model.wire[index].range)
}

// T84: RFC 5681 equation 4 and section 3.1.
#[test]
fn a_time_out_leaves_one_segment_and_half_the_flight() {
    let mut model = window_in_flight(&plain());
    model.expire();
    let stats = model.recovery.stats();
    assert_eq!((stats.window, stats.ssthresh), (MSS, Some(5 * MSS)));
    assert_eq!(model.transmit(), MSS);
    // Once for a loss event.
    model.expire();
    let stats = model.recovery.stats();
    assert_eq!((stats.window, stats.ssthresh), (MSS, Some(5 * MSS)));
    // Slow start from one segment: two after the first acknowledgement.
    model.transmit();
    model.now += ms(100);
    model.ack_at(1 + MSS);
    assert_eq!(model.recovery.stats().window, 2 * MSS);
}

// T84: never below two segments.
#[test]
fn the_threshold_is_at_least_two_segments() {
    let mut model = Model::established(&plain(), ms(100));
    model.write(MSS);
    model.transmit();
    model.expire();
    assert_eq!(model.recovery.stats().ssthresh, Some(2 * MSS));
}

// T85: what was in flight is halved, not what might have been.
#[test]
fn half_of_the_flight_not_of_the_window() {
    let mut model = Model::established(&reno(), ms(100));
    for _ in 0..6 {
        model.write(MSS);
        model.transmit();
        model.now += ms(1);
    }
    model.now += ms(94);
    for index in [1, 2, 3] {
        model.deliver(index);
    }
    assert_eq!(model.recovery.stats().ssthresh, Some(3 * MSS));
}

// T85: RFC 7661: a window that is not used does not grow.
#[test]
fn the_window_grows_only_when_it_limits() {
    let mut model = Model::established(&reno(), ms(100));
    for _ in 0..50 {
        model.write(2 * MSS);
        model.transmit();
        model.now += ms(100);
        model.ack_at(model.send.next());
    }
    assert_eq!(model.recovery.stats().window, 10 * MSS);
}

// T86, T87: the third duplicate, no sooner.
#[test]
fn the_third_duplicate_begins_fast_retransmit() {
    let mut model = window_in_flight(&plain());
    for n in 1..=2 {
        let acked = model.ack_at(1);
        assert!(acked.is_duplicate && acked.newly_lost == 0, "{n}");
        model.transmit();
    }
    let from = model.wire.len();
    let acked = model.ack_at(1);
    assert_eq!(
        (acked.newly_lost, model.recovery.stats().phase),
        (MSS, "recovery")
    );
    model.transmit();
    assert_eq!(model.sent(from)[0], Model::nth(0));
    // Limited transmit had put two more in flight (RFC 5681 3.2 step 2: not counted).
    let ssthresh = model.recovery.stats().ssthresh.unwrap();
    assert!((5 * MSS..=6 * MSS).contains(&ssthresh), "{ssthresh}");
}

// T87: RFC 5681 section 2.
#[test]
fn what_is_no_duplicate() {
    let mut model = window_in_flight(&plain());
    let duplicate = Ack::cumulative(1);
    let with_data = Ack {
        carries_data: true,
        ..Ack::cumulative(1)
    };
    let with_window = Ack {
        is_window_update: true,
        ..Ack::cumulative(1)
    };
    for (ack, expected) in [(duplicate, true), (with_data, false), (with_window, false)] {
        let acked = model
            .recovery
            .on_ack(model.now, &ack, &mut model.send, &mut model.chunks);
        assert_eq!(acked.is_duplicate, expected);
    }
    model.ack_at(1 + 10 * MSS);
    // Nothing is outstanding.
    assert!(!model.ack_at(1 + 10 * MSS).is_duplicate);
}

// T86: RFC 6582 section 3.2: a partial acknowledgement shows the next hole.
#[test]
fn a_partial_acknowledgement_sends_the_next_hole() {
    let mut model = window_in_flight(&plain());
    for _ in 0..3 {
        model.ack_at(1);
        model.transmit();
    }
    model.now += ms(100);
    let from = model.wire.len();
    let acked = model.ack_at(1 + 4 * MSS);
    assert_eq!(
        (acked.newly_lost, model.recovery.stats().phase),
        (MSS, "recovery")
    );
    // As proportional rate reduction lets it go.
    while model.transmit() == 0 {
        model.ack_at(1 + 4 * MSS);
    }
    assert_eq!(model.sent(from)[0], Model::nth(4));
    model.now += ms(100);
    let point = model.wire[from - 1].range.end.max(1 + 12 * MSS);
    model.ack_at(point.min(model.send.next()));
    assert_eq!(model.recovery.stats().phase, "open");
    assert_eq!(model.recovery.stats().timeouts, 0);
}

// T86: RFC 6582 section 3.2 step 1: duplicates of what was sent again begin no second recovery.
#[test]
fn one_recovery_for_one_window() {
    let mut model = window_in_flight(&plain());
    model.expire();
    model.transmit();
    model.now += ms(100);
    model.ack_at(1 + 2 * MSS);
    let ssthresh = model.recovery.stats().ssthresh;
    for _ in 0..5 {
        model.ack_at(1 + 2 * MSS);
    }
    let stats = model.recovery.stats();
    assert_eq!((stats.phase, stats.ssthresh), ("loss", ssthresh));
}

// T88: RFC 3042: the first two duplicates let one new segment go each.
#[test]
fn limited_transmit() {
    let mut model = window_in_flight(&plain());
    for n in 0..2 {
        let from = model.wire.len();
        model.ack_at(1);
        assert_eq!(model.transmit(), MSS);
        assert_eq!(model.sent(from), [Model::nth(10 + n)]);
    }
    let mut model = window_in_flight(&reno());
    for n in 0..2 {
        let from = model.wire.len();
        model.deliver(1 + n);
        assert_eq!(model.transmit(), MSS);
        assert_eq!(model.sent(from), [Model::nth(10 + n as u64)]);
    }
}

// T87: made-up duplicates do not fill the network.
#[test]
fn a_flood_of_duplicates_sends_no_more_than_was_in_flight() {
    let mut model = window_in_flight(&plain());
    let from = model.wire.len();
    for _ in 0..10_000 {
        model.ack_at(1);
        model.transmit();
    }
    assert!(model.wire.len() - from <= 16, "{}", model.wire.len() - from);
}

// T89: RFC 5681 section 4.1.
#[test]
fn after_idling_the_window_is_the_initial_one() {
    let mut model = window_in_flight(&reno());
    for _ in 0..3 {
        model.ack_at(model.send.next());
        model.transmit();
        model.now += ms(100);
    }
    model.ack_at(model.send.next());
    let window = model.recovery.stats().window;
    assert!(window >= 40 * MSS);
    // Not yet.
    model.now += ms(100);
    model.recovery.allowance(model.now, MSS);
    assert_eq!(model.recovery.stats().window, window);
    model.now += ms(1000);
    assert_eq!(
        model.recovery.allowance(model.now, 100 * MSS).bytes,
        10 * MSS
    );
    assert_eq!(model.recovery.stats().ssthresh, None);
}

// T92: what goes out is spread over the round trip.
#[test]
fn a_large_window_is_paced() {
    let paced = RecoveryConfig {
        pacing: true,
        ..reno()
    };
    let mut model = Model::established(&paced, ms(100));
    model.write(2000 * MSS);
    let mut total = 0;
    for _ in 0..4000 {
        let sent = model.transmit();
        // The initial window as one burst, and then what the rate gives in two milliseconds.
        let rate = model.recovery.stats().pacing_rate.unwrap_or(0);
        assert!(
            sent <= 15 * MSS || sent <= rate / 500 + MSS,
            "{sent} {rate}"
        );
        total += sent;
        let (at, _) = model.recovery.poll_timeout().unwrap();
        model.now = model.now.max(at.min(model.now + ms(1)));
        model.recovery.on_timeout(model.now, &mut model.send);
        let mut due = model.wire.iter().rev();
        let due = due.find(|sent| sent.sent_at + ms(100) <= model.now);
        if let Some(end) = due.map(|sent| sent.range.end)
            && end > model.send.base()
        {
            model.ack_at(end);
        }
        if model.send.is_empty() {
            break;
        }
    }
    assert_eq!(total, 2000 * MSS);
}

// T92: and a path without a round trip is not.
#[test]
fn a_short_path_is_not_paced() {
    let paced = RecoveryConfig {
        pacing: true,
        ..reno()
    };
    let mut model = Model::established(&paced, Duration::from_micros(50));
    model.write(100 * MSS);
    assert_eq!(model.transmit(), 10 * MSS);
    model.now += Duration::from_micros(50);
    model.ack_at(1 + 10 * MSS);
    assert_eq!(model.transmit(), 20 * MSS);
    let blocked = model.recovery.allowance(model.now, MSS).blocked;
    assert_eq!(blocked, Some(Blocked::Congestion));
}

// T93: RFC 9937 figure 1: one loss of twenty, and every second acknowledgement lets one go.
#[test]
fn proportional_rate_reduction_halves_the_rate_over_a_round_trip() {
    let mut model = Model::established(&reno(), ms(100));
    model.write(200 * MSS);
    model.transmit();
    model.now += ms(100);
    model.ack_at(1 + 10 * MSS);
    model.transmit();
    assert_eq!(model.recovery.in_flight(), 20 * MSS);
    let first = model.wire.len() - 20;
    model.now += ms(100);
    let mut pattern = String::new();
    for index in 1..20 {
        let from = model.wire.len();
        model.deliver(first + index);
        model.transmit();
        pattern.push(match model.wire.get(from) {
            None => ' ',
            Some(sent) if sent.kind == Sent::New => 'N',
            Some(_) => 'R',
        });
        assert!(model.wire.len() - from <= 1);
    }
    // Until no more than the threshold is in flight.
    assert_eq!(pattern, "NNR N N N N N N N  ");
    assert_eq!(model.recovery.stats().ssthresh, Some(10 * MSS));
    finish_all(&mut model);
    assert_eq!(model.recovery.stats().window / MSS, 10);
}

/// All that is on the wire and missing arrives; nothing more is sent.
fn finish_all(model: &mut Model) {
    model.now += ms(100);
    for index in 0..model.wire.len() {
        if !has(model, index) && index != 10 {
            model.deliver(index);
        }
    }
    assert_eq!(model.recovery.stats().phase, "open");
}

// T131: RFC 3168 section 6.1.2: once in a round trip, and CWR with it.
#[test]
fn ece_reduces_once_in_a_round_trip() {
    let mut model = window_in_flight(&reno());
    let ece = |offset| Ack {
        ece: true,
        ..Ack::cumulative(offset)
    };
    let acked = model
        .recovery
        .on_ack(model.now, &ece(1 + MSS), &mut model.send, &mut model.chunks);
    assert!(acked.send_cwr);
    let window = model.recovery.stats().window;
    assert!(window <= 6 * MSS, "{window}");
    for n in 2..=10 {
        let ack = ece(1 + n * MSS);
        let acked = model
            .recovery
            .on_ack(model.now, &ack, &mut model.send, &mut model.chunks);
        assert!(!acked.send_cwr, "{n}");
    }
    assert!(model.recovery.stats().window >= window);
    model.now += ms(1);
    model.transmit();
    model.now += ms(100);
    let ack = ece(1 + 11 * MSS);
    let acked = model
        .recovery
        .on_ack(model.now, &ack, &mut model.send, &mut model.chunks);
    assert!(acked.send_cwr && model.recovery.stats().window < window);
}

// T133: what is too big is sent again at once, and the window stays.
#[test]
fn a_smaller_path_costs_no_window() {
    let mut model = window_in_flight(&reno());
    let window = model.recovery.stats().window;
    model
        .recovery
        .on_packet_too_big(model.now, 500, &mut model.send);
    assert_eq!(model.recovery.in_flight(), 0);
    assert_eq!(
        model.recovery.next_range(&model.send, u64::MAX),
        1..1 + 10 * MSS
    );
    assert_eq!(model.transmit(), 10 * MSS);
    assert_eq!(model.recovery.stats().window, window);
    model.now += ms(100);
    model.ack_at(1 + 10 * MSS);
    assert_eq!(
        (model.recovery.in_flight(), model.recovery.stats().phase),
        (0, "open")
    );
}

// T135: RFC 2923 section 2.1.
#[test]
fn full_segments_that_vanish_raise_suspicion() {
    let mut model = window_in_flight(&plain());
    model.expire();
    assert!(!model.recovery.suspects_black_hole());
    model.transmit();
    model.expire();
    assert!(model.recovery.suspects_black_hole());
    // Smaller ones are tried.
    model.recovery.on_mtu(model.now, 512);
    assert!(!model.recovery.suspects_black_hole());
    // If they vanish too, one time-out is enough, and not a longer one.
    let rto = model.recovery.rto();
    model.transmit();
    model.expire();
    assert!(model.recovery.suspects_black_hole());
    model.recovery.on_mtu(model.now, 256);
    assert_eq!(model.recovery.rto(), rto);
    // Small segments that vanish tell nothing of sizes.
    let mut model = Model::established(&plain(), ms(100));
    model.write(100);
    model.transmit();
    for _ in 0..5 {
        model.expire();
        model.transmit();
    }
    assert!(!model.recovery.suspects_black_hole());
}

// T90, T91, T94, T95: each algorithm is chosen for a connection, and gets its samples.
#[test]
fn every_algorithm_runs_a_transfer() {
    for algorithm in Algorithm::ALL {
        let mut model = Model::established(&config(algorithm), ms(20));
        assert_eq!(model.recovery.stats().algorithm, algorithm.as_str());
        model.write(3000 * MSS);
        let mut at = 0;
        for tick in 0..20_000 {
            model.now += ms(1);
            model.recovery.on_timeout(model.now, &mut model.send);
            while at < model.wire.len() && model.wire[at].sent_at + ms(20) <= model.now {
                // One in a hundred is lost.
                if at % 100 != 57 {
                    model.deliver(at);
                }
                at += 1;
            }
            model.transmit();
            if model.send.is_empty() {
                assert!(tick > 50, "{algorithm}");
                break;
            }
        }
        assert!(
            model.send.is_empty(),
            "{algorithm} {:?}",
            model.recovery.stats()
        );
        assert_eq!(model.recovery.stats().timeouts, 0, "{algorithm}");
    }
}

// T79, T135: what was lost is sent again in smaller segments; when those are lost too, each time-out
// begins with the first byte that is missing.
#[test]
fn lost_segments_are_sent_again_in_smaller_ones() {
    let mut model = window_in_flight(&plain());
    model.expire();
    model.recovery.on_mtu(model.now, 992);
    for _ in 0..5 {
        let from = model.wire.len();
        let allowance = model.recovery.allowance(model.now, 1 << 20).bytes;
        assert!(allowance >= 992);
        let range = model.recovery.next_range(&model.send, u64::MAX);
        assert_eq!(range.start, 1);
        model.put(1..993, Sent::Retransmit);
        assert_eq!(model.wire[from].range, 1..993);
        // It is in flight, and waited for.
        assert!(model.recovery.in_flight() > 0);
        assert_eq!(model.expire(), Timeout::Retransmit);
    }
    // And it gets on when it arrives.
    model.put(1..993, Sent::Retransmit);
    model.now += ms(100);
    model.ack_at(993);
    let range = model.recovery.next_range(&model.send, u64::MAX);
    assert_eq!(range.start, 993);
    assert!(model.recovery.allowance(model.now, 1 << 20).bytes >= 992);
}
