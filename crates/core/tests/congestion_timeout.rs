//! What TCP asks of a controller beyond QUIC: time-outs and taking them back, the flight that a
//! reduction starts from, restarting after idle.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use weir_core::congestion::{
    AckSample, Algorithm, Config, Controller, LossSample, TimeoutSample, initial_window,
};
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

const MSS: u64 = 1000;

fn controller(algorithm: Algorithm) -> Box<dyn Controller> {
    algorithm.with_config(Instant::ZERO, &Config::new(MSS, 1))
}

fn rtt() -> Rtt {
    let mut rtt = Rtt::default();
    rtt.update(Duration::from_millis(100), Duration::ZERO);
    rtt
}

fn ack(cc: &mut dyn Controller, millis: u64, bytes: u64) {
    let now = Instant::from_millis(millis);
    cc.on_ack(&AckSample {
        now,
        bytes_acked: bytes,
        largest_sent_at: now - Duration::from_millis(100),
        largest_seq: millis,
        prior_in_flight: bytes,
        in_flight: 0,
        rtt: &rtt(),
        latest_rtt: Some(Duration::from_millis(100)),
        rate: None,
        is_cwnd_limited: true,
    });
}

fn timeout(millis: u64, is_first: bool) -> TimeoutSample {
    TimeoutSample {
        now: Instant::from_millis(millis),
        bytes_lost: 10 * MSS,
        largest_lost_sent_at: Instant::from_millis(millis - 300),
        in_flight: 0,
        loss_window: MSS,
        is_first,
        reduces: is_first,
    }
}

fn loss(millis: u64) -> LossSample {
    LossSample {
        now: Instant::from_millis(millis),
        bytes_lost: MSS,
        largest_lost_sent_at: Instant::from_millis(millis - 100),
        largest_lost_seq: 1,
        in_flight: 0,
        is_persistent: false,
        lost_rate: None,
        total_lost: MSS,
    }
}

// RFC 5681 section 3.1, RFC 9438 4.8: one segment, and a threshold that a repeated one leaves.
#[test]
fn a_time_out_leaves_one_segment_and_the_threshold_falls_once() {
    for (algorithm, threshold) in [(Algorithm::NewReno, 5 * MSS), (Algorithm::Cubic, 7 * MSS)] {
        let mut cc = controller(algorithm);
        assert_eq!(cc.window(), initial_window(MSS));
        cc.on_timeout(&timeout(1000, true));
        assert_eq!((cc.window(), cc.ssthresh()), (MSS, Some(threshold)));
        cc.on_timeout(&timeout(2000, false));
        assert_eq!((cc.window(), cc.ssthresh()), (MSS, Some(threshold)));
        // Slow start from there: two, not at once the two that are the least elsewhere.
        ack(&mut *cc, 2100, MSS / 10);
        assert_eq!(cc.window(), MSS + MSS / 10);
        ack(&mut *cc, 2200, MSS - MSS / 10);
        assert_eq!(cc.window(), 2 * MSS);
    }
}

// RFC 5682 section 4, RFC 4015: what a spurious one took comes back, threshold and all.
#[test]
fn a_spurious_time_out_gives_the_window_back() {
    for algorithm in Algorithm::ALL {
        let mut cc = controller(algorithm);
        let before = (cc.window(), cc.ssthresh());
        cc.on_timeout(&timeout(1000, true));
        assert!(cc.window() < before.0, "{algorithm}");
        cc.on_timeout(&timeout(2000, false));
        cc.on_spurious_timeout(Instant::from_millis(2100));
        assert_eq!((cc.window(), cc.ssthresh()), before, "{algorithm}");
        // Once.
        cc.on_spurious_timeout(Instant::from_millis(2200));
        assert_eq!(cc.window(), before.0, "{algorithm}");
    }
}

// RFC 5681 equation 4: half of what was in flight.
#[test]
fn a_reduction_starts_from_the_flight() {
    for (algorithm, threshold) in [(Algorithm::NewReno, 3000), (Algorithm::Cubic, 4200)] {
        let mut cc = controller(algorithm);
        cc.limit_to_flight(6 * MSS);
        cc.on_loss(&loss(1000));
        assert_eq!(cc.ssthresh(), Some(threshold), "{algorithm}");
    }
    let mut cc = controller(Algorithm::NewReno);
    cc.limit_to_flight(100 * MSS);
    assert_eq!(cc.window(), 10 * MSS);
}

// RFC 5681 section 4.1, RFC 7661: the window falls to the restart window, the threshold does not.
#[test]
fn a_restart_keeps_the_threshold() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let mut cc = controller(algorithm);
        for n in 0..4 {
            let window = cc.window();
            ack(&mut *cc, 100 * n + 100, window);
        }
        cc.on_loss(&loss(600));
        let (window, threshold) = (cc.window(), cc.ssthresh());
        assert!(window > 20 * MSS);
        cc.on_restart(10 * MSS);
        assert_eq!(cc.window(), 10 * MSS, "{algorithm}");
        assert!(
            cc.ssthresh() >= threshold.map(|bytes| bytes / 4 * 3),
            "{algorithm}"
        );
        // Never upwards; and a lost SYN may leave one segment.
        cc.on_restart(20 * MSS);
        assert_eq!(cc.window(), 10 * MSS);
        cc.on_restart(MSS);
        assert_eq!(cc.window(), MSS);
    }
}
