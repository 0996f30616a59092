//! Who takes a connection, and what those get that nobody takes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod raw;

use std::net::SocketAddr;

use raw::{Host, Seg, at};
use weir_core::time::Duration;
use weir_tcpip::limits::{
    DEFAULT_HOP_LIMIT, MAX_LISTENERS, MAX_REPLIES, RST_PER_SOURCE, TIMER_TICK,
};
use weir_tcpip::wire::tcp::{Flags, Options};
use weir_tcpip::{
    CloseCause, Config, ConnectConfig, Event, ListenConfig, ListenerKey, State, SynCookies,
};

const SECOND: Duration = Duration::from_secs(1);
const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);
const RST_ACK: Flags = Flags::RST.with(Flags::ACK);

fn server() -> SocketAddr {
    at("10.0.0.1:80")
}

fn client(n: u16) -> SocketAddr {
    SocketAddr::new([10, 0, 0, 2].into(), 1000 + n)
}

fn listening(host: &mut Host, backlog: usize) -> ListenerKey {
    let config = ListenConfig {
        backlog,
        ..ListenConfig::default()
    };
    host.stack.tcp_listen(server(), config).unwrap()
}

fn syn(from: SocketAddr, to: SocketAddr) -> Seg {
    Seg::new(from, to, Flags::SYN, 100, 0)
}

// T14
#[test]
fn a_syn_to_a_closed_port_gets_rst_ack() {
    let mut host = Host::new();
    let fast = syn(client(1), server()).carrying(b"four");
    let [answer] = &host.answer(&fast)[..] else {
        panic!()
    };
    assert_eq!((answer.flags, answer.seq, answer.ack), (RST_ACK, 0, 105));
    assert_eq!((answer.src, answer.dst), (server(), client(1)));
    assert_eq!((answer.window, answer.options), (0, Options::default()));
    assert_eq!(host.stack.stats().counters.out_rsts, 1);
}

// T14
#[test]
fn a_syn_to_a_closed_port_gets_rst_ack_over_ipv6() {
    let mut host = Host::new();
    let [answer] = &host.answer(&syn(at("[fd00::2]:9"), at("[fd00::1]:80")))[..] else {
        panic!()
    };
    assert_eq!((answer.flags, answer.seq, answer.ack), (RST_ACK, 0, 101));
}

// T15
#[test]
fn an_ack_to_a_closed_port_gets_rst_with_its_number() {
    let mut host = Host::new();
    let ack = Seg::new(client(1), server(), Flags::ACK, 55, 7777).carrying(b"data");
    let [answer] = &host.answer(&ack)[..] else {
        panic!()
    };
    assert_eq!(
        (answer.flags, answer.seq, answer.ack),
        (Flags::RST, 7777, 0)
    );
}

// T16, T17
#[test]
fn a_rst_is_never_answered() {
    let mut host = Host::new();
    for listens in [false, true] {
        for flags in [Flags::RST, RST_ACK, Flags::RST.with(Flags::SYN)] {
            let rst = Seg::new(client(1), server(), flags, 55, 7777);
            assert_eq!(host.answer(&rst), [], "{listens} {flags}");
        }
        if !listens {
            listening(&mut host, 4);
        }
    }
    assert_eq!(host.stack.stats().connections, 0);
}

// T17, T37: no cookie was sent, so no ACK can bring one back.
#[test]
fn a_listener_answers_acks_with_rst() {
    let mut host = Host::new();
    listening(&mut host, 4);
    for flags in [Flags::ACK, SYN_ACK, Flags::FIN.with(Flags::ACK)] {
        let segment = Seg::new(client(1), server(), flags, 55, 7777);
        let [answer] = &host.answer(&segment)[..] else {
            panic!("{flags}")
        };
        assert_eq!((answer.flags, answer.seq), (Flags::RST, 7777));
    }
    // RFC 9293 3.10.7.2: what has neither SYN nor ACK is dropped.
    assert_eq!(
        host.answer(&Seg::new(client(1), server(), Flags::FIN, 55, 0)),
        []
    );
    assert_eq!(host.stack.stats().connections, 0);
}

// threats C8: an off-path flood makes no more RSTs than this; T16.
#[test]
fn resets_are_rate_limited() {
    let mut host = Host::new();
    let mut answers = 0;
    for n in 0..3 * RST_PER_SOURCE {
        answers += host.answer(&syn(client(n as u16), server())).len();
    }
    assert_eq!(answers, RST_PER_SOURCE as usize);
    let limited = host.stack.stats().counters.tcp_rst_rate_limited;
    assert_eq!(limited, u64::from(2 * RST_PER_SOURCE));
    let other = syn(at("10.0.0.3:5"), server());
    assert_eq!(
        host.answer(&other).len(),
        1,
        "another source has a bucket of its own"
    );
    host.run(2 * SECOND);
    assert_eq!(host.answer(&syn(client(1), server())).len(), 1);
}

// threats C3: answers that wait to be sent are bounded.
#[test]
fn answers_without_a_connection_are_bounded() {
    let config = Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    };
    let mut host = Host::with(config);
    listening(&mut host, 4);
    for n in 0..2 * MAX_REPLIES {
        host.send(&syn(client(n as u16), server()));
    }
    assert_eq!(host.segments().len(), MAX_REPLIES);
}

#[test]
fn a_quiet_stack_answers_no_strangers() {
    let mut host = Host::with(Config {
        answer_strangers: false,
        ..Config::default()
    });
    assert_eq!(host.answer(&syn(client(1), server())), []);
    assert_eq!(
        host.answer(&Seg::new(client(1), server(), Flags::ACK, 1, 2)),
        []
    );
}

// T34: RFC 1122 4.2.3.10
#[test]
fn a_syn_to_many_is_dropped() {
    let mut host = Host::new();
    let any = at("0.0.0.0:80");
    host.stack.tcp_listen(any, ListenConfig::default()).unwrap();
    for to in [
        "10.0.0.255:80",
        "255.255.255.255:80",
        "224.0.0.1:80",
        "224.0.0.1:81",
    ] {
        assert_eq!(host.answer(&syn(client(1), at(to))), [], "{to}");
    }
    let all_nodes = syn(at("[fd00::2]:9"), at("[ff02::1]:81"));
    assert_eq!(host.answer(&all_nodes), []);
    assert_eq!(host.stack.stats().connections, 0);
    assert_eq!(host.answer(&syn(client(1), server())).len(), 1);
}

// T35
#[test]
fn a_full_backlog_drops_syns_and_takes_them_later() {
    let mut host = Host::new();
    let key = listening(&mut host, 2);
    host.handshake(client(1), server());
    host.handshake(client(2), server());
    assert_eq!(
        host.answer(&syn(client(3), server())),
        [],
        "neither SYN,ACK nor RST"
    );
    assert_eq!(host.stack.stats().counters.listen_overflows, 1);
    assert!(host.stack.tcp_accept(host.now, key).is_some());
    let [answer] = &host.answer(&syn(client(3), server()))[..] else {
        panic!()
    };
    assert_eq!(answer.flags, SYN_ACK);
}

// T35: the last ACK of a handshake finds the queue full: the connection stays half-open.
#[test]
fn a_handshake_waits_for_room_in_the_queue() {
    let mut host = Host::new();
    let key = listening(&mut host, 2);
    let first = host.answer(&syn(client(1), server()))[0].seq;
    let second = host.answer(&syn(client(2), server()))[0].seq;
    host.send(&Seg::new(
        client(1),
        server(),
        Flags::ACK,
        101,
        first.wrapping_add(1),
    ));
    host.handshake(client(9), server());
    let last = Seg::new(client(2), server(), Flags::ACK, 101, second.wrapping_add(1));
    assert_eq!(host.answer(&last), []);
    assert_eq!(
        (
            host.stack.stats().half_open,
            host.stack.stats().counters.listen_overflows
        ),
        (1, 1)
    );
    host.stack.tcp_accept(host.now, key).unwrap();
    assert_eq!(host.answer(&last), []);
    assert_eq!(host.stack.stats().half_open, 0);
    assert!(host.stack.tcp_accept(host.now, key).is_some());
    assert!(host.stack.tcp_accept(host.now, key).is_some());
}

// T33: RFC 9293 3.10.4
#[test]
fn a_listener_that_closes_resets_what_was_not_accepted() {
    let mut host = Host::new();
    let key = listening(&mut host, 8);
    let accepted = host.handshake(client(1), server());
    let lives = host.stack.tcp_accept(host.now, key).unwrap();
    let waiting = host.handshake(client(2), server());
    let embryonic = host.answer(&syn(client(3), server()))[0].seq;
    host.stack.tcp_unlisten(host.now, key);
    let resets = host.segments();
    let seen: Vec<_> = resets.iter().map(|it| (it.dst, it.seq)).collect();
    assert!(
        resets.iter().all(|it| it.flags.contains(Flags::RST)),
        "{resets:?}"
    );
    assert_eq!(seen.len(), 2);
    assert!(seen.contains(&(client(2), waiting.wrapping_add(1))));
    assert!(seen.contains(&(client(3), embryonic.wrapping_add(1))));
    assert_eq!(
        (host.stack.stats().connections, host.stack.stats().half_open),
        (1, 0)
    );
    let data = Seg::new(
        client(1),
        server(),
        Flags::ACK,
        101,
        accepted.wrapping_add(1),
    );
    host.send(&data.carrying(b"still here"));
    let read = host.stack.tcp_read(host.now, lives, 100).unwrap().unwrap();
    assert_eq!(&read[..], b"still here");
    host.segments();
    let [answer] = &host.answer(&syn(client(4), server()))[..] else {
        panic!()
    };
    assert_eq!(answer.flags, RST_ACK, "nobody listens any more");
}

// T20: a RST takes a half-open connection away, and nobody is told.
#[test]
fn half_open_connections_that_are_reset_make_room() {
    let mut host = Host::new();
    let key = listening(&mut host, 8);
    host.send(&syn(client(1), server()));
    host.segments();
    host.send(&Seg::new(client(1), server(), Flags::RST, 101, 0));
    host.segments();
    let stats = host.stack.stats();
    assert_eq!(
        (stats.connections, stats.half_open, stats.memory),
        (0, 0, 0)
    );
    assert_eq!(host.events(), []);
    assert_eq!(host.stack.tcp_accept(host.now, key), None);
}

#[test]
fn the_most_exact_listener_takes_it() {
    let mut host = Host::new();
    let v4 = host
        .stack
        .tcp_listen(at("0.0.0.0:80"), ListenConfig::default())
        .unwrap();
    let exact = listening(&mut host, 8);
    let all = host
        .stack
        .tcp_listen(at("[::]:81"), ListenConfig::default())
        .unwrap();
    host.handshake(client(1), server());
    assert_eq!(host.events(), [Event::TcpAcceptable(exact)]);
    host.stack.tcp_unlisten(host.now, exact);
    host.segments();
    host.handshake(client(2), server());
    assert_eq!(host.events(), [Event::TcpAcceptable(v4)]);
    host.handshake(client(3), at("10.0.0.1:81"));
    host.handshake(at("[fd00::2]:5"), at("[fd00::1]:81"));
    assert_eq!(host.events(), [Event::TcpAcceptable(all)]);
    assert!(host.stack.tcp_accept(host.now, all).is_some());
    assert!(host.stack.tcp_accept(host.now, all).is_some());
}

#[test]
fn places_are_given_out_once() {
    let mut host = Host::new();
    listening(&mut host, 8);
    let listen = |host: &mut Host, to: &str| host.stack.tcp_listen(at(to), ListenConfig::default());
    assert_eq!(
        listen(&mut host, "10.0.0.1:80").unwrap_err().to_string(),
        "10.0.0.1:80 is in use"
    );
    assert_eq!(
        listen(&mut host, "10.0.0.9:80").unwrap_err().to_string(),
        "10.0.0.9:80 is no address of this stack"
    );
    let chosen = listen(&mut host, "10.0.0.1:0").unwrap();
    let port = host.stack.tcp_listener_address(chosen).unwrap().port();
    assert!(port >= 32_768);
    let config = ListenConfig {
        backlog: 0,
        ..ListenConfig::default()
    };
    assert_eq!(
        host.stack
            .tcp_listen(at("10.0.0.1:81"), config)
            .unwrap_err()
            .to_string(),
        "backlog is 0, but must be from 1 to 65536"
    );
}

// Any address, any port: the far end of a tunnel.
#[test]
fn a_listener_to_any_place_takes_what_nobody_else_does() {
    let mut host = Host::made(Config::default(), |it| it.any_address = true);
    listening(&mut host, 8);
    let config = ListenConfig {
        any: true,
        ..ListenConfig::default()
    };
    let any = host
        .stack
        .tcp_listen(at("0.0.0.0:0"), config.clone())
        .unwrap();
    assert!(host.stack.tcp_listen(at("0.0.0.0:1"), config).is_err());
    let far = at("203.0.113.7:443");
    host.handshake(client(1), far);
    let key = host.stack.tcp_accept(host.now, any).unwrap();
    assert_eq!(host.stack.tcp_addresses(key), Some((far, client(1))));
    host.stack
        .tcp_write_slice(host.now, key, b"from afar")
        .unwrap();
    let [answer] = &host.segments()[..] else {
        panic!()
    };
    assert_eq!((answer.src, &answer.payload[..]), (far, &b"from afar"[..]));
}

// T31: RFC 6056 3.2
#[test]
fn connections_get_ports_that_nobody_has() {
    let ports = 40_000..=40_009;
    let mut host = Host::with(Config {
        ports,
        ..Config::default()
    });
    let bound = SocketAddr::new([10, 0, 0, 1].into(), 40_003);
    host.stack
        .tcp_listen(bound, ListenConfig::default())
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..9 {
        let config = ConnectConfig::default();
        let key = host.stack.tcp_connect(host.now, client(1), config).unwrap();
        seen.push(host.stack.tcp_addresses(key).unwrap().0.port());
    }
    seen.sort_unstable();
    let expected: Vec<u16> = (40_000..=40_009).filter(|port| *port != 40_003).collect();
    assert_eq!(seen, expected);
    let refused = host
        .stack
        .tcp_connect(host.now, client(1), ConnectConfig::default());
    assert_eq!(refused.unwrap_err().to_string(), "no port is free");
    // To another server the same ports are free.
    assert!(
        host.stack
            .tcp_connect(host.now, client(2), ConnectConfig::default())
            .is_ok()
    );
}

// T30: RFC 6528 3
#[test]
fn initial_sequence_numbers_grow_for_one_pair_and_say_nothing_of_others() {
    let mut host = Host::new();
    listening(&mut host, 4096);
    let iss = |host: &mut Host, n: u16| {
        let iss = host.answer(&syn(client(n), server()))[0].seq;
        host.send(&Seg::new(client(n), server(), Flags::RST, 101, 0));
        host.segments();
        iss
    };
    let first = iss(&mut host, 1);
    host.run(SECOND);
    let second = iss(&mut host, 1);
    assert_eq!(second.wrapping_sub(first), 250_000, "one step in 4 us");
    // Neighbouring ports: every byte of the difference spreads.
    let mut last = iss(&mut host, 2);
    let mut high = [0u32; 16];
    for n in 3..1003 {
        let next = iss(&mut host, n);
        high[(next.wrapping_sub(last) >> 28) as usize] += 1;
        last = next;
    }
    assert!(high.iter().all(|n| (25..105).contains(n)), "{high:?}");
}

#[test]
fn what_cannot_be_connected_to_is_told() {
    let mut host = Host::new();
    let mut connect = |to: &str, local: Option<&str>| {
        let config = ConnectConfig {
            local: local.map(at),
            ..ConnectConfig::default()
        };
        host.stack
            .tcp_connect(host.now, at(to), config)
            .map_err(|error| error.to_string())
    };
    for to in [
        "10.0.0.2:0",
        "0.0.0.0:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "[ff02::1]:80",
    ] {
        assert_eq!(
            connect(to, None),
            Err(format!("{to} is no address to connect to"))
        );
    }
    assert_eq!(
        connect("192.0.2.1:80", None),
        Err("no route to 192.0.2.1:80".into())
    );
    assert_eq!(
        connect("10.0.0.2:80", Some("10.0.0.9:0")),
        Err("10.0.0.9:0 is no address of this stack to connect from".into())
    );
    assert!(connect("10.0.0.2:80", Some("10.0.0.1:5000")).is_ok());
    assert_eq!(
        connect("10.0.0.2:80", Some("10.0.0.1:5000")),
        Err("10.0.0.1:5000 and 10.0.0.2:80 are connected already".into())
    );
}

#[test]
fn connections_are_bounded_in_number_and_memory() {
    let config = Config {
        max_connections: 3,
        max_half_open: 3,
        ..Config::default()
    };
    let mut host = Host::with(config);
    let connect = |host: &mut Host, n| {
        host.stack
            .tcp_connect(host.now, client(n), ConnectConfig::default())
    };
    for n in 0..3 {
        connect(&mut host, n).unwrap();
    }
    assert_eq!(
        connect(&mut host, 3).unwrap_err().to_string(),
        "there are 3 connections already, the limit"
    );
    let mut host = Host::with(Config {
        memory: 256 * 1024,
        ..Config::default()
    });
    let all = (0..1000)
        .take_while(|n| connect(&mut host, *n).is_ok())
        .count();
    assert!((100..171).contains(&all), "{all} of 1.5 KiB in 256 KiB");
    assert!(host.stack.stats().memory <= 256 * 1024);
}

// T50, T133: an error about a segment in flight reaches its connection; one about others does not.
#[test]
fn icmp_errors_reach_the_connection_that_they_quote() {
    let mut host = Host::new();
    let key = host
        .stack
        .tcp_connect(host.now, client(1), ConnectConfig::default())
        .unwrap();
    let sent = host.packets();
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&sent[0][..28]);
    let mut forged = message.clone();
    forged[8 + 20 + 4] ^= 0xff;
    for (mut icmp, is_ours) in [(forged, false), (message, true)] {
        weir_tcpip::wire::checksum::patch(&mut icmp, 0, 2, weir_tcpip::wire::checksum::sum(&[]));
        let packet = raw::ip([10, 0, 0, 2].into(), [10, 0, 0, 1].into(), 1, &icmp);
        host.take(&packet);
        let closed = Event::TcpClosed(key, CloseCause::PortUnreachable);
        assert_eq!(host.events().contains(&closed), is_ours);
    }
    assert_eq!(host.stack.tcp_state(key), Some(State::Closed));
}

// T142
#[test]
fn answers_without_a_connection_have_the_usual_hop_limit() {
    let mut host = Host::new();
    host.send(&syn(client(1), server()));
    let packet = host.packets().remove(0);
    assert_eq!(packet[8], DEFAULT_HOP_LIMIT);
}

// T23: RFC 6298 2: the SYN goes again after a second, and not before.
#[test]
fn a_timer_is_at_most_a_tick_late() {
    let mut host = Host::new();
    let begun = host.now;
    host.stack
        .tcp_connect(host.now, client(1), ConnectConfig::default())
        .unwrap();
    assert_eq!(host.segments().len(), 1);
    while host.segments().is_empty() {
        let (at, _) = host.stack.poll_timeout().unwrap();
        host.now = host.now.max(at);
        host.stack.handle_timeout(host.now);
    }
    let late = host
        .now
        .saturating_duration_since(begun)
        .checked_sub(SECOND);
    assert!(late.is_some_and(|late| late <= TIMER_TICK), "{late:?}");
}

// threats C4
#[test]
fn listeners_are_bounded() {
    let mut host = Host::new();
    let listen = |host: &mut Host, n: usize| {
        let address = if n < 60_000 { "10.0.0.1" } else { "fd00::1" };
        let port = u16::try_from(1 + n % 60_000).unwrap();
        let place = SocketAddr::new(address.parse().unwrap(), port);
        host.stack.tcp_listen(place, ListenConfig::default())
    };
    for n in 0..MAX_LISTENERS {
        listen(&mut host, n).unwrap();
    }
    assert!(listen(&mut host, MAX_LISTENERS).is_err());
}
