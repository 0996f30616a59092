//! Sealing records with one key: RFC 8446 section 5.2 over the AEAD itself.
//!
//! rustls' own encrypter allocates a vector for every record. A batch of sixteen goes back to the
//! system each time, and half of the processor time then is page faults. Here a record is built
//! where the socket takes it from: one copy from the caller's slices, sealed in place.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error};

use super::record::HEADER;

/// The protection of one direction with one traffic key.
pub(super) struct Sealer {
    key: LessSafeKey,
    iv: [u8; 12],
}

impl Sealer {
    /// Takes over the key that the handshake, or a key update, came to.
    pub(super) fn new(secrets: &ConnectionTrafficSecrets) -> Result<Sealer, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("unknown cipher suite".into())),
        };
        let failed = || Error::General("the traffic key does not fit its cipher".into());
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| failed())?;
        let iv = iv.as_ref().try_into().map_err(|_| failed())?;
        Ok(Sealer {
            key: LessSafeKey::new(key),
            iv,
        })
    }

    /// Appends a record with all of `parts` to `out`. `sequence` is never used twice with one key.
    pub(super) fn seal(
        &self,
        sequence: u64,
        content_type: ContentType,
        parts: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let plain: usize = parts.iter().map(|part| part.len()).sum();
        let tag = self.key.algorithm().tag_len();
        let length = u16::try_from(plain + 1 + tag).map_err(|_| Error::EncryptError)?;
        let [high, low] = length.to_be_bytes();
        // RFC 8446 5.2: what is seen from outside is always application data of TLS 1.2, and it is
        // the additional data of the AEAD.
        let header: [u8; HEADER] = [ContentType::ApplicationData.into(), 3, 3, high, low];
        out.reserve(HEADER + usize::from(length));
        let start = out.len();
        out.extend_from_slice(&header);
        for part in parts {
            out.extend_from_slice(part);
        }
        out.push(content_type.into());
        let sealed = match out.get_mut(start + HEADER..) {
            Some(body) => {
                self.key
                    .seal_in_place_separate_tag(self.nonce(sequence), Aad::from(header), body)
            }
            None => return Err(Error::EncryptError),
        };
        match sealed {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            Err(_) => {
                // Plaintext must not be left where the socket would take it.
                out.truncate(start);
                return Err(Error::EncryptError);
            }
        }
        Ok(())
    }

    /// RFC 8446 5.3: the sequence number, padded on the left, over the static IV.
    fn nonce(&self, sequence: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(sequence.to_le_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}
