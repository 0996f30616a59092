//! `weir perf`: each work over each way, in the smallest size.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Running, json, run, text};
use serde_json::Value;

const WORKS: &[(&str, &[&str])] = &[
    ("bulk-down", &["--bytes", "3M"]),
    ("bulk-up", &["--bytes", "3M"]),
    ("streams-100", &["--bytes", "2M"]),
    ("rr-1", &["--count", "50"]),
    ("rr-100", &["--count", "500"]),
    ("handshakes", &["--count", "5"]),
    ("idle-conns", &["--count", "5"]),
    ("idle-streams", &["--count", "20"]),
    ("open-close", &["--count", "500"]),
];

fn all_works(via: &str) {
    let mut server = Running::start(&["perf", "server", "--via", via, "--json"]);
    let addr = server.listening();
    for (work, options) in WORKS {
        let args = [
            "perf", "client", "--via", via, "--addr", &addr, "--work", work, "--json",
        ];
        let found = json(&[&args[..], options].concat());
        assert_eq!(found.len(), 1, "one line a run");
        check(via, work, &found[0]);
    }
    let ended = server.terminate();
    assert_eq!(ended.status.code(), Some(0));
    let used: Value = serde_json::from_slice(&ended.stdout).expect("a last line");
    assert!(used["cpu_s"].as_f64().unwrap() > 0.0);
    assert!(used["max_rss_kib"].as_u64().unwrap() > 0);
}

fn check(via: &str, work: &str, line: &Value) {
    let number = |field: &str| {
        line[field]
            .as_f64()
            .unwrap_or_else(|| panic!("{field} in {line}"))
    };
    assert_eq!(line["impl"], "weir");
    assert_eq!(line["via"], via);
    assert_eq!(line["work"], work);
    assert!(number("secs") > 0.0 && number("max_rss_kib") > 0.0 && number("cpu_s") >= 0.0);
    assert!(number("p50_us") > 0.0 && number("p99_us") >= number("p50_us"));
    match work {
        "bulk-down" | "bulk-up" => assert_eq!(number("bytes") as u64, 3 << 20),
        "streams-100" => assert_eq!(number("bytes") as u64, 2 << 20),
        "rr-1" => assert_eq!(
            (number("count") as u64, number("bytes") as u64),
            (50, 102_400)
        ),
        "rr-100" | "open-close" => assert_eq!(number("count") as u64, 500),
        "idle-streams" => assert_eq!(number("count") as u64, 20),
        _ => assert_eq!(number("count") as u64, 5),
    }
    if work.starts_with("bulk") || work == "streams-100" {
        assert!(number("gbps") > 0.0);
    } else {
        assert!(number("per_s") > 0.0);
    }
    if work.starts_with("idle") {
        assert!(number("bytes_each") >= 0.0 && number("server_bytes_each") >= 0.0);
        assert!(number("p50_before_us") > 0.0 && number("p50_with_us") > 0.0);
    }
}

#[test]
fn every_work_over_yamux() {
    all_works("yamux");
}

#[test]
fn every_work_over_yamux_plain() {
    all_works("yamux-plain");
}

#[test]
fn every_work_over_tcp() {
    all_works("tcp");
}

#[test]
fn every_work_over_tls() {
    all_works("tls");
}

#[test]
fn a_work_ends_with_its_time() {
    let mut server = Running::start(&["perf", "server", "--via", "yamux-plain", "--json"]);
    let addr = server.listening();
    for work in ["bulk-down", "bulk-up", "streams-100", "rr-1"] {
        let found = json(&[
            "perf",
            "client",
            "--via",
            "yamux-plain",
            "--addr",
            &addr,
            "--work",
            work,
            "--secs",
            "0.2",
            "--json",
        ]);
        let secs = found[0]["secs"].as_f64().unwrap();
        assert!(secs >= 0.1, "{work} took {secs} s");
        assert!(found[0]["bytes"].as_u64().unwrap() > 0);
    }
}

#[test]
fn people_read_figures_with_units() {
    let mut server = Running::start(&["perf", "server", "--via", "tcp", "--json"]);
    let addr = server.listening();
    let output = run(&[
        "perf",
        "client",
        "--via",
        "tcp",
        "--addr",
        &addr,
        "--work",
        "bulk-down",
        "--bytes",
        "1M",
        "--mtu",
        "1400",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let result = text(&output.stdout);
    assert!(
        result.starts_with("bulk-down via tcp: ") && result.contains("bit/s"),
        "{result}"
    );
    let words = text(&output.stderr);
    assert!(words.contains("--mtu 1400 does not apply"), "{words}");
}
