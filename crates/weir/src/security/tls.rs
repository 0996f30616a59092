//! TLS 1.3 as weir uses it: both sides show the certificate of `super::certificate`,
//! and who a peer is comes out of it.
//!
//! There is no session resumption: a resumed session shows no certificate, so the identity would be
//! that of an earlier handshake. Here every connection proves the peer's identity anew; one that
//! stays open for hours does not need the saved half millisecond.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WantsClientCert};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    ConfigBuilder, DigitallySignedStruct, DistinguishedName, KeyLog, NoKeyLog, OtherError,
    SignatureScheme, SupportedCipherSuite, WantsVerifier,
};
use thiserror::Error;

use super::certificate::{self, CertificateError};
use super::error::SecurityError;
use super::identity::{Identity, KeyError};
use super::key_log::TlsKeyLog;
use super::known::Known;
use super::peer_id::PeerId;

/// ALPN between two weir endpoints, of yamux on TLS and of QUIC. (libp2p's own peers say `libp2p`, and agree on a
/// multiplexer afterwards.)
pub(crate) const ALPN_WEIR: &[u8] = b"weir/1";

/// The peer is somebody else than the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected peer {expected}, but this one is {found}")]
pub struct PeerMismatch {
    /// Who was asked for.
    pub expected: PeerId,
    /// Who proved to be there.
    pub found: PeerId,
}

/// What this side shows to its peers: a certificate for its identity, made once for an endpoint.
#[derive(Clone)]
pub(crate) struct Security {
    peer_id: PeerId,
    certificate: Arc<SingleCertAndKey>,
    #[cfg(test)]
    parts: (CertificateDer<'static>, Arc<dyn rustls::sign::SigningKey>),
    key_log: Arc<dyn KeyLog>,
    known: Arc<Known>,
    client: ConfigBuilder<ClientConfig, WantsVerifier>,
    server: ConfigBuilder<ServerConfig, WantsVerifier>,
}

impl Security {
    /// Makes a fresh certificate for this identity. Secrets are logged to `key_log`, else to the
    /// file that `SSLKEYLOGFILE` names, else nowhere.
    ///
    /// # Errors
    /// When the cryptographic library fails, or the key log cannot be opened.
    pub(crate) fn new(
        identity: &Identity,
        key_log: Option<&Path>,
    ) -> Result<Security, SecurityError> {
        let log = match key_log {
            Some(path) => Some(TlsKeyLog::open(path)?),
            None => TlsKeyLog::from_env()?,
        };
        let mut security = Security::with_time(identity, Arc::new(DefaultTimeProvider))?;
        if let Some(log) = log {
            security.key_log = Arc::new(log);
        }
        Ok(security)
    }

    pub(crate) fn with_time(
        identity: &Identity,
        time: Arc<dyn TimeProvider>,
    ) -> Result<Security, KeyError> {
        let (certificate, key) = certificate::generate(identity)?;
        let failed = |_| KeyError::Crypto("set TLS up with");
        let provider = provider();
        let tls13 = &[&rustls::version::TLS13];
        let key = CertifiedKey::from_der(vec![certificate], key, provider).map_err(failed)?;
        #[cfg(test)]
        let parts = (key.cert[0].clone(), key.key.clone());
        let client = ClientConfig::builder_with_details(provider.clone(), time.clone());
        let server = ServerConfig::builder_with_details(provider.clone(), time);
        Ok(Security {
            peer_id: identity.peer_id(),
            certificate: Arc::new(SingleCertAndKey::from(key)),
            #[cfg(test)]
            parts,
            key_log: Arc::new(NoKeyLog),
            known: Arc::default(),
            client: client.with_protocol_versions(tls13).map_err(failed)?,
            server: server.with_protocol_versions(tls13).map_err(failed)?,
        })
    }

    /// Hands the secrets of every connection to `key_log`, instead of what [`new`](Security::new)
    /// chose.
    #[must_use]
    pub(crate) fn with_key_log(mut self, key_log: Arc<dyn KeyLog>) -> Security {
        self.key_log = key_log;
        self
    }

    /// The same with one cipher suite only.
    ///
    /// # Errors
    /// When TLS 1.3 has no such suite here.
    pub(crate) fn with_suite(
        mut self,
        suite: SupportedCipherSuite,
    ) -> Result<Security, SecurityError> {
        let only = Arc::new(CryptoProvider {
            cipher_suites: vec![suite],
            ..(**provider()).clone()
        });
        let tls13 = &[&rustls::version::TLS13];
        self.client =
            ClientConfig::builder_with_provider(Arc::clone(&only)).with_protocol_versions(tls13)?;
        self.server = ServerConfig::builder_with_provider(only).with_protocol_versions(tls13)?;
        Ok(self)
    }

    pub(super) fn client_builder(&self) -> ConfigBuilder<ClientConfig, WantsVerifier> {
        self.client.clone()
    }

    pub(super) fn server_builder(&self) -> ConfigBuilder<ServerConfig, WantsVerifier> {
        self.server.clone()
    }

    pub(super) fn key_log(&self) -> Arc<dyn KeyLog> {
        Arc::clone(&self.key_log)
    }

    /// What a test needs to misuse the certificate.
    #[cfg(test)]
    pub(crate) fn certificate_and_key(
        &self,
    ) -> (CertificateDer<'static>, Arc<dyn rustls::sign::SigningKey>) {
        let (certificate, key) = self.parts.clone();
        (certificate, key)
    }

    /// Who this side is.
    #[cfg(test)]
    pub(crate) fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    fn verifier(&self, expect: Option<PeerId>) -> Arc<PeerVerifier> {
        Arc::new(PeerVerifier {
            expect,
            known: Arc::clone(&self.known),
        })
    }

    /// TLS for dialling: the other side must be `expect`, or anybody who proves an identity when
    /// `None`; the protocols in order of preference.
    pub(crate) fn client(&self, expect: Option<PeerId>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let builder: ConfigBuilder<ClientConfig, WantsClientCert> = self
            .client
            .clone()
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(expect));
        let mut config = builder.with_client_cert_resolver(self.certificate.clone());
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config.resumption = Resumption::disabled();
        // libp2p TLS, "Future Extensibility": a client must not send a server name.
        config.enable_sni = false;
        // The record layer of `carrier` takes the keys over after the handshake.
        config.enable_secret_extraction = true;
        config.key_log = self.key_log.clone();
        Arc::new(config)
    }

    /// TLS for listening: the client must be `expect`, or anybody who proves an identity when
    /// `None`.
    pub(crate) fn server(&self, expect: Option<PeerId>, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = self
            .server
            .clone()
            .with_client_cert_verifier(self.verifier(expect))
            .with_cert_resolver(self.certificate.clone());
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.enable_secret_extraction = true;
        config.key_log = self.key_log.clone();
        Arc::new(config)
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Security({})", self.peer_id)
    }
}

/// The cryptography of all TLS here: X25519MLKEM768 first, so that recorded traffic stays secret
/// from a quantum computer.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: cipher_suites(),
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
            ],
            ..aws_lc_rs::default_provider()
        })
    });
    &PROVIDER
}

/// AES-128 first where the processor has instructions for it: as secure as X25519 is, and the
/// cheapest per byte. Without them ChaCha20 is several times faster than AES, and does not leak by
/// timing.
fn cipher_suites() -> Vec<SupportedCipherSuite> {
    let mut suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    if !has_aes() {
        suites.rotate_right(1);
    }
    suites
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// Who showed this certificate, once a handshake with it has succeeded.
pub(crate) fn peer_of(
    certificates: Option<&[CertificateDer<'_>]>,
) -> Result<PeerId, CertificateError> {
    match certificates {
        Some([one]) => certificate::owner(one),
        other => Err(CertificateError::Count(other.map_or(0, <[_]>::len))),
    }
}

/// Checks the other side's certificate, the same way in both roles.
#[derive(Debug)]
struct PeerVerifier {
    expect: Option<PeerId>,
    known: Arc<Known>,
}

impl PeerVerifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if !intermediates.is_empty() {
            return Err(refuse(CertificateError::Count(intermediates.len() + 1)));
        }
        let found = self.known.verify(end_entity, now).map_err(refuse)?.owner;
        match self.expect {
            Some(expected) if expected != found => Err(refuse(PeerMismatch { expected, found })),
            _ => Ok(()),
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let spki = certificate::public_key_info(certificate).map_err(refuse)?;
        let algorithms = &provider().signature_verification_algorithms;
        let spki = SubjectPublicKeyInfoDer::from(spki);
        verify_tls13_signature_with_raw_key(message, &spki, dss, algorithms)
    }
}

/// Carries a typed error of ours through rustls; [`SecurityError`] takes it out again.
fn refuse(error: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    rustls::CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn schemes() -> Vec<SignatureScheme> {
    provider()
        .signature_verification_algorithms
        .supported_schemes()
}

/// TLS 1.2 is never offered nor accepted.
fn no_tls12() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".into())
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
