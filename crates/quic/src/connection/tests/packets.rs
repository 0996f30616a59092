//! Packets and datagrams as they travel: headers, numbers, duplicates, coalescing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use super::judge::{assert_open, crypto};
use super::pair::{End, Flying, Pair, client_config, server_config};
use crate::config::TransportConfig;
use crate::crypto::Level;
use crate::limits::MIN_DATAGRAM;
use crate::wire::header::{FixedBit, Packet, PacketType, SPIN_BIT};
use crate::wire::packet_number;

/// Every datagram that is sent from now on, kept.
pub(super) fn watch(pair: &mut Pair) -> Arc<Mutex<Vec<Flying>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    pair.filter = Some(Box::new(move |flying| {
        log.lock().unwrap().push(flying.clone());
        true
    }));
    seen
}

/// The packets of a datagram, by kind, as far as nobody needs keys for.
pub(super) fn kinds(mut data: &[u8]) -> Vec<PacketType> {
    let mut kinds = Vec::new();
    while !data.is_empty() {
        let Ok(packet) = Packet::parse(data, 8, FixedBit::Any) else {
            break;
        };
        kinds.push(packet.kind);
        data = &data[packet.packet_len.min(data.len())..];
    }
    kinds
}

fn talk(pair: &mut Pair, rounds: usize) {
    for _ in 0..rounds {
        pair.client.ping();
        pair.server().ping();
        pair.run_idle();
        pair.run_for(weir_core::time::Duration::from_millis(30));
    }
}

fn greasing(client: bool, server: bool) -> Pair {
    let with = |grease| TransportConfig {
        grease,
        ..TransportConfig::default()
    };
    let mut pair = Pair::with(
        100,
        client_config(with(client)),
        server_config(with(server)),
    );
    pair.establish();
    pair
}

#[test]
fn the_fixed_bit_is_random_for_a_peer_that_takes_it() {
    // Q3
    let mut pair = greasing(true, true);
    let seen = watch(&mut pair);
    talk(&mut pair, 40);
    for end in [End::Client, End::Server] {
        let bits: HashSet<u8> = (seen.lock().unwrap().iter())
            .filter(|flying| flying.to == end && flying.data[0] & 0x80 == 0)
            .map(|flying| flying.data[0] & 0x40)
            .collect();
        assert_eq!(bits.len(), 2, "to the {end:?}");
    }
}

#[test]
fn the_fixed_bit_is_1_for_a_peer_that_does_not() {
    // Q2, Q3
    let mut pair = greasing(true, false);
    let seen = watch(&mut pair);
    talk(&mut pair, 20);
    let mut seen = seen.lock().unwrap();
    assert!(seen.iter().all(|flying| flying.data[0] & 0x40 != 0));
    seen.clear();
    drop(seen);
    // Without the extension a packet whose fixed bit is 0 is not QUIC.
    let mut datagram = pair.forge(End::Client, Level::OneRtt, &[1]);
    datagram.data[0] &= !0x40;
    let before = pair.server().stats().packets_dropped;
    pair.deliver(datagram);
    assert_eq!(pair.server().stats().packets_dropped, before + 1);
    assert_open(&mut pair);
}

#[test]
fn packet_numbers_are_long_enough_for_what_is_unacknowledged() {
    // Q5, RFC 9000 A.2, A.3: whatever the receiver has of the span, it finds the number.
    for acked in [
        None,
        Some(0),
        Some(1),
        Some(200),
        Some(0xffff),
        Some((1 << 40) + 7),
    ] {
        for ahead in [
            1,
            2,
            100,
            127,
            128,
            5000,
            32_767,
            32_768,
            1 << 20,
            (1 << 22) + 3,
        ] {
            let base = acked.map_or(0, |acked| acked + 1);
            let pn = base + ahead - 1;
            let len = packet_number::len(pn, acked);
            let truncated = (pn & ((1_u64 << (8 * len)) - 1)) as u32;
            for expected in [base, base + (ahead - 1) / 2, pn] {
                let found = packet_number::decode(truncated, len, expected);
                assert_eq!(
                    found, pn,
                    "acked {acked:?}, {ahead} ahead, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn packet_numbers_grow_and_are_not_used_twice() {
    // Q6
    let mut pair = Pair::connected(101);
    let before = pair.client.next_number();
    let mut last = before;
    for _ in 0..50 {
        pair.client.ping();
        pair.run_idle();
        let next = pair.client.next_number();
        assert!(next > last);
        last = next;
    }
    assert!(last - before >= 50);
}

#[test]
fn a_duplicate_is_dropped_unread() {
    // Q7
    let mut pair = Pair::connected(102);
    let datagram = pair.forge(End::Client, Level::OneRtt, &[1]);
    let before = pair.server().stats();
    for _ in 0..3 {
        pair.deliver(datagram.clone());
    }
    let after = pair.server().stats();
    assert_eq!(after.packets_received, before.packets_received + 1);
    assert_eq!(after.packets_dropped, before.packets_dropped + 2);
    assert_open(&mut pair);
}

#[test]
fn what_follows_a_damaged_packet_is_read() {
    // Q8, Q30: the Handshake packet behind an Initial that cannot be opened.
    let mut pair = Pair::new(103);
    let damaged = Arc::new(Mutex::new(0));
    let count = Arc::clone(&damaged);
    pair.filter = Some(Box::new(move |flying| {
        let mut count = count.lock().unwrap();
        if flying.to == End::Client && kinds(&flying.data).len() > 1 && *count == 0 {
            let first = Packet::parse(&flying.data, 8, FixedBit::Any).unwrap();
            flying.data[first.packet_len - 1] ^= 1;
            *count += 1;
        }
        true
    }));
    pair.establish();
    assert_eq!(*damaged.lock().unwrap(), 1);
    let stats = pair.client.stats();
    assert!(stats.packets_dropped >= 1, "{stats:?}");
}

#[test]
fn a_packet_for_another_connection_id_in_the_datagram_ends_it() {
    // Q8
    let mut pair = Pair::new(104);
    super::closing::handshake_keys(&mut pair);
    let first = pair.forge(End::Server, Level::Handshake, &[1]);
    let mut other = pair.forge(End::Server, Level::Handshake, &[1]);
    other.data[6] ^= 0xff;
    let third = pair.forge(End::Server, Level::Handshake, &[1]);
    let mut datagram = first;
    datagram.data.extend(other.data);
    datagram.data.extend(third.data);
    let before = pair.client.stats();
    pair.deliver(datagram);
    let after = pair.client.stats();
    assert_eq!(after.packets_received, before.packets_received + 1);
}

#[test]
fn a_short_header_is_the_last_of_its_datagram() {
    // Q9: nothing could say where it ends.
    let mut pair = Pair::new(105);
    let seen = watch(&mut pair);
    pair.establish();
    let mut coalesced = 0;
    for flying in seen.lock().unwrap().iter() {
        let kinds = kinds(&flying.data);
        coalesced += usize::from(kinds.len() > 1);
        if let Some(at) = kinds.iter().position(|kind| *kind == PacketType::OneRtt) {
            assert_eq!(at, kinds.len() - 1, "{kinds:?}");
        }
    }
    assert!(coalesced > 0);
}

#[test]
fn forgeries_change_nothing() {
    // Q30
    let mut pair = Pair::connected(106);
    for bit in 0..8 {
        let mut datagram = pair.forge(End::Client, Level::OneRtt, &[0x1c, 0, 0, 0]);
        let last = datagram.data.len() - 1;
        datagram.data[last] ^= 1 << bit;
        pair.deliver(datagram);
    }
    assert_eq!(pair.close_code(End::Server), None);
    assert_open(&mut pair);
}

#[test]
fn a_forged_initial_of_another_version_changes_nothing() {
    // Q30: the version that a client follows its server to is authenticated first.
    let mut pair = Pair::new(107);
    let seen = watch(&mut pair);
    pair.step();
    let first = seen.lock().unwrap()[0].data.clone();
    let mut data = vec![0xd0, 0x6b, 0x33, 0x43, 0xcf, 8];
    data.extend(&first[15..23]); // the client's ID
    data.push(8);
    data.extend([7; 8]);
    data.extend([0, 0x44, 0x00]);
    data.resize(data.len() + 1024, 0x55);
    let datagram = pair.flight(End::Server, data);
    pair.deliver(datagram);
    assert_eq!(pair.client.version(), crate::wire::Version::V1);
    pair.establish();
}

fn spinning(seed: u64, spin: bool) -> Vec<u8> {
    let config = TransportConfig {
        spin,
        ..TransportConfig::default()
    };
    let mut pair = Pair::with(seed, client_config(config.clone()), server_config(config));
    pair.establish();
    let seen = watch(&mut pair);
    talk(&mut pair, 10);
    let seen = seen.lock().unwrap();
    let from_client = seen.iter().filter(|flying| flying.to == End::Server);
    from_client
        .map(|flying| flying.data[0] & SPIN_BIT)
        .collect()
}

#[test]
fn the_spin_bit_spins_when_it_is_on() {
    // Q15: the client turns it once each round trip. On one path in sixteen it does not.
    let mut spun = 0;
    for seed in 0..64 {
        let bits = spinning(200 + seed, true);
        spun += u32::from(bits.iter().collect::<HashSet<_>>().len() == 2);
    }
    assert!((40..64).contains(&spun), "on {spun} of 64 paths");
}

#[test]
fn the_spin_bit_can_be_switched_off() {
    // Q15
    assert!(spinning(108, false).iter().all(|bit| *bit == 0));
}

#[test]
fn an_old_packet_does_not_turn_the_spin_bit_back() {
    // Q15, RFC 9000 17.4
    let mut pair = Pair::connected(109);
    let now = pair.now;
    let old = pair.client.forge_bits(now, Level::OneRtt, 0, &[1]).unwrap();
    let new = pair
        .client
        .forge_bits(now, Level::OneRtt, SPIN_BIT, &[1])
        .unwrap();
    for data in [new, old] {
        let datagram = pair.flight(End::Client, data);
        pair.deliver(datagram);
    }
    assert!(pair.server().spin_value());
}

#[test]
fn a_server_takes_no_initial_in_a_small_datagram() {
    // Q59: nor once it has a connection for it.
    let mut pair = Pair::new(110);
    pair.run_until(|pair| pair.server.is_some());
    let now = pair.now;
    let data = pair.client.forge(now, Level::Initial, &[0x1c, 0, 0, 0]);
    assert!(data.len() < MIN_DATAGRAM);
    let datagram = pair.flight(End::Client, data);
    pair.deliver(datagram);
    assert_eq!(pair.close_code(End::Server), None);
    pair.establish();
}

#[test]
fn another_source_connection_id_than_before_is_dropped() {
    // Q68, RFC 9000 7.2
    let mut pair = Pair::new(111);
    super::closing::handshake_keys(&mut pair);
    let before = pair.client.stats();
    let mut datagram = pair.forge(End::Server, Level::Handshake, &crypto(0, b""));
    datagram.data[15] ^= 1;
    pair.deliver(datagram);
    let after = pair.client.stats();
    assert_eq!(after.packets_received, before.packets_received);
    assert_eq!(after.packets_dropped, before.packets_dropped + 1);
}
