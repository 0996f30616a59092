//! "Keep the peer told of this value": latest value, once, until acknowledged.
//!
//! A limit, a reset or a window update needs no queue: only the newest value matters, it is sent
//! once, again if that was lost, and not at all when a newer one took its place. Over a carrier
//! that loses nothing, what was polled counts as acknowledged at once ([`Deliver::poll_reliable`]).

/// A value that the peer is to learn.
///
/// ```text
///            set(new)            poll()             on_acked(v)
/// Settled ------------> Pending ----------> InFlight ----------> Settled
///    ^                   |    ^               |
///    |     on_acked(v)   |    |  on_lost(v)   |
///    +-------------------+    +---------------+     set(new) from anywhere: Pending
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Deliver<T> {
    value: Option<T>,
    state: State,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    /// The peer knows `value`, or there is none.
    Settled,
    /// To be sent.
    Pending,
    /// Sent, neither acknowledged nor lost.
    InFlight,
}

impl<T: Copy + Eq> Default for Deliver<T> {
    fn default() -> Deliver<T> {
        Deliver::new()
    }
}

impl<T: Copy + Eq> Deliver<T> {
    /// Nothing to tell.
    #[must_use]
    pub const fn new() -> Deliver<T> {
        Deliver {
            value: None,
            state: State::Settled,
        }
    }

    /// The peer knows `value` without having been told: what the protocol or a handshake gave it.
    #[must_use]
    pub const fn known(value: T) -> Deliver<T> {
        Deliver {
            value: Some(value),
            state: State::Settled,
        }
    }

    /// The peer is to learn `value` instead of what was set before. Nothing happens when it is the
    /// same: that is known, on its way or waiting already.
    #[inline]
    pub fn set(&mut self, value: T) {
        if self.value != Some(value) {
            self.value = Some(value);
            self.state = State::Pending;
        }
    }

    /// The value to send now, if one is due. It counts as in flight from here.
    #[inline]
    #[must_use = "a value that was polled is taken to have been sent"]
    pub fn poll(&mut self) -> Option<T> {
        if self.state != State::Pending {
            return None;
        }
        self.state = State::InFlight;
        self.value
    }

    /// The value to send now over a carrier that loses nothing: it counts as known from here.
    #[inline]
    #[must_use = "a value that was polled is taken to have been sent"]
    pub fn poll_reliable(&mut self) -> Option<T> {
        let value = self.poll();
        if value.is_some() {
            self.state = State::Settled;
        }
        value
    }

    /// What carried `value` was acknowledged. An old value's acknowledgement changes nothing; the
    /// present one's settles it, also when it had been taken for lost.
    #[inline]
    pub fn on_acked(&mut self, value: T) {
        if self.value == Some(value) {
            self.state = State::Settled;
        }
    }

    /// What carried `value` was lost: it is sent again unless a newer one took its place.
    #[inline]
    pub fn on_lost(&mut self, value: T) {
        if self.value == Some(value) && self.state == State::InFlight {
            self.state = State::Pending;
        }
    }

    /// The peer need not learn it any more.
    #[inline]
    pub fn cancel(&mut self) {
        *self = Deliver::new();
    }

    /// The latest value, whatever the peer knows.
    #[inline]
    #[must_use]
    pub const fn value(&self) -> Option<T> {
        self.value
    }

    /// True when there is something to send.
    #[inline]
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending)
    }

    /// True when the peer knows the latest value, or there is none.
    #[inline]
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, State::Settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once_until_acknowledged() {
        let mut limit = Deliver::known(10);
        limit.set(10);
        assert_eq!(limit.poll(), None);
        limit.set(20);
        assert_eq!((limit.poll(), limit.poll()), (Some(20), None));
        assert!(!limit.is_settled());
        limit.set(20);
        assert_eq!(limit.poll(), None);
        limit.on_acked(20);
        assert!(limit.is_settled());
    }

    #[test]
    fn lost_is_sent_again_unless_superseded() {
        let mut limit = Deliver::new();
        limit.set(1);
        assert_eq!(limit.poll(), Some(1));
        limit.on_lost(1);
        assert_eq!(limit.poll(), Some(1));
        limit.set(2);
        limit.on_lost(1);
        assert_eq!((limit.poll(), limit.poll()), (Some(2), None));
        limit.on_acked(1);
        assert!(!limit.is_settled());
    }

    #[test]
    fn a_late_acknowledgement_settles_what_seemed_lost() {
        let mut reset = Deliver::new();
        reset.set('r');
        assert_eq!(reset.poll(), Some('r'));
        reset.on_lost('r');
        reset.on_acked('r');
        assert!(reset.is_settled() && reset.poll().is_none());
        reset.on_lost('r');
        assert!(!reset.is_pending());
    }

    #[test]
    fn over_a_reliable_carrier_sending_settles() {
        let mut window = Deliver::new();
        assert_eq!(window.poll_reliable(), None);
        window.set(5);
        assert_eq!(window.poll_reliable(), Some(5));
        assert!(window.is_settled());
        window.set(6);
        window.cancel();
        assert_eq!((window.poll_reliable(), window.value()), (None, None));
    }
}
