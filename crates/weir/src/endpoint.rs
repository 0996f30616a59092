//! An endpoint: one identity, one address, any number of connections in and out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::{Mutex, mpsc, watch};
use tracing::info;
use weir_core::budget::Budget;
use weir_core::buf::Pool;
use weir_core::trace::Sink;

use crate::alive::Alive;
use crate::auto::{self, Worked};
use crate::bare::BareStream;
use crate::bind;
use crate::builder::Builder;
use crate::carrier::{AnyCarrier, Tapped, TcpCarrier};
use crate::config::Config;
use crate::connection::Connection;
use crate::dial::{self, ConnectOptions};
use crate::drive::{self, Role};
use crate::error::{ConnectError, EndpointError};
use crate::layer::StreamLayer;
use crate::net::{Net, TcpStream};
use crate::observe::{ConnectionInfo, SharedObserver};
use crate::quic::{self, Quic};
use crate::security::{ALPN_WEIR, Identity, Names, PeerId, Security, SecurityError, peer_of};
use crate::target::Target;
use crate::via::Via;

/// One identity at one address, from which connections go out and at which they come in. Clones are
/// handles to the same endpoint.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) inner: Arc<Inner>,
    pub(crate) queue: Arc<Mutex<Option<mpsc::Receiver<Arrived>>>>,
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
    /// Where its sockets come from.
    pub(crate) net: Net,
    pub(crate) via: Via,
    pub(crate) security: Security,
    /// TLS for names, where it takes the place of peer IDs.
    pub(crate) names: Option<Names>,
    pub(crate) quic: Quic,
    pub(crate) worked: Worked,
    pub(crate) pool: Pool,
    pub(crate) budget: Budget,
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) identity: Identity,
    pub(crate) peer_id: PeerId,
    pub(crate) observer: Option<SharedObserver>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) numbers: AtomicU64,
    pub(crate) running: Running,
    pub(crate) alive: Alive,
}

/// The connections that an endpoint has to end when it closes.
#[derive(Default)]
pub(crate) struct Running {
    /// Those that are gone are swept out when the list has doubled since the last time.
    list: std::sync::Mutex<(usize, Vec<Weak<dyn StreamLayer>>)>,
}

impl Running {
    pub(crate) fn add(&self, layer: &Arc<dyn StreamLayer>) {
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
        if self.inner.via == Via::Quic
            && let Some(local) = self.inner.quic.local()
        {
            return local;
        }
        self.inner
            .local
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Dials `PEER@HOST:PORT`, or `HOST:PORT` where any peer will do.
    ///
    /// The addresses of the name are tried in turn with a head start for each (RFC 8305); via
    /// [`Via::Auto`] QUIC and yamux as well.
    pub async fn connect(&self, target: &str) -> Result<Connection, ConnectError> {
        self.connect_target(&target.parse()?).await
    }

    /// [`Endpoint::connect`] for a target that has been read already.
    pub async fn connect_target(&self, target: &Target) -> Result<Connection, ConnectError> {
        self.connect_with(target, &ConnectOptions::default()).await
    }

    /// [`Endpoint::connect`] that does not wait for the handshake where an earlier connection to the
    /// server permits it ([`Builder::early_data`]): what is written then goes out with the first
    /// packet, and [`crate::Handshake::early_data`] tells later whether the server took it.
    /// Otherwise it waits like [`Endpoint::connect`].
    ///
    /// What is sent before the handshake is done can be replayed: see [`Builder::early_data`].
    /// [`Connection::closed`] tells when the handshake fails after all.
    pub async fn connect_early(&self, target: &str) -> Result<Connection, ConnectError> {
        let options = ConnectOptions {
            early_data: true,
            ..ConnectOptions::default()
        };
        self.connect_with(&target.parse()?, &options).await
    }

    /// [`Endpoint::connect_target`] with what a target alone does not say.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub async fn connect_with(
        &self,
        target: &Target,
        options: &ConnectOptions,
    ) -> Result<Connection, ConnectError> {
        match self.inner.via {
            Via::Quic => quic::connect(&self.inner, target, options).await,
            Via::Auto => self.connect_auto(target, options).await,
            via if via.is_multiplexed() => self.connect_over_tcp(target, options, via).await,
            via => Err(ConnectError::Via(format!(
                "a connection via {via} carries one stream: use Endpoint::connect_bare"
            ))),
        }
    }

    /// Whether the next connection to `target` can begin where an earlier one left off: the server
    /// has given a ticket for a session (RFC 8446 section 4.6.1), and what it allowed with it is
    /// known. For endpoints with [`Builder::roots`]; false on all others.
    pub fn can_resume(&self, target: &Target) -> bool {
        self.inner.quic.can_resume(target)
    }

    async fn connect_over_tcp(
        &self,
        target: &Target,
        options: &ConnectOptions,
        via: Via,
    ) -> Result<Connection, ConnectError> {
        let (carrier, info) = self.dial(target, options, via).await?;
        self.inner
            .connection(carrier, info, Role::Client)
            .map_err(ConnectError::Via)
    }

    async fn connect_auto(
        &self,
        target: &Target,
        options: &ConnectOptions,
    ) -> Result<Connection, ConnectError> {
        let name = target.to_string();
        let won = auto::race(
            self.inner.worked.head_start(&name),
            quic::connect(&self.inner, target, options),
            self.connect_over_tcp(target, options, Via::Yamux),
        )
        .await?;
        self.inner.worked.note(&name, won.via);
        info!("{target} is reached via {}: {}", won.via, won.why);
        Ok(won.connection.because(won.why))
    }

    /// Moves this endpoint's QUIC connections to a new UDP socket at `address` (`IP:PORT`, port 0 lets
    /// the system choose), as after a change of networks. Those that it dialled go on from there;
    /// clients of a listening endpoint have to find the new address by themselves. Says where the
    /// socket is.
    ///
    /// # Errors
    /// The address cannot be had; then everything stays as it was.
    pub async fn rebind(&self, address: &str) -> Result<SocketAddr, EndpointError> {
        let wrong = |source| EndpointError::Bind {
            address: address.to_owned(),
            source,
        };
        let socket = bind::udp(&self.inner.net, address).await.map_err(wrong)?;
        quic::rebind(&self.inner, socket)
            .await
            .map_err(EndpointError::Config)
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
        let options = ConnectOptions::default();
        let (carrier, info) = self.dial(target, &options, via).await?;
        Ok(BareStream::new(carrier, info, &self.inner.pool))
    }

    async fn dial(
        &self,
        target: &Target,
        options: &ConnectOptions,
        via: Via,
    ) -> Result<(AnyCarrier, ConnectionInfo), ConnectError> {
        let inner = &self.inner;
        let stream = {
            let limit = inner.config.handshake_timeout;
            dial::tcp(&inner.net, target, options.address, limit).await?
        };
        let (local, remote) = dial::addresses(&stream)?;
        let mut info = inner.info(true, via, local, remote);
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
        self.inner.quic.close();
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
        via: Via,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionInfo {
        ConnectionInfo {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            dialled,
            via,
            peer: None,
            local_addr: local,
            remote_addr: remote,
            why: None,
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
        if !info.via.is_secure() {
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
        if info.via.is_multiplexed() {
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
        let sinks = self.sinks(&info);
        let layer = drive::start(carrier, info.clone(), role, self, sinks)?;
        self.running.add(&layer);
        Ok(Connection::new(layer, info))
    }

    /// The observer's sinks for one connection.
    pub(crate) fn sinks(&self, info: &ConnectionInfo) -> Vec<Box<dyn Sink>> {
        let observer = self.observer.as_ref();
        observer
            .map(|observer| observer.sinks(info))
            .unwrap_or_default()
    }

    /// A secret of the socket that listens at `address`, the same after a restart.
    pub(crate) fn listener_secret(&self, address: SocketAddr) -> Result<[u8; 32], String> {
        let purpose = format!("stateless resets at {address}");
        let derived = self.identity.derive(&purpose);
        derived.map_err(|error| error.to_string())
    }

    /// Whether peers are known by names, not by peer IDs.
    pub(crate) fn names_peers(&self) -> bool {
        self.names.is_some()
    }

    /// TLS for dialling by QUIC.
    pub(crate) fn client_tls(
        &self,
        expected: Option<PeerId>,
    ) -> Result<Arc<rustls::ClientConfig>, String> {
        match &self.names {
            None => Ok(self.security.client(expected, &[ALPN_WEIR])),
            Some(_) if expected.is_some() => {
                Err("an endpoint with roots dials names, not peer IDs".to_owned())
            }
            Some(names) => names.client.clone().ok_or_else(|| {
                "an endpoint with a certificate and no roots does not dial".to_owned()
            }),
        }
    }

    /// TLS for listening by QUIC.
    pub(crate) fn server_tls(&self) -> Result<Arc<rustls::ServerConfig>, String> {
        match &self.names {
            None => Ok(self.security.server(None, &[ALPN_WEIR])),
            Some(names) => names
                .server
                .clone()
                .ok_or_else(|| "an endpoint that listens by name needs a certificate".to_owned()),
        }
    }

    /// Whose key answered on a QUIC connection whose handshake is complete; `None` where peers are
    /// known by names.
    pub(crate) fn quic_peer(
        &self,
        connection: &weir_quic::Connection,
    ) -> Result<Option<PeerId>, SecurityError> {
        if self.names_peers() {
            return Ok(None);
        }
        let shown = connection
            .handshake_info()
            .map(|info| info.peer_certificates.as_slice());
        Ok(Some(peer_of(shown)?))
    }
}
