//! `weir lab`: what the command line asks for reaches real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Running, json, lines, run, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A client, the command, and a server.
struct Scene {
    client: UdpSocket,
    server: UdpSocket,
    lab: Running,
    listening: String,
}

impl Scene {
    fn new(options: &[&str]) -> Self {
        let server = socket();
        let to = server.local_addr().unwrap().to_string();
        let mut lab = Running::start(&[&["lab", "--to", &to, "--json"], options].concat());
        let first = lab.json_line();
        assert_eq!(first["to"], to);
        let listening = first["listening"].as_str().unwrap().to_owned();
        let client = socket();
        Self {
            client,
            server,
            lab,
            listening,
        }
    }

    fn send(&self, payload: &[u8]) {
        self.client.send_to(payload, &self.listening).unwrap();
    }

    fn at_server(&self) -> (Vec<u8>, SocketAddr) {
        receive(&self.server)
    }

    /// Ends the command; what it says it did.
    fn report(self) -> Value {
        let ended = self.lab.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
        lines(&ended.stdout).pop().unwrap()
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::LIMIT)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                buffer.truncate(length);
                return (buffer, from);
            }
            // A process that was stopped for a while.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn everything_passes_both_ways_and_is_recorded() {
    let dir = common::scratch("lab-pcap");
    let (near, far) = (dir.join("near.pcapng"), dir.join("far.pcapng"));
    let (near, far) = (near.to_str().unwrap(), far.to_str().unwrap());
    let scene = Scene::new(&["--pcap-client", near, "--pcap-server", far]);
    for size in [0, 1, 1200, 9000] {
        let payload = vec![7; size];
        scene.send(&payload);
        let (arrived, relay) = scene.at_server();
        assert_eq!(arrived, payload);
        scene.server.send_to(&payload, relay).unwrap();
        assert_eq!(receive(&scene.client).0, payload);
    }
    let report = scene.report();
    for way in ["to_server", "to_client"] {
        assert_eq!(report[way]["packets"], 4);
        assert_eq!(report[way]["delivered"], 4);
        assert_eq!(report[way]["dropped"].as_object().unwrap().len(), 0);
        // 10,201 bytes and four times the headers of IPv4 and UDP.
        assert_eq!(report[way]["bytes"], 10_201 + 4 * 28);
    }
    assert_eq!(
        (&report["flows"], &report["unrecorded"]),
        (&1.into(), &0.into())
    );
    for file in [near, far] {
        // Every payload twice, once each way.
        assert!(std::fs::metadata(file).unwrap().len() > 2 * 10_201);
    }
    assert!(report["secs"].as_f64().unwrap() > 0.0);
}

#[test]
fn certain_loss_passes_nothing_one_way_and_lists_drop_the_named() {
    let scene = Scene::new(&[
        "--loss-to-client",
        "100%",
        "--drop-to-server",
        "2,3,4,5,6,7",
    ]);
    let mut relay = None;
    for number in 1..=8 {
        scene.send(&[number; 30]);
    }
    for expected in [1, 8] {
        let (payload, from) = scene.at_server();
        assert_eq!(payload, [expected; 30]);
        relay = Some(from);
    }
    scene.server.send_to(b"lost", relay.unwrap()).unwrap();
    scene
        .client
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(scene.client.recv(&mut [0; 8]).is_err());
    let report = scene.report();
    assert_eq!(report["to_server"]["dropped"]["numbered"], 6);
    assert_eq!(report["to_client"]["dropped"]["loss"], 1);
    assert_eq!(report["to_client"]["delivered"], 0);
}

#[test]
fn corruption_has_its_place_and_its_limit() {
    let scene = Scene::new(&["--corrupt-to-server", "100%", "--burst", "3"]);
    let original = vec![0x40; 600];
    for number in 1..=40 {
        scene.send(&original);
        let payload = scene.at_server().0;
        let changed: Vec<usize> = (0..600).filter(|&at| payload[at] != 0x40).collect();
        if number % 4 == 0 {
            assert_eq!(changed.len(), 0, "packet {number} ends a run of three");
        } else {
            assert_eq!(changed.len(), 1);
            assert!(changed[0] <= 50);
        }
    }
    assert_eq!(scene.report()["to_server"]["corrupted"], 30);
}

#[test]
fn an_mtu_drops_what_is_greater() {
    let scene = Scene::new(&["--mtu", "1300", "--mtu-to-client", "100"]);
    scene.send(&[1; 1273]);
    scene.send(&[2; 1272]);
    let (payload, relay) = scene.at_server();
    assert_eq!(payload, [2; 1272]);
    scene.server.send_to(&[3; 73], relay).unwrap();
    scene.server.send_to(&[4; 72], relay).unwrap();
    assert_eq!(receive(&scene.client).0, [4; 72]);
    let report = scene.report();
    assert_eq!(report["to_server"]["dropped"]["mtu"], 1);
    assert_eq!(report["to_client"]["dropped"]["mtu"], 1);
}

#[test]
fn rebinding_moves_the_port_and_the_address() {
    let scene = Scene::new(&[
        "--rebind-first",
        "20ms",
        "--rebind",
        "40ms",
        "--rebind-address",
    ]);
    let (mut seen, mut answered) = (BTreeSet::new(), false);
    let begun = Instant::now();
    while seen.len() < 3 || !answered {
        scene.send(b"x");
        let (_, relay) = scene.at_server();
        seen.insert(relay.ip());
        scene.server.send_to(b"y", relay).unwrap();
        // An answer to a binding that ended in between is lost.
        scene
            .client
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        answered |= scene.client.recv(&mut [0; 8]).is_ok();
        assert!(begun.elapsed() < common::LIMIT, "{seen:?}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(60));
    let report = scene.report();
    assert!(report["rebindings"].as_u64().unwrap() >= 2);
    assert!(report["to_client"]["delivered"].as_u64().unwrap() >= 1);
}

#[test]
fn delay_and_rate_hold_packets_back() {
    // A packet of 1,028 bytes takes 8.2 ms at 1 Mbit/s.
    let scene = Scene::new(&["--delay", "30ms", "--rate", "1M", "--jitter", "1ms"]);
    let begun = Instant::now();
    for _ in 0..5 {
        scene.send(&[5; 1000]);
    }
    for _ in 0..5 {
        scene.at_server();
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(30 + 41),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_blackhole_begins_and_ends() {
    let scene = Scene::new(&["--blackhole-on", "0s", "--blackhole-off", "150ms"]);
    let begun = Instant::now();
    scene.send(b"0");
    scene
        .server
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    while scene.server.recv(&mut [0; 8]).is_err() {
        scene.send(b"again");
        assert!(begun.elapsed() < common::LIMIT);
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(150),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        scene.report()["to_server"]["dropped"]["outage"]
            .as_u64()
            .unwrap()
            >= 1
    );
}

#[test]
fn tcp_passes_whole_and_udp_can_be_cut() {
    let mut server = Running::start(&["echo", "server", "--via", "yamux", "--json"]);
    let to = server.listening();
    let options = [
        "--delay", "5ms", "--loss", "2%", "--rate", "50M", "--no-udp", "--json",
    ];
    let mut lab = Running::start(&[&["lab", "--to", &to], &options[..]].concat());
    let addr = lab.listening();
    let streams = json(&[
        "echo",
        "client",
        "--connect",
        &addr,
        "--count",
        "20",
        "--json",
    ]);
    assert!(streams.iter().all(|stream| stream["ok"] == true));
    let client = socket();
    client.send_to(b"lost", &addr).unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(client.recv(&mut [0; 8]).is_err());
    let ended = lab.terminate();
    let report = lines(&ended.stdout).pop().unwrap();
    assert_eq!(report["connections"], 1);
    assert!(report["to_server"]["tcp_bytes"].as_u64().unwrap() > 1000);
    assert_eq!(report["to_server"]["dropped"]["outage"], 1);
}

#[test]
fn it_ends_by_itself_and_speaks_to_people() {
    let output = run(&["lab", "--to", "127.0.0.1:9", "--for", "50ms"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("lab on 127.0.0.1:"));
    assert!(
        text(&output.stdout).contains("0 UDP flows"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn what_does_not_work_is_said() {
    let output = run(&["lab", "--to", "127.0.0.1:9", "--listen", "192.0.2.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("192.0.2.1:0"));
    let output = run(&["lab", "--to", "no-such-host.invalid:9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no-such-host.invalid"));
}
