//! Looking for datagrams instead of sleeping: alone in its process, whose time is measured.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so"
)]

mod common;

use std::time::{Duration, Instant};

use common::{NEVER, Pair, echo, pair, soon};
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

/// Processor time that this process has taken, in seconds.
fn used() -> f64 {
    weir_os::usage().unwrap().cpu_secs()
}

/// A connection whose tasks look for datagrams so long after each event.
async fn looking_for(time: Duration) -> Pair {
    let mut config = Config::default();
    config.quic.busy_poll = time;
    let ends = pair(Via::Quic, config).await;
    echo(ends.server.clone());
    round_trips(&ends.client, 200).await;
    ends
}

/// The task keeps looking for as long as it was told to after something happened, carries data all the
/// while, and sleeps then.
#[tokio::test]
async fn the_task_looks_for_a_while_and_then_sleeps() {
    // While nothing happens, the processor is taken: however slowly it comes, it comes.
    let ends = looking_for(NEVER).await;
    let before = used();
    soon(async {
        while used() < before + 0.3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    round_trips(&ends.client, 10).await;
    ends.client_endpoint.close(0, "done");
    ends.server_endpoint.close(0, "done");
    soon(ends.client_endpoint.wait_idle()).await;
    soon(ends.server_endpoint.wait_idle()).await;
    drop(ends);

    let ends = looking_for(Duration::from_millis(100)).await;
    soon(async {
        loop {
            let (began, before) = (Instant::now(), used());
            tokio::time::sleep(Duration::from_millis(500)).await;
            if used() - before < 0.1 * began.elapsed().as_secs_f64() {
                return;
            }
        }
    })
    .await;
    round_trips(&ends.client, 10).await;
}
