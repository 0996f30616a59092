//! BBR on a bottleneck in virtual time: the cases of draft-ietf-ccwg-bbr appendix A that a path can
//! show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod link;

use link::{DATAGRAM, Flow, Net, Path, at, ms};
use weir_core::congestion::Algorithm;
use weir_core::time::{Duration, Instant};

/// Wide enough for every round trip: nothing is lost but what the path loses at random.
fn deep() -> Path {
    Path {
        buffer: 10_000,
        ..Path::usual()
    }
}

fn names(flow: &Flow) -> Vec<&'static str> {
    flow.states.iter().map(|(_, state)| *state).collect()
}

/// When the flow first was in `state`, from `from` on.
fn first(flow: &Flow, state: &str, from: Instant) -> Option<Instant> {
    flow.states
        .iter()
        .find(|(when, name)| *name == state && *when >= from)
        .map(|(when, _)| *when)
}

// draft-ietf-ccwg-bbr A.1, A.3: Startup ends on a plateau, Drain when the flight fits, and all
// within the first second of a 30 ms path, without a loss when the buffer is deep.
#[test]
fn startup_finds_the_rate_and_drain_empties_the_queue() {
    let mut net = Net::one(deep(), Algorithm::Bbr);
    net.run_to(at(1_000));
    let flow = &net.flows[0];
    let names = names(flow);
    assert_eq!(names[..2], ["startup", "drain"]);
    assert!(names[2].starts_with("probe_bw"), "{names:?}");
    assert_eq!(flow.lost, 0);
    // Twice what fits, and what the gain of a probe and the offload budget add.
    assert!(flow.cc.window() <= 3 * 37_500, "{}", flow.cc.window());
    // The rate it paces at in the phase it is in now is within the gains of the path's.
    let rate = flow.cc.pacing_rate(&flow.rtt).unwrap();
    let (least, most) = (net.path.rate * 88 / 100, net.path.rate * 127 / 100);
    assert!((least..=most).contains(&rate), "{rate}");
}

// draft-ietf-ccwg-bbr 3.1: high throughput with a short queue, whatever the buffer, where CUBIC
// fills it.
#[test]
fn the_queue_stays_short() {
    let mut means = Vec::new();
    for algorithm in [Algorithm::Bbr, Algorithm::Cubic] {
        let mut net = Net::one(
            Path {
                buffer: 100,
                ..Path::usual()
            },
            algorithm,
        );
        net.run_to(at(2_000));
        net.reset_queue();
        let rate = net.goodput(0, ms(30_000));
        assert!(rate >= net.path.rate * 9 / 10, "{algorithm}: {rate}");
        means.push(net.mean_queue());
    }
    assert!(means[0] < ms(10), "{means:?}");
    assert!(means[1] > means[0] * 3, "{means:?}");
}

// draft-ietf-ccwg-bbr A.10: ProbeRTT after five seconds, for 200 ms and a round, then back.
#[test]
fn the_round_trip_is_probed_every_five_seconds() {
    let mut net = Net::one(deep(), Algorithm::Bbr);
    net.run_to(at(16_500));
    let flow = &net.flows[0];
    let entered: Vec<usize> = (0..flow.states.len())
        .filter(|&n| flow.states[n].1 == "probe_rtt")
        .collect();
    assert!((2..=3).contains(&entered.len()), "{:?}", flow.states);
    for n in entered {
        let stayed = flow.states[n + 1]
            .0
            .saturating_duration_since(flow.states[n].0);
        assert!(stayed >= ms(200) && stayed < ms(400), "{stayed:?}");
        assert!(flow.states[n + 1].1.starts_with("probe_bw"));
    }
}

// draft-ietf-ccwg-bbr 5.3.3: probes come in the order down, cruise, refill, up.
#[test]
fn bandwidth_is_probed_in_cycles() {
    let mut net = Net::one(deep(), Algorithm::Bbr);
    net.run_to(at(4_900));
    let flow = &net.flows[0];
    let cycle = [
        "probe_bw_down",
        "probe_bw_cruise",
        "probe_bw_refill",
        "probe_bw_up",
        "probe_bw_down",
    ];
    let names = names(flow);
    assert!(
        names.windows(cycle.len()).any(|seen| seen == cycle),
        "{names:?}"
    );
}

// draft-ietf-ccwg-bbr A.15: ten times the rate is found within a few probes.
#[test]
fn ten_times_the_rate_is_found() {
    let mut net = Net::one(deep(), Algorithm::Bbr);
    net.run_to(at(5_000));
    net.path.rate *= 10;
    net.run_to(at(20_000));
    let rate = net.goodput(0, ms(5_000));
    assert!(rate >= net.path.rate * 85 / 100, "{rate}");
}

// draft-ietf-ccwg-bbr A.16: a tenth of the rate is learnt from loss, and the queue runs off.
#[test]
fn a_tenth_of_the_rate_is_learnt() {
    let path = Path {
        rate: 12_500_000,
        buffer: 100,
        ..Path::usual()
    };
    let mut net = Net::one(path, Algorithm::Bbr);
    net.run_to(at(5_000));
    net.path.rate /= 10;
    net.run_to(at(20_000));
    net.reset_queue();
    let lost = net.flows[0].lost;
    let rate = net.goodput(0, ms(5_000));
    assert!(rate >= net.path.rate * 85 / 100, "{rate}");
    // A tenth of what the buffer holds would be 96 ms: the queue is not kept full.
    assert!(net.mean_queue() < ms(40), "{:?}", net.mean_queue());
    assert!((net.flows[0].lost - lost) * 50 < rate * 5);
}

// draft-ietf-ccwg-bbr 5.3.3.8: between probes each round with losses takes off what was lost, and
// each probe restores it, so one percent at random costs less than a quarter; CUBIC breaks down.
#[test]
fn one_percent_of_random_loss_costs_little() {
    let path = Path {
        loss: 100,
        rate: 6_250_000,
        buffer: 200,
        ..Path::usual()
    };
    let mut rates = Vec::new();
    for algorithm in [Algorithm::Bbr, Algorithm::Cubic] {
        let mut net = Net::one(path.clone(), algorithm);
        net.run_to(at(3_000));
        rates.push(net.goodput(0, ms(10_000)));
    }
    assert!(rates[0] >= path.rate * 75 / 100, "{rates:?}");
    assert!(rates[0] > rates[1] * 5, "{rates:?}");
}

// draft-ietf-ccwg-bbr A.12, A.13: acknowledgements in bundles of 40 ms, four round trips, do not
// stall it: what arrives beyond the rate is added to the window.
#[test]
fn bundled_acknowledgements_are_made_up_for() {
    let path = Path {
        rtt: ms(10),
        ack_every: Some(ms(40)),
        ..deep()
    };
    let mut net = Net::one(path, Algorithm::Bbr);
    net.run_to(at(2_000));
    let rate = net.goodput(0, ms(10_000));
    assert!(rate >= net.path.rate * 9 / 10, "{rate}");
}

// draft-ietf-ccwg-bbr A.14: 64 kbit/s and 10 ms are less than a datagram: four may be in flight.
#[test]
fn a_path_of_less_than_a_datagram_keeps_four_in_flight() {
    let path = Path {
        rate: 8_000,
        rtt: ms(10),
        ..deep()
    };
    let mut net = Net::one(path, Algorithm::Bbr);
    net.run_to(at(10_000));
    let flow = &net.flows[0];
    assert!(flow.min_window >= 4 * DATAGRAM, "{}", flow.min_window);
    let rate = net.goodput(0, ms(60_000));
    assert!(rate >= 7_200, "{rate}");
}

// draft-ietf-ccwg-bbr A.7: while the application is the limit and nothing is lost, Startup goes on.
#[test]
fn an_application_limited_flow_stays_in_startup() {
    let mut flow = Flow::new(Algorithm::Bbr, Instant::ZERO, 1);
    flow.app_rate = Some(125_000);
    let mut net = Net::new(deep(), vec![flow]);
    net.run_to(at(4_000));
    assert_eq!(names(&net.flows[0]), ["startup"]);
}

// draft-ietf-ccwg-bbr A.20: ProbeRTT in Startup leads back to Startup.
#[test]
fn probing_the_round_trip_in_startup_returns_to_it() {
    let mut flow = Flow::new(Algorithm::Bbr, Instant::ZERO, 1);
    flow.app_rate = Some(125_000);
    // The round trip grows after the first second, so that the least seen gets old.
    let mut net = Net::new(deep(), vec![flow]);
    net.run_to(at(1_000));
    net.path.rtt = ms(35);
    net.run_to(at(8_000));
    assert_eq!(names(&net.flows[0]), ["startup", "probe_rtt", "startup"]);
}

// Q148, RFC 9002 7.6.2: after a blackout the window is at its least, and the rate returns.
#[test]
fn it_recovers_from_a_blackout() {
    let path = Path {
        blackout: Some((at(5_000), at(8_000))),
        ..Path::usual()
    };
    let mut net = Net::one(path, Algorithm::Bbr);
    net.run_to(at(12_000));
    assert_eq!(net.flows[0].persistent, 1);
    assert_eq!(net.flows[0].min_window, 2 * DATAGRAM);
    let rate = net.goodput(0, ms(5_000));
    assert!(rate >= net.path.rate * 9 / 10, "{rate}");
}

// draft-ietf-ccwg-bbr 3.1: two flows share.
#[test]
fn two_flows_share() {
    let flows = vec![
        Flow::new(Algorithm::Bbr, at(0), 1),
        Flow::new(Algorithm::Bbr, at(2_000), 2),
    ];
    let mut net = Net::new(Path::usual(), flows);
    net.run_to(at(20_000));
    let before: Vec<u64> = net.flows.iter().map(|flow| flow.delivered).collect();
    net.run_to(at(60_000));
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
    assert!(share[0] + share[1] >= net.path.rate * 40 * 9 / 10);
}

// draft-ietf-ccwg-bbr A.11: a pause empties the path by itself; no ProbeRTT follows it.
#[test]
fn a_pause_takes_the_place_of_probing_the_round_trip() {
    let mut net = Net::one(deep(), Algorithm::Bbr);
    net.run_to(at(3_000));
    net.flows[0].app_rate = Some(0);
    net.run_to(at(10_000));
    assert_eq!(net.flows[0].in_flight, 0);
    net.flows[0].app_rate = None;
    let resumed = net.now;
    net.run_to(resumed + Duration::from_millis(1_000));
    let flow = &net.flows[0];
    assert_eq!(first(flow, "probe_rtt", resumed), None, "{:?}", flow.states);
    assert!(flow.in_flight > 0);
}
