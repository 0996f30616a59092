//! What ends a handshake, and with which code.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use super::handshake::edit_extensions;
use super::pair::{
    ALPN, Authority, CLIENT_PARAMS, NAME, Pair, SERVER_PARAMS, client_config, provider,
    server_config,
};
use crate::crypto::{AeadLimits, Level, Tls, TlsError};
use crate::error::{TransportError, code};
use crate::wire::{Side, Version};

/// TLS alerts as QUIC has them (RFC 9001 section 4.8).
const UNEXPECTED_MESSAGE: u64 = 0x100 + 10;
const BAD_CERTIFICATE: u64 = 0x100 + 42;
const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;
const ILLEGAL_PARAMETER: u64 = 0x100 + 47;
const UNKNOWN_CA: u64 = 0x100 + 48;
const DECODE_ERROR: u64 = 0x100 + 50;
const DECRYPT_ERROR: u64 = 0x100 + 51;
const PROTOCOL_VERSION: u64 = 0x100 + 70;
const MISSING_EXTENSION: u64 = 0x100 + 109;
const CERTIFICATE_REQUIRED: u64 = 0x100 + 116;
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];
const END_OF_EARLY_DATA: &[u8] = &[5, 0, 0, 0];
const CERTIFICATE_REQUEST: &[u8] = &[13, 0, 0, 3, 0, 0, 0];

fn simple() -> Pair {
    Pair::simple(AeadLimits::default())
}

fn connected() -> Pair {
    Pair::connected(AeadLimits::default())
}

/// The client's first flight.
fn hello(pair: &mut Pair) -> Vec<u8> {
    pair.client.take().remove(0).1
}

/// The server's flight at a level, after the client's first.
fn server_flight(pair: &mut Pair, level: Level) -> Vec<u8> {
    let hello = hello(pair);
    pair.server
        .feed(Level::Initial, &hello, usize::MAX)
        .unwrap();
    let mut flights = pair.server.take().into_iter();
    flights.find(|(of, _)| *of == level).unwrap().1
}

fn feed_server(hello: &[u8]) -> TransportError {
    simple()
        .server
        .feed(Level::Initial, hello, usize::MAX)
        .unwrap_err()
}

fn failed(client: rustls::ClientConfig, server: rustls::ServerConfig) -> (Side, u64) {
    let (side, error) = Pair::new(client, server, Version::V1).run().unwrap_err();
    assert_eq!(error.frame, 0x06, "it came in CRYPTO");
    (side, error.code)
}

#[test]
fn no_protocol_in_common() {
    // Q44, Q48
    let authority = Authority::new();
    let mut client = client_config(&authority, provider(&[]));
    client.alpn_protocols = vec![b"something-else".to_vec()];
    let server = server_config(&authority, provider(&[]));
    let expected = (Side::Server, NO_APPLICATION_PROTOCOL);
    assert_eq!(failed(client, server), expected);
    assert_eq!(NO_APPLICATION_PROTOCOL, 0x178);
}

#[test]
fn a_client_that_offers_no_protocol() {
    // Q44
    let mut pair = simple();
    let hello = edit_extensions(&hello(&mut pair), |kind, _| kind != 16);
    let error = pair
        .server
        .feed(Level::Initial, &hello, usize::MAX)
        .unwrap_err();
    assert_eq!(error.code, NO_APPLICATION_PROTOCOL);
}

#[test]
fn a_server_that_chooses_no_protocol() {
    // Q44
    let mut pair = simple();
    let flight = server_flight(&mut pair, Level::Handshake);
    let initial = pair.server.sent[0].1.clone();
    pair.client
        .feed(Level::Initial, &initial, usize::MAX)
        .unwrap();
    let flight = edit_extensions(&flight, |kind, _| kind != 16);
    let error = pair
        .client
        .feed(Level::Handshake, &flight, usize::MAX)
        .unwrap_err();
    assert_eq!(error.code, NO_APPLICATION_PROTOCOL);
}

#[test]
fn transport_parameters_are_missing() {
    // Q45
    let without = |bytes: &[u8]| edit_extensions(bytes, |kind, _| kind != 0x39);
    let mut pair = simple();
    let hello = hello(&mut pair);
    let error = feed_server(&without(&hello));
    assert_eq!(error.code, MISSING_EXTENSION);
    assert_eq!(MISSING_EXTENSION, 0x16d);

    let mut pair = simple();
    let flight = server_flight(&mut pair, Level::Handshake);
    let initial = pair.server.sent[0].1.clone();
    pair.client
        .feed(Level::Initial, &initial, usize::MAX)
        .unwrap();
    let error = pair
        .client
        .feed(Level::Handshake, &without(&flight), usize::MAX)
        .unwrap_err();
    assert_eq!(error.code, MISSING_EXTENSION);
}

#[test]
fn key_update_messages() {
    // Q46
    let mut pair = connected();
    for end in [&mut pair.client, &mut pair.server] {
        let error = end.tls.on_crypto(Level::OneRtt, KEY_UPDATE).unwrap_err();
        assert_eq!(error.code, UNEXPECTED_MESSAGE);
        assert_eq!(UNEXPECTED_MESSAGE, 0x10a);
    }
}

#[test]
fn end_of_early_data_messages() {
    // Q46
    let mut pair = simple();
    server_flight(&mut pair, Level::Handshake);
    let server = &mut pair.server.tls;
    let error = server
        .on_crypto(Level::Handshake, END_OF_EARLY_DATA)
        .unwrap_err();
    assert_eq!(error.code, UNEXPECTED_MESSAGE);
    let mut pair = connected();
    let server = &mut pair.server.tls;
    let error = server
        .on_crypto(Level::OneRtt, END_OF_EARLY_DATA)
        .unwrap_err();
    assert_eq!(error.code, UNEXPECTED_MESSAGE);
}

#[test]
fn crypto_in_zero_rtt() {
    // Q47
    let mut pair = simple();
    for end in [&mut pair.client, &mut pair.server] {
        let error = end.tls.on_crypto(Level::ZeroRtt, b"\x01").unwrap_err();
        assert_eq!(error.code, code::PROTOCOL_VIOLATION);
    }
}

#[test]
fn every_message_at_every_other_level() {
    // RFC 9001 4.1.3: what may come at a level, and nothing else.
    let permitted = |side, level, kind| match (side, level) {
        (Side::Client, Level::Initial) => kind == 2,
        (Side::Client, Level::Handshake) => [8, 11, 13, 15, 20, 25].contains(&kind),
        (Side::Client, _) => kind == 4,
        (Side::Server, Level::Initial) => kind == 1,
        (Side::Server, Level::Handshake) => [11, 15, 20, 25].contains(&kind),
        (Side::Server, _) => false,
    };
    for level in [Level::Initial, Level::Handshake, Level::OneRtt] {
        for kind in 0..=255u8 {
            for side in [Side::Client, Side::Server] {
                // Only the type: nothing is looked at that comes behind it.
                let mut pair = at_level(level);
                let end = match side {
                    Side::Client => &mut pair.client,
                    Side::Server => &mut pair.server,
                };
                let result = end.tls.on_crypto(level, &[kind]);
                let expected = match kind {
                    _ if permitted(side, level, kind) => None,
                    13 if side.is_client() && level == Level::OneRtt => {
                        Some(code::PROTOCOL_VIOLATION)
                    }
                    _ => Some(UNEXPECTED_MESSAGE),
                };
                let found = result.err().map(|error| error.code);
                assert_eq!(found, expected, "{side:?} {level:?} {kind}");
            }
        }
    }
}

/// Both ends read at `level`.
fn at_level(level: Level) -> Pair {
    thread_local! {
        static CONFIGS: (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>) = {
            let authority = Authority::new();
            let mut server = server_config(&authority, provider(&[]));
            let mut client = client_config(&authority, provider(&[]));
            // The cheapest handshake there is.
            client.resumption = rustls::client::Resumption::disabled();
            server.send_tls13_tickets = 0;
            (client.into(), server.into())
        };
    }
    let (client, server) = CONFIGS.with(|configs| configs.clone());
    let mut pair = Pair::new(client, server, Version::V1);
    match level {
        Level::Initial => {}
        Level::Handshake => {
            server_flight(&mut pair, Level::Handshake);
            let initial = pair.server.sent[0].1.clone();
            pair.client
                .feed(Level::Initial, &initial, usize::MAX)
                .unwrap();
        }
        _ => pair.run().unwrap(),
    }
    pair
}

#[test]
fn more_bytes_at_a_level_that_is_over() {
    // RFC 9001 4.1.3
    let mut pair = connected();
    for end in [&mut pair.client, &mut pair.server] {
        for level in [Level::Initial, Level::Handshake] {
            let error = end.tls.on_crypto(level, b"\x02").unwrap_err();
            assert_eq!(error.code, code::PROTOCOL_VIOLATION);
        }
    }
    // Behind the last message of the level, in one piece with it.
    let mut pair = simple();
    server_flight(&mut pair, Level::Handshake);
    let mut initial = pair.server.sent[0].1.clone();
    initial.push(8);
    let error = pair
        .client
        .feed(Level::Initial, &initial, usize::MAX)
        .unwrap_err();
    assert_eq!(error.code, code::PROTOCOL_VIOLATION);
}

#[test]
fn bytes_at_a_level_that_has_not_begun() {
    // RFC 9001 4.1.3
    let mut pair = simple();
    for level in [Level::Handshake, Level::OneRtt] {
        let error = pair.server.tls.on_crypto(level, b"\x14").unwrap_err();
        assert_eq!(error.code, code::PROTOCOL_VIOLATION);
    }
}

#[test]
fn a_certificate_request_after_the_handshake() {
    // RFC 9001 4.4
    let mut pair = connected();
    let error = pair
        .client
        .tls
        .on_crypto(Level::OneRtt, CERTIFICATE_REQUEST)
        .unwrap_err();
    assert_eq!(error.code, code::PROTOCOL_VIOLATION);
}

#[test]
fn messages_that_are_too_long() {
    // Q42, Q171: refused by their header, before anything is kept.
    for (len, fits) in [(16_384u32, true), (16_385, false), (0xff_ffff, false)] {
        let [_, high, middle, low] = len.to_be_bytes();
        let result = simple()
            .server
            .tls
            .on_crypto(Level::Initial, &[1, high, middle, low]);
        let expected = if fits {
            Ok(())
        } else {
            Err(code::CRYPTO_BUFFER_EXCEEDED)
        };
        assert_eq!(result.map_err(|error| error.code), expected);
    }
    let mut pair = at_level(Level::Handshake);
    let error = pair
        .client
        .tls
        .on_crypto(Level::Handshake, &[11, 1, 0, 0])
        .unwrap_err();
    assert_eq!(error.code, code::CRYPTO_BUFFER_EXCEEDED);
}

#[test]
fn the_compatibility_mode_for_middleboxes() {
    // Q41
    let hello = hello(&mut simple());
    assert_eq!(hello[38], 0, "our own ClientHello has no legacy_session_id");
    let mut with_id = hello.clone();
    with_id.splice(38..39, [&[32][..], &[7; 32]].concat());
    let len = (with_id.len() - 4) as u32;
    with_id[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
    assert_eq!(feed_server(&with_id).code, code::PROTOCOL_VIOLATION);
    for step in [1, 38, 39] {
        let mut pair = simple();
        let result = pair.server.feed(Level::Initial, &with_id, step);
        assert_eq!(result.unwrap_err().code, code::PROTOCOL_VIOLATION);
    }
    // And the server's hello has none to echo; there is no ChangeCipherSpec among the messages.
    let mut pair = simple();
    pair.run().unwrap();
    assert_eq!(pair.server.sent[0].1[38], 0);
}

#[test]
fn an_older_tls() {
    // Q41
    let hello = hello(&mut simple());
    let without = edit_extensions(&hello, |kind, _| kind != 43);
    assert_eq!(feed_server(&without).code, PROTOCOL_VERSION);
}

#[test]
fn what_cannot_be_read() {
    // Q48
    let hello = hello(&mut simple());
    let mut cut = hello.clone();
    cut.truncate(60);
    cut[1..4].copy_from_slice(&[0, 0, 56]);
    assert_eq!(feed_server(&cut).code, DECODE_ERROR);
    let doubled = edit_extensions(&hello, |kind, content| {
        if kind == 16 {
            *content = b"\0\x03\x02h".to_vec();
        }
        true
    });
    assert_eq!(feed_server(&doubled).code, DECODE_ERROR);
}

#[test]
fn a_finished_that_does_not_fit() {
    // Q48
    let mut pair = simple();
    server_flight(&mut pair, Level::Handshake);
    let initial = pair.server.sent[0].1.clone();
    let mut handshake = pair.server.sent[1].1.clone();
    *handshake.last_mut().unwrap() ^= 1;
    let client = &mut pair.client;
    client.feed(Level::Initial, &initial, usize::MAX).unwrap();
    let error = client
        .feed(Level::Handshake, &handshake, usize::MAX)
        .unwrap_err();
    assert_eq!(error.code, DECRYPT_ERROR);
}

#[test]
fn a_server_that_nobody_vouches_for() {
    // Q49, Q48
    let authority = Authority::new();
    let client = client_config(&Authority::new(), provider(&[]));
    let server = server_config(&authority, provider(&[]));
    assert_eq!(failed(client, server), (Side::Client, UNKNOWN_CA));
}

#[test]
fn a_server_of_another_name() {
    // Q49, Q48
    let authority = Authority::new();
    let mut server = server_config(&authority, provider(&[]));
    let (chain, key) = authority.issue("another.test");
    let single = rustls::ServerConfig::builder_with_provider(Arc::new(provider(&[])))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    server.cert_resolver = single.cert_resolver;
    let client = client_config(&authority, provider(&[]));
    assert_eq!(failed(client, server), (Side::Client, BAD_CERTIFICATE));
}

#[test]
fn a_certificate_that_has_expired() {
    // Q49, Q48
    #[derive(Debug)]
    struct LongAfter;
    impl rustls::time_provider::TimeProvider for LongAfter {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            let after = std::time::Duration::from_secs(200_000_000_000);
            Some(rustls::pki_types::UnixTime::since_unix_epoch(after))
        }
    }
    let authority = Authority::new();
    let mut client = client_config(&authority, provider(&[]));
    client.time_provider = Arc::new(LongAfter);
    let server = server_config(&authority, provider(&[]));
    assert_eq!(failed(client, server), (Side::Client, CERTIFICATE_EXPIRED));
}

/// A server that asks for certificates of `authority`.
fn asking_server(authority: &Authority) -> rustls::ServerConfig {
    let provider = Arc::new(provider(&[]));
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        authority.roots.clone(),
        provider.clone(),
    )
    .build()
    .unwrap();
    let (chain, key) = authority.issue(NAME);
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn client_with(issuer: &Authority, roots: Arc<RootCertStore>) -> rustls::ClientConfig {
    let (chain, key) = issuer.issue("client.test");
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider(&[])))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

#[test]
fn client_certificates() {
    // Q49, Q48
    let authority = Authority::new();
    let client = client_with(&authority, authority.roots.clone());
    let mut pair = Pair::new(client, asking_server(&authority), Version::V1);
    pair.run().unwrap();
    assert_eq!(pair.server.tls.peer_certificates().unwrap().len(), 1);

    let without = client_config(&authority, provider(&[]));
    let expected = (Side::Server, CERTIFICATE_REQUIRED);
    assert_eq!(failed(without, asking_server(&authority)), expected);

    let strange = client_with(&Authority::new(), authority.roots.clone());
    let expected = (Side::Server, UNKNOWN_CA);
    assert_eq!(failed(strange, asking_server(&authority)), expected);
}

#[test]
fn a_server_that_accepts_early_data_that_nobody_offered() {
    // Q48
    let mut pair = simple();
    let flight = server_flight(&mut pair, Level::Handshake);
    let initial = pair.server.sent[0].1.clone();
    let client = &mut pair.client;
    client.feed(Level::Initial, &initial, usize::MAX).unwrap();
    // EncryptedExtensions come first: one more of them, early_data without content.
    let mut with = flight.clone();
    let len = usize::from(u16::from_be_bytes([flight[4], flight[5]]));
    with.splice(6 + len..6 + len, [0, 42, 0, 0]);
    with[4..6].copy_from_slice(&(len as u16 + 4).to_be_bytes());
    let body = u32::from_be_bytes([0, flight[1], flight[2], flight[3]]) + 4;
    with[1..4].copy_from_slice(&body.to_be_bytes()[1..]);
    let error = client
        .feed(Level::Handshake, &with, usize::MAX)
        .unwrap_err();
    assert!(
        [0x100 + 110, ILLEGAL_PARAMETER].contains(&error.code),
        "{error}"
    );
}

#[test]
fn configurations_that_do_not_fit_quic() {
    // Q44, Q51
    let authority = Authority::new();
    let mut client = client_config(&authority, provider(&[]));
    let params = CLIENT_PARAMS.to_vec();
    let with_name = |name: &str| {
        let config = Arc::new(client_config(&authority, provider(&[])));
        Tls::client(config, Version::V1, name, params.clone()).err()
    };
    let bad = "no name".to_owned();
    assert_eq!(with_name(&bad), Some(TlsError::ServerName(bad.clone())));
    assert_eq!(with_name("2001:db8::1"), None);
    assert!(ServerName::try_from("2001:db8::1").is_ok());
    client.alpn_protocols.clear();
    let made = Tls::client(Arc::new(client), Version::V1, NAME, params.clone());
    assert_eq!(made.err(), Some(TlsError::NoAlpn));

    let server = |change: fn(&mut rustls::ServerConfig), version| {
        let mut config = server_config(&authority, provider(&[]));
        change(&mut config);
        Tls::server(&config, version, SERVER_PARAMS.to_vec()).err()
    };
    let v1 = Version::V1;
    assert_eq!(server(|_| {}, v1), None);
    let no_alpn = server(|config| config.alpn_protocols.clear(), v1);
    assert_eq!(no_alpn, Some(TlsError::NoAlpn));
    let some = server(|config| config.max_early_data_size = 16_384, v1);
    assert_eq!(some, Some(TlsError::EarlyDataSize(16_384)));
    let unknown = Version(0x0a0a_0a0a);
    assert_eq!(server(|_| {}, unknown), Some(TlsError::Version(unknown)));
}
