//! Handshake bytes and packets at levels, and in states, where they have no place any more.

use super::closing::handshake_keys;
use super::judge::{assert_open, crypto, refused, refused_in};
use super::packets::watch;
use super::pair::{End, Pair, client_config, server_config};
use crate::config::TransportConfig;
use crate::crypto::Level;
use crate::error::code;
use crate::limits::MAX_CRYPTO_BUFFER;
use crate::recovery::PathLookup as _;
use crate::transmit::TransmitBuf;
use crate::wire::{Space, Version};

/// The server has Handshake keys and Initial keys still, the client's ClientHello is whole.
fn server_in_handshake(seed: u64) -> Pair {
    let mut pair = Pair::new(seed);
    pair.run_until(|pair| {
        let server = pair.server.as_ref();
        server.is_some_and(|server| server.has_keys(Level::Handshake))
    });
    pair.flying.clear();
    pair
}

#[test]
fn handshake_bytes_behind_what_a_level_has() {
    // RFC 9001 4.1.3: behind the end, and behind a gap after the end.
    for gap in [0, 50] {
        let mut pair = server_in_handshake(300);
        let end = pair.client.crypto_sent_in(Level::Initial);
        let frames = crypto(end + gap, b"more");
        let wrong = code::PROTOCOL_VIOLATION;
        refused_in(&mut pair, End::Client, Level::Initial, &frames, wrong);
    }
    let mut pair = Pair::new(301);
    handshake_keys(&mut pair);
    let end = pair.server().crypto_sent_in(Level::Initial);
    let frames = crypto(end + 9, b"more");
    let wrong = code::PROTOCOL_VIOLATION;
    refused_in(&mut pair, End::Server, Level::Initial, &frames, wrong);
}

#[test]
fn handshake_bytes_that_come_again_are_ignored() {
    // RFC 9001 4.1.3, Q42
    let mut pair = server_in_handshake(302);
    pair.inject(End::Client, Level::Initial, &crypto(3, &[0; 7]));
    assert_eq!(pair.close_code(End::Server), None);
    pair.establish();
    assert_open(&mut pair);
}

#[test]
fn handshake_bytes_after_the_handshake() {
    // Q42, Q46, RFC 9000 7.5: a server expects none; far ahead is more than is kept.
    let unexpected = code::CRYPTO_ERROR + 10;
    refused(End::Client, &crypto(0, b"x"), unexpected);
    let far = crypto(MAX_CRYPTO_BUFFER, b"x");
    refused(End::Client, &far, code::CRYPTO_BUFFER_EXCEEDED);
}

#[test]
fn the_first_packet_after_the_close_is_answered() {
    // Q121, RFC 9000 10.2.1: the CONNECTION_CLOSE itself may have been lost.
    let mut pair = Pair::connected(303);
    let now = pair.now;
    let packets: Vec<_> = (0..7)
        .map(|_| pair.forge(End::Client, Level::OneRtt, &[1]))
        .collect();
    pair.inject(End::Client, Level::OneRtt, &[0x1e]);
    let mut says = || {
        let mut out = TransmitBuf::default();
        let transmit = pair.server().poll_transmit(now, &mut out);
        transmit.is_some()
    };
    assert!(says() && !says());
    let mut answers = Vec::new();
    for packet in packets {
        pair.deliver(packet);
        let mut out = TransmitBuf::default();
        answers.push(pair.server().poll_transmit(now, &mut out).is_some());
    }
    let wanted = [true, false, true, false, false, false, true];
    assert_eq!(answers, wanted);
}

#[test]
fn a_servers_initial_with_a_token_is_dropped() {
    // RFC 9000 17.2.2
    let mut pair = Pair::new(304);
    handshake_keys(&mut pair);
    pair.server().set_token(b"a token");
    let datagram = pair.forge(End::Server, Level::Initial, &[0x1c, 0, 0, 0]);
    let before = pair.client.stats();
    pair.deliver(datagram);
    let after = pair.client.stats();
    assert_eq!(after.packets_dropped, before.packets_dropped + 1);
    assert_eq!(pair.close_code(End::Client), None);
}

#[test]
fn a_clients_initial_without_the_fixed_bit_is_dropped() {
    // Q2, RFC 9287 3.1: it has had no transport parameters yet, and no token.
    let mut pair = Pair::new(305);
    pair.run_until(|pair| pair.server.is_some());
    let now = pair.now;
    let mut frames = vec![0x1c, 0, 0, 0];
    frames.resize(1200, 0);
    let mut deliver = |token: &'static [u8]| {
        pair.client.set_token(token);
        let data = pair.client.forge_bits(now, Level::Initial, 0x40, &frames);
        let datagram = pair.flight(End::Client, data.unwrap());
        assert_eq!(datagram.data[0] & 0x40, 0);
        pair.deliver(datagram);
        pair.server().is_open()
    };
    assert!(deliver(b""));
    assert!(!deliver(b"of an earlier connection"));
}

#[test]
fn frames_of_an_extension_that_is_off_are_unknown() {
    // Q12, Q144
    let plain = TransportConfig {
        ack_frequency: false,
        ..TransportConfig::default()
    };
    for frames in [&[0x1f][..], &[0x40, 0xaf, 0, 1, 0x7f, 0xff, 1]] {
        let client = client_config(TransportConfig::default());
        let mut pair = Pair::with(306, client, server_config(plain.clone()));
        pair.establish();
        let wrong = code::FRAME_ENCODING_ERROR;
        refused_in(&mut pair, End::Client, Level::OneRtt, frames, wrong);
    }
}

#[test]
fn nobody_is_moved_back_to_version_1() {
    // Q23, RFC 9368 2.3: the server's order counts among newer versions only.
    let mut client = client_config(TransportConfig::default());
    client.versions = vec![Version::V2, Version::V1];
    let server = server_config(TransportConfig::default());
    assert_eq!(server.versions, [Version::V1, Version::V2]);
    let mut pair = Pair::with(307, client, server);
    let seen = watch(&mut pair);
    pair.establish();
    assert_eq!(pair.server().version(), Version::V2);
    let seen = seen.lock().unwrap();
    let mut long = seen.iter().filter(|flying| flying.data[0] & 0x80 != 0);
    assert!(long.all(|flying| flying.data[1..5] == Version::V2.0.to_be_bytes()));
}

#[test]
fn an_acknowledgement_leaves_before_what_was_announced() {
    // Q129, RFC 9000 18.2: the timer that sends it may fire late.
    let plain = TransportConfig {
        ack_frequency: false,
        ..TransportConfig::default()
    };
    let server = server_config(TransportConfig::default());
    let mut pair = Pair::with(308, client_config(plain), server);
    pair.establish();
    pair.run_for(weir_core::time::Duration::from_millis(300));
    let begin = pair.now;
    pair.inject(End::Client, Level::OneRtt, &[1]);
    let sent = pair.sent.len();
    pair.run_until(|pair| pair.sent.len() > sent);
    let waited = pair.now.saturating_duration_since(begin);
    assert_eq!(waited, weir_core::time::Duration::from_millis(24));
}

#[test]
fn a_ping_without_room_is_not_counted_as_sent() {
    // RFC 9002 6.2.4: a probe elicits an acknowledgement; a packet that an ACK has filled is none.
    let mut pair = Pair::connected(409);
    let client = &mut pair.client;
    client.outbox.ping = true;
    let (path, mut out) = (client.paths.active(), TransmitBuf::default());
    let packet = client.begin_packet(Space::Data, Level::OneRtt, path, 100, &mut out);
    let mut packet = packet.unwrap();
    let full = out.data.len();
    client.write_probe(&mut packet, full, &mut out.data);
    assert_eq!(out.data.len(), full);
    assert!(!packet.ack_eliciting && client.outbox.ping);
    client.write_probe(&mut packet, full + 1, &mut out.data);
    assert!(packet.ack_eliciting && !client.outbox.ping);
}
