//! The integrity tag of Retry packets (RFC 9001 section 5.8, RFC 9369 section 3.3.3): proof that
//! whoever sent the Retry has seen the client's Initial, and that it came through undamaged.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use subtle::ConstantTimeEq as _;

use super::TAG_LEN;
use crate::wire::{ConnectionId, Version};

/// Key and nonce of a version.
fn secrets(version: Version) -> Option<([u8; 16], [u8; 12])> {
    match version {
        Version::V1 => Some((
            0xbe0c_690b_9f66_575a_1d76_6b54_e368_c84e_u128.to_be_bytes(),
            [
                0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb,
            ],
        )),
        Version::V2 => Some((
            0x8fb4_b01b_56ac_48e2_60fb_cbce_ad7c_cc92_u128.to_be_bytes(),
            [
                0xd8, 0x69, 0x69, 0xbc, 0x2d, 0x7c, 0x6d, 0x99, 0x90, 0xef, 0xb0, 0x4a,
            ],
        )),
        _ => None,
    }
}

/// The tag of a Retry packet whose other bytes are `packet`, in answer to an Initial with the
/// Destination Connection ID `original_dcid`. `None` for a version that is not spoken here.
pub(crate) fn integrity_tag(
    version: Version,
    original_dcid: &ConnectionId,
    packet: &[u8],
) -> Option<[u8; TAG_LEN]> {
    let (key, nonce) = secrets(version)?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    let mut pseudo = Vec::with_capacity(1 + original_dcid.len() + packet.len());
    pseudo.push(u8::try_from(original_dcid.len()).ok()?);
    pseudo.extend_from_slice(original_dcid);
    pseudo.extend_from_slice(packet);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(&pseudo), &mut [])
        .ok()?;
    tag.as_ref().try_into().ok()
}

/// Whether the last 16 bytes of the Retry `packet` are its tag.
pub(crate) fn is_intact(version: Version, original_dcid: &ConnectionId, packet: &[u8]) -> bool {
    packet
        .split_last_chunk::<TAG_LEN>()
        .and_then(|(rest, tag)| Some((integrity_tag(version, original_dcid, rest)?, tag)))
        .is_some_and(|(expected, tag)| expected.ct_eq(tag).into())
}
