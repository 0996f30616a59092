//! Bytes from the carrier: cut into frames, each passed on to the file that knows it.

use super::{FAMILY, Session};
use crate::error::{Violation, code};
use crate::limits::INITIAL_WINDOW;
use crate::wire::{Flags, FrameType, HEADER_LEN, Header};
use bytes::{Buf, Bytes};
use weir_core::close::{CloseReason, Initiator};
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::{Direction, Event as Trace, FrameEvent, Level};

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
            self.share_memory();
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
        if self.tracer.enabled(Level::Frame) {
            self.trace_received(now, header);
        }
        match header.kind {
            FrameType::Data | FrameType::WindowUpdate => {
                return self.handle_stream_frame(now, header);
            }
            FrameType::Ping => self.handle_ping(now, header),
            FrameType::GoAway => self.handle_go_away(now, header.length),
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

    /// The carrier ended in an orderly way: as announced, with nothing open, or a loss (Y50).
    fn handle_end(&mut self, now: Instant) {
        let open = self.by_id.len();
        let reason = if !self.parser.is_between_frames() {
            CloseReason::carrier("the carrier ended inside a frame")
        } else if let Some(code) = self.peer_gone {
            let words = format!("it went away with {open} streams open");
            CloseReason::transport(Initiator::Peer, code.into(), words)
        } else if open == 0 {
            CloseReason::transport(Initiator::Peer, code::NORMAL.into(), "the carrier ended")
        } else {
            CloseReason::carrier(format!("the carrier ended with {open} streams open"))
        };
        self.end(now, reason);
    }

    /// Reports a frame that came, before what it brings about, with what both windows of its stream
    /// have left by it.
    #[cold]
    #[inline(never)]
    fn trace_received(&mut self, now: Instant, header: Header) {
        let length = u64::from(header.length);
        let windows = self
            .windows_of(header)
            .map(|(send, recv)| match header.kind {
                FrameType::WindowUpdate => (send.saturating_add(length), recv),
                _ => (send, recv.saturating_sub(length)),
            });
        self.trace_frame(now, Direction::Received, header, windows);
    }

    /// Reports a frame that was put into the batch.
    #[cold]
    #[inline(never)]
    pub(super) fn trace_sent(&mut self, now: Instant, header: Header) {
        let windows = self.windows_of(header);
        self.trace_frame(now, Direction::Sent, header, windows);
    }

    /// What the windows of a frame's stream have left, sending and receiving.
    fn windows_of(&self, header: Header) -> Option<(u64, u64)> {
        if header.stream_id == 0 {
            return None;
        }
        let stream = self
            .by_id
            .get(header.stream_id)
            .and_then(|key| self.streams.get(*key));
        let initial = u64::from(INITIAL_WINDOW);
        let new = header
            .flags
            .contains(Flags::SYN)
            .then_some((initial, initial));
        stream
            .map(|stream| (stream.send.available(), stream.recv.remaining()))
            .or(new)
    }

    fn trace_frame(
        &mut self,
        now: Instant,
        direction: Direction,
        header: Header,
        windows: Option<(u64, u64)>,
    ) {
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
