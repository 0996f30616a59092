//! Segments of any kind to a connection in each of its states. The peer is made up: it knows the
//! connection's numbers and keeps to them or not; what both sides write is known by its offset, so that
//! every byte that is sent, and every byte that is read, can be told to be right.
//!
//! A byte for the state, two of settings, then operations: a byte each and what they need behind it.

#[allow(dead_code, reason = "shared")]
#[path = "tcpip_common.rs"]
mod common;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use common::{Input, LOCAL4, LOCAL6, REMOTE4, REMOTE6, Settings, World, ip_packet, mend};
use weir_core::time::Duration;
use weir_tcpip::wire::tcp::{FastOpen, Flags, Header, Options, SackBlocks, Segment, Timestamps};
use weir_tcpip::wire::{ipv4, ipv6, protocol, seq};
use weir_tcpip::{ConnectConfig, ListenConfig, ListenerKey, State, TcpConfig, TcpKey};

const PORT: u16 = 80;
const PEER_PORT: u16 = 4000;
/// Wraps soon.
const PEER_INITIAL: u32 = 0xffff_f000;

struct Run {
    world: World,
    ends: (IpAddr, IpAddr),
    listener: Option<ListenerKey>,
    key: Option<TcpKey>,
    local_port: u16,
    /// The connection's initial sequence number, once a SYN of it was seen.
    initial: Option<u32>,
    /// Offset behind all that it sent.
    sent: u64,
    /// Offset of ours that it awaits.
    awaited: u64,
    /// Where the peer's SYNs stood, and the one that was taken.
    syns: Vec<u64>,
    base: Option<u64>,
    /// How many connections there were, one after the other: whose bytes are whose is known for one.
    seen: usize,
    /// Bytes that the application wrote, and read.
    written: u64,
    read: u64,
    /// The peer would use timestamps, and the connection agreed.
    timestamps: bool,
    agreed: bool,
    clock: u32,
    /// The connection's clock as last seen.
    echo: u32,
}

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (target, bits, tcp) = (input.byte() % 11, input.byte(), input.byte());
    let mut run = Run::new(bits);
    run.walk(target, tcp);
    run.arrived(target);
    let mut operations = 0;
    while !input.is_empty() && operations < 300 {
        run.operation(&mut input);
        operations += 1;
    }
    run.finish();
}

/// The byte at an offset of what the application writes.
fn ours(offset: u64) -> u8 {
    (offset % 251) as u8
}

/// The byte at an offset of what the peer writes.
fn theirs(offset: u64) -> u8 {
    (offset % 241) as u8 ^ 0x55
}

fn tcp_config(bits: u8) -> TcpConfig {
    let bit = |at: u8| bits & (1 << at) != 0;
    TcpConfig {
        nodelay: bit(0),
        timestamps: !bit(1),
        sack: !bit(2),
        window_scale: !bit(3),
        fast_open: bit(4),
        ecn: bit(5),
        pacing: bit(6),
        linger: bit(7).then_some(Duration::from_secs(3)),
        ..TcpConfig::default()
    }
}

impl Run {
    fn new(bits: u8) -> Run {
        let world = World::new(Settings {
            offload: bits & 2 != 0,
            tracing: bits & 4 != 0,
            config: bits >> 4,
            ..Settings::default()
        });
        let ends = if bits & 1 != 0 {
            (LOCAL6.into(), REMOTE6.into())
        } else {
            (LOCAL4.into(), REMOTE4.into())
        };
        Run {
            world,
            ends,
            listener: None,
            key: None,
            local_port: PORT,
            initial: None,
            sent: 0,
            awaited: 0,
            syns: Vec::new(),
            base: None,
            seen: 0,
            written: 0,
            read: 0,
            timestamps: bits & 8 != 0,
            agreed: false,
            clock: 1,
            echo: 0,
        }
    }

    /// Takes the connection to one of its states by what the RFC says leads there.
    fn walk(&mut self, target: u8, tcp: u8) {
        if matches!(target, 0 | 1) {
            self.listen(tcp);
            if target == 1 {
                self.peer(Flags::SYN, 0, 0, 0);
            }
            return;
        }
        if target == 2 {
            return self.connect(tcp);
        }
        if target & 1 == 0 {
            self.connect(tcp);
            self.peer(Flags::SYN | Flags::ACK, 0, 1, 0);
        } else {
            self.listen(tcp);
            self.peer(Flags::SYN, 0, 0, 0);
            self.peer(Flags::ACK, 1, self.sent, 0);
            self.accept();
        }
        let ack = self.sent;
        match target {
            // FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT, CLOSING
            5..=8 => {
                self.application(2, 0);
                self.world_transmit();
                let (fin, sent) = (self.awaited, self.sent);
                match target {
                    6 => self.peer(Flags::ACK, fin, sent, 0),
                    7 => self.peer(Flags::FIN | Flags::ACK, fin, sent, 0),
                    8 => self.peer(Flags::FIN | Flags::ACK, fin, ack, 0),
                    _ => {}
                }
            }
            // CLOSE-WAIT, LAST-ACK
            9 | 10 => {
                self.peer(Flags::FIN | Flags::ACK, self.awaited, ack, 0);
                if target == 10 {
                    self.application(2, 0);
                    self.world_transmit();
                }
            }
            _ => {}
        }
    }

    /// The walk led where it was to lead: else the rest would try nothing.
    fn arrived(&self, target: u8) {
        let state = self.key.and_then(|key| self.world.stack.tcp_state(key));
        let expected = match target {
            0 | 1 => None,
            2 => Some(State::SynSent),
            3 | 4 => Some(State::Established),
            5 => Some(State::FinWait1),
            6 => Some(State::FinWait2),
            7 => Some(State::TimeWait),
            8 => Some(State::Closing),
            9 => Some(State::CloseWait),
            _ => Some(State::LastAck),
        };
        assert_eq!(state, expected);
    }

    fn listen(&mut self, tcp: u8) {
        let config = ListenConfig {
            tcp: tcp_config(tcp),
            ..ListenConfig::default()
        };
        let at = SocketAddr::new(self.ends.0, PORT);
        self.listener = self.world.stack.tcp_listen(at, config).ok();
    }

    fn connect(&mut self, tcp: u8) {
        let config = ConnectConfig {
            local: None,
            tcp: tcp_config(tcp),
        };
        let to = SocketAddr::new(self.ends.1, PEER_PORT);
        let key = self
            .world
            .stack
            .tcp_connect(self.world.now, to, config)
            .unwrap();
        self.local_port = self.world.stack.tcp_addresses(key).unwrap().0.port();
        self.key = Some(key);
        self.world_transmit();
    }

    fn accept(&mut self) {
        if let (Some(listener), None) = (self.listener, self.key) {
            self.key = self.world.stack.tcp_accept(self.world.now, listener);
        }
    }

    /// A segment of the peer that keeps to its numbers, with what its options say.
    fn peer(&mut self, flags: Flags, offset: u64, ack: u64, len: usize) {
        let options = self.usual_options(flags);
        self.segment(flags, offset, ack, 65_535, options, len);
        self.world_transmit();
    }

    fn usual_options(&mut self, flags: Flags) -> Options {
        self.clock = self.clock.wrapping_add(1);
        let timestamps = Timestamps {
            value: self.clock,
            echo: self.echo,
        };
        let syn = flags.contains(Flags::SYN);
        Options {
            mss: syn.then_some(1000),
            window_scale: syn.then_some(2),
            sack_permitted: syn,
            timestamps: (self.timestamps && (syn || self.agreed)).then_some(timestamps),
            ..Options::default()
        }
    }

    fn segment(
        &mut self,
        flags: Flags,
        offset: u64,
        ack: u64,
        window: u16,
        options: Options,
        len: usize,
    ) {
        let header = Header {
            src_port: PEER_PORT,
            dst_port: self.local_port,
            seq: seq::wire(PEER_INITIAL, offset),
            ack: seq::wire(self.initial.unwrap_or(77), ack),
            flags,
            window,
            urgent: 0,
            options,
        };
        if flags.contains(Flags::SYN) && self.syns.len() < 64 {
            self.syns.push(offset);
        }
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        // SYN takes up a number; data stands behind it.
        let first = offset.wrapping_add(u64::from(flags.contains(Flags::SYN)));
        bytes.extend((0..len as u64).map(|at| theirs(first.wrapping_add(at))));
        self.give(bytes);
    }

    fn give(&mut self, mut segment: Vec<u8>) {
        let (local, remote) = self.ends;
        mend(remote, local, protocol::TCP, &mut segment);
        self.world
            .packet(&ip_packet(remote, local, protocol::TCP, &segment));
    }

    /// Has it send, and learns from what it sends.
    fn world_transmit(&mut self) {
        self.world.transmit();
        self.learn();
    }

    fn learn(&mut self) {
        for packet in std::mem::take(&mut self.world.sent) {
            let transport = match packet[0] >> 4 {
                4 => ipv4::parse(&packet).unwrap().payload,
                _ => ipv6::parse(&packet).unwrap().1,
            };
            let is_tcp = packet[if packet[0] >> 4 == 4 { 9 } else { 6 }] == protocol::TCP;
            let Ok(segment) = Segment::parse(transport) else {
                continue;
            };
            if is_tcp && segment.dst_port == PEER_PORT && !segment.flags.contains(Flags::RST) {
                self.learn_from(&segment);
            }
        }
    }

    fn learn_from(&mut self, segment: &Segment<'_>) {
        self.echo = segment
            .options
            .timestamps
            .map_or(self.echo, |stamps| stamps.value);
        if segment.flags.contains(Flags::SYN) {
            self.agreed = segment.options.timestamps.is_some();
            if self.initial != Some(segment.seq) {
                // A connection of its own: a cookie, or the next after a reset.
                (self.initial, self.sent, self.awaited) = (Some(segment.seq), 1, 0);
                self.seen += 1;
            }
            return self.learn_ack(segment);
        }
        let Some(start) = self
            .initial
            .and_then(|initial| seq::widen(initial, segment.seq, self.sent))
        else {
            return;
        };
        if let (Some(key), true) = (self.key, start >= 1) {
            let known = self.world.stack.tcp_addresses(key).is_some() && self.seen == 1;
            for (byte, offset) in segment.payload.iter().zip(start..) {
                assert!(!known || offset <= self.written, "sent what nobody wrote");
                assert!(
                    !known || *byte == ours(offset),
                    "byte {offset} changed on its way"
                );
            }
        }
        self.sent = self.sent.max(start + u64::from(segment.sequence_len()));
        self.learn_ack(segment);
    }

    fn learn_ack(&mut self, segment: &Segment<'_>) {
        if segment.flags.contains(Flags::ACK)
            && let Some(ack) = seq::widen(PEER_INITIAL, segment.ack, self.awaited)
        {
            let before = self.syns.iter().copied().filter(|syn| *syn < ack).max();
            if self.base.is_none() {
                self.base = before;
            } else if segment.flags.contains(Flags::SYN) && self.base != before {
                // The initial sequence number may be the same when no time has passed.
                self.seen += 1;
            }
            self.awaited = self.awaited.max(ack);
        }
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0..=3 => self.hostile(input),
            4 => {
                let len = usize::from(input.byte()) * 8;
                let (awaited, sent) = (self.awaited, self.sent);
                self.peer(Flags::ACK, awaited, sent, len);
            }
            5 => {
                let millis = [1, 40, 200, 1_000, 5_000, 60_000, 200_000, 3_600_000];
                let choice = usize::from(input.byte() & 7);
                self.world.pass(Duration::from_millis(millis[choice]));
                self.learn();
            }
            6 => {
                let (what, size) = (input.byte(), input.byte());
                self.application(what, size);
            }
            _ => {
                let len = usize::from(input.byte());
                let bytes = input.take(len).to_vec();
                if bytes.len() >= 4 {
                    let mut bytes = bytes;
                    bytes[..2].copy_from_slice(&PEER_PORT.to_be_bytes());
                    bytes[2..4].copy_from_slice(&self.local_port.to_be_bytes());
                    // Its data would not be of the pattern.
                    let header = bytes.get(12).map_or(0, |words| usize::from(words >> 4) * 4);
                    bytes.truncate(header.max(20));
                    self.give(bytes);
                }
                self.world_transmit();
            }
        }
        while self.world.stack.poll_event().is_some() {}
    }

    /// Any segment: flags, distances of both numbers from the right ones, window, options, length.
    fn hostile(&mut self, input: &mut Input<'_>) {
        let flags = Flags::from_bits(u16::from(input.byte()));
        let distance = |choice: u8, input: &mut Input<'_>| match choice & 15 {
            0..=4 => 0_i64,
            5 => 1,
            6 => -1,
            7 => 1000,
            8 => -1000,
            9 => 65_536,
            10 => -65_536,
            11 => 1 << 31,
            12 => (1 << 31) - 1,
            13 => -(1 << 31) + 1,
            _ => i64::from(input.u16() as i16),
        };
        let choice = input.byte();
        let offset = self.awaited.wrapping_add_signed(distance(choice, input));
        let ack = self.sent.wrapping_add_signed(distance(choice >> 4, input));
        let window = [0, 1, 100, 65_535][usize::from(input.byte() & 3)];
        let choice = input.byte();
        let mut options = self.usual_options(flags);
        if choice & 1 != 0 {
            options.timestamps = Some(Timestamps {
                value: input.u32(),
                echo: input.u32(),
            });
        }
        if choice & 2 != 0 {
            let mut sack = SackBlocks::NONE;
            for _ in 0..=choice >> 6 {
                let left = self.sent.wrapping_sub(u64::from(input.u16()));
                let right = left.wrapping_add(u64::from(input.u16()));
                let initial = self.initial.unwrap_or(0);
                sack.push(seq::wire(initial, left), seq::wire(initial, right));
            }
            options.sack = sack;
        }
        if choice & 4 != 0 {
            options.mss = Some(input.u16());
            options.window_scale = Some(choice >> 4);
        }
        if choice & 8 != 0 {
            let len = usize::from(input.byte() & 16);
            options.fast_open = FastOpen::new(input.take(len));
        }
        let len = usize::from(input.byte()) * if choice & 16 != 0 { 5 } else { 1 };
        // Data below the first number would not be what was written at its offset.
        let below = offset == 0 || offset > u64::MAX / 2;
        let syn = flags.contains(Flags::SYN);
        let len = if if syn { offset != 0 } else { below } {
            0
        } else {
            len
        };
        // A SYN that stood among another one's data could not be told from it by what is acknowledged.
        let offset = if syn && below { 0 } else { offset };
        let among = syn && (1..4_000).contains(&offset);
        let offset = if among { offset + 4_000 } else { offset };
        self.segment(flags, offset, ack, window, options, len);
        if choice & 32 == 0 {
            self.world_transmit();
        }
    }

    fn application(&mut self, what: u8, size: u8) {
        self.accept();
        let Some(key) = self.key else {
            return;
        };
        let (stack, now) = (&mut self.world.stack, self.world.now);
        match what % 8 {
            0 | 1 => {
                let from = self.written + 1;
                let len = u64::from(size) * 64;
                let mut data: Bytes = (from..from + len).map(ours).collect();
                if let Ok(taken) = stack.tcp_write(now, key, &mut data) {
                    assert_eq!(taken + data.len(), len as usize);
                    self.written += taken as u64;
                }
            }
            2 => stack.tcp_finish(now, key),
            3 | 4 => {
                while let Ok(Some(data)) = stack.tcp_read(now, key, usize::from(size) + 1) {
                    for byte in &data {
                        self.read += 1;
                        let right = self.base.map(|base| theirs(base + self.read));
                        let known = self.seen == 1 && right.is_some();
                        assert!(!known || Some(*byte) == right, "byte {} changed", self.read);
                    }
                    if size & 1 != 0 {
                        break;
                    }
                }
            }
            5 if size == 0 => stack.tcp_stop(now, key),
            6 if size == 0 => stack.tcp_close(now, key),
            7 if size == 0 => stack.tcp_abort(now, key),
            _ => {}
        }
        self.world_transmit();
    }

    fn finish(mut self) {
        self.accept();
        let (stack, now) = (&mut self.world.stack, self.world.now);
        if let Some(key) = self.key.take() {
            let state = stack.tcp_state(key);
            assert!(state != Some(State::Closed) || stack.tcp_stats(now, key).is_some());
            stack.tcp_close(now, key);
        }
        if let Some(listener) = self.listener {
            while let Some(key) = stack.tcp_accept(now, listener) {
                stack.tcp_abort(now, key);
            }
            stack.tcp_unlisten(now, listener);
        }
        self.world_transmit();
        // Long enough for every time-out of a connection that nobody answers.
        self.world.pass(Duration::from_secs(7_200));
        let stats = self.world.stack.stats();
        assert_eq!(
            (stats.connections, stats.time_waits, stats.listeners),
            (0, 0, 0)
        );
        self.world.end();
    }
}
