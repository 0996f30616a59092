//! Stream numbers: which were opened, which may be, which are over.

use weir_core::deliver::Deliver;
use weir_core::ranges::RangeSet;

use crate::stream::limits::REMEMBERED_SIZES;
use crate::wire::frame::MAX_STREAM_COUNT;
use crate::wire::{Dir, StreamId};

/// One value for each kind of stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct PerDir<T> {
    bi: T,
    uni: T,
}

impl<T> PerDir<T> {
    pub(super) const fn new(bi: T, uni: T) -> PerDir<T> {
        PerDir { bi, uni }
    }

    #[inline]
    pub(super) const fn get(&self, dir: Dir) -> &T {
        match dir {
            Dir::Bi => &self.bi,
            Dir::Uni => &self.uni,
        }
    }

    #[inline]
    pub(super) const fn get_mut(&mut self, dir: Dir) -> &mut T {
        match dir {
            Dir::Bi => &mut self.bi,
            Dir::Uni => &mut self.uni,
        }
    }
}

/// Streams of one kind that this side opens.
#[derive(Debug, Default)]
pub(super) struct OwnIds {
    /// Number of the next.
    pub(super) next: u64,
    /// Numbers below it are permitted. Only grows (RFC 9000 section 4.6).
    pub(super) limit: u64,
    /// STREAMS_BLOCKED with the limit it is about.
    pub(super) blocked: Deliver<u64>,
}

/// Streams of one kind that the peer opens.
///
/// Opening one opens all of lower numbers (RFC 9000 section 2.1). Those are kept as ranges until a
/// frame for them comes or they are accepted, so a stream that was permitted or implied but never
/// touched costs nothing.
#[derive(Debug)]
pub(super) struct PeerIds {
    /// One more than the highest number opened.
    pub(super) next: u64,
    /// Opened only because a higher one was. Bounded by how many may be open.
    untouched: RangeSet,
    /// Numbers below were handed to the application, or were over before.
    next_accepted: u64,
    /// Numbers from here on are refused.
    pub(super) accept_until: u64,
    /// How many may be open at once.
    most: u64,
    /// How many are over, as far as the peer is given new ones for them.
    ended: u64,
    /// How many are over for which it is not yet.
    pub(super) withheld: u64,
    /// MAX_STREAMS.
    pub(super) limit: Deliver<u64>,
}

/// What a number of the peer's means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// A frame for it comes for the first time.
    New,
    /// It is known, or over.
    Before,
    /// It is over the limit.
    OverLimit,
}

impl PeerIds {
    pub(super) fn new(most: u64) -> PeerIds {
        let most = most.min(MAX_STREAM_COUNT);
        PeerIds {
            next: 0,
            untouched: RangeSet::new(usize::MAX),
            next_accepted: 0,
            accept_until: u64::MAX,
            most,
            ended: 0,
            withheld: 0,
            limit: Deliver::known(most),
        }
    }

    /// The limit that the peer was told last.
    #[inline]
    pub(super) fn limit(&self) -> u64 {
        self.limit.value().unwrap_or(0)
    }

    /// A frame for `number` came, whose stream has no slot.
    pub(super) fn touch(&mut self, number: u64) -> Opened {
        if number >= self.limit() {
            return Opened::OverLimit;
        }
        if number >= self.next {
            self.untouched.insert(self.next..number);
            self.next = number.saturating_add(1);
            return Opened::New;
        }
        if !self.untouched.contains(number) {
            return Opened::Before;
        }
        self.untouched.remove(number..number.saturating_add(1));
        Opened::New
    }

    /// The next number to be accepted, if it was opened; and whether it was never touched, which it
    /// is now.
    pub(super) fn accept(&mut self) -> Option<(u64, bool)> {
        let number = self.next_accepted;
        if number >= self.next.min(self.accept_until) {
            return None;
        }
        self.next_accepted = number.saturating_add(1);
        let untouched = self.untouched.contains(number);
        if untouched {
            self.untouched.remove(number..self.next_accepted);
        }
        Some((number, untouched))
    }

    /// A stream is over and its slot is free.
    pub(super) fn on_ended(&mut self, withhold: bool) {
        if withhold {
            self.withheld = self.withheld.saturating_add(1);
        } else {
            self.ended = self.ended.saturating_add(1);
            // In batches of a quarter: a frame for every stream would be one too many, and with
            // three quarters left the peer does not stall.
            let batch = (self.most / 4).max(1);
            if self.due() >= batch {
                self.announce();
            }
        }
    }

    /// Some of what was withheld is given after all.
    pub(super) fn give_withheld(&mut self, count: u64) {
        let count = count.min(self.withheld);
        self.withheld = self.withheld.saturating_sub(count);
        self.ended = self.ended.saturating_add(count);
        self.announce();
    }

    /// Tells the peer of every stream that it may open, if that is news.
    pub(super) fn announce(&mut self) {
        let due = self.due();
        if due > 0 {
            self.limit.set(self.limit().saturating_add(due));
        }
    }

    fn due(&self) -> u64 {
        let target = self.ended.saturating_add(self.most).min(MAX_STREAM_COUNT);
        target.saturating_sub(self.limit())
    }
}

/// The final sizes of the streams that ended last. A late frame is checked against them (RFC 9000
/// section 4.5 asks for that as far as state is kept).
#[derive(Debug, Default)]
pub(super) struct EndedSizes {
    sizes: Vec<(StreamId, u64)>,
    oldest: usize,
}

impl EndedSizes {
    pub(super) fn push(&mut self, id: StreamId, size: u64) {
        if self.sizes.len() < REMEMBERED_SIZES {
            self.sizes.push((id, size));
        } else if let Some(oldest) = self.sizes.get_mut(self.oldest) {
            *oldest = (id, size);
            self.oldest = self.oldest.saturating_add(1) % REMEMBERED_SIZES;
        }
    }

    pub(super) fn get(&self, id: StreamId) -> Option<u64> {
        let found = self.sizes.iter().find(|(ended, _)| *ended == id);
        found.map(|(_, size)| *size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Q75, Q88
    #[test]
    fn lower_streams_are_opened_as_one_range() {
        let mut ids = PeerIds::new(1 << 40);
        assert_eq!(ids.touch(1 << 39), Opened::New);
        assert_eq!(ids.untouched.len(), 1);
        assert_eq!(ids.touch(7), Opened::New);
        assert_eq!(ids.touch(7), Opened::Before);
        assert_eq!(ids.touch(1 << 39), Opened::Before);
        assert_eq!(ids.touch(1 << 40), Opened::OverLimit);
        let accepted: Vec<_> = (0..9).filter_map(|_| ids.accept()).collect();
        assert_eq!(accepted[6..], [(6, true), (7, false), (8, true)]);
    }

    // Q85
    #[test]
    fn the_limit_is_raised_in_batches() {
        let mut ids = PeerIds::new(8);
        ids.on_ended(false);
        assert!(!ids.limit.is_pending());
        ids.announce();
        assert_eq!(ids.limit.poll(), Some(9));
        ids.on_ended(false);
        ids.on_ended(true);
        ids.on_ended(false);
        assert_eq!(ids.limit.poll(), Some(11));
        ids.give_withheld(5);
        assert_eq!((ids.limit.poll(), ids.withheld), (Some(12), 0));
    }

    #[test]
    fn the_limit_never_passes_what_an_id_can_say() {
        let mut ids = PeerIds::new(u64::MAX);
        ids.on_ended(false);
        ids.announce();
        assert_eq!(ids.limit(), MAX_STREAM_COUNT);
    }

    #[test]
    fn only_the_last_sizes_are_remembered() {
        let mut ended = EndedSizes::default();
        for number in 0..100 {
            ended.push(StreamId(number), number * 10);
        }
        assert_eq!(ended.sizes.len(), REMEMBERED_SIZES);
        assert_eq!(ended.get(StreamId(99)), Some(990));
        assert_eq!(ended.get(StreamId(99 - REMEMBERED_SIZES as u64)), None);
    }
}
