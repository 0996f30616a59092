//! A client and a server that talk TLS over CRYPTO bytes in memory, with all their packet keys.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{CipherSuite, RootCertStore};

use crate::crypto::{AeadLimits, KeyChange, Level, Protection, Tls};
use crate::error::TransportError;
use crate::wire::{ConnectionId, Side, Version};

/// The transport parameters of tests: TLS only carries them.
pub(super) const CLIENT_PARAMS: &[u8] = b"client params";
pub(super) const SERVER_PARAMS: &[u8] = b"server params";
pub(super) const ALPN: &[u8] = b"weir-test";
pub(super) const NAME: &str = "server.test";

/// A certificate authority.
pub(super) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(super) roots: Arc<RootCertStore>,
}

/// A certificate chain and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    pub(super) fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // A name of its own: otherwise it would be found by name and fail by signature.
        let name = format!("authority {:02x?}", key.public_key_raw());
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Authority {
            issuer: rcgen::Issuer::new(params, key),
            roots: Arc::new(roots),
        }
    }

    pub(super) fn issue(&self, name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (vec![certificate.der().clone()], key.into())
    }
}

/// The provider, with these cipher suites only; all for none.
pub(super) fn provider(suites: &[CipherSuite]) -> rustls::crypto::CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !suites.is_empty() {
        provider
            .cipher_suites
            .retain(|suite| suites.contains(&suite.suite()));
    }
    provider
}

pub(super) fn client_config(
    authority: &Authority,
    provider: rustls::crypto::CryptoProvider,
) -> rustls::ClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(authority.roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = true;
    config
}

pub(super) fn server_config(
    authority: &Authority,
    provider: rustls::crypto::CryptoProvider,
) -> rustls::ServerConfig {
    let (chain, key) = authority.issue(NAME);
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = u32::MAX;
    config
}

/// One end.
pub(super) struct End {
    pub(super) tls: Tls,
    pub(super) protection: Protection,
    /// What it sent in CRYPTO, flight by flight.
    pub(super) sent: Vec<(Level, Vec<u8>)>,
    /// Flights that were not delivered yet.
    out: Vec<(Level, Vec<u8>)>,
}

impl End {
    fn new(side: Side, version: Version, tls: Tls, limits: AeadLimits) -> End {
        let dcid = ConnectionId::new(b"\x83\x94\xc8\xf0\x3e\x51\x57\x08").unwrap();
        End {
            tls,
            protection: Protection::new(side, version, &dcid, limits).unwrap(),
            sent: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Takes what TLS has to send, and its keys.
    pub(super) fn pump(&mut self) {
        loop {
            let mut bytes = Vec::new();
            let Some((level, change)) = self.tls.poll_send(&mut bytes) else {
                break;
            };
            if !bytes.is_empty() {
                self.sent.push((level, bytes.clone()));
                self.out.push((level, bytes));
            }
            if let Some(change) = change {
                assert!(matches!(
                    (&change, level),
                    (KeyChange::Handshake { .. }, Level::Initial)
                        | (KeyChange::OneRtt { .. }, Level::Handshake)
                ));
                self.protection.install(change);
            }
        }
        if !self.tls.is_handshaking() {
            self.protection.on_handshake_complete();
        }
    }

    /// Its flights since the last call.
    pub(super) fn take(&mut self) -> Vec<(Level, Vec<u8>)> {
        self.pump();
        std::mem::take(&mut self.out)
    }

    /// Feeds CRYPTO bytes in pieces of `step`.
    pub(super) fn feed(
        &mut self,
        level: Level,
        bytes: &[u8],
        step: usize,
    ) -> Result<(), TransportError> {
        for piece in bytes.chunks(step) {
            self.tls.on_crypto(level, piece)?;
        }
        self.pump();
        Ok(())
    }
}

/// Both ends.
pub(super) struct Pair {
    pub(super) client: End,
    pub(super) server: End,
    /// Bytes that are fed at once.
    pub(super) step: usize,
}

impl Pair {
    pub(super) fn new(
        client: impl Into<Arc<rustls::ClientConfig>>,
        server: impl Into<Arc<rustls::ServerConfig>>,
        version: Version,
    ) -> Pair {
        Pair::with_limits(client, server, version, AeadLimits::default())
    }

    pub(super) fn with_limits(
        client: impl Into<Arc<rustls::ClientConfig>>,
        server: impl Into<Arc<rustls::ServerConfig>>,
        version: Version,
        limits: AeadLimits,
    ) -> Pair {
        let client = Tls::client(client.into(), version, NAME, CLIENT_PARAMS.to_vec()).unwrap();
        let server = Tls::server(server.into(), version, SERVER_PARAMS.to_vec()).unwrap();
        Pair {
            client: End::new(Side::Client, version, client, limits),
            server: End::new(Side::Server, version, server, limits),
            step: usize::MAX,
        }
    }

    /// With one authority and default settings.
    pub(super) fn simple(limits: AeadLimits) -> Pair {
        let authority = Authority::new();
        Pair::with_limits(
            client_config(&authority, provider(&[])),
            server_config(&authority, provider(&[])),
            Version::V1,
            limits,
        )
    }

    /// Of two that were made by the caller.
    pub(super) fn of(version: Version, client: Tls, server: Tls) -> Pair {
        let limits = AeadLimits::default();
        Pair {
            client: End::new(Side::Client, version, client, limits),
            server: End::new(Side::Server, version, server, limits),
            step: usize::MAX,
        }
    }

    /// Delivers all flights until nobody has one. The fault that one end found, and which end.
    pub(super) fn run(&mut self) -> Result<(), (Side, TransportError)> {
        loop {
            let from_client = self.client.take();
            for (level, bytes) in &from_client {
                self.server
                    .feed(*level, bytes, self.step)
                    .map_err(|error| (Side::Server, error))?;
            }
            let from_server = self.server.take();
            for (level, bytes) in &from_server {
                self.client
                    .feed(*level, bytes, self.step)
                    .map_err(|error| (Side::Client, error))?;
            }
            if from_client.is_empty() && from_server.is_empty() {
                return Ok(());
            }
        }
    }

    /// A complete and confirmed connection.
    pub(super) fn connected(limits: AeadLimits) -> Pair {
        let mut pair = Pair::simple(limits);
        pair.run().unwrap();
        pair.client.protection.on_handshake_confirmed();
        pair.server.protection.on_handshake_confirmed();
        pair
    }
}
