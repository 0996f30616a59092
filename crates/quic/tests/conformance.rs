//! `docs/conformance-quic.md`, made from the row names (`// Q29`) that stand in the tests. Fails
//! when the page is stale or a row that must be shown is not; `docs/make-conformance` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

#[path = "proof/rows.rs"]
mod rows;

use rows::{ELSEWHERE, Level, ROWS, Row};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/conformance-quic.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Tests by row, as links: file and function.
type Shown = BTreeMap<u32, Vec<String>>;

/// All Rust files below `folder`, in order.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The row numbers named in a comment: `Q29`, `(Y9)`, `Y1, Y2: why`.
fn named(comment: &str) -> Vec<u32> {
    let words = comment.split(|c: char| !c.is_ascii_alphanumeric());
    let rows = words.filter_map(|word| word.strip_prefix('Q')?.parse().ok());
    rows.filter(|row| (1..=179).contains(row)).collect()
}

/// The function that a line begins, if it does.
fn begins(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let name = line.strip_prefix("fn ")?;
    name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()
}

/// Notes the rows that the tests of one file name: above them or in them.
fn scan(name: &str, text: &str, shown: &mut Shown) {
    let (mut is_test, mut above) = (false, Vec::new());
    let mut current: Option<(&str, String)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.get(..line.len() - trimmed.len()).unwrap_or_default();
        if let Some((function, end)) = &current {
            if line == end {
                current = None;
            } else if let Some((_, comment)) = trimmed.split_once("//") {
                note(name, function, named(comment), shown);
            }
        } else if let Some(function) = begins(line) {
            let rows = std::mem::take(&mut above);
            if is_test {
                note(name, function, rows, shown);
                if !line.ends_with('}') {
                    current = Some((function, format!("{indent}}}")));
                }
            }
            is_test = false;
        } else if let Some(comment) = trimmed.strip_prefix("//") {
            above.extend(named(comment));
        } else if trimmed.starts_with("#[") {
            is_test |= trimmed.starts_with("#[test]") || trimmed.starts_with("#[tokio::test");
        } else {
            // What stood above was about something else.
            above.clear();
        }
    }
}

fn note(name: &str, function: &str, rows: Vec<u32>, shown: &mut Shown) {
    for row in rows {
        let tests = shown.entry(row).or_default();
        let file = name.strip_prefix("crates/").unwrap_or(name);
        let test = format!("[{file}](../{name})::{function}");
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
}

fn all_shown() -> Shown {
    let root = root();
    let mut files = Vec::new();
    for part in ["core", "quic", "weir"] {
        sources(&root.join("crates").join(part), &mut files);
    }
    let mut shown = Shown::new();
    for file in files {
        let name = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/");
        if name.ends_with("conformance.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        scan(&name, &text, &mut shown);
    }
    shown
}

/// Why a row is not this engine's to show, if it is not.
fn elsewhere(row: &Row) -> Option<&'static str> {
    let mut found = ELSEWHERE.iter();
    let (.., why) = found.find(|(from, to, _)| (*from..=*to).contains(&row.number))?;
    Some(why)
}

/// The rows that are to be shown and are not.
fn missing(shown: &Shown) -> Vec<&'static Row> {
    let rows = ROWS.iter().filter(|row| elsewhere(row).is_none());
    rows.filter(|row| row.level != Level::May && !shown.contains_key(&row.number))
        .collect()
}

fn page(shown: &Shown) -> String {
    let mut out = String::from(
        "# QUIC: behaviours, and the tests that show them\n\n\
         Made by `docs/make-conformance` from the row names in the tests' sources; not to be edited. \
         `9000-4.1` is RFC 9000 section 4.1; `practice` is what no text demands and good stacks do. \
         What attackers try, and what bounds it, stands in [security.md](security.md).\n\n",
    );
    let missing = missing(shown);
    match missing.is_empty() {
        true => out.push_str("Every row that is this engine's is shown.\n"),
        false => {
            out.push_str("**Not shown:**");
            for row in missing {
                let _ = write!(out, " Q{}", row.number);
            }
            out.push('\n');
        }
    }
    for (title, from, to) in rows::SECTIONS {
        let _ = write!(
            out,
            "\n## {title}\n\n| row | level | behaviour | where | shown by |\n| --- | --- | --- | --- | --- |\n"
        );
        for row in ROWS.iter().filter(|row| (from..=to).contains(&row.number)) {
            let tests = match (shown.get(&row.number), elsewhere(row)) {
                (Some(tests), _) => tests.join("<br>"),
                (None, Some(why)) => why.to_owned(),
                (None, None) => "–".to_owned(),
            };
            let level = match row.level {
                Level::Must => "MUST",
                Level::Should => "SHOULD",
                Level::May => "MAY",
            };
            let (number, words, place) = (row.number, row.words, row.place);
            let _ = writeln!(out, "| Q{number} | {level} | {words} | {place} | {tests} |");
        }
    }
    out
}

#[test]
fn every_row_that_must_be_shown_is_and_the_page_says_where() {
    let shown = all_shown();
    let missing: Vec<u32> = missing(&shown).iter().map(|row| row.number).collect();
    assert_eq!(missing, Vec::<u32>::new(), "no test names these rows");
    let path = root().join(PAGE);
    let wanted = page(&shown);
    if std::env::var_os("WEIR_WRITE_CONFORMANCE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{PAGE} is stale: run docs/make-conformance"
    );
}

#[test]
fn rows_are_found_where_they_stand() {
    let text = "/// Q1\nfn helper() {\n    // Q2\n}\n\n// Q3: above\n#[test]\nfn one() {\n    \
                // Q4, Q5 (Q6)\n    let x = \"Q7\"; // Q8\n}\n\n// Q9\nconst A: u8 = 1;\n\n\
                #[test]\nfn two() {}\n";
    let mut shown = Shown::new();
    scan("crates/a/tests/b.rs", text, &mut shown);
    assert_eq!(shown.keys().copied().collect::<Vec<_>>(), [3, 4, 5, 6, 8]);
    let one = "[a/tests/b.rs](../crates/a/tests/b.rs)::one";
    assert!(shown.values().all(|tests| tests == &[one]));
}

#[test]
fn the_table_is_whole() {
    let numbers: Vec<u32> = ROWS.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=179).collect::<Vec<u32>>());
}
