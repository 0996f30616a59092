//! When to wake up: the named timers of one connection, and a wheel over many connections.

mod wheel;

use core::fmt;
use core::marker::PhantomData;

pub use wheel::Wheel;

use crate::time::Instant;

/// The timers that one engine has: a small enum, each variant with a line that says what it is for.
///
/// ```
/// use weir_core::time::Instant;
/// use weir_core::timer::{TimerKind, Timers};
///
/// #[derive(Copy, Clone, Debug, PartialEq)]
/// enum Timer {
///     /// Nothing was heard for too long.
///     Idle,
///     /// Time to ask whether the peer is there.
///     Keepalive,
/// }
///
/// impl TimerKind for Timer {
///     const COUNT: usize = 2;
///     fn index(self) -> usize {
///         self as usize
///     }
///     fn from_index(index: usize) -> Option<Timer> {
///         [Timer::Idle, Timer::Keepalive].get(index).copied()
///     }
/// }
///
/// let mut timers = Timers::<Timer, { Timer::COUNT }>::new();
/// timers.set(Timer::Idle, Instant::from_millis(30));
/// timers.set(Timer::Keepalive, Instant::from_millis(10));
/// assert_eq!(timers.next(), Some((Instant::from_millis(10), Timer::Keepalive)));
/// assert_eq!(timers.pop_expired(Instant::from_millis(20)), Some(Timer::Keepalive));
/// assert_eq!(timers.pop_expired(Instant::from_millis(20)), None);
/// ```
pub trait TimerKind: Copy {
    /// How many kinds there are.
    const COUNT: usize;

    /// This kind's number, below [`COUNT`](TimerKind::COUNT), another for each.
    fn index(self) -> usize;

    /// The kind with a number; `None` from [`COUNT`](TimerKind::COUNT) on.
    fn from_index(index: usize) -> Option<Self>;
}

/// The timers of one connection: for each kind, when it is to go off, if at all.
///
/// `N` is `K::COUNT`, which is checked when the program is compiled. Eight bytes a timer; every
/// call looks at `N` of them at most, and `N` is a handful.
#[derive(Clone, PartialEq, Eq)]
pub struct Timers<K, const N: usize> {
    /// `Instant::MAX` while stopped.
    deadlines: [Instant; N],
    kind: PhantomData<K>,
}

impl<K: TimerKind, const N: usize> Default for Timers<K, N> {
    fn default() -> Timers<K, N> {
        Timers::new()
    }
}

impl<K: TimerKind, const N: usize> Timers<K, N> {
    const COUNT_IS_N: () = assert!(K::COUNT == N, "N is the number of kinds");

    /// All stopped.
    #[must_use]
    pub const fn new() -> Timers<K, N> {
        let () = Self::COUNT_IS_N;
        Timers {
            deadlines: [Instant::MAX; N],
            kind: PhantomData,
        }
    }

    /// Sets a timer, whether it was set before or not. [`Instant::MAX`] stops it.
    #[inline]
    pub fn set(&mut self, kind: K, at: Instant) {
        if let Some(deadline) = self.deadlines.get_mut(kind.index()) {
            *deadline = at;
        }
    }

    /// Sets a timer that is not set, and leaves one that is.
    #[inline]
    pub fn set_if_stopped(&mut self, kind: K, at: Instant) {
        if self.get(kind).is_none() {
            self.set(kind, at);
        }
    }

    /// Stops a timer.
    #[inline]
    pub fn stop(&mut self, kind: K) {
        self.set(kind, Instant::MAX);
    }

    /// Stops all.
    pub fn stop_all(&mut self) {
        self.deadlines = [Instant::MAX; N];
    }

    /// When a timer is to go off, if it is set.
    #[inline]
    #[must_use]
    pub fn get(&self, kind: K) -> Option<Instant> {
        let at = self.deadlines.get(kind.index()).copied()?;
        (at != Instant::MAX).then_some(at)
    }

    /// When the next is to go off; [`Instant::MAX`] when none is set.
    #[inline]
    #[must_use]
    pub fn next_at(&self) -> Instant {
        let all = self.deadlines.iter();
        all.fold(Instant::MAX, |first, at| first.min(*at))
    }

    /// The next to go off, and when. Of several at the same time, the one of the lowest number.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Option<(Instant, K)> {
        let set = self.deadlines.iter().enumerate();
        let (index, at) = set.min_by_key(|(_, at)| **at)?;
        if *at == Instant::MAX {
            return None;
        }
        Some((*at, K::from_index(index)?))
    }

    /// Takes the next that is due by `now`, earliest first; it is stopped then.
    #[inline]
    pub fn pop_expired(&mut self, now: Instant) -> Option<K> {
        if self.next_at() > now {
            return None;
        }
        let (_, kind) = self.next()?;
        self.stop(kind);
        Some(kind)
    }
}

impl<K: TimerKind + fmt::Debug, const N: usize> fmt::Debug for Timers<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.deadlines.iter().enumerate();
        let set = set.filter(|(_, at)| **at != Instant::MAX);
        let named = set.filter_map(|(index, at)| Some((K::from_index(index)?, at)));
        f.debug_map().entries(named).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Copy, Clone, Debug, PartialEq)]
    enum Kind {
        A,
        B,
        C,
    }

    impl TimerKind for Kind {
        const COUNT: usize = 3;

        fn index(self) -> usize {
            self as usize
        }

        fn from_index(index: usize) -> Option<Kind> {
            [Kind::A, Kind::B, Kind::C].get(index).copied()
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn each_goes_off_once_earliest_first() {
        let mut timers = Timers::<Kind, 3>::new();
        assert_eq!((timers.next(), timers.next_at()), (None, Instant::MAX));
        timers.set(Kind::C, at(5));
        timers.set(Kind::A, at(9));
        timers.set(Kind::B, at(5));
        timers.set_if_stopped(Kind::A, at(1));
        assert_eq!(timers.next(), Some((at(5), Kind::B)));
        assert_eq!(timers.next_at(), at(5));
        assert_eq!(timers.pop_expired(at(4)), None);
        assert_eq!(timers.pop_expired(at(6)), Some(Kind::B));
        assert_eq!(timers.pop_expired(at(6)), Some(Kind::C));
        assert_eq!(timers.pop_expired(at(6)), None);
        assert_eq!(
            (timers.get(Kind::A), timers.get(Kind::B)),
            (Some(at(9)), None)
        );
        timers.stop(Kind::A);
        assert_eq!(timers.pop_expired(Instant::MAX), None);
        assert_eq!(format!("{timers:?}"), "{}");
    }
}
