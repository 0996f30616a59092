//! Why a script failed.

use std::fmt;

use weir_core::time::Instant;

/// What passed before a failure is shown up to this number of lines.
const SHOWN: usize = 40;

/// A script that did not go as it says.
pub struct Failure {
    /// The script's name.
    pub script: String,
    /// The line, from 1; 0 for the end of the script.
    pub line: usize,
    /// The line itself.
    pub text: String,
    /// Virtual time.
    pub at: Instant,
    /// What is wrong.
    pub message: String,
    /// Everything that passed, a line each.
    pub log: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.script, self.line, self.text)?;
        for line in self.message.lines() {
            writeln!(f, "    {line}")?;
        }
        if self.log.is_empty() {
            return Ok(());
        }
        writeln!(f, "  at {:?}; what passed before:", self.at)?;
        let skipped = self.log.len().saturating_sub(SHOWN);
        if skipped > 0 {
            writeln!(f, "    ({skipped} lines before)")?;
        }
        for line in self.log.iter().skip(skipped) {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}
