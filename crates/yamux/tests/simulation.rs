//! Two sessions over simulated pipes, with everything at random. Each run replays from its seed:
//! a failure prints the command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod proof;
#[path = "proof/sim/mod.rs"]
mod sim;

use sim::{Plan, drive, side};
use std::cell::RefCell;
use weir_core::time::{Duration, Instant};
use weir_sim::{Limits, Sim, World, check_named};

/// What a campaign came to, so that it cannot become one that does nothing.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    bytes: u64,
    fins: u64,
    resets: u64,
    refused: u64,
    shed: u64,
}

#[test]
fn random_schedules_keep_every_promise() {
    // Y4, Y9, Y11, Y13, Y19, Y20, Y24, Y25, Y30, Y32, Y33, Y34, Y35, Y36, Y37, Y38, Y41, Y47, Y49, Y50
    let sum = RefCell::new(Sum::default());
    check_named("random_schedules_keep_every_promise", 500, |seed| {
        let plan = Plan::random(seed);
        let (truth, stats) = drive(&plan);
        let mut sum = sum.borrow_mut();
        sum.runs += 1;
        sum.bytes += truth.bytes_read;
        sum.fins += truth.streams_ended_by_fin;
        sum.resets += truth.streams_reset;
        sum.refused += stats.iter().map(|stats| stats.streams_refused).sum::<u64>();
        sum.shed += stats.iter().map(|stats| stats.streams_shed).sum::<u64>();
    });
    let sum = sum.into_inner();
    eprintln!("{sum:?}");
    if sum.runs >= 500 {
        assert!(
            sum.bytes > 50_000_000 && sum.fins > 2_000 && sum.resets > 200,
            "{sum:?}"
        );
        assert!(sum.refused > 0 && sum.shed > 0, "{sum:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..3 {
        let digest = || {
            let plan = Plan::random(seed);
            let mut sim = Sim::new(World::new(seed));
            side::add(&plan, &mut sim);
            sim.run(&Limits::default()).unwrap().digest
        };
        assert_eq!(digest(), digest());
    }
}

#[test]
fn a_thousand_sessions_over_minutes() {
    // Y46
    let minutes = Duration::from_secs(5 * 60);
    let mut sim = Sim::new(World::new(1));
    let plans: Vec<Plan> = (0..1_000).map(|seed| Plan::quiet(seed, minutes)).collect();
    let truths: Vec<_> = plans.iter().map(|plan| side::add(plan, &mut sim)).collect();
    let until = Instant::ZERO + minutes * 10;
    let report = sim
        .run(&Limits {
            until,
            ..Limits::default()
        })
        .unwrap();
    assert!(report.at >= Instant::ZERO + minutes / 2, "{report:?}");
    let mut fins = 0;
    for ((plan, truth), pair) in plans.iter().zip(&truths).zip(sim.actors().chunks(2)) {
        let truth = side::finish(plan, truth, &[&pair[0].peer, &pair[1].peer]);
        fins += truth.streams_ended_by_fin;
    }
    assert!(fins > 4_000, "{fins} directions ended");
}
