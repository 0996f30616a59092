//! RFC 9001 appendix A and RFC 9369 appendix A, through the functions that real packets take.

use serde_json::Value;

use super::hex;
use crate::crypto::packet;
use crate::crypto::{AeadLimits, Level, Protection};
use crate::wire::{ConnectionId, Side, Version};

fn vectors() -> Value {
    serde_json::from_str(include_str!(
        "../../../tests/vectors/packet-protection.json"
    ))
    .unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex(value.as_str().unwrap())
}

/// Both versions with their part of the vectors.
fn versions(vectors: &Value) -> [(Version, &Value); 2] {
    let of = |name| &vectors["versions"][name];
    [(Version::V1, of("v1")), (Version::V2, of("v2"))]
}

fn protection(side: Side, version: Version, vector: &Value) -> Protection {
    let dcid = ConnectionId::new(&bytes(&vector["dcid"])).unwrap();
    Protection::new(side, version, &dcid, AeadLimits::default()).unwrap()
}

/// Header and payload of an Initial packet, padded to its length.
fn plain(packet: &Value, payload: &str) -> (Vec<u8>, usize) {
    let header = bytes(&packet["header"]);
    let mut payload = bytes(&packet[payload]);
    if let Some(len) = packet["payload_length"].as_u64() {
        payload.resize(len as usize, 0);
    }
    let header_len = header.len();
    ([header, payload].concat(), header_len)
}

/// Seals as one side and compares with the sample, then opens the sample as the other.
fn both_ways(sender: &mut Protection, receiver: &mut Protection, packet: &Value, payload: &str) {
    let (plain, header_len) = plain(packet, payload);
    let pn = packet["packet_number"].as_u64().unwrap();
    let pn_len = usize::from(plain[0] & 3) + 1;
    let pn_offset = header_len - pn_len;

    let mut sealed = plain.clone();
    sealed.resize(plain.len() + packet::TAG_LEN, 0);
    sender
        .seal(Level::Initial, &mut sealed, pn_offset, pn_len, pn)
        .unwrap();
    assert_eq!(sealed, bytes(&packet["packet"]));

    let opened = receiver
        .open(Level::Initial, &mut sealed, pn_offset, 0)
        .unwrap();
    assert_eq!(opened.pn, pn);
    assert_eq!(sealed[..header_len], plain[..header_len]);
    assert_eq!(sealed[opened.payload], plain[header_len..]);
}

#[test]
fn client_initial() {
    // Q26, Q27, Q21
    let vectors = vectors();
    for (version, vector) in versions(&vectors) {
        let mut client = protection(Side::Client, version, vector);
        let mut server = protection(Side::Server, version, vector);
        let packet = &vector["client_initial"];
        both_ways(&mut client, &mut server, packet, "crypto_frame");
    }
}

#[test]
fn server_initial() {
    // Q26, Q27, Q21
    let vectors = vectors();
    for (version, vector) in versions(&vectors) {
        let mut client = protection(Side::Client, version, vector);
        let mut server = protection(Side::Server, version, vector);
        both_ways(
            &mut server,
            &mut client,
            &vector["server_initial"],
            "payload",
        );
    }
}
