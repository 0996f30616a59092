//! Looking for datagrams instead of sleeping: alone in its process, whose time is measured.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Pair, echo, pair, soon};
use weir::{Config, Connection, Via};

async fn round_trips(connection: &Connection, count: u32) {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    for _ in 0..count {
        send.write_all(b"ping").await.unwrap();
        assert_eq!(
            soon(recv.read_chunk(4)).await.unwrap().unwrap(),
            &b"ping"[..]
        );
    }
}

/// Processor time that the process takes while it waits for `time`, as a part of it.
async fn share(time: Duration) -> f64 {
    let (began, used) = (Instant::now(), weir_os::usage().unwrap().cpu_secs());
    tokio::time::sleep(time).await;
    let used = weir_os::usage().unwrap().cpu_secs() - used;
    used / began.elapsed().as_secs_f64()
}

/// The task keeps looking for as long as it was told to after something happened, carries data all the
/// while, and sleeps then.
#[tokio::test]
async fn the_task_looks_for_a_while_and_then_sleeps() {
    let mut config = Config::default();
    config.quic.busy_poll = Duration::from_millis(1500);
    let Pair { client, server, .. } = pair(Via::Quic, config).await;
    echo(server);
    round_trips(&client, 200).await;
    let looking = share(Duration::from_millis(300)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sleeping = share(Duration::from_millis(500)).await;
    assert!(sleeping < 0.1, "{sleeping}");
    assert!(looking > 2.0 * sleeping + 0.05, "{looking} {sleeping}");
    round_trips(&client, 10).await;
}
