//! The time that engines are told.
//!
//! Engines never read a clock. A driver calls them with an [`Instant`] it took from the operating
//! system, a simulator with one it made up, and both replay alike.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

pub use core::time::Duration;

/// A point in time: nanoseconds since an epoch that the driver chose (usually its own start).
///
/// Eight bytes, and every operation saturates: 2^64 ns are 584 years, so what would pass either end
/// is a deadline that never comes or one that is long over, not an error.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's epoch.
    pub const ZERO: Instant = Instant(0);

    /// The end of time: as a deadline, one that never comes.
    pub const MAX: Instant = Instant(u64::MAX);

    /// The instant `nanos` nanoseconds after the epoch.
    #[inline]
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// The instant `millis` milliseconds after the epoch.
    #[inline]
    #[must_use]
    pub const fn from_millis(millis: u64) -> Instant {
        Instant(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero when `earlier` is in fact later.
    #[inline]
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds since `earlier`; zero when `earlier` is in fact later. For what runs for each packet:
    /// a [`Duration`] is two numbers, and comparing and adding them costs several times as much.
    #[inline]
    #[must_use]
    pub const fn nanos_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `nanos` nanoseconds later.
    #[inline]
    #[must_use]
    pub const fn plus_nanos(self, nanos: u64) -> Instant {
        Instant(self.0.saturating_add(nanos))
    }

    /// Time since `earlier`, or `None` when `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn checked_duration_since(self, earlier: Instant) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }
}

/// `duration` in whole nanoseconds; [`u64::MAX`] when it does not fit (584 years).
#[inline]
#[must_use]
pub const fn nanos(duration: Duration) -> u64 {
    // In 64 bits: `Duration::as_nanos` counts in 128, and this stands behind every `Instant + Duration`.
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(duration.subsec_nanos() as u64)
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(duration)))
    }
}

impl SubAssign<Duration> for Instant {
    #[inline]
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Instant::MAX {
            return f.write_str("never");
        }
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let start = Instant::from_nanos(5);
        assert_eq!((start + Duration::MAX), Instant::MAX);
        assert_eq!((start - Duration::from_secs(1)), Instant::ZERO);
        assert_eq!(
            Instant::ZERO.saturating_duration_since(start),
            Duration::ZERO
        );
        assert_eq!(Instant::ZERO.checked_duration_since(start), None);
        assert_eq!(
            (start + Duration::from_micros(2)).saturating_duration_since(start),
            Duration::from_micros(2)
        );
    }

    #[test]
    fn debug_reads_as_a_time() {
        assert_eq!(format!("{:?}", Instant::from_millis(1500)), "1.5s");
        assert_eq!(format!("{:?}", Instant::MAX), "never");
    }
}
