//! Headers to bytes.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "sizes of what is written here"
)]

use super::{FIXED_BIT, FORM_LONG, KEY_PHASE, PacketType, SPIN_BIT};
use crate::wire::{ConnectionId, Version, packet_number, varint};

/// How many bytes the Length field has that is filled in once the packet is complete.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum LengthField {
    /// For packets of up to 16,383 bytes behind it.
    Two,
    /// For all others.
    Four,
}

impl LengthField {
    /// Bytes of the field.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            LengthField::Two => 2,
            LengthField::Four => 4,
        }
    }

    /// What a datagram of at most `max` bytes needs.
    #[must_use]
    pub const fn for_datagram(max: usize) -> LengthField {
        if max <= 0x3fff {
            LengthField::Two
        } else {
            LengthField::Four
        }
    }
}

/// The header of an Initial, 0-RTT or Handshake packet.
#[derive(Copy, Clone, Debug)]
pub struct LongHeader<'a> {
    /// Which of the three.
    pub kind: PacketType,
    /// The version, which decides on the type's bits.
    pub version: Version,
    /// The peer's connection ID.
    pub dcid: &'a ConnectionId,
    /// Ours.
    pub scid: &'a ConnectionId,
    /// The token; only an Initial has the field.
    pub token: &'a [u8],
    /// The packet number.
    pub pn: u64,
    /// Into how many bytes of it, 1 to 4.
    pub pn_len: usize,
    /// False only if the peer agreed to it (RFC 9287 section 3.1).
    pub fixed_bit: bool,
    /// Size of the Length field.
    pub length: LengthField,
}

/// Where in the output a header left what has to be known later.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where the Length field begins.
    pub length_offset: usize,
    /// Its size.
    pub length: LengthField,
    /// Where the packet number begins.
    pub pn_offset: usize,
}

impl LongHeader<'_> {
    /// How many bytes [`LongHeader::write`] appends.
    #[must_use]
    pub fn size(&self) -> usize {
        let token = match self.kind {
            PacketType::Initial => varint::size(self.token.len() as u64) + self.token.len(),
            _ => 0,
        };
        // First byte, version, and a length before each connection ID.
        let ids = 7 + self.dcid.len() + self.scid.len();
        ids + token + self.length.size() + self.pn_len
    }

    /// Appends the header, number included, with a Length that [`finish_length`] puts in.
    pub fn write(&self, out: &mut Vec<u8>) -> Written {
        let fixed = if self.fixed_bit { FIXED_BIT } else { 0 };
        let first = FORM_LONG | fixed | self.kind.bits(self.version) | pn_len_bits(self.pn_len);
        write_invariant(out, first, self.version, self.dcid, self.scid);
        if self.kind == PacketType::Initial {
            varint::encode(self.token.len() as u64, out);
            out.extend_from_slice(self.token);
        }
        let length_offset = out.len();
        match self.length {
            LengthField::Two => out.extend_from_slice(&varint::two_bytes(0)),
            LengthField::Four => out.extend_from_slice(&varint::four_bytes(0)),
        }
        let pn_offset = out.len();
        packet_number::encode(self.pn, self.pn_len, out);
        Written {
            length_offset,
            length: self.length,
            pn_offset,
        }
    }
}

/// Fills in the Length of a packet that ends at the end of `out`, or `tag_len` bytes behind when
/// the tag is still to come (RFC 9000 section 17.2: number and payload, tag included).
pub fn finish_length(out: &mut [u8], written: &Written, tag_len: usize) {
    let len = out.len().saturating_sub(written.pn_offset) + tag_len;
    let field = out.get_mut(written.length_offset..written.pn_offset);
    let Some(field) = field else { return };
    match written.length {
        LengthField::Two => {
            debug_assert!(len <= 0x3fff, "{len} does not fit into two bytes");
            field.copy_from_slice(&varint::two_bytes(len as u16));
        }
        LengthField::Four => field.copy_from_slice(&varint::four_bytes(len as u32)),
    }
}

/// The header of a 1-RTT packet.
#[derive(Copy, Clone, Debug)]
pub struct ShortHeader<'a> {
    /// The peer's connection ID.
    pub dcid: &'a ConnectionId,
    /// The spin bit (RFC 9000 section 17.4).
    pub spin: bool,
    /// The key phase (RFC 9001 section 6).
    pub key_phase: bool,
    /// The packet number.
    pub pn: u64,
    /// Into how many bytes of it, 1 to 4.
    pub pn_len: usize,
    /// False only if the peer agreed to it (RFC 9287 section 3.1).
    pub fixed_bit: bool,
}

impl ShortHeader<'_> {
    /// How many bytes [`ShortHeader::write`] appends.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> usize {
        1 + self.dcid.len() + self.pn_len
    }

    /// Appends the header and returns where the packet number begins.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) -> usize {
        let mut first = pn_len_bits(self.pn_len);
        if self.fixed_bit {
            first |= FIXED_BIT;
        }
        if self.spin {
            first |= SPIN_BIT;
        }
        if self.key_phase {
            first |= KEY_PHASE;
        }
        out.push(first);
        out.extend_from_slice(self.dcid);
        let pn_offset = out.len();
        packet_number::encode(self.pn, self.pn_len, out);
        pn_offset
    }
}

/// Appends a Version Negotiation packet (RFC 9000 section 17.2.1). The IDs are the peer's, already
/// swapped, of up to 255 bytes each; `random` fills the unused bits, of which the one in the fixed
/// bit's place stays 1 so that other protocols on the port are not mistaken for it.
pub fn write_version_negotiation(
    out: &mut Vec<u8>,
    dcid: &[u8],
    scid: &[u8],
    versions: &[Version],
    random: u8,
) {
    let first = FORM_LONG | FIXED_BIT | random;
    write_invariant(out, first, Version::NEGOTIATION, dcid, scid);
    for version in versions {
        out.extend_from_slice(&version.0.to_be_bytes());
    }
}

/// Appends a Retry packet (RFC 9000 section 17.2.5) without its integrity tag, which is computed
/// over it. `random` fills the four unused bits.
pub fn write_retry(
    out: &mut Vec<u8>,
    version: Version,
    dcid: &ConnectionId,
    scid: &ConnectionId,
    token: &[u8],
    random: u8,
) {
    let first = FORM_LONG | FIXED_BIT | PacketType::Retry.bits(version) | random & 0x0f;
    write_invariant(out, first, version, dcid, scid);
    out.extend_from_slice(token);
}

fn pn_len_bits(pn_len: usize) -> u8 {
    (pn_len.clamp(1, 4) - 1) as u8
}

/// What RFC 8999 fixes. IDs longer than 255 bytes do not exist; their rest would be left out.
fn write_invariant(out: &mut Vec<u8>, first: u8, version: Version, dcid: &[u8], scid: &[u8]) {
    out.push(first);
    out.extend_from_slice(&version.0.to_be_bytes());
    for id in [dcid, scid] {
        let len = id.len().min(255);
        out.push(len as u8);
        out.extend_from_slice(id.get(..len).unwrap_or_default());
    }
}
