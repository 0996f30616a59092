//! Streams that this side opens.

use super::Session;
use super::timers::after;
use crate::error::OpenError;
use crate::limits::STREAM_COST;
use crate::state::State;
use crate::stream::{Stream, bit};
use weir_core::slab::Key;
use weir_core::time::Instant;

impl Session {
    /// Opens a stream. It can be written to at once: the SYN goes out with the first bytes, or by
    /// itself at the next flush (Y12, Y14).
    ///
    /// # Errors
    /// [`OpenError::Blocked`] while as many streams as the backlog allows wait for their ACK (Y19),
    /// or memory is short; others when there will be no stream any more.
    pub fn open(&mut self, now: Instant) -> Result<Key, OpenError> {
        if let Some(reason) = &self.closed {
            return Err(OpenError::Closed(reason.clone()));
        }
        if self.peer_gone.is_some() || self.going.is_some() {
            return Err(OpenError::GoAway);
        }
        if self.own_ids.are_used_up() {
            return Err(OpenError::Exhausted);
        }
        if self.unacked >= self.config.ack_backlog {
            self.news.wants_open = true;
            return Err(OpenError::Blocked);
        }
        if self.memory.try_reserve(STREAM_COST).is_err() {
            self.news.wants_open = true;
            self.clock.retry_memory(now);
            return Err(OpenError::Blocked);
        }
        let Some(id) = self.own_ids.take() else {
            return Err(OpenError::Exhausted);
        };
        let bits = bit::UNACKED | bit::OPEN_TIMER | bit::IN_OPENS;
        let key = self.streams.insert(Stream::new(id, State::Init, bits));
        self.by_id.insert(id, key);
        self.unacked = self.unacked.saturating_add(1);
        self.stats.streams_opened = self.stats.streams_opened.saturating_add(1);
        let streams = &self.streams;
        self.open_deadlines
            .arm(after(now, self.config.open_timeout), key, |key| {
                streams
                    .get(key)
                    .is_some_and(|stream| stream.bits.any(bit::OPEN_TIMER))
            });
        self.out.opens.push_back(key);
        self.widen(now, key);
        Ok(key)
    }

    /// Whether the peer has acknowledged a stream of this side (always true of the peer's own, and
    /// of one that is over). When not, [`Event::Opened`](crate::Event::Opened) follows.
    pub fn is_acknowledged(&mut self, key: Key) -> bool {
        let Some(stream) = self.streams.get_mut(key) else {
            return true;
        };
        let waits = stream.bits.any(bit::UNACKED);
        if waits {
            stream.bits.set(bit::WANTS_ACK);
        }
        !waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Role};
    use weir_core::budget::Budget;
    use weir_core::rng::rng_from_seed;

    #[test]
    fn a_session_whose_ids_are_used_up_opens_no_more_and_goes_on() {
        // Y22
        let budget = Budget::unlimited("process");
        let rng = rng_from_seed(1);
        let config = Config::default();
        let mut session = Session::new(Role::Server, config, &budget, rng, Instant::ZERO).unwrap();
        session.own_ids.skip_to((1 << 31) - 2);
        let last = session.open(Instant::ZERO).unwrap();
        assert_eq!(session.stream_id(last), Some(u32::MAX - 1));
        assert_eq!(session.open(Instant::ZERO), Err(OpenError::Exhausted));
        assert!(session.close_reason().is_none());
        session.reset(Instant::ZERO, last, 0);
        assert_eq!(session.open(Instant::ZERO), Err(OpenError::Exhausted));
    }
}
