//! One peer's connection, as the listening side serves it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::control::{Control, hello};
use super::destination::Destination;
use super::listens;
use super::names;
use super::protocol::{Granted, Refusal, Request, Status};
use super::registry::{Registered, Registry};
use super::relay::{Relay, RelayError};
use super::server::{Admitted, ServerCore};
use super::shutdown::Shutdown;
use super::spec::Transport;
use super::status::ForwardKind;
use super::streams::{answer, fault, grant, not_for_you, read_request, refuse};
use super::tasks::{Tasks, TasksGuard};
use super::udp::{Answering, FlowError, Flows, Parity, Udp, answer_flow};
use super::units::UnitStream;
use crate::connection::Connection;
use crate::stream::{RecvStream, SendStream};

/// How long the close may take to reach the peer.
const CLOSE: Duration = Duration::from_secs(1);

/// A connection of a peer that has been let in.
pub(crate) struct PeerSession {
    pub(crate) core: Arc<ServerCore>,
    pub(crate) connection: Connection,
    /// A number of this server's, from 1.
    pub(crate) number: u64,
    /// The peer in words.
    pub(crate) name: String,
    pub(crate) registry: Registry,
    pub(crate) tasks: Tasks,
    /// Why nothing new is taken any more, once that is so.
    pub(crate) draining: watch::Sender<Option<String>>,
    streams: Arc<Semaphore>,
    pub(crate) listens: Arc<Semaphore>,
    pub(crate) udp: Udp,
    pub(crate) flows: Arc<Flows>,
    control: Mutex<Option<Arc<Control>>>,
    began: Instant,
    _admitted: Admitted,
    _guard: TasksGuard,
}

impl PeerSession {
    pub(crate) fn new(
        core: Arc<ServerCore>,
        connection: Connection,
        number: u64,
        admitted: Admitted,
    ) -> Arc<Self> {
        let name = match (connection.peer_id(), &admitted.label) {
            (Some(peer), Some(label)) => format!("{label} ({peer})"),
            (Some(peer), None) => format!("peer {peer}"),
            (None, _) => format!("peer at {}", connection.remote_addr()),
        };
        let tasks = Tasks::default();
        let udp = Udp::new(core.config.max_udp_flows, core.config.udp_idle);
        let flows = Flows::new(Parity::Odd, &udp.budget);
        tasks.spawn(Arc::clone(&flows).serve(connection.clone()));
        Arc::new(Self {
            name,
            connection,
            flows,
            udp,
            number,
            registry: Registry::default(),
            _guard: tasks.guard(),
            tasks,
            draining: watch::Sender::new(None),
            streams: Arc::new(Semaphore::new(core.config.max_streams)),
            listens: Arc::new(Semaphore::new(core.config.max_listens)),
            control: Mutex::new(None),
            began: Instant::now(),
            _admitted: admitted,
            core,
        })
    }

    fn control(&self) -> Option<Arc<Control>> {
        self.control
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Logs that a request was refused, as long as that is not too often.
    pub(crate) fn log_refusal(&self, what: &str, refusal: &Refusal) {
        if let Some(left_out) = self.core.quiet.suffix() {
            info!("{}: {what}: {refusal}{left_out}", self.name);
        }
    }
}

/// Serves a connection until it is over or `stop` is used.
pub(crate) async fn serve(session: Arc<PeerSession>, stop: Shutdown) {
    let connection = &session.connection;
    info!(
        "{} connected from {} via {}",
        session.name,
        connection.remote_addr(),
        connection.via()
    );
    let reason = tokio::select! {
        biased;
        reason = stop.requested() => {
            drain(&session, reason, &stop).await
        }
        () = take_streams(&session) => connection.closed().await.to_string(),
    };
    let words = session.control().and_then(|control| control.said().closing);
    let reason = match words {
        Some(words) if !words.is_empty() => format!("closed by the peer: {words}"),
        _ => reason,
    };
    info!(
        "{} is gone after {} s: {reason}",
        session.name,
        session.began.elapsed().as_secs()
    );
    // Tasks hold the session that holds them.
    session.tasks.abort_all();
}

async fn take_streams(session: &Arc<PeerSession>) {
    while let Ok((send, recv)) = session.connection.accept_bi().await {
        let recv = UnitStream::new(recv);
        let Ok(slot) = Arc::clone(&session.streams).try_acquire_owned() else {
            // Too many to give each a task, so only what can be done without waiting.
            let refusal = Refusal::new(Status::TooMany, "too many streams at once");
            session.log_refusal("a stream", &refusal);
            let _ = timeout(Duration::ZERO, refuse(send, recv, refusal)).await;
            continue;
        };
        let serving = Arc::clone(session);
        session
            .tasks
            .spawn(async move { serve_stream(&serving, send, recv, slot).await });
    }
}

async fn serve_stream(
    session: &Arc<PeerSession>,
    send: SendStream,
    mut recv: UnitStream<RecvStream>,
    slot: OwnedSemaphorePermit,
) {
    let limit = session.core.config.request_timeout;
    let request = match read_request(&mut recv, limit).await {
        Ok(request) => request,
        Err(error) => {
            debug!("{}: stream {}: {error}", session.name, send.id());
            if let Some(refusal) = fault(&error) {
                refuse(send, recv, refusal).await;
            }
            return;
        }
    };
    let draining = session.draining.borrow().clone();
    if let Some(reason) = draining {
        return refuse(send, recv, Refusal::new(Status::ShuttingDown, reason)).await;
    }
    match request {
        Request::Connect(to) => connect(session, send, recv, to).await,
        Request::Datagrams { flow, to } => {
            carry_flow(session, send, recv, (flow, to), slot).await;
        }
        Request::Listen { id, bind } => {
            listens::serve(session, send, recv, id, (Transport::Tcp, bind)).await;
        }
        Request::ListenDatagrams { id, bind } => {
            listens::serve(session, send, recv, id, (Transport::Udp, bind)).await;
        }
        Request::Resolve { query } => names::answer(session, send, recv, &query).await,
        Request::Control(hello) => {
            debug!("{}: is {}", session.name, hello.agent);
            control(session, send, recv).await;
        }
        Request::Accepted { .. } | Request::DatagramsFrom { .. } => {
            refuse(send, recv, not_for_you()).await;
        }
    }
}

/// Answers the greeting and keeps the control stream.
async fn control(session: &Arc<PeerSession>, mut send: SendStream, recv: UnitStream<RecvStream>) {
    if session.control().is_some() {
        let refusal = Refusal::new(Status::Malformed, "a second control stream");
        return refuse(send, recv, refusal).await;
    }
    if answer(&mut send, &Ok(Granted::Hello(hello())))
        .await
        .is_err()
    {
        return;
    }
    let (control, work) = Control::new(send, recv);
    *session
        .control
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(control));
    work.await;
}

/// Connects to a destination and passes bytes.
async fn connect(
    session: &Arc<PeerSession>,
    mut send: SendStream,
    recv: UnitStream<RecvStream>,
    to: Destination,
) {
    let core = &session.core;
    let from = session.connection.remote_addr();
    let registered = session
        .registry
        .add(ForwardKind::Local, from, to.to_string());
    registered.opening(session.number, send.id());
    let dialling = tokio::select! {
        biased;
        result = core.dialler.connect(&to, &core.config.allow_to) => Some(result),
        // Its asker has lost interest; a dial that hangs must not outlive that.
        _ = send.stopped() => None,
    };
    match dialling {
        Some(Ok(tcp)) => {
            let result = match grant(&mut send).await {
                Ok(()) => {
                    let relay = Relay {
                        tcp,
                        send,
                        recv,
                        awaits: None,
                        pool: &core.pool,
                        registered: &registered,
                    };
                    relay.run().await
                }
                Err(error) => Err(RelayError::from(error)),
            };
            log_end(session, &registered, result);
        }
        Some(Err(refusal)) => {
            session.log_refusal("connect", &refusal);
            refuse(send, recv, refusal).await;
        }
        None => debug!("{}: {to}: given up by the peer", session.name),
    }
}

/// Passes datagrams to and from a destination.
async fn carry_flow(
    session: &Arc<PeerSession>,
    send: SendStream,
    recv: UnitStream<RecvStream>,
    (flow, to): (u64, Destination),
    slot: OwnedSemaphorePermit,
) {
    let core = &session.core;
    let asked = Answering {
        connection: &session.connection,
        session: session.number,
        flows: &session.flows,
        udp: &session.udp,
        registry: &session.registry,
        dialler: &core.dialler,
        kind: ForwardKind::Local,
        from: session.connection.remote_addr(),
        to: &to,
        allow: &core.config.allow_to,
        flow,
        slot: Some(slot),
    };
    let name = &session.name;
    match answer_flow(asked, send, recv).await {
        (Err(FlowError::Refused(refusal)), _) => session.log_refusal("datagrams", &refusal),
        (Err(error), summary) => debug!("{name}: udp to {to} broken off: {error}; {summary}"),
        (Ok(_), summary) => debug!("{name}: udp to {to} ended; {summary}"),
    }
}

/// One line on how a forwarded connection ended.
pub(crate) fn log_end(
    session: &PeerSession,
    registered: &Registered,
    result: Result<(), RelayError>,
) {
    let (name, to) = (&session.name, registered.to());
    match result {
        Ok(()) => debug!("{name}: {to} done after {}", registered.summary()),
        Err(error) => debug!("{name}: {to} broken off: {error}; {}", registered.summary()),
    }
}

/// Takes nothing new, lets what runs finish within the grace, closes with a reason; gives back why it is over.
async fn drain(session: &Arc<PeerSession>, reason: String, stop: &Shutdown) -> String {
    session.draining.send_replace(Some(reason.clone()));
    let control = session.control();
    let finish = async {
        let grace = session.core.config.grace;
        if let Some(control) = &control {
            control.draining(grace, &reason).await;
        }
        let running = session.registry.len();
        if running > 0 {
            let secs = grace.as_secs();
            info!(
                "{}: waiting up to {secs} s for {running} connection(s)",
                session.name
            );
        }
        let _ = timeout(grace, async {
            tokio::select! {
                () = session.registry.idle() => {}
                _ = session.connection.closed() => {}
                // Streams that were asked for before are still answered, with a refusal.
                () = take_streams(session) => {}
            }
        })
        .await;
    };
    tokio::select! {
        biased;
        _ = stop.requested_now() => {}
        () = finish => {}
    }
    let left = session.registry.len();
    if left > 0 {
        warn!(
            "{}: {left} connection(s) had not finished and are cut off",
            session.name
        );
    }
    let reason = stop.reason().unwrap_or(reason);
    if let Some(control) = &control {
        control.closing(&reason).await;
    }
    session.connection.close(0, &reason);
    let _ = timeout(CLOSE, session.connection.closed()).await;
    format!("closed by this side: {reason}")
}
