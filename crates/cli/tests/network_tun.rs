//! `weir connect --tun` between two machines made of network namespaces: the far one has an address that the near one has
//! no way to, but by the tunnel.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;
#[path = "common/far.rs"]
mod far;
#[path = "common/ns.rs"]
mod ns;

use common::{Running, finish, text, weir};
use far::{BEHIND, Far, echo, echo_behind, succeeded, two_machines};
use ns::FAR;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// `weir connect --tun`, once it stands.
fn tun(far: &Far, options: &[&str]) -> Running {
    let key = far.key();
    let args = [
        "connect",
        &far.target,
        "--key",
        &key,
        "--tun",
        "10.7.0.2/24",
        "--json",
    ];
    let mut running = Running::start(&[&args[..], options].concat());
    let said = running.json_line();
    let device = said["forwards"][0]["bind"].as_str().unwrap();
    assert!(device.contains("10.7.0.2/24"), "{said}");
    running
}

/// What a line prints here.
fn printed(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    text(&output.stdout)
}

#[test]
fn a_machine_s_traffic_takes_the_interface_where_routes_say_so() {
    two_machines(
        "a_machine_s_traffic_takes_the_interface_where_routes_say_so",
        |net| {
            let far = Far::new(net, "network-tun");
            let (_tcp, tcp) = echo_behind(net, "tcp", BEHIND);
            let (_quic, quic) = echo_behind(net, "quic", BEHIND);
            let before = printed("ip route");
            let running = tun(&far, &["--route", "203.0.113.0/24"]);
            assert!(printed("ip route").contains("203.0.113.0/24 dev weir0"));
            succeeded(&finish(weir(&echo("tcp", &tcp)[1..])));
            succeeded(&finish(weir(&echo("quic", &quic)[1..])));
            succeeded(&running.terminate());
            assert_eq!(printed("ip route"), before);
            assert!(!printed("ip -o link").contains("weir0"));
        },
    );
}

/// Connections that a tunnel carries now.
fn carried(far: &Far) -> usize {
    let status = common::json(&["connect", &far.target, "--status", "--json"]);
    status[0]["streams"].as_array().unwrap().len()
}

#[test]
fn a_reset_ends_a_connection_at_both_ends() {
    two_machines("a_reset_ends_a_connection_at_both_ends", |net| {
        let far = Far::new(net, "network-reset");
        let (_tcp, tcp) = echo_behind(net, "tcp", BEHIND);
        let _running = tun(&far, &["--route", "203.0.113.0/24"]);
        let mut stream = std::net::TcpStream::connect(&tcp).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!((&back, carried(&far)), (b"hello", 1));
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        let began = Instant::now();
        while carried(&far) > 0 {
            assert!(began.elapsed() < common::LIMIT, "it is carried on");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn the_status_says_why_a_machine_s_connection_stands_still() {
    two_machines(
        "the_status_says_why_a_machine_s_connection_stands_still",
        |net| {
            let far = Far::new(net, "network-still");
            let (_tcp, tcp) = echo_behind(net, "tcp", BEHIND);
            let _running = tun(&far, &["--route", "203.0.113.0/24"]);
            let mut stream = std::net::TcpStream::connect(&tcp).unwrap();
            let here = stream.local_addr().unwrap().to_string();
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            let device = || {
                let status = common::json(&["connect", &far.target, "--status", "--json"]);
                status[0]["devices"][0].clone()
            };
            let seen = device();
            assert!(
                seen["name"].as_str().unwrap().starts_with("weir0"),
                "{seen}"
            );
            let connection = &seen["tcp"][0];
            assert_eq!(
                (&connection["from"], &connection["to"]),
                (&here.into(), &(*tcp).into())
            );
            assert_eq!(connection["state"], "ESTABLISHED");
            // Measured; within one turn of the stack's task no time passes for it.
            assert!(connection["rtt_ms"].is_number(), "{connection}");
            // It sends, and reads nothing of what comes back.
            stream.set_nonblocking(true).unwrap();
            let began = Instant::now();
            let waiting = loop {
                while stream.write(&[0; 64 * 1024]).is_ok() {}
                let seen = device();
                let waiting = seen["tcp"][0]["unsent"].as_u64().unwrap();
                if waiting > 0 && seen["tcp"][0]["send_window"] == 0 {
                    break seen;
                }
                assert!(began.elapsed() < common::LIMIT, "{seen}");
                std::thread::sleep(Duration::from_millis(50));
            };
            assert_eq!(
                waiting["tcp"][0]["send_held_by"], "peer's window",
                "{waiting}"
            );
            let said = finish(weir(&["connect", &far.target, "--status"]));
            let said = text(&said.stdout);
            assert!(said.contains("the machine reads no more"), "{said}");
        },
    );
}

#[test]
fn the_tunnel_does_not_go_through_itself_and_leaves_no_route_behind() {
    two_machines(
        "the_tunnel_does_not_go_through_itself_and_leaves_no_route_behind",
        |net| {
            let far = Far::new(net, "network-routes");
            let (_tcp, tcp) = echo_behind(net, "tcp", BEHIND);
            let before = printed("ip route");
            // Everything, the peer's own address among it.
            let running = tun(&far, &["--route", "0.0.0.0/0"]);
            let routes = printed("ip route");
            assert!(routes.contains("10.9.0.2 dev near0"), "{routes}");
            assert!(routes.contains("128.0.0.0/1 dev weir0") && !routes.contains("default"));
            succeeded(&finish(weir(&echo("tcp", &tcp)[1..])));
            // A crash: the interface goes, and what led past it stays.
            running.signal("KILL");
            running.output();
            assert!(printed("ip route").contains("10.9.0.2 dev near0"));
            let running = tun(&far, &[]);
            assert!(
                !printed("ip route").contains("10.9.0.2 dev near0"),
                "it was not taken back"
            );
            succeeded(&running.terminate());
            assert_eq!(printed("ip route"), before);
        },
    );
}

/// The command, with a file of its own in the place of `/etc/hosts`.
fn with_hosts(hosts: &Path, command: &Command) -> Command {
    let line = format!(
        "mount --bind {} /etc/hosts && exec \"$0\" \"$@\"",
        hosts.display()
    );
    let mut own = Command::new("unshare");
    own.args(["-m", "sh", "-c", &line]);
    own.arg(command.get_program()).args(command.get_args());
    own
}

#[test]
fn the_way_to_the_peer_follows_it_to_another_address() {
    two_machines("the_way_to_the_peer_follows_it_to_another_address", |net| {
        /// Where the far machine is besides, reached as all the world is: by a gateway.
        const ELSEWHERE: &str = "192.0.2.3";
        net.far(&format!("ip addr add {ELSEWHERE}/32 dev lo"));
        net.near(&format!("ip route add default via {FAR}"));
        let mut far = Far::new(net, "network-follow");
        let (_tcp, tcp) = echo_behind(net, "tcp", BEHIND);
        let target = far.target.clone();
        let (peer, at) = target.split_once('@').unwrap();
        let (_, port) = at.rsplit_once(':').unwrap();
        let before = printed("ip route");
        // A name with both addresses, as this machine sees it.
        let hosts = far.keys.join("near-hosts");
        let both = format!("127.0.0.1 localhost\n{FAR} peer.example\n{ELSEWHERE} peer.example\n");
        std::fs::write(&hosts, both).unwrap();
        let (target, key) = (format!("{peer}@peer.example:{port}"), far.key());
        let route = ["--tun", "10.7.0.2/24", "--route", "0.0.0.0/0", "--json"];
        let connect = weir(&[&["connect", &target, "--key", &key][..], &route].concat());
        let mut running = Running::spawn(with_hosts(&hosts, &connect));
        running.json_line();
        let past = |route: &str| {
            let routes = printed("ip route");
            routes.lines().any(|line| line.starts_with(route))
        };
        assert!(past(&format!("{FAR} dev near0")) && !past(&format!("{ELSEWHERE} via {FAR}")));
        // The same peer at its other address, and not at the first any more.
        let again = weir(&[
            "listen",
            "--addr",
            &format!("{ELSEWHERE}:{port}"),
            "--allow-any-peer",
            "--allow-to",
            "any",
            "--key",
            far.keys.join("far").to_str().unwrap(),
            "--json",
        ]);
        let mut again = Running::spawn(net.over_there(&again));
        again.json_line();
        far.stop();
        let began = Instant::now();
        while !past(&format!("{ELSEWHERE} via {FAR}")) || past(&format!("{FAR} dev near0")) {
            let routes = printed("ip route");
            assert!(began.elapsed() < common::LIMIT, "{routes}");
            std::thread::sleep(Duration::from_millis(50));
        }
        succeeded(&finish(weir(&echo("tcp", &tcp)[1..])));
        // The new one is written down as the old one was: a crash leaves it, the next start takes it back.
        running.signal("KILL");
        running.output();
        assert!(past(&format!("{ELSEWHERE} via {FAR}")));
        let options = ["--key", &key, "--tun", "10.7.0.2/24", "--json"];
        let target = format!("{peer}@{ELSEWHERE}:{port}");
        let mut running = Running::start(&[&["connect", &target][..], &options].concat());
        running.json_line();
        assert!(
            !past(&format!("{ELSEWHERE} via {FAR}")),
            "it was not taken back"
        );
        succeeded(&running.terminate());
        assert_eq!(printed("ip route"), before);
    });
}

#[test]
fn an_interface_that_cannot_be_says_why() {
    two_machines("an_interface_that_cannot_be_says_why", |net| {
        let far = Far::new(net, "network-wrong");
        let key = far.key();
        let connect = |options: &[&str]| {
            let args = [&["connect", &far.target, "--key", &key], options].concat();
            finish(weir(&args))
        };
        let output = connect(&["--tun", "10.7.0.2/32"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("10.7.0.2/32"));
        let output = connect(&["--route", "10.0.0.0/8"]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "a route without an interface"
        );
        net.near("ip tuntap add dev taken0 mode tap");
        let output = connect(&["--tun", "10.7.0.2/24", "--tun-name", "taken0"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains("taken0"),
            "{}",
            text(&output.stderr)
        );
    });
}
