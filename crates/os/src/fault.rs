//! What the system refused: one error type for everything in here that is more than a socket option.

use std::fmt;
use std::io;

/// Something that the operating system refused: what was being done, on what, why not, and where it is
/// known, what to do about it.
#[derive(Debug)]
pub struct SystemError {
    doing: String,
    hint: Option<String>,
    source: io::Error,
}

impl SystemError {
    /// `doing` completes the sentence "cannot ..": an infinitive with what it is done to.
    pub fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> SystemError {
        SystemError {
            doing: doing.into(),
            hint: None,
            source: source.into(),
        }
    }

    /// The same with what to do about it; shown in parentheses.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> SystemError {
        self.hint = Some(hint.into());
        self
    }

    /// The same with what to do about it where that is known.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> SystemError {
        self.hint = hint.or(self.hint);
        self
    }

    /// What was being done: it completes the sentence "cannot ..".
    #[must_use]
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// The system's own error.
    #[must_use]
    pub fn io(&self) -> &io::Error {
        &self.source
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.source)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SystemError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<SystemError> for io::Error {
    fn from(error: SystemError) -> Self {
        io::Error::new(error.source.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = SystemError::new("open /dev/net/tun", source).hint("run it as root");
        assert_eq!(
            error.to_string(),
            "cannot open /dev/net/tun: permission denied (run it as root)"
        );
        assert_eq!(
            io::Error::from(error).kind(),
            io::ErrorKind::PermissionDenied
        );
    }
}
