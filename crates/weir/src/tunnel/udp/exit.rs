//! The sockets at the two ends of a flow.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::net::UdpSocket;

use super::limits::RECEIVE_PAUSE;
use super::queue::DropQueue;
use super::socks_header;
use crate::tcpip;

/// Datagrams that one look at a socket takes at most, so that others have their turn.
const TURN: usize = 32;

/// No datagram is longer.
const SCRATCH: usize = 1 << 16;

thread_local! {
    /// Where datagrams lie between the system and a queue: flows are many, and what they hold is what they queued.
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// Where what comes out of the tunnel goes.
#[derive(Debug)]
pub(crate) enum Exit {
    /// To a destination, by a connected socket that is the flow's own; what it brings goes into the tunnel.
    Destination(UdpSocket),
    /// Back to a client, by the socket that it sent to.
    Client(Arc<UdpSocket>, SocketAddr),
    /// The same with the header of a SOCKS proxy, which names the source once that is known.
    Socks(Arc<UdpSocket>, SocketAddr, OnceLock<Vec<u8>>),
    /// Back to a client behind a stack of our own, as if from the destination itself.
    Stack {
        socket: Arc<tcpip::UdpSocket>,
        client: SocketAddr,
        destination: SocketAddr,
    },
}

impl Exit {
    /// A SOCKS client.
    pub(crate) fn socks(socket: Arc<UdpSocket>, client: SocketAddr) -> Self {
        Self::Socks(socket, client, OnceLock::new())
    }

    /// The far side reaches the destination at this address.
    pub(crate) fn set_source(&self, source: SocketAddr) {
        if let Self::Socks(_, _, header) = self {
            let _ = header.set(socks_header::write(source));
        }
    }

    /// Sends a datagram. `scratch` is the caller's, to be used again.
    ///
    /// # Errors
    /// The system's: the datagram is lost, which is what happens to datagrams. The next may fare better.
    pub(crate) async fn deliver(&self, scratch: &mut Vec<u8>, payload: &[u8]) -> io::Result<()> {
        let (sent, whole) = match self {
            Self::Destination(socket) => {
                let sent = match socket.send(payload).await {
                    // ICMP's answer to an earlier datagram; this one has not been sent yet (RFC 1122 4.1.3.3).
                    Err(error) if is_refused(&error) => socket.send(payload).await,
                    result => result,
                };
                (sent?, payload.len())
            }
            Self::Client(socket, to) => (socket.send_to(payload, to).await?, payload.len()),
            Self::Socks(socket, to, header) => {
                scratch.clear();
                scratch.extend_from_slice(header.get().map_or(&[][..], Vec::as_slice));
                scratch.extend_from_slice(payload);
                (socket.send_to(scratch, to).await?, scratch.len())
            }
            Self::Stack {
                socket,
                client,
                destination,
            } => {
                let mut datagram = tcpip::Datagram::to(*client);
                datagram.from = Some(*destination);
                // A full queue is as good a reason to lose it as any: nothing waits for a slow receiver.
                socket.try_send(payload, datagram)?;
                (payload.len(), payload.len())
            }
        };
        if sent == whole {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Queues what the destination sends, for ever.
    pub(crate) async fn fetch(&self, queue: &DropQueue) {
        let Self::Destination(socket) = self else {
            return std::future::pending().await;
        };
        loop {
            let received = read_turn(socket, |socket, buffer| {
                let length = socket.try_recv(buffer)?;
                queue.push(buffer.get(..length).unwrap_or_default());
                Ok(())
            });
            settle(socket, received).await;
        }
    }
}

/// Takes what a socket for clients brings, for ever.
pub(crate) async fn receive(socket: &UdpSocket, mut take: impl FnMut(&[u8], SocketAddr)) {
    loop {
        let received = read_turn(socket, |socket, buffer| {
            let (length, from) = socket.try_recv_from(buffer)?;
            take(buffer.get(..length).unwrap_or_default(), from);
            Ok(())
        });
        settle(socket, received).await;
    }
}

/// Reads up to [`TURN`] datagrams that are there.
fn read_turn(
    socket: &UdpSocket,
    mut read: impl FnMut(&UdpSocket, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    RECEIVED.with_borrow_mut(|buffer| (0..TURN).try_for_each(|_| read(socket, buffer)))
}

/// Waits for the moment of the next turn. No error ends a socket's life.
async fn settle(socket: &UdpSocket, received: io::Result<()>) {
    match received {
        Ok(()) => tokio::task::yield_now().await,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if socket.readable().await.is_err() {
                tokio::time::sleep(RECEIVE_PAUSE).await;
            }
        }
        // Nobody listens there now, somebody may later.
        Err(error) if is_refused(&error) => tokio::task::yield_now().await,
        Err(_) => tokio::time::sleep(RECEIVE_PAUSE).await,
    }
}

/// What a socket says after ICMP told that the port is unreachable.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}
