//! Challenges that were sent on a path, and responses that wait to be (RFC 9000 section 8.2).

use weir_core::rng::{self, Rng};
use weir_core::time::{Duration, Instant};

use crate::limits::{MAX_OPEN_CHALLENGES, MAX_PENDING_RESPONSES};

/// What a PATH_CHALLENGE carries and its PATH_RESPONSE returns.
pub(crate) type PathData = [u8; 8];

#[derive(Copy, Clone, Debug)]
struct Open {
    data: PathData,
    /// Whether its datagram had 1200 bytes.
    expanded: bool,
}

/// A validation under way: a challenge at once, then at intervals that double, until it is answered
/// or given up.
#[derive(Clone, Debug)]
pub(crate) struct Validation {
    /// A challenge wants to go out.
    wanted: bool,
    /// The challenges an answer is taken for; the oldest is replaced.
    open: [Option<Open>; MAX_OPEN_CHALLENGES],
    sent: usize,
    interval: Duration,
    next_at: Instant,
    give_up_at: Instant,
}

impl Validation {
    /// Begins now. `pto` is the path's probe time-out, the first interval (RFC 9000 section 9.4);
    /// `patience` the time after which it is given up (section 8.2.4).
    pub(crate) fn new(now: Instant, pto: Duration, patience: Duration) -> Validation {
        Validation {
            wanted: true,
            open: [None; MAX_OPEN_CHALLENGES],
            sent: 0,
            interval: pto,
            next_at: Instant::MAX,
            give_up_at: now + patience,
        }
    }

    /// Whether a challenge wants to go out.
    #[inline]
    pub(crate) fn wants_challenge(&self) -> bool {
        self.wanted
    }

    /// The data of the challenge that goes out now, in a datagram of 1200 bytes if `expanded`.
    /// Never the same twice.
    pub(crate) fn challenge(&mut self, now: Instant, rng: &mut Rng, expanded: bool) -> PathData {
        let data = rng::next_u64(rng).to_be_bytes();
        if let Some(slot) = self.open.get_mut(self.sent % MAX_OPEN_CHALLENGES) {
            *slot = Some(Open { data, expanded });
        }
        self.sent = self.sent.wrapping_add(1);
        self.wanted = false;
        self.next_at = now + self.interval;
        self.interval = self.interval.saturating_mul(2);
        data
    }

    /// Whether `data` answers one of the challenges, and whether that one had 1200 bytes.
    pub(crate) fn answered_by(&self, data: &PathData) -> Option<bool> {
        let mut open = self.open.iter().flatten();
        Some(open.find(|challenge| challenge.data == *data)?.expanded)
    }

    /// When to call [`on_timeout`](Self::on_timeout).
    pub(crate) fn timeout(&self) -> Instant {
        self.next_at.min(self.give_up_at)
    }

    /// Returns true when it is to be given up.
    pub(crate) fn on_timeout(&mut self, now: Instant) -> bool {
        if self.next_at <= now {
            self.next_at = Instant::MAX;
            self.wanted = true;
        }
        self.give_up_at <= now
    }
}

/// Data of challenges that came on a path and want to be answered there. A flood costs the peer its
/// own older ones (RFC 9000 section 21.9).
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Responses {
    data: [PathData; MAX_PENDING_RESPONSES],
    len: usize,
}

impl Responses {
    /// Adds one; drops the oldest when there is no room.
    pub(crate) fn push(&mut self, data: PathData) {
        if self.iter().any(|waiting| *waiting == data) {
            return;
        }
        if self.len >= MAX_PENDING_RESPONSES {
            self.data.rotate_left(1);
            self.len = MAX_PENDING_RESPONSES - 1;
        }
        if let Some(slot) = self.data.get_mut(self.len) {
            *slot = data;
            self.len += 1;
        }
    }

    /// In the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PathData> {
        self.data.iter().take(self.len)
    }

    /// How many.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}
