//! Packet protection.

use rustls::CipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suites;
use rustls::quic::HeaderProtectionKey;

use crate::crypto::{AeadLimits, Level, NextKeys, Protection, Secret, Secrets, TAG_LEN};
use crate::wire::{ConnectionId, Side, Version};

/// Connection ID of 8 bytes and number of 4, as in a connection in full flight.
const PN_OFFSET: usize = 9;
const PN_LEN: usize = 4;

/// Who makes the keys.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// rustls, as for all connections that do not change their version.
    Rustls,
    /// The engine itself.
    Own,
}

/// The two ends of a connection that protects packets of one size with one cipher suite.
pub struct ProtectionLine {
    client: Protection,
    server: Protection,
    header: Box<dyn HeaderProtectionKey>,
    size: usize,
    next: u64,
}

impl ProtectionLine {
    /// Packets of `size` bytes, tag included. `None` for suites that QUIC does not have.
    #[must_use]
    pub fn new(maker: Maker, suite: CipherSuite, size: usize) -> Option<ProtectionLine> {
        let dcid = ConnectionId::new(b"12345678")?;
        let secret = Secret::new(&[7; 32]);
        let secrets = Secrets::new(Version::V1, suite, secret.clone(), secret)?;
        let end = |side| {
            let mut end = Protection::new(side, Version::V1, &dcid, AeadLimits::default())?;
            let keys = match maker {
                Maker::Own => secrets.keys()?,
                Maker::Rustls => {
                    let side = match side {
                        Side::Client => rustls::Side::Client,
                        Side::Server => rustls::Side::Server,
                    };
                    rustls_suite(suite)?.keys(&dcid, side, rustls::quic::Version::V1)
                }
            };
            end.install_one_rtt(keys, NextKeys::Own(secrets.next()?));
            end.on_handshake_complete();
            Some(end)
        };
        let header = match maker {
            Maker::Own => secrets.keys()?.local.header,
            Maker::Rustls => {
                let suite = rustls_suite(suite)?;
                let version = rustls::quic::Version::V1;
                suite
                    .keys(&dcid, rustls::Side::Client, version)
                    .local
                    .header
            }
        };
        Some(ProtectionLine {
            client: end(Side::Client)?,
            server: end(Side::Server)?,
            header,
            size,
            next: 0,
        })
    }

    /// Room for `count` packets, with their headers. Not to be measured.
    #[must_use]
    pub fn batch(&mut self, count: usize) -> Vec<u8> {
        let mut batch = vec![0; count * self.size];
        for packet in batch.chunks_exact_mut(self.size) {
            let header = [
                &[0x43],
                b"12345678".as_slice(),
                &(self.next as u32).to_be_bytes(),
            ];
            for (to, from) in packet.iter_mut().zip(header.concat()) {
                *to = from;
            }
            self.next += 1;
        }
        batch
    }

    /// Seals a batch. False when one was not sealed.
    pub fn seal(&mut self, batch: &mut [u8]) -> bool {
        let first = self.next - (batch.len() / self.size) as u64;
        batch
            .chunks_exact_mut(self.size)
            .zip(first..)
            .all(|(packet, pn)| {
                debug_assert!(packet.len() > PN_OFFSET + PN_LEN + TAG_LEN);
                self.client
                    .seal(Level::OneRtt, packet, PN_OFFSET, PN_LEN, pn)
                    .is_ok()
            })
    }

    /// Opens a sealed batch. False when one was not opened.
    pub fn open(&mut self, batch: &mut [u8]) -> bool {
        let first = self.next - (batch.len() / self.size) as u64;
        batch
            .chunks_exact_mut(self.size)
            .zip(first..)
            .all(|(packet, pn)| {
                self.server
                    .open(Level::OneRtt, packet, PN_OFFSET, pn)
                    .is_ok_and(|opened| opened.pn == pn)
            })
    }

    /// Header protection alone, of each packet of a batch.
    pub fn mask(&mut self, batch: &mut [u8]) -> bool {
        batch.chunks_exact_mut(self.size).all(|packet| {
            let Some((first, rest)) = packet.split_first_mut() else {
                return false;
            };
            let Some((number, sample)) = rest
                .get_mut(PN_OFFSET - 1..)
                .and_then(|rest| rest.split_at_mut_checked(PN_LEN))
            else {
                return false;
            };
            let sample = sample.get(..16).unwrap_or_default();
            self.header.encrypt_in_place(sample, first, number).is_ok()
        })
    }
}

fn rustls_suite(suite: CipherSuite) -> Option<rustls::quic::Suite> {
    let suite = match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => suites::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384 => suites::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => suites::TLS13_CHACHA20_POLY1305_SHA256,
        _ => return None,
    };
    suite.tls13()?.quic_suite()
}
