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
pub(super) fn exchange(pair: &mut Pair) {
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
        server_config(&authority, provider(&[suite])),
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

/// A ClientHello or EncryptedExtensions message at the start of `bytes`, with each extension kept
/// or not, and changed; what follows it stays.
pub(super) fn edit_extensions(
    bytes: &[u8],
    mut keep: impl FnMut(u16, &mut Vec<u8>) -> bool,
) -> Vec<u8> {
    let u16_at = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let mut at = 4;
    if bytes[0] == 1 {
        at += 34;
        at += 1 + usize::from(bytes[at]);
        at += 2 + u16_at(at);
        at += 1 + usize::from(bytes[at]);
    }
    let start = at;
    let end = at + 2 + u16_at(at);
    at += 2;
    let mut extensions = Vec::new();
    while at < end {
        let len = u16_at(at + 2);
        let mut content = bytes[at + 4..at + 4 + len].to_vec();
        if keep(u16_at(at) as u16, &mut content) {
            extensions.extend_from_slice(&bytes[at..at + 2]);
            extensions.extend_from_slice(&(content.len() as u16).to_be_bytes());
            extensions.extend_from_slice(&content);
        }
        at += 4 + len;
    }
    let mut out = bytes[..start].to_vec();
    out.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    out.extend_from_slice(&extensions);
    let len = (out.len() - 4) as u32;
    out[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
    out.extend_from_slice(&bytes[end..]);
    out
}

/// An extension of a ClientHello.
pub(super) fn hello_extension(hello: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let mut found = None;
    edit_extensions(hello, |kind, content| {
        if kind == wanted {
            found = Some(content.clone());
        }
        true
    });
    found
}

#[test]
fn post_quantum_key_exchange_makes_a_long_client_hello() {
    // Q43
    let mut pair = Pair::simple(AeadLimits::default());
    let hello = pair.client.take().remove(0).1;
    assert!(
        (1200..2000).contains(&hello.len()),
        "{} bytes: it takes two Initial packets",
        hello.len()
    );
    pair.server.feed(Level::Initial, &hello, 600).unwrap();
    pair.run().unwrap();
    let group = Some(rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(pair.client.tls.key_exchange_group(), group);
    assert_eq!(pair.server.tls.key_exchange_group(), group);
}

#[test]
fn hello_retry_request() {
    // Q50
    let authority = Authority::new();
    let mut other_group = provider(&[]);
    other_group.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP256R1];
    let mut pair = Pair::new(
        client_config(&authority, provider(&[])),
        server_config(&authority, other_group),
        Version::V1,
    );
    let hello = pair.client.take().remove(0).1;
    pair.server.feed(Level::Initial, &hello, 99).unwrap();
    // Only a request at Initial: no keys, and no transport parameters are taken from that hello.
    assert!(!pair.server.protection.has_send(Level::Handshake));
    assert_eq!(pair.server.tls.peer_params(), None);
    assert_eq!(pair.server.tls.early_data_accepted(), None);
    let request = pair.server.take();
    assert_eq!(request.len(), 1);
    assert_eq!(request[0].0, Level::Initial);
    pair.client.feed(Level::Initial, &request[0].1, 99).unwrap();
    assert_eq!(pair.client.tls.peer_params(), None);
    pair.run().unwrap();
    let levels: Vec<_> = pair.client.sent.iter().map(|(level, _)| *level).collect();
    let expected = [Level::Initial, Level::Initial, Level::Handshake];
    assert_eq!(levels, expected);
    assert_eq!(pair.server.tls.peer_params(), Some(CLIENT_PARAMS));
    assert_eq!(pair.client.tls.peer_params(), Some(SERVER_PARAMS));
    exchange(&mut pair);
}

#[test]
fn both_ends_export_the_same_key_material() {
    let mut pair = Pair::simple(AeadLimits::default());
    let early = pair
        .client
        .tls
        .export_keying_material([0; 32], b"label", None);
    assert!(early.is_err());
    pair.run().unwrap();
    let export = |tls: &crate::crypto::Tls, label: &[u8]| {
        tls.export_keying_material([0; 32], label, Some(b"context"))
            .unwrap()
    };
    let ours = export(&pair.client.tls, b"label");
    assert_eq!(ours, export(&pair.server.tls, b"label"));
    assert_ne!(ours, export(&pair.server.tls, b"other"));
}

#[test]
fn a_server_lets_go_of_its_handshake_and_still_knows_what_came_of_it() {
    // Q46 once more, without rustls behind it
    let authority = Authority::new();
    for suite in SUITES {
        let mut pair = Pair::new(
            client_config(&authority, provider(&[suite])),
            server_config(&authority, provider(&[suite])),
            Version::V1,
        );
        let server = &mut pair.server.tls;
        server.settle();
        assert!(server.is_handshaking(), "not before it is complete");
        pair.run().unwrap();
        let seen = |tls: &crate::crypto::Tls| {
            (
                tls.alpn().map(<[u8]>::to_vec),
                tls.server_name().map(str::to_owned),
                tls.cipher_suite(),
                tls.key_exchange_group(),
                tls.is_resumed(),
                tls.early_data_accepted(),
                tls.export_keying_material([0; 100], b"label", Some(b"context"))
                    .unwrap(),
                tls.export_keying_material([0; 32], b"label", None).unwrap(),
            )
        };
        let before = seen(&pair.server.tls);
        assert!(pair.server.tls.peer_params().is_some());
        pair.server.tls.settle();
        assert!(pair.server.tls.peer_params().is_none(), "rustls is gone");
        assert_eq!(seen(&pair.server.tls), before);
        assert!(!pair.server.tls.is_handshaking());
        let too_much = vec![0; 255 * 48 + 1];
        let export = pair
            .server
            .tls
            .export_keying_material(too_much, b"label", None);
        assert!(export.is_err());
        let error = pair.server.tls.on_crypto(Level::OneRtt, &[24]);
        assert_eq!(error.unwrap_err().code, 0x10a);
    }
}

#[test]
fn a_client_keeps_its_handshake_for_tickets() {
    // Q51
    let mut pair = Pair::simple(AeadLimits::default());
    pair.run().unwrap();
    let before = pair.client.tls.tickets_received();
    pair.client.tls.settle();
    let mut ticket = b"\0\0\x0e\x10\0\0\0\0\x01n\0\x06ticket\0\0".to_vec();
    ticket.splice(0..0, [4, 0, 0, ticket.len() as u8]);
    pair.client.tls.on_crypto(Level::OneRtt, &ticket).unwrap();
    assert_eq!(pair.client.tls.tickets_received(), before + 1);
}

#[test]
fn the_levels_of_each_flight() {
    // RFC 9001 4.1.5
    let mut pair = Pair::simple(AeadLimits::default());
    pair.run().unwrap();
    let levels = |sent: &[(Level, Vec<u8>)]| sent.iter().map(|(of, _)| *of).collect::<Vec<_>>();
    assert_eq!(
        levels(&pair.client.sent),
        [Level::Initial, Level::Handshake]
    );
    assert_eq!(
        levels(&pair.server.sent),
        [Level::Initial, Level::Handshake, Level::OneRtt]
    );
    assert_eq!(pair.client.tls.receive_level(), Level::OneRtt);
    assert_eq!(pair.server.tls.receive_level(), Level::OneRtt);
}

#[test]
fn secrets_are_logged() {
    // Q178
    #[derive(Debug, Default)]
    struct Log(std::sync::Mutex<Vec<String>>);
    impl rustls::KeyLog for Log {
        fn log(&self, label: &str, _: &[u8], _: &[u8]) {
            self.0.lock().unwrap().push(label.to_owned());
        }
    }
    let authority = Authority::new();
    let log = std::sync::Arc::new(Log::default());
    let mut client = client_config(&authority, provider(&[]));
    client.key_log = log.clone();
    let server = server_config(&authority, provider(&[]));
    let tls =
        crate::crypto::Tls::client_switchable(&client, Version::V1, NAME, CLIENT_PARAMS.to_vec());
    let server = crate::crypto::Tls::server(&server, Version::V1, SERVER_PARAMS.to_vec());
    Pair::of(Version::V1, tls.unwrap(), server.unwrap())
        .run()
        .unwrap();
    let logged = log.0.lock().unwrap();
    for label in [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    ] {
        assert!(logged.iter().any(|logged| logged == label), "{label}");
    }
}

#[test]
fn transport_parameters_are_seen_before_tls_begins() {
    // Q23
    use crate::crypto::client_hello::{Peek, peek};
    let mut pair = Pair::simple(AeadLimits::default());
    let hello = pair.client.take().remove(0).1;
    assert_eq!(peek(&hello), Peek::Params(CLIENT_PARAMS));
    for len in 0..hello.len() {
        assert_eq!(peek(&hello[..len]), Peek::Incomplete, "{len}");
    }
    let more = [&hello[..], b"more"].concat();
    assert_eq!(peek(&more), Peek::Params(CLIENT_PARAMS));
    let without = edit_extensions(&hello, |kind, _| kind != 0x39);
    assert_eq!(peek(&without), Peek::Absent);
    assert_eq!(peek(&[2]), Peek::Absent);
    assert_eq!(peek(&[1, 1, 0, 0]), Peek::Absent);
    assert_eq!(peek(&[1, 0, 0, 2, 3, 3]), Peek::Absent);
    // Whatever is in it, it is only read.
    let mut rng = weir_core::rng::rng_from_seed(1);
    for _ in 0..20_000 {
        let mut damaged = hello.clone();
        for _ in 0..3 {
            let at = weir_core::rng::below(&mut rng, damaged.len() as u64) as usize;
            damaged[at] = weir_core::rng::next_u64(&mut rng) as u8;
        }
        peek(&damaged);
    }
}
