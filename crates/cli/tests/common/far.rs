//! The far machine and what is behind it, for tests of whole networks through the tunnel.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::PathBuf;
use std::process::{Command, Output};

use super::common::{Running, finish, scratch, text, weir};
use super::ns::{self, FAR, Net};

/// Addresses behind the far machine.
pub(crate) const BEHIND: &str = "203.0.113.7";
pub(crate) const BEHIND6: &str = "2001:db8::7";
/// A name that only the far machine knows.
pub(crate) const NAME: &str = "only-there.example";

/// Two machines, where this one makes TUN devices.
pub(crate) fn two_machines(test: &str, body: impl FnOnce(&Net)) {
    match weir_os::tun::support() {
        Ok(_) => ns::two_machines(test, body),
        Err(error) => println!("not tried: {error}"),
    }
}

/// The far machine lets peers in, and reaches what is behind it.
pub(crate) struct Far {
    listening: Option<Running>,
    /// PEER@HOST:PORT
    pub(crate) target: String,
    pub(crate) keys: PathBuf,
}

impl Far {
    pub(crate) fn new(net: &Net, test: &str) -> Far {
        Far::allowing(net, test, "any")
    }

    pub(crate) fn allowing(net: &Net, test: &str, rule: &str) -> Far {
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
    pub(crate) fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.terminate();
        }
    }

    /// The options of whoever connects.
    pub(crate) fn key(&self) -> String {
        self.keys.join("near").to_str().unwrap().to_owned()
    }

    pub(crate) fn run_command(&self, options: &[&str], command: &[&str]) -> Command {
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
    pub(crate) fn run_without_tun(&self, command: &[&str]) -> Output {
        finish(self.run_command(&["--without-tun"], command))
    }

    /// Runs a command through the tunnel to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        finish(self.run_command(&[], command))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.keys);
    }
}

/// An echo server behind the far machine, and its address.
pub(crate) fn echo_behind(net: &Net, via: &str, address: &str) -> (Running, String) {
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
pub(crate) fn echo<'a>(via: &'a str, addr: &'a str) -> [&'a str; 9] {
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

pub(crate) fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{:?}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}
