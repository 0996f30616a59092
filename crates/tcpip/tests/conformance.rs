//! `docs/conformance-tcp.md`, made from the row names (`// T29`) that stand in the tests, and in the
//! first line of the scripts. Fails when the page is stale or a row that must be shown is not;
//! `docs/make-conformance` writes it anew.
#![allow(clippy::panic, reason = "a test ends by panic")]

#[path = "proof/rows.rs"]
mod rows;

use std::path::Path;

use weir_sim::conformance::{Level, Table};

const TABLE: Table = Table {
    letter: 'T',
    page: "docs/conformance-tcp.md",
    head: "# TCP and the layers under it: behaviours, and the tests that show them\n\n\
           Made by `docs/make-conformance` from the row names in the tests' sources and scripts; not to be edited. \
           `9293-3.4` is RFC 9293 section 3.4; `practice` is what no text demands and good stacks do. How scripts \
           are read stands in [simulation.md](simulation.md), what attackers try, and what bounds it, in \
           [security.md](security.md).",
    complete: "Every row that must be shown is shown.",
    incomplete: "Not shown, though they must be",
    sections: rows::SECTIONS,
    rows: rows::ROWS,
    elsewhere: rows::ELSEWHERE,
    required: |row| matches!(row.level, Level::Must),
    folders: &[
        "crates/core",
        "crates/tcpip",
        "crates/peers",
        "crates/weir",
        "crates/cli",
    ],
    all_tests: &[],
};

#[test]
fn every_row_that_must_be_shown_is_and_the_page_says_where() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    TABLE.check(&root).unwrap_or_else(|why| panic!("{why}"));
}
