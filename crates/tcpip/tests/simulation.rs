//! Two stacks over simulated links, with everything at random. Each run replays from its seed: a
//! failure prints the command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod sim;

use sim::plan::Plan;
use sim::run::Run;
use weir_sim::check_named;

// T51, T158: every byte, every end, and all memory given back, whatever the links do.
#[test]
fn random_links_keep_every_promise() {
    check_named("random_links_keep_every_promise", 120, |seed| {
        let mut run = Run::new(Plan::random(seed));
        run.play().unwrap_or_else(|why| panic!("{why}"));
    });
}
