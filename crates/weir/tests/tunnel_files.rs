//! A process that runs out of file descriptors, in a test binary of its own.

#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod tunnel_common;

use std::fs::File;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tunnel_common::{Tunnel, check_echo, echo, exchange, soon};

/// The accept loop waits for better times instead of ending, and who has connected meanwhile is served.
#[tokio::test]
async fn a_forward_survives_the_lack_of_file_descriptors() {
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let tunnel = Tunnel::start(&[("-L", &to)]).await;
    let local = tunnel.client.local[0];
    check_echo(local, b"before").await;

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(256), hard).unwrap();
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // One is left for this side of the connection; the other side's cannot be accepted.
    hoard.pop();
    let stream = soon("the connection", TcpStream::connect(local))
        .await
        .unwrap();
    assert!(TcpStream::connect(local).await.is_err(), "nothing is left");
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(hoard);
    let back = soon("the echo", exchange(stream, b"after")).await.unwrap();
    assert_eq!(back, b"after");
    check_echo(local, b"and on").await;
}
