//! What a lab does to connections of TCP.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use weir_lab::{Lab, LabConfig, LinkConfig, Schedule};

async fn scene(link: LinkConfig) -> (TcpListener, Lab) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = LabConfig::new(server.local_addr().unwrap()).both(link);
    (server, Lab::start(config).await.unwrap())
}

async fn pair(server: &TcpListener, lab: &Lab) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(lab.listening()).await.unwrap();
    let (accepted, _) = timeout(common::LIMIT, server.accept())
        .await
        .unwrap()
        .unwrap();
    (client, accepted)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at / 7 + at / 4096) as u8).collect()
}

/// Sends all from one end while the other one reads to the end.
async fn transfer(mut from: TcpStream, mut to: TcpStream, data: &[u8]) -> (TcpStream, TcpStream) {
    let mut arrived = Vec::new();
    let sending = async {
        from.write_all(data).await.unwrap();
        from.shutdown().await.unwrap();
    };
    let both = async {
        tokio::join!(sending, to.read_to_end(&mut arrived))
            .1
            .unwrap()
    };
    timeout(common::LIMIT, both).await.unwrap();
    assert!(arrived == data, "{} of {} bytes", arrived.len(), data.len());
    (from, to)
}

#[tokio::test]
async fn bytes_arrive_whole_in_both_directions_and_half_close_passes() {
    let (server, lab) = scene(LinkConfig::default()).await;
    let (client, accepted) = pair(&server, &lab).await;
    let data = bytes(3 << 20);
    let (client, accepted) = transfer(client, accepted, &data).await;
    // The client has ended its half: the other one still carries.
    transfer(accepted, client, &data).await;
    let stats = lab.stats();
    assert_eq!(stats.to_server.tcp_bytes, 3 << 20);
    assert_eq!(stats.to_client.tcp_bytes, 3 << 20);
    assert_eq!(stats.connections, 1);
}

#[tokio::test]
async fn bytes_arrive_whole_over_a_bad_link_and_loss_is_delay() {
    let link = LinkConfig {
        delay: Duration::from_millis(3),
        jitter: Duration::from_millis(2),
        rate: Some(80_000_000),
        loss: 0.02,
        // A stream knows none of these.
        corrupt: 1.0,
        reorder: 1.0,
        duplicate: 1.0,
        mtu: 100,
        ..LinkConfig::default()
    };
    let (server, lab) = scene(link).await;
    let (client, accepted) = pair(&server, &lab).await;
    let begun = Instant::now();
    transfer(client, accepted, &bytes(500_000)).await;
    // 500,000 bytes at 80 Mbit/s, and the delay.
    assert!(
        begun.elapsed() >= Duration::from_millis(53),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn bytes_are_never_earlier_than_asked() {
    let delay = Duration::from_millis(25);
    let (server, lab) = scene(LinkConfig::with_delay(delay)).await;
    let (mut client, mut accepted) = pair(&server, &lab).await;
    for _ in 0..3 {
        let sent = Instant::now();
        client.write_all(b"ping").await.unwrap();
        accepted.read_exact(&mut [0; 4]).await.unwrap();
        assert!(sent.elapsed() >= delay, "{:?}", sent.elapsed());
        accepted.write_all(b"pong").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
        assert!(sent.elapsed() >= 2 * delay, "{:?}", sent.elapsed());
    }
}

#[tokio::test]
async fn an_outage_is_a_standstill() {
    let length = Duration::from_millis(150);
    let link = LinkConfig {
        outages: Schedule::once(weir_core::time::Instant::ZERO, length),
        ..LinkConfig::default()
    };
    let (server, lab) = scene(link).await;
    let begun = Instant::now();
    let (mut client, mut accepted) = pair(&server, &lab).await;
    client.write_all(b"through").await.unwrap();
    let mut arrived = [0; 7];
    accepted.read_exact(&mut arrived).await.unwrap();
    assert_eq!(&arrived, b"through");
    assert!(begun.elapsed() >= length, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_writer_back() {
    let (server, lab) = scene(LinkConfig::with_delay(Duration::from_millis(1))).await;
    let (client, accepted) = pair(&server, &lab).await;
    let mut written = 0_usize;
    // Everything between here and there has its bound, so the writing must stop.
    let piece = vec![1; 1 << 20];
    while let Ok(count) = timeout(Duration::from_millis(500), client.writable())
        .await
        .map(|ready| ready.and_then(|()| client.try_write(&piece)).unwrap_or(0))
    {
        written += count;
        assert!(written < 200 << 20, "it never stops");
    }
    drop(client);
    let mut accepted = accepted;
    let mut rest = Vec::new();
    let reading = timeout(common::LIMIT, accepted.read_to_end(&mut rest)).await;
    assert_eq!(reading.unwrap().unwrap(), written);
}

#[tokio::test]
async fn a_reset_passes_as_a_reset() {
    let (server, lab) = scene(LinkConfig::default()).await;
    let (mut client, accepted) = pair(&server, &lab).await;
    socket2::SockRef::from(&accepted)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(accepted);
    let ended = timeout(common::LIMIT, client.read(&mut [0; 1]))
        .await
        .unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_reset() {
    // Bound, so that nobody else gets the port, and not listening.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = held.local_addr().unwrap();
    let lab = Lab::start(LabConfig::new(to)).await.unwrap();
    let mut client = TcpStream::connect(lab.listening()).await.unwrap();
    let ended = timeout(common::LIMIT, client.read(&mut [0; 1]))
        .await
        .unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn without_tcp_nothing_listens() {
    let mut config = LabConfig::new("127.0.0.1:9".parse().unwrap());
    config.tcp = false;
    let lab = Lab::start(config).await.unwrap();
    let refused = TcpStream::connect(lab.listening()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
