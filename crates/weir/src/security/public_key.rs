//! Public keys of peers in libp2p's protobuf form, and the checking of their signatures
//! ("Peer Ids and Keys", r2).

use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_ASN1, ED25519, VerificationAlgorithm};
use rustls::pki_types::alg_id;
use thiserror::Error;

use super::der;
use super::tls::provider;

/// A peer's public key never needs more: the SubjectPublicKeyInfo of an RSA key of 8192 bits has
/// 1,062 bytes.
const MAX_KEY_DATA: usize = 2048;
const ED25519_LEN: usize = 32;
const SECP256K1_LEN: usize = 33;
/// Protobuf field headers: field 1 as varint, field 2 as bytes.
const TYPE_TAG: u8 = 0x08;
const DATA_TAG: u8 = 0x12;

/// The kinds of keys that libp2p peers have. weir's own are [`KeyType::Ed25519`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RSA, PKCS #1 v1.5 with SHA-256. 2048 to 8192 bits.
    Rsa,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on secp256k1 with SHA-256.
    Secp256k1,
    /// ECDSA on P-256, P-384 or P-521 with SHA-256.
    Ecdsa,
}

impl KeyType {
    fn code(self) -> u8 {
        match self {
            KeyType::Rsa => 0,
            KeyType::Ed25519 => 1,
            KeyType::Secp256k1 => 2,
            KeyType::Ecdsa => 3,
        }
    }

    fn from_code(code: u8) -> Option<KeyType> {
        match code {
            0 => Some(KeyType::Rsa),
            1 => Some(KeyType::Ed25519),
            2 => Some(KeyType::Secp256k1),
            3 => Some(KeyType::Ecdsa),
            _ => None,
        }
    }
}

/// The public key of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    key_type: KeyType,
    /// Raw for Ed25519 (32 bytes) and secp256k1 (33 bytes, compressed), else SubjectPublicKeyInfo
    /// in DER.
    data: Vec<u8>,
}

/// Why bytes are no public key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// Not the protobuf message, or not in its one deterministic form.
    #[error("not a public key in libp2p's protobuf form")]
    Encoding,
    /// A type of key that libp2p does not name.
    #[error("unknown key type {0}")]
    Type(u8),
    /// A length that keys of this type do not have.
    #[error("a key of type {key_type:?} cannot have {len} bytes")]
    Length {
        /// What the message says that it is.
        key_type: KeyType,
        /// Bytes of the key.
        len: usize,
    },
}

impl PublicKey {
    /// An Ed25519 key.
    pub fn ed25519(key: [u8; ED25519_LEN]) -> PublicKey {
        PublicKey {
            key_type: KeyType::Ed25519,
            data: key.to_vec(),
        }
    }

    /// Reads libp2p's `PublicKey` message: both fields, in order, minimally encoded, nothing else.
    ///
    /// # Errors
    /// When the bytes are anything else, or the key's length does not fit its type. Whether the key
    /// is a point on its curve shows when a signature is checked.
    pub fn from_protobuf(bytes: &[u8]) -> Result<PublicKey, PublicKeyError> {
        let [TYPE_TAG, code, DATA_TAG, rest @ ..] = bytes else {
            return Err(PublicKeyError::Encoding);
        };
        let key_type = KeyType::from_code(*code).ok_or(PublicKeyError::Type(*code))?;
        let (len, data) = read_length(rest).ok_or(PublicKeyError::Encoding)?;
        if len != data.len() {
            return Err(PublicKeyError::Encoding);
        }
        let fits = match key_type {
            KeyType::Ed25519 => len == ED25519_LEN,
            // Compressed points only: one peer, one peer ID.
            KeyType::Secp256k1 => len == SECP256K1_LEN && matches!(data, [2 | 3, ..]),
            KeyType::Rsa | KeyType::Ecdsa => len <= MAX_KEY_DATA,
        };
        if !fits {
            return Err(PublicKeyError::Length { key_type, len });
        }
        let data = data.to_vec();
        Ok(PublicKey { key_type, data })
    }

    /// Writes libp2p's `PublicKey` message.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut out = vec![TYPE_TAG, self.key_type.code(), DATA_TAG];
        let mut len = self.data.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(&self.data);
        out
    }

    /// What kind of key it is.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Whether `signature` over `message` was made with this key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.key_type {
            KeyType::Ed25519 => ED25519.verify_sig(&self.data, message, signature).is_ok(),
            KeyType::Secp256k1 => ECDSA_P256K1_SHA256_ASN1
                .verify_sig(&self.data, message, signature)
                .is_ok(),
            KeyType::Rsa => {
                verify_with_spki(&self.data, &alg_id::RSA_PKCS1_SHA256, message, signature)
            }
            KeyType::Ecdsa => {
                verify_with_spki(&self.data, &alg_id::ECDSA_SHA256, message, signature)
            }
        }
    }
}

/// Checks a signature with the key in a SubjectPublicKeyInfo. Both algorithms are the contents of
/// an AlgorithmIdentifier; the key's also says the curve.
pub(super) fn verify_with_spki(
    spki: &[u8],
    signature_algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let Some((key_algorithm, key)) = der::read_spki(spki) else {
        return false;
    };
    let known = provider().signature_verification_algorithms.all;
    known
        .iter()
        .filter(|a| a.signature_alg_id().as_ref() == signature_algorithm)
        .filter(|a| a.public_key_alg_id().as_ref() == key_algorithm)
        .any(|a| a.verify_signature(key, message, signature).is_ok())
}

/// A varint of at most two bytes, minimally encoded: enough for [`MAX_KEY_DATA`].
fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [low, rest @ ..] if *low < 0x80 => Some((usize::from(*low), rest)),
        [low, high, rest @ ..] if (1..0x80).contains(high) => {
            Some((usize::from(*low & 0x7f) | usize::from(*high) << 7, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::super::peer_id::PeerId;
    use super::*;

    // Test vectors of "Peer Ids and Keys".
    const ECDSA: &str = "0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004de3d300fa36ae0e8f5d530899d83\
        abab44abf3161f162a4bc901d8e6ecda020e8b6d5f8da30525e71d6851510c098e5c47c646a597fb4dcec034e9\
        f77c409e62";
    const ED25519_KEY: &str =
        "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
    const SECP256K1: &str =
        "08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99";
    const RSA: &str = "080012a60430820222300d06092a864886f70d01010105000382020f003082020a0282020100e1beab071d0820\
        0bde24eef00d049449b07770ff9910257b2d7d5dda242ce8f0e2f12e1af4b32d9efd2c090f66b0f29986dbb645\
        dae9880089704a94e5066d594162ae6ee8892e6ec70701db0a6c445c04778eb3de1293aa1a23c3825b85c6620a\
        2bc3f82f9b0c309bc0ab3aeb1873282bebd3da03c33e76c21e9beb172fd44c9e43be32e2c99827033cf8d0f0c6\
        06f4579326c930eb4e854395ad941256542c793902185153c474bed109d6ff5141ebf9cd256cf58893a37f8372\
        9f97e7cb435ec679d2e33901d27bb35aa0d7e20561da08885ef0abbf8e2fb48d6a5487047a9ecb1ad41fa7ed84\
        f6e3e8ecd5d98b3982d2a901b4454991766da295ab78822add5612a2df83bcee814cf50973e80d7ef38111b1bd\
        87da2ae92438a2c8cbcc70b31ee319939a3b9c761dbc13b5c086d6b64bf7ae7dacc14622375d92a8ff9af7eb96\
        2162bbddebf90acb32adb5e4e4029f1c96019949ecfbfeffd7ac1e3fbcc6b6168c34be3d5a2e5999fcbb39bba7\
        adbca78eab09b9bc39f7fa4b93411f4cc175e70c0a083e96bfaefb04a9580b4753c1738a6a760ae1afd851a1a4\
        bdad231cf56e9284d832483df215a46c1c21bdf0c6cfe951c18f1ee4078c79c13d63edb6e14feaeffabc90ad31\
        7e4875fe648101b0864097e998f0ca3025ef9638cd2b0caecd3770ab54a1d9c6ca959b0f5dcbc90caeefc4135b\
        aca6fd475224269bbe1b0203010001";

    fn vector(hex: &str) -> Vec<u8> {
        HEXLOWER.decode(hex.as_bytes()).unwrap()
    }

    #[test]
    fn the_four_key_types_survive_the_round_trip() {
        // Y62
        for (hex, key_type, inline) in [
            (ECDSA, KeyType::Ecdsa, false),
            (ED25519_KEY, KeyType::Ed25519, true),
            (SECP256K1, KeyType::Secp256k1, true),
            (RSA, KeyType::Rsa, false),
        ] {
            let bytes = vector(hex);
            let key = PublicKey::from_protobuf(&bytes).unwrap();
            assert_eq!(key.key_type(), key_type);
            assert_eq!(key.to_protobuf(), bytes);
            let id = PeerId::from_public_key(&key);
            assert_eq!(id.public_key(), inline.then_some(key), "{id}");
        }
    }

    #[test]
    fn only_the_one_deterministic_form_is_read() {
        let good = vector(ED25519_KEY);
        for (name, bytes) in [
            ("empty", vec![]),
            ("field missing", good[..2].to_vec()),
            ("cut", good[..35].to_vec()),
            ("additional field", [&good[..], &[0x18, 0]].concat()),
            ("fields swapped", [&good[2..], &good[..2]].concat()),
            ("long varint", [&good[..3], &[0xa0, 0], &good[4..]].concat()),
        ] {
            let refused = PublicKey::from_protobuf(&bytes).unwrap_err();
            assert_eq!(refused, PublicKeyError::Encoding, "{name}");
        }
        let typed = |code, len: u8| {
            let head = [TYPE_TAG, code, DATA_TAG, len];
            PublicKey::from_protobuf(&[&head[..], &vec![2; usize::from(len)]].concat())
        };
        assert_eq!(typed(4, 32), Err(PublicKeyError::Type(4)));
        for (key_type, len) in [(KeyType::Ed25519, 31), (KeyType::Secp256k1, 65)] {
            let refused = Err(PublicKeyError::Length {
                key_type,
                len: usize::from(len),
            });
            assert_eq!(typed(key_type.code(), len), refused);
        }
    }

    #[test]
    fn rsa_signatures_are_checked() {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        let random = SystemRandom::new();
        pair.sign(&RSA_PKCS1_SHA256, &random, b"message", &mut signature)
            .unwrap();
        let spki = aws_lc_rs::encoding::AsDer::as_der(pair.public_key()).unwrap();
        let key = PublicKey {
            key_type: KeyType::Rsa,
            data: spki.as_ref().to_vec(),
        };
        let key = PublicKey::from_protobuf(&key.to_protobuf()).unwrap();
        assert!(key.verify(b"message", &signature));
        assert!(!key.verify(b"massage", &signature));
        assert!(!key.verify(b"message", &signature[1..]));
        let other = PublicKey::from_protobuf(&vector(RSA)).unwrap();
        assert!(!other.verify(b"message", &signature));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(key) = PublicKey::from_protobuf(&bytes) {
                prop_assert_eq!(key.to_protobuf(), bytes);
                prop_assert!(!key.verify(b"message", b"signature"));
            }
        }
    }
}
