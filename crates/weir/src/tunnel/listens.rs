//! `-R`, as the side that listens sees it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, info};

use super::dial::status_of;
use super::listener::{accept_loop, bind};
use super::peer::{PeerSession, log_end};
use super::protocol::{Granted, Refusal, Request, Status, write_answer};
use super::relay::{Relay, RelayError};
use super::spec::Transport;
use super::status::ForwardKind;
use super::streams::{answer, ask, first_data, refuse};
use super::udp::{self, Entrance};
use super::units::{READ_MAX, UnitStream};
use crate::security::PeerId;
use crate::stream::{RecvStream, SendStream};

/// How long an older listen of the same peer may take to let its address go.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// Connections that come in at one listen and are passed back at once.
const MAX_INCOMING: usize = 1024;

/// How long the peer may take to take a stream and to answer for its destination.
const ANSWER: Duration = Duration::from_secs(20);

/// The addresses that peers listen at.
#[derive(Debug, Default, Clone)]
pub(crate) struct Listens(Arc<Mutex<HashMap<Place, Held>>>);

/// TCP and UDP have ports of their own.
type Place = (Transport, SocketAddr);

/// What is bound for a listen.
enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

#[derive(Debug, Clone)]
struct Held {
    peer: Option<PeerId>,
    session: u64,
    id: u32,
    /// Tells the holder to let go.
    let_go: Arc<Notify>,
    /// Closed when it has.
    gone: watch::Receiver<()>,
}

/// One listen's entry; gone when it is dropped.
struct Holding {
    listens: Listens,
    place: Place,
    let_go: Arc<Notify>,
    _gone: watch::Sender<()>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.listens.lock().remove(&self.place);
    }
}

impl Listens {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If another connection of the same peer listens there, makes it stop: after a broken path, the peer knows of
    /// the break long before this side does.
    async fn take_over(&self, place: Place, session: &PeerSession) {
        let held = self.lock().get(&place).cloned();
        let Some(mut held) = held else { return };
        let same_peer = held.peer.is_some() && held.peer == session.connection.peer_id();
        if !same_peer || held.session == session.number {
            return;
        }
        held.let_go.notify_one();
        // An error means that the holder is gone.
        let _ = timeout(TAKE_OVER, held.gone.changed()).await;
    }

    fn is_id_used(&self, session: u64, id: u32) -> bool {
        self.lock()
            .values()
            .any(|held| held.session == session && held.id == id)
    }

    fn hold(&self, place: Place, session: &PeerSession, id: u32) -> Holding {
        let let_go = Arc::new(Notify::new());
        let (gone_tx, gone) = watch::channel(());
        let peer = session.connection.peer_id();
        let held = Held {
            peer,
            session: session.number,
            id,
            let_go: Arc::clone(&let_go),
            gone,
        };
        self.lock().insert(place, held);
        Holding {
            listens: self.clone(),
            place,
            let_go,
            _gone: gone_tx,
        }
    }
}

/// Serves one listen request to its end.
pub(crate) async fn serve(
    session: &Arc<PeerSession>,
    mut send: SendStream,
    mut recv: UnitStream<RecvStream>,
    id: u32,
    place: Place,
) {
    let (transport, address) = place;
    let (listener, holding, _slot) = match open(session, id, place).await {
        Ok(opened) => opened,
        Err(refusal) => {
            let what = format!("listen at {}{address}", transport.prefix());
            session.log_refusal(&what, &refusal);
            return refuse(send, recv, refusal).await;
        }
    };
    let (_, bound) = holding.place;
    let name = format!("{}{bound}", transport.prefix());
    if answer(&mut send, &Ok(Granted::Listening(bound)))
        .await
        .is_err()
    {
        return;
    }
    info!("{} listens at {name}", session.name);
    let mut draining = session.draining.subscribe();
    let why = tokio::select! {
        () = take(session, listener, bound, id) => None,
        () = drained(&mut recv) => None,
        () = holding.let_go.notified() => {
            let reason = "taken over by a newer connection of the same peer";
            Some(Refusal::new(Status::AddressInUse, reason))
        }
        reason = draining.wait_for(Option::is_some) => {
            let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
            Some(Refusal::new(Status::ShuttingDown, reason))
        }
    };
    // The address is free again before the peer hears of it.
    drop(holding);
    let words = why.as_ref().map_or_else(
        || "the peer wants it no more".to_owned(),
        ToString::to_string,
    );
    info!("{} no longer listens at {name}: {words}", session.name);
    if let Some(refusal) = why {
        let mut wire = Vec::new();
        write_answer(&Err(refusal), &mut wire);
        let _ = send.write_chunk(&mut wire.into()).await;
    }
    let _ = send.finish();
    let _ = timeout(Duration::from_secs(1), drained(&mut recv)).await;
}

/// Reads and drops until the stream ends either way: there is no payload on a listen's stream.
async fn drained(recv: &mut UnitStream<RecvStream>) {
    while let Ok(Some(_)) = recv.source_mut().read_chunk(READ_MAX).await {}
}

/// Checks a listen request and binds its address.
async fn open(
    session: &Arc<PeerSession>,
    id: u32,
    place: Place,
) -> Result<(Listener, Holding, OwnedSemaphorePermit), Refusal> {
    let (transport, address) = place;
    let core = &session.core;
    if !core
        .config
        .allow_listen
        .permits(address.ip(), address.port())
    {
        let reason = format!(
            "listening at {address} is not allowed here (allowed: {}); the listening side can add --allow-remote-listen {address}",
            core.config.allow_listen
        );
        return Err(Refusal::new(Status::NotAllowed, reason));
    }
    if core.listens.is_id_used(session.number, id) {
        return Err(Refusal::new(
            Status::Malformed,
            format!("listen {id} is open already"),
        ));
    }
    let slot = Arc::clone(&session.listens)
        .try_acquire_owned()
        .map_err(|_| Refusal::new(Status::TooMany, "too many listens"))?;
    core.listens.take_over(place, session).await;
    let failed = |error: io::Error| Refusal::new(status_of(&error), format!("{address}: {error}"));
    let (listener, bound) = match transport {
        Transport::Tcp => {
            let listener = bind(address).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            (Listener::Tcp(listener), bound)
        }
        Transport::Udp => {
            let socket = udp::bind(address).await.map_err(failed)?;
            let bound = socket.local_addr().map_err(failed)?;
            (Listener::Udp(socket), bound)
        }
    };
    let holding = core.listens.hold((transport, bound), session, id);
    Ok((listener, holding, slot))
}

/// Takes what comes to a listen and passes it back to the peer, for ever.
async fn take(session: &Arc<PeerSession>, listener: Listener, bound: SocketAddr, id: u32) {
    match listener {
        Listener::Tcp(listener) => accept(session, listener, bound, id).await,
        Listener::Udp(socket) => Entrance::listen(session, bound, id).serve(socket).await,
    }
}

/// Takes connections and passes each back to the peer, for ever.
async fn accept(session: &Arc<PeerSession>, listener: TcpListener, bound: SocketAddr, id: u32) {
    let slots = Arc::new(Semaphore::new(MAX_INCOMING));
    let name = format!("{} at {bound}", session.name);
    accept_loop(listener, &name, &slots, |tcp, from, slot| {
        let serving = Arc::clone(session);
        session.tasks.spawn(async move {
            let registered = serving
                .registry
                .add(ForwardKind::Remote, from, bound.to_string());
            let result = pass_back(&serving, tcp, from, id, &registered).await;
            if let Err(RelayError::Refused(refusal)) = &result {
                serving.log_refusal(&format!("{from} at {bound}"), refusal);
            }
            log_end(&serving, &registered, result);
            drop(slot);
        });
    })
    .await;
}

async fn pass_back(
    session: &PeerSession,
    tcp: TcpStream,
    from: SocketAddr,
    id: u32,
    registered: &super::registry::Registered,
) -> Result<(), RelayError> {
    let give_up = |why: String| {
        let _ = weir_os::socket::reset_on_close(&tcp);
        debug!("{}: {from}: {why}", session.name);
        Err(RelayError::Refused(Refusal::new(Status::Failed, why)))
    };
    let (mut send, recv) = match timeout(ANSWER, session.connection.open_bi()).await {
        Ok(Ok(halves)) => halves,
        Ok(Err(error)) => return give_up(error.to_string()),
        Err(_) => return give_up("the peer takes no new stream".to_owned()),
    };
    registered.opening(session.number, send.id());
    let request = Request::Accepted { id, from };
    let first = first_data(&tcp).await;
    registered.count_sent(first.len());
    if let Err(error) = ask(&mut send, &request, &first).await {
        let _ = weir_os::socket::reset_on_close(&tcp);
        return Err(error.into());
    }
    drop(first);
    let awaits = Some((&request, ANSWER));
    let recv = UnitStream::new(recv);
    Relay {
        tcp,
        send,
        recv,
        awaits,
        pool: &session.core.pool,
        registered,
    }
    .run()
    .await
}
