//! The packets of one space that were sent and are neither acknowledged nor given up.

use std::collections::VecDeque;

use weir_core::delivery::PacketRate;
use weir_core::time::Instant;

use crate::path::PathId;
use crate::sent::SentFrame;

/// One sent packet. Its frames stand in a ring of their own, in the order of sending.
#[derive(Copy, Clone, Debug)]
pub(super) struct Packet {
    pub(super) pn: u64,
    pub(super) sent_at: Instant,
    /// The place in the order of sending on its path, all spaces together.
    pub(super) seq: u64,
    pub(super) rate: PacketRate,
    pub(super) path: PathId,
    /// The number of its first frame, counted since the ring began, modulo 2^32.
    first_frame: u32,
    frames: u16,
    /// Bytes as they count against the congestion window.
    pub(super) size: u16,
    pub(super) flags: Flags,
}

/// What is known of a packet.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const ACK_ELICITING: Flags = Flags(1);
    pub(super) const IN_FLIGHT: Flags = Flags(2);
    pub(super) const ECT0: Flags = Flags(4);
    pub(super) const MTU_PROBE: Flags = Flags(8);
    /// Acknowledged, lost or forgotten: the place waits for those before it.
    const DONE: Flags = Flags(16);
    const ACKED: Flags = Flags(32);

    pub(super) const fn with(self, other: Flags, on: bool) -> Flags {
        if on { Flags(self.0 | other.0) } else { self }
    }

    #[inline]
    pub(super) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl Packet {
    #[inline]
    pub(super) fn new(
        pn: u64,
        path: PathId,
        sent_at: Instant,
        size: u16,
        flags: Flags,
        (seq, rate): (u64, PacketRate),
    ) -> Packet {
        Packet {
            pn,
            sent_at,
            seq,
            rate,
            path,
            first_frame: 0,
            frames: 0,
            size,
            flags,
        }
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.flags.has(Flags::DONE)
    }

    #[inline]
    pub(super) fn is_acked(&self) -> bool {
        self.flags.has(Flags::ACKED)
    }

    #[inline]
    pub(super) fn is_in_flight(&self) -> bool {
        self.flags.has(Flags::IN_FLIGHT)
    }

    #[inline]
    pub(super) fn is_ack_eliciting(&self) -> bool {
        self.flags.has(Flags::ACK_ELICITING)
    }

    /// Lost, or of no interest any more.
    #[inline]
    pub(super) fn give_up(&mut self) {
        self.flags = Flags(self.flags.0 | Flags::DONE.0);
    }
}

/// Two rings: packets in the order of their numbers (which have gaps), and their frames. What is
/// done leaves from the front; loss detection makes everything that is more than a reordering
/// threshold below the largest acknowledged number leave, so that little is walked twice.
#[derive(Debug, Default)]
pub(super) struct SentPackets {
    packets: VecDeque<Packet>,
    frames: VecDeque<SentFrame>,
    /// The number of the first frame in the ring.
    frames_base: u32,
}

impl SentPackets {
    /// Adds a packet with a number larger than all before; `frames` are drained.
    #[inline]
    pub(super) fn push(&mut self, mut packet: Packet, frames: &mut Vec<SentFrame>) {
        packet.first_frame = self.frames_base.wrapping_add(self.frames.len() as u32);
        packet.frames = u16::try_from(frames.len()).unwrap_or(u16::MAX);
        match frames.as_slice() {
            // Nearly every packet of a transfer: one STREAM frame.
            [only] => {
                self.frames.push_back(*only);
                frames.clear();
            }
            _ => self.frames.extend(frames.drain(..)),
        }
        self.packets.push_back(packet);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The lowest packet number.
    #[inline]
    pub(super) fn first_pn(&self) -> Option<u64> {
        self.packets.front().map(|packet| packet.pn)
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Packet> {
        self.packets.get(index)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Packet> {
        self.packets.get_mut(index)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Packet> {
        self.packets.iter()
    }

    /// The place of the first packet whose number is at least `pn`. O(1) where no number is missing
    /// between the front and it, else O(log n).
    #[inline]
    pub(super) fn at_or_after(&self, pn: u64) -> usize {
        let Some(first) = self.first_pn() else {
            return 0;
        };
        let Some(distance) = pn.checked_sub(first) else {
            return 0;
        };
        let guess = usize::try_from(distance).unwrap_or(usize::MAX);
        if self.packets.get(guess).is_some_and(|there| there.pn == pn) {
            return guess;
        }
        // Numbers only grow from place to place: it is not behind the guess.
        self.packets.partition_point(|packet| packet.pn < pn)
    }

    /// Marks packets from `index` on acknowledged, as long as they are on `path`, not beyond `end`
    /// and `each` is told of them and their places; their frames go to `out`. Returns the place after the last.
    #[inline]
    pub(super) fn acknowledge(
        &mut self,
        index: usize,
        end: u64,
        path: PathId,
        out: &mut Vec<SentFrame>,
        mut each: impl FnMut(usize, &Packet),
    ) -> usize {
        let mut at = index;
        // Frames of packets that follow each other lie next to each other: one copy for a run.
        let (mut from, mut to) = (0usize, 0usize);
        for packet in self.packets.range_mut(index.min(self.packets.len())..) {
            if packet.pn > end || (packet.path != path && !packet.is_done()) {
                break;
            }
            let here = at;
            at = at.saturating_add(1);
            if packet.is_done() {
                continue;
            }
            packet.flags = Flags(packet.flags.0 | Flags::DONE.0 | Flags::ACKED.0);
            each(here, packet);
            let first = packet.first_frame.wrapping_sub(self.frames_base) as usize;
            if first != to {
                copy(&self.frames, from, to, out);
                from = first;
            }
            to = first.saturating_add(usize::from(packet.frames));
        }
        copy(&self.frames, from, to, out);
        at
    }

    /// Appends the frames of the packet at `index` to `out`.
    pub(super) fn copy_frames(&self, index: usize, out: &mut Vec<SentFrame>) {
        if let Some(packet) = self.packets.get(index) {
            let first = packet.first_frame.wrapping_sub(self.frames_base) as usize;
            let end = first.saturating_add(usize::from(packet.frames));
            copy(&self.frames, first, end, out);
        }
    }

    /// Lets go of what is done at the front.
    #[inline]
    pub(super) fn pop_done(&mut self) {
        let done = self.packets.iter().take_while(|packet| packet.is_done());
        let count = done.count();
        if count == 0 {
            return;
        }
        let frames = match self.packets.get(count) {
            Some(next) => next.first_frame.wrapping_sub(self.frames_base) as usize,
            None => self.frames.len(),
        };
        self.packets.drain(..count);
        self.frames.drain(..frames.min(self.frames.len()));
        self.frames_base = self.frames_base.wrapping_add(frames as u32);
    }

    /// Gives back the memory that is not in use.
    pub(super) fn shrink(&mut self) {
        self.packets.shrink_to_fit();
        self.frames.shrink_to_fit();
    }

    /// Bytes allocated.
    #[cfg(any(test, feature = "measure"))]
    pub(super) fn memory(&self) -> usize {
        let packets = self.packets.capacity().saturating_mul(size_of::<Packet>());
        let frames = self
            .frames
            .capacity()
            .saturating_mul(size_of::<SentFrame>());
        packets.saturating_add(frames)
    }
}

#[inline]
fn copy(ring: &VecDeque<SentFrame>, from: usize, to: usize, out: &mut Vec<SentFrame>) {
    let to = to.min(ring.len());
    if from >= to {
        return;
    }
    let (head, tail) = ring.as_slices();
    let split = head.len();
    out.extend_from_slice(head.get(from.min(split)..to.min(split)).unwrap_or_default());
    let (from, to) = (from.saturating_sub(split), to.saturating_sub(split));
    out.extend_from_slice(tail.get(from..to).unwrap_or_default());
}
