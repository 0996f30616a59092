//! What the one above is told, and the wake-up's names.

use std::collections::VecDeque;
use weir_core::close::CloseReason;
use weir_core::slab::Key;

/// News for the application. An event about a stream is given once for each time that a call
/// said Blocked, however many frames brought it about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// `read` said Blocked and has something to say now.
    Readable(Key),
    /// `write` said Blocked and has something to say now.
    Writable(Key),
    /// `accept` said `None` and has a stream now.
    Acceptable,
    /// `open` said Blocked and has something to say now.
    OpenReady,
    /// `is_acknowledged` said no and the ACK is there now.
    Opened(Key),
    /// The stream was reset by the peer, a time-out or for want of memory, not by a call.
    StreamReset(Key),
    /// The peer takes no new streams; those that are open go on (Y47).
    GoAway(u32),
    /// The session is over. The last event; `Readable`, `Writable`, `OpenReady` and `Acceptable`
    /// that are owed come before it.
    Closed(CloseReason),
}

/// Why `handle_timeout` wants to be called.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Nothing came for a while: a ping is to be sent (Y46).
    KeepAlive,
    /// The ping should have been answered by now (Y46).
    PingAnswer,
    /// A stream should have been acknowledged by now (Y23).
    Open,
    /// A half-closed stream should have been ended by the peer by now (Y43).
    Close,
    /// The carrier should have taken something by now (Y51).
    Write,
    /// Writers that the memory budget held may try again.
    Memory,
    /// Enlarged receive windows are looked at.
    Windows,
}

/// Events that wait to be polled, and which of those without a stream are owed.
#[derive(Debug)]
pub(crate) struct News {
    queue: VecDeque<Event>,
    pub(crate) wants_accept: bool,
    pub(crate) wants_open: bool,
}

impl News {
    pub(crate) fn new() -> News {
        News {
            queue: VecDeque::new(),
            wants_accept: true,
            wants_open: false,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }

    #[inline]
    pub(crate) fn acceptable(&mut self) {
        if std::mem::take(&mut self.wants_accept) {
            self.push(Event::Acceptable);
        }
    }

    #[inline]
    pub(crate) fn open_ready(&mut self) {
        if std::mem::take(&mut self.wants_open) {
            self.push(Event::OpenReady);
        }
    }
}
