//! Every bound has a line in `docs/security.md` that names the test which tries to pass it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The constants of a block of `limits.rs`, which begins with a line `// title`.
fn bounds(title: &str) -> BTreeSet<String> {
    let text = read("crates/tcpip/src/limits.rs");
    let (_, block) = text.split_once(&format!("\n// {title}\n")).unwrap();
    let block = block.split("\n// ").next().unwrap();
    let names = block
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    names
        .map(|rest| rest.split(':').next().unwrap().to_owned())
        .collect()
}

/// Bounds to tests, as the page has them.
fn table(heading: &str) -> BTreeMap<String, String> {
    let page = read("docs/security.md");
    let (_, table) = page.split_once(heading).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        (plain(cells[1]), plain(cells[3]))
    })
    .collect()
}

fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (at, _) in text.match_indices("#[test]") {
            if let Some((_, name)) = text[at..].split_once("fn ") {
                found.insert(name.split('(').next().unwrap().to_owned());
            }
        }
    }
}

fn every_bound_has_a_test(title: &str, heading: &str) {
    let (bounds, table) = (bounds(title), table(heading));
    assert!(bounds.len() > 20, "{bounds:?}");
    let mut found = BTreeSet::new();
    tests(&root().join("crates/tcpip"), &mut found);
    for bound in &bounds {
        let test = table.get(bound);
        let test = test.unwrap_or_else(|| panic!("docs/security.md has no line for {bound}"));
        assert!(found.contains(test), "{bound}: there is no test {test}");
    }
    for bound in table.keys() {
        assert!(bounds.contains(bound), "there is no bound {bound}");
    }
}

// C4
#[test]
fn every_bound_of_the_internet_layer_has_a_test() {
    every_bound_has_a_test(
        "ip, link",
        "| bound of the internet layer | what tries | test |",
    );
}

// C4
#[test]
fn every_bound_of_the_sockets_has_a_test() {
    every_bound_has_a_test("stack, udp", "| bound of the sockets | what tries | test |");
}
