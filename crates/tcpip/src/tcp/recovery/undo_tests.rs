//! When a reduction is taken back (RFC 5682, 3522, 4015, 3708).

use super::congestion_tests::{plain, reno, window_in_flight};
use super::testing::{MSS, Model, ms};
use super::{RecoveryConfig, Sent, Timeout};

// T81: RFC 3522, 4015: the timestamp of the original proves the time-out spurious.
#[test]
fn eifel_takes_a_spurious_time_out_back() {
    let mut model = window_in_flight(&reno());
    model.ack_at(1 + 2 * MSS);
    model.transmit();
    let before = model.recovery.stats();
    while model.expire() != Timeout::Retransmit {
        if let Some(last) = model.recovery.probe_range() {
            model.put(last, Sent::Probe);
        }
    }
    let resent = model.wire.len();
    model.transmit();
    assert_eq!(model.wire[resent].range, Model::nth(2));
    assert_eq!(model.recovery.stats().window, MSS);
    // The originals come after all.
    model.now += ms(5);
    for index in [0, 1] {
        model.received.insert(model.wire[index].range.clone());
    }
    let acked = model.deliver(2);
    assert!(acked.spurious);
    let stats = model.recovery.stats();
    assert!(stats.window >= before.window && stats.ssthresh == before.ssthresh);
    assert_eq!((stats.phase, stats.undone), ("open", 1));
    assert!(!model.send.has_lost());
    assert!(model.recovery.rto() < ms(1500));
}

// T81: RFC 5682: without timestamps two acknowledgements of what was never sent again prove it.
#[test]
fn forward_recovery_takes_a_spurious_time_out_back() {
    let without = RecoveryConfig {
        timestamps: false,
        ..plain()
    };
    let mut model = window_in_flight(&without);
    let window = model.recovery.stats().window;
    model.expire();
    assert_eq!(model.transmit(), MSS);
    model.now += ms(5);
    assert!(!model.ack_at(1 + MSS).spurious);
    // Step 2b: new data, no more retransmissions.
    let from = model.wire.len();
    assert_eq!(model.transmit(), 2 * MSS);
    assert_eq!(model.sent(from), [Model::nth(10), Model::nth(11)]);
    // Step 3b.
    model.now += ms(5);
    assert!(model.ack_at(1 + 2 * MSS).spurious);
    let stats = model.recovery.stats();
    assert!(stats.window >= window && !model.send.has_lost());
    assert_eq!(stats.phase, "open");
    assert_eq!(model.recovery.in_flight(), 10 * MSS);
}

// T81: RFC 5682 step 3a: a duplicate says that the loss was real.
#[test]
fn forward_recovery_believes_a_duplicate() {
    let mut model = window_in_flight(&plain());
    model.expire();
    model.transmit();
    model.now += ms(5);
    model.ack_at(1 + MSS);
    model.transmit();
    model.ack_at(1 + MSS);
    assert!(!model.ack_at(1 + 2 * MSS).spurious);
    let from = model.wire.len();
    model.transmit();
    assert_eq!(model.sent(from)[0], Model::nth(2));
    assert_eq!(model.recovery.stats().undone, 0);
}

// T81: a real time-out is not taken back.
#[test]
fn a_real_time_out_stands() {
    let mut model = window_in_flight(&reno());
    while model.expire() != Timeout::Retransmit {
        model.put(model.recovery.probe_range().unwrap(), Sent::Probe);
    }
    model.transmit();
    let last = model.wire.len() - 1;
    model.now += ms(100);
    assert!(!model.deliver(last).spurious);
    let stats = model.recovery.stats();
    assert_eq!((stats.undone, stats.phase), (0, "loss"));
}

// T100, T107: all that was sent again arrived twice: nothing was lost, the window returns.
#[test]
fn dsacks_take_a_fast_recovery_back() {
    let without = RecoveryConfig {
        timestamps: false,
        ..reno()
    };
    let mut model = window_in_flight(&without);
    let window = model.recovery.stats().window;
    for index in [1, 2, 3] {
        model.deliver(index);
    }
    let resent = model.wire.len();
    model.transmit();
    assert_eq!(model.wire[resent].range, Model::nth(0));
    assert!(model.recovery.stats().ssthresh.is_some());
    model.now += ms(5);
    for index in [0, 4, 5, 6, 7, 8, 9] {
        model.deliver(index);
    }
    model.now += ms(95);
    let acked = model.deliver(resent);
    assert!(acked.spurious);
    assert!(model.recovery.stats().window >= window);
    assert_eq!(model.recovery.stats().ssthresh, None);
}
