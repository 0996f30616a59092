//! A progress bar, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the bar is drawn: often enough to look alive, too seldom to show in the figures.
const REDRAW: Duration = Duration::from_millis(200);

/// What a work has done so far, counted by the work and shown by the bar.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    bytes: Arc<AtomicU64>,
    units: Arc<AtomicU64>,
}

impl Done {
    /// So many bytes more.
    pub(crate) fn add_bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// One request, stream, connection more.
    pub(crate) fn add_unit(&self) {
        self.units.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Units so far.
    pub(crate) fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }
}

/// How far a work has to go; whichever comes first ends it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Goal {
    /// Bytes in all.
    pub(crate) bytes: Option<u64>,
    /// Units in all.
    pub(crate) units: Option<u64>,
    /// Time in all.
    pub(crate) time: Option<Duration>,
}

/// The bar; it goes away when this is dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: Option<(ProgressBar, JoinHandle<()>)>,
}

impl Bar {
    /// Starts a bar when stderr is a terminal and `quiet` is not asked for.
    pub(crate) fn start(quiet: bool, name: &str, done: &Done, goal: Goal) -> Self {
        if quiet || !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            return Self { shown: None };
        }
        let bar = ProgressBar::new(1000);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        let task = tokio::spawn(draw(bar.clone(), done.clone(), goal));
        Self {
            shown: Some((bar, task)),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((bar, task)) = self.shown.take() {
            task.abort();
            bar.finish_and_clear();
        }
    }
}

async fn draw(bar: ProgressBar, done: Done, goal: Goal) {
    let started = Instant::now();
    let mut tick = tokio::time::interval(REDRAW);
    let mut before = (0, 0);
    loop {
        tick.tick().await;
        let now = (done.bytes(), done.units());
        bar.set_position((fraction(now, started.elapsed(), goal) * 1000.0) as u64);
        let each_second = 1.0 / REDRAW.as_secs_f64();
        let message = if now.0 > 0 {
            crate::units::rate((now.0 - before.0) as f64 * 8.0 * each_second)
        } else {
            crate::units::per_second((now.1 - before.1) as f64 * each_second)
        };
        bar.set_message(message);
        before = now;
    }
}

/// How much of the goal is reached, 0 to 1: the nearest of its bounds counts.
fn fraction((bytes, units): (u64, u64), elapsed: Duration, goal: Goal) -> f64 {
    let part = |done: u64, all: u64| done as f64 / all.max(1) as f64;
    let parts = [
        goal.bytes.map(|all| part(bytes, all)),
        goal.units.map(|all| part(units, all)),
        goal.time
            .map(|all| elapsed.as_secs_f64() / all.as_secs_f64().max(1e-9)),
    ];
    parts.into_iter().flatten().fold(0.0, f64::max).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_bound_counts() {
        let goal = Goal {
            bytes: Some(1000),
            units: None,
            time: Some(Duration::from_secs(10)),
        };
        assert_eq!(fraction((100, 0), Duration::from_secs(5), goal), 0.5);
        assert_eq!(fraction((900, 0), Duration::from_secs(5), goal), 0.9);
        assert_eq!(fraction((2000, 0), Duration::from_secs(5), goal), 1.0);
        assert_eq!(fraction((0, 0), Duration::ZERO, Goal::default()), 0.0);
    }
}
