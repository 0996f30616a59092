//! Commands in namespaces of their own: what they see, what they can do, how they end.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::fs;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weir_os::namespace::{DevicePlan, Identity, Plan, Prepared, StartError, exit_code, prepare};
use weir_os::tun::{Layer, MAX_PACKET, Offloads, Tun, VNET_HEADER_LEN};

/// What has not come by then hangs: far more than a machine needs that stands still for seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// A shell with this script.
fn shell(script: &str) -> Plan {
    let mut plan = Plan::new("/bin/sh");
    plan.arguments = vec!["-c".into(), script.into()];
    plan.helper = PathBuf::from(env!("CARGO_BIN_EXE_weir-os-namespace"));
    plan
}

fn device() -> DevicePlan {
    DevicePlan {
        name: "weir0".to_owned(),
        mtu: 1400,
        vnet_header: true,
        multi_queue: false,
        addresses: vec!["198.18.0.2/30".parse().unwrap()],
        routes: vec!["0.0.0.0/0".parse().unwrap()],
        without_tun: false,
    }
}

/// The same where `/dev/net/tun` may not be opened.
fn without_tun() -> DevicePlan {
    DevicePlan {
        without_tun: true,
        ..device()
    }
}

/// The namespaces, or `None` with the reason printed where this machine forbids them.
fn made(plan: &Plan) -> Option<Prepared> {
    match prepare(plan) {
        Ok(prepared) => Some(prepared),
        Err(error) if error.advice().is_some() => {
            println!("not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs it to its end; its exit code.
fn run(plan: &Plan) -> Option<u8> {
    let mut prepared = made(plan)?;
    let tun = prepared.take_tun();
    let mut running = prepared.start().unwrap();
    let status = running.wait().unwrap();
    drop(tun);
    Some(exit_code(status))
}

/// A path for the output of one test.
fn output(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("weir-ns-{}-{name}", std::process::id()))
}

/// Runs `script` with its output caught.
fn caught(name: &str, script: &str, change: impl FnOnce(&mut Plan)) -> Option<String> {
    let path = output(name);
    let mut plan = shell(&format!("exec >{} 2>&1\n{script}", path.display()));
    change(&mut plan);
    let code = run(&plan);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(&path);
    let code = code?;
    assert_eq!(code, 0, "{text}");
    Some(text)
}

#[test]
fn the_command_is_the_user_that_started_it() {
    let Some(text) = caught("who", "id -u; id -g", |_| {}) else {
        return;
    };
    let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
    assert_eq!(text, format!("{user}\n{group}\n"));
}

#[test]
fn root_of_the_namespace_may_set_up_interfaces() {
    if let Err(error) = weir_os::tun::support() {
        return println!("not tried: {error}");
    }
    let script = "id -u; ip tuntap add dev tap7 mode tap; ip -o link show tap7 | wc -l";
    let Some(text) = caught("root", script, |plan| plan.identity = Identity::Root) else {
        return;
    };
    assert_eq!(text, "0\n1\n");
}

#[test]
fn all_that_the_command_can_reach_is_the_device() {
    let script = "tail -n +3 /proc/self/net/dev | cut -d: -f1 | sort; \
                  ip -4 route; ip -4 -o addr show weir0; ip link show weir0";
    for device in [device(), without_tun()] {
        let Some(text) = caught("reach", script, |plan| plan.device = Some(device)) else {
            return;
        };
        let names: Vec<&str> = text.lines().take(2).map(str::trim).collect();
        assert_eq!(names, ["lo", "weir0"], "{text}");
        assert!(text.contains("default dev weir0"), "{text}");
        assert!(text.contains("198.18.0.2/30"), "{text}");
        assert!(
            text.contains("mtu 1400") && text.contains("NOARP"),
            "{text}"
        );
    }
}

#[test]
fn loopback_is_up_and_is_the_namespace_s_own() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "ip -o link show lo | grep -c 'LOOPBACK,UP'; \
         bash -c ': </dev/tcp/127.0.0.1/{port}' 2>/dev/null && echo reached || echo apart"
    );
    let Some(text) = caught("lo", &script, |_| {}) else {
        return;
    };
    assert_eq!(text, "1\napart\n");
}

#[test]
fn names_are_asked_of_the_servers_of_the_plan_and_the_machine_keeps_its_own() {
    let Ok(before) = fs::read_to_string("/etc/resolv.conf") else {
        println!("not tried: this machine has no /etc/resolv.conf");
        return;
    };
    let script = "grep ^nameserver /etc/resolv.conf; ls /tmp/resolv.conf 2>/dev/null || echo clean";
    let Some(text) = caught("names", script, |plan| {
        plan.nameservers = vec!["198.18.0.1".parse().unwrap()];
    }) else {
        return;
    };
    assert_eq!(text, "nameserver 198.18.0.1\nclean\n");
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), before);
}

#[test]
fn exit_codes_pass_through() {
    for code in [0u8, 1, 3, 77, 255] {
        let Some(seen) = run(&shell(&format!("exit {code}"))) else {
            return;
        };
        assert_eq!(seen, code);
    }
}

#[test]
fn a_signal_s_end_is_told_as_shells_tell_it() {
    for (name, code) in [("TERM", 143), ("KILL", 137), ("INT", 130), ("PIPE", 141)] {
        let Some(seen) = run(&shell(&format!("kill -{name} $$"))) else {
            return;
        };
        assert_eq!(seen, code, "{name}");
    }
}

#[test]
fn signals_reach_the_command() {
    let path = output("signal");
    let script = format!(
        "trap 'exit 42' USR1\ntouch {}\nwhile :; do sleep 0.02; done",
        path.display()
    );
    let Some(prepared) = made(&shell(&script)) else {
        return;
    };
    let mut running = prepared.start().unwrap();
    let start = Instant::now();
    while !path.exists() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::remove_file(&path).unwrap();
    running.signal(nix::libc::SIGUSR1).unwrap();
    running.watch().ended();
    // The one who only watched has not taken it away.
    assert_eq!(exit_code(running.wait().unwrap()), 42);
}

#[test]
fn a_starter_that_holds_signals_back_does_not_hold_back_the_command_s() {
    let signals = std::thread::spawn(|| {
        let signals = weir_os::signals::Signals::take().unwrap();
        let code = run(&shell("kill -TERM $$"));
        // What comes to the starter is read, with its origin.
        let thread = nix::sys::pthread::pthread_self();
        nix::sys::pthread::pthread_kill(thread, nix::sys::signal::Signal::SIGUSR1).unwrap();
        let arrived = signals.read().unwrap().unwrap();
        assert_eq!((arrived.name(), arrived.from_kernel), ("SIGUSR1", false));
        assert_eq!(arrived.sender, nix::unistd::getpid().as_raw());
        assert!(signals.read().unwrap().is_none());
        code
    });
    if let Some(code) = signals.join().unwrap() {
        assert_eq!(code, 143);
    }
}

#[test]
fn what_is_no_program_is_told_apart() {
    for (program, code) in [
        ("/no/such/program", 127),
        ("no-such-program", 127),
        ("/etc", 126),
    ] {
        let mut plan = shell("");
        plan.program = program.into();
        let Some(prepared) = made(&plan) else {
            return;
        };
        let error = prepared.start().unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(program), "{error}");
        assert!(!matches!(error, StartError::Lost(_)));
    }
}

#[test]
fn nothing_runs_before_it_is_told_to_start() {
    let path = output("early");
    let Some(prepared) = made(&shell(&format!("touch {}", path.display()))) else {
        return;
    };
    let pid = prepared.pid();
    drop(prepared);
    assert!(!path.exists());
    // The helper is gone, and was waited for.
    assert!(!PathBuf::from(format!("/proc/{pid}/exe")).exists());
}

#[test]
fn a_plan_that_cannot_be_is_explained() {
    let mut plan = shell("true");
    plan.device = Some(DevicePlan {
        name: "a-name-that-is-too-long".to_owned(),
        ..device()
    });
    if made(&shell("true")).is_none() {
        return;
    }
    let error = prepare(&plan).unwrap_err();
    assert!(
        error.to_string().contains("`a-name-that-is-too-long`"),
        "{error}"
    );
    let mut plan = shell("true");
    plan.helper = PathBuf::from("/bin/true");
    let error = prepare(&plan).unwrap_err();
    assert!(error.to_string().contains("entry()"), "{error}");
}

/// The first packet of this protocol (6, 17) that the device brings, and its header.
fn packet_of(tun: &Tun, protocol: u8) -> (Vec<u8>, [u8; VNET_HEADER_LEN]) {
    let (mut header, mut buffer) = ([0; VNET_HEADER_LEN], vec![0; MAX_PACKET]);
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        match tun.recv(&mut header, &mut buffer) {
            Ok(len) if buffer[0] >> 4 == 4 && buffer[9] == protocol => {
                return (buffer[..len].to_vec(), header);
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(tun.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(100u16)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no packet came");
}

const SAY_HELLO: &str = "exec bash -c 'echo -n hello >/dev/udp/203.0.113.9/4321'";

#[test]
fn the_device_s_other_end_is_here() {
    let mut plan = shell(SAY_HELLO);
    plan.device = Some(device());
    let Some(mut prepared) = made(&plan) else {
        return;
    };
    let mut tun = prepared.take_tun().unwrap();
    assert!(prepared.take_tun().is_none());
    assert_eq!(tun.name(), "weir0");
    assert!(tun.has_vnet_header() && !tun.is_persistent());
    // Without offloads the kernel finishes its packets itself.
    assert_eq!(tun.set_offloads(Offloads::NONE).unwrap(), Offloads::NONE);
    let mut running = prepared.start().unwrap();
    let (packet, header) = packet_of(&tun, 17);
    assert_eq!(header, [0; VNET_HEADER_LEN]);
    assert_eq!(&packet[12..16], &[198, 18, 0, 2]);
    assert_eq!(&packet[16..20], &[203, 0, 113, 9]);
    assert_eq!(&packet[22..24], &4321u16.to_be_bytes());
    assert_eq!(&packet[28..], b"hello");
    assert_eq!(exit_code(running.wait().unwrap()), 0);
}

#[test]
fn with_offloads_checksums_are_left_to_us() {
    let mut plan = shell(SAY_HELLO);
    plan.device = Some(device());
    let Some(mut prepared) = made(&plan) else {
        return;
    };
    let mut tun = prepared.take_tun().unwrap();
    let got = tun.set_offloads(Offloads::ALL).unwrap();
    assert!(got.checksum && got.tso4 && got.tso6, "{got:?}");
    let mut running = prepared.start().unwrap();
    let (_, header) = packet_of(&tun, 17);
    // VIRTIO_NET_HDR_F_NEEDS_CSUM; UDP's header begins at 20, its checksum lies 6 behind.
    assert_eq!(header[0], 1);
    assert_eq!(u16::from_ne_bytes([header[6], header[7]]), 20);
    assert_eq!(u16::from_ne_bytes([header[8], header[9]]), 6);
    running.wait().unwrap();
}

#[test]
fn the_command_has_no_network_left_when_its_device_is_gone() {
    let path = output("gone");
    let script = format!(
        "while ip link show weir0 >/dev/null 2>&1; do sleep 0.02; done; ip -o link >{} 2>&1",
        path.display()
    );
    for device in [device(), without_tun()] {
        let mut plan = shell(&script);
        plan.device = Some(device);
        let Some(mut prepared) = made(&plan) else {
            return;
        };
        let tun = prepared.take_tun().unwrap();
        let mut running = prepared.start().unwrap();
        drop(tun);
        assert_eq!(exit_code(running.wait().unwrap()), 0);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(text.contains("lo:") && !text.contains("weir0"), "{text}");
    }
}

/// From the destination to the source: addresses and ports change places, which leaves the checksums
/// right, for they add up to the same.
fn turn_round(packet: &mut [u8]) {
    for i in 0..4 {
        packet.swap(12 + i, 16 + i);
    }
    packet.swap(20, 22);
    packet.swap(21, 23);
}

/// The header's flags and kind, and its four fields.
fn fields_of(header: &[u8; VNET_HEADER_LEN]) -> (u8, u8, [u16; 4]) {
    let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    (header[0], header[1], [2, 4, 6, 8].map(field))
}

#[test]
fn without_a_tun_device_packets_come_and_go_as_with_one() {
    let path = output("pair");
    let line = format!(
        "exec 3<>/dev/udp/203.0.113.9/4321; echo hello >&3; timeout 20 dd count=1 <&3 >{}",
        path.display()
    );
    let mut plan = shell("");
    plan.program = "bash".into();
    plan.arguments = vec!["-c".into(), line.into()];
    plan.device = Some(without_tun());
    let Some(mut prepared) = made(&plan) else {
        return;
    };
    let mut tun = prepared.take_tun().unwrap();
    assert_eq!((tun.name(), tun.layer()), ("weir0", Layer::Ip));
    assert!(tun.has_vnet_header() && !tun.is_persistent());
    assert!(tun.queue().is_err());
    let got = tun.set_offloads(Offloads::ALL).unwrap();
    assert!(got.checksum && got.tso4 && got.tso6, "{got:?}");
    let mut running = prepared.start().unwrap();
    let (mut packet, header) = packet_of(&tun, 17);
    // VIRTIO_NET_HDR_F_NEEDS_CSUM: UDP's header begins at 20, its checksum lies 6 behind.
    let (flags, kind, [_, _, start, offset]) = fields_of(&header);
    assert_eq!((flags, kind, start, offset), (1, 0, 20, 6));
    assert_eq!(&packet[16..20], &[203, 0, 113, 9]);
    assert_eq!(&packet[28..], b"hello\n");
    turn_round(&mut packet);
    let (head, tail) = packet.split_at(20);
    let parts = [header.as_slice(), head, tail].map(IoSlice::new);
    tun.send(&parts).unwrap();
    assert_eq!(exit_code(running.wait().unwrap()), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "hello\n");
    fs::remove_file(&path).unwrap();
}

/// The answer to a SYN that opens the connection (RFC 9293 section 3.5), with an MSS of 1,000 and a sum
/// that is left to the kernel.
fn open_connection(syn: &[u8]) -> [u8; VNET_HEADER_LEN + 44] {
    let mut answer = [0; VNET_HEADER_LEN + 44];
    answer[..10].copy_from_slice(&[1, 0, 0, 0, 0, 0, 20, 0, 16, 0]);
    let packet = &mut answer[VNET_HEADER_LEN..];
    packet[..24].copy_from_slice(&syn[..24]);
    turn_round(packet);
    packet[..12].copy_from_slice(&[0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    let sum = !sum_of(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let sequence = u32::from_be_bytes(syn[24..28].try_into().unwrap());
    packet[28..32].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    packet[32..40].copy_from_slice(&[0x60, 0x12, 0xff, 0xff, 0, 0, 0, 0]);
    packet[40..44].copy_from_slice(&[2, 4, 0x03, 0xe8]);
    let pseudo = [&packet[12..20], &[0, 6, 0, 24]].concat();
    packet[36..38].copy_from_slice(&sum_of(&pseudo).to_be_bytes());
    answer
}

/// The sum of RFC 1071, not inverted.
fn sum_of(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum = words.sum::<u32>();
    let sum = (sum >> 16) + (sum & 0xffff);
    u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap()
}

/// Datagrams of 1,000, 1,000 and 500 bytes in one, as the answer to `packet`.
fn super_segment(packet: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; VNET_HEADER_LEN + 28 + 2500];
    // NEEDS_CSUM, GSO_UDP_L4, hdr_len 28, gso_size 1000, csum_start 20, csum_offset 6.
    answer[..10].copy_from_slice(&[1, 5, 28, 0, 0xe8, 3, 20, 0, 6, 0]);
    let inner = &mut answer[VNET_HEADER_LEN..];
    inner[..28].copy_from_slice(&packet[..28]);
    turn_round(inner);
    inner[2..4].copy_from_slice(&2528_u16.to_be_bytes());
    inner[10..12].fill(0);
    let sum = !sum_of(&inner[..20]);
    inner[10..12].copy_from_slice(&sum.to_be_bytes());
    inner[24..26].copy_from_slice(&2508_u16.to_be_bytes());
    let pseudo = [&inner[12..20], &[0, 17], &2508_u16.to_be_bytes()].concat();
    let sum = sum_of(&pseudo);
    inner[26..28].copy_from_slice(&sum.to_be_bytes());
    answer
}

#[test]
fn without_a_tun_device_udp_goes_in_super_segments() {
    let path = output("pair-uso");
    let line = format!(
        "exec 3<>/dev/udp/203.0.113.9/4321; echo hello >&3; \
         for n in 1 2 3; do timeout 20 dd bs=4000 count=1 <&3 2>/dev/null | wc -c; done >{}",
        path.display()
    );
    let mut plan = shell("");
    plan.program = "bash".into();
    plan.arguments = vec!["-c".into(), line.into()];
    plan.device = Some(without_tun());
    let Some(mut prepared) = made(&plan) else {
        return;
    };
    let mut tun = prepared.take_tun().unwrap();
    if !tun.set_offloads(Offloads::ALL).unwrap().uso {
        println!("not tried: this kernel takes no super-segments of UDP");
        return;
    }
    let mut running = prepared.start().unwrap();
    let (packet, _) = packet_of(&tun, 17);
    // What asked the kernel was for nobody: the first that comes is the command's.
    assert_eq!(&packet[28..], b"hello\n");
    let answer = super_segment(&packet);
    tun.send(&[IoSlice::new(&answer)]).unwrap();
    assert_eq!(exit_code(running.wait().unwrap()), 0);
    let sizes = fs::read_to_string(&path).unwrap();
    assert_eq!(
        sizes.split_whitespace().collect::<Vec<_>>(),
        ["1000", "1000", "500"]
    );
    fs::remove_file(&path).unwrap();
}

#[test]
fn without_a_tun_device_tcp_comes_in_super_segments() {
    let mut plan = shell("");
    plan.program = "bash".into();
    let line = "exec 3<>/dev/tcp/203.0.113.9/80; head -c 8000 /dev/zero >&3";
    plan.arguments = vec!["-c".into(), line.into()];
    plan.device = Some(without_tun());
    let Some(mut prepared) = made(&plan) else {
        return;
    };
    let tun = prepared.take_tun().unwrap();
    let mut running = prepared.start().unwrap();
    let (syn, header) = packet_of(&tun, 6);
    let (flags, kind, [_, _, start, offset]) = fields_of(&header);
    assert_eq!((flags, kind, start, offset), (1, 0, 20, 16));
    tun.send(&[IoSlice::new(&open_connection(&syn))]).unwrap();
    let (mut packet, mut header) = packet_of(&tun, 6);
    while packet.len() <= 1400 {
        (packet, header) = packet_of(&tun, 6);
    }
    // VIRTIO_NET_HDR_GSO_TCPV4, of the MSS that was agreed upon.
    let (flags, kind, [_, size, start, offset]) = fields_of(&header);
    assert_eq!((flags, kind, size, start, offset), (1, 1, 1000, 20, 16));
    let total = u16::from_be_bytes([packet[2], packet[3]]);
    assert_eq!(usize::from(total), packet.len());
    assert_eq!(exit_code(running.wait().unwrap()), 0);
}
