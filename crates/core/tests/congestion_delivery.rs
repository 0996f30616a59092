//! Delivery-rate samples (draft-cheng-iccrg-delivery-rate-estimation-02).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::delivery::{RateSampler, bytes_in, bytes_per_second};
use weir_core::time::{Duration, Instant};

const MSS: u64 = 1000;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

// Section 3.3: a steady flow, one packet each 10 ms and a round trip of 50 ms: 100 packets a second.
#[test]
fn a_steady_flow_shows_its_rate() {
    let mut rates = RateSampler::new();
    let mut packets = Vec::new();
    let mut last = None;
    for n in 0..40u64 {
        let now = at(n * 10);
        if n >= 5 {
            let (sent_at, packet) = packets[(n - 5) as usize];
            rates.on_acked(now, sent_at, MSS, &packet);
            last = rates.finish_ack(now, Some(ms(50)));
        }
        let in_flight = n.min(4) * MSS;
        packets.push((now, rates.on_sent(now, in_flight, MSS)));
    }
    let sample = last.unwrap();
    assert_eq!(sample.rate, Some(100 * MSS));
    assert_eq!((sample.delivered, sample.interval), (5 * MSS, ms(50)));
    assert_eq!((sample.newly_acked, sample.lost), (MSS, 0));
    assert_eq!(sample.tx_in_flight, 5 * MSS);
    assert_eq!(sample.total_delivered, rates.delivered());
    assert!(!sample.is_app_limited);
}

// Section 2.2: acknowledgements that were held up and come at once do not show more than was sent.
#[test]
fn compressed_acknowledgements_do_not_inflate_the_rate() {
    let mut rates = RateSampler::new();
    let sent: Vec<_> = (0..10u64)
        .map(|n| (at(n * 10), rates.on_sent(at(n * 10), n * MSS, MSS)))
        .collect();
    // The first comes alone, the rest all within a millisecond.
    rates.on_acked(at(150), sent[0].0, MSS, &sent[0].1);
    rates.finish_ack(at(150), None);
    for (sent_at, packet) in &sent[1..] {
        rates.on_acked(at(151), *sent_at, MSS, packet);
    }
    let sample = rates.finish_ack(at(151), Some(ms(50))).unwrap();
    // Ten packets, sent over 90 ms, acknowledged 151 ms after the first was sent.
    assert_eq!(sample.interval, ms(151));
    assert_eq!(sample.rate, Some(10 * MSS * 1000 / 151));
}

// Section 2.2: an acknowledgement that was late makes the next ones seem fast; the time it took to
// send bounds the rate.
#[test]
fn the_rate_of_sending_bounds_the_rate() {
    let mut rates = RateSampler::new();
    let first = rates.on_sent(at(0), 0, MSS);
    let second = rates.on_sent(at(1), MSS, MSS);
    rates.on_acked(at(100), at(0), MSS, &first);
    rates.finish_ack(at(100), None);
    let third = rates.on_sent(at(101), MSS, MSS);
    rates.on_acked(at(121), at(1), MSS, &second);
    rates.on_acked(at(121), at(101), MSS, &third);
    let sample = rates.finish_ack(at(121), Some(ms(20))).unwrap();
    // Acknowledged within 21 ms of the last, but sent 101 ms after it.
    assert_eq!((sample.delivered, sample.interval), (2 * MSS, ms(101)));
}

// Section 3.3: the newest packet decides, whatever the order in which they are named.
#[test]
fn the_newest_packet_decides() {
    for reversed in [false, true] {
        let mut rates = RateSampler::new();
        let mut sent: Vec<_> = (0..4u64)
            .map(|n| (at(n), rates.on_sent(at(n), n * MSS, MSS)))
            .collect();
        if reversed {
            sent.reverse();
        }
        for (sent_at, packet) in &sent {
            rates.on_acked(at(50), *sent_at, MSS, packet);
        }
        let sample = rates.finish_ack(at(50), None).unwrap();
        assert_eq!(sample.tx_in_flight, 4 * MSS);
        assert_eq!(sample.newly_acked, 4 * MSS);
    }
}

// Section 3.3: an interval shorter than the least round trip says nothing about the rate.
#[test]
fn too_short_an_interval_is_no_rate() {
    let mut rates = RateSampler::new();
    let packet = rates.on_sent(at(0), 0, MSS);
    rates.on_acked(at(20), at(0), MSS, &packet);
    let sample = rates.finish_ack(at(20), Some(ms(30))).unwrap();
    assert_eq!((sample.rate, sample.delivered), (None, MSS));
    assert_eq!(rates.finish_ack(at(21), None), None);
}

// Section 3.4: what is sent while the application is the limit is marked, until all of it is
// delivered.
#[test]
fn application_limits_mark_what_is_sent() {
    let mut rates = RateSampler::new();
    let before = rates.on_sent(at(0), 0, MSS);
    rates.set_app_limited(MSS);
    let during = rates.on_sent(at(1), MSS, MSS);
    assert_eq!(
        (before.is_app_limited(), during.is_app_limited()),
        (false, true)
    );
    rates.on_acked(at(50), at(0), MSS, &before);
    assert!(!rates.finish_ack(at(50), None).unwrap().is_app_limited);
    assert!(rates.is_app_limited());
    rates.on_acked(at(51), at(1), MSS, &during);
    assert!(rates.finish_ack(at(51), None).unwrap().is_app_limited);
    assert!(!rates.is_app_limited());
}

// draft-ietf-ccwg-bbr 2.3: losses between sending and acknowledgement belong to the sample.
#[test]
fn losses_are_counted_from_the_sending() {
    let mut rates = RateSampler::new();
    rates.on_lost(5 * MSS);
    let packet = rates.on_sent(at(0), 3 * MSS, MSS);
    rates.on_lost(2 * MSS);
    rates.on_acked(at(50), at(0), MSS, &packet);
    let sample = rates.finish_ack(at(50), None).unwrap();
    assert_eq!(sample.lost, 2 * MSS);
    assert_eq!(sample.newly_lost, 7 * MSS);
    assert_eq!(rates.lost(), 7 * MSS);
    assert_eq!((packet.tx_in_flight(), packet.lost()), (4 * MSS, 5 * MSS));
}

// Section 3.2: after a pause, the time in which nothing was in flight does not count.
#[test]
fn a_pause_does_not_lower_the_rate() {
    let mut rates = RateSampler::new();
    let packet = rates.on_sent(at(0), 0, MSS);
    rates.on_acked(at(50), at(0), MSS, &packet);
    rates.finish_ack(at(50), None);
    let packet = rates.on_sent(at(9_000), 0, MSS);
    rates.on_acked(at(9_050), at(9_000), MSS, &packet);
    let sample = rates.finish_ack(at(9_050), None).unwrap();
    assert_eq!((sample.interval, sample.rate), (ms(50), Some(20 * MSS)));
}

#[test]
fn conversions_saturate() {
    assert_eq!(bytes_per_second(1_000, ms(10)), 100_000);
    assert_eq!(bytes_per_second(u64::MAX, Duration::ZERO), u64::MAX);
    assert_eq!(
        bytes_per_second(u64::MAX, Duration::from_secs(2)),
        u64::MAX / 2
    );
    assert_eq!(bytes_in(1_000_000, ms(5)), 5_000);
    assert_eq!(bytes_in(u64::MAX, Duration::from_secs(2)), u64::MAX);
    assert_eq!(bytes_in(u64::MAX, ms(500)), u64::MAX / 2);
}
