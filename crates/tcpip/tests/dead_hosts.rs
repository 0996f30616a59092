//! What becomes of those who want something of a host that is not on the link.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod raw;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};

use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_core::trace::{self, Level, Sink};
use weir_tcpip::wire::tcp::{Flags, Header, Options};
use weir_tcpip::wire::{checksum, ethernet, protocol};
use weir_tcpip::{
    Capabilities, Cidr, CloseCause, Config, ConnectConfig, Datagram, Event, IcmpKind,
    InterfaceConfig, InterfaceId, ListenConfig, Mac, Medium, Offload, RouteConfig, Stack,
    TransmitBuf, UdpConfig,
};

const US: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const MILLI: Duration = Duration::from_millis(1);

/// A stack on a link where nobody answers.
struct Lonely {
    stack: Stack,
    interface: InterfaceId,
    now: Instant,
    events: Vec<Event>,
    frames: Vec<Vec<u8>>,
    budget: Budget,
}

impl Lonely {
    fn new() -> Lonely {
        let budget = Budget::unlimited("test");
        let now = Instant::from_millis(1_000);
        let config = Config::default();
        let mut stack = Stack::new(config, &budget, rng_from_seed(1), now).unwrap();
        let capabilities = Capabilities::plain(Medium::Ethernet, 1500);
        let config = InterfaceConfig {
            hardware: Some(US),
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
            ..InterfaceConfig::new("eth", capabilities)
        };
        let interface = stack.add_interface(now, config).unwrap();
        let mut lonely = Lonely {
            stack,
            interface,
            now,
            events: Vec::new(),
            frames: Vec::new(),
            budget,
        };
        lonely.run(Duration::from_secs(5));
        lonely.frames.clear();
        lonely.events.clear();
        lonely
    }

    /// Lets so much time pass, a hundredth of a second at a time.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += 10 * MILLI;
            self.stack.handle_timeout(self.now);
            let mut out = TransmitBuf::new();
            while self.stack.poll_transmit(self.now, &mut out) || !out.is_empty() {
                self.frames
                    .extend(out.frames().map(|frame| frame.head.to_vec()));
                out.clear();
            }
            let stack = &mut self.stack;
            self.events
                .extend(core::iter::from_fn(|| stack.poll_event()));
        }
    }

    fn connect(&mut self, to: &str) -> weir_tcpip::TcpKey {
        let config = ConnectConfig::default();
        let to = to.parse().unwrap();
        self.stack.tcp_connect(self.now, to, config).unwrap()
    }

    /// How many connections ended because the host cannot be reached.
    fn unreachable(&self) -> usize {
        let is_it =
            |event: &&Event| matches!(event, Event::TcpClosed(_, CloseCause::HostUnreachable));
        self.events.iter().filter(is_it).count()
    }
}

/// The names of what a tracer hears, in order.
struct Names(Sender<String>);

impl Sink for Names {
    fn event(&mut self, now: Instant, event: &trace::Event<'_>) {
        let said = match event {
            trace::Event::Neighbor(it) => format!("{} {}", it.address, it.new),
            trace::Event::PacketDropped(it) => format!("dropped {}", it.trigger),
            _ => return,
        };
        let _ = self
            .0
            .send(format!("{}: {said}", now.as_nanos() / 1_000_000_000));
    }

    fn wants(&self, _: Level) -> bool {
        true
    }
}

// T143: the stack's tracer hears of it when it happens.
#[test]
fn whoever_traces_hears_of_the_neighbour_and_of_what_is_lost() {
    let mut lonely = Lonely::new();
    let (names, said) = channel();
    let tracer = trace::Tracer::new(Box::new(Names(names)));
    lonely.stack.set_tracer(tracer);
    lonely.connect("10.0.0.7:80");
    lonely.run(Duration::from_secs(5));
    let heard: Vec<String> = said.try_iter().collect();
    let wanted = [
        "6: 10.0.0.7 incomplete",
        "9: 10.0.0.7 failed",
        // The SYN, and what repeated it.
        "9: dropped no_neighbor",
        "9: dropped no_neighbor",
        "10: 10.0.0.7 gone",
    ];
    assert_eq!(heard, wanted);
    // A segment for nobody.
    let frame = syn(Ipv4Addr::new(10, 0, 0, 77));
    let (now, interface) = (lonely.now, lonely.interface);
    lonely
        .stack
        .handle_input(now, interface, &frame, Offload::default());
    let heard: Vec<String> = said.try_iter().collect();
    assert_eq!(heard, ["11: dropped no_listener"]);
}

// T143, T50: also those whose SYNs gave way to others' in the queue of the neighbour.
#[test]
fn every_attempt_to_reach_a_dead_host_ends_after_three_seconds() {
    let mut lonely = Lonely::new();
    let keys: Vec<_> = (0..200).map(|_| lonely.connect("10.0.0.7:80")).collect();
    lonely.run(Duration::from_millis(2_900));
    assert_eq!(lonely.unreachable(), 0);
    lonely.run(Duration::from_millis(1_200));
    assert_eq!(lonely.unreachable(), 200, "{:?}", lonely.events);
    for key in keys {
        lonely.stack.tcp_close(lonely.now, key);
    }
    assert_eq!(lonely.stack.stats().connections, 0);
    lonely.run(Duration::from_secs(10));
    assert_eq!(lonely.stack.stats().memory, 0);
    assert!(lonely.budget.used() == 0);
}

// T143 RFC 1122 3.3.1.5: where there is another router, the attempt goes on by way of it.
#[test]
fn a_dead_router_ends_no_attempt_while_there_is_another() {
    let mut lonely = Lonely::new();
    for router in ["10.0.0.8", "10.0.0.9"] {
        let route = RouteConfig {
            to: Cidr::ANY_V4,
            via: Some(router.parse().unwrap()),
            interface: lonely.interface,
            metric: if router.ends_with('8') { 0 } else { 1 },
        };
        lonely.stack.add_route(route).unwrap();
    }
    let alive = "10.0.0.9".parse().unwrap();
    let (now, interface) = (lonely.now, lonely.interface);
    lonely
        .stack
        .add_neighbor(now, interface, alive, ROUTER)
        .unwrap();
    lonely.connect("192.0.2.1:80");
    lonely.run(Duration::from_millis(900));
    let to_router = |frame: &&Vec<u8>| frame[..6] == ROUTER.0;
    assert_eq!(lonely.frames.iter().filter(to_router).count(), 0);
    lonely.run(Duration::from_secs(10));
    assert_eq!(lonely.unreachable(), 0);
    assert!(lonely.frames.iter().filter(to_router).count() >= 1);
}

/// A SYN in a frame to us, from a host on the link that nobody has.
fn syn(from: Ipv4Addr) -> Vec<u8> {
    let us = Ipv4Addr::new(10, 0, 0, 1);
    let mut frame = Vec::new();
    ethernet::Header {
        dst: US,
        src: ROUTER,
        ether_type: ethernet::IPV4,
    }
    .write(&mut frame);
    let header = Header {
        src_port: 4000,
        dst_port: 80,
        seq: 1,
        flags: Flags::SYN,
        window: 1000,
        options: Options::default(),
        ..Header::default()
    };
    let mut segment = Vec::new();
    header.write(&mut segment);
    let len = u32::try_from(segment.len()).unwrap();
    let pseudo = checksum::pseudo(from.into(), us.into(), protocol::TCP, len);
    checksum::patch(&mut segment, 0, 16, pseudo);
    frame.extend(raw::ip(from.into(), us.into(), protocol::TCP, &segment));
    frame
}

// T143, T36: who claims to be on the link and is not holds a half-open connection for three seconds.
#[test]
fn a_handshake_with_nobody_is_forgotten_with_the_neighbour() {
    let mut lonely = Lonely::new();
    let at: SocketAddr = "10.0.0.1:80".parse().unwrap();
    lonely
        .stack
        .tcp_listen(at, ListenConfig::default())
        .unwrap();
    let frame = syn(Ipv4Addr::new(10, 0, 0, 77));
    let (now, interface) = (lonely.now, lonely.interface);
    lonely
        .stack
        .handle_input(now, interface, &frame, Offload::default());
    lonely.run(Duration::from_secs(2));
    assert_eq!(lonely.stack.stats().half_open, 1);
    lonely.run(Duration::from_secs(2));
    assert_eq!(lonely.stack.stats().half_open, 0);
    assert_eq!(lonely.stack.stats().connections, 0);
}

// T143, T152: each datagram that was lost is told, as many as a socket keeps.
#[test]
fn a_socket_is_told_to_whom_it_sent_in_vain() {
    let mut lonely = Lonely::new();
    let at: SocketAddr = "10.0.0.1:53".parse().unwrap();
    let (now, config) = (lonely.now, UdpConfig::default());
    let key = lonely.stack.udp_bind(now, at, config).unwrap();
    let remotes: [SocketAddr; 2] = ["10.0.0.7:1".parse().unwrap(), "10.0.0.8:2".parse().unwrap()];
    for remote in remotes {
        let datagram = Datagram::to(remote);
        lonely.stack.udp_send(now, key, b"hello", datagram).unwrap();
    }
    lonely.run(Duration::from_millis(3_100));
    assert!(lonely.events.contains(&Event::UdpError(key)));
    let mut told: Vec<SocketAddr> = core::iter::from_fn(|| lonely.stack.udp_error(key))
        .inspect(|error| assert_eq!(error.kind, IcmpKind::HostUnreachable))
        .map(|error| error.remote)
        .collect();
    told.sort();
    assert_eq!(told, remotes);
}
