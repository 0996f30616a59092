//! The corpora of the fuzz targets, and random bytes, for ordinary tests.

use std::path::{Path, PathBuf};

use weir_core::rng::{between, fill, rng_from_seed};

/// Every file of a target's corpus with its path, in the order of their names.
pub fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// Runs every file of a target's corpus and says how many there were.
pub fn replay(target: &str, run: fn(&[u8])) -> usize {
    let files = corpus(target);
    for (path, bytes) in &files {
        eprintln!("{}", path.display());
        run(bytes);
    }
    files.len()
}

/// What a fuzzer does without its guidance: up to `most` bytes for each seed.
pub fn random(seeds: u64, most: u64, run: impl Fn(&[u8])) {
    for seed in 0..seeds {
        eprintln!("seed {seed}");
        let mut rng = rng_from_seed(seed);
        let mut data = vec![0; usize::try_from(between(&mut rng, 1, most)).unwrap()];
        fill(&mut rng, &mut data);
        run(&data);
    }
}
