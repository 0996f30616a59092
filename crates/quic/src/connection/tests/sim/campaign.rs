//! Many seeds, each a run of its own, everything checked after every step.

use weir_sim::check;

use super::draw::{self, Mix};
use super::run::Run;

fn run(seed: u64, mix: Mix) {
    let plan = draw::plan(seed, mix);
    Run::new(seed, plan).finish();
}

#[test]
fn anything_may_happen() {
    // Q175, Q179
    check(400, |seed| run(seed, Mix::All));
}

#[test]
fn bad_links_deliver_everything() {
    // Q175
    check(150, |seed| run(seed, Mix::Transfer));
}

#[test]
fn connections_survive_moves() {
    // Q104
    check(200, |seed| run(seed, Mix::Paths));
}

#[test]
fn connections_end_at_any_moment() {
    // Q122
    check(250, |seed| run(seed, Mix::Ends));
}

/// Seeds that showed a fault once, each with what it was.
#[test]
fn seeds_that_failed_before() {
    let seeds = [
        // The server acknowledged half a ClientHello in version 1 and answered all of it in version 2.
        (4, Mix::All),
        // A keep-alive was due again and again once its PING was lost.
        (57, Mix::Transfer),
        // Lost handshake bytes waited for a window that 1-RTT packets held which nobody could acknowledge.
        (300, Mix::All),
        // An acknowledgement was due on a path on which nothing might be sent.
        (183, Mix::All),
        // Frames were handled, and events told, after the connection was closed.
        (767, Mix::All),
        (2, Mix::All),
        // A client behind another address sent too little for the challenge that would find it.
        (2249, Mix::All),
        // A server had no connection ID of the client's for the path in use.
        (927, Mix::All),
        // The client of a Retry heard of the closed connection when its token had expired.
        (3986, Mix::Ends),
        // Two faults of the simulation: what was under way at the end reached nobody, and a burst of
        // losses took all of a server's Retry packets.
        (790, Mix::Paths),
        (31489, Mix::Ends),
    ];
    for (seed, mix) in seeds {
        run(seed, mix);
    }
}
