//! Two QUIC endpoints in memory with all instruments on: what stands in the files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value as Json;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_core::trace::Tracer;
use weir_quic::cid::RandomCids;
use weir_quic::{
    ClientConfig, Connection, Dir, Endpoint, EndpointConfig, Handled, PathAddr, ResetKey,
    ServerConfig, TokenKeys, TransmitBuf,
};

use super::datagrams::PcapDatagramTap;
use super::pcap::Capture;
use super::qlog::schema_tests::check_record;
use super::qlog::{Head, QlogSink};
use super::spool::{PAYLOAD_CAP, Spool};
use crate::observe::{DatagramBatch, DatagramTap};

const NAME: &str = "server.example";

/// A key log that goes into the capture.
#[derive(Debug)]
struct IntoCapture(Arc<Capture>);

impl rustls::KeyLog for IntoCapture {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = weir_core::trace::Hex;
        let line = format!("{label} {} {}", hex(client_random), hex(secret));
        self.0.secret(&line);
    }
}

fn tls(capture: &Arc<Capture>) -> (rustls::ClientConfig, rustls::ServerConfig) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"test/1".to_vec()];
    client.key_log = Arc::new(IntoCapture(Arc::clone(capture)));
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"test/1".to_vec()];
    (client, server)
}

fn endpoint(server: Option<rustls::ServerConfig>, seed: u64) -> Endpoint {
    let cids = Arc::new(RandomCids::new(8).unwrap());
    let rng = rng_from_seed(seed);
    let tokens = Arc::new(TokenKeys::new(&[2; 32]));
    let mut config = EndpointConfig::new(cids, tokens, Arc::new(ResetKey::new(&[1; 32])), 0);
    config.server = server.map(|tls| Arc::new(ServerConfig::new(Arc::new(tls))));
    Endpoint::new(config, rng).unwrap()
}

/// Both ends, in lockstep: a round is half a round trip.
struct Pair {
    now: Instant,
    client: Connection,
    server: Option<Connection>,
    listening: Endpoint,
    server_tracer: Tracer,
    tap: PcapDatagramTap,
}

fn client_addr() -> SocketAddr {
    "127.0.0.1:40000".parse().unwrap()
}

fn server_addr() -> SocketAddr {
    "127.0.0.1:4433".parse().unwrap()
}

fn drain(now: Instant, connection: &mut Connection) -> Vec<Vec<u8>> {
    let mut out = TransmitBuf::new(1);
    let mut datagrams = Vec::new();
    loop {
        out.clear();
        if connection.poll_transmit(now, &mut out).is_none() {
            return datagrams;
        }
        datagrams.push(out.as_slice().to_vec());
    }
}

impl Pair {
    fn round(&mut self) {
        let now = self.now;
        for mut data in drain(now, &mut self.client) {
            self.tap.sent(&batch(&data));
            let path = PathAddr::to(client_addr());
            let mut answer = TransmitBuf::new(1);
            match (
                &mut self.server,
                self.listening
                    .handle_datagram(now, path, None, &data, &mut answer),
            ) {
                (None, Handled::Incoming(incoming)) => {
                    let tracer = std::mem::take(&mut self.server_tracer);
                    let accepted = self.listening.accept_traced(now, incoming, None, tracer);
                    self.server = Some(accepted.unwrap().1);
                }
                (Some(server), _) => server.handle_datagram(now, path, None, &mut data),
                _ => {}
            }
        }
        self.now += Duration::from_millis(5);
        let now = self.now;
        let Some(server) = &mut self.server else {
            return;
        };
        for mut data in drain(now, server) {
            self.tap.received(&batch(&data));
            let path = PathAddr::to(server_addr());
            self.client.handle_datagram(now, path, None, &mut data);
        }
        self.now += Duration::from_millis(5);
        let now = self.now;
        self.client.handle_timeout(now);
        server.handle_timeout(now);
        for connection in [&mut self.client, server] {
            while connection.poll_event().is_some() {}
            // Datagrams are handed over here without asking the router.
            while connection.poll_endpoint_event().is_some() {}
        }
    }
}

fn batch(data: &[u8]) -> DatagramBatch<'_> {
    DatagramBatch {
        local: client_addr(),
        remote: server_addr(),
        ecn: 0,
        segment: 0,
        data,
    }
}

fn sink(spool: &Spool, path: &Path, role: &'static str) -> Tracer {
    let head = Head {
        vantage_point: role,
        title: "a test",
        group: "1",
        family: "quic",
    };
    let sink = QlogSink::new(spool, path, &head, SystemTime::UNIX_EPOCH);
    Tracer::new(Box::new(sink))
}

/// Runs a handshake, a stream and a close; the client's qlog, the server's, and the capture.
fn run(dir: &Path) -> [PathBuf; 3] {
    std::fs::create_dir_all(dir).unwrap();
    let paths = ["client.sqlog", "server.sqlog", "all.pcapng"].map(|name| dir.join(name));
    let spool = Spool::start().unwrap();
    let capture = Arc::new(Capture::new(spool.file(&paths[2], PAYLOAD_CAP)));
    let (client, server) = tls(&capture);
    let config = ClientConfig::new(Arc::new(client));
    let now = Instant::from_millis(77);
    let mut dialling = endpoint(None, 1);
    let path = PathAddr::to(server_addr());
    let (_, mut client) = dialling.connect(now, &config, path, NAME).unwrap();
    client.set_tracer(sink(&spool, &paths[0], "client"));
    let mut pair = Pair {
        now,
        client,
        server: None,
        listening: endpoint(Some(server), 2),
        server_tracer: sink(&spool, &paths[1], "server"),
        tap: PcapDatagramTap::new(Arc::clone(&capture)),
    };
    for _ in 0..10 {
        pair.round();
    }
    assert!(pair.client.is_confirmed());
    let key = pair.client.open(pair.now, Dir::Bi).unwrap();
    let mut data = Bytes::from_static(b"hello 0");
    pair.client.write(pair.now, key, &mut data).unwrap();
    pair.client.finish(pair.now, key);
    for _ in 0..10 {
        pair.round();
    }
    pair.client.close(pair.now, 7, "done");
    for _ in 0..50 {
        pair.round();
    }
    drop((pair, capture, config));
    spool.finish();
    paths
}

/// The events of a file, each checked against the schema.
fn events(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split('\u{1e}').skip(2).map(check_record).collect()
}

fn position(events: &[Json], from: usize, wanted: impl Fn(&Json) -> bool) -> usize {
    let found = events[from..].iter().position(wanted);
    from + found.unwrap_or_else(|| panic!("not in {events:#?}"))
}

// Q177: a connection's file is in the schema from its first record to its last, and tells what happened
// in the order in which it did, on both ends.
#[test]
fn both_ends_write_what_the_schema_says() {
    let dir = std::env::temp_dir().join(format!("weir-qlog-quic-{}", std::process::id()));
    let [client, server, capture] = run(&dir);
    let client = events(&client);
    assert_eq!(client[0]["time"], 0.0);
    let named = |name: &'static str| move |event: &Json| event["name"] == name;
    let with_frame = |kind: &'static str| {
        move |event: &Json| {
            let frames = event["data"]["frames"].as_array();
            frames.is_some_and(|frames| frames.iter().any(|frame| frame["frame_type"] == kind))
        }
    };
    let mut at = 0;
    at = position(&client, at, named("quic:connection_started"));
    at = position(&client, at, named("quic:version_information"));
    at = position(&client, at, named("quic:parameters_set"));
    at = position(&client, at, named("quic:packet_sent"));
    assert_eq!(client[at]["data"]["header"]["packet_type"], "initial");
    at = position(&client, at, named("quic:packet_received"));
    at = position(&client, at, named("quic:alpn_information"));
    assert_eq!(client[at]["data"]["chosen_alpn"]["string_value"], "test/1");
    at = position(&client, at, with_frame("handshake_done"));
    at = position(&client, at, with_frame("stream"));
    at = position(&client, at, named("quic:stream_state_updated"));
    at = position(&client, at, named("quic:connection_closed"));
    assert_eq!(client[at]["data"]["error_code"], 7);
    position(&client, at, with_frame("connection_close"));
    let server = events(&server);
    let first = position(&server, 0, named("quic:packet_received"));
    assert_eq!(server[first]["data"]["header"]["packet_number"], 0);
    assert_eq!(server[first]["data"]["header"]["packet_type"], "initial");
    let closed = position(&server, first, named("quic:connection_closed"));
    assert_eq!(server[closed]["data"]["initiator"], "remote");
    assert_eq!(server[closed]["data"]["reason"], "done");
    assert!(std::fs::metadata(capture).unwrap().len() > 5_000);
    if std::env::var_os("WEIR_KEEP_TRACES").is_none() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
