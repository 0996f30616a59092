//! One stack, and a test that plays everybody else: packets in, packets out.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panic"
)]

use std::net::{IpAddr, SocketAddr};

use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_tcpip::wire::tcp::{Flags, Header, Options, Segment};
use weir_tcpip::wire::{checksum, ipv4, ipv6, protocol, udp};
use weir_tcpip::{
    Capabilities, Cidr, Config, Event, InterfaceConfig, InterfaceId, Medium, Offload, Stack,
    TransmitBuf,
};

/// A stack at 10.0.0.1/24 and fd00::1/64 on bare IP, MTU 1500.
pub struct Host {
    pub stack: Stack,
    pub interface: InterfaceId,
    pub now: Instant,
    out: TransmitBuf,
}

/// A segment, to the stack or from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seg {
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub flags: Flags,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub options: Options,
    pub payload: Vec<u8>,
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Seg {
    pub fn new(src: SocketAddr, dst: SocketAddr, flags: Flags, seq: u32, ack: u32) -> Seg {
        Seg {
            src,
            dst,
            flags,
            seq,
            ack,
            window: 65_535,
            options: Options::default(),
            payload: Vec::new(),
        }
    }

    pub fn with(self, options: Options) -> Seg {
        Seg { options, ..self }
    }

    pub fn carrying(self, payload: &[u8]) -> Seg {
        Seg {
            payload: payload.to_vec(),
            ..self
        }
    }

    /// The segment as a packet.
    pub fn packet(&self) -> Vec<u8> {
        let header = Header {
            src_port: self.src.port(),
            dst_port: self.dst.port(),
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            options: self.options,
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.extend_from_slice(&self.payload);
        let (src, dst) = (self.src.ip(), self.dst.ip());
        let len = u32::try_from(bytes.len()).unwrap();
        let pseudo = checksum::pseudo(src, dst, protocol::TCP, len);
        checksum::patch(&mut bytes, 0, 16, pseudo);
        ip(src, dst, protocol::TCP, &bytes)
    }
}

/// An IP packet.
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = ipv4::Header {
                src,
                dst,
                protocol,
                ttl: 64,
                dscp_ecn: 0,
                id: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                total_len: 0,
            };
            header.write(payload.len(), &mut packet);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = ipv6::Header {
                src,
                dst,
                next_header: protocol,
                hop_limit: 64,
                traffic_class: 0,
                flow_label: 0,
                payload_len: 0,
            };
            header.write(payload.len(), &mut packet);
        }
        _ => panic!("one version"),
    }
    packet.extend_from_slice(payload);
    packet
}

/// A UDP datagram as a packet; `checksum`: what stands in its field in place of the right one.
pub fn datagram(src: SocketAddr, dst: SocketAddr, data: &[u8], checksum: Option<u16>) -> Vec<u8> {
    let len = u16::try_from(udp::HEADER_LEN + data.len()).unwrap();
    let header = udp::Header {
        src_port: src.port(),
        dst_port: dst.port(),
        len,
        checksum: checksum.unwrap_or(0),
    };
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    bytes.extend_from_slice(data);
    if checksum.is_none() {
        let pseudo = checksum::pseudo(src.ip(), dst.ip(), protocol::UDP, u32::from(len));
        checksum::patch(&mut bytes, 0, 6, pseudo);
    }
    ip(src.ip(), dst.ip(), protocol::UDP, &bytes)
}

/// Source, destination, protocol and payload of a packet.
pub fn open(packet: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    if packet[0] >> 4 == 4 {
        let parsed = ipv4::parse(packet).unwrap();
        let header = parsed.header;
        (
            header.src.into(),
            header.dst.into(),
            header.protocol,
            parsed.payload,
        )
    } else {
        let (header, payload) = ipv6::parse(packet).unwrap();
        (
            header.src.into(),
            header.dst.into(),
            header.next_header,
            payload,
        )
    }
}

impl Host {
    pub fn new() -> Host {
        Host::with(Config::default())
    }

    pub fn with(config: Config) -> Host {
        Host::made(config, |_| {})
    }

    pub fn made(config: Config, change: impl FnOnce(&mut InterfaceConfig)) -> Host {
        let now = Instant::from_millis(1_000_000);
        let budget = Budget::unlimited("test");
        let mut stack = Stack::new(config, &budget, rng_from_seed(7), now).unwrap();
        let capabilities = Capabilities::plain(Medium::Ip, 1500);
        let mut interface = InterfaceConfig::new("test0", capabilities);
        interface.addresses = ["10.0.0.1/24", "fd00::1/64"]
            .map(|text| text.parse::<Cidr>().unwrap())
            .to_vec();
        change(&mut interface);
        let interface = stack.add_interface(now, interface).unwrap();
        let mut host = Host {
            stack,
            interface,
            now,
            out: TransmitBuf::new(),
        };
        // What the interface says of itself as it comes up.
        host.run(Duration::from_secs(2));
        host.events();
        host
    }

    pub fn take(&mut self, packet: &[u8]) {
        self.stack
            .handle_input(self.now, self.interface, packet, Offload::default());
    }

    pub fn send(&mut self, segment: &Seg) {
        self.take(&segment.packet());
    }

    /// Packets that the stack sends now.
    pub fn packets(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            self.out.clear();
            let more = self.stack.poll_transmit(self.now, &mut self.out);
            for frame in self.out.frames() {
                let mut packet = frame.head.to_vec();
                frame
                    .rest
                    .iter()
                    .for_each(|part| packet.extend_from_slice(part));
                packets.push(packet);
            }
            if !more {
                return packets;
            }
        }
    }

    /// Segments that the stack sends now.
    pub fn segments(&mut self) -> Vec<Seg> {
        let packets = self.packets();
        let tcp = |packet: &Vec<u8>| {
            let (src, dst, number, payload) = open(packet);
            if number != protocol::TCP {
                return None;
            }
            let len = u32::try_from(payload.len()).unwrap();
            let mut sum = checksum::pseudo(src, dst, protocol::TCP, len);
            sum.add_bytes(payload);
            assert!(sum.is_valid(), "T1");
            let segment = Segment::parse(payload).unwrap();
            Some(Seg {
                src: SocketAddr::new(src, segment.src_port),
                dst: SocketAddr::new(dst, segment.dst_port),
                flags: segment.flags,
                seq: segment.seq,
                ack: segment.ack,
                window: segment.window,
                options: segment.options,
                payload: segment.payload.to_vec(),
            })
        };
        packets.iter().filter_map(tcp).collect()
    }

    /// What the stack answers to a segment.
    pub fn answer(&mut self, segment: &Seg) -> Vec<Seg> {
        self.send(segment);
        self.segments()
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.stack.poll_event()).collect()
    }

    /// Lets time pass; what the stack sends meanwhile is returned.
    pub fn run(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let end = self.now + time;
        let mut packets = self.packets();
        while let Some((at, _)) = self.stack.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            packets.extend(self.packets());
        }
        self.now = end;
        packets
    }

    /// A client's handshake; the stack's first sequence number.
    pub fn handshake(&mut self, client: SocketAddr, server: SocketAddr) -> u32 {
        let syn = Seg::new(client, server, Flags::SYN, 100, 0);
        let [answer] = &self.answer(&syn)[..] else {
            panic!("one SYN,ACK");
        };
        assert_eq!(answer.flags, Flags::SYN.with(Flags::ACK));
        assert_eq!(answer.ack, 101);
        let iss = answer.seq;
        let ack = Seg::new(client, server, Flags::ACK, 101, iss.wrapping_add(1));
        assert_eq!(self.answer(&ack), []);
        iss
    }
}
