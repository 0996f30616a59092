//! All the traffic of a machine, or of a network namespace: packets that a stack of our own turns into connections and
//! flows, which the peer makes.
//!
//! | file | what of it |
//! |---|---|
//! | `tcp.rs` | a connection is asked of the peer first and taken when the peer has it, refused when the peer is refused |
//! | `relay.rs` | bytes between such a connection and its stream |
//! | `udp.rs` | datagrams, in flows like those of any other forward |
//! | `names.rs` | the name server at the stack's own addresses, which asks the peer |
//!
//! Echo requests are answered by the stack itself, whatever address they are for.

mod names;
mod relay;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::shared::ClientCore;
use super::tasks::Tasks;
use crate::tcpip::{ListenConfig, Stack, TcpConfig, TcpListener, UdpConfig, UdpSocket};

/// Attempts to connect that may wait for the peer's answer. Browsers open some dozens at once.
const BACKLOG: usize = 1024;

/// Datagrams that wait to be taken into their flows, in bytes: a few batches of what a device brings at once.
const UDP_QUEUE: usize = 4 * 1024 * 1024;

/// The port of name servers.
const DNS: u16 = 53;

/// A stack whose traffic is carried.
#[derive(Clone, Debug)]
pub struct PacketForward {
    /// It has one interface in any-address mode ([`Interface::any_address`](crate::tcpip::Interface::any_address)).
    pub stack: Stack,
    /// The stack's own addresses, which are not carried: it answers questions about names there, at port 53.
    pub own: Vec<IpAddr>,
    /// What the device is called, for people: `weir0 (10.7.0.2/24)`.
    pub name: String,
}

/// Sockets that take whatever comes.
pub(crate) struct Bound {
    forward: PacketForward,
    connections: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    questions: Vec<(UdpSocket, TcpListener)>,
}

/// What all that is carried has in common.
#[derive(Clone)]
struct Carried {
    core: Arc<ClientCore>,
    tasks: Tasks,
    own: Arc<[IpAddr]>,
    /// For logs.
    name: Arc<str>,
}

impl Carried {
    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.contains(&address.ip())
    }
}

impl Bound {
    pub(crate) fn new(forward: PacketForward) -> io::Result<Bound> {
        let stack = &forward.stack;
        let both: [SocketAddr; 2] = [
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::UNSPECIFIED, 0).into(),
        ];
        let connections = both
            .iter()
            .map(|any| TcpListener::bind_with(stack, *any, listen(true)));
        let connections = connections.collect::<io::Result<_>>()?;
        let take_all = UdpConfig {
            any: true,
            receive_queue: UDP_QUEUE,
            send_queue: UDP_QUEUE,
            ..UdpConfig::default()
        };
        let datagrams = both
            .iter()
            .map(|any| UdpSocket::bind_with(stack, *any, take_all.clone()));
        let datagrams = datagrams.collect::<io::Result<_>>()?;
        let questions = forward.own.iter().map(|own| {
            let at = SocketAddr::new(*own, DNS);
            let udp = UdpSocket::bind(stack, at)?;
            Ok((udp, TcpListener::bind_with(stack, at, listen(false))?))
        });
        let questions = questions.collect::<io::Result<_>>()?;
        Ok(Bound {
            connections,
            datagrams,
            questions,
            forward,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.forward.name
    }

    /// Begins to carry: what takes is of `listening`, what is carried of `tasks`.
    pub(crate) fn serve(self, core: &Arc<ClientCore>, listening: &Tasks, tasks: &Tasks) {
        let carried = Carried {
            core: Arc::clone(core),
            tasks: tasks.clone(),
            own: self.forward.own.into(),
            name: self.forward.name.into(),
        };
        for listener in self.connections {
            listening.spawn(tcp::serve(carried.clone(), listener));
        }
        for socket in self.datagrams {
            listening.spawn(udp::serve(carried.clone(), socket));
        }
        for (socket, listener) in self.questions {
            listening.spawn(names::serve_datagrams(carried.clone(), socket));
            listening.spawn(names::serve_connections(carried.clone(), listener));
        }
    }
}

fn listen(all: bool) -> ListenConfig {
    ListenConfig {
        backlog: BACKLOG,
        defer: all,
        any: all,
        tcp: TcpConfig {
            // What the far side sent in one piece is not to wait for more of it.
            nodelay: true,
            ..TcpConfig::default()
        },
    }
}
