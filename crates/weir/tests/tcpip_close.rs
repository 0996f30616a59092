//! How a stack is closed: in good order within a limit, at once, and what becomes of what it held.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tcpip_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use weir::tcpip::{
    Capabilities, CloseCause, Device, Frame, Memory, ReceiveBuf, Stack, TcpError, TcpListener,
    TcpStream, UdpSocket,
};

fn is_stack_gone(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(TcpError::StackGone(_)))
}

/// A device that says when it was dropped.
struct Lent<D> {
    device: D,
    is_back: Arc<AtomicBool>,
}

impl<D> Drop for Lent<D> {
    fn drop(&mut self) {
        self.is_back.store(true, Ordering::SeqCst);
    }
}

impl<D: Device> Device for Lent<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        self.device.poll_recv(cx, batch)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        self.device.poll_send(cx, frames)
    }
}

/// Hosts 1 and 2, and whether the device of host 1 was given back.
fn lending() -> (Stack, Stack, Arc<AtomicBool>) {
    let (device, theirs) = Memory::pair(plain(1500));
    let is_back = Arc::new(AtomicBool::new(false));
    let lent = Lent {
        device,
        is_back: Arc::clone(&is_back),
    };
    (stack(lent, 1), stack(theirs, 2), is_back)
}

#[tokio::test]
async fn what_was_written_arrives_and_what_peers_send_can_be_read() {
    let (one, two, is_back) = lending();
    let (mut client, mut server) = connection(&one, &two).await;
    let data = pattern(50_000);
    client.write_all(&data).await.unwrap();
    one.close(LIMIT);
    // The end stands behind all of it.
    let got = soon(read_all(&mut server)).await.unwrap();
    assert!(got == data);
    let error = client.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
    // The peer has not ended, and nothing hurries it.
    assert!(
        timeout(Duration::from_millis(50), one.wait_idle())
            .await
            .is_err()
    );
    assert!(!is_back.load(Ordering::SeqCst));
    server.write_all(b"and an answer").await.unwrap();
    server.shutdown().await.unwrap();
    soon(one.wait_idle()).await;
    assert!(is_back.load(Ordering::SeqCst), "the device is given back");
    // What had arrived is still there for whoever holds the stream.
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"and an answer");
    assert_eq!(two.stats().counters.estab_resets, 0);
}

#[tokio::test]
async fn connections_that_were_let_go_of_say_their_last_words() {
    let (one, two, is_back) = lending();
    let (mut client, mut server) = connection(&one, &two).await;
    let data = pattern(50_000);
    client.write_all(&data).await.unwrap();
    drop(client);
    one.close(LIMIT);
    let got = soon(read_all(&mut server)).await.unwrap();
    assert!(got == data);
    drop(server);
    soon(one.wait_idle()).await;
    assert!(is_back.load(Ordering::SeqCst));
}

#[tokio::test]
async fn nothing_new_begins() {
    let (one, two, _) = lending();
    let listener = TcpListener::bind(&one, v4(1, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    // It stands, and nobody has accepted it.
    let mut early = TcpStream::connect(&two, remote).await.unwrap();
    let (held, _far) = connection(&one, &two).await;
    let other = TcpListener::bind(&one, v4(1, 0)).unwrap();
    let accepting = tokio::spawn(async move { other.accept().await });
    // Nobody is there: an attempt that would go on for long.
    let attempt = tokio::spawn({
        let one = one.clone();
        async move { TcpStream::connect(&one, "10.9.0.77:80".parse().unwrap()).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    one.close(Duration::from_secs(60));
    let error = soon(early.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(is_stack_gone(&accepting.await.unwrap().unwrap_err()));
    assert!(is_stack_gone(&listener.accept().await.unwrap_err()));
    let error = soon(attempt).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let error = TcpStream::connect(&one, v4(2, 80)).await.unwrap_err();
    assert!(is_stack_gone(&error), "{error}");
    assert!(is_stack_gone(
        &TcpListener::bind(&one, v4(1, 0)).unwrap_err()
    ));
    assert!(is_stack_gone(&UdpSocket::bind(&one, v4(1, 0)).unwrap_err()));
    // To everybody else nobody listens any more.
    let error = TcpStream::connect(&two, remote).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    drop(held);
}

// T124
#[tokio::test(start_paused = true)]
async fn what_is_not_over_by_the_limit_is_reset() {
    let (one, two, is_back) = lending();
    let (client, mut server) = connection(&one, &two).await;
    let began = Instant::now();
    one.close(Duration::from_secs(3));
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
    // The peer goes on, and does not end.
    one.wait_idle().await;
    let took = began.elapsed();
    assert!((3.0..3.5).contains(&took.as_secs_f64()), "{took:?}");
    assert!(is_back.load(Ordering::SeqCst));
    assert_eq!(client.closed().await, TcpError::Closed(CloseCause::Aborted));
    let why = server.closed().await;
    assert_eq!(why, TcpError::Closed(CloseCause::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_second_word_ends_it_at_once() {
    let (one, two, _) = lending();
    let (_client, server) = connection(&one, &two).await;
    let began = Instant::now();
    one.close(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.abort();
    one.wait_idle().await;
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.closed().await, TcpError::Closed(CloseCause::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_nothing_holds_the_end_up_until_the_limit_only() {
    let (ours, unread) = Memory::pair(plain(1500));
    let one = stack(ours, 1);
    let socket = UdpSocket::bind(&one, v4(1, 0)).unwrap();
    for _ in 0..300 {
        socket.send_to(&[0; 1400], v4(2, 9)).await.unwrap();
    }
    let began = Instant::now();
    one.close(Duration::from_secs(2));
    one.wait_idle().await;
    let took = began.elapsed();
    assert!((2.0..2.5).contains(&took.as_secs_f64()), "{took:?}");
    drop(unread);
}

#[tokio::test]
async fn udp_works_on_until_the_end_and_is_told_of_it() {
    let (one, two, _) = lending();
    let (client, mut server) = connection(&one, &two).await;
    let (here, there) = (
        UdpSocket::bind(&one, v4(1, 0)).unwrap(),
        UdpSocket::bind(&two, v4(2, 0)).unwrap(),
    );
    one.close(LIMIT);
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
    here.send_to(b"still here", there.local_addr().unwrap())
        .await
        .unwrap();
    let got = soon(there.recv_datagram()).await.unwrap();
    assert_eq!(&got.data[..], b"still here");
    let waiting = tokio::spawn(async move { here.recv_datagram().await });
    drop((client, server));
    soon(one.wait_idle()).await;
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert!(is_stack_gone(&error), "{error}");
}

#[tokio::test]
async fn an_idle_stack_that_was_not_closed_is_idle_and_goes_on() {
    let (one, two, is_back) = lending();
    one.wait_idle().await;
    let (client, server) = connection(&one, &two).await;
    let waiting = tokio::spawn({
        let one = one.clone();
        async move { one.wait_idle().await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    drop((client, server));
    soon(waiting).await.unwrap();
    assert!(!is_back.load(Ordering::SeqCst));
    drop(connection(&one, &two).await);
}
