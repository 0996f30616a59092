//! Every bound has a line in `docs/security.md` that names the test which tries to pass it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use weir_core::rng::rng_from_seed;
use weir_quic::limits::MAX_UNKNOWN_PARAMETERS;
use weir_quic::wire::transport_parameters::TransportParameters;
use weir_quic::wire::{Side, varint};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The names of all bounds.
fn bounds() -> BTreeSet<String> {
    let files = [
        "crates/quic/src/limits.rs",
        "crates/quic/src/limits/endpoint.rs",
        "crates/quic/src/stream/limits.rs",
    ];
    let mut names = BTreeSet::new();
    for file in files {
        let text = read(file);
        for line in text.lines() {
            let line = line.trim_start_matches("pub(crate) ");
            let line = line.trim_start_matches("pub ");
            if let Some(rest) = line.strip_prefix("const ") {
                names.insert(rest.split(':').next().unwrap().to_owned());
            }
        }
    }
    names
}

/// Bounds to tests, as the page has them.
fn table() -> BTreeMap<String, String> {
    let page = read("docs/security.md");
    let (_, table) = page.split_once("## Every bound by name").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        (plain(cells[1]), plain(cells[3]))
    })
    .collect()
}

/// All functions of the crate's sources and tests that follow a `#[test]`.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        // `proptest!` has its attribute in the same place.
        for (_, rest) in text
            .match_indices("#[test]")
            .map(|(at, _)| text.split_at(at))
        {
            if let Some((_, name)) = rest.split_once("fn ") {
                found.insert(name.split('(').next().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_bound_has_a_test() {
    // C4
    let (bounds, table) = (bounds(), table());
    assert!(bounds.len() > 60);
    let mut found = BTreeSet::new();
    tests(&root().join("crates/quic"), &mut found);
    for bound in &bounds {
        let Some(test) = table.get(bound) else {
            panic!("docs/security.md has no line for {bound}");
        };
        assert!(found.contains(test), "{bound}: there is no test {test}");
    }
    for bound in table.keys() {
        assert!(bounds.contains(bound), "there is no bound {bound}");
    }
}

#[test]
fn unknown_parameters_without_end() {
    // Q71, Q72: C4: thousands are read and passed over; the first ones are watched for coming twice.
    let parameter = |n: u64, out: &mut Vec<u8>| {
        varint::encode((1 << 20) + n, out);
        varint::encode(0, out);
    };
    let mut known = Vec::new();
    let own = TransportParameters {
        initial_source_connection_id: Some(weir_quic::ConnectionId::new(&[1; 8]).unwrap()),
        ..TransportParameters::default()
    };
    own.encode(Side::Client, &mut known, Some(&mut rng_from_seed(1)));
    let mut many = known.clone();
    (0..10_000).for_each(|n| parameter(n, &mut many));
    assert!(TransportParameters::decode(Side::Client, &many).is_ok());
    let mut twice = known;
    (0..MAX_UNKNOWN_PARAMETERS as u64 / 2).for_each(|n| parameter(n, &mut twice));
    parameter(0, &mut twice);
    assert!(TransportParameters::decode(Side::Client, &twice).is_err());
}
