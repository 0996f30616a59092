//! What the command prints, and how it ends: JSON lines and tables on stdout, words for people on
//! stderr, exit codes 0 (done), 1 (failed) and 2 (wrong usage).

use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command did not do what it was asked, for the person who reads it: what happened, to what,
/// and, where there is something, what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Exit code 1.
    Failed,
    /// Exit code 2.
    Usage,
}

/// The result of every command.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// The command was understood and did not work: exit code 1.
    pub(crate) fn failed(what: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Failed,
            what: what.to_string(),
            hint: None,
        }
    }

    /// The command line asks for something that cannot be: exit code 2.
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Usage,
            what: what.to_string(),
            hint: None,
        }
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Says it (on stderr, and as an `{"error": ..}` line on stdout with `--json`) and gives the exit
    /// code that goes with it.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        say(format_args!("weir: {}", self.what));
        if let Some(hint) = &self.hint {
            say(format_args!("      {hint}"));
        }
        if json {
            json_line(&ErrorLine {
                error: &self.what,
                hint: self.hint.as_deref(),
            });
        }
        match self.kind {
            Kind::Failed => ExitCode::from(1),
            Kind::Usage => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// One JSON object on a line of stdout, flushed at once: scripts wait for the first one.
///
/// A reader that has gone away is no reason to fail: the exit code tells how the command ended.
pub(crate) fn json_line(value: &impl Serialize) {
    let mut line = match serde_json::to_vec(value) {
        Ok(line) => line,
        Err(error) => {
            say(format_args!(
                "weir: a result could not be written as JSON: {error}"
            ));
            return;
        }
    };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

/// A line for people, on stderr.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A result for people, on stdout.
pub(crate) fn show(text: impl fmt::Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A table for people: the first column to the left, figures to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    /// Adds a row; cells beyond the heads are shown too.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (at, row) in self.rows.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    line.push_str(&format!("{cell:<width$}"));
                } else {
                    line.push_str(&format!("  {cell:>width$}"));
                }
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_figures_to_the_right() {
        let mut table = Table::new(&["via", "p50", "down"]);
        table.row(["yamux".into(), "57 µs".into(), "9.1 Gbit/s".into()]);
        table.row(["tcp".into(), "1.2 ms".into(), "ok".into()]);
        let expected = "via       p50        down\n\
                        yamux   57 µs  9.1 Gbit/s\n\
                        tcp    1.2 ms          ok";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_failure_keeps_what_and_hint_apart() {
        let failure = Failure::failed("no such peer").hint("check the address");
        assert_eq!(failure.to_string(), "no such peer");
        assert_eq!(failure.hint.as_deref(), Some("check the address"));
        assert_eq!(failure.kind, Kind::Failed);
    }
}
