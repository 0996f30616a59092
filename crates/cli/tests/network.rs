//! `weir run` between two machines made of network namespaces: the far one has an address that the near one has no way
//! to, but by the tunnel.

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

use common::{Running, finish, scratch, text, weir};
use far::{BEHIND, BEHIND6, Far, NAME, echo, echo_behind, succeeded, two_machines};
use ns::FAR;

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
