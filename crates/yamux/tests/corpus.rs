//! The corpora of the fuzz targets, run through the same harness as ordinary tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]
#![allow(
    unreachable_pub,
    reason = "the harness is shared with the fuzz targets"
)]

#[path = "../../../fuzz/harness/yamux_frame.rs"]
mod yamux_frame;
#[path = "../../../fuzz/harness/yamux_session.rs"]
mod yamux_session;

use std::path::Path;
use weir_core::rng::{between, fill, rng_from_seed};

/// Runs every file of a target's corpus and says how many there were.
fn replay(target: &str, run: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in &files {
        eprintln!("{}", file.display());
        run(&std::fs::read(file).unwrap());
    }
    files.len()
}

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
    for seed in 0..300 {
        eprintln!("seed {seed}");
        let mut rng = rng_from_seed(seed);
        let mut data = vec![0; usize::try_from(between(&mut rng, 1, 3_000)).unwrap()];
        fill(&mut rng, &mut data);
        yamux_session::run(&data);
        yamux_frame::run(&data);
    }
}
