//! `docs/conformance-quic.md`, made from the row names (`// Q29`) that stand in the tests. Fails
//! when the page is stale or a row that must be shown is not; `docs/make-conformance` writes it anew.
#![allow(clippy::panic, reason = "a test ends by panic")]

#[path = "proof/rows.rs"]
mod rows;

use std::path::Path;

use weir_sim::conformance::{Level, Table};

const TABLE: Table = Table {
    letter: 'Q',
    page: "docs/conformance-quic.md",
    head: "# QUIC: behaviours, and the tests that show them\n\n\
           Made by `docs/make-conformance` from the row names in the tests' sources; not to be edited. \
           `9000-4.1` is RFC 9000 section 4.1; `practice` is what no text demands and good stacks do. \
           What attackers try, and what bounds it, stands in [security.md](security.md).",
    complete: "Every row that is this engine's is shown.",
    incomplete: "Not shown",
    sections: rows::SECTIONS,
    rows: rows::ROWS,
    elsewhere: rows::ELSEWHERE,
    required: |row| !matches!(row.level, Level::May),
    folders: &["crates/core", "crates/quic", "crates/weir"],
    all_tests: &[],
};

#[test]
fn every_row_that_must_be_shown_is_and_the_page_says_where() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    TABLE.check(&root).unwrap_or_else(|why| panic!("{why}"));
}
