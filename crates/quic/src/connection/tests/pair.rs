//! A client and a server, and the datagrams between them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::rng::{self, Rng};
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};

use crate::cid::{ConnectionIdGenerator, RandomCids, ResetToken, ResetTokens};
use crate::config::{ClientConfig, ServerConfig, TransportConfig};
use crate::connection::{Connection, Event, Origin, Seed};
use crate::crypto::Level;
use crate::stream::{ReadError, WriteError};
use crate::transmit::{Ecn, PathAddr, TransmitBuf};
use crate::wire::{ConnectionId, Dir, Version};

/// The name on the server's certificate.
pub(crate) const NAME: &str = "server.example";
/// The application protocol.
pub(crate) const ALPN: &[u8] = b"test/1";

struct Certificates {
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: rustls::pki_types::PrivateKeyDer<'static>,
    roots: Arc<rustls::RootCertStore>,
}

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    Certificates {
        chain: vec![certificate.der().clone()],
        key: rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        roots: Arc::new(roots),
    }
});

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client's TLS that trusts the server's certificate, resumes, and takes early data.
pub(crate) fn client_tls() -> rustls::ClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(Arc::clone(&CERTIFICATES.roots))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = true;
    config
}

/// A server's TLS that takes early data.
pub(crate) fn server_tls() -> rustls::ServerConfig {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(CERTIFICATES.chain.clone(), CERTIFICATES.key.clone_key())
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = u32::MAX;
    config
}

/// A client's configuration with these settings of the transport.
pub(crate) fn client_config(transport: TransportConfig) -> ClientConfig {
    ClientConfig {
        transport: Arc::new(transport),
        ..ClientConfig::new(Arc::new(client_tls()))
    }
}

/// A server's configuration with these settings of the transport.
pub(crate) fn server_config(transport: TransportConfig) -> ServerConfig {
    ServerConfig {
        transport: Arc::new(transport),
        ..ServerConfig::new(Arc::new(server_tls()))
    }
}

/// Reset tokens for tests: the connection ID itself, padded.
struct PlainTokens;

impl ResetTokens for PlainTokens {
    fn token(&self, cid: &ConnectionId) -> ResetToken {
        let mut bytes = [0xAA; 16];
        let len = cid.len().min(16);
        bytes[..len].copy_from_slice(&cid[..len]);
        ResetToken::new(bytes)
    }
}

/// One end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    pub(crate) at: Instant,
    pub(crate) to: End,
    pub(crate) from: SocketAddr,
    pub(crate) dest: SocketAddr,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) data: Vec<u8>,
}

/// What the network does with a datagram.
pub(crate) type Filter = Box<dyn FnMut(&mut Flying) -> bool>;

/// Both ends and what lies between.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) client: Connection,
    pub(crate) server: Option<Connection>,
    pub(crate) client_addr: SocketAddr,
    pub(crate) server_addr: SocketAddr,
    pub(crate) latency: Duration,
    pub(crate) flying: VecDeque<Flying>,
    /// Keeps (`true`) or drops a datagram, and may change it.
    pub(crate) filter: Option<Filter>,
    /// Every datagram that was sent, for assertions: who sent it, and how long it was.
    pub(crate) sent: Vec<(End, usize)>,
    pub(crate) client_events: Vec<Event>,
    pub(crate) server_events: Vec<Event>,
    server_config: Arc<ServerConfig>,
    rng: Rng,
    budget: Budget,
    out: TransmitBuf,
    /// What the server knows of an address before the first packet.
    pub(crate) validated: bool,
}

fn seed(
    rng: &mut Rng,
    budget: &Budget,
    now: Instant,
    path: PathAddr,
    initial_dcid: ConnectionId,
) -> Seed {
    let generator: Arc<dyn ConnectionIdGenerator> = Arc::new(RandomCids::new(8).unwrap());
    let local_cid = generator.generate(rng);
    Seed {
        now,
        path,
        rng: rng::fork(rng),
        budget: budget.clone(),
        generator,
        reset_key: Arc::new(PlainTokens),
        local_cid,
        initial_dcid,
    }
}

impl Pair {
    /// Both ends with the default settings.
    pub(crate) fn new(seed: u64) -> Pair {
        Pair::with(
            seed,
            client_config(TransportConfig::default()),
            server_config(TransportConfig::default()),
        )
    }

    pub(crate) fn with(seed_number: u64, client: ClientConfig, server: ServerConfig) -> Pair {
        let mut rng = rng::rng_from_seed(seed_number);
        let budget = Budget::root("test", 1 << 30);
        let now = Instant::from_millis(1000);
        let client_addr: SocketAddr = "10.0.0.1:1111".parse().unwrap();
        let server_addr: SocketAddr = "10.0.0.2:4433".parse().unwrap();
        let initial_dcid = RandomCids::new(8).unwrap().generate(&mut rng);
        let path = PathAddr {
            local: None,
            remote: server_addr,
        };
        let seed = seed(&mut rng, &budget, now, path, initial_dcid);
        let client = Connection::client(seed, &client, NAME).unwrap();
        Pair {
            now,
            client,
            server: None,
            client_addr,
            server_addr,
            latency: Duration::from_millis(10),
            flying: VecDeque::new(),
            filter: None,
            sent: Vec::new(),
            client_events: Vec::new(),
            server_events: Vec::new(),
            server_config: Arc::new(server),
            rng,
            budget,
            out: TransmitBuf::default(),
            validated: false,
        }
    }

    /// A pair whose handshake is confirmed on both sides.
    pub(crate) fn connected(seed: u64) -> Pair {
        let mut pair = Pair::new(seed);
        pair.establish();
        pair
    }

    /// Runs the handshake to its confirmation on both sides.
    pub(crate) fn establish(&mut self) {
        self.run_until(|pair| {
            pair.client.is_confirmed() && pair.server.as_ref().is_some_and(Connection::is_confirmed)
        });
        self.run_idle();
    }

    pub(crate) fn server(&mut self) -> &mut Connection {
        self.server.as_mut().expect("the server has a connection")
    }

    pub(crate) fn end(&mut self, end: End) -> &mut Connection {
        match end {
            End::Client => &mut self.client,
            End::Server => self.server.as_mut().expect("the server has a connection"),
        }
    }

    fn flush(&mut self, end: End) {
        loop {
            self.out.clear();
            let (from, connection) = match (end, &mut self.server) {
                (End::Client, _) => (self.client_addr, &mut self.client),
                (End::Server, Some(server)) => (self.server_addr, server),
                (End::Server, None) => return,
            };
            let Some(transmit) = connection.poll_transmit(self.now, &mut self.out) else {
                break;
            };
            assert!(transmit.len > 0 && transmit.segment_size > 0);
            assert_eq!(self.out.as_slice().len(), transmit.len);
            let from = match transmit.path.local {
                Some(ip) => SocketAddr::new(ip, from.port()),
                None => from,
            };
            for datagram in self.out.as_slice().chunks(transmit.segment_size) {
                self.sent.push((end, datagram.len()));
                let mut flying = Flying {
                    at: self.now + self.latency,
                    to: match end {
                        End::Client => End::Server,
                        End::Server => End::Client,
                    },
                    from,
                    dest: transmit.path.remote,
                    ecn: transmit.ecn,
                    data: datagram.to_vec(),
                };
                let keep = self
                    .filter
                    .as_mut()
                    .is_none_or(|filter| filter(&mut flying));
                if keep {
                    self.flying.push_back(flying);
                }
            }
        }
        self.drain_events(end);
    }

    fn drain_events(&mut self, end: End) {
        let (connection, events) = match (end, &mut self.server) {
            (End::Client, _) => (&mut self.client, &mut self.client_events),
            (End::Server, Some(server)) => (server, &mut self.server_events),
            (End::Server, None) => return,
        };
        while let Some(event) = connection.poll_event() {
            events.push(event);
        }
        while connection.poll_endpoint_event().is_some() {}
    }

    fn accept(&mut self, datagram: &Flying) {
        let invariant = crate::wire::header::LongInvariant::parse(&datagram.data);
        let Some(invariant) = invariant else { return };
        if datagram.data[0] & 0x80 == 0 || datagram.data.len() < 1200 {
            return;
        }
        let dcid = ConnectionId::new(invariant.dcid).unwrap();
        let scid = ConnectionId::new(invariant.scid).unwrap();
        let version = Version(u32::from_be_bytes(datagram.data[1..5].try_into().unwrap()));
        let path = PathAddr {
            local: Some(datagram.dest.ip()),
            remote: datagram.from,
        };
        let seed = seed(&mut self.rng, &self.budget, self.now, path, dcid);
        let origin = Origin {
            version,
            client_cid: scid,
            original_dcid: dcid,
            retry_scid: None,
            is_validated: self.validated,
            new_token: Bytes::from_static(b"a token for the next time"),
        };
        self.server = Connection::server(seed, &self.server_config, origin).ok();
    }

    /// Hands a datagram to its destination now.
    pub(crate) fn deliver(&mut self, mut datagram: Flying) {
        if datagram.to == End::Server && self.server.is_none() {
            self.accept(&datagram);
        }
        let path = PathAddr {
            local: match datagram.to {
                End::Server => Some(datagram.dest.ip()),
                End::Client => None,
            },
            remote: datagram.from,
        };
        let now = self.now;
        let connection = match (datagram.to, &mut self.server) {
            (End::Client, _) => &mut self.client,
            (End::Server, Some(server)) => server,
            (End::Server, None) => return,
        };
        connection.handle_datagram(now, path, datagram.ecn, &mut datagram.data);
    }

    /// The next time at which something happens.
    fn next(&self) -> Option<Instant> {
        let arrivals = self.flying.iter().map(|flying| flying.at).min();
        let timers = [Some(&self.client), self.server.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|connection| connection.poll_timeout())
            .map(|(at, _)| at);
        arrivals.into_iter().chain(timers).min()
    }

    /// One step: sends what is ready, then lets time go on to the next event and handles it. False
    /// when nothing will happen any more.
    pub(crate) fn step(&mut self) -> bool {
        self.flush(End::Client);
        self.flush(End::Server);
        let Some(at) = self.next() else { return false };
        self.now = self.now.max(at);
        let mut index = 0;
        while index < self.flying.len() {
            if self.flying[index].at <= self.now {
                let datagram = self.flying.remove(index).unwrap();
                self.deliver(datagram);
            } else {
                index += 1;
            }
        }
        let now = self.now;
        self.client.handle_timeout(now);
        if let Some(server) = &mut self.server {
            server.handle_timeout(now);
        }
        self.flush(End::Client);
        self.flush(End::Server);
        true
    }

    /// Steps until `done`, which has to come about within a minute of virtual time.
    pub(crate) fn run_until(&mut self, mut done: impl FnMut(&mut Pair) -> bool) {
        let deadline = self.now + Duration::from_secs(60);
        let mut steps = 0;
        self.flush(End::Client);
        self.flush(End::Server);
        while !done(self) {
            assert!(self.step(), "nothing happens any more: {:?}", self.client);
            steps += 1;
            assert!(
                steps < 100_000,
                "time stands still: {:?}",
                self.client.poll_timeout()
            );
            assert!(
                self.now < deadline,
                "not within a minute: {:?} {:?}",
                self.client,
                self.server
            );
        }
    }

    /// Steps until nothing is on its way and nothing is left to send.
    pub(crate) fn run_idle(&mut self) {
        for _ in 0..10_000 {
            self.flush(End::Client);
            self.flush(End::Server);
            if self.flying.is_empty() {
                return;
            }
            self.step();
        }
        panic!("never idle");
    }

    /// Steps for a time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for steps in 0.. {
            assert!(
                steps < 100_000,
                "time stands still: {:?}",
                self.client.poll_timeout()
            );
            self.flush(End::Client);
            self.flush(End::Server);
            match self.next() {
                Some(at) if at <= end => {
                    self.step();
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// A packet of `from` with these bytes as its frames, sealed with its keys, as the other end
    /// gets it.
    pub(crate) fn forge(&mut self, from: End, level: Level, frames: &[u8]) -> Flying {
        let now = self.now;
        let mut frames = frames.to_vec();
        if from == End::Client && level == Level::Initial {
            // A server takes no Initial in a small datagram.
            frames.resize(frames.len().max(crate::limits::MIN_DATAGRAM), 0);
        }
        let data = self.end(from).forge(now, level, &frames);
        self.flight(from, data)
    }

    /// A datagram from `from` to the other end.
    pub(crate) fn flight(&self, from: End, data: Vec<u8>) -> Flying {
        let (to, from, dest) = match from {
            End::Client => (End::Server, self.client_addr, self.server_addr),
            End::Server => (End::Client, self.server_addr, self.client_addr),
        };
        Flying {
            at: self.now,
            to,
            from,
            dest,
            ecn: None,
            data,
        }
    }

    /// Injects frames as if `from` had sent them, and handles them.
    pub(crate) fn inject(&mut self, from: End, level: Level, frames: &[u8]) {
        let datagram = self.forge(from, level, frames);
        self.deliver(datagram);
    }

    /// The code that an end closed with, if it did.
    pub(crate) fn close_code(&mut self, end: End) -> Option<u64> {
        self.end(end).close_reason().map(|reason| reason.code)
    }

    /// Opens a bidirectional stream.
    pub(crate) fn open(&mut self, end: End) -> Key {
        let now = self.now;
        self.end(end).open(now, Dir::Bi).unwrap()
    }

    /// Writes all of `data`, stepping while the stream is blocked, and ends the stream.
    pub(crate) fn send_all(&mut self, end: End, key: Key, data: &[u8]) {
        let mut data = Bytes::copy_from_slice(data);
        while !data.is_empty() {
            let now = self.now;
            match self.end(end).write(now, key, &mut data) {
                Ok(_) => {}
                Err(WriteError::Blocked) => assert!(self.step()),
                Err(error) => panic!("{error}"),
            }
        }
        let now = self.now;
        self.end(end).finish(now, key);
    }

    /// The next stream that the peer opened, stepping until there is one.
    pub(crate) fn accept_stream(&mut self, end: End) -> Key {
        loop {
            let now = self.now;
            let ready = end == End::Client || self.server.is_some();
            if ready && let Some(key) = self.end(end).accept(now, Dir::Bi) {
                return key;
            }
            assert!(self.step(), "no stream comes");
        }
    }

    /// Reads a stream to its end, stepping while there is nothing.
    pub(crate) fn read_all(&mut self, end: End, key: Key) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let now = self.now;
            match self.end(end).read(now, key, usize::MAX) {
                Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                Ok(None) => return all,
                Err(ReadError::Blocked) => assert!(self.step(), "nothing comes"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
