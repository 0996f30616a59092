//! An endpoint: one identity, one address, any number of connections in and out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use weir_core::budget::Budget;
use weir_core::buf::Pool;

use crate::alive::Alive;
use crate::bare::BareStream;
use crate::carrier::{AnyCarrier, Tapped, TcpCarrier};
use crate::config::Config;
use crate::connection::Connection;
use crate::dial;
use crate::drive::{self, Role};
use crate::error::{ConnectError, EndpointError};
use crate::layer::StreamLayer;
use crate::observe::{ConnectionInfo, SharedObserver};
use crate::security::{Identity, PeerId, Security, SecurityError, TlsKeyLog};
use crate::target::Target;
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
    /// [`Via::Yamux`] unless said otherwise.
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

    /// An endpoint that takes connections on `address` (`IP:PORT` or `NAME:PORT`, port 0 lets the
    /// system choose) and can dial as well.
    pub async fn bind(self, address: &str) -> Result<Endpoint, EndpointError> {
        let wrong = |source| EndpointError::Bind {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let local = listener.local_addr().map_err(wrong)?;
        let inner = self.build(Some(local))?;
        let (accepted, queue) = mpsc::channel(inner.config.connection_backlog);
        tokio::spawn(crate::accept::run(listener, Arc::clone(&inner), accepted));
        Ok(Endpoint {
            inner,
            queue: Arc::new(Mutex::new(Some(queue))),
        })
    }

    /// An endpoint that only dials.
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
        let (closing, _) = watch::channel(false);
        Ok(Arc::new(Inner {
            peer_id: identity.peer_id(),
            security,
            pool: Pool::default(),
            config: self.config,
            via: self.via.unwrap_or(Via::Yamux),
            budget,
            observer: self.observer,
            local,
            closing,
            numbers: AtomicU64::new(1),
            running: Running::default(),
            alive: Alive::default(),
        }))
    }
}

/// One identity at one address, from which connections go out and at which they come in. Clones are
/// handles to the same endpoint.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
    queue: Arc<Mutex<Option<mpsc::Receiver<Arrived>>>>,
}

/// What the accept task hands over.
pub(crate) enum Arrived {
    /// A connection that carries many streams.
    Connection(Connection),
    /// A connection that is one stream, on the base-line ways.
    Bare(Box<BareStream>),
}

/// What the accept task, the dialling calls and the handles share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) via: Via,
    security: Security,
    pub(crate) pool: Pool,
    pub(crate) budget: Budget,
    pub(crate) closing: watch::Sender<bool>,
    peer_id: PeerId,
    observer: Option<SharedObserver>,
    local: Option<SocketAddr>,
    numbers: AtomicU64,
    running: Running,
    pub(crate) alive: Alive,
}

/// The connections that an endpoint has to end when it closes.
#[derive(Default)]
struct Running {
    /// Those that are gone are swept out when the list has doubled since the last time.
    list: std::sync::Mutex<(usize, Vec<Weak<dyn StreamLayer>>)>,
}

impl Running {
    fn add(&self, layer: &Arc<dyn StreamLayer>) {
        let mut guard = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let (sweep_at, list) = &mut *guard;
        if list.len() >= *sweep_at {
            list.retain(|layer| layer.strong_count() > 0);
            *sweep_at = list.len().saturating_mul(2).max(64);
        }
        list.push(Arc::downgrade(layer));
    }

    fn take(&self) -> Vec<Weak<dyn StreamLayer>> {
        std::mem::take(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}

impl Endpoint {
    /// Begins a new endpoint.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The ID that peers know this endpoint by.
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer_id
    }

    /// Where it listens; the unspecified address, port 0, when it only dials.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner
            .local
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Dials `PEER@HOST:PORT`, or `HOST:PORT` where any peer will do.
    ///
    /// The addresses of the name are tried in turn with a head start for each (RFC 8305).
    pub async fn connect(&self, target: &str) -> Result<Connection, ConnectError> {
        self.connect_target(&target.parse()?).await
    }

    /// [`Endpoint::connect`] for a target that has been read already.
    pub async fn connect_target(&self, target: &Target) -> Result<Connection, ConnectError> {
        let via = self.inner.via;
        if !via.is_multiplexed() {
            return Err(ConnectError::Via(format!(
                "a connection via {via} carries one stream: use Endpoint::connect_bare"
            )));
        }
        let (carrier, info) = self.dial(target).await?;
        self.inner
            .connection(carrier, info, Role::Client)
            .map_err(ConnectError::Via)
    }

    /// Dials a base-line way ([`Via::Tcp`] or [`Via::Tls`]): one connection, one stream.
    pub async fn connect_bare(&self, target: &str) -> Result<BareStream, ConnectError> {
        self.connect_bare_target(&target.parse()?).await
    }

    /// [`Endpoint::connect_bare`] for a target that has been read already.
    pub async fn connect_bare_target(&self, target: &Target) -> Result<BareStream, ConnectError> {
        let via = self.inner.via;
        if via.is_multiplexed() {
            return Err(ConnectError::Via(format!(
                "a connection via {via} carries many streams: use Endpoint::connect"
            )));
        }
        let (carrier, info) = self.dial(target).await?;
        Ok(BareStream::new(carrier, info, &self.inner.pool))
    }

    async fn dial(&self, target: &Target) -> Result<(AnyCarrier, ConnectionInfo), ConnectError> {
        let inner = &self.inner;
        let stream = dial::tcp(target, inner.config.handshake_timeout).await?;
        let (local, remote) = dial::addresses(&stream)?;
        let mut info = inner.info(true, local, remote);
        let limit = inner.config.handshake_timeout;
        let secured = inner.secure(stream, &mut info, target.peer);
        match tokio::time::timeout(limit, secured).await {
            Ok(Ok(carrier)) => Ok((carrier, info)),
            Ok(Err(source)) => Err(ConnectError::Handshake {
                address: remote,
                source,
            }),
            Err(_) => Err(ConnectError::TimedOut {
                address: remote,
                within: limit,
            }),
        }
    }

    /// The next connection that a peer made; `None` once the endpoint is closed, or when it only
    /// dials. Any number of tasks may wait here.
    ///
    /// On the base-line ways nothing comes here, but in [`Endpoint::accept_bare`].
    pub async fn accept(&self) -> Option<Connection> {
        loop {
            match self.queue.lock().await.as_mut()?.recv().await? {
                Arrived::Connection(connection) => return Some(connection),
                Arrived::Bare(_) => {}
            }
        }
    }

    /// The next connection that a peer made on a base-line way ([`Via::Tcp`] or [`Via::Tls`]); else as
    /// [`Endpoint::accept`].
    pub async fn accept_bare(&self) -> Option<BareStream> {
        loop {
            match self.queue.lock().await.as_mut()?.recv().await? {
                Arrived::Bare(stream) => return Some(*stream),
                Arrived::Connection(_) => {}
            }
        }
    }

    /// Takes no more connections and ends those that run, telling the peers why.
    pub fn close(&self, code: u64, reason: &str) {
        self.inner.closing.send_replace(true);
        for layer in self.inner.running.take() {
            if let Some(layer) = layer.upgrade() {
                layer.close(code, reason);
            }
        }
    }

    /// Waits until no connection runs any more, the last words of each included. After
    /// [`Endpoint::close`] that is soon, unless a peer has stopped reading: bound the wait.
    pub async fn wait_idle(&self) {
        self.inner.alive.none().await;
    }

    /// What the endpoint's connections hold, and the limit on it.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("peer_id", &self.inner.peer_id)
            .field("local", &self.inner.local)
            .field("via", &self.inner.via)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn info(
        &self,
        dialled: bool,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionInfo {
        ConnectionInfo {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            dialled,
            via: self.via,
            peer: None,
            local_addr: local,
            remote_addr: remote,
        }
    }

    /// Puts the way's security on a TCP connection, and notes whose key answered.
    pub(crate) async fn secure(
        &self,
        stream: TcpStream,
        info: &mut ConnectionInfo,
        expected: Option<PeerId>,
    ) -> Result<AnyCarrier, SecurityError> {
        let tap = self
            .observer
            .as_ref()
            .and_then(|observer| observer.tap(info));
        if !self.via.is_secure() {
            return Ok(AnyCarrier::Tcp(TcpCarrier::new(Tapped::new(stream, tap))));
        }
        let (carrier, peer) = if info.dialled {
            self.security.connect(stream, expected, tap).await?
        } else {
            self.security.accept(stream, tap).await?
        };
        info.peer = Some(peer.peer_id);
        Ok(AnyCarrier::Tls(Box::new(carrier)))
    }

    /// What the accept task hands over for a carrier that stands.
    pub(crate) fn arrived(
        &self,
        carrier: AnyCarrier,
        info: ConnectionInfo,
    ) -> Result<Arrived, String> {
        if self.via.is_multiplexed() {
            self.connection(carrier, info, Role::Server)
                .map(Arrived::Connection)
        } else {
            let stream = BareStream::new(carrier, info, &self.pool);
            Ok(Arrived::Bare(Box::new(stream)))
        }
    }

    /// Starts the task of a connection whose carrier stands.
    pub(crate) fn connection(
        &self,
        carrier: AnyCarrier,
        info: ConnectionInfo,
        role: Role,
    ) -> Result<Connection, String> {
        let sinks = self
            .observer
            .as_ref()
            .map(|o| o.sinks(&info))
            .unwrap_or_default();
        let layer = drive::start(carrier, info.clone(), role, self, sinks)?;
        self.running.add(&layer);
        Ok(Connection::new(layer, info))
    }
}
