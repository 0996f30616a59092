#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use super::*;
use crate::error::code;
use crate::wire::varint::{self, Reader};
use crate::wire::{Side, tests_support::hex};
use proptest::prelude::*;
use weir_core::rng::rng_from_seed;

fn parameter(id: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::encode(id, &mut out);
    varint::encode(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

fn integer(id: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::encode(value, &mut out);
    parameter(id, &out)
}

fn from_server(bytes: &[u8]) -> TransportParameters {
    TransportParameters::decode(Side::Server, bytes).unwrap()
}

/// Why it is refused, in words; panics unless the code is the right one.
fn refused(sender: Side, bytes: &[u8]) -> String {
    let error = TransportParameters::decode(sender, bytes).unwrap_err();
    assert_eq!(error.code, code::TRANSPORT_PARAMETER_ERROR);
    error.reason.into_owned()
}

fn cid(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

fn preferred(id: &[u8]) -> Vec<u8> {
    let mut value = hex("c0000201 1151 20010db8000000000000000000000001 01bb"
        .replace(' ', "")
        .as_str());
    value.push(id.len() as u8);
    value.extend_from_slice(id);
    value.extend_from_slice(&[0xee; 16]);
    value
}

// Q73
#[test]
fn absent_parameters_have_their_defaults() {
    let params = from_server(&[]);
    assert_eq!(params, TransportParameters::default());
    assert_eq!(params.max_udp_payload_size, 65_527);
    assert_eq!(
        (params.ack_delay_exponent, params.max_ack_delay.as_millis()),
        (3, 25)
    );
    assert_eq!(params.active_connection_id_limit, 2);
    assert_eq!(
        (params.max_idle_timeout, params.initial_max_data),
        (None, 0)
    );
    assert_eq!(
        (params.max_datagram_frame_size, params.min_ack_delay),
        (0, None)
    );
    assert!(!params.disable_active_migration && !params.grease_quic_bit);
    let mut out = Vec::new();
    params.encode(Side::Server, &mut out, None);
    assert_eq!(out, b"");
}

// Q69
#[test]
fn what_only_servers_send_is_refused_from_clients() {
    for (id, value) in [
        (id::ORIGINAL_DESTINATION_CONNECTION_ID, b"12345678".to_vec()),
        (id::STATELESS_RESET_TOKEN, vec![7; 16]),
        (id::PREFERRED_ADDRESS, preferred(b"id")),
        (id::RETRY_SOURCE_CONNECTION_ID, b"12345678".to_vec()),
    ] {
        let bytes = parameter(id, &value);
        assert_ne!(from_server(&bytes), TransportParameters::default());
        assert!(refused(Side::Client, &bytes).contains("only servers"));
    }
}

// Q69: what is set here for a server does not go out from a client.
#[test]
fn a_client_does_not_send_what_only_servers_do() {
    let params = TransportParameters {
        original_destination_connection_id: Some(cid(b"12345678")),
        stateless_reset_token: Some([1; 16]),
        retry_source_connection_id: Some(cid(b"87654321")),
        preferred_address: from_server(&parameter(id::PREFERRED_ADDRESS, &preferred(b"i")))
            .preferred_address,
        ..TransportParameters::default()
    };
    let mut out = Vec::new();
    params.encode(Side::Client, &mut out, None);
    assert_eq!(out, b"");
    params.encode(Side::Server, &mut out, None);
    assert_eq!(from_server(&out), params);
}

// Q70: the last value that is right, and the first that is not.
#[test]
fn values_out_of_range_are_refused() {
    for (id, right, wrong) in [
        (id::MAX_UDP_PAYLOAD_SIZE, 1200, 1199),
        (id::ACK_DELAY_EXPONENT, 20, 21),
        (id::MAX_ACK_DELAY, (1 << 14) - 1, 1 << 14),
        (id::ACTIVE_CONNECTION_ID_LIMIT, 2, 1),
        (id::INITIAL_MAX_STREAMS_BIDI, 1 << 60, (1 << 60) + 1),
        (id::INITIAL_MAX_STREAMS_UNI, 1 << 60, (1 << 60) + 1),
    ] {
        for side in [Side::Client, Side::Server] {
            assert!(TransportParameters::decode(side, &integer(id, right)).is_ok());
            refused(side, &integer(id, wrong));
            if wrong > right {
                refused(side, &integer(id, varint::MAX));
            } else {
                refused(side, &integer(id, 0));
            }
        }
    }
}

// Q71
#[test]
fn what_comes_twice_is_refused() {
    let twice = |one: Vec<u8>| [one.clone(), one].concat();
    assert!(refused(Side::Client, &twice(integer(id::INITIAL_MAX_DATA, 5))).contains("twice"));
    assert!(refused(Side::Server, &twice(parameter(id::GREASE_QUIC_BIT, b""))).contains("twice"));
    assert!(refused(Side::Server, &twice(parameter(0x7777, b"unknown"))).contains("twice"));
}

// Q72
#[test]
fn unknown_parameters_are_ignored() {
    let mut bytes = Vec::new();
    for n in 0..200 {
        bytes.extend(parameter(31 * n + 27, b"anything"));
    }
    bytes.extend(integer(id::INITIAL_MAX_DATA, 77));
    bytes.extend(parameter(varint::MAX, &[0; 300]));
    assert_eq!(from_server(&bytes).initial_max_data, 77);
}

// Q72: with grease, every encoding has one reserved parameter, and the order differs.
#[test]
fn a_reserved_parameter_goes_along() {
    let params = TransportParameters {
        initial_max_data: 1,
        initial_max_streams_bidi: 2,
        active_connection_id_limit: 8,
        ..TransportParameters::default()
    };
    let mut rng = rng_from_seed(1);
    let mut orders = std::collections::HashSet::new();
    for _ in 0..50 {
        let mut out = Vec::new();
        params.encode(Side::Client, &mut out, Some(&mut rng));
        assert_eq!(
            TransportParameters::decode(Side::Client, &out).unwrap(),
            params
        );
        let mut reader = Reader::new(&out);
        let mut ids = Vec::new();
        while !reader.is_empty() {
            ids.push(reader.varint().unwrap());
            reader.with_length().unwrap();
        }
        assert_eq!(ids.iter().filter(|id| id::is_reserved(**id)).count(), 1);
        ids.retain(|id| !id::is_reserved(*id));
        orders.insert(ids);
    }
    assert_eq!(orders.len(), 6, "three parameters have six orders");
}

// Q74
#[test]
fn a_preferred_address_needs_a_connection_id() {
    let bytes = parameter(id::PREFERRED_ADDRESS, &preferred(b""));
    assert!(refused(Side::Server, &bytes).contains("empty connection ID"));
    let mut bytes = parameter(id::PREFERRED_ADDRESS, &preferred(b"id"));
    assert!(TransportParameters::decode(Side::Server, &bytes).is_ok());
    bytes.extend(parameter(id::INITIAL_SOURCE_CONNECTION_ID, b""));
    assert!(refused(Side::Server, &bytes).contains("empty connection ID"));
    refused(
        Side::Server,
        &parameter(id::PREFERRED_ADDRESS, &preferred(&[1; 21])),
    );
}

#[test]
fn a_preferred_address_of_one_family_leaves_the_other_out() {
    let mut value = preferred(b"id");
    let read = from_server(&parameter(id::PREFERRED_ADDRESS, &value));
    let address = read.preferred_address.unwrap();
    assert_eq!(address.ipv4, Some("192.0.2.1:4433".parse().unwrap()));
    assert_eq!(address.ipv6, Some("[2001:db8::1]:443".parse().unwrap()));
    assert_eq!((address.id, address.reset_token), (cid(b"id"), [0xee; 16]));
    value[..6].fill(0);
    let read = from_server(&parameter(id::PREFERRED_ADDRESS, &value));
    assert_eq!(read.preferred_address.unwrap().ipv4, None);
    let mut out = Vec::new();
    read.encode(Side::Server, &mut out, None);
    assert_eq!(out, parameter(id::PREFERRED_ADDRESS, &value));
}

// Q22: malformed version information; the comparison with the header is the connection's.
#[test]
fn malformed_version_information_is_refused() {
    let list = |versions: &str| parameter(id::VERSION_INFORMATION, &hex(versions));
    let both = "00000001000000016b3343cf";
    let read = TransportParameters::decode(Side::Client, &list(both)).unwrap();
    let versions = read.version_information.unwrap();
    assert_eq!(versions.chosen, Version::V1);
    assert_eq!(versions.available, [Version::V1, Version::V2]);
    for side in [Side::Client, Side::Server] {
        refused(side, &list(""));
        refused(side, &list("000000"));
        refused(side, &list("000000010000000100"));
        refused(side, &list("0000000000000001"));
        refused(side, &list("000000010000000100000000"));
    }
    // A server may be about to give up what it chose, a client may not.
    assert!(refused(Side::Client, &list("000000016b3343cf")).contains("chosen"));
    assert!(TransportParameters::decode(Side::Server, &list("000000016b3343cf")).is_ok());
    assert!(TransportParameters::decode(Side::Server, &list("00000001")).is_ok());
}

#[test]
fn a_long_list_of_versions_is_kept_in_part_and_checked_whole() {
    let mut value = hex("00000001");
    value.extend_from_slice(&hex("1a2a3a4a").repeat(1000));
    refused(Side::Client, &parameter(id::VERSION_INFORMATION, &value));
    value.extend_from_slice(&hex("00000001"));
    let bytes = parameter(id::VERSION_INFORMATION, &value);
    let read = TransportParameters::decode(Side::Client, &bytes).unwrap();
    let kept = read.version_information.unwrap().available.len();
    assert_eq!(kept, crate::limits::MAX_AVAILABLE_VERSIONS);
}

// RFC 9287 3: a value in what has none.
#[test]
fn values_longer_or_shorter_than_they_are_refused() {
    refused(Side::Client, &parameter(id::GREASE_QUIC_BIT, &[0]));
    refused(Side::Client, &parameter(id::DISABLE_ACTIVE_MIGRATION, &[0]));
    refused(Side::Client, &parameter(id::INITIAL_MAX_DATA, &[1, 0]));
    refused(Side::Client, &parameter(id::INITIAL_MAX_DATA, &[]));
    refused(Side::Client, &parameter(id::INITIAL_MAX_DATA, &[0x40]));
    refused(
        Side::Server,
        &parameter(id::STATELESS_RESET_TOKEN, &[0; 15]),
    );
    refused(
        Side::Server,
        &parameter(id::STATELESS_RESET_TOKEN, &[0; 17]),
    );
    refused(
        Side::Server,
        &parameter(id::INITIAL_SOURCE_CONNECTION_ID, &[0; 21]),
    );
}

// Q144 (the parameter): draft-ietf-quic-ack-frequency section 3.
#[test]
fn min_ack_delay_is_at_most_max_ack_delay() {
    for (min, max, right) in [
        (25_000, None, true),
        (25_001, None, false),
        (1000, Some(1), true),
        (1001, Some(1), false),
    ] {
        let mut bytes = integer(id::MIN_ACK_DELAY, min);
        if let Some(max) = max {
            bytes.extend(integer(id::MAX_ACK_DELAY, max));
        }
        assert_eq!(
            TransportParameters::decode(Side::Client, &bytes).is_ok(),
            right
        );
    }
}

// Q52: the limits of RFC 9000 7.4.1, one by one.
#[test]
fn lowered_limits_end_accepted_early_data() {
    let old = TransportParameters {
        active_connection_id_limit: 10,
        initial_max_data: 10,
        initial_max_stream_data_bidi_local: 10,
        initial_max_stream_data_bidi_remote: 10,
        initial_max_stream_data_uni: 10,
        initial_max_streams_bidi: 10,
        initial_max_streams_uni: 10,
        max_datagram_frame_size: 10,
        ..TransportParameters::default()
    };
    let remembered = old.remember();
    assert!(remembered.check_accepted(&old).is_ok());
    type Field = fn(&mut TransportParameters) -> &mut u64;
    let fields: [Field; 8] = [
        |p| &mut p.active_connection_id_limit,
        |p| &mut p.initial_max_data,
        |p| &mut p.initial_max_stream_data_bidi_local,
        |p| &mut p.initial_max_stream_data_bidi_remote,
        |p| &mut p.initial_max_stream_data_uni,
        |p| &mut p.initial_max_streams_bidi,
        |p| &mut p.initial_max_streams_uni,
        |p| &mut p.max_datagram_frame_size,
    ];
    for field in fields {
        let mut new = old.clone();
        *field(&mut new) = 11;
        assert!(remembered.still_holds(&new));
        *field(&mut new) = 9;
        assert!(!remembered.still_holds(&new));
        let error = remembered.check_accepted(&new).unwrap_err();
        assert_eq!(error.code, code::PROTOCOL_VIOLATION);
    }
}

// Q52: what is not to be used from memory is not in it.
#[test]
fn what_is_remembered_leaves_the_rest_at_its_default() {
    let params = TransportParameters {
        ack_delay_exponent: 9,
        max_ack_delay: Duration::from_millis(99),
        initial_source_connection_id: Some(cid(b"abc")),
        stateless_reset_token: Some([1; 16]),
        min_ack_delay: Some(Duration::from_millis(1)),
        max_idle_timeout: Some(Duration::from_secs(30)),
        initial_max_data: 5,
        ..TransportParameters::default()
    };
    let again = params.remember().to_parameters();
    let expected = TransportParameters {
        max_idle_timeout: Some(Duration::from_secs(30)),
        initial_max_data: 5,
        ..TransportParameters::default()
    };
    assert_eq!(again, expected);
}

fn number() -> impl Strategy<Value = u64> {
    (0..=varint::MAX, 0..62u32).prop_map(|(value, shift)| value >> shift)
}

prop_compose! {
    fn any_parameters()(
        n in prop::collection::vec(number(), 12),
        ids in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..=20)), 3),
        bits in any::<[bool; 5]>(),
        token in prop::option::of(any::<[u8; 16]>()),
        versions in prop::collection::vec(1..=u32::MAX, 1..10),
        (exponent, ack_ms) in (0..=20u8, 0..(1u64 << 14)),
    ) -> TransportParameters {
        let id = |at: usize| ids[at].as_ref().map(|id| cid(id));
        let preferred_address = PreferredAddress {
            ipv4: bits[3].then(|| "192.0.2.7:1".parse().unwrap()),
            ipv6: bits[4].then(|| "[2001:db8::7]:2".parse().unwrap()),
            id: cid(b"preferred"),
            reset_token: [9; 16],
        };
        let own_id = id(1);
        TransportParameters {
            original_destination_connection_id: id(0),
            max_idle_timeout: (n[0] > 0).then(|| Duration::from_millis(n[0])),
            stateless_reset_token: token,
            max_udp_payload_size: n[1].max(1200),
            initial_max_data: n[2],
            initial_max_stream_data_bidi_local: n[3],
            initial_max_stream_data_bidi_remote: n[4],
            initial_max_stream_data_uni: n[5],
            initial_max_streams_bidi: n[6].min(1 << 60),
            initial_max_streams_uni: n[7].min(1 << 60),
            ack_delay_exponent: exponent,
            max_ack_delay: Duration::from_millis(ack_ms),
            disable_active_migration: bits[0],
            preferred_address: (bits[1] && own_id != Some(ConnectionId::EMPTY)).then_some(preferred_address),
            active_connection_id_limit: n[8].max(2),
            initial_source_connection_id: own_id,
            retry_source_connection_id: id(2),
            max_datagram_frame_size: n[9],
            version_information: bits[2].then(|| VersionInformation {
                chosen: Version(versions[0]),
                available: versions.iter().copied().map(Version).collect(),
            }),
            grease_quic_bit: bits[3],
            min_ack_delay: bits[4].then(|| Duration::from_micros(n[10] % (ack_ms * 1000 + 1))),
        }
    }
}

proptest! {
    #[test]
    fn parameters_come_back(params in any_parameters(), seed: u64) {
        for grease in [false, true] {
            let mut out = Vec::new();
            let mut rng = rng_from_seed(seed);
            params.encode(Side::Server, &mut out, grease.then_some(&mut rng));
            prop_assert_eq!(&from_server(&out), &params);
        }
    }

    // Q14, C1: no truncation panics, and one within a parameter is an error.
    #[test]
    fn truncated_parameters_are_refused(params in any_parameters()) {
        let mut out = Vec::new();
        params.encode(Side::Server, &mut out, None);
        let mut borders = vec![0];
        let mut reader = Reader::new(&out);
        while reader.varint().is_ok() {
            reader.with_length().unwrap();
            borders.push(out.len() - reader.remaining());
        }
        for cut in (0..out.len()).filter(|cut| !borders.contains(cut)) {
            refused(Side::Server, &out[..cut]);
        }
    }

    // C1
    #[test]
    fn any_bytes_are_parameters_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for side in [Side::Client, Side::Server] {
            if let Ok(params) = TransportParameters::decode(side, &bytes) {
                let mut out = Vec::new();
                params.encode(side, &mut out, None);
                prop_assert_eq!(TransportParameters::decode(side, &out), Ok(params));
            }
        }
    }

    // Q52
    #[test]
    fn what_is_remembered_comes_back(params in any_parameters()) {
        let remembered = params.remember();
        let mut out = Vec::new();
        remembered.encode(&mut out);
        prop_assert_eq!(Remembered::decode(&out), Some(remembered));
        for cut in 0..out.len() {
            prop_assert_eq!(Remembered::decode(&out[..cut]), None);
        }
        prop_assert_eq!(remembered.to_parameters().remember(), remembered);
    }
}
