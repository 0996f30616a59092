//! The engines' time on tokio's clock.

use weir_core::time::Instant;

/// Counts from a moment of its own; copies count from the same one.
#[derive(Clone, Copy)]
pub(crate) struct Clock(tokio::time::Instant);

impl Clock {
    /// A clock at zero.
    pub(crate) fn start() -> Self {
        Clock(tokio::time::Instant::now())
    }

    /// Looks at it.
    pub(crate) fn read(&self) -> Instant {
        let nanos = self.0.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// What one of its times is for tokio.
    pub(crate) fn tokio_time(&self, at: Instant) -> tokio::time::Instant {
        let since = std::time::Duration::from_nanos(at.as_nanos());
        self.0.checked_add(since).unwrap_or_else(|| self.0 + FAR)
    }
}

/// Farther than any time-out: what a time that tokio's clock cannot express is taken for.
const FAR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
