//! Nodes, ways, translators: where a datagram goes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking"
)]

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use weir_core::time::{Duration, Instant};
use weir_sim::{
    Datagram, DropReason, LinkConfig, NatConfig, NodeId, Rebinding, Schedule, Wake, World,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at(milliseconds: u64) -> Instant {
    Instant::from_millis(milliseconds)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn datagram(from: &str, to: &str, payload: &'static str) -> Datagram {
    Datagram::new(
        from.parse().unwrap(),
        to.parse().unwrap(),
        Bytes::from_static(payload.as_bytes()),
    )
}

/// A client at 10.0.0.1 and a server at 10.0.0.2.
fn pair(world: &mut World) -> (NodeId, NodeId) {
    (
        world.node("client", &[ip("10.0.0.1")]),
        world.node("server", &[ip("10.0.0.2")]),
    )
}

/// Goes on until a datagram arrives somewhere; when, where, and what.
fn next(world: &mut World) -> Option<(Instant, NodeId, Datagram)> {
    loop {
        if let Wake::Datagram(node) = world.step()? {
            let datagram = world.receive(node)?;
            return Some((world.now(), node, datagram));
        }
    }
}

#[test]
fn there_and_back() {
    let mut world = World::new(1);
    let (client, server) = pair(&mut world);
    world.connect(client, server, LinkConfig::with_delay(ms(20)));
    let ping = datagram("10.0.0.1:5000", "10.0.0.2:443", "ping");
    world.send(client, ping.clone());
    assert_eq!(next(&mut world), Some((at(20), server, ping)));
    let pong = datagram("10.0.0.2:443", "10.0.0.1:5000", "pong");
    world.send_at(at(30), server, pong.clone());
    assert_eq!(next(&mut world), Some((at(50), client, pong)));
    assert_eq!(next(&mut world), None);
    let stats = world.node_stats(server);
    assert_eq!(
        (
            stats.received,
            stats.received_bytes,
            stats.sent,
            stats.sent_bytes
        ),
        (1, 4, 1, 4)
    );
}

#[test]
fn nobody_and_no_way_are_unreachable() {
    let mut world = World::new(1);
    let (client, _) = pair(&mut world);
    world.send(client, datagram("10.0.0.1:1", "10.9.9.9:1", "nobody"));
    world.send(client, datagram("10.0.0.1:1", "10.0.0.2:1", "no link"));
    world.send(client, datagram("10.0.0.1:1", "10.0.0.1:2", "itself"));
    assert_eq!(next(&mut world).unwrap().2.payload, "itself");
    assert_eq!(world.network_stats().unreachable, 2);
    assert_eq!(world.network_stats().delivered, 1);
}

#[test]
fn what_happens_at_one_instant_happens_in_the_order_it_was_begun() {
    let mut world = World::new(1);
    let server = world.node("server", &[ip("10.0.1.0")]);
    let clients: Vec<NodeId> = (1..=50u8)
        .map(|n| {
            let client = world.node(&format!("client {n}"), &[IpAddr::from([10, 0, 0, n])]);
            world.connect(client, server, LinkConfig::with_delay(ms(10)));
            client
        })
        .collect();
    for (n, &client) in clients.iter().enumerate().rev() {
        let from = SocketAddr::from(([10, 0, 0, n as u8 + 1], 1));
        world.send(
            client,
            Datagram::new(from, SocketAddr::from(([10, 0, 1, 0], 1)), Bytes::new()),
        );
    }
    let order: Vec<IpAddr> = std::iter::from_fn(|| next(&mut world))
        .map(|(_, _, datagram)| datagram.from.ip())
        .collect();
    let expected: Vec<IpAddr> = (1..=50u8)
        .rev()
        .map(|n| IpAddr::from([10, 0, 0, n]))
        .collect();
    assert_eq!(order, expected);
}

#[test]
fn ways_share_a_bottleneck() {
    let mut world = World::new(1);
    let server = world.node("server", &[ip("10.0.1.0")]);
    // 128 bytes on the wire at 1,024 kbit/s take 1 ms.
    let narrow = LinkConfig {
        rate: Some(1_024_000),
        ..LinkConfig::default()
    };
    let bottleneck = world.link("bottleneck", narrow);
    let mut clients = Vec::new();
    for n in 1..=3u8 {
        let client = world.node(&format!("client {n}"), &[IpAddr::from([10, 0, 0, n])]);
        let access = world.link("access", LinkConfig::with_delay(ms(u64::from(n))));
        world.route_nodes(client, server, &[access, bottleneck]);
        clients.push(client);
    }
    for (n, &client) in clients.iter().enumerate() {
        let from = SocketAddr::from(([10, 0, 0, n as u8 + 1], 1));
        let payload = Bytes::from(vec![0; 100]);
        for _ in 0..10 {
            let to = SocketAddr::from(([10, 0, 1, 0], 1));
            world.send(client, Datagram::new(from, to, payload.clone()));
        }
    }
    let arrivals: Vec<Instant> = std::iter::from_fn(|| next(&mut world))
        .map(|(at, ..)| at)
        .collect();
    let expected: Vec<Instant> = (2..32).map(at).collect();
    assert_eq!(arrivals, expected);
    assert_eq!(world.link_stats(bottleneck).forwarded, 30);
}

#[test]
fn a_node_with_two_networks_has_a_way_for_each_address() {
    let mut world = World::new(1);
    let (client, server) = pair(&mut world);
    world.give_address(client, ip("172.16.0.1"));
    let wifi = world.link("wifi", LinkConfig::with_delay(ms(5)));
    let cellular = world.link("cellular", LinkConfig::with_delay(ms(60)));
    world.route(ip("10.0.0.1"), ip("10.0.0.2"), &[wifi]);
    world.route(ip("172.16.0.1"), ip("10.0.0.2"), &[cellular]);
    world.send(client, datagram("172.16.0.1:1", "10.0.0.2:1", "cellular"));
    world.send(client, datagram("10.0.0.1:1", "10.0.0.2:1", "wifi"));
    assert_eq!(
        next(&mut world).map(|(at, _, d)| (at, d.payload)),
        Some((at(5), "wifi".into()))
    );
    assert_eq!(
        next(&mut world).map(|(at, _, d)| (at, d.payload)),
        Some((at(60), "cellular".into()))
    );
    assert_eq!(world.node_stats(server).received, 2);
}

#[test]
fn partitions_open_and_close_on_schedule_and_by_hand() {
    let mut world = World::new(1);
    let (client, server) = pair(&mut world);
    let outages = Schedule::once(at(100), ms(100));
    let config = LinkConfig {
        outages,
        delay: ms(10),
        ..LinkConfig::default()
    };
    let (there, _) = world.connect(client, server, config);
    world.at(at(300), move |world| world.link_mut(there).set_down(true));
    world.at(at(400), move |world| world.link_mut(there).set_down(false));
    let mut arrived = Vec::new();
    for time in (0..500).step_by(50) {
        world.advance_to(at(time));
        world.send(client, datagram("10.0.0.1:1", "10.0.0.2:1", "."));
    }
    world.advance_to(at(1_000));
    while world.receive(server).is_some() {
        arrived.push(());
    }
    // 0, 50, 200, 250, 400, 450: what was sent before an outage arrives in it.
    assert_eq!(arrived.len(), 6);
    assert_eq!(world.link_stats(there).dropped_by(DropReason::Outage), 4);
}

#[test]
fn a_filter_takes_changes_and_sees() {
    let mut world = World::new(1);
    let (client, server) = pair(&mut world);
    let (there, _) = world.connect(client, server, LinkConfig::default());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    world.set_filter(there, move |now, datagram| {
        log.borrow_mut().push((now, datagram.payload.clone()));
        if datagram.payload == "change" {
            datagram.payload = Bytes::from_static(b"changed");
        }
        datagram.payload != "drop"
    });
    for payload in ["pass", "drop", "change"] {
        world.send(client, datagram("10.0.0.1:1", "10.0.0.2:1", payload));
    }
    let arrived: Vec<Bytes> = std::iter::from_fn(|| next(&mut world))
        .map(|(_, _, datagram)| datagram.payload)
        .collect();
    assert_eq!(arrived, ["pass", "changed"]);
    assert_eq!(seen.borrow().len(), 3);
    let stats = world.link_stats(there);
    assert_eq!(
        (stats.offered, stats.dropped_by(DropReason::Filter)),
        (3, 1)
    );
}

#[test]
fn a_translator_rebinds_and_loses_what_was_on_its_way() {
    let mut world = World::new(1);
    let (client, server) = pair(&mut world);
    world.connect(client, server, LinkConfig::with_delay(ms(50)));
    let rebind = Rebinding::at(&[at(1_000)]);
    let nat = world.nat(NatConfig::new(ip("192.0.2.1")).rebinding(rebind));
    world.behind(client, nat);

    world.send(client, datagram("10.0.0.1:5000", "10.0.0.2:443", "one"));
    let (_, _, seen) = next(&mut world).unwrap();
    assert_eq!(seen.from, "192.0.2.1:40000".parse().unwrap());
    world.send(
        server,
        datagram("10.0.0.2:443", "192.0.2.1:40000", "answer"),
    );
    let (time, node, answer) = next(&mut world).unwrap();
    assert_eq!((time, node), (at(100), client));
    assert_eq!(answer, datagram("10.0.0.2:443", "10.0.0.1:5000", "answer"));

    // Sent before the rebinding, arrives after it.
    world.advance_to(at(970));
    world.send(server, datagram("10.0.0.2:443", "192.0.2.1:40000", "lost"));
    assert_eq!(next(&mut world), None);
    assert_eq!(
        (world.now(), world.network_stats().untranslated),
        (at(1_020), 1)
    );
    world.send(client, datagram("10.0.0.1:5000", "10.0.0.2:443", "two"));
    let (_, _, seen) = next(&mut world).unwrap();
    assert_eq!(seen.from, "192.0.2.1:40001".parse().unwrap());
    world.nat_mut(nat).rebind();
    world.send(client, datagram("10.0.0.1:5000", "10.0.0.2:443", "three"));
    assert_eq!(
        next(&mut world).unwrap().2.from,
        "192.0.2.1:40002".parse().unwrap()
    );
    assert_eq!(world.nat_mut(nat).rebindings(), 2);
}

#[test]
fn a_link_more_does_not_disturb_the_others() {
    let history = |bystander: bool| {
        let mut world = World::new(5);
        let (client, server) = pair(&mut world);
        if bystander {
            let other = world.node("other", &[ip("10.0.0.3")]);
            let lossy = LinkConfig {
                loss: 0.5,
                jitter: ms(9),
                ..LinkConfig::default()
            };
            world.connect(other, server, lossy);
            for n in 0..100 {
                world.send_at(at(n), other, datagram("10.0.0.3:1", "10.0.0.2:1", "noise"));
            }
        }
        let config = LinkConfig {
            loss: 0.3,
            jitter: ms(9),
            ..LinkConfig::default()
        };
        world.connect(client, server, config);
        for n in 0..100 {
            world.send_at(
                at(n),
                client,
                datagram("10.0.0.1:1", "10.0.0.2:1", "signal"),
            );
        }
        let arrivals = std::iter::from_fn(|| next(&mut world));
        let signal = arrivals.filter(|(_, _, datagram)| datagram.payload == "signal");
        signal.map(|(at, ..)| at).collect::<Vec<_>>()
    };
    assert_eq!(history(false), history(true));
    assert!((50..90).contains(&history(false).len()));
}

#[test]
#[should_panic(expected = "10.0.0.1 is taken")]
fn an_address_belongs_to_one_node() {
    let mut world = World::new(1);
    world.node("one", &[ip("10.0.0.1")]);
    world.node("two", &[ip("10.0.0.1")]);
}
