//! SACK, RACK and TLP (RFC 2018, 2883, 6675, 8985).

#![allow(clippy::single_range_in_vec_init, reason = "one block")]

use weir_core::congestion::Algorithm;
use weir_core::time::Instant;

use super::testing::{MSS, Model, config, ms};
use super::{Ack, RecoveryTimer, Sent, Timeout};

/// `segments` in flight, one after the other by a millisecond, on a path of 100 ms.
fn in_flight(segments: u64) -> Model {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    for _ in 0..segments {
        model.write(MSS);
        model.transmit();
        model.now += ms(1);
    }
    model.now += ms(99) - ms(1) * segments as u32;
    model
}

/// As [`in_flight`], but one super-segment.
fn burst(segments: u64) -> Model {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    model.write(segments * MSS);
    model.transmit();
    model.now += ms(100);
    model
}

// T99, T102: nothing reported is dropped before the cumulative acknowledgement passes it.
#[test]
fn what_is_only_reported_is_kept() {
    let mut model = burst(4);
    model.sack_at(1, &[Model::nth(1), Model::nth(3)]);
    assert_eq!(model.send.base(), 1);
    assert_eq!(model.recovery.in_flight(), 2 * MSS);
    let mut out = Vec::new();
    model.send.copy_range(Model::nth(3), &mut out);
    assert_eq!(out.len() as u64, MSS);
    model.ack_at(1 + 4 * MSS);
    assert_eq!(
        (model.send.base(), model.recovery.in_flight()),
        (1 + 4 * MSS, 0)
    );
}

// T102: RFC 2018 section 5, RFC 2883 section 5: each block on its own.
#[test]
fn blocks_that_cannot_be_are_ignored_one_by_one() {
    let mut model = burst(4);
    #[expect(clippy::reversed_empty_ranges, reason = "as the wire may have it")]
    let bad = [3001..2001, 0..1001, 1..1001, 3001..9001, 2001..2001];
    for block in bad {
        let acked = model.sack_at(1, &[block, Model::nth(2)]);
        assert_eq!(model.recovery.in_flight(), 3 * MSS);
        assert!(acked.newly_sacked == MSS || acked.newly_sacked == 0);
    }
    // Overlapping ones count once.
    let acked = model.sack_at(1, &[1001..3001, 2001..4001, 1001..4001]);
    assert_eq!(
        (acked.newly_sacked, model.recovery.in_flight()),
        (2 * MSS, MSS)
    );
}

// T102: part of a segment is none.
#[test]
fn a_block_within_a_segment_reports_nothing() {
    let mut model = burst(4);
    let acked = model.sack_at(1, &[1500..2600]);
    assert_eq!(
        (acked.newly_sacked, model.recovery.in_flight()),
        (0, 4 * MSS)
    );
    let acked = model.sack_at(1, &[1500..3500]);
    assert_eq!(
        (acked.newly_sacked, model.recovery.in_flight()),
        (MSS, 3 * MSS)
    );
}

// T103, T101: without reordering seen so far, three segments behind a hole make it lost.
#[test]
fn three_segments_behind_a_hole_make_it_lost() {
    let mut model = in_flight(5);
    assert_eq!(model.deliver(1).newly_lost, 0);
    assert_eq!(model.deliver(2).newly_lost, 0);
    assert_eq!(model.recovery.stats().phase, "disorder");
    let acked = model.deliver(3);
    assert_eq!(
        (acked.newly_lost, model.recovery.stats().phase),
        (MSS, "recovery")
    );
    let from = model.wire.len();
    model.transmit();
    assert_eq!(model.sent(from)[0], Model::nth(0));
    // What was sent after the newest arrival is not lost.
    assert_eq!(model.recovery.in_flight(), 2 * MSS);
}

// T103: fewer than three: a quarter of the least round trip is waited for.
#[test]
fn a_hole_is_lost_after_the_reordering_window() {
    let mut model = in_flight(2);
    assert_eq!(model.deliver(1).newly_lost, 0);
    let sent_at = model.wire[0].sent_at;
    let rtt = model.now.saturating_duration_since(model.wire[1].sent_at);
    let (at, timer) = model.recovery.poll_timeout().unwrap();
    assert_eq!(timer, RecoveryTimer::Reorder);
    let quarter = model.recovery.stats().min_rtt.unwrap() / 4;
    assert_eq!(at, sent_at + rtt + quarter);
    assert_eq!(model.recovery.stats().reordering_window, quarter);
}

// T104: the timer alone declares it lost.
#[test]
fn the_reordering_timer_needs_no_acknowledgement() {
    let mut model = in_flight(3);
    model.deliver(2);
    let from = model.wire.len();
    assert_eq!(model.expire(), Timeout::Transmit);
    assert_eq!(model.recovery.stats().phase, "recovery");
    assert_eq!(model.recovery.in_flight(), MSS);
    model.transmit();
    assert_eq!(model.expire(), Timeout::Transmit);
    model.transmit();
    assert_eq!(model.sent(from), [Model::nth(0), Model::nth(1)]);
    assert_eq!(model.recovery.consecutive_timeouts(), 0);
}

// T104: a call too early does nothing.
#[test]
fn an_early_call_does_nothing() {
    let mut model = in_flight(3);
    model.deliver(2);
    let before = model.recovery.stats();
    let now = model.now;
    assert_eq!(
        model.recovery.on_timeout(now, &mut model.send),
        Timeout::Nothing
    );
    assert_eq!(model.recovery.stats(), before);
}

// T103: what arrives late and was never sent again proves reordering; three segments behind a
// hole say nothing then.
#[test]
fn after_reordering_only_time_counts() {
    let mut model = in_flight(8);
    model.deliver(1);
    model.deliver(0);
    assert_eq!(model.deliver(3).newly_lost, 0);
    for index in [4, 5, 6, 7] {
        assert_eq!(model.deliver(index).newly_lost, 0, "{index}");
    }
    assert_eq!(model.recovery.stats().phase, "disorder");
    assert_eq!(model.expire(), Timeout::Transmit);
    assert_eq!(model.recovery.stats().phase, "recovery");
}

// T103, T107: each round trip with a DSACK widens the window by a quarter, up to the smoothed round
// trip; sixteen recoveries without one and it is what it was.
#[test]
fn dsack_widens_the_reordering_window() {
    let mut model = in_flight(2);
    model.deliver(1);
    model.deliver(0);
    let quarter = model.recovery.stats().min_rtt.unwrap() / 4;
    let smoothed = |model: &Model| model.recovery.stats().rtt.unwrap();
    assert_eq!(model.recovery.stats().reordering_window, quarter);
    for n in 2..8 {
        model.write(MSS);
        model.transmit();
        model.now += ms(100);
        let end = model.send.next();
        model.received.insert(0..end);
        for _ in 0..3 {
            let ack = Ack {
                dsack: Some(1..1 + MSS),
                ..Ack::cumulative(end)
            };
            model
                .recovery
                .on_ack(model.now, &ack, &mut model.send, &mut model.chunks);
        }
        let expected = (quarter * n).min(smoothed(&model));
        assert_eq!(model.recovery.stats().reordering_window, expected, "{n}");
    }
    for n in 0..16 {
        let window = model.recovery.stats().reordering_window;
        assert!(window > quarter * 3, "{n} {window:?}");
        lose_one_of_two(&mut model);
    }
    assert_eq!(model.recovery.stats().reordering_window, quarter);
}

/// One recovery, begun and ended.
fn lose_one_of_two(model: &mut Model) {
    let first = model.wire.len();
    for _ in 0..2 {
        model.write(MSS);
        model.transmit();
        model.now += ms(1);
    }
    model.now += ms(100);
    model.deliver(first + 1);
    assert_eq!(model.expire(), Timeout::Transmit);
    model.transmit();
    model.now += ms(100);
    model.deliver(first + 2);
    assert_eq!(model.recovery.stats().phase, "open");
}

// T107: reordering within the window costs no window once it is known.
#[test]
fn reordering_within_the_window_does_not_slow_down() {
    let mut model = in_flight(10);
    model.deliver(1);
    model.deliver(0);
    let window = model.recovery.stats().window;
    for index in [3, 4, 5, 6, 2, 8, 9, 7] {
        model.now += ms(2);
        let acked = model.deliver(index);
        assert_eq!((acked.newly_lost, model.transmit()), (0, 0));
    }
    let stats = model.recovery.stats();
    assert!(stats.window >= window && stats.retransmitted == 0);
}

// T106: a lost retransmission is found by what was sent after it.
#[test]
fn a_lost_retransmission_is_found_without_a_time_out() {
    let mut model = in_flight(6);
    for index in [1, 2, 3] {
        model.deliver(index);
    }
    model.write(10 * MSS);
    let resent = model.wire.len();
    model.transmit();
    assert_eq!(model.wire[resent].range, Model::nth(0));
    model.now += ms(2);
    let mut newer = Vec::new();
    for index in [4, 5] {
        model.deliver(index);
        let from = model.wire.len();
        model.transmit();
        newer.extend(from..model.wire.len());
    }
    assert!(!newer.is_empty() && model.wire[newer[0]].kind == Sent::New);
    // The retransmission is lost, what was sent after it arrives.
    model.now += ms(100);
    let from = model.wire.len();
    let acked = model.deliver(newer[0]);
    assert_eq!(acked.newly_lost, MSS);
    model.transmit();
    assert_eq!(model.sent(from)[0], Model::nth(0));
    assert_eq!(model.recovery.stats().timeouts, 0);
}

// T99: RFC 2018 section 8: after a time-out with signs of reneging, the board is wiped.
#[test]
fn a_peer_that_forgot_gets_all_again() {
    let mut model = in_flight(6);
    model.sack_at(1, &[Model::nth(1), Model::nth(3)]);
    // It acknowledges up to what it had reported, and not that.
    model.now += ms(10);
    model.ack_at(1 + MSS);
    assert!(model.recovery.poll_timeout().is_some());
    loop {
        if model.expire() == Timeout::Retransmit {
            break;
        }
        model.transmit();
    }
    assert_eq!(model.recovery.stats().in_flight, 0);
    let from = model.wire.len();
    model.transmit();
    assert_eq!(model.sent(from), [Model::nth(1)]);
    assert_eq!(
        model.recovery.next_range(&model.send, u64::MAX),
        1 + 2 * MSS..1 + 6 * MSS
    );
}

// T99: without signs of reneging the board outlives a time-out.
#[test]
fn an_honest_peers_reports_outlive_a_time_out() {
    let mut model = in_flight(4);
    model.deliver(3);
    while model.expire() != Timeout::Retransmit {
        // All retransmissions are lost.
        model.transmit();
    }
    model.transmit();
    for _ in 0..4 {
        model.now += ms(100);
        let last = model.wire.len() - 1;
        model.deliver(last);
        model.transmit();
    }
    let again = |n: u64| {
        model
            .wire
            .iter()
            .filter(|sent| sent.range == Model::nth(n))
            .count()
    };
    assert_eq!(again(3), 1);
    assert!(model.send.is_empty());
}

// T105: RFC 8985 7.2: 2 SRTT; with one segment in flight the peer's delay is added.
#[test]
fn the_probe_time_out() {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    model.write(3 * MSS);
    model.transmit();
    let at = Some((model.now + ms(200), RecoveryTimer::Probe));
    assert_eq!(model.recovery.poll_timeout(), at);
    model.now += ms(100);
    model.deliver(0);
    model.deliver(1);
    let smoothed = model.recovery.stats().rtt.unwrap();
    let at = Some((model.now + smoothed * 2 + ms(40), RecoveryTimer::Probe));
    assert_eq!(model.recovery.poll_timeout(), at);
}

// T105: RFC 8985 7.3: new data if there is any, the last segment if not.
#[test]
fn a_probe_is_new_data_or_the_last_segment() {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    model.write(3 * MSS);
    model.transmit();
    assert_eq!(model.expire(), Timeout::Probe);
    assert_eq!(model.recovery.probe_range(), Some(Model::nth(2)));
    model.write(MSS);
    let new = model.send.next()..model.send.next() + MSS;
    model.put(new, Sent::Probe);
    assert_eq!(model.recovery.in_flight(), 4 * MSS);
    assert_eq!(model.recovery.stats().probes, 1);
}

// T105: at most one; then the retransmission timer, from now.
#[test]
fn after_a_probe_comes_the_retransmission_timer() {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    model.write(3 * MSS);
    model.transmit();
    assert_eq!(model.expire(), Timeout::Probe);
    model.put(Model::nth(2), Sent::Probe);
    let at = Some((model.now + model.recovery.rto(), RecoveryTimer::Retransmit));
    assert_eq!(model.recovery.poll_timeout(), at);
    assert_eq!(model.expire(), Timeout::Retransmit);
    assert_eq!(model.recovery.stats().phase, "loss");
}

// T105: a probe that cannot be sent is not asked for again and again.
#[test]
fn a_probe_that_is_not_sent_is_not_repeated() {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    model.write(3 * MSS);
    model.transmit();
    assert_eq!(model.expire(), Timeout::Probe);
    let next = model.recovery.poll_timeout().unwrap();
    assert_eq!(next.1, RecoveryTimer::Retransmit);
    assert!(next.0 > model.now);
}

// T105: 7.4.1: the answer to the probe shows what was lost before it.
#[test]
fn a_probe_shows_what_the_tail_lost() {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    model.write(4 * MSS);
    model.transmit();
    model.now += ms(100);
    model.deliver(0);
    assert_eq!(model.expire(), Timeout::Probe);
    let probe = model.wire.len();
    model.put(model.recovery.probe_range().unwrap(), Sent::Probe);
    model.now += ms(100);
    let acked = model.deliver(probe);
    assert_eq!(
        (acked.newly_lost, model.recovery.stats().phase),
        (2 * MSS, "recovery")
    );
    assert_eq!(model.recovery.stats().timeouts, 0);
}

/// A probe has repeated the last segment of three, of which all before it arrived.
fn repaired_by_probe() -> (Model, u64) {
    let mut model = Model::established(&config(Algorithm::NewReno), ms(100));
    model.write(3 * MSS);
    model.transmit();
    model.now += ms(100);
    model.deliver(0);
    model.deliver(1);
    assert_eq!(model.expire(), Timeout::Probe);
    model.put(Model::nth(2), Sent::Probe);
    let window = model.recovery.stats().window;
    (model, window)
}

// T105: 7.4.2: when nobody tells that the segment came twice, one of them was lost.
#[test]
fn a_loss_that_the_probe_repaired_is_inferred() {
    let (mut model, window) = repaired_by_probe();
    let probe = model.wire.len() - 1;
    model.now += ms(100);
    model.deliver(probe);
    assert_eq!(model.recovery.stats().window, window);
    model.write(MSS);
    model.transmit();
    model.now += ms(100);
    let next = model.wire.len() - 1;
    model.deliver(next);
    assert!(model.recovery.stats().window < window);
}

// T105: 7.4.2 case 1: a DSACK tells that it was for nothing.
#[test]
fn a_dsack_of_the_probe_clears_it() {
    let (mut model, window) = repaired_by_probe();
    let probe = model.wire.len() - 1;
    model.now += ms(10);
    model.deliver(2);
    model.now += ms(100);
    model.deliver(probe);
    model.write(MSS);
    model.transmit();
    model.now += ms(100);
    let next = model.wire.len() - 1;
    model.deliver(next);
    assert!(model.recovery.stats().window >= window);
}

// T105: no probe during a recovery or while something is reported (RFC 8985 7.2).
#[test]
fn reports_leave_the_tail_to_rack() {
    let mut model = in_flight(3);
    model.deliver(2);
    let (_, timer) = model.recovery.poll_timeout().unwrap();
    assert_eq!(timer, RecoveryTimer::Reorder);
    model.expire();
    model.transmit();
    let timers: Vec<_> = model
        .recovery
        .poll_timeout()
        .into_iter()
        .map(|(_, timer)| timer)
        .collect();
    assert!(!timers.contains(&RecoveryTimer::Probe));
}

// T100: a DSACK for what nobody sent again changes nothing but the reordering window.
#[test]
fn a_made_up_dsack_undoes_nothing() {
    let mut model = in_flight(4);
    let ack = Ack {
        dsack: Some(Model::nth(0)),
        ..Ack::cumulative(1 + MSS)
    };
    let acked = model
        .recovery
        .on_ack(model.now, &ack, &mut model.send, &mut model.chunks);
    assert!(!acked.spurious);
    assert_eq!(model.recovery.stats().undone, 0);
    assert!(model.now > Instant::ZERO);
}

// T73: what was given up, and is reported only now, may have arrived long ago: no measurement.
#[test]
fn late_news_is_not_measured() {
    let mut model = burst(6);
    while model.expire() != Timeout::Retransmit {}
    model.transmit();
    model.now += ms(3000);
    let acked = model.sack_at(1, &[Model::nth(2)]);
    assert_eq!((acked.newly_sacked, acked.rtt), (MSS, None));
}

// T73: the answer to a duplicate echoes what came in order before it, however long ago.
#[test]
fn the_answer_to_a_duplicate_is_not_measured() {
    let mut model = burst(2);
    while model.expire() != Timeout::Retransmit {}
    model.transmit();
    model.now += ms(3000);
    let ack = Ack {
        dsack: Some(Model::nth(0)),
        echoed_rtt: Some(ms(5000)),
        ..Ack::cumulative(1 + 2 * MSS)
    };
    let acked = model
        .recovery
        .on_ack(model.now, &ack, &mut model.send, &mut model.chunks);
    assert_eq!((acked.newly_acked, acked.rtt), (2 * MSS, None));
}
