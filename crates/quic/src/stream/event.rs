//! What the one above is told.

use std::collections::VecDeque;

use weir_core::slab::Key;

use super::ids::PerDir;
use crate::wire::Dir;

/// News of streams. An event about a stream is given once for each time that a call said Blocked,
/// however many frames brought it about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    /// `read` said Blocked and has something to say now.
    Readable(Key),
    /// `write`, `poll_sent` or `poll_flushed` said no and has something to say now.
    Writable(Key),
    /// `accept` said `None` and has a stream of this kind now.
    Acceptable(Dir),
    /// `open` said Blocked and has something to say now.
    OpenReady(Dir),
    /// The peer reset its sending half, or the stream was let go for want of memory.
    StreamReset(Key),
    /// The peer wants no more of what is sent on the stream.
    Stopped(Key),
}

/// Events that wait to be polled, and which of those without a stream are owed.
#[derive(Debug)]
pub(super) struct News {
    queue: VecDeque<StreamEvent>,
    pub(super) wants_accept: PerDir<bool>,
    pub(super) wants_open: PerDir<bool>,
}

impl News {
    /// Gives back what is not in use.
    pub(super) fn rest(&mut self) {
        self.queue.shrink_to_fit();
    }

    pub(super) fn new() -> News {
        News {
            queue: VecDeque::new(),
            wants_accept: PerDir::new(true, true),
            wants_open: PerDir::new(false, false),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, event: StreamEvent) {
        self.queue.push_back(event);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<StreamEvent> {
        self.queue.pop_front()
    }

    #[inline]
    pub(super) fn acceptable(&mut self, dir: Dir) {
        if std::mem::take(self.wants_accept.get_mut(dir)) {
            self.push(StreamEvent::Acceptable(dir));
        }
    }

    #[inline]
    pub(super) fn open_ready(&mut self, dir: Dir) {
        if std::mem::take(self.wants_open.get_mut(dir)) {
            self.push(StreamEvent::OpenReady(dir));
        }
    }
}
