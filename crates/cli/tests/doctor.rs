//! `weir doctor`: its words, its JSON, and what it says of paths that were made bad.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Running, finish, lines, scratch, text, weir};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is given up after this long never comes: all else is there long before, though the machine may stand still
/// for a while.
const LONG: &str = "8s";

/// What is looked at without a peer, in this order.
const MACHINE: [&str; 13] = [
    "udp-ipv4",
    "gso",
    "gro",
    "ecn-ipv4",
    "dont-fragment",
    "receive-buffer",
    "send-buffer",
    "udp-ipv6",
    "ecn-ipv6",
    "clock",
    "date",
    "open-files",
    "key",
];

/// Runs it away from the user's own key.
fn doctor(args: &[&str]) -> Output {
    let home = scratch("doctor");
    let mut command = weir(&[&["doctor", "--timeout", LONG], args].concat());
    command.env("XDG_CONFIG_HOME", &home);
    let output = finish(command);
    std::fs::remove_dir_all(home).unwrap();
    output
}

/// The checks by name, as JSON; the exit code must be `code`.
fn checks(args: &[&str], code: i32) -> Vec<Value> {
    let output = doctor(&[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    let mut lines = lines(&output.stdout);
    if code != 0 {
        assert!(lines.pop().unwrap()["error"].is_string());
    }
    lines
}

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let found = checks.iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:?}"))
}

/// The checks of a path that is found to carry packets of so many bytes. Three late answers to one question are as
/// none: a machine that was too slow for that asks once more.
fn with_mtu(target: &str, bytes: u64) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let checks = checks(&[target], 0);
        if check(&checks, "path-mtu")["packet_bytes"] == bytes {
            return checks;
        }
        assert!(begun.elapsed() < common::LIMIT, "{checks:?}");
    }
}

/// `weir listen` and, on the same port of UDP, whatever the test puts there.
struct Listener {
    _running: Running,
    /// `PEER@127.0.0.1:PORT`
    target: String,
    addr: SocketAddr,
    /// The same port of UDP.
    udp: UdpSocket,
}

impl Listener {
    fn new() -> Self {
        Self::letting_in(&["--allow-any-peer"])
    }

    /// Without anybody on UDP.
    fn letting_in(whom: &[&str]) -> Self {
        let listener = Self::beside_udp(whom);
        // A connected socket hears its peer alone: itself. It keeps the port, and the system refuses all others.
        listener.udp.connect(listener.addr).unwrap();
        listener
    }

    /// With a socket on UDP.
    fn beside_udp(whom: &[&str]) -> Self {
        loop {
            // Somebody else may have the same port of UDP.
            if let Some(listener) = Self::try_new(whom) {
                return listener;
            }
        }
    }

    fn try_new(whom: &[&str]) -> Option<Self> {
        let key = scratch("doctor-listener").join("key");
        let options = [
            "listen",
            "--addr",
            "127.0.0.1:0",
            // UDP of the same port is the test's.
            "--via",
            "yamux",
            "--key",
            key.to_str().unwrap(),
            "--json",
        ];
        let mut running = Running::start(&[&options, whom].concat());
        let first = running.json_line();
        let addr = first["listening"].as_str().unwrap();
        let peer = first["peer_id"].as_str().unwrap();
        Some(Self {
            target: format!("{peer}@{addr}"),
            addr: addr.parse().unwrap(),
            udp: UdpSocket::bind(addr).ok()?,
            _running: running,
        })
    }
}

/// Answers long headers of any version with Version Negotiation (RFC 9000 section 6.1).
struct Negotiator {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Negotiator {
    fn new(socket: &UdpSocket) -> Self {
        let socket = socket.try_clone().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut buffer = vec![0; 65_536];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        answer(&socket, from, &buffer[..length]);
                    }
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Negotiator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn answer(socket: &UdpSocket, from: SocketAddr, question: &[u8]) {
    assert!(
        question.len() >= 1_200,
        "a server need not answer {}",
        question.len()
    );
    assert_eq!(question[0] & 0x80, 0x80);
    assert_eq!((question[5], question[14]), (8, 8));
    let mut packet = vec![0x80, 0, 0, 0, 0, 8];
    packet.extend(&question[15..23]);
    packet.push(8);
    packet.extend(&question[6..14]);
    packet.extend([0, 0, 0, 1, 0x2a, 0x3a, 0x4a, 0x5a]);
    socket.send_to(&packet, from).unwrap();
}

#[test]
fn this_machine_is_examined_line_by_line() {
    let checks = checks(&[], 0);
    let names: Vec<&str> = checks
        .iter()
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    let expected: Vec<&str> = if names.contains(&"ecn-ipv6") {
        MACHINE.to_vec()
    } else {
        MACHINE
            .into_iter()
            .filter(|&name| name != "ecn-ipv6")
            .collect()
    };
    assert_eq!(names, expected);
    for check in &checks {
        let verdict = check["verdict"].as_str().unwrap();
        assert!(["ok", "limited"].contains(&verdict), "{check}");
        assert!(!check["found"].as_str().unwrap().is_empty());
        if verdict == "limited" {
            assert!(check["do"].is_string(), "{check} says nothing to do");
        }
    }
    for name in ["receive-buffer", "send-buffer"] {
        let buffer = check(&checks, name);
        assert_eq!(buffer["wanted_bytes"], 8 << 20);
        let enough = buffer["bytes"].as_u64().unwrap() >= 8 << 20;
        assert_eq!(buffer["verdict"] == "ok", enough, "{buffer}");
    }
    assert!(
        check(&checks, "key")["do"]
            .as_str()
            .unwrap()
            .contains("weir key")
    );
}

#[test]
fn people_read_a_verdict_first() {
    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(0));
    let words = text(&output.stdout);
    assert!(words.lines().count() >= 12, "{words}");
    for line in words.lines() {
        let verdict = line.split_whitespace().next().unwrap();
        assert!(["ok", "limited"].contains(&verdict), "{line}");
    }
}

#[test]
fn a_key_file_that_is_none_is_broken_and_exit_code_1() {
    let file = scratch("doctor-key").join("key");
    std::fs::write(&file, "nothing of the kind").unwrap();
    let checks = checks(&["--key", file.to_str().unwrap()], 1);
    assert_eq!(check(&checks, "key")["verdict"], "broken");
}

#[test]
fn a_peer_with_quic_beside_it_is_all_right() {
    let listener = Listener::beside_udp(&["--allow-any-peer"]);
    let _quic = Negotiator::new(&listener.udp);
    // Loopback's own limit is beyond what a datagram can be.
    let checks = with_mtu(&listener.target, 65_535);
    for name in [
        "name",
        "tcp",
        "handshake",
        "let-in",
        "udp",
        "path-mtu",
        "path-ecn",
    ] {
        assert_eq!(
            check(&checks, name)["verdict"],
            "ok",
            "{:?}",
            check(&checks, name)
        );
    }
    let peer = listener.target.split('@').next().unwrap();
    assert!(
        check(&checks, "handshake")["found"]
            .as_str()
            .unwrap()
            .contains(peer)
    );
    // The made-up version is not shown.
    let udp = check(&checks, "udp")["found"].as_str().unwrap();
    assert!(udp.ends_with("versions 1"), "{udp}");
}

#[test]
fn the_path_mtu_is_found_to_the_byte_behind_a_black_hole() {
    let listener = Listener::beside_udp(&["--allow-any-peer"]);
    let _quic = Negotiator::new(&listener.udp);
    let to = listener.addr.to_string();
    let mut lab = Running::start(&["lab", "--to", &to, "--mtu-to-server", "1337", "--json"]);
    let peer = listener.target.split('@').next().unwrap();
    let target = format!("{peer}@{}", lab.listening());
    let checks = with_mtu(&target, 1337);
    let mtu = check(&checks, "path-mtu");
    assert_eq!(mtu["payload_bytes"], 1337 - 28);
    assert_eq!(mtu["verdict"], "ok");
    assert_eq!(check(&checks, "handshake")["verdict"], "ok");
}

/// Marks that are taken off on the way are seen by a connection over QUIC alone.
#[test]
fn marks_that_are_bleached_are_told() {
    let home = scratch("doctor-bleach");
    let file = home.join("far");
    let key = file.to_str().unwrap();
    let mut listener = Running::start(&[
        "listen",
        "--addr",
        "127.0.0.1:0",
        "--allow-any-peer",
        "--key",
        key,
        "--json",
    ]);
    let said = listener.json_line();
    let to = said["listening"].as_str().unwrap();
    let mut lab = Running::start(&["lab", "--to", to, "--ecn", "bleach", "--json"]);
    let checks = checks(&[&lab.listening()], 0);
    assert_eq!(
        check(&checks, "quic")["verdict"],
        "limited",
        "nobody was asked for"
    );
    let ecn = check(&checks, "path-ecn");
    assert_eq!(ecn["verdict"], "limited");
    assert!(ecn["found"].as_str().unwrap().contains("bleached"), "{ecn}");
    assert!(
        ecn["do"].as_str().unwrap().contains("a router on the way"),
        "{ecn}"
    );
}

#[test]
fn a_udp_black_hole_is_a_limit_and_not_an_end() {
    let listener = Listener::beside_udp(&["--allow-any-peer"]);
    // UDP takes everything, and answers nothing.
    let checks = checks(&[&listener.target], 0);
    assert_eq!(check(&checks, "handshake")["verdict"], "ok");
    let udp = check(&checks, "udp");
    assert_eq!(udp["verdict"], "limited");
    assert!(
        udp["found"].as_str().unwrap().contains("no answer"),
        "{udp}"
    );
    assert!(
        udp["do"]
            .as_str()
            .unwrap()
            .contains("let UDP to this port through")
    );
    assert!(
        checks.iter().all(|check| check["check"] != "path-mtu"),
        "nothing to measure"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_port_without_a_listener_on_udp_is_told_from_a_black_hole() {
    let listener = Listener::new();
    let checks = checks(&[&listener.target], 0);
    let udp = check(&checks, "udp");
    assert_eq!(udp["verdict"], "limited");
    assert!(
        udp["found"].as_str().unwrap().contains("nothing listens"),
        "{udp}"
    );
}

#[test]
fn another_key_than_the_one_asked_for_is_broken() {
    let listener = Listener::new();
    let other = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
    let checks = checks(&[&format!("{other}@{}", listener.addr)], 1);
    assert_eq!(check(&checks, "tcp")["verdict"], "ok");
    let handshake = check(&checks, "handshake");
    assert_eq!(handshake["verdict"], "broken");
    assert!(
        handshake["found"].as_str().unwrap().contains(other),
        "{handshake}"
    );
}

#[test]
fn a_listener_that_does_not_let_this_machine_in_is_broken() {
    let other = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
    let listener = Listener::letting_in(&["--allow-peer", other]);
    let checks = checks(&[&listener.target], 1);
    assert_eq!(check(&checks, "handshake")["verdict"], "ok");
    let let_in = check(&checks, "let-in");
    assert_eq!(let_in["verdict"], "broken");
    assert!(
        let_in["found"].as_str().unwrap().contains("is not allowed"),
        "{let_in}"
    );
    // Without a key of its own the machine's ID changes from run to run: it is no use to allow it.
    assert!(
        let_in["do"]
            .as_str()
            .unwrap()
            .contains("`weir key` makes one"),
        "{let_in}"
    );
    let key = scratch("doctor-own-key").join("key");
    let own = common::json(&["key", "--out", key.to_str().unwrap(), "--json"]).remove(0);
    let checks = self::checks(&[&listener.target, "--key", key.to_str().unwrap()], 1);
    let remedy = check(&checks, "let-in")["do"].as_str().unwrap();
    assert!(remedy.ends_with(&format!(
        "--allow-peer {}",
        own["peer_id"].as_str().unwrap()
    )));
}

#[test]
fn a_target_without_a_peer_id_is_told_whom_it_met() {
    let listener = Listener::new();
    let checks = checks(&[&listener.addr.to_string()], 0);
    let handshake = check(&checks, "handshake");
    assert_eq!(handshake["verdict"], "limited");
    assert!(
        handshake["do"].as_str().unwrap().contains(&listener.target),
        "{handshake}"
    );
}

#[test]
fn who_is_not_there_is_broken() {
    // Bound, so that nobody else gets the port, and not listening.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    held.bind(&any.into()).unwrap();
    let addr = held.local_addr().unwrap().as_socket().unwrap().to_string();
    let refused = checks(&[&addr], 1);
    assert_eq!(check(&refused, "tcp")["verdict"], "broken");
    assert!(
        check(&refused, "tcp")["do"]
            .as_str()
            .unwrap()
            .contains("weir listen")
    );
    let nameless = checks(&["no-such-host.invalid:4433"], 1);
    assert_eq!(check(&nameless, "name")["verdict"], "broken");
    assert!(nameless.iter().all(|check| check["check"] != "tcp"));
}

#[test]
fn a_server_of_another_kind_fails_in_the_handshake() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = mute.local_addr().unwrap().to_string();
    let checks = checks(&[&addr], 1);
    assert_eq!(check(&checks, "tcp")["verdict"], "ok");
    let handshake = check(&checks, "handshake");
    assert_eq!(handshake["verdict"], "broken");
    assert!(
        handshake["found"]
            .as_str()
            .unwrap()
            .contains("did not end within 8 s")
    );
}
