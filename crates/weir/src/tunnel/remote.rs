//! `-R`, as the side that asks for it sees it: connections that come in there and are made here.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tracing::{debug, info, warn};
use weir_core::rng::rng_from_seed;

use super::backoff::Backoff;
use super::local::log_end;
use super::protocol::{Granted, Refusal, Request, Status, read_answer, read_refusal};
use super::relay::{Relay, RelayError};
use super::rules::AllowTo;
use super::session::SessionError;
use super::shared::{ClientCore, Current};
use super::spec::{RemoteForward, Transport};
use super::status::ForwardKind;
use super::streams::{ask, fault, grant, not_for_you, read_request, refuse};
use super::udp::{Answering, FlowError, answer_flow};
use super::units::{UnitError, UnitStream};
use crate::connection::Connection;
use crate::stream::{RecvStream, SendStream};

/// A granted listen: the far side listens for as long as this lives.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) bound: SocketAddr,
    /// Dropped unfinished, it ends the listen as surely as finished.
    _send: SendStream,
    recv: UnitStream<RecvStream>,
}

/// The id of a listen on the wire is its place among the `-R` options.
fn wire_id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Asks the far side to listen for the `-R` option at `index`.
pub(crate) async fn listen(
    core: &ClientCore,
    connection: &Connection,
    index: usize,
    transport: Transport,
    bind: SocketAddr,
) -> Result<Listen, SessionError> {
    let id = wire_id(index);
    let request = match transport {
        Transport::Tcp => Request::Listen { id, bind },
        Transport::Udp => Request::ListenDatagrams { id, bind },
    };
    let (mut send, recv) = connection.open_bi().await?;
    let mut recv = UnitStream::new(recv);
    ask(&mut send, &request, &[]).await?;
    let unit = recv.next_within(core.config.request_timeout).await?;
    match read_answer(&request, &unit).map_err(UnitError::from)? {
        Ok(Granted::Listening(bound)) => {
            core.life(|life| {
                if let Some(slot) = life.remote_bound.get_mut(index) {
                    *slot = Some(bound);
                }
            });
            Ok(Listen {
                bound,
                _send: send,
                recv,
            })
        }
        Ok(_) => Err(UnitError::Ended.into()),
        Err(refusal) => Err(refusal.into()),
    }
}

impl Listen {
    /// Waits until the far side listens no more, and says why if it does.
    async fn ended(&mut self) -> Option<Refusal> {
        let Ok(unit) = self.recv.next().await else {
            return None;
        };
        // A last unit with the reason, in the form of a refusal.
        read_refusal(&unit)
    }
}

/// Keeps the far side listening for one `-R` option for as long as the connection stands: `listen` is the first try's
/// result; a listen that ends or is refused is asked for again, with growing pauses.
pub(crate) async fn keep(
    core: Arc<ClientCore>,
    connection: Connection,
    index: usize,
    first: Result<Listen, SessionError>,
) {
    let Some(forward) = core.config.remote.get(index).cloned() else {
        return;
    };
    let seed = core.config.seed.wrapping_add(u64::from(wire_id(index)));
    let mut backoff = Backoff::new(core.config.backoff.clone(), rng_from_seed(seed));
    let mut result = first;
    let mut said = String::new();
    let name = name_of(&forward);
    loop {
        match result {
            Ok(mut listen) => {
                said.clear();
                info!(
                    "-R {name}: the far side listens at {} for {}",
                    listen.bound, forward.to
                );
                let began = tokio::time::Instant::now();
                let why = listen.ended().await;
                if connection.close_reason().is_some() {
                    return;
                }
                let words = why
                    .as_ref()
                    .map_or("without a word".to_owned(), ToString::to_string);
                warn!("-R {name}: the far side stopped listening: {words}");
                // Another client of the same key wants the address; taking turns with it would serve neither.
                if why.is_some_and(|why| why.status == Status::AddressInUse) {
                    forget(&core, index);
                    return;
                }
                backoff.connection_lasted(began.elapsed());
            }
            Err(error) if connection.close_reason().is_none() => {
                let words = error.to_string();
                if words != said {
                    warn!("-R {name}: {words}; asking again");
                    said = words;
                }
            }
            Err(_) => return,
        }
        tokio::time::sleep(backoff.next_wait()).await;
        result = relisten(&core, &connection, index, &forward).await;
    }
}

/// Listens again, at the port that the far side chose before if it was left to choose: whoever was told of that
/// port finds it again.
pub(crate) async fn relisten(
    core: &ClientCore,
    connection: &Connection,
    index: usize,
    forward: &RemoteForward,
) -> Result<Listen, SessionError> {
    let (transport, bind) = (forward.transport, forward.bind);
    let before = core.life(|life| life.remote_bound.get(index).copied().flatten());
    if let (0, Some(before)) = (bind.port(), before) {
        let again = SocketAddr::new(bind.ip(), before.port());
        if let Ok(listen) = listen(core, connection, index, transport, again).await {
            return Ok(listen);
        }
    }
    listen(core, connection, index, transport, bind).await
}

/// The option as log lines name it.
fn name_of(forward: &RemoteForward) -> String {
    format!("{}{}", forward.transport.prefix(), forward.bind)
}

fn forget(core: &ClientCore, index: usize) {
    core.life(|life| {
        if let Some(slot) = life.remote_bound.get_mut(index) {
            *slot = None;
        }
    });
}

/// Takes a stream that the far side opened: the only one it has reason to open is for a connection that came in at
/// a listen of ours, and what that reaches was fixed here.
pub(crate) async fn serve_stream(
    core: &ClientCore,
    current: &Current,
    send: SendStream,
    recv: RecvStream,
) {
    let mut recv = UnitStream::new(recv);
    let request = match read_request(&mut recv, core.config.request_timeout).await {
        Ok(request) => request,
        Err(error) => {
            if let Some(refusal) = fault(&error) {
                refuse(send, recv, refusal).await;
            }
            return;
        }
    };
    let (id, from, transport) = match request {
        Request::Accepted { id, from } => (id, from, Transport::Tcp),
        Request::DatagramsFrom { id, from, .. } => (id, from, Transport::Udp),
        _ => return refuse(send, recv, not_for_you()).await,
    };
    let forward = usize::try_from(id)
        .ok()
        .and_then(|index| core.config.remote.get(index))
        .filter(|forward| forward.transport == transport);
    let Some(forward) = forward else {
        let refusal = Refusal::new(Status::UnknownListen, "no such listen was asked for");
        return refuse(send, recv, refusal).await;
    };
    match request {
        Request::DatagramsFrom { flow, .. } => {
            carry_flow(core, current, forward, (from, flow), send, recv).await;
        }
        _ => carry(core, current.session, forward, from, send, recv).await,
    }
}

/// Connects to a forward's destination and passes bytes.
async fn carry(
    core: &ClientCore,
    session: u64,
    forward: &RemoteForward,
    from: SocketAddr,
    send: SendStream,
    recv: UnitStream<RecvStream>,
) {
    let registered = core
        .registry
        .add(ForwardKind::Remote, from, forward.to.to_string());
    registered.opening(session, send.id());
    let result = match core.dialler.connect(&forward.to, &AllowTo::any()).await {
        Ok(tcp) => deliver(core, tcp, send, recv, &registered).await,
        Err(refusal) => {
            refuse(send, recv, refusal.clone()).await;
            Err(RelayError::Refused(refusal))
        }
    };
    let what = format!("-R {}", forward.bind);
    log_end(core, &what, from, &registered, result.map_err(Into::into));
}

/// Passes the datagrams of one client of a forward.
async fn carry_flow(
    core: &ClientCore,
    current: &Current,
    forward: &RemoteForward,
    (from, flow): (SocketAddr, u64),
    send: SendStream,
    recv: UnitStream<RecvStream>,
) {
    let asked = Answering {
        connection: &current.connection,
        session: current.session,
        flows: &current.flows,
        udp: &core.udp,
        registry: &core.registry,
        dialler: &core.dialler,
        kind: ForwardKind::Remote,
        from,
        to: &forward.to,
        allow: &AllowTo::any(),
        flow,
        slot: None,
    };
    let (name, to) = (name_of(forward), &forward.to);
    match answer_flow(asked, send, recv).await {
        (Err(FlowError::Refused(refusal)), _) => {
            if let Some(left_out) = core.quiet.suffix() {
                warn!("-R {name}: {from} to {to}: {refusal}{left_out}");
            }
        }
        (Err(error), summary) => debug!("-R {name}: {from} to {to} broken off: {error}; {summary}"),
        (Ok(_), summary) => debug!("-R {name}: {from} to {to} ended; {summary}"),
    }
}

async fn deliver(
    core: &ClientCore,
    tcp: TcpStream,
    mut send: SendStream,
    recv: UnitStream<RecvStream>,
    registered: &super::registry::Registered,
) -> Result<(), RelayError> {
    grant(&mut send).await?;
    Relay {
        tcp,
        send,
        recv,
        awaits: None,
        pool: &core.pool,
        registered,
    }
    .run()
    .await
}
