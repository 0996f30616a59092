//! What connections cost that have nothing to say, and what a busy one asks of the allocator.
//!
//! One test in this binary: the allocator counts for the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod pair;

use std::alloc::System;

use pair::{MILLI, Pair, Wire};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weir_core::time::Duration;
use weir_tcpip::{Config, ConnectConfig, ListenConfig, TcpKey};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 10_000;

/// 1 KiB one way and the other.
fn exchange(pair: &mut Pair, (a, b): (TcpKey, TcpKey)) {
    let message = [7; 1024];
    let mut buffer = [0; 2048];
    assert_eq!(
        pair.a.stack.tcp_write_slice(pair.now, a, &message),
        Ok(1024)
    );
    pair.turn();
    pair.now += MILLI;
    pair.turn();
    assert_eq!(
        pair.b.stack.tcp_read_into(pair.now, b, &mut buffer),
        Ok(1024)
    );
    assert_eq!(
        pair.b.stack.tcp_write_slice(pair.now, b, &message),
        Ok(1024)
    );
    pair.turn();
    pair.now += MILLI;
    pair.turn();
    assert_eq!(
        pair.a.stack.tcp_read_into(pair.now, a, &mut buffer),
        Ok(1024)
    );
    pair.a.take_events();
    pair.b.take_events();
}

// T156: ten thousand connections that were used and fell idle: at most 720 bytes each, everything
// included. And no wake-up is left.
#[test]
fn an_idle_connection_is_small_and_sleeps() {
    let config = Config {
        max_half_open: 64,
        ..Config::default()
    };
    let mut pair = Pair::new(&Wire {
        config,
        ..Wire::default()
    });
    let listener = pair.listen(ListenConfig::default());
    let mut ends = Vec::with_capacity(CONNECTIONS);
    // What the first one brings along: tables, chunks, the test's own buffers.
    let open = |pair: &mut Pair| {
        let a = pair.dial(ConnectConfig::default());
        pair.run(10 * MILLI);
        let b = pair.b.stack.tcp_accept(pair.now, listener).unwrap();
        exchange(pair, (a, b));
        (a, b)
    };
    ends.push(open(&mut pair));
    pair.run(Duration::from_secs(10));
    let region = Region::new(ALLOCATOR);
    for _ in 1..CONNECTIONS {
        ends.push(open(&mut pair));
    }
    pair.run(Duration::from_secs(10));
    let change = region.change();
    let held = change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated);
    // Both ends of each are here.
    let each = held / (CONNECTIONS - 1) / 2;
    println!("{each} bytes an idle connection");
    assert!(each <= 720, "{each} bytes an idle connection");
    assert_eq!(pair.a.stack.stats().connections, CONNECTIONS);

    // T156: nothing wakes up for them.
    let before = (pair.a.sent, pair.b.sent);
    pair.run(Duration::from_secs(600));
    assert_eq!((pair.a.sent, pair.b.sent), before);
    assert_eq!(pair.a.stack.poll_timeout().map(|(_, timer)| timer), None);

    // And all of them still work.
    for n in [0, 1, CONNECTIONS / 2, CONNECTIONS - 1] {
        exchange(&mut pair, ends[n]);
    }
    for (a, b) in ends {
        pair.a.stack.tcp_close(pair.now, a);
        pair.b.stack.tcp_close(pair.now, b);
    }
    pair.run(Duration::from_secs(100));
    let stats = [pair.a.stack.stats(), pair.b.stack.stats()];
    assert!(
        stats
            .iter()
            .all(|it| it.connections == 0 && it.time_waits == 0 && it.memory == 0)
    );
}
