//! A server's TLS configuration, with its session tickets kept apart by version and by what the
//! transport promised.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::server::{ProducesTickets, StoresServerSessions};

use super::tls::{Tls, TlsError, check_server_config};
use crate::wire::Version;

/// Bytes that name what a ticket is good for.
const SCOPE_LEN: usize = 20;

/// Where tickets are good: with one version, as each is specific to the version of its connection
/// (RFC 9369 section 5), and as long as the server promises the same limits: it must not lower
/// them when it accepts 0-RTT (RFC 9000 section 7.4.1). A ticket out of its scope is unknown, which
/// makes for a full handshake.
type Scope = [u8; SCOPE_LEN];

/// A server's TLS configurations: one for each pair of the version that the client began with and
/// the version that was agreed on.
pub(crate) struct ServerTls {
    configs: [(Version, Version, rustls::ServerConfig); 4],
}

impl ServerTls {
    /// `limits` is whatever a client remembers for 0-RTT, encoded: transport parameters, and what
    /// the application adds.
    pub(crate) fn new(config: &rustls::ServerConfig, limits: &[u8]) -> Result<ServerTls, TlsError> {
        check_server_config(config)?;
        let scope = |version: Version| {
            let hash = digest::digest(&digest::SHA256, limits);
            let mut scope = [0; SCOPE_LEN];
            let parts = version.0.to_be_bytes().into_iter();
            for (to, from) in scope
                .iter_mut()
                .zip(parts.chain(hash.as_ref().iter().copied()))
            {
                *to = from;
            }
            scope
        };
        let of = |original, negotiated| {
            let tickets = Scoped {
                accepts: scope(original),
                issues: scope(negotiated),
                inner: config.ticketer.clone(),
            };
            let sessions = Scoped {
                accepts: scope(original),
                issues: scope(negotiated),
                inner: config.session_storage.clone(),
            };
            let mut config = config.clone();
            config.ticketer = Arc::new(tickets);
            config.session_storage = Arc::new(sessions);
            (original, negotiated, config)
        };
        let (v1, v2) = (Version::V1, Version::V2);
        Ok(ServerTls {
            configs: [of(v1, v1), of(v2, v2), of(v1, v2), of(v2, v1)],
        })
    }

    /// TLS for a client that began with `original`, of which `negotiated` was made (RFC 9368
    /// section 2.3; the same without negotiation). `params`: our transport parameters, encoded.
    pub(crate) fn accept(
        &self,
        original: Version,
        negotiated: Version,
        params: Vec<u8>,
    ) -> Result<Tls, TlsError> {
        let (.., config) = self
            .configs
            .iter()
            .find(|(from, to, _)| *from == original && *to == negotiated)
            .ok_or(TlsError::Version(negotiated))?;
        Tls::server_switched(config, original, negotiated, params)
    }
}

#[derive(Debug)]
struct Scoped<T> {
    accepts: Scope,
    issues: Scope,
    inner: T,
}

impl ProducesTickets for Scoped<Arc<dyn ProducesTickets>> {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(&[&self.issues[..], plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.inner.decrypt(cipher)?;
        Some(plain.strip_prefix(&self.accepts)?.to_vec())
    }
}

impl StoresServerSessions for Scoped<Arc<dyn StoresServerSessions>> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.inner.put([&self.issues[..], &key].concat(), value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.get(&[&self.accepts[..], key].concat())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.take(&[&self.accepts[..], key].concat())
    }

    fn can_cache(&self) -> bool {
        self.inner.can_cache()
    }
}
