//! Key updates, key limits and packets that do not open.

use weir_core::time::{Duration, Instant};

use super::pair::{End, Pair};
use crate::crypto::{AeadLimits, KeyUpdateRefused, Level, OpenError, Opened};
use crate::error::{TransportError, code};

const SECOND: Duration = Duration::from_secs(1);

fn start() -> Instant {
    Instant::from_millis(1000)
}

/// A sealed 1-RTT packet: 1-byte connection ID, 2-byte number, 9 bytes of payload.
fn seal(end: &mut End, pn: u64) -> Vec<u8> {
    let first = 0x41 | u8::from(end.protection.send_phase()) << 2;
    let mut packet = vec![first, b'c', (pn >> 8) as u8, pn as u8];
    packet.extend_from_slice(b"9 bytes..");
    packet.resize(packet.len() + 16, 0);
    end.protection
        .seal(Level::OneRtt, &mut packet, 2, 2, pn)
        .unwrap();
    packet
}

fn open(end: &mut End, packet: &[u8], expected: u64) -> Result<Opened, OpenError> {
    let mut packet = packet.to_vec();
    let opened = end
        .protection
        .open(Level::OneRtt, &mut packet, 2, expected)?;
    assert_eq!(&packet[opened.payload.clone()], b"9 bytes..");
    Ok(opened)
}

fn fatal(result: Result<Opened, OpenError>) -> TransportError {
    match result {
        Err(OpenError::Fatal(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn is_forged(result: &Result<Opened, OpenError>) -> bool {
    matches!(result, Err(OpenError::Authentication { .. }))
}

fn connected() -> Pair {
    Pair::connected(AeadLimits::default())
}

/// A key update begun by the client, answered by the server, acknowledged to both.
pub(super) fn update(pair: &mut Pair, now: Instant, pn: u64) {
    pair.client.protection.initiate_key_update(now).unwrap();
    let there = seal(&mut pair.client, pn);
    let opened = open(&mut pair.server, &there, pn).unwrap();
    assert!(opened.phase_changed);
    let back = seal(&mut pair.server, pn);
    let opened = open(&mut pair.client, &back, pn).unwrap();
    assert!(opened.phase_changed);
    assert_eq!(pair.client.protection.on_ack(opened.phase, pn), Ok(true));
    let phase = opened.phase;
    let again = seal(&mut pair.client, pn + 1);
    open(&mut pair.server, &again, pn + 1).unwrap();
    assert_eq!(pair.server.protection.on_ack(phase, pn), Ok(true));
    for end in [&mut pair.client, &mut pair.server] {
        end.protection.prepare();
    }
}

#[test]
fn an_update_flips_the_bit_and_the_peer_answers_in_the_new_phase() {
    // Q35, Q36
    let mut pair = connected();
    let before = seal(&mut pair.client, 1);
    let opened = open(&mut pair.server, &before, 0).unwrap();
    assert_eq!((opened.phase, opened.phase_changed), (0, false));

    pair.client.protection.initiate_key_update(start()).unwrap();
    assert!(pair.client.protection.send_phase());
    assert!(!pair.server.protection.send_phase());
    let first = seal(&mut pair.client, 2);
    let opened = open(&mut pair.server, &first, 2).unwrap();
    assert_eq!(
        (opened.pn, opened.phase, opened.phase_changed),
        (2, 1, true)
    );
    // The very next packet of the peer is in the new phase.
    assert!(pair.server.protection.send_phase());
    let answer = seal(&mut pair.server, 1);
    let opened = open(&mut pair.client, &answer, 0).unwrap();
    assert_eq!((opened.phase, opened.phase_changed), (1, true));
    let second = seal(&mut pair.client, 3);
    let opened = open(&mut pair.server, &second, 3).unwrap();
    assert!(!opened.phase_changed);
}

#[test]
fn phases_go_on_and_on_from_both_sides() {
    // Q35, Q36
    let mut pair = connected();
    let mut now = start();
    for round in 0..10 {
        update(&mut pair, now, 10 * round + 5);
        std::mem::swap(&mut pair.client, &mut pair.server);
        now += SECOND;
    }
}

#[test]
fn no_update_before_the_handshake_is_confirmed() {
    // Q35
    let mut pair = Pair::simple(AeadLimits::default());
    let refused = Err(KeyUpdateRefused::NotConfirmed);
    let client = &mut pair.client.protection;
    assert_eq!(client.initiate_key_update(start()), refused);
    pair.run().unwrap();
    let client = &mut pair.client.protection;
    assert_eq!(client.initiate_key_update(start()), refused);
    client.on_handshake_confirmed();
    assert_eq!(client.initiate_key_update(start()), Ok(()));
}

#[test]
fn no_second_update_before_an_acknowledgement_in_the_new_phase() {
    // Q35
    let mut pair = connected();
    seal(&mut pair.client, 1);
    let client = &mut pair.client.protection;
    client.initiate_key_update(start()).unwrap();
    let refused = Err(KeyUpdateRefused::NotAcknowledged);
    assert_eq!(client.initiate_key_update(start()), refused);
    seal(&mut pair.client, 2);
    // An ACK of what was sent in the old phase does not count.
    assert_eq!(pair.client.protection.on_ack(0, 1), Ok(false));
    let client = &mut pair.client.protection;
    assert_eq!(client.initiate_key_update(start()), refused);
    assert_eq!(client.on_ack(1, 2), Ok(true));
    assert_eq!(client.on_ack(1, 2), Ok(false));
    let packet = {
        // The peer has answered by then.
        let there = seal(&mut pair.client, 3);
        open(&mut pair.server, &there, 3).unwrap();
        seal(&mut pair.server, 1)
    };
    open(&mut pair.client, &packet, 0).unwrap();
    let client = &mut pair.client.protection;
    assert_eq!(client.initiate_key_update(start()), Ok(()));
}

#[test]
fn no_second_update_for_three_probe_timeouts() {
    // RFC 9001 6.5
    let mut pair = connected();
    update(&mut pair, start(), 5);
    let until = start() + SECOND;
    let client = &mut pair.client.protection;
    client.hold_until(until);
    let refused = Err(KeyUpdateRefused::TooSoon);
    assert_eq!(client.initiate_key_update(start()), refused);
    assert_eq!(client.timeout(), Some(until));
    client.on_timeout(until);
    assert_eq!(client.timeout(), None);
    assert_eq!(client.initiate_key_update(until), Ok(()));
}

#[test]
fn the_first_update_need_not_wait() {
    // RFC 9001 6.1: confirmation is all that it takes, an ACK before it completes nothing.
    let mut pair = connected();
    seal(&mut pair.client, 1);
    assert_eq!(pair.client.protection.on_ack(0, 1), Ok(false));
    assert_eq!(pair.client.protection.initiate_key_update(start()), Ok(()));
}

#[test]
fn an_overtaken_packet_is_still_read() {
    // Q37
    let mut pair = connected();
    let late = seal(&mut pair.client, 1);
    update(&mut pair, start(), 5);
    let opened = open(&mut pair.server, &late, 7).unwrap();
    assert_eq!(
        (opened.pn, opened.phase, opened.phase_changed),
        (1, 0, false)
    );
    // And what follows is in the new phase as before.
    let next = seal(&mut pair.client, 7);
    assert_eq!(open(&mut pair.server, &next, 7).unwrap().phase, 1);
}

#[test]
fn old_keys_go_when_their_time_is_over() {
    // Q37
    let mut pair = connected();
    let late = seal(&mut pair.client, 1);
    let later = seal(&mut pair.client, 2);
    update(&mut pair, start(), 5);
    pair.server.protection.hold_until(start() + SECOND);
    pair.server.protection.on_timeout(start() + SECOND / 2);
    open(&mut pair.server, &late, 7).unwrap();
    pair.server.protection.on_timeout(start() + SECOND);
    assert!(is_forged(&open(&mut pair.server, &later, 7)));
}

#[test]
fn old_keys_for_a_younger_packet_end_the_connection() {
    // Q38
    let mut pair = connected();
    // Sealed under old keys, with a number that belongs behind the update.
    let wrong = seal(&mut pair.client, 9);
    pair.client.protection.initiate_key_update(start()).unwrap();
    let first = seal(&mut pair.client, 5);
    open(&mut pair.server, &first, 5).unwrap();
    // Right after it, or when the peer has had its answer and more in the new phase has come.
    let error = fatal(open(&mut pair.server, &wrong, 6));
    assert_eq!(error.code, code::KEY_UPDATE_ERROR);

    let mut pair = connected();
    let wrong = seal(&mut pair.client, 6);
    update(&mut pair, start(), 5);
    let more = seal(&mut pair.client, 8);
    open(&mut pair.server, &more, 7).unwrap();
    let error = fatal(open(&mut pair.server, &wrong, 9));
    assert_eq!(error.code, code::KEY_UPDATE_ERROR);
}

#[test]
fn two_updates_at_once_end_the_connection() {
    // RFC 9001 6.2
    let mut pair = connected();
    pair.client.protection.initiate_key_update(start()).unwrap();
    let first = seal(&mut pair.client, 5);
    open(&mut pair.server, &first, 5).unwrap();
    // A peer that goes on without an answer.
    pair.client.protection.on_ack(1, 5).unwrap();
    pair.client.protection.initiate_key_update(start()).unwrap();
    let second = seal(&mut pair.client, 6);
    // As long as the old keys are there, it could as well be a packet of theirs.
    assert!(is_forged(&open(&mut pair.server, &second, 6)));
    pair.server.protection.hold_until(start());
    pair.server.protection.on_timeout(start());
    let error = fatal(open(&mut pair.server, &second, 6));
    assert_eq!(error.code, code::KEY_UPDATE_ERROR);
}

#[test]
fn a_new_phase_acknowledged_in_the_old_one_ends_the_connection() {
    // RFC 9001 6.2
    let mut pair = connected();
    pair.client.protection.initiate_key_update(start()).unwrap();
    seal(&mut pair.client, 5);
    let error = pair.client.protection.on_ack(0, 5).unwrap_err();
    assert_eq!(error.code, code::KEY_UPDATE_ERROR);
}

#[test]
fn forged_packets_change_nothing() {
    // Q30
    let mut pair = connected();
    let good = seal(&mut pair.client, 1);
    for at in 0..good.len() {
        // Not the connection ID and the two high bits, which routing looks at before.
        let mut forged = good.clone();
        forged[at] ^= if at == 0 { 0x20 } else { 0x01 };
        let result = open(&mut pair.server, &forged, 0);
        assert!(is_forged(&result), "byte {at}: {result:?}");
    }
    // An apparent key update among them did not move the keys.
    for bits in 0..32 {
        let mut forged = good.clone();
        forged[0] ^= bits;
        let opened = open(&mut pair.server, &forged, 0);
        assert_eq!(opened.is_ok(), bits == 0, "{bits:#x}");
    }
    assert!(!pair.server.protection.send_phase());
    assert_eq!(pair.server.protection.failed(), good.len() as u64 + 31);
    open(&mut pair.server, &good, 0).unwrap();
}

#[test]
fn what_is_too_short_to_have_a_sample_is_dropped_untouched() {
    // Q29
    let mut pair = connected();
    let good = seal(&mut pair.client, 1);
    for len in 0..2 + 4 + 16 {
        let mut short = good[..len].to_vec();
        let result = pair.server.protection.open(Level::OneRtt, &mut short, 2, 0);
        assert_eq!(result, Err(OpenError::TooShort));
        assert_eq!(short, good[..len]);
    }
    assert_eq!(pair.server.protection.failed(), 0);
}

#[test]
fn a_packet_without_room_for_a_sample_is_not_sealed() {
    // Q29: 1 byte of number and 2 of payload, where 3 are needed.
    let mut pair = connected();
    let mut packet = b"\x40c\x01ab".to_vec();
    packet.resize(packet.len() + 16, 0);
    let sealed = pair
        .client
        .protection
        .seal(Level::OneRtt, &mut packet, 2, 1, 1);
    assert_eq!(sealed.unwrap_err().code, code::INTERNAL_ERROR);
    packet.insert(3, 0);
    pair.client
        .protection
        .seal(Level::OneRtt, &mut packet, 2, 1, 1)
        .unwrap();
}

#[test]
fn a_failed_packet_shows_what_it_ended_in() {
    // Q124: a stateless reset ends in its token, and opening has overwritten it.
    let mut pair = connected();
    let mut reset = b"\x41c and more that looks random".to_vec();
    reset.extend_from_slice(b"sixteen byte tok");
    let result = pair.server.protection.open(Level::OneRtt, &mut reset, 2, 0);
    let tail = *b"sixteen byte tok";
    assert_eq!(result, Err(OpenError::Authentication { tail }));
}

#[test]
fn reserved_bits_are_judged_after_authentication() {
    // Q4
    let mut pair = connected();
    for bit in [0x08, 0x10] {
        let mut packet = vec![0x41 | bit, b'c', 0, 1];
        packet.extend_from_slice(&[0; 30]);
        pair.client
            .protection
            .seal(Level::OneRtt, &mut packet, 2, 2, 1)
            .unwrap();
        let mut forged = packet.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(is_forged(&open(&mut pair.server, &forged, 0)));
        let error = fatal(open(&mut pair.server, &packet, 0));
        assert_eq!(error.code, code::PROTOCOL_VIOLATION);
    }
    for bit in [0x04, 0x08] {
        let mut packet = b"\xe0\0\0\0\x01\x01c\x01s\x40\x20\x05".to_vec();
        packet[0] |= bit;
        packet.extend_from_slice(&[0; 30]);
        let at = 11;
        pair.client
            .protection
            .seal(Level::Handshake, &mut packet, at, 1, 5)
            .unwrap();
        let error = fatal(
            pair.server
                .protection
                .open(Level::Handshake, &mut packet, at, 0),
        );
        assert_eq!(error.code, code::PROTOCOL_VIOLATION);
    }
}

#[test]
fn an_update_comes_before_the_limit() {
    // Q39
    let mut pair = Pair::connected(AeadLimits {
        update_after: Some(10),
        ..AeadLimits::default()
    });
    for pn in 0..10 {
        assert!(!pair.client.protection.update_wanted(start()));
        seal(&mut pair.client, pn);
    }
    assert!(pair.client.protection.update_wanted(start()));
    update(&mut pair, start(), 10);
    assert!(!pair.client.protection.update_wanted(start()));
    assert_eq!(pair.client.protection.sealed(), 2);
}

#[test]
fn without_a_choice_the_update_comes_at_half_the_limit() {
    // Q39
    let mut pair = Pair::connected(AeadLimits {
        confidentiality: Some(100),
        ..AeadLimits::default()
    });
    for pn in 0..50 {
        assert!(!pair.client.protection.update_wanted(start()));
        seal(&mut pair.client, pn);
    }
    assert!(pair.client.protection.update_wanted(start()));
    // The wait after an earlier update holds it back, until the limit is near.
    pair.client.protection.hold_until(start() + SECOND);
    for pn in 50..75 {
        assert!(!pair.client.protection.update_wanted(start()));
        seal(&mut pair.client, pn);
    }
    assert!(pair.client.protection.update_wanted(start()));
    assert_eq!(pair.client.protection.initiate_key_update(start()), Ok(()));
}

#[test]
fn at_the_limit_nothing_more_is_sealed() {
    // Q39
    let mut pair = Pair::connected(AeadLimits {
        confidentiality: Some(50),
        ..AeadLimits::default()
    });
    for pn in 0..34 {
        assert_eq!(pair.client.protection.check_limits(), Ok(()));
        seal(&mut pair.client, pn);
    }
    // 16 are left to say with them why the connection ends.
    let error = pair.client.protection.check_limits().unwrap_err();
    assert_eq!(error.code, code::AEAD_LIMIT_REACHED);
    for pn in 34..50 {
        seal(&mut pair.client, pn);
    }
    let mut packet = vec![0x41; 40];
    let sealed = pair
        .client
        .protection
        .seal(Level::OneRtt, &mut packet, 2, 2, 50);
    assert_eq!(sealed.unwrap_err().code, code::AEAD_LIMIT_REACHED);
}

#[test]
fn too_many_forgeries_end_the_connection() {
    // Q39
    let mut pair = Pair::connected(AeadLimits {
        integrity: Some(5),
        ..AeadLimits::default()
    });
    let good = seal(&mut pair.client, 1);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..5 {
        assert!(is_forged(&open(&mut pair.server, &forged, 0)));
    }
    let error = fatal(open(&mut pair.server, &forged, 0));
    assert_eq!(error.code, code::AEAD_LIMIT_REACHED);
    // From then on nothing is processed.
    let error = fatal(open(&mut pair.server, &good, 0));
    assert_eq!(error.code, code::AEAD_LIMIT_REACHED);
}

#[test]
fn the_ciphers_limits_are_those_of_the_rfc() {
    // Q39, RFC 9001 6.6
    use rustls::CipherSuite;
    let aes = (1 << 23, 1 << 52);
    for (suite, limits) in [
        (CipherSuite::TLS13_AES_128_GCM_SHA256, aes),
        (CipherSuite::TLS13_AES_256_GCM_SHA384, aes),
        (
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            (u64::MAX, 1 << 36),
        ),
    ] {
        assert_eq!(super::handshake::limits(suite), limits, "{suite:?}");
    }
}

#[test]
fn one_rtt_packets_wait_for_the_end_of_the_handshake() {
    // Q34
    let mut pair = Pair::simple(AeadLimits::default());
    let hello = pair.client.take();
    pair.server.feed(Level::Initial, &hello[0].1, 9999).unwrap();
    assert!(pair.server.protection.has_send(Level::OneRtt));
    assert!(!pair.server.protection.has_receive(Level::OneRtt));
    let mut packet = vec![0x41; 40];
    let before = packet.clone();
    let result = pair
        .server
        .protection
        .open(Level::OneRtt, &mut packet, 2, 0);
    assert_eq!(result, Err(OpenError::NoKeys));
    assert_eq!(packet, before);
    pair.run().unwrap();
    let packet = seal(&mut pair.client, 1);
    open(&mut pair.server, &packet, 0).unwrap();
}

#[test]
fn discarded_keys_neither_open_nor_seal() {
    // Q31, Q32
    let mut pair = connected();
    for level in [Level::Initial, Level::Handshake] {
        let client = &mut pair.client.protection;
        assert!(client.has_send(level) && client.has_receive(level));
        client.discard(level);
        assert!(!client.has_send(level) && !client.has_receive(level));
        let mut packet = b"\xe0\0\0\0\x01\x01c\x01s\x40\x20\x05".to_vec();
        packet.resize(60, 0);
        let opened = client.open(level, &mut packet, 11, 0);
        assert_eq!(opened, Err(OpenError::NoKeys));
        let sealed = client.seal(level, &mut packet, 11, 1, 5);
        assert_eq!(sealed.unwrap_err().code, code::INTERNAL_ERROR);
    }
}
