//! The listening side of a tunnel: `weir listen`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::access::{Admission, AllowPeers};
use super::dial::{Dialler, Resolve, SystemResolver};
use super::listens::Listens;
use super::peer::{self, PeerSession};
use super::pool::ChunkPool;
use super::protocol::{Refusal, Status};
use super::quiet::Quiet;
use super::rules::{AllowListen, AllowTo};
use super::shutdown::Shutdown;
use super::streams::{read_request, refuse};
use super::udp;
use super::units::UnitStream;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::security::PeerId;

/// Connections that are being turned away at once; beyond it they are closed without a word. A stranger must not be
/// able to make this side hold more by knocking often.
const TURNING_AWAY: usize = 64;

/// How long a peer that is turned away may take to hear why.
const TURN_AWAY: Duration = Duration::from_secs(5);

/// What a server allows. [`ServerConfig::default`] lets nobody in.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// What an allowed peer may reach; loopback, unless said otherwise.
    pub allow_to: AllowTo,
    /// Where an allowed peer may listen; loopback at unprivileged ports, unless said otherwise.
    pub allow_listen: AllowListen,
    /// Connections of all peers together. 1,024.
    pub max_connections: usize,
    /// Connections of one peer (of one address, where peers are not known): clients that reconnect before the old
    /// connection is known to be lost need more than one. 8.
    pub max_connections_per_peer: usize,
    /// Streams of one connection at once. 1,024.
    pub max_streams: usize,
    /// Listens of one connection at once. 16.
    pub max_listens: usize,
    /// UDP flows of one connection at once, beside its streams. 1,024.
    pub max_udp_flows: usize,
    /// How long a UDP flow lives that carries nothing. 120 s.
    pub udp_idle: Duration,
    /// How long a request may take to become whole. 10 s.
    pub request_timeout: Duration,
    /// How long connecting to a destination may take, with the resolving of its name. 10 s.
    pub dial_timeout: Duration,
    /// How long what runs may go on after a drain was asked for. 10 s.
    pub grace: Duration,
    /// Resolves the names of destinations.
    pub resolver: Arc<dyn Resolve>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            allow_to: AllowTo::default(),
            allow_listen: AllowListen::default(),
            max_connections: 1024,
            max_connections_per_peer: 8,
            max_streams: 1024,
            max_listens: 16,
            max_udp_flows: udp::FLOWS_ANSWERED,
            udp_idle: udp::IDLE,
            request_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// Takes peers at an endpoint and serves what they ask for, as far as they may.
pub struct TunnelServer {
    core: Arc<ServerCore>,
    endpoint: Endpoint,
}

/// What the parts of a server share.
pub(crate) struct ServerCore {
    pub(crate) config: ServerConfig,
    pub(crate) pool: ChunkPool,
    pub(crate) dialler: Dialler,
    pub(crate) listens: Listens,
    pub(crate) quiet: Quiet,
    peers: Mutex<AllowPeers>,
    present: Mutex<HashMap<Who, usize>>,
    numbers: AtomicU64,
    turning_away: Arc<Semaphore>,
}

/// Whom a connection is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Peer(PeerId),
    Address(IpAddr),
}

/// A connection that has been let in; counted for its peer until it is dropped.
pub(crate) struct Admitted {
    core: Arc<ServerCore>,
    who: Who,
    pub(crate) label: Option<String>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut present = self
            .core
            .present
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = present.get_mut(&self.who) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                present.remove(&self.who);
            }
        }
    }
}

impl TunnelServer {
    /// A server at `endpoint` that lets `peers` in.
    pub fn new(endpoint: Endpoint, peers: AllowPeers, config: ServerConfig) -> Self {
        let core = Arc::new(ServerCore {
            pool: ChunkPool::default(),
            dialler: Dialler::new(Arc::clone(&config.resolver), config.dial_timeout),
            listens: Listens::default(),
            quiet: Quiet::default(),
            peers: Mutex::new(peers),
            present: Mutex::default(),
            numbers: AtomicU64::new(1),
            turning_away: Arc::new(Semaphore::new(TURNING_AWAY)),
            config,
        });
        Self { core, endpoint }
    }

    /// Lines for people: who is let in, and what they may do. The first word of each says what it is about.
    pub fn describe(&self) -> Vec<String> {
        let peers = self
            .core
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let reach = &self.core.config.allow_to;
        let listen = &self.core.config.allow_listen;
        let hint = if *reach == AllowTo::default() {
            " (change it with --allow-to)"
        } else {
            ""
        };
        vec![
            format!("letting in: {}", peers.describe()),
            format!("they may reach: {reach}{hint}"),
            format!("they may listen at: {listen}"),
        ]
    }

    /// Serves peers until `stop` is used, or the endpoint is closed. Dropping this future ends all of it at once.
    pub async fn run(self, stop: Shutdown) {
        for line in self.describe() {
            info!("{line}");
        }
        self.warn_of_openness();
        let mut serving = JoinSet::new();
        let mut open = true;
        let mut asked = false;
        while (open && !asked) || !serving.is_empty() {
            tokio::select! {
                connection = self.endpoint.accept(), if open => match connection {
                    // While draining, too: whoever comes then is told so.
                    Some(connection) => {
                        serving.spawn(serve(Arc::clone(&self.core), connection, stop.clone()));
                    }
                    None => open = false,
                },
                reason = stop.requested(), if !asked => {
                    asked = true;
                    info!("{reason}: taking no new connections");
                }
                Some(_) = serving.join_next(), if !serving.is_empty() => {}
            }
        }
    }

    fn warn_of_openness(&self) {
        let peers = self
            .core
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if peers.is_any() {
            warn!(
                "every peer is let in: for trying things out, not for a network that others can reach"
            );
        } else if peers.is_none() {
            warn!("nobody is let in: name peers with --allow-peer");
        }
    }
}

impl ServerCore {
    /// Whether a connection is let in.
    fn admit(self: &Arc<Self>, connection: &Connection) -> Result<Admitted, Refusal> {
        let peer = connection.peer_id();
        let admission = self
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(peer.as_ref());
        let label = match admission {
            Admission::Peer(label) => label,
            Admission::Anybody => None,
            Admission::Denied => return Err(denied(peer.as_ref())),
        };
        let who = match peer {
            Some(peer) => Who::Peer(peer),
            None => Who::Address(connection.remote_addr().ip().to_canonical()),
        };
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = present.values().sum();
        let own = present.get(&who).copied().unwrap_or(0);
        if all >= self.config.max_connections || own >= self.config.max_connections_per_peer {
            return Err(Refusal::new(Status::TooMany, "too many connections"));
        }
        present.insert(who.clone(), own.saturating_add(1));
        drop(present);
        Ok(Admitted {
            core: Arc::clone(self),
            who,
            label,
        })
    }
}

fn denied(peer: Option<&PeerId>) -> Refusal {
    let reason = match peer {
        Some(peer) => format!("peer {peer} is not allowed; the listening side can add --allow-peer {peer}"),
        None => "peers that do not prove who they are are not allowed; use a way with identities, such as yamux".to_owned(),
    };
    Refusal::new(Status::NotAllowed, reason)
}

/// Serves one connection from its first to its last moment.
async fn serve(core: Arc<ServerCore>, connection: Connection, stop: Shutdown) {
    let admitted = match stop.reason() {
        Some(reason) => Err(Refusal::new(Status::ShuttingDown, reason)),
        None => core.admit(&connection),
    };
    match admitted {
        Ok(admitted) => {
            let number = core.numbers.fetch_add(1, Ordering::Relaxed);
            peer::serve(PeerSession::new(core, connection, number, admitted), stop).await;
        }
        Err(refusal) => turn_away(&core, &connection, refusal).await,
    }
}

/// Tells a peer why it is not let in, and closes the connection.
async fn turn_away(core: &Arc<ServerCore>, connection: &Connection, refusal: Refusal) {
    if let Some(left_out) = core.quiet.suffix() {
        warn!(
            "turned away {}: {refusal}{left_out}",
            connection.remote_addr()
        );
    }
    let words = refusal.to_string();
    if let Ok(_slot) = core.turning_away.try_acquire() {
        let tell = async {
            let Ok((send, recv)) = connection.accept_bi().await else {
                return;
            };
            let mut recv = UnitStream::new(recv);
            if read_request(&mut recv, TURN_AWAY).await.is_ok() {
                refuse(send, recv, refusal).await;
            }
        };
        // A peer that has read the refusal closes; this side does not wait longer for it than it must.
        let _ = timeout(TURN_AWAY, async {
            tokio::select! {
                () = tell => {}
                _ = connection.closed() => {}
            }
        })
        .await;
    }
    connection.close(0, &words);
}
