//! TIME-WAIT, orphans, and what is left when everybody has gone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod pair;
mod raw;

use std::net::SocketAddr;

use pair::{MILLI, Pair, Wire};
use raw::{Host, Seg, at};
use weir_core::time::Duration;
use weir_tcpip::wire::tcp::Flags;
use weir_tcpip::{CloseCause, Config, ConnectConfig, Event, ListenConfig, State};

const SECOND: Duration = Duration::from_secs(1);
const FIN_ACK: Flags = Flags::FIN.with(Flags::ACK);

fn server() -> SocketAddr {
    at("10.0.0.1:80")
}

fn client() -> SocketAddr {
    at("10.0.0.2:1000")
}

/// A connection in TIME-WAIT, closed by the stack first: what it sent last, and the client's next
/// number is 102.
fn waiting(config: Config) -> (Host, u32) {
    let mut host = Host::with(config);
    let key = host
        .stack
        .tcp_listen(server(), ListenConfig::default())
        .unwrap();
    let iss = host.handshake(client(), server());
    let accepted = host.stack.tcp_accept(host.now, key).unwrap();
    host.stack.tcp_close(host.now, accepted);
    assert_eq!(host.segments()[0].flags.without(Flags::PSH), FIN_ACK);
    let next = iss.wrapping_add(2);
    let [ack] = &host.answer(&Seg::new(client(), server(), FIN_ACK, 101, next))[..] else {
        panic!()
    };
    assert_eq!((ack.seq, ack.ack), (next, 102));
    host.packets();
    (host, next)
}

// T119: RFC 9293 3.6.1
#[test]
fn it_lasts_a_minute_and_begins_anew_with_a_repeated_fin() {
    let (mut host, next) = waiting(Config::default());
    assert_eq!(
        (
            host.stack.stats().connections,
            host.stack.stats().time_waits
        ),
        (0, 1)
    );
    host.run(50 * SECOND);
    let [ack] = &host.answer(&Seg::new(client(), server(), FIN_ACK, 101, next))[..] else {
        panic!()
    };
    assert_eq!((ack.flags, ack.seq, ack.ack), (Flags::ACK, next, 102));
    host.run(59 * SECOND);
    assert_eq!(host.stack.stats().time_waits, 1);
    host.run(2 * SECOND);
    let stats = host.stack.stats();
    assert_eq!(
        (stats.time_waits, stats.memory, stats.counters.tw),
        (0, 0, 1)
    );
}

// T121: RFC 1337
#[test]
fn a_rst_does_not_cut_it_short() {
    let (mut host, next) = waiting(Config::default());
    for flags in [Flags::RST, Flags::RST.with(Flags::ACK)] {
        assert_eq!(
            host.answer(&Seg::new(client(), server(), flags, 102, next)),
            []
        );
    }
    assert_eq!(host.stack.stats().time_waits, 1);
}

// T120: RFC 9293 3.6.1: the new connection's numbers lie above the old one's.
#[test]
fn a_new_syn_with_a_larger_number_takes_its_place() {
    let (mut host, next) = waiting(Config::default());
    let old = Seg::new(client(), server(), Flags::SYN, 90, 0);
    assert!(
        host.answer(&old)
            .iter()
            .all(|it| !it.flags.contains(Flags::SYN))
    );
    assert_eq!(host.stack.stats().time_waits, 1);
    let [answer] = &host.answer(&Seg::new(client(), server(), Flags::SYN, 5000, 0))[..] else {
        panic!()
    };
    assert_eq!(
        (answer.flags, answer.ack),
        (Flags::SYN.with(Flags::ACK), 5001)
    );
    assert!(answer.seq.wrapping_sub(next) < 1 << 31, "above");
    let stats = host.stack.stats();
    assert_eq!(
        (
            stats.time_waits,
            stats.connections,
            stats.counters.tw_recycled
        ),
        (0, 1, 1)
    );
}

// T120, T14: where nobody listens any more a SYN gets its RST.
#[test]
fn a_new_syn_without_a_listener_gets_rst() {
    let mut host = Host::new();
    let key = host
        .stack
        .tcp_listen(server(), ListenConfig::default())
        .unwrap();
    let iss = host.handshake(client(), server());
    let accepted = host.stack.tcp_accept(host.now, key).unwrap();
    host.stack.tcp_unlisten(host.now, key);
    host.stack.tcp_close(host.now, accepted);
    host.segments();
    host.answer(&Seg::new(
        client(),
        server(),
        FIN_ACK,
        101,
        iss.wrapping_add(2),
    ));
    let [answer] = &host.answer(&Seg::new(client(), server(), Flags::SYN, 5000, 0))[..] else {
        panic!()
    };
    assert_eq!(
        (answer.flags, answer.ack),
        (Flags::RST.with(Flags::ACK), 5001)
    );
}

// threats C4: the oldest gives way.
#[test]
fn the_table_is_bounded() {
    let mut pair = Pair::new(&Wire {
        config: Config {
            max_time_waits: 3,
            ..Config::default()
        },
        ..Wire::default()
    });
    let listener = pair.listen(ListenConfig::default());
    for _ in 0..10 {
        let a = pair.dial(ConnectConfig::default());
        pair.run(10 * MILLI);
        let b = pair.b.stack.tcp_accept(pair.now, listener).unwrap();
        pair.a.stack.tcp_close(pair.now, a);
        pair.run(10 * MILLI);
        pair.b.stack.tcp_close(pair.now, b);
        pair.run(10 * MILLI);
    }
    let stats = pair.a.stack.stats();
    assert_eq!(
        (stats.time_waits, stats.counters.tw, stats.connections),
        (3, 10, 0)
    );
    pair.run(61 * SECOND);
    assert_eq!(pair.a.stack.stats().time_waits, 0);
}

// T120, T31: RFC 6191, RFC 7323 B.2: this side may begin anew between the same ends.
#[test]
fn a_connection_may_follow_its_own_time_wait() {
    let mut pair = Pair::new(&Wire::default());
    let listener = pair.listen(ListenConfig::default());
    let local = Some(pair.at(1, 5000));
    for round in 0..3 {
        let a = pair.dial(ConnectConfig {
            local,
            ..ConnectConfig::default()
        });
        pair.run(10 * MILLI);
        let b = pair.b.stack.tcp_accept(pair.now, listener).unwrap();
        assert_eq!(
            pair.a.stack.tcp_state(a),
            Some(State::Established),
            "round {round}"
        );
        pair.a.stack.tcp_close(pair.now, a);
        pair.run(10 * MILLI);
        pair.b.stack.tcp_close(pair.now, b);
        pair.run(10 * MILLI);
        assert_eq!(pair.a.stack.stats().time_waits, 1);
    }
    assert_eq!(pair.a.stack.stats().counters.tw_recycled, 2);
}

// What arrived can be read in TIME-WAIT, and the key lives until it is closed.
#[test]
fn unread_bytes_survive_time_wait() {
    let mut pair = Pair::new(&Wire::default());
    let (a, b) = pair.connected();
    pair.a.stack.tcp_finish(pair.now, a);
    pair.run(10 * MILLI);
    pair.b
        .stack
        .tcp_write_slice(pair.now, b, b"last words")
        .unwrap();
    pair.b.stack.tcp_close(pair.now, b);
    pair.run(10 * MILLI);
    assert_eq!(pair.a.stack.tcp_state(a), Some(State::TimeWait));
    assert!(
        pair.a
            .take_events()
            .contains(&Event::TcpClosed(a, CloseCause::Finished))
    );
    pair.run(120 * SECOND);
    assert_eq!(pair.a.stack.stats().time_waits, 0);
    assert_eq!(pair.a.read_all(pair.now, a), (b"last words".to_vec(), true));
    pair.a.stack.tcp_close(pair.now, a);
    assert_eq!(pair.a.stack.tcp_state(a), None);
    assert_eq!(
        (
            pair.a.stack.stats().connections,
            pair.a.stack.stats().memory
        ),
        (0, 0)
    );
}

// threats C4: connections that nobody holds are bounded; one too many is reset.
#[test]
fn orphans_are_bounded() {
    let config = Config {
        max_orphans: 2,
        ..Config::default()
    };
    let mut pair = Pair::of(
        &Wire {
            config,
            ..Wire::default()
        },
        &Wire::default(),
    );
    let listener = pair.listen(ListenConfig::default());
    let mut ends = Vec::new();
    for _ in 0..4 {
        let a = pair.dial(ConnectConfig::default());
        pair.run(10 * MILLI);
        ends.push((a, pair.b.stack.tcp_accept(pair.now, listener).unwrap()));
    }
    pair.b.take_events();
    // B does not close: the orphans stay in FIN-WAIT-2.
    for (a, _) in &ends {
        pair.a.stack.tcp_close(pair.now, *a);
        pair.run(10 * MILLI);
    }
    let stats = pair.a.stack.stats();
    assert_eq!((stats.orphans, stats.connections), (2, 2));
    assert_eq!(stats.counters.tcp_abort_on_memory, 2);
    let reset = |event: &Event| matches!(event, Event::TcpClosed(_, CloseCause::Reset));
    assert_eq!(
        pair.b
            .take_events()
            .iter()
            .filter(|event| reset(event))
            .count(),
        2
    );
    // T122
    pair.run(61 * SECOND);
    assert_eq!(
        (pair.a.stack.stats().orphans, pair.a.stack.stats().memory),
        (0, 0)
    );
}
