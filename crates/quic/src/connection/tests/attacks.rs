//! Peers that mean harm, and what bounds them; `docs/security.md` has the list.

use bytes::Bytes;
use weir_core::time::Duration;

use super::judge::{assert_open, bytes, crypto, id, stream};
use super::negotiation::resumed;
use super::packets::watch;
use super::pair::{End, Pair, client_config, server_config};
use crate::config::TransportConfig;
use crate::connection::Event;
use crate::crypto::Level;
use crate::error::code;
use crate::limits::{
    MAX_CRYPTO_BUFFER, MAX_HELD_BYTES, MAX_HELD_DATAGRAMS, MAX_ISSUED_CIDS, MAX_PENDING_RESPONSES,
};
use crate::wire::frame::{NewConnectionId, encode};
use crate::wire::{ConnectionId, Dir, Side, StreamId, varint};

/// A pair with a server of few means.
fn poor(seed: u64) -> Pair {
    let config = TransportConfig {
        stream_window: 64 * 1024,
        max_stream_window: 256 * 1024,
        connection_window: 256 * 1024,
        max_connection_window: 512 * 1024,
        connection_memory: 1024 * 1024,
        reset_burst: 50,
        reset_rate: 10,
        ..TransportConfig::default()
    };
    let client = client_config(TransportConfig::default());
    let mut pair = Pair::with(seed, client, server_config(config));
    pair.establish();
    pair
}

/// The memory that the server says it uses is within what it may use.
fn assert_within_memory(pair: &mut Pair) {
    let stats = pair.server().stats();
    assert!(stats.memory_used <= stats.memory_limit, "{stats:?}");
}

/// Frames of the client in packets of some 1,100 bytes, without an answer in between.
fn flood(pair: &mut Pair, frames: impl Iterator<Item = Vec<u8>>) -> usize {
    let mut packet = Vec::new();
    let mut packets = 0;
    for frame in frames {
        packet.extend(frame);
        if packet.len() > 1100 {
            pair.inject(End::Client, Level::OneRtt, &packet);
            packet.clear();
            packets += 1;
        }
    }
    pair.inject(End::Client, Level::OneRtt, &packet);
    packets + 1
}

/// Datagrams that the server sends now.
fn answers(pair: &mut Pair) -> usize {
    let seen = watch(pair);
    pair.run_idle();
    pair.filter = None;
    let seen = seen.lock().unwrap();
    seen.iter()
        .filter(|flying| flying.to == End::Client)
        .count()
}

#[test]
fn crypto_in_many_holes() {
    // Q42, Q95, Q172: C4, C5: every other byte of the handshake, a frame each.
    let mut pair = Pair::connected(300);
    let sent = pair.server().crypto_sent();
    let mut packet = Vec::new();
    let mut at = sent + 1;
    while at < sent + MAX_CRYPTO_BUFFER {
        packet.extend(crypto(at, &[0]));
        at += 2;
        if packet.len() > 1100 {
            pair.inject(End::Server, Level::OneRtt, &packet);
            packet.clear();
        }
    }
    let held = pair.client.crypto_memory() as u64;
    assert!(held <= 2 * MAX_CRYPTO_BUFFER, "{held} bytes");
    let closed = pair.close_code(End::Client);
    assert!(closed.is_none() || closed == Some(code::CRYPTO_BUFFER_EXCEEDED));
}

#[test]
fn streams_in_many_holes() {
    // Q172: C4, C5: one byte in each hole of as many streams as there are.
    let mut pair = poor(301);
    let frames = (0..20).flat_map(|index| {
        let id = id(Side::Client, Dir::Bi, index);
        (0..3000).map(move |at| stream(id, 2 * at + 1, b"x", false))
    });
    flood(&mut pair, frames);
    assert_within_memory(&mut pair);
    // More than the connection allows is an error, holes or not.
    let closed = pair.close_code(End::Server);
    assert!(
        closed.is_none() || closed == Some(code::FLOW_CONTROL_ERROR),
        "{closed:?}"
    );
}

#[test]
fn an_application_that_never_reads() {
    // Q172: C4, C11: the peer is held back by the windows, and memory stays below the limit.
    let mut pair = poor(302);
    for _ in 0..40 {
        let key = pair.open(End::Client);
        let now = pair.now;
        let mut data = Bytes::from(vec![1; 200_000]);
        let _ = pair.client.write(now, key, &mut data);
        pair.run_idle();
        assert_within_memory(&mut pair);
    }
    pair.run_for(Duration::from_secs(2));
    assert_within_memory(&mut pair);
    assert!(pair.server().stats().streams.unread <= 512 * 1024);
    assert_eq!(pair.close_code(End::Server), None);
}

#[test]
fn rapid_open_and_reset() {
    // Q172: C4: streams that are opened and reset faster than anybody can look at them.
    let mut pair = poor(303);
    let mut opened = 0;
    for round in 0..200 {
        let frames = bytes(|out| {
            for n in 0..20 {
                let id = id(Side::Client, Dir::Bi, round * 20 + n);
                encode::reset_stream(out, id, 0, 0);
            }
        });
        pair.inject(End::Client, Level::OneRtt, &frames);
        pair.run_for(Duration::from_millis(1));
        if pair.close_code(End::Server).is_some() {
            break;
        }
        opened += 20;
        assert_within_memory(&mut pair);
    }
    // Bounded by the burst, or by MAX_STREAMS that is withheld.
    let closed = pair.close_code(End::Server);
    assert!(opened <= 2000, "{opened}");
    assert!(closed.is_some(), "goes on for ever");
}

#[test]
fn a_flood_of_challenges_with_the_window_closed() {
    // Q116, Q172: C3: answers are not queued faster than they can be sent.
    let mut pair = Pair::connected(304);
    let before = pair.server().memory();
    let frames = (0..20_000_u64).map(|n| bytes(|out| encode::path_challenge(out, n.to_be_bytes())));
    let packets = flood(&mut pair, frames);
    assert!(packets > 100);
    assert!(pair.server().memory() <= before + 4096);
    let sent = answers(&mut pair);
    assert!(sent <= 2 + MAX_PENDING_RESPONSES, "{sent} datagrams");
    assert_open(&mut pair);
}

#[test]
fn a_flood_of_pings() {
    // Q131, Q173: C3: a batch of packets is answered by one acknowledgement.
    let mut pair = Pair::connected(305);
    for _ in 0..5000 {
        pair.inject(End::Client, Level::OneRtt, &[1]);
    }
    let sent = answers(&mut pair);
    assert!(sent <= 3, "{sent} datagrams");
    assert_open(&mut pair);
}

#[test]
fn a_flood_of_limits() {
    // Q84, Q173: C3: MAX_* and *_BLOCKED that say nothing new cost nothing.
    let mut pair = Pair::connected(306);
    let id = id(Side::Client, Dir::Bi, 0);
    let frames = (0..20_000_u64).map(|n| {
        bytes(|out| {
            encode::max_data(out, n);
            encode::max_streams(out, Dir::Uni, n % 99);
            encode::data_blocked(out, n);
            encode::streams_blocked(out, Dir::Bi, n);
            encode::stream_data_blocked(out, id, n);
        })
    });
    let before = pair.server().memory();
    flood(&mut pair, frames);
    // One stream, and a step of the budget.
    assert!(pair.server().memory() <= before + 32 * 1024);
    assert!(answers(&mut pair) <= 4);
    assert_open(&mut pair);
}

#[test]
fn streams_without_number_allowed() {
    // Q82, Q172: C4: what the peer permits is not what is kept: MAX_STREAMS of 2^60.
    let mut pair = Pair::connected(307);
    let before = pair.server().memory();
    let frames = bytes(|out| {
        encode::max_streams(out, Dir::Bi, 1 << 60);
        encode::max_streams(out, Dir::Uni, 1 << 60);
    });
    pair.inject(End::Client, Level::OneRtt, &frames);
    assert!(pair.server().memory() <= before + 1024);
    // Nor is what lies below the highest stream that was touched.
    let last = TransportConfig::default().max_bidi_streams - 1;
    let frame = stream(id(Side::Client, Dir::Bi, last), 0, b"x", false);
    pair.inject(End::Client, Level::OneRtt, &frame);
    assert!(pair.server().memory() <= before + 64 * 1024);
    assert_eq!(pair.close_code(End::Server), None);
}

#[test]
fn connection_ids_come_and_go() {
    // Q99, Q173: C3, C4: NEW_CONNECTION_ID that each retire all before, acknowledged in between.
    let mut pair = Pair::connected(308);
    let before = pair.server().memory();
    for sequence in 20..500_u64 {
        let frame = NewConnectionId {
            sequence,
            retire_prior_to: sequence,
            id: ConnectionId::new(&sequence.to_be_bytes()).unwrap(),
            reset_token: [sequence as u8; 16],
        };
        let frames = bytes(|out| encode::new_connection_id(out, &frame));
        pair.inject(End::Client, Level::OneRtt, &frames);
        if pair.close_code(End::Server).is_some() {
            break;
        }
    }
    assert_eq!(
        pair.close_code(End::Server),
        Some(code::CONNECTION_ID_LIMIT_ERROR)
    );
    assert!(pair.server().memory() <= before + 8192);
}

#[test]
fn connection_ids_are_retired_without_end() {
    // Q101, Q173: C3: each is replaced, and the peer waits for the replacement.
    let mut pair = Pair::connected(309);
    let before = pair.server().memory();
    let mut refused = false;
    for sequence in 1..2000_u64 {
        let mut frame = Vec::new();
        encode::retire_connection_id(&mut frame, sequence);
        pair.inject(End::Client, Level::OneRtt, &frame);
        refused |= pair.close_code(End::Server).is_some();
        if refused {
            // It was never issued: nobody can be ahead of what is given out.
            assert!(sequence <= 2 * MAX_ISSUED_CIDS as u64);
            break;
        }
    }
    assert!(refused && pair.server().memory() <= before + 8192);
}

#[test]
fn acknowledgements_of_everything() {
    // Q133, Q134, Q173, Q174: C5, C6: as many ranges as a packet holds, of what was never sent.
    let mut pair = Pair::connected(310);
    let mut frame = Vec::new();
    for value in [2, 1 << 40, 0, 500, 0] {
        varint::encode(value, &mut frame);
    }
    frame.extend([0; 1000]);
    pair.inject(End::Client, Level::OneRtt, &frame);
    assert_eq!(pair.close_code(End::Server), Some(code::PROTOCOL_VIOLATION));
}

#[test]
fn acknowledgements_again_and_again() {
    // Q173: C5: legal ones with many ranges; the cost is counted in steps.
    let mut pair = Pair::connected(311);
    let largest = pair.server().next_number() - 1;
    let mut frame = Vec::new();
    for value in [2, largest, 0, 0, 0] {
        varint::encode(value, &mut frame);
    }
    let count = 5000;
    let before = pair.server().stats();
    for _ in 0..count {
        pair.inject(End::Client, Level::OneRtt, &frame);
    }
    let after = pair.server().stats();
    assert_eq!(after.packets_received - before.packets_received, count);
    assert_eq!(after.packets_lost, before.packets_lost);
    assert!(
        answers(&mut pair) <= 1,
        "ACK-only packets are not acknowledged"
    );
}

#[test]
fn packets_before_their_keys() {
    // Q34, Q171: C4: nobody can make a client keep more than a little.
    let mut pair = Pair::new(312);
    super::closing::handshake_keys(&mut pair);
    for _ in 0..200 {
        let datagram = pair.forge(End::Server, Level::OneRtt, &[1; 1000]);
        pair.deliver(datagram);
    }
    assert!(pair.client.held_packets() <= MAX_HELD_DATAGRAMS);
    assert!(pair.client.held_packets() * 1000 <= MAX_HELD_BYTES);
    pair.filter = None;
    pair.establish();
}

#[test]
fn a_hello_that_never_ends() {
    // Q43, Q171: C4: an Initial flight larger than any ClientHello.
    let mut pair = Pair::new(313);
    pair.run_until(|pair| pair.server.is_some());
    let mut pair = {
        pair.server = None;
        pair.flying.clear();
        pair
    };
    let mut offset = 0;
    for n in 0..100_u64 {
        let mut data = vec![0x5a; 1000];
        if n == 0 {
            data[..4].copy_from_slice(&[1, 0, 0xff, 0xff]);
        }
        let datagram = pair.forge(End::Client, Level::Initial, &crypto(offset, &data));
        pair.deliver(datagram);
        offset += 1000;
        if let Some(server) = &pair.server
            && !server.is_open()
        {
            break;
        }
    }
    assert!(offset <= 20_000, "{offset} bytes were taken");
    assert!(pair.close_code(End::Server).is_some());
}

#[test]
fn a_retry_that_is_not_the_servers() {
    // Q63: C7: wrong tag; right shape, too late.
    let mut pair = Pair::new(314);
    let seen = watch(&mut pair);
    pair.step();
    let first = seen.lock().unwrap()[0].data.clone();
    let mut retry = vec![0xf0, 0, 0, 0, 1, 8];
    retry.extend(&first[15..23]);
    retry.push(8);
    retry.extend([6; 8]);
    retry.extend(b"token");
    retry.extend([0; 16]);
    let datagram = pair.flight(End::Server, retry.clone());
    pair.deliver(datagram);
    assert_eq!(pair.client.stats().retries, 0);
    pair.establish();
    let datagram = pair.flight(End::Server, retry);
    pair.deliver(datagram);
    assert_eq!(pair.client.stats().retries, 0);
    assert_open(&mut pair);
}

#[test]
fn early_data_that_is_replayed() {
    // Q56: C7: the first flight of a resumed connection, sent to the server once more.
    let mut pair = resumed(315);
    let seen = watch(&mut pair);
    let key = pair.open(End::Client);
    let now = pair.now;
    pair.client
        .write(now, key, &mut Bytes::from_static(b"pay!"))
        .unwrap();
    pair.establish();
    assert_eq!(pair.client.zero_rtt_accepted(), Some(true));
    let flight: Vec<_> = seen.lock().unwrap().iter().cloned().collect();
    let first = flight.into_iter().filter(|flying| flying.to == End::Server);
    pair.server = None;
    for mut flying in first.take(2) {
        flying.at = pair.now;
        pair.deliver(flying);
    }
    let now = pair.now;
    let replayed = pair.server();
    assert!(!replayed.is_early(), "the ticket was used");
    assert!(replayed.accept(now, Dir::Bi).is_none());
}

#[test]
fn both_ends_full_over_a_link_of_one_packet() {
    // C11: windows, buffers and the link are as small as can be, both ways at once: it goes on.
    let config = TransportConfig {
        stream_window: 2048,
        max_stream_window: 2048,
        connection_window: 2048,
        max_connection_window: 2048,
        send_buffer: 4096,
        ..TransportConfig::default()
    };
    let mut pair = Pair::with(316, client_config(config.clone()), server_config(config));
    pair.establish();
    let key = pair.open(End::Client);
    let now = pair.now;
    pair.client.write_slice(now, key, &[0; 100]).unwrap();
    let inbound = pair.accept_stream(End::Server);
    // Every other datagram of each side is lost while two are on their way.
    let mut odd = [false; 2];
    pair.filter = Some(Box::new(move |flying| {
        let odd = &mut odd[usize::from(flying.to == End::Client)];
        *odd = !*odd || flying.data.len() < 100;
        *odd
    }));
    let (mut up, mut down) = (0, 0);
    let deadline = pair.now + Duration::from_secs(120);
    while up < 50_000 || down < 50_000 {
        let now = pair.now;
        let _ = pair.client.write_slice(now, key, &[1; 4096]);
        let _ = pair.server().write_slice(now, inbound, &[2; 4096]);
        while let Ok(Some(chunk)) = pair.server().read(now, inbound, usize::MAX) {
            up += chunk.len();
        }
        while let Ok(Some(chunk)) = pair.client.read(now, key, usize::MAX) {
            down += chunk.len();
        }
        assert!(pair.step() && pair.now < deadline, "{up} up, {down} down");
    }
}

#[test]
fn nothing_is_sent_beyond_three_times_what_came() {
    // Q58, Q105: C8: in the handshake, and to an address that a client seems to have moved to.
    let mut pair = Pair::connected(317);
    let key = pair.open(End::Client);
    let now = pair.now;
    pair.client.write_slice(now, key, b"give me much").unwrap();
    let inbound = pair.accept_stream(End::Server);
    let now = pair.now;
    let _ = pair.server().write_slice(now, inbound, &[0; 500_000]);
    let victim = "10.66.66.66:6666".parse().unwrap();
    let mut datagram = pair.forge(End::Client, Level::OneRtt, &[1, 0, 0]);
    datagram.from = victim;
    let came = datagram.data.len();
    let seen = watch(&mut pair);
    pair.deliver(datagram);
    let mut keep = pair.filter.take().unwrap();
    pair.filter = Some(Box::new(move |flying| {
        keep(flying) && flying.dest != victim
    }));
    pair.run_for(Duration::from_millis(400));
    let seen = seen.lock().unwrap();
    let to_victim = seen.iter().filter(|flying| flying.dest == victim);
    let bytes: usize = to_victim.map(|flying| flying.data.len()).sum();
    assert!(bytes > 0 && bytes <= 3 * came, "{bytes} for {came}");
}

#[test]
fn a_stream_id_at_the_end_of_all_numbers() {
    // Q82: C1
    let mut pair = Pair::connected(318);
    let last = StreamId::new(Side::Client, Dir::Bi, (1 << 60) - 1);
    pair.inject(End::Client, Level::OneRtt, &stream(last, 0, b"x", true));
    assert_eq!(pair.close_code(End::Server), Some(code::STREAM_LIMIT_ERROR));
}

#[test]
fn tokens_too_large_or_too_many() {
    // Q67: C3, C4: MAX_TOKEN bytes, and a few; the rest is thrown away.
    let mut pair = Pair::connected(319);
    let news = |pair: &mut Pair| {
        pair.run_idle();
        let tokens = pair.client_events.iter();
        let tokens = tokens.filter(|event| matches!(event, Event::NewToken(_)));
        tokens.count()
    };
    let before = news(&mut pair);
    let large = bytes(|out| encode::new_token(out, &[1; crate::limits::MAX_TOKEN + 1]));
    pair.inject(End::Server, Level::OneRtt, &large);
    assert_eq!(news(&mut pair), before);
    for n in 0..100 {
        let frames = bytes(|out| encode::new_token(out, &[n; 30]));
        pair.inject(End::Server, Level::OneRtt, &frames);
    }
    let after = news(&mut pair);
    assert!(after > before && after <= 4, "{after}");
    assert_open(&mut pair);
}
