//! What one packet costs the engine, without any system call: two endpoints hand each other their
//! batches in memory, and one sends the other as much as it can.
//!
//! `cargo bench -p weir-quic --bench transfer [-- MIB [DATAGRAM]]` prints one line: bytes a second,
//! nanoseconds a packet (sealed, opened, acknowledged), packets and acknowledgements.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::rng::rng_from_seed;
use weir_core::time::Instant;
use weir_quic::cid::RandomCids;
use weir_quic::{
    ClientConfig, Connection, ConnectionHandle, Dir, Endpoint, EndpointConfig, Handled, PathAddr,
    ReadError, ResetKey, ServerConfig, TokenKeys, TransmitBuf, TransportConfig, WriteError,
};

struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    addr: SocketAddr,
    out: TransmitBuf,
    reply: TransmitBuf,
    scratch: Vec<u8>,
}

impl End {
    fn new(seed: u64, addr: &str, server: Option<Arc<ServerConfig>>) -> End {
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

    /// Sends what is ready to `peer`; false when there was nothing.
    fn flush(&mut self, now: Instant, peer: &mut End) -> bool {
        let Some((handle, connection)) = &mut self.connection else {
            return false;
        };
        let mut any = false;
        loop {
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

    fn connection(&mut self) -> &mut Connection {
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

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let mib = numbers.next().unwrap_or(1024);
    let datagram = numbers.next().unwrap_or(1452);
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
    let begin = std::time::Instant::now();
    let clock = || Instant::from_nanos(begin.elapsed().as_nanos() as u64 + 1);
    let path = PathAddr::to(server.addr);
    client.connection = Some(
        client
            .endpoint
            .connect(clock(), &client_config, path, "localhost")
            .unwrap(),
    );
    let mut turn = |client: &mut End, server: &mut End| {
        let now = clock();
        for end in [&mut *client, &mut *server] {
            if let Some((_, connection)) = &mut end.connection {
                connection.handle_timeout(now);
            }
        }
        let sent = client.flush(now, server);
        server.flush(now, client) || sent
    };
    while !client.connection().is_confirmed() {
        turn(&mut client, &mut server);
    }
    for _ in 0..200 {
        turn(&mut client, &mut server);
    }
    let key = client.connection().open(clock(), Dir::Bi).unwrap();
    let chunk = Bytes::from(vec![42; 256 * 1024]);
    let total = mib << 20;
    let (mut written, mut read, mut inbound) = (0, 0, None);
    let start = std::time::Instant::now();
    let mut turns = 0u64;
    while read < total {
        turns += 1;
        let now = clock();
        while written < total {
            let mut data = chunk.clone();
            match client.connection().write(now, key, &mut data) {
                Ok(count) => written += count,
                Err(WriteError::Blocked) => break,
                Err(error) => panic!("{error}"),
            }
        }
        turn(&mut client, &mut server);
        let now = clock();
        if inbound.is_none() {
            inbound = server.connection().accept(now, Dir::Bi);
        }
        let Some(inbound) = inbound else { continue };
        loop {
            match server.connection().read(now, inbound, usize::MAX) {
                Ok(Some(bytes)) => read += bytes.len(),
                Ok(None) | Err(ReadError::Blocked) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let secs = start.elapsed().as_secs_f64();
    let (sender, receiver) = (client.connection().stats(), server.connection().stats());
    println!(
        "{:.2} Gbit/s, {:.0} ns a packet, {} packets of {} bytes, {} back, {} lost, {} turns, cwnd {}",
        total as f64 * 8e-9 / secs,
        secs * 1e9 / sender.packets_sent as f64,
        sender.packets_sent,
        sender.datagram_size,
        receiver.packets_sent,
        sender.packets_lost,
        turns,
        sender.congestion_window,
    );
}
