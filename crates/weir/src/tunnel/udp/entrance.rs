//! Where clients send their datagrams, and the flows that they become.

use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::exit::{Exit, receive};
use super::flow::{End, Flow, FlowError, canonical};
use super::flows::Flows;
use super::limits::{BATCH, REFUSED};
use super::queue::DropQueue;
use super::table::{Activity, Place, Table};
use super::{Datagrams, Udp};
use crate::connection::Connection;
use crate::stream::{RecvStream, SendStream};
use crate::tunnel::destination::Destination;
use crate::tunnel::peer::PeerSession;
use crate::tunnel::protocol::Request;
use crate::tunnel::registry::{Registered, Registry};
use crate::tunnel::shared::ClientCore;
use crate::tunnel::status::ForwardKind;
use crate::tunnel::streams::ask;
use crate::tunnel::tasks::Tasks;
use crate::tunnel::units::UnitStream;

/// How long a peer may take to take a stream and to answer for its destination, as the listening side waits.
const ANSWER: Duration = Duration::from_secs(20);

/// The side of the tunnel where an entrance is.
#[derive(Clone)]
pub(crate) enum Side {
    /// `-L` and `-D`
    Client(Arc<ClientCore>),
    /// `-R`
    Peer(Arc<PeerSession>),
}

/// A stream for a flow, and the connection that carries it.
struct Opened {
    session: u64,
    connection: Connection,
    flows: Arc<Flows>,
    send: SendStream,
    recv: RecvStream,
}

impl Side {
    pub(crate) fn udp(&self) -> &Udp {
        match self {
            Self::Client(core) => &core.udp,
            Self::Peer(session) => &session.udp,
        }
    }

    fn registry(&self) -> &Registry {
        match self {
            Self::Client(core) => &core.registry,
            Self::Peer(session) => &session.registry,
        }
    }

    fn answer_limit(&self) -> Duration {
        match self {
            Self::Client(core) => core.config.request_timeout,
            Self::Peer(_) => ANSWER,
        }
    }

    async fn open(&self) -> Result<Opened, String> {
        match self {
            Self::Client(core) => {
                let opened = core.open_on().await;
                let (current, send, recv) = opened.map_err(|error| error.to_string())?;
                Ok(Opened {
                    session: current.session,
                    connection: current.connection,
                    flows: current.flows,
                    send,
                    recv,
                })
            }
            Self::Peer(session) => {
                let (send, recv) = match timeout(ANSWER, session.connection.open_bi()).await {
                    Ok(opened) => opened.map_err(|error| error.to_string())?,
                    Err(_) => return Err("the peer takes no new stream".to_owned()),
                };
                Ok(Opened {
                    session: session.number,
                    connection: session.connection.clone(),
                    flows: Arc::clone(&session.flows),
                    send,
                    recv,
                })
            }
        }
    }

    /// Says why a flow never began: news where people look after the tunnel, within bounds.
    fn log_refusal(&self, what: &str, error: &str) {
        match self {
            Self::Client(core) => {
                if let Some(left_out) = core.quiet.suffix() {
                    warn!("{what}: {error}{left_out}");
                }
            }
            Self::Peer(session) => {
                if let Some(left_out) = session.core.quiet.suffix() {
                    info!("{}: {what}: {error}{left_out}", session.name);
                }
            }
        }
    }
}

/// What the far side is asked for; each flow's number is added.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// A destination.
    To(Destination),
    /// What belongs to a listen of the peer's.
    Listen(u32),
}

/// A socket whose every client is a flow.
pub(crate) struct Entrance {
    pub(crate) side: Side,
    pub(crate) tasks: Tasks,
    pub(crate) kind: ForwardKind,
    /// The forward in words.
    pub(crate) name: String,
    /// What is reached, in words.
    pub(crate) to: String,
    pub(crate) wanted: Wanted,
    /// Clients at once.
    pub(crate) max: usize,
}

impl Entrance {
    /// `-L udp:`
    pub(crate) fn local(
        core: &Arc<ClientCore>,
        tasks: &Tasks,
        bound: SocketAddr,
        to: Destination,
    ) -> Self {
        Self {
            side: Side::Client(Arc::clone(core)),
            tasks: tasks.clone(),
            kind: ForwardKind::Local,
            name: format!("-L udp:{bound}"),
            to: to.to_string(),
            wanted: Wanted::To(to),
            max: core.config.max_udp_flows,
        }
    }

    /// `-R udp:`, at the side that listens.
    pub(crate) fn listen(session: &Arc<PeerSession>, bound: SocketAddr, id: u32) -> Self {
        Self {
            side: Side::Peer(Arc::clone(session)),
            tasks: session.tasks.clone(),
            kind: ForwardKind::Remote,
            name: format!("udp:{bound}"),
            to: bound.to_string(),
            wanted: Wanted::Listen(id),
            max: session.core.config.max_udp_flows,
        }
    }

    /// Takes datagrams for ever. All flows end when this future is dropped.
    pub(crate) async fn serve(self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let table = Table::new(self.max);
        let _guard = table.guard();
        receive(&socket, |payload, from| {
            let exit = || Exit::Client(Arc::clone(&socket), from);
            pass(
                &table,
                &from,
                payload,
                |begun| {
                    Asking {
                        side: self.side.clone(),
                        kind: self.kind,
                        name: self.name.clone(),
                        from: canonical(from),
                        to: self.to.clone(),
                        wanted: self.wanted.clone(),
                        exit: exit(),
                    }
                    .spawn(&self.tasks, begun);
                },
                self.side.udp(),
            );
        })
        .await;
    }
}

/// A flow that has its place and its first datagram.
pub(crate) struct Begun<K: Hash + Eq + Clone> {
    queue: Arc<DropQueue>,
    activity: Arc<Activity>,
    place: Place<K>,
}

/// Gives a datagram to its flow; `begin` is called with a new one where there is none. Never waits.
pub(crate) fn pass<K: Hash + Eq + Clone>(
    table: &Arc<Table<K>>,
    key: &K,
    payload: &[u8],
    begin: impl FnOnce(Begun<K>),
    udp: &Udp,
) {
    if let Some(queue) = table.queue(key) {
        return queue.push(payload);
    }
    let counts = Arc::new(Datagrams::default());
    let queue = DropQueue::new(&udp.budget, &counts);
    let activity = Activity::new();
    queue.push(payload);
    let place = table.add(key.clone(), Arc::clone(&queue), Arc::clone(&activity));
    begin(Begun {
        queue,
        activity,
        place,
    });
}

/// A flow that the far side is to be asked for.
pub(crate) struct Asking {
    pub(crate) side: Side,
    pub(crate) kind: ForwardKind,
    /// The forward in words.
    pub(crate) name: String,
    pub(crate) from: SocketAddr,
    pub(crate) to: String,
    pub(crate) wanted: Wanted,
    pub(crate) exit: Exit,
}

impl Asking {
    /// Runs the flow to its end as a task.
    pub(crate) fn spawn<K>(self, tasks: &Tasks, begun: Begun<K>)
    where
        K: Hash + Eq + Clone + Send + 'static,
    {
        let Begun {
            queue,
            activity,
            place,
        } = begun;
        tasks.spawn(async move {
            self.run(queue, activity).await;
            drop(place);
        });
    }

    async fn run(self, queue: Arc<DropQueue>, activity: Arc<Activity>) {
        let counts = queue.counts();
        let registry = self.side.registry().clone();
        let registered = registry.add_flow(self.kind, self.from, self.to.clone(), counts);
        let what = format!("{}: {} to {}", self.name, self.from, self.to);
        let side = self.side.clone();
        let begun = async {
            let slot = Arc::clone(&side.udp().slots).acquire_owned();
            let slot = match timeout(ANSWER, slot).await {
                Ok(Ok(slot)) => slot,
                _ => return Err("too many flows at once".to_owned()),
            };
            Ok((slot, side.open().await?))
        };
        let (slot, opened) = tokio::select! {
            begun = begun => match begun {
                Ok(begun) => begun,
                Err(error) => return side.log_refusal(&what, &error),
            },
            () = queue.closed() => return debug!("{what}: gave way before it began"),
        };
        let result = self.carry(opened, &queue, activity, &registered).await;
        match result {
            Ok(End::Idle) => debug!("{what}: idle, ended; {}", registered.summary()),
            Ok(_) => debug!("{what}: ended; {}", registered.summary()),
            Err(FlowError::Stream(error)) => {
                debug!("{what}: broken off: {error}; {}", registered.summary());
            }
            Err(error) => {
                side.log_refusal(&what, &error.to_string());
                // Each datagram would be a request of its own otherwise.
                queue.mute();
                let _ = timeout(REFUSED, queue.closed()).await;
            }
        }
        drop(slot);
    }

    async fn carry(
        self,
        opened: Opened,
        queue: &Arc<DropQueue>,
        activity: Arc<Activity>,
        registered: &Registered,
    ) -> Result<End, FlowError> {
        let Opened {
            session,
            connection,
            flows,
            mut send,
            recv,
        } = opened;
        registered.opening(session, send.id());
        let claim = flows.claim_own(queue.counts());
        let flow = claim.id;
        let request = match self.wanted {
            Wanted::To(to) => Request::Datagrams { flow, to },
            Wanted::Listen(id) => Request::DatagramsFrom {
                id,
                flow,
                from: self.from,
            },
        };
        let first = queue.try_take(BATCH);
        registered.count_datagrams_sent(&first);
        ask(&mut send, &request, &first).await?;
        drop(first);
        let flow = Flow {
            connection: &connection,
            send,
            recv: UnitStream::new(recv),
            claim,
            queue: Arc::clone(queue),
            activity,
            exit: self.exit,
            awaits: Some((&request, self.side.answer_limit())),
            registered,
            idle: self.side.udp().idle,
        };
        flow.run().await
    }
}
