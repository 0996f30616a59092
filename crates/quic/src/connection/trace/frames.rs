//! Frames of a packet as traces show them, read from the plaintext: the same for both directions.

use std::fmt;

use weir_core::time::Duration;
use weir_core::trace::{Field, FrameInfo, Frames as Shown, Value};

use crate::limits::MAX_TRACED_RANGES;
use crate::wire::Dir;
use crate::wire::frame::{self, Ack, Frame, Frames};
use crate::wire::header::PacketType;

/// The payload of a packet, not read before somebody looks.
#[derive(Clone, Debug)]
pub(super) struct Payload<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) packet: PacketType,
    /// ACK delays are in units of 2^this microseconds: the exponent of who sent the packet.
    pub(super) ack_delay_exponent: u8,
}

impl Shown for Payload<'_> {
    fn each(&self, show: &mut dyn FnMut(&FrameInfo<'_>)) {
        let Ok(frames) = Frames::new(self.bytes, self.packet) else {
            return;
        };
        for frame in frames {
            match frame {
                Ok(frame) => self.show(&frame, show),
                Err(error) => show(&FrameInfo {
                    kind: "unknown",
                    words: &error,
                    fields: &[u64("frame_type_bytes", error.frame)],
                }),
            }
        }
    }
}

/// A frame in words, with the delay of an ACK in microseconds.
struct Words<'a>(&'a Frame<'a>, u8);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Frame::Ack(ack) => {
                let micros = delay(ack, self.1).as_micros();
                f.write_str(frame::name(self.0.kind()))?;
                frame::fmt_ack(ack, &format_args!("{micros} us"), f)
            }
            other => other.fmt(f),
        }
    }
}

const fn u64(name: &'static str, value: u64) -> Field<'static> {
    Field::new(name, Value::U64(value))
}

/// Bytes that a frame carries: their number, not the bytes.
fn length(bytes: &[u8]) -> [Field<'static>; 1] {
    [u64("length", bytes.len() as u64)]
}

const fn direction(dir: Dir) -> Field<'static> {
    let kind = match dir {
        Dir::Bi => "bidirectional",
        Dir::Uni => "unidirectional",
    };
    Field::new("stream_type", Value::Str(kind))
}

/// Application codes have no names; the draft wants them said so.
const NO_NAME: Field<'static> = Field::new("error", Value::Str("unknown"));

fn delay(ack: &Ack<'_>, exponent: u8) -> Duration {
    let scale = 1_u64.checked_shl(exponent.into()).unwrap_or(1);
    Duration::from_micros(ack.delay.saturating_mul(scale))
}

impl Payload<'_> {
    fn show(&self, frame: &Frame<'_>, show: &mut dyn FnMut(&FrameInfo<'_>)) {
        let words = Words(frame, self.ack_delay_exponent);
        let mut tell = |kind: &'static str, fields: &[Field<'_>]| {
            show(&FrameInfo {
                kind,
                words: &words,
                fields,
            });
        };
        match frame {
            Frame::Padding { len } => {
                let raw = [u64("length", *len as u64)];
                tell("padding", &[Field::new("raw", Value::Object(&raw))]);
            }
            Frame::Ping => tell("ping", &[]),
            Frame::Ack(ack) => self.show_ack(ack, &mut tell),
            Frame::Crypto { offset, data } => {
                let raw = length(data);
                let raw = Field::new("raw", Value::Object(&raw));
                tell("crypto", &[u64("offset", *offset), raw]);
            }
            Frame::NewToken { token } => {
                let raw = length(token);
                let token = [
                    Field::new("type", Value::Str("resumption")),
                    Field::new("raw", Value::Object(&raw)),
                ];
                tell("new_token", &[Field::new("token", Value::Object(&token))]);
            }
            Frame::Stream {
                id,
                offset,
                data,
                fin,
            } => {
                let raw = length(data);
                let fields = [
                    u64("stream_id", id.0),
                    u64("offset", *offset),
                    Field::new("fin", Value::Bool(*fin)),
                    Field::new("raw", Value::Object(&raw)),
                ];
                tell("stream", &fields);
            }
            Frame::Datagram { data, .. } => {
                let raw = length(data);
                tell("datagram", &[Field::new("raw", Value::Object(&raw))]);
            }
            Frame::HandshakeDone => tell("handshake_done", &[]),
            Frame::ImmediateAck => tell("immediate_ack", &[]),
            other => {
                show_stream_control(other, &mut tell);
                show_connection(other, &mut tell);
            }
        }
    }

    fn show_ack(&self, ack: &Ack<'_>, tell: &mut impl FnMut(&'static str, &[Field<'_>])) {
        let mut ranges = [(0, 0); MAX_TRACED_RANGES];
        let mut count = 0_usize;
        for range in ack.ranges() {
            if let Some(place) = ranges.get_mut(count) {
                *place = (*range.start(), *range.end());
            }
            count = count.saturating_add(1);
        }
        let shown = ranges.get(..count).unwrap_or(&ranges);
        let mut fields = [
            Field::new(
                "ack_delay",
                Value::Time(delay(ack, self.ack_delay_exponent)),
            ),
            Field::new("acked_ranges", Value::Ranges(shown)),
            u64("ect0", 0),
            u64("ect1", 0),
            u64("ce", 0),
        ];
        let mut used = 2;
        if let (Some(ecn), [_, _, ect0, ect1, ce]) = (ack.ecn, &mut fields) {
            ect0.value = Value::U64(ecn.ect0);
            ect1.value = Value::U64(ecn.ect1);
            ce.value = Value::U64(ecn.ce);
            used = 5;
        }
        if count > shown.len() {
            let omitted = u64("acked_ranges_omitted", (count - shown.len()) as u64);
            let [delay, ranges, ..] = fields;
            return tell("ack", &[delay, ranges, omitted]);
        }
        tell("ack", fields.get(..used).unwrap_or(&fields));
    }
}

fn show_stream_control(frame: &Frame<'_>, tell: &mut impl FnMut(&'static str, &[Field<'_>])) {
    let stream = |id: &crate::wire::StreamId| u64("stream_id", id.0);
    match frame {
        Frame::ResetStream {
            id,
            code,
            final_size,
        } => tell(
            "reset_stream",
            &[
                stream(id),
                NO_NAME,
                u64("error_code", *code),
                u64("final_size", *final_size),
            ],
        ),
        Frame::StopSending { id, code } => {
            tell(
                "stop_sending",
                &[stream(id), NO_NAME, u64("error_code", *code)],
            );
        }
        Frame::MaxData { limit } => tell("max_data", &[u64("maximum", *limit)]),
        Frame::MaxStreamData { id, limit } => {
            tell("max_stream_data", &[stream(id), u64("maximum", *limit)]);
        }
        Frame::MaxStreams { dir, limit } => {
            tell("max_streams", &[direction(*dir), u64("maximum", *limit)]);
        }
        Frame::DataBlocked { limit } => tell("data_blocked", &[u64("limit", *limit)]),
        Frame::StreamDataBlocked { id, limit } => {
            tell("stream_data_blocked", &[stream(id), u64("limit", *limit)]);
        }
        Frame::StreamsBlocked { dir, limit } => {
            tell("streams_blocked", &[direction(*dir), u64("limit", *limit)]);
        }
        _ => {}
    }
}

fn show_connection(frame: &Frame<'_>, tell: &mut impl FnMut(&'static str, &[Field<'_>])) {
    match frame {
        // Not the token: whoever reads the trace could end the connection with it.
        Frame::NewConnectionId(new) => tell(
            "new_connection_id",
            &[
                u64("sequence_number", new.sequence),
                u64("retire_prior_to", new.retire_prior_to),
                u64("connection_id_length", new.id.len() as u64),
                Field::new("connection_id", Value::Bytes(&new.id)),
            ],
        ),
        Frame::RetireConnectionId { sequence } => {
            tell("retire_connection_id", &[u64("sequence_number", *sequence)]);
        }
        Frame::PathChallenge { data } => {
            tell("path_challenge", &[Field::new("data", Value::Bytes(data))]);
        }
        Frame::PathResponse { data } => {
            tell("path_response", &[Field::new("data", Value::Bytes(data))]);
        }
        Frame::ConnectionClose {
            code,
            frame,
            reason,
        } => {
            let name = super::error_name(*code);
            let text = String::from_utf8_lossy(reason);
            let fields = [
                Field::new("error_space", Value::Str("transport")),
                Field::new("error", Value::Str(&name)),
                u64("error_code", *code),
                Field::new("reason", Value::Str(&text)),
                u64("trigger_frame_type", *frame),
            ];
            tell("connection_close", &fields);
        }
        Frame::ApplicationClose { code, reason } => {
            let text = String::from_utf8_lossy(reason);
            let fields = [
                Field::new("error_space", Value::Str("application")),
                NO_NAME,
                u64("error_code", *code),
                Field::new("reason", Value::Str(&text)),
            ];
            tell("connection_close", &fields);
        }
        Frame::AckFrequency(wish) => {
            let delay = Duration::from_micros(wish.requested_max_ack_delay);
            let fields = [
                u64("sequence_number", wish.sequence),
                u64("ack_eliciting_threshold", wish.ack_eliciting_threshold),
                Field::new("requested_max_ack_delay", Value::Time(delay)),
                u64("reordering_threshold", wish.reordering_threshold),
            ];
            tell("ack_frequency", &fields);
        }
        _ => {}
    }
}
