//! When things happen: windows of time, and moments.

use weir_core::time::{Duration, Instant};

use crate::error::ConfigError;

/// Stretches of time during which something holds: an outage, a stall.
///
/// Windows are half open: the first instant belongs to a window, the last does not.
///
/// ```
/// use weir_core::time::{Duration, Instant};
/// use weir_sim::Schedule;
///
/// let second = Duration::from_secs(1);
/// let outage = Schedule::once(Instant::ZERO + second, second).and(Instant::ZERO + 5 * second, second);
/// assert!(!outage.is_active(Instant::ZERO));
/// assert!(outage.is_active(Instant::ZERO + second));
/// assert_eq!(outage.active_until(Instant::ZERO + second), Some(Instant::ZERO + 2 * second));
/// assert!(!outage.is_active(Instant::ZERO + 2 * second));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Sorted, disjoint.
    windows: Vec<(Instant, Instant)>,
    periodic: Option<Periodic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Periodic {
    first: Instant,
    period: Duration,
    length: Duration,
}

impl Schedule {
    /// Never.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// Once, from `from` on, for `length`.
    #[must_use]
    pub fn once(from: Instant, length: Duration) -> Self {
        Self::default().and(from, length)
    }

    /// From `from` on, without an end.
    #[must_use]
    pub fn from(from: Instant) -> Self {
        Self {
            windows: vec![(from, Instant::from_nanos(u64::MAX))],
            periodic: None,
        }
    }

    /// For `length`, again and again: every `period`, the first time at `first`.
    #[must_use]
    pub fn periodic(first: Instant, period: Duration, length: Duration) -> Self {
        Self {
            windows: Vec::new(),
            periodic: Some(Periodic {
                first,
                period,
                length,
            }),
        }
    }

    /// The same, and also for `length` from `from` on.
    #[must_use]
    pub fn and(mut self, from: Instant, length: Duration) -> Self {
        self.windows.push((from, from + length));
        self.windows.sort_unstable();
        let mut merged: Vec<(Instant, Instant)> = Vec::with_capacity(self.windows.len());
        for (start, end) in self.windows.drain(..) {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        self.windows = merged;
        self
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn is_active(&self, now: Instant) -> bool {
        self.active_until(now).is_some()
    }

    /// When the stretch that holds at `now` ends; `None` when none holds.
    #[must_use]
    pub fn active_until(&self, now: Instant) -> Option<Instant> {
        let mut end = self.one_window(now)?;
        // A window and a periodic one may follow each other without a gap. Each turn moves
        // forward to the end of a window, and there are only so many of them.
        for _ in 0..=self.windows.len() {
            match self.one_window(end) {
                Some(later) if later > end => end = later,
                _ => break,
            }
        }
        Some(end)
    }

    fn one_window(&self, now: Instant) -> Option<Instant> {
        let after = self.windows.partition_point(|&(start, _)| start <= now);
        let listed = after
            .checked_sub(1)
            .and_then(|index| self.windows.get(index))
            .map(|&(_, end)| end)
            .filter(|&end| now < end);
        listed.max(self.periodic.and_then(|periodic| periodic.end_at(now)))
    }

    /// Checks that it has an end: a periodic one must pause between its windows.
    ///
    /// # Errors
    /// When a period is not longer than the window that returns in it.
    pub fn validate(&self, field: &'static str) -> Result<(), ConfigError> {
        match self.periodic {
            Some(periodic) if periodic.length >= periodic.period => Err(ConfigError {
                field,
                value: format!("{:?} every {:?}", periodic.length, periodic.period),
                allowed: "a window shorter than its period",
            }),
            _ => Ok(()),
        }
    }
}

impl Periodic {
    fn end_at(&self, now: Instant) -> Option<Instant> {
        if now < self.first {
            return None;
        }
        let since = now.saturating_duration_since(self.first).as_nanos();
        let into = since.checked_rem(self.period.as_nanos())?;
        let left = self
            .length
            .as_nanos()
            .checked_sub(into)
            .filter(|&left| left > 0)?;
        Some(now + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)))
    }
}

/// Moments at which an address translator forgets its mappings: a NAT that rebinds, a network
/// that a device leaves for another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebinding {
    /// The moments, in any order.
    pub at: Vec<Instant>,
    /// And every so often, counted from the start; zero is never.
    pub every: Duration,
}

impl Rebinding {
    /// Never.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// At these moments.
    #[must_use]
    pub fn at(moments: &[Instant]) -> Self {
        Self {
            at: moments.to_vec(),
            every: Duration::ZERO,
        }
    }

    /// Every `period`.
    #[must_use]
    pub fn every(period: Duration) -> Self {
        Self {
            at: Vec::new(),
            every: period,
        }
    }

    /// How often it has happened up to and including `now`. A translator (or a proxy that plays
    /// one) takes a new address whenever this number changes.
    #[must_use]
    pub fn epoch(&self, now: Instant) -> u64 {
        let listed = self.at.iter().filter(|&&at| at <= now).count() as u64;
        let elapsed = now.saturating_duration_since(Instant::ZERO).as_nanos();
        let periodic = elapsed.checked_div(self.every.as_nanos()).unwrap_or(0);
        listed.saturating_add(u64::try_from(periodic).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn windows_merge_and_are_half_open() {
        let second = Duration::from_secs(1);
        let schedule = Schedule::once(at(3), 2 * second)
            .and(at(1), second)
            .and(at(2), second);
        assert!(!schedule.is_active(at(0)));
        assert_eq!(schedule.active_until(at(1)), Some(at(5)));
        assert_eq!(schedule.active_until(at(5)), None);
    }

    #[test]
    fn a_periodic_window_returns() {
        let schedule = Schedule::periodic(at(10), Duration::from_secs(10), Duration::from_secs(2));
        assert!(!schedule.is_active(at(1)));
        for start in [10, 20, 1000] {
            assert_eq!(
                schedule.active_until(at(start)),
                Some(at(start + 2)),
                "at {start} s"
            );
            assert_eq!(
                schedule.active_until(at(start + 1)),
                Some(at(start + 2)),
                "at {start} s"
            );
            assert_eq!(schedule.active_until(at(start + 2)), None, "at {start} s");
        }
        assert!(schedule.validate("outages").is_ok());
        let endless = Schedule::periodic(at(0), Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(
            endless.validate("outages").map_err(|error| error.field),
            Err("outages")
        );
    }

    #[test]
    fn a_window_that_touches_a_periodic_one_continues_in_it() {
        let mut schedule =
            Schedule::periodic(at(10), Duration::from_secs(10), Duration::from_secs(2));
        schedule = schedule.and(at(8), Duration::from_secs(2));
        assert_eq!(schedule.active_until(at(8)), Some(at(12)));
    }

    #[test]
    fn rebinding_counts_moments_and_periods() {
        let mut rebinding = Rebinding::every(Duration::from_secs(5));
        rebinding.at.push(at(7));
        let epochs: Vec<u64> = [0, 4, 5, 7, 10]
            .map(|second| rebinding.epoch(at(second)))
            .to_vec();
        assert_eq!(epochs, [0, 0, 1, 2, 3]);
        assert_eq!(Rebinding::never().epoch(at(1_000_000)), 0);
    }
}
