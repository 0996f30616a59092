//! One run: two stacks, two links, and the applications of the plan.

use std::net::SocketAddr;

use weir_core::budget::Budget;
use weir_core::time::{Duration, Instant};
use weir_sim::{EventQueue, LinkModel, split};
use weir_tcpip::{
    Capabilities, Cidr, Config, ConnectConfig, Event, InterfaceConfig, InterfaceId, ListenConfig,
    ListenerKey, Medium, ReadError, Segmentation, Stack, TcpKey, TransmitBuf, WriteError,
};

use super::plan::{Ending, Flow, Offloading, Plan, Side, byte};
use super::watch::Watch;
use super::wire::{Segment, Wire, cut};

/// One side of a connection, as the application holds it.
#[derive(Debug, Default)]
struct Socket {
    key: Option<TcpKey>,
    written: u64,
    read: u64,
    finished: bool,
    saw_end: bool,
    over: bool,
    next_read: Instant,
}

impl Socket {
    /// Writes what is left and fits, then ends; whether the connection goes on.
    fn write(
        &mut self,
        stack: &mut Stack,
        now: Instant,
        key: TcpKey,
        wants: &Side,
        byte: impl Fn(u64) -> u8,
    ) -> bool {
        while self.written < wants.bytes {
            let len = (wants.bytes - self.written).min(wants.write as u64);
            let bytes: Vec<u8> = (self.written..self.written + len).map(&byte).collect();
            match stack.tcp_write_slice(now, key, &bytes) {
                Ok(written) => self.written += written as u64,
                Err(WriteError::Blocked) => break,
                Err(_) => return false,
            }
        }
        if self.written == wants.bytes && !self.finished {
            self.finished = true;
            stack.tcp_finish(now, key);
        }
        true
    }

    /// Reads what is there and due, and compares; whether the connection goes on, or the place of a wrong byte.
    fn read(
        &mut self,
        stack: &mut Stack,
        now: Instant,
        key: TcpKey,
        wants: &Side,
        byte: impl Fn(u64) -> u8,
    ) -> Result<bool, u64> {
        while now >= self.next_read && !self.saw_end {
            match stack.tcp_read(now, key, wants.read.0) {
                Ok(Some(bytes)) => {
                    for &got in &bytes[..] {
                        if got != byte(self.read) {
                            return Err(self.read);
                        }
                        self.read += 1;
                    }
                    if !wants.read.1.is_zero() {
                        self.next_read = now + wants.read.1;
                    }
                }
                Ok(None) => self.saw_end = true,
                Err(ReadError::Blocked) => break,
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }
}

struct Host {
    stack: Stack,
    budget: Budget,
    interface: InterfaceId,
    batch: TransmitBuf,
    listeners: Vec<(usize, ListenerKey)>,
}

pub struct Run {
    plan: Plan,
    now: Instant,
    hosts: Vec<Host>,
    links: Vec<LinkModel>,
    wire: EventQueue<(usize, Wire)>,
    sockets: Vec<[Socket; 2]>,
    pub watch: Watch,
    pub bytes: u64,
}

impl Run {
    pub fn new(plan: Plan) -> Run {
        let hosts = (0..2).map(|index| Host::new(&plan, index)).collect();
        let mut links = plan.links.clone();
        if let Some((from, length)) = plan.partition {
            for link in &mut links {
                link.outages = link.outages.clone().and(from, length);
            }
        }
        let links = links.into_iter().zip(["up", "down"]);
        let links =
            links.map(|(link, label)| LinkModel::new(link, split(plan.seed, label)).unwrap());
        Run {
            now: Instant::ZERO,
            hosts,
            links: links.collect(),
            wire: EventQueue::new(),
            sockets: plan.flows.iter().map(|_| Default::default()).collect(),
            watch: Watch::default(),
            bytes: 0,
            plan,
        }
    }

    /// Runs until every connection is over and every timer stopped.
    pub fn play(&mut self) -> Result<(), String> {
        let end = Instant::ZERO + Duration::from_secs(12 * 3600);
        for _ in 0..5_000_000_u32 {
            self.turn()?;
            let flows = self.plan.flows.iter().map(|flow| flow.begins);
            let apps = flows.chain(self.wakes()).filter(|&at| at > self.now);
            let timers = self
                .hosts
                .iter()
                .filter_map(|host| host.stack.poll_timeout());
            let timers = timers.map(|(at, _)| at);
            let Some(next) = timers.chain(self.wire.next_time()).chain(apps).min() else {
                return self.finish();
            };
            self.now = self.now.max(next);
            if self.now > end {
                return Err(format!("not over after hours: {:?}", self.sockets));
            }
            while let Some((_, (to, wire))) = self.wire.pop_due(self.now) {
                if !wire.corrupted
                    && let Some(segment) = Segment::parse(&wire.bytes)
                {
                    self.watch.arrived(&segment);
                }
                let host = &mut self.hosts[to];
                host.stack
                    .handle_input(self.now, host.interface, &wire.bytes, wire.offload);
            }
            for host in &mut self.hosts {
                host.stack.handle_timeout(self.now);
            }
        }
        Err("too many steps".to_owned())
    }

    fn wakes(&self) -> impl Iterator<Item = Instant> {
        let sides = self.plan.flows.iter().flat_map(|flow| &flow.sides);
        let ends = sides.filter_map(|side| match side.ending {
            Ending::CloseAt(at) | Ending::AbortAt(at) => Some(at),
            _ => None,
        });
        let sockets = self.sockets.iter().flatten().filter(|socket| !socket.over);
        ends.chain(sockets.map(|socket| socket.next_read))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn turn(&mut self) -> Result<(), String> {
        for number in 0..self.plan.flows.len() {
            let flow = self.plan.flows[number].clone();
            self.open(number, &flow);
            for side in 0..2 {
                self.side(number, &flow, side)?;
            }
        }
        for index in 0..2 {
            while let Some(event) = self.hosts[index].stack.poll_event() {
                if let Event::TcpClosed(key, cause) = event {
                    self.closed(index, key, &format!("{cause:?}"))?;
                }
            }
            self.send(index)?;
        }
        Ok(())
    }

    fn closed(&mut self, index: usize, key: TcpKey, cause: &str) -> Result<(), String> {
        for (number, flow) in self.plan.flows.iter().enumerate() {
            for side in 0..2 {
                let socket = &self.sockets[number][side];
                if flow.host(side) == index
                    && socket.key == Some(key)
                    && flow.is_gentle()
                    && cause != "Finished"
                {
                    let ends: Vec<_> = (0..2)
                        .map(|side| {
                            let stack = &self.hosts[flow.host(side)].stack;
                            let stats = self.sockets[number][side]
                                .key
                                .and_then(|key| stack.tcp_stats(self.now, key));
                            format!("{:?} {stats:?}", self.sockets[number][side])
                        })
                        .collect();
                    return Err(format!(
                        "flow {number} side {side} ended by {cause} at {:?}: {ends:#?}",
                        self.now
                    ));
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, number: usize, flow: &Flow) {
        let address = SocketAddr::new(self.plan.address(1 - flow.client), Flow::port(number));
        let server = &mut self.hosts[1 - flow.client];
        let listener = server.listeners.iter().find(|(of, _)| *of == number);
        if let Some(&(_, listener)) = listener
            && self.sockets[number][1].key.is_none()
        {
            self.sockets[number][1].key = server.stack.tcp_accept(self.now, listener);
        }
        let client = &mut self.sockets[number][0];
        if self.now >= flow.begins && client.key.is_none() && !client.over {
            let config = ConnectConfig {
                tcp: flow.sides[0].config.clone(),
                ..ConnectConfig::default()
            };
            let stack = &mut self.hosts[flow.client].stack;
            client.key = Some(stack.tcp_connect(self.now, address, config).unwrap());
        }
    }

    fn side(&mut self, number: usize, flow: &Flow, side: usize) -> Result<(), String> {
        let (now, wants) = (self.now, &flow.sides[side]);
        let peer = &flow.sides[1 - side];
        let stack = &mut self.hosts[flow.host(side)].stack;
        let socket = &mut self.sockets[number][side];
        let Some(key) = socket.key.filter(|_| !socket.over) else {
            return Ok(());
        };
        match wants.ending {
            Ending::AbortAt(at) if now >= at => {
                stack.tcp_abort(now, key);
                stack.tcp_close(now, key);
                socket.over = true;
                return Ok(());
            }
            Ending::CloseAt(at) if now >= at => {
                stack.tcp_close(now, key);
                socket.over = true;
                return Ok(());
            }
            _ => {}
        }
        if !socket.write(stack, now, key, wants, |at| byte(number, side, at)) {
            stack.tcp_close(now, key);
            socket.over = true;
            return Ok(());
        }
        let before = socket.read;
        let goes_on = socket.read(stack, now, key, wants, |at| byte(number, 1 - side, at));
        self.bytes += socket.read - before;
        let goes_on = goes_on.map_err(|at| format!("flow {number}: byte {at} is wrong"))?;
        if !goes_on {
            stack.tcp_close(now, key);
            socket.over = true;
            return Ok(());
        }
        if socket.saw_end && socket.read != peer.bytes && !peer.ending.is_rough() {
            return Err(format!(
                "flow {number}: {} of {} bytes",
                socket.read, peer.bytes
            ));
        }
        if socket.saw_end && socket.finished {
            stack.tcp_close(now, key);
            socket.over = true;
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> Result<(), String> {
        let (now, host) = (self.now, &mut self.hosts[index]);
        let mut out = Vec::new();
        loop {
            host.stack.poll_transmit(now, &mut host.batch);
            if host.batch.is_empty() {
                break;
            }
            for frame in host.batch.frames() {
                let mut bytes = frame.head.to_vec();
                frame
                    .rest
                    .iter()
                    .for_each(|slice| bytes.extend_from_slice(slice));
                let wire = Wire {
                    bytes: bytes.into(),
                    offload: frame.offload,
                    corrupted: false,
                };
                if let Some(segment) = Segment::parse(&wire.bytes) {
                    let judged = self.watch.sent(&segment);
                    judged.map_err(|why| format!("at {now:?} {why}: {segment:?}"))?;
                }
                match self.plan.offloading[index] {
                    Offloading::Cut => cut(wire, &mut out),
                    _ => out.push(wire),
                }
            }
            host.batch.clear();
        }
        let queue = &mut self.wire;
        for wire in out {
            let _ =
                self.links[index].offer(now, wire, |at, wire| queue.push(at, (1 - index, wire)));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        for host in &mut self.hosts {
            for (_, listener) in std::mem::take(&mut host.listeners) {
                host.stack.tcp_unlisten(self.now, listener);
            }
            while host.stack.poll_event().is_some() {}
            let stats = host.stack.stats();
            if (stats.connections, stats.time_waits) != (0, 0) {
                return Err(format!("left: {stats:?} {:?}", self.sockets));
            }
            let left = (stats.memory, host.budget.used());
            if left != (0, 0) {
                return Err(format!(
                    "memory is left, of the stack's and above: {left:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Flow {
    /// The stack that a side lives in.
    fn host(&self, side: usize) -> usize {
        if side == 0 {
            self.client
        } else {
            1 - self.client
        }
    }
}

impl Host {
    fn new(plan: &Plan, index: usize) -> Host {
        let budget = Budget::root("simulation", 1 << 30);
        let rng = split(plan.seed, ["a", "b"][index]);
        let mut stack = Stack::new(Config::default(), &budget, rng, Instant::ZERO).unwrap();
        let mut capabilities = Capabilities::plain(Medium::Ip, plan.mtu);
        if plan.offloading[index] != Offloading::None {
            capabilities.checksum_offload = true;
            capabilities.segmentation = Segmentation {
                tcp4: true,
                tcp6: true,
                udp: true,
                max_bytes: 65_535,
            };
        }
        let mut interface = InterfaceConfig::new("sim0", capabilities);
        let prefix = if plan.v6 { 64 } else { 24 };
        interface.addresses = vec![Cidr::new(plan.address(index), prefix).unwrap()];
        interface.dad = false;
        let interface = stack.add_interface(Instant::ZERO, interface).unwrap();
        let mut listeners = Vec::new();
        for (number, flow) in plan.flows.iter().enumerate() {
            if flow.client == index {
                continue;
            }
            let address = SocketAddr::new(plan.address(index), Flow::port(number));
            let config = ListenConfig {
                tcp: flow.sides[1].config.clone(),
                ..ListenConfig::default()
            };
            listeners.push((number, stack.tcp_listen(address, config).unwrap()));
        }
        Host {
            stack,
            budget,
            interface,
            batch: TransmitBuf::new(),
            listeners,
        }
    }
}
