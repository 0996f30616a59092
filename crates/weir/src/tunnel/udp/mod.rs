//! UDP through the tunnel.
//!
//! A *flow* is what passes between one client and one destination: a client address at a `-L udp:` or `-R udp:`, or
//! one destination of a SOCKS association. Each flow has a stream, whose life is the flow's; its datagrams go as
//! datagrams of the connection where that carries them and they fit, and over the stream with their lengths where not.
//!
//! Nothing here waits for a slow receiver: every queue is bounded and drops its oldest datagram, as a router would.

mod answer;
mod associate;
mod entrance;
mod exit;
mod flow;
mod flows;
mod frame;
mod limits;
mod queue;
mod socks_header;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use weir_core::budget::Budget;

pub(crate) use answer::{Answering, answer_flow};
pub(crate) use associate::{Association, associate};
pub(crate) use entrance::{Asking, Entrance, Side, Wanted, pass};
pub(crate) use exit::Exit;
pub(crate) use flow::FlowError;
pub(crate) use flows::{Flows, Parity};
pub(crate) use frame::Frames;
pub(crate) use limits::{FLOWS_ANSWERED, FLOWS_ASKED, FLOWS_OF_ASSOCIATION, IDLE};
pub(crate) use table::Table;

/// What all flows of a client, or of one peer's connection at a server, share.
#[derive(Debug)]
pub(crate) struct Udp {
    /// Bytes in all queues together.
    pub(crate) budget: Budget,
    /// Flows at once.
    pub(crate) slots: Arc<Semaphore>,
    /// A flow that carries nothing for this long ends.
    pub(crate) idle: Duration,
}

impl Udp {
    pub(crate) fn new(max_flows: usize, idle: Duration) -> Self {
        Self {
            budget: Budget::root("UDP queues", limits::ALL_QUEUES),
            slots: Arc::new(Semaphore::new(max_flows)),
            idle,
        }
    }
}

/// Datagrams of one flow, as its side of the tunnel sees them.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    /// Into the tunnel.
    pub(crate) sent: AtomicU64,
    /// Out of the tunnel, handed to the socket.
    pub(crate) received: AtomicU64,
    /// Of those sent, how many went as datagrams of the connection.
    pub(crate) sent_direct: AtomicU64,
    /// Of those received, how many came so.
    pub(crate) received_direct: AtomicU64,
    /// Not passed on: a queue was full, or the system refused to send.
    pub(crate) dropped: AtomicU64,
}

/// Binds a socket for clients. `[::]` becomes `0.0.0.0` on a machine without IPv6.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    match UdpSocket::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() => {
            let other = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            // The first error is the better one when both fail.
            UdpSocket::bind(other).await.map_err(|_| error)
        }
        result => result,
    }
}
