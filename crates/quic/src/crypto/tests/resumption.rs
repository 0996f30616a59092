//! Session resumption and 0-RTT.

use std::sync::Arc;

use super::handshake::hello_extension;
use super::pair::{Authority, CLIENT_PARAMS, NAME, Pair, client_config, provider, server_config};
use crate::crypto::server_tls::ServerTls;
use crate::crypto::{Level, OpenError, Tls};
use crate::wire::transport_parameters::VersionInformation;
use crate::wire::{Side, TransportParameters, Version};

/// A server's transport parameters in a connection of `version`.
fn params(version: Version) -> Vec<u8> {
    let params = TransportParameters {
        initial_max_data: 77,
        version_information: Some(VersionInformation {
            chosen: version,
            available: Version::SUPPORTED.to_vec(),
        }),
        ..TransportParameters::default()
    };
    let mut out = Vec::new();
    params.encode(Side::Server, &mut out, None);
    out
}

/// A client and a server that meet again and again.
struct Friends {
    client: Arc<rustls::ClientConfig>,
    server: ServerTls,
    config: rustls::ServerConfig,
}

impl Friends {
    fn new(change: impl FnOnce(&mut rustls::ClientConfig, &mut rustls::ServerConfig)) -> Friends {
        let authority = Authority::new();
        let mut client = client_config(&authority, provider(&[]));
        let mut config = server_config(&authority, provider(&[]));
        change(&mut client, &mut config);
        Friends {
            client: Arc::new(client),
            server: ServerTls::new(&config, b"limits").unwrap(),
            config,
        }
    }

    fn client(&self, version: Version) -> Tls {
        Tls::client(self.client.clone(), version, NAME, CLIENT_PARAMS.to_vec()).unwrap()
    }

    fn pair(&self, version: Version) -> Pair {
        let server = self.server.accept(version, version, params(version));
        Pair::of(version, self.client(version), server.unwrap())
    }

    /// The client began with `original`, the server answers in `negotiated`.
    fn switched(&self, original: Version, negotiated: Version) -> Pair {
        let client =
            Tls::client_switchable(&self.client, original, NAME, CLIENT_PARAMS.to_vec()).unwrap();
        let server = self
            .server
            .accept(original, negotiated, params(negotiated))
            .unwrap();
        let mut pair = Pair::of(original, client, server);
        assert!(pair.client.tls.switch_version(negotiated));
        pair
    }

    fn meet(&self, version: Version) -> Pair {
        let mut pair = self.pair(version);
        pair.run().unwrap();
        pair
    }
}

fn resumed(pair: &Pair) -> bool {
    let resumed = pair.client.tls.is_resumed();
    assert_eq!(resumed, pair.server.tls.is_resumed());
    resumed.unwrap()
}

/// Long header of a 0-RTT packet.
const ZERO_RTT_HEADER: &[u8] = b"\xd0\0\0\0\x01\x01a\x01b\x40\x20\x05";

/// Sends one 0-RTT packet from the client to the server.
fn zero_rtt_packet(pair: &mut Pair) -> Result<(), OpenError> {
    let mut packet = [ZERO_RTT_HEADER, b"early data", &[0; 16]].concat();
    let at = ZERO_RTT_HEADER.len() - 1;
    pair.client
        .protection
        .seal(Level::ZeroRtt, &mut packet, at, 1, 5)
        .unwrap();
    let opened = pair
        .server
        .protection
        .open(Level::ZeroRtt, &mut packet, at, 0)?;
    assert_eq!(&packet[opened.payload], b"early data");
    Ok(())
}

/// The first flight, with 0-RTT keys put in place on both sides.
fn first_flight(pair: &mut Pair) {
    let keys = pair.client.tls.zero_rtt_keys().unwrap();
    pair.client.protection.install_zero_rtt(keys);
    let hello = pair.client.take();
    pair.server
        .feed(Level::Initial, &hello[0].1, usize::MAX)
        .unwrap();
    if let Some(keys) = pair.server.tls.zero_rtt_keys() {
        pair.server.protection.install_zero_rtt(keys);
    }
}

#[test]
fn a_second_connection_resumes_the_first() {
    // Q51
    let friends = Friends::new(|_, _| {});
    let first = friends.meet(Version::V1);
    assert!(!resumed(&first));
    assert!(first.client.tls.tickets_received() > 0);
    // Tickets come at 1-RTT, after the handshake.
    assert_eq!(first.server.sent.last().unwrap().0, Level::OneRtt);
    let second = friends.meet(Version::V1);
    assert!(resumed(&second));
    // The certificate is remembered, it does not travel again.
    let len = |pair: &Pair| pair.server.sent.iter().map(|(_, bytes)| bytes.len()).sum();
    let (full, short): (usize, usize) = (len(&first), len(&second));
    assert!(short + 200 < full, "{short}, {full}");
    assert!(second.client.tls.peer_certificates().is_some());
}

#[test]
fn early_data_is_sealed_and_opened_and_accepted() {
    // Q51, Q33
    let friends = Friends::new(|_, _| {});
    let first = friends.pair(Version::V1);
    assert!(first.client.tls.zero_rtt_keys().is_none());
    assert_eq!(first.client.tls.remembered_params(), None);
    friends.meet(Version::V1);

    let mut pair = friends.pair(Version::V1);
    let remembered = pair.client.tls.remembered_params().unwrap();
    assert_eq!(remembered, params(Version::V1));
    assert_eq!(pair.client.tls.peer_params(), None);
    assert_eq!(pair.client.tls.early_data_accepted(), None);
    first_flight(&mut pair);
    assert_eq!(pair.server.tls.early_data_accepted(), Some(true));
    zero_rtt_packet(&mut pair).unwrap();
    pair.run().unwrap();
    assert_eq!(pair.client.tls.early_data_accepted(), Some(true));
    assert_eq!(pair.client.tls.remembered_params(), None);
    assert!(pair.client.tls.peer_params().is_some());
    // The client's keys went with the arrival of 1-RTT keys, the server keeps its own for a while.
    assert!(!pair.client.protection.has_send(Level::ZeroRtt));
    assert!(pair.server.protection.has_receive(Level::ZeroRtt));
    pair.server.protection.discard(Level::ZeroRtt);
    assert!(!pair.server.protection.has_receive(Level::ZeroRtt));
}

#[test]
fn nobody_uses_zero_rtt_keys_the_other_way() {
    // RFC 9001 5.6
    let friends = Friends::new(|_, _| {});
    friends.meet(Version::V1);
    let mut pair = friends.pair(Version::V1);
    first_flight(&mut pair);
    assert!(!pair.server.protection.has_send(Level::ZeroRtt));
    assert!(!pair.client.protection.has_receive(Level::ZeroRtt));
    let mut packet = [ZERO_RTT_HEADER, &[0; 40]].concat();
    let at = ZERO_RTT_HEADER.len() - 1;
    let server = &mut pair.server.protection;
    assert!(server.seal(Level::ZeroRtt, &mut packet, at, 1, 5).is_err());
    let client = &mut pair.client.protection;
    let opened = client.open(Level::ZeroRtt, &mut packet, at, 0);
    assert_eq!(opened, Err(OpenError::NoKeys));
}

#[test]
fn a_server_refuses_early_data() {
    // Q53
    let friends = Friends::new(|_, _| {});
    friends.meet(Version::V1);
    let mut pair = friends.pair(Version::V1);
    pair.server.tls.reject_early_data();
    first_flight(&mut pair);
    assert_eq!(pair.server.tls.early_data_accepted(), Some(false));
    assert_eq!(zero_rtt_packet(&mut pair), Err(OpenError::NoKeys));
    pair.run().unwrap();
    assert_eq!(pair.client.tls.early_data_accepted(), Some(false));
    assert!(resumed(&pair));
}

#[test]
fn without_early_data_in_the_ticket_none_is_sent() {
    // Q51
    let friends = Friends::new(|_, server| server.max_early_data_size = 0);
    friends.meet(Version::V1);
    let mut pair = friends.pair(Version::V1);
    assert!(pair.client.tls.zero_rtt_keys().is_none());
    pair.run().unwrap();
    assert!(resumed(&pair));
    assert_eq!(pair.client.tls.early_data_accepted(), Some(false));
}

#[test]
fn a_ticket_is_good_for_early_data_once() {
    // Q56
    let friends = Friends::new(|_, _| {});
    friends.meet(Version::V1);
    let mut pair = friends.pair(Version::V1);
    let hello = pair.client.take()[0].1.clone();
    pair.server
        .feed(Level::Initial, &hello, usize::MAX)
        .unwrap();
    assert_eq!(pair.server.tls.early_data_accepted(), Some(true));
    // The same ClientHello once more, as an attacker would replay it.
    let mut replay = friends.pair(Version::V1);
    replay
        .server
        .feed(Level::Initial, &hello, usize::MAX)
        .unwrap();
    assert_eq!(replay.server.tls.early_data_accepted(), Some(false));
    assert!(replay.server.tls.zero_rtt_keys().is_none());
}

#[test]
fn tickets_of_one_version_are_not_used_in_the_other() {
    // Q25
    for (first, second) in [(Version::V1, Version::V2), (Version::V2, Version::V1)] {
        let friends = Friends::new(|_, _| {});
        friends.meet(first);
        let pair = friends.pair(second);
        assert_eq!(pair.client.tls.remembered_params(), None);
        let mut pair = pair;
        pair.run().unwrap();
        assert!(!resumed(&pair));
        // The ticket of that connection is one of the second version.
        assert!(resumed(&friends.meet(second)));
    }
}

#[test]
fn a_server_takes_no_ticket_of_the_other_version() {
    // Q25: of a client that does not look, with tickets that the server keeps and that it seals.
    for stateless in [false, true] {
        let friends = Friends::new(|_, server| {
            if stateless {
                server.max_early_data_size = 0;
                server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
            }
        });
        friends.meet(Version::V1);
        // The ClientHello is the same in both versions.
        let client = friends.client(Version::V1);
        let server = friends
            .server
            .accept(Version::V2, Version::V2, params(Version::V2));
        let mut pair = Pair::of(Version::V1, client, server.unwrap());
        let hello = pair.client.take()[0].1.clone();
        assert!(hello_extension(&hello, 41).is_some(), "pre_shared_key");
        pair.server
            .feed(Level::Initial, &hello, usize::MAX)
            .unwrap();
        assert_eq!(pair.server.tls.is_resumed(), Some(false));
        assert!(pair.server.tls.zero_rtt_keys().is_none());
    }
}

#[test]
fn a_server_with_other_limits_takes_no_ticket() {
    // Q52
    let mut friends = Friends::new(|_, _| {});
    friends.meet(Version::V1);
    friends.server = ServerTls::new(&friends.config, b"lower limits").unwrap();
    let mut pair = friends.pair(Version::V1);
    first_flight(&mut pair);
    assert_eq!(pair.server.tls.early_data_accepted(), Some(false));
    pair.run().unwrap();
    assert!(!resumed(&pair));
    assert_eq!(pair.client.tls.early_data_accepted(), Some(false));
}

#[test]
fn a_compatible_version_is_switched_to() {
    // Q23, Q21
    for (original, negotiated) in [(Version::V1, Version::V2), (Version::V2, Version::V1)] {
        let friends = Friends::new(|_, _| {});
        let mut pair = friends.switched(original, negotiated);
        pair.run().unwrap();
        super::handshake::exchange(&mut pair);
        // A key update in the version that was agreed on.
        for end in [&mut pair.client, &mut pair.server] {
            end.protection.on_handshake_confirmed();
        }
        super::phases::update(&mut pair, weir_core::time::Instant::from_millis(5), 7);
        super::phases::update(&mut pair, weir_core::time::Instant::from_millis(9), 70);
    }
}

#[test]
fn without_the_switch_the_versions_keys_differ() {
    // Q21, Q23: what the test before shows is no accident.
    let friends = Friends::new(|_, _| {});
    let server = friends
        .server
        .accept(Version::V1, Version::V2, params(Version::V2));
    let client = friends.client(Version::V1);
    let mut pair = Pair::of(Version::V1, client, server.unwrap());
    pair.run().unwrap();
    let mut packet = b"\x41c\0\x05 and a payload".to_vec();
    packet.resize(packet.len() + 16, 0);
    let client = &mut pair.client.protection;
    client.seal(Level::OneRtt, &mut packet, 2, 2, 5).unwrap();
    let opened = pair
        .server
        .protection
        .open(Level::OneRtt, &mut packet, 2, 5);
    assert!(matches!(opened, Err(OpenError::Authentication { .. })));
}

#[test]
fn only_a_client_that_was_made_for_it_switches() {
    // Q23
    let friends = Friends::new(|_, _| {});
    assert!(!friends.client(Version::V1).switch_version(Version::V2));
    let mut pair = friends.switched(Version::V1, Version::V2);
    assert!(!pair.client.tls.switch_version(Version(0x1a2a_3a4a)));
    pair.run().unwrap();
    assert!(!pair.client.tls.switch_version(Version::V1));
}

#[test]
fn early_data_stays_in_the_original_version() {
    // Q23, RFC 9369 4.1
    let friends = Friends::new(|_, _| {});
    friends.meet(Version::V1);
    let mut pair = friends.switched(Version::V1, Version::V2);
    first_flight(&mut pair);
    assert_eq!(pair.server.tls.early_data_accepted(), Some(true));
    zero_rtt_packet(&mut pair).unwrap();
    pair.run().unwrap();
    super::handshake::exchange(&mut pair);
    // The ticket of that connection is one of version 2 (RFC 9369 section 5).
    assert!(resumed(&friends.meet(Version::V2)));
}

#[test]
fn a_switched_initial_is_received_in_both_versions() {
    // Q23, RFC 9369 4.1
    let [mut client, mut server] = [Side::Client, Side::Server].map(|side| {
        let dcid = crate::wire::ConnectionId::new(b"12345678").unwrap();
        crate::crypto::Protection::new(side, Version::V1, &dcid, Default::default()).unwrap()
    });
    let dcid = crate::wire::ConnectionId::new(b"12345678").unwrap();
    let packet = |version: Version| {
        let mut packet = vec![if version == Version::V1 { 0xc0 } else { 0xd0 }];
        packet.extend_from_slice(&version.0.to_be_bytes());
        packet.extend_from_slice(b"\x01a\x01b\0\x40\x20\x05");
        packet.extend_from_slice(&[0; 40]);
        packet
    };
    let at = 12;
    let mut old = packet(Version::V1);
    client.seal(Level::Initial, &mut old, at, 1, 5).unwrap();
    assert!(server.switch_version(Version::V2, &dcid));
    assert!(client.switch_version(Version::V2, &dcid));
    let mut new = packet(Version::V2);
    client.seal(Level::Initial, &mut new, at, 1, 5).unwrap();
    server.open(Level::Initial, &mut old, at, 0).unwrap();
    server.open(Level::Initial, &mut new, at, 0).unwrap();
    let mut other = packet(Version(7));
    let opened = server.open(Level::Initial, &mut other, at, 0);
    assert_eq!(opened, Err(OpenError::NoKeys));
    server.discard(Level::Initial);
    let opened = server.open(Level::Initial, &mut packet(Version::V1), at, 0);
    assert_eq!(opened, Err(OpenError::NoKeys));
}

#[test]
fn a_retry_makes_new_initial_keys() {
    // Q26
    let [first, second] =
        [b"12345678", b"abcdefgh"].map(|bytes| crate::wire::ConnectionId::new(bytes).unwrap());
    let of = |side, dcid| {
        crate::crypto::Protection::new(side, Version::V1, dcid, Default::default()).unwrap()
    };
    let mut client = of(Side::Client, &first);
    let mut server = of(Side::Server, &second);
    let packet = [
        b"\xc0\0\0\0\x01\x01a\x01b\0\x40\x20\x05".as_slice(),
        &[0; 40],
    ]
    .concat();
    let mut before = packet.clone();
    client.seal(Level::Initial, &mut before, 12, 1, 5).unwrap();
    let opened = server.open(Level::Initial, &mut before, 12, 0);
    assert!(matches!(opened, Err(OpenError::Authentication { .. })));
    assert!(client.reset_initial(Version::V1, &second));
    let mut after = packet;
    client.seal(Level::Initial, &mut after, 12, 1, 5).unwrap();
    server.open(Level::Initial, &mut after, 12, 0).unwrap();
}

#[test]
fn a_ticket_that_promises_a_part_of_early_data_is_refused() {
    // Q51: any max_early_data_size but 0xffffffff
    use crate::error::code;
    for (size, fits) in [(0u32, true), (u32::MAX, true), (16_384, false)] {
        let friends = Friends::new(|_, _| {});
        let mut pair = friends.meet(Version::V1);
        let mut ticket = b"\0\0\x0e\x10\0\0\0\0\x01n\0\x06ticket\0\x08\0\x2a\0\x04".to_vec();
        ticket.extend_from_slice(&size.to_be_bytes());
        let mut message = vec![4, 0, 0, ticket.len() as u8];
        message.extend_from_slice(&ticket);
        let result = pair.client.tls.on_crypto(Level::OneRtt, &message);
        match result {
            Ok(()) => assert!(fits),
            Err(error) => {
                assert!(!fits);
                assert_eq!(error.code, code::PROTOCOL_VIOLATION);
            }
        }
    }
}

/// A store that keeps all tickets.
#[derive(Debug, Default)]
struct Hoard(std::sync::Mutex<Vec<rustls::client::Tls13ClientSessionValue>>);

impl rustls::client::ClientSessionStore for Hoard {
    fn set_kx_hint(&self, _: rustls::pki_types::ServerName<'static>, _: rustls::NamedGroup) {}

    fn kx_hint(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }

    fn set_tls12_session(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        _: rustls::client::Tls12ClientSessionValue,
    ) {
    }

    fn tls12_session(
        &self,
        _: &rustls::pki_types::ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &rustls::pki_types::ServerName<'static>) {}

    fn insert_tls13_ticket(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.lock().unwrap().push(value);
    }

    fn take_tls13_ticket(
        &self,
        _: &rustls::pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.lock().unwrap().pop()
    }
}

#[test]
fn a_client_with_only_foreign_tickets_does_without() {
    // Q25
    let store = Arc::new(Hoard::default());
    let friends = Friends::new(|client, server| {
        client.resumption = rustls::client::Resumption::store(store.clone());
        server.send_tls13_tickets = 12;
    });
    friends.meet(Version::V1);
    let mut pair = friends.pair(Version::V2);
    assert_eq!(pair.client.tls.remembered_params(), None);
    // Nine were looked at; then it was begun without.
    assert_eq!(store.0.lock().unwrap().len(), 3);
    pair.run().unwrap();
    assert!(!resumed(&pair));
    assert!(resumed(&friends.meet(Version::V1)));
}
