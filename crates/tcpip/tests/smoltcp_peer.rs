//! The stack and smoltcp, a TCP/IP stack that somebody else wrote, talk to each other over a wire in
//! memory: both roles, both IP versions, checksums made and checked at both ends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod pair;
mod smol;

use pair::{MILLI, pattern};
use smol::{BUFFER, Faults, Read, Setup, Side, Transfer, World, move_all};
use smoltcp::socket::{icmp, tcp, udp};
use weir_core::time::Duration;
use weir_tcpip::{
    CloseCause, ConnectConfig, Datagram, IcmpKind, Setting, State, UdpConfig, WriteError,
};

const MIB: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// Both IP versions.
fn versions() -> impl Iterator<Item = Setup> {
    [false, true].into_iter().map(Setup::new)
}

/// Both IP versions with either side as the one that opens.
fn cases() -> impl Iterator<Item = (Setup, Side)> {
    versions().flat_map(|setup| Side::BOTH.map(|opener| (setup, opener)))
}

/// Nothing is left of any connection once TIME-WAIT is over.
fn leaves_nothing(world: &mut World) {
    world.run(120 * SECOND);
    let stats = world.weir.stack.stats();
    let left = (stats.connections, stats.time_waits, stats.orphans);
    assert_eq!(left, (0, 0, 0));
    assert_eq!(stats.memory, 0);
}

// T1, T12, T51, T108: a mebibyte and more each way at once, with timestamps and without.
#[test]
fn bulk_goes_both_ways() {
    for (setup, opener) in cases() {
        for timestamps in [false, true] {
            let setup = Setup {
                timestamps,
                ..setup
            };
            let mut world = World::new(&setup);
            let conn = world.connect(opener);
            let ways = [(Side::Weir, MIB + 1), (Side::Smol, MIB + 4097)];
            move_all(&mut world, conn, &ways);
            let stats = world.weir.stack.tcp_stats(world.now, conn.key).unwrap();
            assert_eq!(stats.timestamps, timestamps);
            assert_eq!(stats.retransmissions, 0, "nothing was lost");
            world.close(opener, conn);
            leaves_nothing(&mut world);
            let counters = world.weir.stack.stats().counters;
            assert_eq!(counters.in_csum_errors, 0);
        }
    }
}

// T1, T52, T75, T86, T115: packets are lost, late, doubled and damaged, and every byte and both ends
// arrive all the same.
#[test]
fn bulk_survives_a_bad_link() {
    let faults = Faults {
        loss: 30,
        late: 50,
        twice: 20,
        damage: 5,
    };
    let mut damaged = 0;
    for (setup, opener) in cases() {
        for seed in 1..=4 {
            let setup = Setup {
                faults,
                seed,
                timestamps: seed % 2 == 0,
                ..setup
            };
            let mut world = World::new(&setup);
            let conn = world.connect(opener);
            let ways = [(Side::Weir, MIB), (Side::Smol, MIB / 2)];
            move_all(&mut world, conn, &ways);
            let stats = world.weir.stack.tcp_stats(world.now, conn.key).unwrap();
            assert!(stats.retransmissions > 0, "the link is bad");
            world.close(opener, conn);
            leaves_nothing(&mut world);
            damaged += world.weir.stack.stats().counters.in_csum_errors;
        }
    }
    assert!(damaged > 0, "some were damaged, and dropped for that");
}

// T143, T144: over Ethernet each finds the other by ARP or NDP, with losses too, and does so again
// after ten silent minutes, when what it knew is old.
#[test]
fn neighbours_find_each_other() {
    for (setup, opener) in cases() {
        for loss in [0, 100] {
            let setup = Setup {
                ethernet: true,
                faults: Faults {
                    loss,
                    ..Faults::default()
                },
                ..setup
            };
            let mut world = World::new(&setup);
            let conn = world.connect(opener);
            for first in Side::BOTH {
                move_all(&mut world, conn, &[(first, 20_000)]);
                world.run(600 * SECOND);
                move_all(&mut world, conn, &[(first.other(), 20_000)]);
            }
            world.close(opener, conn);
            leaves_nothing(&mut world);
        }
    }
}

// T36: smoltcp takes a cookie for the SYN,ACK that it is, and the connection is as good as another.
#[test]
fn smoltcp_connects_by_a_cookie() {
    for setup in versions() {
        for timestamps in [false, true] {
            let setup = Setup {
                cookies: true,
                timestamps,
                ..setup
            };
            let mut world = World::new(&setup);
            let conn = world.connect(Side::Smol);
            let counters = world.weir.stack.stats().counters;
            assert_eq!((counters.syncookies_sent, counters.syncookies_recv), (1, 1));
            let ways = [(Side::Weir, 300_000), (Side::Smol, 300_000)];
            move_all(&mut world, conn, &ways);
            world.close(Side::Smol, conn);
            leaves_nothing(&mut world);
        }
    }
}

// T38, T128: a peer that knows neither ECN nor fast open is asked for both, and nothing comes of it.
#[test]
fn what_smoltcp_does_not_know_is_left_out() {
    for setup in versions() {
        let setup = Setup {
            asks: true,
            ..setup
        };
        let mut world = World::new(&setup);
        for _ in 0..2 {
            let conn = world.connect(Side::Weir);
            let syn = world.first_header();
            // SYN, ECE, CWR; the option of kind 34 without a cookie.
            assert_eq!(syn[13], 0xc2);
            assert!(syn[20..].windows(2).any(|option| option == [34, 2]));
            let ways = [(Side::Weir, 100_000), (Side::Smol, 100_000)];
            move_all(&mut world, conn, &ways);
            let stats = world.weir.stack.tcp_stats(world.now, conn.key).unwrap();
            assert_eq!((stats.ecn, stats.fast_open), (false, false));
            assert_eq!(stats.retransmissions, 0);
            world.close(Side::Weir, conn);
        }
        leaves_nothing(&mut world);
    }
}

// T115, T116: the end of one way leaves the other open, for as long as it likes.
#[test]
fn half_closed_connections_go_on() {
    for (setup, opener) in cases() {
        for first in Side::BOTH {
            let mut world = World::new(&setup);
            let conn = world.connect(opener);
            move_all(&mut world, conn, &[(first, 10_000)]);
            world.finish(first, conn);
            world.read_end(first.other(), conn);
            world.run(30 * SECOND);
            let weir = world.weir.stack.tcp_state(conn.key);
            let expected = match first {
                Side::Weir => (Some(State::FinWait2), tcp::State::CloseWait),
                Side::Smol => (Some(State::CloseWait), tcp::State::FinWait2),
            };
            assert_eq!((weir, world.smol.state(conn.handle)), expected);
            move_all(&mut world, conn, &[(first.other(), 300_000)]);
            world.finish(first.other(), conn);
            world.read_end(first, conn);
            world.forget(conn);
            leaves_nothing(&mut world);
        }
    }
}

// T116: both finish in the same moment, and both get to the end.
#[test]
fn both_close_at_once() {
    for (setup, opener) in cases() {
        let mut world = World::new(&setup);
        let conn = world.connect(opener);
        move_all(&mut world, conn, &[(Side::Weir, 1000), (Side::Smol, 1000)]);
        for side in Side::BOTH {
            world.finish(side, conn);
        }
        // Each FIN has arrived and is not acknowledged yet.
        world.run(MILLI * 3 / 2);
        let state = world.weir.stack.tcp_state(conn.key);
        assert_eq!(state, Some(State::Closing));
        assert_eq!(world.smol.state(conn.handle), tcp::State::Closing);
        for side in Side::BOTH {
            world.read_end(side, conn);
        }
        world.forget(conn);
        leaves_nothing(&mut world);
    }
}

// T124: what the stack gives up is over for smoltcp, in the middle of data and after a FIN.
#[test]
fn an_abort_reaches_smoltcp() {
    for (setup, opener) in cases() {
        for half_closed in [false, true] {
            let mut world = World::new(&setup);
            let conn = world.connect(opener);
            world.write(Side::Smol, conn, &pattern(40_000));
            world.write(Side::Weir, conn, &pattern(40_000));
            if half_closed {
                world.finish(Side::Weir, conn);
                world.run(SECOND);
            }
            world.run(MILLI);
            assert!(world.smol.tcp(conn.handle).is_active());
            world.abort(Side::Weir, conn);
            world.run(10 * MILLI);
            assert_eq!(world.smol.state(conn.handle), tcp::State::Closed);
            leaves_nothing(&mut world);
        }
    }
}

// T41, T125: what smoltcp gives up is over for the stack, with the cause told.
#[test]
fn a_reset_by_smoltcp_is_told() {
    for (setup, opener) in cases() {
        for half_closed in [false, true] {
            let mut world = World::new(&setup);
            let conn = world.connect(opener);
            world.write(Side::Weir, conn, &pattern(40_000));
            if half_closed {
                world.finish(Side::Smol, conn);
                world.run(SECOND);
            }
            world.abort(Side::Smol, conn);
            world.run(10 * MILLI);
            let stack = &mut world.weir.stack;
            assert_eq!(stack.tcp_close_cause(conn.key), Some(CloseCause::Reset));
            let written = stack.tcp_write_slice(world.now, conn.key, b"more");
            assert_eq!(written, Err(WriteError::Closed(CloseCause::Reset)));
            if !half_closed {
                assert_eq!(world.read(Side::Weir, conn), Read::Broken);
            }
            world.weir.stack.tcp_close(world.now, conn.key);
            leaves_nothing(&mut world);
        }
    }
}

// T14, T19: a port where nobody listens refuses, at either side.
#[test]
fn closed_ports_refuse() {
    for setup in versions() {
        let mut world = World::new(&setup);
        let (there, here) = (world.at(Side::Smol, 81), world.at(Side::Weir, 81));
        let stack = &mut world.weir.stack;
        let key = stack.tcp_connect(world.now, there, ConnectConfig::default());
        let handle = world.smol.connect(here);
        world.run(10 * MILLI);
        let cause = world.weir.stack.tcp_close_cause(key.unwrap());
        assert_eq!(cause, Some(CloseCause::Refused));
        assert_eq!(world.smol.state(handle), tcp::State::Closed);
    }
}

// T57: smoltcp reads nothing for minutes. The stack probes, less and less often, and goes on when
// there is room again.
#[test]
fn a_paused_smoltcp_is_probed() {
    for (setup, opener) in cases() {
        let mut world = World::new(&setup);
        let conn = world.connect(opener);
        let mut transfer = Transfer::new(Side::Weir, 400_000);
        let end = world.now + SECOND;
        while world.now < end {
            transfer.write(&mut world, conn);
            world.run(MILLI);
        }
        let stats = world.weir.stack.tcp_stats(world.now, conn.key).unwrap();
        assert_eq!(stats.send_window, 0);
        assert!(stats.unsent > 0);
        assert_eq!(world.smol.tcp(conn.handle).recv_queue(), BUFFER);
        let before = world.sent(Side::Smol).0;
        world.run(120 * SECOND);
        let probes = world.sent(Side::Smol).0 - before;
        assert!((4..=12).contains(&probes), "{probes} probes");
        world.until(60 * SECOND, |world| {
            transfer.write(world, conn);
            transfer.read(world, conn)
        });
        world.close(opener, conn);
        leaves_nothing(&mut world);
    }
}

// T54, T58, T59: the stack's reader pauses for minutes. The window closes, smoltcp's probes are
// answered, and all arrives when there is room again.
#[test]
fn a_paused_reader_holds_smoltcp_back() {
    for (setup, opener) in cases() {
        let mut world = World::new(&setup);
        let conn = world.connect(opener);
        let small = Setting::ReceiveWindow(70 << 10);
        let stack = &mut world.weir.stack;
        stack.tcp_configure(world.now, conn.key, small).unwrap();
        let mut transfer = Transfer::new(Side::Smol, 400_000);
        let end = world.now + 2 * SECOND;
        while world.now < end {
            transfer.write(&mut world, conn);
            world.run(MILLI);
        }
        let written = transfer.written();
        let before = (world.sent(Side::Weir).0, world.sent(Side::Smol).0);
        world.run(120 * SECOND);
        transfer.write(&mut world, conn);
        assert_eq!(transfer.written(), written, "it is held back");
        let stats = world.weir.stack.tcp_stats(world.now, conn.key).unwrap();
        assert!(stats.unread <= 70 << 10, "{} unread", stats.unread);
        let probes = world.sent(Side::Weir).0 - before.0;
        let answers = world.sent(Side::Smol).0 - before.1;
        assert!(probes >= 2, "{probes} probes");
        assert_eq!(answers, probes, "each is answered");
        world.until(60 * SECOND, |world| {
            transfer.write(world, conn);
            transfer.read(world, conn)
        });
        world.close(opener, conn);
        leaves_nothing(&mut world);
    }
}

// T26, T27, T28: the smaller MTU of the two bounds the packets of both, options and all.
#[test]
fn packets_fit_the_smaller_mtu() {
    for (setup, opener) in cases() {
        let small = if setup.v6 { 1280 } else { 576 };
        for (weir_mtu, smol_mtu) in [(1500, small), (small, 1500), (small, small)] {
            for timestamps in [false, true] {
                let setup = Setup {
                    weir_mtu,
                    smol_mtu,
                    timestamps,
                    ..setup
                };
                let mut world = World::new(&setup);
                let conn = world.connect(opener);
                let ways = [(Side::Weir, 200_000), (Side::Smol, 200_000)];
                move_all(&mut world, conn, &ways);
                let largest = world.sent(Side::Smol).1;
                assert_eq!(largest, usize::from(small), "the stack fills its packets");
                let largest = world.sent(Side::Weir).1;
                assert!(
                    largest <= usize::from(small),
                    "{largest} bytes to the stack"
                );
                world.close(opener, conn);
            }
        }
    }
}

// T12, T116, T119: connections one after the other, closed by either side, leave nothing behind.
#[test]
fn fifty_connections_one_after_the_other() {
    for (setup, opener) in cases() {
        let mut world = World::new(&setup);
        for round in 0..50 {
            let conn = world.connect(opener);
            move_all(&mut world, conn, &[(opener, 100 + round)]);
            move_all(&mut world, conn, &[(opener.other(), 3000 + round)]);
            world.close(Side::BOTH[round % 2], conn);
        }
        leaves_nothing(&mut world);
    }
}

// T150: datagrams of all sizes that fit a packet, both ways.
#[test]
fn datagrams_go_both_ways() {
    for setup in versions() {
        let mut world = World::new(&setup);
        let (here, there) = (world.at(Side::Weir, 53), world.at(Side::Smol, 53));
        let key = world
            .weir
            .stack
            .udp_bind(world.now, here, UdpConfig::default())
            .unwrap();
        let handle = world.smol.udp_socket(53);
        let most = if setup.v6 { 1452 } else { 1472 };
        for len in [0, 1, 2, 7, 100, 1001, most - 1, most] {
            let data = pattern(len);
            let to = Datagram::to(there);
            world
                .weir
                .stack
                .udp_send(world.now, key, &data, to)
                .unwrap();
            let socket = world.smol.sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.send_slice(&data, here).unwrap();
            world.run(10 * MILLI);
            let socket = world.smol.sockets.get_mut::<udp::Socket<'_>>(handle);
            let (got, from) = socket.recv().unwrap();
            assert_eq!((got, from.endpoint), (&data[..], here.into()));
            let got = world.weir.stack.udp_recv(key).unwrap();
            assert_eq!((got.data, got.from, got.to), (data, there, here));
        }
    }
}

// T151, T152: a datagram to a closed port is told to its sender, at either side.
#[test]
fn closed_udp_ports_are_told() {
    for setup in versions() {
        let mut world = World::new(&setup);
        let (here, there) = (world.at(Side::Weir, 53), world.at(Side::Smol, 54));
        let stack = &mut world.weir.stack;
        let key = stack.udp_bind(world.now, here, UdpConfig::default());
        let key = key.unwrap();
        stack.udp_connect(key, there).unwrap();
        stack
            .udp_send(world.now, key, b"anybody?", Datagram::default())
            .unwrap();
        let handle = world.smol.udp_socket(7000);
        let errors = icmp::Endpoint::Udp(7000.into());
        let errors = world.smol.icmp_socket(errors);
        let nobody = world.at(Side::Weir, 54);
        let socket = world.smol.sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.send_slice(b"anybody?", nobody).unwrap();
        world.run(10 * MILLI);
        let error = world.weir.stack.udp_error(key).unwrap();
        let told = (error.remote, error.kind);
        assert_eq!(told, (there, IcmpKind::PortUnreachable));
        let socket = world.smol.sockets.get_mut::<icmp::Socket<'_>>(errors);
        let (message, from) = socket.recv().unwrap();
        assert_eq!(from, nobody.ip().into());
        assert_eq!(message[..2], if setup.v6 { [1, 4] } else { [3, 3] });
    }
}

// T147: smoltcp pings, and each answer has the same identifier, number and data.
#[test]
fn pings_are_answered() {
    for setup in versions() {
        let mut world = World::new(&setup);
        let (question, answer) = if setup.v6 { (128, 129) } else { (8, 0) };
        let to = world.at(Side::Weir, 0).ip();
        let handle = world.smol.icmp_socket(icmp::Endpoint::Ident(0x1234));
        for (seq, len) in [0, 1, 56, 1001].into_iter().enumerate() {
            let seq = u8::try_from(seq).unwrap();
            let rest = [&[0x12, 0x34, 0, seq], &pattern(len)[..]].concat();
            let echo = [&[question, 0, 0, 0], &rest[..]].concat();
            let socket = world.smol.sockets.get_mut::<icmp::Socket<'_>>(handle);
            socket.send_slice(&echo, to.into()).unwrap();
            world.run(10 * MILLI);
            let socket = world.smol.sockets.get_mut::<icmp::Socket<'_>>(handle);
            let (message, from) = socket.recv().unwrap();
            assert_eq!(from, to.into());
            assert_eq!(message[..2], [answer, 0]);
            assert_eq!(message[4..], rest);
        }
    }
}
