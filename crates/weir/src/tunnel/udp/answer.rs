//! Flows that the far side asks for: a socket to their destination.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;

use super::exit::Exit;
use super::flow::{End, Flow, FlowError};
use super::flows::{Claim, Flows};
use super::queue::DropQueue;
use super::table::Activity;
use super::{Datagrams, Udp};
use crate::connection::Connection;
use crate::stream::{RecvStream, SendStream};
use crate::tunnel::destination::Destination;
use crate::tunnel::dial::Dialler;
use crate::tunnel::protocol::{Granted, Refusal, Status};
use crate::tunnel::registry::Registry;
use crate::tunnel::rules::AllowTo;
use crate::tunnel::status::ForwardKind;
use crate::tunnel::streams::{answer, refuse};
use crate::tunnel::units::UnitStream;

/// A flow that was asked for.
pub(crate) struct Answering<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) session: u64,
    pub(crate) flows: &'a Arc<Flows>,
    pub(crate) udp: &'a Udp,
    pub(crate) registry: &'a Registry,
    pub(crate) dialler: &'a Dialler,
    pub(crate) kind: ForwardKind,
    /// Who uses it.
    pub(crate) from: SocketAddr,
    pub(crate) to: &'a Destination,
    pub(crate) allow: &'a AllowTo,
    /// The number that the asker chose.
    pub(crate) flow: u64,
    /// The stream's place among the connection's streams, until the flow is granted: flows have a limit of their own,
    /// and many small ones are no reason to refuse a connection.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
}

/// Grants a flow, or refuses it, and carries it to its end; with its counters in words.
pub(crate) async fn answer_flow(
    mut asked: Answering<'_>,
    mut send: SendStream,
    recv: UnitStream<RecvStream>,
) -> (Result<End, FlowError>, String) {
    let counts = Arc::new(Datagrams::default());
    let to = asked.to;
    let registered = asked
        .registry
        .add_flow(asked.kind, asked.from, to.to_string(), &counts);
    registered.opening(asked.session, send.id());
    let prepared = tokio::select! {
        biased;
        prepared = prepare(&asked, &counts) => prepared,
        // Its asker has lost interest.
        error = send.stopped() => return (Err(error.into()), registered.summary()),
    };
    let (_slot, claim, socket, source) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => {
            refuse(send, recv, refusal.clone()).await;
            return (Err(refusal.into()), registered.summary());
        }
    };
    drop(asked.slot.take());
    if let Err(error) = answer(&mut send, &Ok(Granted::Datagrams(source))).await {
        return (Err(error.into()), registered.summary());
    }
    let flow = Flow {
        connection: asked.connection,
        send,
        recv,
        claim,
        queue: DropQueue::new(&asked.udp.budget, &counts),
        activity: Activity::new(),
        exit: Exit::Destination(socket),
        awaits: None,
        registered: &registered,
        idle: asked.udp.idle,
    };
    (flow.run().await, registered.summary())
}

type Prepared = (OwnedSemaphorePermit, Claim, UdpSocket, SocketAddr);

/// A place, the number, and a socket to an address that is allowed.
async fn prepare(asked: &Answering<'_>, counts: &Arc<Datagrams>) -> Result<Prepared, Refusal> {
    let slot = Arc::clone(&asked.udp.slots)
        .try_acquire_owned()
        .map_err(|_| Refusal::new(Status::TooMany, "too many flows at once"))?;
    let claim = asked.flows.claim_peers(asked.flow, counts)?;
    let socket = asked.dialler.datagrams(asked.to, asked.allow).await?;
    let failed = |error: std::io::Error| Refusal::new(Status::Failed, error.to_string());
    let source = socket.peer_addr().map_err(failed)?;
    Ok((slot, claim, socket, source))
}
