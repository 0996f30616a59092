//! The dialling side of a tunnel: `weir connect`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tracing::{info, warn};
use weir_core::rng::rng_from_seed;

use super::backoff::{Backoff, BackoffConfig};
use super::dial::{Resolve, SystemResolver};
use super::listener;
use super::packets::{self, PacketForward};
use super::session::{Session, SessionError, Unusable};
use super::shared::ClientCore;
use super::shutdown::Shutdown;
use super::spec::{LocalForward, RemoteForward, SocksForward, Transport};
use super::status::{ForwardStatus, Status};
use super::tasks::{Tasks, TasksGuard};
use super::udp::{self, Entrance};
use super::ways::{self, Ways};
use super::{local, socks};
use crate::endpoint::Endpoint;
use crate::error::ConnectError;

/// What a client does. [`ClientConfig::new`] fills in the defaults.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The peer to dial: `PEER@HOST:PORT`, or `HOST:PORT` for ways without identity.
    pub peer: String,
    /// The `-L` options.
    pub local: Vec<LocalForward>,
    /// The `-R` options.
    pub remote: Vec<RemoteForward>,
    /// The `-D` options.
    pub socks: Vec<SocksForward>,
    /// Connections forwarded at once, of all kinds together; more are refused. 4,096.
    pub max_connections: usize,
    /// UDP flows at once, of all kinds together; at each forward a new one ends the one that has been idle longest. 512.
    pub max_udp_flows: usize,
    /// Destinations of one SOCKS association at once; a new one ends the one that has been idle longest. 128.
    pub max_udp_flows_of_association: usize,
    /// How long a UDP flow lives that carries nothing. 120 s.
    pub udp_idle: Duration,
    /// How long a connection that comes in while the peer is not reached may wait. 10 s.
    pub wait_for_connection: Duration,
    /// How long a dial may take, and the connecting for `-R`. 15 s.
    pub dial_timeout: Duration,
    /// How long the peer may take to answer a request; more than its own limit to connect, so that its answer is
    /// the one that is seen. 20 s.
    pub request_timeout: Duration,
    /// How long what runs may go on after a drain was asked for. 10 s.
    pub grace: Duration,
    /// The pauses between dials.
    pub backoff: BackoffConfig,
    /// Seed of their jitter; drawn anew for each configuration.
    pub seed: u64,
    /// Dial again even when the first dial of all fails. Off: somebody who has mistyped the address wants to hear of
    /// it, not to wait.
    pub retry_first: bool,
    /// Answer `weir connect --status`. On; off for tunnels inside other programs.
    pub status_socket: bool,
    /// Resolves the names of `-R` destinations.
    pub resolver: Arc<dyn Resolve>,
}

impl ClientConfig {
    /// The defaults, for this peer.
    pub fn new(peer: impl Into<String>) -> Self {
        Self {
            peer: peer.into(),
            local: Vec::new(),
            remote: Vec::new(),
            socks: Vec::new(),
            max_connections: 4096,
            max_udp_flows: udp::FLOWS_ASKED,
            max_udp_flows_of_association: udp::FLOWS_OF_ASSOCIATION,
            udp_idle: udp::IDLE,
            wait_for_connection: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(20),
            grace: Duration::from_secs(10),
            backoff: BackoffConfig::default(),
            seed: random_seed(),
            retry_first: false,
            status_socket: true,
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// A number that nobody can foresee: the standard library keys its hash maps with such.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// Why a client could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// An address of `-L` or `-D` could not be bound.
    #[error("cannot listen for {forward}: {source}")]
    Bind {
        /// The option.
        forward: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The peer could not be reached.
    #[error("{0}")]
    Connect(Box<ConnectError>),
    /// The peer was not reached in time.
    #[error("{peer} was not reached within {} s", .within.as_secs())]
    DialTimedOut {
        /// Who was dialled.
        peer: String,
        /// For how long.
        within: Duration,
    },
    /// The peer was reached and wants nothing of this one.
    #[error("{peer} does not let this peer in: {reason}")]
    NotLetIn {
        /// Who was dialled.
        peer: String,
        /// What it said.
        reason: String,
    },
    /// The peer does not listen for a `-R`.
    #[error("{peer} does not listen for -R: {reason}")]
    Listen {
        /// Who was dialled.
        peer: String,
        /// What it said.
        reason: String,
    },
}

/// A tunnel to one peer: its forwards are bound and the peer is reached.
///
/// [`TunnelClient::run`] does the work; dropping the client, or that future, ends everything at once.
pub struct TunnelClient {
    core: Arc<ClientCore>,
    endpoint: Endpoint,
    listeners: Vec<Bound>,
    session: Session,
    backoff: Backoff,
    tasks: Tasks,
    _guard: TasksGuard,
}

/// A bound listener of `-L` (with its index) or `-D`.
enum Bound {
    Local(usize, TcpListener, SocketAddr),
    Datagrams(usize, UdpSocket, SocketAddr),
    Socks(TcpListener, SocketAddr),
    Packets(Box<packets::Bound>),
}

impl TunnelClient {
    /// Binds all forwards, dials the peer, and asks it to listen for every `-R`. Any failure is an error here; later
    /// ones are tried again by [`TunnelClient::run`].
    pub async fn start(endpoint: Endpoint, config: ClientConfig) -> Result<Self, ClientError> {
        let backoff = Backoff::new(config.backoff.clone(), rng_from_seed(config.seed));
        let core = Arc::new(ClientCore::new(config));
        let listeners = bind_all(&core).await?;
        let mut backoff = backoff;
        let session = loop {
            match dial(&core, &endpoint, 1).await {
                Ok(session) => break session,
                Err(error) if core.config.retry_first && !error.is_final() => {
                    pause(&mut backoff, &core.config.peer, &error).await;
                }
                Err(error) => return Err(error.into_error(&core.config)),
            }
        };
        info!("connected to {}", describe(&session));
        if let Err(error) = session.listen(&core, true).await {
            let reason = error.to_string();
            session.connection.close(0, "a listen was refused");
            let peer = core.config.peer.clone();
            return Err(ClientError::Listen { peer, reason });
        }
        core.publish(Some(session.current()));
        let tasks = Tasks::default();
        Ok(Self {
            core,
            endpoint,
            listeners,
            session,
            backoff,
            _guard: tasks.guard(),
            tasks,
        })
    }

    /// Carries what a device brings, too: every TCP connection and UDP flow that reaches the stack is the peer's to make,
    /// from [`run`](TunnelClient::run) on.
    ///
    /// # Errors
    /// Something listens on the stack already where this has to.
    pub fn carry(&mut self, forward: PacketForward) -> std::io::Result<()> {
        let device = (forward.name.clone(), forward.stack.downgrade());
        let bound = packets::Bound::new(forward)?;
        self.listeners.push(Bound::Packets(Box::new(bound)));
        self.core.life(|life| life.devices.push(device));
        Ok(())
    }

    /// Has `ways` told which addresses of the peer packets must get to outside of the tunnel: all that are about to be
    /// dialled, then those that connections are at. Each call names them all. For whoever leads routes into the tunnel
    /// that may cover the peer.
    pub fn keep_ways(&mut self, ways: Ways) {
        self.core.ways.set(ways);
    }

    /// The forwards with the addresses that they are bound to.
    pub fn forwards(&self) -> Vec<ForwardStatus> {
        self.core.forwards()
    }

    /// Addresses bound for `-L`, in the order of the options.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.core.life(|life| life.local_bound.clone())
    }

    /// Addresses bound for `-D`, in the order of the options.
    pub fn socks_addrs(&self) -> Vec<SocketAddr> {
        self.core.life(|life| life.socks_bound.clone())
    }

    /// Addresses bound on the far side for `-R`, in the order of the options.
    pub fn remote_addrs(&self) -> Vec<Option<SocketAddr>> {
        self.core.life(|life| life.remote_bound.clone())
    }

    /// The ID of the peer that was reached, where the way is authenticated.
    pub fn peer_id(&self) -> Option<crate::PeerId> {
        self.session.connection.peer_id()
    }

    /// Where the peer was reached.
    pub fn remote_addr(&self) -> SocketAddr {
        self.session.connection.remote_addr()
    }

    /// How the streams are carried, and why so where there was a choice.
    pub fn carried(&self) -> (crate::Via, Option<&str>) {
        let connection = &self.session.connection;
        (connection.via(), connection.why())
    }

    /// A view of the tunnel's status that stays good while it runs.
    pub fn watch(&self) -> StatusView {
        StatusView(Arc::clone(&self.core))
    }

    /// Forwards until `stop` is used: dials again whenever the connection is lost, and drains at the end.
    pub async fn run(self, stop: Shutdown) {
        let Self {
            core,
            endpoint,
            listeners,
            session,
            mut backoff,
            tasks,
            _guard,
        } = self;
        let _ended = Ended(Arc::clone(&core));
        serve_status(&core, &tasks);
        let listening = Tasks::default();
        let _listening_guard = listening.guard();
        for bound in listeners {
            serve_listener(&core, &listening, &tasks, bound);
        }
        let mut next = Some(session);
        while let Some(session) = next.take() {
            core.publish(Some(session.current()));
            let end = tokio::select! {
                biased;
                reason = stop.requested() => {
                    core.life(|life| life.draining = true);
                    listening.abort_all();
                    core.publish(None);
                    session.drain(&core, &reason, &stop).await;
                    return;
                }
                end = session.unusable() => end,
            };
            core.publish(None);
            let number = session.number.wrapping_add(1);
            leave(&core, &tasks, &mut backoff, session, end);
            next = tokio::select! {
                _ = stop.requested() => None,
                session = redial(&core, &endpoint, &mut backoff, number) => Some(session),
            };
        }
        // Stopped while the peer was not reached: there is nobody to say goodbye to, except where an old connection
        // still finishes what runs on it.
        listening.abort_all();
        let old = core.life(|life| {
            life.draining = true;
            !life.live.is_empty()
        });
        if !old {
            return;
        }
        tokio::select! {
            _ = stop.requested_now() => {}
            _ = tokio::time::timeout(core.config.grace, core.registry.idle()) => {}
        }
    }
}

/// Lets go of the connections when a client ends in whatever way: those who still look at its status must not keep
/// them.
struct Ended(Arc<ClientCore>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.publish(None);
        self.0.life(|life| life.live.clear());
    }
}

/// Looks at a running tunnel.
#[derive(Clone)]
pub struct StatusView(Arc<ClientCore>);

impl StatusView {
    /// The tunnel now.
    pub fn status(&self) -> Status {
        self.0.status()
    }
}

async fn bind_all(core: &ClientCore) -> Result<Vec<Bound>, ClientError> {
    let mut all = Vec::new();
    for (index, forward) in core.config.local.iter().enumerate() {
        let fail = |source| ClientError::Bind {
            forward: format!("-L {forward}"),
            source,
        };
        let bound = match forward.transport {
            Transport::Tcp => {
                let listener = listener::bind(forward.bind).map_err(fail)?;
                let bound = listener.local_addr().map_err(fail)?;
                all.push(Bound::Local(index, listener, bound));
                bound
            }
            Transport::Udp => {
                let socket = udp::bind(forward.bind).await.map_err(fail)?;
                let bound = socket.local_addr().map_err(fail)?;
                all.push(Bound::Datagrams(index, socket, bound));
                bound
            }
        };
        core.life(|life| life.local_bound.push(bound));
    }
    for forward in &core.config.socks {
        let fail = |source| ClientError::Bind {
            forward: format!("-D {forward}"),
            source,
        };
        let listener = listener::bind(forward.bind).map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        core.life(|life| life.socks_bound.push(bound));
        all.push(Bound::Socks(listener, bound));
    }
    Ok(all)
}

fn serve_listener(core: &Arc<ClientCore>, listening: &Tasks, tasks: &Tasks, bound: Bound) {
    let (core, tasks) = (Arc::clone(core), tasks.clone());
    match bound {
        Bound::Local(index, listener, bound) => {
            let Some(forward) = core.config.local.get(index).cloned() else {
                return;
            };
            info!("-L {bound} leads to {} as the far side sees it", forward.to);
            listening.spawn(local::serve(core, tasks, listener, bound, forward.to));
        }
        Bound::Datagrams(index, socket, bound) => {
            let Some(forward) = core.config.local.get(index).cloned() else {
                return;
            };
            let to = forward.to;
            info!("-L udp:{bound} leads to {to} as the far side sees it");
            listening.spawn(Entrance::local(&core, &tasks, bound, to).serve(socket));
        }
        Bound::Socks(listener, bound) => {
            info!("-D {bound} is a SOCKS proxy whose connections leave from the far side");
            listening.spawn(socks::serve(core, tasks, listener, bound));
        }
        Bound::Packets(bound) => {
            info!(
                "--tun: what {} brings leaves from the far side",
                bound.name()
            );
            bound.serve(&core, listening, &tasks);
        }
    }
}

#[cfg(unix)]
fn serve_status(core: &Arc<ClientCore>, tasks: &Tasks) {
    if !core.config.status_socket {
        return;
    }
    match super::status_socket::StatusSocket::bind() {
        Ok(socket) => {
            let core = Arc::clone(core);
            tasks.spawn(socket.serve(move || core.status()));
        }
        Err(error) => info!("`weir connect --status` will not see this tunnel: {error}"),
    }
}

#[cfg(not(unix))]
fn serve_status(_: &Arc<ClientCore>, _: &Tasks) {}

/// Why a dial led to no session.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("not reached within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("{0}")]
    Session(#[from] SessionError),
}

impl DialError {
    /// Whether dialling again could not help until somebody changes something.
    fn is_final(&self) -> bool {
        match self {
            Self::Connect(error) => matches!(
                error,
                ConnectError::Target { .. } | ConnectError::Via(_) | ConnectError::Handshake { .. }
            ),
            Self::TimedOut(_) => false,
            Self::Session(error) => error.is_final(),
        }
    }

    fn into_error(self, config: &ClientConfig) -> ClientError {
        let peer = config.peer.clone();
        match self {
            Self::Connect(error) => ClientError::Connect(Box::new(error)),
            Self::TimedOut(within) => ClientError::DialTimedOut { peer, within },
            Self::Session(error) => ClientError::NotLetIn {
                peer,
                reason: error.to_string(),
            },
        }
    }
}

async fn dial(
    core: &Arc<ClientCore>,
    endpoint: &Endpoint,
    number: u64,
) -> Result<Session, DialError> {
    let limit = core.config.dial_timeout;
    let connection = match tokio::time::timeout(limit, ways::connect(core, endpoint)).await {
        Ok(result) => result?,
        Err(_) => return Err(DialError::TimedOut(limit)),
    };
    let session = Session::open(core, connection.clone(), number).await;
    if session.is_err() {
        connection.close(0, "no tunnel over this connection");
    }
    Ok(session?)
}

async fn pause(backoff: &mut Backoff, peer: &str, error: &DialError) {
    let wait = backoff.next_wait();
    warn!(
        "{peer} is not reached: {error}; dialling again in {:.1} s",
        wait.as_secs_f32()
    );
    tokio::time::sleep(wait).await;
}

/// Dials until the peer is reached again.
async fn redial(
    core: &Arc<ClientCore>,
    endpoint: &Endpoint,
    backoff: &mut Backoff,
    number: u64,
) -> Session {
    tokio::time::sleep(backoff.next_wait()).await;
    loop {
        match dial(core, endpoint, number).await {
            Ok(session) => {
                let count = core.life(|life| {
                    life.reconnects = life.reconnects.saturating_add(1);
                    life.reconnects
                });
                info!(
                    "connected again to {} (reconnect {count})",
                    describe(&session)
                );
                // What the far side refuses now is asked for again while the session lasts.
                let _ = session.listen(core, false).await;
                return session;
            }
            Err(error) => pause(backoff, &core.config.peer, &error).await,
        }
    }
}

/// Parts with a session that takes no new streams.
fn leave(
    core: &Arc<ClientCore>,
    tasks: &Tasks,
    backoff: &mut Backoff,
    session: Session,
    end: Unusable,
) {
    let lasted = session.began.elapsed();
    backoff.connection_lasted(lasted);
    let last_end = match end {
        Unusable::Lost(reason) => {
            warn!(
                "disconnected after {} s: {reason}; dialling again",
                lasted.as_secs()
            );
            core.life(|life| life.live.remove(&session.number));
            reason
        }
        Unusable::Draining(grace, reason) => {
            warn!(
                "the peer is going away ({reason}); what runs has {} s; dialling again",
                grace.as_secs()
            );
            tasks.spawn(session.linger(Arc::clone(core), grace));
            format!("the peer went away: {reason}")
        }
    };
    core.life(|life| life.last_end = Some(last_end));
}

/// The peer in words.
fn describe(session: &Session) -> String {
    let connection = &session.connection;
    match connection.peer_id() {
        Some(peer) => format!(
            "{peer} at {} via {}",
            connection.remote_addr(),
            connection.via()
        ),
        None => format!("{} via {}", connection.remote_addr(), connection.via()),
    }
}
