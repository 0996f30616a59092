//! The endpoint against bytes made by hand, without connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod early;
mod floods;
mod resets;
mod retry;
mod routing;
mod versions;
mod whole;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use weir_core::rng::{Rng, rng_from_seed};
use weir_core::time::Instant;

use super::*;
use crate::cid::{ConnectionIdGenerator, RandomCids};
use crate::config::ServerConfig;
use crate::crypto::{AeadLimits, Level, Protection, ResetKey, TAG_LEN, TokenKeys};
use crate::wire::header::{FixedBit, LengthField, LongHeader, Packet, PacketType, finish_length};
use crate::wire::{ConnectionId, Frame, Side, Version, frame};

pub(super) fn server_config() -> ServerConfig {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["server.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut crypto = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    crypto.alpn_protocols = vec![b"weir-test".to_vec()];
    ServerConfig::new(Arc::new(crypto))
}

/// Settings of a server with secrets of its own.
pub(super) fn config(cid_len: usize) -> EndpointConfig {
    let generator: Arc<dyn ConnectionIdGenerator> = Arc::new(RandomCids::new(cid_len).unwrap());
    let keys = Arc::new(TokenKeys::new(&[1; 32]));
    let reset = Arc::new(ResetKey::new(&[2; 32]));
    let mut config = EndpointConfig::new(generator, keys, reset, 1_700_000_000);
    config.server = Some(Arc::new(server_config()));
    config
}

/// An endpoint, its clock and its buffer.
pub(super) struct Bench {
    pub(super) endpoint: Endpoint,
    pub(super) out: TransmitBuf,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(config: EndpointConfig) -> Bench {
        Bench {
            endpoint: Endpoint::new(config, rng_from_seed(7)).unwrap(),
            out: TransmitBuf::new(1),
            now: Instant::from_millis(5),
        }
    }

    pub(super) fn server() -> Bench {
        Bench::new(config(8))
    }

    pub(super) fn receive(&mut self, from: SocketAddr, data: &[u8]) -> Handled {
        let path = PathAddr::to(from);
        let handled = self
            .endpoint
            .handle_datagram(self.now, path, None, data, &mut self.out);
        if let Handled::Reply(transmit) = &handled {
            assert_eq!(
                (transmit.path, transmit.len),
                (path, self.out.as_slice().len())
            );
            assert!(
                transmit.len <= 3 * data.len(),
                "C8: never more than three times"
            );
        }
        handled
    }

    /// The answer's bytes; panics without one.
    pub(super) fn reply(&mut self, from: SocketAddr, data: &[u8]) -> Vec<u8> {
        match self.receive(from, data) {
            Handled::Reply(transmit) => self.out.as_slice()[..transmit.len].to_vec(),
            other => panic!("no answer: {other:?}"),
        }
    }

    pub(super) fn incoming(&mut self, from: SocketAddr, data: &[u8]) -> Incoming {
        match self.receive(from, data) {
            Handled::Incoming(incoming) => incoming,
            other => panic!("no attempt: {other:?}"),
        }
    }

    pub(super) fn nothing(&mut self, from: SocketAddr, data: &[u8]) {
        let handled = self.receive(from, data);
        assert!(matches!(handled, Handled::Nothing), "{handled:?}");
    }

    pub(super) fn connection(&mut self, from: SocketAddr, data: &[u8]) -> Key {
        match self.receive(from, data) {
            Handled::Connection(handle) => handle.0,
            other => panic!("no connection: {other:?}"),
        }
    }

    pub(super) fn stats(&self) -> EndpointStats {
        self.endpoint.stats()
    }

    /// Nothing is kept of anybody.
    pub(super) fn assert_empty(&self) {
        let router = &self.endpoint.router;
        assert_eq!((self.endpoint.held_bytes(), router.pending.len()), (0, 0));
        assert_eq!((router.tables.routes(), router.sources.len()), (0, 0));
        assert_eq!((router.stats.connections, router.stats.half_open), (0, 0));
    }
}

pub(super) fn addr(n: u32) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), 4433)
}

pub(super) fn cid(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

/// A client's Initial.
pub(super) struct Initial {
    pub(super) version: Version,
    pub(super) dcid: ConnectionId,
    pub(super) scid: ConnectionId,
    pub(super) token: Vec<u8>,
    pub(super) size: usize,
    pub(super) fixed_bit: bool,
}

impl Initial {
    pub(super) fn new() -> Initial {
        Initial {
            version: Version::V1,
            dcid: cid(b"dest-cid"),
            scid: cid(b"source"),
            token: Vec::new(),
            size: 1200,
            fixed_bit: true,
        }
    }

    /// The `n`th of many, with IDs of its own.
    pub(super) fn nth(n: u64) -> Initial {
        Initial {
            dcid: cid(&(n | 1 << 63).to_be_bytes()),
            scid: cid(&n.to_le_bytes()),
            ..Initial::new()
        }
    }

    /// Sealed, with a CRYPTO frame and padding in it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let header = LongHeader {
            kind: PacketType::Initial,
            version: self.version,
            dcid: &self.dcid,
            scid: &self.scid,
            token: &self.token,
            pn: 0,
            pn_len: 2,
            fixed_bit: self.fixed_bit,
            length: LengthField::Two,
        };
        let mut out = Vec::new();
        let written = header.write(&mut out);
        frame::encode::crypto_header(&mut out, 0, 5);
        out.extend_from_slice(b"hello");
        out.resize(self.size, 0);
        finish_length(&mut out, &written, 0);
        let mut keys = self.keys();
        keys.seal(Level::Initial, &mut out, written.pn_offset, 2, 0)
            .unwrap();
        out
    }

    pub(super) fn keys(&self) -> Protection {
        Protection::new(
            Side::Client,
            self.version,
            &self.dcid,
            AeadLimits::default(),
        )
        .unwrap()
    }

    /// The error code in the CONNECTION_CLOSE that answers this.
    pub(super) fn closed(&self, mut answer: Vec<u8>) -> u64 {
        let packet = Packet::parse(&answer, 0, FixedBit::Required).unwrap();
        assert_eq!(
            (packet.kind, packet.version),
            (PacketType::Initial, self.version)
        );
        assert_eq!((packet.dcid, packet.packet_len), (self.scid, answer.len()));
        let mut keys = self.keys();
        let opened = keys
            .open(Level::Initial, &mut answer, packet.pn_offset, 0)
            .unwrap();
        let mut frames = frame::Frames::new(&answer[opened.payload], packet.kind).unwrap();
        let Some(Ok(Frame::ConnectionClose { code, .. })) = frames.next() else {
            panic!("no CONNECTION_CLOSE")
        };
        code
    }
}

/// A 0-RTT packet of some bytes, as far as anybody without keys can see.
pub(super) fn zero_rtt(dcid: &ConnectionId, size: usize) -> Vec<u8> {
    let header = LongHeader {
        kind: PacketType::ZeroRtt,
        version: Version::V1,
        dcid,
        scid: &cid(b"source"),
        token: &[],
        pn: 0,
        pn_len: 2,
        fixed_bit: true,
        length: LengthField::Two,
    };
    let mut out = Vec::new();
    let written = header.write(&mut out);
    out.resize(size, 0xab);
    finish_length(&mut out, &written, 0);
    out
}

/// A short header packet to this connection ID.
pub(super) fn short(dcid: &ConnectionId, size: usize) -> Vec<u8> {
    let mut out = vec![0x4b];
    out.extend_from_slice(dcid);
    out.resize(size, 0xcd);
    out
}

pub(super) fn random_bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    weir_core::rng::fill(rng, &mut bytes);
    bytes
}

/// Room for the tag, which tests of sizes count with.
const _: () = assert!(TAG_LEN == 16);
