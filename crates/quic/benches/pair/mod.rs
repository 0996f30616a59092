//! Two endpoints that hand each other their batches in memory, without any system call.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::rng::rng_from_seed;
use weir_core::time::Instant;
use weir_quic::cid::RandomCids;
use weir_quic::{
    ClientConfig, Connection, ConnectionHandle, Endpoint, EndpointConfig, Handled, PathAddr,
    ResetKey, ServerConfig, TokenKeys, TransmitBuf, TransportConfig,
};

/// One endpoint with its one connection.
pub(crate) struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    addr: SocketAddr,
    out: TransmitBuf,
    reply: TransmitBuf,
    scratch: Vec<u8>,
}

impl End {
    pub(crate) fn new(seed: u64, addr: &str, server: Option<Arc<ServerConfig>>) -> End {
        let mut config = EndpointConfig::new(
            Arc::new(RandomCids::new(8).unwrap()),
            Arc::new(TokenKeys::new(&[7; 32])),
            Arc::new(ResetKey::new(&[8; 32])),
            1_700_000_000,
        );
        config.server = server;
        End {
            endpoint: Endpoint::new(config, rng_from_seed(seed)).unwrap(),
            connection: None,
            addr: addr.parse().unwrap(),
            out: TransmitBuf::default(),
            reply: TransmitBuf::default(),
            scratch: Vec::new(),
        }
    }

    /// Sends what is ready to `peer`, so many batches at most; false when there was nothing.
    fn flush(&mut self, now: Instant, peer: &mut End, batches: usize) -> bool {
        let Some((handle, connection)) = &mut self.connection else {
            return false;
        };
        let mut any = false;
        for _ in 0..batches {
            self.out.clear();
            let Some(transmit) = connection.poll_transmit(now, &mut self.out) else {
                break;
            };
            any = true;
            self.scratch.clear();
            self.scratch.extend_from_slice(self.out.as_slice());
            for datagram in self.scratch.chunks_mut(transmit.segment_size) {
                peer.receive(now, self.addr, datagram);
            }
        }
        while let Some(event) = connection.poll_endpoint_event() {
            self.endpoint.handle_event(*handle, &event);
        }
        while connection.poll_event().is_some() {}
        any
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let path = PathAddr {
            local: None,
            remote: from,
        };
        self.reply.clear();
        let handled = self
            .endpoint
            .handle_datagram(now, path, None, datagram, &mut self.reply);
        match handled {
            Handled::Incoming(incoming) => {
                self.connection = Some(self.endpoint.accept(now, incoming, None).unwrap());
            }
            Handled::Connection(_) => {
                let (_, connection) = self.connection.as_mut().unwrap();
                connection.handle_datagram(now, path, None, datagram);
            }
            _ => {}
        }
    }

    /// The connection; there must be one.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection.as_mut().unwrap().1
    }
}

fn tls() -> (rustls::ClientConfig, rustls::ServerConfig) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(provider);
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"bench".to_vec()];
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"bench".to_vec()];
    (client, server)
}

/// A client and a server of datagrams of at most so many bytes, with a confirmed connection between them.
pub(crate) fn connected(datagram: usize, clock: &mut dyn FnMut() -> Instant) -> (End, End) {
    let (client_tls, server_tls) = tls();
    let transport = Arc::new(TransportConfig {
        max_datagram: datagram,
        ..TransportConfig::default()
    });
    let mut server_config = ServerConfig::new(Arc::new(server_tls));
    server_config.transport = Arc::clone(&transport);
    let mut client_config = ClientConfig::new(Arc::new(client_tls));
    client_config.transport = transport;
    let mut client = End::new(1, "10.0.0.1:1000", None);
    let mut server = End::new(2, "10.0.0.2:4433", Some(Arc::new(server_config)));
    let path = PathAddr::to(server.addr);
    let connection = client
        .endpoint
        .connect(clock(), &client_config, path, "localhost");
    client.connection = Some(connection.unwrap());
    while !client.connection().is_confirmed() {
        turn(clock(), &mut client, &mut server, usize::MAX);
    }
    for _ in 0..200 {
        turn(clock(), &mut client, &mut server, usize::MAX);
    }
    (client, server)
}

/// Timers, then what is ready goes to the other side, the client's so many batches at most; false when nothing was.
pub(crate) fn turn(now: Instant, client: &mut End, server: &mut End, batches: usize) -> bool {
    for end in [&mut *client, &mut *server] {
        if let Some((_, connection)) = &mut end.connection {
            connection.handle_timeout(now);
        }
    }
    let sent = client.flush(now, server, batches);
    server.flush(now, client, usize::MAX) || sent
}
