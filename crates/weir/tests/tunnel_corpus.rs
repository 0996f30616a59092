//! The corpus of the fuzz target for the tunnel's units, run through the same harness.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]
#![allow(unreachable_pub, reason = "the harness is shared with the fuzz target")]

#[path = "../../../fuzz/harness/tunnel_protocol.rs"]
mod tunnel_protocol;

use std::path::Path;
use weir_core::rng::{between, fill, rng_from_seed};

#[test]
fn c1_corpus_of_units() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/tunnel_protocol");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{} files", files.len());
    for file in files {
        eprintln!("{}", file.display());
        tunnel_protocol::run(&std::fs::read(file).unwrap());
    }
}

#[test]
fn c1_random_units() {
    for seed in 0..2_000 {
        let mut rng = rng_from_seed(seed);
        let mut data = vec![0; usize::try_from(between(&mut rng, 1, 600)).unwrap()];
        fill(&mut rng, &mut data);
        // Mostly headers that are right, so that bodies are reached.
        if seed % 4 != 0 {
            let kind = u8::try_from(between(&mut rng, 0, 8)).unwrap();
            let length = u8::try_from(between(&mut rng, 0, 80)).unwrap();
            let header = [1, kind, 0, length];
            for (to, from) in data.iter_mut().skip(1).zip(header) {
                *to = from;
            }
        }
        tunnel_protocol::run(&data);
    }
}
