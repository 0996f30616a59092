//! The end of a connection (RFC 9000 section 10).

use weir_core::close::{CloseReason, Initiator, Layer};
use weir_core::time::Instant;

use super::{Connection, EndpointEvent, Event, State};
use crate::crypto::{Level, TAG_LEN};
use crate::error::{TransportError, code};
use crate::limits::MIN_DATAGRAM;
use crate::recovery::PathLookup;
use crate::transmit::{Transmit, TransmitBuf};
use crate::wire::frame::{self, Frame, Frames, encode};
use crate::wire::header::PacketType;

/// Bytes that a datagram must have left for one more packet with CONNECTION_CLOSE: the longest
/// header without a token, the frame without words, the tag. In bytes.
const LEAST_CLOSE: usize = 160;

/// This side closed and says so again to whoever has not heard it.
#[derive(Debug)]
pub(super) struct Closing {
    reason: CloseReason,
    /// The application's code, or the transport's with the frame at fault.
    is_application: bool,
    frame: u64,
    until: Instant,
    /// CONNECTION_CLOSE is to be sent.
    pending: bool,
    /// Packets that came since, and how many have to come before the next answer.
    heard: u32,
    answer_at: u32,
}

impl Closing {
    pub(super) fn reason(&self) -> &CloseReason {
        &self.reason
    }

    #[cfg(test)]
    pub(super) fn frame(&self) -> u64 {
        self.frame
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Connection {
    /// Ends the connection at once: the peer's application gets `code` and `reason`, of which at
    /// most [`weir_core::limits::MAX_REASON_BYTES`] are sent. What was not acknowledged is lost.
    ///
    /// Before the handshake is complete the peer learns only that the application closed
    /// (RFC 9000 10.2.3).
    pub fn close(&mut self, now: Instant, code: u64, reason: &str) {
        if !self.is_open() {
            return;
        }
        let reason = CloseReason::application(Initiator::Local, code, reason.to_owned());
        self.begin_closing(now, reason, true, 0);
    }

    /// The peer broke a rule, or this side cannot go on.
    pub(super) fn fail(&mut self, now: Instant, error: TransportError) {
        if !self.is_open() {
            return;
        }
        let is_alert = is_alert(error.code);
        let layer = if is_alert {
            Layer::Security
        } else {
            Layer::Transport
        };
        let mut reason = CloseReason::new(Initiator::Local, layer, error.code, error.reason);
        if error.frame != 0 {
            reason = reason.in_frame(frame::name(error.frame));
        }
        self.begin_closing(now, reason, false, error.frame);
    }

    fn begin_closing(
        &mut self,
        now: Instant,
        reason: CloseReason,
        is_application: bool,
        frame: u64,
    ) {
        let until = now + self.pto().saturating_mul(3);
        self.tell_closed(now, &reason);
        self.state = State::Closing(Box::new(Closing {
            reason,
            is_application,
            frame,
            until,
            pending: true,
            heard: 0,
            answer_at: 1,
        }));
        self.let_go();
    }

    /// The peer closed: nothing is sent any more (RFC 9000 10.2.2).
    /// `frame` is the type of the frame at fault, `None` when the application closed.
    pub(super) fn on_close_frame(
        &mut self,
        now: Instant,
        code: u64,
        frame: Option<u64>,
        text: &[u8],
    ) {
        let text = String::from_utf8_lossy(text).into_owned();
        let is_alert = is_alert(code);
        let layer = match frame {
            None => Layer::Application,
            Some(_) if is_alert => Layer::Security,
            Some(_) => Layer::Transport,
        };
        let mut reason = CloseReason::new(Initiator::Peer, layer, code, text);
        if let Some(kind) = frame.filter(|kind| *kind != 0) {
            reason = reason.in_frame(frame::name(kind));
        }
        self.drain_with(now, reason);
    }

    /// Nothing is sent any more, and what arrives is dropped.
    pub(super) fn drain_with(&mut self, now: Instant, reason: CloseReason) {
        if let State::Closing(closing) = &self.state {
            // RFC 9000 10.2.2: it ends when closing would have ended; why stays what was told.
            let (until, reason) = (closing.until, closing.reason.clone());
            self.state = State::Draining { until, reason };
            return;
        }
        let until = now + self.pto().saturating_mul(3);
        self.tell_closed(now, &reason);
        self.state = State::Draining { until, reason };
        self.let_go();
    }

    /// This side has closed; all that matters in a packet now is whether the other side has too
    /// (RFC 9000 10.2.2).
    pub(super) fn look_for_close(&mut self, now: Instant, kind: PacketType, payload: &[u8]) {
        let Ok(frames) = Frames::new(payload, kind) else {
            return;
        };
        for frame in frames {
            match frame {
                Ok(Frame::ConnectionClose { code, reason, .. }) => {
                    return self.on_close_frame(now, code, Some(0), reason);
                }
                Ok(Frame::ApplicationClose { code, reason }) => {
                    return self.on_close_frame(now, code, None, reason);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Ends without a word and without a rest: nobody is there (RFC 9000 10.1).
    pub(super) fn end_silently(&mut self, now: Instant, reason: CloseReason) {
        if self.is_open() {
            self.tell_closed(now, &reason);
        }
        self.state = State::Drained { reason };
        self.let_go();
        self.tell_drained();
    }

    fn tell_closed(&mut self, now: Instant, reason: &CloseReason) {
        self.streams.close();
        self.tracer
            .emit(now, || weir_core::trace::Event::Closed(reason));
        self.events.push_back(Event::Closed(reason.clone()));
    }

    /// The closing or draining period is over.
    pub(super) fn on_close_timeout(&mut self, now: Instant) {
        let reason = match &self.state {
            State::Closing(closing) if closing.until <= now => closing.reason.clone(),
            State::Draining { until, reason } if *until <= now => reason.clone(),
            _ => return,
        };
        self.state = State::Drained { reason };
        self.tell_drained();
    }

    fn tell_drained(&mut self) {
        self.events.push_back(Event::Drained);
        self.endpoint_events.push_back(EndpointEvent::Drained);
    }

    /// What a closed connection does not need.
    fn let_go(&mut self) {
        self.clock.pacing = None;
        self.handshake.held.take();
        self.datagrams.close();
    }

    /// RFC 9000 10.2.1: whoever still sends is told again, in a falling rate.
    pub(super) fn answer_when_closing(&mut self) {
        let State::Closing(closing) = &mut self.state else {
            return;
        };
        closing.heard = closing.heard.saturating_add(1);
        if closing.heard >= closing.answer_at {
            closing.heard = 0;
            closing.answer_at = closing.answer_at.saturating_mul(2);
            closing.pending = true;
        }
    }

    /// CONNECTION_CLOSE in every kind of packet that the peer may be able to read (10.2.3).
    pub(super) fn transmit_close(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
    ) -> Option<Transmit> {
        let State::Closing(closing) = &mut self.state else {
            return None;
        };
        if !std::mem::take(&mut closing.pending) {
            return None;
        }
        let path = self.paths.active();
        let allowance = usize::try_from(self.paths.send_allowance(path)).unwrap_or(usize::MAX);
        let room = MIN_DATAGRAM.min(allowance);
        let mut last = None;
        let mut expand = false;
        for level in [Level::Initial, Level::Handshake, Level::OneRtt] {
            if !self.protection.has_send(level) {
                continue;
            }
            let tag = if last.is_some() { TAG_LEN } else { 0 };
            let used = out.data.len().saturating_add(tag);
            if last.is_some() && used.saturating_add(LEAST_CLOSE) > room {
                break;
            }
            if let Some(former) = last.take() {
                self.finish_packet(now, former, None, out).ok()?;
            }
            let left = room.saturating_sub(out.data.len());
            let Some(packet) = self.begin_packet(level.space(), level, path, left, out) else {
                break;
            };
            let end = packet.start.saturating_add(left).saturating_sub(TAG_LEN);
            self.write_close(level, end, out);
            expand |= level == Level::Initial;
            last = Some(packet);
        }
        let pad_to = expand.then_some(room);
        self.finish_packet(now, last?, pad_to, out).ok()?;
        let len = out.data.len();
        self.paths.on_datagram_sent(path, len);
        self.stats.datagrams_sent = self.stats.datagrams_sent.saturating_add(1);
        self.finish_batch(path, len, out)
    }

    fn write_close(&mut self, level: Level, end: usize, out: &mut TransmitBuf) {
        let State::Closing(closing) = &self.state else {
            return;
        };
        // The application's words are not for those who may read along (RFC 9000 10.2.3).
        if closing.is_application && level != Level::OneRtt {
            return encode::connection_close(&mut out.data, code::APPLICATION_ERROR, 0, b"");
        }
        // Frame type, code and length take 25 bytes at most.
        let room = end.saturating_sub(out.data.len()).saturating_sub(25);
        let text = closing.reason.reason.as_bytes();
        let text = text.get(..room).unwrap_or(text);
        let code = closing.reason.code;
        if closing.is_application {
            encode::application_close(&mut out.data, code, text);
        } else {
            encode::connection_close(&mut out.data, code, closing.frame, text);
        }
    }
}

/// TLS alerts are told in codes of their own (RFC 9001 section 4.8).
fn is_alert(code: u64) -> bool {
    (code::CRYPTO_ERROR..code::CRYPTO_ERROR + 0x100).contains(&code)
}
