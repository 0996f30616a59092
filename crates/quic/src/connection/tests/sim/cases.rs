//! Single cases, with links and numbers of their own: those that public test suites for QUIC use.

use weir_core::congestion::Algorithm;
use weir_core::time::{Duration, Instant};
use weir_sim::{LinkConfig, QueueLimit, Schedule, check};

use super::plan::{Happening, Plan, StreamPlan};
use super::run::{Outcome, Run};
use crate::wire::{Dir, Side, StreamId};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// 10 Mbit/s, 15 ms each way, 25 packets of queue.
fn reference() -> LinkConfig {
    LinkConfig {
        rate: Some(10_000_000),
        delay: Duration::from_millis(15),
        queue: QueueLimit {
            bytes: usize::MAX,
            packets: 25,
        },
        ..LinkConfig::default()
    }
}

fn run(seed: u64, plan: Plan) -> Outcome {
    Run::new(seed, plan).finish()
}

/// The client fetches files on streams of their own.
fn files(link: LinkConfig, sizes: &[u64]) -> Plan {
    let mut plan = Plan::quiet([link.clone(), link]);
    for (number, size) in sizes.iter().enumerate() {
        let id = StreamId::new(Side::Client, Dir::Bi, number as u64);
        plan.streams.push(StreamPlan::new(id, 20, *size));
    }
    plan
}

#[test]
fn the_client_hello_goes_again_before_a_slow_answer() {
    // Q139, RFC 9002 6.2.2: 333 ms are assumed, so the first time-out comes after a second.
    let link = LinkConfig {
        delay: Duration::from_millis(750),
        ..reference()
    };
    let mut run = Run::new(1, Plan::fetch(link, KIB));
    run.sim.run_for(Duration::from_millis(990)).unwrap();
    let first = run.sim.world().node_stats(run.net.client).sent;
    run.sim.run_for(Duration::from_millis(460)).unwrap();
    let again = run.sim.world().node_stats(run.net.client).sent;
    assert!(again > first, "{first} datagrams, then {again}");
    let outcome = run.finish();
    assert_eq!(outcome.truth.accepted, 1);
}

#[test]
fn fifty_handshakes_under_loss_end_in_fifty_connections() {
    // Q175, Q61: one after the other they have 300 seconds (interop case handshakeloss).
    let total = std::cell::Cell::new(Duration::ZERO);
    check(50, |seed| {
        let link = LinkConfig {
            loss: 0.3,
            run_limit: Some(3),
            ..reference()
        };
        let outcome = run(seed, Plan::fetch(link, KIB));
        assert_eq!(outcome.truth.accepted, 1);
        // One that loses what it needs again and again is held by its time-outs, which double.
        assert!(
            outcome.time() < Duration::from_secs(30),
            "{:?}",
            outcome.time()
        );
        total.set(total.get() + outcome.time());
    });
    assert!(total.get() < Duration::from_secs(200), "{:?}", total.get());
}

#[test]
fn fifty_handshakes_under_corruption_end_in_fifty_connections() {
    // Q175
    check(50, |seed| {
        let link = LinkConfig {
            corrupt: 0.3,
            run_limit: Some(3),
            ..reference()
        };
        let outcome = run(seed, Plan::fetch(link, KIB));
        assert!(
            outcome.time() < Duration::from_secs(30),
            "{:?}",
            outcome.time()
        );
    });
}

#[test]
fn a_mebibyte_is_whole_under_everything_at_once() {
    // Q175
    check(5, |seed| {
        let link = LinkConfig {
            loss: 0.3,
            corrupt: 0.3,
            duplicate: 0.3,
            reorder: 0.3,
            delay: Duration::from_millis(5),
            ..LinkConfig::default()
        };
        let mut plan = Plan::fetch(link, MIB);
        plan.limit = Duration::from_secs(3600);
        plan.configure(|config| {
            config.handshake_timeout = Duration::from_secs(600);
            config.idle_timeout = Duration::from_secs(600);
        });
        assert_eq!(run(seed, plan).truth.accepted, 1);
    });
}

#[test]
fn a_transfer_goes_on_under_loss_and_corruption() {
    // Q175
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr] {
        for (loss, corrupt) in [(0.02, 0.0), (0.0, 0.02)] {
            let link = LinkConfig {
                loss,
                corrupt,
                run_limit: Some(3),
                ..reference()
            };
            let mut plan = files(link, &[2 * MIB]);
            plan.configure(|config| config.congestion = algorithm);
            let time = run(3, plan).time();
            assert!(time < Duration::from_secs(15), "{algorithm:?}: {time:?}");
        }
    }
}

#[test]
fn a_transfer_survives_two_seconds_of_silence_again_and_again() {
    // RFC 9002 7.6, 6.2: one connection, ten mebibytes, nothing passes two seconds of every seven.
    let outages = Schedule::periodic(
        Instant::from_millis(5_000),
        Duration::from_secs(7),
        Duration::from_secs(2),
    );
    let link = LinkConfig {
        outages,
        ..reference()
    };
    let outcome = run(1, files(link, &[10 * MIB]));
    assert_eq!(outcome.truth.accepted, 1);
    assert!(
        outcome.time() < Duration::from_secs(30),
        "{:?}",
        outcome.time()
    );
}

#[test]
fn nothing_is_owed_to_an_address_that_lost_its_packets() {
    // Q58, Q61: the client's second to seventh datagrams are lost; every datagram of the server is
    // held against what came by the host.
    let mut plan = files(reference(), &[5 * KIB]);
    plan.links[0].drop_numbers = (2..=7).collect();
    assert_eq!(run(1, plan).truth.accepted, 1);
}

#[test]
fn the_reference_link_is_filled() {
    // Q176, Q92
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr] {
        let mut plan = files(reference(), &[10 * MIB]);
        plan.configure(|config| config.congestion = algorithm);
        let time = run(1, plan).time();
        let kbits = 10 * MIB * 8 / time.as_millis() as u64;
        assert!(kbits >= 9_200, "{algorithm:?}: {kbits} kbit/s");
    }
}

#[test]
fn small_windows_are_raised_in_time() {
    // Q92
    let mut plan = files(reference(), &[2 * MIB, 3 * MIB, 5 * MIB]);
    plan.configure(|config| {
        config.stream_window = 16 * KIB;
        config.connection_window = 32 * KIB;
    });
    let time = run(1, plan).time();
    let kbits = 10 * MIB * 8 / time.as_millis() as u64;
    assert!(kbits >= 8_500, "{kbits} kbit/s");
}

#[test]
fn a_transfer_follows_its_client_through_rebindings() {
    // Q104, Q110: port only with one outer address, the address too with two.
    for addresses in [1, 2] {
        let mut plan = files(reference(), &[10 * MIB]);
        plan.nat = addresses;
        for second in [1, 6] {
            let at = Duration::from_secs(second);
            plan.happenings.push((at, Happening::Rebind));
        }
        let outcome = run(1, plan);
        assert_eq!(outcome.truth.accepted, 1);
        assert!(outcome.truth.migrations >= 2);
        assert!(
            outcome.time() < Duration::from_secs(20),
            "{:?}",
            outcome.time()
        );
    }
}
