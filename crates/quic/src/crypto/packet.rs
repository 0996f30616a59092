//! One packet, sealed or opened in place with given keys (RFC 9001 sections 5.3 and 5.4).

use std::ops::Range;

use rustls::quic::{HeaderProtectionKey, PacketKey};

use crate::wire::packet_number;

/// Bytes of the tag that every cipher of TLS 1.3 for QUIC appends (RFC 9001 section 5.3).
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of ciphertext that header protection looks at (RFC 9001 section 5.4.2).
pub(crate) const SAMPLE_LEN: usize = 16;
/// The longest packet number, which the place of the sample assumes (RFC 9001 section 5.4.2).
const MAX_NUMBER_LEN: usize = 4;
/// The bit of the first byte that tells long from short headers.
const LONG_HEADER: u8 = 0x80;
/// Reserved bits of long headers (RFC 9000 section 17.2).
const LONG_RESERVED: u8 = 0x0c;
/// Reserved bits of short headers (RFC 9000 section 17.3.1).
const SHORT_RESERVED: u8 = 0x18;
/// The Key Phase bit of short headers (RFC 9000 section 17.3.1).
pub(super) const KEY_PHASE: u8 = 0x04;

/// A packet that cannot be sealed: too short for a sample, or longer than the cipher takes. Ours
/// to avoid: payloads are padded to 4 bytes less the packet number's.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct NotSealed;

/// Seals the payload of `packet` and protects its header. The last [`TAG_LEN`] bytes of `packet`
/// are room for the tag; the packet number `pn` is written in `pn_len` bytes at `pn_offset`.
pub(super) fn seal(
    header_key: &dyn HeaderProtectionKey,
    packet_key: &dyn PacketKey,
    packet: &mut [u8],
    pn_offset: usize,
    pn_len: usize,
    pn: u64,
) -> Result<(), NotSealed> {
    if pn_len > MAX_NUMBER_LEN || packet.len() < pn_offset + MAX_NUMBER_LEN + SAMPLE_LEN {
        return Err(NotSealed);
    }
    let (header, body) = packet
        .split_at_mut_checked(pn_offset + pn_len)
        .ok_or(NotSealed)?;
    let (payload, tag_room) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(NotSealed)?;
    let tag = packet_key
        .encrypt_in_place(pn, header, payload)
        .map_err(|_| NotSealed)?;
    *tag_room = tag.as_ref().try_into().map_err(|_| NotSealed)?;

    let (first, number, sample) = protected_parts(packet, pn_offset).ok_or(NotSealed)?;
    let number = number.get_mut(..pn_len).ok_or(NotSealed)?;
    header_key
        .encrypt_in_place(sample, first, number)
        .map_err(|_| NotSealed)
}

/// What header protection covers and looks at: the first byte, the bytes that may be the packet
/// number, and the sample. `None` when the packet is too short to have a sample.
fn protected_parts(packet: &mut [u8], pn_offset: usize) -> Option<(&mut u8, &mut [u8], &[u8])> {
    let (head, rest) = packet.split_at_mut_checked(pn_offset)?;
    let (number, rest) = rest.split_at_mut_checked(MAX_NUMBER_LEN)?;
    Some((head.first_mut()?, number, rest.get(..SAMPLE_LEN)?))
}

/// What a header says once its protection is removed. Not yet authenticated.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The first byte.
    pub(super) first: u8,
    /// The whole packet number.
    pub(super) pn: u64,
    /// Bytes of the header, packet number included.
    pub(super) len: usize,
}

impl Header {
    /// True when a bit that has to be zero is not.
    pub(super) fn reserved_bits(&self) -> bool {
        let mask = if self.first & LONG_HEADER != 0 {
            LONG_RESERVED
        } else {
            SHORT_RESERVED
        };
        self.first & mask != 0
    }
}

/// Removes the header protection of `packet` in place. `expected` is one more than the largest
/// packet number received in this space. `None` when the packet is too short for a sample: it is
/// dropped (RFC 9001 section 5.4.2) and its bytes are as they were.
pub(super) fn unprotect(
    header_key: &dyn HeaderProtectionKey,
    packet: &mut [u8],
    pn_offset: usize,
    expected: u64,
) -> Option<Header> {
    let (first, number, sample) = protected_parts(packet, pn_offset)?;
    header_key.decrypt_in_place(sample, first, number).ok()?;
    let first = *first;
    let pn_len = usize::from(first & 0x03) + 1;
    let truncated = number
        .get(..pn_len)?
        .iter()
        .fold(0, |value, &byte| value << 8 | u32::from(byte));
    Some(Header {
        first,
        pn: packet_number::decode(truncated, pn_len, expected),
        len: pn_offset + pn_len,
    })
}

/// Opens the payload of `packet` in place; the header is already plain. The range of the payload,
/// or `None` when it is not authentic: the bytes behind the header are then without meaning.
pub(super) fn open(
    packet_key: &dyn PacketKey,
    packet: &mut [u8],
    header: &Header,
) -> Option<Range<usize>> {
    let (head, body) = packet.split_at_mut_checked(header.len)?;
    let payload = packet_key.decrypt_in_place(header.pn, head, body).ok()?;
    Some(header.len..header.len + payload.len())
}
