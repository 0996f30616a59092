//! Handshakes, transfers, many streams.

use bytes::Bytes;
use weir_quic::Dir;

use crate::tls::{ALPN, Tls};
use crate::{pattern, q, s2n, weir};

const MIB: usize = 1024 * 1024;

/// `len` bytes there and back, byte for byte, with everybody in both roles.
async fn transfer(len: usize) {
    let data = pattern(len);
    let node = weir::client().await;
    let config = weir::client_config(Tls::default(), |_| {});

    let server = q::server(Tls::default());
    let addr = server.local_addr().unwrap();
    let _server = q::echo(server);
    let conn = node.connect(&config, addr).unwrap();
    assert!(weir::exchange(&conn, &data).await == data, "weir to quinn");
    weir::connected(&conn).await;
    let alpn = conn.with(|c, _| c.handshake_info().unwrap().alpn.clone());
    assert_eq!(alpn.as_deref(), Some(ALPN));

    let server = s2n::server(Tls::default());
    let addr = server.local_addr().unwrap();
    s2n::echo(server);
    let conn = node.connect(&config, addr).unwrap();
    assert!(
        weir::exchange(&conn, &data).await == data,
        "weir to s2n-quic"
    );

    let server = weir::server(Tls::default()).await;
    let addr = server.addr().unwrap();
    let _server = weir::echo(server);
    let (_endpoint, connection) = q::connect(Tls::default(), addr).await;
    assert!(
        q::exchange(&connection, &data).await == data,
        "quinn to weir"
    );
    let (_client, mut connection) = s2n::connect(Tls::default(), addr).await;
    assert!(
        s2n::exchange(&mut connection, &data).await == data,
        "s2n-quic to weir"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_bytes_come_back() {
    transfer(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mebibyte_comes_back() {
    transfer(MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_mebibytes_come_back() {
    transfer(32 * MIB).await;
}

const STREAMS: usize = 200;

fn message(index: usize) -> Bytes {
    let mut bytes = pattern(2000 + index).to_vec();
    bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
    bytes.into()
}

fn assert_all_back(mut back: Vec<Vec<u8>>) {
    back.sort();
    let expected = (0..STREAMS).map(message).collect::<Vec<_>>();
    assert!(back == expected, "what came back is not what was sent");
}

/// 200 streams each way at once from the engine's client.
async fn many_streams_of_weir(addr: std::net::SocketAddr) {
    let node = weir::client().await;
    let conn = node
        .connect(&weir::client_config(Tls::default(), |_| {}), addr)
        .unwrap();
    weir::connected(&conn).await;
    let mut tasks = Vec::new();
    for index in 0..STREAMS {
        let conn = conn.clone();
        tasks.push(tokio::spawn(async move {
            weir::exchange(&conn, &message(index)).await
        }));
    }
    let mut back = Vec::new();
    for task in tasks {
        back.push(task.await.unwrap());
    }
    assert_all_back(back);
    for index in 0..STREAMS {
        let key = conn.open(Dir::Uni).await.unwrap();
        conn.write_all(key, message(index)).await.unwrap();
        conn.finish(key);
    }
    let mut back = Vec::new();
    for _ in 0..STREAMS {
        let key = conn.accept(Dir::Uni).await.unwrap();
        back.push(conn.read_all(key).await.unwrap());
    }
    assert_all_back(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_to_quinn() {
    let server = q::server(Tls::default());
    let addr = server.local_addr().unwrap();
    let _server = q::echo(server);
    many_streams_of_weir(addr).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_to_s2n() {
    let server = s2n::server(Tls::default());
    let addr = server.local_addr().unwrap();
    s2n::echo(server);
    many_streams_of_weir(addr).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_of_quinn() {
    let server = weir::server(Tls::default()).await;
    let addr = server.addr().unwrap();
    let _server = weir::echo(server);
    let (_endpoint, connection) = q::connect(Tls::default(), addr).await;
    let mut tasks = Vec::new();
    for index in 0..STREAMS {
        let connection = connection.clone();
        tasks.push(tokio::spawn(async move {
            q::exchange(&connection, &message(index)).await
        }));
    }
    let mut back = Vec::new();
    for task in tasks {
        back.push(task.await.unwrap());
    }
    assert_all_back(back);
    for index in 0..STREAMS {
        let mut send = connection.open_uni().await.unwrap();
        send.write_chunk(message(index)).await.unwrap();
        send.finish().unwrap();
    }
    let mut back = Vec::new();
    for _ in 0..STREAMS {
        let mut recv = connection.accept_uni().await.unwrap();
        back.push(recv.read_to_end(usize::MAX).await.unwrap());
    }
    assert_all_back(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_of_s2n() {
    let server = weir::server(Tls::default()).await;
    let addr = server.addr().unwrap();
    let _server = weir::echo(server);
    let (_client, connection) = s2n::connect(Tls::default(), addr).await;
    let (handle, mut acceptor) = connection.split();
    let mut tasks = Vec::new();
    for index in 0..STREAMS {
        let mut handle = handle.clone();
        tasks.push(tokio::spawn(async move {
            let stream = handle.open_bidirectional_stream().await.unwrap();
            let (mut recv, mut send) = stream.split();
            send.send(message(index)).await.unwrap();
            send.finish().unwrap();
            let mut uni = handle.open_send_stream().await.unwrap();
            uni.send(message(index)).await.unwrap();
            uni.finish().unwrap();
            s2n::read_all(&mut recv).await
        }));
    }
    let mut back = Vec::new();
    for task in tasks {
        back.push(task.await.unwrap());
    }
    assert_all_back(back);
    let mut back = Vec::new();
    for _ in 0..STREAMS {
        let mut recv = acceptor.accept_receive_stream().await.unwrap().unwrap();
        back.push(s2n::read_all(&mut recv).await);
    }
    assert_all_back(back);
}
