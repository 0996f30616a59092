//! `weir echo`: a pair for each way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Running, json, run, text};

fn pair(via: &str) {
    let mut server = Running::start(&["echo", "server", "--via", via, "--json"]);
    let first = server.json_line();
    let addr = first["listening"].as_str().unwrap().to_owned();
    assert_eq!(first["via"], via);
    let streams = json(&[
        "echo",
        "client",
        "--via",
        via,
        "--connect",
        &addr,
        "--count",
        "5",
        "--json",
    ]);
    assert_eq!(streams.len(), 5);
    for (number, stream) in streams.iter().enumerate() {
        let word = format!("hello {number}");
        assert_eq!(stream["sent"], word.as_str());
        assert_eq!(stream["received"], word.as_str());
        assert_eq!(stream["ok"], true);
        assert_eq!(stream["via"], via);
    }
    // For people too, and with the three that are the default.
    let people = run(&["echo", "client", "--via", via, "--connect", &addr]);
    assert_eq!(people.status.code(), Some(0), "{}", text(&people.stderr));
    assert_eq!(text(&people.stdout).lines().count(), 3);
    let ended = server.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}

#[test]
fn over_yamux() {
    pair("yamux");
}

#[test]
fn over_yamux_plain() {
    pair("yamux-plain");
}

#[test]
fn over_tcp() {
    pair("tcp");
}

#[test]
fn over_tls() {
    pair("tls");
}

#[test]
fn a_thousand_streams_come_back() {
    let mut server = Running::start(&["echo", "server", "--via", "yamux-plain", "--json"]);
    let addr = server.listening();
    let streams = json(&[
        "echo",
        "client",
        "--via",
        "yamux-plain",
        "--connect",
        &addr,
        "--count",
        "1000",
        "--json",
    ]);
    assert_eq!(
        streams.iter().filter(|stream| stream["ok"] == true).count(),
        1000
    );
}

#[test]
fn whose_key_answers_can_be_insisted_on() {
    let mut server = Running::start(&["echo", "server", "--json"]);
    let first = server.json_line();
    let (addr, peer) = (
        first["listening"].as_str().unwrap(),
        first["peer_id"].as_str().unwrap(),
    );
    json(&[
        "echo",
        "client",
        "--connect",
        &format!("{peer}@{addr}"),
        "--json",
    ]);
    let other = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
    let output = run(&["echo", "client", "--connect", &format!("{other}@{addr}")]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.contains(other) && words.contains(peer), "{words}");
}

#[test]
fn a_server_of_another_kind_is_a_clear_failure() {
    let mut server = Running::start(&["echo", "server", "--via", "tcp", "--json"]);
    let addr = server.listening();
    // The bytes of the handshake come back: that is no TLS server.
    let output = run(&[
        "echo",
        "client",
        "--via",
        "yamux",
        "--connect",
        &addr,
        "--timeout",
        "100s",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stderr).contains("panicked"));
}
