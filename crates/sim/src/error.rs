//! What can be wrong with a configuration.

/// A value that a configuration does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, which must be {allowed}")]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// The value it has.
    pub value: String,
    /// What it may be, in words.
    pub allowed: &'static str,
}

impl ConfigError {
    /// Checks that `value` is a probability.
    pub(crate) fn probability(field: &'static str, value: f64) -> Result<(), Self> {
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(Self {
            field,
            value: value.to_string(),
            allowed: "between 0.0 and 1.0",
        })
    }

    /// Checks that `value` is at least 1.
    pub(crate) fn positive(field: &'static str, value: u64) -> Result<(), Self> {
        if value > 0 {
            return Ok(());
        }
        Err(Self {
            field,
            value: value.to_string(),
            allowed: "at least 1",
        })
    }
}
