//! Caps on memory, and who waits for it.

use super::{inbound, outbound};
use crate::proof::frames::{DATA, Frame, Reader, SYN};
use crate::proof::peer::copy_all;
use crate::proof::{Peer, quiet};
use std::collections::HashSet;
use weir_core::budget::Budget;
use weir_core::time::Duration;
use weir_yamux::limits as cap;
use weir_yamux::{Config, Event, Half, Key, Role, TransmitBuf, WriteError};

pub fn stream_cost() {
    // Y53
    let mut peer = Peer::of(
        Role::Server,
        Config {
            accept_backlog: 20_000,
            ..quiet()
        },
    );
    for n in 0..10_000 {
        peer.send(&[Frame::update(SYN, 1 + 2 * n, 0)]);
    }
    assert_eq!(peer.session.stats().memory_used, 10_000 * cap::STREAM_COST);
    let keys: Vec<Key> = std::iter::from_fn(|| peer.accept()).collect();
    assert_eq!(keys.len(), 10_000);
    assert_eq!(peer.recv().len(), 10_000, "an ACK each");
    peer.assert_alive();
    assert_eq!(peer.session.stats().memory_used, 10_000 * cap::STREAM_COST);
    for key in keys {
        peer.session.release(peer.now, key, Half::Send);
        peer.session.release(peer.now, key, Half::Recv);
    }
    assert_eq!(peer.recv().len(), 10_000, "a RST each (Y41)");
    assert_eq!(peer.session.stats().memory_used, 0);
}

pub fn memory_block() {
    // What the process sees is what the session uses, and two blocks at most.
    let mut peer = Peer::of_server();
    let key = inbound(&mut peer, 1);
    for step in 0..500 {
        peer.send(&[Frame::data(0, 1, &[1; 500])]);
        if step % 3 == 0 {
            let _read = peer.session.read(peer.now, key, 700);
        }
        let (used, seen) = (peer.session.stats().memory_used, peer.budget.used());
        assert!(
            seen >= used && seen <= used + 2 * cap::MEMORY_BLOCK,
            "{seen} for {used}"
        );
    }
    drop(peer.session);
    assert_eq!(peer.budget.used(), 0);
}

/// One session cannot take what the process has: it leaves as much as it holds, and each has its
/// least.
pub fn min_session_memory() {
    let process = Budget::root("process", 8 << 20);
    let config = Config {
        accept_backlog: 1_000,
        ..quiet()
    };
    let fill = |peer: &mut Peer| {
        for n in 0..200 {
            peer.send(&[Frame::data(SYN, 1 + 2 * n, &[1; 60_000])]);
        }
        peer.recv();
        peer.assert_alive();
        peer.session.stats().memory_used
    };
    let mut greedy = Peer::within(Role::Server, config.clone(), process.clone());
    let taken = fill(&mut greedy);
    assert!(taken <= 4 << 20 && taken > 3 << 20, "{taken} bytes");
    let mut others: Vec<Peer> = (0..2)
        .map(|_| Peer::within(Role::Server, config.clone(), process.clone()))
        .collect();
    for other in &mut others {
        let taken = fill(other);
        assert!(taken > cap::MIN_SESSION_MEMORY * 9 / 10, "{taken} bytes");
    }
    assert!(process.used() <= process.limit());
}

pub fn shed_search() {
    // Y30: with memory full, streams that hold most are let go of; the session and the rest live.
    let mut peer = Peer::of(
        Role::Server,
        Config {
            session_budget: 1 << 20,
            ..quiet()
        },
    );
    for n in 0..100 {
        peer.send(&[Frame::update(SYN, 1 + 2 * n, 0)]);
    }
    for round in 0..20 {
        for n in 0..100 {
            peer.send(&[Frame::data(0, 1 + 2 * n, &[round; 5_000])]);
            assert!(peer.session.stats().memory_used <= 1 << 20);
        }
    }
    let stats = peer.session.stats();
    assert!(
        stats.streams_shed > 0 && stats.streams_open > 0,
        "{stats:?}"
    );
    peer.assert_alive();
}

pub fn budget_retry() {
    // Memory that others give back is not announced: a writer that waits tries again soon.
    let mut peer = Peer::of(
        Role::Client,
        Config {
            session_budget: 1 << 40,
            ..quiet()
        },
    );
    let key = outbound(&mut peer, 0);
    let rest = peer.budget.available();
    peer.budget.try_reserve(rest).unwrap();
    // What the session holds of its block can still be used.
    while peer.write(key, &[0; 512]).is_ok() {}
    peer.recv();
    while peer.write(key, &[0; 512]).is_ok() {}
    assert_eq!(peer.write(key, b"x"), Err(WriteError::Blocked));
    peer.recv();
    peer.pass(Duration::from_millis(cap::BUDGET_RETRY_MILLIS * 3));
    peer.budget.release(rest);
    let mut waited = 0;
    while !peer.events().contains(&Event::Writable(key)) {
        peer.pass(Duration::from_millis(1));
        waited += 1;
        assert!(
            waited <= cap::BUDGET_RETRY_MILLIS,
            "not woken in {waited} ms"
        );
    }
    assert!(peer.write(key, b"x").is_ok());
}

/// Found by seed 3293 of the random schedules: a writer whose queue was its fair share was woken
/// and refused again and again while nothing moved.
pub fn one_starved_writer() {
    let config = Config {
        session_budget: 1 << 20,
        send_buffer: 1 << 20,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Client, config);
    let key = outbound(&mut peer, 0);
    while peer.write(key, &[1; 20_000]).is_ok() {}
    peer.recv();
    let mut wakes = 0;
    for _ in 0..100 {
        while peer.write(key, &[1; 20_000]).is_ok() {}
        peer.recv();
        wakes += peer.events().len();
        peer.pass(Duration::from_millis(5));
    }
    assert!(wakes < 20, "{wakes} wake-ups and nothing moved");
    // As soon as the peer takes more, the writer goes on.
    peer.send(&[Frame::update(0, 1, 1 << 20)]);
    peer.recv();
    peer.recv();
    assert_eq!(peer.events(), [Event::Writable(key)]);
    assert!(peer.write(key, &[1; 20_000]).is_ok());
}

pub fn many_starved_writers() {
    let config = Config {
        session_budget: 1 << 20,
        send_buffer: 1 << 20,
        ack_backlog: 999,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Client, config);
    let keys: Vec<Key> = (0..300).map(|_| peer.open()).collect();
    let mut batch = TransmitBuf::new();
    peer.session.poll_transmit(peer.now, &mut batch);
    for key in &keys {
        while peer.write(*key, &[1; 20_000]).is_ok() {}
    }
    let mut wakes = 0;
    for _ in 0..1_000 {
        // The carrier takes nothing, so nothing comes free.
        peer.session.poll_transmit(peer.now, &mut batch);
        for event in peer.events() {
            let Event::Writable(key) = event else {
                continue;
            };
            wakes += 1;
            while peer.write(key, &[1; 20_000]).is_ok() {}
        }
        assert!(peer.session.stats().memory_used <= 1 << 20);
    }
    assert!(wakes < 1_000, "{wakes} wake-ups and nothing moved");
    // When it does come free, everybody has a turn.
    let mut woken = HashSet::new();
    for _ in 0..600 {
        batch.clear();
        peer.session.poll_transmit(peer.now, &mut batch);
        let sent = copy_all(&batch);
        let credits = credits(&sent);
        peer.send(&credits);
        peer.pass(Duration::from_millis(5));
        for event in peer.events() {
            let Event::Writable(key) = event else {
                continue;
            };
            woken.insert(key);
            let _taken = peer.write(key, &[1; 5_000]);
            // It is asked again, so that it is told again.
            while peer.write(key, &[1; 5_000]).is_ok() {}
        }
    }
    assert!(woken.len() >= 290, "{} of 300 had a turn", woken.len());
}

/// Credit for what was sent, as a reader that keeps up gives it.
fn credits(sent: &[u8]) -> Vec<Frame> {
    let mut reader = Reader::default();
    reader.push(sent);
    let frames = std::iter::from_fn(|| reader.next_frame());
    let data = frames.filter(|frame| frame.kind == DATA && frame.length > 0);
    data.map(|frame| Frame::update(0, frame.id, frame.length))
        .collect()
}
