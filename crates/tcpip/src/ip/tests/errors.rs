use super::*;
use crate::limits::{ERRORS_BURST_EACH, ERRORS_PER_SECOND_EACH};

fn host() -> Host {
    Host::tun(&["10.0.0.1/24", "fd00::1/64"])
}

/// The answer to a packet for a port that nobody listens on.
fn refuse(host: &mut Host, packet: &[u8]) -> Vec<Vec<u8>> {
    host.ip.port_unreachable(host.now, packet);
    host.sent()
}

// T151
#[test]
fn port_unreachable_quotes_the_packet() {
    let mut host = host();
    let packet = packet4("10.0.0.2", "10.0.0.1", 17, &[3; 1000], |_| {});
    let sent = refuse(&mut host, &packet);
    assert_eq!(error4(&sent[0]), (3, 3));
    let parsed = ipv4::parse(&sent[0]).unwrap();
    assert_eq!(
        (parsed.header.src, parsed.header.dst),
        (v4("10.0.0.1"), v4("10.0.0.2"))
    );
    assert_eq!(sent[0].len(), 576);
    assert_eq!(parsed.payload[8..], packet[..548]);
    let packet = packet6("fd00::2", "fd00::1", 17, &[3; 1400]);
    let sent = refuse(&mut host, &packet);
    assert_eq!(error6(&sent[0]), (1, 4, 0));
    // T149
    assert_eq!(sent[0].len(), 1280);
    assert_eq!(sent[0][48..], packet[..1232]);
}

// T148
#[test]
fn no_error_about_errors_groups_broadcast_and_later_fragments() {
    let mut host = host();
    for kind in [3u8, 4, 5, 11, 12] {
        let packet = packet4(
            "10.0.0.2",
            "10.0.0.1",
            1,
            &[kind, 0, 0, 0, 0, 0, 0, 0],
            |_| {},
        );
        assert!(refuse(&mut host, &packet).is_empty());
    }
    let later = packet4("10.0.0.2", "10.0.0.1", 17, &[0; 8], |header| {
        header.fragment_offset = 8
    });
    assert!(refuse(&mut host, &later).is_empty());
    for dst in ["10.0.0.255", "255.255.255.255", "224.0.0.1"] {
        assert!(refuse(&mut host, &packet4("10.0.0.2", dst, 17, &[0; 8], |_| {})).is_empty());
    }
    for src in [
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "10.0.0.255",
        "127.0.0.1",
    ] {
        assert!(refuse(&mut host, &packet4(src, "10.0.0.1", 17, &[0; 8], |_| {})).is_empty());
    }
    for kind in [1u8, 2, 3, 4, 100, 127, 137] {
        assert!(
            refuse(
                &mut host,
                &packet6("fd00::2", "fd00::1", 58, &[kind, 0, 0, 0, 0, 0, 0, 0])
            )
            .is_empty()
        );
    }
    for src in ["::", "ff02::1"] {
        assert!(refuse(&mut host, &packet6(src, "fd00::1", 17, &[0; 8])).is_empty());
    }
    assert!(refuse(&mut host, &packet6("fd00::2", "ff02::1", 17, &[0; 8])).is_empty());
    let mut later = Vec::new();
    ipv6::write_fragment(17, 8, false, 1, &mut later);
    later.extend_from_slice(&[0; 8]);
    assert!(refuse(&mut host, &packet6("fd00::2", "fd00::1", 44, &later)).is_empty());
    assert_eq!(host.ip.counters.out_icmp_errors, 0);
}

// T148: about an echo, which is no error, it may.
#[test]
fn an_error_about_an_echo_is_allowed() {
    let mut host = host();
    assert_eq!(
        refuse(&mut host, &ping4("10.0.0.2", "10.0.0.1", b"x")).len(),
        1
    );
    assert_eq!(
        refuse(&mut host, &ping6("fd00::2", "fd00::1", b"x")).len(),
        1
    );
}

// T139
#[test]
fn an_unknown_protocol_is_reported() {
    let mut host = host();
    host.take(&packet4("10.0.0.2", "10.0.0.1", 99, &[0; 8], |_| {}));
    assert_eq!(error4(&host.sent()[0]), (3, 2));
    host.take(&packet4("10.0.0.2", "224.0.0.1", 2, &[0; 8], |_| {}));
    assert!(host.sent().is_empty());
}

// T149, C8
#[test]
fn errors_are_rate_limited_for_each_receiver() {
    for (src, dst) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
        let mut host = host();
        let packet = if src.contains(':') {
            packet6(src, dst, 17, &[0; 8])
        } else {
            packet4(src, dst, 17, &[0; 8], |_| {})
        };
        let mut sent = 0;
        for _ in 0..1_000 {
            sent += refuse(&mut host, &packet).len() as u64;
        }
        assert_eq!(sent, ERRORS_BURST_EACH);
        assert_eq!(host.ip.counters.out_rate_limited, 1_000 - sent);
        host.seconds(10);
        for _ in 0..1_000 {
            sent += refuse(&mut host, &packet).len() as u64;
            host.pass(Duration::from_millis(10));
        }
        let most = 2 * ERRORS_BURST_EACH + 10 * ERRORS_PER_SECOND_EACH;
        assert!((most - 3..=most).contains(&sent), "{sent}");
    }
}

// T152
#[test]
fn errors_about_our_packets_go_to_the_transports() {
    let mut host = host();
    let quoted = packet4("10.0.0.1", "192.0.2.9", 17, &[0; 8], |header| {
        header.dont_fragment = true
    });
    for (kind, code, word) in [
        (3, 0, "NetworkUnreachable"),
        (3, 1, "HostUnreachable"),
        (3, 2, "ProtocolUnreachable"),
        (3, 3, "PortUnreachable"),
        (3, 13, "Prohibited"),
        (3, 4, "PacketTooBig { mtu: 1400 }"),
        (11, 0, "TimeExceeded"),
        (12, 0, "ParameterProblem"),
    ] {
        let mut body = Vec::new();
        let number = [&[0, 0, 0x05, 0x78][..], &quoted].concat();
        icmpv4::Message::Other {
            kind,
            code,
            body: &number,
        }
        .write(&mut body);
        host.take(&packet4("10.7.7.7", "10.0.0.1", 1, &body, |_| {}));
        let said = host.arrived.pop().unwrap();
        assert_eq!(said, format!("{word} 10.0.0.1>192.0.2.9 17 28"));
    }
}

// T152
#[test]
fn errors_of_icmpv6_go_to_the_transports() {
    use icmpv6::Message;
    let mut host = host();
    let quoted = packet6("fd00::1", "2001:db8::9", 6, &[0; 20]);
    let quoted = quoted.as_slice();
    for (message, word) in [
        (
            Message::Unreachable { code: 0, quoted },
            "NetworkUnreachable",
        ),
        (Message::Unreachable { code: 3, quoted }, "HostUnreachable"),
        (Message::Unreachable { code: 1, quoted }, "Prohibited"),
        (Message::Unreachable { code: 4, quoted }, "PortUnreachable"),
        (
            Message::PacketTooBig { mtu: 1300, quoted },
            "PacketTooBig { mtu: 1300 }",
        ),
        (Message::TimeExceeded { code: 0, quoted }, "TimeExceeded"),
        (
            Message::ParameterProblem {
                code: 1,
                pointer: 6,
                quoted,
            },
            "ProtocolUnreachable",
        ),
        (
            Message::ParameterProblem {
                code: 0,
                pointer: 6,
                quoted,
            },
            "ParameterProblem",
        ),
    ] {
        host.take(&icmp6("fd00::77", "fd00::1", 64, &message));
        let said = host.arrived.pop().unwrap();
        assert_eq!(said, format!("{word} fd00::1>2001:db8::9 6 60"));
    }
}

// C7, C1: about packets that cannot be ours, cut short, or quoted from the middle.
#[test]
fn errors_that_cannot_be_about_ours_are_dropped() {
    let mut host = host();
    let good = packet4("10.0.0.1", "192.0.2.9", 17, &[0; 8], |_| {});
    let later = packet4("10.0.0.1", "192.0.2.9", 17, &[0; 8], |header| {
        header.fragment_offset = 8
    });
    let foreign = packet4("10.0.0.3", "192.0.2.9", 17, &[0; 8], |_| {});
    let mut options = good.clone();
    options[0] = 0x4f;
    let mut other = good.clone();
    other[0] = 0x65;
    for quoted in [&good[..27], &good[..0], &later, &foreign, &options, &other] {
        let mut body = Vec::new();
        icmpv4::Message::TimeExceeded { code: 0, quoted }.write(&mut body);
        host.take(&packet4("10.7.7.7", "10.0.0.1", 1, &body, |_| {}));
    }
    // To another address of ours than the packet came from, or to everybody.
    let mut body = Vec::new();
    icmpv4::Message::TimeExceeded {
        code: 0,
        quoted: &good,
    }
    .write(&mut body);
    host.take(&packet4("10.7.7.7", "10.0.0.255", 1, &body, |_| {}));
    assert!(host.arrived.is_empty() && host.sent().is_empty());
    host.take(&packet4("10.7.7.7", "10.0.0.1", 1, &body, |_| {}));
    assert_eq!(host.arrived.len(), 1);
}

// RFC 6633, and redirects: both can only lead astray.
#[test]
fn source_quench_and_redirects_are_ignored() {
    let mut host = host();
    let quoted = packet4("10.0.0.1", "192.0.2.9", 6, &[0; 8], |_| {});
    for kind in [4, 5] {
        let mut body = Vec::new();
        let number = [&[10, 0, 0, 66][..], &quoted].concat();
        icmpv4::Message::Other {
            kind,
            code: 0,
            body: &number,
        }
        .write(&mut body);
        host.take(&packet4("10.7.7.7", "10.0.0.1", 1, &body, |_| {}));
    }
    assert!(host.arrived.is_empty() && host.sent().is_empty());
}
