//! Keeping repeated lines out of the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines that may come at once.
const BURST: u32 = 20;

/// After a burst, one line in this time.
const EVERY: Duration = Duration::from_millis(200);

/// Decides which of many like lines are worth logging: a peer that fails a thousand times a second is one piece of
/// news, not a full disk (C10).
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the bucket will be full again.
    full_at: Option<Instant>,
    suppressed: u64,
}

impl Quiet {
    /// `Some(n)` to log now, where `n` lines before were left out; `None` to leave this one out.
    pub(crate) fn admit(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = state.full_at.filter(|at| *at > now).unwrap_or(now);
        if full_at.duration_since(now) > EVERY.saturating_mul(BURST - 1) {
            state.suppressed = state.suppressed.saturating_add(1);
            return None;
        }
        state.full_at = Some(full_at + EVERY);
        Some(std::mem::take(&mut state.suppressed))
    }

    /// [`Quiet::admit`] as the words to put behind the line.
    pub(crate) fn suffix(&self) -> Option<String> {
        self.admit().map(|left_out| match left_out {
            0 => String::new(),
            n => format!(" ({n} like lines left out)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_logged_and_a_flood_is_counted() {
        let quiet = Quiet::default();
        let logged = (0..1000).filter(|_| quiet.admit().is_some()).count();
        assert_eq!(logged, BURST as usize);
        tokio::time::advance(EVERY).await;
        assert_eq!(quiet.suffix().unwrap(), " (980 like lines left out)");
        assert_eq!(quiet.admit(), None);
        tokio::time::advance(EVERY * BURST * 2).await;
        assert_eq!(
            (0..100).filter(|_| quiet.admit().is_some()).count(),
            BURST as usize
        );
    }
}
