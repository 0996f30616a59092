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
use sim::watch::Watch;
use weir_sim::check_named;

// T51, T158: every byte, every end, and all memory given back, whatever the links do. On the wire no
// byte changes under its number, nothing passes the peer's window but a probe, and no window shrinks.
#[test]
fn random_links_keep_every_promise() {
    check_named("random_links_keep_every_promise", 1_000, |seed| {
        let _ = play(seed);
    });
}

fn play(seed: u64) -> Watch {
    let mut run = Run::new(Plan::random(seed));
    run.play().unwrap_or_else(|why| panic!("{why}"));
    run.watch
}

// What the promises are kept under: losses, closed windows, probes of them.
#[test]
fn runs_reach_losses_and_closed_windows() {
    let watches: Vec<_> = (0..40).map(play).collect();
    let sum = |what: fn(&Watch) -> u64| watches.iter().map(what).sum::<u64>();
    assert!(sum(|watch| watch.segments) > 4_000);
    assert!(sum(|watch| watch.retransmitted) > 300);
    assert!(sum(|watch| watch.zero_windows) > 100);
    assert!(sum(|watch| watch.probes) > 50);
}

// RFC 9293 3.8.4: a peer in CLOSE-WAIT answers every probe, but a burst of loss takes seventeen
// packets in a row, minutes long with what is sent that seldom. Nine probes would end it.
#[test]
fn seed_125_a_burst_outlasts_nine_probes_of_a_peer_in_close_wait() {
    let _ = play(125);
}

// T133, RFC 4821 7: full segments of 8,703 bytes are lost in an outage and the segment size falls to 536;
// what is sent again must not count as 8,703 bytes in flight, or one segment goes in a time-out.
#[test]
fn seed_1232_a_segment_size_that_falls_leaves_the_window_open() {
    let _ = play(1232);
}
