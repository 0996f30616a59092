//! Frames from bytes.

use super::ack::AckError;
use super::types::{self, STREAM_FIN, STREAM_LAST, STREAM_LEN, STREAM_OFF};
use super::{Ack, AckFrequency, Frame, MAX_STREAM_COUNT, NewConnectionId};
use crate::error::{TransportError, code};
use crate::wire::header::PacketType;
use crate::wire::varint::{self, Reader, Truncated};
use crate::wire::{ConnectionId, Dir, StreamId};

/// Why a frame cannot be read; becomes a [`TransportError`] once its type is added.
enum Fault {
    Truncated,
    Invalid(&'static str),
}

impl From<Truncated> for Fault {
    fn from(_: Truncated) -> Fault {
        Fault::Truncated
    }
}

impl From<AckError> for Fault {
    fn from(error: AckError) -> Fault {
        match error {
            AckError::Truncated => Fault::Truncated,
            AckError::BelowZero => Fault::Invalid("ACK range below zero"),
        }
    }
}

/// The frames of one packet, in order. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    packet: PacketType,
}

impl<'a> Frames<'a> {
    /// Reads `payload` of a packet of type `packet`. A payload without a frame is an error
    /// (RFC 9000 section 12.4).
    #[inline]
    pub fn new(payload: &'a [u8], packet: PacketType) -> Result<Frames<'a>, TransportError> {
        if payload.is_empty() {
            return Err(TransportError::new(
                code::PROTOCOL_VIOLATION,
                "a packet without frames",
            ));
        }
        Ok(Frames {
            reader: Reader::new(payload),
            packet,
        })
    }

    /// Bytes that were not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.reader.remaining()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, TransportError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let frame = Frame::decode_in(&mut self.reader, Some(self.packet));
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}

impl<'a> Frame<'a> {
    /// Reads one frame, whatever packet it is in. PADDING is read in one go as far as it lasts.
    ///
    /// # Errors
    ///
    /// FRAME_ENCODING_ERROR for what cannot be read or breaks a limit of the frame itself,
    /// PROTOCOL_VIOLATION for a type that is not in its shortest form (RFC 9000 section 12.4).
    pub fn decode(reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
        Frame::decode_in(reader, None)
    }

    /// Reads one frame, and checks first that its type may be in a packet of type `packet`
    /// (PROTOCOL_VIOLATION, RFC 9000 section 12.5).
    #[inline]
    pub fn decode_in(
        reader: &mut Reader<'a>,
        packet: Option<PacketType>,
    ) -> Result<Frame<'a>, TransportError> {
        let whole = reader.remaining();
        let (kind, minimal) = match reader.varint_minimal() {
            Ok(read) => read,
            Err(Truncated) => return Err(malformed(0, "a frame type that is cut off")),
        };
        if !minimal {
            return Err(violation(kind, "a frame type not in its shortest form"));
        }
        if !types::is_known(kind) {
            return Err(malformed(kind, "an unknown frame type"));
        }
        if packet.is_some_and(|packet| !types::permitted(kind, packet)) {
            return Err(violation(kind, "a frame that such a packet may not have"));
        }
        match body(kind, reader, whole) {
            Ok(frame) => Ok(frame),
            Err(Fault::Truncated) => Err(malformed(kind, "a frame that is cut off")),
            Err(Fault::Invalid(reason)) => Err(malformed(kind, reason)),
        }
    }
}

#[cold]
fn malformed(kind: u64, reason: &'static str) -> TransportError {
    TransportError::new(code::FRAME_ENCODING_ERROR, reason).in_frame(kind)
}

#[cold]
fn violation(kind: u64, reason: &'static str) -> TransportError {
    TransportError::new(code::PROTOCOL_VIOLATION, reason).in_frame(kind)
}

/// What follows the type. `whole` is how many bytes there were with the type.
#[inline]
fn body<'a>(kind: u64, reader: &mut Reader<'a>, whole: usize) -> Result<Frame<'a>, Fault> {
    Ok(match kind {
        types::STREAM..=STREAM_LAST => stream(kind, reader)?,
        types::ACK | types::ACK_ECN => Frame::Ack(Ack::decode(reader, kind == types::ACK_ECN)?),
        types::PADDING => padding(reader),
        types::PING => Frame::Ping,
        types::CRYPTO => crypto(reader)?,
        types::DATAGRAM | types::DATAGRAM_LEN => datagram(kind, reader, whole)?,
        types::MAX_DATA => Frame::MaxData {
            limit: reader.varint()?,
        },
        types::MAX_STREAM_DATA => Frame::MaxStreamData {
            id: StreamId(reader.varint()?),
            limit: reader.varint()?,
        },
        types::RESET_STREAM => Frame::ResetStream {
            id: StreamId(reader.varint()?),
            code: reader.varint()?,
            final_size: reader.varint()?,
        },
        types::STOP_SENDING => Frame::StopSending {
            id: StreamId(reader.varint()?),
            code: reader.varint()?,
        },
        _ => rare(kind, reader)?,
    })
}

/// The frames that come seldom.
fn rare<'a>(kind: u64, reader: &mut Reader<'a>) -> Result<Frame<'a>, Fault> {
    Ok(match kind {
        types::NEW_TOKEN => Frame::NewToken {
            token: not_empty(reader.with_length()?)?,
        },
        types::MAX_STREAMS_BIDI | types::MAX_STREAMS_UNI => Frame::MaxStreams {
            dir: dir(kind),
            limit: stream_count(reader)?,
        },
        types::DATA_BLOCKED => Frame::DataBlocked {
            limit: reader.varint()?,
        },
        types::STREAM_DATA_BLOCKED => Frame::StreamDataBlocked {
            id: StreamId(reader.varint()?),
            limit: reader.varint()?,
        },
        types::STREAMS_BLOCKED_BIDI | types::STREAMS_BLOCKED_UNI => Frame::StreamsBlocked {
            dir: dir(kind),
            limit: stream_count(reader)?,
        },
        types::NEW_CONNECTION_ID => Frame::NewConnectionId(new_connection_id(reader)?),
        types::RETIRE_CONNECTION_ID => Frame::RetireConnectionId {
            sequence: reader.varint()?,
        },
        types::PATH_CHALLENGE => Frame::PathChallenge {
            data: reader.array()?,
        },
        types::PATH_RESPONSE => Frame::PathResponse {
            data: reader.array()?,
        },
        types::CONNECTION_CLOSE => Frame::ConnectionClose {
            code: reader.varint()?,
            frame: reader.varint()?,
            reason: reader.with_length()?,
        },
        types::APPLICATION_CLOSE => Frame::ApplicationClose {
            code: reader.varint()?,
            reason: reader.with_length()?,
        },
        types::HANDSHAKE_DONE => Frame::HandshakeDone,
        types::IMMEDIATE_ACK => Frame::ImmediateAck,
        types::ACK_FREQUENCY => Frame::AckFrequency(AckFrequency {
            sequence: reader.varint()?,
            ack_eliciting_threshold: reader.varint()?,
            requested_max_ack_delay: reader.varint()?,
            reordering_threshold: reader.varint()?,
        }),
        _ => return Err(Fault::Invalid("an unknown frame type")),
    })
}

/// RFC 9000 section 19.8. The last byte a stream can have is at offset 2^62 - 2.
#[inline]
fn stream<'a>(kind: u64, reader: &mut Reader<'a>) -> Result<Frame<'a>, Fault> {
    let id = StreamId(reader.varint()?);
    let offset = if kind & STREAM_OFF != 0 {
        reader.varint()?
    } else {
        0
    };
    let data = if kind & STREAM_LEN != 0 {
        reader.with_length()?
    } else {
        reader.take_rest()
    };
    check_end(offset, data)?;
    Ok(Frame::Stream {
        id,
        offset,
        data,
        fin: kind & STREAM_FIN != 0,
    })
}

fn crypto<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, Fault> {
    let offset = reader.varint()?;
    let data = reader.with_length()?;
    check_end(offset, data)?;
    Ok(Frame::Crypto { offset, data })
}

#[inline]
fn check_end(offset: u64, data: &[u8]) -> Result<(), Fault> {
    if offset.saturating_add(data.len() as u64) > varint::MAX {
        return Err(Fault::Invalid("data beyond the largest offset"));
    }
    Ok(())
}

fn datagram<'a>(kind: u64, reader: &mut Reader<'a>, whole: usize) -> Result<Frame<'a>, Fault> {
    let data = if kind == types::DATAGRAM_LEN {
        reader.with_length()?
    } else {
        reader.take_rest()
    };
    Ok(Frame::Datagram {
        data,
        frame_size: whole.saturating_sub(reader.remaining()),
    })
}

/// Padding is often a thousand bytes to the end of a datagram: zeros are counted in blocks.
fn padding<'a>(reader: &mut Reader<'a>) -> Frame<'a> {
    let bytes = reader.rest();
    let (blocks, _) = bytes.as_chunks::<32>();
    let zero_blocks = blocks.iter().take_while(|block| **block == [0; 32]).count();
    let skipped = zero_blocks.saturating_mul(32);
    let tail = bytes.get(skipped..).unwrap_or_default();
    let zeros = tail.iter().take_while(|byte| **byte == 0).count();
    let run = skipped.saturating_add(zeros);
    *reader = Reader::new(bytes.get(run..).unwrap_or_default());
    Frame::Padding {
        len: run.saturating_add(1),
    }
}

/// RFC 9000 section 19.7: an empty token is an error.
fn not_empty(token: &[u8]) -> Result<&[u8], Fault> {
    if token.is_empty() {
        return Err(Fault::Invalid("an empty token"));
    }
    Ok(token)
}

/// RFC 9000 sections 19.11 and 19.14.
fn stream_count(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    let count = reader.varint()?;
    if count > MAX_STREAM_COUNT {
        return Err(Fault::Invalid("more streams than there are stream IDs"));
    }
    Ok(count)
}

/// The lowest bit of MAX_STREAMS and STREAMS_BLOCKED.
fn dir(kind: u64) -> Dir {
    if kind & 1 == 0 { Dir::Bi } else { Dir::Uni }
}

/// RFC 9000 section 19.15.
fn new_connection_id(reader: &mut Reader<'_>) -> Result<NewConnectionId, Fault> {
    let sequence = reader.varint()?;
    let retire_prior_to = reader.varint()?;
    if retire_prior_to > sequence {
        return Err(Fault::Invalid("Retire Prior To above Sequence Number"));
    }
    let len = usize::from(reader.u8()?);
    if !(1..=ConnectionId::MAX_LEN).contains(&len) {
        return Err(Fault::Invalid("a connection ID of 0 or above 20 bytes"));
    }
    let id = ConnectionId::new(reader.bytes(len)?);
    Ok(NewConnectionId {
        sequence,
        retire_prior_to,
        id: id.ok_or(Fault::Truncated)?,
        reset_token: reader.array()?,
    })
}
