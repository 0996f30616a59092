//! The corpus of the fuzz target for established connections, and random runs of it, as tests.

use std::path::Path;

use weir_core::rng::{below, between, fill, rng_from_seed};

#[path = "../../../../../fuzz/harness/quic_connection.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod harness;

#[test]
fn the_corpus_of_connections() {
    // Q13, Q14, Q172, Q173: C1, C2, C5, C10
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/quic_connection");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10);
    let mut rng = rng_from_seed(4);
    for file in files {
        let data = std::fs::read(file).unwrap();
        harness::run(&data);
        for _ in 0..3 {
            let mut data = data.clone();
            let at = below(&mut rng, data.len() as u64) as usize;
            data[at] ^= 1 << below(&mut rng, 8);
            harness::run(&data);
        }
    }
}

#[test]
fn random_operations() {
    // Q13, Q14: C1, C2: what a fuzzer does without its guidance.
    let runs = std::env::var("WEIR_FUZZ_RUNS").map_or(60, |runs| runs.parse().unwrap());
    let first = std::env::var("WEIR_FUZZ_SEED").map_or(0, |seed| seed.parse().unwrap());
    for seed in first..first + runs {
        let mut rng = rng_from_seed(seed);
        let mut data = vec![0; between(&mut rng, 1, 1500) as usize];
        fill(&mut rng, &mut data);
        // Frame types are small numbers.
        for byte in &mut data {
            if below(&mut rng, 3) == 0 {
                *byte &= 0x1f;
            }
        }
        harness::run(&data);
    }
}
