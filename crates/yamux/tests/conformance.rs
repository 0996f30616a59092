//! `docs/conformance-yamux.md`, made from the row names (`// Y29`) that stand in the tests. Fails
//! when the page is stale or a row that must be shown is not; `docs/make-conformance` writes it anew.
#![allow(clippy::panic, reason = "a test ends by panic")]

#[path = "proof/rows.rs"]
mod rows;

use std::path::Path;

use weir_sim::conformance::{Level, Table};

const TABLE: Table = Table {
    letter: 'Y',
    page: "docs/conformance-yamux.md",
    head: "# yamux: behaviours, and the tests that show them\n\n\
           Made by `docs/make-conformance` from the row names in the tests' sources; not to be edited. The choices that \
           the specification leaves open stand in [yamux.md](yamux.md).",
    complete: "Every row that must be shown is shown.",
    incomplete: "Not shown, though they must be",
    sections: rows::SECTIONS,
    rows: rows::ROWS,
    elsewhere: rows::ELSEWHERE,
    required: |row| matches!(row.level, Level::Must),
    folders: &["crates"],
    // The walks of the caps are tests too, though one test calls them all.
    all_tests: &["walks"],
};

#[test]
fn every_row_that_must_be_shown_is_and_the_page_says_where() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    TABLE.check(&root).unwrap_or_else(|why| panic!("{why}"));
}
