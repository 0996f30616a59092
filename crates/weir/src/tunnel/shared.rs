//! What all parts of a running client share.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::client::ClientConfig;
use super::dial::Dialler;
use super::pool::ChunkPool;
use super::quiet::Quiet;
use super::registry::{Entry, Registry};
use super::spec::Transport;
use super::status::{
    ConnectionStatus, DeviceStatus, ForwardKind, ForwardStatus, MAX_LISTED, PathStatus, Status,
    StreamStatus, TunnelState,
};
use super::udp::{Flows, Udp};
use super::ways::{self, KeptWays};
use crate::connection::Connection;
use crate::stats::{HeldBy, PathStats, Stats};
use crate::stream::{RecvStream, SendStream};
use crate::tcpip::WeakStack;

/// The connection that new streams go over.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    /// A number of this client, from 1.
    pub(crate) session: u64,
    pub(crate) connection: Connection,
    /// The UDP flows over it.
    pub(crate) flows: Arc<Flows>,
}

/// What changes in a client's life and is shown by its status.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) reconnects: u64,
    pub(crate) last_end: Option<String>,
    pub(crate) draining: bool,
    /// Connections that carry streams: the current one and those that finish what runs on them.
    pub(crate) live: BTreeMap<u64, Connection>,
    /// Where the far side listens for each `-R`.
    pub(crate) remote_bound: Vec<Option<SocketAddr>>,
    /// Where this side listens for each `-L` and `-D`.
    pub(crate) local_bound: Vec<SocketAddr>,
    pub(crate) socks_bound: Vec<SocketAddr>,
    /// The devices whose packets are carried, and their stacks.
    pub(crate) devices: Vec<(String, WeakStack)>,
}

/// What all parts of a client share.
pub(crate) struct ClientCore {
    pub(crate) config: ClientConfig,
    pub(crate) pool: ChunkPool,
    pub(crate) registry: Registry,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) dialler: Dialler,
    pub(crate) udp: Udp,
    pub(crate) quiet: Quiet,
    pub(crate) began: Instant,
    pub(crate) ways: KeptWays,
    current: watch::Sender<Option<Current>>,
    life: Mutex<Life>,
}

/// Why no stream could be had for a connection that came in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoStream {
    #[error("no connection to the peer within {} s", .0.as_secs_f32())]
    NotConnected(Duration),
    #[error("the peer took no new stream within {} s", .0.as_secs_f32())]
    NotTaken(Duration),
}

impl ClientCore {
    pub(crate) fn new(config: ClientConfig) -> Self {
        let remote_bound = vec![None; config.remote.len()];
        Self {
            pool: ChunkPool::default(),
            registry: Registry::default(),
            slots: Arc::new(Semaphore::new(config.max_connections)),
            dialler: Dialler::new(Arc::clone(&config.resolver), config.dial_timeout),
            udp: Udp::new(config.max_udp_flows, config.udp_idle),
            quiet: Quiet::default(),
            began: Instant::now(),
            ways: KeptWays::default(),
            current: watch::Sender::new(None),
            life: Mutex::new(Life {
                remote_bound,
                ..Life::default()
            }),
            config,
        }
    }

    /// Looks at or changes what the status shows.
    pub(crate) fn life<R>(&self, with: impl FnOnce(&mut Life) -> R) -> R {
        with(&mut self.life.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on new streams go over this connection, or wait for one.
    pub(crate) fn publish(&self, current: Option<Current>) {
        if let Some(Current {
            session,
            connection,
            ..
        }) = &current
        {
            self.life(|life| life.live.insert(*session, connection.clone()));
            ways::settled(self, Some(connection.remote_addr()));
        }
        self.current.send_replace(current);
    }

    /// Opens a stream to the peer. While there is no connection it waits for one, within the time that the
    /// configuration allows; a connection that fails meanwhile is waited to be replaced.
    pub(crate) async fn open(&self) -> Result<(u64, SendStream, RecvStream), NoStream> {
        let (current, send, recv) = self.open_on().await?;
        Ok((current.session, send, recv))
    }

    /// [`ClientCore::open`], with the connection that the stream is on.
    pub(crate) async fn open_on(&self) -> Result<(Current, SendStream, RecvStream), NoStream> {
        let limit = self.config.wait_for_connection;
        let deadline = Instant::now() + limit;
        let mut watching = self.current.subscribe();
        let mut failed = 0;
        loop {
            let usable = |current: &Option<Current>| {
                current
                    .as_ref()
                    .is_some_and(|current| current.session != failed)
            };
            let current = match timeout_at(deadline, watching.wait_for(usable)).await {
                Ok(Ok(current)) => current.clone(),
                _ => return Err(NoStream::NotConnected(limit)),
            };
            let Some(current) = current else {
                continue;
            };
            match timeout_at(deadline, current.connection.open_bi()).await {
                Ok(Ok((send, recv))) => return Ok((current, send, recv)),
                Ok(Err(_)) => failed = current.session,
                Err(_) => return Err(NoStream::NotTaken(limit)),
            }
        }
    }

    /// A picture of the tunnel.
    pub(crate) fn status(&self) -> Status {
        let current = self.current.borrow().clone();
        let live = self.life(|life| life.live.clone());
        // The locks are free again: pictures of connections with many streams take their time.
        let stats: BTreeMap<u64, Stats> = live
            .iter()
            .map(|(session, connection)| (*session, connection.stats()))
            .collect();
        let held: HashMap<(u64, u64), (HeldBy, HeldBy)> = stats
            .iter()
            .flat_map(|(session, stats)| {
                let key = |stream: &crate::stats::StreamStats| (*session, stream.id);
                let held = |stream: &crate::stats::StreamStats| {
                    (stream.send_held_by, stream.receive_held_by)
                };
                stats
                    .streams
                    .iter()
                    .map(move |stream| (key(stream), held(stream)))
            })
            .collect();
        let entries = self.registry.list();
        let omitted = entries.len().saturating_sub(MAX_LISTED);
        let streams = entries
            .iter()
            .take(MAX_LISTED)
            .map(|entry| show(entry, &held))
            .collect();
        let connection = current
            .as_ref()
            .and_then(|current| Some((stats.get(&current.session)?, current)))
            .map(|(stats, current)| {
                show_connection(stats, current.connection.why(), current.flows.unknown())
            });
        let forwards = self.forwards();
        let devices = self.life(|life| life.devices.clone());
        let devices = devices
            .into_iter()
            .filter_map(|(name, stack)| Some(DeviceStatus::of(name, &stack.upgrade()?)))
            .collect();
        self.life(|life| Status {
            pid: std::process::id(),
            peer: self.config.peer.clone(),
            state: match (life.draining, &current) {
                (true, _) => TunnelState::Draining,
                (false, Some(_)) => TunnelState::Connected,
                (false, None) => TunnelState::Connecting,
            },
            uptime_secs: self.began.elapsed().as_secs_f64(),
            reconnects: life.reconnects,
            last_end: life.last_end.clone(),
            connection,
            forwards,
            devices,
            streams,
            omitted: u64::try_from(omitted).unwrap_or(u64::MAX),
        })
    }

    /// What was asked for, with the addresses that it came to.
    pub(crate) fn forwards(&self) -> Vec<ForwardStatus> {
        let show = |kind, transport, bind: Option<SocketAddr>, to: Option<String>| ForwardStatus {
            kind,
            transport,
            bind: bind.map(|bind| bind.to_string()),
            to,
        };
        let show_device = |(name, _): &(String, WeakStack)| ForwardStatus {
            kind: ForwardKind::Packets,
            transport: Transport::Tcp,
            bind: Some(name.clone()),
            to: None,
        };
        let config = &self.config;
        self.life(|life| {
            let local = config
                .local
                .iter()
                .zip(&life.local_bound)
                .map(|(forward, bind)| {
                    show(
                        ForwardKind::Local,
                        forward.transport,
                        Some(*bind),
                        Some(forward.to.to_string()),
                    )
                });
            let remote = config
                .remote
                .iter()
                .zip(&life.remote_bound)
                .map(|(forward, bind)| {
                    let to = Some(forward.to.to_string());
                    show(ForwardKind::Remote, forward.transport, *bind, to)
                });
            let socks = life
                .socks_bound
                .iter()
                .map(|bind| show(ForwardKind::Socks, Transport::Tcp, Some(*bind), None));
            let devices = life.devices.iter().map(show_device);
            local.chain(remote).chain(socks).chain(devices).collect()
        })
    }
}

fn show(entry: &Entry, held: &HashMap<(u64, u64), (HeldBy, HeldBy)>) -> StreamStatus {
    use std::sync::atomic::Ordering::Relaxed;
    let stream = Some(entry.stream()).filter(|stream| *stream != 0);
    let (send, receive) = match held.get(&(entry.session(), entry.stream())) {
        Some((send, receive)) => (send.as_str(), receive.as_str()),
        None if stream.is_none() => ("no connection", "no connection"),
        None => (HeldBy::Nothing.as_str(), HeldBy::Nothing.as_str()),
    };
    StreamStatus {
        id: entry.id,
        stream,
        kind: entry.kind,
        transport: entry.transport(),
        datagrams: entry.datagrams(),
        from: entry.from.to_string(),
        to: entry.to.clone(),
        phase: entry.phase(),
        age_secs: entry.began.elapsed().as_secs_f64(),
        sent: entry.traffic.sent.load(Relaxed),
        received: entry.traffic.received.load(Relaxed),
        send_held_by: send.to_owned(),
        receive_held_by: receive.to_owned(),
    }
}

fn show_connection(stats: &Stats, why: Option<&str>, unknown_datagrams: u64) -> ConnectionStatus {
    ConnectionStatus {
        peer_id: stats.peer.as_ref().map(ToString::to_string),
        remote: stats.remote_addr.to_string(),
        via: stats.via.to_string(),
        rtt_ms: stats.rtt.map(millis),
        age_secs: stats.age.as_secs_f64(),
        why: why.map(str::to_owned),
        sent: stats.sent,
        received: stats.received,
        memory_used: stats.memory_used,
        memory_limit: stats.memory_limit,
        path: stats.path.as_ref().map(show_path),
        unknown_datagrams,
    }
}

fn show_path(path: &PathStats) -> PathStatus {
    let (congestion, state) = path.congestion;
    PathStatus {
        min_rtt_ms: path.min_rtt.map(millis),
        congestion_window: path.congestion_window,
        in_flight: path.in_flight,
        congestion: congestion.to_owned(),
        congestion_state: state.to_owned(),
        datagram_size: path.datagram_size,
        ecn: path.ecn.as_str().to_owned(),
        datagrams_sent: path.datagrams_sent,
        datagrams_received: path.datagrams_received,
        packets_lost: path.packets_lost,
        migrations: path.migrations,
        key_updates: path.key_updates,
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
