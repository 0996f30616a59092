//! What one check found.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How it stands with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but slower or in fewer places than it could.
    Limited,
    /// A connection cannot be made like this.
    Broken,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Broken => "broken",
        }
    }
}

/// One check: a line for people, an object for scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// The check's name, the same in every run.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
    /// Numbers by name, with the unit in the name.
    #[serde(flatten)]
    pub(super) figures: BTreeMap<&'static str, u64>,
}

impl Check {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found.into())
    }

    pub(super) fn limited(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Limited, found.into())
    }

    pub(super) fn broken(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Broken, found.into())
    }

    fn new(check: &'static str, verdict: Verdict, found: String) -> Self {
        Self {
            check,
            verdict,
            found,
            remedy: None,
            figures: BTreeMap::new(),
        }
    }

    /// Says what to do.
    #[must_use]
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds a number.
    #[must_use]
    pub(super) fn figure(mut self, name: &'static str, value: impl TryInto<u64>) -> Self {
        let value = value.try_into().unwrap_or(u64::MAX);
        self.figures.insert(name, value);
        self
    }
}

/// `limited  receive-buffer  4 MiB of the 8 MiB that were asked for -> sudo sysctl ..`
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, check) = (self.verdict.as_str(), self.check);
        write!(f, "{verdict:<7}  {check:<14}  {}", self.found)?;
        match &self.remedy {
            Some(remedy) => write!(f, " -> {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_line_with_its_verdict_in_words() {
        let line = Check::limited("gro", "not offered").remedy("update the kernel");
        assert_eq!(
            line.to_string(),
            "limited  gro             not offered -> update the kernel"
        );
        let line = Check::ok("path-mtu", "1,500 bytes").to_string();
        assert_eq!(line, "ok       path-mtu        1,500 bytes");
    }

    #[test]
    fn a_check_is_an_object_with_its_figures() {
        let check = Check::broken("tcp", "no answer")
            .remedy("open the port")
            .figure("waited_ms", 3_000_u64);
        assert_eq!(
            serde_json::to_value(check).unwrap(),
            serde_json::json!({
                "check": "tcp", "verdict": "broken", "found": "no answer",
                "do": "open the port", "waited_ms": 3000
            })
        );
        let plain = serde_json::to_string(&Check::ok("gso", "yes")).unwrap();
        assert!(!plain.contains("do"), "{plain}");
    }
}
