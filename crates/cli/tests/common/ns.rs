//! Two machines and a cable: network namespaces, where the system permits them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that runs within the namespaces.
const INSIDE: &str = "WEIR_TEST_NAMESPACE";
/// The address of this end of the cable, and of the far one.
pub(crate) const NEAR: &str = "10.9.0.1";
pub(crate) const FAR: &str = "10.9.0.2";

/// Runs `body` with two machines of its own. `test` is the name of the test that calls, which runs a
/// second time inside; where the system forbids it, that is said and nothing is tried.
pub(crate) fn two_machines(test: &str, body: impl FnOnce(&Net)) {
    if std::env::var_os(INSIDE).is_some() {
        return body(&Net::new());
    }
    let Some(flags) = permitted() else {
        println!("not tried: this system makes no network namespaces for this user");
        return;
    };
    let status = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "it failed inside: see above");
}

/// The way to namespaces that this user may go.
fn permitted() -> Option<&'static str> {
    const TRY: &str = "ip link set lo up && ip link add near0 type veth peer name far0 && \
        ip rule add ipproto udp lookup main && nsenter --version";
    ["-Urn", "-n"].into_iter().find(|flags| {
        let tried = Command::new("unshare")
            .args([flags, "sh", "-c", TRY])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    })
}

/// This namespace, another one, and a cable between the two.
pub(crate) struct Net {
    /// Keeps the far namespace.
    keeper: Child,
    namespace: PathBuf,
}

impl Net {
    fn new() -> Self {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let keeper = Command::new("unshare")
            .args(["-n", "sleep", "600"])
            .spawn()
            .unwrap();
        let namespace = PathBuf::from(format!("/proc/{}/ns/net", keeper.id()));
        let began = Instant::now();
        while std::fs::read_link(&namespace).is_ok_and(|other| other == own) {
            assert!(began.elapsed() < crate::common::LIMIT);
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = keeper.id().to_string();
        let net = Self { keeper, namespace };
        for line in [
            "ip link set lo up".to_owned(),
            format!("ip link add near0 type veth peer name far0 netns {id}"),
            format!("ip addr add {NEAR}/24 dev near0"),
            "ip link set near0 up".to_owned(),
        ] {
            net.near(&line);
        }
        for line in [
            "ip link set lo up".to_owned(),
            format!("ip addr add {FAR}/24 dev far0"),
            "ip link set far0 up".to_owned(),
            // What is before it can drop what is addressed to the machine.
            "ip rule add pref 10 lookup local".to_owned(),
            "ip rule del pref 0".to_owned(),
        ] {
            net.far(&line);
        }
        net
    }

    /// Runs a line here.
    pub(crate) fn near(&self, line: &str) {
        let status = Command::new("sh").args(["-c", line]).status().unwrap();
        assert!(status.success(), "{line}");
    }

    /// Runs a line on the far machine.
    pub(crate) fn far(&self, line: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        let status = self.over_there(&command).status().unwrap();
        assert!(status.success(), "{line}");
    }

    /// The same command on the far machine.
    pub(crate) fn over_there(&self, command: &Command) -> Command {
        let mut far = Command::new("nsenter");
        far.arg(format!("--net={}", self.namespace.display()));
        far.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => far.env(name, value),
                None => far.env_remove(name),
            };
        }
        far.stdin(Stdio::null());
        far
    }

    /// The far machine drops what comes by this protocol (`udp`, `tcp`) without a word.
    pub(crate) fn drop_there(&self, protocol: &str) {
        let rule = format!("ip rule add pref 5 iif far0 ipproto {protocol} blackhole");
        self.far(&rule);
    }

    /// It lets it through again.
    pub(crate) fn let_through(&self) {
        self.far("ip rule del pref 5");
    }

    /// Both ends of the cable carry IP packets of so many bytes.
    pub(crate) fn set_mtu(&self, bytes: u32) {
        self.near(&format!("ip link set near0 mtu {bytes}"));
        self.far(&format!("ip link set far0 mtu {bytes}"));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
