//! TLS with certificates for names (WebPKI): for peers that are known by what an authority says of
//! them, in place of peer IDs.
//!
//! Sessions are resumed here: a ticket stands for the certificate that was shown in the handshake it
//! comes from.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, ServerSessionMemoryCache};

use super::chain::ServerVerifier;
use super::error::SecurityError;
use super::tls::Security;

/// Sessions that a server remembers. Each can be resumed once, so that early data cannot be
/// replayed to the same server (RFC 8446 section 8.1).
const SESSIONS: usize = 4096;

/// How an endpoint is known, and knows others, by name.
#[derive(Default)]
pub(crate) struct ByName {
    /// What it shows: its certificate first, then those that lead to an authority; and the key.
    pub(crate) certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// Whom it believes.
    pub(crate) roots: Option<RootCertStore>,
    /// Application protocols, the preferred one first.
    pub(crate) alpn: Vec<Vec<u8>>,
    /// Whether data is sent, and taken, before the handshake is done.
    pub(crate) early_data: bool,
}

impl ByName {
    /// Whether anything was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.certificate.is_some() || self.roots.is_some()
    }
}

/// The configurations that follow.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) client: Option<Arc<ClientConfig>>,
    pub(crate) server: Option<Arc<ServerConfig>>,
}

impl Security {
    /// TLS by names.
    ///
    /// # Errors
    /// The certificate and the key do not belong together, or cannot be read.
    pub(crate) fn by_name(&self, asked: ByName) -> Result<Names, SecurityError> {
        let verifier = asked.roots.map(ServerVerifier::new).transpose()?;
        let client = verifier.map(|verifier| {
            let builder = self.client_builder().dangerous();
            let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
            let mut config = builder.with_no_client_auth();
            config.alpn_protocols.clone_from(&asked.alpn);
            config.enable_early_data = asked.early_data;
            config.key_log = self.key_log();
            Arc::new(config)
        });
        let server = match asked.certificate {
            Some((chain, key)) => {
                let builder = self.server_builder().with_no_client_auth();
                let mut config = builder.with_single_cert(chain, key)?;
                config.alpn_protocols = asked.alpn;
                config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
                if asked.early_data {
                    // RFC 9001 section 4.6.1: the one value that QUIC has.
                    config.max_early_data_size = u32::MAX;
                }
                config.key_log = self.key_log();
                Some(Arc::new(config))
            }
            None => None,
        };
        Ok(Names { client, server })
    }
}
