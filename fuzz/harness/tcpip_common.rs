//! A stack under test: its clock, what it sent, and what must be true of all that it sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_core::trace::{Event as TraceEvent, Level, Sink, Tracer};
use weir_tcpip::wire::tcp::Segment;
use weir_tcpip::wire::{arp, checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, protocol, udp};
use weir_tcpip::{
    Capabilities, Checksum, Cidr, Config, InterfaceConfig, InterfaceId, Mac, Medium, Offload,
    Segmentation, Stack, TransmitBuf,
};

pub const LOCAL4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const REMOTE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// Frames that one turn may send: more is a loop.
const MOST_FRAMES: usize = 20_000;
/// Bytes that all buffers may hold.
const MEMORY: u64 = 8 << 20;

/// What a fuzzer wrote, read from its beginning. Behind the end are zeros.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Formats whatever it is told (C10).
struct Formats;

impl Sink for Formats {
    fn event(&mut self, _: Instant, event: &TraceEvent<'_>) {
        assert!(!format!("{event:?}").is_empty());
    }

    fn wants(&self, _: Level) -> bool {
        true
    }
}

/// How a world is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    pub ethernet: bool,
    pub any_address: bool,
    pub slaac: bool,
    pub dad: bool,
    pub forwarding: bool,
    pub offload: bool,
    pub tracing: bool,
    pub config: u8,
}

pub struct World {
    pub stack: Stack,
    pub interface: InterfaceId,
    pub medium: Medium,
    forwarding: bool,
    pub now: Instant,
    root: Budget,
    buf: TransmitBuf,
    /// What was sent since it was last looked at, without the link's header.
    pub sent: Vec<Vec<u8>>,
}

impl World {
    pub fn new(settings: Settings) -> World {
        let root = Budget::root("fuzz", 4 * MEMORY);
        let config = Config {
            memory: MEMORY,
            max_connections: 64,
            max_half_open: usize::from(settings.config & 7),
            max_orphans: 4,
            max_time_waits: 4,
            ..Config::default()
        };
        let now = Instant::ZERO + Duration::from_secs(1);
        let mut stack = Stack::new(config, &root, rng_from_seed(7), now).unwrap();
        if settings.tracing {
            stack.set_tracer(Tracer::new(Box::new(Formats)));
        }
        let medium = if settings.ethernet {
            Medium::Ethernet
        } else {
            Medium::Ip
        };
        let mut capabilities = Capabilities::plain(medium, 1500);
        if settings.offload {
            capabilities.checksum_offload = true;
            capabilities.segmentation = Segmentation {
                tcp4: true,
                tcp6: true,
                udp: true,
                max_bytes: 65_535,
            };
        }
        let mut interface = InterfaceConfig::new("fuzz0", capabilities);
        interface.hardware = settings.ethernet.then_some(OUR_MAC);
        interface.addresses = vec![
            Cidr::new(LOCAL4.into(), 24).unwrap(),
            Cidr::new(LOCAL6.into(), 64).unwrap(),
        ];
        interface.any_address = settings.any_address;
        interface.slaac = settings.slaac && settings.ethernet;
        interface.dad = settings.dad;
        let interface = stack.add_interface(now, interface).unwrap();
        stack.set_forwarding(settings.forwarding);
        if settings.ethernet {
            for address in [IpAddr::from(REMOTE4), REMOTE6.into()] {
                stack
                    .add_neighbor(now, interface, address, PEER_MAC)
                    .unwrap();
            }
        }
        World {
            stack,
            interface,
            medium,
            forwarding: settings.forwarding,
            now,
            root,
            buf: TransmitBuf::new(),
            sent: Vec::new(),
        }
    }

    pub fn input(&mut self, frame: &[u8], offload: Offload) {
        self.stack
            .handle_input(self.now, self.interface, frame, offload);
        self.check_memory();
    }

    /// Gives the stack an IP packet, behind a link's header where there is one.
    pub fn packet(&mut self, packet: &[u8]) {
        let mut frame = Vec::new();
        if self.medium == Medium::Ethernet {
            let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
            let ether_type = if v6 { ethernet::IPV6 } else { ethernet::IPV4 };
            ethernet::Header {
                dst: OUR_MAC,
                src: PEER_MAC,
                ether_type,
            }
            .write(&mut frame);
        }
        frame.extend_from_slice(packet);
        self.input(&frame, Offload::default());
    }

    /// Has it send all that it wants to, and looks at every frame.
    pub fn transmit(&mut self) {
        let mut frames = 0;
        self.sent.clear();
        loop {
            let more = self.stack.poll_transmit(self.now, &mut self.buf);
            for frame in self.buf.frames() {
                let mut bytes = frame.head.to_vec();
                frame
                    .rest
                    .iter()
                    .for_each(|slice| bytes.extend_from_slice(slice));
                check_frame(&bytes, self.medium, &frame.offload, self.forwarding);
                frames += 1;
                let skip = if self.medium == Medium::Ethernet {
                    14
                } else {
                    0
                };
                if self.sent.len() < 64 {
                    self.sent.push(bytes[skip..].to_vec());
                }
            }
            self.buf.clear();
            self.check_memory();
            assert!(frames < MOST_FRAMES, "it does not stop sending");
            if !more {
                return;
            }
        }
    }

    /// Lets time pass; timers are served as they come, and what they make it send is looked at.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut steps = 0;
        while let Some((at, _)) = self.stack.poll_timeout() {
            if at > until {
                break;
            }
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            let kept = std::mem::take(&mut self.sent);
            self.transmit();
            self.sent = if self.sent.is_empty() {
                kept
            } else {
                std::mem::take(&mut self.sent)
            };
            steps += 1;
            assert!(steps < 50_000, "timers do not rest");
        }
        self.now = until;
    }

    fn check_memory(&self) {
        let used = self.root.used();
        assert!(used <= MEMORY + (64 << 10), "{used} bytes held");
    }

    /// Nothing of it may be left.
    pub fn end(self) {
        let World { stack, root, .. } = self;
        drop(stack);
        assert_eq!(root.used(), 0, "memory that nobody holds");
    }
}

/// Whatever was sent is well-formed, as the device will find it.
fn check_frame(frame: &[u8], medium: Medium, offload: &Offload, forwarding: bool) {
    let packet = match medium {
        Medium::Ip => frame,
        Medium::Ethernet => {
            let (header, packet) = ethernet::parse(frame).unwrap();
            assert_eq!(header.src, OUR_MAC);
            if header.ether_type == ethernet::ARP {
                arp::parse(packet).unwrap();
                return;
            }
            packet
        }
    };
    if packet[0] >> 4 == 4 {
        let parsed = ipv4::parse(packet).unwrap();
        // What is passed on may be anything behind its header.
        if forwarding {
            return;
        }
        assert_eq!(parsed.payload.len() + 20, packet.len());
        assert!(offload.segments.is_some() || packet.len() <= 1500);
        if !parsed.header.is_fragment() {
            let ends = (parsed.header.src.into(), parsed.header.dst.into());
            check_transport(ends, parsed.header.protocol, parsed.payload, offload);
        }
    } else {
        let (header, payload) = ipv6::parse(packet).unwrap();
        if forwarding {
            return;
        }
        assert_eq!(payload.len() + 40, packet.len());
        assert!(offload.segments.is_some() || packet.len() <= 1500);
        assert!(!header.src.is_multicast());
        match ipv6::upper(header.next_header, payload).unwrap() {
            ipv6::Extension::Upper(upper) => {
                let ends = (header.src.into(), header.dst.into());
                check_transport(ends, upper.protocol, upper.payload, offload);
            }
            ipv6::Extension::Fragment(fragment) => fragment.check().unwrap(),
            other => panic!("sent {other:?}"),
        }
    }
}

fn check_transport((src, dst): (IpAddr, IpAddr), which: u8, bytes: &[u8], offload: &Offload) {
    assert!(!dst.is_unspecified());
    let complete = matches!(offload.checksum, Checksum::Complete);
    match which {
        protocol::TCP => {
            Segment::parse(bytes).unwrap();
            assert!(!complete || checksum::is_valid_transport(src, dst, which, bytes));
        }
        protocol::UDP => {
            let (header, _) = udp::parse(bytes).unwrap();
            assert!(!complete || udp::is_valid(&header, src, dst, bytes));
        }
        protocol::ICMPV4 => {
            icmpv4::parse(bytes).unwrap();
        }
        protocol::ICMPV6 => {
            if let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) {
                icmpv6::parse(src, dst, bytes).unwrap();
            }
        }
        _ => {}
    }
}

/// Puts an IP header in front of `payload`.
pub fn ip_packet(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
            src,
            dst,
            protocol,
            ttl: 64,
            dscp_ecn: 0,
            id: 1,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            total_len: 0,
        }
        .write(payload.len(), &mut out),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
            src,
            dst,
            next_header: protocol,
            hop_limit: 255,
            traffic_class: 0,
            flow_label: 0,
            payload_len: 0,
        }
        .write(payload.len(), &mut out),
        _ => {}
    }
    out.extend_from_slice(payload);
    out
}

/// Makes the transport's checksum right, where there is room for one.
pub fn mend(src: IpAddr, dst: IpAddr, which: u8, bytes: &mut [u8]) {
    let at = match which {
        protocol::TCP => 16,
        protocol::UDP => 6,
        protocol::ICMPV4 | protocol::ICMPV6 => 2,
        _ => return,
    };
    if bytes.len() < at + 2 {
        return;
    }
    bytes[at..at + 2].fill(0);
    let len = bytes.len() as u32;
    let pseudo = match which {
        protocol::ICMPV4 => checksum::Sum::new(),
        _ => checksum::pseudo(src, dst, which, len),
    };
    checksum::patch(bytes, 0, at, pseudo);
}
