//! Frames of streams: flags in the order SYN, ACK, RST, then the body, then FIN.

use super::Session;
use super::input::Target;
use crate::error::Violation;
use crate::event::Event;
use crate::limits::{
    COALESCE_BELOW, COPY_WHEN_PINNED, MAX_SEND_CREDIT, PINNED_LIMIT, SHED_SEARCH_BYTES,
};
use crate::state::{State, Trigger};
use crate::stream::bit;
use crate::wire::{Flags, FrameType, Header};
use bytes::Bytes;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::{Event as Trace, HeldBy};

/// Code of the RST for a stream that was let go because memory ran out.
const OUT_OF_MEMORY: u32 = crate::error::code::INTERNAL_ERROR;

impl Session {
    #[inline]
    pub(super) fn handle_stream_frame(
        &mut self,
        now: Instant,
        header: Header,
    ) -> Result<(), Violation> {
        let key = if header.flags.contains(Flags::SYN) {
            self.handle_syn(now, header)?
        } else {
            self.known(header.stream_id)
        };
        let Some(key) = key else {
            self.handle_stranger(now, header);
            return Ok(());
        };
        if header.flags.contains(Flags::ACK) {
            self.handle_ack(now, key);
        }
        if header.flags.contains(Flags::RST) {
            self.expect_nobody(now, header, "the stream was reset");
            // A code rides on the window update that carries the RST; other peers leave it 0.
            let code = if header.kind == FrameType::Data {
                0
            } else {
                header.length
            };
            self.handle_rst(now, key, code);
            return Ok(());
        }
        match header.kind {
            FrameType::Data => self.handle_data_header(now, key, header),
            _ => {
                self.handle_grant(now, key, header.length)?;
                if header.flags.contains(Flags::FIN) {
                    self.handle_fin(now, key);
                }
                Ok(())
            }
        }
    }

    /// The stream of an id, unless its SYN is yet to go out: until then the peer cannot know of it,
    /// and what it says about the id means nothing (Y40).
    #[inline]
    fn known(&self, id: u32) -> Option<Key> {
        let key = *self.by_id.get(id)?;
        self.streams
            .get(key)
            .filter(|stream| stream.state != State::Init)?;
        Some(key)
    }

    /// A frame for a stream that is over or never was (Y37, Y40, Y42): nothing but its payload
    /// matters, which is read off the wire. Data without a SYN gets one RST.
    #[cold]
    fn handle_stranger(&mut self, now: Instant, header: Header) {
        if header.kind != FrameType::Data {
            return;
        }
        let id = header.stream_id;
        let (known, why) = if self.own_ids.owns(id) {
            // A RST for an id that this side is yet to use would be misread later.
            (true, "no such stream")
        } else if self.peer_ids.has_used(id) {
            (true, "the stream is over")
        } else {
            (false, "the stream was never opened")
        };
        if !known && !header.flags.contains(Flags::RST) {
            self.out.refusals.push_stranger(id);
        }
        self.expect_nobody(now, header, why);
    }

    /// The payload of a Data frame is read off the wire and thrown away.
    pub(super) fn expect_nobody(&mut self, now: Instant, header: Header, why: &'static str) {
        if header.kind == FrameType::Data && header.length > 0 {
            self.note_discarded(now, header.stream_id, header.length.into(), why);
            self.parser.expect(header.length, Target::Nobody, false);
        }
    }

    #[inline]
    fn handle_ack(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.bits.any(bit::UNACKED) {
            return;
        }
        if stream.bits.take(bit::WANTS_ACK) {
            self.news.push(Event::Opened(key));
        }
        self.settle_ack(key);
        self.transition(now, key, Trigger::AckReceived);
    }

    /// The peer grants credit (Y25); more than 32 bits can hold is a violation (Y27).
    #[inline]
    fn handle_grant(&mut self, now: Instant, key: Key, delta: u32) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(());
        };
        if delta == 0 {
            return Ok(());
        }
        if stream
            .send
            .grant_capped(delta.into(), MAX_SEND_CREDIT)
            .is_err()
        {
            return Err(Violation::WindowOverflow {
                stream_id: stream.id,
                delta,
            });
        }
        if stream.bits.take(bit::HELD) {
            let stream = u64::from(stream.id);
            self.tracer.emit(now, || Trace::Held {
                stream,
                by: HeldBy::Nothing,
            });
        }
        self.queue_data(key);
        Ok(())
    }

    /// A Data frame begins. The whole of it must fit the window (Y26), whatever its size (Y10).
    #[inline]
    fn handle_data_header(
        &mut self,
        now: Instant,
        key: Key,
        header: Header,
    ) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(());
        };
        let Header {
            stream_id, length, ..
        } = header;
        let window = stream.recv.remaining();
        if u64::from(length) > window {
            return Err(Violation::WindowExceeded {
                stream_id,
                length,
                window,
            });
        }
        if stream.bits.any(bit::FIN_RECEIVED) {
            // Y39: data behind the end. The stream is reset, the session lives.
            self.expect_nobody(now, header, "it came after the FIN");
            if length > 0 {
                self.give_up(now, key, 0);
            }
            return Ok(());
        }
        stream.bits.set(bit::ACTIVE);
        let fin = header.flags.contains(Flags::FIN);
        if length > 0 {
            self.parser.expect(length, Target::Stream(key), fin);
        } else if fin {
            self.handle_fin(now, key);
        }
        Ok(())
    }

    /// A part of a payload goes to its stream's reader.
    #[inline]
    pub(super) fn deliver(&mut self, now: Instant, key: Key, data: Bytes) {
        let length = data.len() as u64;
        let Some(stream) = self.streams.get_mut(key).filter(|s| !s.state.is_terminal()) else {
            // It was reset while the frame was on its way.
            self.note_discarded(now, 0, length, "the stream was reset");
            return;
        };
        // The frame was checked against the window as a whole.
        let _checked = stream.recv.on_received(length);
        if stream.bits.any(bit::STOPPED) {
            self.discard(now, key, length);
            return;
        }
        if stream.recv.charge(&self.memory, &mut stream.share).is_err() && !self.make_room(now, key)
        {
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let small = data.len() < COALESCE_BELOW && !stream.incoming.is_empty();
        let pinned = self.pinned > PINNED_LIMIT && data.len() < COPY_WHEN_PINNED;
        if small || pinned {
            self.chunks.push_copy(&mut stream.incoming, &data);
        } else {
            self.chunks.push(&mut stream.incoming, data);
        }
        if stream.bits.take(bit::WANTS_READ) {
            self.news.push(Event::Readable(key));
        }
    }

    /// The application reads no more: what comes is counted, and its window given back as long as
    /// this side writes; after our FIN, more data is answered by RST.
    #[cold]
    fn discard(&mut self, now: Instant, key: Key, length: u64) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.recv.on_consumed(length);
        stream.bits.set(bit::DISCARDED);
        let (id, code) = (stream.id, stream.code);
        let finished = stream.bits.any(bit::FIN_SENT);
        self.note_discarded(now, id, length, "reading was stopped");
        if finished {
            self.give_up(now, key, code);
        } else {
            self.refill(now, key);
        }
    }

    /// The peer will send no more (Y35, Y36).
    #[inline]
    pub(super) fn handle_fin(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.streams.get_mut(key).filter(|s| !s.state.is_terminal()) else {
            return;
        };
        if !stream.bits.put(bit::FIN_RECEIVED) {
            return;
        }
        // No more is needed of the window: credit would not be used, growth is given back.
        stream.credit = 0;
        stream.share.shrink_to(&self.memory, stream.recv.buffered());
        if stream.bits.take(bit::WANTS_READ) {
            self.news.push(Event::Readable(key));
        }
        self.transition(now, key, Trigger::FinReceived);
        self.try_free(key);
    }

    /// The peer ended the stream both ways (Y38). What it had ended in order before stays readable.
    fn handle_rst(&mut self, now: Instant, key: Key, code: u32) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.code = code;
        let unanswered = stream.bits.any(bit::UNACCEPTED | bit::ACK_DUE);
        self.stats.resets_received = self.stats.resets_received.saturating_add(1);
        if unanswered {
            self.resets.count(now);
        }
        self.transition(now, key, Trigger::RstReceived);
        self.drop_unread(now, key, "the peer reset the stream");
        self.announce_reset(key);
        self.try_free(key);
    }

    /// Memory ran out with what `arrived` for a stream: the stream that holds most of it is reset, so
    /// the session and its other streams live. False when that was the stream itself.
    #[cold]
    fn make_room(&mut self, now: Instant, arrived: Key) -> bool {
        for _ in 0..4 {
            let victim = self.largest_reader(arrived);
            self.stats.streams_shed = self.stats.streams_shed.saturating_add(1);
            if let Some(stream) = self.streams.get(victim) {
                let stream = u64::from(stream.id);
                self.tracer.emit(now, || Trace::Held {
                    stream,
                    by: HeldBy::SessionBudget,
                });
            }
            self.give_up(now, victim, OUT_OF_MEMORY);
            if victim == arrived {
                return false;
            }
            let Some(stream) = self.streams.get_mut(arrived) else {
                return false;
            };
            if stream.recv.charge(&self.memory, &mut stream.share).is_ok() {
                return true;
            }
        }
        self.give_up(now, arrived, OUT_OF_MEMORY);
        false
    }

    /// The stream with most unread bytes. Looking at all is only done once in a while; in between it
    /// is the stream that asks for more (threats C5).
    fn largest_reader(&mut self, arrived: Key) -> Key {
        if self.stats.bytes_received < self.shed_search_at {
            return arrived;
        }
        self.shed_search_at = self.stats.bytes_received.saturating_add(SHED_SEARCH_BYTES);
        let unread = |(key, stream): (Key, &crate::stream::Stream)| (stream.recv.buffered(), key);
        self.streams
            .iter()
            .map(unread)
            .max()
            .map_or(arrived, |(_, key)| key)
    }
}
