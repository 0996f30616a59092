//! The corpora of the fuzz targets, run through the same harness as ordinary tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code"
)]
#![allow(
    unreachable_pub,
    reason = "the harness is shared with the fuzz targets"
)]

#[path = "../../../fuzz/harness/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/harness/quic_endpoint.rs"]
mod quic_endpoint;
#[path = "../../../fuzz/harness/quic_frames.rs"]
mod quic_frames;
#[path = "../../../fuzz/harness/quic_headers.rs"]
mod quic_headers;
#[path = "../../../fuzz/harness/quic_tokens.rs"]
mod quic_tokens;
#[path = "../../../fuzz/harness/quic_transport_parameters.rs"]
mod quic_transport_parameters;

use corpus::{corpus, random};
use weir_core::rng::{Rng, below, between, rng_from_seed};

/// Runs every file, and then `changed` variants of each with some bytes changed.
fn replay(target: &str, changed: u64, run: fn(&[u8])) -> usize {
    let files = corpus(target);
    let mut rng = rng_from_seed(9);
    for (_, file) in &files {
        run(file);
        for _ in 0..changed {
            let mut data = file.clone();
            change(&mut rng, &mut data);
            run(&data);
        }
    }
    files.len()
}

fn change(rng: &mut Rng, data: &mut Vec<u8>) {
    for _ in 0..between(rng, 1, 4) {
        let at = below(rng, data.len().max(1) as u64) as usize;
        let byte = below(rng, 256) as u8;
        match below(rng, 4) {
            0 => data.truncate(at),
            1 => data.insert(at.min(data.len()), byte),
            _ => {
                if let Some(target) = data.get_mut(at) {
                    *target ^= byte;
                }
            }
        }
    }
}

#[test]
fn c1_corpus_of_headers() {
    // Q1, Q2
    assert!(replay("quic_headers", 500, quic_headers::run) >= 10);
}

#[test]
fn c1_corpus_of_frames() {
    // Q10, Q11, Q12, Q13, Q14
    assert!(replay("quic_frames", 500, quic_frames::run) >= 30);
}

#[test]
fn c1_corpus_of_transport_parameters() {
    // Q69, Q70, Q71, Q72
    assert!(
        replay(
            "quic_transport_parameters",
            500,
            quic_transport_parameters::run
        ) >= 10
    );
}

#[test]
fn c1_c4_c8_corpus_of_endpoints() {
    // Q171
    assert!(replay("quic_endpoint", 20, quic_endpoint::run) >= 10);
}

#[test]
fn c1_c4_c8_random_bytes() {
    // Q171: what a fuzzer does without its guidance.
    random(200, 2_000, |data| {
        quic_headers::run(data);
        quic_frames::run(data);
        quic_transport_parameters::run(data);
        quic_endpoint::run(data);
        quic_tokens::run(data);
    });
}

#[test]
fn c1_corpus_of_tokens() {
    // Q65, Q66, Q67
    assert!(replay("quic_tokens", 300, quic_tokens::run) >= 10);
}
