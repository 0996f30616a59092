//! Recovery periods: one reduction each, and whether it was deserved.

use crate::time::Instant;

/// The recovery period of a window-based controller (RFC 9002 7.3.2): it begins with a loss or a
/// mark and ends when a packet sent after that is acknowledged. Losses of packets sent before its
/// beginning belong to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Recovery {
    /// When the last one began.
    start: Option<Instant>,
    /// When the one before it began, to return to when the last turns out undeserved.
    before: Option<Instant>,
    is_active: bool,
    /// Bytes lost in the last one that have not turned up since.
    missing: u64,
    /// False once the last one has another cause than losses that may still turn up.
    is_undoable: bool,
}

/// What began a recovery period.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// So many bytes are thought lost.
    Loss(u64),
    /// A mark, which is never undone: a router said it.
    Mark,
}

impl Recovery {
    /// Whether the fate of a packet sent at `sent_at` belongs to the last recovery period.
    #[inline]
    pub(super) fn covers(&self, sent_at: Instant) -> bool {
        self.start.is_some_and(|start| sent_at <= start)
    }

    /// Whether one is running.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.is_active
    }

    /// A sign of congestion on a packet sent at `sent_at`. True when it begins a new period, so
    /// that the window is to be reduced.
    pub(super) fn on_congestion(&mut self, now: Instant, sent_at: Instant, cause: Cause) -> bool {
        let is_new = !self.covers(sent_at);
        if is_new {
            self.before = self.start;
            self.start = Some(now);
            self.is_active = true;
            self.missing = 0;
            self.is_undoable = true;
        }
        match cause {
            Cause::Loss(bytes) => self.missing = self.missing.saturating_add(bytes),
            Cause::Mark => self.is_undoable = false,
        }
        is_new
    }

    /// An acknowledgement whose newest packet was sent at `sent_at`. True when it lies in the
    /// period, so that the window must not grow.
    #[inline]
    pub(super) fn on_ack(&mut self, sent_at: Instant) -> bool {
        let covers = self.covers(sent_at);
        self.is_active &= covers;
        covers
    }

    /// Persistent congestion: what comes is a new start (RFC 9002 B.8).
    pub(super) fn end_by_persistent_congestion(&mut self) {
        *self = Recovery::default();
    }

    /// A packet thought lost has turned up. True when it was the last one missing, so that the
    /// reduction is to be undone; the period is over then.
    pub(super) fn on_spurious_loss(&mut self, bytes: u64, sent_at: Instant) -> bool {
        let is_older = self.before.is_some_and(|before| sent_at <= before);
        if !self.is_undoable || is_older || !self.covers(sent_at) {
            return false;
        }
        self.missing = self.missing.saturating_sub(bytes);
        if self.missing > 0 {
            return false;
        }
        self.start = self.before.take();
        self.is_active = false;
        self.is_undoable = false;
        true
    }
}
