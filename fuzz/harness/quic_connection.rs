//! Two connections that know each other's keys and keep no rules: whatever frames come, in whatever
//! order, sealed as they should be, neither panics, spins, sends more than it may, or holds more
//! memory than its settings say; and in the end nothing is left.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_core::trace::{self, Tracer};
use weir_quic::cid::RandomCids;
use weir_quic::measure::forge;
use weir_quic::{
    ClientConfig, Connection, ConnectionHandle, Dir, Ecn, Endpoint, EndpointConfig, Event, Handled,
    Key, PathAddr, ResetKey, ServerConfig, TokenKeys, TransmitBuf, TransportConfig,
};

/// Operations of one run.
const MAX_OPERATIONS: usize = 200;
/// Datagrams that one call of an operation may lead to, both ways: more is a loop.
const MAX_DATAGRAMS: usize = 4_000;
const NAME: &str = "fuzz.example";

/// Reads a byte of settings and then operations, a byte each and what they need behind it.
pub fn run(data: &[u8]) {
    let mut input = Input { data };
    let mut world = World::new(input.byte());
    for _ in 0..MAX_OPERATIONS {
        if input.data.is_empty() {
            break;
        }
        world.operation(&mut input);
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

struct Tls {
    client: Arc<rustls::ClientConfig>,
    server: Arc<rustls::ServerConfig>,
}

fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"fuzz".to_vec()];
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate that fits");
        server.alpn_protocols = vec![b"fuzz".to_vec()];
        Tls {
            client: Arc::new(client),
            server: Arc::new(server),
        }
    })
}

/// Wants to hear of everything, and has it put into words.
struct Everything;

impl trace::Sink for Everything {
    fn event(&mut self, _: Instant, event: &trace::Event<'_>) {
        assert!(!format!("{event:?}").is_empty());
    }

    fn wants(&self, _: trace::Level) -> bool {
        true
    }
}

/// One end.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    addr: SocketAddr,
    keys: Vec<Key>,
    inbox: Vec<(SocketAddr, Option<Ecn>, Vec<u8>)>,
}

struct World {
    ends: [End; 2],
    now: Instant,
    out: TransmitBuf,
}

fn settings(choice: u8) -> TransportConfig {
    let poor = choice & 1 != 0;
    TransportConfig {
        stream_window: if poor { 4096 } else { 64 * 1024 },
        max_stream_window: if poor { 16 * 1024 } else { 1 << 20 },
        connection_window: if poor { 16 * 1024 } else { 256 * 1024 },
        max_connection_window: if poor { 64 * 1024 } else { 2 << 20 },
        connection_memory: if poor { 256 * 1024 } else { 4 << 20 },
        max_bidi_streams: if poor { 4 } else { 100 },
        max_datagram_frame: if choice & 2 != 0 { 0 } else { 65_535 },
        ack_frequency: choice & 4 == 0,
        pacing: choice & 8 == 0,
        spin: choice & 16 != 0,
        keep_alive: (choice & 32 != 0).then_some(Duration::from_secs(5)),
        ..TransportConfig::default()
    }
}

impl World {
    fn new(choice: u8) -> World {
        let transport = Arc::new(settings(choice));
        let server = ServerConfig {
            transport: Arc::clone(&transport),
            ..ServerConfig::new(Arc::clone(&tls().server))
        };
        let make = |n: u8, server: Option<Arc<ServerConfig>>| {
            // A client may do without connection IDs.
            let len = if choice & 64 != 0 && server.is_none() {
                0
            } else {
                8
            };
            let generator = Arc::new(RandomCids::new(len).expect("at most 20"));
            let tokens = Arc::new(TokenKeys::new(&[1; 32]));
            let resets = Arc::new(ResetKey::new(&[n; 32]));
            let mut config = EndpointConfig::new(generator, tokens, resets, 1_700_000_000);
            config.server = server;
            End {
                endpoint: Endpoint::new(config, rng_from_seed(n.into())).expect("valid settings"),
                connection: None,
                addr: SocketAddr::from(([10, 0, 0, n], 4433)),
                keys: Vec::new(),
                inbox: Vec::new(),
            }
        };
        let mut world = World {
            ends: [make(1, None), make(2, Some(Arc::new(server)))],
            now: Instant::from_millis(1000),
            out: TransmitBuf::default(),
        };
        let config = ClientConfig {
            transport,
            ..ClientConfig::new(Arc::clone(&tls().client))
        };
        let path = PathAddr::to(world.ends[1].addr);
        let now = world.now;
        let begun = world.ends[0].endpoint.connect(now, &config, path, NAME);
        let (handle, mut connection) = begun.expect("a connection");
        // Whatever is reported is made, and thrown away.
        connection.set_tracer(Tracer::new(Box::new(Everything)));
        world.ends[0].connection = Some((handle, connection));
        for _ in 0..40 {
            world.exchange();
            world.pass(Duration::from_millis(20));
        }
        for end in &world.ends {
            let connection = end.connection.as_ref().map(|(_, connection)| connection);
            assert!(connection.is_some_and(Connection::is_confirmed));
        }
        world
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let from = usize::from(kind >> 7);
        match kind & 0x0f {
            0..=4 => {
                let len = usize::from(input.byte());
                let frames = input.bytes(len);
                self.forge(from, frames, None);
            }
            5 => {
                // A long packet of one frame, again and again.
                let (len, times) = (usize::from(input.byte() & 31), usize::from(input.byte()));
                let frame = input.bytes(len).repeat(times.clamp(1, 200));
                self.forge(from, &frame, None);
            }
            6 => {
                // From another address.
                let host = input.byte();
                let len = usize::from(input.byte());
                let frames = input.bytes(len);
                let from_addr = SocketAddr::from(([10, 1, 1, host & 7], 1000 + u16::from(host)));
                self.forge(from, frames, Some(from_addr));
            }
            7 | 8 => self.exchange(),
            9 => {
                // What is on its way is lost.
                self.flush(from);
                self.ends[1 - from].inbox.clear();
            }
            10 | 11 => self.pass(Duration::from_millis(1 << (input.byte() % 15))),
            12 => self.open(from, input.byte()),
            13 => self.use_stream(from, input.byte(), input.byte()),
            14 => self.misc(from, input.byte()),
            _ => {
                let len = usize::from(input.byte());
                let bytes = input.bytes(len).to_vec();
                let addr = self.ends[from].addr;
                self.ends[1 - from].inbox.push((addr, None, bytes));
                self.receive(1 - from);
            }
        }
    }

    fn forge(&mut self, from: usize, frames: &[u8], addr: Option<SocketAddr>) {
        let now = self.now;
        let Some((_, connection)) = &mut self.ends[from].connection else {
            return;
        };
        let Some(datagram) = forge(connection, now, frames) else {
            return;
        };
        let addr = addr.unwrap_or(self.ends[from].addr);
        self.ends[1 - from]
            .inbox
            .push((addr, Some(Ecn::Ect0), datagram));
        self.receive(1 - from);
    }

    fn open(&mut self, from: usize, choice: u8) {
        let now = self.now;
        let end = &mut self.ends[from];
        let Some((_, connection)) = &mut end.connection else {
            return;
        };
        let dir = if choice & 1 == 0 { Dir::Bi } else { Dir::Uni };
        let key = match choice & 2 {
            0 => connection.open(now, dir).ok(),
            _ => connection.accept(now, dir),
        };
        end.keys.extend(key);
        end.keys.truncate(32);
    }

    fn use_stream(&mut self, from: usize, what: u8, choice: u8) {
        let now = self.now;
        let end = &mut self.ends[from];
        let Some((_, connection)) = &mut end.connection else {
            return;
        };
        if end.keys.is_empty() {
            return;
        }
        let index = usize::from(choice) % end.keys.len();
        let key = end.keys[index];
        match what % 7 {
            0 => {
                let mut data = Bytes::from(vec![choice; usize::from(choice) * 100]);
                let _ = connection.write(now, key, &mut data);
            }
            1 => drop(connection.read(now, key, usize::from(choice) * 10)),
            2 => connection.finish(now, key),
            3 => connection.reset(now, key, choice.into()),
            4 => connection.stop(now, key, choice.into()),
            5 => drop(connection.poll_flushed(key)),
            _ => {
                connection.release(now, key, weir_quic::Half::Send);
                connection.release(now, key, weir_quic::Half::Recv);
                end.keys.swap_remove(index);
            }
        }
    }

    fn misc(&mut self, from: usize, choice: u8) {
        let now = self.now;
        let Some((_, connection)) = &mut self.ends[from].connection else {
            return;
        };
        match choice % 8 {
            0 => connection.ping(),
            1 => drop(connection.send_datagram(Bytes::from(vec![choice; usize::from(choice) * 4]))),
            2 => drop(connection.recv_datagram()),
            3 => drop(connection.initiate_key_update(now)),
            4 => connection.drain_streams(now),
            5 if choice > 200 => connection.close(now, choice.into(), "enough"),
            6 => connection.set_mtu_bound(now, 1200 + usize::from(choice) * 8),
            7 if from == 0 => {
                let path = PathAddr {
                    local: Some([10, 2, 2, choice & 3].into()),
                    remote: self.ends[1].addr,
                };
                let _ = connection.migrate(now, path);
            }
            _ => {}
        }
    }

    /// Everything that both have to say is said.
    fn exchange(&mut self) {
        let mut total = 0;
        loop {
            let sent = self.flush(0) + self.flush(1);
            if sent == 0 {
                return;
            }
            total += sent;
            assert!(total < MAX_DATAGRAMS, "they never stop: {:?}", self.now);
            self.receive(0);
            self.receive(1);
        }
    }

    fn flush(&mut self, from: usize) -> usize {
        let now = self.now;
        let [first, second] = &mut self.ends;
        let (end, other) = match from {
            0 => (first, second),
            _ => (second, first),
        };
        let Some((handle, connection)) = &mut end.connection else {
            return 0;
        };
        let mut sent = 0;
        loop {
            self.out.clear();
            let Some(transmit) = connection.poll_transmit(now, &mut self.out) else {
                break;
            };
            assert_eq!(transmit.len, self.out.as_slice().len());
            let local = transmit.path.local.unwrap_or(end.addr.ip());
            let source = SocketAddr::new(local, end.addr.port());
            for datagram in self.out.as_slice().chunks(transmit.segment_size) {
                sent += 1;
                assert!(sent < MAX_DATAGRAMS, "it never stops: {connection:?}");
                // What goes elsewhere is lost there.
                if transmit.path.remote == other.addr
                    || from == 1
                        && transmit.path.remote.ip() != other.addr.ip()
                        && datagram.len() % 2 == 0
                {
                    other.inbox.push((source, transmit.ecn, datagram.to_vec()));
                }
            }
        }
        while let Some(event) = connection.poll_event() {
            if let Event::Closed(reason) = event {
                assert!(reason.reason.len() <= 1024);
            }
        }
        while let Some(event) = connection.poll_endpoint_event() {
            end.endpoint.handle_event(*handle, &event);
        }
        sent
    }

    fn receive(&mut self, to: usize) {
        let now = self.now;
        let end = &mut self.ends[to];
        for (source, ecn, mut datagram) in std::mem::take(&mut end.inbox) {
            let path = PathAddr::to(source);
            self.out.clear();
            let handled = end
                .endpoint
                .handle_datagram(now, path, ecn, &datagram, &mut self.out);
            match (handled, &mut end.connection) {
                (Handled::Connection(_), Some((_, connection))) => {
                    connection.handle_datagram(now, path, ecn, &mut datagram);
                }
                (Handled::StatelessReset(_), Some((_, connection))) => {
                    connection.handle_stateless_reset(now);
                }
                (Handled::Incoming(incoming), None) => {
                    end.connection = end.endpoint.accept(now, incoming, None).ok();
                }
                (Handled::Incoming(incoming), Some(_)) => end.endpoint.ignore(incoming),
                _ => {}
            }
        }
    }

    /// Time goes on, and with it what is due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for steps in 0.. {
            assert!(steps < 2_000, "timers that never come to rest");
            let due = self.ends.iter().filter_map(|end| {
                let (at, _) = end.connection.as_ref()?.1.poll_timeout()?;
                Some(at)
            });
            let Some(at) = due.min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            for index in 0..2 {
                if let Some((_, connection)) = &mut self.ends[index].connection {
                    connection.handle_timeout(self.now);
                }
            }
            self.flush(0);
            self.flush(1);
            self.receive(0);
            self.receive(1);
        }
        self.now = until;
    }

    fn check(&self) {
        for end in &self.ends {
            if let Some((_, connection)) = &end.connection {
                let stats = connection.stats();
                assert!(stats.memory_used <= stats.memory_limit, "{stats:?}");
                assert!((1200..=65_507).contains(&stats.datagram_size), "{stats:?}");
            }
        }
    }

    fn end(mut self) {
        for index in 0..2 {
            let now = self.now;
            if let Some((_, connection)) = &mut self.ends[index].connection {
                connection.close(now, 0, "the end");
            }
        }
        self.exchange();
        self.pass(Duration::from_secs(600));
        for end in &mut self.ends {
            if let Some((handle, connection)) = &mut end.connection {
                assert!(connection.is_drained(), "{connection:?}");
                assert_eq!(connection.poll_timeout(), None);
                while let Some(event) = connection.poll_endpoint_event() {
                    end.endpoint.handle_event(*handle, &event);
                }
                assert_eq!(end.endpoint.stats().connections, 0);
            }
        }
    }
}
