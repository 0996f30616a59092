//! How an endpoint is made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, SupportedCipherSuite};
use tokio::sync::{Mutex, mpsc, watch};
use weir_core::budget::Budget;
use weir_core::buf::Pool;

use crate::alive::Alive;
use crate::auto::Worked;
use crate::bind;
use crate::config::Config;
use crate::endpoint::{Endpoint, Inner, Running};
use crate::error::EndpointError;
use crate::net::Net;
use crate::observe::SharedObserver;
use crate::quic::{self, Cipher, Quic};
use crate::security::{ALPN_WEIR, ByName, Identity, Names, Security, SecurityError, TlsKeyLog};
use crate::tcpip::Stack;
use crate::via::Via;

/// Makes an [`Endpoint`].
#[derive(Default)]
pub struct Builder {
    identity: Option<Identity>,
    config: Config,
    via: Option<Via>,
    budget: Option<Budget>,
    observer: Option<SharedObserver>,
    key_log: Option<std::path::PathBuf>,
    by_name: ByName,
    net: Net,
}

impl Builder {
    /// The key that peers will know this endpoint by. Without one, a fresh key is made.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Settings other than the defaults.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How streams are carried, both for those who dial in and for those dialled;
    /// [`Via::Auto`] unless said otherwise.
    pub fn via(mut self, via: Via) -> Self {
        self.via = Some(via);
        self
    }

    /// A budget that the endpoint's memory is taken from, for programs that run several endpoints
    /// under one limit. [`Config::memory_limit`] holds inside it.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Where connections report what happens on them.
    pub fn observer(mut self, observer: SharedObserver) -> Self {
        self.observer = Some(observer);
        self
    }

    /// A file that TLS secrets are appended to, so that captures can be decrypted. Without it the
    /// variable `SSLKEYLOGFILE` decides, and without that nothing is written.
    pub fn key_log(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.key_log = Some(path.into());
        self
    }

    /// Makes the endpoint's sockets on a stack of one's own in place of the operating system: TCP and
    /// UDP alike. Addresses are then those of the stack; names are still looked up by the system.
    pub fn over(mut self, stack: &Stack) -> Self {
        self.net = Net::Own(stack.clone());
        self
    }

    /// Shows a certificate for a name in place of this endpoint's peer ID: its own certificate
    /// first, then those that lead to an authority. Peers are then not known by peer IDs either.
    /// For [`Via::Quic`].
    pub fn certificate(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        self.by_name.certificate = Some((chain, key));
        self
    }

    /// Dials names in place of peer IDs: `HOST:PORT` has to show a certificate for HOST that leads to
    /// one of `roots`. For [`Via::Quic`].
    pub fn roots(mut self, roots: RootCertStore) -> Self {
        self.by_name.roots = Some(roots);
        self
    }

    /// Application protocols (RFC 7301) in the order of preference, for endpoints with
    /// [`Builder::certificate`] or [`Builder::roots`]. Without any, weir's own.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.by_name.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Whether data may travel before the handshake is done (0-RTT), for endpoints with
    /// [`Builder::certificate`] or [`Builder::roots`]; see [`Endpoint::connect_early`].
    ///
    /// # Replay
    /// Whoever records such data can send it again (RFC 8446 section 8, RFC 9001 section 9.2). One
    /// listening endpoint takes a ticket once; another one, or the same after a restart, knows
    /// nothing of that. So only what may happen twice belongs into early data, and a server that
    /// switches this on must be fit for requests that come twice.
    pub fn early_data(mut self, allowed: bool) -> Self {
        self.by_name.early_data = allowed;
        self
    }

    /// An endpoint that takes connections on `address` (`IP:PORT` or `NAME:PORT`, port 0 lets the
    /// system choose) and can dial as well. Ways over UDP and over TCP listen at the same port
    /// number.
    ///
    /// # Errors
    /// The address cannot be had, a setting is out of its range, or the keys are unusable.
    pub async fn bind(self, address: &str) -> Result<Endpoint, EndpointError> {
        let via = self.via.unwrap_or(Via::Auto);
        let bound = bind::both(&self.net, address, via)
            .await
            .map_err(|source| EndpointError::Bind {
                address: address.to_owned(),
                source,
            })?;
        if self.by_name.is_asked() && self.by_name.certificate.is_none() {
            let problem = "an endpoint that listens by name needs a certificate";
            return Err(EndpointError::Config(problem.to_owned()));
        }
        let inner = self.build(Some(bound.local))?;
        let (accepted, queue) = mpsc::channel(inner.config.connection_backlog);
        if let Some(socket) = bound.udp {
            quic::listen(&inner, socket, accepted.clone()).map_err(EndpointError::Config)?;
        }
        if let (Some(listener), Some(via)) = (bound.tcp, via.over_tcp()) {
            let accept = crate::accept::run(listener, Arc::clone(&inner), accepted, via);
            tokio::spawn(accept);
        }
        Ok(Endpoint {
            inner,
            queue: Arc::new(Mutex::new(Some(queue))),
        })
    }

    /// An endpoint that only dials.
    ///
    /// # Errors
    /// A setting is out of its range, or the keys are unusable.
    pub async fn client(self) -> Result<Endpoint, EndpointError> {
        let inner = self.build(None)?;
        Ok(Endpoint {
            inner,
            queue: Arc::new(Mutex::new(None)),
        })
    }

    /// The log for an observer that wants TLS secrets, who gets them beside the file's reader.
    fn secrets_log(&self) -> Result<Option<TlsKeyLog>, SecurityError> {
        let Some(observer) = self
            .observer
            .as_ref()
            .filter(|observer| observer.wants_secrets())
        else {
            return Ok(None);
        };
        let file = match &self.key_log {
            Some(path) => Some(TlsKeyLog::open(path)?),
            None => TlsKeyLog::from_env()?,
        };
        let observer = Arc::clone(observer);
        let tell = Box::new(move |line: &str| observer.secret(line));
        Ok(Some(file.unwrap_or_default().observed_by(tell)))
    }

    fn build(mut self, local: Option<SocketAddr>) -> Result<Arc<Inner>, EndpointError> {
        self.config.check()?;
        let identity = match self.identity.take() {
            Some(identity) => identity,
            None => Identity::generate()?,
        };
        let limit = self.config.memory_limit;
        let budget = match self.budget.take() {
            Some(parent) => parent.child("endpoint", limit),
            None => Budget::root("endpoint", limit),
        };
        let mut security = Security::new(&identity, self.key_log.as_deref())?;
        if let Some(log) = self.secrets_log()? {
            security = security.with_key_log(Arc::new(log));
        }
        if let Some(cipher) = self.config.quic.cipher {
            security = security.with_suite(suite(cipher))?;
        }
        let via = self.via.unwrap_or(Via::Auto);
        let names = self.names(&security, via)?;
        let (closing, _) = watch::channel(false);
        Ok(Arc::new(Inner {
            quic: Quic::new(
                self.config.quic_transport(),
                self.config.quic.mtu,
                self.net.own().cloned(),
            ),
            net: self.net,
            names,
            peer_id: identity.peer_id(),
            identity,
            security,
            pool: Pool::default(),
            config: self.config,
            via,
            worked: Worked::default(),
            budget,
            observer: self.observer,
            local,
            closing,
            numbers: AtomicU64::new(1),
            running: Running::default(),
            alive: Alive::default(),
        }))
    }

    /// TLS by names, where it was asked for.
    fn names(&mut self, security: &Security, via: Via) -> Result<Option<Names>, EndpointError> {
        let mut asked = std::mem::take(&mut self.by_name);
        if !asked.is_asked() {
            return Ok(None);
        }
        if via != Via::Quic {
            let problem = format!("certificates for names go with quic, not with {via}");
            return Err(EndpointError::Config(problem));
        }
        if asked.alpn.is_empty() {
            asked.alpn.push(ALPN_WEIR.to_vec());
        }
        Ok(Some(security.by_name(asked)?))
    }
}

fn suite(cipher: Cipher) -> SupportedCipherSuite {
    match cipher {
        Cipher::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Cipher::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Cipher::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    }
}
