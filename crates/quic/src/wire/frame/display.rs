//! Frames in words, as logs show them.

use std::fmt;

use super::{Frame, name};
use crate::error::code as error_code;

/// Most ranges of an ACK that are listed.
const RANGES_SHOWN: usize = 8;

impl fmt::Display for Frame<'_> {
    /// One line: "STREAM 0 off 0 len 7 FIN". The delay of an ACK is the field's value, which only the
    /// connection knows how to scale.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self.kind()))?;
        match self {
            Frame::Padding { len } => write!(f, " {len}"),
            Frame::Ping | Frame::HandshakeDone | Frame::ImmediateAck => Ok(()),
            Frame::Ack(ack) => fmt_ack(ack, &ack.delay, f),
            Frame::ResetStream {
                id,
                code,
                final_size,
            } => write!(f, " {id} code {code} final size {final_size}"),
            Frame::StopSending { id, code } => write!(f, " {id} code {code}"),
            Frame::Crypto { offset, data } => write!(f, " off {offset} len {}", data.len()),
            Frame::NewToken { token } => write!(f, " len {}", token.len()),
            Frame::Stream {
                id,
                offset,
                data,
                fin,
            } => {
                let end = if *fin { " FIN" } else { "" };
                write!(f, " {id} off {offset} len {}{end}", data.len())
            }
            Frame::MaxData { limit } | Frame::DataBlocked { limit } => write!(f, " {limit}"),
            Frame::MaxStreamData { id, limit } | Frame::StreamDataBlocked { id, limit } => {
                write!(f, " {id} {limit}")
            }
            Frame::MaxStreams { dir, limit } | Frame::StreamsBlocked { dir, limit } => {
                write!(f, " {dir:?} {limit}")
            }
            Frame::NewConnectionId(new) => {
                let (sequence, below) = (new.sequence, new.retire_prior_to);
                write!(f, " {sequence} {} retire below {below}", new.id)
            }
            Frame::RetireConnectionId { sequence } => write!(f, " {sequence}"),
            Frame::PathChallenge { data } | Frame::PathResponse { data } => {
                write!(f, " {:016x}", u64::from_be_bytes(*data))
            }
            Frame::ConnectionClose {
                code,
                frame,
                reason,
            } => {
                let words = error_code::name(*code).unwrap_or("code");
                let at = name(*frame);
                write!(f, " {words} {code:#x} in {at}: {}", words_of(reason))
            }
            Frame::ApplicationClose { code, reason } => {
                write!(f, " by the application, code {code}: {}", words_of(reason))
            }
            Frame::AckFrequency(wish) => {
                let (packets, delay) = (wish.ack_eliciting_threshold, wish.requested_max_ack_delay);
                write!(f, " {} every {packets} or {delay} us", wish.sequence)
            }
            Frame::Datagram { data, .. } => write!(f, " len {}", data.len()),
        }
    }
}

/// An ACK behind its name, with the delay as the caller says it.
pub(crate) fn fmt_ack(
    ack: &super::Ack<'_>,
    delay: &dyn fmt::Display,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (n, range) in ack.ranges().enumerate() {
        if n == RANGES_SHOWN {
            f.write_str(" ..")?;
            break;
        }
        f.write_str(if n == 0 { " " } else { "," })?;
        match range.start() == range.end() {
            true => write!(f, "{}", range.end())?,
            false => write!(f, "{}-{}", range.start(), range.end())?,
        }
    }
    write!(f, " delay {delay}")?;
    match ack.ecn {
        Some(ecn) => write!(f, " ecn {}/{}/{}", ecn.ect0, ecn.ect1, ecn.ce),
        None => Ok(()),
    }
}

/// A reason phrase is a stranger's bytes: control characters would speak to the terminal.
fn words_of(reason: &[u8]) -> String {
    let shown = reason.get(..reason.len().min(256)).unwrap_or_default();
    String::from_utf8_lossy(shown).escape_debug().to_string()
}
