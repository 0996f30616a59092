//! `weir try`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{lines, run, text};

#[test]
fn it_proves_the_install() {
    let output = run(&["try", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let rows = lines(&output.stdout);
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["via"].as_str().unwrap())
        .collect();
    let over_our_own = ["quic over weir-tcpip", "yamux over weir-tcpip"];
    assert_eq!(names, [&["quic", "yamux"][..], &over_our_own].concat());
    assert!(rows.iter().all(|row| row["ok"] == true), "{rows:?}");
    let yamux = &rows[1];
    for figure in [
        "connect_ms",
        "rtt_p50_us",
        "rtt_p99_us",
        "down_gbps",
        "up_gbps",
        "cpu_s_per_gib",
        "bytes",
    ] {
        assert!(yamux[figure].as_f64().unwrap() > 0.0, "{figure}: {yamux}");
    }
}

#[test]
fn people_get_a_table() {
    let output = run(&["try"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let heads = table.lines().next().unwrap();
    for head in ["via", "connect", "rtt p50", "down", "up", "CPU per GiB"] {
        assert!(heads.contains(head), "{table}");
    }
    assert!(
        table
            .lines()
            .any(|row| row.starts_with("yamux") && row.contains("bit/s")),
        "{table}"
    );
}
