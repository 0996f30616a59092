//! The name of a peer: a multihash of its public key, as libp2p writes it ("Peer Ids and Keys",
//! r2).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use data_encoding::BASE32_NOPAD;
use thiserror::Error;

use super::public_key::{PublicKey, PublicKeyError};

/// Keys that serialize to at most this many bytes stand in the peer ID as they are; longer ones are
/// hashed.
const MAX_INLINE_KEY: usize = 42;
/// Two bytes of multihash header, then the key or the digest.
const MAX_MULTIHASH: usize = 2 + MAX_INLINE_KEY;
/// Multihash codes.
const IDENTITY: u8 = 0x00;
const SHA2_256: u8 = 0x12;
const SHA2_256_LEN: usize = 32;
/// CIDv1, and the multicodec of a libp2p key.
const CID_VERSION: u8 = 0x01;
const LIBP2P_KEY: u8 = 0x72;
/// A CID of the longest multihash is 75 characters of base32; anything beyond this is not looked
/// at.
const MAX_TEXT: usize = 128;

/// Who a peer is: the multihash of its public key.
///
/// An Ed25519 peer ID holds the key itself and reads `12D3KooW...`. [`FromStr`] takes base58btc
/// (`12D3KooW...`, `16Uiu2...`, `Qm...`) and CIDv1 (`bafz...`); [`Display`](fmt::Display) writes
/// base58btc.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The multihash, zeroes after it.
    bytes: [u8; MAX_MULTIHASH],
    len: u8,
}

/// Why a text or a row of bytes is no peer ID.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerIdError {
    /// Nothing was given.
    #[error("the peer ID is empty")]
    Empty,
    /// Longer than any peer ID.
    #[error("{0} characters are too long for a peer ID")]
    TooLong(usize),
    /// Neither base58 (`12D3KooW...`, `Qm...`) nor a CID (`bafz...`).
    #[error("a peer ID begins with `1`, `Qm` or `b` (such as `12D3KooW...`), not with `{0}`")]
    Prefix(char),
    /// A character that the encoding does not have, or a broken length.
    #[error("not valid {encoding}: is a character missing or mistyped?")]
    Encoding {
        /// `base58` or `base32`.
        encoding: &'static str,
    },
    /// A CID of something else than a libp2p key.
    #[error("this CID does not name a libp2p key")]
    Cid,
    /// The bytes are not a multihash that a peer ID may be: SHA-256, or a short key itself.
    #[error("not the hash of a public key: is a character missing or mistyped?")]
    Multihash,
    /// A peer ID that holds its key, but the key is none.
    #[error("the public key inside is not valid: {0}")]
    Key(#[from] PublicKeyError),
}

impl PeerId {
    /// The peer ID of a public key: the key itself when its serialized form is short (Ed25519,
    /// secp256k1), else its SHA-256.
    pub fn from_public_key(key: &PublicKey) -> PeerId {
        let encoded = key.to_protobuf();
        if encoded.len() <= MAX_INLINE_KEY {
            PeerId::from_parts(IDENTITY, &encoded)
        } else {
            PeerId::from_parts(SHA2_256, digest::digest(&digest::SHA256, &encoded).as_ref())
        }
    }

    /// Reads the binary form, a multihash.
    ///
    /// # Errors
    /// When it is not a multihash of the two kinds that peer IDs have.
    pub fn from_bytes(bytes: &[u8]) -> Result<PeerId, PeerIdError> {
        let [code, len, digest @ ..] = bytes else {
            return Err(PeerIdError::Multihash);
        };
        // Both lengths are under 128, so the multihash's varints are single bytes.
        if usize::from(*len) != digest.len() {
            return Err(PeerIdError::Multihash);
        }
        match *code {
            IDENTITY if digest.len() <= MAX_INLINE_KEY => {
                PublicKey::from_protobuf(digest)?;
            }
            SHA2_256 if digest.len() == SHA2_256_LEN => {}
            _ => return Err(PeerIdError::Multihash),
        }
        Ok(PeerId::from_parts(*code, digest))
    }

    /// The binary form: the multihash.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The public key, when the peer ID holds it (Ed25519, secp256k1).
    pub fn public_key(&self) -> Option<PublicKey> {
        match self.as_bytes() {
            [IDENTITY, _, key @ ..] => PublicKey::from_protobuf(key).ok(),
            _ => None,
        }
    }

    /// The newer text form, CIDv1 in base32: `bafz...`.
    pub fn to_cid(&self) -> String {
        let mut cid = vec![CID_VERSION, LIBP2P_KEY];
        cid.extend_from_slice(self.as_bytes());
        format!("b{}", BASE32_NOPAD.encode(&cid).to_ascii_lowercase())
    }

    /// `digest` is at most [`MAX_INLINE_KEY`] long; both callers see to it.
    fn from_parts(code: u8, digest: &[u8]) -> PeerId {
        let mut bytes = [0; MAX_MULTIHASH];
        let header = [code, digest.len() as u8];
        for (to, from) in bytes.iter_mut().zip(header.iter().chain(digest)) {
            *to = *from;
        }
        PeerId {
            bytes,
            len: (header.len() + digest.len()) as u8,
        }
    }

    fn from_cid(cid: &[u8]) -> Result<PeerId, PeerIdError> {
        match cid {
            [CID_VERSION, LIBP2P_KEY, multihash @ ..] => PeerId::from_bytes(multihash),
            _ => Err(PeerIdError::Cid),
        }
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<PeerId, PeerIdError> {
        if text.len() > MAX_TEXT {
            return Err(PeerIdError::TooLong(text.len()));
        }
        if text.starts_with('1') || text.starts_with("Qm") {
            return PeerId::from_bytes(&base58(text)?);
        }
        // Multibase: the first character names the encoding of the rest.
        let mut rest = text.chars();
        match rest.next() {
            None => Err(PeerIdError::Empty),
            Some('b' | 'B') => PeerId::from_cid(&base32(rest.as_str())?),
            Some('z') => PeerId::from_cid(&base58(rest.as_str())?),
            Some(other) => Err(PeerIdError::Prefix(other)),
        }
    }
}

fn base58(text: &str) -> Result<Vec<u8>, PeerIdError> {
    bs58::decode(text)
        .into_vec()
        .map_err(|_| PeerIdError::Encoding { encoding: "base58" })
}

fn base32(text: &str) -> Result<Vec<u8>, PeerIdError> {
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| PeerIdError::Encoding { encoding: "base32" })
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bs58::encode(self.as_bytes()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The examples of "Peer Ids and Keys", String representation.
    const CID: &str = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
    const SHA256: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    const ED25519: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    #[test]
    fn both_text_forms_name_the_same_peer() {
        // Y62
        let sha256: PeerId = SHA256.parse().unwrap();
        assert_eq!(CID.parse(), Ok(sha256));
        assert_eq!(CID.to_uppercase().parse(), Ok(sha256));
        assert_eq!(sha256.to_string(), SHA256);
        assert_eq!(sha256.to_cid(), CID);
        assert_eq!(sha256.public_key(), None);

        let ed25519: PeerId = ED25519.parse().unwrap();
        assert_eq!(ed25519.to_string(), ED25519);
        assert_eq!(ed25519.as_bytes().len(), 38);
        assert_eq!(ed25519.to_cid().parse(), Ok(ed25519));
        let key = ed25519.public_key().unwrap();
        assert_eq!(PeerId::from_public_key(&key), ed25519);
    }

    #[test]
    fn broken_texts_are_refused_in_words() {
        let refused = |text: &str| text.parse::<PeerId>().unwrap_err();
        assert_eq!(refused(""), PeerIdError::Empty);
        assert_eq!(refused("hello"), PeerIdError::Prefix('h'));
        assert_eq!(refused("k51qzi5uqu5d"), PeerIdError::Prefix('k'));
        let base58 = PeerIdError::Encoding { encoding: "base58" };
        assert_eq!(refused("12D3KooW0OIl"), base58);
        let base32 = PeerIdError::Encoding { encoding: "base32" };
        assert_eq!(refused("bafz1"), base32);
        assert_eq!(refused(&ED25519[..51]), PeerIdError::Multihash);
        assert_eq!(refused(&format!("{ED25519}A")), PeerIdError::Multihash);
        assert_eq!(refused(&"1".repeat(129)), PeerIdError::TooLong(129));
        // A CID of a file (dag-pb), not of a key.
        let file = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
        assert_eq!(refused(file), PeerIdError::Cid);
        assert!(refused("hello").to_string().contains("12D3KooW"));
    }

    #[test]
    fn identity_multihash_must_hold_a_key() {
        assert_eq!(PeerId::from_bytes(&[]), Err(PeerIdError::Multihash));
        assert_eq!(PeerId::from_bytes(&[0, 1]), Err(PeerIdError::Multihash));
        let ed25519: PeerId = ED25519.parse().unwrap();
        let mut bytes = ed25519.as_bytes().to_vec();
        bytes[3] = 9;
        assert!(matches!(
            PeerId::from_bytes(&bytes),
            Err(PeerIdError::Key(_))
        ));
        let mut long = vec![0, 43];
        long.extend([0; 43]);
        assert_eq!(PeerId::from_bytes(&long), Err(PeerIdError::Multihash));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,140}") {
            if let Ok(id) = text.parse::<PeerId>() {
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(id) = PeerId::from_bytes(&bytes) {
                prop_assert_eq!(id.as_bytes(), &bytes[..]);
            }
        }

        #[test]
        fn text_forms_survive_the_round_trip(digest in any::<[u8; 32]>()) {
            let id = PeerId::from_parts(SHA2_256, &digest);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_cid().parse(), Ok(id));
        }
    }
}
