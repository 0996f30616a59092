//! An endpoint that strangers send to: whatever comes, it holds no more than it may, answers with no
//! more than three times what came, and forgets. Some of the attempts are accepted: a connection whose
//! client never shows that it is at its address is bound in the same way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::server::{ClientHello, ResolvesServerCert};
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_quic::cid::RandomCids;
use weir_quic::limits::{MAX_EARLY_BYTES, MAX_HELD_PER_ATTEMPT};
use weir_quic::wire::PacketType;
use weir_quic::wire::header::{FixedBit, LengthField, LongHeader, Packet, finish_length};
use weir_quic::{
    Connection, ConnectionHandle, ConnectionId, Endpoint, EndpointConfig, EndpointEvent, Handled,
    Incoming, PathAddr, ResetKey, RetryPolicy, ServerConfig, TokenKeys, TransmitBuf, Version,
};

/// Attempts that may wait.
const BACKLOG: usize = 8;
/// Connections, and attempts that wait.
const MAX_CONNECTIONS: usize = 12;
/// Operations of one run.
const MAX_OPERATIONS: usize = 300;
/// Batches that a connection may have ready at once.
const MAX_BATCHES: usize = 100;

/// Reads a byte of settings and then operations, a byte each and what they need behind it.
pub fn run(data: &[u8]) {
    let mut input = Input { data };
    let mut world = World::new(input.byte());
    for _ in 0..MAX_OPERATIONS {
        if input.data.is_empty() {
            break;
        }
        world.operation(&mut input);
        world.pump();
        world.check();
    }
    world.end();
}

/// What is left of the input; zeros behind its end.
struct Input<'a> {
    data: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.data.split_first() else {
            return 0;
        };
        self.data = rest;
        *first
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.data.split_at(len.min(self.data.len()));
        self.data = rest;
        taken
    }
}

/// A connection that was accepted.
struct Accepted {
    handle: ConnectionHandle,
    connection: Connection,
    /// By a Retry, before it began.
    is_validated: bool,
    received: usize,
    sent: usize,
}

struct World {
    endpoint: Endpoint,
    now: Instant,
    out: TransmitBuf,
    waiting: Vec<Incoming>,
    accepted: Vec<Accepted>,
    /// Connection ID and token of the last Retry.
    retry: Option<(ConnectionId, Vec<u8>)>,
}

/// Settings of TLS without a certificate: no handshake gets far.
fn server() -> Arc<ServerConfig> {
    #[derive(Debug)]
    struct Nobody;
    impl ResolvesServerCert for Nobody {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }
    static SERVER: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut crypto = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        crypto.alpn_protocols = vec![b"fuzz".to_vec()];
        Arc::new(ServerConfig::new(Arc::new(crypto)))
    });
    Arc::clone(server)
}

impl World {
    fn new(settings: u8) -> World {
        let cid_len = match settings & 3 {
            0 => 8,
            1 => 0,
            2 => 1,
            _ => 20,
        };
        let generator = Arc::new(RandomCids::new(cid_len).expect("at most 20"));
        let tokens = Arc::new(TokenKeys::new(&[1; 32]));
        let resets = Arc::new(ResetKey::new(&[2; 32]));
        let mut config = EndpointConfig::new(generator, tokens, resets, 1_700_000_000);
        config.server = (settings & 4 == 0).then(server);
        config.retry = match settings >> 3 & 3 {
            0 => RetryPolicy::Never,
            1 => RetryPolicy::Always,
            _ => RetryPolicy::Above(3),
        };
        config.grease = settings & 32 != 0;
        config.max_half_open = 6;
        config.max_half_open_per_source = 4;
        config.max_connections_per_source = 5;
        config.max_connections = MAX_CONNECTIONS;
        config.accept_backlog = BACKLOG;
        World {
            endpoint: Endpoint::new(config, rng_from_seed(1)).expect("valid settings"),
            now: Instant::from_millis(1),
            out: TransmitBuf::new(1),
            waiting: Vec::new(),
            accepted: Vec::new(),
            retry: None,
        }
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 | 1 => {
                let from = input.byte();
                let len = usize::from(input.byte()) * 8;
                let datagram = input.bytes(len);
                self.receive(from, datagram);
            }
            2 => {
                // As long as a first packet has to be, whatever it is.
                let from = input.byte();
                let len = usize::from(input.byte());
                let mut datagram = input.bytes(len).to_vec();
                datagram.resize(1200, 0);
                self.receive(from, &datagram);
            }
            3 | 4 => self.initial(input),
            5 => self.zero_rtt(input),
            6 => self.decide(input.byte()),
            _ => {
                let step = Duration::from_millis(1 << (input.byte() % 16));
                self.now += step;
                if self
                    .endpoint
                    .poll_timeout()
                    .is_some_and(|at| at <= self.now)
                {
                    self.endpoint.handle_timeout(self.now);
                }
            }
        }
    }

    fn receive(&mut self, from: u8, datagram: &[u8]) {
        // A few sources, with a few ports each.
        let ip = Ipv4Addr::new(10, 0, 0, from & 7);
        let path = PathAddr::to(SocketAddr::new(ip.into(), 1000 + u16::from(from >> 3)));
        let (now, out) = (self.now, &mut self.out);
        match self
            .endpoint
            .handle_datagram(now, path, None, datagram, out)
        {
            Handled::Incoming(incoming) => {
                assert_eq!(incoming.remote(), path.remote);
                self.waiting.push(incoming);
            }
            Handled::Reply(transmit) => {
                assert_eq!(transmit.len, self.out.as_slice().len());
                assert!(transmit.len <= 3 * datagram.len() && transmit.path == path);
                self.remember_retry();
            }
            Handled::Nothing => {}
            Handled::Connection(handle) => {
                let found = self.accepted.iter_mut().find(|one| one.handle == handle);
                let one = found.expect("it was accepted");
                one.received += datagram.len();
                let mut bytes = datagram.to_vec();
                one.connection.handle_datagram(now, path, None, &mut bytes);
            }
            Handled::StatelessReset(_) => panic!("no client has given a token"),
        }
    }

    fn accept(&mut self, incoming: Incoming) {
        let is_validated = incoming.is_validated();
        let before = self.endpoint.held_bytes();
        if let Ok((handle, connection)) = self.endpoint.accept(self.now, incoming, None) {
            let received = before - self.endpoint.held_bytes();
            self.accepted.push(Accepted {
                handle,
                connection,
                is_validated,
                received,
                sent: 0,
            });
        }
    }

    /// What connections have to send and to say.
    fn pump(&mut self) {
        let (now, out, endpoint) = (self.now, &mut self.out, &mut self.endpoint);
        self.accepted.retain_mut(|one| {
            let connection = &mut one.connection;
            if connection.poll_timeout().is_some_and(|(at, _)| at <= now) {
                connection.handle_timeout(now);
            }
            let mut batches = 0;
            while let Some(transmit) = connection.poll_transmit(now, out) {
                one.sent += transmit.len;
                batches += 1;
                assert!(batches < MAX_BATCHES && transmit.len == out.as_slice().len());
                out.clear();
            }
            assert!(one.is_validated || one.sent <= 3 * one.received);
            while connection.poll_event().is_some() {}
            let mut is_drained = false;
            while let Some(event) = connection.poll_endpoint_event() {
                is_drained |= event == EndpointEvent::Drained;
                endpoint.handle_event(one.handle, &event);
            }
            !is_drained
        });
    }

    fn remember_retry(&mut self) {
        let answer = self.out.as_slice();
        if let Ok(packet) = Packet::parse(answer, 0, FixedBit::Any)
            && packet.kind == PacketType::Retry
        {
            self.retry = Some((packet.scid, answer[packet.token].to_vec()));
        }
    }

    /// An Initial that is authentic, with any payload and one of a few IDs.
    fn initial(&mut self, input: &mut Input<'_>) {
        let (from, choice) = (input.byte(), input.byte());
        let version = Version::SUPPORTED[usize::from(choice & 1)];
        let mut dcid = id(choice >> 1 & 7);
        let mut token = Vec::new();
        match (choice >> 4 & 3, &self.retry) {
            (1, Some((scid, seen))) => {
                dcid = *scid;
                token.clone_from(seen);
            }
            (2, Some((_, seen))) => token.clone_from(seen),
            (3, _) => token = input.bytes(usize::from(choice)).to_vec(),
            _ => {}
        }
        let len = usize::from(input.byte());
        let payload = input.bytes(len);
        let bytes = sealed(version, &dcid, &token, payload);
        self.receive(from, &bytes);
    }

    fn zero_rtt(&mut self, input: &mut Input<'_>) {
        let (from, choice, len) = (input.byte(), input.byte(), input.byte());
        let mut bytes = Vec::new();
        let dcid = id(choice & 7);
        let mut head = header(Version::V1, &dcid, &[]);
        head.kind = PacketType::ZeroRtt;
        let written = head.write(&mut bytes);
        bytes.resize(bytes.len() + 6 * usize::from(len), 0xab);
        finish_length(&mut bytes, &written, 0);
        self.receive(from, &bytes);
    }

    fn decide(&mut self, choice: u8) {
        if self.waiting.is_empty() {
            return;
        }
        let at = usize::from(choice >> 3) % self.waiting.len();
        let incoming = self.waiting.swap_remove(at);
        match choice & 7 {
            4.. => self.accept(incoming),
            0 => {
                let _sent = self.endpoint.refuse(self.now, incoming, &mut self.out);
            }
            1 => match self.endpoint.retry(self.now, incoming, &mut self.out) {
                Ok(Some(_)) => self.remember_retry(),
                Ok(None) => {}
                Err(incoming) => self.waiting.push(incoming),
            },
            2 => self.endpoint.ignore(incoming),
            // Forgotten by its owner: time has to take it.
            _ => drop(incoming),
        }
    }

    fn check(&self) {
        let stats = self.endpoint.stats();
        assert!(stats.connections <= MAX_CONNECTIONS && stats.half_open <= stats.connections);
        let held = self.endpoint.held_bytes();
        assert!(
            held <= BACKLOG * MAX_HELD_PER_ATTEMPT + MAX_EARLY_BYTES,
            "{held}"
        );
        assert!(format!("{:?}", self.endpoint).len() < 2_000);
    }

    fn end(mut self) {
        for incoming in std::mem::take(&mut self.waiting) {
            self.endpoint.ignore(incoming);
        }
        for _ in 0..60 {
            self.now += Duration::from_secs(1);
            self.endpoint.handle_timeout(self.now);
            self.pump();
        }
        assert!(self.accepted.is_empty(), "handshakes do not take so long");
        let stats = self.endpoint.stats();
        assert_eq!((stats.connections, stats.half_open), (0, 0));
        assert_eq!(self.endpoint.held_bytes(), 0);
        assert_eq!(self.endpoint.poll_timeout(), None);
    }
}

fn id(n: u8) -> ConnectionId {
    ConnectionId::new(&[0x10 | n; 8]).expect("8 bytes")
}

fn header<'a>(version: Version, dcid: &'a ConnectionId, token: &'a [u8]) -> LongHeader<'a> {
    static SCID: OnceLock<ConnectionId> = OnceLock::new();
    LongHeader {
        kind: PacketType::Initial,
        version,
        dcid,
        scid: SCID.get_or_init(|| id(15)),
        token,
        pn: 0,
        pn_len: 4,
        fixed_bit: true,
        length: LengthField::Two,
    }
}

/// Sealed as RFC 9001 section 5 says, with padding up to 1200 bytes.
fn sealed(version: Version, dcid: &ConnectionId, token: &[u8], payload: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(rustls::Tls13CipherSuite::quic_suite)
        .expect("a suite for QUIC");
    let tls_version = match version {
        Version::V2 => rustls::quic::Version::V2,
        _ => rustls::quic::Version::V1,
    };
    let keys = suite.keys(dcid, rustls::Side::Client, tls_version).local;
    let mut bytes = Vec::new();
    let written = header(version, dcid, token).write(&mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().max(1200 - 16), 0);
    finish_length(&mut bytes, &written, 16);
    let (head, body) = bytes.split_at_mut(start);
    let tag = keys.packet.encrypt_in_place(0, head, body).expect("sealed");
    bytes.extend_from_slice(tag.as_ref());
    let (head, rest) = bytes.split_at_mut(written.pn_offset);
    let (number, sample) = rest.split_at_mut(4);
    let first = head.first_mut().expect("a first byte");
    keys.header
        .encrypt_in_place(&sample[..16], first, number)
        .expect("a sample");
    bytes
}
