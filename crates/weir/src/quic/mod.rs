//! QUIC on tokio: a socket, its connections, and the calls that begin them.
//!
//! | file | what of it |
//! |---|---|
//! | `shard.rs`, `table.rs` | the task that owns a socket, its router and its connections |
//! | `socket.rs`, `watch.rs` | batches of datagrams in and out; those who look at them |
//! | `hub.rs`, `engine.rs` | how the calls of applications reach that task, and the engine |
//! | `listener.rs`, `dial.rs`, `reports.rs` | how connections begin, on either side; dials in vain |
//! | `routes.rs` | the ways out of this machine |
//! | `config.rs`, `memory.rs` | settings; what servers gave for the next time |

mod config;
mod dial;
mod engine;
mod hub;
mod listener;
mod memory;
mod reports;
mod routes;
mod shard;
mod socket;
mod table;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use weir_quic::{Endpoint as Router, ServerConfig, TransportConfig};

pub use config::{Cipher, Congestion, QuicConfig};
pub(crate) use dial::connect;
pub(crate) use socket::Socket;
pub use weir_quic::cid::{ConnectionIdGenerator, QuicLb, RandomCids};
pub use weir_quic::{PreferredAddresses, ResetKey, RetryPolicy, TokenKeys, Version};

use crate::drive::{Clock, randomness};
use crate::endpoint::{Arrived, Inner};
use crate::net::Net;
use crate::target::Target;
use crate::tcpip::Stack;
use hub::Hub;
use listener::Listener;
use memory::Memory;
use routes::Routes;
use shard::Shard;

/// An endpoint's sockets for QUIC.
pub(crate) struct Quic {
    transport: Arc<TransportConfig>,
    /// The socket that peers dial, from which this side dials too where it can.
    listening: OnceLock<Bound>,
    /// A socket for addresses that the other one cannot reach, made when it is first needed.
    dialling: Mutex<Option<Arc<Bound>>>,
    memory: Arc<Memory>,
    routes: Arc<Routes>,
}

/// A socket that a task runs on, until this is dropped and its last connection is over.
struct Bound {
    hub: Arc<Hub>,
    local: Mutex<SocketAddr>,
}

impl Bound {
    fn local(&self) -> SocketAddr {
        *self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether datagrams from here can reach `remote`.
    fn reaches(&self, remote: SocketAddr) -> bool {
        let (from, to) = (self.local().ip(), remote.ip());
        if from.is_unspecified() {
            return from.is_ipv6() || to.is_ipv4();
        }
        from.is_ipv6() == to.is_ipv6() && from.is_loopback() == to.is_loopback()
    }

    async fn rebind(&self, socket: Socket) -> SocketAddr {
        let local = socket.local();
        let (done, moved) = oneshot::channel();
        self.hub.tell(|queue| queue.rebind = Some((socket, done)));
        // A task that has ended has no connections to move.
        let _ = moved.await;
        *self.local.lock().unwrap_or_else(PoisonError::into_inner) = local;
        local
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.hub.tell(|queue| queue.is_closed = true);
    }
}

impl Quic {
    /// `mtu` is the largest UDP payload that the configuration asks for, `stack` what the sockets are
    /// made on where it is not the system.
    pub(crate) fn new(transport: TransportConfig, mtu: Option<u16>, stack: Option<Stack>) -> Quic {
        Quic {
            transport: Arc::new(transport),
            listening: OnceLock::new(),
            dialling: Mutex::default(),
            memory: Arc::default(),
            routes: Arc::new(Routes::new(mtu, stack)),
        }
    }

    fn dialling(&self) -> MutexGuard<'_, Option<Arc<Bound>>> {
        self.dialling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where peers dial, if they can.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.listening.get().map(Bound::local)
    }

    /// Whether a connection to `target` would be a resumed one.
    pub(crate) fn can_resume(&self, target: &Target) -> bool {
        self.memory.limits(&target.to_string()).is_some()
    }

    /// Has the task of the listening socket take no more connections.
    pub(crate) fn close(&self) {
        if let Some(bound) = self.listening.get() {
            bound.hub.tell(|queue| queue.is_closed = true);
        }
    }
}

/// Takes connections on `socket` from now on.
pub(crate) fn listen(
    inner: &Arc<Inner>,
    socket: Socket,
    accepted: mpsc::Sender<Arrived>,
) -> Result<(), String> {
    let mut server = ServerConfig::new(inner.server_tls()?);
    server.transport = Arc::clone(&inner.quic.transport);
    server.versions.clone_from(&inner.config.quic.versions);
    server.follows_client_versions = inner.config.quic.follows_client_versions;
    server.preferred = preferred(inner.config.quic.preferred, socket.local().port());
    let listener = Listener::new(inner, accepted);
    let bound = start(inner, socket, Some((listener, Arc::new(server))))?;
    // There is one call of this in an endpoint's life.
    let _ = inner.quic.listening.set(bound);
    Ok(())
}

/// The addresses that clients are asked to move to, those without a port at the port of the socket.
fn preferred(mut asked: PreferredAddresses, port: u16) -> PreferredAddresses {
    if let Some(address) = asked.v4.as_mut().filter(|address| address.port() == 0) {
        address.set_port(port);
    }
    if let Some(address) = asked.v6.as_mut().filter(|address| address.port() == 0) {
        address.set_port(port);
    }
    asked
}

/// Moves an endpoint's connections to another socket.
pub(crate) async fn rebind(inner: &Inner, mut socket: Socket) -> Result<SocketAddr, String> {
    inner.watch(&mut socket);
    inner.quic.routes.forget();
    if let Some(bound) = inner.quic.listening.get() {
        return Ok(bound.rebind(socket).await);
    }
    let known = inner.quic.dialling().clone();
    if let Some(bound) = known {
        return Ok(bound.rebind(socket).await);
    }
    let bound = Arc::new(start(inner, socket, None)?);
    let local = bound.local();
    *inner.quic.dialling() = Some(bound);
    Ok(local)
}

/// Starts the task of a socket.
fn start(
    inner: &Inner,
    mut socket: Socket,
    server: Option<(Listener, Arc<ServerConfig>)>,
) -> Result<Bound, String> {
    inner.watch(&mut socket);
    let clock = Clock::start();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let epoch = wall.map_or(0, |since| since.as_secs());
    // An address of its own keeps sockets of one identity from resetting each other's connections
    // (RFC 9000 section 21.11).
    let reset = match &server {
        Some(_) => inner.listener_secret(socket.local())?,
        None => secret()?,
    };
    let mut config = inner.config.quic_endpoint(epoch, &reset, secret)?;
    config.budget = inner.budget.clone();
    let (listener, server) = server.unzip();
    config.server = server;
    let router = Router::new(config, randomness()?).map_err(|error| error.to_string())?;
    let hub = Arc::new(Hub::new(clock, router, Arc::clone(&inner.quic.routes)));
    let local = Mutex::new(socket.local());
    let busy_poll = inner.config.quic.busy_poll;
    tokio::spawn(Shard::new(Arc::clone(&hub), socket, listener, busy_poll).run());
    Ok(Bound { hub, local })
}

impl Inner {
    /// Lets the observer see a socket's datagrams, if it wants to.
    fn watch(&self, socket: &mut Socket) {
        let observer = self.observer.as_ref();
        if let Some(tap) = observer.and_then(|observer| observer.datagram_tap(socket.local())) {
            socket.watch(tap, &self.quic.routes);
        }
    }
}

fn secret() -> Result<[u8; 32], String> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(secret)
}

/// A socket for dialling alone: of both families, where the system has both.
fn bind_anywhere(net: &Net) -> io::Result<Socket> {
    net.udp(socket::anywhere())
        .or_else(|_| net.udp(SocketAddr::from(([0, 0, 0, 0], 0))))
}
