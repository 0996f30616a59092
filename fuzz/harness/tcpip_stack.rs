//! Frames from anybody, whole and in fragments, right and wrong, to a fresh stack; time and calls of the
//! application between them.
//!
//! A byte of settings, one more, then operations: a byte each and what they need behind it.

#[allow(dead_code, reason = "shared")]
#[path = "tcpip_common.rs"]
mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use common::{
    Input, LOCAL4, LOCAL6, OUR_MAC, PEER_MAC, REMOTE4, REMOTE6, Settings, World, ip_packet, mend,
};
use weir_core::time::Duration;
use weir_tcpip::wire::ethernet::{self, Mac};
use weir_tcpip::wire::{ipv4, ipv6, protocol, vnet};
use weir_tcpip::{
    ConnectConfig, Datagram, ListenConfig, ListenerKey, Offload, TcpKey, UdpConfig, UdpKey,
};

const PORT: u16 = 80;

struct Run {
    world: World,
    listener: ListenerKey,
    udp: UdpKey,
    connections: Vec<TcpKey>,
}

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let bits = input.byte();
    let bit = |at: u8| bits & (1 << at) != 0;
    let world = World::new(Settings {
        ethernet: bit(0),
        any_address: bit(1),
        slaac: bit(2),
        dad: bit(3),
        forwarding: bit(4),
        offload: bit(5),
        tracing: bit(6),
        config: input.byte(),
    });
    let mut run = Run::new(world);
    let mut operations = 0;
    while !input.is_empty() && operations < 300 {
        run.operation(&mut input);
        operations += 1;
    }
    run.finish();
}

impl Run {
    fn new(mut world: World) -> Run {
        let any = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let listener = world.stack.tcp_listen(any(PORT), ListenConfig::default());
        let udp = world
            .stack
            .udp_bind(world.now, any(53), UdpConfig::default());
        Run {
            listener: listener.unwrap(),
            udp: udp.unwrap(),
            world,
            connections: Vec::new(),
        }
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        match input.byte() % 12 {
            0 => {
                let len = usize::from(input.byte());
                let frame = input.take(len).to_vec();
                self.world.input(&frame, Offload::default());
            }
            1 => {
                let len = usize::from(input.byte());
                // As a device with offload has it: its own header in front.
                if let Ok((offload, frame)) = vnet::parse(input.take(len), vnet::LEN) {
                    self.world.input(frame, offload);
                }
            }
            2 => self.v4(input),
            3 => self.v6(input),
            4 => self.link(input),
            5 => {
                let millis = [1, 40, 250, 1_000, 5_000, 30_000, 120_000, 3_600_000];
                let choice = usize::from(input.byte() & 7);
                self.world.pass(Duration::from_millis(millis[choice]));
            }
            6 | 7 => self.world.transmit(),
            8 => self.reflect(input),
            9 => self.connect(input),
            10 => self.datagram(input),
            _ => self.application(input),
        }
        while self.world.stack.poll_event().is_some() {}
    }

    /// An IPv4 packet, possibly a fragment: addresses, protocol, place, payload.
    fn v4(&mut self, input: &mut Input<'_>) {
        let (src, dst) = (address4(input.byte()), address4(input.byte()));
        let which = upper(input.byte());
        let place = input.byte();
        let flags = input.byte();
        let len = usize::from(input.byte()) * if flags & 8 != 0 { 8 } else { 1 };
        let mut payload = input.take(len).to_vec();
        if flags & 1 != 0 {
            mend(src.into(), dst.into(), which, &mut payload);
        }
        if flags & 16 != 0 {
            payload.resize(len, 0);
        }
        let header = ipv4::Header {
            src,
            dst,
            protocol: which,
            ttl: if flags & 2 != 0 { 1 } else { 64 },
            dscp_ecn: flags >> 6,
            id: u16::from(flags >> 5 & 1),
            dont_fragment: false,
            more_fragments: flags & 4 != 0,
            fragment_offset: u16::from(place) << 3,
            total_len: 0,
        };
        let mut packet = Vec::new();
        header.write(payload.len(), &mut packet);
        packet.extend_from_slice(&payload);
        self.world.packet(&packet);
    }

    /// An IPv6 packet: addresses, next header, extension headers as they are or a fragment, payload.
    fn v6(&mut self, input: &mut Input<'_>) {
        let (src, dst) = (address6(input.byte()), address6(input.byte()));
        let which = upper(input.byte());
        let flags = input.byte();
        let mut payload = Vec::new();
        let mut first = which;
        if flags & 2 != 0 {
            first = [0, 43, 44, 60][usize::from(flags >> 6)];
            let len = usize::from(input.byte() & 31);
            payload.extend_from_slice(input.take(len));
        } else if flags & 4 != 0 {
            first = protocol::FRAGMENT;
            let place = u16::from(input.byte()) << 3;
            ipv6::write_fragment(
                which,
                place,
                flags & 8 != 0,
                u32::from(flags >> 7),
                &mut payload,
            );
        }
        let len = usize::from(input.byte());
        let mut upper = input.take(len).to_vec();
        if flags & 1 != 0 {
            mend(src.into(), dst.into(), which, &mut upper);
        }
        payload.extend_from_slice(&upper);
        let mut packet = ip_packet(src.into(), dst.into(), first, &payload);
        if flags & 16 != 0 {
            packet[7] = 1;
        }
        self.world.packet(&packet);
    }

    /// An Ethernet frame of any type.
    fn link(&mut self, input: &mut Input<'_>) {
        let dst = [
            OUR_MAC,
            Mac::BROADCAST,
            Mac([0x33, 0x33, 0xff, 0, 0, 1]),
            Mac([2; 6]),
        ];
        let choice = input.byte();
        let ether_type = [ethernet::ARP, ethernet::IPV4, ethernet::IPV6, 0x88cc];
        let mut frame = Vec::new();
        ethernet::Header {
            dst: dst[usize::from(choice & 3)],
            src: if choice & 16 != 0 { OUR_MAC } else { PEER_MAC },
            ether_type: ether_type[usize::from(choice >> 2 & 3)],
        }
        .write(&mut frame);
        let len = usize::from(input.byte());
        frame.extend_from_slice(input.take(len));
        self.world.input(&frame, Offload::default());
    }

    /// Sends something of its own back to it, the ends exchanged, one byte changed.
    fn reflect(&mut self, input: &mut Input<'_>) {
        let (choice, at, change) = (input.byte(), input.byte(), input.byte());
        let Some(packet) = self.world.sent.get(usize::from(choice) % 64).cloned() else {
            return;
        };
        let mut packet = packet;
        let (a, b, len, transport) = match packet[0] >> 4 {
            4 => (12, 16, 4, 20),
            6 => (8, 24, 16, 40),
            _ => return,
        };
        for byte in 0..len {
            packet.swap(a + byte, b + byte);
        }
        let which = if transport == 20 {
            packet[9]
        } else {
            packet[6]
        };
        if matches!(which, protocol::TCP | protocol::UDP) && packet.len() >= transport + 8 {
            packet.swap(transport, transport + 2);
            packet.swap(transport + 1, transport + 3);
        }
        let index = transport + usize::from(at);
        if let Some(byte) = packet.get_mut(index) {
            *byte ^= change;
        }
        let (head, rest) = packet.split_at_mut(transport);
        let (src, dst) = if transport == 20 {
            (ipv4_at(head, 12).into(), ipv4_at(head, 16).into())
        } else {
            let parsed = ipv6::parse_lenient(head).unwrap().0;
            (IpAddr::from(parsed.src), IpAddr::from(parsed.dst))
        };
        mend(src, dst, which, rest);
        self.world.packet(&packet);
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        if self.connections.len() >= 64 {
            return;
        }
        let to: IpAddr = match choice & 3 {
            0 => REMOTE4.into(),
            1 => REMOTE6.into(),
            2 => LOCAL4.into(),
            _ => LOCAL6.into(),
        };
        let (now, to) = (self.world.now, SocketAddr::new(to, PORT));
        let connected = self
            .world
            .stack
            .tcp_connect(now, to, ConnectConfig::default());
        self.connections.extend(connected.ok());
    }

    fn datagram(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let to: IpAddr = match choice & 3 {
            0 => REMOTE4.into(),
            1 => LOCAL4.into(),
            2 => address4(choice >> 2).into(),
            _ => address6(choice >> 2).into(),
        };
        let data = vec![choice; usize::from(input.byte()) * 32];
        let datagram = Datagram {
            segment_size: (choice & 0x80 != 0).then_some(100),
            ..Datagram::to(SocketAddr::new(to, 53))
        };
        let _ = self
            .world
            .stack
            .udp_send(self.world.now, self.udp, &data, datagram);
    }

    fn application(&mut self, input: &mut Input<'_>) {
        let (what, which) = (input.byte(), usize::from(input.byte()));
        let (stack, now) = (&mut self.world.stack, self.world.now);
        let accepted = stack.tcp_accept(now, self.listener);
        self.connections.extend(accepted);
        while stack.udp_recv(self.udp).is_some() {}
        let _ = stack.udp_error(self.udp);
        let Some(key) = self
            .connections
            .get(which % self.connections.len().max(1))
            .copied()
        else {
            return;
        };
        match what % 6 {
            0 => {
                let mut data = Bytes::from(vec![1; 5000]);
                let _ = stack.tcp_write(now, key, &mut data);
            }
            1 => {
                while let Ok(Some(data)) = stack.tcp_read(now, key, 4096) {
                    assert!(!data.is_empty());
                }
            }
            2 => stack.tcp_finish(now, key),
            3 => stack.tcp_stop(now, key),
            4 => stack.tcp_abort(now, key),
            _ => stack.tcp_close(now, key),
        }
    }

    /// The application goes; connections follow it.
    fn finish(mut self) {
        let now = self.world.now;
        while let Some(key) = self.world.stack.tcp_accept(now, self.listener) {
            self.connections.push(key);
        }
        for key in self.connections.drain(..) {
            self.world.stack.tcp_abort(now, key);
        }
        self.world.stack.tcp_unlisten(now, self.listener);
        let _ = self.world.stack.udp_close(self.udp);
        self.world.transmit();
        // Long enough for every time-out of a connection that nobody answers.
        self.world.pass(Duration::from_secs(7_200));
        let stats = self.world.stack.stats();
        assert_eq!(
            (stats.connections, stats.time_waits, stats.udp_sockets),
            (0, 0, 0)
        );
        self.world.end();
    }
}

fn address4(choice: u8) -> Ipv4Addr {
    match choice & 15 {
        0..=3 => LOCAL4,
        4..=7 => REMOTE4,
        8 => Ipv4Addr::BROADCAST,
        9 => Ipv4Addr::new(192, 0, 2, 255),
        10 => Ipv4Addr::new(224, 0, 0, 1),
        11 => Ipv4Addr::LOCALHOST,
        12 => Ipv4Addr::UNSPECIFIED,
        13 => Ipv4Addr::new(198, 51, 100, 7),
        14 => Ipv4Addr::new(192, 0, 2, 77),
        _ => Ipv4Addr::new(240, 0, 0, 1),
    }
}

fn address6(choice: u8) -> Ipv6Addr {
    match choice & 15 {
        0..=3 => LOCAL6,
        4..=6 => REMOTE6,
        7 => Ipv6Addr::LOCALHOST,
        8 => Ipv6Addr::UNSPECIFIED,
        9 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        10 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1),
        11 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2),
        12 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1),
        13 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
        14 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 77),
        _ => Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x201),
    }
}

fn upper(choice: u8) -> u8 {
    match choice & 7 {
        0 | 1 => protocol::TCP,
        2 | 3 => protocol::UDP,
        4 => protocol::ICMPV4,
        5 | 6 => protocol::ICMPV6,
        _ => choice,
    }
}

fn ipv4_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}
