//! Frames into the batch.

use super::Session;
use super::transmit::stream_frame;
use crate::limits::COPY_BELOW;
use crate::state::Trigger;
use crate::stream::bit;
use crate::transmit::TransmitBuf;
use crate::wire::{Flags, FrameType, Header};
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::{Event as Trace, HeldBy, Level};

impl Session {
    /// Appends a header.
    #[inline]
    pub(super) fn emit(&mut self, now: Instant, out: &mut TransmitBuf, header: Header) {
        out.push_copied(&header.encode());
        self.stats.frames_sent = self.stats.frames_sent.saturating_add(1);
        if self.tracer.enabled(Level::Frame) {
            self.trace_sent(now, header);
        }
    }

    /// Appends one Data frame of at most `most` bytes, within the window (Y25), with `flag`; and, if
    /// it holds the last byte, the FIN in a frame of its own behind it.
    ///
    /// A FIN on the payload's own frame is legal and is taken (Y36), but it must not be sent:
    /// hashicorp/yamux and go-yamux wake the reader for it before they have the payload, and
    /// js-libp2p throws that payload away once its own half is closed. Twelve bytes more in the same
    /// write keep every byte.
    #[inline]
    pub(super) fn emit_data(
        &mut self,
        now: Instant,
        key: Key,
        flag: Flags,
        most: u32,
        out: &mut TransmitBuf,
    ) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let queued = stream.outgoing.len();
        let window = usize::try_from(stream.send.available()).unwrap_or(usize::MAX);
        let count = queued.min(window).min(most as usize);
        // At most `most`, a u32, so the cast keeps it.
        let length = count as u32;
        let fin = count == queued && stream.bits.any(bit::FIN_DUE);
        // Never more than is available, by the line above.
        let _enough = stream.send.consume(count as u64);
        let id = stream.id;
        self.emit(now, out, stream_frame(FrameType::Data, flag, id, length));
        self.gather(key, count, out);
        // Its memory is in use until it is written.
        self.batch.charged = self.batch.charged.saturating_add(count as u64);
        self.flag_sent(now, key, flag);
        if fin {
            self.emit(now, out, stream_frame(FrameType::Data, Flags::FIN, id, 0));
            self.fin_sent(now, key);
        } else {
            self.wake_writer(key);
            self.note_held(now, key);
        }
    }

    /// Moves `count` bytes of a stream's queue into the batch: small chunks by copy behind the
    /// header, large ones as slices as long as the batch takes slices.
    #[inline]
    fn gather(&mut self, key: Key, count: usize, out: &mut TransmitBuf) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let mut left = count;
        while left > 0 {
            let front = self.chunks.front(&stream.outgoing);
            let part = front.len().min(left);
            if part == 0 {
                return;
            }
            if part <= COPY_BELOW || out.slices_left() <= 2 {
                out.push_copied(front.get(..part).unwrap_or_default());
                self.chunks.consume(&mut stream.outgoing, part);
            } else if let Some(bytes) = self.chunks.pop(&mut stream.outgoing, part) {
                out.push_shared(bytes);
            }
            left = left.saturating_sub(part);
        }
    }

    /// The SYN or ACK went out.
    #[inline]
    pub(super) fn flag_sent(&mut self, now: Instant, key: Key, flag: Flags) {
        if flag == Flags::ACK {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.bits.clear(bit::ACK_DUE);
            }
            self.transition(now, key, Trigger::AckSent);
        }
    }

    /// Reports that the peer's window holds a stream that has more to send.
    #[inline]
    fn note_held(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.send.available() == 0 && !stream.outgoing.is_empty() && stream.bits.put(bit::HELD)
        {
            let stream = u64::from(stream.id);
            self.tracer.emit(now, || Trace::Held {
                stream,
                by: HeldBy::PeerWindow,
            });
        }
    }
}
