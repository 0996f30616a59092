//! Certificates and TLS settings that all stacks here share.

use std::sync::{Arc, OnceLock};

use rcgen::{CertifiedIssuer, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};

pub(crate) const ALPN: &[u8] = b"weir-peers";

/// What one test wants of TLS.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tls {
    /// Only this suite in 1-RTT.
    pub(crate) suite: Option<CipherSuite>,
    /// Only X25519; otherwise X25519MLKEM768 is preferred.
    pub(crate) classic: bool,
    /// Only X25519MLKEM768.
    pub(crate) hybrid: bool,
    /// Clients show a certificate, servers want one.
    pub(crate) client_auth: bool,
    /// Early data is sent and taken.
    pub(crate) early: bool,
    /// Clients trust another authority.
    pub(crate) stranger: bool,
    /// Another application protocol.
    pub(crate) alpn: Option<&'static [u8]>,
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    leaf: CertificateDer<'static>,
    leaf_key: Vec<u8>,
}

fn authority(stranger: bool) -> &'static Authority {
    static OURS: OnceLock<Authority> = OnceLock::new();
    static OTHER: OnceLock<Authority> = OnceLock::new();
    let cell = if stranger { &OTHER } else { &OURS };
    cell.get_or_init(|| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let name = if stranger {
            "another authority"
        } else {
            "authority"
        };
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Authority {
            issuer,
            leaf: leaf.der().clone(),
            leaf_key: key.serialize_der(),
        }
    })
}

impl Authority {
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.leaf_key.clone()).unwrap()
    }
}

impl Tls {
    /// The certificate that servers and clients show.
    pub(crate) fn certificate(self) -> CertificateDer<'static> {
        authority(false).leaf.clone()
    }

    fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(only) = self.suite {
            provider.cipher_suites.retain(|suite| suite.suite() == only);
        }
        let (classic, hybrid) = (
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::X25519MLKEM768,
        );
        provider.kx_groups = match (self.classic, self.hybrid) {
            (true, _) => vec![classic],
            (_, true) => vec![hybrid],
            _ => vec![hybrid, classic],
        };
        Arc::new(provider)
    }

    pub(crate) fn client(self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(authority(self.stranger).roots());
        let ours = authority(false);
        let mut config = match self.client_auth {
            true => builder
                .with_client_auth_cert(vec![ours.leaf.clone()], ours.key())
                .unwrap(),
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![self.alpn.unwrap_or(ALPN).to_vec()];
        config.enable_early_data = self.early;
        config
    }

    pub(crate) fn server(self) -> ServerConfig {
        let ours = authority(false);
        let provider = self.provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = match self.client_auth {
            true => {
                let roots = Arc::new(ours.roots());
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            false => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(vec![ours.leaf.clone()], ours.key())
            .unwrap();
        config.alpn_protocols = vec![self.alpn.unwrap_or(ALPN).to_vec()];
        if self.early {
            config.max_early_data_size = u32::MAX;
        }
        config
    }
}
