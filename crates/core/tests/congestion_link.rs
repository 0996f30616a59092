//! Congestion control on a bottleneck in virtual time: what each algorithm makes of a path.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod link;

use link::{DATAGRAM, Flow, Net, Path, at, ms};
use weir_core::congestion::Algorithm;
use weir_core::time::{Duration, Instant};

// Q150: each algorithm that can be selected fills 10 Mbit/s x 30 ms with 25 datagrams of queue to
// nine tenths, slow start included.
#[test]
fn every_algorithm_fills_the_path() {
    for algorithm in Algorithm::ALL {
        let mut net = Net::one(Path::usual(), algorithm);
        let rate = net.goodput(0, ms(20_000));
        net.reset_queue();
        net.run_to(at(25_000));
        let flow = &net.flows[0];
        println!(
            "{algorithm}: {rate} B/s, queue {:?}, lost {}",
            net.mean_queue(),
            flow.lost
        );
        assert!(
            rate >= net.path.rate * 9 / 10,
            "{algorithm}: {rate} of {}; {:?}",
            net.path.rate,
            flow.states
        );
        assert!(
            flow.lost * 50 < flow.delivered,
            "{algorithm}: {}",
            flow.lost
        );
    }
}

// RFC 9438 5.6: flows of the algorithm share a path.
#[test]
fn two_cubic_flows_share() {
    let flows = vec![
        Flow::new(Algorithm::Cubic, at(0), 1),
        Flow::new(Algorithm::Cubic, at(2_000), 2),
    ];
    let mut net = Net::new(Path::usual(), flows);
    net.run_to(at(10_000));
    let before: Vec<u64> = net.flows.iter().map(|flow| flow.delivered).collect();
    net.run_to(at(70_000));
    let share: Vec<u64> = net
        .flows
        .iter()
        .zip(before)
        .map(|(flow, before)| flow.delivered - before)
        .collect();
    assert!(
        share[0] <= 2 * share[1] && share[1] <= 2 * share[0],
        "{share:?}"
    );
    assert!(
        share[0] + share[1] >= net.path.rate * 60 * 9 / 10,
        "{share:?}"
    );
}

// Q148: a path that was dark for seconds is persistent congestion: the window goes to its least,
// and grows again from there.
#[test]
fn cubic_and_newreno_recover_from_a_blackout() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let path = Path {
            blackout: Some((at(5_000), at(8_000))),
            ..Path::usual()
        };
        let mut net = Net::one(path, algorithm);
        net.run_to(at(7_999));
        let dark = net.flows[0].delivered;
        net.run_to(at(12_000));
        let flow = &net.flows[0];
        assert_eq!(flow.persistent, 1, "{algorithm}");
        assert_eq!(flow.min_window, 2 * DATAGRAM, "{algorithm}");
        assert!(flow.delivered > dark, "{algorithm}");
        let rate = net.goodput(0, ms(5_000));
        assert!(rate >= net.path.rate * 9 / 10, "{algorithm}: {rate}");
    }
}

// Q149: an application that makes 1 Mbit/s keeps its window, for as long as it goes on.
#[test]
fn growth_stops_when_the_application_is_the_limit() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let mut flow = Flow::new(algorithm, Instant::ZERO, 1);
        flow.app_rate = Some(125_000);
        let mut net = Net::new(Path::usual(), vec![flow]);
        net.run_to(at(1_000));
        let window = net.flows[0].cc.window();
        net.run_to(at(30_000));
        let flow = &net.flows[0];
        assert_eq!(flow.cc.window(), window, "{algorithm}");
        assert!(
            flow.delivered > 125_000 * 29,
            "{algorithm}: {}",
            flow.delivered
        );
        assert_eq!(flow.lost, 0, "{algorithm}");
    }
}

// Q151: bursts are at most the initial window, so a queue that holds it loses nothing while the
// path is not yet full.
#[test]
fn a_paced_start_fits_a_short_queue() {
    let path = Path {
        rate: 12_500_000,
        buffer: 10,
        ..Path::usual()
    };
    let mut net = Net::one(path, Algorithm::NewReno);
    net.run_to(at(100));
    assert_eq!(net.flows[0].lost, 0);
    assert!(net.flows[0].cc.window() > 40 * DATAGRAM);
}

// Q151: at 10 Gbit/s and a tenth of a millisecond, timers of a millisecond hold no algorithm back.
#[test]
fn coarse_timers_do_not_hold_back_a_fast_path() {
    for algorithm in Algorithm::ALL {
        let path = Path {
            rate: 1_250_000_000,
            rtt: Duration::from_micros(100),
            buffer: 1_000,
            ..Path::usual()
        };
        let mut net = Net::one(path, algorithm);
        net.run_to(at(50));
        let rate = net.goodput(0, ms(100));
        assert!(rate >= net.path.rate * 95 / 100, "{algorithm}: {rate}");
    }
}
