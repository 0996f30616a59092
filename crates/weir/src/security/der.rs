//! The few ASN.1 structures that are read by hand, over `asn1-rs`. `None` is anything but exactly
//! the structure.

use x509_parser::asn1_rs::{Any, FromDer, Tag};

/// Reads one element with this tag: its contents, and what follows it.
fn element(input: &[u8], tag: Tag) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(input).ok()?;
    (any.tag() == tag).then_some((any.data, rest))
}

/// Reads one element with this tag and nothing after it.
fn only(input: &[u8], tag: Tag) -> Option<&[u8]> {
    let (contents, rest) = element(input, tag)?;
    rest.is_empty().then_some(contents)
}

/// Reads a SubjectPublicKeyInfo (RFC 5280 4.1): the contents of its AlgorithmIdentifier, and the
/// key's bytes.
pub(super) fn read_spki(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let (algorithm, rest) = element(only(spki, Tag::Sequence)?, Tag::Sequence)?;
    // The first byte of a BIT STRING counts unused bits at its end; keys are whole bytes.
    match only(rest, Tag::BitString)? {
        [0, key @ ..] => Some((algorithm, key)),
        _ => None,
    }
}

/// Reads libp2p's SignedKey: the public key's protobuf message, and the signature.
pub(super) fn read_signed_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, rest) = element(only(der, Tag::Sequence)?, Tag::OctetString)?;
    Some((key, only(rest, Tag::OctetString)?))
}

/// The contents of a certificate's signatureAlgorithm (RFC 5280 4.1.1.2), its second element.
pub(super) fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (_tbs, rest) = element(only(certificate, Tag::Sequence)?, Tag::Sequence)?;
    Some(element(rest, Tag::Sequence)?.0)
}

/// The contents of a SEQUENCE.
pub(super) fn sequence(der: &[u8]) -> Option<&[u8]> {
    only(der, Tag::Sequence)
}

/// A SEQUENCE with these contents.
pub(super) fn to_sequence(contents: &[u8]) -> Vec<u8> {
    // Bit 6 of the identifier: constructed.
    let mut out = tlv(Tag::Sequence, contents);
    if let Some(identifier) = out.first_mut() {
        *identifier |= 0x20;
    }
    out
}

/// Writes libp2p's SignedKey.
pub(super) fn write_signed_key(key: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut contents = tlv(Tag::OctetString, key);
    contents.extend(tlv(Tag::OctetString, signature));
    to_sequence(&contents)
}

/// One element with a short or a two-byte length, enough for 64 KiB.
fn tlv(tag: Tag, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag.0 as u8];
    let [.., high, low] = contents.len().to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(contents);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_key_survives_the_round_trip_at_each_length_form() {
        for (key, signature) in [(36, 64), (0, 0), (127, 128), (300, 1000)] {
            let (key, signature) = (vec![1; key], vec![2; signature]);
            let der = write_signed_key(&key, &signature);
            assert_eq!(read_signed_key(&der), Some((&key[..], &signature[..])));
            assert_eq!(read_signed_key(&der[..der.len() - 1]), None);
            let longer = [&der[..], &[0]].concat();
            assert_eq!(read_signed_key(&longer), None);
        }
    }
}
