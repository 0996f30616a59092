//! What all tasks of a lab share: the two links, what is on its way, and the flows.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant as Clock;

use bytes::Bytes;
use quinn_udp::RecvMeta;
use tokio::runtime::Handle;
use weir_core::time::{Duration, Instant};
use weir_sim::{EventQueue, LinkModel, Packet, split};

use crate::config::LabConfig;
use crate::error::LabError;
use crate::limits;
use crate::packet::{FlowPacket, ecn_read};
use crate::record::Recording;
use crate::stats::{DirectionStats, LabStats};
use crate::udp::{Socket, UdpFlow};

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// A lab's state, and what wakes its delivering thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: LabConfig,
    pub(crate) runtime: Handle,
    /// Towards the clients.
    pub(crate) outside: Socket,
    pub(crate) core: Mutex<Core>,
    wake: Condvar,
}

/// What changes while a lab runs.
#[derive(Debug)]
pub(crate) struct Core {
    /// When the first thing came from a client.
    epoch: Option<Clock>,
    to_server: Way,
    to_client: Way,
    queue: EventQueue<(Direction, FlowPacket)>,
    /// Bytes in the queue, headers included.
    in_flight: usize,
    /// When the delivering thread wakes by itself.
    sleeping_until: Instant,
    pub(crate) flows: HashMap<u64, UdpFlow>,
    pub(crate) by_client: HashMap<SocketAddr, u64>,
    pub(crate) flows_begun: u64,
    pub(crate) connections: u64,
    pub(crate) rebindings: u64,
    pub(crate) rebound_flows: u64,
    pub(crate) stopped: bool,
    client_side: Option<Recording>,
    server_side: Option<Recording>,
    /// What datagrams are read into.
    scratch: Vec<u8>,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) link: LinkModel,
    pub(crate) stats: DirectionStats,
}

/// A datagram as it was read.
pub(crate) struct Received<'a> {
    pub(crate) from: SocketAddr,
    /// The address it was sent to.
    pub(crate) at: Option<IpAddr>,
    pub(crate) ecn: weir_sim::Ecn,
    pub(crate) payload: &'a [u8],
}

impl Received<'_> {
    /// As it enters a link for `flow`.
    pub(crate) fn packet(&self, flow: u64) -> FlowPacket {
        // RFC 791 and RFC 768: 20 + 8; RFC 8200: 40 + 8.
        let is_v4 = self.from.ip().to_canonical().is_ipv4();
        FlowPacket {
            flow,
            ecn: self.ecn,
            overhead: if is_v4 { 28 } else { 48 },
            payload: Bytes::copy_from_slice(self.payload),
        }
    }
}

impl Shared {
    pub(crate) fn new(config: LabConfig, outside: Socket) -> Result<Self, LabError> {
        let way = |direction, link: &weir_sim::LinkConfig| {
            LinkModel::new(link.clone(), split(config.seed, direction))
                .map(|mut link| {
                    link.set_down(!config.udp);
                    let stats = DirectionStats::default();
                    Way { link, stats }
                })
                .map_err(|source| LabError::Direction { direction, source })
        };
        let core = Core {
            epoch: None,
            to_server: way("to server", &config.to_server)?,
            to_client: way("to client", &config.to_client)?,
            queue: EventQueue::new(),
            in_flight: 0,
            sleeping_until: Instant::ZERO,
            flows: HashMap::new(),
            by_client: HashMap::new(),
            flows_begun: 0,
            connections: 0,
            rebindings: 0,
            rebound_flows: 0,
            stopped: false,
            client_side: Recording::begin(config.pcap_client.as_deref(), "client side")?,
            server_side: Recording::begin(config.pcap_server.as_deref(), "server side")?,
            scratch: vec![0; limits::BUFFERS * limits::DATAGRAM],
        };
        Ok(Self {
            config,
            runtime: Handle::current(),
            outside,
            core: Mutex::new(core),
            wake: Condvar::new(),
        })
    }

    /// The state. A task that panicked has left it consistent enough for counters.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lab's time; the first call starts it.
    pub(crate) fn begin(self: &Arc<Self>, core: &mut Core) -> Instant {
        if core.epoch.is_none() {
            let now = Clock::now();
            core.epoch = Some(now);
            if let Some(rebind) = self.config.rebind {
                self.runtime.spawn(crate::udp::rebind_in_time(
                    Arc::downgrade(self),
                    now,
                    rebind,
                ));
            }
        }
        core.now()
    }

    /// Reads what a socket has, as far as one call goes, and hands each datagram to `take`. Returns
    /// whether there may be more.
    ///
    /// # Errors
    /// What the system said; never that there is nothing to read.
    pub(crate) fn read(
        &self,
        core: &mut Core,
        socket: &Socket,
        mut take: impl FnMut(&mut Core, Received<'_>),
    ) -> io::Result<bool> {
        let mut scratch = std::mem::take(&mut core.scratch);
        let mut metas = [RecvMeta::default(); limits::BUFFERS];
        let mut buffers = scratch.chunks_mut(limits::DATAGRAM);
        let mut slices: [IoSliceMut<'_>; limits::BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        let outcome = socket.receive(&mut slices, &mut metas);
        let count = *outcome.as_ref().unwrap_or(&0);
        for (meta, buffer) in metas
            .iter()
            .zip(scratch.chunks(limits::DATAGRAM))
            .take(count)
        {
            let filled = buffer.get(..meta.len).unwrap_or_default();
            let mut rest = filled;
            // The kernel may hand over several datagrams of one sender as one run (GRO). One
            // without content is a datagram too.
            loop {
                let (payload, behind) = rest.split_at(meta.stride.min(rest.len()));
                rest = behind;
                let received = Received {
                    from: meta.addr,
                    at: meta.dst_ip,
                    ecn: ecn_read(meta.ecn),
                    payload,
                };
                take(core, received);
                if rest.is_empty() || payload.is_empty() {
                    break;
                }
            }
        }
        core.scratch = scratch;
        match outcome {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Delivers what is due, and sees to it that the thread wakes for the rest.
    pub(crate) fn settle(&self, core: &mut Core) {
        let now = core.now();
        self.deliver(core, now);
        if core
            .queue
            .next_time()
            .is_some_and(|at| at < core.sleeping_until)
        {
            self.wake.notify_all();
        }
    }

    /// Hands over what is due at `now`. Returns whether a socket could not take more for the moment.
    fn deliver(&self, core: &mut Core, now: Instant) -> bool {
        while let Some((at, (direction, packet))) = core.queue.pop_due(now) {
            let sent = self.send(core, direction, &packet);
            let stats = &mut core.way(direction).stats;
            match sent {
                Some(Ok(())) => {
                    stats.delivered += 1;
                    self.record_delivery(core, direction, &packet);
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    core.queue.push(at, (direction, packet));
                    return true;
                }
                Some(Err(_)) => stats.unsendable += 1,
                None => stats.late += 1,
            }
            core.in_flight = core.in_flight.saturating_sub(packet.wire_len());
        }
        false
    }

    /// `None` when the flow is over.
    fn send(
        &self,
        core: &Core,
        direction: Direction,
        packet: &FlowPacket,
    ) -> Option<io::Result<()>> {
        let flow = core.flows.get(&packet.flow)?;
        Some(match direction {
            Direction::ToServer => flow.relay.send(self.config.to, None, packet),
            Direction::ToClient => self.outside.send(flow.client, flow.reached_at, packet),
        })
    }

    fn record_delivery(&self, core: &mut Core, direction: Direction, packet: &FlowPacket) {
        let Some(flow) = core.flows.get(&packet.flow) else {
            return;
        };
        let (side, from, to) = match direction {
            Direction::ToServer => (
                &mut core.server_side,
                flow.relay.local_addr().ok(),
                self.config.to,
            ),
            Direction::ToClient => (
                &mut core.client_side,
                self.lab_address(flow.reached_at),
                flow.client,
            ),
        };
        if let (Some(side), Some(from)) = (side, from) {
            side.add(from, to, packet.ecn, &packet.payload);
        }
    }

    /// Records a datagram as it came, before anything is done to it.
    pub(crate) fn record_arrival(
        &self,
        core: &mut Core,
        direction: Direction,
        socket: &Socket,
        received: &Received<'_>,
    ) {
        let (side, to) = match direction {
            Direction::ToServer => (&mut core.client_side, self.lab_address(received.at)),
            Direction::ToClient => (&mut core.server_side, socket.local_addr().ok()),
        };
        if let (Some(side), Some(to)) = (side, to) {
            side.add(received.from, to, received.ecn, received.payload);
        }
    }

    /// The lab as a client sees it that reached it at `ip`.
    fn lab_address(&self, ip: Option<IpAddr>) -> Option<SocketAddr> {
        let mut address = self.outside.local_addr().ok()?;
        if let Some(ip) = ip {
            address.set_ip(ip);
        }
        Some(address)
    }

    /// The delivering thread: a clock of the system's own precision, where a runtime's timers have
    /// a millisecond.
    pub(crate) fn deliver_until_stopped(&self) {
        /// How long a socket that took no more is left alone.
        const PAUSE: Duration = Duration::from_millis(1);
        let mut core = self.lock();
        while !core.stopped {
            let now = core.now();
            let blocked = self.deliver(&mut core, now);
            let next = core.queue.next_time().unwrap_or(Instant::MAX);
            let until = if blocked { now + PAUSE } else { next };
            core.sleeping_until = until;
            core = if until == Instant::MAX {
                self.wake.wait(core).unwrap_or_else(PoisonError::into_inner)
            } else {
                let wait = until.saturating_duration_since(core.now());
                let woken = self.wake.wait_timeout(core, wait);
                woken.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Ends all flows and the thread.
    pub(crate) fn stop(&self) {
        let mut core = self.lock();
        core.stopped = true;
        core.by_client.clear();
        core.flows.clear();
        core.flush();
        self.wake.notify_all();
    }
}

impl Core {
    /// Time since the first thing came from a client.
    pub(crate) fn now(&self) -> Instant {
        self.epoch
            .map_or(Instant::ZERO, |epoch| Instant::ZERO + epoch.elapsed())
    }

    pub(crate) fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Puts a packet on its way, or drops it as the link says.
    pub(crate) fn offer(&mut self, direction: Direction, now: Instant, packet: FlowPacket) {
        let way = match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        };
        // A copy may come of it too.
        let size = packet.wire_len().saturating_mul(2);
        if self.in_flight.saturating_add(size) > limits::IN_FLIGHT {
            way.stats.refused += 1;
            return;
        }
        let (queue, in_flight) = (&mut self.queue, &mut self.in_flight);
        // The link counts what it drops, and why.
        let _ = way.link.offer(now, packet, |at, packet| {
            *in_flight = in_flight.saturating_add(packet.wire_len());
            queue.push(at, (direction, packet));
        });
    }

    /// Puts the recordings on disk as far as they go.
    pub(crate) fn flush(&mut self) {
        let sides = [&mut self.client_side, &mut self.server_side];
        sides.into_iter().flatten().for_each(Recording::flush);
    }

    pub(crate) fn stats(&self) -> LabStats {
        let direction = |way: &Way| DirectionStats {
            link: *way.link.stats(),
            ..way.stats
        };
        LabStats {
            to_server: direction(&self.to_server),
            to_client: direction(&self.to_client),
            flows: self.flows_begun,
            connections: self.connections,
            rebindings: self.rebindings,
            rebound_flows: self.rebound_flows,
            unrecorded: [&self.client_side, &self.server_side]
                .into_iter()
                .flatten()
                .map(|side| side.lost)
                .sum(),
        }
    }
}
