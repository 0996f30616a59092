//! Packet keys from traffic secrets (RFC 9001 section 5.1, RFC 9369 section 3.3).
//!
//! rustls makes the keys of a connection with the labels of the version that it was started with,
//! and has no way to change that version. After compatible version negotiation (RFC 9368 section
//! 2.3) the client's handshake goes on in another version, so its keys are made here, from the
//! secrets that rustls shows to a key log.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{aead, hkdf};
use rustls::quic::{DirectionalKeys, HeaderProtectionKey, Keys, PacketKey, PacketKeySet, Tag};
use rustls::{CipherSuite, Error, KeyLog};
use zeroize::Zeroizing;

use super::initial::tls_version;
use crate::wire::{Side, Version};

/// Bytes of a nonce, and so of what it is made from (RFC 9001 section 5.3).
const IV_LEN: usize = 12;
/// The longest key and the longest secret of the suites.
const MAX_KEY_LEN: usize = 32;
const MAX_SECRET_LEN: usize = 48;

/// What a cipher suite is made of.
#[derive(Copy, Clone)]
struct Suite {
    hash: hkdf::Algorithm,
    packet: &'static aead::Algorithm,
    header: &'static aead::quic::Algorithm,
    /// RFC 9001 section 6.6.
    confidentiality: u64,
    integrity: u64,
}

impl Suite {
    fn of(suite: CipherSuite) -> Option<Suite> {
        let aes = Suite {
            hash: hkdf::HKDF_SHA256,
            packet: &aead::AES_128_GCM,
            header: &aead::quic::AES_128,
            confidentiality: 1 << 23,
            integrity: 1 << 52,
        };
        match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(aes),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(Suite {
                hash: hkdf::HKDF_SHA384,
                packet: &aead::AES_256_GCM,
                header: &aead::quic::AES_256,
                ..aes
            }),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(Suite {
                packet: &aead::CHACHA20_POLY1305,
                header: &aead::quic::CHACHA20,
                confidentiality: u64::MAX,
                integrity: 1 << 36,
                ..aes
            }),
            _ => None,
        }
    }
}

/// The labels of a version.
struct Labels {
    key: &'static [u8],
    iv: &'static [u8],
    header: &'static [u8],
    update: &'static [u8],
}

impl Labels {
    const fn of(version: Version) -> Labels {
        match version {
            Version::V2 => Labels {
                key: b"quicv2 key",
                iv: b"quicv2 iv",
                header: b"quicv2 hp",
                update: b"quicv2 ku",
            },
            _ => Labels {
                key: b"quic key",
                iv: b"quic iv",
                header: b"quic hp",
                update: b"quic ku",
            },
        }
    }
}

/// The traffic secret of one direction.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

/// The length of an HKDF output.
struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

impl Secret {
    pub(crate) fn new(bytes: &[u8]) -> Secret {
        Secret(Zeroizing::new(bytes.to_vec()))
    }

    fn expand(&self, suite: &Suite, label: &[u8], out: &mut [u8]) -> Option<()> {
        expand_label(suite.hash, self, label, &[], out)
    }

    fn next(&self, suite: &Suite, version: Version) -> Option<Secret> {
        let mut next = Zeroizing::new(vec![0; self.0.len()]);
        self.expand(suite, Labels::of(version).update, &mut next)?;
        Some(Secret(next))
    }

    fn packet_key(&self, suite: &Suite, version: Version) -> Option<Box<dyn PacketKey>> {
        let labels = Labels::of(version);
        let mut key = Zeroizing::new([0; MAX_KEY_LEN]);
        let key = key.get_mut(..suite.packet.key_len())?;
        self.expand(suite, labels.key, key)?;
        let mut iv = [0; IV_LEN];
        self.expand(suite, labels.iv, &mut iv)?;
        Some(Box::new(SealingKey {
            key: aead::LessSafeKey::new(aead::UnboundKey::new(suite.packet, key).ok()?),
            iv,
            confidentiality: suite.confidentiality,
            integrity: suite.integrity,
        }))
    }

    fn header_key(&self, suite: &Suite, version: Version) -> Option<Box<dyn HeaderProtectionKey>> {
        let mut key = Zeroizing::new([0; MAX_KEY_LEN]);
        let key = key.get_mut(..suite.header.key_len())?;
        self.expand(suite, Labels::of(version).header, key)?;
        let key = aead::quic::HeaderProtectionKey::new(suite.header, key).ok()?;
        Some(Box::new(HeaderKey(key)))
    }

    /// Packet and header keys.
    pub(super) fn keys(&self, suite: CipherSuite, version: Version) -> Option<DirectionalKeys> {
        let suite = Suite::of(suite)?;
        Some(DirectionalKeys {
            header: self.header_key(&suite, version)?,
            packet: self.packet_key(&suite, version)?,
        })
    }
}

/// HKDF-Expand-Label (RFC 8446 section 7.1). `None` when there is more to fill than the hash can, or
/// the label or the context is too long.
pub(super) fn expand_label(
    hash: hkdf::Algorithm,
    secret: &Secret,
    label: &[u8],
    context: &[u8],
    out: &mut [u8],
) -> Option<()> {
    let secret = secret.0.get(..secret.0.len().min(MAX_SECRET_LEN))?;
    let secret = hkdf::Prk::new_less_safe(hash, secret);
    let out_len = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_len = [u8::try_from(b"tls13 ".len() + label.len()).ok()?];
    let context_len = [u8::try_from(context.len()).ok()?];
    let info = [
        &out_len[..],
        &label_len,
        b"tls13 ",
        label,
        &context_len,
        context,
    ];
    secret
        .expand(&info, Len(out.len()))
        .and_then(|okm| okm.fill(out))
        .ok()
}

/// The traffic secrets of both directions.
#[derive(Clone)]
pub(crate) struct Secrets {
    version: Version,
    suite: CipherSuite,
    local: Secret,
    remote: Secret,
}

impl Secrets {
    /// `None` for cipher suites that QUIC has no rules for, and versions that are not spoken here.
    pub(crate) fn new(
        version: Version,
        suite: CipherSuite,
        local: Secret,
        remote: Secret,
    ) -> Option<Secrets> {
        Suite::of(suite)?;
        tls_version(version)?;
        Some(Secrets {
            version,
            suite,
            local,
            remote,
        })
    }

    /// Keys of both directions.
    pub(crate) fn keys(&self) -> Option<Keys> {
        Some(Keys {
            local: self.local.keys(self.suite, self.version)?,
            remote: self.remote.keys(self.suite, self.version)?,
        })
    }

    /// Those of the next key phase (RFC 9001 section 6.1).
    pub(crate) fn next(&self) -> Option<Secrets> {
        let suite = Suite::of(self.suite)?;
        Some(Secrets {
            local: self.local.next(&suite, self.version)?,
            remote: self.remote.next(&suite, self.version)?,
            ..*self
        })
    }

    /// The secret that is sent with.
    #[cfg(test)]
    pub(super) fn local_bytes(&self) -> &[u8] {
        &self.local.0
    }

    /// The packet keys of both directions: all that changes with a key update.
    pub(super) fn packet_keys(&self) -> Option<PacketKeySet> {
        let suite = Suite::of(self.suite)?;
        Some(PacketKeySet {
            local: self.local.packet_key(&suite, self.version)?,
            remote: self.remote.packet_key(&suite, self.version)?,
        })
    }
}

/// A packet key by aws-lc.
struct SealingKey {
    key: aead::LessSafeKey,
    iv: [u8; IV_LEN],
    confidentiality: u64,
    integrity: u64,
}

impl SealingKey {
    /// RFC 9001 section 5.3: the packet number over the end of the IV.
    fn nonce(&self, pn: u64) -> aead::Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(pn.to_le_bytes()) {
            *byte ^= number;
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

impl PacketKey for SealingKey {
    fn encrypt_in_place(
        &self,
        packet_number: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<Tag, Error> {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(packet_number), aead::Aad::from(header), payload)
            .map_err(|_| Error::EncryptError)?;
        Ok(Tag::from(tag.as_ref()))
    }

    fn decrypt_in_place<'a>(
        &self,
        packet_number: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        self.key
            .open_in_place(self.nonce(packet_number), aead::Aad::from(header), payload)
            .map(|plain| &*plain)
            .map_err(|_| Error::DecryptError)
    }

    fn tag_len(&self) -> usize {
        self.key.algorithm().tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.confidentiality
    }

    fn integrity_limit(&self) -> u64 {
        self.integrity
    }
}

/// A header protection key by aws-lc.
struct HeaderKey(aead::quic::HeaderProtectionKey);

impl HeaderKey {
    /// RFC 9001 section 5.4.1. How many bytes of the number are there, the first byte tells when
    /// it is plain: before masking or after it.
    fn mask(
        &self,
        sample: &[u8],
        first: &mut u8,
        number: &mut [u8],
        plain_before: bool,
    ) -> Result<(), Error> {
        let mask = self.0.new_mask(sample);
        let [first_mask, number_mask @ ..] =
            mask.map_err(|_| Error::General("the sample has another length".into()))?;
        let bits = if *first & 0x80 != 0 { 0x0f } else { 0x1f };
        let masked = *first ^ (first_mask & bits);
        let plain = if plain_before { *first } else { masked };
        *first = masked;
        let len = usize::from(plain & 0x03) + 1;
        for (byte, mask) in number.iter_mut().zip(number_mask).take(len) {
            *byte ^= mask;
        }
        Ok(())
    }
}

impl HeaderProtectionKey for HeaderKey {
    fn encrypt_in_place(
        &self,
        sample: &[u8],
        first: &mut u8,
        packet_number: &mut [u8],
    ) -> Result<(), Error> {
        self.mask(sample, first, packet_number, true)
    }

    fn decrypt_in_place(
        &self,
        sample: &[u8],
        first: &mut u8,
        packet_number: &mut [u8],
    ) -> Result<(), Error> {
        self.mask(sample, first, packet_number, false)
    }

    fn sample_len(&self) -> usize {
        super::SAMPLE_LEN
    }
}

/// A key log that keeps a connection's secrets at hand until they are taken, and passes them on to
/// the log that the configuration had.
pub(super) struct Tap {
    log: Arc<dyn KeyLog>,
    /// Traffic secrets are wanted, for another version's keys.
    traffic: bool,
    /// The exporter secret is wanted.
    exporter: bool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    early: Option<Secret>,
    /// The client's and the server's.
    handshake: [Option<Secret>; 2],
    one_rtt: [Option<Secret>; 2],
    exporter: Option<Secret>,
}

impl Kept {
    /// Where a secret is kept, by its name in the key log format.
    fn slot(&mut self, label: &str) -> Option<&mut Option<Secret>> {
        let [client_handshake, server_handshake] = &mut self.handshake;
        let [client, server] = &mut self.one_rtt;
        Some(match label {
            "CLIENT_EARLY_TRAFFIC_SECRET" => &mut self.early,
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => client_handshake,
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => server_handshake,
            "CLIENT_TRAFFIC_SECRET_0" => client,
            "SERVER_TRAFFIC_SECRET_0" => server,
            EXPORTER_SECRET => &mut self.exporter,
            _ => return None,
        })
    }
}

/// The name of the exporter secret in the key log format.
const EXPORTER_SECRET: &str = "EXPORTER_SECRET";

/// Which secrets.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Handshake,
    OneRtt,
}

impl Tap {
    /// In front of `log`; for traffic secrets, or for the exporter secret, or both.
    pub(super) fn new(log: Arc<dyn KeyLog>, traffic: bool, exporter: bool) -> Tap {
        Tap {
            log,
            traffic,
            exporter,
            kept: Mutex::new(Kept::default()),
        }
    }

    /// The secrets of a stage, which are not kept any longer.
    pub(super) fn take(
        &self,
        stage: Stage,
        side: Side,
        version: Version,
        suite: CipherSuite,
    ) -> Option<Secrets> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let [client, server] = match stage {
            Stage::Handshake => &mut kept.handshake,
            Stage::OneRtt => &mut kept.one_rtt,
        };
        let (client, server) = (client.take()?, server.take()?);
        match side {
            Side::Client => Secrets::new(version, suite, client, server),
            Side::Server => Secrets::new(version, suite, server, client),
        }
    }

    fn wants(&self, label: &str) -> bool {
        match label {
            EXPORTER_SECRET => self.exporter,
            _ => self.traffic,
        }
    }

    /// The exporter secret, which is not kept any longer.
    pub(super) fn take_exporter(&self) -> Option<Secret> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.exporter.take()
    }

    /// The secret of 0-RTT.
    pub(super) fn early(&self) -> Option<Secret> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.early.clone()
    }
}

impl KeyLog for Tap {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if self.log.will_log(label) {
            self.log.log(label, client_random, secret);
        }
        if self.wants(label) {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = kept.slot(label) {
                *slot = Some(Secret::new(secret));
            }
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.wants(label) || self.log.will_log(label)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}
