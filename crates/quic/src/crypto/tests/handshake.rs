//! TLS handshakes between a client and a server.

use rustls::CipherSuite;

use super::pair::{
    ALPN, Authority, CLIENT_PARAMS, NAME, Pair, SERVER_PARAMS, client_config, provider,
    server_config,
};
use crate::crypto::{AeadLimits, KeyChange, Level};
use crate::wire::Version;

const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// A long header of Handshake packets: 1-byte connection IDs, 2 bytes of length, 1 of number.
const HANDSHAKE_HEADER: &[u8] = b"\xe0\0\0\0\x01\x01a\x01b\x40\x20\x05";

/// Seals at one end, opens at the other, at all levels that both have.
fn exchange(pair: &mut Pair) {
    let short = b"\x40a\x05".to_vec();
    for (level, header) in [
        (Level::Handshake, HANDSHAKE_HEADER.to_vec()),
        (Level::OneRtt, short),
    ] {
        for turn in 0..2 {
            let (from, to) = if turn == 0 {
                (&mut pair.client.protection, &mut pair.server.protection)
            } else {
                (&mut pair.server.protection, &mut pair.client.protection)
            };
            let mut packet = header.clone();
            packet.extend_from_slice(b"some frames");
            let plain = packet.len();
            packet.resize(plain + 16, 0);
            let pn_offset = header.len() - 1;
            from.seal(level, &mut packet, pn_offset, 1, 5).unwrap();
            let opened = to.open(level, &mut packet, pn_offset, 0).unwrap();
            assert_eq!(opened.pn, 5);
            assert_eq!(&packet[opened.payload], b"some frames");
        }
    }
}

#[test]
fn each_suite_alone_works_in_both_versions() {
    // Q28, Q21
    let authority = Authority::new();
    for suite in SUITES {
        for version in Version::SUPPORTED {
            let mut pair = Pair::new(
                client_config(&authority, provider(&[suite])),
                server_config(&authority, provider(&[suite])),
                version,
            );
            pair.run().unwrap();
            assert!(!pair.client.tls.is_handshaking() && !pair.server.tls.is_handshaking());
            assert_eq!(pair.client.tls.cipher_suite(), Some(suite));
            assert_eq!(pair.client.tls.alpn(), Some(ALPN));
            assert_eq!(pair.server.tls.alpn(), Some(ALPN));
            assert_eq!(pair.server.tls.server_name(), Some(NAME));
            assert_eq!(pair.client.tls.peer_params(), Some(SERVER_PARAMS));
            assert_eq!(pair.server.tls.peer_params(), Some(CLIENT_PARAMS));
            exchange(&mut pair);
        }
    }
}

#[test]
fn bytes_may_come_in_any_pieces() {
    // Q42
    for step in [1, 7, 100] {
        let mut pair = Pair::simple(AeadLimits::default());
        pair.step = step;
        pair.run().unwrap();
        assert!(!pair.server.tls.is_handshaking());
    }
}

/// The limits of the keys that a handshake with `suite` gives: packets to seal, packets to fail.
pub(super) fn limits(suite: CipherSuite) -> (u64, u64) {
    let authority = Authority::new();
    let mut client = crate::crypto::Tls::client(
        client_config(&authority, provider(&[suite])).into(),
        Version::V1,
        NAME,
        CLIENT_PARAMS.to_vec(),
    )
    .unwrap();
    let mut server = crate::crypto::Tls::server(
        server_config(&authority, provider(&[suite])).into(),
        Version::V1,
        SERVER_PARAMS.to_vec(),
    )
    .unwrap();
    let mut hello = Vec::new();
    client.poll_send(&mut hello).unwrap();
    server.on_crypto(Level::Initial, &hello).unwrap();
    while let Some((_, change)) = server.poll_send(&mut Vec::new()) {
        if let Some(KeyChange::OneRtt { keys, .. }) = change {
            let key = keys.local.packet;
            return (key.confidentiality_limit(), key.integrity_limit());
        }
    }
    panic!("no 1-RTT keys");
}
