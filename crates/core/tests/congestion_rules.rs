//! The rules of the window-based controllers, one acknowledgement at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::congestion::{
    AckSample, Algorithm, Config, Controller, HyStart, LossSample, Verdict, initial_window,
};
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

const MSS: u64 = 1200;
const INITIAL: u64 = 12_000;
const WINDOW_BASED: [Algorithm; 2] = [Algorithm::NewReno, Algorithm::Cubic];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A controller, with what a sample needs besides.
struct Path {
    cc: Box<dyn Controller>,
    rtt: Rtt,
    seq: u64,
}

impl Path {
    fn new(algorithm: Algorithm) -> Path {
        let mut rtt = Rtt::default();
        rtt.update(ms(100), Duration::ZERO);
        Path {
            cc: algorithm.controller(Instant::ZERO, MSS, 1),
            rtt,
            seq: 0,
        }
    }

    /// In congestion avoidance with a window of `window` bytes, the loss behind it.
    fn avoiding(algorithm: Algorithm, window: u64) -> Path {
        let mut path = Path::new(algorithm);
        while path.cc.window() < window {
            path.ack(at(10), at(5), MSS);
        }
        path.lose(at(20), at(15), MSS, false);
        path
    }

    fn sample<'a>(rtt: &'a Rtt, now: Instant, sent_at: Instant, bytes: u64) -> AckSample<'a> {
        AckSample {
            now,
            bytes_acked: bytes,
            largest_sent_at: sent_at,
            largest_seq: 0,
            prior_in_flight: bytes,
            in_flight: 0,
            rtt,
            latest_rtt: None,
            rate: None,
            is_cwnd_limited: true,
        }
    }

    fn ack(&mut self, now: Instant, sent_at: Instant, bytes: u64) {
        self.cc
            .on_ack(&Path::sample(&self.rtt, now, sent_at, bytes));
    }

    fn lose(&mut self, now: Instant, sent_at: Instant, bytes: u64, is_persistent: bool) {
        self.seq += 1;
        self.cc.on_loss(&LossSample {
            now,
            bytes_lost: bytes,
            largest_lost_sent_at: sent_at,
            largest_lost_seq: self.seq,
            in_flight: 0,
            is_persistent,
            lost_rate: None,
            total_lost: bytes,
        });
    }
}

// Q146, RFC 9002 7.2: ten datagrams, at most the larger of 14,720 bytes and two datagrams.
#[test]
fn the_initial_window() {
    assert_eq!(initial_window(1200), 12_000);
    assert_eq!(initial_window(1472), 14_720);
    assert_eq!(initial_window(1500), 14_720);
    assert_eq!(initial_window(9_000), 18_000);
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.controller(at(0), 1200, 1).window(), 12_000);
        let config = Config {
            initial_window: Some(50_000),
            ..Config::new(1200, 1)
        };
        assert_eq!(algorithm.with_config(at(0), &config).window(), 50_000);
    }
}

// RFC 9002 7.2: a window that nothing has moved follows the datagram size, a later one does not.
#[test]
fn the_initial_window_follows_the_datagram_size() {
    for algorithm in WINDOW_BASED {
        let mut path = Path::new(algorithm);
        path.cc.on_mtu(1452);
        assert_eq!(path.cc.window(), 14_520);
        path.ack(at(100), at(50), 1452);
        path.cc.on_mtu(1200);
        assert_eq!(path.cc.window(), 14_520 + 1452);
    }
}

// Q146, RFC 9002 7.2: no number of losses makes the window less than two datagrams.
#[test]
fn the_least_window_is_two_datagrams() {
    for algorithm in Algorithm::ALL {
        let mut path = Path::new(algorithm);
        for n in 1..100 {
            path.lose(at(n * 10), at(n * 10 - 1), MSS, n % 7 == 0);
            assert!(path.cc.window() >= 2 * MSS, "{algorithm}");
        }
        if algorithm != Algorithm::Bbr {
            assert_eq!(path.cc.window(), 2 * MSS, "{algorithm}");
            assert_eq!(path.cc.ssthresh(), Some(2 * MSS), "{algorithm}");
        }
    }
}

// RFC 9002 7.3.1: slow start grows by what is acknowledged, up to the threshold.
#[test]
fn slow_start_grows_by_the_bytes_acknowledged() {
    for algorithm in WINDOW_BASED {
        let mut path = Path::new(algorithm);
        assert!(path.cc.in_slow_start());
        assert_eq!((path.cc.state(), path.cc.ssthresh()), ("slow_start", None));
        path.ack(at(100), at(0), 2 * MSS + 7);
        assert_eq!(path.cc.window(), INITIAL + 2 * MSS + 7);
    }
}

// RFC 9002 7.3.3: in congestion avoidance at most one datagram for each window acknowledged.
#[test]
fn newreno_adds_a_datagram_per_window() {
    let mut path = Path::avoiding(Algorithm::NewReno, 24_000);
    assert_eq!(path.cc.window(), 12_000);
    for _ in 0..9 {
        path.ack(at(120), at(30), MSS);
        assert_eq!(path.cc.window(), 12_000);
    }
    path.ack(at(130), at(30), MSS);
    assert_eq!(path.cc.window(), 12_000 + MSS);
    assert_eq!(path.cc.state(), "congestion_avoidance");
}

// Q147, RFC 9002 7.3.2: losses of packets sent before a recovery period do not reduce again, one
// sent in it does.
#[test]
fn one_reduction_per_recovery_period() {
    for (algorithm, once, twice) in [
        (Algorithm::NewReno, 6_000, 3_000),
        (Algorithm::Cubic, 8_400, 5_880),
    ] {
        let mut path = Path::new(algorithm);
        path.lose(at(100), at(50), MSS, false);
        assert_eq!(path.cc.window(), once);
        path.lose(at(110), at(99), 3 * MSS, false);
        path.lose(at(120), at(100), MSS, false);
        path.cc.on_ecn_ce(at(125), at(100), 0, 1);
        assert_eq!(path.cc.window(), once);
        path.lose(at(130), at(101), MSS, false);
        assert_eq!(path.cc.window(), twice);
    }
}

// Q147, RFC 9002 7.3.2: an acknowledgement of a packet sent before it leaves the window alone, one
// of a packet sent in it ends it.
#[test]
fn recovery_ends_by_a_packet_sent_in_it() {
    for algorithm in WINDOW_BASED {
        let mut path = Path::new(algorithm);
        path.lose(at(100), at(50), MSS, false);
        let reduced = path.cc.window();
        path.ack(at(110), at(100), INITIAL);
        assert_eq!((path.cc.window(), path.cc.state()), (reduced, "recovery"));
        assert!(!path.cc.in_slow_start());
        path.ack(at(210), at(101), INITIAL);
        assert_eq!(path.cc.state(), "congestion_avoidance");
        assert!(path.cc.window() > reduced, "{algorithm}");
    }
}

// Q148, RFC 9002 7.6.2: persistent congestion leaves the least window and slow start.
#[test]
fn persistent_congestion_goes_to_the_least_window() {
    for algorithm in Algorithm::ALL {
        let mut path = Path::new(algorithm);
        path.lose(at(3_000), at(2_900), 10 * MSS, true);
        assert_eq!(path.cc.window(), 2 * MSS, "{algorithm}");
        if algorithm != Algorithm::Bbr {
            assert_eq!(path.cc.state(), "slow_start", "{algorithm}");
            // The period is over: what was sent before it counts again (RFC 9002 B.8).
            path.ack(at(3_100), at(2_950), MSS);
            assert_eq!(path.cc.window(), 3 * MSS, "{algorithm}");
        }
    }
}

// Q149, RFC 9002 7.8: what the window did not limit does not let it grow, in slow start and after.
#[test]
fn an_underused_window_does_not_grow() {
    for algorithm in WINDOW_BASED {
        for mut path in [Path::new(algorithm), Path::avoiding(algorithm, 60_000)] {
            let before = path.cc.window();
            for n in 0..50 {
                let mut sample = Path::sample(&path.rtt, at(100 + n * 50), at(50 + n * 50), MSS);
                sample.is_cwnd_limited = false;
                path.cc.on_ack(&sample);
            }
            assert_eq!(path.cc.window(), before, "{algorithm}");
        }
    }
}

// Q150: what can be selected, by name.
#[test]
fn algorithms_have_names() {
    for algorithm in Algorithm::ALL {
        let name = algorithm.to_string();
        assert_eq!(name.parse(), Ok(algorithm));
        assert_eq!(name.to_uppercase().parse(), Ok(algorithm));
        assert_eq!(algorithm.controller(at(0), MSS, 1).name(), name);
    }
    assert_eq!(Algorithm::default(), Algorithm::Cubic);
    let error = "vegas".parse::<Algorithm>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no congestion control is called \"vegas\": it is newreno, cubic or bbr"
    );
}

// Q151, RFC 9002 7.7: 1.25 windows a round trip, two in slow start, nothing before it is known.
#[test]
fn the_pacing_rate_of_a_window() {
    for algorithm in WINDOW_BASED {
        let mut path = Path::new(algorithm);
        assert_eq!(path.cc.pacing_rate(&Rtt::default()), None);
        assert_eq!(path.cc.pacing_rate(&path.rtt), Some(240_000));
        path.lose(at(100), at(50), MSS, false);
        let window = path.cc.window();
        assert_eq!(path.cc.pacing_rate(&path.rtt), Some(window * 125 / 10));
    }
}

// RFC 9002 7.1, B.7: a mark reduces as a loss does; a report without new marks does not.
#[test]
fn a_mark_reduces_once() {
    for (algorithm, reduced) in [(Algorithm::NewReno, 6_000), (Algorithm::Cubic, 8_400)] {
        let mut path = Path::new(algorithm);
        path.cc.on_ecn_ce(at(100), at(50), 0, 0);
        assert_eq!(path.cc.window(), INITIAL);
        path.cc.on_ecn_ce(at(100), at(50), 0, 2);
        path.cc.on_ecn_ce(at(110), at(60), 0, 2);
        assert_eq!(path.cc.window(), reduced);
    }
}

// RFC 9438 4.9.2: when all that was lost has turned up, the window is what it was; not before.
#[test]
fn a_spurious_reduction_is_undone() {
    for algorithm in WINDOW_BASED {
        let mut path = Path::new(algorithm);
        path.lose(at(100), at(50), 2 * MSS, false);
        path.lose(at(105), at(60), MSS, false);
        let reduced = path.cc.window();
        path.cc.on_spurious_loss(at(110), MSS, at(50));
        path.cc.on_spurious_loss(at(110), MSS, at(50));
        assert_eq!(path.cc.window(), reduced);
        path.cc.on_spurious_loss(at(112), MSS, at(60));
        assert_eq!(path.cc.window(), INITIAL);
        assert_eq!((path.cc.state(), path.cc.ssthresh()), ("slow_start", None));
        // Once only.
        path.cc.on_spurious_loss(at(113), MSS, at(60));
        assert_eq!(path.cc.window(), INITIAL);
    }
}

// RFC 9438 4.9.2: a reduction that a mark shares is deserved, and one by persistent congestion or
// for packets of an older period is not undone.
#[test]
fn other_reductions_stay() {
    for algorithm in WINDOW_BASED {
        let mut path = Path::new(algorithm);
        path.lose(at(100), at(50), MSS, false);
        let once = path.cc.window();
        path.cc.on_ecn_ce(at(101), at(60), 0, 1);
        path.cc.on_spurious_loss(at(110), MSS, at(50));
        assert_eq!(path.cc.window(), once);

        path.lose(at(200), at(150), MSS, false);
        let twice = path.cc.window();
        path.cc.on_spurious_loss(at(210), MSS, at(50));
        assert_eq!(path.cc.window(), twice);

        path.lose(at(300), at(290), MSS, true);
        path.cc.on_spurious_loss(at(310), MSS, at(290));
        assert_eq!(path.cc.window(), 2 * MSS);
    }
}

/// The window of CUBIC after `elapsed` of congestion avoidance, acknowledged window by window.
fn run_cubic(path: &mut Path, from: u64, rounds: u64) -> u64 {
    for n in 0..rounds {
        let now = from + n * 100;
        let quarter = path.cc.window() / 4;
        for part in 0..4 {
            path.ack(at(now + part), at(now - 50), quarter);
        }
    }
    path.cc.window()
}

// RFC 9438 4.2, 4.6: reduced to 0.7, it is back at W_max after K = cbrt(0.3 W_max / C) seconds,
// having flattened before and steepening after.
#[test]
fn cubic_returns_to_the_plateau_in_k_seconds() {
    // 400 datagrams: K = cbrt(120 / 0.4) = 6.69 s, more than Reno would make of it.
    let w_max = 480_000;
    let mut path = Path::avoiding(Algorithm::Cubic, w_max);
    let reduced = path.cc.window();
    assert_eq!(reduced, w_max * 7 / 10);
    let half = run_cubic(&mut path, 200, 33);
    let whole = run_cubic(&mut path, 3_500, 33);
    let beyond = run_cubic(&mut path, 6_800, 33);
    // Half of the time: an eighth of the way is left.
    let eighth = (w_max - reduced) / 8;
    assert!((w_max - half).abs_diff(eighth) < eighth / 3, "{half}");
    assert!(whole.abs_diff(w_max) < 3 * MSS, "{whole}");
    assert!((beyond - w_max).abs_diff(eighth) < eighth / 3, "{beyond}");
}

// RFC 9438 4.3: where Reno would be faster, it grows as Reno does: 0.53 datagrams a round until the
// old window is reached, one after that.
#[test]
fn cubic_is_no_slower_than_reno_on_a_small_window() {
    let mut path = Path::avoiding(Algorithm::Cubic, 20 * MSS);
    let start = path.cc.window();
    assert_eq!(start, 14 * MSS);
    // alpha = 9 / 17 a round: 6 datagrams take about 11.3 rounds.
    let grown = run_cubic(&mut path, 200, 10);
    let alpha = start + 10 * MSS * 9 / 17;
    assert!(grown.abs_diff(alpha) < MSS / 2, "{grown} {alpha}");
    run_cubic(&mut path, 1_200, 4);
    let at_prior = path.cc.window();
    let later = run_cubic(&mut path, 1_600, 5);
    assert!(later - at_prior > 4 * MSS, "{at_prior} {later}");
}

// RFC 9438 4.7: a flow reduced below its last plateau takes a lower one, 0.85 of where it was.
#[test]
fn cubic_converges_fast() {
    let mut path = Path::avoiding(Algorithm::Cubic, 480_000);
    path.ack(at(200), at(150), MSS);
    let window = path.cc.window();
    path.lose(at(300), at(250), MSS, false);
    // K for 0.15 of the window instead of 0.3: cbrt(0.15 x 280 / 0.4) = 4.7 s to 0.85 of it.
    let plateau = window * 85 / 100;
    let reached = run_cubic(&mut path, 400, 47);
    assert!(reached.abs_diff(plateau) < 4 * MSS, "{reached} {plateau}");
}

// RFC 9438 4.2, 5.8: time in which the window was not the limit does not count for the curve.
#[test]
fn cubic_does_not_leap_after_a_pause() {
    for pause_by_sending in [true, false] {
        let mut path = Path::avoiding(Algorithm::Cubic, 480_000);
        let before = run_cubic(&mut path, 200, 10);
        // 30 s: the curve would be far beyond the plateau.
        if pause_by_sending {
            path.cc.on_sent(at(31_200), MSS, 0, 1);
        } else {
            for n in 0..300 {
                let now = 1_200 + n * 100;
                let mut sample = Path::sample(&path.rtt, at(now), at(now - 50), MSS);
                sample.is_cwnd_limited = false;
                path.cc.on_ack(&sample);
            }
        }
        let after = run_cubic(&mut path, 31_300, 1);
        assert!(after - before < 10 * MSS, "{before} {after}");
    }
}

// RFC 9438 4.2: one acknowledgement of a whole window adds no more than half of it.
#[test]
fn cubic_grows_by_less_than_slow_start() {
    let mut path = Path::avoiding(Algorithm::Cubic, 120_000);
    path.ack(at(200), at(150), MSS);
    let before = path.cc.window();
    path.ack(at(60_000), at(59_900), before * 10);
    assert!(path.cc.window() <= before * 3 / 2 + 10 * MSS);
}

/// One round of `packets`, acknowledged one by one with `rtt`.
fn round(hystart: &mut HyStart, seq: &mut u64, packets: u64, rtt: Duration) -> Verdict {
    let first = *seq + 1;
    *seq += packets;
    for n in first..=*seq {
        hystart.on_sent(n);
    }
    let mut verdict = Verdict::SlowStart;
    for n in first..=*seq {
        verdict = hystart.on_ack(n, Some(rtt));
        if verdict == Verdict::Exit {
            break;
        }
    }
    verdict
}

// Q150, RFC 9406 4.2: an eighth more delay, at least 4 ms, over eight samples, and slow start slows
// down; after five rounds of that it ends.
#[test]
fn hystart_leaves_slow_start_when_the_delay_grows() {
    let (mut hystart, mut seq) = (HyStart::default(), 0);
    for _ in 0..3 {
        let verdict = round(&mut hystart, &mut seq, 10, ms(100));
        assert_eq!(verdict, Verdict::SlowStart);
    }
    // 12 ms is less than an eighth, and seven samples are too few.
    assert_eq!(
        round(&mut hystart, &mut seq, 10, ms(112)),
        Verdict::SlowStart
    );
    assert_eq!(
        round(&mut hystart, &mut seq, 6, ms(140)),
        Verdict::SlowStart
    );
    assert_eq!(
        round(&mut hystart, &mut seq, 10, ms(112)),
        Verdict::SlowStart
    );
    let mut verdicts = Vec::new();
    for _ in 0..8 {
        verdicts.push(round(&mut hystart, &mut seq, 10, ms(140)));
        if verdicts.last() == Some(&Verdict::Exit) {
            break;
        }
    }
    let conservative = verdicts
        .iter()
        .filter(|verdict| **verdict == Verdict::Conservative)
        .count();
    assert_eq!(conservative, 5, "{verdicts:?}");
    assert_eq!(verdicts.last(), Some(&Verdict::Exit));
}

// RFC 9406 4.2: a delay that falls again was jitter, and slow start goes on.
#[test]
fn hystart_resumes_slow_start() {
    let (mut hystart, mut seq) = (HyStart::default(), 0);
    for rtt in [100, 100, 150] {
        round(&mut hystart, &mut seq, 10, ms(rtt));
    }
    assert_eq!(
        round(&mut hystart, &mut seq, 10, ms(150)),
        Verdict::Conservative
    );
    assert_eq!(
        round(&mut hystart, &mut seq, 10, ms(100)),
        Verdict::SlowStart
    );
}

// A peer that acknowledges as no path could moves no window past its bounds.
#[test]
fn windows_stay_within_their_bounds() {
    for algorithm in Algorithm::ALL {
        let mut path = Path::new(algorithm);
        for n in 1..200u64 {
            path.ack(at(n * 10), at(n * 10 - 1), u64::MAX / 3);
            assert!(path.cc.window() <= 1 << 32, "{algorithm}");
            if n % 50 == 0 {
                path.lose(at(n * 10), at(n * 10 - 1), u64::MAX / 3, false);
                path.cc.on_mtu(if n % 100 == 0 { 1 } else { u64::MAX / 8 });
                path.cc.on_mtu(MSS);
            }
            assert!(path.cc.send_quantum() >= MSS, "{algorithm}");
        }
    }
}
