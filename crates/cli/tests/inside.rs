//! `-v`, `-vv`, `--qlog`, `--keylog`, `--pcap`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Running, finish, scratch, text, weir};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// One echo over `via` with these options at the client.
fn echo(via: &str, options: &[&str]) -> Output {
    let mut server = Running::start(&["echo", "server", "--via", via, "--json"]);
    let addr = server.listening();
    let args = [
        "echo",
        "client",
        "--via",
        via,
        "--connect",
        &addr,
        "--count",
        "1",
    ];
    let output = finish(weir(&[&args[..], options].concat()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output
}

#[test]
fn v_tells_events_and_vv_tells_frames() {
    let quiet = text(&echo("yamux", &[]).stderr);
    assert_eq!(quiet, "", "nothing is said that was not asked for");
    let events = text(&echo("yamux", &["-v"]).stderr);
    assert!(events.contains("stream 1 Init -> SYNSent"), "{events}");
    assert!(!events.contains("-> stream 1 Data"), "{events}");
    let frames = text(&echo("yamux", &["-vv"]).stderr);
    assert!(
        frames.contains("-> stream 1 Data SYN length 7 send-window 262137"),
        "{frames}"
    );
    assert!(frames.contains("<- stream 1 "), "{frames}");
}

#[test]
fn rust_log_is_honoured() {
    let mut server = Running::start(&["echo", "server", "--via", "yamux-plain", "--json"]);
    let addr = server.listening();
    let mut command = weir(&[
        "echo",
        "client",
        "--via",
        "yamux-plain",
        "--connect",
        &addr,
        "--count",
        "1",
    ]);
    command.env("RUST_LOG", "weir::frame=trace");
    let words = text(&finish(command).stderr);
    assert!(words.contains("-> stream 1 Data"), "{words}");
    assert!(!words.contains("SYNSent"), "{words}");
}

/// The one file in a directory.
fn only_file(dir: &Path) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::read(files[0].as_ref().unwrap().path()).unwrap()
}

#[test]
fn qlog_is_a_json_text_sequence_of_documented_events() {
    let dir = scratch("qlog");
    echo("yamux", &["--qlog", dir.to_str().unwrap()]);
    let file = only_file(&dir);
    let records: Vec<Value> = file
        .split(|byte| *byte == 0x1e)
        .skip(1)
        .map(|record| serde_json::from_slice(record).unwrap())
        .collect();
    assert_eq!(
        records[0]["file_schema"],
        "urn:ietf:params:qlog:file:sequential"
    );
    assert_eq!(records[0]["trace"]["vantage_point"]["type"], "client");
    let documented = include_str!("../../../docs/qlog-yamux.md");
    let names: Vec<&str> = records[1..]
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    for name in &names {
        assert!(
            documented.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
    for record in &records[1..] {
        for field in record["data"].as_object().unwrap().keys() {
            assert!(
                documented.contains(&format!("`{field}`")),
                "{field} is not documented"
            );
        }
    }
    for name in [
        "yamux:frame_sent",
        "yamux:frame_received",
        "yamux:session_closed",
    ] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    let sent = records
        .iter()
        .find(|r| r["name"] == "yamux:frame_sent")
        .unwrap();
    assert_eq!(sent["data"]["flags"], serde_json::json!(["SYN"]));
}

#[test]
fn tls_secrets_go_to_the_key_log_and_only_when_asked_for() {
    let dir = scratch("keylog");
    let file = dir.join("keys");
    echo("yamux", &["--keylog", file.to_str().unwrap()]);
    let keys = std::fs::read_to_string(&file).unwrap();
    for label in ["CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "] {
        assert_eq!(
            keys.lines().filter(|line| line.starts_with(label)).count(),
            1,
            "{keys}"
        );
    }
}

#[test]
fn the_variables_of_other_programs_are_honoured_unless_they_are_empty() {
    let dir = scratch("variables");
    let (qlog, keys) = (dir.join("qlog"), dir.join("keys"));
    let mut server = Running::start(&["echo", "server", "--json"]);
    let addr = server.listening();
    let with = |qlog: &Path, keys: &Path| {
        let mut command = weir(&["echo", "client", "--connect", &addr, "--count", "1"]);
        command
            .env("QLOGDIR", qlog)
            .env("SSLKEYLOGFILE", keys)
            .current_dir(&dir);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    with(Path::new(""), Path::new(""));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    with(&qlog, &keys);
    assert!(!only_file(&qlog).is_empty());
    assert!(
        std::fs::read_to_string(&keys)
            .unwrap()
            .contains("CLIENT_TRAFFIC_SECRET_0 ")
    );
}

#[test]
fn a_capture_has_packets_and_the_secrets_for_them() {
    let file = scratch("pcap").join("capture.pcapng");
    echo("yamux", &["--pcap", file.to_str().unwrap()]);
    let capture = std::fs::read(&file).unwrap();
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    let mut at = 0;
    let mut kinds = Vec::new();
    while at < capture.len() {
        kinds.push(word(at));
        at += word(at + 4) as usize;
    }
    // Section header, interface; all secrets (10) before the first packet (6).
    assert_eq!(kinds[..2], [0x0a0d_0d0a, 1]);
    let first_packet = kinds.iter().position(|kind| *kind == 6).unwrap();
    let last_secret = kinds.iter().rposition(|kind| *kind == 10).unwrap();
    assert!(
        last_secret < first_packet && first_packet >= 4 + 2,
        "{kinds:?}"
    );
    assert!(kinds.len() > first_packet + 8);
}

/// The kinds and bodies of a capture's blocks.
fn blocks(capture: &[u8]) -> Vec<(u32, &[u8])> {
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    let mut at = 0;
    let mut blocks = Vec::new();
    while at < capture.len() {
        let length = word(at + 4) as usize;
        blocks.push((word(at), &capture[at + 8..at + length - 4]));
        at += length;
    }
    blocks
}

// Q178: datagrams of both directions as they were on the wire, and the secrets that open them before
// the first of them.
#[test]
fn a_capture_of_quic_has_datagrams_and_the_secrets_for_them() {
    let dir = scratch("pcap-quic");
    let (file, keys) = (dir.join("capture.pcapng"), dir.join("keys"));
    let (file, keys) = (file.to_str().unwrap(), keys.to_str().unwrap());
    echo("quic", &["--pcap", file, "--keylog", keys]);
    let capture = std::fs::read(file).unwrap();
    let blocks = blocks(&capture);
    let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds[..2], [0x0a0d_0d0a, 1]);
    let first_packet = kinds.iter().position(|kind| *kind == 6).unwrap();
    let last_secret = kinds.iter().rposition(|kind| *kind == 10).unwrap();
    assert!(
        last_secret < first_packet && first_packet >= 4 + 2,
        "{kinds:?}"
    );
    // IPv4 and UDP from one port to another, and back.
    let packets: Vec<&[u8]> = blocks
        .iter()
        .filter(|(kind, _)| *kind == 6)
        .map(|(_, body)| &body[20..])
        .collect();
    assert!(packets.iter().all(|ip| ip[0] == 0x45 && ip[9] == 17));
    assert!(
        packets
            .iter()
            .all(|ip| ip[12..20] == [127, 0, 0, 1, 127, 0, 0, 1])
    );
    let ports = |ip: &[u8]| (ip[20..22].to_vec(), ip[22..24].to_vec());
    let (client, server) = ports(packets[0]);
    let there = |ip: &[u8]| ports(ip) == (client.clone(), server.clone());
    let back = |ip: &[u8]| ports(ip) == (server.clone(), client.clone());
    let counts = [
        packets.iter().filter(|ip| there(ip)).count(),
        packets.iter().filter(|ip| back(ip)).count(),
    ];
    assert_eq!(counts[0] + counts[1], packets.len());
    assert!(counts[0] >= 3 && counts[1] >= 2, "{counts:?}");
    // A long header of version 1: an Initial, in a datagram of at least 1,200 bytes (RFC 9000 14.1).
    assert_eq!(packets[0][28] & 0xf0, 0xc0);
    assert_eq!(packets[0][29..33], [0, 0, 0, 1]);
    assert!(packets[0].len() >= 1228);
    wireshark_reads(file);
}

/// Wireshark opens the packets of a capture with the secrets in it, where it is installed.
fn wireshark_reads(file: &str) {
    let fields = ["-T", "fields", "-e", "quic.stream_data"];
    let tshark = std::process::Command::new("tshark")
        .args(["-r", file, "-Y", "quic.stream_data"])
        .args(fields)
        .output();
    let Ok(output) = tshark else {
        println!("not tried: there is no tshark here");
        return;
    };
    let read = text(&output.stdout);
    let hello: String = b"hello 0"
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Sent, and echoed; either may be sent again.
    let found = read.lines().filter(|line| line.contains(&hello)).count();
    assert!(found >= 2, "{read}{}", text(&output.stderr));
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_runs() {
    for option in ["--qlog", "--keylog", "--pcap"] {
        let output = common::run(&[
            "echo",
            "client",
            "--connect",
            "127.0.0.1:1",
            option,
            "/proc/no/such",
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains("/proc/no/such"),
            "{}",
            text(&output.stderr)
        );
    }
}
