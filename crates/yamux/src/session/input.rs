//! Bytes from the carrier: cut into frames, each passed on to the file that knows it.

use super::{FAMILY, Session};
use crate::error::{Violation, code};
use crate::wire::{FrameType, HEADER_LEN, Header};
use bytes::{Buf, Bytes};
use weir_core::close::{CloseReason, Initiator};
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::{Direction, Event as Trace, FrameEvent};

/// What arrived from below.
#[derive(Debug)]
pub enum Input {
    /// Bytes, cut anywhere (Y4). Payloads go to their readers as slices of them.
    Data(Bytes),
    /// The carrier's orderly end.
    End,
    /// The carrier is gone, with what was told about it.
    Lost(String),
}

/// Where the payload that is arriving goes.
#[derive(Copy, Clone, Debug)]
pub(super) enum Target {
    Stream(Key),
    /// Nobody wants it; it is read off the wire (Y38, Y40).
    Nobody,
}

/// How far into a frame the input is.
#[derive(Debug)]
enum Position {
    /// So many bytes of a header.
    Header(usize),
    /// So many bytes of a payload to come, and whether a FIN follows the last.
    Payload {
        left: u32,
        target: Target,
        fin: bool,
    },
}

/// Cuts input into frames. Holds at most 11 bytes.
#[derive(Debug)]
pub(super) struct Parser {
    position: Position,
    partial: [u8; HEADER_LEN],
}

impl Default for Parser {
    fn default() -> Self {
        Parser {
            position: Position::Header(0),
            partial: [0; HEADER_LEN],
        }
    }
}

impl Parser {
    /// The header at the front of `data`, when it is complete with what came before.
    #[inline]
    fn header(&mut self, have: usize, data: &mut Bytes) -> Option<[u8; HEADER_LEN]> {
        if have == 0
            && let Some(header) = data.first_chunk::<HEADER_LEN>()
        {
            let header = *header;
            data.advance(HEADER_LEN);
            return Some(header);
        }
        self.header_in_parts(have, data)
    }

    #[cold]
    fn header_in_parts(&mut self, have: usize, data: &mut Bytes) -> Option<[u8; HEADER_LEN]> {
        let wanted = HEADER_LEN.saturating_sub(have);
        let count = wanted.min(data.len());
        let rest = self.partial.get_mut(have..).unwrap_or_default();
        for (to, from) in rest.iter_mut().zip(data.split_to(count)) {
            *to = from;
        }
        if count < wanted {
            self.position = Position::Header(have.saturating_add(count));
            return None;
        }
        self.position = Position::Header(0);
        Some(self.partial)
    }

    /// A payload of `length` bytes follows.
    #[inline]
    pub(super) fn expect(&mut self, length: u32, target: Target, fin: bool) {
        self.position = Position::Payload {
            left: length,
            target,
            fin,
        };
    }

    /// Whether the input stands between two frames.
    fn is_between_frames(&self) -> bool {
        matches!(self.position, Position::Header(0))
    }
}

impl Session {
    /// Takes what the carrier brought. All frames in it are handled before anything is said about
    /// them in events. After the session is over, input is thrown away.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        if self.closed.is_some() {
            return;
        }
        match input {
            Input::Data(data) => self.handle_data(now, data),
            Input::End => self.handle_end(now),
            Input::Lost(reason) => self.end(now, CloseReason::carrier(reason)),
        }
    }

    fn handle_data(&mut self, now: Instant, mut data: Bytes) {
        if !data.is_empty() {
            self.clock.heard(now);
            self.stats.bytes_received = self.stats.bytes_received.saturating_add(data.len() as u64);
        }
        while !data.is_empty() && self.closed.is_none() {
            match self.parser.position {
                Position::Header(have) => {
                    if let Some(bytes) = self.parser.header(have, &mut data) {
                        self.handle_header(now, &bytes);
                    }
                }
                Position::Payload { left, target, fin } => {
                    self.handle_payload(now, &mut data, left, target, fin);
                }
            }
        }
    }

    #[inline]
    fn handle_header(&mut self, now: Instant, bytes: &[u8; HEADER_LEN]) {
        let result = match Header::decode(bytes) {
            Ok(header) => {
                self.stats.frames_received = self.stats.frames_received.saturating_add(1);
                self.handle_frame(now, header)
            }
            Err(error) => Err(Violation::Header(error)),
        };
        if let Err(violation) = result {
            self.violated(now, violation);
        }
    }

    #[inline]
    fn handle_frame(&mut self, now: Instant, header: Header) -> Result<(), Violation> {
        match header.kind {
            FrameType::Data | FrameType::WindowUpdate => {
                let result = self.handle_stream_frame(now, header);
                self.trace_received(now, header);
                return result;
            }
            FrameType::Ping => {
                self.trace_received(now, header);
                self.handle_ping(now, header);
            }
            FrameType::GoAway => {
                self.trace_received(now, header);
                self.handle_go_away(now, header.length);
            }
        }
        Ok(())
    }

    /// Takes the part of a payload that is there.
    #[inline]
    fn handle_payload(
        &mut self,
        now: Instant,
        data: &mut Bytes,
        left: u32,
        target: Target,
        fin: bool,
    ) {
        let count = data.len().min(left as usize);
        let left = left.saturating_sub(count as u32);
        self.parser.position = if left > 0 {
            Position::Payload { left, target, fin }
        } else {
            Position::Header(0)
        };
        match target {
            Target::Stream(key) => {
                // A payload that ends the read takes the rest of it, without another reference.
                let part = if count == data.len() {
                    std::mem::take(data)
                } else {
                    data.split_to(count)
                };
                self.deliver(now, key, part);
                if left == 0 && fin {
                    self.handle_fin(now, key);
                }
            }
            Target::Nobody => data.advance(count),
        }
    }

    /// The carrier ended in an orderly way (Y50).
    fn handle_end(&mut self, now: Instant) {
        let reason = if !self.parser.is_between_frames() {
            CloseReason::carrier("the carrier ended inside a frame")
        } else if self.by_id.is_empty() {
            let code = self.peer_gone.unwrap_or(code::NORMAL);
            CloseReason::transport(Initiator::Peer, code.into(), "the carrier ended")
        } else {
            let open = self.by_id.len();
            CloseReason::carrier(format!("the carrier ended with {open} streams open"))
        };
        self.end(now, reason);
    }

    #[inline]
    fn trace_received(&mut self, now: Instant, header: Header) {
        if self.tracer.enabled(weir_core::trace::Level::Frame) {
            self.trace_frame(now, Direction::Received, header);
        }
    }

    /// Reports a frame with what both windows of its stream have left.
    #[cold]
    #[inline(never)]
    pub(super) fn trace_frame(&mut self, now: Instant, direction: Direction, header: Header) {
        let stream = self
            .by_id
            .get(header.stream_id)
            .and_then(|key| self.streams.get(*key));
        let windows = stream.map(|stream| (stream.send.available(), stream.recv.remaining()));
        self.tracer.emit_frame(now, || FrameEvent {
            direction,
            family: FAMILY,
            stream: header.stream_id.into(),
            kind: header.kind.name(),
            flags: header.flags.names().collect(),
            length: header.length.into(),
            send_window: windows.map(|(send, _)| send),
            recv_window: windows.map(|(_, recv)| recv),
        });
    }

    /// Counts and reports bytes that nobody will read.
    pub(super) fn note_discarded(
        &mut self,
        now: Instant,
        stream: u32,
        bytes: u64,
        why: &'static str,
    ) {
        if bytes == 0 {
            return;
        }
        self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(bytes);
        self.tracer.emit(now, || Trace::Discarded {
            stream: stream.into(),
            bytes,
            why,
        });
    }
}
