//! `weir listen` and `weir connect`: real TCP clients through a tunnel of two processes.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Running, finish, scratch, text, weir};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A machine of its own: a home, a key in it.
struct Machine {
    home: PathBuf,
    peer: String,
}

impl Machine {
    fn new(name: &str) -> Self {
        let home = scratch(name);
        let output = finish(at(&home, &["key", "--json"]));
        let key: Value = serde_json::from_slice(&output.stdout).unwrap();
        Self {
            home,
            peer: key["peer_id"].as_str().unwrap().to_owned(),
        }
    }

    fn start(&self, args: &[&str]) -> Running {
        Running::spawn(at(&self.home, args))
    }
}

fn at(home: &Path, args: &[&str]) -> Command {
    let mut command = weir(args);
    command
        .env("XDG_CONFIG_HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env("HOME", home);
    command
}

/// A listener and a tunnel to it with these forwards.
struct Tunnel {
    listener: Running,
    listening: Machine,
    dialler: Running,
    dialling: Machine,
    connected: Value,
}

fn tunnel(allow_to: &str, options: &[&str]) -> Tunnel {
    let (listening, dialling) = (Machine::new("listen"), Machine::new("connect"));
    let mut listener = listening.start(&[
        "listen",
        "--addr",
        "127.0.0.1:0",
        "--allow-peer",
        &dialling.peer,
        "--allow-to",
        allow_to,
        "--json",
    ]);
    let said = listener.json_line();
    let target = format!("{}@{}", listening.peer, said["listening"].as_str().unwrap());
    let connect = said["connect"].as_str().unwrap();
    assert!(
        connect.starts_with(&format!("weir connect {target} -L ")),
        "{connect}"
    );
    // Which of the two is ready first depends on the machine: QUIC is, sooner or later.
    let (dialler, connected) = loop {
        let args = [&["connect", &target, "--json", "--grace", "60m"], options].concat();
        let mut dialler = dialling.start(&args);
        let connected = dialler.json_line();
        if connected["via"] == "quic" {
            break (dialler, connected);
        }
    };
    assert_eq!(connected["connected"], target.as_str());
    Tunnel {
        listener,
        listening,
        dialler,
        dialling,
        connected,
    }
}

impl Tunnel {
    /// Where the n-th forward listens.
    fn bound(&self, n: usize) -> SocketAddr {
        self.connected["forwards"][n]["bind"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    fn end(self) {
        let dialler = self.dialler.terminate();
        assert_eq!(dialler.status.code(), Some(0), "{}", text(&dialler.stderr));
        let listener = self.listener.terminate();
        assert_eq!(
            listener.status.code(),
            Some(0),
            "{}",
            text(&listener.stderr)
        );
    }
}

/// A TCP service that answers what it was sent once the client has ended, twice over.
fn doubling() -> SocketAddr {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = service.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = service.accept() {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
                stream.write_all(&all).unwrap();
            });
        }
    });
    addr
}

/// Sends, ends its half, reads to the end: an answer comes only when half-close passes through.
fn ask(addr: SocketAddr, words: &[u8]) -> Vec<u8> {
    try_ask(addr, words).unwrap()
}

fn try_ask(addr: SocketAddr, words: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(common::LIMIT))?;
    stream.write_all(words)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_forward_carries_bytes_and_half_closes_both_ways() {
    let service = doubling();
    let tunnel = tunnel(&service.to_string(), &["-L", &format!("0:{service}")]);
    assert_eq!(ask(tunnel.bound(0), b"hello"), b"hellohello");
    let long = vec![7_u8; 3 << 20];
    assert_eq!(ask(tunnel.bound(0), &long).len(), 6 << 20);
    tunnel.end();
}

#[test]
fn forwards_of_every_kind_and_several_of_each() {
    let service = doubling();
    let forward = format!("0:{service}");
    let tunnel = tunnel(
        &service.to_string(),
        &[
            "-L", &forward, "-L", &forward, "-R", &forward, "-R", &forward, "-D", "0", "-D", "0",
        ],
    );
    let forwards = tunnel.connected["forwards"].as_array().unwrap();
    assert_eq!(forwards.len(), 6);
    for (n, forward) in forwards.iter().enumerate() {
        if forward["kind"] != "socks" {
            assert_eq!(ask(tunnel.bound(n), b"ab"), b"abab", "{forward}");
        } else {
            assert_eq!(through_socks(tunnel.bound(n), service, b"ab"), b"abab");
        }
    }
    tunnel.end();
}

/// RFC 1928 by hand: no authentication, CONNECT to an IPv4 address.
fn through_socks(proxy: SocketAddr, to: SocketAddr, words: &[u8]) -> Vec<u8> {
    let SocketAddr::V4(to) = to else {
        panic!("the service listens on IPv4")
    };
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(common::LIMIT)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).unwrap();
    assert_eq!(chosen, [5, 0]);
    let mut request = vec![5, 1, 0, 1];
    request.extend_from_slice(&to.ip().octets());
    request.extend_from_slice(&to.port().to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..2], [5, 0]);
    stream.write_all(words).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Datagrams both ways through two processes, and the status that counts them.
#[test]
fn udp_forwards_carry_datagrams() {
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = service.local_addr().unwrap();
    let forward = format!("udp:0:{to}");
    let allowed = to.to_string();
    let tunnel = tunnel(
        &allowed,
        &["-L", &forward, "-R", &forward, "--udp-idle", "30s"],
    );
    for n in 0..2 {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(tunnel.bound(n)).unwrap();
        for socket in [&client, &service] {
            socket.set_read_timeout(Some(common::LIMIT)).unwrap();
        }
        client.send(b"question").unwrap();
        let mut buffer = [0; 100];
        let (length, from) = service.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        service.send_to(b"answer", from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
    }
    let output = finish(at(&tunnel.dialling.home, &["connect", "--status"]));
    let words = text(&output.stdout);
    assert!(
        words.contains(&format!("-L udp:{} -> {to}", tunnel.bound(0))),
        "{words}"
    );
    assert!(
        words.contains("8 B in 1") && words.contains("6 B in 1"),
        "{words}"
    );
    tunnel.end();
}

#[test]
fn the_status_tells_what_runs_and_what_holds_it_back() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = service.local_addr().unwrap();
    let tunnel = tunnel(&addr.to_string(), &["-L", &format!("0:{addr}")]);
    let mut stream = TcpStream::connect(tunnel.bound(0)).unwrap();
    stream.write_all(b"x").unwrap();
    let (mut accepted, _) = service.accept().unwrap();
    accepted.read_exact(&mut [0]).unwrap();
    let status = |args: &[&str]| {
        let output = finish(at(&tunnel.dialling.home, args));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let json: Value = serde_json::from_str(&status(&["connect", "--status", "--json"])).unwrap();
    assert_eq!(json["state"], "connected");
    assert_eq!(json["connection"]["via"], "quic");
    assert_eq!(json["streams"][0]["to"], addr.to_string());
    assert!(
        !json["streams"][0]["send_held_by"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let people = status(&["connect", "--status"]);
    assert!(
        people.contains("held back by") && people.contains(&addr.to_string()),
        "{people}"
    );
    drop((stream, accepted));
    tunnel.end();
    let nothing = finish(at(&scratch("nobody"), &["connect", "--status", "--json"]));
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(0), 0));
}

/// Over QUIC the status has the network path, and says of a stream whose far end does not read that it is
/// the peer's window which holds it back.
#[test]
fn the_status_shows_the_path_and_who_does_not_read() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = service.local_addr().unwrap();
    let tunnel = tunnel(&addr.to_string(), &["-L", &format!("0:{addr}")]);
    let stream = TcpStream::connect(tunnel.bound(0)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let (accepted, _) = service.accept().unwrap();
    let status = |options: &[&str]| {
        let args = [&["connect", "--status"], options].concat();
        text(&finish(at(&tunnel.dialling.home, &args)).stdout)
    };
    // Nobody reads: the buffers on the way fill up until the window is closed.
    let began = Instant::now();
    let (json, people) = loop {
        while (&stream).write(&[7; 1 << 16]).is_ok() {}
        let people = status(&[]);
        let json: Value = serde_json::from_str(&status(&["--json"])).unwrap();
        let held = &json["streams"][0]["send_held_by"];
        if held == "peer's window" && people.contains("peer's window (sending)") {
            break (json, people);
        }
        assert!(began.elapsed() < common::LIMIT, "{people}{json:#}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let connection = &json["connection"];
    assert!(
        connection["why"]
            .as_str()
            .unwrap()
            .contains("QUIC was ready")
    );
    assert!(connection["rtt_ms"].as_f64().unwrap() > 0.0);
    let path = &connection["path"];
    let number = |field: &str| path[field].as_u64().unwrap();
    assert!(path["min_rtt_ms"].as_f64() <= connection["rtt_ms"].as_f64());
    assert!(number("congestion_window") >= 14_720);
    assert!(number("in_flight") <= number("congestion_window"));
    assert!(number("datagram_size") >= 1200);
    assert!(number("datagrams_sent") > 10 && number("datagrams_received") > 2);
    assert!(number("packets_lost") < number("datagrams_sent"));
    assert_eq!(path["congestion"], "cubic");
    assert!(
        people.contains("on their way (cubic, ") && people.contains("QUIC was ready"),
        "{people}"
    );
    drop((stream, accepted));
    tunnel.end();
}

/// Waits until nobody listens there any more.
fn until_closed(bound: SocketAddr) {
    let started = Instant::now();
    while TcpStream::connect(bound).is_ok() {
        assert!(started.elapsed() < common::LIMIT, "it still listens");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_first_signal_drains_and_the_second_ends_it() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = service.local_addr().unwrap();
    let mut tunnel = tunnel(&addr.to_string(), &["-L", &format!("0:{addr}")]);
    let mut stream = TcpStream::connect(tunnel.bound(0)).unwrap();
    stream.set_read_timeout(Some(common::LIMIT)).unwrap();
    stream.write_all(b"x").unwrap();
    let (mut accepted, _) = service.accept().unwrap();
    accepted.read_exact(&mut [0]).unwrap();

    // What runs goes on after the first one, and nothing new is taken.
    tunnel.dialler.signal("TERM");
    until_closed(tunnel.bound(0));
    accepted.write_all(b"y").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert!(!tunnel.dialler.has_ended());

    tunnel.dialler.signal("INT");
    // Long before the drain's grace is over.
    let ended = tunnel.dialler.output();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        text(&ended.stderr).contains("cut off"),
        "{}",
        text(&ended.stderr)
    );
    // What was cut off is no clean end for the client.
    let cut = stream.read(&mut [0]);
    assert!(cut.is_err() || matches!(cut, Ok(0)), "{cut:?}");
    assert_eq!(tunnel.listener.terminate().status.code(), Some(0));
}

#[test]
fn a_drain_ends_with_what_runs() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = service.local_addr().unwrap();
    let tunnel = tunnel(&addr.to_string(), &["-L", &format!("0:{addr}")]);
    let bound = tunnel.bound(0);
    let mut stream = TcpStream::connect(bound).unwrap();
    stream.write_all(b"in time").unwrap();
    let (mut accepted, _) = service.accept().unwrap();
    accepted.read_exact(&mut [0; 7]).unwrap();
    tunnel.dialler.signal("TERM");
    until_closed(bound);
    accepted.write_all(b"late").unwrap();
    // With the listener goes who came while the end of listening was waited for.
    drop((accepted, service));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"late");
    drop(stream);
    assert_eq!(tunnel.dialler.output().status.code(), Some(0));
}

#[test]
fn a_lost_connection_is_dialled_again_and_the_forward_stays_bound() {
    let service = doubling();
    let mut tunnel = tunnel(&service.to_string(), &["-L", &format!("0:{service}")]);
    assert_eq!(ask(tunnel.bound(0), b"ab"), b"abab");
    let target = tunnel.connected["connected"].as_str().unwrap();
    let addr = target.split_once('@').unwrap().1.to_owned();
    tunnel.listener.signal("KILL");
    while !tunnel.listener.has_ended() {
        std::thread::sleep(Duration::from_millis(5));
    }
    tunnel.listener = tunnel.listening.start(&[
        "listen",
        "--addr",
        &addr,
        "--allow-peer",
        &tunnel.dialling.peer,
        "--allow-to",
        &service.to_string(),
        "--json",
    ]);
    assert_eq!(tunnel.listener.listening(), addr);
    // A peer that was killed says nothing: over QUIC the first request is what finds it out.
    let answer = try_ask(tunnel.bound(0), b"cd");
    let answer = answer.or_else(|_| try_ask(tunnel.bound(0), b"cd"));
    assert_eq!(answer.unwrap(), b"cdcd");
    let dialler = tunnel.dialler.terminate();
    assert_eq!(dialler.status.code(), Some(0));
    let words = text(&dialler.stderr);
    assert!(words.contains("dialling again"), "{words}");
}

#[test]
fn a_stranger_is_turned_away_and_told_what_to_do() {
    let (listening, stranger) = (Machine::new("listen"), Machine::new("stranger"));
    let mut listener = listening.start(&["listen", "--addr", "127.0.0.1:0", "--json"]);
    let target = format!("{}@{}", listening.peer, listener.listening());
    let output = finish(at(&stranger.home, &["connect", &target, "-D", "0"]));
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(
        words.contains(&format!("weir listen --allow-peer {}", stranger.peer)),
        "{words}"
    );
    let said = listener.terminate();
    assert!(
        text(&said.stderr).contains("nobody"),
        "{}",
        text(&said.stderr)
    );
}

#[test]
fn the_line_for_people_stands_alone_on_stdout() {
    let machine = Machine::new("people");
    let mut listener = machine.start(&["listen", "--addr", "127.0.0.1:0", "--allow-any-peer"]);
    let line = listener.line();
    assert!(
        line.starts_with(&format!("weir connect {}@127.0.0.1:", machine.peer)),
        "{line}"
    );
    let said = listener.terminate();
    assert_eq!(said.status.code(), Some(0));
    let words = text(&said.stderr);
    assert!(words.contains("only this machine can connect"), "{words}");
    assert!(
        words.contains("WARN"),
        "letting anybody in is warned of: {words}"
    );
}
