//! Frames to the parts of the connection that they concern.

use weir_core::time::{Duration, Instant};

use super::receive::{Arrival, Content};
use super::{Connection, Event};
use crate::error::{TransportError, code};
use crate::limits::MIN_ACK_DELAY;
use crate::recovery::AckInfo;
use crate::wire::frame::{self, Ack, Frame, Frames};
use crate::wire::header::PacketType;
use crate::wire::{Side, Space};

impl Connection {
    /// The frames of one packet, in order.
    pub(super) fn handle_frames(
        &mut self,
        arrival: &Arrival,
        payload: &[u8],
    ) -> Result<Content, TransportError> {
        let mut content = Content::default();
        let mut frames = Frames::new(payload, arrival.kind)?;
        let mut at = 0;
        while let Some(frame) = frames.next() {
            let frame = frame?;
            let kind = frame.kind();
            content.ack_eliciting |= frame.is_ack_eliciting();
            content.non_probing |= !frame.is_probing();
            self.handle_frame(arrival, frame)
                .map_err(|error| match error.frame {
                    0 => error.in_frame(kind),
                    // What their low bits say is part of the type, which is one byte (RFC 9000 19.19).
                    frame::ACK | frame::STREAM | frame::DATAGRAM => {
                        error.in_frame(payload.get(at).map_or(kind, |first| u64::from(*first)))
                    }
                    _ => error,
                })?;
            at = payload.len().saturating_sub(frames.remaining());
            if !self.is_open() {
                break;
            }
        }
        Ok(content)
    }

    fn handle_frame(&mut self, arrival: &Arrival, frame: Frame<'_>) -> Result<(), TransportError> {
        let now = arrival.now;
        match frame {
            Frame::Padding { .. } | Frame::Ping => Ok(()),
            Frame::Stream {
                id,
                offset,
                data,
                fin,
            } => self.streams.on_stream(now, id, offset, data, fin),
            Frame::Ack(ack) => self.on_ack(arrival, &ack),
            Frame::Crypto { offset, data } => self.on_crypto(now, arrival.space, offset, data),
            Frame::Datagram { data, frame_size } => self.datagrams.on_received(data, frame_size),
            Frame::ConnectionClose {
                code,
                frame,
                reason,
            } => {
                self.on_close_frame(now, code, Some(frame), reason);
                Ok(())
            }
            Frame::ApplicationClose { code, reason } => {
                self.on_close_frame(now, code, None, reason);
                Ok(())
            }
            Frame::HandshakeDone => self.on_handshake_done(now),
            Frame::NewToken { token } => self.on_new_token(token),
            Frame::AckFrequency(_) | Frame::ImmediateAck if !self.config.ack_frequency => {
                // RFC 9000 12.4: of an extension that was not agreed on, and so unknown.
                let reason = "an unknown frame type";
                Err(TransportError::new(code::FRAME_ENCODING_ERROR, reason))
            }
            Frame::AckFrequency(request) => self.on_ack_frequency(&request),
            Frame::ImmediateAck => {
                self.received(arrival.space).on_immediate_ack();
                Ok(())
            }
            Frame::NewConnectionId(_)
            | Frame::RetireConnectionId { .. }
            | Frame::PathChallenge { .. }
            | Frame::PathResponse { .. } => self.handle_path_frame(arrival, frame),
            other => self.handle_stream_frame(now, other),
        }
    }

    fn handle_stream_frame(
        &mut self,
        now: Instant,
        frame: Frame<'_>,
    ) -> Result<(), TransportError> {
        let streams = &mut self.streams;
        match frame {
            Frame::ResetStream {
                id,
                code,
                final_size,
            } => streams.on_reset_stream(now, id, code, final_size),
            Frame::StopSending { id, code } => streams.on_stop_sending(now, id, code),
            Frame::MaxData { limit } => {
                streams.on_max_data(limit);
                Ok(())
            }
            Frame::MaxStreamData { id, limit } => streams.on_max_stream_data(now, id, limit),
            Frame::MaxStreams { dir, limit } => streams.on_max_streams(dir, limit),
            Frame::DataBlocked { limit } => {
                streams.on_data_blocked(limit);
                Ok(())
            }
            Frame::StreamDataBlocked { id, limit } => {
                streams.on_stream_data_blocked(now, id, limit)
            }
            Frame::StreamsBlocked { dir, limit } => streams.on_streams_blocked(dir, limit),
            _ => Ok(()),
        }
    }

    fn on_ack(&mut self, arrival: &Arrival, ack: &Ack<'_>) -> Result<(), TransportError> {
        let now = arrival.now;
        let space = arrival.space;
        let exponent = u32::from(self.peer.ack_delay_exponent);
        let micros = ack
            .delay
            .saturating_mul(1_u64.checked_shl(exponent).unwrap_or(1));
        let info = AckInfo {
            largest: ack.largest,
            delay: Duration::from_micros(micros),
            ecn: ack.ecn,
        };
        self.recovery.on_ack_ranges(
            now,
            space,
            info,
            ack.ranges(),
            &mut self.paths,
            &mut self.outcome,
        )?;
        if space == Space::Data
            && arrival.kind == PacketType::OneRtt
            && self.protection.on_ack(arrival.phase, ack.largest)?
        {
            self.hold_old_keys(now);
        }
        self.settle(now, space);
        Ok(())
    }

    fn on_handshake_done(&mut self, now: Instant) -> Result<(), TransportError> {
        if self.side == Side::Server {
            return Err(Connection::violation("HANDSHAKE_DONE from a client"));
        }
        self.confirm(now);
        Ok(())
    }

    fn on_new_token(&mut self, token: &[u8]) -> Result<(), TransportError> {
        if self.side == Side::Server {
            return Err(Connection::violation("NEW_TOKEN from a client"));
        }
        if token.is_empty() {
            let reason = "NEW_TOKEN without a token";
            return Err(TransportError::new(code::FRAME_ENCODING_ERROR, reason));
        }
        // One is worth telling; a server that sends many gains nothing.
        if token.len() <= crate::limits::MAX_TOKEN && self.stats.tokens_received < 4 {
            self.stats.tokens_received = self.stats.tokens_received.saturating_add(1);
            let token = bytes::Bytes::copy_from_slice(token);
            self.events.push_back(Event::NewToken(token));
        }
        Ok(())
    }

    fn on_ack_frequency(&mut self, request: &frame::AckFrequency) -> Result<(), TransportError> {
        self.received(Space::Data).on_ack_frequency(
            request.sequence,
            request.ack_eliciting_threshold,
            request.requested_max_ack_delay,
            request.reordering_threshold,
            Duration::from_micros(MIN_ACK_DELAY),
        )
    }
}
