//! Handshakes: keys and when they go, sizes, confirmation, what is lost.

use std::sync::{Arc, Mutex};

use weir_core::time::Duration;

use super::closing::handshake_keys;
use super::judge::assert_open;
use super::packets::{kinds, watch};
use super::pair::{End, Flying, Pair, client_config, server_config};
use crate::config::TransportConfig;
use crate::connection::Event;
use crate::crypto::Level;
use crate::limits::{AMPLIFICATION_FACTOR, MAX_HASTENED, MIN_DATAGRAM};
use crate::wire::header::{FixedBit, Packet, PacketType};
use crate::wire::{Space, Version};

#[test]
fn a_client_drops_initial_keys_when_it_sends_handshake() {
    // Q31
    let mut pair = Pair::new(140);
    pair.run_until(|pair| pair.client.has_keys(Level::Handshake));
    assert!(!pair.client.has_keys(Level::Initial));
    let mut pair = Pair::new(140);
    handshake_keys(&mut pair);
    assert!(pair.client.has_keys(Level::Initial), "none was sent yet");
}

#[test]
fn a_server_drops_initial_keys_with_the_first_handshake_packet() {
    // Q31
    let mut pair = Pair::new(141);
    pair.run_until(|pair| pair.server.is_some());
    assert!(pair.server().has_keys(Level::Initial));
    pair.run_until(|pair| !pair.server().has_keys(Level::Initial));
}

#[test]
fn handshake_keys_go_with_the_confirmation() {
    // Q32
    let mut pair = Pair::new(142);
    pair.run_until(|pair| !pair.client.is_handshaking());
    assert!(pair.client.has_keys(Level::Handshake) && !pair.client.is_confirmed());
    pair.run_until(|pair| pair.client.is_confirmed());
    assert!(!pair.client.has_keys(Level::Handshake));
    assert!(!pair.server().has_keys(Level::Handshake));
}

#[test]
fn packets_that_come_before_their_keys_are_read_later() {
    // Q34: 1-RTT packets overtake the end of the handshake.
    let mut pair = Pair::new(143);
    handshake_keys(&mut pair);
    let early = pair.forge(End::Server, Level::OneRtt, &[1]);
    let received = pair.client.stats().packets_received;
    pair.deliver(early);
    assert_eq!(pair.client.stats().packets_received, received);
    let seen = watch(&mut pair);
    pair.run_until(|pair| !pair.client.is_handshaking());
    drop(seen);
    assert!(pair.client.held_packets() == 0, "it was read");
    pair.establish();
}

#[test]
fn the_wait_for_keys_is_part_of_the_ack_delay() {
    // Q34, RFC 9000 13.2.5: it is long and does not come again; the peer's estimate is better off.
    let mut pair = Pair::new(144);
    handshake_keys(&mut pair);
    let number = pair.server().next_number();
    let early = pair.forge(End::Server, Level::OneRtt, &[1]);
    pair.deliver(early);
    let came_at = pair.now;
    assert_eq!(pair.client.held_packets(), 1);
    // No later one comes, whose delay would be told instead.
    pair.filter = Some(Box::new(|flying| {
        let mut at = 0;
        while flying.to == End::Client && at < flying.data.len() {
            let packet = Packet::parse(&flying.data[at..], 8, FixedBit::Any).unwrap();
            match packet.kind {
                PacketType::OneRtt => flying.data.truncate(at),
                _ => at += packet.packet_len,
            }
        }
        !flying.data.is_empty()
    }));
    pair.run_until(|pair| !pair.client.is_handshaking());
    let waited = pair.now.saturating_duration_since(came_at);
    assert!(waited > Duration::from_millis(100), "{waited:?}");
    let received = pair.client.received(Space::Data);
    assert_eq!(received.largest(), Some(number));
    let fields = received.ack_fields(pair.now, 0).unwrap();
    assert_eq!(u128::from(fields.delay), waited.as_micros());
}

#[test]
fn handshake_done_is_repeated_until_it_arrives() {
    // Q57
    let mut pair = Pair::new(144);
    let mut dropped = 0;
    pair.filter = Some(Box::new(move |flying| {
        let is_short = kinds(&flying.data) == [PacketType::OneRtt];
        let drop = flying.to == End::Client && is_short && dropped < 6;
        dropped += u32::from(drop);
        !drop
    }));
    pair.run_until(|pair| pair.client.is_confirmed());
    assert!(pair.client_events.contains(&Event::Confirmed));
}

#[test]
fn initials_are_in_datagrams_of_1200_bytes() {
    // Q59, Q60: all of the client's, and the server's that ask for an answer; whatever is lost.
    for seed in 0..30 {
        let mut pair = Pair::new(145 + seed);
        let mut count = seed;
        let seen = watch(&mut pair);
        let mut keep = pair.filter.take().unwrap();
        pair.filter = Some(Box::new(move |flying| {
            let _ = keep(flying);
            count = count.wrapping_mul(25_214_903_917).wrapping_add(11);
            count >> 40 & 3 != 0
        }));
        pair.establish();
        for flying in seen.lock().unwrap().iter() {
            let has_initial = kinds(&flying.data).contains(&PacketType::Initial);
            // An ACK alone fits into a small one.
            let is_ack = flying.to == End::Client && flying.data.len() < 100;
            let is_small = flying.data.len() < MIN_DATAGRAM;
            assert!(
                !has_initial || !is_small || is_ack,
                "{} bytes",
                flying.data.len()
            );
        }
    }
}

#[test]
fn a_blocked_server_is_freed_by_its_client() {
    // Q58, Q61: all that the server sends is lost until the client asks again.
    let mut pair = Pair::new(180);
    let mut dropped = 0;
    pair.filter = Some(Box::new(move |flying| {
        let drop = flying.to == End::Client && dropped < 6;
        dropped += u32::from(drop);
        !drop
    }));
    let mut steps = 0;
    while !pair.client.is_confirmed() {
        assert!(pair.step() && steps < 500);
        steps += 1;
        assert_within_allowance(&pair);
    }
}

/// The server has sent at most three times what the client sent, as long as only Initials came.
fn assert_within_allowance(pair: &Pair) {
    let bytes = |end| {
        let sent = pair.sent.iter().filter(|(from, _)| *from == end);
        sent.map(|(_, len)| *len as u64).sum::<u64>()
    };
    let validated = pair
        .server
        .as_ref()
        .is_some_and(|server| !server.has_keys(Level::Initial));
    assert!(validated || bytes(End::Server) <= AMPLIFICATION_FACTOR * bytes(End::Client));
}

#[test]
fn a_server_that_may_not_send_does_not_spin() {
    // Q58, C11: an acknowledgement that is due, and no allowance to send it with.
    let mut pair = Pair::connected(181);
    pair.client_addr = "10.9.9.9:999".parse().unwrap();
    let frames = [1, 0, 0];
    pair.inject(End::Client, Level::OneRtt, &frames);
    pair.filter = Some(Box::new(|_| false));
    pair.run_for(Duration::from_secs(5));
    let (at, timer) = pair.server().poll_timeout().unwrap();
    assert!(at > pair.now, "{timer:?}");
}

#[test]
fn a_lossy_handshake_and_a_mebibyte_arrive_whole() {
    // Q175: 30 % loss, duplication and reordering; 30 % corruption.
    for (seed, corrupt) in [(190, false), (191, true), (192, false), (193, true)] {
        let mut pair = Pair::new(seed);
        let mut state = seed;
        pair.filter = Some(Box::new(move |flying| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let dice = state >> 33;
            if dice % 10 >= 3 {
                flying.at += Duration::from_millis(dice / 10 % 7);
                return true;
            }
            if corrupt {
                let at = dice as usize % flying.data.len();
                flying.data[at] ^= 0x10;
            }
            corrupt
        }));
        pair.run_until(|pair| pair.client.is_confirmed());
        let data: Vec<u8> = (0..1_u32 << 20).map(|n| ((n * 7) >> 5) as u8).collect();
        let key = pair.open(End::Client);
        let inbound = {
            let now = pair.now;
            let mut rest = bytes::Bytes::from(data.clone());
            pair.client.write(now, key, &mut rest).unwrap();
            assert!(rest.is_empty());
            pair.client.finish(now, key);
            pair.accept_stream(End::Server)
        };
        assert!(pair.read_all(End::Server, inbound) == data);
    }
}

#[test]
fn a_list_of_versions_after_the_first_answer_is_ignored() {
    // Q19
    let mut pair = Pair::new(182);
    handshake_keys(&mut pair);
    pair.client.hear_versions(pair.now, &[Version(0x5a5a_5a5a)]);
    assert!(pair.client.is_open());
    assert_handshakes(pair);
}

#[test]
fn a_list_with_the_version_that_was_tried_is_ignored() {
    // Q19
    let mut pair = Pair::new(183);
    let versions = [Version(0x5a5a_5a5a), Version::V1];
    pair.client.hear_versions(pair.now, &versions);
    assert!(pair.client.is_open());
    assert_handshakes(pair);
}

fn assert_handshakes(mut pair: Pair) {
    pair.filter = None;
    pair.establish();
    assert_open(&mut pair);
}

#[test]
fn a_list_without_it_ends_the_attempt() {
    // Q20, Q24: no version is tried because a list, which nobody signs, names it: no downgrade.
    let mut pair = Pair::new(184);
    pair.client.hear_versions(pair.now, &[Version::V2]);
    assert!(pair.client.is_drained());
    assert_eq!(pair.client.version(), Version::V1);
    assert!(
        pair.client
            .close_reason()
            .unwrap()
            .reason
            .contains("does not speak")
    );
}

#[test]
fn silence_from_the_server_ends_the_attempt_in_time() {
    // practice: the handshake has a time-out of its own.
    let config = TransportConfig {
        handshake_timeout: Duration::from_secs(3),
        ..TransportConfig::default()
    };
    let server = server_config(TransportConfig::default());
    let mut pair = Pair::with(185, client_config(config), server);
    pair.filter = Some(Box::new(|_| false));
    let begin = pair.now;
    pair.run_until(|pair| pair.client.is_drained());
    let took = pair.now.saturating_duration_since(begin);
    assert_eq!(took, Duration::from_secs(3));
}

#[test]
fn the_same_input_gives_the_same_output() {
    // Q179: clock, randomness and network come from outside. TLS has randomness of its own, so
    // sizes and times are compared, not sealed bytes.
    let run = || {
        let mut pair = Pair::connected(186);
        let key = pair.open(End::Client);
        pair.send_all(End::Client, key, &[5; 100_000]);
        let inbound = pair.accept_stream(End::Server);
        let got = pair.read_all(End::Server, inbound);
        pair.run_for(Duration::from_secs(3));
        (
            pair.sent,
            got,
            pair.client.stats().rtt,
            pair.client.poll_timeout(),
        )
    };
    let (first, second) = (run(), run());
    assert_eq!(first.0.len(), second.0.len());
    assert_eq!((first.1, first.2, first.3), (second.1, second.2, second.3));
}

#[test]
fn datagrams_do_not_block_and_the_oldest_goes() {
    // Q160
    let config = TransportConfig {
        datagram_send_buffer: 3000,
        ..TransportConfig::default()
    };
    let server = server_config(TransportConfig::default());
    let mut pair = Pair::with(187, client_config(config), server);
    pair.establish();
    for n in 0..10 {
        let data = bytes::Bytes::from(vec![n; 1000]);
        pair.client.send_datagram(data).unwrap();
    }
    pair.run_idle();
    let mut got = Vec::new();
    while let Some(data) = pair.server().recv_datagram() {
        got.push(data[0]);
    }
    assert!(
        got.len() <= 3 && got.ends_with(&[9]) && !got.contains(&0),
        "{got:?}"
    );
}

/// A server whose flight was lost, some time after it was sent, and what it sends from then on.
fn unheard_server(seed: u64) -> (Pair, Arc<Mutex<Vec<Flying>>>) {
    let mut pair = Pair::new(seed);
    pair.filter = Some(Box::new(|flying| flying.to == End::Server));
    pair.run_until(|pair| pair.server.is_some());
    pair.run_for(Duration::from_millis(300));
    let seen = watch(&mut pair);
    let mut keep = pair.filter.take().unwrap();
    pair.filter = Some(Box::new(move |flying| {
        let _ = keep(flying);
        false
    }));
    (pair, seen)
}

/// How many datagrams of the server have handshake bytes for the client.
fn flights(seen: &Arc<Mutex<Vec<Flying>>>) -> usize {
    let seen = seen.lock().unwrap();
    let from_server = seen.iter().filter(|flying| flying.to == End::Client);
    let has_all = [PacketType::Initial, PacketType::Handshake];
    from_server
        .filter(|flying| kinds(&flying.data).starts_with(&has_all))
        .count()
}

#[test]
fn a_client_that_asks_again_gets_the_flight_before_the_time_out() {
    // RFC 9002 6.2.3: a PING in an Initial packet, as from a client whose ClientHello was acknowledged.
    let (mut pair, seen) = unheard_server(185);
    pair.inject(End::Client, Level::Initial, &[1]);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(flights(&seen), 1);
    pair.inject(End::Client, Level::Initial, &[1]);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(flights(&seen), 1, "it has just been said");
}

#[test]
fn a_client_that_asks_for_ever_is_answered_a_few_times() {
    // RFC 9002 6.2.3: for a limited number of times.
    let (mut pair, seen) = unheard_server(186);
    for _ in 0..40 {
        pair.inject(End::Client, Level::Initial, &[1]);
        pair.run_for(Duration::from_millis(260));
    }
    // In ten seconds time-outs of 1, 2 and 4 seconds pass, with two datagrams each.
    let most = usize::from(MAX_HASTENED) + 3 * 2;
    let count = flights(&seen);
    assert!(
        (usize::from(MAX_HASTENED)..=most).contains(&count),
        "{count}"
    );
}

#[test]
fn both_probes_of_a_time_out_have_handshake_bytes() {
    // RFC 9002 6.2.4: two datagrams, and either may be lost.
    let mut pair = Pair::new(187);
    let is_lost = |flying: &Flying| {
        flying.to == End::Server && kinds(&flying.data).contains(&PacketType::Handshake)
    };
    pair.filter = Some(Box::new(move |flying| !is_lost(flying)));
    pair.run_until(|pair| !pair.client.is_handshaking());
    let seen = watch(&mut pair);
    let mut keep = pair.filter.take().unwrap();
    pair.filter = Some(Box::new(move |flying| {
        let _ = keep(flying);
        !is_lost(flying)
    }));
    let count = || {
        let seen = seen.lock().unwrap();
        // A PING would make a packet of some forty bytes, a Finished message has that many itself.
        let says = |flying: &&Flying| {
            let packet = Packet::parse(&flying.data, 8, FixedBit::Any).unwrap();
            packet.kind == PacketType::Handshake && packet.packet_len > 70
        };
        let from_client = seen.iter().filter(|flying| flying.to == End::Server);
        from_client.filter(says).count()
    };
    pair.run_until(|_| count() > 0);
    pair.run_for(Duration::from_millis(1));
    assert_eq!(count(), 2);
}
