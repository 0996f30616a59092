//! UDP: a socket towards the server for each client, and what passes between them and the links.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Instant as Clock;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use weir_core::rng::{Rng, between};
use weir_core::time::{Duration, Instant};

use crate::config::Rebind;
use crate::limits;
use crate::packet::{FlowPacket, ecn_to_write};
use crate::state::{Core, Direction, Received, Shared};

/// Asked of the system for each socket, so that the lab loses nothing by itself: bursts wait here
/// while others are served.
const RECEIVE_BUFFER: usize = 4 << 20;

/// After an error of a socket that is no lack of datagrams.
const PAUSE: Duration = Duration::from_millis(10);

/// A UDP socket that reads and writes ECN bits and sets the don't-fragment bit.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    /// Binds `address`. Must be called within a tokio runtime.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            socket.set_only_v6(false)?;
        }
        // Less than what was asked for works too.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.bind(&address.into())?;
        let socket: std::net::UdpSocket = socket.into();
        let state = UdpSocketState::new((&socket).into())?;
        let socket = UdpSocket::from_std(socket)?;
        // Else what is told of a run of datagrams leaves no room for their ECN field.
        #[cfg(unix)]
        weir_os::socket::without_timestamps(&socket).map_err(io::Error::other)?;
        Ok(Self { socket, state })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.socket.try_io(Interest::READABLE, || {
            self.state.recv((&self.socket).into(), buffers, metas)
        })
    }

    pub(crate) fn send(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
        packet: &FlowPacket,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: ecn_to_write(packet.ecn),
            contents: &packet.payload,
            segment_size: None,
            src_ip: from,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }
}

/// A client's flow.
#[derive(Debug)]
pub(crate) struct UdpFlow {
    pub(crate) client: SocketAddr,
    /// The address at which the client reached the lab: answers come from there.
    pub(crate) reached_at: Option<IpAddr>,
    /// Towards the server.
    pub(crate) relay: Arc<Socket>,
    reader: AbortHandle,
    used: Instant,
}

impl Drop for UdpFlow {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Takes what clients send, without end.
pub(crate) async fn serve_clients(shared: Arc<Shared>) {
    loop {
        if shared.outside.socket.readable().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        if drain(&shared, &shared.outside, from_client).is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        tokio::task::yield_now().await;
    }
}

/// Takes what the server sends to one socket of a flow, until the flow has another one.
async fn serve_server(shared: Weak<Shared>, relay: Arc<Socket>, flow: u64) {
    loop {
        let readable = relay.socket.readable().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let taken = drain(&shared, &relay, |shared, core, received| {
            from_server(shared, core, flow, &relay, received);
        });
        drop(shared);
        if readable.is_err() || taken.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        tokio::task::yield_now().await;
    }
}

fn drain(
    shared: &Arc<Shared>,
    socket: &Socket,
    mut take: impl FnMut(&Arc<Shared>, &mut Core, Received<'_>),
) -> io::Result<()> {
    let mut core = shared.lock();
    for _ in 0..limits::BATCHES {
        let more = shared.read(&mut core, socket, |core, received| {
            take(shared, core, received);
        })?;
        shared.settle(&mut core);
        if !more {
            break;
        }
    }
    Ok(())
}

fn from_client(shared: &Arc<Shared>, core: &mut Core, received: Received<'_>) {
    let now = shared.begin(core);
    shared.record_arrival(core, Direction::ToServer, &shared.outside, &received);
    let Some(flow) = flow_of(shared, core, now, &received) else {
        core.way(Direction::ToServer).stats.refused += 1;
        return;
    };
    core.offer(Direction::ToServer, now, received.packet(flow));
}

fn from_server(
    shared: &Arc<Shared>,
    core: &mut Core,
    number: u64,
    relay: &Arc<Socket>,
    received: Received<'_>,
) {
    let now = core.now();
    let Some(flow) = core.flows.get_mut(&number) else {
        return;
    };
    let server = shared.config.to;
    let from_server = received.from.port() == server.port()
        && received.from.ip().to_canonical() == server.ip().to_canonical();
    // What comes to an old socket after a rebinding is lost; what strangers send is not relayed.
    if !Arc::ptr_eq(&flow.relay, relay) || !from_server {
        return;
    }
    flow.used = now;
    shared.record_arrival(core, Direction::ToClient, relay, &received);
    core.offer(Direction::ToClient, now, received.packet(number));
}

/// The flow of a client, begun when there is none. `None` when there may be no more.
fn flow_of(
    shared: &Arc<Shared>,
    core: &mut Core,
    now: Instant,
    received: &Received<'_>,
) -> Option<u64> {
    if let Some(&number) = core.by_client.get(&received.from) {
        if let Some(flow) = core.flows.get_mut(&number) {
            flow.used = now;
        }
        return Some(number);
    }
    if core.flows.len() >= limits::FLOWS || core.stopped {
        return None;
    }
    let number = core.flows_begun + 1;
    let (relay, reader) = relay(shared, number, any_address(shared.config.to)).ok()?;
    core.flows_begun = number;
    core.by_client.insert(received.from, number);
    let flow = UdpFlow {
        client: received.from,
        reached_at: received.at,
        relay,
        reader,
        used: now,
    };
    core.flows.insert(number, flow);
    Some(number)
}

/// A socket towards the server, and its reader.
fn relay(
    shared: &Arc<Shared>,
    flow: u64,
    address: IpAddr,
) -> io::Result<(Arc<Socket>, AbortHandle)> {
    let _within = shared.runtime.enter();
    let relay = Arc::new(Socket::bind(SocketAddr::new(address, 0))?);
    let reader = serve_server(Arc::downgrade(shared), Arc::clone(&relay), flow);
    let reader = shared.runtime.spawn(reader).abort_handle();
    Ok((relay, reader))
}

/// Where a relay's socket is bound: loopback towards loopback, so that nobody else reaches it.
fn any_address(server: SocketAddr) -> IpAddr {
    match (server.is_ipv4(), server.ip().is_loopback()) {
        (true, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv4Addr::UNSPECIFIED.into(),
        (false, true) => Ipv6Addr::LOCALHOST.into(),
        (false, false) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Gives all live flows new sockets when it is time.
pub(crate) async fn rebind_in_time(shared: Weak<Shared>, epoch: Clock, rebind: Rebind) {
    let mut next = epoch.checked_add(rebind.first);
    while let Some(at) = next {
        tokio::time::sleep_until(at.into()).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        rebind_all(&shared, rebind.address);
        next = rebind.every.and_then(|every| at.checked_add(every));
    }
}

/// Gives all live flows new sockets, now.
pub(crate) fn rebind_all(shared: &Arc<Shared>, new_address: bool) {
    let mut core = shared.lock();
    if core.stopped {
        return;
    }
    core.rebindings += 1;
    let label = format!("rebinding {}", core.rebindings);
    let mut rng = weir_sim::split(shared.config.seed, &label);
    let mut numbers: Vec<u64> = core.flows.keys().copied().collect();
    numbers.sort_unstable();
    for number in numbers {
        let address = if new_address {
            another_loopback(&mut rng)
        } else {
            core.flows
                .get(&number)
                .and_then(|flow| flow.relay.local_addr().ok())
                .map_or_else(|| any_address(shared.config.to), |addr| addr.ip())
        };
        // A system without ports left keeps the old socket.
        let Ok((relay, reader)) = relay(shared, number, address) else {
            continue;
        };
        if let Some(flow) = core.flows.get_mut(&number) {
            flow.reader.abort();
            (flow.relay, flow.reader) = (relay, reader);
            core.rebound_flows += 1;
        }
    }
}

/// An address of 127.0.0.0/8 other than 127.0.0.1.
fn another_loopback(rng: &mut Rng) -> IpAddr {
    let mut part = || u8::try_from(between(rng, 1, 254)).unwrap_or(1);
    Ipv4Addr::new(127, part(), part(), part()).into()
}

/// Ends flows in which nothing moved for long.
pub(crate) async fn end_idle_flows(shared: Arc<Shared>) {
    let idle = shared.config.idle;
    let pause = (idle / 4).max(Duration::from_millis(10));
    loop {
        tokio::time::sleep(pause).await;
        let mut core = shared.lock();
        let now = core.now();
        core.flows
            .retain(|_, flow| now.saturating_duration_since(flow.used) <= idle);
        let Core {
            flows, by_client, ..
        } = &mut *core;
        by_client.retain(|_, number| flows.contains_key(number));
    }
}
