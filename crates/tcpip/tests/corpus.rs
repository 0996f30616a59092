//! The corpora of the fuzz targets, run through the same harness as ordinary tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::duplicate_mod,
    dead_code,
    reason = "test code"
)]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "the harness is shared with the fuzz targets"
)]

#[path = "../../../fuzz/harness/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/harness/tcpip_stack.rs"]
mod tcpip_stack;
#[path = "../../../fuzz/harness/tcpip_tcp.rs"]
mod tcpip_tcp;
#[path = "../../../fuzz/harness/tcpip_wire.rs"]
mod tcpip_wire;

use corpus::{random, replay};

#[test]
fn c1_corpus_of_headers() {
    // T2, T5, T137
    assert!(replay("tcpip_wire", tcpip_wire::run) >= 20);
}

#[test]
fn c1_random_headers() {
    // T2, T5, T137
    random(3_000, 200, tcpip_wire::run);
}

#[test]
fn c1_c12_random_frames() {
    // T157
    random(200, 2_000, tcpip_stack::run);
}

#[test]
fn c1_c2_random_segments() {
    // T157
    random(400, 1_500, tcpip_tcp::run);
}

#[test]
fn c1_c12_corpus_of_frames() {
    // T5, T157
    assert!(replay("tcpip_stack", tcpip_stack::run) >= 20);
}

#[test]
fn c2_corpus_of_segments_in_every_state() {
    // T102, T157
    assert!(replay("tcpip_tcp", tcpip_tcp::run) >= 60);
}
