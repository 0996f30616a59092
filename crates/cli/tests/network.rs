//! Whole networks through the tunnel: `weir run` and `weir connect --tun`, between two machines made of network
//! namespaces. The far one has an address that the near one has no way to, but by the tunnel.

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

use common::{Running, finish, scratch, text, weir};
use ns::{FAR, Net};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Addresses behind the far machine.
const BEHIND: &str = "203.0.113.7";
const BEHIND6: &str = "2001:db8::7";
/// A name that only the far machine knows.
const NAME: &str = "only-there.example";

/// Two machines, where this one makes TUN devices.
fn two_machines(test: &str, body: impl FnOnce(&Net)) {
    match weir_os::tun::support() {
        Ok(_) => ns::two_machines(test, body),
        Err(error) => println!("not tried: {error}"),
    }
}

/// The far machine lets peers in, and reaches what is behind it.
struct Far {
    listening: Option<Running>,
    /// PEER@HOST:PORT
    target: String,
    keys: PathBuf,
}

impl Far {
    fn new(net: &Net, test: &str) -> Far {
        Far::allowing(net, test, "any")
    }

    fn allowing(net: &Net, test: &str, rule: &str) -> Far {
        net.far(&format!("ip addr add {BEHIND}/32 dev lo"));
        net.far(&format!("ip addr add {BEHIND6}/128 dev lo"));
        let keys = scratch(test);
        std::fs::create_dir_all(&keys).unwrap();
        let hosts = keys.join("hosts");
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{BEHIND} {NAME}\n")).unwrap();
        let key = keys.join("far");
        let listen = weir(&[
            "listen",
            "--addr",
            &format!("{FAR}:0"),
            "--allow-any-peer",
            "--allow-to",
            rule,
            "--key",
            key.to_str().unwrap(),
            "--json",
        ]);
        // With /etc/hosts of its own.
        let line = format!(
            "mount --bind {} /etc/hosts && exec \"$0\" \"$@\"",
            hosts.display()
        );
        let mut own = Command::new("unshare");
        own.args(["-m", "sh", "-c", &line]);
        own.arg(listen.get_program()).args(listen.get_args());
        let mut listening = Running::spawn(net.over_there(&own));
        let said = listening.json_line();
        let target = format!(
            "{}@{}",
            said["peer_id"].as_str().unwrap(),
            said["listening"].as_str().unwrap()
        );
        Far {
            listening: Some(listening),
            target,
            keys,
        }
    }

    /// It does not listen any more.
    fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.terminate();
        }
    }

    /// The options of whoever connects.
    fn key(&self) -> String {
        self.keys.join("near").to_str().unwrap().to_owned()
    }

    fn run_command(&self, options: &[&str], command: &[&str]) -> Command {
        let key = self.key();
        let args = [
            &["run", &self.target, "--key", &key],
            options,
            &["--"],
            command,
        ]
        .concat();
        weir(&args)
    }

    /// As [`run`](Far::run), where `/dev/net/tun` may not be opened.
    fn run_without_tun(&self, command: &[&str]) -> Output {
        finish(self.run_command(&["--without-tun"], command))
    }

    /// Runs a command through the tunnel to its end.
    fn run(&self, command: &[&str]) -> Output {
        finish(self.run_command(&[], command))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.keys);
    }
}

/// An echo server behind the far machine, and its address.
fn echo_behind(net: &Net, via: &str, address: &str) -> (Running, String) {
    let at = match address.contains(':') {
        true => format!("[{address}]:0"),
        false => format!("{address}:0"),
    };
    let args = ["echo", "server", "--via", via, "--addr", &at, "--json"];
    let mut server = Running::spawn(net.over_there(&weir(&args)));
    let addr = server.listening();
    (server, addr)
}

/// `weir echo client` of this build.
fn echo<'a>(via: &'a str, addr: &'a str) -> [&'a str; 9] {
    let own = env!("CARGO_BIN_EXE_weir");
    [
        own,
        "echo",
        "client",
        "--via",
        via,
        "--connect",
        addr,
        "--count",
        "3",
    ]
}

fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{:?}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn tcp_of_a_command_leaves_at_the_far_side() {
    two_machines("tcp_of_a_command_leaves_at_the_far_side", |net| {
        let far = Far::new(net, "network-tcp");
        for address in [BEHIND, BEHIND6] {
            let (_server, addr) = echo_behind(net, "tcp", address);
            succeeded(&far.run(&echo("tcp", &addr)));
            // Without the tunnel there is no way.
            assert!(!finish(weir(&echo("tcp", &addr)[1..])).status.success());
        }
    });
}

#[test]
fn udp_of_a_command_leaves_at_the_far_side() {
    two_machines("udp_of_a_command_leaves_at_the_far_side", |net| {
        let far = Far::new(net, "network-udp");
        // QUIC inside the tunnel: its packets are UDP.
        let (_server, addr) = echo_behind(net, "quic", BEHIND);
        succeeded(&far.run(&echo("quic", &addr)));
    });
}

#[test]
fn without_a_tun_device_all_goes_as_with_one() {
    two_machines("without_a_tun_device_all_goes_as_with_one", |net| {
        let far = Far::new(net, "network-pair");
        let link = far.run_without_tun(&["ip", "-d", "link", "show", "weir0"]);
        assert!(
            text(&link.stdout).contains("veth"),
            "{}",
            text(&link.stdout)
        );
        for address in [BEHIND, BEHIND6] {
            let (_server, addr) = echo_behind(net, "tcp", address);
            succeeded(&far.run_without_tun(&echo("tcp", &addr)));
        }
        let (_server, addr) = echo_behind(net, "quic", BEHIND);
        succeeded(&far.run_without_tun(&echo("quic", &addr)));
        let output = far.run_without_tun(&["getent", "ahostsv4", NAME]);
        assert!(text(&output.stdout).starts_with(BEHIND));
        let line = format!("exec 3<>/dev/tcp/{BEHIND}/9");
        let output = far.run_without_tun(&["bash", "-c", &line]);
        assert!(text(&output.stderr).contains("Connection refused"));
    });
}

#[test]
fn without_a_tun_device_every_byte_comes_back() {
    two_machines("without_a_tun_device_every_byte_comes_back", |net| {
        let far = Far::new(net, "network-bytes");
        let sent = far.keys.join("sent");
        for address in [BEHIND, BEHIND6] {
            let (_server, addr) = echo_behind(net, "tcp", address);
            let (_, port) = addr.rsplit_once(':').unwrap();
            let line = format!(
                "head -c 4194304 /dev/urandom >{0}; exec 3<>/dev/tcp/{address}/{port}; \
                 cat {0} >&3 & head -c 4194304 <&3 | cmp - {0}",
                sent.display()
            );
            succeeded(&far.run_without_tun(&["bash", "-c", &line]));
        }
    });
}

#[test]
fn what_the_far_side_is_refused_the_command_is_refused() {
    two_machines(
        "what_the_far_side_is_refused_the_command_is_refused",
        |net| {
            let far = Far::new(net, "network-refused");
            let line = format!("exec 3<>/dev/tcp/{BEHIND}/9");
            let output = far.run(&["bash", "-c", &line]);
            assert!(
                text(&output.stderr).contains("Connection refused"),
                "{}",
                text(&output.stderr)
            );
        },
    );
}

#[test]
fn what_is_in_the_far_side_s_way_the_command_is_told() {
    two_machines("what_is_in_the_far_side_s_way_the_command_is_told", |net| {
        let far = Far::new(net, "network-way");
        net.far("ip route add unreachable 198.51.100.1");
        net.far("ip route add prohibit 198.51.100.2");
        net.far("ip -6 route add prohibit 2001:db8:1::2");
        for (to, words) in [
            ("198.51.100.1", "No route to host"),
            // RFC 1812 5.2.7.1, as Linux words code 13; IPv6 has a word of its own for it.
            ("198.51.100.2", "No route to host"),
            ("2001:db8:1::2", "Permission denied"),
            ("198.51.100.3", "Network is unreachable"),
        ] {
            let line = format!("exec 3<>/dev/tcp/{to}/80");
            let output = far.run(&["bash", "-c", &line]);
            let said = text(&output.stderr);
            // Had its kernel gone on, its words would be those of a time-out.
            assert!(said.contains(words), "{to}: {said}");
        }
    });
}

#[test]
fn what_the_rules_forbid_is_refused() {
    two_machines("what_the_rules_forbid_is_refused", |net| {
        let far = Far::allowing(net, "network-rules", "loopback");
        let (_server, addr) = echo_behind(net, "tcp", BEHIND);
        let output = far.run(&echo("tcp", &addr));
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(
            said.contains("not allowed") && said.contains("--allow-to"),
            "{said}"
        );
        let output = far.run(&["getent", "ahostsv4", NAME]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    });
}

#[test]
fn names_are_those_of_the_far_side() {
    two_machines("names_are_those_of_the_far_side", |net| {
        let far = Far::new(net, "network-names");
        let output = far.run(&["getent", "ahostsv4", NAME]);
        succeeded(&output);
        assert!(
            text(&output.stdout).starts_with(BEHIND),
            "{}",
            text(&output.stdout)
        );
        let (_server, addr) = echo_behind(net, "tcp", BEHIND);
        let (_, port) = addr.rsplit_once(':').unwrap();
        succeeded(&far.run(&echo("tcp", &format!("{NAME}:{port}"))));
        // And of the near side's resolver nothing is left.
        let output = far.run(&["cat", "/etc/resolv.conf"]);
        let said = text(&output.stdout);
        let servers = said.lines().filter(|line| line.starts_with("nameserver"));
        assert_eq!(servers.collect::<Vec<_>>(), ["nameserver 198.18.0.1"]);
    });
}

#[test]
fn a_command_s_end_is_ours() {
    two_machines("a_command_s_end_is_ours", |net| {
        let far = Far::new(net, "network-exit");
        for (line, code) in [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143)] {
            let output = far.run(&["sh", "-c", line]);
            assert_eq!(
                output.status.code(),
                Some(code),
                "{line}: {}",
                text(&output.stderr)
            );
        }
        let output = far.run(&["/no/such/program"]);
        assert_eq!(output.status.code(), Some(127));
        assert!(text(&output.stderr).contains("/no/such/program"));
        assert_eq!(far.run(&["/etc"]).status.code(), Some(126));
        // What it says and reads is its own.
        let output = far.run(&["echo", "to stdout"]);
        assert_eq!(text(&output.stdout), "to stdout\n");
    });
}

#[test]
fn signals_are_passed_on() {
    two_machines("signals_are_passed_on", |net| {
        let far = Far::new(net, "network-signals");
        let line = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.02; done";
        let mut running = Running::spawn(far.run_command(&[], &["sh", "-c", line]));
        assert_eq!(running.line(), "ready\n");
        assert_eq!(running.terminate().status.code(), Some(42));
    });
}

#[test]
fn scripts_learn_what_runs_and_how_it_ended() {
    two_machines("scripts_learn_what_runs_and_how_it_ended", |net| {
        let far = Far::new(net, "network-json");
        let output = finish(far.run_command(&["--json"], &["sh", "-c", "exit 7"]));
        let lines = common::lines(&output.stdout);
        assert_eq!(lines[0]["running"], "sh");
        assert!(lines[0]["pid"].is_u64() && lines[0]["peer_id"].is_string());
        assert_eq!(lines.last().unwrap()["exit_code"], 7);
        assert_eq!(output.status.code(), Some(7));
    });
}

#[test]
fn a_tunnel_that_cannot_be_had_runs_nothing() {
    two_machines("a_tunnel_that_cannot_be_had_runs_nothing", |_| {
        let key = scratch("network-nobody");
        let target = format!("12D3KooWP8LB4A57DwZmAvju3hLeCAhFJ2nbWQfNFUQY4hyKd3MT@{FAR}:9");
        let mut command = weir(&["run", &target, "--key"]);
        command.arg(&key).args(["--", "echo", "it ran"]);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let output = finish(weir(&["run", &target]));
        assert_eq!(output.status.code(), Some(2), "no command is wrong usage");
        let _ = std::fs::remove_file(key);
    });
}

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
        let line = format!(
            "mount --bind {} /etc/hosts && exec \"$0\" \"$@\"",
            hosts.display()
        );
        let (target, key) = (format!("{peer}@peer.example:{port}"), far.key());
        let connect = weir(&[
            "connect",
            &target,
            "--key",
            &key,
            "--tun",
            "10.7.0.2/24",
            "--route",
            "0.0.0.0/0",
            "--json",
        ]);
        let mut own = Command::new("unshare");
        own.args(["-m", "sh", "-c", &line]);
        own.arg(connect.get_program()).args(connect.get_args());
        let mut running = Running::spawn(own);
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
