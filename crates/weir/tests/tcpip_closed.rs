//! Waiting for a connection's end without reading or writing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::time::Duration;

use tcpip_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use weir::tcpip::{CloseCause, TcpError};

#[tokio::test]
async fn both_halves_hear_of_a_reset_though_neither_is_used() {
    let (one, two) = pair(plain(1500));
    let (client, server) = connection(&one, &two).await;
    let (read, write) = client.into_split();
    let reading = tokio::spawn(async move { (read.closed().await, read) });
    let writing = tokio::spawn(async move { (write.closed().await, write) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!reading.is_finished() && !writing.is_finished());
    server.abort();
    let (why, _read) = soon(reading).await.unwrap();
    assert_eq!(why, TcpError::Closed(CloseCause::Reset));
    let (why, _write) = soon(writing).await.unwrap();
    assert_eq!(why, TcpError::Closed(CloseCause::Reset));
}

#[tokio::test]
async fn half_an_end_is_none_and_what_came_before_it_can_be_read() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    server.write_all(b"last words").await.unwrap();
    server.shutdown().await.unwrap();
    let early = timeout(Duration::from_millis(50), client.closed()).await;
    assert!(early.is_err(), "this direction is open: {early:?}");
    client.shutdown().await.unwrap();
    let why = soon(client.closed()).await;
    assert_eq!(why, TcpError::Closed(CloseCause::Finished));
    // It says so as often as it is asked.
    assert_eq!(client.closed().await, why);
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last words");
}

#[tokio::test]
async fn any_number_of_tasks_may_wait_and_any_may_stop() {
    let (one, two) = pair(plain(1500));
    let (client, server) = connection(&one, &two).await;
    let client = std::sync::Arc::new(client);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = std::sync::Arc::clone(&client);
            tokio::spawn(async move { client.closed().await })
        })
        .collect();
    assert!(
        timeout(Duration::from_millis(20), client.closed())
            .await
            .is_err()
    );
    server.abort();
    for task in waiting {
        let why = soon(task).await.unwrap();
        assert_eq!(why, TcpError::Closed(CloseCause::Reset));
    }
}

#[tokio::test]
async fn a_stack_whose_device_is_gone_ends_the_wait() {
    let (ours, theirs) = weir::tcpip::Memory::pair(plain(1500));
    let (ours, pull) = cable(ours);
    let (one, two) = (stack(ours, 1), stack(theirs, 2));
    let (client, mut server) = connection(&one, &two).await;
    pull.break_it();
    server
        .write_all(b"the frame that the device fails at")
        .await
        .unwrap();
    let why = soon(client.closed()).await;
    assert!(matches!(why, TcpError::StackGone(_)), "{why}");
}
