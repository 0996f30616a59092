//! SYN floods, and what is remembered of SYNs: SYN cookies, Fast Open, attempts that wait.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod pair;
mod raw;

use std::net::SocketAddr;

use pair::{MILLI, Pair, Wire, pattern};
use raw::{Host, Seg, at};
use weir_core::time::Duration;
use weir_tcpip::limits::MAX_FAST_OPEN_PENDING;
use weir_tcpip::wire::tcp::{FastOpen, Flags, Options, Timestamps};
use weir_tcpip::{
    Config, ConnectConfig, Event, IncomingKey, ListenConfig, ListenerKey, State, SynCookies,
    TcpConfig,
};

const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);

fn server() -> SocketAddr {
    at("10.0.0.1:80")
}

fn client(n: u16) -> SocketAddr {
    SocketAddr::new([10, 0, 0, 2].into(), 1000 + n)
}

fn options(timestamp: Option<u32>) -> Options {
    Options {
        mss: Some(1440),
        window_scale: Some(5),
        sack_permitted: true,
        timestamps: timestamp.map(|value| Timestamps { value, echo: 0 }),
        ..Options::default()
    }
}

fn syn(n: u16) -> Seg {
    Seg::new(client(n), server(), Flags::SYN, 100, 0).with(options(Some(7)))
}

fn small() -> Config {
    Config {
        max_half_open: 8,
        ..Config::default()
    }
}

/// A listener whose table of half-open connections is full.
fn flooded(config: Config) -> (Host, ListenerKey) {
    let mut host = Host::with(config);
    let key = host
        .stack
        .tcp_listen(server(), ListenConfig::default())
        .unwrap();
    for n in 0..8 {
        assert_eq!(host.answer(&syn(n)).len(), 1);
    }
    assert_eq!(host.stack.stats().half_open, 8);
    (host, key)
}

// T36: RFC 4987 3.6
#[test]
fn a_cookie_opens_the_connection_as_agreed() {
    let (mut host, key) = flooded(small());
    let [answer] = &host.answer(&syn(100))[..] else {
        panic!()
    };
    assert_eq!((answer.flags, answer.ack), (SYN_ACK, 101));
    assert_eq!(
        (answer.options.mss, answer.options.sack_permitted),
        (Some(1460), true)
    );
    assert!(answer.options.window_scale.is_some());
    assert_eq!(answer.options.timestamps.unwrap().echo, 7);
    let stats = host.stack.stats();
    assert_eq!(
        (stats.half_open, stats.connections),
        (8, 8),
        "nothing is kept of it"
    );
    assert_eq!(stats.counters.syncookies_sent, 1);

    let stamps = Timestamps {
        value: 8,
        echo: answer.options.timestamps.unwrap().value,
    };
    let stamped = Options {
        timestamps: Some(stamps),
        ..Options::default()
    };
    let next = answer.seq.wrapping_add(1);
    host.send(&Seg::new(client(100), server(), Flags::ACK, 101, next).with(stamped));
    let accepted = host.stack.tcp_accept(host.now, key).unwrap();
    assert_eq!(
        host.stack.tcp_addresses(accepted),
        Some((server(), client(100)))
    );
    let stats = host.stack.tcp_stats(host.now, accepted).unwrap();
    assert_eq!(
        (stats.state, stats.send_scale, stats.sack),
        (State::Established, Some(5), true)
    );
    // RFC 6691: the option, less what timestamps take.
    assert_eq!((stats.timestamps, stats.mss), (true, 1440 - 12));
    assert_eq!(host.stack.stats().counters.syncookies_recv, 1);
    host.stack
        .tcp_write_slice(host.now, accepted, b"hello")
        .unwrap();
    let [data] = &host.segments()[..] else {
        panic!()
    };
    assert_eq!(
        (data.seq, data.ack, &data.payload[..]),
        (next, 101, &b"hello"[..])
    );
}

// T36: data may come with the ACK, and be all that comes.
#[test]
fn a_cookie_may_come_back_with_data() {
    let (mut host, key) = flooded(small());
    let bare = Seg::new(client(100), server(), Flags::SYN, 100, 0).with(options(None));
    let answer = host.answer(&bare).remove(0);
    assert_eq!(
        (answer.options.timestamps, answer.options.window_scale),
        (None, None)
    );
    assert!(
        !answer.options.sack_permitted,
        "what a cookie cannot carry is not offered"
    );
    let ack = Seg::new(
        client(100),
        server(),
        Flags::ACK,
        101,
        answer.seq.wrapping_add(1),
    );
    host.send(&ack.carrying(b"GET"));
    let accepted = host.stack.tcp_accept(host.now, key).unwrap();
    let read = host
        .stack
        .tcp_read(host.now, accepted, 10)
        .unwrap()
        .unwrap();
    assert_eq!(&read[..], b"GET");
    let stats = host.stack.tcp_stats(host.now, accepted).unwrap();
    assert_eq!(
        (stats.mss, stats.send_scale, stats.sack),
        (1440, None, false)
    );
}

// T36, threats C7: a guess opens nothing and gets a RST; T37.
#[test]
fn an_ack_that_is_no_cookie_gets_rst() {
    let (mut host, key) = flooded(small());
    let cookie = host.answer(&syn(100)).remove(0).seq;
    for (n, ack) in [
        (100, cookie),
        (100, cookie.wrapping_add(2)),
        (101, cookie.wrapping_add(1)),
    ] {
        let guess = Seg::new(client(n), server(), Flags::ACK, 101, ack);
        let [answer] = &host.answer(&guess)[..] else {
            panic!()
        };
        assert_eq!((answer.flags, answer.seq), (Flags::RST, ack));
    }
    assert_eq!(host.stack.tcp_accept(host.now, key), None);
    assert_eq!(host.stack.stats().counters.syncookies_failed, 3);
}

// T36
#[test]
fn without_cookies_a_syn_too_many_is_dropped() {
    let (mut host, _) = flooded(Config {
        syn_cookies: SynCookies::Never,
        ..small()
    });
    assert_eq!(host.answer(&syn(100)), []);
    assert_eq!(host.stack.stats().counters.tcp_req_q_full_drop, 1);
}

// T36, threats C4: a flood of SYNs holds what the table holds, however long it is.
#[test]
fn a_flood_of_syns_takes_no_more_memory() {
    let (mut host, _) = flooded(small());
    let memory = host.stack.stats().memory;
    for n in 0..20_000u16 {
        host.send(&syn(1000 + n));
        if n % 64 == 0 {
            host.segments();
        }
    }
    let stats = host.stack.stats();
    assert_eq!(
        (stats.half_open, stats.connections, stats.memory),
        (8, 8, memory)
    );
    // They end by themselves when nobody answers their SYN,ACKs.
    host.run(Duration::from_secs(300));
    let stats = host.stack.stats();
    assert_eq!(
        (stats.half_open, stats.connections, stats.memory),
        (0, 0, 0)
    );
}

// T36: with cookies for everybody, two whole stacks; all that was agreed works.
#[test]
fn connections_by_cookie_carry_bytes() {
    let always = Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    };
    for v6 in [false, true] {
        let wire = Wire {
            v6,
            config: always.clone(),
            ..Wire::default()
        };
        let mut pair = Pair::new(&wire);
        let (a, b) = pair.connected();
        pair.bulk(a, b, pattern(1_000_000));
        assert_eq!(pair.b.stack.stats().counters.syncookies_recv, 1);
        assert_eq!(pair.a.stack.stats().counters.retrans_segs, 0);
        pair.b.stack.tcp_write_slice(pair.now, b, b"back").unwrap();
        pair.run(10 * MILLI);
        assert_eq!(pair.a.read_all(pair.now, a).0, b"back");
    }
}

fn fast() -> TcpConfig {
    TcpConfig {
        fast_open: true,
        ..TcpConfig::default()
    }
}

fn fast_listener(host: &mut Host) -> ListenerKey {
    let config = ListenConfig {
        tcp: fast(),
        ..ListenConfig::default()
    };
    host.stack.tcp_listen(server(), config).unwrap()
}

fn fast_syn(n: u16, cookie: FastOpen) -> Seg {
    let options = Options {
        fast_open: Some(cookie),
        ..options(Some(7))
    };
    Seg::new(client(n), server(), Flags::SYN, 100, 0).with(options)
}

// T38: RFC 7413 4.2.2
#[test]
fn fast_open_gives_out_a_cookie_and_takes_data_with_it() {
    let mut host = Host::new();
    let key = fast_listener(&mut host);
    let answer = host.answer(&fast_syn(1, FastOpen::REQUEST)).remove(0);
    let cookie = answer.options.fast_open.unwrap();
    assert_eq!(cookie.cookie().len(), 8);
    assert_eq!(host.stack.tcp_accept(host.now, key), None);

    let answer = host
        .answer(&fast_syn(2, cookie).carrying(b"early"))
        .remove(0);
    assert_eq!((answer.flags, answer.ack), (SYN_ACK, 106));
    let accepted = host.stack.tcp_accept(host.now, key).unwrap();
    let read = host
        .stack
        .tcp_read(host.now, accepted, 10)
        .unwrap()
        .unwrap();
    assert_eq!(&read[..], b"early");
    let counters = host.stack.stats().counters;
    assert_eq!(
        (
            counters.tcp_fast_open_passive,
            counters.tcp_fast_open_cookie_reqd
        ),
        (1, 1)
    );

    let forged = FastOpen::new(&[1; 8]).unwrap();
    let answer = host
        .answer(&fast_syn(3, forged).carrying(b"early"))
        .remove(0);
    assert_eq!(answer.ack, 101, "data is left for later");
    assert_eq!(
        answer.options.fast_open,
        Some(cookie),
        "and the right cookie told"
    );
    assert_eq!(host.stack.stats().counters.tcp_fast_open_passive_fail, 1);
}

// T38
#[test]
fn fast_open_is_off_where_nobody_asked_for_it() {
    let mut host = Host::new();
    host.stack
        .tcp_listen(server(), ListenConfig::default())
        .unwrap();
    let answer = host.answer(&fast_syn(1, FastOpen::REQUEST)).remove(0);
    assert_eq!(answer.options.fast_open, None);
}

// RFC 7413 5.1: what stolen cookies can make of spoofed SYNs is bounded.
#[test]
fn data_before_the_handshake_is_bounded() {
    let mut host = Host::with(Config {
        max_half_open: 4096,
        ..Config::default()
    });
    let config = ListenConfig {
        tcp: fast(),
        backlog: 4096,
        ..ListenConfig::default()
    };
    host.stack.tcp_listen(server(), config).unwrap();
    let answer = host.answer(&fast_syn(1, FastOpen::REQUEST)).remove(0);
    let cookie = answer.options.fast_open.unwrap();
    let mut taken = 0;
    for n in 0..MAX_FAST_OPEN_PENDING + 10 {
        let syn = fast_syn(2 + n as u16, cookie).carrying(b"x");
        taken += usize::from(host.answer(&syn).remove(0).ack == 102);
    }
    assert_eq!(taken, MAX_FAST_OPEN_PENDING);
    assert_eq!(
        host.stack.stats().counters.tcp_fast_open_listen_overflow,
        10
    );
    host.run(Duration::from_secs(300));
    let syn = fast_syn(9000, cookie).carrying(b"x");
    assert_eq!(host.answer(&syn).remove(0).ack, 102, "there is room again");
}

// T38: two whole stacks; the second connection's data goes with its SYN.
#[test]
fn fast_open_saves_a_round_trip_the_second_time() {
    let mut pair = Pair::new(&Wire::default());
    let listener = pair.listen(ListenConfig {
        tcp: fast(),
        ..ListenConfig::default()
    });
    let config = ConnectConfig {
        tcp: fast(),
        ..ConnectConfig::default()
    };
    for round in 0..2 {
        let a = pair.dial(config.clone());
        let _early = pair.a.stack.tcp_write_slice(pair.now, a, b"question");
        // One way: the SYN arrives.
        pair.run(MILLI);
        let b = pair.b.stack.tcp_accept(pair.now, listener);
        assert_eq!(b.is_some(), round == 1, "round {round}");
        if let Some(b) = b {
            assert_eq!(pair.b.read_all(pair.now, b).0, b"question");
        }
        pair.run(10 * MILLI);
        let _late = pair.b.stack.tcp_accept(pair.now, listener);
    }
    assert_eq!(pair.b.stack.stats().counters.tcp_fast_open_passive, 1);
}

fn deferring(config: Config) -> (Host, ListenerKey) {
    let mut host = Host::with(config);
    let config = ListenConfig {
        defer: true,
        backlog: 4,
        ..ListenConfig::default()
    };
    let key = host.stack.tcp_listen(server(), config).unwrap();
    (host, key)
}

fn incoming(host: &mut Host) -> IncomingKey {
    match host.events()[..] {
        [
            Event::TcpIncoming {
                incoming, local, ..
            },
        ] => {
            assert_eq!(local, server());
            incoming
        }
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_deferred_attempt_is_answered_when_it_is_confirmed() {
    let (mut host, _) = deferring(Config::default());
    assert_eq!(host.answer(&syn(1)), [], "nothing before the decision");
    let key = incoming(&mut host);
    assert_eq!(host.answer(&syn(1)), [], "a repetition is the same attempt");
    assert_eq!(host.events(), []);
    let connection = host.stack.tcp_confirm(host.now, key).unwrap();
    assert!(host.stack.tcp_confirm(host.now, key).is_err());
    let answer = host.segments().remove(0);
    assert_eq!((answer.flags, answer.ack), (SYN_ACK, 101));
    let ack = Seg::new(
        client(1),
        server(),
        Flags::ACK,
        101,
        answer.seq.wrapping_add(1),
    );
    let stamps = Timestamps {
        value: 9,
        echo: answer.options.timestamps.unwrap().value,
    };
    host.send(&ack.with(Options {
        timestamps: Some(stamps),
        ..Options::default()
    }));
    assert_eq!(host.events(), [Event::TcpConnected(connection)]);
}

#[test]
fn a_deferred_attempt_is_refused_with_rst() {
    let (mut host, _) = deferring(Config::default());
    host.send(&syn(1));
    let key = incoming(&mut host);
    host.stack.tcp_refuse(host.now, key).unwrap();
    let answer = host.segments().remove(0);
    assert_eq!(
        (answer.flags, answer.seq, answer.ack),
        (Flags::RST.with(Flags::ACK), 0, 101)
    );
    assert_eq!(host.stack.stats().incoming, 0);
}

// RFC 5961 3.2: only a RST with the next sequence number is the client's.
#[test]
fn a_client_takes_its_attempt_back() {
    let (mut host, _) = deferring(Config::default());
    host.send(&syn(1));
    let key = incoming(&mut host);
    host.send(&Seg::new(client(1), server(), Flags::RST, 102, 0));
    assert_eq!(host.events(), []);
    host.send(&Seg::new(client(1), server(), Flags::RST, 101, 0));
    assert_eq!(host.events(), [Event::TcpIncomingGone(key)]);
    assert!(host.stack.tcp_confirm(host.now, key).is_err());
}

// threats C4
#[test]
fn attempts_that_wait_are_bounded_in_number_and_time() {
    let (mut host, listener) = deferring(Config::default());
    for n in 0..100 {
        assert_eq!(host.answer(&syn(n)), []);
    }
    assert_eq!((host.stack.stats().incoming, host.events().len()), (4, 4));
    host.run(Duration::from_secs(31));
    assert_eq!((host.stack.stats().incoming, host.events().len()), (0, 4));
    host.send(&syn(200));
    incoming(&mut host);
    host.stack.tcp_unlisten(host.now, listener);
    assert_eq!(host.segments().len(), 1, "refused");
    assert_eq!(host.stack.stats().incoming, 0);
}
