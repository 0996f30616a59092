//! Versions, and sessions that are resumed.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::time::Duration;

use super::pair::{ALPN, End, Pair, client_config, client_tls, server_config};
use crate::config::{ClientConfig, TransportConfig};
use crate::connection::Event;
use crate::wire::Version;

#[test]
fn a_client_follows_its_server_to_a_version_it_offered() {
    // Q23, RFC 9368 2.3, RFC 9369 4.1
    let client = client_config(TransportConfig::default());
    let mut server = server_config(TransportConfig::default());
    server.versions = vec![Version::V2, Version::V1];
    let mut pair = Pair::with(7, client, server);
    pair.establish();
    assert_eq!(pair.client.version(), Version::V2);
    assert_eq!(pair.server().version(), Version::V2);
    let key = pair.open(End::Client);
    pair.send_all(End::Client, key, b"over version 2");
    let inbound = pair.accept_stream(End::Server);
    assert_eq!(pair.read_all(End::Server, inbound), b"over version 2");
}

#[test]
fn a_client_that_offers_one_version_is_left_in_it() {
    // Q23
    let mut client = client_config(TransportConfig::default());
    client.versions = vec![Version::V1];
    let mut server = server_config(TransportConfig::default());
    server.versions = vec![Version::V2, Version::V1];
    let mut pair = Pair::with(8, client, server);
    pair.establish();
    assert_eq!(pair.client.version(), Version::V1);
}

#[test]
fn a_server_that_follows_takes_the_version_its_client_prefers() {
    // Q23, RFC 9368 2.3: the choice is the server's, and this one leaves it to the client's order.
    for (offered, expected) in [
        ([Version::V1, Version::V2], Version::V1),
        ([Version::V2, Version::V1], Version::V2),
    ] {
        let mut client = client_config(TransportConfig::default());
        client.versions = offered.to_vec();
        client.first_version = Some(Version::V1);
        let mut server = server_config(TransportConfig::default());
        server.follows_client_versions = true;
        let mut pair = Pair::with(12, client, server);
        assert_eq!(pair.client.version(), Version::V1, "what it begins with");
        pair.establish();
        assert_eq!(pair.client.version(), expected);
        assert_eq!(pair.server().version(), expected);
    }
}

#[test]
fn version_2_from_the_first_packet() {
    // Q21
    let mut client = client_config(TransportConfig::default());
    client.versions = vec![Version::V2];
    let mut pair = Pair::with(9, client, server_config(TransportConfig::default()));
    pair.establish();
    assert_eq!(pair.server().version(), Version::V2);
}

/// Two connections in a row of the same client to the same server; the second with early data.
pub(super) fn resumed(seed: u64) -> Pair {
    let tls = Arc::new(client_tls());
    let server = server_config(TransportConfig::default());
    let config = ClientConfig::new(Arc::clone(&tls));
    let mut first = Pair::with(seed, config.clone(), server.clone());
    first.establish();
    first.run_for(Duration::from_millis(200));
    let remembered = first.client_events.iter().find_map(|event| match event {
        Event::Remember(remembered) => Some(**remembered),
        _ => None,
    });
    let config = ClientConfig {
        remembered,
        ..config
    };
    assert_eq!(tls.alpn_protocols, [ALPN]);
    Pair::with(seed + 1, config, server)
}

#[test]
fn early_data_arrives_in_the_first_flight() {
    // Q51, Q52
    let mut pair = resumed(20);
    assert!(pair.client.is_early());
    let key = pair.open(End::Client);
    let now = pair.now;
    pair.client
        .write(now, key, &mut Bytes::from_static(b"early"))
        .unwrap();
    pair.client.finish(now, key);
    let begin = pair.now;
    let inbound = pair.accept_stream(End::Server);
    assert_eq!(pair.read_all(End::Server, inbound), b"early");
    assert_eq!(pair.now, begin + pair.latency);
    pair.establish();
    assert_eq!(pair.client.zero_rtt_accepted(), Some(true));
    assert!(pair.client.handshake_info().unwrap().resumed);
}

#[test]
fn a_session_of_one_version_is_not_resumed_in_the_other() {
    // Q25
    let mut pair = resumed(30);
    assert!(pair.client.is_early());
    let tls = Arc::new(client_tls());
    let mut config = ClientConfig::new(tls);
    let server = server_config(TransportConfig::default());
    pair = Pair::with(31, config.clone(), server.clone());
    pair.establish();
    pair.run_for(Duration::from_millis(200));
    config.versions = vec![Version::V2];
    let mut pair = Pair::with(32, config, server);
    pair.establish();
    assert!(!pair.client.handshake_info().unwrap().resumed);
}
