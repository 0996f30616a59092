//! The corpora of the fuzz targets, run through the same harness as ordinary tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]
#![allow(
    unreachable_pub,
    reason = "the harness is shared with the fuzz targets"
)]

#[path = "../../../fuzz/harness/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/harness/yamux_frame.rs"]
mod yamux_frame;
#[path = "../../../fuzz/harness/yamux_session.rs"]
mod yamux_session;

use corpus::{random, replay};

#[test]
fn c1_corpus_of_frames() {
    // Y1, Y2, Y3, Y7, Y8
    assert!(replay("yamux_frame", yamux_frame::run) >= 8);
}

#[test]
fn c1_c10_corpus_of_sessions() {
    // Y54
    assert!(replay("yamux_session", yamux_session::run) >= 20);
}

#[test]
fn c1_c10_random_operations() {
    // Y54: what a fuzzer does without its guidance.
    random(300, 3_000, |data| {
        yamux_session::run(data);
        yamux_frame::run(data);
    });
}
