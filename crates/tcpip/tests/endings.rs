//! What is said where a connection is not to be: why an attempt is refused, and all connections ended at once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod raw;

use raw::{Host, Seg, at, open};
use weir_core::time::Duration;
use weir_tcpip::wire::checksum;
use weir_tcpip::wire::protocol;
use weir_tcpip::wire::tcp::Flags;
use weir_tcpip::{
    CloseCause, Config, Event, IncomingKey, ListenConfig, ReadError, Refusal, State, TcpKey,
};

const RST_ACK: Flags = Flags::RST.with(Flags::ACK);

/// A stack that takes everybody's packets, and attempts to any address.
fn tunnel() -> Host {
    let mut host = Host::made(Config::default(), |interface| interface.any_address = true);
    for any in ["0.0.0.0:0", "[::]:0"] {
        let config = ListenConfig {
            any: true,
            defer: true,
            ..ListenConfig::default()
        };
        host.stack.tcp_listen(at(any), config).unwrap();
    }
    host
}

fn attempt(host: &mut Host, port: u16, to: &str) -> IncomingKey {
    let from = match to.starts_with('[') {
        true => format!("[fd00::2]:{port}"),
        false => format!("10.0.0.2:{port}"),
    };
    host.send(&Seg::new(at(&from), at(to), Flags::SYN, 100, 0));
    match host.events()[..] {
        [Event::TcpIncoming { incoming, .. }] => incoming,
        ref other => panic!("{other:?}"),
    }
}

// RFC 1122 3.2.2.1, RFC 4443 3.1, RFC 5927 4.1: the error comes from the address that was asked for, and quotes
// enough of the SYN for the client's host to believe it.
#[test]
fn an_attempt_is_refused_by_what_is_in_the_way() {
    let cases = [
        ("203.0.113.7:443", Refusal::HostUnreachable, 3, 1),
        ("203.0.113.7:443", Refusal::NetworkUnreachable, 3, 0),
        ("203.0.113.7:443", Refusal::Prohibited, 3, 13),
        ("[2001:db8::7]:443", Refusal::HostUnreachable, 1, 3),
        ("[2001:db8::7]:443", Refusal::NetworkUnreachable, 1, 0),
        ("[2001:db8::7]:443", Refusal::Prohibited, 1, 1),
    ];
    for (port, (to, why, icmp_type, code)) in (1000..).zip(cases) {
        let mut host = tunnel();
        let key = attempt(&mut host, port, to);
        host.stack.tcp_refuse_with(host.now, key, why).unwrap();
        let packets = host.packets();
        let [packet] = &packets[..] else {
            panic!("one error: {packets:?}");
        };
        let (src, dst, number, message) = open(packet);
        let v4 = at(to).is_ipv4();
        assert_eq!(number, if v4 { 1 } else { 58 }, "{why:?}");
        assert_eq!(message[..2], [icmp_type, code], "{why:?}");
        if why == Refusal::HostUnreachable {
            assert_eq!(src, at(to).ip());
        }
        let (from, asked, inner, segment) = open(&message[8..]);
        assert_eq!((from, asked, inner), (dst, at(to).ip(), protocol::TCP));
        assert_eq!(segment[..2], port.to_be_bytes(), "the client's port");
        assert_eq!(segment[2..4], 443_u16.to_be_bytes());
        assert_eq!(segment[4..8], 100_u32.to_be_bytes(), "its SYN");
        if v4 {
            assert!(checksum::sum(&message[8..28]).is_valid());
        }
        assert_eq!(host.stack.stats().incoming, 0);
        // The attempt is over: the next SYN is the next one.
        assert!(host.stack.tcp_refuse(host.now, key).is_err());
        attempt(&mut host, port, to);
    }
}

// T149: errors are sent at a bounded rate, and nobody is left without an answer by that.
#[test]
fn beyond_the_rate_of_errors_attempts_are_refused_by_resets() {
    let mut host = tunnel();
    let (mut errors, mut resets) = (0, 0);
    for port in 1000..1500 {
        let key = attempt(&mut host, port, "203.0.113.7:443");
        let why = Refusal::HostUnreachable;
        host.stack.tcp_refuse_with(host.now, key, why).unwrap();
        for packet in host.packets() {
            match open(&packet).2 {
                1 => errors += 1,
                protocol::TCP => resets += 1,
                other => panic!("protocol {other}"),
            }
        }
    }
    assert!(errors >= 1 && resets > errors, "{errors} and {resets}");
    assert_eq!(errors + resets, 500);
}

/// A listener with one connection that was accepted and one that waits.
fn busy(host: &mut Host) -> (TcpKey, u32) {
    let server = at("10.0.0.1:80");
    let listener = host
        .stack
        .tcp_listen(server, ListenConfig::default())
        .unwrap();
    let first = host.handshake(at("10.0.0.2:1000"), server);
    let key = host.stack.tcp_accept(host.now, listener).unwrap();
    host.handshake(at("10.0.0.2:1001"), server);
    host.events();
    (key, first)
}

// T33, T115
#[test]
fn finishing_all_ends_each_behind_what_was_written() {
    let mut host = Host::new();
    let (key, iss) = busy(&mut host);
    let connecting = host
        .stack
        .tcp_connect(host.now, at("10.0.0.2:9"), Default::default())
        .unwrap();
    host.segments();
    host.stack
        .tcp_write_slice(host.now, key, b"last words")
        .unwrap();
    assert_eq!(host.stack.tcp_keys(10).len(), 2);
    host.stack.tcp_finish_all(host.now);
    let sent = host.segments();
    let to = |port: u16| sent.iter().filter(move |it| it.dst.port() == port);
    // What nobody accepted is reset, and nobody listens any more.
    assert!(to(1001).all(|it| it.flags.contains(Flags::RST)) && to(1001).count() == 1);
    assert_eq!(host.stack.stats().listeners, 0);
    // This side's attempt is given up: its peer has not answered, and hears nothing.
    let gone = host.stack.tcp_close_cause(connecting);
    assert_eq!((gone, to(9).count()), (Some(CloseCause::Aborted), 0));
    let last = to(1000).next_back().unwrap();
    assert!(last.flags.contains(Flags::FIN));
    let end = last.seq.wrapping_add(last.payload.len() as u32);
    assert_eq!(end, iss.wrapping_add(11), "the end stands behind the data");
    assert!(host.stack.has_live_connections());
    // The peer ends as well: then nothing is left to say.
    let fin = Flags::FIN.with(Flags::ACK);
    let end = end.wrapping_add(1);
    host.send(&Seg::new(
        at("10.0.0.2:1000"),
        at("10.0.0.1:80"),
        fin,
        101,
        end,
    ));
    host.segments();
    assert!(!host.stack.has_live_connections());
    assert_eq!(host.stack.tcp_read(host.now, key, 10), Ok(None));
}

// T124
#[test]
fn aborting_all_resets_each_and_says_so_to_whoever_has_it() {
    let mut host = Host::new();
    let (key, iss) = busy(&mut host);
    let ack = Flags::ACK.with(Flags::PSH);
    let from = at("10.0.0.2:1000");
    let data = Seg::new(from, at("10.0.0.1:80"), ack, 101, iss.wrapping_add(1));
    host.send(&data.carrying(b"unread"));
    host.segments();
    host.events();
    host.stack.tcp_abort_all(host.now);
    let sent = host.segments();
    assert_eq!(sent.len(), 2, "both peers hear of it: {sent:?}");
    assert!(sent.iter().all(|it| it.flags.contains(Flags::RST)));
    assert!(!host.stack.has_live_connections());
    assert_eq!(host.stack.tcp_state(key), Some(State::Closed));
    // What had arrived is still there.
    let read = host.stack.tcp_read(host.now, key, 10).unwrap().unwrap();
    assert_eq!(&read[..], b"unread");
    let over = host.stack.tcp_read(host.now, key, 10);
    assert_eq!(over, Err(ReadError::Closed(CloseCause::Aborted)));
    host.run(Duration::from_secs(120));
    assert_eq!(host.segments(), [], "and nothing more is said");
}

// RFC 9293 3.10.7.2: a SYN that nobody waits for.
#[test]
fn to_a_stack_whose_connections_were_finished_nobody_listens() {
    let mut host = Host::new();
    busy(&mut host);
    host.stack.tcp_finish_all(host.now);
    host.segments();
    let syn = Seg::new(at("10.0.0.3:7"), at("10.0.0.1:80"), Flags::SYN, 5, 0);
    let answer = host.answer(&syn);
    assert_eq!(answer.len(), 1);
    assert_eq!((answer[0].flags, answer[0].ack), (RST_ACK, 6));
}
