//! Frames to bytes. Every writer appends exactly one frame; [`max_size`] says how large one can get,
//! for who has to know before that it fits.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "sizes and counts of what is written here"
)]

use weir_core::ranges::RangeSet;

use super::types::{self, STREAM_FIN, STREAM_LEN, STREAM_OFF};
use super::{AckFrequency, EcnCounts, Frame, NewConnectionId};
use crate::wire::{Dir, StreamId, varint};

/// Most bytes of the frames whose size depends only on numbers.
pub mod max_size {
    /// RESET_STREAM.
    pub const RESET_STREAM: usize = 1 + 3 * 8;
    /// STOP_SENDING.
    pub const STOP_SENDING: usize = 1 + 2 * 8;
    /// MAX_DATA.
    pub const MAX_DATA: usize = 1 + 8;
    /// MAX_STREAM_DATA.
    pub const MAX_STREAM_DATA: usize = 1 + 2 * 8;
    /// MAX_STREAMS.
    pub const MAX_STREAMS: usize = 1 + 8;
    /// DATA_BLOCKED.
    pub const DATA_BLOCKED: usize = 1 + 8;
    /// STREAM_DATA_BLOCKED.
    pub const STREAM_DATA_BLOCKED: usize = 1 + 2 * 8;
    /// STREAMS_BLOCKED.
    pub const STREAMS_BLOCKED: usize = 1 + 8;
    /// NEW_CONNECTION_ID.
    pub const NEW_CONNECTION_ID: usize = 1 + 2 * 8 + 1 + 20 + 16;
    /// RETIRE_CONNECTION_ID.
    pub const RETIRE_CONNECTION_ID: usize = 1 + 8;
    /// PATH_CHALLENGE.
    pub const PATH_CHALLENGE: usize = 1 + 8;
    /// PATH_RESPONSE.
    pub const PATH_RESPONSE: usize = 1 + 8;
    /// ACK_FREQUENCY.
    pub const ACK_FREQUENCY: usize = 2 + 4 * 8;
    /// STREAM up to its data, with a length.
    pub const STREAM_HEADER: usize = 1 + 3 * 8;
    /// CRYPTO up to its data.
    pub const CRYPTO_HEADER: usize = 1 + 2 * 8;
    /// CONNECTION_CLOSE up to its reason.
    pub const CONNECTION_CLOSE_HEADER: usize = 1 + 3 * 8;
}

#[inline]
fn numbers<const N: usize>(out: &mut Vec<u8>, kind: u64, values: [u64; N]) {
    varint::encode(kind, out);
    for value in values {
        varint::encode(value, out);
    }
}

/// PADDING: `len` bytes of it.
#[inline]
pub fn padding(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len, 0);
}

/// PING.
pub fn ping(out: &mut Vec<u8>) {
    out.push(types::PING as u8);
}

/// ACK of the newest of `ranges`, as many as fit into `max` bytes. `delay` is the field's value,
/// already divided by the exponent. Returns the largest number acknowledged; `None`, and nothing is
/// written, when there are no ranges or not even one fits.
#[must_use]
pub fn ack(
    out: &mut Vec<u8>,
    max: usize,
    ranges: &RangeSet,
    delay: u64,
    ecn: Option<EcnCounts>,
) -> Option<u64> {
    let first = ranges.last()?;
    let largest = first.end - 1;
    let first_len = largest - first.start;
    let counts = ecn.map(|ecn| [ecn.ect0, ecn.ect1, ecn.ce]);
    let sizes = [largest, delay, first_len].into_iter().map(varint::size);
    let ecn_size = counts.map_or(0, |counts| counts.into_iter().map(varint::size).sum());
    let fixed: usize = 1 + sizes.sum::<usize>() + ecn_size;

    let (mut count, mut pairs_size, mut smallest) = (0u64, 0, first.start);
    for range in ranges.iter().rev().skip(1) {
        let (gap, len) = pair(smallest, &range);
        let size = pairs_size + varint::size(gap) + varint::size(len);
        if fixed + varint::size(count + 1) + size > max {
            break;
        }
        (count, pairs_size, smallest) = (count + 1, size, range.start);
    }
    if fixed + varint::size(count) + pairs_size > max {
        return None;
    }

    let kind = if ecn.is_some() {
        types::ACK_ECN
    } else {
        types::ACK
    };
    numbers(out, kind, [largest, delay, count, first_len]);
    smallest = first.start;
    for range in ranges.iter().rev().skip(1).take(count as usize) {
        let (gap, len) = pair(smallest, &range);
        varint::encode(gap, out);
        varint::encode(len, out);
        smallest = range.start;
    }
    for value in counts.into_iter().flatten() {
        varint::encode(value, out);
    }
    Some(largest)
}

/// Gap and ACK Range Length for a range below `smallest` (RFC 9000 section 19.3.1). Ranges of a set
/// never touch, so at least one number lies between.
#[inline]
fn pair(smallest: u64, range: &core::ops::Range<u64>) -> (u64, u64) {
    (smallest - range.end - 1, range.end - range.start - 1)
}

/// RESET_STREAM.
pub fn reset_stream(out: &mut Vec<u8>, id: StreamId, code: u64, final_size: u64) {
    numbers(out, types::RESET_STREAM, [id.0, code, final_size]);
}

/// STOP_SENDING.
pub fn stop_sending(out: &mut Vec<u8>, id: StreamId, code: u64) {
    numbers(out, types::STOP_SENDING, [id.0, code]);
}

/// CRYPTO up to its data, of which `len` bytes are to follow.
pub fn crypto_header(out: &mut Vec<u8>, offset: u64, len: usize) {
    numbers(out, types::CRYPTO, [offset, len as u64]);
}

/// Bytes that [`crypto_header`] writes.
#[must_use]
pub const fn crypto_header_size(offset: u64, len: usize) -> usize {
    1 + varint::size(offset) + varint::size(len as u64)
}

/// NEW_TOKEN; `token` must not be empty.
pub fn new_token(out: &mut Vec<u8>, token: &[u8]) {
    debug_assert!(!token.is_empty());
    numbers(out, types::NEW_TOKEN, [token.len() as u64]);
    out.extend_from_slice(token);
}

/// Bytes that [`new_token`] writes.
#[must_use]
pub const fn new_token_size(len: usize) -> usize {
    1 + varint::size(len as u64) + len
}

/// STREAM up to its data, of which `len` bytes are to follow. With `None` the data goes on to the
/// end of the packet.
#[inline]
pub fn stream_header(out: &mut Vec<u8>, id: StreamId, offset: u64, fin: bool, len: Option<usize>) {
    let mut kind = types::STREAM;
    if offset > 0 {
        kind |= STREAM_OFF;
    }
    if len.is_some() {
        kind |= STREAM_LEN;
    }
    if fin {
        kind |= STREAM_FIN;
    }
    out.push(kind as u8);
    varint::encode(id.0, out);
    if offset > 0 {
        varint::encode(offset, out);
    }
    if let Some(len) = len {
        varint::encode(len as u64, out);
    }
}

/// Bytes that [`stream_header`] writes.
#[inline]
#[must_use]
pub const fn stream_header_size(id: StreamId, offset: u64, len: Option<usize>) -> usize {
    let offset = if offset > 0 { varint::size(offset) } else { 0 };
    let len = match len {
        Some(len) => varint::size(len as u64),
        None => 0,
    };
    1 + varint::size(id.0) + offset + len
}

/// MAX_DATA.
pub fn max_data(out: &mut Vec<u8>, limit: u64) {
    numbers(out, types::MAX_DATA, [limit]);
}

/// MAX_STREAM_DATA.
pub fn max_stream_data(out: &mut Vec<u8>, id: StreamId, limit: u64) {
    numbers(out, types::MAX_STREAM_DATA, [id.0, limit]);
}

/// MAX_STREAMS; `limit` is at most [`MAX_STREAM_COUNT`](super::MAX_STREAM_COUNT).
pub fn max_streams(out: &mut Vec<u8>, dir: Dir, limit: u64) {
    numbers(out, types::MAX_STREAMS_BIDI + dir as u64, [limit]);
}

/// DATA_BLOCKED.
pub fn data_blocked(out: &mut Vec<u8>, limit: u64) {
    numbers(out, types::DATA_BLOCKED, [limit]);
}

/// STREAM_DATA_BLOCKED.
pub fn stream_data_blocked(out: &mut Vec<u8>, id: StreamId, limit: u64) {
    numbers(out, types::STREAM_DATA_BLOCKED, [id.0, limit]);
}

/// STREAMS_BLOCKED; `limit` is at most [`MAX_STREAM_COUNT`](super::MAX_STREAM_COUNT).
pub fn streams_blocked(out: &mut Vec<u8>, dir: Dir, limit: u64) {
    numbers(out, types::STREAMS_BLOCKED_BIDI + dir as u64, [limit]);
}

/// NEW_CONNECTION_ID.
pub fn new_connection_id(out: &mut Vec<u8>, frame: &NewConnectionId) {
    let values = [frame.sequence, frame.retire_prior_to];
    numbers(out, types::NEW_CONNECTION_ID, values);
    out.push(frame.id.len() as u8);
    out.extend_from_slice(&frame.id);
    out.extend_from_slice(&frame.reset_token);
}

/// RETIRE_CONNECTION_ID.
pub fn retire_connection_id(out: &mut Vec<u8>, sequence: u64) {
    numbers(out, types::RETIRE_CONNECTION_ID, [sequence]);
}

/// PATH_CHALLENGE.
pub fn path_challenge(out: &mut Vec<u8>, data: [u8; 8]) {
    out.push(types::PATH_CHALLENGE as u8);
    out.extend_from_slice(&data);
}

/// PATH_RESPONSE.
pub fn path_response(out: &mut Vec<u8>, data: [u8; 8]) {
    out.push(types::PATH_RESPONSE as u8);
    out.extend_from_slice(&data);
}

/// CONNECTION_CLOSE of type 0x1c; `frame` is the type of the frame at fault, or 0.
pub fn connection_close(out: &mut Vec<u8>, code: u64, frame: u64, reason: &[u8]) {
    let values = [code, frame, reason.len() as u64];
    numbers(out, types::CONNECTION_CLOSE, values);
    out.extend_from_slice(reason);
}

/// CONNECTION_CLOSE of type 0x1d.
pub fn application_close(out: &mut Vec<u8>, code: u64, reason: &[u8]) {
    numbers(out, types::APPLICATION_CLOSE, [code, reason.len() as u64]);
    out.extend_from_slice(reason);
}

/// HANDSHAKE_DONE.
pub fn handshake_done(out: &mut Vec<u8>) {
    out.push(types::HANDSHAKE_DONE as u8);
}

/// ACK_FREQUENCY.
pub fn ack_frequency(out: &mut Vec<u8>, frame: &AckFrequency) {
    let values = [
        frame.sequence,
        frame.ack_eliciting_threshold,
        frame.requested_max_ack_delay,
        frame.reordering_threshold,
    ];
    numbers(out, types::ACK_FREQUENCY, values);
}

/// IMMEDIATE_ACK.
pub fn immediate_ack(out: &mut Vec<u8>) {
    out.push(types::IMMEDIATE_ACK as u8);
}

/// DATAGRAM, with its length or up to the end of the packet.
pub fn datagram(out: &mut Vec<u8>, data: &[u8], with_length: bool) {
    if with_length {
        numbers(out, types::DATAGRAM_LEN, [data.len() as u64]);
    } else {
        out.push(types::DATAGRAM as u8);
    }
    out.extend_from_slice(data);
}

/// Bytes that [`datagram`] writes: what the peer's `max_datagram_frame_size` limits.
#[must_use]
pub const fn datagram_size(len: usize, with_length: bool) -> usize {
    let length = if with_length {
        varint::size(len as u64)
    } else {
        0
    };
    1 + length + len
}

/// Any frame as it was read, with explicit lengths: for tools and tests, which have a frame in hand.
pub fn frame(out: &mut Vec<u8>, frame: &Frame<'_>) {
    match frame {
        Frame::Padding { len } => padding(out, *len),
        Frame::Ping => ping(out),
        Frame::Ack(ack) => ack_again(out, ack),
        Frame::ResetStream {
            id,
            code,
            final_size,
        } => reset_stream(out, *id, *code, *final_size),
        Frame::StopSending { id, code } => stop_sending(out, *id, *code),
        Frame::Crypto { offset, data } => {
            crypto_header(out, *offset, data.len());
            out.extend_from_slice(data);
        }
        Frame::NewToken { token } => new_token(out, token),
        Frame::Stream {
            id,
            offset,
            data,
            fin,
        } => {
            stream_header(out, *id, *offset, *fin, Some(data.len()));
            out.extend_from_slice(data);
        }
        Frame::MaxData { limit } => max_data(out, *limit),
        Frame::MaxStreamData { id, limit } => max_stream_data(out, *id, *limit),
        Frame::MaxStreams { dir, limit } => max_streams(out, *dir, *limit),
        Frame::DataBlocked { limit } => data_blocked(out, *limit),
        Frame::StreamDataBlocked { id, limit } => stream_data_blocked(out, *id, *limit),
        Frame::StreamsBlocked { dir, limit } => streams_blocked(out, *dir, *limit),
        Frame::NewConnectionId(frame) => new_connection_id(out, frame),
        Frame::RetireConnectionId { sequence } => retire_connection_id(out, *sequence),
        Frame::PathChallenge { data } => path_challenge(out, *data),
        Frame::PathResponse { data } => path_response(out, *data),
        Frame::ConnectionClose {
            code,
            frame,
            reason,
        } => connection_close(out, *code, *frame, reason),
        Frame::ApplicationClose { code, reason } => application_close(out, *code, reason),
        Frame::HandshakeDone => handshake_done(out),
        Frame::AckFrequency(frame) => ack_frequency(out, frame),
        Frame::ImmediateAck => immediate_ack(out),
        Frame::Datagram { data, .. } => datagram(out, data, true),
    }
}

fn ack_again(out: &mut Vec<u8>, frame: &super::Ack<'_>) {
    let mut ranges = RangeSet::new(usize::MAX);
    for range in frame.ranges() {
        ranges.insert(*range.start()..range.end() + 1);
    }
    let _largest = ack(out, usize::MAX, &ranges, frame.delay, frame.ecn);
}
