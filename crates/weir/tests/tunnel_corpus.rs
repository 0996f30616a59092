//! The corpus of the fuzz target for the tunnel's units, run through the same harness.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(unreachable_pub, reason = "the harness is shared with the fuzz target")]

#[path = "../../../fuzz/harness/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/harness/tunnel_protocol.rs"]
mod tunnel_protocol;

use corpus::{random, replay};

#[test]
fn c1_corpus_of_units() {
    assert!(replay("tunnel_protocol", tunnel_protocol::run) >= 15);
}

#[test]
fn c1_random_units() {
    random(2_000, 600, |data| {
        let mut data = data.to_vec();
        // Mostly headers that are right, so that bodies are reached.
        if data.len() > 4 && data[0] % 4 != 0 {
            let (kind, length) = (data[2] % 9, data[4] % 81);
            data[1..5].copy_from_slice(&[1, kind, 0, length]);
        }
        tunnel_protocol::run(&data);
    });
}
