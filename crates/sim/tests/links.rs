//! Every impairment of a link, measured.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking"
)]

use bytes::Bytes;
use weir_core::time::{Duration, Instant};
use weir_sim::{
    Datagram, DropReason, Ecn, EcnTreatment, GilbertElliott, LinkConfig, LinkModel, LinkStats,
    Packet, QueueLimit, Schedule, split,
};

/// A packet that arrived: when, which, and as what.
type Arrival = (Instant, u64, Datagram);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at(milliseconds: u64) -> Instant {
    Instant::from_millis(milliseconds)
}

/// Numbered, and 100 bytes long on the wire.
fn packet(number: u64, ecn: Ecn) -> Datagram {
    let mut payload = vec![0; 72];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    let (from, to) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    Datagram {
        from,
        to,
        ecn,
        payload: Bytes::from(payload),
    }
}

/// Sends `count` packets, one every `gap`, and returns what arrives, in the order of arrival.
fn send(link: &mut LinkModel, count: u64, gap: Duration) -> Vec<Arrival> {
    send_as(link, count, gap, Ecn::NotEct)
}

fn send_as(link: &mut LinkModel, count: u64, gap: Duration, ecn: Ecn) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut now = Instant::ZERO;
    for number in 0..count {
        let _ = link.offer(now, packet(number, ecn), |at, datagram| {
            arrivals.push((at, number, datagram));
        });
        now += gap;
    }
    arrivals.sort_by_key(|&(at, ..)| at);
    arrivals
}

fn link(config: LinkConfig) -> LinkModel {
    link_of(config, 1)
}

fn link_of(config: LinkConfig, seed: u64) -> LinkModel {
    LinkModel::new(config, split(seed, "test")).unwrap()
}

/// Asserts that `count` of `total` is `share`, within five standard deviations.
fn assert_share(count: u64, total: u64, share: f64) {
    let expected = total as f64 * share;
    let deviation = (total as f64 * share * (1.0 - share)).sqrt();
    let off = (count as f64 - expected).abs();
    assert!(
        off <= 5.0 * deviation,
        "{count} of {total}, expected {expected} +- {deviation}"
    );
}

#[test]
fn a_perfect_link_delivers_at_once_and_in_order() {
    let mut link = link(LinkConfig::default());
    let arrivals = send(&mut link, 100, Duration::ZERO);
    let numbers: Vec<u64> = arrivals.iter().map(|(_, number, _)| *number).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert!(arrivals.iter().all(|&(at, ..)| at == Instant::ZERO));
    assert_eq!(
        (link.stats().offered, link.stats().offered_bytes),
        (100, 10_000)
    );
    assert_eq!(
        (link.stats().forwarded, link.stats().forwarded_bytes),
        (100, 10_000)
    );
}

#[test]
fn rate_and_delay_are_exact() {
    // 100 bytes at 80 kbit/s take 10 ms.
    let mut link = link(LinkConfig {
        rate: Some(80_000),
        delay: ms(25),
        ..LinkConfig::default()
    });
    let times: Vec<Instant> = send(&mut link, 3, Duration::ZERO)
        .into_iter()
        .map(|(at, ..)| at)
        .collect();
    assert_eq!(times, [at(35), at(45), at(55)]);
    assert_eq!(link.stats().longest_wait, ms(20));
    assert_eq!(link.stats().peak_queue_packets, 2);
}

#[test]
fn jitter_is_uniform_and_keeps_order() {
    let config = LinkConfig {
        delay: ms(10),
        jitter: ms(4),
        ..LinkConfig::default()
    };
    let arrivals = send(&mut link(config.clone()), 10_000, ms(10));
    let extra = |(at, number, _): &Arrival| {
        at.saturating_duration_since(Instant::from_millis(10 * number + 10))
    };
    assert!(arrivals.iter().all(|arrival| extra(arrival) <= ms(4)));
    let mean = arrivals.iter().map(extra).sum::<Duration>() / 10_000;
    // Deviation of the mean of 10,000 uniform draws in 4 ms: 12 us.
    assert!(
        (Duration::from_micros(1940)..Duration::from_micros(2060)).contains(&mean),
        "{mean:?}"
    );
    // Packets closer than the jitter keep their order all the same.
    let close = send(&mut link(config), 10_000, Duration::from_micros(100));
    assert!(close.is_sorted_by_key(|(_, number, _)| *number));
}

#[test]
fn random_loss_has_its_share_and_no_memory() {
    for loss in [0.001, 0.02, 0.3, 1.0] {
        let mut link = link(LinkConfig {
            loss,
            ..LinkConfig::default()
        });
        let arrivals = send(&mut link, 100_000, Duration::ZERO);
        let lost = link.stats().dropped_by(DropReason::Loss);
        assert_share(lost, 100_000, loss);
        assert_eq!(arrivals.len() as u64 + lost, 100_000);
        let pairs = runs(&arrivals, 100_000).filter(|&run| run >= 2).count() as u64;
        if loss == 0.3 {
            // A run of two and more starts with probability (1 - p) p p.
            assert_share(pairs, 100_000, 0.7 * 0.3 * 0.3);
        }
    }
}

/// Lengths of the runs of packets that did not arrive.
fn runs(arrivals: &[Arrival], count: u64) -> impl Iterator<Item = u64> {
    let mut arrived: Vec<u64> = arrivals.iter().map(|(_, number, _)| *number).collect();
    arrived.push(count);
    let mut next = 0;
    arrived.into_iter().filter_map(move |number| {
        let run = number - next;
        next = number + 1;
        (run > 0).then_some(run)
    })
}

#[test]
fn burst_loss_has_its_share_and_its_length() {
    let burst = GilbertElliott::bursts(0.05, 8.0);
    assert!((burst.mean_loss() - 0.05).abs() < 1e-12);
    let mut link = link(LinkConfig {
        burst: Some(burst),
        ..LinkConfig::default()
    });
    let arrivals = send(&mut link, 400_000, Duration::ZERO);
    let lost = link.stats().dropped_by(DropReason::Burst);
    // 2,500 bursts: the number of bursts and their lengths spread by a few percent.
    assert!((18_000..22_000).contains(&lost), "{lost}");
    let lengths: Vec<u64> = runs(&arrivals, 400_000).collect();
    let mean = lengths.iter().sum::<u64>() as f64 / lengths.len() as f64;
    assert!((7.2..8.8).contains(&mean), "bursts of {mean}");
}

#[test]
fn numbered_packets_are_dropped_exactly() {
    let config = LinkConfig {
        drop_numbers: vec![1, 4],
        drop_every: 5,
        ..LinkConfig::default()
    };
    let mut link = link(config);
    let arrived: Vec<u64> = send(&mut link, 10, Duration::ZERO)
        .iter()
        .map(|(_, number, _)| number + 1)
        .collect();
    assert_eq!(arrived, [2, 3, 6, 7, 8, 9]);
    assert_eq!(link.stats().dropped_by(DropReason::Numbered), 4);
}

#[test]
fn a_reordered_packet_is_overtaken() {
    let config = LinkConfig {
        delay: ms(5),
        reorder: 0.1,
        reorder_by: ms(3),
        ..LinkConfig::default()
    };
    let mut link = link(config);
    let arrivals = send(&mut link, 10_000, ms(1));
    assert_eq!(arrivals.len(), 10_000);
    assert_share(link.stats().reordered, 10_000, 0.1);
    let late = arrivals
        .iter()
        .filter(|(at, number, _)| *at == Instant::from_millis(number + 8));
    assert_eq!(late.count() as u64, link.stats().reordered);
    assert!(!arrivals.is_sorted_by_key(|(_, number, _)| *number));
}

#[test]
fn a_duplicated_packet_arrives_twice_and_unchanged() {
    let mut link = link(LinkConfig {
        duplicate: 0.2,
        ..LinkConfig::default()
    });
    let arrivals = send(&mut link, 10_000, Duration::ZERO);
    assert_share(link.stats().duplicated, 10_000, 0.2);
    assert_eq!(arrivals.len() as u64, 10_000 + link.stats().duplicated);
    assert!(
        arrivals
            .iter()
            .all(|(_, number, datagram)| *datagram == packet(*number, Ecn::NotEct))
    );
}

#[test]
fn a_corrupted_packet_differs_in_one_bit() {
    let mut link = link(LinkConfig {
        corrupt: 0.1,
        ..LinkConfig::default()
    });
    let arrivals = send(&mut link, 10_000, Duration::ZERO);
    assert_share(link.stats().corrupted, 10_000, 0.1);
    let mut corrupted = 0;
    for (_, number, datagram) in &arrivals {
        let sent = packet(*number, Ecn::NotEct).payload;
        let bits: u32 = sent
            .iter()
            .zip(&datagram.payload)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert!(bits <= 1 && sent.len() == datagram.payload.len());
        corrupted += u64::from(bits);
    }
    assert_eq!(corrupted, link.stats().corrupted);
}

#[test]
fn the_mtu_counts_headers_and_lets_its_own_size_pass() {
    let sizes = [(100, Ok(())), (99, Err(DropReason::Mtu))];
    for (mtu, fate) in sizes {
        let mut link = link(LinkConfig {
            mtu,
            ..LinkConfig::default()
        });
        assert_eq!(
            link.offer(Instant::ZERO, packet(0, Ecn::NotEct), |_, _| {}),
            fate
        );
    }
    let to = "[2001:db8::1]:443".parse().unwrap();
    let datagram = Datagram::new(to, to, Bytes::from_static(&[0; 1232]));
    assert_eq!(datagram.wire_len(), 1280);
}

#[test]
fn a_full_queue_drops_the_newest() {
    // One packet is in transmission and does not count; three wait.
    for limit in [
        QueueLimit {
            packets: 3,
            ..QueueLimit::default()
        },
        QueueLimit {
            bytes: 399,
            ..QueueLimit::default()
        },
    ] {
        let config = LinkConfig {
            rate: Some(80_000),
            queue: limit,
            ..LinkConfig::default()
        };
        let mut link = link(config);
        let arrived: Vec<u64> = send(&mut link, 10, Duration::ZERO)
            .iter()
            .map(|(_, number, _)| *number)
            .collect();
        assert_eq!(arrived, [0, 1, 2, 3]);
        assert_eq!(link.stats().dropped_by(DropReason::Queue), 6);
        assert_eq!(link.queued(Instant::ZERO), (300, 3));
        assert_eq!(
            link.queued(at(10)),
            (200, 2),
            "the second transmission has begun"
        );
        assert_eq!(link.queued(at(30)), (0, 0));
        assert_eq!(link.stats().peak_queue_bytes, 300);
    }
}

#[test]
fn outages_open_and_close_on_schedule() {
    let outages = Schedule::once(at(10), ms(10)).and(at(40), ms(1));
    let mut link = link(LinkConfig {
        outages,
        ..LinkConfig::default()
    });
    let arrived: Vec<u64> = send(&mut link, 50, ms(1))
        .iter()
        .map(|(_, n, _)| *n)
        .collect();
    let expected: Vec<u64> = (0..10).chain(20..40).chain(41..50).collect();
    assert_eq!(arrived, expected);
    link.set_down(true);
    let fate = link.offer(at(60), packet(0, Ecn::NotEct), |_, _| {});
    assert_eq!(fate, Err(DropReason::Outage));
    link.set_down(false);
    assert!(link.is_up(at(60)));
    assert_eq!(link.stats().dropped_by(DropReason::Outage), 12);
}

#[test]
fn a_standing_queue_marks_what_can_be_marked() {
    let config = LinkConfig {
        rate: Some(80_000),
        ecn_threshold: Some(200),
        ..LinkConfig::default()
    };
    let mut marking = link(config.clone());
    let arrivals = send_as(&mut marking, 6, Duration::ZERO, Ecn::Ect0);
    let marks: Vec<Ecn> = arrivals.iter().map(|(.., datagram)| datagram.ecn).collect();
    // The first is transmitted, the next two find less than the threshold waiting.
    assert_eq!(
        marks,
        [Ecn::Ect0, Ecn::Ect0, Ecn::Ect0, Ecn::Ce, Ecn::Ce, Ecn::Ce]
    );
    assert_eq!(marking.stats().marked, 3);
    let arrivals = send_as(&mut link(config), 6, Duration::ZERO, Ecn::NotEct);
    assert!(
        arrivals
            .iter()
            .all(|(.., datagram)| datagram.ecn == Ecn::NotEct)
    );
}

#[test]
fn paths_treat_ecn_bits_in_known_ways() {
    let cases = [
        (EcnTreatment::Pass, Ecn::Ect0, Ecn::Ect0),
        (EcnTreatment::Bleach, Ecn::Ect0, Ecn::NotEct),
        (EcnTreatment::Bleach, Ecn::Ce, Ecn::NotEct),
        (EcnTreatment::Ect0ToEct1, Ecn::Ect0, Ecn::Ect1),
        (EcnTreatment::MarkAll, Ecn::Ect1, Ecn::Ce),
        (EcnTreatment::MarkAll, Ecn::NotEct, Ecn::NotEct),
    ];
    for (ecn, sent, received) in cases {
        let mut link = link(LinkConfig {
            ecn,
            ..LinkConfig::default()
        });
        let arrivals = send_as(&mut link, 1, Duration::ZERO, sent);
        assert_eq!(arrivals[0].2.ecn, received, "{ecn:?} of {sent:?}");
    }
}

#[test]
fn a_reconfigured_link_keeps_what_it_had_promised() {
    let mut link = link(LinkConfig {
        rate: Some(80_000),
        ..LinkConfig::default()
    });
    let mut times = Vec::new();
    link.offer(Instant::ZERO, packet(0, Ecn::NotEct), |at, _| {
        times.push(at)
    })
    .unwrap();
    let faster = LinkConfig {
        rate: Some(800_000),
        ..link.config().clone()
    };
    link.reconfigure(faster.clone()).unwrap();
    link.offer(Instant::ZERO, packet(1, Ecn::NotEct), |at, _| {
        times.push(at)
    })
    .unwrap();
    assert_eq!(times, [at(10), at(11)]);
    let error = link
        .reconfigure(LinkConfig {
            loss: 1.5,
            ..faster.clone()
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "loss is 1.5, which must be between 0.0 and 1.0"
    );
    assert_eq!(*link.config(), faster);
}

#[test]
fn one_seed_gives_one_history() {
    let config = LinkConfig {
        jitter: ms(3),
        loss: 0.1,
        burst: Some(GilbertElliott::bursts(0.1, 3.0)),
        reorder: 0.1,
        duplicate: 0.1,
        corrupt: 0.1,
        ..LinkConfig::bottleneck(1_000_000, ms(20))
    };
    let history = |seed| send(&mut link_of(config.clone(), seed), 1_000, ms(1));
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}

#[test]
fn raw_packets_travel_too() {
    let mut link = link(LinkConfig {
        corrupt: 1.0,
        mtu: 4,
        ..LinkConfig::default()
    });
    let mut arrived = Vec::new();
    let frame = Bytes::from_static(&[0; 4]);
    link.offer(Instant::ZERO, frame.clone(), |_, frame| arrived.push(frame))
        .unwrap();
    assert_eq!(
        arrived[0].iter().map(|byte| byte.count_ones()).sum::<u32>(),
        1
    );
    let fate = link.offer(Instant::ZERO, Bytes::new(), |_, frame| arrived.push(frame));
    assert_eq!((fate, arrived[1].len()), (Ok(()), 0));
}

#[test]
fn counters_read_as_one_line() {
    let mut link = link(LinkConfig {
        drop_numbers: vec![2],
        duplicate: 1.0,
        ..LinkConfig::default()
    });
    send(&mut link, 3, Duration::ZERO);
    assert_eq!(
        link.stats().to_string(),
        "3 in, 4 out (400 B), 1 dropped by numbered, 2 duplicated"
    );
    assert_eq!(link.stats().dropped_total(), 1);
    assert_eq!(LinkStats::default().to_string(), "0 in, 0 out (0 B)");
}

#[test]
fn rough_paths_are_valid_and_differ_and_pass_something() {
    let mut rng = split(1, "rough");
    let configs: Vec<LinkConfig> = (0..500).map(|_| LinkConfig::rough(&mut rng)).collect();
    for (n, config) in configs.iter().enumerate() {
        let mut link = link_of(config.clone(), n as u64);
        let arrivals = send(&mut link, 500, ms(50));
        assert!(arrivals.len() > 250, "{config:?}: {}", link.stats());
    }
    let touched = |test: fn(&LinkConfig) -> bool| configs.iter().filter(|c| test(c)).count();
    let each = [
        touched(|config| config.rate.is_some()),
        touched(|config| config.loss > 0.0),
        touched(|config| config.burst.is_some()),
        touched(|config| config.reorder > 0.0),
        touched(|config| config.duplicate > 0.0),
        touched(|config| config.corrupt > 0.0),
        touched(|config| config.outages != Schedule::never()),
    ];
    assert!(
        each.iter().all(|&count| (75..350).contains(&count)),
        "{each:?}"
    );
}

#[test]
fn runs_of_random_loss_and_corruption_are_bounded() {
    // Certain loss, but at most three in a row: each fourth packet passes.
    let mut lossy = link(LinkConfig {
        loss: 1.0,
        run_limit: Some(3),
        ..LinkConfig::default()
    });
    let numbers: Vec<u64> = send(&mut lossy, 12, ms(1)).iter().map(|a| a.1).collect();
    assert_eq!(numbers, [3, 7, 11]);
    let mut noisy = link(LinkConfig {
        corrupt: 1.0,
        run_limit: Some(2),
        ..LinkConfig::default()
    });
    let whole: Vec<u64> = send(&mut noisy, 9, ms(1))
        .into_iter()
        .filter(|(_, number, arrived)| *arrived == packet(*number, Ecn::NotEct))
        .map(|(_, number, _)| number)
        .collect();
    assert_eq!(whole, [2, 5, 8]);
    assert_eq!(noisy.stats().corrupted, 6);
}
