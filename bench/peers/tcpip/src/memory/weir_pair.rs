//! weir-tcpip at both ends: SACK, timestamps and congestion control as they are by default.

use std::net::{Ipv4Addr, SocketAddr};
use std::time;

use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::Instant;
use weir_tcpip::{
    Capabilities, Cidr, Config, ConnectConfig, Event, InterfaceConfig, InterfaceId, ListenConfig,
    ListenerKey, Medium, Offload, Stack, TcpConfig, TcpKey, TransmitBuf,
};

use super::{Ends, Pair};
use crate::args::PORT;

struct Side {
    stack: Stack,
    interface: InterfaceId,
    batch: TransmitBuf,
}

pub struct WeirPair {
    sides: [Side; 2],
    listener: ListenerKey,
    begun: time::Instant,
    /// As last looked at: once a turn, as a driver does it.
    now: Instant,
    offload: Offload,
}

fn address(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, side as u8 + 1)
}

fn tcp() -> TcpConfig {
    TcpConfig {
        nodelay: true,
        time_wait: time::Duration::ZERO,
        ..TcpConfig::default()
    }
}

impl WeirPair {
    pub fn new(mtu: usize) -> WeirPair {
        // Checksums are off, as between processes of one machine, and nothing else is offloaded.
        let capabilities = Capabilities {
            checksum_offload: true,
            ..Capabilities::plain(Medium::Ip, mtu as u16)
        };
        let memory = Budget::root("bench", 1 << 32);
        let side = |at: usize| {
            let config = Config {
                memory: 1 << 31,
                ..Config::default()
            };
            let mut stack = Stack::new(config, &memory, rng_from_seed(at as u64), Instant::ZERO)
                .expect("defaults");
            let mut with = InterfaceConfig::new("memory", capabilities);
            with.addresses = vec![Cidr::new(address(at).into(), 24).expect("a prefix")];
            let interface = stack
                .add_interface(Instant::ZERO, with)
                .expect("an interface");
            Side {
                stack,
                interface,
                batch: TransmitBuf::new(),
            }
        };
        let mut sides = [side(0), side(1)];
        let listen = ListenConfig {
            tcp: tcp(),
            ..ListenConfig::default()
        };
        let listener = sides[1]
            .stack
            .tcp_listen((address(1), PORT).into(), listen)
            .expect("a port");
        WeirPair {
            sides,
            listener,
            begun: time::Instant::now(),
            now: Instant::ZERO,
            offload: Offload {
                checksum: weir_tcpip::Checksum::Verified,
                segments: None,
            },
        }
    }

    fn look_at_clock(&mut self) -> Instant {
        self.now = Instant::from_nanos(self.begun.elapsed().as_nanos() as u64 + 1);
        self.now
    }

    /// One batch from one side to the other; false when there was none.
    fn hand_over(&mut self, now: Instant, side: usize) -> bool {
        let [a, b] = &mut self.sides;
        let (from, to) = if side == 0 { (a, b) } else { (b, a) };
        from.batch.clear();
        from.stack.poll_transmit(now, &mut from.batch);
        for frame in from.batch.frames() {
            to.stack
                .handle_input(now, to.interface, frame.head, self.offload);
        }
        !from.batch.is_empty()
    }

    fn run_timers(&mut self, now: Instant) {
        for side in &mut self.sides {
            if side.stack.poll_timeout().is_some_and(|(at, _)| at <= now) {
                side.stack.handle_timeout(now);
            }
        }
    }

    fn drain(&mut self) {
        for side in &mut self.sides {
            while side
                .stack
                .poll_event()
                .is_some_and(|event| !matches!(event, Event::TcpAcceptable(_)))
            {}
        }
    }
}

impl Pair for WeirPair {
    type Id = TcpKey;

    fn open(&mut self) -> Ends<WeirPair> {
        let now = self.now;
        let config = ConnectConfig {
            tcp: tcp(),
            ..ConnectConfig::default()
        };
        let to = SocketAddr::from((address(1), PORT));
        let client = self.sides[0]
            .stack
            .tcp_connect(now, to, config)
            .expect("a free port");
        self.settle();
        let server = self.sides[1]
            .stack
            .tcp_accept(now, self.listener)
            .expect("a connection");
        (client, server)
    }

    fn write(&mut self, side: usize, id: TcpKey, bytes: &[u8]) -> usize {
        let now = self.now;
        self.sides[side]
            .stack
            .tcp_write_slice(now, id, bytes)
            .unwrap_or(0)
    }

    fn read(&mut self, side: usize, id: TcpKey, max: usize) -> usize {
        let now = self.now;
        let read = self.sides[side].stack.tcp_read(now, id, max);
        read.ok().flatten().map_or(0, |bytes| bytes.len())
    }

    fn close(&mut self, (client, server): Ends<WeirPair>) {
        let now = self.now;
        self.sides[0].stack.tcp_close(now, client);
        self.settle();
        self.sides[1].stack.tcp_close(now, server);
        self.settle();
    }

    fn settle(&mut self) {
        let now = self.look_at_clock();
        self.run_timers(now);
        loop {
            let to = self.hand_over(now, 0);
            let back = self.hand_over(now, 1);
            if !to && !back {
                break;
            }
        }
        self.drain();
    }

    fn turn(&mut self, side: usize) {
        let now = self.look_at_clock();
        self.run_timers(now);
        while self.hand_over(now, side) {}
        self.drain();
    }
}
