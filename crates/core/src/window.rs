//! Flow-control credit: the one place that knows it.
//!
//! Both halves count in absolute 64-bit offsets, as RFC 9000 section 4.1 does: how far the sender
//! may go, how far it went, how far the reader came. A protocol that speaks in increments announces
//! the difference. With offsets there is no counter that could be added to twice or run below zero.
//!
//! # How large a receive window should be
//! A sender with a window of W bytes moves at most W per round trip, so a window below bandwidth
//! times delay throttles it, and one far above only lets memory be filled. The receiver sees both:
//! when its reader consumes a whole window in less than two round trips, the window was (nearly) the
//! limit and is doubled; when in a long stretch not a quarter of it was consumed, it is halved. Growth
//! comes out of the memory [budget](crate::budget), by a share that leaves as much free for others as
//! it takes, and when the budget runs short windows shrink again.
//!
//! # What is charged
//! The first `initial` bytes of a window are what every stream has; the peer may use them from the
//! start and they cost nothing until bytes arrive. A [`Share`] holds max(`size - initial`, `buffered`):
//! the growth is paid before it is announced, and bytes are paid when they arrive. So bytes buffered
//! never exceed what the budget granted, whatever peers do. Credit is never taken back (RFC 9000
//! section 4.1): a shrunk window announces nothing until the reader has caught up.

#![deny(clippy::arithmetic_side_effects)]

use crate::budget::{Budget, BudgetExceeded, Share, fair_cap};
use crate::limits::{MAX_OFFSET, OutOfRange, check_range};
use crate::time::{Duration, Instant, nanos};

/// A rule of flow control was broken, by the peer or by the caller.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// More was to be sent than there is credit for. The caller's fault; nothing was consumed.
    #[error("{wanted} bytes to send with credit for {available}")]
    Blocked {
        /// Bytes that were to be sent.
        wanted: u64,
        /// Credit there is, in bytes.
        available: u64,
    },
    /// The peer granted more credit than the protocol can count.
    #[error("credit grew to {credit} bytes, the most is {most}")]
    Overflow {
        /// The credit it would have come to, in bytes.
        credit: u64,
        /// The most that it may be, in bytes.
        most: u64,
    },
    /// The peer sent more than it had credit for.
    #[error("data up to offset {offset}, the limit is {limit}")]
    Exceeded {
        /// The offset behind the last byte it sent.
        offset: u64,
        /// The offset it might have gone to.
        limit: u64,
    },
}

/// Credit to send. 16 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendWindow {
    sent: u64,
    limit: u64,
}

impl SendWindow {
    /// Credit for the first `initial` bytes.
    #[must_use]
    pub const fn new(initial: u64) -> SendWindow {
        let limit = if initial > MAX_OFFSET {
            MAX_OFFSET
        } else {
            initial
        };
        SendWindow { sent: 0, limit }
    }

    /// Bytes that may be sent now.
    #[inline]
    #[must_use]
    pub const fn available(&self) -> u64 {
        self.limit.saturating_sub(self.sent)
    }

    /// Bytes sent so far.
    #[inline]
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The offset up to which the peer lets us send.
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Uses credit for `bytes` that are sent now.
    ///
    /// # Errors
    /// [`WindowError::Blocked`] when there is not enough; none is used then.
    #[inline]
    pub fn consume(&mut self, bytes: u64) -> Result<(), WindowError> {
        let available = self.available();
        if bytes > available {
            let wanted = bytes;
            return Err(WindowError::Blocked { wanted, available });
        }
        self.sent = self.sent.saturating_add(bytes);
        Ok(())
    }

    /// The peer granted `delta` bytes more.
    ///
    /// # Errors
    /// [`WindowError::Overflow`] when that passes [`MAX_OFFSET`]; nothing changes then.
    #[inline]
    pub fn grant(&mut self, delta: u64) -> Result<(), WindowError> {
        self.grant_capped(delta, u64::MAX)
    }

    /// The peer granted `delta` bytes more, in a protocol whose credit is at most `max` at a time.
    ///
    /// # Errors
    /// [`WindowError::Overflow`] when the credit would pass `max` or the offset [`MAX_OFFSET`];
    /// nothing changes then.
    #[inline]
    pub fn grant_capped(&mut self, delta: u64, max: u64) -> Result<(), WindowError> {
        let most = max.min(MAX_OFFSET.saturating_sub(self.sent));
        let credit = self.available().saturating_add(delta);
        if credit > most {
            return Err(WindowError::Overflow { credit, most });
        }
        self.limit = self.limit.saturating_add(delta);
        Ok(())
    }

    /// The peer lets us send up to an offset (MAX_DATA, RFC 9000 section 19.9). True when that is
    /// news; an offset not above the present one is an old announcement and ignored.
    #[inline]
    pub fn set_limit(&mut self, offset: u64) -> bool {
        let grown = offset > self.limit;
        if grown {
            self.limit = offset.min(MAX_OFFSET);
        }
        grown
    }
}

/// How receive windows of one kind behave. One for many windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// What the peer may send before it hears of more, in bytes; a window never shrinks below.
    pub initial: u64,
    /// What a window may grow to, in bytes. Equal to `initial`: it stays as it is.
    pub max: u64,
    /// A window is doubled when a whole one was consumed in less than this many round trips.
    ///
    /// 2 by default: a sender held by the window alone consumes one a round trip, so 2 leaves a
    /// margin for acknowledgements that come late, and stops at twice bandwidth times delay.
    pub grow_within_rtts: u32,
    /// A window is halved when in this many round trips less than a quarter of it was consumed.
    /// 8 by default: then it was at least 32 times what the round trip needed.
    pub shrink_after_rtts: u32,
    /// The least time before that is judged. 1 s by default: pauses of an application that is
    /// otherwise fast are often shorter.
    pub shrink_after: Duration,
}

impl WindowConfig {
    /// The default behaviour between two sizes in bytes.
    #[must_use]
    pub const fn new(initial: u64, max: u64) -> WindowConfig {
        WindowConfig {
            initial,
            max,
            grow_within_rtts: 2,
            shrink_after_rtts: 8,
            shrink_after: Duration::from_secs(1),
        }
    }

    /// Checks the figures.
    ///
    /// # Errors
    /// [`OutOfRange`] with the field's name: `initial` from 1 byte, `max` from `initial` to
    /// [`MAX_OFFSET`], `grow_within_rtts` from 1, `shrink_after_rtts` above it.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        check_range("initial", self.initial, 1, MAX_OFFSET)?;
        check_range("max", self.max, self.initial, MAX_OFFSET)?;
        check_range(
            "grow_within_rtts",
            u64::from(self.grow_within_rtts),
            1,
            1000,
        )?;
        let least = u64::from(self.grow_within_rtts).saturating_add(1);
        check_range(
            "shrink_after_rtts",
            u64::from(self.shrink_after_rtts),
            least,
            1_000_000,
        )
    }

    /// How long a stretch of little use must be before a window is halved.
    fn stretch(&self, rtt: Option<Duration>) -> Duration {
        let rtts = rtt
            .unwrap_or_default()
            .saturating_mul(self.shrink_after_rtts);
        rtts.max(self.shrink_after)
    }
}

/// Credit given to the peer, and when to give more. 48 bytes.
///
/// # How it is driven
/// [`on_received`](RecvWindow::on_received) when bytes arrive, then [`charge`](RecvWindow::charge);
/// [`on_consumed`](RecvWindow::on_consumed) when the reader took some, then
/// [`poll_update`](RecvWindow::poll_update), and send what it returns. A window that
/// [was grown](RecvWindow::is_grown) and fell idle is polled now and then too (once a second is
/// often enough), so that it gives its memory back. At the end the owner shrinks the share to 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecvWindow {
    /// Offset behind the last byte received.
    received: u64,
    /// Offset behind the last byte consumed. `consumed <= received <= announced`.
    consumed: u64,
    /// Offset up to which the peer may send. Never falls.
    announced: u64,
    /// How far ahead of `consumed` the peer should be allowed now.
    size: u64,
    /// When the present measurement began; `Instant::MAX` before the first.
    epoch_start: Instant,
    /// `consumed` at that time.
    epoch_offset: u64,
}

impl RecvWindow {
    /// A window of which the peer knows `initial` bytes from the start.
    #[must_use]
    pub const fn new(initial: u64) -> RecvWindow {
        let initial = if initial > MAX_OFFSET {
            MAX_OFFSET
        } else {
            initial
        };
        RecvWindow {
            received: 0,
            consumed: 0,
            announced: initial,
            size: initial,
            epoch_start: Instant::MAX,
            epoch_offset: 0,
        }
    }

    /// `bytes` more arrived, in order.
    ///
    /// # Errors
    /// [`WindowError::Exceeded`] when the peer had not that much credit; nothing is counted then.
    #[inline]
    pub fn on_received(&mut self, bytes: u64) -> Result<(), WindowError> {
        let offset = self.received.saturating_add(bytes);
        self.on_received_to(offset).map(drop)
    }

    /// Bytes up to `offset` arrived, perhaps with gaps before. Returns by how many bytes that is
    /// farther than before.
    ///
    /// # Errors
    /// [`WindowError::Exceeded`] when the peer had not that much credit; nothing is counted then.
    #[inline]
    pub fn on_received_to(&mut self, offset: u64) -> Result<u64, WindowError> {
        if offset > self.announced {
            let limit = self.announced;
            return Err(WindowError::Exceeded { offset, limit });
        }
        let farther = offset.saturating_sub(self.received);
        self.received = self.received.max(offset);
        Ok(farther)
    }

    /// The reader took `bytes`, or they were thrown away. More than is buffered counts as all.
    #[inline]
    pub fn on_consumed(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.buffered(), "consumed more than was received");
        self.consumed = self.consumed.saturating_add(bytes).min(self.received);
    }

    /// Bytes received and not consumed.
    #[inline]
    #[must_use]
    pub const fn buffered(&self) -> u64 {
        self.received.saturating_sub(self.consumed)
    }

    /// Bytes the peer may still send.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.announced.saturating_sub(self.received)
    }

    /// The size that is aimed at now, in bytes.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes received so far.
    #[inline]
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes consumed so far.
    #[inline]
    #[must_use]
    pub const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The offset up to which the peer may send.
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.announced
    }

    /// True when it is larger than it need be: worth polling though nothing arrives.
    #[inline]
    #[must_use]
    pub const fn is_grown(&self, config: &WindowConfig) -> bool {
        self.size > config.initial
    }

    /// Makes the share hold what is buffered. To be called when bytes arrived.
    ///
    /// # Errors
    /// [`BudgetExceeded`] when there is no room: the engine lets something go.
    #[inline]
    pub fn charge(&self, budget: &Budget, share: &mut Share) -> Result<(), BudgetExceeded> {
        share.grow_to(budget, self.buffered())
    }

    /// True when [`poll_update`](RecvWindow::poll_update) would announce something as things stand.
    #[inline]
    #[must_use]
    pub const fn update_due(&self) -> bool {
        let due = self.due();
        // The delta rule: an update for less than half a window costs more than it helps.
        due > 0 && due >= self.size.saturating_sub(due)
    }

    /// Tunes the window and returns the credit to announce now, in bytes, if any.
    ///
    /// `rtt` is the smoothed round trip time, when it was measured: without it nothing grows.
    /// Credit is announced when it comes to half a window at least. The share is shrunk to what is
    /// needed and, if the window grows, grown.
    #[inline]
    pub fn poll_update(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        config: &WindowConfig,
        budget: &Budget,
        share: &mut Share,
    ) -> Option<u64> {
        self.poll_update_with(now, || rtt, config, budget, (share, 0))
    }

    /// As [`poll_update`](RecvWindow::poll_update) for who reads in many small pieces: `rtt` is asked
    /// for only when a measurement may be ripe, and up to `slack` bytes that the share holds too much
    /// stay with it for what comes next: a budget is shared, and costs what shared things cost. The
    /// owner shrinks the share when nothing comes.
    #[inline]
    pub fn poll_update_with(
        &mut self,
        now: Instant,
        rtt: impl FnOnce() -> Option<Duration>,
        config: &WindowConfig,
        budget: &Budget,
        (share, slack): (&mut Share, u64),
    ) -> Option<u64> {
        if !self.is_steady(now, config) {
            self.tune(now, rtt(), config, budget, share);
        }
        let needed = self.needed(config);
        if share.held() > needed.saturating_add(slack) {
            share.shrink_to(budget, needed);
        }
        if !self.update_due() {
            return None;
        }
        let due = self.due();
        self.announced = self.announced.saturating_add(due);
        Some(due)
    }

    /// The credit that could be announced, however little, in bytes; it counts as announced. For a
    /// peer that says it waits for it.
    pub fn announce_all(&mut self) -> Option<u64> {
        let due = self.due();
        self.announced = self.announced.saturating_add(due);
        (due > 0).then_some(due)
    }

    /// Makes the window `size` bytes at least (at most `config.max`) at once, as when the user
    /// configured more than the protocol starts with. False, and nothing changes, when the budget
    /// has no room for it.
    pub fn raise(
        &mut self,
        size: u64,
        config: &WindowConfig,
        budget: &Budget,
        share: &mut Share,
    ) -> bool {
        let size = size.min(config.max);
        if size <= self.size {
            return true;
        }
        let needed = size.saturating_sub(config.initial).max(self.buffered());
        let granted = share.grow_to(budget, needed).is_ok();
        if granted {
            self.size = size;
        }
        granted
    }

    /// Shrinks the share to what it must hold: for an owner that fell idle.
    #[inline]
    pub fn trim(&self, config: &WindowConfig, budget: &Budget, share: &mut Share) {
        share.shrink_to(budget, self.needed(config));
    }

    /// What the share must hold.
    #[inline]
    const fn needed(&self, config: &WindowConfig) -> u64 {
        let grown = self.size.saturating_sub(config.initial);
        let buffered = self.buffered();
        if grown > buffered { grown } else { buffered }
    }

    /// Credit that could be announced.
    #[inline]
    const fn due(&self) -> u64 {
        let target = self.consumed.saturating_add(self.size);
        let target = if target > MAX_OFFSET {
            MAX_OFFSET
        } else {
            target
        };
        target.saturating_sub(self.announced)
    }

    /// True while a measurement is under way that cannot be ripe, whatever the round trip time is.
    #[inline]
    fn is_steady(&self, now: Instant, config: &WindowConfig) -> bool {
        self.size <= config.initial
            && self.consumed.saturating_sub(self.epoch_offset) < self.size
            && self.epoch_start != Instant::MAX
            && now.nanos_since(self.epoch_start) < nanos(config.shrink_after)
    }

    /// Judges the measurement under way, if it is ripe, and grows or shrinks the window.
    fn tune(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        config: &WindowConfig,
        budget: &Budget,
        share: &mut Share,
    ) {
        if config.max <= config.initial {
            return;
        }
        if self.epoch_start == Instant::MAX {
            self.start_epoch(now);
            return;
        }
        let used = self.consumed.saturating_sub(self.epoch_offset);
        let elapsed = now.saturating_duration_since(self.epoch_start);
        if used >= self.size {
            self.start_epoch(now);
            if budget.is_short() {
                self.shrink(config);
            } else if rtt.is_some_and(|rtt| elapsed < rtt.saturating_mul(config.grow_within_rtts)) {
                self.grow(config, budget, share);
            }
        } else if self.is_grown(config) {
            self.consider_shrinking(now, (used, elapsed), rtt, config, budget);
        } else if elapsed >= config.stretch(rtt) {
            // Nothing to shrink; a measurement that began long ago would hide a burst that begins
            // now.
            self.start_epoch(now);
        }
    }

    /// Less than a window was consumed since the measurement began: is that too little?
    fn consider_shrinking(
        &mut self,
        now: Instant,
        (used, elapsed): (u64, Duration),
        rtt: Option<Duration>,
        config: &WindowConfig,
        budget: &Budget,
    ) {
        let ripe = elapsed >= config.stretch(rtt);
        // In need, once per announcement: then it has an effect, and the others' turn comes too.
        let announcing = self.update_due() && used >= self.size / 2;
        if (ripe || announcing) && budget.is_short() {
            self.start_epoch(now);
            self.shrink(config);
        } else if ripe {
            self.start_epoch(now);
            if used < self.size / 4 {
                self.shrink(config);
            }
        }
    }

    /// Doubles the window, within its maximum and what is fair to take of the budget. What the
    /// share holds too much afterwards is given back by [`poll_update`](RecvWindow::poll_update).
    fn grow(&mut self, config: &WindowConfig, budget: &Budget, share: &mut Share) {
        let fair = fair_cap(budget.available(), share.held());
        let doubled = self.size.saturating_mul(2).min(config.max);
        let size = doubled.min(config.initial.saturating_add(fair));
        // Less than an eighth would change nothing but make an event of every measurement.
        if size.saturating_sub(self.size) < self.size.div_ceil(8) {
            return;
        }
        let before = self.size;
        if self.raise(size, config, budget, share) && budget.is_short() {
            // Growth that makes others shrink would only go to and fro.
            self.size = before;
        }
    }

    /// Halves the window, down to its initial size. What the peer was told stands.
    fn shrink(&mut self, config: &WindowConfig) {
        self.size = (self.size / 2).max(config.initial).min(self.size);
    }

    #[inline]
    fn start_epoch(&mut self, now: Instant) {
        // `Instant::MAX` means that there is no measurement.
        self.epoch_start = now.min(Instant::from_nanos(u64::MAX - 1));
        self.epoch_offset = self.consumed;
    }
}
