//! The pacer: what goes when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::pacer::Pacer;
use weir_core::time::{Duration, Instant};

const MSS: u64 = 1200;
const INITIAL: u64 = 12_000;
const WINDOW: u64 = 1 << 30;

/// Sends whole datagrams whenever the pacer lets it, waking only at multiples of `tick`, for
/// `time`. Returns the bytes sent and the largest burst, the first ones not counted.
fn drive(rate: u64, tick: Duration, time: Duration) -> (u64, u64, u32) {
    let mut now = Instant::ZERO;
    let mut pacer = Pacer::new(now, MSS);
    // Empties the bucket that a path begins with.
    pacer.on_sent(now, INITIAL);
    let (mut sent, mut largest, mut wakes) = (0, 0, 0);
    let end = now + time;
    while now < end {
        match pacer.next_release(now, Some(rate), WINDOW, MSS) {
            Some(release) => {
                assert!(release > now);
                let tick = tick.as_nanos() as u64;
                now = Instant::from_nanos(release.as_nanos().div_ceil(tick) * tick);
                wakes += 1;
            }
            None => {
                let burst = pacer.budget(now, Some(rate), WINDOW) / MSS * MSS;
                assert!(burst > 0);
                pacer.on_sent(now, burst);
                sent += burst;
                largest = largest.max(burst);
            }
        }
    }
    (sent, largest, wakes)
}

// Q151, RFC 9002 7.7: a path begins with a burst of the initial window and no more.
#[test]
fn the_first_burst_is_the_initial_window() {
    let now = Instant::ZERO;
    let mut pacer = Pacer::new(now, MSS);
    assert_eq!(pacer.next_release(now, Some(1_000), WINDOW, MSS), None);
    assert_eq!(pacer.budget(now, Some(1_000), WINDOW), INITIAL);
    pacer.on_sent(now, INITIAL);
    // One datagram at 1,000 bytes per second.
    assert_eq!(
        pacer.next_release(now, Some(1_000), WINDOW, MSS),
        Some(Instant::from_millis(1_200))
    );
}

// Q151: however long it paused, at a low rate not more than the initial window goes at once.
#[test]
fn a_pause_does_not_save_up_more_than_a_burst() {
    let mut pacer = Pacer::new(Instant::ZERO, MSS);
    pacer.on_sent(Instant::ZERO, INITIAL);
    let later = Instant::from_millis(3_600_000);
    assert_eq!(pacer.budget(later, Some(1_000_000), WINDOW), INITIAL);
    // Two milliseconds of a gigabyte per second.
    assert_eq!(
        pacer.budget(later + Duration::from_secs(1), Some(1_000_000_000), WINDOW),
        2_000_000
    );
}

// Q151: every rate is reached to a percent by a driver whose timers tick in milliseconds, and none
// is passed.
#[test]
fn millisecond_timers_reach_every_rate() {
    for rate in [
        100_000,
        1_250_000,
        12_500_000,
        125_000_000,
        1_250_000_000,
        12_500_000_000,
    ] {
        let time = Duration::from_secs(2);
        let (sent, largest, _) = drive(rate, Duration::from_millis(1), time);
        let due = rate * 2;
        assert!(sent <= due + INITIAL, "{rate}: {sent}");
        assert!(sent >= due * 99 / 100, "{rate}: {sent}");
        assert!(largest <= (rate / 500).max(INITIAL), "{rate}: {largest}");
    }
}

// Batches, not timers per packet: half a millisecond's worth at a time even if the clock is exact,
// up to what one send takes.
#[test]
fn exact_timers_still_make_batches() {
    let (sent, _, wakes) = drive(
        125_000_000,
        Duration::from_nanos(1),
        Duration::from_millis(100),
    );
    assert!(sent >= 12_300_000);
    assert!(wakes <= 210, "{wakes}");
}

// Often asking does not lose the fractions of bytes.
#[test]
fn asking_every_microsecond_loses_nothing() {
    let mut pacer = Pacer::new(Instant::ZERO, MSS);
    pacer.on_sent(Instant::ZERO, INITIAL);
    let rate = 1_300_001;
    for n in 0..=5_000u64 {
        pacer.budget(Instant::from_nanos(n * 1_000), Some(rate), WINDOW);
    }
    let now = Instant::from_millis(5);
    assert_eq!(pacer.budget(now, Some(rate), WINDOW), 6_500);
}

// Without a rate (no round trip measured yet) only the window holds.
#[test]
fn without_a_rate_the_window_decides() {
    let mut pacer = Pacer::new(Instant::ZERO, MSS);
    pacer.on_sent(Instant::ZERO, 10 * INITIAL);
    assert_eq!(pacer.next_release(Instant::ZERO, None, 5_000, MSS), None);
    assert_eq!(pacer.budget(Instant::ZERO, None, 5_000), 5_000);
}

// No rate, time or size makes it panic, and a clock that steps back gives nothing away.
#[test]
fn extremes() {
    let mut pacer = Pacer::new(Instant::from_millis(10), MSS);
    pacer.on_sent(Instant::from_millis(10), u64::MAX);
    assert_eq!(pacer.budget(Instant::ZERO, Some(u64::MAX), WINDOW), 0);
    assert!(
        pacer
            .next_release(Instant::ZERO, Some(0), WINDOW, MSS)
            .is_some()
    );
    assert!(pacer.budget(Instant::MAX, Some(u64::MAX), WINDOW) > 0);
    let _when = pacer.next_release(Instant::MAX, Some(u64::MAX), 0, u64::MAX);
    assert!(Pacer::new(Instant::ZERO, 0).budget(Instant::ZERO, Some(1), 1) == 0);
}
