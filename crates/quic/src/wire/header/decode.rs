//! Headers from bytes.

use core::ops::Range;

use thiserror::Error;

use super::{FIXED_BIT, FORM_LONG, PacketType, RETRY_TAG_LEN};
use crate::wire::varint::{Reader, Truncated};
use crate::wire::{ConnectionId, Version};

/// Why a packet is dropped, and with it the rest of its datagram. None of these ends a connection:
/// anybody can send such bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The datagram ends before the header, or before the packet that the header tells of.
    #[error("the datagram ends before the packet does")]
    Truncated,
    /// The fixed bit is 0 and was not agreed to be random (RFC 9000 section 17.2, RFC 9287).
    #[error("the fixed bit is 0")]
    FixedBit,
    /// A version that is not spoken here: [`LongInvariant`] reads what can be read.
    #[error("version {0} is not spoken")]
    UnsupportedVersion(Version),
    /// A connection ID of more than 20 bytes in version 1, 2 or a Version Negotiation packet.
    #[error("a connection ID is longer than 20 bytes")]
    ConnectionIdTooLong,
    /// A Retry packet without a token (RFC 9000 section 17.2.5.2).
    #[error("a Retry packet without a token")]
    EmptyRetryToken,
}

impl From<Truncated> for HeaderError {
    fn from(_: Truncated) -> HeaderError {
        HeaderError::Truncated
    }
}

/// What to make of the fixed bit.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum FixedBit {
    /// A packet without it is dropped.
    Required,
    /// It may have either value: the peer was told so by `grease_quic_bit` (RFC 9287 section 3).
    Any,
}

/// What every version's long header has (RFC 8999 section 5.1).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LongInvariant<'a> {
    /// The first byte.
    pub first: u8,
    /// The version.
    pub version: Version,
    /// Destination connection ID, up to 255 bytes.
    pub dcid: &'a [u8],
    /// Source connection ID, up to 255 bytes.
    pub scid: &'a [u8],
    /// Everything behind, which depends on the version.
    pub rest: &'a [u8],
}

impl<'a> LongInvariant<'a> {
    /// Reads it; `None` when the header is short, or cut off.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<LongInvariant<'a>> {
        let mut reader = Reader::new(datagram);
        let first = reader.u8().ok()?;
        if first & FORM_LONG == 0 {
            return None;
        }
        let version = Version(reader.u32().ok()?);
        let dcid_len = reader.u8().ok()?;
        let dcid = reader.bytes(usize::from(dcid_len)).ok()?;
        let scid_len = reader.u8().ok()?;
        let scid = reader.bytes(usize::from(scid_len)).ok()?;
        Some(LongInvariant {
            first,
            version,
            dcid,
            scid,
            rest: reader.rest(),
        })
    }
}

/// The destination connection ID of a datagram's first packet, whatever its version: for routing.
/// `local_cid_len` is the length of the IDs issued here, which short headers do not tell.
#[inline]
#[must_use]
pub fn peek_dcid(datagram: &[u8], local_cid_len: usize) -> Option<&[u8]> {
    let (first, rest) = datagram.split_first()?;
    if first & FORM_LONG == 0 {
        return rest.get(..local_cid_len);
    }
    let mut reader = Reader::new(rest);
    let _version = reader.u32().ok()?;
    let len = reader.u8().ok()?;
    reader.bytes(usize::from(len)).ok()
}

/// One packet of a datagram, by offsets: nothing is borrowed, so that it can be opened in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: PacketType,
    /// The first byte, still under header protection.
    pub first: u8,
    /// The version; [`Version::NEGOTIATION`] in Version Negotiation and in short headers.
    pub version: Version,
    /// Destination connection ID.
    pub dcid: ConnectionId,
    /// Source connection ID; empty in short headers, which have none.
    pub scid: ConnectionId,
    /// Where the token of an Initial or Retry packet is. Empty for the others.
    pub token: Range<usize>,
    /// Where the packet number begins. In Version Negotiation, where the list of versions does;
    /// in Retry, where the integrity tag does.
    pub pn_offset: usize,
    /// Where this packet ends, and the next one in the datagram begins.
    pub packet_len: usize,
}

impl Packet {
    /// Reads the header of the packet at the start of `datagram`. `local_cid_len` is the length of
    /// the connection IDs issued here. Nothing is protected yet that is looked at.
    pub fn parse(
        datagram: &[u8],
        local_cid_len: usize,
        fixed_bit: FixedBit,
    ) -> Result<Packet, HeaderError> {
        let first = *datagram.first().ok_or(HeaderError::Truncated)?;
        if first & FORM_LONG != 0 {
            return parse_long(datagram, fixed_bit);
        }
        if first & FIXED_BIT == 0 && fixed_bit == FixedBit::Required {
            return Err(HeaderError::FixedBit);
        }
        let pn_offset = local_cid_len.saturating_add(1);
        let dcid = datagram.get(1..pn_offset).ok_or(HeaderError::Truncated)?;
        Ok(Packet {
            kind: PacketType::OneRtt,
            first,
            version: Version::NEGOTIATION,
            dcid: ConnectionId::new(dcid).ok_or(HeaderError::ConnectionIdTooLong)?,
            scid: ConnectionId::EMPTY,
            token: 0..0,
            pn_offset,
            packet_len: datagram.len(),
        })
    }
}

fn parse_long(datagram: &[u8], fixed_bit: FixedBit) -> Result<Packet, HeaderError> {
    let head = LongInvariant::parse(datagram).ok_or(HeaderError::Truncated)?;
    let version = head.version;
    if version != Version::NEGOTIATION && !version.is_supported() {
        return Err(HeaderError::UnsupportedVersion(version));
    }
    let long_id = HeaderError::ConnectionIdTooLong;
    let mut packet = Packet {
        kind: PacketType::VersionNegotiation,
        first: head.first,
        version,
        dcid: ConnectionId::new(head.dcid).ok_or(long_id)?,
        scid: ConnectionId::new(head.scid).ok_or(long_id)?,
        token: 0..0,
        pn_offset: datagram.len().saturating_sub(head.rest.len()),
        packet_len: datagram.len(),
    };
    if version == Version::NEGOTIATION {
        return Ok(packet);
    }
    if head.first & FIXED_BIT == 0 && fixed_bit == FixedBit::Required {
        return Err(HeaderError::FixedBit);
    }
    packet.kind = PacketType::from_bits(head.first >> 4, version);
    match packet.kind {
        PacketType::Retry => parse_retry(&mut packet)?,
        _ => parse_numbered(&mut packet, head.rest)?,
    }
    Ok(packet)
}

/// The token is everything up to the tag, and there is at least a byte of it.
fn parse_retry(packet: &mut Packet) -> Result<(), HeaderError> {
    let start = packet.pn_offset;
    let tag = packet
        .packet_len
        .checked_sub(RETRY_TAG_LEN)
        .filter(|tag| *tag >= start)
        .ok_or(HeaderError::Truncated)?;
    if tag == start {
        return Err(HeaderError::EmptyRetryToken);
    }
    packet.token = start..tag;
    packet.pn_offset = tag;
    Ok(())
}

/// Token (Initial only) and Length.
fn parse_numbered(packet: &mut Packet, rest: &[u8]) -> Result<(), HeaderError> {
    let end = packet.packet_len;
    let mut reader = Reader::new(rest);
    if packet.kind == PacketType::Initial {
        let token = reader.with_length()?;
        let token_end = end.saturating_sub(reader.remaining());
        packet.token = token_end.saturating_sub(token.len())..token_end;
    }
    let payload = reader.with_length()?;
    packet.packet_len = end.saturating_sub(reader.remaining());
    packet.pn_offset = packet.packet_len.saturating_sub(payload.len());
    Ok(())
}

/// The versions listed in a Version Negotiation packet, from [`Packet::pn_offset`] on. `None` when
/// the list is empty or its length is not a multiple of four: such a packet is dropped.
#[must_use]
pub fn versions(list: &[u8]) -> Option<impl Iterator<Item = Version> + Clone + '_> {
    let (versions, []) = list.as_chunks::<4>() else {
        return None;
    };
    (!versions.is_empty()).then(|| {
        versions
            .iter()
            .map(|bytes| Version(u32::from_be_bytes(*bytes)))
    })
}
