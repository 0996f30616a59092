//! Two endpoints with connections between them, on a wire that takes 10 ms.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::cid::{ResetToken, ResetTokens as _};
use crate::config::{ClientConfig, TransportConfig};
use crate::connection::{Connection, EndpointEvent, Event};
use crate::error::code;
use weir_core::close::CloseReason;
use weir_core::time::Duration;

const NAME: &str = "server.test";
const LATENCY: Duration = Duration::from_millis(10);

/// Certificates and settings of TLS for both ends.
struct Tls {
    client: Arc<rustls::ClientConfig>,
    server: Arc<rustls::ServerConfig>,
}

fn tls() -> Tls {
    static TLS: std::sync::OnceLock<Tls> = std::sync::OnceLock::new();
    let tls = TLS.get_or_init(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        server.alpn_protocols = vec![b"weir-test".to_vec()];
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"weir-test".to_vec()];
        Tls {
            client: Arc::new(client),
            server: Arc::new(server),
        }
    });
    Tls {
        client: Arc::clone(&tls.client),
        server: Arc::clone(&tls.server),
    }
}

/// One socket: an endpoint, its connections, and what they reported.
struct Node {
    addr: SocketAddr,
    /// Where the last datagram came to, and answers come from: one of its addresses.
    heard_at: SocketAddr,
    endpoint: Endpoint,
    connections: BTreeMap<usize, (ConnectionHandle, Connection)>,
    events: Vec<Event>,
    /// What its endpoint was told of reset tokens.
    tokens: Vec<EndpointEvent>,
    out: TransmitBuf,
    /// Bytes received from and sent to anybody.
    received: usize,
    sent: usize,
    /// Attempts are left to wait.
    holds: bool,
    waiting: Vec<Incoming>,
}

impl Node {
    fn new(addr: SocketAddr, config: EndpointConfig, seed: u64) -> Node {
        Node {
            addr,
            heard_at: addr,
            endpoint: Endpoint::new(config, rng_from_seed(seed)).unwrap(),
            connections: BTreeMap::new(),
            events: Vec::new(),
            tokens: Vec::new(),
            out: TransmitBuf::new(1),
            received: 0,
            sent: 0,
            holds: false,
            waiting: Vec::new(),
        }
    }

    fn only(&mut self) -> &mut Connection {
        assert_eq!(self.connections.len(), 1);
        &mut self.connections.values_mut().next().unwrap().1
    }

    fn accept(&mut self, now: Instant, incoming: Incoming) {
        let (handle, connection) = self.endpoint.accept(now, incoming, None).unwrap();
        self.connections
            .insert(handle.index(), (handle, connection));
    }

    fn closed(&self) -> Option<&CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }
}

struct Flying {
    at: Instant,
    from: SocketAddr,
    to: SocketAddr,
    data: Vec<u8>,
}

struct World {
    now: Instant,
    client: Node,
    server: Node,
    wire: VecDeque<Flying>,
    client_config: ClientConfig,
}

impl World {
    fn new(change: impl FnOnce(&mut EndpointConfig)) -> World {
        let tls = tls();
        let mut settings = config(8);
        settings.server = Some(Arc::new(ServerConfig::new(tls.server)));
        change(&mut settings);
        let mut client = config(settings.cid_generator.len());
        client.server = None;
        World {
            now: Instant::from_millis(1),
            client: Node::new(addr(1), client, 1),
            server: Node::new(addr(2), settings, 2),
            wire: VecDeque::new(),
            client_config: ClientConfig::new(tls.client),
        }
    }

    fn connect(&mut self) -> ConnectionHandle {
        let path = PathAddr::to(self.server.addr);
        let config = &self.client_config;
        let begun = self.client.endpoint.connect(self.now, config, path, NAME);
        let (handle, connection) = begun.unwrap();
        self.client
            .connections
            .insert(handle.index(), (handle, connection));
        handle
    }

    /// Everything that is due at this moment.
    fn turn(&mut self) {
        for node in [&mut self.client, &mut self.server] {
            node.endpoint.handle_timeout(self.now);
            let mut gone = Vec::new();
            for (index, (handle, connection)) in &mut node.connections {
                if connection
                    .poll_timeout()
                    .is_some_and(|(at, _)| at <= self.now)
                {
                    connection.handle_timeout(self.now);
                }
                while let Some(transmit) = connection.poll_transmit(self.now, &mut node.out) {
                    let bytes = node.out.as_slice()[..transmit.len].to_vec();
                    node.out.clear();
                    for data in bytes.chunks(transmit.segment_size) {
                        node.sent += data.len();
                        self.wire.push_back(Flying {
                            at: self.now + LATENCY,
                            from: node.heard_at,
                            to: transmit.path.remote,
                            data: data.to_vec(),
                        });
                    }
                }
                while let Some(event) = connection.poll_endpoint_event() {
                    node.endpoint.handle_event(*handle, &event);
                    match event {
                        EndpointEvent::Drained => gone.push(*index),
                        EndpointEvent::ResetTokenAdded { .. }
                        | EndpointEvent::ResetTokenRemoved { .. } => node.tokens.push(event),
                        _ => {}
                    }
                }
                node.events
                    .extend(std::iter::from_fn(|| connection.poll_event()));
            }
            node.connections.retain(|index, _| !gone.contains(index));
        }
    }

    fn deliver(&mut self, flying: Flying) {
        let node = if flying.to == self.client.addr {
            &mut self.client
        } else {
            &mut self.server
        };
        node.heard_at = flying.to;
        node.received += flying.data.len();
        let path = PathAddr::to(flying.from);
        let mut data = flying.data;
        let handled = node
            .endpoint
            .handle_datagram(self.now, path, None, &data, &mut node.out);
        match handled {
            Handled::Nothing => {}
            Handled::Connection(handle) => {
                let (_, connection) = node.connections.get_mut(&handle.index()).unwrap();
                connection.handle_datagram(self.now, path, None, &mut data);
            }
            Handled::StatelessReset(handle) => {
                let (_, connection) = node.connections.get_mut(&handle.index()).unwrap();
                connection.handle_stateless_reset(self.now);
            }
            Handled::Incoming(incoming) if node.holds => node.waiting.push(incoming),
            Handled::Incoming(incoming) => node.accept(self.now, incoming),
            Handled::Reply(transmit) => {
                node.sent += transmit.len;
                self.wire.push_back(Flying {
                    at: self.now + LATENCY,
                    from: node.addr,
                    to: transmit.path.remote,
                    data: node.out.as_slice().to_vec(),
                });
                node.out.clear();
            }
        }
    }

    /// Goes on for some time, a millisecond a step.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn();
            self.now += Duration::from_millis(1);
            while self
                .wire
                .front()
                .is_some_and(|flying| flying.at <= self.now)
            {
                let flying = self.wire.pop_front().unwrap();
                self.deliver(flying);
            }
        }
        self.turn();
    }

    fn run_ms(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis));
    }

    fn assert_confirmed(&mut self) {
        assert!(self.client.only().is_confirmed() && self.server.only().is_confirmed());
    }

    /// Closes from the client, and lets it all pass.
    fn finish(&mut self) {
        for (_, connection) in self.client.connections.values_mut() {
            connection.close(self.now, 0, "done");
        }
        self.run(Duration::from_secs(20));
        assert!(self.client.connections.is_empty() && self.server.connections.is_empty());
        for node in [&self.client, &self.server] {
            let router = &node.endpoint.router;
            assert_eq!((router.tables.routes(), router.sources.len()), (0, 0));
            let stats = node.endpoint.stats();
            assert_eq!((stats.connections, stats.half_open), (0, 0));
        }
    }
}

// Connections come and go, and nothing is left of them.
#[test]
fn a_connection_is_made_and_ended() {
    let mut world = World::new(|_| {});
    world.connect();
    world.run_ms(300);
    world.assert_confirmed();
    let stats = world.server.endpoint.stats();
    assert_eq!((stats.connections, stats.half_open), (1, 0), "validated");
    world.finish();
}

// Q102: both ends without connection IDs.
#[test]
fn a_connection_works_without_connection_ids() {
    let mut world = World::new(|settings| {
        settings.cid_generator = Arc::new(RandomCids::new(0).unwrap());
    });
    world.connect();
    world.run_ms(300);
    world.assert_confirmed();
    let path = PathAddr::to(world.server.addr);
    let second = world
        .client
        .endpoint
        .connect(world.now, &world.client_config, path, NAME);
    assert_eq!(second.err(), Some(ConnectError::AddressTaken));
    world.finish();
}

// Q63, Q64, Q68: a Retry, and then the handshake.
#[test]
fn a_connection_is_made_through_a_retry() {
    for version in Version::SUPPORTED {
        let mut world = World::new(|settings| settings.retry = RetryPolicy::Always);
        world.client_config.versions = vec![version];
        world.connect();
        world.run_ms(300);
        world.assert_confirmed();
        let stats = world.server.endpoint.stats();
        // One for each of the two datagrams of the ClientHello; the client takes the first.
        assert_eq!((stats.retries, stats.incoming), (2, 1));
        world.finish();
    }
}

// Q67: the token of one connection spares the next one its Retry, once.
#[test]
fn a_new_token_spares_the_next_retry() {
    let mut world = World::new(|settings| settings.retry = RetryPolicy::Always);
    world.connect();
    world.run_ms(300);
    let token = world.client.events.iter().find_map(|event| match event {
        Event::NewToken(token) => Some(token.clone()),
        _ => None,
    });
    world.client_config.token = Some(token.expect("a token"));
    world.finish();
    for retries in [2, 4] {
        world.connect();
        world.run_ms(300);
        world.assert_confirmed();
        assert_eq!(world.server.endpoint.stats().retries, retries);
        world.finish();
    }
}

// Q16, Q20: no version in common.
#[test]
fn a_client_of_another_version_is_told() {
    let mut world = World::new(|settings| {
        let mut server = ServerConfig::clone(settings.server.as_ref().unwrap());
        server.versions = vec![Version::V2];
        settings.server = Some(Arc::new(server));
    });
    world.client_config.versions = vec![Version::V1];
    world.connect();
    world.run_ms(300);
    assert_eq!(
        world.server.endpoint.stats().version_negotiations,
        2,
        "one a datagram"
    );
    assert!(world.client.closed().is_some());
    world.finish();
}

// Issue: CONNECTION_REFUSED reaches the client at once.
#[test]
fn a_refused_client_is_told_at_once() {
    let mut world = World::new(|settings| settings.accept_backlog = 1);
    world.server.holds = true;
    world.connect();
    world.connect();
    world.run_ms(100);
    let reason = world.client.closed().expect("one of them is refused");
    assert_eq!(reason.code, code::CONNECTION_REFUSED);
    let incoming = world.server.waiting.pop().unwrap();
    let refused = world
        .server
        .endpoint
        .refuse(world.now, incoming, &mut world.server.out);
    assert!(refused.is_some());
}

// Q55, duplicates: what came before the decision is not lost, and the handshake goes on from it.
#[test]
fn an_attempt_that_waited_goes_on_from_what_was_kept() {
    let mut world = World::new(|_| {});
    world.server.holds = true;
    world.connect();
    world.run_ms(40);
    assert_eq!(world.server.waiting.len(), 1);
    assert!(world.server.endpoint.held_bytes() >= 1200);
    // All that the client sent is here; nothing more comes before its next probe time-out.
    let incoming = world.server.waiting.pop().unwrap();
    let now = world.now;
    world.server.accept(now, incoming);
    world.run_ms(300);
    world.assert_confirmed();
    assert_eq!(world.server.endpoint.held_bytes(), 0);
    world.finish();
}

// Q123, Q124, Q125: a server that lost its state ends the connection within a round trip.
#[test]
fn a_server_that_restarted_resets_its_clients() {
    let mut world = World::new(|_| {});
    world.connect();
    world.run_ms(300);
    world.assert_confirmed();
    let settings = world.server.endpoint.router.config.clone();
    world.server = Node::new(world.server.addr, settings, 99);
    world.client.only().ping();
    world.run_ms(25);
    assert_eq!(world.server.endpoint.stats().resets_sent, 1);
    assert_eq!(world.client.endpoint.stats().resets_received, 1);
    assert!(world.client.closed().is_some());
    world.run(Duration::from_secs(20));
    assert!(world.client.connections.is_empty());
    assert_eq!(world.client.endpoint.router.tables.routes(), 0);
}

// Q58, Q13 of the cases: in an unanswered handshake, never more than three times what came.
#[test]
fn an_unanswered_handshake_sends_at_most_three_times_what_came() {
    let mut world = World::new(|_| {});
    world.connect();
    world.turn();
    let first: Vec<Flying> = world.wire.drain(..).collect();
    world.client.connections.clear();
    for flying in first {
        world.deliver(flying);
    }
    // Nobody hears the answers, and nobody answers them.
    world.client.addr = addr(77);
    world.run(Duration::from_secs(40));
    assert!(world.server.sent > 0 && world.server.sent <= 3 * world.server.received);
    assert!(world.server.connections.is_empty(), "it gave up");
    assert_eq!(world.server.endpoint.stats().half_open, 0);
    assert_eq!(world.server.endpoint.router.tables.routes(), 0);
}

#[test]
fn settings_out_of_range_are_refused() {
    let mut world = World::new(|_| {});
    let path = PathAddr::to(world.server.addr);
    let mut broken = world.client_config.clone();
    broken.transport = Arc::new(TransportConfig {
        max_datagram: 100,
        ..TransportConfig::default()
    });
    let endpoint = &mut world.client.endpoint;
    let refused = endpoint.connect(world.now, &broken, path, NAME);
    assert!(matches!(refused, Err(ConnectError::Config(error)) if error.field == "max_datagram"));
    broken = world.client_config.clone();
    broken.versions = vec![Version(7)];
    let refused = endpoint.connect(world.now, &broken, path, NAME);
    assert_eq!(refused.err(), Some(ConnectError::Version(Version(7))));
    let refused = endpoint.connect(world.now, &world.client_config, path, "not a name");
    assert!(matches!(refused, Err(ConnectError::Tls(_))));
    assert_eq!(endpoint.router.tables.routes(), 0);
    let mut settings = config(8);
    settings.max_half_open = 0;
    let error = Endpoint::new(settings, rng_from_seed(1)).unwrap_err();
    assert_eq!(error.field, "max_half_open");
}

// The token in the transport parameters is that of the connection ID: a reset for it is known.
#[test]
fn the_first_connection_id_can_be_reset_too() {
    let mut world = World::new(|_| {});
    world.connect();
    world.run_ms(300);
    let router = &world.server.endpoint.router;
    let (_, known) = router.tables.connections.iter().next().unwrap();
    let first = known.first_cid();
    let token = *router.config.reset_key.token(&first).as_bytes();
    let mut datagram = vec![0x41; 40];
    datagram[24..].copy_from_slice(&token);
    let (from, now) = (PathAddr::to(world.server.addr), world.now);
    let node = &mut world.client;
    let handled = node
        .endpoint
        .handle_datagram(now, from, None, &datagram, &mut node.out);
    assert!(matches!(handled, Handled::StatelessReset(_)));
}

/// A world whose server asks to be talked to at `addr(3)`, and whose client has connection IDs of
/// `cid_len` bytes.
fn preferring(cid_len: usize) -> World {
    let std::net::SocketAddr::V4(v4) = addr(3) else {
        panic!("not of IPv4");
    };
    let preferred = crate::config::PreferredAddresses {
        v4: Some(v4),
        v6: None,
    };
    let mut world = World::new(|settings| {
        settings.server = Some(Arc::new(ServerConfig {
            preferred,
            ..ServerConfig::new(tls().server)
        }));
    });
    let mut client = config(cid_len);
    client.server = None;
    world.client = Node::new(addr(1), client, 1);
    world
}

/// A datagram that is a stateless reset with this token.
fn reset_of(token: &ResetToken) -> Vec<u8> {
    let mut datagram = vec![0x55; 30];
    datagram.extend_from_slice(token.as_bytes());
    datagram
}

// Q102, Q113: the path is tried, and so the datagrams from there are for the connection.
#[test]
fn a_client_without_connection_ids_moves_to_the_preferred_address() {
    let mut world = preferring(0);
    world.connect();
    while !world.wire.iter().any(|flying| flying.to == addr(3)) {
        world.run_ms(1);
    }
    let (now, client) = (world.now, &mut world.client);
    let path = PathAddr::to(addr(3));
    let handled = client
        .endpoint
        .handle_datagram(now, path, None, &[0x41; 40], &mut client.out);
    assert!(matches!(handled, Handled::Connection(_)), "{handled:?}");
    world.run_ms(300);
    world.assert_confirmed();
    let path = world.client.only().path();
    assert_eq!(path.map(|path| path.remote), Some(addr(3)));
    world.finish();
}

// Q124, RFC 9000 10.3.1: a token counts for the address that its connection ID is used with, and no
// more once that is retired.
#[test]
fn a_server_that_was_followed_can_reset_from_where_it_is() {
    let mut world = preferring(8);
    world.connect();
    world.run_ms(100);
    let first = match world.client.tokens.first() {
        Some(EndpointEvent::ResetTokenAdded { remote, token }) if *remote == addr(2) => *token,
        other => panic!("{other:?}"),
    };
    world.run(Duration::from_secs(5));
    world.client.only().ping();
    // The path that was left is let go.
    for _ in 0..40 {
        world.run(Duration::from_secs(1));
        world.client.only().ping();
    }
    world.assert_confirmed();
    let path = world.client.only().path();
    assert_eq!(path.map(|path| path.remote), Some(addr(3)));
    let second = world.client.tokens.iter().find_map(|event| match event {
        EndpointEvent::ResetTokenAdded { remote, token } if *remote == addr(3) => Some(*token),
        _ => None,
    });
    let second = second.expect("told of the new address");
    let (now, client) = (world.now, &mut world.client);
    let mut hear = |from: SocketAddr, token: &ResetToken| {
        let path = PathAddr::to(from);
        let data = reset_of(token);
        client
            .endpoint
            .handle_datagram(now, path, None, &data, &mut client.out)
    };
    let old = hear(addr(2), &first);
    assert!(!matches!(old, Handled::StatelessReset(_)), "{old:?}");
    let elsewhere = hear(addr(2), &second);
    assert!(!matches!(elsewhere, Handled::StatelessReset(_)));
    assert!(matches!(hear(addr(3), &second), Handled::StatelessReset(_)));
}
