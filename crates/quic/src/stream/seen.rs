//! What happens to streams, for the tracer of whoever drives them.

use std::collections::VecDeque;

use weir_core::time::Duration;
use weir_core::trace::{Event, HeldBy};

use super::limits::MAX_SEEN;
use crate::wire::StreamId;

/// The protocol's name in traces.
const FAMILY: &str = "quic";

/// Events on their way to the connection's tracer. Nothing is noted, at the cost of one test, unless
/// somebody wants to see.
#[derive(Debug, Default)]
pub(super) struct Seen {
    wanted: bool,
    events: VecDeque<Event<'static>>,
}

impl Seen {
    pub(super) fn new(wanted: bool) -> Seen {
        Seen {
            wanted,
            events: VecDeque::new(),
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event<'static>> {
        self.events.pop_front()
    }

    #[inline]
    fn note(&mut self, event: impl FnOnce() -> Event<'static>) {
        if self.wanted {
            if self.events.len() >= MAX_SEEN {
                self.events.pop_front();
            }
            self.events.push_back(event());
        }
    }

    /// A half of a stream changed its state.
    #[inline]
    pub(super) fn state(
        &mut self,
        id: StreamId,
        old: &'static str,
        new: &'static str,
        trigger: &'static str,
    ) {
        self.note(|| Event::StreamState {
            family: FAMILY,
            stream: id.0,
            old,
            new,
            trigger,
        });
    }

    /// What holds a stream back changed.
    #[inline]
    pub(super) fn held(&mut self, id: StreamId, by: HeldBy) {
        self.note(|| Event::Held { stream: id.0, by });
    }

    /// A receive window may have been tuned.
    #[inline]
    pub(super) fn window(&mut self, id: StreamId, old: u64, new: u64, rtt: Option<Duration>) {
        if old != new {
            self.note(|| Event::WindowTuned {
                stream: id.0,
                old,
                new,
                rtt,
            });
        }
    }

    /// Bytes arrived that nobody will read.
    #[inline]
    pub(super) fn discarded(&mut self, id: StreamId, bytes: u64, why: &'static str) {
        if bytes > 0 {
            self.note(|| Event::Discarded {
                stream: id.0,
                bytes,
                why,
            });
        }
    }

    /// The peer did something more often than it may. A line for each would let it fill logs.
    pub(super) fn rate_limited(&mut self, what: &'static str, count: u64) {
        if count.is_power_of_two() {
            self.note(|| Event::RateLimited { what, count });
        }
    }
}
