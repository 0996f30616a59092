//! What happens on a network that drops, refuses or carries more: two machines on a cable, made of
//! network namespaces. Where these cannot be had, nothing is tried.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;
#[path = "common/ns.rs"]
mod ns;

use common::{LIMIT, Running, finish, scratch, text, weir};
use ns::{FAR, Net, two_machines};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// An echo server on the far machine, and its address.
fn echo_server(net: &Net, via: &str) -> (Running, String) {
    let addr = format!("{FAR}:0");
    let args = ["echo", "server", "--via", via, "--addr", &addr, "--json"];
    let mut server = Running::spawn(net.over_there(&weir(&args)));
    let addr = server.listening();
    (server, addr)
}

/// A client on a runtime of its own, which gives up no handshake before the test would: what falls back,
/// does not because a time-out has passed.
fn client<T>(body: impl AsyncFnOnce(&weir::Endpoint) -> T) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = weir::Config {
            handshake_timeout: Duration::from_secs(3600),
            ..weir::Config::default()
        };
        let client = weir::Endpoint::builder().config(config);
        let client = client.client().await.unwrap();
        let all = tokio::time::timeout(LIMIT, body(&client));
        all.await.expect("it hangs")
    })
}

/// Sends so many bytes over a stream of a server that echoes, and waits for the last one to come back.
async fn echoed(connection: &weir::Connection, bytes: usize) {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let sending = tokio::spawn(async move {
        send.write_all(&vec![7; bytes]).await.unwrap();
        send.finish().unwrap();
        send
    });
    assert_eq!(recv.read_to_end(bytes).await.unwrap().len(), bytes);
    sending.await.unwrap();
}

#[test]
fn a_dial_falls_back_where_udp_is_dropped_and_returns_with_it() {
    two_machines(
        "a_dial_falls_back_where_udp_is_dropped_and_returns_with_it",
        |net| {
            let (_server, addr) = echo_server(net, "auto");
            net.drop_there("udp");
            client(async |client| {
                let fallen = client.connect(&addr).await.unwrap();
                assert_eq!(fallen.via(), weir::Via::Yamux);
                let why = fallen.why().unwrap();
                assert!(why.contains("UDP may be blocked"), "{why}");
                echoed(&fallen, 10_000).await;
                // It is remembered, and QUIC asked all the same.
                let again = client.connect(&addr).await.unwrap();
                assert_eq!(again.via(), weir::Via::Yamux);
                net.let_through();
                // Which of the two is ready first depends on the machine: QUIC is, sooner or later.
                let returned = loop {
                    let returned = client.connect(&addr).await.unwrap();
                    if returned.via() == weir::Via::Quic {
                        break returned;
                    }
                };
                echoed(&returned, 10_000).await;
            });
        },
    );
}

#[test]
fn a_dial_falls_back_at_once_where_only_tcp_is_listened_to() {
    two_machines(
        "a_dial_falls_back_at_once_where_only_tcp_is_listened_to",
        |net| {
            let (_server, addr) = echo_server(net, "yamux");
            client(async |client| {
                let connection = client.connect(&addr).await.unwrap();
                assert_eq!(connection.via(), weir::Via::Yamux);
                let why = connection.why().unwrap();
                assert!(why.contains("nobody listens on that UDP port"), "{why}");
            });
        },
    );
}

#[test]
fn a_dial_by_quic_to_a_closed_port_fails_at_once() {
    two_machines("a_dial_by_quic_to_a_closed_port_fails_at_once", |_| {
        let dial = |addr: &str| {
            let args = ["echo", "client", "--via", "quic", "--connect", addr];
            let output = finish(weir(&args));
            assert_eq!(output.status.code(), Some(1));
            text(&output.stderr)
        };
        let closed = format!("{FAR}:4433");
        let words = dial(&closed);
        assert!(
            words.contains(&format!(
                "{closed} does not answer: nobody listens on that UDP port"
            )),
            "{words}"
        );
        // There is no way to this one.
        let words = dial("192.0.2.1:4433");
        assert!(
            words.contains("192.0.2.1:4433 does not answer: "),
            "{words}"
        );
    });
}

#[test]
fn packets_grow_to_what_the_interface_carries() {
    two_machines("packets_grow_to_what_the_interface_carries", |net| {
        for mtu in [9_000, 1_400, 1_500] {
            net.set_mtu(mtu);
            let (_server, addr) = echo_server(net, "quic");
            client(async |client| {
                let connection = client.connect(&addr).await.unwrap();
                let size = || connection.stats().path.unwrap().datagram_size;
                let wanted = usize::try_from(mtu).unwrap() - 28;
                while size() < wanted {
                    echoed(&connection, 100_000).await;
                }
                assert_eq!(size(), wanted);
            });
        }
    });
}

/// A service on the far machine that sends back what comes: `weir listen` reaches it there.
fn tunnel(net: &Net, home: &Path) -> ([Running; 2], Running, String, SocketAddr) {
    let at = |args: &[&str]| {
        let mut command = weir(args);
        command.env("XDG_CONFIG_HOME", home).env("HOME", home);
        command.env("XDG_RUNTIME_DIR", home);
        command
    };
    let service = "import socket, threading\n\
        def echo(c):\n while (d := c.recv(65536)): c.sendall(d)\n\
        s = socket.create_server(('127.0.0.1', 7007)); print('{\"listening\":\"\"}', flush=True)\n\
        while True: threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()";
    let mut python = Command::new("python3");
    python.args(["-c", service]);
    let mut service = Running::spawn(net.over_there(&python));
    service.line();
    let listen = [
        "listen",
        "--addr",
        &format!("{FAR}:0"),
        "--allow-any-peer",
        "--allow-to",
        "127.0.0.1:7007",
        "--key",
        &home.join("far").display().to_string(),
        "--json",
    ];
    let mut listener = Running::spawn(net.over_there(&at(&listen)));
    let said = listener.json_line();
    let target = said["connect"]
        .as_str()
        .unwrap()
        .split(' ')
        .nth(2)
        .unwrap()
        .to_owned();
    let connect = ["connect", &target, "-L", "0:127.0.0.1:7007", "--json", "-v"];
    // Which of the two is ready first depends on the machine: QUIC is, sooner or later.
    let (dialler, connected) = loop {
        let mut dialler = Running::spawn(at(&connect));
        let connected = dialler.json_line();
        if connected["via"] == "quic" {
            break (dialler, connected);
        }
    };
    let bound = connected["forwards"][0]["bind"].as_str().unwrap();
    let bound = bound.parse().unwrap();
    ([service, listener], dialler, target, bound)
}

/// What `weir doctor` finds of the path to the far machine, by check, and its exit code.
fn examined(home: &Path, target: &str) -> (BTreeMap<String, Value>, i32) {
    let mut command = weir(&["doctor", target, "--timeout", "8s", "--json"]);
    command.env("XDG_CONFIG_HOME", home).env("HOME", home);
    let output = finish(command);
    let lines = common::lines(&output.stdout).into_iter();
    let named = lines.filter_map(|line| Some((line["check"].as_str()?.to_owned(), line)));
    (named.collect(), output.status.code().unwrap())
}

#[test]
fn the_doctor_tells_which_way_is_blocked() {
    two_machines("the_doctor_tells_which_way_is_blocked", |net| {
        let home = scratch("doctor-ns");
        let (_far, _dialler, target, _) = tunnel(net, &home);
        let examined = || examined(&home, &target);
        let says = |check: &Value, verdict: &str, found: &str, remedy: &str| {
            assert_eq!(check["verdict"], verdict, "{check}");
            assert!(check["found"].as_str().unwrap().contains(found), "{check}");
            let told = check["do"].as_str().unwrap_or_default();
            assert!(told.contains(remedy), "{check}");
        };
        let (all, code) = examined();
        assert_eq!(code, 0, "{all:#?}");
        for name in ["tcp", "udp", "handshake", "let-in", "quic", "path-mtu"] {
            assert_eq!(all[name]["verdict"], "ok", "{all:#?}");
        }
        says(&all["handshake"], "ok", "via yamux", "");
        says(&all["quic"], "ok", "via quic", "");
        says(&all["path-ecn"], "ok", "marks arrive as they were sent", "");

        net.drop_there("udp");
        let (all, code) = examined();
        assert_eq!(code, 0, "{all:#?}");
        says(
            &all["udp"],
            "limited",
            "UDP is filtered",
            "streams go over TCP; for QUIC too: let UDP",
        );
        says(&all["handshake"], "ok", "via yamux", "");
        net.let_through();

        net.drop_there("tcp");
        let (all, code) = examined();
        assert_eq!(code, 0, "{all:#?}");
        says(
            &all["tcp"],
            "limited",
            "is silent",
            "streams go over QUIC alone",
        );
        says(&all["handshake"], "ok", "via quic", "");
        says(&all["let-in"], "ok", "lets this machine in", "");
        assert!(!all.contains_key("quic"), "it is said once");

        net.drop_there("udp");
        let (all, code) = examined();
        assert_eq!(code, 1, "{all:#?}");
        says(
            &all["tcp"],
            "broken",
            "is silent",
            "let TCP to this port through",
        );
        says(
            &all["udp"],
            "broken",
            "no answer",
            "let UDP to this port through",
        );
    });
}

/// A running tunnel whose UDP is cut goes on over TCP, without waiting for an idle time-out.
#[test]
fn a_running_tunnel_goes_on_over_tcp_when_udp_is_cut() {
    two_machines("a_running_tunnel_goes_on_over_tcp_when_udp_is_cut", |net| {
        let home = scratch("cut");
        let (_far, dialler, _, bound) = tunnel(net, &home);
        let ask = || -> std::io::Result<[u8; 4]> {
            let mut stream = TcpStream::connect(bound)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(b"ping")?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        assert_eq!(&ask().unwrap(), b"ping");
        net.drop_there("udp");
        let began = Instant::now();
        // What is under way is cut off, and what comes after goes another way.
        while ask().is_err() {
            assert!(began.elapsed() < LIMIT);
        }
        let words = text(&dialler.terminate().stderr);
        assert!(words.contains("the path to it may be cut"), "{words}");
        assert!(words.contains("reached via yamux"), "{words}");
    });
}
