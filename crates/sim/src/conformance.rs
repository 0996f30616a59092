//! Pages that say which test shows which rule, made from the tests' sources.
//!
//! A table of behaviours gives each row a letter and a number. A test names the rows that it shows
//! in a comment above it or in it (`// Q29`, `// T14, T15: why`), a [script](crate::script) in its
//! first line. A crate's test calls [`Table::check`], which fails when a required row is named by no
//! test, and when the page does not say what the sources say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// With this variable set, the page is written anew.
const WRITE_VARIABLE: &str = "WEIR_WRITE_CONFORMANCE";

/// How much a row asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Without it, it is something else.
    Must,
    /// There may be reasons against.
    Should,
    /// A choice.
    May,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        }
    }
}

/// One behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number, from 1.
    pub number: u32,
    /// How much it asks.
    pub level: Level,
    /// What it says, in a few words.
    pub words: &'static str,
    /// Which text asks for it; empty in tables of one text.
    pub place: &'static str,
}

/// A table of behaviours, and its page.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The letter in front of the numbers.
    pub letter: char,
    /// The page, from the root of the repository on.
    pub page: &'static str,
    /// What the page begins with: title and first paragraph.
    pub head: &'static str,
    /// Says that all is shown.
    pub complete: &'static str,
    /// What stands in front of the rows that are not.
    pub incomplete: &'static str,
    /// Titles, each with its first and last row.
    pub sections: &'static [(&'static str, u32, u32)],
    /// The rows, by number.
    pub rows: &'static [Row],
    /// First row, last row, and why no test of these folders shows them.
    pub elsewhere: &'static [(u32, u32, &'static str)],
    /// Whether a row must be shown.
    pub required: fn(&Row) -> bool,
    /// Where the tests are, from the root on.
    pub folders: &'static [&'static str],
    /// In folders of these names every function counts as a test: others call them.
    pub all_tests: &'static [&'static str],
}

/// Tests by row, as links: file and function.
type Shown = BTreeMap<u32, Vec<String>>;

impl Table {
    /// Checks that the required rows are shown and that the page below `root` says by what; writes
    /// the page first if the environment asks for it (`docs/make-conformance` does).
    ///
    /// # Errors
    /// What is missing, or that the page is stale.
    pub fn check(&self, root: &Path) -> Result<(), String> {
        let numbers = self.rows.iter().map(|row| row.number);
        if !numbers.eq(1..=u32::try_from(self.rows.len()).unwrap_or(0)) {
            return Err("the table has holes".to_owned());
        }
        let shown = self.shown(root)?;
        let path = root.join(self.page);
        let wanted = self.page(&shown);
        if std::env::var_os(WRITE_VARIABLE).is_some() {
            std::fs::write(&path, &wanted).map_err(|error| format!("{}: {error}", self.page))?;
        }
        let missing: Vec<String> = self.missing(&shown).map(|row| self.name(row)).collect();
        if !missing.is_empty() {
            return Err(format!("no test names these rows: {}", missing.join(" ")));
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        match found == wanted {
            true => Ok(()),
            false => Err(format!("{} is stale: run docs/make-conformance", self.page)),
        }
    }

    fn name(&self, row: &Row) -> String {
        format!("{}{}", self.letter, row.number)
    }

    fn shown(&self, root: &Path) -> Result<Shown, String> {
        let mut files = Vec::new();
        for folder in self.folders {
            sources(&root.join(folder), &mut files);
        }
        let mut shown = Shown::new();
        for file in files {
            let name = file.strip_prefix(root).unwrap_or(&file);
            let name = name.to_string_lossy().replace('\\', "/");
            let text =
                std::fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
            match name.ends_with(".script") {
                true => self.scan_script(&name, &text, &mut shown),
                // It names rows that it does not show.
                false if name.ends_with("conformance.rs") => {}
                false => self.scan(&name, &text, &mut shown),
            }
        }
        Ok(shown)
    }

    /// The rows named in a comment: `Q29`, `(Y9)`, `Y1, Y2: why`.
    fn named(&self, comment: &str) -> BTreeSet<u32> {
        let words = comment.split(|c: char| !c.is_ascii_alphanumeric());
        let rows = words.filter_map(|word| word.strip_prefix(self.letter)?.parse().ok());
        rows.filter(|&row| row >= 1 && row as usize <= self.rows.len())
            .collect()
    }

    fn scan_script(&self, name: &str, text: &str, shown: &mut Shown) {
        let first = text.lines().next().unwrap_or_default();
        let rows = first.split_once(':').map_or(first, |(rows, _)| rows);
        let file = name.rsplit('/').next().unwrap_or(name);
        for row in self.named(rows) {
            let tests = shown.entry(row).or_default();
            tests.push(format!("[{file}](../{name})"));
        }
    }

    /// Notes the rows that the tests of one file name: above them or in them.
    fn scan(&self, name: &str, text: &str, shown: &mut Shown) {
        let all = self
            .all_tests
            .iter()
            .any(|part| name.contains(&format!("/{part}/")));
        let (mut is_test, mut above) = (all, BTreeSet::new());
        let mut current: Option<(&str, String)> = None;
        for line in text.lines() {
            let trimmed = line.trim_start();
            let indent = line.get(..line.len() - trimmed.len()).unwrap_or_default();
            if let Some((function, end)) = &current {
                if line == end {
                    current = None;
                } else if let Some((_, comment)) = trimmed.split_once("//") {
                    note(name, function, self.named(comment), shown);
                }
            } else if let Some(function) = begins(line) {
                let rows = std::mem::take(&mut above);
                if is_test {
                    note(name, function, rows, shown);
                    if !line.ends_with('}') {
                        current = Some((function, format!("{indent}}}")));
                    }
                }
                is_test = all;
            } else if let Some(comment) = trimmed.strip_prefix("//") {
                above.extend(self.named(comment));
            } else if trimmed.starts_with("#[") {
                is_test |= trimmed.starts_with("#[test]") || trimmed.starts_with("#[tokio::test");
            } else {
                // What stood above was about something else.
                above.clear();
            }
        }
    }

    fn elsewhere(&self, row: &Row) -> Option<&'static str> {
        let mut found = self.elsewhere.iter();
        let (.., why) = found.find(|(from, to, _)| (*from..=*to).contains(&row.number))?;
        Some(why)
    }

    fn missing(&self, shown: &Shown) -> impl Iterator<Item = &'static Row> {
        let rows = self.rows.iter().filter(|row| self.elsewhere(row).is_none());
        rows.filter(|row| (self.required)(row) && !shown.contains_key(&row.number))
    }

    fn page(&self, shown: &Shown) -> String {
        let mut out = format!("{}\n\n", self.head);
        let missing: Vec<String> = self.missing(shown).map(|row| self.name(row)).collect();
        match missing.is_empty() {
            true => out.push_str(self.complete),
            false => {
                let _ = write!(out, "**{}:** {}", self.incomplete, missing.join(" "));
            }
        }
        out.push('\n');
        let places = self.rows.iter().any(|row| !row.place.is_empty());
        let (head, rule) = if places {
            (" where |", " --- |")
        } else {
            ("", "")
        };
        for (title, from, to) in self.sections {
            let _ = write!(
                out,
                "\n## {title}\n\n| row | level | behaviour |{head} shown by |\n\
                 | --- | --- | --- |{rule} --- |\n"
            );
            for row in self
                .rows
                .iter()
                .filter(|row| (from..=to).contains(&&row.number))
            {
                let tests = match (shown.get(&row.number), self.elsewhere(row)) {
                    (Some(tests), _) => tests.join("<br>"),
                    (None, Some(why)) => why.to_owned(),
                    (None, None) => "–".to_owned(),
                };
                let (name, level, words) = (self.name(row), row.level.as_str(), row.words);
                let place = if places {
                    format!(" {} |", row.place)
                } else {
                    String::new()
                };
                let _ = writeln!(out, "| {name} | {level} | {words} |{place} {tests} |");
            }
        }
        out
    }
}

/// All Rust files and scripts below `folder`, in order.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.is_dir() {
            sources(&path, out);
        } else if matches!(ending, Some("rs" | "script")) {
            out.push(path);
        }
    }
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

fn note(name: &str, function: &str, rows: BTreeSet<u32>, shown: &mut Shown) {
    for row in rows {
        let tests = shown.entry(row).or_default();
        let file = name.strip_prefix("crates/").unwrap_or(name);
        let test = format!("[{file}](../{name})::{function}");
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn row(number: u32, level: Level) -> Row {
        Row {
            number,
            level,
            words: "it is so",
            place: "",
        }
    }

    const TABLE: Table = Table {
        letter: 'Z',
        page: "docs/z.md",
        head: "# Z",
        complete: "All.",
        incomplete: "Not",
        sections: &[("One", 1, 9)],
        rows: &[
            row(1, Level::Must),
            row(2, Level::Must),
            row(3, Level::Must),
            row(4, Level::Should),
            row(5, Level::May),
            row(6, Level::Must),
            row(7, Level::Must),
            row(8, Level::Must),
            row(9, Level::Must),
        ],
        elsewhere: &[(7, 7, "later")],
        required: |row| matches!(row.level, Level::Must),
        folders: &[],
        all_tests: &["walks"],
    };

    #[test]
    fn rows_are_found_where_they_stand() {
        let text = "/// Z1\nfn helper() {\n    // Z2\n}\n\n// Z3: above\n#[test]\nfn one() {\n    \
                    // Z4, Z5 (Z6)\n    let x = \"Z7\"; // Z8\n}\n\n// Z9\nconst A: u8 = 1;\n\n\
                    #[test]\nfn two() {}\n";
        let mut shown = Shown::new();
        TABLE.scan("crates/a/tests/b.rs", text, &mut shown);
        assert_eq!(shown.keys().copied().collect::<Vec<_>>(), [3, 4, 5, 6, 8]);
        let one = "[a/tests/b.rs](../crates/a/tests/b.rs)::one";
        assert!(shown.values().all(|tests| tests == &[one]));
        let mut shown = Shown::new();
        TABLE.scan("crates/a/walks/b.rs", text, &mut shown);
        assert!(shown.contains_key(&1) && shown.contains_key(&2));
        let mut shown = Shown::new();
        TABLE.scan_script(
            "a/z1.script",
            "# Z1, Z99 RFC 1: why, Z2\n# Z3\n",
            &mut shown,
        );
        assert_eq!(
            shown.into_values().next(),
            Some(vec!["[z1.script](../a/z1.script)".to_owned()])
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut shown = Shown::new();
        for row in [1, 2, 3, 6, 8] {
            shown.insert(row, vec!["x".to_owned()]);
        }
        let page = TABLE.page(&shown);
        assert!(page.starts_with("# Z\n\n**Not:** Z9\n\n## One\n"), "{page}");
        assert!(
            page.contains("| Z7 | MUST | it is so | later |\n"),
            "{page}"
        );
        assert!(page.contains("| Z4 | SHOULD | it is so | – |\n"), "{page}");
        shown.insert(9, vec!["x".to_owned()]);
        assert!(TABLE.page(&shown).contains("\nAll.\n"));
    }
}
