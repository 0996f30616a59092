//! Datagrams between two stacks on a cable in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use tcpip_common::*;
use weir::tcpip::{Datagram, Ecn, Interface, Memory, Stack, UdpConfig, UdpSocket};

#[tokio::test]
async fn a_datagram_arrives_with_both_addresses_and_its_answer_too() {
    let (one, two) = pair(plain(1500));
    for at in [v4(2, 0), v6(2, 0)] {
        let server = UdpSocket::bind(&two, at).unwrap();
        let remote = server.local_addr().unwrap();
        let client = UdpSocket::bind(&one, "[::]:0".parse().unwrap()).unwrap();
        assert_eq!(client.send_to(b"question", remote).await.unwrap(), 8);
        let received = soon(server.recv_datagram()).await.unwrap();
        assert_eq!(&received.data[..], b"question");
        assert_eq!(received.to, remote);
        assert_eq!(received.from.port(), client.local_addr().unwrap().port());
        server.send_to(b"answer", received.from).await.unwrap();
        let mut buffer = [0; 4];
        // What does not fit is cut off.
        let got = soon(client.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((got, &buffer), ((4, remote), b"answ"));
    }
}

#[tokio::test]
async fn a_connected_socket_hears_its_peer_alone() {
    let (one, two) = pair(plain(1500));
    let server = UdpSocket::bind(&two, v4(2, 0)).unwrap();
    let stranger = UdpSocket::bind(&two, v4(2, 0)).unwrap();
    let client = UdpSocket::bind(&one, v4(1, 0)).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let at = client.local_addr().unwrap();
    stranger.send_to(b"no", at).await.unwrap();
    server.send_to(b"yes", at).await.unwrap();
    let mut buffer = [0; 16];
    let len = soon(client.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..len], b"yes");
    client.send(b"back").await.unwrap();
    assert_eq!(
        &soon(server.recv_datagram()).await.unwrap().data[..],
        b"back"
    );
}

// T152
#[tokio::test]
async fn where_nobody_listens_a_connected_socket_is_told() {
    let (one, _two) = pair(plain(1500));
    let client = UdpSocket::bind(&one, v4(1, 0)).unwrap();
    client.connect(v4(2, 9)).unwrap();
    client.send(b"anybody?").await.unwrap();
    let error = soon(client.recv_datagram()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains("10.9.0.2:9"), "{error}");
    // It is told once.
    let mut waiting = Box::pin(client.recv_datagram());
    assert!(is_pending(&mut waiting).await);
}

#[tokio::test]
async fn an_unconnected_socket_asks_for_such_news_itself() {
    let (one, _two) = pair(plain(1500));
    let client = UdpSocket::bind(&one, v4(1, 0)).unwrap();
    client.send_to(b"anybody?", v4(2, 9)).await.unwrap();
    let error = soon(async {
        loop {
            if let Some(error) = client.take_error() {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(error.remote, v4(2, 9));
}

async fn batches(one: &Stack, two: &Stack) {
    let server = UdpSocket::bind(two, v4(2, 0)).unwrap();
    let remote = server.local_addr().unwrap();
    let client = UdpSocket::bind(one, v4(1, 0)).unwrap();
    let data: Vec<u8> = (0..4500_u32).map(|n| (n / 1000) as u8).collect();
    let datagram = Datagram {
        ecn: Ecn::Ect0,
        segment_size: Some(1000),
        ..Datagram::to(remote)
    };
    poll_fn(|cx| client.poll_send(cx, &data, datagram))
        .await
        .unwrap();
    let mut batch = Vec::new();
    while batch.len() < 5 {
        let more = poll_fn(|cx| server.poll_recv_batch(cx, &mut batch, 16));
        soon(more).await.unwrap();
    }
    let sizes: Vec<usize> = batch.iter().map(|datagram| datagram.data.len()).collect();
    assert_eq!(sizes, [1000, 1000, 1000, 1000, 500]);
    for (at, received) in batch.iter().enumerate() {
        assert!(received.data.iter().all(|byte| *byte as usize == at));
        assert_eq!(received.ecn, Ecn::Ect0);
        assert_eq!(received.from, client.local_addr().unwrap());
    }
}

#[tokio::test]
async fn several_datagrams_in_one_call_arrive_as_what_they_are() {
    let (one, two) = pair(plain(1500));
    batches(&one, &two).await;
    let (one, two) = pair(offloading(1500));
    batches(&one, &two).await;
}

#[tokio::test]
async fn a_datagram_beyond_the_mtu_arrives_whole_in_fragments() {
    let (one, two) = pair(plain(1500));
    let server = UdpSocket::bind(&two, v4(2, 0)).unwrap();
    let client = UdpSocket::bind(&one, v4(1, 0)).unwrap();
    let data = pattern(20_000);
    client
        .send_to(&data, server.local_addr().unwrap())
        .await
        .unwrap();
    assert!(soon(server.recv_datagram()).await.unwrap().data == data);
}

#[tokio::test]
async fn a_full_send_queue_is_told_and_waited_for() {
    let (one, two) = pair(plain(1500));
    let server = UdpSocket::bind(&two, v4(2, 0)).unwrap();
    let remote = server.local_addr().unwrap();
    let config = UdpConfig {
        send_queue: 10_000,
        ..UdpConfig::default()
    };
    let client = UdpSocket::bind_with(&one, v4(1, 0), config).unwrap();
    let mut sent = 0;
    // Nothing leaves before this task yields.
    while client.try_send(&[0; 1000], Datagram::to(remote)).is_ok() {
        sent += 1;
        assert!(sent < 100, "the queue has no end");
    }
    let error = client
        .try_send(&[0; 1000], Datagram::to(remote))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    soon(poll_fn(|cx| client.poll_writable(cx))).await;
    client.try_send(&[0; 1000], Datagram::to(remote)).unwrap();
    for _ in 0..=sent {
        soon(server.recv_datagram()).await.unwrap();
    }
}

#[tokio::test]
async fn a_socket_for_any_address_answers_for_all_of_them() {
    let (ours, theirs) = Memory::pair(plain(1500));
    let everything = host(1).route("0.0.0.0/0".parse().unwrap(), None);
    let one = Stack::builder().device(ours, everything).start().unwrap();
    let any = Interface::new().any_address();
    let two = Stack::builder().device(theirs, any).start().unwrap();
    let config = UdpConfig {
        any: true,
        ..UdpConfig::default()
    };
    let server = UdpSocket::bind_with(&two, "0.0.0.0:0".parse().unwrap(), config).unwrap();
    let client = UdpSocket::bind(&one, v4(1, 0)).unwrap();
    let remote = "203.0.113.53:53".parse().unwrap();
    client.send_to(b"who?", remote).await.unwrap();
    let received = soon(server.recv_datagram()).await.unwrap();
    assert_eq!(received.to, remote);
    let answer = Datagram {
        from: Some(received.to),
        ..Datagram::to(received.from)
    };
    poll_fn(|cx| server.poll_send(cx, b"me", answer))
        .await
        .unwrap();
    let mut buffer = [0; 16];
    let got = soon(client.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((&buffer[..got.0], got.1), (&b"me"[..], remote));
}
